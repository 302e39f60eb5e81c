//! Sign-in with an API key, the headers that a person adds, and `finmcp token --headers`.

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person},
    sandbox::Sandbox,
    vendor::{Dpop, Effect, Guard, On, Reply, Script, Vendor},
};

const KEY: &str = "rk_test_CANARY51f0c2a97e";

/// A vendor that serves who sends the key in `header`.
fn vendor(header: &'static str, value: &str) -> Vendor {
    Vendor::start(Script {
        guard: Guard::ApiKey(header, value.to_owned()),
        publishes_metadata: false,
        ..Script::default()
    })
}

/// The command line that signs in to `vendor` with [`KEY`], as the profile `books`.
fn login(sandbox: &Sandbox, vendor: &Vendor, options: &[&str]) -> Vec<OsString> {
    let key = sandbox.give("key", format!("{KEY}\n"));
    let mut arguments: Vec<OsString> = vec!["login".into(), vendor.url().into()];
    arguments.extend(["--profile", "books", "--api-key-file"].map(Into::into));
    arguments.push(key.into());
    arguments.extend(options.iter().map(Into::into));
    arguments
}

/// Each request to the server carried the key where it belongs, and none carried it anywhere else.
#[track_caller]
fn assert_key_in(vendor: &Vendor, header: &str, value: &str) {
    let records = vendor.records();
    assert!(!records.is_empty());
    for record in records {
        assert_eq!(record.header(header), Some(value), "{} {}", record.method, record.path);
        let others = record.headers.iter().filter(|(name, _)| !name.as_str().eq_ignore_ascii_case(header));
        assert!(others.into_iter().all(|(_, value)| !value.contains(KEY)));
        assert!(!record.query.contains(KEY) && !record.text().contains(KEY));
    }
}

#[test]
fn every_command_knows_an_api_key() {
    let sandbox = Sandbox::new();
    let vendor = vendor("authorization", &format!("Bearer {KEY}"));
    let run = sandbox.finmcp(login(&sandbox, &vendor, &[])).expect_success();
    assert_eq!(run.stdout, "");
    assert_eq!(sandbox.finmcp(["token", "books"]).expect_success().stdout, format!("{KEY}\n"));
    let header = sandbox.finmcp(["token", "books", "--header"]).expect_success().stdout;
    assert_eq!(header, format!("Authorization: Bearer {KEY}\n"));
    let called = sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_success();
    assert!(called.stdout.contains("hi"), "{}", called.stdout);
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
    let said = sandbox.finmcp(["status", "-v"]).expect_success().stdout;
    assert!(
        said.contains("  signed in     yes\n") && said.contains("none, the API key works until it is revoked"),
        "{said}"
    );
    let said = sandbox.finmcp(["doctor", "books"]).expect_success().stdout;
    assert!(said.contains("an API key"), "{said}");
    sandbox.finmcp(["logout", "books"]).expect_success().expect_stderr(&["revoke it on the vendor's site"]);
    sandbox.finmcp(["token", "books"]).expect_code(4);
    // Doctor also asks without credentials, to see what the server wants; the rest is the key's.
    let asked: Vec<_> =
        vendor.records().into_iter().filter(|record| record.header("authorization").is_some()).collect();
    assert!(asked.iter().all(|record| record.path == "/mcp"), "only the server's own address sees the key");
}

/// The key is in the store alone: not in config.toml, a log, an argument or an error.
#[test]
fn the_key_is_in_no_file_and_no_output() {
    let sandbox = Sandbox::new();
    let vendor = vendor("x-api-key", KEY);
    sandbox.finmcp(login(&sandbox, &vendor, &["--api-key-header", "X-Api-Key"])).expect_success();
    let mut serve = sandbox.serve(["books", "--audit-log", sandbox.home().join("audit.jsonl").to_str().unwrap()]);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
    vendor.change(|script| script.guard = Guard::ApiKey("x-api-key", "another".to_owned()));
    serve.call("echo", json!({"message": "hi"}));
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_code(4);
    sandbox.finmcp(["status", "--json"]).expect_success();
    sandbox.finmcp(["doctor", "books", "--json"]);
    sandbox.assert_no_secret(&[KEY.to_owned()]);
}

#[test]
fn the_key_goes_into_the_header_that_the_vendor_reads() {
    for (option, header, value) in [
        (&[][..], "authorization", format!("Bearer {KEY}")),
        (&["--api-key-header", "X-Api-Key"], "x-api-key", KEY.to_owned()),
        (&["--api-key-header", "Authorization: Token"], "authorization", format!("Token {KEY}")),
        (&["--api-key-header", "X-Auth: Key"], "x-auth", format!("Key {KEY}")),
    ] {
        let sandbox = Sandbox::new();
        let vendor = vendor(header, &value);
        sandbox.finmcp(login(&sandbox, &vendor, option)).expect_success();
        sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_success();
        assert_key_in(&vendor, header, &value);
    }
}

