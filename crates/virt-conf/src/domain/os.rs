//! What the guest is and what it boots from.

use virt_util::xml::{At, Element, Rare, Reader, Writer, Xml, XmlFlags, error_at, error_with, read};
use virt_util::{ErrorCode, Result};

use super::storage::{StorageFormat, StorageSource, StorageType};

xml_enum! {
    /// The kind of guest operating system (`<os><type>`).
    pub enum OsType { Hvm = "hvm", Xen = "xen", Linux = "linux", Exe = "exe", Uml = "uml", Xenpvh = "xenpvh" }
}

xml_enum! {
    /// A class of device to boot from.
    pub enum BootDevice { Fd = "fd", Cdrom = "cdrom", Hd = "hd", Network = "network" }
}

xml_enum! {
    /// How the firmware image is mapped into the guest.
    pub enum LoaderType { Rom = "rom", Pflash = "pflash" }
}

xml_enum! {
    /// Which kind of firmware is selected automatically.
    pub enum FirmwareType { Bios = "bios", Efi = "efi" }
}

xml_enum! {
    /// A firmware feature that selection may require or exclude.
    pub enum FirmwareFeatureName { EnrolledKeys = "enrolled-keys", SecureBoot = "secure-boot" }
}

xml_enum! {
    /// How an ACPI table file is passed to the guest.
    pub enum AcpiTableType { Raw = "raw", Rawset = "rawset", Slic = "slic", Msdm = "msdm" }
}

xml_enum! {
    /// Where the SMBIOS data shown to the guest comes from.
    pub enum SmbiosMode { None = "none", Emulate = "emulate", Host = "host", Sysinfo = "sysinfo" }
}

/// What the guest is and what it boots from.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "os", body, check = Os::after_read)]
pub struct Os {
    /// Firmware that is selected automatically.
    #[xml("@firmware", own, nonempty, when = !w.has(XmlFlags::MIGRATABLE))]
    pub firmware: Option<FirmwareType>,
    /// Kind, architecture and machine.
    #[xml("type", ghost)]
    pub kind: OsKind,
    /// Features that the firmware must or must not have.
    #[xml("firmware+/feature", when = !w.has(XmlFlags::MIGRATABLE))]
    pub firmware_features: Rare<Vec<FirmwareFeature>>,
    /// First program of a container.
    #[xml("init")]
    pub init: Rare<Option<String>>,
    /// Its arguments.
    #[xml("initarg")]
    pub init_args: Rare<Vec<String>>,
    /// Its environment.
    #[xml("initenv")]
    pub init_env: Rare<Vec<InitEnv>>,
    /// Its folder.
    #[xml("initdir")]
    pub init_dir: Rare<Option<String>>,
    /// User that the first program of a container runs as.
    #[xml("inituser")]
    pub init_user: Rare<Option<String>>,
    /// Group that the first program of a container runs as.
    #[xml("initgroup")]
    pub init_group: Rare<Option<String>>,
    /// Firmware image.
    #[xml("loader", omit_empty)]
    pub loader: Option<Box<Loader>>,
    /// Variables of the firmware.
    #[xml("nvram+", with = nvram_element, shape = nvram_shape)]
    pub nvram: Option<Box<NvramImage>>,
    /// Kernel that is booted directly.
    #[xml("kernel")]
    pub kernel: Rare<Option<String>>,
    /// Its initial RAM disk.
    #[xml("initrd")]
    pub initrd: Rare<Option<String>>,
    /// Its command line.
    #[xml("cmdline")]
    pub cmdline: Rare<Option<String>>,
    /// Boot loader that checks its signature.
    #[xml("shim")]
    pub shim: Rare<Option<String>>,
    /// Device tree.
    #[xml("dtb")]
    pub dtb: Rare<Option<String>>,
    /// Root device of a paravirtual guest.
    #[xml("root")]
    pub root: Rare<Option<String>>,
    /// ACPI tables.
    #[xml("acpi+/table")]
    pub acpi_tables: Rare<Vec<AcpiTable>>,
    /// Classes of devices to boot from, in order.
    #[xml("boot", when = !self.loader_chooses)]
    pub boot: Vec<BootEntry>,
    /// Whether the firmware asks which device to boot from, and how long.
    #[xml("bootmenu", when = !self.loader_chooses)]
    pub boot_menu: Option<BootMenu>,
    /// BIOS settings.
    #[xml("bios", omit_empty, when = !self.loader_chooses)]
    pub bios: Option<Bios>,
    /// Whether a boot loader chooses what is booted: what is said of it stays known to converters, and is not written.
    #[xml(skip)]
    pub loader_chooses: bool,
    /// Where the SMBIOS data come from.
    #[xml("smbios+@mode", default, nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub smbios: SmbiosMode,
}

