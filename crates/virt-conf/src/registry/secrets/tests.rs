use super::*;
use crate::registry::job::Asker;
use crate::registry::survival::{Change, Subject};
use crate::registry::{Entered, Kind, Life, Purpose, Registry, Snapshot};
use crate::secret::SecretUsageType;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

struct SecretKind;

impl Kind for SecretKind {
    type Definition = StoredSecret;
    type State = ();
    type Private = ();
    type Key = SecretUsage;
    type Event = ();
    const NOUN: &'static str = "secret";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_SECRET;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::SECRET;

    fn keys(definition: &StoredSecret) -> Vec<SecretUsage> {
        definition.keys()
    }

    fn check_redefinition(known: &Snapshot<Self>, new: &StoredSecret) -> Result<()> {
        known.life.current().check_redefinition(new)
    }

    fn key_taken(known: &Snapshot<Self>, key: &SecretUsage) -> VirtError {
        known.life.current().usage_taken(key)
    }
}

fn secret(number: u128, usage: &str, change: impl FnOnce(&mut Secret)) -> StoredSecret {
    let mut secret = Secret {
        uuid: Some(Uuid::from_u128(number)),
        usage: Some(SecretUsage {
            kind: SecretUsageType::Ceph,
            id: usage.to_owned(),
        }),
        ..Secret::default()
    };
    change(&mut secret);
    StoredSecret::new(secret).unwrap()
}

fn enter<'a>(registry: &'a Registry<SecretKind>, secret: &StoredSecret) -> Result<Entered<'a, SecretKind>> {
    registry.enter(
        &Arc::new(secret.clone()),
        Purpose::Define,
        &Asker::new("test"),
        || ((), ()),
    )
}

fn define(registry: &Registry<SecretKind>, secret: &StoredSecret) -> Result<()> {
    let (object, _job) = enter(registry, secret)?.commit();
    object.publish(|snapshot| snapshot.life = Life::Inactive(Arc::new(secret.clone())));
    Ok(())
}

#[test]
fn secrets_are_found_by_uuid_and_by_usage() {
    let registry = Registry::<SecretKind>::new();
    let first = secret(1, "web", |_| {});
    define(&registry, &first).unwrap();
    let usage = &first.keys()[0];
    assert_eq!(registry.by_key(usage).unwrap().uuid(), Some(Uuid::from_u128(1)));
    let other_kind = SecretUsage {
        kind: SecretUsageType::Tls,
        id: "web".to_owned(),
    };
    assert!(registry.by_key(&other_kind).is_none());
    let error = registry.find_uuid(&Uuid::from_u128(2), None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SECRET);
    registry.remove(&registry.by_key(usage).unwrap());
    assert!(registry.by_key(usage).is_none());
    define(&registry, &secret(2, "web", |_| {})).unwrap();
}

#[test]
fn collisions_have_libvirts_codes_and_texts() {
    let registry = Registry::<SecretKind>::new();
    define(&registry, &secret(1, "web", |secret| secret.private = true)).unwrap();
    for (wrong, text) in [
        (
            secret(2, "web", |_| {}),
            "secret 00000000-0000-0000-0000-000000000001 is for 'web' already",
        ),
        (
            secret(1, "db", |secret| secret.private = true),
            "secret 00000000-0000-0000-0000-000000000001 is for 'web', which stays",
        ),
        (secret(1, "web", |_| {}), "a private secret stays private"),
    ] {
        let error = define(&registry, &wrong).unwrap_err();
        assert_eq!((error.code(), error.detail()), (ErrorCode::INTERNAL_ERROR, text));
    }
    define(
        &registry,
        &secret(1, "web", |secret| {
            (secret.private, secret.ephemeral) = (true, true)
        }),
    )
    .unwrap();
    // An attempt that was given up leaves the usage free.
    drop(enter(&registry, &secret(3, "new", |_| {})).unwrap());
    define(&registry, &secret(4, "new", |_| {})).unwrap();
}

