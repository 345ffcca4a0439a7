//! XPath 1.0 over a document, for `--xpath` and for commands that look into XML.
//!
//! [`select`] prints the selected nodes as libxml2 prints them, [`text`] and [`count`] answer values, [`to_value`] makes
//! a document readable for programs. [`tree`] holds the document, [`parse`] the grammar, [`eval`] the meaning.

pub mod eval;
pub mod parse;
pub mod tree;

use crate::shell::Failure;
use eval::{Value, evaluate};
use serde_json::Map;
use tree::{Document, Kind, NodeId};
use virt_util::{ErrorCode, VirtError};

fn bad(expression: &str, why: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::INTERNAL_ERROR,
        format_args!("Invalid XPath expression '{expression}': {why}"),
    )
}

fn run<'d>(document: &'d Document, expression: &str) -> Result<Value<'d>, VirtError> {
    let parsed = parse::parse(expression).map_err(|why| bad(expression, why))?;
    evaluate(document, &parsed).map_err(|why| bad(expression, why))
}

fn nodes(document: &Document, expression: &str) -> Result<Vec<NodeId>, VirtError> {
    match run(document, expression)? {
        Value::Nodes(nodes) => Ok(nodes),
        _ => Err(VirtError::internal(format_args!(
            "Incorrect xpath '{expression}'"
        ))),
    }
}

/// The nodes that `expression` selects, each ended by a newline; with `wrap` all inside one element `nodes`.
pub fn select(xml: &str, expression: &str, wrap: bool) -> Result<String, Failure> {
    let document = Document::parse(xml)?;
    let selected = nodes(&document, expression)?;
    let mut out = String::new();
    if wrap {
        if selected.is_empty() {
            return Ok("<nodes/>\n".into());
        }
        out.push_str("<nodes>\n");
        for node in selected {
            out.push_str("  ");
            document.print(node, 1, &mut out);
            out.push('\n');
        }
        out.push_str("</nodes>\n");
    } else {
        for node in selected {
            document.print(node, 0, &mut out);
            out.push('\n');
        }
    }
    Ok(out)
}

/// The string value of `expression`.
pub fn text(xml: &str, expression: &str) -> Result<String, Failure> {
    let document = Document::parse(xml)?;
    let value = run(&document, expression)?;
    Ok(value.string(&document))
}

/// How many nodes `expression` selects.
pub fn count(xml: &str, expression: &str) -> Result<usize, Failure> {
    let document = Document::parse(xml)?;
    Ok(nodes(&document, expression)?.len())
}

/// The document, or what is selected of it, for programs: an element is an object of `@attributes`, children by name
/// (a list where there are several) and `#text`; one with nothing but text is that text.
pub fn to_value(xml: &str, expression: Option<&str>) -> Result<serde_json::Value, Failure> {
    let document = Document::parse(xml)?;
    let Some(expression) = expression else {
        let Some(root) = document.root_element() else {
            return Ok(serde_json::Value::Null);
        };
        let name = document.name(root).to_owned();
        return Ok(serde_json::Value::Object(Map::from_iter([(
            name,
            value_of(&document, root),
        )])));
    };
    Ok(match run(&document, expression)? {
        Value::Nodes(nodes) => nodes.into_iter().map(|node| value_of(&document, node)).collect(),
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Bool(truth) => truth.into(),
    })
}

fn value_of(document: &Document, node: NodeId) -> serde_json::Value {
    if document.kind(node) != Kind::Element {
        return document.string_value(node).into();
    }
    let mut fields = Map::new();
    for attribute in document.attributes(node) {
        fields.insert(
            format!("@{}", document.name(attribute)),
            document.text(attribute).into(),
        );
    }
    let mut text = String::new();
    for child in document.children(node) {
        match document.kind(child) {
            Kind::Element => {
                let value = value_of(document, child);
                match fields.get_mut(document.name(child)) {
                    None => {
                        fields.insert(document.name(child).to_owned(), value);
                    }
                    Some(serde_json::Value::Array(list)) => list.push(value),
                    Some(one) => *one = vec![one.take(), value].into(),
                }
            }
            Kind::Text => text.push_str(document.text(child)),
            _ => {}
        }
    }
    let text = text.trim();
    if fields.is_empty() {
        return if text.is_empty() {
            serde_json::Value::Object(fields)
        } else {
            text.into()
        };
    }
    if !text.is_empty() {
        fields.insert("#text".into(), text.into());
    }
    serde_json::Value::Object(fields)
}

#[cfg(test)]
mod tests;
