//! Unix sockets: who is at the other end, and descriptors as cargo.
#![allow(
    unsafe_code,
    reason = "received descriptors arrive as bare numbers that have to be owned"
)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, accept4, getsockopt, recvmsg, sendmsg,
    setsockopt, sockopt,
};

use crate::error::SystemResult;
use crate::{Result, VirtError};

/// Who connected, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process number at the time of the connect.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// The process at the other end of a connected Unix socket.
pub fn peer_credentials(socket: impl AsFd) -> Result<PeerCredentials> {
    let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)
        .or_system(|| "cannot read the credentials of a socket's peer")?;
    Ok(PeerCredentials {
        pid: credentials.pid(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}

/// The SELinux or AppArmor label of the peer; `None` where no security module keeps one.
pub fn peer_security_label(socket: impl AsFd) -> Option<String> {
    let mut buffer = [0_u8; 4096];
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the buffer is ours and `length` says how long it is; the kernel writes at most that much.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERSEC,
            buffer.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if got != 0 {
        return None;
    }
    let label = buffer.get(..length as usize)?;
    let label = label.strip_suffix(b"\0").unwrap_or(label);
    String::from_utf8(label.to_vec()).ok()
}

/// Takes the next client of a listening socket. Its socket never blocks and is closed on exec.
///
/// # Errors
/// What the system says: `WouldBlock` if nobody waits at a socket that does not block.
pub fn accept_client(listener: impl AsFd) -> std::io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let number = accept4(listener.as_fd().as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor for us, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives a socket room for `bytes` bytes that its peer has not read, so that much data goes in few steps; less where the
/// host does not allow it, which is no loss.
pub fn widen_send_buffer(socket: impl AsFd, bytes: usize) {
    let socket = socket.as_fd();
    // Without privileges the host's limit holds.
    let _ = setsockopt(&socket, sockopt::SndBufForce, &bytes)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &bytes));
}

/// Most descriptors in one message: the kernel's limit.
pub const MAX_FDS: usize = 253;

/// Sends `data` (at least one byte) with `fds` attached to the first of it. Returns how many bytes went; the
/// descriptors are gone with the first byte. `EAGAIN` on a non-blocking socket comes back as `None`. Never raises
/// SIGPIPE.
pub fn send_with_fds(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Option<usize>> {
    if data.is_empty() || fds.len() > MAX_FDS {
        return Err(VirtError::invalid_arg(format_args!(
            "descriptors travel with at least one byte and at most {MAX_FDS} at a time, not {} with {} bytes",
            fds.len(),
            data.len()
        )));
    }
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        let sent = sendmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &[IoSlice::new(data)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        return match sent {
            Ok(count) => Ok(Some(count)),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(VirtError::system(errno as i32, "cannot send on socket")),
        };
    }
}

/// What [`receive_with_fds`] got.
#[derive(Debug)]
pub struct Received {
    /// Bytes put in the buffer; 0 is the end of the stream.
    pub count: usize,
    /// Descriptors that came with them, all closed on exec.
    pub fds: Vec<OwnedFd>,
}

/// Reads at most `most` bytes behind what `buffer` holds, for which its capacity is used as it is (at least one byte
/// must be free), and takes the descriptors that come along. Otherwise as [`receive_with_fds`].
pub fn receive_behind(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    most: usize,
    max_fds: usize,
) -> Result<Option<Received>> {
    let length = buffer.len();
    let free = buffer.spare_capacity_mut();
    let room = free.len().min(most);
    if room == 0 {
        return Err(VirtError::invalid_arg("no room to receive into"));
    }
    // SAFETY: the kernel only writes to the bytes, and nobody reads them before it has.
    let free = unsafe { std::slice::from_raw_parts_mut(free.as_mut_ptr().cast::<u8>(), room) };
    let received = receive_with_fds(socket, free, max_fds)?;
    if let Some(received) = &received {
        // SAFETY: the kernel has written so many bytes behind the old length, all within the capacity.
        unsafe { buffer.set_len(length + received.count.min(room)) };
    }
    Ok(received)
}

/// Reads into `buffer` and takes the descriptors that come along. More than `max_fds` of them is an error and closes
/// all. `EAGAIN` on a non-blocking socket comes back as `None`.
pub fn receive_with_fds(socket: impl AsFd, buffer: &mut [u8], max_fds: usize) -> Result<Option<Received>> {
    // Room for the kernel's maximum, whatever the caller takes: a cut control message would hide descriptors.
    let mut control = nix::cmsg_space!([i32; MAX_FDS]);
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(VirtError::system(errno as i32, "cannot receive from socket")),
        };
        let mut fds = Vec::new();
        for part in message
            .cmsgs()
            .or_system(|| "cannot read a socket's control message")?
        {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                for number in numbers {
                    // SAFETY: the kernel has just installed this descriptor for us, nobody else owns it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
        }
        if fds.len() > max_fds {
            return Err(VirtError::new(
                crate::ErrorCode::RPC,
                format_args!("peer sent {} descriptors, {max_fds} are allowed", fds.len()),
            ));
        }
        return Ok(Some(Received {
            count: message.bytes,
            fds,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write, pipe};
    use std::os::unix::net::UnixStream;

    #[test]
    fn we_know_ourselves_at_the_other_end() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = peer_credentials(&a).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn a_descriptor_arrives_and_works() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        assert_eq!(send_with_fds(&a, b"x", &[writer.as_fd()]).unwrap(), Some(1));
        drop(writer);
        let mut buffer = [0; 16];
        let got = receive_with_fds(&b, &mut buffer, 1).unwrap().unwrap();
        assert_eq!((got.count, got.fds.len()), (1, 1));
        for fd in got.fds {
            File::from(fd).write_all(b"through").unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn bytes_go_behind_what_is_there() {
        let (a, b) = UnixStream::pair().unwrap();
        (&a).write_all(b"abcdef").unwrap();
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"12");
        let got = receive_behind(&b, &mut buffer, 4, 0).unwrap().unwrap();
        assert_eq!((got.count, buffer.as_slice()), (4, b"12abcd".as_slice()));
        let got = receive_behind(&b, &mut buffer, 100, 0).unwrap().unwrap();
        assert_eq!((got.count, buffer.as_slice()), (2, b"12abcdef".as_slice()));
        assert!(receive_behind(&b, &mut Vec::new(), 100, 0).is_err());
    }

    #[test]
    fn too_many_descriptors_are_refused_and_closed() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        send_with_fds(&a, b"x", &[writer.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        assert!(receive_with_fds(&b, &mut [0; 16], 1).is_err());
        // Nobody holds the writing end any more.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn empty_handed_and_blocked() {
        let (a, b) = UnixStream::pair().unwrap();
        assert!(send_with_fds(&a, b"", &[]).is_err());
        b.set_nonblocking(true).unwrap();
        assert!(receive_with_fds(&b, &mut [0; 4], 0).unwrap().is_none());
        drop(a);
        assert_eq!(receive_with_fds(&b, &mut [0; 4], 0).unwrap().unwrap().count, 0);
    }
}
