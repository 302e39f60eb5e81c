//! `finmcp profile`: saved profiles are listed, renamed and removed, with their sign-ins.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    commands::{login::machine_vendor, settings::configure, setup::json_in},
    support::{
        PATIENCE,
        browser::{FakeBrowser, signed_in},
        eventually,
        sandbox::{Run, Sandbox, wait},
        terminal::Terminal,
        vendor::{Script, Vendor},
    },
};

/// A person who is signed in as `books`.
fn with_books() -> (Sandbox, FakeBrowser, Vendor) {
    let vendor = Vendor::start(Script::people());
    let (sandbox, browser) = signed_in(&vendor, &["--profile", "books"]);
    (sandbox, browser, vendor)
}

/// The credentials in the store.
fn stored(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = sandbox.home().join("finmcp/credentials");
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_record = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("finmcp-");
    entries.filter(is_record).collect()
}

fn config(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.home().join("finmcp/config.toml")).unwrap()
}

/// Runs a command as it was shown.
#[track_caller]
pub fn run_as_shown(sandbox: &Sandbox, command: &str) -> Run {
    let words = shlex::split(command).unwrap();
    assert_eq!(words[0], "finmcp", "{command}");
    sandbox.finmcp(&words[1..])
}

/// The lines of what was said that are commands.
fn shown(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("finmcp ")).collect()
}

fn has_description(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.home().join(format!("finmcp/servers/{name}.json")).exists()
}

#[test]
fn c7_a_profile_is_renamed_with_its_sign_in() {
    let (sandbox, _browser, vendor) = with_books();
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    eventually("the description", || has_description(&sandbox, "books").then_some(()));
    drop(serve);
    let before = format!(
        "# mine\ndefault = \"books\" # every day\n\n# first\n[profiles.a]\nurl = \"https://a.example/\"\n{}\n# last\n[profiles.z] # end\nurl = \"https://z.example/\"\n",
        config(&sandbox)
    );
    fs::write(sandbox.home().join("finmcp/config.toml"), &before).unwrap();
    let (token, requests) =
        (sandbox.finmcp(["token", "books"]).expect_success().stdout, vendor.records_at("/token").len());

    // Case does not matter in the old name, and stays as typed in the new one.
    sandbox.finmcp(["profile", "rename", "Books", "Ledger"]).expect_success().expect_stderr(&["to Ledger"]);
    assert_eq!(config(&sandbox), before.replace("books", "Ledger"));
    assert_eq!(sandbox.finmcp(["token", "Ledger"]).expect_success().stdout, token);
    assert_eq!(sandbox.finmcp(["token"]).expect_success().stdout, token, "it is still the default");
    assert_eq!((stored(&sandbox).len(), vendor.records_at("/token").len()), (1, requests));
    assert!(has_description(&sandbox, "Ledger") && !has_description(&sandbox, "books"));
    sandbox.finmcp(["token", "books"]).expect_code(2);
    sandbox.finmcp(["token", "ledger", "--force-refresh"]).expect_success();
    assert_eq!((vendor.replays(), vendor.records_at("/revoke").len()), (0, 0));
    // A second profile of the old name is another sign-in.
    sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
    assert_eq!(stored(&sandbox).len(), 2);
    sandbox.assert_no_secret(&vendor.secrets());
}

