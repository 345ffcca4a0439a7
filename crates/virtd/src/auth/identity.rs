//! What is known of a client: the process at the other end of a unix socket, the name in its certificate, its SASL name.
//!
//! Everything comes from the kernel, from TLS or from SASL, never from what the client says; but a client that may write
//! to the connection can act for others ([`ClientIdentity::forward`]), as libvirt's proxy daemon does.

use std::os::fd::AsFd;
use std::sync::LazyLock;

use virt_api::call::Identity;
use virt_util::sys::process::Stat;
use virt_util::sys::socket::{PeerCredentials, peer_credentials, peer_security_label};
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::params::identity as names;
use virt_util::{ErrorCode, Result, VirtError};

/// The parameter that makes an identity the host's own; libvirt's name of it.
pub const SYSTEM_TOKEN: &str = "system.token";

/// The process at the other end of a unix socket, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its number; `None` if it is not in a name space that we can see.
    pub pid: Option<i32>,
    /// When it started, in clock ticks since the host's start; `None` if it is gone. With the number it names one
    /// process for ever.
    pub start_time: Option<u64>,
}

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientIdentity {
    /// The process, on a unix socket.
    pub unix: Option<UnixPeer>,
    /// The name of its user.
    pub user: Option<String>,
    /// The name of its group.
    pub group: Option<String>,
    /// Its SELinux context.
    pub selinux: Option<String>,
    /// The distinguished name in its certificate, on TLS.
    pub x509_name: Option<String>,
    /// The name it proved by SASL.
    pub sasl_name: Option<String>,
    /// Whom it acts for, once it has said so.
    pub forwarded: Option<Identity>,
}

impl ClientIdentity {
    /// The process that connected to a unix socket. May ask the host's user database: not for the I/O thread.
    pub fn of_unix(socket: impl AsFd) -> Result<Self> {
        let socket = socket.as_fd();
        let peer = peer_credentials(socket)?;
        let user = nix::unistd::User::from_uid(peer.uid.into()).ok().flatten();
        let group = nix::unistd::Group::from_gid(peer.gid.into()).ok().flatten();
        Ok(Self::of_peer(
            socket,
            peer,
            // libvirt shows the number of a user without a name.
            user.map_or_else(|| peer.uid.to_string(), |user| user.name),
            group.map_or_else(|| peer.gid.to_string(), |group| group.name),
        ))
    }

    /// The process that connected to a unix socket, whose user and group have these names. Asks nobody but the kernel.
    pub fn of_peer(socket: impl AsFd, peer: PeerCredentials, user: String, group: String) -> Self {
        let pid = (peer.pid > 0).then_some(peer.pid);
        Self {
            unix: Some(UnixPeer {
                uid: peer.uid,
                gid: peer.gid,
                pid,
                start_time: pid.and_then(start_time),
            }),
            user: Some(user),
            group: Some(group),
            selinux: SELINUX.then(|| peer_security_label(socket)).flatten(),
            ..Self::default()
        }
    }

    /// As drivers and policies see it: whom the client acts for, else itself.
    pub fn effective(&self) -> Identity {
        self.forwarded.clone().unwrap_or_else(|| self.own())
    }

    /// The client itself, in libvirt's parameters.
    pub fn own(&self) -> Identity {
        let mut all = TypedParams::new();
        if let Some(user) = &self.user {
            all.push(names::USER_NAME, user.as_str());
        }
        if let Some(unix) = &self.unix {
            all.push(names::UNIX_USER_ID, u64::from(unix.uid));
        }
        if let Some(group) = &self.group {
            all.push(names::GROUP_NAME, group.as_str());
        }
        if let Some(unix) = &self.unix {
            all.push(names::UNIX_GROUP_ID, u64::from(unix.gid));
            if let Some(pid) = unix.pid {
                all.push(names::PROCESS_ID, i64::from(pid));
            }
            if let Some(start_time) = unix.start_time {
                all.push(names::PROCESS_TIME, start_time);
            }
        }
        let texts = [
            (names::SASL_USER_NAME, &self.sasl_name),
            (names::X509_DISTINGUISHED_NAME, &self.x509_name),
            (names::SELINUX_CONTEXT, &self.selinux),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                all.push(name, text.as_str());
            }
        }
        // An identity without any part is the daemon's own. Of a client there is at least that it is one.
        if all.0.is_empty() {
            all.push(names::USER_NAME, "");
        }
        Identity(all)
    }

    /// Whether the client is root of this host, by the kernel's word.
    pub fn is_root(&self) -> bool {
        self.unix.is_some_and(|unix| unix.uid == 0)
    }

    /// Whether the client is root of this host or the daemon's own user, by the kernel's word.
    pub fn is_root_or_own_user(&self) -> bool {
        let own = nix::unistd::geteuid().as_raw();
        self.unix.is_some_and(|unix| unix.uid == 0 || unix.uid == own)
    }

    /// Takes the identity that the client says it acts for (`CONNECT_SET_IDENTITY`). Whether it may (`connect:write`) is
    /// the caller's to check before.
    ///
    /// # Errors
    /// Unknown parameters, wrong types, and a system token from a client that is not root of this host.
    pub fn forward(&mut self, identity: TypedParams) -> Result<()> {
        if identity.0.is_empty() {
            return Err(VirtError::invalid_arg("the identity has no part"));
        }
        for param in identity.iter() {
            let known = KNOWN.iter().find(|(name, _)| *name == param.field);
            let Some((name, kind)) = known else {
                return Err(VirtError::new(
                    ErrorCode::ARGUMENT_UNSUPPORTED,
                    format_args!("parameter '{}' is not part of an identity", param.field),
                ));
            };
            if param.value.type_number() != *kind {
                return Err(VirtError::invalid_arg(format_args!(
                    "parameter '{name}' of the identity has type {}, {kind} expected",
                    param.value.type_number()
                )));
            }
            if *name == SYSTEM_TOKEN && !self.is_root() {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_DENIED,
                    "only root of this host may pass on the system token",
                ));
            }
            if identity.iter().filter(|other| other.field == *name).count() > 1 {
                return Err(VirtError::invalid_arg(format_args!(
                    "parameter '{name}' of the identity is given more than once"
                )));
            }
        }
        self.forwarded = Some(Identity(identity));
        Ok(())
    }

    /// A line for logs: `pid 17 uid 1000 (fred) sasl fred`.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(unix) = &self.unix {
            if let Some(pid) = unix.pid {
                parts.push(format!("pid {pid}"));
            }
            parts.push(format!("uid {}", unix.uid));
        }
        for (what, text) in [
            ("user", &self.user),
            ("sasl", &self.sasl_name),
            ("certificate", &self.x509_name),
        ] {
            if let Some(text) = text {
                parts.push(format!("{what} '{}'", text.escape_debug()));
            }
        }
        match parts.is_empty() {
            true => "nobody known".to_owned(),
            false => parts.join(" "),
        }
    }
}

