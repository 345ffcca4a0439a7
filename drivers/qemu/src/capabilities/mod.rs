//! What a QEMU binary can do.
//!
//! [`probe()`](probe::probe) turns a QMP conversation with `-machine none` into [`QemuCaps`]; the conversation may be
//! live or recorded ([`recorded`]). [`cache_xml`] is the file format in which libvirt keeps the result, [`store`] the
//! cache itself; [`host_model`] is the host's CPU as a model for guests. The vocabulary of flags is in [`flags`]; [`qapi`] answers questions to QEMU's protocol schema.

pub mod cache_xml;
pub mod domain_document;
mod flag_table;
pub mod flags;
pub mod host_model;
pub mod probe;
mod probe_tables;
pub mod qapi;
pub mod recorded;
pub mod store;

use virt_util::Arch;

pub use flags::{Flag, FlagSet};
pub use store::{Store, find_emulator};

/// The libvirt release whose behaviour this driver has, as libvirt counts versions.
pub const SELF_VERSION: u32 = 11_003_000;

/// The oldest QEMU that can be driven, as major, minor, micro.
pub const OLDEST_QEMU: (u32, u32, u32) = (6, 2, 0);

/// How guests are executed: libvirt's domain type as far as it concerns QEMU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Accel {
    /// The Linux kernel's KVM.
    Kvm,
    /// macOS' hypervisor framework.
    Hvf,
    /// QEMU's own translator.
    Tcg,
}

impl Accel {
    /// QEMU's name, as in `-accel` and in the cache file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "tcg",
        }
    }

    /// The value of `<domain type='…'>`.
    pub const fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "qemu",
        }
    }

    /// The accelerator of a `<domain type='…'>`; `None` for a type that QEMU does not serve.
    pub fn from_domain_type(name: &str) -> Option<Self> {
        match name {
            "kvm" => Some(Self::Kvm),
            "hvf" => Some(Self::Hvf),
            "qemu" => Some(Self::Tcg),
            _ => None,
        }
    }

    /// Whether the host's processor executes the guest.
    pub const fn is_hardware(self) -> bool {
        !matches!(self, Self::Tcg)
    }
}

/// Everything known about one QEMU binary.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QemuCaps {
    /// Path of the binary.
    pub binary: String,
    /// Change time of the binary when it was probed, in seconds since the epoch.
    pub binary_ctime: i64,
    /// Modification time of QEMU's module folder; 0 if there is none.
    pub module_dir_mtime: i64,
    /// Change time of the program that probed.
    pub self_ctime: i64,
    /// Version of the program that probed, as libvirt counts (major * 1,000,000 + minor * 1,000 + micro).
    pub self_version: u32,
    /// The flags.
    pub flags: FlagSet,
    /// Version of QEMU (major * 1,000,000 + minor * 1,000 + micro).
    pub version: u32,
    /// The vendor's package version, possibly empty.
    pub package: Option<String>,
    /// Architecture of the guests; `None` only before a probe.
    pub arch: Option<Arch>,
    /// Host facts that make the result stale when they change; set only if there is hardware acceleration.
    pub host: HostFingerprint,
    /// What holds under KVM.
    pub kvm: AccelCaps,
    /// What holds under HVF.
    pub hvf: AccelCaps,
    /// What holds under TCG.
    pub tcg: AccelCaps,
    /// ARM interrupt controllers.
    pub gic: Vec<Gic>,
    /// AMD SEV.
    pub sev: Option<Sev>,
    /// Intel SGX.
    pub sgx: Option<Sgx>,
    /// Hyper-V enlightenments: libvirt's names, in libvirt's order. `None` if QEMU told nothing.
    pub hyperv: Option<Vec<String>>,
    /// The kernel lets KVM guests run KVM guests.
    pub kvm_supports_nesting: bool,
    /// The kernel supports confidential guests.
    pub kvm_supports_secure_guest: bool,
}

/// What a cache entry of an accelerated binary is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HostFingerprint {
    /// Version of the processor's microcode, 0 if unknown.
    pub microcode_version: u32,
    /// Vendor, family, model, stepping and name of the host's processor.
    pub cpu_signature: Option<String>,
    /// Release and version of the kernel.
    pub kernel_version: Option<String>,
    /// The host's CPUID data as an XML element, kept as read.
    pub cpu_data: Option<String>,
}

