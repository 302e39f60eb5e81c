//! Registering a client (RFC 7591).

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use jiff::Timestamp;

use crate::{
    http::Http,
    oauth::{
        error::{OAuthError, RegistrationError},
        registration::ClientRegistration,
        registration_request::RegistrationRequest,
    },
    server_url::ServerUrl,
};

/// Registers a client (RFC 7591 section 3).
///
/// # Errors
/// Any [`RegistrationError`].
pub async fn register(
    http: &Http,
    endpoint: &ServerUrl,
    request: RegistrationRequest,
    now: Timestamp,
) -> Result<ClientRegistration, RegistrationError> {
    let mut message = Request::new(request.body()?);
    *message.method_mut() = Method::POST;
    message.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    message.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let reply = http.submit(endpoint, message).await?;
    if reply.status.is_success() {
        return request.registered(&reply.body);
    }
    let retry_after = reply.headers.get(header::RETRY_AFTER).and_then(|value| asked(value.to_str().ok()?, now));
    if let (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(after)) = (reply.status, retry_after)
    {
        return Err(RegistrationError::Busy { after });
    }
    match OAuthError::parse(&reply.body) {
        Some(error) if !reply.status.is_server_error() => Err(RegistrationError::Refused(error)),
        _ => Err(RegistrationError::Unavailable { status: reply.status.as_u16() }),
    }
}

/// How long a `Retry-After` asks to wait: seconds, or until a date (RFC 9110 section 10.2.3).
fn asked(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    Some(now.duration_until(date).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// b9: seconds, or a date.
    #[test]
    fn b9_what_retry_after_asks_for() {
        let now = Timestamp::from_second(784_111_777).unwrap(); // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, seconds) in [
            ("5", Some(5)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(asked(value, now).map(|pause| pause.as_secs()), seconds, "{value}");
        }
    }
}
