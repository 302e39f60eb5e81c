//! How OAuth can fail, sorted by what the caller does next.

use http::StatusCode;
use serde::Deserialize;

use crate::{http::HttpError, server_url::ServerUrlError};

/// A token or revocation request that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `invalid_grant` (RFC 6749 section 5.2): the code or refresh token is spent, expired or revoked. The only failure that ends a credential.
    #[error("the server no longer accepts this sign-in")]
    InvalidGrant,
    /// Another OAuth error: the request or the registration is wrong. The credential stays.
    #[error("the authorization server refused: {0}")]
    Refused(OAuthError),
    /// The server is busy or broken (429, 5xx, a page instead of JSON). The credential stays; later may work.
    #[error("the authorization server is unavailable (HTTP {status})")]
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

/// A dynamic registration that brought no client (RFC 7591 section 3.2).
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The authorization server does not want this client: `invalid_redirect_uri`, `invalid_client_metadata` and the like.
    #[error("the authorization server refused to register this client: {0}")]
    Refused(OAuthError),
    /// The server is busy or broken, or wants an initial access token (RFC 7591 section 3).
    #[error("the registration endpoint is unavailable (HTTP {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// A registration that finmcp cannot use.
    #[error("the registration cannot be used: {0}")]
    Unusable(&'static str),
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Why what a server says is not acted upon. No browser is opened and no secret is sent after one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Not a JSON object of the expected kind, or one with a member twice.
    #[error("{document} cannot be used: {reason}")]
    Document {
        /// Which document.
        document: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A URL that must not be called.
    #[error("`{member}` cannot be used: {reason}")]
    Url {
        /// The member or parameter that held it.
        member: &'static str,
        /// What is wrong with it.
        reason: ServerUrlError,
    },
    /// A server elsewhere that names this very machine (MCP security best practices, "Server-Side Request Forgery").
    #[error("`{member}` points at this machine, though the server is elsewhere")]
    Loopback {
        /// The member or parameter that held it.
        member: &'static str,
    },
    /// The metadata is another resource's (RFC 9728 section 3.3).
    #[error("the server's metadata is for the resource {found}, not for {expected}")]
    Resource {
        /// The URL that we connect to.
        expected: String,
        /// The `resource` in the metadata, cleaned.
        found: String,
    },
    /// The metadata is another authorization server's (RFC 8414 section 3.3).
    #[error("the authorization server's metadata names {found} as its issuer, not {expected}")]
    Issuer {
        /// The issuer identifier that the metadata was looked up for, cleaned.
        expected: String,
        /// The `issuer` in the metadata, cleaned.
        found: String,
    },
    /// `code_challenge_methods_supported` is missing or lacks `S256` (MCP authorization, "Authorization Code Protection").
    #[error("the authorization server does not say that it supports PKCE with S256")]
    Pkce,
    /// The authorization response came in another authorization server's name, or in none (RFC 9207 section 2.4).
    #[error("the sign-in was not answered in the authorization server's own name")]
    MixUp,
}

/// An `error` and `error_description`, fit to be shown: cleaned and cut (RFC 6749 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub struct OAuthError {
    /// The `error` code.
    pub code: String,
    /// The `error_description`.
    pub description: Option<String>,
}

impl OAuthError {
    /// Cleans what a server said.
    pub fn new(code: &str, description: Option<&str>) -> Self {
        Self { code: cleaned(code), description: description.map(cleaned).filter(|text| !text.is_empty()) }
    }

    /// The error in a response's body; none where it holds none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let document: ErrorDocument = serde_json::from_slice(body).ok()?;
        Some(Self::new(&document.error, document.error_description.as_deref()))
    }
}

#[derive(Deserialize)]
struct ErrorDocument {
    error: String,
    error_description: Option<String>,
}

impl TokenError {
    /// What a token or revocation endpoint's answer says has gone wrong; none for a success. An OAuth error counts whatever status it comes with: some servers
    /// send `invalid_grant` with 200 or 401 instead of 400.
    pub fn judge(status: StatusCode, body: &[u8]) -> Option<Self> {
        let error = OAuthError::parse(body);
        match error {
            Some(error) if error.code == "invalid_grant" => Some(Self::InvalidGrant),
            // Busy servers send these as errors too (RFC 6749 section 4.1.2.1), and a 429 or 5xx says nothing final whatever its body.
            _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                Some(Self::Unavailable { status: status.as_u16() })
            }
            Some(error) => Some(Self::Refused(error)),
            None if status.is_success() => None,
            None => Some(Self::Unavailable { status: status.as_u16() }),
        }
    }
}

/// The most characters of a server's own text that are shown.
const SHOWN: usize = 200;

/// Text from a server that a person may see: nothing that moves a terminal's cursor, turns the reading direction or hides, and at most 200 characters.
pub fn cleaned(text: &str) -> String {
    let hidden = |character: char| {
        matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(|character| !character.is_control() && !hidden(*character)).take(SHOWN).collect()
}
