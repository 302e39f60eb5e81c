//! Cookies of MCP servers (RFC 6265), which load balancers use for session affinity.
//!
//! Stricter than a browser: a cookie is returned only to the exact origin that set it, including the port, whatever its
//! `Domain` says. Cookies are kept in memory only, never sent to an authorization server, and dropped when the sign-in
//! changes: a session cookie could act for the user who was signed in before.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cookie_store::CookieStore;
use http::{HeaderMap, HeaderValue, header};
use url::Origin;

use crate::server_url::ServerUrl;

/// The most cookies that an origin may set. All cookies of an origin with more are dropped.
const COUNT_LIMIT: usize = 64;

/// The size limit of one cookie in bytes, as in browsers (RFC 6265 section 6.1).
const LENGTH_LIMIT: usize = 4 << 10;

/// The size limit of a request's `Cookie` header in bytes, because servers refuse long headers.
const SENT_LIMIT: usize = 8 << 10;

/// The cookies of every origin.
#[derive(Debug, Default)]
pub struct CookieJar(Mutex<Jar>);

#[derive(Debug, Default)]
struct Jar {
    origins: HashMap<Origin, CookieStore>,
    /// The current sign-in; none before the first and after a logout.
    owner: Option<String>,
    generation: Generation,
}

/// How often the jar has been emptied. Cookies in a response are ignored if the jar was emptied since the request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

impl CookieJar {
    /// Sets the sign-in that requests are sent for, if any. Drops cookies of another sign-in; keeps cookies set before
    /// the first.
    pub fn set_owner(&self, owner: Option<&str>) {
        let mut jar = self.jar();
        if jar.owner.as_deref() == owner {
            return;
        }
        if jar.owner.is_some() {
            jar.origins.clear();
            jar.generation.0 += 1;
        }
        jar.owner = owner.map(str::to_owned);
    }

