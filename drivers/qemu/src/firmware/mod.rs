//! Firmware images: the descriptors that distributions install beside them, and choosing one for a guest.
//!
//! [`search`] finds the descriptor files that are in force, [`Descriptor`] is one of them, [`supported`] says what a
//! machine type can boot with, and [`select`] finds the image for a guest. The format and the search order are QEMU's
//! (`docs/interop/firmware.json`); what is preferred is libvirt's.

pub mod search;

use serde_json::{Map, Value, json};
use virt_util::{Arch, Result, VirtError};

use crate::capabilities::{arch_from_qemu, arch_to_qemu};
pub use search::{Interop, SearchPath};

/// Largest descriptor that is read, in bytes.
pub const MAX_DESCRIPTOR: u64 = 1 << 20;

/// What a guest sees of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// PC BIOS.
    Bios,
    /// Open Firmware.
    OpenFirmware,
    /// U-Boot.
    Uboot,
    /// UEFI.
    Uefi,
}

/// Something a firmware build can do or needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Suspend to memory.
    AcpiS3,
    /// Suspend to disk.
    AcpiS4,
    /// AMD SEV.
    AmdSev,
    /// AMD SEV-ES.
    AmdSevEs,
    /// AMD SEV-SNP.
    AmdSevSnp,
    /// The variable store template has keys enrolled, so Secure Boot is on.
    EnrolledKeys,
    /// Runs only with system management mode.
    RequiresSmm,
    /// Implements Secure Boot.
    SecureBoot,
    /// Verbosity can be set at run time.
    VerboseDynamic,
    /// Always verbose.
    VerboseStatic,
}

const INTERFACES: &[(&str, Interface)] = &[
    ("bios", Interface::Bios),
    ("openfirmware", Interface::OpenFirmware),
    ("uboot", Interface::Uboot),
    ("uefi", Interface::Uefi),
];

const FEATURES: &[(&str, Feature)] = &[
    ("acpi-s3", Feature::AcpiS3),
    ("acpi-s4", Feature::AcpiS4),
    ("amd-sev", Feature::AmdSev),
    ("amd-sev-es", Feature::AmdSevEs),
    ("amd-sev-snp", Feature::AmdSevSnp),
    ("enrolled-keys", Feature::EnrolledKeys),
    ("requires-smm", Feature::RequiresSmm),
    ("secure-boot", Feature::SecureBoot),
    ("verbose-dynamic", Feature::VerboseDynamic),
    ("verbose-static", Feature::VerboseStatic),
];

/// How a flash image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashMode {
    /// Code and variables in two files; the code is shared between guests.
    Split,
    /// One file with both, a copy for each guest.
    Combined,
    /// Code alone; variables are lost when the guest stops.
    Stateless,
}

const FLASH_MODES: &[(&str, FlashMode)] = &[
    ("split", FlashMode::Split),
    ("combined", FlashMode::Combined),
    ("stateless", FlashMode::Stateless),
];

/// An image file and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashFile {
    /// Path.
    pub filename: String,
    /// Block format, `raw` or `qcow2` for those that can be used.
    pub format: String,
}

/// How the image gets into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// As flash memory.
    Flash {
        /// Layout.
        mode: FlashMode,
        /// Code.
        executable: FlashFile,
        /// Template of the variable store, only for [`FlashMode::Split`].
        nvram_template: Option<FlashFile>,
    },
    /// As `-kernel`.
    Kernel(String),
    /// As `-bios`.
    Memory(String),
}

/// Machines of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Architecture.
    pub arch: Arch,
    /// Patterns (`*`, `?`) of full machine names.
    pub machines: Vec<String>,
}

