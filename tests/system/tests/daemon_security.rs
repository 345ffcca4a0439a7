//! Ways into the daemon under stock virsh: SASL, certificates, the policy file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use virt_api::need;
use virt_api::testkit::Pki;
use virt_api::testkit::stock::{self, Room};
use virt_tests_system::daemon::{Daemon, program};
use virt_tests_system::host::{Host, free_port, run_to_end};

/// A folder with what a daemon and its clients need: users, certificates, a policy.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("fs")
                .tempdir_in("/tmp")
                .expect("a temporary folder"),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// An authority, a server and a client, under the names that clients look for.
    fn certificates(&self) {
        let pki = Pki::new(self.0.path());
        for name in ["server", "client"] {
            let (subject, purpose) = (format!("/C=GB/O=Example/CN={name}"), format!("{name}Auth"));
            pki.issue(name, &subject, &purpose, "DNS:localhost,IP:127.0.0.1");
        }
    }

    /// A user of the daemon, made with its own command, and the password as clients keep it.
    fn user(&self, virtd: &Path, config: &Path, name: &str, password: &str) -> PathBuf {
        let mut command = Command::new(virtd)
            .arg("--config")
            .arg(config)
            .args(["--set-password", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("virtd starts");
        let mut input = command.stdin.take().expect("a pipe");
        writeln!(input, "{password}").expect("virtd reads");
        drop(input);
        assert!(command.wait().expect("virtd ends").success());
        self.credentials(name, password)
    }

    fn credentials(&self, name: &str, password: &str) -> PathBuf {
        self.file(
            &format!("{name}-{password}.conf"),
            &format!(
                "[credentials-x]\nauthname={name}\nusername={name}\npassword={password}\n\
                 [auth-libvirt-default]\ncredentials=x\n"
            ),
        )
    }
}

/// Stock virsh with credentials from that file.
fn virsh(credentials: &Path, uri: &str, words: &str) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("timeout")
        .args(["60", "/usr/bin/virsh", "-c", uri, words])
        .env("LC_ALL", "C")
        .env("LIBVIRT_AUTH_FILE", credentials)
        .stdin(Stdio::null())
        .output()
        .expect("virsh starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.success(), text(&stdout) + &text(&stderr))
}

#[test]
fn stock_virsh_logs_in_by_sasl() {
    need!(package "libvirt-clients", package "libsasl2-modules");
    let site = Site::new();
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1", "PLAIN"] {
        let config = format!(
            "auth_unix_rw = \"sasl\"\nsasl_password_file = \"{}\"\nsasl_mechanisms = [ \"{mechanism}\" ]\n\
             sasl_allowed_username_list = [ \"fr*\" ]\n",
            site.path("passwd").display()
        );
        let daemon = Daemon::start_with(&config, &[]);
        let config = site.file("libvirtd.conf", &config);
        let right = site.user(&program(), &config, "fred", "pencil");
        let uri = daemon.test_uri();
        let (good, said) = virsh(&right, &uri, "list --all");
        assert!(good && said.contains("test"), "{mechanism}: {said}");
        let stranger = site.user(&program(), &config, "joe", "pencil");
        for credentials in [
            site.credentials("fred", "wrong"),
            site.credentials("nobody", "pencil"),
            stranger,
        ] {
            let (good, said) = virsh(&credentials, &uri, "list");
            assert!(
                !good && said.contains("authentication failed"),
                "{mechanism}: {said}"
            );
        }
    }
}

