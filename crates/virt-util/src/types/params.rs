// Made by `cargo xtask codegen` from types.tbl. Do not edit.

//! Names of typed parameters, one module per family, and the interface's fixed numbers ([`limits`]).

/// Who a client is.
pub mod identity {
    /// `VIR_CONNECT_IDENTITY_GROUP_NAME`
    pub const GROUP_NAME: &str = "group-name";
    /// `VIR_CONNECT_IDENTITY_PROCESS_ID`
    pub const PROCESS_ID: &str = "process-id";
    /// `VIR_CONNECT_IDENTITY_PROCESS_TIME`
    pub const PROCESS_TIME: &str = "process-time";
    /// `VIR_CONNECT_IDENTITY_SASL_USER_NAME`
    pub const SASL_USER_NAME: &str = "sasl-user-name";
    /// `VIR_CONNECT_IDENTITY_SELINUX_CONTEXT`
    pub const SELINUX_CONTEXT: &str = "selinux-context";
    /// `VIR_CONNECT_IDENTITY_UNIX_GROUP_ID`
    pub const UNIX_GROUP_ID: &str = "unix-group-id";
    /// `VIR_CONNECT_IDENTITY_UNIX_USER_ID`
    pub const UNIX_USER_ID: &str = "unix-user-id";
    /// `VIR_CONNECT_IDENTITY_USER_NAME`
    pub const USER_NAME: &str = "user-name";
    /// `VIR_CONNECT_IDENTITY_X509_DISTINGUISHED_NAME`
    pub const X509_DISTINGUISHED_NAME: &str = "x509-distinguished-name";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_CONNECT_IDENTITY_GROUP_NAME", GROUP_NAME),
        ("VIR_CONNECT_IDENTITY_PROCESS_ID", PROCESS_ID),
        ("VIR_CONNECT_IDENTITY_PROCESS_TIME", PROCESS_TIME),
        ("VIR_CONNECT_IDENTITY_SASL_USER_NAME", SASL_USER_NAME),
        ("VIR_CONNECT_IDENTITY_SELINUX_CONTEXT", SELINUX_CONTEXT),
        ("VIR_CONNECT_IDENTITY_UNIX_GROUP_ID", UNIX_GROUP_ID),
        ("VIR_CONNECT_IDENTITY_UNIX_USER_ID", UNIX_USER_ID),
        ("VIR_CONNECT_IDENTITY_USER_NAME", USER_NAME),
        (
            "VIR_CONNECT_IDENTITY_X509_DISTINGUISHED_NAME",
            X509_DISTINGUISHED_NAME,
        ),
    ];
}

/// Bandwidth limits of a domain's interface.
pub mod interface_bandwidth {
    /// `VIR_DOMAIN_BANDWIDTH_IN_AVERAGE`
    pub const IN_AVERAGE: &str = "inbound.average";
    /// `VIR_DOMAIN_BANDWIDTH_IN_BURST`
    pub const IN_BURST: &str = "inbound.burst";
    /// `VIR_DOMAIN_BANDWIDTH_IN_FLOOR`
    pub const IN_FLOOR: &str = "inbound.floor";
    /// `VIR_DOMAIN_BANDWIDTH_IN_PEAK`
    pub const IN_PEAK: &str = "inbound.peak";
    /// `VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE`
    pub const OUT_AVERAGE: &str = "outbound.average";
    /// `VIR_DOMAIN_BANDWIDTH_OUT_BURST`
    pub const OUT_BURST: &str = "outbound.burst";
    /// `VIR_DOMAIN_BANDWIDTH_OUT_PEAK`
    pub const OUT_PEAK: &str = "outbound.peak";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_BANDWIDTH_IN_AVERAGE", IN_AVERAGE),
        ("VIR_DOMAIN_BANDWIDTH_IN_BURST", IN_BURST),
        ("VIR_DOMAIN_BANDWIDTH_IN_FLOOR", IN_FLOOR),
        ("VIR_DOMAIN_BANDWIDTH_IN_PEAK", IN_PEAK),
        ("VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE", OUT_AVERAGE),
        ("VIR_DOMAIN_BANDWIDTH_OUT_BURST", OUT_BURST),
        ("VIR_DOMAIN_BANDWIDTH_OUT_PEAK", OUT_PEAK),
    ];
}

/// Block I/O weights and limits.
pub mod blkio {
    /// `VIR_DOMAIN_BLKIO_DEVICE_READ_BPS`
    pub const DEVICE_READ_BPS: &str = "device_read_bytes_sec";
    /// `VIR_DOMAIN_BLKIO_DEVICE_READ_IOPS`
    pub const DEVICE_READ_IOPS: &str = "device_read_iops_sec";
    /// `VIR_DOMAIN_BLKIO_DEVICE_WEIGHT`
    pub const DEVICE_WEIGHT: &str = "device_weight";
    /// `VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS`
    pub const DEVICE_WRITE_BPS: &str = "device_write_bytes_sec";
    /// `VIR_DOMAIN_BLKIO_DEVICE_WRITE_IOPS`
    pub const DEVICE_WRITE_IOPS: &str = "device_write_iops_sec";
    /// `VIR_DOMAIN_BLKIO_WEIGHT`
    pub const WEIGHT: &str = "weight";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_BLKIO_DEVICE_READ_BPS", DEVICE_READ_BPS),
        ("VIR_DOMAIN_BLKIO_DEVICE_READ_IOPS", DEVICE_READ_IOPS),
        ("VIR_DOMAIN_BLKIO_DEVICE_WEIGHT", DEVICE_WEIGHT),
        ("VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS", DEVICE_WRITE_BPS),
        ("VIR_DOMAIN_BLKIO_DEVICE_WRITE_IOPS", DEVICE_WRITE_IOPS),
        ("VIR_DOMAIN_BLKIO_WEIGHT", WEIGHT),
    ];
}

/// Parameters of a disk mirror.
pub mod block_copy {
    /// `VIR_DOMAIN_BLOCK_COPY_BANDWIDTH`
    pub const BANDWIDTH: &str = "bandwidth";
    /// `VIR_DOMAIN_BLOCK_COPY_BUF_SIZE`
    pub const BUF_SIZE: &str = "buf-size";
    /// `VIR_DOMAIN_BLOCK_COPY_GRANULARITY`
    pub const GRANULARITY: &str = "granularity";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_BLOCK_COPY_BANDWIDTH", BANDWIDTH),
        ("VIR_DOMAIN_BLOCK_COPY_BUF_SIZE", BUF_SIZE),
        ("VIR_DOMAIN_BLOCK_COPY_GRANULARITY", GRANULARITY),
    ];
}

/// Throttling of one disk.
pub mod block_iotune {
    /// `VIR_DOMAIN_BLOCK_IOTUNE_GROUP_NAME`
    pub const GROUP_NAME: &str = "group_name";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC`
    pub const READ_BYTES_SEC: &str = "read_bytes_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX`
    pub const READ_BYTES_SEC_MAX: &str = "read_bytes_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH`
    pub const READ_BYTES_SEC_MAX_LENGTH: &str = "read_bytes_sec_max_length";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC`
    pub const READ_IOPS_SEC: &str = "read_iops_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX`
    pub const READ_IOPS_SEC_MAX: &str = "read_iops_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH`
    pub const READ_IOPS_SEC_MAX_LENGTH: &str = "read_iops_sec_max_length";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC`
    pub const SIZE_IOPS_SEC: &str = "size_iops_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC`
    pub const TOTAL_BYTES_SEC: &str = "total_bytes_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX`
    pub const TOTAL_BYTES_SEC_MAX: &str = "total_bytes_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH`
    pub const TOTAL_BYTES_SEC_MAX_LENGTH: &str = "total_bytes_sec_max_length";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC`
    pub const TOTAL_IOPS_SEC: &str = "total_iops_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX`
    pub const TOTAL_IOPS_SEC_MAX: &str = "total_iops_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH`
    pub const TOTAL_IOPS_SEC_MAX_LENGTH: &str = "total_iops_sec_max_length";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC`
    pub const WRITE_BYTES_SEC: &str = "write_bytes_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX`
    pub const WRITE_BYTES_SEC_MAX: &str = "write_bytes_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH`
    pub const WRITE_BYTES_SEC_MAX_LENGTH: &str = "write_bytes_sec_max_length";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC`
    pub const WRITE_IOPS_SEC: &str = "write_iops_sec";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX`
    pub const WRITE_IOPS_SEC_MAX: &str = "write_iops_sec_max";
    /// `VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH`
    pub const WRITE_IOPS_SEC_MAX_LENGTH: &str = "write_iops_sec_max_length";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_BLOCK_IOTUNE_GROUP_NAME", GROUP_NAME),
        ("VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC", READ_BYTES_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX", READ_BYTES_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH",
            READ_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC", READ_IOPS_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX", READ_IOPS_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH",
            READ_IOPS_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC", SIZE_IOPS_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC", TOTAL_BYTES_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX", TOTAL_BYTES_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH",
            TOTAL_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC", TOTAL_IOPS_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX", TOTAL_IOPS_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH",
            TOTAL_IOPS_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC", WRITE_BYTES_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX", WRITE_BYTES_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH",
            WRITE_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC", WRITE_IOPS_SEC),
        ("VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX", WRITE_IOPS_SEC_MAX),
        (
            "VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH",
            WRITE_IOPS_SEC_MAX_LENGTH,
        ),
    ];
}

/// Counters of one disk.
pub mod block_stats {
    /// `VIR_DOMAIN_BLOCK_STATS_ERRS`
    pub const ERRS: &str = "errs";
    /// `VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ`
    pub const FLUSH_REQ: &str = "flush_operations";
    /// `VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES`
    pub const FLUSH_TOTAL_TIMES: &str = "flush_total_times";
    /// `VIR_DOMAIN_BLOCK_STATS_READ_BYTES`
    pub const READ_BYTES: &str = "rd_bytes";
    /// `VIR_DOMAIN_BLOCK_STATS_READ_REQ`
    pub const READ_REQ: &str = "rd_operations";
    /// `VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES`
    pub const READ_TOTAL_TIMES: &str = "rd_total_times";
    /// `VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES`
    pub const WRITE_BYTES: &str = "wr_bytes";
    /// `VIR_DOMAIN_BLOCK_STATS_WRITE_REQ`
    pub const WRITE_REQ: &str = "wr_operations";
    /// `VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES`
    pub const WRITE_TOTAL_TIMES: &str = "wr_total_times";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_BLOCK_STATS_ERRS", ERRS),
        ("VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ", FLUSH_REQ),
        ("VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES", FLUSH_TOTAL_TIMES),
        ("VIR_DOMAIN_BLOCK_STATS_READ_BYTES", READ_BYTES),
        ("VIR_DOMAIN_BLOCK_STATS_READ_REQ", READ_REQ),
        ("VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES", READ_TOTAL_TIMES),
        ("VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES", WRITE_BYTES),
        ("VIR_DOMAIN_BLOCK_STATS_WRITE_REQ", WRITE_REQ),
        ("VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES", WRITE_TOTAL_TIMES),
    ];
}

/// CPU time of a domain.
pub mod cpu_stats {
    /// `VIR_DOMAIN_CPU_STATS_CPUTIME`
    pub const CPUTIME: &str = "cpu_time";
    /// `VIR_DOMAIN_CPU_STATS_SYSTEMTIME`
    pub const SYSTEMTIME: &str = "system_time";
    /// `VIR_DOMAIN_CPU_STATS_USERTIME`
    pub const USERTIME: &str = "user_time";
    /// `VIR_DOMAIN_CPU_STATS_VCPUTIME`
    pub const VCPUTIME: &str = "vcpu_time";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_CPU_STATS_CPUTIME", CPUTIME),
        ("VIR_DOMAIN_CPU_STATS_SYSTEMTIME", SYSTEMTIME),
        ("VIR_DOMAIN_CPU_STATS_USERTIME", USERTIME),
        ("VIR_DOMAIN_CPU_STATS_VCPUTIME", VCPUTIME),
    ];
}

