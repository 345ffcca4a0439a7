//! Which ways there are to fill an element.
//!
//! Conditions of rows and rules look at attributes and children. What they look at is decided first, one way for each word;
//! then each rule that holds leaves the ways that obey it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::rules::{Must, When};
use super::super::shapes::Shape;
use super::{Build, is_at};

/// Most ways of one element that are told apart; beyond them grammars take more than the check.
const MOST: usize = 512;

/// What is known of a part: an attribute (`@name`), a child (`name`), an attribute of a child (`name@name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Val {
    Absent,
    Present,
    Word(&'static str),
    /// Present, and none of the words that conditions know.
    Other,
    /// Present, and none of these words, which conditions of the element around know.
    Not(BTreeSet<&'static str>),
}

impl Val {
    fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Absent, Self::Absent) => Some(Self::Absent),
            (Self::Absent, _) | (_, Self::Absent) => None,
            (Self::Present, val) | (val, Self::Present) => Some(val.clone()),
            (Self::Not(words), Self::Word(word)) | (Self::Word(word), Self::Not(words)) => {
                (!words.contains(word)).then_some(Self::Word(word))
            }
            (Self::Not(_), val) | (val, Self::Not(_)) => Some(val.clone()),
            _ => (self == other).then(|| self.clone()),
        }
    }
}

/// What is known of an element.
pub(super) type Said = BTreeMap<String, Val>;

/// Parts that conditions look at, with the words that they know.
type Wanted = BTreeMap<String, BTreeSet<&'static str>>;

/// A way to fill an element.
pub(super) struct Way {
    pub said: Said,
    /// What else must hold.
    pub rules: Vec<Must>,
    words: Rc<Wanted>,
}

impl Way {
    /// What is known around the children of an element that is filled so, the nearest first; `around` is that of the
    /// element itself. No condition looks farther than the third.
    pub fn around(&self, around: &[Said]) -> Vec<Said> {
        std::iter::once(&self.said)
            .chain(around)
            .take(3)
            .cloned()
            .collect()
    }

    /// The words of a part that conditions know.
    pub fn words(&self, part: &str) -> impl Iterator<Item = &'static str> + Clone {
        self.words.get(part).into_iter().flatten().copied()
    }

    /// What is known of the attributes of a child.
    pub fn forced(&self, child: &str) -> Said {
        let attributes = self.said.iter().filter_map(|(key, val)| {
            let rest = key.strip_prefix(child).filter(|rest| rest.starts_with('@'))?;
            let val = match val {
                Val::Other => Val::Not(self.words(key).collect()),
                val => val.clone(),
            };
            Some((rest.to_owned(), val))
        });
        let mut forced: Said = attributes.collect();
        // What is known of its text.
        match self.said.get(child) {
            Some(Val::Word(word)) => {
                forced.insert("text()".to_owned(), Val::Word(word));
            }
            Some(Val::Other) => {
                forced.insert("text()".to_owned(), Val::Not(self.words(child).collect()));
            }
            _ => {}
        }
        forced
    }

    /// Must the child be there? Nothing if it must not.
    pub fn child(&self, name: &str) -> Option<bool> {
        let forced = self.forced(name);
        let forced = forced
            .iter()
            .any(|(key, val)| key.starts_with('@') && *val != Val::Absent);
        match self.said.get(name) {
            Some(Val::Absent) if forced => None,
            Some(Val::Absent) => Some(false),
            Some(_) => Some(true),
            None => Some(forced),
        }
    }

    /// Is there something that must be there, though it is none of these attributes and children?
    pub fn asks_for_other(&self, attributes: &BTreeSet<&str>, children: &BTreeSet<&str>) -> bool {
        let asked = self.said.iter().filter(|(_, val)| **val != Val::Absent);
        asked.into_iter().any(|(key, _)| match key.split_once('@') {
            Some(("", name)) => !attributes.contains(name),
            Some((child, _)) => !children.contains(child),
            None => key != "text()" && !children.contains(key.as_str()),
        })
    }
}

/// What a condition looks at: how many elements further out, the part, and whether it holds where that is absent.
pub(super) fn parts_of(condition: &'static str) -> (usize, &'static str, bool) {
    let (mut part, may_be_absent) = match condition.strip_suffix('?') {
        Some(part) => (part, true),
        None => (condition, false),
    };
    let mut out = 0;
    while let Some(rest) = part.strip_prefix("../") {
        out += 1;
        part = rest;
    }
    (out, part, may_be_absent)
}

