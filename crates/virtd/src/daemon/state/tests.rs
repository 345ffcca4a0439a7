use proptest::prelude::*;

use super::*;

/// A daemon with one server of each kind of thing.
const WHOLE: &str = r#"{"servers": {"main": {
    "min_workers": 1, "max_workers": 2, "priority_workers": 3, "max_clients": 9, "max_anonymous_clients": 8,
    "keepaliveInterval": 5, "keepaliveCount": 6, "next_client_id": 7,
    "services": [{"auth": 1, "readonly": false, "nrequests_client_max": 4,
        "socks": [{"fd": 10, "errfd": -1, "pid": 0, "isClient": false, "unlinkUNIX": true}]}],
    "clients": [{"id": 3, "auth": 1, "auth_pending": false, "readonly": true, "nrequests_max": 4, "conn_time": 99,
        "sock": {"fd": 11, "errfd": -1, "pid": -1, "isClient": true, "unlinkUNIX": false}, "privateData": {"a": [1.50]}}]
}}}"#;

fn whole() -> Json {
    Json::parse(WHOLE).unwrap()
}

fn read(document: &Json) -> Result<DaemonState> {
    DaemonState::read(document, &["one", "two"], &mut |_| Ok(()))
}

fn message(document: &Json) -> String {
    read(document).unwrap_err().message().to_owned()
}

/// The member at that place of the document; numbers stand for places in lists.
fn at<'j>(json: &'j mut Json, path: &str) -> &'j mut Json {
    let step = |json: &'j mut Json, name: &str| match json {
        Json::Object(members) => members
            .iter_mut()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .unwrap(),
        Json::Array(values) => &mut values[name.parse::<usize>().unwrap()],
        _ => panic!("'{name}' is in nothing"),
    };
    path.split('/').filter(|name| !name.is_empty()).fold(json, step)
}

/// The document without that member.
fn without(path: &str) -> Json {
    let mut document = whole();
    let (parent, name) = path.rsplit_once('/').unwrap();
    at(&mut document, parent).remove(name).unwrap();
    document
}

/// The document with another value for that member.
fn with(path: &str, value: &str) -> Json {
    let mut document = whole();
    *at(&mut document, path) = Json::parse(&format!("{value} ")).unwrap();
    document
}

const SERVER: &str = "/servers/main";
const SERVICE: &str = "/servers/main/services/0";
const SOCKET: &str = "/servers/main/services/0/socks/0";
const CLIENT: &str = "/servers/main/clients/0";

