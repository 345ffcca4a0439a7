//! Files of the installation, by the judgement of those who read them: systemd, polkit, man, packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use virt_api::need;
use virt_tests_system::host::{Ran, run_to_end};
use virt_tests_system::installed::{Installation, folder};

fn run(program: &str, words: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C");
    run_to_end(command)
}

/// A root with what the installation has for systemd and for users, to be changed.
fn root() -> (tempfile::TempDir, String) {
    let root = folder();
    let lib = root.path().join("usr/lib");
    std::fs::create_dir_all(&lib).unwrap();
    for name in ["systemd", "sysusers.d", "tmpfiles.d"] {
        let from = Installation::get().path("lib").join(name);
        run("cp", &["-r", from.to_str().unwrap(), lib.to_str().unwrap()]).ok();
    }
    let path = root.path().display().to_string();
    (root, path)
}

/// The units of the installation.
fn units() -> Vec<PathBuf> {
    let folder = Installation::get().path("lib/systemd/system");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut units: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    units.sort();
    units
}

#[test]
fn units_are_what_systemd_takes() {
    need!(program "systemd-analyze");
    let (root, path) = root();
    // Programs that units name have to be there.
    let program = |path: PathBuf| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    program(root.path().join("bin/kill"));
    for entry in std::fs::read_dir(Installation::get().path("sbin"))
        .unwrap()
        .flatten()
    {
        program(root.path().join("usr/sbin").join(entry.file_name()));
    }
    let units = units();
    let names: Vec<&str> = units
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    for daemon in ["libvirtd", "virtproxyd", "virtqemud"] {
        for unit in [".service", ".socket", "-ro.socket", "-admin.socket"] {
            let name = format!("{daemon}{unit}");
            assert!(names.contains(&name.as_str()), "{name}: {names:?}");
        }
    }
    let root_option = format!("--root={path}");
    let mut words = vec![
        "verify",
        root_option.as_str(),
        "--man=no",
        "--recursive-errors=no",
    ];
    words.extend(&names);
    let ran = run("systemd-analyze", &words);
    assert!(ran.succeeded() && ran.err.is_empty(), "{ran:?}");
    // It would have said so if there were something to say.
    let broken = root.path().join("usr/lib/systemd/system/libvirtd.service");
    let text = std::fs::read_to_string(&broken).unwrap();
    std::fs::write(&broken, text.replace("WatchdogSec=120", "WatchdogSec=soon")).unwrap();
    let ran = run("systemd-analyze", &words);
    assert!(ran.err.contains("soon"), "{ran:?}");
}

/// How exposed systemd thinks a unit is: 0 to 10.
#[track_caller]
fn exposure(unit: &Path) -> f64 {
    let ran = run(
        "systemd-analyze",
        &["security", "--offline=true", unit.to_str().unwrap()],
    );
    let text = ran.ok();
    let figure = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for"))
        .and_then(|(_, rest)| rest.split(':').nth(1))
        .and_then(|rest| rest.split_whitespace().next());
    figure.and_then(|figure| figure.parse().ok()).expect(&text)
}

#[test]
fn units_are_no_more_exposed_than_libvirts() {
    need!(program "systemd-analyze", package "libvirt-daemon-system");
    let theirs = exposure(Path::new("/lib/systemd/system/libvirtd.service"));
    let mut figures = BTreeMap::new();
    for unit in units() {
        if unit.extension().is_some_and(|kind| kind == "service") {
            figures.insert(unit.file_name().unwrap().to_owned(), exposure(&unit));
        }
    }
    println!("libvirt's libvirtd.service {theirs}, ours {figures:?}");
    assert!(
        figures.len() > 2 && figures.values().all(|ours| *ours <= theirs),
        "libvirt's: {theirs}; ours: {figures:?}"
    );
}

#[test]
fn the_group_and_folders_are_made_by_systemd() {
    need!(root, program "systemd-sysusers", program "systemd-tmpfiles");
    let (root, path) = root();
    let root_option = format!("--root={path}");
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    let ran = run("systemd-sysusers", &[&root_option]);
    ran.ok();
    let groups = std::fs::read_to_string(root.path().join("etc/group")).unwrap();
    assert!(groups.contains("libvirt:x:"), "{groups}");
    let ran = run("systemd-tmpfiles", &[&root_option, "--create"]);
    assert!(ran.succeeded() && ran.err.is_empty(), "{ran:?}");
    for (folder, mode) in [
        ("run/libvirt", 0o755),
        ("var/lib/libvirt", 0o755),
        ("var/log/libvirt", 0o700),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let data = std::fs::metadata(root.path().join(folder)).unwrap();
        assert_eq!(data.permissions().mode() & 0o777, mode, "{folder}");
    }
    // A second time nothing changes.
    run("systemd-sysusers", &[&root_option]).ok();
    run("systemd-tmpfiles", &[&root_option, "--create"]).ok();
    assert_eq!(
        std::fs::read_to_string(root.path().join("etc/group")).unwrap(),
        groups
    );
}

/// The actions of a file of polkit's: each with what it says when nobody has made a rule.
#[track_caller]
fn actions(file: &Path) -> String {
    let program = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == 'policyconfig', root.tag
for action in sorted(root.findall('action'), key=lambda each: each.get('id')):
    assert action.find('description').text.strip() and action.find('message').text.strip(), action.get('id')
    said = {each.tag: each.text.strip() for each in action.find('defaults')}
    print(action.get('id'), *(name + '=' + said.get(name, '-') for name in ('allow_any', 'allow_inactive', 'allow_active')))
";
    run("python3", &["-c", program, file.to_str().unwrap()]).ok()
}

