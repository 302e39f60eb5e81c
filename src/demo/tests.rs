//! Tests of the vendors over HTTP: every request goes through a socket, as a client's would.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    demo::{
        asset::Asset,
        jwt::Claims,
        listener::{Listener, Reply, Serving, Site, text},
        person::approve,
        statement::Statement,
    },
    http::Http,
    server_url::ServerUrl,
};

/// A bare HTTP client.
#[derive(Default)]
struct Visitor {
    http: Http,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    fn challenge(&self) -> &str {
        self.headers[header::WWW_AUTHENTICATE].to_str().unwrap()
    }

    fn location(&self) -> ServerUrl {
        self.headers[header::LOCATION].to_str().unwrap().parse().unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Visitor {
    async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.http.exchange(&url.parse().unwrap(), request.body(body).unwrap()).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        Answer { status: reply.status, headers: reply.headers, text }
    }

    async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], Vec::new()).await
    }

    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(Method::POST, url, &[("content-type", "application/x-www-form-urlencoded")], form.into()).await
    }

    async fn register(&self, server: &Value, metadata: Value) -> Answer {
        let url = server["registration_endpoint"].as_str().unwrap();
        self.send(Method::POST, url, &[], serde_json::to_vec(&metadata).unwrap()).await
    }

    /// Sends a `tools/call` of protocol version 2026-07-28: no session, everything in one request.
    async fn call(&self, mcp: &ServerUrl, token: &str, tool: &str, arguments: Value) -> Answer {
        let message = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": modern_meta() },
        });
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", tool),
        ];
        self.send(Method::POST, mcp.as_str(), &headers, serde_json::to_vec(&message).unwrap()).await
    }

    /// Calls a tool, expects success and returns the result.
    async fn result(&self, mcp: &ServerUrl, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.call(mcp, token, tool, arguments).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["result"].clone()
    }

    async fn asset_token(&self, asset: &Asset, extra: &[(&str, &str)]) -> Answer {
        let mut fields = vec![("client_id", asset.client_id()), ("client_secret", asset.client_secret().expose())];
        fields.extend_from_slice(extra);
        self.post(asset.token_endpoint().as_str(), &fields).await
    }

    /// An access token for Asset's MCP server.
    async fn asset_access(&self, asset: &Asset) -> String {
        let answer = self.asset_token(asset, &[("resource", asset.mcp_url().as_str())]).await;
        text_of(&answer.json()["access_token"])
    }

    /// Discovers the authorization server's metadata from the MCP URL alone (RFC 9728 and RFC 8414).
    async fn discover(&self, mcp: &ServerUrl) -> Value {
        let refused = self.send(Method::POST, mcp.as_str(), &[], Vec::new()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let (_, pointer) = refused.challenge().split_once("resource_metadata=\"").unwrap();
        let resource = self.get(pointer.split_once('"').unwrap().0).await.json();
        assert_eq!(resource["resource"], mcp.as_str());
        let issuer: ServerUrl = text_of(&resource["authorization_servers"][0]).parse().unwrap();
        let path = issuer.as_url().path().trim_end_matches('/');
        let well_known = issuer.join(&format!("/.well-known/oauth-authorization-server{path}")).unwrap();
        let server = self.get(well_known.as_str()).await.json();
        assert_eq!(server["issuer"], resource["authorization_servers"][0]);
        server
    }
}

fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "visitor", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The first message of a legacy client.
fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "visitor", "version": "1" },
        },
    })
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn claims(token: &str) -> Claims {
    serde_json::from_slice(&BASE64URL.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn vendors() -> Vendors {
    Vendors::start(Settings::default()).await.unwrap()
}

/// A client's loopback listener. It stores the URI of every request.
#[derive(Clone, Default)]
struct Callback(Arc<Mutex<Vec<String>>>);

impl Site for Callback {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        self.0.lock().unwrap().push(request.uri().to_string());
        Box::pin(async { text(StatusCode::OK, "done") })
    }
}

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

/// A user, a client and a vendor.
struct SignIn {
    visitor: Visitor,
    mcp: ServerUrl,
    server: Value,
    client_id: String,
    redirect_uri: String,
    callback: Callback,
    _serving: Serving,
}

impl SignIn {
    /// Registers a new client.
    async fn new(mcp: &ServerUrl) -> Self {
        let visitor = Visitor::default();
        let server = visitor.discover(mcp).await;
        let listener = Listener::bind(0).await.unwrap();
        let redirect_uri = format!("{}/callback", listener.origin());
        let callback = Callback::default();
        let serving = listener.serve(Arc::new(callback.clone()));
        let metadata = json!({
            "client_name": "<script>alert('1')</script> & co",
            "application_type": "native",
            "redirect_uris": [redirect_uri],
        });
        let registered = visitor.register(&server, metadata).await;
        assert_eq!(registered.status, StatusCode::CREATED);
        let client_id = text_of(&registered.json()["client_id"]);
        Self { visitor, mcp: mcp.clone(), server, client_id, redirect_uri, callback, _serving: serving }
    }

    /// The authorization URL with `changes` to its parameters. An empty value stands for a missing one.
    fn authorization_url(&self, changes: &[(&str, &str)]) -> ServerUrl {
        let challenge = BASE64URL.encode(Sha256::digest(VERIFIER));
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "a state"),
            ("resource", self.mcp.as_str()),
        ];
        parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        parameters.extend_from_slice(changes);
        let mut url = url::Url::parse(self.server["authorization_endpoint"].as_str().unwrap()).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        url.try_into().unwrap()
    }

    /// The authorization code after the user has approved.
    async fn code(&self, changes: &[(&str, &str)]) -> String {
        approve(&self.visitor.http, &self.authorization_url(changes)).await.unwrap();
        let called = self.callback.0.lock().unwrap().pop().unwrap();
        let called = url::Url::parse("http://127.0.0.1").unwrap().join(&called).unwrap();
        let parameter = |name: &str| called.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(parameter("state"), "a state");
        assert_eq!(parameter("iss"), self.server["issuer"]);
        parameter("code")
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", self.client_id.as_str()), ("resource", self.mcp.as_str())];
        all.extend_from_slice(fields);
        self.visitor.post(self.server["token_endpoint"].as_str().unwrap(), &all).await
    }

    async fn redeem(&self, code: &str, verifier: &str, redirect_uri: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect_uri),
        ];
        self.token(&fields).await
    }

    /// An access and a refresh token.
    async fn tokens(&self, changes: &[(&str, &str)]) -> (String, String) {
        let code = self.code(changes).await;
        pair(&self.redeem(&code, VERIFIER, &self.redirect_uri).await)
    }

    async fn refresh(&self, refresh_token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Answer {
        self.visitor.call(&self.mcp, token, tool, arguments).await
    }

    /// Asks the MCP server whether an access token is valid.
    async fn is_good(&self, token: &str) -> bool {
        match self.call(token, "list_customers", json!({})).await {
            Answer { status: StatusCode::OK, .. } => true,
            answer => {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
                assert!(answer.challenge().contains("error=\"invalid_token\""), "{}", answer.challenge());
                false
            }
        }
    }
}

