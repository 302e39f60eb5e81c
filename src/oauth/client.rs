//! Requests to an authorization server's token, revocation and registration endpoints.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, header};
use jiff::Timestamp;
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl,
    StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use serde::de::IgnoredAny;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    http::Http,
    oauth::{
        client_assertion::{ASSERTION_TYPE, PrivateKey},
        device_authorization::DEVICE_GRANT,
        error::{OAuthError, RegistrationError, TokenError},
        json,
        registration::{ClientAuthentication, ClientRegistration, RegistrationRequest},
        scope::Scope,
        token_set::{TokenResponse, TokenSet},
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// What a token is asked for with (RFC 6749 section 4).
#[derive(Debug)]
pub enum Grant<'a> {
    /// An authorization code and its PKCE verifier (RFC 7636 section 4.5).
    AuthorizationCode {
        /// The code.
        code: &'a Secret,
        /// The verifier.
        verifier: &'a Secret,
        /// The redirect URI of the authorization request, again.
        redirect_uri: &'a str,
    },
    /// The client's own credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// A refresh token (RFC 6749 section 6).
    RefreshToken(&'a Secret),
    /// A device code, which a person on another device allows or not (RFC 8628 section 3.4).
    DeviceCode(&'a Secret),
}

/// A request to a device authorization endpoint (RFC 8628 section 3.1); its members are those of the [`TokenRequest`]
/// that follows.
#[derive(Debug)]
pub struct DeviceRequest<'a> {
    /// The device authorization endpoint.
    pub endpoint: &'a ServerUrl,
    /// Whose it is.
    pub issuer: &'a str,
    /// Who asks.
    pub registration: &'a ClientRegistration,
    /// The `resource` parameter.
    pub resource: Option<&'a str>,
    /// The scope to ask for.
    pub scope: Option<&'a Scope>,
    /// Further form fields that this server wants.
    pub parameters: &'a [(String, String)],
}

/// A request to a token endpoint.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// The token endpoint.
    pub endpoint: &'a ServerUrl,
    /// Whose it is: the issuer identifier, for which a client with a private key proves itself.
    pub issuer: &'a str,
    /// Who asks.
    pub registration: &'a ClientRegistration,
    /// With what.
    pub grant: Grant<'a>,
    /// The `resource` parameter (RFC 8707), on every leg alike.
    pub resource: Option<&'a str>,
    /// The scope to ask for. An authorization code has its own already, and takes none.
    pub scope: Option<&'a Scope>,
    /// Further form fields that this server wants, such as `business_id`. One that the request sets itself is left out.
    pub parameters: &'a [(String, String)],
    /// Whom the token must be for, where that matters to the person; a token that does not say so is taken.
    pub audience: Option<&'a str>,
}

