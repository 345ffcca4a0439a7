//! Capabilities of the host itself and of devices on its buses.

use virt_util::uuid::Uuid;
use virt_util::xml::{self, At, Element, Reader, Writer, Xml, XmlElement, error_with, push_unsigned, read};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{check_nested, nested, start_nested};
use crate::domain::normalize::Randomness;
use crate::values::shown_signed;

/// The host itself.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemDevice {
    /// What its maker calls it.
    #[xml("product")]
    pub product: Option<String>,
    /// The machine.
    #[xml("hardware+", code = ErrorCode::INTERNAL_ERROR, keep_empty)]
    pub hardware: SystemHardware,
    /// Who made the BIOS, which version it is, and of when.
    #[xml("firmware+", default, always, keep_empty)]
    pub firmware: SystemFirmware,
}

/// A machine.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "hardware", body, code = ErrorCode::INTERNAL_ERROR)]
pub struct SystemHardware {
    /// Who made it.
    #[xml("vendor")]
    pub vendor: Option<String>,
    /// Which edition of the machine it is.
    #[xml("version")]
    pub version: Option<String>,
    /// Its serial number.
    #[xml("serial")]
    pub serial: Option<String>,
    /// Its UUID.
    #[xml("uuid")]
    pub uuid: Uuid,
}

/// Firmware of a machine.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "firmware", body)]
pub struct SystemFirmware {
    /// Who made it.
    #[xml("vendor")]
    pub vendor: Option<String>,
    /// Which release of the firmware it is.
    #[xml("version")]
    pub version: Option<String>,
    /// When it was released.
    #[xml("release_date")]
    pub release_date: Option<String>,
}

/// A number that its owner's registry gave out, with the name for it.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::INTERNAL_ERROR)]
pub struct NamedId {
    /// The number.
    #[xml("@id", base = 16, format = "0x%04x")]
    pub id: u32,
    /// What people call it.
    #[xml("text()")]
    pub name: Option<String>,
}

/// A USB device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::INTERNAL_ERROR)]
pub struct UsbDevice {
    /// Number of its bus.
    #[xml("bus/text()", with = shown_signed)]
    pub bus: u32,
    /// Its number on the bus.
    #[xml("device/text()", with = shown_signed)]
    pub device: u32,
    /// What its maker calls it.
    #[xml("product", with = usb_id, described = NamedId)]
    pub product: NamedId,
    /// Who made it.
    #[xml("vendor", with = usb_id, described = NamedId)]
    pub vendor: NamedId,
}

/// A [`NamedId`] of a USB device: without a name it is written with a blank before the tag's end.
mod usb_id {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<NamedId> {
        NamedId::read(element, cx)
    }

    pub(super) fn write(value: &NamedId, w: &mut Writer, name: &str) {
        match value.name {
            Some(_) => value.write(w, name),
            None => w.raw_line(&format!("<{name} id='0x{:04x}' />", value.id)),
        }
    }
}

/// An interface of a USB device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::INTERNAL_ERROR)]
pub struct UsbInterface {
    /// Its number in the device.
    #[xml("number/text()", with = shown_signed)]
    pub number: u32,
    /// USB class, 0 to 255.
    #[xml("class/text()", with = shown_signed)]
    pub class: u32,
    /// Its class in the class.
    #[xml("subclass/text()", with = shown_signed)]
    pub subclass: u32,
    /// What it speaks.
    #[xml("protocol/text()", with = shown_signed)]
    pub protocol: u32,
    /// What it is, for people.
    #[xml("description")]
    pub description: Option<String>,
}

xml_enum! {
    /// What the hardware of a network interface can do by itself, in libvirt's order.
    pub enum NetFeatureName { Rx = "rx", Tx = "tx", Sg = "sg", Tso = "tso", Gso = "gso", Gro = "gro", Lro = "lro", Rxvlan = "rxvlan", Txvlan = "txvlan", Ntuple = "ntuple", Rxhash = "rxhash", Rdma = "rdma", Txudptnl = "txudptnl", Switchdev = "switchdev" }
}

xml_enum! {
    /// The kind of a network interface: Ethernet or wireless.
    pub enum NetKind { Ieee80203 = "80203", Ieee80211 = "80211" }
}

