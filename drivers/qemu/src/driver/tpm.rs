//! What the emulator of TPMs on this host can do: swtpm, which is three programs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use virt_conf::domain::small::TpmVersion;
use virt_util::command::{Command, Sink, Spawner, find_program};
use virt_util::time::{Cancel, Deadline};

/// How long an answer may take. It is asked for once for each program that is installed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The emulator, the program that makes new TPMs, the program that talks to running ones: each is needed.
const PROGRAMS: [&str; 3] = ["swtpm", "swtpm_setup", "swtpm_ioctl"];

/// Remembers what the programs answered until they are exchanged.
#[derive(Debug, Default)]
pub struct TpmSoftware {
    /// Held for looking, never while a program runs.
    known: Mutex<Option<Arc<Known>>>,
}

/// One program, as long as its file stays what it is.
#[derive(Debug)]
struct Known {
    setup: PathBuf,
    changed: Option<SystemTime>,
    /// Whoever needs the answer waits for it here; the first one asks. `None` if the program gave none.
    answer: OnceLock<Option<Vec<TpmVersion>>>,
}

impl TpmSoftware {
    /// Versions of TPMs that can be made; none if a program is missing or tells nothing.
    pub fn versions(&self, spawner: &dyn Spawner) -> Vec<TpmVersion> {
        let found: Option<Vec<PathBuf>> = PROGRAMS
            .iter()
            .map(|name| find_program(Path::new(name)).ok())
            .collect();
        let Some(setup) = found.and_then(|found| found.into_iter().nth(1)) else {
            return Vec::new();
        };
        let changed = setup.metadata().and_then(|file| file.modified()).ok();
        self.of_program(&setup, changed, || ask(&setup, spawner))
    }

    fn of_program(
        &self,
        setup: &Path,
        changed: Option<SystemTime>,
        ask: impl FnOnce() -> Option<Vec<TpmVersion>>,
    ) -> Vec<TpmVersion> {
        let program = self.program(setup, changed);
        if let Some(versions) = program.answer.get_or_init(ask) {
            return versions.clone();
        }
        // A host that was busy may have it next time.
        let mut known = self.known.lock();
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &program)) {
            *known = None;
        }
        Vec::new()
    }

    /// What is known of that program.
    fn program(&self, setup: &Path, changed: Option<SystemTime>) -> Arc<Known> {
        let mut known = self.known.lock();
        match known.as_ref() {
            Some(same) if same.setup == setup && same.changed == changed => Arc::clone(same),
            _ => Arc::clone(known.insert(Arc::new(Known {
                setup: setup.to_owned(),
                changed,
                answer: OnceLock::new(),
            }))),
        }
    }
}

/// What the program says; `None` if it does not come to an answer in time.
fn ask(setup: &Path, spawner: &dyn Spawner) -> Option<Vec<TpmVersion>> {
    let mut command = Command::new(setup);
    command
        .arg("--print-capabilities")
        .env_pass_common()
        .stdout(Sink::Capture)
        .stderr(Sink::Null);
    match spawner.run(&command, Deadline::after(PATIENCE), &Cancel::never()) {
        Ok(output) if output.exit.success() => Some(versions(&output.stdout)),
        // One that does not know the question.
        Ok(_) => Some(Vec::new()),
        Err(error) => {
            tracing::debug!("{error:#}");
            None
        }
    }
}

/// The versions among the features that the program prints.
fn versions(answer: &[u8]) -> Vec<TpmVersion> {
    let answer: Value = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!("swtpm_setup: {error}");
            return Vec::new();
        }
    };
    let features = answer.get("features").and_then(Value::as_array);
    let has = |name: &str| {
        features.is_some_and(|features| features.iter().any(|feature| feature.as_str() == Some(name)))
    };
    TpmVersion::ALL
        .iter()
        .copied()
        .filter(|version| has(&format!("tpm-{version}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_once_and_only_who_needs_its_answer_waits() {
        use std::sync::mpsc;
        let software = TpmSoftware::default();
        let (slow, quick) = (Path::new("/slow"), Path::new("/quick"));
        let (release, held) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                software.of_program(slow, None, move || {
                    begin.send(()).unwrap();
                    let _ = held.recv();
                    Some(vec![TpmVersion::V2_0])
                })
            });
            begun.recv().unwrap();
            // Somebody who finds another program does not wait for the first one's answer.
            let other = software.of_program(quick, None, || Some(TpmVersion::ALL.to_vec()));
            assert_eq!(other, TpmVersion::ALL);
            drop(release);
            assert_eq!(asking.join().unwrap(), [TpmVersion::V2_0]);
        });
        let again = software.of_program(quick, None, || panic!("it has answered"));
        assert_eq!(again, TpmVersion::ALL);
        let newer = Some(SystemTime::UNIX_EPOCH);
        assert_eq!(software.of_program(quick, newer, || Some(Vec::new())), []);
    }

    #[test]
    fn a_program_that_was_too_slow_is_asked_again() {
        let software = TpmSoftware::default();
        let setup = Path::new("/slow");
        assert_eq!(software.of_program(setup, None, || None), []);
        let again = software.of_program(setup, None, || Some(vec![TpmVersion::V1_2]));
        assert_eq!(again, [TpmVersion::V1_2]);
    }

    #[test]
    fn versions_are_features_of_the_program() {
        let both = br#"{"type":"swtpm_setup","features":["tpm-1.2","cmdarg-profile","tpm-2.0"]}"#;
        assert_eq!(versions(both), TpmVersion::ALL);
        let one = br#"{"features":["tpm-2.0","tpm12-not-need-root"]}"#;
        assert_eq!(versions(one), [TpmVersion::V2_0]);
        assert_eq!(versions(br#"{"features":[]}"#), []);
        assert_eq!(versions(b"swtpm_setup: no such option"), []);
    }
}
