//! Who may call what, through the wire: every procedure in every state of its caller, and every procedure with bytes
//! that no honest client sends. What is expected comes from the description of the protocol alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Client, Daemon, usage};
use proptest::test_runner::{RngAlgorithm, TestRng};
use virt_api::access::*;
use virt_api::call::{PROGRAM_FERROVIRT, PROGRAM_LXC, PROGRAM_QEMU, PROGRAM_REMOTE};
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::protocol::remote::{ConnectOpenArgs, procedure as remote};
use virt_api::protocol::table::{self, Kind, Owner, Procedure, ReadOnly};
use virt_api::protocol::traits::*;
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::{Header, MessageType, PacketWriter, Status};
use virt_api::testkit::Named;
use virt_api::testkit::arguments::{Sample, sample};
use virt_util::xdr::{XdrDecode, XdrEncode};
use virt_util::{ErrorCode, Result};
use virtd::config::Auth;
use virtd::server::Settings;

const URI: &str = "every:///system";
const MINE: u128 = 0x6695_eb01_f6a4_8304_79aa_97f2_502e_0001;
const YOURS: u128 = 0x6695_eb01_f6a4_8304_79aa_97f2_502e_0002;

/// Both objects, of every kind.
const BOTH: Named = Named(&[
    (uuid::Uuid::from_u128(MINE), "mine"),
    (uuid::Uuid::from_u128(YOURS), "yours"),
]);

/// A driver that has an object "mine" and an object "yours" of every kind, and methods that do nothing.
struct Every;

fn every() -> Box<dyn Driver> {
    Box::new(Every)
}

impl Driver for Every {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Every))
    }
}

#[virt_api::implements]
impl HypervisorDriver for Every {}
#[virt_api::implements]
impl NetworkDriver for Every {}
#[virt_api::implements]
impl InterfaceDriver for Every {}
#[virt_api::implements]
impl StorageDriver for Every {}
#[virt_api::implements]
impl NodeDeviceDriver for Every {}
#[virt_api::implements]
impl NwfilterDriver for Every {}
#[virt_api::implements]
impl SecretDriver for Every {}

impl DriverConnection for Every {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }
    fn network(&self) -> Option<&dyn NetworkDriver> {
        Some(self)
    }
    fn interface(&self) -> Option<&dyn InterfaceDriver> {
        Some(self)
    }
    fn storage(&self) -> Option<&dyn StorageDriver> {
        Some(self)
    }
    fn node_device(&self) -> Option<&dyn NodeDeviceDriver> {
        Some(self)
    }
    fn nwfilter(&self) -> Option<&dyn NwfilterDriver> {
        Some(self)
    }
    fn secret(&self) -> Option<&dyn SecretDriver> {
        Some(self)
    }
    fn resolver(&self) -> Option<&dyn Resolver> {
        Some(&BOTH)
    }
}

/// A daemon that lets this process do what the policy says, or everything.
fn daemon(policy: Option<&str>, read_only: bool) -> (tempfile::TempDir, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = String::new();
    if let Some(policy) = policy {
        let path = folder.path().join("policy.toml");
        let uid = nix::unistd::geteuid();
        std::fs::write(&path, policy.replace("WHO", &format!("uid = {uid}"))).unwrap();
        config = format!("policy_file = \"{}\"\n", path.display());
    }
    let daemon = Daemon::configured(
        &config,
        Settings::default(),
        "every",
        every,
        Auth::None,
        read_only,
    );
    (folder, daemon)
}

/// Every call of the programs that drivers serve, but for those that would end the exchange.
fn calls() -> Vec<&'static Procedure> {
    [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC, PROGRAM_FERROVIRT]
        .into_iter()
        .flat_map(table::procedures)
        .copied()
        .filter(|procedure| procedure.kind == Kind::Call && !procedure.before_auth)
        .filter(|procedure| {
            procedure.program != PROGRAM_REMOTE
                || ![
                    remote::CONNECT_OPEN,
                    remote::CONNECT_CLOSE,
                    // Another identity would change what is expected of the calls behind it.
                    remote::CONNECT_SET_IDENTITY,
                ]
                .contains(&procedure.number)
        })
        .collect()
}

/// A client that makes any call.
struct Caller<'a> {
    daemon: &'a Daemon,
    client: Client,
    open: bool,
    serial: u32,
}

impl<'a> Caller<'a> {
    fn new(daemon: &'a Daemon, open: bool) -> Self {
        let client = match open {
            true => daemon.open(URI),
            false => daemon.client(),
        };
        Self {
            daemon,
            client,
            open,
            serial: 1000,
        }
    }

