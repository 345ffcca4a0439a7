//! VirtualBox's machine files (`.vbox`), as far as snapshots are concerned: the tree of snapshots, and the registry of
//! media with the images that stand on one another. All else is kept as it is.
//!
//! libvirt edits these files itself to write a snapshot anew, since VirtualBox has no call for it.
//! [`Machine::parse`] reads, [`Machine::format`] writes; between them snapshots and hard disks are added and removed.

use virt_util::uuid::Uuid;
use virt_util::xml::{Doc, DocOptions, Element, RawAttribute, RawElement, RawNode};
use virt_util::{ErrorCode, Result, VirtError};

/// The namespace of the files.
const NAMESPACE: &str = "http://www.innotek.de/VirtualBox-settings";
/// The version of the settings that is written.
const VERSION: &str = "1.12-linux";
const WARNING: &str = "WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE\n\
                       OVERWRITTEN AND LOST.\n\
                       Changes to this xml configuration should be made using Virtualbox\n\
                       or other application using the libvirt API";

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Its UUID, in braces.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// The snapshot that its present state follows.
    pub current_snapshot: Option<Uuid>,
    /// Where images of snapshots are.
    pub snapshot_folder: String,
    /// Whether it changed since the current snapshot.
    pub current_state_modified: bool,
    /// When it last changed state, as VirtualBox says it.
    pub last_state_change: String,
    /// Its media.
    pub media: MediaRegistry,
    /// Its hardware.
    pub hardware: RawElement,
    /// What programs keep with it.
    pub extra_data: Option<RawElement>,
    /// Its storage controllers with what is attached to them.
    pub storage_controllers: RawElement,
    /// The first snapshot.
    pub snapshot: Option<Snapshot>,
}

/// The media that a machine knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaRegistry {
    /// Hard disks that stand on no other.
    pub disks: Vec<HardDisk>,
    /// Other media.
    pub other: Vec<RawElement>,
}

/// A hard disk's image.
#[derive(Clone, Debug, PartialEq)]
pub struct HardDisk {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its path.
    pub location: String,
    /// Its format: `VDI` …
    pub format: String,
    /// How it takes part in snapshots: `Normal` …
    pub kind: Option<String>,
    /// The images that stand on it.
    pub children: Vec<HardDisk>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// When it was made, as VirtualBox says it.
    pub time: String,
    /// Text for people.
    pub description: Option<String>,
    /// The hardware at that time.
    pub hardware: RawElement,
    /// The storage controllers at that time.
    pub storage_controllers: RawElement,
    /// The snapshots that follow.
    pub children: Vec<Snapshot>,
}

