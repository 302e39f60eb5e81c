//! How servers report that they no longer know a session: the specification says 404, but there are many other ways.

use http::StatusCode;
use serde::Deserialize;

use crate::mcp::{codes::METHOD_NOT_FOUND, id::Id, message::Message};

/// Whether an error status means that the session sent with the request is lost: `refusal` is the JSON-RPC error in
/// the body, `asked` the id of the request.
///
/// The specification's status is 404 (MCP 2025-11-25 transports, "Session Management"); some servers use 400, 410 and
/// others, with no JSON-RPC error or with one for no request. Such a server has not processed the request. An error
/// with the request's own id is the response to it.
pub fn is_status_of_lost_session(status: StatusCode, refusal: Option<&Message>, asked: Option<&Id>) -> bool {
    match status.as_u16() {
        404 => refusal.and_then(Message::error_code) != Some(METHOD_NOT_FOUND),
        400 | 409 | 410 | 412 | 422 => refusal.is_none_or(|refusal| asked.is_none() || refusal.id() != asked),
        _ => false,
    }
}

/// Whether an error response with a success status means a lost session: only if the message is one of those known
/// from such servers, and nothing more. A tool that has sessions too says more, or says it in a result.
pub fn is_error_of_lost_session(error: &Message) -> bool {
    const MESSAGES: [&str; 17] = [
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
    struct Response {
        error: ResponseError,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ResponseError {
        Structured { message: String },
        Plain(String),
    }
    let Ok(Response { error }) = serde_json::from_slice(error.raw()) else { return false };
    let (ResponseError::Structured { message } | ResponseError::Plain(message)) = error;
    let text = message.trim().trim_end_matches(['.', '!']).to_ascii_lowercase();
    let text = text.strip_prefix("bad request: ").or(text.strip_prefix("not found: ")).unwrap_or(&text);
    MESSAGES.contains(&text.strip_prefix("mcp ").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into()).unwrap()
    }

    /// a3: which refusals mean a lost session: by status, body, and whether the body responds to request 7.
    #[test]
    fn a3_a_lost_session_is_recognized_by_status_and_id() {
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
            assert_eq!(
                is_status_of_lost_session(status, refusal.as_ref(), Some(&Id::from_number(7))),
                lost,
                "{status} {body:?}"
            );
        }
    }

    /// a3: with a success status, only known messages mean a lost session.
    #[test]
    fn a3_with_success_only_known_messages_mean_a_lost_session() {
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
            assert_eq!(is_error_of_lost_session(&message(&format!(r#"{{"id":1,"error":{error}}}"#))), said, "{error}");
        }
    }
}