/// Who comes in with which name, at libvirt's daemon with its database and at ours with what it has taken over of it.
#[test]
fn users_of_libvirts_database_are_taken_over() {
    need!(
        package "libvirt-clients",
        package "libvirt-daemon",
        package "libsasl2-modules",
        program "saslpasswd2",
        program "db_dump"
    );
    let room = Room::new();
    let database = room.path().join("passwd.db");
    let passwd = |words: &[&str], name: &str, password: &str| {
        let mut command = room.command(&stock::program("saslpasswd2").expect("it was asked for"));
        let mut command = command
            .args(["-p", "-c", "-a", "libvirt", "-f"])
            .arg(&database)
            .args(words)
            .arg(name)
            .stdin(Stdio::piped())
            .spawn()
            .expect("saslpasswd2 starts");
        let mut input = command.stdin.take().expect("a pipe");
        write!(input, "{password}").expect("saslpasswd2 reads");
        drop(input);
        assert!(command.wait().expect("saslpasswd2 ends").success());
    };
    passwd(&[], "fred", "pencil");
    passwd(&["-u", "elsewhere.example"], "fred", "another");
    passwd(&["-u", "elsewhere.example"], "joe", "p a:$ss");
    room.file(
        "sasl/libvirt.conf",
        &format!("mech_list: scram-sha-256\nsasldb_path: {}\n", database.display()),
    );
    let host = virt_util::sys::name::host_name()
        .expect("the host has a name")
        .to_ascii_lowercase();

    let site = Site::new();
    let config = format!(
        "auth_unix_rw = \"sasl\"\nsasl_password_file = \"{}\"\nlog_level = 3\n",
        site.path("passwd").display()
    );
    let ours = Daemon::start_with(&config, &[]);
    let config = site.file("libvirtd.conf", &config);
    let import = || {
        let mut command = Command::new(program());
        command
            .arg("--config")
            .arg(&config)
            .arg("--import-passwords")
            .arg(&database);
        run_to_end(command)
    };
    let first = import();
    assert!(first.succeeded(), "{first:?}");
    for wanted in [
        format!("  fred@{host}: logs in as 'fred' or 'fred@{host}'\n"),
        format!(
            "  joe@elsewhere.example: logs in as 'joe@elsewhere.example' only: its realm is not this host, '{host}'\n"
        ),
    ] {
        assert!(first.out.contains(&wanted), "{wanted}: {first:?}");
    }
    assert!(
        !first.out.contains("pencil") && !first.out.contains("already there"),
        "{first:?}"
    );
    let again = import();
    assert!(
        again
            .out
            .contains("already there, with the password as it was: '"),
        "{again:?}"
    );

    let theirs = room.start("auth_unix_rw = \"sasl\"\n", &[]);
    let (ours, theirs) = (ours.test_uri(), theirs.uri("test:///default"));
    for (name, password, welcome) in [
        ("fred".to_owned(), "pencil", true),
        (format!("fred@{host}"), "pencil", true),
        ("fred@elsewhere.example".to_owned(), "another", true),
        ("fred@elsewhere.example".to_owned(), "pencil", false),
        ("fred".to_owned(), "another", false),
        ("joe@elsewhere.example".to_owned(), "p a:$ss", true),
        ("joe".to_owned(), "p a:$ss", false),
        (format!("joe@{host}"), "p a:$ss", false),
    ] {
        let credentials = site.credentials(&name, password);
        for uri in [&theirs, &ours] {
            let (good, said) = virsh(&credentials, uri, "list --all");
            assert_eq!(good, welcome, "{name} at {uri}: {said}");
        }
    }
}

#[test]
fn a_database_that_is_none_is_refused() {
    let site = Site::new();
    let config = site.file("libvirtd.conf", "");
    let import = |file: &Path| {
        let mut command = Command::new(program());
        command
            .arg("--config")
            .arg(&config)
            .arg("--import-passwords")
            .arg(file);
        run_to_end(command)
    };
    let ran = import(&site.file("passwd.db", "fred:pencil\n"));
    assert!(
        !ran.succeeded() && ran.err.contains("is no database of Berkeley DB or GDBM"),
        "{ran:?}"
    );
    let ran = import(&site.path("none"));
    assert!(!ran.succeeded() && ran.err.contains("/none'"), "{ran:?}");
}

#[test]
fn the_log_tells_what_is_missed_of_libvirts_sasl() {
    let configs = [
        "auth_unix_rw = \"sasl\"\nbogus = 1\n",
        "auth_unix_rw = \"none\"\n",
    ];
    for (config, warns) in configs.into_iter().zip([true, false]) {
        let daemon = Daemon::prepared(config, |root| {
            std::fs::create_dir_all(root.join("etc/sasl2")).expect("a folder");
            let text = "mech_list: gssapi scram-sha-256 digest-md5\n";
            std::fs::write(root.join("etc/sasl2/libvirt.conf"), text).expect("a file");
        });
        let log = daemon.log();
        assert_eq!(
            log.contains("not known here: GSSAPI, DIGEST-MD5. "),
            warns,
            "{log}"
        );
        assert_eq!(
            log.contains("libvirtd.conf:2: 'bogus' is not known to this daemon"),
            warns,
            "{log}"
        );
    }
}

