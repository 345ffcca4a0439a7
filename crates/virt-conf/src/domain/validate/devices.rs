//! Single devices but disks and character devices.

use virt_util::{ErrorCode, Result, VirtError};

use super::around::{Around, is_shared};
use super::{refuse_if, unsupported, xml_error};
use crate::domain::device_info::{Address, VirtioOptions};
use crate::domain::filesystem::{Filesystem, FilesystemSource};
use crate::domain::graphics::Graphics;
use crate::domain::hostdev::{Hostdev, HostdevPass, HostdevSubsys};
use crate::domain::input::{Input, InputBus, InputType};
use crate::domain::interface::TeamingType;
use crate::domain::memory::{MemoryAccess, MemoryDevice, MemoryModel};
use crate::domain::os::OsType;
use crate::domain::small::{
    Iommu, IommuModel, Pstore, Shmem, Tpm, TpmBackend, TpmVersion, Vsock, VsockModel,
};
use crate::domain::sound::Audio;
use crate::domain::video::{Video, VideoBackend, VideoModelType};
use crate::domain::{Domain, VirtType, disk::Sgio};

/// KiB of a transparent huge page where the host does not say; a smaller block of virtio memory wastes it.
const HUGE_PAGE: u64 = 2048;
/// Bytes of a page.
const PAGE: u64 = 4096;

fn detail(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_DETAIL, what)
}

/// Refuses options that only virtio devices have.
pub(super) fn no_virtio_options(options: &VirtioOptions) -> Result<()> {
    for (name, said) in [
        ("iommu driver option", options.iommu),
        ("ats driver option", options.ats),
        ("packed driver option", options.packed),
        ("page_per_vq option", options.page_per_vq),
    ] {
        refuse_if(
            said.is_some(),
            format_args!("{name} is only supported for virtio devices"),
        )?;
    }
    Ok(())
}

pub(super) fn video(around: &mut Around<'_>, video: &Video) -> Result<()> {
    use VideoModelType as M;
    let model = &video.model;
    if model.kind == M::Default {
        return Err(VirtError::internal(
            "the video has no model, and the driver has no default: say <model type='…'/>",
        ));
    }
    refuse_if(
        around.domain.devices.videos.len() > 1 && around.no_video(),
        "video model 'none' means no screen at all: no other <video> may be beside it",
    )?;
    let render_node = model
        .acceleration
        .as_ref()
        .is_some_and(|acceleration| acceleration.render_node.is_some());
    match video.backend {
        Some(VideoBackend::Vhostuser) => refuse_if(
            model.kind != M::Virtio,
            format_args!(
                "backend 'vhostuser' needs video model 'virtio', not '{}'",
                model.kind
            ),
        )?,
        None | Some(VideoBackend::Qemu) => {
            refuse_if(render_node, "rendernode='…' needs <driver name='vhostuser'/>")?
        }
    }
    refuse_if(
        model
            .resolution
            .as_ref()
            .is_some_and(|resolution| resolution.x == 0 || resolution.y == 0),
        "a resolution needs x and y above 0",
    )?;
    if model.kind != M::Qxl {
        for (name, value) in [
            ("ram", model.ram),
            ("vram64", model.vram64),
            ("vgamem", model.vgamem),
        ] {
            refuse_if(
                value != 0,
                format_args!("{name} attribute only supported for video type qxl"),
            )?;
        }
    }
    refuse_if(
        model.kind == M::Ramfb && video.info.address.is_some(),
        "video model 'ramfb' takes no <address>",
    )?;
    if model.kind != M::Virtio {
        no_virtio_options(&video.virtio)?;
        refuse_if(
            model.blob.is_some(),
            format_args!("blob='on' needs video model 'virtio', not '{}'", model.kind),
        )?;
    }
    Ok(())
}

