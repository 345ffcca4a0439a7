use super::*;
use crate::domain::normalize::SystemRandomness;

fn read(text: &str) -> Result<StoragePool> {
    let mut pool = StoragePool::parse(text, "pool.xml")?;
    pool.normalize(&SystemRandomness);
    Ok(pool)
}

/// A pool of a type that has all it needs, and more than any type has.
fn full(kind: PoolType) -> String {
    format!(
        "<pool type='{kind}'><name>p</name><uuid>00000000-0000-0000-0000-000000000001</uuid><capacity>5</capacity>\
         <source><host name='h' port='7'/><device path='d'/><dir path='/dir/'/><adapter name='host1'/><name>n</name>\
         <initiator><iqn name='i'/></initiator></source><target><path>//t//x/</path></target></pool>"
    )
}

#[test]
fn each_type_keeps_what_it_has() {
    for kind in PoolType::ALL.iter().copied() {
        let pool = read(&full(kind)).unwrap();
        let (rules, source) = (kind.rules(), &pool.source);
        for (part, is_there) in [
            (SourceParts::HOST, !source.hosts.is_empty()),
            (SourceParts::DEVICE, !source.devices.is_empty()),
            (SourceParts::DIR, source.dir.is_some()),
            (SourceParts::ADAPTER, source.adapter.is_some()),
            (SourceParts::NAME, source.name.is_some()),
            (SourceParts::INITIATOR, source.initiator.is_some()),
        ] {
            assert_eq!(rules.has(part), is_there, "{kind} {part:?}");
        }
        assert_eq!(source.format, rules.formats.map(|(_, default)| default), "{kind}");
        let path = pool.target.as_ref().map(|target| target.path.as_str());
        let expected = match rules.target {
            TargetRule::Named => Some("//t/x"),
            TargetRule::Below("/dev") => Some("/dev/n"),
            TargetRule::Below(_) => Some("/dev/zvol/n"),
            TargetRule::None => None,
        };
        assert_eq!(path, expected, "{kind}");
        // What the host found is not read.
        assert_eq!(pool.capacity, 0);
        // Reading what was written changes nothing, and completing twice neither.
        let text = pool.format();
        let mut again = read(&text).unwrap();
        assert_eq!(again, pool, "{kind}");
        again.normalize(&SystemRandomness);
        assert_eq!(again.format(), text, "{kind}");
        assert_eq!(
            StoragePool::parse_state(&pool.format_state(), "s").unwrap(),
            pool,
            "{kind}"
        );
    }
}

#[test]
fn names_come_from_the_source() {
    let pool = read("<pool type='logical'><source><name>vg</name></source></pool>").unwrap();
    assert_eq!((pool.name.as_str(), pool.uuid.is_some()), ("vg", true));
    let pool = read("<pool type='zfs'><name>tank</name></pool>").unwrap();
    assert_eq!(pool.source.name.as_deref(), Some("tank"));
}

