//! Every row of `docs/threats.md` has a test that carries its id, or a reason why it has none; and every id in the name of
//! a test is a row there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::support::files;

/// The id of a row: `t047`, `a1`.
type Row = String;

/// What `docs/threats.md` says: each row, and the reason why it has no test, where it has none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Document {
    rows: BTreeMap<Row, Option<String>>,
    faults: Vec<String>,
}

impl Document {
    /// Reads the tables whose first column has ids. Every letter counts from 1, without a gap, and in order.
    fn read(text: &str) -> Self {
        let mut document = Self::default();
        let mut last: BTreeMap<char, u32> = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with('|')) {
            let cells = cells(line);
            let Some((letter, number)) = id(&cells[0]) else { continue };
            let row = cells[0].clone();
            let previous = last.insert(letter, number).unwrap_or(0);
            if number != previous + 1 {
                document.faults.push(format!("{row} follows {letter}{previous}"));
            }
            if row != format_id(letter, number) {
                document.faults.push(format!("{row} should be {}", format_id(letter, number)));
            }
            let columns = if letter == 't' { 5 } else { 4 };
            if cells.len() != columns || cells[..columns - 1].iter().any(String::is_empty) {
                document.faults.push(format!("{row} has empty or missing columns"));
                continue;
            }
            let reason = cells[columns - 1].clone();
            document.rows.insert(row, Some(reason).filter(|reason| !reason.is_empty()));
        }
        document
    }

    /// What is wrong between the rows and the tests with these names.
    fn compare<'a>(mut self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut tested = BTreeSet::new();
        for name in names {
            for row in rows(name) {
                if !self.rows.contains_key(&row) {
                    self.faults.push(format!("{name} is named after {row}, which is no row"));
                }
                tested.insert(row);
            }
        }
        for (row, reason) in &self.rows {
            match (tested.contains(row), reason) {
                (false, None) => self.faults.push(format!("{row} has no test and no reason")),
                (true, Some(_)) => self.faults.push(format!("{row} has a test and a reason why it has none")),
                _ => {}
            }
        }
        self.faults
    }
}

/// The cells of a line of a table, where `\|` is text.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').replace("\\|", "\0");
    let line = line.strip_suffix('|').unwrap_or(&line);
    line.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// The letter and the number of a word like an id: a letter, and then digits only.
fn id(word: &str) -> Option<(char, u32)> {
    let letter = word.chars().next().filter(char::is_ascii_lowercase)?;
    let digits = &word[1..];
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?.map(|number| (letter, number))
}

/// Threats have three digits, faults as many as they need.
fn format_id(letter: char, number: u32) -> Row {
    if letter == 't' { format!("t{number:03}") } else { format!("{letter}{number}") }
}

/// The rows that the name of a test begins with: `t005_t009_what_it_shows` has two.
fn rows(name: &str) -> impl Iterator<Item = Row> {
    name.split('_').map_while(|part| id(part).map(|_| part.to_owned()))
}

/// The names of the test functions in `text`: those behind an attribute that makes one.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = name?.split(['(', '<']).next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

#[test]
fn rows_are_read_out_of_names() {
    let text = "#[test]\nfn t001_a() {}\nfn t002_helper() {}\n  #[tokio::test]\n  async fn a3_t004_b_t009() {}\n#[test]\n\
                #[ignore]\nfn t05_c() {}\n#[test]\nfn a_b1_c() {}";
    assert_eq!(tests(text).flat_map(rows).collect::<Vec<_>>(), ["t001", "a3", "t004", "t05"]);
}

#[test]
fn a_page_that_does_not_fit_the_tests_is_refused() {
    let page = |lines: &str| Document::read(&format!("| row | a | b | c | no test |\n|---|---|---|---|---|\n{lines}"));
    let complete = "| t001 | x \\| y | s | m | |\n| t002 | x | s | m | there is nothing to see |\n| a1 | x | m | |\n";
    assert_eq!(page(complete).compare(["t001_x", "t001_a1_y", "z"].into_iter()), [""; 0]);

    for (lines, names, fault) in [
        (complete, vec!["t001_x"], "a1 has no test and no reason"),
        (complete, vec!["t001_x", "a1_x", "t002_x"], "t002 has a test and a reason why it has none"),
        (complete, vec!["t001_x", "a1_x", "a2_x"], "a2_x is named after a2, which is no row"),
        (complete, vec!["t001_x", "a1_x", "b1_x"], "b1_x is named after b1, which is no row"),
        (complete, vec!["t1_x", "t001_x", "a1_x"], "t1_x is named after t1, which is no row"),
        ("| t001 | x | s | m | |\n| t003 | x | s | m | y |\n", vec!["t001_x"], "t003 follows t1"),
        ("| a1 | x | m | |\n| a1 | x | m | |\n", vec!["a1_x"], "a1 follows a1"),
        ("| a1 | x | | |\n", vec![], "a1 has empty or missing columns"),
        ("| t1 | x | s | m | y |\n", vec![], "t1 should be t001"),
    ] {
        assert_eq!(page(lines).compare(names.into_iter()), [fault], "{lines}");
    }
}

/// Every row has a test, or a reason why it has none.
#[test]
fn every_row_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = Document::read(&fs::read_to_string(root.join("docs/threats.md")).unwrap());
    let letters: BTreeSet<char> = document.rows.keys().filter_map(|row| row.chars().next()).collect();
    assert_eq!(letters, BTreeSet::from(['a', 'b', 'c', 'd', 't']), "a table could not be read");
    let sources: Vec<_> = ["src", "tests"].iter().flat_map(|folder| files(&root.join(folder), &["rs"])).collect();
    let faults = document.compare(sources.iter().flat_map(|(_, text)| tests(text)));
    assert!(faults.is_empty(), "docs/threats.md:\n{}", faults.join("\n"));
}
