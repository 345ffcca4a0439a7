//! Shell words as libvirt prints command lines: in logs, in `domxml-to-native`, in golden files.

use std::borrow::Cow;

/// Quotes `word` for a POSIX shell if it holds anything that a shell would act on.
///
/// ```
/// use virt_util::shell::quote;
///
/// assert_eq!(quote("-name"), "-name");
/// assert_eq!(quote("it's"), r"'it'\''s'");
/// assert_eq!(quote(""), "''");
/// ```
pub fn quote(word: &str) -> Cow<'_, str> {
    if word.is_empty() {
        return Cow::Borrowed("''");
    }
    if !word.contains(is_special) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

fn is_special(c: char) -> bool {
    "\r\t\n !\"#$&'()*;<>?[\\]^`{|}~".contains(c)
}

/// How [`format_command`] lays a command line out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All words in one line.
    OneLine,
    /// A line for each environment variable and each option with its values, continued with backslashes.
    Lines,
}

/// A command line for people and shells: environment (`name=value`), then the words.
///
/// A line break stands before every word but an option's value. Words behind the last option that are not options get
/// lines of their own, because nothing tells whether they are values.
pub fn format_command<E: AsRef<str>, W: AsRef<str>>(
    environment: &[E],
    words: &[W],
    layout: Layout,
) -> String {
    let break_line = if layout == Layout::Lines { "\\\n" } else { "" };
    let mut out = String::new();
    for variable in environment {
        let (name, value) = variable
            .as_ref()
            .split_once('=')
            .unwrap_or((variable.as_ref(), ""));
        out.push_str(name);
        out.push('=');
        // `a=''` and `a=` are the same to a shell; libvirt prints the quotes.
        out.push_str(&quote(value));
        out.push(' ');
        out.push_str(break_line);
    }
    let is_option = |word: &W| word.as_ref().starts_with('-');
    // From this word on, no option follows.
    let tail = words.iter().rposition(is_option).map_or(0, |last| last + 1);
    let mut had_option = false;
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push(' ');
            let mut breaks = true;
            if is_option(word) {
                had_option = true;
            } else if had_option {
                // The word before counts: behind the last option, its first value still belongs to it.
                breaks = index > tail;
            }
            if breaks {
                out.push_str(break_line);
            }
        }
        out.push_str(&quote(word.as_ref()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_their_values() {
        let environment = ["LC_ALL=C", "PATH="];
        let words = ["/usr/bin/qemu", "-name", "guest=a b", "-S", "x", "y"];
        assert_eq!(
            format_command(&environment, &words, Layout::Lines),
            "LC_ALL=C \\\nPATH='' \\\n/usr/bin/qemu \\\n-name 'guest=a b' \\\n-S x \\\ny"
        );
        assert_eq!(
            format_command(&environment, &words, Layout::OneLine),
            "LC_ALL=C PATH='' /usr/bin/qemu -name 'guest=a b' -S x y"
        );
        assert_eq!(
            format_command::<&str, _>(&[], &["mount", "a", "b"], Layout::Lines),
            "mount \\\na \\\nb"
        );
    }
}
