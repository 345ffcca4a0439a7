use super::*;
use proptest::prelude::*;
use virt_util::ErrorCode;

fn system() -> Role {
    Role::new("libvirtd", true)
}

fn parse(text: &str) -> Result<Loaded> {
    DaemonConfig::parse(&system(), "libvirtd.conf", text)
}

#[test]
fn defaults_are_libvirts() {
    let config = DaemonConfig::defaults(&system());
    assert!(config.listen_tls && !config.listen_tcp);
    assert_eq!(
        (config.auth_unix_rw, config.auth_tcp, config.auth_tls),
        (Auth::Polkit, Auth::Sasl, Auth::None)
    );
    assert_eq!(
        (
            config.rw_mode(&system()),
            config.unix_sock_ro_perms,
            config.unix_sock_admin_perms
        ),
        (SocketMode(0o777), SocketMode(0o777), SocketMode(0o700))
    );
    assert_eq!(
        (config.max_clients, config.max_workers.0, config.min_ssf()),
        (5000, 20, 56)
    );
    let role = Role::new("libvirtd", false);
    let session = DaemonConfig::defaults(&role);
    assert_eq!(
        (session.auth_unix_rw, session.rw_mode(&role)),
        (Auth::None, SocketMode(0o700))
    );
    let proxy = DaemonConfig::defaults(&Role::new("virtproxyd", true));
    assert!(!proxy.listen_tls);
}

#[test]
fn the_mode_of_the_socket_follows_its_authentication() {
    for (text, whole_host, own) in [
        ("", 0o777, 0o700),
        ("auth_unix_rw = \"polkit\"\n", 0o777, 0o777),
        ("auth_unix_rw = \"sasl\"\n", 0o777, 0o700),
        // libvirt's code has 0777 for root's daemon here too; its documentation does not.
        ("auth_unix_rw = \"none\"\n", 0o700, 0o700),
        (
            "auth_unix_rw = \"none\"\nunix_sock_rw_perms = \"0770\"\n",
            0o770,
            0o770,
        ),
    ] {
        for (privileged, mode) in [(true, whole_host), (false, own)] {
            let role = Role::new("libvirtd", privileged);
            let config = DaemonConfig::parse(&role, "libvirtd.conf", text).unwrap().config;
            assert_eq!(
                config.rw_mode(&role),
                SocketMode(mode),
                "{text:?}, privileged: {privileged}"
            );
        }
    }
}

#[test]
fn errors_name_line_key_value_and_what_is_allowed() {
    for (text, code, expected) in [
        (
            "\nmax_clients = \"many\"\n",
            ErrorCode::INTERNAL_ERROR,
            "libvirtd.conf:2: max_clients = \"many\": expected a number, 0 to 4294967295",
        ),
        (
            "max_clients = -1\n",
            ErrorCode::INTERNAL_ERROR,
            "libvirtd.conf:1: max_clients = -1: expected a number, 0 to 4294967295",
        ),
        (
            "max_workers = 0\n",
            ErrorCode::INTERNAL_ERROR,
            "libvirtd.conf:1: max_workers = 0: expected a number, 1 to 4294967295",
        ),
        (
            "auth_tcp = \"kerberos\"\n",
            ErrorCode::CONFIG_UNSUPPORTED,
            "libvirtd.conf:1: auth_tcp = \"kerberos\": expected \"none\", \"sasl\" or \"polkit\"",
        ),
        (
            "stay_awake = 5000\n",
            ErrorCode::INTERNAL_ERROR,
            "libvirtd.conf:1: stay_awake = 5000: expected a number, 0 to 1000",
        ),
        (
            "tcp_min_ssf = 56\n",
            ErrorCode::CONFIG_UNSUPPORTED,
            "libvirtd.conf:1: tcp_min_ssf = 56: expected 112 or more",
        ),
        (
            "unix_sock_ro_perms = \"0888\"\n",
            ErrorCode::CONFIG_UNSUPPORTED,
            "libvirtd.conf:1: unix_sock_ro_perms = \"0888\": expected an octal mode in quotes, as \"0770\"",
        ),
        (
            "tls_allowed_dn_list = \"CN=a\"\n",
            ErrorCode::INTERNAL_ERROR,
            "libvirtd.conf:1: tls_allowed_dn_list = \"CN=a\": expected a list of strings, as in [ \"one\", \"two\" ]",
        ),
        (
            "log_level = 5\n",
            ErrorCode::INVALID_ARG,
            "libvirtd.conf:1: log_level = 5: expected 1 (debug), 2 (information), 3 (warnings), 4 (errors) or 0 (the default)",
        ),
        (
            "host_uuid = \"00000000-0000-0000-0000-000000000000\"\n",
            ErrorCode::CONFIG_UNSUPPORTED,
            "libvirtd.conf:1: host_uuid = \"00000000-0000-0000-0000-000000000000\": expected a UUID whose digits are not all the same",
        ),
        (
            "listen_tcp = 1\nlisten_tls = yes\n",
            ErrorCode::CONF_SYNTAX,
            "libvirtd.conf:2: ",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.detail().starts_with(expected), "{error}");
        assert_eq!(error.code(), code, "{error}");
    }
    let error = parse("log_filters = \"9:qemu\"\n").unwrap_err();
    assert!(
        error.detail().starts_with("libvirtd.conf:1: log_filters = "),
        "{error}"
    );
    let loaded = parse("auth_tls = \"polkit\"\n").unwrap();
    assert!(loaded.ignored[0].reason.contains("nobody in"), "{loaded:?}");
    let error = parse("max_clients = 3\n")
        .unwrap()
        .config
        .check_limits()
        .unwrap_err();
    assert!(error.detail().contains("max_anonymous_clients = 20"), "{error}");
}

