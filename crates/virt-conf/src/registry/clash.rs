//! What keeps a definition from being taken in, and what is said of it.

use std::fmt;

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, VirtError};

use super::kind::{Kind, with_uuid};

/// What keeps a definition from being taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash<'a> {
    /// Its UUID belongs to an object of another name.
    Uuid {
        /// The other's name.
        name: &'a str,
        /// The UUID.
        uuid: Option<Uuid>,
    },
    /// Its name belongs to an object of another UUID.
    Name {
        /// The name.
        name: &'a str,
        /// The other's UUID; none while the name is only reserved.
        uuid: Option<Uuid>,
    },
    /// The object exists and runs, where it is to be made.
    Active {
        /// Its name.
        name: &'a str,
    },
}

impl Clash<'_> {
    /// The usual error: libvirt's codes, and the texts that most of its kinds have.
    pub fn usual<K: Kind>(&self) -> VirtError {
        let noun = K::SHORT_NOUN;
        match self {
            Self::Uuid { name, uuid } => self.error::<K>(format_args!(
                "{noun} '{name}' is already defined{}",
                with_uuid(*uuid)
            )),
            Self::Name { name, uuid } => {
                self.error::<K>(format_args!("{noun} '{name}' already exists{}", with_uuid(*uuid)))
            }
            Self::Active { name } => self.error::<K>(format_args!("{noun} '{name}' is already active")),
        }
    }

    /// An error with another text.
    pub fn error<K: Kind>(&self, detail: impl fmt::Display) -> VirtError {
        let code = match self {
            Self::Uuid { .. } | Self::Name { .. } => ErrorCode::OPERATION_FAILED,
            Self::Active { .. } => ErrorCode::OPERATION_INVALID,
        };
        VirtError::new(code, detail).in_domain(K::CLASH_DOMAIN)
    }
}
