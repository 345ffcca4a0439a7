//! `<pool>`: a source of storage on this host, whose volumes guests use.
//!
//! | module | holds |
//! |---|---|
//! | here | the declarations, reading, completing |
//! | [`rules`] | the table of the types of pool |
//! | [`adapter`] | SCSI adapters |
//! | [`capabilities`] | what a storage driver offers |
//!
//! [`StoragePool::parse`] reads and checks; [`StoragePool::normalize`] fills in what is implied and drops what the type of
//! the pool has no use for; [`StoragePool::format`] writes.

pub mod adapter;
pub mod capabilities;
pub mod rules;

use virt_util::path::sanitize_path;
use virt_util::uuid::Uuid;
use virt_util::xml::{
    self, At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use self::adapter::PoolAdapter;
use self::rules::{SourceParts, TargetRule};
use crate::domain::normalize::Randomness;
use crate::domain::storage::StorageAuth;
use crate::scaled::bytes;
use crate::values::{Permissions, unsupported_word};

xml_enum! {
    /// How a pool gets its volumes.
    pub enum PoolType { Dir = "dir", Fs = "fs", Netfs = "netfs", Logical = "logical", Disk = "disk", Iscsi = "iscsi", IscsiDirect = "iscsi-direct", Scsi = "scsi", Mpath = "mpath", Rbd = "rbd", Sheepdog = "sheepdog", Gluster = "gluster", Zfs = "zfs", Vstorage = "vstorage" }
}

xml_enum! {
    /// The format of a pool's source; which ones there are depends on its type.
    pub enum PoolFormat { Auto = "auto", Ext2 = "ext2", Ext3 = "ext3", Ext4 = "ext4", Ufs = "ufs", Iso9660 = "iso9660", Udf = "udf", Gfs = "gfs", Gfs2 = "gfs2", Vfat = "vfat", HfsPlus = "hfs+", Xfs = "xfs", Ocfs2 = "ocfs2", Vmfs = "vmfs", Nfs = "nfs", Glusterfs = "glusterfs", Cifs = "cifs", Unknown = "unknown", Dos = "dos", Dvh = "dvh", Gpt = "gpt", Mac = "mac", Bsd = "bsd", Pc98 = "pc98", Sun = "sun", Lvm2 = "lvm2" }
}

xml_enum! {
    /// How the allocated size of a volume is found when the pool is looked through.
    pub enum RefreshAllocation { Default = "default", Capacity = "capacity" }
}

/// A storage pool.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "pool",
    order(kind, source, name, uuid, copy_on_write, target, refresh_allocation),
    check = StoragePool::after_read,
    declare(
        fs = "http://libvirt.org/schemas/storagepool/fs/1.0",
        rbd = "http://libvirt.org/schemas/storagepool/rbd/1.0"
    )
)]
pub struct StoragePool {
    /// How it gets its volumes.
    #[xml("@type", then = check_source_kind(kind, element.child_or_ghost("source"), cx))]
    pub kind: PoolType,
    /// Its name, unique on the host.
    #[xml("name", default, always, then = check_name(kind, &name, source.name.as_deref(), element, cx))]
    pub name: String,
    /// Its UUID; made by [`StoragePool::normalize`] if the definition has none.
    #[xml("uuid")]
    pub uuid: Option<Uuid>,
    /// Size in bytes, as the driver found it; not read.
    #[xml("capacity", with = bytes, described = crate::scaled::ScaledSize, default, always, read_when = false)]
    pub capacity: u64,
    /// Bytes in use, as the driver found them; not read.
    #[xml("allocation", with = bytes, described = crate::scaled::ScaledSize, default, always, read_when = false)]
    pub allocation: u64,
    /// Bytes that are free, as the driver found them; not read.
    #[xml("available", with = bytes, described = crate::scaled::ScaledSize, default, always, read_when = false)]
    pub available: u64,
    /// Whether copy on write is used where the file system has it.
    #[xml("features+/cow@state", then = check_features(kind, copy_on_write, element, cx)
        .and_then(|()| check_needed(kind, &source, element, cx)))]
    pub copy_on_write: Option<bool>,
    /// Where the data lie.
    #[xml("source", default, always, then = check_source(kind, &source, element.child_or_ghost("source"), cx))]
    pub source: PoolSource,
    /// Where the volumes appear on this host.
    #[xml("target+", read_when = kind.rules().target != TargetRule::None,
        then = check_initiator(kind, &source, element, cx))]
    pub target: Option<PoolTarget>,
    /// How the allocated size of volumes is found.
    #[xml(".", with = refresh_allocation, reads("refresh/volume@allocation": RefreshAllocation))]
    pub refresh_allocation: Option<RefreshAllocation>,
    /// Further options for mounting.
    #[xml("fs:mount_opts+", unless(no_namespaces), read_when = matches!(kind, PoolType::Fs | PoolType::Netfs))]
    pub mount_options: Option<MountOptions>,
    /// Settings for the library that speaks to the Ceph cluster.
    #[xml("rbd:config_opts+", unless(no_namespaces), read_when = kind == PoolType::Rbd)]
    pub rbd_options: Option<RbdOptions>,
}

