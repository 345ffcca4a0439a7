//! The driver through the waist, as programs meet it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::Arc;

use parking_lot::Mutex;
use virt_api::ErrorCode;
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection;
use virt_api::plugin::{ConnectionHandle, DriverHandle, Entry, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::{DomainEventLifecycleMessage, DomainRef};
use virt_api::testkit::{FakeHost, check_driver};
use virt_driver_test::PluginEntry;
use virt_util::types::{ConnectListAllDomainsFlags as Filter, DomainEventType, DomainState};
use virt_util::xdr::XdrDecode;

fn driver() -> DriverHandle {
    DriverHandle::builtin("test", PluginEntry::create, FakeHost::new()).unwrap()
}

fn open(driver: &DriverHandle, uri: &str) -> virt_api::Result<ConnectionHandle> {
    driver.open(&OpenRequest {
        uri: uri.to_owned(),
        ..OpenRequest::default()
    })
}

/// A host with these guests: name and what stands in `<domain>` beside.
fn host_file(guests: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let domains: String = guests
        .iter()
        .map(|(name, more)| {
            format!(
                "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>\
                 <memory>1024</memory><os><type>hvm</type></os>{more}</domain>"
            )
        })
        .collect();
    let path = folder.path().join("host.xml");
    std::fs::write(&path, format!("<node>{domains}</node>")).unwrap();
    let uri = format!("test://{}", path.display());
    (folder, uri)
}

fn find(client: &RemoteClient<'_>, name: &str) -> DomainRef {
    client.domain_lookup_by_name(name).unwrap().domain
}

fn state(client: &RemoteClient<'_>, domain: &DomainRef) -> (DomainState, i32) {
    let reply = client.domain_get_state(domain, 0).unwrap();
    (DomainState(reply.state), reply.reason)
}

#[test]
fn keeps_the_rules_of_all_drivers() {
    assert_eq!(check_driver(&driver(), "test:///default"), []);
}

#[test]
fn the_default_host_is_libvirts() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    assert_eq!(client.connect_get_type().unwrap().kind, "TEST");
    assert_eq!(client.connect_get_version().unwrap().hv_ver, 2);
    assert_eq!(client.connect_list_domains(16).unwrap().ids, [1]);
    let domain = find(&client, "test");
    assert_eq!(domain.uuid.to_string(), "6695eb01-f6a4-8304-79aa-97f2502e193f");
    let info = client.domain_get_info(&domain).unwrap();
    assert_eq!(
        (info.state, info.max_mem, info.memory, info.nr_virt_cpu),
        (1, 8_388_608, 2_097_152, 2)
    );
    let node = client.node_get_info().unwrap();
    assert_eq!(
        (node.model.as_str(), node.memory, node.cpus),
        ("i686", 3_145_728, 16)
    );
    assert_eq!(client.node_get_cpu_map(1, 1, 0).unwrap().cpumap, [0x15]);
    assert_eq!(
        client.domain_lookup_by_name("nobody").unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );
    assert_eq!(
        client.domain_lookup_by_id(9).unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );
}

#[test]
fn connections_share_the_default_host_as_long_as_one_is_open() {
    let driver = driver();
    let one = open(&driver, "test:///default").unwrap();
    let two = open(&driver, "test:///default").unwrap();
    let domain = find(&RemoteClient::new(&one), "test");
    RemoteClient::new(&one).domain_suspend(&domain).unwrap();
    assert_eq!(state(&RemoteClient::new(&two), &domain).0, DomainState::PAUSED);
    drop((one, two));
    let three = open(&driver, "test:///default").unwrap();
    assert_eq!(state(&RemoteClient::new(&three), &domain).0, DomainState::RUNNING);
}

#[test]
fn bad_uris_are_refused() {
    let driver = driver();
    for (uri, code) in [
        ("test:///", ErrorCode::INVALID_ARG),
        ("test://", ErrorCode::INVALID_ARG),
        ("test:///no/such/file.xml", ErrorCode::XML_ERROR),
    ] {
        assert_eq!(open(&driver, uri).unwrap_err().code(), code, "{uri}");
    }
    let flags = OpenRequest {
        uri: "test:///default".to_owned(),
        flags: 0x80,
        ..OpenRequest::default()
    };
    assert_eq!(driver.open(&flags).unwrap_err().code(), ErrorCode::INVALID_ARG);
}

