//! A client of the legacy era in front of a modern server: each message in the other's terms.
//!
//! Requests get the modern `_meta`; `input_required` becomes requests to the client and the call is sent again with what
//! they brought (MCP 2026-07-28, "Multi Round-Trip Requests"); list changes and resource updates come by one
//! `subscriptions/listen`; `ping` and `logging/setLevel`, which the modern era has given up, are answered here.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::conversation::{
        description::Description,
        event::Alarm,
        failure::{Failure, Refusal},
        layer::Step,
        numbers::Numbers,
        reply::{self, ReplyCode},
        session::SUBSCRIBE,
        translate::{lists::LISTS, log_level::log_level},
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
        meta::{self, SUBSCRIPTION_ID},
        object::{self, Object},
        revision::MODERN,
        tasks::{self, Task},
    },
    printable::quoted,
};

/// How often a server may ask for more before it answers.
const ROUNDS: u8 = 10;

/// How long until a subscription that ended is opened again: this, and twice as long each time that it ends at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The translator.
#[derive(Debug)]
pub struct LegacyClient {
    version: String,
    /// The client's `clientInfo` and `capabilities`, as it wrote them.
    client: String,
    capabilities: String,
    level: Option<String>,
    /// The client's requests that may need input, by their ids.
    calls: HashMap<Id, Call>,
    /// Its other requests, as it wrote them.
    requests: HashMap<Id, Message>,
    /// The ids under which such requests were sent again.
    again: HashMap<Id, Id>,
    /// What the client was asked: for which of its requests, under which key.
    asked: HashMap<Id, (Id, String)>,
    subscription: Subscription,
    numbers: Numbers,
}

/// A request of the client that the server may answer with questions.
#[derive(Debug)]
struct Call {
    message: Message,
    rounds: u8,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The server has it, under this id.
    Sent(Id),
    /// The client has been asked.
    Asking {
        /// What it has answered: keys and results, as JSON.
        answers: Object<'static>,
        /// The server's own, to be sent back.
        state: Option<String>,
    },
}

/// What the client is to hear of, and the stream by which it does.
#[derive(Debug, Default)]
struct Subscription {
    /// `toolsListChanged` and its like, as far as the server has them.
    lists: Vec<&'static str>,
    uris: BTreeSet<String>,
    open: Option<Id>,
    opening: Option<Id>,
    /// The client's requests to be answered once it is open.
    waiting: Vec<Id>,
    /// It has ended by itself: the client may have missed something.
    is_cut: bool,
    /// How long the last pause was before it was opened again; none since the client was heard of.
    pause: Duration,
    /// It was opened again often enough, and the client has said nothing since: an idle process keeps no server busy.
    is_given_up: bool,
}

/// A server's result that asks for input.
#[derive(Deserialize)]
struct InputRequired<'a> {
    #[serde(rename = "resultType")]
    kind: &'a str,
    #[serde(borrow, rename = "inputRequests", default)]
    requests: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestState", default)]
    state: Option<&'a RawValue>,
}

impl LegacyClient {
    /// For the client that said `initialize`, in front of the server that describes itself so.
    pub fn new(initialize: &Message, server: &Description, numbers: Numbers) -> Self {
        let parameters = initialize.parameters::<Box<RawValue>>().unwrap_or_default();
        let hello = Object::parse(parameters.get()).unwrap_or_default();
        let member = |name| hello.get(name).unwrap_or("{}").to_owned();
        let supported = server.supported_versions();
        let version = supported.iter().find(|version| *version == MODERN).or(supported.last());
        let lists = LISTS.iter().filter(|(kind, ..)| server.capability(&[kind, "listChanged"]).is_some());
        Self {
            version: version.cloned().unwrap_or_else(|| MODERN.to_owned()),
            client: member("clientInfo"),
            capabilities: tasks::not_offered(&member("capabilities")),
            level: None,
            calls: HashMap::new(),
            requests: HashMap::new(),
            again: HashMap::new(),
            asked: HashMap::new(),
            subscription: Subscription {
                lists: lists.map(|(_, filter, _)| *filter).collect(),
                ..Subscription::default()
            },
            numbers,
        }
    }