/// Where the data of a pool lie.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(
    name = "source",
    body,
    order(name, format, hosts, initiator, devices, dir, adapter, auth, protocol_version)
)]
pub struct PoolSource {
    /// The servers.
    #[xml("host")]
    pub hosts: Vec<PoolHost>,
    /// Disks, partitions or targets that the storage lies on.
    #[xml("device")]
    pub devices: Vec<PoolDevice>,
    /// The folder, here or on the server.
    #[xml("dir+@path", nonempty)]
    pub dir: Option<String>,
    /// The SCSI adapter.
    #[xml("adapter")]
    pub adapter: Option<PoolAdapter>,
    /// Name of the volume group, image pool or remote volume.
    #[xml("name")]
    pub name: Option<String>,
    /// iSCSI qualified name of the client.
    #[xml("initiator+/iqn+@name", nonempty)]
    pub initiator: Option<String>,
    /// Format of the source.
    #[xml(".", with = source_format, reads("format@type"))]
    pub format: Option<PoolFormat>,
    /// Credentials for the server.
    #[xml("auth")]
    pub auth: Option<StorageAuth>,
    /// Version of the NFS protocol.
    #[xml("protocol+@ver", nonempty)]
    pub protocol_version: Option<String>,
    /// Who made the storage.
    #[xml("vendor+@name", nonempty)]
    pub vendor: Option<String>,
    /// What its maker calls it.
    #[xml("product+@name", nonempty)]
    pub product: Option<String>,
}

/// A storage server.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "host", own)]
pub struct PoolHost {
    /// Name or address.
    #[xml("@name")]
    pub name: String,
    /// Port; 0 for the usual one.
    #[xml("@port", helper, default)]
    pub port: i32,
}

/// A device with the data of a pool.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "device", own)]
pub struct PoolDevice {
    /// Its path, or an iSCSI target's name.
    #[xml("@path")]
    pub path: String,
    /// Whether a `p` stands between name and number of a partition.
    #[xml("@part_separator", helper)]
    pub part_separator: Option<bool>,
    /// Parts of a disk that no partition has, as the driver found them; not read.
    #[xml("freeExtent", read_when = false)]
    pub free_extents: Vec<Extent>,
}

/// A part of a device.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "extent")]
pub struct Extent {
    /// First byte.
    #[xml("@start")]
    pub start: u64,
    /// The byte behind the last.
    #[xml("@end")]
    pub end: u64,
}

/// Where the volumes of a pool appear on this host.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "target", body)]
pub struct PoolTarget {
    /// The folder.
    #[xml("path", default, always)]
    pub path: String,
    /// Owner and mode of the folder if it is made.
    #[xml("permissions", omit_empty)]
    pub permissions: Option<Permissions>,
}

/// Further options for mounting.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "mount_opts", ns(fs = "http://libvirt.org/schemas/storagepool/fs/1.0"))]
pub struct MountOptions {
    /// Passed on to mount, in this order.
    #[xml("fs:option")]
    pub options: Vec<MountOption>,
}

