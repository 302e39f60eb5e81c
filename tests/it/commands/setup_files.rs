//! `finmcp setup`: what it says about the files that it writes, whose entries it updates, and what it leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    commands::setup::{backup, json_in, read, write},
    support::sandbox::{Run, Sandbox},
};

fn cursor_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".cursor").join("mcp.json")
}

/// A home where no client is installed.
fn empty() -> Sandbox {
    let mut sandbox = Sandbox::new();
    if cfg!(unix) {
        sandbox.set("PATH", "/usr/bin:/bin");
    }
    sandbox
}

/// Each client has its own way to notice an entry; none "starts finmcp now".
#[test]
fn c9_each_client_is_named_with_its_own_way() {
    for (client, folder, said) in [
        ("cursor", ".cursor", "Added tesorio to Cursor. Restart Cursor."),
        ("windsurf", ".codeium/windsurf", "Added tesorio to Windsurf. Restart Windsurf."),
        ("codex", ".codex", "Added tesorio to Codex. Start a new Codex session."),
        ("gemini", ".gemini", "Added tesorio to Gemini CLI. Restart Gemini CLI."),
    ] {
        let sandbox = empty();
        fs::create_dir_all(sandbox.home().join(folder)).unwrap();
        let run = sandbox.finmcp(["setup", client, "tesorio"]).expect_success().expect_stderr(&[said, "File: "]);
        assert!(!run.stderr.contains("now"), "{}", run.stderr);
        let run = sandbox.finmcp(["setup", client, "tesorio", "--remove"]).expect_success();
        run.expect_stderr(&["Removed tesorio from "]);
    }
    if cfg!(target_os = "linux") {
        for (client, folder, said) in [
            ("vscode", ".config/Code/User", "Added tesorio to VS Code. VS Code starts it with your next chat message."),
            ("zed", ".config/zed", "Added tesorio to Zed. Zed starts it right away."),
            ("claude-desktop", ".config/Claude", "Added tesorio to Claude Desktop. Quit Claude Desktop and open it"),
            ("goose", ".config/goose", "Added tesorio to Goose. Start a new Goose session."),
            ("opencode", ".config/opencode", "Added tesorio to opencode. Restart opencode."),
        ] {
            let sandbox = empty();
            fs::create_dir_all(sandbox.home().join(folder)).unwrap();
            sandbox.finmcp(["setup", client, "tesorio"]).expect_success().expect_stderr(&[said]);
        }
    }
}

/// A client that is not there is said not to be there, also the second time, when only finmcp's own file is.
#[test]
fn c9_a_client_that_is_not_installed_is_said_to_be_missing() {
    for (client, title, file) in [
        ("cursor", "Cursor", ".cursor/mcp.json"),
        ("windsurf", "Windsurf", ".codeium/windsurf/mcp_config.json"),
        ("claude-code", "Claude Code", ".claude.json"),
        ("codex", "Codex", ".codex/config.toml"),
    ] {
        let sandbox = empty();
        for server in ["tesorio", "asset"] {
            let run = sandbox.finmcp(["setup", client, server]).expect_success();
            let path = sandbox.home().join(file);
            let said = format!(
                "{title} is not found on this machine; the entry is in {} and works once it is installed",
                path.display()
            );
            assert!(!run.stderr.contains("Restart") && !run.stderr.contains("Start a"), "{}", run.stderr);
            run.expect_stderr(&[&format!("Added {server} to {title}."), &said]);
        }
        // Something of the client's own: it is installed.
        let own = sandbox.home().join(file).parent().unwrap().join("extensions.json");
        if client == "claude-code" {
            let text = read(&sandbox.home().join(file)).replacen('{', "{\"numStartups\": 1,", 1);
            write(&sandbox.home().join(file), &text);
        } else {
            write(&own, "{}");
        }
        let run = sandbox.finmcp(["setup", client, "demo"]).expect_success();
        assert!(!run.stderr.contains("not found"), "{}", run.stderr);
    }
    // The program is enough.
    #[cfg(unix)]
    {
        let mut sandbox = empty();
        let folder = sandbox.home().join("bin");
        write(&folder.join("cursor"), "#!/bin/sh\n");
        sandbox.set("PATH", &folder);
        sandbox.finmcp(["setup", "cursor", "tesorio"]).expect_success().expect_stderr(&["Restart Cursor."]);
    }
}

