//! Records of who connected, who was let in and what was refused: for the kernel's audit trail and for the log.
//!
//! The kernel takes records over a netlink socket; nothing here waits for it. A record that the kernel refuses is told
//! to the log once. What is recorded of guests comes from their drivers, over the host's services.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use virt_util::audit::{AuditRecord, quoted};
use virt_util::{ErrorCode, Result, VirtError};

use crate::auth::identity::ClientIdentity;
use crate::config::{Auth, DaemonConfig};

/// The kernel's number of a record about a proof of identity (`AUDIT_USER_AUTH`).
const USER_AUTH: u16 = 1100;
/// The kernel's number of a record about a permission (`AUDIT_USER_ACCT`).
const USER_ACCT: u16 = 1101;
/// The kernel's numbers of records about a session (`AUDIT_USER_START`, `AUDIT_USER_END`).
const USER_START: u16 = 1105;
const USER_END: u16 = 1106;

/// The most of a record's text; the kernel takes a little more.
const TEXT_MAX: usize = 8_000;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client has tried to prove who it is.
    Authenticated {
        /// How.
        method: Auth,
        /// Whether it has.
        success: bool,
    },
    /// A client has opened a connection to a driver.
    Opened {
        /// Where to.
        uri: &'a str,
        /// Whether it may only look.
        read_only: bool,
    },
    /// A client that had opened a connection is gone.
    Closed,
    /// A call was refused.
    Denied {
        /// The public function, or the name of the procedure.
        operation: &'a str,
        /// Why.
        reason: &'a str,
    },
}

/// Takes records.
#[derive(Debug)]
pub struct Audit {
    kernel: Option<Kernel>,
    log: AtomicBool,
}

impl Audit {
    /// As the configuration wants it (`audit_level`, `audit_logging`).
    ///
    /// # Errors
    /// Where the kernel's audit trail is demanded and not there.
    pub fn open(config: &DaemonConfig) -> Result<Self> {
        let kernel = match config.audit_level {
            0 => None,
            level => match Kernel::open() {
                Ok(kernel) => Some(kernel),
                Err(errno) if level > 1 => {
                    return Err(VirtError::system(
                        errno as i32,
                        format_args!(
                            "audit_level is {level}, and the kernel's audit trail cannot be reached"
                        ),
                    ));
                }
                Err(errno) => {
                    tracing::debug!("no records for the kernel's audit trail: {errno}");
                    None
                }
            },
        };
        Ok(Self {
            kernel,
            log: AtomicBool::new(config.audit_logging),
        })
    }

    /// No records at all.
    pub fn none() -> Self {
        Self {
            kernel: None,
            log: AtomicBool::new(false),
        }
    }

    /// Takes what a reload may change.
    pub fn reload(&self, config: &DaemonConfig) {
        self.log.store(config.audit_logging, Ordering::Relaxed);
    }

    /// Whether anybody reads records.
    pub fn is_on(&self) -> bool {
        self.kernel.is_some() || self.log.load(Ordering::Relaxed)
    }

    /// Takes a record about the client `who`, who comes from that address, or from this host.
    pub fn record(&self, event: Event<'_>, who: &ClientIdentity, peer: Option<&str>) {
        let log = self.log.load(Ordering::Relaxed);
        if self.kernel.is_none() && !log {
            return;
        }
        let (kind, success, mut text) = describe(event);
        append_client(&mut text, who);
        self.write(kind, success, text, peer, log);
    }

    /// Takes a record about a guest, from a driver.
    pub fn record_guest(&self, record: &AuditRecord) {
        let log = self.log.load(Ordering::Relaxed);
        if self.kernel.is_some() || log {
            self.write(record.kind().number(), record.success(), record.text(), None, log);
        }
    }

    fn write(&self, kind: u16, success: bool, mut text: String, peer: Option<&str>, log: bool) {
        append_origin(&mut text, peer);
        let _ = write!(text, " res={}", if success { "success" } else { "failed" });
        if log {
            if success {
                tracing::info!(target: "virtd::audit", "{text}");
            } else {
                tracing::warn!(target: "virtd::audit", "{text}");
            }
        }
        if let Some(kernel) = &self.kernel {
            kernel.send(kind, &text);
        }
    }
}

fn describe(event: Event<'_>) -> (u16, bool, String) {
    match event {
        Event::Authenticated { method, success } => (
            USER_AUTH,
            success,
            format!("op=authenticate method={}", method.name()),
        ),
        Event::Opened { uri, read_only } => (
            USER_START,
            true,
            format!("op=open uri={} read_only={}", quoted(uri), u8::from(read_only)),
        ),
        Event::Closed => (USER_END, true, "op=close".to_owned()),
        Event::Denied { operation, reason } => (
            USER_ACCT,
            false,
            format!("op=call function={} reason={}", quoted(operation), quoted(reason)),
        ),
    }
}

