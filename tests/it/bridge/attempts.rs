//! How often a message goes out: whatever a server answers, so many times at most, and never once more after a delivery
//! that the server may have executed.

use std::{fs, thread, time::Duration};

use serde_json::json;

use crate::support::{
    browser::{FakeBrowser, Person, signed_in},
    eventually,
    sandbox::Sandbox,
    serve::Serve,
    vendor::{Effect, Era, On, Reply, Script, Vendor},
};

/// The most that any message is sent, for all reasons together.
const SENDS_LIMIT: usize = 10;

/// Longer than a loop would need to show.
const QUIET: Duration = Duration::from_secs(3);

/// A person has signed in at this vendor, and no browser works any more.
fn left_alone(script: Script) -> (Sandbox, Vendor) {
    let vendor = Vendor::start(script);
    let (mut sandbox, browser) = signed_in(&vendor, &[]);
    drop(browser);
    sandbox.set("FINMCP_BROWSER", "false");
    (sandbox, vendor)
}

fn unauthorized() -> Effect {
    Effect::Answer(Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\""))
}

fn refused(status: u16, body: &str) -> Effect {
    Effect::Answer(Reply::new(status).body("application/json", body.to_owned()))
}

/// a1: a sign-in without a refresh token is revoked. In whatever mode, and between whatever eras: few requests, and an
/// answer that names the way in.
#[test]
fn a1_a_revoked_token_leads_to_the_sign_in() {
    for mode in ["tool", "off"] {
        for (client, server) in Era::COMBINATIONS {
            let script = Script { refresh_tokens: false, era: server, ..Script::people() };
            let (sandbox, vendor) = left_alone(script);
            let mut serve = sandbox.serve([&vendor.url(), "--sign-in", mode]);
            serve.greet(client);
            serve.call_in(client, "echo", json!({"message": "hi"})).result();
            vendor.revoke_access_tokens();
            let before = vendor.calls("tools/call").len();
            for call in 1..=3 {
                let answer = serve.call_in(client, "echo", json!({"message": "hi"}));
                assert!(answer.raw.contains("finmcp login"), "{}", answer.raw);
                let sent = vendor.calls("tools/call").len() - before;
                assert!(sent <= 2 * call, "{sent} POSTs of {call} calls, {mode}, {client:?} to {server:?}");
            }
            assert_eq!(vendor.executed(), ["echo"]);
        }
    }
}

/// a1: one tool refuses what the others take: that call is answered, and the others go on.
#[test]
fn a1_one_tool_that_refuses_the_token_does_not_block_others() {
    for refresh_tokens in [true, false] {
        let (sandbox, vendor) = left_alone(Script { refresh_tokens, ..Script::people() });
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.request("tools/list", json!({})).result();
        for _ in 0..50 {
            vendor.fault(On::Rpc("tools/call"), unauthorized());
        }
        let answer = serve.call("echo", json!({"message": "hi"}));
        assert!(answer.raw.contains("finmcp login"), "{}", answer.raw);
        assert!(vendor.calls("tools/call").len() <= 4, "{}", vendor.calls("tools/call").len());
        serve.request("tools/list", json!({})).result();
        vendor.heal();
        serve.call("echo", json!({"message": "hi"})).result();
        assert_eq!(vendor.executed(), ["echo"]);
    }
}

/// a2: an authorization server that has forgotten the client, or the sign-in, is asked once; the next call does not ask
/// again, and an idle process asks nothing at all.
#[test]
fn a2_an_ended_sign_in_is_requested_once() {
    for (status, error) in
        [(401, "invalid_client"), (400, "invalid_grant"), (403, "unauthorized_client"), (200, "bad_refresh_token")]
    {
        let (mut sandbox, vendor) = left_alone(Script::people());
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.request("ping", json!({})).result();
        for _ in 0..50 {
            vendor.fault(On::Path("/token"), refused(status, &json!({"error": error}).to_string()));
        }
        vendor.revoke_access_tokens();
        let asked = vendor.records_at("/token").len();
        for _ in 0..3 {
            let answer = serve.call("echo", json!({"message": "hi"}));
            assert!(answer.raw.contains("finmcp login"), "{}", answer.raw);
        }
        assert_eq!(vendor.records_at("/token").len(), asked + 1, "{error}");
        let (store, requests) = (snapshot(&sandbox), vendor.records().len());
        thread::sleep(QUIET);
        assert_eq!(vendor.records().len(), requests, "{error}: an idle process sends nothing");
        assert_eq!(snapshot(&sandbox), store, "{error}: an idle process writes nothing");
        // Every command says so.
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
        assert_eq!(vendor.records_at("/token").len(), asked + 1, "{error}");
        let status = sandbox.finmcp(["status", "--json"]).expect_success();
        assert!(status.stdout.contains(r#""signed_in": false"#), "{}", status.stdout);
        // A sign-in in a terminal helps the client that is running.
        vendor.heal();
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &vendor.url()]).expect_success();
        serve.call("echo", json!({"message": "hi"})).result();
    }
}

