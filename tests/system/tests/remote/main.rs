//! The remote driver with libvirt's own daemon at the other end, and with ours.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use virt_api::call::StreamMode;
use virt_api::client::migration;
use virt_api::objects::{Connect, ConnectBuilder};
use virt_api::protocol::remote::StoragePoolRef;
use virt_api::stream_end::{StreamEnd, Transfer};
use virt_api::testkit::Pki;
use virt_api::testkit::stock::{self, Room, Stock};
use virt_api::{DomainEventKind, ErrorCode, need};
use virt_driver_remote::PluginEntry;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::host::{Host, eventually, free_port};
use virt_util::typed_param::TypedParams;
use virt_util::types::{ConnectCloseReason, DomainEventId, DomainEventType, DomainMigrateFlags, DomainState};

mod reaching;
mod streams;

const WAIT: Duration = Duration::from_secs(20);

fn builder(uri: &str) -> ConnectBuilder {
    Connect::builder().uri(uri).built_in::<PluginEntry>()
}

fn open(uri: &str) -> Connect {
    builder(uri).open().expect("the connection opens")
}

#[test]
fn virsh_lists_the_guests_of_a_daemon_and_changes_them() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let host = Host::new();
    let uri = stock.uri("test:///default");
    let run = |words: &[&str]| {
        let mut command = host.virsh();
        command.args(["-c", &uri]).args(words);
        let out = command.output().expect("virsh runs");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, out, err) = run(&["list", "--all"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("1    test   running"), "{out}");
    // Each connection to the test driver has guests of its own.
    assert!(run(&["suspend test; domstate test"]).1.contains("paused"));
    let (code, _, err) = run(&["domstate", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("failed to get domain 'nobody'"), "{err}");
    // The URI is the user's, not the daemon's.
    assert_eq!(run(&["uri"]).1.trim(), uri);
}

#[test]
fn a_guest_lives_its_life_and_tells_of_it() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let connection = open(&stock.uri("test:///default"));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
    let (tell, told) = mpsc::channel();
    let domain = connection.lookup_domain_by_name("test").unwrap();
    let watch = |of| {
        let tell = tell.clone();
        connection
            .on_domain_event(of, DomainEventId::LIFECYCLE, move |event| {
                if let DomainEventKind::Lifecycle { event: what, .. } = event.kind {
                    let _ = tell.send((event.domain.name().to_owned(), what));
                }
            })
            .expect("events are known")
    };
    let one = watch(None);
    let other = watch(Some(&domain));
    domain.suspend().unwrap();
    for _ in 0..2 {
        let event = told.recv_timeout(WAIT).expect("an event comes");
        assert_eq!(event, ("test".to_owned(), DomainEventType::SUSPENDED));
    }
    drop(other);
    domain.resume().unwrap();
    assert_eq!(
        told.recv_timeout(WAIT).expect("an event comes").1,
        DomainEventType::RESUMED
    );
    assert!(
        told.recv_timeout(Duration::from_millis(300)).is_err(),
        "one watcher is left"
    );
    drop(one);
    domain.suspend().unwrap();
    assert!(
        told.recv_timeout(Duration::from_millis(300)).is_err(),
        "none is left"
    );

    let error = connection.lookup_domain_by_name("nobody").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_DOMAIN);
    assert!(error.message().starts_with("Domain not found"), "{error}");
    let error = domain.create(Default::default(), &[]).unwrap_err();
    assert_eq!(
        error.message(),
        "internal error: Domain 'test' is already running"
    );
}

#[test]
fn every_list_of_a_daemon_can_be_had() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let connection = open(&stock.uri("test:///default"));
    let remote = connection.remote();
    assert_eq!(remote.connect_list_all_domains(1, 0).unwrap().ret, 1);
    assert_eq!(remote.connect_list_all_networks(1, 0).unwrap().ret, 1);
    assert_eq!(remote.connect_list_all_interfaces(1, 0).unwrap().ret, 1);
    assert_eq!(remote.connect_list_all_storage_pools(1, 0).unwrap().ret, 1);
    assert!(remote.connect_list_all_node_devices(1, 0).unwrap().ret >= 1);
    let domain = remote.domain_lookup_by_name("test").unwrap().domain;
    assert_eq!(remote.domain_list_all_snapshots(&domain, 1, 0).unwrap().ret, 0);
    assert_eq!(remote.domain_list_all_checkpoints(&domain, 1, 0).unwrap().ret, 0);
    let stats = remote.connect_get_all_domain_stats(&[], 0, 0).unwrap();
    assert_eq!(stats.ret_stats.len(), 1);
    // Parameters may be strings where the daemon knows that we understand them.
    let count = remote.domain_get_blkio_parameters(&domain, 0, 0).unwrap().nparams;
    let params = remote
        .domain_get_blkio_parameters(&domain, count, 0)
        .unwrap()
        .params;
    assert!(params.get("device_weight").is_some(), "{params:?}");
    let error = remote.connect_list_all_secrets(1, 0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
    assert!(connection.is_alive().unwrap());
    connection.set_keepalive(1, 2).expect("keepalive is known");
    std::thread::sleep(Duration::from_secs(4));
    assert!(connection.is_alive().unwrap(), "a daemon that lives answers");
}

