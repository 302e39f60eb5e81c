//! Token responses that must not be used.

use super::*;

/// A token response with that access token.
fn token_response(member: &str, value: Value) -> Reply {
    let mut response = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600});
    response[member] = value;
    Reply::new(200).json(&response)
}

/// t050, t051: a token of another type, or one that would add headers, is neither kept nor sent.
#[test]
fn t050_t051_tokens_that_are_no_bearer_tokens_are_refused() {
    for (member, value, said) in [
        ("token_type", json!("mac"), "not Bearer"),
        ("token_type", json!("DPoP"), "not Bearer"),
        ("token_type", json!("N_A"), "not Bearer"),
        ("token_type", json!("Bearer\r\nX: y"), "not Bearer"),
        ("access_token", json!("a\r\nX: y"), "not a valid header value"),
        ("access_token", json!("a\nX: y"), "not a valid header value"),
        ("access_token", json!("a\u{0}b"), "not a valid header value"),
        ("access_token", json!("caf\u{e9}"), "not a valid header value"),
        ("access_token", json!(""), "not a valid header value"),
        ("access_token", json!(null), "it has no `access_token`"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        vendor.fault(On::Path("/token"), Effect::Answer(token_response(member, value.clone())));
        let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_code(5).expect_stderr(&[said, "hint: "]);
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
        assert!(vendor.records().iter().all(|record| record.header("x").is_none()), "{member} {value}");
    }
    for good in [json!("bEaReR"), json!(null)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        vendor.fault(On::Path("/token"), Effect::Answer(token_response("token_type", good)));
        let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        assert_eq!(sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout, "opaque\n");
    }
}

/// t059: a token response that is none is thrown away, and what is stored stays.
#[test]
fn t059_invalid_token_responses_are_discarded() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
    let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    let token = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
    let good = json!({"access_token": "CANARY-of-a-token-that-is-not-stored", "token_type": "Bearer"});
    for (what, reply, said) in bad_documents(&good) {
        vendor.fault(On::Path("/token"), Effect::Answer(reply));
        let run = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""), "{what}: {}", run.stderr);
        let said =
            if ["twice", "list"].contains(&what) { "it has no `access_token`, or a duplicate member" } else { said };
        run.expect_stderr(&[said, "you are still signed in"]);
        assert_eq!(sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout, token, "{what}");
    }
    sandbox.assert_no_secret(&["CANARY-of-a-token-that-is-not-stored".to_owned()]);
}

/// t045: a token that says that it is for another resource is the server's affair, and reported once; where the person
/// wants none such it is refused, at the sign-in and at each renewal.
#[test]
fn t045_a_token_for_another_resource_is_reported_or_refused() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = URL_SAFE_NO_PAD.encode(json!({"aud": ["https://bank.example/mcp"]}).to_string());
    let foreign = || Effect::Answer(token_response("access_token", json!(format!("e30.{claims}.c2ln"))));
    let sign_in = |sandbox: &Sandbox, vendor: &Vendor, strict: &str| {
        let folder = sandbox.home().join("finmcp");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("[profiles.odd]\nurl = {:?}\noverrides = {{ {strict} }}\n", vendor.url());
        std::fs::write(folder.join("config.toml"), text).unwrap();
        let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
        let client = ["--grant", "client-credentials", "--client-id", "x", "--client-secret-file", &secret];
        sandbox.finmcp([&["login", "odd"], &client[..]].concat())
    };
    let script = || Script { token_shape: TokenShape::Jwt, ..confidential() };

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script()));
    vendor.fault(On::Path("/token"), foreign());
    let run = sign_in(&sandbox, &vendor, "").expect_success();
    assert_eq!(run.stderr.matches("https://bank.example/mcp").count(), 1, "{}", run.stderr);
    let run = sandbox.finmcp(["token", "odd"]).expect_success();
    assert!(!run.stderr.contains("bank.example"), "{}", run.stderr);
    // One that is for this server is nothing to speak of.
    let run = sign_in(&sandbox, &vendor, "").expect_success();
    assert!(!run.stderr.contains("issued a token for"), "{}", run.stderr);

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script()));
    vendor.fault(On::Path("/token"), foreign());
    let run = sign_in(&sandbox, &vendor, "require_audience = true").expect_code(5);
    run.expect_stderr(&["for https://bank.example/mcp, not for", &vendor.url(), "require_audience"]);
    sandbox.finmcp(["token", "odd"]).expect_code(4);
    sign_in(&sandbox, &vendor, "require_audience = true").expect_success();
    vendor.fault(On::Path("/token"), foreign());
    let run = sandbox.finmcp(["token", "odd", "--force-refresh"]).expect_code(5);
    run.expect_stderr(&["for https://bank.example/mcp", "you are still signed in"]);
    sandbox.finmcp(["token", "odd"]).expect_success();
}
