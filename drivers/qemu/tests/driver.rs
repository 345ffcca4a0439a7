//! The driver through the waist, with real guests. Command lines come from a planner that knows one kind of guest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use virt_api::call::{PROGRAM_REMOTE, StreamMode};
use virt_api::driver::Driver;
use virt_api::events::EventSink;
use virt_api::host::OpenedConnection as _;
use virt_api::plugin::{ConnectionHandle, DriverHandle, OpenRequest};
use virt_api::protocol::clients::{CallSettings, QemuClient, RemoteClient};
use virt_api::protocol::remote::{DomainEventLifecycleMessage, DomainRef};
use virt_api::stream_end::Transfer;
use virt_api::testkit::FakeHost;
use virt_conf::domain::Domain;
use virt_driver_qemu::capabilities::QemuCaps;
use virt_driver_qemu::driver::QemuDriver;
use virt_driver_qemu::driver::planner::{Occasion, Patience, Planned, Planner, Wanted};
use virt_driver_qemu::plan::args::{CommandLine, Descriptor, DescriptorUse};
use virt_driver_qemu::plan::secrets::SecretValue;
use virt_driver_qemu::process::layout::Layout;
use virt_util::command::Capabilities;
use virt_util::time::Deadline;
use virt_util::types::{DomainEventType, DomainState};
use virt_util::xdr::XdrDecode;
use virt_util::{ErrorCode, Result};

use common::Root;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

macro_rules! need_qemu {
    () => {
        if !Path::new(QEMU).exists() {
            println!("SKIPPED: needs {QEMU}");
            return;
        }
    };
}

/// Plans an emulated PC with one serial port and perhaps one disk.
struct OneKind;

impl Planner for OneKind {
    fn normalize(&self, mut domain: Domain, _: Occasion, _: &Layout, _: &Patience) -> Result<Domain> {
        domain.uuid.get_or_insert_with(virt_util::uuid::Uuid::new_v4);
        domain.devices.emulator.get_or_insert_with(|| QEMU.to_owned());
        Ok(domain)
    }

    fn plan(&self, domain: &Domain, id: i32, layout: &Layout, _: &Patience) -> Result<Planned> {
        let mut live = domain.clone();
        live.id = u32::try_from(id).ok();
        if let Some(serial) = live.devices.serials.first_mut() {
            serial.info.alias = Some("serial0".to_owned()).into();
        }
        let mut command = CommandLine {
            program: domain.devices.emulator.clone().unwrap_or_default(),
            ..CommandLine::default()
        };
        let memory = (domain.memory.size >> 10).to_string();
        for (option, value) in [
            ("-machine", "pc,accel=tcg"),
            ("-m", memory.as_str()),
            ("-display", "none"),
            ("-chardev", "socket,id=charmonitor,fd=3,server=on,wait=off"),
            ("-mon", "chardev=charmonitor,id=monitor,mode=control"),
            ("-chardev", "pty,id=charserial0"),
            ("-serial", "chardev:charserial0"),
        ] {
            command.option(option, value);
        }
        for flag in ["-nodefaults", "-no-user-config", "-S", "-no-shutdown"] {
            command.flag(flag);
        }
        if let Some(title) = &domain.title {
            command.option("-drive", format!("file={title},format=raw,if=ide"));
        }
        command.descriptors.push(Descriptor {
            number: 3,
            usage: DescriptorUse::ListenSocket {
                path: layout.guest(id, &domain.name).monitor.display().to_string(),
                chardev: "charmonitor".to_owned(),
            },
        });
        Ok(Planned {
            command,
            live,
            caps: Arc::new(QemuCaps::default()),
            last_node: 0,
            user: None,
            capabilities: Capabilities::Inherit,
            limits: Vec::new(),
            labels: Vec::new(),
            master_key: SecretValue::new(Vec::new()),
        })
    }

    fn version(&self, _: &Layout, _: &Patience) -> Result<u64> {
        Ok(10_000_000)
    }

    fn capabilities(&self, _: &Layout, _: &Patience) -> Result<String> {
        Ok("<capabilities/>\n".to_owned())
    }

    fn domain_capabilities(&self, _: &Wanted, _: &Layout, _: &Patience) -> Result<String> {
        Ok("<domainCapabilities/>\n".to_owned())
    }
}

fn create() -> Box<dyn Driver> {
    Box::new(QemuDriver::new(Arc::new(OneKind)))
}

fn driver() -> DriverHandle {
    DriverHandle::builtin("qemu", create, FakeHost::new()).unwrap()
}