    /// A modern client's `server/discover` in this client's name.
    pub fn discover(initialize: &Message, id: Id) -> Message {
        let this = Self::new(initialize, &Description::minimal(""), Numbers::default());
        this.request(id, "server/discover", Object::default())
    }

    /// What the client says.
    pub fn client(&mut self, message: Message, steps: &mut Vec<Step>) {
        self.subscription.pause = Duration::ZERO;
        if std::mem::take(&mut self.subscription.is_given_up) {
            self.woken(steps);
        }
        match &message.kind {
            Kind::Request { id, .. } if self.calls.contains_key(id) => {
                steps.push(Step::Refuse(Refusal::unsent(message, Failure::IdInUse)));
            }
            Kind::Request { id, method } => match &**method {
                "ping" => steps.push(Step::ToClient(Message::response(id, "{}"))),
                "logging/setLevel" => {
                    let level = message.member("level").filter(|level| log_level(level).is_some());
                    let Some(level) = level else {
                        let error = reply::error(id, ReplyCode::InvalidParameters, "there is no such level");
                        return steps.push(Step::ToClient(error));
                    };
                    self.level = Some(level);
                    steps.push(Step::ToClient(Message::response(id, "{}")));
                }
                "resources/subscribe" | "resources/unsubscribe" => {
                    let uri = message.member("uri").and_then(|uri| serde_json::from_str(&uri).ok());
                    let Some(uri) = uri else {
                        let error = reply::error(id, ReplyCode::InvalidParameters, "this needs a uri");
                        return steps.push(Step::ToClient(error));
                    };
                    if &**method == "resources/subscribe" {
                        self.subscription.uris.insert(uri);
                    } else {
                        self.subscription.uris.remove(&uri);
                    }
                    self.subscription.waiting.push(id.clone());
                    self.subscribe(steps);
                }
                "tools/call" | "prompts/get" | "resources/read" => {
                    let Some(request) = self.modern(message.clone()) else {
                        return steps.push(Step::ToClient(reply::untranslatable(id)));
                    };
                    let call = Call { message: message.clone(), rounds: 0, stage: Stage::Sent(id.clone()) };
                    self.calls.insert(id.clone(), call);
                    steps.push(Step::ToServer(request));
                }
                _ => {
                    let Some(request) = self.modern(message.clone()) else {
                        return steps.push(Step::ToClient(reply::untranslatable(id)));
                    };
                    self.requests.insert(id.clone(), message.clone());
                    steps.push(Step::ToServer(request));
                }
            },
            Kind::Notification { method } => match &**method {
                "notifications/initialized" => self.subscribe(steps),
                "notifications/cancelled" => self.cancelled(message, steps),
                // The modern era has no such.
                "notifications/roots/list_changed" | "notifications/progress" => {}
                _ => steps.extend(self.modern(message).map(Step::ToServer)),
            },
            Kind::Response { id, .. } => {
                if let Some((call, key)) = id.as_ref().and_then(|id| self.asked.remove(id)) {
                    self.answered(&call, key, &message, steps);
                }
            }
        }
    }

