//! The whole way of a client, and polkit on a bus of the test's own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{BufRead as _, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use virt_api::protocol::remote::{AuthListReply, AuthPolkitReply, AuthSaslStartReply, AuthType};
use virt_api::protocol::wire::Wire;
use virt_util::xdr::XdrEncoder;
use zbus::OwnedVariant;
use zbus::export::futures_core::Stream;

use super::identity::UnixPeer;
use super::*;
use crate::auth::passwords::write_password;

fn services(polkit: Arc<Polkit>) -> (tempfile::TempDir, Arc<AuthServices>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    write_password(&path, "fred", Some("pencil"), 4096).unwrap();
    let text = format!(
        "sasl_password_file = \"{}\"\nsasl_mechanisms = [ \"SCRAM-SHA-256\", \"PLAIN\" ]\n",
        path.display()
    );
    let role = Role::new("libvirtd", true);
    let config = DaemonConfig::parse(&role, "test", &text).unwrap().config;
    (folder, Arc::new(AuthServices::new(&config, path, polkit)))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn local(uid: u32) -> ClientIdentity {
    ClientIdentity {
        unix: Some(UnixPeer {
            uid,
            gid: uid,
            pid: Some(4242),
            start_time: Some(77),
        }),
        ..ClientIdentity::default()
    }
}

fn start(mechanism: &str, data: &[u8]) -> Vec<u8> {
    AuthSaslStartArgs {
        mech: mechanism.to_owned(),
        nil: 0,
        data: data.to_vec(),
    }
    .to_xdr()
    .unwrap()
}

#[test]
fn no_method_is_done_at_once() {
    let (_folder, services) = services(Polkit::new());
    let mut negotiation = Negotiation::new(services, Auth::None, Channel::Secure, false);
    assert!(negotiation.is_done());
    runtime().block_on(async {
        let mut client = local(1000);
        let reply = negotiation
            .call(procedure::AUTH_LIST, &[], &mut client)
            .await
            .unwrap();
        assert_eq!(AuthListReply::from_xdr(&reply).unwrap().types, [AuthType::NONE]);
        // Methods that are not the socket's, procedures that are not for here, arguments that are none.
        for number in [procedure::AUTH_SASL_INIT, procedure::AUTH_POLKIT] {
            let error = negotiation.call(number, &[], &mut client).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::AUTH_FAILED);
        }
        assert!(
            negotiation
                .call(procedure::CONNECT_OPEN, &[], &mut client)
                .await
                .is_err()
        );
        assert!(
            negotiation
                .call(procedure::AUTH_SASL_START, &[0; 7], &mut client)
                .await
                .is_err()
        );
    });
}

#[test]
fn sasl_makes_a_client_known() {
    let (_folder, services) = services(Polkit::new());
    runtime().block_on(async {
        let mut client = local(1000);
        let mut negotiation = Negotiation::new(Arc::clone(&services), Auth::Sasl, Channel::Secure, false);
        let reply = negotiation
            .call(procedure::AUTH_SASL_INIT, &[], &mut client)
            .await
            .unwrap();
        let offered = AuthSaslInitReply::from_xdr(&reply).unwrap().mechlist;
        assert_eq!(offered, "SCRAM-SHA-256,PLAIN");
        let good = start("PLAIN", b"\0fred\0pencil");
        let reply = negotiation
            .call(procedure::AUTH_SASL_START, &good, &mut client)
            .await
            .unwrap();
        let reply = AuthSaslStartReply::from_xdr(&reply).unwrap();
        assert_eq!((reply.complete, reply.nil, reply.data.len()), (1, 1, 0));
        assert!(negotiation.is_done());
        assert_eq!(client.sasl_name.as_deref(), Some("fred"));
        // It is over.
        assert!(
            negotiation
                .call(procedure::AUTH_SASL_INIT, &[], &mut client)
                .await
                .is_err()
        );
        assert!(negotiation.is_done());
    });
}

