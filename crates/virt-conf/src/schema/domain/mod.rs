//! The schema of domains.
//!
//! | module | has |
//! |---|---|
//! | this one | the domain itself: identity, memory and processors, what goes to one hypervisor alone |
//! | [`guest`] | what the guest boots, sees and is allowed: `os`, `features`, `clock`, `sysinfo`, `launchSecurity` |
//! | [`device`] | parts that all devices have, controllers and the small devices |
//! | [`connection`] | character devices and what they are connected to |
//! | [`disk`] | disks, file systems, leases |
//! | [`source`] | where images are; snapshots and backups have the same |
//! | [`interface`] | network interfaces |
//! | [`hostdev`] | devices of the host |
//! | [`display`] | graphics, video, sound |

pub(super) mod connection;
pub(super) mod device;
pub(super) mod disk;
pub(super) mod display;
pub(super) mod guest;
pub(super) mod hostdev;
pub(super) mod interface;
pub(super) mod source;

use virt_util::words;
use virt_util::xml::rules::{Form, Must, Rule};
use virt_util::xml::shapes::{Part, Shape, Table, any, maybe, one, shape, some};

use super::common::{SCALED, rule};
use crate::domain::namespaces::{BHYVE_NAMESPACE, LXC_NAMESPACE, VMWARE_NAMESPACE, XEN_NAMESPACE};
use crate::domain::qemu_ns::QEMU_NAMESPACE;
use crate::forms::{self, TEXT};

/// The rows of a format that holds domains, and theirs.
macro_rules! domain_shapes {
    ($($rows:expr),* $(,)?) => {{
        use crate::schema::domain::*;
        use crate::schema::{common, host, network};
        &[
            $($rows,)*
            SHAPES,
            RESOURCES,
            TUNING,
            NAMESPACES,
            guest::SHAPES,
            guest::FEATURES,
            device::SHAPES,
            device::ADDRESSES,
            device::CONTROLLERS,
            connection::SHAPES,
            disk::SHAPES,
            disk::FILESYSTEMS,
            source::SHAPES,
            source::network_sources!("source"),
            source::NETWORK_PARTS,
            interface::SHAPES,
            hostdev::SHAPES,
            display::SHAPES,
            display::AUDIO,
            host::CPU_SHAPES,
            host::NUMA_SHAPES,
            network::VIRTUAL_PORT_SHAPES,
            common::RECONNECT,
            common::DEVICE_LABEL,
            common::ENCRYPTION,
        ]
    }};
}
pub(super) use domain_shapes;

/// The same of rules.
macro_rules! domain_rules {
    ($($rules:expr),* $(,)?) => {{
        use crate::schema::domain::*;
        &[
            $($rules,)*
            RULES,
            guest::RULES,
            disk::RULES,
            source::RULES,
            interface::RULES,
            hostdev::RULES,
            display::RULES,
        ]
    }};
}
pub(super) use domain_rules;

/// Domains; also devices of domains, in an element `devices`.
pub(crate) const DOMAIN: Table = Table {
    shapes: domain_shapes![],
    rules: domain_rules![],
    namespaces: &[
        ("qemu", QEMU_NAMESPACE),
        ("lxc", LXC_NAMESPACE),
        ("xen", XEN_NAMESPACE),
        ("bhyve", BHYVE_NAMESPACE),
        ("vmware", VMWARE_NAMESPACE),
    ],
};

