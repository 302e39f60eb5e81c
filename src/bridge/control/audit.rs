//! The audit log: which tool was called when, and with what outcome.
//!
//! One line of JSON per `tools/call`, appended as soon as the outcome is known and before the client receives it; and
//! one more line when the client learns how a task ended that a call created. A line is written in one piece, so that
//! several processes can share the file. finmcp keeps a line that it cannot write, reports the error, and calls no
//! further tool until the line is written.
//!
//! The file may be on a network, where a write can take arbitrarily long, so a separate thread writes it. Meanwhile
//! the response to the call and the next call wait for the line; everything else goes on.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    fs::OpenOptions,
    io::{ErrorKind, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    conversation::reply::{self, ReplyCode},
    credential::clock::Clock,
    disk::private_folder::{self, PlaceError},
    mcp::{
        id::Id,
        message::{Kind, Message},
        object::{self, Object},
        tasks::{self, Task},
    },
};

/// Where calls are recorded, and what of them.
pub struct AuditOptions {
    /// The file, which must be a regular file that only this user can access. Created if it is missing.
    pub path: PathBuf,
    /// The served profile.
    pub profile: String,
    /// Its environment; empty if the server has only one.
    pub environment: String,
    /// Whether to record the values of the arguments.
    pub arguments: bool,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Reports that the log cannot be written.
    pub report_failure: Box<dyn Fn(AuditError) + Send>,
}

/// How long writing a line may take. After that the log counts as failed until the line is written.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// The audit log, with the calls that have no outcome yet.
pub struct Audit {
    options: AuditOptions,
    /// The client's unanswered requests. If several share an id, the last one is answered first: it is refused for the
    /// duplicate id.
    open: HashMap<Id, Vec<Open>>,
    tasks: Tasks,
    orders: std::sync::mpsc::Sender<Order>,
    reports: mpsc::UnboundedReceiver<Option<AuditError>>,
    /// How many orders were sent to the writing thread, and how many reports came back: one for each order.
    given: u64,
    reported: u64,
    /// Why the log cannot be written at present.
    failure: Option<AuditError>,
    /// The messages that wait for the report with this number, and since when the first one waits.
    waiting: VecDeque<(u64, Waiting)>,
    since: Instant,
}

enum Order {
    Write(Vec<u8>),
    /// Retries the lines that could not be written.
    TryAgain,
}

/// A message that waits for the log.
#[derive(Debug)]
enum Waiting {
    Call(Message),
    /// A response to a call, or another message that tells the client how a task ended.
    Answer(Message),
}

/// A message that need not wait any longer.
#[derive(Debug)]
pub enum Released {
    /// A call for the server.
    Call(Message),
    /// A message for the client.
    Answer(Message),
}

/// Why the log cannot be written: the operation, the file and the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(String);

/// A client's request without a response.
enum Open {
    Call(Call),
    /// A request about the task with this id, with its method.
    Task(String, Box<str>),
    Tasks,
    Other,
}

/// A call without an outcome.
struct Call {
    /// The tool's name, as JSON.
    tool: Cow<'static, str>,
    /// The digest of the arguments exactly as the client wrote them, as JSON.
    digest: Cow<'static, str>,
    /// The arguments themselves, if they are recorded.
    arguments: Option<String>,
    time: Timestamp,
    begun: Instant,
}

/// How many tasks are remembered. Beyond that the oldest is forgotten; its last line then lacks the call's details.
const TASKS_LIMIT: usize = 4096;

/// The tasks that the client has heard of, by the digests of their ids.
#[derive(Default)]
struct Tasks {
    known: HashMap<String, KnownTask>,
    order: VecDeque<String>,
}

#[derive(Default)]
struct KnownTask {
    /// The call that created it, if that happened in this conversation.
    call: Option<TaskCall>,
    end: Option<String>,
}

/// The details of a call that created a task, for the task's last line.
struct TaskCall {
    tool: Cow<'static, str>,
    digest: Cow<'static, str>,
    begun: Instant,
}

impl Tasks {
    fn known(&mut self, task: &str) -> &mut KnownTask {
        if !self.known.contains_key(task) {
            if self.order.len() == TASKS_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(task.to_owned());
        }
        self.known.entry(task.to_owned()).or_default()
    }
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be appended to, is a link, or is accessible to others.
    pub fn open(options: AuditOptions) -> Result<Self, AuditError> {
        append(&options.path, b"")?;
        let path = options.path.clone();
        Self::with(options, move |line| append(&path, line))
    }