fn pair(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let document = answer.json();
    (text_of(&document["access_token"]), text_of(&document["refresh_token"]))
}

mod of_asset {
    use super::*;

    #[tokio::test]
    async fn both_environments_answer_with_statements_that_add_up() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        for asset in [&vendors.asset, &vendors.asset_sandbox] {
            let token = visitor.asset_access(asset).await;
            let year = json!({ "from": "2025-01-01", "to": "2025-12-31" });
            let result = visitor.result(asset.mcp_url(), &token, "profit_and_loss", year).await;
            let statement = Statement::from_structured_content(&result["structuredContent"]).unwrap();
            assert!(statement.adds_up(), "{statement}");
            assert_eq!(statement.business, asset.business().name);
            assert_eq!(result["content"][0]["text"], statement.to_string());

            let day = json!({ "as_of": "2025-12-31" });
            let result = visitor.result(asset.mcp_url(), &token, "balance_sheet", day).await;
            assert!(Statement::from_structured_content(&result["structuredContent"]).unwrap().adds_up());
            assert_eq!(asset.activity(), Activity { registrations: 0, token_requests: 1, tool_calls: 2 });
        }
    }

    #[tokio::test]
    async fn opening_balance_and_activity_add_up_to_the_closing_balance() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let token = visitor.asset_access(&vendors.asset).await;
        let asked = json!({ "account": 1000, "from": "2025-03-01", "to": "2025-03-31" });
        let activity = visitor.result(vendors.asset.mcp_url(), &token, "ledger_activity", asked).await;
        let activity = &activity["structuredContent"];
        let money = |value: &Value| text_of(value).parse::<money::Money>().unwrap();
        let lines = activity["lines"].as_array().unwrap();
        let moved: money::Money = lines.iter().map(|line| money(&line["amount"])).sum();
        assert!(!lines.is_empty());
        assert_eq!(money(&activity["opening_balance"]) + moved, money(&activity["closing_balance"]));

        let asked = json!({ "as_of": "2025-03-31" });
        let accounts = visitor.result(vendors.asset.mcp_url(), &token, "list_accounts", asked).await;
        let accounts = accounts["structuredContent"]["accounts"].as_array().unwrap().clone();
        assert_eq!(accounts[0]["balance"], activity["closing_balance"]);
        assert_eq!(accounts.iter().map(|account| money(&account["balance"])).sum::<money::Money>(), money::Money::ZERO);

        let asked = json!({ "from": "2025-03-01", "to": "2025-03-31" });
        let journal = visitor.result(vendors.asset.mcp_url(), &token, "list_transactions", asked).await;
        assert!(journal["structuredContent"]["transactions"].as_array().unwrap().len() > 5);
    }

    #[tokio::test]
    async fn tools_reject_invalid_arguments() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let token = visitor.asset_access(&vendors.asset).await;
        for arguments in
            [json!({ "from": "2025-13-01", "to": "2025-12-31" }), json!({ "from": "2025-12-31", "to": "2025-01-01" })]
        {
            let result = visitor.result(vendors.asset.mcp_url(), &token, "profit_and_loss", arguments).await;
            assert_eq!(result["isError"], true);
        }
    }

    /// The server takes turns with three styles; the token's `exp` claim is correct in each.
    #[tokio::test]
    async fn expires_in_has_three_styles_but_exp_is_always_correct() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let asset = &vendors.asset;
        for style in ["seconds", "unix time", "absent", "seconds"] {
            let before = Timestamp::now().as_second();
            let extra = [("resource", asset.mcp_url().as_str()), ("expires_in", "600")];
            let document = visitor.asset_token(asset, &extra).await.json();
            let exp = claims(document["access_token"].as_str().unwrap()).exp;
            assert!((before + 600..=Timestamp::now().as_second() + 600).contains(&exp));
            let stated = document.get("expires_in").map(|value| value.as_i64().unwrap());
            let expected = match style {
                "seconds" => Some(600),
                "unix time" => Some(exp),
                _ => None,
            };
            assert_eq!(stated, expected, "{style}");
            assert_eq!(document["token_type"], "Bearer");
            assert!(document.get("refresh_token").is_none());
        }
    }

    #[tokio::test]
    async fn a_style_can_be_fixed() {
        for (expires_in, is_stated) in [(ExpiresIn::Absent, false), (ExpiresIn::UnixTime, true)] {
            let vendors = Vendors::start(Settings { expires_in, ..Settings::default() }).await.unwrap();
            for _ in 0..2 {
                let document = Visitor::default().asset_token(&vendors.asset, &[]).await.json();
                assert_eq!(document.get("expires_in").is_some_and(|it| it.as_i64() > Some(1 << 30)), is_stated);
            }
        }
    }

    #[tokio::test]
    async fn the_token_endpoint_refuses_invalid_requests() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let (asset, sandbox) = (&vendors.asset, &vendors.asset_sandbox);
        let secret = asset.client_secret().expose().as_str();
        let mut refusals = Vec::new();
        for fields in [
            // The other environment's client, the wrong secret, no secret.
            vec![("client_id", sandbox.client_id()), ("client_secret", sandbox.client_secret().expose())],
            vec![("client_id", asset.client_id()), ("client_secret", "wrong")],
            vec![("client_id", asset.client_id())],
            vec![("client_id", asset.client_id()), ("client_secret", secret), ("grant_type", "password")],
            vec![("client_id", asset.client_id()), ("client_secret", secret), ("business_id", "biz_1")],
            vec![("client_id", asset.client_id()), ("client_secret", secret), ("scope", "ledger:write")],
            vec![("client_id", asset.client_id()), ("client_secret", secret), ("expires_in", "soon")],
            vec![("client_id", asset.client_id()), ("client_id", asset.client_id()), ("client_secret", secret)],
        ] {
            let answer = visitor.post(asset.token_endpoint().as_str(), &fields).await;
            refusals.push((answer.status.as_u16(), answer.error()));
        }
        let refusals: Vec<_> = refusals.iter().map(|(status, error)| (*status, error.as_str())).collect();
        assert_eq!(
            refusals,
            [
                (401, "invalid_client"),
                (401, "invalid_client"),
                (401, "invalid_client"),
                (400, "unsupported_grant_type"),
                (400, "invalid_request"),
                (400, "invalid_scope"),
                (400, "invalid_request"),
                (400, "invalid_request"),
            ]
        );
        // Correct credentials in the form and in HTTP Basic: only one method is allowed.
        let form = format!("client_id={}&client_secret={secret}", asset.client_id());
        let basic = format!("Basic {}", BASE64URL.encode(format!("{}:{secret}", asset.client_id())));
        let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let answer = visitor.send(Method::POST, asset.token_endpoint().as_str(), &headers, form.into()).await;
        assert_eq!(answer.error(), "invalid_client");
        // These parameters are valid.
        let business = [("business_id", asset.business().id), ("grant_type", "client_credentials")];
        let token = visitor.asset_token(asset, &business).await.json();
        assert_eq!(claims(token["access_token"].as_str().unwrap()).business_id.as_deref(), Some(asset.business().id));
    }

    #[tokio::test]
    async fn the_mcp_server_accepts_only_tokens_for_its_environment_and_resource() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let (asset, sandbox) = (&vendors.asset, &vendors.asset_sandbox);
        let resource = asset.mcp_url().as_str();
        let token = |answer: Answer| text_of(&answer.json()["access_token"]);
        let good = token(visitor.asset_token(asset, &[("resource", resource)]).await);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let tampered = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        let refused = [
            ("for the REST API", token(visitor.asset_token(asset, &[]).await)),
            ("for another resource", token(visitor.asset_token(asset, &[("resource", "https://example.com/")]).await)),
            ("of the sandbox", token(visitor.asset_token(sandbox, &[("resource", resource)]).await)),
            ("of the sandbox for itself", visitor.asset_access(sandbox).await),
            ("tampered with", tampered),
            ("not a token", "x".to_owned()),
        ];
        for (what, token) in refused {
            let answer = visitor.call(asset.mcp_url(), &token, "list_accounts", json!({})).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
            assert!(answer.challenge().starts_with("Bearer realm=\"asset\", error=\"invalid_token\""), "{what}");
        }
        let day = json!({ "as_of": "2025-12-31" });
        assert_eq!(visitor.call(asset.mcp_url(), &good, "list_accounts", day).await.status, StatusCode::OK);
        let narrow = [("resource", resource), ("scope", "invoice:create")];
        let narrow = token(visitor.asset_token(asset, &narrow).await);
        let answer = visitor.call(asset.mcp_url(), &narrow, "list_accounts", json!({})).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        // Production's books were read once.
        assert_eq!((asset.activity().tool_calls, sandbox.activity().tool_calls), (1, 0));
    }

    #[tokio::test]
    async fn a_token_is_valid_until_its_exp() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let asset = &vendors.asset;
        let extra = [("resource", asset.mcp_url().as_str()), ("expires_in", "1")];
        let token = text_of(&visitor.asset_token(asset, &extra).await.json()["access_token"]);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = visitor.call(asset.mcp_url(), &token, "list_accounts", json!({ "as_of": "2025-12-31" })).await;
            let has_ended = Timestamp::now().as_second() >= claims(&token).exp;
            if answer.status == StatusCode::UNAUTHORIZED {
                assert!(has_ended && answer.challenge().contains("expired"));
                break;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The challenge has no `resource_metadata`, and every well-known URL answers 404.
    #[tokio::test]
    async fn nothing_can_be_discovered() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let mcp = vendors.asset.mcp_url();
        let refused = visitor.send(Method::POST, mcp.as_str(), &[], Vec::new()).await;
        assert_eq!((refused.status, refused.challenge()), (StatusCode::UNAUTHORIZED, "Bearer realm=\"asset\""));
        for path in [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/authorize",
        ] {
            let answer = visitor.get(mcp.join(path).unwrap().as_str()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

mod of_tesorio {
    use super::*;

    #[tokio::test]
    async fn tools_work_after_sign_in() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let (token, _) = sign_in.tokens(&[]).await;
        for (tool, member) in
            [("list_customers", "customers"), ("list_invoices", "invoices"), ("list_payments", "payments")]
        {
            let result = sign_in.visitor.result(&sign_in.mcp, &token, tool, json!({})).await;
            assert!(!result["structuredContent"][member].as_array().unwrap().is_empty(), "{tool}");
            assert!(!text_of(&result["content"][0]["text"]).is_empty());
        }
        assert_eq!(vendors.tesorio.activity(), Activity { registrations: 1, token_requests: 1, tool_calls: 3 });
    }

    #[tokio::test]
    async fn every_call_of_the_write_tool_writes_once() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let (token, _) = sign_in.tokens(&[]).await;
        let invoices = sign_in.visitor.result(&sign_in.mcp, &token, "list_invoices", json!({})).await;
        let invoices = invoices["structuredContent"]["invoices"].as_array().unwrap().clone();
        let overdue = invoices.iter().find(|invoice| invoice["status"] == "overdue").unwrap();
        let promise = json!({ "invoice": overdue["id"], "pay_by": "2030-01-31", "amount": overdue["open"] });
        for expected in 1..=2 {
            let result = sign_in.visitor.result(&sign_in.mcp, &token, "record_promise_to_pay", promise.clone()).await;
            assert_eq!(result["structuredContent"]["promises_recorded"], expected);
        }
        let wrong = json!({ "invoice": "inv_x", "pay_by": "2030-01-31", "amount": "1.00" });
        let result = sign_in.visitor.result(&sign_in.mcp, &token, "record_promise_to_pay", wrong).await;
        assert_eq!(result["isError"], true);
        assert_eq!(vendors.tesorio.promises().len(), 2);
    }

    #[tokio::test]
    async fn refresh_tokens_rotate_and_a_replay_revokes_the_family() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let other = sign_in.tokens(&[]).await;
        let (first_access, first) = sign_in.tokens(&[]).await;
        let (second_access, second) = pair(&sign_in.refresh(&first).await);
        assert_ne!(first, second);
        assert!(sign_in.is_good(&first_access).await && sign_in.is_good(&second_access).await);

        let replayed = sign_in.refresh(&first).await;
        assert_eq!((replayed.status, replayed.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
        assert_eq!(sign_in.refresh(&second).await.error(), "invalid_grant");
        assert!(!sign_in.is_good(&first_access).await && !sign_in.is_good(&second_access).await);
        // Another sign-in of the same user is another token family.
        assert!(sign_in.is_good(&other.0).await);
        pair(&sign_in.refresh(&other.1).await);
    }

    #[tokio::test]
    async fn a_refresh_token_is_bound_to_client_and_resource() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let stranger = SignIn::new(vendors.tesorio.mcp_url()).await;
        let (_, refresh_token) = sign_in.tokens(&[]).await;
        assert_eq!(stranger.refresh(&refresh_token).await.error(), "invalid_grant");
        let bare = [
            ("client_id", sign_in.client_id.as_str()),
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh_token),
        ];
        let endpoint = text_of(&sign_in.server["token_endpoint"]);
        assert_eq!(sign_in.visitor.post(&endpoint, &bare).await.error(), "invalid_target");
        // Neither attempt used up the refresh token.
        pair(&sign_in.refresh(&refresh_token).await);
    }

    #[tokio::test]
    async fn tokens_expire() {
        let lifetimes = Lifetimes { access_token: Duration::ZERO, refresh_token: Duration::ZERO };
        let vendors = Vendors::start(Settings { lifetimes, ..Settings::default() }).await.unwrap();
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let (access_token, refresh_token) = sign_in.tokens(&[]).await;
        assert!(!sign_in.is_good(&access_token).await);
        assert_eq!(sign_in.refresh(&refresh_token).await.error(), "invalid_grant");
    }

    #[tokio::test]
    async fn revoking_either_token_ends_the_sign_in() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let endpoint = text_of(&sign_in.server["revocation_endpoint"]);
        for by_refresh_token in [true, false] {
            let (access, refresh) = sign_in.tokens(&[]).await;
            let token = if by_refresh_token { &refresh } else { &access };
            let stranger = sign_in.visitor.post(&endpoint, &[("token", token), ("client_id", "someone")]).await;
            assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
            assert!(sign_in.is_good(&access).await);
            let revoked = sign_in.visitor.post(&endpoint, &[("token", token), ("client_id", &sign_in.client_id)]).await;
            assert_eq!(revoked.status, StatusCode::OK);
            assert!(!sign_in.is_good(&access).await);
            assert_eq!(sign_in.refresh(&refresh).await.error(), "invalid_grant");
        }
        // An unknown token is no error (RFC 7009 section 2.2).
        assert_eq!(sign_in.visitor.post(&endpoint, &[("token", "x")]).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_code_is_bound_to_verifier_and_redirect_uri_and_works_once() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let redirect_uri = sign_in.redirect_uri.as_str();

        for (verifier, redirect_uri) in [(&VERIFIER[1..], redirect_uri), (VERIFIER, "http://127.0.0.1/other")] {
            let code = sign_in.code(&[]).await;
            assert_eq!(sign_in.redeem(&code, verifier, redirect_uri).await.error(), "invalid_grant");
            // The failed attempt used up the code.
            assert_eq!(sign_in.redeem(&code, VERIFIER, &sign_in.redirect_uri).await.error(), "invalid_grant");
        }

        let code = sign_in.code(&[]).await;
        let (access, refresh) = pair(&sign_in.redeem(&code, VERIFIER, redirect_uri).await);
        assert!(sign_in.is_good(&access).await);
        assert_eq!(sign_in.redeem(&code, VERIFIER, redirect_uri).await.error(), "invalid_grant");
        assert!(!sign_in.is_good(&access).await);
        assert_eq!(sign_in.refresh(&refresh).await.error(), "invalid_grant");
    }

    #[tokio::test]
    async fn authorization_requests_are_validated_before_the_consent_page() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        // With an invalid client or redirect URI, the server shows an error page and never redirects.
        let elsewhere = "http://127.0.0.1:1/callback";
        for changes in
            [[("client_id", "x")], [("client_id", "")], [("redirect_uri", elsewhere)], [("redirect_uri", "")]]
        {
            let answer = sign_in.visitor.get(sign_in.authorization_url(&changes).as_str()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
            assert!(!answer.headers.contains_key(header::LOCATION));
        }
        for (changes, error) in [
            ([("response_type", "token")], "unsupported_response_type"),
            ([("code_challenge_method", "plain")], "invalid_request"),
            ([("code_challenge_method", "")], "invalid_request"),
            ([("code_challenge", "")], "invalid_request"),
            ([("resource", "")], "invalid_target"),
            ([("resource", "https://example.com/mcp")], "invalid_target"),
            ([("scope", "everything")], "invalid_scope"),
        ] {
            let answer = sign_in.visitor.get(sign_in.authorization_url(&changes).as_str()).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{changes:?}");
            let location = answer.location().to_string();
            assert!(location.starts_with(&sign_in.redirect_uri), "{location}");
            for part in [format!("error={error}&"), "state=a+state".to_owned(), "iss=http".to_owned()] {
                assert!(location.contains(&part), "{location}");
            }
        }
    }

    #[tokio::test]
    async fn the_consent_page_escapes_names_and_takes_one_decision() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let url = sign_in.authorization_url(&[]);
        let page = sign_in.visitor.get(url.as_str()).await;
        assert!(page.text.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; co"));
        assert!(!page.text.contains("<script"));
        assert!(page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));

        let (_, request) = page.text.split_once("name=\"request\" value=\"").unwrap();
        let request = request.split_once('"').unwrap().0;
        let decision = [("request", request), ("name", "ada"), ("decision", "deny")];
        let endpoint = text_of(&sign_in.server["authorization_endpoint"]);
        let denied = sign_in.visitor.post(&endpoint, &decision).await;
        assert!(denied.location().as_str().contains("error=access_denied"));
        assert!(!denied.location().as_str().contains("code="));
        let again = [("request", request), ("name", "ada"), ("decision", "allow")];
        assert_eq!(sign_in.visitor.post(&endpoint, &again).await.status, StatusCode::BAD_REQUEST);
    }

    /// The client ID is the document's URL, and the document must repeat it.
    #[tokio::test]
    async fn a_client_id_can_be_a_metadata_document_url() {
        struct Document(String);
        impl Site for Document {
            fn answer(&self, _: Request<Bytes>) -> BoxFuture<'_, Reply> {
                let document = json!({
                    "client_id": self.0,
                    "client_name": "Portable",
                    "redirect_uris": ["http://127.0.0.1/callback"],
                });
                Box::pin(async move { crate::demo::listener::json(StatusCode::OK, &document) })
            }
        }
        let vendors = vendors().await;
        for (claimed, is_accepted) in [("client.json", true), ("other.json", false)] {
            let listener = Listener::bind(0).await.unwrap();
            let client_id = format!("{}/client.json", listener.origin());
            let document = Document(format!("{}/{claimed}", listener.origin()));
            let _serving = listener.serve(Arc::new(document));
            let mut sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
            sign_in.client_id = client_id;
            if is_accepted {
                let (token, _) = sign_in.tokens(&[]).await;
                assert!(sign_in.is_good(&token).await);
            } else {
                let page = sign_in.visitor.get(sign_in.authorization_url(&[]).as_str()).await;
                assert_eq!(page.status, StatusCode::BAD_REQUEST);
            }
        }
    }

    #[tokio::test]
    async fn a_failed_approval_names_the_step() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let wrong = sign_in.authorization_url(&[("client_id", "x")]);
        let error = approve(&sign_in.visitor.http, &wrong).await.unwrap_err().to_string();
        assert_eq!(error, "the sign-in failed at the consent page (HTTP 400 Bad Request)");
    }
}

