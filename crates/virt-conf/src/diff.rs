//! What changed between two documents of one kind, told by paths.
//!
//! [`diff`] compares what is written, so it knows every element of every model. Elements that occur several times are
//! matched by what names them (a disk's target, an interface's MAC address, a controller's type and index, a name, an id)
//! and by their place where nothing does.
//!
//! ```
//! use virt_conf::{diff::diff, domain::Domain};
//! use virt_util::xml::XmlFlags;
//!
//! let read = |memory: u32| {
//!     let text = format!("<domain type='kvm'><name>a</name><memory>{memory}</memory><os><type>hvm</type></os></domain>");
//!     Domain::parse(&text, XmlFlags::INACTIVE, "a.xml")
//! };
//! let changes = diff(&read(1024)?, &read(2048)?, XmlFlags::INACTIVE);
//! assert_eq!(changes.len(), 1);
//! assert_eq!(changes[0].to_string(), "memory: 1024 -> 2048");
//! # Ok::<(), virt_util::VirtError>(())
//! ```

use std::collections::HashSet;
use std::fmt;

use virt_util::xml::{Doc, Element, XmlElement, XmlFlags};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Where, from the root: `devices/disk[vda]/driver@cache`.
    pub path: String,
    /// What was there; none if it is new. A whole element is XML in one line.
    pub old: Option<String>,
    /// What is there now; none if it is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {old} -> {new}", self.path),
            (Some(old), None) => write!(f, "{}: {old} is gone", self.path),
            (None, Some(new)) => write!(f, "{}: {new} is new", self.path),
            (None, None) => f.write_str(&self.path),
        }
    }
}

/// What changed from `old` to `new`, in the order of the documents.
pub fn diff<T: XmlElement>(old: &T, new: &T, flags: XmlFlags) -> Vec<Change> {
    let texts = [old, new].map(|value| virt_util::xml::to_string(value, flags));
    let [Ok(old), Ok(new)] = texts.each_ref().map(|text| Doc::parse(text)) else {
        // What is written can be read again; were it not so, all of it would be what changed.
        let [old, new] = texts;
        return vec![Change {
            path: T::NAME.to_owned(),
            old: Some(old),
            new: Some(new),
        }];
    };
    diff_elements(old.root(), new.root())
}

/// What changed from one element to another.
pub fn diff_elements(old: Element<'_>, new: Element<'_>) -> Vec<Change> {
    let mut found = Differences::default();
    found.compare(old, new, "");
    found.0
}

#[derive(Default)]
struct Differences(Vec<Change>);

impl Differences {
    fn push(&mut self, path: String, old: Option<String>, new: Option<String>) {
        if old != new {
            self.0.push(Change { path, old, new });
        }
    }

    fn compare(&mut self, old: Element<'_>, new: Element<'_>, path: &str) {
        let mut names = HashSet::new();
        for attribute in old.attributes().chain(new.attributes()) {
            let name = attribute.qualified_name();
            if names.insert(name) {
                let value = |element: Element<'_>| {
                    let mut all = element.attributes();
                    all.find(|one| one.qualified_name() == name)
                        .map(|one| one.value().into_owned())
                };
                self.push(format!("{path}@{name}"), value(old), value(new));
            }
        }
        let leaf = |element: Element<'_>| element.children().next().is_none();
        if leaf(old) && leaf(new) {
            let text =
                |element: Element<'_>| Some(element.text().into_owned()).filter(|text| !text.is_empty());
            self.push(path.to_owned(), text(old), text(new));
            return;
        }
        let mut names = HashSet::new();
        for child in old.children().chain(new.children()) {
            let name = child.qualified_name();
            if names.insert(name) {
                let inside = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                };
                self.group(&named(old, name), &named(new, name), &inside);
            }
        }
    }

    /// Compares the children of one name.
    fn group(&mut self, old: &[Element<'_>], new: &[Element<'_>], path: &str) {
        if let ([old], [new]) = (old, new)
            && identity(*old) == identity(*new)
        {
            self.compare(*old, *new, path);
            return;
        }
        let keys = |elements: &[Element<'_>]| -> Option<Vec<String>> {
            let keys: Vec<String> = elements
                .iter()
                .map(|element| identity(*element))
                .collect::<Option<_>>()?;
            let unique: HashSet<&String> = keys.iter().collect();
            (unique.len() == keys.len()).then_some(keys)
        };
        let place = |elements: &[Element<'_>]| (1..=elements.len()).map(|at| at.to_string()).collect();
        let (old_keys, new_keys): (Vec<String>, Vec<String>) = match (keys(old), keys(new)) {
            (Some(old), Some(new)) => (old, new),
            _ => (place(old), place(new)),
        };
        let single =
            old.len() <= 1 && new.len() <= 1 && old_keys.iter().chain(&new_keys).all(|key| key == "1");
        let at = |key: &String| {
            if single {
                path.to_owned()
            } else {
                format!("{path}[{key}]")
            }
        };
        for (element, key) in old.iter().zip(&old_keys) {
            match new_keys
                .iter()
                .position(|other| other == key)
                .and_then(|at| new.get(at))
            {
                Some(other) => self.compare(*element, *other, &at(key)),
                None => self.push(at(key), Some(one_line(*element)), None),
            }
        }
        for (element, key) in new.iter().zip(&new_keys) {
            if !old_keys.contains(key) {
                self.push(at(key), None, Some(one_line(*element)));
            }
        }
    }
}