/// Kind, architecture and machine of a guest.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "type", check = OsKind::after_read)]
pub struct OsKind {
    /// Architecture; none until the definition is normalized.
    #[xml("@arch", nonempty, code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub arch: Option<String>,
    /// Machine; none until the definition is normalized.
    #[xml("@machine", nonempty)]
    pub machine: Option<String>,
    /// Kind of guest. Only a guest with a boot loader of its own may leave it out: it is one of Xen's then.
    #[xml("text()", nonempty, default = OsType::Xen, always, code = ErrorCode::CONFIG_UNSUPPORTED, write_as = if self.called_linux { OsType::Linux } else { self.os })]
    pub os: OsType,
    /// Old clients know Xen's paravirtual guests as "linux", and get to read that.
    #[xml(skip)]
    pub called_linux: bool,
}

impl OsKind {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let Some(arch) = &self.arch
            && arch.parse::<virt_util::arch::Arch>().is_err()
        {
            let what = format!("unknown architecture '{arch}'");
            let code = ErrorCode::CONFIG_UNSUPPORTED;
            cx.fail(error_with(code, element, At::Attribute("arch"), what))?;
        }
        Ok(())
    }
}

/// A feature that firmware must or must not have.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "feature")]
pub struct FirmwareFeature {
    /// Whether it must have it.
    #[xml("@enabled")]
    pub enabled: bool,
    /// The feature.
    #[xml("@name")]
    pub name: FirmwareFeatureName,
}

/// Environment of the first program.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "initenv")]
pub struct InitEnv {
    /// Which variable is set.
    #[xml("@name")]
    pub name: String,
    /// What the variable is set to.
    #[xml("text()")]
    pub value: String,
}

/// Firmware image.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "loader")]
pub struct Loader {
    /// The guest cannot write it.
    #[xml("@readonly")]
    pub read_only: Option<bool>,
    /// It guards its variables by system management mode.
    #[xml("@secure")]
    pub secure: Option<bool>,
    /// How it is mapped.
    #[xml("@type")]
    pub kind: Option<LoaderType>,
    /// It keeps no variables.
    #[xml("@stateless")]
    pub stateless: Option<bool>,
    /// Format of the image: `raw` or `qcow2`.
    #[xml("@format", with = firmware_format, described = FirmwareFormat, read_when = element.attr("format").as_deref() != Some(NO_FORMAT))]
    pub format: Option<StorageFormat>,
    /// Absolute path of the image on the host.
    #[xml("text()")]
    pub path: Option<String>,
}

xml_enum! {
    /// Formats that images of firmware may have.
    pub enum FirmwareFormat { Raw = "raw", Qcow2 = "qcow2" }
}

/// Says as much of an image of firmware as nothing.
const NO_FORMAT: &str = "none";

/// `with` for formats that are [`FirmwareFormat`]s.
mod firmware_format {
    use super::{FirmwareFormat, StorageFormat};
    use virt_util::xml::{ValueError, XmlValue};

    pub(super) fn parse(text: &str) -> Result<StorageFormat, ValueError> {
        FirmwareFormat::parse_value(text).map(|format| match format {
            FirmwareFormat::Raw => StorageFormat::Raw,
            FirmwareFormat::Qcow2 => StorageFormat::Qcow2,
        })
    }

    pub(super) fn format(value: &StorageFormat, out: &mut String) {
        out.push_str(value.as_str());
    }

    /// [`parse`] of what may also be none.
    pub(super) fn parse_any(text: &str) -> Result<Option<StorageFormat>, ValueError> {
        match text {
            super::NO_FORMAT => Ok(None),
            text => parse(text).map(Some),
        }
    }
}

/// Variables of the firmware.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NvramImage {
    /// Image that a new one is copied from.
    pub template: Option<String>,
    /// Its format.
    pub template_format: Option<StorageFormat>,
    /// The image, named by `<source>` and `type='…'`, or by its path alone.
    pub source: NvramSource,
    /// Format of the image.
    pub format: Option<StorageFormat>,
}

