//! Our codecs, packets and tables against stock libvirtd with its test driver: what we send is understood, what it
//! answers is read to the last byte and within the limits, and it refuses what our tables refuse.
//!
//! The daemon is the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use virt_api::call::{CallReply, Caller, OutgoingCall, PROGRAM_QEMU, PROGRAM_REMOTE, StreamMode};
use virt_api::need;
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::*;
use virt_api::protocol::shape::Shape;
use virt_api::protocol::table::{self, Kind, Owner, Procedure, ReadOnly, Rule};
use virt_api::rpc::error::ErrorMessage;
use virt_api::rpc::stream::StreamPacket;
use virt_api::rpc::{Header, MessageType, Packet, PacketReader, PacketWriter, Status, keepalive};
use virt_api::testkit::stock::Stock;
use virt_api::{ErrorCode, Result, VirtError};
use virt_util::typed_param::{TypedParam, TypedValue};
use virt_util::xdr::{XdrDecode, XdrEncode, XdrEncoder};

struct Daemon(Stock);

impl Daemon {
    fn start() -> Self {
        Self(Stock::plain())
    }

    fn connect(&self) -> Peer {
        let until = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(self.0.room().socket()) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => panic!("libvirtd does not answer: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Peer(Mutex::new(Socket {
            stream,
            reader: PacketReader::new(),
            bytes: Vec::new(),
            serial: 0,
            others: Vec::new(),
        }))
    }

    /// A connection to the test driver.
    fn open(&self, flags: u32) -> Peer {
        let peer = self.connect();
        let client = RemoteClient::new(&peer);
        assert_eq!(client.auth_list().unwrap().types, [AuthType::NONE]);
        client.connect_open(Some("test:///default"), flags).unwrap();
        peer
    }
}

/// One client's socket. Every message is held against its limits on the way.
struct Peer(Mutex<Socket>);

struct Socket {
    stream: UnixStream,
    reader: PacketReader,
    bytes: Vec<u8>,
    serial: u32,
    /// Packets that answered no call: events, streams, keepalive.
    others: Vec<Packet>,
}

impl Socket {
    fn receive(&mut self) -> Packet {
        loop {
            let mut input = &self.bytes[..];
            let packet = self.reader.feed(&mut input).unwrap();
            let left = input.len();
            self.bytes.drain(..self.bytes.len() - left);
            if let Some(packet) = packet {
                return packet;
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).expect("the daemon answers in time");
            assert!(length > 0, "the daemon closed the connection");
            self.bytes.extend_from_slice(&buffer[..length]);
        }
    }

    fn call(&mut self, call: &OutgoingCall<'_>) -> Result<CallReply> {
        self.serial += 1;
        let header = Header::call(call.program, 1, call.procedure as i32, self.serial);
        let bytes = PacketWriter::new(&header).finish_with(&call.args)?;
        self.stream.write_all(&bytes).unwrap();
        loop {
            let packet = self.receive();
            if packet.header.kind != MessageType::Reply || !packet.header.same_call(&header) {
                self.others.push(packet);
                continue;
            }
            if packet.header.status == Status::Error {
                return Err(ErrorMessage::from_xdr(&packet.payload)?.into_error());
            }
            if let Some(procedure) = table::procedure(call.program, call.procedure) {
                procedure
                    .check_reply(&packet.payload)
                    .unwrap_or_else(|error| panic!("answer of {}: {error}", procedure.name));
            }
            return Ok(CallReply {
                payload: packet.payload,
                ..CallReply::default()
            });
        }
    }

    /// The next packet that answers no call.
    fn other(&mut self) -> Packet {
        if self.others.is_empty() {
            return self.receive();
        }
        self.others.remove(0)
    }
}

impl Caller for Peer {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        self.0.lock().unwrap().call(&call)
    }
}

fn value<'a>(params: &'a virt_util::typed_param::TypedParams, name: &str) -> &'a TypedValue {
    params
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {params:?}"))
}

