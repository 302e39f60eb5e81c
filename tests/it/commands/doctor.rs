//! `finmcp doctor`: set-ups that are broken, each in another way, and its report on them.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    commands::{
        login::{CLIENT_SECRET, machine_login, machine_vendor},
        token::pass,
    },
    support::{
        browser::{FakeBrowser, Person, signed_in},
        eventually,
        internet::{Identity, Internet},
        sandbox::{Run, Sandbox},
        vendor::{Effect, On, Reply, Script, Vendor},
    },
};

/// The secrets of a sandbox that was given none.
const NONE: [String; 0] = [];

/// What it said, as text.
pub(super) struct Report {
    text: String,
    /// Verdict, name, and all of its text, without the line breaks.
    steps: Vec<(String, String, String)>,
    code: Option<i32>,
}

impl Report {
    fn of(run: &Run) -> Self {
        let mut steps: Vec<(String, String, String)> = Vec::new();
        for line in run.stdout.lines().skip(1) {
            let mut words = line.split_whitespace();
            let (first, rest) = (words.next().unwrap(), words.collect::<Vec<_>>());
            if line.starts_with(' ') {
                let text = &mut steps.last_mut().unwrap().2;
                *text = [&[text.as_str(), first], &rest[..]].concat().join(" ");
            } else if ["ok", "warning", "failed"].contains(&first) {
                steps.push((first.to_owned(), rest[0].to_owned(), rest[1..].join(" ")));
            } else if first == "skipped" {
                steps.push((first.to_owned(), String::new(), rest.join(" ")));
            }
        }
        // One line names all skipped steps that depend on the same one.
        let skipped = steps.extract_if(.., |(verdict, ..)| verdict == "skipped").collect::<Vec<_>>();
        for (verdict, _, text) in skipped {
            let (names, cause) = text.split_once(": depends on ").unwrap();
            steps.extend(names.split(", ").map(|name| (verdict.clone(), name.to_owned(), cause.to_owned())));
        }
        Self { text: run.stdout.clone(), steps, code: run.code }
    }

    /// Panics unless the step has this verdict and says all of `texts`.
    #[track_caller]
    fn expect(&self, name: &str, verdict: &str, texts: &[&str]) -> &Self {
        let found = self.steps.iter().find(|(_, step, _)| step == name);
        let (found, _, said) = found.unwrap_or_else(|| panic!("no step {name}: {}", self.text));
        assert_eq!(found, verdict, "{name}: {}", self.text);
        for text in texts {
            assert!(said.contains(text), "{name} does not say {text:?}: {}", self.text);
        }
        self
    }

    #[track_caller]
    fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        self
    }

    /// Panics where any other step than these is failed: one cause, one failure.
    #[track_caller]
    fn only_failed(&self, names: &[&str]) {
        let failed = self.steps.iter().filter(|(verdict, ..)| verdict == "failed");
        assert_eq!(failed.map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(), names, "{}", self.text);
        self.expect_code(1);
    }
}

/// Runs doctor as text and as JSON, with everything logged; holds both to what is true of every report.
#[track_caller]
fn examine(sandbox: &mut Sandbox, arguments: &[&str], secrets: &[String]) -> Report {
    sandbox.set("FINMCP_LOG", "trace");
    let arguments = [&["doctor"], arguments].concat();
    let run = sandbox.finmcp(&arguments);
    let report = Report::of(&run);
    assert!(!run.stdout.contains('\u{1b}'), "colour in a pipe: {}", run.stdout);
    assert!(!run.stdout.contains(sandbox.home().to_str().unwrap()), "the home folder: {}", run.stdout);
    for line in run.stdout.lines() {
        // Only what would be broken otherwise is longer: a word that fits into no line.
        let units = line.split('`').enumerate().flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().collect(),
            // A command in backticks is one word.
            _ => vec![part],
        });
        let longest = units.map(str::len).max().unwrap_or_default();
        assert!(line.chars().count() <= 80 || longest > 80 - 22, "{line:?} is too long");
    }
    let json = sandbox.finmcp([&arguments[..], &["--json"]].concat());
    let document: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {}", json.stdout));
    let count = |verdict: &str| {
        document["steps"].as_array().unwrap().iter().filter(|step| step["result"] == verdict).count() as u64
    };
    assert_eq!(document["failed"], count("failed"), "{document}");
    assert_eq!(document["warnings"], count("warning"), "{document}");
    assert_eq!((run.code, json.code), (Some(i32::from(count("failed") > 0)), run.code), "{}\n{document}", run.stdout);
    sandbox.unset("FINMCP_LOG");
    if !secrets.is_empty() {
        sandbox.assert_no_secret(secrets);
    }
    report
}

