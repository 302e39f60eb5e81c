//! Challenges that make no sense, and servers that are never content.

use super::*;

/// t019: whatever a challenge looks like, it is read or passed over, and the sign-in goes on from the well-known places.
#[test]
fn t019_invalid_challenges_are_skipped() {
    let long = format!("Bearer realm=\"{}\"", "x".repeat(64 << 10));
    let many = vec!["Bearer a=b"; 4000].join(", ");
    let challenges = [
        "",
        "Bearer",
        ",,,,",
        "Bearer resource_metadata",
        "Bearer resource_metadata=",
        "Bearer realm=\"never closed, resource_metadata=\\\"",
        "\"\\\\\\",
        "Basic realm=\"a, Bearer resource_metadata=\\\"https://evil.example\\\"\"",
        "Negotiate YII+/==, Digest qop=\"auth, auth-int\", nonce=\"=,=\"",
        "Bearer scope=\"\u{e9}\"",
        "Bearer \u{202e}=\u{202e}",
        "=====",
        long.as_str(),
        many.as_str(),
    ];
    in_parallel(&challenges, |challenge| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let reply = Reply::new(401).header("www-authenticate", *challenge);
        vendor.fault(On::Path("/mcp"), Effect::Answer(reply));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &vendor.url()]).expect_success();
        assert_eq!(browser.starts().len(), 1);
        assert_eq!(vendor.records()[1].path, PROTECTED_RESOURCE);
    });
}

/// t020, t021, t010, t013, t004: a bridge that may open a browser opens none for a server that must not be believed; the
/// client hears why, and the way out.
#[test]
fn t020_a_bridge_refuses_as_a_sign_in_does() {
    let server = |patch: Value| Script { authorization_server: patch, ..Script::people() };
    let resource = |patch: Value| Script { protected_resource: patch, ..Script::people() };
    for (script, said, way_out) in [
        (server(json!({"code_challenge_methods_supported": null})), "S256", "allow_missing_pkce_metadata"),
        (server(json!({"code_challenge_methods_supported": ["plain"]})), "S256", "contact the server's operator"),
        (
            server(json!({"issuer": "https://honest.example"})),
            "https://honest.example as its issuer",
            "issuer_override",
        ),
        (server(json!({"token_endpoint": "http://as.example/"})), "only https", "contact the server's operator"),
        (server(json!({"token_endpoint": "https://10.0.0.9/"})), "private address", "--allow-private-network"),
        (
            resource(json!({"resource": "https://bank.example/mcp"})),
            "https://bank.example/mcp",
            "contact the server's operator",
        ),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
        serve.initialize();
        let answer = serve.call("echo", json!({}));
        assert_eq!(answer.error()["code"], -31005, "{said}: {}", answer.raw);
        assert!(answer.raw.contains(said) && answer.raw.contains(way_out), "{said}: {}", answer.raw);
        assert!(browser.starts().is_empty(), "{said}");
        assert!(vendor.records_at("/register").is_empty() && vendor.records_at("/token").is_empty(), "{said}");
    }
}

/// t018: a server that accepts no token gets two requests for each of ours, and the person one page.
#[test]
fn t018_a_server_that_refuses_every_sign_in_opens_one_browser() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), 1);
    let before = vendor.calls("tools/call").len();
    for _ in 0..100 {
        let reply = Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\"");
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(reply));
    }
    for calls in 1..=6 {
        let answer = serve.call("echo", json!({"message": "hi"}));
        assert!(answer.error()["message"].as_str().unwrap().contains("finmcp login"), "{}", answer.raw);
        assert!(vendor.calls("tools/call").len() - before <= 2 * calls);
    }
    assert_eq!((browser.starts().len(), vendor.executed().len()), (1, 1));
}

/// t018: a sign-in that helped and then ended is followed by another one, and that by none as long as nothing lasts.
#[test]
fn t018_a_sign_in_that_ends_at_once_is_asked_for_once_more() {
    let script = Script { refresh_tokens: false, ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
    serve.initialize().result();
    vendor.revoke_access_tokens();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), 2);
    for _ in 0..3 {
        vendor.revoke_access_tokens();
        serve.call("echo", json!({"message": "hi"})).error();
    }
    assert_eq!((browser.starts().len(), vendor.executed().len()), (2, 1));
}