    /// The error of the call; `None` if it succeeded. A connection that the server closed is one with `NO_CONNECT`, and a
    /// new one takes its place.
    fn call(&mut self, procedure: &Procedure, args: &[u8]) -> Option<ErrorCode> {
        self.serial += 1;
        let number = i32::try_from(procedure.number).unwrap();
        let header = Header::call(procedure.program, 1, number, self.serial);
        let count = procedure.fds_in.map_or(0, |fds| fds.min);
        if count == 0 {
            return self.send(&header, &PacketWriter::new(&header).finish_with(args).unwrap());
        }
        let packet = PacketWriter::with_fds(&header, count)
            .unwrap()
            .finish_with(args)
            .unwrap();
        self.client.send(&packet);
        let null = std::fs::File::open("/dev/null").unwrap();
        for _ in 0..count {
            use std::os::fd::AsFd as _;
            virt_util::sys::socket::send_with_fds(&self.client.socket, &[0], &[null.as_fd()]).unwrap();
        }
        self.receive(&header)
    }

    fn send(&mut self, header: &Header, bytes: &[u8]) -> Option<ErrorCode> {
        use std::io::Write as _;
        if self.client.socket.write_all(bytes).is_err() {
            return self.again();
        }
        self.receive(header)
    }

    fn again(&mut self) -> Option<ErrorCode> {
        *self = Self::new(self.daemon, self.open);
        Some(ErrorCode::NO_CONNECT)
    }

    fn receive(&mut self, header: &Header) -> Option<ErrorCode> {
        loop {
            let Some(packet) = self.client.receive() else {
                return self.again();
            };
            let reply = matches!(packet.header.kind, MessageType::Reply | MessageType::ReplyWithFds);
            if !reply || packet.header.serial != header.serial {
                continue;
            }
            return match packet.header.status {
                Status::Ok => None,
                _ => Some(
                    ErrorMessage::from_xdr(&packet.payload)
                        .unwrap()
                        .into_error()
                        .code(),
                ),
            };
        }
    }
}

fn named(name: &str, uuid: u128) -> Sample {
    Sample {
        text: name.to_owned(),
        uuid: *uuid::Uuid::from_u128(uuid).as_bytes(),
        id: 1,
    }
}

/// The permissions that a call with these arguments needs.
fn needed(procedure: &Procedure, args: &[u8]) -> Vec<Permission> {
    procedure
        .acl
        .iter()
        .filter(|rule| {
            let subject = rule
                .when
                .and_then(|when| procedure.args.unwrap().number_of(when.argument, args).unwrap());
            rule.applies(subject)
        })
        .map(|rule| rule.permission)
        .collect()
}

#[test]
fn nobody_calls_before_authentication() {
    let daemon = Daemon::with(Settings::default(), "every", every, Auth::Sasl, false);
    let mut caller = Caller::new(&daemon, false);
    let mut count = 0;
    for procedure in calls() {
        let args = sample(procedure, &named("mine", MINE)).unwrap();
        assert_eq!(
            caller.call(procedure, &args),
            Some(ErrorCode::RPC),
            "{}",
            procedure.name
        );
        count += 1;
    }
    for number in [remote::CONNECT_OPEN, remote::CONNECT_SET_IDENTITY] {
        let procedure = table::procedure(PROGRAM_REMOTE, number).unwrap();
        assert_eq!(
            caller.call(procedure, &[]),
            Some(ErrorCode::RPC),
            "{}",
            procedure.name
        );
    }
    let list = table::procedure(PROGRAM_REMOTE, remote::AUTH_LIST).unwrap();
    assert_eq!(caller.call(list, &[]), None);
    assert!(count > 380, "{count}");
}

/// A reload changes how those prove who they are who come afterwards.
#[test]
fn another_way_to_prove_who_one_is() {
    let daemon = Daemon::with(Settings::default(), "every", every, Auth::None, false);
    let auth_types = |client: &mut Client| {
        let reply = client.call(remote::AUTH_LIST, &[]).unwrap();
        virt_api::protocol::remote::AuthListReply::from_xdr(&reply)
            .unwrap()
            .types
    };
    let mut before = daemon.client();
    assert_eq!(
        auth_types(&mut before),
        [virt_api::protocol::remote::AuthType::NONE]
    );
    daemon.change_auth(Auth::Sasl);
    let mut after = daemon.client();
    assert_eq!(
        auth_types(&mut after),
        [virt_api::protocol::remote::AuthType::SASL]
    );
    assert!(
        after
            .open(URI)
            .unwrap_err()
            .message()
            .contains("authentication required")
    );
    before.open(URI).unwrap();
}