pub(super) fn hostdev(hostdev: &Hostdev) -> Result<()> {
    let address = hostdev.info.address.as_ref();
    let subsystem = match &hostdev.mode {
        HostdevPass::Subsystem(subsystem) => Some(&**subsystem),
        HostdevPass::Capabilities(_) => None,
    };
    match (subsystem, address) {
        (Some(HostdevSubsys::Pci { .. }), Some(address))
            if !matches!(address, Address::Pci(_) | Address::Unassigned) =>
        {
            return Err(VirtError::internal(
                "a PCI device of the host takes an address of type 'pci' or 'unassigned' only",
            ));
        }
        (Some(HostdevSubsys::Scsi { .. }), Some(address)) if !matches!(address, Address::Drive(_)) => {
            return Err(unsupported(
                "a SCSI device of the host takes an address of type 'drive' only",
            ));
        }
        (Some(HostdevSubsys::ScsiHost { .. }), Some(address))
            if !matches!(address, Address::Pci(_) | Address::Ccw(_)) =>
        {
            return Err(unsupported(
                "a SCSI controller of the host takes an address of type 'pci' or 'ccw' only",
            ));
        }
        (Some(HostdevSubsys::Usb { .. }), Some(address)) if !matches!(address, Address::Usb(_)) => {
            return Err(unsupported(
                "a USB device of the host takes an address of type 'usb' only",
            ));
        }
        _ => {}
    }
    if let Some(HostdevSubsys::Scsi {
        sgio: Some(Sgio::Unfiltered),
        ..
    }) = subsystem
    {
        return Err(unsupported(
            "sgio='unfiltered' is gone from Linux: leave it out or say 'filtered'",
        ));
    }
    let Some(teaming) = &hostdev.teaming else {
        return Ok(());
    };
    refuse_if(
        teaming.kind != TeamingType::Transient,
        "<teaming> of a hostdev takes type='transient' only",
    )?;
    refuse_if(
        teaming.persistent.is_none(),
        "<teaming> does not say which interface it backs: persistent='ALIAS' is missing",
    )?;
    refuse_if(
        !matches!(subsystem, Some(HostdevSubsys::Pci { .. })),
        "<teaming> is for PCI devices only",
    )
}

pub(super) fn memory(around: &mut Around<'_>, at: usize) -> Result<()> {
    let domain = around.domain;
    let Some(memory) = domain.devices.memory.get(at) else {
        return Ok(());
    };
    let cells = domain
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.numa.as_ref())
        .map_or(0, |numa| numa.cells.len());
    let (target, model) = (&memory.target, memory.model);
    if let Some(node) = target.node {
        if cells == 0 {
            return Err(detail(
                "node='…' is said of the target, and the guest has no NUMA cells",
            ));
        }
        if node as usize >= cells {
            return Err(detail(format_args!(
                "node {node} of the target does not exist: the guest has NUMA cells 0 to {}",
                cells - 1
            )));
        }
    }
    let has_path = memory.source.as_ref().is_some_and(|source| source.path.is_some());
    let discards = memory.discard == Some(true);
    match model {
        MemoryModel::Nvdimm | MemoryModel::VirtioPmem if !has_path => {
            return Err(detail(format_args!("model '{model}' needs <source><path>")));
        }
        MemoryModel::Nvdimm => {
            refuse_if(discards, "discard is not for model 'nvdimm'")?;
            let ppc = domain
                .os
                .kind
                .arch
                .as_deref()
                .is_some_and(|arch| arch.starts_with("ppc64"));
            if ppc {
                refuse_if(
                    target.label_size.unwrap_or_default() == 0,
                    "model 'nvdimm' needs <label><size> on ppc64",
                )?;
            } else {
                refuse_if(memory.uuid.is_some(), "model 'nvdimm' takes <uuid> on ppc64 only")?;
            }
        }
        MemoryModel::VirtioPmem => {
            refuse_if(discards, format_args!("discard is not for model '{model}'"))?;
            refuse_if(
                memory.access != Some(MemoryAccess::Shared),
                "model 'virtio-pmem' needs access='shared'",
            )?;
            refuse_if(target.node.is_some(), "model 'virtio-pmem' takes no <node>")?;
            refuse_if(
                target.address.is_some_and(|address| address % PAGE != 0),
                format_args!("the <address> of the target is not a multiple of {PAGE}"),
            )?;
        }
        MemoryModel::VirtioMem => virtio_memory(memory)?,
        MemoryModel::SgxEpc => refuse_if(
            memory.info.address.is_some(),
            format_args!("model '{model}' takes no <address>"),
        )?,
        MemoryModel::Dimm => {}
    }
    if around.memory_is_apart() {
        return Ok(());
    }
    conflicts(domain, at, memory)
}

fn virtio_memory(memory: &MemoryDevice) -> Result<()> {
    let target = &memory.target;
    let (block, requested) = (
        target.block.unwrap_or_default(),
        target.requested.unwrap_or_default(),
    );
    let wrong = if requested > target.size {
        format!(
            "<requested> is {requested} KiB, more than the <size> of {} KiB",
            target.size
        )
    } else if !block.is_power_of_two() {
        format!("<block> is {block} KiB, not a power of two")
    } else if block < HUGE_PAGE {
        format!("<block> is {block} KiB: {HUGE_PAGE} KiB is the least")
    } else if requested % block != 0 {
        format!("<requested> of {requested} KiB is not a multiple of <block>, {block} KiB")
    } else if target
        .address
        .is_some_and(|address| block.checked_mul(1024).is_none_or(|block| address % block != 0))
    {
        format!("the address of the target is not a multiple of <block>, {block} KiB")
    } else {
        return Ok(());
    };
    Err(detail(wrong))
}