/// Do the conditions hold? Nothing if that is not known.
pub(super) fn holds(when: When, said: &Said, around: &[Said], depth: usize) -> Option<bool> {
    let mut certain = true;
    for (condition, values) in when {
        let (out, part, may_be_absent) = parts_of(condition);
        let val = match out.checked_sub(1) {
            None => said.get(part),
            // There is nothing outside of the root.
            Some(at) if at + 1 >= depth => Some(&Val::Absent),
            Some(at) => around.get(at).and_then(|said| said.get(part)),
        };
        let any = *values == super::super::rules::PRESENT;
        match val {
            Some(Val::Absent) if may_be_absent || values.is_empty() => {}
            Some(Val::Word(word)) if any || values.contains(word) => {}
            Some(Val::Present | Val::Other | Val::Not(_)) if any => {}
            Some(Val::Not(_)) if !values.is_empty() => certain = false,
            Some(Val::Present) if !values.is_empty() => certain = false,
            None => certain = false,
            Some(_) => return Some(false),
        }
    }
    certain.then_some(true)
}

impl Build<'_> {
    /// The ways to fill the element at the end of `path`, of which `forced` is known.
    pub(super) fn ways(&self, path: &[&str], around: &[Said], forced: Said) -> Vec<Way> {
        let mut wanted = self.wanted(path);
        for (key, val) in &forced {
            let words = wanted.entry(key.clone()).or_default();
            match val {
                Val::Not(not) => words.extend(not),
                Val::Word(word) => words.extend([word]),
                _ => {}
            }
        }
        let wanted = Rc::new(wanted);
        let mut decided = Vec::new();
        decide(&wanted, forced, BTreeSet::new(), &mut decided);
        let mut ways = Vec::new();
        for said in decided {
            let rules: Vec<Must> = self
                .rules_at(path)
                .iter()
                .filter(|rule| holds(rule.when, &said, around, path.len()) == Some(true))
                .map(|rule| rule.must)
                .collect();
            let mut obeying = vec![said];
            for must in &rules {
                let next: Vec<Said> = obeying.iter().flat_map(|said| obey(*must, said)).collect();
                if next.len() <= MOST {
                    obeying = next;
                }
            }
            ways.extend(obeying.into_iter().map(|said| Way {
                said,
                rules: rules.clone(),
                words: Rc::clone(&wanted),
            }));
        }
        ways
    }

    /// What conditions look at in the element.
    fn wanted(&self, path: &[&str]) -> Wanted {
        let mut wanted = Wanted::new();
        let mut add = |when: When, out_of_here: usize| {
            for (condition, values) in when {
                let (out, part, _) = parts_of(condition);
                if out == out_of_here {
                    let words = wanted.entry(part.to_owned()).or_default();
                    words.extend(values.iter().filter(|word| **word != "*"));
                }
            }
        };
        for rule in self.rules_at(path) {
            add(rule.when, 0);
        }
        for row in self.rows_at(path).iter() {
            add(row.when, 0);
        }
        for (element, when) in self.conditions() {
            for out in 1..=3 {
                if self.may_be_inside(path, element, out) {
                    add(when, out);
                }
            }
        }
        wanted
    }

    /// All conditions, with the elements that they are about.
    fn conditions(&self) -> impl Iterator<Item = (&'static str, When)> {
        let table = self.source.table;
        let rows = table.shapes.iter().flat_map(|rows| rows.iter());
        let rules = table.rules.iter().flat_map(|rules| rules.iter());
        rows.map(|row| (row.element, row.when))
            .chain(rules.map(|rule| (rule.element, rule.when)))
    }

    /// The rows that are about the element at the end of `path`: those with the longest path.
    pub(super) fn rows_at(&self, path: &[&str]) -> Rc<[&'static Shape]> {
        let key = path.join("/");
        if let Some(rows) = self.rows.borrow().get(&key) {
            return Rc::clone(rows);
        }
        let rows = self.source.table.shapes.iter().flat_map(|rows| rows.iter());
        let named: Vec<&Shape> = rows.filter(|row| is_at(path, row.element)).collect();
        let steps = |row: &Shape| row.element.split('/').count();
        let longest = named.iter().map(|row| steps(row)).max().unwrap_or(0);
        let rows: Rc<[_]> = named.into_iter().filter(|row| steps(row) == longest).collect();
        self.rows.borrow_mut().insert(key, Rc::clone(&rows));
        rows
    }

    /// Can an element that ends in `steps` be `below` levels inside the element at the end of `path`?
    fn may_be_inside(&self, path: &[&str], steps: &str, below: usize) -> bool {
        let mut around = path.iter().rev();
        let fits = steps
            .rsplit('/')
            .skip(below)
            .all(|step| around.next() == Some(&step));
        let child = below.checked_sub(1).and_then(|at| steps.rsplit('/').nth(at));
        fits && child.is_none_or(|child| self.may_hold(path, child))
    }

    /// Can the element at the end of `path` have such a child?
    fn may_hold(&self, path: &[&str], child: &str) -> bool {
        self.rows_at(path)
            .iter()
            .flat_map(|row| row.parts.iter().flat_map(|parts| parts.iter()))
            .any(|part| part.name == child || part.name == "*")
    }

    /// Does anything at the end of `path` or inside ask for a part of the element that is `out` elements further out?
    pub(super) fn is_asked_for(&self, path: &[&str], out: usize, part: &str) -> bool {
        self.conditions().any(|(element, when)| {
            when.iter().any(|(condition, _): &(&'static str, _)| {
                let (from, wanted, _) = parts_of(condition);
                wanted == part && from >= out && self.may_be_inside(path, element, from - out)
            })
        })
    }
}

