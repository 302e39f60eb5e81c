//! Whether a web page says that the authorization server does not know a client. There is no standard format (RFC 6749
//! section 4.1.2.1: "inform the resource owner"), and some servers send it with status 200, like a sign-in page. Only
//! visible text counts, and only on a page without a form to fill in.

use std::iter;

use crate::oauth::{error::OAuthError, json};

/// Phrases that mean that the client is unknown.
const PHRASES: [&str; 14] = [
    "invalid client",
    "unauthorized client",
    "unknown client",
    "unregistered client",
    "unrecognized client",
    "client not found",
    "client not registered",
    "client not recognized",
    "client is not registered",
    "client is unknown",
    "client was not found",
    "client does not exist",
    "invalid redirect uri",
    "redirect uri mismatch",
];

/// Subjects that mean it if one of the predicates follows soon after.
const SUBJECTS: [&str; 3] = ["client id", "clientid", "redirect uri"];
const PREDICATES: [&str; 9] = [
    "not found",
    "not registered",
    "not recognized",
    "not valid",
    "not exist",
    "not match",
    "invalid",
    "unknown",
    "unrecognized",
];

/// The most words between the two: a quoted identifier may have some.
const DISTANCE: usize = 16;

/// Elements whose content is not visible text.
const NOT_SHOWN: [&str; 7] = ["script", "style", "template", "noscript", "textarea", "select", "svg"];

/// Whether `body`, of a success, says that the client or its redirect URI is unknown.
pub(super) fn is_said_by(body: &[u8]) -> bool {
    if json::is_document(body) {
        return OAuthError::parse(body).is_some_and(|error| says_so(&error.to_string()));
    }
    visible_text(&String::from_utf8_lossy(body)).is_some_and(|text| says_so(&text))
}

fn says_so(text: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<&str> =
        text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_at = |start: usize, phrase: &str| {
        let mut rest = words.get(start..).unwrap_or_default().iter();
        phrase.split(' ').all(|word| rest.next() == Some(&word))
    };
    (0..words.len()).any(|start| {
        let follows = || (start..start + DISTANCE).any(|next| PREDICATES.iter().any(|said| is_at(next, said)));
        PHRASES.iter().any(|phrase| is_at(start, phrase))
            || (SUBJECTS.iter().any(|subject| is_at(start, subject)) && follows())
    })
}

/// The visible text of a page; `None` for a page with a form to fill in.
fn visible_text(page: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        if !tag.starts_with(|first: char| first.is_ascii_alphabetic() || "/!?".contains(first)) {
            rest = tag;
            continue;
        }
        let (tag, after) = tag.split_at(end_of_tag(tag));
        let tag = tag.to_ascii_lowercase();
        let name = tag.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        let asks = matches!(name, "form" | "input") && !tag.contains("hidden");
        if asks {
            return None;
        }
        let is_hidden = NOT_SHOWN.contains(&name) || (!name.is_empty() && hides(&tag));
        rest = if is_hidden { after_element(after, name) } else { after };
    }
    text.push_str(rest);
    Some(text)
}

/// The end of the tag that `text` starts in: after the first `>` outside quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (position, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '>') => return position + 1,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// Whether this tag hides its element.
fn hides(tag: &str) -> bool {
    let has_attribute = tag.split([' ', '\n', '\t', '/', '=', '>']).skip(1).any(|word| word == "hidden");
    let style = tag.replace(' ', "");
    has_attribute || style.contains("display:none") || style.contains("aria-hidden=\"true\"")
}

