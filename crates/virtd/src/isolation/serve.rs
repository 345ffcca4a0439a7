//! The daemon's side of the conversation with a driver's process.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use virt_api::call::Identity;
use virt_api::host::ClaimKind;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{MessageType, Packet, Status};
use virt_util::audit::AuditRecord;
use virt_util::xdr::XdrEncode;
use virt_util::{Result, VirtError};

use super::talk::{PROGRAM, Reading, Talk, Words, ask};
use crate::host::DaemonHost;

/// A thing that is held: number of its kind, key, owner.
type Held = (u32, String, String);

/// What a driver holds of what only one may have, whatever becomes of its process.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Taken by the process that runs.
    current: BTreeSet<Held>,
    /// Taken by the one before, which may be needed again: guests can outlive their driver.
    earlier: BTreeSet<Held>,
}

impl Holdings {
    /// Another process begins.
    pub(super) fn begin(&mut self) {
        self.earlier.append(&mut self.current);
    }
}

/// Answers a driver's process until its end.
pub(super) struct Service {
    pub(super) driver: String,
    pub(super) host: Weak<DaemonHost>,
    pub(super) talk: Arc<Talk>,
    pub(super) holdings: Arc<Mutex<Holdings>>,
    /// Told when the driver has saved what would be lost.
    pub(super) stopped: std::sync::mpsc::SyncSender<()>,
    /// Set by whatever the process says.
    pub(super) heard: Arc<AtomicBool>,
}

impl Service {
    pub(super) fn run(self) {
        let service = Arc::new(self);
        let mut inhibitions = 0u32;
        let ended = service.talk.listen(|packet| {
            service.heard.store(true, Ordering::Relaxed);
            if packet.header.kind != MessageType::Call || packet.header.program != PROGRAM {
                return;
            }
            if packet.header.procedure == ask::CHECK && service.may_wait() {
                // Others shall not wait for polkit.
                let asked = Arc::clone(&service);
                let spawned = std::thread::Builder::new()
                    .name("virtd-check".to_owned())
                    .spawn(move || asked.take(&packet, &mut 0));
                if let Err(error) = spawned {
                    tracing::error!(driver = service.driver, "a question cannot be asked: {error}");
                }
                return;
            }
            service.take(&packet, &mut inhibitions);
        });
        if let Err(error) = ended {
            tracing::debug!(driver = service.driver, "{error}");
        }
        if let Some(host) = service.host.upgrade() {
            (0..inhibitions).for_each(|_| host.inhibitions().change(false));
        }
    }

    fn may_wait(&self) -> bool {
        self.host.upgrade().is_some_and(|host| host.access_may_wait())
    }

    fn take(&self, packet: &Packet, inhibitions: &mut u32) {
        let header = packet.header;
        let sent = match self.answer(header.procedure, &packet.payload, inhibitions) {
            Ok(words) => self.talk.send(&header.reply(Status::Ok), &words.bytes()),
            Err(error) => ErrorMessage::from(&error)
                .to_xdr()
                .and_then(|payload| self.talk.send(&header.reply(Status::Error), &payload)),
        };
        if let Err(error) = sent {
            tracing::debug!(driver = self.driver, "{error}");
        }
    }

    fn answer(&self, what: i32, payload: &[u8], inhibitions: &mut u32) -> Result<Words> {
        let host = self
            .host
            .upgrade()
            .ok_or_else(|| VirtError::new(virt_util::ErrorCode::OPERATION_ABORTED, "the daemon is gone"))?;
        let mut asked = Reading::of(payload);
        let done = Words::default();
        match what {
            ask::HELLO => {
                let uuid = virt_util::uuid::format(&host.host_uuid());
                return done.number(host.enforced().into()).word(&uuid);
            }
            ask::CHECK => {
                let identity = Identity(asked.params()?);
                let (permission, object) = (asked.word()?, asked.word()?);
                let attributes = asked.params()?;
                // It is the driver that we have started, whatever it says.
                let allowed = host.check_access(&identity, &self.driver, permission, object, &attributes)?;
                return Ok(done.number(allowed.into()));
            }
            ask::CLAIM => {
                let (number, key, owner) = (asked.number()?, asked.word()?, asked.word()?);
                host.claims().claim(claim_kind(number)?, key, owner)?;
                let held = (number, key.to_owned(), owner.to_owned());
                let mut holdings = self.holdings.lock();
                holdings.earlier.remove(&held);
                holdings.current.insert(held);
            }
            ask::RELEASE => {
                let (number, key, owner) = (asked.number()?, asked.word()?, asked.word()?);
                host.claims().release(claim_kind(number)?, key, owner)?;
                let held = (number, key.to_owned(), owner.to_owned());
                let mut holdings = self.holdings.lock();
                holdings.earlier.remove(&held);
                holdings.current.remove(&held);
            }
            ask::CLAIMS => {
                let claims = host.claims().list(claim_kind(asked.number()?)?);
                let count = u32::try_from(claims.len()).unwrap_or(u32::MAX);
                return claims.iter().try_fold(done.number(count), |words, claim| {
                    words.word(&claim.key)?.word(&claim.owner)
                });
            }
            ask::INHIBIT => {
                let inhibited = asked.number()? != 0;
                *inhibitions = match inhibited {
                    true => inhibitions.saturating_add(1),
                    false => inhibitions.saturating_sub(1),
                };
                host.inhibitions().change(inhibited);
            }
            ask::AUDIT => host.record(&AuditRecord::from_params(&asked.params()?)?),
            ask::READY => {
                let left = std::mem::take(&mut self.holdings.lock().earlier);
                for (number, key, owner) in left {
                    if let Ok(kind) = claim_kind(number) {
                        // Somebody else may have it by now, who asked for it while nobody did.
                        let _ = host.claims().release(kind, &key, &owner);
                    }
                }
            }
            ask::STOPPED => _ = self.stopped.try_send(()),
            other => return Err(VirtError::no_support(format_args!("host service {other}"))),
        }
        Ok(done)
    }
}

fn claim_kind(number: u32) -> Result<ClaimKind> {
    ClaimKind::from_number(number)
        .ok_or_else(|| VirtError::no_support(format_args!("claims of kind {number}")))
}
