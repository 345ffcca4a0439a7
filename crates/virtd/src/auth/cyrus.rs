//! What an installation of libvirt has set up for SASL, which there is the Cyrus library's work: the users in its
//! database, which can be taken over since it holds the passwords themselves, and the mechanisms in its configuration.
//!
//! The database is read by the programs of the library that made it. [`read_users`] is what `--import-passwords` begins
//! with, [`Setup`] what the daemon's log warns of.

mod dump;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use virt_util::command::{Command, Sink, Spawner, find_program};
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError, durable};

pub use self::dump::{Format, Pair};
use super::sasl::Mechanism;

/// Where the Cyrus library looks for how libvirt's daemon uses it.
pub const CONFIG: &str = "/etc/sasl2/libvirt.conf";

/// The database that libvirt's documentation names.
pub const DATABASE: &str = "/etc/libvirt/passwd.db";

/// The property of a user that is the password.
const PASSWORD: &[u8] = b"userPassword";

/// A larger configuration is passed over.
const CONFIG_MAX: u64 = 64 * 1024;

/// More than this is not read of a database.
const DUMP_MAX: usize = 64 * 1024 * 1024;

/// How long a database may take to be read.
const DUMP_TIME: Duration = Duration::from_secs(60);

/// A user of the database.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// What it belongs to: usually the full name of a host.
    pub realm: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl User {
    /// From an entry of the database, whose key is name, realm and property with zeros between; `None` for other
    /// properties of users.
    ///
    /// # Errors
    /// Why it cannot be a user of ours.
    fn from_pair(pair: &Pair) -> std::result::Result<Option<Self>, String> {
        let mut parts = pair.key.splitn(3, |byte| *byte == 0);
        let (Some(name), Some(realm), Some(property)) = (parts.next(), parts.next(), parts.next()) else {
            return Ok(None);
        };
        if property != PASSWORD {
            return Ok(None);
        }
        let text = |what: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| {
                format!(
                    "'{}@{}': {what} is not in UTF-8",
                    name.escape_ascii(),
                    realm.escape_ascii()
                )
            })
        };
        Ok(Some(Self {
            name: text("the name", name)?,
            realm: text("the realm", realm)?,
            password: text("the password", &pair.value)?,
        }))
    }

    /// The names that the Cyrus library lets this user log in with: always the one with the realm, and the bare one on
    /// the host that is the realm.
    pub fn logins(&self, host: &str) -> Vec<String> {
        let full = match self.realm.is_empty() {
            true => None,
            false => Some(format!("{}@{}", self.name, self.realm)),
        };
        let bare = (self.realm.is_empty() || self.realm == host).then(|| self.name.clone());
        bare.into_iter().chain(full).collect()
    }
}

/// This host as the Cyrus library calls it: the realm of users who name none.
///
/// # Errors
/// A host without a name.
pub fn realm_of_this_host() -> Result<String> {
    Ok(virt_util::sys::name::host_name()?.to_ascii_lowercase())
}

/// The users in the database `file`, and what is wrong with those that cannot be users of ours.
///
/// # Errors
/// A file that cannot be read or is no such database, no program that reads it (with what to install as the hint), a
/// program that fails.
pub fn read_users(file: &Path, spawner: &dyn Spawner) -> Result<(Vec<User>, Vec<String>)> {
    let shown = file.display();
    let io = |error: std::io::Error| VirtError::io(&error, format_args!("cannot read '{shown}'"));
    // Programs find it from wherever they run.
    let file = std::fs::canonicalize(file).map_err(io)?;
    let mut start = Vec::new();
    let opened = std::fs::File::open(&file).map_err(io)?;
    opened.take(16).read_to_end(&mut start).map_err(io)?;
    let format = Format::of(&start).ok_or_else(|| {
        VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("'{shown}' is no database of Berkeley DB or GDBM"),
        )
        .in_domain(ErrorDomain::AUTH)
    })?;
    let program = format
        .programs()
        .iter()
        .find_map(|name| find_program(Path::new(name)).ok())
        .ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                format_args!(
                    "'{shown}' is a database of {}, and no program is in PATH that reads it ({})",
                    format.name(),
                    format.programs().join(", ")
                ),
            )
            .in_domain(ErrorDomain::AUTH)
            .with_hint(format.packages())
        })?;
    let path = file
        .to_str()
        .ok_or_else(|| VirtError::invalid_arg(format_args!("the path '{shown}' is not in UTF-8")))?;
    let mut command = Command::new(program);
    command
        .args(format.arguments(path))
        .env("LC_ALL", "C")
        .cwd("/")
        .stdout(Sink::Capture)
        .stderr(Sink::Capture)
        .capture_limit(DUMP_MAX);
    let output = spawner
        .run(&command, Deadline::after(DUMP_TIME), &Cancel::never())?
        .check(&command)?;
    let pairs = format
        .parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|what| {
            VirtError::internal(format_args!(
                "{} printed '{shown}' in a way that is not understood: {what}",
                command.program().display()
            ))
        })?;
    let (mut users, mut wrong) = (Vec::new(), Vec::new());
    for pair in &pairs {
        match User::from_pair(pair) {
            Ok(user) => users.extend(user),
            Err(what) => wrong.push(what),
        }
    }
    users.sort_by(|a, b| (&a.name, &a.realm).cmp(&(&b.name, &b.realm)));
    Ok((users, wrong))
}

