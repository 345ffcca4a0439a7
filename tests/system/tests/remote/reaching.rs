//! Ways to a daemon that is not simply there: passwords, certificates, ssh.

use super::*;

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
    let stock = room.start(&configuration, &["--listen"]);
    // Its sockets of the network come after the local one.
    eventually("the daemon listens", WAIT, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    stock
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
