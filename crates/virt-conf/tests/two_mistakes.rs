//! Documents with two mistakes: the one is told that libvirt comes to first when it reads. Each line has two documents with one
//! mistake each, put together; the first of them is the one that is told.

use virt_conf::cpu::CpuDocument;
use virt_conf::domain::Domain;
use virt_conf::interface::HostInterface;
use virt_conf::network::Network;
use virt_conf::nwfilter::Filter;
use virt_conf::secret::Secret;
use virt_conf::snapshot::{Snapshot, SnapshotFlags};
use virt_conf::storage_pool::{PoolType, StoragePool};
use virt_conf::storage_volume::{CapacityRule, Volume};
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode as C, ErrorDomain as D, Result, VirtError};

#[track_caller]
fn told<T>(result: Result<T>, code: C, domain: D) {
    let error: VirtError = result.err().expect("two mistakes");
    assert_eq!((error.code(), error.domain()), (code, domain), "{error}");
}

#[track_caller]
fn domain(head: &str, devices: &str, code: C, by: D) {
    let os = match head.contains("<os>") {
        true => "",
        false => "<os><type>hvm</type></os>",
    };
    let source = format!(
        "<domain type='test'><name>a</name><memory>1024</memory>{os}{head}<devices>{devices}</devices></domain>"
    );
    told(Domain::parse(&source, XmlFlags::INACTIVE, "f"), code, by);
}

#[test]
fn sections_of_a_guest_go_in_an_order_of_their_own() {
    let boot = "<os><type>hvm</type><boot dev='odd'/></os>";
    for head in [
        "<on_crash>odd</on_crash>",
        "<on_reboot>odd</on_reboot>",
        "<clock offset='odd'/>",
    ] {
        domain(&format!("{boot}{head}"), "", C::CONFIG_UNSUPPORTED, D::DOMAIN);
    }
    domain(
        &format!("{boot}<cpu mode='odd'/>"),
        "",
        C::CONFIG_UNSUPPORTED,
        D::CPU,
    );
    // What kind of guest it is comes before all its sizes, and its UUID before that.
    domain(
        "<os><type arch='odd'>hvm</type></os><vcpu placement='odd'>1</vcpu>",
        "",
        C::CONFIG_UNSUPPORTED,
        D::DOMAIN,
    );
    domain(
        "<uuid>odd</uuid><os><type>odd</type></os>",
        "",
        C::INTERNAL_ERROR,
        D::DOMAIN,
    );
    // The count of CPUs comes before who places them, and the states of some before what devices say.
    domain("<vcpu placement='odd'>odd</vcpu>", "", C::XML_ERROR, D::DOMAIN);
    let video = "<video><model type='odd'/></video>";
    let states = "<vcpu>1</vcpu><vcpus><vcpu id='1' enabled='no'/></vcpus>";
    domain(states, video, C::XML_ERROR, D::DOMAIN);
    let tune = "<numatune><memory mode='strict'/></numatune>";
    domain(tune, "<tpm model='odd'/>", C::CONFIG_UNSUPPORTED, D::DOMAIN);
    let node = "<numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>";
    domain(node, "<tpm model='odd'/>", C::XML_ERROR, D::DOMAIN);
}