/// libvirt takes every number, and asks nobody where it is not above 0.
#[test]
fn an_interval_below_minus_one_is_taken_and_told() {
    for key in ["keepalive_interval", "admin_keepalive_interval"] {
        for (seconds, is_odd) in [(-2, true), (-7, true), (-1, false), (0, false), (5, false)] {
            let loaded = parse(&format!("\n{key} = {seconds}\n")).unwrap();
            let told: Vec<_> = loaded
                .ignored
                .iter()
                .map(|told| (told.line, told.reason.contains("never asks, as -1 does")))
                .collect();
            assert_eq!(
                told,
                if is_odd { vec![(2, true)] } else { Vec::new() },
                "{key} = {seconds}"
            );
        }
    }
}

#[test]
fn an_error_that_comes_later_names_where_the_value_stands() {
    let config = parse("\ntcp_port = \"7\"\n").unwrap().config;
    let failure = || VirtError::new(ErrorCode::SYSTEM_ERROR, "it is taken");
    for (key, expected) in [
        ("tcp_port", "libvirtd.conf:2: tcp_port = \"7\": it is taken"),
        ("tls_port", "tls_port = \"16514\", the default: it is taken"),
        ("listen_addr", "it is taken"),
        ("no such key", "it is taken"),
    ] {
        let error = config.blame(key, failure());
        assert_eq!(
            (error.detail(), error.code()),
            (expected, ErrorCode::SYSTEM_ERROR)
        );
    }
}

#[test]
fn modes_are_read_as_c_reads_numbers() {
    for (text, mode) in [
        ("0770", 0o770),
        ("770", 0o770),
        (" +0770", 0o770),
        ("7777", 0o777),
        ("10700", 0o700),
        ("-1", 0o777),
        ("0", 0),
    ] {
        let loaded = parse(&format!("unix_sock_ro_perms = \"{text}\"\n")).unwrap();
        assert_eq!(loaded.config.unix_sock_ro_perms, SocketMode(mode), "{text}");
    }
    for text in ["", "0888", "0777 ", "0x1ff", "37777777777", "rwx"] {
        let error = parse(&format!("unix_sock_ro_perms = \"{text}\"\n")).unwrap_err();
        assert_eq!(error.str2(), Some("unix_sock_ro_perms"), "{text}");
    }
}

#[test]
fn unknown_keys_are_named_and_passed_over() {
    let loaded = parse("new_key = 1\nmax_clients = 3\nmax_clients = 4\nkeepalive_required = 1\n").unwrap();
    assert_eq!(loaded.config.max_clients, 3);
    let ignored: Vec<_> = loaded
        .ignored
        .iter()
        .map(|ignored| (ignored.name.as_str(), ignored.line))
        .collect();
    assert_eq!(
        ignored,
        [("new_key", 1), ("max_clients", 3), ("keepalive_required", 4)]
    );
    let reasons: Vec<_> = loaded
        .ignored
        .iter()
        .map(|ignored| ignored.reason.as_str())
        .collect();
    for (reason, wanted) in reasons.iter().zip(["is not known", "a second time", "any more"]) {
        assert!(reason.contains(wanted), "{reason}");
    }
    let modular = Role::new("virtqemud", true);
    let loaded = DaemonConfig::parse(&modular, "virtqemud.conf", "listen_tcp = \"wrong type\"\n").unwrap();
    let [ignored] = loaded.ignored.as_slice() else {
        panic!("{:?}", loaded.ignored)
    };
    assert_eq!(ignored.file, "virtqemud.conf");
    assert!(ignored.reason.contains("on the network"), "{}", ignored.reason);
    // A slip of the pen is told as one.
    let loaded = parse("max_client = 3\n").unwrap();
    assert!(
        loaded.ignored[0].reason.ends_with("did you mean 'max_clients'?"),
        "{}",
        loaded.ignored[0].reason
    );
}

