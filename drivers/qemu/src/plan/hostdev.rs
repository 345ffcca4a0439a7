//! Devices of the host that the guest has to itself.

use virt_conf::domain::disk::DiskBus;
use virt_conf::domain::hostdev::{
    Hostdev, HostdevPass, HostdevSource, HostdevSubsys, MdevModel, PciDriverName, PciHostdev, ScsiHostdev,
    ScsiVhostModel, UsbGuestReset,
};
use virt_conf::domain::interface::{InterfaceSource, Teaming, TeamingType};
use virt_conf::domain::storage::NetProtocol;
use virt_conf::domain::{Address, DeviceInfo};
use virt_conf::network::port::Plug;
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{DescriptorUse, Props};
use super::block::iscsi;
use super::device::{VirtioVariant, alias};
use super::prepare::ScsiPlace;
use super::secrets::SecretKey;
use crate::capabilities::Flag;

impl Builder<'_> {
    pub(super) fn hostdevs(&mut self) -> Result<()> {
        let domain = self.domain;
        let layout = self.layout;
        for interface in &domain.devices.interfaces {
            if let Some(Plug::HostdevPci(plug)) = layout.plugs.get(alias(&interface.info)?) {
                self.zpci(&interface.info)?;
                let device = PciHostdev {
                    address: plug.address,
                    ..PciHostdev::default()
                };
                let teaming = interface.teaming.as_deref();
                let props = self.pci_hostdev(&interface.info, teaming, &device, None, None)?;
                self.device(props)?;
                continue;
            }
            let InterfaceSource::Hostdev(source) = &interface.source else {
                continue;
            };
            match &source.device {
                HostdevSource::Pci(device) => {
                    self.zpci(&interface.info)?;
                    let teaming = interface.teaming.as_deref();
                    let props = self.pci_hostdev(&interface.info, teaming, device, None, None)?;
                    self.device(props)?;
                }
                HostdevSource::Usb(_) => {
                    let what = "USB network cards of the host are not supported yet";
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
            }
        }
        for hostdev in &domain.devices.hostdevs {
            let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
                continue;
            };
            let props = match &**subsystem {
                HostdevSubsys::Pci { .. } if matches!(hostdev.info.address, Some(Address::Unassigned)) => {
                    continue;
                }
                HostdevSubsys::Pci {
                    display,
                    ramfb,
                    device,
                    ..
                } => {
                    self.zpci(&hostdev.info)?;
                    self.pci_hostdev(&hostdev.info, hostdev.teaming.as_ref(), device, *display, *ramfb)?
                }
                HostdevSubsys::Usb { .. } => self.usb_hostdev(hostdev, subsystem)?,
                HostdevSubsys::Mdev { .. } => self.mediated(hostdev, subsystem)?,
                HostdevSubsys::Scsi { device, .. } => self.scsi_hostdev(hostdev, device)?,
                HostdevSubsys::ScsiHost { model, wwpn, .. } => {
                    self.zpci(&hostdev.info)?;
                    self.scsi_vhost(&hostdev.info, *model, wwpn)?
                }
            };
            self.device(props)?;
        }
        Ok(())
    }

    /// A unit of a SCSI target: a block node, and the device that passes commands on to it.
    fn scsi_hostdev(&mut self, hostdev: &Hostdev, device: &ScsiHostdev) -> Result<Props> {
        let name = alias(&hostdev.info)?;
        let number = self
            .layout
            .hostdev_nodes
            .get(name)
            .ok_or_else(|| VirtError::internal(format_args!("the device '{name}' has no block node")))?;
        let node = format!("libvirt-{number}-backend");
        let props = match device {
            ScsiHostdev::Adapter {
                adapter,
                bus,
                target,
                unit,
                ..
            } => {
                let place = ScsiPlace::of(device);
                let mut known = self.start.scsi_generic.iter();
                let known = known.find(|(known, _)| Some(known) == place.as_ref());
                let (_, file) = known.ok_or_else(|| {
                    VirtError::internal(format_args!(
                        "the host has no SCSI device at {adapter}, bus {bus}, target {target}, unit {unit}"
                    ))
                })?;
                Props::new()
                    .with("driver", "host_device")
                    .with("filename", format!("/dev/{file}"))
            }
            ScsiHostdev::Iscsi {
                name,
                host,
                auth,
                initiator,
                ..
            } => {
                let mut password = None;
                if let Some(auth) = auth {
                    let object = format!("{node}-secret0");
                    self.secret(&object, &SecretKey::of_auth(auth, NetProtocol::Iscsi)?)?;
                    password = Some(object);
                }
                let user = auth.as_ref().and_then(|auth| auth.username.clone());
                iscsi(name, host, user, password, initiator.clone())?
            }
        };
        let props = props
            .with("node-name", node.as_str())
            .with("read-only", hostdev.read_only);
        self.command.blockdev(&props);
        let boot = hostdev.info.boot.as_ref();
        let parameter = boot.and_then(|boot| boot.loadparm.clone());
        Ok(Props::device("scsi-generic")
            .with("drive", node)
            .with("id", name)
            .positive("bootindex", self.boot_index(&hostdev.info))
            .maybe(
                "loadparm",
                parameter.filter(|_| self.caps.has(Flag::VirtioCcwDeviceLoadparm)),
            )
            .and(self.address(&hostdev.info, Some(DiskBus::Scsi))?))
    }

    /// A target of the host's kernel that the guest sees as its own adapter.
    fn scsi_vhost(&mut self, info: &DeviceInfo, model: ScsiVhostModel, wwpn: &str) -> Result<Props> {
        let name = alias(info)?;
        let variant = match model {
            ScsiVhostModel::Default | ScsiVhostModel::Virtio => VirtioVariant::Plain,
            ScsiVhostModel::VirtioTransitional => VirtioVariant::Transitional,
            ScsiVhostModel::VirtioNonTransitional => VirtioVariant::NonTransitional,
        };
        let number = self.descriptor(DescriptorUse::VhostScsi {
            device: name.to_owned(),
        });
        Ok(self
            .virtio("vhost-scsi", info, variant, None)?
            .with("wwpn", wwpn)
            .with("vhostfd", number.to_string())
            .with("id", name)
            .and(self.address(info, None)?))
    }

    fn usb_hostdev(&self, hostdev: &Hostdev, subsystem: &HostdevSubsys) -> Result<Props> {
        let HostdevSubsys::Usb { device, .. } = subsystem else {
            return Err(VirtError::internal("a USB device is none"));
        };
        let (mut path, mut bus, mut number) = (None, 0, 0);
        if !device.missing {
            if device.bus == 0 && device.device == 0 {
                return Err(VirtError::internal(
                    "a USB device of the host does not say its bus and number",
                ));
            }
            if self.caps.has(Flag::UsbHostHostdevice) {
                path = Some(format!("/dev/bus/usb/{:03}/{:03}", device.bus, device.device));
            } else {
                (bus, number) = (device.bus, device.device);
            }
        }
        let (reset, reset_all) = match device.guest_reset {
            None => (None, None),
            Some(UsbGuestReset::Off) => (Some(false), None),
            Some(UsbGuestReset::Uninitialized) => (Some(true), Some(false)),
            Some(UsbGuestReset::On) => (Some(true), Some(true)),
        };
        Ok(Props::device("usb-host")
            .maybe("hostdevice", path)
            .positive("hostbus", bus)
            .positive("hostaddr", number)
            .with("id", alias(&hostdev.info)?)
            .positive("bootindex", self.boot_index(&hostdev.info))
            .maybe("guest-reset", reset)
            .maybe("guest-resets-all", reset_all)
            .and(self.address(&hostdev.info, None)?))
    }

    fn pci_hostdev(
        &self,
        info: &DeviceInfo,
        teaming: Option<&Teaming>,
        device: &PciHostdev,
        display: Option<bool>,
        ramfb: Option<bool>,
    ) -> Result<Props> {
        if !matches!(device.driver, None | Some(PciDriverName::Vfio)) {
            let what = "only VFIO can pass PCI devices of the host to a guest";
            return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
        }
        let ramfb = ramfb == Some(true);
        let standby = teaming.filter(|teaming| teaming.kind == TeamingType::Transient);
        Ok(
            Props::device(if ramfb { "vfio-pci-nohotplug" } else { "vfio-pci" })
                .with("host", device.address.to_string())
                .with("id", alias(info)?)
                .positive("bootindex", self.boot_index(info))
                .maybe(
                    "failover_pair_id",
                    standby.and_then(|teaming| teaming.persistent.clone()),
                )
                .on_off("display", display)
                .maybe("ramfb", ramfb.then_some(true))
                .and(self.address(info, None)?)
                .and(self.rom(info)?),
        )
    }

    fn mediated(&self, hostdev: &Hostdev, subsystem: &HostdevSubsys) -> Result<Props> {
        let HostdevSubsys::Mdev {
            model,
            display,
            ramfb,
            uuid,
            ..
        } = subsystem
        else {
            return Err(VirtError::internal("a mediated device is none"));
        };
        let ramfb = *ramfb == Some(true);
        let driver = match model {
            MdevModel::VfioPci if ramfb => "vfio-pci-nohotplug",
            MdevModel::VfioPci => "vfio-pci",
            MdevModel::VfioCcw => "vfio-ccw",
            MdevModel::VfioAp => "vfio-ap",
        };
        let boot = hostdev.info.boot.as_ref();
        let parameter = boot.and_then(|boot| boot.loadparm.clone());
        Ok(Props::device(driver)
            .with("id", alias(&hostdev.info)?)
            .with("sysfsdev", format!("/sys/bus/mdev/devices/{uuid}"))
            .on_off("display", *display)
            .maybe("ramfb", ramfb.then_some(true))
            .positive("bootindex", boot.map_or(0, |boot| boot.order))
            .maybe(
                "loadparm",
                parameter.filter(|_| self.caps.has(Flag::VirtioCcwDeviceLoadparm)),
            )
            .and(self.address(&hostdev.info, None)?))
    }
}
