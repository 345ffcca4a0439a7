use super::*;
use crate::fail_point::{self, Action};

fn options() -> WriteOptions {
    WriteOptions::default()
}

#[test]
fn a_written_file_has_content_and_mode_whatever_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.xml");
    fs::write(temporary_beside(&path), "a leftover longer than the new content").unwrap();
    write(&path, b"one", &options()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let public = WriteOptions {
        mode: 0o644,
        sync: false,
        ..options()
    };
    write(&path, b"two", &public).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(read(&path, 3).unwrap().as_deref(), Some(&b"two"[..]));
    assert!(read(&path, 2).unwrap_err().message().contains("2 bytes"));
    assert!(remove(&path).unwrap());
    assert!(!remove(&path).unwrap());
    assert_eq!(read(&path, 9).unwrap(), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn links_and_renames_replace() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    link(Path::new("a"), &at("auto")).unwrap();
    link(Path::new("b"), &at("auto")).unwrap();
    assert_eq!(fs::read_link(at("auto")).unwrap(), Path::new("b"));
    make_folder(&at("x/y"), 0o700).unwrap();
    make_folder(&at("x/y"), 0o755).unwrap();
    write(&at("one"), b"1", &options()).unwrap();
    rename(&at("one"), &at("x/y/two")).unwrap();
    assert!(!at("one").exists());
    assert_eq!(fs::read(at("x/y/two")).unwrap(), b"1");
}

#[test]
fn two_writers_of_one_file_never_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    let threads: Vec<_> = (0..4_u8)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let quick = WriteOptions {
                    sync: false,
                    ..WriteOptions::default()
                };
                for _ in 0..50 {
                    if let Err(error) = write(&path, &[number; 5000], &quick) {
                        assert_eq!(error.code(), ErrorCode::OPERATION_FAILED, "{error}");
                    }
                    if let Some(content) = read(&path, 5000).unwrap() {
                        assert_eq!(content.len(), 5000);
                        assert!(content.windows(2).all(|pair| pair[0] == pair[1]));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Does everything the module can do, in a folder that [`prepare`] has set up.
fn change_all(folder: &Path) -> Result<()> {
    write(&folder.join("written"), b"new", &options())?;
    remove(&folder.join("removed"))?;
    link(Path::new("new"), &folder.join("link"))?;
    rename(&folder.join("moved"), &folder.join("target"))
}

fn prepare(folder: &Path) {
    fs::write(folder.join("written"), "old").unwrap();
    fs::write(folder.join("removed"), "old").unwrap();
    symlink("old", folder.join("link")).unwrap();
    fs::write(folder.join("moved"), "new").unwrap();
    fs::write(folder.join("target"), "old").unwrap();
}

/// Each object is wholly old or wholly new.
fn check_old_or_new(folder: &Path, point: &str) {
    let written = fs::read_to_string(folder.join("written")).unwrap();
    assert!(["old", "new"].contains(&written.as_str()), "{point}: {written}");
    let link = fs::read_link(folder.join("link")).unwrap();
    assert!(link == Path::new("old") || link == Path::new("new"), "{point}");
    let target = fs::read_to_string(folder.join("target")).unwrap();
    assert_eq!(target == "old", folder.join("moved").exists(), "{point}");
}

#[test]
fn a_failure_at_each_point_is_reported_and_leaves_old_or_new() {
    for point in FAIL_POINTS {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let error = fail_point::with(point.name(), Action::Error, || change_all(folder.path())).unwrap_err();
        assert_eq!(error.int1(), libc::EIO);
        check_old_or_new(folder.path(), point.name());
        // And the same again without failure works.
        if folder.path().join("moved").exists() {
            change_all(folder.path()).unwrap();
        }
    }
}

/// The body of the process that is killed: does nothing in an ordinary run of the tests.
#[test]
fn victim() {
    if let Some(folder) = std::env::var_os("DURABLE_TEST_FOLDER") {
        change_all(Path::new(&folder)).unwrap();
    }
}

#[test]
fn a_kill_at_each_point_leaves_old_or_new() {
    for point in FAIL_POINTS {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durable::tests::victim", "--test-threads=1", "--quiet"])
            .env("DURABLE_TEST_FOLDER", folder.path())
            .env("VIRT_FAIL_POINT", format!("{}=kill", point.name()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL),
            "{}",
            point.name()
        );
        check_old_or_new(folder.path(), point.name());
        // Leftovers do not stand in the way.
        write(&folder.path().join("written"), b"again", &options()).unwrap();
        link(Path::new("again"), &folder.path().join("link")).unwrap();
    }
}
