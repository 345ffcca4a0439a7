//! A driver that lives elsewhere: compiled from the packages as they would be published, in a workspace of its own, and
//! driven by virsh.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use virt_api::need;
use virt_api::plugin::{Manifest, inspect};
use virt_api::testkit::{TempRoot, copy_plugin};
use virt_tests_waist::fixture;

/// The smallest driver that answers anything.
const TINY: &str = r#"#![forbid(unsafe_code)]
use virt_api::{Result, call::CallContext, driver::*, protocol::{remote::*, traits::*}};
#[derive(Default)]
struct Tiny;
impl Driver for Tiny { fn open(&self, _: &OpenContext) -> Result<Box<dyn DriverConnection>> { Ok(Box::new(Tiny)) } }
impl DriverConnection for Tiny { fn hypervisor(&self) -> Option<&dyn HypervisorDriver> { Some(self) } }
#[virt_api::implements]
impl HypervisorDriver for Tiny { fn connect_get_hostname(&self, _: &mut CallContext<'_>) -> Result<ConnectGetHostnameReply> { Ok(ConnectGetHostnameReply { hostname: "tiny.example".into() }) } }
virt_api::driver!("tiny", Tiny);
"#;

/// What an author's driver is compiled from.
const PACKAGES: &[&str] = &["virt-util", "virt-macros", "virt-api", "virt-conf"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Where programs and shared objects of the tree are.
fn built() -> PathBuf {
    fixture().unwrap().parent().unwrap().to_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}\n{text}\n{errors}");
    text
}

/// Packages the crates and unpacks the packages: nothing but what would be published. Once.
fn packages() -> &'static [(String, PathBuf)] {
    static UNPACKED: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let target = built().parent().unwrap().join("waist/package");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args([
                "package",
                "--quiet",
                "--offline",
                "--allow-dirty",
                "--no-verify",
                "--target-dir",
            ])
            .arg(&target)
            .current_dir(top());
        // Everything that can be packaged is, programs and tests too: none may be in the way of the others.
        cargo.arg("--workspace");
        run(&mut cargo);
        PACKAGES
            .iter()
            .map(|package| {
                let name = format!("{package}-{}", env!("CARGO_PKG_VERSION"));
                let place = target.join(&name);
                let _ = std::fs::remove_dir_all(&place);
                let file = target.join("package").join(format!("{name}.crate"));
                run(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&target));
                ((*package).to_owned(), place)
            })
            .collect()
    })
}

/// cargo for a workspace elsewhere.
fn outside(what: &str, place: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([what, "--offline", "--quiet"])
        .current_dir(place)
        // Compiled once: no room for what only helps the next time.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo
}

/// Compiles the driver in `place` from the packages, and puts it into a folder of plugins.
fn compile(place: &Path, name: &str) -> (TempRoot, Manifest) {
    let mut manifest = std::fs::read_to_string(place.join("Cargo.toml")).unwrap();
    manifest.push_str("\n[patch.crates-io]\n");
    for (package, path) in packages() {
        manifest.push_str(&format!("{package} = {{ path = {path:?} }}\n"));
    }
    std::fs::write(place.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(top().join("Cargo.lock"), place.join("Cargo.lock")).unwrap();
    let target = built().parent().unwrap().join("waist/outside");
    run(outside("build", place).env("CARGO_TARGET_DIR", &target));
    let object = target
        .join("debug")
        .join(format!("libvirt_driver_{}.so", name.replace('-', "_")));
    let described = inspect(&object).unwrap();
    assert_eq!(described.name, name);
    let folder = TempRoot::new();
    copy_plugin(&object, folder.path(), &described).unwrap();
    (folder, described)
}

fn virsh(folder: &TempRoot, arguments: &[&str]) -> String {
    run(Command::new(built().join("virsh"))
        .args(arguments)
        .env("VIRT_DRIVER_DIR", folder.path())
        .env_remove("LIBVIRT_DEFAULT_URI"))
}

#[test]
fn ten_lines_elsewhere_are_a_driver() {
    need!(program "tar");
    assert!(TINY.lines().count() < 10);
    let place = TempRoot::new();
    std::fs::create_dir(place.path().join("src")).unwrap();
    std::fs::write(place.path().join("src/lib.rs"), TINY).unwrap();
    std::fs::write(
        place.path().join("Cargo.toml"),
        format!(
            "[package]\nname = \"virt-driver-tiny\"\nversion = \"2.5.0\"\nedition = \"2024\"\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nvirt-api = \"{}\"\n\n[workspace]\n",
            env!("CARGO_PKG_VERSION")
        ),
    )
    .unwrap();
    let (folder, described) = compile(place.path(), "tiny");
    assert_eq!(described.version, "2.5.0", "the version is the driver's own");
    assert_eq!(
        virsh(&folder, &["-c", "tiny:///anything", "hostname"]).trim(),
        "tiny.example"
    );
    assert!(virsh(&folder, &["driver-list"]).contains("tiny"));
}

/// A plugin whose panics would end the process does not compile.
#[test]
fn a_plugin_that_aborts_does_not_compile() {
    need!(program "tar");
    let place = TempRoot::new();
    std::fs::create_dir(place.path().join("src")).unwrap();
    std::fs::write(
        place.path().join("src/lib.rs"),
        TINY.replace("\"tiny\"", "\"aborts\""),
    )
    .unwrap();
    let mut manifest = format!(
        "[package]\nname = \"virt-driver-aborts\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nvirt-api = \"{}\"\n\n[workspace]\n\n\
         [profile.dev]\npanic = \"abort\"\n\n[patch.crates-io]\n",
        env!("CARGO_PKG_VERSION")
    );
    for (package, path) in packages() {
        manifest.push_str(&format!("{package} = {{ path = {path:?} }}\n"));
    }
    std::fs::write(place.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(top().join("Cargo.lock"), place.path().join("Cargo.lock")).unwrap();
    let output = outside("check", place.path())
        .env(
            "CARGO_TARGET_DIR",
            built().parent().unwrap().join("waist/outside"),
        )
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        errors.contains("must be compiled with panic = \"unwind\""),
        "{errors}"
    );
}

/// What `cargo xtask new-driver` writes is a driver too.
#[test]
fn a_new_driver_loads() {
    need!(program "tar");
    let place = TempRoot::new();
    let folder = place.path().join("skeleton");
    run(Command::new(built().join("xtask"))
        .args(["new-driver", "my-cloud", "--published", "--dir"])
        .arg(&folder)
        // As `cargo xtask` would set it: the tree is found by it.
        .env("CARGO_MANIFEST_DIR", top().join("xtask"))
        .current_dir(top()));
    let (plugins, _) = compile(&folder, "my-cloud");
    let listed = virsh(&plugins, &["-c", "my-cloud:///default", "list", "--all"]);
    assert!(listed.contains("Name"), "{listed}");
}
