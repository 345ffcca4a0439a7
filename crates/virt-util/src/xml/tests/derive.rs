//! The derive at work.
use crate::Result;
use crate::xml::*;

#[derive(XmlEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Bus {
    #[default]
    Ide,
    Scsi,
    Virtio,
    #[xml("usb")]
    Universal,
}

#[derive(Xml, Clone, Debug, PartialEq, Default)]
struct Address {
    /// PCI domain.
    #[xml("@domain", default, always, format = "0x%04x")]
    domain: u32,
    #[xml("@bus", format = "0x%02x")]
    bus: u8,
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type")]
enum Source {
    #[xml("file", default)]
    File {
        #[xml("source@file")]
        file: Option<String>,
        #[xml("source@startupPolicy")]
        policy: Option<String>,
    },
    #[xml("block")]
    Block {
        #[xml("source@dev")]
        dev: String,
    },
    Network(NetworkSource),
    Nothing,
}

#[derive(Xml, Clone, Debug, PartialEq)]
struct NetworkSource {
    #[xml("source@protocol")]
    protocol: String,
    #[xml("source/host")]
    hosts: Vec<Host>,
}

#[derive(Xml, Clone, Debug, PartialEq)]
struct Host {
    #[xml("@name")]
    name: String,
    #[xml("@port")]
    port: Option<u16>,
}

/// A disk.
#[derive(Xml, Clone, Debug, PartialEq)]
struct Disk {
    #[xml("@device", default = "disk".to_owned(), always)]
    device: String,
    #[xml("driver@name")]
    driver_name: Option<String>,
    #[xml("driver@type")]
    driver_type: Option<String>,
    #[xml("driver/iotune/total")]
    total: Option<u64>,
    #[xml(flatten, first)]
    source: Source,
    #[xml("target@dev")]
    target: String,
    #[xml("target@bus", default)]
    bus: Bus,
    #[xml("readonly")]
    read_only: bool,
    #[xml("shared@on", on_off)]
    shared: Option<bool>,
    #[xml("serial")]
    serial: Option<String>,
    #[xml("secret", only(secure))]
    secret: Option<String>,
    #[xml("alias@name", unless(inactive))]
    alias: Option<String>,
    #[xml("address")]
    address: Option<Box<Address>>,
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "name()")]
enum Device {
    Disk(Box<Disk>),
    Watchdog {
        #[xml("@model")]
        model: String,
    },
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "machine", declare(q = "http://example.org/q"))]
struct Machine {
    #[xml("name")]
    name: String,
    #[xml("devices/*")]
    devices: Vec<Device>,
    #[xml("q:arg")]
    args: Vec<Argument>,
}

#[derive(Xml, Clone, Debug, PartialEq)]
struct Argument {
    #[xml("@value")]
    value: String,
}

fn machine(source: &str) -> Result<Machine> {
    from_str(source, XmlFlags::empty(), &DocOptions::named("m.xml"))
}

const FULL: &str = "\
<machine xmlns:q='http://example.org/q'>
  <name>a &amp; b</name>
  <devices>
    <watchdog model='i6300esb'/>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'>
        <iotune>
          <total>5</total>
        </iotune>
      </driver>
      <source protocol='nbd'>
        <host name='h' port='10809'/>
        <host name='i'/>
      </source>
      <target dev='vda' bus='virtio'/>
      <readonly/>
      <shared on='off'/>
      <alias name='virtio-disk0'/>
      <address domain='0x0000' bus='0x0a'/>
    </disk>
    <disk type='nothing' device='cdrom'>
      <target dev='hda'/>
    </disk>
  </devices>
  <q:arg value='-s'/>
</machine>
";

#[test]
fn a_canonical_document_comes_out_as_it_went_in() {
    let machine = machine(FULL).unwrap();
    assert_eq!(machine.name, "a & b");
    assert_eq!(to_string(&machine, XmlFlags::empty()), FULL);
}

#[test]
fn flags_choose_what_is_written() {
    let machine = machine(&FULL.replace("<readonly/>", "<secret>s</secret>")).unwrap();
    let text = to_string(&machine, XmlFlags::INACTIVE);
    assert!(!text.contains("alias") && !text.contains("<secret>"), "{text}");
    assert!(to_string(&machine, XmlFlags::SECURE).contains("      <secret>s</secret>\n"));
}

#[track_caller]
fn refused(source: &str, expected: &str) {
    let error = machine(source).expect_err("must be refused");
    assert!(error.message().contains(expected), "{error}");
}

