//! RELAX NG files for the formats, made of the same tables that [`check`](super::check) goes by.

use virt_util::xml::rng::{Source, grammar};
use virt_util::xml::rules::Form;

use super::table_of;
use crate::data::FORMATS;

/// The grammar of the documents with that root; nothing for other roots.
///
/// It takes what [`check`](super::check) takes. What a grammar cannot say (that the values of several elements differ) it
/// takes as well; `tests/grammars.rs` counts how often that matters.
pub fn grammar_of(root: &str) -> Option<String> {
    let table = table_of(root)?;
    Some(grammar(&Source {
        root,
        table,
        pattern: &pattern,
    }))
}

/// What the file of a grammar is called where libvirt keeps them, without its ending; nothing for other roots.
pub fn grammar_file(root: &str) -> Option<&'static str> {
    let format = FORMATS.iter().find(|format| format.root == root)?;
    Some(match format.root {
        "filter" => "nwfilter",
        "filterbinding" => "nwfilterbinding",
        "pool" => "storagepool",
        "storagepoolCapabilities" => "storagepoolcaps",
        "volume" => "storagevol",
        "device" => "nodedev",
        "capabilities" => "capability",
        "domainCapabilities" => "domaincaps",
        root => root,
    })
}

/// The expression or pattern for a form.
fn pattern(form: &Form) -> Option<&'static str> {
    let found = PATTERNS.iter().find(|(says, _)| *says == form.says);
    found.map(|(_, pattern)| *pattern)
}

/// An unsigned number in decimal digits up to a greatest one.
macro_rules! up_to {
    ($max:literal) => {
        number!("0", $max)
    };
}

/// A number in decimal digits in a range.
macro_rules! number {
    ($min:literal, $max:literal) => {
        concat!(
            "<data type=\"integer\"><param name=\"pattern\">[0-9]+</param><param name=\"minInclusive\">",
            $min,
            "</param><param name=\"maxInclusive\">",
            $max,
            "</param></data>"
        )
    };
}

/// An expression as a pattern of its own, for choices.
macro_rules! text {
    ($expression:expr) => {
        concat!(
            "<data type=\"token\"><param name=\"pattern\">",
            $expression,
            "</param></data>"
        )
    };
}

/// A number with a sign or none in a range.
macro_rules! signed {
    ($min:literal, $max:literal) => {
        concat!(
            "<data type=\"integer\"><param name=\"minInclusive\">",
            $min,
            "</param><param name=\"maxInclusive\">",
            $max,
            "</param></data>"
        )
    };
}

macro_rules! either {
    ($($pattern:expr),+ $(,)?) => {
        concat!("<choice>", $($pattern),+, "</choice>")
    };
}

/// Patterns, or a variable of a filter.
macro_rules! or_variable {
    ($($pattern:expr),+ $(,)?) => {
        either!($($pattern,)+ text!(r"[$] *[a-zA-Z0-9_]+(\[ *@?[0-9]+ *\])? *"))
    };
}

/// What filters take for an IPv4 address.
macro_rules! loose_ipv4 {
    () => {
        r"([0-2]?[0-9]?[0-9]\.){3}[0-2]?[0-9]?[0-9]"
    };
}