#[test]
fn a_read_only_connection_only_looks() {
    let (_folder, by_socket) = daemon(None, true);
    let (_other, by_flag) = daemon(None, false);
    let mut socket = Caller::new(&by_socket, true);
    let mut flag = Caller::new(&by_flag, false);
    flag.client.call(remote::AUTH_LIST, &[]).unwrap();
    let open = ConnectOpenArgs {
        name: Some(URI.to_owned()),
        flags: 1,
    };
    flag.client
        .call(remote::CONNECT_OPEN, &open.to_xdr().unwrap())
        .unwrap();
    let mut denied = 0;
    for procedure in calls() {
        let args = sample(procedure, &named("mine", MINE)).unwrap();
        let expected = match procedure.read_only {
            ReadOnly::Allow => false,
            ReadOnly::Deny => true,
            ReadOnly::DenyIf(when) => {
                let number = procedure.args.unwrap().number_of(when.argument, &args).unwrap();
                when.holds(number.unwrap())
            }
        };
        for caller in [&mut socket, &mut flag] {
            let found = caller.call(procedure, &args);
            assert_eq!(
                found == Some(ErrorCode::OPERATION_DENIED),
                expected,
                "{} {found:?}",
                procedure.name
            );
        }
        denied += usize::from(expected);
    }
    assert!(denied > 180, "{denied}");
    let args = virt_api::protocol::remote::ConnectSetIdentityArgs::default()
        .to_xdr()
        .unwrap();
    // A proxy of the daemon's own user may act for those who only look: here it only says nothing of them.
    let error = flag.client.call(remote::CONNECT_SET_IDENTITY, &args).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_ARG);
}

/// Whether the call's object is among its arguments, so that it can be denied before the driver does anything.
fn object_in_arguments(procedure: &Procedure) -> bool {
    procedure.object.is_none() && procedure.owner != Owner::Daemon
}

#[test]
fn rights_decide_on_the_object_that_is_meant() {
    const OPEN: &str = "[[allow]]\nWHO\npermissions = \"connect:getattr\"\n";
    let all = "[[allow]]\nWHO\npermissions = \"*\"\n";
    let other = "[[allow]]\nWHO\npermissions = \"connect:*\"\n\
        [[allow]]\nWHO\npermissions = \"domain:*\"\ndomain_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = [ \"network:*\", \"network-port:*\" ]\nnetwork_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = \"interface:*\"\ninterface_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = [ \"storage-pool:*\", \"storage-vol:*\" ]\npool_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = \"node-device:*\"\nnode_device_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = \"nwfilter:*\"\nnwfilter_name = \"yours\"\n\
        [[allow]]\nWHO\npermissions = \"nwfilter-binding:*\"\nnwfilter_binding_portdev = \"yours\"\n\
        [[allow]]\nWHO\npermissions = \"secret:*\"\nsecret_uuid = \"6695eb01-f6a4-8304-79aa-97f2502e0002\"\n";
    let (_f1, nothing) = daemon(Some(OPEN), false);
    let (_f2, yours) = daemon(Some(other), false);
    let (_f3, everything) = daemon(Some(all), false);
    let mut nothing = Caller::new(&nothing, true);
    let mut yours = Caller::new(&yours, true);
    let mut everything = Caller::new(&everything, true);
    let (mut none, mut elsewhere, mut mixed) = (0, 0, 0);
    for procedure in calls() {
        let name = procedure.name;
        let mine = sample(procedure, &named("mine", MINE)).unwrap();
        let needed = needed(procedure, &mine);
        // No rights but to be there.
        let open_only = Permission {
            object: ObjectKind::Connect,
            name: "getattr",
        };
        let expected = needed.iter().any(|permission| *permission != open_only);
        let found = nothing.call(procedure, &mine);
        assert_eq!(
            found == Some(ErrorCode::ACCESS_DENIED),
            expected,
            "{name} {found:?}"
        );
        none += usize::from(expected);
        // All rights.
        let found = everything.call(procedure, &mine);
        assert_ne!(found, Some(ErrorCode::ACCESS_DENIED), "{name}");
        // All rights on other objects.
        let on_object = needed
            .iter()
            .any(|permission| permission.object != ObjectKind::Connect);
        let found = yours.call(procedure, &mine);
        if on_object && object_in_arguments(procedure) {
            assert_eq!(found, Some(ErrorCode::ACCESS_DENIED), "{name}");
            elsewhere += 1;
        } else if on_object {
            // Nobody but the driver knows the object, and this one does nothing.
            assert_ne!(found, None, "{name}");
        } else {
            assert_ne!(found, Some(ErrorCode::ACCESS_DENIED), "{name}");
        }
        // The name of what is allowed with the UUID of what is not, and the other way round: the UUID counts.
        if on_object && object_in_arguments(procedure) && by_uuid(&needed) {
            let claimed = sample(procedure, &named("yours", MINE)).unwrap();
            assert_eq!(
                yours.call(procedure, &claimed),
                Some(ErrorCode::ACCESS_DENIED),
                "{name}"
            );
            let claimed = sample(procedure, &named("mine", YOURS)).unwrap();
            assert_ne!(
                yours.call(procedure, &claimed),
                Some(ErrorCode::ACCESS_DENIED),
                "{name}"
            );
            mixed += 1;
        }
    }
    assert!(
        none > 350 && elsewhere > 200 && mixed > 180,
        "{none} {elsewhere} {mixed}"
    );
}