fn open(driver: &DriverHandle, uri: &str) -> Result<ConnectionHandle> {
    driver.open(&OpenRequest {
        uri: uri.to_owned(),
        ..OpenRequest::default()
    })
}

fn embed(root: &Path) -> String {
    format!("qemu:///embed?root={}", root.display())
}

fn guest(name: &str, more: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name>{more}<memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><serial type='pty'><target port='0'/></serial>\
         <console type='pty'><target type='serial' port='0'/></console></devices></domain>"
    )
}

/// Prints `!` on the serial port, echoes what it reads there, and switches off at the power button.
fn echo_disk(folder: &Path) -> PathBuf {
    let mut sector = vec![
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'!', // mov al, '!'
        0xee, // out dx, al
        0xba, 0x02, 0x06, // mov dx, 0x602 (which events count)
        0xb8, 0x00, 0x01, // mov ax, 0x100 (the power button)
        0xef, // out dx, ax
        // again:
        0xba, 0x00, 0x06, // mov dx, 0x600 (which have happened)
        0xed, // in ax, dx
        0xf6, 0xc4, 0x01, // test ah, 1
        0x75, 0x0e, // jnz off
        0xba, 0xfd, 0x03, // mov dx, 0x3fd (state of the serial port)
        0xec, // in al, dx
        0xa8, 0x01, // test al, 1
        0x74, 0xed, // jz again
        0xb2, 0xf8, // mov dl, 0xf8
        0xec, // in al, dx
        0xee, // out dx, al
        0xeb, 0xe7, // jmp again
        // off:
        0xba, 0x04, 0x06, // mov dx, 0x604
        0xb8, 0x00, 0x20, // mov ax, 0x2000
        0xef, // out dx, ax
        0xf4, 0xeb, 0xfd, // hlt, for ever
    ];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    let path = folder.join("disk.img");
    std::fs::write(&path, sector).unwrap();
    path
}

fn state(client: &RemoteClient<'_>, domain: &DomainRef) -> (i32, i32) {
    let reply = client.domain_get_state(domain, 0).unwrap();
    (reply.state, reply.reason)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in 30 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lifecycle events as (event, detail).
#[derive(Default)]
struct Seen(Mutex<Vec<(i32, i32)>>);

impl EventSink for Seen {
    fn event(&self, _: u32, _: u32, _: &[i32], payload: &[u8]) {
        let message = DomainEventLifecycleMessage::from_xdr(payload).unwrap();
        self.0.lock().push((message.event, message.detail));
    }
}

#[test]
fn a_guest_from_definition_to_undefinition() {
    need_qemu!();
    let root = Root::new();
    let driver = driver();
    let connection = open(&driver, &embed(root.path())).unwrap();
    let seen = Arc::new(Seen::default());
    connection
        .set_event_sink(Arc::clone(&seen) as Arc<dyn EventSink>)
        .unwrap();
    let client = RemoteClient::new(&connection);
    client
        .connect_domain_event_callback_register_any(0, None)
        .unwrap();
    assert_eq!(client.connect_get_type().unwrap().kind, "QEMU");
    let domain = client.domain_define_xml(&guest("web", "")).unwrap().domain;
    let file = root.path().join("etc/qemu/web.xml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE."),
        "{text}"
    );
    assert_eq!(state(&client, &domain), (DomainState::SHUTOFF.0, 0));
    client.domain_create(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::RUNNING.0, 1));
    assert_eq!(client.connect_list_domains(9).unwrap().ids, [1]);
    assert_eq!(
        client.domain_create(&domain).unwrap_err().code(),
        ErrorCode::OPERATION_INVALID
    );
    let xml = client.domain_get_xml_desc(&domain, 0).unwrap().xml;
    assert!(xml.starts_with("<domain type='qemu' id='1'>"), "{xml}");
    assert!(xml.contains("<source path='/dev/pts/"), "{xml}");
    let stored = client.domain_get_xml_desc(&domain, 2).unwrap().xml;
    assert!(!stored.contains("/dev/pts/"), "{stored}");
    let status = std::fs::read_to_string(root.path().join("run/qemu/web.xml")).unwrap();
    assert!(
        status.contains("<domstatus state='running' reason='booted' pid='"),
        "{status}"
    );
    assert!(status.contains("<vcpu id='0' pid='"), "{status}");
    client.domain_suspend(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::PAUSED.0, 1));
    client.domain_resume(&domain).unwrap();
    client.domain_reset(&domain, 0).unwrap();
    let control = client.domain_get_control_info(&domain, 0).unwrap();
    assert_eq!((control.state, control.details), (0, 0));
    let qemu = QemuClient::new(&connection);
    let answer = qemu
        .domain_monitor_command(&domain, "{\"execute\":\"query-name\"}", 0)
        .unwrap();
    assert_eq!(answer.result, "{\"return\":{}}");
    client.domain_set_autostart(&domain, 1).unwrap();
    assert!(root.path().join("etc/qemu/autostart/web.xml").is_symlink());
    client.domain_destroy(&domain).unwrap();
    assert_eq!(state(&client, &domain), (DomainState::SHUTOFF.0, 2));
    assert_eq!(
        client.domain_destroy(&domain).unwrap_err().message(),
        "Requested operation is not valid: domain is not running"
    );
    client.domain_rename(&domain, Some("site"), 0).unwrap();
    let domain = client.domain_lookup_by_name("site").unwrap().domain;
    client.domain_undefine(&domain).unwrap();
    assert!(client.domain_lookup_by_name("site").is_err());
    assert_eq!(
        std::fs::read_dir(root.path().join("etc/qemu")).unwrap().count(),
        1
    );
    let events: Vec<i32> = seen.0.lock().iter().map(|(event, _)| *event).collect();
    let wanted = [
        DomainEventType::DEFINED,
        DomainEventType::RESUMED,
        DomainEventType::STARTED,
        DomainEventType::SUSPENDED,
        DomainEventType::RESUMED,
    ];
    assert_eq!(events[..5], wanted.map(|event| event.0), "{events:?}");
    assert!(events.contains(&DomainEventType::STOPPED.0), "{events:?}");
    assert_eq!(events.last(), Some(&DomainEventType::UNDEFINED.0));
}

