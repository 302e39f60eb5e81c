//! Whatever is done, and however much is logged: no secret is anywhere but in the store and where it belongs.

use serde_json::json;

use crate::{
    commands::login::{CLIENT_SECRET, machine_login, machine_vendor},
    support::{
        browser::{FakeBrowser, Person},
        sandbox::Sandbox,
        vendor::{Device, Effect, On, Reply, Script, Vendor},
    },
};

/// A sandbox in which everything says all that it does.
fn talkative() -> Sandbox {
    let mut sandbox = Sandbox::new();
    for name in ["FINMCP_LOG", "RUST_LOG"] {
        sandbox.set(name, "trace");
    }
    sandbox
}

/// t095: a person's sign-in from its beginning to its end, with a renewal, a wider scope, and a server that breaks
/// down.
#[test]
fn t095_a_browser_sign_in_at_every_log_level() {
    for is_modern in [false, true] {
        let script = if is_modern { Script::people().modern() } else { Script::people() };
        let (mut sandbox, vendor) = (talkative(), Vendor::start(script));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let url = vendor.url();
        sandbox.finmcp(["login", &url]).expect_success();
        let mut serve = sandbox.serve([&url, "--sign-in", "auto"]);
        if !is_modern {
            serve.initialize().result();
        }
        let mut call = || match is_modern {
            true => serve.call_modern("echo", json!({"message": "hi"})),
            false => serve.call("echo", json!({"message": "hi"})),
        };
        call().result();
        vendor.revoke_access_tokens();
        call().result();
        let narrow = "Bearer error=\"insufficient_scope\", scope=\"files:write\"";
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(403).header("www-authenticate", narrow)));
        call().result();
        vendor.fault(On::Rpc("tools/call"), Effect::status(500));
        call();
        vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
        call();
        serve.close_stdin();
        serve.exit_within(std::time::Duration::from_secs(3));
        sandbox.finmcp(["token", &url, "--force-refresh"]).expect_success();
        vendor.fault(On::Path("/token"), Effect::CutBefore);
        sandbox.finmcp(["token", &url, "--force-refresh"]);
        sandbox.finmcp(["status", "--json"]).expect_success();
        sandbox.finmcp(["logout", &url]).expect_success();
        let secrets = vendor.secrets();
        assert!(secrets.len() > 10, "{secrets:?}");
        sandbox.assert_no_secret(&secrets);
    }
}

/// t095: a program, a device, and sign-ins that come to nothing.
#[test]
fn t095_other_sign_ins_at_every_log_level() {
    let (sandbox, vendor) = (talkative(), machine_vendor());
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh"]).expect_success();
    vendor.fault(On::Path("/token"), Effect::status(503));
    sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh"]);
    assert!(vendor.secrets().contains(&CLIENT_SECRET.to_owned()));
    sandbox.assert_no_secret(&vendor.secrets());

    for (device, code) in [(Device::Consents, 0), (Device::Denies, 1)] {
        let (sandbox, vendor) = (talkative(), Vendor::start(Script { device, ..Script::people() }));
        sandbox.finmcp(["login", &vendor.url(), "--grant", "device-code"]).expect_code(code);
        sandbox.assert_no_secret(&vendor.secrets());
    }
    let (mut sandbox, vendor) = (talkative(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(200).body("application/json", "{\"access_token\":7}")));
    sandbox.finmcp(["login", &vendor.url()]).expect_code(5);
    sandbox.assert_no_secret(&vendor.secrets());
}

/// t096: a server that says all it was ever sent: in an error of OAuth's, in one of HTTP's, as a page, as an answer
/// that is none. None of it is shown, and the client is answered.
#[test]
fn t096_a_server_that_repeats_its_request() {
    let (mut sandbox, vendor) = (talkative(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    sandbox.finmcp(["login", &url]).expect_success();
    let echo = || vendor.secrets().iter().rev().cloned().collect::<Vec<_>>().join(" ");

    let mut serve = sandbox.serve([&url]);
    serve.initialize().result();
    for (status, kind) in [
        (200, "text/html"),
        (200, "application/json"),
        (200, "text/event-stream"),
        (400, "text/plain"),
        (403, "text/html"),
        (404, "text/plain"),
        (500, "application/json"),
        (302, "text/html"),
    ] {
        let text = match kind {
            "text/event-stream" => format!("data: {}\n\n", echo()),
            _ => format!("<p>{}</p>", echo()),
        };
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(status).body(kind, text)));
        let answer = serve.call("echo", json!({"message": "hi"}));
        // 404 ends the session, and so does a 400 that speaks of no request: a new one is begun.
        assert_eq!(answer.json().get("error").is_some(), !matches!(status, 400 | 404), "{status} {kind}");
    }
    for (status, error) in [(400, "invalid_request"), (401, "invalid_client"), (500, "server_error")] {
        let answer = json!({"error": error, "error_description": echo(), "error_uri": echo()});
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(status).json(&answer)));
        assert_ne!(sandbox.finmcp(["token", &url, "--force-refresh"]).code, Some(0));
    }
    for _ in 0..2 {
        let answer = json!({"error": "invalid_request", "error_description": echo()});
        vendor.fault(On::Path("/revoke"), Effect::Answer(Reply::new(400).json(&answer)));
    }
    sandbox.finmcp(["logout", &url]).expect_success().expect_stderr(&["could not revoke"]);
    sandbox.assert_no_secret(&vendor.secrets());
}