/// One firmware descriptor. Description and tags are for people and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Interfaces, the preferred one first.
    pub interfaces: Vec<Interface>,
    /// The image.
    pub mapping: Mapping,
    /// Where it runs.
    pub targets: Vec<Target>,
    /// What it can do; names of the future are ignored.
    pub features: Vec<Feature>,
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table
        .iter()
        .find(|(_, known)| known == value)
        .map_or("", |(name, _)| name)
}

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` saying which member is missing or unknown.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let doc: Value = serde_json::from_slice(text)
            .map_err(|error| VirtError::internal(format_args!("firmware descriptor is not JSON: {error}")))?;
        let list = |key: &str| {
            doc.get(key)
                .and_then(Value::as_array)
                .ok_or_else(|| VirtError::internal(format_args!("firmware descriptor has no list '{key}'")))
        };
        let unknown = |what: &str, value: &Value| {
            VirtError::internal(format_args!("firmware descriptor has the unknown {what} {value}"))
        };
        let interfaces = list("interface-types")?
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .and_then(|name| named(INTERFACES, name))
                    .ok_or_else(|| unknown("interface type", value))
            })
            .collect::<Result<_>>()?;
        let mapping = doc
            .get("mapping")
            .ok_or_else(|| VirtError::internal("firmware descriptor has no 'mapping'"))?;
        let mapping = match mapping.get("device").and_then(Value::as_str) {
            Some("flash") => {
                let mode = match mapping.get("mode") {
                    None => FlashMode::Split,
                    Some(mode) => mode
                        .as_str()
                        .and_then(|name| named(FLASH_MODES, name))
                        .ok_or_else(|| unknown("flash mode", mode))?,
                };
                Mapping::Flash {
                    mode,
                    executable: flash_file(mapping, "executable")?,
                    nvram_template: match mode {
                        FlashMode::Split => Some(flash_file(mapping, "nvram-template")?),
                        FlashMode::Combined | FlashMode::Stateless => None,
                    },
                }
            }
            Some("kernel") => Mapping::Kernel(text_of(mapping, "filename")?),
            Some("memory") => Mapping::Memory(text_of(mapping, "filename")?),
            _ => return Err(unknown("mapping", mapping)),
        };
        let targets = list("targets")?
            .iter()
            .map(|target| {
                let arch = text_of(target, "architecture")?;
                let machines = target.get("machines").and_then(Value::as_array).ok_or_else(|| {
                    VirtError::internal("firmware descriptor has a target without 'machines'")
                })?;
                Ok(Target {
                    arch: arch_from_qemu(&arch).ok_or_else(|| unknown("architecture", target))?,
                    machines: machines
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                })
            })
            .collect::<Result<_>>()?;
        let features = list("features")?
            .iter()
            .filter_map(|value| value.as_str().and_then(|name| named(FEATURES, name)))
            .collect();
        Ok(Self {
            interfaces,
            mapping,
            targets,
            features,
        })
    }

    /// The descriptor as JSON.
    pub fn to_json(&self) -> Value {
        let file = |file: &FlashFile| json!({"filename": file.filename, "format": file.format});
        let mut mapping = Map::new();
        match &self.mapping {
            Mapping::Flash {
                mode,
                executable,
                nvram_template,
            } => {
                mapping.insert("device".into(), "flash".into());
                mapping.insert("mode".into(), name_of(FLASH_MODES, mode).into());
                mapping.insert("executable".into(), file(executable));
                if let Some(template) = nvram_template {
                    mapping.insert("nvram-template".into(), file(template));
                }
            }
            Mapping::Kernel(filename) => {
                mapping.insert("device".into(), "kernel".into());
                mapping.insert("filename".into(), filename.as_str().into());
            }
            Mapping::Memory(filename) => {
                mapping.insert("device".into(), "memory".into());
                mapping.insert("filename".into(), filename.as_str().into());
            }
        }
        let targets: Vec<Value> = self
            .targets
            .iter()
            .map(|target| json!({"architecture": arch_to_qemu(target.arch), "machines": target.machines}))
            .collect();
        let interfaces: Vec<&str> = self
            .interfaces
            .iter()
            .map(|one| name_of(INTERFACES, one))
            .collect();
        let features: Vec<&str> = self.features.iter().map(|one| name_of(FEATURES, one)).collect();
        json!({"interface-types": interfaces, "mapping": mapping, "targets": targets, "features": features})
    }

    /// Whether the firmware runs on `machine` (its full name).
    pub fn matches_machine(&self, machine: &str, arch: Arch) -> bool {
        self.targets
            .iter()
            .filter(|target| target.arch == arch)
            .any(|target| {
                target
                    .machines
                    .iter()
                    .any(|pattern| matches_pattern(pattern, machine))
            })
    }

    /// Whether the firmware has `feature`.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}

fn text_of(value: &Value, key: &str) -> Result<String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            VirtError::internal(format_args!(
                "firmware descriptor has no '{key}' where one is needed"
            ))
        })
}

fn flash_file(mapping: &Value, key: &str) -> Result<FlashFile> {
    let file = mapping.get(key).ok_or_else(|| {
        VirtError::internal(format_args!("firmware descriptor has no '{key}' in its mapping"))
    })?;
    Ok(FlashFile {
        filename: text_of(file, "filename")?,
        format: text_of(file, "format")?,
    })
}

/// Matches `*` and `?`, in time proportional to the product of the lengths.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(c) if text.get(t) == Some(c) => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

/// What a machine type can boot with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supported {
    /// BIOS images exist.
    pub bios: bool,
    /// UEFI images exist.
    pub efi: bool,
    /// One of them needs system management mode, which is what libvirt calls secure here.
    pub secure: bool,
    /// Images with the template of their variable store, each pair once, in the order of preference. `None` if there
    /// is no descriptor at all.
    pub images: Option<Vec<(String, Option<String>)>>,
}

/// What `machine` (full name) can boot with, out of the descriptors in force.
pub fn supported(descriptors: &[Descriptor], machine: &str, arch: Arch) -> Supported {
    let mut found = Supported {
        images: (!descriptors.is_empty()).then(Vec::new),
        ..Supported::default()
    };
    for descriptor in descriptors
        .iter()
        .filter(|one| one.matches_machine(machine, arch))
    {
        found.bios |= descriptor.interfaces.contains(&Interface::Bios);
        found.efi |= descriptor.interfaces.contains(&Interface::Uefi);
        found.secure |= descriptor.has(Feature::RequiresSmm);
        let image = match &descriptor.mapping {
            Mapping::Flash {
                executable,
                nvram_template,
                ..
            } => (
                executable.filename.clone(),
                nvram_template.as_ref().map(|file| file.filename.clone()),
            ),
            Mapping::Memory(filename) => (filename.clone(), None),
            Mapping::Kernel(_) => continue,
        };
        if let Some(images) = &mut found.images
            && !images.contains(&image)
        {
            images.push(image);
        }
    }
    found
}

/// How the loader is attached, where the guest's definition says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderType {
    /// `-bios`.
    Rom,
    /// Flash memory.
    Pflash,
}

/// What a guest asks of its firmware; `None` leaves it open.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// The interface, from `<os firmware='…'>`.
    pub interface: Option<Interface>,
    /// Full name of the machine type.
    pub machine: &'a str,
    /// The loader element is there at all.
    pub loader: bool,
    /// `<loader type='…'>`.
    pub loader_type: Option<LoaderType>,
    /// Path of the loader.
    pub loader_path: Option<&'a str>,
    /// `<loader format='…'>`.
    pub loader_format: Option<&'a str>,
    /// `<loader readonly='…'>`.
    pub loader_readonly: Option<bool>,
    /// `<loader secure='…'>`.
    pub loader_secure: Option<bool>,
    /// `<loader stateless='…'>`.
    pub loader_stateless: Option<bool>,
    /// `<nvram template='…'>`.
    pub nvram_template: Option<&'a str>,
    /// Path of the kernel.
    pub kernel: Option<&'a str>,
    /// Suspend to memory is asked for.
    pub s3: bool,
    /// Suspend to disk is asked for.
    pub s4: bool,
    /// The feature `secure-boot` is asked for or refused.
    pub secure_boot: Option<bool>,
    /// The feature `enrolled-keys` is asked for or refused.
    pub enrolled_keys: Option<bool>,
    /// System management mode is switched off.
    pub smm_off: bool,
    /// Encrypted memory that the firmware must know about.
    pub needs: &'a [Feature],
}

/// The first descriptor that suits a guest, in the order of preference.
pub fn select<'d>(
    descriptors: &'d [Descriptor],
    request: &Request<'_>,
    arch: Arch,
) -> Option<&'d Descriptor> {
    descriptors
        .iter()
        .find(|descriptor| suits(descriptor, request, arch))
}

fn suits(descriptor: &Descriptor, request: &Request<'_>, arch: Arch) -> bool {
    let interface = request.interface.or(match request.loader_type {
        Some(LoaderType::Rom) => Some(Interface::Bios),
        Some(LoaderType::Pflash) => Some(Interface::Uefi),
        None => None,
    });
    let Some(interface) = interface else { return false };
    let has = |feature| descriptor.has(feature);
    let agrees = |asked: Option<bool>, feature| asked.is_none_or(|asked| asked == has(feature));
    descriptor.interfaces.contains(&interface)
        && descriptor.matches_machine(request.machine, arch)
        && paths_agree(&descriptor.mapping, request)
        && (!request.s3 || has(Feature::AcpiS3))
        && (!request.s4 || has(Feature::AcpiS4))
        && agrees(request.secure_boot, Feature::SecureBoot)
        && agrees(request.enrolled_keys, Feature::EnrolledKeys)
        && match has(Feature::RequiresSmm) {
            true => !request.smm_off && request.loader_secure != Some(false),
            false => request.loader_secure != Some(true),
        }
        && mapping_agrees(&descriptor.mapping, request)
        && request.needs.iter().all(|feature| has(*feature))
}

fn paths_agree(mapping: &Mapping, request: &Request<'_>) -> bool {
    let same = |asked: Option<&str>, path: &str| asked.is_none_or(|asked| asked == path);
    match mapping {
        Mapping::Flash {
            executable,
            nvram_template,
            ..
        } => {
            same(request.loader_path, &executable.filename)
                && match (request.nvram_template, nvram_template) {
                    (None, _) => true,
                    (Some(asked), Some(template)) => asked == template.filename,
                    (Some(_), None) => false,
                }
        }
        Mapping::Memory(filename) => same(request.loader_path, filename),
        Mapping::Kernel(filename) => same(request.kernel, filename),
    }
}

fn mapping_agrees(mapping: &Mapping, request: &Request<'_>) -> bool {
    let usable = |format: &str| matches!(format, "raw" | "qcow2");
    match mapping {
        Mapping::Flash {
            mode,
            executable,
            nvram_template,
        } => {
            let wanted = if request.loader_stateless == Some(true) {
                FlashMode::Stateless
            } else {
                FlashMode::Split
            };
            request.loader_type != Some(LoaderType::Rom)
                && *mode == wanted
                // A loader that the guest may write to would have to be a copy with code and variables.
                && request.loader_readonly != Some(false)
                && usable(&executable.format)
                && request.loader_format.is_none_or(|format| format == executable.format)
                && nvram_template.as_ref().is_none_or(|template| usable(&template.format))
        }
        Mapping::Memory(_) => {
            request.loader_type != Some(LoaderType::Pflash) && request.loader_readonly != Some(false)
        }
        Mapping::Kernel(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uefi(features: &[&str], extra: &str) -> Descriptor {
        let text = format!(
            r#"{{"description": "x", "interface-types": ["uefi"],
                "mapping": {{"device": "flash", "executable": {{"filename": "/code{extra}", "format": "raw"}},
                             "nvram-template": {{"filename": "/vars{extra}", "format": "raw"}}}},
                "targets": [{{"architecture": "x86_64", "machines": ["pc-q35-*"]}}],
                "features": {features:?}, "tags": []}}"#
        );
        Descriptor::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn selection_follows_the_guests_wishes() {
        let all = [
            uefi(&["secure-boot", "requires-smm", "enrolled-keys"], "S"),
            uefi(&["acpi-s3", "of-the-future"], ""),
        ];
        let base = Request {
            interface: Some(Interface::Uefi),
            machine: "pc-q35-10.0",
            ..Request::default()
        };
        let code = |request: &Request<'_>| match select(&all, request, Arch::X86_64).map(|one| &one.mapping) {
            Some(Mapping::Flash { executable, .. }) => Some(executable.filename.clone()),
            _ => None,
        };
        assert_eq!(code(&base).as_deref(), Some("/codeS"));
        assert_eq!(
            code(&Request {
                smm_off: true,
                ..base.clone()
            })
            .as_deref(),
            Some("/code")
        );
        assert_eq!(
            code(&Request {
                secure_boot: Some(false),
                ..base.clone()
            })
            .as_deref(),
            Some("/code")
        );
        assert_eq!(
            code(&Request {
                s3: true,
                ..base.clone()
            })
            .as_deref(),
            Some("/code")
        );
        assert_eq!(
            code(&Request {
                s3: true,
                secure_boot: Some(true),
                ..base.clone()
            }),
            None
        );
        assert_eq!(
            code(&Request {
                machine: "pc-i440fx-10.0",
                ..base.clone()
            }),
            None
        );
        assert_eq!(
            code(&Request {
                interface: Some(Interface::Bios),
                ..base.clone()
            }),
            None
        );
        assert_eq!(
            code(&Request {
                loader_path: Some("/code"),
                ..base.clone()
            })
            .as_deref(),
            Some("/code")
        );
        assert_eq!(
            code(&Request {
                loader_stateless: Some(true),
                ..base
            }),
            None
        );
    }

    #[test]
    fn patterns() {
        assert!(matches_pattern("pc-q35-*", "pc-q35-10.0"));
        assert!(matches_pattern("*", ""));
        assert!(matches_pattern("a*b*c", "aXbYbZc"));
        assert!(!matches_pattern("a*b*c", "aXbYbZ"));
        assert!(matches_pattern("p?", "pc"));
        assert!(!matches_pattern("pc", "pc-q35"));
        assert!(!matches_pattern("pc-q35", "pc"));
    }

    #[test]
    fn broken_descriptors_are_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"interface-types": ["nope"]}"#,
            r#"{"interface-types": [], "mapping": {}}"#,
        ] {
            assert!(Descriptor::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn patterns_end(pattern in "[a*?]{0,30}", text in "[ab]{0,30}") {
            // The other way to say it: row by row, which prefixes of the pattern are which of the text.
            let bytes = text.as_bytes();
            let mut row: Vec<bool> = (0..=bytes.len()).map(|at| at == 0).collect();
            for wanted in pattern.bytes() {
                let mut next = vec![false; row.len()];
                for at in 0..row.len() {
                    next[at] = match wanted {
                        b'*' => row[at] || at > 0 && next[at - 1],
                        _ => at > 0 && row[at - 1] && (wanted == b'?' || wanted == bytes[at - 1]),
                    };
                }
                row = next;
            }
            prop_assert_eq!(matches_pattern(&pattern, &text), row.last() == Some(&true));
        }
    }
}
