//! Whether the other side still lives.
//!
//! Either side may ask; whoever is asked answers at once. Every packet that arrives counts as a sign of life. After a
//! silent interval one question goes out; when so many went unanswered, the other side is dead.

use std::time::Duration;

use virt_util::Result;
use virt_util::{ErrorCode, ErrorDomain, VirtError};

use super::{Header, MessageType, Packet, PacketWriter, Status};
use crate::protocol::keepalive::{PROGRAM, VERSION, procedure};

/// A keepalive packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The other side asks: answer with [`pong`].
    Ping,
    /// The other side answers.
    Pong,
    /// Something that a newer peer may know: to be ignored.
    Unknown,
}

/// What `packet` asks, if it is one of keepalive.
pub fn probe(packet: &Packet) -> Option<Probe> {
    let header = &packet.header;
    if header.program != PROGRAM || header.version != VERSION || header.kind != MessageType::Message {
        return None;
    }
    Some(match u32::try_from(header.procedure) {
        Ok(procedure::PING) => Probe::Ping,
        Ok(procedure::PONG) => Probe::Pong,
        _ => Probe::Unknown,
    })
}

/// The question.
pub fn ping() -> Result<Vec<u8>> {
    message(procedure::PING)
}

/// The answer.
pub fn pong() -> Result<Vec<u8>> {
    message(procedure::PONG)
}

fn message(number: u32) -> Result<Vec<u8>> {
    PacketWriter::new(&Header {
        program: PROGRAM,
        version: VERSION,
        procedure: number as i32,
        kind: MessageType::Message,
        serial: 0,
        status: Status::Ok,
    })
    .finish()
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before [`Keepalive::next_action`].
    Wait,
    /// Send [`ping`].
    Ping,
    /// The other side is dead: close with [`dead`].
    Dead,
}

/// Decides when to ask and when to give up. Points in time are nanoseconds of one monotonic clock.
#[derive(Clone, Debug)]
pub struct Keepalive {
    interval: Option<u64>,
    count: u32,
    left: u32,
    interval_start: u64,
    last_received: u64,
}

impl Keepalive {
    /// Asks after each `interval` of silence; `None` or zero never asks. Gives up when `count` questions went
    /// unanswered.
    pub fn new(interval: Option<Duration>, count: u32, now: u64) -> Self {
        Self {
            interval: interval
                .map(|interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX))
                .filter(|interval| *interval > 0),
            count,
            left: count,
            interval_start: now,
            last_received: now,
        }
    }

    /// A packet of any kind arrived.
    pub fn received(&mut self, now: u64) {
        self.left = self.count;
        self.interval_start = now;
        self.last_received = now;
    }

    /// How long nothing has arrived.
    pub fn silence(&self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.last_received))
    }

    /// When [`Keepalive::act`] is to be called next; `None` for never.
    pub fn next_action(&self) -> Option<u64> {
        self.interval
            .map(|interval| self.interval_start.saturating_add(interval))
    }

    /// What is to be done at `now`.
    pub fn act(&mut self, now: u64) -> Action {
        match self.next_action() {
            Some(at) if now >= at => {}
            _ => return Action::Wait,
        }
        if self.left == 0 {
            return Action::Dead;
        }
        self.left -= 1;
        self.interval_start = now;
        Action::Ping
    }
}

/// The error of a connection whose other side is dead, in libvirt's words, which programs look for.
pub fn dead() -> VirtError {
    VirtError::new(
        ErrorCode::INTERNAL_ERROR,
        "connection closed due to keepalive timeout",
    )
    .in_domain(ErrorDomain::RPC)
}

#[cfg(test)]
mod tests {
    use super::super::PacketReader;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn probes_are_packets_of_28_bytes() {
        for (bytes, wanted) in [(ping().unwrap(), Probe::Ping), (pong().unwrap(), Probe::Pong)] {
            assert_eq!(bytes.len(), 28);
            let packet = PacketReader::new().feed(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!((probe(&packet), packet.header.serial), (Some(wanted), 0));
        }
    }

    #[test]
    fn silence_is_questioned_and_then_ends_the_connection() {
        let mut keepalive = Keepalive::new(Some(Duration::from_secs(5)), 2, 0);
        assert_eq!(keepalive.act(4 * SECOND), Action::Wait);
        assert_eq!(keepalive.act(5 * SECOND), Action::Ping);
        assert_eq!(keepalive.act(6 * SECOND), Action::Wait);
        assert_eq!(keepalive.act(10 * SECOND), Action::Ping);
        assert_eq!(keepalive.act(15 * SECOND), Action::Dead);
        assert_eq!(keepalive.silence(15 * SECOND), Duration::from_secs(15));
    }

    #[test]
    fn any_packet_is_a_sign_of_life() {
        let mut keepalive = Keepalive::new(Some(Duration::from_secs(5)), 1, 0);
        assert_eq!(keepalive.act(5 * SECOND), Action::Ping);
        keepalive.received(9 * SECOND);
        assert_eq!(keepalive.next_action(), Some(14 * SECOND));
        assert_eq!(keepalive.act(14 * SECOND), Action::Ping);
        assert_eq!(keepalive.act(19 * SECOND), Action::Dead);
    }

    #[test]
    fn without_an_interval_nothing_is_asked() {
        let mut keepalive = Keepalive::new(None, 5, 0);
        assert_eq!(
            (keepalive.next_action(), keepalive.act(u64::MAX)),
            (None, Action::Wait)
        );
    }
}