#[test]
fn what_stock_answers_is_understood() {
    need!(program "libvirtd");
    let daemon = Daemon::start();
    let peer = daemon.open(0);
    let client = RemoteClient::new(&peer);

    assert_eq!(client.connect_get_type().unwrap().kind, "TEST");
    assert!(client.connect_get_lib_version().unwrap().lib_ver >= 9_000_000);
    assert_eq!(client.connect_get_uri().unwrap().uri, "test:///default");
    assert!(
        client
            .connect_get_capabilities()
            .unwrap()
            .capabilities
            .contains("<capabilities>")
    );
    let node = client.node_get_info().unwrap();
    assert_eq!((node.model.as_str(), node.cpus, node.nodes), ("i686", 16, 2));
    assert_eq!(client.node_get_cells_free_memory(0, 2).unwrap().cells.len(), 2);
    let map = client.node_get_cpu_map(1, 1, 0).unwrap();
    assert!(!map.cpumap.is_empty() && map.online > 0);

    let list = client.connect_list_all_domains(1, 0).unwrap();
    let [test] = &list.domains[..] else {
        panic!("one guest: {list:?}")
    };
    assert_eq!((test.name.as_str(), test.id, list.ret), ("test", 1, 1));
    assert_eq!(&client.domain_lookup_by_uuid(test.uuid).unwrap().domain, test);
    assert_eq!(&client.domain_lookup_by_id(1).unwrap().domain, test);
    let info = client.domain_get_info(test).unwrap();
    assert_eq!((info.state, info.max_mem, info.nr_virt_cpu), (1, 8_388_608, 2));
    assert_eq!(client.domain_get_state(test, 0).unwrap().state, 1);
    assert!(
        client
            .domain_get_xml_desc(test, 0)
            .unwrap()
            .xml
            .starts_with("<domain type='test'")
    );
    let vcpus = client.domain_get_vcpus(test, 2, 2).unwrap();
    assert_eq!((vcpus.info.len(), vcpus.cpumaps.len()), (2, 4));
    let scheduler = client.domain_get_scheduler_type(test).unwrap();
    assert_eq!(scheduler.kind, "fair");
    let params = client
        .domain_get_scheduler_parameters(test, scheduler.nparams)
        .unwrap()
        .params;
    assert_eq!(value(&params, "weight"), &TypedValue::UInt(50));
    let stats = client.connect_get_all_domain_stats(&[], 0, 0).unwrap().ret_stats;
    assert_eq!(value(&stats[0].params, "state.state"), &TypedValue::Int(1));

    client
        .domain_set_metadata(test, 1, Some("a title: é"), None, None, 0)
        .unwrap();
    assert_eq!(
        client.domain_get_metadata(test, 1, None, 0).unwrap().metadata,
        "a title: é"
    );
    let snapshot = client
        .domain_snapshot_create_xml(test, "<domainsnapshot><name>one</name></domainsnapshot>", 0)
        .unwrap()
        .snapshot;
    assert_eq!((snapshot.name.as_str(), &snapshot.domain), ("one", test));
    assert_eq!(
        client.domain_list_all_snapshots(test, 1, 0).unwrap().snapshots,
        [snapshot]
    );

    let network = &client.connect_list_all_networks(1, 0).unwrap().networks[0];
    assert_eq!(client.network_get_bridge_name(network).unwrap().name, "virbr0");
    let pool = &client.connect_list_all_storage_pools(1, 0).unwrap().pools[0];
    assert_eq!(client.storage_pool_get_info(pool).unwrap().state, 2);
    let xml = "<volume><name>v</name><capacity>1048576</capacity></volume>";
    let volume = client.storage_vol_create_xml(pool, xml, 0).unwrap().volume;
    assert_eq!(
        (volume.pool.as_str(), volume.name.as_str()),
        (pool.name.as_str(), "v")
    );
    assert_eq!(client.storage_vol_get_info(&volume).unwrap().capacity, 1_048_576);
    let interface = &client.connect_list_all_interfaces(1, 0).unwrap().interfaces[0];
    assert_eq!(
        (interface.name.as_str(), interface.mac.as_str()),
        ("eth1", "aa:bb:cc:dd:ee:ff")
    );
    let computer = NodeDeviceRef {
        name: "computer".to_owned(),
    };
    assert!(
        client
            .node_device_get_xml_desc(&computer, 0)
            .unwrap()
            .xml
            .contains("computer")
    );

    let error = client.domain_lookup_by_name("nobody").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_DOMAIN);
    assert!(error.to_string().starts_with("Domain not found"), "{error}");
    let call = OutgoingCall::new(PROGRAM_REMOTE, 9_999, Vec::new());
    let error = peer.call(call).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
}

