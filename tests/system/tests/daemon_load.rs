//! The daemon under load, and with drivers that do not come back. With `VIRT_LONG=1` (`cargo xtask test --long`) the
//! numbers are those that are promised; without, smaller ones that a test run has time for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use virt_api::need;
use virt_api::protocol::remote::procedure;
use virt_api::rpc::Status;
use virt_api::testkit::plugins;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::eventually;
use virt_tests_system::wire::Wire;

const TEST: &str = "test:///default";

/// The number that is promised, or the one that there is time for.
fn number(promised: usize, usual: usize) -> usize {
    match std::env::var_os("VIRT_LONG") {
        Some(_) => promised,
        None => usual,
    }
}

/// What a process holds: descriptors, threads, resident memory in KiB.
#[derive(Clone, Copy, Debug)]
struct Held {
    fds: usize,
    threads: usize,
    memory: u64,
}

fn held(pid: i32) -> Held {
    let count =
        |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, |entries| entries.count());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .unwrap_or_default();
    Held {
        fds: count("fd"),
        threads: count("task"),
        memory,
    }
}

/// Lets this process have as many descriptors as it may.
fn many_descriptors(wanted: usize) -> bool {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard as usize > wanted + 200
}

/// The 99th percentile of how long `calls` calls take.
fn p99(wire: &mut Wire, procedure: u32, calls: usize) -> Duration {
    let mut times: Vec<Duration> = (0..calls)
        .map(|_| {
            let begun = Instant::now();
            let reply = wire.call(procedure, &[]);
            assert_eq!(reply.header.status, Status::Ok);
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[calls * 99 / 100]
}

#[test]
fn idle_clients_cost_little() {
    let wanted = number(5000, 1000);
    if !many_descriptors(wanted) {
        return virt_api::testkit::skip("rlimit: too few descriptors are allowed here");
    }
    let config = format!("max_clients = {}\nmax_anonymous_clients = 0\n", wanted + 10);
    let daemon = Daemon::start_with(&config, &[]);
    let mut busy = Wire::open(&daemon.socket(), TEST);
    let alone = p99(&mut busy, procedure::CONNECT_GET_HOSTNAME, 500);
    let before = held(daemon.pid());
    let mut idle: Vec<Wire> = (0..wanted)
        .map(|_| {
            let mut wire = Wire::connect(&daemon.socket()).expect("one more client");
            assert_eq!(wire.call(procedure::AUTH_LIST, &[]).header.status, Status::Ok);
            wire
        })
        .collect();
    let with_all = p99(&mut busy, procedure::CONNECT_GET_HOSTNAME, 500);
    let during = held(daemon.pid());
    println!("{wanted} idle clients: p99 {alone:?} alone, {with_all:?} with them; {before:?} to {during:?}");
    // Each is still served.
    for wire in idle.iter_mut().step_by(97) {
        assert_eq!(wire.call(procedure::AUTH_LIST, &[]).header.status, Status::Ok);
    }
    let each = during.memory.saturating_sub(before.memory) as f64 / wanted as f64;
    assert!(each < 24.0, "an idle client costs {each:.1} KiB");
    assert!(during.threads <= before.threads + 4, "clients cost no threads");
    assert!(
        with_all < alone * 20 + Duration::from_millis(5),
        "{alone:?} became {with_all:?}"
    );
    drop(idle);
    eventually("the clients are forgotten", Duration::from_secs(30), || {
        held(daemon.pid()).fds <= before.fds + 2
    });
}

#[test]
fn busy_clients_are_all_served() {
    let daemon = Daemon::start_with("max_anonymous_clients = 0\n", &[]);
    let (clients, calls) = (64, number(2000, 200));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut wire = Wire::open(&daemon.socket(), TEST);
                for _ in 0..calls {
                    let reply = wire.call(procedure::CONNECT_NUM_OF_DOMAINS, &[]);
                    assert_eq!(reply.header.status, Status::Ok);
                }
            });
        }
    });
    let took = begun.elapsed();
    println!(
        "{clients} clients: {:.0} calls a second",
        (clients * calls) as f64 / took.as_secs_f64()
    );
}

#[test]
fn a_thousand_calls_in_one_breath_are_answered_once_each() {
    let daemon = Daemon::start();
    let mut wire = Wire::open(&daemon.socket(), TEST);
    let mut open: std::collections::BTreeSet<u32> = (0..1000)
        .map(|_| wire.send(procedure::CONNECT_GET_HOSTNAME, &[]).unwrap())
        .collect();
    while !open.is_empty() {
        let reply = wire.receive().unwrap();
        assert_eq!(reply.header.status, Status::Ok);
        assert!(open.remove(&reply.header.serial), "answered twice or unasked");
    }
}

