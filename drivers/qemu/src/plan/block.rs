//! Images as block nodes: `-blockdev` for storage, slice and format, and the names of the nodes.

use std::borrow::Cow;

use serde_json::{Value, json};
use virt_conf::domain::disk::{DetectZeroes, DiskCache, DiskDiscard, DiskIo};
use virt_conf::domain::os::{LoaderType, NvramSource, Os};
use virt_conf::domain::storage::{
    BackingStore, Encryption, EncryptionEngine, EncryptionFormat, HostTransport, NetProtocol, NetworkStorage,
    NfsIdentity, StorageAuth, StorageFormat, StorageHost, StorageLocation, StorageSource,
};
use virt_util::uri::Uri;
use virt_util::{ErrorCode, Result, VirtError};

use super::args::Props;
use super::prepare::{FdGroup, Start};
use super::secrets::{SecretKey, TlsEndpoint};
use super::{Builder, nbdkit_socket, volumes};
use crate::capabilities::{Flag, QemuCaps};

/// Settings of a drive that hold for its images.
#[derive(Clone, Debug, Default)]
pub struct ImageSettings {
    /// How the host caches.
    pub cache: DiskCache,
    /// How requests are submitted.
    pub io: Option<DiskIo>,
    /// What becomes of discards.
    pub discard: Option<DiskDiscard>,
    /// Whether discarded clusters stay allocated.
    pub discard_no_unref: Option<bool>,
    /// Whether zeroes are recognised; only for the image on top.
    pub detect_zeroes: Option<DetectZeroes>,
    /// The guest cannot write.
    pub read_only: bool,
    /// A folder is presented as a floppy.
    pub floppy: bool,
    /// Most bytes of metadata that are cached.
    pub metadata_cache: Option<u64>,
    /// The device is a CD-ROM drive of the host.
    pub host_cdrom: bool,
    /// How much the library that reaches a Gluster server tells the log.
    pub gluster_debug: Option<u32>,
}

/// One image of a chain with the names of its nodes.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Where it is.
    pub source: Cow<'a, StorageSource>,
    /// Who we are to its server.
    pub auth: Option<&'a StorageAuth>,
    /// How its data are encrypted.
    pub encryption: Option<&'a Encryption>,
    /// Its format.
    pub format: StorageFormat,
    /// Its settings.
    pub settings: ImageSettings,
    /// Node of the storage: `libvirt-1-storage`.
    pub storage_node: String,
    /// Node of the part of the storage that is used.
    pub slice_node: Option<String>,
    /// Node of the format: `libvirt-1-format`; none where the storage is used as it is.
    pub format_node: Option<String>,
    /// What is behind it.
    pub backing: Backing,
    /// Node of the file that has the data of an image in format qcow2.
    pub data_node: Option<String>,
    /// Descriptors that the image is, and the set they are in.
    pub descriptors: Option<(FdGroup, u32)>,
    /// Socket of the nbdkit that serves it in QEMU's place.
    pub nbdkit: Option<String>,
    /// The numbers of users and groups that its definition names.
    pub ids: NfsIds,
}

/// Who reads an image over NFS, by number. Nobody in particular where nobody is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NfsIds {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

/// What is behind an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nobody said; the image's own header counts.
    Unknown,
    /// Nothing.
    None,
    /// This node.
    Node(String),
}

/// Whether writeback, direct and no-flush are meant by a cache mode; `None` for QEMU's default.
pub fn cache_flags(cache: DiskCache) -> Option<(bool, bool, bool)> {
    Some(match cache {
        DiskCache::Default => return None,
        DiskCache::None => (true, true, false),
        DiskCache::Writethrough => (false, false, false),
        DiskCache::Writeback => (true, false, false),
        DiskCache::Directsync => (false, true, false),
        DiskCache::Unsafe => (true, false, true),
    })
}

