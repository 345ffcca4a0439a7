//! Secrets on a command line: which a guest needs, and how QEMU is handed their values without anybody seeing them.
//!
//! A plan asks nobody. [`wanted`] says which secrets a definition names, the one who starts the guest fetches them from
//! where secrets are kept, and hands the values in with [`Secrets`]. On the command line they stand encrypted with the
//! guest's master key, which QEMU reads from a file.

use std::fmt;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use virt_conf::domain::Domain;
use virt_conf::domain::chardev::ChardevSource;
use virt_conf::domain::disk::Disk;
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys, ScsiHostdev};
use virt_conf::domain::storage::{
    BackingStore, Encryption, NetProtocol, PoolMode, StorageAuth, StorageLocation, StorageSource,
};
use virt_conf::secret::SecretUsageType;
use virt_conf::storage_pool::PoolType;
use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::host::Host;
use super::prepare::{self, Start};
use super::volumes;

/// Bytes of the key that a guest's secrets are encrypted with.
pub const MASTER_KEY_LENGTH: usize = 32;

/// Bytes of what each secret's encryption starts with.
const IV_LENGTH: usize = 16;

/// The object that holds the key.
const MASTER_KEY: &str = "masterKey0";

/// Fills a buffer with what nobody can guess.
pub type RandomSource = fn(&mut [u8]) -> Result<()>;

/// A secret as a definition or a setting names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    /// Its name.
    pub name: SecretName,
    /// What it must be for.
    pub usage: SecretUsageType,
}

/// The two ways to name a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretName {
    /// By UUID.
    Uuid(Uuid),
    /// By what it is used for.
    Usage(String),
}

impl SecretKey {
    /// A secret that one of these names.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if neither does, which no definition that was read says.
    fn new(uuid: Option<Uuid>, text: Option<&str>, usage: SecretUsageType) -> Result<Self> {
        let name = match (uuid, text) {
            (Some(uuid), _) => SecretName::Uuid(uuid),
            (None, Some(text)) => SecretName::Usage(text.to_owned()),
            (None, None) => return Err(VirtError::internal("a secret has neither UUID nor usage")),
        };
        Ok(Self { name, usage })
    }

    /// The key of certificates, which settings name.
    pub fn tls(uuid: Uuid) -> Self {
        Self {
            name: SecretName::Uuid(uuid),
            usage: SecretUsageType::Tls,
        }
    }

    /// What unlocks an image, in the order of its definition.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for a secret without a name.
    pub fn of_encryption(encryption: &Encryption) -> Result<Vec<Self>> {
        encryption
            .secrets
            .iter()
            .map(|secret| Self::new(secret.uuid, secret.usage.as_deref(), SecretUsageType::Volume))
            .collect()
    }

    /// What a server of storage asks for.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for a secret without a name.
    pub fn of_auth(auth: &StorageAuth, protocol: NetProtocol) -> Result<Self> {
        let usage = match protocol {
            NetProtocol::Rbd => SecretUsageType::Ceph,
            _ => SecretUsageType::Iscsi,
        };
        let secret = auth.secret.as_ref();
        Self::new(
            secret.and_then(|secret| secret.uuid),
            secret.and_then(|secret| secret.usage.as_deref()),
            usage,
        )
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            SecretName::Uuid(uuid) => write!(f, "{uuid}"),
            SecretName::Usage(text) => write!(f, "of usage '{text}' ({})", self.usage),
        }
    }
}

/// A value that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes a value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The value.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Values of the secrets that a start needs, and what it encrypts them with.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The guest's key; none where secrets cannot be used.
    pub master_key: Option<SecretValue>,
    /// Where encryption gets what nobody can guess.
    pub random: RandomSource,
    /// The values.
    pub values: Vec<(SecretKey, SecretValue)>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            master_key: None,
            random: |_| Err(VirtError::internal("this start has no source of random numbers")),
            values: Vec::new(),
        }
    }
}

