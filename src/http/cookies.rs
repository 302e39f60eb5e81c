//! The cookies of MCP servers, which load balancers find their way back by (RFC 6265).
//!
//! Stricter than a browser: a cookie goes back to the very origin that set it, port and all, whatever its `Domain` says.
//! They are kept in memory only, no authorization server has any, and they end with the sign-in that they came with: a
//! session cookie would act for the person who signed in before.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cookie_store::CookieStore;
use http::{HeaderMap, HeaderValue, header};
use url::Origin;

use crate::server_url::ServerUrl;

/// The most cookies that an origin may set. One that sets more has none.
const COUNT_LIMIT: usize = 64;

/// The most that one cookie may hold, in bytes, as in browsers (RFC 6265 section 6.1).
const LENGTH_LIMIT: usize = 4 << 10;

/// The most that is sent with a request, in bytes: servers refuse long headers.
const SENT_LIMIT: usize = 8 << 10;

/// What origins have set.
#[derive(Debug, Default)]
pub struct Cookies(Mutex<Jar>);

#[derive(Debug, Default)]
struct Jar {
    origins: HashMap<Origin, CookieStore>,
    /// The sign-in that requests are sent for; none before the first, and after a logout.
    owner: Option<String>,
    emptied: Emptied,
}

/// How often a jar has been emptied: an answer to a request from before sets nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Emptied(u64);

impl Cookies {
    /// From now on requests are sent for the sign-in `owner`, or for nobody. Cookies that came with another sign-in are
    /// dropped; those that came before any are kept.
    pub fn belong_to(&self, owner: Option<&str>) {
        let mut jar = self.jar();
        if jar.owner.as_deref() == owner {
            return;
        }
        if jar.owner.is_some() {
            jar.origins.clear();
            jar.emptied.0 += 1;
        }
        jar.owner = owner.map(str::to_owned);
    }

    /// Takes note of what an answer from `url` sets, replaces and deletes. `sent` is what [`Self::add`] said when the
    /// request was sent.
    pub fn note(&self, url: &ServerUrl, headers: &HeaderMap, sent: Emptied) {
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
        if jar.emptied != sent {
            return;
        }
        let store = jar.origins.entry(url.as_url().origin()).or_default();
        for cookie in set {
            // One that cannot be read, or is for another host, is not for us to keep.
            let _ = store.parse(cookie, url.as_url());
        }
        if store.iter_any().count() > COUNT_LIMIT {
            store.clear();
        }
    }

    /// Adds to a request for `url` what its origin has set for such.
    pub fn add(&self, url: &ServerUrl, headers: &mut HeaderMap) -> Emptied {
        let mut jar = self.jar();
        let emptied = jar.emptied;
        let Some(store) = jar.origins.get_mut(&url.as_url().origin()) else { return emptied };
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
        emptied
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

    fn sent(cookies: &Cookies, to: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        cookies.add(&url(to), &mut headers);
        headers.get(header::COOKIE).map(|cookie| cookie.to_str().unwrap().to_owned())
    }

    /// A cookie goes back to its own origin: not to another port, another host, its parent domain or plain http.
    #[test]
    fn a7_a_cookie_stays_with_its_origin() {
        let cookies = Cookies::default();
        let home = "https://mcp.example.com/mcp";
        cookies.note(
            &url(home),
            &set(["a=1", "b=2; Domain=example.com; Path=/", "c=3; Domain=evil.example", "d=4; Domain=com"]),
            Emptied::default(),
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
            let cookies = Cookies::default();
            cookies.note(&url("https://a.example/mcp"), &set(cookies_set.iter().copied()), Emptied::default());
            assert_eq!(sent(&cookies, to).as_deref(), expected, "{cookies_set:?}");
        }
    }

    /// Cookies outlive a renewal, and end with the sign-in; those from before any sign-in are kept for the first one.
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
            let cookies = Cookies::default();
            cookies.belong_to(owners[0]);
            let before = cookies.add(&home, &mut HeaderMap::new());
            cookies.note(&home, &set(["session=1"]), before);
            owners[1..].iter().for_each(|owner| cookies.belong_to(*owner));
            assert_eq!(sent(&cookies, home.as_str()).is_some(), kept, "{owners:?}");
            // The answer to a request that was sent for the sign-in before comes late.
            cookies.note(&home, &set(["late=1"]), before);
            let late = sent(&cookies, home.as_str()).is_some_and(|all| all.contains("late"));
            assert_eq!(late, kept, "{owners:?}");
        }
    }

    /// Neither many nor long cookies fill memory or make a request too long.
    #[test]
    fn a7_cookies_are_bounded() {
        let home = "https://a.example/mcp";
        let cookies = Cookies::default();
        cookies.note(&url(home), &set([&*format!("a={}", "x".repeat(5000)), "b=1"]), Emptied::default());
        assert_eq!(sent(&cookies, home).as_deref(), Some("b=1"));
        let held =
            |cookies: &Cookies| cookies.jar().origins.values().map(|store| store.iter_any().count()).sum::<usize>();
        for round in 0..50 {
            let many: Vec<String> = (0..20).map(|index| format!("c{round}-{index}={}", "x".repeat(3000))).collect();
            cookies.note(&url(home), &set(many.iter().map(String::as_str)), Emptied::default());
            assert!(held(&cookies) <= COUNT_LIMIT);
            assert!(sent(&cookies, home).is_none_or(|all| all.len() <= SENT_LIMIT));
        }
    }

    /// What a person gives with --header is kept, and what is sent is not shown.
    #[test]
    fn a7_the_persons_own_cookie_is_kept() {
        let cookies = Cookies::default();
        cookies.note(&url("https://a.example/"), &set(["a=CANARY"]), Emptied::default());
        let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("own=1"))]);
        cookies.add(&url("https://a.example/"), &mut headers);
        assert_eq!(headers[header::COOKIE], "own=1; a=CANARY");
        assert!(!format!("{headers:?}").contains("CANARY"));
    }
}
