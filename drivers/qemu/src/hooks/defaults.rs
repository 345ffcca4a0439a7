//! Defaults of the whole guest and the devices that every guest of a machine has.

use virt_conf::cpu::{Cpu, CpuCheck, CpuFallback, CpuFeature, CpuFeaturePolicy, CpuMatch, CpuMode, CpuModel};
use virt_conf::domain::Domain;
use virt_conf::domain::controller::{
    Controller, ControllerKind, ControllerType, PciController, PciControllerModel, UsbControllerModel,
};
use virt_conf::domain::features::{Gic, GicVersion, IoapicDriver};
use virt_conf::domain::graphics::{Graphics, ListenType};
use virt_conf::domain::input::{Input, InputBus, InputType};
use virt_conf::domain::normalize::{NormalizeFlags, add_controller, find_controller, insert_controller};
use virt_conf::domain::small::{
    Iommu, IommuDriver, IommuModel, Memballoon, MemballoonModel, Panic, PanicModel, Watchdog, WatchdogAction,
    WatchdogModel,
};
use virt_conf::domain::sound::{Audio, AudioBackend, SdlAudioDriver};
use virt_conf::numa::{Numa, NumaCell};
use virt_conf::values::CpuSet;
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::{ErrorCode, Result, VirtError};

use super::{Guest, QemuHooks, machine};
use crate::capabilities::{Accel, Flag, guest_is_native};
use crate::plan::host::DriverConfig;

/// More CPUs need an IOMMU that can tell interrupts to all of them.
const MOST_CPUS_WITHOUT_EIM: u32 = 255;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// The panic device of an architecture.
pub(super) fn panic_model(domain: &Domain, arch: Arch) -> Option<PanicModel> {
    let machine = machine(domain, arch);
    if machine.is_pseries() {
        Some(PanicModel::Pseries)
    } else if arch.is_s390() {
        Some(PanicModel::S390)
    } else if arch.is_x86() {
        Some(PanicModel::Isa)
    } else if machine.is_arm_virt() {
        Some(PanicModel::Pvpanic)
    } else {
        None
    }
}

/// Whether so many CPUs need more than the interrupt controllers of a PC can address.
pub(super) fn needs_eim(domain: &Domain, arch: Arch) -> bool {
    arch.is_x86() && domain.vcpus.max > MOST_CPUS_WITHOUT_EIM && machine(domain, arch).is_q35()
}

#[derive(Default)]
struct Implied {
    usb: bool,
    usb_model: Option<UsbControllerModel>,
    root: Option<PciControllerModel>,
    balloon: bool,
    usb_input: bool,
    panic: bool,
}

