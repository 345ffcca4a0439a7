//! Functions of PCI devices.

use virt_util::xml::{
    self, At, Element, Reader, ValueError, Writer, Xml, XmlElement, error_at, parse_integer, push_signed,
    read,
};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::bus::NamedId;
use super::mdev::{MdevType, mdev_types};
use super::{check_nested, nested, start_nested};
use crate::values::{HostPciAddress, shown_signed};

/// A function of a PCI device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = PciDevice::after_read)]
pub struct PciDevice {
    /// Class, subclass and programming interface.
    #[xml("class", base = 16, format = "0x%06x", max = 0xff_ffff, code = ErrorCode::INTERNAL_ERROR)]
    pub class: Option<u32>,
    /// PCI domain.
    #[xml("domain/text()", with = shown_signed)]
    pub domain: u32,
    /// PCI bus, 0 to 0xff.
    #[xml("bus")]
    pub bus: u32,
    /// Slot on the bus.
    #[xml("slot")]
    pub slot: u32,
    /// Function in the slot.
    #[xml("function")]
    pub function: u32,
    /// What its maker calls it.
    #[xml("product")]
    pub product: NamedId,
    /// Who made it.
    #[xml("vendor")]
    pub vendor: NamedId,
    /// The physical function that this is a virtual one of.
    #[xml(".", with = physical_function, shape = capabilities_shape)]
    pub physical_function: Option<HostPciAddress>,
    /// The virtual functions of this physical one.
    #[xml(".", with = virtual_functions, shape = nothing_more)]
    pub virtual_functions: Option<VirtualFunctions>,
    /// The kind of bridge that it is.
    #[xml(".", with = bridge, shape = nothing_more)]
    pub bridge: Option<PciBridge>,
    /// Types of mediated devices that it offers.
    #[xml(".", with = mdev_types, shape = nothing_more)]
    pub mdev_types: Vec<MdevType>,
    /// What its maker has stored in it.
    #[xml(".", with = vital_product_data, shape = nothing_more)]
    pub vital_product_data: Option<VitalProductData>,
    /// The devices that the IOMMU cannot tell from this one.
    #[xml("iommuGroup", when = self.iommu_group.as_ref().is_some_and(|group| !group.devices.is_empty()))]
    pub iommu_group: Option<IommuGroup>,
    /// Memory node that it is nearest to.
    #[xml("numa@node", nonempty, code = ErrorCode::INTERNAL_ERROR, reported_by = ErrorDomain::NODEDEV, when = self.numa_node.is_some_and(|node| node >= 0))]
    pub numa_node: Option<i32>,
    /// Links of a PCI Express device.
    #[xml("pci-express")]
    pub express: Option<PciExpress>,
}

/// The virtual functions of a physical one.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "capability")]
pub struct VirtualFunctions {
    /// Most virtual functions, 0 for unknown.
    #[xml("@maxCount", default, nonempty, reported_by = ErrorDomain::NODEDEV)]
    pub max: u32,
    /// Those that there are.
    #[xml("address")]
    pub functions: Vec<HostPciAddress>,
}

xml_enum! {
    /// A kind of bridge.
    pub enum PciBridge { PciBridge = "pci-bridge", CardbusBridge = "cardbus-bridge" }
}

/// Devices that the IOMMU cannot tell apart.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "iommuGroup")]
pub struct IommuGroup {
    /// Which of the host's groups it is.
    #[xml("@number", with = shown_signed)]
    pub number: u32,
    /// Addresses of the PCI devices in it.
    #[xml("address")]
    pub devices: Vec<HostPciAddress>,
}

/// Links of a PCI Express device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciExpress {
    /// The fastest that it can have.
    pub best: Option<PciLink>,
    /// The one that it has.
    pub present: Option<PciLink>,
}

