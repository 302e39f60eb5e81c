//! The form that a client sends to an authorization server, with its authentication.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, HttpRequest, HttpResponse, RequestTokenError,
    StandardRevocableToken,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use serde::de::IgnoredAny;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    http::{Http, client_certificate::ClientCertificate},
    oauth::{
        client::form_answer,
        client_assertion::{ASSERTION_TYPE, client_assertion},
        dpop::{self, DpopKey},
        error::TokenError,
        json,
        private_key::{PrivateKey, PrivateKeyError},
        registration::{ClientAuthentication, ClientRegistration},
        token_set::TokenResponse,
    },
    secret::Secret,
    server_url::ServerUrl,
};

pub(super) type Client = oauth2::Client<
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

/// `resource`, and the parameters that the request does not set itself: none may occur twice (RFC 6749 section 3.2).
pub(super) fn extra_fields<'a>(
    resource: Option<&'a str>,
    parameters: &'a [(String, String)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    const STANDARD: [&str; 12] = [
        "grant_type",
        "assertion",
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
        let is_set = STANDARD.contains(name) || (resource.is_some() && *name == "resource");
        !is_set
    });
    resource.map(|resource| ("resource", resource)).into_iter().chain(further)
}

/// `client_id` in addition to the `Authorization` header, for a dynamically registered client: some servers with
/// dynamic registration require it in the form. Some servers with pre-registered clients refuse it there.
pub(super) fn client_id_field(registration: &ClientRegistration) -> Option<(&'static str, &str)> {
    let is_in_header =
        registration.authentication == ClientAuthentication::Basic && registration.client_secret.is_some();
    (is_in_header && registration.is_dynamic()).then_some(("client_id", registration.client_id.as_str()))
}

/// A client with the authentication method that it is registered with (RFC 6749 section 2.3.1).
pub(super) fn client(registration: &ClientRegistration) -> Client {
    let client = Client::new(ClientId::new(registration.client_id.clone()));
    let auth_type = match registration.authentication {
        ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt | ClientAuthentication::Certificate => {
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

/// The fields that authenticate a client with a private key; empty for other clients (RFC 7523 section 2.2).
pub(super) fn assertion_fields(
    registration: &ClientRegistration,
    issuer: &str,
    now: Timestamp,
) -> Result<Vec<(&'static str, Secret)>, TokenError> {
    match (registration.authentication, &registration.client_secret) {
        (ClientAuthentication::PrivateKeyJwt, Some(key)) => {
            let key = PrivateKey::from_pem(key)?;
            let algorithm = registration.key_algorithm.or(key.algorithms().last().copied());
            let algorithm = algorithm.ok_or(PrivateKeyError::Unsupported)?;
            let assertion = client_assertion(&key, algorithm, &registration.client_id, issuer, now)?;
            Ok(vec![("client_assertion_type", Secret::new(ASSERTION_TYPE.to_owned())), ("client_assertion", assertion)])
        }
        _ => Ok(Vec::new()),
    }
}

/// A form for the authorization server `issuer`, with the client's authentication (RFC 6749 section 2.3.1).
pub(super) fn message<'f>(
    registration: &ClientRegistration,
    issuer: &str,
    fields: impl Iterator<Item = (&'f str, &'f str)>,
    now: Timestamp,
) -> Result<HttpRequest, TokenError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).extend_pairs(client_id_field(registration));
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
            let mut value = value.map_err(|_| TokenError::Unusable("the client secret cannot be sent in a header"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        (ClientAuthentication::Body, Some(secret)) => {
            form.append_pair("client_id", id).append_pair("client_secret", secret.expose());
        }
        // Without a client id, an assertion identifies the client.
        _ if id.is_empty() => {}
        _ => drop(form.append_pair("client_id", id)),
    }
    for (name, value) in assertion_fields(registration, issuer, now)? {
        form.append_pair(name, value.expose());
    }
    *message.body_mut() = form.finish().into_bytes();
    Ok(message)
}

/// The endpoint that receives the form, regardless of the URL in the `oauth2` crate. A type with a boxed future,
/// because the compiler cannot prove that a closure's future is `Send`.
pub(super) struct Endpoint<'a> {
    pub(super) http: &'a Http,
    pub(super) url: &'a ServerUrl,
    /// The certificate to show.
    pub(super) certificate: Option<&'a ClientCertificate>,
    /// The DPoP key and the time for each message's proof.
    pub(super) proof: Option<(&'a DpopKey, Timestamp)>,
}

/// A failed request, with the status if the server answered.
pub(super) struct Failure {
    pub(super) status: Option<StatusCode>,
    pub(super) error: TokenError,
}

impl<E: Into<TokenError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { status: None, error: error.into() }
    }
}

