//! The domain snapshot: state of a guest's disks, memory, or both at a moment, as `<domainsnapshot>` XML.
//!
//! [`Snapshot::parse`] reads what a user wants or, with [`SnapshotFlags::REDEFINE`], what was written before;
//! [`Snapshot::complete`] gives a new one its time and name; [`Snapshot::align_disks`] matches its disks with the domain's.

use virt_util::uuid::Uuid;
use virt_util::xml::{
    At, Doc, DocOptions, Element, KeptElement, Reader, Writer, Xml, XmlElement, XmlFlags, XmlValue,
    check_root, error_at, error_with, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::domain::Domain;
use crate::domain::disk::SnapshotLocation;
use crate::domain::normalize::{DomainHooks, NormalizeContext, normalize};
use crate::domain::storage::{StorageFormat, StorageLocation, StorageSource, StorageType, write_format};
use crate::moment::{self, MomentDomain, has_no_medium, source_name, unsupported, xml_error};
use crate::scaled::bytes;

bitflags::bitflags! {
    /// How a snapshot is read.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SnapshotFlags: u32 {
        /// It was written before: state, parent, time and domain are read.
        const REDEFINE = 1 << 0;
        /// It comes from the driver's own folder: it says whether it is the current one.
        const INTERNAL = 1 << 2;
        /// The guest does not run or only its disks are wanted: there is no memory to save.
        const OFFLINE = 1 << 3;
    }
}

xml_enum! {
    /// What the guest was doing.
    pub enum SnapshotState { Running = "running", Blocked = "blocked", Paused = "paused", Shutdown = "shutdown", Shutoff = "shutoff", Crashed = "crashed", Pmsuspended = "pmsuspended", DiskSnapshot = "disk-snapshot" }
}

impl SnapshotState {
    /// Whether there was memory whose state could be kept.
    pub fn is_online(self) -> bool {
        !matches!(self, Self::Shutoff | Self::DiskSnapshot)
    }
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Its name; none until it is [completed](Snapshot::complete).
    pub name: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// What the guest was doing.
    pub state: Option<SnapshotState>,
    /// The snapshot it follows.
    pub parent: Option<String>,
    /// Seconds since the epoch; 0 if it is not known.
    pub creation_time: i64,
    /// Where the memory's state is.
    pub memory: Option<SnapshotMemory>,
    /// Its disks.
    pub disks: Vec<SnapshotDisk>,
    /// The disks after the guest was set back to it.
    pub revert_disks: Vec<SnapshotDisk>,
    /// The domain.
    pub domain: MomentDomain,
    /// The definition for the next start, where that was another one.
    pub inactive_domain: Option<Box<Domain>>,
    /// What the driver keeps.
    pub cookie: Option<KeptElement>,
    /// In the driver's own folder: whether it is the current one.
    pub active: Option<bool>,
}

/// Where the memory's state is.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "memory")]
pub struct SnapshotMemory {
    /// In the image of a disk, in a file, or nowhere.
    #[xml("@snapshot")]
    pub location: Option<SnapshotLocation>,
    /// Absolute path of the file that memory is saved in, if it is external.
    #[xml("@file")]
    pub file: Option<String>,
}

/// A disk of a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotDisk {
    /// Target of the drive; in requests also the path of its image.
    pub name: String,
    /// Where its part of the snapshot goes.
    pub location: Option<SnapshotLocation>,
    /// It is being deleted.
    pub delete_in_progress: bool,
    /// Format of the new image.
    pub format: Option<StorageFormat>,
    /// Most bytes of metadata that are cached.
    pub metadata_cache: Option<u64>,
    /// The new image.
    pub source: StorageSource,
}

/// How disks that a snapshot does not mention take part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Where parts go that nobody decided.
    pub default: SnapshotLocation,
    /// Where the default is internal, all disks must be.
    pub uniform_internal: bool,
    /// What the domain says of its disks does not count.
    pub force_default: bool,
}

