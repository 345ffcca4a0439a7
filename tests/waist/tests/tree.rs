//! The drivers of the tree, as plugins, keep the rules that all drivers keep.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use virt_api::driver::InitContext;
use virt_api::host::Host;
use virt_api::plugin::Registry;
use virt_api::testkit::{FakeHost, check_driver, plugins};

#[test]
fn the_test_driver() {
    let host = FakeHost::new();
    let registry = Registry::new(
        Arc::clone(&host) as Arc<dyn Host>,
        InitContext::default(),
        &plugins().unwrap().search_path(),
    );
    assert_eq!(registry.problems(), []);
    let driver = registry.driver("test").unwrap();
    assert_eq!(check_driver(&driver, "test:///default"), []);
}

/// Every plugin that is built loads, and says the same as its manifest file.
#[test]
fn all_of_them_load() {
    let registry = Registry::new(
        FakeHost::new(),
        InitContext::default(),
        &plugins().unwrap().search_path(),
    );
    let known = registry.drivers();
    assert!(!known.is_empty());
    for driver in known {
        let name = &driver.manifest.name;
        assert_eq!(registry.driver(name).unwrap().name(), name);
    }
}
