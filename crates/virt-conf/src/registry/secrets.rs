//! Secrets: what is known of them is in `UUID.xml`, their values in `UUID.base64` beside it; those of ephemeral secrets are
//! in no file.
//!
//! A secret has no name: its UUID stands for one. What it is for is a further key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use virt_util::durable::{self, WriteOptions};
use virt_util::uuid::{self, Uuid};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::index::Registry;
use super::kind::{Definition, Kind};
use super::object::Object;
use super::store::{DiskFormat, Store};
use crate::secret::{Secret, SecretUsage};

/// Larger files of values are refused; the protocol allows values of 64 KiB.
const VALUE_FILE_MAX: u64 = 1024 * 1024;

/// A secret with its UUID as a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    secret: Secret,
    uuid: Uuid,
    name: String,
}

impl StoredSecret {
    /// A secret that has a UUID.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if it has none: normalize it first.
    pub fn new(secret: Secret) -> Result<Self> {
        let uuid = secret
            .uuid
            .ok_or_else(|| secret_error("the secret has no UUID"))?;
        Ok(Self {
            secret,
            uuid,
            name: uuid::format(&uuid),
        })
    }

    /// What is known of the secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The keys for [`super::Kind::keys`]: what it is for.
    pub fn keys(&self) -> Vec<SecretUsage> {
        self.secret.usage.iter().cloned().collect()
    }

    /// The rule for [`super::Kind::check_redefinition`]: the name of what a secret is for stays, though not the kind of thing
    /// that has it, and a private one stays private. Where the kind changes, [`rekey`] follows.
    ///
    /// # Errors
    /// `INTERNAL_ERROR`, as in libvirt.
    pub fn check_redefinition(&self, new: &Self) -> Result<()> {
        let id = |secret: &Secret| secret.usage.as_ref().map(|usage| usage.id.clone());
        if id(&self.secret) != id(&new.secret) {
            return Err(secret_error(format_args!(
                "secret {} is for '{}', which stays",
                self.name,
                self.secret.usage.as_ref().map_or("nothing", |usage| &usage.id)
            )));
        }
        if self.secret.private && !new.secret.private {
            return Err(secret_error("a private secret stays private"));
        }
        Ok(())
    }

    /// The error for [`super::Kind::key_taken`]: another secret is for the same thing.
    pub fn usage_taken(&self, usage: &SecretUsage) -> VirtError {
        secret_error(format_args!("secret {} is for '{}' already", self.name, usage.id))
    }
}

/// Makes a secret known by what its new definition is for, and no more by what the old one was for.
///
/// # Errors
/// If another secret is for that.
pub fn rekey<K>(
    registry: &Registry<K>,
    object: &Arc<Object<K>>,
    old: &StoredSecret,
    new: &StoredSecret,
) -> Result<()>
where
    K: Kind<Definition = StoredSecret, Key = SecretUsage>,
{
    if old.secret.usage == new.secret.usage {
        return Ok(());
    }
    for key in new.keys() {
        registry.bind(object, key)?;
    }
    old.keys().iter().for_each(|key| registry.unbind(key));
    Ok(())
}

fn secret_error(what: impl fmt::Display) -> VirtError {
    VirtError::internal(what).in_domain(ErrorDomain::SECRET)
}

impl Definition for StoredSecret {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(self.uuid)
    }
}

impl DiskFormat for StoredSecret {
    fn to_disk(&self) -> Result<String> {
        Ok(self.secret.format())
    }

    fn from_disk(text: &str, path: &Path) -> Result<Self> {
        let secret = Self::new(Secret::parse(text, &path.to_string_lossy())?)?;
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(&secret.name) {
            return Err(secret_error(format_args!(
                "file '{}' holds a secret of another <uuid>",
                path.display()
            )));
        }
        Ok(secret)
    }
}

/// The value of a secret. It is shown nowhere and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// A value.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretValue({} bytes)", self.0.len())
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler may find that nobody reads the zeros.
        std::hint::black_box(&self.0);
    }
}

/// Secrets on disk.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    folder: PathBuf,
    store: Store,
}