/// What the guest agent tells.
pub mod guest_info {
    /// `VIR_DOMAIN_GUEST_INFO_DISK_COUNT`
    pub const DISK_COUNT: &str = "disk.count";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_PREFIX`
    pub const DISK_PREFIX: &str = "disk.";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_ALIAS`
    pub const DISK_SUFFIX_ALIAS: &str = ".alias";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_COUNT`
    pub const DISK_SUFFIX_DEPENDENCY_COUNT: &str = ".dependency.count";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_PREFIX`
    pub const DISK_SUFFIX_DEPENDENCY_PREFIX: &str = ".dependency.";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME`
    pub const DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_ALIAS`
    pub const DISK_SUFFIX_GUEST_ALIAS: &str = ".guest_alias";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_BUS`
    pub const DISK_SUFFIX_GUEST_BUS: &str = ".guest_bus";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_NAME`
    pub const DISK_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_PARTITION`
    pub const DISK_SUFFIX_PARTITION: &str = ".partition";
    /// `VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_SERIAL`
    pub const DISK_SUFFIX_SERIAL: &str = ".serial";
    /// `VIR_DOMAIN_GUEST_INFO_FS_COUNT`
    pub const FS_COUNT: &str = "fs.count";
    /// `VIR_DOMAIN_GUEST_INFO_FS_PREFIX`
    pub const FS_PREFIX: &str = "fs.";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_COUNT`
    pub const FS_SUFFIX_DISK_COUNT: &str = ".disk.count";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_PREFIX`
    pub const FS_SUFFIX_DISK_PREFIX: &str = ".disk.";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_ALIAS`
    pub const FS_SUFFIX_DISK_SUFFIX_ALIAS: &str = ".alias";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_DEVICE`
    pub const FS_SUFFIX_DISK_SUFFIX_DEVICE: &str = ".device";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_SERIAL`
    pub const FS_SUFFIX_DISK_SUFFIX_SERIAL: &str = ".serial";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_FSTYPE`
    pub const FS_SUFFIX_FSTYPE: &str = ".fstype";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_MOUNTPOINT`
    pub const FS_SUFFIX_MOUNTPOINT: &str = ".mountpoint";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_NAME`
    pub const FS_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_TOTAL_BYTES`
    pub const FS_SUFFIX_TOTAL_BYTES: &str = ".total-bytes";
    /// `VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_USED_BYTES`
    pub const FS_SUFFIX_USED_BYTES: &str = ".used-bytes";
    /// `VIR_DOMAIN_GUEST_INFO_HOSTNAME_HOSTNAME`
    pub const HOSTNAME_HOSTNAME: &str = "hostname";
    /// `VIR_DOMAIN_GUEST_INFO_IF_COUNT`
    pub const IF_COUNT: &str = "if.count";
    /// `VIR_DOMAIN_GUEST_INFO_IF_PREFIX`
    pub const IF_PREFIX: &str = "if.";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_COUNT`
    pub const IF_SUFFIX_ADDR_COUNT: &str = ".addr.count";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_PREFIX`
    pub const IF_SUFFIX_ADDR_PREFIX: &str = ".addr.";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_ADDR`
    pub const IF_SUFFIX_ADDR_SUFFIX_ADDR: &str = ".addr";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_PREFIX`
    pub const IF_SUFFIX_ADDR_SUFFIX_PREFIX: &str = ".prefix";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_TYPE`
    pub const IF_SUFFIX_ADDR_SUFFIX_TYPE: &str = ".type";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_HWADDR`
    pub const IF_SUFFIX_HWADDR: &str = ".hwaddr";
    /// `VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_NAME`
    pub const IF_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_GUEST_INFO_LOAD_15M`
    pub const LOAD_15M: &str = "load.15m";
    /// `VIR_DOMAIN_GUEST_INFO_LOAD_1M`
    pub const LOAD_1M: &str = "load.1m";
    /// `VIR_DOMAIN_GUEST_INFO_LOAD_5M`
    pub const LOAD_5M: &str = "load.5m";
    /// `VIR_DOMAIN_GUEST_INFO_OS_ID`
    pub const OS_ID: &str = "os.id";
    /// `VIR_DOMAIN_GUEST_INFO_OS_KERNEL_RELEASE`
    pub const OS_KERNEL_RELEASE: &str = "os.kernel-release";
    /// `VIR_DOMAIN_GUEST_INFO_OS_KERNEL_VERSION`
    pub const OS_KERNEL_VERSION: &str = "os.kernel-version";
    /// `VIR_DOMAIN_GUEST_INFO_OS_MACHINE`
    pub const OS_MACHINE: &str = "os.machine";
    /// `VIR_DOMAIN_GUEST_INFO_OS_NAME`
    pub const OS_NAME: &str = "os.name";
    /// `VIR_DOMAIN_GUEST_INFO_OS_PRETTY_NAME`
    pub const OS_PRETTY_NAME: &str = "os.pretty-name";
    /// `VIR_DOMAIN_GUEST_INFO_OS_VARIANT`
    pub const OS_VARIANT: &str = "os.variant";
    /// `VIR_DOMAIN_GUEST_INFO_OS_VARIANT_ID`
    pub const OS_VARIANT_ID: &str = "os.variant-id";
    /// `VIR_DOMAIN_GUEST_INFO_OS_VERSION`
    pub const OS_VERSION: &str = "os.version";
    /// `VIR_DOMAIN_GUEST_INFO_OS_VERSION_ID`
    pub const OS_VERSION_ID: &str = "os.version-id";
    /// `VIR_DOMAIN_GUEST_INFO_TIMEZONE_NAME`
    pub const TIMEZONE_NAME: &str = "timezone.name";
    /// `VIR_DOMAIN_GUEST_INFO_TIMEZONE_OFFSET`
    pub const TIMEZONE_OFFSET: &str = "timezone.offset";
    /// `VIR_DOMAIN_GUEST_INFO_USER_COUNT`
    pub const USER_COUNT: &str = "user.count";
    /// `VIR_DOMAIN_GUEST_INFO_USER_PREFIX`
    pub const USER_PREFIX: &str = "user.";
    /// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_DOMAIN`
    pub const USER_SUFFIX_DOMAIN: &str = ".domain";
    /// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_LOGIN_TIME`
    pub const USER_SUFFIX_LOGIN_TIME: &str = ".login-time";
    /// `VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_NAME`
    pub const USER_SUFFIX_NAME: &str = ".name";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_GUEST_INFO_DISK_COUNT", DISK_COUNT),
        ("VIR_DOMAIN_GUEST_INFO_DISK_PREFIX", DISK_PREFIX),
        ("VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_ALIAS", DISK_SUFFIX_ALIAS),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_COUNT",
            DISK_SUFFIX_DEPENDENCY_COUNT,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_PREFIX",
            DISK_SUFFIX_DEPENDENCY_PREFIX,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME",
            DISK_SUFFIX_DEPENDENCY_SUFFIX_NAME,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_ALIAS",
            DISK_SUFFIX_GUEST_ALIAS,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_GUEST_BUS",
            DISK_SUFFIX_GUEST_BUS,
        ),
        ("VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_NAME", DISK_SUFFIX_NAME),
        (
            "VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_PARTITION",
            DISK_SUFFIX_PARTITION,
        ),
        ("VIR_DOMAIN_GUEST_INFO_DISK_SUFFIX_SERIAL", DISK_SUFFIX_SERIAL),
        ("VIR_DOMAIN_GUEST_INFO_FS_COUNT", FS_COUNT),
        ("VIR_DOMAIN_GUEST_INFO_FS_PREFIX", FS_PREFIX),
        ("VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_COUNT", FS_SUFFIX_DISK_COUNT),
        (
            "VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_PREFIX",
            FS_SUFFIX_DISK_PREFIX,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_ALIAS",
            FS_SUFFIX_DISK_SUFFIX_ALIAS,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_DEVICE",
            FS_SUFFIX_DISK_SUFFIX_DEVICE,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_DISK_SUFFIX_SERIAL",
            FS_SUFFIX_DISK_SUFFIX_SERIAL,
        ),
        ("VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_FSTYPE", FS_SUFFIX_FSTYPE),
        ("VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_MOUNTPOINT", FS_SUFFIX_MOUNTPOINT),
        ("VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_NAME", FS_SUFFIX_NAME),
        (
            "VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_TOTAL_BYTES",
            FS_SUFFIX_TOTAL_BYTES,
        ),
        ("VIR_DOMAIN_GUEST_INFO_FS_SUFFIX_USED_BYTES", FS_SUFFIX_USED_BYTES),
        ("VIR_DOMAIN_GUEST_INFO_HOSTNAME_HOSTNAME", HOSTNAME_HOSTNAME),
        ("VIR_DOMAIN_GUEST_INFO_IF_COUNT", IF_COUNT),
        ("VIR_DOMAIN_GUEST_INFO_IF_PREFIX", IF_PREFIX),
        ("VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_COUNT", IF_SUFFIX_ADDR_COUNT),
        (
            "VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_PREFIX",
            IF_SUFFIX_ADDR_PREFIX,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_ADDR",
            IF_SUFFIX_ADDR_SUFFIX_ADDR,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_PREFIX",
            IF_SUFFIX_ADDR_SUFFIX_PREFIX,
        ),
        (
            "VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_ADDR_SUFFIX_TYPE",
            IF_SUFFIX_ADDR_SUFFIX_TYPE,
        ),
        ("VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_HWADDR", IF_SUFFIX_HWADDR),
        ("VIR_DOMAIN_GUEST_INFO_IF_SUFFIX_NAME", IF_SUFFIX_NAME),
        ("VIR_DOMAIN_GUEST_INFO_LOAD_15M", LOAD_15M),
        ("VIR_DOMAIN_GUEST_INFO_LOAD_1M", LOAD_1M),
        ("VIR_DOMAIN_GUEST_INFO_LOAD_5M", LOAD_5M),
        ("VIR_DOMAIN_GUEST_INFO_OS_ID", OS_ID),
        ("VIR_DOMAIN_GUEST_INFO_OS_KERNEL_RELEASE", OS_KERNEL_RELEASE),
        ("VIR_DOMAIN_GUEST_INFO_OS_KERNEL_VERSION", OS_KERNEL_VERSION),
        ("VIR_DOMAIN_GUEST_INFO_OS_MACHINE", OS_MACHINE),
        ("VIR_DOMAIN_GUEST_INFO_OS_NAME", OS_NAME),
        ("VIR_DOMAIN_GUEST_INFO_OS_PRETTY_NAME", OS_PRETTY_NAME),
        ("VIR_DOMAIN_GUEST_INFO_OS_VARIANT", OS_VARIANT),
        ("VIR_DOMAIN_GUEST_INFO_OS_VARIANT_ID", OS_VARIANT_ID),
        ("VIR_DOMAIN_GUEST_INFO_OS_VERSION", OS_VERSION),
        ("VIR_DOMAIN_GUEST_INFO_OS_VERSION_ID", OS_VERSION_ID),
        ("VIR_DOMAIN_GUEST_INFO_TIMEZONE_NAME", TIMEZONE_NAME),
        ("VIR_DOMAIN_GUEST_INFO_TIMEZONE_OFFSET", TIMEZONE_OFFSET),
        ("VIR_DOMAIN_GUEST_INFO_USER_COUNT", USER_COUNT),
        ("VIR_DOMAIN_GUEST_INFO_USER_PREFIX", USER_PREFIX),
        ("VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_DOMAIN", USER_SUFFIX_DOMAIN),
        (
            "VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_LOGIN_TIME",
            USER_SUFFIX_LOGIN_TIME,
        ),
        ("VIR_DOMAIN_GUEST_INFO_USER_SUFFIX_NAME", USER_SUFFIX_NAME),
    ];
}

/// Parameters of an I/O thread.
pub mod iothread {
    /// `VIR_DOMAIN_IOTHREAD_POLL_GROW`
    pub const POLL_GROW: &str = "poll_grow";
    /// `VIR_DOMAIN_IOTHREAD_POLL_MAX_NS`
    pub const POLL_MAX_NS: &str = "poll_max_ns";
    /// `VIR_DOMAIN_IOTHREAD_POLL_SHRINK`
    pub const POLL_SHRINK: &str = "poll_shrink";
    /// `VIR_DOMAIN_IOTHREAD_THREAD_POOL_MAX`
    pub const THREAD_POOL_MAX: &str = "thread_pool_max";
    /// `VIR_DOMAIN_IOTHREAD_THREAD_POOL_MIN`
    pub const THREAD_POOL_MIN: &str = "thread_pool_min";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_IOTHREAD_POLL_GROW", POLL_GROW),
        ("VIR_DOMAIN_IOTHREAD_POLL_MAX_NS", POLL_MAX_NS),
        ("VIR_DOMAIN_IOTHREAD_POLL_SHRINK", POLL_SHRINK),
        ("VIR_DOMAIN_IOTHREAD_THREAD_POOL_MAX", THREAD_POOL_MAX),
        ("VIR_DOMAIN_IOTHREAD_THREAD_POOL_MIN", THREAD_POOL_MIN),
    ];
}

