//! A rule: what happens to packets of some protocol whose attributes match.

use std::sync::LazyLock;

use virt_util::xml::schema::{Content, FieldSchema, Kind as FieldKind, Occurs, ValueSchema};
use virt_util::xml::{At, Element, ElementSchema, Reader, Writer, XmlElement, XmlValue, error_with, read};
use virt_util::{ErrorCode, Result};

use super::PRIORITIES;
use super::attributes::{PROTOCOLS, Protocol};
use super::value::{Kind, Value};

xml_enum! {
    /// What happens to packets that match.
    pub enum RuleAction { Drop = "drop", Accept = "accept", Reject = "reject", Return = "return", Continue = "continue" }
}

xml_enum! {
    /// Which way packets go, as the guest sees it.
    pub enum RuleDirection { In = "in", Out = "out", Inout = "inout" }
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// What happens to packets that match.
    pub action: RuleAction,
    /// Which way they go.
    pub direction: RuleDirection,
    /// Place among rules, -1000 to 1000; lower comes first.
    pub priority: i32,
    /// Whether the state of connections is not looked at.
    pub no_state_match: bool,
    /// What packets it is for; `None`: all.
    pub protocol: Option<&'static Protocol>,
    /// What must match.
    pub matches: Vec<Match>,
}

/// An attribute that must match, or must not.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Its name, one of its protocol's.
    pub attribute: &'static str,
    /// Its value.
    pub value: Value,
    /// It must not match.
    pub negative: bool,
}

/// Where rules go that say nothing, or nothing valid.
const USUAL_PRIORITY: i32 = 500;

/// Protocols of packets that have ports: TCP, UDP, DCCP, SCTP.
const WITH_PORTS: &[u32] = &[6, 17, 33, 132];

impl Rule {
    /// What an attribute must match.
    pub fn get(&self, attribute: &str) -> Option<&Match> {
        self.matches.iter().find(|one| one.attribute == attribute)
    }

    fn set(&mut self, one: Match) {
        match self
            .matches
            .iter_mut()
            .find(|known| known.attribute == one.attribute)
        {
            Some(known) => *known = one,
            None => self.matches.push(one),
        }
    }

    fn read_details(
        &mut self,
        protocol: &'static Protocol,
        element: Element<'_>,
        cx: &mut Reader,
    ) -> Result<()> {
        let negative = element.attr("match").as_deref() == Some("no");
        for attribute in protocol.attributes() {
            let Some(text) = element.attr(attribute.name) else {
                continue;
            };
            match attribute.kind.parse(&text) {
                Some(value) => self.set(Match {
                    attribute: attribute.name,
                    value,
                    negative,
                }),
                None => {
                    let what = format!(
                        "{} has illegal value '{text}': {} expected",
                        attribute.name,
                        attribute.kind.describe()
                    );
                    let at = At::Attribute(attribute.name);
                    cx.fail(error_with(ErrorCode::INTERNAL_ERROR, element, at, what))?;
                }
            }
        }
        Ok(())
    }

    /// Attributes that go together are negated together.
    fn settle_signs(&mut self, protocol: &Protocol) {
        for attribute in protocol.attributes() {
            let Some(other) = attribute.sign_of else { continue };
            let negative = self.get(other).is_some_and(|other| other.negative);
            if let Some(one) = self
                .matches
                .iter_mut()
                .find(|one| one.attribute == attribute.name)
            {
                one.negative = negative;
            }
        }
        if !protocol.fixes_ipset {
            return;
        }
        if self.get("ipset").is_some() && self.get("ipsetflags").is_none() {
            self.set(Match {
                attribute: "ipsetflags",
                value: Value::IpsetFlags(vec![true]),
                negative: false,
            });
        } else {
            self.matches
                .retain(|one| !matches!(one.attribute, "ipset" | "ipsetflags"));
        }
    }

    /// Ports mean something for some protocols only.
    fn check_ports(&self, protocol: &Protocol, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if !matches!(protocol.name, "ip" | "ipv6") || !self.matches.iter().any(|one| one.is_port()) {
            return Ok(());
        }
        let known = self.get("protocol").is_some_and(
            |one| matches!(&one.value, Value::Number { value, .. } if WITH_PORTS.contains(value)),
        );
        if known {
            return Ok(());
        }
        cx.fail(error_with(
            ErrorCode::INTERNAL_ERROR,
            element,
            At::Child(protocol.name),
            format_args!(
                "{}: ports need a protocol that has them: 'tcp' (6), 'udp' (17), 'dccp' (33) or 'sctp' (132)",
                protocol.name
            ),
        ))
    }

    fn write_details(&self, protocol: &'static Protocol, negative: bool, w: &mut Writer) -> bool {
        let mut written = false;
        for attribute in protocol.attributes() {
            let Some(one) = self.get(attribute.name).filter(|one| one.negative == negative) else {
                continue;
            };
            if !std::mem::replace(&mut written, true) {
                w.start(protocol.name);
                if negative {
                    w.attribute("match", "no");
                }
            }
            w.attribute_with(attribute.name, |out| attribute.kind.format(&one.value, out));
        }
        if written {
            w.end(protocol.name);
        }
        written
    }
}

impl Match {
    fn is_port(&self) -> bool {
        self.attribute.starts_with("srcport") || self.attribute.starts_with("dstport")
    }
}

