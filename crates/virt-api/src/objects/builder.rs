//! How to connect.

use super::Connect;
use super::event::EventTable;
use crate::driver::{CONNECT_NO_ALIASES, CONNECT_RO};
use crate::host::{CredentialRequest, CredentialSource};
use crate::plugin::Entry;
use crate::process::{self, Connecting};
use std::sync::Arc;
use std::time::Duration;
use virt_util::Result;
use virt_util::time::Deadline;
use virt_util::types::ConnectCredentialType;

/// Options of a connection; [`Connect::builder`] makes one, [`ConnectBuilder::open`] uses it.
#[derive(Clone, Default)]
pub struct ConnectBuilder {
    connecting: Connecting,
    timeout: Option<Duration>,
}

impl ConnectBuilder {
    /// Where to: a URI or an alias. Without one the user's default is used.
    #[must_use]
    pub fn uri(mut self, uri: &str) -> Self {
        self.connecting.uri = Some(uri.to_owned()).filter(|uri| !uri.is_empty());
        self
    }

    /// Whether calls that change something are refused.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.set_flag(CONNECT_RO, read_only);
        self
    }

    /// Whether a name without a colon is looked up among the user's aliases, as it is by default.
    #[must_use]
    pub fn aliases(mut self, resolve: bool) -> Self {
        self.set_flag(CONNECT_NO_ALIASES, !resolve);
        self
    }

    fn set_flag(&mut self, flag: u32, on: bool) {
        if on {
            self.connecting.flags |= flag;
        } else {
            self.connecting.flags &= !flag;
        }
    }

    /// Who answers when the other side wants a name or a password: one answer for each question, in order.
    #[must_use]
    pub fn credentials(
        mut self,
        ask: impl Fn(&[CredentialRequest]) -> Result<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        self.connecting.credentials = Some(Arc::new(Asked(ask)));
        self
    }

    /// How long opening and each call may take. Without it they take as long as they take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Uses a driver that is part of this program instead of those installed. All connections of the process to it
    /// share one driver object.
    #[must_use]
    pub fn built_in<E: Entry>(mut self) -> Self {
        self.connecting.registry = Some(process::built_in::<E>);
        self
    }

    /// Connects.
    pub fn open(mut self) -> Result<Connect> {
        self.connecting.deadline = self.timeout.map_or(Deadline::NONE, Deadline::after);
        let connected = process::connect(&self.connecting)?;
        Ok(Connect::new(
            connected.router,
            Arc::new(EventTable::default()),
            connected.uri,
            self.timeout,
            self.connecting.flags & CONNECT_RO != 0,
        ))
    }
}

impl std::fmt::Debug for ConnectBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectBuilder")
            .field("uri", &self.connecting.uri)
            .finish_non_exhaustive()
    }
}

struct Asked<F>(F);

impl<F: Fn(&[CredentialRequest]) -> Result<Vec<String>> + Send + Sync> CredentialSource for Asked<F> {
    fn kinds(&self) -> Vec<u32> {
        [
            ConnectCredentialType::AUTHNAME,
            ConnectCredentialType::ECHOPROMPT,
            ConnectCredentialType::REALM,
            ConnectCredentialType::PASSPHRASE,
            ConnectCredentialType::NOECHOPROMPT,
            ConnectCredentialType::EXTERNAL,
        ]
        .map(|kind| kind.0.unsigned_abs())
        .to_vec()
    }

    fn request(&self, questions: &[CredentialRequest]) -> Result<Vec<String>> {
        (self.0)(questions)
    }
}
