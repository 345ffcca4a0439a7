//! Names that older status files do not tell, and that follow from a device's alias: its secrets, its TLS credentials,
//! its block node.
//!
//! They stand in the private data of the device's image. The whole of that, in its order: `nodenames`, `reservations`,
//! `relPath`, `objects` (secrets by what they are for, then `TLSx509`), and more behind.

use virt_conf::domain::Domain;
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys, ScsiHostdev};
use virt_conf::domain::normalize::DeviceRef;
use virt_conf::domain::private_data::PrivateData;
use virt_conf::domain::storage::{EncryptionFormat, NetProtocol, StorageLocation};
use virt_util::xml::{KeptElement, RawAttribute, RawElement, RawNode};

/// Elements of private data, in order.
const PARTS: [&str; 4] = ["nodenames", "reservations", "relPath", "objects"];
/// Objects of private data, in order: element and type.
const OBJECTS: [(&str, &str); 5] = [
    ("secret", "auth"),
    ("secret", "encryption"),
    ("secret", "httpcookie"),
    ("secret", "tlskey"),
    ("TLSx509", ""),
];

/// Adds what is missing for one device.
pub(super) fn restore(domain: &mut Domain, device: DeviceRef) {
    match device {
        DeviceRef::Disk(at) => restore_disk(domain, at),
        DeviceRef::Hostdev(at) => restore_hostdev(domain, at),
        _ => {}
    }
}

fn restore_disk(domain: &mut Domain, at: usize) {
    let Some(disk) = domain.devices.disks.get_mut(at) else {
        return;
    };
    let Some(alias) = disk.info.alias.as_deref().map(str::to_owned) else {
        return;
    };
    let network = match &disk.source.location {
        StorageLocation::Network(network) => Some(network),
        location if location.is_empty() => return,
        _ => None,
    };
    let named =
        network.is_some_and(|network| matches!(network.protocol, NetProtocol::Rbd | NetProtocol::Iscsi));
    let auth = named && disk.credentials().is_some();
    let luks = disk
        .image_encryption()
        .is_some_and(|encryption| encryption.format == EncryptionFormat::Luks);
    let tls = network.is_some_and(|network| network.tls == Some(true));
    let data = &mut disk.source.private_data;
    if auth {
        add_object(data, "secret", "auth", format!("{alias}-secret0"));
    }
    if luks {
        add_object(data, "secret", "encryption", format!("{alias}-luks-secret0"));
    }
    if tls {
        add_object(data, "TLSx509", "", format!("obj{alias}_tls0"));
    }
}

fn restore_hostdev(domain: &mut Domain, at: usize) {
    let Some(hostdev) = domain.devices.hostdevs.get_mut(at) else {
        return;
    };
    let Some(alias) = hostdev.info.alias.as_deref().map(str::to_owned) else {
        return;
    };
    let HostdevPass::Subsystem(subsystem) = &mut hostdev.mode else {
        return;
    };
    let HostdevSubsys::Scsi { device, .. } = &mut **subsystem else {
        return;
    };
    let data = match device {
        ScsiHostdev::Adapter { private_data, .. } => private_data,
        ScsiHostdev::Iscsi {
            private_data, auth, ..
        } => {
            if auth.is_some() {
                add_object(private_data, "secret", "auth", format!("{alias}-secret0"));
            }
            private_data
        }
    };
    let names = part(data, "nodenames");
    let node = |element: &RawElement| has(element, "type", "storage");
    if !names.elements().any(node) {
        let name = format!("libvirt-{alias}-backend");
        let element = element("nodename", &[("type", "storage"), ("name", &name)]);
        names.children.insert(0, RawNode::Element(element));
    }
}

/// Adds an object, unless there is one of its kind.
fn add_object(data: &mut PrivateData, name: &str, kind: &str, alias: String) {
    let objects = part(data, "objects");
    let same = |element: &RawElement| element.name == name && (kind.is_empty() || has(element, "type", kind));
    if objects.elements().any(same) {
        return;
    }
    let rank = |name: &str, kind: &str| {
        let place = OBJECTS
            .iter()
            .position(|(n, k)| *n == name && (k.is_empty() || *k == kind));
        place.unwrap_or(OBJECTS.len())
    };
    let own = rank(name, kind);
    let place = objects.children.iter().position(|child| match child {
        RawNode::Element(element) => rank(&element.name, attribute(element, "type")) > own,
        _ => false,
    });
    let new = if kind.is_empty() {
        element(name, &[("alias", &alias)])
    } else {
        element(name, &[("type", kind), ("alias", &alias)])
    };
    let place = place.unwrap_or(objects.children.len());
    objects.children.insert(place, RawNode::Element(new));
}

/// A part of private data; made where it belongs if it is not there.
fn part<'d>(data: &'d mut PrivateData, name: &str) -> &'d mut RawElement {
    let data = &mut data
        .get_or_insert_with(|| Box::new(KeptElement(RawElement::new("privateData"))))
        .0;
    let rank = |name: &str| PARTS.iter().position(|part| *part == name).unwrap_or(PARTS.len());
    let is = |node: &RawNode| matches!(node, RawNode::Element(element) if element.name == name);
    let at = data.children.iter().position(is).unwrap_or_else(|| {
        let behind =
            |node: &RawNode| matches!(node, RawNode::Element(element) if rank(&element.name) > rank(name));
        let at = data
            .children
            .iter()
            .position(behind)
            .unwrap_or(data.children.len());
        data.children.insert(at, RawNode::Element(RawElement::new(name)));
        at
    });
    match data.children.get_mut(at) {
        Some(RawNode::Element(element)) => element,
        _ => unreachable!("an element was found or made there"),
    }
}

fn element(name: &str, attributes: &[(&str, &str)]) -> RawElement {
    let mut element = RawElement::new(name);
    element.attributes = attributes
        .iter()
        .map(|(name, value)| RawAttribute {
            name: (*name).to_owned(),
            namespace: String::new(),
            value: (*value).to_owned(),
        })
        .collect();
    element
}

fn attribute<'e>(element: &'e RawElement, name: &str) -> &'e str {
    let found = element.attributes.iter().find(|attribute| attribute.name == name);
    found.map_or("", |attribute| attribute.value.as_str())
}

fn has(element: &RawElement, name: &str, value: &str) -> bool {
    attribute(element, name) == value
}
