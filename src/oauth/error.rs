//! How a token request can fail, sorted by what the caller does next.

use crate::http::HttpError;

/// A token request that brought no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `invalid_grant` (RFC 6749 section 5.2): the code or refresh token is spent, expired or revoked. The only failure that ends a credential.
    #[error("the server no longer accepts this sign-in")]
    InvalidGrant,
    /// Another OAuth error: the request or the registration is wrong. The credential stays.
    #[error("the authorization server refused: {code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The `error` code, cleaned.
        code: String,
        /// The `error_description`, cleaned and cut.
        description: Option<String>,
    },
    /// The server is busy or broken (429, 5xx, a page instead of JSON). The credential stays; later may work.
    #[error("the token endpoint is unavailable (HTTP {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// A 2xx answer that must not be used: no access token, another token type, a token that cannot be a header value.
    #[error("the token response cannot be used: {0}")]
    Unusable(&'static str),
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}
