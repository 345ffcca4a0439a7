//! The daemon's configuration: `libvirtd.conf`, the files of libvirt's modular daemons, and our own keys in them.
//!
//! [`keys`] is the table that everything comes from: the fields of [`DaemonConfig`], the reader, the sample file and the
//! page of documentation. Start at [`DaemonConfig::load`]; [`DaemonConfig::reload`] says what of a new file can be used
//! without a new start. Unknown keys are passed over as libvirt does, but [`Loaded::ignored`] names them.

pub mod keys;
mod origin;
pub mod value;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use virt_util::conf_file::{ConfEntry, ConfFile, ConfValue, Dialect};
use virt_util::{ErrorDomain, Result, VirtError};

pub use keys::{DaemonConfig, KEYS, Key, OBSOLETE, Scope, Takes, WITHOUT_EFFECT};
pub use origin::Origins;
pub use value::{AccessDriver, Auth, SocketMode};

/// Which daemon is configured, and for whom it runs: defaults and the file's name depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name it is known by: `libvirtd`, `virtqemud` … `virtd` is `libvirtd` under our own name.
    pub daemon: String,
    /// Whether it runs as root for the whole host.
    pub privileged: bool,
}

impl Role {
    /// A daemon of that name.
    pub fn new(daemon: impl Into<String>, privileged: bool) -> Self {
        Self {
            daemon: daemon.into(),
            privileged,
        }
    }

    /// Whether it is one that listens on the network.
    pub fn network(&self) -> bool {
        self.listens_with_option() || self.daemon == "virtproxyd"
    }

    /// Whether it listens on the network only with the option `--listen`.
    pub fn listens_with_option(&self) -> bool {
        matches!(self.daemon.as_str(), "libvirtd" | "virtd")
    }

    fn local_auth(&self) -> Auth {
        match self.privileged {
            true => Auth::Polkit,
            false => Auth::None,
        }
    }

    /// The file's name: ours is libvirtd's, so that a host changes hands with its settings.
    fn file_name(&self) -> String {
        match self.daemon.as_str() {
            "virtd" => "libvirtd.conf".to_owned(),
            other => format!("{other}.conf"),
        }
    }

    /// The folder of the configuration: `/etc/libvirt`, or `libvirt` in the user's. `None` for a user without a home.
    pub fn config_dir(&self) -> Option<PathBuf> {
        if self.privileged {
            return Some("/etc/libvirt".into());
        }
        let from = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let base = from("XDG_CONFIG_HOME").or_else(|| Some(from("HOME")?.join(".config")))?;
        Some(base.join("libvirt"))
    }

    /// Where the file is that applies when no option names one.
    pub fn config_path(&self) -> Option<PathBuf> {
        Some(self.config_dir()?.join(self.file_name()))
    }

    /// Whether this daemon has the key.
    pub fn has(&self, key: &Key) -> bool {
        key.scope != Scope::Network || self.network()
    }
}

/// A line of the file that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file.
    pub file: String,
    /// The key.
    pub name: String,
    /// The line it begins on.
    pub line: usize,
    /// Why it changes nothing.
    pub reason: String,
}

impl Ignored {
    fn new(file: &str, line: usize, name: &str, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            name: name.to_owned(),
            line,
            reason: reason.into(),
        }
    }
}

/// What to say of a value that is taken, since libvirt takes it, and hardly does what its author wants.
fn odd(key: &str, value: &ConfValue) -> Option<String> {
    match (key, value) {
        ("auth_tcp" | "auth_tls", ConfValue::String(auth)) if auth == "polkit" => {
            Some("lets nobody in: polkit knows processes of this host only".to_owned())
        }
        ("keepalive_interval" | "admin_keepalive_interval", ConfValue::Negative(seconds))
            if *seconds < -1 =>
        {
            Some(format!(
                "is {seconds}, which never asks, as -1 does; expected seconds, or -1"
            ))
        }
        _ => None,
    }
}

/// Why a daemon of this role has no key `name`.
fn unknown(role: &Role, name: &str) -> String {
    if OBSOLETE.contains(&name) {
        return "has no effect any more".to_owned();
    }
    if KEYS.iter().any(|key| key.name == name) {
        return "is a setting of daemons that listen on the network, which this one does not".to_owned();
    }
    let known = KEYS.iter().filter(|key| role.has(key)).map(|key| key.name);
    match virt_util::xml::nearest(name, known) {
        Some(meant) => format!("is not known to this daemon; did you mean '{meant}'?"),
        None => "is not known to this daemon".to_owned(),
    }
}

