//! Strict parsing of JSON from servers.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// The deepest nesting that is accepted. OAuth documents need three levels.
const DEPTH_LIMIT: usize = 64;

/// Why a document was refused, as a clause after its name.
pub type Reason = &'static str;

/// Parses a document. Refuses a duplicate of a member in `T`, because two parsers could pick different ones. Members
/// that are not in `T` may have any value that is not nested too deeply.
///
/// # Errors
/// The [`Reason`].
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Reason> {
    if is_deep(body) {
        return Err("it is nested too deeply");
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => "a member is missing, duplicated or of the wrong type",
        _ => "it is not JSON",
    })
}

/// Whether a body is intended as a JSON document, valid or not. A web page, plain text, a bare `"OK"` and an empty body
/// are not.
pub fn is_document(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    body.trim_ascii_start().first().is_some_and(|first| b"{[".contains(first))
}

/// Whether brackets outside strings nest deeper than [`DEPTH_LIMIT`].
fn is_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == DEPTH_LIMIT => return true,
            b'[' | b'{' => depth += 1,
            // Unbalanced brackets are not JSON, which the parser reports.
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(depth: usize, inner: &str) -> String {
        "[".repeat(depth) + inner + &"]".repeat(depth)
    }

    /// t015: at most 64 levels of any bracket; brackets in strings do not count.
    #[test]
    fn t015_documents_are_shallow() {
        let brackets = "[{".repeat(100);
        for (body, is_shallow) in [
            (nested(DEPTH_LIMIT, ""), true),
            (nested(DEPTH_LIMIT + 1, ""), false),
            (nested(DEPTH_LIMIT, r#"{"a":1}"#), false),
            (r#"{"a":"#.repeat(DEPTH_LIMIT + 1) + "1" + &"}".repeat(DEPTH_LIMIT + 1), false),
            (format!(r#"{{"a":"{brackets}\\\"{brackets}","b":[1]}}"#), true),
            (format!("[{}]", vec!["[]"; 1000].join(",")), true),
            ("[".repeat(1_000_000), false),
        ] {
            let outcome = read::<Value>(body.as_bytes());
            assert_eq!(outcome.is_ok(), is_shallow, "{}", &body[..body.len().min(80)]);
            assert_eq!(outcome.is_err_and(|reason| reason.contains("deep")), !is_shallow);
        }
    }

    /// b3: valid and invalid documents, and bodies that are not documents.
    #[test]
    fn b3_documents_and_other_bodies() {
        for document in ["{}", " \r\n{\"issuer\":", "[]", "\u{feff}{}", "{{template}}"] {
            assert!(is_document(document.as_bytes()), "{document}");
        }
        for none in ["", " ", "<!doctype html>", "OK", "\"OK\"", "null", "404 page not found", "\u{feff}<html>"] {
            assert!(!is_document(none.as_bytes()), "{none}");
        }
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), r#"[\[\]{}"\\a]{0,9}"#.prop_map(Value::from)];
        leaf.prop_recursive(6, 30, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::vec((r#"[\[{"\\a]{0,3}"#, inner), 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// t015: the depth equals that of the parsed value, whatever its strings contain.
        #[test]
        fn t015_depth_is_the_depth_of_the_value(value in any_json(), around in 55..66_usize) {
            let whole = nested(around, &value.to_string());
            prop_assert_eq!(is_deep(whole.as_bytes()), around + depth(&value) > DEPTH_LIMIT);
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Value>(&body);
        }
    }
}
