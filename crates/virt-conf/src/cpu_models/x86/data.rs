//! What a processor says about itself, as far as the catalogue knows it.

use virt_util::xml::{At, Doc, DocOptions, Element, Position, error_at, scan_integer};
use virt_util::{Result, VirtError};

use super::catalogue::{Place, catalogue, letters};
use super::set::FeatureSet;
use crate::cpu::CpuSignature;

/// Features of hypervisors, which no model has and no document of a CPU names: name, register, bits.
const HYPERVISOR: &[(&str, usize, u32)] = &[
    ("kvm_pv_unhalt", 0, 0x80),
    ("hv-runtime", 1, 0x1),
    ("hv-synic", 1, 0x4),
    ("hv-stimer", 1, 0x8),
    ("hv-xmm_input", 1, 0x10),
    ("hv-relaxed", 1, 0x20),
    ("hv-vapic", 1, 0x30),
    ("hv-vpindex", 1, 0x40),
    ("hv-reset", 1, 0x80),
    ("hv-frequencies", 1, 0x800),
    ("hv-reenlightenment", 1, 0x2000),
    ("hv-tlbflush", 3, 0x4),
    ("hv-avic", 3, 0x200),
    ("hv-ipi", 3, 0x400),
    ("hv-evmcs", 3, 0x4000),
    ("hv-stimer-direct", 2, 0x8_0000),
    ("hv-emsr_bitmap", 5, 0x8_0000),
    ("hv-tlbflush-direct", 2, 0x4000),
    ("hv-tlbflush-ext", 4, 0x4000),
];

/// Leaf and register of the columns above.
const HYPERVISOR_REGISTERS: [(u32, usize); 6] = [
    (0x4000_0001, 0),
    (0x4000_0003, 0),
    (0x4000_0003, 3),
    (0x4000_0004, 0),
    (0x4000_0004, 3),
    (0x4000_000a, 0),
];

/// One answer of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// `CPUID`.
    Cpuid {
        /// What was in eax.
        leaf: u32,
        /// What was in ecx.
        subleaf: u32,
        /// eax, ebx, ecx, edx afterwards.
        registers: [u32; 4],
    },
    /// `RDMSR`.
    Msr {
        /// Number of the register.
        index: u32,
        /// Its value.
        value: u64,
    },
}

/// What an x86 processor says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuData {
    pub(super) features: FeatureSet,
    hypervisor: [u32; 6],
    /// Registers ebx, edx, ecx of leaf 0.
    pub(super) vendor: [u32; 3],
    /// Register eax of leaf 1.
    pub(super) signature: u32,
}

impl CpuData {
    /// With these features, and nothing else known.
    pub(super) fn of(features: FeatureSet) -> Self {
        Self {
            features,
            ..Self::default()
        }
    }

    /// From a processor's answers. Unknown ones are passed over.
    pub fn from_readings(readings: impl IntoIterator<Item = Reading>) -> Self {
        let mut data = Self::default();
        readings
            .into_iter()
            .for_each(|reading| data.add_reading(&reading));
        data
    }

    /// Adds an answer.
    pub fn add_reading(&mut self, reading: &Reading) {
        if let Reading::Cpuid {
            leaf,
            subleaf: 0,
            registers: [eax, ebx, ecx, edx],
        } = reading
        {
            match leaf {
                0 => {
                    for (have, new) in self.vendor.iter_mut().zip([ebx, edx, ecx]) {
                        *have |= new;
                    }
                }
                1 => self.signature |= eax,
                _ => {}
            }
            for (have, (leaf_of, register)) in self.hypervisor.iter_mut().zip(HYPERVISOR_REGISTERS) {
                if *leaf == leaf_of {
                    *have |= [eax, ebx, ecx, edx].get(register).map_or(0, |value| **value);
                }
            }
        }
        for register in &catalogue().registers {
            let value = match (register.place, reading) {
                (
                    Place::Cpuid(leaf, subleaf, number),
                    Reading::Cpuid {
                        leaf: l,
                        subleaf: s,
                        registers,
                    },
                ) if (leaf, subleaf) == (*l, *s) => registers.get(number).copied().unwrap_or(0),
                (Place::Msr(index, upper), Reading::Msr { index: i, value }) if index == *i => {
                    (if upper { value >> 32 } else { *value }) as u32
                }
                _ => continue,
            };
            for (bit, feature) in register.features.iter().enumerate() {
                if let Some(id) = feature.filter(|_| value & (1 << bit) != 0) {
                    self.features.insert(id);
                }
            }
        }
    }

    /// The model specific registers that tell features.
    pub fn msr_indexes() -> Vec<u32> {
        let mut indexes: Vec<u32> = catalogue()
            .registers
            .iter()
            .filter_map(|register| match register.place {
                Place::Msr(index, _) => Some(index),
                Place::Cpuid(..) => None,
            })
            .collect();
        indexes.dedup();
        indexes
    }

