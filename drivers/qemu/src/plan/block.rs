//! Images as block nodes: `-blockdev` for storage, slice and format, and the names of the nodes.

use serde_json::{Value, json};
use virt_conf::domain::disk::{DetectZeroes, DiskCache, DiskDiscard, DiskIo};
use virt_conf::domain::os::{LoaderType, NvramSource, Os};
use virt_conf::domain::storage::{
    BackingStore, HostTransport, NetProtocol, NetworkStorage, StorageFormat, StorageHost, StorageLocation,
    StorageSource,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::args::Props;
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
}

/// One image of a chain with the names of its nodes.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Where it is.
    pub source: &'a StorageSource,
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

/// The chain of a drive, the image on top first, with node names from `next_id` on.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for images that QEMU has no driver for.
pub fn chain<'a>(
    top: &'a StorageSource,
    format: StorageFormat,
    backing: Option<&'a BackingStore>,
    settings: &ImageSettings,
    caps: &QemuCaps,
    next_id: &mut u32,
) -> Result<Vec<Image<'a>>> {
    let mut images: Vec<Image<'a>> = Vec::new();
    let mut rest = backing;
    images.push(image(top, format, settings.clone(), caps, id(next_id)));
    loop {
        match rest {
            None => break,
            Some(BackingStore::End) => {
                if let Some(last) = images.last_mut() {
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
                let below_image = image(&below.source, below.format.kind, settings, caps, id(next_id));
                if let Some(last) = images.last_mut() {
                    last.backing = Backing::Node(below_image.node().to_owned());
                }
                images.push(below_image);
                rest = below.backing.as_ref();
            }
        }
        if images.len() > 200 {
            return Err(VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "a chain of images may hold at most 200",
            ));
        }
    }
    Ok(images)
}

fn id(next_id: &mut u32) -> String {
    let name = format!("libvirt-{next_id}");
    *next_id += 1;
    name
}

