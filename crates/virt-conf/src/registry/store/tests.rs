use super::*;
use crate::registry::survival::{Change, Subject};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
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
    for (path, before) in [("bad", &b"<domain>"[..]), ("latin1", b"<a>\xe4</a>")] {
        assert_eq!(
            fs::read(store.path(path).unwrap()).unwrap(),
            before,
            "it stays as it is"
        );
    }
    assert!(
        result
            .loaded
            .is_sorted_by_key(|loaded| loaded.definition.name.clone())
    );
}

/// All kinds of objects are read by [`read_all`].
#[test]
fn files_are_read_by_several_threads() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let status = StatusFolder::new(root.path().join("run"));
    status.prepare().unwrap();
    for number in 0..200 {
        let demo = demo(&format!("d{number:03}"), "t");
        store.save(&demo).unwrap();
        status.save(&demo, "<domstatus/>\n").unwrap();
    }
    let threads = Mutex::new(HashSet::new());
    let note = || threads.lock().unwrap().insert(thread::current().id());
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let names = |demos: &[Loaded<Demo>]| {
        let names = demos.iter().map(|loaded| loaded.definition.name.clone());
        names.collect::<Vec<_>>()
    };
    let all = store.load_with(|text, path| {
        note();
        Demo::from_disk(text, path)
    });
    let expected: Vec<String> = (0..200).map(|number| format!("d{number:03}")).collect();
    assert_eq!(names(&all.unwrap().loaded), expected);
    assert_eq!(
        std::mem::take(&mut *threads.lock().unwrap()).len() > 1,
        processors > 1
    );
    let all = status.load(|_, _| Ok(note())).unwrap();
    assert!(all.iter().map(|(name, _)| name).eq(&expected));
    assert_eq!(threads.lock().unwrap().len() > 1, processors > 1);
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

/// One definition with both links.
fn linked(root: &Path) {
    let store = store(root);
    store.save(&demo("a", "old")).unwrap();
    store.set_autostart("a", true).unwrap();
    store.set_autostart_once("a", true).unwrap();
}

pub(in crate::registry) static SUBJECT: Subject = Subject {
    name: "store",
    contents: |root| contents(&store(root)).join("\n"),
    sound: |root, left| {
        // A later definition of a name that is free now starts with nobody.
        let store = store(root);
        for name in ["a", "b"] {
            if !left.starts_with(name) {
                store.save(&demo(name, "later")).unwrap();
                let all = contents(&store);
                assert!(all.contains(&format!("{name} later false false")), "{all:?}");
                store.remove(name).unwrap();
            }
        }
    },
    changes: &[
        Change {
            name: "define",
            before: linked,
            run: |root| store(root).save(&demo("a", "new")),
        },
        Change {
            name: "undefine",
            before: linked,
            run: |root| store(root).remove("a").map(|_| ()),
        },
        Change {
            name: "rename",
            before: linked,
            run: |root| store(root).rename("a", &demo("b", "new")),
        },
        Change {
            name: "autostart",
            before: linked,
            run: |root| store(root).set_autostart("a", false),
        },
        Change {
            name: "autostart-on",
            before: |root| store(root).save(&demo("a", "old")).unwrap(),
            run: |root| store(root).set_autostart("a", true),
        },
        Change {
            name: "autostart-once-off",
            before: linked,
            run: |root| store(root).set_autostart_once("a", false),
        },
        Change {
            name: "autostart-once-on",
            before: |root| store(root).save(&demo("a", "old")).unwrap(),
            run: |root| store(root).set_autostart_once("a", true),
        },
    ],
};