#[test]
fn files_look_as_libvirts() {
    let root = tempfile::tempdir().unwrap();
    let files = SecretFiles::new(root.path().join("secrets"));
    files.prepare().unwrap();
    let mine = secret(7, "web", |_| {});
    files.define(None, &mine, None).unwrap();
    files.set_value(&mine, &SecretValue::new("pass\0word")).unwrap();
    let path = |end: &str| root.path().join("secrets").join(format!("{}{end}", mine.name));
    assert_eq!(
        fs::read_to_string(path(".xml")).unwrap(),
        "<secret ephemeral='no' private='no'>\n  <uuid>00000000-0000-0000-0000-000000000007</uuid>\n  \
         <usage type='ceph'>\n    <name>web</name>\n  </usage>\n</secret>\n"
    );
    assert_eq!(fs::read_to_string(path(".base64")).unwrap(), "cGFzcwB3b3Jk");
    for end in [".xml", ".base64"] {
        assert_eq!(
            fs::metadata(path(end)).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    assert!(!format!("{:?}", files.load().unwrap().loaded[0].1).contains("pass"));
}

#[test]
fn only_what_is_a_secret_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let files = SecretFiles::new(root.path());
    let good = secret(1, "a", |_| {});
    files.define(None, &good, None).unwrap();
    fs::write(root.path().join("notes.txt"), "x").unwrap();
    fs::write(root.path().join("misnamed.xml"), good.to_disk().unwrap()).unwrap();
    fs::write(root.path().join("bad.xml"), "<secret").unwrap();
    fs::write(root.path().join("other.base64"), "eA==").unwrap();
    // Values of other programs: line ends, no padding.
    fs::write(files.value_path(&good), "eH\nl6\n").unwrap();
    let found = files.load().unwrap();
    assert_eq!(found.loaded, [(good.clone(), Some(SecretValue::new("xyz")))]);
    assert_eq!(found.failed.len(), 2);
    files.remove(&good).unwrap();
    let left = fs::read_dir(root.path()).unwrap().count();
    assert_eq!(left, 4);
}

fn persistent() -> StoredSecret {
    secret(1, "a", |_| {})
}

fn described() -> StoredSecret {
    secret(1, "a", |secret| secret.description = Some("new".to_owned()))
}

fn ephemeral() -> StoredSecret {
    secret(1, "a", |secret| secret.ephemeral = true)
}

/// A secret with its value.
fn kept(root: &Path) {
    let files = SecretFiles::new(root);
    files.define(None, &persistent(), None).unwrap();
    files
        .set_value(&persistent(), &SecretValue::new("value"))
        .unwrap();
}

fn contents(files: &SecretFiles) -> String {
    let found = files.load().unwrap();
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    match found.loaded.as_slice() {
        [] => "nothing".to_owned(),
        [(secret, value)] => {
            let value = value
                .as_ref()
                .map_or("no value".into(), |value| String::from_utf8_lossy(value.bytes()));
            format!(
                "{}, {value}",
                secret.secret.description.as_deref().unwrap_or("old")
            )
        }
        more => panic!("{more:?}"),
    }
}

pub(in crate::registry) static SUBJECT: Subject = Subject {
    name: "secrets",
    contents: |root| contents(&SecretFiles::new(root)),
    sound: |root, left| {
        // A later secret has nobody else's value.
        if left == "nothing" {
            let files = SecretFiles::new(root);
            files.define(None, &persistent(), None).unwrap();
            assert_eq!(contents(&files), "old, no value");
        }
    },
    changes: &[
        Change {
            name: "define",
            before: |_| {},
            run: |root| SecretFiles::new(root).define(None, &described(), None),
        },
        Change {
            name: "redefine",
            before: kept,
            run: |root| SecretFiles::new(root).define(Some(&persistent()), &described(), None),
        },
        Change {
            name: "keep",
            before: |_| {},
            run: |root| {
                SecretFiles::new(root).define(
                    Some(&ephemeral()),
                    &described(),
                    Some(&SecretValue::new("value")),
                )
            },
        },
        Change {
            name: "forget",
            before: kept,
            run: |root| {
                SecretFiles::new(root).define(
                    Some(&persistent()),
                    &ephemeral(),
                    Some(&SecretValue::new("value")),
                )
            },
        },
        Change {
            name: "value",
            before: kept,
            run: |root| SecretFiles::new(root).set_value(&persistent(), &SecretValue::new("changed")),
        },
        Change {
            name: "undefine",
            before: kept,
            run: |root| SecretFiles::new(root).remove(&persistent()),
        },
    ],
};
