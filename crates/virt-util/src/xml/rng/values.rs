//! Patterns of values.

use std::collections::BTreeSet;

use super::super::escape_into;
use super::super::rules::Form;
use super::super::schema::ValueSchema;
use super::super::shapes::TEXT;
use super::Build;

impl Build<'_> {
    /// The pattern of a value of any of the forms.
    pub(super) fn value(&self, forms: &[ValueSchema]) -> String {
        let each: BTreeSet<String> = forms.iter().map(|form| self.one_value(form)).collect();
        choice(each)
    }

    /// The pattern of such a value that is none of the words; nothing if there is no other.
    pub(super) fn value_but(
        &self,
        forms: &[ValueSchema],
        words: impl Iterator<Item = &'static str> + Clone,
    ) -> Option<String> {
        let mut each = BTreeSet::new();
        for form in forms {
            let known: Option<Vec<&str>> = match form {
                ValueSchema::Words(list) => Some(list.to_vec()),
                ValueSchema::Switch(list) => Some(list.to_vec()),
                ValueSchema::Form(form) => words_of(form),
                _ => None,
            };
            match known {
                Some(known) => {
                    let mut left = known
                        .into_iter()
                        .filter(|word| !words.clone().any(|but| but == *word))
                        .peekable();
                    if left.peek().is_some() {
                        each.insert(choice(left.map(word).collect()));
                    }
                }
                None => {
                    let pattern = self.one_value(form);
                    each.insert(match pattern.as_str() {
                        "<text/>" => {
                            let except: String = words.clone().map(word).collect();
                            match except.is_empty() {
                                true => pattern,
                                false => format!("<data type=\"token\"><except>{except}</except></data>"),
                            }
                        }
                        _ => pattern,
                    });
                }
            }
        }
        (!each.is_empty()).then(|| choice(each))
    }

    fn one_value(&self, form: &ValueSchema) -> String {
        let words = |words: &[&str]| choice(words.iter().map(|text| word(text)).collect());
        match form {
            ValueSchema::Text => "<text/>".to_owned(),
            ValueSchema::Words(list) => words(list),
            ValueSchema::Switch(list) => words(&list[..]),
            ValueSchema::Decimal => pattern("[+\\-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+\\-]?[0-9]+)?"),
            ValueSchema::Uuid => {
                pattern("[a-fA-F0-9]{32}|([a-fA-F0-9]{8}-([a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12})")
            }
            ValueSchema::Integer { max, base: 8, .. } => {
                pattern(&format!("0*[0-7]{{1,{}}}", format!("{max:o}").len()))
            }
            ValueSchema::Integer { min, max, .. } => {
                let digits = format!("{max:x}").len();
                let sign = if *min < 0 { "[+\\-]?" } else { "\\+?" };
                format!(
                    "<choice><data type=\"integer\"><param name=\"minInclusive\">{min}</param>\
                     <param name=\"maxInclusive\">{max}</param></data>{}</choice>",
                    pattern(&format!("{sign}0[xX]0*[a-fA-F0-9]{{1,{digits}}}"))
                )
            }
            ValueSchema::Form(form) if form.says == TEXT.says => "<text/>".to_owned(),
            ValueSchema::Form(form) => match ((self.source.pattern)(form), words_of(form)) {
                (Some(expression), _) => pattern(expression),
                (None, Some(list)) => words(&list),
                (None, None) => "<text/>".to_owned(),
            },
        }
    }
}

/// The words of a form that is nothing else.
fn words_of(form: &Form) -> Option<Vec<&'static str>> {
    let list = form.says.strip_prefix("one of '")?.strip_suffix('\'')?;
    Some(list.split("', '").collect())
}

fn choice(each: BTreeSet<String>) -> String {
    if each.contains("<text/>") {
        return "<text/>".to_owned();
    }
    match each.len() {
        1 => each.into_iter().collect(),
        _ => format!("<choice>{}</choice>", each.into_iter().collect::<String>()),
    }
}

/// The pattern of an expression; what is one already is that.
pub(super) fn pattern(expression: &str) -> String {
    if expression.starts_with('<') {
        return expression.to_owned();
    }
    let mut escaped = String::new();
    escape_into(&mut escaped, expression);
    format!("<data type=\"token\"><param name=\"pattern\">{escaped}</param></data>")
}

pub(super) fn word(word: &str) -> String {
    let mut escaped = String::new();
    escape_into(&mut escaped, word);
    format!("<value>{escaped}</value>")
}
