//! libvirt's error numbers, lead texts and domains as one table each (`libvirt/virterror.h`).

use std::fmt;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $bare:literal, $format:literal;)*) => {
        /// What kind of failure an error is: libvirt's `virErrorNumber`. A number that this version does not know can be
        /// carried (it may come from a newer peer).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct ErrorCode(pub i32);

        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every code of this version, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The constant's name without libvirt's `VIR_ERR_` prefix; `None` for a number this version does not know.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }

            /// The text for an error without detail.
            pub fn bare(self) -> &'static str {
                match self.0 { $($value => $bare,)* _ => "unknown error code" }
            }

            /// libvirt's text with `%1$s` in the place of the detail.
            pub fn format(self) -> &'static str {
                match self.0 { $($value => $format,)* _ => "unknown error code: %1$s" }
            }
        }
    };
}

macro_rules! error_domains {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// Which part of the system an error comes from: libvirt's `virErrorDomain`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct ErrorDomain(pub i32);

        impl ErrorDomain {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every domain of this version, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The constant's name without libvirt's `VIR_FROM_` prefix.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }

            /// The label that libvirt prints in logs.
            pub fn label(self) -> &'static str {
                match self.0 { $($value => $text,)* _ => "Unknown" }
            }
        }
    };
}

error_codes! {
    /// No error recorded.
    OK = 0, "no error", "no error: %1$s";
    /// Anything unexpected inside the library or a driver that has no better code; also the fallback when a failing call recorded nothing.
    INTERNAL_ERROR = 1, "internal error", "internal error: %1$s";
    /// An allocation failed; modern builds abort instead, so seen mostly from old peers.
    NO_MEMORY = 2, "out of memory", "out of memory: %1$s";
    /// The opened driver has no entry point for the called API, or the peer does not know the procedure.
    NO_SUPPORT = 3, "this function is not supported by the connection driver", "this function is not supported by the connection driver: %1$s";
    /// A host name given for a connection cannot be resolved.
    UNKNOWN_HOST = 4, "unknown host", "unknown host %1$s";
    /// No registered driver accepts the URI.
    NO_CONNECT = 5, "no connection driver available", "no connection driver available for %1$s";
    /// A connection handle argument is NULL or not a live connection.
    INVALID_CONN = 6, "invalid connection pointer in", "invalid connection pointer in %1$s";
    /// A domain handle argument is NULL or not valid.
    INVALID_DOMAIN = 7, "invalid domain pointer in", "invalid domain pointer in %1$s";
    /// An argument has a bad value, including NULL where not allowed, conflicting flags, or flags unknown to the driver.
    INVALID_ARG = 8, "invalid argument", "invalid argument: %1$s";
    /// The hypervisor or a helper refused or failed a request that was itself valid.
    OPERATION_FAILED = 9, "operation failed", "operation failed: %1$s";
    /// Historical: HTTP GET to the Xen daemon failed.
    GET_FAILED = 10, "GET operation failed", "GET operation failed: %1$s";
    /// Historical: HTTP POST to the Xen daemon failed.
    POST_FAILED = 11, "POST operation failed", "POST operation failed: %1$s";
    /// An HTTP based backend answered with an unexpected status.
    HTTP_ERROR = 12, "got unknown HTTP error code", "got unknown HTTP error code %1$s";
    /// Historical: building an s-expression for the Xen daemon failed.
    SEXPR_SERIAL = 13, "failed to serialize S-Expr", "failed to serialize S-Expr: %1$s";
    /// Historical: the Xen hypercall device cannot be used.
    NO_XEN = 14, "could not use Xen hypervisor entry", "could not use Xen hypervisor entry %1$s";
    /// Historical: a Xen hypercall failed.
    XEN_CALL = 15, "failed Xen syscall", "failed Xen syscall %1$s";
    /// Guest XML names a guest type the driver cannot run.
    OS_TYPE = 16, "unknown OS type", "unknown OS type %1$s";
    /// Historical: direct boot without a kernel image.
    NO_KERNEL = 17, "missing kernel information", "missing kernel information: %1$s";
    /// Historical: guest XML lacks the root device.
    NO_ROOT = 18, "missing root device information", "missing root device information in %1$s";
    /// A device in guest XML lacks its source.
    NO_SOURCE = 19, "missing source information for device", "missing source information for device %1$s";
    /// A device in guest XML lacks its target.
    NO_TARGET = 20, "missing target information for device", "missing target information for device %1$s";
    /// Object XML lacks a name.
    NO_NAME = 21, "missing name information", "missing name information in %1$s";
    /// Guest XML lacks the operating system section.
    NO_OS = 22, "missing operating system information", "missing operating system information for %1$s";
    /// Guest XML lacks devices where some are needed.
    NO_DEVICE = 23, "missing devices information", "missing devices information for %1$s";
    /// Historical: the Xen store cannot be opened.
    NO_XENSTORE = 24, "could not connect to Xen Store", "could not connect to Xen Store %1$s";
    /// The driver table is full at registration.
    DRIVER_FULL = 25, "too many drivers registered", "too many drivers registered in %1$s";
    /// Historical generic failure of a driver call.
    CALL_FAILED = 26, "library call failed", "library call failed: %1$s";
    /// XML is well formed but semantically wrong: a missing, duplicate or invalid value.
    XML_ERROR = 27, "XML description is invalid or not well formed", "XML error: %1$s";
    /// Historical: creating a guest whose name or id is taken.
    DOM_EXIST = 28, "this domain exists already", "domain %1$s exists already";
    /// A changing call is made on a read-only connection.
    OPERATION_DENIED = 29, "operation forbidden for read only access", "operation forbidden: %1$s";
    /// A configuration file cannot be opened.
    OPEN_FAILED = 30, "failed to open configuration file", "failed to open configuration file %1$s";
    /// A configuration file cannot be read.
    READ_FAILED = 31, "failed to read configuration file", "failed to read configuration file %1$s";
    /// A configuration file cannot be parsed.
    PARSE_FAILED = 32, "failed to parse configuration file", "failed to parse configuration file %1$s";
    /// A configuration file or an entry in it has bad syntax or type.
    CONF_SYNTAX = 33, "configuration file syntax error", "configuration file syntax error: %1$s";
    /// Writing a configuration file failed.
    WRITE_FAILED = 34, "failed to write configuration file", "failed to write configuration file: %1$s";
    /// XML is not well formed; carries parser position and excerpt.
    XML_DETAIL = 35, "parser error", "%s";
    /// A network handle argument is NULL or not valid.
    INVALID_NETWORK = 36, "invalid network pointer in", "invalid network pointer in %1$s";
    /// A network with that name or UUID already exists.
    NETWORK_EXIST = 37, "this network exists already", "network %1$s exists already";
    /// A system call failed; int1 holds errno.
    SYSTEM_ERROR = 38, "system call error", "%s";
    /// Protocol trouble: bad packet, unknown program or procedure, or call before authentication.
    RPC = 39, "RPC error", "%s";
    /// The TLS library reported a failure.
    GNUTLS_ERROR = 40, "GNUTLS call error", "%s";
    /// The network driver is not available.
    WAR_NO_NETWORK = 41, "Failed to find the network", "Failed to find the network: %1$s";
    /// No guest matches, or it vanished during the call.
    NO_DOMAIN = 42, "Domain not found", "Domain not found: %1$s";
    /// No virtual network matches.
    NO_NETWORK = 43, "Network not found", "Network not found: %1$s";
    /// A MAC address cannot be parsed.
    INVALID_MAC = 44, "invalid MAC address", "invalid MAC address: %1$s";
    /// The peer or the authorisation service rejected the credentials.
    AUTH_FAILED = 45, "authentication failed", "authentication failed: %1$s";
    /// A pool handle argument is NULL or not valid.
    INVALID_STORAGE_POOL = 46, "invalid storage pool pointer in", "invalid storage pool pointer in %1$s";
    /// A volume handle argument is NULL or not valid.
    INVALID_STORAGE_VOL = 47, "invalid storage volume pointer in", "invalid storage volume pointer in %1$s";
    /// The storage driver is not available.
    WAR_NO_STORAGE = 48, "Failed to find a storage driver", "Failed to find a storage driver: %1$s";
    /// No pool matches.
    NO_STORAGE_POOL = 49, "Storage pool not found", "Storage pool not found: %1$s";
    /// No volume matches.
    NO_STORAGE_VOL = 50, "Storage volume not found", "Storage volume not found: %1$s";
    /// The node device driver is not available.
    WAR_NO_NODE = 51, "Failed to find a node driver", "Failed to find a node driver: %1$s";
    /// A node device handle argument is NULL or not valid.
    INVALID_NODE_DEVICE = 52, "invalid node device pointer", "invalid node device pointer in %1$s";
    /// No node device matches.
    NO_NODE_DEVICE = 53, "Node device not found", "Node device not found: %1$s";
    /// The requested security model is not available.
    NO_SECURITY_MODEL = 54, "Security model not found", "Security model not found: %1$s";
    /// The object is in the wrong state for the call, for example not running.
    OPERATION_INVALID = 55, "Requested operation is not valid", "Requested operation is not valid: %1$s";
    /// The host interface driver is not available.
    WAR_NO_INTERFACE = 56, "Failed to find the interface", "Failed to find the interface: %1$s";
    /// No host interface matches.
    NO_INTERFACE = 57, "Interface not found", "Interface not found: %1$s";
    /// A host interface handle argument is NULL or not valid.
    INVALID_INTERFACE = 58, "invalid interface pointer in", "invalid interface pointer in %1$s";
    /// A look-up by MAC matches several host interfaces.
    MULTIPLE_INTERFACES = 59, "multiple matching interfaces found", "multiple matching interfaces found: %1$s";
    /// The network filter driver is not available.
    WAR_NO_NWFILTER = 60, "Failed to start the nwfilter driver", "Failed to start the nwfilter driver: %1$s";
    /// A filter handle or definition is not valid.
    INVALID_NWFILTER = 61, "Invalid network filter", "Invalid network filter: %1$s";
    /// No network filter matches.
    NO_NWFILTER = 62, "Network filter not found", "Network filter not found: %1$s";
    /// Turning filter rules into firewall rules failed.
    BUILD_FIREWALL = 63, "Error while building firewall", "Error while building firewall: %1$s";
    /// The secret driver is not available.
    WAR_NO_SECRET = 64, "Failed to find a secret storage driver", "Failed to find a secret storage driver: %1$s";
    /// A secret handle is not valid or its value cannot be used.
    INVALID_SECRET = 65, "Invalid secret", "Invalid secret: %1$s";
    /// No secret matches, or it has no value.
    NO_SECRET = 66, "Secret not found", "Secret not found: %1$s";
    /// Valid XML asks for something this driver, build or hypervisor cannot do.
    CONFIG_UNSUPPORTED = 67, "unsupported configuration", "unsupported configuration: %1$s";
    /// A wait ended without the awaited result, such as a lock or a job slot.
    OPERATION_TIMEOUT = 68, "Timed out during operation", "Timed out during operation: %1$s";
    /// The guest moved but could not be made persistent on the target.
    MIGRATE_PERSIST_FAILED = 69, "Failed to make domain persistent after migration", "Failed to make domain persistent after migration: %1$s";
    /// A hook script that may veto returned failure.
    HOOK_SCRIPT_FAILED = 70, "Hook script execution failed", "Hook script execution failed: %1$s";
    /// A snapshot handle argument is NULL or not valid.
    INVALID_DOMAIN_SNAPSHOT = 71, "Invalid domain snapshot", "Invalid domain snapshot: %1$s";
    /// No snapshot matches, or there is no current one.
    NO_DOMAIN_SNAPSHOT = 72, "Domain snapshot not found", "Domain snapshot not found: %1$s";
    /// A stream handle argument is NULL or not valid.
    INVALID_STREAM = 73, "invalid stream pointer", "invalid stream pointer in %1$s";
    /// A legal argument value is not supported by this driver.
    ARGUMENT_UNSUPPORTED = 74, "argument unsupported", "argument unsupported: %1$s";
    /// Probing a device for existing content failed.
    STORAGE_PROBE_FAILED = 75, "Storage pool probe failed", "Storage pool probe failed: %1$s";
    /// Building a pool on a device that already holds one, without the overwrite flag.
    STORAGE_POOL_BUILT = 76, "Storage pool already built", "Storage pool already built: %1$s";
    /// A snapshot revert needs the force flag to be safe to run.
    SNAPSHOT_REVERT_RISKY = 77, "revert requires force", "revert requires force: %1$s";
    /// A job was cancelled by a user or by the guest going away.
    OPERATION_ABORTED = 78, "operation aborted", "operation aborted: %1$s";
    /// The user dismissed the authentication dialog.
    AUTH_CANCELLED = 79, "authentication cancelled", "authentication cancelled: %1$s";
    /// The guest has no metadata of the requested kind.
    NO_DOMAIN_METADATA = 80, "metadata not found", "metadata not found: %1$s";
    /// A disk or cache mode makes migration risky and the unsafe flag is absent.
    MIGRATE_UNSAFE = 81, "Unsafe migration", "Unsafe migration: %1$s";
    /// A number does not fit the type the caller offered.
    OVERFLOW = 82, "numerical overflow", "numerical overflow: %1$s";
    /// The action is blocked by a running block copy job.
    BLOCK_COPY_ACTIVE = 83, "block copy still active", "block copy still active: %1$s";
    /// The API exists for the driver but this case is not possible with this guest or hypervisor.
    OPERATION_UNSUPPORTED = 84, "Operation not supported", "Operation not supported: %1$s";
    /// The libssh2 based transport failed.
    SSH = 85, "SSH transport error", "SSH transport error: %1$s";
    /// The guest agent is not connected or does not answer.
    AGENT_UNRESPONSIVE = 86, "Guest agent is not responding", "Guest agent is not responding: %1$s";
    /// A lease or lock on the resource is held elsewhere.
    RESOURCE_BUSY = 87, "resource busy", "resource busy: %1$s";
    /// The access control layer refused the permission.
    ACCESS_DENIED = 88, "access denied", "access denied: %1$s";
    /// A D-Bus peer answered with an error.
    DBUS_SERVICE = 89, "error from service", "error from service: %1$s";
    /// A volume with that name already exists in the pool.
    STORAGE_VOL_EXIST = 90, "this storage volume exists already", "storage volume %1$s exists already";
    /// The CPU asked for cannot run on the host and the fail-if-incompatible flag was given.
    CPU_INCOMPATIBLE = 91, "the CPU is incompatible with host CPU", "the CPU is incompatible with host CPU: %1$s";
    /// Schema validation was asked for and the document fails it.
    XML_INVALID_SCHEMA = 92, "XML document failed to validate against schema", "XML document failed to validate against schema: %1$s";
    /// The finish phase succeeded in a cancelled migration, where returning no object is right.
    MIGRATE_FINISH_OK = 93, "migration successfully aborted", "migration successfully aborted: %1$s";
    /// No authentication agent or mechanism can be reached.
    AUTH_UNAVAILABLE = 94, "authentication unavailable", "authentication unavailable: %1$s";
    /// Admin API: the daemon has no server of that name.
    NO_SERVER = 95, "Server not found", "Server not found: %1$s";
    /// Admin API: the server has no client of that id.
    NO_CLIENT = 96, "Client not found", "Client not found: %1$s";
    /// The guest agent answered the sync probe with a stale id.
    AGENT_UNSYNCED = 97, "guest agent replied with wrong id to guest-sync command", "guest agent replied with wrong id to guest-sync command: %1$s";
    /// The libssh based transport failed.
    LIBSSH = 98, "libssh transport error", "libssh transport error: %1$s";
    /// No device in the guest matches the given XML or alias.
    DEVICE_MISSING = 99, "device not found", "device not found: %1$s";
    /// A filter binding handle argument is NULL or not valid.
    INVALID_NWFILTER_BINDING = 100, "Invalid network filter binding", "Invalid network filter binding: %1$s";
    /// No filter binding matches the port device.
    NO_NWFILTER_BINDING = 101, "Network filter binding not found", "Network filter binding not found: %1$s";
    /// A checkpoint handle argument is NULL or not valid.
    INVALID_DOMAIN_CHECKPOINT = 102, "Invalid domain checkpoint", "Invalid domain checkpoint: %1$s";
    /// No checkpoint matches.
    NO_DOMAIN_CHECKPOINT = 103, "Domain checkpoint not found", "Domain checkpoint not found: %1$s";
    /// The guest has no backup job.
    NO_DOMAIN_BACKUP = 104, "Domain backup job id not found", "Domain backup job id not found: %1$s";
    /// A network port handle argument is NULL or not valid.
    INVALID_NETWORK_PORT = 105, "Invalid network port pointer", "Invalid network port pointer: %1$s";
    /// A network port with that UUID already exists.
    NETWORK_PORT_EXIST = 106, "this network port exists already", "network port %1$s exists already";
    /// No network port matches.
    NO_NETWORK_PORT = 107, "network port not found", "network port not found: %1$s";
    /// The guest reports no host name.
    NO_HOSTNAME = 108, "no hostname found", "no hostname found: %1$s";
    /// A checkpoint bitmap is missing or damaged, so it cannot serve as a base.
    CHECKPOINT_INCONSISTENT = 109, "checkpoint inconsistent", "checkpoint inconsistent: %1$s";
    /// A look-up matches several guests.
    MULTIPLE_DOMAINS = 110, "multiple matching domains found", "multiple matching domains found: %1$s";
    /// The network has no metadata of the requested kind.
    NO_NETWORK_METADATA = 111, "metadata not found", "metadata not found: %1$s";
    /// The guest agent accepted a command but did not answer in time.
    AGENT_COMMAND_TIMEOUT = 112, "guest agent command timed out", "guest agent command timed out: %1$s";
    /// The guest agent ran a command and reported failure.
    AGENT_COMMAND_FAILED = 113, "guest agent command failed", "guest agent command failed: %1$s";
}

