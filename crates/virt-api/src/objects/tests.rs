#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::ErrorCode;
use crate::plugin::Entry;
use crate::testkit::SampleDriver;
use std::sync::mpsc;
use std::time::Duration;
use virt_util::types::{
    ConnectListAllDomainsFlags, DomainCreateFlags, DomainDestroyFlags, DomainEventId, DomainEventType,
    DomainState,
};

/// The sample driver under another type is another driver object, so that tests do not see each other's guests.
macro_rules! own_sample {
    ($name:ident) => {
        struct $name;
        impl Entry for $name {
            const NAME: &'static str = SampleDriver::NAME;
            const MANIFEST: &'static str = SampleDriver::MANIFEST;
            fn create() -> Box<dyn crate::driver::Driver> {
                SampleDriver::create()
            }
        }
    };
}

fn open<E: Entry>() -> Connect {
    Connect::builder()
        .built_in::<E>()
        .uri("sample:///default")
        .open()
        .unwrap()
}

fn assert_shared<T: Send + Sync>() {}

#[test]
fn objects_can_be_shared_between_threads() {
    assert_shared::<Connect>();
    assert_shared::<Domain>();
    assert_shared::<Stream>();
    assert_shared::<DomainEvent>();
    assert_shared::<ConnectBuilder>();
}

#[test]
fn a_guest_is_listed_started_and_stopped() {
    own_sample!(Own);
    let connection = open::<Own>();
    assert_eq!(
        connection
            .list_all_domains(ConnectListAllDomainsFlags::empty())
            .unwrap()
            .len(),
        2
    );
    let db = connection.lookup_domain_by_name("db").unwrap();
    assert_eq!(db.id(), None);
    db.create(DomainCreateFlags::empty(), &[]).unwrap();
    assert!(db.id().is_some());
    assert_eq!(db.state().unwrap().0, DomainState::RUNNING);
    // Connections of one process share the driver.
    assert_eq!(
        open::<Own>()
            .list_all_domains(ConnectListAllDomainsFlags::ACTIVE)
            .unwrap()
            .len(),
        2
    );
    db.destroy(DomainDestroyFlags::empty()).unwrap();
    assert_eq!(db.state().unwrap().0, DomainState::SHUTOFF);
}

#[test]
fn a_read_only_connection_changes_nothing() {
    own_sample!(Own);
    let connection = Connect::builder()
        .built_in::<Own>()
        .uri("sample:///default")
        .read_only(true)
        .open()
        .unwrap();
    let web = connection.lookup_domain_by_name("web").unwrap();
    let error = web.destroy(DomainDestroyFlags::empty()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_DENIED);
    assert_eq!(web.state().unwrap().0, DomainState::RUNNING);
}

#[test]
fn events_reach_their_subscriber_until_the_subscription_ends() {
    own_sample!(Own);
    let connection = open::<Own>();
    let (sender, receiver) = mpsc::channel();
    let web = connection.lookup_domain_by_name("web").unwrap();
    let subscription = connection
        .on_domain_event(Some(&web), DomainEventId::LIFECYCLE, move |event| {
            let _ = sender.send((event.domain.name().to_owned(), event.kind.clone()));
        })
        .unwrap();
    web.suspend().unwrap();
    let (name, kind) = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(name, "web");
    assert_eq!(
        kind,
        DomainEventKind::Lifecycle {
            event: DomainEventType::SUSPENDED,
            detail: 0
        }
    );
    // Another guest's events are for others.
    connection
        .lookup_domain_by_name("db")
        .unwrap()
        .create(DomainCreateFlags::empty(), &[])
        .unwrap();
    drop(subscription);
    web.resume().unwrap();
    assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn a_uri_that_nobody_answers_says_so() {
    own_sample!(Own);
    let open = |uri: &str| Connect::builder().built_in::<Own>().uri(uri).open().unwrap_err();
    let error = open("nowhere:///system");
    assert_eq!(error.code(), ErrorCode::NO_CONNECT);
    assert!(
        error.message().contains("no installed driver answers 'nowhere'"),
        "{error}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(
        hint.contains("/virt/drivers") && hint.contains("VIRT_DRIVER_DIR"),
        "{hint}"
    );
    let error = open("nowhere+ssh://host/system");
    assert!(error.message().contains("'remote'"), "{error}");
    assert_eq!(open("sample:///embed").code(), ErrorCode::CONFIG_UNSUPPORTED);
    assert_eq!(
        open("sample:///embed?root=relative").code(),
        ErrorCode::CONFIG_UNSUPPORTED
    );
    assert_eq!(open("sample:///embed?root=/tmp").code(), ErrorCode::NO_CONNECT);
}

#[test]
fn a_driver_that_keeps_state_is_embedded_or_in_a_daemon() {
    struct Keeper;
    impl Entry for Keeper {
        const NAME: &'static str = "keeper";
        const MANIFEST: &'static str = "name = \"keeper\"\nkind = \"hypervisor\"\nrole = \"stateful\"\nschemes = [\"keeper\"]\nabi = \"1.0\"\n";
        fn create() -> Box<dyn crate::driver::Driver> {
            SampleDriver::create()
        }
    }
    let open = |uri: &str| Connect::builder().built_in::<Keeper>().uri(uri).open();
    let error = open("keeper:///system").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_CONNECT);
    assert!(error.message().contains("'virtkeeperd' or 'libvirtd'"), "{error}");
    assert!(
        error.hint().unwrap().contains("keeper:///embed?root=DIR"),
        "{error}"
    );

    let count = |connection: &Connect| {
        connection
            .list_all_domains(ConnectListAllDomainsFlags::ACTIVE)
            .unwrap()
            .len()
    };
    let here = open("keeper:///embed?root=/tmp/here").unwrap();
    here.lookup_domain_by_name("web")
        .unwrap()
        .destroy(DomainDestroyFlags::empty())
        .unwrap();
    assert_eq!(count(&here), 0);
    // The same root is the same driver, another root another one.
    assert_eq!(count(&open("keeper:///embed?root=/tmp/here").unwrap()), 0);
    assert_eq!(count(&open("keeper:///embed?root=/tmp/there").unwrap()), 1);
    assert_eq!(
        open("keeper:///embed?root=/tmp/x&layout=other")
            .unwrap_err()
            .code(),
        ErrorCode::CONFIG_UNSUPPORTED
    );
}
