//! The kernel's command line, `/proc/cmdline`: parameters with and without values, some of them in quotes.

/// A parameter of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its value, without the quotes around it.
    pub value: Option<&'t str>,
}

/// Takes the next parameter, and gives what is left; none at the end.
///
/// ```
/// use virt_util::kernel_command_line::next_parameter;
///
/// let (parameter, rest) = next_parameter(" dyndbg=\"file a.c +p\" quiet").unwrap();
/// assert_eq!((parameter.name, parameter.value, rest), ("dyndbg", Some("file a.c +p"), " quiet"));
/// ```
pub fn next_parameter(line: &str) -> Option<(Parameter<'_>, &str)> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let (quoted, line) = match line.strip_prefix('"') {
        Some(line) => (true, line),
        None => (false, line),
    };
    let mut inside = quoted;
    let mut equals = None;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        match c {
            c if !inside && (c.is_ascii_whitespace() || c == '\u{b}') => {
                end = at;
                break;
            }
            // A parameter that begins with an equals sign has it in its name.
            '=' if equals.is_none() && at > 0 => equals = Some(at),
            '"' => inside = !inside,
            _ => {}
        }
    }
    let (parameter, rest) = line.split_at_checked(end)?;
    if parameter.is_empty() {
        return None;
    }
    let Some((name, value)) = equals.and_then(|at| Some((parameter.get(..at)?, parameter.get(at + 1..)?)))
    else {
        let name = if quoted {
            parameter.strip_suffix('"').unwrap_or(parameter)
        } else {
            parameter
        };
        return Some((Parameter { name, value: None }, rest));
    };
    let (quoted, value) = match value.strip_prefix('"') {
        Some(value) => (true, value),
        None => (quoted, value),
    };
    let value = if quoted {
        value.strip_suffix('"').unwrap_or(value)
    } else {
        value
    };
    Some((
        Parameter {
            name,
            value: Some(value),
        },
        rest,
    ))
}

/// All parameters of a command line.
pub fn parameters(line: &str) -> impl Iterator<Item = Parameter<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (parameter, after) = next_parameter(rest)?;
        rest = after;
        Some(parameter)
    })
}

/// Which of several parameters of one name counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Any that matches.
    Any,
    /// The last, as for most of the kernel's own.
    #[default]
    Last,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// As a whole.
    #[default]
    Equal,
    /// By its beginning.
    Prefix,
}

/// Whether parameter `name` has one of `values`, or stands without a value if `values` is empty. `-` and `_` in names are
/// the same.
pub fn has_parameter(line: &str, name: &str, values: &[&str], which: Which, compare: Compare) -> bool {
    let same = |known: &str| {
        let plain = |c: char| if c == '_' { '-' } else { c };
        known.chars().map(plain).eq(name.chars().map(plain))
    };
    let matches = |parameter: &Parameter<'_>| match parameter.value {
        None => values.is_empty(),
        Some(value) => values.iter().any(|wanted| match compare {
            Compare::Equal => value == *wanted,
            Compare::Prefix => value.starts_with(wanted),
        }),
    };
    let mut found = parameters(line).filter(|parameter| same(parameter.name));
    match which {
        Which::Any => found.any(|parameter| matches(&parameter)),
        Which::Last => found.last().is_some_and(|parameter| matches(&parameter)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_values_are_taken_apart() {
        let all: Vec<_> = parameters("ro  \"a b=c d\" =x root=/dev/sda1 q=\"\" \"").collect();
        let shown: Vec<_> = all
            .iter()
            .map(|parameter| (parameter.name, parameter.value))
            .collect();
        assert_eq!(
            shown,
            [
                ("ro", None),
                ("a b", Some("c d")),
                ("=x", None),
                ("root", Some("/dev/sda1")),
                ("q", Some("")),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_line_comes_to_an_end(line in "[\"= a\\PC]{0,40}") {
            prop_assert!(parameters(&line).count() <= line.len());
        }
    }
}
