//! Negative tests of the rules: each writes a small workspace that is in order but for one thing, and the rule
//! must name that thing.

use super::workspace::Workspace;
use super::{Problem, deny, layering, manifests, unsafe_code, waist};
use std::path::Path;
use tempfile::TempDir;

/// A workspace in order: the base crates, one driver, one test crate, xtask.
struct House {
    folder: TempDir,
}

const ROOT: &str = r#"
[workspace]
resolver = "3"
members = ["crates/*", "drivers/*", "tests/*", "xtask"]
exclude = ["outside"]
[workspace.package]
version = "0.1.0"
edition = "2024"
rust-version = "1.95"
license = "LGPL-2.1-or-later"
authors = ["A"]
[workspace.lints.rust]
unsafe_code = "deny"
"#;

const DENY: &str = r#"
[licenses]
allow = ["MIT"]
[bans]
deny = []
[sources]
allow-registry = []
"#;

const FORBID: &str = "#![forbid(unsafe_code)]\n";

impl House {
    fn new() -> Self {
        let house = Self {
            folder: TempDir::new().expect("a temporary folder"),
        };
        house.file("Cargo.toml", ROOT).file("deny.toml", DENY);
        house.package("crates/virt-util", "virt-util", "", "");
        house.package(
            "crates/virt-conf",
            "virt-conf",
            "",
            "virt-util = { path = \"../virt-util\" }",
        );
        house.package(
            "crates/virt-api",
            "virt-api",
            "",
            "virt-util = { path = \"../virt-util\" }",
        );
        house.package(
            "drivers/toy",
            "virt-driver-toy",
            "",
            "virt-api = { path = \"../../crates/virt-api\" }",
        );
        house.package(
            "tests/waist",
            "waist-tests",
            "publish = false",
            "virt-driver-toy = { path = \"../../drivers/toy\" }",
        );
        house.package("xtask", "xtask", "publish = false", "");
        house
    }

    /// Writes a file below the root.
    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("its folder");
        std::fs::write(path, text).expect("the file");
        self
    }

    /// Writes a package: lines for `[package]`, lines for `[dependencies]` and whatever follows.
    fn package(&self, folder: &str, name: &str, package: &str, rest: &str) -> &Self {
        let manifest = format!(
            "[package]\nname = \"{name}\"\ndescription = \"D\"\n{package}\nversion.workspace = true\n\
             edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
             authors.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n{rest}\n"
        );
        self.file(&format!("{folder}/Cargo.toml"), &manifest)
            .file(&format!("{folder}/src/lib.rs"), FORBID)
    }

    /// A package outside the workspace, as a stand-in for one from a registry.
    fn foreign(&self, name: &str) -> &Self {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlicense = \"MIT\"\n"
        );
        self.file(&format!("outside/{name}/Cargo.toml"), &manifest)
            .file(&format!("outside/{name}/src/lib.rs"), "")
    }

    fn find(&self, rule: fn(&Workspace) -> Vec<Problem>) -> Vec<String> {
        let workspace = Workspace::load(self.folder.path()).expect("a workspace that cargo reads");
        rule(&workspace).iter().map(ToString::to_string).collect()
    }
}

/// Exactly one problem, which says all of this.
#[track_caller]
fn one(found: &[String], parts: &[&str]) {
    assert_eq!(found.len(), 1, "one problem in {found:#?}");
    for part in parts {
        assert!(
            found.iter().all(|text| text.contains(part)),
            "'{part}' in {found:#?}"
        );
    }
}

#[test]
fn a_house_in_order_has_no_problems() {
    let house = House::new();
    for rule in super::RULES {
        assert_eq!(house.find(rule.find), [""; 0], "{}", rule.name);
    }
}

#[test]
fn a_plugin_names_no_other_plugin_in_any_way() {
    let other = "path = \"../other\"";
    for rest in [
        format!("virt-driver-other = {{ {other} }}"),
        format!("[dev-dependencies]\nvirt-driver-other = {{ {other} }}"),
        format!("[build-dependencies]\nvirt-driver-other = {{ {other} }}"),
        format!("[target.'cfg(windows)'.dependencies]\nvirt-driver-other = {{ {other} }}"),
        format!("virt-driver-other = {{ {other}, optional = true }}"),
        format!("innocent = {{ package = \"virt-driver-other\", {other} }}"),
    ] {
        let house = House::new();
        house
            .package("drivers/other", "virt-driver-other", "", "")
            .package("drivers/toy", "virt-driver-toy", "", &rest);
        one(
            &house.find(layering::dependencies),
            &["virt-driver-toy", "names virt-driver-other"],
        );
    }
}

