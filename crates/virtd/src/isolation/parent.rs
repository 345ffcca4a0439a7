//! The daemon, seen from a driver's process: it decides who may do what, keeps what only one may have, and writes the
//! records.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use parking_lot::Mutex;
use virt_api::call::Identity;
use virt_api::host::{Claim, ClaimKind};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, MessageType, Packet, Status};
use virt_util::audit::AuditRecord;
use virt_util::sys::inherit::inherited_fd;
use virt_util::typed_param::TypedParams;
use virt_util::uuid::{self, Uuid};
use virt_util::xdr::XdrDecode;
use virt_util::{ErrorCode, Result, VirtError};

use super::talk::{PROGRAM, Reading, Talk, VERSION, Words, ask, tell};
use crate::host::AccessCheck;

/// How long the daemon may take for an answer: it may have to ask polkit.
const ANSWER: Duration = Duration::from_secs(120);

/// What waits for an answer.
type Waiting = HashMap<u32, SyncSender<Result<Vec<u8>>>>;

/// The way to the daemon.
pub struct Parent {
    talk: Talk,
    /// Held for looking.
    waiting: Mutex<Waiting>,
    serial: AtomicU32,
    enforced: AtomicBool,
    host_uuid: OnceLock<Uuid>,
    socket: PathBuf,
    on_stop: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Parent {
    /// The daemon that has started this process, which answers for all its drivers at `socket`. When the daemon goes,
    /// this process is told to end.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_this_process(driver: &str, socket: &Path) -> Result<Arc<Self>> {
        Self::over(UnixStream::from(inherited_fd(0)?), driver, socket, || {
            // Nobody needs this process any more.
            if let Err(errno) = raise(Signal::SIGTERM) {
                tracing::error!("the daemon is gone, and its end cannot be followed: {errno}");
            }
        })
    }

    /// A daemon at the other end of `stream`; `at_end` is told when it goes.
    pub(super) fn over(
        stream: UnixStream,
        driver: &str,
        socket: &Path,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Self>> {
        let parent = Arc::new(Self {
            talk: Talk::new(stream),
            waiting: Mutex::default(),
            serial: AtomicU32::new(0),
            enforced: AtomicBool::new(false),
            host_uuid: OnceLock::new(),
            socket: socket.to_owned(),
            on_stop: OnceLock::new(),
        });
        let listener = Arc::clone(&parent);
        std::thread::Builder::new()
            .name("virtd-parent".to_owned())
            .spawn(move || {
                listener.listen();
                at_end();
            })
            .map_err(|error| VirtError::io(&error, "cannot listen to the daemon"))?;
        let answer = parent.ask(ask::HELLO, Words::default().word(driver)?)?;
        let mut answer = Reading::of(&answer);
        parent.enforced.store(answer.number()? != 0, Ordering::Relaxed);
        let host_uuid = uuid::parse(answer.word()?)?;
        parent.host_uuid.get_or_init(|| host_uuid);
        Ok(parent)
    }

    /// Where all drivers of the daemon can be reached.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The UUID by which drivers know this host.
    pub fn host_uuid(&self) -> Option<Uuid> {
        self.host_uuid.get().copied()
    }

    /// What to do when the daemon wants saved what would be lost.
    pub fn on_stop(&self, stop: impl Fn() + Send + Sync + 'static) {
        self.on_stop.get_or_init(|| Box::new(stop));
    }

    /// The driver is up.
    pub fn ready(&self) {
        if let Err(error) = self.ask(ask::READY, Words::default()) {
            tracing::error!("the daemon does not hear that the driver is up: {error}");
        }
    }

    /// [`virt_api::host::Host::claim`].
    pub(crate) fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let words = Words::default().number(kind.number()).word(key)?.word(owner)?;
        self.ask(ask::CLAIM, words).map(drop)
    }

