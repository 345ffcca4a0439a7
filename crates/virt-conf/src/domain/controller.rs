//! Controllers: what provides the guest's buses.

use virt_util::xml::{At, Element, Reader, Xml, XmlFlags, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::device_info::{DeviceInfo, VirtioOptions};
use super::disk::IoThreadMapping;
use crate::scaled::{ScaledSize, kib};

xml_enum! {
    /// The kind of bus that a controller provides.
    pub enum ControllerType { Ide = "ide", Fdc = "fdc", Scsi = "scsi", Sata = "sata", VirtioSerial = "virtio-serial", Ccid = "ccid", Usb = "usb", Pci = "pci", Xenbus = "xenbus", Isa = "isa" }
}

xml_enum! {
    /// Model of a PCI controller.
    pub enum PciControllerModel { PciRoot = "pci-root", PcieRoot = "pcie-root", PciBridge = "pci-bridge", DmiToPciBridge = "dmi-to-pci-bridge", PcieToPciBridge = "pcie-to-pci-bridge", PcieRootPort = "pcie-root-port", PcieSwitchUpstreamPort = "pcie-switch-upstream-port", PcieSwitchDownstreamPort = "pcie-switch-downstream-port", PciExpanderBus = "pci-expander-bus", PcieExpanderBus = "pcie-expander-bus" }
}

xml_enum! {
    /// The device that implements a PCI controller.
    pub enum PciControllerModelName { None = "none", PciBridge = "pci-bridge", I82801b11Bridge = "i82801b11-bridge", Ioh3420 = "ioh3420", X3130Upstream = "x3130-upstream", Xio3130Downstream = "xio3130-downstream", Pxb = "pxb", PxbPcie = "pxb-pcie", PcieRootPort = "pcie-root-port", SpaprPciHostBridge = "spapr-pci-host-bridge", PciePciBridge = "pcie-pci-bridge" }
}

xml_enum! {
    /// Model of a SCSI controller.
    pub enum ScsiControllerModel { Auto = "auto", Buslogic = "buslogic", Lsilogic = "lsilogic", Lsisas1068 = "lsisas1068", Vmpvscsi = "vmpvscsi", Ibmvscsi = "ibmvscsi", VirtioScsi = "virtio-scsi", Lsisas1078 = "lsisas1078", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional", Ncr53c90 = "ncr53c90", Dc390 = "dc390", Am53c974 = "am53c974" }
}

xml_enum! {
    /// Model of a USB controller.
    pub enum UsbControllerModel { Piix3Uhci = "piix3-uhci", Piix4Uhci = "piix4-uhci", Ehci = "ehci", Ich9Ehci1 = "ich9-ehci1", Ich9Uhci1 = "ich9-uhci1", Ich9Uhci2 = "ich9-uhci2", Ich9Uhci3 = "ich9-uhci3", Vt82c686bUhci = "vt82c686b-uhci", PciOhci = "pci-ohci", NecXhci = "nec-xhci", Qusb1 = "qusb1", Qusb2 = "qusb2", QemuXhci = "qemu-xhci", None = "none" }
}

xml_enum! {
    /// Model of an IDE controller.
    pub enum IdeControllerModel { Piix3 = "piix3", Piix4 = "piix4", Ich6 = "ich6" }
}

xml_enum! {
    /// Model of a virtio serial controller.
    pub enum VirtioSerialControllerModel { Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

/// A controller.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "controller", check = Controller::after_read)]
pub struct Controller {
    /// The kind of bus, and what only such controllers have.
    #[xml(flatten)]
    pub kind: ControllerKind,
    /// Settings of the implementation.
    #[xml("driver", omit_empty)]
    pub driver: Option<Box<ControllerDriver>>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// KiB of the 64-bit PCI hole of a root bus.
    #[xml("pcihole64+", unless_empty, with = kib, described = ScaledSize)]
    pub pci_hole64: Option<u64>,
}

/// The kind of bus that a controller provides. `index` counts the controllers of one kind; none: the next free number.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(union = "@type")]
pub enum ControllerKind {
    /// IDE.
    #[xml(default)]
    Ide {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
        /// Which controller the guest sees.
        #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
        model: Option<IdeControllerModel>,
    },
    /// Floppy.
    Fdc {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
    },
    /// SCSI.
    Scsi {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
        /// Which controller the guest sees.
        #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
        model: Option<ScsiControllerModel>,
    },
    /// SATA.
    Sata {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
    },
    /// Virtio serial.
    VirtioSerial {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
        /// Which controller the guest sees.
        #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
        model: Option<VirtioSerialControllerModel>,
        /// Number of ports.
        #[xml("@ports", max = i32::MAX as u32)]
        ports: Option<u32>,
        /// Number of interrupt vectors.
        #[xml("@vectors", max = i32::MAX as u32)]
        vectors: Option<u32>,
    },
    /// Smart card reader.
    Ccid {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
    },
    /// USB.
    Usb {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
        /// Which controller the guest sees.
        #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
        model: Option<UsbControllerModel>,
        /// Number of ports.
        #[xml("@ports", max = i32::MAX as u32)]
        ports: Option<u32>,
    },
    /// PCI.
    Pci(PciController),
    /// Xen bus.
    Xenbus {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
        /// Most grant frames of the guest.
        #[xml("@maxGrantFrames", max = i32::MAX as u32)]
        max_grant_frames: Option<u32>,
        /// Most event channels of the guest.
        #[xml("@maxEventChannels", max = i32::MAX as u32)]
        max_event_channels: Option<u32>,
    },
    /// ISA.
    Isa {
        /// Number.
        #[xml("@index", max = i32::MAX as u32)]
        index: Option<u32>,
    },
}

/// What only PCI controllers have.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct PciController {
    /// Number: the `bus` of addresses on it.
    #[xml("@index", max = i32::MAX as u32)]
    pub index: Option<u32>,
    /// What is emulated: a root, a bridge, a switch or a root port.
    #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub model: Option<PciControllerModel>,
    /// The device that implements it.
    #[xml("model@name", default, when = !self.name_is_implied(w.flags()))]
    pub model_name: PciControllerModelName,
    /// Chassis number of a conventional bridge.
    #[xml("target@chassisNr", base = 0, max = i32::MAX as u32)]
    pub chassis_nr: Option<u32>,
    /// Chassis of a port.
    #[xml("target@chassis", base = 0, max = i32::MAX as u32)]
    pub chassis: Option<u32>,
    /// Number of a port in its switch, 0 to 255.
    #[xml("target@port", format = "0x%x", base = 0, max = i32::MAX as u32)]
    pub port: Option<u32>,
    /// Bus number of an expander bus.
    #[xml("target@busNr", base = 0, max = i32::MAX as u32)]
    pub bus_nr: Option<u32>,
    /// Index of a pSeries host bridge.
    #[xml("target@index", base = 0, max = i32::MAX as u32)]
    pub target_index: Option<u32>,
    /// Whether devices can be plugged in while the guest runs.
    #[xml("target@hotplug", on_off)]
    pub hotplug: Option<bool>,
    /// KiB of memory space that are reserved for devices to come.
    #[xml("target@memReserve", base = 0)]
    pub mem_reserve: Option<u64>,
    /// NUMA node of the guest.
    #[xml("target/node")]
    pub numa_node: Option<u32>,
}

/// Settings of a controller's implementation.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "driver")]
pub struct ControllerDriver {
    /// Number of queues.
    #[xml("@queues", default)]
    pub queues: u32,
    /// Commands that may be queued for a unit.
    #[xml("@cmd_per_lun", default)]
    pub cmd_per_lun: u32,
    /// Most sectors of a request.
    #[xml("@max_sectors", default)]
    pub max_sectors: u32,
    /// Whether I/O is signalled by an event descriptor.
    #[xml("@ioeventfd", on_off)]
    pub ioeventfd: Option<bool>,
    /// I/O thread that runs the controller.
    #[xml("@iothread", default)]
    pub iothread: u32,
    /// Options of virtio devices.
    #[xml(flatten)]
    pub virtio: VirtioOptions,
    /// Which I/O threads serve which queues.
    #[xml("iothreads/iothread")]
    pub iothreads: Vec<IoThreadMapping>,
}

impl PciController {
    /// pSeries host bridges were written without a name before names existed; older peers do not know it.
    fn name_is_implied(&self, flags: XmlFlags) -> bool {
        flags.contains(XmlFlags::MIGRATABLE)
            && self.model == Some(PciControllerModel::PciRoot)
            && self.model_name == PciControllerModelName::SpaprPciHostBridge
    }
}

impl ControllerKind {
    /// The kind of bus.
    pub fn controller_type(&self) -> ControllerType {
        ControllerType::from_word(self.xml_tag()).unwrap_or_default()
    }

    /// The place of the number.
    pub fn index_mut(&mut self) -> &mut Option<u32> {
        match self {
            Self::Ide { index, .. }
            | Self::Fdc { index }
            | Self::Scsi { index, .. }
            | Self::Sata { index }
            | Self::VirtioSerial { index, .. }
            | Self::Ccid { index }
            | Self::Usb { index, .. }
            | Self::Xenbus { index, .. }
            | Self::Isa { index } => index,
            Self::Pci(pci) => &mut pci.index,
        }
    }

    /// The number among the controllers of the kind.
    pub fn index(&self) -> Option<u32> {
        match self {
            Self::Ide { index, .. }
            | Self::Fdc { index }
            | Self::Scsi { index, .. }
            | Self::Sata { index }
            | Self::VirtioSerial { index, .. }
            | Self::Ccid { index }
            | Self::Usb { index, .. }
            | Self::Xenbus { index, .. }
            | Self::Isa { index } => *index,
            Self::Pci(pci) => pci.index,
        }
    }

    /// A controller of `kind` without a model.
    pub fn new(kind: ControllerType, index: Option<u32>) -> Self {
        match kind {
            ControllerType::Ide => Self::Ide { index, model: None },
            ControllerType::Fdc => Self::Fdc { index },
            ControllerType::Scsi => Self::Scsi { index, model: None },
            ControllerType::Sata => Self::Sata { index },
            ControllerType::VirtioSerial => Self::VirtioSerial {
                index,
                model: None,
                ports: None,
                vectors: None,
            },
            ControllerType::Ccid => Self::Ccid { index },
            ControllerType::Usb => Self::Usb {
                index,
                model: None,
                ports: None,
            },
            ControllerType::Pci => Self::Pci(PciController {
                index,
                ..PciController::default()
            }),
            ControllerType::Xenbus => Self::Xenbus {
                index,
                max_grant_frames: None,
                max_event_channels: None,
            },
            ControllerType::Isa => Self::Isa { index },
        }
    }
}

impl Controller {
    /// A model of a kind that has none is refused; a number of ports must be one even where it means nothing.
    fn refuse_what_kinds_lack(&self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use ControllerKind as K;
        let without_models = matches!(
            self.kind,
            K::Fdc { .. } | K::Sata { .. } | K::Ccid { .. } | K::Xenbus { .. } | K::Isa { .. }
        );
        if without_models && let Some(model) = element.attr("model") {
            let what = format!(
                "unknown model '{model}': controllers of type '{}' have none",
                self.kind.xml_tag()
            );
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("model"),
                what,
            ))?;
        }
        if let Some(ports) = element.attr("ports")
            && !virt_util::xml::parse_integer::<i32>(&ports, 10).is_ok_and(|ports| ports >= 0)
        {
            let what = format!(
                "invalid value '{ports}': a whole number from 0 to {} expected",
                i32::MAX
            );
            let place = error_at(element, At::Attribute("ports"), what);
            cx.fail(place.in_domain(ErrorDomain::XML))?;
        }
        Ok(())
    }

    /// A controller with nothing but kind and number.
    pub fn new(kind: ControllerKind) -> Self {
        Self {
            kind,
            driver: None,
            info: DeviceInfo::default(),
            pci_hole64: None,
        }
    }

    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        for name in ["model", "target"] {
            if element.children_named(name).count() > 1 {
                let what = format!("multiple <{name}> elements in a controller are not allowed");
                cx.fail(error_at(element, At::Child(name), what))?;
            }
        }
        self.refuse_what_kinds_lack(element, cx)?;
        match &self.kind {
            ControllerKind::Usb { model, .. } => {
                use UsbControllerModel as M;
                if *model == Some(M::None) {
                    self.info = DeviceInfo::default();
                }
                // The companions of an ICH9 EHCI controller have their places.
                let port = match model {
                    Some(M::Ich9Uhci1) => Some(0),
                    Some(M::Ich9Uhci2) => Some(2),
                    Some(M::Ich9Uhci3) => Some(4),
                    _ => None,
                };
                self.info.usb_master_port = self.info.usb_master_port.or(port);
            }
            ControllerKind::Pci(pci) => {
                let root = matches!(
                    pci.model,
                    Some(PciControllerModel::PciRoot | PciControllerModel::PcieRoot)
                );
                if !root {
                    self.pci_hole64 = None;
                }
                if pci.mem_reserve == Some(0) {
                    cx.fail(
                        error_at(
                            element,
                            At::Child("target"),
                            "attribute 'memReserve' must not be 0",
                        )
                        .in_domain(ErrorDomain::XML),
                    )?;
                }
                return Ok(());
            }
            _ => {}
        }
        self.pci_hole64 = None;
        Ok(())
    }
}
