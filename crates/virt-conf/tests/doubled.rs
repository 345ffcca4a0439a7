//! Elements that stand several times. libvirt looks most parts up by paths from the root of a document, which find them in
//! all containers of a name; some it asks of the first or the last element, and a few it refuses.

use virt_conf::domain::Domain;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode as C, ErrorDomain as D, Result};

fn guest(content: &str) -> Result<String> {
    let os = "<os><type arch='x86_64'>hvm</type></os>";
    let source = format!(
        "<domain type='test'><name>a</name><memory>1024</memory><vcpu>4</vcpu>{os}{content}</domain>"
    );
    Ok(Domain::parse(&source, XmlFlags::INACTIVE, "f")?.format(XmlFlags::INACTIVE))
}

/// What stands in several elements is the same as what stands in one.
#[track_caller]
fn same(several: &str, one: &str) {
    let read = |content| guest(content).expect("a document that libvirt takes");
    let (several, one) = (read(several), read(one));
    assert_eq!(several, one);
    assert_ne!(one, read(""), "nothing was said");
}

#[track_caller]
fn refused(content: &str, code: C, domain: D) {
    let error = guest(content).expect_err(content);
    assert_eq!(
        (error.code(), error.domain()),
        (code, domain),
        "{}",
        error.message()
    );
}

const DISK: &str = "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>";
const SECOND: &str = "<disk type='file'><source file='/b'/><target dev='vdb' bus='virtio'/></disk>";

#[test]
fn containers_of_the_guest_add_up() {
    same(
        &format!("<devices>{DISK}</devices><devices>{SECOND}</devices>"),
        &format!("<devices>{DISK}{SECOND}</devices>"),
    );
    same(
        &format!("<devices/><devices><emulator>/e</emulator>{DISK}</devices>"),
        &format!("<devices><emulator>/e</emulator>{DISK}</devices>"),
    );
    for (several, one) in [
        (
            "<os/><os><boot dev='hd'/></os><os firmware='efi'><bootmenu enable='yes'/></os>",
            "<os firmware='efi'><boot dev='hd'/><bootmenu enable='yes'/></os>",
        ),
        (
            "<cputune><shares>5</shares></cputune><cputune><vcpupin vcpu='0' cpuset='1'/></cputune>",
            "<cputune><shares>5</shares><vcpupin vcpu='0' cpuset='1'/></cputune>",
        ),
        (
            "<memtune/><memtune><hard_limit>9</hard_limit></memtune>",
            "<memtune><hard_limit>9</hard_limit></memtune>",
        ),
        (
            "<memoryBacking><locked/><source/></memoryBacking><memoryBacking><source type='memfd'/></memoryBacking>",
            "<memoryBacking><source type='memfd'/><locked/></memoryBacking>",
        ),
        (
            "<clock/><clock offset='localtime'><timer name='pit'/></clock><clock adjustment='reset'/>",
            "<clock offset='localtime' adjustment='reset'><timer name='pit'/></clock>",
        ),
        (
            "<pm><suspend-to-mem enabled='no'/></pm><pm><suspend-to-disk enabled='no'/></pm>",
            "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>",
        ),
        (
            "<iothreadids/><iothreadids><iothread id='2'/></iothreadids>",
            "<iothreadids><iothread id='2'/></iothreadids>",
        ),
        (
            "<blkiotune><device><path>/a</path><weight>200</weight></device></blkiotune><blkiotune><weight>300</weight></blkiotune>",
            "<blkiotune><weight>300</weight><device><path>/a</path><weight>200</weight></device></blkiotune>",
        ),
        (
            "<cpu mode='host-model'/><cpu><numa><cell id='0' cpus='0' memory='1024'/></numa></cpu>",
            "<cpu mode='host-model'><numa><cell id='0' cpus='0' memory='1024'/></numa></cpu>",
        ),
    ] {
        same(several, one);
    }
}

#[test]
fn the_last_feature_of_a_name_counts() {
    same(
        "<features><pmu state='on'/></features><features><pmu state='off'/></features>",
        "<features><pmu state='off'/></features>",
    );
    same(
        "<features><apic eoi='on'/><apic/></features>",
        "<features><apic/></features>",
    );
    same(
        "<features><kvm><hidden state='on'/></kvm><kvm><pv-ipi state='on'/><hidden state='off'/></kvm></features>",
        "<features><kvm><hidden state='off'/><pv-ipi state='on'/></kvm></features>",
    );
    same(
        "<features><hyperv mode='passthrough'/><hyperv><relaxed state='on'/></hyperv></features>",
        "<features><hyperv><relaxed state='on'/></hyperv></features>",
    );
    refused(
        "<features><pmu state='odd'/><pmu state='on'/></features>",
        C::XML_ERROR,
        D::XML,
    );
}

