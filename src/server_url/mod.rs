//! URLs that finmcp may send a secret to.
//!
//! Every URL that finmcp sends a credential to or opens in a browser is a [`ServerUrl`]: https, or plain http on this
//! machine, without credentials and fragment. A value of this type is safe to use; no other code checks schemes.
//!
//! It also has a [`Reach`], the zones of the network that it may point to, which depends on its source. A URL from the
//! user may point anywhere that a server can be. A URL from a server may point to that server's own origin, or to the
//! public internet, but not to this machine or its private networks (RFC 9728 section 7.7; MCP security best practices,
//! "Server-Side Request Forgery"). An IP address is checked when the URL is parsed; a host name is checked by the
//! addresses that it resolves to, in `http`.

pub mod reach;

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::IpAddr,
    str::FromStr,
};

use url::{Host, Url};

use crate::server_url::reach::{Reach, Zone};

/// An absolute https URL, or an http URL on the loopback interface (MCP authorization, "Communication Security"; RFC
/// 8252 section 7.3). Parsing creates a URL from the user. Two URLs with the same text are equal, whatever their reach.
#[derive(Clone)]
pub struct ServerUrl {
    url: Url,
    reach: Reach,
    /// The reach of URLs at other origins that this server names.
    grant: Reach,
}

/// Why a text is not a [`ServerUrl`]. Never contains the text, which may come from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// Not an absolute URL, or it contains control characters, spaces, quotes or backslashes.
    #[error("not a valid absolute URL")]
    Malformed,
    /// Another scheme, or http to another machine.
    #[error("only https is accepted (plain http only on this machine's loopback interface)")]
    Scheme,
    /// `user:password@` before the host, which can make a URL look like another host's.
    #[error("a URL must not contain a user name or password")]
    Credentials,
    /// A `#fragment`, which neither a resource nor an endpoint may have (RFC 8707 section 2, RFC 6749 section 3.1).
    #[error("a URL must not have a fragment (`#…`) here")]
    Fragment,
    /// Too long for a browser's command line and for many servers.
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// The host's address is in a zone outside the reach.
    #[error("{0}")]
    OutOfReach(Zone),
}

/// The longest URL, in bytes.
const LONGEST: usize = 8 << 10;

impl ServerUrl {
    /// The URL, normalised by its parser.
    pub fn as_url(&self) -> &Url {
        &self.url
    }

    /// The URL as text, normalised by its parser.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The canonical resource identifier (RFC 8707 section 2; MCP authorization, "Canonical Server URI"): lower-case
    /// scheme and host, and no trailing slash without a path.
    pub fn resource(&self) -> String {
        let text = self.url.as_str();
        let bare = self.url.path() == "/" && self.url.query().is_none();
        text.strip_suffix('/').filter(|_| bare).unwrap_or(text).to_owned()
    }

    /// The host for display, in its ASCII (punycode) form, with the port unless it is the default.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether both have the same scheme, host and port (RFC 6454). A credential never leaves its origin.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin()
    }

    /// Whether this is the loopback interface, where plain http is accepted.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Resolves `reference` against this URL (RFC 3986 section 5) and validates the result like a URL from this server.
    ///
    /// # Errors
    /// The rule that the result breaks.
    pub fn join(&self, reference: &str) -> Result<Self, ServerUrlError> {
        reject_odd_characters(reference)?;
        self.url.join(reference).map_err(|_| ServerUrlError::Malformed)?.try_into().and_then(|url| self.name(url))
    }

    /// Parses a URL from this server or one of its documents. At this server's origin it has the same reach. At other
    /// origins it may be public, on this machine if this server is too, or in a private network if
    /// [`Self::granting_private_network`] allows that.
    ///
    /// # Errors
    /// The rule that the text breaks; [`ServerUrlError::OutOfReach`].
    pub fn naming(&self, text: &str) -> Result<Self, ServerUrlError> {
        text.parse().and_then(|url| self.name(url))
    }

    fn name(&self, named: Self) -> Result<Self, ServerUrlError> {
        if self.same_origin(&named) {
            return Ok(Self { reach: self.reach, grant: self.grant, ..named });
        }
        let reach = match self.zone() {
            Some(Zone::Loopback) => self.grant.and(Zone::Loopback),
            _ => self.grant,
        };
        match named.zone() {
            Some(zone) if !reach.permits(zone) => Err(ServerUrlError::OutOfReach(zone)),
            _ => Ok(Self { reach, grant: self.grant, ..named }),
        }
    }

    /// Allows this server to name others in private networks, because the user says so.
    pub fn granting_private_network(self) -> Self {
        Self { grant: self.grant.and(Zone::Private), ..self }
    }

    /// Parses another URL from the user, with the same grant.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse_sibling(&self, text: &str) -> Result<Self, ServerUrlError> {
        Ok(Self { grant: self.grant, ..text.parse()? })
    }

    /// The zones that it may point to.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Restores the reach that the URL had when it was stored.
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The zone of an IP address or of `localhost`; `None` for other names, which need a resolver.
    pub fn zone(&self) -> Option<Zone> {
        match self.url.host()? {
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                // RFC 6761 section 6.3.
                (name == "localhost" || name.ends_with(".localhost")).then_some(Zone::Loopback)
            }
            Host::Ipv4(address) => Some(Zone::of(address.into())),
            Host::Ipv6(address) => Some(Zone::of(address.into())),
        }
    }
}

