//! Domain → `.vmx` file.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, Result, VirtError};

use super::text::escape_hex;
use super::{SCSI_MODELS, VmxContext, format_devices};
use crate::cpu::{CpuMode, CpuTopology};
use crate::domain::controller::{ControllerKind, ScsiControllerModel};
use crate::domain::device_info::{Address, DriveAddress};
use crate::domain::disk::{Disk, DiskBus};
use crate::domain::normalize::{DomainFeatures, disk_index, drive_address};
use crate::domain::os::{FirmwareType, SmbiosMode};
use crate::domain::{Domain, VirtType};

/// A `.vmx` file that is being written.
#[derive(Debug, Default)]
pub(super) struct Out {
    text: String,
}

impl Out {
    /// Writes `name = "value"`.
    pub(super) fn set(&mut self, name: impl Display, value: impl Display) -> Result<()> {
        let start = self.text.len();
        let _ = write!(self.text, "{name} = \"{value}\"");
        let quotes = self.text.get(start..).map_or(0, |line| line.matches('"').count());
        if quotes != 2
            || self
                .text
                .get(start..)
                .is_some_and(|line| line.contains(['\n', '\r']))
        {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("the value '{value}' of '{name}' must hold neither quotes nor line breaks"),
            ));
        }
        self.text.push('\n');
        Ok(())
    }
}

