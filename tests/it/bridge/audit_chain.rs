//! The chain of the audit log, and `finmcp audit verify`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::{Value, json};

use super::audit::{bridge, lines, log_in, outcomes, pairs};
use crate::support::{
    eventually,
    sandbox::{Run, Sandbox},
    vendor::{Effect, Era, On, Script, Vendor},
};

fn verify(sandbox: &Sandbox, files: &[&Path], flags: &[&str]) -> Run {
    let files = files.iter().map(|file| file.to_str().unwrap());
    sandbox.finmcp(["audit", "verify"].into_iter().chain(files).chain(flags.iter().copied()).collect::<Vec<_>>())
}

/// A log with this many calls of one process, which has ended.
fn log_of(calls: usize, flags: &[&str]) -> (Sandbox, Vendor, PathBuf) {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    add_calls(&sandbox, &vendor, calls, flags);
    (sandbox, vendor, log)
}

fn add_calls(sandbox: &Sandbox, vendor: &Vendor, calls: usize, flags: &[&str]) {
    let mut serve = bridge(sandbox, vendor, flags);
    serve.greet(Era::Legacy).result();
    for number in 0..calls {
        serve.call("echo", json!({"message": number.to_string()})).result();
    }
}

/// A change of the lines of a log.
type Tamper = fn(&mut Vec<String>);

/// Changes the lines of a log.
fn tamper(log: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(log, lines.join("\n") + "\n").unwrap();
}

/// Without the last line that finmcp noted, as on another machine.
fn forget_state(log: &Path) {
    fs::remove_dir_all(log.with_file_name("audit.jsonl.state")).unwrap();
}

/// t150: eight processes on one file, with calls at the same time: one chain, and no line is lost.
#[test]
fn t150_eight_processes_write_one_chain() {
    const CALLS: usize = 40;
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| add_calls(&sandbox, &vendor, CALLS, &["--audit-seal"]));
        }
    });
    assert_eq!(lines(&log).len(), 8 * CALLS);
    assert!(outcomes(&log).iter().all(|(_, outcome)| outcome == "ok"));
    let numbers: Vec<u64> = lines(&log).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..8 * CALLS as u64).collect::<Vec<_>>());
    let run = verify(&sandbox, &[&log], &["--json", "--sealed"]).expect_success();
    let verdict: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&verdict["intact"], &verdict["lines"]), (&json!(true), &json!(8 * CALLS)));
    assert_eq!((&verdict["sealed"], &verdict["end_checked"]), (&json!("yes"), &json!(true)));
    // Nothing is left of the processes but the last line.
    let beside = fs::read_dir(log.with_file_name("audit.jsonl.state")).unwrap();
    let names: Vec<_> = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.contains(&"chain".to_owned()), "{names:?}");
    assert!(names.iter().all(|name| name == "chain" || name.starts_with("calls-")), "{names:?}");
}