fn broken(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

fn internal(what: impl std::fmt::Display) -> VirtError {
    VirtError::internal(what)
}

impl Machine {
    /// Reads a machine file, in UTF-8 or ISO-8859-1. Relative paths of hard disks are put behind `folder`.
    ///
    /// # Errors
    /// `XML_DETAIL` if it is not well formed, `XML_ERROR` for what is missing or wrong.
    pub fn parse(bytes: &[u8], folder: &str, name: &str) -> Result<Self> {
        let text = decode(bytes)?;
        let doc = Doc::parse_with(&text, &DocOptions::named(name))?;
        let machine = child(doc.root(), "Machine").ok_or_else(|| broken("no <Machine> in <VirtualBox>"))?;
        let current_snapshot = match machine.attr("currentSnapshot") {
            Some(text) => Some(uuid(&text, "Machine", "currentSnapshot")?),
            None => None,
        };
        Ok(Self {
            uuid: required(machine, "uuid")?,
            name: required(machine, "name")?,
            current_snapshot,
            snapshot_folder: required(machine, "snapshotFolder")?,
            current_state_modified: machine.attr("currentStateModified").as_deref() == Some("true"),
            last_state_change: required(machine, "lastStateChange")?,
            hardware: part(machine, "Hardware")?,
            extra_data: child(machine, "ExtraData").map(copy),
            storage_controllers: part(machine, "StorageControllers")?,
            media: MediaRegistry::read(
                child(machine, "MediaRegistry").ok_or_else(|| broken("no <MediaRegistry> in <Machine>"))?,
                folder,
            )?,
            snapshot: child(machine, "Snapshot").map(Snapshot::read).transpose()?,
        })
    }

    /// Writes the machine file, in ISO-8859-1 as VirtualBox's own tools did.
    ///
    /// # Errors
    /// `XML_ERROR` for times without a date and a time of day.
    pub fn format(&self) -> Result<Vec<u8>> {
        let mut machine = RawElement::new("Machine");
        set(&mut machine, "uuid", &self.uuid);
        set(&mut machine, "name", &self.name);
        if let Some(current) = &self.current_snapshot {
            set(&mut machine, "currentSnapshot", &braced(current));
        }
        set(&mut machine, "snapshotFolder", &self.snapshot_folder);
        let modified = if self.current_state_modified {
            "true"
        } else {
            "false"
        };
        set(&mut machine, "currentStateModified", modified);
        set(&mut machine, "OSType", "Other");
        set(&mut machine, "lastStateChange", &time(&self.last_state_change)?);
        add(&mut machine, self.media.to_element());
        add(&mut machine, self.hardware.clone());
        if let Some(data) = &self.extra_data {
            add(&mut machine, data.clone());
        }
        add(&mut machine, self.storage_controllers.clone());
        if let Some(snapshot) = &self.snapshot {
            add(&mut machine, snapshot.to_element()?);
        }
        let mut root = RawElement::new("VirtualBox");
        set(&mut root, "version", VERSION);
        set(&mut root, "xmlns", NAMESPACE);
        add(&mut root, machine);
        let mut text = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<!--{WARNING}-->\n");
        root.dump(&mut text, 0);
        text.push('\n');
        Ok(encode(&text))
    }

    /// The snapshot of that name.
    pub fn snapshot_by_name(&self, name: &str) -> Option<&Snapshot> {
        self.snapshot.as_ref()?.find(&|snapshot| snapshot.name == name)
    }

    /// Whether that is the snapshot that the present state follows.
    ///
    /// # Errors
    /// `NO_DOMAIN_SNAPSHOT` if there is none of that name.
    pub fn is_current(&self, name: &str) -> Result<bool> {
        let snapshot = self.snapshot_by_name(name).ok_or_else(|| {
            VirtError::new(
                ErrorCode::NO_DOMAIN_SNAPSHOT,
                format_args!("no snapshot '{name}' in machine '{}'", self.name),
            )
        })?;
        Ok(self.current_snapshot == Some(snapshot.uuid))
    }

    /// Adds a snapshot behind the one named `parent`; without a parent as the first.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is a first one already, or no such parent.
    pub fn add_snapshot(&mut self, snapshot: Snapshot, parent: Option<&str>) -> Result<()> {
        match (parent, &mut self.snapshot) {
            (None, Some(first)) => Err(internal(format_args!(
                "snapshot '{}' needs a parent: the first one is '{}'",
                snapshot.name, first.name
            ))),
            (None, none) => {
                *none = Some(snapshot);
                Ok(())
            }
            (Some(parent), first) => {
                let found = first.as_mut().and_then(|first| first.find_mut(parent));
                let found = found.ok_or_else(|| {
                    internal(format_args!("no snapshot '{parent}' in machine '{}'", self.name))
                })?;
                found.children.push(snapshot);
                Ok(())
            }
        }
    }

    /// Removes a snapshot that no other follows.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none of that name, or others follow it.
    pub fn remove_snapshot(&mut self, name: &str) -> Result<Snapshot> {
        let snapshot = self
            .snapshot_by_name(name)
            .ok_or_else(|| internal(format_args!("no snapshot '{name}' in machine '{}'", self.name)))?;
        if !snapshot.children.is_empty() {
            return Err(internal(format_args!(
                "snapshot '{name}' has children, the first is '{}': delete them before",
                snapshot.children.first().map_or("", |child| child.name.as_str())
            )));
        }
        let removed = match &mut self.snapshot {
            Some(first) if first.name != name => first.remove(name),
            first => first.take(),
        };
        removed.ok_or_else(|| internal(format_args!("no snapshot '{name}' in machine '{}'", self.name)))
    }
}

impl MediaRegistry {
    fn read(element: Element<'_>, folder: &str) -> Result<Self> {
        let mut media = Self::default();
        for medium in element.children() {
            if medium.name() == "HardDisks" {
                for disk in medium.children().filter(|disk| disk.name() == "HardDisk") {
                    media.disks.push(HardDisk::read(disk, folder)?);
                }
            } else {
                media.other.push(copy(medium));
            }
        }
        Ok(media)
    }

    fn to_element(&self) -> RawElement {
        let mut media = RawElement::new("MediaRegistry");
        for other in &self.other {
            add(&mut media, other.clone());
        }
        let mut disks = RawElement::new("HardDisks");
        for disk in &self.disks {
            add(&mut disks, disk.to_element());
        }
        add(&mut media, disks);
        media
    }

    /// The hard disk at that path.
    pub fn by_location(&self, location: &str) -> Option<&HardDisk> {
        self.disks
            .iter()
            .find_map(|disk| disk.find(&|disk| disk.location == location))
    }

    /// The hard disk at that path, what it stands on, and so on down to the one that stands on nothing.
    pub fn ancestry(&self, location: &str) -> Vec<&HardDisk> {
        let mut found = Vec::new();
        for disk in &self.disks {
            if disk.ancestry(location, &mut found) {
                break;
            }
        }
        found
    }

    /// Adds a hard disk that stands on another.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if that is not there.
    pub fn add(&mut self, disk: HardDisk, parent: Uuid) -> Result<()> {
        let found = self.disks.iter_mut().find_map(|disk| disk.find_mut(parent));
        let found = found.ok_or_else(|| internal(format_args!("no hard disk with uuid {parent}")))?;
        found.children.push(disk);
        Ok(())
    }

    /// Removes a hard disk, and what stands on it.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if it is not there.
    pub fn remove(&mut self, uuid: Uuid) -> Result<HardDisk> {
        take_disk(&mut self.disks, uuid)
            .ok_or_else(|| internal(format_args!("no hard disk with uuid {uuid}")))
    }

    /// Removes the images that libvirt puts on others while it writes snapshots anew.
    pub fn remove_fake_disks(&mut self) {
        remove_fakes(&mut self.disks);
    }
}

fn take_disk(disks: &mut Vec<HardDisk>, uuid: Uuid) -> Option<HardDisk> {
    match disks.iter().position(|disk| disk.uuid == uuid) {
        Some(at) => Some(disks.remove(at)),
        None => disks
            .iter_mut()
            .find_map(|disk| take_disk(&mut disk.children, uuid)),
    }
}

fn remove_fakes(disks: &mut Vec<HardDisk>) {
    disks.retain(|disk| !disk.location.contains("fake"));
    disks.iter_mut().for_each(|disk| remove_fakes(&mut disk.children));
}

impl HardDisk {
    fn read(element: Element<'_>, folder: &str) -> Result<Self> {
        let location = required(element, "location")?;
        Ok(Self {
            uuid: uuid(&required(element, "uuid")?, "HardDisk", "uuid")?,
            location: if location.starts_with('/') {
                location
            } else {
                format!("{folder}{location}")
            },
            format: required(element, "format")?,
            kind: element.attr("type").map(std::borrow::Cow::into_owned),
            children: element
                .children()
                .filter(|child| child.name() == "HardDisk")
                .map(|child| Self::read(child, folder))
                .collect::<Result<_>>()?,
        })
    }

    fn to_element(&self) -> RawElement {
        let mut element = RawElement::new("HardDisk");
        set(&mut element, "uuid", &braced(&self.uuid));
        set(&mut element, "location", &self.location);
        set(&mut element, "format", &self.format);
        if let Some(kind) = &self.kind {
            set(&mut element, "type", kind);
        }
        for child in &self.children {
            add(&mut element, child.to_element());
        }
        element
    }

    fn find(&self, wanted: &dyn Fn(&Self) -> bool) -> Option<&Self> {
        if wanted(self) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(wanted))
    }

    fn find_mut(&mut self, uuid: Uuid) -> Option<&mut Self> {
        if self.uuid == uuid {
            return Some(self);
        }
        self.children.iter_mut().find_map(|child| child.find_mut(uuid))
    }

    fn ancestry<'d>(&'d self, location: &str, found: &mut Vec<&'d Self>) -> bool {
        let here =
            self.location == location || self.children.iter().any(|child| child.ancestry(location, found));
        if here {
            found.push(self);
        }
        here
    }
}

