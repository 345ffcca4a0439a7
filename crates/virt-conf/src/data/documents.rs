//! The kinds of documents, and how each is read and written as a whole.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use virt_util::Result;
use virt_util::xml::data::{Node, element_to_data};
use virt_util::xml::{self, Doc, Element, ElementSchema, Reader, XmlElement, XmlFlags};

use crate::backup::Backup;
use crate::capabilities::Capabilities;
use crate::checkpoint::Checkpoint;
use crate::cpu::{Cpu, HostCpu};
use crate::domain::Domain;
use crate::domain_capabilities::DomainCapabilities;
use crate::interface::HostInterface;
use crate::network::{Network, NetworkPort};
use crate::node_device::NodeDevice;
use crate::nwfilter::Filter;
use crate::nwfilter_binding::FilterBinding;
use crate::secret::Secret;
use crate::snapshot::{Snapshot, SnapshotFlags};
use crate::storage_pool::StoragePool;
use crate::storage_pool::capabilities::PoolCapabilities;
use crate::storage_volume::Volume;

/// A whole document.
pub trait Document: XmlElement {
    /// Reads it from its root element.
    ///
    /// # Errors
    /// `XML_ERROR` for another root or wrong values, and what else reading the kind gives.
    fn read_document(doc: &Doc<'_>, flags: XmlFlags) -> Result<Self> {
        xml::from_doc(doc, &mut Reader::new(flags))
    }

    /// Writes it as libvirt does.
    fn write_document(&self, flags: XmlFlags) -> String {
        xml::to_string(self, flags)
    }
}

impl Document for Domain {
    fn read_document(doc: &Doc<'_>, flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root(), flags)
    }

    fn write_document(&self, flags: XmlFlags) -> String {
        self.format(flags)
    }
}

impl Document for Network {
    fn read_document(doc: &Doc<'_>, flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root(), flags)
    }
}

impl Document for NetworkPort {
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root())
    }
}

impl Document for HostInterface {
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root())
    }
}

impl Document for Filter {
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root())
    }
}

impl Document for FilterBinding {
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root())
    }
}

impl Document for Snapshot {
    /// All that a snapshot may hold is read, as where one is defined again.
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        Self::from_element(doc.root(), SnapshotFlags::all() - SnapshotFlags::OFFLINE)
    }

    fn write_document(&self, flags: XmlFlags) -> String {
        self.format(flags)
    }
}

impl Document for Checkpoint {
    /// All that a checkpoint may hold is read, as where one is defined again.
    fn read_document(doc: &Doc<'_>, _flags: XmlFlags) -> Result<Self> {
        xml::check_root(doc.root(), Self::NAME)?;
        Self::from_element(doc.root(), true)
    }
}

impl Document for Backup {}
impl Document for StoragePool {}
impl Document for PoolCapabilities {}
impl Document for Volume {}
impl Document for NodeDevice {}
impl Document for Secret {}
impl Document for Capabilities {}
impl Document for DomainCapabilities {}
impl Document for Cpu {}
impl Document for HostCpu {}

/// A kind of document, for who knows it only by its name.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name of the root element.
    pub root: &'static str,
    /// What the document is.
    pub title: &'static str,
    /// What its declarations say; several where one name stands for several kinds.
    pub schemas: fn() -> Vec<&'static ElementSchema>,
    /// Reads it and makes data of it.
    pub to_data: fn(&Doc<'_>, XmlFlags) -> Result<Node>,
    /// Reads it and writes it again.
    pub rewrite: fn(&Doc<'_>, XmlFlags) -> Result<String>,
    /// Reads it from data and writes it. Errors call the source by the name.
    pub from_data: fn(&Node, XmlFlags, &str) -> Result<String>,
}

/// All kinds of documents.
pub const FORMATS: &[Format] = &[
    format::<Domain>("domain", "Domain"),
    format::<Snapshot>("domainsnapshot", "Domain snapshot"),
    format::<Checkpoint>("domaincheckpoint", "Domain checkpoint"),
    format::<Backup>("domainbackup", "Domain backup"),
    format::<Network>("network", "Network"),
    format::<NetworkPort>("networkport", "Network port"),
    format::<HostInterface>("interface", "Host interface"),
    format::<Filter>("filter", "Network filter"),
    format::<FilterBinding>("filterbinding", "Network filter binding"),
    format::<StoragePool>("pool", "Storage pool"),
    format::<PoolCapabilities>("storagepoolCapabilities", "Storage pool capabilities"),
    format::<Volume>("volume", "Storage volume"),
    format::<NodeDevice>("device", "Node device"),
    format::<Secret>("secret", "Secret"),
    format::<Capabilities>("capabilities", "Capabilities of a host"),
    format::<DomainCapabilities>("domainCapabilities", "Domain capabilities"),
    CPU,
];

/// A guest's CPU and a host's have one name for their root; only a host's tells its architecture.
const CPU: Format = Format {
    root: "cpu",
    title: "CPU",
    schemas: || vec![Cpu::schema(), HostCpu::schema()],
    to_data: |doc, flags| match is_host(doc.root()) {
        true => data_of::<HostCpu>(doc, flags),
        false => data_of::<Cpu>(doc, flags),
    },
    rewrite: |doc, flags| match is_host(doc.root()) {
        true => rewritten::<HostCpu>(doc, flags),
        false => rewritten::<Cpu>(doc, flags),
    },
    from_data: |node, flags, name| match node.get("arch").is_some() {
        true => written::<HostCpu>(node, flags, name),
        false => written::<Cpu>(node, flags, name),
    },
};

fn is_host(cpu: Element<'_>) -> bool {
    cpu.child("arch").is_some()
}

const fn format<T: Document>(root: &'static str, title: &'static str) -> Format {
    Format {
        root,
        title,
        schemas: || vec![T::schema()],
        to_data: data_of::<T>,
        rewrite: rewritten::<T>,
        from_data: written::<T>,
    }
}

fn data_of<T: Document>(doc: &Doc<'_>, flags: XmlFlags) -> Result<Node> {
    let (read, write) = sides(flags);
    let text = T::read_document(doc, read)?.write_document(write);
    element_to_data(Doc::parse(&text)?.root(), T::schema())
}

fn rewritten<T: Document>(doc: &Doc<'_>, flags: XmlFlags) -> Result<String> {
    let (read, write) = sides(flags);
    Ok(T::read_document(doc, read)?.write_document(write))
}

fn written<T: Document>(node: &Node, flags: XmlFlags, name: &str) -> Result<String> {
    let (read, write) = sides(flags);
    Ok(super::from_data::<T>(node, read, name)?.write_document(write))
}

/// What of the flags is about reading, and what about writing.
fn sides(flags: XmlFlags) -> (XmlFlags, XmlFlags) {
    (flags - XmlFlags::SECURE - XmlFlags::MIGRATABLE, flags)
}

fn serialize<S: Serializer>(node: Result<Node>, serializer: S) -> Result<S::Ok, S::Error> {
    node.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

macro_rules! serde_documents {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(super::to_data(self, XmlFlags::SECURE), serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let node = Node::deserialize(deserializer)?;
                let read = super::from_data(&node, XmlFlags::empty(), stringify!($name));
                read.map_err(|error| serde::de::Error::custom(error.detail()))
            }
        }
    )*};
}

serde_documents!(
    Domain Snapshot Checkpoint Backup Network NetworkPort HostInterface Filter FilterBinding StoragePool
    PoolCapabilities Volume NodeDevice Secret Cpu HostCpu Capabilities DomainCapabilities
);