impl QemuHooks<'_> {
    pub(super) fn domain_defaults(
        &self,
        domain: &mut Domain,
        guest: Guest<'_>,
        flags: NormalizeFlags,
    ) -> Result<()> {
        let caps = guest.caps;
        let name = match &domain.os.kind.machine {
            Some(name) => caps.canonical_machine(guest.accel, name).to_owned(),
            None => {
                let preferred = caps.preferred_machine(guest.accel).ok_or_else(|| {
                    VirtError::invalid_arg(format_args!(
                        "emulator '{}' prefers no machine for guests of type '{}': say <type machine='…'>",
                        domain.devices.emulator.as_deref().unwrap_or_default(),
                        domain.virt_type
                    ))
                })?;
                caps.canonical_machine(guest.accel, preferred).to_owned()
            }
        };
        domain.os.kind.machine = Some(name);
        self.acpi(domain, guest, flags);
        self.fill_firmware(domain, guest, flags)?;
        self.implied_devices(domain, guest)?;
        self.default_cpu(domain, guest)?;
        default_features(domain, guest);
        self.internal_paths(domain, flags);
        check_vcpus(domain)?;
        cpu_details(domain, guest)?;
        check_smm_memory(domain, guest)?;
        numa(domain, guest, flags)
    }

    fn acpi(&self, domain: &mut Domain, guest: Guest<'_>, flags: NormalizeFlags) {
        let Some(features) = &mut domain.features else {
            return;
        };
        let name = domain.os.kind.machine.as_deref().unwrap_or_default();
        let without = guest
            .caps
            .machine(guest.accel, name)
            .and_then(|machine| machine.acpi)
            == Some(false);
        if guest.arch.is_s390() && without && !flags.contains(NormalizeFlags::ABI_UPDATE) {
            features.acpi = false;
        }
    }

    fn implied_devices(&self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        use PciControllerModel::{PciRoot, PcieRoot};
        let (caps, arch) = (guest.caps, guest.arch);
        let name = domain.os.kind.machine.clone().unwrap_or_default();
        let kind = crate::machine::MachineKind::new(&name, arch);
        let pc = kind.is_i440fx() || kind.is_q35() || kind.is_xenfv() || kind.is_isapc();
        let ps2_off = domain
            .features
            .as_ref()
            .and_then(|features| features.ps2)
            .is_some_and(|state| !state.on);
        if caps.has(Flag::DeviceI8042) && pc && !ps2_off {
            add_input(domain, InputType::Mouse, InputBus::Ps2);
            add_input(domain, InputType::Keyboard, InputBus::Ps2);
        }
        let mut implied = Implied::default();
        match arch {
            Arch::I686 | Arch::X86_64 => {
                implied.balloon = true;
                if !kind.is_isapc() {
                    implied.usb = true;
                    if kind.is_q35() {
                        implied.root = Some(PcieRoot);
                        let models = [
                            (Flag::DeviceQemuXhci, UsbControllerModel::QemuXhci),
                            (Flag::NecUsbXhci, UsbControllerModel::NecXhci),
                            (Flag::Ich9UsbEhci1, UsbControllerModel::Ich9Ehci1),
                        ];
                        implied.usb_model = models
                            .iter()
                            .find(|(flag, _)| caps.has(*flag))
                            .map(|(_, model)| *model);
                        implied.usb = implied.usb_model.is_some();
                    }
                    if kind.is_i440fx() {
                        implied.root = Some(PciRoot);
                    }
                }
            }
            Arch::Armv6l | Arch::Armv7l | Arch::Armv7b | Arch::Aarch64 => {
                if name == "versatilepb" {
                    implied.root = Some(PciRoot);
                }
                if name == "versatilepb" || name.starts_with("realview") {
                    implied.usb = true;
                    implied.usb_model = Some(UsbControllerModel::PciOhci);
                }
                if kind.is_arm_virt() {
                    implied.root = Some(PcieRoot);
                }
            }
            Arch::Ppc64 | Arch::Ppc64le => {
                implied = Implied {
                    usb: true,
                    usb_model: None,
                    root: Some(PciRoot),
                    balloon: true,
                    usb_input: true,
                    panic: kind.is_pseries(),
                };
            }
            Arch::Alpha | Arch::Ppc | Arch::Ppcemb | Arch::Sh4 | Arch::Sh4eb | Arch::Sparc64 => {
                implied = Implied {
                    usb: true,
                    root: Some(PciRoot),
                    balloon: true,
                    ..Implied::default()
                };
            }
            Arch::Riscv32 | Arch::Riscv64 => {
                implied.balloon = true;
                implied.root = kind.is_riscv_virt().then_some(PcieRoot);
            }
            Arch::S390 | Arch::S390x => {
                implied.balloon = true;
                implied.panic = true;
                implied.root = caps.has(Flag::DeviceZpci).then_some(PciRoot);
            }
            Arch::Mips | Arch::Mipsel | Arch::Mips64 | Arch::Mips64el => {
                implied.usb = true;
                implied.balloon = true;
                implied.root = kind.is_malta().then_some(PciRoot);
            }
            Arch::Loongarch64 => implied.root = Some(PcieRoot),
            _ => {}
        }
        if implied.usb && find_controller(domain, ControllerType::Usb, 0).is_none() {
            add_usb(domain, implied.usb_model);
        }
        if kind.is_q35() {
            add_controller(domain, ControllerKind::new(ControllerType::Sata, Some(0)));
        }
        if let Some(root) = implied.root {
            match find_controller(domain, ControllerType::Pci, 0).map(|controller| &controller.kind) {
                Some(ControllerKind::Pci(pci)) if pci.model != Some(root) => {
                    let what = format!(
                        "PCI bus 0 of this machine is of model '{root}', not '{}'",
                        pci.model.map_or("default", |model| model.as_str())
                    );
                    return Err(VirtError::new(ErrorCode::XML_ERROR, what));
                }
                Some(_) => {}
                None => {
                    let pci = PciController {
                        index: Some(0),
                        model: Some(root),
                        ..PciController::default()
                    };
                    add_controller(domain, ControllerKind::Pci(pci));
                }
            }
        }
        if implied.balloon && domain.devices.memballoon.is_none() {
            domain.devices.memballoon = Some(Box::new(Memballoon::new(MemballoonModel::Virtio)));
        }
        if implied.usb_input && !domain.devices.graphics.is_empty() {
            let tablet = domain
                .devices
                .inputs
                .iter()
                .any(|input| input.kind == InputType::Tablet && input.bus == Some(InputBus::Usb));
            add_input(domain, InputType::Keyboard, InputBus::Usb);
            if !tablet {
                add_input(domain, InputType::Mouse, InputBus::Usb);
            }
        }
        if implied.panic {
            let model = panic_model(domain, arch);
            if !domain
                .devices
                .panics
                .iter()
                .any(|panic| panic.model.is_none() || panic.model == model)
            {
                domain.devices.panics.push(Panic {
                    model: None,
                    info: Default::default(),
                });
            }
        }
        if kind.is_q35() {
            q35_devices(domain, guest);
        }
        self.default_audio(domain)
    }

    fn default_audio(&self, domain: &mut Domain) -> Result<()> {
        if domain.devices.audios.is_empty()
            && let Some(audio) = implied_audio(&domain.devices.graphics, self.config, self.environment)?
        {
            domain.devices.audios.push(audio);
        }
        Ok(())
    }

    fn default_cpu(&self, domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
        if domain
            .cpu
            .as_ref()
            .is_some_and(|cpu| cpu.mode != CpuMode::Custom || cpu.model_name().is_some())
        {
            return Ok(());
        }
        let arch = guest.arch;
        let fixed = arch.is_x86() || arch.is_s390() || arch.is_ppc64();
        let mapped = fixed || arch.is_arm() || arch.is_riscv() || arch == Arch::Loongarch64;
        if !mapped {
            return Ok(());
        }
        if !fixed && guest.accel != Accel::Tcg {
            return Ok(());
        }
        let name = domain.os.kind.machine.as_deref().unwrap_or_default();
        let Some(model) = guest.caps.machine_default_cpu(guest.accel, name) else {
            return Ok(());
        };
        if model == "host" && guest.accel != Accel::Kvm {
            return Err(VirtError::internal(
                "the emulator's default CPU model is 'host', which needs type 'kvm'",
            ));
        }
        let cpu = domain.cpu.get_or_insert_with(Box::<Cpu>::default);
        if model == "host" {
            let by_model = arch.is_s390()
                && guest_is_native(self.host_arch, arch)
                && guest.caps.accel(guest.accel).host_cpu.is_some();
            cpu.mode = if by_model {
                CpuMode::HostModel
            } else {
                CpuMode::HostPassthrough
            };
            return Ok(());
        }
        cpu.check = Some(CpuCheck::None);
        cpu.mode = CpuMode::Custom;
        cpu.matching = CpuMatch::Exact;
        cpu.model = Some(CpuModel {
            fallback: CpuFallback::Forbid,
            vendor_id: None,
            name: Some(model.to_owned()),
        });
        Ok(())
    }

    /// Sockets that we chose at an earlier start are no part of the definition.
    fn internal_paths(&self, domain: &mut Domain, flags: NormalizeFlags) {
        for graphics in &mut domain.devices.graphics {
            let Graphics::Vnc(vnc) = graphics else { continue };
            for listen in &mut vnc.listens.0 {
                let ours = listen
                    .socket
                    .as_deref()
                    .is_some_and(|socket| socket.starts_with(self.lib_dir));
                if listen.kind != ListenType::Socket || listen.auto_generated || !ours {
                    continue;
                }
                if flags.contains(NormalizeFlags::INACTIVE) {
                    listen.socket = None;
                    listen.kind = ListenType::Address;
                } else {
                    listen.from_config = true;
                }
            }
        }
    }
}

