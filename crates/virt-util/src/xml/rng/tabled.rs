//! The pattern of an element.

use std::collections::{BTreeMap, BTreeSet};

use super::super::schema::ValueSchema;
use super::super::shapes::{Part, Shape, Times};
use super::ways::{Said, Val, Way, holds, parts_of};
use super::{Build, mixed, times};

impl Build<'_> {
    /// What stands in the element in this way; nothing if the way leads nowhere.
    pub(super) fn tabled(&mut self, path: &[&str], way: &Way, around: &[Said]) -> Option<String> {
        let named = self.rows_at(path);
        let rows: Vec<&Shape> = named
            .iter()
            .filter(|row| holds(row.when, &way.said, around, path.len()) != Some(false))
            .copied()
            .collect();
        if rows.is_empty() && !named.is_empty() {
            return None;
        }
        let parts: Vec<&'static Part> = rows
            .iter()
            .flat_map(|row| row.parts.iter().flat_map(|list| list.iter()))
            .collect();
        let children_at_will = parts
            .iter()
            .any(|part| part.name == "*" && part.times == Times::Any);
        if parts.iter().any(|part| part.name == "*") && !children_at_will {
            return Some("<ref name=\"anything\"/>".to_owned());
        }
        let conditions = rows.iter().flat_map(|row| row.when.iter());
        let tags = conditions.filter_map(|(condition, _)| match parts_of(condition) {
            (0, part, _) => part.strip_prefix('@'),
            _ => None,
        });
        let attributes = parts.iter().filter_map(|part| part.name.strip_prefix('@'));
        let attributes: BTreeSet<&'static str> = attributes.chain(tags).collect();
        let children: Vec<&'static Part> = parts
            .iter()
            .filter(|part| !part.name.starts_with('@') && !["text()", "*"].contains(&part.name))
            .copied()
            .collect();
        let names: BTreeSet<&str> = children.iter().map(|part| part.name).collect();
        if way.asks_for_other(&attributes, &names) {
            return None;
        }
        let mut out = String::new();
        for name in attributes {
            let of = || {
                parts
                    .iter()
                    .filter(|part| part.name.strip_prefix('@') == Some(name))
            };
            let required = of().any(|part| part.times == Times::One);
            let mut forms: Vec<ValueSchema> = of().map(|part| form_of(part)).collect();
            if forms.is_empty() {
                forms.push(ValueSchema::Text);
            }
            out.push_str(&self.attribute(name, &forms, required, way)?);
        }
        let in_order = rows.iter().any(|row| row.in_order);
        let mut inside = self.tabled_children(path, &children, in_order, way, around)?;
        if children_at_will {
            inside.push("<zeroOrMore><ref name=\"any-element\"/></zeroOrMore>".to_owned());
        }
        let text: Vec<&&Part> = parts.iter().filter(|part| part.name == "text()").collect();
        if !text.is_empty() {
            let forms: Vec<ValueSchema> = match way.fit("text()") {
                Some(form) => vec![ValueSchema::Form(form)],
                None => text.iter().map(|part| form_of(part)).collect(),
            };
            let word = way.said.get("text()");
            inside.push(match children.is_empty() {
                false => "<text/>".to_owned(),
                true if let Some(Val::Word(word)) = word => forms
                    .iter()
                    .any(|form| form.check(word).is_ok())
                    .then(|| super::values::word(word))?,
                true if let Some(Val::Not(words)) = word => self.value_but(&forms, words.iter().copied())?,
                true if text.iter().any(|part| part.times == Times::Maybe) => {
                    format!("<choice><empty/>{}</choice>", self.value(&forms))
                }
                true => self.value(&forms),
            });
        }
        out.push_str(&mixed(&inside));
        Some(out)
    }

    fn tabled_children(
        &mut self,
        path: &[&str],
        children: &[&'static Part],
        in_order: bool,
        way: &Way,
        around: &[Said],
    ) -> Option<Vec<String>> {
        let around = way.around(around);
        let mut out = Vec::new();
        let mut apart: BTreeMap<&str, String> = BTreeMap::new();
        let mut ordered: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for part in children {
            let name = part.name;
            let first = seen.insert(name);
            if !first && !in_order {
                continue;
            }
            let places = || children.iter().filter(|other| other.name == name);
            let asked = way.child(name)?;
            let several = !in_order && places().count() > 1;
            let of = |wanted: &[Times]| match in_order {
                true => wanted.contains(&part.times),
                false => places().any(|part| wanted.contains(&part.times)),
            };
            let required = of(&[Times::One, Times::Some]);
            if !asked && way.said.get(name) == Some(&Val::Absent) {
                if required {
                    return None;
                }
                continue;
            }
            let required = required || asked && first;
            let repeated = (several || of(&[Times::Some, Times::Any])) && !way.once(name);
            let uri = self.uri_of(name);
            let inner: Vec<&str> = path.iter().copied().chain(std::iter::once(name)).collect();
            if let Some((attribute, words)) = way.sequence(name) {
                let mut group = String::from("<group>");
                for word in words {
                    let forced = Said::from([(format!("@{attribute}"), Val::Word(word))]);
                    group.push_str(&self.element(&inner, &around, forced, uri));
                }
                out.push(group + "</group>");
                continue;
            }
            let times_asked = way.times(name);
            let element = match part.form {
                Some(_) => {
                    let local = name.split_once(':').map_or(name, |(_, local)| local);
                    let forms: Vec<ValueSchema> = places().map(|part| form_of(part)).collect();
                    format!(
                        "<element name=\"{local}\" ns=\"{uri}\">{}</element>",
                        self.value(&forms)
                    )
                }
                None => {
                    let mut forced = way.forced(name);
                    if repeated {
                        forced.retain(|_, val| *val == Val::Absent);
                    }
                    self.element(&inner, &around, forced, uri)
                }
            };
            if way
                .followers()
                .any(|(follower, first)| name == follower || name == first)
            {
                apart.insert(name, element);
                continue;
            }
            let pattern = match times_asked {
                Some(number) => format!("<group>{}</group>", element.repeat(number)),
                None => times(element, required, repeated),
            };
            let stage_of = |stages: &[&[&str]]| stages.iter().position(|stage| stage.contains(&name));
            let mut lists = way.ordered().enumerate();
            let stage = lists.find_map(|(list, stages)| Some((list, stage_of(stages)?)));
            let exclusive = || {
                way.excludes()
                    .any(|(one, others)| one == name || others.contains(&name))
            };
            match stage {
                Some(stage) => ordered.entry(stage).or_default().push(pattern),
                None if exclusive() => _ = apart.insert(name, pattern),
                None => out.push(pattern),
            }
        }
        for (name, others) in way.excludes() {
            let one = apart.remove(name).unwrap_or_default();
            let others: Vec<String> = others.iter().filter_map(|other| apart.remove(other)).collect();
            out.push(format!("<choice>{one}{}</choice>", mixed(&others)));
        }
        for (name, first) in way.followers() {
            let (Some(first), name) = (apart.remove(first), apart.remove(name)) else {
                continue;
            };
            let name = name.map(|name| times(name, false, false)).unwrap_or_default();
            out.push(format!("<zeroOrMore><group>{first}{name}</group></zeroOrMore>"));
        }
        let mut lists: BTreeMap<usize, String> = BTreeMap::new();
        for ((list, _), patterns) in ordered {
            lists.entry(list).or_default().push_str(&mixed(&patterns));
        }
        out.extend(lists.into_values().map(|list| format!("<group>{list}</group>")));
        if in_order && out.len() > 1 {
            out = vec![format!("<group>{}</group>", out.concat())];
        }
        Some(out)
    }

    /// What the prefix of a name in the table stands for.
    fn uri_of(&self, name: &str) -> &'static str {
        let Some((prefix, _)) = name.split_once(':') else {
            return "";
        };
        let mut known = self.source.table.namespaces.iter();
        let uri = known.find(|(known, _)| *known == prefix);
        uri.map_or("", |(_, uri)| uri)
    }
}

fn form_of(part: &Part) -> ValueSchema {
    part.form.map_or(ValueSchema::Text, ValueSchema::Form)
}
