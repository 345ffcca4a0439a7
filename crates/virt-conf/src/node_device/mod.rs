//! `<device>`: a device of the host, as node device drivers show it.
//!
//! | module | capabilities |
//! |---|---|
//! | [`pci`] | PCI functions: virtual functions, IOMMU group, PCI Express links, vital product data |
//! | [`mdev`] | mediated devices, and the types that a parent offers |
//! | [`bus`] | USB, network, SCSI, block devices, graphics and others |
//! | [`s390`] | channel devices and crypto cards of s390 |
//!
//! What the host says for itself (driver, parent's address, sizes in blocks) is written and, as in libvirt, not read.

pub mod bus;
pub mod mdev;
pub mod pci;
pub mod s390;

use virt_util::xml::{self, At, DocOptions, Element, Reader, Writer, Xml, XmlFlags, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use self::bus::{
    DrmDevice, NetDevice, ScsiDevice, ScsiGenericDevice, ScsiHost, ScsiTarget, StorageDevice, SystemDevice,
    UsbDevice, UsbInterface, VdpaDevice,
};
use self::mdev::MdevDevice;
use self::pci::PciDevice;
use self::s390::{ApCard, ApMatrix, ApQueue, CcwDevice, CcwGroup, CssDevice};
use crate::domain::normalize::Randomness;

/// A device of the host.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "device", check = NodeDevice::after_read)]
pub struct NodeDevice {
    /// Its name, unique on the host; none for a device that is to be made.
    #[xml("name", default, always)]
    pub name: String,
    /// Its folder in `/sys`.
    #[xml("path", when = !w.has(XmlFlags::INACTIVE))]
    pub sysfs_path: Option<String>,
    /// Its nodes in `/dev`.
    #[xml(".", with = device_nodes, shape = device_nodes_shape)]
    pub nodes: DeviceNodes,
    /// The device that it is plugged into.
    #[xml("parent", omit_empty)]
    pub parent: Option<ParentDevice>,
    /// The driver that uses it, as the host says; not read.
    #[xml("driver/name", read_when = false, when = !w.has(XmlFlags::INACTIVE))]
    pub driver: Option<String>,
    /// What it is. At least one.
    #[xml("capability")]
    pub capabilities: Vec<Capability>,
}

/// Nodes of a device in `/dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNodes {
    /// The node.
    pub node: Option<String>,
    /// Links to it.
    pub links: Vec<String>,
}

/// The device that a device is plugged into. A Fibre Channel adapter may be named by its world wide names when a virtual one
/// is to be made of it; they are read, and not written.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "parent", check = ParentDevice::after_read)]
pub struct ParentDevice {
    /// What the host calls the parent.
    #[xml("text()")]
    pub name: Option<String>,
    /// Its node name.
    #[xml("@wwnn", nonempty, when = false)]
    pub wwnn: Option<String>,
    /// Its port name.
    #[xml("@wwpn", nonempty, when = false)]
    pub wwpn: Option<String>,
    /// Name of the fabric that it is connected to.
    #[xml("@fabric_wwn", nonempty, when = false)]
    pub fabric_wwn: Option<String>,
}

/// What a device is.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "capability", union = "@type")]
pub enum Capability {
    /// The host itself.
    System(Box<SystemDevice>),
    /// A function of a PCI device.
    Pci(Box<PciDevice>),
    /// A USB device.
    #[xml("usb_device")]
    UsbDevice(UsbDevice),
    /// An interface of a USB device.
    #[xml("usb")]
    UsbInterface(UsbInterface),
    /// A network interface.
    Net(NetDevice),
    /// A SCSI adapter.
    #[xml("scsi_host")]
    ScsiHost(ScsiHost),
    /// A SCSI target.
    #[xml("scsi_target")]
    ScsiTarget(ScsiTarget),
    /// A SCSI unit.
    Scsi(ScsiDevice),
    /// A block device.
    Storage(Box<StorageDevice>),
    /// The generic node of a SCSI unit.
    #[xml("scsi_generic")]
    ScsiGeneric(ScsiGenericDevice),
    /// A node of a graphics card.
    Drm(DrmDevice),
    /// A mediated device.
    Mdev(Box<MdevDevice>),
    /// A channel device of s390.
    Ccw(CcwDevice),
    /// A subchannel of s390.
    Css(CssDevice),
    /// A vDPA device.
    Vdpa(VdpaDevice),
    /// A crypto card of s390.
    #[xml("ap_card")]
    ApCard(ApCard),
    /// A queue of a crypto card.
    #[xml("ap_queue")]
    ApQueue(ApQueue),
    /// The parent of mediated crypto devices.
    #[xml("ap_matrix")]
    ApMatrix(ApMatrix),
    /// Channel devices that work together.
    #[xml("ccwgroup")]
    CcwGroup(CcwGroup),
}

