//! Entry points for fuzzing, one per parser of outside bytes: plain functions that must return, whatever they get.
//! Tests replay seeds through them.

use std::sync::{Arc, LazyLock};

use virt_util::json::Json;

use crate::access::policy::Policy;
use crate::auth::cyrus::Format;
use crate::auth::passwords::{PasswordFile, Users};
use crate::auth::sasl::{Channel, Exchange, Mechanism, Sasl};
use crate::config::{DaemonConfig, Role};
use crate::daemon::state::DaemonState;

/// A named entry point.
pub type Target = (&'static str, fn(&[u8]));

/// Every entry point of this crate.
pub const TARGETS: &[Target] = &[
    ("sasl", fuzz_sasl),
    ("sasl_users", fuzz_sasl_users),
    ("sasl_database", fuzz_sasl_database),
    ("daemon_config", fuzz_daemon_config),
    ("policy", fuzz_policy),
    ("daemon_state", fuzz_daemon_state),
];

/// Messages of a client in a SASL exchange: the first byte chooses the mechanism, zeros of the rest separate messages
/// (but in PLAIN, where they belong to the message).
pub fn fuzz_sasl(data: &[u8]) {
    static SASL: LazyLock<Option<Arc<Sasl>>> = LazyLock::new(|| {
        let path = std::env::temp_dir().join(format!("virtd-fuzz-{}", std::process::id()));
        virt_util::durable::write(&path, b"", &virt_util::durable::WriteOptions::default()).ok()?;
        Some(Arc::new(Sasl {
            users: PasswordFile::new(path),
            mechanisms: Mechanism::ALL.to_vec(),
            allowed: None,
            min_ssf: 56,
        }))
    });
    let (Some(sasl), Some((choice, rest))) = (&*SASL, data.split_first()) else {
        return;
    };
    // PLAIN hashes what it gets, which is slow by intention: only now and then.
    let mechanism = match choice {
        0 => Mechanism::Plain,
        other => Mechanism::ALL[usize::from(*other) % 3],
    };
    let Ok(mut exchange) = Exchange::new(Arc::clone(sasl), Channel::Secure) else {
        return;
    };
    if mechanism == Mechanism::Plain {
        let came_in = exchange
            .start(mechanism.name(), Some(rest))
            .is_ok_and(|reply| reply.user.is_some());
        assert!(!came_in, "nobody is there");
        return;
    }
    let mut messages = rest.split(|byte| *byte == 0);
    let mut reply = exchange.start(mechanism.name(), messages.next());
    for message in messages.take(8) {
        match reply {
            Ok(reply) => assert!(reply.user.is_none(), "nobody is there"),
            Err(_) => return,
        }
        reply = exchange.step(Some(message));
    }
}

/// The file of SASL users.
pub fn fuzz_sasl_users(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(users) = Users::parse("fuzz", text)
    {
        assert!(users.find_any("\u{0}").is_none());
    }
}

/// What a program prints of a database of users.
pub fn fuzz_sasl_database(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for format in [Format::BerkeleyDb, Format::Gdbm] {
        let _ = format.parse(&text);
    }
}

/// A configuration file, which comes out as it went in.
pub fn fuzz_daemon_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for daemon in ["libvirtd", "virtqemud"] {
        let role = Role::new(daemon, true);
        if let Ok(loaded) = DaemonConfig::parse(&role, "fuzz", text) {
            let written = loaded.config.format(&role, false);
            let again = DaemonConfig::parse(&role, "again", &written).map(|again| again.config);
            assert_eq!(again.ok(), Some(loaded.config), "{written}");
        }
    }
}

/// A policy file. Whatever it says, somebody unknown may only what is said of anyone.
pub fn fuzz_policy(data: &[u8]) {
    use virt_api::access::ObjectKind;
    use virt_api::call::Identity;
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(policy) = Policy::parse("fuzz", text)
        && !text.contains("anyone")
    {
        assert!(!policy.holds_any(&Identity::default(), ObjectKind::Domain, "start"));
    }
}

