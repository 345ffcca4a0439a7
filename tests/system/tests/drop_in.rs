//! A host that libvirt has kept until now: everything it wrote is found, and nothing of it is touched.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use virt_api::need;
use virt_api::testkit::stock::{Room, Stock};
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::registry::Store;
use virt_conf::registry::networks::NetworkFiles;
use virt_conf::registry::secrets::SecretFiles;
use virt_conf::storage_pool::StoragePool;
use virt_tests_system::host::Host;

use virt_util::xml::XmlFlags;

const SECRET: &str = "00000000-0000-4000-8000-000000000001";

/// Has libvirt's own virsh say all this to its daemon.
fn libvirt(room: &Room, words: &[&str]) -> String {
    let out = room
        .command(Path::new("/usr/bin/virsh"))
        .args(["-q", "-c", "qemu:///session"])
        .args(words)
        .output()
        .expect("libvirt's virsh runs");
    let complaints = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {complaints}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Every file and link below a folder, with what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind of file"));
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("a link");
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else {
            let content = std::fs::read(&path).expect("a file");
            found.insert(path, content);
        }
    }
    found
}

/// What libvirt is told to keep: guests, a network, a pool, a secret with its value.
fn furnish(room: &Room) {
    let disk = room.path().join("disk.qcow2");
    let made = room
        .command(Path::new("/usr/bin/qemu-img"))
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&disk)
        .arg("1M")
        .status();
    assert!(made.is_ok_and(|status| status.success()), "the disk is made");
    let guest = |name: &str, more: &str| {
        let text = format!(
            "<domain type='qemu'><name>{name}</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>\
             <metadata><a:b xmlns:a='urn:a'>kept &amp; well</a:b></metadata><devices>{more}</devices></domain>"
        );
        room.file(&format!("{name}.xml"), &text).display().to_string()
    };
    let devices = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
         <target dev='vda' bus='virtio'/></disk><interface type='user'/><graphics type='vnc' passwd='secret'/>\
         <serial type='pty'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        disk.display()
    );
    let network = room.file(
        "n.xml",
        "<network><name>n</name><bridge name='virbr77'/><ip address='192.168.177.1' netmask='255.255.255.0'>\
         <dhcp><range start='192.168.177.2' end='192.168.177.9'/></dhcp></ip></network>",
    );
    let secret = room.file(
        "s.xml",
        &format!(
            "<secret ephemeral='no' private='yes'><uuid>{SECRET}</uuid><usage type='volume'>\
             <volume>/x</volume></usage></secret>"
        ),
    );
    let value = room.file("value", "value");
    libvirt(room, &["define", &guest("g", &devices)]);
    libvirt(room, &["define", &guest("h", "")]);
    libvirt(room, &["autostart g; autostart --once g"]);
    libvirt(room, &["snapshot-create-as", "g", "s1"]);
    libvirt(room, &["net-define", &network.display().to_string()]);
    libvirt(room, &["net-autostart", "n"]);
    libvirt(room, &["pool-define-as", "p", "dir", "--target", "/tmp/none"]);
    libvirt(room, &["pool-autostart", "p"]);
    libvirt(room, &["secret-define", &secret.display().to_string()]);
    let value = value.display().to_string();
    libvirt(room, &["secret-set-value", SECRET, "--file", &value, "--plain"]);
}