#[test]
fn events_streams_and_keepalive_are_understood() {
    need!(program "libvirtd");
    let daemon = Daemon::start();
    let peer = daemon.open(0);
    let client = RemoteClient::new(&peer);
    let test = client.domain_lookup_by_name("test").unwrap().domain;

    let id = client
        .connect_domain_event_callback_register_any(0, Some(&test))
        .unwrap()
        .callback_id;
    client.domain_suspend(&test).unwrap();
    let event = peer.0.lock().unwrap().other();
    assert_eq!(
        event.header.procedure as u32,
        procedure::DOMAIN_EVENT_CALLBACK_LIFECYCLE
    );
    let event = DomainEventCallbackLifecycleMessage::from_xdr(&event.payload).unwrap();
    assert_eq!(
        (event.callback_id, event.msg.event, &event.msg.domain),
        (id, 3, &test)
    );
    client.connect_domain_event_callback_deregister_any(id).unwrap();

    // Only asking for the feature makes the daemon take keepalive.
    assert_eq!(client.connect_supports_feature(10).unwrap().supported, 1);
    let mut socket = peer.0.lock().unwrap();
    socket.stream.write_all(&keepalive::ping().unwrap()).unwrap();
    let answer = socket.other();
    assert_eq!(keepalive::probe(&answer), Some(keepalive::Probe::Pong));

    // The picture of a screen comes as a stream.
    let args = DomainScreenshotArgs {
        domain: test,
        ..DomainScreenshotArgs::default()
    };
    let call = OutgoingCall {
        stream: StreamMode::Blocking,
        ..OutgoingCall::new(
            PROGRAM_REMOTE,
            procedure::DOMAIN_SCREENSHOT,
            args.to_xdr().unwrap(),
        )
    };
    match socket.call(&call) {
        Ok(reply) => {
            let reply = DomainScreenshotReply::from_xdr(&reply.payload).unwrap();
            assert_eq!(reply.mime.as_deref(), Some("image/png"));
            let opened = Header::call(
                PROGRAM_REMOTE,
                1,
                procedure::DOMAIN_SCREENSHOT as i32,
                socket.serial,
            );
            let mut picture = Vec::new();
            loop {
                let packet = socket.other();
                assert!(packet.header.same_call(&opened));
                match StreamPacket::read(packet).unwrap() {
                    StreamPacket::Data(data) => picture.extend(data),
                    StreamPacket::EndOfData => break,
                    other => panic!("data expected, {other:?} came"),
                }
            }
            assert!(picture.starts_with(b"\x89PNG"));
            let writer = virt_api::rpc::stream::StreamWriter::new(opened);
            socket.stream.write_all(&writer.finish().unwrap()).unwrap();
            let packet = socket.other();
            assert!(matches!(
                StreamPacket::read(packet).unwrap(),
                StreamPacket::Finish
            ));
        }
        // Where the package leaves the picture out.
        Err(error) => assert_eq!(error.code(), ErrorCode::SYSTEM_ERROR, "{error}"),
    }
}

/// Arguments for calls that are to be refused: the guest "test" and else what the rules want, but for `broken`.
struct Arguments<'a> {
    procedure: &'a Procedure,
    test: &'a DomainRef,
    /// The rule that is to be broken.
    broken: Option<Rule>,
}

impl Arguments<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = XdrEncoder::new();
        if let Some(shape) = self.procedure.args {
            self.put("", shape, &mut out);
        }
        out.into_bytes()
    }

    fn wants(&self, field: &str) -> bool {
        self.procedure.rules.iter().any(|rule| {
            matches!(rule, Rule::NonEmpty(name) | Rule::Positive(name) | Rule::NonZero(name) if *name == field)
        })
    }

    fn number(&self, field: &str) -> i64 {
        match self.broken {
            Some(Rule::Positive(name) | Rule::NonZero(name)) if name == field => 0,
            Some(Rule::NonNegative(name)) if name == field => -2,
            Some(Rule::Below(name, limit)) if name == field => i64::from(limit.value),
            Some(Rule::Exclusive(one, other)) if field == "flags" => i64::from(one.value | other.value),
            Some(Rule::Requires(one, _)) if field == "flags" => i64::from(one.value),
            _ => i64::from(self.wants(field) || field == "ncpus" || field == "ncpumaps"),
        }
    }

    fn items(&self, field: &str) -> usize {
        match self.broken {
            Some(Rule::NonEmpty(name) | Rule::Positive(name) | Rule::NonZero(name)) if name == field => 0,
            Some(Rule::AtMost(name, limit)) if name == field => limit.value as usize + 1,
            _ => 1,
        }
    }

    fn put(&self, field: &str, shape: &Shape, out: &mut XdrEncoder) {
        match shape {
            Shape::I32 | Shape::Char | Shape::Uchar | Shape::Ushort => out.i32(self.number(field) as i32),
            Shape::U32 => out.u32(self.number(field) as u32),
            Shape::I64 | Shape::U64 => out.i64(self.number(field)),
            Shape::F64 => out.f64(1.0),
            Shape::Uuid => out.opaque_fixed(self.test.uuid.as_bytes()),
            Shape::String { max } if self.items(field) == 0 => out.string("", *max).unwrap(),
            Shape::String { max } => out.string("test", *max).unwrap(),
            Shape::Bytes { max } => out.opaque(&vec![1; self.items(field)], *max).unwrap(),
            Shape::Chars { max } => out.length(0, *max).unwrap(),
            Shape::CharsFixed { length } => out.opaque_fixed(&vec![0; 4 * length]),
            Shape::Params { max } => {
                out.length(self.items(field), *max).unwrap();
                for _ in 0..self.items(field) {
                    TypedParam::new("name", 1).encode(out).unwrap();
                }
            }
            Shape::Optional(_) if matches!(self.broken, Some(Rule::Present(name)) if name == field) => {
                out.bool(false)
            }
            Shape::Optional(inner) => {
                out.bool(true);
                self.put(field, inner, out);
            }
            Shape::List { of, max } => {
                out.length(self.items(field), (*max).max(self.items(field)))
                    .unwrap();
                for _ in 0..self.items(field) {
                    self.put("", of, out);
                }
            }
            Shape::Struct {
                name: "DomainRef", ..
            } => self.test.encode(out).unwrap(),
            Shape::Struct { fields, .. } => {
                for (name, shape) in *fields {
                    self.put(name, shape, out);
                }
            }
        }
    }
}

