//! Tables as terminal text, CSV and Markdown. The heading is translated, except in CSV.

use crate::language::tr;
use crate::svg::columns;

/// A heading and rows of the same length.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Column names in English; the first column identifies the rows.
    pub heading: Vec<&'static str>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
    /// Links to targets on the same page: row, column, target name.
    pub links: Vec<(usize, usize, String)>,
}

impl Table {
    /// Aligns the columns: the first to the left, numbers to the right.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.aligned(|column| column == 0)
    }

    /// Aligns the columns; `is_left` selects those aligned to the left.
    pub(crate) fn aligned(&self, is_left: impl Fn(usize) -> bool) -> String {
        let heading: Vec<_> = self.heading.iter().map(|&cell| tr(cell)).collect();
        let lines: Vec<_> = std::iter::once(&heading).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| columns(cell)).max()
        };
        let widths: Vec<_> = (0..heading.len()).filter_map(width).collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                let gap = " ".repeat(width.saturating_sub(columns(cell)));
                if is_left(column) { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// Formats as CSV (RFC 4180, with `\n`).
    #[must_use]
    pub fn to_csv(&self) -> String {
        let quoted = |cell: &str| {
            if cell.contains([',', '"', '\n']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let mut text = self.heading.join(",") + "\n";
        for row in &self.rows {
            text += &row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
            text.push('\n');
        }
        text
    }

    /// Formats as a table of GitHub Flavored Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let heading: Vec<_> = self.heading.iter().map(|&cell| tr(cell)).collect();
        let mut text = format!("| {} |\n|{}\n", heading.join(" | "), "---|".repeat(heading.len()));
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }
}

/// Formats a number with thousands separators.
#[must_use]
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a size in the largest exact unit.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |&(bits, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= bits;
    let unit = units.into_iter().find(fits);
    unit.map_or_else(|| format!("{bytes} B"), |(bits, name)| format!("{} {name}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(67_108_864), "67,108,864");
    }

    #[test]
    fn sizes_use_the_largest_exact_unit() {
        assert_eq!(size(16 << 20), "16 MiB");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(1025), "1025 B");
        assert_eq!(size(0), "0 B");
    }

    #[test]
    fn table_renders_as_text_csv_and_markdown() {
        let row = vec!["copy".to_owned(), "1,024".to_owned()];
        let table = Table { heading: vec!["via", "calls"], rows: vec![row], ..Table::default() };
        assert_eq!(table.to_text(), "via   calls\ncopy  1,024\n");
        assert_eq!(table.to_csv(), "via,calls\ncopy,\"1,024\"\n");
        assert_eq!(table.to_markdown(), "| via | calls |\n|---|---|\n| copy | 1,024 |\n");
    }
}
