//! How a server says that it does not know the session any more: by the specification with 404, in the field in many
//! other ways.

use http::StatusCode;
use serde::Deserialize;

use crate::mcp::{codes::METHOD_NOT_FOUND, id::Id, message::Message};

/// Whether an error status means that the session is lost, where one was named: `refusal` is the JSON-RPC error in the
/// body, `asked` the id of the request that it answers.
///
/// The specification's status is 404 (MCP 2025-11-25 transports, "Session Management"); servers also use 400, 410 and
/// their like, with no JSON-RPC error or one for no request. Such a server has not looked at the request. An error for
/// the request's own id is its answer.
pub fn is_meant(status: StatusCode, refusal: Option<&Message>, asked: Option<&Id>) -> bool {
    match status.as_u16() {
        404 => refusal.and_then(Message::error_code) != Some(METHOD_NOT_FOUND),
        400 | 409 | 410 | 412 | 422 => refusal.is_none_or(|refusal| asked.is_none() || refusal.id() != asked),
        _ => false,
    }
}

/// Whether an error response with a status of success says so: in the words of the servers that do that, and nothing
/// beside them. A tool that has sessions too says more, or says it in a result.
pub fn is_said(error: &Message) -> bool {
    const WORDS: [&str; 17] = [
        "session not found",
        "session id not found",
        "session does not exist",
        "session expired",
        "session has expired",
        "session terminated",
        "session has been terminated",
        "session closed",
        "no such session",
        "unknown session",
        "unknown session id",
        "invalid session",
        "invalid session id",
        "invalid or expired session",
        "invalid or missing session id",
        "no valid session id provided",
        "server not initialized",
    ];
    #[derive(Deserialize)]
    struct Outcome {
        error: Said,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Structured { message: String },
        Plain(String),
    }
    let Ok(Outcome { error }) = serde_json::from_slice(error.raw()) else { return false };
    let (Said::Structured { message } | Said::Plain(message)) = error;
    let said = message.trim().trim_end_matches(['.', '!']).to_ascii_lowercase();
    let said = said.strip_prefix("bad request: ").or(said.strip_prefix("not found: ")).unwrap_or(&said);
    WORDS.contains(&said.strip_prefix("mcp ").unwrap_or(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into()).unwrap()
    }

    /// a3: which refusals mean a lost session: status, body, and whether it is one for request 7.
    #[test]
    fn a3_a_lost_session_is_told_by_status_and_id() {
        for (status, body, lost) in [
            (404, None, true),
            (404, Some(r#"{"id":7,"error":{"code":-32001,"message":"Session not found"}}"#), true),
            (404, Some(r#"{"id":7,"error":{"code":-32601,"message":"Method not found"}}"#), false),
            (400, None, true),
            (400, Some(r#"{"id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#), true),
            (400, Some(r#"{"id":"server-error","error":{"code":-32600,"message":"No valid session ID"}}"#), true),
            (400, Some(r#"{"error":{"code":-32000,"message":"x"}}"#), true),
            (400, Some(r#"{"id":7,"error":{"code":-32602,"message":"Invalid arguments"}}"#), false),
            (410, None, true),
            (422, Some(r#"{"id":7,"error":{"code":1,"message":"x"}}"#), false),
            (401, None, false),
            (403, None, false),
            (429, None, false),
            (413, None, false),
            (500, None, false),
            (503, Some(r#"{"id":null,"error":{"code":-32000,"message":"Session not found"}}"#), false),
        ] {
            let refusal = body.map(message);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_meant(status, refusal.as_ref(), Some(&Id::from_number(7))), lost, "{status} {body:?}");
        }
    }

    /// a3: with a status of success only the words tell, and only these.
    #[test]
    fn a3_a_lost_session_is_told_by_known_words_alone() {
        for (error, said) in [
            (r#"{"code":-32001,"message":"Session not found"}"#, true),
            (r#"{"code":-32000,"message":"Bad Request: No valid session ID provided"}"#, true),
            (r#"{"code":-32000,"message":"Server not initialized."}"#, true),
            (r#""MCP session expired""#, true),
            (r#"{"code":-32000,"message":"browser session not found: open one first"}"#, false),
            (r#"{"code":-32602,"message":"invalid arguments"}"#, false),
            (r#"{"code":-32000}"#, false),
            ("null", false),
        ] {
            assert_eq!(is_said(&message(&format!(r#"{{"id":1,"error":{error}}}"#))), said, "{error}");
        }
    }
}