#[test]
fn a_key_that_the_server_refuses_is_not_stored() {
    let sandbox = Sandbox::new();
    let vendor = vendor("authorization", "Bearer another");
    let run = sandbox.finmcp(login(&sandbox, &vendor, &[])).expect_code(1);
    run.expect_stderr(&["refuses the API key", "--api-key-header"]);
    sandbox.finmcp(["token", "books"]).expect_code(2);
    sandbox.assert_no_secret(&[KEY.to_owned()]);
}

#[test]
fn a_revoked_key_ends_the_sign_in_with_the_command_to_run() {
    let sandbox = Sandbox::new();
    let vendor = vendor("authorization", &format!("Bearer {KEY}"));
    sandbox.finmcp(login(&sandbox, &vendor, &[])).expect_success();
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    vendor.change(|script| script.guard = Guard::ApiKey("authorization", "Bearer another".to_owned()));
    let before = vendor.calls("tools/call").len();
    let answer = serve.call("echo", json!({"message": "hi"})).json().to_string();
    assert!(answer.contains("finmcp login books"), "{answer}");
    assert_eq!(vendor.calls("tools/call").len() - before, 1, "a key cannot be renewed: nothing else can be tried");
    assert!(vendor.executed().is_empty());
    // A new key for the same profile, and the same process goes on with it.
    vendor.change(|script| script.guard = Guard::ApiKey("authorization", format!("Bearer {KEY}-2")));
    let key = sandbox.give("key-2", format!("{KEY}-2"));
    sandbox.finmcp(["login", "books", "--api-key-file", key.to_str().unwrap()]).expect_success();
    serve.call("echo", json!({"message": "hi"})).result();
}

#[test]
fn options_that_conflict_with_a_key_are_refused() {
    let sandbox = Sandbox::new();
    let vendor = vendor("authorization", &format!("Bearer {KEY}"));
    let bad = sandbox.give("bad", "a\nb");
    for (options, code, why) in [
        (&["--grant", "device-code"][..], 2, "require --grant api-key"),
        (&["--api-key-header", "Cookie"], 2, "cannot carry a key"),
        (&["--api-key-header", "Mcp-Session-Id"], 2, "cannot carry a key"),
        (&["--client-secret-file", "x"], 2, "cannot be used with"),
    ] {
        let run = sandbox.finmcp(login(&sandbox, &vendor, options));
        assert_eq!(run.code, Some(code), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{options:?}: {}", run.stderr);
    }
    let arguments = ["login", &vendor.url(), "--api-key-file", bad.to_str().unwrap()];
    sandbox.finmcp(arguments).expect_code(2).expect_stderr(&["cannot be sent"]);
    let arguments = ["login", &vendor.url(), "--grant", "api-key"];
    sandbox.finmcp(arguments).expect_code(2).expect_stderr(&["needs an API key", "--api-key-file"]);
    assert!(vendor.records().is_empty(), "nothing was sent");
}

/// The key never follows a redirect, and never leaves with another server's address.
#[test]
fn the_key_goes_to_no_other_address() {
    let sandbox = Sandbox::new();
    let (vendor, other) = (vendor("authorization", &format!("Bearer {KEY}")), Vendor::start(Script::default()));
    sandbox.finmcp(login(&sandbox, &vendor, &[])).expect_success();
    for place in [other.url(), vendor.at("/elsewhere")] {
        vendor.fault(On::Path("/mcp"), Effect::Answer(Reply::new(307).header("location", &place)));
        sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]);
        vendor.heal();
    }
    assert!(other.records().is_empty() && vendor.records_at("/elsewhere").is_empty());
    // A profile whose address was edited is signed out.
    let config = sandbox.home().join("finmcp").join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let moved = text.replace(&vendor.url(), &other.url());
    std::fs::write(&config, moved.replacen(&format!("url = \"{}\"", vendor.url()), "", 1)).unwrap();
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]);
    assert!(other.records().iter().all(|record| record.header("authorization").is_none()), "{text}");
}

#[cfg(unix)]
#[test]
fn in_a_terminal_finmcp_prompts_for_the_key() {
    use crate::support::terminal::Terminal;
    let sandbox = Sandbox::new();
    let vendor = vendor("authorization", &format!("Bearer {KEY}"));
    let arguments = ["login", &vendor.url(), "--grant", "api-key", "--profile", "books"].map(OsString::from);
    let (code, said) = Terminal::answering(&sandbox, &arguments, &[("API key of", KEY)]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sandbox.finmcp(["token", "books"]).expect_success().stdout, format!("{KEY}\n"));
}