fn add_input(domain: &mut Domain, kind: InputType, bus: InputBus) {
    let inputs = &mut domain.devices.inputs;
    if !inputs
        .iter()
        .any(|input| input.kind == kind && input.bus == Some(bus))
    {
        inputs.push(Input {
            kind,
            bus: Some(bus),
            ..Input::default()
        });
    }
}

fn add_usb(domain: &mut Domain, model: Option<UsbControllerModel>) {
    use UsbControllerModel as M;
    let controller = |model, port: Option<u32>| {
        let mut one = Controller::new(ControllerKind::Usb {
            index: Some(0),
            model,
            ports: None,
        });
        one.info.usb_master_port = port;
        one
    };
    let controllers = &mut domain.devices.controllers;
    insert_controller(controllers, controller(model, None));
    if model == Some(M::Ich9Ehci1) {
        for (model, port) in [(M::Ich9Uhci1, 0), (M::Ich9Uhci2, 2), (M::Ich9Uhci3, 4)] {
            insert_controller(controllers, controller(Some(model), Some(port)));
        }
    }
}

fn q35_devices(domain: &mut Domain, guest: Guest<'_>) {
    let watchdogs = &mut domain.devices.watchdogs;
    if !watchdogs
        .iter()
        .any(|watchdog| watchdog.model == WatchdogModel::Itco)
    {
        let action = watchdogs
            .first()
            .map_or(WatchdogAction::Reset, |watchdog| watchdog.action);
        watchdogs.push(Watchdog {
            model: WatchdogModel::Itco,
            action,
            info: Default::default(),
        });
    }
    let flags = [
        Flag::DeviceIntelIommu,
        Flag::IntelIommuIntremap,
        Flag::IntelIommuEim,
    ];
    let able = flags.iter().all(|flag| guest.caps.has(*flag));
    if domain.vcpus.max > MOST_CPUS_WITHOUT_EIM && domain.devices.iommu.is_none() && able {
        let driver = IommuDriver {
            intremap: Some(true),
            eim: Some(true),
            ..IommuDriver::default()
        };
        domain.devices.iommu = Some(Box::new(Iommu {
            model: IommuModel::Intel,
            driver: Some(driver),
            ..Iommu::default()
        }));
    }
}

