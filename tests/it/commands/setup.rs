//! `finmcp setup`: what it does to the files of AI clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::sandbox::{Run, Sandbox};

fn cursor_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".cursor").join("mcp.json")
}

fn cursor(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.finmcp([&["setup", "cursor"], arguments].concat())
}

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

pub fn json_in(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

pub fn backup(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.before-finmcp", path.file_name().unwrap().to_str().unwrap()))
}

const ASSET: [&str; 3] = ["asset", "--env", "sandbox"];

/// The entry is all that a client needs: with nothing else of the environment, `serve` answers.
#[test]
fn an_entry_is_written_once_and_works() {
    let sandbox = Sandbox::new();
    let run = cursor(&sandbox, &[&ASSET[..], &["--", "--label"]].concat()).expect_success();
    run.expect_stderr(&["Added asset-sandbox to Cursor.", "Next, sign in: finmcp login asset --env sandbox"]);
    let path = cursor_file(&sandbox);
    let entry = json_in(&path)["mcpServers"]["asset-sandbox"].clone();
    assert_eq!(entry["command"], env!("CARGO_BIN_EXE_finmcp"));
    assert_eq!(entry["args"], json!(["serve", "asset", "--env", "sandbox", "--label"]));
    assert_eq!(entry["env"]["FINMCP_STORE"], "file");

    let mut command = sandbox.command(entry["command"].as_str().unwrap());
    command.args(entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    command.env_clear().env("HOME", sandbox.home());
    for (name, value) in entry["env"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}});
    let answer = sandbox.run(command, format!("{hello}\n").into_bytes());
    let answer: Value = serde_json::from_str(answer.stdout.lines().next().unwrap()).unwrap();
    assert!(answer["result"]["serverInfo"]["title"].as_str().unwrap_or_default().contains("sandbox"), "{answer}");

    let before = read(&path);
    let run = cursor(&sandbox, &[&ASSET[..], &["--", "--label"]].concat()).expect_success();
    run.expect_stderr(&["already set up"]);
    assert_eq!(read(&path), before);
    assert!(!backup(&path).exists());
}