/// Decides what conditions look at and is not yet decided.
fn decide(wanted: &Wanted, said: Said, done: BTreeSet<String>, out: &mut Vec<Said>) {
    if out.len() > MOST {
        return;
    }
    let Some((key, words)) = wanted.iter().find(|(key, _)| !done.contains(*key)) else {
        return out.push(said);
    };
    let mut done = done;
    done.insert(key.clone());
    for val in vals(key, words) {
        let val = match said.get(key) {
            Some(known) => match known.and(&val) {
                Some(val) => val,
                None => continue,
            },
            None => val,
        };
        let mut said = said.clone();
        said.insert(key.clone(), val);
        decide(wanted, said, done.clone(), out);
    }
}

fn vals(key: &str, words: &BTreeSet<&'static str>) -> Vec<Val> {
    let mut vals = vec![Val::Absent];
    if key.contains('@') || !words.is_empty() {
        vals.extend(words.iter().map(|word| Val::Word(word)));
        vals.push(Val::Other);
    } else {
        vals.push(Val::Present);
    }
    vals
}

/// What can be known of an element that obeys.
fn obey(must: Must, said: &Said) -> Vec<Said> {
    let all = |parts: &mut dyn Iterator<Item = &'static str>, val: Val| {
        let mut said = said.clone();
        for part in parts {
            let val = match said.get(part) {
                Some(known) => known.and(&val)?,
                None => val.clone(),
            };
            said.insert(part.to_owned(), val);
        }
        Some(said)
    };
    match must {
        Must::Have(parts) => all(&mut parts.iter().copied(), Val::Present)
            .into_iter()
            .collect(),
        Must::NotHave(parts) => all(&mut parts.iter().copied(), Val::Absent).into_iter().collect(),
        Must::HaveOneOf(parts) => parts
            .iter()
            .filter_map(|part| all(&mut std::iter::once(*part), Val::Present))
            .collect(),
        Must::HaveTogether(parts) => [Val::Absent, Val::Present]
            .into_iter()
            .filter_map(|val| all(&mut parts.iter().copied(), val))
            .collect(),
        Must::NotBoth(parts) => parts
            .iter()
            .filter_map(|one| all(&mut parts.iter().copied().filter(|part| part != one), Val::Absent))
            .collect(),
        Must::Fit(..)
        | Must::Once(_)
        | Must::InOrder(_)
        | Must::Follows(..)
        | Must::Times(..)
        | Must::Excludes(..)
        | Must::Sequence(..)
        | Must::Distinct(..) => vec![said.clone()],
    }
}