/// An account or a tenant goes with every request, of every command, from the first one on.
#[test]
fn the_users_headers_are_on_every_request() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let options = ["--header", "Stripe-Account=acct_1", "--header", "X-Tenant=7"];
    sandbox.finmcp([&["login", &vendor.url(), "--profile", "books"][..], &options].concat()).expect_success();
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_success();
    sandbox.finmcp(["doctor", "books"]).expect_success();
    let (to_server, elsewhere): (Vec<_>, Vec<_>) =
        vendor.records().into_iter().partition(|record| record.path == "/mcp");
    for record in &to_server {
        let sent = (record.header("stripe-account"), record.header("x-tenant"));
        assert_eq!(sent, (Some("acct_1"), Some("7")), "{} {:?}", record.method, record.rpc_method());
    }
    assert!(to_server.len() > 8 && !elsewhere.is_empty());
    assert!(elsewhere.iter().all(|record| record.header("stripe-account").is_none()), "the authorization server's not");
    let config = std::fs::read_to_string(sandbox.home().join("finmcp").join("config.toml")).unwrap();
    assert!(config.contains("stripe-account = \"acct_1\""), "{config}");
}

#[test]
fn headers_that_finmcp_sets_or_that_look_secret_are_refused() {
    let sandbox = Sandbox::new();
    for header in ["Host=x", "Authorization=x", "Cookie=x", "Mcp-Session-Id=x", "Connection=x", "X-Api-Key=x", "x"] {
        sandbox.finmcp(["login", "https://mcp.example.com/mcp", "--header", header]).expect_code(2);
    }
    let folder = sandbox.home().join("finmcp");
    std::fs::create_dir_all(&folder).unwrap();
    let config = "[profiles.books]\nurl = \"https://mcp.example.com/mcp\"\nheaders = { Host = \"evil\" }\n";
    std::fs::write(folder.join("config.toml"), config).unwrap();
    sandbox.finmcp(["status"]).expect_stderr(&["books", "remove header \"host\" (finmcp sets it)"]);
}

fn headers_of(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let run = sandbox.finmcp([&["token", "--headers"], arguments].concat()).expect_success();
    assert_eq!(run.stdout.lines().count(), 1);
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn a_client_gets_its_headers_as_one_object_of_strings() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    sandbox.finmcp(["login", &url, "--header", "Stripe-Account=acct_1"]).expect_success();
    let token = sandbox.finmcp(["token", &url]).expect_success().stdout.trim_end().to_owned();
    let wanted = json!({"Authorization": format!("Bearer {token}"), "stripe-account": "acct_1"});
    assert_eq!(headers_of(&sandbox, &[&url]), wanted);
    // Claude Code says which server it means.
    sandbox.set("CLAUDE_CODE_MCP_SERVER_URL", &url);
    assert_eq!(headers_of(&sandbox, &[]), wanted);
}

/// The client does not say that the server refused the token that it had: finmcp finds out, and renews it.
#[test]
fn a_revoked_token_is_renewed_before_the_client_gets_it() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    sandbox.finmcp(["login", &url]).expect_success();
    let first = headers_of(&sandbox, &[&url]);
    assert_eq!(headers_of(&sandbox, &[&url]), first, "a token that the server takes is not renewed");
    vendor.revoke_access_tokens();
    let second = headers_of(&sandbox, &[&url]);
    assert_ne!(second, first);
    assert_eq!(headers_of(&sandbox, &[&url]), second);
    vendor.revoke_sign_ins();
    vendor.revoke_access_tokens();
    let run = sandbox.finmcp(["token", "--headers", &url]).expect_code(4);
    assert_eq!((run.stdout.as_str(), run.stderr.lines().count()), ("", 1), "{}", run.stderr);
    assert!(run.stderr.contains("finmcp login"), "{}", run.stderr);
}

#[test]
fn signed_out_a_client_gets_nothing_and_one_line() {
    let sandbox = Sandbox::new();
    let run = sandbox.finmcp(["token", "--headers", "https://mcp.example.com/mcp"]).expect_code(4);
    assert_eq!((run.stdout.as_str(), run.stderr.lines().count()), ("", 1), "{}", run.stderr);
}

#[test]
fn tokens_bound_to_a_key_are_not_given_to_a_client() {
    let script = Script { dpop: Some(Dpop::Challenged), ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
    let run = sandbox.finmcp(["token", "books", "--headers"]).expect_code(1);
    assert_eq!(run.stdout, "");
    run.expect_stderr(&["DPoP", "finmcp serve books"]);
}