impl Snapshot {
    fn read(element: Element<'_>) -> Result<Self> {
        let children = child(element, "Snapshots")
            .into_iter()
            .flat_map(|list| list.children());
        Ok(Self {
            uuid: uuid(&required(element, "uuid")?, "Snapshot", "uuid")?,
            name: required(element, "name")?,
            time: required(element, "timeStamp")?,
            description: child(element, "Description").map(|child| child.text().into_owned()),
            hardware: part(element, "Hardware")?,
            storage_controllers: part(element, "StorageControllers")?,
            children: children
                .filter(|child| child.name() == "Snapshot")
                .map(Self::read)
                .collect::<Result<_>>()?,
        })
    }

    fn to_element(&self) -> Result<RawElement> {
        let mut element = RawElement::new("Snapshot");
        set(&mut element, "uuid", &braced(&self.uuid));
        set(&mut element, "name", &self.name);
        set(&mut element, "timeStamp", &time(&self.time)?);
        if let Some(text) = &self.description {
            let mut description = RawElement::new("Description");
            description.children.push(RawNode::Text(text.clone()));
            add(&mut element, description);
        }
        add(&mut element, self.hardware.clone());
        add(&mut element, self.storage_controllers.clone());
        if !self.children.is_empty() {
            let mut list = RawElement::new("Snapshots");
            for child in &self.children {
                add(&mut list, child.to_element()?);
            }
            add(&mut element, list);
        }
        Ok(element)
    }