/// The image that a drive shows.
#[derive(Clone, Copy, Debug)]
pub struct Top<'a> {
    /// Where it is.
    pub source: &'a StorageSource,
    /// Its format.
    pub format: StorageFormat,
    /// Who we are to its server.
    pub auth: Option<&'a StorageAuth>,
    /// How its data are encrypted.
    pub encryption: Option<&'a Encryption>,
}

/// The chain of a drive, the image on top first, each image before the one that has its data, with node names from
/// `next_id` on.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for images that QEMU has no driver for, `INVALID_ARG` for descriptors that nobody gave us.
pub fn chain<'a>(
    top: Top<'a>,
    backing: Option<&'a BackingStore>,
    settings: &ImageSettings,
    caps: &QemuCaps,
    start: &Start,
    next_id: &mut u32,
) -> Result<Vec<Image<'a>>> {
    let mut images: Vec<Image<'a>> = Vec::new();
    let mut rest = backing;
    let mut depth = 1;
    let mut owner = with_data(&mut images, top, settings.clone(), caps, start, next_id)?;
    loop {
        match rest {
            None => break,
            Some(BackingStore::End) => {
                if let Some(last) = images.get_mut(owner) {
                    last.backing = Backing::None;
                }
                break;
            }
            Some(BackingStore::Image(below)) => {
                let settings = ImageSettings {
                    detect_zeroes: None,
                    read_only: true,
                    metadata_cache: below.format.metadata_cache,
                    ..settings.clone()
                };
                let one = Top {
                    source: &below.source,
                    format: below.format.kind,
                    auth: below.source.auth.as_deref(),
                    encryption: below.source.encryption.as_deref(),
                };
                let at = with_data(&mut images, one, settings, caps, start, next_id)?;
                let node = images.get(at).map(|image| image.node().to_owned());
                if let (Some(above), Some(node)) = (images.get_mut(owner), node) {
                    above.backing = Backing::Node(node);
                }
                owner = at;
                rest = below.backing.as_ref();
            }
        }
        depth += 1;
        if depth > 200 {
            return Err(VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "a chain of images may hold at most 200",
            ));
        }
    }
    Ok(images)
}

/// Adds an image and the one that has its data; answers where the first is.
fn with_data<'a>(
    images: &mut Vec<Image<'a>>,
    one: Top<'a>,
    settings: ImageSettings,
    caps: &QemuCaps,
    start: &Start,
    next_id: &mut u32,
) -> Result<usize> {
    let at = images.len();
    let mut owner = image(one, settings.clone(), caps, id(next_id));
    owner.associate(start)?;
    if let Some(store) = one.source.data_store.as_deref() {
        let settings = ImageSettings {
            metadata_cache: store.format.metadata_cache,
            ..settings
        };
        let data = Top {
            source: &store.source,
            format: store.format.kind,
            auth: store.source.auth.as_deref(),
            encryption: store.source.encryption.as_deref(),
        };
        let mut data = image(data, settings, caps, id(next_id));
        data.associate(start)?;
        owner.data_node = Some(data.node().to_owned());
        images.push(owner);
        images.push(data);
    } else {
        images.push(owner);
    }
    Ok(at)
}

fn id(next_id: &mut u32) -> String {
    let name = format!("libvirt-{next_id}");
    *next_id += 1;
    name
}

/// One image under a name of its own.
pub fn image<'a>(one: Top<'a>, settings: ImageSettings, caps: &QemuCaps, name: String) -> Image<'a> {
    let Top {
        source,
        format,
        auth,
        encryption,
    } = one;
    let located = match &source.location {
        StorageLocation::Volume {
            translated: Some(volume),
            ..
        } => Cow::Owned(StorageSource {
            location: volumes::location(volume),
            ..source.clone()
        }),
        _ => Cow::Borrowed(source),
    };
    let mut image = Image {
        source: located,
        auth,
        encryption,
        format,
        settings,
        slice_node: source.slice.as_ref().map(|_| format!("{name}-slice-sto")),
        format_node: None,
        storage_node: format!("{name}-storage"),
        backing: Backing::Unknown,
        data_node: None,
        descriptors: None,
        nbdkit: None,
        ids: NfsIds::default(),
    };
    // A raw image needs no node of its own where block jobs can be told so.
    let plain = format == StorageFormat::Raw && !image.is_luks();
    if !caps.has(Flag::BlockjobBackingMaskProtocol) || !plain {
        image.format_node = Some(format!("{name}-format"));
    }
    image
}

