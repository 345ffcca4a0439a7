//! `<domainCapabilities>`: what a guest of one emulator, machine and type can have.
//!
//! Models of processors are those that QEMU tells and the [catalogue](virt_conf::cpu_models) knows.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use virt_conf::cpu::{CpuFeaturePolicy, CpuMaxPhysAddr, CpuMaxPhysAddrMode, CpuMode};
use virt_conf::cpu_models;
use virt_util::arch::Arch;
use virt_util::xml::{Writer, XmlElement as _, XmlFlags};

use super::host_model::HostProcessor;
use super::{Accel, CpuModel, Flag, QemuCaps};
use crate::firmware::Supported;
use crate::machine::MachineKind;

/// What the document is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The emulator.
    pub emulator: &'a str,
    /// Architecture of the guest.
    pub arch: Arch,
    /// Who executes it.
    pub accel: Accel,
    /// Full name of the machine type.
    pub machine: &'a str,
}

/// Facts of the host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Architecture of the host.
    pub arch: Arch,
    /// Its processor.
    pub processor: Arc<HostProcessor>,
    /// What the machine can boot with.
    pub firmware: Supported,
    /// Images of firmware that exist.
    pub loaders: Vec<String>,
    /// PCI devices can be handed to guests.
    pub vfio: bool,
    /// Versions of TPM that the emulator of TPMs can be; `None` without one.
    pub swtpm: Option<Vec<&'static str>>,
    /// The host's model is told without features that QEMU calls better to avoid.
    pub without_deprecated: bool,
    /// The program is there that shows a guest's display by RDP.
    pub rdp: bool,
    /// Guests that AMD's processor can encrypt.
    pub sev_guests: SevGuests,
    /// Most virtual processors under KVM; 0 if not known.
    pub kvm_max_cpus: u32,
}

/// How many guests AMD's processor can encrypt at once: each needs a number, and has it from one of two ranges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SevGuests {
    /// Those whose memory alone is encrypted.
    pub plain: u32,
    /// Those whose registers are encrypted too.
    pub encrypted_state: u32,
}

impl SevGuests {
    /// From registers ecx and edx of CPUID leaf 0x8000001f: the highest number, and the lowest of plain guests.
    pub fn from_cpuid(highest: u32, lowest_plain: u32) -> Self {
        if highest == 0 || lowest_plain == 0 {
            return Self::default();
        }
        Self {
            plain: highest.saturating_sub(lowest_plain).saturating_add(1),
            encrypted_state: lowest_plain - 1,
        }
    }
}

/// The document.
pub fn format(caps: &QemuCaps, subject: &Subject<'_>, facts: &Facts) -> String {
    let mut w = Writer::new(XmlFlags::empty());
    w.start("domainCapabilities");
    w.text_element("path", subject.emulator);
    w.text_element("domain", subject.accel.domain_type());
    w.text_element("machine", subject.machine);
    w.text_element("arch", subject.arch.name());
    let mut max = caps.machine_max_cpus(subject.accel, subject.machine);
    if subject.accel == Accel::Kvm && facts.kvm_max_cpus > 0 {
        max = max.min(facts.kvm_max_cpus);
    }
    if max > 0 {
        w.start("vcpu");
        w.attribute("max", &max.to_string());
        w.end("vcpu");
    }
    simple(&mut w, "iothreads", true);
    os(&mut w, facts);
    cpu(&mut w, caps, subject, facts);
    memory_backing(&mut w, caps);
    w.start("devices");
    devices(&mut w, caps, subject, facts);
    w.end("devices");
    features(&mut w, caps, subject, facts);
    w.end("domainCapabilities");
    w.finish()
}

fn simple(w: &mut Writer, name: &str, supported: bool) {
    w.start(name);
    w.attribute("supported", if supported { "yes" } else { "no" });
    w.end(name);
}

