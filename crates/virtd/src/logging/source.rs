//! Names of sources: what filters match. Modules are named after our crates, sources after libvirt's, so that a filter
//! that was written for libvirt finds what it means.

use std::borrow::Cow;

/// Crates and what sources of theirs begin with.
const PREFIXES: &[(&str, &str)] = &[
    ("virt_util", "util"),
    ("virt_conf", "conf"),
    ("virt_api::rpc", "rpc"),
    ("virt_api", "libvirt"),
    ("virtd::server", "rpc.server"),
    ("virtd::auth", "access.auth"),
    ("virtd::access", "access"),
    ("virtd::admin", "admin"),
    ("virtd", "daemon"),
];

/// Whether a module is one of this project's.
pub(super) fn is_ours(target: &str) -> bool {
    target.starts_with("virt")
}

/// The source's name of a module.
pub(super) fn name(target: &str) -> Cow<'_, str> {
    if let Some(rest) = target.strip_prefix("virt_driver_") {
        return Cow::Owned(rest.replace("::", "."));
    }
    for (module, source) in PREFIXES {
        if let Some(rest) = target.strip_prefix(module)
            && (rest.is_empty() || rest.starts_with("::"))
        {
            return Cow::Owned(format!("{source}{}", rest.replace("::", ".")));
        }
    }
    Cow::Borrowed(target)
}

/// Whether a filter's pattern, in which `*` and `?` stand for any, is found in a name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    fn whole(pattern: &[u8], name: &[u8]) -> bool {
        // The classic walk with one point to come back to: linear in practice, never deep.
        let (mut p, mut n) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(n) {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p + 1, n));
                    p += 1;
                }
                Some(wanted) if wanted == byte || *wanted == b'?' => {
                    p += 1;
                    n += 1;
                }
                _ => match &mut star {
                    Some((after, from)) => {
                        *from += 1;
                        p = *after;
                        n = *from;
                    }
                    None => return false,
                },
            }
        }
        pattern
            .get(p..)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
    if !pattern.bytes().any(|byte| matches!(byte, b'*' | b'?')) {
        return name.contains(pattern);
    }
    whole(format!("*{pattern}*").as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modules_have_the_names_of_sources() {
        assert_eq!(name("virt_driver_qemu::monitor::reply"), "qemu.monitor.reply");
        assert_eq!(name("virt_util::command"), "util.command");
        assert_eq!(name("virt_api::rpc::reader"), "rpc.reader");
        assert_eq!(name("virtd::server::session"), "rpc.server.session");
        assert_eq!(name("virtd"), "daemon");
        assert_eq!(name("virtdx::y"), "virtdx::y");
    }

    #[test]
    fn patterns_are_found_anywhere() {
        assert!(matches("qemu", "util.qemu.x") && !matches("qemu", "lxc"));
        assert!(matches("a?c*e", "xxabcddeyy") && !matches("a?c*e", "xxabddeyy"));
        assert!(matches("*", "") && matches("?", "x"));
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?]{0,30}", name in "[ab]{0,60}") {
            let (pattern_bytes, name_bytes) = (pattern.as_bytes(), name.as_bytes());
            // The other way to say it: row by row, which prefixes of the pattern end where.
            let mut row: Vec<bool> = vec![true; name_bytes.len() + 1];
            for wanted in pattern_bytes {
                let mut next = vec![false; row.len()];
                for at in 0..row.len() {
                    next[at] = match wanted {
                        b'*' => row[at] || at > 0 && next[at - 1],
                        _ => at > 0 && row[at - 1] && (*wanted == b'?' || *wanted == name_bytes[at - 1]),
                    };
                }
                row = next;
            }
            prop_assert_eq!(matches(&pattern, &name), row.contains(&true));
        }

        #[test]
        fn a_part_is_always_found(before in "[a-z.]{0,9}", part in "[a-z.]{0,9}", after in "[a-z.]{0,9}") {
            let name = format!("{before}{part}{after}");
            prop_assert!(matches(&part, &name));
            let starred = format!("{}*", part);
            prop_assert!(matches(&starred, &name));
        }
    }
}