/// Progress of a job.
pub mod job_stats {
    /// `VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE`
    pub const AUTO_CONVERGE_THROTTLE: &str = "auto_converge_throttle";
    /// `VIR_DOMAIN_JOB_COMPRESSION_BYTES`
    pub const COMPRESSION_BYTES: &str = "compression_bytes";
    /// `VIR_DOMAIN_JOB_COMPRESSION_CACHE`
    pub const COMPRESSION_CACHE: &str = "compression_cache";
    /// `VIR_DOMAIN_JOB_COMPRESSION_CACHE_MISSES`
    pub const COMPRESSION_CACHE_MISSES: &str = "compression_cache_misses";
    /// `VIR_DOMAIN_JOB_COMPRESSION_OVERFLOW`
    pub const COMPRESSION_OVERFLOW: &str = "compression_overflow";
    /// `VIR_DOMAIN_JOB_COMPRESSION_PAGES`
    pub const COMPRESSION_PAGES: &str = "compression_pages";
    /// `VIR_DOMAIN_JOB_DATA_PROCESSED`
    pub const DATA_PROCESSED: &str = "data_processed";
    /// `VIR_DOMAIN_JOB_DATA_REMAINING`
    pub const DATA_REMAINING: &str = "data_remaining";
    /// `VIR_DOMAIN_JOB_DATA_TOTAL`
    pub const DATA_TOTAL: &str = "data_total";
    /// `VIR_DOMAIN_JOB_DISK_BPS`
    pub const DISK_BPS: &str = "disk_bps";
    /// `VIR_DOMAIN_JOB_DISK_PROCESSED`
    pub const DISK_PROCESSED: &str = "disk_processed";
    /// `VIR_DOMAIN_JOB_DISK_REMAINING`
    pub const DISK_REMAINING: &str = "disk_remaining";
    /// `VIR_DOMAIN_JOB_DISK_TEMP_TOTAL`
    pub const DISK_TEMP_TOTAL: &str = "disk_temp_total";
    /// `VIR_DOMAIN_JOB_DISK_TEMP_USED`
    pub const DISK_TEMP_USED: &str = "disk_temp_used";
    /// `VIR_DOMAIN_JOB_DISK_TOTAL`
    pub const DISK_TOTAL: &str = "disk_total";
    /// `VIR_DOMAIN_JOB_DOWNTIME`
    pub const DOWNTIME: &str = "downtime";
    /// `VIR_DOMAIN_JOB_DOWNTIME_NET`
    pub const DOWNTIME_NET: &str = "downtime_net";
    /// `VIR_DOMAIN_JOB_ERRMSG`
    pub const ERRMSG: &str = "errmsg";
    /// `VIR_DOMAIN_JOB_MEMORY_BPS`
    pub const MEMORY_BPS: &str = "memory_bps";
    /// `VIR_DOMAIN_JOB_MEMORY_CONSTANT`
    pub const MEMORY_CONSTANT: &str = "memory_constant";
    /// `VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE`
    pub const MEMORY_DIRTY_RATE: &str = "memory_dirty_rate";
    /// `VIR_DOMAIN_JOB_MEMORY_ITERATION`
    pub const MEMORY_ITERATION: &str = "memory_iteration";
    /// `VIR_DOMAIN_JOB_MEMORY_NORMAL`
    pub const MEMORY_NORMAL: &str = "memory_normal";
    /// `VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES`
    pub const MEMORY_NORMAL_BYTES: &str = "memory_normal_bytes";
    /// `VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE`
    pub const MEMORY_PAGE_SIZE: &str = "memory_page_size";
    /// `VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS`
    pub const MEMORY_POSTCOPY_REQS: &str = "memory_postcopy_requests";
    /// `VIR_DOMAIN_JOB_MEMORY_PROCESSED`
    pub const MEMORY_PROCESSED: &str = "memory_processed";
    /// `VIR_DOMAIN_JOB_MEMORY_REMAINING`
    pub const MEMORY_REMAINING: &str = "memory_remaining";
    /// `VIR_DOMAIN_JOB_MEMORY_TOTAL`
    pub const MEMORY_TOTAL: &str = "memory_total";
    /// `VIR_DOMAIN_JOB_OPERATION`
    pub const OPERATION: &str = "operation";
    /// `VIR_DOMAIN_JOB_SETUP_TIME`
    pub const SETUP_TIME: &str = "setup_time";
    /// `VIR_DOMAIN_JOB_SUCCESS`
    pub const SUCCESS: &str = "success";
    /// `VIR_DOMAIN_JOB_TIME_ELAPSED`
    pub const TIME_ELAPSED: &str = "time_elapsed";
    /// `VIR_DOMAIN_JOB_TIME_ELAPSED_NET`
    pub const TIME_ELAPSED_NET: &str = "time_elapsed_net";
    /// `VIR_DOMAIN_JOB_TIME_REMAINING`
    pub const TIME_REMAINING: &str = "time_remaining";
    /// `VIR_DOMAIN_JOB_VFIO_DATA_TRANSFERRED`
    pub const VFIO_DATA_TRANSFERRED: &str = "vfio_data_transferred";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE", AUTO_CONVERGE_THROTTLE),
        ("VIR_DOMAIN_JOB_COMPRESSION_BYTES", COMPRESSION_BYTES),
        ("VIR_DOMAIN_JOB_COMPRESSION_CACHE", COMPRESSION_CACHE),
        (
            "VIR_DOMAIN_JOB_COMPRESSION_CACHE_MISSES",
            COMPRESSION_CACHE_MISSES,
        ),
        ("VIR_DOMAIN_JOB_COMPRESSION_OVERFLOW", COMPRESSION_OVERFLOW),
        ("VIR_DOMAIN_JOB_COMPRESSION_PAGES", COMPRESSION_PAGES),
        ("VIR_DOMAIN_JOB_DATA_PROCESSED", DATA_PROCESSED),
        ("VIR_DOMAIN_JOB_DATA_REMAINING", DATA_REMAINING),
        ("VIR_DOMAIN_JOB_DATA_TOTAL", DATA_TOTAL),
        ("VIR_DOMAIN_JOB_DISK_BPS", DISK_BPS),
        ("VIR_DOMAIN_JOB_DISK_PROCESSED", DISK_PROCESSED),
        ("VIR_DOMAIN_JOB_DISK_REMAINING", DISK_REMAINING),
        ("VIR_DOMAIN_JOB_DISK_TEMP_TOTAL", DISK_TEMP_TOTAL),
        ("VIR_DOMAIN_JOB_DISK_TEMP_USED", DISK_TEMP_USED),
        ("VIR_DOMAIN_JOB_DISK_TOTAL", DISK_TOTAL),
        ("VIR_DOMAIN_JOB_DOWNTIME", DOWNTIME),
        ("VIR_DOMAIN_JOB_DOWNTIME_NET", DOWNTIME_NET),
        ("VIR_DOMAIN_JOB_ERRMSG", ERRMSG),
        ("VIR_DOMAIN_JOB_MEMORY_BPS", MEMORY_BPS),
        ("VIR_DOMAIN_JOB_MEMORY_CONSTANT", MEMORY_CONSTANT),
        ("VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE", MEMORY_DIRTY_RATE),
        ("VIR_DOMAIN_JOB_MEMORY_ITERATION", MEMORY_ITERATION),
        ("VIR_DOMAIN_JOB_MEMORY_NORMAL", MEMORY_NORMAL),
        ("VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES", MEMORY_NORMAL_BYTES),
        ("VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE", MEMORY_PAGE_SIZE),
        ("VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS", MEMORY_POSTCOPY_REQS),
        ("VIR_DOMAIN_JOB_MEMORY_PROCESSED", MEMORY_PROCESSED),
        ("VIR_DOMAIN_JOB_MEMORY_REMAINING", MEMORY_REMAINING),
        ("VIR_DOMAIN_JOB_MEMORY_TOTAL", MEMORY_TOTAL),
        ("VIR_DOMAIN_JOB_OPERATION", OPERATION),
        ("VIR_DOMAIN_JOB_SETUP_TIME", SETUP_TIME),
        ("VIR_DOMAIN_JOB_SUCCESS", SUCCESS),
        ("VIR_DOMAIN_JOB_TIME_ELAPSED", TIME_ELAPSED),
        ("VIR_DOMAIN_JOB_TIME_ELAPSED_NET", TIME_ELAPSED_NET),
        ("VIR_DOMAIN_JOB_TIME_REMAINING", TIME_REMAINING),
        ("VIR_DOMAIN_JOB_VFIO_DATA_TRANSFERRED", VFIO_DATA_TRANSFERRED),
    ];
}

/// State of a confidential guest.
pub mod launch_security {
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MAJOR`
    pub const SEV_API_MAJOR: &str = "sev-api-major";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MINOR`
    pub const SEV_API_MINOR: &str = "sev-api-minor";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_BUILD_ID`
    pub const SEV_BUILD_ID: &str = "sev-build-id";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_MEASUREMENT`
    pub const SEV_MEASUREMENT: &str = "sev-measurement";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_POLICY`
    pub const SEV_POLICY: &str = "sev-policy";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET`
    pub const SEV_SECRET: &str = "sev-secret";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_HEADER`
    pub const SEV_SECRET_HEADER: &str = "sev-secret-header";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_SET_ADDRESS`
    pub const SEV_SECRET_SET_ADDRESS: &str = "sev-secret-set-address";
    /// `VIR_DOMAIN_LAUNCH_SECURITY_SEV_SNP_POLICY`
    pub const SEV_SNP_POLICY: &str = "sev-snp-policy";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MAJOR", SEV_API_MAJOR),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_API_MINOR", SEV_API_MINOR),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_BUILD_ID", SEV_BUILD_ID),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_MEASUREMENT", SEV_MEASUREMENT),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_POLICY", SEV_POLICY),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET", SEV_SECRET),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_HEADER", SEV_SECRET_HEADER),
        (
            "VIR_DOMAIN_LAUNCH_SECURITY_SEV_SECRET_SET_ADDRESS",
            SEV_SECRET_SET_ADDRESS,
        ),
        ("VIR_DOMAIN_LAUNCH_SECURITY_SEV_SNP_POLICY", SEV_SNP_POLICY),
    ];
}

/// Memory limits of a domain.
pub mod memory {
    /// `VIR_DOMAIN_MEMORY_HARD_LIMIT`
    pub const HARD_LIMIT: &str = "hard_limit";
    /// `VIR_DOMAIN_MEMORY_MIN_GUARANTEE`
    pub const MIN_GUARANTEE: &str = "min_guarantee";
    /// `VIR_DOMAIN_MEMORY_SOFT_LIMIT`
    pub const SOFT_LIMIT: &str = "soft_limit";
    /// `VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT`
    pub const SWAP_HARD_LIMIT: &str = "swap_hard_limit";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_MEMORY_HARD_LIMIT", HARD_LIMIT),
        ("VIR_DOMAIN_MEMORY_MIN_GUARANTEE", MIN_GUARANTEE),
        ("VIR_DOMAIN_MEMORY_SOFT_LIMIT", SOFT_LIMIT),
        ("VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT", SWAP_HARD_LIMIT),
    ];
}

/// Memory placement of a domain.
pub mod numa {
    /// `VIR_DOMAIN_NUMA_MODE`
    pub const MODE: &str = "numa_mode";
    /// `VIR_DOMAIN_NUMA_NODESET`
    pub const NODESET: &str = "numa_nodeset";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_NUMA_MODE", MODE),
        ("VIR_DOMAIN_NUMA_NODESET", NODESET),
    ];
}

/// Parameters of save and restore.
pub mod save {
    /// `VIR_DOMAIN_SAVE_PARAM_DXML`
    pub const DXML: &str = "dxml";
    /// `VIR_DOMAIN_SAVE_PARAM_FILE`
    pub const FILE: &str = "file";
    /// `VIR_DOMAIN_SAVE_PARAM_IMAGE_FORMAT`
    pub const IMAGE_FORMAT: &str = "image_format";
    /// `VIR_DOMAIN_SAVE_PARAM_PARALLEL_CHANNELS`
    pub const PARALLEL_CHANNELS: &str = "parallel.channels";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_SAVE_PARAM_DXML", DXML),
        ("VIR_DOMAIN_SAVE_PARAM_FILE", FILE),
        ("VIR_DOMAIN_SAVE_PARAM_IMAGE_FORMAT", IMAGE_FORMAT),
        ("VIR_DOMAIN_SAVE_PARAM_PARALLEL_CHANNELS", PARALLEL_CHANNELS),
    ];
}