#[test]
fn a_plugin_from_a_registry_is_a_plugin_too() {
    let house = House::new();
    house.foreign("virt-driver-far");
    house.package(
        "drivers/toy",
        "virt-driver-toy",
        "",
        "virt-driver-far = { path = \"../../outside/virt-driver-far\" }",
    );
    one(
        &house.find(layering::dependencies),
        &["virt-driver-toy", "names virt-driver-far"],
    );
}

#[test]
fn a_plugin_names_no_folder_outside_the_workspace() {
    let house = House::new();
    house.foreign("helper");
    house.package(
        "drivers/toy",
        "virt-driver-toy",
        "",
        "helper = { path = \"../../outside/helper\" }",
    );
    one(
        &house.find(layering::dependencies),
        &["virt-driver-toy", "names helper"],
    );
}

#[test]
fn a_base_crate_names_no_plugin() {
    let house = House::new();
    house.package("drivers/toy", "virt-driver-toy", "", "");
    house.package(
        "crates/virt-conf",
        "virt-conf",
        "",
        "virt-driver-toy = { path = \"../../drivers/toy\" }",
    );
    one(
        &house.find(layering::dependencies),
        &["virt-conf", "names virt-driver-toy"],
    );
}

#[test]
fn the_c_library_carries_two_drivers_and_no_third() {
    let house = House::new();
    house.package("drivers/test", "virt-driver-test", "", "");
    house.package(
        "crates/libvirt",
        "libvirt",
        "",
        "virt-driver-test = { path = \"../../drivers/test\" }",
    );
    assert_eq!(house.find(layering::dependencies), [""; 0]);
    house.package(
        "crates/libvirt",
        "libvirt",
        "",
        "virt-driver-toy = { path = \"../../drivers/toy\" }",
    );
    one(
        &house.find(layering::dependencies),
        &["libvirt", "names virt-driver-toy"],
    );
}

#[test]
fn virt_util_stands_at_the_bottom() {
    let house = House::new();
    house.package("crates/virt-conf", "virt-conf", "", "");
    house.package(
        "crates/virt-util",
        "virt-util",
        "",
        "virt-conf = { path = \"../virt-conf\" }",
    );
    house.package("crates/virt-api", "virt-api", "", "");
    one(
        &house.find(layering::dependencies),
        &["virt-util", "names virt-conf", "may name virt-macros"],
    );
}

#[test]
fn an_unknown_crate_is_refused() {
    let house = House::new();
    house.package("crates/virt-extra", "virt-extra", "", "");
    one(
        &house.find(layering::dependencies),
        &["virt-extra", "does not know"],
    );
}

#[test]
fn a_package_stands_in_a_room() {
    let house = House::new();
    house.file(
        "Cargo.toml",
        &ROOT.replace("\"xtask\"]", "\"xtask\", \"tools/odd\"]"),
    );
    house.package("tools/odd", "odd", "", "");
    one(
        &house.find(layering::dependencies),
        &["tools/odd", "outside crates/"],
    );
}

#[test]
fn base_crates_have_no_features() {
    let house = House::new();
    house.package(
        "crates/virt-conf",
        "virt-conf",
        "",
        "[features]\nfast = []\ntestkit = []",
    );
    one(&house.find(layering::features), &["virt-conf", "'fast'"]);
    house.foreign("helper");
    let optional = "helper = { path = \"../../outside/helper\", optional = true }";
    house.package("crates/virt-conf", "virt-conf", "", optional);
    one(&house.find(layering::features), &["virt-conf", "'helper'"]);
}