#[test]
fn polkits_actions_are_those_of_libvirt() {
    need!(program "python3", package "libvirt-daemon-system");
    for file in ["org.libvirt.unix.policy", "org.libvirt.api.policy"] {
        let folder = Path::new("share/polkit-1/actions");
        let ours = actions(&Installation::get().path(folder.join(file).to_str().unwrap()));
        let theirs = actions(&Path::new("/usr").join(folder).join(file));
        assert!(ours.lines().count() > 1, "{ours}");
        assert_eq!(ours, theirs, "{file}");
    }
}

#[test]
fn manual_pages_are_written_without_a_warning() {
    need!(program "groff");
    // One for each name of the daemon and each program.
    for (programs, section) in [("sbin", 8), ("bin", 1)] {
        for program in std::fs::read_dir(Installation::get().path(programs)).unwrap() {
            let name = program.unwrap().file_name().into_string().unwrap();
            let section = if name == "virt-ssh-helper" { 8 } else { section };
            // All names of the daemon are told on one page.
            let what = match programs {
                "sbin" => "virtproxyd",
                _ => name.as_str(),
            };
            let page = Installation::get().path(&format!("share/man/man{section}/{name}.{section}"));
            let ran = run("groff", &["-ww", "-man", "-Tascii", page.to_str().unwrap()]);
            assert!(
                ran.succeeded() && ran.err.is_empty() && ran.out.contains(what),
                "{}: {ran:?}",
                page.display()
            );
        }
    }
}

/// What bash proposes behind a line.
fn proposed(line: &str) -> String {
    let installed = Installation::get();
    let script = "source \"$0\"; COMP_LINE=$1; COMP_POINT=${#1}; _virsh; echo \"${COMPREPLY[*]}\"";
    let file = installed.path("share/bash-completion/completions/virsh");
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script]).arg(file).arg(line);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", installed.path("bin").display()));
    command.env_remove("VIRSH_DEFAULT_CONNECT_URI");
    let ran = run_to_end(command);
    assert!(ran.succeeded() && ran.err.is_empty(), "{line}: {ran:?}");
    ran.out.trim_end().to_owned()
}

#[test]
fn bash_completes_what_virsh_knows() {
    need!(program "bash");
    assert_eq!(proposed("virsh domren"), "domrename");
    assert_eq!(proposed("virsh -c test:///default dominfo --domain "), "test");
    assert_eq!(
        proposed("virsh --connect=test:///default -d 3 start --pau"),
        "--paused"
    );
    assert_eq!(proposed("virsh --keepalive-i"), "--keepalive-interval");
    // No URI is known before it is typed.
    assert_eq!(proposed("virsh -c te"), "");
}

#[test]
fn the_example_of_a_configuration_is_taken_as_it_is() {
    let example = Installation::get().path("share/doc/ferrovirt/libvirtd.conf");
    let text = std::fs::read_to_string(&example).unwrap();
    assert!(text.contains("#listen_tls = 1\n"), "{text}");
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')));
}

#[test]
fn every_name_that_clients_start_is_there() {
    let installed = Installation::get();
    // A daemon for every driver that keeps state on its host.
    let table = include_str!("../../../../crates/virtd/files/daemons.tbl");
    let mut wanted = BTreeSet::from(["libvirtd".to_owned(), "virtproxyd".to_owned()]);
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let mut words = row.split_whitespace();
        let (name, driver) = (words.next().unwrap(), words.next().unwrap());
        let manifest = installed.path(&format!("lib/virt/drivers/virt-driver-{driver}.toml"));
        let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
        if manifest.contains("role = \"stateful\"") {
            wanted.insert(name.to_owned());
        }
    }
    assert!(
        wanted.contains("virtqemud") && wanted.contains("virtlxcd"),
        "{wanted:?}"
    );
    for name in &wanted {
        let program = installed.path("sbin").join(name);
        let mut command = Command::new(&program);
        command.arg("--version");
        let said = run_to_end(command).ok();
        assert!(
            said.contains(name.as_str()) && said.contains("11.3.0"),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_package_has_the_files_of_an_installation_below_its_root() {
    let installed = Installation::get();
    let files = installed.files();
    for wanted in [
        "/usr/sbin/virtd",
        "/usr/bin/virsh",
        "/usr/bin/virt-ssh-helper",
        "/usr/lib/virt/drivers/virt-driver-qemu.so",
        "/usr/lib/virt/drivers/virt-driver-qemu.toml",
        "/usr/lib/systemd/system/virtproxyd-tls.socket",
        "/usr/lib/sysusers.d/libvirt.conf",
        "/usr/lib/tmpfiles.d/libvirt.conf",
        "/usr/share/polkit-1/actions/org.libvirt.unix.policy",
        "/usr/share/man/man8/virtd.8",
        "/usr/share/man/man8/virt-ssh-helper.8",
        "/usr/share/man/man1/virsh.1",
        "/usr/share/bash-completion/completions/virsh",
        "/usr/share/doc/ferrovirt/libvirtd.conf",
        "/etc/logrotate.d/libvirt",
    ] {
        assert!(files.contains(Path::new(wanted)), "{wanted}: {files:?}");
    }
    // Each file is in one list, by the path that it will have.
    let mut listed = Vec::new();
    for list in std::fs::read_dir(installed.lists()).unwrap().flatten() {
        let text = std::fs::read_to_string(list.path()).unwrap();
        listed.extend(text.lines().map(PathBuf::from));
    }
    assert_eq!(listed.len(), files.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), files);
    // Nothing that was installed knows the root.
    let root = installed.root().display().to_string();
    for unit in units() {
        let text = std::fs::read_to_string(&unit).unwrap();
        assert!(!text.contains(&root), "{}: {text}", unit.display());
    }
    let unit = std::fs::read_to_string(installed.path("lib/systemd/system/libvirtd.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/sbin/libvirtd "), "{unit}");
}