/// The text after the element `name` that has been opened, including nested elements of that name.
fn after_element<'t>(text: &'t str, name: &str) -> &'t str {
    const VOID: [&str; 6] = ["br", "hr", "img", "input", "link", "meta"];
    if VOID.contains(&name) {
        return text;
    }
    let mut depth = 1_usize;
    let tags = iter::successors(text.find('<'), |at| text[at + 1..].find('<').map(|next| at + 1 + next));
    for at in tags {
        let tag = &text.as_bytes()[at + 1..];
        let is = |tag: &[u8]| {
            let end = tag.get(name.len()).copied().unwrap_or(b'>');
            tag.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
                && !end.is_ascii_alphanumeric()
        };
        match tag.strip_prefix(b"/") {
            Some(tag) if is(tag) => depth -= 1,
            None if is(tag) => depth += 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1 + end_of_tag(&text[at + 1..])..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn says(page: &str) -> bool {
        is_said_by(page.as_bytes())
    }

    /// b5, d6: pages with status 200 that say it.
    #[test]
    fn b5_pages_that_say_that_a_client_is_unknown() {
        for page in [
            "<html>Client ID not found</html>",
            "Client ID 'dcr_7f.x' not found",
            "<h1>Client Not Registered</h1><p>The client ID <code>c-1</code> was not found in the server's registry.</p>",
            "<h2>Error: invalid_request</h2><p>Invalid client_id parameter value.</p>",
            "<pre><strong>error</strong>: invalid_client</pre><pre><strong>error_description</strong>: no</pre>",
            "<div class=\"card\"><p>Unknown\n client</p></div>",
            "<!-- ok --><title>Error</title><p>unauthorized_client: this client may not ask for codes",
            "<p>The client_id <b>abc</b> is not registered with this server</p>",
            "<p>The OAuth client was not found.</p>",
            "<p>Unregistered client. Please try again.</p>",
            "<p>Error: redirect_uri_mismatch</p>",
            "<p>This client does not exist.</p><script>var form = '<form>'</script>",
            r#"{"error":"invalid_client","error_description":"Client not found"}"#,
            r#"{"error":{"message":"clientId is unknown","code":"E1"}}"#,
        ] {
            assert!(says(page), "{page}");
        }
    }

    /// b5: sign-in and consent pages do not say it: the pages of better-auth, django-oauth-toolkit, FastMCP and
    /// oidc-provider, an application rendered by a script, and similar wording.
    #[test]
    fn b5_pages_to_sign_in_at_say_no_such_thing() {
        for page in [
            // better-auth: the application's own page, or what a script is told
            r#"<form action="/login?client_id=unknown-client" method="post"><input name="email"><button>Continue</button></form>"#,
            r#"{"redirect":true,"url":"https://as.example/login?client_id=x&error_description=client_id+not+found"}"#,
            // django-oauth-toolkit: Django's own page, and the toolkit's
            r#"<title>Log in | Django site admin</title><p class="errornote">Please enter the correct username.</p>
               <form action="/accounts/login/" method="post" id="login-form"><input type="hidden" name="next"
               value="/o/authorize/?client_id=x"><input type="text" name="username" required id="id_username"></form>"#,
            r#"<div class="block-center"><form id="authorizationForm" method="post"><h3 class="block-center-heading">
               Authorize finmcp?</h3><p>Application requires the following permissions</p><ul><li>Read</li></ul></form></div>"#,
            // FastMCP
            r#"<h1>Application Access Request</h1><div class="info-box"><p>The application <strong>Unknown client</strong>
               wants to access the MCP server <strong>FastMCP</strong>. Please ensure you recognize the callback address
               below.</p></div><details><summary>Advanced Details</summary>Application ID: client_id unknown Redirect URI:
               http://127.0.0.1:1/callback</details><form id="consentForm" method="POST" action=""></form>"#,
            // oidc-provider, with its debug information
            r#"<title>Sign-in</title><style>.login-client-image {}</style><h1>Sign-in</h1><form autocomplete="off"
               action="/interaction/1" method="post"><input required type="password" name="password"></form>
               <details><summary>DEBUG information</summary>PARAMS client_id: c-1 redirect_uri: http://127.0.0.1:1/callback
               error: unknown</details>"#,
            "<li>the client is asking you to confirm previously given authorization</li>",
            // a page that a script draws, with all its messages
            r#"<div id="root"></div><noscript>Enable JavaScript</noscript><script>m={e:"Client ID not found"}</script>"#,
            "<script src=a.js></script><template><p>Invalid client</p></template><!-- unknown client -->",
            "<main>Welcome back</main><div role=alert hidden><p>Client not found</p></div>",
            r#"<div style="display: none"><div>x</div> unknown client </div><p>Sign in with your passkey</p>"#,
            r#"<a title="unknown client" href="/x?error=invalid_client">Continue</a>"#,
            // words that are alike
            "<p>Sign in to continue to finmcp. Your client ID is safe with us.</p>",
            "<p>The client certificate is invalid</p>",
            "<p>Invalid username. Unknown device. Page not found.</p>",
            r#"{"error":"login_required"}"#,
            "",
        ] {
            assert!(!says(page), "{page}");
        }
        let far = format!("client id {} not found", "word ".repeat(DISTANCE + 1));
        assert!(!says(&far));
    }

    proptest! {
        #[test]
        fn b5_any_page_is_read(page in r#"[<>/!a-f "'=\-é]{0,80}"#) {
            let hidden = format!("<div hidden>{page}");
            says(&page);
            says(&hidden);
            says(&format!("<!--{page}"));
        }
    }
}
