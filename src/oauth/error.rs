//! How OAuth can fail, sorted by what the caller does next.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    http::HttpError,
    oauth::{json, private_key::PrivateKeyError},
    printable::quoted,
    secret::Secret,
    server_url::ServerUrlError,
};

/// A token or revocation request that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `invalid_grant` (RFC 6749 section 5.2): the code or refresh token is spent, expired or revoked.
    #[error("the server no longer accepts this sign-in")]
    InvalidGrant(OAuthError),
    /// Another OAuth error: the request or the registration is wrong. At a refresh this ends the sign-in, too.
    #[error("the authorization server refused: {0}")]
    Refused(OAuthError),
    /// A refusal without an OAuth error: another JSON, plain text, a page, nothing.
    #[error("the authorization server refused with HTTP {status}{}", remark(.words.as_deref()))]
    Unexplained {
        /// The HTTP status.
        status: u16,
        /// The server's words, cleaned, where it has any.
        words: Option<String>,
    },
    /// The server is busy or broken (408, 425, 429, 5xx). The credential stays; later may work.
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
    /// The server asks for a pause (429 or 503 with `Retry-After`).
    #[error("the registration endpoint is busy, and asks to wait {} s", .after.as_secs())]
    Busy {
        /// How long.
        after: Duration,
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
#[error("{code}{}", remark(.description.as_deref()))]
pub struct OAuthError {
    /// The `error` code.
    pub code: String,
    /// The `error_description`.
    pub description: Option<String>,
}

impl OAuthError {
    /// Cleans what a server said.
    pub fn new(code: &str, description: Option<&str>) -> Self {
        Self { code: quoted(code), description: description.map(quoted).filter(|text| !text.is_empty()) }
    }

    /// The same without the server's words, where they repeat one of `secrets`: some servers say what they were sent.
    pub fn without_echo(self, secrets: &[Secret]) -> Self {
        let is_echo = |text: &str| secrets.iter().any(|secret| secret.is_repeated_in(text));
        Self {
            code: if is_echo(&self.code) { "an error that repeats a secret".to_owned() } else { self.code },
            description: self.description.filter(|text| !is_echo(text)),
        }
    }

    /// The error in a response's body, in whatever form it has a code; none where it has none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        Complaint::parse(body)?.into_error()
    }
}

/// ` ("text")`, or nothing.
fn remark(text: Option<&str>) -> String {
    text.map(|text| format!(" (\"{text}\")")).unwrap_or_default()
}

/// What a refusal's body says. RFC 6749 section 5.2 has one form for that; gateways, and some authorization servers, have
/// others.
#[derive(Debug, Default)]
struct Complaint {
    /// The code, where there is one.
    code: Option<String>,
    /// What it says besides.
    description: Option<String>,
    /// Whether the document has an `error` member that says something. A success has none.
    has_error: bool,
}

/// The members that an error is looked for in. One that is there twice spoils the document, as everywhere.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorDocument {
    error: Value,
    errors: Value,
    code: Value,
    #[serde(rename = "errorCode")]
    error_code: Value,
    status: Value,
    error_description: Value,
    message: Value,
    detail: Value,
    #[serde(rename = "errorSummary")]
    error_summary: Value,
    title: Value,
}