/// Settings of the Ceph library.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(
    name = "config_opts",
    ns(rbd = "http://libvirt.org/schemas/storagepool/rbd/1.0")
)]
pub struct RbdOptions {
    /// The settings.
    #[xml("rbd:option")]
    pub options: Vec<RbdOption>,
}

/// An option for mounting.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "option")]
pub struct MountOption {
    /// The option, with its value.
    #[xml("@name")]
    pub name: String,
}

/// A setting of the Ceph library.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "option", check = RbdOption::after_read)]
pub struct RbdOption {
    /// Which setting of Ceph's library it is.
    #[xml("@name")]
    pub name: String,
    /// What it is set to.
    #[xml("@value")]
    pub value: String,
}

impl RbdOption {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        for (attribute, value) in [("name", &self.name), ("value", &self.value)] {
            if value.is_empty() {
                let what = format!("attribute '{attribute}' must not be empty");
                cx.fail(error_at(element, At::Attribute(attribute), what))?;
            }
        }
        Ok(())
    }
}

/// The format of a source. Words that are none are told by [`check_source_kind`], which knows the type of the pool.
mod source_format {
    use super::*;

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Option<PoolFormat>> {
        let word = element
            .joined_child("format")
            .and_then(|format| format.attr("type"));
        Ok(word.and_then(|word| PoolFormat::from_word(&word)))
    }

    pub(super) fn write(value: &Option<PoolFormat>, w: &mut Writer) {
        if let Some(format) = value {
            w.start("format");
            w.attribute("type", format.as_str());
            w.end("format");
        }
    }
}

/// `<refresh><volume allocation='…'/></refresh>`.
mod refresh_allocation {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<RefreshAllocation>> {
        let volume = element
            .joined_child_or_ghost("refresh")
            .joined_child_or_ghost("volume");
        let Some(word) = volume.attr("allocation").filter(|word| !word.is_empty()) else {
            return Ok(None);
        };
        let found = RefreshAllocation::from_word(&word);
        if found.is_none() {
            let words = RefreshAllocation::WORDS.iter().copied();
            cx.fail(unsupported_word(
                volume,
                At::Attribute("allocation"),
                &word,
                words,
            ))?;
        }
        Ok(found)
    }

    pub(super) fn write(value: &Option<RefreshAllocation>, w: &mut Writer) {
        if let Some(allocation) = value {
            w.start("refresh");
            w.start("volume");
            w.attribute("allocation", allocation.as_str());
            w.end("volume");
            w.end("refresh");
        }
    }
}

impl StoragePool {
    /// Reads a pool from text; `name` is for messages.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR`, `CONFIG_UNSUPPORTED` and others for what is wrong or
    /// missing, as in libvirt.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        Self::parse_with(source, XmlFlags::empty(), name)
    }

    /// [`StoragePool::parse`] with flags: drivers without back ends of their own pass over what is said to them
    /// ([`XmlFlags::NO_NAMESPACES`]).
    ///
    /// # Errors
    /// As [`StoragePool::parse`].
    pub fn parse_with(source: &str, flags: XmlFlags, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::STORAGE);
        xml::from_str(source, flags, &options)
    }

    fn after_read(&mut self, element: Element<'_>, _: &mut Reader) -> Result<()> {
        self.source.drop_void_adapter(element.child_or_ghost("source"));
        Ok(())
    }

    /// Fills in what is implied, and drops what pools of the type have not. A second time changes nothing.
    pub fn normalize(&mut self, random: &dyn Randomness) {
        let rules = self.kind.rules();
        if self.name.is_empty() {
            self.name = self.source.name.clone().unwrap_or_default();
        }
        self.uuid.get_or_insert_with(|| random.uuid());
        self.source.normalize(self.kind);
        // An empty list is none.
        self.mount_options.take_if(|list| list.options.is_empty());
        self.rbd_options.take_if(|list| list.options.is_empty());
        if rules.has(SourceParts::NAME) {
            self.source.name.get_or_insert_with(|| self.name.clone());
        }
        match rules.target {
            TargetRule::None => self.target = None,
            TargetRule::Named => {}
            TargetRule::Below(folder) => {
                let name = self.source.name.as_deref().unwrap_or_default();
                self.target.get_or_insert_default().path = format!("{folder}/{name}");
            }
        }
        if let Some(target) = &mut self.target {
            target.path = sanitize_path(&target.path);
            if target.permissions.as_ref().is_some_and(Permissions::is_empty) {
                target.permissions = None;
            }
        }
    }

    /// The definition as libvirt writes it.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::SECURE)
    }

    /// The status file of a running pool.
    pub fn format_state(&self) -> String {
        let mut w = Writer::new(XmlFlags::SECURE | XmlFlags::STATUS);
        w.start("poolstate");
        self.write(&mut w, Self::NAME);
        w.end("poolstate");
        w.finish()
    }

    /// Reads a status file.
    ///
    /// # Errors
    /// As [`StoragePool::parse`].
    pub fn parse_state(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::STORAGE);
        let doc = Doc::parse_with(source, &options)?;
        let root = doc.root();
        let pool = root.child(Self::NAME).filter(|_| root.is("poolstate"));
        let pool =
            pool.ok_or_else(|| error_at(root, At::Text, "expected element 'pool' in element 'poolstate'"))?;
        Self::read(pool, &mut Reader::new(XmlFlags::STATUS))
    }
}

