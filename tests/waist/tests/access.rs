//! Permissions are about what an object is, not about what a packet says it is.
#![allow(clippy::unwrap_used, reason = "tests")]

use uuid::Uuid;
use virt_api::ErrorCode;
use virt_api::access::ObjectKind;
use virt_api::call::Caller;
use virt_api::call::{Identity, OutgoingCall, PROGRAM_REMOTE};
use virt_api::plugin::{ConnectionHandle, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::procedure;
use virt_api::protocol::table::{self, DriverKind, Kind, Owner, Procedure};
use virt_api::testkit::AccessQuestion;
use virt_api::testkit::arguments::{self, Sample};
use virt_tests_waist::House;
use virt_util::time::Deadline;
use virt_util::typed_param::{TypedParams, TypedValue};

const UUID_A: [u8; 16] = [0xaa; 16];
const UUID_B: [u8; 16] = [0xbb; 16];

/// Everything about A and nothing about B: no attribute may speak of B.
fn only_a(question: &AccessQuestion) -> bool {
    let b = Uuid::from_bytes(UUID_B).to_string();
    question
        .attributes
        .iter()
        .all(|attribute| match &attribute.value {
            TypedValue::String(text) => *text != "B" && *text != b,
            _ => true,
        })
}

fn restricted() -> OpenRequest {
    OpenRequest {
        check_access: true,
        identity: Identity(TypedParams::new().with("user-name", "joe")),
        ..OpenRequest::default()
    }
}

fn open(house: &House, path: &str) -> ConnectionHandle {
    house.open_with("fixture01", path, restricted()).unwrap()
}

/// Procedures that a driver answers and that are about an object.
fn guarded() -> impl Iterator<Item = &'static Procedure> {
    table::programs()
        .flat_map(|program| program.procedures)
        .copied()
        .filter(|procedure| {
            procedure.kind == Kind::Call
                && procedure.owner == Owner::Driver
                && procedure.on != DriverKind::Admin
                && procedure
                    .acl
                    .iter()
                    .any(|rule| rule.permission.object != ObjectKind::Connect)
        })
}

/// `{name A, uuid B}`, and where there is no UUID the name B.
fn lie(procedure: &Procedure) -> Vec<u8> {
    let by_name = procedure.acl.iter().any(|rule| {
        matches!(
            rule.permission.object,
            ObjectKind::Interface
                | ObjectKind::NodeDevice
                | ObjectKind::StorageVol
                | ObjectKind::NwfilterBinding
        )
    });
    let sample = Sample {
        text: if by_name { "B" } else { "A" }.to_owned(),
        uuid: UUID_B,
        id: -1,
    };
    arguments::sample(procedure, &sample).unwrap()
}

#[test]
fn the_name_of_a_with_the_uuid_of_b_is_refused_everywhere() {
    let house = House::with(&["fixture01"]).unwrap();
    house.host.set_policy(only_a);
    let connection = open(&house, "reach");
    let mut count = 0;
    for procedure in guarded() {
        let error = arguments::call(&connection, procedure, lie(procedure), Deadline::NONE)
            .expect_err(procedure.name);
        assert_eq!(
            error.code(),
            ErrorCode::ACCESS_DENIED,
            "{}: {error}",
            procedure.name
        );
        assert!(
            !error.message().contains("reached"),
            "{}: {error}",
            procedure.name
        );
        count += 1;
    }
    assert!(count > 250, "{count} procedures");
}

#[test]
fn the_same_about_a_gets_through() {
    let house = House::with(&["fixture01"]).unwrap();
    house.host.set_policy(only_a);
    let connection = open(&house, "reach");
    let sample = Sample {
        text: "A".to_owned(),
        uuid: UUID_A,
        id: -1,
    };
    for procedure in guarded().filter(|procedure| procedure.object.is_none()) {
        let args = arguments::sample(procedure, &sample).unwrap();
        let error = arguments::call(&connection, procedure, args, Deadline::NONE).unwrap_err();
        assert!(
            error
                .message()
                .ends_with(&format!("reached {}", procedure.method)),
            "{}: {error}",
            procedure.name
        );
    }
}

#[test]
fn the_question_names_what_was_found_and_who_asks() {
    let house = House::with(&["fixture01"]).unwrap();
    let connection = open(&house, "reach");
    let row = table::procedure(PROGRAM_REMOTE, procedure::DOMAIN_DESTROY).unwrap();
    let args = arguments::sample(
        row,
        &Sample {
            text: "A".to_owned(),
            uuid: UUID_B,
            id: 7,
        },
    )
    .unwrap();
    arguments::call(&connection, row, args, Deadline::NONE).unwrap_err();
    let questions = house.host.take_questions();
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert_eq!(questions[0].permission, "domain:stop");
    assert_eq!(
        questions[0].procedure,
        (PROGRAM_REMOTE, procedure::DOMAIN_DESTROY)
    );
    assert_eq!(
        questions[0].attributes,
        TypedParams::new()
            .with("domain_name", "B")
            .with("domain_uuid", Uuid::from_bytes(UUID_B).to_string())
    );
    assert_eq!(questions[0].identity, restricted().identity);
}

/// A driver that takes bytes answers what it likes; without a check nobody gets to see it.
#[test]
fn a_driver_that_forgets_is_refused() {
    let house = House::with(&["fixture01"]).unwrap();
    house.host.set_policy(|_| true);
    let connection = open(&house, "forget");
    for procedure in guarded() {
        let args = arguments::sample(procedure, &Sample::default()).unwrap();
        let error = arguments::call(&connection, procedure, args, Deadline::NONE).expect_err(procedure.name);
        assert_eq!(
            error.code(),
            ErrorCode::ACCESS_DENIED,
            "{}: {error}",
            procedure.name
        );
    }
}

#[test]
fn without_a_policy_nobody_is_asked() {
    let house = House::with(&["fixture01"]).unwrap();
    house.host.set_policy(|_| false);
    let connection = house.open("fixture01", "forget").unwrap();
    let call = OutgoingCall::new(PROGRAM_REMOTE, procedure::CONNECT_GET_TYPE, Vec::new());
    assert_eq!(connection.call(call).unwrap().payload, b"secret");
    assert_eq!(house.host.take_questions(), []);
}

/// Nobody hears of what he may not see.
#[test]
fn events_are_filtered_too() {
    use std::sync::Arc;
    use virt_api::host::OpenedConnection;
    use virt_api::protocol::remote::DomainRef;
    use virt_tests_waist::Keeper;

    let house = House::with(&["fixture01"]).unwrap();
    house.host.set_policy(only_a);
    let connection = open(&house, "work");
    let keeper = Arc::new(Keeper::default());
    connection.set_event_sink(Arc::clone(&keeper) as _).unwrap();
    RemoteClient::new(&connection)
        .connect_domain_event_callback_register_any(0, None)
        .unwrap();
    let owner = house.open("fixture01", "work").unwrap();
    let owner = RemoteClient::new(&owner);
    let domain = |name: &str, uuid| DomainRef {
        name: name.to_owned(),
        uuid: Uuid::from_bytes(uuid),
        id: 1,
    };
    owner.domain_create(&domain("B", UUID_B)).unwrap();
    assert_eq!(keeper.take(), []);
    owner.domain_create(&domain("A", UUID_A)).unwrap();
    assert_eq!(keeper.take().len(), 1);
}
