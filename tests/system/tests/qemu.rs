//! Real QEMU guests through the plugin: boot, console, end, and hosts that die in between.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use virt_api::need;
use virt_api::objects::{Connect, Received};
use virt_tests_system::guest::{HELLO, OFF, idle, kernel, linux, write_initrd};
use virt_tests_system::host::{Host, eventually};
use virt_util::types::{DomainConsoleFlags, DomainState};

/// A guest that boots under emulation.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

fn state(host: &Host, name: &str) -> String {
    host.run(&["domstate", name]).ok().trim().to_owned()
}

#[test]
fn a_linux_guest_boots_talks_and_powers_off() {
    need!(program "qemu-system-x86_64", package "busybox-static");
    let Some(kernel) = kernel() else {
        return virt_api::testkit::skip("kernel: no /boot/vmlinuz-*");
    };
    let host = Host::new();
    let initrd = host.root().join("initrd");
    write_initrd(&initrd);
    let xml = host.file("guest.xml", &linux("tux", "qemu", &kernel, &initrd));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    assert_eq!(state(&host, "tux"), "shut off");

    // The registry of this process finds the plugins as virsh does.
    let connection = Connect::builder()
        .uri(&host.uri())
        .open()
        .expect("the host opens");
    let domain = connection.lookup_domain_by_name("tux").unwrap();
    domain.create(Default::default(), &[]).expect("the guest starts");
    assert_eq!(domain.state().unwrap().0, DomainState::RUNNING);

    let console = domain
        .open_console(None, DomainConsoleFlags::FORCE)
        .expect("the console opens");
    console.set_nonblocking(true).unwrap();
    let mut heard = String::new();
    let mut read_until = |wanted: &str| {
        let end = Instant::now() + BOOT_LIMIT;
        let mut buffer = [0; 4096];
        while !heard.contains(wanted) {
            assert!(Instant::now() < end, "'{wanted}' was not heard, but: {heard}");
            match console.receive(&mut buffer) {
                Ok(Received::Data(count)) => heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
                Ok(Received::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                other => panic!("the console ended early: {other:?}, heard: {heard}"),
            }
        }
    };
    read_until(HELLO);
    console.send(b"one two\n").unwrap();
    read_until("heard: one two");
    console.send(format!("{OFF}\n").as_bytes()).unwrap();
    eventually("the guest is off", BOOT_LIMIT, || {
        domain
            .state()
            .is_ok_and(|(state, _)| state == DomainState::SHUTOFF)
    });
    assert!(host.guests().is_empty(), "no process is left");
}

#[test]
fn a_guest_survives_its_host_and_is_found_again() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    let xml = host.file("guest.xml", &idle("lasting", "qemu"));
    let mut shell = host
        .virsh()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("virsh starts");
    let mut words = shell.stdin.take().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    writeln!(words, "define {}", xml.display()).unwrap();
    writeln!(words, "start lasting").unwrap();
    writeln!(words, "domid lasting").unwrap();
    writeln!(words, "echo ready").unwrap();
    words.flush().unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.ends_with("ready")) {
        seen.push(lines.next().expect("virsh goes on").unwrap());
    }
    let guests = host.guests();
    assert_eq!(guests.len(), 1, "{seen:?}");
    shell.kill().unwrap();
    shell.wait().unwrap();

    assert_eq!(host.guests(), guests, "the guest goes on");
    assert_eq!(state(&host, "lasting"), "running");
    assert!(
        seen.iter()
            .any(|line| line.trim() == host.run(&["domid", "lasting"]).ok().trim()),
        "the id stays: {seen:?}"
    );
    host.run(&["suspend", "lasting"]).ok();
    assert_eq!(state(&host, "lasting"), "paused");
    host.run(&["destroy", "lasting"]).ok();
    assert_eq!(state(&host, "lasting"), "shut off");
    assert!(host.guests().is_empty());
}

#[test]
fn a_guest_that_died_alone_is_reported_with_its_reason() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    let xml = host.file("guest.xml", &idle("mortal", "qemu"));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    host.run(&["start", "mortal"]).ok();
    let guests = host.guests();
    assert_eq!(guests.len(), 1);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(guests[0]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    eventually("the process is gone", Duration::from_secs(10), || {
        host.guests().is_empty()
    });
    let text = host.run(&["domstate", "--reason", "mortal"]).ok();
    assert!(text.starts_with("shut off"), "{text}");
}

