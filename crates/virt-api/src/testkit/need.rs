//! Ends a test whose machine lacks something, so that everybody sees it: a skip is never a pass.

use std::io::Write;
use std::path::PathBuf;

/// Something a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To run as root.
    Root,
    /// `/dev/kvm`, usable.
    Kvm,
    /// A program in `PATH`.
    Program(&'static str),
    /// A file that an installed package has: a path.
    Package(&'static str),
    /// The corpus (`VIRT_CORPUS`).
    Corpus,
}

impl Need {
    /// The name that `VIRT_REQUIRE` lists, and why this machine does not have it; `None` if it has.
    fn missing(self) -> Option<(&'static str, String)> {
        match self {
            Self::Root => {
                (!nix::unistd::geteuid().is_root()).then(|| ("root", "not running as root".to_owned()))
            }
            Self::Kvm => std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .err()
                .map(|error| ("kvm", format!("/dev/kvm: {error}"))),
            Self::Program(name) => (!in_path(name)).then(|| (name, format!("no program {name} in PATH"))),
            Self::Package(name) => {
                (!installed(name)).then(|| (name, format!("package {name} is not installed")))
            }
            Self::Corpus => std::env::var_os("VIRT_CORPUS")
                .is_none_or(|path| !PathBuf::from(path).is_dir())
                .then(|| ("corpus", "VIRT_CORPUS names no directory".to_owned())),
        }
    }
}

fn in_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}

/// Debian's list of a package's files is there exactly while it is installed. Multi-arch packages have the architecture
/// in the name of the list.
fn installed(name: &str) -> bool {
    let lists = PathBuf::from("/var/lib/dpkg/info");
    if lists.join(format!("{name}.list")).is_file() {
        return true;
    }
    std::fs::read_dir(lists).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                entry
                    .file_name()
                    .to_str()
                    .and_then(|file| file.strip_suffix(".list"))
                    .and_then(|file| file.split_once(':'))
                    .is_some_and(|(package, _)| package == name)
            })
        })
    })
}

/// The first of `needs` that this machine lacks, as the reason of a skip: its name, then why.
///
/// # Panics
/// If `VIRT_REQUIRE` (names with commas) says that the machine must have it.
#[allow(clippy::panic, reason = "a required need that is not met fails the test")]
pub fn unmet(needs: &[Need]) -> Option<String> {
    let (name, why) = needs.iter().find_map(|need| need.missing())?;
    let required = std::env::var("VIRT_REQUIRE").unwrap_or_default();
    if required.split(',').any(|wanted| wanted.trim() == name) {
        panic!("{name} is required here: {why}");
    }
    Some(format!("{name}: {why}"))
}

/// Records that the running test was skipped: on stderr, and in the file that `VIRT_SKIP_FILE` names.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unknown");
    let reason = reason.replace(['\n', '\t'], " ");
    eprintln!("VIRT-SKIP {test} {reason}");
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os("VIRT_SKIP_FILE")
        && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path)
    {
        // One write, so that tests in parallel do not mix their lines. The line on stderr is there in any case.
        let _ = file.write_all(format!("{test}\t{reason}\n").as_bytes());
    }
}

/// What a skipped test returns.
pub trait Skipped {
    /// The value.
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<E> Skipped for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Ends the test, as skipped, unless the machine has all of this: `need!(root, kvm, program "qemu-img", package
/// "libvirt-clients", corpus)`. `cargo xtask test` counts it; `--require` turns it into a failure.
#[macro_export]
macro_rules! need {
    ($($what:ident $($name:literal)?),+ $(,)?) => {
        if let Some(reason) = $crate::testkit::unmet(&[$($crate::__need!($what $($name)?)),+]) {
            $crate::testkit::skip(&reason);
            return $crate::testkit::Skipped::skipped();
        }
    };
}

/// One word of [`need!`](crate::need!).
#[doc(hidden)]
#[macro_export]
macro_rules! __need {
    (root) => {
        $crate::testkit::Need::Root
    };
    (kvm) => {
        $crate::testkit::Need::Kvm
    };
    (corpus) => {
        $crate::testkit::Need::Corpus
    };
    (program $name:literal) => {
        $crate::testkit::Need::Program($name)
    };
    (package $name:literal) => {
        $crate::testkit::Need::Package($name)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missed() {
        assert_eq!(unmet(&[Need::Program("sh")]), None);
    }

    #[test]
    fn what_is_missing_is_named_first() {
        let reason = unmet(&[Need::Program("sh"), Need::Program("no-such-program-here")]).unwrap();
        assert!(reason.starts_with("no-such-program-here: "), "{reason}");
    }
}
