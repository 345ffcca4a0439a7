// Made by `cargo xtask codegen` from types.tbl. Do not edit.

//! Public enums.

public_enums! {
    /// How a CPU description relates to the host's CPU.
    CpuCompareResult = "virCPUCompareResult", "VIR_CPU_COMPARE_", "libvirt-host" {
        ERROR = -1,
        INCOMPATIBLE = 0,
        IDENTICAL = 1,
        SUPERSET = 2,
    }
    /// Why a connection ended.
    ConnectCloseReason = "virConnectCloseReason", "VIR_CONNECT_CLOSE_REASON_", "libvirt-common" {
        ERROR = 0,
        EOF = 1,
        KEEPALIVE = 2,
        CLIENT = 3,
    }
    /// What kind of answer an authentication dialog asks for.
    ConnectCredentialType = "virConnectCredentialType", "VIR_CRED_", "libvirt-host" {
        USERNAME = 1,
        AUTHNAME = 2,
        LANGUAGE = 3,
        CNONCE = 4,
        PASSPHRASE = 5,
        ECHOPROMPT = 6,
        NOECHOPROMPT = 7,
        REALM = 8,
        EXTERNAL = 9,
    }
    /// What made the guest agent come or go.
    ConnectDomainEventAgentLifecycleReason = "virConnectDomainEventAgentLifecycleReason", "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_", "libvirt-domain" {
        UNKNOWN = 0,
        DOMAIN_STARTED = 1,
        CHANNEL = 2,
    }
    /// Whether the guest agent can be reached.
    ConnectDomainEventAgentLifecycleState = "virConnectDomainEventAgentLifecycleState", "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_", "libvirt-domain" {
        CONNECTED = 1,
        DISCONNECTED = 2,
    }
    /// How a block job ended, or that it can be finished.
    ConnectDomainEventBlockJobStatus = "virConnectDomainEventBlockJobStatus", "VIR_DOMAIN_BLOCK_JOB_", "libvirt-domain" {
        COMPLETED = 0,
        FAILED = 1,
        CANCELED = 2,
        READY = 3,
    }
    /// Why the source of a disk was changed at start.
    ConnectDomainEventDiskChangeReason = "virConnectDomainEventDiskChangeReason", "VIR_DOMAIN_EVENT_DISK_", "libvirt-domain" {
        CHANGE_MISSING_ON_START = 0,
        DROP_MISSING_ON_START = 1,
    }
    /// Special values of the time given to the guest agent for an answer.
    DomainAgentResponseTimeout = "virDomainAgentResponseTimeoutValues", "VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_", "libvirt-domain" {
        BLOCK = -2,
        DEFAULT = -1,
        NOWAIT = 0,
    }
    /// What a block job does.
    DomainBlockJobType = "virDomainBlockJobType", "VIR_DOMAIN_BLOCK_JOB_TYPE_", "libvirt-domain" {
        UNKNOWN = 0,
        PULL = 1,
        COPY = 2,
        COMMIT = 3,
        ACTIVE_COMMIT = 4,
        BACKUP = 5,
    }
    /// Why a domain is blocked.
    DomainBlockedReason = "virDomainBlockedReason", "VIR_DOMAIN_BLOCKED_", "libvirt-domain" {
        UNKNOWN = 0,
    }
    /// What is wrong with the channel that controls a domain.
    DomainControlErrorReason = "virDomainControlErrorReason", "VIR_DOMAIN_CONTROL_ERROR_REASON_", "libvirt-domain" {
        NONE = 0,
        UNKNOWN = 1,
        MONITOR = 2,
        INTERNAL = 3,
    }
    /// What the channel that controls a domain is doing.
    DomainControlState = "virDomainControlState", "VIR_DOMAIN_CONTROL_", "libvirt-domain" {
        OK = 0,
        JOB = 1,
        OCCUPIED = 2,
        ERROR = 3,
    }
    /// The format of a core dump.
    DomainCoreDumpFormat = "virDomainCoreDumpFormat", "VIR_DOMAIN_CORE_DUMP_FORMAT_", "libvirt-domain" {
        RAW = 0,
        KDUMP_ZLIB = 1,
        KDUMP_LZO = 2,
        KDUMP_SNAPPY = 3,
        WIN_DMP = 4,
    }
    /// Why a domain has crashed.
    DomainCrashedReason = "virDomainCrashedReason", "VIR_DOMAIN_CRASHED_", "libvirt-domain" {
        UNKNOWN = 0,
        PANICKED = 1,
    }
    /// How far a measurement of dirtied memory has come.
    DomainDirtyRateStatus = "virDomainDirtyRateStatus", "VIR_DOMAIN_DIRTYRATE_", "libvirt-domain" {
        UNSTARTED = 0,
        MEASURING = 1,
        MEASURED = 2,
    }
    /// What is wrong with a disk.
    DomainDiskErrorCode = "virDomainDiskErrorCode", "VIR_DOMAIN_DISK_ERROR_", "libvirt-domain" {
        NONE = 0,
        UNSPEC = 1,
        NO_SPACE = 2,
    }
    /// What a crash event means.
    DomainEventCrashedDetail = "virDomainEventCrashedDetailType", "VIR_DOMAIN_EVENT_CRASHED_", "libvirt-domain" {
        PANICKED = 0,
        CRASHLOADED = 1,
    }
    /// How a definition came to be or changed.
    DomainEventDefinedDetail = "virDomainEventDefinedDetailType", "VIR_DOMAIN_EVENT_DEFINED_", "libvirt-domain" {
        ADDED = 0,
        UPDATED = 1,
        RENAMED = 2,
        FROM_SNAPSHOT = 3,
    }
    /// The address family of a graphics client.
    DomainEventGraphicsAddressType = "virDomainEventGraphicsAddressType", "VIR_DOMAIN_EVENT_GRAPHICS_ADDRESS_", "libvirt-domain" {
        IPV4 = 0,
        IPV6 = 1,
        UNIX = 2,
    }
    /// How far a graphics client's session has come.
    DomainEventGraphicsPhase = "virDomainEventGraphicsPhase", "VIR_DOMAIN_EVENT_GRAPHICS_", "libvirt-domain" {
        CONNECT = 0,
        INITIALIZE = 1,
        DISCONNECT = 2,
    }
    /// The kinds of domain event that can be subscribed to.
    DomainEventId = "virDomainEventID", "VIR_DOMAIN_EVENT_ID_", "libvirt-domain" {
        LIFECYCLE = 0,
        REBOOT = 1,
        RTC_CHANGE = 2,
        WATCHDOG = 3,
        IO_ERROR = 4,
        GRAPHICS = 5,
        IO_ERROR_REASON = 6,
        CONTROL_ERROR = 7,
        BLOCK_JOB = 8,
        DISK_CHANGE = 9,
        TRAY_CHANGE = 10,
        PMWAKEUP = 11,
        PMSUSPEND = 12,
        BALLOON_CHANGE = 13,
        PMSUSPEND_DISK = 14,
        DEVICE_REMOVED = 15,
        BLOCK_JOB_2 = 16,
        TUNABLE = 17,
        AGENT_LIFECYCLE = 18,
        DEVICE_ADDED = 19,
        MIGRATION_ITERATION = 20,
        JOB_COMPLETED = 21,
        DEVICE_REMOVAL_FAILED = 22,
        METADATA_CHANGE = 23,
        BLOCK_THRESHOLD = 24,
        MEMORY_FAILURE = 25,
        MEMORY_DEVICE_SIZE_CHANGE = 26,
        NIC_MAC_CHANGE = 27,
    }
    /// What the hypervisor did about a disk error.
    DomainEventIoErrorAction = "virDomainEventIOErrorAction", "VIR_DOMAIN_EVENT_IO_ERROR_", "libvirt-domain" {
        NONE = 0,
        PAUSE = 1,
        REPORT = 2,
    }
    /// How deeply the guest sleeps.
    DomainEventPmSuspendedDetail = "virDomainEventPMSuspendedDetailType", "VIR_DOMAIN_EVENT_PMSUSPENDED_", "libvirt-domain" {
        MEMORY = 0,
        DISK = 1,
    }
    /// Why a domain went on.
    DomainEventResumedDetail = "virDomainEventResumedDetailType", "VIR_DOMAIN_EVENT_RESUMED_", "libvirt-domain" {
        UNPAUSED = 0,
        MIGRATED = 1,
        FROM_SNAPSHOT = 2,
        POSTCOPY = 3,
        POSTCOPY_FAILED = 4,
    }
    /// Who asked for a shutdown.
    DomainEventShutdownDetail = "virDomainEventShutdownDetailType", "VIR_DOMAIN_EVENT_SHUTDOWN_", "libvirt-domain" {
        FINISHED = 0,
        GUEST = 1,
        HOST = 2,
    }
    /// How a domain came to run.
    DomainEventStartedDetail = "virDomainEventStartedDetailType", "VIR_DOMAIN_EVENT_STARTED_", "libvirt-domain" {
        BOOTED = 0,
        MIGRATED = 1,
        RESTORED = 2,
        FROM_SNAPSHOT = 3,
        WAKEUP = 4,
    }
    /// Why a domain stopped.
    DomainEventStoppedDetail = "virDomainEventStoppedDetailType", "VIR_DOMAIN_EVENT_STOPPED_", "libvirt-domain" {
        SHUTDOWN = 0,
        DESTROYED = 1,
        CRASHED = 2,
        MIGRATED = 3,
        SAVED = 4,
        FAILED = 5,
        FROM_SNAPSHOT = 6,
    }
    /// Why a domain was suspended.
    DomainEventSuspendedDetail = "virDomainEventSuspendedDetailType", "VIR_DOMAIN_EVENT_SUSPENDED_", "libvirt-domain" {
        PAUSED = 0,
        MIGRATED = 1,
        IOERROR = 2,
        WATCHDOG = 3,
        RESTORED = 4,
        FROM_SNAPSHOT = 5,
        API_ERROR = 6,
        POSTCOPY = 7,
        POSTCOPY_FAILED = 8,
    }
    /// Which way a removable drive's tray moved.
    DomainEventTrayChangeReason = "virDomainEventTrayChangeReason", "VIR_DOMAIN_EVENT_TRAY_CHANGE_", "libvirt-domain" {
        OPEN = 0,
        CLOSE = 1,
    }
    /// What happened in a domain's life.
    DomainEventType = "virDomainEventType", "VIR_DOMAIN_EVENT_", "libvirt-domain" {
        DEFINED = 0,
        UNDEFINED = 1,
        STARTED = 2,
        SUSPENDED = 3,
        RESUMED = 4,
        STOPPED = 5,
        SHUTDOWN = 6,
        PMSUSPENDED = 7,
        CRASHED = 8,
    }
    /// Why a definition went away.
    DomainEventUndefinedDetail = "virDomainEventUndefinedDetailType", "VIR_DOMAIN_EVENT_UNDEFINED_", "libvirt-domain" {
        REMOVED = 0,
        RENAMED = 1,
    }
    /// What the hypervisor did when a guest's watchdog fired.
    DomainEventWatchdogAction = "virDomainEventWatchdogAction", "VIR_DOMAIN_EVENT_WATCHDOG_", "libvirt-domain" {
        NONE = 0,
        PAUSE = 1,
        RESET = 2,
        POWEROFF = 3,
        SHUTDOWN = 4,
        DEBUG = 5,
        INJECTNMI = 6,
    }
    /// Which display server reloads its certificates.
    DomainGraphicsReloadType = "virDomainGraphicsReloadType", "VIR_DOMAIN_GRAPHICS_RELOAD_TYPE_", "libvirt-domain" {
        ANY = 0,
        VNC = 1,
    }
    /// Where a guest's addresses are taken from.
    DomainInterfaceAddressesSource = "virDomainInterfaceAddressesSource", "VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_", "libvirt-domain" {
        LEASE = 0,
        AGENT = 1,
        ARP = 2,
    }
    /// The operation behind a job.
    DomainJobOperation = "virDomainJobOperation", "VIR_DOMAIN_JOB_OPERATION_", "libvirt-domain" {
        UNKNOWN = 0,
        START = 1,
        SAVE = 2,
        RESTORE = 3,
        MIGRATION_IN = 4,
        MIGRATION_OUT = 5,
        SNAPSHOT = 6,
        SNAPSHOT_REVERT = 7,
        DUMP = 8,
        BACKUP = 9,
        SNAPSHOT_DELETE = 10,
    }
    /// Whether a job runs, how it can be measured, or how it ended.
    DomainJobType = "virDomainJobType", "VIR_DOMAIN_JOB_", "libvirt-domain" {
        NONE = 0,
        BOUNDED = 1,
        UNBOUNDED = 2,
        COMPLETED = 3,
        FAILED = 4,
        CANCELLED = 5,
    }
    /// The ends of a guest that an action can be set for.
    DomainLifecycle = "virDomainLifecycle", "VIR_DOMAIN_LIFECYCLE_", "libvirt-domain" {
        POWEROFF = 0,
        REBOOT = 1,
        CRASH = 2,
    }
    /// What is done when a guest ends.
    DomainLifecycleAction = "virDomainLifecycleAction", "VIR_DOMAIN_LIFECYCLE_ACTION_", "libvirt-domain" {
        DESTROY = 0,
        RESTART = 1,
        RESTART_RENAME = 2,
        PRESERVE = 3,
        COREDUMP_DESTROY = 4,
        COREDUMP_RESTART = 5,
    }
    /// What the hypervisor did about a hardware memory failure.
    DomainMemoryFailureActionType = "virDomainMemoryFailureActionType", "VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_", "libvirt-domain" {
        IGNORE = 0,
        INJECT = 1,
        FATAL = 2,
        RESET = 3,
    }
    /// Whose memory has failed.
    DomainMemoryFailureRecipientType = "virDomainMemoryFailureRecipientType", "VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_", "libvirt-domain" {
        HYPERVISOR = 0,
        GUEST = 1,
    }
    /// The kinds of memory statistic.
    DomainMemoryStatTags = "virDomainMemoryStatTags", "VIR_DOMAIN_MEMORY_STAT_", "libvirt-domain" {
        SWAP_IN = 0,
        SWAP_OUT = 1,
        MAJOR_FAULT = 2,
        MINOR_FAULT = 3,
        UNUSED = 4,
        AVAILABLE = 5,
        ACTUAL_BALLOON = 6,
        RSS = 7,
        USABLE = 8,
        LAST_UPDATE = 9,
        DISK_CACHES = 10,
        HUGETLB_PGALLOC = 11,
        HUGETLB_PGFAIL = 12,
        NR = 13,
    }
    /// The pieces of metadata that can be read and written alone.
    DomainMetadataType = "virDomainMetadataType", "VIR_DOMAIN_METADATA_", "libvirt-domain" {
        DESCRIPTION = 0,
        TITLE = 1,
        ELEMENT = 2,
    }
    /// Why a domain has no state.
    DomainNostateReason = "virDomainNostateReason", "VIR_DOMAIN_NOSTATE_", "libvirt-domain" {
        UNKNOWN = 0,
    }
    /// How strictly memory is bound to host nodes.
    DomainNumatuneMemMode = "virDomainNumatuneMemMode", "VIR_DOMAIN_NUMATUNE_MEM_", "libvirt-domain" {
        STRICT = 0,
        PREFERRED = 1,
        INTERLEAVE = 2,
        RESTRICTIVE = 3,
    }
    /// Why a domain sleeps on disk.
    DomainPmSuspendedDiskReason = "virDomainPMSuspendedDiskReason", "VIR_DOMAIN_PMSUSPENDED_DISK_", "libvirt-domain" {
        UNKNOWN = 0,
    }
    /// Why a domain sleeps in memory.
    DomainPmSuspendedReason = "virDomainPMSuspendedReason", "VIR_DOMAIN_PMSUSPENDED_", "libvirt-domain" {
        UNKNOWN = 0,
    }
    /// Why a domain is paused.
    DomainPausedReason = "virDomainPausedReason", "VIR_DOMAIN_PAUSED_", "libvirt-domain" {
        UNKNOWN = 0,
        USER = 1,
        MIGRATION = 2,
        SAVE = 3,
        DUMP = 4,
        IOERROR = 5,
        WATCHDOG = 6,
        FROM_SNAPSHOT = 7,
        SHUTTING_DOWN = 8,
        SNAPSHOT = 9,
        CRASHED = 10,
        STARTING_UP = 11,
        POSTCOPY = 12,
        POSTCOPY_FAILED = 13,
        API_ERROR = 14,
    }
    /// Signals for a process in a guest, with Linux's numbers whatever the host is.
    DomainProcessSignal = "virDomainProcessSignal", "VIR_DOMAIN_PROCESS_SIGNAL_", "libvirt-domain" {
        NOP = 0,
        HUP = 1,
        INT = 2,
        QUIT = 3,
        ILL = 4,
        TRAP = 5,
        ABRT = 6,
        BUS = 7,
        FPE = 8,
        KILL = 9,
        USR1 = 10,
        SEGV = 11,
        USR2 = 12,
        PIPE = 13,
        ALRM = 14,
        TERM = 15,
        STKFLT = 16,
        CHLD = 17,
        CONT = 18,
        STOP = 19,
        TSTP = 20,
        TTIN = 21,
        TTOU = 22,
        URG = 23,
        XCPU = 24,
        XFSZ = 25,
        VTALRM = 26,
        PROF = 27,
        WINCH = 28,
        POLL = 29,
        PWR = 30,
        SYS = 31,
        RT0 = 32,
        RT1 = 33,
        RT2 = 34,
        RT3 = 35,
        RT4 = 36,
        RT5 = 37,
        RT6 = 38,
        RT7 = 39,
        RT8 = 40,
        RT9 = 41,
        RT10 = 42,
        RT11 = 43,
        RT12 = 44,
        RT13 = 45,
        RT14 = 46,
        RT15 = 47,
        RT16 = 48,
        RT17 = 49,
        RT18 = 50,
        RT19 = 51,
        RT20 = 52,
        RT21 = 53,
        RT22 = 54,
        RT23 = 55,
        RT24 = 56,
        RT25 = 57,
        RT26 = 58,
        RT27 = 59,
        RT28 = 60,
        RT29 = 61,
        RT30 = 62,
        RT31 = 63,
        RT32 = 64,
    }
    /// How a domain came to run.
    DomainRunningReason = "virDomainRunningReason", "VIR_DOMAIN_RUNNING_", "libvirt-domain" {
        UNKNOWN = 0,
        BOOTED = 1,
        MIGRATED = 2,
        RESTORED = 3,
        FROM_SNAPSHOT = 4,
        UNPAUSED = 5,
        MIGRATION_CANCELED = 6,
        SAVE_CANCELED = 7,
        WAKEUP = 8,
        CRASHED = 9,
        POSTCOPY = 10,
        POSTCOPY_FAILED = 11,
    }
    /// Why a domain is shutting down.
    DomainShutdownReason = "virDomainShutdownReason", "VIR_DOMAIN_SHUTDOWN_", "libvirt-domain" {
        UNKNOWN = 0,
        USER = 1,
    }
    /// Why a domain is off.
    DomainShutoffReason = "virDomainShutoffReason", "VIR_DOMAIN_SHUTOFF_", "libvirt-domain" {
        UNKNOWN = 0,
        SHUTDOWN = 1,
        DESTROYED = 2,
        CRASHED = 3,
        MIGRATED = 4,
        SAVED = 5,
        FAILED = 6,
        FROM_SNAPSHOT = 7,
        DAEMON = 8,
    }
    /// What a domain is doing.
    DomainState = "virDomainState", "VIR_DOMAIN_", "libvirt-domain" {
        NOSTATE = 0,
        RUNNING = 1,
        BLOCKED = 2,
        PAUSED = 3,
        SHUTDOWN = 4,
        SHUTOFF = 5,
        CRASHED = 6,
        PMSUSPENDED = 7,
    }
    /// The family of an IP address.
    IpAddrType = "virIPAddrType", "VIR_IP_ADDR_TYPE_", "libvirt-network" {
        IPV4 = 0,
        IPV6 = 1,
    }
    /// The numbering in which key codes are given.
    KeycodeSet = "virKeycodeSet", "VIR_KEYCODE_SET_", "libvirt-domain" {
        LINUX = 0,
        XT = 1,
        ATSET1 = 2,
        ATSET2 = 3,
        ATSET3 = 4,
        OSX = 5,
        XT_KBD = 6,
        USB = 7,
        WIN32 = 8,
        QNUM = 9,
    }
    /// The kinds of network event that can be subscribed to.
    NetworkEventId = "virNetworkEventID", "VIR_NETWORK_EVENT_ID_", "libvirt-network" {
        LIFECYCLE = 0,
        METADATA_CHANGE = 1,
    }
    /// What happened in a network's life.
    NetworkEventLifecycleType = "virNetworkEventLifecycleType", "VIR_NETWORK_EVENT_", "libvirt-network" {
        DEFINED = 0,
        UNDEFINED = 1,
        STARTED = 2,
        STOPPED = 3,
    }
    /// The pieces of a network's metadata that can be read and written alone.
    NetworkMetadataType = "virNetworkMetadataType", "VIR_NETWORK_METADATA_", "libvirt-network" {
        DESCRIPTION = 0,
        TITLE = 1,
        ELEMENT = 2,
    }
    /// What is done to an element of a network.
    NetworkUpdateCommand = "virNetworkUpdateCommand", "VIR_NETWORK_UPDATE_COMMAND_", "libvirt-network" {
        NONE = 0,
        MODIFY = 1,
        DELETE = 2,
        ADD_LAST = 3,
        ADD_FIRST = 4,
    }
    /// Which part of a network is changed.
    NetworkUpdateSection = "virNetworkUpdateSection", "VIR_NETWORK_SECTION_", "libvirt-network" {
        NONE = 0,
        BRIDGE = 1,
        DOMAIN = 2,
        IP = 3,
        IP_DHCP_HOST = 4,
        IP_DHCP_RANGE = 5,
        FORWARD = 6,
        FORWARD_INTERFACE = 7,
        FORWARD_PF = 8,
        PORTGROUP = 9,
        DNS_HOST = 10,
        DNS_TXT = 11,
        DNS_SRV = 12,
    }
    /// The kinds of host device event that can be subscribed to.
    NodeDeviceEventId = "virNodeDeviceEventID", "VIR_NODE_DEVICE_EVENT_ID_", "libvirt-nodedev" {
        LIFECYCLE = 0,
        UPDATE = 1,
    }
    /// What happened in a host device's life.
    NodeDeviceEventLifecycleType = "virNodeDeviceEventLifecycleType", "VIR_NODE_DEVICE_EVENT_", "libvirt-nodedev" {
        CREATED = 0,
        DELETED = 1,
        DEFINED = 2,
        UNDEFINED = 3,
    }
    /// The CPU number that means all CPUs of the host together.
    NodeGetCpuStatsAllCpus = "virNodeGetCPUStatsAllCPUs", "VIR_NODE_CPU_STATS_", "libvirt-host" {
        ALL_CPUS = -1,
    }
    /// The cell number that means all memory of the host together.
    NodeGetMemoryStatsAllCells = "virNodeGetMemoryStatsAllCells", "VIR_NODE_MEMORY_STATS_", "libvirt-host" {
        ALL_CELLS = -1,
    }
    /// How deeply the host shall sleep.
    NodeSuspendTarget = "virNodeSuspendTarget", "VIR_NODE_SUSPEND_TARGET_", "libvirt-host" {
        MEM = 0,
        DISK = 1,
        HYBRID = 2,
    }
    /// The kinds of secret event that can be subscribed to.
    SecretEventId = "virSecretEventID", "VIR_SECRET_EVENT_ID_", "libvirt-secret" {
        LIFECYCLE = 0,
        VALUE_CHANGED = 1,
    }
    /// What happened in a secret's life.
    SecretEventLifecycleType = "virSecretEventLifecycleType", "VIR_SECRET_EVENT_", "libvirt-secret" {
        DEFINED = 0,
        UNDEFINED = 1,
    }
    /// What a secret is used for.
    SecretUsageType = "virSecretUsageType", "VIR_SECRET_USAGE_TYPE_", "libvirt-secret" {
        NONE = 0,
        VOLUME = 1,
        CEPH = 2,
        ISCSI = 3,
        TLS = 4,
        VTPM = 5,
    }
    /// The kinds of storage pool event that can be subscribed to.
    StoragePoolEventId = "virStoragePoolEventID", "VIR_STORAGE_POOL_EVENT_ID_", "libvirt-storage" {
        LIFECYCLE = 0,
        REFRESH = 1,
    }
    /// What happened in a storage pool's life.
    StoragePoolEventLifecycleType = "virStoragePoolEventLifecycleType", "VIR_STORAGE_POOL_EVENT_", "libvirt-storage" {
        DEFINED = 0,
        UNDEFINED = 1,
        STARTED = 2,
        STOPPED = 3,
        CREATED = 4,
        DELETED = 5,
    }
    /// What a storage pool is doing.
    StoragePoolState = "virStoragePoolState", "VIR_STORAGE_POOL_", "libvirt-storage" {
        INACTIVE = 0,
        BUILDING = 1,
        RUNNING = 2,
        DEGRADED = 3,
        INACCESSIBLE = 4,
    }
    /// What kind of thing a volume is.
    StorageVolType = "virStorageVolType", "VIR_STORAGE_VOL_", "libvirt-storage" {
        FILE = 0,
        BLOCK = 1,
        DIR = 2,
        NETWORK = 3,
        NETDIR = 4,
        PLOOP = 5,
    }
    /// The pattern with which a volume is wiped.
    StorageVolWipeAlgorithm = "virStorageVolWipeAlgorithm", "VIR_STORAGE_VOL_WIPE_ALG_", "libvirt-storage" {
        ZERO = 0,
        NNSA = 1,
        DOD = 2,
        BSI = 3,
        GUTMANN = 4,
        SCHNEIER = 5,
        PFITZNER7 = 6,
        PFITZNER33 = 7,
        RANDOM = 8,
        TRIM = 9,
    }
    /// The type of a typed parameter's value.
    TypedParameterType = "virTypedParameterType", "VIR_TYPED_PARAM_", "libvirt-common" {
        INT = 1,
        UINT = 2,
        LLONG = 3,
        ULLONG = 4,
        DOUBLE = 5,
        BOOLEAN = 6,
        STRING = 7,
    }
    /// What stands in the place of a host CPU's number.
    VcpuHostCpuState = "virVcpuHostCpuState", "VIR_VCPU_INFO_CPU_", "libvirt-domain" {
        UNAVAILABLE = -2,
        OFFLINE = -1,
    }
    /// What a virtual CPU is doing.
    VcpuState = "virVcpuState", "VIR_VCPU_", "libvirt-domain" {
        OFFLINE = 0,
        RUNNING = 1,
        BLOCKED = 2,
    }
    /// How a client reaches the daemon.
    ClientTransport = "virClientTransport", "VIR_CLIENT_TRANS_", "libvirt-admin" {
        UNIX = 0,
        TCP = 1,
        TLS = 2,
    }
    /// Special values of the time given to a raw agent command.
    DomainQemuAgentCommandTimeout = "virDomainQemuAgentCommandTimeoutValues", "VIR_DOMAIN_QEMU_AGENT_COMMAND_", "libvirt-qemu" {
        BLOCK = -2,
        MIN = -2,
        DEFAULT = -1,
        NOWAIT = 0,
        SHUTDOWN = 60,
    }
}

/// Old name of the value types, used by block I/O tuning.
///
/// C: `virBlkioParameterType`.
pub type BlkioParameterType = TypedParameterType;

/// Which part of the system an error comes from.
///
/// C: `virErrorDomain`.
pub type ErrorDomain = crate::error::ErrorDomain;

/// How serious an error is.
///
/// C: `virErrorLevel`.
pub type ErrorLevel = crate::error::ErrorLevel;

/// What kind of failure an error is.
///
/// C: `virErrorNumber`.
pub type ErrorNumber = crate::error::ErrorCode;

/// Old name of the value types, used by memory tuning.
///
/// C: `virMemoryParameterType`.
pub type MemoryParameterType = TypedParameterType;

/// Old name of the value types, used by the scheduler.
///
/// C: `virSchedParameterType`.
pub type SchedParameterType = TypedParameterType;
