//! Mediated devices, and the types of them that a parent offers.

use virt_util::Result;
use virt_util::uuid::Uuid;
use virt_util::xml::{Element, Reader, Writer, Xml, XmlElement, XmlFlags, read};

use super::{nested, start_nested};

/// A mediated device: a part of a parent device that a guest can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MdevDevice {
    /// How it is defined.
    pub defined: MdevConfig,
    /// How it runs.
    pub active: MdevConfig,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// The address of its parent, as the host says; not read.
    pub parent_address: Option<String>,
    /// Number of its IOMMU group.
    pub iommu_group: u32,
}

/// How a mediated device is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MdevConfig {
    /// Which type of its parent's it is.
    pub type_id: Option<String>,
    /// What is written into its files in `/sys`, in this order.
    pub attributes: Vec<MdevAttribute>,
}

/// What is written into a file of a mediated device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "attr")]
pub struct MdevAttribute {
    /// The file.
    #[xml("@name")]
    pub name: String,
    /// What is written.
    #[xml("@value")]
    pub value: String,
}

impl XmlElement for MdevDevice {
    const NAME: &'static str = "capability";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        use virt_util::xml::{At, ValueError, error_with, parse_integer};
        let kind = element.child_or_ghost("type");
        let type_id = kind
            .attr("id")
            .filter(|id| !id.is_empty())
            .map(|id| id.into_owned());
        if type_id.is_none() {
            let code = virt_util::ErrorCode::CONFIG_UNSUPPORTED;
            let what = "missing attribute 'id' of element 'type'";
            cx.fail(error_with(code, element, At::Child("type"), what))?;
        }
        let internal = (virt_util::ErrorCode::INTERNAL_ERROR, None);
        let uuid = read::coded(element, cx, internal, |cx| {
            read::child::<Uuid>(element, cx, "uuid")
        })?;
        let group = element.child_or_ghost("iommuGroup");
        let number: fn(&str) -> std::result::Result<u32, ValueError> = |text| parse_integer(text, 10);
        let iommu_group = read::coded(group, cx, internal, |cx| {
            read::attr_nonempty(group, cx, "number", number)
        })?;
        let iommu_group = iommu_group.unwrap_or_default();
        // What lacks a name or a value is passed over, as libvirt does.
        let said = |attribute: &Element<'_>| {
            ["name", "value"]
                .iter()
                .all(|name| attribute.attr(name).is_some_and(|text| !text.is_empty()))
        };
        let attributes = element.children_named("attr").filter(said);
        let attributes: Result<Vec<_>> = attributes
            .map(|attribute| MdevAttribute::read(attribute, cx))
            .collect();
        Ok(Self {
            defined: MdevConfig {
                type_id,
                attributes: attributes?,
            },
            uuid,
            iommu_group,
            ..Self::default()
        })
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        w.open_body();
        let config = if w.has(XmlFlags::INACTIVE) {
            &self.defined
        } else {
            &self.active
        };
        if let Some(id) = &config.type_id {
            w.start("type");
            w.attribute("id", id);
            w.end("type");
        }
        if let Some(uuid) = &self.uuid {
            uuid.write(w, "uuid");
        }
        if let Some(address) = &self.parent_address {
            w.text_element("parent_addr", address);
        }
        w.start("iommuGroup");
        w.attribute_with("number", |out| {
            virt_util::xml::push_unsigned(out, self.iommu_group.into())
        });
        w.end("iommuGroup");
        for attribute in &config.attributes {
            attribute.write(w, "attr");
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("MdevDevice", "capability", "A mediated device: a part of a parent device that a guest can have." => {
            /// Which type of its parent's it is.
            "type@id" => type_id: value(String),
            /// UUID by which it is made and found.
            "uuid" => uuid: value(Uuid),
            /// The address of its parent; told, never read.
            "parent_addr" => parent_address: value(String),
            /// Number of its IOMMU group.
            "iommuGroup@number" => iommu_group: value(u32),
            /// What is written into its files in `/sys`, in this order.
            "attr" => attributes: elements(MdevAttribute),
        })
    }
}

/// A type of mediated device that a parent offers.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "type", body)]
pub struct MdevType {
    /// What names it.
    #[xml("@id", own)]
    pub id: String,
    /// What it is, for people.
    #[xml("name")]
    pub name: Option<String>,
    /// How guests use devices of the type: `vfio-pci` …
    #[xml("deviceAPI")]
    pub device_api: String,
    /// How many more can be made.
    #[xml("availableInstances")]
    pub available_instances: u32,
}

/// What holds the types of mediated devices.
pub(super) fn mdev_types_shape() -> &'static virt_util::xml::ElementSchema {
    fn capability() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!(union "@type", "MdevCapability", "capability", "What a device is beyond that." => {
            /// A parent of mediated devices.
            "mdev_types" => {
                /// Types that it offers.
                "type" => types: elements(MdevType),
            },
        })
    }
    virt_util::xml::describe!("MdevTypes", "", "Types of mediated devices that a device offers." => {
        /// What the device is beyond that.
        "capability" => capabilities: shapes(capability),
    })
}

/// `with` on `"."`: the types in a nested `<capability type='mdev_types'>`.
pub(super) mod mdev_types {
    use super::*;

    pub(in super::super) fn read(element: Element<'_>, cx: &mut Reader) -> Result<Vec<MdevType>> {
        match nested(element, "mdev_types") {
            Some(types) => read::children(types, cx, "type"),
            None => Ok(Vec::new()),
        }
    }

    pub(in super::super) fn write(value: &Vec<MdevType>, w: &mut Writer) {
        if !value.is_empty() {
            start_nested(w, "mdev_types");
            for kind in value {
                kind.write(w, "type");
            }
            w.end("capability");
        }
    }
}