#[test]
fn a_document_is_written_as_it_was_read() {
    assert_eq!(read(&whole()).unwrap().to_json(), whole());
    let empty = Json::parse(r#"{"servers":{}}"#).unwrap();
    assert_eq!(read(&empty).unwrap().to_json(), empty);
}

#[test]
fn what_has_to_be_there_is_missed_by_its_name() {
    for (place, names, kind) in [
        (
            SERVER,
            "min_workers max_workers priority_workers max_clients keepaliveInterval keepaliveCount services clients",
            "data in JSON document",
        ),
        (
            SERVICE,
            "auth readonly nrequests_client_max socks",
            "field in JSON state document",
        ),
        (SOCKET, "fd pid errfd isClient", "data in JSON document"),
        (
            CLIENT,
            "auth readonly sock privateData",
            "field in JSON state document",
        ),
    ] {
        for name in names.split(' ') {
            let wanted = format!("internal error: Missing {name} {kind}");
            let path = format!("{place}/{name}");
            assert_eq!(message(&without(&path)), wanted);
            // A number has to be one. A socket that is a text has nothing, the first thing first.
            if !["services", "clients", "socks", "sock", "privateData"].contains(&name) {
                assert_eq!(message(&with(&path, "\"1\"")), wanted);
            }
        }
    }
    assert_eq!(
        message(&without(&format!("{CLIENT}/nrequests_max"))),
        "internal error: Missing nrequests_client_max field in JSON state document"
    );
    assert_eq!(
        message(&with(&format!("{CLIENT}/sock"), "null")),
        "internal error: Missing fd data in JSON document"
    );
}

#[test]
fn what_may_be_missing_has_a_usual_value() {
    let state = |path: String| read(&without(&path)).unwrap().servers.remove("main").unwrap();
    assert_eq!(
        state(format!("{SERVER}/max_anonymous_clients")).max_anonymous_clients,
        9
    );
    assert_eq!(state(format!("{SERVER}/next_client_id")).next_client_id, 1);
    assert!(state(format!("{SOCKET}/unlinkUNIX")).services[0].socks[0].unlink_unix);
    assert!(
        !state(format!("{CLIENT}/sock/unlinkUNIX")).clients[0]
            .sock
            .unlink_unix
    );
    assert!(state(format!("{CLIENT}/auth_pending")).clients[0].auth_pending);
    assert_eq!(state(format!("{CLIENT}/conn_time")).clients[0].conn_time, 0);
    // Who has no number gets the next one.
    let numbered = state(format!("{CLIENT}/id"));
    assert_eq!((numbered.clients[0].id, numbered.next_client_id), (7, 8));
    // What nobody knows when somebody came is not written.
    let document = without(&format!("{CLIENT}/conn_time"));
    assert_eq!(read(&document).unwrap().to_json(), document);
}

#[test]
fn what_is_optional_may_still_not_be_something_else() {
    for (path, wanted) in [
        (
            format!("{SERVER}/max_anonymous_clients"),
            "Malformed max_anonymous_clients data in JSON document",
        ),
        (format!("{SERVER}/services"), "Malformed services array"),
        (format!("{SERVER}/clients"), "Malformed clients array"),
        (format!("{SERVICE}/socks"), "Malformed socks array"),
        (
            format!("{CLIENT}/auth_pending"),
            "Malformed auth_pending field in JSON state document",
        ),
        (
            format!("{CLIENT}/id"),
            "Malformed id field in JSON state document",
        ),
        (
            format!("{CLIENT}/conn_time"),
            "Malformed conn_time field in JSON state document",
        ),
        ("/servers".to_owned(), "Malformed servers data in JSON document"),
    ] {
        for wrong in ["\"1\"", "1.5", "null"] {
            assert_eq!(
                message(&with(&path, wrong)),
                format!("internal error: {wanted}"),
                "{path} = {wrong}"
            );
        }
    }
    // These two fall back, as in libvirt.
    let odd = read(&with(&format!("{SERVER}/next_client_id"), "\"7\"")).unwrap();
    assert_eq!(odd.servers["main"].next_client_id, 1);
    let odd = read(&with(&format!("{SOCKET}/unlinkUNIX"), "3")).unwrap();
    assert!(odd.servers["main"].services[0].socks[0].unlink_unix);
}

#[test]
fn what_contradicts_itself_is_refused() {
    assert_eq!(
        message(&with(&format!("{SERVER}/max_clients"), "7")),
        "internal error: The overall maximum number of clients must not be less than the number of clients waiting \
         for authentication"
    );
    let combination = "internal error: Invalid auth_pending and auth combination in JSON state document";
    let mut document = with(&format!("{CLIENT}/auth"), "0");
    read(&document).expect("it is known");
    *at(&mut document, &format!("{CLIENT}/auth_pending")) = Json::Bool(true);
    assert_eq!(message(&document), combination);
    let mut document = without(&format!("{CLIENT}/auth_pending"));
    *at(&mut document, &format!("{CLIENT}/auth")) = Json::Number("0".to_owned());
    assert!(!read(&document).unwrap().servers["main"].clients[0].auth_pending);
}

#[test]
fn the_first_fault_is_the_one_that_is_told() {
    let faults = [
        (format!("{SERVER}/max_workers"), "max_workers"),
        (format!("{SERVER}/keepaliveCount"), "keepaliveCount"),
        (format!("{SERVICE}/readonly"), "readonly"),
        (format!("{SOCKET}/pid"), "pid"),
        (format!("{SOCKET}/errfd"), "errfd"),
        (format!("{CLIENT}/auth"), "auth"),
        (format!("{CLIENT}/sock/fd"), "fd"),
        (format!("{CLIENT}/privateData"), "privateData"),
    ];
    // Of two, the earlier one.
    for pair in faults.windows(2) {
        let mut document = whole();
        for (path, _) in pair {
            let (parent, name) = path.rsplit_once('/').unwrap();
            at(&mut document, parent).remove(name).unwrap();
        }
        let told = message(&document);
        assert!(told.contains(&format!("Missing {} ", pair[0].1)), "{told}");
    }
}

#[test]
fn earlier_forms_get_the_names_that_they_have_not() {
    let server = at(&mut whole(), SERVER).clone();
    let alone = read(&server).unwrap();
    assert_eq!(alone.servers.keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(
        DaemonState::read(&server, &[], &mut |_| Ok(()))
            .unwrap_err()
            .message(),
        "internal error: No default server names provided"
    );
    let several = |count| {
        Json::Object(vec![(
            "servers".to_owned(),
            Json::Array(vec![server.clone(); count]),
        )])
    };
    let two = read(&several(2)).unwrap();
    assert_eq!(two.servers.keys().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(
        message(&several(3)),
        "internal error: Server count 3 greater than default name count 2"
    );
    two.server("two").unwrap();
    assert_eq!(
        alone.server("two").unwrap_err().message(),
        "internal error: Server two was not created"
    );
}

#[test]
fn numbers_are_read_as_c_reads_them() {
    let most = |value: &str| {
        let document = with(&format!("{SERVER}/max_clients"), value);
        read(&document).map(|state| state.servers["main"].max_clients)
    };
    assert_eq!(most("-1").unwrap(), u32::MAX);
    assert_eq!(most("4294967295").unwrap(), u32::MAX);
    for wrong in ["4294967296", "9.0", "1e3", "true"] {
        assert!(most(wrong).is_err(), "{wrong}");
    }
    // Fewer are never more than the most.
    let state = read(&with(&format!("{SERVER}/min_workers"), "5")).unwrap();
    assert_eq!(state.servers["main"].min_workers, 2);
}

#[test]
fn each_socket_is_asked_about_in_its_turn() {
    let mut asked = Vec::new();
    let state = DaemonState::read(&whole(), &[], &mut |fd| {
        asked.push(fd);
        Ok(())
    });
    state.unwrap();
    assert_eq!(asked, [10, 11]);
    let mut document = without(&format!("{CLIENT}/privateData"));
    let no_socket = |fd| Err(VirtError::internal(format_args!("{fd} is none")));
    let error = DaemonState::read(&document, &[], &mut |fd| {
        if fd == 11 { no_socket(fd) } else { Ok(()) }
    });
    assert_eq!(error.unwrap_err().detail(), "11 is none");
    // Nothing is asked about what is not understood.
    at(&mut document, SOCKET).remove("isClient").unwrap();
    let error = DaemonState::read(&document, &[], &mut |fd| no_socket(fd));
    assert_eq!(
        error.unwrap_err().detail(),
        "Missing isClient data in JSON document"
    );
}

#[test]
fn what_nobody_knows_is_passed_over_and_what_is_ours_is_kept() {
    let mut document = whole();
    for place in ["", SERVER, SERVICE, SOCKET, CLIENT] {
        at(&mut document, place).append("later", Json::Null).unwrap();
    }
    assert_eq!(read(&document).unwrap().to_json(), whole());
    let mut document = whole();
    let number = Json::Number("12".to_owned());
    document.append("process", number).unwrap();
    let changed = Json::Array(vec![Json::String("max_clients".to_owned())]);
    at(&mut document, SERVER).append("changed", changed).unwrap();
    let name = Json::String("x.socket".to_owned());
    at(&mut document, SERVICE).append("name", name).unwrap();
    assert_eq!(read(&document).unwrap().to_json(), document);
    for path in [
        "/process",
        "/servers/main/changed",
        "/servers/main/services/0/name",
    ] {
        let mut wrong = document.clone();
        *at(&mut wrong, path) = Json::Bool(true);
        assert!(message(&wrong).contains("Malformed "), "{path}");
    }
}

fn sockets() -> impl Strategy<Value = SocketState> {
    any::<(i32, i32, i32, bool, bool)>().prop_map(|(fd, errfd, pid, is_client, unlink_unix)| SocketState {
        fd,
        errfd,
        pid,
        is_client,
        unlink_unix,
    })
}

fn services() -> impl Strategy<Value = ServiceState> {
    let socks = prop::collection::vec(sockets(), 0..3);
    (any::<(i32, bool, u32)>(), socks, any::<Option<String>>()).prop_map(
        |((auth, readonly, nrequests_client_max), socks, name)| ServiceState {
            auth,
            readonly,
            nrequests_client_max,
            socks,
            name,
        },
    )
}

fn clients() -> impl Strategy<Value = ClientState> {
    (
        any::<(u64, i32, bool, bool, u32, i64)>(),
        sockets(),
        any::<String>(),
    )
        .prop_map(
            |((id, auth, pending, readonly, nrequests_max, conn_time), sock, private)| ClientState {
                id,
                auth,
                auth_pending: pending && auth != AUTH_NONE,
                readonly,
                nrequests_max,
                conn_time,
                sock,
                private_data: Json::String(private),
            },
        )
}

fn servers() -> impl Strategy<Value = ServerState> {
    let lists = (
        prop::collection::vec(services(), 0..3),
        prop::collection::vec(clients(), 0..3),
    );
    let changed = any::<Option<Vec<String>>>();
    (any::<([u32; 7], u64)>(), lists, changed).prop_map(
        |(([a, b, c, d, e, f, g], next_client_id), (services, clients), changed)| ServerState {
            min_workers: a.min(b),
            max_workers: a.max(b),
            priority_workers: c,
            max_clients: d.max(e),
            max_anonymous_clients: d.min(e),
            keepalive_interval: f,
            keepalive_count: g,
            next_client_id,
            services,
            clients,
            changed,
        },
    )
}

proptest! {
    #[test]
    fn whatever_a_daemon_is_comes_back(
        servers in prop::collection::btree_map("[a-z \"\\\\\u{e9}]{0,5}", servers(), 0..3),
        process in any::<Option<u32>>(),
    ) {
        let state = DaemonState { servers, process };
        let json = state.to_json();
        for text in [json.to_string(), json.to_pretty_string()] {
            let again = DaemonState::read(&Json::parse(&text).unwrap(), &[], &mut |_| Ok(()));
            prop_assert_eq!(again.unwrap(), state.clone());
        }
    }
}
