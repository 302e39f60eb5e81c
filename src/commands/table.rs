//! Rows and columns that fit the terminal.

use crate::paragraph::hung;

/// The space between two columns.
const GAP: usize = 2;

/// The narrowest last column: fits "production, sandbox".
const NARROWEST: usize = 20;

/// The rows under their head, in lines of `width` characters. Where the columns do not fit, each row is a paragraph: its
/// first cell, then the others.
pub fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]], width: usize) -> String {
    let all: Vec<[&str; COLUMNS]> =
        std::iter::once(head).chain(rows.iter().map(|row| row.each_ref().map(String::as_str))).collect();
    let widest = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS - 1).map(|column| widest(column) + GAP).collect();
    let start: usize = widths.iter().sum();
    let last = widest(COLUMNS - 1).min(NARROWEST);
    if start + last > width {
        return all.iter().skip(1).map(|row| paragraph(row, width)).collect();
    }
    let line = |row: &[&str; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = format!("{}{}", cells.collect::<String>(), hung(row[COLUMNS - 1], start, width));
        format!("{}\n", line.trim_end())
    };
    all.iter().map(line).collect()
}

fn paragraph<const COLUMNS: usize>(row: &[&str; COLUMNS], width: usize) -> String {
    let parts: Vec<&str> = row.iter().skip(1).copied().filter(|part| !part.is_empty()).collect();
    format!("{}\n  {}", row[0], hung(&parts.join("; "), 2, width))
}
