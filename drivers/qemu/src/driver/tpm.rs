//! What the emulator of TPMs on this host can do: swtpm, which is three programs.

use std::path::{Path, PathBuf};
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
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    setup: PathBuf,
    changed: Option<SystemTime>,
    versions: Vec<TpmVersion>,
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
        let mut known = self.known.lock();
        if let Some(known) = known.as_ref()
            && known.setup == setup
            && known.changed == changed
        {
            return known.versions.clone();
        }
        let versions = ask(&setup, spawner);
        *known = Some(Known {
            setup,
            changed,
            versions: versions.clone(),
        });
        versions
    }
}

fn ask(setup: &Path, spawner: &dyn Spawner) -> Vec<TpmVersion> {
    let mut command = Command::new(setup);
    command
        .arg("--print-capabilities")
        .env_pass_common()
        .stdout(Sink::Capture)
        .stderr(Sink::Null);
    match spawner.run(&command, Deadline::after(PATIENCE), &Cancel::never()) {
        Ok(output) if output.exit.success() => versions(&output.stdout),
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::debug!("{error:#}");
            Vec::new()
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
    fn versions_are_features_of_the_program() {
        let both = br#"{"type":"swtpm_setup","features":["tpm-1.2","cmdarg-profile","tpm-2.0"]}"#;
        assert_eq!(versions(both), TpmVersion::ALL);
        let one = br#"{"features":["tpm-2.0","tpm12-not-need-root"]}"#;
        assert_eq!(versions(one), [TpmVersion::V2_0]);
        assert_eq!(versions(br#"{"features":[]}"#), []);
        assert_eq!(versions(b"swtpm_setup: no such option"), []);
    }
}
