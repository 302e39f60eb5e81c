//! What the server asks in the middle of a modern client's call: it answers the client's request, and the call stays open
//! until the client comes back with the answers (MCP 2026-07-28, "Multi Round-Trip Requests").

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;

use crate::{
    bridge::conversation::{
        failure::{Failure, Refusal},
        layer::Step,
        numbers::Numbers,
        reply::{self, ReplyCode},
        translate::{
            log_level::log_level,
            modern_client::{logging::Logging, message::completed},
        },
    },
    mcp::{
        codes::URL_ELICITATION_REQUIRED,
        id::Id,
        message::{Kind, Message},
        meta,
        object::{self, Object},
    },
};

/// How many calls may wait for a client that has been asked something; then the oldest is given up.
pub const THINKING_LIMIT: usize = 64;

/// The requests that the server may ask something about.
#[derive(Debug)]
pub struct Calls {
    /// By the ids that the server knows them by.
    calls: HashMap<Id, Call>,
    /// Which call an id of the client's is about, where it is not the server's.
    resumed: HashMap<Id, Id>,
    /// The calls whose client has been asked, longest ago first.
    thinking: VecDeque<Id>,
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
    answer: Answer,
}

/// What the server has said to a call.
#[derive(Debug)]
enum Answer {
    /// Nothing yet.
    None,
    /// This, while the client was asked something.
    Early(Outcome),
    /// That addresses are to be opened first: then the call is made again.
    Refused(Outcome),
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

/// How a call ends.
#[derive(Debug)]
pub enum Outcome {
    /// The server has answered it.
    Answer(Message),
    /// It came to nothing.
    Refusal(Refusal),
}

impl Calls {
    /// None to begin with.
    pub fn new(numbers: Numbers) -> Self {
        Self { calls: HashMap::new(), resumed: HashMap::new(), thinking: VecDeque::new(), numbers }
    }

    /// Whether `id` is that of a call, or of the request by which the client has come back to one.
    pub fn is_in_use(&self, id: &Id) -> bool {
        self.calls.contains_key(id) || self.resumed.contains_key(id)
    }

    /// Whether the server knows a call by this id.
    pub fn contains(&self, id: &Id) -> bool {
        self.calls.contains_key(id)
    }

    /// The client has `written` a call, which the server is sent as `request`.
    pub fn begin(&mut self, written: Message, request: Message) {
        let Kind::Request { id, method } = written.kind.clone() else { return };
        let meta = written.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        let call = Call {
            method,
            current: Some(id.clone()),
            capabilities: meta.get(meta::CAPABILITIES).unwrap_or("{}").to_owned(),
            level: meta.get(meta::LOG_LEVEL).and_then(log_level),
            token: meta.get("progressToken").map(|token| (token.to_owned(), token.to_owned())),
            questions: Vec::new(),
            answer: Answer::None,
            request,
            written: written.clone(),
        };
        self.calls.insert(id, call);
    }

    /// The client does not want the answer to its request `id`. The call that this is about, as the server knows it.
    pub fn cancel(&mut self, id: Id) -> Id {
        let id = self.resumed.remove(&id).unwrap_or(id);
        self.calls.remove(&id);
        self.thinking.retain(|thinking| *thinking != id);
        id
    }

    /// Gives up all the calls whose client has been asked: it will not come back.
    pub fn close(&mut self, logging: &mut Logging, steps: &mut Vec<Step>) {
        for id in std::mem::take(&mut self.thinking) {
            self.give_up(&id, logging, steps);
        }
    }

    // Questions.

    /// The server asks something, within the exchange of a call or outside of any.
    pub fn asked(&mut self, message: &Message, within: Option<Id>, logging: &mut Logging, steps: &mut Vec<Step>) {
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
        self.pass_questions_on(&about, logging, steps);
    }

