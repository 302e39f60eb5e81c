//! The page in the browser at the end of a sign-in. It echoes nothing of the request, loads nothing and runs nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// An HTML page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(String);

/// Allows the style in `callback.html`, by its hash, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'sha256-RYa6Zaf14xVrvUo2VxbhhC5Ik0/wsMfUNUTgVUqcIIA='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Page {
    /// For a successful sign-in. `title` is the server's display name, `server` its host; `person` is named if the
    /// server says who signed in, and `profile` is where finmcp keeps the sign-in.
    pub fn signed_in(title: &str, server: &str, person: Option<&str>, profile: &str) -> Self {
        let facts = [("Signed in as", person), ("Server", Some(server)), ("Profile", Some(profile))];
        let facts: String = facts
            .into_iter()
            .filter_map(|(name, fact)| Some(format!("<dt>{name}</dt><dd>{}</dd>", escaped(fact?))))
            .collect();
        let text = "You can close this window and go back to your terminal or AI client.";
        Self::new(&format!("You are signed in to {title}"), &format!("<dl>{facts}</dl>\n<p>{text}</p>"))
    }

    /// For a failed sign-in. Only the terminal shows the reason, since an attacker may have written it.
    pub fn failed(title: &str) -> Self {
        let text = "Your terminal or AI client shows why. You can close this window and go back there.";
        Self::new(&format!("Could not sign in to {title}"), &format!("<p>{text}</p>"))
    }

    /// For a sign-in whose outcome is not known yet.
    pub fn undecided() -> Self {
        let text = "The server is slow to respond. Your terminal or AI client will show whether you are signed in. You \
                    can close this window and go back there.";
        Self::new("finmcp is completing the sign-in", &format!("<p>{text}</p>"))
    }

    /// For a request that is not the authorization response.
    pub fn unrelated() -> Self {
        let text =
            "finmcp is still waiting for you to sign in. If you came here from a sign-in page, go back and try again.";
        Self::new("This is not your sign-in", &format!("<p>{text}</p>"))
    }

    /// For a browser on its way to the server's sign-in page.
    pub fn elsewhere() -> Self {
        Self::new("finmcp opens the sign-in page", "")
    }

    /// For a link whose sign-in page cannot be opened.
    pub fn unreachable() -> Self {
        let text = "The server does not respond, or this sign-in has ended. Open the link again, or go back to your AI \
                    client and sign in from there.";
        Self::new("finmcp could not open the sign-in page", &format!("<p>{text}</p>"))
    }

    fn new(title: &str, body: &str) -> Self {
        Self(include_str!("callback.html").replace("{{body}}", body).replace("{{title}}", &escaped(title)))
    }

    /// The page as an HTTP response.
    pub fn response(self, status: StatusCode) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.0)));
        *response.status_mut() = status;
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            // The code is in this page's URL: it must not leak from here.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// `text` with HTML's special characters escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // A placeholder in someone else's text must not be filled in.
            '{' => escaped.push_str("&#123;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    /// t031: the pages load nothing, run nothing and link nowhere.
    #[test]
    fn t031_pages_link_nowhere() {
        let signed_in = Page::signed_in("T", "s.example", Some("p"), "a");
        let (undecided, unrelated) = (Page::undecided(), Page::unrelated());
        for page in [signed_in, Page::failed("T"), undecided, unrelated, Page::elsewhere(), Page::unreachable()] {
            for never in ["{{", "<script", "http:", "https:", "//", "url(", "@import", "src=", "href=", " style="] {
                assert!(!page.0.contains(never), "{never}: {}", page.0);
            }
        }
    }

    /// t030: the pages show markup in names as text.
    #[test]
    fn t030_names_are_escaped() {
        let hostile = "<script>'\"&{{body}}{{title}}</script>";
        let text = "&lt;script&gt;&#39;&quot;&amp;&#123;&#123;body}}&#123;&#123;title}}&lt;/script&gt;";
        let Page(html) = Page::signed_in(hostile, hostile, Some(hostile), hostile);
        assert_eq!((html.matches(text).count(), html.matches("<script").count()), (5, 0), "{html}");
        let Page(html) = Page::failed(hostile);
        assert_eq!((html.matches(text).count(), html.matches("<script").count()), (2, 0), "{html}");
    }

    /// t030: the policy allows this style and nothing else.
    #[test]
    fn t030_the_policy_allows_this_style_only() {
        let Page(html) = Page::unrelated();
        let (_, style) = html.split_once("<style>").unwrap();
        let (style, rest) = style.split_once("</style>").unwrap();
        let hash = BASE64_STANDARD.encode(Sha256::digest(style));
        assert!(POLICY.starts_with(&format!("default-src 'none'; style-src 'sha256-{hash}'; ")), "{hash}");
        assert!(!POLICY.contains("unsafe") && !rest.contains("<style"));
    }
}