/// The nodes of an image of the firmware.
#[derive(Clone, Debug)]
pub struct Pflash {
    /// The node that stands for it.
    pub node: String,
    /// Its nodes, the lowest first.
    pub props: Vec<Props>,
}

/// The images of a firmware that sits in flash memory: its code and its variables.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for storage that QEMU has no driver for.
pub fn pflash_nodes(os: &Os, caps: &QemuCaps) -> Result<(Option<Pflash>, Option<Pflash>)> {
    let Some(loader) = os
        .loader
        .as_ref()
        .filter(|loader| loader.kind == Some(LoaderType::Pflash))
    else {
        return Ok((None, None));
    };
    let file = |path: Option<String>| StorageSource {
        location: StorageLocation::File { path, fd_group: None },
        ..StorageSource::default()
    };
    let source = file(loader.path.clone());
    let format = loader.format.unwrap_or(StorageFormat::Raw);
    let settings = ImageSettings {
        read_only: loader.read_only == Some(true),
        ..ImageSettings::default()
    };
    let plain = |source, format| Top {
        source,
        format,
        auth: None,
        encryption: None,
    };
    let mut code = image(
        plain(&source, format),
        settings,
        caps,
        "libvirt-pflash0".to_owned(),
    );
    code.format_node
        .get_or_insert_with(|| "libvirt-pflash0-format".to_owned());
    code.backing = Backing::None;
    let code = Pflash {
        node: code.node().to_owned(),
        props: code.blockdevs()?,
    };
    let mut variables = None;
    if let Some(nvram) = &os.nvram {
        let source = match &nvram.source {
            NvramSource::None => None,
            NvramSource::Path(path) => Some(file(Some(path.clone()))),
            NvramSource::Source(source) => Some((**source).clone()),
        };
        if let Some(source) = source {
            let format = nvram.format.unwrap_or(StorageFormat::Raw);
            let mut one = image(
                Top {
                    auth: source.auth.as_deref(),
                    encryption: source.encryption.as_deref(),
                    ..plain(&source, format)
                },
                ImageSettings::default(),
                caps,
                "libvirt-pflash1".to_owned(),
            );
            one.backing = Backing::None;
            variables = Some(Pflash {
                node: one.node().to_owned(),
                props: one.blockdevs()?,
            });
        }
    }
    Ok((Some(code), variables))
}

