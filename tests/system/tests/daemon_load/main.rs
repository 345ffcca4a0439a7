//! The daemon under load, and with drivers that do not come back. With `VIRT_LONG=1` (`cargo xtask test --long`) the
//! numbers are those that are promised; without, smaller ones that a test run has time for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod moving;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use virt_api::need;
use virt_api::protocol::remote::*;
use virt_api::rpc::Status;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::eventually;
use virt_tests_system::stuck::{HangingMount, with_sleeper};
use virt_tests_system::wire::Wire;
use virt_util::xdr::XdrEncode;

const TEST: &str = "test:///default";
const QEMU: &str = "qemu:///system";
/// `VIR_CONNECT_LIST_DOMAINS_ACTIVE` and `_INACTIVE`.
const ACTIVE: u32 = 1;
const INACTIVE: u32 = 2;
/// `VIR_DOMAIN_RUNNING`.
const RUNNING: u8 = 1;

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
    let mut open: BTreeSet<u32> = (0..1000)
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
    // As many as are counted: the daemon gives memory back when all have left, but not each time, and what it holds
    // while it serves is no growth.
    for _ in 0..cycles {
        cycle();
    }
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..200 {
        cycle();
    }
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

/// How long calls of clients that have nothing to do with what is stuck take.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: Duration,
    p99: Duration,
    worst: Duration,
}

