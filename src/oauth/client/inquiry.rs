//! Asks an authorization server whether it still knows the client, before the user's browser goes there.

use std::time::Duration;

use http::{HeaderValue, Request, header};

use crate::{
    http::Http,
    oauth::authorization::{AuthorizationRequest, says_unknown_client},
};

/// How long to wait for the answer, because the user is waiting too.
const DEADLINE: Duration = Duration::from_secs(5);

/// Whether the server rejects `request` because it does not know the client or its redirect URI. It then shows an error
/// page instead of redirecting (RFC 6749 section 4.1.2.1). `request` is used only for this question: its state and
/// verifier are discarded. No redirect is followed, and an unclear response means no.
pub async fn is_client_unknown(http: &Http, request: &AuthorizationRequest) -> bool {
    let mut message = Request::new(Vec::new());
    // Look like a browser: some servers send scripts a 200 with the redirect in the body.
    message.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    message.headers_mut().insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
    match tokio::time::timeout(DEADLINE, http.exchange(&request.url, message)).await {
        Ok(Ok(reply)) => {
            let location = reply.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            location.is_some_and(|location| request.leads_to_unknown_client(location))
                || says_unknown_client(reply.status, &reply.body)
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "could not find out whether the authorization server knows the client");
            false
        }
        Err(_) => false,
    }
}
