use super::*;
use crate::registry::job::Asker;
use crate::registry::survival::{Change, Subject};
use crate::registry::{Kind, Life, Purpose, Registry, Snapshot, StatusFolder, Store};
use std::fs;
use std::sync::Arc;

struct PoolKind;

impl Kind for PoolKind {
    type Definition = StoragePool;
    type State = ();
    type Private = ();
    type Key = ();
    type Event = &'static str;
    const NOUN: &'static str = "storage pool";
    const SHORT_NOUN: &'static str = "pool";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_STORAGE_POOL;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::STORAGE;
    const HAS_NEIGHBOUR_RULE: bool = true;

    fn check_neighbour(known: &Snapshot<Self>, new: &StoragePool) -> Result<()> {
        known.life.current().check_neighbour(new)
    }
}

fn pool(kind: &str, name: &str, number: u128, inside: &str) -> Arc<StoragePool> {
    let uuid = Uuid::from_u128(number);
    let text = format!("<pool type='{kind}'><name>{name}</name><uuid>{uuid}</uuid>{inside}</pool>");
    Arc::new(StoragePool::from_disk(&text, Path::new("test.xml")).unwrap())
}

fn folder(name: &str, number: u128, path: &str) -> Arc<StoragePool> {
    pool(
        "dir",
        name,
        number,
        &format!("<target><path>{path}</path></target>"),
    )
}

fn define(registry: &Registry<PoolKind>, pool: &Arc<StoragePool>) -> Result<()> {
    let (object, job) = registry
        .enter(pool, Purpose::Define, &Asker::new("test"), || ((), ()))?
        .commit();
    object.publish(|snapshot| snapshot.life = snapshot.life.defined(Arc::clone(pool)));
    object.events().note("defined");
    drop(job);
    let mut told = 0;
    object.events().tell(|_, _| told += 1);
    assert_eq!(told, 1);
    Ok(())
}

#[test]
fn collisions_have_libvirts_codes() {
    let registry = Registry::<PoolKind>::new();
    define(&registry, &folder("a", 1, "/a")).unwrap();
    for (wrong, text) in [
        (
            folder("b", 1, "/b"),
            "pool 'a' is already defined with uuid 00000000-0000-0000-0000-000000000001",
        ),
        (
            folder("a", 2, "/b"),
            "pool 'a' already exists with uuid 00000000-0000-0000-0000-000000000001",
        ),
        (folder("b", 2, "/a/"), "pool 'a' has this source already"),
    ] {
        let error = define(&registry, &wrong).unwrap_err();
        assert_eq!(
            (error.code(), error.detail()),
            (ErrorCode::OPERATION_FAILED, text)
        );
    }
    // The same pool may be defined again, elsewhere too.
    define(&registry, &folder("a", 1, "/c")).unwrap();
    let error = registry.find_name("b").unwrap_err();
    assert_eq!(
        error.message(),
        "Storage pool not found: no storage pool with matching name 'b'"
    );
    // Running it: a transient one vanishes when it stops.
    let object = registry.find_name("a").unwrap();
    object.publish(|snapshot| snapshot.life = snapshot.life.started(folder("a", 1, "/c")));
    let again = registry.enter(
        &folder("a", 1, "/c"),
        Purpose::Create,
        &Asker::new("test"),
        || ((), ()),
    );
    assert_eq!(again.unwrap_err().code(), ErrorCode::OPERATION_INVALID);
    let transient = Life::Active {
        live: folder("t", 9, "/t"),
        next: None,
    };
    assert!(!transient.is_persistent() && transient.stopped().is_none());
}

