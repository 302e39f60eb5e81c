//! How OAuth can fail, sorted by what the caller does next.

use http::StatusCode;
use serde::Deserialize;

use crate::{
    http::HttpError,
    oauth::{json, private_key::PrivateKeyError},
    secret::Secret,
    server_url::ServerUrlError,
};

/// A token or revocation request that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `invalid_grant` (RFC 6749 section 5.2): the code or refresh token is spent, expired or revoked. The only failure
    /// that ends a credential.
    #[error("the server no longer accepts this sign-in")]
    InvalidGrant(OAuthError),
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
    /// A token for somebody else, where the person wants none such (RFC 8707 section 2).
    #[error("the token is for {found}, not for {expected}")]
    Audience {
        /// The resource that was asked for.
        expected: String,
        /// Whom it is for, cleaned.
        found: String,
    },
    /// The server wants a nonce in the proof of possession, and has looked at nothing else (RFC 9449 section 8).
    #[error("the authorization server takes none of our proofs of a key, and asks for another nonce each time (DPoP)")]
    NonceWanted,
    /// The client's private key, or the one that tokens are bound to.
    #[error("the private key cannot be used: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// A dynamic registration that brought no client (RFC 7591 section 3.2).
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The authorization server does not want this client: `invalid_redirect_uri`, `invalid_client_metadata` and the
    /// like.
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
    #[error("the server's `{member}` cannot be used: {reason}")]
    Url {
        /// The member or parameter that held it.
        member: &'static str,
        /// What is wrong with it.
        reason: ServerUrlError,
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
    /// `code_challenge_methods_supported` lacks `S256` (MCP authorization, "Authorization Code Protection").
    #[error("the authorization server does not say that it supports PKCE with S256")]
    Pkce,
    /// `code_challenge_methods_supported` is missing, which means that there is no PKCE (the same section).
    #[error("the authorization server does not say whether it supports PKCE with S256")]
    PkceUnsaid,
    /// Another authorization server than the one that the person's client is registered with (MCP authorization,
    /// "Authorization Server Binding").
    #[error("the server now sends you to the authorization server {found}; your client is registered with {expected}")]
    AnotherServer {
        /// The issuer that the client is registered with, cleaned.
        expected: String,
        /// The issuer that was found, cleaned.
        found: String,
    },
    /// The authorization response came in another authorization server's name, or in none (RFC 9207 section 2.4).
    #[error("the sign-in was not answered in the authorization server's own name")]
    MixUp,
}

/// An `error` and `error_description`, fit to be shown: cleaned and cut (RFC 6749 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", .description.as_deref().map(|text| format!(" (\"{text}\")")).unwrap_or_default())]
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

    /// The same without the server's words, where they repeat one of `secrets`: some servers say what they were sent.
    pub fn without_echo(self, secrets: &[Secret]) -> Self {
        let is_echo = |text: &str| secrets.iter().any(|secret| secret.is_repeated_in(text));
        Self {
            code: if is_echo(&self.code) { "an error that repeats a secret".to_owned() } else { self.code },
            description: self.description.filter(|text| !is_echo(text)),
        }
    }

    /// The error in a response's body; none where it holds none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let document: ErrorDocument = json::read(body).ok()?;
        Some(Self::new(&document.error, document.error_description.as_deref()))
    }
}

#[derive(Deserialize)]
struct ErrorDocument {
    error: String,
    error_description: Option<String>,
}

impl TokenError {
    /// Whether the server does not know the client, or no longer (`invalid_client`, RFC 6749 section 5.2).
    pub fn is_invalid_client(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code == "invalid_client")
    }

    /// Whether it is no trouble of the network or of the request, but an answer that must not be used.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Audience { .. } => true,
            Self::Http(error) => error.is_refusal(),
            _ => false,
        }
    }

    /// Whether no secret has reached the place that the error is about.
    pub fn spared_secrets(&self) -> bool {
        matches!(self, Self::Http(error) if error.spared_secrets())
    }

    /// The same without the server's words, where they repeat one of `secrets`.
    pub fn without_echo(self, secrets: &[Secret]) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(error.without_echo(secrets)),
            Self::InvalidGrant(error) => Self::InvalidGrant(error.without_echo(secrets)),
            other => other,
        }
    }

    /// What a token or revocation endpoint's answer says has gone wrong; none for a success. An OAuth error counts
    /// whatever status it comes with: some servers send `invalid_grant` with 200 or 401 instead of 400.
    pub fn judge(status: StatusCode, body: &[u8]) -> Option<Self> {
        let unavailable = Self::Unavailable { status: status.as_u16() };
        // A busy or broken server says nothing final, whatever its body.
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Some(unavailable);
        }
        let Some(error) = OAuthError::parse(body) else {
            return (!status.is_success()).then_some(unavailable);
        };
        match error.code.as_str() {
            "invalid_grant" => Some(Self::InvalidGrant(error)),
            "temporarily_unavailable" | "server_error" => Some(unavailable),
            _ => Some(Self::Refused(error)),
        }
    }
}

