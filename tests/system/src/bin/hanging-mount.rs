//! `hanging-mount FOLDER`: a file system in user space with nothing in it. It answers what a look at its root takes,
//! until somebody stops the process: from then on whoever touches the folder waits in the kernel.
//!
//! Speaks the kernel's protocol on `/dev/fuse` itself, so that no library is needed. Takes root, for the mount.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    reason = "a helper of tests ends with what it could not do"
)]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use nix::mount::{MsFlags, mount};

/// Requests that are answered; all others are not known here.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// The protocol's version that the answers below have the form of.
const MAJOR: u32 = 7;
const MINOR: u32 = 31;

fn main() {
    let folder = std::env::args_os().nth(1).expect("a folder to mount on");
    let mut device = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .expect("/dev/fuse");
    let options = format!(
        "fd={},rootmode=40755,user_id=0,group_id=0,allow_other",
        device.as_raw_fd()
    );
    mount(
        Some("hanging"),
        folder.as_os_str(),
        Some("fuse"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .expect("a mount");
    println!("mounted");
    let mut request = vec![0; 256 * 1024];
    // A read fails when the folder is unmounted.
    while let Ok(length @ 40..) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
        let (kind, unique) = (word(4), &request[8..16]);
        let answer = match kind {
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            INIT => Ok(init()),
            GETATTR => Ok(attributes()),
            STATFS => Ok(room()),
            LOOKUP => Err(nix::errno::Errno::ENOENT),
            _ => Err(nix::errno::Errno::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend_from_slice(&u32::try_from(16 + body.len()).expect("it is short").to_ne_bytes());
        reply.extend_from_slice(&error.to_ne_bytes());
        reply.extend_from_slice(unique);
        reply.extend_from_slice(&body);
        // A request may have been taken back meanwhile, which is an error here and harms nobody.
        let _ = device.write(&reply);
        let _ = length;
    }
}

/// Numbers one behind the other, in the machine's order.
fn words(of_four: &[u32]) -> Vec<u8> {
    of_four.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn longs(of_eight: &[u64]) -> Vec<u8> {
    of_eight.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Versions, read-ahead, flags, two limits of 16 bits, the largest write, the clock's grain, and zeros.
fn init() -> Vec<u8> {
    let mut answer = words(&[MAJOR, MINOR, 0, 0, 0, 4096, 1]);
    answer.resize(64, 0);
    answer
}

/// A root folder that is asked for again each time.
fn attributes() -> Vec<u8> {
    const FOLDER: u32 = 0o040_755;
    let mut answer = longs(&[0, 0]);
    // Inode, size, blocks, three times.
    answer.extend(longs(&[1, 0, 0, 0, 0, 0]));
    // Three times' nanoseconds, mode, links, owner, group, device, block size, flags.
    answer.extend(words(&[0, 0, 0, FOLDER, 2, 0, 0, 0, 4096, 0]));
    answer
}

/// Blocks: all, free, available; files: all, free; sizes of block, name and fragment; zeros.
fn room() -> Vec<u8> {
    let mut answer = longs(&[1000, 500, 500, 10, 5]);
    answer.extend(words(&[4096, 255, 4096]));
    answer.resize(80, 0);
    answer
}
