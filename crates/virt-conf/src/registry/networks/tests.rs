use super::*;
use crate::registry::survival::{Change, Subject};

use super::super::index::Purpose;
use super::super::job::Asker;
use crate::domain::normalize::SystemRandomness;

fn network(name: &str, title: &str) -> Network {
    let text = format!(
        "<network><name>{name}</name><uuid>00000000-0000-0000-0000-00000000000{}</uuid><title>{title}</title>\
         <bridge name='virbr{name}'/><mac address='52:54:00:00:00:01'/></network>",
        name.len()
    );
    Network::parse(&text, XmlFlags::empty(), "test").unwrap()
}

fn port(number: u128) -> NetworkPort {
    NetworkPort {
        uuid: Uuid::from_u128(number),
        owner_name: "guest".to_owned(),
        owner_uuid: Uuid::from_u128(99),
        ..NetworkPort::default()
    }
}

fn files(root: &Path) -> NetworkFiles {
    let files = NetworkFiles::new(root.join("networks"), root.join("run"));
    files.prepare().unwrap();
    files
}

/// What is on disk, in one line per network.
fn contents(files: &NetworkFiles) -> Vec<String> {
    let loaded = files.load(&SystemRandomness).unwrap();
    assert!(loaded.failed.is_empty(), "{:?}", loaded.failed);
    loaded
        .networks
        .iter()
        .map(|network| {
            let title = |network: &Network| network.title.clone().unwrap_or_default();
            format!(
                "{} live:{} next:{} autostart:{} ports:{} floor:{}",
                network.life.current().name,
                match &network.life {
                    Life::Active { live, .. } => title(live),
                    Life::Inactive(_) => "-".to_owned(),
                },
                network
                    .life
                    .stored()
                    .map_or("-".to_owned(), |stored| title(stored)),
                network.autostart,
                network.state.ports.len(),
                network.state.floor_sum
            )
        })
        .collect()
}

fn status(network: Network, floor_sum: u64) -> NetworkStatus {
    NetworkStatus {
        floor_sum,
        ..NetworkStatus::new(network)
    }
}

#[test]
fn files_look_as_libvirts() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    files.store.save(&network("a", "t")).unwrap();
    files.store.set_autostart("a", true).unwrap();
    files.save_status(&status(network("a", "live"), 7)).unwrap();
    files.save_port("a", &port(5)).unwrap();
    let text = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    let header = |command: &str| {
        format!(
            "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE\nOVERWRITTEN AND LOST. Changes \
             to this xml configuration should be made using:\n  virsh {command}\nor other application using the libvirt \
             API.\n-->\n\n"
        )
    };
    assert_eq!(
        text("networks/a.xml"),
        format!(
            "{}<network>\n  <name>a</name>\n  <uuid>00000000-0000-0000-0000-000000000001</uuid>\n  <title>t</title>\n  \
             <bridge name='virbra' stp='on' delay='0'/>\n  <mac address='52:54:00:00:00:01'/>\n</network>\n",
            header("net-edit a")
        )
    );
    let status = text("run/a.xml");
    assert!(
        status.starts_with(&format!(
            "{}<networkstatus>\n  <class_id bitmap='0-2'/>\n  <floor sum='7'/>\n  <network>\n    <name>a</name>\n",
            header("net-edit a")
        )),
        "{status}"
    );
    let port = text("run/a/ports/00000000-0000-0000-0000-000000000005.xml");
    assert!(
        port.starts_with(&header("net-port-create 00000000-0000-0000-0000-000000000005")),
        "{port}"
    );
    assert_eq!(
        fs::read_link(root.path().join("networks/autostart/a.xml")).unwrap(),
        root.path().join("networks/a.xml")
    );
}

#[test]
fn networks_come_back_with_what_they_had() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    files.store.save(&network("a", "next")).unwrap();
    files.store.set_autostart("a", true).unwrap();
    files.save_status(&status(network("a", "live"), 7)).unwrap();
    files.save_port("a", &port(5)).unwrap();
    files.save_port("a", &port(6)).unwrap();
    // Transient, and stored but off.
    files.save_status(&status(network("bb", "gone"), 0)).unwrap();
    files.store.save(&network("ccc", "off")).unwrap();
    // Neither libvirt's nor ours.
    fs::write(root.path().join("networks/notes.txt"), "x").unwrap();
    assert_eq!(
        contents(&files),
        [
            "a live:live next:next autostart:true ports:2 floor:7",
            "bb live:gone next:- autostart:false ports:0 floor:0",
            "ccc live:- next:off autostart:false ports:0 floor:0",
        ]
    );
    assert!(root.path().join("networks/notes.txt").exists());
    assert!(files.remove_port("a", &Uuid::from_u128(5)).unwrap());
    assert!(!files.remove_port("a", &Uuid::from_u128(5)).unwrap());
    files.remove_status("a").unwrap();
    assert_eq!(
        contents(&files)[0],
        "a live:- next:next autostart:true ports:0 floor:0"
    );
}

#[test]
fn what_is_missing_is_made_once() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    let default = "<network><name>default</name><bridge name='virbr0'/><forward/><ip address='192.168.122.1' \
                   netmask='255.255.255.0'/></network>";
    fs::write(root.path().join("networks/default.xml"), default).unwrap();
    let routed =
        "<network><name>host</name><uuid>1</uuid><forward mode='bridge'/><bridge name='br0'/></network>"
            .replace(
                "<uuid>1</uuid>",
                "<uuid>00000000-0000-0000-0000-000000000009</uuid><mac address='52:54:00:00:00:09'/>",
            );
    fs::write(root.path().join("networks/host.xml"), routed).unwrap();
    let once = files.load(&SystemRandomness).unwrap();
    let again = files.load(&SystemRandomness).unwrap();
    for loaded in [&once, &again] {
        assert!(loaded.failed.is_empty());
        assert!(loaded.networks[1].life.current().mac.is_none());
    }
    let (once, again) = (once.networks[0].life.current(), again.networks[0].life.current());
    assert!(once.uuid.is_some() && once.mac.is_some_and(|mac| mac.0[..3] == [0x52, 0x54, 0]));
    assert_eq!(once, again);
}

