//! Processor architectures by libvirt's names.

use std::fmt;
use std::str::FromStr;

use crate::{ErrorCode, VirtError};

macro_rules! architectures {
    ($($name:ident = $text:literal, $bits:literal, $endian:ident;)*) => {
        /// A processor architecture that libvirt has a name for. The order of variants is libvirt's.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Arch {
            $(#[doc = concat!("`", $text, "`, ", $bits, " bits.")] $name,)*
        }

        impl Arch {
            /// Every architecture in libvirt's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// libvirt's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Width of a pointer in bits: 32 or 64.
            pub const fn word_size(self) -> u32 {
                match self { $(Self::$name => $bits,)* }
            }

            /// Which end of a word comes first in memory.
            pub const fn endian(self) -> Endian {
                match self { $(Self::$name => Endian::$endian,)* }
            }
        }
    };
}

/// Byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

architectures! {
    Alpha = "alpha", 64, Big;
    Armv6l = "armv6l", 32, Little;
    Armv7l = "armv7l", 32, Little;
    Armv7b = "armv7b", 32, Big;
    Aarch64 = "aarch64", 64, Little;
    Cris = "cris", 32, Little;
    I686 = "i686", 32, Little;
    Ia64 = "ia64", 64, Little;
    Lm32 = "lm32", 32, Big;
    Loongarch64 = "loongarch64", 64, Little;
    M68k = "m68k", 32, Big;
    Microblaze = "microblaze", 32, Big;
    Microblazeel = "microblazeel", 32, Little;
    Mips = "mips", 32, Big;
    Mipsel = "mipsel", 32, Little;
    Mips64 = "mips64", 64, Big;
    Mips64el = "mips64el", 64, Little;
    Openrisc = "openrisc", 32, Big;
    Parisc = "parisc", 32, Big;
    Parisc64 = "parisc64", 64, Big;
    Ppc = "ppc", 32, Big;
    Ppcle = "ppcle", 32, Little;
    Ppc64 = "ppc64", 64, Big;
    Ppc64le = "ppc64le", 64, Little;
    Ppcemb = "ppcemb", 32, Big;
    Riscv32 = "riscv32", 32, Little;
    Riscv64 = "riscv64", 64, Little;
    S390 = "s390", 32, Big;
    S390x = "s390x", 64, Big;
    Sh4 = "sh4", 32, Little;
    Sh4eb = "sh4eb", 64, Big;
    Sparc = "sparc", 32, Big;
    Sparc64 = "sparc64", 64, Big;
    Unicore32 = "unicore32", 32, Little;
    X86_64 = "x86_64", 64, Little;
    Xtensa = "xtensa", 32, Little;
    Xtensaeb = "xtensaeb", 32, Big;
}

impl Arch {
    /// The architecture with libvirt's name `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|arch| arch.name() == name)
    }

    /// The architecture of the running kernel; `None` if libvirt has no name for it.
    pub fn host() -> Option<Self> {
        let uname = nix::sys::utsname::uname().ok()?;
        match uname.machine().to_str()? {
            "i386" | "i486" | "i586" => Some(Self::I686),
            "amd64" => Some(Self::X86_64),
            "arm64" => Some(Self::Aarch64),
            machine => Self::from_name(machine),
        }
    }

    /// x86 with 32 or 64 bits.
    pub const fn is_x86(self) -> bool {
        matches!(self, Self::I686 | Self::X86_64)
    }

    /// ARM with 32 or 64 bits.
    pub const fn is_arm(self) -> bool {
        matches!(self, Self::Armv6l | Self::Armv7l | Self::Armv7b | Self::Aarch64)
    }

    /// POWER with 32 or 64 bits.
    pub const fn is_ppc(self) -> bool {
        matches!(
            self,
            Self::Ppc | Self::Ppcle | Self::Ppc64 | Self::Ppc64le | Self::Ppcemb
        )
    }

    /// POWER with 64 bits.
    pub const fn is_ppc64(self) -> bool {
        matches!(self, Self::Ppc64 | Self::Ppc64le)
    }

    /// IBM Z.
    pub const fn is_s390(self) -> bool {
        matches!(self, Self::S390 | Self::S390x)
    }

    /// RISC-V.
    pub const fn is_riscv(self) -> bool {
        matches!(self, Self::Riscv32 | Self::Riscv64)
    }

    /// LoongArch.
    pub const fn is_loongarch(self) -> bool {
        matches!(self, Self::Loongarch64)
    }

    /// MIPS of any width and byte order.
    pub const fn is_mips(self) -> bool {
        matches!(self, Self::Mips | Self::Mipsel | Self::Mips64 | Self::Mips64el)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = VirtError;

    fn from_str(text: &str) -> Result<Self, VirtError> {
        Self::from_name(text).ok_or_else(|| {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("unknown architecture '{text}'"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_name(arch.name()), Some(*arch));
        }
        assert_eq!(Arch::from_name("i386"), None);
    }
}
