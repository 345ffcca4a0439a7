//! Facts of the host that some guests need when they start: where their memory best goes, which of their drives are
//! real CD-ROM drives, which device draws for them.

use std::path::Path;
use std::time::Duration;

use virt_conf::domain::Domain;
use virt_conf::domain::disk::DiskDevice;
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::storage::StorageLocation;
use virt_conf::domain::tune::CpuPlacement;
use virt_conf::numa::NumaPlacement;
use virt_util::bitmap::Bitmap;
use virt_util::command::{Command, Spawner as _, SystemSpawner, find_program};
use virt_util::{ErrorCode, Result};

use super::error;
use super::planner::Patience;

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
    fn an_image_is_no_drive() {
        let disks = "<disk type='block' device='cdrom'><source dev='/dev/null'/><target dev='hda'/></disk>
            <disk type='block' device='disk'><source dev='/dev/sr0'/><target dev='hdb'/></disk>";
        assert!(cdrom_drives(&guest(disks)).is_empty());
    }
}
