//! Words of documents that their schemas allow, with one letter wrong: the schema refuses them, and the error names the path,
//! the value, what is allowed, and the word that was meant.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::documents;
use virt_conf::schema;
use virt_util::xml::{Doc, Element};

/// Documents of our own, so that the test means something without a corpus.
const DOCUMENTS: &[&str] = &[
    "<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory><vcpu placement='static'>2</vcpu>\
     <numatune><memory mode='strict' nodeset='0'/></numatune><cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model>\
     <feature policy='require' name='vmx'/></cpu>\
     <os firmware='efi'><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/><smbios mode='emulate'/></os>\
     <features><acpi/><apic eoi='on'/><hap state='off'/><hyperv mode='custom'><relaxed state='on'/></hyperv></features>\
     <clock offset='utc'><timer name='hpet' present='no' tickpolicy='delay'/></clock><on_poweroff>destroy</on_poweroff>\
     <devices><disk type='network' device='cdrom'><driver name='qemu' cache='none' io='native' discard='unmap'/>\
     <source protocol='http' name='x'><host name='h' port='80' transport='tcp'/></source>\
     <target dev='hda' bus='ide'/></disk><controller type='usb' index='0' model='qemu-xhci'/><interface type='network'>\
     <source network='default'/><model type='virtio'/><link state='down'/></interface><graphics type='spice' autoport='yes'>\
     <image compression='auto_glz'/><zlib compression='always'/></graphics><input type='tablet' bus='usb'/><console type='pty'/>\
     <sound model='ich9'/><watchdog model='i6300esb' action='reset'/><rng model='virtio'><backend model='random'>/dev/random\
     </backend></rng><memballoon model='virtio' autodeflate='on'/></devices></domain>",
    "<network><name>a</name><forward mode='nat'><nat><port start='1' end='2'/></nat></forward>\
     <bridge name='b' stp='on' macTableManager='libvirt'/><port isolated='yes'/></network>",
    "<interface type='bond' name='b'><start mode='onboot'/><bond mode='active-backup'><miimon freq='1' carrier='netif'/>\
     <interface type='ethernet' name='e'/></bond></interface>",
    "<filter name='a' chain='ipv4'><rule action='drop' direction='inout' statematch='false'><ip protocol='tcp'/></rule></filter>",
    "<pool type='iscsi'><name>a</name><source><host name='h'/><device path='d'/><auth type='chap' username='u'>\
     <secret usage='s'/></auth></source><target><path>/a</path></target></pool>",
    "<volume type='file'><name>a</name><capacity unit='GiB'>1</capacity><target><format type='qcow2'/></target></volume>",
    "<device><name>a</name><capability type='drm'><type>render</type></capability></device>",
    "<secret ephemeral='yes'><usage type='ceph'><name>a</name></usage></secret>",
    "<domainsnapshot><disks><disk name='vda' snapshot='external' type='file'/></disks></domainsnapshot>",
    "<domaincheckpoint><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>",
    "<domainbackup mode='pull'><server transport='tcp' name='h'/><disks><disk name='vda' backup='no'/></disks></domainbackup>",
];

/// A word of a document.
struct Word {
    /// Where it stands in the text of the document.
    start: usize,
    word: String,
    path: String,
    /// The attribute; nothing for the text of an element.
    attribute: Option<String>,
}

