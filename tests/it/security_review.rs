//! `docs/security-review.md` names tests: each of them exists, and no line is without one.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::files;

/// The names of all test functions.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for (_, text) in ["src", "tests/it"].iter().flat_map(|folder| files(&root.join(folder), &["rs"])) {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" && !line.starts_with("#[tokio::test") {
                continue;
            }
            let function = lines.find(|line| line.starts_with("fn ") || line.starts_with("async fn "));
            let name = function.and_then(|line| line.split_once("fn ")?.1.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}

/// What is wrong with the tables of `text`.
fn faults(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let rows = rows.map(|line| line.trim_matches('|').rsplit_once('|').unwrap_or_default());
    let mut faults = Vec::new();
    for (requirement, named) in rows.filter(|(_, named)| named.trim() != "tests") {
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            faults.push(format!("no test:{requirement}"));
        }
        faults.extend(named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("no such test: {name}")));
    }
    faults
}

#[test]
fn every_requirement_names_tests_that_exist() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security-review.md");
    let text = fs::read_to_string(document).unwrap();
    assert!(text.lines().filter(|line| line.starts_with('|')).count() > 40);
    assert_eq!(faults(&text, &tests()), Vec::<String>::new());
}

#[test]
fn a_wrong_name_and_a_line_without_a_test_are_found() {
    let text = "| requirement | tests |\n|---|---|\n| a | `every_requirement_names_tests_that_exist` |\n| b | |\n| c | `gone` |\n";
    assert_eq!(faults(text, &tests()), ["no test: b ", "no such test: gone"]);
}
