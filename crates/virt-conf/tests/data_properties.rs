//! Documents made at random from the declarations go through JSON and YAML as they are.

use proptest::prelude::*;
use virt_conf::data::{self, FORMATS, Format, Notation};
use virt_util::xml::data::{Member, Node, Value};
use virt_util::xml::schema::{Content, ElementSchema, FieldSchema, Kind, Occurs, ValueSchema};
use virt_util::xml::{Doc, XmlFlags};

/// Texts that are values of some form or other, and some that are hard to write.
const TEXTS: &[&str] = &[
    "a",
    "1",
    "0",
    "0x10",
    "yes",
    "on",
    "/dev/null",
    "192.0.2.1",
    "2001:db8::1",
    "52:54:00:00:00:01",
    "0-3,^2",
    "KiB",
    "vda",
    "5006016844602198",
    "a b",
    "é ü 漢",
    "<&'\">",
    "a\nb",
    "\ta",
    "null",
    "~",
    "- a: b",
    "# no comment",
    "12345678-1234-4234-8234-123456789abc",
];

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts.get(self.below(texts.len())).copied().unwrap_or_default()
    }

    fn value(&mut self, form: &ValueSchema) -> Value {
        match form {
            ValueSchema::Switch(_) => Value::Bool(self.below(2) == 0),
            ValueSchema::Words(words) => Value::Text(self.pick(words).to_owned()),
            ValueSchema::Uuid => Value::Text("12345678-1234-4234-8234-123456789abc".to_owned()),
            ValueSchema::Decimal => Value::Number("1.5".to_owned()),
            ValueSchema::Integer { min, max, .. } => {
                let small = (*min).max(0) as u64;
                let number = [small, small + 1, small + 4, *max][self.below(4)].min(*max);
                Value::Number(number.to_string())
            }
            ValueSchema::Form(form) => {
                let fit: Vec<&str> = TEXTS.iter().copied().filter(|text| (form.fits)(text)).collect();
                Value::Text(self.pick(&fit).to_owned())
            }
            ValueSchema::Text => Value::Text(self.pick(TEXTS).to_owned()),
        }
    }

    fn element(&mut self, schema: &'static ElementSchema, depth: u32) -> Option<Node> {
        Some(match &schema.content {
            Content::Value(form) => self.value(form).into(),
            Content::Opaque => return None,
            _ => {
                let mut members = Vec::new();
                self.members(schema, &mut members, depth, true);
                Value::Map(members).into()
            }
        })
    }

    fn members(
        &mut self,
        schema: &'static ElementSchema,
        members: &mut Vec<Member>,
        depth: u32,
        whole: bool,
    ) {
        match &schema.content {
            Content::Fields(fields) => self.fields(fields, members, depth, whole),
            Content::Union { tag, variants } => {
                let Some(name) = tag.strip_prefix('@') else { return };
                let Some(variant) = variants.get(self.below(variants.len())) else {
                    return;
                };
                push(members, name, Value::Text(variant.value.to_owned()).into());
                self.fields(variant.fields, members, depth, whole);
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &'static [FieldSchema], members: &mut Vec<Member>, depth: u32, whole: bool) {
        for field in fields {
            let required = whole && field.occurs == Occurs::Required;
            let wanted = required || self.below(5) == 0;
            if let (".", Kind::Element(schema)) = (field.path, field.kind) {
                self.members(schema(), members, depth + 1, required);
                continue;
            }
            if !wanted || depth > 12 {
                continue;
            }
            let count = match field.occurs {
                Occurs::Repeated => 1 + self.below(2),
                _ => 1,
            };
            let mut list: Vec<Node> = (0..count).filter_map(|_| self.field(field, depth)).collect();
            let node = match field.occurs {
                Occurs::Repeated => Value::List(list).into(),
                _ => match list.pop() {
                    Some(node) => node,
                    None => continue,
                },
            };
            push(members, field.field, node);
        }
    }

    fn field(&mut self, field: &'static FieldSchema, depth: u32) -> Option<Node> {
        match field.kind {
            Kind::Value(form) => Some(self.value(&form).into()),
            Kind::Flag => Some(Value::Bool(true).into()),
            Kind::Opaque => None,
            Kind::Element(schema) if field.path.ends_with('*') => {
                let Content::Union { variants, .. } = &schema().content else {
                    return None;
                };
                let variant = variants.get(self.below(variants.len()))?;
                let mut inner = Vec::new();
                self.fields(variant.fields, &mut inner, depth + 1, true);
                let mut one = Vec::new();
                push(&mut one, variant.value, Value::Map(inner).into());
                Some(Value::Map(one).into())
            }
            Kind::Element(schema) => self.element(schema(), depth + 1),
        }
    }
}

fn push(members: &mut Vec<Member>, name: &str, node: Node) {
    if members.iter().all(|member| member.name != name) {
        members.push(Member {
            name: name.to_owned(),
            position: None,
            node,
        });
    }
}

/// Takes out of a document what its reader refuses, as long as that helps, and gives what is left in XML.
fn readable(format: &Format, node: &mut Node, random: &mut Random) -> Option<String> {
    for _ in 0..40 {
        match (format.from_data)(node, XmlFlags::SECURE, "made") {
            Ok(text) => return Some(text),
            Err(_) => prune(node, random),
        }
    }
    None
}

/// Takes something away.
fn prune(node: &mut Node, random: &mut Random) {
    match &mut node.value {
        Value::Map(members) if !members.is_empty() => {
            let at = random.below(members.len());
            let small = !matches!(members[at].node.value, Value::Map(_) | Value::List(_));
            if small || random.below(3) == 0 {
                if members.len() > 2 || depth_of(&members[at].node) > 0 {
                    members.remove(at);
                }
            } else {
                prune(&mut members[at].node, random);
            }
        }
        Value::List(list) if !list.is_empty() => {
            let at = random.below(list.len());
            if random.below(2) == 0 {
                list.remove(at);
            } else {
                prune(&mut list[at], random);
            }
        }
        _ => {}
    }
}

fn depth_of(node: &Node) -> usize {
    match &node.value {
        Value::Map(members) => {
            1 + members
                .iter()
                .map(|member| depth_of(&member.node))
                .max()
                .unwrap_or(0)
        }
        Value::List(list) => 1 + list.iter().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether there was something to compare.
fn comes_through(format: &Format, seed: u64) -> bool {
    let mut random = Random(seed);
    let schemas = (format.schemas)();
    let schema = schemas[random.below(schemas.len())];
    let Some(mut node) = random.element(schema, 0) else {
        return false;
    };
    let Some(want) = readable(format, &mut node, &mut random) else {
        return false;
    };
    // What XML itself does not bring back is no matter of notations.
    let again = Doc::parse(&want).and_then(|doc| (format.rewrite)(&doc, XmlFlags::SECURE));
    if again.as_ref() != Ok(&want) {
        return false;
    }
    for notation in [Notation::Json, Notation::Yaml] {
        let text = data::from_xml(&want, notation, XmlFlags::SECURE, "a")
            .unwrap_or_else(|error| panic!("{notation:?} out: {error}\n{want}"));
        let have = data::to_xml(&text, notation, format.root, XmlFlags::SECURE, "a")
            .unwrap_or_else(|error| panic!("{notation:?} in: {error}\n{text}"));
        assert_eq!(have, want, "{notation:?}\n{text}");
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn made_documents_come_through(seed in any::<u64>()) {
        for format in FORMATS {
            comes_through(format, seed);
        }
    }
}

#[test]
fn enough_made_documents_can_be_read() {
    let mut kinds = 0;
    for format in FORMATS {
        let count = (0..120).filter(|seed| comes_through(format, seed * 7919)).count();
        println!("{}: {count} of 120", format.root);
        kinds += usize::from(count > 0);
    }
    assert!(kinds >= 8, "documents of {kinds} kinds only");
}