#[test]
fn a_cpu_ends_with_its_cache() {
    let cpu = |attributes: &str, content: &str, code: C, by: D| {
        let source = format!("<cpu{attributes}>{content}</cpu>");
        told(CpuDocument::parse(&source, "c"), code, by);
    };
    let model = "<model>Haswell</model>";
    // Whose processor it is, and whether that may move, comes before what is compared.
    for other in ["match", "check", "deprecated_features"] {
        let attributes = format!(" {other}='odd' migratable='on'");
        cpu(&attributes, model, C::CONFIG_UNSUPPORTED, D::CPU);
    }
    // Features come before the cache, in their own order, and after what the model says.
    let policy = "<feature policy='odd' name='vmx'/>";
    let address = "<maxphysaddr mode='emulate' limit='4'/>";
    for (content, code) in [
        (
            format!("{model}<cache level='9' mode='emulate'/>{policy}"),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            format!("{model}{address}<feature policy='require' name=''/>"),
            C::XML_ERROR,
        ),
        (format!("{model}<feature name=''/>{policy}"), C::XML_ERROR),
        (
            format!("{model}<feature name='a'/><feature name='a'/>{policy}"),
            C::XML_ERROR,
        ),
        (
            format!("{model}{policy}<feature name='a'/><feature name='a'/>"),
            C::CONFIG_UNSUPPORTED,
        ),
        (policy.to_owned(), C::XML_ERROR),
        (format!("<model vendor_id='odd'>a</model>{policy}"), C::XML_ERROR),
        (format!("<vendor>Intel</vendor>{policy}"), C::XML_ERROR),
    ] {
        cpu("", &content, code, D::CPU);
    }
    // Where the host's own processor is taken, what is said of the model counts for nothing.
    let passed = "<cpu mode='host-passthrough'><model fallback='odd' vendor_id='odd'>a</model></cpu>";
    assert!(CpuDocument::parse(passed, "c").is_ok());
    // Of a host: its architecture, what it says of itself, its model.
    let arch = "<arch>x86_64</arch>";
    let microcode = "<microcode version='odd'/>";
    cpu(
        "",
        "<arch>odd</arch><counter name='tsc'/>",
        C::CONFIG_UNSUPPORTED,
        D::CPU,
    );
    cpu(
        "",
        &format!("{arch}{microcode}<feature/>"),
        C::CONFIG_UNSUPPORTED,
        D::CPU,
    );
    cpu(" migratable='odd'", arch, C::XML_ERROR, D::XML);
    cpu(
        "",
        &format!("{arch}{model}<feature/><maxphysaddr mode='odd'/>"),
        C::XML_ERROR,
        D::CPU,
    );
    cpu(
        "",
        &format!("{arch}{model}<maxphysaddr mode='passthrough' limit='0'/>"),
        C::XML_ERROR,
        D::XML,
    );
    let other_counter = format!("{arch}{model}<counter frequency='1'/>");
    assert!(CpuDocument::parse(&format!("<cpu>{other_counter}</cpu>"), "c").is_ok());
}

#[test]
fn devices_go_by_family() {
    let none = "<controller type='usb' model='none'/>";
    let companion = "<controller type='usb' model='ich9-uhci1'><master startport='0'/></controller>";
    let odd = "<rng model='virtio'><backend model='odd'/></rng>";
    domain("", &format!("{odd}{companion}"), C::XML_DETAIL, D::DOMAIN);
    let twice = format!("{odd}{none}{none}");
    domain("", &twice, C::XML_DETAIL, D::DOMAIN);
    let input = "<input type='mouse' bus='usb'/>";
    domain(
        "",
        &format!("{odd}{input}{none}"),
        C::CONFIG_UNSUPPORTED,
        D::DOMAIN,
    );
    let hub = "<hub type='usb'/>";
    let memory = "<memory model='odd'/>";
    domain(
        "",
        &format!("{memory}{hub}{none}"),
        C::CONFIG_UNSUPPORTED,
        D::DOMAIN,
    );
    // There are at most two modules, whatever is in them, and random numbers come before they do.
    let modules = "<tpm model='odd'/>".repeat(3);
    domain("", &modules, C::XML_ERROR, D::DOMAIN);
    let balloons = "<memballoon model='none'/><memballoon model='none'/>";
    domain("", &format!("<tpm/>{balloons}"), C::INTERNAL_ERROR, D::DOMAIN);
}

