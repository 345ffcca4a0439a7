//! The daemon under stock clients: virsh and the Python binding, with the test driver and with real guests.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use virt_api::need;
use virt_api::testkit::{plugins, stock};
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::guest::idle;
use virt_tests_system::host::{eventually, run_to_end};

#[test]
fn stock_virsh_manages_the_test_drivers_host() {
    need!(package "libvirt-clients");
    let daemon = Daemon::start();
    let uri = daemon.test_uri();
    let list = daemon.virsh_ok(&uri, &["list", "--all"]);
    assert!(
        list.lines()
            .any(|line| line.split_whitespace().eq(["1", "test", "running"])),
        "{list}"
    );
    // One connection, so that what is made stays.
    let script = "define /dev/stdin; list --all --name";
    let xml =
        "<domain type='test'><name>second</name><memory>65536</memory><os><type>hvm</type></os></domain>";
    let file = daemon.root().join("second.xml");
    std::fs::write(&file, xml).unwrap();
    let script = script.replace("/dev/stdin", file.to_str().unwrap());
    let out = daemon.virsh_ok(&uri, &[&format!("{script}; start second; suspend second; domstate second; resume second; destroy second; undefine second; list --all --name")]);
    for wanted in [
        "Domain 'second' defined",
        "Domain 'second' started",
        "paused",
        "Domain 'second' destroyed",
        "undefined",
    ] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    assert_eq!(daemon.virsh_ok(&uri, &["uri"]).trim(), uri);
    assert!(daemon.virsh_ok(&uri, &["version"]).contains("TEST"));
    let error = daemon.virsh_error(&uri, &["start", "nobody"]);
    assert!(error.contains("failed to get domain 'nobody'"), "{error}");
    let error = daemon.virsh_error(&daemon.uri("nosuch:///system"), &["list"]);
    assert!(
        error.contains("no connection driver available for nosuch:///system"),
        "{error}"
    );
}

#[test]
fn a_read_only_socket_is_for_looking() {
    need!(package "libvirt-clients", root);
    let daemon = Daemon::start();
    let uri = stock::uri_through(&daemon.socket_ro(), "test:///default");
    assert!(daemon.virsh_ok(&uri, &["-r", "list", "--all"]).contains("test"));
    let error = daemon.virsh_error(&uri, &["destroy", "test"]);
    assert!(
        error.contains("read only access prevents virDomainDestroy"),
        "{error}"
    );
}

#[test]
fn events_reach_stock_clients() {
    need!(package "libvirt-clients", package "python3-libvirt");
    let daemon = Daemon::start();
    let program = r"
import libvirt, os, threading
libvirt.virEventRegisterDefaultImpl()
def loop():
    while True: libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
heard = []
done = threading.Event()
def told(conn, dom, event, detail, opaque):
    heard.append((opaque, dom.name(), event))
    if len(heard) >= 4: done.set()
watcher = libvirt.open(os.environ['URI'])
actor = libvirt.open(os.environ['URI'])
dom = actor.lookupByName('test')
watcher.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, told, 'all')
watcher.domainEventRegisterAny(watcher.lookupByName('test'), libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, told, 'one')
dom.suspend(); dom.resume()
assert done.wait(10), heard
print(sorted(heard))
assert watcher.setKeepAlive(1, 3) == 0
assert watcher.isAlive() == 1
watcher.registerCloseCallback(lambda *a: None, None)
watcher.unregisterCloseCallback()
print([d.name() for d in watcher.listAllDomains()], watcher.getLibVersion())
try:
    watcher.lookupByName('nobody')
except libvirt.libvirtError as e:
    print(e.get_error_code(), e.get_error_domain())
";
    let out = daemon.python(&daemon.test_uri(), program);
    let mut lines = out.lines();
    assert_eq!(
        lines.next(),
        Some("[('all', 'test', 3), ('all', 'test', 4), ('one', 'test', 3), ('one', 'test', 4)]")
    );
    assert_eq!(lines.next(), Some("['test'] 11003000"));
    assert_eq!(lines.next(), Some("42 12"));
}

#[test]
fn a_daemon_without_work_ends() {
    need!(package "libvirt-clients");
    let mut daemon = Daemon::start_with("", &["--timeout", "1"]);
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    let begun = Instant::now();
    let root = daemon.root().to_owned();
    eventually("the socket is removed", Duration::from_secs(10), || {
        !root.join("run/libvirt/libvirt-sock").exists()
    });
    assert!(begun.elapsed() >= Duration::from_millis(800));
    assert!(daemon.stop().success());
}

