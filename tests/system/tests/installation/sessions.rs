//! Daemons that clients start for a user's session, from the installation.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use virt_api::need;
use virt_tests_system::host::{Ran, eventually, run_to_end};
use virt_tests_system::installed::{Home, Installation, NOBODY};

/// The modes of a client, and the daemon that each starts.
const MODES: [(&str, &str); 2] = [("legacy", "libvirtd"), ("direct", "virtqemud")];

/// Ran as several clients at the same moment; they have one daemon, which was started as libvirt starts it.
#[track_caller]
fn one_daemon(home: &Home, name: &str, clients: Vec<Command>) {
    let running: Vec<_> = clients
        .into_iter()
        .map(|client| std::thread::spawn(move || run_to_end(client)))
        .collect();
    let ran: Vec<Ran> = running.into_iter().map(|client| client.join().unwrap()).collect();
    let started = home.daemons();
    for ran in ran {
        assert!(
            ran.succeeded() && ran.out.contains("Id   Name   State"),
            "{name}: {ran:?}"
        );
    }
    assert_eq!(started.len(), 1, "{name} was started once: {started:?}");
    let line = &started[0].1;
    assert!(
        line.contains(&format!("sbin/{name} ")) && line.contains("--timeout=120"),
        "{line}"
    );
    // Who starts it holds a lock for that long, and takes its file away.
    assert!(!home.path().join(format!("libvirt/{name}.lock")).exists());
    home.end_daemons();
}

#[test]
fn stock_virsh_starts_the_daemon_of_a_session() {
    need!(root, package "libvirt-clients");
    let installed = Installation::get();
    for (mode, name) in MODES {
        let home = Home::new();
        let client = || {
            let mut command = home.command("/usr/bin/virsh");
            command.env("LIBVIRTD_PATH", installed.path("sbin")).args([
                "-c",
                &format!("qemu:///session?mode={mode}"),
                "list",
                "--all",
            ]);
            command
        };
        one_daemon(&home, name, vec![client(), client(), client()]);
    }
}

