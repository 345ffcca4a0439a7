//! Xen's configuration files and domains: `xl.cfg` of the `xl` tool and the older files of `xm`, both ways.
//!
//! [`parse()`] and [`format()`] take the [`XenFormat`]. What both formats share is in `parse`, `parse_devices` and `format`; what
//! only one has, in `xl_parse`, `xl_disk`, `xl_format` and `xm`.

mod conf;
mod format;
mod parse;
mod parse_devices;
mod xl_disk;
mod xl_format;
mod xl_parse;
mod xm;

use virt_util::{ErrorCode, Result, VirtError};

use crate::domain::normalize::{DomainHooks, Randomness};
use crate::domain::os::OsType;

pub use format::format;
pub use parse::parse;

/// Which tool's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XenFormat {
    /// `xl`'s: `xen-xl`.
    Xl,
    /// `xm`'s: `xen-xm`.
    Xm,
}

impl XenFormat {
    /// The format that libvirt calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "xen-xl" => Some(Self::Xl),
            "xen-xm" => Some(Self::Xm),
            _ => None,
        }
    }
}

/// A kind of guest that the host runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenGuest {
    /// Kind of operating system.
    pub os: OsType,
    /// Architecture.
    pub arch: String,
    /// Machine.
    pub machine: String,
    /// Firmware.
    pub loader: Option<String>,
}

/// What a configuration leaves to the host.
pub struct XenContext<'a> {
    /// Kinds of guests, best first.
    pub guests: &'a [XenGuest],
    /// The CPU feature that guests need to run guests of their own: `vmx` or `svm`.
    pub nesting_feature: &'a str,
    /// Folder of Xen's firmware.
    pub firmware_dir: &'a str,
    /// The driver's part of definitions.
    pub hooks: &'a dyn DomainHooks,
    /// Random values.
    pub random: &'a dyn Randomness,
}

impl XenContext<'_> {
    /// The best guest of a kind.
    ///
    /// # Errors
    /// `INVALID_ARG` if there is none.
    pub fn guest(&self, os: OsType) -> Result<&XenGuest> {
        self.guests.iter().find(|guest| guest.os == os).ok_or_else(|| {
            let known: Vec<&str> = self.guests.iter().map(|guest| guest.os.as_str()).collect();
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "could not find capabilities for domaintype=xen ostype={os}: this host runs {}",
                    known.join(", ")
                ),
            )
        })
    }
}

impl std::fmt::Debug for XenContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XenContext")
            .field("guests", &self.guests)
            .field("nesting_feature", &self.nesting_feature)
            .field("firmware_dir", &self.firmware_dir)
            .finish_non_exhaustive()
    }
}
