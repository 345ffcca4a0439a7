//! Which documents the schemas allow: one door for all formats, as `virt-xml-validate` and the VALIDATE flags need it.
//!
//! Each format's module holds what its schema asks for beyond its declarations; [`check`] chooses by the root element.

use virt_util::xml::rules::{Must, Rule};
use virt_util::xml::{At, Doc, XmlElement, error_with, validate_with};
use virt_util::{ErrorCode, Result};

use crate::{
    backup, checkpoint, cpu, domain, forms, interface, network, node_device, nwfilter, nwfilter_binding,
    secret, snapshot, storage_pool, storage_volume,
};

/// How carefully a document is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// As libvirt does without being asked: unknown names are passed over.
    Usual,
    /// What the schema does not allow is refused.
    Strict,
}

impl Check {
    /// What the VALIDATE flag of a call asks for.
    pub fn asked_by(flag_is_set: bool) -> Self {
        if flag_is_set { Self::Strict } else { Self::Usual }
    }
}

/// A kind of document: the name of its root, and its check.
type Kind = (&'static str, fn(&Doc<'_>) -> Result<()>);

/// All kinds of documents.
const KINDS: &[Kind] = &[
    ("domain", domain::schema::check_schema),
    ("domainsnapshot", snapshot::Snapshot::check_schema),
    ("domaincheckpoint", checkpoint::Checkpoint::check_schema),
    ("domainbackup", backup::Backup::check_schema),
    ("network", |doc| ruled::<network::Network>(doc, &[])),
    ("networkport", |doc| ruled::<network::NetworkPort>(doc, &[])),
    ("interface", |doc| ruled::<interface::HostInterface>(doc, &[])),
    ("filter", nwfilter::schema::check_schema),
    ("filterbinding", |doc| {
        ruled::<nwfilter_binding::FilterBinding>(doc, &[])
    }),
    ("pool", |doc| ruled::<storage_pool::StoragePool>(doc, POOL_RULES)),
    ("volume", |doc| ruled::<storage_volume::Volume>(doc, &[])),
    ("secret", |doc| ruled::<secret::Secret>(doc, &[])),
    ("device", |doc| {
        ruled::<node_device::NodeDevice>(doc, NODE_DEVICE_RULES)
    }),
    ("cpu", cpu::CpuDocument::check_schema),
];

/// Rules about storage pools.
const POOL_RULES: &[Rule] = &[
    Rule {
        element: "pool",
        when: &[(
            "@type",
            &["dir", "fs", "netfs", "iscsi", "scsi", "mpath", "vstorage"],
        )],
        must: Must::Have(&["target"]),
    },
    Rule {
        element: "pool/target",
        when: &[(
            "../@type",
            &["dir", "fs", "netfs", "iscsi", "scsi", "disk", "mpath", "vstorage"],
        )],
        must: Must::Have(&["path"]),
    },
    Rule {
        element: "pool/target/path",
        when: &[],
        must: Must::Fit("text()", forms::ABSOLUTE_PATH),
    },
];

/// Rules about devices of the host.
const NODE_DEVICE_RULES: &[Rule] = &[
    Rule {
        element: "cssid",
        when: &[],
        must: Must::Fit("text()", forms::CCW_CSSID),
    },
    Rule {
        element: "ssid",
        when: &[],
        must: Must::Fit("text()", forms::CCW_SSID),
    },
    Rule {
        element: "devno",
        when: &[],
        must: Must::Fit("text()", forms::CCW_DEVNO),
    },
];

/// The names of the roots of documents that [`check`] knows.
pub fn roots() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(root, _)| *root)
}

/// Refuses a document that the schema for its root element does not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` that names place, path and value of the first few faults, and for a root that no schema is for.
pub fn check(doc: &Doc<'_>) -> Result<()> {
    let root = doc.root();
    match KINDS.iter().find(|(name, _)| root.is(name)) {
        Some((_, check)) => check(doc),
        None => {
            let known: Vec<&str> = roots().collect();
            Err(error_with(
                ErrorCode::XML_INVALID_SCHEMA,
                root,
                At::Text,
                format_args!(
                    "no schema is for documents '{}'; there are {}",
                    root.name(),
                    known.join(", ")
                ),
            ))
        }
    }
}

fn ruled<T: XmlElement>(doc: &Doc<'_>, rules: &[Rule]) -> Result<()> {
    validate_with::<T>(doc.root(), rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(source: &str) -> Result<()> {
        check(&Doc::parse(source).expect("well formed"))
    }

    #[test]
    fn the_root_chooses() {
        assert_eq!(
            verdict("<secret><usage type='ceph'><name>a</name></usage></secret>"),
            Ok(())
        );
        let error =
            verdict("<secret><usage type='ceph'><name>a</name></usage><colour/></secret>").unwrap_err();
        assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
        assert!(error.message().contains("unknown element 'colour'"), "{error}");
        let error = verdict("<colour/>").unwrap_err();
        assert!(
            error.message().contains("no schema is for documents 'colour'"),
            "{error}"
        );
    }

    #[test]
    fn a_domain_is_held_against_rules_and_declarations() {
        let domain = |inside: &str| {
            verdict(&format!(
                "<domain type='kvm'><name>a</name><os><type>hvm</type></os>{inside}</domain>"
            ))
        };
        assert_eq!(domain("<memory unit='MiB'>64</memory>"), Ok(()));
        for (inside, fault) in [
            (
                "<memory unit='ells'>64</memory>",
                "invalid value 'ells' of attribute 'unit'",
            ),
            ("<memory>much</memory>", "invalid value 'much'"),
            ("<memory>1</memory><memory>1</memory>", "a second 'memory'"),
            (
                "<devices><disk type='tape'/></devices>",
                "invalid value 'tape' of attribute 'type'",
            ),
            (
                "<devices><tpm model='tpm-tis'/></devices>",
                "missing required element 'backend'",
            ),
            ("<clock/>", "missing required attribute 'offset'"),
            (
                "<vcpu cpuset='all'>2</vcpu>",
                "invalid value 'all' of attribute 'cpuset'",
            ),
        ] {
            let error = domain(inside).expect_err(inside);
            assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
            assert!(error.message().contains(fault), "{inside}: {error}");
        }
    }
}
