//! Every word that a declaration allows somewhere, with one letter wrong: the error names the path, the value, what is allowed,
//! and the word that was meant.

use std::collections::BTreeSet;

use virt_conf::backup::Backup;
use virt_conf::checkpoint::Checkpoint;
use virt_conf::cpu::{Cpu, HostCpu};
use virt_conf::domain::Domain;
use virt_conf::interface::HostInterface;
use virt_conf::network::{Network, NetworkPort};
use virt_conf::node_device::NodeDevice;
use virt_conf::nwfilter::Filter;
use virt_conf::nwfilter_binding::FilterBinding;
use virt_conf::secret::Secret;
use virt_conf::snapshot::Snapshot;
use virt_conf::storage_pool::StoragePool;
use virt_conf::storage_volume::Volume;
use virt_util::xml::schema::{Content, ElementSchema, FieldSchema, Kind, ValueSchema, VariantSchema};
use virt_util::xml::{Doc, Reader, XmlElement, XmlFlags, from_doc, schema};

/// A place where only certain words may stand.
struct Place {
    /// The elements on the way, each with attributes that choose what may be in it.
    trail: Vec<Step>,
    /// The attribute; nothing for the text of the last element.
    attribute: Option<String>,
    flags: XmlFlags,
    words: Vec<&'static str>,
}

#[derive(Clone)]
struct Step {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Place {
    fn document(&self, value: &str) -> String {
        let mut inner = match self.attribute {
            Some(_) => String::new(),
            None => value.to_owned(),
        };
        for (back, step) in self.trail.iter().rev().enumerate() {
            let mut attributes: Vec<(&str, &str)> = step
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            if let (0, Some(name)) = (back, &self.attribute) {
                attributes.retain(|(known, _)| known != name);
                attributes.push((name, value));
            }
            let attributes: String = attributes
                .iter()
                .map(|(name, value)| format!(" {name}='{value}'"))
                .collect();
            inner = format!("<{0}{attributes}>{inner}</{0}>", step.name);
        }
        inner
    }

