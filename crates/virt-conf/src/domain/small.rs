//! Small devices: watchdog, panic, balloon, random numbers, TPM, IOMMU, vsock, crypto, shared memory, persistent
//! storage, leases.

use virt_util::uuid::Uuid;
use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::chardev::ChardevHost;
use super::device_info::{DeviceInfo, VirtioOptions};
use super::private_data::{self, PrivateData};
use crate::scaled::{ScaledSize, kib};

xml_enum! {
    /// Model of a watchdog.
    pub enum WatchdogModel { I6300esb = "i6300esb", Ib700 = "ib700", Diag288 = "diag288", Itco = "itco" }
}

xml_enum! {
    /// What a watchdog does when it fires.
    pub enum WatchdogAction { Reset = "reset", Shutdown = "shutdown", Poweroff = "poweroff", Pause = "pause", Dump = "dump", None = "none", InjectNmi = "inject-nmi" }
}

xml_enum! {
    /// How the guest reports a panic.
    pub enum PanicModel { Isa = "isa", Pseries = "pseries", Hyperv = "hyperv", S390 = "s390", Pvpanic = "pvpanic" }
}

xml_enum! {
    /// Model of the memory balloon.
    pub enum MemballoonModel { Virtio = "virtio", Xen = "xen", None = "none", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// Model of a random number generator.
    pub enum RngModel { Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// Model of a TPM.
    pub enum TpmModel { TpmTis = "tpm-tis", TpmCrb = "tpm-crb", TpmSpapr = "tpm-spapr", SpaprTpmProxy = "spapr-tpm-proxy" }
}

xml_enum! {
    /// Version of the TPM specification.
    pub enum TpmVersion { V1_2 = "1.2", V2_0 = "2.0" }
}

xml_enum! {
    /// Where an emulated TPM keeps its state.
    pub enum TpmSourceType { File = "file", Dir = "dir" }
}

xml_enum! {
    /// Which disabled algorithms are removed from a TPM profile.
    pub enum TpmProfileRemoveDisabled { Check = "check", FipsHost = "fips-host" }
}

xml_enum! {
    /// Model of an IOMMU.
    pub enum IommuModel { Intel = "intel", Smmuv3 = "smmuv3", Virtio = "virtio" }
}

xml_enum! {
    /// Which variant of the vsock device is presented.
    pub enum VsockModel { Default = "default", Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// Model of a crypto device.
    pub enum CryptoModel { Virtio = "virtio" }
}

xml_enum! {
    /// Who implements a crypto device.
    pub enum CryptoType { Qemu = "qemu" }
}

xml_enum! {
    /// Who does the work of a crypto device.
    pub enum CryptoBackend { Builtin = "builtin", Lkcf = "lkcf" }
}

xml_enum! {
    /// Model of a shared memory device.
    pub enum ShmemModel { Ivshmem = "ivshmem", IvshmemPlain = "ivshmem-plain", IvshmemDoorbell = "ivshmem-doorbell" }
}

xml_enum! {
    /// Whether shared memory migrates with the guest.
    pub enum ShmemRole { Master = "master", Peer = "peer" }
}

xml_enum! {
    /// What implements persistent storage for the kernel.
    pub enum PstoreBackend { AcpiErst = "acpi-erst" }
}

/// A watchdog.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "watchdog")]
pub struct Watchdog {
    /// Which watchdog the guest sees.
    #[xml("@model")]
    pub model: WatchdogModel,
    /// What it does when it fires.
    #[xml("@action", default, always)]
    pub action: WatchdogAction,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Reports panics of the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "panic")]
pub struct Panic {
    /// How.
    #[xml("@model", code = ErrorCode::CONFIG_UNSUPPORTED)]
    pub model: Option<PanicModel>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Memory balloon.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "memballoon")]
pub struct Memballoon {
    /// Which balloon device the guest sees; `none` for no balloon.
    #[xml("@model")]
    pub model: MemballoonModel,
    /// Whether the guest gets memory back before it runs out.
    #[xml("@autodeflate", on_off)]
    pub autodeflate: Option<bool>,
    /// Whether the guest tells which pages are free.
    #[xml("@freePageReporting", on_off)]
    pub free_page_reporting: Option<bool>,
    /// Seconds between reports of the guest; 0: none.
    #[xml("stats@period", default, base = 0, when = self.stats_period > 0)]
    pub stats_period: i32,
    /// Alias and address; no balloon has none.
    #[xml(flatten, read_when = model != MemballoonModel::None)]
    pub info: DeviceInfo,
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
}

/// NVRAM of pSeries guests.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "nvram", body)]
pub struct Nvram {
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Random number generator.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "rng", body, check = Rng::after_read)]
pub struct Rng {
    /// Which variant of the virtio device the guest sees.
    #[xml("@model")]
    pub model: RngModel,
    /// How fast the guest may read.
    #[xml("rate+", when = self.rate.as_ref().is_some_and(|rate| rate.bytes != 0))]
    pub rate: Option<RngRate>,
    /// Where random numbers come from.
    #[xml("backend", sole)]
    pub backend: RngSource,
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// How fast the guest may read.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "rate")]
pub struct RngRate {
    /// Bytes in a period.
    #[xml("@bytes", own, default, nonempty)]
    pub bytes: u32,
    /// Milliseconds; 0: the default of a second.
    #[xml("@period", own, default, nonempty, read_when = bytes != 0)]
    pub period: u32,
}

/// Where random numbers come from.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "backend", union = "@model")]
pub enum RngSource {
    /// A device of the host.
    Random {
        /// Its path; none until the definition is normalized.
        #[xml("text()")]
        path: Option<String>,
    },
    /// An entropy gathering daemon.
    Egd(ChardevHost),
    /// The hypervisor.
    Builtin,
}

/// Trusted platform module.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "tpm")]
pub struct Tpm {
    /// Which interface the guest sees.
    #[xml("@model")]
    pub model: Option<TpmModel>,
    /// What is behind it.
    #[xml("backend", sole)]
    pub backend: TpmBackend,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// The driver's own data, as XML.
    #[xml(".", with = private_data, reads("privateData"))]
    pub private_data: PrivateData,
}

/// What is behind a TPM.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "backend", union = "@type")]
pub enum TpmBackend {
    /// The host's.
    Passthrough {
        /// Its device node; none until the definition is normalized.
        #[xml("device+@path", nonempty, default = Some(TPM_DEVICE.to_owned()))]
        path: Option<String>,
    },
    /// An emulator that the driver runs.
    Emulator(Box<TpmEmulator>),
    /// An emulator that somebody else runs.
    External {
        /// Its socket.
        #[xml("source", sole)]
        source: TpmSocket,
    },
}

/// Socket of a TPM emulator.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "source")]
pub struct TpmSocket {
    /// Kind of socket.
    #[xml("@type", own)]
    pub kind: super::storage::VhostUserType,
    /// Who connects.
    #[xml("@mode", default, always)]
    pub mode: super::chardev::SourceMode,
    /// Where the TPM's emulator listens.
    #[xml("@path")]
    pub path: String,
}

/// TPM emulator that the driver runs.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "backend")]
pub struct TpmEmulator {
    /// Version of the specification.
    #[xml("@version")]
    pub version: Option<TpmVersion>,
    /// Whether the state outlives a transient guest.
    #[xml("@persistent_state", default, code = ErrorCode::INTERNAL_ERROR)]
    pub persistent_state: bool,
    /// Level of the log; 0: none.
    #[xml("@debug", default)]
    pub debug: u32,
    /// Secret that encrypts the state.
    #[xml("encryption+@secret", nonempty, code = ErrorCode::INTERNAL_ERROR)]
    pub secret: Option<Uuid>,
    /// Banks that are active.
    #[xml("active_pcr_banks+")]
    pub active_banks: Option<TpmBanks>,
    /// Where the state is kept.
    #[xml("source")]
    pub source: Option<TpmStateSource>,
    /// Which algorithms the TPM knows.
    #[xml("profile", omit_empty)]
    pub profile: Option<TpmProfile>,
}

/// Where an emulated TPM keeps its state.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "source")]
pub struct TpmStateSource {
    /// Whether the state is a file or a folder.
    #[xml("@type")]
    pub kind: TpmSourceType,
    /// Absolute path on the host.
    #[xml("@path", own)]
    pub path: String,
}

/// Which algorithms a TPM knows.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "profile")]
pub struct TpmProfile {
    /// Name of the profile to start from.
    #[xml("@source")]
    pub source: Option<String>,
    /// Which disabled algorithms are removed.
    #[xml("@removeDisabled")]
    pub remove_disabled: Option<TpmProfileRemoveDisabled>,
    /// Name of the profile that was made; set by the driver.
    #[xml("@name")]
    pub name: Option<String>,
}

/// Active banks: one empty element each.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "active_pcr_banks")]
pub struct TpmBanks {
    /// SHA-1.
    #[xml("sha1")]
    pub sha1: bool,
    /// SHA-256.
    #[xml("sha256")]
    pub sha256: bool,
    /// SHA-384.
    #[xml("sha384")]
    pub sha384: bool,
    /// SHA-512.
    #[xml("sha512")]
    pub sha512: bool,
}

/// IOMMU of the guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "iommu")]
pub struct Iommu {
    /// Which IOMMU the guest sees.
    #[xml("@model")]
    pub model: IommuModel,
    /// Settings.
    #[xml("driver", omit_empty)]
    pub driver: Option<IommuDriver>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Settings of an IOMMU.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "driver")]
