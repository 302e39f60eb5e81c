//! OAuth errors, by what the caller does next.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    http::HttpError,
    oauth::{confirmation::ForeignBinding, json, private_key::PrivateKeyError},
    printable::quoted,
    secret::Secret,
    server_url::ServerUrlError,
};

/// A failed token or revocation request.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `invalid_grant` (RFC 6749 section 5.2): the code or refresh token is used, expired or revoked.
    #[error("the server no longer accepts this sign-in")]
    InvalidGrant(OAuthError),
    /// Another OAuth error: the request or the registration is wrong. In a refresh this also ends the sign-in.
    #[error("the authorization server refused: {0}")]
    Refused(OAuthError),
    /// A refusal without an OAuth error: other JSON, plain text, a web page, or an empty body.
    #[error("the authorization server refused with HTTP {status}{}", remark(.words.as_deref()))]
    Unexplained {
        status: u16,
        /// The server's text, cleaned.
        words: Option<String>,
    },
    /// The server is busy or failing (408, 425, 429, 5xx). The credential is kept, and a later attempt may succeed.
    #[error("the authorization server is unavailable (HTTP {status})")]
    Unavailable { status: u16 },
    /// A 2xx response that must not be used: no access token, another token type, or a token that is not a valid header
    /// value.
    #[error("the token response cannot be used: {0}")]
    Unusable(&'static str),
    /// A token for another audience, which the user's settings refuse (RFC 8707 section 2).
    #[error("the token is for {found}, not for {expected}")]
    Audience {
        expected: String,
        /// The token's audience, cleaned.
        found: String,
    },
    /// A token that is bound to a key of another client (RFC 8705 section 3, RFC 9449 section 6).
    #[error("the token is bound to {0}")]
    Bound(ForeignBinding),
    /// The server wants a nonce in the DPoP proof and has not looked at the rest of the request (RFC 9449 section 8).
    #[error("the authorization server keeps rejecting the DPoP proof with a new nonce")]
    NonceWanted,
    /// The client's private key or the DPoP key cannot be used.
    #[error("the private key cannot be used: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// A failed pushed authorization request (RFC 9126 section 2.3).
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The server publishes the endpoint but does not have it.
    #[error("the pushed authorization request (PAR) endpoint returned HTTP {status}")]
    Absent { status: u16 },
    /// A success without a usable `request_uri`.
    #[error("the response to the pushed authorization request (PAR) cannot be used: {0}")]
    Unusable(&'static str),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Any other failure, as at the token endpoint.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A failed dynamic registration (RFC 7591 section 3.2).
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The authorization server refused this client: `invalid_redirect_uri`, `invalid_client_metadata` and similar
    /// errors.
    #[error("the authorization server refused to register this client: {0}")]
    Refused(OAuthError),
    /// The server is busy or failing, or requires an initial access token (RFC 7591 section 3).
    #[error(
        "the registration endpoint {} (HTTP {status})",
        if may_recover(*.status) { "is unavailable" } else { "refused the request" }
    )]
    Unavailable { status: u16 },
    /// The server asks the client to wait (429 or 503 with `Retry-After`).
    #[error("the registration endpoint is busy and asks to wait {} s", .after.as_secs())]
    Busy { after: Duration },
    #[error("the registration cannot be used: {0}")]
    Unusable(&'static str),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Why a server's metadata or response is refused. finmcp then opens no browser and sends no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Not a JSON object of the expected kind, or one with a duplicate member.
    #[error("{document} cannot be used: {reason}")]
    Document { document: &'static str, reason: &'static str },
    /// A URL that is malformed or out of reach.
    #[error("the server's `{member}` cannot be used: {reason}")]
    Url {
        /// The member or parameter that held it.
        member: &'static str,
        reason: ServerUrlError,
    },
    /// The metadata belongs to another resource (RFC 9728 section 3.3).
    #[error("the server's metadata is for the resource {found}, not for {expected}")]
    Resource {
        /// The URL that finmcp connects to.
        expected: String,
        /// The `resource` in the metadata, cleaned.
        found: String,
    },
    /// The metadata belongs to another authorization server (RFC 8414 section 3.3).
    #[error("the authorization server's metadata names {found} as its issuer, not {expected}")]
    Issuer {
        /// The issuer identifier that the metadata was looked up for, cleaned.
        expected: String,
        /// The `issuer` in the metadata, cleaned.
        found: String,
    },
    /// `code_challenge_methods_supported` lacks `S256` (MCP authorization, "Authorization Code Protection").
    #[error("the authorization server does not list PKCE with S256 as supported")]
    Pkce,
    /// `code_challenge_methods_supported` is missing, which means no support for PKCE (same section).
    #[error("the authorization server does not say whether it supports PKCE with S256")]
    PkceNotListed,
    /// The user's client is registered with another authorization server (MCP authorization, "Authorization Server
    /// Binding").
    #[error("the server now names the authorization server {found}, but your client is registered with {expected}")]
    AnotherServer {
        /// The issuer that the client is registered with, cleaned.
        expected: String,
        /// The issuer that the server names now, cleaned.
        found: String,
    },
    /// The authorization response has another issuer, or none although the server promises one (RFC 9207 section 2.4).
    #[error("the authorization response does not come from the expected authorization server")]
    MixUp,
}

/// An `error` and its `error_description`, cleaned and shortened for display (RFC 6749 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", remark(.description.as_deref()))]
pub struct OAuthError {
    pub code: String,
    pub description: Option<String>,
}