/// How the image of the variables is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum NvramSource {
    /// Not at all: the driver chooses.
    #[default]
    None,
    /// By its path.
    Path(String),
    /// By `<source>`.
    Source(Box<StorageSource>),
}

impl NvramImage {
    /// Path of the image, if it is a file of this host.
    pub fn path(&self) -> Option<&str> {
        match &self.source {
            NvramSource::None => None,
            NvramSource::Path(path) => Some(path),
            NvramSource::Source(source) => source.location.path(),
        }
    }
}

fn nvram_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("NvramImage", "nvram", "Variables of the firmware." => {
        /// File that the variables are copied from at the first start.
        "@template" => template: value(String),
        /// Format of that file.
        "@templateFormat" => template_format: value(FirmwareFormat),
        /// What kind of place holds the image, if it is said by a source.
        "@type" => storage_type: value(StorageType),
        /// Format of the image.
        "@format" => format: value(FirmwareFormat),
        /// Path of the image.
        "text()" => path: value(String),
        /// The image, where a path does not do.
        "source" => source: shape(super::storage::source_shape),
    })
}

/// `with` for [`NvramImage`].
mod nvram_element {
    use super::*;
    use virt_util::xml::XmlValue;

    /// All but the source is said by the first element, the source by any.
    pub(super) fn read(joined: Element<'_>, cx: &mut Reader) -> Result<NvramImage> {
        let element = joined.alone();
        let kind: Option<StorageType> = read::attr(element, cx, "type", XmlValue::parse_value)?;
        let text = element.text();
        let source = match kind {
            Some(_) => match read::child_with(joined, cx, "source", StorageSource::read)? {
                Some(source) => NvramSource::Source(Box::new(source)),
                None => return Err(virt_util::xml::missing(element, At::Child("source"))),
            },
            None if text.is_empty() => NvramSource::None,
            None => NvramSource::Path(text.into_owned()),
        };
        Ok(NvramImage {
            template: read::attr(element, cx, "template", XmlValue::parse_value)?,
            template_format: read::attr(element, cx, "templateFormat", firmware_format::parse_any)?.flatten(),
            source,
            format: read::attr(element, cx, "format", firmware_format::parse_any)?.flatten(),
        })
    }

    pub(super) fn write(value: &NvramImage, w: &mut Writer, name: &'static str) {
        let mark = w.begin_optional(name);
        if let Some(template) = &value.template {
            w.attribute("template", template);
        }
        if let Some(format) = value.template_format {
            w.attribute("templateFormat", format.as_str());
        }
        if let NvramSource::Source(source) = &value.source {
            w.attribute("type", source.location.xml_tag());
        }
        if let Some(format) = value.format.filter(|_| value.source != NvramSource::None) {
            w.attribute("format", format.as_str());
        }
        match &value.source {
            NvramSource::None => {}
            NvramSource::Path(path) => w.text(path),
            NvramSource::Source(source) => source.write(w, false),
        }
        w.end_optional(name, mark);
    }
}

/// An ACPI table.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "table")]
pub struct AcpiTable {
    /// How it is passed.
    #[xml("@type")]
    pub kind: AcpiTableType,
    /// Its file.
    #[xml("text()", with = crate::values::tidy_path, described = String, default, always)]
    pub path: String,
}

/// A class of devices to boot from.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "boot")]
pub struct BootEntry {
    /// The class.
    #[xml("@dev")]
    pub dev: BootDevice,
}

/// Boot menu.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bootmenu", check = BootMenu::after_read)]
pub struct BootMenu {
    /// Whether it is shown.
    #[xml("@enable")]
    pub enable: Option<bool>,
    /// Milliseconds, at most 65535.
    #[xml("@timeout", read_when = enable == Some(true), when = self.enable.is_some())]
    pub timeout: Option<u32>,
}

impl BootMenu {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.enable != Some(true) {
            self.timeout = None;
        }
        // Who stops at the first error is told of this when all is read, as libvirt does.
        if cx.collects() && self.timeout.is_some_and(|timeout| timeout > 65535) {
            let what = "expected 0 to 65535 milliseconds";
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("timeout"),
                what,
            ))?;
        }
        Ok(())
    }
}

/// BIOS settings.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bios", check = Bios::after_read)]
pub struct Bios {
    /// Whether it writes to the serial port.
    #[xml("@useserial", with = crate::values::lenient_yes, described = bool)]
    pub use_serial: Option<bool>,
    /// Milliseconds until it tries again to boot, -1 to 65535.
    #[xml("@rebootTimeout")]
    pub reboot_timeout: Option<i32>,
}

