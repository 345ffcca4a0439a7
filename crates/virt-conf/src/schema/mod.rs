//! Which documents the schemas allow: one door for all formats, as `virt-xml-validate` and the VALIDATE flags need it.
//!
//! [`check`] chooses by the root element. Schemas are tables of what each element may hold: the declarations of the model
//! are not enough, because parsing takes more than schemas allow.
//!
//! | module | has |
//! |---|---|
//! | [`domain`] | domains |
//! | [`storage`] | pools, volumes, what pools can do |
//! | [`network`] | networks, interfaces of the host |
//! | [`filter`] | network filters |
//! | [`node_device`] | devices of the host |
//! | [`host`] | processors, capabilities of hosts and domains |
//! | [`moments`] | snapshots, checkpoints, backups |
//! | [`small`] | secrets, filters of an interface, network ports |
//! | [`common`] | rows that several of them share |

#[cfg(test)]
mod agreement;
mod common;
mod domain;
mod filter;
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

/// A kind of document: the name of its root, and its schema.
type Kind = (&'static str, &'static Table);

/// The schema of documents with that root.
fn table_of(root: &str) -> Option<&'static Table> {
    let found = KINDS.iter().find(|(name, _)| *name == root);
    found.map(|(_, table)| *table)
}

/// All kinds of documents.
const KINDS: &[Kind] = &[
    ("domain", &DOMAIN),
    ("domainsnapshot", &moments::SNAPSHOT),
    ("domaincheckpoint", &moments::CHECKPOINT),
    ("domainbackup", &moments::BACKUP),
    ("network", &network::NETWORK),
    ("networkport", &small::NETWORK_PORT),
    ("interface", &network::INTERFACE),
    ("filter", &filter::FILTER),
    ("filterbinding", &small::FILTER_BINDING),
    ("pool", &storage::POOL),
    ("volume", &storage::VOLUME),
    ("storagepoolCapabilities", &storage::POOL_CAPABILITIES),
    ("secret", &small::SECRET),
    ("device", &node_device::NODE_DEVICE),
    ("cpu", &host::CPU),
    ("capabilities", &host::CAPABILITIES),
    ("domainCapabilities", &host::DOMAIN_CAPABILITIES),
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
        Some((_, table)) => shapes::validate(root, table),
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
        for right in [
            "<memory unit='MiB'>64</memory>",
            "<blkiotune><device><path>/a</path><read_iops_sec> 1</read_iops_sec></device></blkiotune>",
            "<features><hyperv><spinlocks state='on' retries=' 4096'/></hyperv><kvm><dirty-ring state='on' size=' 4096'/>\
             </kvm></features>",
            "<launchSecurity type='sev'><cbitpos> 1</cbitpos><policy>0x1</policy></launchSecurity>",
        ] {
            assert_eq!(domain(right), Ok(()), "{right}");
        }
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
            (
                "<devices><disk type='volume'><source pool='p' volume='..'/><target dev='vda'/></disk></devices>",
                "invalid value '..' of attribute 'volume'",
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
            "<filter name='a'><uuid>c7a5fdbdedaf9455926ad65c16db1809</uuid><filterref filter='b'/></filter>",
            "<filter name='a' chain=' root'><rule action='drop' direction='in'/></filter>",
            "<network><name>a</name><bridge name='b' delay=' 1'/></network>",
            "<interface type='bridge' name='b'><bridge delay='-0'/></interface>",
            "<device><name>a</name><parent wwnn='5000c50015ea71ad' wwpn='5000c50015ea71ae'/></device>",
            "<volume><name>a</name><target><path>a:b c</path></target></volume>",
        ];
        for rule in [
            "<tcp-ipv6 flags='SYN/ALL'/>",
            "<icmpv6 srcipaddr='7:b:D7.01.31.0' dstipto='::1' dscp='-0'/>",
            "<ip srcipmask='-0'/>",
            "<vlan encap-protocol=' rarp' vlanid='-0'/>",
            "<mac protocolid='0x0001'/>",
            "<tcp ipset='a' ipsetflags='src'/>",
        ] {
            let source =
                format!("<filter name='a'><rule action='drop' direction='in'>{rule}</rule></filter>");
            assert_eq!(verdict(&source), Ok(()), "{source}");
        }
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
            (
                "<filter name='a'><uuid> c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid></filter>",
                "expected a UUID",
            ),
            (
                "<network><name>a</name><dns><srv service='s' protocol=' tcp'/></dns></network>",
                "expected 'tcp' or 'udp'",
            ),
            (
                "<network><name>a</name><ip><dhcp><bootp file='a&#10;b'/></dhcp></ip></network>",
                "expected a path",
            ),
            (
                "<device><name>a</name><parent fabric_wwn='5000c50015ea71ad'>b</parent></device>",
                "text where none belongs",
            ),
            (
                "<device><name>a</name><capability type='ccw'><cssid>1</cssid><state>online</state><ssid>0x0</ssid>\
                 <devno>0x1</devno></capability></device>",
                "element 'state' stands too late",
            ),
            (
                "<device><name>a</name><capability type='pci'><domain>0</domain><bus>0</bus><slot>0</slot><function>0</function>\
                 <product/><vendor/><numa node='2147483648'/></capability></device>",
                "expected a whole number from -2147483648",
            ),
            (
                "<volume><name>a</name><target><path>1:2</path></target></volume>",
                "expected a path or a URI",
            ),
            (
                "<domainCapabilities><domain>d</domain><arch>a</arch><cpu><mode name='host-passthrough' supported='yes'/>\
                 <mode name='maximum' supported='yes'/><mode name='host-model' supported='yes'/>\
                 <mode name='custom' supported='yes'><blockers model='m'><feature name='f'/></blockers>\
                 <model usable='no' vendor='v'>m</model></mode></cpu></domainCapabilities>",
                "'blockers' stands where no 'model' is right in front",
            ),
        ];
        for (rule, fault) in [
            ("<tcp option='1'/>", "unknown attribute 'option'"),
            ("<tcp-ipv6 state='NEW'/>", "unknown attribute 'state'"),
            ("<arp arpsrcipmask='24'/>", "unknown attribute 'arpsrcipmask'"),
            ("<tcp ipset='a'/>", "missing required attribute 'ipsetflags'"),
            (
                "<icmpv6 dstipto='10.0.0.1'/>",
                "expected an IPv6 address, or a variable",
            ),
            ("<arp opcode='rEPLY'/>", "the name of an operation"),
            (
                "<tcp/><udp/>",
                "element 'tcp' and element 'udp' exclude each other",
            ),
            ("<tcp/><tcp/>", "a second 'tcp'"),
        ] {
            let source =
                format!("<filter name='a'><rule action='drop' direction='in'>{rule}</rule></filter>");
            let error = verdict(&source).expect_err(&source);
            assert!(error.message().contains(fault), "{source}: {error}");
        }
        for (source, fault) in wrong {
            let error = verdict(source).expect_err(source);
            assert_eq!(error.code(), ErrorCode::XML_INVALID_SCHEMA);
            assert!(error.message().contains(fault), "{source}: {error}");
        }
    }
}
