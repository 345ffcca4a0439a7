//! What all devices share: alias, boot order, option ROM and the address on a guest bus.

use virt_util::xml::{At, Element, Rare, Reader, Xml, XmlFlags, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use crate::values::HostPciAddress;

/// Common part of a device.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(check = DeviceInfo::after_read)]
pub struct DeviceInfo {
    /// Place of the device in the boot order.
    #[xml("boot")]
    pub boot: Option<Box<DeviceBoot>>,
    /// Name of the device, unique in the guest: given by the driver, or by the user with the prefix `ua-`.
    #[xml("alias+@name", nonempty)]
    pub alias: Rare<Option<String>>,
    /// First port of the companion controller, for USB 1 companions of an EHCI controller.
    #[xml("master@startport")]
    pub usb_master_port: Option<u32>,
    /// Option ROM of a PCI device.
    #[xml("rom", omit_empty)]
    pub rom: Option<Box<Rom>>,
    /// Index that ACPI gives a PCI device, which names network interfaces in the guest.
    #[xml("acpi@index")]
    pub acpi_index: Option<u32>,
    /// Where the guest finds the device.
    #[xml("address")]
    pub address: Option<Address>,
}

/// Boot order of a device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "boot", check = DeviceBoot::after_read)]
pub struct DeviceBoot {
    /// 1 is tried first.
    #[xml("@order")]
    pub order: u32,
    /// Parameter for the boot loader of s390, upper case.
    #[xml("@loadparm")]
    pub loadparm: Option<String>,
}

/// Option ROM of a PCI device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "rom", check = Rom::after_read)]
pub struct Rom {
    /// Whether the guest sees a ROM at all.
    #[xml("@enabled")]
    pub enabled: Option<bool>,
    /// Whether the ROM is visible in the guest's memory map.
    #[xml("@bar", on_off)]
    pub bar: Option<bool>,
    /// File with the ROM's content.
    #[xml("@file")]
    pub file: Option<String>,
}

/// Where the guest finds a device.
#[derive(Xml, Clone, Debug, PartialEq, Eq, Hash)]
#[xml(name = "address", union = "@type")]
pub enum Address {
    /// On a PCI bus.
    Pci(PciAddress),
    /// On a disk controller.
    Drive(DriveAddress),
    /// On a virtio serial controller.
    VirtioSerial(VirtioSerialAddress),
    /// On a smart card reader.
    Ccid(CcidAddress),
    /// On a USB bus.
    Usb(UsbAddress),
    /// On the virtual I/O bus of pSeries guests.
    SpaprVio(SpaprVioAddress),
    /// On a channel of s390.
    Ccw(CcwAddress),
    /// On the virtio bus of old s390 guests, which has no addresses.
    VirtioS390,
    /// Mapped into memory (virtio-mmio).
    VirtioMmio,
    /// On the ISA bus.
    Isa(IsaAddress),
    /// In a memory slot.
    Dimm(DimmAddress),
    /// Not plugged in anywhere, for PCI host devices.
    Unassigned,
}

/// An address on a PCI bus.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address", check = PciAddress::after_read)]
pub struct PciAddress {
    /// PCI domain; usually at most 0xffff.
    #[xml("@domain", default, always, format = "0x%04x", when = !self.is_empty())]
    pub domain: u32,
    /// Bus: index of the controller that provides it, 0 to 0xff.
    #[xml("@bus", default, always, format = "0x%02x", when = !self.is_empty())]
    pub bus: u32,
    /// Slot on the bus, 0 to 0x1f.
    #[xml("@slot", default, always, format = "0x%02x", when = !self.is_empty())]
    pub slot: u32,
    /// Function in the slot, 0 to 7.
    #[xml("@function", default, always, format = "0x%x", when = !self.is_empty())]
    pub function: u32,
    /// Whether other functions of the slot are used.
    #[xml("@multifunction", on_off)]
    pub multifunction: Option<bool>,
    /// Identity towards an s390 guest.
    #[xml("zpci", omit_empty)]
    pub zpci: Option<Zpci>,
}

/// Identity of a PCI device towards an s390 guest.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "zpci")]
pub struct Zpci {
    /// User-defined identifier, 1 to 0xffff.
    #[xml("@uid", format = "0x%04x", when = self.is_said(), write_as = Some(self.uid.unwrap_or(0)))]
    pub uid: Option<u32>,
    /// Function identifier.
    #[xml("@fid", format = "0x%08x", when = self.is_said(), write_as = Some(self.fid.unwrap_or(0)))]
    pub fid: Option<u32>,
}

impl Zpci {
    fn is_said(&self) -> bool {
        self.uid.is_some() || self.fid.is_some()
    }
}

/// An address on a disk controller.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address")]
pub struct DriveAddress {
    /// Index of the controller.
    #[xml("@controller", default, always)]
    pub controller: u32,
    /// Channel of the controller.
    #[xml("@bus", default, always)]
    pub bus: u32,
    /// SCSI target.
    #[xml("@target", default, always)]
    pub target: u32,
    /// Unit on the channel or target.
    #[xml("@unit", default, always)]
    pub unit: u32,
}

/// An address on a virtio serial controller.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address")]
pub struct VirtioSerialAddress {
    /// Index of the controller.
    #[xml("@controller", default, always)]
    pub controller: u32,
    /// Always 0.
    #[xml("@bus", default, always)]
    pub bus: u32,
    /// Port of the controller.
    #[xml("@port", default, always)]
    pub port: u32,
}

/// An address on a smart card reader.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address")]
pub struct CcidAddress {
    /// Index of the controller.
    #[xml("@controller", default, always)]
    pub controller: u32,
    /// Slot of the reader.
    #[xml("@slot", default, always)]
    pub slot: u32,
}

/// An address on a USB bus.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[xml(name = "address", check = UsbAddress::after_read)]
pub struct UsbAddress {
    /// Index of the controller.
    #[xml("@bus", default, always)]
    pub bus: u32,
    /// Port, with the ports of the hubs in between: `1.2`.
    #[xml("@port")]
    pub port: Option<String>,
}

/// An address on the virtual I/O bus of pSeries guests.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[xml(name = "address")]
pub struct SpaprVioAddress {
    /// Register.
    #[xml("@reg", format = "0x%08x", base = 16)]
    pub reg: Option<u64>,
}

/// An address on a channel of s390.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[xml(name = "address", check = CcwAddress::after_read)]
pub struct CcwAddress {
    /// Channel subsystem, at most 254.
    #[xml("@cssid", format = "0x%x", write_as = Some(self.cssid.unwrap_or(0)))]
    pub cssid: Option<u32>,
    /// Subchannel set, at most 3.
    #[xml("@ssid", format = "0x%x", write_as = Some(self.ssid.unwrap_or(0)))]
    pub ssid: Option<u32>,
    /// Device number.
    #[xml("@devno", format = "0x%04x", write_as = Some(self.devno.unwrap_or(0)))]
    pub devno: Option<u32>,
}

/// An address on the ISA bus.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[xml(name = "address")]
pub struct IsaAddress {
    /// First I/O port.
    #[xml("@iobase", default, format = "0x%x", base = 16)]
    pub iobase: u32,
    /// Interrupt.
    #[xml("@irq", default, format = "0x%x", base = 16)]
    pub irq: u32,
}

/// A memory slot.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[xml(name = "address")]
pub struct DimmAddress {
    /// Number of the place for a memory module.
    #[xml("@slot")]
    pub slot: u32,
    /// Guest physical address.
    #[xml("@base", default, format = "0x%x", base = 16)]
    pub base: u64,
}

/// Options of virtio devices.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtioOptions {
    /// Whether the device's memory accesses pass the IOMMU.
    #[xml("@iommu", on_off)]
    pub iommu: Option<bool>,
    /// Whether the device caches address translations.
    #[xml("@ats", on_off)]
    pub ats: Option<bool>,
    /// Whether packed virtqueues are used.
    #[xml("@packed", on_off)]
    pub packed: Option<bool>,
    /// Whether each virtqueue has its own page for notifications.
    #[xml("@page_per_vq", on_off)]
    pub page_per_vq: Option<bool>,
}

