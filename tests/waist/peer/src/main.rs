//! Loads driver `fixture01` from the directory in the first argument and does with it what a host does: a call, an
//! event, a stream of 64 MiB, a nested question to the host. Drivers that further arguments name are loaded before it.
//! Prints what it saw, one line each, and `done` at the end.
#![forbid(unsafe_code)]

mod extra;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;
use virt_api::call::{Caller, Identity, OutgoingCall, PROGRAM_REMOTE, StreamMode};
use virt_api::driver::InitContext;
use virt_api::events::EventSink;
use virt_api::host::{
    Claim, ClaimKind, HandleCallback, HandleEvents, Host, LogRecord, NestedOpen, OpenedConnection,
    TimeoutCallback,
};
use virt_api::plugin::{ABI_MAJOR, ABI_MINOR, OpenRequest, Registry, SearchPath};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::{DomainOpenConsoleArgs, DomainRef, procedure};
use virt_api::stream_end::Transfer;
use virt_api::{ErrorCode, Result, VirtError};
use virt_util::audit::AuditRecord;
use virt_util::time::Cancel;
use virt_util::typed_param::TypedParams;
use virt_util::xdr::XdrEncode;

/// A host that can log and keep claims.
#[derive(Default)]
struct SmallHost {
    claims: Mutex<Vec<String>>,
    logs: Mutex<usize>,
    records: Mutex<Vec<String>>,
}

fn nothing<T>() -> Result<T> {
    Err(VirtError::no_support("the small host"))
}

impl Host for SmallHost {
    fn log(&self, _: &LogRecord) {
        *self.logs.lock() += 1;
    }

    fn open_connection(&self, _: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        Err(VirtError::new(
            ErrorCode::NO_CONNECT,
            "the small host opens nothing",
        ))
    }

    fn add_handle(&self, _: BorrowedFd<'_>, _: HandleEvents, _: HandleCallback) -> Result<i32> {
        nothing()
    }

    fn update_handle(&self, _: i32, _: HandleEvents) -> Result<()> {
        nothing()
    }

    fn remove_handle(&self, _: i32) -> Result<()> {
        nothing()
    }

    fn add_timeout(&self, _: Option<Duration>, callback: TimeoutCallback) -> Result<i32> {
        callback();
        Ok(1)
    }

    fn update_timeout(&self, _: i32, _: Option<Duration>) -> Result<()> {
        nothing()
    }

    fn remove_timeout(&self, _: i32) -> Result<()> {
        nothing()
    }

    fn check_acl(&self, _: &Identity, _: u32, _: u32, _: &str, _: &str, _: &TypedParams) -> Result<bool> {
        Ok(true)
    }

    fn claim(&self, _: ClaimKind, key: &str, _: &str) -> Result<()> {
        self.claims.lock().push(key.to_owned());
        Ok(())
    }

    fn release(&self, _: ClaimKind, _: &str, _: &str) -> Result<()> {
        nothing()
    }

    fn claims(&self, _: ClaimKind) -> Result<Vec<Claim>> {
        Ok(Vec::new())
    }

    fn inhibit(&self, _: bool) {}

    fn audit(&self, record: &AuditRecord) -> Result<()> {
        self.records.lock().push(record.text());
        Ok(())
    }
}

#[derive(Default)]
struct Counter(Mutex<usize>);

impl EventSink for Counter {
    fn event(&self, _: u32, _: u32, callbacks: &[i32], _: &[u8]) {
        *self.0.lock() += callbacks.len();
    }
}

fn main() {
    match run() {
        Ok(()) => println!("done"),
        Err(error) => {
            println!("failed: {error:#}");
            std::process::exit(1);
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments
        .next()
        .ok_or_else(|| VirtError::invalid_arg("name a directory"))?;
    let host = Arc::new(SmallHost::default());
    let registry = Registry::new(
        Arc::clone(&host) as Arc<dyn Host>,
        InitContext::default(),
        &SearchPath::only(directory),
    );
    let plugin = registry
        .for_scheme("hypervisor", "fixture01")
        .map_or_else(String::new, |manifest| manifest.abi);
    println!("host {ABI_MAJOR}.{ABI_MINOR} plugin {plugin}");
    for neighbour in arguments {
        let name = neighbour.to_string_lossy();
        registry.driver(&name)?;
        println!("beside {name}");
    }
    let driver = registry.driver("fixture01")?;
    println!("extra {}", extra::extra(&driver));
    let connection = driver.open(&OpenRequest {
        uri: "fixture01:///work".to_owned(),
        ..OpenRequest::default()
    })?;
    let client = RemoteClient::new(&connection);
    println!("call {}", client.connect_get_type()?.kind);

    let counter = Arc::new(Counter::default());
    connection.set_event_sink(Arc::clone(&counter) as Arc<dyn EventSink>)?;
    client.connect_domain_event_callback_register_any(0, None)?;
    let domain = DomainRef {
        name: "A".to_owned(),
        uuid: Uuid::from_bytes([0xaa; 16]),
        id: -1,
    };
    client.domain_create(&domain)?;
    println!("events {}", *counter.0.lock());

    println!("stream {}", stream(&connection, &domain)?);

    let cancel = Cancel::new();
    let mut suspend = OutgoingCall::new(PROGRAM_REMOTE, procedure::DOMAIN_SUSPEND, domain.to_xdr()?);
    suspend.cancel = cancel.clone();
    connection.call(suspend)?;
    println!("claims {}", host.claims.lock().join(" "));
    println!("records {}", host.records.lock().join(", "));
    println!("moved {}", cancel.since_progress().is_some());
    client.connect_get_capabilities()?;
    println!("logs {}", *host.logs.lock());
    match client.connect_get_uri() {
        Ok(_) => println!("nested opened"),
        Err(error) => println!("nested {}", error.code().0),
    }
    connection.close()
}

/// Receives the stream of 64 MiB. Answers how many bytes came, holes included.
fn stream(connection: &dyn Caller, domain: &DomainRef) -> Result<u64> {
    let mut call = OutgoingCall::new(
        PROGRAM_REMOTE,
        procedure::DOMAIN_OPEN_CONSOLE,
        DomainOpenConsoleArgs {
            domain: domain.clone(),
            dev_name: Some("source".to_owned()),
            flags: 0,
        }
        .to_xdr()?,
    );
    call.stream = StreamMode::Blocking;
    let end = connection
        .call(call)?
        .stream
        .ok_or_else(|| VirtError::internal("no stream"))?;
    if end.can_splice() {
        return Err(VirtError::internal(
            "a stream in memory says that it is a descriptor",
        ));
    }
    let mut buffer = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        match end.recv(&mut buffer, true)? {
            Transfer::Bytes(0) => break,
            Transfer::Bytes(count) => total += count as u64,
            Transfer::AtHole => total += end.recv_hole()?,
            Transfer::WouldBlock => return Err(VirtError::internal("a blocking end would block")),
        }
    }
    end.finish()?;
    Ok(total)
}
