//! Columns that line up.

use std::io::{self, Write};

/// Rows of cells below a heading; each column as wide as its widest cell. Numbers stand on the
/// right.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.heading.len());
        self.rows.push(cells);
    }

    /// Writes it after an empty line; nothing at all if there are no rows.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let columns = self.heading.len();
        let is_number: Vec<bool> = (0..columns).map(|column| self.is_number(column)).collect();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.chain([self.heading[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|&name| name.to_owned()).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if is_number[column] {
                    line.push_str(&format!("{cell:>width$}{GAP}"));
                } else {
                    line.push_str(&format!("{cell:<width$}{GAP}"));
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn is_number(&self, column: usize) -> bool {
        let starts_with_digit = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
        let cells = || self.rows.iter().map(|row| row[column].as_str());
        cells().all(|cell| cell == "-" || starts_with_digit(cell) && !cell.contains(':'))
            && cells().any(starts_with_digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table::new(&["NAME", "N", "ADDRESS"]);
        table.row(["a".to_owned(), "1,000".to_owned(), "1.2.3.4:5".to_owned()]);
        table.row(["longer".to_owned(), "-".to_owned(), "-".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "\nNAME        N  ADDRESS\na       1,000  1.2.3.4:5\nlonger      -  -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_empty_table_is_nothing() {
        let mut out = Vec::new();
        Table::new(&["NAME"]).write(&mut out).unwrap();
        assert!(out.is_empty());
    }
}