#[test]
fn a_transient_guest_talks_on_its_console_and_vanishes() {
    need_qemu!();
    let root = Root::new();
    let disk = echo_disk(root.path());
    let driver = driver();
    let connection = open(&driver, &embed(root.path())).unwrap();
    let client = RemoteClient::new(&connection);
    let xml = guest("talk", &format!("<title>{}</title>", disk.display()));
    let domain = client.domain_create_xml(&xml, 1).unwrap().domain;
    assert_eq!(state(&client, &domain), (DomainState::PAUSED.0, 1));
    assert_eq!(client.domain_is_persistent(&domain).unwrap().persistent, 0);
    let console = client
        .domain_open_console(&domain, None, 0, StreamMode::Blocking)
        .unwrap();
    let second = client.domain_open_console(&domain, None, 0, StreamMode::Blocking);
    assert_eq!(second.unwrap_err().code(), ErrorCode::OPERATION_FAILED);
    client.domain_resume(&domain).unwrap();
    let mut heard = Vec::new();
    let mut hear = |text: &str| {
        while !String::from_utf8_lossy(&heard).contains(text) {
            let mut buffer = [0; 64];
            match console.recv(&mut buffer, false).unwrap() {
                Transfer::Bytes(0) => panic!("the console has ended"),
                Transfer::Bytes(count) => heard.extend_from_slice(&buffer[..count]),
                other => panic!("{other:?}"),
            }
        }
    };
    hear("!");
    assert_eq!(console.send(b"echo").unwrap(), Transfer::Bytes(4));
    hear("echo");
    client.domain_shutdown(&domain).unwrap();
    wait_until("the guest is gone", || {
        client.domain_lookup_by_name("talk").is_err()
    });
    // The session ends with the guest.
    assert_eq!(console.recv(&mut [0; 8], false).unwrap(), Transfer::Bytes(0));
}

#[test]
fn a_later_process_finds_guests_and_ids_go_on() {
    need_qemu!();
    let root = Root::new();
    let uri = embed(root.path());
    let first = driver();
    let connection = open(&first, &uri).unwrap();
    let client = RemoteClient::new(&connection);
    let domain = client.domain_define_xml(&guest("keep", "")).unwrap().domain;
    client.domain_create(&domain).unwrap();
    let transient = client.domain_create_xml(&guest("brief", ""), 0).unwrap().domain;
    // One process at a time, and one root at a time in a process.
    let other = Root::new();
    assert!(open(&first, &embed(other.path())).is_err());
    assert!(open(&first, &uri).is_ok());
    drop((connection, first));
    // What the guests have just said may still be on its way to the old one.
    let second = driver();
    wait_until("the host is free", || open(&second, &uri).is_ok());
    let connection = open(&second, &uri).unwrap();
    let client = RemoteClient::new(&connection);
    let mut ids = client.connect_list_domains(9).unwrap().ids;
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(state(&client, &domain), (DomainState::RUNNING.0, 1));
    assert_eq!(client.domain_is_persistent(&domain).unwrap().persistent, 1);
    assert_eq!(client.domain_is_persistent(&transient).unwrap().persistent, 0);
    let domain = client.domain_lookup_by_name("keep").unwrap().domain;
    client.domain_suspend(&domain).unwrap();
    client.domain_destroy(&domain).unwrap();
    client.domain_destroy(&transient).unwrap();
    assert!(client.domain_lookup_by_name("brief").is_err());
    client.domain_create(&domain).unwrap();
    assert_eq!(client.connect_list_domains(9).unwrap().ids, [3]);
    client.domain_destroy(&domain).unwrap();
}