/// What the Cyrus library is told for libvirt's daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// `mech_list`: the mechanisms that are offered, in capitals; none for all that are installed.
    pub mechanisms: Vec<String>,
    /// `sasldb_path`: the database.
    pub database: Option<PathBuf>,
}

impl Setup {
    /// What the file says; nothing of a file that is not there or cannot be read.
    pub fn of_file(path: &Path) -> Self {
        let content = durable::read(path, CONFIG_MAX).ok().flatten();
        Self::parse(&String::from_utf8_lossy(&content.unwrap_or_default()))
    }

    /// A line is `KEY: VALUE`; of a key that comes twice the first counts.
    fn parse(text: &str) -> Self {
        let value = |wanted: &str| {
            let mut settings = text.lines().filter_map(|line| {
                let (key, value) = line.trim_ascii_start().split_once(':')?;
                (!key.starts_with('#') && key.trim_ascii().eq_ignore_ascii_case(wanted))
                    .then(|| value.trim_ascii().to_owned())
            });
            settings.next()
        };
        Self {
            mechanisms: value("mech_list")
                .unwrap_or_default()
                .split([' ', '\t', ','])
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_uppercase)
                .collect(),
            database: value("sasldb_path").map(PathBuf::from),
        }
    }

    /// The mechanisms that it names and that are not known here.
    pub fn unknown(&self) -> Vec<&str> {
        self.mechanisms
            .iter()
            .map(String::as_str)
            .filter(|name| Mechanism::from_name(name).is_none())
            .collect()
    }

    /// The database of users.
    pub fn database(&self) -> &Path {
        self.database.as_deref().unwrap_or(Path::new(DATABASE))
    }

    /// What an administrator who comes from libvirt is to know, where clients log in by SASL; `users` is our file, and
    /// whether there is anybody in it.
    pub fn warnings(&self, users: (&Path, bool)) -> Vec<String> {
        let mut warnings = Vec::new();
        let unknown = self.unknown();
        if !unknown.is_empty() {
            warnings.push(format!(
                "{CONFIG} names SASL mechanisms that are not known here: {}. Clients that insist on them cannot log in; \
                 others use SCRAM with names and passwords (--set-password, --import-passwords), over TLS, SSH or a unix \
                 socket; certificates (auth_tls = \"none\" with tls_allowed_dn_list) need neither",
                unknown.join(", ")
            ));
        }
        let (file, is_anybody_there) = users;
        if !is_anybody_there && self.database().exists() {
            warnings.push(format!(
                "clients log in by SASL, and nobody is in '{}'; the users in '{}' are taken over by --import-passwords",
                file.display(),
                self.database().display()
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::command::{Output, Recorder};

    fn user(name: &str, realm: &str) -> User {
        User {
            name: name.to_owned(),
            realm: realm.to_owned(),
            password: "x".to_owned(),
        }
    }

    #[test]
    fn users_log_in_as_the_library_lets_them() {
        assert_eq!(
            user("fred", "host.org").logins("host.org"),
            ["fred", "fred@host.org"]
        );
        assert_eq!(user("fred", "other.org").logins("host.org"), ["fred@other.org"]);
        assert_eq!(user("fred", "Host.org").logins("host.org"), ["fred@Host.org"]);
        assert_eq!(user("fred", "").logins("host.org"), ["fred"]);
    }

    #[test]
    fn only_passwords_are_taken() {
        let pair = |key: &[u8], value: &[u8]| Pair {
            key: key.to_vec(),
            value: value.to_vec(),
        };
        let known = User::from_pair(&pair(b"fred\0host\0userPassword", b"p w ")).unwrap();
        let known = known.unwrap();
        assert_eq!((known.name.as_str(), known.realm.as_str()), ("fred", "host"));
        assert_eq!(known.password, "p w ");
        assert!(!format!("{known:?}").contains("p w"));
        for key in [&b"fred\0host\0cmusaslsecretOTP"[..], b"fred", b"", b"a\0b"] {
            assert_eq!(User::from_pair(&pair(key, b"x")), Ok(None));
        }
        let error = User::from_pair(&pair(b"fred\0host\0userPassword", b"\xff")).unwrap_err();
        assert!(error.contains("'fred@host': the password"), "{error}");
    }

    #[test]
    fn a_program_of_the_library_reads_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd.db");
        let mut content = vec![0; 12];
        content.extend(0x0006_1561_u32.to_le_bytes());
        std::fs::write(&file, &content).unwrap();
        let recorder = Recorder::new();
        match find_program(Path::new("db_dump")) {
            Ok(program) => {
                let dump = "HEADER=END\n 6a6f6500680075736572506173737764\n 78\n \
                            667265640068007573657250617373776f7264\n 79\nDATA=END\n";
                let line = format!("LC_ALL=C {}", program.display());
                recorder.answer(&line, Output::ok(dump));
                let (users, wrong) = read_users(&file, &recorder).unwrap();
                let logins: Vec<_> = users.iter().map(|user| user.logins("host")).collect();
                assert_eq!(logins, [["fred@h"]]);
                assert!(wrong.is_empty(), "{wrong:?}");
                recorder.answer(line + " ", Output::failed(1, "no such thing"));
                let error = read_users(&file, &recorder).unwrap_err();
                assert!(error.detail().contains("no such thing"), "{error}");
            }
            // Then it is named.
            Err(_) => {
                let error = read_users(&file, &recorder).unwrap_err();
                assert!(
                    error.hint().is_some_and(|hint| hint.contains("db-util")),
                    "{error}"
                );
            }
        }
        std::fs::write(&file, "no database").unwrap();
        let error = read_users(&file, &recorder).unwrap_err();
        assert!(error.detail().contains("is no database of"), "{error}");
        assert!(read_users(&folder.path().join("none"), &recorder).is_err());
    }

    #[test]
    fn the_configuration_is_read_as_the_library_does() {
        let setup = Setup::parse(
            "# mech_list: plain\n\nMech_List: gssapi  scram-sha-256\tDIGEST-MD5\nmech_list: plain\n\
             keytab: /etc/libvirt/krb5.tab\nsasldb_path: /srv/passwd.db \n",
        );
        assert_eq!(setup.mechanisms, ["GSSAPI", "SCRAM-SHA-256", "DIGEST-MD5"]);
        assert_eq!(setup.unknown(), ["GSSAPI", "DIGEST-MD5"]);
        assert_eq!(setup.database(), Path::new("/srv/passwd.db"));
        let warnings = setup.warnings((Path::new("/x/passwd.scram"), false));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("GSSAPI, DIGEST-MD5"), "{warnings:?}");
        let silent = Setup::parse("mech_list: scram-sha-256 plain\n");
        assert!(silent.warnings((Path::new("/x"), true)).is_empty());
        assert_eq!(
            Setup::of_file(Path::new("/nowhere/libvirt.conf")),
            Setup::default()
        );
    }

    #[test]
    fn users_who_are_not_taken_over_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("passwd.db");
        std::fs::write(&database, "x").unwrap();
        let setup = Setup::parse(&format!("sasldb_path: {}\n", database.display()));
        let warnings = setup.warnings((Path::new("/x/passwd.scram"), false));
        assert!(
            warnings[0].contains("'/x/passwd.scram'") && warnings[0].contains("--import-passwords"),
            "{warnings:?}"
        );
        assert!(setup.warnings((Path::new("/x"), true)).is_empty());
    }
}