/// What a domain may hold, whatever its element is called.
pub(super) const DOMAIN_PARTS: &[Part] = &[
    one("@type").is(words!(
        "qemu", "kqemu", "kvm", "xen", "lxc", "uml", "openvz", "test", "vmware", "hyperv", "vbox", "phyp",
        "vz", "bhyve", "hvf"
    )),
    maybe("@id").is(forms::UNSIGNED_INT),
    one("name").is(forms::DOMAIN_NAME),
    maybe("uuid").is(forms::UUID),
    maybe("genid"),
    maybe("title").is(forms::DOMAIN_NAME),
    maybe("description").is(TEXT),
    maybe("metadata"),
    maybe("cpu"),
    any("sysinfo"),
    maybe("bootloader").is(TEXT),
    maybe("bootloader_args").is(TEXT),
    maybe("os"),
    maybe("clock"),
    maybe("throttlegroups"),
    maybe("features"),
    maybe("on_reboot").is(OFF_ACTION),
    maybe("on_poweroff").is(OFF_ACTION),
    maybe("on_crash").is(words!(
        "destroy",
        "restart",
        "preserve",
        "rename-restart",
        "coredump-destroy",
        "coredump-restart"
    )),
    maybe("on_lockfailure").is(words!("poweroff", "restart", "pause", "ignore")),
    maybe("pm"),
    maybe("perf"),
    maybe("idmap"),
    maybe("devices"),
    any("seclabel"),
    maybe("keywrap"),
    maybe("launchSecurity"),
    maybe("qemu:commandline"),
    maybe("qemu:capabilities"),
    maybe("qemu:deprecation"),
    maybe("qemu:override"),
    maybe("lxc:namespace"),
    maybe("bhyve:commandline"),
    maybe("xen:commandline"),
    maybe("vmware:datacenterpath").is(TEXT),
];

const OFF_ACTION: Form = words!("destroy", "restart", "preserve", "rename-restart");

pub(super) const RESOURCE_PARTS: &[Part] = &[
    maybe("memory"),
    maybe("maxMemory"),
    maybe("currentMemory"),
    maybe("memoryBacking"),
    maybe("vcpu"),
    maybe("vcpus"),
    maybe("iothreads").is(forms::UNSIGNED_INT),
    maybe("iothreadids"),
    maybe("defaultiothread"),
    maybe("blkiotune"),
    maybe("memtune"),
    maybe("cputune"),
    maybe("numatune"),
    maybe("resource"),
];

pub(super) const SHAPES: &[Shape] = &[
    shape("domain", &[DOMAIN_PARTS, RESOURCE_PARTS]),
    shape("inactiveDomain", &[DOMAIN_PARTS, RESOURCE_PARTS]),
    shape("genid", &[&[maybe("text()").is(forms::UUID)]]),
    shape("metadata", &[&[any("*")]]),
    shape("pm", &[&[maybe("suspend-to-mem"), maybe("suspend-to-disk")]]),
    shape("suspend-to-mem", &[&[maybe("@enabled").is(forms::YES_NO)]]),
    shape("suspend-to-disk", &[&[maybe("@enabled").is(forms::YES_NO)]]),
    shape("perf", &[&[some("event")]]),
    shape(
        "perf/event",
        &[&[
            one("@name").is(words!(
                "cmt",
                "mbmt",
                "mbml",
                "cpu_cycles",
                "instructions",
                "cache_references",
                "cache_misses",
                "branch_instructions",
                "branch_misses",
                "bus_cycles",
                "stalled_cycles_frontend",
                "stalled_cycles_backend",
                "ref_cpu_cycles",
                "cpu_clock",
                "task_clock",
                "page_faults",
                "context_switches",
                "cpu_migrations",
                "page_faults_min",
                "page_faults_maj",
                "alignment_faults",
                "emulation_faults"
            )),
            one("@enabled").is(forms::YES_NO),
        ]],
    ),
    shape("idmap", &[&[any("uid"), any("gid")]]),
    shape("idmap/uid", &[IDS]),
    shape("idmap/gid", &[IDS]),
    shape("domain/seclabel", &[MODEL, DYNAMIC]).when(&[("@type?", &["dynamic"])]),
    shape("domain/seclabel", &[MODEL, STATIC]).when(&[("@type", &["static"])]),
    shape("domain/seclabel", &[MODEL, UNLABELLED]).when(&[("@type", &["none"])]),
    shape("inactiveDomain/seclabel", &[MODEL, DYNAMIC]).when(&[("@type?", &["dynamic"])]),
    shape("inactiveDomain/seclabel", &[MODEL, STATIC]).when(&[("@type", &["static"])]),
    shape("inactiveDomain/seclabel", &[MODEL, UNLABELLED]).when(&[("@type", &["none"])]),
    shape("keywrap", &[&[some("cipher")]]),
    shape(
        "keywrap/cipher",
        &[&[
            one("@name").is(words!("aes", "dea")),
            one("@state").is(forms::ON_OFF),
        ]],
    ),
];

