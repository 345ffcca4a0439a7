//! Disks, CD-ROMs and floppies.

use virt_util::xml::{
    At, Element, Rare, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with, escape_into,
    push_unsigned, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::device_info::{DeviceInfo, VirtioOptions};
use super::private_data::{self, PrivateData};
use super::storage::{
    BackingStore, Encryption, StorageAuth, StorageFormat, StorageLocation, StorageSource, backing_element,
    write_format,
};
use crate::scaled::bytes;

xml_enum! {
    /// What kind of drive the guest sees.
    pub enum DiskDevice { Disk = "disk", Cdrom = "cdrom", Floppy = "floppy", Lun = "lun" }
}

xml_enum! {
    /// The bus the drive is attached to.
    pub enum DiskBus { Ide = "ide", Fdc = "fdc", Scsi = "scsi", Virtio = "virtio", Xen = "xen", Usb = "usb", Uml = "uml", Sata = "sata", Sd = "sd" }
}

xml_enum! {
    /// Which variant of a virtio drive is presented.
    pub enum DiskModel { Default = "default", Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// BIOS geometry translation.
    pub enum GeometryTranslation { None = "none", Auto = "auto", Lba = "lba" }
}

xml_enum! {
    /// How the host caches the drive.
    pub enum DiskCache { Default = "default", None = "none", Writethrough = "writethrough", Writeback = "writeback", Directsync = "directsync", Unsafe = "unsafe" }
}

xml_enum! {
    /// What happens on an I/O error.
    pub enum DiskErrorPolicy { Stop = "stop", Report = "report", Ignore = "ignore", Enospace = "enospace" }
}

xml_enum! {
    /// How the hypervisor submits I/O.
    pub enum DiskIo { Native = "native", Threads = "threads", IoUring = "io_uring" }
}

xml_enum! {
    /// Whether SCSI commands from the guest are filtered.
    pub enum Sgio { Filtered = "filtered", Unfiltered = "unfiltered" }
}

xml_enum! {
    /// State of the tray of a removable drive.
    pub enum DiskTray { Closed = "closed", Open = "open" }
}

xml_enum! {
    /// What happens to discard requests of the guest.
    pub enum DiskDiscard { Unmap = "unmap", Ignore = "ignore" }
}

xml_enum! {
    /// Whether writes of zeroes are recognised.
    pub enum DetectZeroes { Off = "off", On = "on", Unmap = "unmap" }
}

xml_enum! {
    /// State of a copy job of the drive.
    pub enum MirrorState { Yes = "yes", Abort = "abort", Pivot = "pivot" }
}

xml_enum! {
    /// Where the drive's part of a snapshot goes.
    pub enum SnapshotLocation { No = "no", Internal = "internal", External = "external", Manual = "manual" }
}

xml_enum! {
    /// Whether the guest starts without its source.
    pub enum StartupPolicy { Mandatory = "mandatory", Requisite = "requisite", Optional = "optional" }
}

/// A drive of the guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    /// What kind of drive the guest sees.
    pub device: DiskDevice,
    /// Attributes and children that have no bearing on the image.
    pub options: DiskOptions,
    /// How the host runs the drive.
    pub driver: DiskDriver,
    /// Credentials said beside the source, as old definitions do.
    pub auth: Option<Box<StorageAuth>>,
    /// The image.
    pub source: StorageSource,
    /// The image behind it; only if it was said.
    pub backing: Option<BackingStore>,
    /// Driver domain, geometry, block sizes.
    pub shape: Rare<DiskShape>,
    /// Copy job, live only.
    pub mirror: Option<Box<Mirror>>,
    /// Name and bus in the guest.
    pub target: DiskTarget,
    /// What stands behind the target.
    pub rest: Rare<DiskRest>,
    /// Encryption said beside the source, as old definitions do.
    pub encryption: Option<Box<Encryption>>,
    /// Alias, boot order and address.
    pub info: DeviceInfo,
    /// The driver's own data, as XML.
    pub private_data: PrivateData,
}

/// Attributes of `<disk>`.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(order(model, snapshot, rawio, sgio))]
pub struct DiskOptions {
    /// Which variant of a virtio drive is presented.
    #[xml("@model", default)]
    pub model: DiskModel,
    /// Whether the process may send any SCSI command.
    #[xml("@rawio")]
    pub rawio: Option<bool>,
    /// Whether SCSI commands from the guest are filtered.
    #[xml("@sgio")]
    pub sgio: Option<Sgio>,
    /// Where the drive's part of a snapshot goes.
    #[xml("@snapshot")]
    pub snapshot: Option<SnapshotLocation>,
}

/// How the host runs a drive.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "driver",
    order(virtio, name, cache, error_policy, read_error_policy, io, ioeventfd, event_idx, copy_on_read, discard, iothread,
        iothreads, detect_zeroes, queues, queue_size, discard_no_unref, format, metadata_cache),
    check = DiskDriver::after_read)]
