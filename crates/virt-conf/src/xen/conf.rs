//! Settings of Xen's files by type, and the key-value lists in their texts.

use virt_util::conf_file::{ConfValue, Dialect};
use virt_util::{ErrorCode, Result, VirtError};

use crate::native::{self, Settings};

/// A configuration.
pub(super) struct Conf {
    settings: Settings,
}

impl Conf {
    pub(super) fn read(file_name: &str, text: &str) -> Result<Self> {
        Settings::parse(file_name, text, Dialect::Libvirt).map(|settings| Self { settings })
    }

    pub(super) fn get(&self, name: &str) -> Option<&ConfValue> {
        self.settings.get(name)
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        self.settings.text(name)
    }

    /// [`Conf::text`], for fields.
    pub(super) fn owned(&self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.map(str::to_owned))
    }

    /// A text that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.settings.required_text(name)
    }

    /// A switch: a number, or a text that is `1` or not.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(ConfValue::Number(number)) => Ok(Some(*number != 0)),
            Some(ConfValue::String(text)) => Ok(Some(text == "1")),
            Some(_) => Err(self.wrong(name, "0 or 1 is expected")),
        }
    }

    /// A number, perhaps as a text.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        let wrong = || self.wrong(name, "a number is expected");
        match self.get(name) {
            None => Ok(None),
            Some(ConfValue::Number(number)) => Ok(Some(*number)),
            Some(ConfValue::String(text)) => native::number(text).map(Some).ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }

    /// A number whose lowest 32 bits count, whatever stands before them: times and ports are read so.
    pub(super) fn wrapped(&self, name: &str) -> Result<Option<i32>> {
        if let Some(ConfValue::String(text)) = self.get(name)
            && let Some(number) = native::number::<i64>(text)
        {
            return Ok(Some(number as i32));
        }
        Ok(self.number(name)?.map(|number| number as i32))
    }

    /// A number that fits `T`.
    pub(super) fn small<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>> {
        self.number(name)?
            .map(|number| T::try_from(number).map_err(|_| self.wrong(name, "a smaller number is expected")))
            .transpose()
    }

    /// The texts of a list; nothing if the setting is no list.
    ///
    /// # Errors
    /// Something else than texts is in the list.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>> {
        let Some(ConfValue::List(items)) = self.get(name) else {
            return Ok(None);
        };
        items
            .iter()
            .map(|item| match item {
                ConfValue::String(text) => Ok(text.as_str()),
                _ => {
                    let place = self.wrong(name, "a list of texts is expected");
                    Err(VirtError::new(ErrorCode::CONF_SYNTAX, place.detail()))
                }
            })
            .collect::<Result<_>>()
            .map(Some)
    }

    /// The texts of a list; what is no text is passed over.
    pub(super) fn loose_texts(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(ConfValue::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    ConfValue::String(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What is wrong with a setting.
    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> VirtError {
        self.settings.wrong(name, what)
    }
}

/// The pairs of `key=value,key=value`; blanks may stand before each. None if a part is no pair.
pub(super) fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    text.split(',')
        .map(|part| part.trim_ascii_start().split_once('='))
        .collect()
}

/// As [`pairs`], but blanks stand behind commas alone, of which there may be several, and a part may be no pair as long as
/// one comes behind it.
pub(super) fn loose_pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut rest = Some(text);
    let mut pairs = Vec::new();
    while let Some(part) = rest {
        if !part.contains('=') {
            return None;
        }
        let (pair, behind) = match part.split_once(',') {
            Some((pair, behind)) => (pair, Some(behind.trim_start_matches([',', ' ', '\t']))),
            None => (part, None),
        };
        pairs.extend(pair.split_once('='));
        rest = behind;
    }
    Some(pairs)
}
