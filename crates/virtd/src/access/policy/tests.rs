use super::*;
use proptest::prelude::*;

fn who(user: &str, uid: u64) -> Identity {
    Identity(
        TypedParams::new()
            .with(names::USER_NAME, user)
            .with(names::UNIX_USER_ID, uid)
            .with(names::GROUP_NAME, user),
    )
}

fn domain(name: &str) -> TypedParams {
    TypedParams::new()
        .with(DRIVER, "test")
        .with("domain_name", name)
        .with("domain_uuid", "6695eb01-f6a4-8304-79aa-97f2502e193f")
}

const EXAMPLE: &str = r#"
[[allow]]
user = "root"
permissions = "*"

[[allow]]
group = [ "operators", "alice" ]
permissions = "read-only"

[[allow]]
user = "alice"
permissions = [ "domain:start", "domain:st?p", "domain:pm_control" ]
domain_name = [ "web-*", "db" ]

[[allow]]
sasl_user = "*@EXAMPLE.COM"
x509_name = "C=GB,*"
permissions = "connect:*"
connect_driver = "qemu"
"#;

#[test]
fn rules_allow_and_nothing_else_does() {
    let policy = Policy::parse("policy.toml", EXAMPLE).unwrap();
    let (root, alice, bob) = (who("root", 0), who("alice", 1000), who("bob", 1001));
    let may = |who: &Identity, permission: &str, name: &str| {
        policy.allows(who, ObjectKind::Domain, permission, &domain(name))
    };
    for permission in ["start", "stop", "pm_control"] {
        assert!(
            may(&root, permission, "any")
                && may(&alice, permission, "web-1")
                && may(&alice, permission, "db")
        );
        assert!(!may(&alice, permission, "mail") && !may(&bob, permission, "web-1"));
        assert!(policy.holds_any(&alice, ObjectKind::Domain, permission));
        assert!(!policy.holds_any(&bob, ObjectKind::Domain, permission));
    }
    assert!(may(&alice, "read", "mail") && !may(&alice, "write", "web-1"));
    assert!(!may(&root, "no_such_permission", "web-1"));
    // An object without the attribute is not one that a pattern allows.
    assert!(!policy.allows(&alice, ObjectKind::Domain, "start", &TypedParams::new()));
    // Everything that a rule says of the client has to hold.
    let both = Identity(
        TypedParams::new()
            .with(names::SASL_USER_NAME, "x@EXAMPLE.COM")
            .with(names::X509_DISTINGUISHED_NAME, "C=GB,CN=x"),
    );
    let one = Identity(TypedParams::new().with(names::SASL_USER_NAME, "x@EXAMPLE.COM"));
    let driver = |name: &str| TypedParams::new().with(DRIVER, name);
    assert!(policy.allows(&both, ObjectKind::Connect, "write", &driver("qemu")));
    assert!(!policy.allows(&both, ObjectKind::Connect, "write", &driver("lxc")));
    assert!(!policy.allows(&one, ObjectKind::Connect, "write", &driver("qemu")));
    assert!(!policy.holds_any(&Identity::default(), ObjectKind::Connect, "getattr"));
}

#[test]
fn an_empty_policy_allows_nothing() {
    let policy = Policy::parse("policy.toml", "").unwrap();
    assert!(!policy.holds_any(&who("root", 0), ObjectKind::Connect, "getattr"));
}

#[test]
fn anyone_is_anyone() {
    let policy = Policy::parse(
        "p",
        "[[allow]]\nanyone = true\npermissions = \"connect:getattr\"\n",
    )
    .unwrap();
    assert!(policy.holds_any(&Identity::default(), ObjectKind::Connect, "getattr"));
    assert!(!policy.holds_any(&Identity::default(), ObjectKind::Connect, "read"));
}

#[test]
fn numbers_of_users_are_numbers() {
    let policy = Policy::parse("p", "[[allow]]\nuid = [ 0, 1000 ]\npermissions = \"*\"\n").unwrap();
    assert!(policy.holds_any(&who("x", 1000), ObjectKind::Connect, "getattr"));
    assert!(!policy.holds_any(&who("0", 1), ObjectKind::Connect, "getattr"));
    let text = Identity(TypedParams::new().with(names::UNIX_USER_ID, "0"));
    assert!(!policy.holds_any(&text, ObjectKind::Connect, "getattr"));
}

#[test]
fn groups_come_from_the_users_database_too() {
    let policy = Policy::parse("p", "[[allow]]\ngroup = \"root\"\npermissions = \"*\"\n").unwrap();
    let identity = Identity(TypedParams::new().with(names::USER_NAME, "root"));
    assert!(policy.holds_any(&identity, ObjectKind::Connect, "getattr"));
    let identity = Identity(TypedParams::new().with(names::USER_NAME, "no such user"));
    assert!(!policy.holds_any(&identity, ObjectKind::Connect, "getattr"));
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, line, what) in [
        ("\n[[allow]\n", 2, ""),
        ("[[allow]]\nuser = \"a\"\n", 1, "permissions"),
        ("[[allow]]\npermissions = \"*\"\n", 1, "names no clients"),
        (
            "\n[[allow]]\nanyone = true\nuser = \"a\"\npermissions = \"*\"\n",
            2,
            "for anyone",
        ),
        (
            "[[allow]]\nuser = \"a\"\npermissions = \"start\"\n",
            3,
            "'start' is no permission",
        ),
        (
            "[[allow]]\nuser = \"a\"\npermissions = \"guest:start\"\n",
            3,
            "there is no object 'guest', expected one of connect, domain",
        ),
        (
            "[[allow]]\nuser = \"a\"\npermissions = [ \"domain:fly\" ]\n",
            3,
            "there is no permission 'fly' on domain, expected one of getattr",
        ),
        (
            "[[allow]]\nuser = \"a\"\npermissions = [ \"connect:read\" ]\ndomain_name = \"x\"\n",
            3,
            "which have no domain_name",
        ),
        (
            "[[allow]]\nuser = \"a\"\npermissions = \"*\"\ncolour = \"red\"\n",
            4,
            "colour",
        ),
        ("[[allow]]\nuser = 5\npermissions = \"*\"\n", 2, ""),
        ("[[deny]]\nuser = \"a\"\n", 1, "deny"),
    ] {
        let error = Policy::parse("policy.toml", text).unwrap_err();
        assert!(
            error.detail().starts_with(&format!("policy.toml:{line}: ")),
            "{error} for {text}"
        );
        assert!(error.detail().contains(what), "{error}");
        assert_eq!(error.code(), ErrorCode::CONF_SYNTAX);
    }
}

#[test]
fn every_attribute_of_objects_can_be_named() {
    use virt_api::access::{AccessObject as _, Secret};
    use virt_util::uuid;
    let secret = Secret {
        uuid: uuid::generate(),
        usage_type: 2,
        usage_id: "x".to_owned(),
    };
    for param in secret.access_attributes(ObjectKind::Secret).unwrap().iter() {
        assert!(attributes_of(ObjectKind::Secret).contains(&param.field.as_str()));
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "(\\[\\[allow\\]\\]|user|permissions|= |\"[*a:d]*\"|\\n|[\\[\\]{},.=#]){0,30}") {
        match Policy::parse("policy.toml", &text) {
            // Nobody is named by such a text, so nobody may do anything.
            Ok(policy) => {
                let nobody = Identity::default();
                prop_assert!(!policy.holds_any(&nobody, ObjectKind::Domain, "start"));
            }
            Err(error) => prop_assert!(error.to_string().contains("policy.toml"), "{}", error),
        }
    }
}