impl Complaint {
    /// Reads a JSON document; none where the body is something else.
    fn parse(body: &[u8]) -> Option<Self> {
        let document: Value = json::read(body).ok()?;
        match document {
            // Read once more: a `Value` would pass over a member that is there twice.
            Value::Object(_) => Some(Self::of_document(json::read(body).ok()?)),
            other => Some(Self::of(&other)),
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self { description: said(text), ..Self::default() },
            Value::Array(items) => items.first().map(Self::of).unwrap_or_default(),
            Value::Object(_) => ErrorDocument::deserialize(value).map(Self::of_document).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    fn of_document(document: ErrorDocument) -> Self {
        let first = |members: [&Value; 5]| members.into_iter().find_map(|member| said(member.as_str()?));
        let ErrorDocument { error, errors, code, error_code, status, .. } = &document;
        let description = || {
            let ErrorDocument { error_description, message, detail, error_summary, title, .. } = &document;
            first([error_description, message, detail, error_summary, title])
        };
        if let Some(code) = error.as_str().and_then(said) {
            return Self { code: Some(code), description: description(), has_error: true };
        }
        let has_error = error.is_object() || error.is_array();
        let inner = if has_error { Self::of(error) } else { Self::of(errors) };
        Self {
            code: inner.code.or_else(|| first([code, error_code, status, &Value::Null, &Value::Null])),
            description: inner.description.or_else(description),
            has_error,
        }
    }

    fn into_error(self) -> Option<OAuthError> {
        Some(OAuthError::new(&self.code?, self.description.as_deref()))
    }
}

/// `text`, unless it says nothing.
fn said(text: &str) -> Option<String> {
    Some(quoted(text.trim())).filter(|text| !text.is_empty())
}

/// The first line of a body that is text for people; none for a page.
fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with(['<', '{', '[']) { None } else { said(text.lines().next()?) }
}

impl TokenError {
    /// Whether the server does not know the client, or no longer (`invalid_client`, RFC 6749 section 5.2).
    pub fn is_invalid_client(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code == "invalid_client")
    }

    /// Whether the server refuses the client, before it looks at anything else: `invalid_client`, or what some say for
    /// it.
    pub fn refuses_client(&self) -> bool {
        matches!(self, Self::Refused(error) if matches!(error.code.as_str(), "invalid_client" | "unauthorized_client"))
    }

    /// Whether it is no trouble of the network or of the request, but an answer that must not be used.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Audience { .. } => true,
            Self::Http(error) => error.is_refusal(),
            _ => false,
        }
    }

    /// The same without the server's words, where they repeat one of `secrets`.
    pub fn without_echo(self, secrets: &[Secret]) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(error.without_echo(secrets)),
            Self::InvalidGrant(error) => Self::InvalidGrant(error.without_echo(secrets)),
            Self::Unexplained { status, words } => Self::Unexplained {
                status,
                words: words.filter(|words| !secrets.iter().any(|secret| secret.is_repeated_in(words))),
            },
            other => other,
        }
    }

    /// The same without the server's words, but for its code.
    pub fn without_words(self) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(OAuthError { description: None, ..error }),
            Self::InvalidGrant(error) => Self::InvalidGrant(OAuthError { description: None, ..error }),
            Self::Unexplained { status, .. } => Self::Unexplained { status, words: None },
            other => other,
        }
    }

    /// Whether the server has looked at the request and said no for good: any 4xx but 408, 425 and 429, or an `error` in a
    /// 2xx answer, as GitHub's. At a refresh a person has to sign in again then, whatever the code is: servers have many
    /// words for a dead refresh token. Everything else may work later.
    pub fn is_definite_refusal(&self) -> bool {
        matches!(self, Self::InvalidGrant(_) | Self::Refused(_) | Self::Unexplained { .. })
    }

    /// What a token or revocation endpoint's answer says has gone wrong; none for a success. An OAuth error counts
    /// whatever status it comes with: some servers send `invalid_grant` with 200 or 401 instead of 400.
    pub fn judge(status: StatusCode, body: &[u8]) -> Option<Self> {
        let unavailable = Self::Unavailable { status: status.as_u16() };
        // A busy or broken server says nothing final, whatever its body.
        let is_final = status.is_success() || (status.is_client_error() && !LATER.contains(&status));
        if !is_final {
            return Some(unavailable);
        }
        let complaint = Complaint::parse(body);
        if status.is_success() && !complaint.as_ref().is_some_and(|complaint| complaint.has_error) {
            return None;
        }
        let words = || complaint.as_ref().and_then(|complaint| complaint.description.clone());
        let unexplained = Self::Unexplained { status: status.as_u16(), words: words().or_else(|| first_line(body)) };
        let Some(error) = complaint.and_then(Complaint::into_error) else { return Some(unexplained) };
        match error.code.as_str() {
            "invalid_grant" => Some(Self::InvalidGrant(error)),
            "temporarily_unavailable" | "server_error" => Some(unavailable),
            _ => Some(Self::Refused(error)),
        }
    }
}

