//! `finmcp demo`: the whole journey on stand-ins, with a report that adds up and nothing left behind.

use std::time::Duration;

use serde_json::json;

#[cfg(unix)]
use crate::support::terminal::Terminal;
use crate::support::{PATIENCE, eventually, sandbox::Sandbox, serve::Serve};

/// The amount at the end of the line that begins with `label`, in cents.
fn cents(report: &str, label: &str) -> i64 {
    let line = report.lines().find(|line| line.trim_start().starts_with(label));
    let line = line.unwrap_or_else(|| panic!("no {label:?} in {report}"));
    let amount: String =
        line.split_whitespace().last().unwrap().chars().filter(|digit| !",.".contains(*digit)).collect();
    amount.parse().unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn the_report_adds_up_and_nothing_remains() {
    for _ in 0..2 {
        let mut sandbox = Sandbox::new();
        // Whatever this person has set, the demo keeps to itself.
        sandbox.unset("FINMCP_STORE");
        sandbox.unset("FINMCP_STORE_KEY_FILE");
        let run = sandbox.finmcp(["demo"]).expect_success();
        let report = format!("{}{}", run.stdout, run.stderr);
        let amount = |label| cents(&report, label);
        assert_eq!(amount("Gross profit"), amount("Total revenue") - amount("Total cost of revenue"));
        assert_eq!(amount("Operating income"), amount("Gross profit") - amount("Total operating expenses"));
        assert_eq!(amount("Net income"), amount("Operating income") - amount("Total interest and taxes"));
        assert_ne!(amount("Net income"), 0);
        assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
        assert!(sandbox.temporary_files().is_empty(), "{:?}", sandbox.temporary_files());
    }
}

/// `finmcp serve demo` works as an AI client's entry as it is.
#[test]
fn the_demo_is_a_server_like_any_other() {
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve(["demo"]);
    serve.initialize().result();
    let tools = serve.request("tools/list", json!({})).result();
    assert!(tools["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "profit_and_loss")));
    serve.call("profit_and_loss", json!({"start_date": "2025-01-01", "end_date": "2025-12-31"}));
    serve.close_stdin();
    serve.exit_within(Duration::from_secs(2));
}

/// `finmcp demo --keep` stays up, prints an entry that works, and goes away when told.
#[cfg(unix)]
#[test]
fn a_kept_demo_prints_an_entry_that_works() {
    let sandbox = Sandbox::new();
    let mut demo = sandbox.start(["demo", "--keep"]);
    let mut printed = String::new();
    let entry: serde_json::Value = eventually("the entry", || {
        printed.extend(demo.rest(Duration::from_millis(10)).into_iter().map(|line| line.raw));
        serde_json::from_str(&printed).ok()
    });
    // Where to paste it, and the command that needs no pasting.
    let said = eventually("the hint", || {
        let said = demo.stderr();
        said.contains("`finmcp setup cursor demo`").then_some(said)
    });
    assert!(said.contains("~/.cursor/mcp.json") && said.contains("Edit Config"), "{said}");
    let server = entry["mcpServers"].as_object().and_then(|servers| servers.values().next()).unwrap();
    let mut command = sandbox.command(server["command"].as_str().unwrap());
    command.args(server["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
    for (name, value) in server["env"].as_object().into_iter().flatten() {
        command.env(name, value.as_str().unwrap());
    }
    let mut serve = Serve::start(command, sandbox.transcript());
    serve.initialize().result();
    serve.request("tools/list", json!({})).result();
    drop(serve);
    demo.signal(rustix::process::Signal::INT);
    demo.exit_within(PATIENCE);
    eventually("its folder to go", || sandbox.temporary_files().is_empty().then_some(()));
}

/// Neither a person nor the AI model can take the demo for the real vendor.
#[test]
fn demo_profiles_cannot_be_mistaken_for_the_vendor() {
    for (environment, profile) in
        [("asset", "demo"), ("asset-sandbox", "demo-asset-sandbox"), ("masset", "demo-masset")]
    {
        let sandbox = Sandbox::new();
        let log = sandbox.watched().join("audit.jsonl");
        let mut serve = sandbox.serve(["demo", "--env", environment, "--label", "--audit-log", log.to_str().unwrap()]);
        let description = serve.initialize().result();
        let instructions = description["instructions"].as_str().unwrap();
        let expected = format!("environment \"demo\" (finmcp profile \"{profile}\")");
        assert!(instructions.contains("(demo)") && instructions.contains(&expected), "{instructions}");
        let tools = serve.request("tools/list", json!({})).result();
        serve.call(tools["tools"][0]["name"].as_str().unwrap(), json!({}));
        let line: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
        assert_eq!((&line["profile"], &line["environment"]), (&json!(profile), &json!("demo")));
    }
}

/// Every tool of the demo works; no message sends a person to sign in at the real vendor.
#[test]
fn every_tool_of_the_demo_works() {
    for environment in ["asset", "asset-sandbox", "tesorio", "masset"] {
        let sandbox = Sandbox::new();
        let mut serve = sandbox.serve(["demo", "--env", environment]);
        serve.initialize().result();
        let tools = serve.request("tools/list", json!({})).result();
        for tool in tools["tools"].as_array().unwrap() {
            let answer = serve.call(tool["name"].as_str().unwrap(), json!({}));
            assert!(!answer.raw.contains("scope") && !answer.raw.contains("finmcp login"), "{}", answer.raw);
        }
    }
}

/// The demo leads on to commands that work.
#[test]
fn demo_output_names_the_next_commands() {
    let mut sandbox = Sandbox::new();
    sandbox.unset("FINMCP_STORE");
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    let run = sandbox.finmcp(["demo"]).expect_success();
    assert!(
        run.stderr.contains("`finmcp setup cursor demo`") && run.stderr.contains("`finmcp login`"),
        "{}",
        run.stderr
    );
    sandbox.finmcp(["setup", "cursor", "demo"]).expect_success();
    let written = std::fs::read_to_string(sandbox.home().join(".cursor/mcp.json")).unwrap();
    assert!(written.contains("\"demo\""), "{written}");
}

/// `finmcp serve` in a terminal says what it waits for, and how an AI client gets it.
#[cfg(unix)]
#[test]
fn c5_serve_in_a_terminal_says_what_it_waits_for() {
    let (sandbox, terminal) = (Sandbox::new(), Terminal::of_size(80, 24));
    terminal.enter("\u{4}");
    let (code, shown) = terminal.run(&sandbox, &["serve", "demo"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Waiting for MCP messages") && shown.contains("`finmcp setup`"), "{shown}");
}
