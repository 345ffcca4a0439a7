//! Patterns of configuration files: `*` stands for any text, `?` for one character, everything else for itself.
//!
//! That is what the lists of allowed users and names have in libvirt.

/// Whether `text` as a whole matches. Takes time of at most the product of both lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and up to where the text is given to it.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {
                p += 1;
                t += 1;
            }
            (Some(want), Some(have)) if want == have => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) if taken < text.len() => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                _ => return false,
            },
        }
    }
}

/// Whether one of the patterns matches. No list allows everybody, an empty list nobody.
pub fn allowed(patterns: Option<&[String]>, text: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("*@EXAMPLE.COM", "fred@EXAMPLE.COM", true),
            ("*@EXAMPLE.COM", "fred@EXAMPLE.COM.evil", false),
            ("C=GB,*,CN=?", "C=GB,O=Red,CN=x", true),
            ("C=GB,*,CN=?", "C=GB,O=Red,CN=xy", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("?", "", false),
            ("é?", "éü", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn lists() {
        assert!(allowed(None, "x"));
        assert!(!allowed(Some(&[]), "x"));
        assert!(allowed(Some(&["y".to_owned(), "?".to_owned()]), "x"));
    }

    #[test]
    fn many_stars_end_in_time() {
        assert!(!matches(
            &"a*".repeat(60),
            &"a".repeat(5000).replace("aaaaa", "aaaab").replace('a', "c")
        ));
        assert!(!matches(&format!("{}b", "*a".repeat(100)), &"a".repeat(5000)));
    }

    /// The meaning, without regard to time.
    fn meaning(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), _) => {
                meaning(rest, text) || text.split_first().is_some_and(|(_, text)| meaning(pattern, text))
            }
            (Some(('?', rest)), Some((_, text))) => meaning(rest, text),
            (Some((want, rest)), Some((have, text))) => want == have && meaning(rest, text),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_meaning(pattern in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), meaning(&chars(&pattern), &chars(&text)));
        }
    }
}
