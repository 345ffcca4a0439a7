//! Rules of reading a definition that reach across elements, each with the code that libvirt refuses with.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NoHooks, NormalizeContext, NormalizeFlags, SystemRandomness, normalize};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result};

/// The document that a definition with `inner` comes out as.
fn read(inner: &str) -> Result<Domain> {
    let text = format!("<domain type='test'><name>a</name><memory>1</memory>{inner}</domain>");
    let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "test")?;
    let cx = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &NoHooks, &cx)?;
    Ok(domain)
}

const HVM: &str = "<os><type arch='x86_64'>hvm</type></os>";

#[track_caller]
fn says(inner: &str, want: &str) {
    let text = read(&format!("{HVM}{inner}")).unwrap().format(XmlFlags::INACTIVE);
    assert!(text.contains(want), "{want} in {text}");
}

#[track_caller]
fn refuses(inner: &str, code: ErrorCode) {
    let error = read(&format!("{HVM}{inner}")).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
}

#[test]
fn a_boot_loader_hides_the_boot_order() {
    let domain = read(
        "<bootloader>/bin/pygrub</bootloader><os><type arch='x86_64'>hvm</type><boot dev='cdrom'/><bootmenu enable='yes'/>\
         <bios useserial='yes'/></os>",
    )
    .unwrap();
    let text = domain.format(XmlFlags::INACTIVE);
    assert!(
        !text.contains("<boot ") && !text.contains("<bootmenu") && !text.contains("<bios"),
        "{text}"
    );
    // Who converts the definition still knows it.
    assert_eq!(domain.os.boot.len(), 1);
}

#[test]
fn distances_of_nodes_hold_both_ways_until_the_other_side_says_its_own() {
    let nodes = |first: &str, second: &str| {
        format!(
            "<vcpu>2</vcpu><cpu><numa><cell id='0' cpus='0' memory='1'>{first}</cell>\
             <cell id='1' cpus='1' memory='1'>{second}</cell></numa></cpu>"
        )
    };
    let to = |id: u32, value: u32| format!("<distances><sibling id='{id}' value='{value}'/></distances>");
    says(&nodes(&to(1, 21), ""), "<sibling id='0' value='21'/>");
    says(&nodes(&to(1, 21), &to(0, 31)), "<sibling id='0' value='31'/>");
    let twice = "<distances><sibling id='1' value='21'/><sibling id='1' value='31'/></distances>";
    let text = read(&format!("{HVM}{}", nodes(twice, "")))
        .unwrap()
        .format(XmlFlags::INACTIVE);
    // What was said first stays for the other side.
    assert!(
        text.contains("id='1' value='31'") && text.contains("id='0' value='21'"),
        "{text}"
    );
    for wrong in [to(1, 10), to(0, 11), to(1, 9), to(1, 256), to(2, 20)] {
        refuses(&nodes(&wrong, ""), ErrorCode::XML_ERROR);
    }
}

#[test]
fn addresses_are_of_their_family() {
    let card = |ip: &str| format!("<devices><interface type='ethernet'><ip {ip}/></interface></devices>");
    says(
        &card("address='10.0.0.1' prefix='32'"),
        "<ip address='10.0.0.1' family='ipv4' prefix='32'/>",
    );
    for wrong in [
        "address='10.0.0.1' family='ipv6'",
        "address='::1' family='ipv4'",
        "address='10.0.0.1' prefix='33'",
        "address='::1' prefix='129'",
    ] {
        refuses(&card(wrong), ErrorCode::XML_ERROR);
    }
    refuses(
        "<devices><interface type='user'><virtualport type='openvswitch'/></interface></devices>",
        ErrorCode::CONFIG_UNSUPPORTED,
    );
}

#[test]
fn a_bridge_without_a_name_stays_one() {
    says(
        "<devices><interface type='bridge'><source bridge=''/></interface></devices>",
        "<source bridge=''/>",
    );
    refuses(
        "<devices><interface type='bridge'><source/></interface></devices>",
        ErrorCode::XML_ERROR,
    );
}

