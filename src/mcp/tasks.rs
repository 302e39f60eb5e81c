//! Tasks: calls of tools that run on after they were answered, by an id that the client asks about.
//!
//! There are two kinds, which cannot be translated into each other: MCP 2025-11-25's (experimental, "Tasks": the client asks
//! for a task and later for `tasks/result`), and the extension of MCP 2026-07-28 (SEP-2663: the server makes a task of a
//! call, and `tasks/get` has its result). So neither is offered across the eras.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::{message::Message, object::Object};

/// The extension, as both sides declare it among their capabilities' `extensions`.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A task, as far as an answer or a notification says what has become of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id, which a server may take for proof that somebody may see the result (SEP-2663, "Security Considerations").
    pub id: String,
    /// How it ended: `ok`, `tool_error`, `error:CODE`, `failed` where the server does not say more, `cancelled`. None where
    /// it runs on, or the server does not say.
    pub end: Option<String>,
    /// Whether the server says anything about its state.
    pub has_status: bool,
}

/// A task in the words of either era.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "taskId")]
    id: String,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl From<Written<'_>> for Task {
    fn from(written: Written<'_>) -> Self {
        let member = |object: Option<&RawValue>, name: &str| {
            let object = Object::parse(object?.get())?;
            object.get(name).map(str::to_owned)
        };
        let end = match written.status.as_deref() {
            Some("completed") if member(written.result, "isError").as_deref() == Some("true") => {
                "tool_error".to_owned()
            }
            Some("completed") => "ok".to_owned(),
            Some("failed") => member(written.error, "code")
                .and_then(|code| code.parse::<i64>().ok())
                .map_or_else(|| "failed".to_owned(), |code| format!("error:{code}")),
            Some("cancelled") => "cancelled".to_owned(),
            _ => return Self { id: written.id, end: None, has_status: written.status.is_some() },
        };
        Self { id: written.id, end: Some(end), has_status: true }
    }
}

/// The id of the task that a request is about.
pub fn asked_about(request: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct About {
        #[serde(rename = "taskId")]
        id: String,
    }
    match request.method()? {
        "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => {
            request.parameters::<About>().map(|about| about.id)
        }
        _ => None,
    }
}

/// The task that a result says of: of `tasks/get` or `tasks/cancel`.
pub fn described(answer: &Message) -> Option<Task> {
    answer.result::<Written<'_>>().map(Task::from)
}

/// The tasks that a result of `tasks/list` says of.
pub fn listed(answer: &Message) -> Vec<Task> {
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        tasks: Vec<Written<'a>>,
    }
    answer.result::<Listed<'_>>().map(|listed| listed.tasks.into_iter().map(Task::from).collect()).unwrap_or_default()
}

/// The task whose state the server tells of by itself: `notifications/tasks/status` of 2025-11-25, and the extension's
/// `notifications/tasks`.
pub fn told(notification: &Message) -> Option<Task> {
    match notification.method()? {
        "notifications/tasks/status" | "notifications/tasks" => {
            notification.parameters::<Written<'_>>().map(Task::from)
        }
        _ => None,
    }
}

/// The task that the answer to a call says it has become: `resultType: "task"` of the extension, the member `task` of
/// 2025-11-25, or what finmcp tells a client that cannot follow one.
pub fn created(answer: &Message) -> Option<Task> {
    #[derive(Deserialize)]
    struct Created<'a> {
        #[serde(borrow)]
        task: Written<'a>,
    }
    // Most answers are large or small, but hardly one has this in it.
    memchr::memmem::find(answer.raw(), b"\"taskId\"")?;
    let members = answer.result::<Object<'_>>();
    let is_result = members.is_some_and(|members| members.get("content").is_some());
    let of_2025 = || answer.result::<Created<'_>>().filter(|_| !is_result).map(|created| created.task.into());
    let refused = || answer.error_data::<Written<'_>>().map(Task::from);
    extension_task(answer).or_else(of_2025).or_else(refused)
}

/// The task that the answer of a modern server says its request has become.
pub fn extension_task(answer: &Message) -> Option<Task> {
    memchr::memmem::find(answer.raw(), b"\"task\"")?;
    let is_task = answer.result::<Object<'_>>()?.get("resultType") == Some("\"task\"");
    if is_task { described(answer) } else { None }
}

