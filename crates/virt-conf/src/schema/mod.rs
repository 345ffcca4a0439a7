//! Which documents the schemas allow: one door for all formats, as `virt-xml-validate` and the VALIDATE flags need it.
//!
//! [`check`] chooses by the root element. Filters are held against their declarations with rules beside them
//! ([`nwfilter::schema`]). The schemas of all other formats are tables of what each element may hold, because parsing takes
//! more than they do:
//!
//! | module | has |
//! |---|---|
//! | [`domain`] | domains |
//! | [`storage`] | pools, volumes, what pools can do |
//! | [`network`] | networks, interfaces of the host |
//! | [`node_device`] | devices of the host |
//! | [`host`] | processors, capabilities of hosts and domains |
//! | [`moments`] | snapshots, checkpoints, backups |
//! | [`small`] | secrets, filters of an interface, network ports |
//! | [`common`] | rows that several of them share |

#[cfg(test)]
mod agreement;
mod common;
mod domain;
mod grammar;
mod host;
mod moments;
mod network;
mod node_device;
mod small;
mod storage;

pub(crate) use domain::DOMAIN;
pub use grammar::{grammar_file, grammar_of};

use virt_util::xml::shapes::{self, Table};
use virt_util::xml::{At, Doc, error_with};
use virt_util::{ErrorCode, Result};

use crate::nwfilter;

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

/// A kind of document: the name of its root, and what it is held against.
type Kind = (&'static str, Schema);

/// What the documents of a kind are held against.
enum Schema {
    /// A table that is the whole schema.
    Table(&'static Table),
    /// The declarations of the model with rules beside them.
    Declared(fn(&Doc<'_>) -> Result<()>),
}

/// What documents with that root are held against.
fn schema_of(root: &str) -> Option<&'static Schema> {
    let found = KINDS.iter().find(|(name, _)| *name == root);
    found.map(|(_, schema)| schema)
}

/// All kinds of documents.
const KINDS: &[Kind] = &[
    ("domain", Schema::Table(&DOMAIN)),
    ("domainsnapshot", Schema::Table(&moments::SNAPSHOT)),
    ("domaincheckpoint", Schema::Table(&moments::CHECKPOINT)),
    ("domainbackup", Schema::Table(&moments::BACKUP)),
    ("network", Schema::Table(&network::NETWORK)),
    ("networkport", Schema::Table(&small::NETWORK_PORT)),
    ("interface", Schema::Table(&network::INTERFACE)),
    ("filter", Schema::Declared(nwfilter::schema::check_schema)),
    ("filterbinding", Schema::Table(&small::FILTER_BINDING)),
    ("pool", Schema::Table(&storage::POOL)),
    ("volume", Schema::Table(&storage::VOLUME)),
    (
        "storagepoolCapabilities",
        Schema::Table(&storage::POOL_CAPABILITIES),
    ),
    ("secret", Schema::Table(&small::SECRET)),
    ("device", Schema::Table(&node_device::NODE_DEVICE)),
    ("cpu", Schema::Table(&host::CPU)),
    ("capabilities", Schema::Table(&host::CAPABILITIES)),
    ("domainCapabilities", Schema::Table(&host::DOMAIN_CAPABILITIES)),
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
        Some((_, Schema::Table(table))) => shapes::validate(root, table),
        Some((_, Schema::Declared(check))) => check(doc),
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

    #[test]
    fn tables_know_right_from_wrong() {
        let right = [
            "<pool type='dir'><name>a</name><target><path>/a</path></target></pool>",
            "<pool type='rbd'><source><host name='h'/><name>n</name></source></pool>",
            "<volume><name>a</name><capacity unit='GiB'>1</capacity><target/></volume>",
            "<network><name>a</name><forward mode='nat'><nat><port start='1' end='2'/></nat></forward></network>",
            "<interface type='bridge' name='br0'><bridge><interface type='ethernet' name='e0'/></bridge></interface>",
            "<device><name>a</name><capability type='drm'><type>render</type></capability></device>",
            "<secret><usage type='tls'><name>a</name></usage></secret>",
            "<cpu><arch>x86_64</arch><feature name='vmx'/><pages unit='KiB' size='4'/></cpu>",
            "<cpu mode='custom'><feature policy='require' name='vmx'/></cpu>",
            "<domainsnapshot><domain><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid></domain></domainsnapshot>",
            "<domaincheckpoint><disks><disk name='vda' checkpoint='no'/></disks></domaincheckpoint>",
            "<domainbackup mode='pull'><server name='h'/></domainbackup>",
        ];
        for source in right {
            assert_eq!(verdict(source), Ok(()), "{source}");
        }
        let wrong = [
            (
                "<pool type='dir'><name>a</name></pool>",
                "missing required element 'target'",
            ),
            (
                "<pool type='rbd'><source><name>n</name></source></pool>",
                "missing required element 'host'",
            ),
            (
                "<pool type='tape'><name>a</name></pool>",
                "invalid value 'tape' of attribute 'type'",
            ),
            (
                "<volume><name>a/b</name><target/></volume>",
                "a name without slashes",
            ),
            (
                "<network><name>a</name><ip netmask='255.0.0.0' prefix='8'/></network>",
                "exclude each other",
            ),
            (
                "<interface type='ethernet' name='e0'><bridge/></interface>",
                "unknown element 'bridge'",
            ),
            (
                "<device><name>a</name><capability type='system'><firmware/><hardware/></capability></device>",
                "'hardware' stands too late",
            ),
            (
                "<secret><usage type='volume'><name>a</name></usage></secret>",
                "missing required element 'volume'",
            ),
            (
                "<cpu><feature name='vmx'/></cpu>",
                "missing required attribute 'policy'",
            ),
            (
                "<domainsnapshot><disks><disk name='vda' snapshot='no'><source/></disk></disks></domainsnapshot>",
                "unknown element 'source'",
            ),
            (
                "<domaincheckpoint><disks/></domaincheckpoint>",
                "missing required element 'disk'",
            ),
            (
                "<domainbackup><server name='h'/></domainbackup>",
                "unknown element 'server'",
            ),
        ];
        for (source, fault) in wrong {
            let error = verdict(source).expect_err(source);
            assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
            assert!(error.message().contains(fault), "{source}: {error}");
        }
    }
}