impl Bios {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if cx.collects()
            && self
                .reboot_timeout
                .is_some_and(|timeout| !(-1..=65535).contains(&timeout))
        {
            let what = "expected -1 (no reboot) to 65535 milliseconds";
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("rebootTimeout"),
                what,
            ))?;
        }
        Ok(())
    }
}

impl Os {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        // Variables of a format want firmware of that format.
        if let (None, Some(format)) = (&self.loader, self.nvram.as_ref().and_then(|nvram| nvram.format)) {
            self.loader = Some(Box::new(Loader {
                format: Some(format),
                ..Loader::default()
            }));
        }
        let mut features: Vec<FirmwareFeature> = Vec::new();
        for name in FirmwareFeatureName::ALL {
            features.extend(
                self.firmware_features
                    .iter()
                    .rev()
                    .find(|feature| feature.name == *name),
            );
        }
        self.firmware_features = features.into();
        // Each kind of guest has its own way to boot; what belongs to others means nothing.
        if self.kind.os != OsType::Exe {
            for text in [
                &mut self.init,
                &mut self.init_dir,
                &mut self.init_user,
                &mut self.init_group,
            ] {
                text.clear();
            }
            self.init_args.clear();
            self.init_env.clear();
        }
        if self.kind.os == OsType::Hvm {
            if self.boot_menu.as_ref().is_some_and(|menu| menu.enable.is_none()) {
                self.boot_menu = None;
            }
        } else {
            self.boot.clear();
            (self.boot_menu, self.bios, self.firmware) = (None, None, None);
            self.firmware_features.clear();
            self.acpi_tables.clear();
        }
        if self.kind.os == OsType::Exe {
            for text in [&mut self.kernel, &mut self.initrd, &mut self.cmdline] {
                text.clear();
            }
        }
        for (at, table) in self.acpi_tables.iter().enumerate() {
            let twice = self
                .acpi_tables
                .iter()
                .take(at)
                .any(|other| other.kind == table.kind);
            if twice && table.kind != AcpiTableType::Raw {
                let what = format!(
                    "ACPI table type '{}' may only appear once; tables of type 'raw' may be many",
                    table.kind.as_str()
                );
                cx.fail(error_at(element, At::Child("acpi"), what))?;
            }
        }
        Ok(())
    }

    /// Whether the guest is a fully virtualized machine.
    pub fn is_hvm(&self) -> bool {
        self.kind.os == OsType::Hvm
    }
}

#[cfg(test)]
mod tests {
    use virt_util::xml::XmlFlags;
    use virt_util::{ErrorCode, Result};

    use super::*;
    use crate::domain::Domain;

    fn parse(inner: &str) -> Result<Domain> {
        let text = format!("<domain type='test'><name>a</name><memory>1</memory>{inner}</domain>");
        Domain::parse(&text, XmlFlags::INACTIVE, "test")
    }

    #[test]
    fn a_boot_loader_stands_for_the_kind_of_guest() {
        for os in ["", "<os/>", "<os><type/></os>", "<os><kernel>/k</kernel></os>"] {
            let domain = parse(&format!("<bootloader>/bin/pygrub</bootloader>{os}")).unwrap();
            assert_eq!(domain.os.kind.os, OsType::Xen, "{os}");
            assert!(domain.format(XmlFlags::INACTIVE).contains("xen</type>"), "{os}");
            for bootloader in ["", "<bootloader/>"] {
                let error = parse(&format!("{bootloader}{os}")).unwrap_err();
                assert_eq!(error.code(), ErrorCode::XML_ERROR, "{error}");
                assert!(error.to_string().contains("<bootloader>"), "{error}");
            }
        }
    }

    #[test]
    fn tables_of_acpi_stand_once_unless_raw() {
        let tables = |first: &str, second: &str| {
            parse(&format!(
                "<os><type>hvm</type><acpi><table type='{first}'>/a//b</table><table type='{second}'>/c</table></acpi></os>"
            ))
        };
        assert_eq!(tables("raw", "raw").unwrap().os.acpi_tables[0].path, "/a/b");
        assert!(tables("slic", "msdm").is_ok());
        for kind in ["slic", "msdm", "rawset"] {
            let error = tables(kind, kind).unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
        }
    }
}
