//! What a guest boots, sees and is allowed.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, any, maybe, one, shape, some};

use super::super::common::{SCALED, rule};
use super::source::HOLDER;
use crate::forms::{self, TEXT};

const KERNEL: &[Part] = &[
    maybe("kernel").is(forms::ABSOLUTE_PATH),
    maybe("initrd").is(forms::ABSOLUTE_PATH),
    maybe("root").is(forms::ABSOLUTE_PATH),
    maybe("cmdline").is(TEXT),
    maybe("shim").is(TEXT),
    maybe("dtb").is(forms::ABSOLUTE_PATH),
];
const TYPE: &[Part] = &[one("type")];
const IMAGE_FORMAT: Form = words!("raw", "qcow2");
const NVRAM: &[Part] = &[
    maybe("@template").is(forms::ABSOLUTE_PATH),
    maybe("@templateFormat").is(IMAGE_FORMAT),
    maybe("@format").is(IMAGE_FORMAT),
];

/// What is booted, the clock, firmware tables, encrypted guests.
pub(in super::super) const SHAPES: &[Shape] = &[
    shape("os", &[TYPE, KERNEL]).when(&[("type", &["xen", "linux", "xenpvh"])]),
    shape(
        "os",
        &[
            TYPE,
            KERNEL,
            &[
                maybe("@firmware").is(words!("bios", "efi")),
                maybe("firmware"),
                maybe("loader"),
                maybe("nvram"),
                any("boot"),
                maybe("bootmenu"),
                maybe("smbios"),
                maybe("bios"),
                maybe("acpi"),
            ],
        ],
    )
    .when(&[("type?", &["hvm"])]),
    shape(
        "os",
        &[
            TYPE,
            &[
                maybe("init").is(forms::ABSOLUTE_PATH),
                any("initarg").is(TEXT),
                any("initenv"),
                maybe("initdir").is(forms::ABSOLUTE_PATH),
                maybe("inituser").is(forms::GENERIC_NAME),
                maybe("initgroup").is(forms::GENERIC_NAME),
            ],
        ],
    )
    .when(&[
        ("type", &["exe"]),
        ("../bootloader", ABSENT),
        ("../bootloader_args", ABSENT),
    ]),
    shape(
        "os/type",
        &[&[
            maybe("@arch").is(words!("i686", "x86_64", "ia64")),
            maybe("@machine").is(words!("xenpv", "xenfv", "xenpvh")),
            one("text()").is(words!("xen", "linux", "xenpvh")),
        ]],
    )
    .when(&[("../type", &["xen", "linux", "xenpvh"])]),
    shape(
        "os/type",
        &[&[
            maybe("@arch").is(forms::ARCH),
            maybe("@machine").is(forms::MACHINE),
            one("text()").is(words!("hvm", "xen", "linux", "xenpvh", "exe")),
        ]],
    )
    .when(&[("../type", &["hvm"])]),
    shape(
        "os/type",
        &[&[maybe("@arch").is(forms::ARCH), one("text()").is(words!("exe"))]],
    )
    .when(&[("../type", &["exe"])]),
    shape("os/firmware", &[&[some("feature")]]),
    shape(
        "firmware/feature",
        &[&[
            one("@enabled").is(forms::YES_NO),
            one("@name").is(words!("enrolled-keys", "secure-boot")),
        ]],
    ),
    shape(
        "os/loader",
        &[&[
            maybe("@readonly").is(forms::YES_NO),
            maybe("@secure").is(forms::YES_NO),
            maybe("@type").is(words!("rom", "pflash")),
            maybe("@stateless").is(forms::YES_NO),
            maybe("@format").is(IMAGE_FORMAT),
            maybe("text()").is(forms::ABSOLUTE_PATH),
        ]],
    ),
    shape("os/nvram", &[NVRAM, &[maybe("text()").is(forms::ABSOLUTE_PATH)]])
        .when(&[("@type", ABSENT), ("source", ABSENT)]),
    shape("os/nvram", &[NVRAM, HOLDER]).when(&[("@type", PRESENT), ("source", ABSENT)]),
    shape("os/nvram", &[NVRAM, HOLDER]).when(&[("source", PRESENT)]),
    shape(
        "os/boot",
        &[&[one("@dev").is(words!("hd", "fd", "cdrom", "network"))]],
    ),
    shape(
        "os/bootmenu",
        &[&[
            one("@enable").is(forms::YES_NO),
            maybe("@timeout").is(forms::UNSIGNED_SHORT),
        ]],
    ),
    shape(
        "os/smbios",
        &[&[one("@mode").is(words!("emulate", "host", "sysinfo"))]],
    ),
    shape(
        "os/bios",
        &[&[
            maybe("@useserial").is(forms::YES_NO),
            maybe("@rebootTimeout").is(forms::REBOOT_DELAY),
        ]],
    ),
    shape("os/acpi", &[&[any("table")]]),
    shape(
        "acpi/table",
        &[&[
            one("@type").is(words!("raw", "rawset", "slic", "msdm")),
            one("text()").is(forms::ABSOLUTE_PATH),
        ]],
    ),
    shape(
        "os/initenv",
        &[&[one("@name").is(forms::ENVIRONMENT_NAME), one("text()").is(TEXT)]],
    ),
    shape(
        "clock",
        &[TIMERS, &[maybe("@adjustment").is(forms::TIME_DELTA_OR_RESET)]],
    )
    .when(&[("@offset", &["localtime", "utc"])]),
    shape("clock", &[TIMERS, &[maybe("@timezone").is(forms::TIME_ZONE)]]).when(&[("@offset", &["timezone"])]),
    shape(
        "clock",
        &[
            TIMERS,
            &[
                maybe("@adjustment").is(forms::TIME_DELTA),
                maybe("@basis").is(words!("utc", "localtime")),
            ],
        ],
    )
    .when(&[("@offset", &["variable"])]),
    shape("clock", &[TIMERS, &[one("@start").is(forms::UNSIGNED_LONG)]]).when(&[("@offset", &["absolute"])]),
    shape(
        "timer",
        &[
            TIMER,
            TICKS,
            &[maybe("@track").is(words!("boot", "guest", "wall", "realtime"))],
        ],
    )
    .when(&[("@name", &["platform", "rtc"])]),
    shape(
        "timer",
        &[
            TIMER,
            TICKS,
            &[
                maybe("@frequency").is(forms::UNSIGNED_LONG),
                maybe("@mode").is(words!("auto", "native", "emulate", "paravirt", "smpsafe")),
            ],
        ],
    )
    .when(&[("@name", &["tsc"])]),
    shape("timer", &[TIMER, TICKS]).when(&[("@name", &["hpet", "pit", "armvtimer"])]),
    shape("timer", &[TIMER]).when(&[("@name", &["kvmclock", "hypervclock"])]),
    shape(
        "timer/catchup",
        &[&[
            maybe("@threshold").is(forms::UNSIGNED_INT),
            maybe("@slew").is(forms::UNSIGNED_INT),
            maybe("@limit").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "sysinfo",
        &[&[
            maybe("bios"),
            maybe("system"),
            any("baseBoard"),
            maybe("chassis"),
            maybe("oemStrings"),
        ]],
    )
    .when(&[("@type", &["smbios"])]),
    shape("sysinfo", &[&[any("entry")]]).when(&[("@type", &["fwcfg"])]),
    shape("sysinfo/entry", &[&[one("@name")]]).when(&[("@file", PRESENT)]),
    shape("sysinfo/entry", &[&[one("@name"), one("text()").is(TEXT)]]).when(&[("@file", ABSENT)]),
    shape("sysinfo/bios", &[&[some("entry")]]),
    shape("sysinfo/system", &[&[some("entry")]]),
    shape("sysinfo/baseBoard", &[&[some("entry")]]),
    shape("sysinfo/chassis", &[&[some("entry")]]),
    shape("sysinfo/oemStrings", &[&[some("entry").is(TEXT)]]),
    shape(
        "bios/entry",
        &[&[
            one("@name").is(words!("vendor", "version", "date", "release")),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "system/entry",
        &[&[
            one("@name").is(words!(
                "manufacturer",
                "product",
                "version",
                "serial",
                "uuid",
                "sku",
                "family"
            )),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "baseBoard/entry",
        &[&[
            one("@name").is(words!(
                "manufacturer",
                "product",
                "version",
                "serial",
                "asset",
                "location"
            )),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "chassis/entry",
        &[&[
            one("@name").is(words!("manufacturer", "version", "serial", "asset", "sku")),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "launchSecurity",
        &[
            SEV,
            &[
                maybe("handle").is(forms::UNSIGNED_INT),
                maybe("dhCert").is(TEXT),
                maybe("session").is(TEXT),
            ],
        ],
    )
    .when(&[("@type", &["sev"])]),
    shape(
        "launchSecurity",
        &[
            SEV,
            &[
                maybe("@authorKey").is(forms::YES_NO),
                maybe("@vcek").is(forms::YES_NO),
                maybe("guestVisibleWorkarounds").is(TEXT),
                maybe("idBlock").is(TEXT),
                maybe("idAuth").is(TEXT),
                maybe("hostData").is(TEXT),
            ],
        ],
    )
    .when(&[("@type", &["sev-snp"])]),
    shape("launchSecurity", &[]).when(&[("@type", &["s390-pv"])]),
];

const TIMERS: &[Part] = &[any("timer")];
const TIMER: &[Part] = &[maybe("@present").is(forms::YES_NO)];
const TICKS: &[Part] = &[
    maybe("@tickpolicy").is(words!("delay", "merge", "discard", "catchup")),
    maybe("catchup"),
];
const SEV: &[Part] = &[
    maybe("@kernelHashes").is(forms::YES_NO),
    maybe("cbitpos").is(forms::SPACED_INT),
    maybe("reducedPhysBits").is(forms::SPACED_INT),
    one("policy").is(forms::HEX_UINT),
];

const STATE: &[Part] = &[one("@state").is(forms::ON_OFF)];
const MAYBE_STATE: &[Part] = &[maybe("@state").is(forms::ON_OFF)];
const MITIGATION: &[Part] = &[one("@value").is(words!("broken", "workaround", "fixed"))];

/// `<features>`.
pub(in super::super) const FEATURES: &[Shape] = &[
    shape("domain/features", &[FEATURE_PARTS]),
    shape("inactiveDomain/features", &[FEATURE_PARTS]),
    shape("features/apic", &[&[maybe("@eoi").is(forms::ON_OFF)]]),
    // Here it is nothing but a switch; devices have something else of this name.
    shape("features/acpi", &[]),
    shape("features/hap", &[MAYBE_STATE]),
    shape("features/pvspinlock", &[MAYBE_STATE]),
    shape("features/pmu", &[MAYBE_STATE]),
    shape("features/vmport", &[MAYBE_STATE]),
    shape("features/vmcoreinfo", &[MAYBE_STATE]),
    shape("features/htm", &[STATE]),
    shape("features/nested-hv", &[STATE]),
    shape("features/ccf-assist", &[STATE]),
    shape("features/ras", &[STATE]),
    shape("features/ps2", &[STATE]),
    shape(
        "features/gic",
        &[&[maybe("@version").is(words!("host", "2", "3"))]],
    ),
    shape("features/smm", &[STATE, &[maybe("tseg")]]).when(&[("@state", PRESENT)]),
    shape("features/smm", &[]).when(&[("@state", ABSENT)]),
    shape("smm/tseg", &[SCALED]),
    shape("features/ioapic", &[&[one("@driver").is(words!("qemu", "kvm"))]]),
    shape(
        "features/hpt",
        &[&[
            maybe("@resizing").is(words!("enabled", "disabled", "required")),
            maybe("maxpagesize"),
        ]],
    ),
    shape("hpt/maxpagesize", &[SCALED]),
    shape(
        "features/msrs",
        &[&[one("@unknown").is(words!("ignore", "fault"))]],
    ),
    shape("features/cfpc", &[MITIGATION]),
    shape("features/sbbc", &[MITIGATION]),
    shape(
        "features/ibs",
        &[&[one("@value").is(words!(
            "broken",
            "workaround",
            "fixed-ibs",
            "fixed-ccd",
            "fixed-na"
        ))]],
    ),
    shape("features/tcg", &[&[maybe("tb-cache")]]),
    shape("tcg/tb-cache", &[SCALED]),
    shape(
        "features/async-teardown",
        &[&[maybe("@enabled").is(forms::YES_NO)]],
    ),
    shape(
        "features/aia",
        &[&[one("@value").is(words!("none", "aplic", "aplic-imsic"))]],
    ),
    shape("features/hyperv", &[]).when(&[("@mode", &["passthrough"])]),
    shape(
        "features/hyperv",
        &[&[
            maybe("relaxed"),
            maybe("vapic"),
            maybe("spinlocks"),
            maybe("vpindex"),
            maybe("runtime"),
            maybe("synic"),
            maybe("stimer"),
            maybe("reset"),
            maybe("vendor_id"),
            maybe("frequencies"),
            maybe("reenlightenment"),
            maybe("tlbflush"),
            maybe("ipi"),
            maybe("evmcs"),
            maybe("avic"),
            maybe("emsr_bitmap"),
            maybe("xmm_input"),
        ]],
    )
    .when(&[("@mode?", &["custom"])]),
    shape("hyperv/relaxed", &[STATE]),
    shape("hyperv/vapic", &[STATE]),
    shape(
        "hyperv/spinlocks",
        &[STATE, &[maybe("@retries").is(forms::SPACED_INT)]],
    ),
    shape("hyperv/vpindex", &[STATE]),
    shape("hyperv/runtime", &[STATE]),
    shape("hyperv/synic", &[STATE]),
    shape("hyperv/stimer", &[MAYBE_STATE, &[maybe("direct")]]),
    shape("stimer/direct", &[STATE]),
    shape("hyperv/reset", &[STATE]),
    shape(
        "hyperv/vendor_id",
        &[STATE, &[maybe("@value").is(forms::HYPERV_VENDOR)]],
    ),
    shape("hyperv/frequencies", &[STATE]),
    shape("hyperv/reenlightenment", &[STATE]),
    shape(
        "hyperv/tlbflush",
        &[MAYBE_STATE, &[maybe("direct"), maybe("extended")]],
    ),
    shape("tlbflush/direct", &[STATE]),
    shape("tlbflush/extended", &[STATE]),
    shape("hyperv/ipi", &[STATE]),
    shape("hyperv/evmcs", &[STATE]),
    shape("hyperv/avic", &[STATE]),
    shape("hyperv/emsr_bitmap", &[STATE]),
    shape("hyperv/xmm_input", &[STATE]),
    shape(
        "features/kvm",
        &[&[
            maybe("hidden"),
            maybe("hint-dedicated"),
            maybe("poll-control"),
            maybe("pv-ipi"),
            maybe("dirty-ring"),
        ]],
    ),
    shape("kvm/hidden", &[STATE]),
    shape("kvm/hint-dedicated", &[STATE]),
    shape("kvm/poll-control", &[STATE]),
    shape("kvm/pv-ipi", &[STATE]),
    shape(
        "kvm/dirty-ring",
        &[STATE, &[maybe("@size").is(forms::SPACED_INT)]],
    ),
    shape("features/xen", &[&[maybe("e820_host"), maybe("passthrough")]]),
    shape("xen/e820_host", &[STATE]),
    shape(
        "xen/passthrough",
        &[STATE, &[maybe("@mode").is(forms::XEN_PASSTHROUGH)]],
    ),
    shape(
        "features/capabilities",
        &[
            &[one("@policy").is(words!("default", "allow", "deny"))],
            CAPABILITIES,
        ],
    ),
    shape("capabilities/*", &[STATE]),
];

const FEATURE_PARTS: &[Part] = &[
    maybe("pae"),
    maybe("apic"),
    maybe("acpi"),
    maybe("hap"),
    maybe("hyperv"),
    maybe("viridian"),
    maybe("kvm"),
    maybe("xen"),
    maybe("privnet"),
    maybe("pvspinlock"),
    maybe("capabilities"),
    maybe("pmu"),
    maybe("vmport"),
    maybe("gic"),
    maybe("smm"),
    maybe("ioapic"),
    maybe("hpt"),
    maybe("vmcoreinfo"),
    maybe("htm"),
    maybe("nested-hv"),
    maybe("msrs"),
    maybe("ccf-assist"),
    maybe("cfpc"),
    maybe("sbbc"),
    maybe("ibs"),
    maybe("tcg"),
    maybe("async-teardown"),
    maybe("ras"),
    maybe("ps2"),
    maybe("aia"),
];

/// What the root of a container may do.
const CAPABILITIES: &[Part] = &[
    maybe("audit_control"),
    maybe("audit_write"),
    maybe("block_suspend"),
    maybe("chown"),
    maybe("dac_override"),
    maybe("dac_read_search"),
    maybe("fowner"),
    maybe("fsetid"),
    maybe("ipc_lock"),
    maybe("ipc_owner"),
    maybe("kill"),
    maybe("lease"),
    maybe("linux_immutable"),
    maybe("mac_admin"),
    maybe("mac_override"),
    maybe("mknod"),
    maybe("net_admin"),
    maybe("net_bind_service"),
    maybe("net_broadcast"),
    maybe("net_raw"),
    maybe("setgid"),
    maybe("setfcap"),
    maybe("setpcap"),
    maybe("setuid"),
    maybe("sys_admin"),
    maybe("sys_boot"),
    maybe("sys_chroot"),
    maybe("sys_module"),
    maybe("sys_nice"),
    maybe("sys_pacct"),
    maybe("sys_ptrace"),
    maybe("sys_rawio"),
    maybe("sys_resource"),
    maybe("sys_time"),
    maybe("sys_tty_config"),
    maybe("syslog"),
    maybe("wake_alarm"),
];

pub(in super::super) const RULES: &[Rule] = &[
    rule(
        "os",
        &[("type", &["exe"])],
        Must::HaveTogether(&["inituser", "initgroup"]),
    ),
    rule(
        "os/nvram",
        &[("@template", ABSENT)],
        Must::NotHave(&["@templateFormat"]),
    ),
    rule(
        "os/nvram",
        &[("@type", &["network", "vhostuser", "vhostvdpa"])],
        Must::Have(&["source"]),
    ),
    rule(
        "launchSecurity",
        &[],
        Must::InOrder(&[&["cbitpos"], &["reducedPhysBits"]]),
    ),
    rule("timer", &[("@tickpolicy", ABSENT)], Must::NotHave(&["catchup"])),
    rule(
        "timer",
        &[("@tickpolicy", &["delay", "merge", "discard"])],
        Must::NotHave(&["catchup"]),
    ),
];