/// A token to revoke, of the kind that `token_type_hint` tells (RFC 7009 section 2.1).
#[derive(Debug, Clone, Copy)]
pub enum RevocableToken<'a> {
    /// An access token.
    Access(&'a Secret),
    /// A refresh token; most servers end its access tokens with it.
    Refresh(&'a Secret),
}

type Client = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
>;

/// Sends `request`. A refresh that brings no refresh token leaves `refresh_token` empty: the caller keeps the old one
/// (RFC 6749 section 6).
///
/// # Errors
/// Any [`TokenError`].
pub async fn request_token(http: &Http, request: TokenRequest<'_>, now: Timestamp) -> Result<TokenSet, TokenError> {
    let client = client(request.registration).set_token_uri(TokenUrl::from_url(request.endpoint.as_url().clone()));
    let endpoint = TokenEndpoint(Endpoint { http, url: request.endpoint });
    let proof = proof(request.registration, request.issuer, now)?;
    let extra_fields = || extra_fields(request.resource, request.parameters);
    let fields = || extra_fields().chain(proof.iter().map(|(name, value)| (*name, value.expose().as_str())));
    let scope = || request.scope.into_iter().flat_map(Scope::iter).map(|token| oauth2::Scope::new(token.to_owned()));
    let response = match request.grant {
        Grant::AuthorizationCode { code, verifier, redirect_uri } => {
            let redirect_uri = RedirectUrl::new(redirect_uri.to_owned())
                .map_err(|_| TokenError::Unusable("the redirect URI is not a URL"))?;
            let mut exchange = client
                .exchange_code(AuthorizationCode::new(code.expose().clone()))
                .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
                .set_redirect_uri(std::borrow::Cow::Owned(redirect_uri));
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::ClientCredentials => {
            let mut exchange = client.exchange_client_credentials().add_scopes(scope());
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        Grant::RefreshToken(token) => {
            let token = RefreshToken::new(token.expose().clone());
            let mut exchange = client.exchange_refresh_token(&token).add_scopes(scope());
            for (name, value) in fields() {
                exchange = exchange.add_extra_param(name, value);
            }
            exchange.request_async(&endpoint).await
        }
        // The crate would do the waiting too.
        Grant::DeviceCode(code) => {
            let own = [("grant_type", DEVICE_GRANT), ("device_code", code.expose())];
            let message = message(request.registration, own.into_iter().chain(fields()))?;
            let answer = endpoint.call(message).await?;
            serde_json::from_slice(answer.body()).map_err(|_| RequestTokenError::Request(NO_TOKEN))
        }
    };
    let tokens = TokenResponse::into_token_set(response.map_err(sort)?, now)?;
    match request.audience.and_then(|expected| Some((expected, tokens.other_audience(expected)?))) {
        Some((expected, found)) => Err(TokenError::Audience { expected: expected.to_owned(), found }),
        None => Ok(tokens),
    }
}

/// Begins a sign-in on another device, and gives the document that says how it goes on (RFC 8628 section 3.1).
///
/// # Errors
/// Any [`TokenError`].
pub async fn authorize_device(http: &Http, request: DeviceRequest<'_>, now: Timestamp) -> Result<Vec<u8>, TokenError> {
    let DeviceRequest { endpoint, issuer, registration, resource, parameters, .. } = request;
    let scope = request.scope.map(Scope::to_string);
    let proof = proof(registration, issuer, now)?;
    let proof = proof.iter().map(|(name, value)| (*name, value.expose().as_str()));
    let scope = scope.as_deref().map(|scope| ("scope", scope));
    let fields = scope.into_iter().chain(extra_fields(resource, parameters)).chain(proof);
    let message = message(registration, fields)?;
    Ok(Endpoint { http, url: endpoint }.call(message).await?.into_body())
}

/// Revokes `token` (RFC 7009). A server that no longer knows it calls that a success (section 2.2).
///
/// # Errors
/// Any [`TokenError`].
pub async fn revoke(
    http: &Http,
    endpoint: &ServerUrl,
    issuer: &str,
    registration: &ClientRegistration,
    token: RevocableToken<'_>,
    now: Timestamp,
) -> Result<(), TokenError> {
    let mut url = endpoint.as_url().clone();
    // The crate knows https only. What may be called is the `ServerUrl`'s to judge, and that is where the form goes.
    let _ = url.set_scheme("https");
    let client = client(registration).set_revocation_url(RevocationUrl::from_url(url));
    let token = match token {
        RevocableToken::Access(token) => AccessToken::new(token.expose().clone()).into(),
        RevocableToken::Refresh(token) => RefreshToken::new(token.expose().clone()).into(),
    };
    let mut request = client.revoke_token(token).map_err(|_| TokenError::Unusable("the endpoint is not https"))?;
    for (name, value) in proof(registration, issuer, now)? {
        request = request.add_extra_param(name, value.expose().clone());
    }
    request.request_async(&Endpoint { http, url: endpoint }).await.map_err(sort)
}

/// Registers a client (RFC 7591 section 3).
///
/// # Errors
/// Any [`RegistrationError`].
pub async fn register(
    http: &Http,
    endpoint: &ServerUrl,
    request: RegistrationRequest,
) -> Result<ClientRegistration, RegistrationError> {
    let mut message = Request::new(request.body()?);
    *message.method_mut() = Method::POST;
    message.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    message.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let reply = http.submit(endpoint, message).await?;
    if reply.status.is_success() {
        return request.registered(&reply.body);
    }
    match OAuthError::parse(&reply.body) {
        Some(error) if !reply.status.is_server_error() => Err(RegistrationError::Refused(error)),
        _ => Err(RegistrationError::Unavailable { status: reply.status.as_u16() }),
    }
}

/// `resource`, and the parameters that a request does not set itself: none may come twice (RFC 6749 section 3.2).
fn extra_fields<'a>(
    resource: Option<&'a str>,
    parameters: &'a [(String, String)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    const OURS: [&str; 11] = [
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "code",
        "code_verifier",
        "device_code",
        "redirect_uri",
        "refresh_token",
        "scope",
    ];
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let further = parameters.filter(move |(name, _)| {
        let ours = OURS.contains(name) || (resource.is_some() && *name == "resource");
        !ours
    });
    resource.map(|resource| ("resource", resource)).into_iter().chain(further)
}

/// A client that authenticates as it is registered (RFC 6749 section 2.3.1).
fn client(registration: &ClientRegistration) -> Client {
    let client = Client::new(ClientId::new(registration.client_id.clone()));
    let auth_type = match registration.authentication {
        ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt => {
            return client.set_auth_type(AuthType::RequestBody);
        }
        ClientAuthentication::Basic => AuthType::BasicAuth,
        ClientAuthentication::Body => AuthType::RequestBody,
    };
    let client = client.set_auth_type(auth_type);
    match &registration.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().clone())),
        None => client,
    }
}