#[test]
fn parts_of_devices_are_looked_for_in_all_elements() {
    let device = |content: &str| format!("<devices>{content}</devices>");
    for (several, one) in [
        (
            "<interface type='user'><model/><model type='e1000'/><link/><link state='down'/></interface>",
            "<interface type='user'><model type='e1000'/><link state='down'/></interface>",
        ),
        (
            "<disk type='file'><target dev='vda'/><iotune><total_bytes_sec>9</total_bytes_sec></iotune><iotune><total_iops_sec>8</total_iops_sec></iotune></disk>",
            "<disk type='file'><target dev='vda'/><iotune><total_bytes_sec>9</total_bytes_sec><total_iops_sec>8</total_iops_sec></iotune></disk>",
        ),
        (
            "<rng model='virtio'><rate bytes='5'/><rate period='6'/><backend model='builtin'/></rng>",
            "<rng model='virtio'><rate bytes='5' period='6'/><backend model='builtin'/></rng>",
        ),
        (
            "<video><alias/><alias name='ua-a'/><model type='vga'/></video>",
            "<video><alias name='ua-a'/><model type='vga'/></video>",
        ),
    ] {
        let several = several.replace(
            "<interface type='user'>",
            "<interface type='user'><mac address='52:54:00:00:00:01'/>",
        );
        let one = one.replace(
            "<interface type='user'>",
            "<interface type='user'><mac address='52:54:00:00:00:01'/>",
        );
        same(&device(&several), &device(&one));
    }
}

#[test]
fn what_may_stand_once_is_refused_before_it_is_read() {
    let device = |content: &str| format!("<devices>{content}</devices>");
    for (content, code, domain) in [
        (
            device("<memballoon/><memballoon model='virtio'/>"),
            C::INTERNAL_ERROR,
            D::DOMAIN,
        ),
        (
            device("<redirfilter/><redirfilter/>"),
            C::INTERNAL_ERROR,
            D::DOMAIN,
        ),
        (device("<iommu/><iommu model='intel'/>"), C::XML_ERROR, D::DOMAIN),
        (
            device("<rng model='virtio'><backend/><backend model='builtin'/></rng>"),
            C::XML_ERROR,
            D::DOMAIN,
        ),
        (
            device("<memballoon model='none'/>").repeat(2),
            C::INTERNAL_ERROR,
            D::DOMAIN,
        ),
        (
            "<cputune><emulatorpin/><emulatorpin cpuset='1'/></cputune>".to_owned(),
            C::XML_ERROR,
            D::DOMAIN,
        ),
        ("<resource/><resource/>".to_owned(), C::XML_ERROR, D::DOMAIN),
        (
            "<cpu><cache/><cache mode='disable'/></cpu>".to_owned(),
            C::XML_ERROR,
            D::CPU,
        ),
    ] {
        refused(&content, code, domain);
    }
}

#[test]
fn distances_are_taken_in_the_order_of_the_document() {
    let numa = |cells: &str| format!("<cpu><numa>{cells}</numa></cpu>");
    let cell = |id: u32, siblings: &str| {
        format!("<cell id='{id}' cpus='{id}' memory='1024'><distances>{siblings}</distances></cell>")
    };
    same(
        &numa(
            &(cell(0, "<sibling id='1' value='31'/><sibling id='1' value='41'/>")
                + &cell(1, "<sibling id='1' value='10'/>")),
        ),
        &numa(&(cell(0, "<sibling id='1' value='41'/>") + &cell(1, "<sibling id='0' value='31'/>"))),
    );
    let bad = cell(0, "<sibling id='1' value='10'/>") + &cell(1, "<sibling id='1' value='10'/>");
    refused(&numa(&bad), C::XML_ERROR, D::DOMAIN);
    let none = cell(0, "") + &cell(1, "<sibling id='1' value='10'/>");
    refused(&numa(&none), C::XML_ERROR, D::DOMAIN);
}

#[test]
fn tables_of_the_firmware_without_entries_are_dropped() {
    let boards =
        "<baseBoard/><baseBoard><entry name='product'>p</entry><entry name='product'>q</entry></baseBoard>";
    same(
        &format!(
            "<sysinfo type='smbios'><bios/><system><entry name='sku'/></system>{boards}<oemStrings/></sysinfo>"
        ),
        "<sysinfo type='smbios'><baseBoard><entry name='product'>p</entry></baseBoard></sysinfo>",
    );
}

