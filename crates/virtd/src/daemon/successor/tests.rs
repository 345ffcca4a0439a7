use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::server::Place;

fn daemon() -> DaemonName {
    DaemonName::monolithic()
}

fn listener(name: &str, place: Place, socket: OwnedFd, is_passed: bool, auth: Auth) -> Arc<Listener> {
    Arc::new(Listener {
        name: name.to_owned(),
        place,
        scope: match name.contains("-admin") {
            true => Scope::Admin,
            false => Scope::All,
        },
        read_only: name.contains("-ro"),
        auth: arc_swap::ArcSwap::from_pointee(auth),
        socket,
        is_passed,
    })
}

/// The document of a daemon with these sockets and limits, as its successor gets it: with numbers of its own.
fn document(live: &Settings, listeners: &[Arc<Listener>]) -> Json {
    let configured = Settings::default();
    let of = |admin| {
        let mut server = server_state((live, &configured), admin, 42, listeners);
        for sock in server.services.iter_mut().flat_map(|service| &mut service.socks) {
            let found = listeners
                .iter()
                .find(|listener| listener.socket.as_raw_fd() == sock.fd);
            sock.fd = found.unwrap().socket.try_clone().unwrap().into_raw_fd();
        }
        server
    };
    let servers = [("libvirtd".to_owned(), of(false)), (ADMIN.to_owned(), of(true))];
    DaemonState {
        servers: servers.into(),
        process: Some(1),
    }
    .to_json()
}

fn refusal(document: &Json) -> String {
    Left::take(document, &daemon()).unwrap_err().detail().to_owned()
}

#[test]
fn limits_that_were_set_go_on_and_others_follow_the_configuration() {
    let live = Settings {
        max_clients: 77,
        min_workers: 2,
        admin_max_workers: 9,
        ..Settings::default()
    };
    let document = document(&live, &[]);
    let left = Left::take(&document, &daemon()).unwrap();
    // The configuration has changed meanwhile.
    let mut settings = Settings {
        max_clients: 1000,
        max_workers: 33,
        ..Settings::default()
    };
    left.apply_limits(&mut settings);
    assert_eq!((settings.max_clients, settings.min_workers), (77, 2));
    assert_eq!(settings.max_workers, 33, "nobody has set it");
    assert_eq!(settings.admin_max_workers, 9);
    assert_eq!(
        settings.max_anonymous_clients,
        Settings::default().max_anonymous_clients
    );
    assert_eq!(left.next_client(), Some(42));
    // Where nobody says which were set, all of them count.
    let mut plain = document.clone();
    for name in ["libvirtd", ADMIN] {
        let Json::Object(members) = &mut plain else {
            panic!()
        };
        let Json::Object(servers) = &mut members[0].1 else {
            panic!()
        };
        let server = servers.iter_mut().find(|(known, _)| known == name).unwrap();
        server.1.remove("changed").unwrap();
    }
    let mut settings = Settings {
        max_workers: 33,
        ..Settings::default()
    };
    Left::take(&plain, &daemon()).unwrap().apply_limits(&mut settings);
    assert_eq!(settings, live);
    // Without a predecessor nothing changes.
    let mut settings = Settings::default();
    Left::default().apply_limits(&mut settings);
    assert_eq!(settings, Settings::default());
}

#[test]
fn limits_that_go_beyond_each_other_make_no_document_that_is_refused() {
    let live = Settings {
        max_clients: 5,
        max_anonymous_clients: 9,
        min_workers: 9,
        max_workers: 3,
        ..Settings::default()
    };
    Left::take(&document(&live, &[]), &daemon()).unwrap();
}

