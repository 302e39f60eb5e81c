use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://as.example/tenant1";

fn place() -> ServerUrl {
    ISSUER.parse().unwrap()
}

fn metadata() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example/authorize",
        "token_endpoint": "https://as.example/token",
        "registration_endpoint": null,
        "code_challenge_methods_supported": ["plain", "S256"],
        "unknown": {"a": 1},
    })
}

fn with(member: &str, value: Value) -> Result<AuthorizationServer, Untrusted> {
    let mut document = metadata();
    document[member] = value;
    AuthorizationServer::parse(document.to_string().as_bytes(), ISSUER, &place())
}

/// t014: the specification's three URLs for an issuer with a path, and two for one without.
#[test]
fn t014_candidates_in_order() {
    let namer: ServerUrl = "https://mcp.example".parse().unwrap();
    let of = |issuer: &str| {
        let found = candidates(issuer, &namer).unwrap();
        found.iter().map(ServerUrl::to_string).collect::<Vec<_>>()
    };
    for issuer in ["https://as.example/tenant1", "https://as.example/tenant1/"] {
        assert_eq!(
            of(issuer),
            [
                "https://as.example/.well-known/oauth-authorization-server/tenant1",
                "https://as.example/.well-known/openid-configuration/tenant1",
                "https://as.example/tenant1/.well-known/openid-configuration",
            ]
        );
    }
    for issuer in ["https://as.example", "https://as.example/"] {
        assert_eq!(
            of(issuer),
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ]
        );
    }
}

/// t003, t004, t005, t039: invalid issuers.
#[test]
fn t005_issuers_that_must_not_be_called() {
    let namer: ServerUrl = "https://mcp.example".parse().unwrap();
    for issuer in [
        "http://as.example",
        "http://127.0.0.1:9/",
        "https://localhost:9",
        "https://u:p@as.example",
        "https://as.example#x",
        "https://as.example?x=y",
        "javascript:alert(1)",
        "as.example",
        "",
    ] {
        assert!(candidates(issuer, &namer).is_err(), "{issuer}");
    }
}

/// RFC 8705 section 5: a client with a certificate uses the aliases, which have the reach of all endpoints, and the
/// other endpoints where there is no alias.
#[test]
fn mtls_aliases_of_endpoints() {
    let server = with("mtls_endpoint_aliases", json!({"token_endpoint": "https://mtls.example/token"})).unwrap();
    assert_eq!(server.token_endpoint.as_str(), "https://as.example/token");
    let certified = server.clone().for_certificate().unwrap();
    assert_eq!(certified.token_endpoint.as_str(), "https://mtls.example/token");
    assert_eq!(certified.authorization_endpoint, server.authorization_endpoint);
    assert_eq!(with("mtls_endpoint_aliases", Value::Null).unwrap().for_certificate().unwrap().issuer, ISSUER);
    for alias in ["http://as.example/token", "https://10.0.0.1/token", "https://u:p@as.example/", "token", ""] {
        for member in ["token_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint"] {
            let server = with("mtls_endpoint_aliases", json!({member: alias})).unwrap();
            assert!(server.for_certificate().is_err(), "{member} {alias}");
        }
    }
}

/// RFC 9126 section 5.
#[test]
fn d5_where_requests_are_pushed() {
    let endpoint = "pushed_authorization_request_endpoint";
    let server = with(endpoint, json!("https://as.example/par")).unwrap();
    let offered = server.push_endpoint().unwrap().unwrap();
    assert_eq!((offered.url.as_str(), offered.is_required), ("https://as.example/par", false));
    assert_eq!(with(endpoint, Value::Null).unwrap().push_endpoint(), Ok(None));
    assert!(with("require_pushed_authorization_requests", json!(true)).unwrap().push_endpoint().is_err());
    assert!(with(endpoint, json!("http://as.example/par")).is_err());
}