#[test]
fn certificates_users_and_the_policy_file_work_together() {
    need!(package "libvirt-clients", package "libsasl2-modules", program "openssl");
    let site = Site::new();
    site.certificates();
    let policy = site.file(
        "policy.toml",
        "[[allow]]\nx509_name = \"C=GB,O=Example,CN=client\"\npermissions = \"read-only\"\n\
         [[allow]]\nsasl_user = \"fred\"\npermissions = \"domain:suspend\"\ndomain_name = \"te*\"\n",
    );
    let (tls, tcp) = (free_port(), free_port());
    let folder = site.0.path().display();
    let config = format!(
        "listen_tls = 1\nlisten_tcp = 1\ntls_port = \"{tls}\"\ntcp_port = \"{tcp}\"\nlisten_addr = \"127.0.0.1\"\n\
         auth_unix_rw = \"none\"\nauth_tls = \"sasl\"\nauth_tcp = \"sasl\"\n\
         ca_file = \"{folder}/cacert.pem\"\ncert_file = \"{folder}/servercert.pem\"\nkey_file = \"{folder}/serverkey.pem\"\n\
         sasl_password_file = \"{folder}/passwd\"\npolicy_file = \"{}\"\naudit_logging = 1\nlog_level = 2\n\
         tls_allowed_dn_list = [ \"C=GB,*\" ]\n",
        policy.display()
    );
    let daemon = Daemon::start_with(&config, &["--listen"]);
    let config = site.file("libvirtd.conf", &config);
    let fred = site.user(&program(), &config, "fred", "pencil");
    let uri = format!("test+tls://127.0.0.1:{tls}/default?pkipath={folder}");
    let (_, said) = virsh(
        &fred,
        &uri,
        "list --all; suspend test; domstate test; destroy test; dumpxml --security-info test",
    );
    for wanted in [
        "test   running",
        "Domain 'test' suspended",
        "paused",
        "access denied: 'domain:stop' is not allowed",
        "access denied: 'domain:read_secure' is not allowed",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // Our own client, through the same two doors.
    let host = Host::new();
    let mut command = host.virsh();
    command.args(["-c", &format!("{uri}&authfile={}", fred.display())]);
    command.args(["list --all; suspend test; destroy test"]);
    let ours = run_to_end(command);
    for wanted in [
        "test   running",
        "Domain 'test' suspended",
        "access denied: 'domain:stop' is not allowed",
    ] {
        assert!(
            ours.out.contains(wanted) || ours.err.contains(wanted),
            "{wanted}: {ours:?}"
        );
    }
    let mut command = host.virsh();
    let wrong = site.credentials("fred", "wrong");
    command.args(["-c", &format!("{uri}&authfile={}", wrong.display()), "list"]);
    let ours = run_to_end(command);
    assert!(
        !ours.succeeded() && ours.err.contains("authentication failed"),
        "{ours:?}"
    );
    // A client of the unix socket has no rule at all.
    let (good, said) = virsh(&fred, &daemon.test_uri(), "list");
    assert!(
        !good && said.contains("access denied: 'connect:getattr' is not allowed"),
        "{said}"
    );
    // On plain TCP no mechanism may be offered.
    let (good, said) = virsh(&fred, &format!("test+tcp://127.0.0.1:{tcp}/default"), "list");
    assert!(!good && said.contains("authentication failed"), "{said}");
    let log = daemon.log();
    assert!(log.contains("op=authenticate method=sasl acct=\"fred\""), "{log}");
    assert!(log.contains("op=call function=\"virDomainDestroy\""), "{log}");
    // New rules hold after a reload.
    std::fs::write(&policy, "[[allow]]\nanyone = true\npermissions = \"*\"\n")
        .expect("a file can be written");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    virt_tests_system::host::eventually("the new rules hold", std::time::Duration::from_secs(20), || {
        virsh(&fred, &daemon.test_uri(), "list").0
    });
}
