//! Guests from plain definitions, through everything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::Root;
use virt_api::call::StreamMode;
use virt_api::plugin::{ConnectionHandle, DriverHandle, Entry as _, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::stream_end::Transfer;
use virt_api::testkit::FakeHost;
use virt_driver_qemu::PluginEntry;
use virt_util::types::DomainState;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

macro_rules! need_qemu {
    () => {
        if !Path::new(QEMU).exists() {
            println!("SKIPPED: needs {QEMU}");
            return;
        }
    };
}

fn open(root: &Path) -> ConnectionHandle {
    DriverHandle::builtin("qemu", PluginEntry::create, FakeHost::new())
        .unwrap()
        .open(&OpenRequest {
            uri: format!("qemu:///embed?root={}", root.display()),
            ..OpenRequest::default()
        })
        .unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pc_boots_from_a_disk_and_hears_its_power_button() {
    need_qemu!();
    let root = Root::new();
    let disk = common::power_button_disk(root.path());
    let connection = open(root.path());
    let client = RemoteClient::new(&connection);
    let xml = format!(
        "<domain type='qemu'><name>boot</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>\
         <features><acpi/></features>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='hda' bus='ide'/></disk>\
         <serial type='pty'/><console type='pty'/><memballoon model='virtio'/></devices></domain>",
        disk.display()
    );
    let domain = client.domain_define_xml(&xml).unwrap().domain;
    client.domain_create_with_flags(&domain, 1).unwrap();
    let console = client
        .domain_open_console(&domain, None, 0, StreamMode::Blocking)
        .unwrap();
    client.domain_resume(&domain).unwrap();
    let mut heard = Vec::new();
    while !heard.contains(&b'!') {
        let mut buffer = [0; 64];
        match console.recv(&mut buffer, false).unwrap() {
            Transfer::Bytes(0) => panic!("the console has ended"),
            Transfer::Bytes(count) => heard.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?}"),
        }
    }
    let live = client.domain_get_xml_desc(&domain, 0).unwrap().xml;
    assert!(live.contains("<alias name='ide0-0-0'/>"), "{live}");
    // Block jobs name images by number.
    assert!(live.contains("disk.img' index='1'/>"), "{live}");
    client.domain_shutdown(&domain).unwrap();
    let state = || client.domain_get_state(&domain, 0).unwrap();
    wait_until("the guest is off", || state().state == DomainState::SHUTOFF.0);
    assert_eq!(state().reason, 1);
}

#[test]
fn machines_of_both_kinds_start_with_and_without_kvm() {
    need_qemu!();
    let root = Root::new();
    let connection = open(root.path());
    let client = RemoteClient::new(&connection);
    let has_kvm = virt_util::host::Host::system().has_kvm();
    if !has_kvm {
        println!("SKIPPED in part: needs kvm");
    }
    for kind in ["qemu", "kvm"]
        .into_iter()
        .filter(|kind| *kind == "qemu" || has_kvm)
    {
        for machine in ["pc", "q35"] {
            let xml = format!(
                "<domain type='{kind}'><name>{kind}-{machine}</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>\
                 <os><type arch='x86_64' machine='{machine}'>hvm</type></os>\
                 <features><acpi/><apic/></features>\
                 <devices><serial type='pty'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>\
                 </channel><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
                 <graphics type='vnc' autoport='yes'/><video><model type='vga'/></video></devices></domain>"
            );
            let domain = client.domain_create_xml(&xml, 0).unwrap().domain;
            let state = client.domain_get_state(&domain, 0).unwrap();
            assert_eq!(state.state, DomainState::RUNNING.0, "{kind} {machine}");
            client.domain_destroy(&domain).unwrap();
        }
    }
}

#[test]
fn the_host_tells_what_it_can_do() {
    need_qemu!();
    let root = Root::new();
    let connection = open(root.path());
    let client = RemoteClient::new(&connection);
    let xml = client.connect_get_capabilities().unwrap().capabilities;
    assert!(
        xml.contains("<emulator>/usr/bin/qemu-system-x86_64</emulator>"),
        "{xml}"
    );
    assert!(xml.contains("<domain type='qemu'"), "{xml}");
    assert!(client.connect_get_version().unwrap().hv_ver > 5_000_000);
}

/// Names of monitor events.
#[derive(Default)]
struct Heard(parking_lot::Mutex<Vec<String>>);

impl virt_api::events::EventSink for Heard {
    fn event(&self, program: u32, _: u32, _: &[i32], payload: &[u8]) {
        if program == virt_api::call::PROGRAM_QEMU {
            self.0.lock().push(String::from_utf8_lossy(payload).into_owned());
        }
    }
}

#[test]
fn pictures_keys_metadata_and_monitor_events() {
    use virt_api::host::OpenedConnection as _;
    use virt_api::protocol::clients::QemuClient;
    use virt_util::types::{DomainMetadataType, KeycodeSet};
    need_qemu!();
    let root = Root::new();
    let connection = open(root.path());
    let heard = std::sync::Arc::new(Heard::default());
    let sink: std::sync::Arc<dyn virt_api::events::EventSink> = heard.clone();
    connection.set_event_sink(sink).unwrap();
    let client = RemoteClient::new(&connection);
    let qemu = QemuClient::new(&connection);
    qemu.connect_domain_monitor_event_register(None, None, 0).unwrap();
    let xml = "<domain type='qemu'><name>show</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
               <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
               <devices><video><model type='vga'/></video><input type='keyboard' bus='ps2'/></devices></domain>";
    let domain = client.domain_define_xml(xml).unwrap().domain;
    client.domain_create(&domain).unwrap();
    let (reply, stream) = client
        .domain_screenshot(&domain, 0, 0, StreamMode::Blocking)
        .unwrap();
    let mut picture = Vec::new();
    loop {
        let mut buffer = [0; 64 << 10];
        match stream.recv(&mut buffer, false).unwrap() {
            Transfer::Bytes(0) => break,
            Transfer::Bytes(count) => picture.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?}"),
        }
    }
    let (mime, magic): (&str, &[u8]) = match reply.mime.as_deref() {
        Some("image/png") => ("image/png", b"\x89PNG"),
        _ => ("image/x-portable-pixmap", b"P6"),
    };
    assert_eq!(reply.mime.as_deref(), Some(mime));
    assert!(picture.starts_with(magic) && picture.len() > 100);
    // Ctrl, Alt, Delete in Linux's numbers.
    let linux = KeycodeSet::LINUX.0.unsigned_abs();
    client
        .domain_send_key(&domain, linux, 50, &[29, 56, 111], 0)
        .unwrap();
    assert!(client.domain_send_key(&domain, linux, 0, &[60_000], 0).is_err());
    let title = DomainMetadataType::TITLE.0;
    client
        .domain_set_metadata(&domain, title, Some("a title"), None, None, 3)
        .unwrap();
    for flags in [1, 2] {
        let read = client.domain_get_metadata(&domain, title, None, flags).unwrap();
        assert_eq!(read.metadata, "a title");
    }
    let stored = std::fs::read_to_string(root.path().join("etc/qemu/show.xml")).unwrap();
    assert!(stored.contains("<title>a title</title>"), "{stored}");
    assert_eq!(client.domain_get_job_info(&domain).unwrap().kind, 0);
    assert_eq!(
        client.domain_has_managed_save_image(&domain, 0).unwrap().result,
        0
    );
    let stats = client.domain_memory_stats(&domain, 20, 0).unwrap().stats;
    assert_eq!(stats[0].val, 32 << 10);
    assert!(stats.iter().all(|stat| stat.val > 0) && stats.len() == 2);
    client.domain_suspend(&domain).unwrap();
    wait_until("the event of the pause", || {
        heard.0.lock().iter().any(|text| text.contains("STOP"))
    });
    client.domain_destroy(&domain).unwrap();
    client.domain_undefine(&domain).unwrap();
}