/// t010: issuers are compared byte for byte.
#[test]
fn t010_another_issuer_is_refused() {
    for issuer in [
        "https://honest.example",
        "https://as.example/tenant1/",
        "https://AS.example/tenant1",
        "https://as.example:443/tenant1",
        "https://as.example/tenant%31",
        "http://as.example/tenant1",
        "",
    ] {
        let refused = with("issuer", json!(issuer));
        assert!(matches!(refused, Err(Untrusted::Issuer { .. })), "{issuer}");
    }
    let refused = with("issuer", json!("https://evil.example/\u{1b}]52;c;x")).unwrap_err().to_string();
    assert!(refused.contains("https://evil.example/") && refused.contains(ISSUER) && !refused.contains('\u{1b}'));
}

/// d2: only the single slash after an origin is added or removed.
#[test]
fn d2_the_slash_after_an_origin() {
    for (one, other) in [
        ("https://as.example", "https://as.example/"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/"),
        ("https://[::1]:9", "https://[::1]:9/"),
        ("https://AS.example", "https://AS.example/"),
    ] {
        assert_eq!(with_other_slash(one).as_deref(), Some(other));
        assert_eq!(with_other_slash(other).as_deref(), Some(one));
    }
    for none in [
        "https://as.example/tenant1",
        "https://as.example/tenant1/",
        "https://as.example//",
        "https://as.example?x",
        "https://as.example/?x",
        "https://as.example#x",
        "https:///",
        "https://",
        "as.example/",
        "",
    ] {
        assert_eq!(with_other_slash(none), None, "{none}");
    }
}

/// t020, t021: without S256 there is no sign-in in the browser.
#[test]
fn t020_pkce_must_be_advertised() {
    for methods in [json!([]), json!(["plain"]), json!(["s256"])] {
        let server = with("code_challenge_methods_supported", methods).unwrap();
        assert_eq!(server.authorization_endpoint(), Err(Untrusted::Pkce));
        assert_eq!(server.assuming_pkce().authorization_endpoint(), Err(Untrusted::Pkce));
    }
    let server = with("code_challenge_methods_supported", json!(null)).unwrap();
    assert_eq!(server.authorization_endpoint(), Err(Untrusted::PkceNotListed));
    assert!(server.assuming_pkce().authorization_endpoint().is_ok());
    let server = with("code_challenge_methods_supported", json!(["S256"])).unwrap();
    assert_eq!(server.authorization_endpoint().map(ServerUrl::as_str), Ok("https://as.example/authorize"));
}

#[test]
fn client_credentials_need_no_authorization_endpoint() {
    let server = with("authorization_endpoint", json!(null)).unwrap();
    assert_eq!(server.token_endpoint.as_str(), "https://as.example/token");
    assert!(matches!(server.authorization_endpoint(), Err(Untrusted::Document { .. })));
}

/// t001, t002, t003, t004, t005, t039: every trick is refused for every endpoint.
#[test]
fn t003_endpoints_that_must_not_be_called() {
    for member in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "ms-msdt:/id",
            "\\\\host\\share",
            "http://as.example/x",
            "http://127.0.0.1:9/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://bank.example@evil.example/x",
            "https://as.example/x#y",
            "https://as.example/$(calc)`id`",
            "https://as.example/\"&calc",
            "https://as.example/a b",
            "--upload-pack=x",
            "-a Calculator",
            "/authorize",
            "",
        ] {
            let refused = with(member, json!(url));
            assert!(matches!(refused, Err(Untrusted::Url { .. })), "{member} {url}");
        }
    }
}

