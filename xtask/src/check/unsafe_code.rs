//! Where `unsafe` may stand (invariant 5).

use super::Problem;
use super::workspace::{Room, Workspace};
use std::path::Path;

/// The places that may hold `unsafe`, and why. A folder stands for all below it.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/virt-api/src/abi", "what crosses dlopen"),
    ("crates/virt-api/src/abi.rs", "what crosses dlopen"),
    ("crates/virt-api/src/plugin", "dlopen and the handshake"),
    ("crates/virt-api/src/plugin.rs", "dlopen and the handshake"),
    ("crates/libvirt", "the C interface"),
    ("crates/virt-util/src/time.rs", "system calls: clocks and poll"),
    ("crates/virt-util/src/time", "system calls: clocks and poll"),
    ("crates/virt-util/src/reactor.rs", "system calls: epoll, eventfd"),
    ("crates/virt-util/src/reactor", "system calls: epoll, eventfd"),
    (
        "crates/virt-util/src/command.rs",
        "system calls between fork and exec",
    ),
    (
        "crates/virt-util/src/command",
        "system calls between fork and exec",
    ),
    ("crates/virt-util/src/lock.rs", "system calls: fcntl locks"),
    ("crates/virt-util/src/sys.rs", "system calls"),
    ("crates/virt-util/src/sys", "system calls"),
    ("tests/waist", "breaks the waist on purpose"),
];

/// Packages of which some module may hold `unsafe`, so that the whole crate cannot forbid it.
const MIXED: &[&str] = &["virt-api", "virt-util", "libvirt"];

/// No `unsafe` outside the allowed places, and a SAFETY comment at each.
pub fn places(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace.members() {
        for (file, source) in workspace.sources(&member) {
            let allowed = ALLOWED.iter().any(|(place, _)| file.starts_with(place));
            for line in source.lines_with("unsafe") {
                let place = format!("{}:{line}", file.display());
                if !allowed {
                    problems.push(Problem::new(
                        place,
                        "unsafe; only the modules named in the check may hold it",
                    ));
                } else if source.opens_unsafe_block(line) && !source.has_safety_comment(line) {
                    problems.push(Problem::new(place, "unsafe block without a SAFETY comment"));
                }
            }
        }
    }
    problems
}

/// Every crate root of other packages forbids `unsafe`, so that the compiler proves it too.
pub fn forbidden(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in workspace.members() {
        if MIXED.contains(&member.name()) || member.folder.starts_with("tests/waist") {
            continue;
        }
        for target in &member.package.targets {
            let file = workspace.relative(target.src_path.as_std_path());
            // Integration tests and benches are crates of their own; the scan above covers them.
            let counts = target.is_lib()
                || target.is_bin()
                || target.is_cdylib()
                || target.is_proc_macro()
                || target.is_rlib();
            if counts && !forbids(&workspace.root.join(&file)) {
                let text = "lacks #![forbid(unsafe_code)]";
                problems.push(Problem::new(file.display().to_string(), text));
            }
        }
        if member.room == Room::Nowhere {
            problems.push(Problem::new(member.name(), "stands nowhere"));
        }
    }
    problems
}

/// Whether a crate root forbids `unsafe`.
fn forbids(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let code: String = super::Source::new(&text).code().split_whitespace().collect();
    code.contains("#![forbid(unsafe_code)]") || code.contains("#![forbid(unsafe_code,")
}
