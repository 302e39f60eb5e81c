//! The audit log: who called which tool, when, and what came of it.
//!
//! One line of JSON for each `tools/call`, appended to a file as soon as its outcome is known and before the client
//! hears of it; and one more when the client hears how the task ended that a call has become. A line is written in one
//! piece, so that several processes can share the file. Where a line cannot be written, it is kept, somebody is told, and
//! no further tool is called until it is written.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    fs::OpenOptions,
    io::{ErrorKind, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    bridge::{
        message::{Id, Kind, Message},
        object::{self, Object},
        reply::{self, ReplyCode},
        tasks::{self, Task},
    },
    credential::{
        clock::Clock,
        private_folder::{self, PlaceError},
    },
};

/// What is recorded of every call, and where.
pub struct Terms {
    /// The file: a plain one that is this person's alone. It is made where it is missing.
    pub path: PathBuf,
    /// The profile that is served.
    pub profile: String,
    /// Its environment, empty where there is one only.
    pub environment: String,
    /// Whether the values of the arguments are recorded too.
    pub arguments: bool,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Tells somebody that the log cannot be written.
    pub complain: Box<dyn Fn(AuditError) + Send>,
}

/// The log, and the calls that are open.
pub struct Audit {
    terms: Terms,
    /// The client's unanswered requests. Of several with one id the last is answered first: it is refused for that.
    open: HashMap<Id, Vec<Open>>,
    tasks: Tasks,
    unwritten: VecDeque<Vec<u8>>,
    /// Why the first of these is not written.
    failure: Option<AuditError>,
}

/// Why the log cannot be kept: what was tried with which file, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(String);

/// A request of the client that has no answer yet.
enum Open {
    Call(Call),
    /// About the task of this id, by this method.
    Task(String, Box<str>),
    /// `tasks/list`.
    Tasks,
    Other,
}

/// A call that has no outcome yet.
struct Call {
    /// The tool's name, as JSON.
    tool: Cow<'static, str>,
    /// The arguments exactly as the client wrote them.
    arguments: Option<String>,
    time: Timestamp,
    begun: Instant,
}

/// How many tasks are remembered; then the oldest is forgotten, and with it only which call it was.
const TASKS_LIMIT: usize = 4096;

/// The tasks that the client has heard of, by the digests of their ids.
#[derive(Default)]
struct Tasks {
    seen: HashMap<String, Seen>,
    order: VecDeque<String>,
}

#[derive(Default)]
struct Seen {
    /// The call that became it, where that was in this conversation.
    call: Option<Begun>,
    /// How it ended, as it was recorded.
    end: Option<String>,
}

/// What is kept of a call that became a task, for the line of its end.
struct Begun {
    tool: Cow<'static, str>,
    arguments_sha256: String,
    begun: Instant,
}

impl Tasks {
    fn see(&mut self, task: &str) -> &mut Seen {
        if !self.seen.contains_key(task) {
            if self.order.len() == TASKS_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
            self.order.push_back(task.to_owned());
        }
        self.seen.entry(task.to_owned()).or_default()
    }
}

impl Audit {
    /// The log on these terms.
    ///
    /// # Errors
    /// The file cannot be appended to, leads elsewhere, or is open to others.
    pub fn open(terms: Terms) -> Result<Self, AuditError> {
        append(&terms.path, b"")?;
        Ok(Self { terms, open: HashMap::new(), tasks: Tasks::default(), unwritten: VecDeque::new(), failure: None })
    }

