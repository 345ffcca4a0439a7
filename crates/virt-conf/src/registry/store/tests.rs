use super::*;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use virt_util::fail_point::{self, Action};
use virt_util::uuid::Uuid;
use virt_util::xml::identity;

#[derive(Debug, PartialEq)]
struct Demo {
    name: String,
    uuid: Uuid,
    title: String,
}

impl Definition for Demo {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        Some(self.uuid)
    }
}

impl DiskFormat for Demo {
    fn to_disk(&self) -> Result<String> {
        Ok(format!(
            "<domain type='{}'>\n  <name>{}</name>\n  <uuid>{}</uuid>\n</domain>\n",
            self.title, self.name, self.uuid
        ))
    }

    fn from_disk(text: &str, _: &Path) -> Result<Self> {
        let identity = identity(text.as_bytes())?;
        match (identity.name, identity.uuid) {
            (Some(name), Some(uuid)) => Ok(Self {
                name,
                uuid,
                title: identity.kind.unwrap_or_default(),
            }),
            _ => Err(VirtError::new(ErrorCode::XML_ERROR, "no name or uuid")),
        }
    }
}

fn demo(name: &str, title: &str) -> Demo {
    Demo {
        name: name.to_owned(),
        uuid: Uuid::from_u128(7),
        title: title.to_owned(),
    }
}

fn store(root: &Path) -> Store {
    let store = Store::new(root.join("qemu"), Some(root.join("qemu/autostart")), "edit");
    store.prepare().unwrap();
    store
}

/// What is on disk, in one line per definition.
fn contents(store: &Store) -> Vec<String> {
    let result = store.load::<Demo>().unwrap();
    assert!(result.failed.is_empty(), "{:?}", result.failed);
    let line = |loaded: &Loaded<Demo>| {
        let demo = &loaded.definition;
        format!(
            "{} {} {} {}",
            demo.name, demo.title, loaded.autostart, loaded.autostart_once
        )
    };
    result.loaded.iter().map(line).collect()
}

#[test]
fn files_look_as_libvirts() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.save(&demo("web", "a")).unwrap();
    let path = store.path("web").unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE\n\
         OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:\n  virsh edit web\n\
         or other application using the libvirt API.\n-->\n\n<domain type='a'>\n  <name>web</name>\n  \
         <uuid>00000000-0000-0000-0000-000000000007</uuid>\n</domain>\n"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let odd = with_header(&demo("a--b", "t"), "edit", "");
    assert!(odd.contains("virsh edit 00000000-0000-0000-0000-000000000007\n"));
    store.set_autostart("web", true).unwrap();
    let link = root.path().join("qemu/autostart/web.xml");
    assert_eq!(fs::read_link(link).unwrap(), path);
    store.set_autostart_once("web", true).unwrap();
    assert!(root.path().join("qemu/autostart/web.xml.once").exists());
    assert_eq!(contents(&store), ["web a true true"]);
}

#[test]
fn definitions_come_and_go_with_their_links() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.save(&demo("a", "1")).unwrap();
    store.set_autostart("a", true).unwrap();
    store.save(&demo("a", "2")).unwrap();
    store.rename("a", &demo("b", "3")).unwrap();
    assert_eq!(contents(&store), ["b 3 true false"]);
    assert!(store.remove("b").unwrap());
    assert!(!store.remove("b").unwrap());
    store.save(&demo("b", "4")).unwrap();
    assert_eq!(contents(&store), ["b 4 false false"]);
}

