//! What every call goes through before a driver's method sees it, through the binary interface and with a policy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;
use virt_api::access::{Authorized, Domain, Found, Network, Resolved, Resolver, Unchecked};
use virt_api::call::{CallContext, Caller, OutgoingCall, PROGRAM_REMOTE};
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection;
use virt_api::plugin::{ConnectionHandle, DriverHandle, OpenRequest};
use virt_api::protocol::clients::{QemuClient, RemoteClient};
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_api::testkit::FakeHost;
use virt_api::{ErrorCode, Result, VirtError};
use virt_util::xdr::XdrEncode;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

#[derive(Default)]
struct Counts {
    /// How often a method of the driver ran.
    ran: AtomicUsize,
}

struct Fixture(Arc<Counts>);

impl Driver for Fixture {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Connection(Arc::clone(&self.0))))
    }
}

struct Connection(Arc<Counts>);

impl DriverConnection for Connection {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }

    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(self)
    }
}

impl Connection {
    fn ran(&self) {
        self.0.ran.fetch_add(1, Ordering::Relaxed);
    }
}

fn guest(uuid: Uuid) -> Domain {
    Domain {
        name: if uuid == A { "a" } else { "b" }.to_owned(),
        uuid,
        id: -1,
    }
}

impl Resolver for Connection {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        if key.uuid != A && key.uuid != B {
            return Err(VirtError::new(ErrorCode::NO_DOMAIN, key.uuid));
        }
        Ok(Found::attributes(guest(key.uuid)))
    }
}

impl HypervisorDriver for Connection {
    fn domain_get_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
    ) -> Result<DomainGetInfoReply> {
        self.ran();
        Ok(DomainGetInfoReply {
            memory: if domain.uuid == A { 1 } else { 2 },
            ..DomainGetInfoReply::default()
        })
    }

    fn domain_get_xml_desc(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetXmlDescReply> {
        self.ran();
        Ok(DomainGetXmlDescReply {
            xml: domain.name.clone(),
        })
    }

    fn domain_set_vcpus_flags(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<Domain>,
        _: u32,
        _: u32,
    ) -> Result<()> {
        self.ran();
        Ok(())
    }

    fn domain_send_key(
        &self,
        _: &mut CallContext<'_>,
        _: Resolved<Domain>,
        _: u32,
        _: u32,
        _: Vec<u32>,
        _: u32,
    ) -> Result<()> {
        self.ran();
        Ok(())
    }

    fn connect_list_all_domains(
        &self,
        cx: &mut CallContext<'_>,
        _: i32,
        _: u32,
    ) -> Result<ConnectListAllDomainsReply> {
        self.ran();
        let mut domains = Vec::new();
        for domain in [guest(A), guest(B)] {
            if cx.may_see(&domain)? {
                domains.push(DomainRef::from(domain));
            }
        }
        Ok(ConnectListAllDomainsReply {
            ret: domains.len() as u32,
            domains,
        })
    }

    /// Checks what the XML is about: the name of a guest, or something else, as careless drivers do.
    fn domain_define_xml(
        &self,
        cx: &mut CallContext<'_>,
        _: Unchecked,
        xml: String,
    ) -> Result<Authorized<DomainDefineXmlReply>> {
        let domain = guest(if xml == "a" { A } else { B });
        let permit = if xml == "careless" {
            cx.authorize(&Network {
                name: "default".to_owned(),
                uuid: A,
            })?
        } else {
            cx.authorize(&domain)?
        };
        self.ran();
        Ok(permit.reply(DomainDefineXmlReply {
            domain: domain.into(),
        }))
    }
}

struct NoSink;

impl EventSink for NoSink {
    fn event(&self, _: u32, _: u32, _: &[i32], _: &[u8]) {}
}

struct Session {
    connection: Arc<ConnectionHandle>,
    counts: Arc<Counts>,
}

impl Session {
    /// A connection on which the caller may do what `policy` allows: permission and name of the object.
    fn open(read_only: bool, policy: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        let host = FakeHost::new();
        host.set_policy(move |question| {
            let name = question
                .attributes
                .get_string("domain_name")
                .ok()
                .flatten()
                .unwrap_or("");
            policy(&question.permission, name)
        });
        let counts = Arc::new(Counts::default());
        let driver = Fixture(Arc::clone(&counts));
        let handle = DriverHandle::builtin("fixture", move || Box::new(driver), host).unwrap();
        let request = OpenRequest {
            read_only,
            check_access: true,
            uri: "fixture:///".to_owned(),
            ..OpenRequest::default()
        };
        let connection = handle.open(&request).unwrap();
        connection.set_event_sink(Arc::new(NoSink)).unwrap();
        Self {
            connection: Arc::new(connection),
            counts,
        }
    }

