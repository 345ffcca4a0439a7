//! Daemons that say nothing while a connection is being opened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{answer, on_tcp, on_unix, usual};
use nix::sys::socket::{Backlog, listen};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use virt_api::call::PROGRAM_REMOTE;
use virt_api::objects::{Connect, ConnectBuilder};
use virt_api::protocol::remote::procedure;
use virt_api::rpc::keepalive::{self, Probe};
use virt_api::testkit::Pki;
use virt_api::{ErrorCode, Result, need};
use virt_driver_remote::PluginEntry;
use virt_util::xdr::XdrEncoder;

/// Longer than any limit in here, and short enough for a test.
const HANG: Duration = Duration::from_secs(20);

fn builder(uri: &str) -> ConnectBuilder {
    Connect::builder().uri(uri).built_in::<PluginEntry>()
}

/// Opens, and fails if that does not come to an end. With the time it took.
fn open(builder: ConnectBuilder) -> (Result<()>, Duration) {
    let (tell, told) = mpsc::channel();
    let begun = Instant::now();
    std::thread::spawn(move || {
        let _ = tell.send(builder.open().map(drop));
    });
    let opened = told.recv_timeout(HANG).expect("opening comes to an end");
    (opened, begun.elapsed())
}

/// One that ends after a second, and says all that a user needs.
#[track_caller]
fn ends(uri: &str, server: &str, step: &str) {
    let (opened, took) = open(builder(uri));
    let error = opened.expect_err(uri);
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
    for part in [
        server,
        step,
        "within 1 seconds",
        "open_timeout=",
        "remote_open_timeout",
    ] {
        assert!(
            error.message().contains(part),
            "{uri}: '{part}' is not in '{error}'"
        );
    }
    assert!(took >= Duration::from_secs(1), "{uri}: after {took:?}");
    assert!(took < Duration::from_secs(8), "{uri}: after {took:?}");
}

/// A daemon that authenticates by `auth`, and that answers `silent` after `pause`, or never.
fn daemon(auth: u32, silent: u32, pause: Option<Duration>) -> common::Conduct {
    Arc::new(move |call, socket| {
        let number = u32::try_from(call.header.procedure).unwrap_or_default();
        if call.header.program == PROGRAM_REMOTE && number == silent {
            match pause {
                Some(pause) => std::thread::sleep(pause),
                None => return Ok(()),
            }
        }
        let reply = match number {
            procedure::AUTH_LIST => {
                let mut types = XdrEncoder::new();
                types.u32(1);
                types.u32(auth);
                answer(call, &types.into_bytes())
            }
            procedure::AUTH_POLKIT => answer(call, &[0; 4]),
            _ => usual(call).unwrap_or_else(|| common::unknown(call)),
        };
        socket.write_all(&reply)
    })
}

#[test]
fn each_step_of_machines_ends() {
    let steps = [
        (0, procedure::AUTH_LIST, "AUTH_LIST"),
        (1, procedure::AUTH_SASL_INIT, "AUTH_SASL_INIT"),
        (0, procedure::CONNECT_SUPPORTS_FEATURE, "CONNECT_SUPPORTS_FEATURE"),
    ];
    for (auth, silent, step) in steps {
        let port = on_tcp(daemon(auth, silent, None));
        let uri = format!("test+tcp://localhost:{port}/default?open_timeout=1");
        ends(&uri, &format!("localhost:{port}"), step);
    }
    let folder = tempfile::tempdir().unwrap();
    for (silent, step) in [
        (procedure::AUTH_LIST, "AUTH_LIST"),
        (procedure::CONNECT_GET_URI, "CONNECT_GET_URI"),
    ] {
        let path = folder.path().join(step);
        on_unix(&path, daemon(0, silent, None));
        let uri = format!("remote+unix:///system?socket={}&open_timeout=1", path.display());
        ends(&uri, step, step);
    }
}

