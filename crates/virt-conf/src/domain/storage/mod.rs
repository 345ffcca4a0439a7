//! Where data lie: files, devices, volumes, network storage, and the chain of images behind an image.
//!
//! [`StorageSource`] is one image; disks, backing stores, mirrors, data files and firmware variables use it. Servers and
//! their protocols are in `network`, credentials and encryption in `secrets`; both are named from here.

mod network;
mod secrets;

use virt_util::xml::{At, Element, Rare, Reader, Writer, Xml, XmlElement, XmlFlags, error_at};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::chardev::Reconnect;
use super::device_info::PciAddress;
use super::private_data::{self, PrivateData};
use super::seclabel::DeviceSeclabel;
use crate::scaled::bytes;

pub use network::{
    Cookie, HostTransport, NetProtocol, NetworkStorage, NfsIdentity, SshIdentity, StorageHost,
};
pub use secrets::{
    Cipher, Encryption, EncryptionEngine, EncryptionFormat, EncryptionSecret, EncryptionSecretType,
    IvGenerator, SecretReference, StorageAuth, StorageAuthType,
};

xml_enum! {
    /// What kind of thing holds the data.
    pub enum StorageType { File = "file", Block = "block", Dir = "dir", Network = "network", Volume = "volume", Nvme = "nvme", Vhostuser = "vhostuser", Vhostvdpa = "vhostvdpa" }
}

xml_enum! {
    /// The format of an image.
    pub enum StorageFormat { Raw = "raw", Dir = "dir", Bochs = "bochs", Cloop = "cloop", Dmg = "dmg", Iso = "iso", Vpc = "vpc", Vdi = "vdi", Fat = "fat", Vhd = "vhd", Ploop = "ploop", Cow = "cow", Qcow = "qcow", Qcow2 = "qcow2", Qed = "qed", Vmdk = "vmdk" }
}

xml_enum! {
    /// How a volume of a pool is accessed.
    pub enum PoolMode { Host = "host", Direct = "direct" }
}

/// One image: what holds it, how it is reached and unlocked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageSource {
    /// What holds the data.
    pub location: StorageLocation,
    /// Credentials for network storage.
    pub auth: Option<Box<StorageAuth>>,
    /// How the data are encrypted.
    pub encryption: Option<Box<Encryption>>,
    /// Part of the storage that is used, in bytes.
    pub slice: Option<Box<StorageSlice>>,
    /// Security labels for this source alone.
    pub seclabels: Rare<Vec<DeviceSeclabel>>,
    /// Persistent SCSI reservations.
    pub reservations: Option<Box<Reservations>>,
    /// External data file of a qcow2 image.
    pub data_store: Option<Box<DataStore>>,
    /// Number that names the image in block jobs; only live.
    pub index: Option<u32>,
    /// What a missing source means.
    pub startup_policy: Option<super::disk::StartupPolicy>,
    /// The driver's own data, as XML.
    pub private_data: PrivateData,
}

/// What holds the data of an image; the `type` attribute beside `<source>` says which.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "source", union = "../@type", check = StorageLocation::after_read)]
pub enum StorageLocation {
    /// A file.
    #[xml(default)]
    File {
        /// Its path; none for a drive without medium.
        #[xml("@file", nonempty)]
        path: Option<String>,
        /// Name of the group of file descriptors that stands for the path.
        #[xml("@fdgroup")]
        fd_group: Option<String>,
    },
    /// A block device.
    Block {
        /// Absolute path on the host.
        #[xml("@dev", nonempty)]
        path: Option<String>,
    },
    /// A folder that appears as a FAT file system.
    Dir {
        /// Absolute path on the host.
        #[xml("@dir", nonempty)]
        path: Option<String>,
    },
    /// Network storage.
    Network(Box<NetworkStorage>),
    /// A volume of a pool.
    Volume {
        /// Which storage pool holds it.
        #[xml("@pool", default, when = !pool.is_empty())]
        pool: String,
        /// What the pool calls it.
        #[xml("@volume", default, when = !volume.is_empty())]
        volume: String,
        /// How a volume of an iSCSI pool is accessed.
        #[xml("@mode")]
        mode: Option<PoolMode>,
        /// What stands behind it while the guest runs; in status files.
        #[xml(flatten, only(volume_translated))]
        translated: Option<Box<TranslatedVolume>>,
    },
    /// A namespace of an NVMe controller of the host.
    Nvme {
        /// Kind of address: always `pci`.
        #[xml("@type", own)]
        kind: NvmeAddressType,
        /// Whether the controller is taken from the host at start and given back afterwards.
        #[xml("@managed")]
        managed: Option<bool>,
        /// Number of the namespace.
        #[xml("@namespace")]
        namespace: u64,
        /// The controller.
        #[xml("address")]
        address: PciAddress,
    },
    /// A process that serves the drive over a vhost-user socket.
    Vhostuser {
        /// Kind of socket: always `unix`.
        #[xml("@type", own)]
        kind: VhostUserType,
        /// The socket.
        #[xml("@path", own)]
        path: String,
        /// Whether a lost connection is made again.
        #[xml("reconnect")]
        reconnect: Option<Reconnect>,
    },
    /// A vhost-vDPA device of the host.
    Vhostvdpa {
        /// Absolute path on the host.
        #[xml("@dev")]
        path: String,
    },
}

