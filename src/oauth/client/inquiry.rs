//! Asking whether an authorization server still knows a client, before a person is sent there.

use std::time::Duration;

use http::{HeaderValue, Request, header};

use crate::{
    http::Http,
    oauth::authorization::{AuthorizationRequest, says_unknown_client},
};

/// How long the server has to answer: the person is waiting.
const DEADLINE: Duration = Duration::from_secs(5);

/// Whether the server says of `request` that it does not know its client, or not with this redirect URI. It does so in
/// place of a redirect, on a page that leads nowhere (RFC 6749 section 4.1.2.1). The request is for this question alone:
/// its state and verifier are never used. Nothing is followed, and an answer that says nothing clear says no.
pub async fn is_client_unknown(http: &Http, request: &AuthorizationRequest) -> bool {
    let mut message = Request::new(Vec::new());
    message.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/html, application/json;q=0.9"));
    match tokio::time::timeout(DEADLINE, http.exchange(&request.url, message)).await {
        Ok(Ok(reply)) => says_unknown_client(reply.status, &reply.body),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the authorization server does not say whether it knows the client");
            false
        }
        Err(_) => false,
    }
}
