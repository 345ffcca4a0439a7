//! Results for programs: `--output json` and `--output yaml`.

use serde_json::{Map, Value};
use virt_conf::data::{self, Notation};
use virt_util::xml::XmlFlags;

/// A machine-readable format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
}

impl Format {
    /// The format called `name`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            _ => Err(format!(
                "unknown output format '{name}': 'json' and 'yaml' are known"
            )),
        }
    }

    fn notation(self) -> Notation {
        match self {
            Self::Json => Notation::Json,
            Self::Yaml => Notation::Yaml,
        }
    }

    /// An XML document in this format, with the fields that `docs/formats.md` lists. Nothing for documents of other kinds,
    /// and for those that hold what is not in it.
    pub fn document(self, xml: &str) -> Option<String> {
        data::from_xml(xml, self.notation(), XmlFlags::SECURE, "document").ok()
    }

    /// `value` in this format, ended by a newline.
    pub fn render(self, value: &Value) -> Result<String, String> {
        let mut text = match self {
            Self::Json => serde_json::to_string_pretty(value).map_err(|error| error.to_string())?,
            Self::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string())?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}

/// An object of these fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_end_with_one_newline() {
        let value = object([("name", "test".into()), ("id", 1.into())]);
        assert_eq!(
            Format::Json.render(&value).unwrap(),
            "{\n  \"name\": \"test\",\n  \"id\": 1\n}\n"
        );
        assert_eq!(Format::Yaml.render(&value).unwrap(), "name: test\nid: 1\n");
    }
}
