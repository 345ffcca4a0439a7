//! Plugins that are broken, hostile or strange: each is refused with a reason, leaves nothing behind, and the next good
//! one loads.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use virt_api::driver::InitContext;
use virt_api::need;
use virt_api::plugin::{ABI_MAJOR, ABI_MINOR, DriverState, Registry, SearchPath, inspect};
use virt_api::protocol::clients::RemoteClient;
use virt_api::testkit::{FakeHost, TempRoot, copy_plugin, sample_driver};
use virt_api::{ErrorCode, VirtError};
use virt_tests_waist::{House, fixture, manifest};
use virt_tests_waist_fixture::{NAMES, n21, n22};

/// Tests here look at the descriptors and mappings of the whole process, so they run one after another.
static ALONE: Mutex<()> = Mutex::new(());

/// A good plugin that every test may load, so that its mapping is no surprise.
const GOOD: &str = "fixture02";

/// A folder with the good plugin and one, `fixture01`, that `damage` has been at.
fn damaged(damage: impl FnOnce(&Path)) -> (TempRoot, PathBuf) {
    let root = TempRoot::new();
    let object = fixture().unwrap();
    copy_plugin(&object, root.path(), &manifest(GOOD)).unwrap();
    let bad = copy_plugin(&object, root.path(), &manifest("fixture01")).unwrap();
    damage(&bad);
    (root, bad)
}

fn mappings() -> BTreeSet<String> {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

fn descriptors() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| target.contains("virt-driver-"))
        .collect()
}

/// Loads the damaged plugin: it must fail with every word of `wanted` in the text, the path among them; leave no
/// descriptor and no mapping; fail the same way when asked again; and let the good one load.
fn refused(damage: impl FnOnce(&Path), wanted: &[&str]) -> VirtError {
    refused_until(damage, wanted, |_| ())
}

/// [`refused`], where `repair` makes the good plugin loadable again.
fn refused_until(damage: impl FnOnce(&Path), wanted: &[&str], repair: impl FnOnce(&Path)) -> VirtError {
    let _alone = ALONE.lock();
    let (root, bad) = damaged(damage);
    let house = House::over(root);
    let error = house.registry.driver("fixture01").unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains(bad.to_str().unwrap()),
        "{text}\nmust name {}",
        bad.display()
    );
    for word in wanted {
        assert!(text.contains(word), "{text}\nmust contain '{word}'");
    }
    let left: Vec<String> = mappings()
        .into_iter()
        .filter(|path| Path::new(path).starts_with(house.root.path()))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "mappings are left");
    assert_eq!(descriptors(), BTreeSet::new(), "descriptors are left");

    assert_eq!(house.registry.driver("fixture01").unwrap_err(), error);
    let state = house
        .registry
        .drivers()
        .into_iter()
        .find(|driver| driver.manifest.name == "fixture01")
        .unwrap()
        .state;
    assert_eq!(state, DriverState::Failed(error.clone()));

    repair(house.root.path());
    let connection = house.open(GOOD, "work").unwrap();
    assert_eq!(
        RemoteClient::new(&connection).connect_get_type().unwrap().kind,
        "Fixture"
    );
    error
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Replaces each `from` in `bytes` with `to`, which is as long. Answers how many.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(at, _)| at)
        .collect();
    for at in &places {
        bytes[*at..at + to.len()].copy_from_slice(to);
    }
    places.len()
}

#[test]
fn cut_short() {
    for keep in [0, 1, 16, 63, 64, 1000, 100_000] {
        let error = refused(|path| edit(path, |bytes| bytes.truncate(keep)), &["wanted"]);
        assert_eq!(error.code(), ErrorCode::OPERATION_FAILED, "{keep}: {error}");
    }
    for (numerator, denominator) in [(1, 4), (1, 2), (9, 10)] {
        refused(
            |path| {
                edit(path, |bytes| {
                    bytes.truncate(bytes.len() * numerator / denominator)
                })
            },
            &["wanted"],
        );
    }
}

#[test]
fn not_a_shared_object_at_all() {
    let text = refused(
        |path| std::fs::write(path, "just some text\n").unwrap(),
        &["15 bytes", "ELF wanted"],
    );
    assert_eq!(text.code(), ErrorCode::OPERATION_FAILED);
    refused(
        |path| {
            let mut state = 0x2545_f491_4f6c_dd1du64;
            let noise: Vec<u8> = (0..65536)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            std::fs::write(path, noise).unwrap();
        },
        &["no ELF file", "ELF wanted"],
    );
    // A program is ELF, and none.
    refused(
        |path| std::fs::write(path, std::fs::read("/proc/self/exe").unwrap()).unwrap(),
        &["wanted"],
    );
}