#[test]
fn our_virsh_starts_the_daemon_of_a_session() {
    need!(root);
    let installed = Installation::get();
    for (mode, name) in MODES {
        let home = Home::new();
        let client = || {
            let mut command = home.command(installed.path("bin/virsh"));
            // The daemons of the prefix are taken; another may be named.
            let variable = format!("{}_PATH", name.to_uppercase());
            command.env(variable, installed.path("sbin").join(name)).args([
                "-c",
                &format!("qemu+unix:///session?mode={mode}"),
                "list",
                "--all",
            ]);
            command
        };
        one_daemon(&home, name, vec![client(), client(), client()]);
    }
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy of the user's that listens, and its URI.
fn proxy(home: &Home) -> (Running, String) {
    let installed = Installation::get();
    let mut command = home.command(installed.path("sbin/virtproxyd"));
    command
        .env("VIRTQEMUD_PATH", installed.path("sbin/virtqemud"))
        .args(["--timeout", "120"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let proxy = Running(command.spawn().unwrap());
    let socket = home.path().join("libvirt/libvirt-sock");
    eventually("virtproxyd listens", Duration::from_secs(30), || {
        UnixStream::connect(&socket).is_ok()
    });
    (proxy, format!("qemu+unix:///session?socket={}", socket.display()))
}

/// A definition of a guest.
fn guest(home: &Home, name: &str) -> String {
    let path = home.path().join(format!("{name}.xml"));
    std::fs::write(
        &path,
        format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"
        ),
    )
    .unwrap();
    path.display().to_string()
}

#[test]
fn virtproxyd_leads_to_the_daemons_of_drivers() {
    need!(root);
    let (installed, home) = (Installation::get(), Home::new());
    let (proxy, uri) = proxy(&home);
    let script = format!(
        "define {}; list --all; domstate far; undefine far; capabilities",
        guest(&home, "far")
    );
    let mut clients = vec![home.command(installed.path("bin/virsh"))];
    if Path::new("/usr/bin/virsh").exists() {
        clients.push(home.command("/usr/bin/virsh"));
    }
    for mut client in clients {
        client.args(["-c", &uri, &script]);
        let ran = run_to_end(client);
        assert!(
            ran.succeeded() && ran.out.contains("Domain 'far' defined") && ran.out.contains("shut off"),
            "{ran:?}"
        );
    }
    // Who only looks, only looks there too.
    for (script, wanted) in [
        ("list --all", "Id   Name   State"),
        ("define ROOM", "read only access prevents virDomainDefineXML"),
    ] {
        let mut command = home.command(installed.path("bin/virsh"));
        let script = script.replace("ROOM", &guest(&home, "far"));
        command.args(["-r", "-c", &uri, &script]);
        let ran = run_to_end(command);
        assert!(
            ran.out.contains(wanted) || ran.err.contains(wanted),
            "{script}: {ran:?}"
        );
    }
    let names = home.daemons();
    assert!(
        names.len() == 2 && names.iter().any(|(_, line)| line.contains("sbin/virtqemud")),
        "{names:?}"
    );
    // It has no drivers of its own, not even those that need no daemon.
    let mut command = home.command(installed.path("bin/virsh"));
    let uri = uri.replace("qemu+unix:///session", "test+unix:///default");
    command.args(["-c", &uri, "list"]);
    let ran = run_to_end(command);
    assert!(!ran.succeeded(), "{ran:?}");
    home.end_daemons();
    drop(proxy);
}

#[test]
fn rules_about_objects_are_the_matter_of_the_daemon_behind_the_proxy() {
    need!(root);
    let (installed, home) = (Installation::get(), Home::new());
    let policy = home.path().join("policy.toml");
    // The proxy acts for others, so the daemon behind it has to allow it that.
    std::fs::write(
        &policy,
        format!(
            "[[allow]]\nuid = {NOBODY}\npermissions = \"*\"\n\
             [[allow]]\nuser = \"root\"\n\
             permissions = [\"connect:getattr\", \"connect:read\", \"connect:search-domains\"]\n\
             [[allow]]\nuser = \"root\"\n\
             permissions = [\"domain:getattr\", \"domain:read\", \"domain:write\", \"domain:save\"]\ndomain_name = \"web-*\"\n"
        ),
    )
    .unwrap();
    let configure = |daemon: &str| {
        let folder = home.path().join(".config/libvirt");
        std::fs::create_dir_all(&folder).unwrap();
        for folder in [home.path().join(".config"), folder.clone()] {
            std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let text = format!("policy_file = \"{}\"\n", policy.display());
        std::fs::write(folder.join(format!("{daemon}.conf")), text).unwrap();
    };
    // The user whose session it is.
    let own = |uri: &str, script: &str| {
        let mut command = home.command(installed.path("bin/virsh"));
        command.args(["-c", uri, script]);
        run_to_end(command)
    };
    // Another, whose way leads to the same socket.
    let other = |uri: &str, script: &str| {
        let mut command = Command::new(installed.path("bin/virsh"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .args(["-c", uri, script]);
        run_to_end(command)
    };

    // With rules here and none there, some rights would be all rights.
    configure("virtproxyd");
    let (running, uri) = proxy(&home);
    for ran in [own(&uri, "list --all"), other(&uri, "list --all")] {
        assert!(
            !ran.succeeded() && ran.err.contains("holds nothing against access rules"),
            "{ran:?}"
        );
    }
    home.end_daemons();
    drop(running);

    configure("virtqemud");
    let (running, uri) = proxy(&home);
    for name in ["web-1", "db-1"] {
        own(&uri, &format!("define {}", guest(&home, name))).ok();
    }
    let all = own(&uri, "list --all").ok();
    assert!(all.contains("web-1") && all.contains("db-1"), "{all}");
    // Lists, objects and permissions are those of who asks, not of the proxy.
    let some = other(&uri, "list --all").ok();
    assert!(some.contains("web-1") && !some.contains("db-1"), "{some}");
    other(&uri, "desc web-1 --config --new-desc ours").ok();
    let ran = other(&uri, "desc db-1 --config --new-desc theirs");
    assert!(!ran.succeeded(), "{ran:?}");
    // What is held of no object at all the proxy itself refuses.
    let ran = other(&uri, "start web-1");
    assert!(
        !ran.succeeded() && ran.err.contains("'domain:start' is not allowed"),
        "{ran:?}"
    );
    for name in ["web-1", "db-1"] {
        own(&uri, &format!("undefine {name}")).ok();
    }
    home.end_daemons();
    drop(running);
}