/// CPU scheduling of a domain.
pub mod scheduler {
    /// `VIR_DOMAIN_SCHEDULER_CAP`
    pub const CAP: &str = "cap";
    /// `VIR_DOMAIN_SCHEDULER_CPU_SHARES`
    pub const CPU_SHARES: &str = "cpu_shares";
    /// `VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD`
    pub const EMULATOR_PERIOD: &str = "emulator_period";
    /// `VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA`
    pub const EMULATOR_QUOTA: &str = "emulator_quota";
    /// `VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD`
    pub const GLOBAL_PERIOD: &str = "global_period";
    /// `VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA`
    pub const GLOBAL_QUOTA: &str = "global_quota";
    /// `VIR_DOMAIN_SCHEDULER_IOTHREAD_PERIOD`
    pub const IOTHREAD_PERIOD: &str = "iothread_period";
    /// `VIR_DOMAIN_SCHEDULER_IOTHREAD_QUOTA`
    pub const IOTHREAD_QUOTA: &str = "iothread_quota";
    /// `VIR_DOMAIN_SCHEDULER_LIMIT`
    pub const LIMIT: &str = "limit";
    /// `VIR_DOMAIN_SCHEDULER_RESERVATION`
    pub const RESERVATION: &str = "reservation";
    /// `VIR_DOMAIN_SCHEDULER_SHARES`
    pub const SHARES: &str = "shares";
    /// `VIR_DOMAIN_SCHEDULER_VCPU_PERIOD`
    pub const VCPU_PERIOD: &str = "vcpu_period";
    /// `VIR_DOMAIN_SCHEDULER_VCPU_QUOTA`
    pub const VCPU_QUOTA: &str = "vcpu_quota";
    /// `VIR_DOMAIN_SCHEDULER_WEIGHT`
    pub const WEIGHT: &str = "weight";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_SCHEDULER_CAP", CAP),
        ("VIR_DOMAIN_SCHEDULER_CPU_SHARES", CPU_SHARES),
        ("VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD", EMULATOR_PERIOD),
        ("VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA", EMULATOR_QUOTA),
        ("VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD", GLOBAL_PERIOD),
        ("VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA", GLOBAL_QUOTA),
        ("VIR_DOMAIN_SCHEDULER_IOTHREAD_PERIOD", IOTHREAD_PERIOD),
        ("VIR_DOMAIN_SCHEDULER_IOTHREAD_QUOTA", IOTHREAD_QUOTA),
        ("VIR_DOMAIN_SCHEDULER_LIMIT", LIMIT),
        ("VIR_DOMAIN_SCHEDULER_RESERVATION", RESERVATION),
        ("VIR_DOMAIN_SCHEDULER_SHARES", SHARES),
        ("VIR_DOMAIN_SCHEDULER_VCPU_PERIOD", VCPU_PERIOD),
        ("VIR_DOMAIN_SCHEDULER_VCPU_QUOTA", VCPU_QUOTA),
        ("VIR_DOMAIN_SCHEDULER_WEIGHT", WEIGHT),
    ];
}

