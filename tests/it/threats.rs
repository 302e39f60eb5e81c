//! Every row of the threat model that is refused has a test that carries its number.

use std::{collections::BTreeSet, fs, path::Path};

/// The rows about servers, sign-ins and tokens (URLs, metadata, the callback, token requests), about what processes share
/// and where it is kept, about the two ends of the bridge and what happens between them, and about settings and releases.
const ROWS: std::ops::RangeInclusive<u32> = 1..=149;

/// The rows without a test of their own, and why. A row that has one must not be here.
const UNTESTED: [(u32, &str); 9] = [
    (87, "only Windows is said to lose an entry that several threads use; calls follow each other everywhere"),
    (89, "what macOS asks of a person when a program has changed can only be seen there"),
    (90, "only macOS and Windows copy entries to other machines, and the tests have neither"),
    (98, "there are no crash reports and there is no telemetry"),
    (143, "what a tool says of itself is passed on as it is: that is the first promise"),
    (145, "`cargo deny check` needs the network's list of advisories, and runs in CI"),
    (146, "the list of parts and the provenance are made and attested where releases are"),
    (147, "there are no packages under other names"),
    (149, "finmcp does not update itself"),
];

/// The text of each Rust file in these folders.
fn texts(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The rows that the name of a function says: `t005_t009_what_it_shows` has two.
fn rows(name: &str) -> impl Iterator<Item = u32> {
    let number = |part: &str| part.strip_prefix('t').filter(|digits| digits.len() == 3)?.parse().ok();
    name.split('_').map_while(number)
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
    let text = "#[test]\nfn t001_a() {}\nfn t002_helper() {}\n  #[tokio::test]\n  async fn t003_t004_b() {}\n#[test]\n#[ignore]\nfn t05_c() {}";
    assert_eq!(tests(text).flat_map(rows).collect::<Vec<_>>(), [1, 3, 4]);
}

/// Every row has a test, or a reason why it has none.
#[test]
fn every_row_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        texts(&root.join(folder), &mut found);
    }
    let tested: BTreeSet<u32> = found.iter().flat_map(|text| tests(text)).flat_map(rows).collect();
    let excused: BTreeSet<u32> = UNTESTED.iter().map(|(row, _)| *row).collect();
    let missing: Vec<u32> = ROWS.filter(|row| !tested.contains(row) && !excused.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a test: {missing:?}");
    let needless: Vec<&u32> = excused.intersection(&tested).collect();
    assert!(needless.is_empty(), "rows with a test are excused: {needless:?}");
}
