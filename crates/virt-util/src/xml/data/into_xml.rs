//! From data to elements: the source of a document that the reader reads, with the places where its parts come from.

use std::borrow::Cow;

use super::super::doc::{Origins, Position};
use super::super::schema::members::{Inside, Members, Part, Step, Tags};
use super::super::schema::{ElementSchema, Occurs, ValueSchema};
use super::super::value::nearest;
use super::super::{Doc, DocOptions, chars, escape_into};
use super::{MAX_DEPTH, Member, Node, Value, data_error};
use crate::error::{Result, VirtError};

/// XML that was made of data.
#[derive(Debug)]
pub struct Built {
    source: String,
    origins: Origins,
}

impl Built {
    /// The source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The document. Errors about it give the places of the data.
    ///
    /// # Errors
    /// `XML_DETAIL` if the data pass a limit of documents.
    pub fn doc(&self, options: &DocOptions<'_>) -> Result<Doc<'_>> {
        let mut doc = Doc::parse_with(&self.source, options)?;
        doc.set_origins(self.origins.clone());
        Ok(doc)
    }
}

/// The document `name` that `node` describes.
///
/// # Errors
/// `XML_ERROR` for a member that nobody knows, and a value of a wrong kind.
pub fn xml_of(
    node: &Node,
    schema: &'static ElementSchema,
    name: &str,
    options: &DocOptions<'_>,
) -> Result<Built> {
    let mut build = Build {
        options,
        elements: Vec::new(),
        path: vec![name.to_owned()],
        budget: options.limits.elements,
    };
    let root = build.element(None, name, node.position)?;
    build.declared(root, schema, node)?;
    let mut built = Built {
        source: String::new(),
        origins: Origins::default(),
    };
    build.write(root, &mut built);
    Ok(built)
}

/// An element that is being made.
#[derive(Default)]
struct Draft {
    name: String,
    parent: Option<usize>,
    attributes: Vec<(String, String, Option<Position>)>,
    text: Option<(String, Option<Position>)>,
    /// The element as it is.
    whole: Option<String>,
    children: Vec<usize>,
    position: Option<Position>,
}

struct Build<'o> {
    options: &'o DocOptions<'o>,
    elements: Vec<Draft>,
    /// Names of members, for errors.
    path: Vec<String>,
    /// How many more elements there may be.
    budget: usize,
}

/// What unions are chosen by, where an element is made of a map.
struct MapTags<'b> {
    build: &'b Build<'b>,
    element: usize,
    map: &'b [Member],
}

impl Tags for MapTags<'_> {
    fn word(&self, tag: &str) -> Option<Cow<'_, str>> {
        let element = self.build.elements.get(self.element)?;
        if tag == "name()" {
            return Some(Cow::Borrowed(&element.name));
        }
        if let Some(name) = tag.strip_prefix("../@") {
            let parent = self.build.elements.get(element.parent?)?;
            let mut attributes = parent.attributes.iter();
            return attributes
                .find(|(known, ..)| known == name)
                .map(|(_, text, _)| Cow::Borrowed(text.as_str()));
        }
        let name = tag.trim_start_matches('@');
        let member = self.map.iter().find(|member| member.name == name)?;
        match &member.node.value {
            Value::Text(text) | Value::Plain(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }
}

impl<'o> Build<'o> {
    fn fail<T>(&self, position: Option<Position>, what: impl std::fmt::Display) -> Result<T> {
        Err(self.error(position, what))
    }

    #[cold]
    fn error(&self, position: Option<Position>, what: impl std::fmt::Display) -> VirtError {
        let mut path = String::new();
        for step in &self.path {
            if !step.starts_with('[') {
                path.push('/');
            }
            path.push_str(step);
        }
        data_error(self.options, position, &path, what)
    }

    fn wrong_kind<T>(&self, node: &Node, wanted: &str) -> Result<T> {
        self.fail(
            node.position,
            format_args!("expected {wanted}, not {}", node.value.kind()),
        )
    }