pub struct DiskDriver {
    /// The implementation.
    #[xml("@name")]
    pub name: Option<String>,
    /// Format of the image.
    #[xml("@type", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub format: Option<StorageFormat>,
    /// How the host caches the drive.
    #[xml("@cache", default)]
    pub cache: DiskCache,
    /// What happens on an error while writing.
    #[xml("@error_policy")]
    pub error_policy: Option<DiskErrorPolicy>,
    /// What happens on an error while reading.
    #[xml("@rerror_policy")]
    pub read_error_policy: Option<DiskErrorPolicy>,
    /// How the hypervisor submits I/O.
    #[xml("@io")]
    pub io: Option<DiskIo>,
    /// Whether I/O is signalled by an event descriptor.
    #[xml("@ioeventfd", on_off)]
    pub ioeventfd: Option<bool>,
    /// Whether the guest is spared interrupts.
    #[xml("@event_idx", on_off)]
    pub event_idx: Option<bool>,
    /// Whether data read from the backing image are written to the image.
    #[xml("@copy_on_read", on_off)]
    pub copy_on_read: Option<bool>,
    /// What happens to discard requests of the guest.
    #[xml("@discard")]
    pub discard: Option<DiskDiscard>,
    /// I/O thread that runs the drive.
    #[xml("@iothread", default)]
    pub iothread: u32,
    /// Whether writes of zeroes are recognised.
    #[xml("@detect_zeroes")]
    pub detect_zeroes: Option<DetectZeroes>,
    /// Whether discarded clusters stay allocated.
    #[xml("@discard_no_unref", on_off)]
    pub discard_no_unref: Option<bool>,
    /// Number of queues.
    #[xml("@queues", default)]
    pub queues: u32,
    /// Entries of each queue.
    #[xml("@queue_size", default)]
    pub queue_size: u32,
    /// Options of virtio devices.
    #[xml(flatten)]
    pub virtio: VirtioOptions,
    /// Most bytes of metadata that are cached.
    #[xml("metadata_cache+/max_size+", unless_empty, with = bytes, described = crate::scaled::ScaledSize)]
    pub metadata_cache: Option<u64>,
    /// Which I/O threads serve which queues.
    #[xml("iothreads/iothread")]
    pub iothreads: Rare<Vec<IoThreadMapping>>,
}

/// I/O thread and the queues it serves.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "iothread")]
pub struct IoThreadMapping {
    /// Number of the I/O thread.
    #[xml("@id")]
    pub id: u32,
    /// The queues; none means that the driver shares them out.
    #[xml("queue")]
    pub queues: Vec<IoThreadQueue>,
}

/// A queue of a drive.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "queue")]
pub struct IoThreadQueue {
    /// Number of the queue.
    #[xml("@id")]
    pub id: u32,
}