#[test]
fn a_guests_life_goes_as_with_libvirt() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    let code = |result: virt_api::Result<()>| result.unwrap_err().code();

    assert_eq!(code(client.domain_create(&domain)), ErrorCode::INTERNAL_ERROR);
    assert_eq!(code(client.domain_resume(&domain)), ErrorCode::INTERNAL_ERROR);
    client.domain_suspend(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::PAUSED, 1));
    assert_eq!(code(client.domain_suspend(&domain)), ErrorCode::INTERNAL_ERROR);
    client.domain_resume(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::RUNNING, 5));
    client.domain_reboot(&domain, 0).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::RUNNING, 1));
    client.domain_shutdown(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::SHUTOFF, 1));
    assert_eq!(code(client.domain_destroy(&domain)), ErrorCode::OPERATION_INVALID);
    assert_eq!(code(client.domain_shutdown(&domain)), ErrorCode::INTERNAL_ERROR);
    assert_eq!(
        client.domain_lookup_by_id(1).unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );
    let started = client.domain_create_with_flags(&domain, 0).unwrap().domain;
    assert_eq!((started.id, find(&client, "test").id), (2, 2));
    client.domain_managed_save(&domain, 0).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::SHUTOFF, 5));
    assert_eq!(
        client.domain_has_managed_save_image(&domain, 0).unwrap().result,
        1
    );
    assert_eq!(
        code(client.domain_undefine(&domain)),
        ErrorCode::OPERATION_INVALID
    );
    client.domain_create(&domain).unwrap();
    assert_eq!(
        client.domain_has_managed_save_image(&domain, 0).unwrap().result,
        0
    );
    client.domain_undefine(&domain).unwrap();
    assert_eq!(client.domain_is_persistent(&domain).unwrap().persistent, 0);
    client.domain_destroy(&domain).unwrap();
    assert_eq!(code(client.domain_create(&domain)), ErrorCode::NO_DOMAIN);
}

fn guest_xml(name: &str, uuid: &str, more: &str) -> String {
    format!(
        "<domain type='test'><name>{name}</name>{uuid}<memory>2048</memory><vcpu>4</vcpu>\
         <os><type>hvm</type></os>{more}</domain>"
    )
}

#[test]
fn the_default_guests_xml_is_libvirts() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    // Recorded from libvirt 11.3: virsh -c test:///default dumpxml test
    let recorded = include_str!("default_guest.xml");
    assert_eq!(client.domain_get_xml_desc(&domain, 0).unwrap().xml, recorded);
    let inactive = client.domain_get_xml_desc(&domain, 2).unwrap().xml;
    assert_eq!(inactive, recorded.replace(" id='1'", ""));
}

