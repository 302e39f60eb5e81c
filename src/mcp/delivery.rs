//! Reads the messages in a JSON text from a server, and repairs invalid ones.
//!
//! A valid message passes byte for byte. Some servers also send heartbeats that are not messages, arrays of one
//! message, errors that are plain text, and `null` for absent members. finmcp interprets these, so that the client only
//! ever receives valid JSON-RPC 2.0.

use std::borrow::Cow;

use bytes::Bytes;

use crate::mcp::{
    array,
    id::Id,
    message::{Kind, Message},
    object::Object,
};

/// The content of a JSON text.
#[derive(Debug)]
pub enum Delivery {
    /// One or more messages in order. A response may lack its id.
    Messages(Vec<Message>),
    /// A response to this request with neither a result nor an error.
    Blank(Id),
    /// Not intended as a message, for example a word that keeps a stream alive.
    Heartbeat,
    /// It looks like messages but is not valid JSON, or contains too many.
    Unreadable,
}

/// The code for an error without one: internal error (JSON-RPC 2.0 section 5.1).
const NO_CODE: &str = "-32603";

/// The message for an error without one, as JSON.
const NO_MESSAGE: &str = r#""The server reported an error without a description""#;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Delivery {
    /// Reads `text`. Replaces invalid UTF-8 (WHATWG Encoding, "UTF-8 decode"), as event streams require and most JSON
    /// clients do.
    pub fn read(text: Bytes) -> Self {
        if let Some(message) = Message::parse_valid(&text) {
            return Self::Messages(vec![message]);
        }
        let text = without_mark(text);
        let text = match String::from_utf8_lossy(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(replaced) => replaced.into(),
        };
        match text.trim_ascii_start().first() {
            Some(b'{') => Self::of_object(&text),
            Some(b'[') => Self::of_array(&text),
            _ => Self::Heartbeat,
        }
    }

    /// Parses `body` as a single error response.
    pub fn refusal(body: Bytes) -> Option<Message> {
        let Self::Messages(mut messages) = Self::read(body) else { return None };
        let message = messages.pop().filter(|_| messages.is_empty())?;
        matches!(message.kind, Kind::Response { succeeded: false, .. }).then_some(message)
    }

    /// An array of messages (JSON-RPC 2.0 section 6; MCP 2025-03-26, "Batching"). Other elements are left out.
    fn of_array(text: &Bytes) -> Self {
        let Some(elements) = std::str::from_utf8(text).ok().and_then(array::split) else { return Self::Unreadable };
        let mut messages = Vec::new();
        let mut other = Self::Heartbeat;
        for element in elements.into_iter().filter(|element| element.starts_with('{')) {
            match Self::of_object(&text.slice_ref(element.as_bytes())) {
                Self::Messages(found) => messages.extend(found),
                found => other = found,
            }
        }
        if messages.is_empty() { other } else { Self::Messages(messages) }
    }

    fn of_object(text: &Bytes) -> Self {
        if let Some(message) = Message::parse_valid(text) {
            return Self::Messages(vec![message]);
        }
        let object = std::str::from_utf8(text).ok().and_then(Object::parse);
        let Some(mut object) = object else { return Self::Unreadable };
        for member in ["jsonrpc", "id", "method", "params", "result", "error"] {
            object.keep_last(member);
        }
        let id = object.get("id").and_then(Id::from_json);
        if repair(&mut object) {
            let repaired = Message::parse(object.to_string().into()).ok();
            return repaired.map_or(Self::Heartbeat, |message| Self::Messages(vec![message]));
        }
        id.filter(|_| object.get("method").is_none()).map_or(Self::Heartbeat, Self::Blank)
    }
}

/// `text` without a byte order mark (RFC 8259 section 8.1: a parser may ignore it).
pub fn without_mark(text: Bytes) -> Bytes {
    text.strip_prefix(BYTE_ORDER_MARK).map_or_else(|| text.clone(), |rest| text.slice_ref(rest))
}

