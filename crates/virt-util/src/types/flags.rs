// Made by `cargo xtask codegen` from types.tbl. Do not edit.

//! Public flag sets.

public_flags! {
    /// What a computed baseline CPU shall contain.
    ConnectBaselineCpuFlags = "virConnectBaselineCPUFlags", "VIR_CONNECT_BASELINE_CPU_", "libvirt-host" {
        EXPAND_FEATURES = 1,
        MIGRATABLE = 2,
    }
    /// How strictly two CPUs are compared.
    ConnectCompareCpuFlags = "virConnectCompareCPUFlags", "VIR_CONNECT_COMPARE_CPU_", "libvirt-host" {
        FAIL_INCOMPATIBLE = 1,
        VALIDATE_XML = 2,
    }
    /// How a connection is opened.
    ConnectFlags = "virConnectFlags", "VIR_CONNECT_", "libvirt-host" {
        RO = 1,
        NO_ALIASES = 2,
    }
    /// Which domains bulk statistics cover and how they are gathered.
    ConnectGetAllDomainStatsFlags = "virConnectGetAllDomainStatsFlags", "VIR_CONNECT_GET_ALL_DOMAINS_STATS_", "libvirt-domain" {
        ACTIVE = 1,
        INACTIVE = 2,
        PERSISTENT = 4,
        TRANSIENT = 8,
        RUNNING = 0x10,
        PAUSED = 0x20,
        SHUTOFF = 0x40,
        OTHER = 0x80,
        NOWAIT = 0x20000000,
        BACKING = 0x40000000,
        ENFORCE_STATS = 0x80000000,
    }
    /// How domain capabilities are reported.
    ConnectGetDomainCapabilitiesFlags = "virConnectGetDomainCapabilitiesFlags", "VIR_CONNECT_GET_DOMAIN_CAPABILITIES_", "libvirt-domain" {
        DISABLE_DEPRECATED_FEATURES = 1,
    }
    /// Filters of a domain list; filters of one group add up, groups restrict each other.
    ConnectListAllDomainsFlags = "virConnectListAllDomainsFlags", "VIR_CONNECT_LIST_DOMAINS_", "libvirt-domain" {
        ACTIVE = 1,
        INACTIVE = 2,
        PERSISTENT = 4,
        TRANSIENT = 8,
        RUNNING = 0x10,
        PAUSED = 0x20,
        SHUTOFF = 0x40,
        OTHER = 0x80,
        MANAGEDSAVE = 0x100,
        NO_MANAGEDSAVE = 0x200,
        AUTOSTART = 0x400,
        NO_AUTOSTART = 0x800,
        HAS_SNAPSHOT = 0x1000,
        NO_SNAPSHOT = 0x2000,
        HAS_CHECKPOINT = 0x4000,
        NO_CHECKPOINT = 0x8000,
    }
    /// Filters of a list of host interfaces.
    ConnectListAllInterfacesFlags = "virConnectListAllInterfacesFlags", "VIR_CONNECT_LIST_INTERFACES_", "libvirt-interface" {
        INACTIVE = 1,
        ACTIVE = 2,
    }
    /// Filters of a network list.
    ConnectListAllNetworksFlags = "virConnectListAllNetworksFlags", "VIR_CONNECT_LIST_NETWORKS_", "libvirt-network" {
        INACTIVE = 1,
        ACTIVE = 2,
        PERSISTENT = 4,
        TRANSIENT = 8,
        AUTOSTART = 0x10,
        NO_AUTOSTART = 0x20,
    }
    /// Filters of a list of host devices, by capability and by life.
    ConnectListAllNodeDeviceFlags = "virConnectListAllNodeDeviceFlags", "VIR_CONNECT_LIST_NODE_DEVICES_", "libvirt-nodedev" {
        CAP_SYSTEM = 1,
        CAP_PCI_DEV = 2,
        CAP_USB_DEV = 4,
        CAP_USB_INTERFACE = 8,
        CAP_NET = 0x10,
        CAP_SCSI_HOST = 0x20,
        CAP_SCSI_TARGET = 0x40,
        CAP_SCSI = 0x80,
        CAP_STORAGE = 0x100,
        CAP_FC_HOST = 0x200,
        CAP_VPORTS = 0x400,
        CAP_SCSI_GENERIC = 0x800,
        CAP_DRM = 0x1000,
        CAP_MDEV_TYPES = 0x2000,
        CAP_MDEV = 0x4000,
        CAP_CCW_DEV = 0x8000,
        CAP_CSS_DEV = 0x10000,
        CAP_VDPA = 0x20000,
        CAP_AP_CARD = 0x40000,
        CAP_AP_QUEUE = 0x80000,
        CAP_AP_MATRIX = 0x100000,
        CAP_VPD = 0x200000,
        CAP_CCWGROUP_DEV = 0x400000,
        CAP_CCWGROUP_MEMBER = 0x800000,
        PERSISTENT = 0x10000000,
        TRANSIENT = 0x20000000,
        INACTIVE = 0x40000000,
        ACTIVE = 0x80000000,
    }
    /// Filters of a secret list.
    ConnectListAllSecretsFlags = "virConnectListAllSecretsFlags", "VIR_CONNECT_LIST_SECRETS_", "libvirt-secret" {
        EPHEMERAL = 1,
        NO_EPHEMERAL = 2,
        PRIVATE = 4,
        NO_PRIVATE = 8,
    }
    /// Filters of a list of storage pools, by life and by kind.
    ConnectListAllStoragePoolsFlags = "virConnectListAllStoragePoolsFlags", "VIR_CONNECT_LIST_STORAGE_POOLS_", "libvirt-storage" {
        INACTIVE = 1,
        ACTIVE = 2,
        PERSISTENT = 4,
        TRANSIENT = 8,
        AUTOSTART = 0x10,
        NO_AUTOSTART = 0x20,
        DIR = 0x40,
        FS = 0x80,
        NETFS = 0x100,
        LOGICAL = 0x200,
        DISK = 0x400,
        ISCSI = 0x800,
        SCSI = 0x1000,
        MPATH = 0x2000,
        RBD = 0x4000,
        SHEEPDOG = 0x8000,
        GLUSTER = 0x10000,
        ZFS = 0x20000,
        VSTORAGE = 0x40000,
        ISCSI_DIRECT = 0x80000,
    }
    /// How a job is aborted.
    DomainAbortJobFlags = "virDomainAbortJobFlagsValues", "VIR_DOMAIN_ABORT_JOB_", "libvirt-domain" {
        POSTCOPY = 1,
    }
    /// How authorized keys in the guest are changed.
    DomainAuthorizedSshKeysSetFlags = "virDomainAuthorizedSSHKeysSetFlags", "VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_", "libvirt-domain" {
        APPEND = 1,
        REMOVE = 2,
    }
    /// How a backup is begun.
    DomainBackupBeginFlags = "virDomainBackupBeginFlags", "VIR_DOMAIN_BACKUP_BEGIN_", "libvirt-domain" {
        REUSE_EXTERNAL = 1,
    }
    /// How an overlay is committed into its backing image.
    DomainBlockCommitFlags = "virDomainBlockCommitFlags", "VIR_DOMAIN_BLOCK_COMMIT_", "libvirt-domain" {
        SHALLOW = 1,
        DELETE = 2,
        ACTIVE = 4,
        RELATIVE = 8,
        BANDWIDTH_BYTES = 0x10,
    }
    /// How a disk is mirrored.
    DomainBlockCopyFlags = "virDomainBlockCopyFlags", "VIR_DOMAIN_BLOCK_COPY_", "libvirt-domain" {
        SHALLOW = 1,
        REUSE_EXT = 2,
        TRANSIENT_JOB = 4,
        SYNCHRONOUS_WRITES = 8,
    }
    /// How a block job is ended.
    DomainBlockJobAbortFlags = "virDomainBlockJobAbortFlags", "VIR_DOMAIN_BLOCK_JOB_ABORT_", "libvirt-domain" {
        ASYNC = 1,
        PIVOT = 2,
    }
    /// The unit in which a block job's bandwidth is told.
    DomainBlockJobInfoFlags = "virDomainBlockJobInfoFlags", "VIR_DOMAIN_BLOCK_JOB_INFO_", "libvirt-domain" {
        BANDWIDTH_BYTES = 1,
    }
    /// The unit in which a block job's bandwidth is given.
    DomainBlockJobSetSpeedFlags = "virDomainBlockJobSetSpeedFlags", "VIR_DOMAIN_BLOCK_JOB_SPEED_", "libvirt-domain" {
        BANDWIDTH_BYTES = 1,
    }
    /// How a backing chain is pulled into its active image.
    DomainBlockPullFlags = "virDomainBlockPullFlags", "VIR_DOMAIN_BLOCK_PULL_", "libvirt-domain" {
        BANDWIDTH_BYTES = 0x40,
    }
    /// How a disk's backing chain is shortened or copied.
    DomainBlockRebaseFlags = "virDomainBlockRebaseFlags", "VIR_DOMAIN_BLOCK_REBASE_", "libvirt-domain" {
        SHALLOW = 1,
        REUSE_EXT = 2,
        COPY_RAW = 4,
        COPY = 8,
        RELATIVE = 0x10,
        COPY_DEV = 0x20,
        BANDWIDTH_BYTES = 0x40,
    }
    /// The unit and target of a disk's new size.
    DomainBlockResizeFlags = "virDomainBlockResizeFlags", "VIR_DOMAIN_BLOCK_RESIZE_", "libvirt-domain" {
        BYTES = 1,
        CAPACITY = 2,
    }
    /// How a channel is opened.
    DomainChannelFlags = "virDomainChannelFlags", "VIR_DOMAIN_CHANNEL_", "libvirt-domain" {
        FORCE = 1,
    }
    /// How a checkpoint is made.
    DomainCheckpointCreateFlags = "virDomainCheckpointCreateFlags", "VIR_DOMAIN_CHECKPOINT_CREATE_", "libvirt-domain-checkpoint" {
        REDEFINE = 1,
        QUIESCE = 2,
        REDEFINE_VALIDATE = 4,
    }
    /// What goes with a deleted checkpoint.
    DomainCheckpointDeleteFlags = "virDomainCheckpointDeleteFlags", "VIR_DOMAIN_CHECKPOINT_DELETE_", "libvirt-domain-checkpoint" {
        CHILDREN = 1,
        METADATA_ONLY = 2,
        CHILDREN_ONLY = 4,
    }
    /// Filters and order of a checkpoint list.
    DomainCheckpointListFlags = "virDomainCheckpointListFlags", "VIR_DOMAIN_CHECKPOINT_LIST_", "libvirt-domain-checkpoint" {
        DESCENDANTS = 1,
        ROOTS = 1,
        TOPOLOGICAL = 2,
        LEAVES = 4,
        NO_LEAVES = 8,
    }
    /// What a checkpoint's XML contains.
    DomainCheckpointXmlFlags = "virDomainCheckpointXMLFlags", "VIR_DOMAIN_CHECKPOINT_XML_", "libvirt-domain-checkpoint" {
        SECURE = 1,
        NO_DOMAIN = 2,
        SIZE = 4,
    }
    /// How a console is opened.
    DomainConsoleFlags = "virDomainConsoleFlags", "VIR_DOMAIN_CONSOLE_", "libvirt-domain" {
        FORCE = 1,
        SAFE = 2,
    }
    /// What is dumped and what becomes of the domain.
    DomainCoreDumpFlags = "virDomainCoreDumpFlags", "VIR_DUMP_", "libvirt-domain" {
        CRASH = 1,
        LIVE = 2,
        BYPASS_CACHE = 4,
        RESET = 8,
        MEMORY_ONLY = 0x10,
    }
    /// How a domain is started.
    DomainCreateFlags = "virDomainCreateFlags", "VIR_DOMAIN_", "libvirt-domain" {
        NONE = 0,
        START_PAUSED = 1,
        START_AUTODESTROY = 2,
        START_BYPASS_CACHE = 4,
        START_FORCE_BOOT = 8,
        START_VALIDATE = 0x10,
        START_RESET_NVRAM = 0x20,
    }
    /// How a definition is checked before it is stored.
    DomainDefineFlags = "virDomainDefineFlags", "VIR_DOMAIN_DEFINE_", "libvirt-domain" {
        VALIDATE = 1,
    }
    /// How hard a domain is stopped.
    DomainDestroyFlags = "virDomainDestroyFlagsValues", "VIR_DOMAIN_DESTROY_", "libvirt-domain" {
        DEFAULT = 0,
        GRACEFUL = 1,
        REMOVE_LOGS = 2,
    }
    /// Whether a device change meets the running domain, its definition, or both.
    DomainDeviceModifyFlags = "virDomainDeviceModifyFlags", "VIR_DOMAIN_DEVICE_MODIFY_", "libvirt-domain" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
        FORCE = 4,
    }
    /// How the rate of dirtied memory is measured.
    DomainDirtyRateCalcFlags = "virDomainDirtyRateCalcFlags", "VIR_DOMAIN_DIRTYRATE_MODE_", "libvirt-domain" {
        PAGE_SAMPLING = 0,
        DIRTY_BITMAP = 1,
        DIRTY_RING = 2,
    }
    /// What may be done to the labels of a passed file.
    DomainFdAssociateFlags = "virDomainFDAssociateFlags", "VIR_DOMAIN_FD_ASSOCIATE_SECLABEL_", "libvirt-domain" {
        RESTORE = 1,
        WRITABLE = 2,
    }
    /// Where a guest's host name is taken from.
    DomainGetHostnameFlags = "virDomainGetHostnameFlags", "VIR_DOMAIN_GET_HOSTNAME_", "libvirt-domain" {
        LEASE = 1,
        AGENT = 2,
    }
    /// Which job's statistics are read.
    DomainGetJobStatsFlags = "virDomainGetJobStatsFlags", "VIR_DOMAIN_JOB_STATS_", "libvirt-domain" {
        COMPLETED = 1,
        KEEP_COMPLETED = 2,
    }
    /// Which groups of facts the guest agent is asked for.
    DomainGuestInfoTypes = "virDomainGuestInfoTypes", "VIR_DOMAIN_GUEST_INFO_", "libvirt-domain" {
        USERS = 1,
        OS = 2,
        TIMEZONE = 4,
        HOSTNAME = 8,
        FILESYSTEM = 0x10,
        DISKS = 0x20,
        INTERFACES = 0x40,
        LOAD = 0x80,
    }
    /// More about a hardware memory failure.
    DomainMemoryFailureFlags = "virDomainMemoryFailureFlags", "VIR_DOMAIN_MEMORY_FAILURE_", "libvirt-domain" {
        ACTION_REQUIRED = 1,
        RECURSIVE = 2,
    }
    /// The address space in which memory is peeked at.
    DomainMemoryFlags = "virDomainMemoryFlags", "VIR_MEMORY_", "libvirt-domain" {
        VIRTUAL = 1,
        PHYSICAL = 2,
    }
    /// Which of a domain's memory values is set, and where.
    DomainMemoryModFlags = "virDomainMemoryModFlags", "VIR_DOMAIN_MEM_", "libvirt-domain" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
        MAXIMUM = 4,
    }
    /// Which kinds of message about a domain are wanted.
    DomainMessageType = "virDomainMessageType", "VIR_DOMAIN_MESSAGE_", "libvirt-domain" {
        DEPRECATION = 1,
        TAINTING = 2,
        IOERRORS = 4,
    }
    /// How a domain migrates.
    DomainMigrateFlags = "virDomainMigrateFlags", "VIR_MIGRATE_", "libvirt-domain" {
        LIVE = 1,
        PEER2PEER = 2,
        TUNNELLED = 4,
        PERSIST_DEST = 8,
        UNDEFINE_SOURCE = 0x10,
        PAUSED = 0x20,
        NON_SHARED_DISK = 0x40,
        NON_SHARED_INC = 0x80,
        CHANGE_PROTECTION = 0x100,
        UNSAFE = 0x200,
        OFFLINE = 0x400,
        COMPRESSED = 0x800,
        ABORT_ON_ERROR = 0x1000,
        AUTO_CONVERGE = 0x2000,
        RDMA_PIN_ALL = 0x4000,
        POSTCOPY = 0x8000,
        TLS = 0x10000,
        PARALLEL = 0x20000,
        NON_SHARED_SYNCHRONOUS_WRITES = 0x40000,
        POSTCOPY_RESUME = 0x80000,
        ZEROCOPY = 0x100000,
    }
    /// Which phase of a migration a speed limit is for.
    DomainMigrateMaxSpeedFlags = "virDomainMigrateMaxSpeedFlags", "VIR_DOMAIN_MIGRATE_MAX_SPEED_", "libvirt-domain" {
        POSTCOPY = 1,
    }
    /// Whether a change meets the running domain, its definition, or both.
    DomainModificationImpact = "virDomainModificationImpact", "VIR_DOMAIN_AFFECT_", "libvirt-domain" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
    }
    /// How a display connection is opened.
    DomainOpenGraphicsFlags = "virDomainOpenGraphicsFlags", "VIR_DOMAIN_OPEN_GRAPHICS_", "libvirt-domain" {
        SKIPAUTH = 1,
    }
    /// By which means a guest is asked to reboot.
    DomainRebootFlags = "virDomainRebootFlagValues", "VIR_DOMAIN_REBOOT_", "libvirt-domain" {
        DEFAULT = 0,
        ACPI_POWER_BTN = 1,
        GUEST_AGENT = 2,
        INITCTL = 4,
        SIGNAL = 8,
        PARAVIRT = 0x10,
    }
    /// What the XML read from a saved image contains.
    DomainSaveImageXmlFlags = "virDomainSaveImageXMLFlags", "VIR_DOMAIN_SAVE_IMAGE_XML_", "libvirt-domain" {
        SECURE = 1,
    }
    /// How a domain is saved or restored.
    DomainSaveRestoreFlags = "virDomainSaveRestoreFlags", "VIR_DOMAIN_SAVE_", "libvirt-domain" {
        BYPASS_CACHE = 1,
        RUNNING = 2,
        PAUSED = 4,
        RESET_NVRAM = 8,
    }
    /// How a guest's clock is set.
    DomainSetTimeFlags = "virDomainSetTimeFlags", "VIR_DOMAIN_TIME_", "libvirt-domain" {
        SYNC = 1,
    }
    /// The form of a password for a guest's user.
    DomainSetUserPasswordFlags = "virDomainSetUserPasswordFlags", "VIR_DOMAIN_PASSWORD_", "libvirt-domain" {
        ENCRYPTED = 1,
    }
    /// By which means a guest is asked to shut down.
    DomainShutdownFlags = "virDomainShutdownFlagValues", "VIR_DOMAIN_SHUTDOWN_", "libvirt-domain" {
        DEFAULT = 0,
        ACPI_POWER_BTN = 1,
        GUEST_AGENT = 2,
        INITCTL = 4,
        SIGNAL = 8,
        PARAVIRT = 0x10,
    }
    /// How a snapshot is taken.
    DomainSnapshotCreateFlags = "virDomainSnapshotCreateFlags", "VIR_DOMAIN_SNAPSHOT_CREATE_", "libvirt-domain-snapshot" {
        REDEFINE = 1,
        CURRENT = 2,
        NO_METADATA = 4,
        HALT = 8,
        DISK_ONLY = 0x10,
        REUSE_EXT = 0x20,
        QUIESCE = 0x40,
        ATOMIC = 0x80,
        LIVE = 0x100,
        VALIDATE = 0x200,
    }
    /// What goes with a deleted snapshot.
    DomainSnapshotDeleteFlags = "virDomainSnapshotDeleteFlags", "VIR_DOMAIN_SNAPSHOT_DELETE_", "libvirt-domain-snapshot" {
        CHILDREN = 1,
        METADATA_ONLY = 2,
        CHILDREN_ONLY = 4,
    }
    /// Filters and order of a snapshot list.
    DomainSnapshotListFlags = "virDomainSnapshotListFlags", "VIR_DOMAIN_SNAPSHOT_LIST_", "libvirt-domain-snapshot" {
        DESCENDANTS = 1,
        ROOTS = 1,
        METADATA = 2,
        LEAVES = 4,
        NO_LEAVES = 8,
        NO_METADATA = 0x10,
        INACTIVE = 0x20,
        ACTIVE = 0x40,
        DISK_ONLY = 0x80,
        INTERNAL = 0x100,
        EXTERNAL = 0x200,
        TOPOLOGICAL = 0x400,
    }
    /// In which state a domain is after going back to a snapshot.
    DomainSnapshotRevertFlags = "virDomainSnapshotRevertFlags", "VIR_DOMAIN_SNAPSHOT_REVERT_", "libvirt-domain-snapshot" {
        RUNNING = 1,
        PAUSED = 2,
        FORCE = 4,
        RESET_NVRAM = 8,
    }
    /// What a snapshot's XML contains.
    DomainSnapshotXmlFlags = "virDomainSnapshotXMLFlags", "VIR_DOMAIN_SNAPSHOT_XML_", "libvirt-domain-snapshot" {
        SECURE = 1,
    }
    /// The groups of bulk statistics.
    DomainStatsTypes = "virDomainStatsTypes", "VIR_DOMAIN_STATS_", "libvirt-domain" {
        STATE = 1,
        CPU_TOTAL = 2,
        BALLOON = 4,
        VCPU = 8,
        INTERFACE = 0x10,
        BLOCK = 0x20,
        PERF = 0x40,
        IOTHREAD = 0x80,
        MEMORY = 0x100,
        DIRTYRATE = 0x200,
        VM = 0x400,
    }
    /// What is removed or kept together with a definition.
    DomainUndefineFlags = "virDomainUndefineFlagsValues", "VIR_DOMAIN_UNDEFINE_", "libvirt-domain" {
        MANAGED_SAVE = 1,
        SNAPSHOTS_METADATA = 2,
        NVRAM = 4,
        KEEP_NVRAM = 8,
        CHECKPOINTS_METADATA = 0x10,
        TPM = 0x20,
        KEEP_TPM = 0x40,
    }
    /// Which of a domain's CPU counts is meant, and where.
    DomainVcpuFlags = "virDomainVcpuFlags", "VIR_DOMAIN_VCPU_", "libvirt-domain" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
        MAXIMUM = 4,
        GUEST = 8,
        HOTPLUGGABLE = 0x10,
    }
    /// What a domain's XML contains.
    DomainXmlFlags = "virDomainXMLFlags", "VIR_DOMAIN_XML_", "libvirt-domain" {
        SECURE = 1,
        INACTIVE = 2,
        UPDATE_CPU = 4,
        MIGRATABLE = 8,
    }
    /// What a watched file descriptor is watched for, or has become.
    EventHandleType = "virEventHandleType", "VIR_EVENT_HANDLE_", "libvirt-event" {
        READABLE = 1,
        WRITABLE = 2,
        ERROR = 4,
        HANGUP = 8,
    }
    /// How an interface definition is checked.
    InterfaceDefineFlags = "virInterfaceDefineFlags", "VIR_INTERFACE_DEFINE_", "libvirt-interface" {
        VALIDATE = 1,
    }
    /// Which of an interface's descriptions is shown.
    InterfaceXmlFlags = "virInterfaceXMLFlags", "VIR_INTERFACE_XML_", "libvirt-interface" {
        INACTIVE = 1,
    }
    /// How a filter binding is checked.
    NwfilterBindingCreateFlags = "virNWFilterBindingCreateFlags", "VIR_NWFILTER_BINDING_CREATE_", "libvirt-nwfilter" {
        VALIDATE = 1,
    }
    /// How a filter definition is checked.
    NwfilterDefineFlags = "virNWFilterDefineFlags", "VIR_NWFILTER_DEFINE_", "libvirt-nwfilter" {
        VALIDATE = 1,
    }
    /// How a transient network is checked.
    NetworkCreateFlags = "virNetworkCreateFlags", "VIR_NETWORK_CREATE_", "libvirt-network" {
        VALIDATE = 1,
    }
    /// How a network definition is checked.
    NetworkDefineFlags = "virNetworkDefineFlags", "VIR_NETWORK_DEFINE_", "libvirt-network" {
        VALIDATE = 1,
    }
    /// How a network port is made.
    NetworkPortCreateFlags = "virNetworkPortCreateFlags", "VIR_NETWORK_PORT_CREATE_", "libvirt-network" {
        RECLAIM = 1,
        VALIDATE = 2,
    }
    /// Whether a network change meets the running network, its definition, or both.
    NetworkUpdateFlags = "virNetworkUpdateFlags", "VIR_NETWORK_UPDATE_AFFECT_", "libvirt-network" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
    }
    /// Which of a network's descriptions is shown.
    NetworkXmlFlags = "virNetworkXMLFlags", "VIR_NETWORK_XML_", "libvirt-network" {
        INACTIVE = 1,
    }
    /// Whether huge pages are added to the pool or the pool is set.
    NodeAllocPagesFlags = "virNodeAllocPagesFlags", "VIR_NODE_ALLOC_PAGES_", "libvirt-host" {
        ADD = 0,
        SET = 1,
    }
    /// How a transient host device is checked.
    NodeDeviceCreateXmlFlags = "virNodeDeviceCreateXMLFlags", "VIR_NODE_DEVICE_CREATE_XML_", "libvirt-nodedev" {
        VALIDATE = 1,
    }
    /// How a host device's definition is checked.
    NodeDeviceDefineXmlFlags = "virNodeDeviceDefineXMLFlags", "VIR_NODE_DEVICE_DEFINE_XML_", "libvirt-nodedev" {
        VALIDATE = 1,
    }
    /// Whether a change meets the live host device, its definition, or both.
    NodeDeviceUpdateFlags = "virNodeDeviceUpdateFlags", "VIR_NODE_DEVICE_UPDATE_AFFECT_", "libvirt-nodedev" {
        CURRENT = 0,
        LIVE = 1,
        CONFIG = 2,
    }
    /// Which of a host device's descriptions is shown.
    NodeDeviceXmlFlags = "virNodeDeviceXMLFlags", "VIR_NODE_DEVICE_XML_", "libvirt-nodedev" {
        INACTIVE = 1,
    }
    /// How a secret definition is checked.
    SecretDefineFlags = "virSecretDefineFlags", "VIR_SECRET_DEFINE_", "libvirt-secret" {
        VALIDATE = 1,
    }
    /// How a pool's storage is prepared.
    StoragePoolBuildFlags = "virStoragePoolBuildFlags", "VIR_STORAGE_POOL_BUILD_", "libvirt-storage" {
        NEW = 0,
        REPAIR = 1,
        RESIZE = 2,
        NO_OVERWRITE = 4,
        OVERWRITE = 8,
    }
    /// Whether a pool's storage is prepared before it starts.
    StoragePoolCreateFlags = "virStoragePoolCreateFlags", "VIR_STORAGE_POOL_CREATE_", "libvirt-storage" {
        NORMAL = 0,
        WITH_BUILD = 1,
        WITH_BUILD_OVERWRITE = 2,
        WITH_BUILD_NO_OVERWRITE = 4,
    }
    /// How a pool definition is checked.
    StoragePoolDefineFlags = "virStoragePoolDefineFlags", "VIR_STORAGE_POOL_DEFINE_", "libvirt-storage" {
        VALIDATE = 1,
    }
    /// How a pool's storage is given up.
    StoragePoolDeleteFlags = "virStoragePoolDeleteFlags", "VIR_STORAGE_POOL_DELETE_", "libvirt-storage" {
        NORMAL = 0,
        ZEROED = 1,
    }
    /// How a volume is made.
    StorageVolCreateFlags = "virStorageVolCreateFlags", "VIR_STORAGE_VOL_CREATE_", "libvirt-storage" {
        PREALLOC_METADATA = 1,
        REFLINK = 2,
        VALIDATE = 4,
    }
    /// What goes with a deleted volume.
    StorageVolDeleteFlags = "virStorageVolDeleteFlags", "VIR_STORAGE_VOL_DELETE_", "libvirt-storage" {
        NORMAL = 0,
        ZEROED = 1,
        WITH_SNAPSHOTS = 2,
    }
    /// How a volume's content is sent.
    StorageVolDownloadFlags = "virStorageVolDownloadFlags", "VIR_STORAGE_VOL_DOWNLOAD_", "libvirt-storage" {
        SPARSE_STREAM = 1,
    }
    /// Which size of a volume is told.
    StorageVolInfoFlags = "virStorageVolInfoFlags", "VIR_STORAGE_VOL_", "libvirt-storage" {
        USE_ALLOCATION = 0,
        GET_PHYSICAL = 1,
    }
    /// What a volume's new size means.
    StorageVolResizeFlags = "virStorageVolResizeFlags", "VIR_STORAGE_VOL_RESIZE_", "libvirt-storage" {
        ALLOCATE = 1,
        DELTA = 2,
        SHRINK = 4,
    }
    /// How a volume's content is received.
    StorageVolUploadFlags = "virStorageVolUploadFlags", "VIR_STORAGE_VOL_UPLOAD_", "libvirt-storage" {
        SPARSE_STREAM = 1,
    }
    /// Which of a pool's descriptions is shown.
    StorageXmlFlags = "virStorageXMLFlags", "VIR_STORAGE_XML_", "libvirt-storage" {
        INACTIVE = 1,
    }
    /// What a watched stream is watched for, or has become.
    StreamEventType = "virStreamEventType", "VIR_STREAM_EVENT_", "libvirt-stream" {
        READABLE = 1,
        WRITABLE = 2,
        ERROR = 4,
        HANGUP = 8,
    }
    /// How a stream behaves.
    StreamFlags = "virStreamFlags", "VIR_STREAM_", "libvirt-stream" {
        NONBLOCK = 1,
    }
    /// Where a receiving call stops.
    StreamRecvFlags = "virStreamRecvFlagsValues", "VIR_STREAM_RECV_", "libvirt-stream" {
        STOP_AT_HOLE = 1,
    }
    /// What kinds of value a peer understands.
    TypedParameterFlags = "virTypedParameterFlags", "VIR_TYPED_PARAM_", "libvirt-common" {
        STRING_OKAY = 4,
    }
    /// What happens to running objects when the daemon shuts down.
    AdminConnectDaemonShutdownFlags = "virAdmConnectDaemonShutdownFlags", "VIR_DAEMON_SHUTDOWN_", "libvirt-admin" {
        PRESERVE = 1,
    }
    /// How the name in a monitor event filter is matched.
    ConnectDomainQemuMonitorEventRegisterFlags = "virConnectDomainQemuMonitorEventRegisterFlags", "VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_", "libvirt-qemu" {
        REGEX = 1,
        NOCASE = 2,
    }
    /// The language of a raw monitor command.
    DomainQemuMonitorCommandFlags = "virDomainQemuMonitorCommandFlags", "VIR_DOMAIN_QEMU_MONITOR_COMMAND_", "libvirt-qemu" {
        DEFAULT = 0,
        HMP = 1,
    }
}
