//! RELAX NG made of declarations and tables: a schema file for a format, for tools that know no other.
//!
//! What a grammar can say of what the check goes by is said: names, values, what must be there, the shapes of unions and of
//! rows (also of those that an attribute further out chooses), and the rules, by writing out the ways in which an element may
//! be filled ([`ways`]). What no grammar can say, and the check alone knows: that values of several elements differ
//! ([`Must::Distinct`]), and ranges that no expression is given for.
//!
//! | module | has |
//! |---|---|
//! | [`ways`] | which ways there are to fill an element: words of attributes, parts that are there or not |
//! | [`declared`] | the pattern of an element that declarations are about |
//! | [`tabled`] | the pattern of an element that a table is about |
//! | [`values`] | patterns of values |

mod declared;
mod tabled;
mod values;
mod ways;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::rc::Rc;

use self::ways::{Said, Way};
use super::rules::{Form, Must, Rule};
use super::schema::members::{Inside, Part};
use super::schema::{ElementSchema, ValueSchema};
use super::shapes::{Shape, Table};

/// What a grammar is made of.
#[derive(Clone, Copy)]
pub struct Source<'s> {
    /// Name of the root element.
    pub root: &'s str,
    /// What the declarations of the root say; several where one name stands for several kinds. Where a table is about the
    /// root they are of no account.
    pub schemas: &'s [&'static ElementSchema],
    /// Rules beside them.
    pub rules: &'s [Rule],
    /// Elements (the last steps of their paths) that tables are about, with all that is in them.
    pub tables: &'s [(&'s str, &'static Table)],
    /// Elements that have one of their children at most.
    pub alone: &'s [&'s str],
    /// The expression (of XML Schema) or, if it begins with `<`, the pattern for a form; without one any text will do.
    pub pattern: &'s dyn Fn(&Form) -> Option<&'static str>,
    /// The expression for an attribute of the element at the end of a path, where code of the format's own checks it.
    pub attribute: &'s dyn Fn(&[&str], &str) -> Option<&'static str>,
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
        prefixes: BTreeMap::new(),
    };
    let path = [source.root];
    let items: Vec<Vec<Item>> = match source.tables.iter().any(|(at, _)| *at == source.root) {
        true => vec![Vec::new()],
        false => source
            .schemas
            .iter()
            .map(|schema| vec![Item::Schema(schema)])
            .collect(),
    };
    let mut start = String::new();
    for items in items {
        start.push_str(&build.element(&path, Of::Declared(items), &[], Said::new(), ""));
    }
    let mut out = String::from(
        "<?xml version=\"1.0\"?>\n<grammar xmlns=\"http://relaxng.org/ns/structure/1.0\" \
         datatypeLibrary=\"http://www.w3.org/2001/XMLSchema-datatypes\">\n",
    );
    let _ = writeln!(out, "<start><choice>{start}</choice></start>");
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