#[test]
fn what_stands_behind_a_mac_address_and_a_blank_is_passed_over() {
    let card =
        |mac: &str| format!("<devices><interface type='user'><mac address='{mac}'/></interface></devices>");
    says(&card("52:54:0:1:2:a b"), "<mac address='52:54:00:01:02:0a'/>");
    for wrong in [
        "52:54:00:01:02:+a",
        "52:54:00:01:02",
        "52:54:00:01:02:03:04",
        " 52:54:00:01:02:03",
    ] {
        let error = read(&format!("{HVM}{}", card(wrong))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::XML_ERROR, "{wrong}: {error}");
    }
}

#[test]
fn tuning_of_cpus_is_cut_to_those_of_the_guest() {
    let tune = |inner: &str| format!("<vcpu>1</vcpu><cputune>{inner}</cputune>");
    let cache = |vcpus: &str, monitors: &str| {
        format!(
            "<cachetune vcpus='{vcpus}'><cache id='0' level='3' type='both' size='1' unit='MiB'/>{monitors}</cachetune>"
        )
    };
    says(&tune(&cache("0-1", "")), "<cachetune vcpus='0'>");
    // What is left are the same CPUs, so they belong together.
    says(
        &tune(&format!(
            "{}<memorytune vcpus='0'><node id='0' bandwidth='20'/></memorytune>",
            cache("0-1", "")
        )),
        "<memorytune vcpus='0'>",
    );
    let text = read(&format!("{HVM}{}", tune(&cache("1-2", ""))))
        .unwrap()
        .format(XmlFlags::INACTIVE);
    assert!(!text.contains("cachetune"), "{text}");
    refuses(
        &tune(&cache("0", "<monitor level='3' vcpus='1'/>")),
        ErrorCode::INVALID_ARG,
    );
    refuses(
        &tune(&cache(
            "0-1",
            "<monitor level='3' vcpus='0-1'/><monitor level='3' vcpus='0'/>",
        )),
        ErrorCode::INVALID_ARG,
    );
    refuses(
        &tune("<vcpusched vcpus='1' scheduler='idle'/>"),
        ErrorCode::CONFIG_UNSUPPORTED,
    );
    // Where nothing is allocated, monitors do not even overlap with that of the whole.
    let monitored = "<cachetune vcpus='0-1'><monitor level='3' vcpus='0-1'/></cachetune>\
                     <memorytune vcpus='0-1'><monitor vcpus='0'/></memorytune>";
    refuses(
        &format!("<vcpu>2</vcpu><cputune>{monitored}</cputune>"),
        ErrorCode::INVALID_ARG,
    );
}

#[test]
fn shared_namespaces_are_refused_in_the_containers_name() {
    for wrong in ["type='netns'", "value='a'", "type='odd' value='a'"] {
        let text = format!(
            "<domain type='lxc' xmlns:lxc='http://libvirt.org/schemas/domain/lxc/1.0'><name>a</name><memory>1</memory>\
             <os><type>exe</type><init>/i</init></os><lxc:namespace><lxc:sharenet {wrong}/></lxc:namespace></domain>"
        );
        let error = Domain::parse(&text, XmlFlags::INACTIVE, "test").unwrap_err();
        assert_eq!(
            (error.code(), error.domain()),
            (ErrorCode::INTERNAL_ERROR, ErrorDomain::LXC),
            "{error}"
        );
    }
}

#[test]
fn words_that_stand_for_nothing_said_are_no_words() {
    for inner in [
        "<input type='tablet' bus='default'/>",
        "<input type='tablet' bus='virtio' model='default'/>",
    ] {
        refuses(
            &format!("<devices>{inner}</devices>"),
            ErrorCode::CONFIG_UNSUPPORTED,
        );
    }
    // What has no bus says nothing of it.
    says(
        "<devices><input type='tablet' bus='none'/></devices>",
        "<input type='tablet'/>",
    );
    says(
        "<devices><input type='evdev'><source dev='/dev/input/event1'/></input></devices>",
        "<input type='evdev'>",
    );
}