/// A person who is signed in, as the profile `books`.
fn signed_in_person(script: Script) -> (Sandbox, Vendor, FakeBrowser) {
    let vendor = Vendor::start(script);
    let (sandbox, browser) = signed_in(&vendor, &["--profile", "books"]);
    (sandbox, vendor, browser)
}

/// Each file of the credential store, with what is in it.
fn stored(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = sandbox
        .files()
        .into_iter()
        .filter(|path| path.parent().is_some_and(|folder| folder.ends_with("credentials")))
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Where nothing is wrong, nothing is said to be; and nothing is changed, asked, opened, registered or spent.
#[test]
fn a_valid_entry_is_not_changed() {
    for script in [Script::people(), Script::people().modern()] {
        let is_modern = script.era == crate::support::vendor::Era::Modern;
        let (mut sandbox, vendor, browser) = signed_in_person(script);
        let (before, config) = (stored(&sandbox), fs::read(sandbox.home().join("finmcp/config.toml")).unwrap());
        let report = examine(&mut sandbox, &["books"], &vendor.secrets());
        report.expect_code(0);
        for (verdict, name, said) in &report.steps {
            assert_eq!(verdict, "ok", "{name}: {said}");
        }
        let names: Vec<&str> = report.steps.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(
            names.join(" "),
            "settings server proxy dns connection endpoint resource issuer metadata store sign-in lock registration \
             browser token scope handshake tools clock client"
        );
        assert!(report.text.ends_with("All checks passed\n"), "{}", report.text);
        report.expect("tools", "ok", &["5 tools"]).expect(
            "sign-in",
            "ok",
            &["books", "client-1", "renewed automatically"],
        );
        let revisions = if is_modern { "speaks MCP 2026-07-28" } else { "speaks MCP 2024-11-05 to 2025-11-25" };
        report.expect("handshake", "ok", &["test vendor 1", revisions]);
        assert_eq!(stored(&sandbox), before);
        assert_eq!(fs::read(sandbox.home().join("finmcp/config.toml")).unwrap(), config);
        assert_eq!((vendor.records_at("/register").len(), vendor.records_at("/authorize").len()), (1, 1));
        assert_eq!((vendor.rotations().len(), browser.starts().len()), (0, 1));
        assert_eq!(vendor.session_count(), 0, "the session was ended");
    }
}

/// A machine's credentials are tried, and what that brings is thrown away.
#[test]
fn client_credentials_are_tested_and_nothing_is_stored() {
    let (mut sandbox, vendor) = crate::commands::token::signed_in_machine();
    let (before, asked) = (stored(&sandbox), vendor.records_at("/token").len());
    let report = examine(&mut sandbox, &["--env", "sandbox"], &vendor.secrets());
    report.expect_code(0).expect("token", "ok", &["a test request for another one succeeded"]);
    // Once for the text, once for the JSON.
    assert_eq!((stored(&sandbox), vendor.records_at("/token").len()), (before, asked + 2));
}

/// A server that asks for no sign-in needs none.
#[test]
fn an_open_server_needs_no_sign_in() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let report = examine(&mut sandbox, &[&vendor.url()], &NONE);
    report.expect_code(0).expect("sign-in", "ok", &["not required"]).expect("tools", "ok", &["5 tools"]);
}

/// While signed out, the server's side is still checked.
#[test]
fn signed_out_the_server_is_still_checked() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let url = vendor.url();
    let report = examine(&mut sandbox, &[&url], &NONE);
    report.expect("sign-in", "failed", &["not signed in to", &format!("hint: run `finmcp login {url}`")]);
    report.expect("metadata", "ok", &[]).expect("registration", "ok", &["the next sign-in registers a client"]);
    report.expect("token", "skipped", &["sign-in"]).expect("tools", "skipped", &["sign-in"]);
    report.only_failed(&["sign-in"]);
    assert!(vendor.records_at("/register").is_empty(), "nothing is registered");
}

