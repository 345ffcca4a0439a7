//! What the schema of domain documents asks for beyond names and types of values: the VALIDATE flags of the API.
//!
//! Parsing is more generous than the schema: it passes over what it does not know and takes numbers in any notation. A
//! definition that a user asks to have validated is held against both the declarations and [`RULES`].

use virt_util::Result;
use virt_util::words;
use virt_util::xml::rules::{self, Must, Rule};
use virt_util::xml::shapes::{Table, any, maybe, one, shape};
use virt_util::xml::{Doc, Element, Reader, finish_schema, schema};

use super::Domain;
use crate::forms;

/// Refuses a document that the schema of domains does not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` that names place, path and value of the first few faults.
pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
    check_element(doc.root())
}

/// [`check_schema`] for a `<domain>` inside another document.
///
/// # Errors
/// As [`check_schema`].
pub fn check_element(element: Element<'_>) -> Result<()> {
    let mut cx = Reader::default();
    schema::check_but::<Domain>(element, INSTEAD, &mut cx);
    rules::check(element, RULES, &mut cx);
    finish_schema(element, &cx)
}

/// Parts for which the model knows less than the schema: what a character device is connected to may carry what belongs to
/// other kinds of connections.
pub(crate) const INSTEAD: schema::Instead = &[
    ("domain/cpu", &crate::schema::GUEST_CPU),
    ("launchSecurity/handle", &HANDLE),
    ("serial/source", &CONNECTION),
    ("serial/protocol", &CONNECTION),
    ("serial/log", &CONNECTION),
    ("parallel/source", &CONNECTION),
    ("parallel/protocol", &CONNECTION),
    ("parallel/log", &CONNECTION),
    ("console/source", &CONNECTION),
    ("console/protocol", &CONNECTION),
    ("console/log", &CONNECTION),
    ("channel/source", &CONNECTION),
    ("channel/protocol", &CONNECTION),
    ("channel/log", &CONNECTION),
    ("smartcard/source", &CONNECTION),
    ("smartcard/protocol", &CONNECTION),
    ("smartcard/log", &CONNECTION),
    ("redirdev/source", &CONNECTION),
    ("redirdev/protocol", &CONNECTION),
    ("redirdev/log", &CONNECTION),
    ("rng/backend/source", &CONNECTION),
    ("rng/backend/protocol", &CONNECTION),
    ("rng/backend/log", &CONNECTION),
];

/// A number that the schema knows and nobody reads.
const HANDLE: Table = Table {
    shapes: &[&[shape("handle", &[&[one("text()").is(forms::UNSIGNED_INT)]])]],
    rules: &[],
    namespaces: &[],
};

/// What a character device is connected to.
const CONNECTION: Table = Table {
    shapes: &[
        &[
            shape(
                "source",
                &[&[
                    maybe("@mode"),
                    maybe("@path"),
                    maybe("@host"),
                    maybe("@service"),
                    maybe("@channel"),
                    maybe("@master"),
                    maybe("@slave"),
                    maybe("@append").is(forms::ON_OFF),
                    maybe("@tls").is(forms::YES_NO),
                    maybe("reconnect"),
                    any("seclabel"),
                    maybe("clipboard"),
                    maybe("mouse"),
                ]],
            ),
            shape(
                "protocol",
                &[&[maybe("@type").is(words!("raw", "telnet", "telnets", "tls"))]],
            ),
            shape(
                "log",
                &[&[
                    one("@file").is(forms::ABSOLUTE_PATH),
                    maybe("@append").is(forms::ON_OFF),
                ]],
            ),
            shape("source/clipboard", &[&[one("@copypaste").is(forms::YES_NO)]]),
            shape("source/mouse", &[&[one("@mode").is(words!("client", "server"))]]),
        ],
        crate::schema::RECONNECT,
        crate::schema::DEVICE_LABEL,
    ],
    rules: &[],
    namespaces: &[],
};

/// One row: the element, what it has, what holds.
const fn rule(
    element: &'static str,
    when: &'static [(&'static str, &'static [&'static str])],
    must: Must,
) -> Rule {
    Rule { element, when, must }
}

