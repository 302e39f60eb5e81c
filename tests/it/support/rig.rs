//! The rig itself: a vendor or a browser that does not do what a test asks for proves nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{
    serve::modern,
    vendor::{Answer, Effect, ExpiresIn, On, Registration, Script, Vendor},
    visitor::{get, post_form, visit},
};

const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

fn post(vendor: &Vendor, headers: &[(&str, &str)], body: &str) -> crate::support::visitor::Page {
    let headers = [&[BOTH, ("content-type", "application/json")], headers].concat();
    visit("POST", &vendor.url(), &headers, body).unwrap()
}

fn initialize(vendor: &Vendor) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}});
    let page = post(vendor, &[], &body.to_string());
    assert_eq!(page.json()["result"]["protocolVersion"], "2025-06-18");
    page.header("mcp-session-id").unwrap().to_owned()
}

#[test]
fn the_legacy_server_wants_a_session_that_it_knows() {
    let vendor = Vendor::start(Script::default());
    let list = r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#;
    assert_eq!(post(&vendor, &[], list).status, 400);
    let session = initialize(&vendor);
    let version = ("mcp-protocol-version", "2025-06-18");
    let page = post(&vendor, &[("mcp-session-id", &session), version], list);
    assert_eq!(page.json()["result"]["tools"][0]["name"], "echo");
    assert_eq!(vendor.complaints(), Vec::<String>::new());
    post(&vendor, &[("mcp-session-id", &session)], list);
    assert_eq!(vendor.complaints().len(), 1, "no MCP-Protocol-Version");
    vendor.forget_sessions();
    assert_eq!(post(&vendor, &[("mcp-session-id", &session)], list).status, 404);
    let next = initialize(&vendor);
    assert_eq!(visit("DELETE", &vendor.url(), &[("mcp-session-id", &next)], "").unwrap().status, 200);
    assert_eq!(vendor.session_count(), 0);
}

#[test]
fn the_request_and_the_response_are_kept_byte_for_byte() {
    for answer in [Answer::Json, Answer::Events] {
        let vendor = Vendor::start(Script { sessions: false, answer, ..Script::default() });
        vendor.prepare("hard", r#"{"id":@ID@,"x":1.10,"result":{"a":"\ud800"},"jsonrpc":"2.0"}"#);
        let call = r#"{"jsonrpc":"2.0","id":1e2,"method":"tools/call","params":{"name":"raw","arguments":{"name":"hard"}},"z":-0.0}"#;
        let page = post(&vendor, &[], call);
        let message = r#"{"id":1e2,"x":1.10,"result":{"a":"\ud800"},"jsonrpc":"2.0"}"#;
        match answer {
            Answer::Json => assert_eq!(page.text(), message),
            Answer::Events => assert_eq!(page.text(), format!("event: message\ndata: {message}\n\n")),
        }
        assert_eq!(vendor.calls("tools/call")[0].text(), call);
    }
}

#[test]
fn the_modern_server_checks_the_headers() {
    let vendor = Vendor::start(Script::default().modern());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": modern(json!({"name": "é", "arguments": {}}))});
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let refused = post(&vendor, &[version, method, ("mcp-name", "e")], &body.to_string());
    assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (400, Some(-32020)));
    let heard = post(&vendor, &[version, method, ("mcp-name", "=?base64?w6k=?=")], &body.to_string());
    assert_eq!(heard.json()["error"]["message"], "Unknown tool");
    assert_eq!(visit("GET", &vendor.url(), &[], "").unwrap().status, 405);
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "x/y", "params": modern(json!({}))});
    let page = post(&vendor, &[version, ("mcp-method", "x/y")], &unknown.to_string());
    assert_eq!((page.status, page.json()["error"]["code"].as_i64()), (404, Some(-32601)));
}

#[test]
fn faults_are_used_up_in_order_and_cuts_say_whether_the_request_counted() {
    let vendor = Vendor::start(Script { sessions: false, ..Script::default() });
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
    vendor.fault(On::Rpc("tools/call"), Effect::CutBefore);
    vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
    vendor.fault(On::Path("/mcp"), Effect::status(503));
    let send = || visit("POST", &vendor.url(), &[BOTH], call);
    assert!(send().is_err());
    assert!(vendor.executed().is_empty());
    assert!(send().is_err());
    assert_eq!(vendor.executed(), ["echo"]);
    assert_eq!(send().unwrap().status, 503);
    assert_eq!(send().unwrap().status, 200);
    assert_eq!(vendor.calls("tools/call").len(), 4);
}

#[test]
fn a_machine_gets_a_token_for_this_resource_only() {
    let secret = "s3cret-0123456789abcdef";
    let vendor = Vendor::start(Script::machine("x", secret));
    let refused = post(&vendor, &[], "{}");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer realm=\"test\"")));
    let url = vendor.url();
    let right = [("client_id", "x"), ("client_secret", secret), ("resource", url.as_str())];
    for (fields, code) in [
        (&[("client_id", "x"), ("client_secret", "wrong"), right[2]][..], "invalid_client"),
        (&right[..2], "invalid_target"),
    ] {
        assert_eq!(post_form(&vendor.token_endpoint(), fields).json()["error"], code);
    }
    for (style, text) in [(ExpiresIn::Seconds, "3600"), (ExpiresIn::Text, "\"3600\""), (ExpiresIn::Absent, "null")] {
        vendor.change(|script| script.expires_in = style);
        assert_eq!(post_form(&vendor.token_endpoint(), &right).json()["expires_in"].to_string(), text);
    }
    vendor.change(|script| script.expires_in = ExpiresIn::UnixTime);
    let response = post_form(&vendor.token_endpoint(), &right).json();
    assert!(response["expires_in"].as_u64().unwrap() > 1_700_000_000);
    let bearer = format!("Bearer {}", response["access_token"].as_str().unwrap());
    assert_ne!(post(&vendor, &[("authorization", &bearer)], "{}").status, 401);
    vendor.revoke_access_tokens();
    let page = post(&vendor, &[("authorization", &bearer)], "{}");
    assert!(page.header("www-authenticate").unwrap().contains("invalid_token"));
    assert!(vendor.secrets().contains(&response["access_token"].as_str().unwrap().to_owned()));
}

