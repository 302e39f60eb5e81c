//! The request header that carries an API key.

use std::{fmt, str::FromStr};

use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::{mcp::extra_headers::is_reserved, secret::Secret};

/// A header name and an optional prefix for the key: `Authorization: Bearer` (RFC 6750 section 2.1) unless the vendor
/// requires another, for example `X-Api-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader {
    name: HeaderName,
    /// The authentication scheme (RFC 9110 section 11.1), or another prefix; empty where the key stands alone.
    prefix: String,
}

/// Why a header cannot carry a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyHeaderError {
    /// RFC 9110 section 5.1.
    #[error("expected NAME or \"NAME: PREFIX\", for example X-Api-Key or \"Authorization: Token\"")]
    Form,
    /// finmcp, HTTP or MCP sets it.
    #[error("{0} cannot carry a key: finmcp sets it")]
    Reserved(HeaderName),
}

impl KeyHeader {
    /// The header's name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The header's value with `key`; never shown in logs. None if the key cannot be part of a header.
    pub fn value(&self, key: &Secret) -> Option<HeaderValue> {
        let text = match self.prefix.as_str() {
            "" => Zeroizing::new(key.expose().to_owned()),
            prefix => Zeroizing::new(format!("{prefix} {}", key.expose())),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Default for KeyHeader {
    fn default() -> Self {
        Self { name: header::AUTHORIZATION, prefix: "Bearer".to_owned() }
    }
}

impl FromStr for KeyHeader {
    type Err = KeyHeaderError;

    fn from_str(text: &str) -> Result<Self, KeyHeaderError> {
        let (name, prefix) = text.split_once(':').unwrap_or((text, ""));
        let name: HeaderName = name.trim().parse().map_err(|_| KeyHeaderError::Form)?;
        let prefix = prefix.trim().to_owned();
        if !prefix.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(KeyHeaderError::Form);
        }
        match name != header::AUTHORIZATION && is_reserved(&name) {
            true => Err(KeyHeaderError::Reserved(name)),
            false => Ok(Self { name, prefix }),
        }
    }
}

impl fmt::Display for KeyHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(formatter, "{}", self.name),
            prefix => write!(formatter, "{}: {prefix}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(header: &str) -> (String, String) {
        let header: KeyHeader = header.parse().unwrap();
        let value = header.value(&Secret::new("k-1".to_owned())).unwrap();
        assert!(value.is_sensitive());
        (header.name().to_string(), value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_key_goes_where_the_vendor_reads_it() {
        assert_eq!(sent(&KeyHeader::default().to_string()), ("authorization".into(), "Bearer k-1".into()));
        assert_eq!(sent("X-Api-Key"), ("x-api-key".into(), "k-1".into()));
        assert_eq!(sent("authorization: Token"), ("authorization".into(), "Token k-1".into()));
        assert_eq!(sent("Authorization:"), ("authorization".into(), "k-1".into()));
    }

    #[test]
    fn a_header_that_finmcp_sets_carries_no_key() {
        for name in ["Host", "Cookie", "Mcp-Session-Id", "Content-Length", "Transfer-Encoding"] {
            assert!(matches!(name.parse::<KeyHeader>(), Err(KeyHeaderError::Reserved(_))), "{name}");
        }
        for name in ["", "a b", "x: \u{7}", "x\ny"] {
            assert!(matches!(name.parse::<KeyHeader>(), Err(KeyHeaderError::Form)), "{name:?}");
        }
    }

    #[test]
    fn a_key_with_a_line_break_is_refused() {
        assert_eq!(KeyHeader::default().value(&Secret::new("a\r\nHost: evil".to_owned())), None);
    }
}
