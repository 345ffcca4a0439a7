//! What QEMU cannot do with devices of the host that a guest gets, and with those of a client.

use virt_conf::domain::Domain;
use virt_conf::domain::hostdev::{
    Hostdev, HostdevPass, HostdevSubsys, MdevModel, PciDriverName, ScsiHostProtocol,
};
use virt_conf::domain::input::Redirdev;
use virt_util::Result;

use super::chardev::source;
use super::{refuse_if, unsupported};
use crate::capabilities::Flag;
use crate::hooks::Guest;

/// Checks a device of the host.
pub(super) fn hostdev(domain: &Domain, hostdev: &Hostdev, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
        return Err(unsupported(format_args!(
            "hostdev mode 'capabilities' is for containers, not for domains of type '{}'",
            domain.virt_type
        )));
    };
    let boots = hostdev.info.boot.is_some();
    match &**subsystem {
        HostdevSubsys::Usb { device, .. } => refuse_if(
            device.guest_reset.is_some() && !has(Flag::UsbHostGuestsResetsAll),
            "this QEMU binary does not know 'guestReset' of USB host devices",
        ),
        HostdevSubsys::Pci { device, display, .. } => {
            refuse_if(
                device.driver == Some(PciDriverName::Vfio) && !has(Flag::DeviceVfioPci),
                "this QEMU binary has no VFIO for PCI devices",
            )?;
            refuse_if(
                device.write_filtering.is_some(),
                "QEMU does not filter writes to the configuration space: 'writeFiltering' is Xen's",
            )?;
            shown(domain, *display)
        }
        HostdevSubsys::Scsi { .. } => Ok(()),
        HostdevSubsys::ScsiHost { protocol, .. } => {
            refuse_if(
                boots,
                "a guest cannot boot from a vhost SCSI device: leave its boot order out",
            )?;
            refuse_if(
                *protocol == ScsiHostProtocol::Vhost && !has(Flag::DeviceVhostScsi),
                "this QEMU binary has no vhost SCSI devices",
            )
        }
        HostdevSubsys::Mdev { model, display, .. } => {
            let (flag, bootable) = match model {
                MdevModel::VfioPci => (Flag::DeviceVfioPci, false),
                MdevModel::VfioAp => (Flag::DeviceVfioAp, false),
                MdevModel::VfioCcw => (Flag::DeviceVfioCcw, true),
            };
            refuse_if(
                !has(flag),
                format_args!("this QEMU binary has no mediated devices of model '{model}'"),
            )?;
            refuse_if(
                boots && !bootable,
                format_args!(
                    "a guest cannot boot from a mediated device of model '{model}': leave its boot order out"
                ),
            )?;
            match model {
                MdevModel::VfioPci => shown(domain, *display),
                MdevModel::VfioAp => only_one(domain),
                MdevModel::VfioCcw => Ok(()),
            }
        }
    }
}

/// A display that a device of the host draws needs somebody who shows it.
fn shown(domain: &Domain, display: Option<bool>) -> Result<()> {
    refuse_if(
        display == Some(true) && domain.devices.graphics.is_empty(),
        "a host device with display='on' needs a graphics device that shows it",
    )
}

/// A matrix of crypto adapters is one device for the guest.
fn only_one(domain: &Domain) -> Result<()> {
    let matrices = domain.devices.hostdevs.iter().filter(|hostdev| {
        let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
            return false;
        };
        matches!(
            **subsystem,
            HostdevSubsys::Mdev {
                model: MdevModel::VfioAp,
                ..
            }
        )
    });
    let count = matrices.count();
    refuse_if(
        count > 1,
        format_args!("{count} mediated devices of model 'vfio-ap': a guest has at most one"),
    )
}

/// Checks a USB device of a client.
pub(super) fn redirdev(domain: &Domain, redirdev: &Redirdev, guest: Guest<'_>) -> Result<()> {
    source(domain, &redirdev.host.source, guest)?;
    refuse_if(
        !guest.caps.has(Flag::UsbRedir),
        "this QEMU binary does not redirect USB devices",
    )?;
    let filter = domain.devices.redirfilter.as_ref();
    refuse_if(
        filter.is_some_and(|filter| !filter.rules.is_empty()) && !guest.caps.has(Flag::UsbRedirFilter),
        "this QEMU binary does not filter redirected USB devices",
    )
}