xml_enum! {
    /// Speed of a PCI Express link in GT/s.
    pub enum PciLinkSpeed { Gen1 = "2.5", Gen2 = "5", Gen3 = "8", Gen4 = "16", Gen5 = "32", Gen6 = "64" }
}

/// A PCI Express link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PciLink {
    /// Number of the port.
    pub port: Option<u32>,
    /// Its speed.
    pub speed: Option<PciLinkSpeed>,
    /// Number of lanes.
    pub width: u32,
}

/// Checks the numbers of a PCI device, before it is read: libvirt has a code of their own for them.
pub(super) fn check_numbers(element: Element<'_>) -> Result<()> {
    let internal = |error| xml::recoded(error, element, ErrorCode::INTERNAL_ERROR);
    for name in ["domain", "bus", "slot", "function"] {
        let number = element.child_or_ghost(name);
        let text = number.text();
        if text.is_empty() {
            return Err(internal(xml::missing(element, At::Child(name))));
        }
        xml::parse_integer::<u32>(&text, 10)
            .map_err(|error| internal(xml::invalid_value(number, At::Text, &text, &error)))?;
    }
    for name in ["vendor", "product"] {
        if element.child(name).is_none() {
            return Err(internal(xml::missing(element, At::Child(name))));
        }
    }
    Ok(())
}

impl PciDevice {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        check_nested(element, cx, None)
    }

    /// The address.
    pub fn address(&self) -> HostPciAddress {
        HostPciAddress {
            domain: self.domain,
            bus: self.bus,
            slot: self.slot,
            function: self.function,
        }
    }
}

/// What is said once, with the physical function.
fn nothing_more() -> &'static xml::ElementSchema {
    xml::describe!("", "", "" => {})
}

