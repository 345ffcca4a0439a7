//! What libvirt's daemon says of definitions that clash with what it has, or that are wrong, and what we say: filters and their
//! bindings, secrets, guests. And the files that it leaves of them.
//!
//! Filters are for daemons of the whole machine only, so libvirt's runs as root, in namespaces of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use virt_api::need;
use virt_api::objects::Connect;
use virt_conf::checkpoint::{Checkpoint, CheckpointFormat};
use virt_conf::domain::normalize::SystemRandomness;
use virt_conf::nwfilter::Filter;
use virt_conf::nwfilter_binding::FilterBinding;
use virt_conf::registry::filters::{BindingFiles, BindingKind, FilterFiles, FilterKind};
use virt_conf::registry::job::Asker;
use virt_conf::registry::secrets::{SecretFiles, StoredSecret};
use virt_conf::registry::{Kind, Life, Purpose, Registry, Snapshot as Published};
use virt_conf::secret::{Secret, SecretUsage};
use virt_conf::snapshot::{Snapshot, SnapshotFlags};
use virt_tests_system::host::Host;
use virt_util::types::DomainDefineFlags;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

/// Starts libvirt's daemon where it sees nothing of the machine, runs the session, and keeps the files that are left.
const SCRIPT: &str = r#"
set -e
for folder in /etc/libvirt /run /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p $folder; mount -t tmpfs none $folder
done
printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n' > "$1/conf"
libvirtd -f "$1/conf" > "$1/log" 2>&1 &
daemon=$!
for try in $(seq 100); do [ -S /run/libvirt/libvirt-sock ] && break; sleep 0.1; done
/usr/bin/python3 "$1/session.py" < "$1/lines" > "$1/answers" || result=$?
cp -a /etc/libvirt "$1/etc"
cp -a /run/libvirt/nwfilter-binding "$1/bindings"
cp -a /var/lib/libvirt "$1/lib"
kill $daemon; wait $daemon || true
exit ${result:-0}
"#;

const SESSION: &str = r#"
import sys, libvirt
libvirt.registerErrorHandler(lambda *rest: None, None)
conn = libvirt.open('qemu:///system')
make = {
    'filter': conn.nwfilterDefineXML, 'binding': conn.nwfilterBindingCreateXML,
    'secret': conn.secretDefineXML, 'domain': conn.defineXML,
    'snapshot': lambda text: conn.lookupByName('a').snapshotCreateXML(text, 0),
    'checkpoint': lambda text: conn.lookupByName('a').checkpointCreateXML(
        text.replace('<domain/>', conn.lookupByName('a').XMLDesc(0)), 1),
}
for line in sys.stdin:
    kind, text = line.rstrip('\n').split('\t', 1)
    try:
        make[kind](text)
        print('taken')
    except libvirt.libvirtError as error:
        print(error.get_error_code(), error.get_error_domain(), (error.get_error_message() or '').replace('\n', ' '), sep='\t')