    /// A log whose lines `write` writes on a separate thread; it returns how many bytes it has written.
    fn with(
        options: AuditOptions,
        write: impl FnMut(&[u8]) -> Result<usize, AuditError> + Send + 'static,
    ) -> Result<Self, AuditError> {
        let (orders, received) = std::sync::mpsc::channel();
        let (report, reports) = mpsc::unbounded_channel();
        let writing =
            thread::Builder::new().name("audit".to_owned()).spawn(move || run_writer(&received, &report, write));
        writing.map_err(|error| AuditError(format!("could not start the log's thread: {error}")))?;
        Ok(Self {
            options,
            open: HashMap::new(),
            tasks: Tasks::default(),
            orders,
            reports,
            given: 0,
            reported: 0,
            failure: None,
            waiting: VecDeque::new(),
            since: Instant::now(),
        })
    }

    /// Observes a message from the client. Breaks if the message must not go on: a call that waits for the log and
    /// comes back as [`Released`], or one that cannot be recorded, with the response to send to the client if it gets
    /// one now.
    pub fn received(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        let is_call = message.method() == Some("tools/call");
        match &message.kind {
            Kind::Request { id, method } => {
                if is_call && self.failure.is_some() && !self.is_caught_up() {
                    return ControlFlow::Break(Some(self.refusal(id)));
                }
                let open = match (&**method, tasks::asked_about(message)) {
                    ("tools/call", _) => Open::Call(self.call(message)),
                    ("tasks/list", _) => Open::Tasks,
                    (_, Some(task)) => Open::Task(task, method.clone()),
                    _ => Open::Other,
                };
                self.open.entry(id.clone()).or_default().push(open);
                if is_call && self.failure.is_some() {
                    self.order(Order::TryAgain);
                }
                if is_call && !self.is_caught_up() {
                    self.queue(Waiting::Call(message.clone()));
                    return ControlFlow::Break(None);
                }
            }
            // A call sent as a notification would have no outcome, and MCP does not allow it.
            Kind::Notification { .. } if is_call => {
                let call = self.call(message);
                self.record(&call, "refused", None);
                return ControlFlow::Break(None);
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                let Some(id) = message.cancels() else { return ControlFlow::Continue(()) };
                if let Some(Open::Call(call)) = self.close(&id) {
                    self.record(&call, "cancelled", None);
                }
                let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Call(call) if call.id() == Some(&id));
                let before = self.waiting.len();
                self.waiting.retain(|(_, waiting)| !is_it(waiting));
                if self.waiting.len() < before {
                    return ControlFlow::Break(None);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Observes a message to the client; returns it unless it has to wait for its line.
    pub fn answered(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        match self.answered_request(&message) {
            Some(Open::Call(call)) => self.call_answered(call, &message),
            Some(Open::Task(id, method)) => self.task_answered(&id, &method, &message),
            Some(Open::Tasks) => tasks::listed(&message).iter().for_each(|task| self.task_reported(task)),
            Some(Open::Other) => {}
            None => tasks::announced(&message).iter().for_each(|task| self.task_reported(task)),
        }
        self.after_its_line(before, message)
    }

    /// The same for finmcp's own responses, for which no server has carried out the request.
    pub fn declined(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        if let Some(Open::Call(call)) = self.answered_request(&message) {
            let outcome = outcome(&message);
            self.record(&call, if matches!(&*outcome, "ok" | "input_required") { &outcome } else { "refused" }, None);
        }
        self.after_its_line(before, message)
    }

    /// Returns when a waiting message may go on or the file has taken too long. Cancel-safe.
    pub async fn changed(&mut self) {
        tokio::select! {
            report = self.reports.recv() => match report {
                Some(report) => self.handle_report(report),
                None => {
                    self.reported = self.given;
                    self.fail(AuditError("the thread that writes the audit log has ended".to_owned()));
                }
            },
            () = sleep_until(self.since + WRITE_LIMIT), if self.failure.is_none() => {
                let path = self.options.path.display();
                self.fail(AuditError(format!("{path} has not accepted a line for {} s", WRITE_LIMIT.as_secs())));
            }
        }
    }

    /// Whether [`Audit::changed`] has something to wait for.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() || !self.is_caught_up()
    }

    /// How many bytes are waiting.
    pub fn bytes(&self) -> usize {
        let length = |(_, waiting): &(u64, Waiting)| match waiting {
            Waiting::Call(message) | Waiting::Answer(message) => message.raw().len(),
        };
        self.waiting.iter().map(length).sum()
    }

    /// Removes the messages whose lines are written, or cannot be.
    pub fn released(&mut self) -> Vec<Released> {
        while let Ok(report) = self.reports.try_recv() {
            self.handle_report(report);
        }
        let mut released = Vec::new();
        while let Some((_, waiting)) =
            self.waiting.pop_front_if(|(number, _)| *number <= self.reported || self.failure.is_some())
        {
            released.push(match waiting {
                Waiting::Call(call) if self.failure.is_none() => Released::Call(call),
                Waiting::Call(call) => {
                    let Some(id) = call.id() else { continue };
                    self.close(id);
                    Released::Answer(self.refusal(id))
                }
                Waiting::Answer(answer) => Released::Answer(answer),
            });
        }
        released
    }

    /// Removes all messages that still wait, because the conversation is ending.
    pub fn release_all(&mut self) -> Vec<Released> {
        if self.is_waited_for() && self.failure.is_none() {
            self.fail(AuditError(format!("{} has not accepted the last lines", self.options.path.display())));
        }
        self.released()
    }

    fn refusal(&self, id: &Id) -> Message {
        let why = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        reply::error(
            id,
            ReplyCode::Failure,
            &format!("finmcp calls no tool while it cannot write the audit log: {why}"),
        )
    }

    /// Whether every order has been reported on, even if it failed.
    fn is_caught_up(&self) -> bool {
        self.reported == self.given
    }

    fn order(&mut self, order: Order) {
        if self.is_caught_up() {
            self.since = Instant::now();
        }
        self.given += 1;
        // If the thread has ended, no report will come: `changed` notices that.
        let _ = self.orders.send(order);
    }

    fn queue(&mut self, waiting: Waiting) {
        self.waiting.push_back((self.given, waiting));
    }

    fn handle_report(&mut self, failure: Option<AuditError>) {
        self.reported += 1;
        self.since = Instant::now();
        match failure {
            Some(error) => self.fail(error),
            None => self.failure = None,
        }
    }

    fn fail(&mut self, error: AuditError) {
        if self.failure.is_none() {
            (self.options.report_failure)(error.clone());
        }
        self.failure = Some(error);
    }

    /// Returns `message` at once if nothing was ordered for it since the order `before`, or if the log is failing;
    /// otherwise it waits for its line.
    fn after_its_line(&mut self, before: u64, message: Message) -> Option<Message> {
        if self.given == before || self.is_caught_up() || self.failure.is_some() {
            return Some(message);
        }
        self.queue(Waiting::Answer(message));
        None
    }

    fn call_answered(&mut self, call: Call, answer: &Message) {
        let Some(task) = tasks::created(answer) else { return self.record(&call, &outcome(answer), None) };
        let id = hex::encode(Sha256::digest(&task.id));
        self.record(&call, "task", Some(&id));
        let begun = TaskCall { tool: call.tool, digest: call.digest, begun: call.begun };
        *self.tasks.known(&id) = KnownTask { call: Some(begun), end: None };
        self.task_reported(&task);
    }

    /// The server has responded to a request about a task: records the end of the task, if the response tells it.
    fn task_answered(&mut self, id: &str, method: &str, answer: &Message) {
        let succeeded = matches!(answer.kind, Kind::Response { succeeded: true, .. });
        let end = match method {
            "tasks/get" => tasks::described(answer).and_then(|task| task.end),
            // An error can be the call's own, or say that there is no such task, or come from finmcp.
            "tasks/result" if succeeded || self.is_running(id) && !reply::is_from_finmcp(answer) => {
                Some(outcome(answer).into_owned())
            }
            // The tasks extension's response only acknowledges the request.
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

    /// The server reported on a task that the client did not ask about: counts only for a task known to be running.
    fn task_reported(&mut self, task: &Task) {
        if let Some(end) = task.end.as_ref().filter(|_| self.is_running(&task.id)) {
            self.task_ended(&task.id, end.clone());
        }
    }

    /// Whether the client knows of this task but has not heard of its end.
    fn is_running(&self, id: &str) -> bool {
        let seen = self.tasks.known.get(&hex::encode(Sha256::digest(id)));
        seen.is_some_and(|seen| seen.end.is_none())
    }

    /// Records the end of a task once; again only if the server later reports a different outcome.
    fn task_ended(&mut self, id: &str, end: String) {
        let id = hex::encode(Sha256::digest(id));
        let seen = self.tasks.known(&id);
        if seen.end.as_ref() == Some(&end) {
            return;
        }
        let call = seen.call.as_ref();
        let (tool, arguments) = call.map_or(("null", "null"), |call| (&*call.tool, &*call.digest));
        let duration = call.map_or("null".to_owned(), |call| call.begun.elapsed().as_millis().to_string());
        let (tool, arguments) = (tool.to_owned(), arguments.to_owned());
        let mut line = self.line(self.options.clock.now(), &tool, &arguments);
        line.set("outcome", object::text(&end));
        line.set("duration_ms", duration);
        line.set("task_sha256", object::text(&id));
        self.tasks.known(&id).end = Some(end);
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
            digest: parameters
                .arguments
                .map_or("null".into(), |arguments| object::text(&hex::encode(Sha256::digest(arguments.get()))).into()),
            arguments: parameters
                .arguments
                .filter(|_| self.options.arguments)
                .map(|arguments| arguments.get().to_owned()),
            time: self.options.clock.now(),
            begun: Instant::now(),
        }
    }

    fn answered_request(&mut self, message: &Message) -> Option<Open> {
        match &message.kind {
            Kind::Response { id: Some(id), .. } => self.close(id),
            _ => None,
        }
    }

    /// Removes the latest request with this id.
    fn close(&mut self, id: &Id) -> Option<Open> {
        let alike = self.open.get_mut(id)?;
        let open = alike.pop();
        if alike.is_empty() {
            self.open.remove(id);
        }
        open
    }

    /// Records the outcome of a call, with the digest of the task's id if the call created a task.
    fn record(&mut self, call: &Call, outcome: &str, task: Option<&str>) {
        let mut line = self.line(call.time, &call.tool, &call.digest);
        if self.options.arguments {
            // JSON allows line breaks between tokens only, never inside one.
            line.set("arguments", call.arguments.as_deref().unwrap_or("null").replace(['\r', '\n'], " "));
        }
        line.set("outcome", object::text(outcome));
        line.set("duration_ms", call.begun.elapsed().as_millis().to_string());
        if let Some(task) = task {
            line.set("task_sha256", object::text(task));
        }
        self.write(&line);
    }

    /// A line with the members that every line starts with.
    fn line<'a>(&self, time: Timestamp, tool: &'a str, arguments_sha256: &'a str) -> Object<'a> {
        let AuditOptions { profile, environment, .. } = &self.options;
        let mut line = Object::default();
        line.set("time", object::text(&format!("{time:.3}")));
        line.set("profile", object::text(profile));
        line.set("environment", if environment.is_empty() { "null".to_owned() } else { object::text(environment) });
        line.set("tool", tool);
        line.set("arguments_sha256", arguments_sha256);
        line
    }

    fn write(&mut self, line: &Object<'_>) {
        self.order(Order::Write(format!("{line}\n").into_bytes()));
    }
}

/// Carries out orders until their sender is gone. After each, it reports why a line could not be written, if that is
/// so.
fn run_writer(
    orders: &std::sync::mpsc::Receiver<Order>,
    reports: &mpsc::UnboundedSender<Option<AuditError>>,
    mut write: impl FnMut(&[u8]) -> Result<usize, AuditError>,
) {
    let mut unwritten = VecDeque::new();
    while let Ok(order) = orders.recv() {
        if let Order::Write(line) = order {
            unwritten.push_back(line);
        }
        if reports.send(catch_up(&mut unwritten, &mut write).err()).is_err() {
            return;
        }
    }
}

/// Writes all unwritten lines, oldest first.
fn catch_up(
    unwritten: &mut VecDeque<Vec<u8>>,
    write: &mut impl FnMut(&[u8]) -> Result<usize, AuditError>,
) -> Result<(), AuditError> {
    while let Some(line) = unwritten.front_mut() {
        match write(line)? {
            written if written == line.len() => drop(unwritten.pop_front()),
            // Part of the line was written: end that part, and write the whole line again below it.
            _ if line.first() != Some(&b'\n') => line.insert(0, b'\n'),
            _ => {}
        }
    }
    Ok(())
}

/// Appends `bytes`, or as many of them as fit, and returns how many. Opens the file each time, so that no line is lost
/// in a file that has been moved or deleted.
fn append(path: &Path, bytes: &[u8]) -> Result<usize, AuditError> {
    let mut file = private_folder::open(path, OpenOptions::new().append(true).create(true))?;
    loop {
        match file.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(AuditError(format!("{} is full", path.display()))),
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

/// The outcome that the response to a call stands for.
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

#[cfg(test)]
mod tests;