/// The shape of the element of a protocol, by its place in [`PROTOCOLS`].
fn shape<const AT: usize>() -> &'static ElementSchema {
    static SCHEMAS: LazyLock<Vec<ElementSchema>> = LazyLock::new(|| {
        let of = |protocol: &'static Protocol| {
            // The tables are static, so are the paths that are made of them, once.
            let mut fields = vec![FieldSchema {
                path: "@match",
                field: "match",
                doc: "Whether packets must be like that; `no` turns it round.",
                kind: FieldKind::Value(bool::SCHEMA),
                default: "yes",
                ..FieldSchema::UNSAID
            }];
            fields.extend(protocol.attributes().map(|attribute| FieldSchema {
                path: Box::leak(format!("@{}", attribute.name).into_boxed_str()),
                field: attribute.name,
                doc: attribute.kind.describe(),
                kind: FieldKind::Value(Kind::schema(attribute.kind)),
                ..FieldSchema::UNSAID
            }));
            ElementSchema {
                type_name: "Match",
                name: protocol.name,
                doc: "What packets of the protocol are like.",
                content: Content::Fields(fields.leak()),
            }
        };
        PROTOCOLS.iter().map(of).collect()
    });
    static NOTHING: ElementSchema = ElementSchema {
        type_name: "Match",
        name: "",
        doc: "",
        content: Content::Opaque,
    };
    SCHEMAS.get(AT).unwrap_or(&NOTHING)
}

/// [`shape`] of each protocol.
#[rustfmt::skip]
const SHAPES: [fn() -> &'static ElementSchema; PROTOCOLS.len()] = [
    shape::<0>, shape::<1>, shape::<2>, shape::<3>, shape::<4>, shape::<5>, shape::<6>, shape::<7>, shape::<8>, shape::<9>, shape::<10>, shape::<11>, shape::<12>, shape::<13>, shape::<14>, shape::<15>, shape::<16>, shape::<17>, shape::<18>, shape::<19>, shape::<20>, shape::<21>, shape::<22>, shape::<23>,
];

impl XmlElement for Rule {
    const NAME: &'static str = "rule";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let action = read::attr(element, cx, "action", RuleAction::parse_value)?;
        let direction = read::attr(element, cx, "direction", RuleDirection::parse_value)?;
        let priority = read::attr(element, cx, "priority", i32::parse_value)?;
        let mut rule = Self {
            action: read::required(element, At::Attribute("action"), action)?,
            direction: read::required(element, At::Attribute("direction"), direction)?,
            priority: priority
                .filter(|priority| PRIORITIES.contains(priority))
                .unwrap_or(USUAL_PRIORITY),
            no_state_match: element
                .attr("statematch")
                .is_some_and(|text| text == "0" || text.eq_ignore_ascii_case("false")),
            protocol: element
                .children()
                .filter(|child| child.is(child.name()))
                .find_map(|child| Protocol::find(child.name())),
            matches: Vec::new(),
        };
        if let Some(protocol) = rule.protocol {
            // Elements of other protocols are passed over.
            for child in element.children_named(protocol.name) {
                rule.read_details(protocol, child, cx)?;
            }
            rule.check_ports(protocol, element, cx)?;
            rule.settle_signs(protocol);
        }
        Ok(rule)
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("action", self.action.as_str());
        w.attribute("direction", self.direction.as_str());
        w.attribute_with("priority", |out| self.priority.format_value(out));
        if self.no_state_match {
            w.attribute("statematch", "false");
        }
    }

    fn write_content(&self, w: &mut Writer) {
        let Some(protocol) = self.protocol else { return };
        let positive = self.write_details(protocol, false, w);
        let negative = self.write_details(protocol, true, w);
        if !positive && !negative {
            w.empty_element(protocol.name);
        }
    }

    fn schema() -> &'static ElementSchema {
        static SCHEMA: LazyLock<ElementSchema> = LazyLock::new(|| {
            let field =
                |path: &'static str, name: &'static str, doc: &'static str, occurs, values| FieldSchema {
                    path,
                    field: name,
                    doc,
                    occurs,
                    kind: FieldKind::Value(values),
                    ..FieldSchema::UNSAID
                };
            let mut fields = vec![
                field(
                    "@action",
                    "action",
                    "What happens to packets that match.",
                    Occurs::Required,
                    RuleAction::SCHEMA,
                ),
                field(
                    "@direction",
                    "direction",
                    "Which way they go.",
                    Occurs::Required,
                    RuleDirection::SCHEMA,
                ),
                field(
                    "@priority",
                    "priority",
                    "Place among rules, -1000 to 1000; lower comes first.",
                    Occurs::Optional,
                    i32::SCHEMA,
                ),
                field(
                    "@statematch",
                    "state_match",
                    "Whether the state of connections is looked at.",
                    Occurs::Optional,
                    ValueSchema::Text,
                ),
            ];
            fields.extend(PROTOCOLS.iter().zip(SHAPES).map(|(protocol, shape)| FieldSchema {
                path: protocol.name,
                field: protocol.name,
                doc: "What packets of the protocol must be like, and with `match` no, what they must not be like.",
                occurs: Occurs::Repeated,
                kind: FieldKind::Element(shape),
                ..FieldSchema::UNSAID
            }));
            ElementSchema {
                type_name: "Rule",
                name: "rule",
                doc: "What happens to packets of some protocol whose attributes match.",
                content: Content::Fields(fields.leak()),
            }
        });
        &SCHEMA
    }
}