#[test]
fn errors_say_where_and_what() {
    refused(
        &FULL.replace("'virtio'", "'virto'"),
        "XML error: m.xml:15:30: /machine/devices/disk[1]/target: invalid value 'virto' of attribute 'bus': \
         expected one of 'ide', 'scsi', 'virtio', 'usb'; did you mean 'virtio'?",
    );
    refused(
        &FULL.replace("<name>a &amp; b</name>", ""),
        "m.xml:1:1: /machine: missing required element 'name'",
    );
    refused(
        &FULL.replace("dev='hda'", ""),
        "/machine/devices/disk[2]/target: missing required attribute 'dev'",
    );
    refused(
        &FULL.replace("'10809'", "'70000'"),
        "expected a whole number from 0 to 65535",
    );
    refused(&FULL.replace("'network'", "'netwrk'"), "did you mean 'network'?");
    refused("<domain/>", "found <domain>, expected <machine>");
}

#[test]
fn collecting_tells_all() {
    let source = FULL.replace("'virtio'", "'virto'").replace("'10809'", "'x'");
    let doc = Doc::parse(&source).unwrap();
    let mut cx = Reader::collecting(XmlFlags::empty());
    from_doc::<Machine>(&doc, &mut cx).unwrap();
    assert_eq!(cx.take_errors().len(), 2);
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(name = "timer")]
struct Timer {
    #[xml("@id", nonzero, max = 100)]
    id: Option<u8>,
    #[xml("@ticks", min = -5, default, format = "%d")]
    ticks: i32,
    #[xml("@port", write_as = if w.has(XmlFlags::INACTIVE) { None } else { self.port })]
    port: Option<u16>,
    #[xml("*")]
    parts: Vec<Part>,
    #[xml(".", with = odd, reads("@odd", "odder"))]
    odd: bool,
}

mod odd {
    use super::*;

    pub fn read(element: Element<'_>, _cx: &mut Reader) -> Result<bool> {
        Ok(element.has_attr("odd") || element.child("odder").is_some())
    }

    pub fn write(_odd: &bool, _w: &mut Writer) {}
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "name()")]
enum Part {
    Catchup {
        #[xml("@limit", base = 16)]
        limit: u32,
    },
    Range(Range),
    #[xml(other)]
    Other(KeptElement),
}

#[derive(Clone, Debug, PartialEq)]
struct Range(u32, u32);

impl XmlElement for Range {
    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let from = read::attr(element, cx, "from", u32::parse_value)?;
        let to = read::attr(element, cx, "to", u32::parse_value)?;
        Ok(Self(
            from.unwrap_or(0),
            read::required(element, At::Attribute("to"), to)?,
        ))
    }

    fn write_attributes(&self, w: &mut Writer) {
        write::attr(w, "from", &self.0, u32::format_value);
        write::attr(w, "to", &self.1, u32::format_value);
    }

    fn write_content(&self, _w: &mut Writer) {}

    fn schema() -> &'static ElementSchema {
        describe!("Range", "range", "" => { "@from" => from: value(u32), "@to" => to: value(u32) })
    }
}

#[test]
fn the_rest_of_the_options() {
    let source = "\
<timer id='7' ticks='-3' port='80'>
  <catchup limit='16'/>
  <strange a='&apos;'>text</strange>
  <range from='1' to='2'/>
  <odd>
    <one/>
    <two x='1'>y</two>
  </odd>
</timer>
";
    let timer: Timer = from_str(source, XmlFlags::empty(), &DocOptions::default()).unwrap();
    let Some(Part::Catchup { limit }) = timer.parts.first() else {
        panic!("{timer:?}")
    };
    assert_eq!(*limit, 0x16);
    assert_eq!(
        to_string(&timer, XmlFlags::empty()),
        source.replace("limit='16'", "limit='22'")
    );
    assert!(!to_string(&timer, XmlFlags::INACTIVE).contains("port"));

    let refused = |from: &str, to: &str| {
        let source = source.replace(from, to);
        from_str::<Timer>(&source, XmlFlags::empty(), &DocOptions::default())
            .expect_err("must be refused")
            .to_string()
    };
    assert!(refused("id='7'", "id='0'").ends_with("expected a whole number from 1 to 100"));
    assert!(refused("id='7'", "id='101'").ends_with("expected a whole number from 1 to 100"));
    assert!(refused("'-3'", "'-6'").ends_with("expected a whole number from -5 to 2147483647"));
    assert!(refused(" to='2'", "").ends_with("/timer/range: missing required attribute 'to'"));
}

#[derive(serde::Serialize, serde::Deserialize, Xml, Debug, PartialEq)]
struct Watch {
    #[xml("@action", default)]
    action: Action,
    #[xml("kept")]
    kept: Option<KeptElement>,
}