/// Broken set-up 1: a name that does not resolve, another path of the right host, and a web page.
#[test]
fn a_wrong_url() {
    // No part of a name is longer than 63 letters (RFC 1035 section 2.3.4): no server of names is asked.
    let name = format!("{}.example", "x".repeat(64));
    let report = examine(&mut Sandbox::new(), &[&format!("https://{name}/mcp")], &NONE);
    report.expect("dns", "failed", &[&format!("cannot resolve {name}"), "hint: check the URL for typos"]);
    report.expect("connection", "skipped", &["dns"]).only_failed(&["dns"]);

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let url = vendor.at("/nothing");
    let report = examine(&mut sandbox, &[&url], &NONE);
    let hint = format!("hint: compare {url}, especially its path");
    report.expect("endpoint", "failed", &["does not respond like an MCP server (HTTP 404)", &hint]);
    report.expect("resource", "skipped", &["endpoint"]).only_failed(&["endpoint"]);

    let page = Reply::new(200).body("text/html", "<html>a page of another site");
    for _ in 0..2 {
        vendor.fault(On::Rpc("initialize"), Effect::Answer(page.clone()));
    }
    let report = examine(&mut sandbox, &[&vendor.url()], &NONE);
    report.expect("endpoint", "failed", &["returned a web page", "its own sign-in page", "check the URL"]);
}

/// Broken set-up 2: the server has ended the sign-in, and the token is too old.
#[test]
fn an_expired_login() {
    let (mut sandbox, vendor, browser) =
        signed_in_person(Script { access_lifetime: Duration::from_secs(1), ..Script::people() });
    pass(Duration::from_secs(1));
    vendor.revoke_sign_ins();
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("token", "failed", &["the server ended the sign-in", "hint: run `finmcp login books`"]);
    report.expect("handshake", "skipped", &["token"]).only_failed(&["token"]);
    // From now on it is known here.
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("sign-in", "failed", &["the server ended the sign-in", "finmcp login books"]);
    assert_eq!(browser.starts().len(), 1, "doctor opened no browser");
}

/// Broken set-up 4: a proxy that is not there. Its name and password are not shown.
#[test]
fn a_proxy_that_is_not_there() {
    let mut sandbox = Sandbox::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let password = "proxy-password-0123456789";
    sandbox.set("HTTPS_PROXY", format!("http://ada-the-user:{password}@{closed}"));
    let report = examine(&mut sandbox, &["https://mcp.example/mcp"], &[password.to_owned(), "ada-the-user".to_owned()]);
    let what = format!("could not connect to the proxy http://{closed}");
    report.expect("proxy", "failed", &[&what, "refused", "hint: check HTTPS_PROXY"]);
    report.expect("connection", "skipped", &["proxy"]).only_failed(&["proxy"]);
}

/// A certificate that is not good is named, with what to do: the company's authority, or this machine's clock.
#[test]
fn an_invalid_certificate() {
    for (identity, texts) in [
        (
            Identity::UnknownAuthority,
            &["an authority that this machine does not trust", "`ca_file` in config.toml"][..],
        ),
        (Identity::OtherName, &["is for another name"]),
        (Identity::Expired, &["has expired", "this machine's clock says 20", "check this machine's clock"]),
        (Identity::OldTls, &["no safe TLS version"]),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, identity);
        let report = examine(&mut sandbox, &["https://mcp.example/mcp"], &NONE);
        report.expect("connection", "failed", texts).expect_code(1);
    }
}