/// Capabilities of one side, for the other side in another era: without tasks.
pub fn not_offered(capabilities: &str) -> String {
    let Some(mut members) = Object::parse(capabilities) else { return capabilities.to_owned() };
    let extensions = members.get("extensions").and_then(Object::parse);
    let is_extended = extensions.is_some_and(|extensions| extensions.get(EXTENSION).is_some());
    if !is_extended && members.get("tasks").is_none() {
        return capabilities.to_owned();
    }
    members.remove(|name| name == "tasks");
    if is_extended {
        let mut is_left = false;
        members.edit("extensions", |extensions| {
            extensions.remove(|name| name == EXTENSION);
            is_left = !extensions.is_empty();
        });
        is_left &= !members.has_failed();
        members.remove(|name| name == "extensions" && !is_left);
    }
    members.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn result(result: &str) -> Message {
        message(&format!(r#"{{"id":1,"result":{result}}}"#))
    }

    fn task(id: &str, end: Option<&str>) -> Task {
        Task { id: id.to_owned(), end: end.map(str::to_owned), has_status: true }
    }

    #[test]
    fn b15_a_call_that_became_a_task_is_told_from_one_that_is_done() {
        for (answer, expected) in [
            (r#"{"resultType":"task","taskId":"a\u0062","status":"working","ttlMs":1.0}"#, Some(task("ab", None))),
            (r#"{"resultType":"task","taskId":"a","status":"cancelled"}"#, Some(task("a", Some("cancelled")))),
            (r#"{"task":{"taskId":"a","status":"working","ttl":60000}}"#, Some(task("a", None))),
            (r#"{"task":{"taskId":"a","status":"submitted"},"_meta":{}}"#, Some(task("a", None))),
            // What a tool says is no task.
            (r#"{"content":[],"task":{"taskId":"a","status":"working"}}"#, None),
            (r#"{"content":[],"structuredContent":{"task":{"taskId":"a"}}}"#, None),
            (r#"{"resultType":"complete","taskId":"a","status":"working"}"#, None),
            (r#"{"task":{"taskId":7}}"#, None),
            (r#"{"task":"taskId"}"#, None),
            (r#""taskId""#, None),
        ] {
            assert_eq!(created(&result(answer)), expected, "{answer}");
        }
        let refused = message(r#"{"id":1,"error":{"code":-31010,"message":"","data":{"taskId":"a"}}}"#);
        assert_eq!(created(&refused).unwrap().id, "a");
        assert_eq!(created(&message(r#"{"id":1,"error":{"code":1,"message":"\"taskId\""}}"#)), None);
    }

    #[test]
    fn b15_the_end_of_a_task_is_read_in_the_words_of_either_era() {
        for (said, end) in [
            (r#""status":"working""#, None),
            (r#""status":"input_required""#, None),
            (r#""status":"completed""#, Some("ok")),
            (r#""status":"completed","result":{"content":[],"isError":false}"#, Some("ok")),
            (r#""status":"completed","result":{"isError":true}"#, Some("tool_error")),
            (r#""status":"failed""#, Some("failed")),
            (r#""status":"failed","error":{"code":-32603,"message":"m"}"#, Some("error:-32603")),
            (r#""status":"failed","error":{"code":"x"}"#, Some("failed")),
            (r#""status":"cancelled""#, Some("cancelled")),
        ] {
            let text = format!(r#"{{"taskId":"a",{said}}}"#);
            assert_eq!(described(&result(&text)), Some(task("a", end)), "{said}");
            assert_eq!(listed(&result(&format!(r#"{{"tasks":[{text}]}}"#))), [task("a", end)], "{said}");
            for method in ["notifications/tasks/status", "notifications/tasks"] {
                let notification = message(&format!(r#"{{"method":"{method}","params":{text}}}"#));
                assert_eq!(told(&notification), Some(task("a", end)), "{said}");
            }
        }
        assert!(!described(&result(r#"{"taskId":"a"}"#)).unwrap().has_status);
        assert_eq!(told(&message(r#"{"method":"notifications/progress","params":{"taskId":"a"}}"#)), None);
    }

    /// b15: nothing else of the capabilities changes.
    #[test]
    fn b15_tasks_are_not_offered_across_the_eras() {
        for (all, rest) in [
            (r#"{"tasks":{"list":{}},"tools":{ "n":1.10}}"#, r#"{"tools":{ "n":1.10}}"#),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"roots":{}}"#, r#"{"roots":{}}"#),
            (r#"{"extensions":{"io.modelcontextprotocol\/tasks":{},"v/ui":1.0}}"#, r#"{"extensions":{"v/ui":1.0}}"#),
            (r#"{"tasks":1,"tasks":2}"#, "{}"),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"extensions":{}}"#, "{}"),
        ] {
            assert_eq!(not_offered(all), rest, "{all}");
        }
        for same in ["{}", r#"{ "extensions":{"v/ui":{}} }"#, r#"{"x":"tasks"}"#, "[]", "null", r#"{"extensions":[]}"#]
        {
            assert_eq!(not_offered(same), same);
        }
    }
}
