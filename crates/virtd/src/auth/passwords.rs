//! The file of SASL users: for each user and mechanism what proves a password, and from which it cannot be read.
//!
//! A line is `USER:MECHANISM$ITERATIONS:SALT$STORED-KEY:SERVER-KEY`, where what stands behind the first colon is the
//! form of RFC 5803. Blank lines and lines beginning with `#` are passed over. The file is read again when it has
//! changed, so a new user needs no reload.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::{digest, hmac};
use virt_util::durable::{self, WriteOptions};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::verifier::SALT_LENGTH;
pub use super::verifier::{Hash, Verifier, prepared};

/// Larger files are refused.
const SIZE_MAX: u64 = 10 * 1024 * 1024;

/// Iterations of new entries. Each is work for the client, and for whoever tries passwords with a stolen file.
const ITERATIONS: u32 = 32_768;

/// The users of one state of the file.
#[derive(Debug, Default)]
pub struct Users {
    entries: Vec<(String, Verifier)>,
    /// From what is in the file: makes up verifiers of users that are not.
    secret: Vec<u8>,
}

impl Users {
    /// Reads a text; `file` is for messages.
    ///
    /// # Errors
    /// `CONF_SYNTAX` with the line.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let mut entries: Vec<(String, Verifier)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| {
                VirtError::new(
                    ErrorCode::CONF_SYNTAX,
                    format_args!("{file}:{}: {what}", number + 1),
                )
                .in_domain(ErrorDomain::AUTH)
            };
            let (user, verifier) = line
                .split_once(':')
                .ok_or_else(|| wrong("expected USER:MECHANISM$…"))?;
            check_user(user).map_err(|what| wrong(&what))?;
            let verifier = Verifier::parse(verifier).map_err(|what| wrong(&what))?;
            if entries
                .iter()
                .any(|(known, other)| known == user && other.hash == verifier.hash)
            {
                return Err(wrong(&format!(
                    "user '{user}' has two lines for {}",
                    verifier.hash.mechanism()
                )));
            }
            entries.push((user.to_owned(), verifier));
        }
        let secret = digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec();
        Ok(Self { entries, secret })
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What proves the user's password with that hash.
    pub fn find(&self, user: &str, hash: Hash) -> Option<&Verifier> {
        self.entries
            .iter()
            .find(|(known, verifier)| known == user && verifier.hash == hash)
            .map(|(_, verifier)| verifier)
    }

    /// The user's best entry.
    pub fn find_any(&self, user: &str) -> Option<&Verifier> {
        Hash::ALL.into_iter().find_map(|hash| self.find(user, hash))
    }

    /// A verifier that nobody passes, for a user who is not there: the same for the same name as long as the file stays,
    /// and with the iterations of the others. An attacker cannot tell who exists.
    pub fn invent(&self, user: &str, hash: Hash) -> Verifier {
        let like = self.entries.iter().find(|(_, verifier)| verifier.hash == hash);
        let key = hmac::Key::new(hmac::HMAC_SHA512, &self.secret);
        let made = |what: &str, length: usize| -> Vec<u8> {
            let text = format!("{what}\0{}\0{user}", hash.mechanism());
            hmac::sign(&key, text.as_bytes())
                .as_ref()
                .iter()
                .copied()
                .take(length)
                .collect()
        };
        Verifier {
            hash,
            iterations: like.map_or(ITERATIONS, |(_, verifier)| verifier.iterations),
            salt: made(
                "salt",
                like.map_or(SALT_LENGTH, |(_, verifier)| verifier.salt.len()),
            ),
            stored_key: made("stored", hash.length()),
            server_key: made("server", hash.length()),
        }
    }

    /// Whether this is the user's password. Takes as long for users that are not there.
    pub fn accept(&self, user: &str, password: &[u8]) -> bool {
        match self.find_any(user) {
            Some(verifier) => verifier.accepts(password),
            None => {
                let _ = self.invent(user, Hash::Sha256).accepts(password);
                false
            }
        }
    }
}

/// Whether that can be a user's name.
///
/// # Errors
/// Why not.
pub(crate) fn check_user(user: &str) -> std::result::Result<(), String> {
    if user.is_empty() || user.len() > 256 {
        return Err("a user's name has 1 to 256 bytes".to_owned());
    }
    match user.chars().find(|c| *c == ':' || c.is_control()) {
        Some(c) => Err(format!(
            "user '{}' has the character {c:?} in its name",
            user.escape_debug()
        )),
        None => Ok(()),
    }
}

/// The file as the daemon uses it.
#[derive(Debug)]
pub struct PasswordFile {
    path: PathBuf,
    /// The state last read, with what tells that it has changed. Guards no waiting but the reading of the file.
    seen: Mutex<Option<(Stamp, Arc<Users>)>>,
}