#[test]
fn a_guest_lives_under_the_daemon_and_survives_it() {
    need!(program "qemu-system-x86_64", package "libvirt-clients", root);
    let mut daemon = Daemon::start();
    let uri = daemon.uri("qemu:///system");
    let xml = daemon.root().join("guest.xml");
    std::fs::write(&xml, idle("lasting", "qemu")).unwrap();
    daemon.virsh_ok(&uri, &["define", xml.to_str().unwrap()]);
    daemon.virsh_ok(&uri, &["start", "lasting"]);
    assert_eq!(daemon.virsh_ok(&uri, &["domstate", "lasting"]).trim(), "running");
    let id = daemon.virsh_ok(&uri, &["domid", "lasting"]);
    let guests = daemon.guests();
    assert_eq!(guests.len(), 1);
    for _ in 0..3 {
        daemon.crash_and_restart();
        assert_eq!(daemon.virsh_ok(&uri, &["domid", "lasting"]), id);
        assert_eq!(daemon.guests(), guests);
    }
    daemon.virsh_ok(&uri, &["suspend", "lasting"]);
    daemon.virsh_ok(&uri, &["resume", "lasting"]);
    assert!(
        daemon
            .virsh_ok(&uri, &["dumpxml", "lasting"])
            .contains("<name>lasting</name>")
    );
    daemon.virsh_ok(&uri, &["destroy", "lasting"]);
    daemon.virsh_ok(&uri, &["undefine", "lasting"]);
    assert!(daemon.guests().is_empty());
    assert_eq!(daemon.virsh_ok(&uri, &["list", "--all", "--name"]).trim(), "");
    assert!(daemon.stop().success());
}

#[test]
fn a_stuck_guest_stops_nobody() {
    need!(program "qemu-system-x86_64", package "libvirt-clients", package "python3-libvirt", root);
    use nix::sys::signal::{Signal, kill};
    let daemon = Daemon::start();
    let uri = daemon.uri("qemu:///system");
    for name in ["stuck", "well"] {
        let xml = daemon.root().join("guest.xml");
        std::fs::write(&xml, idle(name, "qemu")).unwrap();
        daemon.virsh_ok(&uri, &["define", xml.to_str().unwrap()]);
    }
    daemon.virsh_ok(&uri, &["start", "stuck"]);
    let stuck = daemon.guests();
    daemon.virsh_ok(&uri, &["start", "well"]);
    for pid in &stuck {
        kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
    }
    let program = r"
import libvirt, os, threading, time
libvirt.registerErrorHandler(lambda *a: None, None)
def poke():
    try:
        conn = libvirt.open(os.environ['URI'])
        conn.lookupByName('stuck').suspend()
    except libvirt.libvirtError:
        pass
pokers = [threading.Thread(target=poke, daemon=True) for _ in range(40)]
for t in pokers: t.start()
time.sleep(1)
conn = libvirt.open(os.environ['URI'])
worst = 0
for _ in range(100):
    begun = time.monotonic()
    assert conn.lookupByName('well').info()[0] == 1
    worst = max(worst, time.monotonic() - begun)
begun = time.monotonic()
conn.lookupByName('well').suspend()
conn.lookupByName('well').resume()
worst = max(worst, time.monotonic() - begun)
print(worst < 1.0, worst)
os._exit(0)
";
    let out = daemon.python(&uri, program);
    for pid in &stuck {
        kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGCONT).unwrap();
    }
    assert!(out.starts_with("True"), "{out}");
}

#[test]
fn a_console_is_talked_to_through_the_daemon() {
    need!(program "qemu-system-x86_64", package "libvirt-clients", package "python3-libvirt", root);
    let daemon = Daemon::start();
    let uri = daemon.uri("qemu:///system");
    let xml = daemon.root().join("guest.xml");
    std::fs::write(&xml, idle("talker", "qemu")).unwrap();
    daemon.virsh_ok(&uri, &["define", xml.to_str().unwrap()]);
    daemon.virsh_ok(&uri, &["start", "talker"]);
    // The firmware says something on the serial line or it does not: opening, sending and closing has to work.
    let program = r"
import libvirt, os
conn = libvirt.open(os.environ['URI'])
stream = conn.newStream(0)
conn.lookupByName('talker').openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
print(stream.send(b'hello'))
stream.abort()
print(conn.lookupByName('talker').isActive())
";
    assert_eq!(daemon.python(&uri, program), "5\n1\n");
    daemon.virsh_ok(&uri, &["destroy", "talker"]);
}