    fn find(&self, wanted: &dyn Fn(&Self) -> bool) -> Option<&Self> {
        if wanted(self) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(wanted))
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter_mut().find_map(|child| child.find_mut(name))
    }

    fn remove(&mut self, name: &str) -> Option<Self> {
        match self.children.iter().position(|child| child.name == name) {
            Some(at) => Some(self.children.remove(at)),
            None => self.children.iter_mut().find_map(|child| child.remove(name)),
        }
    }
}

/// A child in VirtualBox's namespace.
fn child<'d>(element: Element<'d>, name: &str) -> Option<Element<'d>> {
    element.child_in(NAMESPACE, name)
}

fn required(element: Element<'_>, name: &str) -> Result<String> {
    element
        .attr(name)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| broken(format_args!("<{}> has no attribute '{name}'", element.name())))
}

fn part(element: Element<'_>, name: &str) -> Result<RawElement> {
    child(element, name)
        .map(copy)
        .ok_or_else(|| broken(format_args!("<{}> has no <{name}>", element.name())))
}

/// A subtree, without the namespace that the whole file has.
fn copy(element: Element<'_>) -> RawElement {
    let mut copy = RawElement::copy(element);
    copy.declarations
        .retain(|(prefix, uri)| !(prefix.is_empty() && uri == NAMESPACE));
    copy
}

/// The UUID in braces, wherever in the text it stands.
fn uuid(text: &str, element: &str, attribute: &str) -> Result<Uuid> {
    let found =
        (0..text.len()).find_map(|at| text.get(at..at + 36).and_then(|text| Uuid::parse_str(text).ok()));
    found.ok_or_else(|| {
        broken(format_args!(
            "attribute '{attribute}' of <{element}> holds no UUID: '{text}'"
        ))
    })
}

fn braced(uuid: &Uuid) -> String {
    format!("{{{}}}", uuid.hyphenated())
}

/// A time as the files have it: the first date and the first time of day in the text.
fn time(text: &str) -> Result<String> {
    let shaped = |shape: &str| {
        (0..text.len()).find_map(|at| {
            let part = text.get(at..at + shape.len())?;
            let fits = part.bytes().zip(shape.bytes()).all(|(byte, want)| match want {
                b'0' => byte.is_ascii_digit(),
                want => byte == want,
            });
            fits.then_some(part)
        })
    };
    match (shaped("0000-00-00"), shaped("00:00:00")) {
        (Some(date), Some(time)) => Ok(format!("{date}T{time}Z")),
        _ => Err(broken(format_args!("'{text}' holds no date and time"))),
    }
}

fn set(element: &mut RawElement, name: &str, value: &str) {
    element.attributes.push(RawAttribute {
        name: name.to_owned(),
        namespace: String::new(),
        value: value.to_owned(),
    });
}

fn add(element: &mut RawElement, child: RawElement) {
    element.children.push(RawNode::Element(child));
}

/// The text of a file in UTF-8 or ISO-8859-1, without its XML declaration.
fn decode(bytes: &[u8]) -> Result<String> {
    let end = bytes
        .strip_prefix(b"<?xml".as_slice())
        .and_then(|rest| rest.windows(2).position(|pair| pair == b"?>"));
    let (head, body) = bytes.split_at(end.map_or(0, |at| at + "<?xml?>".len()));
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let latin = ["iso-8859-1", "latin1", "latin-1"]
        .iter()
        .any(|name| head.contains(name));
    if latin {
        return Ok(body.iter().map(|byte| char::from(*byte)).collect());
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(VirtError::new(
            ErrorCode::XML_DETAIL,
            "the machine file is neither UTF-8 nor says that it is ISO-8859-1",
        )),
    }
}