    fn draft(&mut self, at: usize) -> Option<&mut Draft> {
        self.elements.get_mut(at)
    }

    /// A new element in `parent`.
    fn element(&mut self, parent: Option<usize>, name: &str, position: Option<Position>) -> Result<usize> {
        let Some(budget) = self.budget.checked_sub(1) else {
            return self.fail(position, "the document has too many elements");
        };
        self.budget = budget;
        let at = self.elements.len();
        self.elements.push(Draft {
            name: name.to_owned(),
            parent,
            position,
            ..Draft::default()
        });
        if let Some(parent) = parent.and_then(|parent| self.draft(parent)) {
            parent.children.push(at);
        }
        Ok(at)
    }

    /// The child `name` of an element, made if there is none.
    fn child(&mut self, of: usize, part: &Part, name: &str, position: Option<Position>) -> Result<usize> {
        let children = self.elements.get(of).map(|draft| draft.children.as_slice());
        let known = children.unwrap_or_default().iter().copied().find(|child| {
            self.elements
                .get(*child)
                .is_some_and(|draft| draft.name == name && draft.whole.is_none())
        });
        match known {
            Some(child) => Ok(child),
            None => self.new_child(of, part, name, position),
        }
    }

    fn new_child(&mut self, of: usize, part: &Part, name: &str, position: Option<Position>) -> Result<usize> {
        let uri = part.field.namespace;
        if let (false, Some((prefix, _))) = (uri.is_empty(), name.split_once(':')) {
            let declaration = format!("xmlns:{prefix}");
            if let Some(draft) = self.draft(of)
                && draft.attributes.iter().all(|(known, ..)| *known != declaration)
            {
                draft.attributes.push((declaration, uri.to_owned(), None));
            }
        }
        self.element(Some(of), name, position)
    }

    fn declared(&mut self, at: usize, schema: &'static ElementSchema, node: &Node) -> Result<()> {
        let map = match &node.value {
            Value::Map(map) => map.as_slice(),
            _ => &[],
        };
        let tags = MapTags {
            build: self,
            element: at,
            map,
        };
        let members = Members::of(schema, &tags);
        self.fill(at, &members, node)
    }

    fn fill(&mut self, at: usize, members: &Members, node: &Node) -> Result<()> {
        if members.anything {
            return self.whole(at, node);
        }
        if members.parts.is_empty()
            && members.tags.is_empty()
            && let Some(form) = members.values.first()
        {
            return self.text(at, node, *form);
        }
        if self.path.len() > MAX_DEPTH {
            return self.fail(node.position, format_args!("deeper than {MAX_DEPTH} levels"));
        }
        match &node.value {
            Value::Map(map) => self.map(at, members, map),
            Value::Null => Ok(()),
            _ => self.wrong_kind(node, "a map"),
        }
    }

