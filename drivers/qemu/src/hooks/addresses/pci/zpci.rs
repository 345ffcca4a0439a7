//! Numbers by which guests on IBM Z know PCI devices.

use std::collections::HashSet;

use virt_conf::domain::normalize::{DeviceRef, device_info_mut, device_refs};
use virt_conf::domain::{Address, Domain, Zpci};
use virt_util::{ErrorCode, Result};

use crate::hooks::addresses::conf_error;

/// The numbers that are taken.
#[derive(Default)]
pub(super) struct Numbers {
    uids: HashSet<u32>,
    fids: HashSet<u32>,
    /// All lower ones but 0 are taken.
    uid: u32,
    /// All lower ones are taken.
    fid: u32,
}

/// Which devices get numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those of which a number is said.
    Said,
    /// Those that lack one.
    Incomplete,
}

impl Numbers {
    /// Takes numbers for the devices on PCI, in their order: who says but one gets the other before those that come after
    /// have said theirs.
    pub(super) fn give(&mut self, domain: &mut Domain, which: Which) -> Result<()> {
        for device in device_refs(domain) {
            if matches!(
                device,
                DeviceRef::Serial(_) | DeviceRef::Parallel(_) | DeviceRef::Channel(_) | DeviceRef::Console(_)
            ) {
                continue;
            }
            let info = device_info_mut(domain, device);
            let Some(Address::Pci(at)) = info.and_then(|info| info.address.as_mut()) else {
                continue;
            };
            let said = at.zpci.unwrap_or_default();
            let wanted = match which {
                Which::Said => said.uid.is_some() || said.fid.is_some(),
                Which::Incomplete => said.uid.is_none() || said.fid.is_none(),
            };
            if wanted {
                at.zpci = Some(self.take(said)?);
            }
        }
        Ok(())
    }

    fn take(&mut self, said: Zpci) -> Result<Zpci> {
        let uid = said.uid.unwrap_or_else(|| {
            self.uid = self.uid.max(1);
            while self.uids.contains(&self.uid) {
                self.uid += 1;
            }
            self.uid
        });
        let fid = said.fid.unwrap_or_else(|| {
            while self.fids.contains(&self.fid) {
                self.fid += 1;
            }
            self.fid
        });
        let taken = |what: std::fmt::Arguments<'_>| Err(conf_error(ErrorCode::INTERNAL_ERROR, what));
        if !self.uids.insert(uid) {
            return taken(format_args!("zPCI uid 0x{uid:04x} belongs to two devices"));
        }
        if !self.fids.insert(fid) {
            return taken(format_args!("zPCI fid 0x{fid:08x} belongs to two devices"));
        }
        Ok(Zpci {
            uid: Some(uid),
            fid: Some(fid),
        })
    }
}