/// What a file said.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: DaemonConfig,
    /// What the file has for nothing: for the log, which is there once the configuration is read.
    pub ignored: Vec<Ignored>,
}

/// What a reload comes to.
#[derive(Debug)]
pub struct Reloaded {
    /// What holds from now on: the new values of what can change now, the old ones of the rest.
    pub config: DaemonConfig,
    /// The keys that have changed.
    pub changed: Vec<&'static Key>,
    /// The keys whose new values wait for a restart.
    pub pending: Vec<&'static Key>,
}

impl Loaded {
    /// What holds without a file.
    pub fn defaults(role: &Role) -> Self {
        Self {
            config: DaemonConfig::defaults(role),
            ignored: Vec::new(),
        }
    }
}

impl DaemonConfig {
    /// Reads the file of this daemon, or the one that an option named. Without an option the file may be missing.
    ///
    /// # Errors
    /// Syntax, types and values, each with file, line, key (as the second string too), value and what is allowed; codes
    /// as libvirt's.
    pub fn load(role: &Role, named: Option<&Path>) -> Result<Loaded> {
        let usual = role.config_path();
        let Some(path) = named.or(usual.as_deref()) else {
            return Ok(Loaded::defaults(role));
        };
        let missing = || matches!(path.try_exists(), Ok(false));
        if named.is_none() && missing() {
            return Ok(Loaded::defaults(role));
        }
        let text = ConfFile::read_text(path)?;
        Self::parse(role, &path.display().to_string(), &text)
    }

    /// Reads a text; `file` is for messages.
    ///
    /// # Errors
    /// As of [`DaemonConfig::load`].
    pub fn parse(role: &Role, file: &str, text: &str) -> Result<Loaded> {
        let mut config = Self {
            origins: Origins::of_file(file),
            ..Self::defaults(role)
        };
        let mut ignored = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for (line, entry) in ConfFile::parse_lines(file, text, Dialect::Libvirt)? {
            let ConfEntry::Setting { name, value, .. } = entry else {
                continue;
            };
            let key = KEYS.iter().find(|key| key.name == name && role.has(key));
            let Some(key) = key else {
                ignored.push(Ignored::new(file, line, &name, unknown(role, &name)));
                continue;
            };
            // The first of several counts, as in libvirt.
            if seen.contains(&key.name) {
                ignored.push(Ignored::new(
                    file,
                    line,
                    &name,
                    "is set a second time; the first counts",
                ));
                continue;
            }
            seen.push(key.name);
            if WITHOUT_EFFECT.contains(&key.name) {
                ignored.push(Ignored::new(file, line, key.name, "has no effect yet"));
            }
            (key.read)(&mut config, &value).map_err(|wrong| {
                VirtError::new(
                    wrong.code,
                    format_args!("{file}:{line}: {name} = {}: {}", shown(&value), wrong.allowed),
                )
                .in_domain(ErrorDomain::CONF)
                .with_strings(None, Some(name.clone()), None)
            })?;
            config.origins.add(key.name, line);
            if let Some(oddity) = odd(key.name, &value) {
                ignored.push(Ignored::new(file, line, key.name, oddity));
            }
        }
        Ok(Loaded { config, ignored })
    }

    /// Whether the limits go together.
    ///
    /// # Errors
    /// `INTERNAL_ERROR`, as libvirt's.
    pub fn check_limits(&self) -> Result<()> {
        if self.max_clients < self.max_anonymous_clients {
            return Err(VirtError::internal(format_args!(
                "max_clients = {} is less than max_anonymous_clients = {}: clients that have not logged in are clients too",
                self.max_clients, self.max_anonymous_clients
            )));
        }
        Ok(())
    }

    /// Compares with what a file says now.
    pub fn reload(&self, new: &Self) -> Reloaded {
        let mut config = new.clone();
        let changed: Vec<_> = KEYS.iter().filter(|key| !(key.same)(self, new)).collect();
        let (pending, changed): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| key.takes == Takes::Restart);
        for key in &pending {
            (key.keep)(&mut config, self);
        }
        Reloaded {
            config,
            changed,
            pending,
        }
    }

    /// The mode of the read-write socket. libvirt's daemon opens the system's socket to everybody whatever guards it, but
    /// says of itself that only root is let in where polkit does not: where nothing guards the socket, its mode does.
    pub fn rw_mode(&self, role: &Role) -> SocketMode {
        self.unix_sock_rw_perms
            .unwrap_or(match (self.auth_unix_rw, role.privileged) {
                (Auth::Polkit, _) | (Auth::Sasl, true) => SocketMode(0o777),
                (Auth::Sasl, false) | (Auth::None, _) => SocketMode(0o700),
            })
    }

    /// The least strength of SASL's encryption on the plain TCP socket.
    pub fn min_ssf(&self) -> u32 {
        self.tcp_min_ssf.map_or(56, |ssf| ssf.0)
    }

    /// The settings as a file that says the same: what differs from the defaults, or all of them.
    pub fn format(&self, role: &Role, all: bool) -> String {
        let usual = Self::defaults(role);
        let mut out = String::new();
        for key in KEYS.iter().filter(|key| role.has(key)) {
            if (all || !(key.same)(self, &usual))
                && let Some(value) = (key.show)(self)
            {
                let _ = writeln!(out, "{} = {}", key.name, shown(&value));
            }
        }
        out
    }
}

