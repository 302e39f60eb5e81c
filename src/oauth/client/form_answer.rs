//! Answers of token endpoints that are forms. RFC 6749 section 5 has JSON; GitHub and others before it have this.

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde_json::{Map, Value};
use url::form_urlencoded;

/// The members that make a form an answer: a success has the first, a refusal the second.
const TELLING: [&str; 2] = ["access_token", "error"];

/// `body` as a JSON document where it is a form that says what such a document does; else as it is. A form in which a
/// name comes twice stays what it is, and is no answer: two readers could take a different one each.
pub(super) fn as_json<'b>(headers: &HeaderMap, body: &'b [u8]) -> Cow<'b, [u8]> {
    let form = if may_be_form(headers) { members(body) } else { None };
    match form.and_then(|form| serde_json::to_vec(&form).ok()) {
        Some(document) => document.into(),
        None => body.into(),
    }
}

/// Whether an answer with these headers may be a form: it says so, or that it is text, or nothing.
fn may_be_form(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/x-www-form-urlencoded", "text/plain", ""].iter().any(|form| essence.eq_ignore_ascii_case(form))
}

fn members(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.trim_ascii();
    if body.iter().any(u8::is_ascii_control) {
        return None;
    }
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        // Text for people can have a `=` in it too.
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name || members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    TELLING.iter().any(|name| members.contains_key(*name)).then_some(members)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn read(content_type: Option<&'static str>, body: &str) -> Option<Value> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let read = as_json(&headers, body.as_bytes());
        (*read != *body.as_bytes()).then(|| serde_json::from_slice(&read).unwrap())
    }

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");

    /// b1, b10: a form says what a JSON document does, whichever way it is labelled.
    #[test]
    fn b10_a_form_is_an_answer() {
        let refusal = "error=bad_refresh_token&error_description=The+refresh+token+passed+is+incorrect+or+expired.";
        for content_type in [FORM, Some("Application/X-WWW-Form-URLencoded"), Some("text/plain"), None] {
            let read = read(content_type, refusal).unwrap();
            assert_eq!(read["error"], "bad_refresh_token", "{content_type:?}");
            assert_eq!(read["error_description"], "The refresh token passed is incorrect or expired.");
        }
        for (body, document) in [
            (
                "access_token=a%2Bb&token_type=bearer&scope=&expires_in=60\n",
                json!({"access_token": "a+b", "token_type": "bearer", "scope": "", "expires_in": "60"}),
            ),
            ("error=%22%7D&x", json!({"error": "\"}", "x": ""})),
            ("error=no such code", json!({"error": "no such code"})),
        ] {
            assert_eq!(read(FORM, body).unwrap(), document);
        }
    }

    /// b10: what is no such form is left as it is: pages, JSON, text for people, a member twice.
    #[test]
    fn b10_what_is_no_form_is_left_alone() {
        for body in [
            "",
            "OK",
            "x=y",
            r#"{"error":"a=b"}"#,
            "<a href='?error=x'>",
            "error=a&error=b",
            "access_token=a&scope=x&scope=y",
            "the access_token=a is spent",
            "sorry, error=5&error=6",
            "error=a\nat line 7",
            "error=a\u{1b}[2J",
        ] {
            assert_eq!(read(FORM, body), None, "{body}");
        }
        for content_type in ["text/html", "application/json", "application/octet-stream"] {
            assert_eq!(read(Some(content_type), "error=invalid_grant"), None, "{content_type}");
        }
    }
}