#[test]
fn sources_reach_out_by_no_attribute_or_macro() {
    for code in [
        "#[path = \"../../other/src/x.rs\"] mod x;",
        "#[cfg_attr(all(), path = \"../../other/src/x.rs\")] mod x;",
        "include!(\"../../other/src/x.rs\");",
        "const X: &str = include_str!(\"../../../README\");",
        "const X: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../other/x\"));",
        "const X: &[u8] = include_bytes!(\"/etc/passwd\");",
    ] {
        let house = House::new();
        house.file("drivers/toy/src/inner.rs", code);
        one(
            &house.find(layering::sources),
            &["drivers/toy/src/inner.rs:1", "outside the package"],
        );
    }
    let house = House::new();
    let fine = "mod y; // include!(\"../../x\")\n#[path = \"y/z.rs\"] mod z;\nconst A: &str = include_str!(\"../data/a\");\n\
                const B: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/b\"));";
    house.file("drivers/toy/src/inner.rs", fine);
    assert_eq!(house.find(layering::sources), [""; 0]);
}

#[test]
fn sources_reach_out_by_no_target_or_link() {
    let house = House::new();
    house.file("drivers/shared.rs", FORBID);
    house.package(
        "drivers/toy",
        "virt-driver-toy",
        "",
        "[lib]\npath = \"../shared.rs\"",
    );
    one(&house.find(layering::sources), &["virt-driver-toy", "built from"]);

    let house = House::new();
    house.file("drivers/shared.rs", FORBID);
    let link = house.folder.path().join("drivers/toy/src/linked.rs");
    std::os::unix::fs::symlink(Path::new("../../shared.rs"), link).expect("a link");
    one(
        &house.find(layering::sources),
        &["drivers/toy/src/linked.rs", "is a link"],
    );
}

#[test]
fn one_module_names_the_stable_abi() {
    let house = House::new();
    house.file("crates/virt-api/src/abi/types.rs", "use abi_stable::StableAbi;\n");
    house.file("tests/waist/abi/1.0/types.rs", "use abi_stable::StableAbi;\n");
    house.file("drivers/toy/src/a.rs", "// abi_stable is fine in a comment\n");
    assert_eq!(house.find(waist::one_module), [""; 0]);
    house.file(
        "crates/virt-api/src/plugin.rs",
        "\nuse abi_stable::std_types::RVec;\n",
    );
    one(
        &house.find(waist::one_module),
        &["crates/virt-api/src/plugin.rs:2", "names abi_stable"],
    );
}

#[test]
fn one_manifest_names_the_stable_abi() {
    let house = House::new();
    house.foreign("abi_stable");
    house.package(
        "drivers/toy",
        "virt-driver-toy",
        "",
        "abi_stable = { path = \"../../outside/abi_stable\" }",
    );
    one(
        &house.find(waist::one_module),
        &["virt-driver-toy", "depends on abi_stable"],
    );
}

#[test]
fn no_plugin_is_built_from_a_runtime() {
    for heavy in ["tokio", "hyper", "clap"] {
        let house = House::new();
        house.foreign(heavy);
        // Not named by the plugin itself: it comes with a base crate.
        let rest = format!("{heavy} = {{ path = \"../../outside/{heavy}\" }}");
        house.package("crates/virt-util", "virt-util", "", &rest);
        one(&house.find(waist::light_plugins), &["virt-driver-toy", heavy]);
    }
    let house = House::new();
    house.foreign("clap");
    house.package(
        "drivers/toy",
        "virt-driver-toy",
        "",
        "[dev-dependencies]\nclap = { path = \"../../outside/clap\" }",
    );
    assert_eq!(
        house.find(waist::light_plugins),
        [""; 0],
        "a test of a plugin may use what it likes"
    );
}

#[test]
fn the_abi_changes_with_a_new_minor_only() {
    let house = House::new();
    house.file(
        "crates/virt-api/src/abi/v1/mod.rs",
        "pub struct CallIn { pub a: u32 }\n",
    );
    one(&house.find(waist::frozen), &["no frozen copy"]);

    house.file(
        "tests/waist/abi/1.0/mod.rs",
        "/// A call.\npub struct CallIn {\n    pub a: u32\n}\n",
    );
    assert_eq!(
        house.find(waist::frozen),
        [""; 0],
        "comments and layout are no change"
    );

    house.file(
        "crates/virt-api/src/abi/v1/mod.rs",
        "pub struct CallIn { pub a: u64 }\n",
    );
    one(
        &house.find(waist::frozen),
        &["mod.rs", "frozen as 1.0", "raise the minor version"],
    );

    house.file(
        "tests/waist/abi/1.10/mod.rs",
        "pub struct CallIn { pub a: u64 }\n",
    );
    house.file("tests/waist/abi/1.9/mod.rs", "pub struct CallIn { pub a: u16 }\n");
    assert_eq!(
        house.find(waist::frozen),
        [""; 0],
        "the newest copy counts, by number"
    );

    house.file("crates/virt-api/src/abi/v1/extra.rs", "pub struct More;\n");
    one(&house.find(waist::frozen), &["extra.rs", "frozen as 1.10"]);
}