    /// Reads libvirt's `<cpudata arch='x86'>`; errors say `name`.
    ///
    /// # Errors
    /// `XML_DETAIL`, `XML_ERROR`.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let doc = Doc::parse_with(source, &DocOptions::named(name))?;
        let root = doc.root();
        if !root.is("cpudata") || root.attr("arch").as_deref() != Some("x86") {
            return Err(error_at(root, At::Text, "expecting data of an x86 CPU"));
        }
        let mut data = Self::default();
        for element in root.children() {
            match element.name() {
                "cpuid" => {
                    let mut registers = [0; 4];
                    for (value, register) in registers.iter_mut().zip(["eax", "ebx", "ecx", "edx"]) {
                        *value = number(element, register, false)?;
                    }
                    data.add_reading(&Reading::Cpuid {
                        leaf: number(element, "eax_in", true)?,
                        subleaf: number(element, "ecx_in", false)?,
                        registers,
                    });
                }
                "msr" => {
                    let (low, high) = (number(element, "eax", true)?, number(element, "edx", true)?);
                    data.add_reading(&Reading::Msr {
                        index: number(element, "index", true)?,
                        value: u64::from(high) << 32 | u64::from(low),
                    });
                }
                other => {
                    let what = format!("expecting <cpuid> or <msr>, not <{other}>");
                    return Err(error_at(element, At::Text, what));
                }
            }
        }
        Ok(data)
    }

    /// Adds a feature by libvirt's name; an unknown one is passed over.
    pub fn add_feature(&mut self, name: &str) {
        if let Some(id) = catalogue().feature(name) {
            self.features.insert(id);
        } else if let Some((_, register, bits)) = hypervisor_feature(name)
            && let Some(have) = self.hypervisor.get_mut(*register)
        {
            *have |= bits;
        }
    }

    /// Takes away what `other` has.
    pub fn remove_features(&mut self, other: &Self) {
        self.features = self.features.without(&other.features);
    }

    /// Whether a feature is there.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for one that the catalogue does not know.
    pub fn has_feature(&self, name: &str) -> Result<bool> {
        if let Some(id) = catalogue().feature(name) {
            return Ok(self.features.contains(id));
        }
        let (_, register, bits) = hypervisor_feature(name).ok_or_else(|| unknown_feature(name))?;
        Ok(self
            .hypervisor
            .get(*register)
            .is_some_and(|have| have & bits == *bits))
    }

    /// Says who made the processor, by the twelve letters that it tells.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for another number of letters.
    pub fn set_vendor(&mut self, text: &str) -> Result<()> {
        self.vendor = letters(text)
            .ok_or_else(|| VirtError::internal(format_args!("vendor '{text}': expected 12 letters")))?;
        Ok(())
    }

    /// Says the processor's numbers.
    pub fn set_signature(&mut self, signature: CpuSignature) {
        self.signature |= encode_signature(signature);
    }

    /// The processor's numbers; all 0 if they are not known.
    pub fn signature(&self) -> CpuSignature {
        decode_signature(self.signature)
    }

    /// Whether nothing is there but the maker and the numbers.
    pub(super) fn is_empty(&self) -> bool {
        self.features.is_empty() && self.hypervisor == [0; 6]
    }

    /// The maker that the catalogue knows.
    pub(super) fn known_vendor(&self) -> Option<usize> {
        catalogue().vendors.iter().position(|vendor| {
            vendor
                .letters
                .iter()
                .zip(self.vendor)
                .all(|(want, have)| have & want == *want)
        })
    }
}

/// Register eax of leaf 1 of a processor with these numbers.
pub fn encode_signature(signature: CpuSignature) -> u32 {
    let CpuSignature {
        family,
        model,
        stepping,
    } = signature;
    let extended = family.saturating_sub(0xf);
    (extended & 0xff) << 20
        | ((model >> 4) & 0xf) << 16
        | family.min(0xf) << 8
        | (model & 0xf) << 4
        | (stepping & 0xf)
}

/// The numbers in register eax of leaf 1.
pub(super) fn decode_signature(eax: u32) -> CpuSignature {
    CpuSignature {
        family: ((eax >> 20) & 0xff) + ((eax >> 8) & 0xf),
        model: ((eax >> 12) & 0xf0) + ((eax >> 4) & 0xf),
        stepping: eax & 0xf,
    }
}

fn hypervisor_feature(name: &str) -> Option<&'static (&'static str, usize, u32)> {
    HYPERVISOR.iter().find(|(known, ..)| *known == name)
}

pub(super) fn unknown_feature(name: &str) -> VirtError {
    VirtError::internal(format_args!("no CPU feature is named '{name}'"))
}

fn number(element: Element<'_>, name: &str, required: bool) -> Result<u32> {
    let Some(text) = element.attr(name) else {
        if required {
            return Err(virt_util::xml::missing(element, At::Text));
        }
        return Ok(0);
    };
    match scan_integer(&text, 0) {
        Some((false, value)) if value <= u64::from(u32::MAX) => Ok(value as u32),
        _ => {
            let Position { line, column } = element.attr_position(name);
            Err(error_at(
                element,
                At::Text,
                format_args!("'{text}' at {line}:{column} is not a number of 32 bits"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_coded_as_the_processor_does() {
        for eax in [0x0002_0652, 0x0083_0f10, 0x0000_06fb, 0x000b_0671] {
            assert_eq!(encode_signature(decode_signature(eax)), eax);
        }
    }

    #[test]
    fn features_of_hypervisors_are_known_and_kept_apart() {
        let mut data = CpuData::default();
        data.add_feature("hv-vapic");
        data.add_feature("no-such-feature");
        assert!(data.features.is_empty() && !data.is_empty());
        assert!(data.has_feature("hv-vapic").unwrap() && data.has_feature("hv-relaxed").unwrap());
        assert!(!data.has_feature("hv-reset").unwrap());
        assert!(data.has_feature("no-such-feature").is_err());
    }
}
