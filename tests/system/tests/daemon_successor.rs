//! Another program in the place of the daemon: what stays, what follows the configuration, and what stops it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt_api::need;
use virt_api::testkit::{plugins, stock};
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::guest::idle;
use virt_tests_system::host::{eventually, run_to_end};

#[test]
fn another_program_takes_the_place_and_keeps_the_sockets() {
    need!(package "libvirt-clients");
    let daemon = Daemon::start_with("log_level = 2\n", &[]);
    let inode = || std::fs::metadata(daemon.socket()).map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    let before = inode().unwrap();
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    daemon.signal(Signal::SIGUSR2);
    eventually("the new program has begun", Duration::from_secs(20), || {
        daemon.log().contains("takes this one's place")
    });
    // Whoever connects meanwhile waits in the socket's queue.
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    assert_eq!(inode().unwrap(), before, "the same socket");
}

/// How many sockets of the daemon listen, and which sockets a child of it would get.
fn descriptors(daemon: &Daemon) -> (usize, Vec<String>) {
    let listening: Vec<String> = std::fs::read_to_string("/proc/net/unix")
        .expect("the kernel lists sockets")
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The flag of sockets that accept.
            let inode = words.get(6)?;
            (words.get(3) == Some(&"00010000")).then(|| format!("socket:[{inode}]"))
        })
        .collect();
    let folder = format!("/proc/{}", daemon.pid());
    let mut found = (0, Vec::new());
    for entry in std::fs::read_dir(format!("{folder}/fd"))
        .expect("the daemon runs")
        .flatten()
    {
        let number = entry.file_name().to_string_lossy().into_owned();
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let Ok(info) = std::fs::read_to_string(format!("{folder}/fdinfo/{number}")) else {
            continue;
        };
        found.0 += usize::from(listening.contains(&target));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        let flags = flags.expect("the kernel tells flags");
        // What is no socket came with the environment of the test.
        let is_ours = target.starts_with("socket:") && !matches!(number.as_str(), "0" | "1" | "2");
        if flags & 0o2000000 == 0 && is_ours {
            found.1.push(format!("{number} -> {target}"));
        }
    }
    found
}

/// Waits until the program was exchanged that many times and listens.
#[track_caller]
fn renewed(daemon: &Daemon, times: usize) {
    eventually("the new program listens", Duration::from_secs(30), || {
        let log = daemon.log();
        let after = log.match_indices("takes this one's place").nth(times - 1);
        after.is_some_and(|(at, _)| log[at..].contains("listening on"))
    });
}

#[test]
fn limits_and_client_numbers_survive_another_program() {
    need!(package "libvirt-clients");
    let daemon = Daemon::start_with("log_level = 2\nmax_workers = 30\n", &[]);
    let admin = |words: &[&str]| {
        let ran = daemon.virt_admin(words);
        assert!(ran.succeeded(), "{words:?}: {ran:?}");
        ran.out
    };
    let shows = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split(':').nth(1).unwrap().trim().parse().unwrap()
    };
    admin(&[
        "srv-clients-set",
        "libvirtd",
        "--max-clients",
        "77",
        "--max-unauth-clients",
        "7",
    ]);
    admin(&[
        "srv-threadpool-set",
        "libvirtd",
        "--min-workers",
        "3",
        "--priority-workers",
        "4",
    ]);
    admin(&["srv-clients-set", "admin", "--max-clients", "66"]);
    let before = descriptors(&daemon);
    assert_eq!(before.1, [""; 0], "children would get them");
    // What nobody has set follows the configuration.
    std::fs::write(
        daemon.config_file(),
        "log_level = 2\nmax_workers = 31\nmax_clients = 99\n",
    )
    .unwrap();
    for times in 1..=2 {
        daemon.signal(Signal::SIGUSR2);
        renewed(&daemon, times);
        let limits = admin(&["srv-clients-info", "libvirtd"]);
        assert_eq!(shows(&limits, "nclients_max"), 77, "{limits}");
        assert_eq!(shows(&limits, "nclients_unauth_max"), 7, "{limits}");
        let pool = admin(&["srv-threadpool-info", "libvirtd"]);
        assert_eq!(shows(&pool, "minWorkers"), 3, "{pool}");
        assert_eq!(shows(&pool, "maxWorkers"), 31, "{pool}");
        assert_eq!(shows(&pool, "prioWorkers"), 4, "{pool}");
        assert_eq!(shows(&admin(&["srv-clients-info", "admin"]), "nclients_max"), 66);
        let after = descriptors(&daemon);
        assert_eq!(after, before, "nothing is left over, and nothing for children");
    }
    // Nobody gets a number that somebody had: six of the administration before, and eight since.
    let clients = admin(&["srv-clients-list", "admin"]);
    let number = clients
        .lines()
        .nth(2)
        .and_then(|line| line.split_whitespace().next());
    assert!(number.unwrap().parse::<u64>().unwrap() > 10, "{clients}");
    // A reload takes the configuration as it is.
    daemon.signal(Signal::SIGHUP);
    eventually("the configuration holds", Duration::from_secs(20), || {
        shows(&admin(&["srv-clients-info", "libvirtd"]), "nclients_max") == 99
    });
}