impl Spread {
    /// Several clients call at once, each as soon as it has its answer.
    fn of(socket: &Path, uri: &str, procedure: u32, args: &[u8]) -> Self {
        const CLIENTS: usize = 4;
        let calls = number(1000, 150);
        let threads: Vec<Vec<Duration>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(move || {
                        let mut wire = Wire::open(socket, uri);
                        let once = |_| {
                            let begun = Instant::now();
                            assert_eq!(wire.call(procedure, args).header.status, Status::Ok);
                            begun.elapsed()
                        };
                        (0..calls).map(once).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut times = threads.concat();
        times.sort();
        Self {
            median: times[times.len() / 2],
            p99: times[times.len() * 99 / 100],
            worst: times[times.len() - 1],
        }
    }

    /// Whether this is as good as `alone`, but for what a busy machine adds.
    fn is_like(&self, alone: &Self) -> bool {
        let allowed = |time: Duration| time * 10 + Duration::from_millis(20);
        self.median <= allowed(alone.median) && self.p99 <= allowed(alone.p99)
    }
}

/// Compares others' calls before something is stuck and beside it. What is stuck stays so: who waits behind it does in
/// every measurement, while a machine that is busy with something else is not in all of them.
fn others_notice_nothing(
    what: &str,
    measure: impl Fn() -> Spread,
    stick: impl FnOnce() -> Vec<Wire>,
) -> Vec<Wire> {
    let alone = measure();
    let mut stuck = stick();
    std::thread::sleep(Duration::from_millis(500));
    // Nothing that a stuck call waits for ends before this, so that one call behind it is too long.
    const BOUND: Duration = Duration::from_secs(10);
    let mut beside = measure();
    for _ in 0..3 {
        if beside.is_like(&alone) {
            break;
        }
        beside = measure();
    }
    println!(
        "{} clients on {what}: others {alone:?} before, {beside:?} beside them",
        stuck.len()
    );
    assert!(beside.is_like(&alone), "{what}: {alone:?} became {beside:?}");
    assert!(beside.worst < BOUND, "{what}: {beside:?}");
    // What the stuck clients ask besides is answered.
    for wire in stuck.iter_mut().step_by(20) {
        let reply = wire.call(procedure::CONNECT_GET_HOSTNAME, &[]);
        assert_eq!(reply.header.status, Status::Ok, "{what}");
    }
    stuck
}

const STUCK: usize = 100;

#[test]
fn drivers_that_never_answer_cost_others_nothing() {
    let folder = with_sleeper();
    for (what, sleeping) in [
        (
            "a driver that sleeps until it is told to stop",
            procedure::CONNECT_GET_TYPE,
        ),
        (
            "a driver that ignores that it is told to",
            procedure::CONNECT_GET_VERSION,
        ),
    ] {
        let mut daemon = Daemon::start_in("max_anonymous_clients = 0\n", &[], folder.path());
        let socket = daemon.socket();
        // A call that goes to a worker: those are what sleepers could use up.
        let measure = || Spread::of(&socket, TEST, procedure::CONNECT_NUM_OF_STORAGE_POOLS, &[]);
        let stuck = others_notice_nothing(what, measure, || {
            let mut sleepers: Vec<_> = (0..STUCK)
                .map(|_| Wire::open(&socket, "sleeper:///bed"))
                .collect();
            for wire in &mut sleepers {
                wire.send(sleeping, &[]).unwrap();
            }
            sleepers
        });
        let begun = Instant::now();
        assert!(daemon.stop().success(), "it ends in good order");
        assert!(begun.elapsed() < Duration::from_secs(45));
        drop(stuck);
    }
}

#[test]
fn a_pool_on_a_file_system_that_hangs_costs_others_nothing() {
    need!(root);
    if !Path::new("/dev/fuse").exists() {
        return virt_api::testkit::skip("fuse: no /dev/fuse");
    }
    let folder = with_sleeper();
    let mut daemon = Daemon::start_in("max_anonymous_clients = 0\n", &[], folder.path());
    // It goes before the daemon does: one that waits for the file system could not be ended.
    let mount = HangingMount::new(Path::new(env!("CARGO_BIN_EXE_hanging-mount")));
    let socket = daemon.socket();
    let uri = format!("sleeper://{}", mount.path().display());
    let pool = StoragePoolGetInfoArgs {
        pool: StoragePoolRef {
            name: "hanging".to_owned(),
            uuid: uuid::Uuid::from_u128(1),
        },
    };
    let info: StoragePoolGetInfoReply =
        Wire::open(&socket, &uri).ask(procedure::STORAGE_POOL_GET_INFO, &pool);
    assert_eq!((info.capacity, info.available), (1000 * 4096, 500 * 4096));

    let measure = || Spread::of(&socket, TEST, procedure::CONNECT_NUM_OF_STORAGE_POOLS, &[]);
    let mut stuck = others_notice_nothing("a pool whose file system hangs", measure, || {
        let mut clients: Vec<_> = (0..STUCK).map(|_| Wire::open(&socket, &uri)).collect();
        mount.stop();
        for wire in &mut clients {
            wire.send(procedure::STORAGE_POOL_GET_INFO, &pool.to_xdr().unwrap())
                .unwrap();
        }
        clients
    });
    // Half of them have left when it goes on; the others get what they waited for.
    stuck.truncate(STUCK / 2);
    mount.go_on();
    for wire in &mut stuck {
        assert_eq!(wire.receive().unwrap().header.status, Status::Ok);
    }
    mount.stop();
    stuck[0]
        .send(procedure::STORAGE_POOL_GET_INFO, &pool.to_xdr().unwrap())
        .unwrap();
    assert!(daemon.stop().success(), "it ends in good order");
}

/// The definition of a guest that is nothing but a process.
fn guest(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"
    )
}

/// Defines a guest and starts it.
fn started(wire: &mut Wire, name: &str) -> DomainRef {
    let args = DomainDefineXmlArgs { xml: guest(name) };
    let defined: DomainDefineXmlReply = wire.ask(procedure::DOMAIN_DEFINE_XML, &args);
    let args = DomainCreateArgs {
        domain: defined.domain,
    };
    wire.tell(procedure::DOMAIN_CREATE, &args);
    let args = DomainLookupByNameArgs {
        name: name.to_owned(),
    };
    let found: DomainLookupByNameReply = wire.ask(procedure::DOMAIN_LOOKUP_BY_NAME, &args);
    found.domain
}

#[test]
fn a_guest_that_hangs_costs_others_nothing() {
    need!(program "qemu-system-x86_64", root);
    let daemon = Daemon::start_with("max_anonymous_clients = 0\n", &[]);
    let socket = daemon.socket();
    let mut wire = Wire::open(&socket, QEMU);
    let hanging = started(&mut wire, "hanging");
    let processes = daemon.guests();
    let well = started(&mut wire, "well");
    let args = DomainGetInfoArgs { domain: well }.to_xdr().unwrap();
    let measure = || Spread::of(&socket, QEMU, procedure::DOMAIN_GET_INFO, &args);
    let stuck = others_notice_nothing("a guest that hangs", measure, || {
        let mut clients: Vec<_> = (0..STUCK).map(|_| Wire::open(&socket, QEMU)).collect();
        for pid in &processes {
            kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
        }
        let args = DomainSuspendArgs {
            domain: hanging.clone(),
        };
        for wire in &mut clients {
            wire.send(procedure::DOMAIN_SUSPEND, &args.to_xdr().unwrap())
                .unwrap();
        }
        clients
    });
    drop(stuck);
    // It can be ended while it hangs.
    wire.tell(procedure::DOMAIN_DESTROY, &DomainDestroyArgs { domain: hanging });
    eventually("its process has ended", Duration::from_secs(30), || {
        daemon.guests().len() == 1
    });
}

/// Guests that a client of the daemon has been told are defined, as many as it could while the daemon lives.
fn define_until(stop: &AtomicBool, socket: &Path, prefix: &str, told: &Mutex<BTreeSet<String>>) {
    const MOST: usize = 100;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut wire) = Wire::try_open(socket, QEMU) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        while !stop.load(Ordering::Relaxed) && count < MOST {
            count += 1;
            let name = format!("{prefix}-{count}");
            let args = DomainDefineXmlArgs { xml: guest(&name) }.to_xdr().unwrap();
            let sent = wire.send(procedure::DOMAIN_DEFINE_XML, &args);
            match sent.and_then(|_| wire.receive()) {
                Ok(reply) => {
                    assert_eq!(reply.header.status, Status::Ok);
                    told.lock().unwrap().insert(name);
                }
                Err(_) => break,
            }
        }
        // The rest of the load only looks.
        while !stop.load(Ordering::Relaxed) && count >= MOST {
            if wire
                .send(procedure::CONNECT_NUM_OF_DOMAINS, &[])
                .and_then(|_| wire.receive())
                .is_err()
            {
                break;
            }
        }
    }
}

