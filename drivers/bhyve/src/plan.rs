//! A complete definition → the commands that run it: bhyve's, and that of its boot loader. Nothing is touched.

use virt_conf::domain::Domain;
use virt_conf::domain::chardev::ChardevSource;
use virt_conf::domain::clock::ClockBase;
use virt_conf::domain::controller::{Controller, ControllerKind, PciControllerModel};
use virt_conf::domain::device_info::{Address, DeviceInfo};
use virt_conf::domain::disk::{Disk, DiskBus, DiskDevice};
use virt_conf::domain::features::MsrsUnknown;
use virt_conf::domain::filesystem::{Filesystem, FilesystemAccessMode, FilesystemDriver, FilesystemSource};
use virt_conf::domain::graphics::{Graphics, ListenType};
use virt_conf::domain::input::{InputBus, InputType};
use virt_conf::domain::interface::{Interface, InterfaceSource};
use virt_conf::domain::os::{BootDevice, FirmwareType, LoaderType};
use virt_conf::domain::small::RngSource;
use virt_conf::domain::sound::{AudioBackend, OssDirection, Sound, SoundModel};
use virt_conf::domain::storage::{StorageFormat, StorageLocation};
use virt_util::{ErrorCode, Result, VirtError};

use crate::hooks::BhyveCaps;

/// Firmware that is taken where there are several.
const DEFAULT_FIRMWARE: &str = "BHYVE_UEFI.fd";

/// What of the host goes into the commands.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The hypervisor's program.
    pub bhyve: String,
    /// Its own boot loader.
    pub bhyveload: String,
    /// What the hypervisor can do.
    pub caps: BhyveCaps,
    /// Whether `grub-bhyve` can be told a console.
    pub grub_console: bool,
    /// Names of the tap devices of the guest's network cards.
    pub taps: Vec<String>,
    /// A free port for a display that leaves it open.
    pub display_port: u16,
    /// The file that the device map will be written to.
    pub device_map: String,
}

