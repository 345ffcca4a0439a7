//! Files of native formats that are made of the right names and any values: each is read or refused, nothing else.

use proptest::prelude::*;
use virt_conf::fuzz::TARGETS;

/// Values, right and wrong ones.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("00:16:3e:00:00:01".to_owned()),
        Just("a.vmdk".to_owned()),
        Just("veth".to_owned()),
        Just("tap0,mac=52:54:00:00:00:01".to_owned()),
        "[a-z0-9:,=./ -]{0,24}",
        "\\PC{0,12}",
        any::<u32>().prop_map(|number| number.to_string()),
    ]
}

/// A file of settings: head, names, and how a line is written.
fn settings(
    head: &'static str,
    names: &'static [&'static str],
    line: fn(&str, &str) -> String,
) -> impl Strategy<Value = String> {
    let entry = (prop::sample::select(names), value()).prop_map(move |(name, value)| line(name, &value));
    prop::collection::vec(entry, 0..12).prop_map(move |lines| format!("{head}{}", lines.concat()))
}

fn run(target: &str, text: &str) {
    let (_, function) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("the target is listed");
    function(text.as_bytes());
}

fn quoted(name: &str, value: &str) -> String {
    format!("{name} = \"{}\"\n", value.replace(['"', '\n', '\r'], ""))
}

fn listed(name: &str, value: &str) -> String {
    let value = value.replace(['"', '\n', '\r'], "");
    match name.strip_prefix('@') {
        Some(name) => format!("{name} = [ \"{value}\" ]\n"),
        None => format!("{name} = \"{value}\"\n"),
    }
}

fn bare(name: &str, value: &str) -> String {
    format!("{name} = {}\n", value.replace(['\n', '\r'], ""))
}

const VMX: &[&str] = &[
    "memsize",
    "sched.mem.max",
    "numvcpus",
    "cpuid.coresPerSocket",
    "sched.cpu.affinity",
    "sched.cpu.shares",
    "scsi0.present",
    "scsi0.virtualDev",
    "scsi0:0.present",
    "scsi0:0.fileName",
    "scsi0:0.deviceType",
    "sata0.present",
    "sata0:1.present",
    "sata0:1.fileName",
    "ide0:0.present",
    "ide0:0.fileName",
    "floppy0.present",
    "floppy0.fileType",
    "ethernet0.present",
    "ethernet0.connectionType",
    "ethernet0.networkName",
    "ethernet0.addressType",
    "ethernet0.address",
    "serial0.present",
    "serial0.fileType",
    "serial0.fileName",
    "svga.vramSize",
    "annotation",
    "vm.genid",
    "RemoteDisplay.vnc.enabled",
    "RemoteDisplay.vnc.port",
    ".encoding",
    "firmware",
];

const XEN: &[&str] = &[
    "memory",
    "maxmem",
    "vcpus",
    "maxvcpus",
    "cpus",
    "builder",
    "type",
    "kernel",
    "root",
    "extra",
    "boot",
    "vnc",
    "vncdisplay",
    "vncunused",
    "serial",
    "@serial",
    "parallel",
    "soundhw",
    "localtime",
    "rtc_timeoffset",
    "tsc_mode",
    "passthrough",
    "nestedhvm",
    "cpuid",
    "spice",
    "spiceport",
    "spicepasswd",
    "usbdevice",
    "@usbdevice",
    "@usbdev",
    "@usbctrl",
    "@channel",
    "@vif",
    "@pci",
    "@disk",
    "@vfb",
    "@vnuma",
    "uuid",
    "on_crash",
    "max_grant_frames",
];

const LXC: &[&str] = &[
    "lxc.arch",
    "lxc.tty",
    "lxc.tty.max",
    "lxc.idmap",
    "lxc.id_map",
    "lxc.mount.entry",
    "lxc.network.type",
    "lxc.network.link",
    "lxc.network.ipv4",
    "lxc.network.ipv4.gateway",
    "lxc.network.hwaddr",
    "lxc.net.0.type",
    "lxc.net.0.link",
    "lxc.net.7.ipv6.address",
    "lxc.cgroup.memory.limit_in_bytes",
    "lxc.cgroup.cpu.shares",
    "lxc.cgroup.cpu.cfs_quota_us",
    "lxc.cgroup.cpuset.cpus",
    "lxc.cgroup.cpuset.mems",
    "lxc.cgroup.blkio.weight",
    "lxc.cgroup.blkio.device_weight",
    "lxc.cap.drop",
];

const OPENVZ: &[&str] = &[
    "CPUS",
    "DISKSPACE",
    "VMGUARPAGES",
    "PRIVVMPAGES",
    "IP_ADDRESS",
    "NETIF",
    "OSTEMPLATE",
    "VE_PRIVATE",
    "#UUID:",
];

const BHYVE: &[&str] = &[
    "-c",
    "-m",
    "-s",
    "-l",
    "-U",
    "-u",
    "-A",
    "-p",
    "-s 3:0,virtio-blk,",
    "-s 4,virtio-net,",
    "-s 0:5:0,fbuf,rfb=",
    "-l com1,/dev/nmdm",
    "/usr/sbin/bhyve",
    "/usr/sbin/bhyveload -d",
    "\\\n",
    "\n",
];

proptest! {
    #[test]
    fn vmx(text in settings("config.version = \"8\"\nvirtualHW.version = \"13\"\ndisplayName = \"a\"\n", VMX, quoted)) {
        run("vmx", &text);
    }

    #[test]
    fn xen(text in settings("name = \"a\"\n", XEN, listed)) {
        run("xen_xl", &text);
        run("xen_xm", &text);
    }

    #[test]
    fn lxc(text in settings("lxc.utsname = a\nlxc.rootfs = /r\n", LXC, bare)) {
        run("lxc_native", &text);
    }

    #[test]
    fn openvz(text in settings("", OPENVZ, |name, value| format!("{name}=\"{value}\"\n"))) {
        run("openvz", &text);
    }

    #[test]
    fn bhyve(text in settings("/usr/sbin/bhyve ", BHYVE, |name, value| format!("{name} {value} "))) {
        run("bhyve_args", &text);
    }
}
