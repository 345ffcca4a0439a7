//! Whom a driver speaks for when it opens a connection to another driver.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Client, Daemon};
use virt_api::Result;
use virt_api::call::CallContext;
use virt_api::driver::{Driver, DriverConnection, OpenContext};
use virt_api::host::NestedOpen;
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_util::ErrorCode;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::xdr::XdrEncode;
use virtd::config::Auth;
use virtd::server::Settings;

/// Answers every question by asking "inner": as its caller, or (for the type) for itself.
struct Outer;

impl Driver for Outer {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Self))
    }
}

impl DriverConnection for Outer {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }
}

#[virt_api::implements]
impl HypervisorDriver for Outer {
    fn connect_get_hostname(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        let nested = cx.host().open_connection(&NestedOpen {
            uri: "inner:///system".to_owned(),
            identity: cx.identity().clone(),
            deadline: cx.deadline(),
            ..NestedOpen::default()
        })?;
        RemoteClient::new(&nested).connect_get_hostname()
    }

    fn connect_get_type(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetTypeReply> {
        let nested = cx.host().open_connection(&NestedOpen {
            uri: "inner:///system".to_owned(),
            deadline: cx.deadline(),
            ..NestedOpen::default()
        })?;
        let reply = RemoteClient::new(&nested).connect_get_hostname()?;
        Ok(ConnectGetTypeReply { kind: reply.hostname })
    }
}

/// Answers with who asks.
struct Inner;

impl Driver for Inner {
    fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> {
        Ok(Box::new(Self))
    }
}

impl DriverConnection for Inner {
    fn hypervisor(&self) -> Option<&dyn HypervisorDriver> {
        Some(self)
    }
}

#[virt_api::implements]
impl HypervisorDriver for Inner {
    fn connect_get_hostname(&self, cx: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> {
        let params = &cx.identity().0;
        let hostname = match (params.get("unix-user-id"), params.get("user-name")) {
            (Some(TypedValue::ULLong(uid)), _) => format!("uid {uid}"),
            (None, Some(TypedValue::String(name))) => name.clone(),
            _ => "nobody".to_owned(),
        };
        Ok(ConnectGetHostnameReply { hostname })
    }
}

fn outer() -> Box<dyn Driver> {
    Box::new(Outer)
}

fn inner() -> Box<dyn Driver> {
    Box::new(Inner)
}

fn daemon(config: &str) -> Daemon {
    let daemon = Daemon::configured(config, Settings::default(), "outer", outer, Auth::None, false);
    daemon.server.host().registry().add_builtin_as("inner", inner);
    daemon
}

fn hostname(client: &mut Client) -> std::result::Result<String, ErrorCode> {
    client
        .ask::<ConnectGetHostnameReply>(procedure::CONNECT_GET_HOSTNAME, &Nothing)
        .map(|reply| reply.hostname)
        .map_err(|error| error.code())
}

/// No arguments.
struct Nothing;

impl XdrEncode for Nothing {
    fn encode(&self, _: &mut virt_util::xdr::XdrEncoder) -> Result<()> {
        Ok(())
    }
}

fn act_for(client: &mut Client, user: &str) {
    let args = ConnectSetIdentityArgs {
        params: TypedParams::new().with("user-name", user),
        flags: 0,
    };
    client
        .call(procedure::CONNECT_SET_IDENTITY, &args.to_xdr().unwrap())
        .unwrap();
}

#[test]
fn the_other_driver_knows_who_asks() {
    let daemon = daemon("");
    let mut client = daemon.open("outer:///system");
    let own = format!("uid {}", nix::unistd::geteuid());
    assert_eq!(hostname(&mut client).unwrap(), own);
    act_for(&mut client, "fred");
    assert_eq!(hostname(&mut client).unwrap(), "fred");
    let itself: ConnectGetTypeReply = client.ask(procedure::CONNECT_GET_TYPE, &Nothing).unwrap();
    assert_eq!(itself.kind, "nobody");
}

/// Rights that a caller has not got, no driver lends it.
#[test]
fn the_other_driver_asks_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let rules = format!(
        "[[allow]]\nuid = {}\npermissions = \"*\"\nconnect_driver = \"outer\"\n\n\
         [[allow]]\nuser = \"fred\"\npermissions = \"*\"\n",
        nix::unistd::geteuid()
    );
    std::fs::write(&policy, rules).unwrap();
    let daemon = daemon(&format!("policy_file = \"{}\"\n", policy.display()));
    let mut client = daemon.open("outer:///system");
    assert_eq!(hostname(&mut client).unwrap_err(), ErrorCode::ACCESS_DENIED);
    // What a driver wants for itself, it may.
    let itself: ConnectGetTypeReply = client.ask(procedure::CONNECT_GET_TYPE, &Nothing).unwrap();
    assert_eq!(itself.kind, "nobody");
    act_for(&mut client, "fred");
    assert_eq!(hostname(&mut client).unwrap(), "fred");
}
