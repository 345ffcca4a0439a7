use super::*;
use virt_util::ErrorCode;

fn read(pool: PoolType, inside: &str) -> Result<Volume> {
    let text = format!("<volume>\n<name>v</name>{inside}</volume>");
    Volume::parse(&text, pool, CapacityRule::Required, "vol.xml")
}

#[test]
fn formats_depend_on_the_pool() {
    let format = |pool, word: &str| {
        let inside = format!("<capacity>1</capacity><target><format type='{word}'/></target>");
        read(pool, &inside).map(|volume| volume.target.format)
    };
    assert_eq!(format(PoolType::Dir, "qcow2").unwrap(), Some(VolumeFormat::Qcow2));
    assert_eq!(
        format(PoolType::Disk, "extended").unwrap(),
        Some(VolumeFormat::Extended)
    );
    assert_eq!(format(PoolType::Disk, "none").unwrap(), Some(VolumeFormat::None));
    // Volumes without formats: whatever is said.
    assert_eq!(format(PoolType::Logical, "nonsense").unwrap(), None);
    for (pool, word) in [
        (PoolType::Dir, "none"),
        (PoolType::Dir, "linux"),
        (PoolType::Disk, "qcow2"),
        (PoolType::Rbd, "x"),
    ] {
        assert_eq!(
            format(pool, word).unwrap_err().code(),
            ErrorCode::CONFIG_UNSUPPORTED,
            "{pool} {word}"
        );
    }
    let volume = read(PoolType::Rbd, "<capacity>1</capacity>").unwrap();
    assert_eq!(volume.target.format, Some(VolumeFormat::Raw));
}

#[test]
fn sizes_have_units_and_limits() {
    let volume = read(
        PoolType::Dir,
        "<capacity unit='G'>2</capacity><allocation unit='KB'>3</allocation>",
    )
    .unwrap();
    assert_eq!((volume.capacity, volume.allocation), (2 << 30, Some(3000)));
    let volume = read(PoolType::Dir, "<capacity>77</capacity>").unwrap();
    assert!(
        volume
            .format()
            .contains("<allocation unit='bytes'>77</allocation>")
    );
    for wrong in [
        "",
        "<capacity/>",
        "<capacity>-1</capacity>",
        "<capacity unit='x'>1</capacity>",
        "<capacity>9223372036854775808</capacity>",
        "<capacity unit='E'>8</capacity>",
    ] {
        assert!(read(PoolType::Dir, wrong).is_err(), "{wrong}");
    }
    let backed = "<volume><name>v</name><backingStore><path>/b</path></backingStore></volume>";
    assert!(Volume::parse(backed, PoolType::Dir, CapacityRule::Required, "v").is_err());
    assert!(Volume::parse(backed, PoolType::Dir, CapacityRule::RequiredWithoutBacking, "v").is_ok());
    let alone = "<volume><name>v</name><backingStore/></volume>";
    assert!(Volume::parse(alone, PoolType::Dir, CapacityRule::RequiredWithoutBacking, "v").is_err());
    assert_eq!(
        Volume::parse(alone, PoolType::Dir, CapacityRule::Optional, "v")
            .unwrap()
            .capacity,
        0
    );
}

#[test]
fn targets_are_checked() {
    let target = |inside: &str| {
        read(
            PoolType::Dir,
            &format!("<capacity>1</capacity><target>{inside}</target>"),
        )
    };
    use ErrorCode as E;
    for (inside, code) in [
        ("<compat>1</compat>", E::XML_ERROR),
        ("<compat>1.x</compat>", E::XML_ERROR),
        ("<features><fast/></features>", E::CONFIG_UNSUPPORTED),
        ("<permissions><mode>0999</mode></permissions>", E::XML_ERROR),
        ("<permissions><mode>1777</mode></permissions>", E::XML_ERROR),
        (
            "<permissions><owner>4294967296</owner></permissions>",
            E::XML_ERROR,
        ),
        ("<permissions><group/></permissions>", E::XML_ERROR),
        ("<encryption/>", E::XML_ERROR),
        (
            "<encryption format='luks'><ivgen name='x'/></encryption>",
            E::XML_ERROR,
        ),
        (
            "<encryption format='luks'><secret type='passphrase'/></encryption>",
            E::XML_ERROR,
        ),
    ] {
        assert_eq!(target(inside).expect_err(inside).code(), code, "{inside}");
    }
    let owners = "<permissions><mode>644</mode><owner>4294967294</owner><group>-1</group></permissions>";
    let text = target(owners).unwrap().format();
    assert!(
        text.contains("<mode>0644</mode>") && text.contains("<owner>-2</owner>") && !text.contains("<group>")
    );
    let text = target("<features/>").unwrap().format();
    assert!(text.contains("<compat>1.1</compat>\n    <features/>\n"), "{text}");
    let error = Volume::parse(
        "<volume type='tape'><name>v</name></volume>",
        PoolType::Dir,
        CapacityRule::Optional,
        "v",
    );
    assert_eq!(error.unwrap_err().code(), E::CONFIG_UNSUPPORTED);
}

#[test]
fn what_the_driver_found_is_written() {
    let mut volume = read(PoolType::Disk, "<capacity>1</capacity>").unwrap();
    volume.kind = VolumeType::Block;
    volume.physical = 2;
    volume.devices = vec![VolumeDevice {
        path: "/dev/sda".to_owned(),
        extents: vec![Extent { start: 0, end: 5 }, Extent { start: 7, end: 9 }],
    }];
    volume.target.timestamps = Some(Timestamps {
        accessed: Some(Timestamp {
            seconds: 5,
            nanoseconds: 0,
        }),
        modified: Some(Timestamp {
            seconds: 6,
            nanoseconds: 70,
        }),
        ..Timestamps::default()
    });
    assert_eq!(
        volume.format(),
        "<volume type='block'>\n  <name>v</name>\n  <source>\n    <device path='/dev/sda'>\n      \
         <extent start='0' end='5'/>\n      <extent start='7' end='9'/>\n    </device>\n  </source>\n  \
         <capacity unit='bytes'>1</capacity>\n  <allocation unit='bytes'>1</allocation>\n  \
         <physical unit='bytes'>2</physical>\n  <target>\n    <format type='none'/>\n    <timestamps>\n      \
         <atime>5</atime>\n      <mtime>6.000000070</mtime>\n    </timestamps>\n  </target>\n</volume>\n"
    );
}
