//! Pushed authorization requests (RFC 9126): the client sends the parameters to the server itself, so that the user's
//! browser carries nothing but a reference that expires.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    http::Http,
    oauth::{
        authorization::AuthorizationRequest,
        client::form::{Endpoint, Failure, client_id_field, message},
        dpop::DpopKey,
        error::{PushError, TokenError},
        json,
        registration::{ClientAuthentication, ClientRegistration},
    },
    server_url::ServerUrl,
};

/// The statuses that mean that there is no such endpoint, whatever the metadata says.
const ABSENT: [StatusCode; 3] = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// The longest accepted `request_uri`, in bytes: it has to fit into the browser's URL.
const LENGTH_LIMIT: usize = 2048;

/// The longest accepted lifetime, in seconds.
const LONGEST_LIFE: f64 = 3600.0;

/// A request to a pushed authorization request endpoint (RFC 9126 section 2.1).
#[derive(Debug, Clone, Copy)]
pub struct PushedRequest<'a> {
    pub endpoint: &'a ServerUrl,
    /// The issuer identifier, the audience of a `private_key_jwt` assertion.
    pub issuer: &'a str,
    pub registration: &'a ClientRegistration,
    pub authorization: &'a AuthorizationRequest,
    /// The key that the authorization code is bound to (RFC 9449 section 10.1).
    pub dpop_key: Option<&'a DpopKey>,
}

/// The server's reference to the request (RFC 9126 section 2.2).
#[derive(Debug)]
pub struct PushedAuthorization {
    pub request_uri: String,
    /// How long the user has to open the page; `None` if the server does not say.
    pub expires_in: Option<Duration>,
}

#[derive(Deserialize)]
struct Document {
    request_uri: String,
    expires_in: Option<f64>,
}

/// Pushes the request, with the client's authentication (RFC 9126 section 2).
///
/// # Errors
/// Any [`PushError`].
pub async fn push(http: &Http, request: PushedRequest<'_>, now: Timestamp) -> Result<PushedAuthorization, PushError> {
    let outcome = match send(http, request, now).await {
        // The nonce is stored; the second request has a new client assertion, too.
        Err(Failure { error: TokenError::NonceWanted, .. }) => send(http, request, now).await,
        outcome => outcome,
    };
    match outcome {
        Ok(body) => PushedAuthorization::parse(&body).map_err(PushError::Unusable),
        Err(Failure { status: Some(status), error }) if ABSENT.contains(&status) && !error.refuses_client() => {
            Err(PushError::Absent { status: status.as_u16() })
        }
        Err(Failure { error, .. }) => Err(error.into()),
    }
}

async fn send(http: &Http, request: PushedRequest<'_>, now: Timestamp) -> Result<Vec<u8>, Failure> {
    let PushedRequest { endpoint, issuer, registration, authorization, dpop_key } = request;
    // The client's authentication adds the client id, except where the header has it (RFC 9126 section 2.1 wants it in
    // the form all the same).
    let is_in_header_only = registration.authentication == ClientAuthentication::Basic
        && registration.client_secret.is_some()
        && client_id_field(registration).is_none();
    let fields: Vec<_> =
        authorization.parameters().filter(|(name, _)| name != "client_id" || is_in_header_only).collect();
    let message = message(registration, issuer, fields.iter().map(|(name, value)| (&**name, &**value)), now)?;
    Endpoint {
        http,
        url: endpoint,
        certificate: registration.certificate.as_deref(),
        proof: dpop_key.map(|key| (key, now)),
    }
    .send(message)
    .await
}

impl PushedAuthorization {
    fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let Document { request_uri, expires_in } = json::read(body)?;
        if request_uri.is_empty() || request_uri.len() > LENGTH_LIMIT || request_uri.contains(char::is_control) {
            return Err("its `request_uri` is empty, too long or not a URI");
        }
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE));
        Ok(Self { request_uri, expires_in: expires_in.map(seconds) })
    }
}
