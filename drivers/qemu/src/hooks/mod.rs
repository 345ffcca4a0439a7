//! What the driver adds to a definition: the emulator, default devices, addresses, checks.

mod addresses;
mod defaults;
mod devices;
mod firmware;
pub(crate) mod migratable;
mod status;
mod validate;

pub(crate) use defaults::implied_audio;
use std::borrow::Cow;
pub(crate) use validate::pseries_nvdimm_size;
use virt_conf::domain::Domain;
use virt_conf::domain::hostdev::HostPciAddress;
use virt_conf::domain::normalize::{
    DeviceRef, DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags,
};
use virt_conf::domain::small::TpmVersion;
use virt_util::arch::Arch;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::capabilities::{Accel, QemuCaps};
use crate::firmware::Descriptor;
use crate::machine::MachineKind;
use crate::plan::host::DriverConfig;

/// Finds binaries and what they can do.
pub trait CapsSource {
    /// The binary that runs guests of an architecture.
    fn emulator(&self, arch: Arch) -> Option<String>;
    /// What a binary can do; nothing if there is none such.
    fn caps(&self, binary: &str) -> Option<&QemuCaps>;
}

/// Where the hooks get the descriptors of the host's firmware.
pub trait FirmwareSource {
    /// All that are in force, in the order of preference. Asked for guests that have firmware to select, which are few.
    ///
    /// # Errors
    /// Folders that cannot be read.
    fn firmware(&self) -> Result<Cow<'_, [Descriptor]>>;
}

impl FirmwareSource for Vec<Descriptor> {
    fn firmware(&self) -> Result<Cow<'_, [Descriptor]>> {
        Ok(self.into())
    }
}

/// Where the hooks learn of the host's devices.
pub trait HostDevices {
    /// The number of a PCI device's IOMMU group; nothing where it has none, or is not there.
    fn iommu_group(&self, device: HostPciAddress) -> Option<u32>;

    /// Whether a PCI device is Express. What is not there is taken for that: most are.
    fn is_express(&self, device: HostPciAddress) -> bool {
        let _ = device;
        true
    }

    /// Whether the program that shows screens to RDP clients is installed.
    fn has_rdp_server(&self) -> bool {
        true
    }

    /// Whether an interface on that virtual network becomes a device of the host, which is chosen when the guest starts.
    fn network_gives_devices(&self, network: &str) -> bool {
        let _ = network;
        false
    }
}

/// A host of whose devices nothing is known.
impl HostDevices for () {
    fn iommu_group(&self, _: HostPciAddress) -> Option<u32> {
        None
    }
}

/// The driver's part of normalizing.
pub struct QemuHooks<'a> {
    /// Architecture of the host.
    pub host_arch: Arch,
    /// Binaries.
    pub caps: &'a dyn CapsSource,
    /// Settings of the driver.
    pub config: &'a DriverConfig,
    /// Firmware of the host.
    pub firmware: &'a dyn FirmwareSource,
    /// Folder of firmware variables.
    pub nvram_dir: &'a str,
    /// Folder of the driver's guests.
    pub lib_dir: &'a str,
    /// Folder of sockets of channels.
    pub channel_target_dir: &'a str,
    /// The environment of the driver.
    pub environment: &'a [(String, String)],
    /// The host's devices. They are asked about for guests that get such.
    pub host: &'a dyn HostDevices,
    /// Versions of TPMs that swtpm emulates, none if it is not installed; `None` where that was not asked.
    pub tpm_versions: Option<&'a [TpmVersion]>,
}

impl std::fmt::Debug for QemuHooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QemuHooks")
            .field("host_arch", &self.host_arch)
            .finish_non_exhaustive()
    }
}

/// What is known of the guest at hand.
#[derive(Clone, Copy)]
struct Guest<'a> {
    caps: &'a QemuCaps,
    arch: Arch,
    accel: Accel,
    host: &'a dyn HostDevices,
}