#[test]
fn images_of_firmware_are_raw_or_qcow2() {
    let os = |inner: &str| read(&format!("<os><type arch='x86_64'>hvm</type>{inner}</os>"));
    let loader = |format: &str| format!("<loader readonly='yes' type='pflash' format='{format}'>/a</loader>");
    for format in ["dir", "qed", "auto", "colour"] {
        let plain = loader("raw");
        for inner in [
            loader(format),
            format!("{plain}<nvram format='{format}'>/b</nvram>"),
            format!("{plain}<nvram template='/c' templateFormat='{format}'>/b</nvram>"),
        ] {
            assert_eq!(os(&inner).unwrap_err().code(), ErrorCode::XML_ERROR, "{inner}");
        }
    }
    let text = os(&loader("none")).unwrap().format(XmlFlags::INACTIVE);
    assert!(
        text.contains("<loader readonly='yes' type='pflash'>/a</loader>"),
        "{text}"
    );
    let text = os(&loader("qcow2")).unwrap().format(XmlFlags::INACTIVE);
    assert!(
        text.contains("type='pflash' format='qcow2'>/a</loader>"),
        "{text}"
    );
}

#[test]
fn only_usb_devices_behind_interfaces_may_be_missing() {
    let interface = |address: &str| {
        format!(
            "<devices><interface type='hostdev'><source startupPolicy='optional'>{address}</source></interface></devices>"
        )
    };
    refuses(
        &interface("<address type='pci' domain='0' bus='1' slot='0' function='0'/>"),
        ErrorCode::CONFIG_UNSUPPORTED,
    );
    says(
        &interface("<vendor id='0x1234'/><product id='0x5678'/>"),
        "startupPolicy='optional'",
    );
}

#[test]
fn tables_of_the_host_are_not_a_guests() {
    let text = read(&format!(
        "{HVM}<sysinfo type='smbios'><processor><entry name='version'>b</entry></processor>\
         <memory_device><entry name='size'>1</entry></memory_device></sysinfo>"
    ))
    .unwrap()
    .format(XmlFlags::INACTIVE);
    assert!(text.contains("<sysinfo type='smbios'/>"), "{text}");
}

#[test]
fn what_belongs_to_others_is_not_looked_at() {
    let text = |devices: &str| {
        let inner = format!("{HVM}<devices>{devices}</devices>");
        read(&inner).unwrap().format(XmlFlags::INACTIVE)
    };
    let card = |model: &str| text(&format!("<sound model='{model}'><codec type='duplex'/></sound>"));
    assert!(card("ich6").contains("<codec type='duplex'/>"));
    assert!(!card("ac97").contains("codec"));
    // Of a card without codecs, a wrong one is none either.
    text("<sound model='es1370'><codec type='odd'/></sound>");
    let module = |size: u32| {
        let module = format!(
            "<memory model='nvdimm'><source><path>/a</path></source><target><size unit='MiB'>512</size>\
             <label><size>{size}</size></label></target></memory>"
        );
        let guest = format!("<domain type='test'><name>a</name>{HVM}<devices>{module}</devices></domain>");
        let domain = Domain::parse(&guest, XmlFlags::INACTIVE, "test").unwrap();
        domain.format(XmlFlags::INACTIVE)
    };
    assert!(module(128).contains("<label>"));
    assert!(!module(0).contains("<label>"));
}

#[test]
fn nodes_are_said_where_there_is_a_topology_of_them() {
    refuses("<cpu><numa/></cpu>", ErrorCode::XML_ERROR);
    let placed = |placement: &str| {
        let nodes = "<vcpu placement='auto'>2</vcpu><numatune><memory";
        read(&format!("{HVM}{nodes} placement='{placement}'/></numatune>")).map(|domain| {
            domain
                .numatune
                .and_then(|tune| tune.memory)
                .and_then(|memory| memory.placement)
        })
    };
    let auto = placed("auto").unwrap();
    assert!(auto.is_some());
    assert_eq!(placed("default").unwrap(), auto);
    assert_eq!(placed("odd").unwrap_err().code(), ErrorCode::CONFIG_UNSUPPORTED);
}

