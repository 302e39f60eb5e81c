//! What the person reads in the browser at the end of a sign-in. Nothing of a request is echoed, nothing is loaded, and
//! nothing runs.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// A whole page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(String);

/// `callback.html` may be styled by itself and by nothing else: the hash is that of its style.
const POLICY: &str = "default-src 'none'; style-src 'sha256-RYa6Zaf14xVrvUo2VxbhhC5Ik0/wsMfUNUTgVUqcIIA='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Page {
    /// That it worked: which account is signed in, and to what. `title` is the server's name for people, `server` its host.
    pub fn signed_in(title: &str, server: &str, account: &str) -> Self {
        let facts = [("Account", account), ("Server", server)]
            .map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(fact)))
            .concat();
        let text = "You can close this window and go back to your terminal or AI client.";
        Self::new(&format!("You are signed in to {title}"), &format!("<dl>{facts}</dl>\n<p>{text}</p>"))
    }

    /// That it did not work. Why is for the terminal to say: it may be a stranger's words.
    pub fn failed(title: &str) -> Self {
        let text = "finmcp says why in your terminal or AI client. You can close this window and go back there.";
        Self::new(&format!("You are not signed in to {title}"), &format!("<p>{text}</p>"))
    }

    /// That nobody knows yet.
    pub fn undecided() -> Self {
        let text = "The server is taking its time. Your terminal or AI client will say whether you are signed in. You can \
                    close this window and go back there.";
        Self::new("finmcp has your answer", &format!("<p>{text}</p>"))
    }

    /// For whoever comes with something else than the answer.
    pub fn unrelated() -> Self {
        let text = "finmcp is still waiting for it. If you came here from a sign-in page, go back there and try again.";
        Self::new("This is not the sign-in", &format!("<p>{text}</p>"))
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
            // The code is in this page's URL, and goes nowhere from here.
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

/// `text` as nothing but text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // A placeholder of ours is no place to fill in where somebody else wrote it.
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

    /// t031: nothing is loaded, nothing runs, nothing leads away.
    #[test]
    fn t031_the_pages_lead_nowhere() {
        for page in [Page::signed_in("T", "s.example", "a"), Page::failed("T"), Page::undecided(), Page::unrelated()] {
            for never in ["{{", "<script", "http:", "https:", "//", "url(", "@import", "src=", "href=", " style="] {
                assert!(!page.0.contains(never), "{never}: {}", page.0);
            }
        }
    }

    /// t030: a name is a name, whatever it is made of.
    #[test]
    fn t030_names_are_only_text() {
        let hostile = "<script>'\"&{{body}}{{title}}</script>";
        let text = "&lt;script&gt;&#39;&quot;&amp;&#123;&#123;body}}&#123;&#123;title}}&lt;/script&gt;";
        let Page(html) = Page::signed_in(hostile, hostile, hostile);
        assert_eq!((html.matches(text).count(), html.matches("<script").count()), (4, 0), "{html}");
        let Page(html) = Page::failed(hostile);
        assert_eq!((html.matches(text).count(), html.matches("<script").count()), (2, 0), "{html}");
    }

    /// t030: the policy lets the one style in, and nothing else.
    #[test]
    fn t030_the_policy_knows_the_style() {
        let Page(html) = Page::unrelated();
        let (_, style) = html.split_once("<style>").unwrap();
        let (style, rest) = style.split_once("</style>").unwrap();
        let hash = BASE64_STANDARD.encode(Sha256::digest(style));
        assert!(POLICY.starts_with(&format!("default-src 'none'; style-src 'sha256-{hash}'; ")), "{hash}");
        assert!(!POLICY.contains("unsafe") && !rest.contains("<style"));
    }
}
