//! Network filters: `<filter>`.
//!
//! | module | holds |
//! |---|---|
//! | here | [`Filter`]: chain, priority, rules and references |
//! | [`rule`] | [`Rule`]: action, direction, and what packets it is for |
//! | [`attributes`] | which attributes each protocol has, as tables |
//! | [`value`] | the values of these attributes |
//! | [`parameters`] | [`FilterReference`] with its parameters, and variables that stand for them |
//!
//! A filter that users define is [`Filter::parse`]d, gets a UUID if it has none ([`Filter::complete`]), and is written with
//! [`Filter::format`].

pub mod attributes;
pub mod parameters;
pub mod rule;
pub mod value;

#[cfg(test)]
mod tests;

use virt_util::uuid::Uuid;
use virt_util::xml::{
    self, At, Doc, DocOptions, Element, Reader, Xml, XmlElement, XmlFlags, XmlValue, error_with,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

pub use parameters::{FilterReference, Variable, VariableElement};
pub use rule::{Rule, RuleAction, RuleDirection};

use crate::domain::normalize::Randomness;

/// A network filter.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "filter", body, check = Filter::after_read)]
pub struct Filter {
    /// Name, unique on the host.
    #[xml("@name", nonempty, missing = ErrorCode::INTERNAL_ERROR)]
    pub name: String,
    /// Chain that the rules go to: `root`, or a name that begins with a protocol's.
    #[xml("@chain", nonempty, default = ROOT.to_owned(), always)]
    pub chain: String,
    /// Place of the chain among chains, -1000 to 1000; lower comes first.
    #[xml("@priority", default, with = priority, then = check_chain(&chain, element, cx))]
    pub priority: i32,
    /// UUID; none until the filter is complete.
    #[xml("uuid")]
    pub uuid: Option<Uuid>,
    /// Rules, and references to other filters, in the order in which they stand.
    #[xml("*")]
    pub entries: Vec<FilterEntry>,
}

/// A part of a filter.
#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "name()")]
pub enum FilterEntry {
    /// A rule.
    #[xml("rule")]
    Rule(Rule),
    /// Another filter stands here.
    #[xml("filterref")]
    Include(FilterReference),
}

/// The chain of filters that name none.
const ROOT: &str = "root";

/// Beginnings of the names of other chains, and the priority of a chain that has none of its own.
const CHAINS: &[(&str, i32)] = &[
    ("mac", -800),
    ("vlan", -750),
    ("stp", 0),
    ("arp", -500),
    ("rarp", -400),
    ("ipv4", -700),
    ("ipv6", -600),
];

/// Most letters of a chain's name: an interface's name has to fit beside it.
const CHAIN_MAX: usize = 12;

/// Priority of rules and chains.
pub(crate) const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The priority is checked beside the chain, with libvirt's code.
mod priority {
    use virt_util::xml::{ValueError, push_signed};

    pub(super) fn parse(text: &str) -> Result<i32, ValueError> {
        let _ = text;
        Ok(0)
    }

    pub(super) fn format(value: &i32, out: &mut String) {
        push_signed(out, i64::from(*value));
    }
}

/// The priority of chains of this name.
fn chain_priority(name: &str) -> Result<i32, String> {
    if name.len() > CHAIN_MAX {
        return Err(format!(
            "a chain's name has {} characters: {CHAIN_MAX} at most",
            name.len()
        ));
    }
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if !name.bytes().all(valid) {
        return Err("chain name contains invalid characters: letters, digits and '_.:-' expected".to_owned());
    }
    if name == ROOT {
        return Ok(0);
    }
    let known = CHAINS
        .iter()
        .find(|(prefix, _)| !name.starts_with(ROOT) && name.starts_with(prefix));
    known.map(|(_, priority)| *priority).ok_or_else(|| {
        let prefixes: Vec<&str> = CHAINS.iter().map(|(prefix, _)| *prefix).collect();
        format!(
            "invalid chain name '{name}': '{ROOT}' or a name beginning with one of {} expected",
            prefixes.join(", ")
        )
    })
}

impl Filter {
    /// Reads a filter from text.
    ///
    /// # Errors
    /// `XML_DETAIL` if the text is not well formed, libvirt's codes for wrong values.
    pub fn parse(source: &str, name: &str) -> Result<Self> {
        let options = DocOptions::named(name).in_domain(ErrorDomain::NWFILTER);
        Self::from_element(Doc::parse_with(source, &options)?.root())
            .map_err(|error| error.in_domain_if_none(ErrorDomain::NWFILTER))
    }

    /// Reads a filter from its element.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for no name and for values that a protocol's attribute does not have, `INVALID_ARG` for chains and
    /// priorities, `XML_ERROR` for the rest.
    pub fn from_element(element: Element<'_>) -> Result<Self> {
        xml::check_root(element, "filter")?;
        Self::read(element, &mut Reader::new(XmlFlags::empty()))
    }

    /// Gives a UUID to a filter without one. Whether it had none.
    pub fn complete(&mut self, random: &dyn Randomness) -> bool {
        crate::values::complete_uuid(&mut self.uuid, random)
    }

    /// Writes the filter as libvirt does.
    pub fn format(&self) -> String {
        xml::to_string(self, XmlFlags::empty())
    }

    /// The rules of the filter itself.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.entries.iter().filter_map(|entry| match entry {
            FilterEntry::Rule(rule) => Some(rule),
            FilterEntry::Include(_) => None,
        })
    }

    /// The filters that it refers to.
    pub fn references(&self) -> impl Iterator<Item = &FilterReference> {
        self.entries.iter().filter_map(|entry| match entry {
            FilterEntry::Include(reference) => Some(reference),
            FilterEntry::Rule(_) => None,
        })
    }

    /// Refuses a filter that leads back to itself. `lookup` gives the filters that are defined.
    ///
    /// # Errors
    /// `OPERATION_FAILED`.
    pub fn check_loop<F>(&self, lookup: impl Fn(&str) -> Option<F>) -> Result<()>
    where
        F: std::ops::Deref<Target = Filter>,
    {
        let names = |filter: &Filter| -> Vec<String> {
            filter
                .references()
                .map(|reference| reference.filter.clone())
                .collect()
        };
        let mut seen = std::collections::HashSet::new();
        let mut open = names(self);
        while let Some(name) = open.pop() {
            if name == self.name {
                return Err(VirtError::new(
                    ErrorCode::OPERATION_FAILED,
                    format_args!("filter '{}' refers to itself", self.name),
                )
                .in_domain(ErrorDomain::NWFILTER));
            }
            if let Some(filter) = lookup(&name)
                && seen.insert(name)
            {
                open.extend(names(&filter));
            }
        }
        Ok(())
    }

    fn after_read(&mut self, element: Element<'_>, _: &mut Reader) -> Result<()> {
        // Without a chain a priority means nothing.
        if element.attr("chain").is_some_and(|chain| !chain.is_empty()) {
            let told = told_priority(element).ok().flatten();
            self.priority = told
                .or_else(|| chain_priority(&self.chain).ok())
                .unwrap_or_default();
        }
        Ok(())
    }
}

/// The priority that a filter says its chain has.
fn told_priority(element: Element<'_>) -> Result<Option<i32>, String> {
    let Some(text) = element.attr("priority").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match i32::parse_value(&text) {
        Ok(value) if PRIORITIES.contains(&value) => Ok(Some(value)),
        _ => Err(format!(
            "invalid chain priority '{text}': expected a number from {} to {}",
            PRIORITIES.start(),
            PRIORITIES.end()
        )),
    }
}

/// Priority and name of a chain are told before what the filter holds.
fn check_chain(chain: &str, element: Element<'_>, cx: &mut Reader) -> Result<()> {
    let mut wrong = |at: &'static str, what: String| {
        cx.fail(error_with(
            ErrorCode::INVALID_ARG,
            element,
            At::Attribute(at),
            what,
        ))
    };
    if let Err(what) = told_priority(element) {
        wrong("priority", what)?;
    }
    // A filter that names no chain is in one that is always right.
    match chain_priority(chain) {
        Ok(_) => Ok(()),
        Err(what) => wrong("chain", what),
    }
}