/// Whether the objects are those that are found by their UUIDs.
fn by_uuid(needed: &[Permission]) -> bool {
    needed.iter().all(|permission| {
        matches!(
            permission.object,
            ObjectKind::Connect
                | ObjectKind::Domain
                | ObjectKind::Network
                | ObjectKind::NetworkPort
                | ObjectKind::StoragePool
                | ObjectKind::Nwfilter
                | ObjectKind::Secret
        )
    })
}

#[test]
fn an_identity_is_said_for_others_only_by_who_may() {
    use virt_util::typed_param::TypedParams;
    let identity = |params: TypedParams| {
        virt_api::protocol::remote::ConnectSetIdentityArgs { params, flags: 0 }
            .to_xdr()
            .unwrap()
    };
    let fred = || {
        TypedParams::new()
            .with("user-name", "fred")
            .with("unix-user-id", 77u64)
    };
    let policy =
        "[[allow]]\nWHO\npermissions = \"*\"\n[[allow]]\nuid = 77\npermissions = \"connect:getattr\"\n";
    let (_f, all) = daemon(Some(policy), false);
    let mut client = all.open(URI);
    let hostname = table::procedure(PROGRAM_REMOTE, remote::CONNECT_GET_CAPABILITIES).unwrap();
    let code = |client: &mut Client| {
        let args = sample(hostname, &Sample::default()).unwrap();
        client.call(hostname.number, &args).unwrap_err().code()
    };
    assert_eq!(code(&mut client), ErrorCode::NO_SUPPORT);
    client
        .call(remote::CONNECT_SET_IDENTITY, &identity(fred()))
        .unwrap();
    assert_eq!(code(&mut client), ErrorCode::ACCESS_DENIED);
    // Whom it acts for may not go on to act for others.
    assert!(
        client
            .call(remote::CONNECT_SET_IDENTITY, &identity(fred()))
            .is_err()
    );
    let (_f, little) = daemon(
        Some("[[allow]]\nWHO\npermissions = [ \"connect:getattr\", \"connect:read\" ]\n"),
        false,
    );
    let mut client = little.open(URI);
    let error = client
        .call(remote::CONNECT_SET_IDENTITY, &identity(fred()))
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::ACCESS_DENIED);
    let (_f, free) = daemon(None, false);
    let mut client = free.open(URI);
    for wrong in [
        TypedParams::new(),
        TypedParams::new().with("colour", "red"),
        TypedParams::new().with("unix-user-id", "0"),
    ] {
        assert!(
            client
                .call(remote::CONNECT_SET_IDENTITY, &identity(wrong))
                .is_err()
        );
    }
    let token = TypedParams::new().with("system.token", "x");
    let allowed = nix::unistd::geteuid().is_root();
    assert_eq!(
        client
            .call(remote::CONNECT_SET_IDENTITY, &identity(token))
            .is_ok(),
        allowed
    );
}

/// All calls, those that open and close too, each with bytes of its own making.
fn each(daemon: &Daemon, open: bool, bytes: &mut dyn FnMut(&Procedure) -> Vec<Vec<u8>>) -> usize {
    let mut caller = Caller::new(daemon, open);
    let mut sent = 0;
    for procedure in [PROGRAM_REMOTE, PROGRAM_QEMU, PROGRAM_LXC, PROGRAM_FERROVIRT]
        .into_iter()
        .flat_map(table::procedures)
    {
        for args in bytes(procedure) {
            let number = i32::try_from(procedure.number).unwrap();
            caller.serial += 1;
            let header = Header::call(procedure.program, 1, number, caller.serial);
            caller.send(&header, &PacketWriter::new(&header).finish_with(&args).unwrap());
            sent += 1;
        }
    }
    sent
}

