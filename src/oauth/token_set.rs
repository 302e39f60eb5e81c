//! What a token endpoint hands out.

use jiff::Timestamp;

use crate::{oauth::scope::Scope, secret::Secret};

/// A successful token response (RFC 6749 section 5.1), with times made absolute.
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// The bearer token (RFC 6750), checked to be one header value.
    pub access_token: Secret,
    /// What renews it without a person; a rotating server spends it with each use.
    pub refresh_token: Option<Secret>,
    /// When the access token was handed out, by our clock.
    pub issued_at: Timestamp,
    /// When it ends; unknown where the server does not say.
    pub expires_at: Option<Timestamp>,
    /// The scope granted; none where the server does not say, which means what was asked for.
    pub scope: Option<Scope>,
}
