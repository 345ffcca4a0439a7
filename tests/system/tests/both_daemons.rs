//! The same session with libvirt's daemon and with ours, on real guests: what it prints has to be the same. Once with
//! clients of libvirt, once with our own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use virt_api::objects::{Connect, Domain};
use virt_api::testkit::stock::Stock;
use virt_api::{DomainEventKind, need};
use virt_driver_remote::PluginEntry;
use virt_tests_system::bus::Bus;
use virt_tests_system::clients::{go, python, stock};
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::{Host, run_to_end};
use virt_util::types::{DomainEventId, DomainEventType};

/// A daemon of each kind with the URI of its guests.
fn both() -> (Stock, String, Daemon, String) {
    let (theirs, ours) = (Stock::plain(), Daemon::start());
    let uris = (theirs.uri("qemu:///session"), ours.uri("qemu:///system"));
    (theirs, uris.0, ours, uris.1)
}

#[track_caller]
fn same(what: &str, theirs: &str, ours: &str) {
    // What a driver of ours does not do yet, it says.
    let unsupported = |line: &str| line.ends_with(" error 3");
    let differing: Vec<_> = theirs
        .lines()
        .zip(ours.lines())
        .filter(|(theirs, ours)| theirs != ours && !unsupported(ours))
        .collect();
    assert!(
        differing.is_empty() && theirs.lines().count() == ours.lines().count(),
        "{what}: libvirt's daemon and ours differ in {differing:#?}\n{theirs}\n{ours}"
    );
}

#[test]
fn libvirt_python_sees_no_difference() {
    need!(root, program "libvirtd", program "qemu-system-x86_64", package "python3-libvirt");
    let (theirs, their_uri, ours, our_uri) = both();
    let run = |uri: &str, folder: &Path| {
        let mut command = python("qemu.py");
        command.arg(uri).arg(folder.join("vnc"));
        run_to_end(command).ok()
    };
    let expected = run(&their_uri, theirs.room().path());
    assert!(expected.contains("events [('py', 0, 0)"), "{expected}");
    same("python", &expected, &run(&our_uri, ours.root()));
}

#[test]
fn programs_that_count_first_see_no_difference() {
    need!(root, program "libvirtd", program "qemu-system-x86_64", package "python3-libvirt");
    let (theirs, their_uri, ours, our_uri) = both();
    let run = |uri: &str, kind: &str| {
        let mut command = python("counts.py");
        command.args([uri, kind]);
        run_to_end(command).ok()
    };
    let expected = run(&theirs.uri("test:///default"), "test");
    assert!(
        expected.contains("off virDomainGetBlkioParameters () 1 0 6"),
        "{expected}"
    );
    same("test", &expected, &run(&ours.test_uri(), "test"));
    let expected = run(&their_uri, "qemu");
    assert!(expected.contains("virNodeGetCPUStats -1 0 0 4"), "{expected}");
    same("qemu", &expected, &run(&our_uri, "qemu"));
}