#[test]
fn dry_run_and_print_change_no_file() {
    let sandbox = Sandbox::new();
    write(&cursor_file(&sandbox), "{\n  // mine\n  \"mcpServers\": {}\n}\n");
    let before = read(&cursor_file(&sandbox));
    let shown = cursor(&sandbox, &["tesorio", "--dry-run"]).expect_success().stdout;
    assert!(shown.contains("\n+    \"tesorio\": {\n") && shown.contains("\n   // mine\n"), "{shown}");
    assert!(shown.starts_with("--- ") && shown.contains("\n@@ "), "{shown}");
    let printed = cursor(&sandbox, &["tesorio", "--print"]).expect_success().stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["mcpServers"]["tesorio"]["args"], json!(["serve", "tesorio"]));
    let link = cursor(&sandbox, &["tesorio", "--deeplink"]).expect_success().stdout;
    assert!(link.starts_with("cursor://anysphere.cursor-deeplink/mcp/install?name=tesorio&config="), "{link}");
    sandbox.finmcp(["setup", "zed", "tesorio", "--deeplink"]).expect_code(2);
    assert_eq!(read(&cursor_file(&sandbox)), before);
    assert_eq!(fs::read_dir(cursor_file(&sandbox).parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn another_entry_is_replaced_by_force_only() {
    let sandbox = Sandbox::new();
    let path = cursor_file(&sandbox);
    write(&path, r#"{"mcpServers": {"tesorio": {"command": "other"}}, "x": 1.10}"#);
    let before = read(&path);
    cursor(&sandbox, &["tesorio"]).expect_code(1).expect_stderr(&["another server named \"tesorio\"", "--force"]);
    assert_eq!(read(&path), before);
    cursor(&sandbox, &["tesorio", "--name", "money"]).expect_success();
    assert_eq!(json_in(&path)["mcpServers"]["tesorio"]["command"], "other");
    let between = read(&path);
    cursor(&sandbox, &["tesorio", "--force"]).expect_success();
    assert_eq!(json_in(&path)["mcpServers"]["tesorio"]["args"], json!(["serve", "tesorio"]));
    assert!(read(&path).contains("1.10"));
    // No copy takes another's place: the first is what this person had.
    assert_eq!(read(&backup(&path)), before);
    assert_eq!(read(&path.with_file_name("mcp.json.before-finmcp-2")), between);
    cursor(&sandbox, &["tesorio", "--name", "a b"]).expect_code(2);
}

/// Whatever there was, even where finmcp made the list itself, comes back to the byte.
#[test]
fn removing_restores() {
    let clients = [
        ("cursor", ".cursor/mcp.json", "{}"),
        ("codex", ".codex/config.toml", "model = \"x\" # mine"),
        ("goose", ".config/goose/config.yaml", "extensions: {}  # none\nx: 1"),
        ("gemini", ".gemini/settings.json", "{ \"a\": 1, }\r\n"),
    ];
    for (client, file, before) in clients {
        let sandbox = Sandbox::new();
        let path = sandbox.home().join(file);
        if cfg!(windows) && client == "goose" {
            continue;
        }
        write(&path, before);
        sandbox.finmcp(["setup", client, "tesorio", "--remove"]).expect_success().expect_stderr(&["nothing to remove"]);
        sandbox.finmcp(["setup", client, "tesorio"]).expect_success();
        assert_ne!(read(&path), before);
        sandbox.finmcp(["setup", client, "tesorio", "--remove"]).expect_success();
        assert_eq!(read(&path), before, "{client}");
    }
    let sandbox = Sandbox::new();
    write(&cursor_file(&sandbox), r#"{"mcpServers": {"tesorio": {"command": "other"}}}"#);
    let run = cursor(&sandbox, &["tesorio", "--remove"]).expect_code(1);
    run.expect_stderr(&["another server named", "use --force to remove it anyway"]);
}

/// t142: a token that lies in the file is spoken of, never shown, and goes when its owner says so.
#[test]
fn t142_plain_text_is_replaced_with_consent() {
    let secret = "CANARY-0123456789abcdef".to_owned();
    let sandbox = Sandbox::new();
    let path = cursor_file(&sandbox);
    let text = json!({"mcpServers": {
        "books": {"url": "https://api.sandbox.getasset.com/mcp", "headers": {"Authorization": format!("Bearer {secret}")}},
        "receivables": {"command": "npx", "args": ["-y", "mcp-remote", "https://mcp.tesorio.com/v1/mcp"]},
        "unknown": {"url": "https://unknown.example/mcp", "headers": {"X-Api-Key": "another-CANARY-4711"}},
    }});
    write(&path, &serde_json::to_string_pretty(&text).unwrap());
    let before = read(&path);
    let says = |run: Run| {
        assert!(!run.stdout.contains("CANARY") && !run.stderr.contains("CANARY"), "{}{}", run.stdout, run.stderr);
        run
    };
    let run = says(cursor(&sandbox, &[&ASSET[..], &["--dry-run"]].concat()).expect_success());
    run.expect_stderr(&["books: holds a secret", "receivables: starts mcp-remote", "asset --env sandbox --replace"]);
    let run = says(cursor(&sandbox, &[&ASSET[..], &["--dry-run", "--replace"]].concat()).expect_success());
    assert!(run.stdout.contains("-        \"Authorization\": \"•••\"\n"), "{}", run.stdout);
    assert_eq!(read(&path), before);

    let run = says(cursor(&sandbox, &[&ASSET[..], &["--replace"]].concat()).expect_success());
    run.expect_stderr(&["contains the secrets in plain text", &backup(&path).display().to_string()]);
    let servers = json_in(&path)["mcpServers"].clone();
    assert_eq!(servers["books"]["args"], json!(["serve", "asset", "--env", "sandbox"]), "under its old name");
    assert_eq!(servers["receivables"]["args"], json!(["serve", "tesorio"]));
    assert_eq!(servers["unknown"], text["mcpServers"]["unknown"]);
    assert_eq!(servers.as_object().unwrap().len(), 3);
    assert!(!read(&path).contains(&secret));
    assert_eq!(read(&backup(&path)), before);
    #[cfg(unix)]
    assert_eq!(mode(&backup(&path)), 0o600, "the copy with the secret is its owner's alone");
    fs::remove_file(backup(&path)).unwrap();
    sandbox.assert_no_secret(&[secret]);
}

/// Another environment's entry is another server's, however its arguments begin.
#[test]
fn only_the_meant_server_is_removed() {
    let sandbox = Sandbox::new();
    let path = cursor_file(&sandbox);
    cursor(&sandbox, &ASSET).expect_success();
    let before = read(&path);
    cursor(&sandbox, &["asset", "--remove"]).expect_success().expect_stderr(&["nothing to remove"]);
    assert_eq!(read(&path), before);
    cursor(&sandbox, &["asset", "--remove", "--name", "asset-sandbox"])
        .expect_code(1)
        .expect_stderr(&["a finmcp entry named \"asset-sandbox\" for another server"]);
    cursor(&sandbox, &[&ASSET[..], &["--remove"]].concat()).expect_success();
    // By what it means, whatever it is called and however it is served.
    write(
        &path,
        r#"{"mcpServers": {"books": {"command": "finmcp", "args": ["serve", "--env=sandbox", "--label", "asset"]}}}"#,
    );
    cursor(&sandbox, &[&ASSET[..], &["--remove"]].concat()).expect_success();
    assert_eq!(json_in(&path)["mcpServers"], json!({}));
    cursor(&sandbox, &["asset", "--", "--env", "sandbox"]).expect_code(2).expect_stderr(&["before --"]);
}

/// What was typed is in the command that is suggested, and in every entry that is made.
#[test]
fn options_are_not_lost_when_entries_are_replaced() {
    let sandbox = Sandbox::new();
    let path = cursor_file(&sandbox);
    write(
        &path,
        r#"{"mcpServers": {"receivables": {"command": "npx", "args": ["mcp-remote", "https://mcp.tesorio.com/v1/mcp"]}}}"#,
    );
    let before = read(&path);
    let options = ["--name", "books", "--", "--read-only", "--allow-tool", "get_*"];
    cursor(&sandbox, &[&["asset", "--dry-run"], &options[..]].concat())
        .expect_success()
        .expect_stderr(&["run: finmcp setup cursor asset --name books --replace -- --read-only --allow-tool 'get_*'"]);
    cursor(&sandbox, &[&["asset", "--replace"], &options[..]].concat()).expect_success();
    let servers = json_in(&path)["mcpServers"].clone();
    assert_eq!(servers["receivables"]["args"], json!(["serve", "tesorio", "--read-only", "--allow-tool", "get_*"]));
    assert_eq!(servers["books"]["args"], json!(["serve", "asset", "--read-only", "--allow-tool", "get_*"]));
    // How one vendor knows the client is nothing for another.
    write(&path, &before);
    cursor(&sandbox, &["asset", "--replace", "--", "--client-id", "mine"]).expect_success();
    let servers = json_in(&path)["mcpServers"].clone();
    assert_eq!(servers["receivables"]["command"], "npx");
    assert_eq!(servers["asset"]["args"], json!(["serve", "asset", "--client-id", "mine"]));
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}

#[test]
fn unreadable_files_are_not_changed() {
    for (text, said) in [
        ("{\n\"a\": CANARY-1\n}", "line 2, column 6: not valid JSON"),
        ("[]", "line 1: the file is not an object"),
        ("{\"mcpServers\": 1}", "line 1: mcpServers is not an object"),
    ] {
        let sandbox = Sandbox::new();
        let path = cursor_file(&sandbox);
        write(&path, text);
        let run = cursor(&sandbox, &["tesorio"]).expect_code(1);
        assert!(!run.stderr.contains("CANARY"), "{}", run.stderr);
        run.expect_stderr(&[said, &path.display().to_string(), "nothing was changed", "--print"]);
        assert_eq!(read(&path), text);
        assert!(!backup(&path).exists());
        cursor(&sandbox, &["tesorio", "--print"]).expect_success();
    }
    for empty in ["", "null", "\u{feff}{}"] {
        let sandbox = Sandbox::new();
        write(&cursor_file(&sandbox), empty);
        cursor(&sandbox, &["tesorio"]).expect_success();
        assert_eq!(read(&cursor_file(&sandbox)).starts_with('\u{feff}'), empty.starts_with('\u{feff}'));
    }
}

#[test]
fn invalid_serve_options_are_not_written() {
    let sandbox = Sandbox::new();
    for (options, said) in [
        (&["--bogus"][..], "invalid options for finmcp serve"),
        (&["tesorio"], "invalid options for finmcp serve"),
        (&["--client-secret", "CANARY"], "does not write secrets"),
        (&["--param", "client_secret=CANARY"], "does not write secrets"),
        (&["--audit-log", "calls.jsonl"], "use an absolute path"),
        (&["--client-id", "x", "--client-secret-file", "-"], "use an absolute path"),
    ] {
        let run = cursor(&sandbox, &[&["asset", "--"], options].concat()).expect_code(2);
        assert!(!run.stderr.contains("CANARY"), "{}", run.stderr);
        run.expect_stderr(&[said]);
    }
    assert!(!cursor_file(&sandbox).exists());
}

#[test]
fn clients_are_named_or_found() {
    let sandbox = Sandbox::new();
    sandbox
        .finmcp(["setup"])
        .expect_code(2)
        .expect_stderr(&["no supported AI client found", "claude-desktop, claude-code, cursor"]);
    sandbox.finmcp(["setup", "emacs", "tesorio"]).expect_code(2).expect_stderr(&["unknown AI client \"emacs\"", "zed"]);
    for folder in [".cursor", ".codeium/windsurf"] {
        write(&sandbox.home().join(folder).join("argv.json"), "{}");
    }
    sandbox.finmcp(["setup", "--all", "tesorio"]).expect_success();
    assert!(read(&cursor_file(&sandbox)).contains("tesorio"));
    assert!(read(&sandbox.home().join(".codeium/windsurf/mcp_config.json")).contains("tesorio"));
    assert!(!sandbox.home().join(".codex").exists());
    // One that cannot be set up does not keep the others from it.
    write(&cursor_file(&sandbox), "{");
    sandbox.finmcp(["setup", "--all", "asset"]).expect_code(1).expect_stderr(&["not valid JSON", "to Windsurf"]);
    sandbox.finmcp(["setup", "cursor", "nowhere"]).expect_code(2).expect_stderr(&["no preset or profile"]);
}

#[test]
fn a_project_and_the_stand_ins_have_entries_too() {
    let sandbox = Sandbox::new();
    let run = sandbox.finmcp(["setup", "vscode", "demo", "--env", "masset", "--scope", "project"]).expect_success();
    let run = run.expect_stderr(&["Do not commit or share it"]);
    assert!(!run.stderr.contains("Next, sign in"), "{}", run.stderr);
    let path = sandbox.home().parent().unwrap().join("work/.vscode/mcp.json");
    assert_eq!(json_in(&path)["servers"]["demo-masset"]["args"], json!(["serve", "demo", "--env", "masset"]));
    sandbox.finmcp(["setup", "windsurf", "demo", "--scope", "project"]).expect_code(2);
}

/// t142: a proxy's password is not written either.
#[test]
fn t142_a_proxy_with_a_password_is_not_written() {
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTPS_PROXY", "http://me:CANARY-0123456789abcdef@proxy.example:3128");
    sandbox.set("NO_PROXY", "localhost");
    for client in ["cursor", "codex"] {
        let run = sandbox.finmcp(["setup", client, "tesorio"]).expect_success();
        assert_eq!(run.stderr.contains("HTTPS_PROXY contains a password"), client == "cursor", "{}", run.stderr);
    }
    sandbox.assert_no_secret(&["CANARY-0123456789abcdef".to_owned()]);
    assert!(read(&cursor_file(&sandbox)).contains("NO_PROXY"));
    let codex = read(&sandbox.home().join(".codex/config.toml"));
    assert!(codex.contains("env_vars = ") && codex.contains("\"HTTPS_PROXY\"]"), "asked for by name: {codex}");
}

#[cfg(unix)]
mod unix {
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        process::Child,
    };

    use super::*;
    use crate::support::{PATIENCE, eventually, sandbox::wait, terminal::Terminal};

    #[test]
    fn permissions_and_links_stay() {
        let sandbox = Sandbox::new();
        let path = cursor_file(&sandbox);
        let real = sandbox.home().join("dotfiles/mcp.json");
        write(&real, "{}");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(&real, &path).unwrap();
        cursor(&sandbox, &["tesorio"]).expect_success();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(read(&real).contains("tesorio"));
        assert_eq!((mode(&real), mode(&backup(&path))), (0o644, 0o644));
        fs::remove_file(&real).unwrap();
        cursor(&sandbox, &["tesorio"]).expect_code(1).expect_stderr(&["is a dangling symlink"]);
        let sandbox = Sandbox::new();
        cursor(&sandbox, &["tesorio"]).expect_success();
        assert_eq!(mode(&cursor_file(&sandbox)), 0o600, "a new one is its owner's alone");
    }

    fn start(sandbox: &Sandbox, terminal: &Terminal, arguments: &[&str]) -> Child {
        let mut command = sandbox.command("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp"), "setup"]).args(arguments);
        command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        command.spawn().unwrap()
    }

    fn asks(terminal: &Terminal, question: &str) {
        eventually("the question", || terminal.shown().contains(question).then_some(()));
    }

    /// The person is asked, and what another program wrote in the meantime is not lost.
    #[cfg(target_os = "linux")]
    #[test]
    fn finmcp_asks_first_and_overwrites_no_concurrent_change() {
        let held = r#"{"mcpServers": {"tesorio": {"url": "https://mcp.tesorio.com/v1/mcp", "headers": {"Authorization": "Bearer CANARY-1"}}}}"#;
        for (answer, meanwhile, code) in [("y\n", None, 0), ("n\n", None, 1), ("y\n", Some("{\"new\": 1}"), 1)] {
            let (sandbox, terminal) = (Sandbox::new(), Terminal::open());
            let path = cursor_file(&sandbox);
            write(&path, held);
            if meanwhile.is_some() {
                write(&backup(&path), "of the first time");
            }
            let mut child = start(&sandbox, &terminal, &["cursor", "tesorio"]);
            asks(&terminal, "Replace them? [y/N]");
            if let Some(text) = meanwhile {
                write(&path, text);
            }
            terminal.enter(answer);
            assert_eq!(wait(&mut child, PATIENCE), Some(Some(code)), "{}", terminal.shown());
            assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
            match (code, meanwhile) {
                (0, _) => assert_eq!(json_in(&path)["mcpServers"]["tesorio"]["args"], json!(["serve", "tesorio"])),
                (_, Some(text)) => {
                    asks(&terminal, "another program has just changed");
                    assert_eq!(read(&path), text);
                    assert_eq!(
                        read(&backup(&path)),
                        "of the first time",
                        "no copy of a token, and the earlier one stays"
                    );
                }
                _ => {
                    asks(&terminal, "another server named");
                    assert_eq!(read(&path), held);
                }
            }
        }
    }

    /// Claude Code's own command is asked; where it does not do it, the file is written.
    #[test]
    fn claude_code_is_asked_first() {
        let does = r#"case "$2" in
            add-json) printf '{"mcpServers":{"%s":%s},"by":"claude"}' "$3" "$4" > "$HOME/.claude.json" ;;
            remove) echo '{"by":"claude"}' > "$HOME/.claude.json" ;;
        esac"#;
        let fails = r#"[ "$2" = remove ] || printf '{"by":"failure"}' > "$HOME/.claude.json"; exit 1"#;
        for (script, by) in [(does, json!("claude")), (fails, json!("failure")), ("exit 0", json!(null))] {
            let mut sandbox = Sandbox::new();
            let (folder, log) = (sandbox.home().join("bin"), sandbox.watched().join("claude"));
            let program = folder.join("claude");
            write(&program, &format!("#!/bin/sh\necho \"$@\" >> {}\n{script}\n", log.display()));
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            sandbox.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
            sandbox.finmcp(["setup", "claude-code", "tesorio"]).expect_success();
            let path = sandbox.home().join(".claude.json");
            assert_eq!(json_in(&path)["mcpServers"]["tesorio"]["args"], json!(["serve", "tesorio"]));
            assert_eq!(json_in(&path)["by"], by);
            assert!(
                read(&log).starts_with("mcp add-json tesorio {") && read(&log).contains("--scope user"),
                "{}",
                read(&log)
            );
            sandbox.finmcp(["setup", "claude-code", "tesorio", "--remove"]).expect_success();
            assert!(json_in(&path)["mcpServers"]["tesorio"].is_null());
            assert!(read(&log).ends_with("mcp remove tesorio --scope user\n"), "{}", read(&log));
        }
    }

    /// Its command would take the whole entry out, and what a person decided with it.
    #[test]
    fn claude_code_is_not_run_if_an_entry_has_to_be_kept() {
        let mut sandbox = Sandbox::new();
        let (folder, path) = (sandbox.home().join("bin"), sandbox.home().join(".claude.json"));
        write(&folder.join("claude"), "#!/bin/sh\necho '{}' > \"$HOME/.claude.json\"\n");
        fs::set_permissions(folder.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        write(
            &path,
            r#"{"mcpServers": {"tesorio": {"command": "/old/finmcp", "args": ["serve", "tesorio"], "timeout": 5}}}"#,
        );
        sandbox.finmcp(["setup", "claude-code", "tesorio"]).expect_success().expect_stderr(&["Updated tesorio"]);
        let entry = json_in(&path)["mcpServers"]["tesorio"].clone();
        assert_eq!((&entry["timeout"], &entry["args"]), (&json!(5), &json!(["serve", "tesorio"])));
    }

    /// Claude Code took the old entry out and finmcp's could not be put in: the copy of the old one stays, and is
    /// named.
    #[test]
    fn an_incomplete_change_by_claude_code_can_be_completed() {
        let script = r#"[ "$2" = remove ] || exit 1; echo '{"mcpServers": 1}' > "$HOME/.claude.json""#;
        let mut sandbox = Sandbox::new();
        let (folder, path) = (sandbox.home().join("bin"), sandbox.home().join(".claude.json"));
        write(&folder.join("claude"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(folder.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        let before = r#"{"mcpServers": {"tesorio": {"command": "other"}}}"#;
        write(&path, before);
        let run = sandbox.finmcp(["setup", "claude-code", "tesorio", "--force"]).expect_code(1);
        assert!(!run.stderr.contains("nothing was changed"), "{}", run.stderr);
        run.expect_stderr(&["Claude Code or another program changed the file", ".before-finmcp"]);
        assert_eq!(read(&backup(&path)), before);
    }

    /// A path that JSON cannot spell would be one of a program that is not there.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_path_that_is_not_unicode_is_refused() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let sandbox = Sandbox::new();
        let folder = sandbox.home().join(OsStr::from_bytes(b"b\xffn"));
        fs::create_dir(&folder).unwrap();
        let program = folder.join("finmcp");
        symlink(env!("CARGO_BIN_EXE_finmcp"), &program).unwrap();
        let mut command = sandbox.command(&program);
        command.args(["setup", "cursor", "tesorio"]);
        sandbox.run(command, Vec::new()).expect_code(2).expect_stderr(&["is not valid Unicode"]);
        assert!(!cursor_file(&sandbox).exists());
    }

    /// The path that a package manager keeps stable goes into the entry, not the one of this version.
    #[test]
    fn the_path_outlives_the_version() {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.home().join("bin");
        fs::create_dir(&folder).unwrap();
        symlink(env!("CARGO_BIN_EXE_finmcp"), folder.join("finmcp")).unwrap();
        sandbox.set("PATH", &folder);
        cursor(&sandbox, &["tesorio"]).expect_success();
        let command = json_in(&cursor_file(&sandbox))["mcpServers"]["tesorio"]["command"].clone();
        assert_eq!(command, folder.join("finmcp").to_str().unwrap());
    }
}

/// The real programs read the entry back. `tests/run.sh` installs them.
#[cfg(unix)]
pub mod agents {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::bridge::clients::installed;

    /// A sandbox with `agent` on its path.
    pub fn sandbox_with(agent: &str) -> Sandbox {
        let modules = installed("FINMCP_TEST_AGENTS");
        let mut sandbox = Sandbox::new();
        let folder = sandbox.home().join("bin");
        fs::create_dir(&folder).unwrap();
        // Claude Code's package puts its program in place by a script; it is in the system's own package.
        let native = fs::read_dir(modules.join("@anthropic-ai")).unwrap();
        let native = native.map(|entry| entry.unwrap().path().join("claude")).find(|path| path.is_file());
        let program = match agent {
            "claude" => native.unwrap(),
            other => modules.join(".bin").join(other),
        };
        symlink(program, folder.join(agent)).unwrap();
        let path = std::env::var("PATH").unwrap();
        sandbox.set("PATH", format!("{}:{path}", folder.display()));
        sandbox.set("GEMINI_CLI_TRUST_WORKSPACE", "true");
        sandbox
    }

    fn list(agent: &str, client: &str, words: &[&str]) -> String {
        let sandbox = sandbox_with(agent);
        sandbox.finmcp([&["setup", client], &ASSET[..]].concat()).expect_success();
        let mut command = sandbox.command(agent);
        command.args(words);
        let run = sandbox.run(command, Vec::new()).expect_success();
        run.stdout + &run.stderr
    }

    #[test]
    fn claude_code_connects_by_its_entry() {
        let shown = list("claude", "claude-code", &["mcp", "get", "asset-sandbox"]);
        assert!(shown.contains("Connected") && shown.contains("serve asset --env sandbox"), "{shown}");
    }

    #[test]
    fn codex_reads_its_entry() {
        let shown = list("codex", "codex", &["mcp", "get", "asset-sandbox", "--json"]);
        let shown: Value = serde_json::from_str(&shown[shown.find('{').unwrap()..=shown.rfind('}').unwrap()]).unwrap();
        assert_eq!(shown["transport"]["args"], json!(["serve", "asset", "--env", "sandbox"]));
        assert_eq!(shown["transport"]["env"]["FINMCP_STORE"], "file");
    }

    #[test]
    fn gemini_connects_by_its_entry() {
        let shown = list("gemini", "gemini", &["mcp", "list"]);
        assert!(shown.contains("asset-sandbox") && shown.contains("- Connected"), "{shown}");
    }
}