const IDS: &[Part] = &[
    one("@start").is(forms::UNSIGNED_INT),
    one("@target").is(forms::UNSIGNED_INT),
    one("@count").is(forms::UNSIGNED_INT),
];
const MODEL: &[Part] = &[maybe("@model")];
const DYNAMIC: &[Part] = &[
    maybe("@relabel").is(words!("yes")),
    maybe("label").is(TEXT),
    maybe("imagelabel").is(TEXT),
    maybe("baselabel").is(TEXT),
];
const STATIC: &[Part] = &[
    maybe("@relabel").is(forms::YES_NO),
    one("label").is(TEXT),
    maybe("imagelabel").is(TEXT),
];
const UNLABELLED: &[Part] = &[maybe("@relabel").is(words!("no"))];

/// Memory, processors and threads.
pub(super) const RESOURCES: &[Shape] = &[
    shape("memory", &[SCALED, &[maybe("@dumpCore").is(forms::ON_OFF)]]),
    shape("maxMemory", &[SCALED, &[maybe("@slots").is(forms::UNSIGNED_INT)]]),
    shape("currentMemory", &[SCALED]),
    shape(
        "memoryBacking",
        &[&[
            maybe("hugepages"),
            maybe("nosharepages"),
            maybe("locked"),
            maybe("source"),
            maybe("access"),
            maybe("allocation"),
            maybe("discard"),
        ]],
    ),
    shape("hugepages", &[&[any("page")]]),
    shape(
        "hugepages/page",
        &[&[
            one("@size").is(forms::UNSIGNED_LONG),
            maybe("@unit").is(forms::UNIT),
            maybe("@nodeset").is(forms::CPU_SET),
        ]],
    ),
    shape(
        "memoryBacking/source",
        &[&[one("@type").is(words!("file", "anonymous", "memfd"))]],
    ),
    shape(
        "memoryBacking/access",
        &[&[one("@mode").is(words!("shared", "private"))]],
    ),
    shape(
        "memoryBacking/allocation",
        &[&[
            maybe("@mode").is(words!("immediate", "ondemand")),
            maybe("@threads").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape(
        "vcpu",
        &[&[
            maybe("@placement").is(words!("static", "auto")),
            maybe("@cpuset").is(forms::CPU_SET),
            maybe("@current").is(forms::CPU_COUNT),
            one("text()").is(forms::CPU_COUNT),
        ]],
    ),
    shape("vcpus", &[&[any("vcpu")]]),
    shape(
        "vcpus/vcpu",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            one("@enabled").is(forms::YES_NO),
            maybe("@hotpluggable").is(forms::YES_NO),
            maybe("@order").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape("iothreadids", &[&[any("iothread")]]),
    shape(
        "iothreadids/iothread",
        &[&[one("@id").is(forms::UNSIGNED_INT), maybe("poll")], THREADS],
    ),
    shape(
        "iothread/poll",
        &[&[
            maybe("@max").is(forms::UNSIGNED_LONG),
            maybe("@grow").is(forms::UNSIGNED_LONG),
            maybe("@shrink").is(forms::UNSIGNED_LONG),
        ]],
    ),
    shape("defaultiothread", &[THREADS]),
    shape(
        "resource",
        &[&[maybe("partition").is(forms::ABSOLUTE_PATH), maybe("fibrechannel")]],
    )
    .in_order(),
    shape("fibrechannel", &[&[one("@appid").is(forms::APPLICATION_ID)]]),
];

const THREADS: &[Part] = &[
    maybe("@thread_pool_min").is(forms::UNSIGNED_INT),
    maybe("@thread_pool_max").is(forms::UNSIGNED_INT),
];

/// Shares and limits.
pub(super) const TUNING: &[Shape] = &[
    shape(
        "blkiotune",
        &[&[maybe("weight").is(forms::IO_WEIGHT), any("device")]],
    ),
    shape(
        "blkiotune/device",
        &[&[
            one("path").is(forms::ABSOLUTE_PATH),
            maybe("weight").is(forms::IO_WEIGHT),
            maybe("read_iops_sec").is(forms::SPACED_INT),
            maybe("write_iops_sec").is(forms::SPACED_INT),
            maybe("read_bytes_sec").is(forms::SPACED_LONG),
            maybe("write_bytes_sec").is(forms::SPACED_LONG),
        ]],
    ),
    shape(
        "memtune",
        &[&[
            maybe("hard_limit"),
            maybe("soft_limit"),
            maybe("min_guarantee"),
            maybe("swap_hard_limit"),
        ]],
    ),
    shape("hard_limit", &[SCALED]),
    shape("soft_limit", &[SCALED]),
    shape("min_guarantee", &[SCALED]),
    shape("swap_hard_limit", &[SCALED]),
    shape(
        "cputune",
        &[&[
            maybe("shares").is(forms::UNSIGNED_INT),
            maybe("global_period").is(forms::CPU_PERIOD),
            maybe("global_quota").is(forms::CPU_QUOTA),
            maybe("period").is(forms::CPU_PERIOD),
            maybe("quota").is(forms::CPU_QUOTA),
            maybe("emulator_period").is(forms::CPU_PERIOD),
            maybe("emulator_quota").is(forms::CPU_QUOTA),
            maybe("iothread_period").is(forms::CPU_PERIOD),
            maybe("iothread_quota").is(forms::CPU_QUOTA),
            any("vcpupin"),
            maybe("emulatorpin"),
            any("iothreadpin"),
            any("vcpusched"),
            any("iothreadsched"),
            maybe("emulatorsched"),
            any("cachetune"),
            any("memorytune"),
        ]],
    ),
    shape(
        "vcpupin",
        &[&[one("@vcpu").is(forms::CPU_ID), one("@cpuset").is(forms::CPU_SET)]],
    ),
    shape("emulatorpin", &[&[one("@cpuset").is(forms::CPU_SET)]]),
    shape(
        "iothreadpin",
        &[&[
            one("@iothread").is(forms::UNSIGNED_INT),
            one("@cpuset").is(forms::CPU_SET),
        ]],
    ),
    shape("vcpusched", &[SCHEDULER, &[maybe("@vcpus").is(forms::CPU_SET)]]),
    shape(
        "iothreadsched",
        &[SCHEDULER, &[maybe("@iothreads").is(forms::CPU_SET)]],
    ),
    shape("emulatorsched", &[SCHEDULER]),
    shape(
        "cachetune",
        &[&[
            one("@vcpus").is(forms::CPU_SET),
            maybe("@id"),
            any("cache"),
            any("monitor"),
        ]],
    ),
    shape(
        "cachetune/cache",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            one("@level").is(forms::UNSIGNED_INT),
            one("@type").is(words!("both", "code", "data")),
            one("@size").is(forms::UNSIGNED_LONG),
            maybe("@unit").is(forms::UNIT),
        ]],
    ),
    shape(
        "cachetune/monitor",
        &[&[
            one("@level").is(forms::UNSIGNED_INT),
            one("@vcpus").is(forms::CPU_SET),
        ]],
    ),
    shape(
        "memorytune",
        &[&[one("@vcpus").is(forms::CPU_SET), any("node"), any("monitor")]],
    ),
    shape(
        "memorytune/node",
        &[&[
            one("@id").is(forms::UNSIGNED_INT),
            one("@bandwidth").is(forms::UNSIGNED_INT),
        ]],
    ),
    shape("memorytune/monitor", &[&[one("@vcpus").is(forms::CPU_SET)]]),
    shape("numatune", &[&[maybe("memory"), any("memnode")]]),
    shape(
        "numatune/memory",
        &[&[maybe("@mode").is(NUMA_MODE), maybe("@nodeset").is(forms::CPU_SET)]],
    )
    .when(&[("@placement?", &["static"])]),
    shape("numatune/memory", &[&[maybe("@mode").is(NUMA_MODE)]]).when(&[("@placement", &["auto"])]),
    shape(
        "numatune/memnode",
        &[&[
            one("@cellid").is(forms::UNSIGNED_INT),
            one("@mode").is(NUMA_MODE),
            one("@nodeset").is(forms::CPU_SET),
        ]],
    ),
];

const SCHEDULER: &[Part] = &[
    one("@scheduler").is(words!("batch", "idle", "fifo", "rr")),
    maybe("@priority").is(forms::UNSIGNED_SHORT),
];
const NUMA_MODE: Form = words!("strict", "preferred", "interleave", "restrictive");

/// What users say to one hypervisor past the model.
pub(super) const NAMESPACES: &[Shape] = &[
    shape("qemu:commandline", &[&[any("qemu:arg"), any("qemu:env")]]),
    shape("qemu:arg", &[&[one("@value")]]),
    shape(
        "qemu:env",
        &[&[one("@name").is(forms::VARIABLE), maybe("@value")]],
    ),
    shape("qemu:capabilities", &[&[any("qemu:add"), any("qemu:del")]]),
    shape("qemu:add", &[&[one("@capability")]]),
    shape("qemu:del", &[&[one("@capability")]]),
    shape(
        "qemu:deprecation",
        &[&[one("@behavior").is(words!("none", "omit", "reject", "crash"))]],
    ),
    shape("qemu:override", &[&[any("qemu:device")]]),
    shape("qemu:device", &[&[one("@alias"), maybe("qemu:frontend")]]),
    shape("qemu:frontend", &[&[any("qemu:property")]]),
    shape(
        "qemu:property",
        &[&[
            one("@name"),
            one("@type").is(words!("string", "signed", "unsigned", "bool", "remove")),
            maybe("@value"),
        ]],
    ),
    shape(
        "lxc:namespace",
        &[&[
            maybe("lxc:sharenet"),
            maybe("lxc:shareipc"),
            maybe("lxc:shareuts"),
        ]],
    ),
    shape(
        "lxc:sharenet",
        &[&[one("@type").is(words!("netns", "name", "pid")), one("@value")]],
    ),
    shape("lxc:shareipc", &[OF_CONTAINER]),
    shape("lxc:shareuts", &[OF_CONTAINER]),
    shape("bhyve:commandline", &[&[any("bhyve:arg")]]),
    shape("bhyve:arg", &[&[one("@value")]]),
    shape("xen:commandline", &[&[any("xen:arg")]]),
    shape("xen:arg", &[&[one("@value")]]),
];

const OF_CONTAINER: &[Part] = &[one("@type").is(words!("name", "pid")), one("@value")];

pub(super) const RULES: &[Rule] = &[
    rule("domain/cpu", &[], Must::NotHave(&["arch"])),
    rule("inactiveDomain/cpu", &[], Must::NotHave(&["arch"])),
    rule("vcpusched", REAL_TIME, Must::Have(&["@priority"])),
    rule("vcpusched", NOT_REAL_TIME, Must::NotHave(&["@priority"])),
    rule("iothreadsched", REAL_TIME, Must::Have(&["@priority"])),
    rule("iothreadsched", NOT_REAL_TIME, Must::NotHave(&["@priority"])),
    rule("emulatorsched", REAL_TIME, Must::Have(&["@priority"])),
    rule("emulatorsched", NOT_REAL_TIME, Must::NotHave(&["@priority"])),
    rule("cachetune", &[], Must::HaveOneOf(&["cache", "monitor"])),
    rule("memorytune", &[], Must::HaveOneOf(&["node", "monitor"])),
];

const REAL_TIME: &[(&str, &[&str])] = &[("@scheduler", &["fifo", "rr"])];
const NOT_REAL_TIME: &[(&str, &[&str])] = &[("@scheduler", &["batch", "idle"])];

#[cfg(test)]
mod tests {
    use virt_util::xml::{Doc, shapes};

    use super::DOMAIN;

    fn verdict(inside: &str) -> Result<(), String> {
        let text = format!("<domain type='kvm'><name>a</name>{inside}</domain>");
        let doc = Doc::parse(&text).expect("well formed");
        shapes::validate(doc.root(), &DOMAIN).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn right_documents() {
        let hvm = "<os><type>hvm</type></os>";
        for inside in [
            "<devices><memory model='dimm'><target><size>1</size></target><address type='dimm' base='0x1'/></memory></devices>",
            "<metadata><a xmlns='a:b' c='d'>text</a></metadata>",
            "<devices><serial type='pty' tty='/dev/pts/1'><source path='/a'/><source path='/b'/></serial></devices>",
            "<devices><smartcard mode='host-certificates'><certificate>a</certificate><certificate>b</certificate>\
             <certificate>c</certificate></smartcard></devices>",
            "<devices><hostdev type='usb'><source><vendor id='1'/><product id='0x2'/></source></hostdev></devices>",
            "<launchSecurity type='sev'><cbitpos>1</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0xb</policy></launchSecurity>",
            "<lxc:namespace xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><lxc:sharenet type='netns' value='a'/>\
             </lxc:namespace>",
            "<sysinfo type='fwcfg'><entry name='a' file='/b'/><entry name='c'>d</entry></sysinfo>",
        ] {
            assert_eq!(verdict(&format!("{hvm}{inside}")), Ok(()), "{inside}");
        }
        assert_eq!(verdict("<os><type>exe</type><init>/a</init></os>"), Ok(()));
    }

    #[test]
    fn faults_are_named_with_what_was_allowed() {
        for (inside, fault) in [
            ("<metadata a='b'/>", "unknown attribute 'a'"),
            ("<metadata>text</metadata>", "text where none belongs"),
            (
                "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='a'>b</q:arg></q:commandline>",
                "text where none belongs",
            ),
            ("<a:b xmlns:a='c'/>", "unknown element 'a:b'"),
            (
                "<features><ras/></features>",
                "missing required attribute 'state'",
            ),
            ("<features><hap state='of'/></features>", "expected 'on' or 'off'"),
            ("<os><type>hwm</type></os>", "did you mean 'hvm'?"),
            ("<os/>", "missing required element 'type'"),
            (
                "<devices><disk type='fil'><target dev='vda'/></disk></devices>",
                "did you mean 'file'?",
            ),
            (
                "<devices><disk type='network'><source protocol='nbb' name='a'/><target dev='vda'/></disk></devices>",
                "did you mean 'nbd'?",
            ),
            (
                "<devices><disk><target dev='vda'/><iotune><total_bytes_sec>1</total_bytes_sec>\
                 <read_bytes_sec>1</read_bytes_sec></iotune></disk></devices>",
                "element 'total_bytes_sec' and element 'read_bytes_sec' exclude each other",
            ),
            (
                "<devices><smartcard mode='host-certificates'><certificate>a</certificate></smartcard></devices>",
                "there are 1 elements 'certificate': expected 3",
            ),
            (
                "<devices><disk><backingStore type='file'/><target dev='vda'/></disk></devices>",
                "missing required element 'format'",
            ),
            (
                "<launchSecurity type='sev'><reducedPhysBits>1</reducedPhysBits><cbitpos>1</cbitpos><policy>1</policy></launchSecurity>",
                "element 'cbitpos' stands too late",
            ),
            (
                "<vcpu> 1</vcpu>",
                "invalid value ' 1': expected a whole number from 1 to 65535",
            ),
        ] {
            let error = verdict(inside).expect_err(inside);
            assert!(error.contains(fault), "{inside}: {error}");
        }
    }
}
