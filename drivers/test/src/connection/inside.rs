//! What only the guest itself could tell or do: clock, file systems, name, passwords, processes.

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::disk::{Disk, DiskDevice};
use virt_util::types::{DomainProcessSignal, DomainSetTimeFlags, DomainSetUserPasswordFlags};
use virt_util::{ErrorCode, Result};

use super::TestConnection;
use crate::domain::Guest;
use crate::error;
use crate::life;

/// The file systems that every simulated guest has.
const MOUNTS: [&str; 2] = ["/", "/boot"];

/// The place of a file system among those of a guest.
fn mount(name: &str) -> Result<usize> {
    let place = MOUNTS.iter().position(|mount| *mount == name);
    place.ok_or_else(|| {
        error(
            ErrorCode::OPERATION_INVALID,
            format_args!("mount point not found: '{name}': the guest has '/' and '/boot'"),
        )
    })
}

/// Freezes or thaws the file systems named, or all, and says how many were not so before.
fn freeze(guest: &Guest, mounts: &[String], frozen: bool) -> Result<i32> {
    let before = life::active(guest)?.state.lasting.frozen;
    let mut after = before;
    if mounts.is_empty() {
        after = [frozen; 2];
    }
    for name in mounts {
        if let Some(place) = after.get_mut(mount(name)?) {
            *place = frozen;
        }
    }
    guest.publish(|published| published.state.lasting_mut().frozen = after);
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after);
    Ok(i32::try_from(changed.count()).unwrap_or(0))
}

fn only_first_process(args: &DomainSendProcessSignalArgs) -> Result<()> {
    let DomainSendProcessSignalArgs {
        pid_value, signum, ..
    } = args;
    let invalid = |what: String| Err(error(ErrorCode::INVALID_ARG, what));
    if *pid_value != 1 {
        return invalid(format!("process {pid_value}: only process 1 takes signals"));
    }
    let known = i32::try_from(*signum).is_ok_and(|number| DomainProcessSignal(number).name().is_some());
    if !known {
        return invalid(format!("signal {signum} is none: expected 0 to 64"));
    }
    Ok(())
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    #[flags("testDomainGetHostname", 0)]
    fn domain_get_hostname(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetHostnameReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        Ok(DomainGetHostnameReply {
            hostname: format!("{}host", snapshot.name()),
        })
    }

    #[flags("testDomainSetTime", DomainSetTimeFlags::SYNC.bits())]
    fn domain_set_time(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        seconds: i64,
        nseconds: u32,
        _: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetTime", |_, guest| {
            life::active(guest)?;
            guest.publish(|published| published.state.lasting_mut().clock = (seconds, nseconds));
            Ok(())
        })
    }

    #[flags("testDomainFSFreeze", 0)]
    fn domain_fsfreeze(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        _: u32,
    ) -> Result<DomainFsfreezeReply> {
        let filesystems = self.change(cx, &domain, "virDomainFSFreeze", |_, guest| {
            freeze(guest, &mountpoints, true)
        })?;
        Ok(DomainFsfreezeReply { filesystems })
    }

    #[flags("testDomainFSThaw", 0)]
    fn domain_fsthaw(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mountpoints: Vec<String>,
        _: u32,
    ) -> Result<DomainFsthawReply> {
        let filesystems = self.change(cx, &domain, "virDomainFSThaw", |_, guest| {
            freeze(guest, &mountpoints, false)
        })?;
        Ok(DomainFsthawReply { filesystems })
    }

    #[flags("testDomainFSTrim", 0)]
    fn domain_fstrim(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        mount_point: Option<String>,
        _minimum: u64,
        _: u32,
    ) -> Result<()> {
        life::active(domain.handle::<Guest>()?)?;
        mount_point.map_or(Ok(()), |name| mount(&name).map(drop))
    }

    #[inline_safe]
    #[flags("testDomainGetFSInfo", 0)]
    fn domain_get_fsinfo(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetFsinfoReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        let disks = &snapshot.life.current().domain.devices.disks;
        // All guests have their file systems on their first disk.
        let first = disks.iter().find(|disk| disk.device == DiskDevice::Disk);
        let on_disk = |disk: &Disk| {
            let target = disk.target.dev.clone();
            let mounts = MOUNTS.iter().zip(1..);
            mounts.map(move |(mount, partition)| DomainFsInfo {
                mountpoint: (*mount).to_owned(),
                name: format!("{target}{partition}"),
                fstype: "ext4".to_owned(),
                dev_aliases: vec![target.clone()],
            })
        };
        let info: Vec<_> = first.into_iter().flat_map(on_disk).collect();
        Ok(DomainGetFsinfoReply {
            ret: u32::try_from(info.len()).unwrap_or(0),
            info,
        })
    }

    #[flags("testDomainSetUserPassword", DomainSetUserPasswordFlags::ENCRYPTED.bits())]
    fn domain_set_user_password(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _user: Option<String>,
        _password: Option<String>,
        _: u32,
    ) -> Result<()> {
        life::active(domain.handle::<Guest>()?).map(drop)
    }

    #[flags("testDomainSendProcessSignal", 0)]
    #[first(only_first_process)]
    fn domain_send_process_signal(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: i64,
        _: u32,
        _: u32,
    ) -> Result<()> {
        domain.handle::<Guest>().map(drop)
    }
}