#[test]
fn signals_that_come_quickly_do_not_end_a_daemon_that_begins() {
    need!(package "libvirt-clients");
    let mut daemon = Daemon::start_with("log_level = 2\n", &[]);
    let inode = std::fs::metadata(daemon.socket()).unwrap().ino();
    // Clients come all the while, and each is answered by one of the programs.
    let end = Instant::now() + Duration::from_secs(6);
    let uri = daemon.test_uri();
    let (mut asked, mut answered) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                for signal in [Signal::SIGUSR2, Signal::SIGHUP] {
                    daemon.signal(signal);
                    std::thread::sleep(Duration::from_millis(7));
                }
            }
        });
        while Instant::now() < end {
            asked += 1;
            let ran = daemon.virsh(&uri, &["list"]);
            // One that was there when its program ended is told so.
            answered += usize::from(ran.succeeded());
        }
    });
    assert!(daemon.is_running(), "{}", daemon.log());
    assert!(
        daemon.log().matches("takes this one's place").count() > 2,
        "{}",
        daemon.log()
    );
    assert!(asked > 0, "{answered} of {asked} were answered");
    eventually("it is quiet again", Duration::from_secs(20), || {
        daemon.virsh(&uri, &["list"]).succeeded()
    });
    let now = std::fs::metadata(daemon.socket()).unwrap().ino();
    assert_eq!(now, inode, "the same socket");
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_in_the_background_keeps_process_and_sockets() {
    need!(package "libvirt-clients");
    let plugins = plugins().expect("the plugins build");
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(program());
    command
        .arg("--root")
        .arg(root.path())
        .arg("--daemon")
        .env("VIRT_DRIVER_DIR", plugins.directory());
    let ran = run_to_end(command);
    assert!(ran.succeeded(), "{ran:?}");
    let socket = root.path().join("run/libvirt/libvirt-sock");
    let pid_file = root.path().join("run/libvirtd.pid");
    let pid = || -> i32 {
        std::fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    let inode = || std::fs::metadata(&socket).unwrap().ino();
    let before = (pid(), inode());
    struct Ended(Pid);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = kill(self.0, Signal::SIGKILL);
        }
    }
    let daemon = Ended(Pid::from_raw(before.0));
    let uri = stock::uri_through(&socket, "test:///default");
    let connects = || {
        let mut command = Command::new("/usr/bin/virsh");
        command.args(["-c", &uri, "list"]);
        run_to_end(command).succeeded()
    };
    assert!(connects());
    kill(daemon.0, Signal::SIGUSR2).unwrap();
    let variables = || std::fs::read(format!("/proc/{}/environ", before.0)).unwrap_or_default();
    eventually("another program runs", Duration::from_secs(20), || {
        String::from_utf8_lossy(&variables()).contains("VIRTD_STATE=")
    });
    assert!(connects());
    assert_eq!((pid(), inode()), before);
    kill(daemon.0, Signal::SIGTERM).unwrap();
    eventually("it ends", Duration::from_secs(20), || !pid_file.exists());
}