#[test]
fn a_guest_starts_and_stops_under_kvm() {
    need!(program "qemu-system-x86_64", kvm);
    let host = Host::new();
    let xml = host.file("guest.xml", &idle("fast", "kvm"));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    host.run(&["start", "fast"]).ok();
    assert_eq!(state(&host, "fast"), "running");
    host.run(&["suspend", "fast"]).ok();
    host.run(&["resume", "fast"]).ok();
    host.run(&["destroy", "fast"]).ok();
    assert!(host.guests().is_empty());
    host.run(&["undefine", "fast"]).ok();
    assert_eq!(host.run(&["list", "--all", "--name"]).ok().trim(), "");
}

#[test]
fn a_guest_starts_with_the_host_once() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    let xml = host.file("guest.xml", &idle("once", "qemu"));
    host.run(&["define", xml.to_str().unwrap()]).ok();
    let mark = host.root().join("run/qemu/autostarted");
    let link = host.root().join("etc/qemu/autostart/once.xml.once");
    let told = || {
        let info = host.run(&["dominfo", "once"]).ok();
        let lines = info.lines().filter(|line| line.starts_with("Autostart"));
        lines
            .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(), ["disable", "disable"]);
    host.run(&["autostart", "--once", "once"]).ok();
    assert!(link.is_symlink());
    assert_eq!(told(), ["disable", "enable"]);
    host.run(&["autostart", "--once", "--disable", "once"]).ok();
    assert!(!link.is_symlink());
    host.run(&["autostart", "--once", "once"]).ok();
    assert_eq!(state(&host, "once"), "shut off");
    // The host starts anew, twice.
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(state(&host, "once"), "running");
    assert!(!link.is_symlink());
    assert_eq!(told(), ["disable", "disable"]);
    host.run(&["destroy", "once"]).ok();
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(state(&host, "once"), "shut off");
    // Who is gone when it ends cannot start with the host.
    host.run(&["start", "once"]).ok();
    host.run(&["undefine", "once"]).ok();
    let refused = host.run(&["autostart", "--once", "once"]);
    assert!(refused.err.contains("transient"), "{refused:?}");
    host.run(&["destroy", "once"]).ok();
}

#[test]
fn a_stopped_guest_slows_nobody() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    for name in ["stuck", "healthy"] {
        let xml = host.file("guest.xml", &idle(name, "qemu"));
        host.run(&["define", xml.to_str().unwrap()]).ok();
        host.run(&["start", name]).ok();
    }
    let stuck = host
        .guests()
        .into_iter()
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("guest=stuck"))
        })
        .expect("the guest runs");
    let pid = nix::unistd::Pid::from_raw(stuck);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    let listed = host.run(&["list", "--name"]).ok();
    host.run(&["suspend", "healthy"]).ok();
    host.run(&["resume", "healthy"]).ok();
    let took = began.elapsed();
    assert!(listed.contains("healthy"), "{listed}");
    assert!(
        took < Duration::from_secs(60),
        "others waited {took:?} for the stopped one"
    );
    // Killing needs no answer from its monitor.
    host.run(&["destroy", "stuck"]).ok();
    assert_eq!(host.guests().len(), 1);
    host.run(&["destroy", "healthy"]).ok();
}

#[test]
fn firmware_is_chosen_and_its_variables_live_as_long_as_the_guest() {
    need!(program "qemu-system-x86_64", package "ovmf");
    let host = Host::new();
    let xml = host.file(
        "guest.xml",
        "<domain type='qemu'><name>efi</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
           <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features></domain>",
    );
    host.run(&["define", xml.to_str().unwrap(), "--validate"]).ok();
    host.run(&["start", "efi"]).ok();
    assert_eq!(state(&host, "efi"), "running");
    host.run(&["destroy", "efi"]).ok();
    let refused = host.run(&["undefine", "efi"]);
    assert!(
        refused.err.contains("cannot undefine domain with nvram"),
        "{}",
        refused.err
    );
    host.run(&["undefine", "efi", "--nvram"]).ok();
}

#[test]
fn the_host_tells_what_guests_can_have() {
    need!(program "qemu-system-x86_64");
    let host = Host::new();
    let document = host
        .run(&["domcapabilities", "--virttype", "qemu", "--machine", "q35"])
        .ok();
    for line in [
        "<domain>qemu</domain>",
        "<value>virtio-transitional</value>",
        "<mode name='host-model' supported='yes'>",
    ] {
        assert!(document.contains(line), "{line} is not in {document}");
    }
    // The short name of a machine type stands for the full one, and q35 has no IDE bus.
    assert!(
        document.contains("<machine>pc-q35-") && !document.contains("<value>ide</value>"),
        "{document}"
    );
    for (word, value) in [
        ("--machine", "toaster"),
        ("--arch", "abacus"),
        ("--virttype", "dream"),
    ] {
        let refused = host.run(&["domcapabilities", word, value]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains(value), "{}", refused.err);
    }
}