/// What [`SecretFiles::load`] found.
#[derive(Debug, Default)]
pub struct LoadedSecrets {
    /// The secrets, with their values.
    pub loaded: Vec<(StoredSecret, Option<SecretValue>)>,
    /// Files that could not be read, and why. They stay where they are.
    pub failed: Vec<(PathBuf, VirtError)>,
}

impl SecretFiles {
    /// Secrets in `folder`: `/etc/libvirt/secrets`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            store: Store::new(&folder, None, ""),
            folder,
        }
    }

    /// Makes the folder if it is missing.
    pub fn prepare(&self) -> Result<()> {
        self.store.prepare()
    }

    fn value_path(&self, secret: &StoredSecret) -> PathBuf {
        self.folder.join(format!("{}.base64", secret.name))
    }

    /// Stores a secret in the place of `old`. Durable when it returns. `value` is what is known of the value: it comes onto
    /// the disk with a secret that was ephemeral, and leaves it with one that becomes so.
    pub fn define(
        &self,
        old: Option<&StoredSecret>,
        new: &StoredSecret,
        value: Option<&SecretValue>,
    ) -> Result<()> {
        if new.secret.ephemeral {
            return match old {
                Some(old) if !old.secret.ephemeral => self.remove(old),
                _ => Ok(()),
            };
        }
        if old.is_none_or(|old| old.secret.ephemeral) {
            // The definition decides whether the secret exists, so its value is there first; one that a kill has left
            // from an earlier secret is not this one's.
            match value {
                Some(value) => self.write_value(new, value)?,
                None => _ = durable::remove(&self.value_path(new))?,
            }
        }
        self.store.save(new)
    }

    /// Stores the value of a secret, unless it is ephemeral. Durable when it returns.
    pub fn set_value(&self, secret: &StoredSecret, value: &SecretValue) -> Result<()> {
        if secret.secret.ephemeral {
            Ok(())
        } else {
            self.write_value(secret, value)
        }
    }

    fn write_value(&self, secret: &StoredSecret, value: &SecretValue) -> Result<()> {
        let text = SecretValue(BASE64.encode(value.bytes()).into_bytes());
        durable::write(&self.value_path(secret), text.bytes(), &WriteOptions::default())
    }

    /// Removes a secret with its value.
    pub fn remove(&self, secret: &StoredSecret) -> Result<()> {
        // Without its definition the secret does not exist: what a kill leaves of it is cleared away by the next one.
        self.store.remove(&secret.name)?;
        durable::remove(&self.value_path(secret)).map(|_| ())
    }

    /// Reads all secrets. A file that cannot be read keeps no other from being loaded; files of other names stay as they are.
    pub fn load(&self) -> Result<LoadedSecrets> {
        let found = self.store.load::<StoredSecret>()?;
        let mut result = LoadedSecrets {
            loaded: Vec::new(),
            failed: found.failed,
        };
        for loaded in found.loaded {
            let path = self.value_path(&loaded.definition);
            match read_value(&path) {
                Ok(value) => result
                    .loaded
                    .push((StoredSecret::clone(&loaded.definition), value)),
                Err(error) => result.failed.push((path, error)),
            }
        }
        Ok(result)
    }
}

/// Files have padding; those of other programs may lack it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The value in a file; none if there is no file, or nothing in it.
fn read_value(path: &Path) -> Result<Option<SecretValue>> {
    let Some(text) = durable::read(path, VALUE_FILE_MAX)?.map(SecretValue) else {
        return Ok(None);
    };
    // Line ends and the like do not count.
    let digits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let text = SecretValue(text.bytes().iter().copied().filter(digits).collect());
    if text.bytes().is_empty() {
        return Ok(None);
    }
    BASE64
        .decode(text.bytes())
        .map(|bytes| Some(SecretValue(bytes)))
        .map_err(|error| {
            // The error tells a place and a byte, which is a part of the secret.
            let _ = error;
            VirtError::new(
                ErrorCode::INTERNAL_ERROR,
                format_args!("'{}' is not Base64", path.display()),
            )
            .in_domain(ErrorDomain::SECRET)
        })
}

#[cfg(test)]
pub(super) mod tests;
