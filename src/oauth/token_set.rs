//! What a token endpoint hands out.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use oauth2::{AccessToken, RefreshToken, basic::BasicTokenType};
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    oauth::{error::TokenError, scope::Scope},
    secret::Secret,
};

/// A successful token response (RFC 6749 section 5.1), with times made absolute.
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// The bearer token (RFC 6750), checked to be one header value.
    pub access_token: Secret,
    /// What renews it without a person; a rotating server spends it with each use.
    pub refresh_token: Option<Secret>,
    /// When the access token was handed out, by our clock.
    pub issued_at: Timestamp,
    /// When it ends; unknown where the server does not say. Never more than a year after `issued_at`, and never before it.
    pub expires_at: Option<Timestamp>,
    /// The scope granted; none where the server does not say, which means what was asked for.
    pub scope: Option<Scope>,
}

/// A token response as servers really send it. Read through the `oauth2` crate, whose own type is strict where harmless deviations are common.
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    access_token: AccessToken,
    token_type: Option<String>,
    /// As written: a number too large for any type must not spoil the rest.
    expires_in: Option<Box<RawValue>>,
    refresh_token: Option<RefreshToken>,
    scope: Option<ScopeText>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ScopeText {
    Text(String),
    List(Vec<String>),
    Other(IgnoredAny),
}

/// No token is believed to live longer.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// An `expires_in` beyond ten years is no lifetime but the end itself, in seconds since 1970.
const LARGEST_LIFETIME: f64 = 10.0 * 365.0 * 86400.0;

/// The longest access token, in bytes: servers and proxies refuse headers long before.
const LONGEST_TOKEN: usize = 64 << 10;

impl TokenResponse {
    /// Checks the response and makes its times absolute.
    ///
    /// # Errors
    /// [`TokenError::Unusable`] where it must not be used: RFC 6749 section 7.1 forbids a token of a type that the client does not understand, and a token that
    /// is not one header value could bring headers of its own.
    pub fn into_token_set(self, now: Timestamp) -> Result<TokenSet, TokenError> {
        if self.token_type.is_some_and(|name| !name.eq_ignore_ascii_case("bearer")) {
            return Err(TokenError::Unusable("its `token_type` is not Bearer"));
        }
        let access_token = Secret::new(self.access_token.into_secret());
        let token = access_token.expose();
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unusable("its access token is not one header value"));
        }
        let stated = self.expires_in.and_then(|text| lifetime(text.get(), now)).map(|lifetime| now + lifetime);
        // The token's own claim is what the resource server goes by. One in the past is our clock's fault: nobody hands out an expired token.
        let witnessed = jwt_expiry(token).filter(|end| *end > now).map(|end| end.min(now + LONGEST_LIFE));
        let refresh_token = self.refresh_token.map(RefreshToken::into_secret).filter(|token| !token.is_empty());
        Ok(TokenSet {
            refresh_token: refresh_token.map(Secret::new),
            issued_at: now,
            expires_at: witnessed.or(stated),
            scope: self.scope.and_then(ScopeText::into_scope).filter(|scope| !scope.is_empty()),
            access_token,
        })
    }
}

impl ScopeText {
    fn into_scope(self) -> Option<Scope> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::List(tokens) => tokens.iter().try_fold(Scope::default(), |scope, token| scope.with(token)).ok(),
            Self::Other(_) => None,
        }
    }
}

/// How long a token lives by its response's `expires_in`: seconds as a number or as text, or the end as a unix time; none where it is neither. RFC 6749 section
/// 5.1 knows whole seconds only.
fn lifetime(json: &str, now: Timestamp) -> Option<SignedDuration> {
    let seconds: f64 = json.trim_matches('"').trim().parse().ok().filter(|seconds: &f64| !seconds.is_nan())?;
    let seconds = if seconds > LARGEST_LIFETIME { seconds - now.as_duration().as_secs_f64() } else { seconds };
    // In range by the clamp, so the conversion loses a fraction at most.
    Some(SignedDuration::from_secs(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()) as i64))
}

/// The `exp` claim (RFC 7519 section 4.1.4) of a token that is a JWT, unverified: it is advice about when to renew, and nothing is granted on it.
fn jwt_expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let Claims { exp } = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Timestamp::from_second(exp as i64).ok()
}

/// The `oauth2` crate asks for a text form. A token has none.
impl Serialize for TokenResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl oauth2::TokenResponse for TokenResponse {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<oauth2::Scope>> {
        None
    }
}