pub struct IommuDriver {
    /// Interrupt remapping.
    #[xml("@intremap", on_off)]
    pub intremap: Option<bool>,
    /// Whether entries that are not present are cached, as host devices need it.
    #[xml("@caching_mode", on_off)]
    pub caching_mode: Option<bool>,
    /// Extended interrupt mode.
    #[xml("@eim", on_off)]
    pub eim: Option<bool>,
    /// Device IOTLB.
    #[xml("@iotlb", on_off)]
    pub iotlb: Option<bool>,
    /// Bits of an address; 0: the default.
    #[xml("@aw_bits", default)]
    pub aw_bits: u32,
    /// Whether memory accesses are translated.
    #[xml("@dma_translation", on_off)]
    pub dma_translation: Option<bool>,
}

/// Sockets between host and guest.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "vsock")]
pub struct Vsock {
    /// Which variant of the device is presented.
    #[xml("@model", default)]
    pub model: VsockModel,
    /// Whether the driver chooses the guest's address.
    #[xml("cid@auto")]
    pub auto_cid: Option<bool>,
    /// The guest's address; 0: none yet.
    #[xml("cid@address", default, nonzero)]
    pub cid: u32,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
}

/// Crypto device.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "crypto")]
pub struct Crypto {
    /// Which crypto device the guest sees.
    #[xml("@model")]
    pub model: CryptoModel,
    /// Who implements it.
    #[xml("@type")]
    pub kind: CryptoType,
    /// Who does the work.
    #[xml("backend", sole)]
    pub backend: CryptoBackendOptions,
    /// Options of virtio devices.
    #[xml("driver", flatten)]
    pub virtio: VirtioOptions,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Who does the work of a crypto device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "backend")]