type Stamp = (u64, i64, i64, u64);

impl PasswordFile {
    /// The file at `path`, which is read when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            seen: Mutex::new(None),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users as the file has them now.
    ///
    /// # Errors
    /// A file that cannot be read, that others may read or write, or that is wrong.
    pub fn users(&self) -> Result<Arc<Users>> {
        let shown = self.path.display();
        let io = |error: std::io::Error| {
            VirtError::io(&error, format_args!("cannot read the SASL users in '{shown}'"))
        };
        let facts = std::fs::metadata(&self.path).map_err(io)?;
        let stamp = (facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size());
        let mut seen = self.seen.lock();
        if let Some((known, users)) = &*seen
            && *known == stamp
        {
            return Ok(Arc::clone(users));
        }
        if facts.mode() & 0o027 != 0 {
            return Err(VirtError::new(
                ErrorCode::AUTH_FAILED,
                format_args!(
                    "'{shown}' has mode {:04o}: others must not read the SASL users, nor the group change them",
                    facts.mode() & 0o7777
                ),
            )
            .with_hint("chmod 0600"));
        }
        let content = durable::read(&self.path, SIZE_MAX)?.unwrap_or_default();
        let text = String::from_utf8(content)
            .map_err(|_| VirtError::new(ErrorCode::CONF_SYNTAX, format_args!("{shown}: not in UTF-8")))?;
        let users = Arc::new(Users::parse(&shown.to_string(), &text)?);
        *seen = Some((stamp, Arc::clone(&users)));
        Ok(users)
    }
}

/// Gives a user a new password, or takes the user out (`None`). Everything else in the file stays as it is. Returns
/// whether the user was there before.
///
/// # Errors
/// A name that cannot be one, an empty password, a file that is wrong or cannot be written.
pub fn set_password(path: &Path, user: &str, password: Option<&str>) -> Result<bool> {
    write_password(path, user, password, ITERATIONS)
}

