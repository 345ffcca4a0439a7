//! What follows from the name of a machine type.

use virt_util::Arch;

/// A machine type by its (full or short) name, and its architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineKind<'a> {
    name: &'a str,
    arch: Arch,
}

impl<'a> MachineKind<'a> {
    /// The kind of the machine called `name`.
    pub fn new(name: &'a str, arch: Arch) -> Self {
        Self { name, arch }
    }

    fn is_named(self, family: &str) -> bool {
        self.name == family
            || self
                .name
                .strip_prefix(family)
                .is_some_and(|rest| rest.starts_with('-'))
    }

    /// PC with a PCI Express root.
    pub fn is_q35(self) -> bool {
        self.arch.is_x86() && (self.name == "q35" || self.name.starts_with("pc-q35-"))
    }

    /// PC with a conventional PCI root.
    pub fn is_i440fx(self) -> bool {
        self.arch.is_x86()
            && (self.name == "pc"
                || ["pc-0.", "pc-1.", "pc-i440fx-", "rhel"]
                    .iter()
                    .any(|family| self.name.starts_with(family)))
    }

    /// PC without PCI.
    pub fn is_isapc(self) -> bool {
        self.name == "isapc"
    }

    /// Machine for Xen guests.
    pub fn is_xenfv(self) -> bool {
        self.arch.is_x86() && self.is_named("xenfv")
    }

    /// IBM Z with channel devices.
    pub fn is_s390_ccw(self) -> bool {
        self.arch.is_s390() && self.name.starts_with("s390-ccw")
    }

    /// ARM without a model in hardware.
    pub fn is_arm_virt(self) -> bool {
        matches!(self.arch, Arch::Armv6l | Arch::Armv7l | Arch::Aarch64) && self.is_named("virt")
    }

    /// RISC-V without a model in hardware.
    pub fn is_riscv_virt(self) -> bool {
        self.arch.is_riscv() && self.is_named("virt")
    }

    /// LoongArch without a model in hardware.
    pub fn is_loongarch_virt(self) -> bool {
        self.arch.is_loongarch() && self.is_named("virt")
    }

    /// IBM POWER.
    pub fn is_pseries(self) -> bool {
        self.arch.is_ppc64() && self.is_named("pseries")
    }

    /// MIPS Malta.
    pub fn is_malta(self) -> bool {
        self.arch.is_mips() && self.name == "malta"
    }

    /// The first IDE controller is part of the machine.
    pub fn has_builtin_ide(self) -> bool {
        self.is_i440fx() || matches!(self.name, "malta" | "sun4u" | "g3beige")
    }

    /// A SCSI controller is part of the machine.
    pub fn has_builtin_esp(self) -> bool {
        match self.arch {
            Arch::Sparc => true,
            Arch::M68k => self.name == "q800",
            Arch::Mips64 | Arch::Mips64el => {
                matches!(self.name, "magnum" | "pica61")
            }
            _ => false,
        }
    }

    /// Whether the machine has PCI at all.
    pub fn supports_pci(self) -> bool {
        if self.arch.is_arm() {
            return self.is_arm_virt() || self.name == "versatilepb";
        }
        !self.arch.is_riscv() || self.is_riscv_virt()
    }

    /// Whether buses behind the first have names of their own.
    pub fn supports_pci_multibus(self) -> bool {
        self.arch.is_x86()
            || self.arch.is_ppc()
            || self.arch.is_s390()
            || self.is_arm_virt()
            || self.is_loongarch_virt()
            || self.is_riscv_virt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        let kind = |name| MachineKind::new(name, Arch::X86_64);
        assert!(kind("q35").is_q35() && kind("pc-q35-10.0").is_q35() && !kind("pc").is_q35());
        assert!(
            kind("pc").is_i440fx() && kind("pc-i440fx-10.0").is_i440fx() && !kind("pc-q35-1").is_i440fx()
        );
        let virt = |name| MachineKind::new(name, Arch::Aarch64).is_arm_virt();
        assert!(virt("virt") && virt("virt-9.1") && !virt("virtual") && !kind("virt").is_arm_virt());
    }
}
