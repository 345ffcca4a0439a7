use super::*;
use crate::registry::survival::{Change, Subject};
use std::fs;

use super::super::index::{Purpose, Registry};
use super::super::job::Asker;
use crate::domain::normalize::SystemRandomness;

fn filter(name: &str, number: u128, references: &[&str]) -> Filter {
    let references: String = references
        .iter()
        .map(|name| format!("<filterref filter='{name}'/>"))
        .collect();
    let mut filter = Filter::parse(&format!("<filter name='{name}'>{references}</filter>"), "test").unwrap();
    filter.uuid = Some(Uuid::from_u128(number));
    filter
}

fn binding(port: &str, filter: &str) -> FilterBinding {
    FilterBinding::parse(
        &format!(
            "<filterbinding><owner><name>g</name><uuid>00000000-0000-0000-0000-000000000001</uuid></owner>\
             <portdev name='{port}'/><mac address='52:54:00:00:00:01'/><filterref filter='{filter}'/></filterbinding>"
        ),
        "test",
    )
    .unwrap()
}

fn filters(root: &Path) -> FilterFiles {
    let files = FilterFiles::new(root.join("nwfilter"));
    files.prepare().unwrap();
    files
}

fn bindings(root: &Path) -> BindingFiles {
    let files = BindingFiles::new(root.join("nwfilter-binding"));
    files.prepare().unwrap();
    files
}

#[test]
fn filters_come_back_and_get_uuids_once() {
    let root = tempfile::tempdir().unwrap();
    let files = filters(root.path());
    files.store.save(&filter("a", 1, &["b", "c"])).unwrap();
    files.store.save(&filter("b", 2, &[])).unwrap();
    fs::write(root.path().join("nwfilter/plain.xml"), "<filter name='plain'/>").unwrap();
    fs::write(root.path().join("nwfilter/README"), "x").unwrap();
    fs::write(root.path().join("nwfilter/broken.xml"), "<filter name='broken'>").unwrap();
    let once = files.load(&SystemRandomness).unwrap();
    let again = files.load(&SystemRandomness).unwrap();
    for loaded in [&once, &again] {
        let failed: Vec<_> = loaded.failed.iter().map(|(path, _)| path.file_name()).collect();
        assert_eq!(failed, [Some("broken.xml".as_ref())]);
    }
    let kept = |name: &str| fs::read_to_string(root.path().join("nwfilter").join(name)).unwrap();
    assert_eq!(
        (kept("broken.xml").as_str(), kept("README").as_str()),
        ("<filter name='broken'>", "x")
    );
    assert_eq!(once.filters, again.filters);
    assert_eq!(once.filters.len(), 3);
    assert!(once.filters[2].uuid.is_some());
    let text = fs::read_to_string(root.path().join("nwfilter/a.xml")).unwrap();
    assert!(text.contains("  virsh nwfilter-edit a\n"), "{text}");
}

#[test]
fn loops_and_clashes_stay_out() {
    let root = tempfile::tempdir().unwrap();
    let files = filters(root.path());
    files.store.save(&filter("a", 1, &["b"])).unwrap();
    files.store.save(&filter("b", 2, &["c"])).unwrap();
    files.store.save(&filter("c", 3, &["a"])).unwrap();
    files.store.save(&filter("d", 1, &[])).unwrap();
    let loaded = files.load(&SystemRandomness).unwrap();
    let names: Vec<&str> = loaded.filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let texts: Vec<&str> = loaded.failed.iter().map(|(_, error)| error.detail()).collect();
    assert_eq!(
        texts,
        ["filter 'c' refers to itself", "filter 'a' has this UUID already"]
    );
}