/// Rules about domains.
pub const RULES: &[Rule] = &[
    // Identity and resources.
    rule("domain", &[], Must::Have(&["@type", "name"])),
    rule("domain/name", &[], Must::Fit("text()", forms::DOMAIN_NAME)),
    rule("domain/vcpu", &[], Must::Fit("text()", forms::CPU_COUNT)),
    rule("domain/vcpu", &[], Must::Fit("@cpuset", forms::CPU_SET)),
    rule("domain/vcpu", &[], Must::Fit("@current", forms::CPU_COUNT)),
    rule(
        "numatune/memory",
        &[("@placement", &["auto"])],
        Must::NotHave(&["@nodeset"]),
    ),
    rule("numatune/memory", &[], Must::Fit("@nodeset", forms::CPU_SET)),
    rule("numatune/memnode", &[], Must::Fit("@nodeset", forms::CPU_SET)),
    rule("cputune/vcpupin", &[], Must::Have(&["@vcpu", "@cpuset"])),
    rule("cputune/vcpupin", &[], Must::Fit("@cpuset", forms::CPU_SET)),
    rule("cputune/vcpupin", &[], Must::Fit("@vcpu", forms::CPU_ID)),
    rule("cputune/shares", &[], Must::Fit("text()", forms::CPU_SHARES)),
    rule("cputune/period", &[], Must::Fit("text()", forms::CPU_PERIOD)),
    rule(
        "cputune/global_period",
        &[],
        Must::Fit("text()", forms::CPU_PERIOD),
    ),
    rule(
        "cputune/emulator_period",
        &[],
        Must::Fit("text()", forms::CPU_PERIOD),
    ),
    rule(
        "cputune/iothread_period",
        &[],
        Must::Fit("text()", forms::CPU_PERIOD),
    ),
    rule("cputune/quota", &[], Must::Fit("text()", forms::CPU_QUOTA)),
    rule("cputune/global_quota", &[], Must::Fit("text()", forms::CPU_QUOTA)),
    rule(
        "cputune/emulator_quota",
        &[],
        Must::Fit("text()", forms::CPU_QUOTA),
    ),
    rule(
        "cputune/iothread_quota",
        &[],
        Must::Fit("text()", forms::CPU_QUOTA),
    ),
    rule("blkiotune/weight", &[], Must::Fit("text()", forms::IO_WEIGHT)),
    rule(
        "blkiotune/device/weight",
        &[],
        Must::Fit("text()", forms::IO_WEIGHT),
    ),
    rule("sysinfo/bios", &[], Must::Have(&["entry"])),
    rule("sysinfo/bios/entry", &[], Must::Have(&["@name"])),
    rule(
        "sysinfo/bios/entry",
        &[],
        Must::Fit("@name", words!("vendor", "version", "date", "release")),
    ),
    rule("sysinfo/system", &[], Must::Have(&["entry"])),
    rule("sysinfo/system/entry", &[], Must::Have(&["@name"])),
    rule(
        "sysinfo/system/entry",
        &[],
        Must::Fit(
            "@name",
            words!(
                "manufacturer",
                "product",
                "version",
                "serial",
                "uuid",
                "sku",
                "family"
            ),
        ),
    ),
    rule("sysinfo/baseBoard", &[], Must::Have(&["entry"])),
    rule("sysinfo/baseBoard/entry", &[], Must::Have(&["@name"])),
    rule(
        "sysinfo/baseBoard/entry",
        &[],
        Must::Fit(
            "@name",
            words!(
                "manufacturer",
                "product",
                "version",
                "serial",
                "asset",
                "location"
            ),
        ),
    ),
    rule("sysinfo/chassis", &[], Must::Have(&["entry"])),
    rule("sysinfo/chassis/entry", &[], Must::Have(&["@name"])),
    rule(
        "sysinfo/chassis/entry",
        &[],
        Must::Fit(
            "@name",
            words!("manufacturer", "version", "serial", "asset", "sku"),
        ),
    ),
    rule("sysinfo/oemStrings", &[], Must::Have(&["entry"])),
    // What users say to one hypervisor past the model.
    rule("domain/deprecation", &[], Must::Have(&["@behavior"])),
    rule(
        "domain/deprecation",
        &[],
        Must::Fit("@behavior", words!("none", "omit", "reject", "crash")),
    ),
    rule("domain/commandline/arg", &[], Must::Have(&["@value"])),
    rule("domain/commandline/env", &[], Must::Have(&["@name"])),
    rule("domain/capabilities/add", &[], Must::Have(&["@capability"])),
    rule("domain/capabilities/del", &[], Must::Have(&["@capability"])),
    rule("domain/override/device", &[], Must::Have(&["@alias"])),
    rule("domain/namespace/sharenet", &[], Must::Have(&["@type", "@value"])),
    rule("domain/namespace/shareipc", &[], Must::Have(&["@type", "@value"])),
    rule("domain/namespace/shareuts", &[], Must::Have(&["@type", "@value"])),
    rule("cputune/emulatorpin", &[], Must::Fit("@cpuset", forms::CPU_SET)),
    rule("cputune/iothreadpin", &[], Must::Fit("@cpuset", forms::CPU_SET)),
    rule("os/bootmenu", &[], Must::Fit("@timeout", forms::BOOT_TIMEOUT)),
    rule("domain/os", &[], Must::Have(&["type"])),
    rule("os/type", &[], Must::Fit("@arch", forms::ARCH)),
    rule("os/type", &[], Must::Fit("@machine", forms::MACHINE)),
    rule("os/nvram", &[], Must::Fit("@template", forms::ABSOLUTE_PATH)),
    rule("domain/os", &[], Must::Once(&["nvram"])),
    rule("domain/clock", &[], Must::Have(&["@offset"])),
    rule("os/bootmenu", &[], Must::Have(&["@enable"])),
    // Parts that many devices have.
    rule("boot", &[], Must::Fit("@order", forms::POSITIVE)),
    rule("boot", &[], Must::Fit("@loadparm", forms::LOADPARM)),
    rule("alias", &[], Must::Fit("@name", forms::ALIAS)),
    rule("rom", &[], Must::Fit("@file", forms::ABSOLUTE_PATH)),
    rule(
        "address",
        &[("@type", &["pci"])],
        Must::Fit("@domain", forms::UINT32),
    ),
    rule(
        "address",
        &[("@type?", &["pci"])],
        Must::Fit("@slot", forms::PCI_SLOT),
    ),
    rule(
        "address",
        &[("@type?", &["pci"])],
        Must::Fit("@function", forms::PCI_FUNCTION),
    ),
    rule("address", &[("@type", &["pci"])], Must::Fit("@bus", forms::UINT8)),
    rule(
        "address",
        &[("@type", &["usb"])],
        Must::Fit("@port", forms::USB_PORT),
    ),
    rule(
        "address",
        &[("@type", &["usb"])],
        Must::Fit("@bus", forms::USB_ADDRESS),
    ),
    rule(
        "address",
        &[("@type", &["drive"])],
        Must::Fit("@controller", forms::TWO_DIGITS),
    ),
    rule(
        "address",
        &[("@type", &["drive"])],
        Must::Fit("@bus", forms::TWO_DIGITS),
    ),
    rule(
        "address",
        &[("@type", &["ccw"])],
        Must::Fit("@cssid", forms::CCW_CSSID),
    ),
    rule(
        "address",
        &[("@type", &["ccw"])],
        Must::Fit("@ssid", forms::CCW_SSID),
    ),
    rule(
        "address",
        &[("@type", &["ccw"])],
        Must::Fit("@devno", forms::CCW_DEVNO),
    ),
    rule(
        "address",
        &[("@type", &["spapr-vio"])],
        Must::Fit("@reg", forms::SPAPR_REGISTER),
    ),
    rule(
        "address",
        &[("@type", &["virtio-serial"])],
        Must::Fit("@port", forms::TWO_DIGITS),
    ),
    rule(
        "address",
        &[("@type", &["virtio-serial"])],
        Must::Fit("@bus", forms::TWO_DIGITS),
    ),
    rule("zpci", &[], Must::Fit("@uid", forms::UINT16)),
    rule("zpci", &[], Must::Fit("@fid", forms::UINT32)),
    // Labels.
    rule(
        "source/seclabel",
        &[("@relabel", &["yes"])],
        Must::Have(&["label"]),
    ),
    rule(
        "source/seclabel",
        &[("@relabel", &["no"])],
        Must::NotHave(&["label"]),
    ),
    // Drives.
    rule("devices/disk", &[], Must::Have(&["target"])),
    rule(
        "devices/disk",
        &[("@device", &["lun"])],
        Must::NotHave(&["source@file"]),
    ),
    rule("disk/target", &[], Must::Have(&["@dev"])),
    rule("disk/target", &[], Must::Fit("@dev", forms::DISK_TARGET)),
    rule("disk/serial", &[], Must::Fit("text()", forms::DISK_SERIAL)),
    rule("disk/wwn", &[], Must::Fit("text()", forms::WWN)),
    rule(
        "devices/disk",
        &[("@type", &["network"])],
        Must::Have(&["source"]),
    ),
    rule(
        "source",
        &[("@protocol", &["iscsi", "gluster"])],
        Must::Have(&["@name"]),
    ),
    rule(
        "source",
        &[("@protocol", &["iscsi", "gluster", "nbd"])],
        Must::Have(&["host"]),
    ),
    rule("auth/secret", &[], Must::Have(&["@type"])),
    rule("auth", &[], Must::Have(&["@username", "secret"])),
    rule(
        "disk/throttlefilters/throttlefilter",
        &[],
        Must::Have(&["@group"]),
    ),
    rule("encryption", &[], Must::HaveTogether(&["cipher", "ivgen"])),
    rule("disk/encryption", &[], Must::Have(&["@format"])),
    rule("source/encryption", &[], Must::Have(&["@format"])),
    rule("disk/source", &[], Must::Fit("@file", forms::SOURCE_FILE)),
    rule("disk/source", &[], Must::Fit("@dir", forms::ABSOLUTE_PATH)),
    rule("disk/source", &[], Must::Fit("@dev", forms::NOT_EMPTY)),
    rule("disk/driver", &[], Must::Fit("@name", forms::GENERIC_NAME)),
    rule(
        "disk/address",
        &[("@type", &["drive"])],
        Must::Fit("@unit", forms::UNSIGNED_INT),
    ),
    rule("backingStore/format", &[], Must::Have(&["@type"])),
    rule("encryption/cipher", &[], Must::Have(&["@name", "@size"])),
    // Other devices.
    rule("devices/emulator", &[], Must::Fit("text()", forms::ABSOLUTE_PATH)),
    rule(
        "devices/controller",
        &[("@type", &["pci"])],
        Must::Have(&["@model"]),
    ),
    rule("controller/model", &[], Must::Have(&["@name"])),
    rule("interface/model", &[], Must::Have(&["@type"])),
    rule("interface/model", &[], Must::Fit("@type", forms::DEVICE_NAME)),
    rule("interface/mac", &[], Must::Have(&["@address"])),
    rule("interface/script", &[], Must::Have(&["@path"])),
    rule(
        "devices/interface",
        &[("@type", &["bridge"])],
        Must::Have(&["source@bridge"]),
    ),
    rule(
        "devices/interface",
        &[("@type", &["network"])],
        Must::Have(&["source@network"]),
    ),
    rule("devices/channel", &[], Must::Have(&["@type", "target"])),
    rule("devices/serial", &[], Must::Have(&["@type"])),
    rule("devices/parallel", &[], Must::Have(&["@type"])),
    rule("serial/target/model", &[], Must::Have(&["@name"])),
    rule("devices/filesystem", &[], Must::Have(&["target"])),
    rule("filesystem/target", &[], Must::Have(&["@dir"])),
    rule(
        "filesystem/source",
        &[],
        Must::Fit("@dir", forms::ABSOLUTE_FOLDER),
    ),
    rule(
        "devices/hostdev",
        &[("@type", &["usb", "pci", "scsi", "scsi_host", "mdev"])],
        Must::Have(&["source"]),
    ),
    rule(
        "hostdev/source",
        &[],
        Must::HaveOneOf(&[
            "address",
            "vendor",
            "adapter",
            "block",
            "char",
            "interface",
            "@protocol",
        ]),
    ),
    rule("devices/memory", &[], Must::Have(&["target"])),
    rule("video/model", &[], Must::Have(&["@type"])),
    rule("cpu/feature", &[], Must::Have(&["@name"])),
    rule("numa/cell", &[], Must::Fit("@cpus", forms::CPU_SET)),
    rule("cpu/numa", &[], Must::Have(&["cell"])),
    rule("cpu/numa/cell", &[], Must::Have(&["@memory"])),
    rule("cpu/numa/cell", &[], Must::Fit("@memory", forms::UNSIGNED_LONG)),
    rule("cpu/numa/cell", &[], Must::Fit("@unit", forms::UNIT)),
    rule("memory/target", &[], Must::Have(&["size"])),
    rule("cputune/cachetune", &[], Must::Have(&["@vcpus"])),
    rule("cputune/cachetune", &[], Must::Fit("@vcpus", forms::CPU_SET)),
    rule("cachetune/monitor", &[], Must::Have(&["@level", "@vcpus"])),
    rule(
        "cachetune/cache",
        &[],
        Must::Have(&["@id", "@level", "@type", "@size"]),
    ),
    rule("hugepages/page", &[], Must::Have(&["@size"])),
    rule("hugepages/page", &[], Must::Fit("@unit", forms::UNIT)),
    rule("blkiotune/device", &[], Must::Have(&["path"])),
    rule(
        "blkiotune/device/path",
        &[],
        Must::Fit("text()", forms::ABSOLUTE_PATH),
    ),
    rule("features/smm", &[], Must::Fit("@state", forms::ON_OFF)),
    rule("features/cfpc", &[], Must::Have(&["@value"])),
    rule("features/sbbc", &[], Must::Have(&["@value"])),
    rule("features/ibs", &[], Must::Have(&["@value"])),
    rule("features/ccf-assist", &[], Must::Have(&["@state"])),
    rule("devices/controller", &[], Must::Have(&["@type"])),
    rule(
        "devices/controller",
        &[],
        Must::Fit("@index", forms::UNSIGNED_INT),
    ),
    rule("devices/interface", &[], Must::Have(&["@type"])),
    rule("interface/mac", &[], Must::Fit("@address", forms::UNICAST_MAC)),
    rule("graphics/listen", &[], Must::Have(&["@type"])),
    rule(
        "graphics/listen",
        &[("@type", &["network"])],
        Must::Have(&["@network"]),
    ),
    rule("devices/graphics", &[], Must::Fit("@port", forms::PORT)),
    rule("devices/tpm", &[], Must::Have(&["backend"])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_ranges_and_metadata_is_free() {
        const QEMU: &str = "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'";
        for (part, allowed) in [
            ("<vcpu current='1'>2</vcpu>", true),
            ("<vcpu current='0'>2</vcpu>", false),
            (
                "<devices><filesystem fmode='0644' dmode='755'><source dir='/a'/><target dir='b'/></filesystem></devices>",
                true,
            ),
            (
                "<devices><filesystem fmode='0888'><source dir='/a'/><target dir='b'/></filesystem></devices>",
                false,
            ),
            ("<cputune><global_period>999</global_period></cputune>", false),
            ("<cputune><shares>0</shares><quota>-1</quota></cputune>", true),
            ("<blkiotune><weight>99</weight></blkiotune>", false),
            ("<sysinfo type='smbios'><bios/></sysinfo>", false),
            (
                "<sysinfo type='smbios'><bios><entry name='sku'>1</entry></bios></sysinfo>",
                false,
            ),
            (
                "<metadata><a xmlns='a:b'><cputune><period>1</period></cputune></a></metadata>",
                true,
            ),
            (
                "<launchSecurity type='sev'><policy>0x1</policy><handle>1</handle></launchSecurity>",
                true,
            ),
            (
                "<launchSecurity type='sev'><policy>0x1</policy><handle>a</handle></launchSecurity>",
                false,
            ),
            (
                "<devices><disk type='file'><source file='/a'><dataStore type='file'><format type='raw'><metadata_cache>\
                 <max_size>1</max_size></metadata_cache></format><source file='/b'/></dataStore></source>\
                 <target dev='vda'/></disk></devices>",
                true,
            ),
            (&format!("<q:deprecation {QEMU} behavior='omit'/>"), true),
            (&format!("<q:deprecation {QEMU} behavior='odd'/>"), false),
            (
                &format!("<q:capabilities {QEMU}><q:add/></q:capabilities>"),
                false,
            ),
        ] {
            let text = format!("<domain type='kvm'><name>a</name><os><type>hvm</type></os>{part}</domain>");
            let verdict = check_schema(&Doc::parse(&text).unwrap());
            assert_eq!(verdict.is_ok(), allowed, "{part}: {verdict:?}");
        }
    }
}
