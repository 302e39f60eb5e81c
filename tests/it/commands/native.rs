//! `finmcp setup --native`: the client connects to the server itself, and asks finmcp for the headers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    commands::setup::{json_in, read, write},
    support::{
        browser::{FakeBrowser, Person, signed_in},
        sandbox::{Run, Sandbox},
        vendor::{Dpop, Script, Vendor},
    },
};

const FINMCP: &str = env!("CARGO_BIN_EXE_finmcp");

fn claude_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".claude.json")
}

fn codex_file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".codex/config.toml")
}

/// A person who is signed in to a vendor, as the profile `books`.
fn books(script: Script) -> (Sandbox, Vendor, FakeBrowser) {
    let vendor = Vendor::start(script);
    let (sandbox, browser) = signed_in(&vendor, &["--profile", "books"]);
    (sandbox, vendor, browser)
}

fn setup(sandbox: &Sandbox, client: &str, options: &[&str]) -> Run {
    sandbox.finmcp([&["setup", client, "books", "--native"], options].concat())
}

/// The command for headers in the entry `books` of Codex.
fn codex_helper(sandbox: &Sandbox) -> String {
    let text = read(&codex_file(sandbox));
    let file: toml_edit::DocumentMut = text.parse().unwrap();
    file["mcp_servers"]["books"]["http_headers_helper"].as_str().unwrap().to_owned()
}

/// What a client gets that runs `helper` in a shell with these variables alone.
fn asked(sandbox: &Sandbox, helper: &str, variables: &[&str]) -> Run {
    let mut command = Command::new("/bin/sh");
    let passed = sandbox.environment().filter(|(name, _)| variables.iter().any(|passed| *name == passed));
    command.args(["-c", helper]).env_clear().envs(passed).current_dir("/");
    sandbox.run(command, Vec::new())
}

#[cfg(unix)]
#[test]
fn an_entry_gives_the_headers_with_the_variables_that_the_client_passes() {
    let (mut sandbox, vendor, _browser) = books(Script::people());
    sandbox.set("NO_PROXY", "127.0.0.1,it's \"$HOME\" & more");
    setup(&sandbox, "claude-code", &[]).expect_success().expect_stderr(&[
        "books to Claude Code.",
        "--read-only",
        "audit log",
        "label",
        "rate limit",
        "translation",
        "at-most-once",
        "`finmcp serve`",
    ]);
    let entry = json_in(&claude_file(&sandbox))["mcpServers"]["books"].clone();
    let helper = format!("{FINMCP} token --headers books");
    assert_eq!(entry, json!({"type": "http", "url": vendor.url(), "headersHelper": helper}));

    // Claude Code keeps some of them from a project's command.
    setup(&sandbox, "claude-code", &["--scope", "project"]).expect_success();
    let project = json_in(&sandbox.home().parent().unwrap().join("work/.mcp.json"));
    let helper = project["mcpServers"]["books"]["headersHelper"].as_str().unwrap().to_owned();
    asked(&sandbox, &helper, &["HOME", "PATH"]).expect_success();

    setup(&sandbox, "codex", &[]).expect_success();
    let text = read(&codex_file(&sandbox));
    assert!(text.starts_with(&format!("[mcp_servers.books]\nurl = \"{}\"\n", vendor.url())), "{text}");
    let helper = codex_helper(&sandbox);
    assert!(helper.starts_with("env ") && helper.ends_with(&format!(" {FINMCP} token --headers books")), "{helper}");
    for name in ["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE", "NO_PROXY", "DBUS_SESSION_BUS_ADDRESS"] {
        assert!(helper.contains(&format!("{name}=")), "{name}: {helper}");
    }
    let run = asked(&sandbox, &helper, &["HOME", "PATH"]).expect_success();
    let token = sandbox.finmcp(["token", "books"]).expect_success().stdout.trim_end().to_owned();
    assert_eq!(
        serde_json::from_str::<Value>(&run.stdout).unwrap(),
        json!({"Authorization": format!("Bearer {token}")})
    );
    let environment = Command::new("/bin/sh").args(["-c", &helper.replace(FINMCP, "env #")]).output().unwrap();
    assert!(String::from_utf8(environment.stdout).unwrap().contains("NO_PROXY=127.0.0.1,it's \"$HOME\" & more\n"));

    sandbox.finmcp(["logout", "books"]).expect_success();
    let run = asked(&sandbox, &helper, &["HOME", "PATH"]).expect_code(4);
    assert_eq!((run.stdout.as_str(), run.stderr.lines().count()), ("", 1), "{}", run.stderr);
}