#[test]
fn options_of_virtio_are_refused_where_the_interface_is_none() {
    let text = format!(
        "<domain type='test'><name>a</name><memory>1</memory>{HVM}<devices><interface type='user'>\
         <driver iommu='on'/><model type='e1000'/></interface></devices></domain>"
    );
    let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "test").unwrap();
    let cx = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &NoHooks, &cx).unwrap();
    let error = virt_conf::domain::validate::validate(&domain, &NoHooks).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED, "{error}");
}

#[test]
fn words_of_elsewhere_are_not_known_here() {
    let secret = |kind: &str| {
        format!(
            "<devices><hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.1992-01.com.example:a/1'>\
             <host name='example.org'/><auth username='a'><secret type='{kind}' usage='b'/></auth></source></hostdev></devices>"
        )
    };
    assert!(read(&format!("{HVM}{}", secret("iscsi"))).is_ok());
    refuses(&secret("ceph"), ErrorCode::INTERNAL_ERROR);
    refuses(&secret("odd"), ErrorCode::CONFIG_UNSUPPORTED);
    let device = |kind: &str| {
        let text = format!("<device><name>a</name><capability type='{kind}'/></device>");
        virt_conf::node_device::NodeDevice::parse(&text, "test")
            .unwrap_err()
            .code()
    };
    assert_eq!(device("scsi_generic"), ErrorCode::INTERNAL_ERROR);
    assert_eq!(device("vpd"), ErrorCode::INTERNAL_ERROR);
    assert_eq!(device("odd"), ErrorCode::XML_ERROR);
}

#[test]
fn users_of_a_folder_are_mapped_by_virtiofsd_alone() {
    let map = "<idmap><uid start='0' target='1000' count='5'/></idmap>";
    let folder = |driver: &str| {
        let inner = format!(
            "{HVM}<devices><filesystem type='mount'><driver type='{driver}'/>{map}<source dir='/a'/>\
             <target dir='b'/></filesystem></devices>"
        );
        read(&inner).unwrap().format(XmlFlags::INACTIVE)
    };
    assert!(folder("virtiofs").contains("<uid start='0'"));
    assert!(!folder("path").contains("idmap"));
}

#[test]
fn parts_of_a_domain_tell_of_themselves_in_other_documents() {
    use virt_conf::snapshot::{Snapshot, SnapshotFlags};
    let parse = |inner: &str, flags: SnapshotFlags| {
        let text = format!("<domainsnapshot>{inner}</domainsnapshot>");
        Snapshot::parse(&text, flags, "test").unwrap_err().domain()
    };
    let domain = "<name>a</name><state>running</state><creationTime>1</creationTime><domain type='odd'><name>b</name></domain>";
    assert_eq!(parse(domain, SnapshotFlags::REDEFINE), ErrorDomain::DOMAIN);
    let label = "<seclabel model='dac' relabel='no'/>";
    let source = format!(
        "<disks><disk name='vda' snapshot='external'><source file='/a'>{label}{label}</source></disk></disks>"
    );
    assert_eq!(parse(&source, SnapshotFlags::empty()), ErrorDomain::DOMAIN);
    let disk = "<disks><disk name='vda' snapshot='external' type='dir'/></disks>";
    assert_ne!(parse(disk, SnapshotFlags::empty()), ErrorDomain::DOMAIN);
    let secret = virt_conf::secret::Secret::parse("<secret private='odd'/>", "test").unwrap_err();
    assert_eq!(
        (secret.code(), secret.domain()),
        (ErrorCode::XML_ERROR, ErrorDomain::SECRET)
    );
}

#[test]
fn credentials_name_somebody() {
    let pool = |name: &str| {
        let text = format!(
            "<pool type='iscsi'><name>a</name><source><host name='h'/><device path='iqn.1992-01.com.example:a'/>\
             <auth type='chap' username='{name}'><secret usage='b'/></auth></source><target><path>/dev</path></target></pool>"
        );
        virt_conf::storage_pool::StoragePool::parse(&text, "test")
    };
    assert!(pool("somebody").is_ok());
    assert_eq!(pool("").unwrap_err().code(), ErrorCode::XML_ERROR);
}