/// t150: the line at fault is named, with the reason.
#[test]
fn t150_verify_names_the_first_faulty_line() {
    let faults: [(&str, Tamper, &str); 15] = [
        ("a value", |lines| lines[3] = lines[3].replace("\"ok\"", "\"no\""), "line 4 was changed"),
        ("a number", |lines| lines[3] = lines[3].replace("\"seq\":3", "\"seq\":7"), "line 4 was changed"),
        ("a digest", |lines| lines[3] = lines[3].replace("\"prev\":\"", "\"prev\":\"0"), "line 4 was changed"),
        ("a digest of that form", |lines| lines[3] = with_another_digest(&lines[3]), "line 4 was changed"),
        ("the first link", |lines| lines[0] = lines[0].replace("seq", "Seq"), "line 1 was changed"),
        ("text", |lines| lines.insert(4, "text".to_owned()), "line 5 was inserted"),
        ("text at the end", |lines| lines.push("{}".to_owned()), "line 8 was inserted"),
        (
            "the name of the chain",
            |lines| lines[0] = lines[0].replace("\"chain\":\"", "\"chain\":\"0"),
            "line 1 was changed",
        ),
        ("the version", |lines| lines[0] = lines[0].replace("audit_log\":1", "audit_log\":5"), "line 1 was changed"),
        ("the last line", |lines| lines[6] = lines[6].replace("\"ok\"", "\"no\""), "line 7 was changed"),
        ("removed", |lines| drop(lines.remove(3)), "lines were removed before line 4"),
        ("the first removed", |lines| drop(lines.remove(0)), "lines were removed before line 1"),
        ("removed end", |lines| lines.truncate(5), "lines were removed before line 6"),
        ("swapped", |lines| lines.swap(3, 4), "line 4 is out of place"),
        ("copied", |lines| lines.insert(4, lines[3].clone()), "line 5 was inserted"),
    ];
    let (sandbox, _vendor, log) = log_of(7, &[]);
    let intact = fs::read(&log).unwrap();
    let run = verify(&sandbox, &[&log], &[]).expect_success();
    assert!(run.stdout.starts_with("intact: 7 lines from 2") && run.stdout.ends_with("; not sealed\n"), "{run:?}");
    for (what, fault, said) in faults {
        tamper(&log, fault);
        let run = verify(&sandbox, &[&log], &[]).expect_code(1);
        assert!(run.stderr.contains(said) && run.stderr.contains("audit.jsonl"), "{what}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{what}");
        let run = verify(&sandbox, &[&log], &["--json"]).expect_code(1);
        let verdict: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(verdict["intact"], false, "{what}");
        assert!(verdict["line"].is_u64() && verdict["reason"].is_string() && verdict["fault"].is_string(), "{what}");
        fs::write(&log, &intact).unwrap();
    }
}

#[test]
fn verify_refuses_a_file_that_is_not_a_log() {
    let (sandbox, _vendor, log) = log_of(1, &[]);
    let other = sandbox.watched().join("other");
    fs::write(&other, "{\"time\":\"2026\",\"tool\":\"echo\",\"outcome\":\"ok\"}\n").unwrap();
    verify(&sandbox, &[&other], &[]).expect_code(2).expect_stderr(&["other has no chain", "hint:"]);
    verify(&sandbox, &[&log, &other], &[]).expect_code(2).expect_stderr(&["other has no chain"]);
    fs::write(&other, [0xff, 0, 0xfe, b'\n']).unwrap();
    verify(&sandbox, &[&other], &[]).expect_code(2).expect_stderr(&["other has no chain"]);
    let missing = sandbox.watched().join("missing");
    verify(&sandbox, &[&missing], &[]).expect_code(2).expect_stderr(&["could not read", "missing", "No such file"]);
    verify(&sandbox, &[], &[]).expect_code(2).expect_stderr(&["<FILE>"]);
    verify(&sandbox, &[&log], &["--sealed"]).expect_code(1).expect_stderr(&["--audit-seal"]);
}

/// t150: the chain goes on in a new file, and shows what was removed between the files.
#[test]
fn t150_a_chain_continues_after_a_rotation() {
    let (sandbox, vendor, log) = log_of(2, &[]);
    let [oldest, older] = ["1", "2"].map(|name| log.with_extension(name));
    fs::rename(&log, &oldest).unwrap();
    add_calls(&sandbox, &vendor, 2, &[]);
    fs::rename(&log, &older).unwrap();
    verify(&sandbox, &[&oldest, &older], &[]).expect_success();
    fs::write(&log, "").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    verify(&sandbox, &[&oldest, &older, &log], &[]).expect_success();
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["pass the older files first"]);
    add_calls(&sandbox, &vendor, 2, &[]);
    let run = verify(&sandbox, &[&oldest, &older, &log], &[]).expect_success();
    assert!(run.stdout.contains("intact: 6 lines"), "{}", run.stdout);
    let run = verify(&sandbox, &[&log], &[]).expect_success();
    assert!(run.stdout.contains("continues an older file (starts at seq 4)"), "{}", run.stdout);
    verify(&sandbox, &[&older, &oldest, &log], &[]).expect_code(1);
    let run = verify(&sandbox, &[&oldest, &log], &[]).expect_code(1);
    run.expect_stderr(&["audit.jsonl: lines were removed before line 1", "2 lines"]);
    tamper(&older, |lines| drop(lines.pop()));
    let run = verify(&sandbox, &[&oldest, &older, &log], &[]).expect_code(1);
    run.expect_stderr(&["audit.jsonl: lines were removed before line 1", "1 line is"]);
}