/// Written once, recognised, replaced in both directions, and removed without a trace.
#[test]
fn an_entry_is_recognised_replaced_and_removed() {
    for (client, file, before) in [
        ("claude-code", claude_file as fn(&Sandbox) -> PathBuf, "{\n  \"numStartups\": 1\n}\n"),
        ("codex", codex_file, "model = \"x\" # mine\n"),
    ] {
        let sandbox = Sandbox::new();
        let (path, native) = (file(&sandbox), |options: &[&str]| {
            sandbox.finmcp([&["setup", client, "tesorio", "--native"], options].concat())
        });
        write(&path, before);
        native(&["--remove"]).expect_success().expect_stderr(&["nothing to remove"]);
        let shown = native(&["--dry-run"]).expect_success().stdout;
        assert!(shown.contains("token --headers tesorio"), "{shown}");
        assert!(native(&["--print"]).expect_success().stdout.contains("token --headers tesorio"));
        assert_eq!(read(&path), before);

        native(&[]).expect_success().expect_stderr(&["Next, sign in: finmcp login tesorio"]);
        let first = read(&path);
        native(&[]).expect_success().expect_stderr(&["already set up"]);
        assert_eq!(read(&path), first);
        native(&["--remove"]).expect_success();
        assert_eq!(read(&path), before, "{client}");

        native(&[]).expect_success();
        let serve = |options: &[&str]| sandbox.finmcp([&["setup", client, "tesorio"], options].concat());
        serve(&["--", "--read-only"]).expect_success().expect_stderr(&["Updated tesorio"]);
        let text = read(&path);
        assert!(text.contains("\"serve\"") && !text.contains("--headers") && !text.contains("https://"), "{text}");
        native(&[]).expect_code(1).expect_stderr(&["with options that --native drops", "--force"]);
        native(&["--force"]).expect_success();
        let text = read(&path);
        assert!(text.contains("--headers") && !text.contains("\"serve\"") && !text.contains("args"), "{text}");
        // Whichever way it is used: it is finmcp's entry for this server.
        serve(&["--remove"]).expect_success();
        assert!(!read(&path).contains("tesorio"), "{}", read(&path));
        let names = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().any(|name| name.to_string_lossy().contains(".before-finmcp")));
    }
}

#[test]
fn an_entry_of_another_server_stays() {
    let sandbox = Sandbox::new();
    let path = claude_file(&sandbox);
    sandbox.finmcp(["setup", "claude-code", "asset", "--env", "sandbox", "--native"]).expect_success();
    sandbox.finmcp(["setup", "claude-code", "asset", "--native", "--remove"]).expect_success();
    let helper = json_in(&path)["mcpServers"]["asset-sandbox"]["headersHelper"].clone();
    assert!(helper.as_str().unwrap().ends_with(" token --headers asset --env sandbox"), "{helper}");
    for foreign in ["gcloud auth print-headers", "sh -c 'finmcp token --headers tesorio'", "'"] {
        let entry = json!({"type": "http", "url": "https://mcp.tesorio.com/v1/mcp", "headersHelper": foreign});
        write(&path, &json!({"mcpServers": {"tesorio": entry}}).to_string());
        let remove = ["setup", "claude-code", "tesorio", "--native", "--remove"];
        sandbox.finmcp(remove).expect_code(1).expect_stderr(&["another server named"]);
    }
}

/// Another program's command may hold a secret.
#[test]
fn a_foreign_command_is_not_shown() {
    let sandbox = Sandbox::new();
    let entry = json!({"type": "http", "url": "https://x.example/mcp", "headersHelper": "print-headers CANARY-1"});
    write(&claude_file(&sandbox), &serde_json::to_string_pretty(&json!({"mcpServers": {"tesorio": entry}})).unwrap());
    let shown = sandbox.finmcp(["setup", "claude-code", "tesorio", "--native", "--force", "--dry-run"]);
    let shown = shown.expect_success().stdout;
    assert!(shown.contains("token --headers") && shown.contains("•••") && !shown.contains("CANARY"), "{shown}");
}

