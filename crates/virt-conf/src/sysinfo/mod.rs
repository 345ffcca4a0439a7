//! System information: SMBIOS tables and firmware configuration entries, as a guest reads them; [`host`] has the tables of
//! the host itself.

pub mod host;

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlValue, error_at, error_with};
use virt_util::{ErrorCode, Result};

/// System information.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "sysinfo", union = "@type")]
pub enum Sysinfo {
    /// SMBIOS tables.
    Smbios(Box<Smbios>),
    /// Entries of the firmware configuration device.
    Fwcfg {
        /// Texts and files that the guest finds by their names.
        #[xml("entry")]
        entries: Vec<FirmwareEntry>,
    },
}

/// An entry of the firmware configuration device: a text or a file.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "entry", check = FirmwareEntry::after_read)]
pub struct FirmwareEntry {
    /// Where the guest finds it, as in `opt/com.example/key`.
    #[xml("@name", own)]
    pub name: String,
    /// Path of a file whose content is the entry.
    #[xml("@file", with = crate::values::tidy_path, described = String)]
    pub file: Option<String>,
    /// What the entry holds, if no file does.
    #[xml("text()", when = self.file.is_none())]
    pub value: Option<String>,
}

impl FirmwareEntry {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match (&self.file, &self.value) {
            (None, None) => cx.fail(error_at(
                element,
                At::Text,
                "a firmware entry needs a text or a file",
            )),
            _ => Ok(()),
        }
    }
}

/// SMBIOS tables.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = Smbios::after_read)]
pub struct Smbios {
    /// Type 0.
    #[xml("bios")]
    pub bios: Option<BiosTable>,
    /// Type 1.
    #[xml("system")]
    pub system: Option<SystemTable>,
    /// Type 2.
    #[xml("baseBoard")]
    pub base_boards: Vec<BaseBoardTable>,
    /// Type 3.
    #[xml("chassis")]
    pub chassis: Option<ChassisTable>,
    /// Type 4; of the host only.
    #[xml("processor")]
    pub processors: Vec<ProcessorTable>,
    /// Type 17; of the host only.
    #[xml("memory_device")]
    pub memory: Vec<MemoryTable>,
    /// Type 11.
    #[xml("oemStrings")]
    pub oem_strings: Option<OemStrings>,
}

impl Smbios {
    fn after_read(&mut self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        self.base_boards
            .retain(|board| *board != BaseBoardTable::default());
        Ok(())
    }
}

/// OEM strings.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "oemStrings", body, absent = OemStrings::is_void)]
pub struct OemStrings {
    /// The strings.
    #[xml("entry", with = oem_string, described = String)]
    pub entries: Vec<String>,
}

impl OemStrings {
    fn is_void(element: Element<'_>) -> bool {
        element.child("entry").is_none()
    }
}

/// A string may be empty.
mod oem_string {
    use super::*;

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<String> {
        Ok(element.text().into_owned())
    }

    pub(super) fn write(value: &str, w: &mut Writer, name: &str) {
        w.text_element(name, value);
    }
}

/// A table whose entries are `<entry name='…'>text</entry>`.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident $element:literal { $($(#[$field_meta:meta])* $field:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: Option<String>,)*
        }

        impl $name {
            /// The first entry of each name, if it says anything.
            fn of(element: Element<'_>) -> Self {
                let entry = |word: &str| {
                    let mut entries = element.children_named("entry");
                    let entry = entries.find(|entry| entry.attr("name").as_deref() == Some(word))?;
                    Some(entry.text().into_owned()).filter(|text| !text.is_empty())
                };
                Self { $($field: entry($word),)* }
            }
        }

        impl XmlElement for $name {
            const NAME: &'static str = $element;

            fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
                let table = Self::of(element);
                table.check(element, cx)?;
                Ok(table)
            }

            fn counts_as_absent(element: Element<'_>) -> bool {
                Self::of(element) == Self::default()
            }

            fn write_attributes(&self, _w: &mut Writer) {}

            fn write_content(&self, w: &mut Writer) {
                w.open_body();
                $(if let Some(value) = &self.$field {
                    w.start("entry");
                    w.attribute("name", $word);
                    w.text(value);
                    w.end("entry");
                })*
            }

            fn schema() -> &'static virt_util::xml::ElementSchema {
                virt_util::xml::describe!(stringify!($name), $element, concat!("The SMBIOS table `", $element, "`.") => {
                    /// The entries of the table.
                    "entry" => entries: elements {
                        /// Which entry it is.
                        "@name" => name: value(String),
                        /// What it says.
                        "text()" => value: value(String),
                    },
                })
            }
        }
    };
}

