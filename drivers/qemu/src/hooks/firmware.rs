//! Which firmware the guest starts with.

use virt_conf::domain::Domain;
use virt_conf::domain::features::Smm;
use virt_conf::domain::normalize::NormalizeFlags;
use virt_conf::domain::os::{
    FirmwareFeature, FirmwareFeatureName, FirmwareType, LoaderType, NvramImage, NvramSource,
};
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::storage::{StorageFormat, StorageLocation};
use virt_util::{ErrorCode, Result, VirtError};

use super::{Guest, QemuHooks};
use crate::firmware::{self, Descriptor, Feature, FlashMode, Interface, Mapping, Request};

/// Firmware and variables where distributions put them before descriptors were invented.
const LEGACY: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    (
        "/usr/share/OVMF/OVMF_CODE.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    (
        "/usr/share/AAVMF/AAVMF32_CODE.fd",
        "/usr/share/AAVMF/AAVMF32_VARS.fd",
    ),
];

fn format(name: &str) -> Result<StorageFormat> {
    StorageFormat::ALL
        .iter()
        .copied()
        .find(|format| format.as_str() == name)
        .ok_or_else(|| VirtError::internal(format_args!("unknown flash format '{name}'")))
}

fn wanted(domain: &Domain, name: FirmwareFeatureName) -> Option<bool> {
    let features = &domain.os.firmware_features;
    features
        .iter()
        .find(|feature| feature.name == name)
        .map(|feature| feature.enabled)
}

