//! Odd arguments for any procedure, made from the table of procedures: what each argument can have wrong, alone and
//! together with something else.

use std::collections::BTreeMap;

use virt_api::protocol::shape::Shape;
use virt_api::protocol::table::{Procedure, Rule};
use virt_util::typed_param::TypedParams;
use virt_util::xdr::{XdrEncode, XdrEncoder};

use super::host;

/// What an argument is instead of what it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(i64),
    Text(&'static str),
    Uuid([u8; 16]),
    Absent,
    /// So many items, bytes or typed parameters.
    Items(usize),
}

/// Arguments that are not as they should be, by their path (`domain.name`), and what to call that.
#[derive(Clone, Debug, Default)]
pub struct Odd {
    pub name: String,
    values: BTreeMap<String, Value>,
}

impl Odd {
    fn of(name: impl Into<String>, values: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self {
            name: name.into(),
            values: values.into_iter().collect(),
        }
    }

    /// Both, unless they are about the same argument.
    fn and(&self, other: &Self) -> Option<Self> {
        if self.values.keys().any(|path| other.values.contains_key(path)) {
            return None;
        }
        Some(Self {
            name: format!("{}, {}", self.name, other.name),
            values: self
                .values
                .iter()
                .chain(&other.values)
                .map(|(path, value)| (path.clone(), value.clone()))
                .collect(),
        })
    }

    /// Whether this is among what is odd.
    pub fn has(&self, name: &str) -> bool {
        self.name.split(", ").any(|one| one == name)
    }

    /// Whether the argument names an object by a name and a UUID that are not of the same one.
    pub fn confuses(&self, argument: &str) -> bool {
        let odd = |field: &str| self.values.contains_key(&format!("{argument}.{field}"));
        odd("name") != odd("uuid")
    }

    /// The arguments in XDR.
    pub fn encode(&self, procedure: &Procedure) -> Vec<u8> {
        let mut out = XdrEncoder::without_limits();
        if let Some(shape) = procedure.args {
            self.put(procedure, "", shape, &mut out);
        }
        out.into_bytes()
    }