#[derive(XmlEnum, Clone, Copy, Debug, Default, PartialEq)]
enum Action {
    #[default]
    Reset,
    #[xml("inject-nmi")]
    Nmi,
}

#[test]
fn json_holds_the_words_of_xml() {
    let source = "<watch action='inject-nmi'>\n  <kept>\n    <x y='1'/>\n  </kept>\n</watch>\n";
    let watch: Watch = from_str(source, XmlFlags::empty(), &DocOptions::default()).unwrap();
    assert_eq!(to_string(&watch, XmlFlags::empty()), source);
    let json = serde_json::to_string(&watch).unwrap();
    assert_eq!(
        json,
        r#"{"action":"inject-nmi","kept":"<kept>\n  <x y=\"1\"/>\n</kept>"}"#
    );
    assert_eq!(serde_json::from_str::<Watch>(&json).unwrap(), watch);
    let error = serde_json::from_str::<Action>("\"inject-nmy\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("did you mean 'inject-nmi'?"), "{error}");
}

#[derive(Xml, Debug, PartialEq)]
struct Groups {
    #[xml("a@x")]
    x: Option<u8>,
    #[xml("a/b@y", default)]
    y: u8,
    #[xml("a/b/c", unless(inactive))]
    c: bool,
    #[xml("t/text()")]
    text: Option<String>,
    #[xml("n@h", format = "0x%02x", default)]
    hex: u32,
}

#[test]
fn groups_are_there_if_something_is_in_them() {
    let write = |x, y, c, text: Option<&str>, flags| {
        let groups = Groups {
            x,
            y,
            c,
            text: text.map(str::to_owned),
            hex: 0,
        };
        to_string(&groups, flags)
    };
    let live = XmlFlags::empty();
    assert_eq!(write(None, 0, false, None, live), "<groups/>\n");
    assert_eq!(write(None, 0, true, None, XmlFlags::INACTIVE), "<groups/>\n");
    assert_eq!(write(None, 0, false, Some(""), live), "<groups/>\n");
    assert_eq!(
        write(Some(1), 0, false, None, live),
        "<groups>\n  <a x='1'/>\n</groups>\n"
    );
    assert_eq!(
        write(None, 2, true, Some("<"), live),
        "<groups>\n  <a>\n    <b y='2'>\n      <c/>\n    </b>\n  </a>\n  <t>&lt;</t>\n</groups>\n"
    );
}

#[test]
fn numbers_in_hexadecimal() {
    for (value, text) in [(1, "0x01"), (0x1f, "0x1f"), (0x20, "0x20"), (0xabcd, "0xabcd")] {
        let groups = Groups {
            x: None,
            y: 0,
            c: false,
            text: None,
            hex: value,
        };
        assert_eq!(
            to_string(&groups, XmlFlags::empty()),
            format!("<groups>\n  <n h='{text}'/>\n</groups>\n")
        );
    }
    let format = |value: u64, width| {
        let mut out = String::new();
        push_formatted(&mut out, value, "0x", 16, width);
        out
    };
    assert_eq!(format(0, 4), "0x0000");
    assert_eq!(format(0x1f, 4), "0x001f");
    assert_eq!(format(0xf, 1), "0xf");
    assert_eq!(format(0x1f, 1), "0x1f");
    assert_eq!(format(u64::MAX, 0), "0xffffffffffffffff");
    let mut out = String::new();
    push_radix(&mut out, 0o755, 8, 4);
    out.push(' ');
    push_radix(&mut out, u64::MAX, 10, 21);
    out.push(' ');
    push_signed(&mut out, i64::MIN);
    assert_eq!(out, "0755 018446744073709551615 -9223372036854775808");
}

#[test]
fn switches_know_the_words_that_are_used_elsewhere() {
    use crate::xml::{XmlValue, parse_on_off};
    let yes_no = |text: &str| bool::parse_value(text).unwrap_err().describe(text);
    let on_off = |text: &str| parse_on_off(text).unwrap_err().describe(text);
    assert_eq!(yes_no("True"), "expected one of 'yes', 'no'; did you mean 'yes'?");
    assert_eq!(yes_no("0"), "expected one of 'yes', 'no'; did you mean 'no'?");
    assert_eq!(on_off("yes"), "expected one of 'on', 'off'; did you mean 'on'?");
    assert_eq!(
        on_off("disabled"),
        "expected one of 'on', 'off'; did you mean 'off'?"
    );
    assert_eq!(on_off("of"), "expected one of 'on', 'off'; did you mean 'off'?");
    assert_eq!(yes_no("7"), "expected one of 'yes', 'no'");
}
