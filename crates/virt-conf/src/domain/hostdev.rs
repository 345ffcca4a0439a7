//! Devices of the host that are given to the guest.

use virt_util::uuid::Uuid;
use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, XmlFlags, error_at, error_with, read};
use virt_util::{ErrorCode, Result};

use super::device_info::{DeviceInfo, PciAddress};
use super::disk::{Sgio, StartupPolicy};
use super::interface::{IpConfig, Teaming};
use super::private_data::{self, PrivateData};
use super::storage::{StorageAuth, StorageHost};
use crate::secret::SecretUsageType;
pub use crate::values::HostPciAddress;

xml_enum! {
    /// How a SCSI device is reached.
    pub enum ScsiHostdevProtocol { Adapter = "adapter", Iscsi = "iscsi" }
}

xml_enum! {
    /// How a SCSI host is reached.
    pub enum ScsiHostProtocol { Vhost = "vhost" }
}

xml_enum! {
    /// Which variant of the virtio device is presented.
    pub enum ScsiVhostModel { Default = "default", Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// Which resets by the guest reach the USB device.
    pub enum UsbGuestReset { Off = "off", Uninitialized = "uninitialized", On = "on" }
}

xml_enum! {
    /// API of a mediated device.
    pub enum MdevModel { VfioPci = "vfio-pci", VfioCcw = "vfio-ccw", VfioAp = "vfio-ap" }
}

xml_enum! {
    /// The host driver of a passed-through PCI device.
    pub enum PciDriverName { Kvm = "kvm", Vfio = "vfio", Xen = "xen" }
}

/// A device of the host that is given to the guest.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "hostdev", body, check = Hostdev::after_read)]
pub struct Hostdev {
    /// How it is passed, and the device.
    #[xml(flatten)]
    pub mode: HostdevPass,
    /// Part that a network device plays in a team.
    #[xml("teaming+")]
    pub teaming: Option<Teaming>,
    /// The guest cannot write.
    #[xml("readonly")]
    pub read_only: bool,
    /// Several guests may use the device at once.
    #[xml("shareable")]
    pub shareable: bool,
    /// Alias, boot order, ROM and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// How a device is passed.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@mode")]
pub enum HostdevPass {
    /// As a whole.
    #[xml(default)]
    Subsystem(Box<HostdevSubsys>),
    /// As a capability of a container.
    Capabilities(HostdevCaps),
}

/// A device that is passed as a whole.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type")]
pub enum HostdevSubsys {
    /// A USB device.
    Usb {
        /// Whether the device is taken from the host at start and given back afterwards.
        #[xml("@managed", default, always, with = crate::values::lenient_yes, described = bool)]
        managed: bool,
        /// The device.
        #[xml(flatten)]
        device: UsbHostdev,
    },
    /// A PCI device.
    Pci {
        /// Whether the device is taken from the host at start and given back afterwards.
        #[xml("@managed", default, always, with = crate::values::lenient_yes, described = bool)]
        managed: bool,
        /// Whether the guest's display is shown through it.
        #[xml("@display", on_off)]
        display: Option<bool>,
        /// Whether it has a frame buffer during boot.
        #[xml("@ramfb", on_off)]
        ramfb: Option<bool>,
        /// The device.
        #[xml(flatten)]
        device: PciHostdev,
    },
    /// A SCSI device.
    Scsi {
        /// Unused.
        #[xml("@managed", default, always, with = crate::values::lenient_yes, described = bool)]
        managed: bool,
        /// Whether commands from the guest are filtered.
        #[xml("@sgio")]
        sgio: Option<Sgio>,
        /// Whether the process may send any command.
        #[xml("@rawio")]
        rawio: Option<bool>,
        /// The device.
        #[xml(flatten)]
        device: ScsiHostdev,
    },
    /// A SCSI target of the host, through vhost.
    #[xml("scsi_host")]
    ScsiHost {
        /// Unused.
        #[xml("@managed", default, always, with = crate::values::lenient_yes, described = bool)]
        managed: bool,
        /// Which variant of the virtio device is presented.
        #[xml("@model", default)]
        model: ScsiVhostModel,
        /// How it is reached.
        #[xml("source@protocol")]
        protocol: ScsiHostProtocol,
        /// World wide port name.
        #[xml("source@wwpn")]
        wwpn: String,
    },
    /// A mediated device.
    Mdev {
        /// Unused.
        #[xml("@managed", default, always, with = crate::values::lenient_yes, described = bool)]
        managed: bool,
        /// Its API.
        #[xml("@model")]
        model: MdevModel,
        /// Whether the guest's display is shown through it.
        #[xml("@display", on_off)]
        display: Option<bool>,
        /// Whether it has a frame buffer during boot.
        #[xml("@ramfb", on_off)]
        ramfb: Option<bool>,
        /// Its UUID.
        #[xml("source/address@uuid", code = ErrorCode::INTERNAL_ERROR, missing = ErrorCode::CONFIG_UNSUPPORTED)]
        uuid: Uuid,
    },
}

/// A USB device of the host: named by vendor and product, by bus and device, or both.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = UsbHostdev::after_read)]
pub struct UsbHostdev {
    /// Whether the guest starts without it.
    #[xml("source@startupPolicy")]
    pub startup_policy: Option<StartupPolicy>,
    /// The address was found by the driver.
    #[xml("source@autoAddress", default, when = w.has(XmlFlags::MIGRATABLE))]
    pub auto_address: bool,
    /// The device was not there at start; only live.
    #[xml("source@missing", default, unless(inactive))]
    pub missing: bool,
    /// Which resets by the guest reach the device.
    #[xml("source@guestReset")]
    pub guest_reset: Option<UsbGuestReset>,
    /// USB vendor, 1 to 0xffff; 0 if the device is found by its address.
    #[xml("source/vendor@id", default, format = "0x%04x")]
    pub vendor: u32,
    /// USB product of that vendor.
    #[xml("source/product@id", default, always, format = "0x%04x", when = self.vendor != 0)]
    pub product: u32,
    /// Kind of address, where it has to be said.
    #[xml("source/address@type", when = self.bus != 0 || self.device != 0)]
    pub address_type: Option<String>,
    /// Number of the USB bus on the host.
    #[xml("source/address@bus", default, always, base = 0, when = self.bus != 0 || self.device != 0)]
    pub bus: u32,
    /// Number on the bus.
    #[xml("source/address@device", default, always, base = 0, when = self.bus != 0 || self.device != 0)]
    pub device: u32,
}

impl UsbHostdev {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let source = element.child_or_ghost("source");
        if element.name() == "hostdev" {
            self.address_type = None;
        }
        if !source.exists() {
            return cx.fail(error_at(
                element,
                At::Child("source"),
                "missing source address type",
            ));
        }
        let vendor = source.child("vendor").is_some();
        if vendor && self.vendor == 0 {
            cx.fail(error_at(source, At::Child("vendor"), "vendor cannot be 0."))?;
        }
        if vendor != source.child("product").is_some() {
            let what = "missing product or vendor of the usb device";
            cx.fail(error_with(ErrorCode::INTERNAL_ERROR, source, At::Text, what))?;
        }
        Ok(())
    }
}

/// A PCI device of the host.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
pub struct PciHostdev {
    /// The host's driver for it.
    #[xml("driver@name", called = "host_driver")]
    pub driver: Option<PciDriverName>,
    /// A certain VFIO variant driver.
    #[xml("driver@model", called = "host_driver_model")]
    pub driver_model: Option<String>,
    /// Whether the guest may write any configuration register (Xen).
    #[xml("source@writeFiltering")]
    pub write_filtering: Option<bool>,
    /// Kind of address, where it has to be said.
    #[xml("source/address@type", default, always, when = self.typed)]
    pub address_type: PciWord,
    /// The device.
    #[xml("source/address", flatten, called = "source_address")]
    pub address: HostPciAddress,
    /// What has to be undone when the guest gives it back; in status files.
    #[xml("source/origstates", only(pci_orig_states), omit_empty)]
    pub original_state: Option<PciOriginalState>,
    /// Whether the kind of address is written.
    #[xml(skip)]
    pub typed: bool,
}

/// What has to be undone when the guest gives a PCI device back.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "origstates")]
pub struct PciOriginalState {
    /// It is taken from the driver that stands for guests.
    #[xml("unbind")]
    pub unbind: bool,
    /// That driver forgets its kind.
    #[xml("removeslot")]
    pub remove_slot: bool,
    /// The host looks for a driver.
    #[xml("reprobe")]
    pub reprobe: bool,
}

xml_enum! {
    /// The word that says that an address is on a PCI bus.
    pub enum PciWord { Pci = "pci" }
}

impl From<HostPciAddress> for PciAddress {
    fn from(address: HostPciAddress) -> Self {
        let HostPciAddress {
            domain,
            bus,
            slot,
            function,
        } = address;
        Self {
            domain,
            bus,
            slot,
            function,
            multifunction: None,
            zpci: None,
        }
    }
}

/// A SCSI device.
#[derive(Clone, Debug, PartialEq)]
pub enum ScsiHostdev {
    /// On an adapter of the host.
    Adapter {
        /// The adapter: `scsi_host0`.
        adapter: String,
        /// Bus.
        bus: u32,
        /// Target.
        target: u32,
        /// Unit.
        unit: u64,
        /// The driver's own data, as XML.
        private_data: PrivateData,
    },
    /// On an iSCSI server.
    Iscsi {
        /// iSCSI qualified name and unit.
        name: String,
        /// The server.
        host: StorageHost,
        /// Credentials.
        auth: Option<StorageAuth>,
        /// iSCSI qualified name of the client.
        initiator: Option<String>,
        /// The driver's own data, as XML.
        private_data: PrivateData,
    },
}

impl Default for ScsiHostdev {
    fn default() -> Self {
        Self::Adapter {
            adapter: String::new(),
            bus: 0,
            target: 0,
            unit: 0,
            private_data: None,
        }
    }
}

impl XmlElement for ScsiHostdev {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let word = <ScsiHostdevProtocol as virt_util::xml::XmlValue>::parse_value;
        let text = <String as virt_util::xml::XmlValue>::parse_value;
        let Some(source) = element.child("source") else {
            return Err(virt_util::xml::missing(element, At::Child("source")));
        };
        let private_data = private_data::read(source, cx)?;
        let protocol = read::attr(source, cx, "protocol", word)?.unwrap_or_default();
        if protocol == ScsiHostdevProtocol::Iscsi {
            let name = read::attr(source, cx, "name", text)?;
            let hosts: Vec<StorageHost> = read::children(source, cx, "host")?;
            if hosts.len() > 1 {
                cx.fail(error_at(
                    source,
                    At::Child("host"),
                    format_args!("an iSCSI device has one <host>, not {}", hosts.len()),
                ))?;
            }
            let auth: Option<StorageAuth> = read::child(source, cx, "auth")?;
            if let Some(auth) = &auth {
                let kind = auth.secret.as_ref().and_then(|secret| secret.kind.as_deref());
                let kind = kind.unwrap_or_default();
                if kind != "iscsi" {
                    let other = kind == "none" || SecretUsageType::from_word(kind).is_some();
                    let code = match other {
                        true => ErrorCode::INTERNAL_ERROR,
                        false => ErrorCode::CONFIG_UNSUPPORTED,
                    };
                    let what = format!("the secret of an iSCSI device is of type 'iscsi', not '{kind}'");
                    cx.fail(error_with(code, source, At::Child("auth"), what))?;
                }
            }
            let iqn = source
                .joined_child_or_ghost("initiator")
                .joined_child_or_ghost("iqn");
            return Ok(Self::Iscsi {
                name: read::required(source, At::Attribute("name"), name)?,
                host: read::required(source, At::Child("host"), hosts.into_iter().next())?,
                auth,
                initiator: read::attr(iqn, cx, "name", text)?,
                private_data,
            });
        }
        let number = |name: &'static str, cx: &mut Reader| -> Result<u64> {
            let address = source.child_or_ghost("address");
            let value = read::attr(address, cx, name, |text| {
                virt_util::xml::parse_integer::<u64>(text, 0)
            })?;
            read::required(source, At::Attribute(name), value)
        };
        let adapter = read::attr(source.joined_child_or_ghost("adapter"), cx, "name", text)?;
        Ok(Self::Adapter {
            adapter: read::required(source, At::Child("adapter"), adapter)?,
            bus: number("bus", cx)?.try_into().unwrap_or(u32::MAX),
            target: number("target", cx)?.try_into().unwrap_or(u32::MAX),
            unit: number("unit", cx)?,
            private_data,
        })
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        w.start("source");
        match self {
            Self::Adapter {
                adapter,
                bus,
                target,
                unit,
                private_data,
            } => {
                w.start("adapter");
                w.attribute("name", adapter);
                w.end("adapter");
                w.start("address");
                for (name, value) in [
                    ("bus", u64::from(*bus)),
                    ("target", u64::from(*target)),
                    ("unit", *unit),
                ] {
                    w.attribute_with(name, |out| virt_util::xml::push_unsigned(out, value));
                }
                w.end("address");
                private_data::write(private_data, w);
            }
            Self::Iscsi {
                name,
                host,
                auth,
                initiator,
                private_data,
            } => {
                w.attribute("protocol", "iscsi");
                w.attribute("name", name);
                host.write(w, "host");
                private_data::write(private_data, w);
                if let Some(auth) = auth {
                    auth.write(w, "auth");
                }
                if let Some(iqn) = initiator {
                    w.start("initiator");
                    w.start("iqn");
                    w.attribute("name", iqn);
                    w.end("iqn");
                    w.end("initiator");
                }
            }
        }
        w.end("source");
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("ScsiHostdev", "hostdev", "A SCSI device of the host." => {
            /// The device.
            "source" => source: element {
                /// How it is reached: through an adapter of the host, or over iSCSI.
                "@protocol" => protocol: value(ScsiHostdevProtocol),
                /// iSCSI qualified name of the target, with the unit.
                "@name" => name: value(String),
                /// The iSCSI server.
                "host" => host: element(StorageHost),
                /// Credentials for the iSCSI server.
                "auth" => auth: element(StorageAuth),
                /// iSCSI qualified name of the client.
                "initiator/iqn@name" => initiator: value(String),
                /// Name of the host's adapter, as in `scsi_host0`.
                "adapter@name" => adapter: value(String),
                /// Place of the device behind the adapter.
                "address" => address: element {
                    /// Bus of the adapter.
                    "@bus" => bus: value(u32),
                    /// Target on the bus.
                    "@target" => target: value(u32),
                    /// Unit in the target.
                    "@unit" => unit: value(u64),
                },
                /// The driver's own data, as XML; in status files.
                "privateData" => private_data: opaque,
            },
        })
    }
}