/// What may differ between accelerators.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AccelCaps {
    /// The model that `host` (or `max` under TCG) expands to.
    pub host_cpu: Option<CpuModelInfo>,
    /// Processor models; `None` if the binary cannot list them.
    pub cpu_models: Option<Vec<CpuModel>>,
    /// Machine types, the preferred one first.
    pub machines: Vec<Machine>,
}

/// A machine type.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Machine {
    /// Full name, `pc-i440fx-10.0`.
    pub name: String,
    /// Short name, `pc`.
    pub alias: Option<String>,
    /// Largest number of virtual processors; 0 if unknown.
    pub max_cpus: u32,
    /// Processors can be plugged into a running guest.
    pub hotplug_cpus: bool,
    /// QEMU itself would choose it.
    pub qemu_default: bool,
    /// QOM type of the processor that it has without `-cpu`.
    pub default_cpu: Option<String>,
    /// The old `-numa mem=` is accepted.
    pub numa_mem_supported: bool,
    /// Id of the memory backend for the main memory.
    pub default_ram_id: Option<String>,
    /// QEMU discourages it.
    pub deprecated: bool,
    /// Whether it has ACPI; `None` if QEMU does not say.
    pub acpi: Option<bool>,
}

/// A processor model by name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CpuModel {
    /// libvirt's name.
    pub name: String,
    /// QOM type.
    pub type_name: Option<String>,
    /// Whether this host can run it; `None` if QEMU does not say.
    pub usable: Option<bool>,
    /// Features (libvirt's names) for which it is not usable.
    pub blockers: Vec<String>,
    /// QEMU discourages it.
    pub deprecated: bool,
}

/// A processor model in terms of its properties.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CpuModelInfo {
    /// Model that the properties are relative to.
    pub name: String,
    /// Whether the `migratable` marks of the properties mean something.
    pub migratability: bool,
    /// Properties by QEMU's names, in QEMU's order.
    pub properties: Vec<CpuProperty>,
    /// Features (QEMU's names) that are to be avoided; empty if QEMU does not say.
    pub deprecated: Vec<String>,
}

/// One property of a processor model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuProperty {
    /// QEMU's name.
    pub name: String,
    /// Its value.
    pub value: CpuValue,
    /// Whether a guest with it can migrate; `None` if unknown.
    pub migratable: Option<bool>,
}

/// Value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuValue {
    /// A switch.
    Bool(bool),
    /// A text.
    String(String),
    /// A number.
    Number(i64),
}

/// A version of ARM's interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    /// 2 or 3.
    pub version: i32,
    /// In the kernel.
    pub kernel: bool,
    /// In QEMU.
    pub emulated: bool,
}

/// AMD SEV of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sev {
    /// Platform Diffie-Hellman key, base64.
    pub pdh: String,
    /// Certificate chain, base64.
    pub cert_chain: String,
    /// Identity of the first processor, base64.
    pub cpu0_id: Option<String>,
    /// Position of the encryption bit in a page table entry.
    pub cbitpos: u32,
    /// Address bits lost when encryption is on.
    pub reduced_phys_bits: u32,
}

/// Intel SGX of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sgx {
    /// Flexible launch control.
    pub flc: bool,
    /// First instruction set.
    pub sgx1: bool,
    /// Second instruction set.
    pub sgx2: bool,
    /// Size of all sections in KiB.
    pub section_size: u64,
    /// Sections: NUMA node and size in KiB.
    pub sections: Vec<(u32, u64)>,
}

impl QemuCaps {
    /// Whether `flag` is set.
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether the binary has an accelerator on this host.
    pub fn has_hardware_accel(&self) -> bool {
        self.has(Flag::Kvm) || self.has(Flag::Hvf)
    }

    /// The accelerator that guests use unless they ask for another.
    pub fn preferred_accel(&self) -> Option<Accel> {
        [
            (Flag::Kvm, Accel::Kvm),
            (Flag::Hvf, Accel::Hvf),
            (Flag::Tcg, Accel::Tcg),
        ]
        .into_iter()
        .find(|(flag, _)| self.has(*flag))
        .map(|(_, accel)| accel)
    }