/// The children of one name.
fn named<'d>(element: Element<'d>, name: &str) -> Vec<Element<'d>> {
    element
        .children()
        .filter(|child| child.qualified_name() == name)
        .collect()
}

/// What names an element among its like.
fn identity(element: Element<'_>) -> Option<String> {
    let attribute = |element: Element<'_>, name: &str| element.attr(name).map(std::borrow::Cow::into_owned);
    let below = |child: &str, name: &str| attribute(element.child(child)?, name);
    match element.name() {
        "disk" => below("target", "dev").or_else(|| attribute(element, "name")),
        "interface" => below("mac", "address").or_else(|| attribute(element, "name")),
        "filesystem" => below("target", "dir"),
        "controller" => Some(format!(
            "{}:{}",
            attribute(element, "type")?,
            attribute(element, "index")?
        )),
        "channel" => below("target", "name"),
        "serial" | "parallel" | "console" => below("target", "port"),
        "graphics" | "seclabel" => attribute(element, "type").or_else(|| attribute(element, "model")),
        "vcpupin" => attribute(element, "vcpu"),
        "iothreadpin" => attribute(element, "iothread"),
        "memnode" => attribute(element, "cellid"),
        _ => ["id", "name", "uuid", "dev"]
            .into_iter()
            .find_map(|name| attribute(element, name)),
    }
}

/// An element in one line.
fn one_line(element: Element<'_>) -> String {
    let source = element.outer_source();
    source.lines().map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (Doc::parse(old).unwrap(), Doc::parse(new).unwrap());
        diff_elements(old.root(), new.root())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn nothing_changed() {
        let text = "<a x='1'><disk><target dev='vda'/></disk><b>t</b></a>";
        assert!(changes(text, text).is_empty());
    }

    #[test]
    fn values_and_elements() {
        let found = changes(
            "<a x='1' y='2'><b>t</b><c/><d n='1'/></a>",
            "<a x='3' z='4'><b>u</b><e/><d n='1'/></a>",
        );
        assert_eq!(
            found,
            [
                "@x: 1 -> 3",
                "@y: 2 is gone",
                "@z: 4 is new",
                "b: t -> u",
                "c: <c/> is gone",
                "e: <e/> is new"
            ]
        );
    }

    #[test]
    fn devices_are_known_by_what_names_them() {
        let disk = |target: &str, cache: &str| {
            format!("<disk><driver cache='{cache}'/><target dev='{target}'/></disk>")
        };
        let old = format!(
            "<devices>{}{}</devices>",
            disk("vda", "none"),
            disk("vdb", "none")
        );
        let new = format!(
            "<devices>{}{}</devices>",
            disk("vdb", "writeback"),
            disk("vdc", "none")
        );
        assert_eq!(
            changes(&old, &new),
            [
                "disk[vda]: <disk><driver cache='none'/><target dev='vda'/></disk> is gone",
                "disk[vdb]/driver@cache: none -> writeback",
                "disk[vdc]: <disk><driver cache='none'/><target dev='vdc'/></disk> is new"
            ]
        );
    }

    #[test]
    fn what_has_no_name_is_known_by_its_place() {
        assert_eq!(
            changes("<a><rng m='1'/></a>", "<a><rng m='2'/><rng m='3'/></a>"),
            ["rng[1]@m: 1 -> 2", "rng[2]: <rng m='3'/> is new"]
        );
    }
}
