//! Ports of virtio serial controllers.

use std::collections::BTreeMap;

use virt_conf::domain::chardev::{ChannelTarget, ConsoleTargetType};
use virt_conf::domain::controller::{ControllerKind, ControllerType};
use virt_conf::domain::normalize::{DeviceRef, add_controller, device_info, device_info_mut};
use virt_conf::domain::{Address, DeviceInfo, Domain, VirtioSerialAddress};
use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result};

use super::{conf_error, with_addresses};

const DEFAULT_PORTS: u32 = 31;

/// The ports of a controller.
struct SerialBus {
    ports: Bitmap,
    /// All between port 0 and this one are taken.
    next: usize,
}

/// The controllers by their numbers.
#[derive(Default)]
struct SerialBuses {
    all: BTreeMap<u32, SerialBus>,
    /// Those with lower numbers have no free port, but for port 0.
    open: u32,
    /// All lower numbers are used.
    unused: u32,
}

impl SerialBuses {
    fn add(&mut self, index: u32, ports: Option<u32>) -> Result<()> {
        let bus = SerialBus {
            ports: Bitmap::new(ports.unwrap_or(DEFAULT_PORTS) as usize),
            next: 1,
        };
        if self.all.insert(index, bus).is_some() {
            let what = format_args!("there are two controllers 'virtio-serial' {index}");
            return Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
        }
        self.open = self.open.min(index);
        Ok(())
    }

    /// The lowest number that no controller has.
    fn unused(&mut self) -> u32 {
        while self.all.contains_key(&self.unused) {
            self.unused = self.unused.saturating_add(1);
        }
        self.unused
    }

    /// Takes the first free port, of one controller or of any. Port 0 is for those who ask for ports from 0, and do not say
    /// which controller.
    fn take(&mut self, on: Option<u32>, first: usize) -> Option<(u32, usize)> {
        if let Some(index) = on {
            let port = self.all.get_mut(&index)?.take()?;
            return Some((index, port));
        }
        if first == 0 {
            // Nobody but a console takes port 0, and which console does is decided at the start.
            let mut buses = self.all.iter();
            return buses.find_map(|(index, bus)| (bus.ports.size() > 0).then_some((*index, 0)));
        }
        for (index, bus) in self.all.range_mut(self.open..) {
            self.open = *index;
            if let Some(port) = bus.take() {
                return Some((*index, port));
            }
        }
        None
    }
}

impl SerialBus {
    /// Takes the first free port but port 0.
    fn take(&mut self) -> Option<usize> {
        while self.next < self.ports.size() && self.ports.contains(self.next) {
            self.next += 1;
        }
        if self.next >= self.ports.size() {
            return None;
        }
        self.ports.set(self.next);
        Some(self.next)
    }
}

pub(super) fn virtio_serial(domain: &mut Domain) -> Result<()> {
    let mut buses = SerialBuses::default();
    for controller in &domain.devices.controllers {
        if let ControllerKind::VirtioSerial {
            index: Some(index),
            ports,
            ..
        } = &controller.kind
        {
            buses.add(*index, *ports)?;
        }
    }
    // A port says where it is completely if it says more than the controller; port 0 is for consoles only.
    let complete = |info: &DeviceInfo| match &info.address {
        Some(Address::VirtioSerial(at)) => at.port != 0,
        _ => false,
    };
    let mut known: Vec<VirtioSerialAddress> = Vec::new();
    for device in with_addresses(domain) {
        if let Some(Address::VirtioSerial(at)) =
            device_info(domain, device).and_then(|info| info.address.as_ref())
            && at.port != 0
        {
            known.push(*at);
        }
    }
    let wrong = |what: std::fmt::Arguments<'_>| Err(conf_error(ErrorCode::XML_ERROR, what));
    for VirtioSerialAddress { controller, port, .. } in known {
        let Some(bus) = buses.all.get_mut(&controller) else {
            return wrong(format_args!(
                "there is no controller 'virtio-serial' {controller}"
            ));
        };
        let place = port as usize;
        if place >= bus.ports.size() {
            return wrong(format_args!(
                "controller 'virtio-serial' {controller} has no port {port}"
            ));
        }
        if bus.ports.contains(place) {
            return wrong(format_args!(
                "port {port} of controller 'virtio-serial' {controller} is taken"
            ));
        }
        bus.ports.set(place);
    }
    let consoles = domain.devices.consoles.iter().enumerate();
    let consoles = consoles
        .filter(|(_, console)| console.target_type == ConsoleTargetType::Virtio && !complete(&console.info))
        .map(|(at, _)| (DeviceRef::Console(at), true));
    let channels = domain.devices.channels.iter().enumerate();
    let channels = channels
        .filter(|(_, channel)| matches!(channel.target, ChannelTarget::Virtio { .. }))
        .filter(|(_, channel)| !complete(&channel.info))
        .map(|(at, _)| (DeviceRef::Channel(at), false));
    let wanting: Vec<(DeviceRef, bool)> = consoles.chain(channels).collect();
    for (device, console) in wanting {
        let first = usize::from(!console);
        // For the time being a console is on the first controller, whichever it will be on.
        let on = match device_info(domain, device).and_then(|info| info.address.as_ref()) {
            Some(Address::VirtioSerial(at)) if !console => Some(at.controller),
            Some(Address::VirtioSerial(_)) => Some(0),
            _ => None,
        };
        if on.is_none() && buses.all.is_empty() {
            let what = "there is no controller 'virtio-serial'";
            return Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
        }
        let (controller, port) = match (buses.take(on, first), on) {
            (Some(found), _) => found,
            (None, Some(controller)) if buses.all.contains_key(&controller) => {
                return wrong(format_args!(
                    "all ports of controller 'virtio-serial' {controller} are taken"
                ));
            }
            (None, Some(controller)) => {
                let what = format_args!("there is no controller 'virtio-serial' {controller}");
                return Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
            }
            (None, None) => {
                let index = buses.unused();
                let kind = ControllerKind::new(ControllerType::VirtioSerial, Some(index));
                add_controller(domain, kind);
                buses.add(index, None)?;
                if let Some(bus) = buses.all.get_mut(&index).filter(|_| !console) {
                    bus.ports.set(first);
                }
                (index, first)
            }
        };
        // Where a console is, is decided anew at each start.
        if !console {
            let port = u32::try_from(port).unwrap_or(u32::MAX);
            if let Some(info) = device_info_mut(domain, device) {
                info.address = Some(Address::VirtioSerial(VirtioSerialAddress {
                    controller,
                    bus: 0,
                    port,
                }));
            }
        }
    }
    Ok(())
}
