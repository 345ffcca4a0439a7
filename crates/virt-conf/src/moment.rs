//! What [snapshots](crate::snapshot) and [checkpoints](crate::checkpoint) share: a name, a parent, a time, and the domain as
//! it was at that moment; and how their disks are matched with the domain's.

use std::collections::HashSet;

use virt_util::uuid::Uuid;
use virt_util::xml::{Element, Writer, XmlElement, XmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::domain::Domain;
use crate::domain::disk::Disk;
use crate::domain::normalize::{DomainHooks, NormalizeContext, normalize};
use crate::domain::storage::StorageLocation;

/// The domain as it was at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MomentDomain {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// Only which one it was, as in documents from before whole definitions were kept.
    Reference(Uuid),
    /// Its definition.
    Definition(Box<Domain>),
}

impl MomentDomain {
    /// The definition, if it is known.
    pub fn definition(&self) -> Option<&Domain> {
        match self {
            Self::Definition(domain) => Some(domain),
            _ => None,
        }
    }

    /// Reads the child `<domain>`: a definition if it says its type.
    pub(crate) fn read(parent: Element<'_>) -> Result<Self> {
        match parent.child("domain") {
            Some(child) if child.has_attr("type") => {
                let domain = Domain::from_element(child, XmlFlags::INACTIVE).map_err(of_domain)?;
                Ok(Self::Definition(Box::new(domain)))
            }
            _ => Ok(Self::Unknown),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Unknown => {}
            Self::Reference(uuid) => {
                w.start("domain");
                w.text_element("uuid", &uuid.to_string());
                w.end("domain");
            }
            Self::Definition(domain) => domain.write(w, "domain"),
        }
    }

    pub(crate) fn normalize(&mut self, hooks: &dyn DomainHooks, cx: &NormalizeContext<'_>) -> Result<()> {
        match self {
            Self::Definition(domain) => normalize(domain, hooks, cx),
            _ => Ok(()),
        }
    }
}

/// What is wrong in a part of a domain is told as the domain's, also inside another document.
pub(crate) fn of_domain(error: VirtError) -> VirtError {
    let outer = [ErrorDomain::DOMAIN_SNAPSHOT, ErrorDomain::DOMAIN_CHECKPOINT];
    match outer.contains(&error.domain()) {
        true => error.in_domain(ErrorDomain::DOMAIN),
        false => error.in_domain_if_none(ErrorDomain::DOMAIN),
    }
}

/// Flags for writing the definitions inside: inactive, and secure if the document is.
pub(crate) fn domain_flags(secure: bool) -> XmlFlags {
    if secure {
        XmlFlags::INACTIVE | XmlFlags::SECURE
    } else {
        XmlFlags::INACTIVE
    }
}

/// Seconds since the epoch in `<creationTime>`, if it is a number; 0 is none, since it is not written: libvirt takes it, and
/// cannot read afterwards what it has stored.
pub(crate) fn creation_time(element: Element<'_>) -> Option<i64> {
    let seconds = element.child("creationTime")?.text().trim_start().parse().ok();
    seconds.filter(|seconds| *seconds != 0)
}

/// The text of a child, if it has any.
pub(crate) fn text(element: Element<'_>, name: &str) -> Option<String> {
    element
        .child(name)
        .map(|child| child.text())
        .filter(|text| !text.is_empty())
        .map(std::borrow::Cow::into_owned)
}

/// The name in `<parent>`.
pub(crate) fn parent_name(element: Element<'_>) -> Option<String> {
    text(element.joined_child("parent")?, "name")
}

/// Writes `<parent>`.
pub(crate) fn write_parent(w: &mut Writer, name: Option<&str>) {
    if let Some(name) = name {
        w.start("parent");
        w.text_element("name", name);
        w.end("parent");
    }
}

/// The drive that a user names by its target, or by its source where that is unambiguous.
pub fn disk_by_name(domain: &Domain, name: &str) -> Option<usize> {
    let disks = &domain.devices.disks;
    if !name.starts_with('/') {
        return disks.iter().position(|disk| disk.target.dev == name);
    }
    let mut found = disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| source_name(&disk.source.location) == Some(name));
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Some(at),
        _ => None,
    }
}

/// What libvirt takes for the path of an image: that of a file, device or folder, or the name on a server.
pub(crate) fn source_name(location: &StorageLocation) -> Option<&str> {
    match location {
        StorageLocation::Network(network) => network.name.as_deref(),
        other => other.path(),
    }
}

/// Whether a drive has no medium.
pub(crate) fn has_no_medium(disk: &Disk) -> bool {
    match &disk.source.location {
        StorageLocation::Network(network) => network.name.is_none() && network.hosts.is_empty(),
        location => location.is_empty(),
    }
}

/// Finds the drive of each wanted entry; none may be named twice.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for a name that no drive has, and for one that stands there twice.
pub(crate) fn match_disks<'n>(domain: &Domain, names: impl Iterator<Item = &'n str>) -> Result<Vec<usize>> {
    let mut taken = HashSet::new();
    names
        .map(|name| {
            let at = disk_by_name(domain, name)
                .ok_or_else(|| unsupported(format_args!("the domain has no disk '{name}'")))?;
            if taken.insert(at) {
                Ok(at)
            } else {
                Err(unsupported(format_args!(
                    "<disk name='{name}'> stands there twice"
                )))
            }
        })
        .collect()
}

pub(crate) fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

pub(crate) fn xml_error(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::XML_ERROR, what)
}

/// Refuses a parent that is the moment itself or one of its descendants.
///
/// `parent_of` gives a moment's parent; `None` where there is no such moment or it has no parent.
///
/// # Errors
/// `INVALID_ARG`.
pub fn check_cycles(
    kind: &str,
    name: &str,
    parent: Option<&str>,
    exists: impl Fn(&str) -> bool,
    parent_of: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    if parent == name {
        return Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!("cannot set {kind} '{name}' as its own parent"),
        ));
    }
    if !exists(parent) {
        return Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            format_args!("parent {parent} for moment {name} not found"),
        ));
    }
    let mut seen = HashSet::new();
    let mut next = Some(parent.to_owned());
    while let Some(current) = next.filter(|current| seen.insert(current.clone())) {
        if current == name {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!("parent '{parent}' would create a cycle to {kind} '{name}'"),
            ));
        }
        next = parent_of(&current);
    }
    Ok(())
}