/// Bulk statistics of domains; an indexed name is prefix, number, suffix.
pub mod domain_stats {
    /// `VIR_DOMAIN_STATS_BALLOON_AVAILABLE`
    pub const BALLOON_AVAILABLE: &str = "balloon.available";
    /// `VIR_DOMAIN_STATS_BALLOON_CURRENT`
    pub const BALLOON_CURRENT: &str = "balloon.current";
    /// `VIR_DOMAIN_STATS_BALLOON_DISK_CACHES`
    pub const BALLOON_DISK_CACHES: &str = "balloon.disk_caches";
    /// `VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGALLOC`
    pub const BALLOON_HUGETLB_PGALLOC: &str = "balloon.hugetlb_pgalloc";
    /// `VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGFAIL`
    pub const BALLOON_HUGETLB_PGFAIL: &str = "balloon.hugetlb_pgfail";
    /// `VIR_DOMAIN_STATS_BALLOON_LAST_UPDATE`
    pub const BALLOON_LAST_UPDATE: &str = "balloon.last-update";
    /// `VIR_DOMAIN_STATS_BALLOON_MAJOR_FAULT`
    pub const BALLOON_MAJOR_FAULT: &str = "balloon.major_fault";
    /// `VIR_DOMAIN_STATS_BALLOON_MAXIMUM`
    pub const BALLOON_MAXIMUM: &str = "balloon.maximum";
    /// `VIR_DOMAIN_STATS_BALLOON_MINOR_FAULT`
    pub const BALLOON_MINOR_FAULT: &str = "balloon.minor_fault";
    /// `VIR_DOMAIN_STATS_BALLOON_RSS`
    pub const BALLOON_RSS: &str = "balloon.rss";
    /// `VIR_DOMAIN_STATS_BALLOON_SWAP_IN`
    pub const BALLOON_SWAP_IN: &str = "balloon.swap_in";
    /// `VIR_DOMAIN_STATS_BALLOON_SWAP_OUT`
    pub const BALLOON_SWAP_OUT: &str = "balloon.swap_out";
    /// `VIR_DOMAIN_STATS_BALLOON_UNUSED`
    pub const BALLOON_UNUSED: &str = "balloon.unused";
    /// `VIR_DOMAIN_STATS_BALLOON_USABLE`
    pub const BALLOON_USABLE: &str = "balloon.usable";
    /// `VIR_DOMAIN_STATS_BLOCK_COUNT`
    pub const BLOCK_COUNT: &str = "block.count";
    /// `VIR_DOMAIN_STATS_BLOCK_PREFIX`
    pub const BLOCK_PREFIX: &str = "block.";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_ALLOCATION`
    pub const BLOCK_SUFFIX_ALLOCATION: &str = ".allocation";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_BACKINGINDEX`
    pub const BLOCK_SUFFIX_BACKINGINDEX: &str = ".backingIndex";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_CAPACITY`
    pub const BLOCK_SUFFIX_CAPACITY: &str = ".capacity";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_ERRORS`
    pub const BLOCK_SUFFIX_ERRORS: &str = ".errors";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_REQS`
    pub const BLOCK_SUFFIX_FL_REQS: &str = ".fl.reqs";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_TIMES`
    pub const BLOCK_SUFFIX_FL_TIMES: &str = ".fl.times";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_NAME`
    pub const BLOCK_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_PATH`
    pub const BLOCK_SUFFIX_PATH: &str = ".path";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_PHYSICAL`
    pub const BLOCK_SUFFIX_PHYSICAL: &str = ".physical";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_BYTES`
    pub const BLOCK_SUFFIX_RD_BYTES: &str = ".rd.bytes";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_REQS`
    pub const BLOCK_SUFFIX_RD_REQS: &str = ".rd.reqs";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_TIMES`
    pub const BLOCK_SUFFIX_RD_TIMES: &str = ".rd.times";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_THRESHOLD`
    pub const BLOCK_SUFFIX_THRESHOLD: &str = ".threshold";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_BYTES`
    pub const BLOCK_SUFFIX_WR_BYTES: &str = ".wr.bytes";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_REQS`
    pub const BLOCK_SUFFIX_WR_REQS: &str = ".wr.reqs";
    /// `VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_TIMES`
    pub const BLOCK_SUFFIX_WR_TIMES: &str = ".wr.times";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_COUNT`
    pub const CPU_CACHE_MONITOR_COUNT: &str = "cpu.cache.monitor.count";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_PREFIX`
    pub const CPU_CACHE_MONITOR_PREFIX: &str = "cpu.cache.monitor.";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT`
    pub const CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT: &str = ".bank.count";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX`
    pub const CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX: &str = ".bank.";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES`
    pub const CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES: &str = ".bytes";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID`
    pub const CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID: &str = ".id";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_NAME`
    pub const CPU_CACHE_MONITOR_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_VCPUS`
    pub const CPU_CACHE_MONITOR_SUFFIX_VCPUS: &str = ".vcpus";
    /// `VIR_DOMAIN_STATS_CPU_HALTPOLL_FAIL_TIME`
    pub const CPU_HALTPOLL_FAIL_TIME: &str = "cpu.haltpoll.fail.time";
    /// `VIR_DOMAIN_STATS_CPU_HALTPOLL_SUCCESS_TIME`
    pub const CPU_HALTPOLL_SUCCESS_TIME: &str = "cpu.haltpoll.success.time";
    /// `VIR_DOMAIN_STATS_CPU_SYSTEM`
    pub const CPU_SYSTEM: &str = "cpu.system";
    /// `VIR_DOMAIN_STATS_CPU_TIME`
    pub const CPU_TIME: &str = "cpu.time";
    /// `VIR_DOMAIN_STATS_CPU_USER`
    pub const CPU_USER: &str = "cpu.user";
    /// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR`
    pub const CUSTOM_SUFFIX_TYPE_CUR: &str = ".cur";
    /// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_MAX`
    pub const CUSTOM_SUFFIX_TYPE_MAX: &str = ".max";
    /// `VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_SUM`
    pub const CUSTOM_SUFFIX_TYPE_SUM: &str = ".sum";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_MODE`
    pub const DIRTYRATE_CALC_MODE: &str = "dirtyrate.calc_mode";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_PERIOD`
    pub const DIRTYRATE_CALC_PERIOD: &str = "dirtyrate.calc_period";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_START_TIME`
    pub const DIRTYRATE_CALC_START_TIME: &str = "dirtyrate.calc_start_time";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_CALC_STATUS`
    pub const DIRTYRATE_CALC_STATUS: &str = "dirtyrate.calc_status";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_MEGABYTES_PER_SECOND`
    pub const DIRTYRATE_MEGABYTES_PER_SECOND: &str = "dirtyrate.megabytes_per_second";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_VCPU_PREFIX`
    pub const DIRTYRATE_VCPU_PREFIX: &str = "dirtyrate.vcpu.";
    /// `VIR_DOMAIN_STATS_DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND`
    pub const DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND: &str = ".megabytes_per_second";
    /// `VIR_DOMAIN_STATS_IOTHREAD_COUNT`
    pub const IOTHREAD_COUNT: &str = "iothread.count";
    /// `VIR_DOMAIN_STATS_IOTHREAD_PREFIX`
    pub const IOTHREAD_PREFIX: &str = "iothread.";
    /// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_GROW`
    pub const IOTHREAD_SUFFIX_POLL_GROW: &str = ".poll-grow";
    /// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_MAX_NS`
    pub const IOTHREAD_SUFFIX_POLL_MAX_NS: &str = ".poll-max-ns";
    /// `VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_SHRINK`
    pub const IOTHREAD_SUFFIX_POLL_SHRINK: &str = ".poll-shrink";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_COUNT`
    pub const MEMORY_BANDWIDTH_MONITOR_COUNT: &str = "memory.bandwidth.monitor.count";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_PREFIX`
    pub const MEMORY_BANDWIDTH_MONITOR_PREFIX: &str = "memory.bandwidth.monitor.";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT: &str = ".node.count";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX: &str = ".node.";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL: &str = ".bytes.local";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL: &str = ".bytes.total";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID: &str = ".id";
    /// `VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS`
    pub const MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS: &str = ".vcpus";
    /// `VIR_DOMAIN_STATS_NET_COUNT`
    pub const NET_COUNT: &str = "net.count";
    /// `VIR_DOMAIN_STATS_NET_PREFIX`
    pub const NET_PREFIX: &str = "net.";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_NAME`
    pub const NET_SUFFIX_NAME: &str = ".name";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_BYTES`
    pub const NET_SUFFIX_RX_BYTES: &str = ".rx.bytes";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_DROP`
    pub const NET_SUFFIX_RX_DROP: &str = ".rx.drop";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_ERRS`
    pub const NET_SUFFIX_RX_ERRS: &str = ".rx.errs";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_RX_PKTS`
    pub const NET_SUFFIX_RX_PKTS: &str = ".rx.pkts";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_BYTES`
    pub const NET_SUFFIX_TX_BYTES: &str = ".tx.bytes";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_DROP`
    pub const NET_SUFFIX_TX_DROP: &str = ".tx.drop";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_ERRS`
    pub const NET_SUFFIX_TX_ERRS: &str = ".tx.errs";
    /// `VIR_DOMAIN_STATS_NET_SUFFIX_TX_PKTS`
    pub const NET_SUFFIX_TX_PKTS: &str = ".tx.pkts";
    /// `VIR_DOMAIN_STATS_PERF_ALIGNMENT_FAULTS`
    pub const PERF_ALIGNMENT_FAULTS: &str = "perf.alignment_faults";
    /// `VIR_DOMAIN_STATS_PERF_BRANCH_INSTRUCTIONS`
    pub const PERF_BRANCH_INSTRUCTIONS: &str = "perf.branch_instructions";
    /// `VIR_DOMAIN_STATS_PERF_BRANCH_MISSES`
    pub const PERF_BRANCH_MISSES: &str = "perf.branch_misses";
    /// `VIR_DOMAIN_STATS_PERF_BUS_CYCLES`
    pub const PERF_BUS_CYCLES: &str = "perf.bus_cycles";
    /// `VIR_DOMAIN_STATS_PERF_CACHE_MISSES`
    pub const PERF_CACHE_MISSES: &str = "perf.cache_misses";
    /// `VIR_DOMAIN_STATS_PERF_CACHE_REFERENCES`
    pub const PERF_CACHE_REFERENCES: &str = "perf.cache_references";
    /// `VIR_DOMAIN_STATS_PERF_CMT`
    pub const PERF_CMT: &str = "perf.cmt";
    /// `VIR_DOMAIN_STATS_PERF_CONTEXT_SWITCHES`
    pub const PERF_CONTEXT_SWITCHES: &str = "perf.context_switches";
    /// `VIR_DOMAIN_STATS_PERF_CPU_CLOCK`
    pub const PERF_CPU_CLOCK: &str = "perf.cpu_clock";
    /// `VIR_DOMAIN_STATS_PERF_CPU_CYCLES`
    pub const PERF_CPU_CYCLES: &str = "perf.cpu_cycles";
    /// `VIR_DOMAIN_STATS_PERF_CPU_MIGRATIONS`
    pub const PERF_CPU_MIGRATIONS: &str = "perf.cpu_migrations";
    /// `VIR_DOMAIN_STATS_PERF_EMULATION_FAULTS`
    pub const PERF_EMULATION_FAULTS: &str = "perf.emulation_faults";
    /// `VIR_DOMAIN_STATS_PERF_INSTRUCTIONS`
    pub const PERF_INSTRUCTIONS: &str = "perf.instructions";
    /// `VIR_DOMAIN_STATS_PERF_MBML`
    pub const PERF_MBML: &str = "perf.mbml";
    /// `VIR_DOMAIN_STATS_PERF_MBMT`
    pub const PERF_MBMT: &str = "perf.mbmt";
    /// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS`
    pub const PERF_PAGE_FAULTS: &str = "perf.page_faults";
    /// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MAJ`
    pub const PERF_PAGE_FAULTS_MAJ: &str = "perf.page_faults_maj";
    /// `VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MIN`
    pub const PERF_PAGE_FAULTS_MIN: &str = "perf.page_faults_min";
    /// `VIR_DOMAIN_STATS_PERF_REF_CPU_CYCLES`
    pub const PERF_REF_CPU_CYCLES: &str = "perf.ref_cpu_cycles";
    /// `VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_BACKEND`
    pub const PERF_STALLED_CYCLES_BACKEND: &str = "perf.stalled_cycles_backend";
    /// `VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_FRONTEND`
    pub const PERF_STALLED_CYCLES_FRONTEND: &str = "perf.stalled_cycles_frontend";
    /// `VIR_DOMAIN_STATS_PERF_TASK_CLOCK`
    pub const PERF_TASK_CLOCK: &str = "perf.task_clock";
    /// `VIR_DOMAIN_STATS_STATE_REASON`
    pub const STATE_REASON: &str = "state.reason";
    /// `VIR_DOMAIN_STATS_STATE_STATE`
    pub const STATE_STATE: &str = "state.state";
    /// `VIR_DOMAIN_STATS_VCPU_CURRENT`
    pub const VCPU_CURRENT: &str = "vcpu.current";
    /// `VIR_DOMAIN_STATS_VCPU_MAXIMUM`
    pub const VCPU_MAXIMUM: &str = "vcpu.maximum";
    /// `VIR_DOMAIN_STATS_VCPU_PREFIX`
    pub const VCPU_PREFIX: &str = "vcpu.";
    /// `VIR_DOMAIN_STATS_VCPU_SUFFIX_DELAY`
    pub const VCPU_SUFFIX_DELAY: &str = ".delay";
    /// `VIR_DOMAIN_STATS_VCPU_SUFFIX_HALTED`
    pub const VCPU_SUFFIX_HALTED: &str = ".halted";
    /// `VIR_DOMAIN_STATS_VCPU_SUFFIX_STATE`
    pub const VCPU_SUFFIX_STATE: &str = ".state";
    /// `VIR_DOMAIN_STATS_VCPU_SUFFIX_TIME`
    pub const VCPU_SUFFIX_TIME: &str = ".time";
    /// `VIR_DOMAIN_STATS_VCPU_SUFFIX_WAIT`
    pub const VCPU_SUFFIX_WAIT: &str = ".wait";
    /// `VIR_DOMAIN_STATS_VM_PREFIX`
    pub const VM_PREFIX: &str = "vm.";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_STATS_BALLOON_AVAILABLE", BALLOON_AVAILABLE),
        ("VIR_DOMAIN_STATS_BALLOON_CURRENT", BALLOON_CURRENT),
        ("VIR_DOMAIN_STATS_BALLOON_DISK_CACHES", BALLOON_DISK_CACHES),
        (
            "VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGALLOC",
            BALLOON_HUGETLB_PGALLOC,
        ),
        ("VIR_DOMAIN_STATS_BALLOON_HUGETLB_PGFAIL", BALLOON_HUGETLB_PGFAIL),
        ("VIR_DOMAIN_STATS_BALLOON_LAST_UPDATE", BALLOON_LAST_UPDATE),
        ("VIR_DOMAIN_STATS_BALLOON_MAJOR_FAULT", BALLOON_MAJOR_FAULT),
        ("VIR_DOMAIN_STATS_BALLOON_MAXIMUM", BALLOON_MAXIMUM),
        ("VIR_DOMAIN_STATS_BALLOON_MINOR_FAULT", BALLOON_MINOR_FAULT),
        ("VIR_DOMAIN_STATS_BALLOON_RSS", BALLOON_RSS),
        ("VIR_DOMAIN_STATS_BALLOON_SWAP_IN", BALLOON_SWAP_IN),
        ("VIR_DOMAIN_STATS_BALLOON_SWAP_OUT", BALLOON_SWAP_OUT),
        ("VIR_DOMAIN_STATS_BALLOON_UNUSED", BALLOON_UNUSED),
        ("VIR_DOMAIN_STATS_BALLOON_USABLE", BALLOON_USABLE),
        ("VIR_DOMAIN_STATS_BLOCK_COUNT", BLOCK_COUNT),
        ("VIR_DOMAIN_STATS_BLOCK_PREFIX", BLOCK_PREFIX),
        (
            "VIR_DOMAIN_STATS_BLOCK_SUFFIX_ALLOCATION",
            BLOCK_SUFFIX_ALLOCATION,
        ),
        (
            "VIR_DOMAIN_STATS_BLOCK_SUFFIX_BACKINGINDEX",
            BLOCK_SUFFIX_BACKINGINDEX,
        ),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_CAPACITY", BLOCK_SUFFIX_CAPACITY),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_ERRORS", BLOCK_SUFFIX_ERRORS),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_REQS", BLOCK_SUFFIX_FL_REQS),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_FL_TIMES", BLOCK_SUFFIX_FL_TIMES),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_NAME", BLOCK_SUFFIX_NAME),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_PATH", BLOCK_SUFFIX_PATH),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_PHYSICAL", BLOCK_SUFFIX_PHYSICAL),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_BYTES", BLOCK_SUFFIX_RD_BYTES),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_REQS", BLOCK_SUFFIX_RD_REQS),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_RD_TIMES", BLOCK_SUFFIX_RD_TIMES),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_THRESHOLD", BLOCK_SUFFIX_THRESHOLD),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_BYTES", BLOCK_SUFFIX_WR_BYTES),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_REQS", BLOCK_SUFFIX_WR_REQS),
        ("VIR_DOMAIN_STATS_BLOCK_SUFFIX_WR_TIMES", BLOCK_SUFFIX_WR_TIMES),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_COUNT",
            CPU_CACHE_MONITOR_COUNT,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_PREFIX",
            CPU_CACHE_MONITOR_PREFIX,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT",
            CPU_CACHE_MONITOR_SUFFIX_BANK_COUNT,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX",
            CPU_CACHE_MONITOR_SUFFIX_BANK_PREFIX,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES",
            CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_BYTES,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID",
            CPU_CACHE_MONITOR_SUFFIX_BANK_SUFFIX_ID,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_NAME",
            CPU_CACHE_MONITOR_SUFFIX_NAME,
        ),
        (
            "VIR_DOMAIN_STATS_CPU_CACHE_MONITOR_SUFFIX_VCPUS",
            CPU_CACHE_MONITOR_SUFFIX_VCPUS,
        ),
        ("VIR_DOMAIN_STATS_CPU_HALTPOLL_FAIL_TIME", CPU_HALTPOLL_FAIL_TIME),
        (
            "VIR_DOMAIN_STATS_CPU_HALTPOLL_SUCCESS_TIME",
            CPU_HALTPOLL_SUCCESS_TIME,
        ),
        ("VIR_DOMAIN_STATS_CPU_SYSTEM", CPU_SYSTEM),
        ("VIR_DOMAIN_STATS_CPU_TIME", CPU_TIME),
        ("VIR_DOMAIN_STATS_CPU_USER", CPU_USER),
        ("VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR", CUSTOM_SUFFIX_TYPE_CUR),
        ("VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_MAX", CUSTOM_SUFFIX_TYPE_MAX),
        ("VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_SUM", CUSTOM_SUFFIX_TYPE_SUM),
        ("VIR_DOMAIN_STATS_DIRTYRATE_CALC_MODE", DIRTYRATE_CALC_MODE),
        ("VIR_DOMAIN_STATS_DIRTYRATE_CALC_PERIOD", DIRTYRATE_CALC_PERIOD),
        (
            "VIR_DOMAIN_STATS_DIRTYRATE_CALC_START_TIME",
            DIRTYRATE_CALC_START_TIME,
        ),
        ("VIR_DOMAIN_STATS_DIRTYRATE_CALC_STATUS", DIRTYRATE_CALC_STATUS),
        (
            "VIR_DOMAIN_STATS_DIRTYRATE_MEGABYTES_PER_SECOND",
            DIRTYRATE_MEGABYTES_PER_SECOND,
        ),
        ("VIR_DOMAIN_STATS_DIRTYRATE_VCPU_PREFIX", DIRTYRATE_VCPU_PREFIX),
        (
            "VIR_DOMAIN_STATS_DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND",
            DIRTYRATE_VCPU_SUFFIX_MEGABYTES_PER_SECOND,
        ),
        ("VIR_DOMAIN_STATS_IOTHREAD_COUNT", IOTHREAD_COUNT),
        ("VIR_DOMAIN_STATS_IOTHREAD_PREFIX", IOTHREAD_PREFIX),
        (
            "VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_GROW",
            IOTHREAD_SUFFIX_POLL_GROW,
        ),
        (
            "VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_MAX_NS",
            IOTHREAD_SUFFIX_POLL_MAX_NS,
        ),
        (
            "VIR_DOMAIN_STATS_IOTHREAD_SUFFIX_POLL_SHRINK",
            IOTHREAD_SUFFIX_POLL_SHRINK,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_COUNT",
            MEMORY_BANDWIDTH_MONITOR_COUNT,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_PREFIX",
            MEMORY_BANDWIDTH_MONITOR_PREFIX,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NAME,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_COUNT,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_PREFIX,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_LOCAL,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_BYTES_TOTAL,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_NODE_SUFFIX_ID,
        ),
        (
            "VIR_DOMAIN_STATS_MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS",
            MEMORY_BANDWIDTH_MONITOR_SUFFIX_VCPUS,
        ),
        ("VIR_DOMAIN_STATS_NET_COUNT", NET_COUNT),
        ("VIR_DOMAIN_STATS_NET_PREFIX", NET_PREFIX),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_NAME", NET_SUFFIX_NAME),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_RX_BYTES", NET_SUFFIX_RX_BYTES),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_RX_DROP", NET_SUFFIX_RX_DROP),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_RX_ERRS", NET_SUFFIX_RX_ERRS),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_RX_PKTS", NET_SUFFIX_RX_PKTS),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_TX_BYTES", NET_SUFFIX_TX_BYTES),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_TX_DROP", NET_SUFFIX_TX_DROP),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_TX_ERRS", NET_SUFFIX_TX_ERRS),
        ("VIR_DOMAIN_STATS_NET_SUFFIX_TX_PKTS", NET_SUFFIX_TX_PKTS),
        ("VIR_DOMAIN_STATS_PERF_ALIGNMENT_FAULTS", PERF_ALIGNMENT_FAULTS),
        (
            "VIR_DOMAIN_STATS_PERF_BRANCH_INSTRUCTIONS",
            PERF_BRANCH_INSTRUCTIONS,
        ),
        ("VIR_DOMAIN_STATS_PERF_BRANCH_MISSES", PERF_BRANCH_MISSES),
        ("VIR_DOMAIN_STATS_PERF_BUS_CYCLES", PERF_BUS_CYCLES),
        ("VIR_DOMAIN_STATS_PERF_CACHE_MISSES", PERF_CACHE_MISSES),
        ("VIR_DOMAIN_STATS_PERF_CACHE_REFERENCES", PERF_CACHE_REFERENCES),
        ("VIR_DOMAIN_STATS_PERF_CMT", PERF_CMT),
        ("VIR_DOMAIN_STATS_PERF_CONTEXT_SWITCHES", PERF_CONTEXT_SWITCHES),
        ("VIR_DOMAIN_STATS_PERF_CPU_CLOCK", PERF_CPU_CLOCK),
        ("VIR_DOMAIN_STATS_PERF_CPU_CYCLES", PERF_CPU_CYCLES),
        ("VIR_DOMAIN_STATS_PERF_CPU_MIGRATIONS", PERF_CPU_MIGRATIONS),
        ("VIR_DOMAIN_STATS_PERF_EMULATION_FAULTS", PERF_EMULATION_FAULTS),
        ("VIR_DOMAIN_STATS_PERF_INSTRUCTIONS", PERF_INSTRUCTIONS),
        ("VIR_DOMAIN_STATS_PERF_MBML", PERF_MBML),
        ("VIR_DOMAIN_STATS_PERF_MBMT", PERF_MBMT),
        ("VIR_DOMAIN_STATS_PERF_PAGE_FAULTS", PERF_PAGE_FAULTS),
        ("VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MAJ", PERF_PAGE_FAULTS_MAJ),
        ("VIR_DOMAIN_STATS_PERF_PAGE_FAULTS_MIN", PERF_PAGE_FAULTS_MIN),
        ("VIR_DOMAIN_STATS_PERF_REF_CPU_CYCLES", PERF_REF_CPU_CYCLES),
        (
            "VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_BACKEND",
            PERF_STALLED_CYCLES_BACKEND,
        ),
        (
            "VIR_DOMAIN_STATS_PERF_STALLED_CYCLES_FRONTEND",
            PERF_STALLED_CYCLES_FRONTEND,
        ),
        ("VIR_DOMAIN_STATS_PERF_TASK_CLOCK", PERF_TASK_CLOCK),
        ("VIR_DOMAIN_STATS_STATE_REASON", STATE_REASON),
        ("VIR_DOMAIN_STATS_STATE_STATE", STATE_STATE),
        ("VIR_DOMAIN_STATS_VCPU_CURRENT", VCPU_CURRENT),
        ("VIR_DOMAIN_STATS_VCPU_MAXIMUM", VCPU_MAXIMUM),
        ("VIR_DOMAIN_STATS_VCPU_PREFIX", VCPU_PREFIX),
        ("VIR_DOMAIN_STATS_VCPU_SUFFIX_DELAY", VCPU_SUFFIX_DELAY),
        ("VIR_DOMAIN_STATS_VCPU_SUFFIX_HALTED", VCPU_SUFFIX_HALTED),
        ("VIR_DOMAIN_STATS_VCPU_SUFFIX_STATE", VCPU_SUFFIX_STATE),
        ("VIR_DOMAIN_STATS_VCPU_SUFFIX_TIME", VCPU_SUFFIX_TIME),
        ("VIR_DOMAIN_STATS_VCPU_SUFFIX_WAIT", VCPU_SUFFIX_WAIT),
        ("VIR_DOMAIN_STATS_VM_PREFIX", VM_PREFIX),
    ];
}