/// What a source says that depends on the type of pool alone: it is told before the rest is read.
fn check_source_kind(kind: PoolType, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    if kind == PoolType::Rbd
        && element.exists()
        && element.child("name").is_none_or(|name| name.text().is_empty())
    {
        cx.fail(xml::missing(element, At::Child("name")))?;
    }
    let formats = kind.rules().source_formats();
    let format = element.child_or_ghost("format");
    if let Some(word) = format.attr("type").filter(|word| !word.is_empty())
        && !formats.is_empty()
        && PoolFormat::from_word(&word).is_none_or(|format| !formats.contains(&format))
    {
        let words = formats.iter().map(|format| format.as_str());
        cx.fail(unsupported_word(format, At::Attribute("type"), &word, words))?;
    }
    Ok(())
}

/// Checks a source by the rules for a type of pool.
fn check_source(kind: PoolType, source: &PoolSource, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let rules = kind.rules();
    let formats = rules.source_formats();
    if source.auth.as_ref().is_some_and(|auth| auth.kind.is_none()) {
        let auth = element.child_or_ghost("auth");
        let what = "the credentials of a storage pool need attribute 'type'";
        cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, auth, At::Text, what))?;
    }
    let Some(version) = &source.protocol_version else {
        return Ok(());
    };
    let protocol = element.child_or_ghost("protocol");
    // libvirt compares the number of the format, not the format: the first two of each type pass.
    let number = source
        .format
        .and_then(|format| formats.iter().position(|known| *known == format));
    let default = rules
        .formats
        .and_then(|(_, default)| formats.iter().position(|known| *known == default));
    if number.or(default).unwrap_or(0) > 1 {
        let what = "a version of the protocol is for the formats 'nfs' and 'auto' only";
        let at = At::Attribute("ver");
        cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, protocol, at, what))?;
    }
    if version.contains(',') {
        let what = format!("version '{version}' of the protocol must not contain ','");
        cx.fail(error_with(
            ErrorCode::XML_DETAIL,
            protocol,
            At::Attribute("ver"),
            what,
        ))?;
    }
    Ok(())
}

/// A pool has a name, or gets that of its source.
fn check_name(
    kind: PoolType,
    name: &str,
    source: Option<&str>,
    element: Element<'_>,
    cx: &mut Reader,
) -> Result<()> {
    let source = source.filter(|_| kind.rules().has(SourceParts::NAME));
    let name = match (name, source) {
        ("", None) => return cx.fail(xml::missing(element, At::Child("name"))),
        ("", Some(source)) => source,
        (name, _) => name,
    };
    match name.contains('/') {
        true => cx.fail(error_at(
            element,
            At::Child("name"),
            format_args!("'{name}' contains '/'"),
        )),
        false => Ok(()),
    }
}

fn check_features(kind: PoolType, cow: Option<bool>, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match cow.is_some() && !matches!(kind, PoolType::Fs | PoolType::Dir) {
        true => {
            let what = "feature 'cow' is for pools of the types 'fs' and 'dir' only";
            let at = At::Child("features");
            cx.fail(error_with(ErrorCode::NO_SUPPORT, element, at, what))
        }
        false => Ok(()),
    }
}

