//! The schemas of processors, and of what a host and its domains can do.

use virt_util::words;
use virt_util::xml::rules::{ABSENT, Form, Must, PRESENT, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{SCALED, rule};
use crate::forms::{self, TEXT};

/// Processors of hosts and guests.
pub(super) const CPU: Table = Table {
    shapes: &[CPU_SHAPES, NUMA_SHAPES],
    rules: &[],
    namespaces: &[],
};

/// What a host can do.
pub(super) const CAPABILITIES: Table = Table {
    shapes: &[CPU_SHAPES, NUMA_SHAPES, HOST_SHAPES, GUEST_SHAPES],
    rules: &[HOST_RULES],
    namespaces: &[],
};

/// What domains of one kind can do.
pub(super) const DOMAIN_CAPABILITIES: Table = Table {
    shapes: &[CPU_SHAPES, DOMAIN_CAPABILITIES_SHAPES],
    rules: &[DOMAIN_CAPABILITIES_RULES],
    namespaces: &[],
};

const FEATURE_NAME: Form = Form {
    says: "letters, digits, '-', '_' and '.'",
    fits: |text| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    },
};

const HOST_FEATURE_NAME: Form = Form {
    says: "letters, digits, '-' and '_'",
    fits: |text| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    },
};

const VENDOR_ID: Form = Form {
    says: "twelve characters, none a comma",
    fits: |text| text.chars().count() == 12 && !text.contains(','),
};

const DISTANCE: Form = Form {
    says: "a whole number from 10 to 255",
    fits: |text| forms::decimal(text, 10, 255),
};

/// A processor as a guest sees it: `<cpu>`, and the model that a host offers for it.
const GUEST_PARTS: &[Part] = &[
    maybe("model"),
    maybe("vendor").is(TEXT),
    any("feature"),
    maybe("maxphysaddr"),
];

/// A processor of a host.
const HOST_CPU: &[Part] = &[
    one("arch").is(forms::ARCH),
    maybe("features"),
    maybe("model").is(TEXT),
    maybe("vendor").is(TEXT),
    maybe("microcode"),
    maybe("signature"),
    maybe("counter"),
    maybe("topology"),
    maybe("maxphysaddr"),
    any("feature"),
    any("pages"),
];