/// Names in tunable events; `%u` stands for a number.
pub mod tunable {
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_DISK`
    pub const BLKDEV_DISK: &str = "blkdeviotune.disk";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_GROUP_NAME`
    pub const BLKDEV_GROUP_NAME: &str = "blkdeviotune.group_name";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC`
    pub const BLKDEV_READ_BYTES_SEC: &str = "blkdeviotune.read_bytes_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX`
    pub const BLKDEV_READ_BYTES_SEC_MAX: &str = "blkdeviotune.read_bytes_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX_LENGTH`
    pub const BLKDEV_READ_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.read_bytes_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC`
    pub const BLKDEV_READ_IOPS_SEC: &str = "blkdeviotune.read_iops_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX`
    pub const BLKDEV_READ_IOPS_SEC_MAX: &str = "blkdeviotune.read_iops_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX_LENGTH`
    pub const BLKDEV_READ_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.read_iops_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_SIZE_IOPS_SEC`
    pub const BLKDEV_SIZE_IOPS_SEC: &str = "blkdeviotune.size_iops_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC`
    pub const BLKDEV_TOTAL_BYTES_SEC: &str = "blkdeviotune.total_bytes_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX`
    pub const BLKDEV_TOTAL_BYTES_SEC_MAX: &str = "blkdeviotune.total_bytes_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH`
    pub const BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.total_bytes_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC`
    pub const BLKDEV_TOTAL_IOPS_SEC: &str = "blkdeviotune.total_iops_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX`
    pub const BLKDEV_TOTAL_IOPS_SEC_MAX: &str = "blkdeviotune.total_iops_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH`
    pub const BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.total_iops_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC`
    pub const BLKDEV_WRITE_BYTES_SEC: &str = "blkdeviotune.write_bytes_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX`
    pub const BLKDEV_WRITE_BYTES_SEC_MAX: &str = "blkdeviotune.write_bytes_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH`
    pub const BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH: &str = "blkdeviotune.write_bytes_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC`
    pub const BLKDEV_WRITE_IOPS_SEC: &str = "blkdeviotune.write_iops_sec";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX`
    pub const BLKDEV_WRITE_IOPS_SEC_MAX: &str = "blkdeviotune.write_iops_sec_max";
    /// `VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH`
    pub const BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH: &str = "blkdeviotune.write_iops_sec_max_length";
    /// `VIR_DOMAIN_TUNABLE_CPU_CPU_SHARES`
    pub const CPU_CPU_SHARES: &str = "cputune.cpu_shares";
    /// `VIR_DOMAIN_TUNABLE_CPU_EMULATORPIN`
    pub const CPU_EMULATORPIN: &str = "cputune.emulatorpin";
    /// `VIR_DOMAIN_TUNABLE_CPU_EMULATOR_PERIOD`
    pub const CPU_EMULATOR_PERIOD: &str = "cputune.emulator_period";
    /// `VIR_DOMAIN_TUNABLE_CPU_EMULATOR_QUOTA`
    pub const CPU_EMULATOR_QUOTA: &str = "cputune.emulator_quota";
    /// `VIR_DOMAIN_TUNABLE_CPU_GLOBAL_PERIOD`
    pub const CPU_GLOBAL_PERIOD: &str = "cputune.global_period";
    /// `VIR_DOMAIN_TUNABLE_CPU_GLOBAL_QUOTA`
    pub const CPU_GLOBAL_QUOTA: &str = "cputune.global_quota";
    /// `VIR_DOMAIN_TUNABLE_CPU_IOTHREADSPIN`
    pub const CPU_IOTHREADSPIN: &str = "cputune.iothreadpin%u";
    /// `VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_PERIOD`
    pub const CPU_IOTHREAD_PERIOD: &str = "cputune.iothread_period";
    /// `VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_QUOTA`
    pub const CPU_IOTHREAD_QUOTA: &str = "cputune.iothread_quota";
    /// `VIR_DOMAIN_TUNABLE_CPU_VCPUPIN`
    pub const CPU_VCPUPIN: &str = "cputune.vcpupin%u";
    /// `VIR_DOMAIN_TUNABLE_CPU_VCPU_PERIOD`
    pub const CPU_VCPU_PERIOD: &str = "cputune.vcpu_period";
    /// `VIR_DOMAIN_TUNABLE_CPU_VCPU_QUOTA`
    pub const CPU_VCPU_QUOTA: &str = "cputune.vcpu_quota";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_DOMAIN_TUNABLE_BLKDEV_DISK", BLKDEV_DISK),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_GROUP_NAME", BLKDEV_GROUP_NAME),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC", BLKDEV_READ_BYTES_SEC),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX",
            BLKDEV_READ_BYTES_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_READ_BYTES_SEC_MAX_LENGTH",
            BLKDEV_READ_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC", BLKDEV_READ_IOPS_SEC),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX",
            BLKDEV_READ_IOPS_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_READ_IOPS_SEC_MAX_LENGTH",
            BLKDEV_READ_IOPS_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_SIZE_IOPS_SEC", BLKDEV_SIZE_IOPS_SEC),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC",
            BLKDEV_TOTAL_BYTES_SEC,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX",
            BLKDEV_TOTAL_BYTES_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH",
            BLKDEV_TOTAL_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC", BLKDEV_TOTAL_IOPS_SEC),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX",
            BLKDEV_TOTAL_IOPS_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH",
            BLKDEV_TOTAL_IOPS_SEC_MAX_LENGTH,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC",
            BLKDEV_WRITE_BYTES_SEC,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX",
            BLKDEV_WRITE_BYTES_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH",
            BLKDEV_WRITE_BYTES_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC", BLKDEV_WRITE_IOPS_SEC),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX",
            BLKDEV_WRITE_IOPS_SEC_MAX,
        ),
        (
            "VIR_DOMAIN_TUNABLE_BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH",
            BLKDEV_WRITE_IOPS_SEC_MAX_LENGTH,
        ),
        ("VIR_DOMAIN_TUNABLE_CPU_CPU_SHARES", CPU_CPU_SHARES),
        ("VIR_DOMAIN_TUNABLE_CPU_EMULATORPIN", CPU_EMULATORPIN),
        ("VIR_DOMAIN_TUNABLE_CPU_EMULATOR_PERIOD", CPU_EMULATOR_PERIOD),
        ("VIR_DOMAIN_TUNABLE_CPU_EMULATOR_QUOTA", CPU_EMULATOR_QUOTA),
        ("VIR_DOMAIN_TUNABLE_CPU_GLOBAL_PERIOD", CPU_GLOBAL_PERIOD),
        ("VIR_DOMAIN_TUNABLE_CPU_GLOBAL_QUOTA", CPU_GLOBAL_QUOTA),
        ("VIR_DOMAIN_TUNABLE_CPU_IOTHREADSPIN", CPU_IOTHREADSPIN),
        ("VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_PERIOD", CPU_IOTHREAD_PERIOD),
        ("VIR_DOMAIN_TUNABLE_CPU_IOTHREAD_QUOTA", CPU_IOTHREAD_QUOTA),
        ("VIR_DOMAIN_TUNABLE_CPU_VCPUPIN", CPU_VCPUPIN),
        ("VIR_DOMAIN_TUNABLE_CPU_VCPU_PERIOD", CPU_VCPU_PERIOD),
        ("VIR_DOMAIN_TUNABLE_CPU_VCPU_QUOTA", CPU_VCPU_QUOTA),
    ];
}

/// Parameters of a migration.
pub mod migration {
    /// `VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT`
    pub const AUTO_CONVERGE_INCREMENT: &str = "auto_converge.increment";
    /// `VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL`
    pub const AUTO_CONVERGE_INITIAL: &str = "auto_converge.initial";
    /// `VIR_MIGRATE_PARAM_BANDWIDTH`
    pub const BANDWIDTH: &str = "bandwidth";
    /// `VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER`
    pub const BANDWIDTH_AVAIL_SWITCHOVER: &str = "bandwidth.avail.switchover";
    /// `VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY`
    pub const BANDWIDTH_POSTCOPY: &str = "bandwidth.postcopy";
    /// `VIR_MIGRATE_PARAM_COMPRESSION`
    pub const COMPRESSION: &str = "compression";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS`
    pub const COMPRESSION_MT_DTHREADS: &str = "compression.mt.dthreads";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL`
    pub const COMPRESSION_MT_LEVEL: &str = "compression.mt.level";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS`
    pub const COMPRESSION_MT_THREADS: &str = "compression.mt.threads";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE`
    pub const COMPRESSION_XBZRLE_CACHE: &str = "compression.xbzrle.cache";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL`
    pub const COMPRESSION_ZLIB_LEVEL: &str = "compression.zlib.level";
    /// `VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL`
    pub const COMPRESSION_ZSTD_LEVEL: &str = "compression.zstd.level";
    /// `VIR_MIGRATE_PARAM_DEST_NAME`
    pub const DEST_NAME: &str = "destination_name";
    /// `VIR_MIGRATE_PARAM_DEST_XML`
    pub const DEST_XML: &str = "destination_xml";
    /// `VIR_MIGRATE_PARAM_DISKS_PORT`
    pub const DISKS_PORT: &str = "disks_port";
    /// `VIR_MIGRATE_PARAM_DISKS_URI`
    pub const DISKS_URI: &str = "disks_uri";
    /// `VIR_MIGRATE_PARAM_GRAPHICS_URI`
    pub const GRAPHICS_URI: &str = "graphics_uri";
    /// `VIR_MIGRATE_PARAM_LISTEN_ADDRESS`
    pub const LISTEN_ADDRESS: &str = "listen_address";
    /// `VIR_MIGRATE_PARAM_MIGRATE_DISKS`
    pub const MIGRATE_DISKS: &str = "migrate_disks";
    /// `VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES`
    pub const MIGRATE_DISKS_DETECT_ZEROES: &str = "migrate_disks_detect_zeroes";
    /// `VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS`
    pub const PARALLEL_CONNECTIONS: &str = "parallel.connections";
    /// `VIR_MIGRATE_PARAM_PERSIST_XML`
    pub const PERSIST_XML: &str = "persistent_xml";
    /// `VIR_MIGRATE_PARAM_TLS_DESTINATION`
    pub const TLS_DESTINATION: &str = "tls.destination";
    /// `VIR_MIGRATE_PARAM_URI`
    pub const URI: &str = "migrate_uri";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        (
            "VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT",
            AUTO_CONVERGE_INCREMENT,
        ),
        ("VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL", AUTO_CONVERGE_INITIAL),
        ("VIR_MIGRATE_PARAM_BANDWIDTH", BANDWIDTH),
        (
            "VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER",
            BANDWIDTH_AVAIL_SWITCHOVER,
        ),
        ("VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY", BANDWIDTH_POSTCOPY),
        ("VIR_MIGRATE_PARAM_COMPRESSION", COMPRESSION),
        (
            "VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS",
            COMPRESSION_MT_DTHREADS,
        ),
        ("VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL", COMPRESSION_MT_LEVEL),
        ("VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS", COMPRESSION_MT_THREADS),
        (
            "VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE",
            COMPRESSION_XBZRLE_CACHE,
        ),
        ("VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL", COMPRESSION_ZLIB_LEVEL),
        ("VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL", COMPRESSION_ZSTD_LEVEL),
        ("VIR_MIGRATE_PARAM_DEST_NAME", DEST_NAME),
        ("VIR_MIGRATE_PARAM_DEST_XML", DEST_XML),
        ("VIR_MIGRATE_PARAM_DISKS_PORT", DISKS_PORT),
        ("VIR_MIGRATE_PARAM_DISKS_URI", DISKS_URI),
        ("VIR_MIGRATE_PARAM_GRAPHICS_URI", GRAPHICS_URI),
        ("VIR_MIGRATE_PARAM_LISTEN_ADDRESS", LISTEN_ADDRESS),
        ("VIR_MIGRATE_PARAM_MIGRATE_DISKS", MIGRATE_DISKS),
        (
            "VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES",
            MIGRATE_DISKS_DETECT_ZEROES,
        ),
        ("VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS", PARALLEL_CONNECTIONS),
        ("VIR_MIGRATE_PARAM_PERSIST_XML", PERSIST_XML),
        ("VIR_MIGRATE_PARAM_TLS_DESTINATION", TLS_DESTINATION),
        ("VIR_MIGRATE_PARAM_URI", URI),
    ];
}

