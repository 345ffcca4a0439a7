use super::*;
use std::process::{Command, Stdio};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// An authority, a server and clients, made by the openssl program; `None` where it is not installed.
struct Pki(tempfile::TempDir);

fn openssl(folder: &Path, args: &[&str]) -> bool {
    Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

const EC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Pki {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut args = vec!["req", "-x509"];
        args.extend(EC);
        args.extend([
            "-keyout",
            "cakey.pem",
            "-out",
            "cacert.pem",
            "-subj",
            "/CN=Our CA",
            "-days",
            "2",
        ]);
        args.extend(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        if !openssl(folder.path(), &args) {
            println!("skipped: openssl is not installed");
            return None;
        }
        let pki = Self(folder);
        pki.issue("server", "/CN=localhost", "serverAuth");
        Some(pki)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn issue(&self, name: &str, subject: &str, purpose: &str) {
        let (key, request, cert) = (
            format!("{name}key.pem"),
            format!("{name}.csr"),
            format!("{name}cert.pem"),
        );
        let mut args = vec!["req", "-new", "-utf8"];
        args.extend(EC);
        args.extend(["-keyout", &key, "-out", &request, "-subj", subject]);
        assert!(openssl(self.0.path(), &args));
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nextendedKeyUsage={purpose}\nsubjectAltName=DNS:localhost\n"
        );
        std::fs::write(self.path("extensions"), extensions).unwrap();
        let sign = [
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "cacert.pem",
            "-CAkey",
            "cakey.pem",
            "-CAcreateserial",
            "-out",
            &cert,
            "-days",
            "2",
            "-extfile",
            "extensions",
        ];
        assert!(openssl(self.0.path(), &sign));
    }

    fn revoke(&self, name: &str) {
        std::fs::write(self.path("index.txt"), "").unwrap();
        std::fs::write(self.path("crlnumber"), "01\n").unwrap();
        std::fs::write(
            self.path("ca.cnf"),
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\ncrlnumber=crlnumber\n\
             crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
        )
        .unwrap();
        let base = [
            "ca",
            "-config",
            "ca.cnf",
            "-keyfile",
            "cakey.pem",
            "-cert",
            "cacert.pem",
        ];
        let cert = format!("{name}cert.pem");
        assert!(openssl(self.0.path(), &[&base[..], &["-revoke", &cert]].concat()));
        assert!(openssl(
            self.0.path(),
            &[&base[..], &["-gencrl", "-out", "crl.pem"]].concat()
        ));
    }

    fn config(&self, more: &str) -> DaemonConfig {
        let folder = self.0.path().display();
        let text = format!(
            "ca_file = \"{folder}/cacert.pem\"\ncert_file = \"{folder}/servercert.pem\"\nkey_file = \"{folder}/serverkey.pem\"\n{more}"
        );
        DaemonConfig::parse(&Role::new("libvirtd", true), "test", &text)
            .unwrap()
            .config
    }

    fn server(&self, more: &str) -> Result<TlsServer> {
        let config = self.config(more);
        TlsServer::new(&config, &TlsFiles::locate(&config, &Role::new("libvirtd", true)))
    }

    fn client(&self, name: Option<&str>) -> ClientConnection {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities(&self.path("cacert.pem")).unwrap());
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => builder
                .with_client_auth_cert(
                    certificates(&self.path(&format!("{name}cert.pem"))).unwrap(),
                    private_key(&self.path(&format!("{name}key.pem"))).unwrap(),
                )
                .unwrap(),
        };
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
    }
}

/// The handshake without sockets, and what the server then says of the client.
fn handshake(server: &TlsServer, mut client: ClientConnection) -> Result<Option<String>> {
    let mut connection = ServerConnection::new(Arc::clone(&server.config)).unwrap();
    let broken = |error: &dyn std::fmt::Display| VirtError::new(ErrorCode::RPC, error);
    for _ in 0..10 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        connection.read_tls(&mut bytes.as_slice()).unwrap();
        connection.process_new_packets().map_err(|error| broken(&error))?;
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| broken(&error))?;
    }
    assert!(!connection.is_handshaking() && !client.is_handshaking());
    server.admit(&connection)
}

const ODD: &str =
    "/C=GB/O=A, B \\+ \"x\" <y>; z=1/OU=# hash/CN=é ü/serialNumber=12/emailAddress=a@b/2.5.4.54=x/UID=u";