impl Image<'_> {
    /// Whether QEMU decrypts the image with a driver of its own.
    fn is_luks(&self) -> bool {
        self.format == StorageFormat::Raw
            && self
                .encryption_by(EncryptionEngine::Qemu)
                .is_some_and(|encryption| encryption.format == EncryptionFormat::Luks)
    }

    /// How the image is encrypted, if that engine decrypts it.
    fn encryption_by(&self, engine: EncryptionEngine) -> Option<&Encryption> {
        self.encryption
            .filter(|encryption| encryption.engine.unwrap_or(EncryptionEngine::Qemu) == engine)
    }

    /// The object with the secret of that place.
    fn encryption_secret(&self, place: usize) -> String {
        let node = self.format_node.as_deref().unwrap_or(&self.storage_node);
        format!("{node}-encryption-secret{place}")
    }

    /// Takes the descriptors that the definition names.
    fn associate(&mut self, start: &Start) -> Result<()> {
        let StorageLocation::File {
            fd_group: Some(name), ..
        } = &self.source.location
        else {
            return Ok(());
        };
        let group = start.fd_groups.get(name).ok_or_else(|| {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("no file descriptors were associated with the domain as group '{name}'"),
            )
        })?;
        // QEMU looks for a descriptor with the access it wants: one that can be written is hidden from it below a node
        // that is not.
        if group.writable && group.numbers.len() == 1 && self.format_node.is_none() {
            let name = self.storage_node.trim_end_matches("-storage");
            self.format_node = Some(format!("{name}-format"));
        }
        self.descriptors = Some((group.clone(), 0));
        Ok(())
    }

    /// The node that stands for the image.
    pub fn node(&self) -> &str {
        self.format_node
            .as_deref()
            .unwrap_or_else(|| self.node_below_format())
    }

    fn node_below_format(&self) -> &str {
        self.slice_node.as_deref().unwrap_or(&self.storage_node)
    }

    /// The nodes of the image as `-blockdev` properties, the lowest first.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for storage or formats that QEMU has no driver for.
    pub fn blockdevs(&self) -> Result<Vec<Props>> {
        let storage_is_top = self.slice_node.is_none() && self.format_node.is_none();
        let mut nodes = vec![
            self.storage()?
                .and(self.common(&self.storage_node, storage_is_top)),
        ];
        if let (Some(node), Some(slice)) = (&self.slice_node, &self.source.slice) {
            let props = Props::new()
                .with("driver", "raw")
                .with("file", self.storage_node.as_str())
                .with("offset", slice.offset)
                .with("size", slice.size);
            nodes.push(props.and(self.common(node, self.format_node.is_none())));
        }
        if let Some(node) = &self.format_node {
            nodes.push(self.format_layer(node)?);
        }
        Ok(nodes)
    }

    fn common(&self, node: &str, top: bool) -> Props {
        let settings = &self.settings;
        let mut props = Props::new().with("node-name", node);
        let cache = cache_flags(settings.cache)
            .map(|(_, direct, no_flush)| json!({"direct": direct, "no-flush": no_flush}));
        if top {
            let zeroes = match settings.detect_zeroes {
                // Zeroes can be unmapped only where discards are.
                Some(DetectZeroes::Unmap) if settings.discard != Some(DiskDiscard::Unmap) => Some("on"),
                other => other.map(DetectZeroes::as_str),
            };
            props = props
                .with("read-only", settings.read_only)
                .maybe("discard", settings.discard.map(DiskDiscard::as_str))
                .maybe("detect-zeroes", zeroes);
        } else {
            // Formats above decide; a block job may need to write later. A single descriptor has one kind of access only.
            let single = self
                .descriptors
                .as_ref()
                .filter(|(group, _)| group.numbers.len() == 1);
            props = match single {
                Some((group, _)) => props.with("read-only", settings.read_only && !group.writable),
                None => props.with("auto-read-only", true),
            };
            props = props.with("discard", "unmap");
        }
        props.maybe("cache", cache)
    }

    fn format_layer(&self, node: &str) -> Result<Props> {
        let mut props = self.common(node, true);
        props = match self.format {
            StorageFormat::Qcow2 => props
                .with("driver", "qcow2")
                .maybe("encrypt", self.decrypted_by_format()?)
                .positive("cache-size", self.settings.metadata_cache.unwrap_or(0))
                .maybe("discard-no-unref", self.settings.discard_no_unref)
                .maybe("data-file", self.data_node.clone()),
            StorageFormat::Qcow => props
                .with("driver", "qcow")
                .maybe("encrypt", self.decrypted_by_format()?),
            StorageFormat::Raw if self.is_luks() => props
                .with("driver", "luks")
                .with("key-secret", self.encryption_secret(0)),
            StorageFormat::Raw | StorageFormat::Fat => props.with("driver", "raw"),
            StorageFormat::Ploop => props.with("driver", "parallels"),
            StorageFormat::Vhd => props.with("driver", "vhdx"),
            StorageFormat::Bochs
            | StorageFormat::Cloop
            | StorageFormat::Dmg
            | StorageFormat::Vdi
            | StorageFormat::Vpc
            | StorageFormat::Qed
            | StorageFormat::Vmdk => props.with("driver", self.format.as_str()),
            StorageFormat::Dir | StorageFormat::Iso | StorageFormat::Cow => {
                let what = format!("QEMU has no driver for images of format '{}'", self.format);
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        props = props.with("file", self.node_below_format());
        let has_backing = matches!(
            self.format,
            StorageFormat::Cow
                | StorageFormat::Qcow
                | StorageFormat::Qcow2
                | StorageFormat::Qed
                | StorageFormat::Vmdk
        );
        match (&self.backing, has_backing) {
            (Backing::Node(node), true) => Ok(props.with("backing", node.as_str())),
            (Backing::None, true) => Ok(props.with("backing", Value::Null)),
            (Backing::Node(_), false) => {
                let what = format!(
                    "images of format '{}' cannot have another behind them",
                    self.format
                );
                Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what))
            }
            _ => Ok(props),
        }
    }

    /// What a format with encryption inside is unlocked with.
    fn decrypted_by_format(&self) -> Result<Option<Value>> {
        let Some(encryption) = self.encryption_by(EncryptionEngine::Qemu) else {
            return Ok(None);
        };
        let format = match encryption.format {
            EncryptionFormat::Qcow => "aes",
            EncryptionFormat::Luks => "luks",
            other => {
                let what = format!("QEMU decrypts no images of encryption format '{other}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        Ok((!encryption.secrets.is_empty())
            .then(|| json!({"format": format, "key-secret": self.encryption_secret(0)})))
    }

    /// The object that asks for persistent reservations in QEMU's place.
    fn reservations_helper(&self) -> Option<String> {
        let reservations = self.source.reservations.as_ref()?;
        Some(match reservations.managed {
            Some(true) => MANAGED_HELPER.to_owned(),
            _ => format!("pr-helper-{}", self.storage_node),
        })
    }

    fn storage(&self) -> Result<Props> {
        let io = self.settings.io.map(DiskIo::as_str);
        let no_path = || VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, "an image has no path");
        if let Some(socket) = &self.nbdkit {
            return Ok(Props::new()
                .with("driver", "nbd")
                .with("server", json!({"type": "unix", "path": socket})));
        }
        match &self.source.location {
            StorageLocation::File { path, .. } => {
                let path = match &self.descriptors {
                    Some((_, set)) => format!("/dev/fdset/{set}"),
                    None => path.clone().ok_or_else(no_path)?,
                };
                Ok(Props::new()
                    .with("driver", "file")
                    .with("filename", path)
                    .maybe("aio", io)
                    .maybe("pr-manager", self.reservations_helper()))
            }
            StorageLocation::Block { path } => Ok(Props::new()
                .with(
                    "driver",
                    if self.settings.host_cdrom {
                        "host_cdrom"
                    } else {
                        "host_device"
                    },
                )
                .with("filename", path.as_deref().ok_or_else(no_path)?)
                .maybe("aio", io)
                .maybe("pr-manager", self.reservations_helper())),
            StorageLocation::Dir { path } => Ok(Props::new()
                .with("driver", "vvfat")
                .with("dir", path.as_deref().ok_or_else(no_path)?)
                .with("floppy", self.settings.floppy)
                .with("rw", !self.settings.read_only)),
            StorageLocation::Nvme {
                namespace, address, ..
            } => Ok(Props::new()
                .with("driver", "nvme")
                .with("device", address.to_string())
                .with("namespace", *namespace)),
            StorageLocation::Network(network) => self.network(network),
            StorageLocation::Volume { pool, volume, .. } => Err(VirtError::internal(format_args!(
                "the volume '{volume}' of pool '{pool}' was not looked up"
            ))),
            StorageLocation::Vhostuser { .. } | StorageLocation::Vhostvdpa { .. } => Err(VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "vhost-user and vhost-vdpa drives are not supported yet",
            )),
        }
    }

    fn network(&self, network: &NetworkStorage) -> Result<Props> {
        let unsupported = |what: &str| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what);
        let name = network.name.as_deref().unwrap_or_default();
        let one_host = || match network.hosts.as_slice() {
            [host] => Ok(host),
            _ => Err(VirtError::internal(format_args!(
                "protocol '{}' takes exactly one host, not {}",
                network.protocol,
                network.hosts.len()
            ))),
        };
        let user = self.auth.and_then(|auth| auth.username.clone());
        let password = self.auth.map(|_| self.auth_secret());
        match network.protocol {
            NetProtocol::Nbd => Ok(Props::new()
                .with("driver", "nbd")
                .with("server", socket_address(one_host()?)?)
                .maybe("export", network.name.clone())
                .maybe("tls-creds", self.tls_object())
                .maybe("tls-hostname", network.tls_hostname.clone())
                .positive("reconnect-delay", network.reconnect_delay)),
            NetProtocol::Ssh => {
                let host = one_host()?;
                let identity = network.ssh_identity.as_ref();
                let user = user.or_else(|| identity.and_then(|identity| identity.username.clone()));
                Ok(Props::new()
                    .with("driver", "ssh")
                    .with("path", name)
                    .with("server", inet_address(host)?)
                    .maybe("user", user))
            }
            NetProtocol::Http
            | NetProtocol::Https
            | NetProtocol::Ftp
            | NetProtocol::Ftps
            | NetProtocol::Tftp => Ok(Props::new()
                .with("driver", network.protocol.as_str())
                .with("url", url(network, one_host()?))
                .maybe("username", user)
                .maybe("password-secret", password)
                .maybe("sslverify", network.ssl_verify)
                .maybe(
                    "cookie-secret",
                    (!network.cookies.is_empty()).then(|| self.cookie_secret()),
                )
                .positive("timeout", network.timeout)
                .positive("readahead", network.readahead)),
            NetProtocol::Iscsi => Ok(iscsi(
                name,
                one_host()?,
                user,
                password,
                network.initiator.clone(),
            )?),
            NetProtocol::Gluster => {
                let (volume, path) = name.split_once('/').unwrap_or((name, ""));
                let servers = network.hosts.iter().map(socket_address);
                Ok(Props::new()
                    .with("driver", "gluster")
                    .with("volume", volume)
                    .with("path", path)
                    .with("server", servers.collect::<Result<Vec<Value>>>()?)
                    .maybe("debug", self.settings.gluster_debug))
            }
            NetProtocol::Rbd => {
                let (pool, image) = name.split_once('/').unwrap_or((name, ""));
                let servers: Vec<Value> = network.hosts.iter().map(inet_address).collect::<Result<_>>()?;
                let modes = self.auth.map(|_| json!(["cephx", "none"]));
                Ok(Props::new()
                    .with("driver", "rbd")
                    .with("pool", pool)
                    .with("image", image)
                    .maybe("snapshot", network.snapshot.clone())
                    .maybe("conf", network.config_file.clone())
                    .maybe("server", (!servers.is_empty()).then_some(servers))
                    .maybe("encrypt", self.decrypted_by_rbd())
                    .maybe("user", user)
                    .maybe("auth-client-required", modes)
                    .maybe("key-secret", password))
            }
            NetProtocol::Nfs => {
                let host = one_host()?;
                Ok(Props::new()
                    .with("driver", "nfs")
                    .with(
                        "server",
                        json!({"host": host.name.as_deref().unwrap_or_default(), "type": "inet"}),
                    )
                    .maybe("path", network.name.clone())
                    .maybe("user", self.ids.user)
                    .maybe("group", self.ids.group))
            }
            NetProtocol::Vxhs => Ok(Props::new()
                .with("driver", "vxhs")
                .maybe("tls-creds", self.tls_object())
                .with("vdisk-id", name)
                .with("server", inet_address(one_host()?)?)),
            NetProtocol::Sheepdog => Err(unsupported(
                "QEMU has no driver for storage by protocol 'sheepdog'",
            )),
        }
    }

    /// What Ceph's own library unlocks the image with: one layer for each secret, the image's own on the outside.
    fn decrypted_by_rbd(&self) -> Option<Value> {
        let encryption = self.encryption_by(EncryptionEngine::Librbd)?;
        let mut parent = None;
        for place in (0..encryption.secrets.len()).rev() {
            let layer = Props::new()
                .with("format", encryption.format.as_str())
                .with("key-secret", self.encryption_secret(place))
                .maybe("parent", parent);
            parent = Some(layer.into_value());
        }
        parent
    }

    fn auth_secret(&self) -> String {
        format!("{}-auth-secret0", self.storage_node)
    }

    fn cookie_secret(&self) -> String {
        format!("{}-httpcookie-secret0", self.storage_node)
    }

    /// The credentials of an encrypted connection; what the driver's settings say is in the definition by now.
    fn tls_object(&self) -> Option<String> {
        match &self.source.location {
            StorageLocation::Network(network) if network.tls == Some(true) => {
                Some(format!("obj{}_tls0", self.storage_node))
            }
            _ => None,
        }
    }
}