/// Broken set-up 5: this machine's clock. It is a warning, also where the server rejects a token: nothing in a bearer
/// token is of this machine's clock.
#[test]
fn a_wrong_clock() {
    for (ahead, side) in [(7300, "2 h behind"), (-7300, "2 h ahead of")] {
        let (mut sandbox, vendor, _browser) = signed_in_person(Script { clock_ahead: ahead, ..Script::people() });
        let wrong = format!("this machine's clock is {side} the server's");
        // What is remembered of the server is no answer of it.
        let mut serve = sandbox.serve(["books"]);
        serve.initialize().result();
        serve.request("tools/list", json!({})).result();
        let memory = sandbox.home().join("finmcp/servers/books.json");
        eventually("what is remembered", || fs::read_to_string(&memory).ok()?.contains("\"tools\"").then_some(()));
        let report = examine(&mut sandbox, &["books"], &vendor.secrets());
        report.expect_code(0).expect("clock", "warning", &[&wrong, "hint: set this machine's clock"]);

        let rejected = Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\"");
        for _ in 0..40 {
            for method in ["initialize", "tools/list", "server/discover"] {
                vendor.fault(On::Rpc(method), Effect::Answer(rejected.clone()));
            }
        }
        let report = examine(&mut sandbox, &["books"], &vendor.secrets());
        report.expect("handshake", "failed", &["rejects", "hint: run `finmcp login books`"]);
        report.expect("clock", "warning", &[&wrong]).only_failed(&["handshake"]);
    }
}

/// Within a minute clocks may differ.
#[test]
fn a_clock_that_is_right_enough() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { clock_ahead: 30, ..Script::default() }));
    examine(&mut sandbox, &[&vendor.url()], &NONE).expect("clock", "ok", &[]);
}

/// Broken set-up 6: the vendor has revoked the client, or changed its secret.
#[test]
fn a_revoked_client() {
    let (mut sandbox, vendor) = crate::commands::token::signed_in_machine();
    vendor.know("x", "another-secret-0123456789");
    let report = examine(&mut sandbox, &["--env", "sandbox"], &vendor.secrets());
    report.expect(
        "token",
        "failed",
        &["invalid_client", "the vendor revoked the client", "--client-secret-file PATH`"],
    );
    report.expect("token", "failed", &["belong to a different Asset environment"]);
    report.only_failed(&["token"]);
}

/// Broken set-up 8: less was granted than asked for.
#[test]
fn a_missing_scope() {
    let (mut sandbox, vendor) =
        (Sandbox::new(), Vendor::start(Script { granted_scope: Some("mcp"), ..Script::people() }));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", "masset", "--url", &vendor.url()]).expect_success();
    let report = examine(&mut sandbox, &["masset"], &vendor.secrets());
    report.expect(
        "scope",
        "failed",
        &[
            "does not include mcp:asset_content_read mcp:asset_read",
            "why: it was requested but not granted",
            "hint: run `finmcp login masset` and allow everything",
        ],
    );
    report.only_failed(&["scope"]);
    // A person who chose fewer scopes is told which others there are.
    sandbox.finmcp(["login", "masset", "--scope", "mcp"]).expect_success();
    let report = examine(&mut sandbox, &["masset"], &vendor.secrets());
    report.expect_code(0).expect("scope", "warning", &["it was not requested", "--scope 'mcp mcp:asset_content_read"]);
}

/// Broken set-up 9: the sandbox's credentials in production.
#[test]
fn sandbox_credentials_in_production() {
    let (mut sandbox, production, other) = (Sandbox::new(), machine_vendor(), machine_vendor());
    sandbox.finmcp(machine_login(&sandbox, &other)).expect_success();
    let url = production.url();
    // Before the sign-in, the other one is named.
    let report = examine(&mut sandbox, &["asset", "--url", &url], &other.secrets());
    report.expect(
        "sign-in",
        "failed",
        &["you are signed in to Asset (sandbox)", "do not work here", "asset --env sandbox"],
    );

    let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
    let (endpoint, resource) = (other.token_endpoint(), other.url());
    let login = ["login", "asset", "--url", &url, "--client-id", "x", "--client-secret-file", &secret];
    let login = [&login[..], &["--token-endpoint", &endpoint, "--resource", &resource]].concat();
    sandbox.finmcp(login).expect_success();
    let report = examine(&mut sandbox, &["asset"], &[production.secrets(), other.secrets()].concat());
    report.expect(
        "token",
        "failed",
        &[
            &format!("the token was issued for {resource}, not for {url}"),
            "that is Asset's sandbox",
            "hint: sign in with this environment's credentials: run `finmcp login asset`",
            "--env sandbox",
        ],
    );
    report.only_failed(&["token"]);
}