#[test]
fn the_hosts_memory_is_counted_alike() {
    need!(root, program "libvirtd", program "virsh", program "qemu-system-x86_64");
    let (theirs, their_uri, ours, our_uri) = both();
    let run = |uri: &str| {
        let mut command = stock("/usr/bin/virsh");
        command.args(["-c", uri, "nodeinfo"]);
        run_to_end(command).ok()
    };
    let expected = run(&their_uri);
    assert!(expected.contains("Memory size:"), "{expected}");
    // The clock of a processor is what it is at this moment.
    let still = |text: String| {
        text.lines()
            .filter(|line| !line.contains("frequency"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    same("nodeinfo", &still(expected), &still(run(&our_uri)));
    drop((theirs, ours));
}

/// libvirt-dbus on a bus of its own. It knows no URI but its own, so the daemon's sockets lie where libvirt looks, for this
/// program alone. It ends with this value.
struct DbusService {
    bus: Bus,
    process: Child,
}

impl DbusService {
    /// For the daemon whose socket is in `folder`. `scope` says which of libvirt's URIs is opened.
    fn start(folder: &Path, scope: &str) -> Self {
        let bus = Bus::start();
        let script = "mount -t tmpfs none /run && mkdir /run/libvirt && mount --bind \"$1\" /run/libvirt && \
                      exec libvirt-dbus \"$2\"";
        let process = stock("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(folder)
            .arg(scope)
            .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { bus, process }
    }

    fn session(&self) -> String {
        let mut command = python("dbus.py");
        command.env("DBUS_SESSION_BUS_ADDRESS", self.bus.address());
        run_to_end(command).ok()
    }
}

impl Drop for DbusService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn libvirt_dbus_sees_no_difference() {
    need!(root, program "libvirtd", package "libvirt-dbus", program "dbus-daemon", program "qemu-system-x86_64",
          package "python3-gi");
    let (theirs, _, ours, _) = both();
    let socket = theirs.room().socket();
    let expected = DbusService::start(socket.parent().unwrap(), "--session").session();
    assert!(
        expected.contains("signal /org/libvirt/QEMU/domain/_11111111"),
        "{expected}"
    );
    let socket = ours.socket();
    let found = DbusService::start(socket.parent().unwrap(), "--system").session();
    same("libvirt-dbus", &expected, &found);
}

#[test]
fn go_libvirt_sees_no_difference() {
    need!(root, program "libvirtd", program "qemu-system-x86_64", program "go",
          package "golang-github-digitalocean-go-libvirt-dev");
    let (theirs, _, ours, _) = both();
    let run =
        |socket: &Path, uri: &str| run_to_end(go(Path::new(env!("CARGO_TARGET_TMPDIR")), socket, uri)).ok();
    let expected = run(&theirs.room().socket(), "qemu:///session");
    assert!(expected.contains("missing true"), "{expected}");
    same("go", &expected, &run(&ours.socket(), "qemu:///system"));
}

#[test]
fn virt_install_sees_no_difference() {
    need!(root, program "libvirtd", program "virsh", program "virt-install", program "virt-xml", program "virt-clone");
    let (theirs, _, ours, _) = both();
    let run = |uri: &str, folder: &Path| {
        let held = Connect::builder()
            .uri(uri)
            .built_in::<PluginEntry>()
            .open()
            .unwrap();
        let mut command = stock("/bin/sh");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/virt-install.sh"))
            .arg(uri)
            .env("HOME", folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("TERM", "dumb");
        let said = run_to_end(command).ok().replace(uri, "URI");
        drop(held);
        said
    };
    let expected = run(&theirs.uri("test:///default"), theirs.room().path());
    assert!(expected.contains("/default-pool/copy.qcow2"), "{expected}");
    assert!(expected.contains("<cpu mode='host-model'/>"), "{expected}");
    let found = run(&ours.uri("test:///default"), ours.root());
    same("virt-install", &expected, &found);
}

fn guest(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices><serial type='pty'/></devices></domain>"
    )
}

/// What our own interface sees of a guest's life.
fn life(uri: &str) -> String {
    let connection = Connect::builder()
        .uri(uri)
        .built_in::<PluginEntry>()
        .open()
        .unwrap();
    let mut seen = Vec::new();
    let (tell, told) = mpsc::channel();
    let subscription = connection
        .on_domain_event(None, DomainEventId::LIFECYCLE, move |event| {
            if let DomainEventKind::Lifecycle { event: what, detail } = event.kind {
                let text = format!("{} {} {detail}", event.domain.name(), what.0);
                let _ = tell.send((text, what));
            }
        })
        .unwrap();
    let mut note = |what: &str, value: &dyn std::fmt::Debug| seen.push(format!("{what}: {value:?}"));
    let names = || {
        let reply = connection.remote().connect_list_all_domains(1, 0).unwrap();
        reply
            .domains
            .into_iter()
            .map(|domain| domain.name)
            .collect::<Vec<_>>()
    };
    note("type", &connection.hypervisor_type().unwrap());
    note("before", &names());
    let domain: Domain = connection
        .define_domain(&guest("api"), Default::default())
        .unwrap();
    note("state", &domain.state().unwrap());
    domain.create(Default::default(), &[]).unwrap();
    note("state", &domain.state().unwrap());
    note("names", &names());
    domain.suspend().unwrap();
    note("state", &domain.state().unwrap());
    domain.resume().unwrap();
    for (what, error) in [
        ("create", domain.create(Default::default(), &[]).unwrap_err()),
        ("lookup", connection.lookup_domain_by_name("nobody").unwrap_err()),
        (
            "define",
            connection
                .define_domain("<domain", Default::default())
                .unwrap_err(),
        ),
    ] {
        note(what, &(error.code(), error.level()));
    }
    domain.destroy(Default::default()).unwrap();
    note("state", &domain.state().unwrap());
    domain.undefine(Default::default()).unwrap();
    note("after", &names());
    while let Ok((text, what)) = told.recv_timeout(Duration::from_secs(10)) {
        // Whether an emulator still says that it shuts down when it is ended is its own affair.
        if what != DomainEventType::SHUTDOWN {
            seen.push(text);
        }
        if what == DomainEventType::UNDEFINED {
            break;
        }
    }
    drop(subscription);
    seen.join("\n")
}

#[test]
fn our_own_client_sees_no_difference() {
    need!(root, program "libvirtd", program "qemu-system-x86_64");
    let (theirs, their_uri, ours, our_uri) = both();
    same("the interface", &life(&their_uri), &life(&our_uri));

    // And our virsh.
    let host = Host::new();
    let file = host.file("guest.xml", &guest("shell"));
    let script = format!(
        "list --all; define {}; start shell; list; domstate shell --reason; dominfo nobody; suspend shell; list --all; \
         resume shell; start shell; domid shell; destroy shell; domstate shell; undefine shell; list --all; \
         start shell",
        file.display()
    );
    let run = |uri: &str| {
        let mut command = host.virsh();
        command.args(["-c", uri, &script]);
        let ran = run_to_end(command);
        format!("{}{}", ran.out, ran.err)
    };
    let expected = run(&their_uri);
    assert!(expected.contains("Domain 'shell' started"), "{expected}");
    same("virsh", &expected, &run(&our_uri));
    drop((theirs, ours));
}