#[test]
fn objects_of_the_host_add_up_too() {
    use virt_conf::interface::HostInterface;
    use virt_conf::network::NetworkPort;
    use virt_conf::node_device::NodeDevice;
    use virt_conf::storage_pool::{PoolType, StoragePool};
    use virt_conf::storage_volume::{CapacityRule, Volume};

    let pool = |content: &str| {
        let source = format!("<pool type='netfs'><name>p</name>{content}</pool>");
        StoragePool::parse(&source, "p").unwrap().format()
    };
    assert_eq!(
        pool(
            "<source><host name='h'/><dir/><dir path='/d'/><format/><format type='nfs'/></source><target/><target><path>/t</path></target>"
        ),
        pool(
            "<source><host name='h'/><dir path='/d'/><format type='nfs'/></source><target><path>/t</path></target>"
        ),
    );
    let volume = |content: &str| {
        let source = format!("<volume><name>v</name><capacity>1</capacity>{content}</volume>");
        Volume::parse(&source, PoolType::Dir, CapacityRule::Required, "v")
            .unwrap()
            .format()
    };
    assert_eq!(
        volume(
            "<target><format type='qcow2'/></target><target><compat>1.1</compat><features><lazy_refcounts/></features></target>"
        ),
        volume(
            "<target><format type='qcow2'/><compat>1.1</compat><features><lazy_refcounts/></features></target>"
        ),
    );
    let interface = |content: &str| {
        let source = format!("<interface type='ethernet' name='e'>{content}</interface>");
        HostInterface::parse(&source, "i").unwrap().format()
    };
    assert_eq!(
        interface("<start/><start mode='none'/><mtu/><mtu size='1500'/>"),
        interface("<start mode='none'/><mtu size='1500'/>"),
    );
    let port = |plug: &str| {
        let id = "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>";
        let source = format!(
            "<networkport>{id}<owner><name>n</name></owner><owner>{id}</owner><mac address='52:54:00:7b:35:93'/>{plug}</networkport>"
        );
        NetworkPort::parse(&source, "p").unwrap().format()
    };
    let address = "<address domain='0x0000' bus='0x03' slot='0x00' function='0x1'/>";
    assert_eq!(
        port(&format!("<plug type='hostdev-pci'/><plug>{address}</plug>")),
        port(&format!("<plug type='hostdev-pci'>{address}</plug>")),
    );
    let device = |content: &str| {
        let id = "<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>";
        let source = format!(
            "<device><name>computer</name><capability type='system'>{content}<hardware>{id}</hardware></capability></device>"
        );
        NodeDevice::parse(&source, "d").unwrap().format(XmlFlags::empty())
    };
    assert_eq!(
        device("<firmware/><firmware><vendor>v</vendor></firmware><hardware/>"),
        device("<firmware><vendor>v</vendor></firmware>"),
    );
}

#[test]
fn what_is_said_to_one_hypervisor_is_passed_over_by_others() {
    use virt_conf::domain::qemu_ns::QEMU_NAMESPACE as QEMU;
    let guest = |content: &str, flags: XmlFlags| {
        let os = "<os><type arch='x86_64'>hvm</type></os>";
        let source = format!(
            "<domain type='qemu' xmlns:q='{QEMU}'><name>a</name><memory>1024</memory>{os}{content}</domain>"
        );
        Domain::parse(&source, flags, "f").map(|domain| domain.format(flags))
    };
    let (own, other) = (XmlFlags::INACTIVE, XmlFlags::INACTIVE | XmlFlags::NO_NAMESPACES);
    let plain = guest("", own).unwrap();
    // Another driver does not even look whether it is right.
    assert_eq!(
        guest("<q:commandline><q:arg/></q:commandline>", other).unwrap(),
        plain
    );
    // Nothing said is nothing told.
    for nothing in [
        "<q:commandline/>",
        "<q:capabilities/>",
        "<q:override/>",
        "<q:deprecation behavior=''/>",
        "<q:odd/>",
    ] {
        assert_eq!(guest(nothing, own).unwrap(), plain, "{nothing}");
    }
    let arguments = |content: &str| guest(content, own).unwrap();
    assert_eq!(
        arguments(
            "<q:commandline><q:arg value='a'/></q:commandline><q:commandline><q:arg value='b'/></q:commandline>"
        ),
        arguments("<q:commandline><q:arg value='a'/><q:arg value='b'/></q:commandline>"),
    );
    let property = |said: &str| {
        format!(
            "<q:override><q:device alias='a'><q:frontend><q:property {said}/></q:frontend></q:device></q:override>"
        )
    };
    for (content, code) in [
        (
            "<q:commandline><q:arg/></q:commandline>".to_owned(),
            C::INTERNAL_ERROR,
        ),
        (
            "<q:commandline><q:env name='1a'/></q:commandline>".to_owned(),
            C::INTERNAL_ERROR,
        ),
        (
            "<q:capabilities><q:del/></q:capabilities>".to_owned(),
            C::INTERNAL_ERROR,
        ),
        (property("type='string' value='y'"), C::XML_ERROR),
        (property("name='id' type='string' value='y'"), C::XML_ERROR),
        (property("name='x' type='string'"), C::XML_ERROR),
        (property("name='x' type='unsigned' value='-5'"), C::XML_ERROR),
        (property("name='x' type='bool' value='yes'"), C::XML_ERROR),
        (property("name='x' type='remove' value=''"), C::XML_ERROR),
    ] {
        let error = guest(&content, own).expect_err(&content);
        assert_eq!((error.code(), error.domain()), (code, D::QEMU), "{content}");
    }
    assert!(guest(&property("name='x' type='remove'"), own).is_ok());
}