pub struct CryptoBackendOptions {
    /// Who.
    #[xml("@model")]
    pub model: CryptoBackend,
    /// Number of queues; 0: the default.
    #[xml("@queues", default)]
    pub queues: u32,
}

/// Memory that several guests share.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "shmem", body, check = Shmem::after_read)]
pub struct Shmem {
    /// Tells the memory from other memory on the host.
    #[xml("@name", own)]
    pub name: String,
    /// Whether it migrates with the guest.
    #[xml("@role")]
    pub role: Option<ShmemRole>,
    /// How the guest reaches the memory.
    #[xml("model@type", default, always)]
    pub model: ShmemModel,
    /// MiB.
    #[xml("size", unless_empty, with = mebibytes, described = crate::scaled::ScaledSize)]
    pub size: Option<u64>,
    /// Server that passes interrupts on.
    #[xml("server")]
    pub server: Option<ShmemServer>,
    /// Interrupts.
    #[xml("msi")]
    pub msi: Option<ShmemMsi>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// Server of shared memory.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "server")]
pub struct ShmemServer {
    /// Its socket.
    #[xml("@path", with = crate::values::tidy_path, described = String)]
    pub path: Option<String>,
}

/// Interrupts of shared memory.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "msi")]
pub struct ShmemMsi {
    /// Number of vectors; 0: the default.
    #[xml("@vectors", base = 0, default)]
    pub vectors: u32,
    /// Whether interrupts are signalled by an event descriptor.
    #[xml("@ioeventfd", on_off)]
    pub ioeventfd: Option<bool>,
}

/// Where a TPM that is passed through is, unless its path is said.
const TPM_DEVICE: &str = "/dev/tpm0";

impl Rng {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        match &self.backend {
            RngSource::Egd(_) => {
                let backend = element.child_or_ghost("backend");
                if !backend.has_attr("type") {
                    cx.fail(error_at(backend, At::Text, "missing required attribute 'type'"))?;
                }
                Ok(())
            }
            RngSource::Random { .. } | RngSource::Builtin => Ok(()),
        }
    }
}