/// Every call that a driver answers.
fn driver_calls() -> impl Iterator<Item = &'static Procedure> {
    [PROGRAM_REMOTE, PROGRAM_QEMU]
        .into_iter()
        .flat_map(table::procedures)
        .copied()
        .filter(|procedure| procedure.kind == Kind::Call && procedure.owner == Owner::Driver)
        // Descriptors would have to be sent along.
        .filter(|procedure| procedure.fds_in.is_none() && procedure.fds_out.is_none())
}

fn attempt(
    daemon: &Daemon,
    peer: &mut Peer,
    flags: u32,
    call: OutgoingCall<'_>,
) -> Result<CallReply, VirtError> {
    let procedure = table::procedure(call.program, call.procedure).unwrap();
    let streams = procedure.stream.is_some();
    let answer = peer.call(call);
    if streams && answer.is_ok() {
        // A stream is open now: leave it behind.
        *peer = daemon.open(flags);
    }
    answer
}

#[test]
fn stock_refuses_on_read_only_connections_what_our_table_refuses() {
    need!(program "libvirtd");
    let daemon = Daemon::start();
    // VIR_CONNECT_RO.
    let mut peer = daemon.open(1);
    let test = RemoteClient::new(&peer)
        .domain_lookup_by_name("test")
        .unwrap()
        .domain;
    let mut wrong = Vec::new();
    let mut counts = [0; 2];
    for procedure in driver_calls() {
        let args = Arguments {
            procedure,
            test: &test,
            broken: None,
        }
        .encode();
        let call = OutgoingCall::new(procedure.program, procedure.number, args);
        let denied = match attempt(&daemon, &mut peer, 1, call) {
            Err(error) => error.code() == ErrorCode::OPERATION_DENIED,
            Ok(_) => false,
        };
        let ours = procedure.read_only == ReadOnly::Deny;
        counts[usize::from(ours)] += 1;
        if denied != ours && procedure.read_only_overridden.is_none() {
            wrong.push(format!("{}: stock {denied}, ours {ours}", procedure.name));
        }
    }
    assert!(counts[0] > 100 && counts[1] > 150, "{counts:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn stock_refuses_the_arguments_that_our_rules_refuse() {
    need!(program "libvirtd");
    let daemon = Daemon::start();
    let mut peer = daemon.open(0);
    let test = RemoteClient::new(&peer)
        .domain_lookup_by_name("test")
        .unwrap()
        .domain;
    // Its dispatch drops this argument and asks the public function for everything.
    let dropped = ["node_get_sev_info", "network_port_get_parameters"];
    let mut wrong = Vec::new();
    let mut tried = 0;
    for procedure in driver_calls() {
        for rule in procedure.rules {
            if matches!(rule, Rule::Check(..))
                || (dropped.contains(&procedure.name) && *rule == Rule::NonNegative("nparams"))
            {
                continue;
            }
            let args = Arguments {
                procedure,
                test: &test,
                broken: Some(*rule),
            }
            .encode();
            let call = OutgoingCall::new(procedure.program, procedure.number, args);
            tried += 1;
            match attempt(&daemon, &mut peer, 0, call) {
                Err(error) if error.code() == ErrorCode::INVALID_ARG => {}
                // Its dispatch looks at sizes before the public function does.
                Err(error)
                    if error.to_string().contains("must be non-negative")
                        || error.to_string().contains("decode message payload") => {}
                Err(error) => wrong.push(format!("{} {rule:?}: {error}", procedure.name)),
                Ok(_) => wrong.push(format!("{} {rule:?}: accepted", procedure.name)),
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
