//! `finmcp logout` and `finmcp status`: what is there, and that it is gone.

use crate::{
    commands::token::signed_in_machine,
    support::{
        sandbox::Sandbox,
        vendor::{Effect, On},
    },
};

#[test]
fn status_shows_what_is_signed_in_and_no_secret() {
    let (sandbox, vendor) = signed_in_machine();
    let run = sandbox.finmcp(["status"]).expect_success();
    assert!(run.stdout.contains("asset-sandbox") || run.stderr.contains("asset-sandbox"), "{run:?}");
    let json = sandbox.finmcp(["status", "--json"]).expect_success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains("asset-sandbox"), "{json}");
    sandbox.assert_no_secret(&vendor.secrets());
}

#[test]
fn logout_when_signed_out_succeeds() {
    Sandbox::new().finmcp(["logout", "asset", "--env", "sandbox"]).expect_success();
}

#[test]
fn a_machine_that_signs_out_has_no_token() {
    let (sandbox, _vendor) = signed_in_machine();
    sandbox.finmcp(["logout", "asset", "--env", "sandbox"]).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
}

/// RFC 7009 section 2.2.1: a server that revokes no access tokens is no trouble, and is spoken of once.
#[test]
fn t063_tokens_that_the_server_does_not_revoke() {
    use crate::support::vendor::Reply;
    use serde_json::json;

    let (sandbox, vendor) = (crate::support::sandbox::Sandbox::new(), crate::commands::login::machine_vendor());
    vendor.change(|script| {
        script.publishes_metadata = true;
        script.challenge_points = true;
    });
    let secret = sandbox.give("client-secret", crate::commands::login::CLIENT_SECRET);
    let url = vendor.url();
    let client = ["--client-id", "x", "--client-secret-file", secret.to_str().unwrap()];
    sandbox.finmcp([&["login", &url, "--grant", "client-credentials"], &client[..]].concat()).expect_success();
    let refusal = Reply::new(400).json(&json!({"error": "unsupported_token_type", "error_description": "noise"}));
    vendor.fault(On::Path("/revoke"), Effect::Answer(refusal));
    let run = sandbox.finmcp(["logout", &url]).expect_success();
    assert_eq!(vendor.records_at("/revoke").len(), 1);
    let said = "This server cannot revoke access tokens; the last one stays valid until it expires";
    assert_eq!(run.stderr.matches(said).count(), 1, "{}", run.stderr);
    for noise in ["unsupported_token_type", "noise", "could not"] {
        assert!(!run.stderr.contains(noise), "{}", run.stderr);
    }
    sandbox.finmcp(["token", &url]).expect_code(4);
}

/// t063: the sign-in is ended at the server, and here whatever the server says.
#[cfg(unix)]
#[test]
fn t063_logout_revokes_the_tokens_at_the_server() {
    use crate::support::{
        browser::signed_in,
        vendor::{Script, Vendor},
    };

    for down in [false, true] {
        let vendor = Vendor::start(Script::people());
        let (sandbox, _browser) = signed_in(&vendor, &[]);
        let token = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
        if down {
            for _ in 0..3 {
                vendor.fault(On::Path("/revoke"), Effect::status(503));
            }
        }
        let run = sandbox.finmcp(["logout", &vendor.url()]);
        let refresh = vendor.secrets().into_iter().find(|secret| secret.starts_with("refresh-token")).unwrap();
        assert!(vendor.records_at("/revoke").iter().any(|record| record.form()["token"] == refresh));
        if down {
            assert!(!run.stderr.is_empty(), "that the server was not told is said");
        } else {
            assert_eq!(run.code, Some(0), "{run:?}");
            let bearer = format!("Bearer {}", token.trim_end());
            let page = crate::support::visitor::visit("POST", &vendor.url(), &[("authorization", &bearer)], "{}");
            assert_eq!(page.unwrap().status, 401);
        }
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

/// d1: a server that wants a `client_secret` of every client is given an empty one by a client that has none; the token
/// is revoked then.
#[cfg(unix)]
#[test]
fn d1_a_public_client_revokes_at_a_server_that_expects_a_secret() {
    use crate::support::{
        browser::signed_in,
        vendor::{Reply, Script, Vendor},
    };
    use serde_json::json;

    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let refusal = json!({"error": "invalid_request", "error_description": "client_secret: Field required"});
    vendor.fault(On::Path("/revoke"), Effect::Answer(Reply::new(400).json(&refusal)));
    let run = sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    assert!(!run.stderr.contains("could not revoke"), "{}", run.stderr);
    let sent: Vec<_> =
        vendor.records_at("/revoke").iter().map(|record| record.form().get("client_secret").cloned()).collect();
    assert_eq!(sent[..2], [None, Some(String::new())]);
}