/// One image under a name of its own.
pub fn image<'a>(
    source: &'a StorageSource,
    format: StorageFormat,
    settings: ImageSettings,
    caps: &QemuCaps,
    name: String,
) -> Image<'a> {
    // A raw image needs no node of its own where block jobs can be told so.
    let plain = format == StorageFormat::Raw && source.encryption.is_none();
    let needs_format = !caps.has(Flag::BlockjobBackingMaskProtocol) || !plain;
    Image {
        source,
        format,
        settings,
        slice_node: source.slice.as_ref().map(|_| format!("{name}-slice-sto")),
        format_node: needs_format.then(|| format!("{name}-format")),
        storage_node: format!("{name}-storage"),
        backing: Backing::Unknown,
    }
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
    let mut code = image(&source, format, settings, caps, "libvirt-pflash0".to_owned());
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
                &source,
                format,
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
                .with("offset", slice.offset)
                .with("size", slice.size)
                .with("file", self.storage_node.as_str());
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
            // Formats above decide; a block job may need to write later.
            props = props.with("auto-read-only", true).with("discard", "unmap");
        }
        props.maybe("cache", cache)
    }

    fn format_layer(&self, node: &str) -> Result<Props> {
        let mut props = self.common(node, true);
        props = match self.format {
            StorageFormat::Qcow2 => props
                .with("driver", "qcow2")
                .positive("cache-size", self.settings.metadata_cache.unwrap_or(0))
                .maybe("discard-no-unref", self.settings.discard_no_unref),
            StorageFormat::Qcow => props.with("driver", "qcow"),
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
        if self.source.encryption.is_some() {
            let what = "encrypted images are not supported yet";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
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

    fn storage(&self) -> Result<Props> {
        let io = self.settings.io.map(DiskIo::as_str);
        let no_path = || VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, "an image has no path");
        match &self.source.location {
            StorageLocation::File { path, .. } => Ok(Props::new()
                .with("driver", "file")
                .with("filename", path.as_deref().ok_or_else(no_path)?)
                .maybe("aio", io)),
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
                .maybe("aio", io)),
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
        if self.source.auth.is_some() {
            return Err(unsupported(
                "credentials for network storage are not supported yet",
            ));
        }
        if network.tls == Some(true) {
            return Err(unsupported("TLS for network storage is not supported yet"));
        }
        let name = network.name.as_deref().unwrap_or_default();
        let one_host = || match network.hosts.as_slice() {
            [host] => Ok(host),
            _ => Err(unsupported("this protocol takes exactly one host")),
        };
        match network.protocol {
            NetProtocol::Nbd => Ok(Props::new()
                .with("driver", "nbd")
                .with("server", socket_address(one_host()?))
                .maybe("export", network.name.clone())
                .positive("reconnect-delay", network.reconnect_delay)),
            NetProtocol::Ssh => {
                let host = one_host()?;
                Ok(Props::new()
                    .with("driver", "ssh")
                    .with("path", name)
                    .with("server", inet_address(host)))
            }
            NetProtocol::Http
            | NetProtocol::Https
            | NetProtocol::Ftp
            | NetProtocol::Ftps
            | NetProtocol::Tftp => {
                if !network.cookies.is_empty() {
                    return Err(unsupported("cookies for network storage are not supported yet"));
                }
                let host = one_host()?;
                let scheme = network.protocol.as_str();
                let host_name = host.name.as_deref().unwrap_or_default();
                let mut url = format!("{scheme}://{}", bracket_ipv6(host_name));
                if host.port != 0 {
                    url.push_str(&format!(":{}", host.port));
                }
                url.push('/');
                url.push_str(name);
                if let Some(query) = &network.query {
                    url.push('?');
                    url.push_str(query);
                }
                Ok(Props::new()
                    .with("driver", scheme)
                    .with("url", url)
                    .maybe("sslverify", network.ssl_verify)
                    .positive("readahead", network.readahead)
                    .positive("timeout", network.timeout))
            }
            NetProtocol::Iscsi => {
                let host = one_host()?;
                let (target, lun) = match name.rsplit_once('/') {
                    Some((target, lun)) => (target, lun.parse::<u32>().unwrap_or(0)),
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
                    .maybe("initiator-name", network.initiator.clone()))
            }
            NetProtocol::Gluster => {
                let (volume, path) = name.split_once('/').unwrap_or((name, ""));
                let servers: Vec<Value> = network.hosts.iter().map(socket_address).collect();
                Ok(Props::new()
                    .with("driver", "gluster")
                    .with("volume", volume)
                    .with("path", path)
                    .with("server", servers))
            }
            NetProtocol::Rbd => {
                let (pool, image) = name.split_once('/').unwrap_or((name, ""));
                let (namespace, image) = match image.split_once('/') {
                    Some((namespace, image)) => (Some(namespace), image),
                    None => (None, image),
                };
                let servers: Vec<Value> = network.hosts.iter().map(inet_address).collect();
                Ok(Props::new()
                    .with("driver", "rbd")
                    .with("pool", pool)
                    .maybe("namespace", namespace)
                    .with("image", image)
                    .maybe("snapshot", network.snapshot.clone())
                    .maybe("conf", network.config_file.clone())
                    .maybe("server", (!servers.is_empty()).then_some(servers)))
            }
            NetProtocol::Nfs | NetProtocol::Vxhs | NetProtocol::Sheepdog => {
                Err(unsupported("this storage protocol is not supported"))
            }
        }
    }
}

fn bracket_ipv6(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn inet_address(host: &StorageHost) -> Value {
    json!({"host": host.name.as_deref().unwrap_or_default(), "port": host.port.to_string()})
}

fn socket_address(host: &StorageHost) -> Value {
    match host.transport {
        HostTransport::Unix => {
            json!({"type": "unix", "path": host.socket.as_deref().unwrap_or_default()})
        }
        _ => json!({
            "type": "inet",
            "host": host.name.as_deref().unwrap_or_default(),
            "port": host.port.to_string(),
        }),
    }
}