/// Every file of the sandbox's home, with its time of modification. (The log is written in the background.)
fn snapshot(sandbox: &Sandbox) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let modified =
        |file: std::path::PathBuf| fs::metadata(&file).and_then(|it| it.modified()).ok().map(|at| (file, at));
    let is_log = |file: &std::path::PathBuf| file.parent().is_some_and(|folder| folder.ends_with("logs"));
    sandbox.files().into_iter().filter(|file| !is_log(file)).filter_map(modified).collect()
}

/// a3: a session that is lost in other words than the specification's: a new one is begun, once, and the call runs once.
#[test]
fn a3_a_session_reported_lost_in_other_words_is_reopened() {
    for (status, kind, body) in [
        (400, "text/plain", "Bad Request: No valid session ID provided"),
        (400, "application/json", r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Session expired"}}"#),
        (400, "application/json", r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad"}}"#),
        (400, "application/json", r#"{"error":"unknown session"}"#),
        (404, "text/html", "<p>not here</p>"),
        (410, "text/plain", ""),
        (422, "application/json", r#"{"detail":"Unexpected message, expect initialize request"}"#),
        (
            200,
            "application/json",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#,
        ),
        (
            200,
            "application/json",
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#,
        ),
    ] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.request("ping", json!({})).result();
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(status).body(kind, body.to_owned())));
        let answer = serve.call("echo", json!({"message": "hi"}));
        assert_eq!(answer.result()["content"][0]["text"], "hi", "{status} {body}");
        assert_eq!(vendor.executed(), ["echo"], "{status} {body}");
        assert_eq!((vendor.calls("tools/call").len(), vendor.calls("initialize").len()), (2, 2), "{status} {body}");

        // Where it always says so, the client hears it.
        for _ in 0..20 {
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(status).body(kind, body.to_owned())));
        }
        serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!((vendor.calls("tools/call").len(), vendor.calls("initialize").len()), (4, 3), "{status} {body}");
    }
}

/// a3: an error for the call's own id is its answer, whatever the status: the server has looked at it. One that speaks of
/// a lost session leaves the next call a new one.
#[test]
fn a3_an_error_for_the_calls_own_id_is_its_answer() {
    for (status, message, sessions) in [
        (400, "Invalid arguments", 1),
        (422, "Invalid arguments", 1),
        (200, "No such account", 1),
        (200, "Session not found", 2),
    ] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.request("ping", json!({})).result();
        let next = serve.request("ping", json!({})).id().unwrap().parse::<u64>().unwrap() + 1;
        let error = json!({"jsonrpc": "2.0", "id": next, "error": {"code": -32602, "message": message}});
        vendor.fault(On::Rpc("tools/call"), refused(status, &error.to_string()));
        assert_eq!(serve.call("echo", json!({"message": "hi"})).error()["message"], message);
        assert_eq!(vendor.calls("tools/call").len(), 1, "{status} {message}");
        serve.call("echo", json!({"message": "hi"})).result();
        assert_eq!(vendor.calls("initialize").len(), sessions, "{status} {message}");
        assert_eq!(vendor.executed(), ["echo"]);
    }
}

