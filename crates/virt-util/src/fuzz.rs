//! Entry points for fuzzing, one per parser of outside bytes: plain functions that must return, whatever they get.
//! Tests replay a small corpus of seeds through them.

/// A named entry point.
pub type Target = (&'static str, fn(&[u8]));

/// Every entry point of this crate.
pub const TARGETS: &[Target] = &[
    ("uri", fuzz_uri),
    ("bitmap", fuzz_bitmap),
    ("units", fuzz_units),
    ("conf_file", fuzz_conf_file),
    ("uuid", fuzz_uuid),
    ("json", fuzz_json),
    ("json_lines", fuzz_json_lines),
    ("xml", fuzz_xml),
    ("xml_model", fuzz_xml_model),
];

/// XML documents, and subtrees that are kept.
pub fn fuzz_xml(data: &[u8]) {
    crate::xml::fuzz::document(data);
}

/// XML of a declared type.
pub fn fuzz_xml_model(data: &[u8]) {
    crate::xml::fuzz::model(data);
}

/// URIs: what is accepted formats to something that is accepted.
pub fn fuzz_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(uri) = crate::uri::Uri::parse(&text) {
        let _ = uri.format_params();
        assert!(crate::uri::Uri::parse(&uri.to_string()).is_ok() || text.len() > 20_000);
    }
}

/// Lists of numbers and hexadecimal sets.
pub fn fuzz_bitmap(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(set) = crate::bitmap::Bitmap::parse_growing(&text) {
        assert_eq!(
            crate::bitmap::Bitmap::parse_growing_or_empty(&set.to_string()).ok(),
            Some(set)
        );
    }
    let _ = crate::bitmap::Bitmap::from_hex(&text);
}

/// JSON whose numbers stay texts: what was read is written, and read again as the same.
pub fn fuzz_json(data: &[u8]) {
    use crate::json::Json;
    let text = String::from_utf8_lossy(data);
    if let Ok(json) = Json::parse(&text) {
        assert_eq!(Json::parse(&format!("{json} ")).ok().as_ref(), Some(&json));
        let _ = json.deflatten();
    }
}

/// JSON lines from a peer: memory stays bounded, and nothing comes after an error.
pub fn fuzz_json_lines(data: &[u8]) {
    let mut lines = crate::json_lines::JsonLines::new(256);
    for piece in data.chunks(7) {
        let fed = lines.feed(piece);
        loop {
            match lines.next_object() {
                Ok(Some(_)) => assert!(fed.is_ok()),
                Ok(None) => break,
                Err(_) => {
                    assert!(lines.next_line().is_err());
                    return;
                }
            }
        }
        assert!(lines.unfinished() <= 256);
    }
}

/// Sizes with units.
pub fn fuzz_units(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let _ = crate::units::KiB::parse(number, Some(unit));
    let _ = crate::units::parse_size(&text, 1, u64::MAX);
}

/// Configuration files in all dialects: what was read and can be written reads the same again.
pub fn fuzz_conf_file(data: &[u8]) {
    use crate::conf_file::{ConfFile, Dialect};
    let text = String::from_utf8_lossy(data);
    for dialect in [Dialect::Libvirt, Dialect::Vmx, Dialect::Lxc] {
        let Ok(conf) = ConfFile::parse("fuzz", &text, dialect) else {
            continue;
        };
        if let (Dialect::Libvirt, Ok(written)) = (dialect, conf.format()) {
            let again = ConfFile::parse("fuzz", &written, dialect);
            assert!(again.is_ok_and(|again| again.entries() == conf.entries()));
        }
    }
}

/// UUIDs.
pub fn fuzz_uuid(data: &[u8]) {
    let _ = crate::uuid::parse(&String::from_utf8_lossy(data));
}

#[cfg(test)]
mod tests {
    /// Seeds: each goes through every entry point.
    const SEEDS: &[&[u8]] = &[
        b"",
        b"qemu+ssh://root@[::1]:22/system?a=%41&b;c#f",
        b"t://@:1/%2f%2F?%00",
        b"0-3,^2,4-1000000,^^",
        b"^0-1",
        b"18446744073709551615 EiB",
        b"a = [ 'x', \"\"\"y\"\"\", -1, [ ] ] # c\n\nb=\"\n",
        b"a=\"\"\"\"\"\"\"",
        b"c7a5fdbd-edaf-9455-926a-d65c16db1809",
        b"\xff\xfe\x00",
        b"{\"return\": {}}\r\nnoise\xff{\"event\": [1e999]}\n\n[1]\n{}\n",
        &[b'{'; 300],
    ];

    #[test]
    fn seeds_pass() {
        for (_, target) in super::TARGETS {
            for seed in SEEDS {
                target(seed);
                for cut in 0..seed.len() {
                    target(&seed[..cut]);
                }
            }
        }
    }
}
