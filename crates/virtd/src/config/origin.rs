//! Where each setting stands, for errors that come of its value only when it is used: a port that is taken, a file that is
//! not there. Start at [`DaemonConfig::blame`].

use std::collections::BTreeMap;

use virt_util::VirtError;

use super::{DaemonConfig, KEYS, shown};

/// The file, and the lines of its settings. It says nothing of what holds: configurations that differ in this alone are
/// the same.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    file: String,
    lines: BTreeMap<&'static str, usize>,
}

impl Origins {
    pub(super) fn of_file(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, key: &'static str, line: usize) {
        self.lines.insert(key, line);
    }
}

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl DaemonConfig {
    /// Puts in front of an error which setting it comes of, with file and line where a file says so. What is neither in a
    /// file nor has a default is not mentioned.
    #[must_use]
    pub fn blame(&self, key: &str, error: VirtError) -> VirtError {
        let value = KEYS
            .iter()
            .find(|known| known.name == key)
            .and_then(|known| (known.show)(self));
        let Some(value) = value.as_ref().map(shown) else {
            return error;
        };
        match self.origins.lines.get(key) {
            Some(line) => error.context(format_args!("{}:{line}: {key} = {value}", self.origins.file)),
            None => error.context(format_args!("{key} = {value}, the default")),
        }
    }
}
