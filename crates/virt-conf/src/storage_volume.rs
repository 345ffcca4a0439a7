//! `<volume>`: a unit of storage of a pool.
//!
//! What a volume can be depends on the type of its pool, so [`Volume::parse`] is told it. Sizes, places and times that the
//! driver found are written, and not read back.

use virt_util::xml::{
    self, At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlFlags, error_at, escape_into, push_unsigned,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::domain::storage::{Encryption, StorageFormat};
use crate::scaled::{bytes, storage_bytes, storage_unit};
use crate::storage_pool::{Extent, PoolType};
use crate::values::{Permissions, unsupported_word};

xml_enum! {
    /// What a volume is on the host.
    pub enum VolumeType { File = "file", Block = "block", Dir = "dir", Network = "network", Netdir = "netdir", Ploop = "ploop" }
}

xml_enum! {
    /// The format of a volume: of an image, or the type of a partition.
    pub enum VolumeFormat { None = "none", Raw = "raw", Dir = "dir", Bochs = "bochs", Cloop = "cloop", Dmg = "dmg", Iso = "iso", Vpc = "vpc", Vdi = "vdi", Fat = "fat", Vhd = "vhd", Ploop = "ploop", Cow = "cow", Qcow = "qcow", Qcow2 = "qcow2", Qed = "qed", Vmdk = "vmdk", Linux = "linux", Fat16 = "fat16", Fat32 = "fat32", LinuxSwap = "linux-swap", LinuxLvm = "linux-lvm", LinuxRaid = "linux-raid", Extended = "extended" }
}

impl VolumeFormat {
    /// The formats of images, in libvirt's order; the first is the absence of a format.
    pub const IMAGES: &'static [Self] = &[
        Self::None,
        Self::Raw,
        Self::Dir,
        Self::Bochs,
        Self::Cloop,
        Self::Dmg,
        Self::Iso,
        Self::Vpc,
        Self::Vdi,
        Self::Fat,
        Self::Vhd,
        Self::Ploop,
        Self::Cow,
        Self::Qcow,
        Self::Qcow2,
        Self::Qed,
        Self::Vmdk,
    ];
    /// The types of partitions, in libvirt's order.
    pub const PARTITIONS: &'static [Self] = &[
        Self::None,
        Self::Linux,
        Self::Fat16,
        Self::Fat32,
        Self::LinuxSwap,
        Self::LinuxLvm,
        Self::LinuxRaid,
        Self::Extended,
    ];

    /// The format as one that a guest's disk can have.
    pub fn image_format(self) -> Option<StorageFormat> {
        StorageFormat::from_word(self.as_str())
    }
}

/// Whether a definition must say how large the volume is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapacityRule {
    /// It must.
    #[default]
    Required,
    /// It must, unless the volume has a backing store, whose size it then gets.
    RequiredWithoutBacking,
    /// It need not: the size is known from elsewhere.
    Optional,
}

/// A volume.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "volume",
    order(name, key, kind, backing, capacity, allocation, target)
)]
pub struct Volume {
    /// What it is on the host.
    #[xml("@type", nonempty, default, always, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub kind: VolumeType,
    /// Its name, unique in the pool.
    #[xml("name")]
    pub name: String,
    /// What names it on this host; made by the driver.
    #[xml("key")]
    pub key: Option<String>,
    /// The parts of the pool's devices that hold it, as the driver found them; not read.
    #[xml("source/device", read_when = false)]
    pub devices: Vec<VolumeDevice>,
    /// Size in bytes that users of the volume see.
    #[xml("capacity+", with = storage_bytes, described = crate::scaled::ScaledSize, default, always,
        then = check_capacity(backing.is_some(), element, cx))]
    pub capacity: u64,
    /// Bytes that are set aside at once; the whole capacity if nothing is said.
    #[xml("allocation+", with = storage_bytes, described = crate::scaled::ScaledSize, read_when = has_text(element, "allocation"), always, write_as = Some(self.allocation.unwrap_or(self.capacity)))]
    pub allocation: Option<u64>,
    /// Bytes that the host uses for it, as the driver found them, 0 for unknown; not read.
    #[xml("physical", with = bytes, described = crate::scaled::ScaledSize, default, read_when = false)]
    pub physical: u64,
    /// Where and how it is stored.
    #[xml("target+", default, always)]
    pub target: VolumeTarget,
    /// The image of which this one holds the changes.
    #[xml("backingStore+", read_when = has_text(element.joined_child_or_ghost("backingStore"), "path"))]
    pub backing: Option<VolumeBacking>,
}