/// Name and bus of a drive in the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "target")]
pub struct DiskTarget {
    /// Name, as in `vda`: unique in the guest, orders the drives.
    #[xml("@dev", default, always)]
    pub dev: String,
    /// What the guest sees the drive attached to.
    #[xml("@bus")]
    pub bus: Option<DiskBus>,
    /// State of the tray, of removable drives.
    #[xml("@tray", default)]
    pub tray: DiskTray,
    /// Whether the guest sees a USB drive as removable.
    #[xml("@removable", on_off)]
    pub removable: Option<bool>,
    /// Rotations per minute; 1 for a solid state drive.
    #[xml("@rotation_rate", default)]
    pub rotation_rate: u32,
}

/// What stands before the target: driver domain, geometry, block sizes.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskShape {
    /// Xen domain that runs the back end.
    #[xml("backenddomain+@name", nonempty)]
    pub backend_domain: Option<String>,
    /// Geometry seen by the guest.
    #[xml("geometry", when = self.geometry.as_ref().is_some_and(DiskGeometry::is_whole))]
    pub geometry: Option<DiskGeometry>,
    /// Block sizes seen by the guest.
    #[xml("blockio", omit_empty)]
    pub block_io: Option<BlockIo>,
}

/// Geometry of a drive.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "geometry")]
pub struct DiskGeometry {
    /// How many cylinders the guest sees.
    #[xml("@cyls", default)]
    pub cylinders: u32,
    /// How many heads the guest sees.
    #[xml("@heads", default)]
    pub heads: u32,
    /// Sectors of a track.
    #[xml("@secs", default)]
    pub sectors: u32,
    /// BIOS translation.
    #[xml("@trans")]
    pub translation: Option<GeometryTranslation>,
}

/// Block sizes of a drive.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "blockio")]
pub struct BlockIo {
    /// Bytes of a logical block.
    #[xml("@logical_block_size", default)]
    pub logical: u32,
    /// Bytes of a physical block.
    #[xml("@physical_block_size", default)]
    pub physical: u32,
    /// Least bytes that a discard frees.
    #[xml("@discard_granularity", default)]
    pub discard_granularity: u32,
}

/// What stands behind the target.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(order(transient))]
pub struct DiskRest {
    /// Limits on throughput.
    #[xml("iotune+", omit_empty)]
    pub tune: Option<Box<DiskTune>>,
    /// Throttle groups that the drive's I/O passes.
    #[xml("throttlefilters+/throttlefilter")]
    pub throttle_filters: Vec<ThrottleFilter>,
    /// The guest cannot write.
    #[xml("readonly")]
    pub read_only: bool,
    /// Several guests may use the drive at once.
    #[xml("shareable")]
    pub shareable: bool,
    /// Changes are thrown away when the guest stops.
    #[xml("transient")]
    pub transient: Option<Transient>,
    /// Serial number.
    #[xml("serial")]
    pub serial: Option<String>,
    /// World wide name.
    #[xml("wwn")]
    pub wwn: Option<String>,
    /// Vendor of a SCSI drive.
    #[xml("vendor")]
    pub vendor: Option<String>,
    /// Product of a SCSI drive.
    #[xml("product")]
    pub product: Option<String>,
}

/// Changes are thrown away when the guest stops.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "transient")]
pub struct Transient {
    /// Whether several guests share the image below.
    #[xml("@shareBacking", when = self.share_backing == Some(true))]
    pub share_backing: Option<bool>,
}

/// Names a throttle group.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "throttlefilter")]
pub struct ThrottleFilter {
    /// Which of the domain's throttle groups it is.
    #[xml("@group")]
    pub group: String,
}