/// A list of values, each with whether it holds.
fn choices(w: &mut Writer, name: &str, values: &[(&str, bool)]) {
    w.start("enum");
    w.attribute("name", name);
    for (value, _) in values.iter().filter(|(_, holds)| *holds) {
        w.text_element("value", value);
    }
    w.end("enum");
}

type Lists<'a> = [(&'a str, &'a [(&'a str, bool)])];

/// Something that is supported, with lists of what it can be.
fn supported(w: &mut Writer, name: &str, lists: &Lists<'_>) {
    w.start(name);
    w.attribute("supported", "yes");
    w.open_body();
    for (list, values) in lists {
        choices(w, list, values);
    }
    w.end(name);
}

fn os(w: &mut Writer, facts: &Facts) {
    w.start("os");
    w.attribute("supported", "yes");
    choices(
        w,
        "firmware",
        &[("bios", facts.firmware.bios), ("efi", facts.firmware.efi)],
    );
    w.start("loader");
    w.attribute("supported", "yes");
    for image in &facts.loaders {
        w.text_element("value", image);
    }
    choices(w, "type", &[("rom", true), ("pflash", true)]);
    choices(w, "readonly", &[("yes", true), ("no", true)]);
    choices(w, "secure", &[("yes", facts.firmware.secure), ("no", true)]);
    w.end("loader");
    w.end("os");
}

fn cpu(w: &mut Writer, caps: &QemuCaps, subject: &Subject<'_>, facts: &Facts) {
    let host = caps.host_models(facts.arch, &facts.processor, subject.accel);
    let supports =
        |mode| caps.supports_cpu_mode(facts.arch, subject.accel, mode, subject.machine, host.as_ref());
    w.start("cpu");
    let migratable = [("on", caps.has(Flag::CpuMigratable)), ("off", true)];
    mode(
        w,
        "host-passthrough",
        "hostPassthroughMigratable",
        supports(CpuMode::HostPassthrough),
        &migratable,
    );
    mode(
        w,
        "maximum",
        "maximumMigratable",
        supports(CpuMode::Maximum),
        &[("on", true), ("off", true)],
    );
    w.start("mode");
    w.attribute("name", "host-model");
    let model = host.as_ref().filter(|_| supports(CpuMode::HostModel));
    w.attribute("supported", if model.is_some() { "yes" } else { "no" });
    if let Some(host) = model {
        let mut model = host.reported.clone();
        if host.address_bits > 0 {
            model.max_phys_addr = Some(CpuMaxPhysAddr {
                mode: CpuMaxPhysAddrMode::Passthrough,
                bits: None,
                limit: Some(host.address_bits),
            });
        }
        if facts.without_deprecated
            && let Some(info) = &caps.accel(subject.accel).host_cpu
        {
            for name in &info.deprecated {
                model.set_feature(name, CpuFeaturePolicy::Disable);
            }
        }
        model.write_content(w);
    }
    w.end("mode");
    let models = custom_models(caps, subject, supports(CpuMode::Custom));
    w.start("mode");
    w.attribute("name", "custom");
    w.attribute("supported", if models.is_empty() { "no" } else { "yes" });
    for model in models {
        custom_model(w, model, caps.arch.unwrap_or(subject.arch));
    }
    w.end("mode");
    w.end("cpu");
}

