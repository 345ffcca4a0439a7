//! Reading the values of a command's options, with virsh's complaints about bad ones.

use crate::grammar::Invocation;
use crate::numbers;
use crate::shell::{Failure, OrSay};
use std::time::Duration;

impl Invocation {
    /// The text given to `name`. An empty one is refused unless the option takes it.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.option_value(name) {
            Some((option, "")) if !option.allow_empty => {
                Err(format!("Failed to get option '{name}': Option argument is empty").into())
            }
            Some((_, text)) => Ok(Some(text)),
            None => Ok(None),
        }
    }

    /// The text given to an option that the grammar has found to be present.
    pub fn required_text(&self, name: &str) -> Result<&str, Failure> {
        self.text(name)?
            .ok_or_else(|| format!("Failed to get option '{name}': Mandatory option not present").into())
    }

    /// The text given to `name`, where an empty one counts as none.
    pub fn text_if_any(&self, name: &str) -> Option<&str> {
        self.option_value(name)
            .map(|(_, text)| text)
            .filter(|text| !text.is_empty())
    }

    /// All values of `name` joined by spaces.
    pub fn joined(&self, name: &str) -> Option<String> {
        self.has(name).then(|| self.values(name).join(" "))
    }

    /// A signed number.
    pub fn int(&self, name: &str) -> Result<Option<i32>, Failure> {
        self.number(name, |text| numbers::int(text, 10))
    }

    /// An unsigned number.
    pub fn uint(&self, name: &str) -> Result<Option<u32>, Failure> {
        self.number(name, |text| numbers::uint(text, 10))
    }

    fn number<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Failure> {
        match self.option_value(name) {
            None => Ok(None),
            Some((_, text)) => parse(text).map(Some).ok_or_else(|| malformed(text, name)),
        }
    }

    /// A size in bytes, which without a unit is in `scale` bytes.
    pub fn scaled(&self, name: &str, scale: u64) -> Result<Option<u64>, Failure> {
        let Some((_, text)) = self.option_value(name) else {
            return Ok(None);
        };
        let unusable =
            || format!("Scaled numeric value '{text}' for <{name}> option is malformed or out of range");
        let (value, unit) = numbers::ulong_and_rest(text).ok_or_else(unusable)?;
        let unit = Some(unit.trim_start()).filter(|unit| !unit.is_empty());
        virt_util::units::scale(value, unit, scale, u64::MAX)
            .or_say(unusable)
            .map(Some)
    }

    /// `--timeout` in seconds: at least one, at most what fits in milliseconds.
    pub fn timeout(&self) -> Result<Option<Duration>, Failure> {
        match self.uint("timeout")? {
            None => Ok(None),
            Some(seconds) if seconds == 0 || seconds > (i32::MAX / 1000).unsigned_abs() => {
                Err(malformed(&seconds.to_string(), "timeout"))
            }
            Some(seconds) => Ok(Some(Duration::from_secs(seconds.into()))),
        }
    }

    /// Refuses two options that contradict each other.
    pub fn exclusive(&self, one: &str, other: &str) -> Result<(), Failure> {
        exclude(one, self.has(one), other, self.has(other))
    }

    /// Refuses `option` without `needed`.
    pub fn requires(&self, option: &str, needed: &str) -> Result<(), Failure> {
        if self.has(option) && !self.has(needed) {
            return Err(format!("Option --{needed} is required by option --{option}").into());
        }
        Ok(())
    }
}

/// Refuses two conditions, named after options, that contradict each other.
pub fn exclude(one: &str, one_given: bool, other: &str, other_given: bool) -> Result<(), Failure> {
    if one_given && other_given {
        return Err(format!("Options --{one} and --{other} are mutually exclusive").into());
    }
    Ok(())
}

fn malformed(text: &str, name: &str) -> Failure {
    format!("Numeric value '{text}' for <{name}> option is malformed or out of range").into()
}

/// Splits at commas; two commas stand for one that belongs to the item.
pub fn split_commas(text: &str) -> Vec<String> {
    let mut pieces = text.split(',');
    let mut items = vec![pieces.next().unwrap_or_default().to_owned()];
    let mut joining = false;
    for piece in pieces {
        if joining {
            if let Some(last) = items.last_mut() {
                last.push(',');
                last.push_str(piece);
            }
            joining = false;
        } else if piece.is_empty() {
            joining = true;
        } else {
            items.push(piece.to_owned());
        }
    }
    if joining {
        items.push(String::new());
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commas_are_one_comma() {
        assert_eq!(split_commas("a,b,,c,,,d"), ["a", "b,c,", "d"]);
        assert_eq!(split_commas(",a,"), ["", "a", ""]);
        assert_eq!(split_commas(""), [""]);
    }
}
