//! What a probe asks QEMU and which flag each answer sets: the tables behind [`super::probe`].

use super::flags::Flag;

/// Commands whose presence in the QAPI schema sets a flag.
pub(super) const COMMANDS: &[(&str, Flag)] = &[
    ("query-vnc", Flag::Vnc),
    ("rtc-reset-reinjection", Flag::RtcResetReinjection),
    ("query-cpu-model-expansion", Flag::QueryCpuModelExpansion),
    ("query-cpu-definitions", Flag::QueryCpuDefinitions),
    ("query-cpu-model-baseline", Flag::QueryCpuModelBaseline),
    ("query-cpu-model-comparison", Flag::QueryCpuModelComparison),
    ("set-action", Flag::SetAction),
    ("query-dirty-rate", Flag::QueryDirtyRate),
    ("sev-inject-launch-secret", Flag::SevInjectLaunchSecret),
    ("calc-dirty-rate", Flag::CalcDirtyRate),
    ("query-stats", Flag::QueryStats),
    ("query-stats-schemas", Flag::QueryStatsSchemas),
    ("display-reload", Flag::DisplayReload),
    ("blockdev-set-active", Flag::BlockdevSetActive),
];

/// Paths into the QAPI schema (syntax: [`super::qapi::Schema::query`]).
pub(super) const SCHEMA_QUERIES: &[(&str, Flag)] = &[
    (
        "blockdev-add/arg-type/+file/drop-cache",
        Flag::MigrationFileDropCache,
    ),
    ("blockdev-add/arg-type/+nvme", Flag::DriveNvme),
    ("blockdev-add/arg-type/+file/aio/^io_uring", Flag::AioIoUring),
    ("blockdev-add/arg-type/+rbd/encrypt", Flag::RbdEncryption),
    (
        "blockdev-add/arg-type/+rbd/encrypt/parent",
        Flag::RbdEncryptionLayering,
    ),
    (
        "blockdev-add/arg-type/+rbd/encrypt/format/^luks-any",
        Flag::RbdEncryptionLuksAny,
    ),
    (
        "blockdev-add/arg-type/+nbd/tls-hostname",
        Flag::BlockdevNbdTlsHostname,
    ),
    (
        "blockdev-add/arg-type/+qcow2/discard-no-unref",
        Flag::Qcow2DiscardNoUnref,
    ),
    (
        "blockdev-add/arg-type/+virtio-blk-vhost-vdpa/$fdset",
        Flag::DeviceVirtioBlkVhostVdpa,
    ),
    ("calc-dirty-rate/arg-type/mode", Flag::DirtyrateMode),
    (
        "chardev-add/arg-type/backend/+socket/data/reconnect",
        Flag::ChardevReconnect,
    ),
    (
        "chardev-add/arg-type/backend/+socket/data/reconnect-ms",
        Flag::ChardevReconnectMiliseconds,
    ),
    (
        "chardev-add/arg-type/backend/+qemu-vdagent",
        Flag::ChardevQemuVdagent,
    ),
    ("device_add/$json-cli-hotplug", Flag::DeviceJson),
    ("nbd-server-start/arg-type/tls-creds", Flag::NbdTls),
    ("netdev_add/arg-type/+stream", Flag::NetdevStream),
    (
        "netdev_add/arg-type/+stream/reconnect",
        Flag::NetdevStreamReconnect,
    ),
    ("netdev_add/arg-type/+vhost-vdpa", Flag::NetdevVhostVdpa),
    ("netdev_add/arg-type/type/^dgram", Flag::NetdevJson),
    ("netdev_add/arg-type/+user", Flag::NetdevUser),
    (
        "netdev_add/arg-type/+stream/reconnect-ms",
        Flag::NetdevStreamReconnectMiliseconds,
    ),
    (
        "object-add/arg-type/+sev-guest/kernel-hashes",
        Flag::SevGuestKernelHashes,
    ),
    (
        "object-add/arg-type/+iothread/thread-pool-max",
        Flag::IothreadThreadPoolMax,
    ),
    (
        "query-display-options/ret-type/+egl-headless/rendernode",
        Flag::EglHeadlessRendernode,
    ),
    ("query-display-options/ret-type/+sdl", Flag::Sdl),
    ("query-display-options/ret-type/+egl-headless", Flag::EglHeadless),
    ("query-display-options/ret-type/+dbus", Flag::DisplayDbus),
    ("query-hotpluggable-cpus/ret-type/props/die-id", Flag::SmpDies),
    (
        "query-hotpluggable-cpus/ret-type/props/cluster-id",
        Flag::SmpClusters,
    ),
    (
        "query-migrate/ret-type/blocked-reasons",
        Flag::MigrationBlockedReasons,
    ),
    ("screendump/arg-type/device", Flag::ScreendumpDevice),
    ("screendump/arg-type/format/^png", Flag::ScreenshotFormatPng),
    ("set-numa-node/arg-type/+hmat-lb", Flag::NumaHmat),
    (
        "query-cpu-model-expansion/ret-type/deprecated-props",
        Flag::QueryCpuModelExpansionDeprecatedProps,
    ),
    (
        "migrate-incoming/arg-type/exit-on-error",
        Flag::MigrateIncomingExitOnError,
    ),
];