/// The client errors of a server that has not looked at the request (RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC
/// 6585 section 4).
const LATER: [StatusCode; 3] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::printable::tests::{hostile_text, is_printable};

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

    /// t060, b1: a definite refusal is final in whatever words; a server in trouble says nothing final.
    #[test]
    fn t060_what_an_answer_means() {
        let judge = |status: u16, body: &str| {
            TokenError::judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map(|error| match error {
                TokenError::InvalidGrant(_) => "ended",
                TokenError::Refused(_) => "refused",
                TokenError::Unexplained { .. } => "unexplained",
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
            (400, String::new(), Some("unexplained")),
            (400, r#"{"error":{"code":"invalid_grant"}}"#.to_owned(), Some("ended")),
            (400, r#"{"error":"invalid_client","error":"invalid_grant"}"#.to_owned(), Some("unexplained")),
            (404, "invalid_grant".to_owned(), Some("unexplained")),
            (408, error("invalid_grant"), Some("unavailable")),
            (425, error("invalid_grant"), Some("unavailable")),
            (200, r#"{"access_token":"a","error":null}"#.to_owned(), None),
            (200, r#"{"access_token":"a","error":"","message":"ok","code":"0"}"#.to_owned(), None),
            (302, String::new(), Some("unavailable")),
            (429, String::new(), Some("unavailable")),
            (502, "<html>bad gateway invalid_grant</html>".to_owned(), Some("unavailable")),
            (503, error("temporarily_unavailable"), Some("unavailable")),
        ] {
            assert_eq!(judge(status, &body), meaning, "{status} {body}");
        }
    }

    /// b10: whatever form an error has, a person sees the server's words, cleaned, and an OAuth code counts in any of
    /// them.
    #[test]
    fn b10_errors_in_every_form() {
        let refused = "the authorization server refused";
        for (status, body, shown) in [
            (
                400,
                r#"{"error":{"code":400,"message":"Bad \u001b[2Jtoken","status":"INVALID_ARGUMENT"}}"#,
                r#": INVALID_ARGUMENT ("Bad [2Jtoken")"#,
            ),
            (400, r#"[{"error":"invalid_request","error_description":"no"}]"#, r#": invalid_request ("no")"#),
            (400, r#"{"error":[{"code":"E7","message":"m"}]}"#, r#": E7 ("m")"#),
            (403, r#"{"errors":[{"code":"denied","detail":"not you"},{"code":"x"}]}"#, r#": denied ("not you")"#),
            (400, r#"{"errors":["first","second"]}"#, r#" with HTTP 400 ("first")"#),
            (401, r#"{"message":"Unauthorized"}"#, r#" with HTTP 401 ("Unauthorized")"#),
            (400, r#"{"errorCode":"E0000021","errorSummary":"Bad media"}"#, r#": E0000021 ("Bad media")"#),
            (400, r#"{"type":"about:blank","title":"Bad","status":400,"detail":"why"}"#, r#" with HTTP 400 ("why")"#),
            (400, r#"{"error":{"type":"OAuthException","message":"m"}}"#, r#" with HTTP 400 ("m")"#),
            (400, r#""just text""#, r#" with HTTP 400 ("just text")"#),
            (400, "Refresh\u{202e} token is gone\nat line 7", r#" with HTTP 400 ("Refresh token is gone")"#),
            (400, "<html><h1>No</h1>", " with HTTP 400"),
            (400, "{\"error\":", " with HTTP 400"),
            (404, "", " with HTTP 404"),
            (400, "[]", " with HTTP 400"),
            (400, r#"{"error":true}"#, " with HTTP 400"),
            (200, r#"{"error":"bad_refresh_token"}"#, ": bad_refresh_token"),
            (200, r#"{"error":{"message":"gone"}}"#, r#" with HTTP 200 ("gone")"#),
        ] {
            let error = TokenError::judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap();
            assert_eq!(error.to_string(), format!("{refused}{shown}"), "{body}");
        }
        let secrets = [Secret::new("CANARY-0123456789-abcdef".to_owned())];
        for body in [
            "no CANARY-0123456789-abcdef",
            r#"{"message":"no CANARY-0123456789-abcdef"}"#,
            r#"{"error":{"code":"CANARY-0123456789-abcdef","message":"CANARY-0123456789-abcdef"}}"#,
        ] {
            let error = TokenError::judge(StatusCode::BAD_REQUEST, body.as_bytes()).unwrap().without_echo(&secrets);
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
        }
    }

    /// b1: a definite refusal of a refresh has many words; a server in trouble has not refused.
    #[test]
    fn b1_what_ends_a_sign_in_at_a_refresh() {
        let refuses = |status: u16, body: &str| {
            TokenError::judge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
                .is_some_and(|error| error.is_definite_refusal())
        };
        for (status, body) in [
            (400, r#"{"error":"invalid_grant"}"#),
            (200, r#"{"error":"bad_refresh_token"}"#),
            (403, r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#),
            (400, r#"{"error":"invalid_request"}"#),
            (401, r#"{"error":"invalid_client"}"#),
            (400, r#"{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT"}}"#),
            (400, "gone"),
            (401, ""),
            (404, "<html>"),
        ] {
            assert!(refuses(status, body), "{status} {body}");
        }
        for (status, body) in [
            (429, r#"{"error":"invalid_grant"}"#),
            (408, r#"{"error":"invalid_grant"}"#),
            (425, ""),
            (500, r#"{"error":"invalid_grant"}"#),
            (503, "<html>maintenance"),
            (200, "<html>maintenance"),
            (200, r#"{"access_token":"t","error":null}"#),
            (400, r#"{"error":"temporarily_unavailable"}"#),
        ] {
            assert!(!refuses(status, body), "{status} {body}");
        }
        for other in [TokenError::NonceWanted, TokenError::Unusable("x"), TokenError::Unavailable { status: 503 }] {
            assert!(!other.is_definite_refusal(), "{other:?}");
        }
    }

    /// t096, t113: what a server writes cannot move a cursor, turn a line round or fill a screen.
    #[test]
    fn t113_server_text_is_cleaned() {
        let text = format!("a\u{1b}]52;c;x\u{7}b\r\n\u{9b}31m\u{202e}c\u{200b}\u{feff}{}", "d".repeat(500));
        let error = OAuthError::new(&text, Some("\u{1b}"));
        assert_eq!(error.code.chars().count(), 201);
        assert!(error.code.starts_with("a]52;c;xb31mcddd"), "{}", error.code);
        assert_eq!(error.description, None);
    }

    proptest! {
        /// Whatever a server's error is, and wherever in the answer it says so.
        #[test]
        fn t113_no_hostile_character_survives_in_an_error(text in hostile_text()) {
            let error = OAuthError::new(&text, Some(&text));
            prop_assert!(is_printable(&error.code) && is_printable(&error.to_string()));
            let as_json = |member: &str| serde_json::json!({"error": "invalid_request", member: text}).to_string();
            for body in [text.clone(), as_json("error_description"), as_json("message"), as_json("error")] {
                for status in [200, 400, 401, 403, 500] {
                    let status = StatusCode::from_u16(status).unwrap();
                    let said = TokenError::judge(status, body.as_bytes()).map(|error| error.to_string());
                    prop_assert!(is_printable(&said.unwrap_or_default()));
                }
            }
        }
    }
}