#[test]
fn what_libvirt_has_written_is_found_and_left_as_it_is() {
    need!(program "libvirtd", program "/usr/bin/virsh", program "qemu-img", program "qemu-system-x86_64");
    let mut stock = Stock::plain();
    furnish(stock.room());
    let told = |guest: &str| libvirt(stock.room(), &["dumpxml", "--inactive", "--security-info", guest]);
    let (g, h) = (told("g"), told("h"));
    let network = libvirt(stock.room(), &["net-dumpxml", "--inactive", "n"]);
    let pool = libvirt(stock.room(), &["pool-dumpxml", "--inactive", "p"]);
    stock.kill();

    // What stands beside it: no definition, a broken one, and one whose emulator is gone.
    let config = stock.room().path().join("config/libvirt");
    let (head, rest) = h.split_once("<uuid>").expect("a UUID");
    let (_, rest) = rest.split_once("</uuid>").expect("a UUID");
    let gone = format!("{head}<uuid>00000000-0000-4000-8000-000000000002</uuid>{rest}")
        .replace("<name>h</name>", "<name>gone</name>")
        .replace("/usr/bin/qemu-system-x86_64", "/nowhere/qemu");
    for (name, text) in [
        ("qemu/notes.txt", "mine"),
        ("qemu/h.xml~", "<domain/>"),
        ("qemu/broken.xml", "<domain type='qemu'>"),
        ("qemu/gone.xml", gone.as_str()),
        ("storage/README", "mine"),
    ] {
        std::fs::write(config.join(name), text).expect("a file");
    }
    let before = files(&config);
    assert!(
        before.len() >= 16,
        "libvirt has written them all: {:?}",
        before.keys()
    );

    let host = Host::new();
    symlink(&config, host.root().join("etc")).expect("a link");
    // The host has been up for a while: nothing starts by itself.
    std::fs::create_dir_all(host.root().join("run/qemu")).expect("a folder");
    host.file("run/qemu/autostarted", "");
    let names = host.run(&["list", "--all", "--name"]).ok();
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["g", "gone", "h"]);
    for (name, text) in [("g", &g), ("h", &h), ("gone", &gone)] {
        let ours = host.run(&["dumpxml", "--inactive", "--security-info", name]).ok();
        assert_eq!(ours.trim_end(), text.trim_end(), "{name}");
    }
    let info = host.run(&["dominfo", "g"]).ok();
    let autostart = info.lines().filter(|line| line.starts_with("Autostart"));
    assert!(
        autostart.clone().count() == 2 && autostart.clone().all(|line| line.ends_with("enable")),
        "{info}"
    );
    let start = host.run(&["start", "gone"]);
    assert!(
        start.code == Some(1) && start.err.contains("/nowhere/qemu"),
        "{start:?}"
    );

    let networks = NetworkFiles::new(config.join("qemu/networks"), host.root().join("run/network"));
    let found = networks.load(&SystemRandomness).expect("the networks");
    let [stored] = &found.networks[..] else {
        panic!("one network: {:?}", found.failed)
    };
    let stored_network = stored.life.stored().expect("it is stored");
    assert_eq!(
        stored_network.format(XmlFlags::INACTIVE).trim_end(),
        network.trim_end()
    );
    assert!(stored.autostart);

    let pools = Store::new(
        config.join("storage"),
        Some(config.join("storage/autostart")),
        "pool-edit",
    );
    let found = pools.load::<StoragePool>().expect("the pools");
    let [stored_pool] = &found.loaded[..] else {
        panic!("one pool: {:?}", found.failed)
    };
    // The daemon tells sizes beside.
    assert!(pool.contains("<path>/tmp/none</path>"), "{pool}");
    assert!(stored_pool.autostart);

    let secrets = SecretFiles::new(config.join("secrets"));
    let found = secrets.load().expect("the secrets");
    let [(secret, Some(value))] = &found.loaded[..] else {
        panic!("one secret with its value: {:?}", found.failed)
    };
    assert_eq!(value.bytes(), b"value");
    let after = files(&config);
    for (path, content) in &before {
        assert_eq!(after.get(path), Some(content), "{}", path.display());
    }
    assert_eq!(before.len(), after.len(), "nothing was added: {:?}", after.keys());

    // What we write is what libvirt wrote, to the byte.
    let copies = host.root().join("copies");
    let network_copies = Store::new(copies.join("networks"), None, "net-edit");
    let pool_copies = Store::new(copies.join("storage"), None, "pool-edit");
    let secret_copies = SecretFiles::new(copies.join("secrets"));
    network_copies.prepare().expect("a folder");
    pool_copies.prepare().expect("a folder");
    secret_copies.prepare().expect("a folder");
    network_copies.save(&**stored_network).expect("a copy");
    pool_copies.save(&*stored_pool.definition).expect("a copy");
    secret_copies.define(None, secret, Some(value)).expect("a copy");
    secret_copies.set_value(secret, value).expect("a copy");
    let copy = host.file("h.xml", &h);
    host.run(&["define", copy.to_str().expect("a path")]).ok();
    for (theirs, ours) in [
        ("qemu/networks/n.xml", copies.join("networks/n.xml")),
        ("storage/p.xml", copies.join("storage/p.xml")),
        (
            &format!("secrets/{SECRET}.xml"),
            copies.join(format!("secrets/{SECRET}.xml")),
        ),
        (
            &format!("secrets/{SECRET}.base64"),
            copies.join(format!("secrets/{SECRET}.base64")),
        ),
        ("qemu/h.xml", config.join("qemu/h.xml")),
    ] {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ours = std::fs::read(ours).expect("a file of ours");
        assert_eq!(text(&ours), text(&before[&config.join(theirs)]), "{theirs}");
    }
}