impl Secrets {
    /// The value of a secret.
    ///
    /// # Errors
    /// `NO_SECRET` if nobody handed it in.
    pub fn value(&self, key: &SecretKey) -> Result<&SecretValue> {
        let found = self.values.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value).ok_or_else(|| {
            VirtError::new(
                ErrorCode::NO_SECRET,
                format_args!("the value of secret {key} is not known"),
            )
        })
    }

    /// The object `id` that hands `value` to QEMU.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` without a key or random numbers.
    fn object(&self, id: &str, value: &[u8]) -> Result<Props> {
        let failed = |why: &str| VirtError::internal(format_args!("secret object '{id}': {why}"));
        let key = self
            .master_key
            .as_ref()
            .ok_or_else(|| failed("the guest has no master key"))?;
        let mut iv = [0; IV_LENGTH];
        (self.random)(&mut iv)?;
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key.expose(), &iv)
            .map_err(|_| failed("the guest's master key has a wrong length"))?;
        let data = cipher.encrypt_padded_vec::<Pkcs7>(value);
        Ok(Props::object("secret", id)
            .with("data", STANDARD.encode(data))
            .with("keyid", MASTER_KEY)
            .with("iv", STANDARD.encode(iv))
            .with("format", "base64"))
    }
}

/// The secrets that a start of this guest needs, each once.
///
/// # Errors
/// `INTERNAL_ERROR` for a secret without a name.
pub fn wanted(domain: &Domain, host: &Host, start: &Start) -> Result<Vec<SecretKey>> {
    let mut wanted = Vec::new();
    for disk in &domain.devices.disks {
        of_disk(disk, host, &mut wanted)?;
        of_pool(disk, start, &mut wanted)?;
    }
    for hostdev in &domain.devices.hostdevs {
        if let HostdevPass::Subsystem(subsystem) = &hostdev.mode
            && let HostdevSubsys::Scsi { device, .. } = &**subsystem
            && let ScsiHostdev::Iscsi { auth: Some(auth), .. } = device
        {
            wanted.push(SecretKey::of_auth(auth, NetProtocol::Iscsi)?);
        }
    }
    let vnc = |graphics: &Graphics| matches!(graphics, Graphics::Vnc(_));
    if let Some(uuid) = host.config.vnc.tls_x509_secret
        && host.config.vnc.tls
        && domain.devices.graphics.iter().any(vnc)
    {
        wanted.push(SecretKey::tls(uuid));
    }
    if let Some(uuid) = host.config.chardev_tls.secret {
        let mut any = false;
        prepare::each_tls_chardev(domain, |source| {
            if let ChardevSource::Tcp(tcp) = source {
                any |= tcp.tls.unwrap_or(host.config.chardev_tls.on);
            }
        });
        if any {
            wanted.push(SecretKey::tls(uuid));
        }
    }
    let mut seen = Vec::new();
    for key in wanted {
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    Ok(seen)
}

/// Units of a target that a pool knows are reached with the pool's credentials.
fn of_pool(disk: &Disk, start: &Start, wanted: &mut Vec<SecretKey>) -> Result<()> {
    let StorageLocation::Volume { pool, mode, .. } = &disk.source.location else {
        return Ok(());
    };
    let Some(facts) = start.pools.get(pool) else {
        return Ok(());
    };
    let direct = match facts.definition.kind {
        PoolType::IscsiDirect => true,
        PoolType::Iscsi => *mode == Some(PoolMode::Direct),
        _ => false,
    };
    if let Some(auth) = volumes::pool_auth(&facts.definition).filter(|_| direct) {
        wanted.push(SecretKey::of_auth(&auth, NetProtocol::Iscsi)?);
    }
    Ok(())
}

fn of_disk(disk: &Disk, host: &Host, wanted: &mut Vec<SecretKey>) -> Result<()> {
    if disk.is_empty() {
        return Ok(());
    }
    let top_auth = disk.auth.as_deref().or(disk.source.auth.as_deref());
    of_image(&disk.source, top_auth, disk.image_encryption(), host, wanted)?;
    let mut below = disk.backing.as_ref();
    while let Some(BackingStore::Image(image)) = below {
        let source = &image.source;
        of_image(
            source,
            source.auth.as_deref(),
            source.encryption.as_deref(),
            host,
            wanted,
        )?;
        below = image.backing.as_ref();
    }
    Ok(())
}

fn of_image(
    source: &StorageSource,
    auth: Option<&StorageAuth>,
    encryption: Option<&Encryption>,
    host: &Host,
    wanted: &mut Vec<SecretKey>,
) -> Result<()> {
    if let StorageLocation::Network(network) = &source.location {
        if let Some(auth) = auth
            && !host.config.serves_with_nbdkit(network.protocol)
        {
            wanted.push(SecretKey::of_auth(auth, network.protocol)?);
        }
        let tls = host.config.storage_tls(network.protocol);
        if let Some(tls) = tls
            && network.tls.unwrap_or(tls.on)
            && let Some(uuid) = tls.secret
        {
            wanted.push(SecretKey::tls(uuid));
        }
    }
    if let Some(encryption) = encryption {
        wanted.extend(SecretKey::of_encryption(encryption)?);
    }
    if let Some(store) = &source.data_store {
        let data = &store.source;
        of_image(
            data,
            data.auth.as_deref(),
            data.encryption.as_deref(),
            host,
            wanted,
        )?;
    }
    Ok(())
}

impl Builder<'_> {
    /// Hands QEMU the value of a secret as object `id`.
    pub(super) fn secret(&mut self, id: &str, key: &SecretKey) -> Result<()> {
        let secrets = &self.start.secrets;
        let props = secrets.object(id, secrets.value(key)?.expose())?;
        self.command.object(&props);
        Ok(())
    }

    /// Hands QEMU text that nobody should see as object `id`.
    pub(super) fn hidden_text(&mut self, id: &str, text: &str) -> Result<()> {
        let props = self.start.secrets.object(id, text.as_bytes())?;
        self.command.object(&props);
        Ok(())
    }

    /// Credentials of an encrypted connection as object `id`.
    pub(super) fn tls_credentials(
        &mut self,
        id: &str,
        folder: &str,
        endpoint: TlsEndpoint,
        password: Option<String>,
    ) {
        let (side, verify) = match endpoint {
            TlsEndpoint::Client => ("client", true),
            TlsEndpoint::Server { verify } => ("server", verify),
        };
        let props = Props::object("tls-creds-x509", id)
            .with("dir", folder)
            .with("endpoint", side)
            .with("verify-peer", verify)
            .maybe("passwordid", password);
        self.command.object(&props);
    }
}

