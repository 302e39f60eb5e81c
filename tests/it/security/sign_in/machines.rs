//! Programs that sign in by a secret or a private key.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::*;

fn key(name: &str) -> String {
    format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

fn mint(sandbox: &Sandbox, vendor: &Vendor, more: &[&str]) -> Run {
    sandbox.finmcp([&["login", &vendor.url(), "--grant", "client-credentials"], more].concat())
}

/// A vendor that grants every token request, and publishes `metadata`.
fn lenient(metadata: Value) -> Vendor {
    Vendor::start(Script { authorization_server: metadata, token_answer: Some(tokens()), ..Script::people() })
}

/// Without a pinned endpoint it is discovered; a server for programs alone needs neither PKCE nor an authorization
/// endpoint. A secret is needed.
#[test]
fn a_program_finds_the_token_endpoint() {
    let script = Script {
        challenge_scope: Some("mcp"),
        registration: Registration::Closed,
        clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
        authorization_server: json!({
            "code_challenge_methods_supported": null,
            "authorization_endpoint": null,
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }),
        ..Script::people()
    };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    for without_secret in [&[][..], &["--client-id", "x"]] {
        mint(&sandbox, &vendor, without_secret).expect_code(2).expect_stderr(&["--client-secret-file"]);
    }
    assert!(vendor.records_at("/token").is_empty());
    let secret = sandbox.give("client-secret", CLIENT_SECRET);
    mint(&sandbox, &vendor, &["--client-id", "x", "--client-secret-file", secret.to_str().unwrap()]).expect_success();
    let form = vendor.records_at("/token")[0].form();
    assert_eq!((&form["client_secret"][..], &form["scope"][..]), (CLIENT_SECRET, "mcp"));
}

/// t061, t017: a key proves the client to the server that it is registered with, and is sent nowhere; it need not be given
/// again, except to another server.
#[test]
fn t061_a_private_key_signs_and_is_sent_nowhere() {
    let methods = json!({"token_endpoint_auth_methods_supported": ["none", "private_key_jwt"]});
    let (sandbox, vendor, other) = (Sandbox::new(), lenient(methods.clone()), lenient(methods));
    let key = key("ec-pkcs8");
    mint(&sandbox, &vendor, &["--client-id", "id", "--private-key-file", &key]).expect_success();
    mint(&sandbox, &vendor, &["--client-id", "id"]).expect_success();
    sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
    let sent = vendor.records_at("/token");
    assert_eq!(sent.len(), 3);
    for token in sent {
        let form = token.form();
        assert_eq!(form["client_id"], "id");
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let claims = form["client_assertion"].split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["aud"], vendor.origin());
        assert_eq!((form.get("client_secret"), token.header("authorization")), (None, None));
        assert!(!token.text().contains("PRIVATE"));
    }

    vendor.change(|script| script.protected_resource = json!({"authorization_servers": [other.origin()]}));
    mint(&sandbox, &vendor, &["--client-id", "id"]).expect_code(5).expect_stderr(&[&other.origin()]);
    assert!(other.records_at("/token").is_empty());
}

/// t061: a key of a kind that the server does not list is refused here, and nothing is signed with it; at a pinned
/// endpoint nothing is known, and it is tried.
#[test]
fn t061_a_key_is_used_if_the_server_accepts_its_algorithm() {
    let (both, secret) = (json!(["client_secret_basic", "private_key_jwt"]), json!(["client_secret_basic"]));
    for (methods, algorithms, ec, rsa) in [
        (&both, json!(["ES256"]), true, false),
        (&both, json!(["RS256", "PS256"]), false, true),
        (&both, json!(null), true, true),
        (&json!(null), json!(null), true, true),
        (&secret, json!(["ES256", "RS256"]), false, false),
    ] {
        let vendor = lenient(json!({
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
        }));
        for (name, is_taken) in [("ec-pkcs8", ec), ("rsa-pkcs8", rsa)] {
            let key = key(name);
            let client = ["--client-id", "id", "--private-key-file", &key];
            let requests = vendor.records_at("/token").len();
            let run = mint(&Sandbox::new(), &vendor, &client);
            assert_eq!(run.code, Some(if is_taken { 0 } else { 2 }), "{methods} {algorithms} {name}: {}", run.stderr);
            assert_eq!(vendor.records_at("/token").len() - requests, usize::from(is_taken));
            let endpoint = vendor.token_endpoint();
            let pinned = [&client[..], &["--token-endpoint", &endpoint]].concat();
            mint(&Sandbox::new(), &vendor, &pinned).expect_success();
        }
    }
}