/// a1, a3: whatever a server answers, in whatever order: a call goes out so many times at most, and never again after a
/// delivery that may have been executed. The client is answered.
#[test]
fn a1_any_server_responses_cause_few_deliveries_of_a_call() {
    const CASES: u32 = 24;
    const LENGTH: u32 = 12;
    let cases: Vec<_> = (0..CASES).collect();
    let run = |case: u32| {
        let era = if case.is_multiple_of(2) { Era::Legacy } else { Era::Modern };
        let script = Script { era, ..Script::people() };
        let (sandbox, vendor) = left_alone(script);
        let mut serve = sandbox.serve([vendor.url()]);
        serve.greet(era);
        serve.request_in(era, "tools/list", json!({})).result();
        // A row of answers that is the same each time: a congruential generator, seeded by the case.
        let mut state = u64::from(case) * 2_654_435_761 + 1;
        let mut doubtful = None;
        for position in 0..LENGTH as usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (effect, is_doubtful) = match (state >> 33) % 11 {
                0 | 1 => (unauthorized(), false),
                2 => {
                    let challenge = r#"Bearer error="insufficient_scope", scope="more""#;
                    (Effect::Answer(Reply::new(403).header("www-authenticate", challenge)), false)
                }
                3 | 4 => (Effect::status(404), false),
                5 => (
                    refused(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Session lost"}}"#),
                    false,
                ),
                6 => (Effect::Answer(Reply::new(429).header("retry-after", "0")), false),
                7 => {
                    (refused(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"headers"}}"#), false)
                }
                8 => (Effect::status(503), true),
                9 => (Effect::CutBefore, true),
                _ => (Effect::CutAfter, true),
            };
            if is_doubtful {
                doubtful.get_or_insert(position + 1);
            }
            vendor.fault(On::Rpc("tools/call"), effect);
        }
        serve.call_in(era, "echo", json!({"message": "hi"}));
        let sent = vendor.calls("tools/call").len();
        let limit = doubtful.unwrap_or(SENDS_LIMIT).min(SENDS_LIMIT);
        assert!((1..=limit).contains(&sent), "case {case}: {sent} deliveries, {limit} at most");
        assert!(vendor.executed().len() <= 1, "case {case}");
    };
    thread::scope(|scope| {
        for half in cases.chunks(CASES as usize / 4) {
            scope.spawn(move || half.iter().for_each(|case| run(*case)));
        }
    });
}

/// a1: each single refusal may be followed by another attempt, and all of them together may not: so many deliveries in
/// all, and an answer.
#[test]
fn a1_many_reasons_together_have_one_limit() {
    let (sandbox, vendor) = left_alone(Script::people());
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    serve.request("tools/list", json!({})).result();
    let busy = || Effect::Answer(Reply::new(429).header("retry-after", "0"));
    vendor.fault(On::Rpc("tools/call"), unauthorized());
    for _ in 0..6 {
        vendor.fault(On::Rpc("tools/call"), busy());
    }
    vendor.fault(On::Rpc("tools/call"), Effect::status(404));
    for _ in 0..8 {
        vendor.fault(On::Rpc("tools/call"), busy());
    }
    let answer = serve.call("echo", json!({"message": "hi"}));
    answer.error();
    assert_eq!((vendor.calls("tools/call").len(), vendor.executed().len()), (SENDS_LIMIT, 0), "{}", answer.raw);
}

/// a1, d3: an `initialize` and a list whose connection breaks are asked for once more; a call is not.
#[test]
fn d3_read_only_requests_are_resent_when_the_connection_breaks() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    for method in ["initialize", "tools/list"] {
        vendor.fault(On::Rpc(method), Effect::CutBefore);
    }
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    serve.request("tools/list", json!({})).result();
    vendor.fault(On::Rpc("tools/call"), Effect::CutBefore);
    assert_eq!(serve.call("echo", json!({"message": "hi"})).error()["code"], -31010);
    assert_eq!(vendor.calls("tools/call").len(), 1);
}

/// b6: a profile whose stored credential is gone is signed out, and `auto` opens the browser.
#[test]
fn b6_a_missing_credential_starts_a_sign_in() {
    let (mut sandbox, vendor) = left_alone(Script::people());
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let stored = sandbox.files().into_iter().filter(|file| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("finmcp-"))
            && file.extension().is_none_or(|kind| kind != "lock")
    });
    let removed = stored.map(|file| fs::remove_file(file).unwrap()).count();
    assert!(removed > 0, "{:?}", sandbox.files());
    sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
    let before = browser.starts().len();
    let mut serve = sandbox.serve([&vendor.url(), "--sign-in", "auto"]);
    serve.initialize();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), before + 1);
    assert_eq!(vendor.executed(), ["echo"]);
}

/// a2: a server that goes away while its GET stream is open is tried a few times, then left alone until the client says
/// something; then the stream is there again.
#[test]
fn a2_a_lost_stream_is_reopened_when_the_client_sends() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve: Serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    serve.request("ping", json!({})).result();
    eventually("the GET stream", || (vendor.stream_count() == 1).then_some(()));
    serve.call("echo", json!({"message": "hi"})).result();
    vendor.forget_sessions();
    serve.call("echo", json!({"message": "hi"})).result();
    eventually("the GET stream of the new session", || (vendor.stream_count() == 1).then_some(()));
    vendor.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    serve.incoming("notifications/tools/list_changed");
}