/// What stands behind a volume of a pool.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "source", union = "@actualType")]
pub enum TranslatedVolume {
    /// A file.
    File {
        /// Absolute path on the host.
        #[xml("@file")]
        path: Option<String>,
    },
    /// A block device.
    Block {
        /// Absolute path on the host.
        #[xml("@dev")]
        path: Option<String>,
    },
    /// A folder.
    Dir {
        /// Absolute path on the host.
        #[xml("@dir")]
        path: Option<String>,
    },
    /// Network storage.
    Network(Box<NetworkStorage>),
}

xml_enum! {
    /// The kind of address of an NVMe controller.
    pub enum NvmeAddressType { Pci = "pci" }
}

xml_enum! {
    /// The kind of socket of a vhost-user device.
    pub enum VhostUserType { Unix = "unix" }
}

impl Default for StorageLocation {
    fn default() -> Self {
        Self::File {
            path: None,
            fd_group: None,
        }
    }
}

impl StorageLocation {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match self {
            Self::Volume { pool, volume, .. } if pool.is_empty() != volume.is_empty() => {
                let what = "attributes 'pool' and 'volume' name a volume together: one of them is missing";
                cx.fail(error_at(element, At::Text, what))
            }
            _ => Ok(()),
        }
    }

    /// The kind of location.
    pub fn storage_type(&self) -> StorageType {
        match self {
            Self::File { .. } => StorageType::File,
            Self::Block { .. } => StorageType::Block,
            Self::Dir { .. } => StorageType::Dir,
            Self::Network(_) => StorageType::Network,
            Self::Volume { .. } => StorageType::Volume,
            Self::Nvme { .. } => StorageType::Nvme,
            Self::Vhostuser { .. } => StorageType::Vhostuser,
            Self::Vhostvdpa { .. } => StorageType::Vhostvdpa,
        }
    }

    /// A location of which only the kind is known; `None` for kinds that must say where they are.
    pub fn without_source(kind: StorageType) -> Option<Self> {
        match kind {
            StorageType::File => Some(Self::default()),
            StorageType::Block => Some(Self::Block { path: None }),
            StorageType::Dir => Some(Self::Dir { path: None }),
            StorageType::Network => Some(Self::Network(Box::default())),
            _ => None,
        }
    }

    /// The path on this host, for files, devices and folders.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::File { path, .. } | Self::Block { path } | Self::Dir { path } => path.as_deref(),
            _ => None,
        }
    }

    /// Whether there is nothing: a drive without a medium.
    pub fn is_empty(&self) -> bool {
        matches!(
            self,
            Self::File { path: None, .. } | Self::Block { path: None } | Self::Dir { path: None }
        )
    }
}

/// Part of a storage.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "slice")]
pub struct StorageSlice {
    /// Kind of slice: `storage`.
    #[xml("@type")]
    pub kind: SliceType,
    /// First byte.
    #[xml("@offset", own)]
    pub offset: u64,
    /// Number of bytes.
    #[xml("@size", own)]
    pub size: u64,
}

xml_enum! {
    /// What a slice is taken from.
    pub enum SliceType { Storage = "storage" }
}

/// Persistent SCSI reservations.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "reservations", reported_by = ErrorDomain::STORAGE, check = Reservations::after_read)]
pub struct Reservations {
    /// Whether the driver runs the helper.
    #[xml("@managed")]
    pub managed: Option<bool>,
    /// Socket of the helper.
    #[xml("source", when = !(self.managed == Some(true) && w.has(XmlFlags::MIGRATABLE)))]
    pub source: Option<ReservationSource>,
}