xml_enum! {
    /// The state of a network interface's link.
    pub enum LinkState { Unknown = "unknown", NotPresent = "notpresent", Down = "down", LowerLayerDown = "lowerlayerdown", Testing = "testing", Dormant = "dormant", Up = "up" }
}

/// A network interface.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = NetDevice::after_read)]
pub struct NetDevice {
    /// Its name.
    #[xml("interface", code = ErrorCode::INTERNAL_ERROR)]
    pub interface: String,
    /// Its MAC address.
    #[xml("address")]
    pub address: Option<String>,
    /// Speed and condition of the connection.
    #[xml("link", omit_empty)]
    pub link: Option<NetLink>,
    /// What its hardware can do by itself, in order.
    #[xml("feature")]
    pub features: Vec<NetFeature>,
    /// What kind it is.
    #[xml(".", with = net_kind, reads("capability@type": NetKind))]
    pub kind: Option<NetKind>,
}

/// The link of a network interface.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "link")]
pub struct NetLink {
    /// Mbit/s, 0 for unknown.
    #[xml("@speed", default)]
    pub speed: u32,
    /// What the link does, as the host says.
    #[xml("@state", nonempty)]
    pub state: Option<LinkState>,
}

/// Something that the hardware of a network interface can do by itself.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[xml(name = "feature")]
pub struct NetFeature {
    /// What the host calls the ability, as in `tso`.
    #[xml("@name", own)]
    pub name: NetFeatureName,
}

impl NetDevice {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        self.features.sort_unstable();
        self.features.dedup();
        Ok(())
    }
}

/// `<capability type='80203'/>`: a word that is none is unsupported.
mod net_kind {
    use super::*;
    use crate::values::unsupported_word;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<NetKind>> {
        let capability = element.child_or_ghost("capability");
        let Some(word) = capability.attr("type").filter(|word| !word.is_empty()) else {
            return Ok(None);
        };
        let kind = NetKind::from_word(&word);
        if kind.is_none() {
            let words = NetKind::WORDS.iter().copied();
            cx.fail(unsupported_word(capability, At::Attribute("type"), &word, words))?;
        }
        Ok(kind)
    }

    pub(super) fn write(value: &Option<NetKind>, w: &mut Writer) {
        if let Some(kind) = value {
            start_nested(w, kind.as_str());
            w.end("capability");
        }
    }
}

/// A SCSI adapter.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct ScsiHost {
    /// Its number; none for an adapter that is to be made.
    #[xml("host/text()", with = shown_signed, code = ErrorCode::INTERNAL_ERROR)]
    pub host: Option<u32>,
    /// Number that tells several adapters of one device apart.
    #[xml("unique_id", code = ErrorCode::INTERNAL_ERROR, when = self.unique_id != Some(-1))]
    pub unique_id: Option<i32>,
    /// What it is beyond that.
    #[xml(".", with = scsi_host_kinds, shape = scsi_host_kinds_shape)]
    pub kinds: ScsiHostKinds,
}

/// What a SCSI adapter is beyond that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScsiHostKinds {
    /// A Fibre Channel adapter.
    pub fibre_channel: Option<FibreChannelHost>,
    /// One that virtual adapters can be made of.
    pub virtual_ports: Option<VirtualPorts>,
}

/// A Fibre Channel adapter.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "capability")]
pub struct FibreChannelHost {
    /// Node name.
    #[xml("wwnn")]
    pub wwnn: Option<String>,
    /// Port name.
    #[xml("wwpn")]
    pub wwpn: Option<String>,
    /// Name of the fabric that it is connected to.
    #[xml("fabric_wwn")]
    pub fabric_wwn: Option<String>,
}

/// An adapter that virtual adapters can be made of; the numbers are as the host says and not read.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "capability")]
pub struct VirtualPorts {
    /// Most virtual adapters.
    #[xml("max_vports", default, always, read_when = false)]
    pub max: u32,
    /// How many there are.
    #[xml("vports", default, always, read_when = false)]
    pub count: u32,
}