    /// Whether guests can run under `accel`.
    pub fn supports_accel(&self, accel: Accel) -> bool {
        self.has(match accel {
            Accel::Kvm => Flag::Kvm,
            Accel::Hvf => Flag::Hvf,
            Accel::Tcg => Flag::Tcg,
        })
    }

    /// What holds under `accel`.
    pub fn accel(&self, accel: Accel) -> &AccelCaps {
        match accel {
            Accel::Kvm => &self.kvm,
            Accel::Hvf => &self.hvf,
            Accel::Tcg => &self.tcg,
        }
    }

    pub(crate) fn accel_mut(&mut self, accel: Accel) -> &mut AccelCaps {
        match accel {
            Accel::Kvm => &mut self.kvm,
            Accel::Hvf => &mut self.hvf,
            Accel::Tcg => &mut self.tcg,
        }
    }

    /// Whether the binary runs guests of `arch`: its own, and those that its processors also execute.
    pub fn supports_arch(&self, arch: Arch) -> bool {
        self.arch == Some(arch)
            || matches!(
                (self.arch, arch),
                (Some(Arch::X86_64), Arch::I686)
                    | (Some(Arch::Aarch64), Arch::Armv7l)
                    | (Some(Arch::Armv7l), Arch::Armv6l)
                    | (Some(Arch::Ppc64), Arch::Ppc64le)
            )
    }

    /// The machine type called `name` (its full name).
    pub fn machine(&self, accel: Accel, name: &str) -> Option<&Machine> {
        self.accel(accel)
            .machines
            .iter()
            .find(|machine| machine.name == name)
    }

    /// The full name of a machine type that may be given by its alias; an unknown name is given back.
    pub fn canonical_machine<'a>(&'a self, accel: Accel, name: &'a str) -> &'a str {
        self.accel(accel)
            .machines
            .iter()
            .find(|machine| machine.alias.as_deref() == Some(name))
            .map_or(name, |machine| &machine.name)
    }

    /// The machine type that a guest gets which names none.
    pub fn preferred_machine(&self, accel: Accel) -> Option<&str> {
        self.accel(accel)
            .machines
            .first()
            .map(|machine| machine.name.as_str())
    }

    /// The largest number of virtual processors of a machine; 0 if unknown.
    pub fn machine_max_cpus(&self, accel: Accel, name: &str) -> u32 {
        self.accel(accel)
            .machines
            .iter()
            .find(|machine| machine.max_cpus != 0 && machine.name == name)
            .map_or(0, |machine| machine.max_cpus)
    }

    /// Name of the processor model that a machine has without `-cpu`.
    pub fn machine_default_cpu(&self, accel: Accel, name: &str) -> Option<&str> {
        let type_name = self.machine(accel, name)?.default_cpu.as_deref()?;
        let models = self.accel(accel).cpu_models.as_deref()?;
        models
            .iter()
            .find(|model| model.type_name.as_deref() == Some(type_name))
            .map(|model| model.name.as_str())
    }

    /// The processor model called `name`.
    pub fn cpu_model(&self, accel: Accel, name: &str) -> Option<&CpuModel> {
        self.accel(accel)
            .cpu_models
            .as_deref()?
            .iter()
            .find(|model| model.name == name)
    }

    /// Takes every alias out of the list of machine types: the alias becomes a machine of its own at the same place and
    /// the full name moves to the end. Nothing in a definition then depends on the newest version of a machine type.
    pub fn strip_machine_aliases(&mut self) {
        for accel in [Accel::Kvm, Accel::Hvf, Accel::Tcg] {
            let machines = &mut self.accel_mut(accel).machines;
            let mut full = Vec::new();
            for machine in machines.iter_mut() {
                if let Some(alias) = machine.alias.take() {
                    full.push(Machine {
                        qemu_default: false,
                        ..machine.clone()
                    });
                    machine.name = alias;
                }
            }
            machines.append(&mut full);
        }
    }
}

