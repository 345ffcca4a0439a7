//! Devices: a way to name each, and the defaults that all drivers share.

use virt_util::{ErrorCode, Result, VirtError};

use super::{DomainFeatures, DomainHooks, Neighbours, NormalizeContext};
use crate::domain::chardev::{ConsoleTargetType, SerialTargetType};
use crate::domain::controller::{ControllerKind, ScsiControllerModel};
use crate::domain::device_info::{Address, DeviceInfo, DriveAddress};
use crate::domain::disk::{DiskBus, DiskDevice, SnapshotLocation};
use crate::domain::filesystem::{FilesystemAccessMode, FilesystemSource};
use crate::domain::hostdev::{HostdevPass, HostdevSubsys, MdevModel, ScsiHostdev};
use crate::domain::input::InputBus;
use crate::domain::input::InputType;
use crate::domain::memory::{MemoryAccess, MemoryModel};
use crate::domain::os::OsType;
use crate::domain::small::RngSource;
use crate::domain::storage::{NetProtocol, StorageLocation};
use crate::domain::video::VideoModelType;
use crate::domain::{Domain, VirtType};

macro_rules! device_refs {
    (many: $($variant:ident $field:ident,)* ; one: $($single:ident $single_field:ident,)*) => {
        /// Names a device of a domain: its family and its place there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the family of that name")]
        pub enum DeviceRef {
            $($variant(usize),)*
            $($single,)*
            Graphics(usize),
            Audio(usize),
            Lease(usize),
        }

        /// All devices in the order in which libvirt goes through them.
        pub fn device_refs(domain: &Domain) -> Vec<DeviceRef> {
            use DeviceRef as R;
            let devices = &domain.devices;
            let mut refs = Vec::new();
            let many = |refs: &mut Vec<R>, count: usize, make: fn(usize) -> R| refs.extend((0..count).map(make));
            many(&mut refs, devices.disks.len(), R::Disk);
            many(&mut refs, devices.interfaces.len(), R::Interface);
            many(&mut refs, devices.sounds.len(), R::Sound);
            many(&mut refs, devices.hostdevs.len(), R::Hostdev);
            many(&mut refs, devices.videos.len(), R::Video);
            many(&mut refs, devices.controllers.len(), R::Controller);
            many(&mut refs, devices.smartcards.len(), R::Smartcard);
            many(&mut refs, devices.serials.len(), R::Serial);
            many(&mut refs, devices.parallels.len(), R::Parallel);
            many(&mut refs, devices.channels.len(), R::Channel);
            many(&mut refs, devices.consoles.len(), R::Console);
            many(&mut refs, devices.inputs.len(), R::Input);
            many(&mut refs, devices.filesystems.len(), R::Filesystem);
            many(&mut refs, devices.watchdogs.len(), R::Watchdog);
            refs.extend(devices.memballoon.as_ref().map(|_| R::Memballoon));
            many(&mut refs, devices.rngs.len(), R::Rng);
            refs.extend(devices.nvram.as_ref().map(|_| R::Nvram));
            many(&mut refs, devices.hubs.len(), R::Hub);
            many(&mut refs, devices.shmems.len(), R::Shmem);
            many(&mut refs, devices.tpms.len(), R::Tpm);
            many(&mut refs, devices.panics.len(), R::Panic);
            many(&mut refs, devices.memory.len(), R::Memory);
            many(&mut refs, devices.redirdevs.len(), R::Redirdev);
            refs.extend(devices.iommu.as_ref().map(|_| R::Iommu));
            refs.extend(devices.vsock.as_ref().map(|_| R::Vsock));
            many(&mut refs, devices.cryptos.len(), R::Crypto);
            refs.extend(devices.pstore.as_ref().map(|_| R::Pstore));
            many(&mut refs, devices.graphics.len(), R::Graphics);
            many(&mut refs, devices.audios.len(), R::Audio);
            many(&mut refs, devices.leases.len(), R::Lease);
            refs
        }

        /// The common part of a device; none for families without one.
        pub fn device_info(domain: &Domain, device: DeviceRef) -> Option<&DeviceInfo> {
            let devices = &domain.devices;
            match device {
                $(DeviceRef::$variant(at) => devices.$field.get(at).map(|device| &device.info),)*
                $(DeviceRef::$single => devices.$single_field.as_ref().map(|device| &device.info),)*
                DeviceRef::Graphics(_) | DeviceRef::Audio(_) | DeviceRef::Lease(_) => None,
            }
        }

        /// [`device_info`], to change it.
        pub fn device_info_mut(domain: &mut Domain, device: DeviceRef) -> Option<&mut DeviceInfo> {
            let devices = &mut domain.devices;
            match device {
                $(DeviceRef::$variant(at) => devices.$field.get_mut(at).map(|device| &mut device.info),)*
                $(DeviceRef::$single => devices.$single_field.as_mut().map(|device| &mut device.info),)*
                DeviceRef::Graphics(_) | DeviceRef::Audio(_) | DeviceRef::Lease(_) => None,
            }
        }
    };
}