#[test]
fn errors_say_what_and_where() {
    let fs = |inside: &str| {
        format!("<pool type='fs'>\n <name>p</name>{inside}<target><path>/t</path></target></pool>")
    };
    let source = |inside: &str| fs(&format!("<source><device path='/d'/>{inside}</source>"));
    use ErrorCode as E;
    for (text, code, said) in [
        ("<pool type='nfs'/>".to_owned(), E::XML_ERROR, "did you mean 'fs'?"),
        ("<pool type='dir'/>".to_owned(), E::XML_ERROR, "missing required element 'name'"),
        ("<pool type='dir'><name>a/b</name></pool>".to_owned(), E::XML_ERROR, "'/'"),
        ("<pool type='dir'><name>p</name></pool>".to_owned(), E::XML_ERROR, "missing required element 'path'"),
        (fs(""), E::XML_ERROR, "missing required element 'device'"),
        (source("<format type='ext5'/>"), E::CONFIG_UNSUPPORTED, "did you mean 'ext2'?"),
        (source("<format type='nfs'/>"), E::CONFIG_UNSUPPORTED, "pool.xml:2"),
        (source("<auth username='u'><secret usage='s'/></auth>"), E::CONFIG_UNSUPPORTED, "'type'"),
        (source("<auth type='chap' username='u'><secret/></auth>"), E::XML_ERROR, "secret"),
        (source("<format type='xfs'/><protocol ver='3'/>"), E::CONFIG_UNSUPPORTED, "protocol"),
        (source("<protocol ver='3,4'/>"), E::XML_DETAIL, "','"),
        (source("<device/>"), E::XML_ERROR, "missing required attribute 'path'"),
        (
            fs("<refresh><volume allocation='none'/></refresh><source><device path='/d'/></source>"),
            E::CONFIG_UNSUPPORTED,
            "'default', 'capacity'",
        ),
        (
            "<pool type='mpath'><name>p</name><features><cow state='yes'/></features><target><path>/t</path></target></pool>"
                .to_owned(),
            E::NO_SUPPORT,
            "cow",
        ),
        (
            "<pool type='iscsi-direct'><name>p</name><source><host name='h'/><device path='d'/></source></pool>".to_owned(),
            E::CONFIG_UNSUPPORTED,
            "initiator",
        ),
        (
            "<pool type='rbd'><name>p</name><source><host name='h'/></source></pool>".to_owned(),
            E::XML_ERROR,
            "missing required element 'name'",
        ),
    ] {
        let error = read(&text).expect_err(&text);
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message().contains(said), "{text}: {error}");
    }
}

#[test]
fn adapters_are_named_in_one_way() {
    let pool = |adapter: &str| {
        read(&format!(
            "<pool type='scsi'><name>p</name><source>{adapter}</source><target><path>/t</path></target></pool>"
        ))
    };
    let place =
        "<parentaddr unique_id='1'><address domain='0' bus='0' slot='0x1f' function='2'/></parentaddr>";
    for good in [
        "<adapter name='host1'/>".to_owned(),
        format!("<adapter type='scsi_host'>{place}</adapter>"),
        "<adapter type='fc_host' wwnn='0x20000000c9831b4b' wwpn='10000000c9831b4b'/>".to_owned(),
    ] {
        let pool = pool(&good).unwrap();
        assert_eq!(read(&pool.format()).unwrap(), pool);
    }
    for wrong in [
        "".to_owned(),
        "<adapter/>".to_owned(),
        "<adapter type='default' name='host1'/>".to_owned(),
        "<adapter type='scsi_host'/>".to_owned(),
        "<adapter name='host1' wwnn='20000000c9831b4b'/>".to_owned(),
        format!("<adapter>{place}</adapter>"),
        format!("<adapter type='scsi_host' name='host1'>{place}</adapter>"),
        "<adapter type='fc_host' wwnn='20000000c9831b4b'/>".to_owned(),
        "<adapter type='fc_host' wwnn='20000000c9831b4' wwpn='10000000c9831b4b'/>".to_owned(),
        "<adapter type='fc_host' parent_wwnn='20000000c9831b4b' wwnn='20000000c9831b4b' wwpn='10000000c9831b4b'/>".to_owned(),
    ] {
        assert!(pool(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sources_are_listed() {
    let source = PoolSource::parse(
        "<source><host name='h'/><dir path='/a//b/'/></source>",
        PoolType::Netfs,
        "s",
    );
    let source = source.unwrap();
    assert_eq!(
        format_sources(&[source]),
        "<sources>\n  <source>\n    <host name='h'/>\n    <dir path='/a/b'/>\n    <format type='auto'/>\n  </source>\n</sources>\n"
    );
    assert_eq!(format_sources(&[]), "<sources>\n</sources>\n");
    assert!(PoolSource::parse("<source><format type='x'/></source>", PoolType::Disk, "s").is_err());
}
