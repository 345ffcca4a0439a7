//! What is known of x86 processors: vendors, features and models, read once from an embedded table.
//!
//! The table (`tables/x86.txt`) has a line for each fact:
//!
//! ```text
//! vendor NAME TWELVE-LETTERS
//! cpuid LEAF SUBLEAF REGISTER      the features that follow are bits of this register
//! msr INDEX REGISTER               … of this half of a model specific register: eax is the lower
//!   BIT FEATURE [stays]            a guest that has one that stays cannot migrate
//! model NAME [host] [guest] [compat]
//!                                  it may describe a host's CPU, a guest's; a check of a guest's CPU that is not full
//!                                  goes by this table, and not by what the hypervisor says of the model
//!   like MODEL                     begins with what that one has, but for the features that were removed from it
//!   signature FAMILY/MODEL[/STEPPINGS] …
//!   vendor NAME
//!   features FEATURE …
//!   added FEATURE …                the hypervisor always had them in the model, the table not always
//!   removed FEATURE …              they were in the model once
//! ```
//!
//! The order of models counts: they are searched from the last to the first. A model that is like another and nothing
//! else is that one's canonical name.

use std::collections::HashMap;
use std::sync::LazyLock;

use virt_util::bitmap::Bitmap;

use super::set::{FeatureId, FeatureSet, ROOM};

static TABLE: &str = include_str!("../tables/x86.txt");

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::read(TABLE).expect("the embedded table of x86 processors is well formed"));

/// The catalogue of x86 processors.
pub(super) fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

/// Vendors, features and models.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) vendors: Vec<Vendor>,
    features: Vec<Feature>,
    feature_ids: HashMap<&'static str, FeatureId>,
    /// Registers that hold features.
    pub(super) registers: Vec<Register>,
    /// Features that live in model specific registers.
    pub(super) msr_features: FeatureSet,
    /// Features with which a guest cannot migrate.
    pub(super) not_migratable: FeatureSet,
    pub(super) models: Vec<Model>,
    model_ids: HashMap<&'static str, usize>,
    /// A model and the one it is like, as long as nothing else was said of it.
    aliases: Vec<(usize, usize)>,
}

/// Who makes processors.
#[derive(Debug)]
pub(super) struct Vendor {
    pub(super) name: &'static str,
    /// Registers ebx, edx, ecx of CPUID leaf 0.
    pub(super) letters: [u32; 3],
}

#[derive(Debug)]
struct Feature {
    name: &'static str,
}

/// Where a processor tells its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A leaf and subleaf of CPUID, and the number of the register.
    Cpuid(u32, u32, usize),
    /// A model specific register, and whether its upper half.
    Msr(u32, bool),
}

/// A register, and the features behind its bits.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) place: Place,
    pub(super) features: [Option<FeatureId>; 32],
}

/// A model.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: &'static str,
    /// It may be found for a host.
    pub(super) for_hosts: bool,
    /// It may be found for a guest.
    pub(super) for_guests: bool,
    /// A check that is not full goes by this catalogue.
    pub(super) compat_check: bool,
    /// Number of its vendor.
    pub(super) vendor: Option<usize>,
    pub(super) signatures: Vec<SignaturePattern>,
    pub(super) features: FeatureSet,
    pub(super) added: FeatureSet,
    /// In the table's order.
    pub(super) removed: Vec<FeatureId>,
    /// Number of the model that is its canonical name.
    pub(super) canonical: Option<usize>,
}

/// Processors with these numbers are of a model.
#[derive(Clone, Debug)]
pub(super) struct SignaturePattern {
    pub(super) family: u32,
    pub(super) model: u32,
    /// All, if nothing.
    pub(super) steppings: Option<Bitmap>,
}

impl Catalogue {
    pub(super) fn feature(&self, name: &str) -> Option<FeatureId> {
        self.feature_ids.get(name).copied()
    }