#[test]
fn clashes_have_libvirts_codes() {
    let registry = Registry::<FilterKind>::new();
    let enter = |filter: Filter| {
        registry
            .enter(
                &Arc::new(filter),
                Purpose::Define,
                &Asker::new("test"),
                Default::default,
            )
            .map(|entered| entered.commit())
            .map(|_| ())
    };
    enter(filter("a", 1, &[])).unwrap();
    let error = enter(filter("a", 2, &[])).unwrap_err();
    assert_eq!(
        (error.code(), error.domain()),
        (ErrorCode::OPERATION_FAILED, ErrorDomain::NWFILTER)
    );
    assert_eq!(
        error.detail(),
        "filter 'a' already exists with uuid 00000000-0000-0000-0000-000000000001"
    );
    let error = enter(filter("b", 1, &[])).unwrap_err();
    assert_eq!(error.detail(), "filter 'a' has this UUID already");
    let error = registry.find_name("zz").unwrap_err();
    assert_eq!(
        error.message(),
        "Network filter not found: no nwfilter with matching name 'zz'"
    );

    let registry = Registry::<BindingKind>::new();
    let enter = |port: &str| {
        let definition = Arc::new(binding(port, "f"));
        let (object, _job) = registry
            .enter(
                &definition,
                Purpose::Create,
                &Asker::new("test"),
                Default::default,
            )?
            .commit();
        object.publish(|snapshot| {
            snapshot.life = super::super::object::Life::Active {
                live: definition,
                next: None,
            };
        });
        Ok::<_, VirtError>(())
    };
    enter("vnet0").unwrap();
    let error = enter("vnet0").unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
    assert_eq!(error.detail(), "port 'vnet0' has a binding already");
    let error = registry.find_name("vnet1").unwrap_err();
    assert_eq!(
        error.message(),
        "Network filter binding not found: no nwfilter binding for port dev 'vnet1'"
    );
}

#[test]
fn bindings_come_back() {
    let root = tempfile::tempdir().unwrap();
    let files = bindings(root.path());
    files.save(&binding("vnet0", "a")).unwrap();
    files.save(&binding("vnet1", "b")).unwrap();
    fs::write(
        root.path().join("nwfilter-binding/vnet9.xml"),
        FilterBindingStatus {
            binding: binding("vnet0", "a"),
        }
        .format(),
    )
    .unwrap();
    let loaded = files.load().unwrap();
    assert_eq!(loaded[0].1.as_ref().unwrap(), &binding("vnet0", "a"));
    assert!(loaded[2].1.is_err() && root.path().join("nwfilter-binding/vnet9.xml").exists());
    assert!(files.remove("vnet0").unwrap() && !files.remove("vnet0").unwrap());
    let text = fs::read_to_string(root.path().join("nwfilter-binding/vnet1.xml")).unwrap();
    assert!(text.contains("  virsh nwfilter-binding-create vnet1\n"), "{text}");
}

fn contents(root: &Path) -> Vec<String> {
    let stored = filters(root).load(&SystemRandomness).unwrap();
    let bound = bindings(root).load().unwrap();
    assert!(stored.failed.is_empty());
    let filters = stored.filters.iter().map(|filter| filter.format());
    let bindings = bound.into_iter().map(|(_, binding)| binding.unwrap().format());
    filters.chain(bindings).collect()
}

fn prepare(root: &Path) {
    filters(root).store.save(&filter("a", 1, &[])).unwrap();
    bindings(root).save(&binding("vnet0", "a")).unwrap();
}

pub(in crate::registry) static SUBJECT: Subject = Subject {
    name: "filters",
    contents: |root| contents(root).concat(),
    sound: |_, _| {},
    changes: &[
        Change {
            name: "define",
            before: prepare,
            run: |root| filters(root).store.save(&filter("a", 1, &["b"])),
        },
        Change {
            name: "undefine",
            before: prepare,
            run: |root| filters(root).store.remove("a").map(|_| ()),
        },
        Change {
            name: "bind",
            before: prepare,
            run: |root| bindings(root).save(&binding("vnet0", "b")),
        },
        Change {
            name: "unbind",
            before: prepare,
            run: |root| bindings(root).remove("vnet0").map(|_| ()),
        },
    ],
};