/// Parts of a device that hold a volume.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "device", body)]
pub struct VolumeDevice {
    /// The device.
    #[xml("@path")]
    pub path: String,
    /// Its parts.
    #[xml("extent")]
    pub extents: Vec<Extent>,
}

/// Where and how a volume is stored.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "target", body, order(path, format))]
pub struct VolumeTarget {
    /// Its path on this host; made by the driver.
    #[xml("path")]
    pub path: Option<String>,
    /// Its format, where volumes of the pool have one.
    #[xml(".", with = volume_format, reads("format@type"))]
    pub format: Option<VolumeFormat>,
    /// Owner and mode.
    #[xml("permissions", omit_empty)]
    pub permissions: Option<Permissions>,
    /// When it was used, as the driver found it; not read.
    #[xml("timestamps", read_when = false)]
    pub timestamps: Option<Timestamps>,
    /// How the data are encrypted.
    #[xml("encryption")]
    pub encryption: Option<Encryption>,
    /// The version of QEMU that a qcow2 image must be readable by: `0.10` or `1.1`.
    #[xml("compat", then = check_compat(compat.as_deref(), element, cx))]
    pub compat: Option<String>,
    /// Whether copy on write is turned off for the file; never written.
    #[xml("nocow", when = false)]
    pub no_cow: bool,
    /// Size of a qcow2 image's clusters in bytes, 0 for the usual one.
    #[xml("clusterSize+", unless_empty, with = storage_unit, described = crate::scaled::ScaledSize, default)]
    pub cluster_size: u64,
    /// Features of a qcow2 image.
    #[xml("features+")]
    pub features: Option<ImageFeatures>,
}

/// The image of which a volume holds the changes.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "backingStore", body)]
pub struct VolumeBacking {
    /// Absolute path of the image that this one is laid over.
    #[xml("path", default)]
    pub path: String,
    /// Its format, where volumes of the pool have one.
    #[xml(".", with = volume_format, reads("format@type"))]
    pub format: Option<VolumeFormat>,
    /// Owner and mode.
    #[xml("permissions", omit_empty)]
    pub permissions: Option<Permissions>,
    /// When it was used, as the driver found it; not read.
    #[xml("timestamps", read_when = false)]
    pub timestamps: Option<Timestamps>,
}

/// When a volume was used.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "timestamps", body)]
pub struct Timestamps {
    /// Last read.
    #[xml("atime")]
    pub accessed: Option<Timestamp>,
    /// Last written.
    #[xml("mtime")]
    pub modified: Option<Timestamp>,
    /// Last changed, owner and mode included.
    #[xml("ctime")]
    pub changed: Option<Timestamp>,
    /// Made.
    #[xml("btime")]
    pub born: Option<Timestamp>,
}

/// Seconds since the epoch, with nanoseconds if they are not 0: `1341933637.027319099`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: u64,
    /// The rest, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl xml::XmlValue for Timestamp {
    const SCHEMA: xml::schema::ValueSchema = xml::schema::ValueSchema::Text;

    fn parse_value(text: &str) -> Result<Self, xml::ValueError> {
        let wrong = || xml::ValueError::expected("seconds since the epoch, as in '1341933637.027319099'");
        let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
        if rest.len() > 9 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let nanoseconds = format!("{rest:0<9}").parse().map_err(|_| wrong())?;
        Ok(Self {
            seconds: xml::parse_integer(seconds, 10)?,
            nanoseconds,
        })
    }

    fn format_value(&self, out: &mut String) {
        push_unsigned(out, self.seconds);
        if self.nanoseconds != 0 {
            escape_into(out, &format!(".{:09}", self.nanoseconds));
        }
    }
}

/// Features of a qcow2 image.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "features", check = ImageFeatures::after_read)]
pub struct ImageFeatures {
    /// Reference counts may be written late.
    #[xml("lazy_refcounts")]
    pub lazy_refcounts: bool,
    /// Clusters are allocated in 32 parts.
    #[xml("extended_l2")]
    pub extended_l2: bool,
    /// The data are in a file of their own.
    #[xml("data_file")]
    pub data_file: bool,
}