fn append_client(text: &mut String, who: &ClientIdentity) {
    if let Some(unix) = &who.unix {
        if let Some(pid) = unix.pid {
            let _ = write!(text, " client_pid={pid}");
        }
        let _ = write!(text, " client_uid={}", unix.uid);
    }
    // The name that was proved best.
    let account = who
        .sasl_name
        .as_ref()
        .or(who.x509_name.as_ref())
        .or(who.user.as_ref());
    if let Some(account) = account {
        let _ = write!(text, " acct={}", quoted(account));
    }
}

/// What every record ends with: this program, and where the client is.
fn append_origin(text: &mut String, peer: Option<&str>) {
    // Without the port.
    let addr = peer
        .and_then(|peer| peer.rsplit_once(':'))
        .map_or("?", |(addr, _)| addr);
    let _ = write!(text, " exe={} hostname=? addr={addr} terminal=?", *PROGRAM);
}

/// The program's path, as records have it.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let path = std::env::current_exe().map_or_else(|_| "virtd".to_owned(), |path| path.display().to_string());
    quoted(&path)
});

/// The kernel's end of the audit trail.
#[derive(Debug)]
struct Kernel {
    socket: OwnedFd,
    serial: AtomicU32,
    complained: AtomicBool,
}

impl Kernel {
    fn open() -> std::result::Result<Self, Errno> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkAudit,
        )?;
        Ok(Self {
            socket,
            serial: AtomicU32::new(1),
            complained: AtomicBool::new(false),
        })
    }

    fn send(&self, kind: u16, text: &str) {
        const REQUEST: u16 = 1;
        const HEADER: usize = 16;
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default().as_bytes();
        let length = u32::try_from(HEADER + text.len() + 1).unwrap_or_default();
        let mut message = Vec::with_capacity(length as usize);
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&REQUEST.to_ne_bytes());
        message.extend_from_slice(&self.serial.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(text);
        message.push(0);
        let to = NetlinkAddr::new(0, 0);
        let sent = sendto(self.socket.as_raw_fd(), &message, &to, MsgFlags::MSG_DONTWAIT);
        if let Some(errno) = sent.err().or_else(|| self.answered()) {
            let first = !self.complained.swap(true, Ordering::Relaxed);
            if first {
                tracing::warn!("the kernel takes no audit records: {errno}");
            }
        }
    }

    /// Reads away what the kernel had to say; the last error in it. It speaks only where it refuses.
    fn answered(&self) -> Option<Errno> {
        const ERROR: u16 = 2;
        let mut last = None;
        let mut buffer = [0u8; 8192];
        // Bounded: nobody but the kernel writes here, and it writes once for each record.
        for _ in 0..64 {
            let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) else {
                break;
            };
            let message = buffer.get(..length).unwrap_or_default();
            let kind = message
                .get(4..6)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u16::from_ne_bytes);
            let code = message
                .get(16..20)
                .and_then(|bytes| bytes.try_into().ok())
                .map(i32::from_ne_bytes);
            if let (Some(ERROR), Some(code)) = (kind, code)
                && code != 0
            {
                last = Some(Errno::from_raw(-code));
            }
        }
        last
    }
}

/// The reason of a refusal as records have it; `None` for an error that is none.
pub fn denial(error: &VirtError) -> Option<&str> {
    [ErrorCode::ACCESS_DENIED, ErrorCode::OPERATION_DENIED]
        .contains(&error.code())
        .then(|| error.detail())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::UnixPeer;

    #[test]
    fn records_are_safe_to_read() {
        let who = ClientIdentity {
            unix: Some(UnixPeer {
                uid: 1000,
                gid: 1000,
                pid: Some(7),
                start_time: None,
            }),
            user: Some("fred".to_owned()),
            sasl_name: Some("fred@X".to_owned()),
            ..ClientIdentity::default()
        };
        let (kind, success, mut text) = describe(Event::Denied {
            operation: "virDomainCreate",
            reason: "'domain:start' is not allowed",
        });
        append_client(&mut text, &who);
        append_origin(&mut text, None);
        assert_eq!((kind, success), (1101, false));
        assert!(
            text.starts_with("op=call function=\"virDomainCreate\" reason=27646F6D"),
            "{text}"
        );
        assert!(
            text.contains(" client_pid=7 client_uid=1000 acct=\"fred@X\" exe="),
            "{text}"
        );
    }

    #[test]
    fn levels() {
        let role = crate::config::Role::new("libvirtd", true);
        let open = |text: &str| {
            let config = DaemonConfig::parse(&role, "test", text).unwrap().config;
            Audit::open(&config)
        };
        assert!(open("audit_level = 0\n").unwrap().kernel.is_none());
        // Whether the kernel has it or not.
        let audit = open("audit_level = 1\naudit_logging = 1\n").unwrap();
        let event = Event::Authenticated {
            method: Auth::Sasl,
            success: true,
        };
        audit.record(event, &ClientIdentity::default(), None);
        assert_eq!(open("audit_level = 2\n").is_ok(), Kernel::open().is_ok());
    }
}
