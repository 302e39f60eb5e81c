//! Form-encoded token responses. RFC 6749 section 5 requires JSON, but GitHub and some older servers send forms.

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde_json::{Map, Value};
use url::form_urlencoded;

/// The members that identify a form as a token response: a success has the first, a refusal the second.
const IDENTIFYING: [&str; 2] = ["access_token", "error"];

/// Converts a form-encoded token response to JSON; returns any other body unchanged. A form with a duplicate name is
/// not converted, because two parsers could pick different values.
pub(super) fn as_json<'b>(headers: &HeaderMap, body: &'b [u8]) -> Cow<'b, [u8]> {
    let form = if may_be_form(headers) { members(body) } else { None };
    match form.and_then(|form| serde_json::to_vec(&form).ok()) {
        Some(document) => document.into(),
        None => body.into(),
    }
}

/// Whether a response with these headers may be a form: its content type is a form, plain text or missing.
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
        // Prose can contain `=` too.
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name || members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    IDENTIFYING.iter().any(|name| members.contains_key(*name)).then_some(members)
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

    /// b1, b10: a form is converted, with any plausible content type.
    #[test]
    fn b10_a_form_is_a_token_response() {
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

    /// b10: other bodies are unchanged: web pages, JSON, prose, a form with a duplicate name.
    #[test]
    fn b10_other_bodies_are_unchanged() {
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
