//! Tests of the bench: a small run of everything, and whether it detects damage. They do not check speed.
//!
//! A bench has no test harness, so it lists and runs these tests itself, as `cargo test` and `cargo nextest` expect.

use std::{collections::BTreeSet, panic::catch_unwind, path::PathBuf, process::ExitCode, time::Duration};

use super::{
    check::{Damage, check},
    client::Client as _,
    contestant::{Absent, Contestant},
    load::Piped,
    measure::{Metric, Plan, Results},
    relay::Sabotage,
    report::{self, Circumstances},
    server::{Era, Server},
};

const TESTS: [(&str, fn()); 6] = [
    ("every_contestant_is_measured", every_contestant_is_measured),
    (
        "a_failing_contestant_is_reported_and_the_others_continue",
        a_failing_contestant_is_reported_and_the_others_continue,
    ),
    ("damaged_notifications_are_detected", damaged_notifications_are_detected),
    ("a_missing_response_is_detected", a_missing_response_is_detected),
    ("a_result_with_a_gap_is_detected", a_result_with_a_gap_is_detected),
    ("damage_is_classified", damage_is_classified),
];

/// Lists the tests, or runs those whose names contain one of the words in `arguments`.
pub fn run(arguments: Vec<String>) -> ExitCode {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        for (name, _) in TESTS.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_meant = |name: &str| {
        words.is_empty() || words.iter().any(|word| if has("--exact") { name == *word } else { name.contains(*word) })
    };
    let failed: Vec<_> = TESTS.iter().filter(|(name, test)| is_meant(name) && catch_unwind(test).is_err()).collect();
    for (name, _) in &failed {
        eprintln!("{name} failed");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan() -> Plan {
    Plan {
        rounds: 2,
        starts: 1,
        silence: Duration::from_millis(20),
        idle: Duration::from_millis(50),
        warm_up: 2,
        block: 5,
        blocks: 2,
        in_flight: vec![1, 8],
        saturation: Duration::from_millis(50),
        sizes: vec![1],
        notifications: 1000,
        patience: Duration::from_secs(20),
    }
}

fn contestants() -> Vec<Contestant> {
    let finmcp = PathBuf::from(env!("CARGO_BIN_EXE_finmcp"));
    vec![Contestant::direct(), Contestant::relay(None).unwrap(), Contestant::finmcp(finmcp).unwrap()]
}

fn render(results: &Results) -> String {
    let absent = [Absent { name: "mcp-remote", variable: "FINMCP_BENCH_MCP_REMOTE" }];
    let circumstances = Circumstances::begin("2026-11-20 00:00 UTC".to_owned()).end(Duration::from_secs(1));
    report::render(results, &absent, &circumstances)
}

/// The budget's lines in a report, each with its verdict.
fn verdicts(report: &str) -> Vec<(&str, &str)> {
    let (_, budget) = report.split_once("## finmcp's budget").unwrap();
    let cells = budget.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells.len() == 6 && !cells[1].is_empty()).map(|cells| (cells[1], cells[4])).skip(1).collect()
}

fn every_contestant_is_measured() {
    let mut results = Results::measure(contestants(), plan()).unwrap();
    assert!(results.failures.is_empty(), "{:?}", results.failures);
    assert!(results.damage.len() == 3 && results.damage.values().all(|damage| *damage == Damage::default()));
    let report = render(&results);
    for text in ["| | direct | minimal relay | finmcp |", "| added p50 |", "- Absent: mcp-remote", "2026-11-20"] {
        assert!(report.contains(text), "{text} is not in the report:\n{report}");
    }
    assert!(!report.contains("What failed"), "{report}");
    if cfg!(target_os = "linux") {
        let verdicts = verdicts(&report);
        assert!(verdicts.len() == 21 && verdicts.iter().all(|(_, verdict)| *verdict != "not measured"), "{report}");
    }

    // Values far too high are over the budget, values far below it are not.
    let finmcp = results.index_of("finmcp").unwrap();
    for (times, bound, verdict) in [(10, 1e12, "**over**"), (100, -1e12, "ok")] {
        for metric in [
            Metric::AddedMedian,
            Metric::Added99,
            Metric::LargeTime(1),
            Metric::LargeCopies(1),
            Metric::CallCpu,
            Metric::IdleMemory,
            Metric::LaterMemory,
            Metric::FirstAnswer,
            Metric::FirstForwarded,
            Metric::RequestsBefore,
            Metric::RequestsLegacy,
            Metric::RequestsModern,
            Metric::NewConnections,
            Metric::IdleCpu,
            Metric::ExitEndOfInput,
            Metric::ExitTerminate,
        ] {
            (0..times).for_each(|_| results.note(finmcp, metric, bound));
        }
        for metric in [Metric::Throughput(8), Metric::NotificationRate] {
            (0..times).for_each(|_| results.note(finmcp, metric, -bound));
        }
        let report = render(&results);
        let unjudged = ["notifications lost, reordered or re-labelled", "sessions ended, of one", "program"];
        for (what, judged) in verdicts(&report).into_iter().filter(|(what, _)| !unjudged.contains(what)) {
            assert_eq!(judged, verdict, "{what}:\n{report}");
        }
    }
    results.damage.get_mut(&finmcp).unwrap().lost = 1;
    assert!(render(&results).contains("re-labelled | none | 1 lost | **over** |"));
    results.forget(finmcp, Metric::NewConnections);
    [0.0, 1.0].into_iter().for_each(|connections| results.note(finmcp, Metric::NewConnections, connections));
    assert!(render(&results).contains("| ≤ 0 | 0.5 | **over** |"));
}

fn a_failing_contestant_is_reported_and_the_others_continue() {
    let mut contestants = contestants();
    contestants[1] = Contestant::relay(Some(Sabotage::Swallow)).unwrap();
    let results =
        Results::measure(contestants, Plan { rounds: 1, patience: Duration::from_millis(700), ..plan() }).unwrap();
    let failed: BTreeSet<_> = results.failures.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, BTreeSet::from(["minimal relay"]), "{:?}", results.failures);
    let finmcp = results.index_of("finmcp").unwrap();
    assert!(results.summary(finmcp, Metric::AddedMedian).is_some());
    assert!(results.summary(1, Metric::AddedMedian).is_none());
    let report = render(&results);
    assert!(report.contains("- minimal relay: calls: no answer within 700ms"), "{report}");
}

