//! Questions to QEMU's description of its own monitor protocol (the reply to `query-qmp-schema`).

use std::collections::HashMap;

use serde_json::Value;
use virt_util::{ErrorCode, Result, VirtError};

/// How deep type references are followed before the schema is called malformed.
const MAX_DEPTH: usize = 1000;

/// A QAPI schema, its entries by name.
pub struct Schema {
    entries: HashMap<String, Value>,
}

/// What a query found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'a> {
    /// Nothing.
    Nothing,
    /// The thing exists; it is a fact (an enum value, a feature …) that has no entry of its own.
    Fact,
    /// The thing is this schema entry.
    Entry(&'a Value),
}

impl Found<'_> {
    /// Whether anything was found.
    pub fn exists(&self) -> bool {
        !matches!(self, Found::Nothing)
    }
}

impl Schema {
    /// Reads the `return` value of `query-qmp-schema`.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if it is not an array of named objects.
    pub fn from_reply(reply: Value) -> Result<Self> {
        let Value::Array(list) = reply else {
            return Err(VirtError::internal("the QAPI schema is not an array"));
        };
        let mut entries = HashMap::with_capacity(list.len());
        for entry in list {
            let Some(name) = entry.get("name").and_then(Value::as_str) else {
                return Err(VirtError::internal("an entry of the QAPI schema has no name"));
            };
            entries.insert(name.to_owned(), entry);
        }
        Ok(Self { entries })
    }

    /// The entry called `name`: a command, an event, or a type by its opaque name.
    pub fn entry(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// Follows a path: `command-or-event/arg-type|ret-type/step/step…`.
    ///
    /// | step | selects |
    /// |---|---|
    /// | `name` | the member `name` of an object |
    /// | `*name` | the same, if it is optional |
    /// | `+case` | the variant `case` of a union |
    /// | `^value` | whether an enum has `value` (may be followed by one `$feature`) |
    /// | `!type` | whether a builtin type is `type` in JSON |
    /// | `$feature` | whether the object, command or enum value has `feature` |
    ///
    /// Arrays stand for their elements; of an alternate the first member that matches counts. A name that does not
    /// begin with a letter is written after a space. `^`, `!` and `$` end a query.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for a query with steps after one that ends it, and for a schema with dangling references.
    pub fn query<'a>(&'a self, path: &str) -> Result<Found<'a>> {
        let mut steps = path.split('/');
        let name = steps.next().unwrap_or_default();
        if name.is_empty() {
            return Err(VirtError::internal(format_args!("malformed QAPI query '{path}'")));
        }
        if !self.entries.contains_key(name) {
            return Ok(Found::Nothing);
        }
        let steps: Vec<&str> = steps.collect();
        let mut walk = Walk {
            schema: self,
            path,
            depth: 0,
        };
        walk.type_named(name, &steps)
    }

    /// Whether [`Schema::query`] finds `path`; a malformed query or schema counts as no.
    pub fn has(&self, path: &str) -> bool {
        self.query(path).is_ok_and(|found| found.exists())
    }
}

struct Walk<'s, 'q> {
    schema: &'s Schema,
    path: &'q str,
    depth: usize,
}

