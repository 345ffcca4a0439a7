//! From what a definition says to what it means: defaults, implied devices, addresses.
//!
//! [`normalize`] runs the steps in libvirt's order; between them a driver's [`DomainHooks`] say what only its hypervisor
//! knows. Normalizing twice changes nothing.
//!
//! | step | by |
//! |---|---|
//! | UUID, MAC addresses, numbers of ports | [`generate`] |
//! | [`DomainHooks::basic`]: architecture, machine, emulator | driver |
//! | indexes of controllers | [`controllers`] |
//! | [`DomainHooks::domain`]: default devices | driver |
//! | each device: [`DomainHooks::device`], then the common part | driver, [`devices`] |
//! | memory, boot order, timers, implied devices | [`common`] |
//! | [`DomainHooks::assign_addresses`] | driver |
//! | what the driver does not support | [`common`] |

mod common;
mod controllers;
mod devices;
mod generate;
mod names;
mod neighbours;

use virt_util::uuid::Uuid;
use virt_util::{ErrorDomain, Result};

use super::Domain;
use crate::values::MacAddress;

pub use controllers::{
    add_controller, find_controller, in_reading_order, insert_controller, next_free_index,
};
pub(in crate::domain) use devices::normalize_device;
pub use devices::{
    DeviceRef, device_info, device_info_mut, device_refs, disk_index, disk_name, disk_name_parts,
    drive_address,
};
pub use generate::generate_mac;
pub(in crate::domain) use generate::{check_numatune, complete_interface};
pub use names::device_name;
pub(in crate::domain) use neighbours::Neighbours;

bitflags::bitflags! {
    /// What a driver supports of the model, and how it wants common steps to behave.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DomainFeatures: u32 {
        /// SCSI buses have 16 units instead of 7.
        const WIDE_SCSI = 1 << 0;
        /// Memory can be plugged in.
        const MEMORY_HOTPLUG = 1 << 1;
        /// CPUs that are not plugged in can be pinned.
        const OFFLINE_VCPUPIN = 1 << 2;
        /// Names may hold a slash.
        const NAME_SLASH = 1 << 3;
        /// Single CPUs have a state.
        const INDIVIDUAL_VCPUS = 1 << 4;
        /// Users may give devices aliases.
        const USER_ALIAS = 1 << 5;
        /// The guest has no order of devices to boot from.
        const NO_BOOT_ORDER = 1 << 6;
        /// Firmware can be selected automatically.
        const FW_AUTOSELECT = 1 << 7;
        /// Interfaces may have a model that the library does not know.
        const NET_MODEL_STRING = 1 << 8;
        /// The first serial port has no console standing for it.
        const NO_STUB_CONSOLE = 1 << 9;
        /// Disks may be given as file descriptors.
        const DISK_FD = 1 << 10;
        /// Guests need not say how much memory they have: without, they have no limit.
        const UNLIMITED_MEMORY = 1 << 11;
    }
}

bitflags::bitflags! {
    /// Why a definition is normalized.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NormalizeFlags: u32 {
        /// It is the definition for the next start.
        const INACTIVE = 1 << 0;
        /// It comes fresh from the user: newer defaults may be used.
        const ABI_UPDATE = 1 << 1;
        /// It is an incoming migration, which may be given newer defaults.
        const ABI_UPDATE_MIGRATION = 1 << 2;
        /// Definitions that the driver cannot complete are kept and marked rather than refused.
        const ALLOW_FAILURE = 1 << 3;
        /// It was read from a native format: the devices stay in the order of the file, and neither a UUID, MAC addresses nor
        /// an architecture are made up.
        const NATIVE = 1 << 4;
        /// It is that of a guest that runs, from its status file.
        const STATUS = 1 << 5;
    }
}

/// Where random values come from. A test gives numbers it knows.
pub trait Randomness {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A random UUID (version 4).
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        // It fails only on systems without a source of random numbers.
        if getrandom::fill(bytes).is_err() {
            tracing::error!("the system gives no random numbers: addresses that are made may clash");
        }
    }
}

/// What goes along while a definition is normalized.
pub struct NormalizeContext<'a> {
    /// Why.
    pub flags: NormalizeFlags,
    /// Random values.
    pub random: &'a dyn Randomness,
}

impl std::fmt::Debug for NormalizeContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NormalizeContext")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// What only a driver knows about definitions. Every method may be left out.
pub trait DomainHooks {
    /// What the driver supports.
    fn features(&self) -> DomainFeatures {
        DomainFeatures::empty()
    }

