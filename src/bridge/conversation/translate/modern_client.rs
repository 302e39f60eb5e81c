//! A client of the modern era in front of a legacy server: each message in the other's terms.
//!
//! `server/discover` is answered from the server's `initialize`; results get what every modern result has; what the server
//! asks in the middle of a call becomes an `input_required` result, and the call stays open until the client comes back
//! with the answers (MCP 2026-07-28, "Multi Round-Trip Requests"); `subscriptions/listen` is told what the session hears.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    bridge::conversation::{
        description::Description,
        failure::{Failure, Refusal},
        reply::{self, ReplyCode},
        session::SUBSCRIBE,
        translate::{LISTS, LOG_LEVELS, Numbers, Step, log_level},
    },
    mcp::{
        codes::URL_ELICITATION_REQUIRED,
        id::Id,
        message::{Kind, Message},
        meta::{self, SUBSCRIPTION_ID},
        object::{self, Object},
        revision::LEGACY,
        tasks,
    },
};

/// How many calls may wait for a client that has been asked something; then the oldest is given up.
const THINKING_LIMIT: usize = 64;

/// The translator.
#[derive(Debug)]
pub struct ModernClient {
    server: Description,
    /// The requests that the server may ask something about, by the ids that the server knows them by.
    calls: HashMap<Id, Call>,
    /// The client's other requests, as it wrote them.
    requests: HashMap<Id, Message>,
    /// Which call an id of the client's is about, where it is not the server's.
    resumed: HashMap<Id, Id>,
    /// The calls whose client has been asked, longest ago first.
    thinking: VecDeque<Id>,
    /// The requests that want log messages, and from which level on.
    logged: HashMap<Id, usize>,
    /// The same of the request that ended last, until one comes that wants none: what a server logs by itself may come
    /// after the result.
    lately_logged: Option<usize>,
    /// The level that the server was told.
    level: Option<usize>,
    subscriptions: HashMap<Id, Filter>,
    /// Our own requests to the server.
    own: HashMap<Id, Own>,
    numbers: Numbers,
}

/// A request that the server may ask something about.
#[derive(Debug)]
struct Call {
    /// What the client wrote, and what the server was sent.
    written: Message,
    request: Message,
    method: Box<str>,
    /// The client's request that waits for the answer; none while the client has been asked.
    current: Option<Id>,
    /// What the client can be asked, as it said with the request.
    capabilities: String,
    /// The level from which on the client wants log messages.
    level: Option<usize>,
    /// The call's progress token as the server knows it, and as the client wants it.
    token: Option<(String, String)>,
    /// What the server wants to know.
    questions: Vec<Question>,
    /// The answer, where it came while nobody waited for it.
    early: Option<Outcome>,
    /// That answer is that addresses are to be opened first: then the call is made again.
    is_refused: bool,
}

#[derive(Debug)]
struct Question {
    /// The server's request; none for an address that it wants opened before the call is made again.
    id: Option<Id>,
    /// The same as the client is asked: its key and the request, as JSON.
    key: String,
    request: String,
    asked: bool,
}

#[derive(Debug)]
enum Outcome {
    Answer(Message),
    Refusal(Refusal),
}

/// What a subscription hears of.
#[derive(Debug)]
struct Filter {
    /// `toolsListChanged` and its like.
    lists: Vec<&'static str>,
    uris: Vec<String>,
    /// The `resources/subscribe` for it that are not answered yet.
    unanswered: HashSet<Id>,
}

#[derive(Debug)]
enum Own {
    /// `logging/setLevel`, after which this is sent.
    Level(Message),
    /// `resources/subscribe` for this subscription.
    Subscribe(Id, String),
    /// Whatever comes of it.
    Other,
}

impl ModernClient {
    /// In front of the server that describes itself so.
    pub fn new(server: Description, numbers: Numbers) -> Self {
        Self {
            server,
            calls: HashMap::new(),
            requests: HashMap::new(),
            resumed: HashMap::new(),
            thinking: VecDeque::new(),
            logged: HashMap::new(),
            lately_logged: None,
            level: None,
            subscriptions: HashMap::new(),
            own: HashMap::new(),
            numbers,
        }
    }