#[test]
fn clients_are_known_by_their_certificates() {
    let Some(pki) = Pki::new() else { return };
    pki.issue("good", "/C=GB/O=Example/CN=admin", "clientAuth");
    pki.issue("odd", ODD, "clientAuth");
    let server = pki.server("").unwrap();
    let name = handshake(&server, pki.client(Some("good"))).unwrap();
    assert_eq!(name.as_deref(), Some("C=GB,O=Example,CN=admin"));
    assert!(handshake(&server, pki.client(None)).is_err());
    let name = handshake(&server, pki.client(Some("odd"))).unwrap().unwrap();
    assert_eq!(
        name,
        "C=GB,O=A\\, B \\+ \\\"x\\\" \\<y\\>\\; z=1,OU=\\# hash,CN=é ü,serialNumber=12,EMAIL=a@b,2.5.4.54=#0c0178,UID=u"
    );
    // The peer's own word for it.
    let theirs = Command::new("virt-pki-query-dn")
        .arg(pki.path("oddcert.pem"))
        .output();
    match theirs {
        Ok(theirs) => assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim_end(), name),
        Err(_) => println!("skipped: virt-pki-query-dn is not installed"),
    }
}

#[test]
fn lists_of_names_and_of_revoked_certificates_hold() {
    let Some(pki) = Pki::new() else { return };
    pki.issue("good", "/C=GB/O=Example/CN=admin", "clientAuth");
    pki.issue("other", "/C=GB/O=Example/CN=guest", "clientAuth");
    let server = pki
        .server("tls_allowed_dn_list = [ \"C=GB,*,CN=admin\" ]\n")
        .unwrap();
    assert!(handshake(&server, pki.client(Some("good"))).is_ok());
    let error = handshake(&server, pki.client(Some("other"))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AUTH_FAILED);
    let server = pki.server("tls_allowed_dn_list = [ ]\n").unwrap();
    assert!(handshake(&server, pki.client(Some("good"))).is_err());
    pki.revoke("other");
    let server = pki
        .server(&format!("crl_file = \"{}\"\n", pki.path("crl.pem").display()))
        .unwrap();
    assert!(handshake(&server, pki.client(Some("good"))).is_ok());
    assert!(handshake(&server, pki.client(Some("other"))).is_err());
    assert!(pki.server("crl_file = \"/nonexistent\"\n").is_err());
}

#[test]
fn certificates_need_not_be_verified() {
    let Some(pki) = Pki::new() else { return };
    let Some(strangers) = Pki::new() else { return };
    strangers.issue("stranger", "/CN=stranger", "clientAuth");
    pki.issue("good", "/CN=good", "clientAuth");
    std::fs::copy(strangers.path("strangercert.pem"), pki.path("strangercert.pem")).unwrap();
    std::fs::copy(strangers.path("strangerkey.pem"), pki.path("strangerkey.pem")).unwrap();
    let server = pki.server("").unwrap();
    assert!(handshake(&server, pki.client(Some("stranger"))).is_err());
    let server = pki.server("tls_no_verify_certificate = 1\n").unwrap();
    // Who is not verified has no name.
    assert_eq!(handshake(&server, pki.client(Some("stranger"))).unwrap(), None);
    assert_eq!(handshake(&server, pki.client(None)).unwrap(), None);
    assert_eq!(
        handshake(&server, pki.client(Some("good"))).unwrap().as_deref(),
        Some("CN=good")
    );
}

#[test]
fn our_own_certificate_is_looked_at() {
    let Some(pki) = Pki::new() else { return };
    let Some(other) = Pki::new() else { return };
    std::fs::copy(other.path("servercert.pem"), pki.path("servercert.pem")).unwrap();
    std::fs::copy(other.path("serverkey.pem"), pki.path("serverkey.pem")).unwrap();
    let error = pki.server("").unwrap_err();
    assert!(
        error.to_string().contains("does not come from an authority"),
        "{error}"
    );
    assert!(pki.server("tls_no_sanity_certificate = 1\n").is_ok());
    // The key of another certificate.
    pki.issue("good", "/CN=good", "clientAuth");
    std::fs::copy(pki.path("goodkey.pem"), pki.path("serverkey.pem")).unwrap();
    assert!(pki.server("tls_no_sanity_certificate = 1\n").is_err());
    std::fs::write(pki.path("servercert.pem"), "no certificate").unwrap();
    assert!(pki.server("").is_err());
    pki.issue("server", "/CN=localhost", "critical,clientAuth");
    let error = pki.server("").unwrap_err();
    assert!(error.to_string().contains("TLS server"), "{error}");
}

#[test]
fn priorities_choose_versions() {
    let count = |text: &str| versions(Some(text)).map(|versions| versions.len());
    assert_eq!(count("NORMAL").unwrap(), 2);
    assert_eq!(count("NORMAL:-VERS-ALL:+VERS-TLS1.3").unwrap(), 1);
    assert_eq!(count("@LIBVIRT,SYSTEM").unwrap(), 2);
    assert_eq!(count("SECURE256:-VERS-TLS1.2:-VERS-TLS1.1").unwrap(), 1);
    for text in [
        "NORMAL:-VERS-ALL",
        "NORMAL:+ANON-ECDH",
        "NONE",
        "NORMAL:+VERS-TLS1.0",
        "",
    ] {
        assert_eq!(
            count(text).unwrap_err().code(),
            ErrorCode::CONFIG_UNSUPPORTED,
            "{text}"
        );
    }
}