/// Bytes that a memory device takes of the guest's address space.
fn mapped_size(memory: &MemoryDevice) -> u64 {
    let mut size = memory.target.size;
    if memory.model == MemoryModel::Nvdimm {
        let align = memory.source.as_ref().and_then(|source| source.align_size);
        let align = align.filter(|align| *align > 0).unwrap_or(PAGE / 1024);
        let label = memory.target.label_size.unwrap_or_default();
        size = size.saturating_sub(label.div_ceil(align).saturating_mul(align));
    }
    size.saturating_mul(1024)
}

/// Where a memory device starts, if that is known.
fn start(memory: &MemoryDevice) -> u64 {
    match (memory.model, &memory.info.address) {
        (MemoryModel::VirtioPmem | MemoryModel::VirtioMem, _) => memory.target.address.unwrap_or_default(),
        (MemoryModel::Dimm | MemoryModel::Nvdimm, Some(Address::Dimm(at))) => at.base,
        _ => 0,
    }
}

/// From where to where a memory device is, 0 if that is not known.
pub(super) fn place(memory: &MemoryDevice) -> (u64, u64) {
    let begin = start(memory);
    (begin, begin.saturating_add(mapped_size(memory)))
}

/// The slot of a memory device.
pub(super) fn slot(memory: &MemoryDevice) -> Option<u32> {
    match &memory.info.address {
        Some(Address::Dimm(at)) => Some(at.slot),
        _ => None,
    }
}

fn conflicts(domain: &Domain, own: usize, memory: &MemoryDevice) -> Result<()> {
    let own_slot = slot(memory).filter(|_| matches!(memory.model, MemoryModel::Dimm | MemoryModel::Nvdimm));
    let (begin, end) = place(memory);
    for (at, other) in domain.devices.memory.iter().enumerate() {
        if at == own {
            continue;
        }
        if let Some(slot_number) = own_slot
            && slot(other) == Some(slot_number)
        {
            return Err(unsupported(format_args!(
                "slot {slot_number} belongs to another memory device already"
            )));
        }
        let (other_begin, other_end) = place(other);
        if begin == 0 || other_begin == 0 {
            continue;
        }
        let overlap =
            (begin <= other_begin && end > other_begin) || (other_begin <= begin && other_end > begin);
        refuse_if(
            overlap,
            format_args!(
                "its place [0x{begin:x}, 0x{end:x}) lies over that of the memory device at 0x{other_begin:x}"
            ),
        )?;
    }
    Ok(())
}

pub(super) fn vsock(vsock: &Vsock) -> Result<()> {
    refuse_if(
        (1..=2).contains(&vsock.cid),
        format_args!("cid {} belongs to the host: 3 is the first of a guest", vsock.cid),
    )?;
    if vsock.model == VsockModel::Default {
        no_virtio_options(&vsock.virtio)?;
    }
    Ok(())
}

pub(super) fn input(domain: &Domain, input: &Input) -> Result<()> {
    let bus = input.bus.unwrap_or(InputBus::None);
    let classic = matches!(input.kind, InputType::Mouse | InputType::Keyboard);
    let refused = |bus: InputBus| {
        Err(VirtError::internal(format_args!(
            "bus '{bus}' is not for this kind of guest"
        )))
    };
    let no_such = |name: &str| {
        let what = format!("{name} bus does not support {} input device", input.kind);
        Err(VirtError::internal(what))
    };
    match domain.os.kind.os {
        OsType::Hvm => {
            if bus == InputBus::Ps2 && !classic {
                return no_such("ps2");
            }
            if bus == InputBus::Xen {
                return refused(bus);
            }
        }
        OsType::Xen | OsType::Xenpvh => {
            if bus != InputBus::Xen {
                return refused(bus);
            }
            if !classic {
                return no_such("xen");
            }
        }
        _ if matches!(domain.virt_type, VirtType::Vz | VirtType::Parallels) => {
            if bus != InputBus::Parallels {
                let what = format!("containers take bus 'parallels' only, not '{bus}'");
                return Err(VirtError::internal(what));
            }
            if !classic {
                return no_such("parallels");
            }
        }
        _ => {
            return Err(VirtError::internal("this driver has no input devices"));
        }
    }
    match input.kind {
        InputType::Mouse | InputType::Tablet | InputType::Keyboard => refuse_if(
            input.evdev.is_some(),
            "<source evdev='…'> is for type 'passthrough' only",
        )?,
        InputType::Passthrough => refuse_if(
            bus != InputBus::Virtio,
            format_args!("type 'passthrough' needs bus 'virtio', not '{bus}'"),
        )?,
        InputType::Evdev => refuse_if(bus != InputBus::None, "type 'evdev' takes no bus")?,
    }
    if let Some(model) = input.model {
        refuse_if(
            bus != InputBus::Virtio,
            format_args!("model '{model}' needs bus 'virtio', not '{bus}'"),
        )?;
    }
    let ps2 = domain.features.as_ref().and_then(|features| features.ps2);
    refuse_if(
        bus == InputBus::Ps2 && ps2.is_some_and(|state| !state.on),
        "bus 'ps2' is used while <ps2 state='off'/> turns it off",
    )
}