"#;

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The session, in order: a kind and a document. A `!` before the kind: libvirt's answer is known to be another than ours.
fn lines() -> Vec<(&'static str, String)> {
    let filter = |name: &str, number: u32, inside: &str| {
        let references: String = inside
            .split_whitespace()
            .map(|name| format!("<filterref filter='{name}'/>"))
            .collect();
        (
            "filter",
            format!(
                "<filter name='{name}'><uuid>{}</uuid>{references}</filter>",
                uuid(number)
            ),
        )
    };
    let binding = |port: &str, filter: &str| {
        let text = format!(
            "<filterbinding><owner><name>g</name><uuid>{}</uuid></owner><portdev name='{port}'/>\
             <mac address='52:54:00:00:00:01'/><filterref filter='{filter}'/></filterbinding>",
            uuid(1)
        );
        ("binding", text)
    };
    let secret = |number: u32, usage: &str, private: &str| {
        let text = format!(
            "<secret private='{private}'><uuid>{}</uuid><usage type='ceph'><name>{usage}</name></usage></secret>",
            uuid(number)
        );
        ("secret", text)
    };
    let domain = |name: &str, number: Option<u32>| {
        let uuid = number.map_or_else(String::new, |number| format!("<uuid>{}</uuid>", uuid(number)));
        let text = format!(
            "<domain type='qemu'><name>{name}</name>{uuid}<memory>65536</memory><os><type>hvm</type></os><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/a.qcow2'/>\
             <target dev='vda' bus='virtio'/></disk></devices></domain>"
        );
        ("domain", text)
    };
    let other = |kind: &'static str, text: &str| (kind, text.to_owned());
    vec![
        filter("a", 1, ""),
        filter("a", 1, ""),
        filter("b", 1, ""),
        filter("a", 2, ""),
        other("filter", "<filter name='a'/>"),
        filter("b", 2, "a"),
        filter("a", 1, "b"),
        filter("b", 1, "b"),
        filter("a", 2, "a"),
        filter("s", 5, "s"),
        filter("u", 6, "none"),
        other("filter", ""),
        other("filter", "<"),
        other("filter", "<filter/>"),
        other("filter", "<domain/>"),
        other("filter", "<filter name='x'><uuid>1</uuid></filter>"),
        other("filter", "<filter name='x' chain='odd'/>"),
        other("filter", "<filter name='x' chain='a b'/>"),
        other("filter", "<filter name='x' priority='x'/>"),
        other("filter", "<filter name='x' priority='99999'/>"),
        other("filter", "<filter name='x'><rule/></filter>"),
        other(
            "filter",
            "<filter name='x'><rule action='odd' direction='in'/></filter>",
        ),
        other("filter", "<filter name='x'><rule action='drop'/></filter>"),
        other("filter", "<filter name='x'><filterref/></filter>"),
        other(
            "filter",
            "<filter name='x'><rule action='drop' direction='in' priority='x'/></filter>",
        ),
        other(
            "filter",
            "<filter name='x'><rule action='drop' direction='in'><ip srcipaddr='x'/></rule></filter>",
        ),
        binding("vnet0", "a"),
        binding("vnet0", "a"),
        binding("vnet1", "a"),
        binding("vnet2", "missing"),
        binding("vnet0", "missing"),
        other("binding", ""),
        other("binding", "<"),
        other("binding", "<filterbinding/>"),
        other("binding", "<domain/>"),
        other(
            "binding",
            &binding("vnet3", "a").1.replace("52:54:00:00:00:01", "x"),
        ),
        other(
            "binding",
            &binding("vnet3", "a")
                .1
                .replace("<mac address='52:54:00:00:00:01'/>", ""),
        ),
        other(
            "binding",
            &binding("vnet3", "a").1.replace("<filterref filter='a'/>", ""),
        ),
        secret(1, "web", "yes"),
        secret(1, "web", "yes"),
        secret(2, "web", "no"),
        secret(1, "db", "yes"),
        secret(1, "web", "no"),
        secret(1, "db", "no"),
        secret(3, "x", "no"),
        secret(1, "x", "yes"),
        other("secret", &format!("<secret><uuid>{}</uuid></secret>", uuid(4))),
        other("secret", &format!("<secret><uuid>{}</uuid></secret>", uuid(5))),
        other("secret", ""),
        other("secret", "<"),
        other("secret", "<domain/>"),
        other("secret", "<secret ephemeral='odd'/>"),
        other("secret", "<secret private='odd'/>"),
        other("secret", "<secret><uuid>1</uuid></secret>"),
        other("secret", "<secret><usage/></secret>"),
        other("secret", "<secret><usage type='odd'/></secret>"),
        other("secret", "<secret><usage type='volume'/></secret>"),
        other("secret", "<secret><usage type='ceph'/></secret>"),
        other("secret", "<secret><usage type='iscsi'/></secret>"),
        other("secret", "<secret><usage type='tls'/></secret>"),
        domain("a", Some(1)),
        domain("a", Some(2)),
        domain("b", Some(1)),
        domain("a", None),
        domain("b", Some(2)),
        domain("a", Some(2)),
    ]
}

/// Secrets as a driver of them would have them.
struct SecretKind;

impl Kind for SecretKind {
    type Definition = StoredSecret;
    type State = ();
    type Private = ();
    type Key = SecretUsage;
    type Event = ();
    const NOUN: &'static str = "secret";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_SECRET;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::SECRET;

