//! The installed units under a systemd of their own: a container whose `/usr` is this machine's with the installation over
//! it, and whose other folders are fresh.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virt_api::need;
use virt_api::testkit::skip;
use virt_tests_system::host::{Ran, eventually, run_to_end};
use virt_tests_system::installed::{Installation, folder};

/// Longest that systemd may take to start in the container.
const BOOT: Duration = Duration::from_secs(120);
/// Longest that what systemd does by itself may take.
const WAIT: Duration = Duration::from_secs(60);

/// Files of this machine's that the container's programs need.
const FROM_HOST: [&str; 9] = [
    "alternatives",
    "dbus-1",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "login.defs",
    "nsswitch.conf",
    "pam.d",
    "passwd",
];

/// A container with a systemd that runs. It ends with its value.
struct Machine {
    root: tempfile::TempDir,
    child: Child,
    /// systemd, as this machine sees it.
    leader: i32,
    /// Control groups of its own, where no systemd of this machine's gives it some.
    groups: Vec<PathBuf>,
}

impl Machine {
    /// Starts one; none where that cannot be done.
    fn boot() -> Option<Self> {
        let root = folder();
        furnish(root.path());
        let name = format!("fvi{}", std::process::id());
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        let mut groups = Vec::new();
        if !has_systemd {
            for hierarchy in ["systemd", "unified", "."] {
                let hierarchy = Path::new("/sys/fs/cgroup").join(hierarchy);
                if hierarchy.join("cgroup.procs").is_file() {
                    let group = hierarchy.join(&name);
                    if let Err(error) = std::fs::create_dir(&group) {
                        skip(&format!("no control group for a container: {error}"));
                        return None;
                    }
                    groups.push(group);
                }
            }
        }
        let output = std::fs::File::create(root.path().join("output")).unwrap();
        let mut command = Command::new("sh");
        // Who changes its group before it becomes another program takes that program there.
        command
            .args([
                "-c",
                "for group in $GROUPS_OF_IT; do echo $$ > $group/cgroup.procs || exit; done; exec \"$0\" \"$@\"",
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--private-network",
                "--console=pipe",
                "--boot",
            ])
            .arg(format!("--machine={name}"))
            .arg("--directory")
            .arg(root.path())
            .arg(format!(
                "--overlay-ro=/usr:{}:/usr",
                Installation::get().path("").display()
            ))
            .args((!has_systemd).then_some("--keep-unit"));
        // The installation has a virsh of its own in its place.
        if Path::new("/usr/bin/virsh").exists() {
            command.arg("--bind-ro=/usr/bin/virsh:/opt/virsh");
        }
        let groups_of_it: Vec<String> = groups.iter().map(|group| group.display().to_string()).collect();
        let child = command
            .arg("systemd.unit=multi-user.target")
            .env("GROUPS_OF_IT", groups_of_it.join(" "))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut machine = Self {
            root,
            child,
            leader: 0,
            groups,
        };
        let end = Instant::now() + BOOT;
        while !machine.is_up() {
            let ended = machine.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > end {
                let said = std::fs::read_to_string(machine.root.path().join("output")).unwrap_or_default();
                skip(&format!(
                    "no systemd starts in a container here: {ended:?} {said}"
                ));
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(machine)
    }

    fn is_up(&mut self) -> bool {
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let Some(leader) = children.split_whitespace().next() else {
            return false;
        };
        self.leader = leader.parse().unwrap();
        let state = self.run(&["systemctl", "is-system-running"]).out;
        matches!(state.trim(), "running" | "degraded")
    }

    /// Runs a program in it.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("nsenter");
        command
            .args(["--all", "--target", &self.leader.to_string(), "--"])
            .args([
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin",
                "LC_ALL=C",
                "SYSTEMD_PAGER=",
            ])
            .args(words);
        run_to_end(command)
    }

    /// What a program that must succeed prints.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        if !ran.succeeded() {
            let journal = self.run(&["journalctl", "--no-pager", "--lines=40"]).out;
            panic!("{words:?}: {}{}\n{journal}", ran.out, ran.err);
        }
        ran.out
    }

    /// A property of a unit.
    #[track_caller]
    fn shows(&self, unit: &str, property: &str) -> String {
        let text = self.ok(&["systemctl", "show", "--value", "--property", property, unit]);
        text.trim().to_owned()
    }

    /// Puts a file of configuration there.
    fn file(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Guests in it: the processes.
    fn guests(&self) -> String {
        self.run(&["pgrep", "--full", "^/usr/bin/qemu-system"]).out
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        // All that runs in it ends with its first process.
        if self.leader > 1 {
            let _ = kill(Pid::from_raw(self.leader), Signal::SIGKILL);
        }
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for group in &self.groups {
            // The deepest first; one that is gone is as good.
            let _ = Command::new("find")
                .arg(group)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// What a root needs to be one.
fn furnish(root: &Path) {
    for name in [
        "etc", "usr", "var", "run", "tmp", "proc", "sys", "dev", "root", "opt",
    ] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let etc = root.join("etc");
    for name in FROM_HOST {
        let from = Path::new("/etc").join(name);
        if from.exists() {
            let mut command = Command::new("cp");
            command.arg("-a").arg(from).arg(&etc);
            run_to_end(command).ok();
        }
    }
    // The group is the installation's to make.
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let groups: String = groups
        .lines()
        .filter(|line| !line.starts_with("libvirt:"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (name, text) in [
        ("group", groups.as_str()),
        ("machine-id", "6d0d0a3f7f6c4a5c9d3c0f5f3a1b2c4d\n"),
        ("hostname", "box\n"),
        ("fstab", ""),
        ("os-release", "ID=test\nNAME=Test\n"),
    ] {
        std::fs::write(etc.join(name), text).unwrap();
    }
}

const GUEST: &str = "<domain type='qemu'><name>under</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><serial type='pty'/></devices></domain>";

/// A client in the container: libvirt's if there is one.
fn virsh(machine: &Machine) -> &'static str {
    match machine.root.path().join("opt/virsh").exists() {
        true => "/opt/virsh",
        false => "/usr/bin/virsh",
    }
}

#[test]
fn systemd_starts_watches_and_exchanges_the_daemon() {
    need!(root, program "systemd-nspawn", program "nsenter", program "dbus-daemon", program "qemu-system-x86_64");
    let Some(machine) = Machine::boot() else { return };
    machine.file("root/guest.xml", GUEST);
    // What it does is in the journal then.
    machine.file("etc/libvirt/libvirtd.conf", "log_level = 2\n");
    // The group and the folders are there without anybody's doing.
    machine.ok(&["getent", "group", "libvirt"]);
    machine.ok(&["test", "-d", "/var/lib/libvirt"]);

    monolithic(&machine);
    modular(&machine);
}

/// The daemon of all drivers.
fn monolithic(machine: &Machine) {
    let client = virsh(machine);
    let virsh = |words: &str| machine.ok(&[client, "-c", "qemu:///system?mode=legacy", words]);
    let service = "libvirtd.service";
    machine.ok(&["systemctl", "enable", "--now", "libvirtd.socket"]);
    assert_eq!(machine.shows(service, "ActiveState"), "inactive");

    // The first client starts it, and it says when it is ready.
    assert!(virsh("list --all").contains("Id   Name   State"));
    assert_eq!(machine.shows(service, "ActiveState"), "active");
    assert_eq!(machine.shows(service, "NotifyAccess"), "main");
    let listening = machine.shows("libvirtd-ro.socket", "SubState");
    assert!(
        matches!(listening.as_str(), "running" | "listening"),
        "{listening}"
    );

    // A guest starts under what the unit allows, and holds logind's lock.
    virsh("create /root/guest.xml");
    let guests = machine.guests();
    assert_eq!(guests.lines().count(), 1, "{guests}");
    let locks = || machine.ok(&["systemd-inhibit", "--list", "--no-legend"]);
    eventually("the lock is held", WAIT, || {
        let locks = locks();
        locks.contains("Libvirt") && locks.contains("shutdown") && locks.contains("delay")
    });
    // So it is when logind has been exchanged.
    machine.ok(&["systemctl", "restart", "systemd-logind"]);
    eventually("the lock is held again", WAIT, || locks().contains("Libvirt"));

    // Guests do not depend on it.
    for action in ["restart", "stop"] {
        let before = machine.shows(service, "MainPID");
        machine.ok(&["systemctl", action, service]);
        assert!(virsh("list").contains("under   running"), "after {action}");
        assert_ne!(machine.shows(service, "MainPID"), before, "after {action}");
        assert_eq!(machine.guests(), guests, "after {action}");
    }

    // A reload is answered by the daemon; another program takes its place without systemd's doing.
    let before = machine.shows(service, "MainPID");
    let journal = || machine.ok(&["journalctl", "--no-pager", "--unit", service]);
    machine.ok(&["systemctl", "reload", service]);
    let reloads = || journal().matches("the configuration is read again").count();
    eventually("the configuration is read again", WAIT, || reloads() > 0);
    // A second signal would have come with the first.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(reloads(), 1, "{}", journal());
    machine.ok(&["systemctl", "kill", "--kill-whom=main", "--signal=USR2", service]);
    eventually("the new program has begun", WAIT, || {
        journal().contains("takes this one's place")
    });
    assert!(virsh("list").contains("under   running"));
    assert_eq!(machine.shows(service, "MainPID"), before);
    assert_eq!(machine.shows(service, "ActiveState"), "active");
    assert_eq!(machine.guests(), guests);
    watched(machine, service);
    assert!(virsh("list").contains("under   running"));
    assert_eq!(machine.guests(), guests);

    // Without work it ends in its time, and the next client finds it again. Guests are work.
    machine.file("etc/default/libvirtd", "LIBVIRTD_ARGS=\"--timeout 1\"\n");
    machine.ok(&["systemctl", "restart", service]);
    assert!(virsh("list").contains("under   running"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.shows(service, "ActiveState"), "active");
    virsh("destroy under");
    eventually("the daemon ends by itself", WAIT, || {
        machine.shows(service, "ActiveState") == "inactive"
    });
    assert_eq!(machine.shows(service, "Result"), "success");
    assert_eq!(locks().lines().filter(|line| line.contains("Libvirt")).count(), 0);
    assert!(virsh("list --all").contains("Id   Name   State"));
    machine.ok(&[
        "systemctl",
        "disable",
        "--now",
        "libvirtd.socket",
        "libvirtd-ro.socket",
        "libvirtd-admin.socket",
        service,
    ]);
}

/// systemd hears that the daemon's loop turns, and exchanges one that stands still.
fn watched(machine: &Machine, service: &str) {
    machine.file(
        "etc/systemd/system/libvirtd.service.d/watch.conf",
        "[Service]\nWatchdogSec=5\n",
    );
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", service]);
    let heard = || machine.shows(service, "WatchdogTimestampMonotonic");
    for _ in 0..2 {
        let before = heard();
        eventually("systemd hears of the daemon", WAIT, || heard() != before);
    }
    let before = machine.shows(service, "NRestarts");
    machine.ok(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", service]);
    eventually("another daemon takes the place", WAIT, || {
        machine.shows(service, "NRestarts") != before && machine.shows(service, "ActiveState") == "active"
    });
    std::fs::remove_dir_all(machine.root.path().join("etc/systemd/system/libvirtd.service.d")).unwrap();
    machine.ok(&["systemctl", "daemon-reload"]);
}

/// The daemon of one driver, and the one that leads to it.
fn modular(machine: &Machine) {
    machine.ok(&[
        "systemctl",
        "enable",
        "--now",
        "virtqemud.socket",
        "virtproxyd.socket",
    ]);
    let client = virsh(machine);
    let direct = "qemu:///system?mode=direct";
    machine.ok(&[client, "-c", direct, "create /root/guest.xml"]);
    assert_eq!(machine.shows("virtproxyd.service", "ActiveState"), "inactive");
    let through = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock";
    let listed = machine.ok(&[client, "-c", through, "list"]);
    assert!(listed.contains("under   running"), "{listed}");
    let mut states = BTreeMap::new();
    for unit in ["virtproxyd.service", "virtqemud.service", "libvirtd.service"] {
        states.insert(unit, machine.shows(unit, "ActiveState"));
    }
    assert_eq!(
        states.values().map(String::as_str).collect::<Vec<_>>(),
        ["inactive", "active", "active"],
        "{states:?}"
    );
    let guests = machine.guests();
    machine.ok(&["systemctl", "restart", "virtqemud.service"]);
    // Who is on the way to it is led to the new one.
    let listed = machine.ok(&[client, "-c", through, "list"]);
    assert!(listed.contains("under   running"), "{listed}");
    assert_eq!(machine.guests(), guests);
    machine.ok(&[client, "-c", through, "destroy under"]);
}
