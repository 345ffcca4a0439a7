//! Guests whose images are encrypted, with secrets from another driver of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::Root;
use virt_api::call::{CallReply, Caller, OutgoingCall};
use virt_api::events::EventSink;
use virt_api::host::{OpenedConnection, Supports};
use virt_api::plugin::{ConnectionHandle, DriverHandle, Entry as _, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::testkit::FakeHost;
use virt_driver_qemu::PluginEntry;
use virt_util::types::DomainState;
use virt_util::{ErrorCode, Result, VirtError};

const PASSPHRASE: &str = "opens-the-image";
const UUID: &str = "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea";

/// Keeps one secret that is for volumes.
struct Keeper(&'static str);

impl Caller for Keeper {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        // The secret's UUID, its usage and an empty word; or its value.
        let payload = match call.procedure {
            141 => [&call.args[..16], &1u32.to_be_bytes(), &0u32.to_be_bytes()].concat(),
            145 => {
                let length = u32::try_from(self.0.len()).unwrap().to_be_bytes();
                let padding = vec![0; self.0.len().next_multiple_of(4) - self.0.len()];
                [&length[..], self.0.as_bytes(), &padding].concat()
            }
            other => return Err(VirtError::no_support(format!("procedure {other}"))),
        };
        Ok(CallReply {
            payload,
            fds: Vec::new(),
            stream: None,
        })
    }
}

impl OpenedConnection for Keeper {
    fn is_alive(&self) -> Result<bool> {
        Ok(true)
    }
    fn set_keepalive(&self, _: i32, _: u32) -> Result<bool> {
        Ok(false)
    }
    fn on_closed(&self, _: Box<dyn FnOnce(i32) + Send>) -> Result<()> {
        Ok(())
    }
    fn set_event_sink(&self, _: Arc<dyn EventSink>) -> Result<()> {
        Ok(())
    }
    fn supports(&self, _: u32, _: u32) -> Supports {
        Supports::IMPLEMENTED
    }
}

fn open(root: &Path, value: Option<&'static str>) -> ConnectionHandle {
    let host = FakeHost::new();
    if let Some(value) = value {
        host.set_opener(move |open| {
            assert!(open.uri.starts_with("secret:///") && open.elevated, "{open:?}");
            Ok(Arc::new(Keeper(value)))
        });
    }
    DriverHandle::builtin("qemu", PluginEntry::create, host)
        .unwrap()
        .open(&OpenRequest {
            uri: format!("qemu:///embed?root={}", root.display()),
            ..OpenRequest::default()
        })
        .unwrap()
}

/// An encrypted image, if the programs for it are here.
fn image(root: &Path) -> Option<PathBuf> {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("SKIPPED: needs qemu-system-x86_64");
        return None;
    }
    let path = root.join("secret.img");
    let made = Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "luks",
            "-o",
            "key-secret=s,iter-time=10",
            "--object",
        ])
        .arg(format!("secret,id=s,data={PASSPHRASE}"))
        .arg(&path)
        .arg("1M")
        .status();
    match made {
        Ok(status) if status.success() => Some(path),
        other => {
            println!("SKIPPED: needs a qemu-img that encrypts: {other:?}");
            None
        }
    }
}

fn guest(image: &Path) -> String {
    format!(
        "<domain type='qemu'><name>sealed</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'>\
         <encryption format='luks'><secret type='passphrase' uuid='{UUID}'/></encryption></source>\
         <target dev='vda' bus='virtio'/></disk></devices></domain>",
        image.display()
    )
}

/// Everything that is written below a folder, as far as it is text.
fn texts(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => texts(&path, found),
            Ok(kind) if kind.is_file() => found.push_str(&std::fs::read_to_string(&path).unwrap_or_default()),
            _ => {}
        }
    }
}

#[test]
fn an_encrypted_image_opens_with_its_secret_and_nobody_reads_it() {
    let root = Root::new();
    let Some(image) = image(root.path()) else { return };
    let connection = open(root.path(), Some(PASSPHRASE));
    let client = RemoteClient::new(&connection);
    let domain = client.domain_define_xml(&guest(&image)).unwrap().domain;
    client.domain_create_with_flags(&domain, 0).unwrap();
    let state = client.domain_get_state(&domain, 0).unwrap().state;
    assert_eq!(state, DomainState::RUNNING.0);
    let mut written = client.domain_get_xml_desc(&domain, 1).unwrap().xml;
    texts(root.path(), &mut written);
    assert!(written.contains("libvirt-1-format-encryption-secret0"));
    assert!(!written.contains(PASSPHRASE));
    client.domain_destroy(&domain).unwrap();
}

#[test]
fn a_wrong_secret_and_none_keep_the_guest_off() {
    let root = Root::new();
    let Some(image) = image(root.path()) else { return };
    {
        let connection = open(root.path(), Some("opens-something-else"));
        let client = RemoteClient::new(&connection);
        let domain = client.domain_define_xml(&guest(&image)).unwrap().domain;
        let error = client.domain_create_with_flags(&domain, 0).unwrap_err();
        assert!(!format!("{error:#}").contains("opens-something"), "{error:#}");
        let state = client.domain_get_state(&domain, 0).unwrap().state;
        assert_eq!(state, DomainState::SHUTOFF.0);
    }
    let root = Root::new();
    let connection = open(root.path(), None);
    let client = RemoteClient::new(&connection);
    let domain = client.domain_define_xml(&guest(&image)).unwrap().domain;
    let error = client.domain_create_with_flags(&domain, 0).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED);
    assert!(error.to_string().contains(UUID), "{error}");
}