    fn map(&mut self, at: usize, members: &Members, map: &[Member]) -> Result<()> {
        let mut names: Vec<&str> = map.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[one, other]| one == other) {
            let place = map.iter().rfind(|member| member.name == *twice);
            let position = place.and_then(|member| member.position);
            return self.fail(position, format_args!("'{twice}' is there twice"));
        }
        let mut used = vec![false; map.len()];
        for &tag in &members.tags {
            self.with_member(map, &mut used, tag, |build, node| {
                build.attribute(at, tag, node, ValueSchema::Text)
            })?;
        }
        // Attributes first: children may be chosen by them.
        for attributes in [true, false] {
            for (index, part) in members.parts.iter().enumerate() {
                let name = part.field.field;
                if matches!(part.step(), Step::Attribute(_)) != attributes {
                    continue;
                }
                let later = members.parts.get(index + 1..).unwrap_or_default();
                self.with_member(map, &mut used, name, |build, node| {
                    let rival = later.iter().find(|other| other.field.field == name);
                    match rival {
                        Some(rival) if !fits(part, node) && fits(rival, node) => build.place(at, rival, node),
                        _ => build.place(at, part, node),
                    }
                })?;
            }
        }
        if let Some(form) = members.values.first() {
            self.with_member(map, &mut used, "text", |build, node| build.text(at, node, *form))?;
        }
        match map.iter().zip(&used).find(|(_, used)| !**used) {
            Some((member, _)) => self.unknown(members, member),
            None => Ok(()),
        }
    }

    /// Calls `then` with the member of that name, if there is one that is not used.
    fn with_member(
        &mut self,
        map: &[Member],
        used: &mut [bool],
        name: &str,
        then: impl FnOnce(&mut Self, &Node) -> Result<()>,
    ) -> Result<()> {
        let found = map.iter().zip(used).find(|(member, _)| member.name == name);
        let Some((member, used)) = found else {
            return Ok(());
        };
        if std::mem::replace(used, true) {
            return Ok(());
        }
        self.path.push(name.to_owned());
        then(self, &member.node)?;
        self.path.pop();
        Ok(())
    }

    #[cold]
    fn unknown(&self, members: &Members, member: &Member) -> Result<()> {
        let fields = members.parts.iter().map(|part| part.field.field);
        let tags = members.tags.iter().copied();
        let known: Vec<&str> = tags.chain(fields).collect();
        let shown: String = member.name.chars().take(80).collect();
        let mut what = format!("unknown field '{shown}'");
        match nearest(&member.name, known.iter().copied()) {
            Some(word) => what.push_str(&format!(", did you mean '{word}'?")),
            None if known.len() < 12 => what.push_str(&format!(", there are {}", known.join(", "))),
            None => {}
        }
        self.fail(member.position, what)
    }

    fn place(&mut self, at: usize, part: &Part, node: &Node) -> Result<()> {
        if node.value == Value::Null || is_plain_null(node, part) {
            return Ok(());
        }
        match part.step() {
            Step::Attribute(name) => self.attribute(at, name, node, form_of(part)),
            Step::Text => self.text(at, node, form_of(part)),
            Step::Any => self.mixed(at, part, node),
            Step::Child { name, rest } if !rest.is_empty() => {
                if matches!((part.field.occurs, &node.value), (Occurs::Repeated, Value::List(list)) if list.is_empty())
                {
                    return Ok(());
                }
                let child = self.child(at, part, name, node.position)?;
                let mut inner = Members::default();
                let map = match &node.value {
                    Value::Map(map) => map.as_slice(),
                    _ => &[],
                };
                let tags = MapTags {
                    build: self,
                    element: child,
                    map,
                };
                inner.add(part.inside(), &tags);
                if rest == "." {
                    return self.fill(child, &inner, node);
                }
                match inner.parts.first().copied() {
                    Some(part) => self.place(child, &part, node),
                    None => Ok(()),
                }
            }
            Step::Child { name, .. } if part.field.occurs == Occurs::Repeated => {
                let Value::List(list) = &node.value else {
                    return self.wrong_kind(node, "a list");
                };
                for (index, node) in list.iter().enumerate() {
                    let child = self.new_child(at, part, name, node.position)?;
                    self.path.push(format!("[{}]", index + 1));
                    self.leaf(child, part, node)?;
                    self.path.pop();
                }
                Ok(())
            }
            Step::Child { name, .. } => {
                if let Inside::Nothing = part.inside() {
                    return match &node.value {
                        Value::Bool(false) => Ok(()),
                        Value::Bool(true) => self.child(at, part, name, node.position).map(drop),
                        Value::Plain(word) if word == "false" => Ok(()),
                        Value::Plain(word) if word == "true" => {
                            self.child(at, part, name, node.position).map(drop)
                        }
                        _ => self.wrong_kind(node, "true or false"),
                    };
                }
                let child = self.child(at, part, name, node.position)?;
                self.leaf(child, part, node)
            }
        }
    }

    fn leaf(&mut self, child: usize, part: &Part, node: &Node) -> Result<()> {
        match part.inside() {
            Inside::Nothing => Ok(()),
            Inside::Anything | Inside::Part(_) => self.whole(child, node),
            Inside::Value(form) => self.text(child, node, form),
            Inside::Element(schema) => self.declared(child, schema(), node),
        }
    }

    fn mixed(&mut self, at: usize, part: &Part, node: &Node) -> Result<()> {
        let (Value::List(list), Inside::Element(schema)) = (&node.value, part.inside()) else {
            return self.wrong_kind(node, "a list");
        };
        let choices = part.choices();
        for (index, node) in list.iter().enumerate() {
            let member = match &node.value {
                Value::Map(map) => match map.as_slice() {
                    [member] => member,
                    _ => return self.fail(node.position, "expected a map with one member"),
                },
                _ => return self.wrong_kind(node, "a map with one member"),
            };
            self.path.push(format!("[{}]", index + 1));
            self.path.push(member.name.clone());
            if choices.iter().any(|choice| choice.value == member.name) {
                let child = self.new_child(at, part, &member.name, member.position)?;
                self.declared(child, schema(), &member.node)?;
            } else if member.name == "xml" && choices.iter().any(|choice| choice.value == "*") {
                let child = self.new_child(at, part, "", member.position)?;
                self.whole(child, &member.node)?;
            } else {
                self.path.pop();
                let words = choices.iter().map(|choice| choice.value);
                let hint = match nearest(&member.name, words.clone()) {
                    Some(word) => format!("did you mean '{word}'?"),
                    None => format!("there are {}", words.collect::<Vec<_>>().join(", ")),
                };
                return self.fail(
                    member.position,
                    format_args!("unknown element '{}', {hint}", member.name),
                );
            }
            self.path.pop();
            self.path.pop();
        }
        Ok(())
    }

    /// An element as text. It takes the place of `at`.
    fn whole(&mut self, at: usize, node: &Node) -> Result<()> {
        let Value::Text(text) = &node.value else {
            return self.wrong_kind(node, "text: an element in XML");
        };
        let doc =
            Doc::parse_with(text, self.options).map_err(|error| self.error(node.position, error.detail()))?;
        let name = doc.root().qualified_name();
        let wanted = self.elements.get(at).map_or("", |draft| draft.name.as_str());
        if !wanted.is_empty() && name != wanted {
            return self.fail(
                node.position,
                format_args!("expected the element '{wanted}', not '{name}'"),
            );
        }
        let whole = doc.root().outer_source().to_owned();
        if let Some(draft) = self.draft(at) {
            draft.whole = Some(whole);
        }
        Ok(())
    }

    fn attribute(&mut self, at: usize, name: &str, node: &Node, form: ValueSchema) -> Result<()> {
        let text = self.scalar(node, form)?;
        if let Some(draft) = self.draft(at) {
            draft.attributes.retain(|(known, ..)| known != name);
            draft.attributes.push((name.to_owned(), text, node.position));
        }
        Ok(())
    }

    fn text(&mut self, at: usize, node: &Node, form: ValueSchema) -> Result<()> {
        let text = self.scalar(node, form)?;
        if let Some(draft) = self.draft(at) {
            draft.text = Some((text, node.position));
        }
        Ok(())
    }

    /// The text that XML holds for a value.
    fn scalar(&self, node: &Node, form: ValueSchema) -> Result<String> {
        let text = match (&node.value, form) {
            (Value::Bool(value), ValueSchema::Switch([yes, no])) => {
                (if *value { *yes } else { *no }).to_owned()
            }
            (Value::Plain(word), ValueSchema::Switch([yes, _])) if word == "true" => (*yes).to_owned(),
            (Value::Plain(word), ValueSchema::Switch([_, no])) if word == "false" => (*no).to_owned(),
            (Value::Number(text) | Value::Plain(text), ValueSchema::Integer { base, .. }) => {
                in_base(text, base).unwrap_or_else(|| text.clone())
            }
            (Value::Number(text), ValueSchema::Decimal) | (Value::Text(text) | Value::Plain(text), _) => {
                text.clone()
            }
            (_, form) => {
                let quotes = match node.value {
                    Value::Bool(_) | Value::Number(_) => " (put it in quotes)",
                    _ => "",
                };
                let wanted = match form {
                    ValueSchema::Switch(_) => "true or false",
                    ValueSchema::Integer { .. } | ValueSchema::Decimal => "a number",
                    _ => "text",
                };
                let kind = node.value.kind();
                return self.fail(
                    node.position,
                    format_args!("expected {wanted}, not {kind}{quotes}"),
                );
            }
        };
        match text.chars().find(|c| !chars::is_char(*c)) {
            Some(c) => self.fail(
                node.position,
                format_args!("the character U+{:04X} cannot be in a document", u32::from(c)),
            ),
            None => Ok(text),
        }
    }

    fn write(&self, at: usize, built: &mut Built) {
        let Some(draft) = self.elements.get(at) else {
            return;
        };
        built.origins.push(built.source.len(), draft.position);
        if let Some(whole) = &draft.whole {
            built.source.push_str(whole);
            return;
        }
        built.source.push('<');
        built.source.push_str(&draft.name);
        for (name, value, position) in &draft.attributes {
            built.source.push(' ');
            built.source.push_str(name);
            built.source.push_str("='");
            built
                .origins
                .push(built.source.len(), position.or(draft.position));
            push_escaped(&mut built.source, value);
            built.source.push('\'');
        }
        built.source.push('>');
        if let Some((text, _)) = &draft.text {
            push_escaped(&mut built.source, text);
        }
        for child in &draft.children {
            self.write(*child, built);
        }
        built.source.push_str("</");
        built.source.push_str(&draft.name);
        built.source.push('>');
    }
}