#[test]
fn a_drive_begins_with_its_image() {
    let disk = |attributes: &str, content: &str| {
        format!("<disk type='file' {attributes}>{content}<target dev='vda' bus='virtio'/></disk>")
    };
    let store = "<source file='/a'/><backingStore type='file'><source file='/b'/></backingStore>";
    domain("", &disk("device='odd'", store), C::XML_ERROR, D::DOMAIN);
    let driver = "<driver name='qemu' type='odd'/><target dev='vda' bus='odd'/>";
    domain(
        "",
        &format!("<disk type='file'>{driver}</disk>"),
        C::XML_ERROR,
        D::XML,
    );
    // Of how the host runs it the format of the image comes last.
    domain(
        "",
        &disk("", "<driver type='odd' cache='odd'/>"),
        C::XML_ERROR,
        D::XML,
    );
    let policy = disk("", "<driver rerror_policy='enospace'/>");
    domain("", &policy, C::CONFIG_UNSUPPORTED, D::DOMAIN);
    // What a protocol does not have is not looked at.
    let odd =
        "<reconnect delay='odd'/><cookies><cookie/></cookies><ssl verify='odd'/><readahead size='odd'/>";
    let server = format!("<source protocol='nbd'>{odd}<host name='h'/></source>");
    domain(
        "",
        &format!("<disk type='network'>{server}<target dev='vda'/></disk>"),
        C::XML_ERROR,
        D::XML,
    );
    let other = server.replace("nbd'", "gluster' name='a/b'");
    let source = format!(
        "<domain type='test'><name>a</name><os><type>hvm</type></os><devices><disk type='network'>{other}<target dev='vda'/></disk>\
         </devices></domain>"
    );
    Domain::parse(&source, XmlFlags::INACTIVE, "f").expect("parts of other protocols");
}

#[test]
fn networks_end_with_how_packets_leave() {
    let network = |content: &str, code, by| {
        let source = format!("<network><name>a</name>{content}</network>");
        told(Network::parse(&source, XmlFlags::empty(), "f"), code, by);
    };
    let mode = "<forward mode='odd'/>";
    for content in [
        "<ip address='odd'/>",
        "<mac address='odd'/>",
        "<bridge delay='odd'/>",
    ] {
        network(&format!("{mode}{content}"), C::XML_ERROR, D::NETWORK);
    }
    network(&format!("{mode}<uuid>odd</uuid>"), C::INTERNAL_ERROR, D::NETWORK);
    let interface = "<forward mode='vepa'><interface/></forward>";
    network(
        &format!("{interface}<virtualport type='odd'><parameters managerid='odd'/></virtualport>"),
        C::CONFIG_UNSUPPORTED,
        D::NONE,
    );
    network(
        &format!("{interface}<virtualport><parameters/></virtualport>"),
        C::XML_ERROR,
        D::NONE,
    );
    // The family of an address counts before what is served there.
    network(
        "<ip address='::1'><dhcp><range start='odd' end='odd'/></dhcp></ip>",
        C::CONFIG_UNSUPPORTED,
        D::NETWORK,
    );
    network(
        "<dns><txt name='a b' value='c'/><host ip='odd'/></dns>",
        C::XML_DETAIL,
        D::NETWORK,
    );
}

#[test]
fn storage_begins_with_what_it_is() {
    let volume = |source: &str, code, by| {
        let volume = Volume::parse(source, PoolType::Dir, CapacityRule::Required, "f");
        told(volume, code, by);
    };
    let mode = "<permissions><mode>odd</mode></permissions>";
    volume(
        &format!("<volume type='odd'><name>a</name><target>{mode}</target></volume>"),
        C::CONFIG_UNSUPPORTED,
        D::STORAGE,
    );
    volume(
        &format!(
            "<volume><name>a</name><capacity>1</capacity><target>{mode}<format type='odd'/></target></volume>"
        ),
        C::CONFIG_UNSUPPORTED,
        D::STORAGE,
    );
    // A volume says how large it is before where it lies.
    volume(
        "<volume><name>a</name><target><format type='odd'/></target></volume>",
        C::XML_ERROR,
        D::STORAGE,
    );
    let pool = |source: &str, code, by| told(StoragePool::parse(source, "f"), code, by);
    pool(
        "<pool type='netfs'><uuid>odd</uuid><source><format type='odd'/></source></pool>",
        C::CONFIG_UNSUPPORTED,
        D::STORAGE,
    );
    pool(
        "<pool type='netfs'><name>a</name><source><host/><format type='odd'/></source></pool>",
        C::CONFIG_UNSUPPORTED,
        D::STORAGE,
    );
    pool(
        "<pool type='netfs'><name>a</name><uuid>odd</uuid><source><device path='a' part_separator='odd'/></source></pool>",
        C::XML_ERROR,
        D::XML,
    );
}

