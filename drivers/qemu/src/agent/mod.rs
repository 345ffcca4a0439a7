//! The guest agent: a program inside the guest that answers commands over a virtio serial port.
//!
//! [`protocol`] is the framing and the handshake without a socket, [`client`] runs it over one, [`commands`] are the
//! agent's commands with their answers as values, [`facts`] what answers look like. Everything an agent says comes from
//! the guest, and is believed no further than that.

pub mod client;
pub mod commands;
pub mod facts;
pub mod protocol;

use std::time::Duration;

pub use client::{AgentClient, AgentObserver, Awaited};
pub use commands::GuestAgent;

/// The name of the port that an agent listens on.
pub const PORT: &str = "org.qemu.guest_agent.0";

/// How long an agent may take where nobody has said otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(5);

/// How long an agent may take to answer, as libvirt counts: seconds, or [`AgentTimeout::BLOCK`],
/// [`AgentTimeout::DEFAULT`], [`AgentTimeout::NOWAIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentTimeout(i32);

impl AgentTimeout {
    /// For ever: until the caller's own patience ends, or the agent or its guest goes.
    pub const BLOCK: Self = Self(-2);
    /// [`DEFAULT_LIMIT`].
    pub const DEFAULT: Self = Self(-1);
    /// Not at all.
    pub const NOWAIT: Self = Self(0);
    /// What a shutdown may take.
    pub const SHUTDOWN: Self = Self(60);

    /// From libvirt's number, -2 at least.
    pub fn new(seconds: i32) -> Option<Self> {
        (seconds >= Self::BLOCK.0).then_some(Self(seconds))
    }

    /// libvirt's number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The limit, `None` for ever.
    pub fn limit(self) -> Option<Duration> {
        match self.0 {
            -1 => Some(DEFAULT_LIMIT),
            seconds => u64::try_from(seconds).ok().map(Duration::from_secs),
        }
    }

    /// How long the handshake before a command may take: never longer than the default, and not longer than what
    /// was said for the agent (`self`) or the command.
    pub fn for_handshake(self, command: Self) -> Duration {
        [self, command]
            .into_iter()
            .filter(|one| one.0 >= 0)
            .filter_map(Self::limit)
            .fold(DEFAULT_LIMIT, Duration::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_takes_the_shortest_of_all_limits() {
        let seconds = |number| AgentTimeout::new(number).unwrap();
        let of = |agent, command| seconds(agent).for_handshake(seconds(command)).as_secs();
        assert_eq!(of(-2, -2), 5);
        assert_eq!(of(-2, 60), 5);
        assert_eq!(of(3, -1), 3);
        assert_eq!(of(3, 1), 1);
        assert_eq!(of(0, 10), 0);
        assert!(AgentTimeout::new(-3).is_none());
        assert_eq!(AgentTimeout::BLOCK.limit(), None);
    }
}