/// t150: what was cut off at the end stays missing after finmcp has written more.
#[test]
fn t150_a_cut_end_stays_visible() {
    let (sandbox, vendor, log) = log_of(5, &[]);
    tamper(&log, |lines| lines.truncate(3));
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["the last 2 lines are missing"]);
    add_calls(&sandbox, &vendor, 2, &[]);
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["lines were removed before line 4"]);
}

/// A log that an older finmcp wrote without a chain: its lines stay, and the chain starts after them, with their digest.
#[test]
fn t150_an_older_log_gets_a_chain() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    let old = "{\"time\":\"2026-01-01T00:00:00.000Z\",\"tool\":\"a\",\"outcome\":\"ok\"}\n".repeat(3);
    fs::write(&log, old.trim_end()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    add_calls(&sandbox, &vendor, 2, &[]);
    assert!(fs::read_to_string(&log).unwrap().starts_with(&old));
    let run = verify(&sandbox, &[&log], &[]).expect_success();
    assert!(
        run.stdout.contains("intact: 2 lines") && run.stdout.contains("3 earlier lines are not part of the chain"),
        "{}",
        run.stdout
    );
    tamper(&log, |lines| lines[1] = lines[1].replace("\"a\"", "\"b\""));
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["line 4 was changed", "3 lines above"]);
}

/// t151: the next process records the calls of one that was killed, once each, and none that has its line.
#[test]
fn t151_the_calls_of_a_killed_process_are_recorded_as_unknown() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    let mut other = bridge(&sandbox, &vendor, &["--audit-seal"]);
    other.greet(Era::Legacy).result();
    other.call("echo", json!({"message": "before"})).result();
    let mut killed = bridge(&sandbox, &vendor, &["--audit-seal"]);
    killed.greet(Era::Legacy).result();
    killed.call("echo", json!({"message": "done"})).result();
    for _ in 0..2 {
        killed.post("tools/call", json!({"name": "hang", "arguments": {"secret": "CANARY-0123456789"}}));
    }
    eventually("the calls", || (vendor.executed().iter().filter(|tool| *tool == "hang").count() == 2).then_some(()));
    other.call("echo", json!({"message": "while it lives"})).result();
    assert_eq!(lines(&log).len(), 3);
    killed.signal(rustix::process::Signal::KILL);
    killed.exit_within(crate::support::PATIENCE);
    // A running process and a new one.
    other.call("echo", json!({"message": "after"})).result();
    add_calls(&sandbox, &vendor, 1, &["--audit-seal"]);
    let (ok, unknown) = (("echo", "ok"), ("hang", "unknown"));
    assert_eq!(outcomes(&log), pairs(&[ok, ok, ok, unknown, unknown, ok, ok]));
    let lines = lines(&log);
    let calls: std::collections::BTreeSet<_> = lines.iter().map(|line| line["call"].as_str().unwrap()).collect();
    assert_eq!(calls.len(), lines.len());
    assert_eq!(lines[3]["duration_ms"], Value::Null);
    assert!(lines[3]["time"].as_str() < lines[5]["time"].as_str());
    verify(&sandbox, &[&log], &["--sealed"]).expect_success();
    sandbox.assert_no_secret(&["CANARY-0123456789".to_owned()]);
}

