//! Requests from the server's point of view.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use url::form_urlencoded;

use super::*;
use crate::oauth::registration::ClientAuthentication;

/// Answers one request with `response` and returns the request.
async fn answering(response: &str) -> (ServerUrl, JoinHandle<Message>) {
    let (url, listener) = listener().await;
    let response = response.to_owned();
    (url, tokio::spawn(async move { answer(&listener, &response).await }))
}

async fn listener() -> (ServerUrl, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (format!("http://{}/endpoint?tenant=1", listener.local_addr().unwrap()).parse().unwrap(), listener)
}

async fn answer(listener: &TcpListener, response: &str) -> Message {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse().unwrap() {
            break;
        }
    }
    stream.write_all(response.as_bytes()).await.unwrap();
    Message(String::from_utf8(bytes).unwrap())
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

struct Message(String);

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.lines().take_while(|line| !line.is_empty());
        head.filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|pair| pair.1)
    }

    fn form(&self) -> Vec<(String, String)> {
        let body = self.0.split_once("\r\n\r\n").unwrap().1;
        let mut form: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        form.sort();
        form
    }
}

fn registration(authentication: ClientAuthentication) -> ClientRegistration {
    ClientRegistration {
        client_id: "c:1".to_owned(),
        client_secret: Some(Secret::new("a:b%+é &".to_owned())),
        certificate: None,
        key_algorithm: None,
        authentication,
        redirect_uri: None,
        expires_at: None,
        withheld: Scope::default(),
        other_redirect_uris: Vec::new(),
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn ask(
    grant: Grant<'_>,
    authentication: ClientAuthentication,
    response: &str,
) -> (Result<TokenSet, TokenError>, Message) {
    let (endpoint, served) = answering(response).await;
    let request = TokenRequest {
        endpoint: &endpoint,
        issuer: "https://as.example",
        registration: &registration(authentication),
        grant,
        resource: Some("https://mcp.example/mcp"),
        scope: Some(&"b a".parse().unwrap()),
        dpop_key: None,
        parameters: &owned(&[("business_id", "biz_1"), ("grant_type", "evil"), ("resource", "evil")]),
        audience: None,
    };
    let answer = request_token(&Http::default(), request, Timestamp::UNIX_EPOCH).await;
    (answer, served.await.unwrap())
}

const TOKEN: &str =
    r#"{"access_token":"t","token_type":"bearer","expires_in":"60","refresh_token":"r","id_token":"x"}"#;

/// t042, t061: a device token request authenticates the client like every other request.
#[tokio::test]
async fn t042_a_device_token_request_authenticates_the_client() {
    let secret = Secret::new("d".to_owned());
    for (authentication, header, body) in [
        (ClientAuthentication::Basic, Some("c%3A1:a%3Ab%25%2B%C3%A9+%26"), None),
        (ClientAuthentication::Body, None, Some("a:b%+é &")),
    ] {
        let (answer, message) = ask(Grant::DeviceCode(&secret), authentication, &reply("200 OK", TOKEN)).await;
        assert_eq!(answer.unwrap().access_token.expose(), "t");
        let sent = message.header("authorization").map(|value| {
            let value = value.strip_prefix("Basic ").unwrap();
            String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap()
        });
        assert_eq!(sent.as_deref(), header);
        let form = message.form();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(field("client_secret"), body);
        assert_eq!(field("grant_type"), Some("urn:ietf:params:oauth:grant-type:device_code"));
        assert_eq!((field("device_code"), field("resource")), (Some("d"), Some("https://mcp.example/mcp")));
    }
}

/// t061: a refresh authenticates the client like the first request.
#[tokio::test]
async fn t061_a_private_key_renews_too() {
    let (endpoint, served) = answering(&reply("200 OK", TOKEN)).await;
    let mut registration = registration(ClientAuthentication::PrivateKeyJwt);
    let key = include_str!("../../../tests/fixtures/keys/rsa-pkcs1.pem");
    registration.client_secret = Some(Secret::new(key.to_owned()));
    let request = TokenRequest {
        endpoint: &endpoint,
        issuer: "https://as.example",
        registration: &registration,
        grant: Grant::RefreshToken(&Secret::new("r".to_owned())),
        resource: None,
        scope: None,
        dpop_key: None,
        parameters: &owned(&[("client_assertion", "evil")]),
        audience: None,
    };
    request_token(&Http::default(), request, Timestamp::UNIX_EPOCH).await.unwrap();
    let message = served.await.unwrap();
    let form = message.form();
    let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client_assertion", "client_assertion_type", "client_id", "grant_type", "refresh_token"]);
    assert_eq!((form[0].1.split('.').count(), message.header("authorization")), (3, None));
}

/// RFC 9449 section 8: the retry with a nonce has a new proof and a new assertion, because the server may have recorded
/// the `jti` of both. The refresh token is still unused.
#[tokio::test]
async fn t061_no_assertion_is_sent_twice_for_a_nonce() {
    let (endpoint, listener) = listener().await;
    let served = tokio::spawn(async move {
        let body = r#"{"error":"use_dpop_nonce"}"#;
        let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ndpop-nonce: n-1";
        let refusal = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let bound = TOKEN.replace("bearer", "DPoP");
        [answer(&listener, &refusal).await, answer(&listener, &reply("200 OK", &bound)).await]
    });
    let mut registration = registration(ClientAuthentication::PrivateKeyJwt);
    let key = include_str!("../../../tests/fixtures/keys/ec-pkcs8.pem");
    registration.client_secret = Some(Secret::new(key.to_owned()));
    let request = TokenRequest {
        endpoint: &endpoint,
        issuer: "https://as.example",
        registration: &registration,
        grant: Grant::RefreshToken(&Secret::new("r".to_owned())),
        resource: None,
        scope: None,
        dpop_key: Some(&DpopKey::generate().unwrap()),
        parameters: &[],
        audience: None,
    };
    request_token(&Http::default(), request, Timestamp::UNIX_EPOCH).await.unwrap();
    let [first, second] = served.await.unwrap();
    let claims = |message: &Message| {
        let claims = message.header("dpop").unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice::<serde_json::Value>(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    };
    assert_eq!((claims(&first).get("nonce"), &claims(&second)["nonce"]), (None, &serde_json::json!("n-1")));
    assert_ne!(claims(&first)["jti"], claims(&second)["jti"]);
    assert!(!claims(&first)["htu"].as_str().unwrap().contains("tenant"));
    let assertion =
        |message: &Message| message.form().into_iter().find(|(name, _)| name == "client_assertion").unwrap();
    assert_ne!(assertion(&first), assertion(&second));
}

/// t043, t061: the complete form of each grant, with the secret in the right place.
#[tokio::test]
async fn t043_the_three_grants() {
    let (code, verifier) = (Secret::new("the code".to_owned()), Secret::new("v".repeat(43)));
    let resource = ("resource", "https://mcp.example/mcp");
    let business = ("business_id", "biz_1");
    let ok = reply("200 OK", TOKEN);

    let redirect_uri = "http://127.0.0.1:5000/callback";
    let grant = Grant::AuthorizationCode { code: &code, verifier: &verifier, redirect_uri };
    let (answer, message) = ask(grant, ClientAuthentication::None, &ok).await;
    let set = answer.unwrap();
    assert_eq!((&set.access_token.expose()[..], set.expires_at.unwrap().as_second()), ("t", 60));
    assert!(message.0.starts_with("POST /endpoint?tenant=1 HTTP/1.1"));
    assert_eq!(message.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(message.header("authorization"), None);
    let verifier_field = ("code_verifier", &verifier.expose()[..]);
    let wanted = [
        business,
        ("client_id", "c:1"),
        ("code", "the code"),
        verifier_field,
        ("grant_type", "authorization_code"),
        ("redirect_uri", redirect_uri),
        resource,
    ];
    assert_eq!(message.form(), owned(&wanted));

    let (_, message) = ask(Grant::ClientCredentials, ClientAuthentication::Body, &ok).await;
    assert_eq!(message.header("authorization"), None);
    let wanted = [
        business,
        ("client_id", "c:1"),
        ("client_secret", "a:b%+é &"),
        ("grant_type", "client_credentials"),
        resource,
        ("scope", "a b"),
    ];
    assert_eq!(message.form(), owned(&wanted));

    let token = Secret::new("old".to_owned());
    let (_, message) = ask(Grant::RefreshToken(&token), ClientAuthentication::Basic, &ok).await;
    let basic = BASE64_STANDARD.encode("c%3A1:a%3Ab%25%2B%C3%A9+%26");
    assert_eq!(message.header("authorization"), Some(&format!("Basic {basic}")[..]));
    let wanted = [business, ("grant_type", "refresh_token"), ("refresh_token", "old"), resource, ("scope", "a b")];
    assert_eq!(message.form(), owned(&wanted));
}

/// d1: a dynamically registered client sends its id once in the form too, and its secret only in the header; a
/// pre-registered client sends both only in the header.
#[tokio::test]
async fn d1_the_client_id_is_in_the_form_too() {
    let secret = Secret::new("x".to_owned());
    let grants = [
        Grant::RefreshToken(&secret),
        Grant::DeviceCode(&secret),
        Grant::AuthorizationCode { code: &secret, verifier: &secret, redirect_uri: "http://127.0.0.1:5000/callback" },
    ];
    for (redirect_uri, sent) in [(Some("http://127.0.0.1:5000/callback".to_owned()), 1), (None, 0)] {
        let registration = ClientRegistration { redirect_uri, ..registration(ClientAuthentication::Basic) };
        let count = |message: &Message| {
            assert!(message.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
            let form = message.form();
            assert!(form.iter().all(|(name, _)| name != "client_secret"), "{form:?}");
            form.iter().filter(|(name, value)| name == "client_id" && value == "c:1").count()
        };
        for grant in grants {
            let (endpoint, served) = answering(&reply("200 OK", TOKEN)).await;
            let request = TokenRequest {
                endpoint: &endpoint,
                issuer: "https://as.example",
                registration: &registration,
                grant,
                resource: None,
                scope: None,
                dpop_key: None,
                parameters: &owned(&[("client_id", "evil")]),
                audience: None,
            };
            request_token(&Http::default(), request, Timestamp::UNIX_EPOCH).await.unwrap();
            let message = served.await.unwrap();
            assert_eq!(count(&message), sent, "{grant:?}");
            assert!(!message.0.contains("evil"));
        }
        let (endpoint, served) = answering(&reply("200 OK", "")).await;
        let token = RevocableToken::Refresh(&secret);
        revoked(&endpoint, &registration, token).await.unwrap();
        assert_eq!(count(&served.await.unwrap()), sent);
    }
}

/// t059, t060, t096: bad responses are classified, and only the text of an OAuth error is shown.
#[tokio::test]
async fn t060_bad_responses() {
    for (status, body, shown) in [
        (
            "200 OK",
            "<html>CANARY</html>",
            "the token response cannot be used: it is a web page, not JSON; the server may be down for maintenance",
        ),
        ("200 OK", "", "the token response cannot be used: it is not JSON"),
        ("200 OK", r#"{"access_token":"CANARY"}{}"#, "the token response cannot be used: it is not JSON"),
        (
            "200 OK",
            r#"{"access_token":"CANARY","access_token":"x"}"#,
            "the token response cannot be used: it has no `access_token`, or a duplicate member",
        ),
        (
            "200 OK",
            r#"{"access_token":"CANARY","token_type":"mac"}"#,
            "the token response cannot be used: its `token_type` is not Bearer",
        ),
        (
            "200 OK",
            r#"{"access_token":"CANARY\r\nX: y"}"#,
            "the token response cannot be used: its access token is not a valid header value",
        ),
        ("401 Unauthorized", r#"{"error":"invalid_grant"}"#, "the server no longer accepts this sign-in"),
        (
            "400 Bad Request",
            r#"{"error":"invalid_target","error_description":"no"}"#,
            "the authorization server refused: invalid_target (\"no\")",
        ),
        ("502 Bad Gateway", "CANARY", "the authorization server is unavailable (HTTP 502)"),
    ] {
        let (answer, _) = ask(Grant::ClientCredentials, ClientAuthentication::Body, &reply(status, body)).await;
        let error = answer.unwrap_err();
        assert_eq!(error.to_string(), shown);
        assert!(!format!("{error:?}").contains("CANARY"), "{error:?}");
    }
}

/// t007, t048: a request with a secret follows no redirect.
#[tokio::test]
async fn t048_no_redirects() {
    let (elsewhere, second) = answering(&reply("200 OK", TOKEN)).await;
    let redirect = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (answer, _) = ask(Grant::ClientCredentials, ClientAuthentication::Body, &redirect).await;
    assert!(matches!(answer, Err(TokenError::Http(crate::http::HttpError::Redirected { .. }))));
    assert!(!second.is_finished());
    second.abort();
}

async fn revoked(
    endpoint: &ServerUrl,
    registration: &ClientRegistration,
    token: RevocableToken<'_>,
) -> Result<(), TokenError> {
    let request = RevocationRequest { endpoint, issuer: "https://as.example", registration, token };
    revoke(&Http::default(), request, Timestamp::UNIX_EPOCH).await
}

/// t063: the form of RFC 7009 section 2.1, also for a loopback endpoint.
#[tokio::test]
async fn t063_revocation() {
    let secret = Secret::new("t".to_owned());
    for (token, hint) in
        [(RevocableToken::Access(&secret), "access_token"), (RevocableToken::Refresh(&secret), "refresh_token")]
    {
        let (endpoint, served) = answering(&reply("200 OK", "")).await;
        let client = registration(ClientAuthentication::Body);
        revoked(&endpoint, &client, token).await.unwrap();
        let wanted = [("client_id", "c:1"), ("client_secret", "a:b%+é &"), ("token", "t"), ("token_type_hint", hint)];
        assert_eq!(served.await.unwrap().form(), owned(&wanted));
    }
    let (endpoint, _served) = answering(&reply("503 Service Unavailable", "")).await;
    let client = registration(ClientAuthentication::None);
    let refused = revoked(&endpoint, &client, RevocableToken::Access(&secret)).await;
    assert!(matches!(refused, Err(TokenError::Unavailable { status: 503 })));
}

/// A renewal runs in a separate task.
#[test]
fn a_token_request_can_change_threads() {
    fn movable<T: Send>(_: T) {}
    let (http, registration) = (Http::default(), registration(ClientAuthentication::None));
    let endpoint = "https://as.example/token".parse().unwrap();
    let request = TokenRequest {
        endpoint: &endpoint,
        issuer: "https://as.example",
        registration: &registration,
        grant: Grant::ClientCredentials,
        resource: None,
        scope: None,
        dpop_key: None,
        parameters: &[],
        audience: None,
    };
    movable(request_token(&http, request, Timestamp::UNIX_EPOCH));
    let token = Secret::new(String::new());
    let token = RevocableToken::Access(&token);
    let request = RevocationRequest { endpoint: &endpoint, issuer: "", registration: &registration, token };
    movable(revoke(&http, request, Timestamp::UNIX_EPOCH));
}