/// What finmcp wrote, finmcp updates; what the user decided stays; another server's entry needs --force.
#[test]
fn c9_own_entries_are_updated_without_force() {
    let cursor = |sandbox: &Sandbox, more: &[&str]| sandbox.finmcp([&["setup", "cursor", "tesorio"], more].concat());
    let old = json!({
        "command": "/old/finmcp",
        "args": ["serve", "tesorio", "--read-only"],
        "env": {"FINMCP_STORE": "keychain", "RUST_LOG": "info", "HTTPS_PROXY": "http://me:pw@proxy:1"},
        "disabled": true,
    });
    let sandbox = empty();
    let path = cursor_file(&sandbox);
    let give = |entry: &serde_json::Value| write(&path, &json!({"mcpServers": {"tesorio": entry}}).to_string());
    let entry = || json_in(&path)["mcpServers"]["tesorio"].clone();

    // The options stay: an update must not lift --read-only.
    give(&old);
    let run = cursor(&sandbox, &[]).expect_success();
    run.expect_stderr(&["Updated tesorio in Cursor.", "keeps its options: finmcp serve tesorio --read-only"]);
    assert_eq!(entry()["command"], env!("CARGO_BIN_EXE_finmcp"));
    assert_eq!(entry()["args"], old["args"]);
    assert_eq!(entry()["env"]["FINMCP_STORE"], "file");
    assert_eq!(
        (&entry()["env"]["RUST_LOG"], &entry()["env"]["HTTPS_PROXY"]),
        (&json!("info"), &old["env"]["HTTPS_PROXY"])
    );
    assert_eq!(entry()["disabled"], true);
    cursor(&sandbox, &[]).expect_success().expect_stderr(&["already set up"]);

    // New options replace them, and --force drops them.
    cursor(&sandbox, &["--", "--label"]).expect_success().expect_stderr(&["Updated tesorio"]);
    assert_eq!(entry()["args"], json!(["serve", "tesorio", "--label"]));
    cursor(&sandbox, &["--force"]).expect_success();
    assert_eq!(entry()["args"], json!(["serve", "tesorio"]));

    // Other spellings of the same server; a client in another format.
    give(&json!({"command": r"C:\old\finmcp.exe", "args": ["serve", "--label", "tesorio"]}));
    cursor(&sandbox, &[]).expect_success().expect_stderr(&["Updated tesorio"]);
    assert_eq!(entry()["args"], json!(["serve", "--label", "tesorio"]));
    let codex = sandbox.home().join(".codex/config.toml");
    write(
        &codex,
        "[mcp_servers.tesorio]\ncommand = \"/old/finmcp\"\nargs = [\"serve\", \"tesorio\"]\nenv_vars = [\"MINE\"]\n",
    );
    sandbox.finmcp(["setup", "codex", "tesorio"]).expect_success().expect_stderr(&["Updated tesorio in Codex."]);
    assert!(!read(&codex).contains("/old/") && read(&codex).contains("MINE"), "{}", read(&codex));

    // Not finmcp's, or finmcp's for another server.
    for foreign in [
        json!({"command": "/opt/notfinmcp", "args": ["serve", "tesorio"]}),
        json!({"command": "/opt/finmcp", "args": ["serve", "asset"]}),
        json!({"command": "/opt/finmcp", "args": ["doctor"]}),
        json!({"url": "https://books.example/mcp"}),
    ] {
        give(&foreign);
        cursor(&sandbox, &[]).expect_code(1).expect_stderr(&["nothing was changed: use --force"]);
        assert_eq!(entry(), foreign);
        cursor(&sandbox, &["--force"]).expect_success();
        assert_eq!(entry()["args"], json!(["serve", "tesorio"]));
    }
}