/// Broken set-up 10: no server listens, or it is there and cannot serve.
#[test]
fn a_server_that_is_down() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    for _ in 0..2 {
        vendor.fault(On::Rpc("initialize"), Effect::status(503));
    }
    let secrets = vendor.secrets();
    let report = examine(&mut sandbox, &["books"], &secrets);
    report.expect("endpoint", "failed", &["is unavailable (HTTP 503)", "hint: try again later"]);
    report.expect("sign-in", "ok", &[]).only_failed(&["endpoint"]);

    vendor.stop();
    let report = examine(&mut sandbox, &["books"], &secrets);
    report.expect(
        "connection",
        "failed",
        &["could not connect", "refused", "hint: check the address, your connection"],
    );
    report.expect("sign-in", "ok", &[]).only_failed(&["connection"]);
}

/// A lock that another process holds and does not release.
#[test]
fn a_lock_that_is_held() {
    let (mut sandbox, vendor) = crate::commands::token::signed_in_machine();
    let locks = sandbox.home().join("finmcp/locks");
    let names = fs::read_dir(&locks).unwrap().map(|entry| entry.unwrap().path());
    let held: Vec<fs::File> = names.map(|path| fs::File::options().write(true).open(path).unwrap()).collect();
    assert!(held.iter().all(|file| file.lock().is_ok()) && !held.is_empty());
    let report = examine(&mut sandbox, &["--env", "sandbox"], &vendor.secrets());
    report.expect("lock", "failed", &["has held the lock for 3 s", "hint: wait for the other finmcp process"]);
}

/// A `config.toml` that makes no sense is a finding.
#[test]
fn doctor_reports_an_invalid_config_file() {
    let mut sandbox = Sandbox::new();
    let folder = sandbox.home().join("finmcp");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), "default = [\n").unwrap();
    let report = examine(&mut sandbox, &["asset"], &NONE);
    report.expect("settings", "failed", &["~/finmcp/config.toml", "line 1"]).only_failed(&["settings"]);

    fs::write(folder.join("config.toml"), "[profiles.odd]\nurl = \"ftp://x\"\n").unwrap();
    let report = examine(&mut sandbox, &[], &NONE);
    report.expect("settings", "warning", &["invalid profile \"odd\""]).expect_code(0);
    report.expect("server", "warning", &["which server do you mean", "asset --env sandbox"]);
    let report = examine(&mut sandbox, &["odd"], &NONE);
    report
        .expect("server", "failed", &["invalid profile \"odd\" in config.toml", "only https"])
        .only_failed(&["server"]);
}

/// A sign-in that `config.toml` knows and the store does not.
#[test]
fn a_sign_in_that_is_lost() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    sandbox.set("FINMCP_STORE", "memory");
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("sign-in", "failed", &["its credential is missing", "FINMCP_STORE", "finmcp login books"]);
}

/// A server that says what it was sent is not quoted.
#[test]
fn t096_doctor_shows_no_echoed_secret() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    let echo = vendor.secrets().join(" ");
    for _ in 0..20 {
        let error = json!({"jsonrpc": "2.0", "id": "@", "error": {"code": -32603, "message": echo}});
        vendor.fault(On::Rpc("tools/list"), Effect::Answer(Reply::new(200).json(&error)));
        vendor.fault(On::Rpc("tools/list"), Effect::Answer(Reply::new(400).json(&error)));
    }
    examine(&mut sandbox, &["books"], &vendor.secrets()).expect_code(1).expect("handshake", "failed", &[]);
}

/// The file of Cursor, which passes on no variables of finmcp's, with one entry.
fn cursor(sandbox: &Sandbox, command: &str, arguments: &[&str], environment: &Value) {
    let folder = sandbox.home().join(".cursor");
    fs::create_dir_all(&folder).unwrap();
    let entry = json!({"mcpServers": {"books": {"command": command, "args": arguments, "env": environment}}});
    fs::write(folder.join("mcp.json"), entry.to_string()).unwrap();
}

/// The variables that such an entry needs here.
fn needed(sandbox: &Sandbox) -> Value {
    let needed = ["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE"];
    let found = sandbox.environment().filter(|(name, _)| needed.iter().any(|needed| *name == needed));
    found.map(|(name, value)| (name.to_str().unwrap().to_owned(), json!(value.to_str().unwrap()))).collect()
}