impl Builder<'_> {
    /// Adds an image's nodes, the lowest first, behind what they refer to.
    pub(super) fn image(&mut self, image: &Image<'_>) -> Result<()> {
        let mut image = image.clone();
        self.complete(&mut image)?;
        image.settings.gluster_debug = Some(self.host.config.gluster_debug_level);
        if let Some(helper) = image.reservations_helper()
            && helper != MANAGED_HELPER
        {
            let reservations = image.source.reservations.as_ref();
            let socket = reservations.and_then(|one| one.source.as_ref()?.path.clone());
            let props = Props::object("pr-manager-helper", helper).with("path", socket.unwrap_or_default());
            self.command.object(&props);
        }
        if let StorageLocation::Network(network) = &image.source.location {
            self.network_objects(&image, network)?;
        }
        if let Some(encryption) = image.encryption {
            for (place, key) in SecretKey::of_encryption(encryption)?.iter().enumerate() {
                self.secret(&image.encryption_secret(place), key)?;
            }
        }
        if let Some((group, set)) = &image.descriptors {
            for (place, number) in group.numbers.iter().enumerate() {
                let value = format!("set={set},fd={number},opaque={}{place}", image.storage_node);
                self.command.option("-add-fd", value);
            }
        }
        for props in image.blockdevs()? {
            self.command.blockdev(&props);
        }
        Ok(())
    }

    /// What a plan knows of an image beyond its definition.
    fn complete(&self, image: &mut Image<'_>) -> Result<()> {
        if let Some((_, set)) = &mut image.descriptors {
            *set = self
                .layout
                .fd_sets
                .get(&image.storage_node)
                .copied()
                .ok_or_else(|| VirtError::internal("descriptors are in no set"))?;
        }
        let StorageLocation::Network(network) = &image.source.location else {
            return Ok(());
        };
        if self.host.config.serves_with_nbdkit(network.protocol) {
            image.nbdkit = Some(nbdkit_socket(&self.layout.directory, &image.storage_node));
        }
        if let Some(NfsIdentity { user, group }) = &network.nfs_identity {
            let names = &self.start.names;
            image.ids = NfsIds {
                user: user.as_deref().map(|name| names.user(name)).transpose()?,
                group: group.as_deref().map(|name| names.group(name)).transpose()?,
            };
        }
        Ok(())
    }

    /// Objects that storage on the network refers to.
    fn network_objects(&mut self, image: &Image<'_>, network: &NetworkStorage) -> Result<()> {
        let protocol = network.protocol;
        // nbdkit is told itself.
        if image.nbdkit.is_none() {
            if let Some(auth) = image.auth {
                self.secret(&image.auth_secret(), &SecretKey::of_auth(auth, protocol)?)?;
            }
            if !network.cookies.is_empty() {
                let pairs = network.cookies.iter().map(|cookie| {
                    let value = cookie.value.as_deref().unwrap_or_default();
                    format!("{}={value}", cookie.name)
                });
                let text = pairs.collect::<Vec<_>>().join("; ");
                self.hidden_text(&image.cookie_secret(), &text)?;
            }
        }
        let Some(object) = image.tls_object() else {
            return Ok(());
        };
        let Some(tls) = self.host.config.storage_tls(protocol) else {
            let what = format!("storage by protocol '{protocol}' cannot have tls='yes'");
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        };
        if protocol == NetProtocol::Nbd && !self.caps.has(Flag::NbdTls) {
            let what = "this QEMU cannot encrypt connections of protocol 'nbd'";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
        let password = tls
            .secret
            .map(|uuid| (format!("{object}-secret0"), SecretKey::tls(uuid)));
        if let Some((id, key)) = &password {
            self.secret(id, key)?;
        }
        self.tls_credentials(&object, &tls.dir, TlsEndpoint::Client, password.map(|(id, _)| id));
        Ok(())
    }

    /// The helper that guests share for persistent reservations, if one of its drives wants it.
    pub(super) fn managed_reservations(&mut self) {
        let managed = |source: &StorageSource| {
            let reservations = source.reservations.as_ref();
            reservations.is_some_and(|one| one.managed == Some(true))
        };
        if !self.domain.devices.disks.iter().any(|disk| managed(&disk.source)) {
            return;
        }
        let socket = format!("{}/{MANAGED_HELPER}.sock", self.layout.directory);
        let props = Props::object("pr-manager-helper", MANAGED_HELPER).with("path", socket);
        self.command.object(&props);
    }
}

