//! Tokens that are bound to a key (DPoP, RFC 9449): when, how, and that a server's wish for a nonce repeats nothing.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    commands::{
        login::{CLIENT_SECRET, machine_login},
        token::pass,
    },
    support::{
        browser::{FakeBrowser, Person, signed_in},
        sandbox::Sandbox,
        vendor::{Dpop, Effect, On, Recorded, Reply, Script, Vendor},
    },
};

/// Renewals that a refusal caused are not made faster than this.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(2100);

fn people(dpop: Dpop, nonces: bool) -> Vendor {
    Vendor::start(Script { dpop: Some(dpop), nonces, ..Script::people() })
}

/// The claims of a request's proof.
fn claims(record: &Recorded) -> Value {
    let claims = record.header("dpop").unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Sections 4.3, 5, 7.1 and 10, as the vendor judges each proof: one key from the code to the last refresh, and no
/// private half of it anywhere.
#[test]
fn a_server_that_challenges_for_it_gets_bound_tokens() {
    let vendor = people(Dpop::Challenged, false);
    let (sandbox, browser) = signed_in(&vendor, &[]);
    assert!(vendor.records_at("/authorize")[0].query().contains_key("dpop_jkt"));

    let mut bridge = sandbox.serve([vendor.url()]);
    bridge.initialize().result();
    for _ in 0..2 {
        bridge.echo("hi");
    }
    vendor.revoke_access_tokens();
    bridge.echo("hi");
    drop(bridge);
    let calls = vendor.calls("tools/call");
    assert_eq!((calls.len(), vendor.executed().len()), (4, 3), "the refused one is sent again");
    assert!(calls.iter().all(|call| call.header("authorization").unwrap().starts_with("DPoP ")));
    sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
    assert_eq!(vendor.complaints(), Vec::<String>::new());
    assert_eq!((vendor.replays(), browser.starts().len()), (0, 1));

    sandbox.assert_no_secret(&[vendor.secrets(), vec!["BEGIN PRIVATE KEY".to_owned()]].concat());
}

/// Scripts are told what they have: the scheme, and that it is of little use to them.
#[test]
fn token_notes_that_a_token_is_bound() {
    let vendor = people(Dpop::Challenged, false);
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let json = sandbox.finmcp(["token", &vendor.url(), "--json"]).expect_success().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["token_type"], "DPoP");
    let run = sandbox.finmcp(["token", &vendor.url(), "--header"]).expect_success();
    assert!(run.stdout.starts_with("Authorization: DPoP "), "{}", run.stdout);
    run.expect_stderr(&["bound to finmcp's DPoP key"]);
}

/// Sections 8 and 9: a nonce is asked for once by each endpoint, remembered while the process runs, and asked for again
/// when it changes. What was refused for want of one had no effect, and is sent once more.
#[test]
fn t114_a_request_for_a_nonce_repeats_no_executed_call() {
    let vendor = people(Dpop::Challenged, true);
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let at_token = || vendor.records_at("/token").len();
    assert_eq!(at_token(), 2, "without a nonce, and with it");
    let mut bridge = sandbox.serve([vendor.url()]);
    let asked = vendor.calls("initialize").len();
    bridge.initialize().result();
    assert_eq!(vendor.calls("initialize").len(), asked + 2, "without a nonce, and with it");
    for (changes, sent) in [(false, 1), (true, 3), (false, 4)] {
        if changes {
            vendor.change_nonces();
        }
        bridge.echo("hi");
        assert_eq!(vendor.calls("tools/call").len(), sent);
    }
    assert_eq!(vendor.executed().len(), 3);

    // A renewal changes nothing about what is remembered.
    for (renewals, requests) in [(1, 2), (2, 3)] {
        pass(BETWEEN_RENEWALS);
        vendor.revoke_access_tokens();
        let sent = vendor.calls("tools/call").len();
        bridge.call("echo", json!({"message": "hi"})).result();
        assert_eq!(at_token(), 2 + requests, "renewal {renewals}");
        assert_eq!(vendor.calls("tools/call").len(), sent + 2, "renewal {renewals}: refused once, and for the token");
    }
    assert_eq!((vendor.executed().len(), vendor.replays()), (5, 0));
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// A server that is never content with a nonce gets each request twice and no more; neither a renewal nor a person
/// helps it, and neither is tried.
#[test]
fn a_server_that_always_wants_another_nonce() {
    let vendor = people(Dpop::Challenged, false);
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let mut bridge = sandbox.serve([vendor.url()]);
    bridge.initialize().result();
    let asked = vendor.records_at("/token").len();
    for number in 0..9 {
        let refusal = Reply::new(401).header("www-authenticate", r#"DPoP error="use_dpop_nonce""#);
        let refusal = refusal.header("dpop-nonce", format!("nonce-{number}"));
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(refusal));
    }
    let answer = bridge.call("echo", json!({"message": "hi"}));
    assert_eq!(answer.error()["code"], -31003, "{}", answer.raw);
    assert!(answer.raw.contains("HTTP 401"), "{}", answer.raw);
    let calls = vendor.calls("tools/call");
    assert_eq!(calls.len(), 2);
    assert_eq!((claims(&calls[0]).get("nonce"), &claims(&calls[1])["nonce"]), (None, &json!("nonce-0")));
    assert_eq!((vendor.records_at("/token").len(), vendor.executed().len()), (asked, 0));
}

/// The same at the token endpoint: an error that says so, and the sign-in stays.
#[test]
fn a_token_endpoint_that_always_wants_another_nonce() {
    let vendor = people(Dpop::Challenged, false);
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let asked = vendor.records_at("/token").len();
    for number in 0..2 {
        let refusal = Reply::new(400).json(&json!({"error": "use_dpop_nonce"}));
        vendor.fault(On::Path("/token"), Effect::Answer(refusal.header("dpop-nonce", format!("nonce-{number}"))));
    }
    let refresh = ["token", &vendor.url(), "--force-refresh"];
    sandbox.finmcp(refresh).expect_code(3).expect_stderr(&["with a new nonce"]);
    assert_eq!(vendor.records_at("/token").len(), asked + 2);
    sandbox.finmcp(refresh).expect_success();
    assert_eq!(vendor.replays(), 0);
}

/// t050: a token that was to be bound and is not is refused: nothing of it is kept or shown.
#[test]
fn t050_a_bearer_token_in_the_place_of_a_bound_one() {
    let vendor = people(Dpop::Challenged, false);
    let mut sandbox = Sandbox::new();
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let token = "bearer-token-7d90ce5512aa4fb1";
    for kind in [json!("Bearer"), json!(null)] {
        let body = json!({"access_token": token, "token_type": kind, "expires_in": 3600});
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(200).json(&body)));
        let run = sandbox.finmcp(["login", &vendor.url()]).expect_code(5);
        run.expect_stderr(&["`token_type` is not DPoP"]);
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
    }
    sandbox.assert_no_secret(&[token.to_owned()]);
}

