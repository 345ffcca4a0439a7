//! Old plugins in new hosts and new plugins in old hosts.
//!
//! Three houses are compiled: this one; one whose binary interface is the oldest frozen copy under `abi/`; and one a
//! minor version ahead, with a method more in every trait and a field more in the handshake. Each host drives each
//! other's plugin.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use virt_api::plugin::{ABI_MAJOR, ABI_MINOR, inspect};
use virt_api::testkit::{TempRoot, copy_plugin};
use virt_tests_waist::{fixture, manifest};

/// What a house is compiled from, relative to the top of the tree.
const SOURCES: &[&str] = &[
    "crates/virt-util",
    "crates/virt-macros",
    "crates/virt-api",
    "tests/waist/fixture",
    "tests/waist/peer",
];

const INTERFACE: &str = "crates/virt-api/src/abi/v1.rs";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Writes what differs, and says whether it does: a house in which nothing changed since the last run stands already.
fn write(path: &Path, bytes: &[u8]) -> bool {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return false;
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    true
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A source that is changed on its way: path and text, before and after.
type Edit<'a> = &'a dyn Fn(&str, String) -> String;

struct Built {
    peer: PathBuf,
    plugin: PathBuf,
}

/// Compiles a house of its own under `target/`.
fn house(name: &str, edit: Edit<'_>) -> Built {
    let top = top();
    let place = fixture()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("waist")
        .join(name);
    let mut wanted = vec![place.join("Cargo.toml"), place.join("Cargo.lock")];
    let manifest = std::fs::read_to_string(top.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    let own = format!("members = {SOURCES:?}");
    let mut changed = write(&wanted[0], manifest.replace(members, &own).as_bytes());
    if !wanted[1].exists() {
        changed |= write(&wanted[1], &std::fs::read(top.join("Cargo.lock")).unwrap());
    }
    for source in SOURCES {
        let mut found = Vec::new();
        files(&top.join(source), &mut found);
        for file in found {
            let inside = file.strip_prefix(&top).unwrap();
            let copy = place.join(inside);
            changed |= match std::fs::read_to_string(&file) {
                Ok(text) => write(&copy, edit(inside.to_str().unwrap(), text).as_bytes()),
                Err(_) => write(&copy, &std::fs::read(&file).unwrap()),
            };
            wanted.push(copy);
        }
    }
    for source in SOURCES {
        let mut present = Vec::new();
        files(&place.join(source), &mut present);
        for stale in present.iter().filter(|path| !wanted.contains(path)) {
            std::fs::remove_file(stale).unwrap();
            changed = true;
        }
    }
    let target = place.parent().unwrap().join("target");
    let keep = place.join("built");
    let built = Built {
        peer: keep.join("peer"),
        plugin: keep.join("plugin.so"),
    };
    if !changed && built.peer.exists() && built.plugin.exists() {
        return built;
    }
    let _ = std::fs::remove_dir_all(&keep);
    // To cargo the crates of all houses are the same: it would take those of another one for up to date.
    if let Ok(known) = std::fs::read_dir(target.join("debug/.fingerprint")) {
        for unit in known.map(|entry| entry.unwrap()) {
            if unit.file_name().to_str().unwrap().starts_with("virt-") {
                std::fs::remove_dir_all(unit.path()).unwrap();
            }
        }
    }
    let status = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--offline", "--quiet"])
        .current_dir(&place)
        .env("CARGO_TARGET_DIR", &target)
        // Compiled once and thrown away: no room for what only helps the next time.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status()
        .unwrap();
    assert!(status.success(), "the {name} house does not build");
    // The next house takes the same place, so what was built moves away.
    std::fs::create_dir_all(&keep).unwrap();
    for (file, copy) in [
        ("virt-tests-waist-peer", &built.peer),
        ("libvirt_tests_waist_fixture.so", &built.plugin),
    ] {
        std::fs::copy(target.join("debug").join(file), copy).unwrap();
    }
    built
}

/// The house of today, the test's own build.
fn current() -> Built {
    let plugin = fixture().unwrap();
    Built {
        peer: plugin.with_file_name("virt-tests-waist-peer"),
        plugin,
    }
}

fn frozen() -> Vec<((u32, u32), PathBuf)> {
    let mut found: Vec<((u32, u32), PathBuf)> = std::fs::read_dir(top().join("tests/waist/abi"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let (major, minor) = name.split_once('.').unwrap();
            ((major.parse().unwrap(), minor.parse().unwrap()), entry.path())
        })
        .collect();
    found.sort();
    found
}

/// The house of the oldest minor version.
fn oldest() -> ((u32, u32), Built) {
    let (version, folder) = frozen().into_iter().next().unwrap();
    let interface = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    if std::fs::read_to_string(top().join(INTERFACE)).unwrap() == interface {
        // Nothing has grown yet: today's house is the oldest.
        return (version, current());
    }
    let built = house("oldest", &|path, text| match path {
        INTERFACE => interface.clone(),
        "crates/virt-api/src/abi/export.rs"
        | "crates/virt-api/src/abi/export/host.rs"
        | "crates/virt-api/src/abi/import.rs" => before(text, version.1),
        "crates/virt-api/src/plugin/entry.rs" => with_version(text, version.1),
        _ => text,
    });
    (version, built)
}

/// The translation as it was at that minor version: without what stands between `// since MAJOR.MINOR {` of a later one
/// and its `// }`.
fn before(text: String, minor: u32) -> String {
    let mut out = String::new();
    let mut left_out = false;
    for line in text.lines() {
        let since = line
            .trim()
            .strip_prefix(&format!("// since {ABI_MAJOR}."))
            .and_then(|rest| rest.strip_suffix(" {"))
            .map(|number| number.parse::<u32>().unwrap());
        left_out |= since.is_some_and(|since| since > minor);
        if !left_out {
            out.push_str(line);
            out.push('\n');
        }
        left_out &= line.trim() != "// }";
    }
    assert!(!left_out, "a part of a later version does not end");
    out
}

fn with_version(text: String, minor: u32) -> String {
    text.replace(
        &format!("\"{ABI_MAJOR}.{ABI_MINOR}\""),
        &format!("\"{ABI_MAJOR}.{minor}\""),
    )
}

/// A method more at the end of every trait.
fn grown(interface: &str) -> String {
    let mut out = String::new();
    let mut in_trait = false;
    for line in interface.lines() {
        in_trait |= line.starts_with("pub trait ");
        if in_trait && line == "}" {
            out.push_str(
                "\n    /// Came later.\n    fn newer(&self, value: u64) -> u64 {\n        value + 1\n    }\n",
            );
            in_trait = false;
        }
        out.push_str(line);
        out.push('\n');
    }
    out.replace(
        "    /// See [`RootFn`].\n    pub root: RootFn,\n",
        "    /// See [`RootFn`].\n    pub root: RootFn,\n    /// Came later.\n    pub newer: u64,\n",
    )
    .replace(
        &format!("pub const ABI_MINOR: u32 = {ABI_MINOR};"),
        &format!("pub const ABI_MINOR: u32 = {};", ABI_MINOR + 1),
    )
}

/// The house of the next minor version, which uses what it has more.
fn newer() -> Built {
    house("newer", &|path, text| match path {
        INTERFACE => {
            let grown = grown(&text);
            assert_eq!(
                grown.matches("fn newer").count(),
                text.matches("#[sabi_trait]\n").count()
            );
            assert!(grown.contains("pub newer: u64"));
            grown
        }
        "crates/virt-api/src/abi.rs" => {
            let field = "root: export::root::<E>,";
            assert!(text.contains(field));
            text.replace(field, "root: export::root::<E>,\n            newer: 7,")
        }
        "crates/virt-api/src/abi/import.rs" => {
            text + "\nimpl DriverHandle {\n    /// Came later.\n    pub fn newer(&self, value: u64) -> u64 {\n        self.driver.newer(value)\n    }\n}\n"
        }
        "crates/virt-api/src/plugin/entry.rs" => with_version(text, ABI_MINOR + 1),
        "tests/waist/peer/src/extra.rs" => text
            .replace("_driver: &DriverHandle", "driver: &DriverHandle")
            .replace("\"nothing\".to_owned()", "driver.newer(41).to_string()"),
        _ => text,
    })
}

/// Lets `host` drive `plugin` and answers what it printed.
fn drive(host: &Built, plugin: &Built, host_minor: u32, plugin_minor: u32) -> String {
    drive_beside(host, plugin, host_minor, plugin_minor, &[])
}

/// The same with `neighbours`, plugins and their minors, loaded before it.
fn drive_beside(
    host: &Built,
    plugin: &Built,
    host_minor: u32,
    plugin_minor: u32,
    neighbours: &[(&Built, u32)],
) -> String {
    let root = TempRoot::new();
    let place = |name: &str, plugin: &Built, minor: u32| {
        let mut described = manifest(name);
        described.abi = format!("{ABI_MAJOR}.{minor}");
        copy_plugin(&plugin.plugin, root.path(), &described).unwrap();
    };
    place("fixture01", plugin, plugin_minor);
    let mut command = Command::new(&host.peer);
    command.arg(root.path());
    for (number, (neighbour, minor)) in (2..).zip(neighbours) {
        let name = format!("fixture{number:02}");
        place(&name, neighbour, *minor);
        command.arg(name);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for line in [
        format!("host {ABI_MAJOR}.{host_minor} plugin {ABI_MAJOR}.{plugin_minor}"),
        "call Fixture".to_owned(),
        "events 1".to_owned(),
        "stream 67108864".to_owned(),
        "claims A".to_owned(),
        // What came with 1.1 needs both sides.
        match host_minor.min(plugin_minor) {
            0 => "records ".to_owned(),
            _ => "records vm=\"A\"".to_owned(),
        },
        format!("moved {}", host_minor.min(plugin_minor) > 0),
        "logs 1".to_owned(),
        "nested 5".to_owned(),
        "done".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "'{line}' is missing in\n{text}\n{errors}"
        );
    }
    text
}

#[test]
fn every_host_drives_every_plugin() {
    let now = current();
    let ((_, old_minor), old) = oldest();
    let next = newer();
    assert_eq!(
        inspect(&next.plugin).unwrap().abi_version(),
        Some((ABI_MAJOR, ABI_MINOR + 1))
    );

    let text = drive(&now, &now, ABI_MINOR, ABI_MINOR);
    assert!(text.contains("extra nothing"), "{text}");
    drive(&now, &old, ABI_MINOR, old_minor);
    drive(&old, &now, old_minor, ABI_MINOR);
    drive(&now, &next, ABI_MINOR, ABI_MINOR + 1);
    drive(&old, &next, old_minor, ABI_MINOR + 1);
    // The new host uses a method that the old plugin does not have: the default body answers.
    let text = drive(&next, &now, ABI_MINOR + 1, ABI_MINOR);
    assert!(text.contains("extra 42"), "{text}");
    drive(&next, &old, ABI_MINOR + 1, old_minor);
    drive(&next, &next, ABI_MINOR + 1, ABI_MINOR + 1);

    // One host has plugins of all versions, whatever comes first.
    let all = [(&old, old_minor), (&now, ABI_MINOR), (&next, ABI_MINOR + 1)];
    for (host, host_minor) in all {
        for turn in 0..all.len() {
            let mut order = all;
            order.rotate_left(turn);
            let [(plugin, minor), neighbours @ ..] = order;
            drive_beside(host, plugin, host_minor, minor, &neighbours);
        }
    }
}

/// The newest frozen copy is the interface of today; `cargo xtask check` says the same.
#[test]
fn the_interface_of_today_is_frozen() {
    let (version, folder) = frozen().into_iter().next_back().unwrap();
    assert_eq!(version, (ABI_MAJOR, ABI_MINOR));
    assert_eq!(
        std::fs::read_to_string(folder.join("mod.rs")).unwrap(),
        std::fs::read_to_string(top().join(INTERFACE)).unwrap()
    );
}