    /// Takes note of what the client says. A call whose outcome could not be recorded is not to be made: it breaks off,
    /// with what the client is answered, where it waits for an answer.
    pub fn received(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        let is_call = message.method() == Some("tools/call");
        match &message.kind {
            Kind::Request { id, .. } if is_call && !self.catch_up() => {
                let why = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
                let said = format!("No tool is called, because the audit log cannot be kept: {why}");
                return ControlFlow::Break(Some(reply::error(id, ReplyCode::Failure, &said)));
            }
            Kind::Request { id, method } => {
                let open = match (&**method, tasks::asked_about(message)) {
                    ("tools/call", _) => Open::Call(self.call(message)),
                    ("tasks/list", _) => Open::Tasks,
                    (_, Some(task)) => Open::Task(task, method.clone()),
                    _ => Open::Other,
                };
                self.open.entry(id.clone()).or_default().push(open);
            }
            // It would have no outcome, and MCP has no such thing.
            Kind::Notification { .. } if is_call => {
                let call = self.call(message);
                self.record(&call, "refused", None);
                return ControlFlow::Break(None);
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                if let Some(Open::Call(call)) = message.cancels().and_then(|id| self.close(&id)) {
                    self.record(&call, "cancelled", None);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Takes note of what the client is told.
    pub fn answered(&mut self, message: &Message) {
        match self.answered_request(message) {
            Some(Open::Call(call)) => self.call_answered(call, message),
            Some(Open::Task(id, method)) => self.task_answered(&id, &method, message),
            Some(Open::Tasks) => tasks::listed(message).iter().for_each(|task| self.task_told(task)),
            Some(Open::Other) => {}
            None => tasks::told(message).iter().for_each(|task| self.task_told(task)),
        }
    }

    /// Takes note of what finmcp tells the client itself, where no server has carried out what was asked for.
    pub fn declined(&mut self, message: &Message) {
        if let Some(Open::Call(call)) = self.answered_request(message) {
            let outcome = outcome(message);
            self.record(&call, if matches!(&*outcome, "ok" | "input_required") { &outcome } else { "refused" }, None);
        }
    }

    fn call_answered(&mut self, call: Call, answer: &Message) {
        let Some(task) = tasks::created(answer) else { return self.record(&call, &outcome(answer), None) };
        let id = hexadecimal(&Sha256::digest(&task.id));
        self.record(&call, "task", Some(&id));
        let arguments_sha256 = arguments_sha256(call.arguments.as_ref());
        let begun = Begun { tool: call.tool, arguments_sha256, begun: call.begun };
        *self.tasks.see(&id) = Seen { call: Some(begun), end: None };
        self.task_told(&task);
    }

    /// The server has answered a request about a task: what the client hears by that of its end.
    fn task_answered(&mut self, id: &str, method: &str, answer: &Message) {
        let succeeded = matches!(answer.kind, Kind::Response { succeeded: true, .. });
        let end = match method {
            "tasks/get" => tasks::described(answer).and_then(|task| task.end),
            // (An error is the call's own, or says that there is no such task; or comes from finmcp.)
            "tasks/result" if succeeded || self.is_running(id) && !reply::is_ours(answer) => {
                Some(outcome(answer).into_owned())
            }
            // The extension's answer says no more than that the server has understood.
            "tasks/cancel" if succeeded => match tasks::described(answer) {
                Some(task) if task.has_status => task.end,
                _ => Some("cancelled".to_owned()),
            },
            _ => None,
        };
        if let Some(end) = end {
            self.task_ended(id, end);
        }
    }

    /// The server says what has become of a task, of which the client has not asked here: it counts where it is known.
    fn task_told(&mut self, task: &Task) {
        if let Some(end) = task.end.as_ref().filter(|_| self.is_running(&task.id)) {
            self.task_ended(&task.id, end.clone());
        }
    }

    /// Whether the task is one that the client has heard of, and no end of it.
    fn is_running(&self, id: &str) -> bool {
        let seen = self.tasks.seen.get(&hexadecimal(&Sha256::digest(id)));
        seen.is_some_and(|seen| seen.end.is_none())
    }

    /// Records the end of a task, once; and what the server says later, should that be something else.
    fn task_ended(&mut self, id: &str, end: String) {
        let id = hexadecimal(&Sha256::digest(id));
        let seen = self.tasks.see(&id);
        if seen.end.as_ref() == Some(&end) {
            return;
        }
        let call = seen.call.as_ref();
        let (tool, arguments) = call.map_or(("null", "null"), |call| (&*call.tool, &*call.arguments_sha256));
        let duration = call.map_or("null".to_owned(), |call| call.begun.elapsed().as_millis().to_string());
        let (tool, arguments) = (tool.to_owned(), arguments.to_owned());
        let mut line = self.line(self.terms.clock.now(), &tool, arguments);
        line.set("outcome", object::text(&end));
        line.set("duration_ms", duration);
        line.set("task_sha256", object::text(&id));
        self.tasks.see(&id).end = Some(end);
        self.write(&line);
    }

    fn call(&self, message: &Message) -> Call {
        #[derive(Deserialize)]
        struct Parameters<'a> {
            #[serde(borrow)]
            name: Option<&'a RawValue>,
            #[serde(borrow, default)]
            arguments: Option<&'a RawValue>,
        }
        let parameters = message.parameters::<Parameters<'_>>();
        let parameters = parameters.unwrap_or(Parameters { name: None, arguments: None });
        let name = parameters.name.and_then(|name| serde_json::from_str::<String>(name.get()).ok());
        Call {
            tool: name.map_or("null".into(), |name| object::text(&name).into()),
            arguments: parameters.arguments.map(|arguments| arguments.get().to_owned()),
            time: self.terms.clock.now(),
            begun: Instant::now(),
        }
    }

    fn answered_request(&mut self, message: &Message) -> Option<Open> {
        match &message.kind {
            Kind::Response { id: Some(id), .. } => self.close(id),
            _ => None,
        }
    }

    /// Ends the last request of that id.
    fn close(&mut self, id: &Id) -> Option<Open> {
        let alike = self.open.get_mut(id)?;
        let open = alike.pop();
        if alike.is_empty() {
            self.open.remove(id);
        }
        open
    }

    /// Records what came of a call; with the digest of its id, where it became a task.
    fn record(&mut self, call: &Call, outcome: &str, task: Option<&str>) {
        let mut line = self.line(call.time, &call.tool, arguments_sha256(call.arguments.as_ref()));
        if self.terms.arguments {
            // A line break between two tokens is all that can be one in JSON.
            line.set("arguments", call.arguments.as_deref().unwrap_or("null").replace(['\r', '\n'], " "));
        }
        line.set("outcome", object::text(outcome));
        line.set("duration_ms", call.begun.elapsed().as_millis().to_string());
        if let Some(task) = task {
            line.set("task_sha256", object::text(task));
        }
        self.write(&line);
    }

    /// A line with what every line begins with.
    fn line<'a>(&self, time: Timestamp, tool: &'a str, arguments_sha256: String) -> Object<'a> {
        let Terms { profile, environment, .. } = &self.terms;
        let mut line = Object::default();
        line.set("time", object::text(&format!("{time:.3}")));
        line.set("profile", object::text(profile));
        line.set("environment", if environment.is_empty() { "null".to_owned() } else { object::text(environment) });
        line.set("tool", tool);
        line.set("arguments_sha256", arguments_sha256);
        line
    }

    fn write(&mut self, line: &Object<'_>) {
        self.unwritten.push_back(format!("{line}\n").into_bytes());
        self.catch_up();
    }

    /// Writes what is not written yet. Whether that is everything now.
    fn catch_up(&mut self) -> bool {
        while let Some(line) = self.unwritten.front_mut() {
            match append(&self.terms.path, line) {
                Ok(written) if written == line.len() => drop(self.unwritten.pop_front()),
                // What is there of it ends here: it comes again, whole, on a line of its own.
                Ok(_) if line.first() != Some(&b'\n') => line.insert(0, b'\n'),
                Ok(_) => {}
                Err(error) => {
                    if self.failure.is_none() {
                        (self.terms.complain)(error.clone());
                    }
                    self.failure = Some(error);
                    return false;
                }
            }
        }
        self.failure = None;
        true
    }
}

/// Appends `bytes`, or the beginning of them where there is no room for all, and says how many. The file is opened for
/// that, so that nothing is lost in one that was moved away or deleted meanwhile.
fn append(path: &Path, bytes: &[u8]) -> Result<usize, AuditError> {
    let mut file = private_folder::open(path, OpenOptions::new().append(true).create(true))?;
    loop {
        match file.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(AuditError(format!("{} takes no more", path.display()))),
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(AuditError(format!("could not write to {}: {error}", path.display()))),
        }
    }
}

impl From<PlaceError> for AuditError {
    fn from(error: PlaceError) -> Self {
        Self(match error {
            PlaceError::Unsafe(text) => text,
            PlaceError::Failed { what, source } => format!("{what}: {source}"),
        })
    }
}

/// What came of a call that is answered so.
fn outcome(answer: &Message) -> Cow<'static, str> {
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

/// The digest of a call's arguments as the client wrote them, as JSON.
fn arguments_sha256(arguments: Option<&String>) -> String {
    arguments.map_or("null".to_owned(), |arguments| object::text(&hexadecimal(&Sha256::digest(arguments))))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