#[test]
fn calls_of_many_threads_share_a_connection() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let connection = open(&stock.uri("test:///default"));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let connection = connection.clone();
            std::thread::spawn(move || {
                for round in 0..200 {
                    if (number + round) % 3 == 0 {
                        assert!(connection.lookup_domain_by_name("nobody").is_err());
                    } else {
                        assert_eq!(connection.lookup_domain_by_id(1).unwrap().name(), "test");
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all answers were right");
    }
}

#[test]
fn read_only_is_refused_here_and_there() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let connection = builder(&stock.uri("test:///default"))
        .read_only(true)
        .open()
        .unwrap();
    let domain = connection.lookup_domain_by_name("test").unwrap();
    assert_eq!(domain.suspend().unwrap_err().code(), ErrorCode::OPERATION_DENIED);
}

#[test]
fn the_end_of_a_daemon_is_told() {
    need!(program "libvirtd");
    let mut stock = Stock::plain();
    let connection = open(&stock.uri("test:///default"));
    let (tell, told) = mpsc::channel();
    connection
        .on_close(move |reason| {
            let _ = tell.send(reason);
        })
        .expect("the end can be watched");
    stock.kill();
    assert_eq!(
        told.recv_timeout(WAIT).expect("it is told"),
        ConnectCloseReason::EOF
    );
    assert!(!connection.is_alive().unwrap());
    let error = connection.hypervisor_type().unwrap_err();
    assert!(
        error.message().contains("End of file while reading data"),
        "{error}"
    );
}

#[test]
fn an_end_that_was_asked_for_is_no_news() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let (tell, told) = mpsc::channel();
    // The daemon hangs up while the connection is being closed: now sooner, now later.
    for _ in 0..50 {
        let connection = open(&stock.uri("test:///default"));
        let tell = tell.clone();
        connection
            .on_close(move |reason| {
                let _ = tell.send(reason);
            })
            .expect("the end can be watched");
        drop(connection);
    }
    assert_eq!(
        told.recv_timeout(Duration::from_millis(200)),
        Err(mpsc::RecvTimeoutError::Timeout)
    );
}

