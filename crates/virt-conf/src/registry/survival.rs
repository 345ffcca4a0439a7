//! Every change of every kind's files, cut short at every fail point: what is left is the old state or the new one.
//!
//! Each kind's tests list its changes as a [`Subject`]. The list of fail points is the one that the code exports.

use std::path::Path;
use std::process::{Command, Stdio};

use virt_util::durable;
use virt_util::fail_point::{self, Action};

use super::{filters, networks, pools, secrets, store};
use virt_util::Result;

const SUBJECTS: &[&Subject] = &[
    &store::tests::SUBJECT,
    &networks::tests::SUBJECT,
    &filters::tests::SUBJECT,
    &secrets::tests::SUBJECT,
    &pools::tests::SUBJECT,
];

/// The files of a kind of object, below some folder.
pub(super) struct Subject {
    pub name: &'static str,
    pub changes: &'static [Change],
    /// What a driver would find there when it starts.
    pub contents: fn(&Path) -> String,
    /// Checks what must hold beyond that when a change was cut short and left these contents.
    pub sound: fn(&Path, &str),
}

/// A change that nothing must cut in two.
pub(super) struct Change {
    pub name: &'static str,
    /// Makes what is there before.
    pub before: fn(&Path),
    pub run: fn(&Path) -> Result<()>,
}

/// A change in a folder of its own, whose outcome is known.
struct Trial {
    subject: &'static Subject,
    change: &'static Change,
    old: String,
    new: String,
}

impl Trial {
    fn all() -> impl Iterator<Item = Self> {
        let changes = |subject: &'static &Subject| subject.changes.iter().map(move |one| (*subject, one));
        SUBJECTS.iter().flat_map(changes).map(|(subject, change)| {
            let root = tempfile::tempdir().unwrap();
            (change.before)(root.path());
            let old = (subject.contents)(root.path());
            (change.run)(root.path()).unwrap();
            let new = (subject.contents)(root.path());
            assert_ne!(old, new, "{} {}", subject.name, change.name);
            Self {
                subject,
                change,
                old,
                new,
            }
        })
    }

    fn prepare(&self) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        (self.change.before)(root.path());
        root
    }

    /// Runs the change in a process that is killed when it passes a point for the `pass`-th time. Whether it came through.
    fn survives(&self, root: &Path, point: &str, pass: usize) -> bool {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "registry::survival::victim",
                "--test-threads=1",
                "--quiet",
            ])
            .env("SURVIVAL_ROOT", root)
            .env("SURVIVAL_SUBJECT", self.subject.name)
            .env("SURVIVAL_CHANGE", self.change.name)
            .env("VIRT_FAIL_POINT", format!("{point}=kill@{pass}"))
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    fn check(&self, root: &Path, done: bool, how: &str) {
        let left = (self.subject.contents)(root);
        let what = format!("{} {} {how}", self.subject.name, self.change.name);
        assert!(left == self.new || !done && left == self.old, "{what}: {left}");
        (self.subject.sound)(root, &left);
    }
}

/// The body of the process that is killed: does nothing in an ordinary run of the tests.
#[test]
fn victim() {
    let words = ["SURVIVAL_ROOT", "SURVIVAL_SUBJECT", "SURVIVAL_CHANGE"].map(std::env::var);
    let [Ok(root), Ok(subject), Ok(change)] = words else {
        return;
    };
    let subject = SUBJECTS.iter().find(|one| one.name == subject).unwrap();
    let change = subject.changes.iter().find(|one| one.name == change).unwrap();
    (change.run)(Path::new(&root)).unwrap();
}

#[test]
fn a_kill_at_each_point_leaves_old_or_new() {
    for trial in Trial::all() {
        let mut kills = 0;
        for point in durable::FAIL_POINTS {
            // A change passes some points several times.
            for pass in 1.. {
                let root = trial.prepare();
                let done = trial.survives(root.path(), point.name(), pass);
                let how = format!("killed at {} pass {pass}", point.name());
                trial.check(root.path(), done, &how);
                if done {
                    break;
                }
                kills += 1;
            }
        }
        let (subject, change) = (trial.subject.name, trial.change.name);
        assert!(kills >= 1, "{subject} {change} was never killed");
    }
}

#[test]
fn an_error_at_each_point_leaves_old_or_new() {
    for trial in Trial::all() {
        for point in durable::FAIL_POINTS {
            let root = trial.prepare();
            let run = || (trial.change.run)(root.path());
            let done = fail_point::with(point.name(), Action::Error, run).is_ok();
            trial.check(root.path(), done, &format!("failing at {}", point.name()));
        }
    }
}
