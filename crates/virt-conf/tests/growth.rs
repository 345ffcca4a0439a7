//! What a domain costs grows with its devices, not with their square. Instructions are counted, which are the same on a busy
//! machine: valgrind runs this program again, for a domain and for one of twice as many devices. It takes a while, so it is
//! done with `VIRT_LONG=1` (`cargo xtask test --long`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{
    NoHooks, NormalizeContext, NormalizeFlags, SystemRandomness, disk_name, normalize,
};
use virt_conf::domain::validate::validate;
use virt_util::xml::XmlFlags;

/// Tells the program that runs under valgrind what to do: a family and how many devices of it.
const TASK: &str = "VIRT_TEST_GROWTH";
const SMALL: u32 = 400;
/// Twice, and what a little table grows by.
const MOST: f64 = 2.25;

const FAMILIES: &[(&str, fn(u32) -> String)] = &[
    ("virtio drives", |at| {
        let name = disk_name("vd", at);
        format!(
            "<disk type='file' device='disk'><source file='/i/{at}'/><target dev='{name}' bus='virtio'/></disk>"
        )
    }),
    ("SCSI drives", |at| {
        let name = disk_name("sd", at);
        format!(
            "<disk type='file' device='disk'><source file='/i/{at}'/><target dev='{name}' bus='scsi'/></disk>"
        )
    }),
    ("controllers without a number", |_| {
        "<controller type='virtio-serial'/>".to_owned()
    }),
    ("SCSI devices of the host", |at| {
        format!(
            "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host{at}'/>\
             <address bus='0' target='0' unit='0'/></source></hostdev>"
        )
    }),
    ("channels with controllers of their own", |at| {
        format!(
            "<channel type='unix'><target type='virtio' name='c{at}'/>\
             <address type='virtio-serial' controller='{at}' port='1'/></channel>"
        )
    }),
    ("file systems", |at| {
        format!(
            "<filesystem type='mount'><driver type='virtiofs'/><source dir='/s{at}'/><target dir='t{at}'/></filesystem>"
        )
    }),
    ("sound and audio", |at| {
        let id = at + 1;
        format!("<sound model='ich6'><audio id='{id}'/></sound><audio id='{id}' type='none'/>")
    }),
];

fn document(device: fn(u32) -> String, count: u32) -> String {
    let devices: String = (0..count).map(device).collect();
    format!(
        "<domain type='test'><name>d</name><memory>65536</memory><os><type>hvm</type></os><devices>{devices}</devices></domain>"
    )
}

fn complete(source: &str) {
    let mut domain = Domain::parse(source, XmlFlags::INACTIVE, "test").unwrap();
    let context = NormalizeContext {
        flags: NormalizeFlags::INACTIVE | NormalizeFlags::ABI_UPDATE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &NoHooks, &context).unwrap();
    validate(&domain, &NoHooks).unwrap();
}

/// What valgrind runs.
#[test]
fn counted() {
    let Some(task) = std::env::var(TASK).ok() else {
        return;
    };
    let (family, count) = task.split_once(' ').unwrap();
    let (_, device) = FAMILIES[family.parse::<usize>().unwrap()];
    complete(&document(device, count.parse().unwrap()));
}

/// Instructions for so many devices of a family.
fn instructions(family: usize, count: u32) -> f64 {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["counted", "--exact", "--test-threads=1"])
        .env(TASK, format!("{family} {count}"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    let said = String::from_utf8_lossy(&out.stderr);
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .map(|(_, count)| count.trim().parse().unwrap());
    count.unwrap()
}

#[test]
fn twice_the_devices_cost_twice_as_much() {
    if std::env::var_os("VIRT_LONG").is_none() {
        println!("SKIP: counting instructions takes a minute; VIRT_LONG=1 does it");
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIP: valgrind is not installed");
        return;
    }
    for (family, (name, device)) in FAMILIES.iter().enumerate() {
        // Wrong documents show here, without valgrind.
        complete(&document(*device, 3));
        let nothing = instructions(family, 0);
        let small = instructions(family, SMALL) - nothing;
        let large = instructions(family, SMALL * 2) - nothing;
        let growth = large / small;
        println!("{name}: {growth:.2}");
        assert!(
            growth < MOST,
            "{name}: twice the devices cost {growth:.2} times as much"
        );
    }
}