fn scsi_host_kinds_shape() -> &'static xml::ElementSchema {
    fn capability() -> &'static xml::ElementSchema {
        xml::describe!(union "@type", "ScsiHostCapability", "capability", "What a SCSI adapter is beyond that." => {
            /// A Fibre Channel adapter.
            "fc_host" => {
                /// Its names in the network.
                "." => names: element(FibreChannelHost),
            },
            /// One that virtual adapters can be made of.
            "vport_ops" => {
                /// How many can be made.
                "." => ports: element(VirtualPorts),
            },
        })
    }
    xml::describe!("ScsiHostKinds", "", "What a SCSI adapter is beyond that." => {
        /// What the adapter is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

mod scsi_host_kinds {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<ScsiHostKinds> {
        check_nested(element, cx, Some(&["fc_host", "vport_ops"]))?;
        let fibre_channel = nested(element, "fc_host").map(|child| FibreChannelHost::read(child, cx));
        let virtual_ports = nested(element, "vport_ops").map(|child| VirtualPorts::read(child, cx));
        Ok(ScsiHostKinds {
            fibre_channel: fibre_channel.transpose()?,
            virtual_ports: virtual_ports.transpose()?,
        })
    }

    pub(super) fn write(value: &ScsiHostKinds, w: &mut Writer) {
        if let Some(host) = &value.fibre_channel {
            start_nested(w, "fc_host");
            w.open_body();
            host.write_content(w);
            w.end("capability");
        }
        if let Some(ports) = &value.virtual_ports {
            start_nested(w, "vport_ops");
            ports.write_content(w);
            w.end("capability");
        }
    }
}

/// Which world wide names hypervisors give out: the makers' part.
const MAKERS: &[(&str, &str)] = &[
    ("QEMU", "001a4a"),
    ("nodedev", "001a4a"),
    ("Xen", "00163e"),
    ("xenlight", "00163e"),
    ("ESX", "000569"),
    ("VMWARE", "000569"),
    ("HYPER-V", "0050f2"),
    ("TEST", "100000"),
];

/// A random world wide name in the name space of hypervisors of type `virt_type`.
///
/// # Errors
/// `INTERNAL_ERROR` for a hypervisor that has none.
pub fn random_world_wide_name(virt_type: &str, random: &dyn Randomness) -> Result<String> {
    let maker = MAKERS.iter().find(|(known, _)| *known == virt_type);
    let (_, maker) = maker.ok_or_else(|| {
        VirtError::internal(format_args!(
            "hypervisors of type '{virt_type}' have no world wide names"
        ))
        .in_domain(ErrorDomain::NODEDEV)
    })?;
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    // 36 bits.
    Ok(format!(
        "5{maker}{:09x}",
        u64::from_le_bytes(bytes) & 0xf_ffff_ffff
    ))
}

impl ScsiHost {
    /// An adapter that exists has a number, and world wide names if it is a Fibre Channel adapter.
    pub(super) fn check_existing(&self, device: &str) -> Result<()> {
        let missing = match &self.kinds.fibre_channel {
            _ if self.host.is_none() => "number in element 'host'",
            Some(channel) if channel.wwnn.is_none() => "node name in element 'wwnn'",
            Some(channel) if channel.wwpn.is_none() => "port name in element 'wwpn'",
            _ => return Ok(()),
        };
        let what = format!("the SCSI adapter '{device}' has no {missing}");
        Err(VirtError::internal(what).in_domain(ErrorDomain::NODEDEV))
    }

    /// Gives a Fibre Channel adapter the names that it lacks.
    pub(super) fn complete_names(&mut self, virt_type: &str, random: &dyn Randomness) -> Result<()> {
        if let Some(channel) = &mut self.kinds.fibre_channel {
            for name in [&mut channel.wwnn, &mut channel.wwpn] {
                if name.is_none() {
                    *name = Some(random_world_wide_name(virt_type, random)?);
                }
            }
        }
        Ok(())
    }
}

/// A SCSI target.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::INTERNAL_ERROR)]
pub struct ScsiTarget {
    /// What the host calls the target, as in `target0:0:0`.
    #[xml("target")]
    pub name: String,
    /// The port of the Fibre Channel network that it is behind.
    #[xml(".", with = remote_port, shape = remote_port_shape)]
    pub remote_port: Option<RemotePort>,
}

/// A port of a Fibre Channel network.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "capability", code = ErrorCode::INTERNAL_ERROR)]
pub struct RemotePort {
    /// Its name on this host.
    #[xml("rport")]
    pub name: String,
    /// Its port name.
    #[xml("wwpn")]
    pub wwpn: String,
}

fn remote_port_shape() -> &'static xml::ElementSchema {
    fn capability() -> &'static xml::ElementSchema {
        xml::describe!(union "@type", "ScsiTargetCapability", "capability", "What a SCSI target is beyond that." => {
            /// Behind a port of a Fibre Channel network.
            "fc_remote_port" => {
                /// The port.
                "." => port: element(RemotePort),
            },
        })
    }
    xml::describe!("RemotePortShape", "", "The port of the Fibre Channel network that a target is behind." => {
        /// What the target is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

mod remote_port {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<RemotePort>> {
        check_nested(element, cx, Some(&["fc_remote_port"]))?;
        nested(element, "fc_remote_port")
            .map(|child| RemotePort::read(child, cx))
            .transpose()
    }

    pub(super) fn write(value: &Option<RemotePort>, w: &mut Writer) {
        if let Some(port) = value {
            start_nested(w, "fc_remote_port");
            port.write_content(w);
            w.end("capability");
        }
    }
}

/// A SCSI unit.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(code = ErrorCode::INTERNAL_ERROR)]
pub struct ScsiDevice {
    /// Number of the adapter.
    #[xml("host/text()", with = shown_signed)]
    pub host: u32,
    /// Number of the adapter's bus.
    #[xml("bus/text()", with = shown_signed)]
    pub bus: u32,
    /// Number of the target on the bus.
    #[xml("target/text()", with = shown_signed)]
    pub target: u32,
    /// Number of the unit in the target.
    #[xml("lun/text()", with = shown_signed)]
    pub unit: u32,
    /// What it is: `disk`, `cdrom` …
    #[xml("type")]
    pub kind: Option<String>,
}

/// The generic node of a SCSI unit.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body)]
pub struct ScsiGenericDevice {
    /// Its node in `/dev`.
    #[xml("char")]
    pub path: Option<String>,
}

/// A vDPA device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(body)]
pub struct VdpaDevice {
    /// Its node in `/dev`.
    #[xml("chardev")]
    pub chardev: Option<String>,
}

/// A block device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageDevice {
    /// Its node in `/dev`.
    #[xml("block", code = ErrorCode::INTERNAL_ERROR)]
    pub block: String,
    /// What it is plugged into: `ide`, `usb` …
    #[xml("bus")]
    pub bus: Option<String>,
    /// What it is: `disk`, `cdrom` …
    #[xml("drive_type")]
    pub drive_type: Option<String>,
    /// What its maker calls it.
    #[xml("model")]
    pub model: Option<String>,
    /// Who made it.
    #[xml("vendor")]
    pub vendor: Option<String>,
    /// Its serial number.
    #[xml("serial")]
    pub serial: Option<String>,
    /// Its size, and whether the medium can be taken out.
    #[xml(".", with = medium, shape = medium_shape)]
    pub medium: Medium,
    /// Whether it can be unplugged while the host runs.
    #[xml(".", with = hotpluggable, shape = nothing_more)]
    pub hotpluggable: bool,
}

/// The medium of a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    /// Whether it can be taken out, and how it is then.
    pub removable: Option<RemovableMedium>,
    /// Size in bytes.
    pub size: u64,
    /// Size of a block in bytes, as the host says; not read.
    pub block_size: u64,
    /// Number of blocks, as the host says; not read.
    pub blocks: u64,
}

/// A medium that can be taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovableMedium {
    /// Whether there is one.
    pub available: bool,
    /// Its name.
    pub label: Option<String>,
}