#[test]
fn whoever_reads_a_part_reports_what_is_wrong_with_it() {
    let device = |content: &str| format!("<devices>{content}</devices>");
    let disk = |content: &str| {
        device(&format!(
            "<disk type='file'><target dev='vda' bus='virtio'/>{content}</disk>"
        ))
    };
    for (content, code, domain) in [
        (disk("<backingStore type='odd'><format type='raw'/><source file='/a'/></backingStore>"), C::XML_ERROR, D::DOMAIN),
        (disk("<backingStore type='file'><format/><source file='/a'/></backingStore>"), C::XML_ERROR, D::DOMAIN),
        (disk("<source file='/a'><encryption format='luks'><secret type='passphrase'/></encryption></source>"), C::XML_ERROR, D::NONE),
        (disk("<source file='/a'><reservations managed='no'><source path='/s' mode='client'/></reservations></source>"), C::XML_ERROR, D::STORAGE),
        (device("<rng model='virtio'><rate bytes='x'/><backend model='builtin'/></rng>"), C::XML_ERROR, D::DOMAIN),
        (device("<graphics type='spice' port='x'/>"), C::XML_ERROR, D::XML),
        (device("<graphics type='vnc' port='x'/>"), C::INTERNAL_ERROR, D::DOMAIN),
        (device("<video><model type='vga'><acceleration/></model></video>"), C::CONFIG_UNSUPPORTED, D::DOMAIN),
        (device("<interface type='bridge'><source bridge='b'/><virtualport/></interface>"), C::XML_ERROR, D::NONE),
        (device("<interface type='bridge'><source bridge='b'/><virtualport type='802.1Qbg'/></interface>"), C::XML_ERROR, D::NET),
        (device("<interface type='user'><virtualport type='openvswitch'/></interface>"), C::CONFIG_UNSUPPORTED, D::DOMAIN),
        ("<cpu><model>m</model><feature policy='require'/></cpu>".to_owned(), C::XML_ERROR, D::CPU),
        ("<cpu><topology sockets='0' cores='1' threads='1'/></cpu>".to_owned(), C::XML_ERROR, D::XML),
        ("<features><hyperv><spinlocks retries='9'/></hyperv></features>".to_owned(), C::XML_ERROR, D::XML),
        ("<resource/>".to_owned(), C::INTERNAL_ERROR, D::NONE),
        (
            "<cputune><cachetune vcpus='0'><cache id='0' level='3' type='both' size='1'/><cache id='0' level='3' type='code' size='1'/></cachetune></cputune>".to_owned(),
            C::XML_ERROR,
            D::RESCTRL,
        ),
    ] {
        refused(&content, code, domain);
    }
}

#[test]
fn parts_of_a_feature_that_stands_twice_stay() {
    let features = |content: &str| {
        let written =
            guest(&format!("<features>{content}</features>")).expect("a document that libvirt takes");
        let end = written.find("</features>").expect("features");
        written[..end].split_whitespace().collect::<String>()
    };
    for name in ["tlbflush", "stimer"] {
        let part = "<directstate='on'/>";
        let on = format!("<{name} state='on'><direct state='on'/></{name}>");
        let other = format!("<{name} state='on'/>");
        assert!(
            features(&format!("<hyperv>{on}{other}</hyperv>")).contains(part),
            "{name}"
        );
        // Of a feature that is off nothing is read.
        let off = format!("<{name} state='off'><direct state='odd'/></{name}>");
        assert!(
            !features(&format!("<hyperv>{off}</hyperv>")).contains(part),
            "{name}"
        );
    }
    let rings = "<kvm><dirty-ring state='on' size='4096'/><dirty-ring state='off'/></kvm>";
    assert!(features(rings).contains("<dirty-ringstate='off'size='4096'/>"));
}