#[test]
fn a_daemon_that_is_killed_under_load_comes_back_with_all_that_was_defined() {
    need!(program "qemu-system-x86_64", root);
    let rounds = number(100, 3);
    let mut daemon = Daemon::start();
    let socket = daemon.socket();
    let mut running: Vec<DomainRef> = {
        let mut wire = Wire::open(&socket, QEMU);
        (0..number(100, 3))
            .map(|guest| started(&mut wire, &format!("guest{guest}")))
            .collect()
    };
    running.sort_by_key(|domain| domain.id);
    let processes = daemon.guests();
    assert_eq!(processes.len(), running.len());
    let told = Mutex::new(BTreeSet::new());
    for round in 0..rounds {
        let (stop, socket, told) = (AtomicBool::new(false), &socket, &told);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (stop, prefix) = (&stop, format!("g{round}-{thread}"));
                scope.spawn(move || define_until(stop, socket, &prefix, told));
            }
            // Not always at the same moment of what they do.
            std::thread::sleep(Duration::from_millis(60 + (round as u64 * 37) % 150));
            daemon.crash_and_restart();
            let mut wire = Wire::open(socket, QEMU);
            let args = ConnectListAllDomainsArgs {
                need_results: 1,
                flags: ACTIVE,
            };
            let list: ConnectListAllDomainsReply = wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &args);
            let mut found = list.domains;
            found.sort_by_key(|domain| domain.id);
            assert_eq!(found, running, "round {round}: the same guests with the same ids");
            for domain in &running {
                let args = DomainGetInfoArgs {
                    domain: domain.clone(),
                };
                let info: DomainGetInfoReply = wire.ask(procedure::DOMAIN_GET_INFO, &args);
                assert_eq!(info.state, RUNNING, "round {round}: {}", domain.name);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(daemon.guests(), processes, "round {round}");
        let mut wire = Wire::open(socket, QEMU);
        let args = ConnectListAllDomainsArgs {
            need_results: 1,
            flags: INACTIVE,
        };
        let list: ConnectListAllDomainsReply = wire.ask(procedure::CONNECT_LIST_ALL_DOMAINS, &args);
        let names: BTreeSet<String> = list.domains.iter().map(|domain| domain.name.clone()).collect();
        let mut told = told.lock().unwrap();
        let lost: Vec<_> = told.difference(&names).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        // Not more of them than a round needs.
        for domain in list.domains {
            wire.tell(procedure::DOMAIN_UNDEFINE, &DomainUndefineArgs { domain });
        }
        println!("round {round}: {} guests were defined and kept", told.len());
        told.clear();
    }
    let mut wire = Wire::open(&socket, QEMU);
    for domain in running {
        wire.tell(procedure::DOMAIN_DESTROY, &DomainDestroyArgs { domain });
    }
    assert!(daemon.stop().success());
}
