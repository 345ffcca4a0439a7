//! What errors call a device.

use std::fmt::Write as _;

use super::devices::{DeviceRef, device_info, device_refs};
use crate::domain::Domain;

/// A device's name for people: `disk 'vda'`, `interface '52:54:00:00:00:01'`, `controller 'scsi' 0`, `filesystem '/srv'`; other
/// families by their place, `hostdev 2`, and all by their alias if they have one.
pub fn device_name(domain: &Domain, device: DeviceRef) -> String {
    let mut name = own_name(domain, device).unwrap_or_else(|| by_place(domain, device));
    let alias = device_info(domain, device).and_then(|info| info.alias.as_deref());
    if let Some(alias) = alias {
        let _ = write!(name, " (alias '{alias}')");
    }
    name
}

/// What sets a device apart, for families where users know it.
fn own_name(domain: &Domain, device: DeviceRef) -> Option<String> {
    let devices = &domain.devices;
    let (family, own) = match device {
        DeviceRef::Disk(at) => ("disk", devices.disks.get(at)?.target.dev.clone()),
        DeviceRef::Interface(at) => ("interface", devices.interfaces.get(at)?.mac.address?.to_string()),
        DeviceRef::Filesystem(at) => ("filesystem", devices.filesystems.get(at)?.target.clone()?),
        DeviceRef::Controller(at) => {
            let kind = &devices.controllers.get(at)?.kind;
            return Some(format!(
                "controller '{}' {}",
                kind.controller_type(),
                kind.index()?
            ));
        }
        _ => return None,
    };
    (!own.is_empty()).then(|| format!("{family} '{own}'"))
}

/// The family, and the place in it if there are several, counted from 1.
fn by_place(domain: &Domain, device: DeviceRef) -> String {
    let family = std::mem::discriminant(&device);
    let mut same = device_refs(domain)
        .into_iter()
        .filter(|other| std::mem::discriminant(other) == family);
    let before = same.by_ref().take_while(|other| *other != device).count();
    if before > 0 || same.next().is_some() {
        format!("{} {}", device.word(), before + 1)
    } else {
        device.word().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use virt_util::xml::XmlFlags;

    use super::*;

    #[test]
    fn devices_have_names_that_users_know() {
        let source = "<domain type='test'><name>a</name><memory>1024</memory><os><type>hvm</type></os><devices>\
            <disk type='file'><target dev='vda'/></disk>\
            <interface type='user'><mac address='52:54:00:00:00:01'/><alias name='ua-net'/></interface>\
            <filesystem><source dir='/srv'/><target dir='data'/></filesystem>\
            <controller type='scsi' index='3'/>\
            <input type='mouse'/><input type='keyboard'/><iommu model='intel'/></devices></domain>";
        let domain = Domain::parse(source, XmlFlags::INACTIVE, "a").unwrap();
        let names = device_refs(&domain)
            .into_iter()
            .map(|device| device_name(&domain, device))
            .collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "disk 'vda'",
                "interface '52:54:00:00:00:01' (alias 'ua-net')",
                "controller 'scsi' 3",
                "input 1",
                "input 2",
                "filesystem 'data'",
                "iommu"
            ]
        );
    }
}