#[cfg(test)]
mod tests {
    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, devices};

    fn judge(device: &str, flags: &[Flag]) -> Verdict {
        devices("pc-q35-10.0", device, flags)
    }

    fn mediated(model: &str, rest: &str, inside: &str) -> String {
        format!(
            "<hostdev mode='subsystem' type='mdev' model='{model}' {rest}><source>\
             <address uuid='53764d0e-85a0-42b4-af5c-2046b460b1dc'/></source>{inside}</hostdev>"
        )
    }

    #[test]
    fn mediated_devices_are_what_the_binary_has() {
        let pci = mediated("vfio-pci", "", "");
        judge(&pci, &[]).refused("no mediated devices of model 'vfio-pci'");
        judge(&pci, &[Flag::DeviceVfioPci]).fine();
        let boots = mediated("vfio-pci", "", "<boot order='1'/>");
        judge(&boots, &[Flag::DeviceVfioPci]).refused("cannot boot");
        let shown = mediated("vfio-pci", "display='on'", "");
        judge(&shown, &[Flag::DeviceVfioPci]).refused("needs a graphics device");
        judge(&mediated("vfio-ccw", "", ""), &[]).refused("of model 'vfio-ccw'");
        let ap = mediated("vfio-ap", "", "");
        judge(&ap, &[Flag::DeviceVfioAp]).fine();
        let two = ap.repeat(2);
        judge(&two, &[Flag::DeviceVfioAp]).refused("2 mediated devices of model 'vfio-ap'");
    }

    #[test]
    fn whole_devices_are_what_the_binary_has() {
        let pci = "<hostdev mode='subsystem' type='pci'><driver name='vfio'/><source>\
            <address bus='6' slot='18' function='5'/></source></hostdev>";
        judge(pci, &[]).refused("no VFIO");
        judge(pci, &[Flag::DeviceVfioPci]).fine();
        let filtered = pci.replace("<source>", "<source writeFiltering='no'>");
        judge(&filtered, &[Flag::DeviceVfioPci]).refused("'writeFiltering' is Xen's");
        let shown = pci.replace("type='pci'", "type='pci' display='on'");
        judge(&shown, &[Flag::DeviceVfioPci]).refused("needs a graphics device");
        let usb = "<hostdev mode='subsystem' type='usb'><source guestReset='off'>\
            <vendor id='1'/><product id='2'/></source></hostdev>";
        judge(usb, &[]).refused("'guestReset'");
        judge(usb, &[Flag::UsbHostGuestsResetsAll]).fine();
        let scsi = "<hostdev mode='subsystem' type='scsi_host'>\
            <source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>";
        judge(scsi, &[]).refused("no vhost SCSI");
        judge(scsi, &[Flag::DeviceVhostScsi]).fine();
        let boots = scsi.replace("</hostdev>", "<boot order='1'/></hostdev>");
        judge(&boots, &[Flag::DeviceVhostScsi]).refused("cannot boot");
        let net =
            "<hostdev mode='capabilities' type='net'><source><interface>eth0</interface></source></hostdev>";
        judge(net, &[]).refused("is for containers");
    }

    #[test]
    fn devices_of_clients_need_a_channel_and_a_filter() {
        let redirected = "<redirdev bus='usb' type='pty'/>";
        judge(redirected, &[]).refused("does not redirect");
        judge(redirected, &[Flag::UsbRedir]).fine();
        let spice = "<redirdev bus='usb' type='spicevmc'/>";
        judge(spice, &[Flag::UsbRedir]).refused("needs SPICE");
        let filtered = format!("{redirected}<redirfilter><usbdev allow='no'/></redirfilter>");
        judge(&filtered, &[Flag::UsbRedir]).refused("does not filter");
        judge(&filtered, &[Flag::UsbRedir, Flag::UsbRedirFilter]).fine();
    }
}