impl Snapshot {
    /// Reads a snapshot from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_ERROR` and others for what is wrong in it.
    pub fn parse(source: &str, flags: SnapshotFlags, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::DOMAIN_SNAPSHOT);
        Self::from_element(Doc::parse_with(source, &options)?.root(), flags)
            .map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN_SNAPSHOT))
    }

    /// Reads a snapshot from its element.
    ///
    /// # Errors
    /// `XML_ERROR` and others for what is wrong.
    pub fn from_element(element: Element<'_>, flags: SnapshotFlags) -> Result<Self> {
        check_root(element, "domainsnapshot")?;
        let redefine = flags.contains(SnapshotFlags::REDEFINE);
        // libvirt reads images by the flags of the snapshot, whose bits are those of other flags of definitions.
        let mut how = XmlFlags::empty();
        how.set(XmlFlags::STATUS, redefine);
        how.set(XmlFlags::INACTIVE, flags.contains(SnapshotFlags::INTERNAL));
        let cx = &mut Reader::new(how);
        let mut offline = flags.contains(SnapshotFlags::OFFLINE);
        let mut snapshot = Self {
            name: moment::text(element, "name"),
            description: moment::text(element, "description"),
            ..Self::default()
        };
        if redefine {
            offline = snapshot.read_past(element)?;
        }
        snapshot.memory = read::child::<SnapshotMemory>(element, cx, "memory")?;
        snapshot.check_memory(redefine, offline)?;
        snapshot.disks = read_disks(element, "disks", redefine, cx)?;
        if redefine {
            snapshot.revert_disks = read_disks(element, "revertDisks", redefine, cx)?;
        }
        if flags.contains(SnapshotFlags::INTERNAL) {
            let active = moment::text(element, "active").and_then(|text| text.trim().parse::<i32>().ok());
            let active = active.ok_or_else(|| {
                error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Child("active"),
                    "expected 0 or 1",
                )
            })?;
            snapshot.active = Some(active != 0);
        }
        if !offline {
            snapshot.cookie = read::child(element, cx, "cookie")?;
        }
        Ok(snapshot)
    }

    /// What only a snapshot that exists has. Says whether there was no memory to save.
    fn read_past(&mut self, element: Element<'_>) -> Result<bool> {
        if self.name.is_none() {
            return Err(error_at(
                element,
                At::Child("name"),
                "a snapshot that existed before needs its name",
            ));
        }
        self.creation_time = moment::creation_time(element).ok_or_else(|| {
            error_with(
                ErrorCode::INTERNAL_ERROR,
                element,
                At::Child("creationTime"),
                "a snapshot that existed before needs the time of its making",
            )
        })?;
        self.parent = moment::parent_name(element);
        let Some(word) = moment::text(element, "state") else {
            return Err(error_at(
                element,
                At::Child("state"),
                "a snapshot that existed before needs its state",
            ));
        };
        let state = SnapshotState::parse_value(&word).map_err(|error| {
            let what = format!("state '{word}': {}", error.describe(&word));
            error_with(ErrorCode::CONFIG_UNSUPPORTED, element, At::Child("state"), what)
        })?;
        self.state = Some(state);
        self.domain = MomentDomain::read(element)?;
        if let Some(child) = element.child("inactiveDomain") {
            let domain = Domain::from_child(child, XmlFlags::INACTIVE)?;
            self.inactive_domain = Some(Box::new(domain));
        }
        Ok(!state.is_online())
    }

    fn check_memory(&mut self, redefine: bool, offline: bool) -> Result<()> {
        use SnapshotLocation as L;
        let memory = self.memory.get_or_insert_default();
        if memory.location == Some(L::Manual) {
            return Err(xml_error(
                "memory is saved 'internal', 'external' or 'no', not 'manual'",
            ));
        }
        if memory.location.is_none() {
            memory.location = match (&memory.file, redefine, offline) {
                (Some(_), ..) => Some(L::External),
                (None, true, true) => Some(L::No),
                (None, true, false) => Some(L::Internal),
                (None, false, _) => None,
            };
        }
        match (&memory.file, memory.location) {
            (Some(file), location) if location != Some(L::External) => {
                let what = format!("memory goes to file '{file}' with snapshot='external' only");
                return Err(xml_error(what));
            }
            (None, Some(L::External)) => {
                return Err(xml_error("<memory snapshot='external'> needs 'file'"));
            }
            _ => {}
        }
        if offline && !matches!(memory.location, None | Some(L::No)) {
            let what = "<memory> is of a running guest: a snapshot of disks alone, or of a guest that is off, has none";
            return Err(xml_error(what));
        }
        if let Some(file) = memory.file.as_ref().filter(|file| !file.starts_with('/')) {
            let what = format!("memory file '{file}': expected a path from the root");
            return Err(xml_error(what));
        }
        if memory.location.is_none() {
            self.memory = None;
        }
        Ok(())
    }

    /// Completes the definitions inside, as definitions of the driver.
    ///
    /// # Errors
    /// As for domains.
    pub fn normalize(&mut self, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
        self.domain.normalize(hooks, cx)?;
        match &mut self.inactive_domain {
            Some(domain) => normalize(domain, hooks, cx),
            None => Ok(()),
        }
    }

    /// A new snapshot gets the time, in seconds since the epoch, and, without a name, is named after it.
    pub fn complete(&mut self, now: i64) {
        self.creation_time = now;
        self.name.get_or_insert_with(|| now.to_string());
    }

    /// Writes the snapshot. `SECURE` writes secrets of the definitions inside.
    pub fn format(&self, flags: XmlFlags) -> String {
        let flags = moment::domain_flags(flags.contains(XmlFlags::SECURE));
        virt_util::xml::to_string(self, flags)
    }

    /// Whether any part of it is an image or a file of its own.
    pub fn is_external(&self) -> bool {
        let external = Some(SnapshotLocation::External);
        self.memory
            .as_ref()
            .is_some_and(|memory| memory.location == external)
            || self.disks.iter().any(|disk| disk.location == external)
    }

    /// Matches the disks with those of the domain: afterwards there is one for each of the domain's, in the domain's order,
    /// named by its target, and each knows where its part goes.
    ///
    /// The domain is the one inside; `existing` is that of a snapshot which is written anew, for documents without one.
    /// New images that have no path are named after the domain's image and the snapshot; `is_regular_file` tells whether a
    /// path is one.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for disks that the domain does not have, that stand there twice or cannot be as they say, and
    /// where no path can be made up.
    pub fn align_disks(
        &mut self,
        existing: Option<&Domain>,
        alignment: Alignment,
        is_regular_file: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let domain = self.domain.definition().or(existing);
        let domain =
            domain.ok_or_else(|| VirtError::internal("the snapshot has no definition of its domain"))?;
        let mut aligned = self.aligned(domain, alignment)?;
        let name = self.name.clone().unwrap_or_default();
        name_images(&mut aligned, domain, &name, is_regular_file)?;
        self.disks = aligned;
        Ok(())
    }

    fn aligned(&self, domain: &Domain, alignment: Alignment) -> Result<Vec<SnapshotDisk>> {
        use SnapshotLocation as L;
        let drives = &domain.devices.disks;
        if self.disks.len() > drives.len() {
            return Err(unsupported(format_args!(
                "the snapshot has {} disks, the domain {}",
                self.disks.len(),
                drives.len()
            )));
        }
        let uniform = alignment.uniform_internal && alignment.default == L::Internal;
        let mut wanted: Vec<Option<SnapshotDisk>> = vec![None; drives.len()];
        let places = moment::match_disks(domain, self.disks.iter().map(|disk| disk.name.as_str()))?;
        for (disk, at) in self.disks.iter().zip(places) {
            let (Some(drive), Some(place)) = (drives.get(at), wanted.get_mut(at)) else {
                continue;
            };
            let mut disk = disk.clone();
            match disk.location {
                None => {
                    let own = drive.options.snapshot;
                    disk.location = own
                        .filter(|own| !uniform || *own == L::No)
                        .or(Some(alignment.default));
                }
                Some(location) => {
                    let both_left_out = location == L::No && drive.options.snapshot == Some(L::No);
                    if uniform && location != alignment.default && !both_left_out {
                        return Err(unsupported(format_args!(
                            "disk '{}' must use snapshot mode '{}', not '{location}'",
                            disk.name, alignment.default
                        )));
                    }
                }
            }
            if let Some(path) = source_name(&disk.source.location)
                && disk.location != Some(L::External)
            {
                return Err(unsupported(format_args!(
                    "disk '{}' goes to file '{path}' with snapshot='external' only",
                    disk.name
                )));
            }
            disk.name.clone_from(&drive.target.dev);
            *place = Some(disk);
        }
        let all = wanted.into_iter().zip(drives).map(|(wanted, drive)| {
            wanted.unwrap_or_else(|| {
                let own = if has_no_medium(drive) {
                    Some(L::No)
                } else {
                    drive.options.snapshot.filter(|_| !alignment.force_default)
                };
                SnapshotDisk {
                    name: drive.target.dev.clone(),
                    location: own.or(Some(alignment.default)),
                    ..SnapshotDisk::default()
                }
            })
        });
        Ok(all.collect())
    }

    /// Checks a snapshot that is written anew against the domain it belongs to and the snapshot that has its name.
    ///
    /// `stable` compares two definitions, see [`crate::domain::stability`].
    ///
    /// # Errors
    /// `INVALID_ARG`, or what `stable` says.
    pub fn check_redefine(
        &self,
        domain_uuid: Uuid,
        other: Option<&Self>,
        disk_only: bool,
        stable: impl FnOnce(&Domain, &Domain) -> Result<()>,
    ) -> Result<()> {
        let name = self.name.as_deref().unwrap_or_default();
        let invalid = |what: String| Err(VirtError::new(ErrorCode::INVALID_ARG, what));
        let is_disk_only = |snapshot: &Self| snapshot.state == Some(SnapshotState::DiskSnapshot);
        if disk_only && !is_disk_only(self) {
            return invalid(format!(
                "snapshot '{name}' is not of disks alone: its state is no 'disk-snapshot'"
            ));
        }
        let own = self.domain.definition();
        if own.is_some_and(|domain| domain.uuid != Some(domain_uuid)) {
            return invalid(format!(
                "snapshot '{name}' is of another domain: expected the uuid {domain_uuid}"
            ));
        }
        let Some(other) = other else { return Ok(()) };
        let runs = |snapshot: &Self| {
            matches!(
                snapshot.state,
                Some(SnapshotState::Running | SnapshotState::Paused)
            )
        };
        if runs(self) != runs(other) {
            return invalid(format!(
                "snapshot '{name}' stays one of a guest that ran, or that did not"
            ));
        }
        if is_disk_only(self) != is_disk_only(other) {
            return invalid(format!(
                "snapshot '{name}' stays one of disks alone, or of the whole guest"
            ));
        }
        match (other.domain.definition(), own) {
            (Some(old), Some(new)) => stable(old, new),
            _ => Ok(()),
        }
    }

    /// What the VALIDATE flag asks for: names and values that the document's schema does not allow are refused.
    ///
    /// # Errors
    /// `XML_INVALID_SCHEMA`.
    pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
        crate::schema::check(doc)
    }
}