    fn put(&self, procedure: &Procedure, path: &str, shape: &Shape, out: &mut XdrEncoder) {
        let value = self.values.get(path).cloned();
        let number = match value {
            Some(Value::Number(number)) => number,
            _ => usual_number(procedure, path),
        };
        let count = match value {
            Some(Value::Items(count)) => count,
            _ => usize::from(wants(procedure, path)),
        };
        match *shape {
            Shape::I32 | Shape::Char | Shape::U32 | Shape::Uchar | Shape::Ushort => {
                out.u32(number as u32);
            }
            Shape::I64 | Shape::U64 => out.i64(number),
            Shape::F64 => out.f64(0.0),
            Shape::Uuid => match value {
                Some(Value::Uuid(uuid)) => out.opaque_fixed(&uuid),
                _ => out.opaque_fixed(&host::uuid(procedure.name, path)),
            },
            Shape::String { .. } => {
                let text = match value {
                    Some(Value::Text(text)) => text,
                    _ => host::text(procedure.name, path),
                };
                out.string(text, usize::MAX).expect("the text is short");
            }
            Shape::Bytes { .. } => out.opaque(&vec![b'x'; count], usize::MAX).expect("they are few"),
            Shape::Chars { .. } => {
                out.length(count, usize::MAX).expect("they are few");
                (0..count).for_each(|_| out.i32(0));
            }
            Shape::CharsFixed { length } => (0..length).for_each(|_| out.i32(0)),
            Shape::Params { .. } => {
                let params = (0..count).fold(TypedParams::new(), |params, _| params.with("sample", 1));
                params.encode(out).expect("they are few");
            }
            Shape::Optional(_) if value == Some(Value::Absent) => out.bool(false),
            Shape::Optional(inner) => {
                out.bool(true);
                self.put(procedure, path, inner, out);
            }
            Shape::List { of, .. } => {
                out.length(count, usize::MAX).expect("they are few");
                (0..count).for_each(|_| self.put(procedure, "", of, out));
            }
            Shape::Struct { fields, .. } => {
                for (name, shape) in fields {
                    self.put(procedure, &join(path, name), shape, out);
                }
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn wants(procedure: &Procedure, path: &str) -> bool {
    procedure.rules.iter().any(|rule| match rule {
        Rule::NonEmpty(name) | Rule::Positive(name) | Rule::NonZero(name) => *name == path,
        _ => false,
    })
}

fn usual_number(procedure: &Procedure, path: &str) -> i64 {
    match path.rsplit('.').next() {
        Some("id") => 1,
        _ if procedure
            .counts
            .iter()
            .any(|count| count.arguments.contains(&path)) =>
        {
            1
        }
        _ => wants(procedure, path).into(),
    }
}

/// Everything odd that is tried with a procedure.
#[derive(Default)]
struct Oddities {
    /// The objects are others than the one that is there.
    objects: Vec<Odd>,
    flags: Vec<Odd>,
    others: Vec<Odd>,
}

const UNKNOWN: [u8; 16] = [0x77; 16];

impl Oddities {
    fn collect(&mut self, procedure: &Procedure, path: &str, shape: &Shape) {
        let mut other = |name: &str, value: Value| {
            self.others
                .push(Odd::of(format!("{path} {name}"), [(path.to_owned(), value)]));
        };
        match *shape {
            Shape::U32 | Shape::U64 if path == "flags" => {
                let mut add = |bits: i64| {
                    self.flags.push(Odd::of(
                        format!("flags {bits:#x}"),
                        [(path.to_owned(), Value::Number(bits))],
                    ));
                };
                add(1 << 31);
                (0..14).for_each(|bit| add(1 << bit));
                for rule in procedure.rules {
                    if let Rule::Exclusive(one, other) = rule {
                        add((one.value | other.value).into());
                    }
                }
            }
            Shape::I32 | Shape::U32 => {
                for number in [-1, 0, 1, 2, 17, 65, 257, 1025, 2049, 16_385, 65_537, 8_388_609] {
                    other(&number.to_string(), Value::Number(number));
                }
            }
            Shape::I64 | Shape::U64 => {
                for number in [0, 1, -1, i64::MAX] {
                    other(&number.to_string(), Value::Number(number));
                }
            }
            Shape::Char | Shape::Uchar | Shape::Ushort => other("1", Value::Number(1)),
            Shape::F64 | Shape::CharsFixed { .. } => {}
            Shape::Uuid => {
                other("unknown", Value::Uuid(UNKNOWN));
                other("zero", Value::Uuid([0; 16]));
            }
            Shape::String { .. } => {
                other("empty", Value::Text(""));
                other("odd", Value::Text("/proc/odd/one"));
                if path.contains("xml") {
                    other("a document", Value::Text("<odd/>"));
                }
            }
            Shape::Optional(inner) => {
                other("absent", Value::Absent);
                self.collect(procedure, path, inner);
            }
            Shape::Bytes { max } | Shape::Chars { max } | Shape::Params { max } | Shape::List { max, .. } => {
                other("none", Value::Items(0));
                other("one", Value::Items(1));
                if max <= 2048 {
                    other("too many", Value::Items(max + 1));
                }
            }
            Shape::Struct { name, fields } => match host::is_object(name) {
                true => self.collect_object(path, fields),
                false => {
                    for (name, shape) in fields {
                        self.collect(procedure, &join(path, name), shape);
                    }
                }
            },
        }
    }

    /// An object is unknown altogether, or its names are of different ones.
    fn collect_object(&mut self, path: &str, fields: &[(&str, &Shape)]) {
        let mut all = Vec::new();
        for (name, shape) in fields {
            let path = join(path, name);
            match shape {
                Shape::String { .. } => {
                    let unknown = (path.clone(), Value::Text("unknown"));
                    self.objects
                        .push(Odd::of(format!("{path} unknown"), [unknown.clone()]));
                    self.objects
                        .push(Odd::of(format!("{path} empty"), [(path, Value::Text(""))]));
                    all.push(unknown);
                }
                Shape::Uuid => {
                    let unknown = (path.clone(), Value::Uuid(UNKNOWN));
                    self.objects
                        .push(Odd::of(format!("{path} unknown"), [unknown.clone()]));
                    self.objects
                        .push(Odd::of(format!("{path} zero"), [(path, Value::Uuid([0; 16]))]));
                    all.push(unknown);
                }
                Shape::Struct { fields, .. } => {
                    self.collect_object(&path, fields);
                }
                _ => {}
            }
        }
        if all.len() > 1 {
            self.objects.insert(0, Odd::of(format!("{path} unknown"), all));
        }
        if path == "domain" {
            self.objects.push(Odd::of(
                "domain inactive",
                [
                    ("domain.name".to_owned(), Value::Text(host::INACTIVE)),
                    ("domain.uuid".to_owned(), Value::Uuid(host::INACTIVE_UUID)),
                    ("domain.id".to_owned(), Value::Number(-1)),
                ],
            ));
        }
    }
}

/// What a procedure is called with.
pub fn odd_calls(procedure: &Procedure) -> Vec<Odd> {
    let mut oddities = Oddities::default();
    if let Some(shape) = procedure.args {
        oddities.collect(procedure, "", shape);
    }
    let Oddities {
        objects,
        flags,
        others,
    } = oddities;
    let mut calls = vec![Odd::of("as it should be", [])];
    let singles = || objects.iter().chain(&flags).chain(&others);
    calls.extend(singles().cloned());
    // Two at a time: which one is told says what is looked at first.
    for one in objects.first().into_iter().chain(flags.first()) {
        calls.extend(singles().filter_map(|other| one.and(other)));
    }
    calls
}
