//! Network interfaces of the host, asked for and changed over the kernel's route socket.
//!
//! Only what drivers need of links and addresses, one request with one answer at a time. Interfaces are those of the
//! network namespace that the calling thread is in.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{
    AddressFamily as SocketFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::error::SystemResult;
use crate::time::{Cancel, Deadline, Interest, wait_fd};
use crate::{Result, VirtError};

/// The kernel answers at once; this is for a kernel that does not.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Room for one answer: a link with all its statistics takes a few KiB.
const BUFFER: usize = 64 << 10;

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: Vec<u8>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
    /// The bridge or bond that it is part of.
    pub controller: Option<u32>,
    /// What kind it is: `tun`, `bridge`, `macvtap` …; none for real hardware.
    pub kind: Option<String>,
}

/// A change of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Its address.
    Mac([u8; 6]),
    /// The largest packet, in bytes.
    Mtu(u32),
    /// Up or down.
    Up(bool),
    /// Part of this bridge.
    Controller(u32),
    /// As a port of a bridge it does not reach other such ports.
    Isolated(bool),
}

/// A connection to the kernel's networking.
#[derive(Debug)]
pub struct RouteSocket(OwnedFd);

impl RouteSocket {
    /// Opens one.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn open() -> Result<Self> {
        socket(
            SocketFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )
        .map(Self)
        .or_system(|| "cannot create netlink socket")
    }

    /// The link with a name, if there is one.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut wanted = LinkMessage::default();
        wanted.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.exchange(RouteNetlinkMessage::GetLink(wanted), 0)? {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(read_link(link))),
            // The name cannot be one's, or is nobody's.
            Err(libc::ENODEV | libc::ERANGE) => Ok(None),
            Err(errno) => Err(VirtError::system(
                errno,
                format_args!("Cannot get the interface '{name}'"),
            )),
            Ok(_) => Err(VirtError::internal(format_args!(
                "the kernel's answer about the interface '{name}' is none"
            ))),
        }
    }

    /// Changes the link with number `index`; `name` is for errors.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn change(&self, index: u32, name: &str, change: LinkChange) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let attribute = match change {
            LinkChange::Mac(mac) => Some(LinkAttribute::Address(mac.to_vec())),
            LinkChange::Mtu(mtu) => Some(LinkAttribute::Mtu(mtu)),
            LinkChange::Controller(controller) => Some(LinkAttribute::Controller(controller)),
            LinkChange::Isolated(isolated) => Some(LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(isolated)])),
            ])),
            LinkChange::Up(up) => {
                link.header.change_mask = LinkFlags::Up;
                if up {
                    link.header.flags = LinkFlags::Up;
                }
                None
            }
        };
        link.attributes.extend(attribute);
        // Ports are changed by the message that makes links.
        let message = match change {
            LinkChange::Isolated(_) => RouteNetlinkMessage::NewLink(link),
            _ => RouteNetlinkMessage::SetLink(link),
        };
        self.acknowledged(message, 0, || {
            let what = match change {
                LinkChange::Mac(_) => "set MAC address on",
                LinkChange::Mtu(_) => "set interface MTU on",
                LinkChange::Up(_) => "set interface flags on",
                LinkChange::Controller(_) => "add to its bridge",
                LinkChange::Isolated(_) => "isolate from other ports",
            };
            format!("Cannot {what} '{name}'")
        })
    }

    /// Makes a bridge.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`, EEXIST if the name is taken.
    pub fn add_bridge(&self, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.acknowledged(RouteNetlinkMessage::NewLink(link), flags, || {
            format!("cannot make bridge '{name}'")
        })
    }

    /// Removes a link; `name` is for errors.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn remove(&self, index: u32, name: &str) -> Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.acknowledged(RouteNetlinkMessage::DelLink(link), 0, || {
            format!("cannot remove network device '{name}'")
        })
    }

    /// Gives a link an address, with a partner's if it is one end of a line.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn add_address(
        &self,
        index: u32,
        name: &str,
        address: IpAddr,
        prefix: u8,
        peer: Option<IpAddr>,
    ) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.attributes.push(AddressAttribute::Local(address));
        message
            .attributes
            .push(AddressAttribute::Address(peer.unwrap_or(address)));
        if let (IpAddr::V4(own), None) = (address, peer)
            && prefix < 31
        {
            let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            message
                .attributes
                .push(AddressAttribute::Broadcast((own.to_bits() | host).into()));
        }
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.acknowledged(RouteNetlinkMessage::NewAddress(message), flags, || {
            format!("Error adding IP address {address} to {name}")
        })
    }

    fn acknowledged(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl FnOnce() -> String,
    ) -> Result<()> {
        match self.exchange(message, NLM_F_ACK | flags)? {
            Ok(_) => Ok(()),
            Err(errno) => Err(VirtError::system(errno, what())),
        }
    }

    /// One request, one answer: a message, a bare acknowledgement, or the kernel's errno.
    fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Result<Option<RouteNetlinkMessage>, i32>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = 1;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)
            .or_system(|| "cannot write to a netlink socket")?;
        let wait = wait_fd(
            &self.0,
            Interest::Readable,
            Deadline::after(ANSWER_LIMIT),
            &Cancel::never(),
        )?;
        wait.ok("the kernel's networking does not answer")?;
        let mut buffer = vec![0; BUFFER];
        let count = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)
            .or_system(|| "cannot read from netlink socket")?;
        let answer = buffer.get(..count).unwrap_or_default();
        let answer: NetlinkMessage<RouteNetlinkMessage> =
            NetlinkMessage::deserialize(answer).map_err(|error| {
                VirtError::internal(format_args!("an answer of netlink cannot be read: {error}"))
            })?;
        Ok(match answer.payload {
            NetlinkPayload::Error(error) => match error.code {
                Some(code) => Err(code.get().saturating_neg()),
                None => Ok(None),
            },
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            _ => Ok(None),
        })
    }
}

fn read_link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Vec::new(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        controller: None,
        kind: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(controller) => link.controller = Some(controller),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_nothing_else_by_chance() {
        let socket = RouteSocket::open().unwrap();
        let link = socket.link("lo").unwrap().expect("a loopback");
        assert_eq!((link.index, link.name.as_str()), (1, "lo"));
        assert_eq!(socket.link("no-such-if").unwrap(), None);
        assert_eq!(socket.link("a-name-that-is-far-too-long").unwrap(), None);
    }

    #[test]
    fn errors_are_the_kernels() {
        let socket = RouteSocket::open().unwrap();
        let error = socket
            .change(i32::MAX.unsigned_abs(), "nobody", LinkChange::Mtu(1500))
            .unwrap_err();
        assert!(error.message().contains("'nobody'"), "{error}");
    }
}