#[test]
fn a_socket_is_guarded_as_the_configuration_says_now() {
    need!(package "libvirt-clients", root);
    let open = "log_level = 2\nauth_unix_rw = \"polkit\"\nauth_unix_ro = \"none\"\n";
    let daemon = Daemon::start_with(open, &[]);
    let mode = || std::fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o777, "polkit decides");
    let narrow =
        "log_level = 2\nauth_unix_rw = \"none\"\nunix_sock_group = \"1\"\nunix_sock_rw_perms = \"0750\"\n";
    std::fs::write(daemon.config_file(), narrow).unwrap();
    daemon.signal(Signal::SIGUSR2);
    renewed(&daemon, 1);
    eventually("the mode is the new one", Duration::from_secs(10), || {
        mode() == 0o750
    });
    assert_eq!(std::fs::metadata(daemon.socket()).unwrap().gid(), 1);
    assert!(
        daemon.log().contains("prove who they are by none"),
        "{}",
        daemon.log()
    );
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    std::fs::write(daemon.config_file(), open).unwrap();
    daemon.signal(Signal::SIGUSR2);
    renewed(&daemon, 2);
    eventually("the mode is the old one", Duration::from_secs(10), || {
        mode() == 0o777
    });
    assert_eq!(
        std::fs::metadata(daemon.socket()).unwrap().gid(),
        nix::unistd::getegid().as_raw()
    );
}

#[test]
fn what_is_left_in_a_form_that_nobody_knows_stops_the_start() {
    let plugins = plugins().expect("the plugins build");
    let root = tempfile::tempdir().expect("a temporary folder");
    // The shell's process becomes the daemon.
    let start = |state: &str| {
        let mut command = Command::new("/bin/sh");
        let script = format!("export VIRTD_STATE='{state}'; exec \"$0\" --root \"$1\" --timeout 1");
        command
            .args(["-c", &script])
            .arg(program())
            .arg(root.path())
            .env("VIRT_DRIVER_DIR", plugins.directory());
        run_to_end(command)
    };
    for (state, reason) in [
        ("{\"servers\":", "cannot parse json"),
        (
            "{\"servers\":{},\"process\":'$$'}",
            "Server libvirtd was not created",
        ),
        (
            "{\"servers\":[],\"process\":'$$',\"later\":1}",
            "Server libvirtd was not created",
        ),
    ] {
        let ran = start(state);
        assert_eq!(ran.code, Some(6), "{state}: {ran:?}");
        let told = "cannot take over from the program before this one: ";
        assert!(ran.err.contains(told) && ran.err.contains(reason), "{ran:?}");
    }
    // It is meant for somebody else.
    let ran = start("{\"servers\":{},\"process\":1}");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Children of the daemon that have ended and that nobody has collected.
fn zombies(daemon: &Daemon) -> Vec<String> {
    let own = daemon.pid().to_string();
    std::fs::read_dir("/proc")
        .expect("the kernel lists processes")
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
            let mut words = behind.split_ascii_whitespace();
            words.next() == Some("Z") && words.next() == Some(&own)
        })
        .collect()
}

#[test]
fn what_the_program_before_has_started_is_collected() {
    need!(root, package "libvirt-clients", program "qemu-system-x86_64");
    let daemon = Daemon::start_with("log_level = 2\nisolate = [ \"test\" ]\n", &[]);
    daemon.virsh_ok(&daemon.test_uri(), &["list"]);
    let uri = daemon.uri("qemu:///system");
    let file = daemon.root().join("guest.xml");
    std::fs::write(&file, idle("inherited", "qemu")).unwrap();
    daemon.virsh_ok(&uri, &["create", &file.display().to_string()]);
    daemon.signal(Signal::SIGUSR2);
    renewed(&daemon, 1);
    assert!(daemon.virsh_ok(&uri, &["list", "--name"]).contains("inherited"));
    daemon.virsh_ok(&uri, &["destroy", "inherited"]);
    eventually("nothing is left over", Duration::from_secs(20), || {
        zombies(&daemon).is_empty()
    });
    assert!(!daemon.virsh_ok(&uri, &["list", "--name"]).contains("inherited"));
}