#[test]
fn one_bad_file_keeps_no_other_away() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    for number in 0..100 {
        let mut demo = demo(&format!("d{number:03}"), "t");
        demo.uuid = Uuid::from_u128(number);
        store.save(&demo).unwrap();
    }
    fs::write(store.path("bad").unwrap(), "<domain>").unwrap();
    fs::write(store.path("latin1").unwrap(), b"<a>\xe4</a>").unwrap();
    fs::write(root.path().join("qemu/notes.txt"), "x").unwrap();
    let result = store.load::<Demo>().unwrap();
    assert_eq!(result.loaded.len(), 100);
    assert_eq!(result.failed.len(), 2);
    assert!(
        result
            .loaded
            .is_sorted_by_key(|loaded| loaded.definition.name.clone())
    );
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    for name in ["", "../x", "a/b", "a\0b", &"n".repeat(300)] {
        assert!(store.path(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_folder_that_is_missing_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path().join("none"), None, "edit");
    assert!(store.load::<Demo>().unwrap().loaded.is_empty());
    assert!(
        StatusFolder::new(root.path().join("none"))
            .load(|_, _| Ok(()))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn status_files_come_back() {
    let root = tempfile::tempdir().unwrap();
    let status = StatusFolder::new(root.path().join("run"));
    status.prepare().unwrap();
    status.save(&demo("a", "t"), "<domstatus/>\n").unwrap();
    let loaded = status
        .load(|text, _| Ok(text.ends_with("<domstatus/>\n")))
        .unwrap();
    assert!(matches!(loaded.as_slice(), [(name, Ok(true))] if name == "a"));
    assert!(status.remove("a").unwrap());
    assert!(status.load(|_, _| Ok(())).unwrap().is_empty());
}

/// The changes that a kill must not cut in two: a name, what is there before, the change, what is there after.
struct Change {
    name: &'static str,
    before: &'static [&'static str],
    run: fn(&Store) -> Result<()>,
    after: &'static [&'static str],
}

const CHANGES: &[Change] = &[
    Change {
        name: "define",
        before: &["a old true true"],
        run: |store| store.save(&demo("a", "new")),
        after: &["a new true true"],
    },
    Change {
        name: "undefine",
        before: &["a old true true"],
        run: |store| store.remove("a").map(|_| ()),
        after: &[],
    },
    Change {
        name: "rename",
        before: &["a old true true"],
        run: |store| store.rename("a", &demo("b", "new")),
        after: &["b new true true"],
    },
    Change {
        name: "autostart",
        before: &["a old true true"],
        run: |store| store.set_autostart("a", false),
        after: &["a old false true"],
    },
    Change {
        name: "autostart-on",
        before: &["a old false true"],
        run: |store| store.set_autostart("a", true),
        after: &["a old true true"],
    },
];

fn prepare(change: &Change, root: &Path) -> Store {
    let store = store(root);
    store.save(&demo("a", "old")).unwrap();
    store
        .set_autostart("a", change.before[0].contains("old true"))
        .unwrap();
    store.set_autostart_once("a", true).unwrap();
    assert_eq!(contents(&store), change.before);
    store
}

/// The body of the process that is killed: does nothing in an ordinary run of the tests.
#[test]
fn victim() {
    let (Some(root), Ok(name)) = (
        std::env::var_os("STORE_TEST_ROOT"),
        std::env::var("STORE_TEST_CHANGE"),
    ) else {
        return;
    };
    let change = CHANGES.iter().find(|change| change.name == name).unwrap();
    (change.run)(&Store::new(
        Path::new(&root).join("qemu"),
        Some(Path::new(&root).join("qemu/autostart")),
        "edit",
    ))
    .unwrap();
}

#[test]
fn a_kill_at_each_point_leaves_old_or_new() {
    for change in CHANGES {
        let mut kills = 0;
        for point in durable::FAIL_POINTS {
            // A change passes some points several times.
            for pass in 1.. {
                let root = tempfile::tempdir().unwrap();
                let store = prepare(change, root.path());
                let status = Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "registry::store::tests::victim",
                        "--test-threads=1",
                        "--quiet",
                    ])
                    .env("STORE_TEST_ROOT", root.path())
                    .env("STORE_TEST_CHANGE", change.name)
                    .env("VIRT_FAIL_POINT", format!("{}=kill@{pass}", point.name()))
                    .stdout(Stdio::null())
                    .status()
                    .unwrap();
                let left = contents(&store);
                if status.success() {
                    assert_eq!(left, change.after, "{}", change.name);
                    break;
                }
                kills += 1;
                assert!(
                    left == change.before || left == change.after,
                    "{} killed at {} pass {pass}: {left:?}",
                    change.name,
                    point.name()
                );
                // A later definition of a name that is free now starts with nobody.
                for name in ["a", "b"] {
                    if !left.iter().any(|line| line.starts_with(name)) {
                        store.save(&demo(name, "later")).unwrap();
                        let mine = format!("{name} later false false");
                        assert!(
                            contents(&store).contains(&mine),
                            "{} {:?}",
                            change.name,
                            contents(&store)
                        );
                        store.remove(name).unwrap();
                    }
                }
            }
        }
        assert!(kills >= 2, "{} was killed {kills} times only", change.name);
    }
}

#[test]
fn an_error_at_each_point_leaves_old_or_new() {
    for change in CHANGES {
        for point in durable::FAIL_POINTS {
            let root = tempfile::tempdir().unwrap();
            let store = prepare(change, root.path());
            let result = fail_point::with(point.name(), Action::Error, || (change.run)(&store));
            let left = contents(&store);
            let expected = if result.is_ok() {
                left == change.after
            } else {
                left == change.before || left == change.after
            };
            assert!(expected, "{} failing at {}: {left:?}", change.name, point.name());
        }
    }
}