#[test]
fn hostile_packets_cost_their_sender_and_nobody_else() {
    let (_folder, daemon) = daemon(None, false);
    let mut honest = Caller::new(&daemon, true);
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut round = |open: bool| {
        use proptest::prelude::Rng as _;
        each(&daemon, open, &mut |procedure| {
            let zeros = vec![0; procedure.args.map_or(0, |shape| shape.min_size())];
            let good = sample(procedure, &named("mine", MINE)).unwrap_or_default();
            let mut cut = good.clone();
            cut.truncate(good.len() / 2 / 4 * 4);
            let mut long = good.clone();
            long.extend_from_slice(&[0xff; 64]);
            let mut noise = vec![0; 4 + (random.next_u32() as usize % 200) / 4 * 4];
            random.fill_bytes(&mut noise);
            // Lengths that nobody could hold.
            let huge = vec![0xff; good.len().max(4)];
            let mut damaged = good.clone();
            if !damaged.is_empty() {
                let at = random.next_u32() as usize % damaged.len();
                damaged[at] = random.next_u32() as u8;
            }
            vec![
                zeros,
                cut,
                long,
                noise,
                huge,
                damaged,
                good[..good.len().saturating_sub(1)].to_vec(),
            ]
        })
    };
    round(true);
    round(true);
    let before = usage();
    let sent = round(true) + round(false);
    assert!(sent > 5_000, "{sent}");
    // The honest client has noticed nothing.
    let uri = table::procedure(PROGRAM_REMOTE, remote::CONNECT_GET_TYPE).unwrap();
    assert_eq!(honest.call(uri, &[]), Some(ErrorCode::NO_SUPPORT));
    daemon.eventually("others are forgotten", |server| server.sessions().len() == 1);
    let after = usage();
    assert!(
        after.0 < before.0 + 16 * 1024,
        "memory grew from {before:?} to {after:?}"
    );
    assert!(
        after.1 < before.1 + 20 && after.2 < before.2 + 20,
        "{before:?} {after:?}"
    );
}

#[test]
fn packets_of_other_forms_are_answered_or_end_the_connection() {
    let (_folder, daemon) = daemon(None, false);
    let mut caller = Caller::new(&daemon, true);
    let good = Header::call(PROGRAM_REMOTE, 1, remote::CONNECT_GET_TYPE as i32, 1);
    let forms = [
        Header { program: 0, ..good },
        Header {
            program: u32::MAX,
            ..good
        },
        Header { version: 2, ..good },
        Header { version: 0, ..good },
        Header { procedure: 0, ..good },
        Header {
            procedure: -1,
            ..good
        },
        Header {
            procedure: i32::MAX,
            ..good
        },
        Header {
            status: Status::Error,
            ..good
        },
        // An event, which nobody calls.
        Header {
            procedure: remote::DOMAIN_EVENT_LIFECYCLE as i32,
            ..good
        },
    ];
    for form in forms {
        caller.serial += 1;
        let form = Header {
            serial: caller.serial,
            ..form
        };
        let answer = caller.send(&form, &PacketWriter::new(&form).finish_with(&[]).unwrap());
        assert_ne!(answer, None, "{form:?}");
    }
    // Lengths that are no packet's.
    for length in [0u32, 3, 4, 27, 33_554_437, u32::MAX] {
        let mut client = daemon.client();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 24]);
        client.send(&bytes);
        assert!(client.is_closed(), "{length}");
    }
    // A header of types and states that do not exist.
    for word in 3..6 {
        let mut client = daemon.client();
        let mut bytes = PacketWriter::new(&good).finish_with(&[]).unwrap();
        bytes[4 + word * 4..8 + word * 4].copy_from_slice(&0x7fff_fff0_u32.to_be_bytes());
        client.send(&bytes);
        // Either way it must not hang: the socket has a time limit.
        let _ = client.receive();
    }
    let uri = table::procedure(PROGRAM_REMOTE, remote::CONNECT_GET_TYPE).unwrap();
    assert_eq!(caller.call(uri, &[]), Some(ErrorCode::NO_SUPPORT));
}
