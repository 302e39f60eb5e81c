//! Redirects of MCP requests, which may only add or remove a trailing slash.
//!
//! Frameworks redirect `/mcp` to `/mcp/` or back, which is still the same server. Any other address, even at the same
//! origin, may be another program, for example a sign-in page: neither a token nor a message goes there.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, StatusCode, header};

use crate::{printable::quoted, server_url::ServerUrl};

/// The servers that redirected to their address with or without a trailing slash, remembered while this process lives.
#[derive(Debug, Default)]
pub struct Moved(Mutex<HashSet<ServerUrl>>);

impl Moved {
    /// The address where the server at `url` last answered.
    pub fn place(&self, url: &ServerUrl) -> ServerUrl {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = if servers.contains(url) { other_spelling(url) } else { None };
        other.unwrap_or_else(|| url.clone())
    }

    /// Remembers that the server at `url` answers at `place`.
    pub fn note(&self, url: &ServerUrl, place: &ServerUrl) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if place == url {
            servers.remove(url);
        } else {
            servers.insert(url.clone());
        }
    }
}

/// The target of a redirect, if it is `url` with or without a trailing slash. 303 is excluded: it changes the method
/// (RFC 9110 section 15.4.4).
pub fn same_address(url: &ServerUrl, status: StatusCode, headers: &HeaderMap) -> Option<ServerUrl> {
    if !matches!(status.as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    let next = url.join(headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
    (next == *url || Some(&next) == other_spelling(url).as_ref()).then_some(next)
}

/// The same address with a trailing slash, or without it.
fn other_spelling(url: &ServerUrl) -> Option<ServerUrl> {
    let path = url.as_url().path();
    let path = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
    let query = url.as_url().query().map(|query| format!("?{query}")).unwrap_or_default();
    // A path that begins with two slashes would be read as a host.
    url.join(&format!("{path}{query}")).ok().filter(|other| other.same_origin(url) && other.as_url().path() == path)
}

/// The target of a redirect, cleaned for display. Without its query, which may contain a secret.
pub fn target(url: &ServerUrl, headers: &HeaderMap) -> Option<String> {
    let mut target = url.as_url().join(headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
    if target.cannot_be_a_base() {
        return Some(format!("{}:", quoted(target.scheme())));
    }
    target.set_query(None);
    target.set_fragment(None);
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Some(quoted(target.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn located(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_str(location).unwrap())])
    }

    /// Followed: the same path with or without a trailing slash, the same query, the same origin.
    #[test]
    fn a8_only_the_slash_may_differ() {
        let followed = |from: &str, to: &str| {
            let from: ServerUrl = from.parse().unwrap();
            same_address(&from, StatusCode::PERMANENT_REDIRECT, &located(to)).map(|next| next.to_string())
        };
        for (from, to, next) in [
            ("https://a.example/mcp", "/mcp/", Some("https://a.example/mcp/")),
            ("https://a.example/mcp/", "/mcp", Some("https://a.example/mcp")),
            ("https://a.example/mcp", "/mcp", Some("https://a.example/mcp")),
            ("https://a.example/mcp", "https://A.example:443/mcp/", Some("https://a.example/mcp/")),
            ("https://a.example/mcp?k=v", "/mcp/?k=v", Some("https://a.example/mcp/?k=v")),
            ("https://a.example/mcp?k=v", "/mcp/", None),
            ("https://a.example/mcp?k=v", "/mcp/?k=w", None),
            ("https://a.example/mcp", "/mcp/?k=v", None),
            ("https://a.example/mcp", "/mcp//", None),
            ("https://a.example/mcp", "/MCP", None),
            ("https://a.example/mcp", "/mcp/x", None),
            ("https://a.example/mcp", "/", None),
            ("https://a.example/mcp", "/login", None),
            ("https://a.example/mcp", "/mcp%2F", None),
            ("https://a.example/mcp", "//a.example/mcp/", Some("https://a.example/mcp/")),
            ("https://a.example/mcp", "//b.example/mcp/", None),
            ("https://a.example/mcp", "https://a.example:8443/mcp/", None),
            ("https://a.example/mcp", "http://a.example/mcp/", None),
            ("https://a.example/mcp", "https://u:p@a.example/mcp/", None),
            ("https://a.example/mcp", "https://a.example/mcp/#x", None),
            ("https://a.example/mcp", "", Some("https://a.example/mcp")),
            ("https://a.example//b.example", "//b.example/", None),
            ("https://a.example/", "/", Some("https://a.example/")),
            ("https://a.example/", "//", None),
        ] {
            assert_eq!(followed(from, to).as_deref(), next, "{from} -> {to}");
        }
        let url: ServerUrl = "https://a.example/mcp".parse().unwrap();
        for (status, is_followed) in [(300, false), (301, true), (302, true), (303, false), (304, false), (200, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(same_address(&url, status, &located("/mcp/")).is_some(), is_followed, "{status}");
        }
    }

    /// Only the trailing slash is remembered; the reach stays that of the URL.
    #[test]
    fn a8_the_address_that_answered_is_remembered() {
        let moved = Moved::default();
        let url: ServerUrl = "https://a.example/mcp?k=v".parse().unwrap();
        let slash: ServerUrl = "https://a.example/mcp/?k=v".parse().unwrap();
        assert_eq!(moved.place(&url), url);
        moved.note(&url, &slash);
        let narrow = url.clone().within(crate::server_url::reach::Reach::PUBLIC);
        let place = moved.place(&narrow);
        assert_eq!((&place, place.reach().index()), (&slash, narrow.reach().index()));
        assert_eq!(moved.place(&slash), slash);
        moved.note(&url, &url);
        assert_eq!(moved.place(&url), url);
    }

    #[test]
    fn a8_the_target_is_named_without_secrets() {
        let url: ServerUrl = "https://a.example/mcp".parse().unwrap();
        for (location, named) in [
            ("/login?token=CANARY#CANARY", "https://a.example/login"),
            ("https://u:CANARY@b.example/x", "https://b.example/x"),
            ("javascript:alert(1)", "javascript:"),
            ("//b.example", "https://b.example/"),
        ] {
            assert_eq!(target(&url, &located(location)).as_deref(), Some(named));
        }
        assert_eq!(target(&url, &HeaderMap::new()), None);
        assert_eq!(target(&url, &located(&format!("/{}", "x".repeat(500)))).unwrap().chars().count(), 201);
    }
}