#[test]
fn a_tls_handshake_that_nobody_answers_ends() {
    need!(program "openssl");
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    pki.issue("server", "/CN=localhost", "serverAuth", "DNS:localhost");
    let uri = |port: u16| {
        format!(
            "test+tls://localhost:{port}/default?pkipath={}&open_timeout=1",
            folder.path().display()
        )
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    ends(&uri(port), &format!("localhost:{port}"), "TLS handshake");

    // One that shakes hands, and does not say whether it takes the client.
    let chain = vec![CertificateDer::from_pem_file(pki.path("servercert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki.path("serverkey.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        tell.send(socket).unwrap();
    });
    ends(&uri(port), &format!("localhost:{port}"), "TLS handshake");
    told.recv().expect("the handshake was done");
}

#[test]
fn a_daemon_that_takes_no_connections_ends_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener.as_fd(), Backlog::new(0).unwrap()).unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    let uri = format!("test+unix:///default?socket={}&open_timeout=1", path.display());
    ends(&uri, &path.display().to_string(), "did not take the connection");
    drop(waiting);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&listener.as_fd(), Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    let mut waiting = Vec::new();
    while let Ok(taken) = TcpStream::connect_timeout(&address, patience) {
        waiting.push(taken);
        assert!(waiting.len() < 64, "{} is never full", listener.as_raw_fd());
    }
    let uri = format!("test+tcp://127.0.0.1:{}/default?open_timeout=1", address.port());
    ends(&uri, &address.to_string(), "did not take the connection");
}

#[test]
fn steps_that_wait_for_people_or_drivers_have_no_end_of_their_own() {
    let pause = Duration::from_millis(2500);
    for (auth, slow) in [(2, procedure::AUTH_POLKIT), (0, procedure::CONNECT_OPEN)] {
        let port = on_tcp(daemon(auth, slow, Some(pause)));
        let (opened, took) = open(builder(&format!(
            "test+tcp://localhost:{port}/default?open_timeout=1"
        )));
        opened.unwrap();
        assert!(took >= pause, "{took:?}");
    }
}

#[test]
fn whoever_answers_late_is_heard_unless_the_user_says_otherwise() {
    let pause = Duration::from_millis(1500);
    for parameter in ["", "?open_timeout=0", "?open_timeout=15"] {
        let port = on_tcp(daemon(0, procedure::AUTH_LIST, Some(pause)));
        let (opened, took) = open(builder(&format!(
            "test+tcp://localhost:{port}/default{parameter}"
        )));
        opened.unwrap();
        assert!(took >= pause, "{took:?}");
    }
}

#[test]
fn the_programs_own_time_is_over_first() {
    for silent in [procedure::AUTH_LIST, procedure::CONNECT_OPEN] {
        let port = on_tcp(daemon(0, silent, None));
        let uri = format!("test+tcp://localhost:{port}/default");
        let (opened, took) = open(builder(&uri).timeout(Duration::from_secs(1)));
        let error = opened.unwrap_err();
        assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
        assert!(!error.message().contains("open_timeout"), "{error}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

/// A daemon whose answer to the goodbye comes after `pause`, or never; questions whether it lives are answered if `lives`.
fn leaving(pause: Option<Duration>, lives: bool) -> common::Conduct {
    let told = std::sync::Mutex::new(None);
    Arc::new(move |call, socket| {
        if keepalive::probe(call) == Some(Probe::Ping) {
            // Somebody else writes the goodbye's answer, in time.
            let over: Option<(Instant, Vec<u8>)> = told.lock().unwrap().take();
            match over {
                Some((at, answer)) if Instant::now() >= at => socket.write_all(&answer)?,
                over => *told.lock().unwrap() = over,
            }
            return match lives {
                true => socket.write_all(&keepalive::pong().unwrap()),
                false => Ok(()),
            };
        }
        if call.header.procedure == procedure::CONNECT_CLOSE as i32 {
            if let Some(pause) = pause {
                *told.lock().unwrap() = Some((Instant::now() + pause, answer(call, &[])));
            }
            return Ok(());
        }
        socket.write_all(&usual(call).unwrap_or_else(|| common::unknown(call)))
    })
}

/// How long it takes to close a connection to that daemon.
fn closing(conduct: common::Conduct) -> Duration {
    let uri = format!("test+tcp://localhost:{}/default", on_tcp(conduct));
    let connect = builder(&uri).open().unwrap();
    let begun = Instant::now();
    drop(connect);
    begun.elapsed()
}

#[test]
fn a_daemon_that_is_silent_is_left_soon() {
    let took = closing(leaving(None, false));
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_daemon_that_lives_has_time_to_end_what_was_the_connections() {
    let pause = Duration::from_millis(4500);
    let took = closing(leaving(Some(pause), true));
    assert!(took >= pause, "{took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
}

/// The first answer comes through a program that may ask its user something.
#[test]
fn a_program_on_the_way_may_take_its_time_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ssh");
    let program = |body: &str| {
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("exec sleep 60");
    let command = path.display();
    ends(
        &format!("test+ssh://far/default?command={command}&open_timeout=1"),
        "ssh to 'far'",
        "AUTH_LIST",
    );
    ends(
        &format!("test+ext:///default?command={command}&open_timeout=1"),
        &command.to_string(),
        "AUTH_LIST",
    );
}