#[test]
fn filters_interfaces_secrets_and_snapshots() {
    told(
        Filter::parse(
            "<filter name='a' chain='odd'><uuid>odd</uuid><rule action='odd'/></filter>",
            "f",
        ),
        C::INVALID_ARG,
        D::NWFILTER,
    );
    told(
        Filter::parse(
            "<filter name='a' priority='odd'><rule action='odd'/></filter>",
            "f",
        ),
        C::INVALID_ARG,
        D::NWFILTER,
    );
    told(
        HostInterface::parse(
            "<interface type='bond' name='a'><bond><arpmon interval='odd'/><interface type='odd'/></bond></interface>",
            "f",
        ),
        C::XML_ERROR,
        D::XML,
    );
    // Whether a secret is kept is told by what reads secrets, not by a helper.
    told(
        Secret::parse("<secret ephemeral='odd'/>", "f"),
        C::XML_ERROR,
        D::SECRET,
    );
    let snapshot = |disk: &str, code, by| {
        let source = format!("<domainsnapshot><disks>{disk}</disks></domainsnapshot>");
        told(Snapshot::parse(&source, SnapshotFlags::empty(), "f"), code, by);
    };
    snapshot(
        "<disk name='a' snapshot='odd'><source file='b'/></disk>",
        C::XML_ERROR,
        D::XML,
    );
    // Images are those of drives in every document.
    snapshot(
        "<disk name='a' type='network'><source protocol='gluster' name='odd'/></disk>",
        C::XML_ERROR,
        D::DOMAIN,
    );
}

/// What a guest says of itself, read and written.
fn read(content: &str) -> Result<String> {
    let source = format!(
        "<domain type='test'><name>a</name><memory>1024</memory><os><type>hvm</type></os>{content}</domain>"
    );
    Ok(Domain::parse(&source, XmlFlags::INACTIVE, "f")?.format(XmlFlags::INACTIVE))
}

#[test]
fn numbers_are_read_in_the_notation_of_each() {
    // Policies are hexadecimal whatever stands before them; what lies beside them never is.
    let sev = |bits: &str, policy: &str| {
        let parts = format!("<cbitpos>{bits}</cbitpos><policy>{policy}</policy>");
        read(&format!("<launchSecurity type='sev'>{parts}</launchSecurity>"))
    };
    let written = sev("010", "256").expect("a policy");
    assert!(written.contains("<policy>0x0256</policy>"), "{written}");
    assert!(written.contains("<cbitpos>10</cbitpos>"), "{written}");
    assert!(sev("0x10", "1").is_err());
    assert!(sev("1", "2147483648").is_err());
    // Some numbers without a sign count back from the end.
    let written = read("<vcpu>-4294967295</vcpu>").expect("one CPU");
    assert!(written.contains("<vcpu placement='static'>1</vcpu>"), "{written}");
    let device = "<blkiotune><device><path>/a</path><read_bytes_sec>-1</read_bytes_sec></device></blkiotune>";
    let written = read(device).expect("a limit");
    assert!(
        written.contains("<read_bytes_sec>18446744073709551615<"),
        "{written}"
    );
    // Those that libvirt holds in numbers with a sign are 0 with one.
    read("<iothreadids><iothread id='1' thread_pool_min='-0'/></iothreadids>").expect("no threads");
    // How much of the memory's bandwidth is given away is the kernel's to judge.
    let group =
        "<vcpu>1</vcpu><cputune><memorytune vcpus='0'><node id='0' bandwidth='1000'/></memorytune></cputune>";
    read(group).expect("more than all");
}