/// Bandwidth limits of a network port.
pub mod network_port_bandwidth {
    /// `VIR_NETWORK_PORT_BANDWIDTH_IN_AVERAGE`
    pub const IN_AVERAGE: &str = "inbound.average";
    /// `VIR_NETWORK_PORT_BANDWIDTH_IN_BURST`
    pub const IN_BURST: &str = "inbound.burst";
    /// `VIR_NETWORK_PORT_BANDWIDTH_IN_FLOOR`
    pub const IN_FLOOR: &str = "inbound.floor";
    /// `VIR_NETWORK_PORT_BANDWIDTH_IN_PEAK`
    pub const IN_PEAK: &str = "inbound.peak";
    /// `VIR_NETWORK_PORT_BANDWIDTH_OUT_AVERAGE`
    pub const OUT_AVERAGE: &str = "outbound.average";
    /// `VIR_NETWORK_PORT_BANDWIDTH_OUT_BURST`
    pub const OUT_BURST: &str = "outbound.burst";
    /// `VIR_NETWORK_PORT_BANDWIDTH_OUT_PEAK`
    pub const OUT_PEAK: &str = "outbound.peak";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_NETWORK_PORT_BANDWIDTH_IN_AVERAGE", IN_AVERAGE),
        ("VIR_NETWORK_PORT_BANDWIDTH_IN_BURST", IN_BURST),
        ("VIR_NETWORK_PORT_BANDWIDTH_IN_FLOOR", IN_FLOOR),
        ("VIR_NETWORK_PORT_BANDWIDTH_IN_PEAK", IN_PEAK),
        ("VIR_NETWORK_PORT_BANDWIDTH_OUT_AVERAGE", OUT_AVERAGE),
        ("VIR_NETWORK_PORT_BANDWIDTH_OUT_BURST", OUT_BURST),
        ("VIR_NETWORK_PORT_BANDWIDTH_OUT_PEAK", OUT_PEAK),
    ];
}

/// CPU time of the host.
pub mod node_cpu_stats {
    /// `VIR_NODE_CPU_STATS_IDLE`
    pub const IDLE: &str = "idle";
    /// `VIR_NODE_CPU_STATS_INTR`
    pub const INTR: &str = "intr";
    /// `VIR_NODE_CPU_STATS_IOWAIT`
    pub const IOWAIT: &str = "iowait";
    /// `VIR_NODE_CPU_STATS_KERNEL`
    pub const KERNEL: &str = "kernel";
    /// `VIR_NODE_CPU_STATS_USER`
    pub const USER: &str = "user";
    /// `VIR_NODE_CPU_STATS_UTILIZATION`
    pub const UTILIZATION: &str = "utilization";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_NODE_CPU_STATS_IDLE", IDLE),
        ("VIR_NODE_CPU_STATS_INTR", INTR),
        ("VIR_NODE_CPU_STATS_IOWAIT", IOWAIT),
        ("VIR_NODE_CPU_STATS_KERNEL", KERNEL),
        ("VIR_NODE_CPU_STATS_USER", USER),
        ("VIR_NODE_CPU_STATS_UTILIZATION", UTILIZATION),
    ];
}

/// Parameters of the host's memory merging.
pub mod node_memory {
    /// `VIR_NODE_MEMORY_SHARED_FULL_SCANS`
    pub const SHARED_FULL_SCANS: &str = "shm_full_scans";
    /// `VIR_NODE_MEMORY_SHARED_MERGE_ACROSS_NODES`
    pub const SHARED_MERGE_ACROSS_NODES: &str = "shm_merge_across_nodes";
    /// `VIR_NODE_MEMORY_SHARED_PAGES_SHARED`
    pub const SHARED_PAGES_SHARED: &str = "shm_pages_shared";
    /// `VIR_NODE_MEMORY_SHARED_PAGES_SHARING`
    pub const SHARED_PAGES_SHARING: &str = "shm_pages_sharing";
    /// `VIR_NODE_MEMORY_SHARED_PAGES_TO_SCAN`
    pub const SHARED_PAGES_TO_SCAN: &str = "shm_pages_to_scan";
    /// `VIR_NODE_MEMORY_SHARED_PAGES_UNSHARED`
    pub const SHARED_PAGES_UNSHARED: &str = "shm_pages_unshared";
    /// `VIR_NODE_MEMORY_SHARED_PAGES_VOLATILE`
    pub const SHARED_PAGES_VOLATILE: &str = "shm_pages_volatile";
    /// `VIR_NODE_MEMORY_SHARED_SLEEP_MILLISECS`
    pub const SHARED_SLEEP_MILLISECS: &str = "shm_sleep_millisecs";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_NODE_MEMORY_SHARED_FULL_SCANS", SHARED_FULL_SCANS),
        (
            "VIR_NODE_MEMORY_SHARED_MERGE_ACROSS_NODES",
            SHARED_MERGE_ACROSS_NODES,
        ),
        ("VIR_NODE_MEMORY_SHARED_PAGES_SHARED", SHARED_PAGES_SHARED),
        ("VIR_NODE_MEMORY_SHARED_PAGES_SHARING", SHARED_PAGES_SHARING),
        ("VIR_NODE_MEMORY_SHARED_PAGES_TO_SCAN", SHARED_PAGES_TO_SCAN),
        ("VIR_NODE_MEMORY_SHARED_PAGES_UNSHARED", SHARED_PAGES_UNSHARED),
        ("VIR_NODE_MEMORY_SHARED_PAGES_VOLATILE", SHARED_PAGES_VOLATILE),
        ("VIR_NODE_MEMORY_SHARED_SLEEP_MILLISECS", SHARED_SLEEP_MILLISECS),
    ];
}

/// Memory of the host.
pub mod node_memory_stats {
    /// `VIR_NODE_MEMORY_STATS_BUFFERS`
    pub const BUFFERS: &str = "buffers";
    /// `VIR_NODE_MEMORY_STATS_CACHED`
    pub const CACHED: &str = "cached";
    /// `VIR_NODE_MEMORY_STATS_FREE`
    pub const FREE: &str = "free";
    /// `VIR_NODE_MEMORY_STATS_TOTAL`
    pub const TOTAL: &str = "total";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_NODE_MEMORY_STATS_BUFFERS", BUFFERS),
        ("VIR_NODE_MEMORY_STATS_CACHED", CACHED),
        ("VIR_NODE_MEMORY_STATS_FREE", FREE),
        ("VIR_NODE_MEMORY_STATS_TOTAL", TOTAL),
    ];
}

/// What the host offers to confidential guests.
pub mod node_sev {
    /// `VIR_NODE_SEV_CBITPOS`
    pub const CBITPOS: &str = "cbitpos";
    /// `VIR_NODE_SEV_CERT_CHAIN`
    pub const CERT_CHAIN: &str = "cert-chain";
    /// `VIR_NODE_SEV_CPU0_ID`
    pub const CPU0_ID: &str = "cpu0-id";
    /// `VIR_NODE_SEV_MAX_ES_GUESTS`
    pub const MAX_ES_GUESTS: &str = "max-es-guests";
    /// `VIR_NODE_SEV_MAX_GUESTS`
    pub const MAX_GUESTS: &str = "max-guests";
    /// `VIR_NODE_SEV_PDH`
    pub const PDH: &str = "pdh";
    /// `VIR_NODE_SEV_REDUCED_PHYS_BITS`
    pub const REDUCED_PHYS_BITS: &str = "reduced-phys-bits";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_NODE_SEV_CBITPOS", CBITPOS),
        ("VIR_NODE_SEV_CERT_CHAIN", CERT_CHAIN),
        ("VIR_NODE_SEV_CPU0_ID", CPU0_ID),
        ("VIR_NODE_SEV_MAX_ES_GUESTS", MAX_ES_GUESTS),
        ("VIR_NODE_SEV_MAX_GUESTS", MAX_GUESTS),
        ("VIR_NODE_SEV_PDH", PDH),
        ("VIR_NODE_SEV_REDUCED_PHYS_BITS", REDUCED_PHYS_BITS),
    ];
}

/// Performance events of a domain.
pub mod perf {
    /// `VIR_PERF_PARAM_ALIGNMENT_FAULTS`
    pub const ALIGNMENT_FAULTS: &str = "alignment_faults";
    /// `VIR_PERF_PARAM_BRANCH_INSTRUCTIONS`
    pub const BRANCH_INSTRUCTIONS: &str = "branch_instructions";
    /// `VIR_PERF_PARAM_BRANCH_MISSES`
    pub const BRANCH_MISSES: &str = "branch_misses";
    /// `VIR_PERF_PARAM_BUS_CYCLES`
    pub const BUS_CYCLES: &str = "bus_cycles";
    /// `VIR_PERF_PARAM_CACHE_MISSES`
    pub const CACHE_MISSES: &str = "cache_misses";
    /// `VIR_PERF_PARAM_CACHE_REFERENCES`
    pub const CACHE_REFERENCES: &str = "cache_references";
    /// `VIR_PERF_PARAM_CMT`
    pub const CMT: &str = "cmt";
    /// `VIR_PERF_PARAM_CONTEXT_SWITCHES`
    pub const CONTEXT_SWITCHES: &str = "context_switches";
    /// `VIR_PERF_PARAM_CPU_CLOCK`
    pub const CPU_CLOCK: &str = "cpu_clock";
    /// `VIR_PERF_PARAM_CPU_CYCLES`
    pub const CPU_CYCLES: &str = "cpu_cycles";
    /// `VIR_PERF_PARAM_CPU_MIGRATIONS`
    pub const CPU_MIGRATIONS: &str = "cpu_migrations";
    /// `VIR_PERF_PARAM_EMULATION_FAULTS`
    pub const EMULATION_FAULTS: &str = "emulation_faults";
    /// `VIR_PERF_PARAM_INSTRUCTIONS`
    pub const INSTRUCTIONS: &str = "instructions";
    /// `VIR_PERF_PARAM_MBML`
    pub const MBML: &str = "mbml";
    /// `VIR_PERF_PARAM_MBMT`
    pub const MBMT: &str = "mbmt";
    /// `VIR_PERF_PARAM_PAGE_FAULTS`
    pub const PAGE_FAULTS: &str = "page_faults";
    /// `VIR_PERF_PARAM_PAGE_FAULTS_MAJ`
    pub const PAGE_FAULTS_MAJ: &str = "page_faults_maj";
    /// `VIR_PERF_PARAM_PAGE_FAULTS_MIN`
    pub const PAGE_FAULTS_MIN: &str = "page_faults_min";
    /// `VIR_PERF_PARAM_REF_CPU_CYCLES`
    pub const REF_CPU_CYCLES: &str = "ref_cpu_cycles";
    /// `VIR_PERF_PARAM_STALLED_CYCLES_BACKEND`
    pub const STALLED_CYCLES_BACKEND: &str = "stalled_cycles_backend";
    /// `VIR_PERF_PARAM_STALLED_CYCLES_FRONTEND`
    pub const STALLED_CYCLES_FRONTEND: &str = "stalled_cycles_frontend";
    /// `VIR_PERF_PARAM_TASK_CLOCK`
    pub const TASK_CLOCK: &str = "task_clock";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_PERF_PARAM_ALIGNMENT_FAULTS", ALIGNMENT_FAULTS),
        ("VIR_PERF_PARAM_BRANCH_INSTRUCTIONS", BRANCH_INSTRUCTIONS),
        ("VIR_PERF_PARAM_BRANCH_MISSES", BRANCH_MISSES),
        ("VIR_PERF_PARAM_BUS_CYCLES", BUS_CYCLES),
        ("VIR_PERF_PARAM_CACHE_MISSES", CACHE_MISSES),
        ("VIR_PERF_PARAM_CACHE_REFERENCES", CACHE_REFERENCES),
        ("VIR_PERF_PARAM_CMT", CMT),
        ("VIR_PERF_PARAM_CONTEXT_SWITCHES", CONTEXT_SWITCHES),
        ("VIR_PERF_PARAM_CPU_CLOCK", CPU_CLOCK),
        ("VIR_PERF_PARAM_CPU_CYCLES", CPU_CYCLES),
        ("VIR_PERF_PARAM_CPU_MIGRATIONS", CPU_MIGRATIONS),
        ("VIR_PERF_PARAM_EMULATION_FAULTS", EMULATION_FAULTS),
        ("VIR_PERF_PARAM_INSTRUCTIONS", INSTRUCTIONS),
        ("VIR_PERF_PARAM_MBML", MBML),
        ("VIR_PERF_PARAM_MBMT", MBMT),
        ("VIR_PERF_PARAM_PAGE_FAULTS", PAGE_FAULTS),
        ("VIR_PERF_PARAM_PAGE_FAULTS_MAJ", PAGE_FAULTS_MAJ),
        ("VIR_PERF_PARAM_PAGE_FAULTS_MIN", PAGE_FAULTS_MIN),
        ("VIR_PERF_PARAM_REF_CPU_CYCLES", REF_CPU_CYCLES),
        ("VIR_PERF_PARAM_STALLED_CYCLES_BACKEND", STALLED_CYCLES_BACKEND),
        ("VIR_PERF_PARAM_STALLED_CYCLES_FRONTEND", STALLED_CYCLES_FRONTEND),
        ("VIR_PERF_PARAM_TASK_CLOCK", TASK_CLOCK),
    ];
}

