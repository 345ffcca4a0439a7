//! The backup job: which disks of a running guest are copied, or offered to be read, and where to; `<domainbackup>` XML.

use virt_util::xml::{
    At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, XmlValue, check_root, error_at,
    error_with, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::domain::Domain;
use crate::domain::disk::Disk;
use crate::domain::storage::{HostTransport, StorageFormat, StorageLocation, StorageSource, StorageType};
use crate::moment::{has_no_medium, source_name, unsupported};

xml_enum! {
    /// Who moves the data.
    pub enum BackupMode { Push = "push", Pull = "pull" }
}

xml_enum! {
    /// How much of a disk is copied.
    pub enum BackupExtent { Full = "full", Incremental = "incremental" }
}

xml_enum! {
    /// How far a disk is.
    pub enum BackupState { Running = "running", Complete = "complete", Failed = "failed", Cancelling = "cancelling", Cancelled = "cancelled" }
}

/// A backup job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backup {
    /// Who moves the data.
    pub mode: BackupMode,
    /// The checkpoint since which changes are copied.
    pub incremental: Option<String>,
    /// Where data are offered.
    pub server: Option<BackupServer>,
    /// The disks.
    pub disks: Vec<BackupDisk>,
    /// Names of objects that the job made; in status files.
    pub objects: BackupObjects,
}

/// Where data are offered.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "server", check = BackupServer::after_read)]
pub struct BackupServer {
    /// How it is reached.
    #[xml("@transport", default, always)]
    pub transport: HostTransport,
    /// Whether the connection is encrypted.
    #[xml("@tls")]
    pub tls: Option<bool>,
    /// Name or address.
    #[xml("@name")]
    pub name: Option<String>,
    /// Number of the TCP port that NBD clients connect to.
    #[xml("@port", default, max = 65535, code = ErrorCode::INVALID_ARG, reported_by = ErrorDomain::NONE)]
    pub port: u32,
    /// Path of a unix socket.
    #[xml("@socket")]
    pub socket: Option<String>,
    /// Name of the group of file descriptors that stands for a socket.
    #[xml("@fdgroup")]
    pub fd_group: Option<String>,
}

/// Names of objects that the job made.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "objects")]
pub struct BackupObjects {
    /// The secret of the key.
    #[xml("secret", omit_empty)]
    pub secret: Option<BackupSecret>,
    /// The credentials.
    #[xml("TLSx509@alias")]
    pub tls: Option<String>,
}

/// A secret that the job made.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "secret")]
pub struct BackupSecret {
    /// What it is for.
    #[xml("@type")]
    pub kind: Option<String>,
    /// Its name.
    #[xml("@alias")]
    pub alias: Option<String>,
}

/// A disk of a backup job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackupDisk {
    /// Target of the drive.
    pub name: String,
    /// How it is copied; `None` if it is left out.
    pub job: Option<Box<DiskJob>>,
    /// How far it is; in status files.
    pub state: Option<BackupState>,
}

/// How a disk is copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskJob {
    /// The job's mode: whether the copy is written or read from.
    pub mode: BackupMode,
    /// How much of it is copied.
    pub extent: Option<BackupExtent>,
    /// The checkpoint since which changes are copied.
    pub incremental: Option<String>,
    /// Name under which it is offered.
    pub export_name: Option<String>,
    /// Name under which the bitmap of changes is offered.
    pub export_bitmap: Option<String>,
    /// Number that names the image in block jobs; in status files.
    pub index: Option<u32>,
    /// Format of the copy.
    pub format: Option<StorageFormat>,
    /// The copy, or where data are kept while they are offered.
    pub store: StorageSource,
}

