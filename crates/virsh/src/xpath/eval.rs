//! What XPath expressions mean.

use super::parse::{Axis, Expr, Op, Step, Test};
use super::tree::{Document, Kind, NodeId, local, prefix};

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'d> {
    /// Nodes in document order, each once.
    Nodes(Vec<NodeId>),
    /// A number.
    Number(f64),
    /// A string.
    Text(std::borrow::Cow<'d, str>),
    /// A truth value.
    Bool(bool),
}

impl Value<'_> {
    /// As a string: of nodes, the first one's.
    pub fn string(&self, document: &Document) -> String {
        match self {
            Self::Nodes(nodes) => nodes
                .first()
                .map(|node| document.string_value(*node))
                .unwrap_or_default(),
            Self::Number(number) => format_number(*number),
            Self::Text(text) => text.clone().into_owned(),
            Self::Bool(truth) => truth.to_string(),
        }
    }

    fn number(&self, document: &Document) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Bool(truth) => f64::from(u8::from(*truth)),
            _ => to_number(&self.string(document)),
        }
    }

    fn truth(&self) -> bool {
        match self {
            Self::Nodes(nodes) => !nodes.is_empty(),
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => !text.is_empty(),
            Self::Bool(truth) => *truth,
        }
    }
}

fn to_number(text: &str) -> f64 {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    if text.is_empty() || !text.chars().all(plain) {
        return f64::NAN;
    }
    text.parse().unwrap_or(f64::NAN)
}

fn format_number(number: f64) -> String {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        }
    } else if number == 0.0 {
        "0".into()
    } else {
        number.to_string()
    }
}

/// Evaluates an expression at the document's root element's parent, as libvirt's virsh does.
pub fn evaluate<'d>(document: &'d Document, expression: &Expr) -> Result<Value<'d>, String> {
    let context = Context {
        document,
        node: document.root(),
        position: 1,
        size: 1,
    };
    context.eval(expression)
}

#[derive(Clone, Copy)]
struct Context<'d> {
    document: &'d Document,
    node: NodeId,
    position: usize,
    size: usize,
}