#[test]
fn unsupported_native_options_are_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    for (arguments, said) in [
        (&["cursor", "tesorio"][..], &["Cursor does not support --native", "claude-code, codex"][..]),
        (&["vscode", "tesorio"], &["VS Code does not support --native", "claude-code, codex"]),
        (&["codex", "tesorio", "--deeplink"], &["--deeplink"]),
        (&["codex", "tesorio", "--", "--read-only"], &["which --native does not start", "omit --native"]),
        (&["codex", "demo"], &["run inside finmcp"]),
        (&["--all", "tesorio"], &["no supported AI client found", "claude-code, codex"]),
    ] {
        sandbox.finmcp([&["setup", "--native"], arguments].concat()).expect_code(2).expect_stderr(said);
    }
    assert!(!codex_file(&sandbox).exists());
}

#[test]
fn setup_all_native_skips_unsupported_clients() {
    let sandbox = Sandbox::new();
    for folder in [".cursor", ".codex"] {
        fs::create_dir_all(sandbox.home().join(folder)).unwrap();
    }
    let run = sandbox.finmcp(["setup", "--all", "tesorio", "--native"]).expect_success();
    run.expect_stderr(&["Skipped Cursor", "Added tesorio to Codex."]);
    assert!(!sandbox.home().join(".cursor/mcp.json").exists());
}

#[test]
fn tokens_that_are_bound_to_a_key_are_refused() {
    let (sandbox, _vendor, _browser) = books(Script { dpop: Some(Dpop::Challenged), ..Script::people() });
    for options in [&[][..], &["--print"], &["--dry-run"]] {
        setup(&sandbox, "codex", options).expect_code(2).expect_stderr(&["DPoP key", "omit --native"]);
    }
    assert!(!codex_file(&sandbox).exists());
    setup(&sandbox, "codex", &["--remove"]).expect_success();
    sandbox.finmcp(["setup", "codex", "books"]).expect_success();
}

/// Codex passes no proxy on, and the file is no place for its password.
#[cfg(unix)]
#[test]
fn a_password_is_not_written() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    sandbox.set("HTTPS_PROXY", "http://me:CANARY-0123456789abcdef@proxy.example:3128");
    let run = setup(&sandbox, "codex", &[]).expect_success();
    run.expect_stderr(&["HTTPS_PROXY", "contains a password", "without --native"]);
    sandbox.assert_no_secret(&["CANARY-0123456789abcdef".to_owned()]);
    assert!(!codex_helper(&sandbox).contains("HTTPS_PROXY"));
}

/// A token in plain text gives way to a native entry as it does to another.
#[test]
fn a_plaintext_token_is_replaced() {
    let sandbox = Sandbox::new();
    let path = codex_file(&sandbox);
    write(
        &path,
        "[mcp_servers.money]\nurl = \"https://mcp.tesorio.com/v1/mcp\"\nhttp_headers = { Authorization = \"Bearer CANARY-1\" }\nenabled_tools = [\"a\"]\n",
    );
    let run = sandbox.finmcp(["setup", "codex", "tesorio", "--native"]).expect_success();
    run.expect_stderr(&["run: finmcp setup codex tesorio --native --replace"]);
    sandbox.finmcp(["setup", "codex", "tesorio", "--native", "--remove"]).expect_success();
    sandbox.finmcp(["setup", "codex", "tesorio", "--native", "--replace"]).expect_success();
    let text = read(&path);
    assert!(text.starts_with("[mcp_servers.money]\n") && text.contains("enabled_tools = [\"a\"]\n"), "{text}");
    assert!(text.contains("token --headers tesorio\"") && !text.contains("CANARY"), "{text}");
}