#[test]
fn no_two_pools_have_one_source() {
    let device =
        |path: &str| format!("<source><device path='{path}'/></source><target><path>/m</path></target>");
    let host = |name: &str, port: &str, dir: &str| {
        format!(
            "<source><host name='{name}'{port}/><dir path='{dir}'/></source><target><path>/m</path></target>"
        )
    };
    let iscsi = |device: &str, iqn: &str| {
        format!(
            "<source><host name='h'/><device path='{device}'/><initiator><iqn name='{iqn}'/></initiator></source>\
             <target><path>/m</path></target>"
        )
    };
    let adapter = |adapter: &str| format!("<source>{adapter}</source><target><path>/m</path></target>");
    let fc = |parent: &str| {
        adapter(&format!(
            "<adapter type='fc_host'{parent} wwnn='20000000c9831b4b' wwpn='10000000c9831b4b'/>"
        ))
    };
    for (first, second, conflict) in [
        (("fs", device("/dev/sda1")), ("disk", device("/dev/sda1")), true),
        (("fs", device("/dev/sda1")), ("fs", device("/dev/sda2")), false),
        (
            ("netfs", host("a", "", "/x")),
            ("netfs", host("a", "", "/x/")),
            true,
        ),
        (
            ("netfs", host("a", "", "/x")),
            ("netfs", host("b", "", "/x")),
            false,
        ),
        (
            ("netfs", host("a", " port='1'", "/x")),
            ("netfs", host("a", " port='2'", "/x")),
            false,
        ),
        (("iscsi", iscsi("t", "i")), ("iscsi", iscsi("t", "i")), true),
        (("iscsi", iscsi("t", "i")), ("iscsi", iscsi("t", "j")), false),
        (("iscsi", iscsi("t", "i")), ("disk", device("t")), false),
        (
            ("scsi", adapter("<adapter name='host3'/>")),
            ("scsi", adapter("<adapter name='scsi_host3'/>")),
            true,
        ),
        (("scsi", fc("")), ("scsi", fc(" parent='scsi_host5'")), true),
        (
            ("scsi", adapter("<adapter name='host5'/>")),
            ("scsi", fc(" parent='scsi_host5'")),
            true,
        ),
        (
            ("scsi", adapter("<adapter name='host5'/>")),
            ("scsi", fc("")),
            false,
        ),
        (
            ("mpath", "<target><path>/m</path></target>".to_owned()),
            ("mpath", "<target><path>/n</path></target>".to_owned()),
            true,
        ),
    ] {
        let (first, second) = (pool(first.0, "a", 1, &first.1), pool(second.0, "b", 2, &second.1));
        assert_eq!(
            first.check_neighbour(&second).is_err(),
            conflict,
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn files_are_libvirts() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(
        root.path().join("storage"),
        Some(root.path().join("storage/autostart")),
        "pool-edit",
    );
    store.prepare().unwrap();
    let images = folder("images", 3, "/var/lib/libvirt/images");
    store.save(&*images).unwrap();
    store.set_autostart("images", true).unwrap();
    fs::write(root.path().join("storage/notes"), "mine").unwrap();
    let text = fs::read_to_string(root.path().join("storage/images.xml")).unwrap();
    assert!(
        text.contains("  virsh pool-edit images\n") && text.ends_with("</pool>\n"),
        "{text}"
    );
    fs::write(root.path().join("storage/broken.xml"), "<pool type='dir'>").unwrap();
    let loaded = store.load::<StoragePool>().unwrap();
    assert!(loaded.failed.len() == 1 && loaded.loaded.len() == 1);
    let broken = fs::read_to_string(root.path().join("storage/broken.xml")).unwrap();
    assert_eq!(broken, "<pool type='dir'>");
    assert!(loaded.loaded[0].autostart && *loaded.loaded[0].definition == *images);
    let status = StatusFolder::new(root.path().join("run")).with_command("pool-edit");
    status.prepare().unwrap();
    status.save(&*images, &images.format_state()).unwrap();
    let text = fs::read_to_string(root.path().join("run/images.xml")).unwrap();
    assert!(
        text.contains("virsh pool-edit images\n") && text.contains("<poolstate>\n  <pool type='dir'>"),
        "{text}"
    );
    let found = status
        .load(|text, path| StoragePool::parse_state(text, &path.to_string_lossy()))
        .unwrap();
    assert_eq!(found[0].1.as_ref().unwrap().name, "images");
    assert_eq!(
        fs::read_to_string(root.path().join("storage/notes")).unwrap(),
        "mine"
    );
}

fn pools(root: &Path) -> Store {
    let store = Store::new(
        root.join("storage"),
        Some(root.join("storage/autostart")),
        "pool-edit",
    );
    store.prepare().unwrap();
    store
}

/// A stored pool that starts with the host.
fn stored(root: &Path) {
    pools(root).save(&*folder("a", 1, "/old")).unwrap();
    pools(root).set_autostart("a", true).unwrap();
}

pub(in crate::registry) static SUBJECT: Subject = Subject {
    name: "pools",
    contents: |root| {
        let found = pools(root).load::<StoragePool>().unwrap();
        assert!(found.failed.is_empty(), "{:?}", found.failed);
        let line = |one: &crate::registry::Loaded<StoragePool>| {
            format!("{}autostart: {}\n", one.definition.format(), one.autostart)
        };
        found.loaded.iter().map(line).collect()
    },
    sound: |_, _| {},
    changes: &[
        Change {
            name: "define",
            before: stored,
            run: |root| pools(root).save(&*folder("a", 1, "/new")),
        },
        Change {
            name: "undefine",
            before: stored,
            run: |root| pools(root).remove("a").map(|_| ()),
        },
        Change {
            name: "autostart",
            before: stored,
            run: |root| pools(root).set_autostart("a", false),
        },
    ],
};