/// Limits on throughput: per second, in bursts, and how long bursts last in seconds. 0: no limit.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "iotune", check = DiskTune::after_read)]
pub struct DiskTune {
    /// Bytes read and written.
    #[xml("total_bytes_sec", default)]
    pub total_bytes: u64,
    /// Most bytes read in a second.
    #[xml("read_bytes_sec", default)]
    pub read_bytes: u64,
    /// Bytes written.
    #[xml("write_bytes_sec", default)]
    pub write_bytes: u64,
    /// Requests.
    #[xml("total_iops_sec", default)]
    pub total_iops: u64,
    /// Requests to read.
    #[xml("read_iops_sec", default)]
    pub read_iops: u64,
    /// Requests to write.
    #[xml("write_iops_sec", default)]
    pub write_iops: u64,
    /// Bytes read and written in a burst.
    #[xml("total_bytes_sec_max", default)]
    pub total_bytes_max: u64,
    /// Bytes read in a burst.
    #[xml("read_bytes_sec_max", default)]
    pub read_bytes_max: u64,
    /// Bytes written in a burst.
    #[xml("write_bytes_sec_max", default)]
    pub write_bytes_max: u64,
    /// Requests in a burst.
    #[xml("total_iops_sec_max", default)]
    pub total_iops_max: u64,
    /// Requests to read in a burst.
    #[xml("read_iops_sec_max", default)]
    pub read_iops_max: u64,
    /// Requests to write in a burst.
    #[xml("write_iops_sec_max", default)]
    pub write_iops_max: u64,
    /// Bytes that count as one request.
    #[xml("size_iops_sec", default)]
    pub size_iops: u64,
    /// Drives of one group share its limits.
    #[xml("group_name")]
    pub group: Option<String>,
    /// Seconds of a burst of bytes.
    #[xml("total_bytes_sec_max_length", default)]
    pub total_bytes_max_length: u64,
    /// Seconds of a burst of bytes read.
    #[xml("read_bytes_sec_max_length", default)]
    pub read_bytes_max_length: u64,
    /// Seconds of a burst of bytes written.
    #[xml("write_bytes_sec_max_length", default)]
    pub write_bytes_max_length: u64,
    /// Seconds of a burst of requests.
    #[xml("total_iops_sec_max_length", default)]
    pub total_iops_max_length: u64,
    /// Seconds of a burst of requests to read.
    #[xml("read_iops_sec_max_length", default)]
    pub read_iops_max_length: u64,
    /// Seconds of a burst of requests to write.
    #[xml("write_iops_sec_max_length", default)]
    pub write_iops_max_length: u64,
}

xml_enum! {
    /// Which job fills a mirror.
    pub enum MirrorJob { Copy = "copy", ActiveCommit = "active-commit" }
}

/// A job that copies the drive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirror {
    /// Which job.
    pub job: MirrorJob,
    /// How far it is.
    pub state: Option<MirrorState>,
    /// Format of the copy.
    pub format: Option<StorageFormat>,
    /// Most bytes of metadata that are cached.
    pub metadata_cache: Option<u64>,
    /// The copy.
    pub source: StorageSource,
    /// What is behind the copy.
    pub backing: Option<BackingStore>,
}

impl Disk {
    /// Whether the drive has no image: an empty CD-ROM or floppy.
    pub fn is_empty(&self) -> bool {
        self.source.location.is_empty()
    }

    /// The bus, once normalized.
    pub fn bus(&self) -> Option<DiskBus> {
        self.target.bus
    }

    /// Credentials for the image, wherever they were said.
    pub fn credentials(&self) -> Option<&StorageAuth> {
        self.auth.as_deref().or(self.source.auth.as_deref())
    }

    /// Encryption of the image, wherever it was said.
    pub fn image_encryption(&self) -> Option<&Encryption> {
        self.encryption.as_deref().or(self.source.encryption.as_deref())
    }
}

impl DiskGeometry {
    /// Parts alone say nothing.
    fn is_whole(&self) -> bool {
        self.cylinders > 0 && self.heads > 0 && self.sectors > 0
    }
}

