//! Network interfaces of guests on the host, each test in a network namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use virt_api::need;
use virt_api::testkit::skip;
use virt_tests_system::host::{Host, eventually};
use virt_util::netlink::{LinkChange, RouteSocket};
use virt_util::sys::tap;

const BRIDGE: &str = "testbr";

/// A namespace with a bridge; programs started by this thread are in it too. `None` where that cannot be made.
fn namespace() -> Option<RouteSocket> {
    if !std::path::Path::new(tap::DEVICE).exists() {
        skip("the kernel has no tap devices");
        return None;
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        skip(&format!("no network namespace: {errno}"));
        return None;
    }
    let socket = RouteSocket::open().unwrap();
    if let Err(error) = socket.add_bridge(BRIDGE) {
        skip(&format!("no bridge: {error}"));
        return None;
    }
    let bridge = socket.link(BRIDGE).unwrap().unwrap();
    for change in [LinkChange::Mtu(1400), LinkChange::Up(true)] {
        socket.change(bridge.index, BRIDGE, change).unwrap();
    }
    Some(socket)
}

fn guest(name: &str, interfaces: &str) -> String {
    format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>{interfaces}</devices>
</domain>
"
    )
}

/// The link of a name that must be there.
#[track_caller]
fn link(socket: &RouteSocket, name: &str) -> virt_util::netlink::Link {
    socket.link(name).unwrap().expect("the interface is there")
}

#[test]
fn taps_live_as_long_as_their_guest() {
    need!(root, program "qemu-system-x86_64");
    let Some(socket) = namespace() else { return };
    let host = Host::new();
    let script = host.file(
        "up.sh",
        &format!("#!/bin/sh\necho \"$@\" >{}/said\n", host.root().display()),
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let interfaces = format!(
        "<interface type='bridge'>
           <mac address='52:54:00:12:34:56'/><source bridge='{BRIDGE}'/><model type='virtio'/>
           <port isolated='yes'/><link state='down'/>
         </interface>
         <interface type='ethernet'>
           <mac address='fe:54:00:12:34:57'/><source><ip address='192.0.2.1' prefix='30'/></source>
           <script path='{}'/><target dev='mytap'/><model type='virtio'/>
           <driver queues='2'/><mtu size='1300'/>
         </interface>",
        script.display()
    );
    let xml = host.file("guest.xml", &guest("wired", &interfaces));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    host.run(&["start", "wired"]).ok();

    let bridge = link(&socket, BRIDGE);
    let first = link(&socket, "vnet0");
    assert_eq!(first.controller, Some(bridge.index));
    assert_eq!(first.mac, [0xfe, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!((first.mtu, first.up), (1400, true));
    assert_eq!(first.kind.as_deref(), Some("tun"));
    let second = link(&socket, "mytap");
    assert_eq!(second.mac, [0xfa, 0x54, 0, 0x12, 0x34, 0x57]);
    assert_eq!((second.mtu, second.controller), (1300, None));
    assert_eq!(
        std::fs::read_to_string(host.root().join("said")).unwrap(),
        "mytap\n"
    );
    let live = host.run(&["dumpxml", "wired"]).ok();
    assert!(live.contains("<target dev='vnet0'/>"), "{live}");
    // A name that was made up means nothing at the next start.
    assert!(
        !host
            .run(&["dumpxml", "--inactive", "wired"])
            .ok()
            .contains("vnet0")
    );
    let pid = host.guests()[0];
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.contains("{\"type\":\"tap\",\"fd\":\""), "{line}");
    assert!(line.contains("{\"type\":\"tap\",\"fds\":\""), "{line}");

    // A second guest gets the next name, in whatever process.
    let interfaces = format!("<interface type='bridge'><source bridge='{BRIDGE}'/></interface>");
    let xml = host.file("other.xml", &guest("other", &interfaces));
    host.run(&["create", xml.to_str().unwrap()]).ok();
    assert_eq!(link(&socket, "vnet1").controller, Some(bridge.index));

    for name in ["wired", "other"] {
        host.run(&["destroy", name]).ok();
    }
    eventually("the taps are gone", Duration::from_secs(10), || {
        ["vnet0", "vnet1", "mytap"]
            .iter()
            .all(|name| socket.link(name).unwrap().is_none())
    });
}

#[test]
fn a_start_that_fails_leaves_no_tap() {
    need!(root, program "qemu-system-x86_64");
    let Some(socket) = namespace() else { return };
    let host = Host::new();
    let interfaces = format!(
        "<interface type='bridge'><source bridge='{BRIDGE}'/></interface>
         <interface type='bridge'><source bridge='nosuchbr'/></interface>"
    );
    let xml = host.file("guest.xml", &guest("cut", &interfaces));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    let failed = host.run(&["start", "cut"]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.err.contains("the host has no bridge 'nosuchbr'"),
        "{}",
        failed.err
    );
    assert_eq!(socket.link("vnet0").unwrap(), None);
    assert_eq!(socket.link("vnet1").unwrap(), None);

    // QEMU itself may be what fails.
    let interfaces = format!(
        "<disk type='file'><source file='/nonexistent/image'/><target dev='vda' bus='virtio'/></disk>
         <interface type='bridge'><source bridge='{BRIDGE}'/></interface>"
    );
    let xml = host.file("diskless.xml", &guest("diskless", &interfaces));
    let failed = host.run(&["create", xml.to_str().unwrap()]);
    assert_eq!(failed.code, Some(1), "{}", failed.out);
    assert_eq!(socket.link("vnet0").unwrap(), None);

    // What nobody here carries out is refused.
    for (what, inside) in [
        ("VLAN", "<vlan><tag id='4'/></vlan>"),
        ("throughput", "<bandwidth><inbound average='100'/></bandwidth>"),
        ("virtual switches", "<virtualport type='openvswitch'/>"),
    ] {
        let interfaces = format!("<interface type='bridge'><source bridge='{BRIDGE}'/>{inside}</interface>");
        let xml = host.file("refused.xml", &guest("refused", &interfaces));
        let failed = host.run(&["create", xml.to_str().unwrap()]);
        assert_eq!(failed.code, Some(1), "{what}: {}", failed.out);
        assert!(failed.err.contains(what), "{what}: {}", failed.err);
        assert!(failed.err.contains("unsupported configuration"), "{}", failed.err);
    }
}

#[test]
fn a_tap_of_somebody_else_stays() {
    need!(root, program "qemu-system-x86_64", program "ip");
    let Some(socket) = namespace() else { return };
    let made = Command::new("ip")
        .args(["tuntap", "add", "dev", "theirs", "mode", "tap"])
        .status()
        .unwrap();
    assert!(made.success());
    let before = link(&socket, "theirs");
    let host = Host::new();
    let of = |managed: &str| {
        guest(
            "borrower",
            &format!(
                "<interface type='ethernet'><target dev='theirs'{managed}/><model type='e1000'/></interface>"
            ),
        )
    };
    let xml = host.file("mine.xml", &of(""));
    let failed = host.run(&["create", xml.to_str().unwrap()]);
    assert!(
        failed.err.contains("a network device 'theirs' exists already"),
        "{}",
        failed.err
    );
    let xml = host.file("guest.xml", &of(" managed='no'"));
    host.run(&["create", xml.to_str().unwrap()]).ok();
    assert_eq!(link(&socket, "theirs").mac, before.mac);
    host.run(&["destroy", "borrower"]).ok();
    eventually("the guest is gone", Duration::from_secs(10), || {
        host.guests().is_empty()
    });
    assert_eq!(link(&socket, "theirs").index, before.index);
}