/// t151: a burst is cut by a kill: each call that the server got has exactly one line.
#[test]
fn t151_a_kill_in_a_burst_loses_and_doubles_no_call() {
    const CALLS: usize = 200;
    for executed in [1, 40, 120] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let log = log_in(&sandbox);
        let mut killed = bridge(&sandbox, &vendor, &[]);
        killed.greet(Era::Legacy).result();
        for _ in 0..CALLS {
            killed.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
        }
        eventually("some calls", || (vendor.executed().len() >= executed).then_some(()));
        killed.signal(rustix::process::Signal::KILL);
        killed.exit_within(crate::support::PATIENCE);
        add_calls(&sandbox, &vendor, 1, &[]);
        let lines = lines(&log);
        let calls: std::collections::BTreeSet<_> = lines.iter().map(|line| line["call"].as_str().unwrap()).collect();
        assert_eq!(calls.len(), lines.len(), "no call has two lines");
        assert!(lines.len() >= vendor.executed().len(), "{} of {}", lines.len(), vendor.executed().len());
        verify(&sandbox, &[&log], &[]).expect_success();
    }
}

/// t152: with a seal, what was computed again is found, too; and no one writes to a sealed log without the key.
#[test]
fn t152_a_seal_shows_lines_that_were_forged() {
    let (sandbox, vendor, log) = log_of(5, &["--audit-seal"]);
    let run = verify(&sandbox, &[&log], &["--sealed"]).expect_success();
    assert!(run.stdout.ends_with("; sealed\n"), "{}", run.stdout);
    let run = sandbox.finmcp(["serve", &vendor.url(), "--audit-log", log.to_str().unwrap()]).expect_code(1);
    run.expect_stderr(&["is sealed", "--audit-seal"]);
    let intact = fs::read(&log).unwrap();
    let state = log.with_file_name("audit.jsonl.state/chain");
    let noted = fs::read_to_string(&state).unwrap();
    for from in [1, 3] {
        // All digests from there on are right, and the seals are the old ones.
        tamper(&log, |lines| {
            lines[from] = lines[from].replace("\"ok\"", "\"no\"");
            relink(lines);
        });
        forget_state(&log);
        let said = format!("line {} was changed", from + 1);
        verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&[&said, "its seal"]);
        fs::write(&log, &intact).unwrap();
        fs::create_dir(state.parent().unwrap()).unwrap();
        fs::write(&state, &noted).unwrap();
    }
    // A line without a seal, linked to the last one.
    tamper(&log, |lines| {
        lines.push(without_seal(&lines[4]).replace("\"seq\":4", "\"seq\":5"));
        relink(lines);
    });
    forget_state(&log);
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["line 6 was changed", "it has no seal"]);
    fs::write(&log, &intact).unwrap();
    fs::create_dir(state.parent().unwrap()).unwrap();
    fs::write(&state, &noted).unwrap();
    // Without any seal, the state tells; without that, only --sealed does.
    tamper(&log, |lines| {
        lines.iter_mut().for_each(|line| *line = without_seal(line));
        relink(lines);
    });
    verify(&sandbox, &[&log], &[]).expect_code(1).expect_stderr(&["has no seal"]);
    forget_state(&log);
    verify(&sandbox, &[&log], &[]).expect_success();
    verify(&sandbox, &[&log], &["--sealed"]).expect_code(1);
    // On another machine the chain can be checked, and the seal cannot.
    fs::write(&log, &intact).unwrap();
    let elsewhere = Sandbox::new();
    let run = verify(&elsewhere, &[&log], &[]).expect_success();
    assert!(run.stdout.contains("not checked: the key is not on this machine"), "{}", run.stdout);
    verify(&elsewhere, &[&log], &["--sealed"]).expect_code(1);
    add_calls(&elsewhere, &vendor, 1, &["--audit-seal"]);
    let run = verify(&elsewhere, &[&log], &[]).expect_code(1);
    run.expect_stderr(&["the seal of line 1 cannot be checked", "but this machine has key"]);
}

/// t152: the key is in the store alone.
#[test]
fn t152_the_key_is_in_the_store_only() {
    let (mut sandbox, vendor, log) = log_of(1, &["--audit-seal"]);
    let kept: Vec<_> =
        sandbox.files().into_iter().filter(|file| file.to_str().unwrap().contains("audit-seal")).collect();
    assert!(!kept.is_empty());
    let text = fs::read_to_string(&log).unwrap();
    let seal: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(seal["seal"].as_str().unwrap().len(), 16 + 1 + 64);
    sandbox.set("FINMCP_STORE", "memory");
    let run = sandbox.finmcp(["serve", &vendor.url(), "--audit-log", log.to_str().unwrap(), "--audit-seal"]);
    run.expect_code(2).expect_stderr(&["--audit-seal needs a credential store", "FINMCP_STORE"]);
    sandbox.finmcp(["serve", &vendor.url(), "--audit-seal"]).expect_code(2).expect_stderr(&["--audit-log"]);
}