/// Which side of an encrypted connection QEMU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsEndpoint {
    /// It connects, and always looks at the other side's certificate.
    Client,
    /// It is connected to.
    Server {
        /// Whether clients need a certificate.
        verify: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(bytes: &mut [u8]) -> Result<()> {
        bytes.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
        Ok(())
    }

    fn secrets() -> Secrets {
        let key: Vec<u8> = (0..32).collect();
        Secrets {
            master_key: Some(SecretValue::new(key)),
            random: counting,
            values: Vec::new(),
        }
    }

    #[test]
    fn a_block_of_padding_follows_whole_blocks() {
        let length = |value: &[u8]| {
            let object = secrets().object("s", value).unwrap();
            let data = object
                .get("data")
                .and_then(serde_json::Value::as_str)
                .unwrap()
                .to_owned();
            STANDARD.decode(data).unwrap().len()
        };
        assert_eq!((length(b""), length(&[7; 15]), length(&[7; 16])), (16, 16, 32));
    }

    #[test]
    fn values_are_not_shown() {
        let mut secrets = secrets();
        let key = SecretKey::tls(Uuid::nil());
        secrets
            .values
            .push((key.clone(), SecretValue::new("quite secret")));
        let shown = format!("{secrets:?}");
        assert!(!shown.contains("113") && !shown.contains("quite"), "{shown}");
        let other = SecretKey {
            usage: SecretUsageType::Volume,
            ..key
        };
        assert_eq!(secrets.value(&other).unwrap_err().code(), ErrorCode::NO_SECRET);
    }

    #[test]
    fn without_a_key_nothing_is_handed_over() {
        let secrets = Secrets {
            master_key: None,
            ..secrets()
        };
        let error = secrets.object("s", b"quite secret").unwrap_err();
        assert!(!error.to_string().contains("quite"), "{error}");
        let short = Secrets {
            master_key: Some(SecretValue::new([1; 5])),
            ..secrets
        };
        assert!(short.object("s", b"x").is_err());
    }
}