impl BackupServer {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use HostTransport as T;
        let refuse = |cx: &mut Reader, at: At<'_>, what: String| cx.fail(error_at(element, at, what));
        match self.transport {
            T::Unix => {
                match &self.socket {
                    None => refuse(cx, At::Text, "transport 'unix' needs 'socket'".to_owned())?,
                    Some(socket) if !socket.starts_with('/') => {
                        let what = format!("socket '{socket}': expected a path from the root");
                        refuse(cx, At::Attribute("socket"), what)?;
                    }
                    Some(_) => {}
                }
                (self.name, self.port, self.fd_group) = (None, 0, None);
            }
            T::Tcp | T::Rdma | T::Fd if self.socket.is_some() => {
                let what = format!("'socket' is for transport 'unix', not '{}'", self.transport);
                refuse(cx, At::Attribute("socket"), what)?;
            }
            T::Tcp | T::Rdma if self.name.is_none() => {
                refuse(
                    cx,
                    At::Text,
                    format!("transport '{}' needs the 'name' of a host", self.transport),
                )?;
            }
            T::Rdma => {
                let what = "a backup is not served by transport 'rdma': expected 'tcp', 'unix' or 'fd'";
                cx.fail(error_with(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    element,
                    At::Attribute("transport"),
                    what,
                ))?;
            }
            T::Tcp => self.fd_group = None,
            T::Fd => {
                if self.fd_group.is_none() {
                    cx.fail(virt_util::xml::missing(element, At::Attribute("fdgroup")))?;
                }
                (self.name, self.port) = (None, 0);
            }
        }
        Ok(())
    }
}

impl Backup {
    /// Reads a backup job as a user says it.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_INVALID_SCHEMA` for what the schema does not allow (for this
    /// document libvirt always asks it), `XML_ERROR` and others for what is wrong.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::DOMAIN);
        let doc = Doc::parse_with(source, &options)?;
        check_root(doc.root(), "domainbackup")?;
        Self::check_schema(&doc)?;
        Self::from_element(doc.root(), XmlFlags::empty())
    }

    /// Reads a backup job as the driver keeps it.
    ///
    /// # Errors
    /// As of [`Backup::parse`], but the schema is not asked.
    pub fn parse_internal(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::DOMAIN);
        let doc = Doc::parse_with(source, &options)?;
        check_root(doc.root(), "domainbackup")?;
        Self::from_element(doc.root(), XmlFlags::STATUS)
    }

    /// Reads a backup job from its element; with `STATUS` as the driver keeps it.
    ///
    /// # Errors
    /// As of [`Backup::parse`].
    pub fn from_element(element: Element<'_>, flags: XmlFlags) -> Result<Self> {
        Self::read(element, &mut Reader::new(flags))
    }

    /// Writes the job; with `STATUS` as the driver keeps it.
    pub fn format(&self, flags: XmlFlags) -> String {
        virt_util::xml::to_string(self, flags & XmlFlags::STATUS)
    }

    /// Matches the disks with the domain's: afterwards each of the domain's is there, those in the list first. Without a
    /// list all that can be written are copied, with a list only those in it. Files that have no path are named after the
    /// domain's image and `suffix`.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for disks that the domain does not have, that stand there twice or have no medium, and where no
    /// path can be made up.
    pub fn align_disks(&mut self, domain: &Domain, suffix: &str) -> Result<()> {
        let drives = &domain.devices.disks;
        if drives.is_empty() {
            return Err(unsupported("the domain has no disk to back up"));
        }
        let all = self.disks.is_empty();
        let mut named = std::collections::HashSet::new();
        for disk in &mut self.disks {
            let name = disk.name.clone();
            let drive = drives.iter().find(|drive| drive.target.dev == name);
            let drive = drive.ok_or_else(|| unsupported(format_args!("the domain has no disk '{name}'")))?;
            if !named.insert(name.clone()) {
                return Err(unsupported(format_args!(
                    "<disk name='{name}'> stands there twice"
                )));
            }
            let Some(job) = &mut disk.job else { continue };
            let since = job.incremental.as_ref().or(self.incremental.as_ref());
            if job.extent == Some(BackupExtent::Incremental) && since.is_none() {
                return Err(unsupported(format_args!(
                    "backupmode='incremental' of disk '{name}' does not say since when: 'incremental' is missing"
                )));
            }
            if has_no_medium(drive) {
                return Err(unsupported(format_args!(
                    "disk '{name}' has no medium to back up"
                )));
            }
            name_store(&name, job, drive, suffix)?;
        }
        for drive in drives {
            let name = &drive.target.dev;
            if named.contains(name) {
                continue;
            }
            let mut disk = BackupDisk {
                name: name.clone(),
                ..BackupDisk::default()
            };
            if all && !has_no_medium(drive) && !drive.rest.read_only {
                let mut job = Box::new(DiskJob {
                    mode: self.mode,
                    ..DiskJob::default()
                });
                name_store(name, &mut job, drive, suffix)?;
                disk.job = Some(job);
            }
            self.disks.push(disk);
        }
        for job in self.disks.iter_mut().filter_map(|disk| disk.job.as_mut()) {
            let since = job.incremental.as_ref().or(self.incremental.as_ref());
            let extent = *job.extent.get_or_insert(match since {
                Some(_) => BackupExtent::Incremental,
                None => BackupExtent::Full,
            });
            if extent == BackupExtent::Incremental && job.incremental.is_none() {
                job.incremental.clone_from(&self.incremental);
            }
        }
        Ok(())
    }

    /// Refuses names and values that the document's schema does not allow.
    ///
    /// # Errors
    /// `XML_INVALID_SCHEMA`.
    pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
        crate::schema::check(doc)
    }
}