impl<'s> Walk<'s, '_> {
    fn malformed(&self, step: &str) -> VirtError {
        VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("malformed QAPI schema at '{step}' of '{}'", self.path),
        )
    }

    fn not_last(&self, step: &str) -> VirtError {
        VirtError::new(
            ErrorCode::INTERNAL_ERROR,
            format_args!("nothing may follow '{step}' in the QAPI query '{}'", self.path),
        )
    }

    fn type_named(&mut self, name: &str, steps: &[&str]) -> Result<Found<'s>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(VirtError::internal("the QAPI schema seems to refer to itself"));
        }
        let Some(entry) = self.schema.entries.get(name) else {
            return Err(self.malformed(name));
        };
        let Some((step, rest)) = steps.split_first() else {
            return Ok(Found::Entry(entry));
        };
        let modifier = step.chars().next().unwrap_or('\0');
        let word = if modifier.is_ascii_alphabetic() {
            step
        } else {
            step.get(modifier.len_utf8().min(step.len())..)
                .unwrap_or_default()
        };
        match entry.get("meta-type").and_then(Value::as_str) {
            Some("object") => self.object(entry, modifier, word, rest),
            Some("array") => match entry.get("element-type").and_then(Value::as_str) {
                Some(element) => self.type_named(element, steps),
                None => Err(self.malformed(step)),
            },
            Some("command" | "event") => match modifier {
                '^' | '!' | '+' | '*' => Ok(Found::Nothing),
                '$' => self.feature(entry, word, rest),
                _ => match entry.get(word).and_then(Value::as_str) {
                    Some(referenced) => self.type_named(referenced, rest),
                    None => Ok(Found::Nothing),
                },
            },
            Some("enum") => self.enum_value(entry, modifier, word, rest),
            Some("builtin") => match (modifier, rest) {
                ('!', []) => Ok(fact(entry.get("json-type").and_then(Value::as_str) == Some(word))),
                ('!', _) => Err(self.not_last(step)),
                _ => Ok(Found::Nothing),
            },
            Some("alternate") => {
                let Some(members) = entry.get("members").and_then(Value::as_array) else {
                    return Err(self.malformed(step));
                };
                for member in members {
                    let Some(referenced) = member.get("type").and_then(Value::as_str) else {
                        continue;
                    };
                    let found = self.type_named(referenced, steps)?;
                    if found.exists() {
                        return Ok(found);
                    }
                }
                Ok(Found::Nothing)
            }
            Some(_) => Ok(Found::Nothing),
            None => Err(self.malformed(step)),
        }
    }

    fn object(&mut self, entry: &'s Value, modifier: char, word: &str, rest: &[&str]) -> Result<Found<'s>> {
        let (list, key) = match modifier {
            '^' | '!' => return Ok(Found::Nothing),
            '$' => return self.feature(entry, word, rest),
            '+' => ("variants", "case"),
            _ => ("members", "name"),
        };
        let member = entry
            .get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|member| member.get(key).and_then(Value::as_str) == Some(word));
        let Some(member) = member else {
            return Ok(Found::Nothing);
        };
        if modifier == '*' && member.get("default").is_none() {
            return Ok(Found::Nothing);
        }
        match member.get("type").and_then(Value::as_str) {
            Some(referenced) => self.type_named(referenced, rest),
            None => Err(self.malformed(word)),
        }
    }

    fn enum_value(&self, entry: &'s Value, modifier: char, word: &str, rest: &[&str]) -> Result<Found<'s>> {
        if modifier != '^' {
            return Ok(Found::Nothing);
        }
        let feature = match rest {
            [] => None,
            [one] => Some(one.strip_prefix('$').ok_or_else(|| self.not_last(word))?),
            _ => return Err(self.not_last(word)),
        };
        // "members" replaced "values" in QEMU 6.2; only its rows can have features.
        if let Some(members) = entry.get("members").and_then(Value::as_array) {
            let member = members
                .iter()
                .find(|member| member.get("name").and_then(Value::as_str) == Some(word));
            return match (member, feature) {
                (None, _) => Ok(Found::Nothing),
                (Some(_), None) => Ok(Found::Fact),
                (Some(member), Some(feature)) => self.feature(member, feature, &[]),
            };
        }
        let Some(values) = entry.get("values").and_then(Value::as_array) else {
            return Err(self.malformed(word));
        };
        Ok(fact(
            feature.is_none() && values.iter().any(|value| value.as_str() == Some(word)),
        ))
    }

    fn feature(&self, entry: &Value, feature: &str, rest: &[&str]) -> Result<Found<'s>> {
        if !rest.is_empty() {
            return Err(self.not_last(feature));
        }
        let features = entry.get("features").and_then(Value::as_array);
        Ok(fact(features.is_some_and(|list| {
            list.iter().any(|one| one.as_str() == Some(feature))
        })))
    }
}

fn fact<'a>(is: bool) -> Found<'a> {
    if is { Found::Fact } else { Found::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::from_reply(json!([
            {"name": "add", "meta-type": "command", "arg-type": "1", "ret-type": "0", "features": ["json-cli"]},
            {"name": "0", "meta-type": "object", "members": []},
            {"name": "1", "meta-type": "object",
             "members": [{"name": "driver", "type": "2"}, {"name": "x", "type": "[1]", "default": null}],
             "variants": [{"case": "file", "type": "3"}]},
            {"name": "2", "meta-type": "enum", "members": [{"name": "file", "features": ["old"]}, {"name": "nbd"}]},
            {"name": "[1]", "meta-type": "array", "element-type": "1"},
            {"name": "3", "meta-type": "object", "members": [{"name": "size", "type": "4"}]},
            {"name": "4", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "int"}]},
            {"name": "str", "meta-type": "builtin", "json-type": "string"},
            {"name": "int", "meta-type": "builtin", "json-type": "int"},
        ]))
        .unwrap()
    }

    #[test]
    fn paths() {
        let schema = schema();
        for path in [
            "add",
            "add/$json-cli",
            "add/arg-type/driver",
            "add/arg-type/driver/^nbd",
            "add/arg-type/driver/^file/$old",
            "add/arg-type/*x",
            "add/arg-type/x/x/x/+file/size",
            "add/arg-type/+file/size/!int",
        ] {
            assert!(schema.query(path).unwrap().exists(), "{path}");
        }
        for path in [
            "del",
            "add/$nope",
            "add/arg-type/*driver",
            "add/arg-type/driver/^raw",
            "add/arg-type/driver/^nbd/$old",
            "add/arg-type/+nbd",
            "add/arg-type/+file/size/!null",
            "add/^x",
        ] {
            assert!(!schema.query(path).unwrap().exists(), "{path}");
        }
        for path in [
            "",
            "add/$json-cli/x",
            "add/arg-type/driver/^file/x",
            "add/arg-type/+file/size/!int/x",
        ] {
            assert!(schema.query(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema =
            Schema::from_reply(json!([{"name": "a", "meta-type": "array", "element-type": "a"}])).unwrap();
        assert!(schema.query("a/x").is_err());
    }
}