pub(super) const CPU_SHAPES: &[Shape] = &[
    shape(
        "cpu",
        &[
            &[
                maybe("@mode").is(words!("custom", "host-model", "host-passthrough", "maximum")),
                maybe("@match").is(words!("minimum", "exact", "strict")),
                maybe("@check").is(words!("none", "partial", "full")),
                maybe("@deprecated_features").is(forms::ON_OFF),
                maybe("@migratable").is(forms::ON_OFF),
                maybe("topology"),
                maybe("numa"),
                maybe("cache"),
            ],
            GUEST_PARTS,
        ],
    )
    .when(&[("arch", ABSENT)]),
    shape("cpu", &[HOST_CPU]).when(&[("arch", PRESENT)]),
    shape("host/cpu", &[HOST_CPU]),
    shape(
        "model",
        &[&[
            maybe("@fallback").is(words!("allow", "forbid")),
            maybe("@vendor_id").is(VENDOR_ID),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "feature",
        &[&[
            one("@policy").is(words!("force", "require", "optional", "disable", "forbid")),
            one("@name").is(FEATURE_NAME),
        ]],
    )
    .when(&[("../arch", ABSENT)]),
    shape("feature", &[&[one("@name").is(HOST_FEATURE_NAME)]]).when(&[("../arch", PRESENT)]),
    shape(
        "topology",
        &[&[
            one("@sockets").is(forms::POSITIVE),
            maybe("@dies").is(forms::POSITIVE),
            maybe("@clusters").is(forms::POSITIVE),
            one("@cores").is(forms::POSITIVE),
            one("@threads").is(forms::POSITIVE),
        ]],
    ),
    shape(
        "cpu/cache",
        &[&[
            maybe("@level").is(words!("1", "2", "3")),
            one("@mode").is(words!("emulate", "passthrough", "disable")),
        ]],
    ),
    shape(
        "maxphysaddr",
        &[&[
            one("@mode").is(words!("emulate", "passthrough")),
            maybe("@bits").is(forms::UNSIGNED_INT),
            maybe("@limit").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "cpu/features",
        &[&[maybe("pae"), maybe("nonpae"), maybe("vmx"), maybe("svm")]],
    )
    .in_order(),
    shape("cpu/features/pae", &[]),
    shape("cpu/features/nonpae", &[]),
    shape("cpu/features/vmx", &[]),
    shape("cpu/features/svm", &[]),
    shape("cpu/microcode", &[&[one("@version").is(forms::POSITIVE)]]),
    shape(
        "cpu/signature",
        &[&[
            one("@family").is(forms::POSITIVE),
            one("@model").is(forms::UNSIGNED_INT),
            one("@stepping").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "cpu/counter",
        &[&[
            one("@name"),
            one("@frequency").is(forms::POSITIVE),
            one("@scaling").is(forms::YES_NO),
        ]],
    ),
    shape(
        "cpu/pages",
        &[&[
            maybe("@unit").is(forms::UNIT),
            one("@size").is(forms::UNSIGNED_INT),
        ]],
    ),
];

pub(super) const NUMA_SHAPES: &[Shape] = &[
    shape("cpu/numa", &[&[some("cell"), maybe("interconnects")]]),
    shape(
        "numa/cell",
        &[&[
            maybe("@id").is(forms::UNSIGNED_INT),
            maybe("@cpus").is(forms::CPU_SET),
            one("@memory").is(forms::SPACED_LONG),
            maybe("@unit").is(forms::UNIT),
            maybe("@memAccess").is(words!("shared", "private")),
            maybe("@discard").is(forms::YES_NO),
            maybe("distances"),
            any("cache"),
        ]],
    ),
    shape("cell/distances", &[&[some("sibling")]]),
    shape(
        "distances/sibling",
        &[&[one("@id").is(forms::UNSIGNED_INT), one("@value").is(DISTANCE)]],
    ),
    shape(
        "cell/cache",
        &[&[
            one("@level").is(forms::UNSIGNED_INT),
            one("@associativity").is(words!("none", "direct", "full")),
            one("@policy").is(words!("none", "writeback", "writethrough")),
            one("size"),
            one("line"),
        ]],
    ),
    shape("cell/cache/size", &[AMOUNT]),
    shape("cell/cache/line", &[AMOUNT]),
    shape("interconnects", &[&[any("latency"), any("bandwidth")]]),
    shape("interconnects/latency", &[LINK]),
    shape(
        "interconnects/bandwidth",
        &[LINK, &[one("@unit").is(forms::UNIT)]],
    ),
];

const AMOUNT: &[Part] = &[
    one("@value").is(forms::UNSIGNED_INT),
    one("@unit").is(forms::UNIT),
];
const LINK: &[Part] = &[
    one("@initiator").is(forms::UNSIGNED_INT),
    one("@target").is(forms::UNSIGNED_INT),
    maybe("@cache").is(forms::UNSIGNED_INT),
    one("@type").is(words!("access", "read", "write")),
    one("@value").is(forms::UNSIGNED_INT),
];

const CACHE_KIND: Form = words!("both", "code", "data");

const MONITOR_FEATURE: Form = Form {
    says: "a name that begins with llc_ or mbm_",
    fits: |text| {
        ["llc_", "mbm_"].iter().any(|lead| {
            text.strip_prefix(lead)
                .is_some_and(|rest| (HOST_FEATURE_NAME.fits)(rest))
        })
    },
};

const HOST_SHAPES: &[Shape] = &[
    shape("capabilities", &[&[one("host"), any("guest")]]).in_order(),
    shape(
        "capabilities/host",
        &[&[
            maybe("uuid").is(forms::UUID),
            one("cpu"),
            maybe("power_management"),
            maybe("iommu"),
            maybe("migration_features"),
            maybe("topology"),
            maybe("cache"),
            maybe("memory_bandwidth"),
            any("secmodel"),
        ]],
    )
    .in_order(),
    shape(
        "host/power_management",
        &[&[
            maybe("suspend_mem"),
            maybe("suspend_disk"),
            maybe("suspend_hybrid"),
        ]],
    ),
    shape("power_management/suspend_mem", &[]),
    shape("power_management/suspend_disk", &[]),
    shape("power_management/suspend_hybrid", &[]),
    shape("host/iommu", &[&[maybe("@support").is(forms::YES_NO)]]),
    shape(
        "host/migration_features",
        &[&[maybe("live"), maybe("uri_transports")]],
    )
    .in_order(),
    shape("migration_features/live", &[]),
    shape(
        "uri_transports",
        &[&[some("uri_transport").is(words!("vpxmigr", "tcp", "rdma", "vzmigr"))]],
    ),
    shape(
        "host/secmodel",
        &[&[one("model").is(TEXT), one("doi").is(TEXT), any("baselabel")]],
    ),
    shape("secmodel/baselabel", &[&[one("@type"), one("text()").is(TEXT)]]),
    shape("host/topology", &[&[one("cells"), maybe("interconnects")]]).in_order(),
    shape(
        "topology/cells",
        &[&[one("@num").is(forms::UNSIGNED_INT), some("cell")]],
    ),
    shape(
        "cells/cell",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            maybe("memory"),
            any("pages"),
            maybe("distances"),
            any("cache"),
            maybe("cpus"),
        ]],
    )
    .in_order(),
    shape("cell/memory", &[SCALED]),
    shape(
        "cell/pages",
        &[&[
            maybe("@unit").is(forms::UNIT),
            one("@size").is(forms::UNSIGNED_INT),
            one("text()").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape("cell/cpus", &[&[one("@num").is(forms::UNSIGNED_INT), any("cpu")]]),
    shape(
        "cpus/cpu",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            maybe("@socket_id").is(forms::UNSIGNED_INT),
            maybe("@die_id").is(forms::UNSIGNED_INT),
            maybe("@cluster_id").is(forms::UNSIGNED_INT),
            maybe("@core_id").is(forms::UNSIGNED_INT),
            maybe("@siblings").is(forms::CPU_SET),
        ]],
    ),
    shape("host/cache", &[&[some("bank"), maybe("monitor")]]).in_order(),
    shape(
        "cache/bank",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            one("@level").is(forms::UNSIGNED_INT),
            one("@type").is(CACHE_KIND),
            one("@size").is(forms::UNSIGNED_INT),
            one("@unit").is(forms::UNIT),
            one("@cpus").is(forms::CPU_SET),
            any("control"),
        ]],
    ),
    shape(
        "bank/control",
        &[&[
            one("@granularity").is(forms::UNSIGNED_INT),
            maybe("@min").is(forms::UNSIGNED_INT),
            one("@unit").is(forms::UNIT),
            one("@type").is(CACHE_KIND),
            one("@maxAllocs").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape("host/memory_bandwidth", &[&[some("node"), maybe("monitor")]]).in_order(),
    shape(
        "memory_bandwidth/node",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            one("@cpus").is(forms::CPU_SET),
            any("control"),
        ]],
    ),
    shape(
        "node/control",
        &[&[
            one("@granularity").is(forms::UNSIGNED_INT),
            maybe("@min").is(forms::UNSIGNED_INT),
            one("@maxAllocs").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "monitor",
        &[&[
            maybe("@level").is(forms::UNSIGNED_INT),
            maybe("@reuseThreshold").is(forms::UNSIGNED_INT),
            one("@maxMonitors").is(forms::UNSIGNED_INT),
            some("feature"),
        ]],
    ),
    shape("monitor/feature", &[&[one("@name").is(MONITOR_FEATURE)]]),
];

const GUEST_SHAPES: &[Shape] = &[
    shape(
        "capabilities/guest",
        &[&[
            one("os_type").is(words!("xen", "linux", "hvm", "exe", "uml")),
            one("arch"),
            maybe("features"),
        ]],
    )
    .in_order(),
    shape(
        "guest/arch",
        &[&[
            one("@name").is(forms::ARCH),
            one("wordsize").is(words!("31", "32", "64")),
            maybe("emulator").is(forms::ABSOLUTE_PATH),
            maybe("loader").is(forms::ABSOLUTE_PATH),
            any("machine"),
            some("domain"),
        ]],
    )
    .in_order(),
    shape(
        "machine",
        &[&[
            maybe("@canonical"),
            maybe("@maxCpus").is(forms::UNSIGNED_INT),
            maybe("@deprecated").is(forms::YES_NO),
            one("text()").is(TEXT),
        ]],
    ),
    shape(
        "arch/domain",
        &[&[
            one("@type").is(words!(
                "qemu", "kqemu", "kvm", "xen", "uml", "lxc", "openvz", "test", "hvf"
            )),
            maybe("emulator").is(forms::ABSOLUTE_PATH),
            any("machine"),
        ]],
    )
    .in_order(),
    shape(
        "guest/features",
        &[&[
            maybe("pae"),
            maybe("nonpae"),
            maybe("ia64_be"),
            maybe("acpi"),
            maybe("apic"),
            maybe("cpuselection"),
            maybe("deviceboot"),
            maybe("disksnapshot"),
            maybe("hap"),
            maybe("externalSnapshot"),
        ]],
    ),
    shape("guest/features/pae", &[]),
    shape("guest/features/nonpae", &[]),
    shape("features/ia64_be", &[]),
    shape("features/cpuselection", &[]),
    shape("features/deviceboot", &[]),
    shape("features/externalSnapshot", &[]),
    shape("features/acpi", &[TOGGLE]),
    shape("features/apic", &[TOGGLE]),
    shape("features/disksnapshot", &[TOGGLE]),
    shape("features/hap", &[TOGGLE]),
];

const TOGGLE: &[Part] = &[
    one("@toggle").is(forms::YES_NO),
    one("@default").is(forms::ON_OFF),
];

const HOST_RULES: &[Rule] = &[
    rule("monitor", &[], Must::HaveTogether(&["@level", "@reuseThreshold"])),
    rule(
        "cpus/cpu",
        &[],
        Must::HaveTogether(&["@socket_id", "@die_id", "@cluster_id", "@core_id", "@siblings"]),
    ),
];

/// Whether something is supported.
const SUPPORTED: &[Part] = &[one("@supported").is(forms::YES_NO)];
/// Lists of words that may be used.
const WORDS: &[Part] = &[any("enum")];

const DOMAIN_CAPABILITIES_SHAPES: &[Shape] = &[
    shape(
        "domainCapabilities",
        &[&[
            maybe("path").is(forms::ABSOLUTE_PATH),
            one("domain").is(TEXT),
            maybe("machine").is(TEXT),
            one("arch").is(TEXT),
            maybe("vcpu"),
            maybe("iothreads"),
            maybe("os"),
            maybe("cpu"),
            maybe("memoryBacking"),
            maybe("devices"),
            maybe("features"),
        ]],
    ),
    shape(
        "domainCapabilities/vcpu",
        &[&[one("@max").is(forms::UNSIGNED_INT)]],
    ),
    shape("domainCapabilities/iothreads", &[SUPPORTED]),
    shape("domainCapabilities/os", &[SUPPORTED, WORDS, &[maybe("loader")]]),
    shape("os/loader", &[SUPPORTED, &[any("value").is(TEXT), any("enum")]]).in_order(),
    shape("enum", &[&[one("@name"), any("value").is(TEXT)]]),
    shape("domainCapabilities/memoryBacking", &[SUPPORTED, WORDS]),
    shape(
        "domainCapabilities/devices",
        &[&[
            maybe("disk"),
            maybe("graphics"),
            maybe("video"),
            maybe("hostdev"),
            maybe("rng"),
            maybe("filesystem"),
            maybe("tpm"),
            maybe("redirdev"),
            maybe("channel"),
            maybe("crypto"),
            maybe("interface"),
            maybe("panic"),
        ]],
    )
    .in_order(),
    shape("devices/disk", &[SUPPORTED, WORDS]),
    shape("devices/graphics", &[SUPPORTED, WORDS]),
    shape("devices/video", &[SUPPORTED, WORDS]),
    shape("devices/hostdev", &[SUPPORTED, WORDS]),
    shape("devices/rng", &[SUPPORTED, WORDS]),
    shape("devices/filesystem", &[SUPPORTED, WORDS]),
    shape("devices/tpm", &[SUPPORTED, WORDS]),
    shape("devices/redirdev", &[SUPPORTED, WORDS]),
    shape("devices/channel", &[SUPPORTED, WORDS]),
    shape("devices/crypto", &[SUPPORTED, WORDS]),
    shape("devices/interface", &[SUPPORTED, WORDS]),
    shape("devices/panic", &[SUPPORTED, WORDS]),
    shape(
        "domainCapabilities/features",
        &[&[
            maybe("gic"),
            maybe("vmcoreinfo"),
            maybe("genid"),
            maybe("backingStoreInput"),
            maybe("backup"),
            maybe("async-teardown"),
            maybe("s390-pv"),
            maybe("ps2"),
            maybe("sev"),
            maybe("sgx"),
            maybe("hyperv"),
            maybe("launchSecurity"),
        ]],
    )
    .in_order(),
    shape("features/gic", &[SUPPORTED, WORDS]),
    shape("features/hyperv", &[SUPPORTED, WORDS]),
    shape("features/launchSecurity", &[SUPPORTED, WORDS]),
    shape("features/vmcoreinfo", &[SUPPORTED]),
    shape("features/genid", &[SUPPORTED]),
    shape("features/backingStoreInput", &[SUPPORTED]),
    shape("features/backup", &[SUPPORTED]),
    shape("features/async-teardown", &[SUPPORTED]),
    shape("features/s390-pv", &[SUPPORTED]),
    shape("features/ps2", &[SUPPORTED]),
    shape(
        "features/sev",
        &[
            SUPPORTED,
            &[
                maybe("cbitpos").is(forms::SPACED_INT),
                maybe("reducedPhysBits").is(forms::SPACED_INT),
                maybe("maxGuests").is(forms::SPACED_INT),
                maybe("maxESGuests").is(forms::SPACED_INT),
                maybe("cpu0Id").is(TEXT),
            ],
        ],
    )
    .in_order(),
    shape(
        "features/sgx",
        &[
            SUPPORTED,
            &[
                maybe("flc").is(forms::YES_NO),
                maybe("sgx1").is(forms::YES_NO),
                maybe("sgx2").is(forms::YES_NO),
                maybe("section_size"),
                maybe("sections"),
            ],
        ],
    )
    .in_order(),
    shape(
        "sgx/section_size",
        &[&[
            one("@unit").is(words!("KiB")),
            one("text()").is(forms::SPACED_LONG),
        ]],
    ),
    shape("sgx/sections", &[&[any("section")]]),
    shape(
        "sections/section",
        &[&[
            one("@node").is(forms::SPACED_INT),
            one("@size").is(forms::SPACED_LONG),
            one("@unit").is(words!("KiB")),
        ]],
    ),
    // Processors.
    shape("domainCapabilities/cpu", &[&[some("mode")]]),
    shape("cpu/mode", &[SUPPORTED, WORDS]).when(&[("@name", &["host-passthrough", "maximum"])]),
    shape(
        "cpu/mode",
        &[
            SUPPORTED,
            &[
                maybe("model"),
                maybe("vendor").is(TEXT),
                maybe("maxphysaddr"),
                any("feature"),
            ],
        ],
    )
    .when(&[("@name", &["host-model"])])
    .in_order(),
    shape("cpu/mode", &[SUPPORTED, &[any("model"), any("blockers")]]).when(&[("@name", &["custom"])]),
    shape(
        "mode/model",
        &[&[
            maybe("@fallback").is(words!("allow", "forbid")),
            maybe("@vendor_id").is(VENDOR_ID),
            one("text()").is(TEXT),
        ]],
    )
    .when(&[("../@name", &["host-model"])]),
    shape(
        "mode/model",
        &[&[
            one("@usable").is(words!("yes", "no", "unknown")),
            maybe("@deprecated").is(forms::YES_NO),
            maybe("@canonical"),
            one("@vendor"),
            one("text()").is(TEXT),
        ]],
    )
    .when(&[("../@name", &["custom"])]),
    shape("mode/blockers", &[&[one("@model"), some("feature")]]),
    shape("blockers/feature", &[&[one("@name")]]),
];

const DOMAIN_CAPABILITIES_RULES: &[Rule] = &[
    rule(
        "features/sev",
        &[],
        Must::HaveTogether(&["cbitpos", "reducedPhysBits", "maxGuests", "maxESGuests"]),
    ),
    rule(
        "features/sgx",
        &[],
        Must::HaveTogether(&["flc", "sgx1", "sgx2", "section_size"]),
    ),
    rule("features/sgx", &[("flc", ABSENT)], Must::NotHave(&["sections"])),
    rule(
        "domainCapabilities/cpu",
        &[],
        Must::Sequence(
            "mode",
            "name",
            &["host-passthrough", "maximum", "host-model", "custom"],
        ),
    ),
    rule(
        "cpu/mode",
        &[("@name", &["custom"])],
        Must::Follows("blockers", "model"),
    ),
    rule(
        "cpu/mode",
        &[("@name", &["host-model"]), ("model", ABSENT)],
        Must::NotHave(&["vendor", "maxphysaddr", "feature"]),
    ),
];
