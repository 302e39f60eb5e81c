//! `finmcp setup --list`: which clients start finmcp with which server, in every place that a client reads.

use serde_json::{Value, json};

use crate::{
    commands::setup::write,
    support::sandbox::{Run, Sandbox},
};

const FINMCP: &str = env!("CARGO_BIN_EXE_finmcp");
const SECRET: &str = "CANARY-q8Zk2Lw0Yt5R";

fn list(sandbox: &Sandbox, more: &[&str]) -> Run {
    sandbox.finmcp([&["setup", "--list"], more].concat()).expect_success()
}

fn json_list(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&list(sandbox, &["--json"]).stdout).unwrap()
}

fn entry(command: &str, server: &str) -> Value {
    json!({"command": command, "args": ["serve", server]})
}

/// A home with entries in every kind of place.
fn full() -> Sandbox {
    let mut sandbox = Sandbox::new();
    if cfg!(unix) {
        sandbox.set("PATH", "/usr/bin:/bin");
    }
    let (home, work) = (sandbox.home(), sandbox.home().parent().unwrap().join("work"));
    let text = |value: Value| value.to_string();
    write(
        &home.join(".cursor/mcp.json"),
        &text(json!({"mcpServers": {
            "tesorio": entry(FINMCP, "tesorio"),
            "moved": entry("/old/place/finmcp", "asset"),
            "other": {"command": "npx", "args": ["some-server"]},
            "books": {"url": "https://books.example/mcp", "headers": {"Authorization": format!("Bearer {SECRET}")}},
            "receivables": {"command": "npx", "args": ["mcp-remote", "https://mcp.tesorio.com/v1/mcp"]},
        }})),
    );
    write(&work.join(".cursor/mcp.json"), &text(json!({"mcpServers": {"demo": entry(FINMCP, "demo")}})));
    write(
        &home.join(".claude.json"),
        &text(json!({
            "mcpServers": {"asset": {"type": "http", "url": "https://api.getasset.com/mcp", "headersHelper": format!("{FINMCP} token --headers asset")}},
            "projects": {"/books": {"mcpServers": {"ledger": entry(FINMCP, "tesorio")}}, "/empty": {}},
        })),
    );
    write(
        &home.join(".codex/config.toml"),
        &format!("[mcp_servers.gone]\ncommand = {FINMCP:?}\nargs = [\"serve\", \"nowhere\"]\n"),
    );
    write(&home.join(".gemini/settings.json"), "{");
    sandbox
}

#[test]
fn c9_every_place_is_listed() {
    let sandbox = full();
    let found = json_list(&sandbox);
    let rows: Vec<Vec<&str>> = found["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ["client", "name", "server", "scope", "way"].map(|key| row[key].as_str().unwrap_or("-")).to_vec())
        .collect();
    assert_eq!(
        rows,
        [
            ["claude-code", "asset", "asset", "user", "headers"],
            ["claude-code", "ledger", "tesorio", "local", "serve"],
            ["cursor", "moved", "asset", "user", "serve"],
            ["cursor", "tesorio", "tesorio", "user", "serve"],
            ["cursor", "demo", "demo", "project", "serve"],
            ["codex", "gone", "-", "user", "serve"],
        ]
    );
    assert_eq!(found["entries"][1]["folder"], "/books");
    assert_eq!(found["unreadable"][0]["client"], "gemini");
    let only: Value = serde_json::from_str(&sandbox.finmcp(["setup", "codex", "--list", "--json"]).stdout).unwrap();
    assert_eq!(only["entries"].as_array().unwrap().len(), 1);
    assert_eq!(only["plain_text"], json!([]));
    sandbox.finmcp(["setup", "--list", "--remove"]).expect_code(2);
    sandbox.finmcp(["setup", "--json"]).expect_code(2);
    let run = list(&Sandbox::new(), &[]);
    run.expect_stderr(&["No AI client starts finmcp yet. Set one up: finmcp setup"]);
}

/// Tokens are named, never shown; nothing of the address either.
#[test]
fn c9_plain_tokens_are_named_and_never_shown() {
    let sandbox = full();
    for run in [list(&sandbox, &[]), list(&sandbox, &["--json"])] {
        assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "{}", run.stdout);
        assert!(run.stdout.contains("books") && run.stdout.contains("receivables"), "{}", run.stdout);
        assert!(!run.stdout.contains("some-server"), "{}", run.stdout);
    }
    let found = json_list(&sandbox);
    assert_eq!(found["plain_text"][0]["name"], "books");
    assert_eq!(
        (&found["plain_text"][0]["holder"], &found["plain_text"][1]["holder"]),
        (&json!("file"), &json!("mcp-remote"))
    );
    let said = list(&sandbox, &[]).stdout;
    assert!(said.contains("Cursor, books: holds a secret in plain text"), "{said}");
}

/// A broken entry comes with the command that fixes it: run, the entry is in order.
#[test]
fn c9_a_broken_entry_names_the_command_that_fixes_it() {
    let sandbox = full();
    let found = json_list(&sandbox);
    let problem = |name: &str| -> Value {
        let rows = found["entries"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap().clone()
    };
    assert_eq!(problem("moved")["problem"], "/old/place/finmcp does not exist");
    assert_eq!(problem("gone")["problem"], "its arguments name no known server");
    assert!(problem("tesorio")["problem"].is_null() && problem("asset")["problem"].is_null());
    let shown = list(&sandbox, &[]).stdout;
    assert!(shown.contains("Cursor, moved: /old/place/finmcp does not exist"), "{shown}");
    let fixes: Vec<String> = ["moved", "gone"].map(|name| problem(name)["fix"].as_str().unwrap().to_owned()).into();
    for fix in fixes {
        let words: Vec<String> = fix.replace("SERVER", "tesorio").split(' ').skip(1).map(str::to_owned).collect();
        sandbox.finmcp(words).expect_success();
    }
    let left: Vec<Value> = json_list(&sandbox)["entries"].as_array().unwrap().clone();
    assert!(left.iter().all(|row| row["problem"].is_null()), "{left:?}");
}

/// The list fits the terminal: rows where they fit, paragraphs where they do not.
#[cfg(unix)]
#[test]
fn c9_the_list_fits_every_width() {
    use crate::support::{PATIENCE, eventually, sandbox::wait, terminal::Terminal};
    let sandbox = full();
    for columns in [40, 60, 80, 120, 200] {
        let terminal = Terminal::of_size(columns, 24);
        let mut command = sandbox.command(FINMCP);
        command.args(["setup", "--list"]);
        command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        let mut child = command.spawn().unwrap();
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)));
        eventually("the list", || terminal.shown().contains("cannot read:").then_some(()));
        let shown = terminal.shown();
        let root = sandbox.home().parent().unwrap().display().to_string();
        for line in shown.lines() {
            // A path is not broken, so that it can be copied.
            let is_path = line.contains(&root) || line.contains(FINMCP);
            assert!(is_path || line.trim_end().chars().count() <= usize::from(columns), "{columns}: {line:?}");
        }
        assert_eq!(shown.starts_with("CLIENT"), columns >= 80, "{shown}");
    }
}
