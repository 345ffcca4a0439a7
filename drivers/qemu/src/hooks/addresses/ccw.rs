//! Channels of IBM Z.

use std::collections::BTreeSet;

use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys, MdevModel};
use virt_conf::domain::normalize::{device_info, device_info_mut};
use virt_conf::domain::{Address, CcwAddress, Domain};
use virt_util::{ErrorCode, Result};

use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

use super::mmio::prime_virtio;
use super::{conf_error, with_addresses};

pub(super) fn s390(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    if !machine(domain, guest.arch).is_s390_ccw() {
        return Ok(());
    }
    let open = Address::Ccw(CcwAddress::default());
    if guest.caps.has(Flag::DeviceVfioCcw) {
        for hostdev in &mut domain.devices.hostdevs {
            let HostdevPass::Subsystem(subsystem) = &hostdev.mode else {
                continue;
            };
            match **subsystem {
                HostdevSubsys::Mdev {
                    model: MdevModel::VfioCcw,
                    ..
                } => {
                    hostdev.info.address.get_or_insert(open.clone());
                }
                HostdevSubsys::Mdev {
                    model: MdevModel::VfioAp,
                    ..
                } => hostdev.info.address = None,
                _ => {}
            }
        }
    }
    prime_virtio(domain, &open);
    let mut taken = BTreeSet::new();
    let mut wanting = Vec::new();
    for device in with_addresses(domain) {
        let Some(Address::Ccw(at)) = device_info(domain, device).and_then(|info| info.address.as_ref())
        else {
            continue;
        };
        match (at.cssid, at.ssid, at.devno) {
            (Some(css), Some(ss), Some(number)) => {
                if !taken.insert((css, ss, number)) {
                    let what = format_args!("CCW address {css:x}.{ss:x}.{number:04x} belongs to two devices");
                    return Err(conf_error(ErrorCode::XML_ERROR, what));
                }
            }
            _ => wanting.push(device),
        }
    }
    let mut next = (0xfe, 0, 0);
    for device in wanting {
        while taken.contains(&next) {
            next = match next {
                (css, ss, 0xffff) if ss < 3 => (css, ss + 1, 0),
                (_, _, 0xffff) => {
                    let what = "all addresses of type 'ccw' are taken";
                    return Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
                }
                (css, ss, number) => (css, ss, number + 1),
            };
        }
        taken.insert(next);
        let (css, ss, number) = next;
        if let Some(info) = device_info_mut(domain, device) {
            let at = CcwAddress {
                cssid: Some(css),
                ssid: Some(ss),
                devno: Some(number),
            };
            info.address = Some(Address::Ccw(at));
        }
    }
    Ok(())
}
