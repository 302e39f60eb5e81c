//! What people type for a server or a client: understood, or explained.

use std::fs;

use serde_json::json;

use crate::{
    commands::{profile::run_as_shown, settings::configure},
    support::{
        PATIENCE, eventually,
        sandbox::{Run, Sandbox, wait},
        terminal::Terminal,
        vendor::{Script, Vendor},
    },
};

/// Runs each command in back quotes in what was said: none may be misunderstood. How many there were.
#[track_caller]
fn try_hints(sandbox: &Sandbox, said: &str) -> usize {
    let hints: Vec<&str> = said.split('`').skip(1).step_by(2).filter(|hint| hint.starts_with("finmcp ")).collect();
    for hint in &hints {
        // A sign-in would call the server: another command shows whether the words select one.
        let command = match hint.strip_prefix("finmcp login ").filter(|words| !words.starts_with('-')) {
            Some(words) => format!("finmcp setup cursor {words} --print"),
            None => (*hint).to_owned(),
        };
        run_as_shown(sandbox, &command).expect_success();
    }
    hints.len()
}

/// A profile of an open server, and its vendor.
fn with_open_profile() -> (Sandbox, Vendor) {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    configure(&sandbox, &format!("[profiles.Ledger]\nurl = \"{}\"\n", vendor.url()));
    (sandbox, vendor)
}

#[test]
fn c8_a_misspelt_name_gets_suggestions() {
    let (sandbox, _vendor) = with_open_profile();
    for (typed, meant) in [
        ("tesoro", "tesorio"),
        ("assett", "asset"),
        ("ledgre", "Ledger"),
        ("stripe.com", "stripe"),
        ("maset", "masset"),
    ] {
        for command in [&["token"][..], &["status"], &["doctor"], &["setup", "cursor"], &["profile", "default"]] {
            let run = sandbox.finmcp([command, &[typed]].concat());
            if command[0] == "doctor" {
                assert!(run.stdout.contains("did you mean ") && run.stdout.contains(meant), "{}", run.stdout);
                continue;
            }
            let run = run.expect_code(2);
            assert!(
                run.stderr.contains("did you mean ") && run.stderr.contains(meant),
                "{command:?} {typed}: {}",
                run.stderr
            );
            assert_eq!(try_hints(&sandbox, &run.stderr), 1);
        }
    }
}

#[test]
fn c8_case_does_not_matter() {
    let (sandbox, _vendor) = with_open_profile();
    sandbox.finmcp(["tools", "ledger"]).expect_success();
    sandbox.finmcp(["tools", "LEDGER"]).expect_success();
    for arguments in [
        &["token", "Tesorio"][..],
        &["token", "ASSET"],
        &["token", "Asset", "--env", "Sandbox"],
        &["token", "--env", "SANDBOX"],
    ] {
        let run = sandbox.finmcp(arguments).expect_code(4);
        assert_eq!(try_hints(&sandbox, &run.stderr), 1);
    }
    let entry = sandbox.finmcp(["setup", "cursor", "TESORIO", "--print"]).expect_success().stdout;
    assert!(entry.contains("[\"serve\", \"tesorio\"]"), "{entry}");
    // Two profiles that differ in case alone are two.
    let second = Vendor::start(Script::default());
    let text = fs::read_to_string(sandbox.home().join("finmcp/config.toml")).unwrap();
    configure(&sandbox, &format!("{text}[profiles.ledger]\nurl = \"{}\"\n", second.url()));
    sandbox.finmcp(["tools", "ledger"]).expect_success();
    assert!(!second.records().is_empty());
    sandbox.finmcp(["tools", "LEDGER"]).expect_code(2).expect_stderr(&["Ledger", "ledger"]);
}

/// An address without a scheme is https, and never http: a token must not cross the network in the clear.
#[test]
fn c8_an_address_needs_no_scheme() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    for (typed, url) in [
        ("mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        ("mcp.example.com", "https://mcp.example.com/"),
        ("mcp.example.com:8443/mcp", "https://mcp.example.com:8443/mcp"),
        ("10.0.0.7/mcp", "https://10.0.0.7/mcp"),
    ] {
        let run = sandbox.finmcp(["token", typed]).expect_code(4);
        run.expect_stderr(&[&format!("`finmcp login {url}`")]);
        let entry = sandbox.finmcp(["setup", "cursor", typed, "--print"]).expect_success().stdout;
        assert!(entry.contains(&format!("[\"serve\", \"{url}\"]")), "{entry}");
        let run = sandbox.finmcp(["token", "masset", "--url", typed]).expect_code(4);
        run.expect_stderr(&[&format!("`finmcp login masset --url {url}`")]);
    }
    let here = vendor.url();
    let here = here.strip_prefix("http://").unwrap();
    sandbox.finmcp(["tools", here]).expect_code(2).expect_stderr(&[&format!("write http://{here}")]);
    sandbox.finmcp(["tools", "masset", "--url", here]).expect_code(2).expect_stderr(&[&format!("http://{here}")]);
    assert!(vendor.records().is_empty());
    sandbox.finmcp(["tools", &format!("http://{here}")]).expect_success();
    // What is no address is an unknown name.
    for typed in ["my.ledger/", "..", "a b.c", "./mcp.example.com"] {
        let run = sandbox.finmcp(["token", typed]);
        assert!(matches!(run.code, Some(2 | 4)), "{run:?}");
        assert!(!run.stderr.contains("http://"), "{}", run.stderr);
    }
}

