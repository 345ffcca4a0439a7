//! The domain checkpoint: a point in time from which on changes of a guest's disks are recorded, so that backups can be
//! incremental; `<domaincheckpoint>` XML.

use virt_util::uuid::Uuid;
use virt_util::xml::{
    At, Doc, DocOptions, Element, Reader, Writer, Xml, XmlElement, XmlFlags, check_root, error_at,
    error_with, read,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::domain::Domain;
use crate::domain::normalize::{DomainHooks, NormalizeContext};
use crate::moment::{self, MomentDomain, has_no_medium, unsupported};

bitflags::bitflags! {
    /// How a checkpoint is written.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CheckpointFormat: u32 {
        /// Secrets of the domain are written.
        const SECURE = 1 << 0;
        /// The domain is left out.
        const NO_DOMAIN = 1 << 1;
        /// How much of each disk changed is written.
        const SIZE = 1 << 2;
    }
}

xml_enum! {
    /// How changes of a disk are recorded.
    pub enum CheckpointKind { Bitmap = "bitmap", No = "no" }
}

/// A checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Its name; none until it is [completed](Checkpoint::complete).
    pub name: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// The checkpoint it follows.
    pub parent: Option<String>,
    /// Seconds since the epoch; 0 if it is not known.
    pub creation_time: i64,
    /// Its disks.
    pub disks: Vec<CheckpointDisk>,
    /// The domain.
    pub domain: MomentDomain,
}

/// A disk of a checkpoint.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "disk")]
pub struct CheckpointDisk {
    /// Target of the drive; in requests also the path of its image.
    #[xml("@name")]
    pub name: String,
    /// How its changes are recorded.
    #[xml("@checkpoint", default, always)]
    pub kind: CheckpointKind,
    /// The bitmap with the changes.
    #[xml("@bitmap")]
    pub bitmap: Option<String>,
    /// Bytes that changed since; only ever written.
    #[xml("@size", read_when = false, when = self.bitmap.is_some())]
    pub size: Option<u64>,
}