/// t015: documents that must not be used.
#[test]
fn t015_bad_documents() {
    let text = metadata().to_string();
    let twice = text.replacen('{', r#"{"token_endpoint":"https://evil.example/token","#, 1);
    for bad in ["", "<html>", "null", "[]", &text[1..], &twice, &format!("\u{feff}{text}")] {
        let refused = AuthorizationServer::parse(bad.as_bytes(), ISSUER, &place());
        assert!(matches!(refused, Err(Untrusted::Document { .. })), "{bad}");
    }
    assert!(matches!(with("token_endpoint", json!(null)), Err(Untrusted::Document { .. })));
    // As deep as the size limit allows, in a member that is read and in one that is not.
    let deep = "[".repeat(500_000) + &"]".repeat(500_000);
    let as_value = |member: &str| text.replacen('{', &format!(r#"{{"{member}":{deep},"#), 1);
    for bad in [deep.clone(), "[".repeat(1_000_000), as_value("registration_endpoint"), as_value("unread")] {
        let refused = AuthorizationServer::parse(bad.as_bytes(), ISSUER, &place());
        assert!(matches!(refused, Err(Untrusted::Document { .. })));
    }
}

#[test]
fn missing_members_have_their_defaults() {
    let server = with("x", json!(1)).unwrap();
    assert_eq!(server.authentication, [ClientAuthentication::Basic]);
    assert!(!server.offline_access && !server.names_itself);
    let methods = json!(["private_key_jwt", "client_secret_post", "none"]);
    let server = with("token_endpoint_auth_methods_supported", methods).unwrap();
    assert_eq!(
        server.authentication,
        [ClientAuthentication::PrivateKeyJwt, ClientAuthentication::Body, ClientAuthentication::None]
    );
    assert!(with("scopes_supported", json!(["openid", "offline_access"])).unwrap().offline_access);
    for (grants, refresh) in
        [(json!(null), true), (json!(["refresh_token"]), true), (json!(["authorization_code"]), false)]
    {
        assert_eq!(with("grant_types_supported", grants).unwrap().refresh, refresh);
    }
    assert!(with("authorization_response_iss_parameter_supported", json!(true)).unwrap().names_itself);
}

/// RFC 8414 section 2: an unlisted algorithm is not supported; without a list, nothing is known.
#[test]
fn t061_the_key_algorithms_of_a_server() {
    let (key, secret) = (json!(["client_secret_basic", "private_key_jwt"]), json!(["client_secret_basic"]));
    for (methods, algorithms, taken) in [
        (&key, json!(["RS256", "ES256"]), Some(&["RS256", "ES256"][..])),
        (&key, json!(null), None),
        (&secret, json!(["RS256"]), Some(&[])),
        (&secret, json!(null), Some(&[])),
        (&json!(null), json!(["PS256"]), Some(&["PS256"])),
        (&json!(null), json!(null), None),
    ] {
        let mut document = metadata();
        document["token_endpoint_auth_methods_supported"] = methods.clone();
        document["token_endpoint_auth_signing_alg_values_supported"] = algorithms.clone();
        let server = AuthorizationServer::parse(document.to_string().as_bytes(), ISSUER, &place()).unwrap();
        let found = server.key_algorithms.as_deref();
        assert_eq!(found.map(|found| found.iter().map(String::as_str).collect()), taken.map(<[_]>::to_vec));
    }
}

#[test]
fn a_server_without_metadata_has_default_paths() {
    let server: ServerUrl = "https://mcp.example:8443/v1/mcp?x=y".parse().unwrap();
    let found = AuthorizationServer::by_default_paths(&server).unwrap();
    assert_eq!(found.issuer, "https://mcp.example:8443");
    assert_eq!(found.token_endpoint.as_str(), "https://mcp.example:8443/token");
    assert_eq!(found.authorization_endpoint().unwrap().as_str(), "https://mcp.example:8443/authorize");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(AuthorizationServer::parse(&body, ISSUER, &place()).is_err());
    }

    /// t010: any document with another issuer is refused.
    #[test]
    fn t010_no_other_issuer_passes(issuer in r"https://as\.example(:443)?/?[a-z0-9/%]{0,9}") {
        prop_assert_eq!(with("issuer", json!(issuer)).is_ok(), issuer == ISSUER);
    }
}
