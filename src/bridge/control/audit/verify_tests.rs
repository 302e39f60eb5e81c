use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;

use super::{
    fault::FaultKind,
    link::{Head, Link, VERSION, digest},
    log::Log,
    order::{Line, Order},
    seal::SealKey,
    state::{self, LockedState, State},
    verify::{Files, Report, VerifyError, verify},
};

const KEY: [u8; 32] = [7; 32];

/// An intact log: the lines of all its files, and where the files begin.
#[derive(Debug, Clone)]
struct Sample {
    lines: Vec<Vec<u8>>,
    starts: BTreeSet<usize>,
    state: State,
}

impl Sample {
    /// A log with these objects, a new file before each of `starts`, and a line that was cut off after each of `torn`.
    fn new(objects: &[String], starts: &BTreeSet<usize>, torn: &BTreeSet<usize>, key: Option<&SealKey>) -> Self {
        let (mut lines, mut at): (Vec<Vec<u8>>, BTreeSet<usize>) = (Vec::new(), BTreeSet::new());
        let (mut number, mut previous, mut last) = (0, digest(b""), digest(b""));
        let mut add = |lines: &mut Vec<Vec<u8>>, object: &str| {
            let line = Link { number, previous, is_sealed: key.is_some() }.complete(object, key).into_bytes();
            number += 1;
            (previous, last) = (digest(&line), digest(&line));
            lines.push(line);
            if torn.contains(&lines.len()) {
                lines.push(b"{\"time\":\"2026-01-0".to_vec());
                previous = digest(&lines[lines.len() - 2..].join(&b'\n'));
            }
        };
        for (index, object) in objects.iter().enumerate() {
            // A line is never cut off at the end of a file: the new file goes on from the last whole one.
            let may_start = lines.last().is_none_or(|line| Link::parse(line).is_some());
            if index == 0 || starts.contains(&index) && may_start {
                at.insert(lines.len());
                add(&mut lines, &Head { audit_log: VERSION, chain: "c".to_owned() }.complete(object));
            } else {
                add(&mut lines, object);
            }
        }
        if lines.last().is_some_and(|line| Link::parse(line).is_none()) {
            lines.pop();
        }
        let number = lines.iter().rev().find_map(|line| Link::parse(line)).unwrap().number;
        Self {
            lines,
            starts: at,
            state: State { chain: "c".to_owned(), number, digest: last, is_sealed: key.is_some() },
        }
    }

    /// Verifies it with other lines.
    fn verify(&self, lines: &[Vec<u8>], key: Option<&SealKey>) -> Result<Report, VerifyError> {
        let mut files: Vec<Vec<u8>> = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            if self.starts.contains(&index) {
                files.push(Vec::new());
            }
            files.last_mut().unwrap().extend_from_slice(&[line, &b"\n"[..]].concat());
        }
        let names: Vec<String> = (0..files.len()).map(|file| file.to_string()).collect();
        verify(&names, files.iter().map(Vec::as_slice).collect(), key, Some(&self.state))
    }

    /// The line at this index, as it is named.
    fn name(&self, index: usize) -> (String, u64) {
        let start = self.starts.range(..=index).next_back().unwrap();
        (self.starts.range(..=index).count().saturating_sub(1).to_string(), (index - start + 1) as u64)
    }
}

fn fault(verified: Result<Report, VerifyError>, what: &str) -> (FaultKind, (String, u64)) {
    match verified {
        Err(VerifyError::Fault(fault)) => (fault.kind, (fault.file, fault.line)),
        Err(VerifyError::NoChain(file)) => (FaultKind::Removed, (file, 0)),
        other => panic!("{what}: {other:?}"),
    }
}