/// Checks that all is there of the source that the type of pool cannot be without.
fn check_needed(kind: PoolType, source: &PoolSource, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let rules = kind.rules();
    let place = element.child_or_ghost("source");
    if rules.has(SourceParts::HOST) && source.hosts.is_empty() {
        cx.fail(xml::missing(place, At::Child("host")))?;
    }
    // The root of a Gluster volume is meant if nothing is said.
    if rules.has(SourceParts::DIR) && source.dir.is_none() && kind != PoolType::Gluster {
        cx.fail(error_at(place, At::Text, "missing path of element 'dir'"))?;
    }
    if rules.has(SourceParts::ADAPTER) {
        let said = place.child_or_ghost("adapter");
        match source.adapter.as_ref() {
            Some(adapter) if !adapter.says_nothing() || said.has_attr("type") => {
                adapter.validate(said, cx)?
            }
            _ => cx.fail(xml::missing(place, At::Child("adapter")))?,
        }
    }
    if rules.parts == SourceParts::DEVICE && source.devices.is_empty() {
        cx.fail(xml::missing(place, At::Child("device")))?;
    }
    let target = element.joined_child_or_ghost("target");
    if rules.target == TargetRule::Named && target.child("path").is_none_or(|path| path.text().is_empty()) {
        cx.fail(xml::missing(target, At::Child("path")))?;
    }
    Ok(())
}

fn check_initiator(kind: PoolType, source: &PoolSource, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    match kind == PoolType::IscsiDirect && source.initiator.is_none() {
        true => {
            let source = element.child_or_ghost("source");
            let what = "missing iSCSI qualified name of the initiator";
            let at = At::Child("initiator");
            cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, source, at, what))
        }
        false => Ok(()),
    }
}

impl PoolSource {
    /// An adapter of which nothing is said is none.
    fn drop_void_adapter(&mut self, element: Element<'_>) {
        self.adapter
            .take_if(|adapter| adapter.says_nothing() && !element.child_or_ghost("adapter").has_attr("type"));
    }

    /// Reads a source that stands alone, as in a request to find sources.
    ///
    /// # Errors
    /// As [`StoragePool::parse`].
    pub fn parse(source: &str, kind: PoolType, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::STORAGE);
        let doc = Doc::parse_with(source, &options)?;
        let mut cx = Reader::new(XmlFlags::empty());
        let mut found: Self = xml::from_doc(&doc, &mut cx)?;
        check_source_kind(kind, doc.root(), &mut cx)?;
        check_source(kind, &found, doc.root(), &mut cx)?;
        found.drop_void_adapter(doc.root());
        found.normalize(kind);
        Ok(found)
    }

    fn normalize(&mut self, kind: PoolType) {
        let rules = kind.rules();
        if let Some(dir) = &mut self.dir {
            *dir = sanitize_path(dir);
        }
        if kind == PoolType::Gluster {
            self.dir.get_or_insert_with(|| "/".to_owned());
        }
        match rules.formats {
            Some((_, default)) => _ = self.format.get_or_insert(default),
            None => self.format = None,
        }
        if !rules.has(SourceParts::HOST) {
            self.hosts.clear();
        }
        if !rules.has(SourceParts::DEVICE) {
            self.devices.clear();
        }
        if !rules.has(SourceParts::DIR) {
            self.dir = None;
        }
        if !rules.has(SourceParts::ADAPTER) {
            self.adapter = None;
        }
        if !rules.has(SourceParts::NAME) {
            self.name = None;
        }
        if !rules.has(SourceParts::INITIATOR) {
            self.initiator = None;
        }
    }
}

/// The document with the sources that a driver has found: `<sources>`.
pub fn format_sources(sources: &[PoolSource]) -> String {
    let mut w = Writer::new(XmlFlags::SECURE);
    w.start("sources");
    w.open_body();
    for source in sources {
        source.write(&mut w, PoolSource::NAME);
    }
    w.end("sources");
    w.finish()
}

#[cfg(test)]
mod tests;