/// What a daemon leaves to its successor. What is read is written so that it is read again.
pub fn fuzz_daemon_state(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = |document: &Json| DaemonState::read(document, &["one", "two"], &mut |_| Ok(()));
    if let Ok(document) = Json::parse(text)
        && let Ok(state) = read(&document)
    {
        let written = state.to_json();
        assert_eq!(read(&written).ok(), Some(state), "{written}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_api::access::ObjectKind;
    use virt_api::call::Identity;
    use virt_util::typed_param::TypedParams;

    /// A user, with the hash of a password.
    const USER: &[u8] = b"fred:SCRAM-SHA-256$4096:YQ==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    /// A policy for one user and one guest.
    const POLICY: &[u8] = b"[[allow]]\nuser = \"a\"\npermissions = [ \"domain:*\" ]\ndomain_name = \"x\"\n";

    /// A daemon in its earliest form.
    const STATE: &[u8] = br#"{"min_workers":1,"max_workers":2,"priority_workers":1,"max_clients":9,
        "keepaliveInterval":5,"keepaliveCount":5,"services":[{"auth":0,"readonly":true,"nrequests_client_max":2,
        "socks":[{"fd":100,"errfd":-1,"pid":0,"isClient":false}]}],"clients":[{"auth":1,"readonly":true,
        "nrequests_max":15,"sock":{"fd":102,"errfd":-1,"pid":-1,"isClient":true},"privateData":null}]}"#;

    fn text(seed: &[u8]) -> String {
        String::from_utf8(seed.to_vec()).expect("a text")
    }

    #[test]
    fn seeds_pass() {
        let sample = crate::config::sample(&Role::new("libvirtd", true));
        // Every setting, none of the sentences about them.
        let settings = sample.lines().filter_map(|line| line.strip_prefix('#'));
        let settings = settings.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
        let config = settings.collect::<Vec<_>>().join("\n") + "\n";
        let seeds: [&[u8]; 9] = [
            b"",
            b"\x01n,,n=fred,r=abc\0c=biws,r=abc,p=xyz=",
            b"\x02y,a=x,n=a=2Cb,r=q\0c=,r=,p=",
            b"\0\0fred\0pencil",
            USER,
            POLICY,
            b"[[allow]]\nanyone = true\npermissions = \"*\"\n",
            config.as_bytes(),
            STATE,
        ];
        // What is cut and damaged below was whole before.
        let users = Users::parse("seed", &text(USER)).expect("users");
        assert!(users.find_any("fred").is_some() && users.find_any("nobody").is_none());
        let policy = Policy::parse("seed", &text(POLICY)).expect("a policy");
        let fred = Identity(TypedParams::new().with("user-name", "a"));
        assert!(policy.holds_any(&fred, ObjectKind::Domain, "start"));
        assert!(!policy.holds_any(&Identity::default(), ObjectKind::Domain, "start"));
        Policy::parse("seed", &text(seeds[6])).expect("a policy for anyone");
        let role = Role::new("libvirtd", true);
        DaemonConfig::parse(&role, "seed", &config).expect("a configuration");
        let state = Json::parse(&text(STATE)).expect("JSON");
        DaemonState::read(&state, &["one"], &mut |_| Ok(())).expect("a daemon");
        let mut tried = 0;
        for seed in seeds {
            for (_, target) in TARGETS {
                for cut in (0..=seed.len()).step_by(1 + seed.len() / 60) {
                    target(&seed[..cut]);
                    tried += 1;
                }
            }
        }
        // What the targets hold of each text they assert themselves.
        assert!(tried > 500, "only {tried} texts were tried");
    }

    #[test]
    fn strings_with_quotes_survive() {
        fuzz_daemon_config(b"crl_file = \"\"\"\"a\" b\"\"\"\n");
        fuzz_daemon_config(b"listen_addr = 'a\"b'\nunix_sock_dir = \"\"\"x'y\"z\"\"\"\nlog_level = 0\n");
    }
}
