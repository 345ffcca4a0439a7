//! How long the way to an open connection waits, and for whom.
//!
//! Some steps are answered by machines alone: connecting, the TLS handshake, the list of ways to authenticate, features.
//! Each of them has an end, and the error says which step it was, who was silent, for how long, and how to wait longer. In
//! the others a person may be asked, here or over there (a password, a finger on a key, polkit), or a driver has to start:
//! those end when the caller says so and not before.

use std::time::Duration;

use parking_lot::Mutex;
use virt_api::config::ClientConfig;
use virt_util::time::Deadline;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::place::{Place, Transport, seconds};

/// Daemons take nobody in while their drivers start or while they have all the clients they want: on a large host that
/// lasts minutes, and whoever waited was served. It is also beyond what the kernel gives a connection over TCP.
pub(crate) const USUAL: Duration = Duration::from_secs(300);

/// What the other side is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connecting,
    TlsHandshake,
    /// The first answer to a packet of ours.
    Greeting,
    Identity,
    Mechanisms,
    Uri,
    Features,
}

impl Step {
    /// What did not happen.
    fn missing(self) -> &'static str {
        match self {
            Self::Connecting => "did not take the connection",
            Self::TlsHandshake => "did not finish the TLS handshake",
            Self::Greeting => "did not say how to authenticate (AUTH_LIST)",
            Self::Identity => "did not answer for whom the connection is (CONNECT_SET_IDENTITY)",
            Self::Mechanisms => "did not say which SASL mechanisms there are (AUTH_SASL_INIT)",
            Self::Uri => "did not say what it opened (CONNECT_GET_URI)",
            Self::Features => "did not say what it can do (CONNECT_SUPPORTS_FEATURE)",
        }
    }
}

/// The clocks of one opening.
pub(crate) struct Patience {
    /// Who is waited for, in words; known once the way is chosen.
    server: Mutex<String>,
    /// When the caller gives up.
    caller: Deadline,
    /// How long a step of machines may take; `None` is without end.
    step: Option<Duration>,
    /// Before the first answer a program of the user's may ask him things.
    greeting: Option<Duration>,
}

impl Patience {
    /// From the URI, or else the client's configuration.
    pub fn of(place: &Place, config: &ClientConfig, caller: Deadline) -> Result<Self> {
        let configured = match config.number("remote_open_timeout")? {
            Some(number) => Some(seconds("remote_open_timeout", &number.to_string())?),
            None => None,
        };
        let limit = |given: Option<Option<Duration>>, usual| given.unwrap_or(usual);
        let step = limit(place.open_timeout, limit(configured, Some(USUAL)));
        let greeting = match place.transport {
            // A password, a passphrase, the host's key: only who names a time for this very connection means these too.
            Transport::Ssh | Transport::Libssh | Transport::Libssh2 | Transport::Ext => {
                limit(place.open_timeout, None)
            }
            Transport::Unix | Transport::Tcp | Transport::Tls => step,
        };
        Ok(Self {
            server: Mutex::default(),
            caller,
            step,
            greeting,
        })
    }

    /// Names who is waited for from now on.
    pub fn name_server(&self, server: impl std::fmt::Display) {
        *self.server.lock() = server.to_string();
    }

    /// When the caller gives up: for steps that may ask a person.
    pub fn caller(&self) -> Deadline {
        self.caller
    }

    /// Takes a step of machines, which `run` has to end at the deadline it gets.
    pub fn within<T>(&self, step: Step, run: impl FnOnce(Deadline) -> Result<T>) -> Result<T> {
        let limit = match step {
            Step::Greeting => self.greeting,
            _ => self.step,
        };
        let until = limit.map_or(self.caller, |limit| self.caller.at_most(limit));
        run(until).map_err(|error| {
            let late = error.code() == ErrorCode::OPERATION_TIMEOUT && until.has_passed();
            match (late, limit) {
                (true, Some(limit)) if !self.caller.has_passed() => self.late(step, limit),
                (true, _) => self.too_late_for_caller(step),
                (false, _) => error,
            }
        })
    }

    fn late(&self, step: Step, limit: Duration) -> VirtError {
        VirtError::new(
            ErrorCode::OPERATION_TIMEOUT,
            format_args!(
                "{} {} within {} seconds (open_timeout=SECONDS in the URI or remote_open_timeout in libvirt.conf changes \
                 this time, 0 is without end)",
                self.server.lock(),
                step.missing(),
                limit.as_secs()
            ),
        )
        .in_domain(ErrorDomain::RPC)
    }

    fn too_late_for_caller(&self, step: Step) -> VirtError {
        VirtError::new(
            ErrorCode::OPERATION_TIMEOUT,
            format_args!(
                "{} {} in the time that the program gives to opening a connection",
                self.server.lock(),
                step.missing()
            ),
        )
        .in_domain(ErrorDomain::RPC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(uri: &str, config: &str) -> Result<Patience> {
        let config = ClientConfig::parse(config).unwrap();
        Patience::of(&Place::of(uri).unwrap(), &config, Deadline::NONE)
    }

    fn limits(uri: &str, config: &str) -> (Option<u64>, Option<u64>) {
        let patience = patience(uri, config).unwrap();
        (
            patience.greeting.map(|time| time.as_secs()),
            patience.step.map(|time| time.as_secs()),
        )
    }

    #[test]
    fn the_uri_wins_over_the_configuration_and_people_have_time() {
        let configured = "remote_open_timeout = 7\n";
        assert_eq!(limits("qemu:///system", ""), (Some(300), Some(300)));
        assert_eq!(limits("qemu://far/system", configured), (Some(7), Some(7)));
        assert_eq!(
            limits("qemu://far/system?open_timeout=9", configured),
            (Some(9), Some(9))
        );
        assert_eq!(
            limits("qemu://far/system?open_timeout=0", configured),
            (None, None)
        );
        assert_eq!(limits("qemu+ssh://far/system", configured), (None, Some(7)));
        assert_eq!(
            limits("qemu+ssh://far/system?open_timeout=9", configured),
            (Some(9), Some(9))
        );
        assert_eq!(
            limits("qemu+ext:///system?command=x", "remote_open_timeout = 0\n"),
            (None, None)
        );
    }

    #[test]
    fn times_that_are_none_are_refused_with_their_name() {
        let error = patience("qemu:///system", "remote_open_timeout = \"soon\"\n")
            .err()
            .unwrap();
        assert!(error.message().contains("remote_open_timeout"), "{error}");
        for wrong in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            let error = Place::of(&format!("qemu:///system?open_timeout={wrong}")).unwrap_err();
            assert_eq!(error.code(), ErrorCode::INVALID_ARG);
            assert!(error.message().contains("open_timeout"), "{error}");
        }
    }

    #[test]
    fn only_what_came_too_late_is_said_to_be_late() {
        let patience = patience("qemu:///system?open_timeout=1", "").unwrap();
        patience.name_server("server 'x'");
        let refused = VirtError::new(ErrorCode::OPERATION_TIMEOUT, "the daemon's own clock");
        let error = patience
            .within(Step::Greeting, |_| Err::<(), _>(refused.clone()))
            .unwrap_err();
        assert_eq!(error, refused);
        let error = patience
            .within(Step::Greeting, |until| {
                std::thread::sleep(until.remaining().unwrap());
                Err::<(), _>(refused)
            })
            .unwrap_err();
        for part in ["server 'x'", "AUTH_LIST", "within 1 seconds", "open_timeout="] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}