#[test]
fn c8_setup_takes_the_client_and_the_server_in_either_order() {
    let (sandbox, _vendor) = with_open_profile();
    let arguments = |words: &[&str]| {
        let printed = sandbox.finmcp([&["setup"], words, &["--print"]].concat()).expect_success().stdout;
        let entry: serde_json::Value = serde_json::from_str(&printed).unwrap();
        entry["mcpServers"].as_object().unwrap().values().next().unwrap()["args"].clone()
    };
    for (words, expected) in [
        (&["cursor", "tesorio"][..], json!(["serve", "tesorio"])),
        (&["tesorio", "cursor"], json!(["serve", "tesorio"])),
        (&["ledger", "Cursor"], json!(["serve", "Ledger"])),
        (&["mcp.example.com/mcp", "cursor"], json!(["serve", "https://mcp.example.com/mcp"])),
        (&["asset", "Claude Desktop", "--env", "sandbox"], json!(["serve", "asset", "--env", "sandbox"])),
        (&["claudecode", "tesorio"], json!(["serve", "tesorio"])),
    ] {
        assert_eq!(arguments(words), expected, "{words:?}");
    }
    let run = sandbox.finmcp(["setup", "curser", "tesorio"]).expect_code(2);
    run.expect_stderr(&["did you mean cursor?"]);
    sandbox.finmcp(["setup", "emacs", "tesorio"]).expect_code(2).expect_stderr(&["name one of: claude-desktop"]);
    for words in [&["claude", "asset", "--env", "sandbox"][..], &["asset", "claude"]] {
        let run = sandbox.finmcp([&["setup"], words].concat()).expect_code(2);
        assert!(run.stderr.contains("Claude Desktop or Claude Code"), "{}", run.stderr);
        assert_eq!(try_hints(&sandbox, &run.stderr), 2);
    }
    assert!(sandbox.home().join(".claude.json").exists());
}

/// At a terminal, finmcp asks which Claude is meant.
#[test]
fn c8_setup_asks_which_claude() {
    let sandbox = Sandbox::new();
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(["setup", "claude", "tesorio"]);
    let seats = (terminal.stdio(), terminal.stdio(), terminal.stdio());
    let mut child = command.stdin(seats.0).stdout(seats.1).stderr(seats.2).spawn().unwrap();
    eventually("the question", || terminal.shown().contains("Numbers, for example").then_some(()));
    terminal.enter("2\n");
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
    assert!(terminal.shown().contains("Claude Code") && sandbox.home().join(".claude.json").exists());
}

#[test]
fn c8_status_takes_a_server() {
    let (sandbox, vendor) = with_open_profile();
    configure(
        &sandbox,
        &format!("[profiles.Ledger]\nurl = \"{}\"\n[profiles.other]\nurl = \"https://o.example/\"\n", vendor.url()),
    );
    let run = sandbox.finmcp(["status", "ledger"]).expect_success();
    assert!(run.stdout.contains("Ledger") && !run.stdout.contains("other"), "{}", run.stdout);
    let url = vendor.url();
    assert_eq!(sandbox.finmcp(["status", &url]).expect_success().stdout, run.stdout);
    assert!(sandbox.finmcp(["status"]).expect_success().stdout.contains("other"));
    let run = sandbox.finmcp(["status", "tesorio"]).expect_success();
    assert!(run.stdout.contains("signed out") && run.stdout.contains("finmcp login tesorio"), "{run:?}");
}

#[test]
fn c8_call_takes_the_server_as_a_word() {
    let (sandbox, vendor) = with_open_profile();
    let url = vendor.url();
    let said = |run: Run| run.expect_success().stdout;
    for words in [
        &["echo", "message=hello", "--server", "ledger"][..],
        &["echo", "Ledger", "message=hello"],
        &["echo", "message=hello", "ledger"],
        &["ledger", "echo", "message=hello"],
        &["echo", &url, "message=hello"],
    ] {
        assert_eq!(said(sandbox.finmcp([&["call"], words].concat())), "hello\n", "{words:?}");
    }
    // Another word is still no argument, and a named server counts.
    sandbox.finmcp(["call", "echo", "hello", "ledger"]).expect_code(2).expect_stderr(&["invalid argument \"hello\""]);
    sandbox
        .finmcp(["call", "echo", "asset", "-s", "ledger"])
        .expect_code(2)
        .expect_stderr(&["invalid argument \"asset\""]);
    assert_eq!(vendor.executed().len(), 5);
}