impl OAuthError {
    /// Cleans both texts for display.
    pub fn new(code: &str, description: Option<&str>) -> Self {
        Self { code: quoted(code), description: description.map(quoted).filter(|text| !text.is_empty()) }
    }

    /// Removes texts that repeat one of `secrets`, because some servers echo the request.
    pub fn without_echo(self, secrets: &[Secret]) -> Self {
        let is_echo = |text: &str| secrets.iter().any(|secret| secret.is_repeated_in(text));
        Self {
            code: if is_echo(&self.code) { "an error that repeats a secret".to_owned() } else { self.code },
            description: self.description.filter(|text| !is_echo(text)),
        }
    }

    /// The error in a response body, in any known format; `None` if it has no error code.
    pub fn parse(body: &[u8]) -> Option<Self> {
        Complaint::parse(body)?.into_error()
    }
}

/// ` ("text")`, or nothing.
fn remark(text: Option<&str>) -> String {
    text.map(|text| format!(" (\"{text}\")")).unwrap_or_default()
}

/// The error in a response body. RFC 6749 section 5.2 defines one format; gateways and some authorization servers use
/// others.
#[derive(Debug, Default)]
struct Complaint {
    code: Option<String>,
    description: Option<String>,
    /// Whether the document has a non-empty `error` member, which a success does not.
    has_error: bool,
}

/// The members that may describe an error. A duplicate member makes the document invalid.
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
    /// Parses a JSON document; `None` for any other body.
    fn parse(body: &[u8]) -> Option<Self> {
        let document: Value = json::read(body).ok()?;
        match document {
            // Parse again, because a `Value` accepts duplicate members.
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

/// `text`, trimmed and cleaned; `None` if it is empty.
fn said(text: &str) -> Option<String> {
    Some(quoted(text.trim())).filter(|text| !text.is_empty())
}

/// The first line of a plain-text body; `None` for a web page or JSON.
fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with(['<', '{', '[']) { None } else { said(text.lines().next()?) }
}

impl TokenError {
    /// Whether the server does not (or no longer) know the client (`invalid_client`, RFC 6749 section 5.2).
    pub fn is_invalid_client(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code == "invalid_client")
    }

    /// Whether the server refuses the client itself: `invalid_client`, or `unauthorized_client`, which some servers
    /// send instead.
    pub fn refuses_client(&self) -> bool {
        matches!(self, Self::Refused(error) if matches!(error.code.as_str(), "invalid_client" | "unauthorized_client"))
    }

    /// Whether the server's response is to blame, not the network or the request: finmcp refuses to use it.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Audience { .. } | Self::Bound(_) => true,
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

    /// Removes the server's text except for the error code.
    pub fn without_words(self) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(OAuthError { description: None, ..error }),
            Self::InvalidGrant(error) => Self::InvalidGrant(OAuthError { description: None, ..error }),
            Self::Unexplained { status, .. } => Self::Unexplained { status, words: None },
            other => other,
        }
    }

    /// Whether the server's refusal is final: any 4xx except 408, 425 and 429, or an `error` in a 2xx response, as
    /// GitHub sends. After a refresh the user then has to sign in again, whatever the code, because servers use many
    /// codes for an invalid refresh token. After any other error, a later attempt may succeed.
    pub fn is_definite_refusal(&self) -> bool {
        matches!(self, Self::InvalidGrant(_) | Self::Refused(_) | Self::Unexplained { .. })
    }

    /// The error in a response of a token or revocation endpoint; `None` for a success. An OAuth error counts with any
    /// final status: some servers send `invalid_grant` with 200 or 401 instead of 400.
    pub fn judge(status: StatusCode, body: &[u8]) -> Option<Self> {
        let unavailable = Self::Unavailable { status: status.as_u16() };
        // An error of a busy or failing server is not final, whatever its body.
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

/// The 4xx statuses that only ask the client to retry later (RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585
/// section 4).
const LATER: [StatusCode; 3] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

/// Whether a server that responds with this status may recover (RFC 9110 sections 15.5 and 15.6).
pub fn may_recover(status: u16) -> bool {
    status >= 500 || LATER.iter().any(|later| later.as_u16() == status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::printable::tests::{hostile_text, is_printable};

    /// t096: server text that repeats a secret, even a shortened one, is not shown; other text is.
    #[test]
    fn t096_echoed_secrets_are_not_shown() {
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

    /// t060, b1: a definite refusal is final with any code; an error of a failing server is not.
    #[test]
    fn t060_responses_are_classified() {
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

    /// b10: in every format, the server's text is shown cleaned and an OAuth error code counts.
    #[test]
    fn b10_errors_in_every_format() {
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

    /// b1: any definite refusal of a refresh ends the sign-in; an error of a failing server does not.
    #[test]
    fn b1_refusals_that_end_a_sign_in() {
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

    /// t096, t113: server text cannot move the cursor, reverse a line or fill the screen.
    #[test]
    fn t113_server_text_is_cleaned() {
        let text = format!("a\u{1b}]52;c;x\u{7}b\r\n\u{9b}31m\u{202e}c\u{200b}\u{feff}{}", "d".repeat(500));
        let error = OAuthError::new(&text, Some("\u{1b}"));
        assert_eq!(error.code.chars().count(), 201);
        assert!(error.code.starts_with("a]52;c;xb31mcddd"), "{}", error.code);
        assert_eq!(error.description, None);
    }

    proptest! {
        /// For any error text, anywhere in the response.
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