#[test]
fn failures_all_sound_the_same_and_end() {
    let (_folder, services) = services(Polkit::new());
    runtime().block_on(async {
        let mut client = local(1000);
        let mut negotiation = Negotiation::new(Arc::clone(&services), Auth::Sasl, Channel::Secure, false);
        let mut texts = Vec::new();
        for data in [
            &b"\0fred\0wrong"[..],
            b"\0nobody\0pencil",
            b"\0\0",
            b"",
            b"\0fred\0\xff",
        ] {
            assert!(!negotiation.is_hopeless());
            negotiation
                .call(procedure::AUTH_SASL_INIT, &[], &mut client)
                .await
                .unwrap();
            let error = negotiation
                .call(procedure::AUTH_SASL_START, &start("PLAIN", data), &mut client)
                .await
                .unwrap_err();
            texts.push(error.to_string());
        }
        texts.dedup();
        assert_eq!(texts, ["authentication failed: authentication failed"]);
        assert!(negotiation.is_hopeless() && !negotiation.is_done());
        assert!(
            negotiation
                .call(procedure::AUTH_SASL_INIT, &[], &mut client)
                .await
                .is_err()
        );
        assert_eq!(client.sasl_name, None);
    });
}

#[test]
fn plain_tcp_is_refused() {
    let (_folder, services) = services(Polkit::new());
    runtime().block_on(async {
        let mut negotiation = Negotiation::new(services, Auth::Sasl, Channel::Open, false);
        let mut client = ClientIdentity::default();
        assert!(
            negotiation
                .call(procedure::AUTH_SASL_INIT, &[], &mut client)
                .await
                .is_err()
        );
    });
}

#[test]
fn root_passes_polkit_without_a_question() {
    // There is no bus at this address: nobody is asked.
    let (_folder, services) = services(Polkit::at("unix:path=/nonexistent/bus"));
    runtime().block_on(async {
        let mut negotiation = Negotiation::new(Arc::clone(&services), Auth::Polkit, Channel::Secure, false);
        let reply = negotiation
            .call(procedure::AUTH_LIST, &[], &mut local(0))
            .await
            .unwrap();
        assert_eq!(AuthListReply::from_xdr(&reply).unwrap().types, [AuthType::NONE]);
        assert!(negotiation.is_done());
        let mut negotiation = Negotiation::new(services, Auth::Polkit, Channel::Secure, false);
        let reply = negotiation
            .call(procedure::AUTH_LIST, &[], &mut local(1000))
            .await
            .unwrap();
        assert_eq!(AuthListReply::from_xdr(&reply).unwrap().types, [AuthType::POLKIT]);
        assert!(!negotiation.is_done());
        assert!(
            negotiation
                .call(procedure::AUTH_POLKIT, &[], &mut local(1000))
                .await
                .is_err()
        );
        assert!(!negotiation.is_done());
    });
}

