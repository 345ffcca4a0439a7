//! A definition as it would be stored, told from the one that is stored now.
//!
//! What a document leaves out is filled in when it is defined: by rules that [`normalize`] knows, and by the driver. Who has no
//! driver at hand, but knows what it made of the guest's last definition, takes that for its answer: the architecture, the
//! machine, the devices that every guest gets, the places of devices that are still there. So the difference between two
//! definitions is what the user changed, and nothing that was only left out.

use virt_util::Result;

use super::Domain;
use super::controller::Controller;
use super::interface::Interface;
use super::normalize::{
    DeviceRef, DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags, SystemRandomness, device_info,
    device_info_mut, device_refs, normalize,
};

/// Fills in what `definition` leaves out, as in `stored`.
///
/// # Errors
/// As [`normalize`]: what cannot be completed, and why.
pub fn settle(definition: &mut Domain, stored: &Domain) -> Result<()> {
    definition.uuid = definition.uuid.or(stored.uuid);
    let interfaces = &mut definition.devices.interfaces;
    for (at, interface) in interfaces.iter_mut().enumerate() {
        let known = stored.devices.interfaces.get(at);
        if let (None, Some(known)) = (interface.mac.address, known) {
            interface.mac.address = known.mac.address;
        }
    }
    let context = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &SystemRandomness,
    };
    normalize(definition, &Like { stored }, &context)
}

/// Answers as the driver did for the stored definition.
struct Like<'s> {
    stored: &'s Domain,
}

impl DomainHooks for Like<'_> {
    fn features(&self) -> DomainFeatures {
        // Whether the driver supports it is the driver's to say.
        DomainFeatures::all()
            - DomainFeatures::NO_BOOT_ORDER
            - DomainFeatures::NO_STUB_CONSOLE
            - DomainFeatures::UNLIMITED_MEMORY
    }

    fn default_arch(&self) -> Option<String> {
        self.stored.os.kind.arch.clone()
    }

    fn basic(&self, domain: &mut Domain, _: &NormalizeContext<'_>) -> Result<()> {
        let (os, known) = (&mut domain.os.kind, &self.stored.os.kind);
        if os.machine.is_none() && os.arch == known.arch {
            os.machine.clone_from(&known.machine);
        }
        if domain.devices.emulator.is_none() {
            domain.devices.emulator.clone_from(&self.stored.devices.emulator);
        }
        Ok(())
    }

    fn domain(&self, domain: &mut Domain, _: &NormalizeContext<'_>) -> Result<()> {
        let (devices, known) = (&mut domain.devices, &self.stored.devices);
        // A kind of which the user names none is left to the driver.
        let named: Vec<_> = devices
            .controllers
            .iter()
            .map(|one| one.kind.controller_type())
            .collect();
        let left = |controller: &&Controller| !named.contains(&controller.kind.controller_type());
        devices
            .controllers
            .extend(known.controllers.iter().filter(left).cloned());
        if devices.memballoon.is_none() {
            devices.memballoon.clone_from(&known.memballoon);
        }
        if devices.nvram.is_none() {
            devices.nvram.clone_from(&known.nvram);
        }
        if devices.videos.is_empty() && !devices.graphics.is_empty() {
            devices.videos.clone_from(&known.videos);
        }
        Ok(())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _: &NormalizeContext<'_>) -> Result<()> {
        if let DeviceRef::Interface(at) = device
            && let Some(known) = peer(domain, self.stored, device)
            && let (Some(interface), DeviceRef::Interface(known)) =
                (domain.devices.interfaces.get_mut(at), known)
            && let Some(known) = self.stored.devices.interfaces.get(known)
        {
            take_names(interface, known);
        }
        if let DeviceRef::Video(at) = device
            && let (Some(video), Some(known)) = (
                domain.devices.videos.get_mut(at),
                self.stored.devices.videos.get(at),
            )
            && video.model.kind == super::video::VideoModelType::Default
        {
            video.model.kind = known.model.kind;
        }
        Ok(())
    }

    fn assign_addresses(&self, domain: &mut Domain, _: &NormalizeContext<'_>) -> Result<()> {
        for device in device_refs(domain) {
            let Some(known) = peer(domain, self.stored, device) else {
                continue;
            };
            let address = device_info(self.stored, known).and_then(|info| info.address.clone());
            if let (Some(info), Some(address)) = (device_info_mut(domain, device), address) {
                info.address.get_or_insert(address);
            }
        }
        Ok(())
    }
}