impl<'a> QemuHooks<'a> {
    fn guest(&self, domain: &Domain) -> Result<Guest<'a>> {
        let arch = crate::plan::guest_arch(domain).map_err(ours)?;
        let binary = domain.devices.emulator.as_deref().unwrap_or_default();
        let caps = self.caps.caps(binary).ok_or_else(|| {
            let what = format!("the capabilities of the emulator '{binary}' are not known");
            ours(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what))
        })?;
        let accel = Accel::from_domain_type(domain.virt_type.as_str()).unwrap_or(Accel::Tcg);
        let host = self.host;
        Ok(Guest {
            caps,
            arch,
            accel,
            host,
        })
    }
}

/// What the driver adds to definitions and checks in them is told by the driver.
fn ours(error: VirtError) -> VirtError {
    error.in_domain_if_none(ErrorDomain::QEMU)
}

/// At a start also devices whose definition leaves their address open get one.
///
/// # Errors
/// As for addresses of a definition.
pub(crate) fn assign_at_start(domain: &mut Domain, caps: &QemuCaps) -> Result<()> {
    let arch = crate::plan::guest_arch(domain)?;
    let accel = Accel::from_domain_type(domain.virt_type.as_str()).unwrap_or(Accel::Tcg);
    let guest = Guest {
        caps,
        arch,
        accel,
        host: &(),
    };
    addresses::assign(domain, guest, true)
}

fn machine(domain: &Domain, arch: Arch) -> MachineKind<'_> {
    MachineKind::new(domain.os.kind.machine.as_deref().unwrap_or_default(), arch)
}

impl DomainHooks for QemuHooks<'_> {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::MEMORY_HOTPLUG
            | DomainFeatures::OFFLINE_VCPUPIN
            | DomainFeatures::INDIVIDUAL_VCPUS
            | DomainFeatures::USER_ALIAS
            | DomainFeatures::FW_AUTOSELECT
            | DomainFeatures::NET_MODEL_STRING
            | DomainFeatures::DISK_FD
    }

    fn default_arch(&self) -> Option<String> {
        Some(self.host_arch.name().to_owned())
    }

    // No security driver labels guests here.
    fn default_security_model(&self) -> Option<String> {
        Some("none".to_owned())
    }

    fn basic(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        if domain.devices.emulator.is_none() {
            let arch = crate::plan::guest_arch(domain).map_err(ours)?;
            let emulator = self.caps.emulator(arch).ok_or_else(|| {
                let what = format!("no emulator for architecture '{arch}' is installed: say <emulator>");
                ours(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what))
            })?;
            domain.devices.emulator = Some(emulator);
        }
        Ok(())
    }

    fn domain(&self, domain: &mut Domain, cx: &NormalizeContext<'_>) -> Result<()> {
        let guest = self.guest(domain)?;
        self.domain_defaults(domain, guest, cx.flags).map_err(ours)
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, cx: &NormalizeContext<'_>) -> Result<()> {
        let guest = self.guest(domain)?;
        self.device_defaults(domain, device, guest, cx.flags)
            .map_err(ours)?;
        if cx.flags.contains(NormalizeFlags::STATUS) {
            status::restore(domain, device);
        }
        Ok(())
    }

    fn assign_addresses(&self, domain: &mut Domain, cx: &NormalizeContext<'_>) -> Result<()> {
        let fresh = cx.flags.contains(NormalizeFlags::ABI_UPDATE);
        addresses::assign(domain, self.guest(domain)?, fresh).map_err(ours)
    }

    fn validate_domain(&self, domain: &Domain) -> Result<()> {
        validate::domain(domain, self.guest(domain)?).map_err(ours)
    }

    fn validate_device(&self, domain: &Domain, device: DeviceRef) -> Result<()> {
        validate::device(domain, device, self.guest(domain)?)
            .and_then(|()| validate::tpm_version(domain, device, self.tpm_versions))
            .map_err(ours)
    }
}