    /// Applies the cookies that a response from `url` sets, replaces or deletes. `sent` is the value that [`Self::add`]
    /// returned for its request.
    pub fn store(&self, url: &ServerUrl, headers: &HeaderMap, sent: Generation) {
        let set: Vec<&str> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|cookie| cookie.to_str().ok().filter(|cookie| cookie.len() <= LENGTH_LIMIT))
            .take(COUNT_LIMIT)
            .collect();
        if set.is_empty() {
            return;
        }
        let mut jar = self.jar();
        if jar.generation != sent {
            return;
        }
        let store = jar.origins.entry(url.as_url().origin()).or_default();
        for cookie in set {
            // Ignore a malformed cookie, or one for another host.
            let _ = store.parse(cookie, url.as_url());
        }
        if store.iter_any().count() > COUNT_LIMIT {
            store.clear();
        }
    }

    /// Adds the origin's matching cookies to a request for `url`.
    pub fn add(&self, url: &ServerUrl, headers: &mut HeaderMap) -> Generation {
        let mut jar = self.jar();
        let generation = jar.generation;
        let Some(store) = jar.origins.get_mut(&url.as_url().origin()) else { return generation };
        let own = headers.get(header::COOKIE).and_then(|own| own.to_str().ok()).unwrap_or_default();
        let mut all = own.to_owned();
        for (name, value) in store.get_request_values(url.as_url()) {
            if all.len() + name.len() + value.len() < SENT_LIMIT {
                let separator = if all.is_empty() { "" } else { "; " };
                all.push_str(&format!("{separator}{name}={value}"));
            }
        }
        if all.len() > own.len()
            && let Ok(mut value) = HeaderValue::from_str(&all)
        {
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
        generation
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    fn set<'c>(cookies: impl IntoIterator<Item = &'c str>) -> HeaderMap {
        cookies.into_iter().map(|cookie| (header::SET_COOKIE, HeaderValue::from_str(cookie).unwrap())).collect()
    }

    fn sent(cookies: &CookieJar, to: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        cookies.add(&url(to), &mut headers);
        headers.get(header::COOKIE).map(|cookie| cookie.to_str().unwrap().to_owned())
    }

    /// A cookie is returned to the origin that set it, not to another port, another host, the parent domain or plain
    /// http.
    #[test]
    fn a7_a_cookie_stays_with_its_origin() {
        let cookies = CookieJar::default();
        let home = "https://mcp.example.com/mcp";
        cookies.store(
            &url(home),
            &set(["a=1", "b=2; Domain=example.com; Path=/", "c=3; Domain=evil.example", "d=4; Domain=com"]),
            Generation::default(),
        );
        let mut found: Vec<_> = sent(&cookies, home).unwrap().split("; ").map(str::to_owned).collect();
        found.sort_unstable();
        assert_eq!(found[..2], ["a=1", "b=2"]);
        assert!(!found.iter().any(|cookie| cookie.starts_with('c')));
        for other in [
            "https://mcp.example.com:8443/mcp",
            "https://example.com/mcp",
            "https://other.example.com/mcp",
            "https://evil.example/mcp",
            "https://sub.mcp.example.com/mcp",
            "http://localhost/mcp",
        ] {
            assert_eq!(sent(&cookies, other), None, "{other}");
        }
    }

    /// `Path`, `Secure`, `Max-Age`, `Expires`, replacement and deletion.
    #[test]
    fn a7_attributes_are_respected() {
        for (cookies_set, to, expected) in [
            (&["a=1; Path=/mcp"][..], "https://a.example/mcp/x", Some("a=1")),
            (&["a=1; Path=/other"], "https://a.example/mcp", None),
            (&["a=1; Secure"], "https://a.example/mcp", Some("a=1")),
            (&["a=1; HttpOnly; SameSite=Strict"], "https://a.example/mcp", Some("a=1")),
            (&["a=1; Max-Age=60"], "https://a.example/mcp", Some("a=1")),
            (&["a=1; Max-Age=0"], "https://a.example/mcp", None),
            (&["a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "https://a.example/mcp", None),
            (&["a=1", "a=2"], "https://a.example/mcp", Some("a=2")),
            (&["a=1", "a=; Max-Age=0"], "https://a.example/mcp", None),
            (&["a=1", "a=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "https://a.example/mcp", None),
            (&["a=x=y=="], "https://a.example/mcp", Some("a=x=y==")),
            (&["nonsense", "=", ""], "https://a.example/mcp", None),
        ] {
            let cookies = CookieJar::default();
            cookies.store(&url("https://a.example/mcp"), &set(cookies_set.iter().copied()), Generation::default());
            assert_eq!(sent(&cookies, to).as_deref(), expected, "{cookies_set:?}");
        }
    }

    /// Cookies survive a renewal and end with the sign-in; those set before the first sign-in are kept for it.
    #[test]
    fn a7_cookies_end_with_the_sign_in() {
        let home = url("https://a.example/mcp");
        for (owners, kept) in [
            (&[None, None][..], true),
            (&[None, Some("ann")], true),
            (&[Some("ann"), Some("ann"), Some("ann")], true),
            (&[Some("ann"), Some("bob")], false),
            (&[Some("ann"), None], false),
            (&[Some("ann"), Some("bob"), Some("ann")], false),
            (&[Some("ann"), None, Some("ann")], false),
        ] {
            let cookies = CookieJar::default();
            cookies.set_owner(owners[0]);
            let before = cookies.add(&home, &mut HeaderMap::new());
            cookies.store(&home, &set(["session=1"]), before);
            owners[1..].iter().for_each(|owner| cookies.set_owner(*owner));
            assert_eq!(sent(&cookies, home.as_str()).is_some(), kept, "{owners:?}");
            // A late response to a request that was sent for the previous sign-in.
            cookies.store(&home, &set(["late=1"]), before);
            let late = sent(&cookies, home.as_str()).is_some_and(|all| all.contains("late"));
            assert_eq!(late, kept, "{owners:?}");
        }
    }

    /// Neither many cookies nor long ones exhaust memory or make a request too long.
    #[test]
    fn a7_cookies_are_bounded() {
        let home = "https://a.example/mcp";
        let cookies = CookieJar::default();
        cookies.store(&url(home), &set([&*format!("a={}", "x".repeat(5000)), "b=1"]), Generation::default());
        assert_eq!(sent(&cookies, home).as_deref(), Some("b=1"));
        let held =
            |cookies: &CookieJar| cookies.jar().origins.values().map(|store| store.iter_any().count()).sum::<usize>();
        for round in 0..50 {
            let many: Vec<String> = (0..20).map(|index| format!("c{round}-{index}={}", "x".repeat(3000))).collect();
            cookies.store(&url(home), &set(many.iter().map(String::as_str)), Generation::default());
            assert!(held(&cookies) <= COUNT_LIMIT);
            assert!(sent(&cookies, home).is_none_or(|all| all.len() <= SENT_LIMIT));
        }
    }

    /// A cookie that the user sets with --header is kept, and debug output does not show the header.
    #[test]
    fn a7_a_cookie_set_by_the_user_is_kept() {
        let cookies = CookieJar::default();
        cookies.store(&url("https://a.example/"), &set(["a=CANARY"]), Generation::default());
        let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("own=1"))]);
        cookies.add(&url("https://a.example/"), &mut headers);
        assert_eq!(headers[header::COOKIE], "own=1; a=CANARY");
        assert!(!format!("{headers:?}").contains("CANARY"));
    }
}