    fn caller(&self) -> &dyn Caller {
        &*self.connection
    }

    fn client(&self) -> RemoteClient<'_> {
        RemoteClient::new(self.caller())
    }

    fn ran(&self) -> usize {
        self.counts.ran.load(Ordering::Relaxed)
    }
}

fn everything(_: &str, _: &str) -> bool {
    true
}

/// Everything, on guest "a" and the connection alone.
fn only_a(_: &str, name: &str) -> bool {
    name != "b"
}

fn named(name: &str, uuid: Uuid) -> DomainRef {
    DomainRef {
        name: name.to_owned(),
        uuid,
        id: -1,
    }
}

#[test]
fn the_object_that_was_found_is_checked_and_not_the_one_that_is_claimed() {
    let session = Session::open(false, only_a);
    assert_eq!(
        session.client().domain_get_info(&named("a", A)).unwrap().memory,
        1
    );
    let error = session.client().domain_get_info(&named("a", B)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ACCESS_DENIED);
    assert_eq!(session.ran(), 1);
}

#[test]
fn an_object_that_is_not_there_is_told_before_the_method() {
    let session = Session::open(false, everything);
    let error = session
        .client()
        .domain_get_info(&named("c", Uuid::from_u128(0xc)))
        .unwrap_err();
    assert_eq!((error.code(), session.ran()), (ErrorCode::NO_DOMAIN, 0));
}

#[test]
fn conditions_of_access_rules_look_at_the_flags() {
    let session = Session::open(false, |permission, _| permission != "domain:read_secure");
    assert_eq!(
        session
            .client()
            .domain_get_xml_desc(&named("a", A), 0)
            .unwrap()
            .xml,
        "a"
    );
    let error = session
        .client()
        .domain_get_xml_desc(&named("a", A), 1)
        .unwrap_err();
    assert_eq!((error.code(), session.ran()), (ErrorCode::ACCESS_DENIED, 1));
}

#[test]
fn read_only_connections_are_refused_writes_and_secrets() {
    let session = Session::open(true, everything);
    let client = session.client();
    assert!(client.domain_get_info(&named("a", A)).is_ok());
    assert!(client.domain_get_xml_desc(&named("a", A), 2).is_ok());
    for flags in [1, 8] {
        let error = client.domain_get_xml_desc(&named("a", A), flags).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OPERATION_DENIED);
    }
    let error = client.domain_set_vcpus_flags(&named("a", A), 1, 0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_DENIED);
    assert!(error.to_string().contains("virDomainSetVcpusFlags"), "{error}");
    assert_eq!(session.ran(), 2);
}

#[test]
fn argument_rules_run_before_the_method() {
    let session = Session::open(false, everything);
    let client = session.client();
    let a = named("a", A);
    let refused = |result: Result<()>, words: &[&str]| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG);
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    };
    refused(
        client.domain_set_vcpus_flags(&a, 0, 0),
        &["nvcpus", "zero", "virDomainSetVcpusFlags"],
    );
    // Guest (8) and config (2) exclude each other; maximum (4) needs config.
    refused(
        client.domain_set_vcpus_flags(&a, 1, 8 | 2),
        &["VIR_DOMAIN_VCPU_GUEST", "VIR_DOMAIN_AFFECT_CONFIG"],
    );
    refused(
        client.domain_set_vcpus_flags(&a, 1, 4),
        &["VIR_DOMAIN_VCPU_MAXIMUM", "needs"],
    );
    refused(client.domain_send_key(&a, 0, 0, &[], 0), &["keycodes", "empty"]);
    refused(client.domain_send_key(&a, 99, 0, &[1], 0), &["codeset"]);
    // More than fits in a message of the network: in process only the rule stands in the way.
    refused(client.domain_send_key(&a, 0, 0, &[1; 17], 0), &["keycodes", "16"]);
    assert_eq!(session.ran(), 0);
    client.domain_set_vcpus_flags(&a, 1, 4 | 2).unwrap();
    client.domain_send_key(&a, 0, 0, &[1; 16], 0).unwrap();
    assert_eq!(session.ran(), 2);
}

#[test]
fn lists_hold_what_the_caller_may_see() {
    let session = Session::open(false, only_a);
    let reply = session.client().connect_list_all_domains(1, 0).unwrap();
    assert_eq!(reply.domains, [named("a", A)]);
    let session = Session::open(false, |permission, _| permission != "connect:search_domains");
    let error = session.client().connect_list_all_domains(1, 0).unwrap_err();
    assert_eq!((error.code(), session.ran()), (ErrorCode::ACCESS_DENIED, 0));
}