impl DiskDriver {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.read_error_policy == Some(DiskErrorPolicy::Enospace) {
            let what =
                "the policy for read errors cannot be 'enospace': expected 'stop', 'report' or 'ignore'";
            let at = At::Attribute("rerror_policy");
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, element, at, what))?;
        }
        if element.attr("iothread").as_deref() == Some("0") {
            let what = "the number of an I/O thread begins at 1";
            cx.fail(error_at(element, At::Attribute("iothread"), what).in_domain(ErrorDomain::XML))?;
        }
        Ok(())
    }
}

impl DiskTune {
    /// Whether anything is limited, apart from the name of a group.
    pub fn has_limits(&self) -> bool {
        *self
            != Self {
                group: self.group.clone(),
                ..Self::default()
            }
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let exclusive = [
            ("bytes", self.total_bytes, self.read_bytes, self.write_bytes),
            ("iops", self.total_iops, self.read_iops, self.write_iops),
            (
                "bytes_max",
                self.total_bytes_max,
                self.read_bytes_max,
                self.write_bytes_max,
            ),
            (
                "iops_max",
                self.total_iops_max,
                self.read_iops_max,
                self.write_iops_max,
            ),
        ];
        for (what, total, read, write) in exclusive {
            if total != 0 && (read != 0 || write != 0) {
                let text = format!("total and read/write {what}_sec cannot be set at the same time");
                cx.fail(error_at(element, At::Text, text))?;
            }
        }
        Ok(())
    }
}

impl Mirror {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let job = read::attr::<MirrorJob>(element, cx, "job", virt_util::xml::XmlValue::parse_value)?
            .unwrap_or_default();
        let state = read::attr(element, cx, "ready", virt_util::xml::XmlValue::parse_value)?;
        let word = virt_util::xml::XmlValue::parse_value;
        let format_element = element.child_or_ghost("format");
        let metadata = format_element.child_or_ghost("metadata_cache");
        let metadata_cache = read::child_with(metadata, cx, "max_size", bytes::read)?;
        if !element.has_attr("type") {
            // The form before chains could be said: file and format as attributes.
            return read::coded(element, cx, (ErrorCode::XML_ERROR, None), |cx| {
                let text = <String as virt_util::xml::XmlValue>::parse_value;
                let path = read::attr(element, cx, "file", text)?;
                Ok(Self {
                    job,
                    state,
                    format: read::attr(element, cx, "format", word)?,
                    metadata_cache,
                    source: StorageSource {
                        location: StorageLocation::File {
                            path: Some(read::required(element, At::Attribute("file"), path)?),
                            fd_group: None,
                        },
                        ..StorageSource::default()
                    },
                    backing: None,
                })
            });
        }
        let source = read::child_with(element, cx, "source", StorageSource::read)?;
        Ok(Self {
            job,
            state,
            format: read::attr(format_element, cx, "type", word)?,
            metadata_cache,
            source: read::required(element, At::Child("source"), source)?,
            backing: read::child_with(element, cx, "backingStore", BackingStore::read)?,
        })
    }

    fn write(&self, w: &mut Writer) {
        w.start("mirror");
        w.attribute("type", self.source.location.xml_tag());
        if let (StorageLocation::File { path: Some(path), .. }, MirrorJob::Copy) =
            (&self.source.location, self.job)
        {
            w.attribute("file", path);
            if let Some(format) = self.format {
                w.attribute("format", format.as_str());
            }
        }
        w.attribute("job", self.job.as_str());
        if let Some(state) = self.state {
            w.attribute("ready", state.as_str());
        }
        write_format(w, "format", self.format, self.metadata_cache);
        self.source.write(w, true);
        if let Some(backing) = &self.backing {
            backing_element::write(backing, w, "backingStore");
        }
        w.end("mirror");
    }
}

