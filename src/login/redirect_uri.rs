//! A loopback redirect URI (RFC 8252 section 7.3). The user can choose the one that a client is registered with, for
//! servers that compare every byte including the port.

use std::{fmt, str::FromStr};

use url::Url;

/// `http://HOST:PORT/PATH`, where HOST is `127.0.0.1`, `[::1]` or `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUri {
    /// As it is registered and sent to the server.
    text: String,
    host: LoopbackHost,
    port: u16,
    path: String,
}

/// The default port of http, which browsers omit.
const HTTP_PORT: u16 = 80;

/// How a redirect URI names this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackHost {
    /// `127.0.0.1`.
    V4,
    /// `[::1]`.
    V6,
    /// `localhost`: browsers try both addresses in either order.
    Localhost,
}

/// Why finmcp cannot use a redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not a URL, or not in normalized form.
    #[error("must be http://HOST:PORT/PATH in lower case, without spaces or `..`")]
    Malformed,
    /// Another scheme: finmcp has no certificate to serve https with.
    #[error("must begin with http://")]
    Scheme,
    /// Another machine.
    #[error("its host must be 127.0.0.1, [::1] or localhost")]
    Host,
    /// No port, or port 0.
    #[error("must name a port, for example http://localhost:3118/callback")]
    Port,
    /// A part that finmcp's redirect URI must not have.
    #[error("must have no user name, no query and no fragment")]
    Excess,
}

impl LoopbackHost {
    /// As a redirect URI and a `Host` header spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "[::1]",
            Self::Localhost => "localhost",
        }
    }
}

impl RedirectUri {
    /// The redirect URI of a listener at `host` and `port`.
    pub fn new(host: LoopbackHost, port: u16, path: &str) -> Self {
        Self { text: format!("http://{}:{port}{path}", host.as_str()), host, port, path: path.to_owned() }
    }

    /// As it is registered, byte for byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it names this machine.
    pub fn host(&self) -> LoopbackHost {
        self.host
    }

    /// The port to listen on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path that the browser requests.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The `Host` header that a browser sends: without the port if that is the default.
    pub fn authority(&self) -> String {
        match self.port {
            HTTP_PORT => self.host.as_str().to_owned(),
            port => format!("{}:{port}", self.host.as_str()),
        }
    }

    /// What the browser's address bar shows before the query: with a slash even if none is registered.
    pub fn address(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }
}

impl FromStr for RedirectUri {
    type Err = RedirectUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| RedirectUriError::Malformed)?;
        if url.scheme() != "http" {
            return Err(RedirectUriError::Scheme);
        }
        let host = [LoopbackHost::V4, LoopbackHost::V6, LoopbackHost::Localhost]
            .into_iter()
            .find(|host| url.host_str() == Some(host.as_str()))
            .ok_or(RedirectUriError::Host)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(RedirectUriError::Excess);
        }
        // The parser drops the default port. Without a port, the URI means any port.
        let without_port = without_http_port(text, host);
        let port = url.port().or(without_port.as_ref().map(|_| HTTP_PORT));
        let port = port.filter(|port| *port != 0).ok_or(RedirectUriError::Port)?;
        // The server compares bytes, but the browser sends the normalized URL: they must be equal.
        let text_in_browser = without_port.as_deref().unwrap_or(text);
        let without_slash = url.as_str().strip_suffix('/').filter(|_| url.path() == "/");
        let is_plain = url.as_str() == text_in_browser || without_slash == Some(text_in_browser);
        if !is_plain {
            return Err(RedirectUriError::Malformed);
        }
        Ok(Self { text: text.to_owned(), host, port, path: url.path().to_owned() })
    }
}

/// `text` without the default port; none if it names another port or none.
fn without_http_port(text: &str, host: LoopbackHost) -> Option<String> {
    let host = format!("http://{}", host.as_str());
    let path = text.strip_prefix(&host)?.strip_prefix(&format!(":{HTTP_PORT}"))?;
    (path.is_empty() || path.starts_with('/')).then(|| host + path)
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_a_redirect_uri_is_loopback_and_kept_byte_for_byte() {
        for (text, authority, address) in [
            ("http://localhost:3118/callback", "localhost:3118", "http://localhost:3118/callback"),
            ("http://localhost:3118", "localhost:3118", "http://localhost:3118/"),
            ("http://localhost:3118/", "localhost:3118", "http://localhost:3118/"),
            ("http://127.0.0.1:8080/oauth/callback", "127.0.0.1:8080", "http://127.0.0.1:8080/oauth/callback"),
            ("http://localhost:80/callback", "localhost", "http://localhost/callback"),
            ("http://127.0.0.1:80", "127.0.0.1", "http://127.0.0.1/"),
            ("http://[::1]:80/x/", "[::1]", "http://[::1]/x/"),
            ("http://[::1]:65535/a%20b", "[::1]:65535", "http://[::1]:65535/a%20b"),
        ] {
            let uri: RedirectUri = text.parse().unwrap();
            assert_eq!((uri.as_str(), &uri.authority()[..], &uri.address()[..]), (text, authority, address));
        }
        for (text, why) in [
            ("localhost:3118/callback", RedirectUriError::Scheme),
            ("https://localhost:3118/callback", RedirectUriError::Scheme),
            ("com.example.app:/callback", RedirectUriError::Scheme),
            ("/callback", RedirectUriError::Malformed),
            ("", RedirectUriError::Malformed),
            ("http://evil.example:3118/callback", RedirectUriError::Host),
            ("http://localhost.evil.example:3118/callback", RedirectUriError::Host),
            ("http://127.0.0.2:3118/callback", RedirectUriError::Host),
            ("http://0.0.0.0:3118/callback", RedirectUriError::Host),
            ("http://192.168.0.2:3118/callback", RedirectUriError::Host),
            ("http://[::]:3118/callback", RedirectUriError::Host),
            ("http://localhost./callback", RedirectUriError::Host),
            ("http://localhost/callback", RedirectUriError::Port),
            ("http://localhost:0/callback", RedirectUriError::Port),
            ("http://localhost:/callback", RedirectUriError::Port),
            ("http://localhost:080/callback", RedirectUriError::Port),
            ("http://localhost:99999/callback", RedirectUriError::Malformed),
            ("http://user@localhost:3118/callback", RedirectUriError::Excess),
            ("http://localhost:3118/callback?x=y", RedirectUriError::Excess),
            ("http://localhost:3118/callback#x", RedirectUriError::Excess),
            ("http://LOCALHOST:3118/callback", RedirectUriError::Malformed),
            ("http://127.1:3118/callback", RedirectUriError::Malformed),
            ("http://localhost:3118/a/../callback", RedirectUriError::Malformed),
            ("http://localhost:3118\\callback", RedirectUriError::Malformed),
            (" http://localhost:3118/callback", RedirectUriError::Malformed),
        ] {
            assert_eq!(text.parse::<RedirectUri>(), Err(why), "{text}");
        }
    }
}