device_refs! {
    many:
        Disk disks, Interface interfaces, Sound sounds, Hostdev hostdevs, Video videos, Controller controllers,
        Smartcard smartcards, Serial serials, Parallel parallels, Channel channels, Console consoles, Input inputs,
        Filesystem filesystems, Watchdog watchdogs, Rng rngs, Hub hubs, Shmem shmems, Tpm tpms, Panic panics,
        Memory memory, Redirdev redirdevs, Crypto cryptos,;
    one:
        Memballoon memballoon, Nvram nvram, Iommu iommu, Vsock vsock, Pstore pstore,
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// The number that a drive's name stands for: `vda` is 0, `sdaa1` is 26.
pub fn disk_index(name: &str) -> Option<u32> {
    let rest = ["fd", "hd", "vd", "sd", "xvd", "ubd"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
    let (letters, digits) = rest.split_at(letters);
    if letters.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut index: u32 = 0;
    for (place, letter) in letters.bytes().enumerate() {
        index = index
            .checked_add(u32::from(place > 0))?
            .checked_mul(26)?
            .checked_add(u32::from(letter - b'a'))?;
    }
    i32::try_from(index).ok().map(|_| index)
}

/// The numbers that the name of a drive or of one of its partitions stands for: `sda` is 0 and 0, `sdb10` is 1 and 10.
pub fn disk_name_parts(name: &str) -> Option<(u32, u32)> {
    let index = disk_index(name)?;
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = name.get(letters.len()..)?;
    if digits.is_empty() {
        return Some((index, 0));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let partition = digits.parse::<i32>().ok()?;
    Some((index, partition.unsigned_abs()))
}

/// The name of the drive with that number: [`disk_index`] the other way round. `prefix` is `hd`, `sd`, `fd` …
pub fn disk_name(prefix: &str, index: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = Some(index);
    while let Some(number) = rest {
        letters.push(char::from(b'a' + (number % 26) as u8));
        rest = (number / 26).checked_sub(1);
    }
    let mut name = prefix.to_owned();
    name.extend(letters.iter().rev());
    name
}

/// Drives of one bus stand together, in the order of their names.
pub(super) fn order_disks(domain: &mut Domain) {
    let mut buses: Vec<Option<DiskBus>> = Vec::new();
    for disk in &domain.devices.disks {
        if !buses.contains(&disk.target.bus) {
            buses.push(disk.target.bus);
        }
    }
    domain.devices.disks.sort_by_cached_key(|disk| {
        let group = buses.iter().position(|bus| *bus == disk.target.bus);
        (group, disk_index(&disk.target.dev).map_or(-1, i64::from))
    });
}

const ISA_SERIAL_PORTS: u32 = 4;

/// ISA serial ports have four fixed places.
pub(super) fn number_isa_serials(domain: &mut Domain) -> Result<()> {
    let mut used = std::collections::BTreeSet::new();
    let isa = |kind: SerialTargetType| kind == SerialTargetType::IsaSerial;
    let internal = |what: String| Err(VirtError::internal(what));
    let mut count = 0;
    for serial in domain
        .devices
        .serials
        .iter()
        .filter(|serial| isa(serial.target.kind))
    {
        count += 1;
        if count > ISA_SERIAL_PORTS || serial.target.port.is_some_and(|port| port >= ISA_SERIAL_PORTS) {
            return internal(format!(
                "an ISA bus has {ISA_SERIAL_PORTS} serial ports, 0 to 3, and the guest has more"
            ));
        }
        if let Some(port) = serial.target.port
            && !used.insert(port)
        {
            return internal(format!("two ISA serial ports have the number {port}"));
        }
    }
    for serial in domain
        .devices
        .serials
        .iter_mut()
        .filter(|serial| isa(serial.target.kind))
    {
        if serial.target.port.is_none() {
            serial.target.port = (0..ISA_SERIAL_PORTS).find(|port| used.insert(*port));
        }
    }
    Ok(())
}

/// Defaults of one device: the driver's, then those that all drivers share.
pub(in crate::domain) fn normalize_device(
    domain: &mut Domain,
    device: DeviceRef,
    hooks: &dyn DomainHooks,
    cx: &NormalizeContext<'_>,
    neighbours: &mut Neighbours,
) -> Result<()> {
    let own = hooks.device(domain, device, cx);
    super::tolerate(domain, cx, own)?;
    common(domain, device, hooks, neighbours)?;
    check_features(domain, device, hooks)
}

fn common(
    domain: &mut Domain,
    device: DeviceRef,
    hooks: &dyn DomainHooks,
    neighbours: &mut Neighbours,
) -> Result<()> {
    match device {
        DeviceRef::Disk(at) => disk(domain, at, hooks, neighbours)?,
        DeviceRef::Serial(at) => {
            let Some(target) = domain.devices.serials.get(at).map(|serial| &serial.target) else {
                return Ok(());
            };
            if target.kind == SerialTargetType::IsaDebug && !is_x86(domain) {
                return Err(unsupported(
                    "a serial port of type 'isa-debug' is for x86 guests only",
                ));
            }
            let port = neighbours.serial_port(domain, target.port);
            if let Some(serial) = domain.devices.serials.get_mut(at) {
                serial.target.port = Some(port);
            }
        }
        DeviceRef::Parallel(at) => {
            let said = domain
                .devices
                .parallels
                .get(at)
                .and_then(|parallel| parallel.port);
            let port = neighbours.parallel_port(domain, said);
            if let Some(parallel) = domain.devices.parallels.get_mut(at) {
                parallel.port = Some(port);
            }
        }
        DeviceRef::Console(at) => {
            if let Some(console) = domain.devices.consoles.get_mut(at)
                && console.target_type == ConsoleTargetType::None
            {
                console.target_type = ConsoleTargetType::Serial;
            }
        }
        DeviceRef::Rng(at) => {
            if let Some(rng) = domain.devices.rngs.get_mut(at)
                && let RngSource::Random { path } = &mut rng.backend
            {
                path.get_or_insert_with(|| "/dev/random".to_owned());
            }
        }
        DeviceRef::Video(at) => video(domain, at),
        DeviceRef::Hostdev(at) => hostdev(domain, at, hooks, neighbours)?,
        DeviceRef::Controller(at) => {
            if let Some(controller) = domain.devices.controllers.get(at)
                && controller
                    .driver
                    .as_ref()
                    .is_some_and(|driver| driver.iothread != 0)
                && !is_virtio_scsi(&controller.kind)
            {
                let what = "'iothread' is for model 'virtio-scsi' only";
                return Err(VirtError::new(ErrorCode::XML_ERROR, what));
            }
        }
        DeviceRef::Vsock => {
            if let Some(vsock) = &mut domain.devices.vsock {
                vsock.auto_cid.get_or_insert(vsock.cid == 0);
            }
        }
        DeviceRef::Memory(at) => {
            if let Some(memory) = domain.devices.memory.get_mut(at)
                && memory.model == MemoryModel::VirtioPmem
            {
                memory.access.get_or_insert(MemoryAccess::Shared);
            }
        }
        DeviceRef::Filesystem(at) => {
            if let Some(filesystem) = domain.devices.filesystems.get_mut(at)
                && !matches!(
                    &filesystem.source,
                    FilesystemSource::Mount { socket: Some(_), .. }
                )
            {
                filesystem
                    .access_mode
                    .get_or_insert(FilesystemAccessMode::Passthrough);
            }
        }
        DeviceRef::Input(at) => input(domain, at),
        _ => {}
    }
    Ok(())
}

/// Whether the guest's processor is an x86; so is one that nobody named.
pub(super) fn is_x86(domain: &Domain) -> bool {
    matches!(domain.os.kind.arch.as_deref(), None | Some("i686" | "x86_64"))
}

fn is_virtio_scsi(kind: &ControllerKind) -> bool {
    use ScsiControllerModel as M;
    matches!(
        kind,
        ControllerKind::Scsi {
            model: Some(M::VirtioScsi | M::VirtioTransitional | M::VirtioNonTransitional),
            ..
        }
    )
}

fn disk(domain: &mut Domain, at: usize, hooks: &dyn DomainHooks, neighbours: &mut Neighbours) -> Result<()> {
    let Some(disk) = domain.devices.disks.get_mut(at) else {
        return Ok(());
    };
    if let Some(rest) = disk.target.dev.strip_prefix("ioemu:") {
        disk.target.dev = rest.to_owned();
    }
    if disk.device == DiskDevice::Cdrom {
        disk.rest.read_only = true;
    }
    let name = disk.target.dev.as_str();
    let bus = *disk.target.bus.get_or_insert_with(|| match disk.device {
        DiskDevice::Floppy => DiskBus::Fdc,
        _ if name.starts_with("sd") => DiskBus::Scsi,
        _ if name.starts_with("vd") => DiskBus::Virtio,
        _ if name.starts_with("xvd") => DiskBus::Xen,
        _ if name.starts_with("ubd") => DiskBus::Uml,
        _ => DiskBus::Ide,
    });
    let no_snapshot =
        disk.rest.read_only || matches!(disk.source.location, StorageLocation::Vhostuser { .. });
    if no_snapshot {
        disk.options.snapshot.get_or_insert(SnapshotLocation::No);
    }
    match &mut disk.source.location {
        StorageLocation::Network(network) if network.protocol == NetProtocol::Iscsi => {
            if let Some(name) = network.name.as_mut().filter(|name| !name.contains('/')) {
                name.push_str("/0");
            }
        }
        StorageLocation::Nvme { managed, .. } => {
            managed.get_or_insert(true);
        }
        _ => {}
    }
    let mut chosen = None;
    if disk.info.address.is_none() && !disk.target.dev.is_empty() {
        let Some(index) = disk_index(&disk.target.dev) else {
            let what = "the target's name says no place, and there is no <address>: expected a name as 'sda', 'vdb' or 'hdc'";
            return Err(VirtError::new(ErrorCode::XML_ERROR, what));
        };
        chosen = drive_address(bus, index, hooks.features());
        disk.info.address = chosen.map(Address::Drive);
    }
    // A drive that names a group without limits takes those of the group.
    let limited_by = disk.rest.tune.as_ref().filter(|tune| !tune.has_limits());
    let limited_by = limited_by.and_then(|tune| tune.group.clone());
    if let Some(address) = chosen.filter(|_| bus == DiskBus::Scsi)
        && neighbours.is_scsi_hostdev(domain, &address)
    {
        let name = domain.devices.disks.get(at).map_or("", |disk| &disk.target.dev);
        return Err(unsupported(format_args!(
            "target '{name}' stands for controller {}, bus 0, target 0, unit {}, where a <hostdev> is already",
            address.controller, address.unit
        )));
    }
    if let Some(group) = limited_by
        && let Some(group) = neighbours.tune_group(domain, &group)
        && let Some(disk) = domain.devices.disks.get_mut(at)
    {
        disk.rest.tune = Some(group);
    }
    Ok(())
}

/// The place on a controller that a drive's number stands for; none for buses without controllers.
pub fn drive_address(bus: DiskBus, index: u32, features: DomainFeatures) -> Option<DriveAddress> {
    let address = |controller, bus, unit| {
        Some(DriveAddress {
            controller,
            bus,
            target: 0,
            unit,
        })
    };
    match bus {
        DiskBus::Scsi if features.contains(DomainFeatures::WIDE_SCSI) => {
            // Unit 7 is the controller itself.
            let unit = index % 15;
            address(index / 15, 0, if unit >= 7 { unit + 1 } else { unit })
        }
        DiskBus::Scsi => address(index / 7, 0, index % 7),
        DiskBus::Ide => address(index / 4, index % 4 / 2, index % 2),
        DiskBus::Sata => address(index / 6, 0, index % 6),
        DiskBus::Fdc => address(index / 2, 0, index % 2),
        _ => None,
    }
}

fn hostdev(
    domain: &mut Domain,
    at: usize,
    hooks: &dyn DomainHooks,
    neighbours: &mut Neighbours,
) -> Result<()> {
    let Some(hostdev) = domain.devices.hostdevs.get_mut(at) else {
        return Ok(());
    };
    let HostdevPass::Subsystem(subsystem) = &mut hostdev.mode else {
        return Ok(());
    };
    match &mut **subsystem {
        HostdevSubsys::Scsi { device, .. } => {
            if let ScsiHostdev::Iscsi { name, .. } = device
                && !name.contains('/')
            {
                name.push_str("/0");
            }
            let address = match &hostdev.info.address {
                Some(Address::Drive(address)) => *address,
                Some(_) => return Ok(()),
                None => {
                    let wide = hooks.features().contains(DomainFeatures::WIDE_SCSI);
                    let address = neighbours.take_scsi_address(domain, if wide { 16 } else { 7 });
                    if let Some(hostdev) = domain.devices.hostdevs.get_mut(at) {
                        hostdev.info.address = address.map(Address::Drive);
                    }
                    return Ok(());
                }
            };
            if neighbours.is_scsi_disk(domain, &address) {
                let DriveAddress {
                    controller,
                    bus,
                    target,
                    unit,
                } = address;
                let what = format!(
                    "a disk is at controller {controller}, bus {bus}, target {target}, unit {unit} already"
                );
                return Err(VirtError::new(ErrorCode::XML_ERROR, what));
            }
            Ok(())
        }
        HostdevSubsys::Mdev { model, .. } => {
            let fits = match (*model, &hostdev.info.address) {
                (_, None) => true,
                (MdevModel::VfioPci, Some(address)) => matches!(address, Address::Pci(_)),
                (MdevModel::VfioCcw, Some(address)) => matches!(address, Address::Ccw(_)),
                _ => true,
            };
            if fits {
                return Ok(());
            }
            let what = format!("a mediated device of model '{model}' takes no address of this type");
            Err(VirtError::new(ErrorCode::XML_ERROR, what))
        }
        _ => Ok(()),
    }
}

/// KiB of video memory of a card that says none.
fn default_video_memory(virt_type: VirtType, model: VideoModelType) -> u32 {
    use VideoModelType as M;
    match model {
        M::Vga | M::Cirrus | M::Vmvga => match virt_type {
            VirtType::Vbox => 8 * 1024,
            VirtType::Vmware => 4 * 1024,
            _ => 16 * 1024,
        },
        M::Bochs => 16 * 1024,
        M::Xen => 4 * 1024,
        M::Qxl => 64 * 1024,
        _ => 0,
    }
}

fn video(domain: &mut Domain, at: usize) {
    let virt_type = domain.virt_type;
    let Some(video) = domain.devices.videos.get_mut(at) else {
        return;
    };
    let model = &mut video.model;
    let default = default_video_memory(virt_type, model.kind);
    if model.ram == 0 && model.kind == VideoModelType::Qxl {
        model.ram = default;
    }
    if model.vram == 0 {
        model.vram = default;
    }
    for size in [&mut model.ram, &mut model.vram] {
        if *size != 0 {
            *size = size.checked_next_power_of_two().unwrap_or(*size);
        }
    }
}

fn input(domain: &mut Domain, at: usize) {
    let (x86, os, virt_type) = (is_x86(domain), domain.os.kind.os, domain.virt_type);
    let s390 = matches!(domain.os.kind.arch.as_deref(), Some("s390" | "s390x"));
    let Some(input) = domain.devices.inputs.get_mut(at) else {
        return;
    };
    if input.bus.is_none() {
        input.bus = match os {
            OsType::Hvm => Some(match input.kind {
                InputType::Mouse | InputType::Keyboard if x86 => InputBus::Ps2,
                InputType::Passthrough => InputBus::Virtio,
                _ if s390 => InputBus::Virtio,
                InputType::Evdev => InputBus::None,
                _ => InputBus::Usb,
            }),
            OsType::Xen | OsType::Xenpvh => Some(InputBus::Xen),
            _ if matches!(virt_type, VirtType::Vz | VirtType::Parallels) => Some(InputBus::Parallels),
            _ => None,
        };
    }
}

fn check_features(domain: &Domain, device: DeviceRef, hooks: &dyn DomainHooks) -> Result<()> {
    let features = hooks.features();
    match device {
        DeviceRef::Memory(_) if !features.contains(DomainFeatures::MEMORY_HOTPLUG) => {
            Err(unsupported("this driver has no memory devices"))
        }
        DeviceRef::Interface(at) if !features.contains(DomainFeatures::NET_MODEL_STRING) => {
            match domain
                .devices
                .interfaces
                .get(at)
                .and_then(|interface| interface.model.as_deref())
            {
                Some(model) if !hooks.knows_net_model(model) => Err(unsupported(format_args!(
                    "this driver does not know the model '{model}'"
                ))),
                _ => Ok(()),
            }
        }
        DeviceRef::Disk(at) if !features.contains(DomainFeatures::DISK_FD) => {
            match domain.devices.disks.get(at) {
                Some(disk)
                    if matches!(
                        &disk.source.location,
                        StorageLocation::File {
                            fd_group: Some(_),
                            ..
                        }
                    ) =>
                {
                    Err(unsupported(
                        "this driver takes no files that are open already: remove 'fdgroup' of <source>",
                    ))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
