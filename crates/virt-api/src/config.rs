//! The client's configuration (`libvirt.conf`) and what a connection URI means.
//!
//! The file is the system's for root and the user's otherwise, as libvirt has it: `/etc/libvirt/libvirt.conf`, or
//! `libvirt/libvirt.conf` below `$XDG_CONFIG_HOME` or `~/.config`.

use std::path::PathBuf;
use virt_util::conf_file::{ConfFile, Dialect};
use virt_util::uri::{self, Uri};
use virt_util::{ErrorCode, Result, VirtError, bail};

/// What the user configured for all clients.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    file: Option<ConfFile>,
}

impl ClientConfig {
    /// Reads the file that applies to this process. None is as good as an empty one.
    pub fn load() -> Result<Self> {
        match config_path() {
            Some(path) if path.exists() => Ok(Self {
                file: Some(ConfFile::load(&path, Dialect::Libvirt)?),
            }),
            _ => Ok(Self::default()),
        }
    }

    /// Takes `text` for the file.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self {
            file: Some(ConfFile::parse("libvirt.conf", text, Dialect::Libvirt)?),
        })
    }

    /// The URI for clients that name none (`uri_default`).
    pub fn default_uri(&self) -> Result<Option<&str>> {
        match &self.file {
            Some(file) => file.string("uri_default"),
            None => Ok(None),
        }
    }

    /// A setting of another name whose value is a string.
    pub fn string(&self, name: &str) -> Result<Option<&str>> {
        match &self.file {
            Some(file) => file.string(name),
            None => Ok(None),
        }
    }

    /// A setting of another name whose value is a whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>> {
        match &self.file {
            Some(file) => file.i64(name),
            None => Ok(None),
        }
    }

    /// The URI that `alias` stands for (`uri_aliases`).
    pub fn resolve_alias(&self, alias: &str) -> Result<Option<String>> {
        let Some(file) = &self.file else { return Ok(None) };
        let aliases = file.string_list("uri_aliases")?.unwrap_or_default();
        Ok(uri::resolve_alias(&aliases, alias)?.map(str::to_owned))
    }
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn config_path() -> Option<PathBuf> {
    if is_root() {
        return Some("/etc/libvirt/libvirt.conf".into());
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = from("XDG_CONFIG_HOME").or_else(|| Some(from("HOME")?.join(".config")))?;
    Some(base.join("libvirt/libvirt.conf"))
}

/// Whether aliases are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aliases {
    /// Every name is looked up: what is no alias is in no entry, but a mistake in one is told to everybody.
    Resolve,
    /// Everything is a URI (`VIR_CONNECT_NO_ALIASES`).
    Ignore,
}

/// The URI that a user's words mean: old short forms, the default (environment, then configuration), aliases. `None` if
/// nothing names one and drivers have to be asked.
pub fn resolve(given: Option<&str>, config: &ClientConfig, aliases: Aliases) -> Result<Option<String>> {
    let text = match given.filter(|given| !given.is_empty()) {
        // What Xen's users have always been able to write.
        Some(given) if given.eq_ignore_ascii_case("xen") || given == "xen://" => "xen:///system".to_owned(),
        Some(given) => given.to_owned(),
        None => match std::env::var("LIBVIRT_DEFAULT_URI") {
            Ok(default) if !default.is_empty() => default,
            _ => match config.default_uri()? {
                Some(default) => default.to_owned(),
                None => return Ok(None),
            },
        },
    };
    if aliases == Aliases::Resolve
        && let Some(meant) = config.resolve_alias(&text)?
    {
        return Ok(Some(meant));
    }
    Ok(Some(text))
}

/// Parses a URI to connect to and refuses what cannot be one.
pub fn parse(text: &str) -> Result<Uri> {
    let uri = Uri::parse(text)?;
    let Some(scheme) = uri.driver() else {
        bail!(
            ErrorCode::NO_CONNECT,
            "URI '{text}' has no scheme, as qemu:///system has"
        );
    };
    // "qemu://system" names a host called "system", which is never what was meant.
    if let Some(server @ ("system" | "session")) = uri.server.as_deref()
        && matches!(scheme, "qemu" | "vbox" | "vz")
    {
        return Err(VirtError::internal(format_args!(
            "URI '{text}' names server '{server}': {scheme}:///{server} may be meant"
        )));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ClientConfig {
        ClientConfig::parse(
            "uri_default = \"test:///default\"\nuri_aliases = [ \"here=qemu:///session\", \"far=qemu+ssh://far/system\" ]\n",
        )
        .unwrap()
    }

    #[test]
    fn aliases_are_names_without_colon_or_slash() {
        let resolve = |given| {
            resolve(Some(given), &config(), Aliases::Resolve)
                .unwrap()
                .unwrap()
        };
        assert_eq!(resolve("far"), "qemu+ssh://far/system");
        assert_eq!(resolve("nowhere"), "nowhere");
        assert_eq!(resolve("test:///default"), "test:///default");
        assert_eq!(resolve("xen"), "xen:///system");
        assert_eq!(resolve("XEN"), "xen:///system");
    }

    #[test]
    fn aliases_can_be_turned_off() {
        let resolved = resolve(Some("far"), &config(), Aliases::Ignore).unwrap();
        assert_eq!(resolved.as_deref(), Some("far"));
    }

    #[test]
    fn a_uri_needs_a_driver_and_a_path() {
        assert_eq!(parse("far").unwrap_err().code(), ErrorCode::NO_CONNECT);
        let error = parse("qemu://system").unwrap_err();
        assert_eq!(
            error.detail(),
            "URI 'qemu://system' names server 'system': qemu:///system may be meant"
        );
        assert!(parse("qemu://host/system").is_ok());
    }

    #[test]
    fn a_broken_alias_entry_is_named() {
        let config = ClientConfig::parse("uri_aliases = [ \"broken\" ]\n").unwrap();
        for given in ["x", "test:///default"] {
            let error = resolve(Some(given), &config, Aliases::Resolve).unwrap_err();
            assert!(error.message().contains("'broken'"), "{error}");
            assert!(resolve(Some(given), &config, Aliases::Ignore).is_ok());
        }
    }
}
