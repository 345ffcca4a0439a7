//! References to filters, their parameters, and the variables in rules that stand for parameters.

use std::collections::BTreeMap;
use std::fmt;

use virt_util::Result;
use virt_util::xml::{At, Element, Reader, Writer, XmlElement, XmlValue, read, scan_integer};

/// Names a packet filter and gives it its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterReference {
    /// The filter.
    pub filter: String,
    /// Parameters and their values.
    pub parameters: BTreeMap<String, Vec<String>>,
}

/// Whether `name` can be a variable's.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `value` can be a variable's: letters, digits, `_`, `.` and `:`.
pub fn is_variable_value(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| is_name_byte(byte) || byte == b'.' || byte == b':')
}

impl XmlElement for FilterReference {
    const NAME: &'static str = "filterref";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let filter = read::attr(element, cx, "filter", <String as XmlValue>::parse_value)?;
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for parameter in element.children_named("parameter") {
            // Parameters that are no variables are passed over, as libvirt does.
            let (Some(name), Some(value)) = (parameter.attr("name"), parameter.attr("value")) else {
                continue;
            };
            if is_variable_name(&name) && is_variable_value(&value) {
                parameters
                    .entry(name.into_owned())
                    .or_default()
                    .push(value.into_owned());
            }
        }
        Ok(Self {
            filter: read::required(element, At::Attribute("filter"), filter)?,
            parameters,
        })
    }

    fn write_attributes(&self, w: &mut Writer) {
        w.attribute("filter", &self.filter);
    }

    fn write_content(&self, w: &mut Writer) {
        for (name, values) in &self.parameters {
            for value in values {
                w.start("parameter");
                w.attribute("name", name);
                w.attribute("value", value);
                w.end("parameter");
            }
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("FilterReference", "filterref", "Names a packet filter and gives it its parameters." => {
            /// Name of the filter.
            "@filter" => filter: value(String),
            /// Values for the filter's variables.
            "parameter" => parameters: elements {
                /// The variable.
                "@name" => name: value(String),
                /// A value; a variable that is named several times is a list.
                "@value" => value: value(String),
            },
        })
    }
}

/// A variable in a rule: `$IP`, `$IP[@2]`, `$IP[3]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// The parameter that it stands for.
    pub name: String,
    /// Which of its values.
    pub element: VariableElement,
}

/// Which values of a variable a rule uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariableElement {
    /// All, one after the other, in step with other variables of the same iterator; iterator 0 is the usual one.
    Iterator(u32),
    /// The one at this place, from 0.
    Index(u32),
}

/// Greatest number of an iterator.
const ITERATOR_MAX: u32 = 1000;

impl Variable {
    /// Reads what stands behind the `$`.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .bytes()
            .position(|byte| !is_name_byte(byte))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        if rest.is_empty() {
            return Some(Self {
                name: name.to_owned(),
                element: VariableElement::Iterator(0),
            });
        }
        // What stands behind the bracket is passed over.
        let (inner, _) = rest.strip_prefix('[')?.split_once(']')?;
        let inner = inner.trim_start();
        let (iterator, number) = match inner.strip_prefix('@') {
            Some(number) => (true, number),
            None => (false, inner),
        };
        let (negative, number) = scan_integer(number.trim_end(), 10)?;
        let number = u32::try_from(number)
            .ok()
            .filter(|number| !negative || *number == 0)?;
        let element = match iterator {
            true if number > ITERATOR_MAX => return None,
            true => VariableElement::Iterator(number),
            false => VariableElement::Index(number),
        };
        Some(Self {
            name: name.to_owned(),
            element,
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.name)?;
        match self.element {
            VariableElement::Iterator(0) => Ok(()),
            VariableElement::Iterator(number) => write!(f, "[@{number}]"),
            VariableElement::Index(number) => write!(f, "[{number}]"),
        }
    }
}