impl ImageFeatures {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        const KNOWN: [&str; 3] = ["lazy_refcounts", "extended_l2", "data_file"];
        for child in element.children() {
            if !KNOWN.contains(&child.name()) {
                cx.fail(unsupported_word(child, At::Text, child.name(), KNOWN.into_iter()))?;
            }
        }
        Ok(())
    }
}

/// What a volume is read by.
#[derive(Clone, Copy)]
struct Rules {
    pool: PoolType,
    capacity: CapacityRule,
}

/// A volume says how large it is, unless somebody else does.
fn check_capacity(has_backing: bool, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let needed = cx
        .surroundings()
        .is_some_and(|rules: &Rules| match rules.capacity {
            CapacityRule::Required => true,
            CapacityRule::RequiredWithoutBacking => !has_backing,
            CapacityRule::Optional => false,
        });
    match needed && !has_text(element, "capacity") {
        true => cx.fail(xml::missing(element, At::Child("capacity"))),
        false => Ok(()),
    }
}

/// A version is two numbers.
fn check_compat(compat: Option<&str>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let Some(compat) = compat else { return Ok(()) };
    let number = |text: &str| xml::parse_integer::<u32>(text, 10).is_ok();
    match compat
        .split_once('.')
        .is_some_and(|(major, minor)| number(major) && number(minor))
    {
        true => Ok(()),
        false => cx.fail(error_at(
            element,
            At::Child("compat"),
            format_args!("invalid value '{compat}': expected two numbers, as in '1.1'"),
        )),
    }
}

/// The format of a volume. Which there are depends on the type of the pool.
mod volume_format {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<VolumeFormat>> {
        check_format(element, cx)?;
        let word = element
            .joined_child("format")
            .and_then(|format| format.attr("type"));
        Ok(word.and_then(|word| VolumeFormat::from_word(&word)))
    }

    pub(super) fn write(value: &Option<VolumeFormat>, w: &mut Writer) {
        if let Some(format) = value {
            w.start("format");
            w.attribute("type", format.as_str());
            w.end("format");
        }
    }
}

fn has_text(element: Element<'_>, child: &str) -> bool {
    element.child(child).is_some_and(|child| !child.text().is_empty())
}

impl Volume {
    /// Reads a volume of a pool of type `pool` from text; `name` is for messages.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR` and `CONFIG_UNSUPPORTED` for what is wrong or missing.
    pub fn parse(source: &str, pool: PoolType, capacity: CapacityRule, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::STORAGE);
        let doc = Doc::parse_with(source, &options)?;
        let mut cx = Reader::new(XmlFlags::empty()).among(Rules { pool, capacity });
        let mut volume: Self = xml::from_doc(&doc, &mut cx)?;
        volume.normalize(pool);
        Ok(volume)
    }

    /// Fills in what is implied for a volume of a pool of type `pool`. A second time changes nothing.
    pub fn normalize(&mut self, pool: PoolType) {
        let default = pool.rules().volumes.default_format();
        let complete =
            |format: &mut Option<VolumeFormat>| *format = default.map(|default| format.unwrap_or(default));
        complete(&mut self.target.format);
        if let Some(backing) = &mut self.backing {
            complete(&mut backing.format);
        }
        if self.target.features.is_some() && self.target.compat.is_none() {
            self.target.compat = Some("1.1".to_owned());
        }
    }

    /// Bytes that are set aside at once.
    pub fn allocated(&self) -> u64 {
        self.allocation.unwrap_or(self.capacity)
    }

    /// The definition as libvirt writes it.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::SECURE)
    }
}

/// Checks the format in `element` by the rules for the type of pool.
fn check_format(element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let allowed = cx
        .surroundings()
        .map_or(&[][..], |rules: &Rules| rules.pool.rules().volumes.allowed());
    let format = element.child_or_ghost("format");
    let Some(word) = format.attr("type").filter(|word| !word.is_empty()) else {
        return Ok(());
    };
    let known = VolumeFormat::from_word(&word).is_some_and(|format| allowed.contains(&format));
    if known || allowed.is_empty() {
        return Ok(());
    }
    let words = allowed.iter().map(|format| format.as_str());
    cx.fail(unsupported_word(format, At::Attribute("type"), &word, words))
}

#[cfg(test)]
mod tests;