#[test]
fn definitions_come_change_and_go() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let uuid = "<uuid>11111111-2222-3333-4444-555555555555</uuid>";
    let define = |xml: &str| client.domain_define_xml_flags(xml, 0).map(|reply| reply.domain);
    let code = |result: virt_api::Result<DomainRef>| result.unwrap_err().code();

    let web = define(&guest_xml("web", uuid, "")).unwrap();
    assert_eq!(
        (web.id, client.connect_num_of_defined_domains().unwrap().num),
        (-1, 1)
    );
    assert_eq!(
        code(define(&guest_xml("web", "", ""))),
        ErrorCode::OPERATION_FAILED
    );
    assert_eq!(
        code(define(&guest_xml("other", uuid, ""))),
        ErrorCode::OPERATION_FAILED
    );
    assert_eq!(code(define(&guest_xml("a/b", "", ""))), ErrorCode::XML_ERROR);
    assert_eq!(code(define("<domain>")), ErrorCode::XML_DETAIL);
    assert_eq!(code(define("<pool/>")), ErrorCode::XML_ERROR);
    assert_eq!(
        code(define("<domain type='odd'><name>a</name></domain>")),
        ErrorCode::CONFIG_UNSUPPORTED
    );
    assert_eq!(code(define("<domain type='test'/>")), ErrorCode::NO_NAME);
    let strict = client.domain_define_xml_flags(&guest_xml("web", uuid, "<clock odd='x'/>"), 1);
    assert_eq!(strict.unwrap_err().code(), ErrorCode::XML_INVALID_SCHEMA);

    // Redefining a guest that runs changes its next start only.
    client.domain_create(&web).unwrap();
    define(&guest_xml("web", uuid, "<title>next</title>")).unwrap();
    let title = |flags| {
        client
            .domain_get_metadata(&web, 1, None, flags)
            .map(|reply| reply.metadata)
    };
    assert_eq!(title(1).unwrap_err().code(), ErrorCode::NO_DOMAIN_METADATA);
    assert_eq!(title(2).unwrap(), "next");
    assert!(
        client
            .domain_get_xml_desc(&web, 2)
            .unwrap()
            .xml
            .contains("<title>next</title>")
    );

    // A transient guest becomes persistent by being defined, and is gone when it stops otherwise.
    let created = client
        .domain_create_xml(&guest_xml("brief", "", ""), 0)
        .unwrap()
        .domain;
    assert!(created.id > 0);
    assert_eq!(client.domain_is_persistent(&created).unwrap().persistent, 0);
    let again = client.domain_create_xml(&guest_xml("web", uuid, ""), 0);
    assert_eq!(again.unwrap_err().code(), ErrorCode::OPERATION_INVALID);
    client.domain_destroy(&created).unwrap();
    assert_eq!(
        client.domain_lookup_by_name("brief").unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );

    // Creating a guest that is stored and off runs the new definition and keeps the stored one.
    client.domain_destroy(&web).unwrap();
    client
        .domain_create_xml(&guest_xml("web", uuid, "<title>once</title>"), 0)
        .unwrap();
    assert_eq!(
        (title(1).unwrap().as_str(), title(2).unwrap().as_str()),
        ("once", "next")
    );
    client.domain_destroy(&web).unwrap();
    assert_eq!(title(0).unwrap(), "next");
}

#[test]
fn guests_that_are_off_can_be_renamed() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    let rename = |name: &str| client.domain_rename(&domain, Some(name), 0).map(|_| ());
    assert_eq!(rename("x").unwrap_err().code(), ErrorCode::OPERATION_INVALID);
    client.domain_destroy(&domain).unwrap();
    assert_eq!(rename("test").unwrap_err().code(), ErrorCode::OPERATION_INVALID);
    assert_eq!(rename("a/b").unwrap_err().code(), ErrorCode::XML_ERROR);
    rename("x").unwrap();
    assert_eq!(find(&client, "x").uuid, domain.uuid);
    assert_eq!(
        client.domain_lookup_by_name("test").unwrap_err().code(),
        ErrorCode::NO_DOMAIN
    );
}

