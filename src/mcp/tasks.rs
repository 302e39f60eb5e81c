//! Tasks: tool calls that continue after their response, and whose state the client requests by id.
//!
//! There are two kinds that cannot be translated into each other: in MCP 2025-11-25 (experimental, "Tasks") the client
//! asks for a task and later for `tasks/result`; in the extension of MCP 2026-07-28 (SEP-2663) the server turns a call
//! into a task, and `tasks/get` returns its result. finmcp therefore offers neither across eras.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::{message::Message, object::Object};

/// The extension's name in the `extensions` of both sides' capabilities.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A task and its state, as a response or notification describes them.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// The task id. A server may accept it as proof of permission to see the result (SEP-2663, "Security
    /// Considerations").
    pub id: String,
    /// How the task ended: `ok`, `tool_error`, `error:CODE`, `failed` without details, or `cancelled`. `None` if it is
    /// still running or the server does not say.
    pub end: Option<String>,
    /// Whether the server gave a status at all.
    pub has_status: bool,
}

/// A task as either era writes it.
#[derive(Deserialize)]
struct TaskDocument<'a> {
    #[serde(rename = "taskId")]
    id: String,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl From<TaskDocument<'_>> for Task {
    fn from(document: TaskDocument<'_>) -> Self {
        let member = |object: Option<&RawValue>, name: &str| {
            let object = Object::parse(object?.get())?;
            object.get(name).map(str::to_owned)
        };
        let end = match document.status.as_deref() {
            Some("completed") if member(document.result, "isError").as_deref() == Some("true") => {
                "tool_error".to_owned()
            }
            Some("completed") => "ok".to_owned(),
            Some("failed") => member(document.error, "code")
                .and_then(|code| code.parse::<i64>().ok())
                .map_or_else(|| "failed".to_owned(), |code| format!("error:{code}")),
            Some("cancelled") => "cancelled".to_owned(),
            _ => return Self { id: document.id, end: None, has_status: document.status.is_some() },
        };
        Self { id: document.id, end: Some(end), has_status: true }
    }
}

/// The id of the task that a request names.
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

/// The task in a result of `tasks/get` or `tasks/cancel`.
pub fn described(answer: &Message) -> Option<Task> {
    answer.result::<TaskDocument<'_>>().map(Task::from)
}

/// The tasks in a result of `tasks/list`.
pub fn listed(answer: &Message) -> Vec<Task> {
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        tasks: Vec<TaskDocument<'a>>,
    }
    answer.result::<Listed<'_>>().map(|listed| listed.tasks.into_iter().map(Task::from).collect()).unwrap_or_default()
}

/// The task in a status notification: `notifications/tasks/status` in 2025-11-25, `notifications/tasks` in the
/// extension.
pub fn announced(notification: &Message) -> Option<Task> {
    match notification.method()? {
        "notifications/tasks/status" | "notifications/tasks" => {
            notification.parameters::<TaskDocument<'_>>().map(Task::from)
        }
        _ => None,
    }
}

/// The task that a call has become, by its response: `resultType: "task"` in the extension, the member `task` in
/// 2025-11-25, or the error that finmcp sends to a client without support for tasks.
pub fn created(answer: &Message) -> Option<Task> {
    #[derive(Deserialize)]
    struct Created<'a> {
        #[serde(borrow)]
        task: TaskDocument<'a>,
    }
    // A cheap check first: hardly any response contains this text.
    memchr::memmem::find(answer.raw(), b"\"taskId\"")?;
    let members = answer.result::<Object<'_>>();
    let is_result = members.is_some_and(|members| members.get("content").is_some());
    let of_2025 = || answer.result::<Created<'_>>().filter(|_| !is_result).map(|created| created.task.into());
    let refused = || answer.error_data::<TaskDocument<'_>>().map(Task::from);
    extension_task(answer).or_else(of_2025).or_else(refused)
}

/// The task that a request has become, by a modern server's response.
pub fn extension_task(answer: &Message) -> Option<Task> {
    memchr::memmem::find(answer.raw(), b"\"task\"")?;
    let is_task = answer.result::<Object<'_>>()?.get("resultType") == Some("\"task\"");
    if is_task { described(answer) } else { None }
}

/// `capabilities` without tasks, for a peer of the other era.
pub fn without_tasks(capabilities: &str) -> String {
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
    fn b15_a_call_that_became_a_task_is_recognised() {
        for (answer, expected) in [
            (r#"{"resultType":"task","taskId":"a\u0062","status":"working","ttlMs":1.0}"#, Some(task("ab", None))),
            (r#"{"resultType":"task","taskId":"a","status":"cancelled"}"#, Some(task("a", Some("cancelled")))),
            (r#"{"task":{"taskId":"a","status":"working","ttl":60000}}"#, Some(task("a", None))),
            (r#"{"task":{"taskId":"a","status":"submitted"},"_meta":{}}"#, Some(task("a", None))),
            // A tool's own result is not a task.
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
    fn b15_the_end_of_a_task_is_read_in_either_era() {
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
                assert_eq!(announced(&notification), Some(task("a", end)), "{said}");
            }
        }
        assert!(!described(&result(r#"{"taskId":"a"}"#)).unwrap().has_status);
        assert_eq!(announced(&message(r#"{"method":"notifications/progress","params":{"taskId":"a"}}"#)), None);
    }

    /// b15: the other capabilities stay the same.
    #[test]
    fn b15_tasks_are_not_offered_across_the_eras() {
        for (all, rest) in [
            (r#"{"tasks":{"list":{}},"tools":{ "n":1.10}}"#, r#"{"tools":{ "n":1.10}}"#),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"roots":{}}"#, r#"{"roots":{}}"#),
            (r#"{"extensions":{"io.modelcontextprotocol\/tasks":{},"v/ui":1.0}}"#, r#"{"extensions":{"v/ui":1.0}}"#),
            (r#"{"tasks":1,"tasks":2}"#, "{}"),
            (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"extensions":{}}"#, "{}"),
        ] {
            assert_eq!(without_tasks(all), rest, "{all}");
        }
        for same in ["{}", r#"{ "extensions":{"v/ui":{}} }"#, r#"{"x":"tasks"}"#, "[]", "null", r#"{"extensions":[]}"#]
        {
            assert_eq!(without_tasks(same), same);
        }
    }
}