#[test]
fn memory_that_libvirt_has_saved_is_known() {
    need!(program "libvirtd", program "/usr/bin/virsh", program "qemu-system-x86_64");
    let mut stock = Stock::plain();
    let text = "<domain type='qemu'><name>s</name><memory>32768</memory><vcpu>1</vcpu><os><type>hvm</type></os>\
        <devices><graphics type='vnc' passwd='secret'/></devices></domain>";
    let guest = stock.room().file("s.xml", text).display().to_string();
    libvirt(stock.room(), &["define", &guest]);
    libvirt(stock.room(), &["start", "--paused", "s"]);
    libvirt(stock.room(), &["managedsave", "s"]);
    let refused = |words: &[&str]| {
        let out = stock
            .room()
            .command(Path::new("/usr/bin/virsh"))
            .args(["-q", "-c", "qemu:///session"])
            .args(words)
            .output()
            .expect("libvirt's virsh runs");
        assert!(!out.status.success(), "{words:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let (undefine, rename) = (refused(&["undefine", "s"]), refused(&["domrename", "s", "t"]));
    stock.kill();

    let config = stock.room().path().join("config/libvirt");
    let host = Host::new();
    symlink(&config, host.root().join("etc")).expect("a link");
    let folder = host.root().join("lib/qemu/save");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(config.join("qemu/save/s.save"), folder.join("s.save")).expect("the image");
    let with = host.run(&["list", "--all", "--name", "--with-managed-save"]).ok();
    assert_eq!(with.trim(), "s");
    let without = host
        .run(&["list", "--all", "--name", "--without-managed-save"])
        .ok();
    assert_eq!(without.trim(), "");
    let info = host.run(&["dominfo", "s"]).ok();
    let managed = info.lines().find(|line| line.starts_with("Managed save"));
    assert!(managed.is_some_and(|line| line.ends_with("yes")), "{info}");
    for (words, theirs) in [
        (&["undefine", "s"][..], undefine),
        (&["domrename", "s", "t"], rename),
    ] {
        let out = host.run(words);
        let why = |text: &str| text.lines().last().unwrap_or_default().to_owned();
        assert_eq!(out.code, Some(1), "{words:?}: {out:?}");
        // libvirt's virsh says a part of it by itself, without the lead.
        let theirs = why(theirs.trim());
        let theirs = theirs.trim_start_matches("error: ");
        assert!(why(out.err.trim()).ends_with(theirs), "{words:?}: {out:?}");
    }
    let start = host.run(&["start", "s"]);
    assert!(
        start.code == Some(1) && start.err.contains("s.save") && start.err.contains("--force-boot"),
        "{start:?}"
    );
    assert!(folder.join("s.save").exists(), "nothing was lost by asking");

    host.run(&["undefine", "s", "--managed-save"]).ok();
    assert!(!folder.join("s.save").exists());
    let left = host.run(&["list", "--all", "--name"]).ok();
    assert_eq!(left.trim(), "");
}