/// The models of QEMU that the catalogue knows too, where it knows any, by name.
fn custom_models<'a>(caps: &'a QemuCaps, subject: &Subject<'_>, supported: bool) -> Vec<&'a CpuModel> {
    let Some(all) = caps
        .accel(subject.accel)
        .cpu_models
        .as_deref()
        .filter(|_| supported)
    else {
        return Vec::new();
    };
    let Ok(known) = cpu_models::models(subject.arch) else {
        return Vec::new();
    };
    let known: Option<HashSet<&str>> = known.map(|names| names.into_iter().collect());
    // "host" is a mode.
    let mut models: Vec<&CpuModel> = all
        .iter()
        .filter(|model| model.name != "host")
        .filter(|model| {
            known
                .as_ref()
                .is_none_or(|known| known.contains(model.name.as_str()))
        })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

fn mode(w: &mut Writer, name: &str, list: &str, supported: bool, values: &[(&str, bool)]) {
    w.start("mode");
    w.attribute("name", name);
    w.attribute("supported", if supported { "yes" } else { "no" });
    if supported {
        choices(w, list, values);
    }
    w.end("mode");
}

fn custom_model(w: &mut Writer, model: &CpuModel, arch: Arch) {
    w.start("model");
    let usable = match model.usable {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    w.attribute("usable", usable);
    if model.deprecated {
        w.attribute("deprecated", "yes");
    }
    let vendor = cpu_models::vendor_of(arch, &model.name);
    w.attribute("vendor", vendor.unwrap_or("unknown"));
    if let Some(canonical) = cpu_models::canonical_name(arch, &model.name) {
        w.attribute("canonical", canonical);
    }
    w.text(&model.name);
    w.end("model");
    if !model.blockers.is_empty() {
        w.start("blockers");
        w.attribute("model", &model.name);
        let blockers: BTreeSet<&String> = model.blockers.iter().collect();
        for feature in blockers {
            w.start("feature");
            w.attribute("name", feature);
            w.end("feature");
        }
        w.end("blockers");
    }
}

fn memory_backing(w: &mut Writer, caps: &QemuCaps) {
    let memfd = caps.has(Flag::ObjectMemoryMemfd);
    let kinds = [("file", true), ("anonymous", true), ("memfd", memfd)];
    supported(w, "memoryBacking", &[("sourceType", &kinds)]);
}

fn devices(w: &mut Writer, caps: &QemuCaps, subject: &Subject<'_>, facts: &Facts) {
    let machine = MachineKind::new(subject.machine, subject.arch);
    let has = |flag| caps.has(flag);
    let floppy = !machine.is_pseries();
    let transitional = has(Flag::VirtioPciTransitional);
    let virtio = |there: bool| {
        [
            ("virtio", there),
            ("virtio-transitional", there && transitional),
            ("virtio-non-transitional", there && transitional),
        ]
    };
    let kinds = [("disk", true), ("cdrom", true), ("floppy", floppy), ("lun", true)];
    let buses = [
        ("ide", machine.has_builtin_ide()),
        ("fdc", floppy),
        ("scsi", true),
        ("virtio", true),
        ("usb", has(Flag::DeviceUsbStorage)),
        ("sata", has(Flag::Ich9Ahci)),
    ];
    supported(
        w,
        "disk",
        &[("diskDevice", &kinds), ("bus", &buses), ("model", &virtio(true))],
    );
    let displays = [
        ("sdl", has(Flag::Sdl)),
        ("vnc", has(Flag::Vnc)),
        ("rdp", has(Flag::DisplayDbus) && facts.rdp),
        ("spice", has(Flag::Spice)),
        ("egl-headless", has(Flag::EglHeadless)),
        ("dbus", has(Flag::DisplayDbus)),
    ];
    supported(w, "graphics", &[("type", &displays)]);
    let cards = [
        ("vga", has(Flag::DeviceVga)),
        ("cirrus", has(Flag::DeviceCirrusVga)),
        ("vmvga", has(Flag::DeviceVmwareSvga)),
        ("qxl", has(Flag::DeviceQxl)),
        ("virtio", has(Flag::DeviceVirtioGpu)),
        ("none", true),
        ("bochs", has(Flag::DeviceBochsDisplay)),
        ("ramfb", has(Flag::DeviceRamfb)),
    ];
    supported(w, "video", &[("modelType", &cards)]);
    hostdev(w, caps, facts);
    let backends = [
        ("random", has(Flag::ObjectRngRandom)),
        ("egd", has(Flag::ObjectRngEgd)),
        ("builtin", has(Flag::ObjectRngBuiltin)),
    ];
    supported(
        w,
        "rng",
        &[
            ("model", &virtio(has(Flag::DeviceVirtioRng))),
            ("backendModel", &backends),
        ],
    );
    let drivers = [
        ("path", true),
        ("handle", true),
        ("virtiofs", has(Flag::DeviceVhostUserFs)),
    ];
    supported(w, "filesystem", &[("driverType", &drivers)]);
    tpm(w, caps, facts);
    if has(Flag::UsbRedir) {
        supported(w, "redirdev", &[("bus", &[("usb", true)])]);
    } else {
        simple(w, "redirdev", false);
    }
    let channels = [("pty", true), ("unix", true), ("spicevmc", has(Flag::Spice))];
    supported(w, "channel", &[("type", &channels)]);
    let crypto = [("virtio", has(Flag::DeviceVirtioCrypto))];
    let backends = [("builtin", true), ("lkcf", has(Flag::ObjectCryptoLkcf))];
    let lists: &Lists<'_> = &[
        ("model", &crypto),
        ("type", &[("qemu", true)]),
        ("backendModel", &backends),
    ];
    supported(w, "crypto", lists);
    let backends = [
        ("default", has(Flag::NetdevUser)),
        ("passt", has(Flag::NetdevStream)),
    ];
    supported(w, "interface", &[("backendType", &backends)]);
    let s390 = matches!(caps.arch, Some(Arch::S390 | Arch::S390x));
    let models = [
        ("isa", has(Flag::DevicePanic)),
        ("pseries", machine.is_pseries()),
        ("hyperv", caps.arch.is_some_and(Arch::is_x86)),
        ("s390", s390),
        ("pvpanic", has(Flag::DevicePanicPci)),
    ];
    if models.iter().any(|(_, holds)| *holds) {
        supported(w, "panic", &[("model", &models)]);
    } else {
        simple(w, "panic", false);
    }
}

fn hostdev(w: &mut Writer, caps: &QemuCaps, facts: &Facts) {
    let usb = [
        Flag::Piix3UsbUhci,
        Flag::Piix4UsbUhci,
        Flag::UsbEhci,
        Flag::Ich9UsbEhci1,
        Flag::Vt82c686bUsbUhci,
        Flag::PciOhci,
        Flag::NecUsbXhci,
        Flag::DeviceQemuXhci,
    ]
    .into_iter()
    .any(|flag| caps.has(flag));
    let vfio = facts.vfio && caps.has(Flag::DeviceVfioPci);
    let policies = [
        ("default", true),
        ("mandatory", true),
        ("requisite", true),
        ("optional", true),
    ];
    let lists: &Lists<'_> = &[
        ("mode", &[("subsystem", true)]),
        ("startupPolicy", &policies),
        ("subsysType", &[("usb", usb), ("pci", true), ("scsi", true)]),
        ("capsType", &[]),
        ("pciBackend", &[("default", vfio), ("vfio", vfio)]),
    ];
    supported(w, "hostdev", lists);
}