/// The parameters of an identity and libvirt's numbers of their types.
const KNOWN: [(&str, i32); 10] = [
    (names::USER_NAME, 7),
    (names::UNIX_USER_ID, 4),
    (names::GROUP_NAME, 7),
    (names::UNIX_GROUP_ID, 4),
    (names::PROCESS_ID, 3),
    (names::PROCESS_TIME, 4),
    (names::SASL_USER_NAME, 7),
    (names::X509_DISTINGUISHED_NAME, 7),
    (names::SELINUX_CONTEXT, 7),
    (SYSTEM_TOKEN, 7),
];

/// What polkit is asked about: a process of this host, as an identity has it.
pub fn process_of(identity: &Identity) -> Option<UnixPeer> {
    let params = &identity.0;
    let number = |name: &str| match params.get(name)? {
        TypedValue::ULLong(number) => Some(*number),
        TypedValue::LLong(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    Some(UnixPeer {
        uid: number(names::UNIX_USER_ID)?.try_into().ok()?,
        gid: number(names::UNIX_GROUP_ID)
            .and_then(|gid| gid.try_into().ok())
            .unwrap_or(u32::MAX),
        pid: number(names::PROCESS_ID).and_then(|pid| pid.try_into().ok()),
        start_time: number(names::PROCESS_TIME),
    })
}

/// When a process started, in clock ticks since the host's start.
pub fn start_time(pid: i32) -> Option<u64> {
    Stat::of(pid)?.start_time()
}

/// Whether processes have SELinux contexts; that is decided when the host starts.
static SELINUX: LazyLock<bool> = LazyLock::new(|| std::path::Path::new("/sys/fs/selinux/enforce").exists());

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn we_know_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        let identity = ClientIdentity::of_unix(&one).unwrap();
        let unix = identity.unix.unwrap();
        assert_eq!(unix.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(unix.pid, Some(std::process::id() as i32));
        assert!(unix.start_time.is_some());
        assert_eq!(process_of(&identity.own()), Some(unix));
        let names: Vec<_> = identity.own().0.iter().map(|param| param.field.clone()).collect();
        assert_eq!(
            names[..6],
            [
                "user-name",
                "unix-user-id",
                "group-name",
                "unix-group-id",
                "process-id",
                "process-time"
            ]
        );
    }

    #[test]
    fn others_are_acted_for_only_in_good_form() {
        let mut proxy = ClientIdentity::default();
        let good = TypedParams::new()
            .with(names::USER_NAME, "fred")
            .with(names::UNIX_USER_ID, 1000u64);
        proxy.forward(good.clone()).unwrap();
        assert_eq!(proxy.effective(), Identity(good));
        for bad in [
            TypedParams::new().with("colour", "red"),
            TypedParams::new().with(names::UNIX_USER_ID, 0i32),
            TypedParams::new()
                .with(names::USER_NAME, "a")
                .with(names::USER_NAME, "b"),
            TypedParams::new().with(SYSTEM_TOKEN, "x"),
        ] {
            assert!(proxy.clone().forward(bad).is_err());
        }
        proxy.unix = Some(UnixPeer {
            uid: 0,
            gid: 0,
            pid: Some(1),
            start_time: Some(1),
        });
        proxy.forward(TypedParams::new().with(SYSTEM_TOKEN, "x")).unwrap();
    }
}