/// What doctor says of the entry.
#[track_caller]
fn examined(sandbox: &Sandbox, verdict: &str, texts: &[&str]) {
    let run = sandbox.finmcp(["doctor", "books", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == "client").unwrap_or_else(|| panic!("{report}"));
    let found = step.to_string();
    assert!(found.contains(&format!("\"{verdict}\"")), "{found}");
    for text in texts {
        assert!(found.contains(text), "{text:?}: {found}");
    }
}

#[cfg(unix)]
#[test]
fn doctor_tries_the_command_as_the_client_does() {
    for (client, title, file) in
        [("claude-code", "Claude Code", claude_file as fn(&Sandbox) -> PathBuf), ("codex", "Codex", codex_file)]
    {
        let (sandbox, vendor, _browser) = books(Script::people());
        setup(&sandbox, client, &[]).expect_success();
        let path: &Path = &file(&sandbox);
        let good = read(path);
        let cure = format!("finmcp setup {client} books --native");
        examined(&sandbox, "ok", &[&format!("{title}, entry books: gives the headers")]);

        // Each for another reason.
        write(path, &good.replace(&vendor.url(), "https://other.example/mcp"));
        examined(&sandbox, "failed", &["sends the token to another server", "https://other.example/mcp", &cure]);
        write(path, &good.replace(FINMCP, "/nowhere/finmcp"));
        examined(&sandbox, "failed", &["cannot start /nowhere/finmcp", &cure]);
        write(path, &good.replace("--headers books", "--headers unknown"));
        examined(&sandbox, "failed", &["do not name a known server", "unknown"]);
        let program = sandbox.home().join("other/finmcp");
        for (script, said) in [("echo nothing", "not a JSON object"), ("echo error: odd >&2; exit 1", "odd")] {
            let script = format!("#!/bin/sh\n[ \"$1\" = token ] || exec {FINMCP} \"$@\"\n{script}\n");
            write(&program, &script);
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            write(path, &good.replace(FINMCP, program.to_str().unwrap()));
            examined(&sandbox, "failed", &["prints no headers", said, &cure]);
        }
        write(path, &good);
        vendor.revoke_sign_ins();
        examined(&sandbox, "warning", &["prints no headers", "not signed in", "finmcp login books"]);
        sandbox.finmcp(["logout", "books"]).expect_success();
        examined(&sandbox, "warning", &["prints no headers", "not signed in", "finmcp login books"]);
    }
}

/// What this process has, and Codex drops.
#[cfg(unix)]
#[test]
fn doctor_finds_a_command_without_the_variables_that_it_needs() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    setup(&sandbox, "codex", &[]).expect_success();
    let (path, helper) = (codex_file(&sandbox), codex_helper(&sandbox));
    let bare = &helper[helper.find(FINMCP).unwrap()..];
    write(&path, &read(&path).replace(&helper, bare));
    assert_eq!(codex_helper(&sandbox), bare);
    examined(&sandbox, "failed", &["cannot find your sign-in", "finmcp setup codex books --native"]);
}

/// An entry that was written before the server bound its tokens to a key.
#[cfg(unix)]
#[test]
fn doctor_says_that_bound_tokens_need_serve() {
    let (mut sandbox, vendor, _browser) = books(Script::people());
    setup(&sandbox, "claude-code", &[]).expect_success();
    vendor.change(|script| script.dpop = Some(Dpop::Challenged));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", "books", "--force"]).expect_success();
    examined(&sandbox, "failed", &["DPoP", "finmcp serve books"]);
}

/// The real programs, as a person would use them. `tests/run.sh` installs them.
#[cfg(unix)]
mod agents {
    use std::{
        io::{BufRead as _, BufReader, Lines, Write as _},
        process::{Child, ChildStdin, ChildStdout, Stdio},
        time::Duration,
    };

    use super::*;
    use crate::{
        commands::{setup::agents::sandbox_with, token::pass},
        support::eventually,
    };