    /// What the server says.
    pub fn server(&mut self, message: Message, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => {
                if self.subscription.is_open_as(id) {
                    return self.subscription_answered(&message, id, *succeeded, steps);
                }
                let id = self.again.remove(id).unwrap_or_else(|| id.clone());
                match self.calls.remove(&id) {
                    Some(call) => self.call_answered(id, call, message, steps),
                    None => {
                        self.requests.remove(&id);
                        steps.push(Step::ToClient(message));
                    }
                }
            }
            Kind::Notification { method } if &**method == "notifications/subscriptions/acknowledged" => {
                let id = object::found(&message.member("_meta").unwrap_or_default(), &[SUBSCRIPTION_ID]);
                if let Some(id) = id.and_then(|id| Id::from_json(&id)) {
                    self.subscribed(id, steps);
                }
            }
            _ => {
                self.subscription.pause = Duration::ZERO;
                steps.push(Step::ToClient(message));
            }
        }
    }

    /// A message of ours or the client's brought no response.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        if self.subscription.is_open_as(&id) {
            return self.unsubscribed(&id, &refusal.failure, steps);
        }
        let id = self.again.remove(&id).unwrap_or(id);
        // In the client's own words: it may be made again, or be answered in them.
        let written = self.calls.remove(&id).map(|call| call.message).or_else(|| self.requests.remove(&id));
        let message = written.unwrap_or(refusal.message);
        steps.push(Step::Refuse(Refusal { message, ..refusal }));
    }

    /// The pause before a subscription is opened again is over.
    pub fn woken(&mut self, steps: &mut Vec<Step>) {
        if self.subscription.open.is_none() && self.subscription.opening.is_none() {
            self.subscribe(steps);
        }
    }

    /// Nothing more will come from the client: no answers, and it hears of no more changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        for id in [self.subscription.open.take(), self.subscription.opening.take()].into_iter().flatten() {
            steps.push(Step::ToServer(Message::cancellation(&id)));
        }
        self.subscription.give_up(&Failure::Stopped, steps);
        self.asked.clear();
        let asking = self.calls.extract_if(|_, call| matches!(call.stage, Stage::Asking { .. }));
        steps.extend(asking.map(|(_, call)| Step::Refuse(Refusal::unsent(call.message, Failure::Unasked))));
    }

    /// A message as a modern client would send it: with what every request says about its sender. None where that cannot be
    /// said in it.
    fn modern(&self, message: Message) -> Option<Message> {
        message.edited(|message| {
            message.edit("params", |parameters| parameters.edit("_meta", |meta| self.describe(meta)));
        })
    }

    /// A request of ours.
    fn request(&self, id: Id, method: &str, mut parameters: Object<'_>) -> Message {
        parameters.edit("_meta", |meta| self.describe(meta));
        Message::request(id, method, &parameters.to_string())
    }

    fn describe(&self, meta: &mut Object<'_>) {
        meta.set(meta::VERSION, object::text(&self.version));
        meta.set(meta::CLIENT, self.client.clone());
        meta.set(meta::CAPABILITIES, self.capabilities.clone());
        if let Some(level) = &self.level {
            meta.set(meta::LOG_LEVEL, level.clone());
        }
    }

    fn cancelled(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Some(id) = message.cancels() else { return };
        self.requests.remove(&id);
        match self.calls.remove(&id) {
            None => steps.push(Step::ToServer(message)),
            Some(Call { stage: Stage::Sent(sent), .. }) => {
                self.again.remove(&sent);
                steps.push(Step::ToServer(Message::cancellation(&sent)));
            }
            Some(Call { stage: Stage::Asking { .. }, .. }) => self.take_back(&id, steps),
        }
    }

    /// Asks the client nothing more for its request `call`.
    fn take_back(&mut self, call: &Id, steps: &mut Vec<Step>) {
        let taken_back = self.asked.extract_if(|_, (asking, _)| asking == call);
        steps.extend(taken_back.map(|(id, _)| Step::ToClient(Message::cancellation(&id))));
    }

    // Input that the server requires.

    fn call_answered(&mut self, id: Id, call: Call, answer: Message, steps: &mut Vec<Step>) {
        let asks = memchr::memmem::find(answer.raw(), b"\"input_required\"").is_some();
        let required = asks.then(|| answer.result::<InputRequired<'_>>()).flatten();
        match required.filter(|required| required.kind == "input_required") {
            Some(required) => self.ask(id, call, &required, steps),
            None => steps.push(Step::ToClient(match tasks::extension_task(&answer) {
                Some(task) => unknown_task(&id, &task),
                None => answer.addressed_to(&id),
            })),
        }
    }

    fn ask(&mut self, id: Id, mut call: Call, required: &InputRequired<'_>, steps: &mut Vec<Step>) {
        call.rounds += 1;
        if call.rounds > ROUNDS {
            return steps.push(Step::Refuse(Refusal::unsent(call.message, Failure::AskedTooOften)));
        }
        let text = required.requests.map_or("{}", RawValue::get);
        let Some(requests) = Object::parse(text) else {
            return steps.push(Step::Refuse(Refusal::unsent(call.message, Failure::Malformed)));
        };
        let mut questions = Vec::new();
        for (key, request) in requests.iter() {
            match self.question(request) {
                Ok(question) => questions.push((key, question)),
                Err(method) => {
                    return steps.push(Step::Refuse(Refusal::unsent(call.message, Failure::Unasking { method })));
                }
            }
        }
        let state = required.state.map(|state| state.get().to_owned());
        call.stage = Stage::Asking { answers: Object::default(), state };
        for (key, question) in questions {
            if let Some(asking) = question.id() {
                self.asked.insert(asking.clone(), (id.clone(), key));
            }
            steps.push(Step::ToClient(question));
        }
        self.calls.insert(id.clone(), call);
        self.send_again_if_complete(&id, steps);
    }

    /// One of the server's questions as a request to the client; else what the client cannot be asked.
    fn question(&mut self, request: &str) -> Result<Message, String> {
        let request = Object::parse(request).unwrap_or_default();
        let method: String =
            request.get("method").and_then(|method| serde_json::from_str(method).ok()).unwrap_or_default();
        let parameters = request.get("params").unwrap_or("{}");
        let is_url = Object::parse(parameters).is_some_and(|members| members.get("mode") == Some("\"url\""));
        let path: &[&str] = match &*method {
            "elicitation/create" if is_url => &["elicitation", "url"],
            "elicitation/create" => &["elicitation"],
            "sampling/createMessage" => &["sampling"],
            "roots/list" => &["roots"],
            _ => return Err(method),
        };
        if object::found(&self.capabilities, path).is_none() {
            return Err(method);
        }
        let id = self.numbers.next_id();
        let mut parameters = Object::parse(parameters).unwrap_or_default();
        if is_url && parameters.get("elicitationId").is_none() {
            // MCP 2025-11-25 elicitation, "URL Mode", asks for one; the modern era has none.
            parameters.set("elicitationId", id.to_string());
        }
        Ok(Message::request(id, &method, &parameters.to_string()))
    }

    /// The client has answered one question of the call `id`.
    fn answered(&mut self, id: &Id, key: String, answer: &Message, steps: &mut Vec<Step>) {
        let Some(Call { stage: Stage::Asking { answers, .. }, .. }) = self.calls.get_mut(id) else { return };
        if let Some(result) = answer.result::<&RawValue>() {
            answers.set(&key, result.get().to_owned());
            return self.send_again_if_complete(id, steps);
        }
        // There is no way to tell a modern server that its question failed: the call ends with the client's error.
        self.calls.remove(id);
        self.take_back(id, steps);
        steps.push(Step::ToClient(answer.clone().addressed_to(id)));
    }

    /// Sends the call again with what its questions have brought, once nothing is missing: under a new id.
    fn send_again_if_complete(&mut self, id: &Id, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Asking { answers, state } = &call.stage else { return };
        if self.asked.values().any(|(asking, _)| asking == id) {
            return;
        }
        let next = self.numbers.next_id();
        let request = call.message.clone().edited(|message| {
            message.set("id", next.to_string());
            message.edit("params", |parameters| {
                if !answers.is_empty() {
                    parameters.set("inputResponses", answers.to_string());
                }
                if let Some(state) = state {
                    parameters.set("requestState", state.clone());
                }
            });
        });
        call.stage = Stage::Sent(next.clone());
        let Some(request) = request.and_then(|request| self.modern(request)) else {
            self.calls.remove(id);
            return steps.push(Step::ToClient(reply::untranslatable(id)));
        };
        self.again.insert(next, id.clone());
        // The server answered the call before: this is another one.
        steps.push(Step::ToServer(request.unsent()));
    }

    // What changes on the server.

    /// Opens a subscription to all that is wanted by now; the one before ends when this one is there.
    fn subscribe(&mut self, steps: &mut Vec<Step>) {
        if let Some(id) = self.subscription.opening.take() {
            steps.push(Step::ToServer(Message::cancellation(&id)));
        }
        if self.subscription.lists.is_empty() && self.subscription.uris.is_empty() {
            let open = self.subscription.open.take();
            steps.extend(open.map(|id| Step::ToServer(Message::cancellation(&id))));
            return self.answer_waiting(steps);
        }
        let mut filter = Object::default();
        for list in &self.subscription.lists {
            filter.set(list, "true");
        }
        if !self.subscription.uris.is_empty() {
            filter.set("resourceSubscriptions", serde_json::json!(self.subscription.uris).to_string());
        }
        let id = self.numbers.next_id();
        let mut parameters = Object::default();
        parameters.set("notifications", filter.to_string());
        let request = self.request(id.clone(), SUBSCRIBE, parameters);
        self.subscription.opening = Some(id);
        steps.push(Step::ToServer(request));
    }

    fn subscribed(&mut self, id: Id, steps: &mut Vec<Step>) {
        if self.subscription.opening.as_ref() != Some(&id) {
            return;
        }
        self.subscription.opening = None;
        if let Some(before) = self.subscription.open.replace(id) {
            steps.push(Step::ToServer(Message::cancellation(&before)));
        }
        self.answer_waiting(steps);
        if std::mem::take(&mut self.subscription.is_cut) {
            self.tell_what_may_have_changed(steps);
        }
    }

    fn answer_waiting(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.subscription.waiting.drain(..).map(|id| Step::ToClient(Message::response(&id, "{}"))));
    }

    /// Tells the client of all the changes that it may have missed. What is missed is not made up for (MCP 2026-07-28,
    /// "Subscriptions"), and a legacy client does not know of the gap.
    fn tell_what_may_have_changed(&self, steps: &mut Vec<Step>) {
        for (_, _, method) in LISTS.iter().filter(|(_, filter, _)| self.subscription.lists.contains(filter)) {
            steps.push(Step::ToClient(Message::notification(method, "{}")));
        }
        for uri in &self.subscription.uris {
            let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
            steps.push(Step::ToClient(Message::notification("notifications/resources/updated", &parameters)));
        }
    }

    /// The server has ended the subscription `id` by itself, or has no such thing.
    fn subscription_answered(&mut self, answer: &Message, id: &Id, succeeded: bool, steps: &mut Vec<Step>) {
        if succeeded {
            return self.unsubscribed(id, &Failure::Cut, steps);
        }
        self.subscription.forget(id);
        let waiting = std::mem::take(&mut self.subscription.waiting);
        steps.extend(waiting.iter().map(|id| Step::ToClient(answer.clone().addressed_to(id))));
    }

    /// The subscription `id` has ended, or could not be opened.
    fn unsubscribed(&mut self, id: &Id, failure: &Failure, steps: &mut Vec<Step>) {
        self.subscription.is_cut |= self.subscription.open.as_ref() == Some(id);
        self.subscription.forget(id);
        self.subscription.give_up(failure, steps);
        self.subscription.pause = (self.subscription.pause * 2).clamp(PAUSES.0, PAUSES.1);
        let is_final = match failure {
            Failure::Status { status, .. } => status.is_client_error() && status.as_u16() != 429,
            Failure::Stopped => true,
            _ => false,
        };
        self.subscription.is_given_up = self.subscription.pause == PAUSES.1 || failure.needs_login();
        if !is_final && !self.subscription.is_given_up {
            steps.push(Step::Wake(Alarm::Subscription, self.subscription.pause));
        }
    }
}