#[test]
fn c7_a_rename_that_is_killed_loses_no_token() {
    let (sandbox, _browser, vendor) = with_books();
    let rename = ["profile", "rename", "books", "ledger"];
    // Another process edits config.toml: the new record is there, and the settings name the old one.
    let lock = fs::File::create(sandbox.home().join("finmcp/locks/config.lock")).unwrap();
    lock.lock().unwrap();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    let mut child = command.args(rename).spawn().unwrap();
    eventually("two records", || (stored(&sandbox).len() == 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lock);
    // The copy goes stale.
    sandbox.finmcp(["token", "books", "--force-refresh"]).expect_success();
    sandbox.finmcp(rename).expect_success();
    assert_eq!(stored(&sandbox).len(), 1);
    sandbox.finmcp(["token", "ledger", "--force-refresh"]).expect_success();

    // Killed before the old record is deleted: the same command again deletes it, and revokes nothing.
    let old = stored(&sandbox).remove(0);
    let record = fs::read(&old).unwrap();
    sandbox.finmcp(["profile", "rename", "ledger", "main"]).expect_success();
    fs::write(&old, record).unwrap();
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    sandbox.finmcp(["token", "main", "--force-refresh"]).expect_success();
    sandbox.finmcp(["profile", "rename", "ledger", "main"]).expect_success();
    assert!(stored(&sandbox).len() == 1 && !old.exists());
    sandbox.finmcp(["token", "main", "--force-refresh"]).expect_success();
    sandbox
        .finmcp(["profile", "rename", "ledger", "main"])
        .expect_code(2)
        .expect_stderr(&["called \"ledger\"", "main"]);
    assert_eq!((vendor.replays(), vendor.records_at("/revoke").len()), (0, 0));
}

/// A rename that fails leaves one record, that of the old name.
#[test]
fn c7_a_rename_that_fails_changes_nothing() {
    let (sandbox, _browser, vendor) = with_books();
    sandbox.finmcp(["login", &vendor.url(), "--profile", "other"]).expect_success();
    let (text, records) = (config(&sandbox), stored(&sandbox).len());
    for (new, said) in [
        ("other", "a profile is called \"other\" already"),
        ("tesorio", "is the name of a preset"),
        ("a b", "invalid profile name"),
        ("", "invalid profile name"),
    ] {
        sandbox.finmcp(["profile", "rename", "books", new]).expect_code(2).expect_stderr(&[said, "hint:"]);
    }
    let lock = fs::File::create(sandbox.home().join("finmcp/locks/config.lock")).unwrap();
    lock.lock().unwrap();
    sandbox
        .finmcp(["profile", "rename", "books", "ledger"])
        .expect_code(1)
        .expect_stderr(&["config.toml was not changed"]);
    drop(lock);
    assert_eq!((config(&sandbox), stored(&sandbox).len()), (text, records));
    sandbox.finmcp(["token", "books"]).expect_success();
}

/// However `config.toml` spells it, and also without a sign-in or with one that is a business's.
#[test]
fn c7_every_form_of_a_profile_is_renamed() {
    for (before, after) in [
        ("profiles.x.url = \"https://x.example/\" # c\n", "profiles.y.url = \"https://x.example/\" # c\n"),
        (
            "[profiles]\nx = { url = \"https://x.example/\" } # c\na.url = \"https://a.example/\"\n",
            "[profiles]\ny = { url = \"https://x.example/\" } # c\na.url = \"https://a.example/\"\n",
        ),
        (
            "[profiles.x]\nurl = \"https://x.example/\"\n[profiles.x.headers]\na = \"b\"\n",
            "[profiles.y]\nurl = \"https://x.example/\"\n[profiles.y.headers]\na = \"b\"\n",
        ),
        (
            "default = 'X'\n[profiles.x]\nurl = \"https://x.example/\"\n",
            "default = \"y\"\n[profiles.y]\nurl = \"https://x.example/\"\n",
        ),
        (
            "default = \"asset\"\n[profiles.x]\nprovider = \"asset\"\n",
            "default = \"asset\"\n[profiles.y]\nprovider = \"asset\"\n",
        ),
    ] {
        let sandbox = Sandbox::new();
        configure(&sandbox, before);
        sandbox.finmcp(["profile", "rename", "x", "y"]).expect_success();
        assert_eq!(config(&sandbox), after);
    }
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.finmcp(crate::commands::login::machine_login(&sandbox, &vendor)).expect_success();
    let record = stored(&sandbox);
    sandbox.finmcp(["profile", "rename", "asset-sandbox", "work"]).expect_success();
    assert_eq!(stored(&sandbox), record, "its account is the business");
    sandbox.finmcp(["token", "work"]).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
}

/// AI clients start finmcp by the old name: each command that finmcp shows for them does what it says.
#[test]
fn c7_the_clients_of_a_renamed_or_removed_profile_are_named() {
    let (sandbox, _browser, _vendor) = with_books();
    sandbox.finmcp(["setup", "cursor", "books", "--", "--read-only", "--deny-tool", "a b"]).expect_success();
    sandbox.finmcp(["setup", "vscode", "books", "--name", "mine", "--scope", "project"]).expect_success();
    sandbox.finmcp(["setup", "claude-code", "books", "--native"]).expect_success();
    sandbox.finmcp(["setup", "gemini", "asset"]).expect_success();
    let said = sandbox.finmcp(["profile", "rename", "books", "ledger"]).expect_success().stderr;
    assert_eq!(shown(&said).len(), 3, "{said}");
    for command in shown(&said) {
        run_as_shown(&sandbox, command).expect_success();
    }
    let work = sandbox.home().parent().unwrap().join("work");
    let files =
        [sandbox.home().join(".cursor/mcp.json"), work.join(".vscode/mcp.json"), sandbox.home().join(".claude.json")];
    let [cursor, vscode, claude] = files.each_ref().map(|path| json_in(path));
    let arguments = serde_json::json!(["serve", "ledger", "--read-only", "--deny-tool", "a b"]);
    assert_eq!(cursor["mcpServers"]["books"]["args"], arguments);
    assert_eq!(vscode["servers"]["mine"]["args"], serde_json::json!(["serve", "ledger"]));
    assert!(
        claude["mcpServers"]["books"]["headersHelper"].as_str().unwrap().ends_with("token --headers ledger"),
        "{claude}"
    );

    let said = sandbox.finmcp(["profile", "remove", "ledger", "--yes"]).expect_success().stderr;
    assert_eq!(shown(&said).len(), 3, "{said}");
    for command in shown(&said) {
        run_as_shown(&sandbox, command).expect_success();
    }
    for path in &files {
        let left = fs::read_to_string(path).unwrap_or_default();
        assert!(!left.contains("\"books\"") && !left.contains("\"mine\""), "{left}");
    }
}

#[test]
fn c7_a_removed_profile_is_gone_here_and_at_the_server() {
    let (sandbox, _browser, vendor) = with_books();
    let text =
        format!("default = \"books\" # d\n# mine\n{}[profiles.z]\nurl = \"https://z.example/\"\n", config(&sandbox));
    fs::write(sandbox.home().join("finmcp/config.toml"), text).unwrap();
    // A script is not asked, and changes nothing by accident.
    let said = sandbox.finmcp(["profile", "remove", "Books"]).expect_code(2).stderr;
    assert_eq!((stored(&sandbox).len(), vendor.records_at("/revoke").len()), (1, 0));
    let hint = said.split('`').nth(1).unwrap();
    run_as_shown(&sandbox, hint).expect_success().expect_stderr(&["Removed books", &vendor.url()]);
    assert_eq!((stored(&sandbox).len(), vendor.records_at("/revoke").len()), (0, 2));
    assert_eq!(config(&sandbox), "[profiles.z]\nurl = \"https://z.example/\"\n");
    sandbox.finmcp(["profile", "remove", "books", "--yes"]).expect_code(2).expect_stderr(&["use one of: z"]);
    // One that is invalid, too.
    configure(&sandbox, "[profiles.bad]\nprovider = \"nope\"\n");
    sandbox.finmcp(["profile", "rename", "bad", "good"]).expect_code(2).expect_stderr(&["finmcp config edit"]);
    sandbox.finmcp(["profile", "remove", "bad", "--yes"]).expect_success();
    assert_eq!(config(&sandbox), "");
}

#[test]
fn c7_a_person_is_asked_before_a_profile_is_removed() {
    for (answer, left) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        let (sandbox, _browser, vendor) = with_books();
        let terminal = Terminal::open();
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(["profile", "remove", "books", "--no-revoke"]);
        let seats = (terminal.stdio(), terminal.stdio(), terminal.stdio());
        let mut child = command.stdin(seats.0).stdout(seats.1).stderr(seats.2).spawn().unwrap();
        eventually("the question", || terminal.shown().contains("delete its settings? [y/N]").then_some(()));
        terminal.enter(answer);
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
        assert_eq!((stored(&sandbox).len(), vendor.records_at("/revoke").len()), (left, 0));
    }
}

