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
use virt_tests_system::host::{Host, free_port};
use virt_util::typed_param::TypedParams;
use virt_util::types::{ConnectCloseReason, DomainEventId, DomainEventType, DomainMigrateFlags, DomainState};

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

/// A pool of a folder with one volume of `capacity` bytes.
fn volume(
    connection: &Connect,
    folder: &Path,
    capacity: u64,
) -> (StoragePoolRef, virt_api::protocol::remote::StorageVolRef) {
    let remote = connection.remote();
    let xml = format!(
        "<pool type='dir'><name>here</name><target><path>{}</path></target></pool>",
        folder.display()
    );
    let pool = remote
        .storage_pool_create_xml(&xml, 0)
        .expect("the pool starts")
        .pool;
    let xml = format!(
        "<volume><name>v.raw</name><capacity>{capacity}</capacity><allocation>0</allocation></volume>"
    );
    let volume = remote
        .storage_vol_create_xml(&pool, &xml, 0)
        .expect("the volume is made")
        .volume;
    (pool, volume)
}

fn receive_all(stream: &StreamEnd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.recv(&mut buffer, false).expect("data comes") {
            Transfer::Bytes(0) => return all,
            Transfer::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?} on a stream that waits"),
        }
    }
}

#[test]
fn volumes_go_up_and_come_down() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let folder = stock.room().path().join("pool");
    std::fs::create_dir(&folder).unwrap();
    stock.room().give(&folder);
    let size: u64 = 3_000_000;
    let (_, volume) = volume(&connection, &folder, size);
    let remote = connection.remote();
    let data: Vec<u8> = (0..size)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let up = remote
        .storage_vol_upload(&volume, 0, size, 0, StreamMode::Blocking)
        .expect("the upload begins");
    up.send_all(&data).expect("it goes up");
    up.finish().expect("it is there");
    let down = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .expect("the download begins");
    assert!(receive_all(&down) == data, "what comes down is what went up");
    down.finish().expect("it is over");
    // Many calls beside a stream that nobody reads.
    let down = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .unwrap();
    for _ in 0..50 {
        remote
            .storage_vol_get_info(&volume)
            .expect("calls are answered beside streams");
    }
    assert_eq!(receive_all(&down).len() as u64, size);
    drop(down);
    assert!(
        remote.storage_vol_get_info(&volume).is_ok(),
        "the connection survives an abort"
    );

    // An upload beyond the end of the volume fails over there, and says so here.
    let error = remote
        .storage_vol_upload(&volume, size * 2, 10, 0, StreamMode::Blocking)
        .and_then(|up| {
            up.send_all(b"0123456789")?;
            up.finish()
        });
    assert!(error.is_err() || remote.storage_vol_get_info(&volume).is_ok());
}

#[test]
fn holes_stay_holes_both_ways() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let folder = stock.room().path().join("pool");
    std::fs::create_dir(&folder).unwrap();
    stock.room().give(&folder);
    let hole: u64 = 8 << 20;
    let (_, volume) = volume(&connection, &folder, hole + 8192);
    let remote = connection.remote();
    // VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
    let up = remote
        .storage_vol_upload(&volume, 0, 0, 1, StreamMode::Blocking)
        .expect("the upload begins");
    up.send_all(&[7; 4096]).unwrap();
    up.send_hole(hole).expect("a hole goes up");
    up.send_all(&[9; 4096]).unwrap();
    up.finish().expect("it is there");
    let down = remote
        .storage_vol_download(&volume, 0, 0, 1, StreamMode::Blocking)
        .expect("the download begins");
    let (mut data, mut holes) = (0, 0);
    let mut buffer = vec![0; 65_536];
    loop {
        match down.recv(&mut buffer, true).expect("something comes") {
            Transfer::Bytes(0) => break,
            Transfer::Bytes(count) => data += count as u64,
            Transfer::AtHole => {
                let (is_data, ahead) = down.in_data().unwrap();
                let length = down.recv_hole().unwrap();
                assert_eq!((is_data, ahead), (false, length));
                holes += length;
            }
            Transfer::WouldBlock => panic!("the stream waits"),
        }
    }
    down.finish().unwrap();
    assert_eq!(data + holes, hole + 8192);
    assert!(holes >= hole - 65_536, "{holes} bytes of holes");
    let plain = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .unwrap();
    assert_eq!(
        plain.send_hole(5).unwrap_err().code(),
        ErrorCode::OPERATION_INVALID
    );
    drop(plain);
}

