//! The client's calls, and the log lines for their outcomes and for the outcomes of their tasks.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::bridge::control::audit::{
    known_tasks::{KnownTask, TaskCall, Tasks},
    order::{Line, Order},
    outcome::outcome,
};
use crate::{
    conversation::reply,
    credential::clock::Clock,
    mcp::{
        id::Id,
        message::{Kind, Message},
        object::{self, Object},
        tasks::{self, Task},
    },
};

/// The members of every line, and which parts of a call to record.
pub struct Terms {
    /// The served profile.
    pub profile: String,
    /// Its environment; empty if the server has only one.
    pub environment: String,
    /// Whether to record the values of the arguments.
    pub arguments: bool,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// The calls without an outcome, and the tasks.
pub struct Calls {
    terms: Terms,
    /// The client's unanswered requests. If several share an id, the last one is answered first: it is refused for the
    /// duplicate id.
    open: HashMap<Id, Vec<Open>>,
    tasks: Tasks,
    /// The number of calls so far.
    count: u64,
    /// Jobs for the writing thread.
    orders: Vec<Order>,
}

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
    number: u64,
    /// The tool's name, as JSON.
    tool: Cow<'static, str>,
    /// The digest of the arguments exactly as the client wrote them, as JSON.
    digest: Cow<'static, str>,
    /// The arguments themselves, if they are recorded.
    arguments: Option<String>,
    time: Timestamp,
    begun: Instant,
}

impl Calls {
    /// None yet.
    pub fn new(terms: Terms) -> Self {
        Self { terms, open: HashMap::new(), tasks: Tasks::default(), count: 0, orders: Vec::new() }
    }

    /// Removes what is to be written.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Observes a request of the client.
    pub fn requested(&mut self, id: &Id, method: &str, message: &Message) {
        let open = match (method, tasks::asked_about(message)) {
            ("tools/call", _) => Open::Call(self.begin(message)),
            ("tasks/list", _) => Open::Tasks,
            (_, Some(task)) => Open::Task(task, method.into()),
            _ => Open::Other,
        };
        self.open.entry(id.clone()).or_default().push(open);
    }

    /// Observes a call that the client sent as a notification, which has no outcome and which MCP does not allow.
    pub fn refused(&mut self, message: &Message) {
        let call = self.call(message);
        self.record(&call, "refused", None);
    }

    /// Observes that the client has cancelled the request `id`.
    pub fn cancelled(&mut self, id: &Id) {
        if let Some(Open::Call(call)) = self.close(id) {
            self.record(&call, "cancelled", None);
        }
    }

    /// Forgets the request `id`, which no server got.
    pub fn forget(&mut self, id: &Id) {
        if let Some(Open::Call(call)) = self.close(id) {
            self.orders.push(Order::Forget(call.number));
        }
    }

    /// Observes a message to the client.
    pub fn answered(&mut self, message: &Message) {
        match self.answered_request(message) {
            Some(Open::Call(call)) => self.call_answered(call, message),
            Some(Open::Task(id, method)) => self.task_answered(&id, &method, message),
            Some(Open::Tasks) => tasks::listed(message).iter().for_each(|task| self.task_reported(task)),
            Some(Open::Other) => {}
            None => tasks::announced(message).iter().for_each(|task| self.task_reported(task)),
        }
    }

    /// The same for finmcp's own responses, for which no server has carried out the request.
    pub fn declined(&mut self, message: &Message) {
        if let Some(Open::Call(call)) = self.answered_request(message) {
            let outcome = outcome(message);
            self.record(&call, if matches!(&*outcome, "ok" | "input_required") { &outcome } else { "refused" }, None);
        }
    }

    /// Notes a call that the server is about to get.
    fn begin(&mut self, message: &Message) -> Call {
        let call = self.call(message);
        let note = self.beginning(&call).to_string();
        self.orders.push(Order::Begin(call.number, note));
        call
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
            // The error can be the call's own, report an unknown task, or come from finmcp.
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
        let seen = self.tasks.get(&hex::encode(Sha256::digest(id)));
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
        let mut line = self.line(self.terms.clock.now(), &tool, &arguments);
        line.set("outcome", object::text(&end));
        line.set("duration_ms", duration);
        line.set("task_sha256", object::text(&id));
        self.tasks.known(&id).end = Some(end);
        let object = line.to_string();
        self.orders.push(Order::Write(Line { object, call: None }));
    }

    fn call(&mut self, message: &Message) -> Call {
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
        self.count += 1;
        Call {
            number: self.count,
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
        let mut line = self.beginning(call);
        line.set("outcome", object::text(outcome));
        line.set("duration_ms", call.begun.elapsed().as_millis().to_string());
        if let Some(task) = task {
            line.set("task_sha256", object::text(task));
        }
        let object = line.to_string();
        self.orders.push(Order::Write(Line { object, call: Some(call.number) }));
    }

    /// The members of a call's line before it has an outcome.
    fn beginning<'a>(&self, call: &'a Call) -> Object<'a> {
        let mut line = self.line(call.time, &call.tool, &call.digest);
        if self.terms.arguments {
            // JSON allows line breaks between tokens only, never inside one.
            line.set("arguments", call.arguments.as_deref().unwrap_or("null").replace(['\r', '\n'], " "));
        }
        line
    }

    /// A line with the members that every line starts with.
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
}