    /// The call that a question is about which the server asks on the session's stream, as some do: the only one that it
    /// has not answered, or else that the client waits for. A modern client is asked nothing outside of a call (MCP
    /// 2026-07-28, "Multi Round-Trip Requests").
    fn only_call(&self) -> Option<Id> {
        let open = || self.calls.iter().filter(|(_, call)| matches!(call.answer, Answer::None));
        let only = |mut calls: Vec<&Id>| calls.pop().filter(|_| calls.is_empty()).cloned();
        let waiting = open().filter(|(_, call)| call.current.is_some());
        only(open().map(|(id, _)| id).collect()).or_else(|| only(waiting.map(|(id, _)| id).collect()))
    }

    /// Answers the client's request with what the server wants to know, where there is such and it waits.
    fn pass_questions_on(&mut self, id: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
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
            self.give_up(&oldest, logging, steps);
        }
    }

    /// Ends a call whose client has been asked and has not come back.
    fn give_up(&mut self, id: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
        logging.forget(id);
        if self.calls.remove(id).is_some_and(|call| matches!(call.answer, Answer::None)) {
            steps.push(Step::ToServer(Message::cancellation(id)));
        }
    }

    /// The server does not want to know something any more.
    pub fn taken_back(&mut self, message: &Message) {
        let Some(id) = message.cancels() else { return };
        for call in self.calls.values_mut() {
            call.questions.retain(|question| question.id.as_ref() != Some(&id));
        }
    }

    // The client comes back.

    /// The client comes back to a call, with answers.
    pub fn resume(&mut self, message: Message, logging: &mut Logging, steps: &mut Vec<Step>) {
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
        let level = call.level;
        match std::mem::replace(&mut call.answer, Answer::None) {
            Answer::Refused(_) if all_opened && call.questions.is_empty() => self.call_again(&about, logging, steps),
            Answer::Refused(outcome) if all_opened => {
                call.answer = Answer::Refused(outcome);
                self.pass_questions_on(&about, logging, steps);
            }
            // One address that the person does not want to open ends the call.
            Answer::Refused(outcome) => {
                steps.extend(replies);
                self.finish(&about, outcome, steps);
            }
            Answer::Early(outcome) => {
                steps.extend(replies);
                self.ended(about, outcome, logging, steps);
            }
            Answer::None => {
                logging.go_on(&about, level, steps);
                steps.extend(replies);
                self.pass_questions_on(&about, logging, steps);
            }
        }
    }

    /// What the server refused the call for has been done: it is made again, under a new id.
    fn call_again(&mut self, about: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
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
        self.calls.insert(id.clone(), Call { request: request.clone(), answer: Answer::None, ..call });
        match level {
            Some(_) => logging.send(id, level, request, steps),
            None => steps.push(Step::ToServer(request)),
        }
    }

    // The end of a call.

    /// The server has answered the call `id`, or it came to nothing.
    pub fn ended(&mut self, id: Id, outcome: Outcome, logging: &mut Logging, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.current.is_none() {
            call.answer = Answer::Early(outcome);
            return;
        }
        let addresses = match &outcome {
            Outcome::Answer(answer) if object::found(&call.capabilities, &["elicitation", "url"]).is_some() => {
                addresses(answer)
            }
            _ => Vec::new(),
        };
        if addresses.is_empty() {
            return self.finish(&id, outcome, steps);
        }
        let questions = addresses.into_iter().map(|address| Question::new(None, address, &self.numbers));
        call.questions = questions.collect();
        call.answer = Answer::Refused(outcome);
        self.pass_questions_on(&id, logging, steps);
    }

    /// Tells the client how the call ended.
    fn finish(&mut self, id: &Id, outcome: Outcome, steps: &mut Vec<Step>) {
        let Some(Call { written, current: Some(current), .. }) = self.calls.remove(id) else { return };
        self.resumed.remove(&current);
        // The call as the client wrote it, in the name of the request that it waits for now.
        let written = if written.id() == Some(&current) { Some(written) } else { written.renamed(&current) };
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
    pub fn progressed(&mut self, message: Message, within: Option<&Id>, steps: &mut Vec<Step>) {
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