#[test]
fn c7_profiles_are_listed() {
    let sandbox = Sandbox::new();
    sandbox.finmcp(["profile", "list"]).expect_success().expect_stderr(&["`finmcp login`"]);
    let (sandbox, _browser, vendor) = with_books();
    let text = format!(
        "default = \"Books\"\n{}[profiles.asset-sandbox]\nprovider = \"asset\"\nenvironment = \"sandbox\"\n[profiles.bad]\nprovider = \"nope\"\n",
        config(&sandbox)
    );
    configure(&sandbox, &text);
    let run = sandbox.finmcp(["profile", "list"]).expect_success().expect_stderr(&["\"bad\"", "there is no provider"]);
    let rows: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        rows,
        [
            vec!["PROFILE", "SIGN-IN", "SERVER"],
            vec!["asset-sandbox", "signed out", "https://api.sandbox.getasset.com/mcp"],
            vec!["books (default)", "signed in", &vendor.url()],
        ]
    );
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    let json: Value =
        serde_json::from_str(&sandbox.finmcp(["profile", "list", "--json"]).expect_success().stdout).unwrap();
    assert_eq!(
        (&json[1]["profile"], &json[1]["default"], &json[1]["signed_in"]),
        (&"books".into(), &true.into(), &true.into())
    );
    assert_eq!((&json[0]["environment"], &json[0]["default"]), (&"sandbox".into(), &false.into()));
}