/// In ISO-8859-1. What the formatter wrote as a reference because it knew no encoding becomes the character again.
fn encode(text: &str) -> Vec<u8> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("&#x") {
        plain.push_str(before);
        let reference = behind.split_once(';').and_then(|(digits, rest)| {
            let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
            (!c.is_ascii()).then_some((c, rest))
        });
        rest = match reference {
            Some((c, rest)) => {
                plain.push(c);
                rest
            }
            None => {
                plain.push_str("&#x");
                behind
            }
        };
    }
    plain.push_str(rest);
    let mut bytes = Vec::with_capacity(plain.len());
    for c in plain.chars() {
        match u8::try_from(c) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(format!("&#{};", u32::from(c)).into_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>
<VirtualBox version=\"1.12-linux\" xmlns=\"http://www.innotek.de/VirtualBox-settings\">
  <Machine uuid=\"{74864f52-a7b7-4172-a7a5-54b6f3e9cd21}\" name=\"m\" snapshotFolder=\"Snapshots\" lastStateChange=\"2014-05-15 11:49:46.000\">
    <MediaRegistry>
      <HardDisks>
        <HardDisk uuid=\"{105122e9-f6d2-42c1-9c11-c01699c79517}\" location=\"a.vdi\" format=\"VDI\" type=\"Normal\"/>
      </HardDisks>
    </MediaRegistry>
    <Hardware version=\"2\"/>
    <StorageControllers/>
  </Machine>
</VirtualBox>
";

    fn snapshot(name: &str) -> Snapshot {
        Snapshot {
            uuid: Uuid::from_u128(1),
            name: name.to_owned(),
            time: "2014-05-15T11:49:46Z".to_owned(),
            description: Some("a<b".to_owned()),
            hardware: RawElement::new("Hardware"),
            storage_controllers: RawElement::new("StorageControllers"),
            children: Vec::new(),
        }
    }

    #[test]
    fn snapshots_and_disks_come_and_go() {
        let mut machine = Machine::parse(FILE.as_bytes(), "/m/", "m").unwrap();
        let base = machine.media.by_location("/m/a.vdi").unwrap().uuid;
        let child = HardDisk {
            uuid: Uuid::from_u128(7),
            location: "/m/b-fakedisk.vdi".to_owned(),
            format: "VDI".to_owned(),
            kind: None,
            children: Vec::new(),
        };
        machine.media.add(child, base).unwrap();
        assert_eq!(machine.media.ancestry("/m/b-fakedisk.vdi").len(), 2);
        machine.add_snapshot(snapshot("one"), None).unwrap();
        machine.add_snapshot(snapshot("two"), Some("one")).unwrap();
        assert!(machine.add_snapshot(snapshot("three"), None).is_err());
        assert!(machine.remove_snapshot("one").is_err());
        let text = machine.format().unwrap();
        assert_eq!(Machine::parse(&text, "", "m").unwrap().format().unwrap(), text);
        machine.remove_snapshot("two").unwrap();
        machine.remove_snapshot("one").unwrap();
        machine.media.remove_fake_disks();
        assert!(machine.media.by_location("/m/b-fakedisk.vdi").is_none());
        machine.media.remove(base).unwrap();
        assert!(machine.media.remove(base).is_err());
        assert!(!machine.is_current("one").is_ok_and(|current| current));
    }

    #[test]
    fn other_letters() {
        let file = FILE.replace("name=\"m\"", "name=\"gr\u{fc}n\"");
        let machine = Machine::parse(&encode(&file), "", "m").unwrap();
        assert_eq!(machine.name, "grün");
        let mut machine = machine;
        machine.name = "→".to_owned();
        let text = machine.format().unwrap();
        assert!(String::from_utf8_lossy(&text).contains("name=\"&#8594;\""));
        assert_eq!(Machine::parse(&text, "", "m").unwrap().name, "→");
    }

    #[test]
    fn what_is_missing() {
        for gone in [
            "uuid=\"{105122e9-f6d2-42c1-9c11-c01699c79517}\"",
            "location=\"a.vdi\"",
            "format=\"VDI\"",
            "snapshotFolder=\"Snapshots\"",
            "<Hardware version=\"2\"/>",
            "<StorageControllers/>",
        ] {
            assert!(
                Machine::parse(FILE.replace(gone, "").as_bytes(), "", "m").is_err(),
                "{gone}"
            );
        }
        assert!(Machine::parse(b"<VirtualBox/>", "", "m").is_err());
        assert!(Machine::parse(b"\xff", "", "m").is_err());
    }
}