impl PartialEq for ServerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for ServerUrl {}

impl Hash for ServerUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.url.hash(state);
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        // The parser drops tabs and newlines and turns backslashes into slashes, so the checked URL would differ from
        // the text.
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
        if url.as_str().len() > LONGEST {
            return Err(ServerUrlError::TooLong);
        }
        Ok(Self { url, reach: Reach::ANYWHERE, grant: Reach::PUBLIC })
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

/// Only `localhost` and loopback addresses. Other names need a resolver.
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

    /// t003, t004, t039, t133: schemes, downgrades, credentials, fragments; t001, t002: text that a shell or an option
    /// parser could interpret.
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
            (&format!("https://example.com/{}", "x".repeat(LONGEST)), ServerUrlError::TooLong),
            ("/relative", ServerUrlError::Malformed),
            ("", ServerUrlError::Malformed),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_resource_without_a_path_has_no_slash() {
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

    /// t005: many ways to write a non-public address, and which servers may name each.
    #[test]
    fn t005_a_server_names_only_urls_within_its_reach() {
        let public = parse("https://mcp.example/mcp").unwrap();
        let trusting = public.clone().granting_private_network();
        let this_machine = parse("http://127.0.0.1:8080/mcp").unwrap();
        let office = parse("https://10.0.0.9/mcp").unwrap();
        let named = |namer: &ServerUrl, host: &str| namer.naming(&format!("https://{host}:9/x"));
        for host in [
            "127.0.0.1",
            "127.1",
            "127.255.255.254",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "127.0.0.1.",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "a.LocalHost.",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "%31%32%37.0.0.1",
            "\u{ff11}27.0.0.1",
            "127\u{3002}0\u{3002}0\u{3002}1",
        ] {
            for namer in [&public, &trusting, &office] {
                assert_eq!(named(namer, host), Err(ServerUrlError::OutOfReach(Zone::Loopback)), "{host}");
            }
            assert!(named(&this_machine, host).is_ok(), "{host}");
        }
        for host in [
            "10.0.0.10",
            "10.10",
            "0xa.10",
            "012.0.0.10",
            "167772170",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "[fd00::1]",
            "[::ffff:10.0.0.10]",
            "[64:ff9b::a00:a]",
            "[2002:a00:a::1]",
        ] {
            for namer in [&public, &office, &this_machine] {
                assert_eq!(named(namer, host), Err(ServerUrlError::OutOfReach(Zone::Private)), "{host}");
            }
            assert!(named(&trusting, host).is_ok(), "{host}");
        }
        for host in [
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "0.0.0.0",
            "0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.2.1",
            "[::]",
            "[fe80::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[::ffff:0.0.0.0]",
            "[64:ff9b:1::1]",
            "[2001::1]",
        ] {
            for namer in [&public, &trusting, &office, &this_machine] {
                assert_eq!(named(namer, host), Err(ServerUrlError::OutOfReach(Zone::Special)), "{host}");
            }
        }
    }

    /// t005, t008: a URL at the same origin keeps its server's reach, and no chain of URLs widens it.
    #[test]
    fn t008_reach_is_inherited() {
        let office = parse("https://10.0.0.9/mcp").unwrap();
        assert_eq!(office.naming("https://10.0.0.9/token").unwrap().reach(), Reach::ANYWHERE);
        assert_eq!(office.join("/x").unwrap().reach(), Reach::ANYWHERE);
        let elsewhere = office.naming("https://as.example/").unwrap();
        assert_eq!(elsewhere.reach(), Reach::PUBLIC);
        assert_eq!(elsewhere.join("/token").unwrap().reach(), Reach::PUBLIC);
        assert_eq!(elsewhere.naming("https://10.0.0.9/"), Err(ServerUrlError::OutOfReach(Zone::Private)));
        assert_eq!(elsewhere.join("//10.0.0.9/"), Err(ServerUrlError::OutOfReach(Zone::Private)));
        let granted = office.granting_private_network().naming("https://as.example/").unwrap();
        assert_eq!(granted.naming("https://10.0.0.8/").unwrap().reach(), Reach::PUBLIC.and(Zone::Private));
        let here = parse("http://localhost:1/").unwrap().naming("https://as.example/").unwrap();
        assert_eq!(here.naming("http://127.0.0.1/"), Err(ServerUrlError::OutOfReach(Zone::Loopback)));
    }

    /// t038: a name in another script is shown in punycode, which cannot imitate another name.
    #[test]
    fn t038_hosts_are_shown_in_punycode() {
        assert_eq!(
            parse("https://bücher.example:8443/").map(|url| url.host()),
            Ok("xn--bcher-kva.example:8443".to_owned())
        );
    }
}