/// The answer to a request that a server has made a task of, against the rules: this client has not offered to follow any.
/// It runs on, and only the server knows what comes of it.
fn unknown_task(id: &Id, task: &Task) -> Message {
    let said = format!(
        "the server made a task of this call ({}), which this client cannot follow. It is not known whether the call is \
         carried out; it was not sent again. Check before repeating it",
        quoted(&task.id)
    );
    let error = reply::error(id, ReplyCode::OutcomeUnknown, &said);
    let data = format!(r#"{{"taskId":{}}}"#, object::text(&task.id));
    error.clone().edited(|message| message.edit("error", |error| error.set("data", data))).unwrap_or(error)
}

impl Subscription {
    /// Answers the requests that wait for it: it is not to be had.
    fn give_up(&mut self, failure: &Failure, steps: &mut Vec<Step>) {
        let said = failure.to_string();
        let errors = self.waiting.drain(..).map(|id| reply::error(&id, ReplyCode::Network, &said));
        steps.extend(errors.map(Step::ToClient));
    }

    fn is_open_as(&self, id: &Id) -> bool {
        self.open.as_ref() == Some(id) || self.opening.as_ref() == Some(id)
    }

    fn forget(&mut self, id: &Id) {
        self.open.take_if(|open| open == id);
        self.opening.take_if(|opening| opening == id);
    }
}

#[cfg(test)]
mod tests;
