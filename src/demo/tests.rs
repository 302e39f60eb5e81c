//! The vendors from outside: every request here goes through a socket, as a client's would.

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

/// A client that knows HTTP and nothing else.
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

    /// A `tools/call` of the 2026-07-28 era: no session, everything in one request.
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

    /// What `call` gives where it succeeds.
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

    /// The authorization server's metadata, found from the MCP URL alone as RFC 9728 and RFC 8414 say.
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

/// How a legacy client begins.
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

/// A client's loopback listener: keeps the query of whatever comes to it.
#[derive(Clone, Default)]
struct Callback(Arc<Mutex<Vec<String>>>);

impl Site for Callback {
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'_, Reply> {
        self.0.lock().unwrap().push(request.uri().to_string());
        Box::pin(async { text(StatusCode::OK, "done") })
    }
}

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

/// A person, a client, and the vendor that they deal with.
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
    /// With a client that has just registered.
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

    /// The authorization URL, with some parameters changed, or left out by an empty value.
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

    /// The code after a person has said yes.
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

    /// Whether an access token is good, by asking the MCP server.
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
    async fn an_accounts_activity_leads_from_balance_to_balance() {
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
    async fn a_tool_says_what_is_wrong_with_its_arguments() {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let token = visitor.asset_access(&vendors.asset).await;
        for arguments in
            [json!({ "from": "2025-13-01", "to": "2025-12-31" }), json!({ "from": "2025-12-31", "to": "2025-01-01" })]
        {
            let result = visitor.result(vendors.asset.mcp_url(), &token, "profit_and_loss", arguments).await;
            assert_eq!(result["isError"], true);
        }
    }

    /// The three styles in turn; the token's own `exp` is true in each.
    #[tokio::test]
    async fn expires_in_has_three_styles_and_the_token_one_truth() {
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
    async fn the_token_endpoint_refuses_what_is_not_its_own() {
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
        // The right credentials, in HTTP Basic too.
        let form = format!("client_id={}&client_secret={secret}", asset.client_id());
        let basic = format!("Basic {}", BASE64URL.encode(format!("{}:{secret}", asset.client_id())));
        let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let answer = visitor.send(Method::POST, asset.token_endpoint().as_str(), &headers, form.into()).await;
        assert_eq!(answer.error(), "invalid_client");
        // And yet these are fine.
        let business = [("business_id", asset.business().id), ("grant_type", "client_credentials")];
        let token = visitor.asset_token(asset, &business).await.json();
        assert_eq!(claims(token["access_token"].as_str().unwrap()).business_id.as_deref(), Some(asset.business().id));
    }

    #[tokio::test]
    async fn the_mcp_server_takes_only_its_own_environments_tokens_for_itself() {
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
    async fn a_token_ends_when_it_says() {
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

    /// No discovery: a challenge without a pointer, and nothing at the well-known places.
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
    async fn a_person_signs_in_and_tools_answer() {
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
    async fn the_write_tool_writes_once_for_each_call() {
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
    async fn refresh_tokens_rotate_and_a_replay_ends_the_family() {
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
        // Another sign-in of the same person is another family.
        assert!(sign_in.is_good(&other.0).await);
        pair(&sign_in.refresh(&other.1).await);
    }

    #[tokio::test]
    async fn a_refresh_is_for_the_same_client_and_resource() {
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
        // Neither spent it.
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
        // RFC 7009 section 2.2: a token that is unknown is no error.
        assert_eq!(sign_in.visitor.post(&endpoint, &[("token", "x")]).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_code_is_for_its_verifier_its_redirect_and_once() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let redirect_uri = sign_in.redirect_uri.as_str();

        for (verifier, redirect_uri) in [(&VERIFIER[1..], redirect_uri), (VERIFIER, "http://127.0.0.1/other")] {
            let code = sign_in.code(&[]).await;
            assert_eq!(sign_in.redeem(&code, verifier, redirect_uri).await.error(), "invalid_grant");
            // The attempt has spent it.
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
    async fn an_authorization_request_is_checked_before_anyone_is_asked() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        // Who asks, and where to answer, is not sure: a page, never a redirect.
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
    async fn the_consent_page_is_harmless_and_good_for_one_decision() {
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

    /// The identifier is the document's URL, and the document says so itself.
    #[tokio::test]
    async fn a_client_can_be_a_metadata_document() {
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
    async fn an_approval_that_goes_wrong_says_where() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        let wrong = sign_in.authorization_url(&[("client_id", "x")]);
        let error = approve(&sign_in.visitor.http, &wrong).await.unwrap_err().to_string();
        assert_eq!(error, "the sign-in went wrong at the consent page (HTTP 400 Bad Request)");
    }
}

mod of_masset {
    use super::*;

    #[tokio::test]
    async fn a_missing_scope_is_named_and_stepping_up_helps() {
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
    async fn the_sixty_first_request_of_a_minute_is_one_too_many() {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
        let (one, _) = sign_in.tokens(&[]).await;
        let (another, _) = sign_in.tokens(&[]).await;
        // Both tokens are the same person's, and share the limit.
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
        let told = |wait: &Option<String>| wait.as_ref().is_some_and(|wait| (1..=60).contains(&wait.parse().unwrap()));
        assert_eq!(waits.iter().map(told).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(waits[1], None);
        assert_eq!(vendors.masset.activity().tool_calls, 60);
    }

    #[tokio::test]
    async fn previews_are_large_pictures() {
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

mod of_every_vendor {
    use super::*;

    /// The 2025-11-25 era: a handshake, a session, answers as event streams.
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

    /// A page in a browser can neither reach a vendor under a name of its own nor speak to its MCP endpoint.
    #[tokio::test]
    async fn browsers_pages_are_kept_out() {
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
    async fn ports_can_be_given_and_are_freed_with_everything_else() {
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
            // A session stays open on purpose: its tasks have to end as well.
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
        // Somebody else may have been given one of them for a moment.
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