/// White space that readers of XML would change is written as references.
fn push_escaped(out: &mut String, text: &str) {
    for piece in text.split_inclusive(['\t', '\n', '\r']) {
        let (plain, end) = match piece.char_indices().next_back() {
            Some((at, c @ ('\t' | '\n' | '\r'))) => (piece.get(..at).unwrap_or_default(), Some(c)),
            _ => (piece, None),
        };
        escape_into(out, plain);
        out.push_str(match end {
            Some('\t') => "&#9;",
            Some('\n') => "&#10;",
            Some(_) => "&#13;",
            None => "",
        });
    }
}

fn form_of(part: &Part) -> ValueSchema {
    match part.inside() {
        Inside::Value(form) => form,
        _ => ValueSchema::Text,
    }
}

/// Is it a word that stands for nothing, where no text belongs?
fn is_plain_null(node: &Node, part: &Part) -> bool {
    let text = match part.step().is_last() {
        true => matches!(part.inside(), Inside::Value(ValueSchema::Text)),
        false => false,
    };
    match &node.value {
        Value::Plain(word) => word == "~" || !text && matches!(word.as_str(), "null" | ""),
        _ => false,
    }
}

/// Could the value belong to this part?
fn fits(part: &Part, node: &Node) -> bool {
    let (Value::Map(map), Inside::Element(schema)) = (&node.value, part.inside()) else {
        return true;
    };
    struct OwnTags<'m>(&'m [Member]);
    impl Tags for OwnTags<'_> {
        fn word(&self, tag: &str) -> Option<Cow<'_, str>> {
            let name = tag.strip_prefix('@')?;
            let member = self.0.iter().find(|member| member.name == name)?;
            match &member.node.value {
                Value::Text(text) | Value::Plain(text) => Some(Cow::Borrowed(text)),
                _ => None,
            }
        }
    }
    let members = Members::of(schema(), &OwnTags(map));
    map.iter().all(|member| {
        members.parts.iter().any(|part| part.field.field == member.name)
            || members.tags.iter().any(|tag| *tag == member.name)
    })
}

/// A whole number in decimal, written for a reader of another base; `None` for other texts.
fn in_base(text: &str, base: u32) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match base {
        16 => format!("{sign}0x{number:x}"),
        8 => format!("{sign}{number:o}"),
        _ => format!("{sign}{number}"),
    })
}