fn capabilities_shape() -> &'static xml::ElementSchema {
    fn vital_product_data() -> &'static xml::ElementSchema {
        xml::describe!(union "@access", "VitalProductFields", "fields", "Fields that the maker or the owner has stored." => {
            /// Fields that nobody can change.
            "readonly" => {
                /// The fields.
                "." => fields: element(ReadOnlyFields),
            },
            /// Fields that can be changed.
            "readwrite" => {
                /// The fields.
                "." => fields: element(ReadWriteFields),
            },
        })
    }
    fn capability() -> &'static xml::ElementSchema {
        xml::describe!(union "@type", "PciCapability", "capability", "What a PCI device is beyond that." => {
            /// A virtual function.
            "phys_function" => {
                /// The physical function that it is one of.
                "address" => address: element(HostPciAddress),
            },
            /// A physical function with virtual ones.
            "virt_functions" => {
                /// The virtual functions.
                "." => functions: element(VirtualFunctions),
            },
            /// A PCI bridge.
            "pci-bridge" => {},
            /// A CardBus bridge.
            "cardbus-bridge" => {},
            /// A parent of mediated devices.
            "mdev_types" => {
                /// Types that it offers.
                "type" => types: elements(MdevType),
            },
            /// A device with vital product data.
            "vpd" => {
                /// What the device is.
                "name" => name: element(String),
                /// What is stored in it.
                "fields" => fields: shapes(vital_product_data),
            },
        })
    }
    xml::describe!("PciCapabilities", "", "What a PCI device is beyond that." => {
        /// What the device is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

mod physical_function {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<HostPciAddress>> {
        let Some(function) = nested(element, "phys_function") else {
            return Ok(None);
        };
        let address = read::child(function, cx, "address")?;
        read::required(function, At::Child("address"), address).map(Some)
    }

    pub(super) fn write(value: &Option<HostPciAddress>, w: &mut Writer) {
        if let Some(address) = value {
            start_nested(w, "phys_function");
            address.write(w, "address");
            w.end("capability");
        }
    }
}

mod virtual_functions {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<VirtualFunctions>> {
        nested(element, "virt_functions")
            .map(|child| VirtualFunctions::read(child, cx))
            .transpose()
    }

    pub(super) fn write(value: &Option<VirtualFunctions>, w: &mut Writer) {
        if let Some(functions) = value {
            start_nested(w, "virt_functions");
            functions.write_attributes(w);
            functions.write_content(w);
            w.end("capability");
        }
    }
}

mod bridge {
    use super::*;

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<Option<PciBridge>> {
        let mut kinds = element
            .children_named("capability")
            .filter_map(|child| child.attr("type"));
        Ok(kinds.find_map(|kind| PciBridge::from_word(&kind)))
    }

    pub(super) fn write(value: &Option<PciBridge>, w: &mut Writer) {
        if let Some(bridge) = value {
            start_nested(w, bridge.as_str());
            w.end("capability");
        }
    }
}

impl PciLink {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let number: fn(&str) -> std::result::Result<i32, ValueError> = |text| parse_integer(text, 10);
        let width: fn(&str) -> std::result::Result<u32, ValueError> = |text| parse_integer(text, 0);
        let width = read::attr(element, cx, "width", width)?;
        Ok(Self {
            port: read::attr(element, cx, "port", number)?.and_then(|port| u32::try_from(port).ok()),
            speed: read::attr_nonempty(element, cx, "speed", xml::XmlValue::parse_value)?,
            width: read::required(element, At::Attribute("width"), width)?,
        })
    }

    fn write(&self, w: &mut Writer, validity: &str) {
        w.start("link");
        w.attribute("validity", validity);
        if let Some(port) = self.port {
            w.attribute_with("port", |out| push_signed(out, port.into()));
        }
        if let Some(speed) = self.speed {
            w.attribute("speed", speed.as_str());
        }
        w.attribute_with("width", |out| push_signed(out, self.width.into()));
        w.end("link");
    }
}

impl XmlElement for PciExpress {
    const NAME: &'static str = "pci-express";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let mut link = |validity: &str| {
            let mut links = element.children_named("link");
            let found = links.find(|link| link.attr("validity").as_deref() == Some(validity));
            found.map(|link| PciLink::read(link, cx)).transpose()
        };
        Ok(Self {
            best: link("cap")?,
            present: link("sta")?,
        })
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        for (link, validity) in [(&self.best, "cap"), (&self.present, "sta")] {
            if let Some(link) = link {
                link.write(w, validity);
            }
        }
    }

    fn schema() -> &'static xml::ElementSchema {
        xml::describe!("PciExpress", "pci-express", "Links of a PCI Express device." => {
            /// The fastest link that it can have, and the one it has.
            "link" => links: elements {
                /// `cap` for the fastest it can have, `sta` for the present one.
                "@validity" => validity: value(String),
                /// Number of the port.
                "@port" => port: value(i32),
                /// Speed in GT/s.
                "@speed" => speed: value(PciLinkSpeed),
                /// Number of lanes.
                "@width" => width: value(u32),
            },
        })
    }
}

/// What the maker of a PCI device has stored in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VitalProductData {
    /// What the device is.
    pub name: String,
    /// What nobody can change.
    pub read_only: Option<ReadOnlyFields>,
    /// What can be changed.
    pub read_write: Option<ReadWriteFields>,
}

/// Fields of a PCI device that nobody can change.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "fields", check = ReadOnlyFields::after_read)]
pub struct ReadOnlyFields {
    /// Number of the engineering change.
    #[xml("change_level")]
    pub change_level: Option<String>,
    /// Who made it.
    #[xml("manufacture_id")]
    pub manufacture_id: Option<String>,
    /// What its maker orders it as.
    #[xml("part_number")]
    pub part_number: Option<String>,
    /// What tells this piece from others of its kind.
    #[xml("serial_number")]
    pub serial_number: Option<String>,
    /// Fields of its maker's own.
    #[xml("vendor_field")]
    pub vendor_fields: Vec<CustomField>,
}