/// A diff is of use only if one can read it: ids, addresses and paths are shown, secrets are not, and a legend says so.
#[test]
fn c9_only_secrets_are_masked() {
    let sandbox = empty();
    let path = cursor_file(&sandbox);
    let secrets = ["q8Zk2Lw0Yt5R", "hunter2", "sk_live_51Nv0FGQ9RKHgCVdKx", "p4ssphrase", "AKIAIOSFODNN7EXAMPLE"];
    let tesorio = json!({
        "command": "/opt/ledger/bin/server",
        "args": ["--config", "/home/me/ledger.toml", "--account", "acct-42", "--api-key", secrets[0],
                 "https://api.example.com/v1/accounts/42?page=2"],
        "env": {"LOG_LEVEL": "debug", "ACCOUNT_ID": "8f31", "REGION": "eu-west-1", "DB_PASSWORD": secrets[1],
                "DATABASE_URL": format!("postgres://me:{}@db.example/books", secrets[3]), "STRIPE": secrets[2],
                "AWS_ACCESS": secrets[4]},
    });
    write(&path, &serde_json::to_string_pretty(&json!({"mcpServers": {"tesorio": tesorio}})).unwrap());
    let run = sandbox.finmcp(["setup", "cursor", "tesorio", "--force", "--dry-run"]).expect_success();
    for secret in secrets {
        assert!(!run.stdout.contains(secret), "{secret}: {}", run.stdout);
    }
    for shown in [
        "/opt/ledger/bin/server",
        "/home/me/ledger.toml",
        "acct-42",
        "https://api.example.com/v1/accounts/42?page=2",
        "\"LOG_LEVEL\": \"debug\"",
        "\"ACCOUNT_ID\": \"8f31\"",
        "\"REGION\": \"eu-west-1\"",
        "\"DATABASE_URL\": \"postgres://•••@db.example/books\"",
        "\"DB_PASSWORD\": \"•••\"",
    ] {
        assert!(run.stdout.contains(shown), "{shown}: {}", run.stdout);
    }
    run.expect_stderr(&["•••: a secret, not shown"]);
    // No legend for what is not there.
    let run = sandbox.finmcp(["setup", "cursor", "asset", "--dry-run", "--scope", "project"]).expect_success();
    assert!(!run.stderr.contains("•••"), "{}", run.stderr);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Three backups, the latest; what only looks like one is the user's.
#[test]
fn c9_three_backups_are_kept_and_nothing_else_is_deleted() {
    let sandbox = empty();
    let path = cursor_file(&sandbox);
    write(&path, "{\"x\": 0}");
    let folder = path.parent().unwrap();
    let others = [
        "mcp.json.before-finmcp-old",
        "mcp.json.before-finmcp-02",
        "mcp.json.before-finmcp-1",
        "mcp.json.bak",
        "other.json.before-finmcp",
        "mcp.json.before-finmcp-2.txt",
        "mcp.json.before-finmcp-+5",
    ];
    for other in others {
        write(&folder.join(other), "mine");
    }
    fs::create_dir(folder.join("mcp.json.before-finmcp-4")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.join("mcp.json.bak"), folder.join("mcp.json.before-finmcp-6")).unwrap();
    let before: Vec<String> = names(folder);
    let mut texts = Vec::new();
    let setup =
        |label: &str| -> Run { sandbox.finmcp(["setup", "cursor", "tesorio", "--name", label]).expect_success() };
    for round in 0..10 {
        texts.push(read(&path));
        let run = setup(&format!("round-{round}"));
        run.expect_stderr(&["Backup: "]);
    }
    let now = names(folder);
    assert!(before.iter().all(|name| now.contains(name)), "{now:?}");
    assert!(others.iter().all(|other| read(&folder.join(other)) == "mine"));
    let backups: Vec<&String> = now.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(backups.len(), 3, "{backups:?}");
    let kept: Vec<String> = backups.iter().map(|name| read(&folder.join(name))).collect();
    assert!(texts[7..].iter().all(|text| kept.contains(text)), "the latest three");

    // Ten of an earlier version: those beyond three go, too.
    let sandbox = empty();
    let path = cursor_file(&sandbox);
    write(&path, "{}");
    write(&backup(&path), "first");
    for number in 2..=10 {
        write(&path.with_file_name(format!("mcp.json.before-finmcp-{number}")), "older");
    }
    sandbox.finmcp(["setup", "cursor", "tesorio"]).expect_success();
    let now = names(path.parent().unwrap());
    assert_eq!(now, ["mcp.json", "mcp.json.before-finmcp-10", "mcp.json.before-finmcp-11", "mcp.json.before-finmcp-9"]);
}