fn device_nodes_shape() -> &'static xml::ElementSchema {
    xml::describe!("DeviceNodes", "", "Nodes of a device in `/dev`." => {
        /// Its nodes in `/dev`, and links to them.
        "devnode" => nodes: elements {
            /// `dev` for a node, `link` for a link to one.
            "@type" => kind: value(String),
            /// Absolute path of the node or link.
            "text()" => path: value(String),
        },
    })
}

/// `<devnode type='dev'>` and `<devnode type='link'>`.
mod device_nodes {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<DeviceNodes> {
        let mut nodes = DeviceNodes::default();
        for node in element.children_named("devnode") {
            let kind = node
                .attr("type")
                .ok_or_else(|| xml::missing(node, At::Attribute("type")))?;
            let path = node.text().into_owned();
            match &*kind {
                "dev" => nodes.node = Some(path),
                "link" => nodes.links.push(path),
                other => {
                    let error = xml::ValueError::words(&["dev", "link"]);
                    cx.fail(xml::invalid_value(node, At::Attribute("type"), other, &error))?;
                }
            }
        }
        Ok(nodes)
    }

    pub(super) fn write(value: &DeviceNodes, w: &mut Writer) {
        if w.has(XmlFlags::INACTIVE) {
            return;
        }
        let links = value.links.iter().map(|link| ("link", link));
        for (kind, path) in value.node.iter().map(|node| ("dev", node)).chain(links) {
            w.start("devnode");
            w.attribute("type", kind);
            w.text(path);
            w.end("devnode");
        }
    }
}

impl ParentDevice {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let (one, value, other) = match (&self.wwnn, &self.wwpn) {
            (Some(wwnn), None) => ("wwnn", wwnn, "wwpn"),
            (None, Some(wwpn)) => ("wwpn", wwpn, "wwnn"),
            _ => return Ok(()),
        };
        let what = format!("{one}='{value}' needs attribute '{other}' beside it");
        cx.fail(error_at(element, At::Attribute(one), what))
    }
}

/// Capabilities that devices have inside another, or that only the host's own list of devices tells.
const NOT_READ: [&str; 7] = [
    "ccwgroup_member",
    "mdev_types",
    "fc_host",
    "vports",
    "scsi_generic",
    "vdpa",
    "vpd",
];

fn check_capabilities(device: Element<'_>) -> Result<()> {
    for capability in device.children_named("capability") {
        let kind = capability.attr("type").unwrap_or_default();
        if NOT_READ.contains(&&*kind) {
            let what = format!("capability '{kind}' is none that a device is defined by");
            let at = At::Attribute("type");
            return Err(error_with(ErrorCode::INTERNAL_ERROR, capability, at, what));
        }
    }
    Ok(())
}