/// [`set_password`] with so many iterations.
pub(crate) fn write_password(
    path: &Path,
    user: &str,
    password: Option<&str>,
    iterations: u32,
) -> Result<bool> {
    check_user(user).map_err(VirtError::invalid_arg)?;
    if password.is_some_and(str::is_empty) {
        return Err(VirtError::invalid_arg("the password is empty"));
    }
    let (text, _) = read_for_change(path)?;
    let mut out = String::with_capacity(text.len() + 512);
    let mut found = false;
    for line in text.lines() {
        match line.trim_ascii().split_once(':') {
            Some((known, _)) if known == user => found = true,
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    if let Some(password) = password {
        for verifier in verifiers(password, iterations)? {
            let _ = writeln!(out, "{user}:{verifier}");
        }
    }
    if found || password.is_some() {
        store(path, &out)?;
    }
    Ok(found)
}

/// Adds users whose passwords are known, all or none of them: each password with the names that it is for. Names that
/// are there already stay as they are; returns those.
///
/// # Errors
/// A name that cannot be one, an empty password, a file that is wrong or cannot be written.
pub fn add_users(path: &Path, users: &[(Vec<String>, &str)]) -> Result<Vec<String>> {
    add_users_with(path, users, ITERATIONS)
}

fn add_users_with(path: &Path, users: &[(Vec<String>, &str)], iterations: u32) -> Result<Vec<String>> {
    let (mut out, known) = read_for_change(path)?;
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let mut kept = Vec::new();
    for (names, password) in users {
        if password.is_empty() {
            return Err(VirtError::invalid_arg(format_args!(
                "the password of '{}' is empty",
                names.join("', '")
            )));
        }
        for name in names {
            check_user(name).map_err(VirtError::invalid_arg)?;
        }
        let (there, new): (Vec<_>, Vec<_>) = names.iter().partition(|name| known.find_any(name).is_some());
        kept.extend(there.into_iter().cloned());
        if new.is_empty() {
            continue;
        }
        let verifiers = verifiers(password, iterations)?;
        for name in new {
            for verifier in &verifiers {
                let _ = writeln!(out, "{name}:{verifier}");
            }
        }
    }
    store(path, &out)?;
    Ok(kept)
}

/// Writes the file, and makes its folder where the daemon has never run.
fn store(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        durable::make_folder(folder, 0o755)?;
    }
    durable::write(path, text.as_bytes(), &WriteOptions::default())
}

/// The file's text and its users; nothing where there is none.
fn read_for_change(path: &Path) -> Result<(String, Users)> {
    let content = durable::read(path, SIZE_MAX)?.unwrap_or_default();
    let text = String::from_utf8(content).map_err(|_| {
        VirtError::new(
            ErrorCode::CONF_SYNTAX,
            format_args!("{}: not in UTF-8", path.display()),
        )
    })?;
    let users = Users::parse(&path.display().to_string(), &text)?;
    Ok((text, users))
}

/// A new password's verifiers as the file has them behind the user's name.
fn verifiers(password: &str, iterations: u32) -> Result<Vec<String>> {
    [Hash::Sha256, Hash::Sha512, Hash::Sha1]
        .into_iter()
        .map(|hash| Ok(Verifier::new(hash, password, iterations)?.format()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn users_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd.scram");
        std::fs::write(&path, "# ours\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = PasswordFile::new(&path);
        assert!(file.users().unwrap().is_empty());
        assert!(!write_password(&path, "fred", Some("secret"), 4096).unwrap());
        assert!(!set_password(&path, "joe", Some("other")).unwrap());
        let users = file.users().unwrap();
        assert!(users.accept("fred", b"secret"));
        assert!(!users.accept("fred", b"Secret"));
        assert!(!users.accept("nobody", b"secret"));
        assert!(users.find("fred", Hash::Sha1).is_some());
        assert!(set_password(&path, "fred", Some("new")).unwrap());
        assert!(file.users().unwrap().accept("fred", b"new"));
        assert!(set_password(&path, "fred", None).unwrap());
        let users = file.users().unwrap();
        assert!(users.find_any("fred").is_none() && users.find_any("joe").is_some());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("# ours\n"));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for name in ["", "a:b", "a\nb"] {
            assert!(set_password(&path, name, Some("x")).is_err());
        }
        assert!(set_password(&path, "x", Some("")).is_err());
    }

    #[test]
    fn the_first_user_of_a_host_comes_before_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/libvirt/passwd.scram");
        assert!(!set_password(&path, "fred", None).unwrap());
        assert!(!path.exists(), "nobody was taken out of nothing");
        assert!(!write_password(&path, "fred", Some("secret"), 4096).unwrap());
        let users = PasswordFile::new(&path).users().unwrap();
        assert!(users.accept("fred", b"secret"));
    }

    #[test]
    fn users_are_added_and_those_who_are_there_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd.scram");
        write_password(&path, "fred", Some("new"), 4096).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let users = [
            (names(&["fred", "fred@host"]), "old"),
            (names(&["joe"]), "pencil"),
        ];
        assert_eq!(add_users_with(&path, &users, 4096).unwrap(), ["fred"]);
        let read = PasswordFile::new(&path).users().unwrap();
        assert!(read.accept("fred", b"new") && read.accept("fred@host", b"old"));
        assert!(read.accept("joe", b"pencil") && read.find("joe", Hash::Sha1).is_some());
        let before = std::fs::read(&path).unwrap();
        let kept = add_users_with(&path, &users, 4096).unwrap();
        assert_eq!(kept, ["fred", "fred@host", "joe"]);
        for wrong in [(names(&["a", "b:c"]), "x"), (names(&["a"]), "")] {
            assert!(add_users_with(&path, &[(names(&["z"]), "z"), wrong], 4096).is_err());
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = PasswordFile::new(&path).users().unwrap_err();
        assert!(error.to_string().contains("0644"), "{error}");
        assert!(PasswordFile::new(folder.path().join("none")).users().is_err());
    }

    #[test]
    fn wrong_lines_are_named() {
        for (line, what) in [
            ("fred", "USER:MECHANISM"),
            ("fred:x", "STORED-KEY"),
            ("fred:MD5$4096:YQ==$YQ==:YQ==", "unknown mechanism 'MD5'"),
            ("fred:SCRAM-SHA-256$1:YQ==$YQ==:YQ==", "1 iterations"),
            (
                "fred:SCRAM-SHA-256$4096:!$YQ==:YQ==",
                "the salt is not in base 64",
            ),
            ("fred:SCRAM-SHA-256$4096:YQ==$YQ==:YQ==", "a key of 1 bytes"),
        ] {
            let error = Users::parse("passwd", &format!("#\n{line}\n")).unwrap_err();
            assert!(error.detail().starts_with("passwd:2: "), "{error}");
            assert!(error.detail().contains(what), "{error}");
        }
    }

    #[test]
    fn users_who_are_not_there_look_like_others() {
        let line = format!(
            "fred:{}\n",
            Verifier::derive(Hash::Sha256, b"x", vec![7; 12], 5000).format()
        );
        let users = Users::parse("f", &line).unwrap();
        let invented = users.invent("nobody", Hash::Sha256);
        assert_eq!(invented, users.invent("nobody", Hash::Sha256));
        assert_ne!(invented.salt, users.invent("nobody2", Hash::Sha256).salt);
        assert_eq!((invented.iterations, invented.salt.len()), (5000, 12));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[a:$,0-9=\\nSCRAM-SHA256]{0,80}") {
            let _ = Users::parse("f", &text);
        }
    }
}