const OURS: &str = env!("CARGO_BIN_EXE_finmcp");
const CURE: &str = "hint: run `finmcp setup cursor books`";

/// Broken set-up 7: an AI client starts a finmcp that is not there any more; or not this one; or one that does not
/// start.
#[test]
fn a_moved_binary() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    cursor(&sandbox, "/nowhere/bin/finmcp", &["serve", "books"], &needed(&sandbox));
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    let what = "Cursor, entry books: cannot start /nowhere/bin/finmcp: file not found";
    report.expect("client", "failed", &[what, "moved or removed", CURE]).only_failed(&["client"]);

    for (script, verdict, what) in [
        (
            format!("[ \"$1\" = --version ] && echo finmcp 0.0.1 || exec {OURS} \"$@\""),
            "warning",
            "starts finmcp 0.0.1",
        ),
        (format!("[ \"$1\" = serve ] && exit 1 || exec {OURS} \"$@\""), "failed", "starts, but does not serve MCP"),
        (
            format!("[ \"$1\" = serve ] && sleep 30 || exec {OURS} \"$@\""),
            "failed",
            "no response to initialize within 5 s",
        ),
    ] {
        let program = sandbox.home().join("finmcp-of-another-time/finmcp");
        executable(&program, &script);
        cursor(&sandbox, program.to_str().unwrap(), &["serve", "books"], &needed(&sandbox));
        let report = examine(&mut sandbox, &["books"], &vendor.secrets());
        report.expect("client", verdict, &[what, CURE]).expect_code(i32::from(verdict == "failed"));
    }
}

fn executable(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A client's server sees the variables that the client passes on, and no others.
#[test]
fn an_entry_under_its_clients_own_environment() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    cursor(&sandbox, OURS, &["serve", "books"], &needed(&sandbox));
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect_code(0).expect("client", "ok", &["Cursor, entry books: starts and responds"]);

    // What this process has, and Cursor does not pass on.
    cursor(&sandbox, OURS, &["serve", "books"], &json!({}));
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report
        .expect("client", "failed", &["cannot find your sign-in", "FINMCP_CONFIG_DIR", CURE])
        .only_failed(&["client"]);

    let mut environment = needed(&sandbox);
    environment["FINMCP_STORE"] = json!("memory");
    cursor(&sandbox, OURS, &["serve", "books"], &environment);
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("client", "failed", &["cannot find your sign-in", "why: it looks for credentials in"]);

    cursor(&sandbox, OURS, &["serve", "unknown"], &needed(&sandbox));
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("client", "failed", &["do not name a known server", "serve unknown"]);

    // Of another server: not this one's affair.
    cursor(&sandbox, "/nowhere/finmcp", &["serve", "tesorio"], &json!({}));
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect_code(0).expect("client", "ok", &["no AI client on this machine uses it"]);
}

/// A look opens no browser, whatever an entry says.
#[test]
fn an_entry_that_would_ask_a_person_to_sign_in() {
    let (mut sandbox, vendor, browser) = signed_in_person(Script::people());
    sandbox.finmcp(["logout", "books"]).expect_success();
    let entry = json!({"mcpServers": {"books": {"command": OURS, "args": ["serve", "books", "--sign-in", "auto"]}}});
    fs::write(sandbox.home().join(".claude.json"), entry.to_string()).unwrap();
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("client", "ok", &["Claude Code, entry books: starts and responds"]);
    assert_eq!(browser.starts().len(), 1);
}

/// A project's folder may be anybody's: nothing that it names is started.
#[test]
fn an_entry_of_a_project_is_not_started() {
    let (mut sandbox, vendor, _browser) = signed_in_person(Script::people());
    let (program, trace) = (sandbox.watched().join("finmcp"), sandbox.watched().join("trace"));
    executable(&program, &format!("touch {}", trace.display()));
    let work = sandbox.home().parent().unwrap().join("work");
    let entry = json!({"mcpServers": {"books": {"command": program, "args": ["serve", "books"]}}});
    fs::write(work.join(".mcp.json"), entry.to_string()).unwrap();
    let report = examine(&mut sandbox, &["books"], &vendor.secrets());
    report.expect("client", "ok", &["Claude Code, entry books", "not started"]);
    assert!(!trace.exists());
}
