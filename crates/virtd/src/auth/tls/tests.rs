use super::*;
use std::process::Command;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};
use virt_api::need;
use virt_api::testkit::Pki;

/// Certificates, and the two ends that use them.
struct Site {
    folder: tempfile::TempDir,
    pki: Pki,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(folder.path());
        pki.issue("server", "/CN=localhost", "serverAuth", "DNS:localhost");
        Self { folder, pki }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.pki.path(name)
    }

    fn issue(&self, name: &str, subject: &str, purpose: &str) {
        self.pki.issue(name, subject, purpose, "DNS:localhost");
    }

    fn config(&self, more: &str) -> DaemonConfig {
        let folder = self.folder.path().display();
        let text = format!(
            "ca_file = \"{folder}/cacert.pem\"\ncert_file = \"{folder}/servercert.pem\"\nkey_file = \"{folder}/serverkey.pem\"\n{more}"
        );
        DaemonConfig::parse(&Role::new("libvirtd", true), "test", &text)
            .unwrap()
            .config
    }

    fn server(&self, more: &str) -> Result<TlsServer> {
        let config = self.config(more);
        TlsServer::new(&config, &TlsFiles::locate(&config, &Role::new("libvirtd", true))?)
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
    need!(program "openssl");
    let site = Site::new();
    site.issue("good", "/C=GB/O=Example/CN=admin", "clientAuth");
    site.issue("odd", ODD, "clientAuth");
    let server = site.server("").unwrap();
    let name = handshake(&server, site.client(Some("good"))).unwrap();
    assert_eq!(name.as_deref(), Some("C=GB,O=Example,CN=admin"));
    assert!(handshake(&server, site.client(None)).is_err());
    let name = handshake(&server, site.client(Some("odd"))).unwrap().unwrap();
    assert_eq!(
        name,
        "C=GB,O=A\\, B \\+ \\\"x\\\" \\<y\\>\\; z=1,OU=\\# hash,CN=é ü,serialNumber=12,EMAIL=a@b,2.5.4.54=#0c0178,UID=u"
    );
    // The peer's own word for it.
    let theirs = Command::new("virt-pki-query-dn")
        .arg(site.path("oddcert.pem"))
        .output();
    match theirs {
        Ok(theirs) => assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim_end(), name),
        Err(_) => println!("skipped: virt-pki-query-dn is not installed"),
    }
}

#[test]
fn lists_of_names_and_of_revoked_certificates_hold() {
    need!(program "openssl");
    let site = Site::new();
    site.issue("good", "/C=GB/O=Example/CN=admin", "clientAuth");
    site.issue("other", "/C=GB/O=Example/CN=guest", "clientAuth");
    let server = site
        .server("tls_allowed_dn_list = [ \"C=GB,*,CN=admin\" ]\n")
        .unwrap();
    assert!(handshake(&server, site.client(Some("good"))).is_ok());
    let error = handshake(&server, site.client(Some("other"))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AUTH_FAILED);
    let server = site.server("tls_allowed_dn_list = [ ]\n").unwrap();
    assert!(handshake(&server, site.client(Some("good"))).is_err());
    site.pki.revoke("other");
    let server = site
        .server(&format!("crl_file = \"{}\"\n", site.path("crl.pem").display()))
        .unwrap();
    assert!(handshake(&server, site.client(Some("good"))).is_ok());
    assert!(handshake(&server, site.client(Some("other"))).is_err());
    assert!(site.server("crl_file = \"/nonexistent\"\n").is_err());
}

#[test]
fn certificates_need_not_be_verified() {
    need!(program "openssl");
    let site = Site::new();
    let strangers = Site::new();
    strangers.issue("stranger", "/CN=stranger", "clientAuth");
    site.issue("good", "/CN=good", "clientAuth");
    std::fs::copy(strangers.path("strangercert.pem"), site.path("strangercert.pem")).unwrap();
    std::fs::copy(strangers.path("strangerkey.pem"), site.path("strangerkey.pem")).unwrap();
    let server = site.server("").unwrap();
    assert!(handshake(&server, site.client(Some("stranger"))).is_err());
    let server = site.server("tls_no_verify_certificate = 1\n").unwrap();
    // Who is not verified has no name.
    assert_eq!(handshake(&server, site.client(Some("stranger"))).unwrap(), None);
    assert_eq!(handshake(&server, site.client(None)).unwrap(), None);
    assert_eq!(
        handshake(&server, site.client(Some("good"))).unwrap().as_deref(),
        Some("CN=good")
    );
}

#[test]
fn our_own_certificate_is_looked_at() {
    need!(program "openssl");
    let site = Site::new();
    let other = Site::new();
    std::fs::copy(other.path("servercert.pem"), site.path("servercert.pem")).unwrap();
    std::fs::copy(other.path("serverkey.pem"), site.path("serverkey.pem")).unwrap();
    let error = site.server("").unwrap_err();
    assert!(
        error.to_string().contains("does not come from an authority"),
        "{error}"
    );
    assert!(site.server("tls_no_sanity_certificate = 1\n").is_ok());
    // The key of another certificate.
    site.issue("good", "/CN=good", "clientAuth");
    std::fs::copy(site.path("goodkey.pem"), site.path("serverkey.pem")).unwrap();
    assert!(site.server("tls_no_sanity_certificate = 1\n").is_err());
    std::fs::write(site.path("servercert.pem"), "no certificate").unwrap();
    assert!(site.server("").is_err());
    site.issue("server", "/CN=localhost", "critical,clientAuth");
    let error = site.server("").unwrap_err();
    assert!(error.to_string().contains("TLS server"), "{error}");
}

#[test]
fn a_file_that_is_of_no_use_is_told_with_its_setting() {
    need!(program "openssl");
    let site = Site::new();
    let none = site.path("none.pem");
    for (missing, line, key) in [
        ("cacert.pem", 1, "ca_file"),
        ("servercert.pem", 2, "cert_file"),
        ("serverkey.pem", 3, "key_file"),
    ] {
        std::fs::rename(site.path(missing), &none).unwrap();
        let error = site.server("").unwrap_err();
        std::fs::rename(&none, site.path(missing)).unwrap();
        let expected = format!(
            "test:{line}: {key} = \"{}\": cannot read",
            site.path(missing).display()
        );
        assert!(error.detail().starts_with(&expected), "{error}");
    }
    for (more, key) in [
        ("crl_file = \"/none/crl\"\n", "crl_file"),
        ("tls_priority = \"NONE\"\n", "tls_priority"),
    ] {
        let error = site.server(more).unwrap_err();
        assert!(
            error.detail().starts_with(&format!("test:4: {key} = ")),
            "{error}"
        );
    }
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

#[test]
fn files_are_named_together() {
    let role = Role::new("libvirtd", true);
    let config = DaemonConfig::parse(&role, "test", "key_file = \"/k\"\n")
        .unwrap()
        .config;
    let error = TlsFiles::locate(&config, &role).unwrap_err();
    assert!(error.detail().contains("ca_file is not"), "{error}");
}