impl Reservations {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.managed.is_none() {
            cx.fail(virt_util::xml::missing(element, At::Attribute("managed")))?;
        }
        let source = element.child_or_ghost("source");
        let said = |name| source.attr(name).filter(|text| !text.is_empty());
        let parts = [
            ("type", said("type"), Some("unix")),
            ("path", said("path"), None),
            ("mode", said("mode"), Some("client")),
        ];
        if self.managed != Some(false) && parts.iter().all(|(_, text, _)| text.is_none()) {
            self.source = None;
            return Ok(());
        }
        for (name, text, only) in &parts {
            match (text, only) {
                (None, _) => {
                    let what = format!("missing attribute '{name}' of the source of <reservations>");
                    cx.fail(error_at(element, At::Child("source"), what))?;
                }
                (Some(text), Some(only)) if text != only => {
                    let what = format!("invalid value '{text}' of attribute '{name}': expected '{only}'");
                    cx.fail(error_at(source, At::Attribute(name), what))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Socket of a reservation helper.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "source")]
pub struct ReservationSource {
    /// Kind of socket.
    #[xml("@type")]
    pub kind: Option<String>,
    /// Where the helper's socket is.
    #[xml("@path")]
    pub path: Option<String>,
    /// Who connects.
    #[xml("@mode")]
    pub mode: Option<String>,
}

/// The image behind an image.
#[derive(Clone, Debug, PartialEq)]
pub enum BackingStore {
    /// The chain ends here.
    End,
    /// Another image.
    Image(Box<BackingImage>),
}

/// An image behind an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackingImage {
    /// Number that names the image in block jobs; only live.
    pub index: Option<u32>,
    /// Format and cache.
    pub format: ImageFormat,
    /// Where it is.
    pub source: StorageSource,
    /// What is behind it.
    pub backing: Option<BackingStore>,
}

/// Format of an image in a chain.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "format")]
pub struct ImageFormat {
    /// The format.
    #[xml("@type", own)]
    pub kind: StorageFormat,
    /// Most bytes of metadata that are cached.
    #[xml("metadata_cache+/max_size+", unless_empty, with = bytes, described = crate::scaled::ScaledSize)]
    pub metadata_cache: Option<u64>,
}

/// Refuses an image of a chain of a type that nobody knows. Disks themselves leave that to the helper for all documents.
fn check_type(image: Element<'_>, cx: &mut Reader) -> Result<()> {
    use virt_util::xml::{XmlValue, invalid_value};
    let at = At::Attribute("type");
    match image
        .attr("type")
        .map(|word| (StorageType::parse_value(&word), word))
    {
        Some((Err(error), word)) => {
            let what = invalid_value(image, at, &word, &error);
            cx.fail(virt_util::xml::recoded(what, image, ErrorCode::XML_ERROR))
        }
        _ => Ok(()),
    }
}

/// The number that names an image of a running guest.
fn read_index(element: Element<'_>, cx: &mut Reader) -> Result<Option<u32>> {
    use virt_util::xml::{parse_integer, read};
    if cx.has(XmlFlags::INACTIVE) {
        return Ok(None);
    }
    let number = |text: &str| parse_integer(text, 10);
    read::coded(element, cx, (ErrorCode::XML_ERROR, None), |cx| {
        read::attr(element, cx, "index", number)
    })
}

impl ImageFormat {
    /// What the `<format>` of an image says.
    fn of(image: Element<'_>, cx: &mut Reader) -> Result<Option<Self>> {
        virt_util::xml::read::joined_child(image, cx, "format", (Self::counts_as_absent, Self::read))
    }
}

/// Writes a format and what of its metadata is cached as the element `name`, where either is said.
pub(crate) fn write_format(
    w: &mut Writer,
    name: &'static str,
    format: Option<StorageFormat>,
    metadata_cache: Option<u64>,
) {
    let mark = w.begin_optional(name);
    if let Some(format) = format {
        w.attribute("type", format.as_str());
    }
    if let Some(size) = metadata_cache {
        w.start("metadata_cache");
        bytes::write(&size, w, "max_size");
        w.end("metadata_cache");
    }
    w.end_optional(name, mark);
}

/// External data file of a qcow2 image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataStore {
    /// Format: raw.
    pub format: ImageFormat,
    /// Where it is.
    pub source: StorageSource,
}

