//! `finmcp setup --replace`: an API key in plain text in a client's file moves into the credential store.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    commands::setup::{backup, json_in, read, write},
    support::{
        sandbox::{Run, Sandbox},
        vendor::{Guard, Script, Vendor},
    },
};

const KEY: &str = "rk_test_CANARY51f0c2a97e";

/// A vendor that serves who sends `value` in `header`.
fn vendor(header: &'static str, value: &str) -> Vendor {
    let guard = Guard::ApiKey(header, value.to_owned());
    Vendor::start(Script { guard, publishes_metadata: false, ..Script::default() })
}

fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".cursor/mcp.json")
}

/// Cursor's file with these servers.
fn servers(sandbox: &Sandbox, servers: &Value) {
    write(&file(sandbox), &serde_json::to_string_pretty(&json!({"mcpServers": servers})).unwrap());
}

fn setup(sandbox: &Sandbox, vendor: &Vendor, options: &[&str]) -> Run {
    let run = sandbox.finmcp([&["setup", "cursor", &vendor.url(), "--profile", "money"], options].concat());
    assert!(!run.stdout.contains("CANARY") && !run.stderr.contains("CANARY"), "{}{}", run.stdout, run.stderr);
    run
}

/// The tool can be called by the entry `name`, as Cursor does.
#[track_caller]
fn assert_works(sandbox: &Sandbox, name: &str) {
    let entry = json_in(&file(sandbox))["mcpServers"][name].clone();
    let arguments: Vec<&str> = entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(arguments[0], "serve", "{entry}");
    let mut serve = sandbox.start(arguments);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
}

/// In each form that clients know.
#[test]
fn a_key_moves_into_the_store() {
    type Written = fn(&str) -> Value;
    let entries: [(&str, String, Written); 6] = [
        (
            "authorization",
            format!("Bearer {KEY}"),
            |url| json!({"url": url, "headers": {"Authorization": format!("Bearer {KEY}"), "Stripe-Account": "acct_1"}}),
        ),
        (
            "x-api-key",
            KEY.to_owned(),
            |url| json!({"type": "http", "url": url, "headers": {"X-Api-Key": KEY, "stripe-account": "acct_1"}}),
        ),
        (
            "authorization",
            format!("Token {KEY}"),
            |url| json!({"url": url, "headers": {"authorization": format!("Token {KEY}"), "Stripe-Account": "acct_1"}}),
        ),
        ("authorization", format!("Bearer {KEY}"), |url| {
            let arguments =
                ["-y", "mcp-remote", url, "--header", "Authorization:${AUTH}", "--header", "Stripe-Account:acct_1"];
            json!({"command": "npx", "args": arguments, "env": {"AUTH": format!("Bearer {KEY}")}})
        }),
        ("x-api-key", KEY.to_owned(), |url| {
            let arguments =
                ["mcp-remote@latest", url, "--header", &format!("X-Api-Key: {KEY}"), "--header=Stripe-Account: acct_1"];
            json!({"command": "npx", "args": arguments})
        }),
        (
            "x-auth-key",
            KEY.to_owned(),
            |url| json!({"url": url, "headers": {"X-Auth-Key": KEY, "Accept": "text/html", "Stripe-Account": "acct_1"}}),
        ),
    ];
    for (header, value, entry) in entries {
        let (sandbox, vendor) = (Sandbox::new(), vendor(header, &value));
        servers(&sandbox, &json!({"books": entry(&vendor.url()), "other": {"command": "other"}}));
        let before = read(&file(&sandbox));
        let run = setup(&sandbox, &vendor, &["--replace"]).expect_success();
        let kept = backup(&file(&sandbox));
        run.expect_stderr(&["Moved the API key", "contains the secrets in plain text", &kept.display().to_string()]);
        assert_works(&sandbox, "books");
        assert_eq!(json_in(&file(&sandbox))["mcpServers"]["other"], json!({"command": "other"}));
        for record in vendor.records() {
            let sent = (record.header(header), record.header("stripe-account"), record.header("accept"));
            assert_eq!((sent.0, sent.1), (Some(value.as_str()), Some("acct_1")));
            assert_ne!(sent.2, Some("text/html"), "finmcp sets its own");
        }
        let config = fs::read_to_string(sandbox.home().join("finmcp/config.toml")).unwrap();
        assert!(config.contains("[profiles.money]") && config.contains("stripe-account = \"acct_1\""), "{config}");
        // The backup is all that is left of it.
        assert_eq!(read(&kept), before);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&kept).unwrap().permissions()) & 0o777, 0o600);
        fs::remove_file(kept).unwrap();
        sandbox.assert_no_secret(&[KEY.to_owned()]);
    }
}

#[test]
fn dry_run_names_the_keys_that_would_move() {
    let (sandbox, vendor) = (Sandbox::new(), vendor("x-api-key", KEY));
    let headers = json!({"X-Api-Key": KEY, "Stripe-Account": "acct_1"});
    servers(&sandbox, &json!({"books": {"url": vendor.url(), "headers": headers}}));
    let before = read(&file(&sandbox));
    let run = setup(&sandbox, &vendor, &["--replace", "--dry-run"]).expect_success();
    run.expect_stderr(&[
        "Would move the API key of entry \"books\" (header x-api-key)",
        "stripe-account",
        "accepts it",
    ]);
    setup(&sandbox, &vendor, &["--dry-run"]).expect_success().expect_stderr(&["books: holds an API key in plain text"]);
    assert_eq!(read(&file(&sandbox)), before);
    assert!(vendor.records().is_empty() && !sandbox.home().join("finmcp/config.toml").exists());
}