#[test]
fn modular_sockets_lead_to_their_driver_only() {
    need!(package "libvirt-clients", root);
    let daemon = Daemon::start_with("", &["--modular"]);
    let socket = daemon.root().join("run/libvirt/virtqemud-sock");
    let uri = |of: &str| stock::uri_through(&socket, of);
    daemon.virsh_ok(&uri("qemu:///system"), &["list"]);
    let error = daemon.virsh_error(&uri("test:///default"), &["list"]);
    assert!(error.contains("no connection driver available"), "{error}");
    // The general socket leads to all.
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    daemon.virsh_ok(&daemon.uri("qemu:///system"), &["list"]);
}

#[test]
fn settings_change_without_a_restart() {
    need!(package "libvirt-clients");
    use nix::sys::signal::Signal;
    let daemon = Daemon::start_with("max_clients = 20\n", &[]);
    let one = "max_clients = 1\nmax_anonymous_clients = 1\n";
    std::fs::write(daemon.config_file(), one).unwrap();
    daemon.signal(Signal::SIGHUP);
    let mut first = Command::new("/usr/bin/virsh")
        .args(["-c", &daemon.test_uri()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    first.stdin.as_mut().unwrap().write_all(b"list\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    // The second waits in the socket's queue until the first leaves.
    let begun = Instant::now();
    let leaver = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(first.stdin.take());
        first.wait().unwrap();
    });
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    assert!(
        begun.elapsed() > Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    leaver.join().unwrap();
    std::fs::write(daemon.config_file(), "max_clients = none\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("the mistake is logged", Duration::from_secs(5), || {
        daemon.log().contains("the configuration stays as it was")
    });
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
}

#[test]
fn drivers_know_the_host_by_the_uuid_that_is_configured() {
    need!(package "libvirt-clients", program "qemu-system-x86_64");
    const UUID: &str = "8c9a0b9a-5a1e-4d2c-9a53-1f6f3a1c2b4d";
    let daemon = Daemon::start_with(&format!("host_uuid = \"{UUID}\"\n"), &[]);
    let path = if nix::unistd::geteuid().is_root() {
        "system"
    } else {
        "session"
    };
    let capabilities = daemon.virsh_ok(&daemon.uri(&format!("qemu:///{path}")), &["capabilities"]);
    assert!(
        capabilities.contains(&format!("<uuid>{UUID}</uuid>")),
        "{capabilities}"
    );
}

#[test]
fn guests_are_recorded() {
    need!(package "libvirt-clients");
    let daemon = Daemon::start_with("audit_logging = 1\nlog_level = 2\n", &[]);
    let uri = daemon.test_uri();
    // In one breath: the simulated host lasts as long as its client.
    daemon.virsh_ok(&uri, &["destroy test; start test"]);
    for record in [
        "virt=test op=stop reason=destroyed vm=\"test\" uuid=",
        "virt=test resrc=mem reason=start vm=\"test\" uuid=",
        "virt=test op=start reason=booted vm=\"test\" uuid=",
    ] {
        eventually("the guest is recorded", Duration::from_secs(5), || {
            daemon.log().contains(record)
        });
    }
}

#[test]
fn how_clients_prove_who_they_are_changes_without_a_restart() {
    need!(package "libvirt-clients");
    use nix::sys::signal::Signal;
    let daemon = Daemon::start_with("auth_unix_rw = \"none\"\n", &[]);
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    std::fs::write(daemon.config_file(), "auth_unix_rw = \"sasl\"\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("new clients have to log in", Duration::from_secs(5), || {
        !daemon.virsh(&daemon.test_uri(), &["list"]).succeeded()
    });
    let error = daemon.virsh_error(&daemon.test_uri(), &["list"]);
    assert!(error.contains("authentication"), "{error}");
}

#[test]
fn a_driver_in_a_process_of_its_own_crashes_alone() {
    need!(package "libvirt-clients");
    use nix::sys::signal::{Signal, kill};
    let daemon = Daemon::start_with("isolate = [ \"test\" ]\n", &[]);
    let uri = daemon.test_uri();
    assert!(daemon.virsh_ok(&uri, &["list"]).contains("test"));
    let children = || -> Vec<i32> {
        // The kernel lists a process under the thread that started it.
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        threads
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|pids| {
                let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
                pids.collect::<Vec<i32>>()
            })
            .collect()
    };
    let first = children();
    assert_eq!(first.len(), 1, "{}", daemon.log());
    kill(nix::unistd::Pid::from_raw(first[0]), Signal::SIGKILL).unwrap();
    let error = daemon.virsh_error(&uri, &["list"]);
    assert!(error.contains("is started again in"), "{error}");
    eventually("another process answers", Duration::from_secs(20), || {
        daemon.virsh(&uri, &["list"]).succeeded()
    });
    assert_ne!(children(), first);
}

