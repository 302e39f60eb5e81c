//! The audit log: who called which tool, when, and what came of it.
//!
//! One line of JSON for each `tools/call`, appended to a file as soon as its outcome is known and before the client
//! hears of it. A line is written in one piece, so that several processes can share the file. Where a line cannot be
//! written, it is kept, somebody is told, and no further tool is called until it is written.

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
    open: HashMap<Id, Vec<Option<Call>>>,
    unwritten: VecDeque<Vec<u8>>,
    /// Why the first of these is not written.
    failure: Option<AuditError>,
}

/// Why the log cannot be kept: what was tried with which file, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(String);

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

impl Audit {
    /// The log on these terms.
    ///
    /// # Errors
    /// The file cannot be appended to, leads elsewhere, or is open to others.
    pub fn open(terms: Terms) -> Result<Self, AuditError> {
        append(&terms.path, b"")?;
        Ok(Self { terms, open: HashMap::new(), unwritten: VecDeque::new(), failure: None })
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
            Kind::Request { id, .. } => {
                let call = is_call.then(|| self.call(message));
                self.open.entry(id.clone()).or_default().push(call);
            }
            // It would have no outcome, and MCP has no such thing.
            Kind::Notification { .. } if is_call => {
                let call = self.call(message);
                self.record(&call, "refused");
                return ControlFlow::Break(None);
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                if let Some(call) = message.cancels().and_then(|id| self.close(&id)) {
                    self.record(&call, "cancelled");
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Takes note of what the client is told.
    pub fn answered(&mut self, message: &Message) {
        if let Some(call) = self.answered_call(message) {
            self.record(&call, &outcome(message));
        }
    }

    /// Takes note of what finmcp tells the client itself, where no server has carried out what was asked for.
    pub fn declined(&mut self, message: &Message) {
        if let Some(call) = self.answered_call(message) {
            let outcome = outcome(message);
            self.record(&call, if matches!(&*outcome, "ok" | "input_required") { &outcome } else { "refused" });
        }
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
                .map_or("null".into(), |arguments| object::text(&hexadecimal(&Sha256::digest(arguments.get()))).into()),
            arguments: parameters
                .arguments
                .filter(|_| self.terms.arguments)
                .map(|arguments| arguments.get().to_owned()),
            time: self.terms.clock.now(),
            begun: Instant::now(),
        }
    }

    fn answered_call(&mut self, message: &Message) -> Option<Call> {
        match &message.kind {
            Kind::Response { id: Some(id), .. } => self.close(id),
            _ => None,
        }
    }

    /// Ends the last request of that id; gives it where it is a call.
    fn close(&mut self, id: &Id) -> Option<Call> {
        let alike = self.open.get_mut(id)?;
        let call = alike.pop().flatten();
        if alike.is_empty() {
            self.open.remove(id);
        }
        call
    }

    fn record(&mut self, call: &Call, outcome: &str) {
        let Terms { profile, environment, .. } = &self.terms;
        let mut line = Object::default();
        line.set("time", object::text(&format!("{:.3}", call.time)));
        line.set("profile", object::text(profile));
        line.set("environment", if environment.is_empty() { "null".to_owned() } else { object::text(environment) });
        line.set("tool", &*call.tool);
        line.set("arguments_sha256", &*call.digest);
        if self.terms.arguments {
            // A line break between two tokens is all that can be one in JSON.
            line.set("arguments", call.arguments.as_deref().unwrap_or("null").replace(['\r', '\n'], " "));
        }
        line.set("outcome", object::text(outcome));
        line.set("duration_ms", call.begun.elapsed().as_millis().to_string());
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