fn tpm(w: &mut Writer, caps: &QemuCaps, facts: &Facts) {
    let models = [
        ("tpm-tis", caps.has(Flag::DeviceTpmTis)),
        ("tpm-crb", caps.has(Flag::DeviceTpmCrb)),
        ("tpm-spapr", caps.has(Flag::DeviceTpmSpapr)),
        ("spapr-tpm-proxy", caps.has(Flag::DeviceSpaprTpmProxy)),
    ];
    // A back end alone is of no use.
    if models.iter().all(|(_, holds)| !holds) {
        return simple(w, "tpm", false);
    }
    let emulator = facts.swtpm.is_some() && caps.has(Flag::DeviceTpmEmulator);
    let backends = [
        ("passthrough", caps.has(Flag::DeviceTpmPassthrough)),
        ("emulator", emulator),
        ("external", emulator),
    ];
    let versions: Vec<(&str, bool)> = facts
        .swtpm
        .iter()
        .flatten()
        .map(|version| (*version, true))
        .collect();
    let mut lists: Vec<(&str, &[(&str, bool)])> = vec![("model", &models), ("backendModel", &backends)];
    if !versions.is_empty() {
        lists.push(("backendVersion", &versions));
    }
    supported(w, "tpm", &lists);
}

fn features(w: &mut Writer, caps: &QemuCaps, subject: &Subject<'_>, facts: &Facts) {
    let machine = MachineKind::new(subject.machine, subject.arch);
    w.start("features");
    let gic = |version: i32| {
        machine.is_arm_virt()
            && caps.gic.iter().any(|gic| {
                gic.version == version
                    && match subject.accel {
                        Accel::Kvm => gic.kernel,
                        Accel::Tcg => gic.emulated,
                        Accel::Hvf => false,
                    }
            })
    };
    if gic(2) || gic(3) {
        supported(w, "gic", &[("version", &[("2", gic(2)), ("3", gic(3))])]);
    } else {
        simple(w, "gic", false);
    }
    simple(w, "vmcoreinfo", caps.has(Flag::DeviceVmcoreinfo));
    simple(w, "genid", caps.has(Flag::DeviceVmgenid));
    simple(w, "backingStoreInput", true);
    simple(w, "backup", true);
    simple(w, "async-teardown", caps.has(Flag::RunWithAsyncTeardown));
    if matches!(caps.arch, Some(Arch::S390 | Arch::S390x)) {
        let secure = caps.has(Flag::MachineConfidentalGuestSupport)
            && caps.has(Flag::S390PvGuest)
            && caps.kvm_supports_secure_guest;
        simple(w, "s390-pv", secure);
    }
    let pc = machine.is_i440fx() || machine.is_q35() || machine.is_xenfv() || machine.is_isapc();
    simple(w, "ps2", pc && caps.has(Flag::MachineI8042Opt));
    sev(w, caps, facts.sev_guests);
    sgx(w, caps);
    if let Some(names) = &caps.hyperv {
        let names: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), true)).collect();
        supported(w, "hyperv", &[("features", &names)]);
    }
    let kinds = [
        ("sev", caps.has(Flag::SevGuest)),
        ("sev-snp", caps.has(Flag::SevSnpGuest)),
        (
            "s390-pv",
            caps.has(Flag::S390PvGuest) && caps.has(Flag::MachineConfidentalGuestSupport),
        ),
    ];
    if kinds.iter().any(|(_, holds)| *holds) {
        supported(w, "launchSecurity", &[("sectype", &kinds)]);
    } else {
        simple(w, "launchSecurity", false);
    }
    w.end("features");
}

