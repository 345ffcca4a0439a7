//! Asking polkit whether a process may do something.
//!
//! The question names the process by number, start time and user, so that nobody else can take its place while polkit
//! thinks. A question that its asker gives up (drops) is taken back at polkit, where a dialog may be open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use virt_util::{ErrorCode, Result, VirtError};
use zbus::Connection;
use zbus::Variant;

use super::identity::UnixPeer;

/// How long polkit may think when it asks nobody.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a person may take to type a password.
const DIALOG: Duration = Duration::from_secs(300);

const SERVICE: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// Whether polkit may ask a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// It may.
    Allowed,
    /// It may not: the answer comes from rules alone.
    None,
}

/// What polkit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Yes,
    /// It may not, in words for the client.
    No(VirtErrorText),
}

/// An error as a value that can be compared and kept: code and detail.
pub type VirtErrorText = (ErrorCode, String);

/// polkit on the system's bus.
#[derive(Debug, Default)]
pub struct Polkit {
    /// The connection to the bus, made at the first question and again after it broke. Held while it is made.
    bus: Mutex<Option<Connection>>,
    /// Where the bus is; `None` for the system's.
    address: Option<String>,
    next: AtomicU64,
}

type CheckReply = (bool, bool, HashMap<String, String>);

impl Polkit {
    /// polkit on the system's bus.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// polkit on the bus at `address`.
    pub fn at(address: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            address: Some(address.into()),
            ..Self::default()
        })
    }

    async fn bus(&self) -> zbus::Result<Connection> {
        let mut bus = self.bus.lock().await;
        if let Some(bus) = &*bus {
            return Ok(bus.clone());
        }
        let made = match &self.address {
            None => Connection::system().await?,
            Some(address) => {
                zbus::connection::Builder::address(address.as_str())
                    .build()
                    .await?
            }
        };
        *bus = Some(made.clone());
        Ok(made)
    }

    /// Asks whether a process may do `action`, with what rules may want to know beside it.
    ///
    /// # Errors
    /// Where there is no answer: no process to ask about, no bus, no polkit, no answer in time.
    pub async fn check(
        self: &Arc<Self>,
        action: &str,
        process: UnixPeer,
        details: &[(String, String)],
        interaction: Interaction,
    ) -> Result<Verdict> {
        let (Some(pid), Some(start_time)) = (process.pid, process.start_time) else {
            return Err(failed("the process of the client cannot be told from others"));
        };
        let pid = u32::try_from(pid).map_err(|_| failed("the client has no process"))?;
        let limit = match interaction {
            Interaction::Allowed => DIALOG,
            Interaction::None => ANSWER,
        };
        let question = async {
            let bus = self.bus().await?;
            let cancellation = format!(
                "virtd-{}-{}",
                std::process::id(),
                self.next.fetch_add(1, Ordering::Relaxed)
            );
            let mut taken_back = TakeBack {
                bus: bus.clone(),
                cancellation: Some(cancellation.clone()),
            };
            let mut subject: HashMap<&str, Variant<'_>> = HashMap::new();
            subject.insert("pid", pid.into());
            subject.insert("start-time", start_time.into());
            subject.insert("uid", uid_value(process.uid));
            let details: HashMap<&str, &str> = details
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let flags = u32::from(interaction == Interaction::Allowed);
            let reply = bus
                .call_method(
                    Some(SERVICE),
                    PATH,
                    Some(INTERFACE),
                    "CheckAuthorization",
                    &(
                        ("unix-process", subject),
                        action,
                        details,
                        flags,
                        cancellation.as_str(),
                    ),
                )
                .await;
            // There is nothing to take back any more.
            taken_back.cancellation = None;
            let (reply,): (CheckReply,) = reply?.body().deserialize()?;
            Ok::<CheckReply, zbus::Error>(reply)
        };
        let (authorized, challenge, facts) = match tokio::time::timeout(limit, question).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                // The next question makes a new connection, if it was that.
                *self.bus.lock().await = None;
                return Err(failed(format_args!(
                    "polkit cannot be asked about '{action}': {error}"
                )));
            }
            Err(_) => {
                return Err(failed(format_args!(
                    "polkit has not answered about '{action}' in {} seconds",
                    limit.as_secs()
                )));
            }
        };
        Ok(if authorized {
            Verdict::Yes
        } else if facts.get("polkit.dismissed").is_some_and(|value| value == "true") {
            Verdict::No((
                ErrorCode::AUTH_CANCELLED,
                "the question for a password was dismissed".to_owned(),
            ))
        } else if challenge {
            Verdict::No((
                ErrorCode::AUTH_UNAVAILABLE,
                format!("action '{action}' needs a password, and no agent of polkit asks for one"),
            ))
        } else {
            Verdict::No((ErrorCode::AUTH_FAILED, "access denied by policy".to_owned()))
        })
    }
}

fn failed(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::AUTH_FAILED, what)
}

/// polkit wants a signed number.
#[allow(
    clippy::cast_possible_wrap,
    reason = "D-Bus has the bits of the number in a signed one"
)]
fn uid_value(uid: u32) -> Variant<'static> {
    (uid as i32).into()
}

/// Takes a question back when whoever asked is gone.
struct TakeBack {
    bus: Connection,
    cancellation: Option<String>,
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        let Some(cancellation) = self.cancellation.take() else {
            return;
        };
        let bus = self.bus.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let question = (cancellation.as_str(),);
                let asked = bus.call_method(
                    Some(SERVICE),
                    PATH,
                    Some(INTERFACE),
                    "CancelCheckAuthorization",
                    &question,
                );
                let _ = tokio::time::timeout(ANSWER, asked).await;
            });
        }
    }
}