fn default_features(domain: &mut Domain, guest: Guest<'_>) {
    let gic = domain.features.as_ref().and_then(|features| features.gic);
    let unset = match gic {
        None => machine(domain, guest.arch).is_arm_virt(),
        Some(gic) => gic.version.is_none(),
    };
    if unset {
        let supports = |version: i32| {
            guest.caps.gic.iter().any(|gic| {
                gic.version == version
                    && if guest.accel == Accel::Kvm {
                        gic.kernel
                    } else {
                        gic.emulated
                    }
            })
        };
        // The emulation of version 3 came long after that of version 2.
        let version = if guest.accel == Accel::Kvm && supports(3) {
            GicVersion::V3
        } else {
            GicVersion::V2
        };
        let features = domain.features.get_or_insert_with(Box::default);
        features.gic = Some(Gic {
            version: Some(version),
        });
    }
    let remaps = domain.devices.iommu.as_ref().is_some_and(|iommu| {
        iommu.driver.as_ref().and_then(|driver| driver.intremap) == Some(true)
            || needs_eim(domain, guest.arch)
    });
    if remaps {
        let features = domain.features.get_or_insert_with(Box::default);
        features.ioapic.get_or_insert(IoapicDriver::Qemu);
    }
}

fn check_vcpus(domain: &Domain) -> Result<()> {
    let mut states: Vec<_> = domain.vcpu_states.iter().collect();
    states.sort_by_key(|state| state.id);
    let Some((first, rest)) = states.split_first() else {
        return Ok(());
    };
    if !first.enabled {
        return Err(unsupported("<vcpu id='0'> is on always"));
    }
    if first.hotpluggable == Some(true) {
        return Err(unsupported("<vcpu id='0'> takes no hotpluggable='yes'"));
    }
    if first.order > 1 {
        return Err(unsupported(format_args!(
            "<vcpu id='0'> is the first: order='{}' is not",
            first.order
        )));
    }
    let ordered = first.order != 0;
    let mut before = first;
    for state in rest {
        if state.enabled && (state.order != 0) != ordered {
            return Err(unsupported(
                "<vcpus> says 'order' for some that are on: for all or for none",
            ));
        }
        if state.hotpluggable == Some(false) {
            if before.hotpluggable == Some(true) {
                return Err(unsupported(
                    "online non-hotpluggable vcpus need to be clustered prior to hotpluggable ones",
                ));
            }
            if before.order > state.order {
                return Err(unsupported(format_args!(
                    "<vcpu> with hotpluggable='no' come in the order of their ids, and {} does not",
                    state.id
                )));
            }
        }
        before = state;
    }
    Ok(())
}

