//! RELAX NG made of tables: a schema file for a format, for tools that know no other.
//!
//! What a grammar can say of what the check goes by is said: names, values, what must be there, the shapes of rows (also of
//! those that an attribute further out chooses), and the rules, by writing out the ways in which an element may be filled
//! ([`ways`]). What no grammar can say, and the check alone knows: that values of several elements differ
//! ([`Must::Distinct`]), and ranges that no expression is given for.
//!
//! | module | has |
//! |---|---|
//! | [`ways`] | which ways there are to fill an element: words of attributes, parts that are there or not |
//! | [`tabled`] | the pattern of an element |
//! | [`values`] | patterns of values |

mod tabled;
mod values;
mod ways;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::rc::Rc;

use self::ways::{Said, Way};
use super::rules::{Form, Must, Rule};
use super::schema::ValueSchema;
use super::shapes::{Shape, Table};

/// What a grammar is made of.
#[derive(Clone, Copy)]
pub struct Source<'s> {
    /// Name of the root element.
    pub root: &'s str,
    /// The schema.
    pub table: &'static Table,
    /// The expression (of XML Schema) or, if it begins with `<`, the pattern for a form; without one any text will do.
    pub pattern: &'s dyn Fn(&Form) -> Option<&'static str>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The grammar, as the text of a file.
pub fn grammar(source: &Source<'_>) -> String {
    let mut build = Build {
        source,
        defines: BTreeMap::new(),
        patterns: Vec::new(),
        rows: RefCell::default(),
    };
    let start = build.element(&[source.root], &[], Said::new(), "");
    let mut out = String::from(
        "<?xml version=\"1.0\"?>\n<grammar xmlns=\"http://relaxng.org/ns/structure/1.0\" \
         datatypeLibrary=\"http://www.w3.org/2001/XMLSchema-datatypes\">\n",
    );
    let _ = writeln!(out, "<start>{start}</start>");
    for (number, pattern) in build.patterns.iter().enumerate() {
        let _ = writeln!(out, "<define name=\"e{number}\">{pattern}</define>");
    }
    let _ = writeln!(
        out,
        "<define name=\"any-element\"><element><anyName/><ref name=\"anything\"/></element></define>\n\
         <define name=\"anything\"><zeroOrMore><choice><attribute><anyName/></attribute><text/>\
         <ref name=\"any-element\"/></choice></zeroOrMore></define>\n</grammar>"
    );
    out
}

struct Build<'s> {
    source: &'s Source<'s>,
    /// Numbers of definitions, by what they are made of.
    defines: BTreeMap<String, usize>,
    patterns: Vec<String>,
    /// Rows of tables about elements, by the paths of these.
    rows: RefCell<HashMap<String, Rc<[&'static Shape]>>>,
}