/// The commands that run a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// The hypervisor's.
    pub bhyve: Vec<String>,
    /// The boot loader's, which runs before; none if the guest has firmware.
    pub loader: Option<Vec<String>>,
    /// What is written to [`Host::device_map`] before.
    pub device_map: Option<String>,
}

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Chooses firmware for a definition that wants some, from the files in its folder.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` if there is none, or if the definition wants another format.
pub fn choose_firmware(domain: &mut Domain, folder: &str, files: &[String]) -> Result<()> {
    if domain.os.firmware != Some(FirmwareType::Efi) {
        return Ok(());
    }
    let mut visible = files.iter().filter(|file| !file.starts_with('.'));
    let chosen = visible
        .clone()
        .find(|file| *file == DEFAULT_FIRMWARE)
        .or_else(|| visible.next());
    let file = chosen.ok_or_else(|| {
        unsupported(format_args!(
            "folder {folder} holds no firmware: install one, or name it in <loader>"
        ))
    })?;
    let loader = domain.os.loader.get_or_insert_default();
    let format = *loader.format.get_or_insert(StorageFormat::Raw);
    if format != StorageFormat::Raw {
        return Err(unsupported(format_args!(
            "Unsupported loader format '{format}', 'raw' is expected"
        )));
    }
    loader.kind = Some(LoaderType::Pflash);
    loader.read_only = Some(true);
    loader.path = Some(format!("{folder}/{file}"));
    Ok(())
}

/// Plans the commands of a guest.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for what bhyve, or this version of it, cannot do.
pub fn plan(domain: &Domain, host: &Host) -> Result<Commands> {
    let bhyve = Planner {
        domain,
        host,
        args: vec![host.bhyve.clone()],
    }
    .bhyve()?;
    let mut commands = Commands {
        bhyve,
        ..Commands::default()
    };
    if domain.os.loader.is_none() {
        (commands.loader, commands.device_map) = loader(domain, host)?;
    }
    Ok(commands)
}

/// MiB of memory.
fn mebibytes(domain: &Domain) -> String {
    domain.memory.size.div_ceil(1024).to_string()
}

/// Where a device is on the bus.
fn place(info: &DeviceInfo) -> (u32, u32) {
    match &info.address {
        Some(Address::Pci(address)) => (address.slot, address.function),
        _ => (0, 0),
    }
}

/// The first serial port's end of a null modem.
fn null_modem(domain: &Domain) -> Result<Option<(u32, &str)>> {
    let Some(serial) = domain.devices.serials.first() else {
        return Ok(None);
    };
    match &serial.host.source {
        ChardevSource::Nmdm {
            master: Some(master), ..
        } => Ok(Some((serial.target.port.unwrap_or_default(), master))),
        source => Err(unsupported(format_args!(
            "a serial port is of type '{}', only nmdm console types are supported",
            source.chardev_type()
        ))),
    }
}

/// The path of a drive that bhyve can use.
fn image(disk: &Disk) -> Result<&str> {
    match &disk.source.location {
        StorageLocation::File { path: Some(path), .. } => Ok(path),
        StorageLocation::File { .. } => Err(unsupported(format_args!(
            "{} device '{}' without source path not supported",
            disk.device, disk.target.dev
        ))),
        location => Err(unsupported(format_args!(
            "unsupported disk type '{}' of '{}', 'file' is expected",
            location.storage_type(),
            disk.target.dev
        ))),
    }
}

struct Planner<'a> {
    domain: &'a Domain,
    host: &'a Host,
    args: Vec<String>,
}

impl Planner<'_> {
    fn option(&mut self, option: &str, value: impl Into<String>) {
        self.args.push(option.to_owned());
        self.args.push(value.into());
    }

    fn need(&self, cap: BhyveCaps, what: &str) -> Result<()> {
        if self.host.caps.contains(cap) {
            return Ok(());
        }
        Err(unsupported(format_args!(
            "{what} not supported by the installed bhyve"
        )))
    }

    fn bhyve(mut self) -> Result<Vec<String>> {
        self.machine()?;
        let domain = self.domain;
        let devices = &domain.devices;
        let (mut usb, mut isa) = (0, 0);
        for controller in &devices.controllers {
            match &controller.kind {
                ControllerKind::Usb { .. } => usb += 1,
                ControllerKind::Isa { .. } => isa += 1,
                _ => {}
            }
            if usb > 1 || isa > 1 {
                let kind = controller.kind.controller_type();
                return Err(unsupported(format_args!(
                    "only a single controller of type '{kind}' is supported"
                )));
            }
            self.controller(controller)?;
        }
        for (number, card) in devices.interfaces.iter().enumerate() {
            self.interface(card, number)?;
        }
        for disk in &devices.disks {
            match disk.target.bus {
                // Behind a controller.
                Some(DiskBus::Sata) => {}
                Some(DiskBus::Virtio) if disk.device == DiskDevice::Disk => {
                    let (slot, _) = place(&disk.info);
                    let value = format!("{slot}:0,virtio-blk,{}", image(disk)?);
                    self.option("-s", value);
                }
                bus => {
                    return Err(unsupported(format_args!(
                        "unsupported disk device: {} '{}' on bus '{}'",
                        disk.device,
                        disk.target.dev,
                        bus.unwrap_or_default()
                    )));
                }
            }
        }
        match (devices.graphics.as_slice(), devices.videos.as_slice()) {
            ([], _) | (_, []) => {}
            ([graphics], [_]) => self.display(graphics)?,
            _ => {
                return Err(unsupported(
                    "bhyve shows one <graphics> and one <video>, and the guest has more",
                ));
            }
        }
        for sound in &devices.sounds {
            self.sound(sound)?;
        }
        for filesystem in &devices.filesystems {
            self.filesystem(filesystem)?;
        }
        if let Some((port, path)) = null_modem(domain)? {
            if port > 1 {
                return Err(unsupported(format_args!(
                    "serial port {port}: bhyve has ports 0 and 1"
                )));
            }
            self.option("-l", format!("com{},{path}", port + 1));
        }
        for rng in &devices.rngs {
            if !matches!(rng.backend, RngSource::Random { .. }) {
                return Err(unsupported("RNG backend is not supported, 'random' is expected"));
            }
            let (slot, function) = place(&rng.info);
            self.option("-s", format!("{slot}:{function},virtio-rnd"));
        }
        if let Some(commandline) = &domain.bhyve_commandline {
            tracing::warn!("arguments are passed to bhyve as they are: what they do is not known");
            self.args
                .extend(commandline.args.iter().map(|arg| arg.value.clone()));
        }
        self.args.push(domain.name.clone());
        Ok(self.args)
    }

    fn machine(&mut self) -> Result<()> {
        let domain = self.domain;
        let vcpus = domain.vcpus.online();
        let topology = domain.cpu.as_ref().and_then(|cpu| cpu.topology);
        let cpus = match topology {
            None => vcpus.to_string(),
            Some(topology) => {
                if topology.dies != 1 || topology.clusters != 1 {
                    return Err(unsupported(
                        "Only 1 die per socket and 1 cluster per die are supported",
                    ));
                }
                if topology.total() != u64::from(vcpus) {
                    return Err(unsupported(format_args!(
                        "the <topology> has {} CPUs, <vcpu> {vcpus}",
                        topology.total()
                    )));
                }
                self.need(BhyveCaps::CPUTOPOLOGY, "a CPU topology is")?;
                let (sockets, cores, threads) = (topology.sockets, topology.cores, topology.threads);
                format!("cpus={vcpus},sockets={sockets},cores={cores},threads={threads}")
            }
        };
        self.option("-c", cpus);
        self.option("-m", mebibytes(domain));
        let mut flag = |set: bool, flag: &str| self.args.extend(set.then(|| flag.to_owned()));
        flag(
            domain
                .memory_backing
                .as_ref()
                .is_some_and(|backing| backing.locked),
            "-S",
        );
        let features = domain.features.as_deref();
        flag(features.is_some_and(|features| features.acpi), "-A");
        flag(features.is_some_and(|features| features.apic.is_some()), "-I");
        let ignore = features.and_then(|features| features.msrs) == Some(MsrsUnknown::Ignore);
        flag(ignore, "-w");
        match &domain.clock.base {
            ClockBase::Localtime { .. } => {}
            ClockBase::Utc { .. } => {
                self.need(BhyveCaps::RTC_UTC, "a clock in UTC is")?;
                self.args.push("-u".to_owned());
            }
            base => {
                return Err(unsupported(format_args!(
                    "unsupported clock offset '{}', 'utc' or 'localtime' is expected",
                    base.offset()
                )));
            }
        }
        // An idle or spinning guest gives its processor back.
        self.args.extend(["-H".to_owned(), "-P".to_owned()]);
        self.option("-s", "0:0,hostbridge");
        if domain.bootloader.is_none()
            && let Some(loader) = &domain.os.loader
        {
            self.need(BhyveCaps::LPC_BOOTROM, "firmware is")?;
            let path = loader.path.as_deref().unwrap_or_default();
            self.option("-l", format!("bootrom,{path}"));
        }
        Ok(())
    }

    fn controller(&mut self, controller: &Controller) -> Result<()> {
        let (slot, function) = place(&controller.info);
        match &controller.kind {
            ControllerKind::Pci(pci) if pci.model == Some(PciControllerModel::PciRoot) => {}
            ControllerKind::Pci(_) => {
                return Err(unsupported("a PCI controller of bhyve has model 'pci-root' only"));
            }
            ControllerKind::Sata { index } => {
                let drives = self.sata_drives(index.unwrap_or_default())?;
                self.option("-s", format!("{slot}:0,ahci{drives}"));
            }
            ControllerKind::Usb { .. } => {
                self.need(BhyveCaps::XHCI, "a USB controller is")?;
                for input in &self.domain.devices.inputs {
                    if input.bus != Some(InputBus::Usb) || input.kind != InputType::Tablet {
                        return Err(unsupported("only USB tablets are supported as input devices"));
                    }
                }
                if self.domain.devices.inputs.len() != 1 {
                    return Err(unsupported(format_args!(
                        "bhyve has one <input>, and the guest has {}",
                        self.domain.devices.inputs.len()
                    )));
                }
                self.option("-s", format!("{slot}:{function},xhci,tablet"));
            }
            ControllerKind::Isa { .. } => self.option("-s", format!("{slot}:0,lpc")),
            kind => {
                return Err(unsupported(format_args!(
                    "unsupported controller device of type '{}'",
                    kind.controller_type()
                )));
            }
        }
        Ok(())
    }

    fn sata_drives(&self, controller: u32) -> Result<String> {
        let many = self.host.caps.contains(BhyveCaps::AHCI32SLOT);
        let mut drives = String::new();
        for disk in &self.domain.devices.disks {
            let here = match &disk.info.address {
                Some(Address::Drive(address)) => address.controller == controller,
                _ => controller == 0,
            };
            if disk.target.bus != Some(DiskBus::Sata) || !here {
                continue;
            }
            let kind = match disk.device {
                DiskDevice::Disk => "hd",
                DiskDevice::Cdrom => "cd",
                device => return Err(unsupported(format_args!("unsupported disk device '{device}'"))),
            };
            let path = image(disk)?;
            drives.push_str(&if many {
                format!(",{kind}:{path}")
            } else {
                format!("-{kind},{path}")
            });
        }
        Ok(drives)
    }

    fn interface(&mut self, card: &Interface, number: usize) -> Result<()> {
        let model = match card.model.as_deref() {
            Some("virtio") => "virtio-net",
            Some("e1000") => {
                self.need(BhyveCaps::NET_E1000, "NIC model 'e1000' is")?;
                "e1000"
            }
            model => {
                return Err(unsupported(format_args!(
                    "NIC model '{}' is not supported, 'virtio' or 'e1000' is expected",
                    model.unwrap_or_default()
                )));
            }
        };
        if !matches!(
            card.source,
            InterfaceSource::Bridge { .. } | InterfaceSource::Network { .. }
        ) {
            return Err(unsupported(format_args!(
                "Unsupported network type {}, 'bridge' or 'network' is expected",
                card.interface_type()
            )));
        }
        let tap =
            self.host.taps.get(number).ok_or_else(|| {
                VirtError::internal(format_args!("network card {number} has no tap device"))
            })?;
        let (slot, _) = place(&card.info);
        let mac = card.mac.address.map(|mac| mac.to_string()).unwrap_or_default();
        let value = format!("{slot}:0,{model},{tap},mac={mac}");
        self.option("-s", value);
        Ok(())
    }

    fn display(&mut self, graphics: &Graphics) -> Result<()> {
        if !self.host.caps.contains(BhyveCaps::LPC_BOOTROM)
            || self.domain.bootloader.is_some()
            || self.domain.os.loader.is_none()
        {
            return Err(unsupported("<graphics> needs UEFI: say <loader type='pflash'>"));
        }
        self.need(BhyveCaps::FBUF, "a frame buffer is")?;
        let (Graphics::Vnc(vnc), Some(video)) = (graphics, self.domain.devices.videos.first()) else {
            return Err(unsupported("Only VNC supported"));
        };
        let listen = vnc
            .listens
            .first()
            .filter(|listen| matches!(listen.kind, ListenType::Address | ListenType::Network));
        let listen = listen.ok_or_else(|| unsupported("Unsupported listen type, 'address' is expected"))?;
        let port = if vnc.autoport {
            i32::from(self.host.display_port)
        } else {
            vnc.port
        };
        if !(5900..=65535).contains(&port) {
            return Err(unsupported(format_args!(
                "vnc port is {port}, it must be in range [5900,65535]"
            )));
        }
        let (slot, function) = place(&video.info);
        let address = match listen.address.as_deref() {
            Some(address) if address.contains(':') => format!("[{address}]"),
            address => address.unwrap_or_default().to_owned(),
        };
        let mut value = format!("{slot}:{function},fbuf,tcp={address}:{port}");
        match &vnc.auth.password {
            Some(password) => {
                self.need(BhyveCaps::VNC_PASSWORD, "a VNC password is")?;
                if password.contains(',') {
                    return Err(unsupported("the password of <graphics> contains ','"));
                }
                value.push_str(&format!(",password={password}"));
            }
            None => tracing::warn!("the VNC display is used without authentication"),
        }
        if let Some(size) = &video.model.resolution {
            value.push_str(&format!(",w={},h={}", size.x, size.y));
        }
        if let Some(vga) = video.vga_conf {
            value.push_str(&format!(",vga={vga}"));
        }
        self.option("-s", value);
        Ok(())
    }

    fn sound(&mut self, sound: &Sound) -> Result<()> {
        self.need(BhyveCaps::SOUND_HDA, "a sound device is")?;
        if sound.model != SoundModel::Ich7 {
            return Err(unsupported(format_args!(
                "Sound device model '{}' is not supported, 'ich7' is expected",
                sound.model
            )));
        }
        let (slot, function) = place(&sound.info);
        let mut value = format!("{slot}:{function},hda");
        let audio = self
            .domain
            .devices
            .audios
            .iter()
            .find(|audio| audio.id == sound.audio);
        match audio.map(|audio| &audio.backend) {
            None => {}
            Some(AudioBackend::Oss { input, output, .. }) => {
                for (name, direction) in [("play", input), ("rec", output)] {
                    let Some(direction) = direction else { continue };
                    let plain = OssDirection {
                        dev: direction.dev.clone(),
                        buffer_count: direction.buffer_count,
                        try_poll: direction.try_poll,
                        ..OssDirection::default()
                    };
                    if **direction != plain {
                        return Err(unsupported(
                            "bhyve's sound takes no <input> and no <output> settings",
                        ));
                    }
                    if let Some(dev) = &direction.dev {
                        value.push_str(&format!(",{name}={dev}"));
                    }
                }
            }
            Some(_) => {
                let kind = audio.map(|audio| audio.audio_type()).unwrap_or_default();
                return Err(unsupported(format_args!(
                    "unsupported audio backend '{kind}', 'oss' is expected"
                )));
            }
        }
        self.option("-s", value);
        Ok(())
    }

    fn filesystem(&mut self, filesystem: &Filesystem) -> Result<()> {
        self.need(BhyveCaps::VIRTIO_9P, "a shared folder is")?;
        let FilesystemSource::Mount { dir: Some(dir), .. } = &filesystem.source else {
            return Err(unsupported("unsupported filesystem type, 'mount' is expected"));
        };
        if filesystem.driver.kind != FilesystemDriver::Default {
            return Err(unsupported(format_args!(
                "a <filesystem> of bhyve takes no driver '{}'",
                filesystem.driver.kind
            )));
        }
        if filesystem.access_mode != Some(FilesystemAccessMode::Passthrough) {
            return Err(unsupported(
                "unsupported filesystem accessmode, 'passthrough' is expected",
            ));
        }
        let (slot, function) = place(&filesystem.info);
        let target = filesystem.target.as_deref().unwrap_or_default();
        let read_only = if filesystem.read_only { ",ro" } else { "" };
        self.option(
            "-s",
            format!("{slot}:{function},virtio-9p,{target}={dir}{read_only}"),
        );
        Ok(())
    }
}

/// A boot loader's command, and the device map that it reads.
type LoaderCommand = (Option<Vec<String>>, Option<String>);

fn loader(domain: &Domain, host: &Host) -> Result<LoaderCommand> {
    let arguments = |program: &str, arguments: &str| -> Vec<String> {
        let arguments = arguments.split(' ').map(str::to_owned);
        std::iter::once(program.to_owned()).chain(arguments).collect()
    };
    let said = domain.bootloader_args.as_deref();
    match (domain.bootloader.as_deref(), said) {
        (None, said) => {
            let disk = boot_disk(domain)?;
            let command = match said {
                Some(said) => arguments(&host.bhyveload, said),
                None => {
                    let [m, d] = ["-m", "-d"].map(str::to_owned);
                    let image = image(disk)?.to_owned();
                    vec![
                        host.bhyveload.clone(),
                        m,
                        mebibytes(domain),
                        d,
                        image,
                        domain.name.clone(),
                    ]
                }
            };
            Ok((Some(command), None))
        }
        (Some(program), Some(said)) => Ok((Some(arguments(program, said)), None)),
        (Some(program), None) if program.contains("grub-bhyve") => grub(domain, host, program),
        (Some(_), None) => Err(unsupported(
            "Custom loader requires explicit bootloader_args configuration",
        )),
    }
}

fn usable(disk: &&Disk) -> bool {
    matches!(disk.device, DiskDevice::Disk | DiskDevice::Cdrom) && image(disk).is_ok()
}

fn boot_order(disk: &Disk) -> Option<u32> {
    disk.info.boot.as_ref().map(|boot| boot.order)
}

/// The drive that bhyve's own loader boots from: it knows one only.
fn boot_disk(domain: &Domain) -> Result<&Disk> {
    let disks = &domain.devices.disks;
    if disks.is_empty() {
        return Err(unsupported("bhyve boots from a disk, and the guest has none"));
    }
    let mut usable = disks.iter().filter(usable);
    let wanted = match domain.os.boot.as_slice() {
        [] => {
            let mut ordered = usable.clone().filter(|disk| boot_order(disk).is_some());
            let first = ordered.next();
            if ordered.next().is_some() {
                return Err(unsupported("several disks have <boot>: bhyve takes one"));
            }
            // Without an order the last drive that can be used counts.
            return first
                .or_else(|| usable.next_back())
                .ok_or_else(|| unsupported("no disk can be booted from"));
        }
        [entry] => match entry.dev {
            BootDevice::Cdrom => DiskDevice::Cdrom,
            BootDevice::Hd => DiskDevice::Disk,
            device => {
                return Err(unsupported(format_args!(
                    "bhyve does not boot from '{device}': expected 'hd' or 'cdrom'"
                )));
            }
        },
        _ => return Err(unsupported("<os> has several <boot>: bhyve takes one")),
    };
    usable
        .find(|disk| disk.device == wanted)
        .ok_or_else(|| unsupported(format_args!("the guest has no '{wanted}' to boot from")))
}

fn grub(domain: &Domain, host: &Host, program: &str) -> Result<LoaderCommand> {
    let usable: Vec<&Disk> = domain.devices.disks.iter().filter(usable).collect();
    let chosen = usable
        .iter()
        .filter(|disk| boot_order(disk).is_some())
        .min_by_key(|disk| boot_order(disk));
    let first = |device: DiskDevice| {
        usable
            .iter()
            .find(|disk| disk.device == device && boot_order(disk).is_none())
    };
    let drives: Vec<&Disk> = match chosen {
        Some(disk) => vec![*disk],
        None => [first(DiskDevice::Disk), first(DiskDevice::Cdrom)]
            .into_iter()
            .flatten()
            .copied()
            .collect(),
    };
    let mut map = String::new();
    for disk in &drives {
        let name = if disk.device == DiskDevice::Cdrom {
            "cd"
        } else {
            "hd0"
        };
        map.push_str(&format!("({name}) {}\n", image(disk)?));
    }
    let optical = drives.last().is_some_and(|disk| disk.device == DiskDevice::Cdrom);
    let mut command = vec![program.to_owned()];
    let mut option = |name: &str, value: &str| command.extend([name.to_owned(), value.to_owned()]);
    option("--root", if optical { "cd" } else { "hd0,msdos1" });
    option("--device-map", &host.device_map);
    option("--memory", &mebibytes(domain));
    if host.grub_console
        && let Some((_, path)) = null_modem(domain)?
    {
        option("--cons-dev", path);
    }
    command.push(domain.name.clone());
    Ok((Some(command), Some(map)))
}