    pub(super) fn feature_name(&self, id: FeatureId) -> &'static str {
        self.features
            .get(usize::from(id))
            .map_or("", |feature| feature.name)
    }

    pub(super) fn names(&self, set: FeatureSet) -> impl Iterator<Item = &'static str> + '_ {
        set.iter().map(|id| self.feature_name(id))
    }

    pub(super) fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(*self.model_ids.get(name)?)
    }

    pub(super) fn vendor(&self, name: &str) -> Option<usize> {
        self.vendors.iter().position(|vendor| vendor.name == name)
    }

    pub(super) fn vendor_name(&self, vendor: usize) -> &'static str {
        self.vendors.get(vendor).map_or("", |vendor| vendor.name)
    }

    fn read(table: &'static str) -> Result<Self, String> {
        let mut catalogue = Self::default();
        for (number, line) in (1..).zip(table.lines()) {
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            catalogue
                .read_line(line.starts_with(' '), first, words)
                .ok_or_else(|| format!("line {number}: {line}"))?;
        }
        for (own, other) in std::mem::take(&mut catalogue.aliases) {
            if let Some(other) = catalogue.models.get_mut(other)
                && other.canonical.replace(own).is_some()
            {
                return Err(format!("{} has two canonical names", other.name));
            }
        }
        if catalogue.features.len() > ROOM {
            return Err(format!("{} features, room for {ROOM}", catalogue.features.len()));
        }
        Ok(catalogue)
    }

    fn read_line(
        &mut self,
        inner: bool,
        first: &'static str,
        mut words: std::str::SplitAsciiWhitespace<'static>,
    ) -> Option<()> {
        match (inner, first) {
            (false, "vendor") => self.vendors.push(Vendor {
                name: words.next()?,
                letters: letters(words.next()?)?,
            }),
            (false, "cpuid") => {
                let place = Place::Cpuid(hex(words.next()?)?, hex(words.next()?)?, register(words.next()?)?);
                self.add_register(place);
            }
            (false, "msr") => {
                let place = Place::Msr(hex(words.next()?)?, words.next()? == "edx");
                self.add_register(place);
            }
            (false, "model") => {
                let mut model = Model {
                    name: words.next()?,
                    for_hosts: false,
                    for_guests: false,
                    compat_check: false,
                    vendor: None,
                    signatures: Vec::new(),
                    features: FeatureSet::default(),
                    added: FeatureSet::default(),
                    removed: Vec::new(),
                    canonical: None,
                };
                for word in words {
                    match word {
                        "host" => model.for_hosts = true,
                        "guest" => model.for_guests = true,
                        "compat" => model.compat_check = true,
                        _ => return None,
                    }
                }
                let id = self.models.len();
                if self.model_ids.insert(model.name, id).is_some() {
                    return None;
                }
                self.models.push(model);
            }
            (true, _) => match first.parse() {
                Ok(bit) => self.add_feature(bit, words.next()?, words.next() == Some("stays"))?,
                Err(_) => self.describe_model(first, words)?,
            },
            (false, _) => return None,
        }
        Some(())
    }

    fn add_register(&mut self, place: Place) {
        self.registers.push(Register {
            place,
            features: [None; 32],
        });
    }

    fn add_feature(&mut self, bit: usize, name: &'static str, stays: bool) -> Option<()> {
        let id = FeatureId::try_from(self.features.len()).ok()?;
        let register = self.registers.last_mut()?;
        let slot = register.features.get_mut(bit)?;
        if slot.replace(id).is_some() || self.feature_ids.insert(name, id).is_some() {
            return None;
        }
        if matches!(register.place, Place::Msr(..)) {
            self.msr_features.insert(id);
        }
        if stays {
            self.not_migratable.insert(id);
        }
        self.features.push(Feature { name });
        Some(())
    }

    fn describe_model(
        &mut self,
        what: &str,
        mut words: std::str::SplitAsciiWhitespace<'static>,
    ) -> Option<()> {
        let own = self.models.len().checked_sub(1)?;
        if what == "like" {
            let other_id = *self.model_ids.get(words.next()?)?;
            let other = self.models.get(other_id)?;
            let removed: FeatureSet = other.removed.iter().copied().collect();
            let (vendor, signatures) = (other.vendor, other.signatures.clone());
            let features = other.features.without(&removed);
            let model = self.models.get_mut(own)?;
            (model.vendor, model.signatures, model.features) = (vendor, signatures, features);
            self.aliases.push((own, other_id));
            return Some(());
        }
        self.aliases.retain(|(model, _)| *model != own);
        let vendor = match what {
            "vendor" => Some(self.vendor(words.next()?)?),
            _ => None,
        };
        let ids = match what {
            "features" | "added" | "removed" => words
                .clone()
                .map(|name| self.feature(name))
                .collect::<Option<Vec<_>>>()?,
            _ => Vec::new(),
        };
        let model = self.models.get_mut(own)?;
        match what {
            "vendor" => model.vendor = vendor,
            "signature" => model.signatures = words.map(signature).collect::<Option<_>>()?,
            "features" => ids.into_iter().for_each(|id| model.features.insert(id)),
            "added" => ids.into_iter().for_each(|id| model.added.insert(id)),
            "removed" => model.removed.extend(ids),
            _ => return None,
        }
        Some(())
    }
}

/// A vendor's twelve letters as registers ebx, edx, ecx.
pub(super) fn letters(text: &str) -> Option<[u32; 3]> {
    let bytes: [u8; 12] = text.as_bytes().try_into().ok()?;
    let mut words = bytes.chunks_exact(4).map(|chunk| {
        chunk
            .iter()
            .rev()
            .fold(0, |word: u32, byte| word << 8 | u32::from(*byte))
    });
    Some([words.next()?, words.next()?, words.next()?])
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn register(text: &str) -> Option<usize> {
    ["eax", "ebx", "ecx", "edx"].iter().position(|name| *name == text)
}

fn signature(text: &str) -> Option<SignaturePattern> {
    let mut parts = text.splitn(3, '/');
    Some(SignaturePattern {
        family: parts.next()?.parse().ok()?,
        model: parts.next()?.parse().ok()?,
        steppings: match parts.next() {
            Some(list) => Some(Bitmap::parse(list, 16).ok()?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let catalogue = Catalogue::read(TABLE).unwrap();
        assert_eq!(catalogue.vendors.len(), 3);
        assert!(catalogue.features.len() > 300 && catalogue.models.len() >= 150);
        assert_eq!(
            letters("GenuineIntel"),
            Some([0x756e_6547, 0x4965_6e69, 0x6c65_746e])
        );
        let haswell = catalogue.model("Haswell").unwrap();
        let canonical = haswell.canonical.map(|id| catalogue.models[id].name);
        assert_eq!(canonical, Some("Haswell-v1"));
        let versioned = catalogue.model("Haswell-v1").unwrap();
        assert_eq!(versioned.features, haswell.features);
        assert!(versioned.added.is_empty() && versioned.canonical.is_none());
    }

    #[test]
    fn what_is_wrong_in_a_table_is_told_with_its_line() {
        for bad in [
            "nonsense",
            "model",
            "  features x",
            "model a\n  features x",
            "vendor short abc",
        ] {
            assert!(Catalogue::read(bad).is_err(), "{bad}");
        }
    }
}