/// The default is set in its place, and no other byte changes.
#[test]
fn c7_the_default_is_shown_and_set() {
    let rest = "# mine\n\n[profiles.x] # x\nurl = \"https://x.example/\"\n# end\n";
    for (before, typed, after) in [
        ("", "x", "default = \"x\"\n"),
        (
            "client_metadata_url = \"https://c.example/c\" # c\n",
            "Asset",
            "client_metadata_url = \"https://c.example/c\" # c\ndefault = \"asset\"\n",
        ),
        ("default   =  'asset'   # why\n", "x", "default   =  \"x\"   # why\n"),
        ("default = \"asset\"\n", "mcp.example.com/mcp", "default = \"https://mcp.example.com/mcp\"\n"),
    ] {
        let sandbox = Sandbox::new();
        configure(&sandbox, &format!("{before}{rest}"));
        sandbox.finmcp(["profile", "default", typed]).expect_success();
        assert_eq!(config(&sandbox), format!("{after}{rest}"));
        let shown = sandbox.finmcp(["profile", "default"]).expect_success().stdout;
        assert!(config(&sandbox).contains(&format!("\"{}\"", shown.trim())), "{shown}");
    }
    let sandbox = Sandbox::new();
    sandbox.finmcp(["profile", "default"]).expect_success().expect_stderr(&["finmcp profile default SERVER"]);
    configure(&sandbox, "default = \"tesorio\"\n# mine\n");
    sandbox.finmcp(["profile", "default", "tesoro"]).expect_code(2).expect_stderr(&["did you mean tesorio?"]);
    sandbox.finmcp(["profile", "default", "demo"]).expect_code(2);
    assert_eq!(config(&sandbox), "default = \"tesorio\"\n# mine\n");
    sandbox.finmcp(["profile", "default", "--unset"]).expect_success();
    assert!(!config(&sandbox).contains("default"), "{}", config(&sandbox));
}