/// QOM types whose presence sets a flag.
pub(super) const OBJECT_TYPES: &[(&str, Flag)] = &[
    ("hda-duplex", Flag::HdaDuplex),
    ("hda-micro", Flag::HdaMicro),
    ("ccid-card-emulated", Flag::CcidEmulated),
    ("ccid-card-passthru", Flag::CcidPassthru),
    ("piix3-usb-uhci", Flag::Piix3UsbUhci),
    ("piix4-usb-uhci", Flag::Piix4UsbUhci),
    ("usb-ehci", Flag::UsbEhci),
    ("ich9-usb-ehci1", Flag::Ich9UsbEhci1),
    ("vt82c686b-usb-uhci", Flag::Vt82c686bUsbUhci),
    ("pci-ohci", Flag::PciOhci),
    ("nec-usb-xhci", Flag::NecUsbXhci),
    ("usb-redir", Flag::UsbRedir),
    ("usb-hub", Flag::UsbHub),
    ("ich9-ahci", Flag::Ich9Ahci),
    ("virtio-blk-ccw", Flag::VirtioCcw),
    ("sclpconsole", Flag::DeviceSclpconsole),
    ("lsi53c895a", Flag::ScsiLsi),
    ("virtio-scsi-pci", Flag::VirtioScsi),
    ("virtio-scsi-ccw", Flag::VirtioScsi),
    ("virtio-scsi-device", Flag::VirtioScsi),
    ("megasas", Flag::ScsiMegasas),
    ("qxl", Flag::DeviceQxl),
    ("scsi-block", Flag::ScsiBlock),
    ("VGA", Flag::DeviceVga),
    ("cirrus-vga", Flag::DeviceCirrusVga),
    ("vmware-svga", Flag::DeviceVmwareSvga),
    ("usb-serial", Flag::DeviceUsbSerial),
    ("virtio-rng-pci", Flag::DeviceVirtioRng),
    ("virtio-rng-ccw", Flag::DeviceVirtioRng),
    ("virtio-rng-device", Flag::DeviceVirtioRng),
    ("rng-random", Flag::ObjectRngRandom),
    ("rng-egd", Flag::ObjectRngEgd),
    ("spapr-nvram", Flag::DeviceNvram),
    ("pci-bridge", Flag::DevicePciBridge),
    ("vfio-pci", Flag::DeviceVfioPci),
    ("i82801b11-bridge", Flag::DeviceDmiToPciBridge),
    ("usb-storage", Flag::DeviceUsbStorage),
    ("virtio-mmio", Flag::DeviceVirtioMmio),
    ("ich9-intel-hda", Flag::DeviceIch9IntelHda),
    ("pvpanic", Flag::DevicePanic),
    ("usb-kbd", Flag::DeviceUsbKbd),
    ("usb-audio", Flag::ObjectUsbAudio),
    ("pc-dimm", Flag::DevicePcDimm),
    ("pci-serial", Flag::DevicePciSerial),
    ("ioh3420", Flag::DeviceIoh3420),
    ("x3130-upstream", Flag::DeviceX3130Upstream),
    ("xio3130-downstream", Flag::DeviceXio3130Downstream),
    ("rtl8139", Flag::DeviceRtl8139),
    ("e1000", Flag::DeviceE1000),
    ("virtio-net-pci", Flag::DeviceVirtioNet),
    ("virtio-net-ccw", Flag::DeviceVirtioNet),
    ("virtio-net-device", Flag::DeviceVirtioNet),
    ("virtio-gpu-pci", Flag::DeviceVirtioGpu),
    ("virtio-gpu-device", Flag::DeviceVirtioGpu),
    ("virtio-vga", Flag::DeviceVirtioVga),
    ("virtio-keyboard-device", Flag::VirtioKeyboard),
    ("virtio-keyboard-pci", Flag::VirtioKeyboard),
    ("virtio-mouse-device", Flag::VirtioMouse),
    ("virtio-mouse-pci", Flag::VirtioMouse),
    ("virtio-tablet-device", Flag::VirtioTablet),
    ("virtio-tablet-pci", Flag::VirtioTablet),
    ("virtio-input-host-device", Flag::VirtioInputHost),
    ("virtio-input-host-pci", Flag::VirtioInputHost),
    ("mptsas1068", Flag::ScsiMptsas1068),
    ("pxb", Flag::DevicePxb),
    ("pxb-pcie", Flag::DevicePxbPcie),
    ("intel-iommu", Flag::DeviceIntelIommu),
    ("ivshmem-plain", Flag::DeviceIvshmemPlain),
    ("ivshmem-doorbell", Flag::DeviceIvshmemDoorbell),
    ("vhost-scsi", Flag::DeviceVhostScsi),
    ("nvdimm", Flag::DeviceNvdimm),
    ("pcie-root-port", Flag::DevicePcieRootPort),
    ("qemu-xhci", Flag::DeviceQemuXhci),
    ("spapr-pci-host-bridge", Flag::DeviceSpaprPciHostBridge),
    ("vmcoreinfo", Flag::DeviceVmcoreinfo),
    ("spapr-vty", Flag::DeviceSpaprVty),
    ("sclplmconsole", Flag::DeviceSclplmconsole),
    ("isa-serial", Flag::DeviceIsaSerial),
    ("pl011", Flag::DevicePl011),
    ("virtio-gpu-ccw", Flag::DeviceVirtioGpuCcw),
    ("virtio-keyboard-ccw", Flag::DeviceVirtioKeyboardCcw),
    ("virtio-mouse-ccw", Flag::DeviceVirtioMouseCcw),
    ("virtio-tablet-ccw", Flag::DeviceVirtioTabletCcw),
    ("pcie-pci-bridge", Flag::DevicePciePciBridge),
    ("pr-manager-helper", Flag::PrManagerHelper),
    ("vfio-ccw", Flag::DeviceVfioCcw),
    ("hda-output", Flag::HdaOutput),
    ("vmgenid", Flag::DeviceVmgenid),
    ("vhost-vsock-device", Flag::DeviceVhostVsock),
    ("mch", Flag::DeviceMch),
    ("sev-guest", Flag::SevGuest),
    ("vfio-ap", Flag::DeviceVfioAp),
    ("zpci", Flag::DeviceZpci),
    ("memory-backend-memfd", Flag::ObjectMemoryMemfd),
    ("virtio-blk-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-blk-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-net-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-net-pci-non-transitional", Flag::VirtioPciTransitional),
    ("vhost-scsi-pci-transitional", Flag::VirtioPciTransitional),
    ("vhost-scsi-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-rng-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-rng-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-9p-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-9p-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-balloon-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-balloon-pci-non-transitional", Flag::VirtioPciTransitional),
    ("vhost-vsock-pci-transitional", Flag::VirtioPciTransitional),
    ("vhost-vsock-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-scsi-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-scsi-pci-non-transitional", Flag::VirtioPciTransitional),
    ("virtio-serial-pci-transitional", Flag::VirtioPciTransitional),
    ("virtio-serial-pci-non-transitional", Flag::VirtioPciTransitional),
    ("max-x86_64-cpu", Flag::X86MaxCpu),
    ("bochs-display", Flag::DeviceBochsDisplay),
    ("dbus-vmstate", Flag::DbusVmstate),
    ("vhost-user-gpu", Flag::DeviceVhostUserGpu),
    ("vhost-user-vga", Flag::DeviceVhostUserVga),
    ("ramfb", Flag::DeviceRamfb),
    ("max-arm-cpu", Flag::ArmMaxCpu),
    ("i8042", Flag::DeviceI8042),
    ("rng-builtin", Flag::ObjectRngBuiltin),
    ("tpm-spapr", Flag::DeviceTpmSpapr),
    ("vhost-user-fs-device", Flag::DeviceVhostUserFs),
    ("tcg-accel", Flag::Tcg),
    ("pvscsi", Flag::ScsiPvscsi),
    ("spapr-tpm-proxy", Flag::DeviceSpaprTpmProxy),
    ("vmport", Flag::MachineVmportOpt),
    ("dc390", Flag::ScsiDc390),
    ("am53c974", Flag::ScsiAm53c974),
    ("virtio-pmem-pci", Flag::DeviceVirtioPmemPci),
    ("vhost-user-blk", Flag::DeviceVhostUserBlk),
    ("input-linux", Flag::InputLinux),
    ("virtio-gpu-gl-pci", Flag::VirtioGpuGlPci),
    ("virtio-vga-gl", Flag::VirtioVgaGl),
    ("s390-pv-guest", Flag::S390PvGuest),
    ("virtio-mem-pci", Flag::DeviceVirtioMemPci),
    ("virtio-iommu-pci", Flag::DeviceVirtioIommuPci),
    ("sgx-epc", Flag::SgxEpc),
    ("thread-context", Flag::ThreadContext),
    ("virtio-crypto-pci", Flag::DeviceVirtioCrypto),
    ("virtio-crypto-device", Flag::DeviceVirtioCrypto),
    ("cryptodev-backend-lkcf", Flag::ObjectCryptoLkcf),
    ("pvpanic-pci", Flag::DevicePanicPci),
    ("usb-mtp", Flag::DeviceUsbMtp),
    ("virtio-sound-pci", Flag::DeviceVirtioSound),
    ("virtio-sound-device", Flag::DeviceVirtioSound),
    ("sev-snp-guest", Flag::SevSnpGuest),
    ("acpi-erst", Flag::DeviceAcpiErst),
    ("virtio-mem-ccw", Flag::DeviceVirtioMemCcw),
];