/// The host has all devices but those of USB from its start on.
fn refuse_startup_policy(source: Element<'_>, cx: &mut Reader) -> Result<()> {
    if !source.has_attr("startupPolicy") {
        return Ok(());
    }
    let what = "only a USB device has a startupPolicy";
    let at = At::Attribute("startupPolicy");
    cx.fail(error_with(ErrorCode::CONFIG_UNSUPPORTED, source, at, what))
}

/// A device of the host behind an interface of the guest.
#[derive(Clone, Debug, PartialEq)]
pub enum HostdevSource {
    /// PCI.
    Pci(PciHostdev),
    /// USB.
    Usb(UsbHostdev),
}

impl Default for HostdevSource {
    fn default() -> Self {
        Self::Pci(PciHostdev {
            typed: true,
            ..PciHostdev::default()
        })
    }
}

impl XmlElement for HostdevSource {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let source = element.child_or_ghost("source");
        let kind = source.child_or_ghost("address").attr("type");
        let is_usb = match kind.as_deref() {
            Some(kind) => kind == "usb",
            None => source.child("vendor").is_some(),
        };
        if !is_usb {
            refuse_startup_policy(source, cx)?;
        }
        match kind.as_deref() {
            Some("pci") => Ok(Self::Pci(PciHostdev {
                typed: true,
                ..PciHostdev::read(element, cx)?
            })),
            Some("usb") => Ok(Self::Usb(UsbHostdev::read(element, cx)?)),
            None if source.child("vendor").is_some() => Ok(Self::Usb(UsbHostdev::read(element, cx)?)),
            other => {
                let what = format!(
                    "address type '{}': expected 'pci' or 'usb'",
                    other.unwrap_or_default()
                );
                let at = At::Child("address");
                Err(error_with(ErrorCode::CONFIG_UNSUPPORTED, source, at, what))
            }
        }
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        match self {
            Self::Pci(pci) => pci.write_content(w),
            Self::Usb(usb) => usb.write_content(w),
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("HostdevSource", "", "A device of the host behind an interface of the guest." => {
            /// A PCI device.
            "." => pci: element(PciHostdev),
            /// A USB device.
            "." => usb: element(UsbHostdev),
            /// Kind of address: `pci` or `usb`.
            "source/address@type" => address_type: value(String),
        })
    }
}

