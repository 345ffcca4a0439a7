//! What unlocks storage: credentials for its server, and the encryption of its data.

use virt_util::xml::{At, Element, Reader, Writer, Xml, error_at};
use virt_util::{ErrorDomain, Result};

xml_enum! {
    /// How the client authenticates to the storage server.
    pub enum StorageAuthType { Chap = "chap", Ceph = "ceph" }
}

xml_enum! {
    /// The format of encrypted data.
    pub enum EncryptionFormat { Default = "default", Qcow = "qcow", Luks = "luks", Luks2 = "luks2", LuksAny = "luks-any" }
}

xml_enum! {
    /// Who decrypts.
    pub enum EncryptionEngine { Qemu = "qemu", Librbd = "librbd" }
}

xml_enum! {
    /// The kind of secret that unlocks encrypted data.
    pub enum EncryptionSecretType { Passphrase = "passphrase" }
}

/// Credentials for network storage.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "auth", reported_by = ErrorDomain::STORAGE, check = StorageAuth::after_read)]
pub struct StorageAuth {
    /// How the client authenticates; said in storage pools only.
    #[xml("@*", with = auth_type, reads("@type": StorageAuthType))]
    pub kind: Option<StorageAuthType>,
    /// User name.
    #[xml("@username")]
    pub username: Option<String>,
    /// The secret that holds the password.
    #[xml("secret")]
    pub secret: Option<SecretReference>,
}

/// Names a secret.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "secret", check = SecretReference::after_read)]
pub struct SecretReference {
    /// What the secret is for.
    #[xml("@type")]
    pub kind: Option<String>,
    /// Its UUID.
    #[xml("@uuid", reported_by = ErrorDomain::NONE)]
    pub uuid: Option<virt_util::uuid::Uuid>,
    /// Finds the secret by what it is for.
    #[xml("@usage")]
    pub usage: Option<String>,
}

/// A required attribute where a word that is none is unsupported, as in libvirt.
macro_rules! supported_word {
    ($module:ident, $name:literal, $type:ty) => {
        mod $module {
            use super::*;
            use crate::values::unsupported_word;

            pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<$type> {
                let word = element.attr($name).filter(|word| !word.is_empty());
                let word = word.ok_or_else(|| {
                    let missing = virt_util::xml::missing(element, At::Attribute($name));
                    virt_util::xml::recoded(missing, element, virt_util::ErrorCode::XML_ERROR)
                })?;
                let found = <$type>::from_word(&word);
                if found.is_none() {
                    let words = <$type>::WORDS.iter().copied();
                    cx.fail(unsupported_word(
                        element,
                        At::Attribute($name),
                        &word,
                        words,
                    ))?;
                }
                Ok(found.unwrap_or_default())
            }

            pub(super) fn write(value: &$type, w: &mut Writer) {
                w.attribute($name, value.as_str());
            }
        }
    };
}

supported_word!(encryption_format, "format", EncryptionFormat);
supported_word!(encryption_secret_type, "type", EncryptionSecretType);

/// How the client authenticates; `none` says nothing.
mod auth_type {
    use super::*;
    use crate::values::unsupported_word;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<StorageAuthType>> {
        let said = |word: &std::borrow::Cow<'_, str>| !matches!(&**word, "" | "none");
        let Some(word) = element.attr("type").filter(said) else {
            return Ok(None);
        };
        let found = StorageAuthType::from_word(&word);
        if found.is_none() {
            let words = StorageAuthType::WORDS.iter().copied();
            cx.fail(unsupported_word(element, At::Attribute("type"), &word, words))?;
        }
        Ok(found)
    }

    pub(super) fn write(value: &Option<StorageAuthType>, w: &mut Writer) {
        if let Some(kind) = value {
            w.attribute("type", kind.as_str());
        }
    }
}

/// How data are encrypted.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "encryption", body, reported_by = ErrorDomain::STORAGE, check = Encryption::after_read)]
pub struct Encryption {
    /// How the encrypted data are laid out: `luks`, `luks2`, `qcow` …
    #[xml("@*", with = encryption_format, reads("@format"))]
    pub format: EncryptionFormat,
    /// Who decrypts.
    #[xml("@engine")]
    pub engine: Option<EncryptionEngine>,
    /// What unlocks the data.
    #[xml("secret")]
    pub secrets: Vec<EncryptionSecret>,
    /// Cipher for a volume that is to be created.
    #[xml("cipher", read_when = format == EncryptionFormat::Luks)]
    pub cipher: Option<Cipher>,
    /// How the initial vector is made.
    #[xml("ivgen", read_when = format == EncryptionFormat::Luks)]
    pub ivgen: Option<IvGenerator>,
}

/// A secret that unlocks encrypted data.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "secret", check = EncryptionSecret::after_read)]
pub struct EncryptionSecret {
    /// Kind of secret.
    #[xml("@*", with = encryption_secret_type, reads("@type"))]
    pub kind: EncryptionSecretType,
    /// Its UUID.
    #[xml("@uuid", reported_by = ErrorDomain::NONE)]
    pub uuid: Option<virt_util::uuid::Uuid>,
    /// Finds the secret by what it is for.
    #[xml("@usage")]
    pub usage: Option<String>,
}

/// Cipher of encrypted data.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "cipher")]
pub struct Cipher {
    /// Which algorithm encrypts, as in `aes`.
    #[xml("@name", own)]
    pub name: String,
    /// Key size in bits.
    #[xml("@size")]
    pub size: u32,
    /// Mode of operation.
    #[xml("@mode")]
    pub mode: Option<String>,
    /// Which function digests, as in `sha256`.
    #[xml("@hash")]
    pub hash: Option<String>,
}

/// How the initial vector is made.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "ivgen")]
pub struct IvGenerator {
    /// Which method makes the vector, as in `plain64`.
    #[xml("@name", own)]
    pub name: String,
    /// Which function digests for it, as in `sha256`.
    #[xml("@hash")]
    pub hash: Option<String>,
}

impl StorageAuth {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.username.as_deref().is_none_or(str::is_empty) {
            cx.fail(error_at(
                element,
                At::Text,
                "missing required attribute 'username'",
            ))?;
        }
        match &self.secret {
            None => cx.fail(error_at(element, At::Text, "missing required element 'secret'")),
            Some(_) => Ok(()),
        }
    }
}

/// A secret is named by its UUID or by its usage.
fn check_secret_key(uuid: bool, usage: bool, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match (uuid, usage) {
        (false, false) => {
            let what = "expected one of 'uuid' and 'usage', found none";
            cx.fail(error_at(element, At::Text, what).in_domain(ErrorDomain::NONE))
        }
        (true, true) => {
            let what = "a secret is named by attribute 'uuid' or by attribute 'usage', not by both";
            cx.fail(error_at(element, At::Attribute("usage"), what).in_domain(ErrorDomain::NONE))
        }
        _ => Ok(()),
    }
}

impl SecretReference {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_secret_key(self.uuid.is_some(), self.usage.is_some(), element, cx)
    }
}

impl EncryptionSecret {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_secret_key(self.uuid.is_some(), self.usage.is_some(), element, cx)
    }
}

impl Encryption {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.ivgen.is_some() && self.cipher.is_none() {
            let what = "element 'ivgen' needs element 'cipher' beside it";
            cx.fail(error_at(element, At::Child("ivgen"), what))?;
        }
        Ok(())
    }
}