/// Migration capabilities that set a flag.
pub(super) const MIGRATION_CAPABILITIES: &[(&str, Flag)] = &[("rdma-pin-all", Flag::MigrateRdma)];

/// Command line options, or parameters of options, that set a flag.
pub(super) const COMMAND_LINE: &[(&str, Option<&str>, Flag)] = &[
    ("fsdev", Some("multidevs"), Flag::FsdevMultidevs),
    ("machine", Some("hpet"), Flag::MachineHpet),
    ("sandbox", None, Flag::SeccompSandbox),
    ("spice", None, Flag::Spice),
    ("spice", Some("gl"), Flag::SpiceGl),
    ("spice", Some("rendernode"), Flag::SpiceRendernode),
    ("vnc", Some("power-control"), Flag::VncPowerControl),
    ("run-with", Some("async-teardown"), Flag::RunWithAsyncTeardown),
];

/// One type whose properties are listed, if the condition flag is set (or there is none).
pub(super) struct TypeProperties {
    pub(super) type_name: &'static str,
    pub(super) condition: Option<Flag>,
    pub(super) properties: &'static [(&'static str, Flag)],
}

/// Device types and the properties that set flags, in the order in which they are asked for.
pub(super) const DEVICE_PROPERTIES: &[TypeProperties] = &[
    TypeProperties {
        type_name: "virtio-blk-pci",
        condition: None,
        properties: &[
            ("scsi", Flag::VirtioBlkScsi),
            ("queue-size", Flag::VirtioBlkQueueSize),
            ("acpi-index", Flag::AcpiIndex),
            ("iothread-vq-mapping", Flag::VirtioBlkIothreadMapping),
        ],
    },
    TypeProperties {
        type_name: "virtio-net-pci",
        condition: Some(Flag::DeviceVirtioNet),
        properties: &[("acpi-index", Flag::AcpiIndex), ("rss", Flag::VirtioNetRss)],
    },
    TypeProperties {
        type_name: "virtio-scsi-pci",
        condition: Some(Flag::VirtioScsi),
        properties: &[
            ("acpi-index", Flag::AcpiIndex),
            ("iothread-vq-mapping", Flag::VirtioScsiIothreadMapping),
        ],
    },
    TypeProperties {
        type_name: "virtio-blk-ccw",
        condition: Some(Flag::VirtioCcw),
        properties: &[
            ("scsi", Flag::VirtioBlkScsi),
            ("queue-size", Flag::VirtioBlkQueueSize),
            ("acpi-index", Flag::AcpiIndex),
            ("iothread-vq-mapping", Flag::VirtioBlkIothreadMapping),
        ],
    },
    TypeProperties {
        type_name: "virtio-net-ccw",
        condition: Some(Flag::DeviceVirtioNet),
        properties: &[("acpi-index", Flag::AcpiIndex), ("rss", Flag::VirtioNetRss)],
    },
    TypeProperties {
        type_name: "virtio-scsi-ccw",
        condition: Some(Flag::VirtioScsi),
        properties: &[
            ("acpi-index", Flag::AcpiIndex),
            ("iothread-vq-mapping", Flag::VirtioScsiIothreadMapping),
        ],
    },
    TypeProperties {
        type_name: "vfio-pci",
        condition: Some(Flag::DeviceVfioPci),
        properties: &[],
    },
    TypeProperties {
        type_name: "scsi-hd",
        condition: None,
        properties: &[
            ("channel", Flag::ScsiDiskChannel),
            ("rotation_rate", Flag::RotationRate),
        ],
    },
    TypeProperties {
        type_name: "ide-hd",
        condition: None,
        properties: &[],
    },
    TypeProperties {
        type_name: "PIIX4_PM",
        condition: None,
        properties: &[("acpi-root-pci-hotplug", Flag::Piix4AcpiRootPciHotplug)],
    },
    TypeProperties {
        type_name: "usb-redir",
        condition: Some(Flag::UsbRedir),
        properties: &[("filter", Flag::UsbRedirFilter)],
    },
    TypeProperties {
        type_name: "usb-storage",
        condition: Some(Flag::DeviceUsbStorage),
        properties: &[],
    },
    TypeProperties {
        type_name: "kvm-pit",
        condition: None,
        properties: &[("lost_tick_policy", Flag::KvmPitTickPolicy)],
    },
    TypeProperties {
        type_name: "VGA",
        condition: Some(Flag::DeviceVga),
        properties: &[("vgamem_mb", Flag::VgaVgamem)],
    },
    TypeProperties {
        type_name: "vmware-svga",
        condition: Some(Flag::DeviceVmwareSvga),
        properties: &[("vgamem_mb", Flag::VmwareSvgaVgamem)],
    },
    TypeProperties {
        type_name: "qxl",
        condition: Some(Flag::DeviceQxl),
        properties: &[
            ("vgamem_mb", Flag::QxlVgamem),
            ("vram64_size_mb", Flag::QxlVram64),
        ],
    },
    TypeProperties {
        type_name: "virtio-gpu-pci",
        condition: Some(Flag::DeviceVirtioGpu),
        properties: &[
            ("virgl", Flag::VirtioGpuVirgl),
            ("acpi-index", Flag::AcpiIndex),
            ("blob", Flag::VirtioGpuBlob),
        ],
    },
    TypeProperties {
        type_name: "virtio-gpu-device",
        condition: Some(Flag::DeviceVirtioGpu),
        properties: &[
            ("virgl", Flag::VirtioGpuVirgl),
            ("acpi-index", Flag::AcpiIndex),
            ("blob", Flag::VirtioGpuBlob),
        ],
    },
    TypeProperties {
        type_name: "ICH9-LPC",
        condition: None,
        properties: &[],
    },
    TypeProperties {
        type_name: "virtio-balloon-pci",
        condition: None,
        properties: &[
            ("deflate-on-oom", Flag::VirtioBalloonAutodeflate),
            ("free-page-reporting", Flag::VirtioBalloonFreePageReporting),
            ("acpi-index", Flag::AcpiIndex),
        ],
    },
    TypeProperties {
        type_name: "virtio-balloon-ccw",
        condition: None,
        properties: &[
            ("deflate-on-oom", Flag::VirtioBalloonAutodeflate),
            ("free-page-reporting", Flag::VirtioBalloonFreePageReporting),
            ("acpi-index", Flag::AcpiIndex),
        ],
    },
    TypeProperties {
        type_name: "virtio-balloon-device",
        condition: None,
        properties: &[
            ("deflate-on-oom", Flag::VirtioBalloonAutodeflate),
            ("free-page-reporting", Flag::VirtioBalloonFreePageReporting),
            ("acpi-index", Flag::AcpiIndex),
        ],
    },
    TypeProperties {
        type_name: "intel-iommu",
        condition: Some(Flag::DeviceIntelIommu),
        properties: &[
            ("intremap", Flag::IntelIommuIntremap),
            ("caching-mode", Flag::IntelIommuCachingMode),
            ("eim", Flag::IntelIommuEim),
            ("device-iotlb", Flag::IntelIommuDeviceIotlb),
            ("aw-bits", Flag::IntelIommuAwBits),
            ("dma-translation", Flag::IntelIommuDmaTranslation),
        ],
    },
    TypeProperties {
        type_name: "spapr-pci-host-bridge",
        condition: Some(Flag::DeviceSpaprPciHostBridge),
        properties: &[("numa_node", Flag::SpaprPciHostBridgeNumaNode)],
    },
    TypeProperties {
        type_name: "virtio-gpu-ccw",
        condition: Some(Flag::DeviceVirtioGpuCcw),
        properties: &[
            ("virgl", Flag::VirtioGpuVirgl),
            ("acpi-index", Flag::AcpiIndex),
            ("blob", Flag::VirtioGpuBlob),
        ],
    },
    TypeProperties {
        type_name: "mch",
        condition: Some(Flag::DeviceMch),
        properties: &[("extended-tseg-mbytes", Flag::MchExtendedTsegMbytes)],
    },
    TypeProperties {
        type_name: "nvdimm",
        condition: Some(Flag::DeviceNvdimm),
        properties: &[("unarmed", Flag::DeviceNvdimmUnarmed)],
    },
    TypeProperties {
        type_name: "pcie-root-port",
        condition: Some(Flag::DevicePcieRootPort),
        properties: &[("hotplug", Flag::PcieRootPortHotplug)],
    },
    TypeProperties {
        type_name: "usb-host",
        condition: None,
        properties: &[
            ("hostdevice", Flag::UsbHostHostdevice),
            ("guest-resets-all", Flag::UsbHostGuestsResetsAll),
        ],
    },
    TypeProperties {
        type_name: "vhost-user-fs-device",
        condition: Some(Flag::DeviceVhostUserFs),
        properties: &[("bootindex", Flag::VhostUserFsBootindex)],
    },
    TypeProperties {
        type_name: "virtio-mem-pci",
        condition: Some(Flag::DeviceVirtioMemPci),
        properties: &[
            ("prealloc", Flag::DeviceVirtioMemPciPrealloc),
            ("dynamic-memslots", Flag::DeviceVirtioMemPciDynamicMemslots),
        ],
    },
    TypeProperties {
        type_name: "virtio-iommu-pci",
        condition: Some(Flag::DeviceVirtioIommuPci),
        properties: &[("boot-bypass", Flag::VirtioIommuBootBypass)],
    },
    TypeProperties {
        type_name: "virtio-blk-ccw",
        condition: Some(Flag::VirtioCcw),
        properties: &[("loadparm", Flag::VirtioCcwDeviceLoadparm)],
    },
];

