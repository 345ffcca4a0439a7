//! Tables on the terminal: columns as wide as their widest cell, two spaces apart, counted in terminal columns.

use unicode_width::UnicodeWidthChar;

/// Whether the terminal's locale is UTF-8. In any other, bytes beyond ASCII cannot be counted and are shown as `\xNN`.
pub fn locale_is_utf8() -> bool {
    let name = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_ascii_lowercase();
    name.contains("utf-8") || name.contains("utf8")
}

/// A table that is being filled.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    utf8: bool,
}

impl Table {
    /// An empty table with these column names.
    pub fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|cell| (*cell).to_owned()).collect(),
            rows: Vec::new(),
            utf8: locale_is_utf8(),
        }
    }

    /// The same table, measured for a UTF-8 terminal or for an ASCII one.
    #[must_use]
    pub fn utf8(mut self, utf8: bool) -> Self {
        self.utf8 = utf8;
        self
    }

    /// Appends a row. Missing cells are empty, cells beyond the header are dropped.
    pub fn row<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// The column names.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The table as text, each line ended by a newline.
    pub fn render(&self, with_header: bool) -> String {
        let encode = |cells: &[String]| -> Vec<(String, usize)> {
            cells.iter().map(|cell| encode_cell(cell, self.utf8)).collect()
        };
        let header = with_header.then(|| encode(&self.header));
        let rows: Vec<_> = self.rows.iter().map(|row| encode(row)).collect();
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = header.iter().chain(&rows).filter_map(|row| row.get(column));
                cells.map(|(_, width)| *width).max().unwrap_or_default()
            })
            .collect();

        let mut out = String::new();
        if let Some(header) = &header {
            push_row(&mut out, header, &widths);
            let line: usize = widths.iter().map(|width| width + 3).sum();
            out.extend(std::iter::repeat_n('-', line));
            out.push('\n');
        }
        for row in &rows {
            push_row(&mut out, row, &widths);
        }
        out
    }
}

fn push_row(out: &mut String, row: &[(String, usize)], widths: &[usize]) {
    for (index, ((text, width), column)) in row.iter().zip(widths).enumerate() {
        out.push(' ');
        out.push_str(text);
        if index + 1 < row.len() {
            out.extend(std::iter::repeat_n(' ', column.saturating_sub(*width) + 2));
        }
    }
    out.push('\n');
}

/// The cell with everything unprintable as `\xNN`, and how many columns it takes.
fn encode_cell(cell: &str, utf8: bool) -> (String, usize) {
    let mut out = String::with_capacity(cell.len());
    let mut width = 0;
    let mut chars = cell.chars().peekable();
    while let Some(c) = chars.next() {
        // A literal \x is encoded too, so that the output says unambiguously what the cell holds.
        let literal_escape = c == '\\' && chars.peek() == Some(&'x');
        if literal_escape || !is_printable(c) || (!c.is_ascii() && !utf8) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("\\x{byte:02x}"));
                width += 4;
            }
        } else {
            out.push(c);
            width += c.width().unwrap_or_default();
        }
    }
    (out, width)
}

/// Control characters, line and paragraph separators and what is no character at all would break the layout.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        && !matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
        && !('\u{fdd0}'..='\u{fdef}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_widest_cell() {
        let mut table = Table::new(&["Id", "Name", "State"]).utf8(true);
        table.row(["1", "fedora28", "running"]);
        table.row(["2", "rhel7.5", "running"]);
        assert_eq!(
            table.render(true),
            " Id   Name       State\n--------------------------\n 1    fedora28   running\n 2    rhel7.5    running\n"
        );
        assert_eq!(
            table.render(false),
            " 1   fedora28   running\n 2   rhel7.5    running\n"
        );
    }

    #[test]
    fn wide_and_zero_width_characters_count_as_the_terminal_shows_them() {
        let mut table = Table::new(&["Id", "名稱"]).utf8(true);
        table.row(["1\u{200b}", "つx"]);
        assert_eq!(
            table.render(true),
            " Id   名稱\n------------\n 1\u{200b}    つx\n"
        );
    }

    #[test]
    fn unprintable_bytes_are_shown_in_hex() {
        let mut table = Table::new(&["a"]).utf8(false);
        table.row(["x\ty\\x09ä"]);
        assert_eq!(table.render(false), " x\\x09y\\x5cx09\\xc3\\xa4\n");
    }
}