/// What a table's entries must look like.
trait CheckTable {
    fn check(&self, _element: Element<'_>, _cx: &mut Reader) -> Result<()> {
        Ok(())
    }
}

impl CheckTable for BiosTable {
    fn check(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.date.as_deref().is_none_or(is_bios_date) {
            return Ok(());
        }
        let what = format!(
            "Invalid BIOS 'date' format: '{}', expected mm/dd/yyyy or mm/dd/yy",
            self.date.as_deref().unwrap_or_default()
        );
        cx.fail(error_with(
            ErrorCode::XML_DETAIL,
            element,
            At::Child("entry"),
            what,
        ))
    }
}

impl CheckTable for SystemTable {
    fn check(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let valid = |text: &String| <virt_util::uuid::Uuid as XmlValue>::parse_value(text).is_ok();
        if self.uuid.as_ref().is_none_or(valid) {
            return Ok(());
        }
        let what = "malformed <sysinfo> uuid element";
        cx.fail(error_with(
            ErrorCode::XML_DETAIL,
            element,
            At::Child("entry"),
            what,
        ))
    }
}

impl CheckTable for BaseBoardTable {}
impl CheckTable for ChassisTable {}
impl CheckTable for ProcessorTable {}
impl CheckTable for MemoryTable {}

/// mm/dd/yyyy, or mm/dd/yy for 19yy.
fn is_bios_date(text: &str) -> bool {
    let mut parts = text.split('/').map(|part| part.trim_start().parse::<i32>().ok());
    let date = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(
        date,
        (Some(Some(month)), Some(Some(day)), Some(Some(year)), None)
            if (1..=12).contains(&month) && (1..=31).contains(&day) && ((0..100).contains(&year) || year >= 1900)
    )
}

table!(
    /// SMBIOS type 0.
    BiosTable "bios" {
        /// Vendor.
        vendor = "vendor",
        /// Version.
        version = "version",
        /// Date: mm/dd/yyyy.
        date = "date",
        /// Release: major.minor.
        release = "release",
    }
);
table!(
    /// SMBIOS type 1.
    SystemTable "system" {
        /// Manufacturer.
        manufacturer = "manufacturer",
        /// Product.
        product = "product",
        /// Version.
        version = "version",
        /// Serial number.
        serial = "serial",
        /// UUID; the guest's own.
        uuid = "uuid",
        /// Stock keeping unit.
        sku = "sku",
        /// Family.
        family = "family",
    }
);
table!(
    /// SMBIOS type 2.
    BaseBoardTable "baseBoard" {
        /// Manufacturer.
        manufacturer = "manufacturer",
        /// Product.
        product = "product",
        /// Version.
        version = "version",
        /// Serial number.
        serial = "serial",
        /// Asset tag.
        asset = "asset",
        /// Location.
        location = "location",
    }
);
table!(
    /// SMBIOS type 3.
    ChassisTable "chassis" {
        /// Manufacturer.
        manufacturer = "manufacturer",
        /// Version.
        version = "version",
        /// Serial number.
        serial = "serial",
        /// Asset tag.
        asset = "asset",
        /// Stock keeping unit.
        sku = "sku",
    }
);
table!(
    /// SMBIOS type 4.
    ProcessorTable "processor" {
        /// Socket.
        socket_destination = "socket_destination",
        /// Kind.
        kind = "type",
        /// Family.
        family = "family",
        /// Manufacturer.
        manufacturer = "manufacturer",
        /// Signature.
        signature = "signature",
        /// Version.
        version = "version",
        /// External clock.
        external_clock = "external_clock",
        /// Greatest speed.
        max_speed = "max_speed",
        /// Status.
        status = "status",
        /// Serial number.
        serial_number = "serial_number",
        /// Part number.
        part_number = "part_number",
    }
);
table!(
    /// SMBIOS type 17.
    MemoryTable "memory_device" {
        /// Size.
        size = "size",
        /// Form.
        form_factor = "form_factor",
        /// Socket.
        locator = "locator",
        /// Bank.
        bank_locator = "bank_locator",
        /// Kind.
        kind = "type",
        /// Kind in detail.
        type_detail = "type_detail",
        /// Speed.
        speed = "speed",
        /// Manufacturer.
        manufacturer = "manufacturer",
        /// Serial number.
        serial_number = "serial_number",
        /// Part number.
        part_number = "part_number",
    }
);