fn cpu_details(domain: &mut Domain, guest: Guest<'_>) -> Result<()> {
    let Some(cpu) = &mut domain.cpu else { return Ok(()) };
    let lengths = cpu
        .features
        .iter()
        .any(|feature| feature.name != "sve" && feature.name.starts_with("sve"));
    if lengths {
        match cpu.features.iter_mut().find(|feature| feature.name == "sve") {
            Some(feature)
                if matches!(
                    feature.policy,
                    CpuFeaturePolicy::Disable | CpuFeaturePolicy::Forbid
                ) =>
            {
                return Err(unsupported(
                    "<feature name='sve'> is off, and lengths of its vectors are on",
                ));
            }
            Some(feature) => feature.policy = CpuFeaturePolicy::Require,
            None => cpu.features.push(CpuFeature {
                policy: CpuFeaturePolicy::Require,
                name: "sve".to_owned(),
            }),
        }
    }
    if domain.id.is_none() && cpu.mode == CpuMode::HostPassthrough && cpu.migratable.is_none() {
        if guest.caps.has(Flag::CpuMigratable) {
            cpu.migratable = Some(true);
        } else if guest.arch.is_x86() {
            cpu.migratable = Some(false);
        }
    }
    if cpu.mode == CpuMode::Custom && cpu.model_name().is_none() {
        return Ok(());
    }
    let check = match cpu.mode {
        CpuMode::HostPassthrough | CpuMode::Maximum => CpuCheck::None,
        CpuMode::HostModel => CpuCheck::Partial,
        CpuMode::Custom if guest.accel == Accel::Tcg => CpuCheck::None,
        CpuMode::Custom => CpuCheck::Partial,
    };
    cpu.check.get_or_insert(check);
    Ok(())
}

fn check_smm_memory(domain: &Domain, guest: Guest<'_>) -> Result<()> {
    let smm = domain.features.as_ref().and_then(|features| features.smm);
    let Some(size) = smm.filter(|smm| smm.on).and_then(|smm| smm.tseg) else {
        return Ok(());
    };
    if !machine(domain, guest.arch).is_q35() {
        return Err(unsupported("<tseg> is for machine 'q35' only"));
    }
    if !guest.caps.has(Flag::MchExtendedTsegMbytes) {
        return Err(unsupported("this emulator has no <tseg>"));
    }
    if size % (1 << 20) != 0 {
        return Err(VirtError::new(
            ErrorCode::CONFIG_UNSUPPORTED,
            format_args!("<tseg> is {size} bytes: expected whole MiB"),
        ));
    }
    Ok(())
}