#[test]
fn for_another_machine() {
    refused(
        |path| edit(path, |bytes| bytes[18..20].copy_from_slice(&[0xf7, 0x00])),
        &["machine", "wanted"],
    );
    refused(|path| edit(path, |bytes| bytes[4] = 1), &["wanted"]);
    refused(
        |path| edit(path, |bytes| bytes[16] = 2),
        &["a shared object wanted"],
    );
}

#[test]
fn noise_in_the_headers() {
    // Whatever is written over the first bytes, the answer is an error or a driver, and never a signal.
    for at in (16..64).step_by(2) {
        let _alone = ALONE.lock();
        let (root, _) = damaged(|path| edit(path, |bytes| bytes[at..at + 2].copy_from_slice(&[0xff, 0x7f])));
        let house = House::over(root);
        if let Err(error) = house.registry.driver("fixture01") {
            assert!(
                error.message().contains("virt-driver-fixture01.so"),
                "{at}: {error}"
            );
        }
        house.open(GOOD, "work").unwrap();
    }
}

#[test]
fn of_another_major_version() {
    let note = refused(
        |path| {
            edit(path, |bytes| {
                let ours = format!("abi = \"{ABI_MAJOR}.{ABI_MINOR}\"");
                assert!(replace(bytes, ours.as_bytes(), b"abi = \"9.7\"") > 0);
            });
        },
        &["9.7", "1.x wanted"],
    );
    assert_eq!(note.code(), ErrorCode::OPERATION_FAILED);
}

#[test]
fn of_an_older_handshake() {
    // The note still says 1.x; the structure does not. This is found only after loading, so the mapping stays.
    let _alone = ALONE.lock();
    let (root, bad) = damaged(|path| {
        edit(path, |bytes| {
            let magic = 0x5649_5254_4452_5631u64.to_le_bytes();
            let mut major = magic.to_vec();
            major.extend_from_slice(&48u32.to_le_bytes());
            major.extend_from_slice(&1u32.to_le_bytes());
            let mut other = major.clone();
            other[12] = 7;
            assert!(replace(bytes, &major, &other) > 0, "the handshakes are found");
        });
    });
    let house = House::over(root);
    let error = house.registry.driver("fixture01").unwrap_err();
    let found = format!("binary interface 7.{ABI_MINOR}");
    for word in [bad.to_str().unwrap(), &found, "1.x", "wanted"] {
        assert!(error.message().contains(word), "{error}");
    }
    house.open(GOOD, "work").unwrap();
}

#[test]
fn missing_a_library() {
    refused(
        |path| {
            edit(path, |bytes| {
                assert!(replace(bytes, b"libgcc_s.so.1\0", b"libgcc_q.so.1\0") > 0);
            });
        },
        &["cannot load driver", "libgcc_q.so.1", "No such file"],
    );
}

#[test]
fn missing_its_symbol() {
    refused(
        |path| {
            edit(path, |bytes| {
                let from = b"virt_driver_handshake_v1_fixture01\0";
                assert!(replace(bytes, from, b"virt_driver_handshake_v1_fixtur_01\0") > 0);
            });
        },
        &["it exports", "symbol 'virt_driver_handshake_v1_fixture01' wanted"],
    );
    // A library that is no driver.
    refused(
        |path| {
            let library = mappings()
                .into_iter()
                .find(|path| path.contains("libgcc_s"))
                .unwrap();
            std::fs::copy(library, path).unwrap();
        },
        &["it exports no driver", "wanted"],
    );
}

#[test]
fn saying_something_else_than_its_manifest() {
    refused(
        |path| {
            let text = std::fs::read_to_string(path.with_extension("toml")).unwrap();
            std::fs::write(
                path.with_extension("toml"),
                text.replace("\"fixture\"", "\"qemu\""),
            )
            .unwrap();
        },
        &["its manifest file says", "qemu"],
    );
}

#[test]
fn writable_by_others() {
    let error = refused(
        |path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o757)).unwrap(),
        &["its mode is 0757", "not write wanted"],
    );
    assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
}

#[test]
fn owned_by_another() {
    need!(root);
    refused(
        |path| nix::unistd::chown(path, Some(65534.into()), None).unwrap(),
        &["its owner has uid 65534", "wanted"],
    );
}

#[test]
fn in_a_directory_that_others_write_to() {
    need!(root);
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let error = refused_until(
        |path| mode(path.parent().unwrap(), 0o777),
        &["the directory's mode is 0777", "wanted"],
        |directory| mode(directory, 0o700),
    );
    assert_eq!(error.code(), ErrorCode::OPERATION_FAILED);
}