/// Makes up paths for external parts that have none.
fn name_images(
    disks: &mut [SnapshotDisk],
    domain: &Domain,
    snapshot: &str,
    is_regular_file: &dyn Fn(&str) -> bool,
) -> Result<()> {
    for at in 0..disks.len() {
        let (before, rest) = disks.split_at_mut(at);
        let (Some(disk), Some(drive)) = (rest.first_mut(), domain.devices.disks.get(at)) else {
            continue;
        };
        if disk.location != Some(SnapshotLocation::External) || source_name(&disk.source.location).is_some() {
            continue;
        }
        let kind = disk.source.location.storage_type();
        if kind != StorageType::File {
            return Err(unsupported(format_args!(
                "disk '{}' is of type '{kind}': name the <source> of its snapshot",
                disk.name
            )));
        }
        let Some(original) = source_name(&drive.source.location) else {
            return Err(unsupported(format_args!(
                "disk '{}' has no file to name its snapshot after: name the <source>",
                disk.name
            )));
        };
        if !is_regular_file(original) {
            return Err(unsupported(format_args!(
                "the image of disk '{}' is no regular file: name the <source> of its snapshot",
                disk.name
            )));
        }
        let stem = match original.rsplit_once('.') {
            Some((stem, suffix)) if !suffix.contains('/') => stem,
            _ => original,
        };
        let path = format!("{stem}.{snapshot}");
        let taken = before
            .iter()
            .find(|other| source_name(&other.source.location) == Some(path.as_str()));
        if let Some(other) = taken {
            return Err(unsupported(format_args!(
                "the snapshot of disk '{}' would be in the file of disk '{}': name its <source>",
                disk.name, other.name
            )));
        }
        disk.source.location = StorageLocation::File {
            path: Some(path),
            fd_group: None,
        };
    }
    Ok(())
}

