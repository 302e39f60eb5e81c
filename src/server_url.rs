//! URLs that a secret may travel to.
//!
//! Everything that finmcp connects to with a credential, and everything that it opens in a browser, is a [`ServerUrl`]:
//! https, or plain http to this very machine, with no credentials and no fragment in it. A value of this type is safe
//! to call; nothing else in the crate checks schemes again.

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Host, Url};

/// An absolute https URL, or an http URL of the loopback interface (MCP authorization, "Communication Security"; RFC
/// 8252 section 7.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl(Url);

/// Why a text is not a [`ServerUrl`]. Never shows the text itself: a server may have written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// Not an absolute URL, or one with control characters, spaces, quotes or backslashes in it.
    #[error("not a valid absolute URL")]
    Malformed,
    /// A scheme other than https, or http to another machine.
    #[error("only https is accepted (plain http on this machine's loopback interface alone)")]
    Scheme,
    /// `user:password@` before the host: a way to make a URL look like another host's.
    #[error("credentials are not allowed in a URL")]
    Credentials,
    /// A `#fragment`, which neither a resource nor an endpoint may have (RFC 8707 section 2, RFC 6749 section 3.1).
    #[error("a fragment is not allowed here")]
    Fragment,
}

impl ServerUrl {
    /// The URL, normalised by its parser.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The URL as text, normalised by its parser.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The canonical resource identifier (RFC 8707 section 2; MCP authorization, "Canonical Server URI"): lower-case
    /// scheme and host, and no slash where there is no path.
    pub fn resource(&self) -> String {
        let text = self.0.as_str();
        let bare = self.0.path() == "/" && self.0.query().is_none();
        text.strip_suffix('/').filter(|_| bare).unwrap_or(text).to_owned()
    }

    /// The host for people and messages: a name in its ASCII (punycode) form, and the port where it is not the scheme's
    /// own.
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether both have the same scheme, host and port (RFC 6454): a credential never leaves its own.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Whether this is the loopback interface, where plain http is accepted.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// `reference` resolved against this URL (RFC 3986 section 5), held to the same rules.
    ///
    /// # Errors
    /// Whatever the outcome breaks.
    pub fn join(&self, reference: &str) -> Result<Self, ServerUrlError> {
        reject_odd_characters(reference)?;
        self.0.join(reference).map_err(|_| ServerUrlError::Malformed)?.try_into()
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        // The parser would drop tabs and newlines and turn backslashes into slashes: what was checked would not be what
        // was written.
        reject_odd_characters(text)?;
        Url::parse(text).map_err(|_| ServerUrlError::Malformed)?.try_into()
    }
}

impl TryFrom<Url> for ServerUrl {
    type Error = ServerUrlError;

    fn try_from(url: Url) -> Result<Self, ServerUrlError> {
        if url.cannot_be_a_base() || url.host().is_none() {
            return Err(match url.scheme() {
                "http" | "https" => ServerUrlError::Malformed,
                _ => ServerUrlError::Scheme,
            });
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(ServerUrlError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(ServerUrlError::Fragment);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

fn reject_odd_characters(text: &str) -> Result<(), ServerUrlError> {
    let odd =
        |character: char| character.is_control() || character.is_whitespace() || "\"'<>\\^`{|}".contains(character);
    if text.contains(odd) { Err(ServerUrlError::Malformed) } else { Ok(()) }
}

/// The literal name `localhost` and the loopback addresses; no other name, since a resolver decides what that means.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerUrl, ServerUrlError> {
        text.parse()
    }

    #[test]
    fn https_anywhere_and_http_on_loopback_are_accepted() {
        for text in [
            "https://mcp.tesorio.com/v1/mcp",
            "http://127.0.0.1:8080/mcp",
            "http://localhost/",
            "http://[::1]:9/x?y=z",
            "https://localhost:1/",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    /// t003, t004, t039, t133: schemes, downgrades, credentials, fragments; t001, t002: nothing that a shell or an
    /// option parser would read.
    #[test]
    fn t003_everything_else_is_refused() {
        for (text, why) in [
            ("http://example.com/mcp", ServerUrlError::Scheme),
            ("http://localhost.example.com/", ServerUrlError::Scheme),
            ("http://169.254.169.254/latest", ServerUrlError::Scheme),
            ("javascript:alert(1)", ServerUrlError::Scheme),
            ("file:///etc/passwd", ServerUrlError::Scheme),
            ("data:text/html,x", ServerUrlError::Scheme),
            ("ms-msdt:/id", ServerUrlError::Scheme),
            ("https://bank.com@evil.example/", ServerUrlError::Credentials),
            ("https://u:p@evil.example/", ServerUrlError::Credentials),
            ("https://example.com/#x", ServerUrlError::Fragment),
            ("--upload-pack=x", ServerUrlError::Malformed),
            ("\\\\host\\share", ServerUrlError::Malformed),
            ("https://example.com/`id`", ServerUrlError::Malformed),
            ("https://example.com/a b", ServerUrlError::Malformed),
            ("https://example.com/\n", ServerUrlError::Malformed),
            ("https://example.com/\"&calc", ServerUrlError::Malformed),
            ("/relative", ServerUrlError::Malformed),
            ("", ServerUrlError::Malformed),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_resource_has_no_slash_of_its_own() {
        for (text, resource) in [
            ("https://Example.com", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com:443/mcp", "https://example.com/mcp"),
            ("https://example.com/mcp/", "https://example.com/mcp/"),
            ("https://example.com/?a=b", "https://example.com/?a=b"),
        ] {
            assert_eq!(parse(text).map(|url| url.resource()), Ok(resource.to_owned()));
        }
    }

    /// t038: a name in another script is shown in the form that cannot deceive.
    #[test]
    fn t038_hosts_are_shown_in_punycode() {
        assert_eq!(
            parse("https://bücher.example:8443/").map(|url| url.host()),
            Ok("xn--bcher-kva.example:8443".to_owned())
        );
    }
}