    /// A legacy client's `initialize` in the name of the client that sent `message`.
    pub fn initialize(message: &Message, id: Id) -> Message {
        let meta = message.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        let mut parameters = Object::default();
        parameters.set("protocolVersion", object::text(LEGACY));
        parameters.set("capabilities", tasks::not_offered(meta.get(meta::CAPABILITIES).unwrap_or("{}")));
        let unnamed = r#"{"name":"unnamed client","version":""}"#;
        parameters.set("clientInfo", meta.get(meta::CLIENT).unwrap_or(unnamed).to_owned());
        Message::request(id, "initialize", &parameters.to_string())
    }

    /// What the client says.
    pub fn client(&mut self, message: Message, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Request { id, .. } if self.is_in_use(id) => {
                steps.push(Step::Refuse(Refusal::unsent(message, Failure::IdInUse)));
            }
            Kind::Request { id, method } => match &**method {
                "server/discover" => {
                    steps.push(Step::ToClient(Message::response(id, &self.server.as_discover_result())));
                }
                SUBSCRIBE => self.subscribe(id.clone(), &message, steps),
                "tools/call" | "prompts/get" | "resources/read" if message.member("requestState").is_some() => {
                    self.resume(message, steps);
                }
                _ => self.request(message, steps),
            },
            Kind::Notification { method } if &**method == "notifications/cancelled" => self.cancelled(message, steps),
            // A modern client answers nothing: it is asked nothing.
            Kind::Notification { .. } => steps.extend(legacy(message).map(Step::ToServer)),
            Kind::Response { .. } => {}
        }
    }

    /// What the server says; within the exchange of one of the client's requests, or by itself.
    pub fn server(&mut self, message: Message, within: Option<Id>, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => match self.own.remove(id) {
                Some(own) => self.own_answered(id, own, *succeeded, steps),
                None => {
                    self.logs_no_more(id);
                    match self.calls.remove(&id.clone()) {
                        Some(call) => self.call_ended(id.clone(), call, Outcome::Answer(message), steps),
                        None => {
                            let written = self.requests.remove(id);
                            steps.push(completed(message, written.as_ref()));
                        }
                    }
                }
            },
            Kind::Request { id, method } => match &**method {
                "ping" => steps.push(Step::ToServer(Message::response(id, "{}"))),
                _ => self.asked(&message, within, steps),
            },
            Kind::Notification { method } => match &**method {
                "notifications/message" => {
                    if self.is_log_wanted(&message, within.as_ref()) {
                        steps.push(Step::ToClient(message));
                    }
                }
                "notifications/progress" => self.progressed(message, within.as_ref(), steps),
                "notifications/cancelled" => self.taken_back(&message),
                _ => self.changed(&message, steps),
            },
            Kind::Response { id: None, .. } => {}
        }
    }

    /// A message of ours or the client's brought no response.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        self.logs_no_more(&id);
        if let Some(own) = self.own.remove(&id) {
            return self.own_answered(&id, own, false, steps);
        }
        match self.calls.remove(&id) {
            Some(call) => self.call_ended(id, call, Outcome::Refusal(refusal), steps),
            None => {
                // In the client's own words: it may be made again, or be answered in them.
                let message = self.requests.remove(&id).unwrap_or(refusal.message);
                steps.push(Step::Refuse(Refusal { message, ..refusal }));
            }
        }
    }

    /// Nothing more will come from the client: it asks no more, and hears of no more changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        for id in self.subscriptions.drain().map(|(id, _)| id) {
            steps.push(Step::ToClient(Message::end_of_subscription(&id)));
        }
        let thinking = std::mem::take(&mut self.thinking);
        thinking.iter().for_each(|id| self.give_up(id, steps));
    }

    fn is_in_use(&self, id: &Id) -> bool {
        self.calls.contains_key(id) || self.resumed.contains_key(id) || self.subscriptions.contains_key(id)
    }

    fn request(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = message.kind.clone() else { return };
        let meta = message.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        let level = meta.get(meta::LOG_LEVEL).and_then(log_level);
        let Some(request) = legacy(message.clone()) else {
            return steps.push(Step::ToClient(reply::untranslatable(&id)));
        };
        if matches!(&*method, "tools/call" | "prompts/get" | "resources/read") {
            let token = meta.get("progressToken").map(|token| (token.to_owned(), token.to_owned()));
            let call = Call {
                written: message.clone(),
                request: request.clone(),
                method: method.clone(),
                current: Some(id.clone()),
                capabilities: meta.get(meta::CAPABILITIES).unwrap_or("{}").to_owned(),
                level,
                token,
                questions: Vec::new(),
                early: None,
                is_refused: false,
            };
            self.calls.insert(id.clone(), call);
        } else {
            self.requests.insert(id.clone(), message.clone());
        }
        match level {
            Some(level) => self.log(id.clone(), level, request, steps),
            None => {
                self.lately_logged = None;
                steps.push(Step::ToServer(request));
            }
        }
    }

    /// Has the server log at the level that `request` wants (MCP 2026-07-28 logging, "Per-request log level"), or at
    /// that of a request before it which wanted more: what is too much for this one is left out on the way back.
    fn log(&mut self, id: Id, level: usize, request: Message, steps: &mut Vec<Step>) {
        self.logged.insert(id, level);
        if self.is_level_told(level) {
            steps.push(Step::ToServer(request));
        } else {
            self.tell_level(level, Own::Level(request), steps);
        }
    }

    /// Whether the server logs at that level already, or at none.
    fn is_level_told(&self, level: usize) -> bool {
        self.level.is_some_and(|told| told <= level) || self.server.capability(&["logging"]).is_none()
    }

    fn tell_level(&mut self, level: usize, then: Own, steps: &mut Vec<Step>) {
        self.level = Some(level);
        let own = self.numbers.next_id();
        self.own.insert(own.clone(), then);
        let set = Message::request(own, "logging/setLevel", &format!(r#"{{"level":"{}"}}"#, LOG_LEVELS[level]));
        steps.push(Step::ToServer(set));
    }

    fn logs_no_more(&mut self, id: &Id) {
        if let Some(level) = self.logged.remove(id) {
            self.lately_logged = Some(level);
        }
    }

    /// Whether the request in whose exchange a log message came wants it; any request, where it came by itself.
    fn is_log_wanted(&self, message: &Message, within: Option<&Id>) -> bool {
        let Some(level) = message.member("level").and_then(|level| log_level(&level)) else { return false };
        match within {
            Some(id) => self.logged.get(id).is_some_and(|wanted| *wanted <= level),
            None => self.logged.values().chain(&self.lately_logged).any(|wanted| *wanted <= level),
        }
    }

    fn cancelled(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Some(id) = message.cancels() else { return };
        if let Some(filter) = self.subscriptions.remove(&id) {
            return self.unsubscribe(&filter, steps);
        }
        let id = self.resumed.remove(&id).unwrap_or(id);
        self.logs_no_more(&id);
        self.calls.remove(&id);
        self.requests.remove(&id);
        self.thinking.retain(|thinking| *thinking != id);
        let is_unsent = |own: &Own| matches!(own, Own::Level(request) if request.id() == Some(&id));
        if let Some(own) = self.own.values_mut().find(|own| is_unsent(own)) {
            *own = Own::Other;
            return;
        }
        let edited = message.edited(|message| {
            message.edit("params", |parameters| parameters.set("requestId", id.to_string()));
        });
        steps.push(Step::ToServer(edited.unwrap_or_else(|| Message::cancellation(&id))));
    }

    // What the server asks in the middle of a call.

    fn asked(&mut self, message: &Message, within: Option<Id>, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = &message.kind else { return };
        let parameters = message.parameters::<Object<'_>>();
        let is_url = parameters.as_ref().is_some_and(|members| members.get("mode") == Some("\"url\""));
        let path: &[&str] = match &**method {
            "elicitation/create" if is_url => &["elicitation", "url"],
            "elicitation/create" => &["elicitation"],
            "sampling/createMessage" => &["sampling"],
            "roots/list" => &["roots"],
            _ => &[""],
        };
        let mut refuse = |code, said| steps.push(Step::ToServer(reply::error(id, code, said)));
        let about = within.or_else(|| self.only_call());
        let Some((about, call)) = about.and_then(|about| Some((about.clone(), self.calls.get_mut(&about)?))) else {
            return refuse(
                ReplyCode::Failure,
                "this client can be asked only in the middle of a call, and this belongs to none that is known",
            );
        };
        if object::found(&call.capabilities, path).is_none() {
            return refuse(ReplyCode::MethodNotFound, "this client does not offer that");
        }
        if parameters.is_none() && &**method != "roots/list" {
            return refuse(ReplyCode::InvalidParameters, "the parameters cannot be read");
        }
        let mut request = Object::default();
        request.set("method", object::text(method));
        if let Some(mut parameters) = parameters {
            // The modern era has none (MCP 2026-07-28, "Key Changes").
            parameters.remove(|name| name == "elicitationId");
            request.set("params", parameters.to_string());
        }
        call.questions.push(Question::new(Some(id.clone()), request.to_string(), &self.numbers));
        self.pass_questions_on(&about, steps);
    }

    /// The call that a question is about which the server asks on the session's stream, as some do: the only one that it
    /// has not answered, or else that the client waits for. A modern client is asked nothing outside of a call (MCP
    /// 2026-07-28, "Multi Round-Trip Requests").
    fn only_call(&self) -> Option<Id> {
        let open = || self.calls.iter().filter(|(_, call)| call.early.is_none());
        let only = |mut calls: Vec<&Id>| calls.pop().filter(|_| calls.is_empty()).cloned();
        let waiting = open().filter(|(_, call)| call.current.is_some());
        only(open().map(|(id, _)| id).collect()).or_else(|| only(waiting.map(|(id, _)| id).collect()))
    }

    /// Answers the client's request with what the server wants to know, where there is such and it waits.
    fn pass_questions_on(&mut self, id: &Id, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.questions.is_empty() {
            return;
        }
        let Some(current) = call.current.take() else { return };
        self.resumed.remove(&current);
        let mut requests = Object::default();
        for question in &mut call.questions {
            requests.add(&question.key, question.request.clone()); // every key is new
            question.asked = true;
        }
        let mut result = Object::default();
        result.set("resultType", r#""input_required""#);
        result.set("inputRequests", requests.to_string());
        result.set("requestState", object::text(&id.to_string()));
        steps.push(Step::ToClient(Message::response(&current, &result.to_string())));
        self.thinking.push_back(id.clone());
        if self.thinking.len() > THINKING_LIMIT
            && let Some(oldest) = self.thinking.pop_front()
        {
            self.give_up(&oldest, steps);
        }
    }

    /// Ends a call whose client has been asked and has not come back.
    fn give_up(&mut self, id: &Id, steps: &mut Vec<Step>) {
        self.logged.remove(id);
        if self.calls.remove(id).is_some_and(|call| call.early.is_none()) {
            steps.push(Step::ToServer(Message::cancellation(id)));
        }
    }

    /// The client comes back to a call, with answers.
    fn resume(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = &message.kind else { return };
        let state = message.member("requestState").and_then(|state| serde_json::from_str::<String>(&state).ok());
        let about = state.and_then(|state| Id::from_json(&state));
        let call = about.and_then(|about| Some((about.clone(), self.calls.get_mut(&about)?)));
        let Some((about, call)) = call.filter(|(_, call)| call.method == *method && call.current.is_none()) else {
            return steps.push(Step::Refuse(Refusal::unsent(message, Failure::Forgotten)));
        };
        self.thinking.retain(|thinking| *thinking != about);
        let answers = message.member("inputResponses").unwrap_or_default();
        let answers = Object::parse(&answers).unwrap_or_default();
        let answers: HashMap<String, &str> = answers.iter().collect();
        let (mut all_opened, mut replies) = (true, Vec::new());
        call.questions.retain(|question| match answers.get(&question.key).filter(|_| question.asked) {
            Some(answer) => {
                match &question.id {
                    Some(id) => replies.push(Step::ToServer(Message::response(id, answer))),
                    None => all_opened &= object::found(answer, &["action"]).as_deref() == Some("\"accept\""),
                }
                false
            }
            None => true,
        });
        let meta = message.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        if let Some((_, wanted)) = &mut call.token {
            *wanted = meta.get("progressToken").unwrap_or(wanted).to_owned();
        }
        if let Some(capabilities) = meta.get(meta::CAPABILITIES) {
            capabilities.clone_into(&mut call.capabilities);
        }
        call.level = meta.get(meta::LOG_LEVEL).and_then(log_level);
        call.current = Some(id.clone());
        self.resumed.insert(id.clone(), about.clone());
        if call.is_refused && all_opened {
            return if call.questions.is_empty() {
                self.call_again(&about, steps)
            } else {
                self.pass_questions_on(&about, steps)
            };
        }
        let (early, level) = (call.early.take(), call.level);
        if early.is_none() {
            self.log_from_now_on(&about, level, steps);
        }
        steps.extend(replies);
        match early {
            Some(outcome) => {
                if let Some(call) = self.calls.remove(&about) {
                    self.call_ended(about, call, outcome, steps);
                }
            }
            None => self.pass_questions_on(&about, steps),
        }
    }

    /// The client has come back to a call that the server is still busy with: from now on it wants the log from `level` on.
    fn log_from_now_on(&mut self, about: &Id, level: Option<usize>, steps: &mut Vec<Step>) {
        let Some(level) = level else {
            self.logged.remove(about);
            return;
        };
        self.logged.insert(about.clone(), level);
        if !self.is_level_told(level) {
            self.tell_level(level, Own::Other, steps);
        }
    }

    /// What the server refused the call for has been done: it is made again, under a new id.
    fn call_again(&mut self, about: &Id, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.remove(about) else { return };
        let id = self.numbers.next_id();
        let Some(request) = call.request.clone().renamed(&id) else {
            let answer = call.current.map(|current| {
                self.resumed.remove(&current);
                reply::untranslatable(&current)
            });
            return steps.extend(answer.map(Step::ToClient));
        };
        if let Some(current) = &call.current {
            self.resumed.insert(current.clone(), id.clone());
        }
        let level = call.level;
        self.calls.insert(id.clone(), Call { request: request.clone(), early: None, is_refused: false, ..call });
        match level {
            Some(level) => self.log(id, level, request, steps),
            None => steps.push(Step::ToServer(request)),
        }
    }

    /// The server has answered the call, or it came to nothing.
    fn call_ended(&mut self, id: Id, mut call: Call, outcome: Outcome, steps: &mut Vec<Step>) {
        let Some(current) = call.current.clone() else {
            call.early = Some(outcome);
            self.calls.insert(id, call);
            return;
        };
        let addresses = match &outcome {
            Outcome::Answer(answer) if object::found(&call.capabilities, &["elicitation", "url"]).is_some() => {
                addresses(answer)
            }
            _ => Vec::new(),
        };
        // (One that the person does not want to open ends the call.)
        if !addresses.is_empty() && !call.is_refused {
            let questions = addresses.into_iter().map(|address| Question::new(None, address, &self.numbers));
            call.questions = questions.collect();
            (call.early, call.is_refused) = (Some(outcome), true);
            self.calls.insert(id.clone(), call);
            return self.pass_questions_on(&id, steps);
        }
        self.resumed.remove(&current);
        // The call as the client wrote it, in the name of the request that it waits for now.
        let written =
            if call.written.id() == Some(&current) { Some(call.written) } else { call.written.renamed(&current) };
        steps.push(match (outcome, written) {
            (Outcome::Answer(message), written) => completed(message.addressed_to(&current), written.as_ref()),
            (Outcome::Refusal(refusal), Some(message)) => Step::Refuse(Refusal { message, ..refusal }),
            (Outcome::Refusal(refusal), None) => {
                Step::ToClient(reply::error(&current, ReplyCode::Failure, &refusal.failure.to_string()))
            }
        });
    }

    /// Tells of a call's progress under the token that the client gave last. Where two calls have begun with one token, it
    /// is that of the call in whose exchange it came.
    fn progressed(&mut self, message: Message, within: Option<&Id>, steps: &mut Vec<Step>) {
        let token = message.member("progressToken");
        let is_known =
            |call: &&Call| matches!((&call.token, &token), (Some((known, _)), Some(token)) if known == token);
        let own = within.and_then(|id| self.calls.get(id)).filter(is_known);
        let call = own.or_else(|| self.calls.values().find(is_known));
        let renamed = call.and_then(|call| call.token.clone()).filter(|(known, wanted)| known != wanted);
        let told = match renamed {
            Some((_, wanted)) => {
                message.edited(|message| message.edit("params", |members| members.set("progressToken", wanted)))
            }
            None => Some(message),
        };
        steps.extend(told.map(Step::ToClient));
    }

    /// The server does not want to know something any more.
    fn taken_back(&mut self, message: &Message) {
        let Some(id) = message.cancels() else { return };
        for call in self.calls.values_mut() {
            call.questions.retain(|question| question.id.as_ref() != Some(&id));
        }
    }

    // What changes on the server.

    fn subscribe(&mut self, id: Id, message: &Message, steps: &mut Vec<Step>) {
        let wanted = message.member("notifications").unwrap_or_default();
        // Some servers tell of changes without having said so: the Python SDK's, for one.
        let is_honoured =
            |kind, name| self.server.capability(&[kind]).is_some() && object::found(&wanted, &[name]).is_some();
        let lists = LISTS.iter().filter(|(kind, name, _)| is_honoured(kind, name)).map(|(_, name, _)| *name).collect();
        let has_uris = self.server.capability(&["resources", "subscribe"]).is_some();
        let uris: Vec<String> = Object::parse(&wanted)
            .and_then(|filter| serde_json::from_str(filter.get("resourceSubscriptions")?).ok())
            .filter(|_| has_uris)
            .unwrap_or_default();
        let mut unanswered = HashSet::new();
        for uri in &uris {
            let own = self.numbers.next_id();
            unanswered.insert(own.clone());
            self.own.insert(own.clone(), Own::Subscribe(id.clone(), uri.clone()));
            let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
            steps.push(Step::ToServer(Message::request(own, "resources/subscribe", &parameters)));
        }
        self.subscriptions.insert(id.clone(), Filter { lists, uris, unanswered });
        self.acknowledge(&id, steps);
    }

    /// Tells the client what it will hear of, once that is settled (MCP 2026-07-28 subscriptions, "Acknowledgment").
    fn acknowledge(&mut self, id: &Id, steps: &mut Vec<Step>) {
        let Some(filter) = self.subscriptions.get(id).filter(|filter| filter.unanswered.is_empty()) else { return };
        let mut honoured = Object::default();
        for name in &filter.lists {
            honoured.set(name, "true");
        }
        if !filter.uris.is_empty() {
            honoured.set("resourceSubscriptions", serde_json::json!(filter.uris).to_string());
        }
        let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}},"notifications":{honoured}}}"#);
        steps.push(Step::ToClient(Message::notification("notifications/subscriptions/acknowledged", &parameters)));
    }

    fn own_answered(&mut self, id: &Id, own: Own, succeeded: bool, steps: &mut Vec<Step>) {
        match own {
            Own::Level(request) => steps.push(Step::ToServer(request)),
            Own::Subscribe(subscription, uri) => {
                // (It may have been for one that is over, and whose id is that of another one now.)
                if let Some(filter) = self.subscriptions.get_mut(&subscription)
                    && filter.unanswered.remove(id)
                {
                    filter.uris.retain(|honoured| succeeded || *honoured != uri);
                    self.acknowledge(&subscription, steps);
                }
            }
            Own::Other => {}
        }
    }

    fn unsubscribe(&mut self, filter: &Filter, steps: &mut Vec<Step>) {
        let others: HashSet<&String> = self.subscriptions.values().flat_map(|other| &other.uris).collect();
        for uri in filter.uris.iter().filter(|uri| !others.contains(uri)) {
            let own = self.numbers.next_id();
            self.own.insert(own.clone(), Own::Other);
            let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
            steps.push(Step::ToServer(Message::request(own, "resources/unsubscribe", &parameters)));
        }
    }

    /// Tells of a change whoever wants to hear of it.
    fn changed(&self, message: &Message, steps: &mut Vec<Step>) {
        let uri = message.member("uri").and_then(|uri| serde_json::from_str::<String>(&uri).ok());
        let list = LISTS.iter().find(|(_, _, method)| message.method() == Some(method)).map(|(_, name, _)| name);
        let is_update = message.method() == Some("notifications/resources/updated");
        let wanted = |filter: &Filter| match (list, &uri) {
            (Some(name), _) => filter.lists.contains(name),
            (None, Some(uri)) => is_update && filter.uris.iter().any(|honoured| is_within(uri, honoured)),
            (None, None) => false,
        };
        for (id, _) in self.subscriptions.iter().filter(|(_, filter)| wanted(filter)) {
            let told = message.clone().edited(|message| {
                message.edit("params", |parameters| {
                    parameters.edit("_meta", |meta| meta.set(SUBSCRIPTION_ID, id.to_string()));
                });
            });
            // Without that the client could not tell what it is about: then it is said in words of ours.
            let own = || {
                let uri = uri.as_ref().map(|uri| format!(r#","uri":{}"#, object::text(uri))).unwrap_or_default();
                let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}{uri}}}"#);
                Message::notification(message.method().unwrap_or_default(), &parameters)
            };
            steps.push(Step::ToClient(told.unwrap_or_else(own)));
        }
    }
}

