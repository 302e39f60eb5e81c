//! The userinfo endpoint (OpenID Connect Core 1.0 section 5.3), asked for a name to display.

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};

use crate::{http::Http, oauth::holder, secret::Secret, server_url::ServerUrl};

/// How long to wait for the response, because the user is waiting too.
const DEADLINE: Duration = Duration::from_secs(5);

/// The holder of `token`, a bearer token that the server of `endpoint` has issued; none if the response does not say.
/// Follows no redirect.
pub async fn holder_of(http: &Http, endpoint: &ServerUrl, token: &Secret) -> Option<String> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    authorization.set_sensitive(true);
    let mut request = Request::new(Vec::new());
    request.headers_mut().insert(header::AUTHORIZATION, authorization);
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    match tokio::time::timeout(DEADLINE, http.exchange(endpoint, request)).await {
        Ok(Ok(reply)) if reply.status == StatusCode::OK => holder::in_json(&reply.body),
        Ok(Ok(reply)) => {
            tracing::debug!(status = reply.status.as_u16(), "the userinfo endpoint does not name the user");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "could not ask the userinfo endpoint");
            None
        }
        Err(_) => None,
    }
}