/// Fields of a PCI device that can be changed.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "fields", check = ReadWriteFields::after_read)]
pub struct ReadWriteFields {
    /// What its owner calls it.
    #[xml("asset_tag")]
    pub asset_tag: Option<String>,
    /// Fields of its maker's own.
    #[xml("vendor_field")]
    pub vendor_fields: Vec<CustomField>,
    /// Fields of the machine's own.
    #[xml("system_field")]
    pub system_fields: Vec<CustomField>,
}

/// A field with a number.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = CustomField::after_read)]
pub struct CustomField {
    /// A digit or a letter.
    #[xml("@index")]
    pub index: String,
    /// What is stored in it.
    #[xml("text()", default, always)]
    pub value: String,
}

impl CustomField {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.index.len() == 1 {
            return Ok(());
        }
        let what = format!(
            "invalid value '{}' of attribute 'index': expected one character",
            self.index
        );
        cx.fail(error_at(element, At::Attribute("index"), what))
    }

    /// Of fields of one number the last counts, in the place of the first. Fields that no device can have are passed over.
    fn settle(fields: &mut Vec<Self>, allowed: fn(u8) -> bool) {
        let mut settled: Vec<Self> = Vec::with_capacity(fields.len());
        for field in fields.drain(..) {
            if !field.index.bytes().all(allowed) {
                continue;
            }
            match settled.iter_mut().find(|known| known.index == field.index) {
                Some(known) => known.value = field.value,
                None => settled.push(field),
            }
        }
        *fields = settled;
    }
}

impl ReadOnlyFields {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        CustomField::settle(&mut self.vendor_fields, is_vendor_index);
        Ok(())
    }
}

impl ReadWriteFields {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        CustomField::settle(&mut self.vendor_fields, is_vendor_index);
        // System field A would be the asset tag.
        CustomField::settle(&mut self.system_fields, |index| {
            is_vendor_index(index) && index != b'A'
        });
        Ok(())
    }
}

fn is_vendor_index(index: u8) -> bool {
    index.is_ascii_digit() || index.is_ascii_uppercase()
}

mod vital_product_data {
    use super::*;

    pub(super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Option<VitalProductData>> {
        let Some(data) = nested(element, "vpd") else {
            return Ok(None);
        };
        let name = read::child(data, cx, "name")?;
        let mut found = VitalProductData {
            name: read::required(data, At::Child("name"), name)?,
            ..VitalProductData::default()
        };
        for fields in data.children_named("fields") {
            let access = fields
                .attr("access")
                .ok_or_else(|| xml::missing(fields, At::Attribute("access")))?;
            match &*access {
                "readonly" => found.read_only = Some(ReadOnlyFields::read(fields, cx)?),
                "readwrite" => found.read_write = Some(ReadWriteFields::read(fields, cx)?),
                other => {
                    let error = ValueError::words(&["readonly", "readwrite"]);
                    let error = xml::invalid_value(fields, At::Attribute("access"), other, &error);
                    cx.fail(error.in_domain(ErrorDomain::NODEDEV))?;
                }
            }
        }
        Ok(Some(found))
    }

    pub(super) fn write(value: &Option<VitalProductData>, w: &mut Writer) {
        let Some(data) = value else { return };
        start_nested(w, "vpd");
        w.text_element("name", &data.name);
        let read_only = data
            .read_only
            .as_ref()
            .map(|fields| ("readonly", fields as &dyn Fields));
        let read_write = data
            .read_write
            .as_ref()
            .map(|fields| ("readwrite", fields as &dyn Fields));
        for (access, fields) in read_only.into_iter().chain(read_write) {
            w.start("fields");
            w.attribute("access", access);
            w.open_body();
            fields.write_fields(w);
            w.end("fields");
        }
        w.end("capability");
    }

    trait Fields {
        fn write_fields(&self, w: &mut Writer);
    }

    impl<T: XmlElement> Fields for T {
        fn write_fields(&self, w: &mut Writer) {
            self.write_content(w);
        }
    }
}