/// Devices whose `<boot>` means something.
const BOOTABLE: &[&str] = &["disk", "interface", "hostdev", "redirdev", "filesystem"];
/// Devices whose `<rom>` means something.
const WITH_ROM: &[&str] = &["interface", "hostdev"];

impl DeviceInfo {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if !BOOTABLE.contains(&element.name()) {
            self.boot = None;
        }
        if !WITH_ROM.contains(&element.name()) {
            self.rom = None;
        }
        if self.acpi_index == Some(0) {
            cx.fail(error_at(
                element,
                At::Child("acpi"),
                "the index of an ACPI device begins at 1",
            ))?;
        }
        if cx.has(XmlFlags::INACTIVE) && !self.alias.as_deref().is_some_and(is_user_alias) {
            self.alias.clear();
        }
        if let Some(Address::VirtioS390) = self.address {
            cx.fail(error_at(
                element,
                At::Child("address"),
                "the virtio-s390 bus has no addresses",
            ))?;
        }
        Ok(())
    }

    /// The PCI address, if that is the kind of address the device has.
    pub fn pci(&self) -> Option<&PciAddress> {
        match &self.address {
            Some(Address::Pci(address)) => Some(address),
            _ => None,
        }
    }
}

/// Whether an alias was chosen by the user: such aliases begin with `ua-` and live in the persistent definition.
pub fn is_user_alias(alias: &str) -> bool {
    alias.starts_with("ua-")
        && alias
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl DeviceBoot {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.order == 0 {
            let what = "invalid value '0' of attribute 'order': expected a positive number";
            cx.fail(error_at(element, At::Attribute("order"), what).in_domain(ErrorDomain::XML))?;
        }
        if let Some(loadparm) = &mut self.loadparm {
            loadparm.make_ascii_uppercase();
            let valid =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'.' || byte == b' ';
            if loadparm.is_empty() || loadparm.len() > 8 || !loadparm.bytes().all(valid) {
                cx.fail(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Attribute("loadparm"),
                    format_args!("loadparm '{loadparm}' must be 1 to 8 letters, digits, dots or blanks"),
                ))?;
            }
        }
        Ok(())
    }
}

