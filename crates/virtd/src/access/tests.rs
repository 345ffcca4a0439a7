use super::*;
use crate::config::Role;
use virt_api::call::PROGRAM_REMOTE;
use virt_api::protocol::remote::procedure;
use virt_api::protocol::table::{self, Kind};
use virt_util::types::params::identity as names;

fn access(policy: Option<&str>, more: &str) -> (tempfile::TempDir, Result<Arc<Access>>) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = more.to_owned();
    if let Some(policy) = policy {
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, policy).unwrap();
        text.push_str(&format!("policy_file = \"{}\"\n", path.display()));
    }
    let config = DaemonConfig::parse(&Role::new("libvirtd", true), "test", &text)
        .unwrap()
        .config;
    let access = Access::new(&config, None);
    (folder, access)
}

fn who(user: &str) -> Identity {
    Identity(TypedParams::new().with(names::USER_NAME, user))
}

fn zeros(procedure: &Procedure) -> Vec<u8> {
    vec![0; procedure.args.map_or(0, |shape| shape.min_size())]
}

/// Every procedure in every state of its caller; what is expected comes from the description alone.
#[test]
fn the_first_checkpoint_follows_the_description() {
    let (_folder, free) = access(None, "");
    let (_folder, some) = access(
        Some(
            "[[allow]]\nuser = \"looker\"\npermissions = \"read-only\"\n[[allow]]\nuser = \"root\"\npermissions = \"*\"\n",
        ),
        "",
    );
    let (free, some) = (free.unwrap(), some.unwrap());
    assert!(!free.enforced() && some.enforced() && !some.may_wait());
    let (nobody, looker, root) = (who("nobody"), who("looker"), who("root"));
    let mut seen = [0; 5];
    for procedure in table::programs().flat_map(|program| program.procedures) {
        if procedure.kind != Kind::Call {
            continue;
        }
        let args = zeros(procedure);
        let ask = |access: &Access, identity: &Identity, authenticated: bool, read_only: bool| {
            let caller = Caller {
                identity,
                authenticated,
                read_only,
            };
            access
                .admit(procedure, &args, &caller)
                .map_err(|error| error.code())
        };
        let name = procedure.name;
        // Not authenticated.
        let expected = if procedure.before_auth {
            Ok(())
        } else {
            Err(ErrorCode::RPC)
        };
        assert_eq!(ask(&free, &root, false, false), expected, "{name}");
        seen[0] += usize::from(expected.is_err());
        // Authenticated, no policy.
        assert_eq!(ask(&free, &nobody, true, false), Ok(()), "{name}");
        // Read-only: with zeros in all flags no condition on a flag holds.
        let denied = match procedure.read_only {
            ReadOnly::Allow => false,
            ReadOnly::Deny => true,
            ReadOnly::DenyIf(when) => when.holds(0),
        };
        let expected = if denied && !procedure.before_auth {
            Err(ErrorCode::OPERATION_DENIED)
        } else {
            Ok(())
        };
        assert_eq!(ask(&free, &root, true, true), expected, "{name}");
        seen[1] += usize::from(expected.is_err());
        // A policy that gives all, nothing, or what the read-only socket gives.
        assert_eq!(ask(&some, &root, true, false), Ok(()), "{name}");
        let needed: Vec<_> = procedure
            .acl
            .iter()
            .filter(|rule| rule.when.is_none_or(|when| when.holds(0)))
            .collect();
        let expected = if needed.is_empty() {
            Ok(())
        } else {
            Err(ErrorCode::ACCESS_DENIED)
        };
        assert_eq!(ask(&some, &nobody, true, false), expected, "{name}");
        seen[2] += usize::from(expected.is_err());
        // The daemon's own drivers, which have no part of an identity; a client always has one.
        assert_eq!(ask(&some, &Identity::default(), true, false), Ok(()), "{name}");
        let lacking = needed.iter().any(|rule| {
            table::permissions()
                .iter()
                .any(|info| info.permission == rule.permission && !info.anonymous)
        });
        let expected = if lacking {
            Err(ErrorCode::ACCESS_DENIED)
        } else {
            Ok(())
        };
        assert_eq!(ask(&some, &looker, true, false), expected, "{name}");
        seen[3] += usize::from(expected.is_err());
        seen[4] += 1;
    }
    // The expectations were not all the same.
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

#[test]
fn conditions_look_at_the_arguments() {
    let (_folder, free) = access(None, "");
    let (_folder, some) = access(
        Some("[[allow]]\nuser = \"a\"\npermissions = \"domain:read\"\n"),
        "",
    );
    let (free, some) = (free.unwrap(), some.unwrap());
    let get_xml = table::procedure(PROGRAM_REMOTE, procedure::DOMAIN_GET_XML_DESC).unwrap();
    let mut secure = zeros(get_xml);
    let plain = secure.clone();
    *secure.last_mut().unwrap() = 1;
    let a = who("a");
    let caller = |read_only| Caller {
        identity: &a,
        authenticated: true,
        read_only,
    };
    assert!(free.admit(get_xml, &plain, &caller(true)).is_ok());
    let error = free.admit(get_xml, &secure, &caller(true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation forbidden: read only access prevents virDomainGetXMLDesc"
    );
    assert!(free.admit(get_xml, &secure, &caller(false)).is_ok());
    assert!(some.admit(get_xml, &plain, &caller(false)).is_ok());
    let error = some.admit(get_xml, &secure, &caller(false)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ACCESS_DENIED);
    // Arguments that are cut off are refused, not guessed.
    assert!(free.admit(get_xml, &[0, 0], &caller(true)).is_err());
}

#[test]
fn the_second_checkpoint_looks_at_the_object() {
    let (_folder, some) = access(
        Some(
            "[[allow]]\nuser = \"a\"\npermissions = \"domain:start\"\ndomain_name = \"mine\"\nconnect_driver = \"T*\"\n",
        ),
        "",
    );
    let some = some.unwrap();
    let check = |driver: &str, name: &str| {
        let attributes = TypedParams::new().with("domain_name", name);
        some.check(&who("a"), driver, "start", "domain", &attributes)
            .unwrap()
    };
    assert!(check("test", "mine"));
    assert!(!check("test", "yours") && !check("qemu", "mine"));
    assert!(
        some.check(&who("a"), "test", "start", "planet", &TypedParams::new())
            .is_err()
    );
}

#[test]
fn a_broken_policy_stops_the_start_and_leaves_a_reload_without_effect() {
    let (_folder, broken) = access(Some("[[allow]]\nuser = \"a\"\n"), "");
    assert!(broken.is_err());
    let (folder, good) = access(Some("[[allow]]\nuser = \"a\"\npermissions = \"*\"\n"), "");
    let good = good.unwrap();
    let path = folder.path().join("policy.toml");
    let text = format!("policy_file = \"{}\"\n", path.display());
    let config = DaemonConfig::parse(&Role::new("libvirtd", true), "test", &text)
        .unwrap()
        .config;
    let may = || {
        good.check(&who("a"), "test", "read", "connect", &TypedParams::new())
            .unwrap()
    };
    assert!(may());
    std::fs::write(&path, "[[allow]]\n").unwrap();
    assert!(good.reload(&config).is_err());
    assert!(may());
    std::fs::write(&path, "").unwrap();
    good.reload(&config).unwrap();
    assert!(!may());
    // A file that others can write.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(good.reload(&config).unwrap_err().to_string().contains("0666"));
    std::fs::remove_file(&path).unwrap();
    assert!(good.reload(&config).is_err());
    assert!(!may());
}

#[test]
fn polkit_that_is_not_there_allows_nothing() {
    let config = DaemonConfig::parse(
        &Role::new("libvirtd", true),
        "test",
        "access_drivers = [ \"polkit\" ]\n",
    )
    .unwrap()
    .config;
    let access = Access::new(&config, Some("unix:path=/nonexistent/bus".to_owned())).unwrap();
    assert!(access.enforced() && access.may_wait());
    let local = Identity(
        TypedParams::new()
            .with(names::UNIX_USER_ID, 1000u64)
            .with(names::PROCESS_ID, 17i64)
            .with(names::PROCESS_TIME, 18u64),
    );
    assert!(
        access
            .check(&local, "test", "read", "connect", &TypedParams::new())
            .is_err()
    );
    // A remote client cannot even be asked about.
    assert!(
        access
            .check(&who("a"), "test", "read", "connect", &TypedParams::new())
            .is_err()
    );
}

#[test]
fn ten_thousand_objects_are_judged_in_time() {
    let mut policy =
        String::from("[[allow]]\nuser = \"a\"\npermissions = \"domain:getattr\"\ndomain_name = \"web-*\"\n");
    for index in 0..50 {
        policy.push_str(&format!("[[allow]]\nuser = \"b{index}\"\npermissions = \"*\"\n"));
    }
    let (_folder, some) = access(Some(&policy), "");
    let some = some.unwrap();
    let a = who("a");
    let begun = std::time::Instant::now();
    let mut allowed = 0;
    for index in 0..10_000 {
        let name = if index % 2 == 0 {
            format!("web-{index}")
        } else {
            format!("db-{index}")
        };
        let attributes = TypedParams::new().with("domain_name", name);
        allowed += usize::from(some.check(&a, "test", "getattr", "domain", &attributes).unwrap());
    }
    assert_eq!(allowed, 5_000);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