impl StorageSource {
    /// Reads `<source>`; the kind of location is said by its parent.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        // Images are those of disks in every document.
        Self::read_parts(element, cx)
            .map_err(|error| virt_util::xml::reported_by(error, element, ErrorDomain::DOMAIN))
    }

    fn read_parts(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::read;
        let location = StorageLocation::read(element, cx)?;
        let auth = read::child(element, cx, "auth")?;
        let encryption = read::child(element, cx, "encryption")?;
        let reservations = read::child(element, cx, "reservations")?;
        let slices = element.joined_child_or_ghost("slices");
        // Slices of other types mean nothing.
        let slice = slices
            .children_named("slice")
            .find(|slice| slice.attr("type").as_deref() == Some(SliceType::Storage.as_str()))
            .map(|slice| StorageSlice::read(slice, cx))
            .transpose()?;
        let seclabels = read::children(element, cx, "seclabel")?;
        let data_store = read::child_with(element, cx, "dataStore", DataStore::read)?;
        let index = read_index(element, cx)?;
        Ok(Self {
            location,
            auth: auth.map(Box::new),
            encryption: encryption.map(Box::new),
            slice: slice.map(Box::new),
            seclabels: seclabels.into(),
            reservations: reservations.map(Box::new),
            data_store: data_store.map(Box::new),
            index,
            startup_policy: None,
            private_data: private_data::read(element, cx)?,
        })
    }

    /// Writes `<source>`, unless it would be empty.
    pub fn write(&self, w: &mut Writer, index: bool) {
        self.write_named(w, "source", index);
    }

    /// Writes the element under the name that it has in another document.
    pub fn write_named(&self, w: &mut Writer, name: &'static str, index: bool) {
        let network = matches!(self.location, StorageLocation::Network(_));
        let mark = match self.location.is_surely_something(w) {
            true => w.begin(name),
            false => w.begin_optional(name),
        };
        self.location.write_attributes(w);
        if let Some(policy) = self.startup_policy.filter(|_| !network) {
            w.attribute("startupPolicy", policy.as_str());
        }
        if let Some(number) = self.index.filter(|number| index && *number != 0) {
            w.attribute_with("index", |out| virt_util::xml::push_unsigned(out, number.into()));
        }
        self.location.write_content(w);
        if let Some(slice) = &self.slice {
            w.start("slices");
            slice.write(w, "slice");
            w.end("slices");
        }
        if !network {
            for label in &self.seclabels {
                label.write_if_said(w);
            }
        }
        if let Some(auth) = self
            .auth
            .as_ref()
            .filter(|_| !matches!(self.location, StorageLocation::Volume { .. }))
        {
            auth.write(w, "auth");
        }
        if let Some(encryption) = &self.encryption {
            encryption.write(w, "encryption");
        }
        if let Some(reservations) = &self.reservations {
            reservations.write(w, "reservations");
        }
        if let Some(store) = &self.data_store {
            store.write(w);
        }
        private_data::write(&self.private_data, w);
        w.end_optional(name, mark);
    }
}

impl DataStore {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::read;
        if !element.has_attr("type") {
            return Err(virt_util::xml::missing(element, At::Attribute("type")));
        }
        check_type(element, cx)?;
        let format = ImageFormat::of(element, cx)?;
        let source = read::child_with(element, cx, "source", StorageSource::read)?;
        Ok(Self {
            format: read::required(element, At::Child("format"), format)?,
            source: read::required(element, At::Child("source"), source)?,
        })
    }

    fn write(&self, w: &mut Writer) {
        w.start("dataStore");
        w.attribute("type", self.source.location.xml_tag());
        w.start("format");
        w.attribute("type", "raw");
        w.end("format");
        self.source.write(w, true);
        w.end("dataStore");
    }
}

