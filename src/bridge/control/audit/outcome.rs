//! The outcome of a call.

use std::borrow::Cow;

use crate::{
    conversation::reply::ReplyCode,
    mcp::{
        message::{Kind, Message},
        object::Object,
    },
};

/// The outcome that the response to a call stands for.
pub fn outcome(answer: &Message) -> Cow<'static, str> {
    if !matches!(answer.kind, Kind::Response { succeeded: true, .. }) {
        return match answer.error_code() {
            Some(code) if code == i64::from(ReplyCode::OutcomeUnknown as i32) => "unknown".into(),
            Some(code) => format!("error:{code}").into(),
            None => "error".into(),
        };
    }
    let result = answer.result::<Object<'_>>().unwrap_or_default();
    match (result.get("resultType"), result.get("isError")) {
        (Some(r#""input_required""#), _) => "input_required".into(),
        (_, Some("true")) => "tool_error".into(),
        _ => "ok".into(),
    }
}
