//! Licence expressions (SPDX): whether a list of accepted licences satisfies one.

/// Whether the expression holds with these licences accepted. `OR` (also written `/`) needs one side, `AND` both; an
/// exception (`WITH …`) only ever adds rights, so it does not matter. What cannot be read is not satisfied.
pub fn satisfied(expression: &str, accepted: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        words: &words,
        at: 0,
        accepted,
    };
    reader.either() == Some(true) && reader.at == words.len()
}

struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
    accepted: &'a [String],
}

impl Reader<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|w| w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn either(&mut self) -> Option<bool> {
        let mut holds = self.both()?;
        while self.take("OR") {
            holds |= self.both()?;
        }
        Some(holds)
    }

    fn both(&mut self) -> Option<bool> {
        let mut holds = self.one()?;
        while self.take("AND") {
            holds &= self.one()?;
        }
        Some(holds)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let holds = self.either()?;
            return self.take(")").then_some(holds);
        }
        let name = self.peek()?;
        if matches!(name, ")" | "OR" | "AND" | "WITH") {
            return None;
        }
        let holds = self.accepted.iter().any(|accepted| accepted == name);
        self.at += 1;
        if self.take("WITH") {
            self.peek()?;
            self.at += 1;
        }
        Some(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn expressions() {
        let accepted = [
            "MIT".to_owned(),
            "Unicode-3.0".to_owned(),
            "Apache-2.0".to_owned(),
        ];
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only/MIT",
            "(MIT OR BSD-3-Clause) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(satisfied(good, &accepted), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "",
            "MIT OR",
            "(MIT",
            "MIT MIT",
            "WITH MIT",
        ] {
            assert!(!satisfied(bad, &accepted), "{bad}");
        }
    }
}
