//! Where a server may send an MCP request on to: its own address, give or take a trailing slash.
//!
//! Frameworks redirect `/mcp` to `/mcp/` or back, and that is the same server. Any other place, even of the same origin,
//! may be another program, such as a sign-in page: neither a token nor a message goes there.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, StatusCode, header};

use crate::{printable::quoted, server_url::ServerUrl};

/// The servers that were found at the other spelling of their address, for as long as this process lives.
#[derive(Debug, Default)]
pub struct Moved(Mutex<HashSet<ServerUrl>>);

impl Moved {
    /// Where the server at `url` was last found.
    pub fn place(&self, url: &ServerUrl) -> ServerUrl {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = if servers.contains(url) { other_spelling(url) } else { None };
        other.unwrap_or_else(|| url.clone())
    }

    /// Takes note that the server at `url` answers at `place`.
    pub fn note(&self, url: &ServerUrl, place: &ServerUrl) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if place == url {
            servers.remove(url);
        } else {
            servers.insert(url.clone());
        }
    }
}

/// Where `status` and `headers` send a request for `url` on, if that is the same address give or take a trailing slash.
/// 303 asks for another request than the one that was made (RFC 9110 section 15.4.4).
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
    // (A path that begins with two slashes would name a host.)
    url.join(&format!("{path}{query}")).ok().filter(|other| other.same_origin(url) && other.as_url().path() == path)
}

/// Where `headers` redirect a request for `url` to, fit to be shown. Without the query, which may hold a secret.
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

    /// The same path, give or take one slash, with the same query, at the same origin.
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

    /// What is remembered is the spelling, not where a server may lead.
    #[test]
    fn a8_a_server_is_remembered_where_it_was_found() {
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