/// The key goes only once the server has accepted it.
#[test]
fn a_rejected_key_is_not_moved() {
    let bearer = format!("Bearer {KEY}");
    let gone = Vendor::start(Script::default());
    let url = gone.url();
    gone.stop();
    for (guard, url, headers, said) in [
        ("Bearer another", None, json!({"Authorization": bearer}), "refuses the API key"),
        (bearer.as_str(), Some(url), json!({"Authorization": bearer}), "could not sign in"),
        (&bearer, None, json!({"Authorization": bearer, "X-Api-Key": "CANARY-2"}), "several secret headers"),
        (&bearer, None, json!({"Authorization": bearer, "X-Tenant": "${TENANT}"}), "X-Tenant is not in the file"),
        (&bearer, None, json!({"Cookie": "sid=CANARY-2"}), "cookie"),
    ] {
        let (sandbox, vendor) = (Sandbox::new(), vendor("authorization", guard));
        let url = url.unwrap_or_else(|| vendor.url());
        servers(&sandbox, &json!({"money": {"url": url, "headers": headers}}));
        let before = read(&file(&sandbox));
        // --force would take the entry of that name, and the key with it.
        let run = sandbox.finmcp(["setup", "cursor", &url, "--profile", "money", "--replace", "--force"]);
        assert_ne!(run.code, Some(0), "{headers}");
        assert!(!run.stderr.contains("CANARY"), "{}", run.stderr);
        run.expect_stderr(&["could not move the API key of entry \"money\"; the entry is unchanged", said]);
        assert_eq!(read(&file(&sandbox)), before);
        assert!(!backup(&file(&sandbox)).exists());
        sandbox.finmcp(["token", "money"]).expect_code(2);
    }
}

/// What would fail anyway is found before the server sees the key.
#[test]
fn a_name_that_is_taken_is_found_first() {
    let (sandbox, vendor) = (Sandbox::new(), vendor("authorization", &format!("Bearer {KEY}")));
    let headers = json!({"Authorization": format!("Bearer {KEY}")});
    servers(&sandbox, &json!({"books": {"url": vendor.url(), "headers": headers}, "taken": {"command": "other"}}));
    let run = setup(&sandbox, &vendor, &["--replace", "--name", "taken"]).expect_code(1);
    run.expect_stderr(&["another server named \"taken\""]);
    assert!(vendor.records().is_empty());
}

/// The other entries are set up all the same.
#[test]
fn a_rejected_key_of_another_server_is_not_moved() {
    let (sandbox, vendor) = (Sandbox::new(), vendor("authorization", &format!("Bearer {KEY}")));
    let other =
        Vendor::start(Script { guard: Guard::ApiKey("authorization", "Bearer x".to_owned()), ..Script::default() });
    let config = format!("[profiles.other]\nurl = \"{}\"\n", other.url());
    write(&sandbox.home().join("finmcp/config.toml"), &config);
    let entry = |vendor: &Vendor| json!({"url": vendor.url(), "headers": {"Authorization": format!("Bearer {KEY}")}});
    servers(&sandbox, &json!({"bad": entry(&other), "good": entry(&vendor)}));
    let run = setup(&sandbox, &vendor, &["--replace"]).expect_success();
    run.expect_stderr(&["could not move the API key of entry \"bad\"; the entry is unchanged", "Moved the API key"]);
    assert_eq!(json_in(&file(&sandbox))["mcpServers"]["bad"], entry(&other));
    assert_works(&sandbox, "good");
}

/// A token is no key: it ends. Neither is what a signed-in profile needs no more.
#[test]
fn entries_without_a_key_are_replaced_without_a_sign_in() {
    let (sandbox, vendor) = (Sandbox::new(), vendor("authorization", "Bearer x"));
    let jwt = vendor.jwt("me", "books", 60);
    servers(&sandbox, &json!({"books": {"url": vendor.url(), "headers": {"Authorization": format!("Bearer {jwt}")}}}));
    let run = setup(&sandbox, &vendor, &["--replace"]).expect_success();
    run.expect_stderr(&["Next, sign in", "revoke those tokens"]);
    assert!(!read(&file(&sandbox)).contains(&jwt) && vendor.records().is_empty());

    let (sandbox, vendor) = (Sandbox::new(), self::vendor("authorization", &format!("Bearer {KEY}")));
    let key = sandbox.give("key", KEY);
    let login = ["login", &vendor.url(), "--profile", "money", "--api-key-file", key.to_str().unwrap()];
    sandbox.finmcp(login).expect_success();
    let asked = vendor.records().len();
    servers(&sandbox, &json!({"books": {"url": vendor.url(), "headers": {"Authorization": "Bearer CANARY-old"}}}));
    setup(&sandbox, &vendor, &["--replace"]).expect_success();
    assert_eq!(vendor.records().len(), asked);
    assert_works(&sandbox, "books");
}

/// The two in one: Codex asks for the headers with the key.
#[cfg(unix)]
#[test]
fn a_key_moves_for_a_native_entry() {
    let (sandbox, vendor) = (Sandbox::new(), vendor("x-api-key", KEY));
    let path = sandbox.home().join(".codex/config.toml");
    let url = vendor.url();
    write(&path, &format!("[mcp_servers.books]\nurl = \"{url}\"\nhttp_headers = {{ X-Api-Key = \"{KEY}\" }}\n"));
    sandbox.finmcp(["setup", "codex", &url, "--profile", "money", "--native", "--replace"]).expect_success();
    let text = read(&path);
    assert!(text.contains("token --headers") && text.contains("--profile money") && !text.contains(KEY), "{text}");
    let printed = sandbox.finmcp(["token", "--headers", "money"]).expect_success().stdout;
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json!({"x-api-key": KEY}));
    fs::remove_file(backup(&path)).unwrap();
    sandbox.assert_no_secret(&[KEY.to_owned()]);
}