#[test]
fn what_cannot_be_opened_says_why() {
    let driver = driver();
    for (uri, code) in [
        ("qemu:///system", ErrorCode::NO_CONNECT),
        ("qemu:///session", ErrorCode::NO_CONNECT),
        ("qemu:///embed", ErrorCode::INVALID_ARG),
        ("qemu:///embed?root=relative", ErrorCode::INVALID_ARG),
        ("qemu:///embed?root=/nowhere&layout=round", ErrorCode::INVALID_ARG),
        ("qemu:///what", ErrorCode::INTERNAL_ERROR),
    ] {
        let error = open(&driver, uri).unwrap_err();
        assert_eq!(error.code(), code, "{uri}: {error}");
    }
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    need_qemu!();
    let root = Root::new();
    let driver = driver();
    let connection = open(&driver, &embed(root.path())).unwrap();
    let client = RemoteClient::new(&connection);
    let bad = guest("bad", "<title>/nonexistent/disk</title>");
    let error = client.domain_create_xml(&bad, 0).unwrap_err();
    assert!(
        error
            .message()
            .contains("process exited while connecting to monitor"),
        "{error}"
    );
    assert!(client.domain_lookup_by_name("bad").is_err());
    let domain = client.domain_define_xml(&bad).unwrap().domain;
    assert!(client.domain_create(&domain).is_err());
    assert_eq!(state(&client, &domain), (DomainState::SHUTOFF.0, 6));
    assert_eq!(client.connect_num_of_domains().unwrap().num, 0);
    assert!(!root.path().join("run/qemu/bad.xml").exists());
}

#[test]
fn a_stuck_guest_is_in_doubt_until_it_answers() {
    need_qemu!();
    let root = Root::new();
    let driver = driver();
    let connection = open(&driver, &embed(root.path())).unwrap();
    let client = RemoteClient::new(&connection);
    let stuck = client.domain_create_xml(&guest("stuck", ""), 0).unwrap().domain;
    let healthy = client.domain_create_xml(&guest("healthy", ""), 0).unwrap().domain;
    let pid = virt_util::lock::PidFile::read(&root.path().join("run/qemu/stuck.pid"))
        .unwrap()
        .unwrap();
    let process = virt_util::sys::process::PidFd::open(pid).unwrap().unwrap();
    process.signal(libc::SIGSTOP).unwrap();
    let hurried = |millis| {
        let settings = CallSettings::new(&connection, PROGRAM_REMOTE);
        RemoteClient::with(settings.deadline(Deadline::after(Duration::from_millis(millis))))
    };
    let before = Instant::now();
    let error = hurried(200).domain_suspend(&stuck).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
    // Another change waits its own time and is told what it waits for; reading does not wait.
    let error = hurried(200).domain_resume(&stuck).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_TIMEOUT, "{error}");
    assert!(
        error.message().contains("cannot acquire state change lock"),
        "{error}"
    );
    assert_eq!(state(&client, &stuck).0, DomainState::RUNNING.0);
    client.domain_suspend(&healthy).unwrap();
    client.domain_destroy(&healthy).unwrap();
    assert!(before.elapsed() < Duration::from_secs(8));
    // It goes on, and does what it was told.
    process.signal(libc::SIGCONT).unwrap();
    wait_until("the late pause", || {
        state(&client, &stuck).0 == DomainState::PAUSED.0
    });
    wait_until("the lane is open", || hurried(500).domain_resume(&stuck).is_ok());
    // Once more, and destroyed in the middle of it.
    process.signal(libc::SIGSTOP).unwrap();
    assert!(hurried(100).domain_suspend(&stuck).is_err());
    client.domain_destroy(&stuck).unwrap();
    assert!(client.domain_lookup_by_name("stuck").is_err());
}