/// Registers, authorises and redeems as a client would.
fn sign_in(vendor: &Vendor) -> serde_json::Value {
    let metadata = json!({"redirect_uris": ["http://127.0.0.1/callback"], "application_type": "native"});
    let client = visit("POST", &vendor.at("/register"), &[], metadata.to_string()).unwrap().json();
    let verifier = "v".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let mut authorize = url::Url::parse(&vendor.at("/authorize")).unwrap();
    authorize.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", client["client_id"].as_str().unwrap()),
        ("redirect_uri", "http://127.0.0.1:9/callback"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "0123456789012345678901"),
        ("resource", &vendor.url()),
    ]);
    let location = get(authorize.as_str()).header("location").unwrap().to_owned();
    let answer: std::collections::HashMap<String, String> =
        url::Url::parse(&location).unwrap().query_pairs().into_owned().collect();
    assert_eq!(answer["iss"], vendor.origin());
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", client["client_id"].as_str().unwrap()),
        ("redirect_uri", "http://127.0.0.1:9/callback"),
        ("code", answer["code"].as_str()),
        ("code_verifier", verifier.as_str()),
    ];
    let (secret, url) = (client["client_secret"].as_str().map(str::to_owned), vendor.url());
    form.push(("resource", &url));
    if let Some(secret) = &secret {
        form.push(("client_secret", secret));
    }
    post_form(&vendor.token_endpoint(), &form).json()
}

#[test]
fn a_spent_refresh_token_ends_the_whole_sign_in() {
    let vendor = Vendor::start(Script::people());
    let first = sign_in(&vendor);
    let url = vendor.url();
    let refresh = |token: &serde_json::Value| {
        let token = token["refresh_token"].as_str().unwrap().to_owned();
        let form =
            [("grant_type", "refresh_token"), ("client_id", "client-1"), ("refresh_token", &token), ("resource", &url)];
        post_form(&vendor.token_endpoint(), &form).json()
    };
    let second = refresh(&first);
    assert!(second["access_token"].is_string(), "{second}");
    assert_eq!(refresh(&first)["error"], "invalid_grant");
    assert_eq!(refresh(&second)["error"], "invalid_grant");
    assert_eq!(vendor.replays(), 1);
}

#[test]
fn a_confidential_client_needs_its_secret() {
    let vendor = Vendor::start(Script { registration: Registration::Confidential, ..Script::people() });
    assert!(sign_in(&vendor)["access_token"].is_string());
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

#[test]
fn metadata_can_be_made_wrong() {
    let vendor = Vendor::start(Script {
        protected_resource: json!({"resource": "https://evil.example/mcp"}),
        authorization_server: json!({"code_challenge_methods_supported": null, "issuer": "https://evil.example"}),
        ..Script::people()
    });
    let document = get(&vendor.at("/.well-known/oauth-protected-resource/mcp")).json();
    assert_eq!(document["resource"], "https://evil.example/mcp");
    let document = get(&vendor.at("/.well-known/oauth-authorization-server")).json();
    assert_eq!(document["issuer"], "https://evil.example");
    assert!(document.get("code_challenge_methods_supported").is_none());
    assert_eq!(document["token_endpoint"], vendor.token_endpoint());
}

#[cfg(unix)]
#[test]
fn the_fake_browser_records_its_start_and_acts_for_the_user() {
    use crate::support::{
        browser::{FakeBrowser, Person},
        eventually,
        sandbox::Sandbox,
        vendor::{IssuerParameter, StateParameter},
    };

    for (person, parameter) in [(Person::Consents, "code="), (Person::Denies, "error=access_denied")] {
        let vendor = Vendor::start(Script {
            clients: vec![("known".to_owned(), None)],
            callback_state: StateParameter::Wrong,
            callback_issuer: IssuerParameter::Absent,
            ..Script::people()
        });
        let listener = Vendor::start(Script::default());
        let mut sandbox = Sandbox::new();
        let browser = FakeBrowser::install(&mut sandbox, person);
        let callback: String = url::form_urlencoded::byte_serialize(listener.at("/callback").as_bytes()).collect();
        let url = vendor.at(&format!("/authorize?client_id=known&state=a%20b&redirect_uri={callback}"));
        let mut command = sandbox.command(sandbox.watched().join("browser"));
        command.arg(&url);
        sandbox.run(command, Vec::new()).expect_success();
        let visited = listener.wait_for("the callback", |record| record.path == "/callback");
        assert!(visited.query.contains(parameter), "{}", visited.query);
        assert!(visited.query.contains("another-sign-in"), "{}", visited.query);
        assert!(!visited.query().contains_key("iss"));
        eventually("the last page", || (browser.last_page().status == 404).then_some(()));
        assert_eq!(browser.starts().len(), 1);
        assert_eq!(browser.starts()[0].arguments, [url]);
        assert!(browser.starts()[0].environment.contains("FINMCP_STORE=file"));
    }
}
