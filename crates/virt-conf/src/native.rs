//! What readers of native formats share: settings by name with the line they stand on, and errors that say so.

use std::collections::HashMap;
use std::fmt::Display;

use virt_util::conf_file::{ConfEntry, ConfFile, ConfValue, Dialect};
use virt_util::{Result, VirtError};

/// The settings of a configuration text.
#[derive(Debug)]
pub(crate) struct Settings {
    file_name: String,
    fold: bool,
    entries: Vec<Setting>,
    by_name: HashMap<String, usize>,
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name as written.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: ConfValue,
    line: usize,
}

impl Settings {
    /// Reads a text; `file_name` is for messages.
    pub(crate) fn parse(file_name: &str, text: &str, dialect: Dialect) -> Result<Self> {
        let mut settings = Self {
            file_name: file_name.to_owned(),
            fold: dialect == Dialect::Vmx,
            entries: Vec::new(),
            by_name: HashMap::new(),
        };
        for (line, entry) in ConfFile::parse_lines(file_name, text, dialect)? {
            if let ConfEntry::Setting { name, value, .. } = entry {
                let key = settings.key(&name);
                settings.by_name.entry(key).or_insert(settings.entries.len());
                settings.entries.push(Setting { name, value, line });
            }
        }
        Ok(settings)
    }

    fn key(&self, name: &str) -> String {
        if self.fold {
            name.to_ascii_lowercase()
        } else {
            name.to_owned()
        }
    }

    /// All settings in order.
    pub(crate) fn entries(&self) -> &[Setting] {
        &self.entries
    }

    /// The first setting of that name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Setting> {
        self.entries.get(*self.by_name.get(&self.key(name))?)
    }

    /// Its value.
    pub(crate) fn get(&self, name: &str) -> Option<&ConfValue> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// What is wrong with a setting: file, line, name, value and `what`.
    pub(crate) fn wrong(&self, name: &str, what: impl Display) -> VirtError {
        match self.entry(name) {
            Some(entry) => self.wrong_entry(entry, what),
            None => VirtError::internal(format_args!("{}: {what}: setting '{name}'", self.file_name)),
        }
    }

    /// [`Settings::wrong`] for a setting at hand.
    pub(crate) fn wrong_entry(&self, entry: &Setting, what: impl Display) -> VirtError {
        let place = format!("{}:{}", self.file_name, entry.line);
        match &entry.value {
            ConfValue::String(text) => VirtError::internal(format_args!(
                "{place}: setting '{}' = '{text}': {what}",
                entry.name
            )),
            _ => VirtError::internal(format_args!("{place}: setting '{}': {what}", entry.name)),
        }
    }

    /// A text; nothing if the setting is not there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(ConfValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a text in quotes is expected")),
        }
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&str> {
        self.text(name)?.ok_or_else(|| {
            VirtError::internal(format_args!(
                "{}: essential setting '{name}' is missing",
                self.file_name
            ))
        })
    }
}

/// A whole number as C's `strtoll` with base 10 reads it: blanks and a sign may stand before it.
pub(crate) fn number<T: virt_util::xml::XmlInteger>(text: &str) -> Option<T> {
    virt_util::xml::parse_integer(text, 10).ok()
}