/// The fields by which a client with a private key proves itself; none for any other (RFC 7523 section 2.2).
fn proof(
    registration: &ClientRegistration,
    issuer: &str,
    now: Timestamp,
) -> Result<Vec<(&'static str, Secret)>, TokenError> {
    match (registration.authentication, &registration.client_secret) {
        (ClientAuthentication::PrivateKeyJwt, Some(key)) => Ok(vec![
            ("client_assertion_type", Secret::new(ASSERTION_TYPE.to_owned())),
            ("client_assertion", PrivateKey::from_pem(key)?.assertion(&registration.client_id, issuer, now)?),
        ]),
        _ => Ok(Vec::new()),
    }
}

/// A form of the client's, with what it proves itself by (RFC 6749 section 2.3.1).
fn message<'f>(
    registration: &ClientRegistration,
    fields: impl Iterator<Item = (&'f str, &'f str)>,
) -> Result<HttpRequest, TokenError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let mut message = Request::new(Vec::new());
    *message.method_mut() = Method::POST;
    let headers = message.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let id = &registration.client_id;
    match (registration.authentication, &registration.client_secret) {
        (ClientAuthentication::Basic, Some(secret)) => {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let both = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
            let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(both.as_bytes())));
            let value = HeaderValue::from_str(&value);
            let mut value = value.map_err(|_| TokenError::Unusable("the client secret is no header"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        (ClientAuthentication::Body, Some(secret)) => {
            form.append_pair("client_id", id).append_pair("client_secret", secret.expose());
        }
        _ => drop(form.append_pair("client_id", id)),
    }
    *message.body_mut() = form.finish().into_bytes();
    Ok(message)
}

/// The endpoint that a form is sent to, whatever URL the `oauth2` crate has. A type with a boxed future, not a closure:
/// the compiler could not tell that a closure's may move between threads.
struct Endpoint<'a> {
    http: &'a Http,
    url: &'a ServerUrl,
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    /// Only a success comes back, as the plain 200 that the crate expects.
    fn call(&'c self, message: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let reply = self.http.submit(self.url, message).await?;
            if let Some(error) = TokenError::judge(reply.status, &reply.body) {
                return Err(error);
            }
            Ok(HttpResponse::new(reply.body.to_vec()))
        })
    }
}

/// A token endpoint, of which a success is one JSON document: the crate would pass over whatever follows that.
struct TokenEndpoint<'a>(Endpoint<'a>);

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    fn call(&'c self, message: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.0.call(message).await?;
            json::read::<IgnoredAny>(answer.body()).map_err(TokenError::Unusable)?;
            Ok(answer)
        })
    }
}

/// What is left to go wrong after [`TokenEndpoint`]: a body that is no token response. It holds secrets, perhaps, and goes
/// no further.
fn sort<T: oauth2::ErrorResponse + 'static>(error: RequestTokenError<TokenError, T>) -> TokenError {
    match error {
        RequestTokenError::Request(error) => error,
        _ => NO_TOKEN,
    }
}