impl Lease {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.lockspace.is_none() {
            let what = "missing required element 'lockspace'";
            let error = error_with(ErrorCode::INTERNAL_ERROR, element, At::Text, what);
            // libvirt forgets to say what is wrong.
            cx.fail(error.in_domain(ErrorDomain::NONE))?;
        }
        Ok(())
    }
}

impl Shmem {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        // Less than a MiB is told as none; nothing is not told.
        let is_zero = |size: Element<'_>| size.text().parse() == Ok(0_u64);
        if element.child("size").is_some_and(is_zero) {
            self.size = None;
        }
        if self.name.contains('/') || matches!(self.name.as_str(), "." | "..") {
            let what = format!("shmem name '{}' must not hold '/' nor be '.' or '..'", self.name);
            cx.fail(error_with(
                ErrorCode::CONFIG_UNSUPPORTED,
                element,
                At::Attribute("name"),
                what,
            ))?;
        }
        if self.msi.is_some() && self.server.is_none() {
            let what = "msi option is only supported with a server";
            cx.fail(error_at(element, At::Child("msi"), what))?;
        }
        Ok(())
    }
}

/// `<size unit='M'>4</size>`.
mod mebibytes {
    use virt_util::Result;
    use virt_util::xml::{At, Element, Reader, Writer, push_unsigned};

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        let (text, unit) = (element.text(), element.attr("unit"));
        let bytes = crate::scaled::scale_text(element, At::Text, (&text, unit.as_deref()), 1, u64::MAX)?;
        Ok(bytes >> 20)
    }

    pub(super) fn write(value: &u64, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute("unit", "M");
        w.text_with(|out| push_unsigned(out, *value));
        w.end(name);
    }
}

/// Persistent storage for the guest's kernel.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "pstore")]
pub struct Pstore {
    /// What implements it.
    #[xml("@backend")]
    pub backend: PstoreBackend,
    /// The file; none until the definition is normalized.
    #[xml("path")]
    pub path: Option<String>,
    /// KiB.
    #[xml("size", with = kib, described = ScaledSize)]
    pub size: Option<u64>,
    /// Alias and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
}

/// A lease of the lock manager.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "lease", check = Lease::after_read)]
pub struct Lease {
    /// Lock space.
    #[xml("lockspace")]
    pub lockspace: Option<String>,
    /// Key in the lock space.
    #[xml("key")]
    pub key: String,
    /// File that holds the lease.
    #[xml("target@path", own)]
    pub path: String,
    /// Byte in the file.
    #[xml("target@offset", default)]
    pub offset: u64,
}

impl Memballoon {
    /// A balloon of that model.
    pub fn new(model: MemballoonModel) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }
}