#[test]
fn settings_meet_the_definitions_that_flags_say() {
    const LIVE: u32 = 1;
    const CONFIG: u32 = 2;
    const MAXIMUM: u32 = 4;
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    let vcpus = |flags| client.domain_get_vcpus_flags(&domain, flags).unwrap().num;

    client.domain_set_vcpus_flags(&domain, 1, LIVE | CONFIG).unwrap();
    assert_eq!((vcpus(LIVE), vcpus(CONFIG), vcpus(LIVE | MAXIMUM)), (1, 1, 2));
    assert!(client.domain_set_vcpus_flags(&domain, 3, LIVE).is_err());
    client
        .domain_set_vcpus_flags(&domain, 8, CONFIG | MAXIMUM)
        .unwrap();
    assert_eq!(
        (vcpus(LIVE | MAXIMUM), vcpus(CONFIG | MAXIMUM), vcpus(CONFIG)),
        (2, 8, 1)
    );
    assert!(
        client
            .domain_set_vcpus_flags(&domain, 33, CONFIG | MAXIMUM)
            .is_err()
    );

    client.domain_set_memory(&domain, 1024).unwrap();
    assert_eq!(client.domain_get_info(&domain).unwrap().memory, 1024);
    let too_much = client.domain_set_memory(&domain, 99_999_999).unwrap_err();
    assert_eq!(too_much.code(), ErrorCode::INVALID_ARG);
    let live_maximum = client.domain_set_max_memory(&domain, 4096).unwrap_err();
    assert_eq!(live_maximum.code(), ErrorCode::OPERATION_INVALID);

    // Reboot leads where the definition says.
    client.domain_set_lifecycle_action(&domain, 1, 0, LIVE).unwrap();
    client.domain_reboot(&domain, 0).unwrap();
    assert_eq!(state(&client, &domain).0, DomainState::SHUTOFF);
    assert_eq!(client.domain_get_info(&domain).unwrap().memory, 2_097_152);
    client.domain_set_max_memory(&domain, 4096).unwrap();
    assert_eq!(client.domain_get_info(&domain).unwrap().memory, 4096);
}

#[test]
fn metadata_is_told_and_kept() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    let set = |text: Option<&str>, flags| {
        client.domain_set_metadata(&domain, 2, text, Some("app"), Some("http://app"), flags)
    };
    set(Some("<a b='c'><d/></a>"), 3).unwrap();
    let xml = client.domain_get_xml_desc(&domain, 0).unwrap().xml;
    assert!(xml.contains("<app:a xmlns:app=\"http://app\" b=\"c\">"), "{xml}");
    let piece = client
        .domain_get_metadata(&domain, 2, Some("http://app"), 0)
        .unwrap()
        .metadata;
    assert!(piece.starts_with("<a b="), "{piece}");
    set(None, 1).unwrap();
    let missing = client
        .domain_get_metadata(&domain, 2, Some("http://app"), 1)
        .unwrap_err();
    assert_eq!(missing.code(), ErrorCode::NO_DOMAIN_METADATA);
    assert!(
        client
            .domain_get_metadata(&domain, 2, Some("http://app"), 2)
            .is_ok()
    );
    assert!(set(Some("<not"), 1).is_err());
}

#[test]
fn lists_take_all_filters() {
    let (_folder, uri) = host_file(&[
        ("run", ""),
        ("off", "<test:runstate>5</test:runstate>"),
        ("saved", "<test:runstate>5</test:runstate><test:hasmanagedsave/>"),
        ("paused", "<test:runstate>3</test:runstate><test:transient/>"),
        ("crashed", "<test:runstate>6</test:runstate>"),
    ]);
    let driver = driver();
    let connection = open(&driver, &uri).unwrap();
    let client = RemoteClient::new(&connection);
    client.domain_set_autostart(&find(&client, "off"), 1).unwrap();
    let list = |filter: Filter| {
        let reply = client.connect_list_all_domains(1, filter.bits()).unwrap();
        let names: Vec<_> = reply.domains.iter().map(|domain| domain.name.clone()).collect();
        assert_eq!(reply.ret as usize, names.len());
        names.join(" ")
    };
    for (filter, names) in [
        (Filter::empty(), "run off saved paused crashed"),
        (Filter::ACTIVE, "run paused crashed"),
        (Filter::ACTIVE | Filter::INACTIVE, "run off saved paused crashed"),
        (Filter::TRANSIENT, "paused"),
        (Filter::PERSISTENT | Filter::ACTIVE, "run crashed"),
        (Filter::RUNNING | Filter::PAUSED, "run paused"),
        (Filter::SHUTOFF, "off saved"),
        (Filter::OTHER, "crashed"),
        (Filter::MANAGEDSAVE, "saved"),
        (Filter::INACTIVE | Filter::NO_MANAGEDSAVE, "off"),
        (Filter::AUTOSTART, "off"),
        (Filter::HAS_SNAPSHOT, ""),
        (Filter::NO_CHECKPOINT | Filter::RUNNING, "run"),
    ] {
        assert_eq!(list(filter), names, "{filter:?}");
    }
    assert_eq!(client.connect_list_all_domains(0, 0).unwrap().ret, 5);
    let error = client.connect_list_all_domains(1, 1 << 30).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    assert_eq!(
        client.connect_list_defined_domains(10).unwrap().names,
        ["off", "saved"]
    );
    assert_eq!(client.connect_num_of_domains().unwrap().num, 3);
}