/// What the place of a copy is called.
fn store_name(mode: BackupMode) -> &'static str {
    match mode {
        BackupMode::Push => "target",
        BackupMode::Pull => "scratch",
    }
}

/// Gives a copy that has no place one beside the image.
fn name_store(name: &str, job: &mut DiskJob, drive: &Disk, suffix: &str) -> Result<()> {
    if !job.store.location.is_empty() {
        return Ok(());
    }
    let path = match (&drive.source.location, source_name(&drive.source.location)) {
        (StorageLocation::File { .. }, Some(path)) => path,
        _ => {
            return Err(unsupported(format_args!(
                "no file name follows from the image of disk '{name}': say <target> or <scratch>"
            )));
        }
    };
    job.store.location = StorageLocation::File {
        path: Some(format!("{path}.{suffix}")),
        fd_group: None,
    };
    Ok(())
}

impl XmlElement for BackupDisk {
    const NAME: &'static str = "disk";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let internal = cx.has(XmlFlags::STATUS);
        let name = read::attr(element, cx, "name", String::parse_value)?;
        let mut disk = Self {
            name: read::required(element, At::Attribute("name"), name)?,
            ..Self::default()
        };
        if read::attr(element, cx, "backup", bool::parse_value)? == Some(false) {
            return Ok(disk);
        }
        let word = element
            .parent()
            .and_then(|disks| disks.parent())
            .and_then(|root| root.attr("mode"));
        let mode = word
            .and_then(|word| BackupMode::parse_value(&word).ok())
            .unwrap_or_default();
        let push = mode == BackupMode::Push;
        if internal {
            let state = read::attr(element, cx, "state", BackupState::parse_value)?;
            disk.state = Some(read::required(element, At::Attribute("state"), state)?);
        }
        let kind = read::attr(element, cx, "type", StorageType::parse_value)?.unwrap_or(StorageType::File);
        if !matches!(kind, StorageType::File | StorageType::Block) {
            return Err(error_at(
                element,
                At::Attribute("type"),
                format_args!("a backup is not of type '{kind}': expected 'file' or 'block'"),
            ));
        }
        let mut store = match element.child(store_name(mode)) {
            Some(child) => StorageSource::read(child, cx)?,
            None => StorageSource {
                location: StorageLocation::without_source(kind).unwrap_or_default(),
                ..StorageSource::default()
            },
        };
        store.index = None;
        let text = |cx: &mut Reader, name: &'static str| read::attr(element, cx, name, String::parse_value);
        let driver = element.child_or_ghost("driver");
        disk.job = Some(Box::new(DiskJob {
            mode,
            extent: read::attr(element, cx, "backupmode", BackupExtent::parse_value)?,
            incremental: text(cx, "incremental")?,
            export_name: text(cx, "exportname")?.filter(|_| !push),
            export_bitmap: text(cx, "exportbitmap")?.filter(|_| !push),
            index: if internal {
                read::attr(element, cx, "index", |text| {
                    virt_util::xml::parse_integer(text, 10)
                })?
                .filter(|index| *index != 0)
            } else {
                None
            },
            format: read::attr(driver, cx, "type", StorageFormat::parse_value)?,
            store,
        }));
        Ok(disk)
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("name", &self.name);
        w.attribute("backup", if self.job.is_some() { "yes" } else { "no" });
        if let Some(state) = self.state.filter(|_| w.has(XmlFlags::STATUS)) {
            w.attribute("state", state.as_str());
        }
        let Some(job) = &self.job else { return };
        w.attribute("type", job.store.location.xml_tag());
        if let Some(extent) = job.extent {
            w.attribute("backupmode", extent.as_str());
        }
        let texts = [
            ("incremental", &job.incremental),
            ("exportname", &job.export_name),
            ("exportbitmap", &job.export_bitmap),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                w.attribute(name, text);
            }
        }
        if let Some(index) = job.index {
            w.attribute_with("index", |out| virt_util::xml::push_unsigned(out, index.into()));
        }
    }

    fn write_content(&self, w: &mut Writer) {
        let Some(job) = &self.job else { return };
        if let Some(format) = job.format {
            w.start("driver");
            w.attribute("type", format.as_str());
            w.end("driver");
        }
        job.store.write_named(w, store_name(job.mode), false);
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("BackupDisk", "disk", "A disk of a backup job." => {
            /// Name of the disk in the guest, as in `vda`.
            "@name" => name: value(String),
            /// Whether the disk is backed up.
            "@backup" => backup: value(bool),
            /// How far the disk's job is; in status files.
            "@state" => state: value(BackupState),
            /// What holds the copy, or the guest's writes meanwhile.
            "@type" => storage_type: value(StorageType),
            /// Whether all of the disk is copied, or what changed since a checkpoint.
            "@backupmode" => mode: value(BackupExtent),
            /// The checkpoint since which changes count.
            "@incremental" => incremental: value(String),
            /// Name of the NBD export.
            "@exportname" => export_name: value(String),
            /// Name of the exported bitmap of what changed.
            "@exportbitmap" => export_bitmap: value(String),
            /// Number that names the image in block jobs; in status files.
            "@index" => index: value(u32),
            /// Format of the image that is written.
            "driver@type" => format: value(StorageFormat),
            /// Where a pulled backup keeps what the guest overwrites.
            "scratch" => scratch: element(BackupStore),
            /// Where a pushed backup goes.
            "target" => target: element(BackupStore),
        })
    }
}