/// t050: and the other way round: a token that is bound to no key of ours.
#[test]
fn t050_a_bound_token_without_a_request_for_one() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let body = json!({"access_token": "t", "token_type": "DPoP", "expires_in": 3600});
    vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(200).json(&body)));
    sandbox.finmcp(["login", &vendor.url()]).expect_code(5).expect_stderr(&["`token_type` is not Bearer"]);
}

/// Who asks for it: the server by its metadata or a person. The authorization server alone does not.
#[test]
fn when_tokens_are_bound() {
    for (dpop, more, bound) in [
        (Dpop::Required, &[][..], true),
        (Dpop::Challenged, &[], true),
        (Dpop::Listed, &["--dpop"], true),
        (Dpop::Listed, &[], false),
    ] {
        let vendor = people(dpop, false);
        let (sandbox, _browser) = signed_in(&vendor, more);
        // The person's wish is kept for another time.
        sandbox.finmcp(["login", &vendor.url()]).expect_success();
        for record in vendor.records_at("/token") {
            assert_eq!(record.header("dpop").is_some(), bound, "{dpop:?} {more:?}");
        }
        let mut bridge = sandbox.serve([vendor.url()]);
        bridge.initialize().result();
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// A wider sign-in is bound as the one before was, whatever the scheme of the challenge for it.
#[test]
fn a_wider_sign_in_is_bound_too() {
    let vendor = people(Dpop::Challenged, false);
    let (sandbox, browser) = signed_in(&vendor, &[]);
    let mut bridge = sandbox.serve([vendor.url(), "--sign-in".to_owned(), "auto".to_owned()]);
    bridge.initialize().result();
    let challenge = r#"Bearer error="insufficient_scope", scope="reports:read""#;
    let refusal = Reply::new(403).header("www-authenticate", challenge);
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(refusal));
    bridge.echo("hi");
    assert_eq!(browser.starts().len(), 2);
    assert!(vendor.records_at("/token").iter().all(|record| record.header("dpop").is_some()));
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// An authorization server that does not say that it can: no browser opens where it is needed.
#[test]
fn an_authorization_server_that_binds_no_tokens() {
    let unable = json!({"dpop_signing_alg_values_supported": ["RS256"]});
    for (dpop, more, code) in [
        (Dpop::Required, &[][..], 1),
        (Dpop::Listed, &["--dpop"], 1),
        // The challenge may be one of several that the server would take.
        (Dpop::Challenged, &[], 0),
    ] {
        let script = Script { dpop: Some(dpop), authorization_server: unable.clone(), ..Script::people() };
        let vendor = Vendor::start(script);
        let mut sandbox = Sandbox::new();
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let run = sandbox.finmcp([&["login", &vendor.url()], more].concat()).expect_code(code);
        if code != 0 {
            run.expect_stderr(&["does not list support for DPoP", "--dpop"]);
            assert!(browser.starts().is_empty() && vendor.records_at("/token").is_empty());
        }
    }
}

/// A machine, at an endpoint of which nothing is known: the person's word is all there is.
#[test]
fn a_machine_can_have_bound_tokens() {
    let script = Script { dpop: Some(Dpop::Listed), nonces: true, ..Script::machine("x", CLIENT_SECRET) };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let arguments = [machine_login(&sandbox, &vendor), vec!["--dpop".into()]].concat();
    sandbox.finmcp(arguments).expect_success();
    let json = sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh", "--json"]).expect_success().stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["token_type"], "DPoP");
    assert_eq!(vendor.records_at("/token").len(), 4);
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}