/// Changes the lines of a log at an index.
type Tampering = fn(&mut Vec<String>, usize);

/// The Python of docs/audit-log.md accepts what is intact, and nothing else.
#[test]
fn t150_the_documented_python_verifies_a_log() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit-log.md")).unwrap();
    let program = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let python = |files: &[&Path]| {
        let run = Command::new("python3").arg("-c").arg(&program).args(files).output().unwrap();
        assert!(run.status.code().is_some_and(|code| code < 2), "{run:?}");
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(!said.contains("Traceback"), "{said}");
        run.status.success()
    };
    for flags in [&[][..], &["--audit-seal", "--audit-arguments"]] {
        let (sandbox, vendor, log) = log_of(4, flags);
        let moved = log.with_extension("1");
        fs::rename(&log, &moved).unwrap();
        add_calls(&sandbox, &vendor, 4, flags);
        assert!(python(&[&moved, &log]) && python(&[&log]) && !python(&[&log, &moved]));
        let intact = fs::read(&log).unwrap();
        let faults: [(&str, Tampering); 5] = [
            ("changed", |lines, line| lines[line] = lines[line].replacen("\"time\":\"2", "\"time\":\"3", 1)),
            ("removed", |lines, line| drop(lines.remove(line))),
            ("copied", |lines, line| lines.insert(line, lines[line].clone())),
            ("swapped", |lines, line| lines.swap(line, line + 1)),
            ("inserted", |lines, line| lines.insert(line + 1, "{}".to_owned())),
        ];
        for (what, fault) in faults {
            // The digest of the last line is in no line; the page says how that one is checked.
            for line in 0..3 {
                tamper(&log, |lines| fault(lines, line));
                assert!(!python(&[&moved, &log]), "{what} {line}");
                fs::write(&log, &intact).unwrap();
            }
        }
        let other = sandbox.watched().join("other");
        fs::write(&other, "{}\n").unwrap();
        assert!(!python(&[&other]));
    }
}

/// A response that is delayed keeps its place: the chain is in the order of the lines, not of the calls.
#[test]
fn lines_are_linked_in_the_order_of_the_outcomes() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    let mut serve = bridge(&sandbox, &vendor, &[]);
    serve.greet(Era::Legacy).result();
    vendor.fault(On::Rpc("tools/call"), Effect::Delay(std::time::Duration::from_millis(200)));
    let slow = serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "slow"}}));
    vendor.wait_for("the call", |record| record.rpc_method().as_deref() == Some("tools/call"));
    serve.call("echo", json!({"message": "fast"})).result();
    serve.answer_to(&slow).result();
    let lines = lines(&log);
    assert_eq!(lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    assert!(lines[0]["call"].as_str() > lines[1]["call"].as_str());
    verify(&sandbox, &[&log], &[]).expect_success();
}

fn with_another_digest(line: &str) -> String {
    let (start, end) = line.split_once("\"prev\":\"").unwrap();
    format!("{start}\"prev\":\"{}{}", "0".repeat(64), &end[64..])
}

fn without_seal(line: &str) -> String {
    line.split_once(",\"seal\":\"").map_or(line.to_owned(), |(body, _)| format!("{body}}}"))
}

/// Computes all digests again, as another program without the key could.
fn relink(lines: &mut [String]) {
    use sha2::{Digest, Sha256};
    for index in 1..lines.len() {
        let digest = Sha256::digest(&lines[index - 1]).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (start, end) = lines[index].split_once(",\"prev\":\"").unwrap();
        lines[index] = format!("{start},\"prev\":\"{digest}{}", &end[64..]);
    }
}
