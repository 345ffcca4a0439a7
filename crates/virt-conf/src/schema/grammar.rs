//! RELAX NG files for the formats, made of the same declarations, rules and forms that [`check`](super::check) goes by.

use virt_util::xml::rng::{Source, grammar};
use virt_util::xml::rules::Form;

use crate::data::FORMATS;
use crate::{domain, nwfilter};

/// The grammar of the documents with that root; nothing for other roots.
///
/// It takes what [`check`](super::check) takes; where a grammar cannot say a rule, it takes more.
pub fn grammar_of(root: &str) -> Option<String> {
    let format = FORMATS.iter().find(|format| format.root == root)?;
    let schemas = (format.schemas)();
    let rules = match root {
        "domain" => domain::schema::RULES,
        "filter" => nwfilter::schema::RULES,
        _ => &[],
    };
    let loose: Vec<&str> = match root {
        "domain" | "domainsnapshot" | "domaincheckpoint" => {
            let tables = domain::schema::INSTEAD.iter().map(|(path, _)| *path);
            tables.filter(|path| *path != "domain/cpu").collect()
        }
        // Sizes of pages: the catalogue has them, the model has not.
        "cpu" => vec!["cpu/pages"],
        _ => Vec::new(),
    };
    Some(grammar(&Source {
        root,
        schemas: &schemas,
        rules,
        loose: &loose,
        pattern: &pattern,
    }))
}

/// The regular expression for a form.
fn pattern(form: &Form) -> Option<&'static str> {
    let found = PATTERNS.iter().find(|(says, _)| *says == form.says);
    found.map(|(_, pattern)| *pattern)
}

/// Expressions by what their forms say; all match the whole of a value.
const PATTERNS: &[(&str, &str)] = &[
    ("letters, digits, '_', '+' and '-'", "[A-Za-z0-9_+\\-]+"),
    ("a name without line breaks", "[^\n]+"),
    (
        "letters, digits, '_', '.', '-', ':', '/' and '\\'",
        "[A-Za-z0-9_.\\-:/\\\\]+",
    ),
    ("letters, digits, '_', '.' and '-'", "[A-Za-z0-9_.\\-]+"),
    ("letters, digits, '_', '-' and '.'", "[A-Za-z0-9_.\\-]+"),
    (
        "an absolute path, or '[datastore] path'",
        "(/.+|[a-zA-Z]:\\\\.+|\\[[^\\]]+\\] .+)",
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
    ("a whole number from 0 to 4294967295", "\\+?[0-9]{1,10}"),
    ("a whole number from 0 to 18446744073709551615", "\\+?[0-9]{1,20}"),
    ("a whole number from 0 to 65535", "\\+?[0-9]{1,5}"),
    ("a whole number from 1", "0*[1-9][0-9]*"),
    ("a port: a whole number from 0 to 65535, or -1", "-1|[0-9]{1,5}"),
    (
        "a whole number from 0 to 255, or 0x00 to 0xff",
        "0x[a-fA-F0-9]{1,2}|[0-9]{1,3}",
    ),
    (
        "a whole number from 0 to 65535, or 0x0000 to 0xffff",
        "(0x)?[a-fA-F0-9]{1,4}|[0-9]{1,5}",
    ),
    (
        "a whole number from 0 to 4294967295, or 0x00000000 to 0xffffffff",
        "(0x)?[a-fA-F0-9]{1,8}|[0-9]{1,10}",
    ),
    ("a PCI function: 0x0 to 0x7", "(0x)?[0-7]"),
    (
        "a PCI slot: 0x00 to 0x1f",
        "(0x)?[0-1]?[a-fA-F0-9]|[0-2]?[0-9]|3[01]",
    ),
    (
        "up to four numbers of one to three digits with dots between",
        "(0x)?[a-fA-F0-9]{1,3}(\\.(0x)?[a-fA-F0-9]{1,3}){0,3}",
    ),
    ("one to three hexadecimal digits", "(0x)?[a-fA-F0-9]{1,3}"),
    ("one or two digits", "[0-9]{1,2}"),
    (
        "a whole number from 0 to 254, or 0x0 to 0xfe",
        "0x[a-fA-F0-9]{1,2}|[0-9]{1,3}",
    ),
    ("0x0 to 0x3", "(0x)?[0-3]"),
    ("sixteen hexadecimal digits", "(0x)?[a-fA-F0-9]{16}"),
    (
        "a name such as 'vda': fd, hd, sd, vd, xvd or ubd and letters or digits",
        "(ioemu:)?(fd|hd|sd|vd|xvd|ubd)[a-zA-Z0-9_]+",
    ),
    (
        "letters, digits, '_', '.', '+', '-' and blanks",
        "[A-Za-z0-9_.+\\- ]+",
    ),
    (
        "one to eight letters, digits, blanks and dots",
        "[a-zA-Z0-9.\\s]{1,8}",
    ),
    ("one to eight hexadecimal digits", "(0x)?[a-fA-F0-9]{1,8}"),
    (
        "a list of CPUs such as '0-3,^2,7'",
        "([0-9]+(-[0-9]+)?|\\^[0-9]+)(,([0-9]+(-[0-9]+)?|\\^[0-9]+))*",
    ),
    (
        "a unit such as 'bytes', 'KB', 'KiB' or 'G'",
        "([bB]([yY][tT][eE][sS]?)?)|([kKmMgGtTpPeE]([iI]?[bB])?)",
    ),
    (
        "a UUID",
        "[a-fA-F0-9]{32}|([a-fA-F0-9]{8}-([a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12})",
    ),
    ("octal digits", "[0-7]+"),
    ("a name without slashes and line breaks", "[^/\n]+"),
    ("letters, digits, '.' and '-'", "[A-Za-z0-9.\\-]+"),
    (
        "hexadecimal digits in lower case, with or without '0x'",
        "(0x)?[0-9a-f]+",
    ),
    ("a whole number", "[+-]?[0-9]+"),
    (
        "a name that begins with a letter or '_'",
        "[A-Za-z_][A-Za-z0-9_.\\-]*",
    ),
    ("some text", ".+"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_grammar() {
        for format in FORMATS {
            let text = grammar_of(format.root).expect(format.root);
            virt_util::xml::Doc::parse(&text).expect("well formed");
        }
        assert!(grammar_of("colour").is_none());
    }
}