/// Memory that can grow belongs to a cell; CPUs that belong to none belong to the first.
fn numa(domain: &mut Domain, guest: Guest<'_>, flags: NormalizeFlags) -> Result<()> {
    use virt_conf::domain::memory::MemoryModel;
    let most = domain.vcpus.max;
    let cells = domain
        .cpu
        .as_ref()
        .and_then(|cpu| cpu.numa.as_ref())
        .map_or(0, |numa| numa.cells.len());
    let grows = domain.max_memory.is_some();
    if cells == 0 {
        let fresh = flags.contains(NormalizeFlags::ABI_UPDATE);
        if !fresh || !grows || machine(domain, guest.arch).is_s390_ccw() {
            return Ok(());
        }
        let mut memory = domain.memory.size;
        for module in &mut domain.devices.memory {
            memory = memory.checked_sub(module.target.size).ok_or_else(|| {
                let what = format!(
                    "memory devices have more than the {} KiB of <memory>",
                    domain.memory.size
                );
                VirtError::new(ErrorCode::XML_ERROR, what)
            })?;
            if matches!(
                module.model,
                MemoryModel::Dimm | MemoryModel::Nvdimm | MemoryModel::VirtioMem
            ) {
                module.target.node.get_or_insert(0);
            }
        }
        let cpu = domain.cpu.get_or_insert_with(Box::<Cpu>::default);
        let cell = NumaCell {
            id: Some(0),
            memory,
            ..NumaCell::default()
        };
        cpu.numa = Some(Numa {
            cells: vec![cell],
            ..Numa::default()
        });
    }
    let Some(numa) = domain.cpu.as_mut().and_then(|cpu| cpu.numa.as_mut()) else {
        return Ok(());
    };
    let count: usize = numa
        .cells
        .iter()
        .filter_map(|cell| cell.cpus.as_ref())
        .map(|set| set.0.count())
        .sum();
    if count < most as usize {
        let mut rest = Bitmap::new(most as usize);
        rest.set_all();
        for cell in numa.cells.iter().skip(1) {
            if let Some(cpus) = &cell.cpus {
                rest.subtract(&cpus.0);
            }
        }
        if let Some(first) = numa.cells.first_mut() {
            first.cpus = Some(CpuSet(rest));
        }
    }
    Ok(())
}

/// The sound back end that a guest with such displays has unless it says one.
pub(crate) fn implied_audio(
    graphics: &[Graphics],
    config: &DriverConfig,
    environment: &[(String, String)],
) -> Result<Option<Audio>> {
    let (mut add, mut passes, mut spice) = (false, false, false);
    for one in graphics {
        match one {
            Graphics::Vnc(_) => (add, passes, spice) = (true, config.vnc_allow_host_audio, false),
            Graphics::Spice(_) => (add, passes, spice) = (true, false, true),
            Graphics::Sdl(_) => (add, passes) = (true, true),
            _ => {}
        }
    }
    if graphics.is_empty() {
        (add, passes) = (true, config.nographics_allow_host_audio);
    }
    if !add {
        return Ok(None);
    }
    let set = |name: &str| {
        let found = environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let (input, output, timer_period) = (None, None, 0);
    let backend = if passes {
        let (input, output) = (None, None);
        match set("QEMU_AUDIO_DRV") {
            None => return Ok(None),
            Some("none") => AudioBackend::None {
                timer_period,
                input: None,
                output: None,
            },
            Some("alsa") => AudioBackend::Alsa {
                timer_period,
                input,
                output,
            },
            Some("coreaudio") => AudioBackend::Coreaudio {
                timer_period,
                input: None,
                output: None,
            },
            Some("jack") => AudioBackend::Jack {
                timer_period,
                input: None,
                output: None,
            },
            Some("oss") => AudioBackend::Oss {
                timer_period,
                try_mmap: None,
                exclusive: None,
                dsp_policy: None,
                input: None,
                output: None,
            },
            Some("pa") => AudioBackend::Pulseaudio {
                timer_period,
                server_name: None,
                input: None,
                output: None,
            },
            Some("sdl") => {
                let driver = set("SDL_AUDIODRIVER")
                    .map(|name| {
                        let known = SdlAudioDriver::ALL
                            .iter()
                            .copied()
                            .find(|driver| driver.as_str() == name);
                        known.ok_or_else(|| unsupported(format_args!("Unknown SDL_AUDIODRIVER value {name}")))
                    })
                    .transpose()?;
                AudioBackend::Sdl {
                    timer_period,
                    driver,
                    input: None,
                    output: None,
                }
            }
            Some("spice") => AudioBackend::Spice {
                timer_period,
                input: None,
                output: None,
            },
            Some("wav") => AudioBackend::File {
                timer_period,
                path: None,
                input: None,
                output: None,
            },
            Some(other) => return Err(unsupported(format_args!("Unknown QEMU_AUDIO_DRV value {other}"))),
        }
    } else if spice {
        AudioBackend::Spice {
            timer_period,
            input,
            output,
        }
    } else {
        AudioBackend::None {
            timer_period,
            input,
            output,
        }
    };
    Ok(Some(Audio { id: 1, backend }))
}