#[test]
fn unsafe_stands_in_named_places_only() {
    let house = House::new();
    house.file(
        "drivers/toy/src/a.rs",
        "// unsafe\nconst X: &str = \"unsafe\";\nfn f() { unsafe { g() } }\n",
    );
    one(
        &house.find(unsafe_code::places),
        &["drivers/toy/src/a.rs:3", "only the modules named"],
    );

    let house = House::new();
    house.file("crates/virt-util/src/uri.rs", "unsafe fn f() {}\n");
    one(
        &house.find(unsafe_code::places),
        &["crates/virt-util/src/uri.rs:1"],
    );
}

#[test]
fn unsafe_blocks_say_why_they_are_sound() {
    let house = House::new();
    let good = "fn f() {\n    // SAFETY: g is sound\n    // for every input.\n    let x =\n        unsafe { g() };\n}\n";
    house.file("crates/virt-api/src/abi/a.rs", good);
    assert_eq!(house.find(unsafe_code::places), [""; 0]);
    let bad = "fn f() {\n    // SAFETY: this is for the first.\n    unsafe { g() };\n    let x = 1;\n    unsafe { h() };\n}\n";
    house.file("crates/virt-api/src/abi/a.rs", bad);
    one(
        &house.find(unsafe_code::places),
        &["abi/a.rs:5", "without a SAFETY comment"],
    );
}

#[test]
fn other_crates_forbid_unsafe() {
    let house = House::new();
    house.file("drivers/toy/src/lib.rs", "// #![forbid(unsafe_code)]\n");
    one(
        &house.find(unsafe_code::forbidden),
        &["drivers/toy/src/lib.rs", "lacks"],
    );
    house
        .file("drivers/toy/src/lib.rs", FORBID)
        .file("drivers/toy/src/bin/helper.rs", "fn main() {}\n");
    one(
        &house.find(unsafe_code::forbidden),
        &["drivers/toy/src/bin/helper.rs", "lacks"],
    );
}

#[test]
fn manifests_inherit_and_publish_as_they_should() {
    let house = House::new();
    house.package("drivers/toy", "virt-driver-toy", "publish = false", "");
    one(
        &house.find(manifests::shape),
        &["virt-driver-toy", "has publish = false"],
    );

    let house = House::new();
    house.package("xtask", "xtask", "", "");
    one(&house.find(manifests::shape), &["xtask", "lacks publish = false"]);

    let house = House::new();
    let path = house.folder.path().join("drivers/toy/Cargo.toml");
    let text = std::fs::read_to_string(path).expect("the manifest");
    house.file(
        "drivers/toy/Cargo.toml",
        &text.replace("edition.workspace = true", "edition = \"2021\""),
    );
    one(
        &house.find(manifests::shape),
        &["virt-driver-toy", "edition.workspace"],
    );
    house.file(
        "drivers/toy/Cargo.toml",
        &text.replace("[lints]\nworkspace = true", ""),
    );
    one(&house.find(manifests::shape), &["virt-driver-toy", "[lints]"]);

    let house = House::new();
    house.file(
        "Cargo.toml",
        &format!("{ROOT}\n[workspace.dependencies]\nvirt-util = {{ path = \"crates/virt-util\" }}\n"),
    );
    one(
        &house.find(manifests::shape),
        &["virt-util", "a path and no version"],
    );
}

#[test]
fn the_dependency_policy_must_be_there() {
    let house = House::new();
    std::fs::remove_file(house.folder.path().join("deny.toml")).expect("it was there");
    one(&house.find(deny::offline), &["deny.toml"]);
    house.file("deny.toml", "[licenses\n");
    one(&house.find(deny::offline), &["deny.toml"]);
}