/// A sabotaged relay, after the first tool result.
fn open(server: &Server, sabotage: Sabotage, patience: Duration) -> (Contestant, Piped) {
    let relay = Contestant::relay(Some(sabotage)).unwrap();
    let mut piped = relay.start(server, Era::Legacy, patience).unwrap();
    piped.greet().unwrap();
    piped.reach_first_result().unwrap();
    (relay, piped)
}

fn damaged_notifications_are_detected() {
    let server = Server::start().unwrap();
    let none = Damage::default();
    for (sabotage, expected) in [
        (Sabotage::Drop, Damage { lost: 1, ..none }),
        (Sabotage::Repeat, Damage { repeated: 1, ..none }),
        (Sabotage::Swap, Damage { reordered: 1, ..none }),
        (Sabotage::Relabel, Damage { relabelled: 1, ..none }),
        (Sabotage::Delay, Damage { late: 1, reordered: 1, ..none }),
    ] {
        let (_relay, mut piped) = open(&server, sabotage, Duration::from_secs(20));
        let (_, damage) = piped.notifications(100).unwrap();
        assert_eq!(damage, expected, "{sabotage:?}");
        // Late notifications do not disturb later calls.
        piped.call().unwrap();
    }
}

fn a_missing_response_is_detected() {
    let server = Server::start().unwrap();
    let patience = Duration::from_millis(500);
    let (_relay, mut piped) = open(&server, Sabotage::Swallow, patience);
    let error = (0..10).find_map(|_| piped.call().err()).unwrap().to_string();
    assert!(error.contains("no answer within"), "{error}");
    let (_relay, mut piped) = open(&server, Sabotage::Swallow, patience);
    let error = piped.saturate(8, Duration::from_millis(100)).unwrap_err().to_string();
    assert!(error.contains("no answer within"), "{error}");
}

fn a_result_with_a_gap_is_detected() {
    let server = Server::start().unwrap();
    let (_relay, mut piped) = open(&server, Sabotage::Shorten, Duration::from_secs(20));
    let error = piped.large(1 << 20).unwrap_err().to_string();
    assert!(error.contains("1048476 of 1048576 bytes"), "{error}");
}

fn damage_is_classified() {
    let line = |number: usize| {
        format!(r#"{{"method":"notifications/progress","params":{{"progress":{number}.0,"progressToken":"a"}}}}"#)
    };
    let judge = |numbers: &[usize], token: &str| {
        let lines: Vec<String> = numbers
            .iter()
            .map(|number| if *number == 0 { r#"{"result":{}}"#.to_owned() } else { line(*number) })
            .collect();
        check(lines.iter().map(String::as_bytes), token, 5)
    };
    let none = Damage::default();
    assert_eq!(judge(&[1, 2, 3, 4, 5, 0], "\"a\""), none);
    assert_eq!(judge(&[0], "\"a\""), Damage { lost: 5, ..none });
    assert_eq!(judge(&[1, 2, 5, 0], "\"a\""), Damage { lost: 2, ..none });
    assert_eq!(judge(&[5, 4, 3, 2, 1, 0], "\"a\""), Damage { reordered: 4, ..none });
    assert_eq!(judge(&[1, 2, 2, 3, 4, 5, 1, 0], "\"a\""), Damage { repeated: 2, ..none });
    assert_eq!(judge(&[1, 2, 3, 0, 4, 5, 9], "\"a\""), Damage { late: 2, ..none });
    assert_eq!(judge(&[1, 2, 3, 4, 5, 0], "\"b\""), Damage { relabelled: 5, ..none });
    assert_eq!(judge(&[2, 1, 3, 5, 0], "1").to_string(), "1 lost, 1 reordered, 4 re-labelled");
}
