//! Columns of text, as wide as their contents.

/// Rows under a head; the last column is not padded.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        let mut table = Table { rows: Vec::new() };
        table.row(head);
        table
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows
            .push(cells.iter().map(|cell| (*cell).to_owned()).collect());
    }

    /// Numbers (and what may follow them) are aligned right, text left.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let shapes: Vec<(usize, bool)> = (0..columns)
            .map(|column| {
                let width = self
                    .rows
                    .iter()
                    .map(|row| cell(row, column).chars().count())
                    .max()
                    .unwrap_or(0);
                let mut body = self.rows.iter().skip(1).map(|row| cell(row, column));
                let is_number = |text: String| {
                    text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                };
                (width, self.rows.len() > 1 && column > 0 && body.all(is_number))
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (width, right)) in shapes.iter().enumerate() {
                let cell = cell(row, column);
                line += "  ";
                line += &match right {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_left_and_numbers_right() {
        let mut table = Table::new(&["name", "calls", "why"]);
        table.row(&["a", "5", "x"]);
        table.row(&["long", "1000", ""]);
        assert_eq!(
            table.text(),
            "  name  calls  why\n  a         5  x\n  long   1000\n"
        );
    }
}