    /// How a token ends between two calls.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum End {
        /// It was good for some seconds.
        Expired,
        /// Long before its time.
        Revoked,
    }

    const LIFETIME: Duration = Duration::from_secs(4);

    /// `agent` with a native entry for a vendor that a person is signed in to.
    fn machine(agent: &str, client: &str, end: End) -> (Sandbox, Vendor) {
        let lifetime = if end == End::Expired { LIFETIME } else { Duration::from_secs(3600) };
        let vendor = Vendor::start(Script { access_lifetime: lifetime, ..Script::people() });
        let mut sandbox = sandbox_with(agent);
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
        setup(&sandbox, client, &[]).expect_success();
        (sandbox, vendor)
    }

    /// Waits for the tool to have run `count` times.
    #[track_caller]
    fn ran(vendor: &Vendor, count: usize) {
        eventually("the call", || (vendor.executed().len() >= count).then_some(()));
    }

    /// Ends the token that the client has.
    fn finish(vendor: &Vendor, end: End) {
        match end {
            End::Expired => pass(LIFETIME),
            End::Revoked => vendor.revoke_access_tokens(),
        }
    }

    /// Each call ran once, the last with another token than the first.
    #[track_caller]
    fn check(vendor: &Vendor, calls: usize) {
        assert_eq!(vendor.executed(), vec!["echo"; calls]);
        let sent = vendor.calls("tools/call");
        let token = |at: usize| sent[at].header("authorization").unwrap().to_owned();
        assert_ne!(token(0), token(sent.len() - 1));
        assert_eq!(vendor.replays(), 0);
    }

    #[test]
    fn claude_code_calls_through_its_native_entry() {
        for end in [End::Revoked, End::Expired] {
            let (sandbox, vendor) = machine("claude", "claude-code", end);
            let mut command = sandbox.command("node");
            let model = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "agents", "model.cjs"];
            command.arg(model.iter().collect::<PathBuf>());
            command.args(["mcp__books__echo", "claude", "-p", "call the tool", "--allowedTools", "mcp__books__echo"]);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut model = child.stdin.take().unwrap();
            let mut call = |text: &str| model.write_all(text.as_bytes()).unwrap();
            vendor.wait_for("the list of tools", |record| record.rpc_method().as_deref() == Some("tools/list"));
            call("first\n");
            ran(&vendor, 1);
            finish(&vendor, end);
            call("second\n");
            ran(&vendor, 2);
            drop(model);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains("first") && said.contains("second"), "{end:?}: {said}");
            check(&vendor, 2);
        }
    }

    #[test]
    fn claude_code_signed_out() {
        let (sandbox, vendor) = machine("claude", "claude-code", End::Revoked);
        let get = || {
            let mut command = sandbox.command("claude");
            command.args(["mcp", "get", "books"]);
            sandbox.run(command, Vec::new()).stdout
        };
        assert!(get().contains("Connected"));
        sandbox.finmcp(["logout", "books"]).expect_success();
        let before = vendor.records().len();
        let said = get();
        assert!(!said.contains("✔ Connected") && !said.contains("✓ Connected"), "{said}");
        assert!(vendor.records()[before..].iter().all(|record| record.header("authorization").is_none()));
    }

    /// Codex, driven by its protocol for other programs: JSON-RPC without its version, one message a line.
    struct Codex {
        process: Child,
        input: ChildStdin,
        output: Lines<BufReader<ChildStdout>>,
    }

    impl Codex {
        /// Starts it, with a thread whose id it returns.
        fn start(sandbox: &Sandbox) -> (Self, Value) {
            let mut command = sandbox.command("codex");
            command.arg("app-server").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut process = command.spawn().unwrap();
            let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
            let mut codex = Self { process, input, output: BufReader::new(output).lines() };
            let client = json!({"name": "test", "title": "test", "version": "1"});
            codex.request("initialize", json!({"clientInfo": client}));
            writeln!(codex.input, "{}", json!({"method": "initialized"})).unwrap();
            let thread = codex.request("thread/start", json!({}))["result"]["thread"]["id"].clone();
            (codex, thread)
        }

        fn request(&mut self, method: &str, params: Value) -> Value {
            writeln!(self.input, "{}", json!({"id": method, "method": method, "params": params})).unwrap();
            let messages = self.output.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
            messages.into_iter().find(|message| message["id"] == method).expect("an answer")
        }

        fn call(&mut self, thread: &Value, text: &str) -> Value {
            let arguments = json!({"message": text});
            let call = json!({"threadId": thread, "server": "books", "tool": "echo", "arguments": arguments});
            self.request("mcpServer/tool/call", call)
        }
    }

    impl Drop for Codex {
        fn drop(&mut self) {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }

    #[test]
    fn codex_calls_through_its_native_entry() {
        for end in [End::Revoked, End::Expired] {
            let (sandbox, vendor) = machine("codex", "codex", end);
            let (mut codex, thread) = Codex::start(&sandbox);
            assert_eq!(codex.call(&thread, "first")["result"]["content"][0]["text"], "first");
            finish(&vendor, end);
            assert_eq!(codex.call(&thread, "second")["result"]["content"][0]["text"], "second", "{end:?}");
            check(&vendor, 2);
        }
    }

    #[test]
    fn codex_signed_out() {
        let (sandbox, vendor) = machine("codex", "codex", End::Revoked);
        sandbox.finmcp(["logout", "books"]).expect_success();
        let before = vendor.records().len();
        let (mut codex, thread) = Codex::start(&sandbox);
        let answer = codex.call(&thread, "first");
        assert!(answer["result"].is_null() && !answer["error"].is_null(), "{answer}");
        assert!(vendor.records()[before..].iter().all(|record| record.header("authorization").is_none()));
        assert!(vendor.executed().is_empty());
    }
}
