//! Aligned text tables, for tools' text results and for the demo's report.

use std::fmt;

/// Rows of cells. The columns grow with their content.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Left,
    Right,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// A line under the numbers, above a total.
    Rule,
    Blank,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; drops cells beyond the last column.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(Row::Cells(cells.into_iter().map(Into::into).collect()));
    }

    /// A line under the numbers.
    pub fn rule(&mut self) {
        self.rows.push(Row::Rule);
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.rows.push(Row::Blank);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (index, (column, &width)) in self.columns.iter().zip(&widths).enumerate() {
                if index > 0 {
                    line.push_str("  ");
                }
                let cell = match (row, column) {
                    (Row::Cells(cells), _) => cells.get(index).cloned().unwrap_or_default(),
                    (Row::Rule, Column::Right) => "-".repeat(width),
                    (Row::Rule, Column::Left) | (Row::Blank, _) => String::new(),
                };
                line += &match column {
                    Column::Left => format!("{cell:<width$}"),
                    Column::Right => format!("{cell:>width$}"),
                };
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[Column::Left, Column::Right]);
        table.row(["Café", "9.00"]);
        table.blank();
        table.row(["Hosting fees", "1,234.50"]);
        table.rule();
        table.row(["Total", "1,243.50"]);
        assert_eq!(
            table.to_string(),
            "Café              9.00\n\nHosting fees  1,234.50\n              --------\nTotal         1,243.50\n"
        );
    }
}