impl QemuHooks<'_> {
    pub(super) fn fill_firmware(
        &self,
        domain: &mut Domain,
        guest: Guest<'_>,
        flags: NormalizeFlags,
    ) -> Result<()> {
        let fresh = flags.contains(NormalizeFlags::ABI_UPDATE);
        if !fresh && domain.os.firmware.is_some() {
            // Definitions from before formats were recorded meant raw.
            domain
                .os
                .loader
                .get_or_insert_default()
                .format
                .get_or_insert(StorageFormat::Raw);
        }
        let result = self.try_fill_firmware(domain, guest, fresh);
        // What was accepted once stays; the start will tell.
        if fresh { result } else { Ok(()) }
    }

    fn try_fill_firmware(&self, domain: &mut Domain, guest: Guest<'_>, fresh: bool) -> Result<()> {
        // What contradicts itself would only select something by chance.
        virt_conf::domain::validate::validate_os(domain)?;
        let formats = [
            (
                "loader",
                domain.os.loader.as_ref().and_then(|loader| loader.format),
            ),
            ("nvram", domain.os.nvram.as_ref().and_then(|nvram| nvram.format)),
        ];
        for (what, format) in formats {
            if let Some(format) =
                format.filter(|one| !matches!(one, StorageFormat::Raw | StorageFormat::Qcow2))
            {
                let what = format!("Unsupported {what} format '{format}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        }
        let automatic = domain.os.firmware.is_some();
        let kind = domain.os.loader.as_ref().map(|loader| loader.kind);
        if !automatic && matches!(kind, None | Some(Some(LoaderType::Rom))) {
            return Ok(());
        }
        let firmware = self.firmware.firmware()?;
        match matching(&firmware, domain, guest) {
            Some(found) => enable(domain, found)?,
            None if automatic => {
                let name = domain.os.firmware.map_or("efi", |firmware| firmware.as_str());
                let what =
                    format!("no installed firmware of type '{name}' fits what <os> and <features> say");
                return Err(VirtError::new(ErrorCode::OPERATION_FAILED, what));
            }
            None => legacy(domain),
        }
        self.name_variables(domain, fresh);
        Ok(())
    }

    fn name_variables(&self, domain: &mut Domain, fresh: bool) {
        let name = domain.name.clone();
        let Some(loader) = &domain.os.loader else { return };
        let flash = loader.kind == Some(LoaderType::Pflash);
        if !flash || loader.read_only != Some(true) || loader.stateless == Some(true) {
            return;
        }
        let nvram = domain.os.nvram.get_or_insert_default();
        if nvram.source != NvramSource::None {
            nvram.format = nvram.format.or(loader.format);
            let empty = match &nvram.source {
                NvramSource::Source(source) => source.location.is_empty(),
                _ => false,
            };
            if !empty {
                return;
            }
        }
        let format = nvram.template_format.or(loader.format);
        nvram.format = format;
        let extension = match format {
            Some(StorageFormat::Raw) => {
                let raw = nvram
                    .template
                    .as_deref()
                    .is_some_and(|template| template.ends_with(".raw"));
                if fresh && raw { ".raw" } else { ".fd" }
            }
            Some(StorageFormat::Qcow2) => ".qcow2",
            _ => "",
        };
        nvram.source = NvramSource::Path(format!("{}/{name}_VARS{extension}", self.nvram_dir));
    }
}

fn matching<'f>(firmware: &'f [Descriptor], domain: &Domain, guest: Guest<'_>) -> Option<&'f Descriptor> {
    let loader = domain.os.loader.as_ref();
    let needs: &[Feature] = match domain.launch_security.as_deref() {
        Some(LaunchSecurity::Sev(sev)) if sev.policy & 4 != 0 => &[Feature::AmdSevEs],
        Some(LaunchSecurity::Sev(_)) => &[Feature::AmdSev],
        Some(LaunchSecurity::SevSnp(_)) => &[Feature::AmdSevSnp],
        _ => &[],
    };
    let pm = domain.pm.as_ref();
    let smm = domain.features.as_ref().and_then(|features| features.smm);
    let request = Request {
        interface: domain.os.firmware.map(|firmware| match firmware {
            FirmwareType::Bios => Interface::Bios,
            FirmwareType::Efi => Interface::Uefi,
        }),
        machine: domain.os.kind.machine.as_deref().unwrap_or_default(),
        loader: loader.is_some(),
        loader_type: loader.and_then(|loader| loader.kind).map(|kind| match kind {
            LoaderType::Rom => firmware::LoaderType::Rom,
            LoaderType::Pflash => firmware::LoaderType::Pflash,
        }),
        loader_path: loader.and_then(|loader| loader.path.as_deref()),
        loader_format: loader
            .and_then(|loader| loader.format)
            .map(|format| format.as_str()),
        loader_readonly: loader.and_then(|loader| loader.read_only),
        loader_secure: loader.and_then(|loader| loader.secure),
        loader_stateless: loader.and_then(|loader| loader.stateless),
        nvram_template: domain
            .os
            .nvram
            .as_ref()
            .and_then(|nvram| nvram.template.as_deref()),
        kernel: domain.os.kernel.as_deref(),
        s3: pm.and_then(|pm| pm.suspend_to_mem) == Some(true),
        s4: pm.and_then(|pm| pm.suspend_to_disk) == Some(true),
        secure_boot: wanted(domain, FirmwareFeatureName::SecureBoot),
        enrolled_keys: wanted(domain, FirmwareFeatureName::EnrolledKeys),
        smm_off: smm.is_some_and(|smm| !smm.on),
        needs,
    };
    firmware::select(firmware, &request, guest.arch)
}

fn is_local(nvram: &NvramImage) -> bool {
    match &nvram.source {
        NvramSource::Source(source) => !matches!(
            source.location,
            StorageLocation::Network(_) | StorageLocation::Volume { .. } | StorageLocation::Vhostuser { .. }
        ),
        _ => true,
    }
}

fn enable(domain: &mut Domain, found: &Descriptor) -> Result<()> {
    match &found.mapping {
        Mapping::Flash {
            mode,
            executable,
            nvram_template,
        } => {
            let loader = domain.os.loader.get_or_insert_default();
            loader.kind = Some(LoaderType::Pflash);
            loader.read_only = Some(true);
            loader.format = Some(format(&executable.format)?);
            loader.path = Some(executable.filename.clone());
            if *mode == FlashMode::Split {
                let loader_format = loader.format;
                if domain.os.nvram.as_deref().is_none_or(is_local) {
                    let nvram = domain.os.nvram.get_or_insert_default();
                    nvram.template_format = match nvram_template {
                        Some(template) if !template.format.is_empty() => Some(format(&template.format)?),
                        _ => loader_format,
                    };
                    nvram.template = nvram_template.as_ref().map(|template| template.filename.clone());
                } else if let Some(nvram) = &mut domain.os.nvram {
                    (nvram.template, nvram.template_format) = (None, None);
                }
            }
        }
        Mapping::Kernel(filename) => domain.os.kernel = Some(filename.clone()).into(),
        Mapping::Memory(filename) => {
            let loader = domain.os.loader.get_or_insert_default();
            loader.kind = Some(LoaderType::Rom);
            loader.path = Some(filename.clone());
        }
    }
    if found.has(Feature::RequiresSmm) {
        let features = domain.features.get_or_insert_with(Box::default);
        features.smm.get_or_insert(Smm::default()).on = true;
        domain.os.loader.get_or_insert_default().secure = Some(true);
    }
    if domain.os.firmware.is_none() {
        domain.os.firmware = found.interfaces.iter().find_map(|interface| match interface {
            Interface::Bios => Some(FirmwareType::Bios),
            Interface::Uefi => Some(FirmwareType::Efi),
            _ => None,
        });
    }
    if domain.os.firmware.is_some() {
        let mut features = Vec::new();
        let no_template = domain
            .os
            .nvram
            .as_ref()
            .is_none_or(|nvram| nvram.template.is_none());
        let unknown = domain.os.loader.as_ref().is_some_and(|loader| {
            loader.kind == Some(LoaderType::Pflash) && loader.stateless != Some(true) && no_template
        });
        if !unknown {
            let enabled = found.has(Feature::EnrolledKeys);
            features.push(FirmwareFeature {
                name: FirmwareFeatureName::EnrolledKeys,
                enabled,
            });
        }
        let enabled = found.has(Feature::SecureBoot);
        features.push(FirmwareFeature {
            name: FirmwareFeatureName::SecureBoot,
            enabled,
        });
        domain.os.firmware_features = features.into();
    }
    Ok(())
}

fn legacy(domain: &mut Domain) {
    let Some(loader) = &mut domain.os.loader else {
        return;
    };
    let raw = matches!(loader.format, None | Some(StorageFormat::Raw));
    let fits = loader.kind == Some(LoaderType::Pflash)
        && loader.read_only != Some(false)
        && loader.stateless != Some(true)
        && raw;
    let known = LEGACY
        .iter()
        .find(|(code, _)| loader.path.as_deref() == Some(*code))
        .filter(|_| fits);
    loader.format.get_or_insert(StorageFormat::Raw);
    if let Some((_, variables)) = known {
        loader.read_only = Some(true);
        let nvram = domain.os.nvram.get_or_insert_default();
        if nvram.template.is_none() {
            nvram.template = Some((*variables).to_owned());
            nvram.template_format = Some(StorageFormat::Raw);
        }
        nvram.template_format.get_or_insert(StorageFormat::Raw);
    }
}