impl Build<'_> {
    /// A reference to the element at the end of `path`. `around` is what is known of the elements outside of it, the nearest
    /// first, `forced` what must hold of itself.
    fn element(&mut self, path: &[&str], around: &[Said], forced: Said, uri: &'static str) -> String {
        let around: Vec<Said> = around
            .iter()
            .enumerate()
            .map(|(at, said)| {
                let mut said = said.clone();
                said.retain(|key, _| self.is_asked_for(path, at + 1, key));
                said
            })
            .collect();
        // Rules and rows look at four steps at most.
        let near = path.get(path.len().saturating_sub(4)..).unwrap_or(path).join("/");
        let key = format!("{near} {around:?} {forced:?}");
        if let Some(number) = self.defines.get(&key) {
            return format!("<ref name=\"e{number}\"/>");
        }
        let number = self.patterns.len();
        self.defines.insert(key, number);
        self.patterns.push(String::new());
        let name = path.last().copied().unwrap_or_default();
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        let content = self
            .content(path, &around, forced)
            .unwrap_or_else(|| "<notAllowed/>".to_owned());
        if let Some(place) = self.patterns.get_mut(number) {
            *place = format!("<element name=\"{local}\" ns=\"{uri}\">{content}</element>");
        }
        format!("<ref name=\"e{number}\"/>")
    }

    /// What stands in the element, in whatever way; nothing if there is none.
    fn content(&mut self, path: &[&str], around: &[Said], forced: Said) -> Option<String> {
        let mut choices = BTreeSet::new();
        for way in self.ways(path, around, forced) {
            choices.extend(self.tabled(path, &way, around));
        }
        // libxml2 does not find an empty group among others.
        let nothing = choices.len() > 1 && choices.remove("<empty/>");
        let pattern = match choices.len() {
            0 | 1 => choices.into_iter().next()?,
            _ => {
                let groups = choices.iter().map(|choice| format!("<group>{choice}</group>"));
                format!("<choice>{}</choice>", groups.collect::<String>())
            }
        };
        Some(match nothing {
            true => format!("<optional>{pattern}</optional>"),
            false => pattern,
        })
    }

    /// Rules about the element at the end of `path`.
    fn rules_at(&self, path: &[&str]) -> Vec<&'static Rule> {
        let all = self.source.table.rules.iter().flat_map(|rules| rules.iter());
        all.filter(|rule| is_at(path, rule.element)).collect()
    }

    /// The pattern of an attribute; nothing if none will do.
    fn attribute(&self, name: &str, forms: &[ValueSchema], required: bool, way: &Way) -> Option<String> {
        let key = format!("@{name}");
        let fit = way.fit(&key).map(ValueSchema::Form);
        let forms = match &fit {
            Some(form) => std::slice::from_ref(form),
            None => forms,
        };
        let pattern = match way.said.get(key.as_str()) {
            Some(ways::Val::Absent) => return (!required).then(String::new),
            Some(ways::Val::Word(word)) => forms
                .iter()
                .any(|form| form.check(word).is_ok())
                .then(|| values::word(word))?,
            Some(ways::Val::Other) => self.value_but(forms, way.words(&key))?,
            Some(ways::Val::Not(words)) => self.value_but(forms, words.iter().copied())?,
            Some(ways::Val::Present) | None => self.value(forms),
        };
        let required = required || way.said.contains_key(key.as_str());
        let attribute = format!("<attribute name=\"{name}\">{pattern}</attribute>");
        Some(times(attribute, required, false))
    }
}

fn times(pattern: String, required: bool, repeated: bool) -> String {
    match (required, repeated) {
        (true, false) => pattern,
        (false, false) => format!("<optional>{pattern}</optional>"),
        (true, true) => format!("<oneOrMore>{pattern}</oneOrMore>"),
        (false, true) => format!("<zeroOrMore>{pattern}</zeroOrMore>"),
    }
}

/// Patterns in whatever order.
fn mixed(patterns: &[String]) -> String {
    match patterns {
        [] => "<empty/>".to_owned(),
        [one] => one.clone(),
        _ => format!("<interleave>{}</interleave>", patterns.concat()),
    }
}

/// Do the last steps of `path` have these names?
fn is_at(path: &[&str], steps: &str) -> bool {
    let mut path = path.iter().rev();
    let named = |step: &str, name: Option<&&str>| match step {
        "*" => name.is_some(),
        step => name == Some(&step),
    };
    steps.rsplit('/').all(|step| named(step, path.next()))
}

/// What the rules that hold say of a part, beside its presence.
impl Way {
    fn fit(&self, part: &str) -> Option<Form> {
        self.rules.iter().find_map(|must| match must {
            Must::Fit(at, form) if *at == part => Some(*form),
            _ => None,
        })
    }

    fn once(&self, part: &str) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|must| matches!(must, Must::Once(parts) if parts.contains(&part)))
    }

    fn times(&self, child: &str) -> Option<usize> {
        self.rules.iter().find_map(|must| match must {
            Must::Times(name, times) if *name == child => Some(*times),
            _ => None,
        })
    }

    /// Children that exclude others.
    fn excludes(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        self.rules.iter().filter_map(|must| match must {
            Must::Excludes(name, others) => Some((*name, *others)),
            _ => None,
        })
    }

    /// Children that stand in stages.
    fn ordered(&self) -> impl Iterator<Item = &'static [&'static [&'static str]]> {
        self.rules.iter().filter_map(|must| match must {
            Must::InOrder(stages) => Some(*stages),
            _ => None,
        })
    }

    /// Children that stand right behind others.
    fn followers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rules.iter().filter_map(|must| match must {
            Must::Follows(name, first) => Some((*name, *first)),
            _ => None,
        })
    }

    fn sequence(&self, child: &str) -> Option<(&'static str, &'static [&'static str])> {
        self.rules.iter().find_map(|must| match must {
            Must::Sequence(name, attribute, values) if *name == child => Some((*attribute, *values)),
            _ => None,
        })
    }
}