macro_rules! ipv4 {
    () => {
        r"((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}

/// One group of an IPv6 address.
macro_rules! group {
    () => {
        "[0-9a-fA-F]{1,4}"
    };
}

macro_rules! ipv6 {
    () => {
        concat!(
            "(",
            group!(),
            ":){7}",
            group!(),
            "|(",
            group!(),
            ":){1,7}:",
            "|:(:",
            group!(),
            "){1,7}",
            "|(",
            group!(),
            ":){1,6}:",
            group!(),
            "|(",
            group!(),
            ":){1,5}(:",
            group!(),
            "){2}",
            "|(",
            group!(),
            ":){1,4}(:",
            group!(),
            "){3}",
            "|(",
            group!(),
            ":){1,3}(:",
            group!(),
            "){4}",
            "|(",
            group!(),
            ":){1,2}(:",
            group!(),
            "){5}",
            "|",
            group!(),
            ":(:",
            group!(),
            "){6}",
            "|::",
            "|(",
            group!(),
            ":){6}",
            ipv4!(),
            "|::((",
            group!(),
            ":){0,5})",
            ipv4!(),
            "|(",
            group!(),
            ":){1,5}:(",
            group!(),
            ":){0,4}",
            ipv4!()
        )
    };
}

macro_rules! iscsi_name {
    () => {
        r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-zA-Z0-9.\-]+(:.+)?"
    };
}

macro_rules! absolute_path {
    () => {
        r"/.+|[a-zA-Z]:\\.+"
    };
}

macro_rules! disk_target {
    () => {
        "(ioemu:)?(fd|hd|sd|vd|xvd|ubd)[a-zA-Z0-9_]+"
    };
}

/// Expressions, or patterns, by what their forms say; expressions match the whole of a value.
const PATTERNS: &[(&str, &str)] = &[
    ("letters, digits, '_', '+' and '-'", r"[A-Za-z0-9_+\-]+"),
    ("a name without line breaks", "[^\n]+"),
    (
        "letters, digits, '_', '.', '-', ':', '/' and '\\'",
        r"[A-Za-z0-9_.\-:/\\]+",
    ),
    ("letters, digits, '_', '.' and '-'", r"[A-Za-z0-9_.\-]+"),
    ("letters, digits, '_', '-' and '.'", r"[A-Za-z0-9_.\-]+"),
    ("letters, digits, '-', '_' and '.'", r"[A-Za-z0-9_.\-]+"),
    ("letters, digits, '-' and '_'", r"[A-Za-z0-9_\-]+"),
    ("letters, digits, '_' and '-'", r"[A-Za-z0-9_\-]+"),
    ("letters, digits and '_'", "[A-Za-z0-9_]+"),
    ("letters, digits, '_', '.' and ':'", "[A-Za-z0-9_.:]+"),
    ("letters, '-' and '_'", r"[A-Za-z_\-]+"),
    (
        "letters, digits, '_', '-' and, not in front, '.'",
        r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*",
    ),
    ("an absolute path", absolute_path!()),
    ("an absolute path of a folder", "/.*"),
    (
        "an absolute path of letters, digits, '_', '+', '-', '/' and '%'",
        r"/[A-Za-z0-9_+\-/%]+",
    ),
    (
        "an absolute path, or '[datastore] path'",
        concat!(absolute_path!(), r"|\[[^\]]+\] .+"),
    ),
    (
        "an absolute path, a name, or an iSCSI name",
        concat!(absolute_path!(), r"|[A-Za-z0-9_+\-]+|", iscsi_name!()),
    ),
    (
        "an iSCSI name such as 'iqn.2013-06.com.example:pool'",
        iscsi_name!(),
    ),
    (
        "an architecture such as 'x86_64'",
        "alpha|armv6l|armv7l|armv7b|aarch64|cris|i686|ia64|lm32|loongarch64|m68k|microblaze|microblazeel|mips|mipsel|mips64\
         |mips64el|openrisc|parisc|parisc64|ppc|ppcle|ppc64|ppc64le|ppcemb|riscv32|riscv64|s390|s390x|sh4|sh4eb|sparc\
         |sparc64|unicore32|x86_64|xtensa|xtensaeb",
    ),
    ("'on' or 'off'", "on|off"),
    (
        "a unicast MAC address: six pairs of hexadecimal digits with colons between, the first even",
        "[a-fA-F0-9][02468aAcCeE](:[a-fA-F0-9]{2}){5}",
    ),
    (
        "a MAC address: six pairs of hexadecimal digits with colons between",
        "[a-fA-F0-9]{2}(:[a-fA-F0-9]{2}){5}",
    ),
    ("a whole number from 0 to 32", up_to!("32")),
    ("a whole number from 0 to 128", up_to!("128")),
    ("a whole number from 0 to 4095", up_to!("4095")),
    ("a whole number from 0 to 65535", signed!("0", "65535")),
    ("the number of a CPU: 0 to 65535", up_to!("65535")),
    ("a whole number from 0 to 4294967295", up_to!("4294967295")),
    (
        "a whole number from 0 to 18446744073709551615",
        up_to!("18446744073709551615"),
    ),
    ("a whole number from 1", "0*[1-9][0-9]*"),
    ("a whole number from 1 to 4294967295", number!("1", "4294967295")),
    (
        "a whole number from 1 to 18014398509481984",
        number!("1", "18014398509481984"),
    ),
    ("a whole number from 10 to 255", number!("10", "255")),
    (
        "a whole number from -1000 to 1000",
        "<data type=\"integer\"><param name=\"minInclusive\">-1000</param>\
         <param name=\"maxInclusive\">1000</param></data>",
    ),
    ("a port: a whole number from 1 to 65535", signed!("1", "65535")),
    (
        "a port: a whole number from 0 to 65535, or -1",
        signed!("-1", "65535"),
    ),
    (
        "a whole number from 0 to 4294967295, or -1",
        either!(text!("-1"), up_to!("4294967295")),
    ),
    (
        "a whole number from 0 to 255, or 0x00 to 0xff",
        either!(text!("0x[a-fA-F0-9]{1,2}"), signed!("0", "255")),
    ),
    (
        "a whole number from 0 to 255, or 0x0 to 0xffff",
        either!(text!("0x[a-fA-F0-9]{1,4}"), signed!("0", "255")),
    ),
    (
        "a whole number from 0 to 65535, or 0x0000 to 0xffff",
        either!(text!("(0x)?[a-fA-F0-9]{1,4}"), signed!("0", "65535")),
    ),
    (
        "a whole number from 0 to 16777215, or 0x0 to 0xffffff",
        either!(text!("0x[a-fA-F0-9]{1,6}"), signed!("0", "16777215")),
    ),
    (
        "a whole number from 0 to 4294967295, or 0x00000000 to 0xffffffff",
        either!(text!("(0x)?[a-fA-F0-9]{1,8}"), up_to!("4294967295")),
    ),
    (
        "a PCI function: 0x0 to 0x7",
        either!(text!("(0x)?[0-7]"), signed!("0", "7")),
    ),
    (
        "a PCI slot: 0x00 to 0x1f",
        either!(text!("(0x)?[0-1]?[a-fA-F0-9]"), signed!("0", "31")),
    ),
    (
        "up to four numbers of one to three digits with dots between",
        r"(0x)?[a-fA-F0-9]{1,3}(\.(0x)?[a-fA-F0-9]{1,3}){0,3}",
    ),
    ("one to three hexadecimal digits", "(0x)?[a-fA-F0-9]{1,3}"),
    ("one or two digits", "[0-9]{1,2}"),
    (
        "a whole number from 0 to 254, or 0x0 to 0xfe",
        either!(
            text!("0x([a-fA-F0-9]|[a-eA-E0-9][a-fA-F0-9]|[fF][a-eA-E0-9])"),
            up_to!("254")
        ),
    ),
    ("0x0 to 0x3", "(0x)?[0-3]"),
    ("six hexadecimal digits after '0x'", "0x[a-fA-F0-9]{6}"),
    ("sixteen hexadecimal digits", "(0x)?[a-fA-F0-9]{16}"),
    (
        "a name such as 'vda': fd, hd, sd, vd, xvd or ubd and letters or digits",
        disk_target!(),
    ),
    (
        "a target such as 'vda', or an absolute path",
        concat!(disk_target!(), "|", absolute_path!()),
    ),
    (
        "letters, digits, '_', '.', '+', '-' and blanks",
        r"[A-Za-z0-9_.+\- ]+",
    ),
    (
        "one to eight letters, digits, blanks and dots",
        r"[a-zA-Z0-9.\s]{1,8}",
    ),
    ("one to eight hexadecimal digits", "(0x)?[a-fA-F0-9]{1,8}"),
    (
        "a list of CPUs such as '0-3,^2,7'",
        r"([0-9]+(-[0-9]+)?|\^[0-9]+)(,([0-9]+(-[0-9]+)?|\^[0-9]+))*",
    ),
    (
        "a unit such as 'bytes', 'KB', 'KiB' or 'G'",
        "([bB]([yY][tT][eE][sS]?)?)|([kKmMgGtTpPeE]([iI]?[bB])?)",
    ),
    (
        "a UUID",
        "[a-fA-F0-9]{32}|([a-fA-F0-9]{8}-([a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12})",
    ),
    ("octal digits", "[0-7]{1,10}"),
    ("a name without slashes and line breaks", "[^/\n]+"),
    (
        "a name without slashes, other than '.' and '..'",
        r"[^/.]|[^/][^/.]|\.[^/.]|[^/]{3,}",
    ),
    ("letters, digits, '.' and '-'", r"[A-Za-z0-9.\-]+"),
    ("an IPv4 address", ipv4!()),
    ("an IPv6 address", ipv6!()),
    ("an IP address", either!(text!(ipv4!()), text!(ipv6!()))),
    (
        "a DNS name or an IP address",
        either!(text!(r"[A-Za-z0-9.\-]+"), text!(ipv6!())),
    ),
    (
        "hexadecimal digits in lower case, with or without '0x'",
        "(0x)?[0-9a-f]+",
    ),
    ("a whole number", r"[+\-]?[0-9]+"),
    (
        "a number from 0",
        r"INF|NaN|-0+(\.0*)?|\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+\-]?[0-9]+)?",
    ),
    ("a number such as '2.5'", "[0-9]+(.[0-9]+)?"),
    ("two numbers with a dot between", r"[0-9]+\.[0-9]+"),
    (
        "seconds, with up to nine digits of a fraction",
        r"[0-9]+(\.[0-9]{0,9})?",
    ),
    (
        "a name that begins with a letter or '_'",
        "<data type=\"NCName\"/>",
    ),
    (
        "a name that begins with llc_ or mbm_",
        r"(llc_|mbm_)[A-Za-z0-9_\-]+",
    ),
    ("twelve characters, none a comma", "[^,]{12}"),
    (
        "up to 39 characters",
        "<data type=\"string\"><param name=\"maxLength\">39</param></data>",
    ),
    ("up to 255 characters in one line", "[^\n\r]{0,255}"),
    ("one digit or letter in upper case", "[0-9A-Z]"),
    ("one digit or letter from 'B' in upper case", "[0-9B-Z]"),
    (
        "'root', or a name of up to 12 characters that begins with mac, stp, vlan, arp, rarp, ipv4 or ipv6",
        "<choice><value>root</value><data type=\"token\">\
         <param name=\"pattern\">(mac|stp|vlan|arp|rarp|ipv4|ipv6)[A-Za-z0-9_.:\\-]*</param>\
         <param name=\"maxLength\">12</param></data></choice>",
    ),
    ("'false' or '0'", "0|[fF][aA][lL][sS][eE]"),
    (
        "a whole number from 0 to 65535, 0x0 to 0xffff, or a variable",
        or_variable!(text!("0x[a-fA-F0-9]{1,4}"), signed!("0", "65535")),
    ),
    (
        "a whole number from 0 to 4294967295, 0x0 to 0xffffffff, or a variable",
        or_variable!(text!("0x[a-fA-F0-9]{1,8}"), up_to!("4294967295")),
    ),
    (
        "a whole number from 0 to 4095, 0x0 to 0xfff, or a variable",
        or_variable!(text!("0x[a-fA-F0-9]{1,3}"), signed!("0", "4095")),
    ),
    (
        "a whole number from 0 to 63, 0x0 to 0x3f, or a variable",
        or_variable!(text!("0x[0-3]?[a-fA-F0-9]"), signed!("0", "63")),
    ),
    (
        "a protocol of frames: from 0x600, arp, rarp, ipv4, ipv6 or vlan, or a variable",
        or_variable!(
            text!("0x([6-9a-fA-F][a-fA-F0-9]{2}|[a-fA-F0-9]{4})|arp|rarp|ipv4|ipv6|vlan"),
            signed!("1536", "65535"),
        ),
    ),
    (
        "a protocol: 0 to 255, 0x0 to 0xff, its name, or a variable",
        or_variable!(
            text!("0x[a-fA-F0-9]{1,2}|tcp|udp|udplite|esp|ah|icmp|igmp|sctp|icmpv6"),
            signed!("0", "255"),
        ),
    ),
    (
        "a whole number from 0 to 65535, the name of an operation, or a variable",
        or_variable!(
            text!(
                "[Rr]e(ply|quest)(_[Rr]everse)?|DRARP_([Rr]e(ply|quest)|[Ee]rror)|InARP_[Rr]equest|ARP_NAK"
            ),
            signed!("0", "65535"),
        ),
    ),
    (
        "a MAC address, or a variable",
        or_variable!(text!("[a-fA-F0-9]{1,2}(:[a-fA-F0-9]{1,2}){5}")),
    ),
    (
        "an IPv4 address, or a variable",
        or_variable!(text!(loose_ipv4!())),
    ),
    (
        "0 to 32, an IPv4 mask, or a variable",
        or_variable!(text!(loose_ipv4!()), signed!("0", "32")),
    ),
    (
        "an IPv6 address, or a variable",
        or_variable!(text!(concat!(
            "([a-fA-F0-9]{0,4}:){2,7}[a-fA-F0-9]*(",
            loose_ipv4!(),
            ")?"
        ))),
    ),
    (
        "0 to 128, an IPv6 mask, or a variable",
        or_variable!(text!("([a-fA-F0-9]{0,4}:){2,7}[a-fA-F0-9]*"), signed!("0", "128")),
    ),
    (
        "states with commas between, or NONE",
        "NONE|(NEW|ESTABLISHED|RELATED|INVALID)(,(NEW|ESTABLISHED|RELATED|INVALID))*",
    ),
    (
        "two lists of flags with a slash between",
        "(ALL|NONE|(SYN|ACK|URG|PSH|FIN|RST)(,(SYN|ACK|URG|PSH|FIN|RST))*)\
         /(ALL|NONE|(SYN|ACK|URG|PSH|FIN|RST)(,(SYN|ACK|URG|PSH|FIN|RST))*)",
    ),
    (
        "the name of a set, or a variable",
        or_variable!(text!(r"[a-zA-Z0-9_.:\-+ ]{1,31}")),
    ),
    (
        "up to six of 'src' and 'dst' with commas between",
        "([sS][rR][cC]|[dD][sS][tT])(,([sS][rR][cC]|[dD][sS][tT])){0,5}",
    ),
    (
        "a path or a URI",
        "<choice><data type=\"anyURI\"/><data type=\"token\"><param name=\"pattern\">/.+</param></data></choice>",
    ),
    (
        "a DHCP unique identifier: hexadecimal bytes with colons between",
        concat!(
            "0?0:0?1:0?0:0?[1-9a-fA-F](:[a-fA-F0-9]{1,2}){10,12}",
            "|0?0:0?2(:[a-fA-F0-9]{1,2}){5,128}",
            "|0?0:0?3:0?0:0?[1-9a-fA-F](:[a-fA-F0-9]{1,2}){6,8}",
            "|0?0:0?4(:[a-fA-F0-9]{1,2}){16}"
        ),
    ),
    (
        "a format of volumes, such as 'raw' or 'qcow2'",
        "raw|dir|bochs|cloop|dmg|iso|vpc|vdi|fat|vhd|ploop|luks|cow|qcow|qcow2|qed|vmdk|auto|ext2|ext3|ext4|ufs|iso9660|udf\
         |gfs|gfs2|vfat|hfs\\+|xfs|ocfs2|vmfs|none|unknown|linux|fat16|fat32|linux-swap|linux-lvm|linux-raid|extended",
    ),
    (
        "a whole number from -2147483648 to 2147483647",
        "<data type=\"int\"/>",
    ),
    (
        "a whole number from -9223372036854775808 to 9223372036854775807",
        "<data type=\"long\"/>",
    ),
    ("a number from 0 to 4294967295", "<data type=\"unsignedInt\"/>"),
    (
        "a number from 0 to 18446744073709551615",
        "<data type=\"unsignedLong\"/>",
    ),
    (
        "up to three octal digits, after a 0 or not",
        "0[0-7]{3}|[0-7]{1,3}",
    ),
    ("a path", ".+"),
    (
        "letters, '_' and, not in front, digits",
        "[a-zA-Z_]+[a-zA-Z0-9_]*",
    ),
    (
        "letters, digits, blanks, '_', '.', '-', ':', '/' and '\\'",
        "[a-zA-Z0-9_.\\-\\\\:/ ]*",
    ),
    (
        "'vepa', 'bridge', 'private' or 'passthrough'",
        "vepa|bridge|private|passthrough",
    ),
    ("'ipv4' or 'ipv6'", "ipv4|ipv6"),
    ("'tcp' or 'udp'", "tcp|udp"),
    ("text without slashes", "[^/]*"),
    ("seconds: a whole number", "[\\-+]?[0-9]+"),
    ("seconds: a whole number, or 'reset'", "[\\-+]?[0-9]+|reset"),
    (
        "letters, digits, '_', '.', '+', '-' and '/'",
        "[a-zA-Z0-9_.+\\-/]+",
    ),
    ("up to twelve characters, none a comma", "[^,]{0,12}"),
    ("'sync_pt' or 'share_pt'", "sync_pt|share_pt"),
    ("1 to 128 characters of ASCII", "[ -~]{1,128}"),
    ("up to 8 characters of ASCII", "[ -~]{0,8}"),
    ("up to 40 characters of ASCII", "[ -~]{0,40}"),
    ("one to five digits", "[0-9]{1,5}"),
    ("one to ten digits", "[0-9]{1,10}"),
    ("one to twenty digits", "[0-9]{1,20}"),
    ("one to four hexadecimal digits after 0x", "0x[a-fA-F0-9]{1,4}"),
    ("one hexadecimal digit after 0x", "0x[a-fA-F0-9]"),
    ("one to four hexadecimal digits", "(0x)?[a-fA-F0-9]{1,4}"),
    (
        "one to four hexadecimal digits, or -1",
        "(0x)?[a-fA-F0-9]{1,4}|-1",
    ),
    ("one or two hexadecimal digits, or -1", "(0x)?[a-fA-F0-9]{1,2}|-1"),
    ("a version such as 1.10, or -1", "[0-9]{1,2}.[0-9]{1,2}|-1"),
    ("letters, digits, '.', '-' and ':'", "[A-Za-z0-9.\\-:]+"),
    ("'naa.' and sixteen hexadecimal digits", "naa\\.[0-9a-fA-F]{16}"),
    (
        "letters, digits and the marks that names of cookies may have",
        "[!#$%&'*+\\-.0-9A-Z\\^_`a-z|~]+",
    ),
    ("a time such as 2030-01-31T12:00:00", "<data type=\"dateTime\"/>"),
    (
        "text without blanks, commas and semicolons, in quotation marks or not",
        "\"?[!#$%&'()*+\\-./0-9:>=<?@A-Z\\^_`\\[\\]a-z|~]+\"?",
    ),
    (
        "an absolute path, or the name of a device",
        concat!(absolute_path!(), r"|[A-Za-z0-9_.\-:/\\]+"),
    ),
    ("a whole number from -1 to 32767", signed!("-1", "32767")),
    (
        "a whole number from -1 to 17592186044415",
        signed!("-1", "17592186044415"),
    ),
    ("a whole number from 1000 to 1000000", number!("1000", "1000000")),
    ("a whole number from 100 to 1000", number!("100", "1000")),
    ("a whole number from 1 to 65535", number!("1", "65535")),
    (
        "some text",
        "<data type=\"string\"><param name=\"minLength\">1</param></data>",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Without an expression a grammar would take any text.
    #[test]
    fn every_form_has_an_expression() {
        use virt_util::xml::rules::Must;
        let mut missing = std::collections::BTreeSet::new();
        for (root, table) in super::super::KINDS {
            let rows = table.shapes.iter().flat_map(|rows| rows.iter());
            let parts = rows.flat_map(|row| row.parts.iter().flat_map(|parts| parts.iter()));
            let rules = table.rules.iter().flat_map(|rules| rules.iter());
            let fits = rules.filter_map(|rule| match rule.must {
                Must::Fit(_, form) => Some(form),
                _ => None,
            });
            for form in parts.filter_map(|part| part.form()).chain(fits) {
                let is_words = form.says.starts_with("one of '");
                if form.says != "text" && !is_words && pattern(&form).is_none() {
                    missing.insert(format!("{root}: {}", form.says));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn every_format_has_a_grammar() {
        for format in FORMATS {
            let text = grammar_of(format.root).expect(format.root);
            virt_util::xml::Doc::parse(&text).expect("well formed");
            assert!(grammar_file(format.root).is_some());
        }
        assert!(grammar_of("colour").is_none() && grammar_file("colour").is_none());
    }
}