/// QOM types other than devices.
pub(super) const OBJECT_PROPERTIES: &[TypeProperties] = &[
    TypeProperties {
        type_name: "memory-backend-file",
        condition: None,
        properties: &[
            ("pmem", Flag::ObjectMemoryFilePmem),
            (
                "x-use-canonical-path-for-ramblock-id",
                Flag::XUseCanonicalPathForRamblockId,
            ),
            ("reserve", Flag::MemoryBackendReserve),
            ("prealloc-threads", Flag::MemoryBackendPreallocThreads),
        ],
    },
    TypeProperties {
        type_name: "memory-backend-memfd",
        condition: Some(Flag::ObjectMemoryMemfd),
        properties: &[("hugetlb", Flag::ObjectMemoryMemfdHugetlb)],
    },
    TypeProperties {
        type_name: "max-x86_64-cpu",
        condition: Some(Flag::X86MaxCpu),
        properties: &[
            ("unavailable-features", Flag::CpuUnavailableFeatures),
            ("kvm-no-adjvtime", Flag::CpuKvmNoAdjvtime),
            ("migratable", Flag::CpuMigratable),
        ],
    },
    TypeProperties {
        type_name: "max-arm-cpu",
        condition: Some(Flag::ArmMaxCpu),
        properties: &[
            ("unavailable-features", Flag::CpuUnavailableFeatures),
            ("kvm-no-adjvtime", Flag::CpuKvmNoAdjvtime),
            ("migratable", Flag::CpuMigratable),
        ],
    },
];

/// Machine types (by alias), asked for where the binary has them.
pub(super) const MACHINE_PROPERTIES: &[TypeProperties] = &[
    TypeProperties {
        type_name: "pseries",
        condition: None,
        properties: &[],
    },
    TypeProperties {
        type_name: "virt",
        condition: None,
        properties: &[
            ("iommu", Flag::MachineVirtIommu),
            ("ras", Flag::MachineVirtRas),
            ("aia", Flag::MachineVirtAia),
        ],
    },
    TypeProperties {
        type_name: "none",
        condition: None,
        properties: &[
            ("confidential-guest-support", Flag::MachineConfidentalGuestSupport),
            ("shim", Flag::MachineShim),
        ],
    },
    TypeProperties {
        type_name: "generic-pc",
        condition: None,
        properties: &[("i8042", Flag::MachineI8042Opt)],
    },
];