#[test]
fn clashing_files_stay_and_are_told() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    files.store.save(&network("a", "1")).unwrap();
    let mut same_uuid = network("a", "2");
    same_uuid.name = "b".to_owned();
    files.store.save(&same_uuid).unwrap();
    let mut same_name = network("cc", "3");
    files.save_status(&status(same_name.clone(), 0)).unwrap();
    same_name.uuid = Some(Uuid::from_u128(77));
    files.store.save(&same_name).unwrap();
    fs::write(root.path().join("networks/bad.xml"), "<network/>").unwrap();
    fs::write(
        root.path().join("run/other.xml"),
        network("x", "").format(XmlFlags::empty()),
    )
    .unwrap();
    let loaded = files.load(&SystemRandomness).unwrap();
    let mut failed: Vec<String> = loaded
        .failed
        .iter()
        .map(|(path, error)| {
            format!(
                "{} {}",
                path.file_name().unwrap().to_string_lossy(),
                error.detail()
            )
        })
        .collect();
    failed.sort();
    assert_eq!(failed.len(), 4, "{failed:?}");
    assert_eq!(
        failed[0],
        "b.xml network 'a' is already defined with uuid 00000000-0000-0000-0000-000000000001"
    );
    assert!(
        failed[1].contains("missing required element 'name'"),
        "{failed:?}"
    );
    assert_eq!(
        failed[2],
        "cc.xml network 'cc' already exists with uuid 00000000-0000-0000-0000-000000000002"
    );
    assert!(failed[3].contains("holds network 'x'"));
    for name in [
        "networks/b.xml",
        "networks/bad.xml",
        "networks/cc.xml",
        "run/other.xml",
    ] {
        assert!(root.path().join(name).exists(), "{name}");
    }
}

#[test]
fn clashes_have_libvirts_codes_and_texts() {
    let networks = Registry::<NetworkKind>::new();
    let enter = |network: Network, purpose| {
        networks
            .enter(&Arc::new(network), purpose, &Asker::new("test"), Default::default)
            .map(|entered| entered.commit().0)
    };
    let a = enter(network("a", "1"), Purpose::Define).unwrap();
    let mut other = network("a", "2");
    other.name = "b".to_owned();
    let error = enter(other, Purpose::Define).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
    assert_eq!(error.domain(), ErrorDomain::NETWORK);
    assert_eq!(
        error.detail(),
        "network 'a' is already defined with uuid 00000000-0000-0000-0000-000000000001"
    );
    a.publish(|snapshot| snapshot.life = snapshot.life.started(Arc::new(network("a", "1"))));
    let error = enter(network("a", "1"), Purpose::Create).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_INVALID);
    assert_eq!(error.detail(), "network is already active as 'a'");
    assert!(bridge_in_use(&networks, "virbra", None));
    assert!(!bridge_in_use(&networks, "virbra", Some("a")));

    let mut state = NetworkState::default();
    state.add_port(Arc::new(port(1))).unwrap();
    assert_eq!(
        state.add_port(Arc::new(port(1))).unwrap_err().code(),
        ErrorCode::NETWORK_PORT_EXIST
    );
    assert_eq!(
        state.port(&Uuid::from_u128(2)).unwrap_err().code(),
        ErrorCode::NO_NETWORK_PORT
    );
}

fn stored(files: &NetworkFiles) {
    files.store.save(&network("a", "old")).unwrap();
    files.store.set_autostart("a", true).unwrap();
}

fn running(files: &NetworkFiles) {
    stored(files);
    files.save_status(&status(network("a", "live"), 1)).unwrap();
    files.save_port("a", &port(1)).unwrap();
    files.save_port("a", &port(2)).unwrap();
}

pub(in crate::registry) static SUBJECT: Subject = Subject {
    name: "networks",
    contents: |root| contents(&files(root)).join("\n"),
    sound: |_, _| {},
    changes: &[
        Change {
            name: "define",
            before: |root| stored(&files(root)),
            run: |root| files(root).store.save(&network("a", "new")),
        },
        Change {
            name: "undefine",
            before: |root| stored(&files(root)),
            run: |root| files(root).store.remove("a").map(|_| ()),
        },
        Change {
            name: "autostart",
            before: |root| stored(&files(root)),
            run: |root| files(root).store.set_autostart("a", false),
        },
        Change {
            name: "start",
            before: |root| stored(&files(root)),
            run: |root| files(root).save_status(&status(network("a", "live"), 0)),
        },
        Change {
            name: "status",
            before: |root| running(&files(root)),
            run: |root| files(root).save_status(&status(network("a", "later"), 9)),
        },
        Change {
            name: "stop",
            before: |root| running(&files(root)),
            run: |root| files(root).remove_status("a"),
        },
        Change {
            name: "plug",
            before: |root| running(&files(root)),
            run: |root| files(root).save_port("a", &port(3)),
        },
        Change {
            name: "unplug",
            before: |root| running(&files(root)),
            run: |root| files(root).remove_port("a", &Uuid::from_u128(1)).map(|_| ()),
        },
    ],
};