pub(super) fn shmem(shmem: &Shmem) -> Result<()> {
    refuse_if(
        shmem.name.contains('/'),
        format_args!("name '{}' contains '/'", shmem.name),
    )?;
    refuse_if(
        matches!(shmem.name.as_str(), "." | ".."),
        format_args!("name '{}' is no name of a file", shmem.name),
    )
}

pub(super) fn filesystem(around: &mut Around<'_>, at: usize) -> Result<()> {
    let Some(filesystem) = around.domain.devices.filesystems.get(at) else {
        return Ok(());
    };
    let Some(target) = &filesystem.target else {
        return Err(VirtError::new(
            ErrorCode::NO_TARGET,
            source_of(filesystem).unwrap_or_default(),
        ));
    };
    let shared = is_shared(filesystem);
    refuse_if(
        filesystem.info.boot.is_some() && !shared,
        "<boot> is for driver 'virtiofs' only",
    )?;
    refuse_if(
        around.shared_targets(target) > usize::from(shared),
        format_args!("two filesystems have the target '{target}'"),
    )
}

fn source_of(filesystem: &Filesystem) -> Option<&str> {
    match &filesystem.source {
        FilesystemSource::Mount { dir, socket } => dir.as_deref().or(socket.as_deref()),
        FilesystemSource::Block { dev } => dev.as_deref(),
        FilesystemSource::File { file } => file.as_deref(),
        FilesystemSource::Template { name } => name.as_deref(),
        FilesystemSource::Bind { dir } => dir.as_deref(),
        FilesystemSource::Ram { .. } | FilesystemSource::Volume { .. } => None,
    }
}

fn audio_exists(around: &mut Around<'_>, id: u32) -> Result<()> {
    if id == 0 || around.audios(id) > 0 {
        return Ok(());
    }
    Err(xml_error(format_args!("no <audio> has id {id}")))
}

pub(super) fn sound(around: &mut Around<'_>, at: usize) -> Result<()> {
    let id = around
        .domain
        .devices
        .sounds
        .get(at)
        .map_or(0, |sound| sound.audio);
    audio_exists(around, id)
}

pub(super) fn graphics_audio(around: &mut Around<'_>, graphics: &Graphics) -> Result<()> {
    match graphics {
        Graphics::Vnc(vnc) => audio_exists(around, vnc.audio),
        _ => Ok(()),
    }
}

pub(super) fn audio(around: &mut Around<'_>, audio: &Audio) -> Result<()> {
    if around.audios(audio.id) > 1 {
        let id = audio.id;
        return Err(xml_error(format_args!("two <audio> have id {id}")));
    }
    Ok(())
}

pub(super) fn iommu(iommu: &Iommu) -> Result<()> {
    let said = iommu
        .driver
        .as_ref()
        .is_some_and(|driver| *driver != Default::default());
    if iommu.model != IommuModel::Intel && said {
        return Err(xml_error(format_args!(
            "model '{}' takes no attributes of <driver>",
            iommu.model
        )));
    }
    if iommu.model != IommuModel::Virtio && iommu.info.address.is_some() {
        return Err(xml_error(format_args!(
            "model '{}' takes no <address>",
            iommu.model
        )));
    }
    Ok(())
}

pub(super) fn tpm(tpm: &Tpm) -> Result<()> {
    let TpmBackend::Emulator(emulator) = &tpm.backend else {
        return match &tpm.backend {
            TpmBackend::External { source } if source.mode != crate::domain::chardev::SourceMode::Connect => {
                Err(xml_error("an external TPM is reached with mode='connect' only"))
            }
            _ => Ok(()),
        };
    };
    let new = emulator.version == Some(TpmVersion::V2_0);
    if emulator.active_banks.is_some() && !new {
        return Err(xml_error("<active_pcr_banks/> requires TPM version '2.0'"));
    }
    if emulator
        .profile
        .as_ref()
        .is_some_and(|profile| profile.source.is_some())
        && !new
    {
        return Err(xml_error("<profile/> requires TPM version '2.0'"));
    }
    Ok(())
}

pub(super) fn pstore(pstore: &Pstore) -> Result<()> {
    if pstore.path.as_deref().unwrap_or_default().is_empty() {
        return Err(xml_error("<path> is missing"));
    }
    if !pstore
        .size
        .is_some_and(|size| size >= 4 && size.is_power_of_two())
    {
        return Err(xml_error("<size> is not a power of two of at least 4 KiB"));
    }
    Ok(())
}