    fn keys(definition: &StoredSecret) -> Vec<SecretUsage> {
        definition.keys()
    }

    fn check_redefinition(known: &Published<Self>, new: &StoredSecret) -> Result<()> {
        known.life.current().check_redefinition(new)
    }

    fn key_taken(known: &Published<Self>, key: &SecretUsage) -> VirtError {
        known.life.current().usage_taken(key)
    }
}

/// What drivers keep in memory, without the drivers.
struct Ours {
    filters: Registry<FilterKind>,
    bindings: Registry<BindingKind>,
    secrets: Registry<SecretKind>,
    guests: Connect,
}

fn take<K: Kind<State = (), Private = ()>>(
    registry: &Registry<K>,
    definition: K::Definition,
    purpose: Purpose,
    check: impl FnOnce(&K::Definition) -> Result<()>,
) -> Result<()> {
    let definition = Arc::new(definition);
    let entered = registry.enter(&definition, purpose, &Asker::new("test"), || ((), ()))?;
    check(&definition)?;
    let (object, _job) = entered.commit();
    object.publish(|snapshot| {
        snapshot.life = match purpose {
            Purpose::Define => snapshot.life.defined(definition),
            Purpose::Create => Life::Active {
                live: definition,
                next: None,
            },
        };
    });
    Ok(())
}

impl Ours {
    fn make(&self, kind: &str, text: &str) -> Result<()> {
        let known = |name: &str| {
            let object = self.filters.by_name(name)?;
            Some(Arc::clone(object.snapshot().life.current()))
        };
        match kind {
            "filter" => {
                let mut filter = Filter::parse(text, "test")?;
                filter.complete(&SystemRandomness);
                take(&self.filters, filter, Purpose::Define, |filter| {
                    filter.check_loop(known)
                })
            }
            "binding" => {
                let binding = FilterBinding::parse(text, "test")?;
                take(&self.bindings, binding, Purpose::Create, |_| Ok(()))
            }
            "secret" => {
                let mut secret = Secret::parse(text, "test")?;
                secret.normalize(&SystemRandomness);
                take(&self.secrets, StoredSecret::new(secret)?, Purpose::Define, |_| {
                    Ok(())
                })
            }
            "domain" => self
                .guests
                .define_domain(text, DomainDefineFlags::empty())
                .map(drop),
            other => panic!("no kind {other}"),
        }
    }
}

/// The files of a folder, by name.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let text = std::fs::read_to_string(entry.path()).expect("a text");
            found.insert(entry.file_name().to_string_lossy().into_owned(), text);
        }
    }
    found
}

/// A text behind its header.
fn body(text: &str) -> &str {
    text.split_once("-->\n\n").map_or(text, |(_, body)| body)
}

/// What libvirt's files of filters, bindings and secrets say to us, and what we would have written.
fn read_its_files(root: &Path) {
    let before = texts(&root.join("etc/nwfilter"));
    assert_eq!(before.len(), 3, "{before:?}");
    std::fs::write(root.join("etc/nwfilter/notes"), "mine").expect("a file");
    let files = FilterFiles::new(root.join("etc/nwfilter"));
    let found = files.load(&SystemRandomness).expect("the filters");
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    let copies = FilterFiles::new(root.join("copies/nwfilter"));
    copies.prepare().expect("a folder");
    for filter in &found.filters {
        copies.store.save(&**filter).expect("a copy");
    }
    assert_eq!(texts(&root.join("copies/nwfilter")), before);
    assert!(root.join("etc/nwfilter/notes").exists());

    let before = texts(&root.join("bindings"));
    assert_eq!(before.len(), 3, "{before:?}");
    let found = BindingFiles::new(root.join("bindings"))
        .load()
        .expect("the bindings");
    let copies = BindingFiles::new(root.join("copies/bindings"));
    copies.prepare().expect("a folder");
    for (port, binding) in found {
        copies
            .save(&binding.unwrap_or_else(|error| panic!("{port}: {error}")))
            .expect("a copy");
    }
    assert_eq!(texts(&root.join("copies/bindings")), before);

    let before = texts(&root.join("etc/secrets"));
    assert_eq!(before.len(), 4, "{before:?}");
    let found = SecretFiles::new(root.join("etc/secrets"))
        .load()
        .expect("the secrets");
    let copies = SecretFiles::new(root.join("copies/secrets"));
    copies.prepare().expect("a folder");
    for (secret, _) in &found.loaded {
        copies.define(None, secret, None).expect("a copy");
    }
    assert_eq!(texts(&root.join("copies/secrets")), before);

    // Moments of guests: their files are read and written as they are.
    let snapshots = texts(&root.join("lib/qemu/snapshot/a"));
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    for text in snapshots.values() {
        let flags = SnapshotFlags::REDEFINE | SnapshotFlags::INTERNAL;
        let snapshot = Snapshot::parse(text, flags, "a file of libvirt's").expect("a snapshot");
        assert_eq!(snapshot.format(XmlFlags::SECURE | XmlFlags::STATUS), body(text));
    }
    let checkpoints = texts(&root.join("lib/qemu/checkpoint/a"));
    assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
    for text in checkpoints.values() {
        let checkpoint = Checkpoint::parse(text, true, "a file of libvirt's").expect("a checkpoint");
        assert_eq!(checkpoint.format(CheckpointFormat::default()), body(text));
    }
}

