//! What a client may do, once it has proved who it is.
//!
//! Two checkpoints ask the same rules. [`Access::admit`] is the first, before a byte of the arguments becomes an object:
//! is the client known, is its connection read-only, does it hold what the procedure needs on any object at all.
//! [`AccessCheck::check`] is the second: drivers ask it about the object that they found, and about each object of a list,
//! a count or an event.
//!
//! Three answers stand behind each other, and all have to allow: none (there is no question), polkit (`access_drivers`)
//! and the [`policy`] file. Without polkit and policy file nothing is asked ([`AccessCheck::enforced`]).

pub mod policy;
mod polkit;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use virt_api::access::{ObjectKind, Permission};
use virt_api::call::Identity;
use virt_api::protocol::table::{Owner, Procedure, ReadOnly};
use virt_util::typed_param::TypedParams;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError, durable};

use self::policy::{DRIVER, Policy};
use self::polkit::AccessPolkit;
use crate::config::{AccessDriver, DaemonConfig};
use crate::host::AccessCheck;

/// A larger policy file is refused.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// What is asked of a caller at the first checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Whether it has proved that.
    pub authenticated: bool,
    /// Whether it may only look: by its socket, or because it opened its connection so.
    pub read_only: bool,
}

/// Decides. Its rules can be changed while it is asked.
pub struct Access {
    rules: Box<dyn Rules>,
}

/// Where the rules are: here, or in the daemon that has this process for a driver.
trait Rules: AccessCheck {
    /// Refuses a call of `identity` if it may not do on any object what the call does.
    fn admit(&self, procedure: &Procedure, args: &[u8], identity: &Identity) -> Result<()>;

    /// Takes what the configuration says now.
    fn reload(&self, config: &DaemonConfig) -> Result<()>;
}

impl Access {
    /// As the configuration wants it; `bus` is where polkit is, the system's if it is not said.
    ///
    /// # Errors
    /// A policy file that cannot be read, that others may change, or that is wrong.
    pub fn new(config: &DaemonConfig, bus: Option<String>) -> Result<Arc<Self>> {
        let rules = Own {
            rules: ArcSwap::from_pointee(Configured::new(config)?),
            polkit: AccessPolkit::new(bus),
        };
        Ok(Arc::new(Self {
            rules: Box::new(rules),
        }))
    }

    /// For a process whose callers were held against the first checkpoint before they got here: `other` has the rules of
    /// the second.
    pub fn decided_by(other: Arc<dyn AccessCheck>) -> Arc<Self> {
        Arc::new(Self {
            rules: Box::new(Elsewhere(other)),
        })
    }

    /// Takes new rules, for calls that come from then on. Connections that were opened while nothing was enforced are
    /// held to the first checkpoint only. On an error the old rules stay.
    ///
    /// # Errors
    /// As of [`Access::new`].
    pub fn reload(&self, config: &DaemonConfig) -> Result<()> {
        self.rules.reload(config)
    }

    /// The first checkpoint: whether these are arguments of `procedure`, and `caller` may call it with them on whatever
    /// object.
    ///
    /// # Errors
    /// "authentication required"; `RPC` for bytes that are not its arguments; `INTERNAL_ERROR` or `RPC` for a count beyond
    /// what may be asked for; `OPERATION_DENIED` on a read-only connection; `ACCESS_DENIED`.
    pub fn admit(&self, procedure: &Procedure, args: &[u8], caller: &Caller<'_>) -> Result<()> {
        if !procedure.before_auth && !caller.authenticated {
            return Err(crate::auth::required());
        }
        procedure.check_args(args)?;
        procedure.check_counts(args)?;
        if procedure.before_auth {
            return Ok(());
        }
        if caller.read_only && denied_read_only(procedure, args)? {
            return Err(procedure.refuse_read_only());
        }
        self.rules.admit(procedure, args, caller.identity)
    }

    /// What a call that the daemon answers itself needs, all of it about the connection as a whole.
    ///
    /// # Errors
    /// `ACCESS_DENIED`.
    pub fn check_own(&self, procedure: &Procedure, identity: &Identity, driver: &str) -> Result<()> {
        debug_assert!(procedure.owner == Owner::Daemon);
        for rule in procedure.acl {
            let Permission { object, name } = rule.permission;
            if !self.check(identity, driver, name, object.name(), &TypedParams::new())? {
                return Err(denied(object, name));
            }
        }
        Ok(())
    }
}

/// The second checkpoint.
impl AccessCheck for Access {
    fn enforced(&self) -> bool {
        self.rules.enforced()
    }

    fn may_wait(&self) -> bool {
        self.rules.may_wait()
    }

    fn check(
        &self,
        identity: &Identity,
        driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        self.rules.check(identity, driver, permission, object, attributes)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("enforced", &self.enforced())
            .finish_non_exhaustive()
    }
}

/// The rules of this process.
struct Own {
    rules: ArcSwap<Configured>,
    polkit: AccessPolkit,
}

/// What the configuration says.
#[derive(Debug)]
struct Configured {
    polkit: bool,
    policy: Option<Policy>,
}

impl Configured {
    fn new(config: &DaemonConfig) -> Result<Self> {
        let drivers = config.access_drivers.as_deref().unwrap_or_default();
        Ok(Self {
            polkit: drivers.contains(&AccessDriver::Polkit),
            policy: config
                .policy_file
                .as_ref()
                .map(|path| read_policy(Path::new(path)).map_err(|error| config.blame("policy_file", error)))
                .transpose()?,
        })
    }
}