    /// [`virt_api::host::Host::release`].
    pub(crate) fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let words = Words::default().number(kind.number()).word(key)?.word(owner)?;
        self.ask(ask::RELEASE, words).map(drop)
    }

    /// [`virt_api::host::Host::claims`].
    pub(crate) fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>> {
        let answer = self.ask(ask::CLAIMS, Words::default().number(kind.number()))?;
        let mut answer = Reading::of(&answer);
        let count = answer.number()?;
        (0..count)
            .map(|_| {
                Ok(Claim {
                    key: answer.word()?.to_owned(),
                    owner: answer.word()?.to_owned(),
                })
            })
            .collect()
    }

    /// [`virt_api::host::Host::inhibit`].
    pub(crate) fn inhibit(&self, inhibited: bool) {
        if let Err(error) = self.ask(ask::INHIBIT, Words::default().number(inhibited.into())) {
            tracing::error!("the daemon does not know whether it has to stay: {error}");
        }
    }

    /// [`virt_api::host::Host::audit`].
    pub(crate) fn audit(&self, record: &AuditRecord) -> Result<()> {
        self.ask(ask::AUDIT, Words::default().params(&record.to_params())?)
            .map(drop)
    }

    fn ask(&self, what: i32, words: Words) -> Result<Vec<u8>> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (give, take) = sync_channel(1);
        self.waiting.lock().insert(serial, give);
        let header = Header::call(PROGRAM, VERSION, what, serial);
        let answer = self.talk.send(&header, &words.bytes()).and_then(|()| {
            // An end of the conversation lets go of all that wait.
            take.recv_timeout(ANSWER).map_err(|_| {
                VirtError::new(
                    ErrorCode::OPERATION_TIMEOUT,
                    "the daemon of this driver's process does not answer",
                )
            })?
        });
        self.waiting.lock().remove(&serial);
        answer
    }

    fn listen(self: Arc<Self>) {
        if let Err(error) = self.talk.listen(|packet| self.take(packet)) {
            tracing::error!("{error}");
        }
        self.waiting.lock().clear();
    }

    fn take(self: &Arc<Self>, packet: Packet) {
        match (packet.header.kind, packet.header.procedure) {
            (MessageType::Reply, _) => {
                let answer = match packet.header.status {
                    Status::Ok => Ok(packet.payload),
                    _ => Err(ErrorMessage::from_xdr(&packet.payload)
                        .map_or_else(|error| error, ErrorMessage::into_error)),
                };
                if let Some(waiter) = self.waiting.lock().remove(&packet.header.serial) {
                    // Whoever waited may have given up.
                    let _ = waiter.try_send(answer);
                }
            }
            (MessageType::Message, tell::ENFORCED) => {
                if let Ok(enforced) = Reading::of(&packet.payload).number() {
                    self.enforced.store(enforced != 0, Ordering::Relaxed);
                }
            }
            (MessageType::Message, tell::RELOAD) => {
                if let Err(errno) = raise(Signal::SIGHUP) {
                    tracing::error!("the configuration is not read again: {errno}");
                }
            }
            (MessageType::Message, tell::ALIVE) => {
                // A daemon that is gone needs no answer.
                let _ = self.talk.tell(tell::ALIVE, &[]);
            }
            (MessageType::Message, tell::STOP) => {
                let parent = Arc::clone(self);
                let stopping = std::thread::Builder::new()
                    .name("virtd-stop".to_owned())
                    .spawn(move || {
                        if let Some(stop) = parent.on_stop.get() {
                            stop();
                        }
                        // The daemon does not wait for ever.
                        let _ = parent.ask(ask::STOPPED, Words::default());
                    });
                if let Err(error) = stopping {
                    tracing::error!("nothing is saved: {error}");
                }
            }
            (kind, procedure) => tracing::debug!("the daemon says {procedure} in a packet of type {kind:?}"),
        }
    }
}

impl AccessCheck for Parent {
    fn enforced(&self) -> bool {
        self.enforced.load(Ordering::Relaxed)
    }

    fn may_wait(&self) -> bool {
        // It is in another process.
        self.enforced()
    }

    fn check(
        &self,
        identity: &Identity,
        _driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        let words = Words::default()
            .params(&identity.0)?
            .word(permission)?
            .word(object)?
            .params(attributes)?;
        let answer = self.ask(ask::CHECK, words)?;
        Ok(Reading::of(&answer).number()? != 0)
    }
}

impl std::fmt::Debug for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parent({})", self.socket.display())
    }
}
