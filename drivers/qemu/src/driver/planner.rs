//! The seam between the driver and its pure middle.

use std::sync::Arc;

use virt_api::host::HostServices;
use virt_conf::cpu::CpuDocument;
use virt_conf::cpu_models::Comparison;
use virt_conf::domain::Domain;
use virt_util::command::{Capabilities, ExecLabel, Limit, User};
use virt_util::time::{Cancel, Deadline};
use virt_util::uuid::Uuid;
use virt_util::{Result, VirtError};

use crate::capabilities::QemuCaps;
use crate::plan::args::CommandLine;
use crate::plan::secrets::SecretValue;
use crate::process::layout::Layout;

/// A guest about to start.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The command.
    pub command: CommandLine,
    /// The definition as it is while the guest runs.
    pub live: Domain,
    /// What the binary can do.
    pub caps: Arc<QemuCaps>,
    /// The number of the last block node.
    pub last_node: u64,
    /// Who it runs as; `None`: as we do.
    pub user: Option<User>,
    /// What it may do beyond that.
    pub capabilities: Capabilities,
    /// Its resource limits.
    pub limits: Vec<Limit>,
    /// Its security labels.
    pub labels: Vec<ExecLabel>,
    /// The key that its secrets are encrypted with.
    pub master_key: SecretValue,
}

/// Who may take how long.
#[derive(Clone, Debug)]
pub struct Patience {
    /// When the caller gives up.
    pub deadline: Deadline,
    /// How the caller gives up earlier.
    pub cancel: Cancel,
}

/// Why a definition is made complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It is new.
    Define,
    /// It was stored, perhaps by another version. What cannot be completed here and now is kept, and marked
    /// [`incomplete`](Domain::incomplete).
    Load,
    /// It was marked, and is to run.
    Start,
}

/// Makes definitions complete, and command lines of them. A binary may have to be asked what it can do, so this waits.
pub trait Planner: Send + Sync {
    /// A definition with everything that libvirt fills in when it is defined: UUID, emulator, machine, controllers,
    /// addresses. Refuses what cannot be.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED`, `XML_ERROR`.
    fn normalize(
        &self,
        domain: Domain,
        occasion: Occasion,
        layout: &Layout,
        patience: &Patience,
    ) -> Result<Domain>;

    /// The command for a normalized definition that starts with `id`.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for what the binary cannot do.
    fn plan(&self, domain: &Domain, id: i32, layout: &Layout, patience: &Patience) -> Result<Planned>;

    /// The highest version of QEMU that guests would get, as `major × 1,000,000 + minor × 1,000 + micro`.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is no binary.
    fn version(&self, layout: &Layout, patience: &Patience) -> Result<u64>;

    /// The UUID by which the process that hosts the driver knows this host. Before anything is asked.
    fn set_host_uuid(&self, uuid: Uuid) {
        let _ = uuid;
    }

    /// Who else is in the process: secrets are asked for there. Before the first guest starts.
    fn set_services(&self, services: &HostServices) {
        let _ = services;
    }

    /// The host's capabilities document.
    ///
    /// # Errors
    /// Of those who are asked.
    fn capabilities(&self, layout: &Layout, patience: &Patience) -> Result<String>;

    /// The document about what guests of one emulator, machine and type can have.
    ///
    /// # Errors
    /// `INVALID_ARG` for what does not exist or does not go together.
    fn domain_capabilities(&self, wanted: &Wanted, layout: &Layout, patience: &Patience) -> Result<String>;

    /// A definition whose CPU is told as guests would get it now, in place of by what the host has.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` if the host's CPU is not known.
    fn update_cpu(&self, _domain: &Domain, _layout: &Layout, _patience: &Patience) -> Result<Domain> {
        Err(VirtError::no_support("VIR_DOMAIN_XML_UPDATE_CPU"))
    }

    /// The definition as older programs want it: without what they would add anyhow.
    fn for_older(&self, domain: &Domain, _layout: &Layout) -> Domain {
        domain.clone()
    }

    /// Compares a CPU with the host's own.
    ///
    /// # Errors
    /// As [`virt_conf::cpu_models::compare`].
    fn compare_cpu(&self, _cpu: &CpuDocument) -> Result<Comparison> {
        Err(VirtError::no_support("virConnectCompareCPU"))
    }

    /// Compares a CPU with what guests can have.
    ///
    /// # Errors
    /// As [`compare_with_hypervisor`](super::cpus::compare_with_hypervisor).
    fn compare_hypervisor_cpu(
        &self,
        _wanted: &Wanted,
        _cpu: &CpuDocument,
        _layout: &Layout,
        _patience: &Patience,
    ) -> Result<Comparison> {
        Err(VirtError::no_support("virConnectCompareHypervisorCPU"))
    }

    /// What CPUs have in common that guests can have: documents, whether all features are spelled out, whether those are
    /// left out that tie a guest to its host.
    ///
    /// # Errors
    /// As [`baseline_of_hypervisor`](super::cpus::baseline_of_hypervisor).
    fn baseline_hypervisor_cpu(
        &self,
        _wanted: &Wanted,
        _sources: &[String],
        (_expand, _migratable): (bool, bool),
        _layout: &Layout,
        _patience: &Patience,
    ) -> Result<String> {
        Err(VirtError::no_support("virConnectBaselineHypervisorCPU"))
    }
}

/// What a document of domain capabilities is asked for. What is not said is what a guest would get.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Path of the emulator.
    pub emulator: Option<String>,
    /// Architecture of the guest.
    pub arch: Option<String>,
    /// Machine type.
    pub machine: Option<String>,
    /// `kvm`, `qemu` …
    pub virt_type: Option<String>,
    /// The host's model is told without features that it is called better to avoid.
    pub without_deprecated: bool,
}