fn read_disks(
    element: Element<'_>,
    list: &str,
    redefine: bool,
    cx: &mut Reader,
) -> Result<Vec<SnapshotDisk>> {
    let Some(list) = element.joined_child(list) else {
        return Ok(Vec::new());
    };
    list.children()
        .map(|disk| {
            let mut disk = SnapshotDisk::read(disk, cx)?;
            disk.delete_in_progress &= redefine;
            Ok(disk)
        })
        .collect()
}

impl XmlElement for SnapshotDisk {
    const NAME: &'static str = "disk";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let name = read::attr(element, cx, "name", String::parse_value)?.ok_or_else(|| {
            error_with(
                ErrorCode::INTERNAL_ERROR,
                element,
                At::Attribute("name"),
                "which disk is not said",
            )
        })?;
        let location = read::attr(element, cx, "snapshot", SnapshotLocation::parse_value)?;
        let kind = read::attr(element, cx, "type", StorageType::parse_value)?.unwrap_or(StorageType::File);
        if matches!(kind, StorageType::Volume | StorageType::Dir) {
            return Err(error_at(
                element,
                At::Attribute("type"),
                format_args!("a snapshot is not of type '{kind}': expected 'file', 'block' or 'network'"),
            ));
        }
        let source = match element.child("source") {
            Some(child) => StorageSource::read(child, cx).map_err(moment::of_domain)?,
            None => StorageSource {
                location: StorageLocation::without_source(kind)
                    .ok_or_else(|| virt_util::xml::missing(element, At::Child("source")))?,
                ..StorageSource::default()
            },
        };
        let driver = element.joined_child_or_ghost("driver");
        let format = match driver.attr("type").filter(|word| !word.is_empty()) {
            Some(word) => Some(StorageFormat::parse_value(&word).map_err(|error| {
                let what = format!("driver type '{word}': {}", error.describe(&word));
                error_with(ErrorCode::CONFIG_UNSUPPORTED, driver, At::Attribute("type"), what)
            })?),
            None => None,
        };
        let cache = driver.joined_child_or_ghost("metadata_cache");
        let metadata_cache = read::joined_child(cache, cx, "max_size", (read::is_blank, bytes::read))?;
        let path = source_name(&source.location);
        if let Some(path) = source.location.path().filter(|path| !path.starts_with('/')) {
            let what = format!("image '{path}': expected a path from the root");
            return Err(error_at(element, At::Child("source"), what));
        }
        let said = path.is_some() || format.is_some();
        Ok(Self {
            name,
            location: location.or(said.then_some(SnapshotLocation::External)),
            delete_in_progress: element.child("snapshotDeleteInProgress").is_some(),
            format,
            metadata_cache: metadata_cache.filter(|size| *size != 0),
            source,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("name", &self.name);
        if let Some(location) = self.location {
            w.attribute("snapshot", location.as_str());
        }
        if self.has_image() {
            w.attribute("type", self.source.location.xml_tag());
        }
    }

    fn write_content(&self, w: &mut Writer) {
        if self.delete_in_progress {
            w.empty_element("snapshotDeleteInProgress");
        }
        if !self.has_image() {
            return;
        }
        write_format(w, "driver", self.format, self.metadata_cache);
        let flags = w.set_flags(XmlFlags::empty());
        self.source.write(w, false);
        w.set_flags(flags);
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("SnapshotDisk", "disk", "A disk of a snapshot." => {
            /// Name of the disk in the guest, as in `vda`, or path of its image.
            "@name" => name: value(String),
            /// Where the disk's part of the snapshot goes.
            "@snapshot" => location: value(SnapshotLocation),
            /// What holds the new image of an external snapshot.
            "@type" => storage_type: value(StorageType),
            /// Whether its deletion was begun and not ended.
            "snapshotDeleteInProgress" => delete_in_progress: flag,
            /// Format of the new image.
            "driver@type" => format: value(StorageFormat),
            /// Most bytes of metadata that are cached.
            "driver/metadata_cache/max_size" => metadata_cache: element(crate::scaled::ScaledSize),
            /// The new image.
            "source" => source: shape(crate::domain::storage::source_shape),
        })
    }
}

