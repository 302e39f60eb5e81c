//! The reason that a server gives in a response with an error status.

use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    printable::{printable, quoted},
    secret::Secret,
};

/// The secrets in a request, kept with its response: some servers echo them in error messages.
#[derive(Debug, Clone, Default)]
pub struct SentSecrets(Vec<Secret>);

impl SentSecrets {
    /// The secrets in `headers`: the parts of every header value that is marked sensitive.
    pub fn in_headers(headers: &HeaderMap) -> Self {
        let values = headers.values().filter(|value| value.is_sensitive());
        let parts = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split([' ', ';', '=']));
        Self(parts.filter(|part| !part.is_empty()).map(|part| Secret::new(part.to_owned())).collect())
    }

    /// Whether `text` contains one of them.
    pub fn are_contained_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| secret.is_repeated_in(text))
    }
}

/// The members that describe an error, in OAuth (RFC 6749 section 5.2), RFC 9457, and common gateways and frameworks.
#[derive(Deserialize)]
struct Document {
    error_description: Option<Value>,
    message: Option<Value>,
    detail: Option<Value>,
    error: Option<Value>,
    title: Option<Value>,
}

/// The reason that `body` gives, cleaned for display: the first line of a text, or the description in a JSON document.
/// `None` for a web page, and for a reason that repeats a secret in `sent`.
pub fn of(headers: &HeaderMap, body: &[u8], sent: &SentSecrets) -> Option<String> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = String::from_utf8_lossy(kind).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}').trim();
    let reason = match &*kind {
        "application/json" | "" | "text/plain" if text.starts_with('{') => in_json(text)?,
        json if json.ends_with("+json") => in_json(text)?,
        "text/plain" => text.to_owned(),
        "" if !text.starts_with('<') => text.to_owned(),
        _ => return None,
    };
    let line = printable(reason.lines().map(str::trim).find(|line| !line.is_empty())?);
    (!line.is_empty() && !sent.are_contained_in(&line)).then(|| quoted(&line))
}

fn in_json(text: &str) -> Option<String> {
    let document: Document = serde_json::from_str(text).ok()?;
    let Document { error_description, message, detail, error, title } = document;
    [error_description, message, detail, error, title].into_iter().flatten().find_map(|value| match value {
        Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
        // {"error": {"message": "…"}}
        Value::Object(mut members) => match members.remove("message")? {
            Value::String(text) => Some(text),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::printable::tests::{hostile_text, is_printable};

    fn typed(kind: &str) -> HeaderMap {
        let kind = (!kind.is_empty()).then(|| (header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap()));
        kind.into_iter().collect()
    }

    #[test]
    fn d7_the_reason_is_the_first_line_or_a_json_member() {
        for (kind, body, reason) in [
            ("text/plain", "upstream not configured\nat line 7", Some("upstream not configured")),
            ("Text/Plain; charset=utf-8", "\n\n  no healthy upstream  \n", Some("no healthy upstream")),
            ("", "upstream connect error", Some("upstream connect error")),
            ("application/json", r#"{"message":"no Route matched"}"#, Some("no Route matched")),
            ("application/json", r#"{"detail":"Not Found"}"#, Some("Not Found")),
            ("application/json", r#"{"error":"x","error_description":"why"}"#, Some("why")),
            ("application/json", r#"{"error":"maintenance"}"#, Some("maintenance")),
            ("application/json", r#"{"error":{"code":503,"message":"down"}}"#, Some("down")),
            ("application/problem+json", r#"{"title":"Out of credit","status":402}"#, Some("Out of credit")),
            ("application/problem+json", r#"{"title":"t","detail":"d"}"#, Some("d")),
            ("", r#"{"message":"m"}"#, Some("m")),
            ("text/plain", r#"{"message":"m"}"#, Some("m")),
            ("application/json", r#"{"message":7,"detail":["x"],"error":"e"}"#, Some("e")),
            ("application/json", r#"{"message":""}"#, None),
            ("application/json", "[]", None),
            ("application/json", "upstream", None),
            ("text/html", "<title>502</title>", None),
            ("", "<html>", None),
            ("text/plain", " \n\t ", None),
            ("application/octet-stream", "x", None),
        ] {
            assert_eq!(of(&typed(kind), body.as_bytes(), &SentSecrets::default()).as_deref(), reason, "{kind} {body}");
        }
        assert_eq!(of(&typed("text/plain"), b"\xff\xfe", &SentSecrets::default()), None);
    }

    /// A reason that repeats a secret is not shown, even if the secret is cut, split by removed characters, or escaped
    /// in JSON.
    #[test]
    fn d7_a_reason_that_repeats_a_secret_is_not_shown() {
        let sensitive = |value: &str| {
            let mut value = HeaderValue::from_str(value).unwrap();
            value.set_sensitive(true);
            value
        };
        let sent = SentSecrets::in_headers(&HeaderMap::from_iter([
            (header::AUTHORIZATION, sensitive("Bearer CANARY-0123456789-abcdef")),
            (header::COOKIE, sensitive("AWSALB=STICKY-0123456789abcdef; b=1")),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ]));
        for body in [
            "bad token CANARY-0123456789-abcdef",
            "bad token CANARY-0123456789",
            "bad token CANARY-\u{200b}0123456789-abcdef",
            "bad cookie STICKY-0123456789abcdef",
            r#"{"message":"CANARY-0123456789-abcdef"}"#,
            r#"{"detail":"\u0043ANARY-0123456789-abcdef"}"#,
        ] {
            for kind in ["text/plain", "application/json"] {
                assert_eq!(of(&typed(kind), body.as_bytes(), &sent), None, "{kind} {body}");
            }
        }
        let long = format!("{} CANARY-0123456789-abcdef", "x".repeat(195));
        assert_eq!(of(&typed("text/plain"), long.as_bytes(), &sent), None);
        for harmless in ["Bearer realm", "send application/json"] {
            assert_eq!(of(&typed("text/plain"), harmless.as_bytes(), &sent).as_deref(), Some(harmless));
        }
        assert!(!format!("{sent:?}").contains("CANARY"));
    }

    proptest! {
        #[test]
        fn d7_a_reason_is_short_and_moves_no_cursor(body in hostile_text(), kind in "(text/plain|application/json|)") {
            for body in [serde_json::json!({"message": body}).to_string(), body] {
                let reason = of(&typed(&kind), body.as_bytes(), &SentSecrets::default()).unwrap_or_default();
                prop_assert!(reason.chars().count() <= 201 && is_printable(&reason));
            }
        }
    }
}