fn object() -> impl Strategy<Value = String> {
    ("[a-z]{1,4}", "[ -~]{0,12}", 0..9u8).prop_map(|(name, text, number)| {
        let text = serde_json::to_string(&text).unwrap();
        format!(r#"{{"time":"2026-01-02T00:00:0{number}.000Z","{name}":{text}}}"#)
    })
}

fn sample() -> impl Strategy<Value = (Sample, bool)> {
    let places = || proptest::collection::btree_set(1..12usize, 0..3);
    (proptest::collection::vec(object(), 1..8), places(), places(), any::<bool>()).prop_map(
        |(objects, starts, torn, is_sealed)| {
            let key = is_sealed.then(|| SealKey::new(&KEY));
            (Sample::new(&objects, &starts, &torn, key.as_ref()), is_sealed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// t150: any one change, swap, removal, copy or insertion of a line is found.
    #[test]
    fn t150_every_fault_of_one_line_is_found((sample, is_sealed) in sample(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let key = is_sealed.then(|| SealKey::new(&KEY));
        let verify = |lines: &[Vec<u8>]| sample.verify(lines, key.as_ref());
        let report = verify(&sample.lines).unwrap();
        prop_assert_eq!(report.numbers, Some((0, sample.state.number)));
        for index in 0..sample.lines.len() {
            let line = &sample.lines[index];
            let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
                let mut lines = sample.lines.clone();
                change(&mut lines);
                lines
            };
            let byte = at.index(line.len());
            fault(verify(&with(&|lines| lines[index][byte] ^= 1 << bit)), "changed");
            // A log may begin with a later file: the oldest ones are removed in time.
            if index > 0 || !sample.starts.contains(&1) {
                fault(verify(&with(&|lines| drop(lines.remove(index)))), "removed");
            }
            fault(verify(&with(&|lines| lines.truncate(index))), "cut off");
            fault(verify(&with(&|lines| lines.insert(index, b"{}".to_vec()))), "inserted");
            for other in 0..sample.lines.len() {
                fault(verify(&with(&|lines| lines.insert(other, line.clone()))), "copied");
                if sample.lines[other] != *line {
                    fault(verify(&with(&|lines| lines.swap(index, other))), "swapped");
                }
            }
            // A line that has the right number and digest, and one of the same place that takes another's.
            if let Some(link) = Link::parse(line) {
                let forged = link.complete(r#"{"forged":1}"#, None).into_bytes();
                fault(verify(&with(&|lines| lines.insert(index, forged.clone()))), "forged");
                fault(verify(&with(&|lines| lines[index].clone_from(&forged))), "replaced");
            }
        }
    }

    /// t150: a value that was changed, and a line that was removed, are named exactly.
    #[test]
    fn t150_the_line_is_named((sample, is_sealed) in sample()) {
        let key = is_sealed.then(|| SealKey::new(&KEY));
        for (index, line) in sample.lines.iter().enumerate().filter(|(_, line)| Link::parse(line).is_some()) {
            let mut lines = sample.lines.clone();
            lines[index][12] ^= 1;
            let expected = (FaultKind::Changed, sample.name(index));
            prop_assert_eq!(fault(sample.verify(&lines, key.as_ref()), "changed"), expected);
            let is_whole = |line: Option<&Vec<u8>>| line.is_some_and(|line| Link::parse(line).is_some());
            // A line that was cut off, directly above, could as well be one that lost its link.
            let follows_whole = index > 0 && is_whole(sample.lines.get(index - 1));
            let precedes_whole = is_whole(sample.lines.get(index + 1)) && !sample.starts.contains(&(index + 1));
            if Head::parse(line).is_none() && follows_whole && precedes_whole {
                let mut lines = sample.lines.clone();
                lines.remove(index);
                let mut sample = sample.clone();
                sample.starts = sample.starts.iter().map(|start| start - usize::from(*start > index)).collect();
                let expected = (FaultKind::Removed, sample.name(index));
                prop_assert_eq!(fault(sample.verify(&lines, key.as_ref()), "removed"), expected);
            }
        }
    }

    /// What is written is read, and no line is taken for one with a link that has another form.
    #[test]
    fn a_link_is_read_as_it_was_written(number in any::<u64>(), previous in any::<[u8; 32]>(), is_sealed: bool, object in object()) {
        let key = is_sealed.then(|| SealKey::new(&KEY));
        let link = Link { number, previous, is_sealed };
        let line = link.complete(&object, key.as_ref());
        prop_assert_eq!(Link::parse(line.as_bytes()), Some(link));
        for other in [line.replace("seq\":", "seq\":0"), line.replace("\"prev\"", "\"Prev\""), format!("{line} "), object] {
            prop_assert_eq!(Link::parse(other.as_bytes()), None);
        }
    }
}

fn log(path: &Path) -> Log {
    Log::open(path.to_owned(), None).unwrap()
}

fn write(log: &mut Log, tool: &str, call: Option<u64>) {
    let object = format!(r#"{{"time":"2026-01-01T00:00:00.000Z","tool":"{tool}"}}"#);
    log.carry_out(&Order::Write(Line { object, call })).unwrap();
}

fn intact(path: &Path) -> bool {
    Files(&[path.to_owned()]).verify(None).is_ok()
}

/// t150: a line that was cut off is covered by the digest of the next one.
#[test]
fn t150_a_line_that_was_cut_off_is_covered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = log(&path);
    write(&mut log, "a", None);
    for rest in ["{\"time\"", "{\"time\":\"x\"}\nmore\n"] {
        fs::write(&path, fs::read_to_string(&path).unwrap() + rest).unwrap();
        assert!(!intact(&path), "it may be another program's");
        write(&mut log, "b", None);
        assert!(intact(&path));
    }
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("more", "less")).unwrap();
    assert!(!intact(&path));
}

/// t150: a kill between a line and the note of it, and a note that is lost, do no harm to the chain.
#[test]
fn t150_the_chain_continues_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = log(&path);
    write(&mut log, "a", None);
    let chain = state::folder(&path).join("chain");
    let noted = fs::read(&chain).unwrap();
    for damage in [noted, Vec::new(), b"{".to_vec()] {
        write(&mut log, "b", None);
        write(&mut log, "c", None);
        fs::write(&chain, damage).unwrap();
        assert!(intact(&path));
        write(&mut log, "d", None);
        assert!(intact(&path));
    }
    let state = LockedState::shared(&state::folder(&path)).unwrap().unwrap().read(None).unwrap();
    let head = fs::read_to_string(&path).unwrap().lines().find_map(|line| Head::parse(line.as_bytes())).unwrap();
    assert_eq!((state.chain, state.number), (head.chain, 9));
}

/// t151: a process is killed after a line and before the note that its call has one: the call gets no second line.
#[test]
fn t151_a_call_that_has_its_line_is_not_recorded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut killed = log(&path);
    for number in [1, 2] {
        let begun = format!(r#"{{"time":"2026-01-01T00:00:00.000Z","tool":"{number}"}}"#);
        killed.carry_out(&Order::Begin(number, begun)).unwrap();
    }
    let notes = fs::read_dir(state::folder(&path)).unwrap().map(|entry| entry.unwrap().path());
    let notes =
        notes.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("calls-")).unwrap();
    let before = fs::read(&notes).unwrap();
    write(&mut killed, "1", Some(1));
    fs::write(&notes, before).unwrap();
    let mut other = log(&path);
    write(&mut other, "while it lives", None);
    let text = || fs::read_to_string(&path).unwrap();
    assert!(!text().contains("unknown"));
    // The last line is the killed process's again.
    fs::write(&path, text().lines().take(1).map(|line| line.to_owned() + "\n").collect::<String>()).unwrap();
    fs::remove_file(state::folder(&path).join("chain")).unwrap();
    drop(killed);
    write(&mut other, "after", None);
    write(&mut other, "later", None);
    let tools: Vec<String> = text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| format!("{} {}", line["tool"].as_str().unwrap(), line["outcome"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(tools, ["1 -", "2 unknown", "after -", "later -"]);
    assert!(intact(&path) && !notes.exists());
}