impl SnapshotDisk {
    /// Whether it says anything about an image of its own.
    fn has_image(&self) -> bool {
        source_name(&self.source.location).is_some() || self.format.is_some()
    }
}

impl XmlElement for Snapshot {
    const NAME: &'static str = "domainsnapshot";

    fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Self> {
        Self::from_element(element, SnapshotFlags::empty())
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        w.open_body();
        if let Some(name) = &self.name {
            w.text_element("name", name);
        }
        if let Some(description) = &self.description {
            w.text_element("description", description);
        }
        if let Some(state) = self.state {
            w.text_element("state", state.as_str());
        }
        moment::write_parent(w, self.parent.as_deref());
        if self.creation_time != 0 {
            w.text_element_with("creationTime", |out| {
                virt_util::xml::push_signed(out, self.creation_time);
            });
        }
        if let Some(memory) = &self.memory {
            memory.write(w, "memory");
        }
        for (name, disks) in [("disks", &self.disks), ("revertDisks", &self.revert_disks)] {
            if !disks.is_empty() {
                w.start(name);
                disks.iter().for_each(|disk| disk.write(w, "disk"));
                w.end(name);
            }
        }
        self.domain.write(w);
        if let Some(domain) = &self.inactive_domain {
            domain.write(w, "inactiveDomain");
        }
        if let Some(cookie) = &self.cookie {
            cookie.write(w, "cookie");
        }
        if let Some(active) = self.active {
            w.text_element("active", if active { "1" } else { "0" });
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Snapshot", "domainsnapshot", "A snapshot." => {
            /// Its name, unique in the domain; made of the time if none is said.
            "name" => name: value(String),
            /// Text for people.
            "description" => description: value(String),
            /// What the guest did when the snapshot was taken.
            "state" => state: value(SnapshotState),
            /// Name of the snapshot that it follows.
            "parent/name" => parent: value(String),
            /// When it was taken, in seconds since 1970.
            "creationTime" => creation_time: value(i64),
            /// Where the guest's memory is saved.
            "memory" => memory: element(SnapshotMemory),
            /// The disks that are part of it.
            "disks/disk" => disks: elements(SnapshotDisk),
            /// Disks as they are after going back to the snapshot.
            "revertDisks/disk" => revert_disks: elements(SnapshotDisk),
            /// The guest as it was.
            "domain" => domain: element {
                /// The guest.
                "." => guest: element(crate::domain::Domain),
            },
            /// The guest's definition for its next start, as it was.
            "inactiveDomain" => inactive_domain: element {
                /// The guest.
                "." => guest: element(crate::domain::Domain),
            },
            /// The driver's own data, as XML.
            "cookie" => cookie: opaque,
            /// Whether it is the current one: 0 or 1; in files of the driver.
            "active" => active: value(u32),
        })
    }
}

#[cfg(test)]
mod tests;
