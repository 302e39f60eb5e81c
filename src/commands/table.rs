//! Rows and columns that fit the terminal.

use crate::paragraph::hanging_indent;

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
    let words = all.iter().flat_map(|row| row[COLUMNS - 1].split(' ')).map(|word| word.chars().count());
    let last = widest(COLUMNS - 1).min(NARROWEST).max(words.max().unwrap_or_default());
    if start + last > width {
        return all.iter().skip(1).map(|row| paragraph(row, width)).collect();
    }
    let line = |row: &[&str; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = format!("{}{}", cells.collect::<String>(), hanging_indent(row[COLUMNS - 1], start, width));
        format!("{}\n", line.trim_end())
    };
    all.iter().map(line).collect()
}

fn paragraph<const COLUMNS: usize>(row: &[&str; COLUMNS], width: usize) -> String {
    let parts: Vec<&str> = row.iter().skip(1).copied().filter(|part| !part.is_empty()).collect();
    format!("{}\n  {}", row[0], hanging_indent(&parts.join("; "), 2, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c7_a_table_fits_every_width() {
        let url = "https://api.sandbox.getasset.com/mcp";
        let rows = [["asset-sandbox", "signed out", url], ["books (default)", "signed in", ""]];
        let rows = rows.map(|row| row.map(str::to_owned));
        for width in [40, 60, 64, 65, 80, 200] {
            let table = table(["PROFILE", "SIGN-IN", "SERVER"], &rows, width);
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
            assert!(table.contains(url) && table.contains("books (default)"), "{table}");
            assert_eq!(table.starts_with("PROFILE          SIGN-IN     SERVER\n"), width >= 65, "{width}:\n{table}");
        }
    }
}