/// The most characters of a server's own text that are shown.
const SHOWN: usize = 200;

/// Text from a server that a person may see: nothing that moves a terminal's cursor, turns the reading direction or
/// hides, and at most 200 characters.
pub fn cleaned(text: &str) -> String {
    let hidden = |character: char| {
        matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(|character| !character.is_control() && !hidden(*character)).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// t096: what a server repeats is not shown, be it cut, and the rest of what it says is.
    #[test]
    fn t096_what_is_sent_is_not_shown() {
        let secrets = [Secret::new("CANARY-0123456789-abcdef".to_owned()), Secret::new("short".to_owned())];
        let long = format!("{} CANARY-0123456789-abcdef", "x".repeat(180));
        for (description, kept) in [
            ("expired", true),
            ("a short token", true),
            ("the token CANARY-0123456789-abcdef is spent", false),
            (&long, false),
        ] {
            let error = OAuthError::new("invalid_grant", Some(description)).without_echo(&secrets);
            assert_eq!((error.code.as_str(), error.description.is_some()), ("invalid_grant", kept), "{description}");
        }
        let error = OAuthError::new("CANARY-0123456789-abcdef", None).without_echo(&secrets);
        assert!(!error.to_string().contains("CANARY"), "{error}");
    }

    /// t060: only `invalid_grant` ends a sign-in, whatever it is sent with; a server in trouble says nothing final.
    #[test]
    fn t060_what_an_answer_means() {
        let judge = |status: u16, body: &str| {
            TokenError::judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map(|error| match error {
                TokenError::InvalidGrant(_) => "ended",
                TokenError::Refused(_) => "refused",
                TokenError::Unavailable { .. } => "unavailable",
                _ => "else",
            })
        };
        let error = |code: &str| format!(r#"{{"error":"{code}","error_description":"x"}}"#);
        for (status, body, meaning) in [
            (200, r#"{"access_token":"a"}"#.to_owned(), None),
            (201, r#"{"access_token":"a"}"#.to_owned(), None),
            (200, "<html>".to_owned(), None),
            (400, error("invalid_grant"), Some("ended")),
            (401, error("invalid_grant"), Some("ended")),
            (200, error("invalid_grant"), Some("ended")),
            (500, error("invalid_grant"), Some("unavailable")),
            (429, error("invalid_grant"), Some("unavailable")),
            (400, error("invalid_client"), Some("refused")),
            (401, error("invalid_client"), Some("refused")),
            (400, error("invalid_target"), Some("refused")),
            (400, error("invalid_scope"), Some("refused")),
            (403, error("unauthorized_client"), Some("refused")),
            (400, error("INVALID_GRANT"), Some("refused")),
            (400, error("temporarily_unavailable"), Some("unavailable")),
            (400, error("server_error"), Some("unavailable")),
            (400, String::new(), Some("unavailable")),
            (400, r#"{"error":{"code":"invalid_grant"}}"#.to_owned(), Some("unavailable")),
            (400, r#"{"error":"invalid_client","error":"invalid_grant"}"#.to_owned(), Some("unavailable")),
            (404, "invalid_grant".to_owned(), Some("unavailable")),
            (302, String::new(), Some("unavailable")),
            (429, String::new(), Some("unavailable")),
            (502, "<html>bad gateway invalid_grant</html>".to_owned(), Some("unavailable")),
            (503, error("temporarily_unavailable"), Some("unavailable")),
        ] {
            assert_eq!(judge(status, &body), meaning, "{status} {body}");
        }
    }

    /// t096, t113: what a server writes cannot move a cursor, turn a line round or fill a screen.
    #[test]
    fn t113_server_text_is_cleaned() {
        let text = format!("a\u{1b}]52;c;x\u{7}b\r\n\u{9b}31m\u{202e}c\u{200b}\u{feff}{}", "d".repeat(500));
        let error = OAuthError::new(&text, Some("\u{1b}"));
        assert_eq!(error.code.len(), 200);
        assert!(error.code.starts_with("a]52;c;xb31mcddd"), "{}", error.code);
        assert_eq!(error.description, None);
    }

    proptest! {
        #[test]
        fn t113_no_control_character_survives(text in any::<String>()) {
            let cleaned = cleaned(&text);
            prop_assert!(!cleaned.chars().any(char::is_control) && cleaned.chars().count() <= SHOWN);
        }
    }
}