#[test]
fn a_driver_that_is_not_there_stops_the_start() {
    let plugins = plugins().expect("the plugins build");
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(program());
    command
        .arg("--root")
        .arg(root.path())
        .args(["--driver", "nosuch"])
        .env("VIRT_DRIVER_DIR", plugins.directory());
    let ran = run_to_end(command);
    assert_eq!(ran.code, Some(10), "{ran:?}");
    assert!(
        ran.err.contains("no driver 'nosuch' is installed: there are "),
        "{ran:?}"
    );
}

#[test]
fn whoever_starts_a_daemon_in_the_background_hears_why_it_does_not_come_up() {
    let plugins = plugins().expect("the plugins build");
    let root = tempfile::tempdir().expect("a temporary folder");
    let config = root.path().join("virtd.conf");
    let start = |settings: &str, options: &[&str]| {
        std::fs::write(&config, settings).expect("a file in a folder of our own");
        let mut command = Command::new(program());
        // Relative paths hold, though the daemon leaves the folder.
        command.current_dir(root.path()).args(["--root", "."]);
        command.args(["--config", "virtd.conf", "--daemon"]).args(options);
        command.env("VIRT_DRIVER_DIR", plugins.directory());
        run_to_end(command)
    };
    let ran = start("unix_sock_group = \"nosuchgroup\"\n", &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("there is no group 'nosuchgroup'"), "{ran:?}");
    // What is missing, and how to do without it.
    let ran = start(
        "ca_file = \"/none/c\"\ncert_file = \"/none/a\"\nkey_file = \"/none/k\"\n",
        &["--listen"],
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("'/none/c'") && ran.err.contains("listen_tls = 0"),
        "{ran:?}"
    );
}

#[test]
fn a_value_that_stops_the_start_is_told_with_its_line() {
    let plugins = plugins().expect("the plugins build");
    let root = tempfile::tempdir().expect("a temporary folder");
    let config = root.path().join("some.conf");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a socket has an address").port();
    let network =
        format!("listen_tls = 0\nlisten_tcp = 1\nlisten_addr = \"127.0.0.1\"\ntcp_port = \"{port}\"\n");
    let far = "listen_tls = 0\nlisten_tcp = 1\ntcp_port = \"0\"\nlisten_addr = \"192.0.2.1\"\n";
    let empty = root.path().join("empty.pem");
    std::fs::write(&empty, "").expect("a file in a folder of our own");
    let files = format!(
        "ca_file = \"{}\"\nkey_file = \"/none/k\"\ncert_file = \"/none/c\"\n",
        empty.display()
    );
    for (settings, place, what) in [
        (
            "\nunix_sock_dir = \"/none/s\"\n",
            "2: unix_sock_dir = \"/none/s\": ",
            "cannot listen on '/none/s/",
        ),
        (
            "unix_sock_group = \"nosuch\"\n",
            "1: unix_sock_group = \"nosuch\": ",
            "there is no group 'nosuch'",
        ),
        (
            "metrics_socket = \"/none/m\"\n",
            "1: metrics_socket = \"/none/m\": ",
            "'/none/m'",
        ),
        (
            "policy_file = \"/none/p\"\n",
            "1: policy_file = \"/none/p\": ",
            "'/none/p'",
        ),
        (&network, "4: tcp_port = ", "Address already in use"),
        (
            far,
            "4: listen_addr = \"192.0.2.1\": ",
            "cannot listen on '192.0.2.1'",
        ),
        (&files, "1: ca_file = ", "no certificate of an authority"),
        (
            "key_file = \"/none/k\"\n",
            "1: key_file = \"/none/k\": ",
            "ca_file is not",
        ),
    ] {
        std::fs::write(&config, settings).expect("a file in a folder of our own");
        let mut command = Command::new(program());
        command
            .arg("--root")
            .arg(root.path())
            .arg("--config")
            .arg(&config);
        if ["listen_", "_file = \"/none/k"]
            .iter()
            .any(|part| settings.contains(part))
        {
            command.arg("--listen");
        }
        command.env("VIRT_DRIVER_DIR", plugins.directory());
        let ran = run_to_end(command);
        assert!(!ran.succeeded(), "{ran:?}");
        let place = format!("{}:{place}", config.display());
        assert!(
            ran.err.contains(&place) && ran.err.contains(what),
            "{settings}: {ran:?}"
        );
    }
}
