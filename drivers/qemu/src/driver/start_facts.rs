//! Facts of the host that some guests need when they start: where their memory best goes, which of their drives are
//! real CD-ROM drives, which device draws for them.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{Group, User};

use virt_conf::domain::Domain;
use virt_conf::domain::disk::DiskDevice;
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::interface::InterfaceBackendType;
use virt_conf::domain::storage::{BackingStore, StorageLocation, StorageSource};
use virt_conf::domain::tune::CpuPlacement;
use virt_conf::numa::NumaPlacement;
use virt_util::bitmap::Bitmap;
use virt_util::command::{Command, Spawner as _, SystemSpawner, find_program};
use virt_util::error::SystemResult as _;
use virt_util::{ErrorCode, Result};

use super::error;
use super::planner::Patience;
use crate::plan::prepare::{Names, ScsiPlace, scsi_places};

/// Where the devices are that draw.
const DRI_FOLDER: &str = "/dev/dri";

/// How long numad may think.
const NUMAD_LIMIT: Duration = Duration::from_secs(30);

/// The nodes that numad advises for a guest that leaves it to us; nothing for others.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` without numad, `OPERATION_FAILED` if it gives no advice.
pub fn auto_nodes(domain: &Domain, patience: &Patience) -> Result<Option<Bitmap>> {
    let by_memory = domain
        .numatune
        .as_ref()
        .and_then(|tune| tune.memory.as_ref())
        .is_some_and(|memory| memory.placement == Some(NumaPlacement::Auto));
    if domain.vcpus.placement != CpuPlacement::Auto && !by_memory {
        return Ok(None);
    }
    let numad = find_program(Path::new("numad")).map_err(|_| {
        error(
            ErrorCode::CONFIG_UNSUPPORTED,
            "placement='auto' needs the program numad, which is not installed",
        )
    })?;
    let vcpus = domain.vcpus.current.unwrap_or(domain.vcpus.max);
    let memory = match domain.current_memory {
        0 => domain.memory.size,
        some => some,
    };
    let mut command = Command::new(numad);
    command
        .arg("-w")
        .arg(format!("{vcpus}:{}", memory.div_ceil(1024)));
    let failed = |why: virt_util::VirtError| {
        error(
            ErrorCode::OPERATION_FAILED,
            "numad does not say where the guest should be",
        )
        .caused_by(why)
    };
    let output = SystemSpawner
        .run(&command, patience.deadline.at_most(NUMAD_LIMIT), &patience.cancel)
        .and_then(|output| output.check(&command))
        .map_err(failed)?;
    let advice = String::from_utf8_lossy(&output.stdout);
    Bitmap::parse_growing(advice.trim()).map(Some).map_err(failed)
}

/// Those of the guest's CD-ROM drives that are drives of the host.
pub fn cdrom_drives(domain: &Domain) -> Vec<String> {
    domain
        .devices
        .disks
        .iter()
        .filter(|disk| disk.device == DiskDevice::Cdrom)
        .filter_map(|disk| match &disk.source.location {
            StorageLocation::Block { path: Some(path) } => Some(path),
            _ => None,
        })
        .filter(|path| virt_util::sys::cdrom::is_drive(Path::new(path)))
        .cloned()
        .collect()
}

/// The device that draws for a guest which wants its display drawn by hardware and names none.
///
/// # Errors
/// `INTERNAL_ERROR` if it wants one and the host has none.
pub fn render_node(domain: &Domain) -> Result<Option<String>> {
    let wanted = domain.devices.graphics.iter().any(|graphics| match graphics {
        Graphics::Spice(spice) => spice.options.gl == Some(true) && spice.options.render_node.is_none(),
        Graphics::EglHeadless { render_node } => render_node.is_none(),
        Graphics::Dbus(dbus) => dbus.gl == Some(true) && dbus.render_node.is_none(),
        _ => false,
    });
    if !wanted {
        return Ok(None);
    }
    first_render_node(Path::new(DRI_FOLDER)).map(Some).ok_or_else(|| {
        error(
            ErrorCode::INTERNAL_ERROR,
            "no GPU of this host draws: /dev/dri holds no render node",
        )
    })
}

/// The first by number: the folder's own order means nothing.
fn first_render_node(folder: &Path) -> Option<String> {
    let number = |name: &str| name.strip_prefix("renderD")?.parse::<u32>().ok();
    let first = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| number(entry.ok()?.file_name().to_str()?))
        .min()?;
    Some(format!("{}/renderD{first}", folder.display()))
}

/// Refuses what a plan can say and nobody here starts yet.
///
/// # Errors
/// `CONFIG_UNSUPPORTED`.
pub fn check(domain: &Domain) -> Result<()> {
    let refuse = |what: &str| {
        let what = format!("{what} cannot be started yet");
        Err(error(ErrorCode::CONFIG_UNSUPPORTED, what))
    };
    for interface in &domain.devices.interfaces {
        if interface.backend.as_ref().map(|backend| backend.kind) == Some(InterfaceBackendType::Passt) {
            return refuse("guests whose network is passt");
        }
    }
    for disk in &domain.devices.disks {
        let reservations = disk.source.reservations.as_ref();
        if reservations.is_some_and(|one| one.managed == Some(true)) {
            return refuse("helpers for persistent reservations");
        }
    }
    Ok(())
}

