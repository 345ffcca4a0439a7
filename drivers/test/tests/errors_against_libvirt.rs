//! Bad documents of every kind to libvirt's test driver and to ours: the same code, part of the system and level.
//!
//! `bad_documents.txt` has a document a line, behind its kind: `guest` stands in the least of a domain, `guest-device` in the
//! devices of one. Where libvirt's answer is known to be another than ours a line begins with `!` and the reason in brackets;
//! such a line must differ, so that the mark goes with the difference.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fmt::Write as _;
use std::process::Command;

use virt_api::plugin::{DriverHandle, Entry, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::NodeDeviceRef;
use virt_api::testkit::FakeHost;
use virt_conf::checkpoint::Checkpoint;
use virt_conf::domain::Domain;
use virt_conf::domain::disk::SnapshotLocation;
use virt_conf::snapshot::{Alignment, Snapshot, SnapshotFlags};
use virt_driver_test::PluginEntry;
use virt_util::ErrorDomain;
use virt_util::xml::XmlFlags;

const DOCUMENTS: &str = include_str!("bad_documents.txt");

/// Reads kinds and documents as in the file, and prints what becomes of each.
const LIBVIRT: &str = r#"
import sys, libvirt
libvirt.registerErrorHandler(lambda *rest: None, None)
conn = libvirt.open('test:///default')
conn.changeBegin(0)
domain, pool = conn.lookupByName('test'), conn.storagePoolLookupByName('default-pool')
make = {
    'domain': conn.defineXML,
    'device': lambda text: domain.attachDeviceFlags(text, 1),
    'network': conn.networkDefineXML,
    'pool': conn.storagePoolDefineXML,
    'volume': lambda text: pool.createXML(text, 0),
    'interface': conn.interfaceDefineXML,
    'node-device': lambda text: conn.nodeDeviceCreateXML(text, 0),
    'snapshot': lambda text: domain.snapshotCreateXML(text, 0),
    'snapshot-again': lambda text: domain.snapshotCreateXML(text, 1),
    'checkpoint': lambda text: domain.checkpointCreateXML(text, 0),
}
away = {'domain': 'undefine', 'network': 'undefine', 'pool': 'undefine', 'interface': 'undefine', 'node-device': 'destroy'}
moments = ('snapshot', 'snapshot-again', 'checkpoint')
for line in sys.stdin:
    kind, text = line.rstrip('\n').split('\t', 1)
    try:
        made = make[kind](text.replace('\\n', '\n'))
        if kind in away: getattr(made, away[kind])()
        if kind == 'volume' or kind in moments: made.delete(0)
        print('taken')
    except libvirt.libvirtError as error:
        message = (error.get_error_message() or '').replace('\n', ' ')
        print(error.get_error_code(), error.get_error_domain(), error.get_error_level(), message, sep='\t')
"#;

/// A kind and a document, whole; and whether the answers are known to differ.
fn document(line: &str) -> (String, String, bool) {
    let (line, differs) = match line.strip_prefix("!(") {
        Some(line) => (line.split_once(") ").unwrap().1, true),
        None => (line, false),
    };
    let (kind, text) = line.split_once('\t').unwrap();
    let text = text.replace("\\n", "\n");
    let guest = |inside: &str| {
        format!(
            "<domain type='test'><name>x</name><memory>1024</memory><os><type>hvm</type></os>{inside}</domain>"
        )
    };
    match kind {
        "guest" => ("domain".to_owned(), guest(&text), differs),
        "guest-device" => {
            let whole = guest(&format!("<devices>{text}</devices>"));
            ("domain".to_owned(), whole, differs)
        }
        _ => (kind.to_owned(), text, differs),
    }
}

fn ours(client: &RemoteClient<'_>, kind: &str, text: &str) -> virt_api::Result<()> {
    match kind {
        "domain" => {
            let made = client.domain_define_xml(text)?.domain;
            client.domain_undefine(&made)
        }
        "device" => {
            let domain = client.domain_lookup_by_name("test")?.domain;
            client.domain_attach_device_flags(&domain, text, 1)
        }
        "network" => {
            let made = client.network_define_xml(text)?.network;
            client.network_undefine(&made)
        }
        "pool" => {
            let made = client.storage_pool_define_xml(text, 0)?.pool;
            client.storage_pool_undefine(&made)
        }
        "volume" => {
            let pool = client.storage_pool_lookup_by_name("default-pool")?.pool;
            let made = client.storage_vol_create_xml(&pool, text, 0)?.volume;
            client.storage_vol_delete(&made, 0)
        }
        "interface" => {
            let made = client.interface_define_xml(text, 0)?.interface;
            client.interface_undefine(&made)
        }
        "node-device" => {
            let made = client.node_device_create_xml(text, 0)?.device;
            client.node_device_destroy(&NodeDeviceRef { name: made.name })
        }
        // The driver has none of these; how they are read is compared.
        "snapshot" => aligned(client, Snapshot::parse(text, SnapshotFlags::empty(), "test")?),
        "snapshot-again" => aligned(client, Snapshot::parse(text, SnapshotFlags::REDEFINE, "test")?),
        "checkpoint" => Checkpoint::parse(text, false, "test").map(drop),
        other => panic!("no kind {other}"),
    }
}

/// Matches a snapshot with the disks of the domain, as drivers do behind reading it.
fn aligned(client: &RemoteClient<'_>, mut snapshot: Snapshot) -> virt_api::Result<()> {
    let domain = client.domain_lookup_by_name("test")?.domain;
    let text = client.domain_get_xml_desc(&domain, 0)?.xml;
    let domain = Domain::parse(&text, XmlFlags::empty(), "test")?;
    let is_new = snapshot.state.is_none();
    let memory = snapshot.memory.as_ref().and_then(|memory| memory.location);
    let default = match memory {
        Some(SnapshotLocation::External) => SnapshotLocation::External,
        _ => SnapshotLocation::Internal,
    };
    let alignment = Alignment {
        default,
        uniform_internal: true,
        force_default: false,
    };
    snapshot
        .align_disks(is_new.then_some(&domain), alignment, &|_| false)
        .map_err(|error| error.in_domain_if_none(ErrorDomain::DOMAIN_SNAPSHOT))
}

#[test]
fn errors_have_libvirts_codes_and_domains() {
    virt_api::need!(package "python3-libvirt");
    let documents: Vec<(String, String, bool)> = DOCUMENTS.lines().map(document).collect();
    let mut input = String::new();
    for (kind, text, _) in &documents {
        writeln!(input, "{kind}\t{}", text.replace('\n', "\\n")).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let output = Command::new("/usr/bin/python3")
        .args(["-c", LIBVIRT])
        .stdin(std::fs::File::open(file.path()).unwrap())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), documents.len());

    let driver = DriverHandle::builtin("test", PluginEntry::create, FakeHost::new()).unwrap();
    let request = OpenRequest {
        uri: "test:///default".to_owned(),
        ..OpenRequest::default()
    };
    let connection = driver.open(&request).unwrap();
    let client = RemoteClient::new(&connection);
    client.interface_change_begin(0).unwrap();
    let mut different = Vec::new();
    for ((kind, text, differs), their) in documents.iter().zip(theirs) {
        let our = match ours(&client, kind, text) {
            Ok(()) => "taken".to_owned(),
            Err(error) => format!(
                "{}\t{}\t{}\t{}",
                error.code().0,
                error.domain().0,
                error.level().0,
                error.message().replace('\n', " ")
            ),
        };
        let numbers = |said: &str| {
            said.splitn(4, '\t')
                .take(3)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        if (numbers(&our) != numbers(their)) != *differs {
            different.push(format!("{kind} {text}\n  libvirt: {their}\n  ours:    {our}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} are not as noted:\n{}",
        different.len(),
        documents.len(),
        different.join("\n")
    );
}