mod of_masset {
    use super::*;

    #[tokio::test]
    async fn the_challenge_names_the_missing_scope_and_step_up_works() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read")]).await;
        assert_eq!(claims(&token).scope, "mcp mcp:asset_read");
        assert_eq!(claims(&token).aud, sign_in.mcp.as_str());
        assert_eq!(sign_in.call(&token, "asset_search", json!({ "query": "logo" })).await.status, StatusCode::OK);

        let refused = sign_in.call(&token, "get_asset_text", json!({ "id": "ast_03" })).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.challenge().starts_with("Bearer resource_metadata=\"http://127.0.0.1:"));
        assert!(refused.challenge().ends_with(", error=\"insufficient_scope\", scope=\"mcp mcp:asset_content_read\""));

        let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read mcp:asset_content_read")]).await;
        let result = sign_in.visitor.result(&sign_in.mcp, &token, "get_asset_text", json!({ "id": "ast_03" })).await;
        assert!(text_of(&result["structuredContent"]["text"]).contains("forecasts"));
        assert_eq!(vendors.masset.activity().tool_calls, 2);
    }

    #[tokio::test]
    async fn every_tool_needs_its_scope() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        let (base, _) = sign_in.tokens(&[("scope", "mcp")]).await;
        let (without_base, _) = sign_in.tokens(&[("scope", "mcp:asset_read")]).await;
        for (tool, arguments) in [
            ("get_taxonomy", json!({})),
            ("asset_search", json!({ "query": "" })),
            ("get_asset_metadata", json!({ "id": "ast_01" })),
            ("get_asset_preview", json!({ "id": "ast_01" })),
            ("get_asset_text", json!({ "id": "ast_01" })),
        ] {
            let expected = if tool == "get_taxonomy" { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(sign_in.call(&base, tool, arguments.clone()).await.status, expected, "{tool}");
            assert_eq!(sign_in.call(&without_base, tool, arguments).await.status, StatusCode::FORBIDDEN, "{tool}");
        }
    }

    #[tokio::test]
    async fn the_challenge_asks_for_the_usual_scope() {
        let vendors = vendors().await;
        let visitor = Visitor::default();
        let refused = visitor.send(Method::POST, vendors.masset.mcp_url().as_str(), &[], Vec::new()).await;
        assert!(refused.challenge().ends_with(", scope=\"mcp mcp:asset_read\""), "{}", refused.challenge());
        assert!(!refused.challenge().contains("error="));
        let issuer = visitor.discover(vendors.masset.mcp_url()).await["issuer"].clone();
        assert!(text_of(&issuer).ends_with("/auth"));
    }

    #[tokio::test]
    async fn the_sixty_first_request_in_a_minute_is_refused() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        let (one, _) = sign_in.tokens(&[]).await;
        let (another, _) = sign_in.tokens(&[]).await;
        // Both tokens belong to the same user and share the limit.
        for request in 0..60 {
            let token = if request % 2 == 0 { &one } else { &another };
            assert_eq!(sign_in.call(token, "get_taxonomy", json!({})).await.status, StatusCode::OK, "{request}");
        }
        let mut waits = Vec::new();
        for _ in 0..4 {
            let refused = sign_in.call(&one, "get_taxonomy", json!({})).await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
            waits.push(refused.headers.get(header::RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned()));
        }
        let is_stated =
            |wait: &Option<String>| wait.as_ref().is_some_and(|wait| (1..=60).contains(&wait.parse().unwrap()));
        assert_eq!(waits.iter().map(is_stated).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(waits[1], None);
        assert_eq!(vendors.masset.activity().tool_calls, 60);
    }

    #[tokio::test]
    async fn previews_are_large_images() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read")]).await;
        let result = sign_in.visitor.result(&sign_in.mcp, &token, "get_asset_preview", json!({ "id": "ast_02" })).await;
        assert_eq!(result["content"][1]["mimeType"], "image/png");
        let file = base64::prelude::BASE64_STANDARD.decode(text_of(&result["content"][1]["data"])).unwrap();
        assert!(file.starts_with(b"\x89PNG") && file.len() > 500_000);
    }

    #[tokio::test]
    async fn one_client_needs_no_registration() {
        let vendors = vendors().await;
        let mut sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        sign_in.client_id = masset::CLIENT_ID.to_owned();
        let (token, refresh_token) = sign_in.tokens(&[]).await;
        assert_eq!(claims(&token).scope, "mcp");
        let endpoint = text_of(&sign_in.server["revocation_endpoint"]);
        let fields = [("token", refresh_token.as_str()), ("client_id", masset::CLIENT_ID)];
        sign_in.visitor.post(&endpoint, &fields).await;
        let answer = sign_in.call(&token, "get_taxonomy", json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

mod of_mcp {
    use rmcp::model::{
        CacheScope, CallToolResult, DiscoverResult, ErrorCode, InitializeResult, ListToolsResult, ProtocolVersion, Tool,
    };
    use serde::de::DeserializeOwned;

    use super::*;

    /// A client with a valid token that can send anything to an MCP endpoint.
    struct Speaker {
        visitor: Visitor,
        mcp: ServerUrl,
        authorization: String,
        _vendors: Vendors,
    }

    impl Speaker {
        async fn at_asset() -> Self {
            let (vendors, visitor) = (vendors().await, Visitor::default());
            let authorization = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
            Self { visitor, mcp: vendors.asset.mcp_url().clone(), authorization, _vendors: vendors }
        }

        /// Signs in for `scope`. Asset has no browser sign-in: see `at_asset`.
        async fn signed_in(vendor: impl FnOnce(&Vendors) -> &ServerUrl, scope: &str) -> Self {
            let vendors = vendors().await;
            let sign_in = SignIn::new(vendor(&vendors)).await;
            let (token, _) = sign_in.tokens(&[("scope", scope)]).await;
            let SignIn { visitor, mcp, .. } = sign_in;
            Self { visitor, mcp, authorization: format!("Bearer {token}"), _vendors: vendors }
        }

        /// Sends the usual headers with `changes`: an empty value removes a header.
        async fn send(&self, method: Method, changes: &[(&str, &str)], body: impl ToString) -> Answer {
            let mut headers = vec![
                ("authorization", self.authorization.as_str()),
                ("accept", "application/json, text/event-stream"),
                ("content-type", "application/json"),
            ];
            headers.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
            headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
            self.visitor.send(method, self.mcp.as_str(), &headers, body.to_string().into_bytes()).await
        }

        async fn post(&self, changes: &[(&str, &str)], body: impl ToString) -> Answer {
            self.send(Method::POST, changes, body).await
        }

        /// Sends a valid 2026-07-28 request with `changes` to its headers.
        async fn modern(&self, method: &str, mut params: Value, changes: &[(&str, &str)]) -> Answer {
            params["_meta"] = modern_meta();
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", &name)];
            headers.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
            headers.extend_from_slice(changes);
            self.post(&headers, request(method, params)).await
        }

        /// The result of a valid 2026-07-28 request, parsed by rmcp and raw.
        async fn modern_result<R: DeserializeOwned>(&self, method: &str, params: Value) -> (R, Value) {
            let answer = self.modern(method, params, &[]).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            let result = answer.json()["result"].clone();
            assert_eq!(result["resultType"], "complete");
            assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
            (serde_json::from_value(result.clone()).unwrap(), result)
        }

        /// Opens a legacy session.
        async fn session(&self) -> String {
            let answer = self.post(&[], initialize()).await;
            answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
        }
    }

    fn request(method: &str, params: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
    }

    fn notification() -> Value {
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
    }

    fn code(answer: &Answer) -> ErrorCode {
        let code = answer.json()["error"]["code"].clone();
        serde_json::from_value(code).unwrap_or_else(|_| panic!("no error: {} {}", answer.status, answer.text))
    }

    #[tokio::test]
    async fn the_handshake_negotiates_a_legacy_version() {
        let speaker = Speaker::at_asset().await;
        for (requested, negotiated) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-03-26"),
            ("2025-06-18", "2025-06-18"),
            ("2025-11-25", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
        ] {
            let mut message = initialize();
            message["params"]["protocolVersion"] = requested.into();
            let answer = speaker.post(&[], message).await;
            assert!(answer.headers.contains_key("mcp-session-id"));
            let result: InitializeResult = serde_json::from_value(answer.json()["result"].clone()).unwrap();
            assert_eq!(result.protocol_version.as_str(), negotiated);
            assert_eq!(result.server_info.name, "Asset (demo)");
            assert!(result.capabilities.tools.is_some() && result.capabilities.resources.is_none());
        }
        let answer = speaker.post(&[], request("initialize", json!({}))).await;
        assert_eq!(code(&answer), ErrorCode::INVALID_PARAMS);
        assert!(!answer.headers.contains_key("mcp-session-id"));
    }

    #[tokio::test]
    async fn a_session_lasts_until_its_client_ends_it() {
        let speaker = Speaker::at_asset().await;
        let (one, other) = (speaker.session().await, speaker.session().await);
        assert_ne!(one, other);
        let id = ("mcp-session-id", one.as_str());
        let ping = || request("ping", json!({}));
        let response = || json!({ "jsonrpc": "2.0", "id": 1, "result": {} });

        for message in [ping(), notification(), response()] {
            for version in ["", "2025-06-18"] {
                let answer = speaker.post(&[id, ("mcp-protocol-version", version)], &message).await;
                let expected = if message == ping() { StatusCode::OK } else { StatusCode::ACCEPTED };
                assert_eq!(answer.status, expected, "{message}");
                assert_eq!(answer.text.is_empty(), expected == StatusCode::ACCEPTED);
            }
            let strange = speaker.post(&[id, ("mcp-protocol-version", "1999-01-01")], &message).await;
            assert_eq!(strange.status, StatusCode::BAD_REQUEST, "{message}");
            assert_eq!(speaker.post(&[], &message).await.status, StatusCode::BAD_REQUEST, "{message}");
            let unknown = speaker.post(&[("mcp-session-id", "gone")], &message).await;
            assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{message}");
        }

        let delete = async |changes: &[(&str, &str)]| speaker.send(Method::DELETE, changes, "").await.status;
        assert_eq!(delete(&[]).await, StatusCode::BAD_REQUEST);
        assert_eq!(delete(&[id]).await, StatusCode::ACCEPTED);
        assert_eq!(delete(&[id]).await, StatusCode::NOT_FOUND);
        assert_eq!(speaker.post(&[id], ping()).await.status, StatusCode::NOT_FOUND);
        assert_eq!(speaker.post(&[("mcp-session-id", &other)], ping()).await.status, StatusCode::OK);
    }

    /// In a session, errors are JSON-RPC errors with status 200, and results have no modern members.
    #[tokio::test]
    async fn answers_in_a_session_are_legacy_ones() {
        let speaker = Speaker::at_asset().await;
        let session = speaker.session().await;
        let ask = async |method: &str, params: Value| {
            let answer = speaker.post(&[("mcp-session-id", &session)], request(method, params)).await;
            assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::OK, &json!(7)));
            answer
        };
        let listed = ask("tools/list", json!({})).await.json()["result"].clone();
        assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["tools"]);
        assert_eq!(serde_json::from_value::<ListToolsResult>(listed).unwrap().tools.len(), 5);

        let day = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
        let result = ask("tools/call", day).await.json()["result"].clone();
        assert_eq!(result.as_object().unwrap().keys().collect::<Vec<_>>(), ["content", "isError", "structuredContent"]);
        let result: CallToolResult = serde_json::from_value(result).unwrap();
        assert!(Statement::from_structured_content(&result.structured_content.unwrap()).unwrap().adds_up());

        for (method, params, expected) in [
            ("prompts/list", json!({}), ErrorCode::METHOD_NOT_FOUND),
            ("tools/call", json!({ "name": "no_such_tool" }), ErrorCode::INVALID_PARAMS),
            ("tools/call", json!({}), ErrorCode::INVALID_PARAMS),
            ("tools/call", json!({ "name": "balance_sheet", "arguments": [] }), ErrorCode::INVALID_PARAMS),
        ] {
            assert_eq!(code(&ask(method, params).await), expected, "{method}");
        }
    }

    #[tokio::test]
    async fn modern_results_are_complete() {
        let speaker = Speaker::at_asset().await;
        let (discovered, _) = speaker.modern_result::<DiscoverResult>("server/discover", json!({})).await;
        assert_eq!(discovered.supported_versions, ProtocolVersion::KNOWN_VERSIONS);
        let (listed, raw) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
        assert_eq!((listed.ttl_ms, listed.cache_scope), (Some(0), Some(CacheScope::Private)), "{raw}");
        let arguments = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
        let (called, _) = speaker.modern_result::<CallToolResult>("tools/call", arguments).await;
        assert_eq!(called.is_error, Some(false));

        // Modern requests ignore session IDs.
        let answer = speaker.modern("tools/list", json!({}), &[("mcp-session-id", "gone")]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.headers.contains_key("mcp-session-id"));
        let accepted = speaker.post(&[("mcp-protocol-version", "2026-07-28")], notification()).await;
        assert_eq!((accepted.status, accepted.text.as_str()), (StatusCode::ACCEPTED, ""));
    }

    #[tokio::test]
    async fn headers_must_match_the_body() {
        let speaker = Speaker::at_asset().await;
        let call = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
        let encoded = format!("=?base64?{}?=", base64::prelude::BASE64_STANDARD.encode("balance_sheet"));
        let method = format!("=?base64?{}?=", base64::prelude::BASE64_STANDARD.encode("tools/call"));
        let right = speaker.modern("tools/call", call.clone(), &[("mcp-name", &encoded)]).await;
        assert_eq!(right.status, StatusCode::OK, "{}", right.text);
        for wrong in [
            ("mcp-protocol-version", ""),
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", ""),
            ("mcp-method", "tools/list"),
            ("mcp-method", "Tools/Call"),
            ("mcp-method", &method),
            ("mcp-name", ""),
            ("mcp-name", "profit_and_loss"),
            ("mcp-name", "=?base64?!?="),
            ("mcp-name", "=?base64?cHJvZml0X2FuZF9sb3Nz?="),
        ] {
            let answer = speaker.modern("tools/call", call.clone(), &[wrong]).await;
            assert_eq!(
                (answer.status, code(&answer)),
                (StatusCode::BAD_REQUEST, ErrorCode::HEADER_MISMATCH),
                "{wrong:?}"
            );
            assert_eq!(answer.json()["id"], 7);
        }
        // A repeated header is refused: a proxy may check the first one and the server the second.
        let twice = [("mcp-name", "balance_sheet"), ("mcp-name", "profit_and_loss")];
        assert_eq!(code(&speaker.modern("tools/call", call, &twice).await), ErrorCode::HEADER_MISMATCH);
    }

    #[tokio::test]
    async fn modern_requests_need_version_and_capabilities() {
        let speaker = Speaker::at_asset().await;
        let ask = async |version: &str, method: &str, params: Value| {
            let headers = [("mcp-protocol-version", version), ("mcp-method", method), ("mcp-name", "no_such_tool")];
            let answer = speaker.post(&headers, request(method, params)).await;
            (answer.status, code(&answer), answer.json()["error"]["data"].clone())
        };
        for left_out in ["protocolVersion", "clientCapabilities"] {
            let mut params = json!({ "_meta": modern_meta() });
            params["_meta"].as_object_mut().unwrap().remove(&format!("io.modelcontextprotocol/{left_out}"));
            let refused = ask("2026-07-28", "tools/list", params).await;
            assert_eq!(refused, (StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, Value::Null), "{left_out}");
        }
        let refused = ask("", "server/discover", Value::Null).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, Value::Null));

        for version in ["1900-01-01", "2099-01-01"] {
            let mut params = json!({ "_meta": modern_meta() });
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.into();
            let (status, code, data) = ask(version, "tools/list", params).await;
            assert_eq!((status, code), (StatusCode::BAD_REQUEST, ErrorCode::UNSUPPORTED_PROTOCOL_VERSION));
            assert_eq!(data["requested"], version);
            assert!(data["supported"].as_array().unwrap().contains(&json!("2026-07-28")));
        }

        let params = || json!({ "_meta": modern_meta(), "name": "no_such_tool" });
        let unknown = ask("2026-07-28", "ping", params()).await;
        assert_eq!(unknown, (StatusCode::NOT_FOUND, ErrorCode::METHOD_NOT_FOUND, Value::Null));
        let unknown = ask("2026-07-28", "tools/call", params()).await;
        assert_eq!(unknown, (StatusCode::OK, ErrorCode::INVALID_PARAMS, Value::Null));
    }

    /// finmcp sends no invalid message (t102); the server checks nevertheless.
    #[tokio::test]
    async fn t102_invalid_messages_are_refused() {
        let speaker = Speaker::at_asset().await;
        let session = speaker.session().await;
        let ping = request("ping", json!({})).to_string();
        for (text, expected) in [
            (String::new(), ErrorCode::PARSE_ERROR),
            (ping[..ping.len() - 1].to_owned(), ErrorCode::PARSE_ERROR),
            (ping.clone() + "x", ErrorCode::PARSE_ERROR),
            ("{\"a\":".repeat(100_000), ErrorCode::PARSE_ERROR),
            (format!("[{ping}]"), ErrorCode::INVALID_REQUEST),
            (r#"["2.0", 7, "ping"]"#.to_owned(), ErrorCode::INVALID_REQUEST),
            ("null".to_owned(), ErrorCode::INVALID_REQUEST),
            (ping.replace("2.0", "1.0"), ErrorCode::INVALID_REQUEST),
            (ping.replace('7', "null"), ErrorCode::INVALID_REQUEST),
            (ping.replace('7', "7.5"), ErrorCode::INVALID_REQUEST),
            (ping.replace("\"ping\"", "1"), ErrorCode::INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":7}"#.to_owned(), ErrorCode::INVALID_REQUEST),
        ] {
            let answer = speaker.post(&[("mcp-session-id", &session)], &text).await;
            assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, expected), "{text:.80}");
            assert_eq!(answer.json().get("id"), None);
        }
        let named = ping.replace('7', "\"seven\"");
        assert_eq!(speaker.post(&[("mcp-session-id", &session)], named).await.json()["id"], "seven");
    }

    #[tokio::test]
    async fn messages_need_post_and_the_right_media_types() {
        let speaker = Speaker::at_asset().await;
        let session = speaker.session().await;
        let id = ("mcp-session-id", session.as_str());
        for (change, expected) in [
            (("accept", ""), StatusCode::NOT_ACCEPTABLE),
            (("accept", "application/json"), StatusCode::NOT_ACCEPTABLE),
            (("accept", "text/event-stream"), StatusCode::NOT_ACCEPTABLE),
            (("content-type", ""), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (("content-type", "text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (("content-type", "application/json; charset=utf-8"), StatusCode::OK),
        ] {
            let answer = speaker.post(&[id, change], request("ping", json!({}))).await;
            assert_eq!(answer.status, expected, "{change:?}");
        }
        let two_lines = [id, ("accept", "text/event-stream"), ("accept", "application/json")];
        assert_eq!(speaker.post(&two_lines, request("ping", json!({}))).await.status, StatusCode::OK);
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            let answer = speaker.send(method, &[id, ("accept", "text/event-stream")], "").await;
            assert_eq!(
                (answer.status, &answer.headers[header::ALLOW]),
                (StatusCode::METHOD_NOT_ALLOWED, &"POST, DELETE".parse().unwrap())
            );
        }
    }

    /// The server refuses every `Origin`, its own included: no page of the demo uses MCP.
    #[tokio::test]
    async fn requests_with_an_origin_are_refused() {
        let speaker = Speaker::at_asset().await;
        let session = speaker.session().await;
        let id = ("mcp-session-id", session.as_str());
        let own = speaker.mcp.as_url().origin().ascii_serialization();
        for origin in ["https://evil.example", "null", own.as_str()] {
            for method in [Method::POST, Method::GET, Method::DELETE] {
                let answer = speaker.send(method, &[id, ("origin", origin)], request("ping", json!({}))).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
            }
        }
        assert_eq!(speaker.post(&[id], request("ping", json!({}))).await.status, StatusCode::OK);
    }

    /// A message with a duplicate member is not authorized by one value and executed by the other.
    #[tokio::test]
    async fn duplicate_members_do_not_bypass_the_scope_check() {
        let speaker = Speaker::signed_in(|vendors| vendors.masset.mcp_url(), "mcp").await;
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get_asset_text","arguments":{"id":"ast_03"}}"#;
        let session = speaker.session().await;
        for twice in ["", r#","method":"tools/call""#, r#","method":"tools\u002fcall""#] {
            let answer = speaker.post(&[("mcp-session-id", &session)], format!("{call}{twice}}}")).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{twice}");
        }
    }

    /// Schemas are written by hand: each must describe exactly the arguments that its tool accepts.
    #[tokio::test]
    async fn schemas_match_the_accepted_arguments() {
        let everything = "mcp mcp:asset_read mcp:asset_content_read";
        let mut checked = 0;
        for speaker in [
            Speaker::at_asset().await,
            Speaker::signed_in(|vendors| vendors.tesorio.mcp_url(), "").await,
            Speaker::signed_in(|vendors| vendors.masset.mcp_url(), everything).await,
        ] {
            let (listed, _) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
            assert!(listed.tools.is_sorted_by_key(|tool| tool.name.clone()));
            for tool in &listed.tools {
                let arguments = examples(tool);
                let accepts = async |arguments: &Value| {
                    let params = json!({ "name": tool.name, "arguments": arguments });
                    let (result, _) = speaker.modern_result::<CallToolResult>("tools/call", params).await;
                    !serde_json::to_string(&result.content).unwrap().contains("invalid arguments")
                };
                assert!(accepts(&arguments).await, "{}", tool.name);
                let required = tool.input_schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                for name in arguments.as_object().unwrap().keys() {
                    let mut fewer = arguments.clone();
                    fewer.as_object_mut().unwrap().remove(name);
                    assert_eq!(accepts(&fewer).await, !required.contains(&json!(name)), "{}: {name}", tool.name);
                    let mut wrong = arguments.clone();
                    wrong[name] = true.into();
                    assert!(!accepts(&wrong).await, "{}: {name}", tool.name);
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 17);
    }

    /// An example for each argument of a tool.
    fn examples(tool: &Tool) -> Value {
        assert_eq!(tool.input_schema["type"], "object");
        let properties = tool.input_schema["properties"].as_object().unwrap();
        let example = |name: &str| match name {
            "account" => json!(1000),
            "as_of" | "from" | "to" | "pay_by" => json!("2025-03-31"),
            "amount" => json!("1.00"),
            "id" => json!("ast_01"),
            _ => json!("x"),
        };
        properties.keys().map(|name| (name.clone(), example(name))).collect()
    }

    #[tokio::test]
    async fn annotations_mark_the_write_tool() {
        let speaker = Speaker::signed_in(|vendors| vendors.tesorio.mcp_url(), "").await;
        let (listed, _) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
        for tool in listed.tools {
            let hints = tool.annotations.unwrap();
            let hints = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint);
            let expected = match &*tool.name {
                "record_promise_to_pay" => (Some(false), Some(false), Some(false)),
                _ => (Some(true), None, None),
            };
            assert_eq!(hints, expected, "{}", tool.name);
            assert!(tool.title.is_some() && tool.description.is_some());
        }
    }
}

mod of_every_vendor {
    use super::*;

    /// Protocol version 2025-11-25: a handshake and a session.
    #[tokio::test]
    async fn legacy_clients_get_a_session() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let mcp = vendors.asset.mcp_url();
        let authorization = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
        let base = [
            ("authorization", authorization.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        let post = |message: Value, session: Option<String>| {
            let visitor = &visitor;
            let mut headers: Vec<(&str, String)> =
                base.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            headers.extend(session.map(|session| ("mcp-session-id", session)));
            async move {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                visitor.send(Method::POST, mcp.as_str(), &headers, serde_json::to_vec(&message).unwrap()).await
            }
        };
        let initialized = post(initialize(), None).await;
        assert!(initialized.text.contains("\"protocolVersion\":\"2025-11-25\""), "{}", initialized.text);
        let session = Some(initialized.headers["mcp-session-id"].to_str().unwrap().to_owned());
        let accepted = post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), session.clone()).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED);
        let listed = post(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }), session).await;
        for tool in ["profit_and_loss", "balance_sheet", "list_transactions", "ledger_activity", "list_accounts"] {
            assert!(listed.text.contains(&format!("\"name\":\"{tool}\"")), "{}", listed.text);
        }
        assert!(listed.text.contains("\"readOnlyHint\":true"));
        let lost = post(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" }), Some("gone".to_owned())).await;
        assert_eq!(lost.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn modern_clients_discover_the_server() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let token = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
        let message =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": modern_meta() } });
        let headers = [
            ("authorization", token.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "server/discover"),
        ];
        let body = serde_json::to_vec(&message).unwrap();
        let answer = visitor.send(Method::POST, vendors.asset.mcp_url().as_str(), &headers, body).await;
        let result = answer.json()["result"].clone();
        assert!(result["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{result}");
        assert!(!answer.headers.contains_key("mcp-session-id"));
    }

    /// A web page can neither reach a vendor under the page's host name (DNS rebinding) nor use its MCP endpoint.
    #[tokio::test]
    async fn requests_of_web_pages_are_refused() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let mcp = vendors.asset.mcp_url();
        for host in ["evil.example", "localhost"] {
            let answer = visitor.send(Method::GET, mcp.as_str(), &[("host", host)], Vec::new()).await;
            assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
        }
        let token = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
        let headers = [("authorization", token.as_str()), ("origin", "https://evil.example")];
        let answer = visitor.send(Method::POST, mcp.as_str(), &headers, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let large = visitor.send(Method::POST, mcp.as_str(), &[], vec![b' '; (4 << 20) + 1]).await;
        assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn ports_are_configurable_and_freed_on_drop() {
        let idle = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let first = vendors().await;
        let port = |url: &ServerUrl| url.as_url().port().unwrap();
        let ports = Ports {
            asset: port(first.asset.mcp_url()),
            asset_sandbox: port(first.asset_sandbox.mcp_url()),
            tesorio: port(first.tesorio.mcp_url()),
            masset: port(first.masset.mcp_url()),
        };
        let settings = Settings { ports, ..Settings::default() };
        assert!(Vendors::start(settings).await.is_err());
        {
            // This session is left open on purpose: its tasks must end too.
            let visitor = Visitor::default();
            let token = format!("Bearer {}", visitor.asset_access(&first.asset).await);
            let initialize = serde_json::to_vec(&initialize()).unwrap();
            let headers = [
                ("authorization", token.as_str()),
                ("accept", "application/json, text/event-stream"),
                ("content-type", "application/json"),
            ];
            let mcp = first.asset.mcp_url().as_str();
            let answer = visitor.send(Method::POST, mcp, &headers, initialize).await;
            assert!(answer.headers.contains_key("mcp-session-id"));
        }
        drop(first);
        let deadline = Instant::now() + Duration::from_secs(10);
        while idle() > 0 {
            assert!(Instant::now() < deadline, "{} tasks are left", idle());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Another program may hold one of the ports for a moment.
        let again = loop {
            match Vendors::start(settings).await {
                Ok(again) => break again,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(port(again.masset.mcp_url()), ports.masset);
    }
}