/// Where the kernel tells of SCSI devices.
const SCSI_DEVICES: &str = "/sys/bus/scsi/devices";

/// The names of the host's SCSI devices that a guest gets.
///
/// # Errors
/// `INTERNAL_ERROR` for an adapter that is none, `SYSTEM_ERROR` for a device that is not there.
pub fn scsi_generic(domain: &Domain) -> Result<Vec<(ScsiPlace, String)>> {
    scsi_places(domain)
        .into_iter()
        .map(|place| {
            let name = generic_name(Path::new(SCSI_DEVICES), &place)?;
            Ok((place, name))
        })
        .collect()
}

fn generic_name(devices: &Path, place: &ScsiPlace) -> Result<String> {
    let ScsiPlace {
        adapter,
        bus,
        target,
        unit,
    } = place;
    let number = adapter
        .strip_prefix("scsi_host")
        .and_then(|number| number.parse::<u32>().ok());
    let number = number.ok_or_else(|| {
        let what = format!("SCSI adapter '{adapter}': expected scsi_hostNUMBER");
        error(ErrorCode::INTERNAL_ERROR, what)
    })?;
    let folder = devices.join(format!("{number}:{bus}:{target}:{unit}/scsi_generic"));
    let named = || format!("the host has no SCSI device {number}:{bus}:{target}:{unit}");
    let mut entries = std::fs::read_dir(folder).or_system(named)?;
    let first = entries.find_map(|entry| entry.ok()?.file_name().into_string().ok());
    first.ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, named()))
}

/// The numbers of the users and groups that read images over NFS.
pub fn names(domain: &Domain) -> Names {
    let mut names = Names::default();
    let mut add = |source: &StorageSource| {
        if let StorageLocation::Network(network) = &source.location
            && let Some(identity) = &network.nfs_identity
        {
            if let Some(name) = &identity.user
                && let Ok(Some(user)) = User::from_name(name)
            {
                names.users.insert(name.clone(), user.uid.as_raw());
            }
            if let Some(name) = &identity.group
                && let Ok(Some(group)) = Group::from_name(name)
            {
                names.groups.insert(name.clone(), group.gid.as_raw());
            }
        }
    };
    for disk in &domain.devices.disks {
        add(&disk.source);
        let mut below = disk.backing.as_ref();
        while let Some(BackingStore::Image(image)) = below {
            add(&image.source);
            below = image.backing.as_ref();
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_util::xml::XmlFlags;

    fn guest(devices: &str) -> Domain {
        let xml = format!(
            "<domain type='kvm'><name>a</name><memory>1024</memory><os><type>hvm</type></os>
             <devices>{devices}</devices></domain>"
        );
        Domain::parse(&xml, XmlFlags::INACTIVE, "test").unwrap()
    }

    #[test]
    fn only_guests_that_draw_need_a_device_for_it() {
        assert_eq!(render_node(&guest("<graphics type='vnc'/>")).unwrap(), None);
        let named = "<graphics type='egl-headless'><gl rendernode='/dev/dri/renderD7'/></graphics>";
        assert_eq!(render_node(&guest(named)).unwrap(), None);

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(first_render_node(folder.path()), None);
        for name in ["card0", "renderD129", "renderD128", "renderDx"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(first_render_node(folder.path()).unwrap().ends_with("/renderD128"));
    }

    #[test]
    fn scsi_devices_are_found_by_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("2:0:1:5/scsi_generic/sg3")).unwrap();
        let place = |adapter: &str, target| ScsiPlace {
            adapter: adapter.to_owned(),
            bus: 0,
            target,
            unit: 5,
        };
        let find = |adapter, target| generic_name(folder.path(), &place(adapter, target));
        assert_eq!(find("scsi_host2", 1).unwrap(), "sg3");
        assert_eq!(find("scsi_host2", 0).unwrap_err().code(), ErrorCode::SYSTEM_ERROR);
        for adapter in ["fc_host2", "scsi_host", "scsi_host-1"] {
            assert_eq!(find(adapter, 1).unwrap_err().code(), ErrorCode::INTERNAL_ERROR);
        }
    }

    #[test]
    fn users_have_numbers_and_some_guests_are_not_started() {
        let nfs = "<disk type='network'><source protocol='nfs' name='/a'><host name='h'/>
            <identity user='root' group='+7'/></source><target dev='vda'/></disk>";
        let names = names(&guest(nfs));
        assert_eq!((names.user("root").unwrap(), names.group("+7").unwrap()), (0, 7));
        assert!(names.user("nobody by that name").is_err());

        assert!(check(&guest(nfs)).is_ok());
        let passt = "<interface type='user'><backend type='passt'/></interface>";
        assert_eq!(
            check(&guest(passt)).unwrap_err().code(),
            ErrorCode::CONFIG_UNSUPPORTED
        );
    }

    #[test]
    fn an_image_is_no_drive() {
        let disks = "<disk type='block' device='cdrom'><source dev='/dev/null'/><target dev='hda'/></disk>
            <disk type='block' device='disk'><source dev='/dev/sr0'/><target dev='hdb'/></disk>";
        assert!(cdrom_drives(&guest(disks)).is_empty());
    }
}