impl Question {
    fn new(id: Option<Id>, request: String, numbers: &Numbers) -> Self {
        let key = numbers.next_id().to_string();
        Self { id, key: serde_json::from_str(&key).unwrap_or(key), request, asked: false }
    }
}

/// The addresses that a server wants opened before it does what it is asked, each as a modern server would ask for it.
fn addresses(answer: &Message) -> Vec<String> {
    #[derive(Deserialize)]
    struct Required<'a> {
        #[serde(borrow)]
        elicitations: Vec<Object<'a>>,
    }
    if answer.error_code() != Some(URL_ELICITATION_REQUIRED) {
        return Vec::new();
    }
    let required = answer.error_data::<Required<'_>>().map(|data| data.elicitations).unwrap_or_default();
    let request = |mut address: Object<'_>| {
        address.remove(|name| name == "elicitationId");
        address.set("mode", r#""url""#);
        format!(r#"{{"method":"elicitation/create","params":{address}}}"#)
    };
    required.into_iter().map(request).collect()
}

/// Whether a resource is another one or a part of it, which is told of too (MCP 2025-11-25 resources, "Subscriptions").
fn is_within(uri: &str, whole: &str) -> bool {
    let rest = uri.strip_prefix(whole);
    rest.is_some_and(|rest| rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

/// A message without what only a modern one says about itself: a server that knows both eras would believe it. None where
/// that cannot be taken out of it.
fn legacy(message: Message) -> Option<Message> {
    const MODERN_ONLY: [&str; 4] = [meta::VERSION, meta::CLIENT, meta::CAPABILITIES, meta::LOG_LEVEL];
    let has_meta = match message.parameters::<Object<'_>>() {
        Some(parameters) => parameters.get("_meta").is_some(),
        // Parameters that are no object have nothing of the kind; an object that cannot be read is there twice.
        None => {
            let whole = Object::parse(std::str::from_utf8(message.raw()).ok()?)?;
            whole.get("params").is_some_and(|parameters| parameters.starts_with('{'))
        }
    };
    if !has_meta {
        return Some(message);
    }
    message.edited(|message| {
        message.edit("params", |parameters| {
            let mut is_empty = false;
            parameters.edit("_meta", |meta| {
                meta.remove(|name| MODERN_ONLY.contains(&name));
                is_empty = meta.is_empty();
            });
            if is_empty {
                parameters.remove(|name| name == "_meta");
            }
        });
    })
}

/// The answer to the request that the client has `written`, as a modern server would give it. One that cannot be completed
/// is none: a client of that era could not read it.
fn completed(answer: Message, written: Option<&Message>) -> Step {
    let id = answer.id().cloned();
    if let Some(whole) = complete(answer) {
        return Step::ToClient(whole);
    }
    let failure = Failure::Malformed;
    match (written, id) {
        (Some(message), _) => {
            let taken = failure.taken();
            Step::Refuse(Refusal { message: message.clone(), failure: Arc::new(failure), taken })
        }
        (None, Some(id)) => Step::ToClient(reply::error(&id, ReplyCode::Network, &failure.to_string())),
        (None, None) => Step::ToClient(Message::error(None, ReplyCode::Network as i32, &failure.to_string())),
    }
}

/// A legacy server's result with what every modern one has: its type, and how long it may be kept where it is a list or a
/// resource (MCP 2026-07-28, "Results" and "Caching"). An error is an error in both eras.
fn complete(answer: Message) -> Option<Message> {
    let Kind::Response { succeeded: true, .. } = &answer.kind else { return Some(answer) };
    answer.edited(|message| {
        message.edit("result", |result| {
            if result.get("resultType").is_none() {
                result.set("resultType", r#""complete""#);
            }
            let is_cacheable = ["tools", "prompts", "resources", "resourceTemplates", "contents"];
            if result.get("ttlMs").is_none() && is_cacheable.iter().any(|name| result.get(name).is_some()) {
                result.set("ttlMs", "0");
                result.set("cacheScope", r#""private""#);
            }
        });
    })
}

#[cfg(test)]
mod tests;