/// What a `<mirror>` holds.
fn mirror_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("Mirror", "mirror", "A job that copies the drive." => {
        /// What kind of place holds the copy.
        "@type" => storage_type: value(super::storage::StorageType),
        /// Path of the copy, for old clients.
        "@file" => file: value(String),
        /// Format of the copy, for old clients.
        "@format" => file_format: value(StorageFormat),
        /// Which job fills it.
        "@job" => job: value(MirrorJob),
        /// How far the job is.
        "@ready" => state: value(MirrorState),
        /// Format of the copy.
        "format@type" => format: value(StorageFormat),
        /// Most bytes of metadata that are cached.
        "format/metadata_cache/max_size" => metadata_cache: element(crate::scaled::ScaledSize),
        /// The copy.
        "source" => source: shape(super::storage::source_shape),
        /// What is behind the copy.
        "backingStore" => backing: shape(super::storage::backing_shape),
    })
}

impl Disk {
    /// Credentials and encryption may stand beside the source, if they are not in it.
    fn read_secrets(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let twice = |name: &'static str| {
            let what = format!("<{name}> stands in <disk> and in <source>: one place is enough");
            error_with(ErrorCode::CONFIG_UNSUPPORTED, element, At::Child(name), what)
        };
        if self.source.auth.is_some() && element.child("auth").is_some() {
            cx.fail(twice("auth"))?;
        }
        self.auth = read::child(element, cx, "auth")?.map(Box::new);
        if self.source.encryption.is_some() && element.child("encryption").is_some() {
            cx.fail(twice("encryption"))?;
        }
        self.encryption = read::child(element, cx, "encryption")?.map(Box::new);
        Ok(())
    }
}