/// The helper for persistent reservations that starts with the guest.
const MANAGED_HELPER: &str = "pr-helper0";

/// A device of an iSCSI target; the number behind its name is the unit.
pub(super) fn iscsi(
    name: &str,
    host: &StorageHost,
    user: Option<String>,
    password: Option<String>,
    initiator: Option<String>,
) -> Result<Props> {
    let (target, lun) = match name.split_once('/') {
        Some((target, lun)) => {
            let lun = lun.parse::<u32>().map_err(|_| {
                VirtError::internal(format_args!("iSCSI target '{name}': '{lun}' is no unit's number"))
            })?;
            (target, lun)
        }
        None => (name, 0),
    };
    let portal = format!(
        "{}:{}",
        bracket_ipv6(host.name.as_deref().unwrap_or_default()),
        host.port
    );
    Ok(Props::new()
        .with("driver", "iscsi")
        .with("portal", portal)
        .with("target", target)
        .with("lun", lun)
        .with("transport", "tcp")
        .maybe("user", user)
        .maybe("password-secret", password)
        .maybe("initiator-name", initiator))
}

/// Where an image is, for programs that fetch it.
fn url(network: &NetworkStorage, host: &StorageHost) -> String {
    let (scheme, port) = match host.transport {
        HostTransport::Tcp => (network.protocol.to_string(), host.port),
        other => (format!("{}+{other}", network.protocol), 0),
    };
    let name = network.name.as_deref().unwrap_or_default();
    let slash = if name.starts_with('/') { "" } else { "/" };
    let uri = Uri {
        scheme: Some(scheme),
        server: host.name.clone(),
        port: u16::try_from(port).unwrap_or(0),
        path: format!("{slash}{name}"),
        query: network.query.clone(),
        ..Uri::default()
    };
    uri.to_string()
}

fn bracket_ipv6(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn inet_address(host: &StorageHost) -> Result<Value> {
    if host.transport != HostTransport::Tcp {
        return Err(VirtError::internal(format_args!(
            "a server by transport '{}' where only 'tcp' can be",
            host.transport
        )));
    }
    Ok(json!({"host": host.name.as_deref().unwrap_or_default(), "port": host.port.to_string()}))
}

fn socket_address(host: &StorageHost) -> Result<Value> {
    match host.transport {
        HostTransport::Unix => {
            Ok(json!({"type": "unix", "path": host.socket.as_deref().unwrap_or_default()}))
        }
        HostTransport::Tcp => Ok(json!({
            "type": "inet",
            "host": host.name.as_deref().unwrap_or_default(),
            "port": host.port.to_string(),
        })),
        other => Err(VirtError::internal(format_args!(
            "QEMU reaches no server by transport '{other}'"
        ))),
    }
}
