//! The device authorization response, and the polling interval (RFC 8628).

use std::time::Duration;

use serde::Deserialize;

use crate::{
    oauth::{
        error::{TokenError, Untrusted},
        published::{self, trusted_url},
    },
    printable::quoted,
    secret::Secret,
    server_url::ServerUrl,
};

/// The grant type of a device code (RFC 8628 section 3.4).
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

const DOCUMENT: &str = "the device authorization response";

/// The default polling interval and the shortest one (RFC 8628 section 3.2).
const INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// The increase of the interval after `slow_down` (RFC 8628 section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The longest accepted lifetime of a code, in seconds.
const LONGEST_LIFE: f64 = 3600.0;

/// A device authorization response (RFC 8628 section 3.2).
#[derive(Debug)]
pub struct DeviceAuthorization {
    /// The code for the token request.
    pub device_code: Secret,
    /// The code for the user to enter, cleaned.
    pub user_code: String,
    /// The page where the user enters it.
    pub page: ServerUrl,
    /// How long both codes are valid.
    pub expires_in: Duration,
    /// The polling interval.
    pub pace: Pace,
}

/// The polling interval. It never gets shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace(Duration);

#[derive(Deserialize)]
struct Document {
    device_code: String,
    user_code: String,
    /// Some servers use the name in early drafts.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    expires_in: f64,
    interval: Option<f64>,
}

impl DeviceAuthorization {
    /// Parses the response of `endpoint`.
    ///
    /// # Errors
    /// [`Untrusted`] if the document is invalid, or the user must not be sent to its page.
    pub fn parse(body: &[u8], endpoint: &ServerUrl) -> Result<Self, Untrusted> {
        let document: Document = published::parse(DOCUMENT, body)?;
        let user_code = quoted(&document.user_code);
        if document.device_code.is_empty() || user_code.is_empty() {
            return Err(Untrusted::Document { document: DOCUMENT, reason: "a code is empty" });
        }
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE));
        let (usual, least) = INTERVALS;
        Ok(Self {
            device_code: Secret::new(document.device_code),
            user_code,
            page: trusted_url("verification_uri", &document.verification_uri, endpoint)?,
            expires_in: seconds(document.expires_in),
            pace: Pace(document.interval.map_or(usual, seconds).max(least)),
        })
    }
}

impl Pace {
    pub fn interval(self) -> Duration {
        self.0
    }

    /// The interval after a response without a token; `None` if polling cannot succeed any more (RFC 8628 section 3.5).
    pub fn after(self, error: &TokenError) -> Option<Self> {
        match error {
            TokenError::Refused(error) if error.code == "authorization_pending" => Some(self),
            TokenError::Refused(error) if error.code == "slow_down" => Some(Self(self.0 + SLOWER)),
            // Back off from a failing server.
            TokenError::Http(error) if error.is_refusal() => None,
            TokenError::Unavailable { .. } | TokenError::Http(_) => Some(Self(self.0 * 2)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::error::OAuthError;

    fn parse(page: &str, interval: Option<f64>) -> Result<DeviceAuthorization, Untrusted> {
        let document = json!({
            "device_code": "d", "user_code": "AB\u{1b}-CD", "verification_uri": page,
            "expires_in": 600, "interval": interval,
        });
        DeviceAuthorization::parse(document.to_string().as_bytes(), &"https://as.example/device".parse().unwrap())
    }

    fn refused(code: &str) -> TokenError {
        TokenError::Refused(OAuthError::new(code, None))
    }

    /// t042: five seconds by default, five more after each `slow_down`, and an end on any final error.
    #[test]
    fn t042_the_pace() {
        let mut pace = parse("https://as.example/go", None).unwrap().pace;
        for seconds in [5, 10, 15, 20] {
            assert_eq!(pace.interval(), Duration::from_secs(seconds));
            assert_eq!(pace.after(&refused("authorization_pending")), Some(pace));
            pace = pace.after(&refused("slow_down")).unwrap();
        }
        assert_eq!(pace.after(&TokenError::Unavailable { status: 503 }).unwrap().interval().as_secs(), 50);
        for code in ["access_denied", "expired_token", "invalid_client", "invalid_request"] {
            assert_eq!(pace.after(&refused(code)), None, "{code}");
        }
        assert_eq!(pace.after(&TokenError::InvalidGrant(OAuthError::new("invalid_grant", None))), None);
        for (given, taken) in [(Some(0.0), 1.0), (Some(-3.0), 1.0), (Some(2.5), 2.5), (Some(1e300), 3600.0)] {
            let pace = parse("https://as.example/go", given).unwrap().pace;
            assert_eq!(pace.interval(), Duration::from_secs_f64(taken));
        }
    }

    /// t042: the user is sent only to a page that finmcp accepts.
    #[test]
    fn t042_the_page() {
        let authorization = parse("https://as.example/go", None).unwrap();
        assert_eq!((authorization.user_code.as_str(), authorization.expires_in.as_secs()), ("AB-CD", 600));
        for page in ["http://as.example/go", "javascript:alert(1)", "http://127.0.0.1/go", "https://me@as.example", ""]
        {
            assert!(matches!(parse(page, None), Err(Untrusted::Url { .. })), "{page}");
        }
    }
}
