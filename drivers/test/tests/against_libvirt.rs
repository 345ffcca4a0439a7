//! The same calls to libvirt's test driver and to ours: same answers, same error codes, same XML.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::process::Command;

use virt_api::plugin::{DriverHandle, Entry, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::DomainRef;
use virt_api::testkit::FakeHost;
use virt_driver_test::PluginEntry;

/// Makes each call given as an argument and prints its answer or the code of its error.
const LIBVIRT: &str = r#"
import sys, libvirt
libvirt.registerErrorHandler(lambda *rest: None, None)
conn = libvirt.open('test:///default')
def call(line):
    verb, name, rest = (line.split(' ', 2) + ['', ''])[:3]
    if verb == 'define': return conn.defineXML(rest).name()
    if verb == 'create': return conn.createXML(rest, 0).name()
    if verb == 'capabilities': return conn.getCapabilities()
    if verb == 'list': return ' '.join(sorted(d.name() for d in conn.listAllDomains(int(name))))
    if verb == 'id': return conn.lookupByID(int(name)).name()
    d = conn.lookupByName(name)
    if verb == 'state': return '%d %d' % tuple(d.state())
    if verb == 'info': return '%d %d %d %d' % tuple(d.info()[:4])
    if verb == 'xml': return d.XMLDesc(int(rest))
    if verb == 'persistent': return d.isPersistent()
    if verb == 'saved': return d.hasManagedSaveImage(0)
    if verb == 'vcpus': return d.vcpusFlags(int(rest))
    if verb == 'metadata': return d.metadata(int(rest.split()[0]), rest.split()[1], int(rest.split()[2]))
    if verb == 'set-metadata': kind, flags, text = rest.split(' ', 2); d.setMetadata(int(kind), text or None, 'k', 'http://k', int(flags))
    elif verb == 'set-vcpus': d.setVcpusFlags(*map(int, rest.split()))
    elif verb == 'set-memory': d.setMemoryFlags(*map(int, rest.split()))
    elif verb == 'rename': d.rename(rest, 0)
    elif verb == 'undefine': d.undefineFlags(int(rest))
    elif verb == 'reboot': d.reboot(0)
    elif verb == 'reset': d.reset(0)
    elif verb == 'saving': d.managedSave(0)
    elif verb == 'autostart': d.setAutostart(int(rest))
    elif verb == 'action': d.setLifecycleAction(*map(int, rest.split()))
    elif verb == 'attach': flags, text = rest.split(' ', 1); d.attachDeviceFlags(text, int(flags))
    elif verb == 'plug': d.attachDevice(rest)
    elif verb == 'update': flags, text = rest.split(' ', 1); d.updateDeviceFlags(text, int(flags))
    elif verb == 'detach': flags, text = rest.split(' ', 1); d.detachDeviceAlias(text, int(flags))
    elif verb == 'keys': d.sendKey(0, 0, [int(rest)], 1, 0)
    else: {'suspend': d.suspend, 'resume': d.resume, 'destroy': d.destroy, 'shutdown': d.shutdown, 'start': d.create}[verb]()
    return 'done'
for line in sys.argv[1:]:
    try: answer = str(call(line))
    except libvirt.libvirtError as error: answer = 'error %d' % error.get_error_code()
    print(answer.rstrip('\n').replace('\n', '\x1f'))
"#;

fn domain(client: &RemoteClient<'_>, name: &str) -> virt_api::Result<DomainRef> {
    Ok(client.domain_lookup_by_name(name)?.domain)
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(' ').map(|word| word.parse().unwrap()).collect()
}

fn number<T: TryFrom<i64>>(value: i64) -> T {
    T::try_from(value).ok().unwrap()
}

/// [`LIBVIRT`] on our side.
fn call(client: &RemoteClient<'_>, line: &str) -> virt_api::Result<String> {
    let mut words = line.splitn(3, ' ');
    let verb = words.next().unwrap_or_default();
    let name = words.next().unwrap_or_default();
    let rest = words.next().unwrap_or_default();
    let done = |()| "done".to_owned();
    Ok(match verb {
        "define" => client.domain_define_xml(rest)?.domain.name,
        "create" => client.domain_create_xml(rest, 0)?.domain.name,
        "capabilities" => client.connect_get_capabilities()?.capabilities,
        "list" => {
            let reply = client.connect_list_all_domains(1, name.parse().unwrap())?;
            let mut names: Vec<_> = reply.domains.into_iter().map(|domain| domain.name).collect();
            names.sort();
            names.join(" ")
        }
        "id" => client.domain_lookup_by_id(name.parse().unwrap())?.domain.name,
        _ => {
            let domain = domain(client, name)?;
            match verb {
                "state" => {
                    let reply = client.domain_get_state(&domain, 0)?;
                    format!("{} {}", reply.state, reply.reason)
                }
                "info" => {
                    let info = client.domain_get_info(&domain)?;
                    format!(
                        "{} {} {} {}",
                        info.state, info.max_mem, info.memory, info.nr_virt_cpu
                    )
                }
                "attach" | "update" | "detach" => {
                    let (flags, text) = rest.split_once(' ').unwrap();
                    let flags = flags.parse().unwrap();
                    match verb {
                        "attach" => client
                            .domain_attach_device_flags(&domain, text, flags)
                            .map(done)?,
                        "update" => client
                            .domain_update_device_flags(&domain, text, flags)
                            .map(done)?,
                        _ => client
                            .domain_detach_device_alias(&domain, text, flags)
                            .map(done)?,
                    }
                }
                "plug" => client.domain_attach_device(&domain, rest).map(done)?,
                "xml" => client.domain_get_xml_desc(&domain, rest.parse().unwrap())?.xml,
                "persistent" => client.domain_is_persistent(&domain)?.persistent.to_string(),
                "saved" => client
                    .domain_has_managed_save_image(&domain, 0)?
                    .result
                    .to_string(),
                "vcpus" => client
                    .domain_get_vcpus_flags(&domain, rest.parse().unwrap())?
                    .num
                    .to_string(),
                "metadata" => {
                    let words: Vec<_> = rest.split(' ').collect();
                    let (kind, flags) = (words[0].parse().unwrap(), words[2].parse().unwrap());
                    client
                        .domain_get_metadata(&domain, kind, Some(words[1]), flags)?
                        .metadata
                }
                "set-metadata" => {
                    let words: Vec<_> = rest.splitn(3, ' ').collect();
                    let (kind, flags) = (words[0].parse().unwrap(), words[1].parse().unwrap());
                    let text = Some(words[2]).filter(|text| !text.is_empty());
                    let (key, uri) = (Some("k"), Some("http://k"));
                    client
                        .domain_set_metadata(&domain, kind, text, key, uri, flags)
                        .map(done)?
                }
                "set-vcpus" => {
                    let values = numbers(rest);
                    client
                        .domain_set_vcpus_flags(&domain, number(values[0]), number(values[1]))
                        .map(done)?
                }
                "set-memory" => {
                    let values = numbers(rest);
                    client
                        .domain_set_memory_flags(&domain, number(values[0]), number(values[1]))
                        .map(done)?
                }
                "rename" => client.domain_rename(&domain, Some(rest), 0).map(|_| done(()))?,
                "undefine" => client
                    .domain_undefine_flags(&domain, rest.parse().unwrap())
                    .map(done)?,
                "reboot" => client.domain_reboot(&domain, 0).map(done)?,
                "reset" => client.domain_reset(&domain, 0).map(done)?,
                "saving" => client.domain_managed_save(&domain, 0).map(done)?,
                "autostart" => client
                    .domain_set_autostart(&domain, rest.parse().unwrap())
                    .map(done)?,
                "action" => {
                    let v = numbers(rest);
                    client
                        .domain_set_lifecycle_action(&domain, number(v[0]), number(v[1]), number(v[2]))
                        .map(done)?
                }
                "keys" => client
                    .domain_send_key(&domain, 0, 0, &[rest.parse().unwrap()], 0)
                    .map(done)?,
                "suspend" => client.domain_suspend(&domain).map(done)?,
                "resume" => client.domain_resume(&domain).map(done)?,
                "destroy" => client.domain_destroy(&domain).map(done)?,
                "shutdown" => client.domain_shutdown(&domain).map(done)?,
                "start" => client.domain_create(&domain).map(done)?,
                other => panic!("no verb {other}"),
            }
        }
    })
}

/// A guest with devices of many kinds; nothing in it is left to chance.
const RICH: &str = "<domain type='kvm'><name>rich</name><uuid>11111111-2222-3333-4444-555555555556</uuid>\
    <title>t</title><description>d</description><metadata><a:b xmlns:a='http://a'>x</a:b></metadata>\
    <memory unit='GiB'>1</memory><vcpu current='1'>2</vcpu>\
    <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='cdrom'/></os><features><acpi/><apic/></features>\
    <cpu mode='host-passthrough'/><on_poweroff>restart</on_poweroff><devices><emulator>/usr/bin/x</emulator>\
    <disk type='block' device='cdrom'><target dev='hdc'/></disk>\
    <disk type='file'><source file='/b'/><target dev='sda' bus='scsi'/></disk>\
    <controller type='usb' model='ich9-ehci1'/>\
    <interface type='network'><source network='default'/><mac address='52:54:00:11:22:34'/><model type='virtio'/></interface>\
    <console type='pty'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
    <input type='tablet' bus='usb'/><graphics type='vnc' passwd='secret'/>\
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><watchdog model='i6300esb'/>\
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>\
    </devices></domain>";

const PLAIN: &str = "<domain type='test'><name>plain</name><uuid>11111111-2222-3333-4444-555555555557</uuid>\
    <memory>2048</memory><currentMemory>1024</currentMemory><os><type>xen</type></os><devices>\
    <graphics type='sdl'/><serial type='pty'/></devices></domain>";

const CALLS: &[&str] = &[
    "capabilities",
    "list 0",
    "list 2",
    "id 1",
    "id 7",
    "state test",
    "info test",
    "xml test 0",
    "xml test 2",
    "xml test 9",
    "xml test 64",
    "start test",
    "resume test",
    "suspend test",
    "state test",
    "suspend test",
    "list 32",
    "resume test",
    "state test",
    "reboot test",
    "reset test",
    "keys test 30",
    "keys test 99999",
    "saved test",
    "saving test",
    "state test",
    "saved test",
    "undefine test 0",
    "start test",
    "saved test",
    "id 2",
    "destroy test",
    "destroy test",
    "shutdown test",
    "state test",
    "reset test",
    "reboot test",
    "suspend test",
    "rename test test",
    "rename test other",
    "xml other 0",
    "state test",
    "rename other a/b",
    "start other",
    "rename other test",
    "xml other 0",
    "autostart other 1",
    "list 1024",
    "undefine other 0",
    "persistent other",
    "autostart other 1",
    "destroy other",
    "state other",
    "list 0",
    "define - RICH",
    "xml rich 0",
    "xml rich 1",
    "info rich",
    "define - RICH",
    "start rich",
    "xml rich 0",
    "xml rich 3",
    "shutdown rich",
    "state rich",
    "vcpus rich 0",
    "vcpus rich 1",
    "vcpus rich 2",
    "vcpus rich 4",
    "vcpus rich 3",
    "set-vcpus rich 2 1",
    "vcpus rich 1",
    "vcpus rich 2",
    "set-vcpus rich 3 1",
    "set-vcpus rich 3 2",
    "set-vcpus rich 4 6",
    "vcpus rich 6",
    "set-vcpus rich 0 1",
    "set-memory rich 1000 1",
    "set-memory rich 9999999 1",
    "set-memory rich 9999999 4",
    "set-memory rich 5000 6",
    "info rich",
    "xml rich 2",
    "action rich 1 0 1",
    "reboot rich",
    "state rich",
    "action rich 9 0 2",
    "action rich 0 9 2",
    "action rich 0 4 2",
    "metadata rich 0 - 0",
    "metadata rich 1 - 0",
    "metadata rich 2 http://a 0",
    "metadata rich 2 http://b 0",
    "set-metadata rich 1 2 ",
    "metadata rich 1 - 0",
    "set-metadata rich 2 0 <x><y/></x>",
    "metadata rich 2 http://k 0",
    "xml rich 0",
    "set-metadata rich 2 0 <x",
    "set-metadata rich 2 1 <x/>",
    "define - PLAIN",
    "xml plain 0",
    "start plain",
    "create - PLAIN",
    "undefine plain 0",
    "persistent plain",
    "xml plain 0",
    "metadata plain 1 - 2",
    "destroy plain",
    "state plain",
    "create - PLAIN",
    "persistent plain",
    "saving plain",
    "define - PLAIN",
    "persistent plain",
    "undefine plain 16384",
    "define - <domain>",
    "define - <pool/>",
    "define - <domain type='test'/>",
    "define - <domain type='test'><name>x</name><os><type>hvm</type></os></domain>",
    "define - <domain type='odd'><name>x</name><memory>1</memory><os><type>hvm</type></os></domain>",
    "define - <domain type='test'><name>rich</name><memory>1</memory><os><type>hvm</type></os></domain>",
    "define - <domain type='test'><name>x</name><uuid>11111111-2222-3333-4444-555555555556</uuid><memory>1</memory><os><type>hvm</type></os></domain>",
    "list 0",
    "list 1073741824",
];

#[test]
fn answers_are_libvirts() {
    virt_api::need!(package "python3-libvirt");
    let calls: Vec<String> = CALLS
        .iter()
        .map(|line| {
            line.replace(" RICH", &format!(" {RICH}"))
                .replace(" PLAIN", &format!(" {PLAIN}"))
        })
        .collect();
    compare(&calls);
}

/// Devices that are plugged in, exchanged and taken out.
const DEVICES: &[&str] = &[
    "define - RICH",
    "plug rich <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "attach rich 1 <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "attach rich 2 <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "start rich",
    "attach rich 2 <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "attach rich 3 <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "attach rich 1 <disk type='file' device='disk'><source file='/q'/><target dev='vdq' bus='virtio'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vdr' bus='virtio'/><alias name='ua-r'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vdp' bus='virtio'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vdq' bus='virtio'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vds' bus='virtio'/><alias name='ua-r'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='sdq' bus='usb'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='sdq' bus='scsi'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='hdd' bus='ide'/></disk>",
    "plug rich <disk type='file' device='cdrom'><target dev='vdc' bus='virtio'/></disk>",
    "plug rich <disk type='file' device='floppy'><target dev='fdb' bus='fdc'/></disk>",
    "plug rich <disk type='block' device='lun'><source dev='/dev/a'/><target dev='sdw' bus='usb'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vdx' bus='virtio'/><boot order='1'/></disk>",
    "plug rich <disk type='file' device='disk'><target dev='vdy' bus='virtio'/><boot order='9'/></disk>",
    "plug rich <disk type='tape'><target dev='vdz' bus='virtio'/></disk>",
    "plug rich <disk><target",
    "plug rich <colour/>",
    "plug rich <interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='b'/></interface>",
    "plug rich <interface type='user'><mac address='52:54:00:11:22:34'/></interface>",
    "plug rich <interface type='ethernet'><mac address='52:54:00:11:22:35'/><target dev='t7'/></interface>",
    "plug rich <hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='2' function='3'/></source></hostdev>",
    "plug rich <hostdev mode='subsystem' type='pci'><driver name='xen'/><source><address domain='0' bus='1' slot='2' function='4'/></source></hostdev>",
    "plug rich <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>",
    "plug rich <hostdev mode='capabilities' type='misc'><source><char>/dev/a</char></source></hostdev>",
    "plug rich <lease><lockspace>a</lockspace><key>b</key><target path='/a'/></lease>",
    "plug rich <filesystem type='mount'><source dir='/a'/><target dir='b'/></filesystem>",
    "plug rich <input type='mouse' bus='ps2'/>",
    "plug rich <input type='mouse' bus='usb'/>",
    "plug rich <sound model='ac97'/>",
    "plug rich <video><model type='vga'/></video>",
    "plug rich <watchdog model='i6300esb'/>",
    "plug rich <controller type='scsi' model='virtio-scsi'/>",
    "plug rich <graphics type='vnc' port='5999'/>",
    "plug rich <hub type='usb'/>",
    "plug rich <redirdev bus='usb' type='spicevmc'/>",
    "plug rich <smartcard mode='host'/>",
    "plug rich <serial type='pty'/>",
    "plug rich <parallel type='pty'/>",
    "plug rich <console type='pty'/>",
    "plug rich <channel type='pty'><target type='virtio' name='a'/></channel>",
    "plug rich <memballoon model='virtio'/>",
    "plug rich <nvram/>",
    "plug rich <rng model='virtio'><backend model='random'>/dev/random</backend></rng>",
    "plug rich <shmem name='a'><model type='ivshmem'/><size unit='M'>4</size></shmem>",
    "plug rich <tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>",
    "plug rich <panic model='isa'/>",
    "plug rich <memory model='dimm'><target><size unit='MiB'>1</size><node>0</node></target></memory>",
    "plug rich <iommu model='intel'/>",
    "plug rich <vsock model='virtio'><cid auto='yes'/></vsock>",
    "plug rich <audio id='7' type='none'/>",
    "plug rich <crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>",
    "plug rich <pstore backend='acpi-erst'><path>/a</path><size unit='KiB'>8</size></pstore>",
    "plug rich <emulator>/a</emulator>",
    "xml rich 0",
    "xml rich 2",
    "update rich 1 <disk type='file' device='disk'><source file='/other'/><target dev='vdq' bus='virtio'/></disk>",
    "update rich 2 <disk type='file' device='disk'><source file='/other'/><target dev='vdq' bus='virtio'/></disk>",
    "update rich 1 <disk type='file' device='disk'><source file='/other'/><target dev='vdnone' bus='virtio'/></disk>",
    "update rich 1 <graphics type='vnc' port='5999'/>",
    "update rich 8 <graphics type='vnc' port='5999'/>",
    "update rich 1 <odd/>",
    "xml rich 0",
    "detach rich 1 virtio-disk16",
    "detach rich 1 virtio-disk16",
    "detach rich 1 ua-r",
    "detach rich 2 ua-r",
    "detach rich 0 net0",
    "detach rich 0 net1",
    "detach rich 0 net2",
    "detach rich 0 net3",
    "detach rich 0 video0",
    "xml rich 0",
    "destroy rich",
    "detach rich 0 net0",
    "update rich 0 <disk type='file' device='disk'><source file='/other'/><target dev='vda' bus='virtio'/></disk>",
    "xml rich 0",
];

#[test]
fn devices_come_and_go_as_with_libvirt() {
    virt_api::need!(package "python3-libvirt");
    let calls: Vec<String> = DEVICES
        .iter()
        .map(|line| line.replace(" RICH", &format!(" {RICH}")))
        .collect();
    compare(&calls);
}

/// What applications keep in `<metadata>`: libxml2 decides how it is written.
const METADATA: &[&str] = &[
    "<a:x xmlns:a='u:a'/>",
    "<a:x xmlns:a='u:a'><a:y/><a:z b='1' a:c='2'/></a:x>",
    "<a:x xmlns:a='u:a'>text<a:y/>more</a:x>",
    "<x xmlns='u:a'><y/></x>",
    "<x xmlns='u:a'><y xmlns=''/></x>",
    "<a:x xmlns:a='u:a' xmlns:b='u:b'><b:y/></a:x>",
    "<a:x xmlns:a='u:a'><a:y xmlns:a='u:b'/></a:x>",
    "<a:x xmlns:a='u:a'><!-- c --><a:y/></a:x>",
    "<a:x xmlns:a='u:a'><![CDATA[<&>]]></a:x>",
    "<a:x xmlns:a='u:a'>&lt;&amp;&gt;&quot;&apos;</a:x>",
    "<a:x xmlns:a='u:a' b='&lt;&amp;&gt;&quot;&apos;'/>",
    "<a:x xmlns:a='u:a' b='x&#10;y&#9;z'/>",
    "<a:x xmlns:a='u:a'>x&#10;y&#13;z&#233;</a:x>",
    "<a:x xmlns:a='u:a'>\n  \n <a:y>  </a:y>\n</a:x>",
    "<a:x xmlns:a='u:a'><?pi data?></a:x>",
    "<a:x xmlns:a='u:a' z='1' y='2' a:x='3'/>",
    "<a:x xmlns:a='u:a' xml:lang='en'/>",
    "<a:x xmlns:a='u:a' xml:space='preserve'>  <a:y/>  </a:x>",
    "<a:x xmlns:a='u:a'/><b:y xmlns:b='u:b'/>",
    "<a:x xmlns:a='u:a'/><a:y xmlns:a='u:a'/>",
    "<a:x xmlns:a='u:a'/><a:y xmlns:a='u:b'/>",
    "<!-- c --><a:x xmlns:a='u:a'/>",
    "text<a:x xmlns:a='u:a'/>",
    "<a:x xmlns:a='u:a'><b xmlns='u:b'><c/></b></a:x>",
    "<a:x xmlns:a='u:a'>é ü 😀</a:x>",
    "<a:x xmlns:a='u:a' a:b='é'/>",
    "<a:x xmlns:a='u:a'><a:y>a<a:z/>b</a:y></a:x>",
    "<a:x xmlns:a='u:a'><a:y><a:z/> </a:y></a:x>",
    "<a:x xmlns:a='u:a' b=\"it's\" c='a\"b' d='a\"b&apos;c'/>",
    "<a:x xmlns:a='u:a'><a:y></a:y><a:y> </a:y><a:y>\n</a:y></a:x>",
    "<a:x xmlns:a='u:a'><![CDATA[]]></a:x>",
    "<a:x xmlns:a='u:a'>a<![CDATA[b]]>c</a:x>",
    "<a:x xmlns:a='u:a' xmlns:b='u:a'><b:y a:q='1' b:r='2'/></a:x>",
    "<a:x xmlns:a='u:a' xmlns:c='u:c'><a:y xmlns:c='u:c'><c:z/></a:y></a:x>",
    "<a:x xmlns:a='u:a'>\r\n<a:y/>\r\n</a:x>",
    "<a:x xmlns:a='u:a'>]]&gt;</a:x>",
    "<a:x xmlns:a='u:a'><a:y><!-- a --><!-- b --></a:y></a:x>",
    "<a:x xmlns:a='u:a'><a:y>t<!-- a --></a:y></a:x>",
    "<p:x xmlns:p='u:p'><q xmlns='u:q' p:a='1'><r xmlns='u:r' p:b='2'/></q></p:x>",
    "  ",
    "<a:x xmlns:a='u:a'/> <!-- tail -->",
    "<a/>",
    "<a/><b>text</b>",
    "text",
    "text<a/>",
    "<a/><a:x xmlns:a='u:a'/>",
    "<a:x xmlns:a='u?a=1&amp;b=2' b='1&amp;2'>3&amp;4</a:x>",
    "<a:x xmlns:a='u&quot;b'/>",
    "<a:x xmlns:a='u&apos;b'/>",
    "<a:x xmlns:a='u&quot;b&apos;c>d'/>",
    "<a:x xmlns:a='u:é'/>",
];

#[test]
fn metadata_are_written_as_libxml2_does() {
    virt_api::need!(package "python3-libvirt");
    let mut calls = Vec::new();
    for (number, metadata) in METADATA.iter().enumerate() {
        calls.push(format!(
            "define - <domain type='test'><name>m{number}</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e{number:04x}</uuid>\
             <metadata>{metadata}</metadata><memory>1</memory><os><type>hvm</type></os></domain>"
        ));
        calls.push(format!("xml m{number} 0"));
    }
    compare(&calls);
}

/// Makes the calls on both sides.
fn compare(calls: &[String]) {
    let output = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(LIBVIRT)
        .args(calls)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), calls.len());

    let driver = DriverHandle::builtin("test", PluginEntry::create, FakeHost::new()).unwrap();
    let request = OpenRequest {
        uri: "test:///default".to_owned(),
        ..OpenRequest::default()
    };
    let connection = driver.open(&request).unwrap();
    let client = RemoteClient::new(&connection);
    let mut different = Vec::new();
    for (line, their) in calls.iter().zip(theirs) {
        let ours = match call(&client, line) {
            Ok(answer) => answer.trim_end_matches('\n').replace('\n', "\x1f"),
            Err(error) => format!("error {}", error.code().0),
        };
        if ours != their {
            different
                .push(format!("{line}\n  libvirt: {their}\n  ours:    {ours}").replace('\x1f', "\n    "));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} calls differ:\n{}",
        different.len(),
        calls.len(),
        different.join("\n")
    );
}