#[test]
fn clashes_and_mistakes_are_told_as_libvirt_does() {
    need!(
        root,
        program "libvirtd",
        program "unshare",
        program "qemu-system-x86_64",
        program "qemu-img",
        package "python3-libvirt"
    );
    let root = tempfile::tempdir().expect("a folder");
    let lines = lines();
    let mut input = String::new();
    for (kind, text) in &lines {
        writeln!(input, "{}\t{text}", kind.trim_start_matches('!')).expect("a text");
    }
    let asked = lines.len();
    input.push_str(
        "snapshot\t<domainsnapshot><name>s1</name><description>a &amp; b</description></domainsnapshot>\n",
    );
    input.push_str("snapshot\t<domainsnapshot><name>s2</name></domainsnapshot>\n");
    input.push_str(
        "checkpoint\t<domaincheckpoint><name>c1</name><creationTime>1700000000</creationTime>\
         <disks><disk name='vda' checkpoint='bitmap' bitmap='c1'/></disks><domain/></domaincheckpoint>\n",
    );
    let script = SCRIPT.replace(
        "/usr/bin/python3 ",
        "qemu-img create -q -f qcow2 /var/lib/libvirt/a.qcow2 1M\n/usr/bin/python3 ",
    );
    for (name, text) in [
        ("lines", input.as_str()),
        ("session.py", SESSION),
        ("script", &script),
    ] {
        std::fs::write(root.path().join(name), text).expect("a file");
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net", "sh"])
        .arg(root.path().join("script"))
        .arg(root.path())
        .stdin(Stdio::null())
        .status()
        .expect("unshare runs");
    let log = std::fs::read_to_string(root.path().join("log")).unwrap_or_default();
    assert!(status.success(), "{log}");
    let answers = std::fs::read_to_string(root.path().join("answers")).expect("the answers");
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), asked + 3);
    assert_eq!(answers[asked..], ["taken"; 3]);

    let host = Host::new();
    let ours = Ours {
        filters: Registry::new(),
        bindings: Registry::new(),
        secrets: Registry::new(),
        guests: Connect::builder()
            .uri(&host.uri())
            .open()
            .expect("the host opens"),
    };
    let mut different = String::new();
    for ((kind, text), theirs) in lines.iter().zip(&answers) {
        let differs = kind.starts_with('!');
        let said = match ours.make(kind.trim_start_matches('!'), text) {
            Ok(()) => "taken".to_owned(),
            Err(error) => format!(
                "{}\t{}\t{}",
                error.code().0,
                error.domain().0,
                error.message().replace('\n', " ")
            ),
        };
        let numbers = |said: &str| {
            said.splitn(3, '\t')
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        if (numbers(&said) != numbers(theirs)) != differs {
            let _ = writeln!(different, "{kind} {text}\n  libvirt: {theirs}\n  ours:    {said}");
        }
    }
    assert!(different.is_empty(), "{different}");
    read_its_files(root.path());
}