#[test]
fn a_client_that_does_not_read_harms_itself_only() {
    let mut daemon = Daemon::start();
    let mut good = Wire::open(&daemon.socket(), TEST);
    let alone = p99(&mut good, procedure::CONNECT_GET_HOSTNAME, 300);
    let before = held(daemon.pid());
    let mut lazy = Wire::open(&daemon.socket(), TEST);
    lazy.socket()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    // Big answers that nobody takes, until the daemon takes no more questions.
    let mut asked = 0;
    while asked < 200_000 && lazy.send(procedure::CONNECT_GET_CAPABILITIES, &[]).is_ok() {
        asked += 1;
    }
    let beside = p99(&mut good, procedure::CONNECT_GET_HOSTNAME, 300);
    let during = held(daemon.pid());
    println!("{asked} questions without reading: p99 {alone:?}, then {beside:?}; {before:?} to {during:?}");
    assert!(daemon.is_running());
    assert!(asked < 200_000, "the daemon has to stop reading at some time");
    let grown = during.memory.saturating_sub(before.memory);
    assert!(grown < 64 * 1024, "{grown} KiB for one client that does not read");
    // Keepalive and other clients go on; the lazy one can still come back.
    lazy.socket()
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut some = [0; 4096];
    assert!(matches!(lazy.socket().read(&mut some), Ok(1..)));
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let cycles = number(10_000, 1000);
    let daemon = Daemon::start_with("max_anonymous_clients = 0\n", &[]);
    let cycle = || drop(Wire::open(&daemon.socket(), TEST));
    for _ in 0..200 {
        cycle();
    }
    std::thread::sleep(Duration::from_millis(300));
    let before = held(daemon.pid());
    let begun = Instant::now();
    for _ in 0..cycles {
        cycle();
    }
    let took = begun.elapsed();
    eventually("the clients are forgotten", Duration::from_secs(30), || {
        held(daemon.pid()).fds <= before.fds
    });
    let after = held(daemon.pid());
    println!("{cycles} clients in {took:?}; {before:?} to {after:?}");
    assert!(after.threads <= before.threads + 2, "{before:?} to {after:?}");
    let grown = after.memory.saturating_sub(before.memory);
    assert!(grown < 8 * 1024, "{grown} KiB after {cycles} clients");
}

/// Plugins of the tree, and the one that sleeps.
fn with_sleeper() -> tempfile::TempDir {
    let plugins = plugins().expect("the plugins build");
    let folder = tempfile::tempdir().unwrap();
    let object = plugins.object("virt-tests-sleeper").expect("the sleeper builds");
    let manifest = virt_api::plugin::inspect(object).unwrap();
    virt_api::testkit::copy_plugin(object, folder.path(), &manifest).unwrap();
    for name in ["virt-driver-test.so", "virt-driver-test.toml"] {
        std::fs::copy(plugins.directory().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// A hundred clients on calls that do not come back, and what others then wait.
fn beside_sleepers(socket: &Path, sleeping: u32) -> (Duration, Duration) {
    let mut good = Wire::open(socket, TEST);
    // A call that goes to a worker: those are what sleepers could use up.
    let calls = number(2000, 300);
    let alone = p99(&mut good, procedure::CONNECT_NUM_OF_STORAGE_POOLS, calls);
    let mut sleepers: Vec<Wire> = (0..100).map(|_| Wire::open(socket, "sleeper:///bed")).collect();
    for wire in &mut sleepers {
        wire.send(sleeping, &[]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let beside = p99(&mut good, procedure::CONNECT_NUM_OF_STORAGE_POOLS, calls);
    // The sleepers' own connections are alive: other calls of theirs are answered.
    for wire in sleepers.iter_mut().step_by(20) {
        assert_eq!(
            wire.call(procedure::CONNECT_GET_HOSTNAME, &[]).header.status,
            Status::Ok
        );
    }
    (alone, beside)
}

#[test]
fn drivers_that_never_answer_cost_others_nothing() {
    let folder = with_sleeper();
    for sleeping in [procedure::CONNECT_GET_TYPE, procedure::CONNECT_GET_VERSION] {
        let mut daemon = Daemon::start_in("max_anonymous_clients = 0\n", &[], folder.path());
        let (alone, beside) = beside_sleepers(&daemon.socket(), sleeping);
        println!("100 sleepers in procedure {sleeping}: p99 {alone:?} before, {beside:?} beside them");
        assert!(
            beside < alone * 10 + Duration::from_millis(20),
            "{alone:?} became {beside:?}"
        );
        let begun = Instant::now();
        assert!(daemon.stop().success(), "it ends in good order");
        assert!(begun.elapsed() < Duration::from_secs(45));
    }
}

#[test]
fn a_daemon_that_is_killed_under_load_comes_back_with_all_that_was_defined() {
    need!(package "libvirt-clients", program "qemu-system-x86_64");
    let rounds = number(100, 3);
    let mut daemon = Daemon::start();
    let define = |daemon: &Daemon, name: &str| {
        let file = daemon.root().join("guest.xml");
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"
        );
        std::fs::write(&file, xml).unwrap();
        qemu(daemon, &["define", file.to_str().unwrap()]).ok();
    };
    define(&daemon, "kept");
    qemu(&daemon, &["start", "kept"]).ok();
    let id = qemu(&daemon, &["domid", "kept"]).ok();
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (stop, answered, socket) = (Arc::clone(&stop), Arc::clone(&answered), daemon.socket());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(mut wire) = Wire::connect(&socket) else {
                            std::thread::sleep(Duration::from_millis(2));
                            continue;
                        };
                        while !stop.load(Ordering::Relaxed)
                            && wire.send(procedure::AUTH_LIST, &[]).is_ok()
                            && wire.receive().is_ok()
                        {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        define(&daemon, &format!("round{round}"));
        std::thread::sleep(Duration::from_millis(100));
        daemon.crash_and_restart();
        assert_eq!(
            qemu(&daemon, &["domid", "kept"]).ok(),
            id,
            "round {round}: the same guest"
        );
        assert_eq!(qemu(&daemon, &["domstate", "kept"]).ok().trim(), "running");
        let names = qemu(&daemon, &["list", "--all", "--name"]).ok();
        for defined in 0..=round {
            assert!(
                names.lines().any(|name| name == format!("round{defined}")),
                "{names}"
            );
        }
        let so_far = answered.load(Ordering::Relaxed);
        eventually("clients are served again", Duration::from_secs(20), || {
            answered.load(Ordering::Relaxed) > so_far
        });
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
    }
    qemu(&daemon, &["destroy", "kept"]).ok();
    assert!(daemon.stop().success());
}

fn qemu(daemon: &Daemon, words: &[&str]) -> virt_tests_system::host::Ran {
    daemon.virsh(&daemon.uri("qemu:///system"), words)
}
