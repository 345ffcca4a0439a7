//! The check of a document against declarations alone, for formats without a table ([`super::super::shapes`]).

use super::super::doc::{Doc, Element};
use super::super::reader::At;
use super::super::value::{ValueError, nearest};
use super::super::{Reader, XmlElement, XmlFlags};
use super::members::{Members, Step, Tag};
use super::{Occurs, ValueSchema, VariantSchema};
use crate::error::{ErrorCode, ErrorDomain, Result, VirtError};

/// Reports what the declarations of `T` do not allow below `element` to `cx` ([`Reader::findings`]): names that nobody
/// knows, values that are none, parts that are missing, parts that are there twice, text where none belongs.
pub fn check<T: XmlElement>(element: Element<'_>, cx: &mut Reader) {
    report(&Members::required(T::schema(), &element), element, cx, 0);
}

/// Refuses a document that `T`'s declarations do not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` with place, path and suggestion for the first few findings.
pub fn validate<T: XmlElement>(doc: &Doc<'_>) -> Result<()> {
    let mut cx = Reader::new(XmlFlags::empty());
    check::<T>(doc.root(), &mut cx);
    finish_schema(doc.root(), &cx)
}

/// The error for what was found in the document of `element`.
///
/// # Errors
/// As [`validate`].
pub fn finish_schema(element: Element<'_>, cx: &Reader) -> Result<()> {
    let findings = cx.findings();
    if findings.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (at, finding) in findings.iter().take(5).enumerate() {
        use std::fmt::Write;
        let position = finding.position;
        let lead = if at > 0 { "; " } else { "" };
        let _ = write!(
            text,
            "{lead}{}:{position} {}: {}",
            element.doc().name(),
            finding.path,
            finding.what
        );
        if let Some(word) = finding.suggestion {
            let _ = write!(text, ", did you mean '{word}'?");
        }
    }
    if findings.len() > 5 {
        text.push_str("; …");
    }
    Err(VirtError::new(ErrorCode::XML_INVALID_SCHEMA, text).in_domain(ErrorDomain::XML))
}

/// Reports what is wrong with `element`, in which `known` may stand.
fn report(known: &Members, element: Element<'_>, cx: &mut Reader, depth: u32) {
    if depth > 512 {
        return;
    }
    for attribute in element.attributes() {
        let name = attribute.qualified_name();
        if attribute.declares_namespace() {
            continue;
        }
        if attribute.namespace().is_some() || known.forms_of(name).next().is_none() {
            if !known.anything {
                cx.unknown(element, At::Attribute(name), known.attribute_names());
            }
            continue;
        }
        let value = attribute.value();
        if let Some(error) = misfit(known.forms_of(name), &value) {
            cx.wrong_value(element, At::Attribute(name), &value, &error);
        }
    }
    for tag in &known.tags {
        report_tag(tag, element, cx);
    }
    for part in known.parts.iter().filter(|part| part.required) {
        match part.step() {
            Step::Attribute(name) if !element.has_attr(name) => cx.absent(element, At::Attribute(name)),
            Step::Child { name, .. } if element.child(name).is_none() => cx.absent(element, At::Child(name)),
            _ => {}
        }
    }
    report_children(known, element, cx, depth);
    if !known.anything && !known.takes_any_child() {
        report_text(known, element, cx);
    }
}

/// Reports a tag that chooses nothing.
fn report_tag(tag: &Tag, element: Element<'_>, cx: &mut Reader) {
    let variants: &[VariantSchema] = tag.variants;
    match element.attr(tag.attribute) {
        Some(found) if variants.iter().all(|variant| *variant.value != *found) => {
            let words: Vec<String> = variants
                .iter()
                .map(|variant| format!("'{}'", variant.value))
                .collect();
            let shown: String = found.chars().take(80).collect();
            let what = format!(
                "invalid value '{shown}' of attribute '{}': expected one of {}",
                tag.attribute,
                words.join(", ")
            );
            let meant = nearest(&found, variants.iter().map(|variant| variant.value));
            cx.finding(element, At::Attribute(tag.attribute), what, meant);
        }
        None if tag.required && variants.iter().all(|variant| !variant.default) => {
            cx.absent(element, At::Attribute(tag.attribute));
        }
        _ => {}
    }
}

fn report_text(known: &Members, element: Element<'_>, cx: &mut Reader) {
    let text = element.own_text();
    if known.text_forms().next().is_none() {
        if !text.trim_ascii().is_empty() {
            cx.finding(element, At::Text, "text where none belongs".to_owned(), None);
        }
    } else if let Some(error) = misfit(known.text_forms(), &text) {
        cx.wrong_value(element, At::Text, &text, &error);
    }
}

fn report_children(known: &Members, element: Element<'_>, cx: &mut Reader, depth: u32) {
    let mut seen: Vec<&str> = Vec::new();
    for child in element.children() {
        let name = child.qualified_name();
        let mut inner = Members::default();
        let mut found = false;
        let mut repeated = false;
        for part in known.parts_for(name) {
            found = true;
            repeated |= match part.step() {
                Step::Any => true,
                step => {
                    step.is_last()
                        && (part.field.occurs == Occurs::Repeated
                            || matches!(part.field.kind, super::Kind::Opaque))
                }
            };
            inner.add(part.inside(), &child);
        }
        if !found && known.takes_any_child() {
            continue;
        }
        if found && !repeated && seen.contains(&name) {
            cx.finding(child, At::Text, format!("a second '{name}'"), None);
        }
        seen.push(name);
        if found {
            report(&inner, child, cx, depth + 1);
        } else if !known.anything {
            cx.unknown(element, At::Child(name), known.child_names());
        }
    }
}

/// Why `text` is none of these values.
fn misfit(forms: impl Iterator<Item = ValueSchema>, text: &str) -> Option<ValueError> {
    let mut first = None;
    for form in forms {
        match form.check(text) {
            Ok(()) => return None,
            Err(error) => first = first.or(Some(error)),
        }
    }
    first
}