fn sev(w: &mut Writer, caps: &QemuCaps, guests: SevGuests) {
    let Some(sev) = &caps.sev else {
        return simple(w, "sev", false);
    };
    w.start("sev");
    w.attribute("supported", "yes");
    w.text_element("cbitpos", &sev.cbitpos.to_string());
    w.text_element("reducedPhysBits", &sev.reduced_phys_bits.to_string());
    w.text_element("maxGuests", &guests.plain.to_string());
    w.text_element("maxESGuests", &guests.encrypted_state.to_string());
    if let Some(id) = &sev.cpu0_id {
        w.text_element("cpu0Id", id);
    }
    w.end("sev");
}

fn sgx(w: &mut Writer, caps: &QemuCaps) {
    let Some(sgx) = &caps.sgx else {
        return simple(w, "sgx", false);
    };
    let word = |on: bool| if on { "yes" } else { "no" };
    w.start("sgx");
    w.attribute("supported", "yes");
    w.text_element("flc", word(sgx.flc));
    w.text_element("sgx1", word(sgx.sgx1));
    w.text_element("sgx2", word(sgx.sgx2));
    w.start("section_size");
    w.attribute("unit", "KiB");
    w.text(&sgx.section_size.to_string());
    w.end("section_size");
    if !sgx.sections.is_empty() {
        w.start("sections");
        for (node, size) in &sgx.sections {
            w.start("section");
            w.attribute("node", &node.to_string());
            w.attribute("size", &size.to_string());
            w.attribute("unit", "KiB");
            w.end("section");
        }
        w.end("sections");
    }
    w.end("sgx");
}