/// What is about an element.
enum Of {
    Declared(Vec<Item>),
    Table(&'static Table),
}

impl Of {
    fn key(&self) -> String {
        match self {
            Self::Declared(items) => items.iter().map(Item::key).collect::<Vec<_>>().join(" "),
            Self::Table(table) => format!("t{:p}", std::ptr::from_ref::<Table>(table)),
        }
    }
}

/// A declaration that has a say in an element.
#[derive(Clone, Copy)]
enum Item {
    Schema(&'static ElementSchema),
    Part(Part),
    Value(ValueSchema),
    Nothing,
    Anything,
}

impl Item {
    fn of(part: &Part) -> Self {
        match part.inside() {
            Inside::Part(part) => Self::Part(part),
            Inside::Element(schema) => Self::Schema(schema()),
            Inside::Value(value) => Self::Value(value),
            Inside::Nothing => Self::Nothing,
            Inside::Anything => Self::Anything,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Schema(schema) => format!("{:p}", std::ptr::from_ref::<ElementSchema>(schema)),
            Self::Part(part) => format!("{:p}{}", std::ptr::from_ref(part.field), part.path),
            Self::Value(value) => format!("{value:?}"),
            Self::Nothing => "-".to_owned(),
            Self::Anything => "*".to_owned(),
        }
    }
}

struct Build<'s> {
    source: &'s Source<'s>,
    /// Numbers of definitions, by what they are made of.
    defines: BTreeMap<String, usize>,
    patterns: Vec<String>,
    /// Rows of tables about elements, by the paths of these.
    rows: RefCell<HashMap<(*const Table, String), Rc<[&'static Shape]>>>,
    /// URIs of prefixes that were seen.
    prefixes: BTreeMap<&'static str, &'static str>,
}

impl Build<'_> {
    /// A reference to the element at the end of `path`. `around` is what is known of the elements outside of it, the nearest
    /// first, `forced` what must hold of itself.
    fn element(&mut self, path: &[&str], of: Of, around: &[Said], forced: Said, uri: &'static str) -> String {
        let of = self.switched(path, of);
        let around: Vec<Said> = around
            .iter()
            .enumerate()
            .map(|(at, said)| {
                let mut said = said.clone();
                said.retain(|key, _| self.is_asked_for(path, &of, at + 1, key));
                said
            })
            .collect();
        // Rules and rows look at four steps at most.
        let near = path.get(path.len().saturating_sub(4)..).unwrap_or(path).join("/");
        let key = format!("{near} {around:?} {forced:?} {}", of.key());
        if let Some(number) = self.defines.get(&key) {
            return format!("<ref name=\"e{number}\"/>");
        }
        let number = self.patterns.len();
        self.defines.insert(key, number);
        self.patterns.push(String::new());
        let name = path.last().copied().unwrap_or_default();
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        let content = self
            .content(path, &of, &around, forced)
            .unwrap_or_else(|| "<notAllowed/>".to_owned());
        if let Some(place) = self.patterns.get_mut(number) {
            *place = format!("<element name=\"{local}\" ns=\"{uri}\">{content}</element>");
        }
        format!("<ref name=\"e{number}\"/>")
    }

    /// What stands in the element, in whatever way; nothing if there is none.
    fn content(&mut self, path: &[&str], of: &Of, around: &[Said], forced: Said) -> Option<String> {
        let mut choices = BTreeSet::new();
        for way in self.ways(path, of, around, forced) {
            choices.extend(match of {
                Of::Declared(items) => self.declared(path, items, &way, around),
                Of::Table(table) => self.tabled(path, table, &way, around),
            });
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

    /// Where an element begins that a table is about, that.
    fn switched(&self, path: &[&str], of: Of) -> Of {
        if let Some((_, table)) = self.source.tables.iter().find(|(at, _)| is_at(path, at)) {
            return Of::Table(table);
        }
        of
    }

    /// Rules about the element at the end of `path`.
    fn rules_at(&self, path: &[&str], of: &Of) -> Vec<&Rule> {
        let (shared, own): (&[Rule], &[&[Rule]]) = match of {
            // Rules beside declarations hold where those do.
            Of::Table(table) => (&[], table.rules),
            Of::Declared(_) => (self.source.rules, &[]),
        };
        let all = shared.iter().chain(own.iter().flat_map(|rules| rules.iter()));
        all.filter(|rule| is_at(path, rule.element)).collect()
    }

    /// The pattern of an attribute; nothing if none will do.
    fn attribute(
        &self,
        path: &[&str],
        name: &str,
        forms: &[ValueSchema],
        required: bool,
        way: &Way,
    ) -> Option<String> {
        let key = format!("@{name}");
        let fit = way.fit(&key).map(ValueSchema::Form);
        let forms = match &fit {
            Some(form) => std::slice::from_ref(form),
            None => forms,
        };
        let own = (self.source.attribute)(path, name).map(values::pattern);
        let pattern = match way.said.get(key.as_str()) {
            Some(ways::Val::Absent) => return (!required).then(String::new),
            Some(ways::Val::Word(word)) => forms
                .iter()
                .any(|form| form.check(word).is_ok())
                .then(|| values::word(word))?,
            Some(ways::Val::Other) => self.value_but(forms, way.words(&key))?,
            Some(ways::Val::Not(words)) => self.value_but(forms, words.iter().copied())?,
            Some(ways::Val::Present) | None => own.unwrap_or_else(|| self.value(forms)),
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

    /// Children that stand in an order among themselves.
    fn ordered(&self) -> impl Iterator<Item = &'static [&'static str]> {
        self.rules.iter().filter_map(|must| match must {
            Must::InOrder(names) => Some(*names),
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