const NO_TOKEN: TokenError = TokenError::Unusable("it has no `access_token`, or a member twice");

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::http::HttpError;

    /// Answers one request with `response`, and hands out what it was.
    async fn answering(response: &str) -> (ServerUrl, JoinHandle<Message>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/endpoint?tenant=1", listener.local_addr().unwrap()).parse().unwrap();
        let response = response.to_owned();
        let served = tokio::spawn(async move {
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
        });
        (url, served)
    }

    fn reply(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    struct Message(String);

    impl Message {
        fn header(&self, name: &str) -> Option<&str> {
            let head = self.0.lines().take_while(|line| !line.is_empty());
            head.filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|pair| pair.1)
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
            authentication,
            redirect_uri: None,
            expires_at: None,
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
            parameters: &owned(&[("business_id", "biz_1"), ("grant_type", "evil"), ("resource", "evil")]),
            audience: None,
        };
        let answer = request_token(&Http::default(), request, Timestamp::UNIX_EPOCH).await;
        (answer, served.await.unwrap())
    }

    const TOKEN: &str =
        r#"{"access_token":"t","token_type":"bearer","expires_in":"60","refresh_token":"r","id_token":"x"}"#;

    /// t042, t061: what asks for a device's token proves the client as every other request does.
    #[tokio::test]
    async fn t042_a_device_code_is_asked_for_by_the_client() {
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

    /// t061: a refresh proves the client as the first request did.
    #[tokio::test]
    async fn t061_a_private_key_renews_too() {
        let (endpoint, served) = answering(&reply("200 OK", TOKEN)).await;
        let mut registration = registration(ClientAuthentication::PrivateKeyJwt);
        let key = include_str!("../../tests/fixtures/keys/rsa-pkcs1.pem");
        registration.client_secret = Some(Secret::new(key.to_owned()));
        let request = TokenRequest {
            endpoint: &endpoint,
            issuer: "https://as.example",
            registration: &registration,
            grant: Grant::RefreshToken(&Secret::new("r".to_owned())),
            resource: None,
            scope: None,
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

    /// t043, t061: each grant's form, whole, with the secret where it belongs.
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

    /// t059, t060, t096: bad answers are sorted, and none of their text but an OAuth error's gets out.
    #[tokio::test]
    async fn t060_bad_answers() {
        for (status, body, shown) in [
            ("200 OK", "<html>CANARY</html>", "the token response cannot be used: it is not JSON"),
            ("200 OK", "", "the token response cannot be used: it is not JSON"),
            (
                "200 OK",
                r#"{"access_token":"CANARY","access_token":"x"}"#,
                "the token response cannot be used: it has no `access_token`, or a member twice",
            ),
            ("200 OK", r#"{"access_token":"CANARY"}{}"#, "the token response cannot be used: it is not JSON"),
            (
                "200 OK",
                r#"{"access_token":"CANARY","token_type":"mac"}"#,
                "the token response cannot be used: its `token_type` is not Bearer",
            ),
            (
                "200 OK",
                r#"{"access_token":"CANARY\r\nX: y"}"#,
                "the token response cannot be used: its access token is not one header value",
            ),
            ("401 Unauthorized", r#"{"error":"invalid_grant"}"#, "the server no longer accepts this sign-in"),
            (
                "400 Bad Request",
                r#"{"error":"invalid_target","error_description":"no"}"#,
                "the authorization server refused: invalid_target (no)",
            ),
            ("502 Bad Gateway", "CANARY", "the authorization server is unavailable (HTTP 502)"),
        ] {
            let (answer, _) = ask(Grant::ClientCredentials, ClientAuthentication::Body, &reply(status, body)).await;
            let error = answer.unwrap_err();
            assert_eq!(error.to_string(), shown);
            assert!(!format!("{error:?}").contains("CANARY"), "{error:?}");
        }
    }

    /// t007, t048: a redirect of a request with a secret goes nowhere.
    #[tokio::test]
    async fn t048_no_redirects() {
        let (elsewhere, second) = answering(&reply("200 OK", TOKEN)).await;
        let redirect = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let (answer, _) = ask(Grant::ClientCredentials, ClientAuthentication::Body, &redirect).await;
        assert!(matches!(answer, Err(TokenError::Http(HttpError::Redirected { .. }))));
        assert!(!second.is_finished());
        second.abort();
    }

    /// t063: the form of RFC 7009 section 2.1, on loopback too.
    #[tokio::test]
    async fn t063_revocation() {
        let secret = Secret::new("t".to_owned());
        for (token, hint) in
            [(RevocableToken::Access(&secret), "access_token"), (RevocableToken::Refresh(&secret), "refresh_token")]
        {
            let (endpoint, served) = answering(&reply("200 OK", "")).await;
            let client = registration(ClientAuthentication::Body);
            revoke(&Http::default(), &endpoint, "https://as.example", &client, token, Timestamp::UNIX_EPOCH)
                .await
                .unwrap();
            let wanted =
                [("client_id", "c:1"), ("client_secret", "a:b%+é &"), ("token", "t"), ("token_type_hint", hint)];
            assert_eq!(served.await.unwrap().form(), owned(&wanted));
        }
        let (endpoint, _served) = answering(&reply("503 Service Unavailable", "")).await;
        let client = registration(ClientAuthentication::None);
        let refused = revoke(
            &Http::default(),
            &endpoint,
            "https://as.example",
            &client,
            RevocableToken::Access(&secret),
            Timestamp::UNIX_EPOCH,
        )
        .await;
        assert!(matches!(refused, Err(TokenError::Unavailable { status: 503 })));
    }

    /// A renewal runs in a task of its own.
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
            parameters: &[],
            audience: None,
        };
        movable(request_token(&http, request, Timestamp::UNIX_EPOCH));
        let token = Secret::new(String::new());
        movable(revoke(&http, &endpoint, "", &registration, RevocableToken::Access(&token), Timestamp::UNIX_EPOCH));
    }
}