    fn path(&self) -> String {
        self.trail.iter().map(|step| format!("/{}", step.name)).collect()
    }
}

#[derive(Default)]
struct Walk {
    trail: Vec<Step>,
    flags: XmlFlags,
    seen: BTreeSet<usize>,
    places: Vec<Place>,
}

impl Walk {
    fn schema(&mut self, schema: &'static ElementSchema, depth: u32) {
        if depth > 24 {
            return;
        }
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, depth),
            Content::Union { tag, variants } => {
                let above = usize::from(tag.starts_with("../"));
                let Some(name) = tag.trim_start_matches("../").strip_prefix('@') else {
                    return;
                };
                if above == 0 && self.seen.insert(std::ptr::from_ref(schema) as usize) {
                    self.place(Some(name), words_of(variants));
                }
                for variant in variants.iter() {
                    let Some(at) = self.trail.len().checked_sub(1 + above) else {
                        continue;
                    };
                    let before = self.trail[at].clone();
                    let known = &mut self.trail[at].attributes;
                    known.retain(|(known, _)| known != name);
                    known.push((name.to_owned(), variant.value.to_owned()));
                    self.fields(variant.fields, depth);
                    self.trail[at] = before;
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &'static [FieldSchema], depth: u32) {
        for field in fields {
            let (length, flags) = (self.trail.len(), self.flags);
            self.flags |= field.only;
            self.field(field, depth);
            self.trail.truncate(length);
            self.flags = flags;
        }
    }

    fn field(&mut self, field: &'static FieldSchema, depth: u32) {
        // What is foreign is another's.
        if field.path.contains(':') {
            return;
        }
        let (way, attribute) = match field.path.split_once('@') {
            Some((way, name)) => (way, Some(name)),
            None => (field.path, None),
        };
        let way = way.trim_end_matches("text()");
        for name in way.split('/').filter(|name| !matches!(*name, "" | "." | "*")) {
            self.trail.push(Step {
                name: name.to_owned(),
                attributes: Vec::new(),
            });
        }
        let fresh = |walk: &mut Self| walk.seen.insert(std::ptr::from_ref(field) as usize);
        match field.kind {
            Kind::Value(ValueSchema::Words(words)) if fresh(self) => self.place(attribute, words.to_vec()),
            Kind::Element(schema) => {
                let schema = schema();
                match &schema.content {
                    Content::Value(ValueSchema::Words(words)) if fresh(self) => {
                        self.place(None, words.to_vec())
                    }
                    // Children of a union by name.
                    Content::Union { variants, .. } if way.ends_with('*') => {
                        for variant in variants.iter().filter(|variant| variant.value != "*") {
                            self.trail.push(Step {
                                name: variant.value.to_owned(),
                                attributes: Vec::new(),
                            });
                            self.fields(variant.fields, depth + 1);
                            self.trail.pop();
                        }
                    }
                    // Each type once, but what is spread into several of them wherever it is.
                    _ if field.path == "." || fresh(self) => self.schema(schema, depth + 1),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn place(&mut self, attribute: Option<&str>, words: Vec<&'static str>) {
        self.places.push(Place {
            trail: self.trail.clone(),
            attribute: attribute.map(str::to_owned),
            flags: self.flags,
            words,
        });
    }
}

fn words_of(variants: &'static [VariantSchema]) -> Vec<&'static str> {
    match variants.iter().any(|variant| variant.value == "*") {
        true => Vec::new(),
        false => variants.iter().map(|variant| variant.value).collect(),
    }
}

/// The word with one letter wrong, so that it is no other word.
fn damaged(word: &str, words: &[&str]) -> Option<String> {
    let shorter = word.get(..word.len().checked_sub(1)?)?.to_owned();
    let swapped = format!("{shorter}~");
    let longer = format!("{word}q");
    [swapped, longer, shorter]
        .into_iter()
        .find(|text| !words.contains(&text.as_str()))
}

/// The errors that reading gives, and what the declarations do not allow.
fn errors<T: XmlElement>(source: &str, flags: XmlFlags) -> Vec<String> {
    let doc = Doc::parse(source).expect("well formed");
    let mut cx = Reader::collecting(flags);
    let read = from_doc::<T>(&doc, &mut cx);
    let mut errors: Vec<String> = cx
        .take_errors_and(read.err())
        .iter()
        .map(|error| error.detail().to_owned())
        .collect();
    let mut cx = Reader::new(flags);
    schema::check::<T>(doc.root(), &mut cx);
    errors.extend(cx.findings().iter().map(|finding| {
        let meant = finding.suggestion.map(|word| format!(", did you mean '{word}'?"));
        format!("{}: {}{}", finding.path, finding.what, meant.unwrap_or_default())
    }));
    errors
}

/// How many words were tried, and what is wrong.
fn try_all<T: XmlElement>(wrong: &mut Vec<String>) -> usize {
    let mut walk = Walk::default();
    walk.trail.push(Step {
        name: T::NAME.to_owned(),
        attributes: Vec::new(),
    });
    walk.schema(T::schema(), 0);
    let mut count = 0;
    for place in &walk.places {
        // Which kind of address stands there is told by what is around, and another word there is no fault.
        if place.path().ends_with("/interface/source/address") {
            continue;
        }
        for word in place.words.iter().filter(|word| word.len() > 1) {
            let Some(value) = damaged(word, &place.words) else {
                continue;
            };
            count += 1;
            let errors = errors::<T>(&place.document(&value), place.flags);
            let path = place.path();
            let told = errors.iter().find(|error| error.contains(&format!("'{value}'")));
            let Some(told) = told else {
                wrong.push(format!(
                    "{path}: nobody minds '{value}' of {:?}: {errors:?}",
                    place.attribute
                ));
                continue;
            };
            let attribute = place.attribute.iter().all(|name| told.contains(name.as_str()));
            let allowed = place.words.iter().all(|word| told.contains(*word));
            let near = told.contains("did you mean '");
            if !(told.contains(&path) && attribute && allowed && near) {
                wrong.push(told.clone());
            }
        }
    }
    count
}

#[test]
fn every_word_with_a_wrong_letter_is_told() {
    let mut wrong = Vec::new();
    let count = try_all::<Domain>(&mut wrong)
        + try_all::<Snapshot>(&mut wrong)
        + try_all::<Checkpoint>(&mut wrong)
        + try_all::<Backup>(&mut wrong)
        + try_all::<Network>(&mut wrong)
        + try_all::<NetworkPort>(&mut wrong)
        + try_all::<HostInterface>(&mut wrong)
        + try_all::<Filter>(&mut wrong)
        + try_all::<FilterBinding>(&mut wrong)
        + try_all::<StoragePool>(&mut wrong)
        + try_all::<Volume>(&mut wrong)
        + try_all::<NodeDevice>(&mut wrong)
        + try_all::<Secret>(&mut wrong)
        + try_all::<Cpu>(&mut wrong)
        + try_all::<HostCpu>(&mut wrong);
    println!("{count} words with a wrong letter");
    assert!(count > 800, "only {count} words were tried");
    wrong.truncate(60);
    assert!(wrong.is_empty(), "of {count}: {wrong:#?}");
}