impl Rom {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.enabled == Some(false) && (self.bar.is_some() || self.file.is_some()) {
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Text,
                "a ROM that is disabled cannot be tuned",
            ))?;
        }
        Ok(())
    }
}

impl PciAddress {
    /// An address in domain 0.
    pub const fn new(bus: u32, slot: u32, function: u32) -> Self {
        Self {
            domain: 0,
            bus,
            slot,
            function,
            multifunction: None,
            zpci: None,
        }
    }

    /// Whether this says "some PCI address" rather than a certain one. A function alone says nothing.
    pub fn is_empty(&self) -> bool {
        self.domain == 0 && self.bus == 0 && self.slot == 0
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let limits = [
            ("bus", self.bus, 0xff),
            ("slot", self.slot, 0x1f),
            ("function", self.function, 7),
        ];
        for (name, value, max) in limits {
            if value > max {
                let what =
                    format_args!("invalid PCI address {name}='{value:#x}', must be <= {max:#x}").to_string();
                // It is the tool for PCI devices that says so.
                cx.fail(error_at(element, At::Attribute(name), what).in_domain(ErrorDomain::NONE))?;
            }
        }
        Ok(())
    }
}

/// As the kernel writes the addresses of its own devices: `0000:00:1f.2`.
impl std::fmt::Display for PciAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = HostPciAddress {
            domain: self.domain,
            bus: self.bus,
            slot: self.slot,
            function: self.function,
        };
        host.fmt(f)
    }
}

impl UsbAddress {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let Some(port) = &self.port else { return Ok(()) };
        let number = |part| virt_util::xml::parse_integer::<u32>(part, 10);
        match port
            .split('.')
            .map(number)
            .collect::<std::result::Result<Vec<_>, _>>()
        {
            Ok(parts) if parts.len() <= 4 => {
                // The path ends before the first 0.
                let path: Vec<String> = parts
                    .iter()
                    .take_while(|part| **part != 0)
                    .map(u32::to_string)
                    .collect();
                self.port = Some(path.join(".")).filter(|path| !path.is_empty());
                Ok(())
            }
            _ => {
                let what =
                    format!("cannot parse usb port '{port}': expected up to 4 numbers separated by dots");
                cx.fail(
                    error_with(ErrorCode::INTERNAL_ERROR, element, At::Attribute("port"), what)
                        .in_domain(ErrorDomain::DEVICE),
                )
            }
        }
    }
}

impl CcwAddress {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let valid = match (self.cssid, self.ssid, self.devno) {
            (None, None, None) => true,
            (Some(cssid), Some(ssid), Some(devno)) => cssid <= 254 && ssid <= 3 && devno <= 0xffff,
            _ => false,
        };
        if valid {
            return Ok(());
        }
        let what = "a ccw address has all of cssid (at most 0xfe), ssid (at most 3) and devno (at most 0xffff), or none";
        cx.fail(error_with(ErrorCode::INTERNAL_ERROR, element, At::Text, what).in_domain(ErrorDomain::DEVICE))
    }
}
