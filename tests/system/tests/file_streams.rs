//! Files as streams of the daemon: what uploads and downloads of volumes move, by stock virsh, with holes and without.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use virt_api::need;
use virt_tests_system::daemon::Daemon;
use virt_tests_system::stuck::with_sleeper;

/// More than any buffer on the way holds.
const SIZE: u64 = 32 << 20;

/// A daemon with a driver that opens files of a folder.
struct Volumes {
    daemon: Daemon,
    uri: String,
    folder: tempfile::TempDir,
    _drivers: tempfile::TempDir,
}

impl Volumes {
    fn new() -> Self {
        let drivers = with_sleeper();
        let daemon = Daemon::start_in("", &[], drivers.path());
        let folder = tempfile::tempdir().unwrap();
        let uri = daemon.uri(&format!("sleeper://{}", folder.path().display()));
        Self {
            daemon,
            uri,
            folder,
            _drivers: drivers,
        }
    }

    /// A file with data in two places and holes around them.
    fn image(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let file = File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        let data: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8 + 1).collect();
        file.write_all_at(&data, 4096).unwrap();
        file.write_all_at(&data, SIZE / 2 + 1000).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn virsh(&self, command: &str, volume: &Path, file: &Path, options: &[&str]) -> String {
        let (volume, file) = (volume.to_str().unwrap(), file.to_str().unwrap());
        let words = [&[command, "--vol", volume, "--file", file], options].concat();
        self.daemon.virsh_ok(&self.uri, &words)
    }
}

fn same(one: &Path, other: &Path) -> bool {
    std::fs::read(one).unwrap() == std::fs::read(other).unwrap()
}

/// Bytes that a file takes up.
fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn downloads_are_like_the_file() {
    need!(program "virsh");
    let volumes = Volumes::new();
    let volume = volumes.image("volume");
    let out = volumes.path("out");
    volumes.virsh("vol-download", &volume, &out, &[]);
    assert!(same(&volume, &out));
    volumes.virsh("vol-download", &volume, &out, &["--sparse"]);
    assert!(same(&volume, &out));
    assert!(allocated(&out) < SIZE / 2);
    volumes.virsh(
        "vol-download",
        &volume,
        &out,
        &["--offset", "5000", "--length", "1000000"],
    );
    let part = std::fs::read(&volume).unwrap();
    assert!(std::fs::read(&out).unwrap() == part.get(5000..1_005_000).unwrap());
    // What goes beyond the end is what there is.
    let behind = (SIZE - 10).to_string();
    volumes.virsh(
        "vol-download",
        &volume,
        &out,
        &["--offset", &behind, "--length", "100"],
    );
    assert_eq!(std::fs::metadata(&out).unwrap().len(), 10);
}

#[test]
fn uploads_make_the_file_like_it() {
    need!(program "virsh");
    let volumes = Volumes::new();
    let source = volumes.image("source");
    let volume = volumes.path("volume");
    for options in [&[][..], &["--sparse"]] {
        std::fs::write(&volume, vec![0xff; usize::try_from(SIZE).unwrap()]).unwrap();
        volumes.virsh("vol-upload", &volume, &source, options);
        assert!(same(&volume, &source), "{options:?}");
    }
    assert!(allocated(&volume) < SIZE / 2);
    // What is before and behind stays.
    let small = volumes.path("small");
    std::fs::write(&small, b"in the middle").unwrap();
    volumes.virsh("vol-upload", &volume, &small, &["--offset", "8192"]);
    let mut wanted = std::fs::read(&source).unwrap();
    wanted.splice(8192..8205, *b"in the middle");
    assert!(std::fs::read(&volume).unwrap() == wanted);
}

#[test]
fn an_upload_beyond_its_length_says_so() {
    need!(program "virsh");
    let volumes = Volumes::new();
    let source = volumes.image("source");
    let volume = volumes.path("volume");
    std::fs::write(&volume, b"").unwrap();
    let (name, file) = (volume.to_str().unwrap(), source.to_str().unwrap());
    let words = ["vol-upload", "--vol", name, "--file", file, "--length", "100000"];
    let error = volumes.daemon.virsh_error(&volumes.uri, &words);
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(std::fs::metadata(&volume).unwrap().len(), 100_000);
}