/// Whether guests of `guest` run on processors of `host`.
pub fn guest_is_native(host: Arch, guest: Arch) -> bool {
    host == guest
        || (host == Arch::X86_64 && guest == Arch::I686)
        || (host == Arch::Aarch64 && guest == Arch::Armv7l)
        || (host.is_ppc64() && guest.is_ppc64())
}

/// The architecture behind QEMU's name for a target.
pub fn arch_from_qemu(name: &str) -> Option<Arch> {
    match name {
        "i386" => Some(Arch::I686),
        "arm" => Some(Arch::Armv7l),
        "or1k" | "or32" => Some(Arch::Openrisc),
        _ => Arch::from_name(name),
    }
}

/// QEMU's name of a target, as in `qemu-system-…`.
pub fn arch_to_qemu(arch: Arch) -> &'static str {
    match arch {
        Arch::I686 => "i386",
        Arch::Armv6l | Arch::Armv7l => "arm",
        Arch::Openrisc => "or1k",
        _ => arch.name(),
    }
}

/// Names of processor features that libvirt and QEMU spell differently on x86: libvirt's, QEMU's.
const X86_FEATURES: &[(&str, &str)] = &[
    ("cmp_legacy", "cmp-legacy"),
    ("ds_cpl", "ds-cpl"),
    ("fxsr_opt", "fxsr-opt"),
    ("kvm_pv_eoi", "kvm-pv-eoi"),
    ("kvm_pv_unhalt", "kvm-pv-unhalt"),
    ("lahf_lm", "lahf-lm"),
    ("nodeid_msr", "nodeid-msr"),
    ("pclmuldq", "pclmulqdq"),
    ("perfctr_core", "perfctr-core"),
    ("perfctr_nb", "perfctr-nb"),
    ("tsc_adjust", "tsc-adjust"),
    (
        "vmx-invvpid-single-context-noglobals",
        "vmx-invept-single-context-noglobals",
    ),
    ("hv-vendor_id", "hv-vendor-id"),
    ("hv-emsr_bitmap", "hv-emsr-bitmap"),
    ("hv-xmm_input", "hv-xmm-input"),
];

/// QEMU's name of a processor feature.
pub fn cpu_feature_to_qemu(arch: Arch, name: &str) -> &str {
    X86_FEATURES
        .iter()
        .find(|(ours, _)| arch.is_x86() && *ours == name)
        .map_or(name, |(_, qemu)| qemu)
}

/// libvirt's name of a processor feature.
pub fn cpu_feature_from_qemu(arch: Arch, name: &str) -> &str {
    X86_FEATURES
        .iter()
        .find(|(_, qemu)| arch.is_x86() && *qemu == name)
        .map_or(name, |(ours, _)| ours)
}

/// The machine type that libvirt prefers for an architecture, whatever QEMU's default is.
pub fn preferred_machine_alias(arch: Arch) -> Option<&'static str> {
    Some(match arch {
        Arch::Alpha => "clipper",
        Arch::Armv6l => "integratorcp",
        Arch::Armv7l | Arch::Armv7b | Arch::Aarch64 | Arch::Loongarch64 => "virt",
        Arch::Cris => "axis-dev88",
        Arch::I686 | Arch::X86_64 => "pc",
        Arch::Lm32 => "lm32-evr",
        Arch::M68k => "mcf5208evb",
        Arch::Microblaze | Arch::Microblazeel => "petalogix-s3adsp1800",
        Arch::Mips | Arch::Mipsel | Arch::Mips64 | Arch::Mips64el => "malta",
        Arch::Openrisc => "or1k-sim",
        Arch::Ppc | Arch::Ppcle => "g3beige",
        Arch::Ppc64 | Arch::Ppc64le => "pseries",
        Arch::Ppcemb => "bamboo",
        Arch::Riscv32 | Arch::Riscv64 => "virt",
        Arch::S390x => "s390-ccw-virtio",
        Arch::Sh4 | Arch::Sh4eb => "shix",
        Arch::Sparc => "SS-5",
        Arch::Sparc64 => "sun4u",
        Arch::Unicore32 => "puv3",
        Arch::Xtensa | Arch::Xtensaeb => "sim",
        _ => return None,
    })
}