/// A resource of the host given to a container.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type")]
pub enum HostdevCaps {
    /// A block device.
    Storage {
        /// Its path.
        #[xml("source/block")]
        block: String,
    },
    /// A character device.
    Misc {
        /// Its path.
        #[xml("source/char")]
        character: String,
    },
    /// A network device.
    Net {
        /// Its name.
        #[xml("source/interface")]
        interface: String,
        /// Its addresses and routes.
        #[xml(flatten)]
        ip: IpConfig,
    },
}

impl HostdevSubsys {
    fn check(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if element.child("source").is_none() {
            let what = "<source> is missing: what of the host the guest gets";
            cx.fail(error_at(element, At::Text, what))?;
        }
        if !matches!(self, Self::Mdev { .. } | Self::ScsiHost { .. }) && element.has_attr("model") {
            let what = format!(
                "a hostdev of type '{}' has no 'model': one of type 'mdev' or 'scsi_host' expected",
                self.xml_tag()
            );
            cx.fail(error_at(element, At::Attribute("model"), what))?;
        }
        if let Self::ScsiHost { wwpn, .. } = self {
            let digits = wwpn.strip_prefix("naa.").unwrap_or_default();
            let digits = digits.strip_prefix("0x").unwrap_or(digits);
            if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let what = format!("malformed wwpn '{wwpn}': 'naa.' and 16 hexadecimal digits expected");
                cx.fail(error_at(element, At::Child("source"), what))?;
            }
        }
        Ok(())
    }
}

impl Hostdev {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if let HostdevPass::Subsystem(subsystem) = &self.mode {
            subsystem.check(element, cx)?;
        }
        if let HostdevPass::Subsystem(subsystem) = &self.mode
            && !matches!(**subsystem, HostdevSubsys::Scsi { .. })
        {
            for name in ["sgio", "rawio"] {
                if element.has_attr(name) {
                    let what = format!("{name} is only supported for scsi host device");
                    cx.fail(error_at(element, At::Attribute(name), what))?;
                }
            }
        }
        if let HostdevPass::Subsystem(subsystem) = &self.mode
            && !matches!(**subsystem, HostdevSubsys::Usb { .. })
        {
            refuse_startup_policy(element.child_or_ghost("source"), cx)?;
        }
        if let HostdevPass::Subsystem(subsystem) = &self.mode
            && let HostdevSubsys::Pci { device, .. } = &**subsystem
        {
            let source = element.child_or_ghost("source");
            if device.address.slot > 0x1f || device.address.function > 7 || device.address.bus > 0xff {
                cx.fail(error_at(
                    source,
                    At::Child("address"),
                    "invalid PCI address of the host device",
                ))?;
            }
        }
        Ok(())
    }
}
