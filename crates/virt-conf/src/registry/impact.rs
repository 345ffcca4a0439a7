//! Which of an object's two definitions a call means: libvirt's flags "live" and "config".

use std::sync::Arc;

use virt_util::types::DomainModificationImpact;
use virt_util::{ErrorCode, Result, VirtError};

use super::kind::{self, Kind};
use super::object::Snapshot;

/// The definitions that a change meets. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affected {
    /// What the object runs with.
    pub live: bool,
    /// What is stored for the next start.
    pub stored: bool,
}

/// Like collisions these are errors of the list, where that is not the driver's own.
fn error<K: Kind>(code: ErrorCode, what: impl std::fmt::Display) -> VirtError {
    kind::error::<K>(code, what).in_domain(K::CLASH_DOMAIN)
}

impl<K: Kind> Snapshot<K> {
    /// What a change with these flags meets; other bits are passed over. Neither flag means the live definition of an
    /// object that runs, the stored one of another. `VIR_ERR_OPERATION_INVALID` if the object has no such definition.
    pub fn affected(&self, flags: u32) -> Result<Affected> {
        let flags = DomainModificationImpact::from(flags);
        let live = flags.contains(DomainModificationImpact::LIVE);
        let stored = flags.contains(DomainModificationImpact::CONFIG);
        if live && !self.is_active() {
            return Err(error::<K>(
                ErrorCode::OPERATION_INVALID,
                format_args!("{} is not running", K::NOUN),
            ));
        }
        if stored && !self.is_persistent() {
            return Err(error::<K>(
                ErrorCode::OPERATION_INVALID,
                format_args!("transient {}s do not have any persistent config", K::NOUN),
            ));
        }
        Ok(match live || stored {
            true => Affected { live, stored },
            false => Affected {
                live: self.is_active(),
                stored: !self.is_active(),
            },
        })
    }

    /// The one definition that a call with these flags reads, and whether it is the live one. Both flags together are
    /// `VIR_ERR_INVALID_ARG`, whatever the object does.
    pub fn one_definition(&self, flags: u32) -> Result<(&Arc<K::Definition>, bool)> {
        if DomainModificationImpact::from(flags).contains(DomainModificationImpact::all()) {
            return Err(error::<K>(
                ErrorCode::INVALID_ARG,
                "flags 'live' and 'config' are mutually exclusive here",
            ));
        }
        let affected = self.affected(flags)?;
        Ok(match self.life.stored() {
            Some(stored) if affected.stored => (stored, false),
            _ => (self.life.current(), true),
        })
    }
}
