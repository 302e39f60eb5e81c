//! Presets: the list, what `finmcp login` says about one, and a user's own.

use crate::{
    commands::settings::configure,
    support::{
        browser::{FakeBrowser, Person},
        sandbox::Sandbox,
        vendor::{Guard, Script, Vendor},
    },
};

const KEY: &str = "rk_test_CANARY0b7e5d21aa";

/// A vendor that serves who sends the key.
fn keyed() -> Vendor {
    let guard = Guard::ApiKey("authorization", format!("Bearer {KEY}"));
    Vendor::start(Script { guard, publishes_metadata: false, ..Script::default() })
}

/// The preset `name` in config.toml, for `vendor`.
fn provider(name: &str, vendor: &Vendor, members: &str) -> String {
    format!("[providers.{name}]\ntitle = \"Books Inc.\"\nurl = \"{}\"\n{members}\n", vendor.url())
}

#[test]
fn login_lists_the_presets() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "[providers.ledger]\nurl = \"https://ledger.example/mcp\"\n");
    let list = sandbox.finmcp(["login", "--list"]).expect_success();
    assert_eq!(list.stderr, "");
    let names: Vec<&str> = list.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..5], ["PRESET", "asset", "tesorio", "masset", "demo"], "{}", list.stdout);
    for name in ["ledger", "stripe", "paypal", "mercury"] {
        assert!(names.contains(&name), "{}", list.stdout);
    }
    assert!(list.stdout.lines().all(|line| line.chars().count() <= 80), "{}", list.stdout);
    // Without SERVER the same list, and what to do next.
    let run = sandbox.finmcp(["login"]).expect_code(2).expect_stderr(&["which server", "finmcp login SERVER"]);
    assert_eq!(run.stdout, list.stdout);
    // Other commands print data only.
    assert_eq!(sandbox.finmcp(["token"]).expect_code(4).stdout, "");
    assert_eq!(sandbox.finmcp(["login", "--env", "moon"]).expect_code(2).stdout, "");
}

/// At a terminal the table is as wide as the terminal.
#[cfg(unix)]
#[test]
fn the_list_fits_the_terminal() {
    use crate::support::{PATIENCE, eventually, sandbox::wait, terminal::Terminal};
    let (sandbox, terminal) = (Sandbox::new(), Terminal::open());
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(["login", "--list"]).stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    assert_eq!(wait(&mut command.spawn().unwrap(), PATIENCE), Some(Some(0)));
    eventually("the last preset", || terminal.shown().contains("xero").then_some(()));
    let shown = terminal.shown();
    assert!(shown.contains("stripe") && shown.contains("Stripe"), "{shown}");
}

#[test]
fn a_hint_names_few_servers_and_similar_ones() {
    let sandbox = Sandbox::new();
    sandbox.finmcp(["token", "strpe"]).expect_code(2).expect_stderr(&["did you mean stripe?"]);
    let run = sandbox.finmcp(["token", "nothing-like-it"]).expect_code(2);
    assert!(run.stderr.contains("asset --env sandbox") && run.stderr.contains("finmcp login --list"), "{}", run.stderr);
    assert!(!run.stderr.contains("stripe"), "{}", run.stderr);
}

/// What the user should know is said before anything is asked or sent.
#[test]
fn login_shows_when_a_preset_was_last_checked() {
    let (sandbox, vendor) = (Sandbox::new(), keyed());
    let members = "grants = [\"api-key\"]\nfacts_from = \"2026-10-03\"\n\
                   documentation = \"https://docs.books.example/mcp\"\n\
                   credentials_from = \"Settings > Keys\"\nnotes = [\"One organization per sign-in\"]";
    configure(&sandbox, &provider("books", &vendor, members));
    let run = sandbox.finmcp(["login", "books"]).expect_code(2).expect_stderr(&[
        "Preset for Books Inc.: as of 2026-10-03; see https://docs.books.example/mcp\n",
        "note: One organization per sign-in\n",
        "hint: where to get it: Settings > Keys",
    ]);
    assert!(run.stderr.find("Preset for") < run.stderr.find("error:"), "{}", run.stderr);
    assert!(vendor.records().is_empty());
    configure(&sandbox, &provider("books", &vendor, "grants = [\"api-key\"]"));
    let run = sandbox.finmcp(["login", "books"]).expect_code(2);
    assert!(!run.stderr.contains("Preset for") && !run.stderr.contains("where to get it"), "{}", run.stderr);
}

/// A key needs no other option where the vendor offers keys.
#[test]
fn a_preset_takes_an_api_key() {
    for option in [None, Some("api-key")] {
        let (sandbox, vendor) = (Sandbox::new(), keyed());
        configure(&sandbox, &provider("stripe", &vendor, "grants = [\"authorization-code\", \"api-key\"]"));
        let key = sandbox.give("key", format!("{KEY}\n"));
        let mut arguments = vec!["login", "stripe", "--api-key-file", key.to_str().unwrap()];
        arguments.extend(option.iter().flat_map(|grant| ["--grant", grant]));
        sandbox.finmcp(&arguments).expect_success();
        assert_eq!(sandbox.finmcp(["token", "stripe"]).expect_success().stdout, format!("{KEY}\n"));
        sandbox.finmcp(["call", "echo", "message=hi", "-s", "stripe"]).expect_success();
        sandbox.assert_no_secret(&[KEY.to_owned()]);
    }
    // The built-in preset asks for the key, and says where it is.
    let place = "https://dashboard.stripe.com/apikeys";
    let run = Sandbox::new().finmcp(["login", "stripe", "--grant", "api-key"]);
    run.expect_code(2).expect_stderr(&["--api-key-file", place]);
}

/// The headers of a preset go to its own server, and to no other: not to one that `--url` names.
#[test]
fn a_presets_headers_go_to_its_own_server_only() {
    let (mut sandbox, own, other) = (Sandbox::new(), Vendor::start(Script::people()), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    configure(&sandbox, &provider("books", &own, "headers = { X-Tenant = \"tenant-7\" }"));
    sandbox.finmcp(["login", "books"]).expect_success();
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_success();
    let sent = own.records_at("/mcp");
    assert!(!sent.is_empty() && sent.iter().all(|record| record.header("x-tenant") == Some("tenant-7")));
    let elsewhere: Vec<_> = own.records().into_iter().filter(|record| record.path != "/mcp").collect();
    assert!(elsewhere.iter().all(|record| record.header("x-tenant").is_none()), "not for the authorization server");

    sandbox.finmcp(["login", "books", "--url", &other.url(), "--profile", "elsewhere"]).expect_success();
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "elsewhere"]).expect_success();
    let sent = other.records();
    assert!(!sent.is_empty() && sent.iter().all(|record| record.header("x-tenant").is_none()));
}