impl Rules for Own {
    fn admit(&self, procedure: &Procedure, args: &[u8], identity: &Identity) -> Result<()> {
        let rules = self.rules.load();
        let Some(policy) = &rules.policy else {
            // polkit has no such question: it is asked about the object.
            return Ok(());
        };
        if identity.0.0.is_empty() {
            // The daemon itself, or a driver of its in another process, for itself.
            return Ok(());
        }
        for rule in procedure.acl {
            let subject = match rule.when {
                None => None,
                Some(when) => number(procedure, when.argument, args)?,
            };
            let Permission { object, name } = rule.permission;
            if rule.applies(subject) && !policy.holds_any(identity, object, name) {
                return Err(denied(object, name));
            }
        }
        Ok(())
    }

    fn reload(&self, config: &DaemonConfig) -> Result<()> {
        self.rules.store(Arc::new(Configured::new(config)?));
        Ok(())
    }
}

impl AccessCheck for Own {
    fn enforced(&self) -> bool {
        let rules = self.rules.load();
        rules.polkit || rules.policy.is_some()
    }

    fn may_wait(&self) -> bool {
        self.rules.load().polkit
    }

    fn check(
        &self,
        identity: &Identity,
        driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        let rules = self.rules.load();
        if !rules.polkit && rules.policy.is_none() {
            return Ok(true);
        }
        let kind = ObjectKind::from_name(object).ok_or_else(|| {
            VirtError::internal(format_args!(
                "driver '{driver}' asks about an unknown kind of object '{object}'"
            ))
        })?;
        let mut described = TypedParams::new().with(DRIVER, public_name(driver));
        described.0.extend(attributes.iter().cloned());
        if let Some(policy) = &rules.policy
            && !policy.allows(identity, kind, permission, &described)
        {
            tracing::debug!(target: "virtd::access", "policy: '{object}:{permission}' refused to {identity:?}");
            return Ok(false);
        }
        if rules.polkit {
            return self.polkit.check(identity, object, permission, &described);
        }
        Ok(true)
    }
}

/// The rules of the daemon that this process is a driver of. It has asked at the first checkpoint already.
struct Elsewhere(Arc<dyn AccessCheck>);

impl Rules for Elsewhere {
    fn admit(&self, _: &Procedure, _: &[u8], _: &Identity) -> Result<()> {
        Ok(())
    }

    fn reload(&self, _: &DaemonConfig) -> Result<()> {
        Ok(())
    }
}

impl AccessCheck for Elsewhere {
    fn enforced(&self) -> bool {
        self.0.enforced()
    }

    fn may_wait(&self) -> bool {
        self.0.may_wait()
    }

    fn check(
        &self,
        identity: &Identity,
        driver: &str,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        self.0.check(identity, driver, permission, object, attributes)
    }
}

/// Reads a policy file.
///
/// # Errors
/// A file that cannot be read, that others may change, or that is wrong.
pub fn read_policy(path: &Path) -> Result<Policy> {
    use std::os::unix::fs::MetadataExt as _;
    let shown = path.display();
    let io = |error: std::io::Error| VirtError::io(&error, format_args!("cannot read the policy '{shown}'"));
    // Through links: what counts is the file that is read.
    let real: PathBuf = std::fs::canonicalize(path).map_err(io)?;
    let facts = std::fs::metadata(&real).map_err(io)?;
    let own = nix::unistd::geteuid().as_raw();
    if facts.uid() != 0 && facts.uid() != own {
        return Err(refused_file(format_args!(
            "the policy '{shown}' belongs to user {}, expected root or user {own}",
            facts.uid()
        )));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(refused_file(format_args!(
            "the policy '{shown}' has mode {:04o}: nobody but its owner may change it",
            facts.mode() & 0o7777
        )));
    }
    let content = durable::read(&real, SIZE_MAX)?
        .ok_or_else(|| refused_file(format_args!("the policy '{shown}' is gone")))?;
    let text = String::from_utf8(content)
        .map_err(|_| refused_file(format_args!("the policy '{shown}' is not in UTF-8")))?;
    Policy::parse(&shown.to_string(), &text)
}

/// libvirt's name of a driver, as `virConnectGetType` and policies have it.
fn public_name(driver: &str) -> &str {
    const NAMES: [(&str, &str); 12] = [
        ("bhyve", "bhyve"),
        ("esx", "ESX"),
        ("hyperv", "Hyper-V"),
        ("lxc", "LXC"),
        ("openvz", "OPENVZ"),
        ("qemu", "QEMU"),
        ("remote", "remote"),
        ("test", "Test"),
        ("vbox", "VBOX"),
        ("vmware", "VMWARE"),
        ("vz", "vz"),
        ("xen", "Xen"),
    ];
    NAMES
        .iter()
        .find(|(name, _)| *name == driver)
        .map_or(driver, |(_, public)| *public)
}

fn refused_file(what: std::fmt::Arguments<'_>) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what).in_domain(ErrorDomain::ACCESS)
}

/// Whether a read-only connection may not make this call.
fn denied_read_only(procedure: &Procedure, args: &[u8]) -> Result<bool> {
    Ok(match procedure.read_only {
        ReadOnly::Allow => false,
        ReadOnly::Deny => true,
        // An argument that is not there is one that nobody can clear.
        ReadOnly::DenyIf(when) => {
            number(procedure, when.argument, args)?.is_none_or(|number| when.holds(number))
        }
    })
}

/// The number in an argument.
fn number(procedure: &Procedure, argument: &str, args: &[u8]) -> Result<Option<u64>> {
    match procedure.args {
        Some(shape) => shape.number_of(argument, args),
        None => Ok(None),
    }
}

/// The error of a refused access.
pub fn denied(object: ObjectKind, permission: &str) -> VirtError {
    VirtError::new(
        ErrorCode::ACCESS_DENIED,
        format_args!("'{}:{permission}' is not allowed", object.name()),
    )
    .in_domain(ErrorDomain::ACCESS)
}

#[cfg(test)]
mod tests;