impl BackingStore {
    /// Reads `<backingStore>`.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::read;
        if !element.has_attr("type") {
            return Ok(Self::End);
        }
        let format = element.joined_child("format");
        if format.is_none_or(|format| format.attr("type").is_none_or(|kind| kind.is_empty())) {
            return Err(virt_util::xml::missing(element, At::Child("format")));
        }
        if element.child("source").is_none() {
            return Err(virt_util::xml::missing(element, At::Child("source")));
        }
        check_type(element, cx)?;
        let format = ImageFormat::of(element, cx)?;
        let index = read_index(element, cx)?;
        let source = read::child_with(element, cx, "source", StorageSource::read)?;
        Ok(Self::Image(Box::new(BackingImage {
            index,
            format: read::required(element, At::Child("format"), format)?,
            source: read::required(element, At::Child("source"), source)?,
            backing: read::child_with(element, cx, "backingStore", Self::read)?,
        })))
    }

    /// Writes `<backingStore>`.
    pub fn write(&self, w: &mut Writer, name: &str) {
        match self {
            Self::End => w.empty_element(name),
            Self::Image(image) => {
                w.start(name);
                w.attribute("type", image.source.location.xml_tag());
                if let Some(index) = image.index.filter(|index| *index != 0) {
                    w.attribute_with("index", |out| virt_util::xml::push_unsigned(out, index.into()));
                }
                image.format.write(w, "format");
                image.source.write(w, false);
                if let Some(backing) = &image.backing {
                    backing.write(w, "backingStore");
                }
                w.end(name);
            }
        }
    }
}

/// `with` for [`StorageSource`] fields.
pub mod source_element {
    use super::*;

    pub use super::StorageSource as Source;

    /// Reads `<source>`.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<StorageSource> {
        StorageSource::read(element, cx)
    }

    /// Writes `<source>`.
    pub fn write(value: &StorageSource, w: &mut Writer, _name: &str) {
        value.write(w, true);
    }
}

/// What a `<source>` of an image holds.
pub fn source_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("StorageSource", "source", "An image, and how it is reached." => {
        /// Where the data are; the `type` beside says which kind of place.
        "." => location: element(StorageLocation),
        /// What a source that is missing at start means.
        "@startupPolicy" => startup_policy: value(super::disk::StartupPolicy),
        /// Number that names the image in block jobs; only of a running guest.
        "@index" => index: value(u32),
        /// Credentials for network storage.
        "auth" => auth: element(StorageAuth),
        /// How the data are encrypted.
        "encryption" => encryption: element(Encryption),
        /// Part of the storage that is used, in bytes.
        "slices/slice" => slice: element(StorageSlice),
        /// Security labels for this source alone.
        "seclabel" => seclabels: elements(DeviceSeclabel),
        /// Persistent SCSI reservations.
        "reservations" => reservations: element(Reservations),
        /// External data file of a qcow2 image.
        "dataStore" => data_store: shape(data_store_shape),
        /// The driver's own data, as XML; in status files.
        "privateData" => private_data: opaque,
    })
}

/// What a `<dataStore>` holds.
fn data_store_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("DataStore", "dataStore", "External data file of a qcow2 image." => {
        /// What kind of place holds it.
        "@type" => storage_type: value(StorageType),
        /// How the file is laid out: always `raw`.
        "format@type" => format: value(StorageFormat),
        /// Most bytes of metadata that are cached; raw files have none, and nothing is made of it.
        "format/metadata_cache/max_size" => metadata_cache: element(crate::scaled::ScaledSize),
        /// The file.
        "source" => source: shape(source_shape),
    })
}

/// What a `<backingStore>` holds.
pub fn backing_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("BackingStore", "backingStore", "The image behind an image." => {
        /// What kind of place holds it.
        "@type" => storage_type: value(StorageType),
        /// Number that names the image in block jobs; only of a running guest.
        "@index" => index: value(u32),
        /// How the image is laid out: `raw`, `qcow2` …
        "format@type" => format: value(StorageFormat),
        /// Most bytes of metadata that are cached.
        "format/metadata_cache/max_size" => metadata_cache: element(crate::scaled::ScaledSize),
        /// The image.
        "source" => source: shape(source_shape),
        /// The image behind it; an empty one ends the chain.
        "backingStore" => backing: shape(backing_shape),
    })
}

/// `with` for [`BackingStore`] fields.
pub mod backing_element {
    use super::*;

    /// Reads `<backingStore>`.
    ///
    /// # Errors
    /// `XML_ERROR` for wrong values.
    pub fn read(element: Element<'_>, cx: &mut Reader) -> Result<BackingStore> {
        BackingStore::read(element, cx)
    }

    /// Writes `<backingStore>`.
    pub fn write(value: &BackingStore, w: &mut Writer, name: &str) {
        value.write(w, name);
    }
}