impl Endpoint<'_> {
    /// Sends `message` and returns the body of a success.
    pub(super) async fn send(&self, mut message: HttpRequest) -> Result<Vec<u8>, Failure> {
        if let Some((key, now)) = self.proof {
            let proof = key.proof(message.method(), self.url, None, now)?;
            message.headers_mut().insert(dpop::PROOF, proof);
        }
        let sent = secrets(&message);
        let reply = self.http.submit(self.url, message, self.certificate).await?;
        let has_nonce = self.proof.is_some_and(|(key, _)| key.store_nonce(self.url, &reply.headers));
        let body = form_answer::as_json(&reply.headers, &reply.body);
        let error = match TokenError::judge(reply.status, &body) {
            None => return Ok(body.into_owned()),
            Some(TokenError::Refused(error)) if has_nonce && error.code == dpop::NONCE_WANTED => {
                TokenError::NonceWanted
            }
            Some(error) => {
                let error = error.without_echo(&sent);
                // A server that echoes this request's secrets may echo earlier ones too.
                let text = String::from_utf8_lossy(&body);
                let is_echo = sent.iter().any(|secret| secret.is_repeated_in(&text));
                if is_echo { error.without_words() } else { error }
            }
        };
        Err(Failure { status: Some(reply.status), error })
    }
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    /// Returns only successes, as the plain 200 that the crate expects.
    fn call(&'c self, message: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let body = self.send(message).await.map_err(|failure| failure.error)?;
            Ok(HttpResponse::new(body))
        })
    }
}

/// The secrets in a form that finmcp sends.
fn secrets(message: &HttpRequest) -> Vec<Secret> {
    const SECRET: [&str; 9] = [
        "assertion",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "device_code",
        "refresh_token",
        "subject_token",
        "token",
    ];
    let fields = form_urlencoded::parse(message.body()).filter(|(name, _)| SECRET.contains(&&**name));
    let header = message.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let header = header.map(|value| value.trim_start_matches("Basic ").to_owned());
    fields.map(|(_, value)| value.into_owned()).chain(header).map(Secret::new).collect()
}

/// A token endpoint, whose success must be a single JSON document: the crate would ignore anything after it.
pub(super) struct TokenEndpoint<'a>(pub(super) Endpoint<'a>);

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = TokenError;
    type Future = BoxFuture<'c, Result<HttpResponse, TokenError>>;

    fn call(&'c self, message: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.0.call(message).await?;
            json::read::<IgnoredAny>(answer.body()).map_err(|reason| {
                let is_page = answer.body().trim_ascii_start().starts_with(b"<");
                TokenError::Unusable(if is_page {
                    "it is a web page, not JSON; the server may be down for maintenance"
                } else {
                    reason
                })
            })?;
            Ok(answer)
        })
    }
}

/// Converts the crate's error. After [`TokenEndpoint`], only an invalid token response remains, which may contain
/// secrets and is dropped.
pub(super) fn to_token_error<T: oauth2::ErrorResponse + 'static>(
    error: RequestTokenError<TokenError, T>,
) -> TokenError {
    match error {
        RequestTokenError::Request(error) => error,
        _ => NO_TOKEN,
    }
}

pub(super) const NO_TOKEN: TokenError = TokenError::Unusable("it has no `access_token`, or a duplicate member");