#[test]
fn sockets_of_the_daemon_are_found_by_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["sock", "sock-ro", "admin", "old"].map(|name| folder.path().join(name));
    let names = [
        "libvirtd.socket",
        "libvirtd-ro.socket",
        "libvirtd-admin.socket",
        "virtxd.socket",
    ];
    let unix = |at: usize, auth| {
        let socket = UnixListener::bind(&paths[at]).unwrap().into();
        listener(names[at], Place::Unix(paths[at].clone()), socket, false, auth)
    };
    let tcp: Vec<_> = ["127.0.0.1:0", "127.0.0.2:0"]
        .into_iter()
        .map(|address| std::net::TcpListener::bind(address).unwrap())
        .collect();
    let addresses: Vec<_> = tcp.iter().map(|tcp| tcp.local_addr().unwrap()).collect();
    let mut listeners = vec![
        unix(0, Auth::Polkit),
        unix(1, Auth::None),
        unix(2, Auth::None),
        unix(3, Auth::Sasl),
    ];
    for (tcp, address) in tcp.into_iter().zip(&addresses) {
        let place = Place::Tcp(*address);
        listeners.push(listener(
            "libvirtd-tcp.socket",
            place,
            tcp.into(),
            false,
            Auth::Sasl,
        ));
    }
    let document = document(&Settings::default(), &listeners);
    // Two sockets of one unit are one service.
    let state = DaemonState::read(&document, &[], &mut |_| Ok(())).unwrap();
    let services = &state.servers["libvirtd"].services;
    let counts: Vec<_> = services.iter().map(|service| service.socks.len()).collect();
    assert_eq!(counts, [1, 1, 1, 2]);
    assert_eq!(state.servers[ADMIN].services.len(), 1);
    assert!(services[1].readonly && !services[0].readonly);
    drop(listeners);

    let mut left = Left::take(&document, &daemon()).unwrap();
    assert!(left.take_passed().is_none());
    let main = left.take_unix(&paths[0]).unwrap();
    assert_eq!(main.auth, Some(Auth::Polkit));
    assert!(left.take_unix(&paths[0]).is_none(), "it is taken");
    // They still listen, and nobody who is started gets them.
    let flags = fcntl(&main.socket, FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
    let _client = UnixStream::connect(&paths[0]).unwrap();
    assert!(UnixListener::from(main.socket).accept().is_ok());
    // One whose file is gone is of no use to anybody.
    std::fs::remove_file(&paths[1]).unwrap();
    assert!(left.take_unix(&paths[1]).is_none());
    assert!(left.take_network("libvirtd-tls.socket").is_empty());
    let found = left.take_network("libvirtd-tcp.socket");
    assert_eq!(
        found.iter().map(|(address, _)| *address).collect::<Vec<_>>(),
        addresses
    );
    // What nobody wants any more is closed, and its file removed.
    left.close_rest();
    assert!(!paths[3].exists() && !paths[2].exists() && paths[0].exists());
}

#[test]
fn passed_sockets_are_found_by_their_units() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    let passed = listener(
        "libvirtd-ro.socket",
        Place::Unix(path.clone()),
        socket.into(),
        true,
        Auth::Polkit,
    );
    let mut left = Left::take(&document(&Settings::default(), &[passed]), &daemon()).unwrap();
    assert!(left.take_unix(&path).is_none());
    left.close_rest();
    assert!(path.exists(), "it is the service manager's");
    let passed = left.take_passed().unwrap();
    assert_eq!(passed.sockets[&Service::ReadOnly].len(), 1);
    assert_eq!(passed.before[&Service::ReadOnly], Auth::Polkit);
}

#[test]
fn what_cannot_be_taken_over_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let make = |name: &str, is_passed| {
        let _ = std::fs::remove_file(&path);
        let socket = UnixListener::bind(&path).unwrap();
        let one = listener(
            name,
            Place::Unix(path.clone()),
            socket.into(),
            is_passed,
            Auth::None,
        );
        document(&Settings::default(), &[one])
    };
    let whole = make("libvirtd.socket", false).to_string();
    let fd = whole.split("\"fd\":").nth(1).unwrap();
    let fd = &fd[..fd.find(',').unwrap()];
    let with = |from: &str, to: &str| Json::parse(&whole.replace(from, to)).unwrap();
    for (document, reason) in [
        (
            with("\"libvirtd\":", "\"virtqemud\":"),
            "Server libvirtd was not created",
        ),
        (with("\"admin\":", "\"other\":"), "Server admin was not created"),
        (with(",\"name\":\"libvirtd.socket\"", ""), "a service has no name"),
        (
            with("\"max_clients\":", "\"clients_max\":"),
            "Missing max_clients data in JSON document",
        ),
        (
            with(&format!("\"fd\":{fd}"), "\"fd\":-1"),
            "cannot use file descriptor -1: Bad file descriptor",
        ),
    ] {
        assert_eq!(refusal(&document), reason);
    }
    assert!(refusal(&make("foreign.socket", true)).contains("none of libvirtd.socket"));
    // Something is open, but does not listen.
    let (stranger, _other) = UnixStream::pair().unwrap();
    let number = OwnedFd::from(stranger).into_raw_fd();
    assert_eq!(
        refusal(&with(&format!("\"fd\":{fd}"), &format!("\"fd\":{number}"))),
        format!("file descriptor {number} of 'libvirtd.socket' is no socket that listens")
    );
}

#[test]
fn a_program_that_cannot_run_is_not_tried_twice() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("gone");
    assert!(try_out(&missing).unwrap_err().message().contains("gone"));
    let damaged = folder.path().join("damaged");
    std::fs::write(&damaged, b"\x7fELF").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&damaged, executable).unwrap();
    assert!(try_out(&damaged).is_err());
    assert!(try_out(Path::new("/bin/false")).is_err());
    try_out(Path::new("/bin/true")).unwrap();
}