impl NodeDevice {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.capabilities.is_empty() {
            let what = format!("device '{}' has no capability", self.name);
            cx.fail(error_with(ErrorCode::INTERNAL_ERROR, element, At::Text, what))?;
        }
        Ok(())
    }

    /// Reads a device that exists; `name` is for messages.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, `NO_NAME` for a device without a name, `XML_ERROR` and others for what is
    /// wrong or missing.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NODEDEV);
        let doc = xml::Doc::parse_with(source, &options)?;
        let root = doc.root();
        if root.is("device") && root.child("name").is_none_or(|name| name.text().is_empty()) {
            let what = "the device has no name";
            return Err(error_with(ErrorCode::NO_NAME, root, At::Text, what));
        }
        check_numbers(root)?;
        check_capabilities(root)?;
        let device: Self = xml::from_doc(&doc, &mut Reader::new(XmlFlags::empty()))?;
        for capability in &device.capabilities {
            if let Capability::ScsiHost(host) = capability {
                host.check_existing(&device.name)?;
            }
        }
        Ok(device)
    }

    /// Reads a device that is to be made: it gets the name `new device` until the host has named it, and a virtual Fibre
    /// Channel adapter gets world wide names if it has none, in the name space of hypervisors of type `virt_type`.
    ///
    /// # Errors
    /// As [`NodeDevice::parse`]; `INTERNAL_ERROR` for a hypervisor that has no name space.
    pub fn parse_new(source: &str, virt_type: &str, random: &dyn Randomness, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NODEDEV);
        let doc = xml::Doc::parse_with(source, &options)?;
        check_numbers(doc.root())?;
        let mut device: Self = xml::from_doc(&doc, &mut Reader::new(XmlFlags::empty()))?;
        device.name = "new device".to_owned();
        for capability in &mut device.capabilities {
            if let Capability::ScsiHost(host) = capability {
                host.complete_names(virt_type, random)?;
            }
        }
        Ok(device)
    }

    /// Makes the running configuration of a mediated device that of its definition.
    pub fn activate(&mut self) {
        for capability in &mut self.capabilities {
            if let Capability::Mdev(device) = capability {
                device.active = device.defined.clone();
            }
        }
    }

    /// What lists of devices can be filtered by: the names of its capabilities, each followed by those that go with it.
    pub fn capability_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for capability in &self.capabilities {
            names.push(capability.xml_tag());
            let mut further = |name, there: bool| names.extend(there.then_some(name));
            match capability {
                Capability::ScsiHost(host) => {
                    further("fc_host", host.kinds.fibre_channel.is_some());
                    further("vports", host.kinds.virtual_ports.is_some());
                }
                Capability::Pci(device) => {
                    further("mdev_types", !device.mdev_types.is_empty());
                    further("vpd", device.vital_product_data.is_some());
                }
                Capability::Css(device) => further("mdev_types", !device.mdev_types.is_empty()),
                Capability::ApMatrix(device) => further("mdev_types", !device.mdev_types.is_empty()),
                Capability::Ccw(device) => further("ccwgroup_member", device.group.is_some()),
                _ => {}
            }
        }
        names
    }

    /// The name of the device that it is plugged into.
    pub fn parent_name(&self) -> Option<&str> {
        self.parent.as_ref()?.name.as_deref()
    }

    /// The device as libvirt writes it: with [`XmlFlags::INACTIVE`] its definition, otherwise what it is now.
    pub fn format(&self, flags: XmlFlags) -> String {
        xml::to_string(self, flags)
    }
}

/// Checks the numbers of capabilities for which libvirt has other codes than for the rest of them.
fn check_numbers(device: Element<'_>) -> Result<()> {
    device
        .children_named("capability")
        .filter(|capability| capability.attr("type").as_deref() == Some("pci"))
        .try_for_each(pci::check_numbers)
}

/// A nested `<capability type='…'>`.
fn nested<'d>(element: Element<'d>, kind: &str) -> Option<Element<'d>> {
    element
        .children_named("capability")
        .find(|child| child.attr("type").as_deref() == Some(kind))
}

/// Checks that each nested capability has a type, and that it is one of `known` where only these may be.
fn check_nested(element: Element<'_>, cx: &mut Reader, known: Option<&'static [&'static str]>) -> Result<()> {
    for child in element.children_named("capability") {
        let Some(kind) = child.attr("type") else {
            let code = match known {
                Some(_) => ErrorCode::INTERNAL_ERROR,
                None => ErrorCode::XML_ERROR,
            };
            let missing = xml::missing(child, At::Attribute("type"));
            cx.fail(xml::recoded(missing, child, code))?;
            continue;
        };
        if let Some(words) = known
            && !words.contains(&&*kind)
        {
            let place = xml::invalid_value(
                child,
                At::Attribute("type"),
                &kind,
                &xml::ValueError::words(words),
            );
            let error = virt_util::VirtError::new(ErrorCode::INTERNAL_ERROR, place.detail());
            cx.fail(error.in_domain(ErrorDomain::NODEDEV))?;
        }
    }
    Ok(())
}

/// Opens a nested `<capability type='…'>`; end it with `w.end("capability")`.
fn start_nested(w: &mut Writer, kind: &str) {
    w.start("capability");
    w.attribute("type", kind);
}

#[cfg(test)]
mod tests;