/// Turns `object` into a valid message, except that a response may lack its id. Returns whether `object` is a message
/// at all.
fn repair(object: &mut Object<'_>) -> bool {
    let given = |object: &Object<'_>, name: &str| object.get(name).is_some_and(|value| value != "null");
    let is_marked = object.get("jsonrpc").is_some() || object.get("id").is_some();
    let has_id = object.get("id").is_some_and(|id| Id::from_json(id).is_some());
    let has_method = object.get("method").is_some_and(|method| method.starts_with('"'));
    let error = object.get("error").map(str::to_owned).filter(|error| error != "null");
    if let Some(error) = error {
        if !is_marked && !has_code(&error) {
            return false;
        }
        let result = object.get("result").filter(|result| *result != "null").map(str::to_owned);
        object.remove(|name| matches!(name, "method" | "params" | "result"));
        object.set("error", repaired_error(&error, result.as_deref()));
    } else if has_method && !given(object, "result") {
        // A request with an invalid id cannot be answered. An id of `null` marks a notification from a server that
        // writes every member.
        if !has_id && given(object, "id") {
            return false;
        }
        let has_parameters = object.get("params").is_some_and(|params| params.starts_with(['{', '[']));
        object.remove(|name| match name {
            "id" => !has_id,
            "params" => !has_parameters,
            _ => matches!(name, "result" | "error"),
        });
    } else if is_marked && object.get("result").is_some() {
        object.remove(|name| matches!(name, "method" | "params" | "error"));
    } else if is_marked && object.get("error").is_some() {
        object.remove(|name| matches!(name, "method" | "params"));
        object.set("error", repaired_error("null", None));
    } else {
        return false;
    }
    let is_response = object.get("method").is_none();
    if is_response && !has_id {
        object.set("id", "null");
    }
    object.set("jsonrpc", r#""2.0""#);
    true
}

/// Whether `error` is an object with a code.
fn has_code(error: &str) -> bool {
    Object::parse(error).is_some_and(|error| error.get("code").and_then(integer).is_some())
}

/// A valid error object for the server's `error` member. `data` keeps whatever did not fit elsewhere, and a `result`
/// beside the error.
fn repaired_error(said: &str, result: Option<&str>) -> String {
    let mut error = Object::parse(said).unwrap_or_default();
    for member in ["code", "message", "data"] {
        error.keep_last(member);
    }
    let code = error.get("code").and_then(integer).or_else(|| integer(said));
    let message = error.get("message").filter(|message| message.starts_with('"')).map(str::to_owned);
    let message = message.or_else(|| said.starts_with('"').then(|| said.to_owned()));
    let is_whole = (code.is_some() && message.is_some()) || said.starts_with('"') || matches!(said, "null" | "{}");
    let data = if is_whole { result } else { Some(said) };
    error.set("code", code.unwrap_or_else(|| NO_CODE.to_owned()));
    error.set("message", message.unwrap_or_else(|| NO_MESSAGE.to_owned()));
    if let Some(data) = data.filter(|_| error.get("data").is_none()) {
        let data = if is_whole { format!(r#"{{"result":{data}}}"#) } else { data.to_owned() };
        error.set("data", data);
    }
    error.to_string()
}

/// The integer in `json`, written as `-32601`, `-32601.0` or `"-32601"`.
fn integer(json: &str) -> Option<String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let decoded: Option<String> = json.starts_with('"').then(|| serde_json::from_str(json).ok()).flatten();
    let text = decoded.as_deref().unwrap_or(json);
    if let Ok(integer) = text.parse::<i64>() {
        return Some(integer.to_string());
    }
    let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)?;
    Some(format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: impl Into<Vec<u8>>) -> String {
        let text: Vec<u8> = text.into();
        match Delivery::read(text.into()) {
            Delivery::Messages(messages) => {
                let texts = messages.iter().map(|message| String::from_utf8(message.raw().to_vec()).unwrap());
                texts.collect::<Vec<_>>().join(" ")
            }
            Delivery::Blank(id) => format!("blank {id}"),
            Delivery::Heartbeat => "heartbeat".to_owned(),
            Delivery::Unreadable => "unreadable".to_owned(),
        }
    }

    /// a4: a valid message passes byte for byte, alone and in an array.
    #[test]
    fn a4_a_valid_message_is_not_touched() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"n":1.10,"n":2,"lone":"\ud800"}}"#,
            r#" { "result" : null , "id" : "a" , "jsonrpc" : "2.0" , "z" : 1e400 } "#,
            r#"{"jsonrpc":"2.0","id":-1,"error":{"code":-32601,"message":"","data":[1.0],"z":1}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":0,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"a","params":[1.0]}"#,
            r#"{"jsonrpc":"2.0","id":1e2,"method":"a\u0062"}"#,
        ] {
            assert_eq!(read(text), text);
            assert_eq!(read(format!("\u{feff}{text}")), text);
            assert_eq!(read(format!("[{text}]")), text.trim());
            assert_eq!(read(format!("[ {text},{{}},7 , {text} ]")), format!("{0} {0}", text.trim()));
        }
    }

    /// a4: an almost valid message becomes a valid one.
    #[test]
    fn a4_an_almost_valid_message_is_repaired() {
        const NONE: &str = r#""code":-32603,"message":"The server reported an error without a description""#;
        let error = |id: &str, error: &str| format!(r#"{{"id":{id},"error":{error},"jsonrpc":"2.0"}}"#);
        for (text, expected) in [
            (r#"{"id":1,"result":{}}"#, r#"{"id":1,"result":{},"jsonrpc":"2.0"}"#.to_owned()),
            (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into()),
            (r#"{"jsonrpc":2.0,"result":1.10}"#, r#"{"jsonrpc":"2.0","result":1.10,"id":null}"#.into()),
            (r#"{"jsonrpc":"2.0","id":[1],"result":1}"#, r#"{"jsonrpc":"2.0","id":null,"result":1}"#.into()),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"result":1,"result":2}"#, r#"{"jsonrpc":"2.0","id":2,"result":2}"#.into()),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null}"#, r#"{"jsonrpc":"2.0","id":1,"result":1}"#.into()),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#, r#"{"jsonrpc":"2.0","id":1,"result":1}"#.into()),
            (r#"{"jsonrpc":"2.0","id":1,"method":null,"result":1}"#, r#"{"jsonrpc":"2.0","id":1,"result":1}"#.into()),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"n","params":null,"result":null,"error":null}"#,
                r#"{"jsonrpc":"2.0","method":"n"}"#.into(),
            ),
            (r#"{"jsonrpc":"2.0","id":5,"method":"r","params":7}"#, r#"{"jsonrpc":"2.0","id":5,"method":"r"}"#.into()),
            (r#"{"id":1,"error":"t\u0065xt"}"#, error("1", r#"{"code":-32603,"message":"t\u0065xt"}"#)),
            (r#"{"id":1,"error":null}"#, error("1", &format!("{{{NONE}}}"))),
            (r#"{"id":1,"error":{}}"#, error("1", &format!("{{{NONE}}}"))),
            (r#"{"id":1,"error":-5}"#, error("1", r#"{"code":-5,"message":"The server reported an error without a description","data":-5}"#)),
            (r#"{"id":1,"error":[1]}"#, error("1", &format!(r#"{{{NONE},"data":[1]}}"#))),
            (r#"{"id":1,"error":{"code":1.0,"message":"x"}}"#, error("1", r#"{"code":1,"message":"x"}"#)),
            (r#"{"id":1,"error":{"code":"-7","message":"x","z":1.0}}"#, error("1", r#"{"code":-7,"message":"x","z":1.0}"#)),
            (
                r#"{"id":1,"error":{"code":"E1","message":"x"}}"#,
                error("1", r#"{"code":-32603,"message":"x","data":{"code":"E1","message":"x"}}"#),
            ),
            (
                r#"{"id":1,"error":{"code":1.5,"message":null,"data":2}}"#,
                error("1", r#"{"code":-32603,"message":"The server reported an error without a description","data":2}"#),
            ),
            (
                r#"{"id":1,"error":{"code":3,"message":"x"},"result":{"paid":1.10}}"#,
                error("1", r#"{"code":3,"message":"x","data":{"result":{"paid":1.10}}}"#),
            ),
            (
                r#"{"id":1,"error":"x","result":{"paid":1.10}}"#,
                error("1", r#"{"code":-32603,"message":"x","data":{"result":{"paid":1.10}}}"#),
            ),
            (
                r#"{"error":{"code":99999999999999999999,"message":"x"},"id":1}"#,
                r#"{"error":{"code":-32603,"message":"x","data":{"code":99999999999999999999,"message":"x"}},"id":1,"jsonrpc":"2.0"}"#.into(),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
            assert!(Message::parse_valid(&expected.into()).is_some(), "{text}");
        }
        assert_eq!(
            read(b"{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"x\":\"caf\xe9\"}}"),
            "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"x\":\"caf\u{fffd}\"}}"
        );
    }

    /// a5: any other text is classified, because that decides the error if no response follows.
    #[test]
    fn a5_other_texts_are_classified() {
        for text in ["", " ", "ping", "7", "null", r#""x""#, "{}", "[]", "[[]]", r#"{"type":"ping"}"#, "12:00", "NaN"] {
            assert_eq!(read(text), "heartbeat", "{text}");
        }
        for text in
            [r#"{"result":"ok"}"#, r#"{"error":"x"}"#, r#"{"error":{"code":"x"}}"#, r#"{"id":[1],"method":"m"}"#]
        {
            assert_eq!(read(text), "heartbeat", "{text}");
        }
        for text in ["{", "[1", r#"{"jsonrpc":"2.0","id":1,"result":NaN}"#, r#"{"id":1,"result":{},}"#, "{} {}", "[\0]"]
        {
            assert_eq!(read(text), "unreadable", "{text}");
        }
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":7}"#), "blank 7");
        assert_eq!(read(r#"[{"jsonrpc":"2.0","id":"7","z":1}]"#), r#"blank "7""#);
    }

    /// a5: the number of messages in an array is limited.
    #[test]
    fn a5_an_array_with_too_many_elements_is_refused() {
        let one = r#"{"jsonrpc":"2.0","method":"n"}"#;
        let array = |count: usize| format!("[{}]", vec![one; count].join(","));
        assert_eq!(read(array(array::LIMIT)).matches("method").count(), array::LIMIT);
        assert_eq!(read(array(array::LIMIT + 1)), "unreadable");
    }

    /// a4: the body of an error status counts as a JSON-RPC error only if it is recognisably one.
    #[test]
    fn a4_a_refusal_is_a_json_rpc_error() {
        let refusal = |text: &'static str| Delivery::refusal(Bytes::from_static(text.as_bytes()));
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"error":"text"}"#,
            r#"{"error":{"code":-32000,"message":"x"}}"#,
            r#"{"error":{"code":400,"status":"INVALID"}}"#,
        ] {
            assert!(refusal(text).is_some_and(|message| message.error_code().is_some()), "{text}");
        }
        for text in [
            r#"{"error":"invalid_token","error_description":"x"}"#,
            r#"{"error":{"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"[{"jsonrpc":"2.0","id":1,"error":"a"},{"jsonrpc":"2.0","id":2,"error":"b"}]"#,
            "",
        ] {
            assert!(refusal(text).is_none(), "{text}");
        }
    }
}
