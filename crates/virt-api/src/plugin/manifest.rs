//! What a plugin says of itself, readable without running it.

use serde::Deserialize;
use virt_util::{ErrorCode, Result, VirtError};

use super::{ABI_MAJOR, ABI_MINOR};

/// Where a driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// In the daemon (or an embedding process): it keeps state on this machine.
    Stateful,
    /// In any process: its state is elsewhere.
    Client,
}

/// The manifest of a driver: `driver!` writes it into the plugin, `xtask install` beside it. Unknown fields are
/// ignored, so that newer plugins stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The driver's name: `qemu`.
    pub name: String,
    /// What it serves: `hypervisor`, `network`, `storage`, `interface`, `node-device`, `nwfilter`, `secret`, `cpu`,
    /// `security`.
    pub kind: String,
    /// Where it runs.
    pub role: Role,
    /// The URI schemes it answers, without transport.
    pub schemes: Vec<String>,
    /// The binary interface it was compiled against: `major.minor`.
    pub abi: String,
    /// The driver's own version.
    #[serde(default)]
    pub version: String,
}

impl Manifest {
    /// Reads a manifest. `place` names it in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            VirtError::new(
                ErrorCode::CONF_SYNTAX,
                format_args!("{place}: {}", error.to_string().trim()),
            )
        })?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if manifest.name.is_empty() || !manifest.name.bytes().all(fits) {
            return Err(VirtError::new(
                ErrorCode::CONF_SYNTAX,
                format_args!(
                    "{place}: the driver's name is '{}', letters, digits, '-' and '_' wanted",
                    manifest.name
                ),
            ));
        }
        Ok(manifest)
    }

    /// Major and minor of the binary interface.
    pub fn abi_version(&self) -> Option<(u32, u32)> {
        let (major, minor) = self.abi.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Refuses another major version of the binary interface.
    pub(super) fn check_abi(&self, file: &str) -> Result<()> {
        match self.abi_version() {
            Some((ABI_MAJOR, _)) => Ok(()),
            _ => Err(VirtError::new(
                ErrorCode::OPERATION_FAILED,
                format_args!(
                    "{file}: driver '{}' was compiled for binary interface {}, {ABI_MAJOR}.x wanted (this is {ABI_MAJOR}.{ABI_MINOR})",
                    self.name, self.abi
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
name = "test"
kind = "hypervisor"
role = "client"
schemes = ["test"]
abi = "1.2"
version = "0.1.0"
something-newer = { a = 1 }
"#;

    #[test]
    fn unknown_fields_are_ignored() {
        let manifest = Manifest::parse(TEXT, "here").unwrap();
        assert_eq!(manifest.role, Role::Client);
        assert_eq!(manifest.abi_version(), Some((1, 2)));
    }

    #[test]
    fn a_bad_manifest_names_its_place() {
        let error = Manifest::parse(&TEXT.replace("client", "both"), "/x/a.toml").unwrap_err();
        assert!(error.message().contains("/x/a.toml"), "{error}");
        let error =
            Manifest::parse(&TEXT.replace("\"test\"\nkind", "\"../x\"\nkind"), "/x/a.toml").unwrap_err();
        assert!(error.message().contains("'../x'"), "{error}");
    }
}
