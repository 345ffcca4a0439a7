//! Facts of the host and settings of the driver that a plan depends on.

use std::sync::Arc;

use virt_conf::domain::storage::NetProtocol;
use virt_util::arch::Arch;
use virt_util::bitmap::Bitmap;
use virt_util::uuid::Uuid;

use super::args::{Descriptor, DescriptorUse};
use crate::capabilities::host_model::HostProcessor;

/// Gives the next descriptor its number in the new process; the slice holds those before it.
pub type Numbering = fn(&DescriptorUse, &[Descriptor]) -> i32;

/// The host, as far as a plan needs it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Architecture of the host.
    pub arch: Arch,
    /// Its processor.
    pub processor: Arc<HostProcessor>,
    /// The driver may do everything: its folders are the system's.
    pub privileged: bool,
    /// Folders of the driver.
    pub paths: Paths,
    /// Settings.
    pub config: DriverConfig,
    /// Where pages of which size can be had.
    pub huge_pages: Vec<HugePageMount>,
    /// Size of a page, in KiB.
    pub page_size: u64,
    /// NUMA nodes.
    pub nodes: Vec<HostNode>,
    /// The environment that guests inherit.
    pub environment: Vec<(String, String)>,
    /// The environment of the driver itself.
    pub daemon_environment: Vec<(String, String)>,
    /// Seconds since 1970, UTC.
    pub now: i64,
    /// Seconds by which local time is ahead of UTC.
    pub utc_offset: i64,
    /// The kernel moves packets for the virtio network cards of this guest.
    pub vhost_net: bool,
    /// How descriptors are numbered.
    pub numbering: Numbering,
}

impl Host {
    /// Socket of the program that is a guest's TPM.
    pub fn swtpm_socket(&self, short_name: &str) -> String {
        match &self.paths.swtpm_socket {
            Some(path) => path.clone(),
            None => format!("{}/swtpm/{short_name}-swtpm.sock", self.paths.state),
        }
    }
}

/// One after another, behind the standard ones.
pub fn consecutive(_usage: &DescriptorUse, before: &[Descriptor]) -> i32 {
    i32::try_from(before.len())
        .unwrap_or(i32::MAX - 3)
        .saturating_add(3)
}

/// Folders of the driver.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// One folder a guest is in here.
    pub lib: String,
    /// Sockets of channels.
    pub channel_target: String,
    /// Files that are memory of guests.
    pub memory_backing: String,
    /// Variables of firmware.
    pub nvram: String,
    /// State of helpers.
    pub state: String,
    /// Socket of the program that is a TPM, where it is not derived from the guest's name.
    pub swtpm_socket: Option<String>,
    /// Sockets of the programs that are user networks.
    pub passt: String,
}

/// Where huge pages of one size are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugePageMount {
    /// Size of a page in KiB.
    pub size: u64,
    /// Mount point.
    pub path: String,
    /// The size that the kernel takes if nobody says one.
    pub default: bool,
}

/// A NUMA node of the host.
#[derive(Clone, Debug)]
pub struct HostNode {
    /// Its number.
    pub id: u32,
    /// Its CPUs.
    pub cpus: Bitmap,
}

/// The settings of `qemu.conf` that a plan depends on.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// `dump_guest_core`
    pub dump_guest_core: bool,
    /// `seccomp_sandbox`
    pub seccomp_sandbox: Option<bool>,
    /// `log_timestamp`
    pub log_timestamp: bool,
    /// `set_process_name`
    pub set_process_name: bool,
    /// `deprecation_behavior`
    pub deprecation_behavior: Option<String>,
    /// `stdio_handler`: files of character devices are written through the log daemon.
    pub stdio_by_log_daemon: bool,
    /// Settings of VNC servers.
    pub vnc: DisplayConfig,
    /// Settings of SPICE servers.
    pub spice: DisplayConfig,
    /// `vnc_allow_host_audio`
    pub vnc_allow_host_audio: bool,
    /// `nographics_allow_host_audio`
    pub nographics_allow_host_audio: bool,
    /// `chardev_tls…`: TCP connections of character devices.
    pub chardev_tls: TlsConfig,
    /// `vxhs_tls…`: storage by protocol `vxhs`.
    pub vxhs_tls: TlsConfig,
    /// `nbd_tls…`: storage by protocol `nbd`.
    pub nbd_tls: TlsConfig,
    /// `gluster_debug_level`
    pub gluster_debug_level: u32,
    /// What nbdkit serves in QEMU's place: with `storage_use_nbdkit`, what the installed one can.
    pub nbdkit: Nbdkit,
}

impl DriverConfig {
    /// The settings for encrypted connections to storage, where a protocol has them.
    pub fn storage_tls(&self, protocol: NetProtocol) -> Option<&TlsConfig> {
        match protocol {
            NetProtocol::Nbd => Some(&self.nbd_tls),
            NetProtocol::Vxhs => Some(&self.vxhs_tls),
            _ => None,
        }
    }

    /// Whether nbdkit serves storage of a protocol.
    pub fn serves_with_nbdkit(&self, protocol: NetProtocol) -> bool {
        match protocol {
            NetProtocol::Http
            | NetProtocol::Https
            | NetProtocol::Ftp
            | NetProtocol::Ftps
            | NetProtocol::Tftp => self.nbdkit.curl,
            NetProtocol::Ssh => self.nbdkit.ssh,
            _ => false,
        }
    }
}

/// Settings of encrypted connections of one kind.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// Connections are encrypted unless the guest says otherwise.
    pub on: bool,
    /// Folder with certificates.
    pub dir: String,
    /// Clients need a certificate.
    pub verify: bool,
    /// The secret that unlocks the private key.
    pub secret: Option<Uuid>,
}

/// What nbdkit can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nbdkit {
    /// What `curl` fetches.
    pub curl: bool,
    /// Files over SSH.
    pub ssh: bool,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            dump_guest_core: false,
            seccomp_sandbox: None,
            log_timestamp: true,
            set_process_name: false,
            deprecation_behavior: None,
            stdio_by_log_daemon: true,
            vnc: DisplayConfig::default(),
            spice: DisplayConfig::default(),
            vnc_allow_host_audio: false,
            nographics_allow_host_audio: false,
            chardev_tls: TlsConfig::default(),
            vxhs_tls: TlsConfig::default(),
            nbd_tls: TlsConfig::default(),
            gluster_debug_level: 4,
            nbdkit: Nbdkit::default(),
        }
    }
}

/// Settings of one kind of display server.
#[derive(Clone, Debug)]
pub struct DisplayConfig {
    /// Where servers listen unless the guest says so.
    pub listen: String,
    /// Servers listen on a socket unless the guest says otherwise.
    pub auto_unix_socket: bool,
    /// Password unless the guest has one.
    pub password: Option<String>,
    /// Connections are encrypted.
    pub tls: bool,
    /// Folder with certificates.
    pub tls_x509_dir: String,
    /// Clients need a certificate.
    pub tls_x509_verify: bool,
    /// The secret that unlocks the private key.
    pub tls_x509_secret: Option<Uuid>,
    /// Clients say who they are with SASL.
    pub sasl: bool,
    /// Folder with the configuration of SASL.
    pub sasl_dir: Option<String>,
}

impl Default for DisplayConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1".to_owned(),
            auto_unix_socket: false,
            password: None,
            tls: false,
            tls_x509_dir: String::new(),
            tls_x509_verify: false,
            tls_x509_secret: None,
            sasl: false,
            sasl_dir: None,
        }
    }
}