#[test]
fn descriptors_go_both_ways() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let xml = "<domain type='qemu'><name>lasting</name><memory unit='MiB'>32</memory>\
        <os><type arch='x86_64' machine='pc'>hvm</type></os>\
        <devices><graphics type='vnc'><listen type='none'/></graphics>\
        <serial type='pty'/><console type='pty'/><memballoon model='none'/></devices></domain>";
    let domain = connection
        .create_domain(xml, Default::default(), &[])
        .unwrap_or_else(|error| panic!("the guest starts: {error}\n{}", stock.log()));
    let remote = connection.remote();
    let known = remote.domain_lookup_by_name("lasting").unwrap().domain;
    // A descriptor comes with the answer: a session of VNC, in which the server speaks first.
    let fds = remote
        .domain_open_graphics_fd(&known, 0, 1)
        .expect("a descriptor comes");
    assert_eq!(fds.len(), 1);
    let mut session = std::os::unix::net::UnixStream::from(fds.into_iter().next().unwrap());
    let mut greeting = [0; 4];
    std::io::Read::read_exact(&mut session, &mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB ");
    // One goes with the call.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    remote
        .domain_open_graphics(&known, 0, 1, &[theirs.as_fd()])
        .expect("a descriptor goes");
    drop(theirs);
    let mut ours = ours;
    std::io::Read::read_exact(&mut ours, &mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB ");
    // A console is a stream both ways that does not end by itself.
    let console = remote
        .domain_open_console(&known, None, 0, StreamMode::NonBlocking)
        .expect("the console opens");
    assert!(matches!(
        console.recv(&mut [0; 16], false),
        Ok(Transfer::WouldBlock | Transfer::Bytes(_))
    ));
    assert!(matches!(console.send(b"x"), Ok(Transfer::Bytes(1))));
    console.abort().expect("the console closes");
    domain.destroy(Default::default()).unwrap();
}

#[test]
fn a_password_is_proved_and_not_sent() {
    need!(program "libvirtd", program "saslpasswd2");
    let room = Room::new();
    room.file(
        "sasl/libvirt.conf",
        &format!(
            "mech_list: scram-sha-256\nsasldb_path: {}\n",
            room.path().join("passwords").display()
        ),
    );
    let mut made = Command::new(stock::program("saslpasswd2").unwrap())
        .args(["-p", "-c", "-a", "libvirt", "-f"])
        .arg(room.path().join("passwords"))
        .arg("fred")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut made.stdin.take().unwrap(), b"sesame\n").unwrap();
    assert!(made.wait().unwrap().success());
    room.give(&room.path().join("passwords"));
    let stock = room.start("auth_unix_rw = \"sasl\"\n", &[]);
    let uri = stock.uri("test:///default");

    let asked = builder(&uri).credentials(|questions| {
        Ok(questions
            .iter()
            .map(|question| if question.kind == 2 { "fred" } else { "sesame" }.to_owned())
            .collect())
    });
    let connection = asked
        .open()
        .unwrap_or_else(|error| panic!("{error:?}\n{}", stock.log()));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");

    let wrong =
        builder(&uri).credentials(|questions| Ok(questions.iter().map(|_| "fred".to_owned()).collect()));
    let error = wrong.open().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AUTH_FAILED, "{error:?}");
    let error = builder(&uri).open().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AUTH_FAILED, "{error:?}");
    let error = builder(&format!("{uri}&auth=polkit")).open().unwrap_err();
    assert!(
        error.message().contains("does not offer auth='polkit'"),
        "{error}"
    );

    let file = stock.room().file(
        "auth.conf",
        "[credentials-a]\nauthname=fred\npassword=sesame\n[auth-libvirt-default]\ncredentials=a\n",
    );
    let connection = open(&format!(
        "{uri}&authfile={}&auth=sasl.SCRAM-SHA-256",
        file.display()
    ));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
}

/// A certificate authority, and certificates of a server and a client signed by it.
fn certificates(room: &Room) {
    let folder = room.path().join("pki");
    std::fs::create_dir(&folder).unwrap();
    let pki = Pki::new(&folder);
    pki.issue(
        "server",
        "/CN=somewhere",
        "serverAuth",
        "DNS:localhost,IP:127.0.0.1",
    );
    pki.issue("client", "/O=Ferrovirt/CN=fred", "clientAuth", "");
    pki.issue("named", "/CN=localhost", "serverAuth", "");
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        room.give(&entry.path());
    }
}

fn tls_daemon(room: Room, certificate: &str, port: u16, tcp: u16) -> Stock {
    let pki = room.path().join("pki");
    let pki = pki.display();
    let configuration = format!(
        "auth_unix_rw = \"none\"\nauth_tcp = \"none\"\nauth_tls = \"none\"\nlisten_tls = 1\nlisten_tcp = 1\n\
         listen_addr = \"127.0.0.1\"\ntls_port = \"{port}\"\ntcp_port = \"{tcp}\"\nca_file = \"{pki}/cacert.pem\"\n\
         cert_file = \"{pki}/{certificate}cert.pem\"\nkey_file = \"{pki}/{certificate}key.pem\"\n"
    );
    room.start(&configuration, &["--listen"])
}

