//! The table of settings. Each row is a field of [`DaemonConfig`], a key of the file, and a paragraph of the sample file
//! and of the documentation, all at once.

use super::Role;
use super::origin::Origins;
use super::value::{
    AccessDriver, AtLeastOne, Auth, HostUuid, HostUuidSource, LogFilters, LogLevel, LogOutputs, MinSsf, Port,
    Setting, SocketMode, StayAwake, Wrong,
};
use crate::auth::sasl::Mechanism;
use virt_util::conf_file::ConfValue;

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every daemon has it, as libvirt's do.
    Every,
    /// Only daemons that listen on the network have it, as libvirt's do.
    Network,
    /// libvirt does not know it (and passes over it in its own files).
    Ours,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// At the next reload; what is about clients holds for those that connect from then on.
    Reload,
    /// At the next start.
    Restart,
}

/// One key.
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// The heading it is listed under.
    pub section: &'static str,
    /// What it does, in lines as they stand in the table.
    pub doc: &'static [&'static str],
    /// What its values are.
    pub kind: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// When a change takes effect.
    pub takes: Takes,
    /// A value to show where the default is none.
    pub sample: Option<&'static str>,
    pub(super) read: fn(&mut DaemonConfig, &ConfValue) -> Result<(), Wrong>,
    pub(super) show: fn(&DaemonConfig) -> Option<ConfValue>,
    pub(super) same: fn(&DaemonConfig, &DaemonConfig) -> bool,
    pub(super) keep: fn(&mut DaemonConfig, &DaemonConfig),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! keys {
    (for $role:ident; $( section $section:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ty = $default:expr, $scope:ident, $takes:ident $(, sample $sample:literal)?;
    )* } )*) => {
        /// Everything that can be configured, with libvirt's defaults.
        #[derive(Clone, Debug, PartialEq)]
        pub struct DaemonConfig {
            $($( $(#[doc = $doc])+ pub $name: $kind, )*)*
            /// Where the settings stand.
            pub(super) origins: Origins,
        }

        impl DaemonConfig {
            /// What holds where no file says anything else.
            pub fn defaults($role: &Role) -> Self {
                Self {
                    $($( $name: $default, )*)*
                    origins: Origins::default(),
                }
            }
        }

        /// All keys, in the order of the sample file.
        pub static KEYS: &[Key] = &[ $($( Key {
            name: stringify!($name),
            section: $section,
            doc: &[$($doc),+],
            kind: <$kind as Setting>::KIND,
            scope: Scope::$scope,
            takes: Takes::$takes,
            sample: keys!(@sample $($sample)?),
            read: |config, value| {
                config.$name = <$kind as Setting>::read(value)?;
                Ok(())
            },
            show: |config| config.$name.show(),
            same: |one, other| one.$name == other.$name,
            keep: |new, old| new.$name.clone_from(&old.$name),
        }, )*)* ];
    };
    (@sample) => { None };
    (@sample $sample:literal) => { Some($sample) };
}

keys! { for role;
    section "Network" {
        /// Listen for TLS connections. Daemons with the option --listen do so only where it is given. Where the
        /// service manager passes sockets, they count and this does not.
        listen_tls: bool = role.listens_with_option(), Network, Restart;
        /// Listen for plain TCP connections, on the same conditions. What travels there can be read and changed by
        /// anybody on the way: only mechanisms of SASL that encrypt are offered.
        listen_tcp: bool = false, Network, Restart;
        /// The port for TLS: a number or the name of a service. A number above 65535 is refused; libvirt takes it, and
        /// listens on what is left when 65536 is taken from it, again and again.
        tls_port: Port = Port("16514".to_owned()), Network, Restart;
        /// The port for plain TCP, as `tls_port`.
        tcp_port: Port = Port("16509".to_owned()), Network, Restart;
        /// The address or host name to listen on; every address of the host if it is not set.
        listen_addr: Option<String> = None, Network, Restart, sample "\"192.168.0.1\"";
    }
    section "Unix sockets" {
        /// The group of the sockets' files: its members need not be root to manage guests. Not used where the service
        /// manager passes sockets, like the other settings of this section.
        unix_sock_group: Option<String> = None, Every, Restart, sample "\"libvirt\"";
        /// The mode of the read-only socket, for those who look and change nothing.
        unix_sock_ro_perms: SocketMode = SocketMode(0o777), Every, Restart;
        /// The mode of the read-write socket. If it is not set: 0777 where polkit guards the socket, or SASL that of the
        /// system's daemon; otherwise 0700, so that with "none" only the daemon's own user can connect.
        unix_sock_rw_perms: Option<SocketMode> = None, Every, Restart, sample "\"0770\"";
        /// The mode of the administration socket. Whoever can connect there can stop the daemon.
        unix_sock_admin_perms: SocketMode = SocketMode(0o700), Every, Restart;
        /// The folder of the sockets, which has to be there.
        unix_sock_dir: Option<String> = None, Every, Restart, sample "\"/run/libvirt\"";
    }
    section "Authentication" {
        /// How clients of the read-only socket prove who they are: "none", "sasl" or "polkit". polkit asks about the
        /// action org.libvirt.unix.monitor. A reload changes this and its companions for clients that come afterwards.
        auth_unix_ro: Auth = role.local_auth(), Every, Reload;
        /// How clients of the read-write socket prove who they are. polkit asks about the action
        /// org.libvirt.unix.manage. Set to "none", everybody who may open the socket's file is root on this host.
        auth_unix_rw: Auth = role.local_auth(), Every, Reload;
        /// How clients of the plain TCP socket prove who they are. "none" gives the host away to the network, "polkit",
        /// which knows processes of this host only, lets nobody in.
        auth_tcp: Auth = Auth::Sasl, Network, Reload;
        /// How clients of the TLS socket prove who they are besides their certificates.
        auth_tls: Auth = Auth::None, Network, Reload;
        /// The least strength of SASL's encryption on the plain TCP socket, in bits of the key. If it is not set, 56. No
        /// mechanism encrypts so far, so that none is offered there, whatever the number is.
        tcp_min_ssf: Option<MinSsf> = None, Network, Reload, sample "112";
        /// The SASL users who may connect. * stands for any text, ? for one character. An empty list lets nobody in;
        /// not set, every user may connect.
        sasl_allowed_username_list: Option<Vec<String>> = None, Every, Reload,
            sample "[ \"joe@EXAMPLE.COM\", \"*@EXAMPLE.ORG\" ]";
        /// The SASL mechanisms that are offered, best first: SCRAM-SHA-256, SCRAM-SHA-512, SCRAM-SHA-1 and PLAIN are
        /// known. None of them encrypts, so they are offered on TLS and unix sockets only. PLAIN tells the daemon the password; it has to be named.
        sasl_mechanisms: Vec<Mechanism> = Mechanism::ALL[..3].to_vec(), Ours, Reload;
        /// The file with the SASL users and what proves their passwords (made by virtd --set-password). If it is not
        /// set: libvirt/passwd.scram below the system's folder of configuration, or the user's.
        sasl_password_file: Option<String> = None, Ours, Reload, sample "\"/etc/libvirt/passwd.scram\"";
    }
    section "Access control" {
        /// Who decides what a client may do once it has proved who it is: "polkit" asks about the action
        /// org.libvirt.api.OBJECT.PERMISSION, "none" allows everything. All that are listed have to agree.
        access_drivers: Option<Vec<AccessDriver>> = None, Every, Reload, sample "[ \"polkit\" ]";
        /// A file that says which clients may do what. Where it is set it has to allow, beside the access drivers.
        policy_file: Option<String> = None, Ours, Reload, sample "\"/etc/libvirt/policy.toml\"";
    }
    section "TLS" {
        /// The server's private key. Key, certificate and authority are set together or not at all: otherwise they are
        /// /etc/pki/libvirt/private/serverkey.pem, /etc/pki/libvirt/servercert.pem and /etc/pki/CA/cacert.pem.
        key_file: Option<String> = None, Network, Reload, sample "\"/etc/pki/libvirt/private/serverkey.pem\"";
        /// The server's certificate, perhaps with the certificates between it and the authority's.
        cert_file: Option<String> = None, Network, Reload, sample "\"/etc/pki/libvirt/servercert.pem\"";
        /// The certificates of the authorities whose clients are let in.
        ca_file: Option<String> = None, Network, Reload, sample "\"/etc/pki/CA/cacert.pem\"";
        /// Certificates that were revoked.
        crl_file: Option<String> = None, Network, Reload, sample "\"/etc/pki/CA/cacrl.pem\"";
        /// Do not look at our own certificate before using it: whether it is still valid, may be a server's, and comes
        /// from the authority.
        tls_no_sanity_certificate: bool = false, Network, Reload;
        /// Let clients in whatever certificate they have, or none. Use another authentication beside it then.
        tls_no_verify_certificate: bool = false, Network, Reload;
        /// The distinguished names of the clients that may connect. * stands for any text, ? for one character. An
        /// empty list lets nobody in; not set, every client with a good certificate may connect.
        tls_allowed_dn_list: Option<Vec<String>> = None, Network, Reload,
            sample "[ \"C=GB,O=Example,CN=admin\", \"C=GB,O=Example,OU=operators,CN=*\" ]";
        /// The versions of TLS in the syntax of GnuTLS: NORMAL and SECURE…, :-VERS-ALL, :+VERS-TLS1.2, :-VERS-TLS1.2 …
        /// are understood. Other words are refused when TLS is used: there is nothing weaker to switch on.
        tls_priority: Option<String> = None, Network, Reload, sample "\"NORMAL\"";
    }
    section "Limits" {
        /// Clients at the same time, over all sockets; no fewer than `max_anonymous_clients`.
        max_clients: u32 = 5000, Every, Reload;
        /// Connections that wait to be accepted.
        max_queued_clients: u32 = 1000, Every, Restart;
        /// Clients that have connected and not yet proved who they are; 0 for any number.
        max_anonymous_clients: u32 = 20, Every, Reload;
        /// Threads for calls that are there from the start, as far as `max_workers` allows.
        min_workers: u32 = 5, Every, Reload;
        /// Threads for calls at most.
        max_workers: AtLeastOne = AtLeastOne(20), Every, Reload;
        /// Threads kept for calls of high priority when all others are busy.
        prio_workers: u32 = 5, Every, Reload;
        /// Calls of one client at the same time. Further calls wait in its socket. 0 is refused; libvirt takes it, and
        /// hears no client again after its first call.
        max_client_requests: AtLeastOne = AtLeastOne(5), Every, Reload;
        /// min_workers of the administration interface.
        admin_min_workers: u32 = 5, Every, Reload;
        /// max_workers of the administration interface.
        admin_max_workers: u32 = 20, Every, Reload;
        /// max_clients of the administration interface.
        admin_max_clients: u32 = 5000, Every, Reload;
        /// max_queued_clients of the administration interface.
        admin_max_queued_clients: u32 = 20, Every, Restart;
        /// max_client_requests of the administration interface.
        admin_max_client_requests: AtLeastOne = AtLeastOne(5), Every, Reload;
        /// Microseconds, 1000 at most, that the daemon stays awake for the next call after one, where the host has more
        /// than one processor: calls that follow one another are answered in a fraction of the time. 0 never; calls that
        /// come slowly stop it by themselves.
        stay_awake: StayAwake = StayAwake(50), Ours, Reload;
    }
    section "Logging" {
        /// What is logged: 4 errors, 3 warnings, 2 information, 1 everything. Better leave it and use log_filters.
        log_level: LogLevel = LogLevel(0), Every, Reload, sample "3";
        /// What is logged of single modules: LEVEL:MODULE, separated by blanks; the first that matches a part of the
        /// module's name counts.
        log_filters: Option<LogFilters> = None, Every, Reload, sample "\"1:qemu 1:virtd 3:rpc\"";
        /// Where the log goes: LEVEL:stderr, LEVEL:journald, LEVEL:syslog:NAME or LEVEL:file:PATH, separated by blanks.
        log_outputs: Option<LogOutputs> = None, Every, Reload, sample "\"3:syslog:libvirtd\"";
    }
    section "Auditing" {
        /// Records for the kernel's audit trail: 0 never, 1 where the host has one, 2 always: the daemon does not start
        /// without it.
        audit_level: u32 = 1, Every, Restart;
        /// Write the records to the log too.
        audit_logging: bool = false, Every, Reload;
    }
    section "Host" {
        /// The UUID of this host. Not set, it comes from host_uuid_source.
        host_uuid: Option<HostUuid> = None, Every, Restart, sample "\"8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4d\"";
        /// Where the UUID comes from: "smbios" (the firmware's tables) or "machine-id" (/etc/machine-id).
        host_uuid_source: HostUuidSource = HostUuidSource::Smbios, Every, Restart;
        /// Seconds that commands to Open vSwitch may take. It is given to the drivers, and none of them gives such commands
        /// so far.
        ovs_timeout: u32 = 5, Every, Restart;
    }
    section "Keepalive" {
        /// Seconds of silence after which a client is asked whether it still lives; -1 never asks, and neither do 0 and
        /// other numbers below it, as in libvirt.
        keepalive_interval: i32 = 5, Every, Reload;
        /// Questions without answer after which a client is given up.
        keepalive_count: u32 = 5, Every, Reload;
        /// keepalive_interval of the administration interface. Its protocol has no way for a client to say that it
        /// answers, so nobody is ever asked; the same goes for libvirt's.
        admin_keepalive_interval: i32 = 5, Every, Reload;
        /// keepalive_count of the administration interface, likewise.
        admin_keepalive_count: u32 = 5, Every, Reload;
    }
    section "Drivers" {
        /// Drivers that run in processes of their own: their crash is an error of their callers and nothing else.
        isolate: Vec<String> = Vec::new(), Ours, Restart, sample "[ \"vbox\" ]";
    }
    section "Metrics" {
        /// The path of a unix socket that answers HTTP requests with figures in the text format of Prometheus. Not
        /// set, there is none. Only the user that the daemon runs as can read there.
        metrics_socket: Option<String> = None, Ours, Restart, sample "\"/run/libvirt/virtd-metrics-sock\"";
    }
}

/// Keys that are read and checked, and that nothing here uses yet.
pub const WITHOUT_EFFECT: &[&str] = &["tcp_min_ssf", "ovs_timeout"];

/// Keys that libvirt's files may still have and that do nothing, there and here.
pub const OBSOLETE: &[&str] = &["keepalive_required", "admin_keepalive_required"];
