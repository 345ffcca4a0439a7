//! What `define` would store, asked for without storing it: of drivers in this process, through a daemon, and of a daemon that
//! does not know the question.

use virt_api::need;
use virt_api::objects::Connect;
use virt_api::testkit::stock::Stock;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::Host;
use virt_util::ErrorCode;
use virt_util::types::{DomainDefineFlags, DomainXmlFlags};

const UUID: &str = "00000000-0000-4000-8000-000000000077";

/// A guest that leaves much to the driver, but nothing to chance.
fn guest(kind: &str, machine: &str, devices: &str) -> String {
    format!(
        "<domain type='{kind}'><name>seen</name><uuid>{UUID}</uuid><memory>65536</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
    )
}

const DEVICES: &str = "<interface type='user'><mac address='52:54:00:00:00:77'/></interface>\
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
    <graphics type='vnc' passwd='secret'/><rng model='virtio'><backend model='random'/></rng>";

fn stored(connection: &Connect) -> Option<String> {
    let domain = connection.lookup_domain_by_name("seen").ok()?;
    domain.xml(DomainXmlFlags::SECURE | DomainXmlFlags::INACTIVE).ok()
}

/// A preview changes nothing, and is what a definition then stores.
fn preview_is_what_is_stored(connection: &Connect, kind: &str, machines: &[&str]) {
    let flags = DomainDefineFlags::empty();
    for machine in machines {
        for devices in ["", DEVICES] {
            let xml = guest(kind, machine, devices);
            let before = stored(connection);
            let preview = connection.preview_domain(&xml, flags).expect("a preview");
            assert_eq!(stored(connection), before);
            connection.define_domain(&xml, flags).expect("it is defined");
            assert_eq!(stored(connection), Some(preview));
        }
    }
    // What cannot be defined has no preview, and for the same reason.
    let clash = guest(kind, machines[0], "").replace("<name>seen<", "<name>other<");
    for wrong in ["<domain/>", &clash] {
        let preview = connection
            .preview_domain(wrong, flags)
            .expect_err("it is refused");
        let define = connection.define_domain(wrong, flags).map(|_| ());
        assert_eq!(
            Err((preview.code(), preview.domain())),
            define.map_err(|error| (error.code(), error.domain()))
        );
    }
}

fn open(uri: &str) -> Connect {
    Connect::builder().uri(uri).open().expect("a connection")
}

#[test]
fn the_qemu_driver_tells_what_it_would_store() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    preview_is_what_is_stored(&open(&host.uri()), "qemu", &["pc", "q35"]);
    let text = guest(
        "qemu",
        "pc",
        "<disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>",
    );
    let file = host.file("seen.xml", &text);
    let file = file.to_str().expect("a path");
    let told = host.run(&["define", file, "--dry-run"]).ok();
    assert!(told.contains("Domain 'seen' would change"), "{told}");
    assert!(told.contains("vda"), "{told}");
    // The driver has said what it fills in.
    assert!(!told.contains("left to the driver"), "{told}");
    host.run(&["define", file]).ok();
    let told = host.run(&["define", file, "--dry-run"]).ok();
    assert_eq!(told.trim(), "Domain 'seen' would not change.");
}

#[test]
fn a_daemon_passes_the_question_on() {
    let daemon = Daemon::start();
    preview_is_what_is_stored(&open(&daemon.test_uri()), "test", &["pc"]);
}

#[test]
fn a_daemon_of_libvirts_is_guessed_for() {
    need!(program "libvirtd");
    let host = Host::new();
    let stock = Stock::plain();
    let uri = stock.uri("test:///default");
    let connection = open(&uri);
    let xml = guest("test", "pc", "");
    let error = connection
        .preview_domain(&xml, DomainDefineFlags::empty())
        .expect_err("libvirt has no such call");
    assert_eq!(error.code(), ErrorCode::RPC);
    // The connection goes on.
    connection
        .define_domain(&xml, DomainDefineFlags::empty())
        .expect("it is defined");
    let file = host.file("seen.xml", &xml.replace("65536", "131072"));
    let told = host
        .run(&["-c", &uri, "define", file.to_str().expect("a path"), "--dry-run"])
        .ok();
    assert!(told.contains("The driver cannot tell"), "{told}");
    assert!(told.contains("Domain 'seen' would change"), "{told}");
}