#[test]
fn a_silent_daemon_ends_a_connection_and_a_deadline_a_call() {
    need!(program "libvirtd");
    let stock = Stock::plain();
    let uri = stock.uri("test:///default");
    let connection = builder(&uri).timeout(Duration::from_secs(1)).open().unwrap();
    let kept = open(&uri);
    let (tell, told) = mpsc::channel();
    kept.on_close(move |reason| {
        let _ = tell.send(reason);
    })
    .unwrap();
    kept.set_keepalive(1, 1).unwrap();
    let pid = nix::unistd::Pid::from_raw(stock.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    let error = connection.hypervisor_type().unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let error = kept.hypervisor_type().unwrap_err();
    assert!(error.message().contains("keepalive timeout"), "{error}");
    assert_eq!(
        told.recv_timeout(WAIT).expect("it is told"),
        ConnectCloseReason::KEEPALIVE
    );
    nix::sys::signal::kill(pid, nix::sys::signal::SIGCONT).unwrap();
    // The late answer is nobody's, and the connection goes on.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
}

#[test]
fn the_daemon_of_a_session_is_started_once() {
    need!(program "libvirtd", program "setpriv");
    let host = Host::new();
    let room = Room::new();
    // As the user, whose session it is: virsh finds no socket and starts the daemon.
    let virsh = host.virsh();
    let variables: Vec<_> = virsh
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let program = Path::new(virsh.get_program()).to_owned();
    let children: Vec<_> = (0..3)
        .map(|_| {
            let mut command = room.command(&program);
            for (name, value) in &variables {
                if name.to_string_lossy().starts_with("VIRT_") {
                    command.env(name, value);
                }
            }
            command
                .args(["-c", "test+unix:///default", "list", "--all"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success() && text.contains("test   running"),
            "{text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let pid: i32 = std::fs::read_to_string(room.path().join("libvirt/libvirtd.pid"))
        .expect("one daemon runs")
        .trim()
        .parse()
        .unwrap();
    assert!(!room.path().join("libvirt/libvirtd.lock").exists());
    // Stock gives its workers half a minute to finish and probes for emulators at its start, which takes long on
    // a machine that never did: how soon it obeys is its own affair, and nothing of it may outlive the test.
    let daemon = nix::unistd::Pid::from_raw(pid);
    let begun = Instant::now();
    virt_tests_system::host::eventually("the daemon has ended", 2 * WAIT, || {
        let signal = if begun.elapsed() < WAIT {
            nix::sys::signal::SIGTERM
        } else {
            nix::sys::signal::SIGKILL
        };
        let told = nix::sys::signal::kill(daemon, signal);
        // One that has ended may not have been reaped yet.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        told.is_err()
            || stat
                .rsplit(')')
                .next()
                .is_none_or(|rest| rest.trim_start().starts_with('Z'))
    });
}

#[test]
fn a_guest_moves_from_one_daemon_to_another() {
    need!(root, program "libvirtd", program "qemu-system-x86_64", program "unshare", program "setpriv");
    let configuration = |uuid: &str| format!("auth_unix_rw = \"none\"\nhost_uuid = \"{uuid}\"\n");
    let source = Room::new().start(&configuration("00000000-1111-2222-3333-444444444444"), &[]);
    let target = Room::new().start_as_host(
        "elsewhere",
        &configuration("55555555-1111-2222-3333-444444444444"),
        &[],
    );
    let (here, there) = (
        open(&source.uri("qemu:///session")),
        open(&target.uri("qemu:///session")),
    );
    let xml = "<domain type='qemu'><name>mover</name><memory unit='MiB'>32</memory>\
        <os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/></devices></domain>";
    let domain = here
        .create_domain(xml, Default::default(), &[])
        .expect("the guest starts");
    let params = TypedParams::new().with("migrate_uri", "tcp://127.0.0.1");
    let moved = migration::migrate3(&domain, &there, &params, DomainMigrateFlags::LIVE)
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", source.log(), target.log()));
    assert_eq!(moved.name(), "mover");
    assert_eq!(moved.state().unwrap().0, DomainState::RUNNING);
    let error = here.lookup_domain_by_name("mover").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_DOMAIN);
    // Back, paused, and with the older arguments.
    moved.suspend().unwrap();
    let back = migration::migrate2(
        &moved,
        &here,
        None,
        DomainMigrateFlags::LIVE,
        Some("back"),
        Some("tcp://127.0.0.1"),
        0,
    )
    .unwrap_or_else(|error| panic!("{error}\n{}\n{}", source.log(), target.log()));
    assert_eq!(
        (back.name(), back.state().unwrap().0),
        ("back", DomainState::PAUSED)
    );
    // Where nobody can be reached the guest goes on here.
    back.resume().unwrap();
    let nowhere = TypedParams::new().with("migrate_uri", "tcp://127.0.0.1:1");
    let error = migration::migrate3(&back, &there, &nowhere, DomainMigrateFlags::LIVE);
    if error.is_err() {
        assert_eq!(back.state().unwrap().0, DomainState::RUNNING);
        assert!(there.lookup_domain_by_name("back").is_err());
        back.destroy(Default::default()).unwrap();
    }
}

#[test]
fn our_own_daemon_answers_as_libvirts_does() {
    let ours = Daemon::start();
    let connection = open(&ours.test_uri());
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
    assert_eq!(connection.uri().unwrap(), ours.test_uri());
    let (tell, told) = mpsc::channel();
    let domain = connection.lookup_domain_by_name("test").unwrap();
    let subscription = connection
        .on_domain_event(Some(&domain), DomainEventId::LIFECYCLE, move |event| {
            let _ = tell.send(event.kind.clone());
        })
        .expect("events are known");
    domain.suspend().unwrap();
    let event = told.recv_timeout(WAIT).expect("an event comes");
    assert!(matches!(
        event,
        DomainEventKind::Lifecycle {
            event: DomainEventType::SUSPENDED,
            ..
        }
    ));
    drop(subscription);
    assert_eq!(
        connection.lookup_domain_by_name("nobody").unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );
    connection.set_keepalive(1, 2).expect("keepalive is known");
    // The daemon chooses where nobody says.
    let probed = builder(&format!(
        "remote+unix:///?socket={}&name=test:///default",
        ours.socket().display()
    ));
    assert_eq!(probed.open().unwrap().hypervisor_type().unwrap(), "TEST");
    let error = builder(&format!(
        "nothing+unix:///here?socket={}",
        ours.socket().display()
    ))
    .open()
    .unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_CONNECT, "{error}");
}