impl XmlElement for Disk {
    const NAME: &'static str = "disk";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::XmlValue;
        // Without a source the type says nothing; a wrong word is an error all the same.
        read::tag(element, "type", super::storage::StorageType::WORDS)?;
        let source: Option<StorageSource> = read::child_with(element, cx, "source", StorageSource::read)?;
        let mut disk = Self {
            source: source.unwrap_or_default(),
            ..Self::default()
        };
        disk.read_secrets(element, cx)?;
        disk.backing = read::child_with(element, cx, "backingStore", BackingStore::read)?;
        disk.device = read::attr(element, cx, "device", XmlValue::parse_value)?.unwrap_or_default();
        disk.options = DiskOptions::read(element, cx)?;
        disk.source.startup_policy = read::attr(
            element.child_or_ghost("source"),
            cx,
            "startupPolicy",
            XmlValue::parse_value,
        )?;
        disk.target = read::child(element, cx, "target")?.unwrap_or_default();
        disk.shape = DiskShape::read(element, cx)?.into();
        disk.driver = read::child(element, cx, "driver")?.unwrap_or_default();
        if !cx.has(XmlFlags::INACTIVE) {
            disk.mirror = read::child_with(element, cx, "mirror", Mirror::read)?.map(Box::new);
        }
        disk.rest = DiskRest::read(element, cx)?.into();
        let mut filters = std::collections::HashSet::new();
        if !disk
            .rest
            .throttle_filters
            .iter()
            .all(|filter| filters.insert(&filter.group))
        {
            let what = "one throttle group is named twice";
            cx.fail(error_at(element, At::Child("throttlefilters"), what))?;
        }
        disk.info = DeviceInfo::read(element, cx)?;
        disk.private_data = private_data::read(element, cx)?;
        if let (true, Some(placement)) = (cx.has(XmlFlags::STATUS), element.child("diskSecretsPlacement")) {
            // Status files write credentials below the source and remember here where the user had them.
            if placement.has_attr("auth") && disk.auth.is_none() {
                disk.auth = disk.source.auth.take();
            }
            if placement.has_attr("enc") && disk.encryption.is_none() {
                disk.encryption = disk.source.encryption.take();
            }
        }
        Ok(disk)
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.led_attribute(" type='", |out| out.push_str(self.source.location.xml_tag()));
        w.led_attribute(" device='", |out| out.push_str(self.device.as_str()));
        let hidden = self.options.snapshot == Some(SnapshotLocation::No) && self.rest.read_only;
        if hidden {
            DiskOptions {
                snapshot: None,
                ..self.options.clone()
            }
            .write_attributes(w);
        } else {
            self.options.write_attributes(w);
        }
    }

    fn write_content(&self, w: &mut Writer) {
        self.driver.write_nonempty(w, "driver");
        if let Some(auth) = &self.auth {
            auth.write(w, "auth");
        }
        self.source.write(w, true);
        if let Some(backing) = &self.backing {
            backing.write(w, "backingStore");
        }
        if self.shape.is_said() {
            self.shape.write_content(w);
        }
        if let Some(mirror) = self.mirror.as_ref().filter(|_| !w.has(XmlFlags::INACTIVE)) {
            mirror.write(w);
        }
        w.start("target");
        w.led_attribute(" dev='", |out| escape_into(out, &self.target.dev));
        let bus = self.target.bus.map_or("none", DiskBus::as_str);
        w.led_attribute(" bus='", |out| out.push_str(bus));
        let removable = matches!(self.device, DiskDevice::Floppy | DiskDevice::Cdrom);
        if removable && self.target.tray != DiskTray::Closed {
            w.attribute("tray", self.target.tray.as_str());
        }
        if let Some(removable) = self
            .target
            .removable
            .filter(|_| self.target.bus == Some(DiskBus::Usb))
        {
            w.attribute("removable", if removable { "on" } else { "off" });
        }
        if self.target.rotation_rate != 0 {
            w.attribute_with("rotation_rate", |out| {
                push_unsigned(out, self.target.rotation_rate.into())
            });
        }
        w.end("target");
        if self.rest.is_said() {
            self.rest.write_content(w);
        }
        if let Some(encryption) = &self.encryption {
            encryption.write(w, "encryption");
        }
        self.info.write_content(w);
        private_data::write(&self.private_data, w);
        if w.has(XmlFlags::STATUS) {
            let mark = w.begin_optional("diskSecretsPlacement");
            if self.auth.is_some() {
                w.attribute("auth", "true");
            }
            if self.encryption.is_some() {
                w.attribute("enc", "true");
            }
            w.end_optional("diskSecretsPlacement", mark);
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Disk", "disk", "A drive of the guest." => {
            /// What kind of place holds the image.
            "@type" => storage_type: value(super::storage::StorageType),
            /// What kind of drive the guest sees.
            "@device" => device: value(DiskDevice),
            /// Attributes that have no bearing on the image.
            "." => options: element(DiskOptions),
            /// How the host runs the drive.
            "driver" => driver: element(DiskDriver),
            /// Credentials said beside the source, as old definitions do.
            "auth" => auth: element(StorageAuth),
            /// The image.
            "source" => source: shape(super::storage::source_shape),
            /// The image behind it; an empty one ends the chain.
            "backingStore" => backing: shape(super::storage::backing_shape),
            /// Driver domain, geometry, block sizes.
            "." => shape: element(DiskShape),
            /// The job that copies the drive; only of a running guest.
            "mirror" => mirror: shape(mirror_shape),
            /// Name and bus in the guest.
            "target" => target: element(DiskTarget),
            /// Limits, access, identity.
            "." => rest: element(DiskRest),
            /// Encryption said beside the source, as old definitions do.
            "encryption" => encryption: element(Encryption),
            /// Alias, boot order and address.
            "." => info: element(DeviceInfo),
            /// The driver's own data, as XML; in status files.
            "privateData" => private_data: opaque,
            /// Which credentials were said beside the source; in status files.
            "diskSecretsPlacement" => secrets_placement: element {
                /// `true` for those of network storage.
                "@auth" => auth: value(String),
                /// `true` for those of the encryption.
                "@enc" => encryption: value(String),
            },
        })
    }
}

virt_util::xml::nothing!(DiskShape, DiskRest);