    /// Architecture of guests whose definition says none; the host's if this says nothing.
    fn default_arch(&self) -> Option<String> {
        None
    }

    /// The security driver that a label without a name means; `none` where there is no driver.
    fn default_security_model(&self) -> Option<String> {
        None
    }

    /// First three bytes of MAC addresses that are made.
    fn mac_prefix(&self) -> [u8; 3] {
        [0x52, 0x54, 0x00]
    }

    /// Whether the driver knows the model of an interface; used without [`DomainFeatures::NET_MODEL_STRING`].
    fn knows_net_model(&self, model: &str) -> bool {
        super::interface::is_known_model(model)
    }

    /// First step: what all others need to know, as the emulator and the machine.
    ///
    /// # Errors
    /// What the driver cannot make sense of.
    fn basic(&self, _domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Defaults of the whole, and devices that every guest has.
    ///
    /// # Errors
    /// What the driver cannot make sense of.
    fn domain(&self, _domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Defaults of one device.
    ///
    /// # Errors
    /// What the driver cannot make sense of.
    fn device(&self, _domain: &mut Domain, _device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Addresses of devices that have none.
    ///
    /// # Errors
    /// Addresses that exclude each other, or too few of them.
    fn assign_addresses(&self, _domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether the hypervisor can run the guest at all.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` and others, naming what is not supported.
    fn validate_domain(&self, _domain: &Domain) -> Result<()> {
        Ok(())
    }

    /// Whether the hypervisor can give the guest this device.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` and others, naming what is not supported.
    fn validate_device(&self, _domain: &Domain, _device: DeviceRef) -> Result<()> {
        Ok(())
    }
}

/// Hooks of a driver that adds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl DomainHooks for NoHooks {}

/// Completes a definition that was read.
///
/// With [`NormalizeFlags::ALLOW_FAILURE`] what the driver cannot complete, perhaps only today, is kept as it is: the
/// definition is then marked [`incomplete`](Domain::incomplete), and to be normalized again before it is used.
///
/// # Errors
/// `XML_ERROR`, `CONFIG_UNSUPPORTED` and others: what cannot be completed, and why.
pub fn normalize(domain: &mut Domain, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
    normalize_all(domain, hooks, cx).map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN))
}

fn normalize_all(domain: &mut Domain, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
    domain.incomplete = false;
    if cx.flags.contains(NormalizeFlags::INACTIVE) && !hooks.features().contains(DomainFeatures::USER_ALIAS) {
        forget_aliases(domain);
    }
    generate::generate(domain, hooks, cx)?;
    let mut neighbours = Neighbours::default();
    let basic = hooks.basic(domain, cx);
    tolerate(domain, cx, basic)?;
    controllers::assign_indexes(domain);
    let whole = hooks.domain(domain, cx);
    tolerate(domain, cx, whole)?;
    devices::number_isa_serials(domain)?;
    for device in device_refs(domain) {
        devices::normalize_device(domain, device, hooks, cx, &mut neighbours)
            .map_err(|error| error.context(device_name(domain, device)))?;
    }
    common::normalize_common(domain, hooks, cx)?;
    let addresses = hooks.assign_addresses(domain, cx);
    tolerate(domain, cx, addresses)?;
    common::check_features(domain, hooks)?;
    domain.devices.shrink_to_fit();
    Ok(())
}

/// A driver that takes no names of the user's gives every device its own when the guest starts.
fn forget_aliases(domain: &mut Domain) {
    for device in device_refs(domain) {
        if let Some(info) = device_info_mut(domain, device) {
            info.alias = None.into();
        }
    }
}

/// What to do about a driver's failure.
fn tolerate(domain: &mut Domain, cx: &NormalizeContext<'_>, result: Result<()>) -> Result<()> {
    match result {
        Err(error) if cx.flags.contains(NormalizeFlags::ALLOW_FAILURE) => {
            tracing::warn!(
                domain = domain.name,
                "the driver cannot complete the definition: {error:#}"
            );
            domain.incomplete = true;
            Ok(())
        }
        result => result,
    }
}

/// The MAC address that the text of a definition gives to an interface, for callers outside of [`normalize`].
pub(crate) fn is_missing(mac: Option<MacAddress>) -> bool {
    mac.is_none_or(MacAddress::is_zero)
}