/// What the schema allows of a copy.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "target")]
struct BackupStore {
    /// Path of a file.
    #[xml("@file")]
    file: Option<String>,
    /// Path of a device.
    #[xml("@dev")]
    device: Option<String>,
    /// Security labels.
    #[xml("seclabel")]
    seclabels: Vec<crate::domain::seclabel::DeviceSeclabel>,
    /// How data are encrypted.
    #[xml("encryption")]
    encryption: Option<crate::domain::storage::Encryption>,
}

impl XmlElement for Backup {
    const NAME: &'static str = "domainbackup";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let mode = match element.attr("mode") {
            None => BackupMode::Push,
            Some(word) => BackupMode::parse_value(&word).map_err(|error| {
                let what = format!("unknown backup mode '{word}': {}", error.describe(&word));
                error_with(
                    ErrorCode::CONFIG_UNSUPPORTED,
                    element,
                    At::Attribute("mode"),
                    what,
                )
            })?,
        };
        let server = element.child("server");
        if server.is_some() && mode != BackupMode::Pull {
            return Err(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Child("server"),
                "<server> is for mode='pull'",
            ));
        }
        let mut backup = Self {
            mode,
            incremental: crate::moment::text(element, "incremental"),
            server: read::child(element, cx, "server")?,
            ..Self::default()
        };
        if let Some(disks) = element.child("disks") {
            for disk in disks.children() {
                backup.disks.push(BackupDisk::read(disk, cx)?);
            }
        }
        if cx.has(XmlFlags::STATUS) {
            let private = element.child_or_ghost("privateData");
            backup.objects = read::child(private, cx, "objects")?.unwrap_or_default();
        }
        Ok(backup)
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("mode", self.mode.as_str());
    }

    fn write_content(&self, w: &mut Writer) {
        if let Some(since) = &self.incremental {
            w.text_element("incremental", since);
        }
        if let Some(server) = &self.server {
            server.write(w, "server");
        }
        if !self.disks.is_empty() {
            w.start("disks");
            for disk in &self.disks {
                disk.write(w, "disk");
            }
            w.end("disks");
        }
        if w.has(XmlFlags::STATUS) && self.objects != BackupObjects::default() {
            w.start("privateData");
            self.objects.write(w, "objects");
            w.end("privateData");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Backup", "domainbackup", "A backup job." => {
            /// Whether the hypervisor pushes the copy, or a client pulls it over NBD.
            "@mode" => mode: value(BackupMode),
            /// The checkpoint since which changes count; without it all is copied.
            "incremental" => incremental: value(String),
            /// The NBD server of a pulled backup.
            "server" => server: element(BackupServer),
            /// The disks that are backed up.
            "disks/disk" => disks: elements(BackupDisk),
            /// Objects of the running job; in status files.
            "privateData/objects" => private_objects: element(BackupObjects),
        })
    }
}

#[cfg(test)]
mod tests;