/// What the driver says of an interface that the user left open.
fn take_names(interface: &mut Interface, known: &Interface) {
    if interface.model.is_none() && interface.source.xml_tag() == known.source.xml_tag() {
        interface.model.clone_from(&known.model);
    }
    if interface.target.is_none() {
        interface.target.clone_from(&known.target);
    }
}

/// The same device in the other definition: by what the guest knows it by, or by its place among its like.
fn peer(domain: &Domain, stored: &Domain, device: DeviceRef) -> Option<DeviceRef> {
    let (devices, known) = (&domain.devices, &stored.devices);
    match device {
        DeviceRef::Disk(at) => {
            let target = &devices.disks.get(at)?.target.dev;
            let found = known.disks.iter().position(|disk| disk.target.dev == *target)?;
            Some(DeviceRef::Disk(found))
        }
        DeviceRef::Interface(at) => {
            let mac = devices.interfaces.get(at)?.mac.address;
            let found = known.interfaces.iter().position(|one| one.mac.address == mac)?;
            Some(DeviceRef::Interface(found))
        }
        DeviceRef::Controller(at) => {
            let kind = &devices.controllers.get(at)?.kind;
            let same = |one: &Controller| {
                one.kind.controller_type() == kind.controller_type() && one.kind.index() == kind.index()
            };
            Some(DeviceRef::Controller(known.controllers.iter().position(same)?))
        }
        other => device_refs(stored).contains(&other).then_some(other),
    }
}

#[cfg(test)]
mod tests {
    use virt_util::xml::XmlFlags;

    use super::*;
    use crate::diff::diff;

    const STORED: &str = "<domain type='kvm'><name>a</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
        <memory unit='KiB'>1048576</memory><currentMemory unit='KiB'>1048576</currentMemory><vcpu placement='static'>2</vcpu>
        <os><type arch='aarch64' machine='virt-9.2'>hvm</type><boot dev='hd'/></os><clock offset='utc'/>
        <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
        <devices><emulator>/usr/bin/q</emulator>
          <disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/>
            <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></disk>
          <controller type='pci' index='0' model='pcie-root'/>
          <interface type='network'><mac address='52:54:00:11:22:33'/><source network='n'/><model type='virtio'/>
            <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></interface>
          <memballoon model='virtio'><address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></memballoon>
        </devices></domain>";

    fn changes(source: &str) -> Vec<String> {
        let read = |source| Domain::parse(source, XmlFlags::INACTIVE, "a.xml").unwrap();
        let mut stored = read(STORED);
        let mut definition = read(source);
        settle(&mut stored.clone(), &stored).unwrap();
        settle(&mut definition, &stored).unwrap();
        let before = stored.clone();
        settle(&mut stored, &before).unwrap();
        let changes = diff(&stored, &definition, XmlFlags::INACTIVE);
        changes.iter().map(|change| change.to_string()).collect()
    }

    #[test]
    fn what_is_left_out_is_no_change() {
        let source = "<domain type='kvm'><name>a</name><memory unit='GiB'>1</memory><vcpu>2</vcpu><os><type>hvm</type></os>
            <devices><disk><source file='/a'/><target dev='vda'/></disk>
              <interface type='network'><source network='n'/></interface></devices></domain>";
        assert_eq!(changes(source), Vec::<String>::new());
        let told = changes(
            &source
                .replace("<vcpu>2</vcpu>", "<vcpu>4</vcpu>")
                .replace("/a", "/b"),
        );
        assert_eq!(told, ["vcpu: 2 -> 4", "devices/disk/source@file: /a -> /b"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut definition = Domain::parse(
            "<domain type='kvm'><name>a</name><os><type>hvm</type></os></domain>",
            XmlFlags::INACTIVE,
            "a.xml",
        )
        .unwrap();
        let stored = Domain::parse(STORED, XmlFlags::INACTIVE, "a.xml").unwrap();
        assert!(settle(&mut definition, &stored).is_err(), "no memory is no guest");
    }
}