impl<'d> Context<'d> {
    fn eval(&self, expression: &Expr) -> Result<Value<'d>, String> {
        match expression {
            Expr::Text(text) => Ok(Value::Text(text.clone().into())),
            Expr::Number(number) => Ok(Value::Number(*number)),
            Expr::Negate(inner) => Ok(Value::Number(-self.eval(inner)?.number(self.document))),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::Path { absolute, steps } => {
                let start = if *absolute {
                    self.document.root()
                } else {
                    self.node
                };
                self.walk(vec![start], steps).map(Value::Nodes)
            }
            Expr::Filter {
                base,
                predicates,
                steps,
            } => {
                let Value::Nodes(mut nodes) = self.eval(base)? else {
                    return Err("only nodes have predicates and steps".into());
                };
                for predicate in predicates {
                    nodes = self.keep(nodes, predicate)?;
                }
                self.walk(nodes, steps).map(Value::Nodes)
            }
        }
    }

    fn walk(&self, mut nodes: Vec<NodeId>, steps: &[Step]) -> Result<Vec<NodeId>, String> {
        for step in steps {
            let mut found = Vec::new();
            for node in &nodes {
                let mut reached = self.axis(*node, step.axis);
                reached.retain(|candidate| self.passes(*candidate, step));
                for predicate in &step.predicates {
                    reached = self.keep(reached, predicate)?;
                }
                found.extend(reached);
            }
            found.sort_unstable();
            found.dedup();
            nodes = found;
        }
        Ok(nodes)
    }

    /// The nodes for which the predicate holds; a number is a position on the axis.
    fn keep(&self, nodes: Vec<NodeId>, predicate: &Expr) -> Result<Vec<NodeId>, String> {
        let size = nodes.len();
        let mut kept = Vec::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let context = Context {
                document: self.document,
                node,
                position: index + 1,
                size,
            };
            let holds = match context.eval(predicate)? {
                Value::Number(number) => number == (index + 1) as f64,
                other => other.truth(),
            };
            if holds {
                kept.push(node);
            }
        }
        Ok(kept)
    }

    /// The nodes of an axis, nearest first.
    fn axis(&self, node: NodeId, axis: Axis) -> Vec<NodeId> {
        let document = self.document;
        let ancestors = |node| std::iter::successors(document.parent(node), |up| document.parent(*up));
        let descendants = |node: NodeId| {
            let mut found = Vec::new();
            let mut open: Vec<NodeId> = document.children(node).rev().collect();
            while let Some(next) = open.pop() {
                found.push(next);
                open.extend(document.children(next).rev());
            }
            found
        };
        let siblings = |node: NodeId| -> Vec<NodeId> {
            match document.parent(node) {
                Some(parent) if document.kind(node) != Kind::Attribute => document.children(parent).collect(),
                _ => Vec::new(),
            }
        };
        match axis {
            Axis::Child => document.children(node).collect(),
            Axis::Descendant => descendants(node),
            Axis::DescendantOrSelf => std::iter::once(node).chain(descendants(node)).collect(),
            Axis::Parent => document.parent(node).into_iter().collect(),
            Axis::Ancestor => ancestors(node).collect(),
            Axis::AncestorOrSelf => std::iter::once(node).chain(ancestors(node)).collect(),
            Axis::FollowingSibling => siblings(node).into_iter().filter(|one| *one > node).collect(),
            Axis::PrecedingSibling => siblings(node)
                .into_iter()
                .rev()
                .filter(|one| *one < node)
                .collect(),
            Axis::Following => {
                let inside = descendants(node);
                let last = inside.last().copied().unwrap_or(node);
                descendants(document.root())
                    .into_iter()
                    .filter(|one| *one > last)
                    .collect()
            }
            Axis::Preceding => {
                let up: Vec<NodeId> = ancestors(node).collect();
                let mut before = descendants(document.root());
                before.retain(|one| *one < node && !up.contains(one));
                before.reverse();
                before
            }
            Axis::Attribute => document.attributes(node).collect(),
            Axis::SelfNode => vec![node],
        }
    }

    fn passes(&self, node: NodeId, step: &Step) -> bool {
        let kind = self.document.kind(node);
        match &step.test {
            Test::Node => true,
            Test::Text => kind == Kind::Text,
            Test::Comment => kind == Kind::Comment,
            Test::Instruction => kind == Kind::Instruction,
            Test::Name(wanted) => {
                let principal = if step.axis == Axis::Attribute {
                    Kind::Attribute
                } else {
                    Kind::Element
                };
                if kind != principal {
                    return false;
                }
                if wanted == "*" {
                    return true;
                }
                let name = self.document.name(node);
                match (prefix(wanted), local(wanted)) {
                    // Without a prefix, a name in no namespace is meant.
                    ("", wanted) => name == wanted && self.document.namespace(node).is_empty(),
                    (wanted, "*") => prefix(name) == wanted,
                    _ => name == wanted,
                }
            }
        }
    }

    fn binary(&self, op: Op, left: &Expr, right: &Expr) -> Result<Value<'d>, String> {
        match op {
            Op::Or => return Ok(Value::Bool(self.eval(left)?.truth() || self.eval(right)?.truth())),
            Op::And => return Ok(Value::Bool(self.eval(left)?.truth() && self.eval(right)?.truth())),
            _ => {}
        }
        let (left, right) = (self.eval(left)?, self.eval(right)?);
        if op == Op::Union {
            let (Value::Nodes(mut nodes), Value::Nodes(more)) = (left, right) else {
                return Err("'|' needs nodes on both sides".into());
            };
            nodes.extend(more);
            nodes.sort_unstable();
            nodes.dedup();
            return Ok(Value::Nodes(nodes));
        }
        if matches!(
            op,
            Op::Equal | Op::NotEqual | Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual
        ) {
            return Ok(Value::Bool(self.compare(op, &left, &right)));
        }
        let (a, b) = (left.number(self.document), right.number(self.document));
        Ok(Value::Number(match op {
            Op::Add => a + b,
            Op::Subtract => a - b,
            Op::Multiply => a * b,
            Op::Divide => a / b,
            _ => a % b,
        }))
    }

    /// Nodes compare as any of their strings does.
    fn compare(&self, op: Op, left: &Value<'_>, right: &Value<'_>) -> bool {
        let each = |value: &Value<'_>| -> Vec<Value<'static>> {
            match value {
                Value::Nodes(nodes) => nodes
                    .iter()
                    .map(|node| Value::Text(self.document.string_value(*node).into()))
                    .collect(),
                Value::Number(number) => vec![Value::Number(*number)],
                Value::Text(text) => vec![Value::Text(text.clone().into_owned().into())],
                Value::Bool(truth) => vec![Value::Bool(*truth)],
            }
        };
        // Beside a truth value, nodes are a truth value themselves.
        let (left, right) = match (left, right) {
            (Value::Bool(truth), nodes @ Value::Nodes(_)) => {
                (vec![Value::Bool(*truth)], vec![Value::Bool(nodes.truth())])
            }
            (nodes @ Value::Nodes(_), Value::Bool(truth)) => {
                (vec![Value::Bool(nodes.truth())], vec![Value::Bool(*truth)])
            }
            (left, right) => (each(left), each(right)),
        };
        left.iter()
            .any(|left| right.iter().any(|right| self.compare_one(op, left, right)))
    }

    fn compare_one(&self, op: Op, left: &Value<'_>, right: &Value<'_>) -> bool {
        let numbers = || (left.number(self.document), right.number(self.document));
        let equal = || match (left, right) {
            (Value::Bool(_), _) | (_, Value::Bool(_)) => left.truth() == right.truth(),
            (Value::Number(_), _) | (_, Value::Number(_)) => {
                let (a, b) = numbers();
                a == b
            }
            _ => left.string(self.document) == right.string(self.document),
        };
        let (a, b) = numbers();
        match op {
            Op::Equal => equal(),
            Op::NotEqual => !equal(),
            Op::Less => a < b,
            Op::LessOrEqual => a <= b,
            Op::Greater => a > b,
            _ => a >= b,
        }
    }

    fn call(&self, name: &str, arguments: &[Expr]) -> Result<Value<'d>, String> {
        let document = self.document;
        let values = arguments
            .iter()
            .map(|one| self.eval(one))
            .collect::<Result<Vec<_>, _>>()?;
        let wanted = |low: usize, high: usize| {
            if (low..=high).contains(&values.len()) {
                Ok(())
            } else {
                Err(format!("{name}() does not take {} arguments", values.len()))
            }
        };
        let here = || Value::Nodes(vec![self.node]);
        let first = || values.first().cloned().unwrap_or_else(here);
        let string = |at: usize| {
            values
                .get(at)
                .map(|value| value.string(document))
                .unwrap_or_default()
        };
        let number = |at: usize| values.get(at).map_or(f64::NAN, |value| value.number(document));
        let text = |text: String| Value::Text(text.into());
        let name_of = |part: fn(&Document, NodeId) -> String| -> Result<Value<'d>, String> {
            match first() {
                Value::Nodes(nodes) => Ok(text(
                    nodes
                        .first()
                        .map(|node| part(document, *node))
                        .unwrap_or_default(),
                )),
                _ => Err(format!("{name}() needs nodes")),
            }
        };
        Ok(match name {
            "last" => Value::Number(self.size as f64),
            "position" => Value::Number(self.position as f64),
            "count" => {
                wanted(1, 1)?;
                match first() {
                    Value::Nodes(nodes) => Value::Number(nodes.len() as f64),
                    _ => return Err("count() needs nodes".into()),
                }
            }
            "name" => name_of(|document, node| document.name(node).to_owned())?,
            "local-name" => name_of(|document, node| local(document.name(node)).to_owned())?,
            "namespace-uri" => name_of(|document, node| document.namespace(node).to_owned())?,
            "string" => {
                wanted(0, 1)?;
                text(first().string(document))
            }
            "concat" => text((0..values.len()).map(string).collect()),
            "starts-with" => {
                wanted(2, 2)?;
                Value::Bool(string(0).starts_with(&string(1)))
            }
            "contains" => {
                wanted(2, 2)?;
                Value::Bool(string(0).contains(&string(1)))
            }
            "substring-before" => {
                wanted(2, 2)?;
                text(
                    string(0)
                        .split_once(&string(1))
                        .map(|(before, _)| before.to_owned())
                        .unwrap_or_default(),
                )
            }
            "substring-after" => {
                wanted(2, 2)?;
                text(
                    string(0)
                        .split_once(&string(1))
                        .map(|(_, after)| after.to_owned())
                        .unwrap_or_default(),
                )
            }
            "substring" => {
                wanted(2, 3)?;
                let start = round(number(1));
                let end = if values.len() == 3 {
                    start + round(number(2))
                } else {
                    f64::INFINITY
                };
                let whole = string(0);
                let chosen = whole.chars().enumerate().filter_map(|(index, c)| {
                    let position = (index + 1) as f64;
                    (position >= start && position < end).then_some(c)
                });
                text(chosen.collect())
            }
            "string-length" => Value::Number(first().string(document).chars().count() as f64),
            "normalize-space" => text(
                first()
                    .string(document)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            "translate" => {
                wanted(3, 3)?;
                let (from, to): (Vec<char>, Vec<char>) =
                    (string(1).chars().collect(), string(2).chars().collect());
                let changed = string(0).chars().collect::<Vec<_>>().into_iter().filter_map(|c| {
                    match from.iter().position(|one| *one == c) {
                        Some(at) => to.get(at).copied(),
                        None => Some(c),
                    }
                });
                text(changed.collect())
            }
            "boolean" => {
                wanted(1, 1)?;
                Value::Bool(first().truth())
            }
            "not" => {
                wanted(1, 1)?;
                Value::Bool(!first().truth())
            }
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "number" => Value::Number(first().number(document)),
            "sum" => match first() {
                Value::Nodes(nodes) => Value::Number(
                    nodes
                        .iter()
                        .map(|node| to_number(&document.string_value(*node)))
                        .sum(),
                ),
                _ => return Err("sum() needs nodes".into()),
            },
            "floor" => Value::Number(number(0).floor()),
            "ceiling" => Value::Number(number(0).ceil()),
            "round" => Value::Number(round(number(0))),
            _ => return Err(format!("there is no function {name}()")),
        })
    }
}

/// XPath rounds halves up.
fn round(number: f64) -> f64 {
    (number + 0.5).floor()
}