#[test]
fn the_network_is_crossed_with_and_without_tls() {
    need!(program "libvirtd", program "openssl");
    let room = Room::new();
    certificates(&room);
    let (port, tcp) = (free_port(), free_port());
    let stock = tls_daemon(room, "server", port, tcp);
    let pki = stock.room().path().join("pki");
    let pki = pki.display();
    let connection = open(&format!("test+tcp://127.0.0.1:{tcp}/default"));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
    assert_eq!(connection.remote().connect_is_secure().unwrap().secure, 0);
    for host in ["localhost", "127.0.0.1"] {
        let connection = open(&format!("test://{host}:{port}/default?pkipath={pki}"));
        assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
        assert_eq!(connection.remote().connect_is_secure().unwrap().secure, 1);
        assert!(connection.capabilities().unwrap().contains("<capabilities>"));
    }
    open(&format!(
        "test+tls://localhost:{port}/default?pkipath={pki}&tls_priority=NORMAL:-VERS-TLS1.3"
    ));
    // A daemon wants to know who comes, and we with whom we speak.
    let alone = stock.room().path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(
        stock.room().path().join("pki/cacert.pem"),
        alone.join("cacert.pem"),
    )
    .unwrap();
    let error = builder(&format!(
        "test://localhost:{port}/default?pkipath={}",
        alone.display()
    ))
    .open()
    .unwrap_err();
    assert!(
        error.message().contains("End of file") || error.message().contains("refused"),
        "{error}"
    );
    let error = builder(&format!("test://ip6-localhost:{port}/default?pkipath={pki}")).open();
    assert!(error.is_err());
    let error = builder("test://localhost:1/default?pkipath=/nowhere")
        .open()
        .unwrap_err();
    assert!(error.message().contains("/nowhere/cacert.pem"), "{error}");
    let error = builder(&format!("test+tcp://127.0.0.1:{}/default", free_port()))
        .open()
        .unwrap_err();
    assert!(
        error
            .message()
            .contains("unable to connect to server at '127.0.0.1"),
        "{error}"
    );
}

#[test]
fn a_certificate_may_name_its_host_in_the_subject() {
    need!(program "libvirtd", program "openssl");
    let room = Room::new();
    certificates(&room);
    let port = free_port();
    let stock = tls_daemon(room, "named", port, free_port());
    let pki = stock.room().path().join("pki");
    let pki = pki.display();
    open(&format!("test://localhost:{port}/default?pkipath={pki}"));
    let error = builder(&format!("test://127.0.0.1:{port}/default?pkipath={pki}"))
        .open()
        .unwrap_err();
    assert!(error.message().contains("certificate"), "{error}");
    open(&format!(
        "test://127.0.0.1:{port}/default?pkipath={pki}&no_verify=1"
    ));
}

#[test]
fn another_host_is_reached_by_the_users_ssh() {
    need!(program "libvirtd");
    let host = Host::new();
    let stock = Stock::plain();
    let socket = stock.room().socket();
    // In place of ssh: notes its words and runs the last of them here, as a shell over there would.
    let helper = helper_folder();
    let fake = stock.room().file(
        "ssh",
        &format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > {}/words\nfor last; do :; done\nPATH={}:$PATH\nexport PATH\nexec sh -c \"$last\"\n",
            stock.room().path().display(),
            helper.display()
        ),
    );
    let _ = host;
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let uri = format!(
        "test+ssh://me@far:2222/default?command={}&socket={}&proxy=native&no_tty=1",
        fake.display(),
        socket.display()
    );
    let connection = open(&uri);
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
    let words = std::fs::read_to_string(stock.room().path().join("words")).unwrap();
    assert!(
        words.starts_with("-p\n2222\n-l\nme\n-T\n-e\nnone\n-o\nBatchMode=yes\n--\nfar\n"),
        "{words}"
    );
    assert!(
        words.contains("virt-ssh-helper ") && words.contains("test:///default?socket="),
        "{words}"
    );
    drop(connection);

    let failing = stock
        .room()
        .file("failing", "#!/bin/sh\necho 'no route to host' >&2\nexit 255\n");
    std::fs::set_permissions(&failing, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = builder(&format!("test+ssh://far/default?command={}", failing.display()))
        .open()
        .unwrap_err();
    assert!(error.message().contains("no route to host"), "{error}");

    let external = stock.room().file(
        "external",
        &format!(
            "#!/bin/sh\nexec {}/virt-ssh-helper 'test:///default?socket={}'\n",
            helper.display(),
            socket.display()
        ),
    );
    std::fs::set_permissions(&external, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let connection = open(&format!("test+ext:///default?command={}", external.display()));
    assert_eq!(connection.hypervisor_type().unwrap(), "TEST");
}

/// Where cargo put the helper.
fn helper_folder() -> std::path::PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().and_then(Path::parent).unwrap().to_owned();
    assert!(
        folder.join("virt-ssh-helper").is_file(),
        "the workspace was built with its programs"
    );
    folder
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