/// libvirt's daemons are one source compiled with and without the network: the same keys, defaults and errors otherwise.
#[test]
fn every_daemon_has_the_keys_of_libvirts() {
    use crate::service::names::DaemonName;

    let values = [
        "\"\"",
        "\"no such thing\"",
        "-7",
        "0",
        "1",
        "99999999999",
        "[ 1 ]",
        "[ \"x\" ]",
    ];
    for name in DaemonName::installed() {
        for privileged in [true, false] {
            let role = Role::new(name, privileged);
            let monolithic = Role::new("libvirtd", privileged);
            let network = matches!(name, "libvirtd" | "virtproxyd");
            let file = format!("{name}.conf");
            let path = role.config_path().expect("there is a home");
            assert!(path.ends_with(format!("libvirt/{file}")), "{}", path.display());
            let mut expected = DaemonConfig::defaults(&monolithic);
            // Where there is no option --listen, nobody could say that TLS is not wanted.
            expected.listen_tls = name == "libvirtd";
            assert_eq!(DaemonConfig::defaults(&role), expected, "{name}");
            for key in KEYS {
                for value in values {
                    let text = format!("{} = {value}\n", key.name);
                    let loaded = DaemonConfig::parse(&role, &file, &text);
                    if key.scope == Scope::Network && !network {
                        let loaded = loaded.expect(&text);
                        assert_eq!(loaded.config, DaemonConfig::defaults(&role), "{name}: {text}");
                        assert_eq!(loaded.ignored.len(), 1, "{name}: {text}");
                        continue;
                    }
                    // What the monolithic daemon says, with this one's file.
                    match (loaded, DaemonConfig::parse(&monolithic, &file, &text)) {
                        (Ok(one), Ok(other)) => {
                            assert_eq!(
                                (key.show)(&one.config),
                                (key.show)(&other.config),
                                "{name}: {text}"
                            );
                        }
                        (Err(one), Err(other)) => assert_eq!(one, other, "{name}: {text}"),
                        (one, other) => panic!("{name}: {text}: {one:?}, and libvirtd {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_reload_takes_what_can_change() {
    let old = parse("tcp_port = \"1\"\nmax_clients = 5\n").unwrap().config;
    let new = parse("tcp_port = \"2\"\nmax_clients = 6\nlog_level = 1\n")
        .unwrap()
        .config;
    let reloaded = old.reload(&new);
    let names = |keys: &[&'static Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
    assert_eq!(names(&reloaded.changed), ["max_clients", "log_level"]);
    assert_eq!(names(&reloaded.pending), ["tcp_port"]);
    assert_eq!(reloaded.config.tcp_port.number(), Some(1));
    assert_eq!(reloaded.config.max_clients, 6);
}

#[test]
fn the_sample_is_a_file() {
    for daemon in ["libvirtd", "virtproxyd", "virtqemud", "virtd"] {
        let role = Role::new(daemon, true);
        let sample = sample(&role);
        let parsed = DaemonConfig::parse(&role, "sample", &sample).unwrap();
        assert_eq!(parsed.config, DaemonConfig::defaults(&role));
        let mut settings = String::new();
        for line in sample.lines() {
            let setting = line
                .strip_prefix('#')
                .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
            if let Some(setting) = setting {
                settings.push_str(setting);
                settings.push('\n');
            }
        }
        let keys = KEYS.iter().filter(|key| role.has(key)).count();
        assert_eq!(settings.lines().count(), keys);
        let loaded = DaemonConfig::parse(&role, "sample", &settings).unwrap();
        let ignored = loaded.ignored.iter();
        assert!(
            ignored
                .clone()
                .all(|ignored| ignored.reason.contains("no effect yet")),
            "{:?}",
            loaded.ignored
        );
        let again = DaemonConfig::parse(&role, "again", &loaded.config.format(&role, true)).unwrap();
        assert_eq!(again.config, loaded.config);
    }
}

/// `VIRTD_WRITE_DOCS=1 cargo test -p virtd` writes the page.
#[test]
fn the_page_of_documentation_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("VIRTD_WRITE_DOCS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == markdown(),
        "docs/configuration.md is out of date: VIRTD_WRITE_DOCS=1 cargo test -p virtd"
    );
}

#[test]
fn services_have_numbers() {
    use super::value::{Port, Setting as _};
    assert_eq!(Port("16514".to_owned()).number(), Some(16514));
    assert_eq!(Port("no such service".to_owned()).number(), None);
    assert!(Port::read(&ConfValue::from("70000")).is_err());
    assert!(Port::read(&ConfValue::Number(16514)).is_err());
}

#[test]
fn the_file_may_be_missing_unless_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libvirtd.conf");
    assert!(DaemonConfig::load(&system(), Some(&path)).is_err());
    std::fs::write(&path, "max_clients = 7\n").unwrap();
    let loaded = DaemonConfig::load(&system(), Some(&path)).unwrap();
    assert_eq!(loaded.config.max_clients, 7);
}

proptest! {
    #[test]
    fn no_value_breaks_a_key(index in 0..KEYS.len(), value in "[\\[\\]\"0-9a-z, -]{0,20}") {
        let key = KEYS[index].name;
        match parse(&format!("{key} = {value}\n")) {
            // What was taken is written so that it is taken again.
            Ok(loaded) => {
                let written = loaded.config.format(&system(), false);
                let again = parse(&written).map(|again| again.config);
                prop_assert_eq!(again.ok(), Some(loaded.config), "{}", written);
            }
            Err(error) => {
                let told = error.to_string();
                prop_assert!(told.contains("libvirtd.conf") || told.contains(key), "{}", told);
            }
        }
    }
}