#[test]
fn no_regular_file() {
    refused(
        |path| {
            let real = path.with_extension("real");
            std::fs::rename(path, &real).unwrap();
            symlink(&real, path).unwrap();
        },
        &["symbolic link", "a regular file wanted"],
    );
    refused(
        |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/nowhere/at/all.so", path).unwrap();
        },
        &["symbolic link", "a regular file wanted"],
    );
    refused(
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
        &["a directory", "a regular file wanted"],
    );
    refused(
        |path| {
            std::fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
        &["a special file", "a regular file wanted"],
    );
    let error = refused(
        |path| std::fs::remove_file(path).unwrap(),
        &["cannot find driver", "No such file"],
    );
    assert_eq!(error.code(), ErrorCode::SYSTEM_ERROR);
}

#[test]
fn broken_manifests_stop_nobody() {
    let _alone = ALONE.lock();
    let root = TempRoot::new();
    copy_plugin(&fixture().unwrap(), root.path(), &manifest(GOOD)).unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(root.path().join(name), text).unwrap();
    write("virt-driver-a.toml", b"name = ");
    write("virt-driver-b.toml", &[b'x'; 70_000]);
    write("virt-driver-c.toml", b"\xff\xfe");
    write(
        "virt-driver-d.toml",
        b"name = \"e\"\nkind = \"hypervisor\"\nrole = \"client\"\nschemes = []\nabi = \"1.0\"\n",
    );
    write("other.toml", b"not ours");
    let house = House::over(root);
    let problems = house.registry.problems();
    assert_eq!(problems.len(), 4, "{problems:?}");
    for (path, error) in &problems {
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
    house.open(GOOD, "work").unwrap();
    let error = house.registry.driver("nobody").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_CONNECT);
    assert!(error.message().contains(GOOD), "{error}");
}

/// 23 drivers are known; who needs one gets one into his process, not 23.
#[test]
fn one_open_maps_one_plugin() {
    let _alone = ALONE.lock();
    let house = House::with(NAMES).unwrap();
    assert_eq!(house.registry.drivers().len(), 23);
    let mapped = || {
        mappings()
            .into_iter()
            .filter(|path| Path::new(path).starts_with(house.root.path()))
            .collect::<Vec<_>>()
    };
    assert_eq!(mapped(), Vec::<String>::new());
    assert_eq!(
        house.registry.for_scheme("hypervisor", "fixture17").unwrap().name,
        "fixture17"
    );
    let connection = house.open("fixture17", "work").unwrap();
    assert_eq!(
        mapped(),
        [house
            .root
            .path()
            .join("virt-driver-fixture17.so")
            .display()
            .to_string()]
    );
    drop(connection);
    // Never unloaded.
    assert_eq!(mapped().len(), 1);
}

/// Plugins that cannot be loaded do not delay those who do not need them.
#[test]
fn a_note_is_read_without_loading() {
    let _alone = ALONE.lock();
    let object = fixture().unwrap();
    let before = mappings();
    let found = inspect(&object).unwrap();
    assert!(NAMES.contains(&found.name.as_str()), "{found:?}");
    assert_eq!(found.abi_version(), Some((ABI_MAJOR, ABI_MINOR)));
    assert_eq!(mappings(), before);
}

/// Two drivers that are part of the program, beside one that is loaded: one path for all.
#[test]
fn two_built_in_drivers() {
    let host = FakeHost::new();
    let registry = Registry::new(host, InitContext::default(), &SearchPath(Vec::new()));
    registry.add_builtin::<n21::PluginEntry>().unwrap();
    registry.add_builtin::<n22::PluginEntry>().unwrap();
    registry.add_builtin_as("sample", sample_driver);
    for (name, kind) in [
        ("fixture21", "Fixture"),
        ("fixture22", "Fixture"),
        ("sample", "Sample"),
    ] {
        let path = if name == "sample" { "default" } else { "work" };
        let connection = registry
            .driver(name)
            .unwrap()
            .open(&virt_api::plugin::OpenRequest {
                uri: format!("{name}:///{path}"),
                ..Default::default()
            })
            .unwrap();
        assert_eq!(
            RemoteClient::new(&connection).connect_get_type().unwrap().kind,
            kind
        );
    }
    let error = registry
        .driver("fixture21")
        .unwrap()
        .open(&virt_api::plugin::OpenRequest {
            uri: "fixture21:///open-panic".to_owned(),
            ..Default::default()
        })
        .unwrap_err();
    assert!(error.message().contains("fixture21 panicked"), "{error}");
    assert_eq!(Arc::strong_count(&registry.driver("fixture22").unwrap()), 2);
}