/// Who a client of the daemon is.
pub mod client_info {
    /// `VIR_CLIENT_INFO_READONLY`
    pub const READONLY: &str = "readonly";
    /// `VIR_CLIENT_INFO_SASL_USER_NAME`
    pub const SASL_USER_NAME: &str = "sasl_user_name";
    /// `VIR_CLIENT_INFO_SELINUX_CONTEXT`
    pub const SELINUX_CONTEXT: &str = "selinux_context";
    /// `VIR_CLIENT_INFO_SOCKET_ADDR`
    pub const SOCKET_ADDR: &str = "sock_addr";
    /// `VIR_CLIENT_INFO_UNIX_GROUP_ID`
    pub const UNIX_GROUP_ID: &str = "unix_group_id";
    /// `VIR_CLIENT_INFO_UNIX_GROUP_NAME`
    pub const UNIX_GROUP_NAME: &str = "unix_group_name";
    /// `VIR_CLIENT_INFO_UNIX_PROCESS_ID`
    pub const UNIX_PROCESS_ID: &str = "unix_process_id";
    /// `VIR_CLIENT_INFO_UNIX_USER_ID`
    pub const UNIX_USER_ID: &str = "unix_user_id";
    /// `VIR_CLIENT_INFO_UNIX_USER_NAME`
    pub const UNIX_USER_NAME: &str = "unix_user_name";
    /// `VIR_CLIENT_INFO_X509_DISTINGUISHED_NAME`
    pub const X509_DISTINGUISHED_NAME: &str = "tls_x509_dname";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_CLIENT_INFO_READONLY", READONLY),
        ("VIR_CLIENT_INFO_SASL_USER_NAME", SASL_USER_NAME),
        ("VIR_CLIENT_INFO_SELINUX_CONTEXT", SELINUX_CONTEXT),
        ("VIR_CLIENT_INFO_SOCKET_ADDR", SOCKET_ADDR),
        ("VIR_CLIENT_INFO_UNIX_GROUP_ID", UNIX_GROUP_ID),
        ("VIR_CLIENT_INFO_UNIX_GROUP_NAME", UNIX_GROUP_NAME),
        ("VIR_CLIENT_INFO_UNIX_PROCESS_ID", UNIX_PROCESS_ID),
        ("VIR_CLIENT_INFO_UNIX_USER_ID", UNIX_USER_ID),
        ("VIR_CLIENT_INFO_UNIX_USER_NAME", UNIX_USER_NAME),
        ("VIR_CLIENT_INFO_X509_DISTINGUISHED_NAME", X509_DISTINGUISHED_NAME),
    ];
}

/// Client limits of a server in the daemon.
pub mod client_limits {
    /// `VIR_SERVER_CLIENTS_CURRENT`
    pub const CURRENT: &str = "nclients";
    /// `VIR_SERVER_CLIENTS_MAX`
    pub const MAX: &str = "nclients_max";
    /// `VIR_SERVER_CLIENTS_UNAUTH_CURRENT`
    pub const UNAUTH_CURRENT: &str = "nclients_unauth";
    /// `VIR_SERVER_CLIENTS_UNAUTH_MAX`
    pub const UNAUTH_MAX: &str = "nclients_unauth_max";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_SERVER_CLIENTS_CURRENT", CURRENT),
        ("VIR_SERVER_CLIENTS_MAX", MAX),
        ("VIR_SERVER_CLIENTS_UNAUTH_CURRENT", UNAUTH_CURRENT),
        ("VIR_SERVER_CLIENTS_UNAUTH_MAX", UNAUTH_MAX),
    ];
}

/// Workers of a server in the daemon.
pub mod threadpool {
    /// `VIR_THREADPOOL_JOB_QUEUE_DEPTH`
    pub const JOB_QUEUE_DEPTH: &str = "jobQueueDepth";
    /// `VIR_THREADPOOL_WORKERS_CURRENT`
    pub const WORKERS_CURRENT: &str = "nWorkers";
    /// `VIR_THREADPOOL_WORKERS_FREE`
    pub const WORKERS_FREE: &str = "freeWorkers";
    /// `VIR_THREADPOOL_WORKERS_MAX`
    pub const WORKERS_MAX: &str = "maxWorkers";
    /// `VIR_THREADPOOL_WORKERS_MIN`
    pub const WORKERS_MIN: &str = "minWorkers";
    /// `VIR_THREADPOOL_WORKERS_PRIORITY`
    pub const WORKERS_PRIORITY: &str = "prioWorkers";

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, &str)] = &[
        ("VIR_THREADPOOL_JOB_QUEUE_DEPTH", JOB_QUEUE_DEPTH),
        ("VIR_THREADPOOL_WORKERS_CURRENT", WORKERS_CURRENT),
        ("VIR_THREADPOOL_WORKERS_FREE", WORKERS_FREE),
        ("VIR_THREADPOOL_WORKERS_MAX", WORKERS_MAX),
        ("VIR_THREADPOOL_WORKERS_MIN", WORKERS_MIN),
        ("VIR_THREADPOOL_WORKERS_PRIORITY", WORKERS_PRIORITY),
    ];
}

/// Sizes and limits of the public interface.
pub mod limits {
    /// `VIR_DOMAIN_BLKIO_FIELD_LENGTH`
    pub const DOMAIN_BLKIO_FIELD_LENGTH: u64 = 80;
    /// `VIR_DOMAIN_BLOCK_STATS_FIELD_LENGTH`
    pub const DOMAIN_BLOCK_STATS_FIELD_LENGTH: u64 = 80;
    /// `VIR_DOMAIN_MEMORY_FIELD_LENGTH`
    pub const DOMAIN_MEMORY_FIELD_LENGTH: u64 = 80;
    /// `VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`
    pub const DOMAIN_MEMORY_PARAM_UNLIMITED: u64 = 9007199254740991;
    /// `VIR_DOMAIN_SCHED_FIELD_LENGTH`
    pub const DOMAIN_SCHED_FIELD_LENGTH: u64 = 80;
    /// `VIR_DOMAIN_SEND_KEY_MAX_KEYS`
    pub const DOMAIN_SEND_KEY_MAX_KEYS: u64 = 16;
    /// `VIR_NODE_CPU_STATS_FIELD_LENGTH`
    pub const NODE_CPU_STATS_FIELD_LENGTH: u64 = 80;
    /// `VIR_NODE_MEMORY_STATS_FIELD_LENGTH`
    pub const NODE_MEMORY_STATS_FIELD_LENGTH: u64 = 80;
    /// `VIR_SECURITY_DOI_BUFLEN`
    pub const SECURITY_DOI_BUFLEN: u64 = 257;
    /// `VIR_SECURITY_LABEL_BUFLEN`
    pub const SECURITY_LABEL_BUFLEN: u64 = 4097;
    /// `VIR_SECURITY_MODEL_BUFLEN`
    pub const SECURITY_MODEL_BUFLEN: u64 = 257;
    /// `VIR_TYPED_PARAM_FIELD_LENGTH`
    pub const TYPED_PARAM_FIELD_LENGTH: u64 = 80;
    /// `VIR_UUID_BUFLEN`
    pub const UUID_BUFLEN: u64 = 16;
    /// `VIR_UUID_STRING_BUFLEN`
    pub const UUID_STRING_BUFLEN: u64 = 37;

    /// Every one: the name in C and the value.
    pub const ALL: &[(&str, u64)] = &[
        ("VIR_DOMAIN_BLKIO_FIELD_LENGTH", DOMAIN_BLKIO_FIELD_LENGTH),
        (
            "VIR_DOMAIN_BLOCK_STATS_FIELD_LENGTH",
            DOMAIN_BLOCK_STATS_FIELD_LENGTH,
        ),
        ("VIR_DOMAIN_MEMORY_FIELD_LENGTH", DOMAIN_MEMORY_FIELD_LENGTH),
        ("VIR_DOMAIN_MEMORY_PARAM_UNLIMITED", DOMAIN_MEMORY_PARAM_UNLIMITED),
        ("VIR_DOMAIN_SCHED_FIELD_LENGTH", DOMAIN_SCHED_FIELD_LENGTH),
        ("VIR_DOMAIN_SEND_KEY_MAX_KEYS", DOMAIN_SEND_KEY_MAX_KEYS),
        ("VIR_NODE_CPU_STATS_FIELD_LENGTH", NODE_CPU_STATS_FIELD_LENGTH),
        (
            "VIR_NODE_MEMORY_STATS_FIELD_LENGTH",
            NODE_MEMORY_STATS_FIELD_LENGTH,
        ),
        ("VIR_SECURITY_DOI_BUFLEN", SECURITY_DOI_BUFLEN),
        ("VIR_SECURITY_LABEL_BUFLEN", SECURITY_LABEL_BUFLEN),
        ("VIR_SECURITY_MODEL_BUFLEN", SECURITY_MODEL_BUFLEN),
        ("VIR_TYPED_PARAM_FIELD_LENGTH", TYPED_PARAM_FIELD_LENGTH),
        ("VIR_UUID_BUFLEN", UUID_BUFLEN),
        ("VIR_UUID_STRING_BUFLEN", UUID_STRING_BUFLEN),
    ];
}

/// Every family of typed parameters: the module and its names.
pub const FAMILIES: &[(&str, &[(&str, &str)])] = &[
    ("identity", identity::ALL),
    ("interface_bandwidth", interface_bandwidth::ALL),
    ("blkio", blkio::ALL),
    ("block_copy", block_copy::ALL),
    ("block_iotune", block_iotune::ALL),
    ("block_stats", block_stats::ALL),
    ("cpu_stats", cpu_stats::ALL),
    ("guest_info", guest_info::ALL),
    ("iothread", iothread::ALL),
    ("job_stats", job_stats::ALL),
    ("launch_security", launch_security::ALL),
    ("memory", memory::ALL),
    ("numa", numa::ALL),
    ("save", save::ALL),
    ("scheduler", scheduler::ALL),
    ("domain_stats", domain_stats::ALL),
    ("tunable", tunable::ALL),
    ("migration", migration::ALL),
    ("network_port_bandwidth", network_port_bandwidth::ALL),
    ("node_cpu_stats", node_cpu_stats::ALL),
    ("node_memory", node_memory::ALL),
    ("node_memory_stats", node_memory_stats::ALL),
    ("node_sev", node_sev::ALL),
    ("perf", perf::ALL),
    ("client_info", client_info::ALL),
    ("client_limits", client_limits::ALL),
    ("threadpool", threadpool::ALL),
];
