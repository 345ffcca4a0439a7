//! What is worth a word about a definition: that the guest does something nobody can vouch for, or uses what will go away.

use virt_conf::cpu::CpuMode;
use virt_conf::domain::Domain;
use virt_conf::domain::disk::{Disk, DiskDevice};
use virt_conf::domain::hostdev::{HostdevPass, HostdevSubsys};
use virt_conf::domain::storage::StorageType;
use virt_util::types::DomainMessageType;

/// The CPU model that only this driver knows, and calls deprecated.
const DEPRECATED_MODEL: &str = "Deprecated-Test";

/// What taints a guest, in libvirt's words and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taint {
    HighPrivileges,
    ShellScripts,
    CdromPassthrough,
    CustomDtb,
    DeprecatedConfig,
}

impl Taint {
    fn text(self) -> &'static str {
        match self {
            Self::HighPrivileges => "running with undesirable elevated privileges",
            Self::ShellScripts => "network configuration using opaque shell scripts",
            Self::CdromPassthrough => "use of host cdrom passthrough",
            Self::CustomDtb => "custom device tree blob used",
            Self::DeprecatedConfig => "use of deprecated configuration settings",
        }
    }
}

/// What is worth a word about a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    taints: Vec<Taint>,
    deprecations: Vec<String>,
}

impl Messages {
    /// About this definition.
    pub fn about(domain: &Domain) -> Self {
        let devices = &domain.devices;
        let scsi_raw = |pass: &HostdevPass| match pass {
            HostdevPass::Subsystem(subsystem) => {
                matches!(
                    &**subsystem,
                    HostdevSubsys::Scsi {
                        rawio: Some(true),
                        ..
                    }
                )
            }
            HostdevPass::Capabilities(_) => false,
        };
        let host_cdrom = |disk: &Disk| {
            let location = &disk.source.location;
            disk.device == DiskDevice::Cdrom
                && location.storage_type() == StorageType::Block
                && location.path().is_some()
        };
        let deprecated = domain.cpu.as_ref().is_some_and(|cpu| {
            let model = cpu.model.as_ref().and_then(|model| model.name.as_deref());
            cpu.mode == CpuMode::Custom && model == Some(DEPRECATED_MODEL)
        });
        let raw_disk = devices.disks.iter().any(|disk| disk.options.rawio == Some(true));
        let raw_host = devices.hostdevs.iter().any(|hostdev| scsi_raw(&hostdev.mode));
        let script = devices
            .interfaces
            .iter()
            .any(|interface| interface.link.script.is_some());
        let found = [
            (raw_disk || raw_host, Taint::HighPrivileges),
            (script, Taint::ShellScripts),
            (devices.disks.iter().any(host_cdrom), Taint::CdromPassthrough),
            (domain.os.dtb.is_some(), Taint::CustomDtb),
            (deprecated, Taint::DeprecatedConfig),
        ];
        Self {
            taints: found
                .into_iter()
                .filter_map(|(is, taint)| is.then_some(taint))
                .collect(),
            deprecations: deprecated
                .then(|| format!("CPU model {DEPRECATED_MODEL}"))
                .into_iter()
                .collect(),
        }
    }

    /// The messages that the flags ask for; all without flags.
    pub fn texts(&self, flags: DomainMessageType) -> Vec<String> {
        let wanted = |kind| flags.is_empty() || flags.contains(kind);
        let mut texts = Vec::new();
        if wanted(DomainMessageType::TAINTING) {
            texts.extend(
                self.taints
                    .iter()
                    .map(|taint| format!("tainted: {}", taint.text())),
            );
        }
        if wanted(DomainMessageType::DEPRECATION) {
            let deprecated = |what: &String| format!("deprecated configuration: {what}");
            texts.extend(self.deprecations.iter().map(deprecated));
        }
        texts
    }
}