fn number_element(w: &mut Writer, name: &str, value: u64) {
    w.text_element_with(name, |out| push_unsigned(out, value));
}

/// What is said once, with the medium.
fn nothing_more() -> &'static xml::ElementSchema {
    xml::describe!("", "", "" => {})
}

fn medium_shape() -> &'static xml::ElementSchema {
    fn blocks() -> &'static xml::ElementSchema {
        xml::describe!("Blocks", "", "Blocks of a device." => {
            /// Size of a block in bytes; told, never read.
            "logical_block_size" => block_size: element(u64),
            /// Number of blocks; told, never read.
            "num_blocks" => blocks: element(u64),
        })
    }
    fn capability() -> &'static xml::ElementSchema {
        xml::describe!(union "@type", "StorageCapability", "capability", "What a block device is beyond that." => {
            /// Its medium can be taken out.
            "removable" => {
                /// Whether there is a medium: 0 or 1.
                "media_available" => available: element(u32),
                /// Size of the medium in bytes.
                "media_size" => size: element(u64),
                /// Name of the medium.
                "media_label" => label: element(String),
                /// Blocks of the medium.
                "." => blocks: shape(blocks),
            },
            /// It can be unplugged while the host runs.
            "hotpluggable" => {},
        })
    }
    xml::describe!("Medium", "", "The medium of a block device." => {
        /// Size in bytes; of a medium that can be taken out it is said with that.
        "size" => size: element(u64),
        /// Blocks of the device.
        "." => blocks: shape(blocks),
        /// What the device is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

mod medium {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Medium> {
        check_nested(element, cx, Some(&["removable", "hotpluggable"]))?;
        let removable = nested(element, "removable");
        let (place, name) = match removable {
            Some(removable) => (removable, "media_size"),
            None => (element, "size"),
        };
        let size = read::child::<u64>(place, cx, name).map_err(|error| {
            VirtError::new(ErrorCode::INTERNAL_ERROR, error.detail()).in_domain(ErrorDomain::NODEDEV)
        })?;
        let size = match size {
            Some(size) => size,
            None => {
                let what = format!("missing element '{name}'");
                cx.fail(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    place,
                    At::Child(name),
                    what,
                ))?;
                0
            }
        };
        Ok(Medium {
            removable: removable.map(|removable| RemovableMedium {
                available: removable
                    .children_named("media_available")
                    .any(|text| text.text() == "1"),
                label: removable
                    .child("media_label")
                    .map(|label| label.text().into_owned())
                    .filter(|label| !label.is_empty()),
            }),
            size,
            ..Medium::default()
        })
    }

    pub(super) fn write(value: &Medium, w: &mut Writer) {
        if let Some(removable) = &value.removable {
            start_nested(w, "removable");
            number_element(w, "media_available", removable.available.into());
            number_element(w, "media_size", value.size);
            if let Some(label) = &removable.label {
                w.text_element("media_label", label);
            }
        } else {
            number_element(w, "size", value.size);
        }
        if value.block_size != 0 || value.blocks != 0 {
            number_element(w, "logical_block_size", value.block_size);
            number_element(w, "num_blocks", value.blocks);
        }
        if value.removable.is_some() {
            w.end("capability");
        }
    }
}

mod hotpluggable {
    use super::*;

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<bool> {
        Ok(nested(element, "hotpluggable").is_some())
    }

    pub(super) fn write(value: &bool, w: &mut Writer) {
        if *value {
            start_nested(w, "hotpluggable");
            w.end("capability");
        }
    }
}

xml_enum! {
    /// What a node of a graphics card is for.
    pub enum DrmKind { Primary = "primary", Control = "control", Render = "render" }
}

/// A node of a graphics card.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct DrmDevice {
    /// What it is for.
    #[xml("type", code = ErrorCode::CONFIG_UNSUPPORTED, with = drm_kind, described = DrmKind)]
    pub kind: DrmKind,
}

/// `<type>render</type>`: a word that is none is unsupported.
mod drm_kind {
    use super::*;
    use crate::values::unsupported_word;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<DrmKind> {
        let word = element.text();
        match DrmKind::from_word(&word) {
            Some(kind) => Ok(kind),
            None => {
                let words = DrmKind::WORDS.iter().copied();
                cx.fail(unsupported_word(element, At::Text, &word, words))
                    .map(|()| DrmKind::default())
            }
        }
    }

    pub(super) fn write(value: &DrmKind, w: &mut Writer, name: &str) {
        w.text_element(name, value.as_str());
    }
}
