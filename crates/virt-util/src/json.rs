//! JSON whose numbers stay the texts that they are: what configuration in users' hands and foreign programs speak.
//!
//! [`Json`] keeps the order of keys and each fraction as it was written, so that nothing is lost or rounded when it is written
//! again. For messages with known fields serde's own types do; see [`crate::json_lines`].

use std::fmt::Write as _;

use crate::error::{ErrorCode, Result, VirtError};

mod reader;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it is written.
    Number(String),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Values by name, in order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads JSON as libvirt's reader does, json-c in its strict mode: no comments, no comma behind the last value, nothing
    /// behind the document. Beyond the standard it takes `NaN` and `Infinity`, tabs and the like in texts, and names in single
    /// quotes. Whole numbers come out in their shortest form; of names that are there twice the last value counts. A document
    /// that is a number or a word alone needs a blank behind it: only that says where it ends.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` with line and column for what is not JSON or deeper than 32 levels, and for whole numbers that have no
    /// place in 64 bits.
    ///
    /// ```
    /// use virt_util::json::Json;
    ///
    /// let json = Json::parse(r#"{ "size": 1.50e3, "name": "a" }"#)?;
    /// assert_eq!(json.to_string(), r#"{"size":1.50e3,"name":"a"}"#);
    /// # Ok::<(), virt_util::VirtError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        reader::read(text)
    }

    /// The value of that name, of an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(pairs) => pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The object of that name.
    pub fn object(&self, name: &str) -> Option<&[(String, Self)]> {
        match self.get(name)? {
            Self::Object(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The list of that name.
    pub fn array(&self, name: &str) -> Option<&[Self]> {
        match self.get(name)? {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The text of that name.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number of that name.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Takes a value out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        match self {
            Self::Object(pairs) => {
                let at = pairs.iter().position(|(key, _)| key == name)?;
                Some(pairs.remove(at).1)
            }
            _ => None,
        }
    }

    /// Appends a value to an object.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if this is no object, or has a value of that name.
    pub fn append(&mut self, name: impl Into<String>, value: Self) -> Result<()> {
        let name = name.into();
        match self {
            Self::Object(pairs) if pairs.iter().all(|(key, _)| *key != name) => {
                pairs.push((name, value));
                Ok(())
            }
            Self::Object(_) => Err(VirtError::internal(format_args!(
                "the JSON object has a value '{name}' already"
            ))),
            _ => Err(VirtError::internal(
                "a value can be appended to JSON objects only",
            )),
        }
    }

    /// Puts `{"a.b": 1}` as `{"a": {"b": 1}}`, and objects whose names are 0, 1, 2 … as lists: what QEMU allows in the
    /// JSON names of images. What is no object stays.
    ///
    /// # Errors
    /// `INVALID_ARG` if two names collide.
    pub fn deflatten(&self) -> Result<Self> {
        let Self::Object(_) = self else {
            return Ok(self.clone());
        };
        let mut deep = self.deflatten_names()?;
        deep.numbered_to_arrays();
        Ok(deep)
    }

    fn deflatten_names(&self) -> Result<Self> {
        let mut deep = Self::Object(Vec::new());
        if let Self::Object(pairs) = self {
            for (name, value) in pairs {
                let value = match value {
                    Self::Object(_) if !name.contains('.') => value.deflatten_names()?,
                    value => value.clone(),
                };
                deep.insert_deep(name, value)?;
            }
        }
        Ok(deep)
    }

    fn insert_deep(&mut self, name: &str, value: Self) -> Result<()> {
        let invalid = |what: std::fmt::Arguments<'_>| VirtError::new(ErrorCode::INVALID_ARG, what);
        let Self::Object(pairs) = self else {
            return Err(invalid(format_args!(
                "mixing nested objects and values is forbidden in JSON deflattening: '{name}'"
            )));
        };
        let Some((first, rest)) = name.split_once('.') else {
            // An object in the place of a name with dots is taken apart there as well.
            let value = match &value {
                Self::Object(_) => value.deflatten_names()?,
                _ => value,
            };
            if pairs.iter().any(|(key, _)| key == name) {
                return Err(invalid(format_args!("can't deflatten colliding key '{name}'")));
            }
            pairs.push((name.to_owned(), value));
            return Ok(());
        };
        let at = match pairs.iter().position(|(key, _)| key == first) {
            Some(at) => at,
            None => {
                pairs.push((first.to_owned(), Self::Object(Vec::new())));
                pairs.len() - 1
            }
        };
        match pairs.get_mut(at) {
            Some((_, inner)) => inner.insert_deep(rest, value),
            None => Ok(()),
        }
    }

    fn numbered_to_arrays(&mut self) {
        let Self::Object(pairs) = self else { return };
        for (_, value) in pairs.iter_mut() {
            value.numbered_to_arrays();
        }
        let mut places: Vec<Option<usize>> = vec![None; pairs.len()];
        for (at, (key, _)) in pairs.iter().enumerate() {
            let number = key.parse::<usize>().ok();
            match number.and_then(|number| places.get_mut(number)) {
                Some(place @ None) => *place = Some(at),
                _ => return,
            }
        }
        let mut values: Vec<Option<Self>> = std::mem::take(pairs)
            .into_iter()
            .map(|(_, value)| Some(value))
            .collect();
        let ordered = places
            .into_iter()
            .flatten()
            .filter_map(|at| values.get_mut(at)?.take());
        *self = Self::Array(ordered.collect());
    }

    /// The text on several lines, two blanks a level, without a line end.
    pub fn to_pretty_string(&self) -> String {
        let mut out = String::new();
        self.push_pretty(&mut out, 0);
        out
    }

    fn push_pretty(&self, out: &mut String, level: usize) {
        let line = |out: &mut String, level: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        };
        match self {
            Self::Array(values) if !values.is_empty() => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(out, level + 1);
                    value.push_pretty(out, level + 1);
                }
                line(out, level);
                out.push(']');
            }
            Self::Object(pairs) if !pairs.is_empty() => {
                out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(out, level + 1);
                    push_string(out, key);
                    out.push_str(": ");
                    value.push_pretty(out, level + 1);
                }
                line(out, level);
                out.push('}');
            }
            _ => self.push_compact(out),
        }
    }

    fn push_compact(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => push_string(out, text),
            Self::Array(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    value.push_compact(out);
                }
                out.push(']');
            }
            Self::Object(pairs) => {
                out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    push_string(out, key);
                    out.push(':');
                    value.push_compact(out);
                }
                out.push('}');
            }
        }
    }
}

/// The text on one line, without blanks.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.push_compact(&mut out);
        f.write_str(&out)
    }
}

fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_dots_are_nested() {
        let deep = |text: &str| {
            Json::parse(text)
                .unwrap()
                .deflatten()
                .map(|json| json.to_string())
        };
        assert_eq!(
            deep(r#"{"a.1":2,"a.0":{"b.c":1}}"#).unwrap(),
            r#"{"a":[{"b":{"c":1}},2]}"#
        );
        assert_eq!(deep(r#"{"a.2":2,"a.0":1}"#).unwrap(), r#"{"a":{"2":2,"0":1}}"#);
        assert_eq!(
            deep(r#"{"a":1,"a.b":1}"#).unwrap_err().code(),
            ErrorCode::INVALID_ARG
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "[\\[\\]{}:,\"'a0-9.eENI \\\\/-]{0,30}") {
            if let Ok(json) = Json::parse(&text) {
                // The blank ends a number that stands alone.
                prop_assert_eq!(Json::parse(&format!("{json} ")).unwrap(), json.clone());
                prop_assert_eq!(Json::parse(&(json.to_pretty_string() + "\n")).unwrap(), json.clone());
                let _ = json.deflatten();
            }
        }
    }
}