#[derive(Default)]
struct Seen(Mutex<Vec<(DomainEventType, i32, i32)>>);

impl EventSink for Seen {
    fn event(&self, _: u32, _: u32, _: &[i32], payload: &[u8]) {
        let message = DomainEventLifecycleMessage::from_xdr(payload).unwrap();
        self.0
            .lock()
            .push((DomainEventType(message.event), message.detail, message.domain.id));
    }
}

#[test]
fn events_tell_what_happened_in_order() {
    let driver = driver();
    let connection = open(&driver, "test:///default").unwrap();
    let seen = Arc::new(Seen::default());
    connection
        .set_event_sink(Arc::clone(&seen) as Arc<dyn EventSink>)
        .unwrap();
    let client = RemoteClient::new(&connection);
    let domain = find(&client, "test");
    client.domain_suspend(&domain).unwrap();
    client
        .connect_domain_event_callback_register_any(0, None)
        .unwrap();
    client.domain_resume(&domain).unwrap();
    client.domain_destroy(&domain).unwrap();
    client.domain_create(&domain).unwrap();
    client.domain_undefine(&domain).unwrap();
    client.domain_shutdown(&domain).unwrap();
    assert_eq!(
        *seen.0.lock(),
        [
            (DomainEventType::RESUMED, 0, 1),
            (DomainEventType::STOPPED, 1, -1),
            (DomainEventType::STARTED, 0, 2),
            (DomainEventType::UNDEFINED, 0, 2),
            (DomainEventType::STOPPED, 0, -1),
        ]
    );
}

#[test]
fn users_of_a_host_file_must_prove_themselves() {
    use virt_api::host::{CredentialRequest, CredentialSource};
    struct Answers(&'static str, &'static str);
    impl CredentialSource for Answers {
        fn kinds(&self) -> Vec<u32> {
            vec![1, 5]
        }
        fn request(&self, questions: &[CredentialRequest]) -> virt_api::Result<Vec<String>> {
            let answer = |question: &CredentialRequest| if question.kind == 1 { self.0 } else { self.1 };
            Ok(questions
                .iter()
                .map(|question| answer(question).to_owned())
                .collect())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.xml");
    std::fs::write(
        &path,
        "<node><auth><user password='p'>a</user><user>b</user></auth></node>",
    )
    .unwrap();
    let driver = driver();
    let open = |credentials: Option<Answers>| {
        driver.open(&OpenRequest {
            uri: format!("test://{}", path.display()),
            credentials: credentials.map(|answers| Arc::new(answers) as Arc<dyn CredentialSource>),
            ..OpenRequest::default()
        })
    };
    assert!(open(Some(Answers("a", "p"))).is_ok());
    assert!(open(Some(Answers("b", ""))).is_ok());
    for refused in [None, Some(Answers("a", "x")), Some(Answers("c", "p"))] {
        assert_eq!(open(refused).unwrap_err().code(), ErrorCode::AUTH_FAILED);
    }
}

#[test]
fn ten_thousand_guests_are_found_as_fast_as_ten() {
    let names: Vec<String> = (0..10_000).map(|number| format!("guest{number}")).collect();
    let guests: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let (_folder, uri) = host_file(&guests);
    let driver = driver();
    let connection = open(&driver, &uri).unwrap();
    let client = RemoteClient::new(&connection);
    assert_eq!(
        client.connect_list_all_domains(1, 0).unwrap().domains.len(),
        10_000
    );
    let start = std::time::Instant::now();
    for id in 1..=10_000 {
        client.domain_lookup_by_id(id).unwrap();
    }
    // A walk through all guests for each would take minutes.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