/// A value as the file has it.
fn shown(value: &ConfValue) -> String {
    let mut one = ConfFile::new("", Dialect::Libvirt);
    one.set("x", value.clone());
    match one.format() {
        Ok(line) => line.trim_start_matches("x = ").trim_end().to_owned(),
        // No quotes can hold it.
        Err(_) => format!("{value:?}"),
    }
}

/// A file with every key, its explanation and its default, all of it in comments.
pub fn sample(role: &Role) -> String {
    let usual = DaemonConfig::defaults(role);
    let mut out = format!("# Configuration of {}.\n#\n", role.daemon);
    out.push_str(
        "# Each setting stands here with its default, or with an example where there is none. Settings marked \"own\"\n\
         # are not libvirt's, whose daemons pass over them.\n",
    );
    let mut section = "";
    for key in KEYS.iter().filter(|key| role.has(key)) {
        if section != key.section {
            section = key.section;
            let _ = write!(out, "\n## {section}\n");
        }
        out.push('\n');
        for line in key.doc {
            let _ = writeln!(out, "# {}", line.trim());
        }
        let mut notes = Vec::new();
        if key.scope == Scope::Ours {
            notes.push("own");
        }
        if WITHOUT_EFFECT.contains(&key.name) {
            notes.push("no effect yet");
        } else if key.takes == Takes::Restart {
            notes.push("needs a restart");
        }
        let example = match (key.show)(&usual) {
            Some(value) if key.sample.is_none() => shown(&value),
            _ => {
                notes.push("an example");
                key.sample.unwrap_or("\"\"").to_owned()
            }
        };
        if !notes.is_empty() {
            let _ = writeln!(out, "# ({})", notes.join(", "));
        }
        let _ = writeln!(out, "#{} = {example}", key.name);
    }
    out
}

/// The page of documentation.
pub fn markdown() -> String {
    let role = Role::new("libvirtd", true);
    let usual = DaemonConfig::defaults(&role);
    let mut out = String::from(
        "# The daemon's settings\n\n\
         This page is made from the table in `crates/virtd/src/config/keys.rs`.\n\n\
         The file is `/etc/libvirt/libvirtd.conf` for the monolithic daemon, `/etc/libvirt/virtqemud.conf` and so on for\n\
         the modular ones, and for a user's own daemon the same name in `~/.config/libvirt`. Settings of the network are\n\
         read by the monolithic daemon and by `virtproxyd` only. Keys that a daemon does not know are passed over and\n\
         named in the log. Wrong values stop the start, or leave a reload without effect, with file, line, key, value and\n\
         what is allowed. `virtd --print-config` prints a file with all of this.\n\n\
         *Takes effect* says whether a reload (SIGHUP) is enough; *not yet* marks what is read, checked and not used so far. *Own* settings are not libvirt's.\n",
    );
    let mut section = "";
    for key in KEYS {
        if section != key.section {
            section = key.section;
            let _ = write!(
                out,
                "\n## {section}\n\n| key | value | default | takes effect | meaning |\n|---|---|---|---|---|\n"
            );
        }
        let default = match (key.show)(&usual) {
            Some(value) => format!("`{}`", shown(&value)),
            None => "not set".to_owned(),
        };
        let doc: Vec<_> = key.doc.iter().map(|line| line.trim()).collect();
        let _ = writeln!(
            out,
            "| `{}`{} | {} | {default} | {} | {} |",
            key.name,
            if key.scope == Scope::Ours { " (own)" } else { "" },
            key.kind,
            match key.takes {
                _ if WITHOUT_EFFECT.contains(&key.name) => "not yet",
                Takes::Reload => "reload",
                Takes::Restart => "restart",
            },
            doc.join(" ").replace('|', "\\|").replace('*', "\\*"),
        );
    }
    let _ = write!(
        out,
        "\nKeys without any effect that old files may have: {}.\n",
        OBSOLETE
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    out
}

#[cfg(test)]
mod tests;
