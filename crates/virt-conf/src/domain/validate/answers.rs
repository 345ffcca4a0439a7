//! What libvirt 11.3 answered to definitions that are wrong, or odd and right: its codes, 0 where it took them.

use virt_util::xml::XmlFlags;

use super::validate;
use crate::domain::Domain;
use crate::domain::normalize::{
    DomainFeatures, DomainHooks, NormalizeContext, NormalizeFlags, SystemRandomness, normalize,
};

/// A driver that takes everything.
struct AnyDriver;

impl DomainHooks for AnyDriver {
    fn features(&self) -> DomainFeatures {
        DomainFeatures::all()
    }
}

fn answer(top: &str, devices: &str) -> i32 {
    let source = format!(
        "<domain type='test'><name>a</name><memory>1024</memory><vcpu>4</vcpu>\
         <os><type arch='x86_64'>hvm</type></os>{top}<devices>{devices}</devices></domain>"
    );
    let read = || {
        let mut domain = Domain::parse(&source, XmlFlags::INACTIVE, "a")?;
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &AnyDriver, &cx)?;
        validate(&domain, &AnyDriver)
    };
    read().map_or_else(|error: virt_util::VirtError| error.code().0, |()| 0)
}

const TOP: &[(i32, &str)] = &[
    (
        67,
        r#"<cpu><numa><cell id='0' cpus='0-2' memory='1024'/><cell id='1' cpus='2-3' memory='1024'/></numa></cpu>"#,
    ),
    (
        67,
        r#"<cpu mode='host-passthrough'><maxphysaddr mode='emulate' bits='42' limit='40'/></cpu>"#,
    ),
    (0, r#"<currentMemory unit='KiB'/>"#),
    (0, r#"<os><type>hvm</type><bios useserial='perhaps'/></os>"#),
    (
        27,
        r#"<cpu><numa><cell cpus='0-3' memory='1024'><cache level='1' associativity='direct' policy='writeback'><size value='10'/></cache></cell></numa></cpu>"#,
    ),
    (8, r#"<cputune><vcpupin vcpu='0' cpuset='16384'/></cputune>"#),
    (
        67,
        r#"<numatune><memory mode='strict' placement='static'/></numatune>"#,
    ),
    (67, r#"<numatune><memory mode='often' nodeset='0'/></numatune>"#),
    (
        67,
        r#"<numatune><memory placement='anywhere' nodeset='0'/></numatune>"#,
    ),
    (8, r#"<numatune><memory nodeset='5k'/></numatune>"#),
    (
        1,
        r#"<keywrap><cipher name='aes' state='on'/><cipher name='aes' state='off'/></keywrap>"#,
    ),
    (0, r#"<keywrap/>"#),
    (67, r#"<features><nonsense/></features>"#),
    (27, r#"<features><hyperv><relaxed/></hyperv></features>"#),
    (
        67,
        r#"<features><hyperv><nonsense state='on'/></hyperv></features>"#,
    ),
    (27, r#"<features><kvm><hidden/></kvm></features>"#),
    (27, r#"<features><xen><e820_host/></xen></features>"#),
    (27, r#"<features><ps2/></features>"#),
    (27, r#"<features><msrs/></features>"#),
    (
        27,
        r#"<features><hyperv><tlbflush state='on'><direct/></tlbflush></hyperv></features>"#,
    ),
    (
        67,
        r#"<features><capabilities policy='deny'><fly/></capabilities></features>"#,
    ),
    (67, r#"<on_reboot>never</on_reboot>"#),
    (1, r#"<uuid>none</uuid>"#),
    (1, r#"<genid>none</genid>"#),
    (67, r#"<clock offset='moon'/>"#),
    (0, r#"<clock offset=''/>"#),
    (1, r#"<clock offset='timezone'/>"#),
    (1, r#"<clock offset='absolute'/>"#),
    (67, r#"<clock offset='variable' basis='moon'/>"#),
    (67, r#"<cpu mode='fast'/>"#),
    (67, r#"<cpu><model fallback='perhaps'>qemu64</model></cpu>"#),
    (
        67,
        r#"<cpu mode='host-model'><feature policy='maybe' name='vmx'/></cpu>"#,
    ),
    (1, r#"<cpu><numa><cell cpus='0-7' memory='1024'/></numa></cpu>"#),
    (8, r#"<cpu><numa><cell cpus='x' memory='1024'/></numa></cpu>"#),
    (
        8,
        r#"<cpu><numa><cell cpus='0' memory='1' unit='stone'/></numa></cpu>"#,
    ),
    (
        27,
        r#"<perf><event name='cmt' enabled='yes'/><event name='cmt' enabled='no'/></perf>"#,
    ),
    (
        27,
        r#"<iothreads>2</iothreads><iothreadids><iothread id='1'/><iothread id='1'/></iothreadids>"#,
    ),
    (
        67,
        r#"<iothreads>1</iothreads><iothreadids><iothread id='1' thread_pool_min='2'/></iothreadids>"#,
    ),
    (1, r#"<resource/>"#),
    (8, r#"<cputune><vcpupin vcpu='0' cpuset='x'/></cputune>"#),
    (1, r#"<cputune><vcpupin vcpu='0'/></cputune>"#),
    (
        1,
        r#"<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='0' cpuset='1'/></cputune>"#,
    ),
    (
        27,
        r#"<cputune><emulatorsched scheduler='batch'/><emulatorsched scheduler='batch'/></cputune>"#,
    ),
    (67, r#"<memoryBacking><source type='tape'/></memoryBacking>"#),
    (
        35,
        r#"<memoryBacking><hugepages><page size='0'/></hugepages></memoryBacking>"#,
    ),
    (
        8,
        r#"<memoryBacking><hugepages><page size='2' unit='stone'/></hugepages></memoryBacking>"#,
    ),
    (
        67,
        r#"<blkiotune><device><weight>10</weight></device></blkiotune>"#,
    ),
    (
        27,
        r#"<throttlegroups><throttlegroup><group_name>a</group_name></throttlegroup><throttlegroup><group_name>a</group_name></throttlegroup></throttlegroups>"#,
    ),
];

const DEVICES: &[(i32, &str)] = &[
    (
        67,
        r#"<serial type='pty'><target type='usb-serial'/><address type='pci' domain='0' bus='0' slot='9' function='0'/></serial>"#,
    ),
    (67, r#"<controller type='fdc' model='qemu-xhci'/>"#),
    (67, r#"<controller type='sata' model='piix3-uhci'/>"#),
    (27, r#"<controller type='ide' ports='4294967295'/>"#),
    (27, r#"<controller type='usb' index='2147483648'/>"#),
    (
        0,
        r#"<disk type='file'><source file='/a'/><target dev='sda' bus='usb'/><address type='pci' domain='0' bus='0' slot='9' function='0'/></disk>"#,
    ),
    (
        27,
        r#"<disk type='file'><source file='/a'/><target dev='sda' bus='usb'/></disk><disk type='file'><source file='/b'/><target dev='sda' bus='scsi'/></disk>"#,
    ),
    (
        0,
        r#"<interface type='user'><mac address='52:54:00:11:22:33' currentAddress='none'/></interface>"#,
    ),
    (
        35,
        r#"<disk type='file'><source file='/a'><seclabel model='dac' relabel='no'/><seclabel model='dac' relabel='no'/></source><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (8, r#"<interface type='user'><model type='a b'/></interface>"#),
    (
        0,
        r#"<interface type='user'><model type='idontexist'/></interface>"#,
    ),
    (
        67,
        r#"<interface type='udp'><source address='1.2.3.4' port='5'><local address='1.2.3.4' port='6'/><ip address='1.2.3.4'/></source></interface>"#,
    ),
    (
        27,
        r#"<hostdev mode='subsystem' type='usb' model='vfio-pci'><source><address bus='1' device='2'/></source></hostdev>"#,
    ),
    (
        27,
        r#"<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.0x10000'/></hostdev>"#,
    ),
    (
        0,
        r#"<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>"#,
    ),
    (27, r#"<hostdev mode='subsystem' type='pci'/>"#),
    (0, r#"<hostdev mode='subsystem' type='pci'><source/></hostdev>"#),
    (27, r#"<shmem name='a'><msi vectors='2'/></shmem>"#),
    (67, r#"<shmem name='a/b'/>"#),
    (0, r#"<sound model='ac97' streams='5k'/>"#),
    (27, r#"<sound model='virtio' streams='5k'/>"#),
    (27, r#"<sound model='ac97'><audio/></sound>"#),
    (67, r#"<input type='wheel'/>"#),
    (1, r#"<input bus='usb'/>"#),
    (67, r#"<input type='mouse' bus='isa'/>"#),
    (
        27,
        r#"<input type='mouse' bus='usb'><address type='pci' domain='0' bus='0' slot='9' function='0'/></input>"#,
    ),
    (1, r#"<hub/>"#),
    (67, r#"<hub type='ps2'/>"#),
    (1, r#"<redirdev bus='usb'/>"#),
    (67, r#"<redirdev bus='pci' type='spicevmc'/>"#),
    (
        27,
        r#"<rng model='virtio'><backend model='egd'><source host='a' service='1'/></backend></rng>"#,
    ),
    (
        27,
        r#"<rng model='virtio'><backend model='builtin'/><backend model='builtin'/></rng>"#,
    ),
    (
        0,
        r#"<rng model='virtio'><rate period='1'/><backend model='builtin'/></rng>"#,
    ),
    (
        27,
        r#"<tpm><backend type='passthrough'/><backend type='passthrough'/></tpm>"#,
    ),
    (
        1,
        r#"<tpm><backend type='emulator' version='2.0'><encryption secret='none'/></backend></tpm>"#,
    ),
    (27, r#"<vsock><cid auto='no' address='0'/></vsock>"#),
    (67, r#"<panic model='kernel'/>"#),
    (1, r#"<lease><key>k</key><target path='/a'/></lease>"#),
    (67, r#"<serial type='carrier-pigeon'/>"#),
    (67, r#"<serial type='pty'><target type='modern'/></serial>"#),
    (67, r#"<console type='pty'><target type='modern'/></console>"#),
    (67, r#"<channel type='pty'><target type='modern'/></channel>"#),
    (
        27,
        r#"<channel type='qemu-vdagent'><source><clipboard/></source><target type='virtio'/></channel>"#,
    ),
    (
        27,
        r#"<smartcard mode='host-certificates'><certificate>a</certificate><certificate>b</certificate><certificate>c</certificate><database>here</database></smartcard>"#,
    ),
    (27, r#"<graphics type='spice'><image/></graphics>"#),
    (27, r#"<graphics type='spice'><gl/></graphics>"#),
    (1, r#"<graphics type='vnc' port='x'/>"#),
    (27, r#"<graphics type='spice' tlsPort='x'/>"#),
    (1, r#"<graphics type='vnc' passwd='a' passwdValidTo='soon'/>"#),
    (67, r#"<graphics type='vnc' passwd='a' connected='maybe'/>"#),
    (
        67,
        r#"<graphics type='vnc' listen='1.1.1.1'><listen type='address' address='2.2.2.2'/></graphics>"#,
    ),
    (27, r#"<audio id='0' type='none'/>"#),
    (
        67,
        r#"<audio id='1' type='none'><input fixedSettings='yes'/></audio>"#,
    ),
    (
        67,
        r#"<audio id='1' type='none'><input><settings channels='1'/></input></audio>"#,
    ),
    (67, r#"<sound model='ich9'><codec type='loud'/></sound>"#),
    (67, r#"<controller type='scsi' model='fast'/>"#),
    (67, r#"<controller type='usb' model='fast'/>"#),
    (27, r#"<controller type='fast'/>"#),
    (19, r#"<filesystem><target dir='/a'/></filesystem>"#),
    (20, r#"<filesystem><source dir='/a'/></filesystem>"#),
    (
        67,
        r#"<filesystem><driver type='nbd' format='fast'/><source dir='/a'/><target dir='/b'/></filesystem>"#,
    ),
    (
        8,
        r#"<filesystem type='ram'><source usage='1' units='stone'/><target dir='/b'/></filesystem>"#,
    ),
    (
        27,
        r#"<memory model='nvdimm'><source><path>/a</path></source><target><size>1024</size><label><size>64</size></label></target></memory>"#,
    ),
    (
        1,
        r#"<memory model='nvdimm'><uuid>none</uuid><source><path>/a</path></source><target><size>1024</size></target></memory>"#,
    ),
    (
        67,
        r#"<disk type='file'><driver type='fast'/><source file='/a'/><target dev='vda'/></disk>"#,
    ),
    (
        1,
        r#"<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><wwn>1</wwn></disk>"#,
    ),
    (
        1,
        r#"<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><address type='ccw' cssid='0xfe'/></disk>"#,
    ),
    (
        1,
        r#"<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><boot order='1' loadparm='toolongname'/></disk>"#,
    ),
    (
        27,
        r#"<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><throttlefilters><throttlefilter group='g'/></throttlefilters></disk>"#,
    ),
    (
        67,
        r#"<disk type='vhostuser'><source type='unix' path='/a'/><target dev='sda' bus='scsi'/></disk>"#,
    ),
    (
        67,
        r#"<disk type='vhostuser'><source type='unix' path='/a'/><target dev='vda' bus='virtio'/><serial>1</serial></disk>"#,
    ),
    (
        0,
        r#"<disk type='vhostuser' snapshot='no'><source type='unix' path='/a'/><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (
        67,
        r#"<disk type='block' device='lun'><driver type='qcow2'/><source dev='/a'/><target dev='sda' bus='scsi'/></disk>"#,
    ),
    (
        27,
        r#"<disk type='block' device='lun'><source dev='/a'><reservations managed='no'/></source><target dev='sda' bus='scsi'/></disk>"#,
    ),
    (
        8,
        r#"<disk type='network'><source protocol='http' name='a'><host name='b' port='65536'/></source><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (
        27,
        r#"<disk type='network'><source protocol='http' name='a'><host name='b'/><cookies><cookie name='a b'>c</cookie></cookies></source><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (
        67,
        r#"<disk type='network'><auth username='u'><secret type='odd' usage='x'/></auth><source protocol='iscsi' name='a'><host name='b'/></source><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (
        27,
        r#"<disk type='network'><source protocol='nbd'><host transport='fd'/></source><target dev='vda' bus='virtio'/></disk>"#,
    ),
    (
        1,
        r#"<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='none'/></source></hostdev>"#,
    ),
    (
        67,
        r#"<interface type='user'><rom file='/a' enabled='no'/></interface>"#,
    ),
    (67, r#"<interface type='user'><link state='loose'/></interface>"#),
    (
        1,
        r#"<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source><address type='usb' bus='0' port='a'/></hostdev>"#,
    ),
];

#[test]
fn counts_of_cpus_have_codes_of_their_own() {
    for (code, vcpu) in [
        (0, "<vcpu current='2'>4</vcpu>"),
        (27, "<vcpu/>"),
        (27, "<vcpu>few</vcpu>"),
        (67, "<vcpu current='5'>4</vcpu>"),
        (8, "<vcpu cpuset='5k'>4</vcpu>"),
        (67, "<vcpu cpuset='1,^1'>4</vcpu>"),
    ] {
        let source = format!(
            "<domain type='test'><name>a</name><memory>1</memory>{vcpu}<os><type>hvm</type></os></domain>"
        );
        let own = Domain::parse(&source, XmlFlags::INACTIVE, "a").map_or_else(|error| error.code().0, |_| 0);
        assert_eq!(own, code, "{vcpu}");
    }
}

#[test]
fn codes_are_those_of_libvirt() {
    let mut wrong = Vec::new();
    for (code, text) in TOP {
        let own = answer(text, "");
        if own != *code {
            wrong.push(format!("{text}: {own}, libvirt: {code}"));
        }
    }
    for (code, text) in DEVICES {
        let own = answer("", text);
        if own != *code {
            wrong.push(format!("{text}: {own}, libvirt: {code}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_of_the_user_are_for_drivers_that_take_them() {
    struct Plain;
    impl DomainHooks for Plain {}
    let source = "<domain type='test'><name>a</name><memory>1</memory><os><type>hvm</type></os><devices>\
                  <disk type='file'><source file='/a'/><target dev='sda' bus='scsi'/><alias name='ua-a'/></disk></devices></domain>";
    let named = |hooks: &dyn DomainHooks, flags| {
        let read = if flags == NormalizeFlags::INACTIVE {
            XmlFlags::INACTIVE
        } else {
            XmlFlags::empty()
        };
        let mut domain = Domain::parse(source, read, "a").unwrap();
        let cx = NormalizeContext {
            flags,
            random: &SystemRandomness,
        };
        normalize(&mut domain, hooks, &cx).unwrap();
        domain.format(XmlFlags::empty()).contains("ua-a")
    };
    assert!(named(&AnyDriver, NormalizeFlags::INACTIVE));
    assert!(!named(&Plain, NormalizeFlags::INACTIVE));
    assert!(named(&Plain, NormalizeFlags::empty()));
}