error_domains! {
    /// No domain.
    NONE = 0, "";
    /// Xen (libxl and historical).
    XEN = 1, "Xen Driver";
    /// Historical Xen daemon.
    XEND = 2, "Xen Daemon";
    /// Historical Xen store.
    XENSTORE = 3, "Xen Store";
    /// Historical s-expressions.
    SEXPR = 4, "S-Expression";
    /// XML utilities.
    XML = 5, "XML Util";
    /// Domain API layer.
    DOM = 6, "Domain";
    /// RPC layer.
    RPC = 7, "XML-RPC";
    /// Historical Xen proxy.
    PROXY = 8, "Proxy Daemon";
    /// Configuration parser.
    CONF = 9, "Config File";
    /// QEMU driver.
    QEMU = 10, "QEMU Driver";
    /// Network API layer.
    NET = 11, "Network";
    /// Test driver.
    TEST = 12, "Test Driver";
    /// Remote driver.
    REMOTE = 13, "Remote Driver";
    /// OpenVZ driver.
    OPENVZ = 14, "OpenVZ Driver";
    /// Historical Xen XM config.
    XENXM = 15, "Xen XM Driver";
    /// Host statistics.
    STATS_LINUX = 16, "Linux Statistics";
    /// LXC driver.
    LXC = 17, "LXC Driver";
    /// Storage driver.
    STORAGE = 18, "Storage Driver";
    /// Network driver.
    NETWORK = 19, "Network Driver";
    /// Domain configuration.
    DOMAIN = 20, "Domain Config";
    /// Removed UML driver.
    UML = 21, "User Mode Linux Driver";
    /// Node device driver.
    NODEDEV = 22, "Node Device Driver";
    /// Historical Xen inotify.
    XEN_INOTIFY = 23, "Xen Inotify Driver";
    /// Security labelling.
    SECURITY = 24, "Security Driver";
    /// VirtualBox driver.
    VBOX = 25, "VirtualBox Driver";
    /// Host interface driver.
    INTERFACE = 26, "Network Interface Driver";
    /// Removed OpenNebula driver.
    ONE = 27, "Open Nebula Driver";
    /// ESX driver.
    ESX = 28, "ESX Driver";
    /// Removed Power Hypervisor driver.
    PHYP = 29, "Power Hypervisor Driver";
    /// Secret driver.
    SECRET = 30, "Secrets Driver";
    /// CPU model code.
    CPU = 31, "CPU Driver";
    /// Removed XenAPI driver.
    XENAPI = 32, "XenAPI Driver";
    /// Network filter driver.
    NWFILTER = 33, "Network Filter Driver";
    /// Hook scripts.
    HOOK = 34, "Lifecycle Hook";
    /// Snapshots.
    DOMAIN_SNAPSHOT = 35, "Domain Snapshot";
    /// Audit.
    AUDIT = 36, "Audit Utils";
    /// Sysinfo.
    SYSINFO = 37, "Sysinfo Utils";
    /// Streams.
    STREAMS = 38, "I/O Stream Utils";
    /// VMware driver.
    VMWARE = 39, "VMware Driver";
    /// Event loop.
    EVENT = 40, "Event Loop";
    /// Libxl driver.
    LIBXL = 41, "Xen Light Driver";
    /// Lock managers.
    LOCKING = 42, "Lock Driver";
    /// Hyper-V driver.
    HYPERV = 43, "Hyper-V Driver";
    /// Capabilities.
    CAPABILITIES = 44, "Capabilities Utils";
    /// URI handling.
    URI = 45, "URI Utils";
    /// Authentication.
    AUTH = 46, "Authentication Utils";
    /// D-Bus.
    DBUS = 47, "DBus Utils";
    /// Virtuozzo driver.
    PARALLELS = 48, "Parallels Cloud Server";
    /// Device configuration.
    DEVICE = 49, "Device Config";
    /// Libssh2 transport.
    SSH = 50, "SSH transport layer";
    /// Lock spaces.
    LOCKSPACE = 51, "Lock Space";
    /// Init control.
    INITCTL = 52, "Init control";
    /// Identity.
    IDENTITY = 53, "Identity";
    /// Cgroups.
    CGROUP = 54, "Cgroup";
    /// Access control.
    ACCESS = 55, "Access Manager";
    /// Systemd.
    SYSTEMD = 56, "Systemd";
    /// Bhyve driver.
    BHYVE = 57, "Bhyve";
    /// Crypto.
    CRYPTO = 58, "Crypto";
    /// Firewall.
    FIREWALL = 59, "Firewall";
    /// Polkit.
    POLKIT = 60, "Polkit";
    /// Threads.
    THREAD = 61, "Thread jobs";
    /// Admin API.
    ADMIN = 62, "Admin Interface";
    /// Log manager.
    LOGGING = 63, "Log Manager";
    /// Xen xl config.
    XENXL = 64, "Xen XL Config";
    /// Perf events.
    PERF = 65, "Perf";
    /// Libssh transport.
    LIBSSH = 66, "Libssh transport layer";
    /// Resource control.
    RESCTRL = 67, "Resource control";
    /// Firewalld.
    FIREWALLD = 68, "FirewallD";
    /// Checkpoints.
    DOMAIN_CHECKPOINT = 69, "Domain Checkpoint";
    /// TPM.
    TPM = 70, "TPM";
    /// BPF.
    BPF = 71, "BPF";
    /// Cloud Hypervisor driver.
    CH = 72, "Cloud-Hypervisor Driver";
}

impl ErrorCode {
    /// The text for an error of this code with `detail` (which may be empty).
    pub fn message(self, detail: &str) -> String {
        match (detail, self.0) {
            ("", 0) => "no error".into(),
            ("", _) if self.name().is_none() => format!("unknown error code {}", self.0),
            ("", _) => self.bare().into(),
            (_, code) if self.name().is_none() => format!("error code {code}: {detail}"),
            // These codes have no lead text.
            _ if self.format() == "%s" => detail.into(),
            _ => self.format().replacen("%1$s", detail, 1),
        }
    }

    /// `message` without this code's lead text; all of it where it does not begin with the lead.
    pub fn strip_lead(self, message: &str) -> &str {
        let (before, after) = match self.format().split_once("%1$s") {
            Some(parts) => parts,
            None if self.format() == "%s" => ("", ""),
            None => (self.bare(), ""),
        };
        if message == self.bare() {
            return "";
        }
        message
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .unwrap_or(message)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "ErrorCode({})", self.0),
        }
    }
}

impl fmt::Debug for ErrorDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "ErrorDomain({})", self.0),
        }
    }
}