/// The words below `element`, which is `text` from `start` on.
fn words(text: &str, element: Element<'_>, out: &mut Vec<Word>) {
    let found = |value: &str, attribute: Option<&str>, out: &mut Vec<Word>| {
        let is_word = value.len() > 1
            && value.starts_with(|first: char| first.is_ascii_alphabetic())
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let source = element.outer_source();
        let head = source.find('>').map_or(source, |end| &source[..end]);
        let at = match attribute {
            Some(name) => [format!(" {name}='{value}'"), format!(" {name}=\"{value}\"")]
                .iter()
                .find_map(|part| head.find(part.as_str()).map(|at| at + name.len() + 3)),
            None => source.find(&format!(">{value}<")).map(|at| at + 1),
        };
        if let (true, Some(at)) = (is_word, at) {
            out.push(Word {
                start: source.as_ptr().addr() - text.as_ptr().addr() + at,
                word: value.to_owned(),
                path: element.path(),
                attribute: attribute.map(str::to_owned),
            });
        }
    };
    for attribute in element.attributes() {
        found(&attribute.value(), Some(attribute.qualified_name()), out);
    }
    found(&element.own_text(), None, out);
    for child in element.children() {
        words(text, child, out);
    }
}

/// The names of the places without the numbers of elements that stand there several times.
fn plain(path: &str) -> String {
    path.split('/')
        .map(|step| step.split('[').next().unwrap_or(step))
        .collect::<Vec<_>>()
        .join("/")
}

#[derive(Default)]
struct Tried {
    places: BTreeSet<(String, Option<String>, String)>,
    refused: usize,
    wrong: Vec<String>,
}

impl Tried {
    fn document(&mut self, text: &str) {
        let Ok(doc) = Doc::parse(text) else { return };
        if schema::check(&doc).is_err() {
            return;
        }
        let mut all = Vec::new();
        words(text, doc.root(), &mut all);
        for word in all {
            let place = (plain(&word.path), word.attribute.clone(), word.word.clone());
            if self.places.insert(place) {
                self.word(text, &word);
            }
        }
    }

    fn word(&mut self, text: &str, word: &Word) {
        let damaged = format!("{}~", &word.word[..word.word.len() - 1]);
        let mut source = text.to_owned();
        source.replace_range(word.start..word.start + word.word.len(), &damaged);
        let doc = Doc::parse(&source).expect("a letter more or less");
        // Where any text may stand there is no wrong word.
        let Err(error) = schema::check(&doc) else { return };
        self.refused += 1;
        let told = error
            .detail()
            .split("; ")
            .find(|told| told.contains(&format!("'{damaged}'")));
        // What a row is chosen by is told of the element that has the row.
        let place = match word.attribute {
            Some(_) => word.path.as_str(),
            None => word.path.rsplit_once('/').map_or("", |(parent, _)| parent),
        };
        let right = told.is_some_and(|told| {
            let says_words = told.contains("expected one of '");
            told.contains(place)
                && word.attribute.iter().all(|name| told.contains(name.as_str()))
                && told.contains("expected ")
                && (!says_words
                    || told.contains(&format!("'{}'", word.word)) && told.contains("did you mean '"))
        });
        if !right {
            let what = error.detail();
            self.wrong
                .push(format!("{} {:?} '{damaged}': {what}", word.path, word.attribute));
        }
    }
}

#[test]
fn words_with_a_wrong_letter_are_told() {
    let mut tried = Tried::default();
    for document in DOCUMENTS {
        let allowed = Doc::parse(document).and_then(|doc| schema::check(&doc));
        assert_eq!(allowed, Ok(()), "{document}");
        tried.document(document);
    }
    let own = tried.refused;
    let recorded = match std::env::var_os("VIRT_CORPUS").filter(|corpus| !corpus.is_empty()) {
        Some(corpus) => documents(Path::new(&corpus)),
        None => {
            println!("only own documents: VIRT_CORPUS names no corpus");
            Vec::new()
        }
    };
    for path in recorded {
        tried.document(&std::fs::read_to_string(&path).unwrap_or_default());
    }
    println!("{} words with a wrong letter were refused", tried.refused);
    assert!(own > 50, "only {own} words of our own documents were refused");
    let count = tried.wrong.len();
    tried.wrong.truncate(60);
    assert!(
        tried.wrong.is_empty(),
        "{count} of {}: {:#?}",
        tried.refused,
        tried.wrong
    );
}