impl Checkpoint {
    /// Reads a checkpoint from text. One that is `redefine`d was written before: it knows its time, parent and domain.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `XML_INVALID_SCHEMA` for what the schema does not allow (for this
    /// document libvirt always asks it), `XML_ERROR` and others for what is wrong.
    pub fn parse(source: &str, redefine: bool, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::DOMAIN_CHECKPOINT);
        let doc = Doc::parse_with(source, &options)?;
        let root = doc.root();
        check_root(root, "domaincheckpoint")?;
        Self::check_schema(&doc)?;
        Self::from_element(root, redefine)
            .map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN_CHECKPOINT))
    }

    pub(crate) fn from_element(element: Element<'_>, redefine: bool) -> Result<Self> {
        let cx = &mut Reader::new(XmlFlags::INACTIVE);
        let mut checkpoint = Self {
            name: moment::text(element, "name"),
            description: moment::text(element, "description"),
            ..Self::default()
        };
        if redefine {
            if checkpoint.name.is_none() {
                return Err(error_at(
                    element,
                    At::Child("name"),
                    "a checkpoint that existed before needs its name",
                ));
            }
            checkpoint.creation_time = moment::creation_time(element).ok_or_else(|| {
                error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Child("creationTime"),
                    "a checkpoint that existed before needs the time of its making",
                )
            })?;
            checkpoint.parent = moment::parent_name(element);
            checkpoint.domain = MomentDomain::read(element)?;
        }
        let disks = element.child_or_ghost("disks");
        checkpoint.disks = read::children(disks, cx, "disk")?;
        Ok(checkpoint)
    }

    /// Completes the definition inside, as a definition of the driver.
    ///
    /// # Errors
    /// As for domains.
    pub fn normalize(&mut self, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
        self.domain.normalize(hooks, cx)
    }

    /// A new checkpoint gets the time, in seconds since the epoch, and, without a name, is named after it.
    pub fn complete(&mut self, now: i64) {
        self.creation_time = now;
        self.name.get_or_insert_with(|| now.to_string());
    }

    /// Writes the checkpoint.
    pub fn format(&self, format: CheckpointFormat) -> String {
        let mut w = Writer::new(moment::domain_flags(format.contains(CheckpointFormat::SECURE)));
        w.start("domaincheckpoint");
        self.write_parts(&mut w, format);
        w.end("domaincheckpoint");
        w.finish()
    }

    fn write_parts(&self, w: &mut Writer, format: CheckpointFormat) {
        w.open_body();
        if let Some(name) = &self.name {
            w.text_element("name", name);
        }
        if let Some(description) = &self.description {
            w.text_element("description", description);
        }
        moment::write_parent(w, self.parent.as_deref());
        if self.creation_time != 0 {
            w.text_element_with("creationTime", |out| {
                virt_util::xml::push_signed(out, self.creation_time);
            });
        }
        if !self.disks.is_empty() {
            w.start("disks");
            for disk in &self.disks {
                if format.contains(CheckpointFormat::SIZE) {
                    disk.write(w, "disk");
                } else {
                    CheckpointDisk {
                        size: None,
                        ..disk.clone()
                    }
                    .write(w, "disk");
                }
            }
            w.end("disks");
        }
        if !format.contains(CheckpointFormat::NO_DOMAIN)
            && let Some(domain) = self.domain.definition()
        {
            domain.write(w, "domain");
        }
    }

    /// Matches the disks with those of the domain inside: afterwards there is one for each of the domain's, in the domain's
    /// order. Without a list all that can be written take part, with a list only those in it.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for disks that the domain does not have, that stand there twice, or cannot change.
    pub fn align_disks(&mut self) -> Result<()> {
        let domain = self
            .domain
            .definition()
            .ok_or_else(|| VirtError::internal("the checkpoint has no definition of its domain"))?;
        self.disks = self.aligned(domain)?;
        self.name_bitmaps();
        Ok(())
    }

    fn aligned(&self, domain: &Domain) -> Result<Vec<CheckpointDisk>> {
        let drives = &domain.devices.disks;
        if self.disks.len() > drives.len() {
            return Err(unsupported(format_args!(
                "the checkpoint has {} disks, the domain {}",
                self.disks.len(),
                drives.len()
            )));
        }
        if drives.is_empty() {
            return Err(unsupported("the domain has no disk for a checkpoint"));
        }
        let default = if self.disks.is_empty() {
            CheckpointKind::Bitmap
        } else {
            CheckpointKind::No
        };
        let mut all: Vec<CheckpointDisk> = drives
            .iter()
            .map(|drive| CheckpointDisk {
                name: drive.target.dev.clone(),
                kind: if has_no_medium(drive) || drive.rest.read_only {
                    CheckpointKind::No
                } else {
                    default
                },
                ..CheckpointDisk::default()
            })
            .collect();
        let places = moment::match_disks(domain, self.disks.iter().map(|disk| disk.name.as_str()))?;
        for (disk, at) in self.disks.iter().zip(places) {
            let (Some(drive), Some(place)) = (drives.get(at), all.get_mut(at)) else {
                continue;
            };
            let fixed = has_no_medium(drive) || drive.rest.read_only;
            if fixed && disk.kind != CheckpointKind::No {
                return Err(unsupported(format_args!(
                    "disk '{}' is empty or read-only, and cannot change after a checkpoint",
                    disk.name
                )));
            }
            *place = CheckpointDisk {
                name: std::mem::take(&mut place.name),
                ..disk.clone()
            };
        }
        Ok(all)
    }

    /// Bitmaps that have no name are named after the checkpoint.
    fn name_bitmaps(&mut self) {
        let name = self.name.clone().unwrap_or_default();
        for disk in &mut self.disks {
            if disk.kind == CheckpointKind::Bitmap && disk.bitmap.is_none() {
                disk.bitmap = Some(name.clone());
            }
        }
    }

    /// Prepares a checkpoint that is written anew for the domain it belongs to.
    ///
    /// # Errors
    /// `INVALID_ARG` for another domain's, and those of [`Checkpoint::align_disks`].
    pub fn prepare_redefine(&mut self, domain_uuid: Uuid) -> Result<()> {
        match self.domain.definition() {
            Some(domain) if domain.uuid != Some(domain_uuid) => Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "checkpoint '{}' is of another domain: expected the uuid {domain_uuid}",
                    self.name.as_deref().unwrap_or_default()
                ),
            )),
            Some(_) => self.align_disks(),
            None => {
                self.name_bitmaps();
                Ok(())
            }
        }
    }

    /// Refuses names and values that the document's schema does not allow.
    ///
    /// # Errors
    /// `XML_INVALID_SCHEMA`.
    pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
        crate::schema::check(doc)
    }
}

impl XmlElement for Checkpoint {
    const NAME: &'static str = "domaincheckpoint";

    fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Self> {
        Self::from_element(element, false)
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        self.write_parts(w, CheckpointFormat::all());
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("Checkpoint", "domaincheckpoint", "A checkpoint." => {
            /// Its name, unique in the domain; made of the time if none is said.
            "name" => name: value(String),
            /// Text for people.
            "description" => description: value(String),
            /// Name of the checkpoint that it follows.
            "parent/name" => parent: value(String),
            /// When it was made, in seconds since 1970.
            "creationTime" => creation_time: value(i64),
            /// The disks whose changes it counts.
            "disks/disk" => disks: elements(CheckpointDisk),
            /// The guest as it was.
            "domain" => domain: element {
                /// The guest.
                "." => guest: element(Domain),
            },
        })
    }
}

#[cfg(test)]
mod tests;