pub(super) fn unsupported(what: impl Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Writes a complete definition as a `.vmx` file for a version of the virtual hardware.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` and `INTERNAL_ERROR` for what the format cannot say, naming what it can; `INVALID_ARG` for values that
/// no quotes can hold.
pub fn format(domain: &Domain, hardware_version: u32, cx: &VmxContext<'_>) -> Result<String> {
    if domain.virt_type != VirtType::Vmware {
        return Err(VirtError::internal(format_args!(
            "the virt type is '{}', 'vmware' is expected",
            domain.virt_type
        )));
    }
    let mut out = Out::default();
    out.set(".encoding", "UTF-8")?;
    out.set("config.version", 8)?;
    out.set("virtualHW.version", hardware_version)?;
    identity(&mut out, domain)?;
    memory(&mut out, domain)?;
    processors(&mut out, domain)?;
    format_devices::graphics(&mut out, domain)?;
    let scsi = scsi_controllers(domain, cx)?;
    for (index, model) in &scsi {
        out.set(format_args!("scsi{index}.present"), true)?;
        if let Some(model) = model {
            let word = SCSI_MODELS.iter().find(|(_, known)| known == model);
            let word = word.map(|(word, _)| *word).ok_or_else(|| {
                VirtError::internal(format_args!(
                    "the model of SCSI controller {index} is '{model}', 'buslogic', 'lsilogic', 'lsisas1068' or 'vmpvscsi' is \
                     expected"
                ))
            })?;
            out.set(format_args!("scsi{index}.virtualDev"), word)?;
        }
    }
    format_devices::disks(&mut out, domain, cx.files)?;
    format_devices::shared_folders(&mut out, domain)?;
    format_devices::interfaces(&mut out, domain, hardware_version)?;
    format_devices::video(&mut out, domain)?;
    format_devices::ports(&mut out, domain, cx.files)?;
    if domain.os.firmware == Some(FirmwareType::Efi) {
        out.set("firmware", "efi")?;
    }
    if hardware_version >= 7 {
        buses(&mut out, !scsi.is_empty())?;
    }
    Ok(out.text)
}

/// A UUID as VMware writes it.
pub(super) fn spaced(uuid: Uuid) -> String {
    let mut text = String::new();
    for (at, byte) in uuid.as_bytes().iter().enumerate() {
        match at {
            0 => {}
            8 => text.push('-'),
            _ => text.push(' '),
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn identity(out: &mut Out, domain: &Domain) -> Result<()> {
    let guest = match domain.os.kind.arch.as_deref() {
        Some("i686") => "other",
        Some("x86_64") => "other-64",
        arch => {
            return Err(VirtError::internal(format_args!(
                "attribute 'arch' of 'os/type' is '{}', 'i686' or 'x86_64' is expected",
                arch.unwrap_or_default()
            )));
        }
    };
    out.set("guestOS", guest)?;
    match domain.os.smbios {
        SmbiosMode::None | SmbiosMode::Emulate => {}
        SmbiosMode::Host => out.set("smbios.reflecthost", true)?,
        SmbiosMode::Sysinfo => return Err(unsupported("Unsupported SMBIOS mode 'sysinfo'")),
    }
    match domain.uuid.filter(|uuid| !uuid.is_nil()) {
        Some(uuid) => out.set("uuid.bios", spaced(uuid))?,
        None => out.set("uuid.action", "create")?,
    }
    let name = escape_hex(&domain.name, '|', &['"']);
    out.set("displayName", escape_hex(&name, '%', &['/', '\\']))?;
    if let Some(description) = &domain.description {
        // Line breaks are written as they are: the format has them in quotes of three, which nothing writes.
        out.set("annotation", escape_hex(description, '|', &['"', '\n', '\r']))?;
    }
    Ok(())
}

fn memory(out: &mut Out, domain: &Domain) -> Result<()> {
    let size = domain.memory.size.div_ceil(4096).saturating_mul(4096);
    out.set("memsize", size / 1024)?;
    if domain.current_memory < size {
        out.set("sched.mem.max", domain.current_memory.div_ceil(1024))?;
    }
    let least = domain.memory_tune.as_ref().and_then(|tune| tune.min_guarantee);
    if let Some(least) = least.filter(|least| *least > 0) {
        out.set("sched.mem.minsize", least.div_ceil(1024))?;
    }
    Ok(())
}

fn processors(out: &mut Out, domain: &Domain) -> Result<()> {
    let vcpus = &domain.vcpus;
    if vcpus.online() != vcpus.max {
        return Err(unsupported(
            "No support for domain XML entry 'vcpu' attribute 'current'",
        ));
    }
    if vcpus.max == 0 {
        return Err(VirtError::internal(
            "the guest has no vCPU, at least one is expected",
        ));
    }
    out.set("numvcpus", vcpus.max)?;
    if let Some(cpu) = &domain.cpu {
        if cpu.mode != CpuMode::Custom {
            return Err(VirtError::internal(format_args!(
                "the CPU mode is '{}', 'custom' is expected",
                cpu.mode
            )));
        }
        // A CPU without a topology has none of each part.
        let (sockets, dies, clusters, cores, threads) = cpu.topology.map_or((0, 0, 0, 0, 0), |topology| {
            let CpuTopology {
                sockets,
                dies,
                clusters,
                cores,
                threads,
            } = topology;
            (sockets, dies, clusters, cores, threads)
        });
        if threads != 1 {
            return Err(unsupported("Only 1 thread per core is supported"));
        }
        if dies != 1 {
            return Err(unsupported("Only 1 die per socket is supported"));
        }
        if clusters != 1 {
            return Err(unsupported("Only 1 cluster per die is supported"));
        }
        let total = u64::from(sockets) * u64::from(cores);
        if total != u64::from(vcpus.max) {
            return Err(VirtError::internal(format_args!(
                "the CPU topology has {total} cores, as many as vCPUs ({}) are expected",
                vcpus.max
            )));
        }
        out.set("cpuid.coresPerSocket", cores)?;
    }
    if let Some(set) = vcpus.cpuset.as_ref().filter(|set| set.0.size() > 0) {
        if set.0.count() < vcpus.max as usize {
            return Err(VirtError::internal(format_args!(
                "attribute 'cpuset' of 'vcpu' holds {} CPUs, at least {} are expected",
                set.0.count(),
                vcpus.max
            )));
        }
        let list: Vec<String> = set.0.iter().map(|cpu| cpu.to_string()).collect();
        out.set("sched.cpu.affinity", list.join(","))?;
    }
    if let Some(shares) = domain.cpu_tune.as_ref().and_then(|tune| tune.shares) {
        let each = u64::from(vcpus.max);
        let level = [(500, "low"), (1000, "normal"), (2000, "high")]
            .into_iter()
            .find(|(of_each, _)| shares == each * of_each);
        match level {
            Some((_, word)) => out.set("sched.cpu.shares", word)?,
            None => out.set("sched.cpu.shares", shares)?,
        }
    }
    Ok(())
}

/// Where the drive's name says that it is, which must be where its address says.
fn verify_address(disk: &Disk) -> Result<DriveAddress> {
    let Some(Address::Drive(address)) = &disk.info.address else {
        return Err(unsupported(format_args!(
            "disk '{}' has no address of type 'drive'",
            disk.target.dev
        )));
    };
    let bus = disk.target.bus.unwrap_or_default();
    let index = disk_index(&disk.target.dev).ok_or_else(|| {
        VirtError::internal(format_args!(
            "the disk's name '{}' says no place, one such as 'sda' is expected",
            disk.target.dev
        ))
    })?;
    // On a bus without drive addresses the name stands for the first place.
    let named = drive_address(bus, index, DomainFeatures::WIDE_SCSI).unwrap_or_default();
    let place = |address: &DriveAddress| (address.controller, address.bus, address.unit);
    if place(&named) != place(address) {
        return Err(VirtError::internal(format_args!(
            "disk address {}:{}:{} doesn't match target device '{}'",
            address.controller, address.bus, address.unit, disk.target.dev
        )));
    }
    let (controllers, buses, units) = match bus {
        DiskBus::Scsi => (3, 0, 15),
        DiskBus::Ide => (0, 1, 1),
        DiskBus::Fdc => (0, 0, 1),
        bus => return Err(unsupported(format_args!("Unsupported bus type '{bus}'"))),
    };
    if address.controller > controllers || address.bus > buses || address.unit > units {
        return Err(VirtError::internal(format_args!(
            "disk address {}:{}:{} is out of range: at most {controllers}:{buses}:{units} on bus '{bus}'",
            address.controller, address.bus, address.unit
        )));
    }
    Ok(*address)
}

/// SCSI controllers that have drives, and their models.
fn scsi_controllers(
    domain: &Domain,
    cx: &VmxContext<'_>,
) -> Result<BTreeMap<u32, Option<ScsiControllerModel>>> {
    let mut models: BTreeMap<u32, Option<ScsiControllerModel>> = domain
        .devices
        .controllers
        .iter()
        .filter_map(|controller| match &controller.kind {
            ControllerKind::Scsi {
                index: Some(index),
                model,
            } => Some((*index, *model)),
            _ => None,
        })
        .collect();
    let mut drives: BTreeMap<u32, Vec<&Disk>> = BTreeMap::new();
    for disk in &domain.devices.disks {
        let address = verify_address(disk)?;
        if disk.target.bus != Some(DiskBus::Scsi) {
            continue;
        }
        drives.entry(address.controller).or_default().push(disk);
        let Some(name) = &disk.driver.name else { continue };
        // Old definitions name the controller's model as the drive's driver.
        let model = ScsiControllerModel::from_word(&name.to_ascii_lowercase())
            .ok_or_else(|| VirtError::internal(format_args!("Unknown driver name '{name}'")))?;
        let controller = models.get_mut(&address.controller).ok_or_else(|| {
            VirtError::internal(format_args!(
                "Missing SCSI controller for index {}",
                address.controller
            ))
        })?;
        if *controller.get_or_insert(model) != model {
            return Err(VirtError::internal(format_args!(
                "Inconsistent SCSI controller model: the driver of disk '{}' is '{name}', another model is said for \
                 controller {}",
                disk.target.dev, address.controller
            )));
        }
    }
    models.retain(|index, _| drives.contains_key(index));
    for (index, model) in &mut models {
        if *model != Some(ScsiControllerModel::Auto) {
            continue;
        }
        let mut found = None;
        for disk in drives.get(index).into_iter().flatten() {
            let Some(of_disk) = cx.files.scsi_model(disk)? else {
                continue;
            };
            if *found.get_or_insert(of_disk) != of_disk {
                return Err(VirtError::internal(format_args!(
                    "Disks on SCSI controller {index} have inconsistent controller models, cannot autodetect model"
                )));
            }
        }
        *model = found.or(*model);
    }
    Ok(models)
}

/// Bridges that every guest of that generation has.
fn buses(out: &mut Out, scsi: bool) -> Result<()> {
    if scsi {
        out.set("pciBridge0.present", true)?;
        for bridge in 4..8 {
            out.set(format_args!("pciBridge{bridge}.present"), true)?;
            out.set(format_args!("pciBridge{bridge}.virtualDev"), "pcieRootPort")?;
            out.set(format_args!("pciBridge{bridge}.functions"), 8)?;
        }
    }
    out.set("vmci0.present", true)
}
