//! Headers that a person adds to every request to an MCP server: an account, a tenant, an API version. Never a secret.

use std::{collections::BTreeMap, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers that HTTP, MCP and OAuth set in these requests (RFC 9110 sections 5 to 12, RFC 6265, RFC 9449).
const RESERVED: [&str; 22] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "dpop",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a header's name contains when its value is a secret.
const SECRET: [&str; 7] = ["api-key", "apikey", "api_key", "token", "secret", "passw", "credential"];

/// Headers for every request to one MCP server, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraHeaders(HeaderMap);

/// Why a header cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHeaderError {
    /// It is not `NAME=VALUE`.
    #[error("expected NAME=VALUE")]
    Form,
    /// RFC 9110 section 5.1.
    #[error("invalid header name {0:?}")]
    Name(String),
    /// RFC 9110 section 5.5.
    #[error("header {:?} has an invalid value", .0.as_str())]
    Value(HeaderName),
    /// finmcp, HTTP or MCP sets it.
    #[error("remove header {:?} (finmcp sets it)", .0.as_str())]
    Reserved(HeaderName),
    /// Other users can see command lines, and config.toml holds no secrets.
    #[error(
        "header {:?} looks like a secret: pass it with --api-key-file and --api-key-header, which keep it in the keychain",
        .0.as_str()
    )]
    Secret(HeaderName),
}

/// Whether HTTP, MCP or OAuth gives this header a meaning in a request to an MCP server.
pub fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().starts_with("mcp-") || RESERVED.contains(&name.as_str())
}

impl ExtraHeaders {
    /// Adds `name` with `value`, in place of an earlier value.
    ///
    /// # Errors
    /// Any [`ExtraHeaderError`] but [`ExtraHeaderError::Form`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ExtraHeaderError> {
        let parsed: HeaderName = name.trim().parse().map_err(|_| ExtraHeaderError::Name(name.to_owned()))?;
        if is_reserved(&parsed) {
            return Err(ExtraHeaderError::Reserved(parsed));
        }
        if SECRET.iter().any(|word| parsed.as_str().contains(word)) {
            return Err(ExtraHeaderError::Secret(parsed));
        }
        let value = HeaderValue::from_str(value).map_err(|_| ExtraHeaderError::Value(parsed.clone()))?;
        self.0.insert(parsed, value);
        Ok(())
    }

    /// These headers, plus those of `other` with other names.
    pub fn or(self, other: Self) -> Self {
        let mut all = other.0;
        for (name, value) in &self.0 {
            all.insert(name.clone(), value.clone());
        }
        Self(all)
    }

    /// As the headers of a request.
    pub fn map(&self) -> &HeaderMap {
        &self.0
    }

    /// As names and values, as `config.toml` has them.
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        self.0.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }
}

impl FromStr for ExtraHeaders {
    type Err = ExtraHeaderError;

    /// One header, as the command line has it: `NAME=VALUE`.
    fn from_str(text: &str) -> Result<Self, ExtraHeaderError> {
        let (name, value) = text.split_once('=').ok_or(ExtraHeaderError::Form)?;
        let mut headers = Self::default();
        headers.set(name, value)?;
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<ExtraHeaders>().unwrap_err().to_string()
    }

    #[test]
    fn a_tenant_and_a_version_can_be_added() {
        let first: ExtraHeaders = "Stripe-Account=acct_1=a".parse().unwrap();
        let both = first.or("x-tenant=7".parse().unwrap()).or("stripe-account=other".parse().unwrap());
        let texts = both.to_texts();
        assert_eq!(
            texts,
            [("stripe-account", "acct_1=a"), ("x-tenant", "7")].map(|(a, b)| (a.into(), b.into())).into()
        );
    }

    #[test]
    fn a_header_that_finmcp_sets_is_refused() {
        for name in ["Host", "Authorization", "COOKIE", "Mcp-Session-Id", "mcp-param-x", "Connection", "TE", "DPoP"] {
            let error = error(&format!("{name}=x"));
            assert!(error.starts_with("remove header ") && error.ends_with(" (finmcp sets it)"), "{name}: {error}");
        }
    }

    #[test]
    fn an_invalid_header_is_refused() {
        for (text, why) in [
            ("x", "expected NAME=VALUE"),
            ("=x", "invalid header name \"\""),
            ("a b=x", "invalid header name \"a b\""),
            ("x=a\r\nHost: evil", "header \"x\" has an invalid value"),
            ("x=a\u{0}", "header \"x\" has an invalid value"),
        ] {
            assert!(error(text).contains(why), "{text:?}: {}", error(text));
        }
    }

    /// Command lines and config.toml must not contain secrets.
    #[test]
    fn a_secret_in_a_header_is_sent_to_the_keychain() {
        for name in ["X-Api-Key", "X-Auth-Token", "client_secret", "X-Password"] {
            assert!(error(&format!("{name}=CANARY")).contains("--api-key-file"), "{name}");
            assert!(!error(&format!("{name}=CANARY")).contains("CANARY"), "{name}");
        }
    }
}
