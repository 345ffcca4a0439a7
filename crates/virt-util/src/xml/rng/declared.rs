//! The pattern of an element that declarations are about.

use std::collections::BTreeSet;

use super::super::schema::members::{Members, Step};
use super::super::schema::{Kind, Occurs, ValueSchema};
use super::ways::{ChosenTags, Said, Way, members_of};
use super::{Build, Item, Of, is_at, mixed, times};

impl Build<'_> {
    /// What stands in the element in this way; nothing if the way leads nowhere.
    pub(super) fn declared(
        &mut self,
        path: &[&str],
        items: &[Item],
        way: &Way,
        around: &[Said],
    ) -> Option<String> {
        let members = members_of(
            items,
            &ChosenTags {
                name: path.last().copied().unwrap_or_default(),
                said: &way.said,
                around,
            },
        );
        if members.anything || members.takes_any_child() {
            return Some("<ref name=\"anything\"/>".to_owned());
        }
        let names: BTreeSet<&'static str> = members.attribute_names().collect();
        // What only a table knows of is there as well.
        let source = self.source;
        let tabled: BTreeSet<&str> = source
            .tables
            .iter()
            .filter_map(|(at, _)| at.rsplit_once('/'))
            .filter(|(parent, _)| is_at(path, parent))
            .map(|(_, name)| name)
            .collect();
        let mut children: BTreeSet<&str> = tabled.clone();
        for name in members.child_names() {
            children.insert(name);
        }
        if way.asks_for_other(&names, &children) {
            return None;
        }
        let mut out = String::new();
        for name in names {
            let required = members.parts.iter().any(|part| {
                part.required && matches!(part.step(), Step::Attribute(attribute) if attribute == name)
            });
            let forms: Vec<ValueSchema> = members.forms_of(name).collect();
            out.push_str(&self.attribute(path, name, &forms, required, way)?);
        }
        let mut inside = self.declared_children(path, &members, &tabled, way, around)?;
        let forms: Vec<ValueSchema> = members.text_forms().collect();
        if !inside.is_empty() {
            if !forms.is_empty() {
                inside.push("<text/>".to_owned());
            }
        } else if let Some(form) = way.fit("text()") {
            inside.push(self.value(&[ValueSchema::Form(form)]));
        } else if !forms.is_empty() {
            inside.push(self.value(&forms));
        }
        out.push_str(&mixed(&inside));
        Some(out)
    }

    fn declared_children(
        &mut self,
        path: &[&str],
        members: &Members,
        tabled: &BTreeSet<&str>,
        way: &Way,
        around: &[Said],
    ) -> Option<Vec<String>> {
        let around = way.around(around);
        let mut out = Vec::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for name in members.child_names().filter(|name| *name != "*") {
            names.insert(name);
        }
        let alone = self.source.alone.iter().any(|at| is_at(path, at));
        for name in names.union(tabled).copied() {
            let (mut items, mut repeated, mut required, mut uri) =
                (Vec::new(), !names.contains(name), false, "");
            for part in members.parts_for(name) {
                items.push(Item::of(part));
                repeated |= match part.step() {
                    Step::Any => true,
                    step => {
                        step.is_last()
                            && (part.field.occurs == Occurs::Repeated
                                || matches!(part.field.kind, Kind::Opaque))
                    }
                };
                required |= part.required;
                if let Step::Child { name, .. } = part.step()
                    && let Some((prefix, _)) = name.split_once(':')
                {
                    if !part.field.namespace.is_empty() {
                        self.prefixes.insert(prefix, part.field.namespace);
                    }
                    uri = self.prefixes.get(prefix).copied().unwrap_or_default();
                }
            }
            let asked = way.child(name)?;
            if !asked && way.said.contains_key(name) {
                continue;
            }
            let inner: Vec<&str> = path.iter().copied().chain(std::iter::once(name)).collect();
            // Of several children one is enough.
            let mut forced = way.forced(name);
            let repeated = repeated && !way.once(name);
            if repeated {
                forced.retain(|_, val| *val == super::ways::Val::Absent);
            }
            let element = self.element(&inner, Of::Declared(items), &around, forced, uri);
            out.push(match alone {
                true => element,
                false => times(element, required || asked, repeated),
            });
        }
        if alone && !out.is_empty() {
            out = vec![format!("<optional><choice>{}</choice></optional>", out.concat())];
        }
        Some(out)
    }
}
