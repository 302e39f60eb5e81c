//! The audit log: who called which tool, when, and what came of it.
//!
//! One line of JSON for each `tools/call`, appended to a file as soon as its outcome is known and before the client
//! hears of it; and one more when the client hears how the task ended that a call has become. A line is written in one
//! piece, so that several processes can share the file. Where a line cannot be written, it is kept, somebody is told, and
//! no further tool is called until it is written.
//!
//! The file may be on a network, and a write to it may take as long as it likes: a thread of its own does that. The answer
//! to a call waits for its line meanwhile, and so does the next call; everything else goes on.

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
    bridge::conversation::reply::{self, ReplyCode},
    credential::clock::Clock,
    disk::private_folder::{self, PlaceError},
    mcp::{
        id::Id,
        message::{Kind, Message},
        object::{self, Object},
        tasks::{self, Task},
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

/// How long the file may take for a line. Then it cannot be written, for as long as that lasts.
const STANDSTILL: Duration = Duration::from_secs(5);

/// The log, and the calls that are open.
pub struct Audit {
    terms: Terms,
    /// The client's unanswered requests. Of several with one id the last is answered first: it is refused for that.
    open: HashMap<Id, Vec<Open>>,
    tasks: Tasks,
    orders: std::sync::mpsc::Sender<Order>,
    reports: mpsc::UnboundedReceiver<Option<AuditError>>,
    /// How many orders were given, and how many reports have come: one for each.
    given: u64,
    reported: u64,
    /// Why a line is not written.
    failure: Option<AuditError>,
    /// What waits for a report of this number, and since when the first of it does.
    waiting: VecDeque<(u64, Waiting)>,
    since: Instant,
}

/// What the thread that writes is to do.
enum Order {
    Write(Vec<u8>),
    /// Try once more what could not be written.
    TryAgain,
}

/// What waits for the log.
#[derive(Debug)]
enum Waiting {
    /// A call of the client's.
    Call(Message),
    /// The answer to one, or what else the client hears of the end of a task by.
    Answer(Message),
}

/// What has waited long enough.
#[derive(Debug)]
pub enum Released {
    /// A call that is to be made.
    Call(Message),
    /// What the client is to be told.
    Answer(Message),
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
    /// The digest of the arguments exactly as the client wrote them, as JSON.
    digest: Cow<'static, str>,
    /// They themselves, where they are recorded.
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
    digest: Cow<'static, str>,
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
        let path = terms.path.clone();
        Self::with(terms, move |line| append(&path, line))
    }

    /// The log whose lines `write` writes, on a thread of its own, and says how much of each it has written.
    fn with(
        terms: Terms,
        write: impl FnMut(&[u8]) -> Result<usize, AuditError> + Send + 'static,
    ) -> Result<Self, AuditError> {
        let (orders, taken) = std::sync::mpsc::channel();
        let (report, reports) = mpsc::unbounded_channel();
        let writing = thread::Builder::new().name("audit".to_owned()).spawn(move || keep(&taken, &report, write));
        writing.map_err(|error| AuditError(format!("could not start the thread that writes it: {error}")))?;
        Ok(Self {
            terms,
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

    /// Takes note of what the client says. It breaks off where that is not to go on: a call that waits for the log, and
    /// comes back as [`Released`], or that cannot be recorded; with what the client is answered, where it waits for one.
    pub fn received(&mut self, message: &Message) -> ControlFlow<Option<Message>> {
        let is_call = message.method() == Some("tools/call");
        match &message.kind {
            Kind::Request { id, method } => {
                if is_call && self.failure.is_some() && !self.is_settled() {
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
                if is_call && !self.is_settled() {
                    self.wait(Waiting::Call(message.clone()));
                    return ControlFlow::Break(None);
                }
            }
            // It would have no outcome, and MCP has no such thing.
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

    /// Takes note of what the client is to be told, and gives it back where it need not wait for its line.
    pub fn answered(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        match self.answered_request(&message) {
            Some(Open::Call(call)) => self.call_answered(call, &message),
            Some(Open::Task(id, method)) => self.task_answered(&id, &method, &message),
            Some(Open::Tasks) => tasks::listed(&message).iter().for_each(|task| self.task_told(task)),
            Some(Open::Other) => {}
            None => tasks::announced(&message).iter().for_each(|task| self.task_told(task)),
        }
        self.after_its_line(before, message)
    }

    /// The same of what finmcp tells the client itself, where no server has carried out what was asked for.
    pub fn declined(&mut self, message: Message) -> Option<Message> {
        let before = self.given;
        if let Some(Open::Call(call)) = self.answered_request(&message) {
            let outcome = outcome(&message);
            self.record(&call, if matches!(&*outcome, "ok" | "input_required") { &outcome } else { "refused" }, None);
        }
        self.after_its_line(before, message)
    }

    /// Returns when something that waits may go on, or when the file has taken too long. Nothing is lost where it is
    /// dropped.
    pub async fn changed(&mut self) {
        tokio::select! {
            report = self.reports.recv() => match report {
                Some(report) => self.note(report),
                None => {
                    self.reported = self.given;
                    self.fail(AuditError("the thread that writes it has ended".to_owned()));
                }
            },
            () = sleep_until(self.since + STANDSTILL), if self.failure.is_none() => {
                let path = self.terms.path.display();
                self.fail(AuditError(format!("{path} has not taken a line for {} s", STANDSTILL.as_secs())));
            }
        }
    }

    /// Whether something waits for [`Audit::changed`].
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() || !self.is_settled()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        let length = |(_, waiting): &(u64, Waiting)| match waiting {
            Waiting::Call(message) | Waiting::Answer(message) => message.raw().len(),
        };
        self.waiting.iter().map(length).sum()
    }

    /// What has waited long enough: its lines are written, or cannot be.
    pub fn released(&mut self) -> Vec<Released> {
        while let Ok(report) = self.reports.try_recv() {
            self.note(report);
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

    /// What waits for its line, where nobody can wait any longer.
    pub fn abandoned(&mut self) -> Vec<Released> {
        if self.is_waited_for() && self.failure.is_none() {
            self.fail(AuditError(format!("{} has not taken the last lines", self.terms.path.display())));
        }
        self.released()
    }

    fn refusal(&self, id: &Id) -> Message {
        let why = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        reply::error(id, ReplyCode::Failure, &format!("No tool is called, because the audit log cannot be kept: {why}"))
    }

    /// Whether everything that was ordered is done, be it in vain.
    fn is_settled(&self) -> bool {
        self.reported == self.given
    }

    fn order(&mut self, order: Order) {
        if self.is_settled() {
            self.since = Instant::now();
        }
        self.given += 1;
        // Where nobody takes it any more, nobody reports either: `changed` says so.
        let _ = self.orders.send(order);
    }

    fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back((self.given, waiting));
    }

    fn note(&mut self, failure: Option<AuditError>) {
        self.reported += 1;
        self.since = Instant::now();
        match failure {
            Some(error) => self.fail(error),
            None => self.failure = None,
        }
    }

    fn fail(&mut self, error: AuditError) {
        if self.failure.is_none() {
            (self.terms.complain)(error.clone());
        }
        self.failure = Some(error);
    }

    /// What the client is to be told, back at once where nothing was ordered to be written for it since the order
    /// `before`, or where nothing can be.
    fn after_its_line(&mut self, before: u64, message: Message) -> Option<Message> {
        if self.given == before || self.is_settled() || self.failure.is_some() {
            return Some(message);
        }
        self.wait(Waiting::Answer(message));
        None
    }

    fn call_answered(&mut self, call: Call, answer: &Message) {
        let Some(task) = tasks::created(answer) else { return self.record(&call, &outcome(answer), None) };
        let id = hex::encode(Sha256::digest(&task.id));
        self.record(&call, "task", Some(&id));
        let begun = Begun { tool: call.tool, digest: call.digest, begun: call.begun };
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
        let seen = self.tasks.seen.get(&hex::encode(Sha256::digest(id)));
        seen.is_some_and(|seen| seen.end.is_none())
    }

    /// Records the end of a task, once; and what the server says later, should that be something else.
    fn task_ended(&mut self, id: &str, end: String) {
        let id = hex::encode(Sha256::digest(id));
        let seen = self.tasks.see(&id);
        if seen.end.as_ref() == Some(&end) {
            return;
        }
        let call = seen.call.as_ref();
        let (tool, arguments) = call.map_or(("null", "null"), |call| (&*call.tool, &*call.digest));
        let duration = call.map_or("null".to_owned(), |call| call.begun.elapsed().as_millis().to_string());
        let (tool, arguments) = (tool.to_owned(), arguments.to_owned());
        let mut line = self.line(self.terms.clock.now(), &tool, &arguments);
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
            digest: parameters
                .arguments
                .map_or("null".into(), |arguments| object::text(&hex::encode(Sha256::digest(arguments.get()))).into()),
            arguments: parameters
                .arguments
                .filter(|_| self.terms.arguments)
                .map(|arguments| arguments.get().to_owned()),
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
        let mut line = self.line(call.time, &call.tool, &call.digest);
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
    fn line<'a>(&self, time: Timestamp, tool: &'a str, arguments_sha256: &'a str) -> Object<'a> {
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
        self.order(Order::Write(format!("{line}\n").into_bytes()));
    }
}

/// Does what is ordered until nobody orders any more, and reports after each order why a line is not written, if one is
/// not.
fn keep(
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

/// Writes what is not written yet.
fn catch_up(
    unwritten: &mut VecDeque<Vec<u8>>,
    write: &mut impl FnMut(&[u8]) -> Result<usize, AuditError>,
) -> Result<(), AuditError> {
    while let Some(line) = unwritten.front_mut() {
        match write(line)? {
            written if written == line.len() => drop(unwritten.pop_front()),
            // What is there of it ends here: it comes again, whole, on a line of its own.
            _ if line.first() != Some(&b'\n') => line.insert(0, b'\n'),
            _ => {}
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests;