/// A bus of our own; it ends with this value.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    /// `None` where there is no program for it.
    fn start() -> Option<Self> {
        let spawned = Command::new("dbus-daemon")
            .args(["--session", "--print-address", "--nofork", "--nosyslog"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = spawned else {
            println!("skipped: dbus-daemon is not installed");
            return None;
        };
        let mut address = String::new();
        let out = daemon.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut address).unwrap();
        Some(Self {
            daemon,
            address: address.trim().to_owned(),
        })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

type Question = (
    (String, HashMap<String, OwnedVariant>),
    String,
    HashMap<String, String>,
    u32,
    String,
);

/// Answers like polkit: user 1000 may monitor, 1001 cancels, 1002 has no agent; user 1003 waits for ever.
async fn authority(bus: zbus::Connection, seen: tokio::sync::mpsc::UnboundedSender<(String, String)>) {
    let mut messages = zbus::MessageStream::from(&bus);
    bus.request_name("org.freedesktop.PolicyKit1").await.unwrap();
    seen.send(("ready".to_owned(), String::new())).unwrap();
    while let Some(Ok(message)) = poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await {
        let header = message.header();
        let Some(member) = header.member() else { continue };
        match member.as_str() {
            "CheckAuthorization" => {
                let ((kind, subject), action, _, flags, cancellation): Question =
                    message.body().deserialize().unwrap();
                assert_eq!((kind.as_str(), flags), ("unix-process", 1));
                assert_eq!(u64::try_from(&subject["start-time"]).unwrap(), 77);
                assert_eq!(u32::try_from(&subject["pid"]).unwrap(), 4242);
                seen.send((action.clone(), cancellation)).unwrap();
                let mut facts = HashMap::new();
                let answer = match i32::try_from(&subject["uid"]).unwrap() {
                    1000 => (action == "org.libvirt.unix.monitor", false),
                    1001 => {
                        facts.insert("polkit.dismissed", "true");
                        (false, true)
                    }
                    1002 => (false, true),
                    _ => continue,
                };
                bus.reply(&header, &((answer.0, answer.1, facts),)).await.unwrap();
            }
            "CancelCheckAuthorization" => {
                let (cancellation,): (String,) = message.body().deserialize().unwrap();
                seen.send(("cancelled".to_owned(), cancellation)).unwrap();
                bus.reply(&header, &()).await.unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn polkit_is_asked_on_its_bus() {
    let Some(bus) = Bus::start() else { return };
    let (_folder, services) = services(Polkit::at(bus.address.clone()));
    runtime().block_on(async {
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        let theirs = zbus::connection::Builder::address(bus.address.as_str())
            .build()
            .await
            .unwrap();
        tokio::spawn(authority(theirs, seen));
        assert_eq!(told.recv().await.unwrap().0, "ready");
        let ask = async |uid: u32, read_only: bool| {
            let mut negotiation =
                Negotiation::new(Arc::clone(&services), Auth::Polkit, Channel::Secure, read_only);
            let reply = negotiation
                .call(procedure::AUTH_POLKIT, &[], &mut local(uid))
                .await;
            (negotiation.is_done(), reply)
        };
        let (done, reply) = ask(1000, true).await;
        assert!(done);
        assert_eq!(AuthPolkitReply::from_xdr(&reply.unwrap()).unwrap().complete, 1);
        assert_eq!(told.recv().await.unwrap().0, "org.libvirt.unix.monitor");
        for (uid, code) in [
            (1000, ErrorCode::AUTH_FAILED),
            (1001, ErrorCode::AUTH_CANCELLED),
            (1002, ErrorCode::AUTH_UNAVAILABLE),
        ] {
            let (done, reply) = ask(uid, false).await;
            assert!(!done);
            assert_eq!(reply.unwrap_err().code(), code);
            assert_eq!(told.recv().await.unwrap().0, "org.libvirt.unix.manage");
        }
        // A client that goes away takes its question with it.
        let gone = tokio::time::timeout(Duration::from_millis(300), ask(1003, false)).await;
        assert!(gone.is_err());
        let (_, asked) = told.recv().await.unwrap();
        let cancelled = tokio::time::timeout(Duration::from_secs(10), told.recv())
            .await
            .unwrap();
        assert_eq!(cancelled, Some(("cancelled".to_owned(), asked)));
        // A process that cannot be told from others is not asked about.
        let mut negotiation = Negotiation::new(Arc::clone(&services), Auth::Polkit, Channel::Secure, false);
        let mut client = local(1000);
        client.unix = client.unix.map(|unix| UnixPeer {
            start_time: None,
            ..unix
        });
        assert!(
            negotiation
                .call(procedure::AUTH_POLKIT, &[], &mut client)
                .await
                .is_err()
        );
    });
}

#[test]
fn messages_have_the_form_that_the_protocol_gives_them() {
    let mut out = XdrEncoder::new();
    AuthListReply::put(
        &AuthListReply {
            types: vec![AuthType::SASL],
        },
        &mut out,
    )
    .unwrap();
    assert_eq!(out.into_bytes(), [0, 0, 0, 1, 0, 0, 0, 1]);
}