#[test]
fn what_only_the_driver_can_read_is_checked_by_it_or_refused() {
    let session = Session::open(false, only_a);
    assert_eq!(session.client().domain_define_xml("a").unwrap().domain.name, "a");
    for xml in ["b", "careless"] {
        let error = session.client().domain_define_xml(xml).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ACCESS_DENIED, "{xml}");
    }
    assert_eq!(session.ran(), 1);
}

#[test]
fn procedures_that_nobody_knows_are_told_in_libvirts_words() {
    let session = Session::open(false, everything);
    // 107 is an event.
    for number in [0, 107, 454, u32::MAX] {
        let call = OutgoingCall::new(PROGRAM_REMOTE, number, Vec::new());
        let error = session.caller().call(call).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RPC, "{number}");
        assert!(error.to_string().starts_with("unknown procedure"), "{error}");
    }
    let error = session.client().domain_reset(&named("a", A), 0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
    assert!(error.to_string().contains("virDomainReset"), "{error}");
    let error = QemuClient::new(session.caller())
        .domain_monitor_command(&named("a", A), "", 0)
        .unwrap_err();
    assert!(
        error.to_string().contains("virDomainQemuMonitorCommand"),
        "{error}"
    );
    // Nobody would ever hear of it.
    let error = QemuClient::new(session.caller())
        .connect_domain_monitor_event_register(None, None, 0)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
}

#[test]
fn damaged_arguments_never_reach_the_method() {
    let session = Session::open(false, everything);
    let args = DomainGetInfoArgs {
        domain: named("a", A),
    }
    .to_xdr()
    .unwrap();
    for cut in 0..args.len() {
        let call = OutgoingCall::new(PROGRAM_REMOTE, procedure::DOMAIN_GET_INFO, args[..cut].to_vec());
        assert_eq!(session.caller().call(call).unwrap_err().code(), ErrorCode::RPC);
    }
    let longer = [&args[..], &[0; 4]].concat();
    let call = OutgoingCall::new(PROGRAM_REMOTE, procedure::DOMAIN_GET_INFO, longer);
    assert!(session.caller().call(call).is_err());
    assert_eq!(session.ran(), 0);
}

#[test]
fn events_are_registered_by_calls_with_their_rules() {
    let session = Session::open(false, everything);
    let client = session.client();
    let id = client
        .connect_domain_event_callback_register_any(0, Some(&named("a", A)))
        .unwrap()
        .callback_id;
    for event in [-1, 28] {
        let error = client
            .connect_domain_event_callback_register_any(event, None)
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    }
    assert!(client.connect_network_event_deregister_any(id).is_err());
    client.connect_domain_event_callback_deregister_any(id).unwrap();
    assert!(client.connect_domain_event_callback_deregister_any(id).is_err());
    assert!(client.connect_domain_event_callback_deregister_any(-1).is_err());
}

#[test]
fn features_of_this_implementation_are_answered_for_every_driver() {
    use virt_api::protocol::features;
    let session = Session::open(false, everything);
    // The fixture says nothing about features.
    for (feature, supported) in [
        (features::FD_PASSING, 1),
        (features::TYPED_PARAM_STRING, 1),
        (features::NETWORK_UPDATE_HAS_CORRECT_ORDER, 1),
        (features::REMOTE, 0),
        (features::PROGRAM_KEEPALIVE, 0),
        (features::REMOTE_EVENT_CALLBACK, 0),
        // Migration of the third kind.
        (6, 0),
        (-1, 0),
    ] {
        let reply = session.client().connect_supports_feature(feature).unwrap();
        assert_eq!(reply.supported, supported, "feature {feature}");
    }
}

#[test]
fn streams_and_descriptors_come_with_the_calls_that_have_them() {
    use std::os::fd::AsFd;
    let session = Session::open(false, everything);
    let client = session.client();
    let a = named("a", A);
    let null = std::fs::File::open("/dev/null").unwrap();
    let error = client.domain_open_graphics(&a, 0, 0, &[]).unwrap_err();
    assert!(error.to_string().contains("file descriptors"), "{error}");
    let error = client
        .domain_open_graphics(&a, 0, 0, &[null.as_fd()])
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
    let error = client
        .domain_open_console(&a, None, 0, virt_api::call::StreamMode::None)
        .unwrap_err();
    assert!(error.to_string().contains("stream"), "{error}");
}
