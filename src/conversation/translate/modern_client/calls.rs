//! A server's requests in the middle of a modern client's call: the client's request gets an `input_required` result,
//! and the call on the server stays open until the client sends it again with its responses (MCP 2026-07-28, "Multi
//! Round-Trip Requests").

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;

use crate::{
    conversation::{
        failure::{Failure, Refusal},
        layer::Step,
        reply::{self, ReplyCode},
        request_ids::RequestIds,
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

/// How many calls may wait for their clients to respond; beyond that finmcp gives up the oldest.
pub const WAITING_LIMIT: usize = 64;

/// The requests during which the server may ask the client something.
#[derive(Debug)]
pub struct Calls {
    /// By the ids that the server knows.
    calls: HashMap<Id, Call>,
    /// The server's id of a call, by the client's later ids for it.
    resumed: HashMap<Id, Id>,
    /// The calls that wait for their clients, oldest first.
    waiting_for_client: VecDeque<Id>,
    request_ids: RequestIds,
}

/// A request during which the server may ask the client something.
#[derive(Debug)]
struct Call {
    /// As the client wrote it, and as sent to the server.
    original: Message,
    request: Message,
    method: Box<str>,
    /// The client's request that waits for the response; none while the client has to provide input.
    current: Option<Id>,
    /// The requests that the client supports, as declared with the call.
    capabilities: String,
    /// The lowest level of log messages that the client wants.
    level: Option<usize>,
    /// The call's progress token as the server knows it, and the token that the client gave last.
    token: Option<(String, String)>,
    /// The server's requests.
    questions: Vec<Question>,
    response: ServerResponse,
}

/// The server's response to a call.
#[derive(Debug)]
enum ServerResponse {
    /// There is none yet.
    None,
    /// It came while the client was providing input.
    Early(CallResult),
    /// It asks the user to open addresses first: then the call is made again.
    Refused(CallResult),
}

#[derive(Debug)]
struct Question {
    /// The server's request; none for an address to open before the call is made again.
    id: Option<Id>,
    /// The input request to the client: its key, and the request as JSON.
    key: String,
    request: String,
    asked: bool,
}

/// The result of a call.
#[derive(Debug)]
pub enum CallResult {
    /// The server's response.
    Response(Message),
    /// The call failed.
    Refusal(Refusal),
}

impl Calls {
    pub fn new(request_ids: RequestIds) -> Self {
        Self { calls: HashMap::new(), resumed: HashMap::new(), waiting_for_client: VecDeque::new(), request_ids }
    }

    /// Whether `id` belongs to a call, or to a request with which the client resumed one.
    pub fn is_in_use(&self, id: &Id) -> bool {
        self.calls.contains_key(id) || self.resumed.contains_key(id)
    }

    /// Whether the server knows a call by this id.
    pub fn contains(&self, id: &Id) -> bool {
        self.calls.contains_key(id)
    }

    /// The client has written the call `original`, and the server gets it as `request`.
    pub fn begin(&mut self, original: Message, request: Message) {
        let Kind::Request { id, method } = original.kind.clone() else { return };
        let meta = original.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        let call = Call {
            method,
            current: Some(id.clone()),
            capabilities: meta.get(meta::CAPABILITIES).unwrap_or("{}").to_owned(),
            level: meta.get(meta::LOG_LEVEL).and_then(log_level),
            token: meta.get("progressToken").map(|token| (token.to_owned(), token.to_owned())),
            questions: Vec::new(),
            response: ServerResponse::None,
            request,
            original: original.clone(),
        };
        self.calls.insert(id, call);
    }

    /// The client has cancelled its request `id`. Returns the server's id of the call.
    pub fn cancel(&mut self, id: Id) -> Id {
        let id = self.resumed.remove(&id).unwrap_or(id);
        self.calls.remove(&id);
        self.waiting_for_client.retain(|waiting| *waiting != id);
        id
    }

    /// Gives up all calls that wait for their clients: these will not respond any more.
    pub fn close(&mut self, logging: &mut Logging, steps: &mut Vec<Step>) {
        for id in std::mem::take(&mut self.waiting_for_client) {
            self.give_up(&id, logging, steps);
        }
    }

    // Requests of the server.

    /// The server sent a request, within the exchange of a call or outside any.
    pub fn server_asked(
        &mut self,
        message: &Message,
        within: Option<Id>,
        logging: &mut Logging,
        steps: &mut Vec<Step>,
    ) {
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
        let mut refuse = |code, text| steps.push(Step::ToServer(reply::error(id, code, text)));
        let call_id = within.or_else(|| self.only_call());
        let Some((call_id, call)) = call_id.and_then(|call_id| Some((call_id.clone(), self.calls.get_mut(&call_id)?)))
        else {
            return refuse(
                ReplyCode::Failure,
                "this client accepts requests only during a call, and this request belongs to no known call",
            );
        };
        if object::found(&call.capabilities, path).is_none() {
            return refuse(ReplyCode::MethodNotFound, "this client does not support that");
        }
        if parameters.is_none() && &**method != "roots/list" {
            return refuse(ReplyCode::InvalidParameters, "invalid parameters");
        }
        let mut request = Object::default();
        request.set("method", object::text(method));
        if let Some(mut parameters) = parameters {
            // The modern era has no such id (MCP 2026-07-28, "Key Changes").
            parameters.remove(|name| name == "elicitationId");
            request.set("params", parameters.to_string());
        }
        call.questions.push(Question::new(Some(id.clone()), request.to_string(), &self.request_ids));
        self.require_input(&call_id, logging, steps);
    }

    /// The call that a server request outside any exchange belongs to, which some servers send: the only call without
    /// a response, or else the only one that the client waits for. A modern client gets no requests outside a call
    /// (MCP 2026-07-28, "Multi Round-Trip Requests").
    fn only_call(&self) -> Option<Id> {
        let open = || self.calls.iter().filter(|(_, call)| matches!(call.response, ServerResponse::None));
        let only = |mut calls: Vec<&Id>| calls.pop().filter(|_| calls.is_empty()).cloned();
        let waiting = open().filter(|(_, call)| call.current.is_some());
        only(open().map(|(id, _)| id).collect()).or_else(|| only(waiting.map(|(id, _)| id).collect()))
    }

    /// Responds to the client's request with the server's requests, if there are any and the client waits.
    fn require_input(&mut self, id: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
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
        self.waiting_for_client.push_back(id.clone());
        if self.waiting_for_client.len() > WAITING_LIMIT
            && let Some(oldest) = self.waiting_for_client.pop_front()
        {
            self.give_up(&oldest, logging, steps);
        }
    }

    /// Ends a call whose client has not sent it again.
    fn give_up(&mut self, id: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
        logging.forget(id);
        if self.calls.remove(id).is_some_and(|call| matches!(call.response, ServerResponse::None)) {
            steps.push(Step::ToServer(Message::cancellation(id)));
        }
    }

    /// The server has cancelled one of its requests.
    pub fn server_request_cancelled(&mut self, message: &Message) {
        let Some(id) = message.cancels() else { return };
        for call in self.calls.values_mut() {
            call.questions.retain(|question| question.id.as_ref() != Some(&id));
        }
    }

    // The client sends the call again.

    /// The client sends a call again, with its responses.
    pub fn resume(&mut self, message: Message, logging: &mut Logging, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = &message.kind else { return };
        let state = message.member("requestState").and_then(|state| serde_json::from_str::<String>(&state).ok());
        let call_id = state.and_then(|state| Id::from_json(&state));
        let call = call_id.and_then(|call_id| Some((call_id.clone(), self.calls.get_mut(&call_id)?)));
        let Some((call_id, call)) = call.filter(|(_, call)| call.method == *method && call.current.is_none()) else {
            return steps.push(Step::Refuse(Refusal::unsent(message, Failure::NotResumable)));
        };
        self.waiting_for_client.retain(|waiting| *waiting != call_id);
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
        self.resumed.insert(id.clone(), call_id.clone());
        let level = call.level;
        match std::mem::replace(&mut call.response, ServerResponse::None) {
            ServerResponse::Refused(_) if all_opened && call.questions.is_empty() => {
                self.call_again(&call_id, logging, steps)
            }
            ServerResponse::Refused(result) if all_opened => {
                call.response = ServerResponse::Refused(result);
                self.require_input(&call_id, logging, steps);
            }
            // If the user declines to open one address, the call ends.
            ServerResponse::Refused(result) => {
                steps.extend(replies);
                self.finish(&call_id, result, steps);
            }
            ServerResponse::Early(result) => {
                steps.extend(replies);
                self.ended(call_id, result, logging, steps);
            }
            ServerResponse::None => {
                logging.resume(&call_id, level, steps);
                steps.extend(replies);
                self.require_input(&call_id, logging, steps);
            }
        }
    }

    /// The user has opened the addresses: makes the call again, under a new id.
    fn call_again(&mut self, call_id: &Id, logging: &mut Logging, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.remove(call_id) else { return };
        let id = self.request_ids.next_id();
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
        self.calls.insert(id.clone(), Call { request: request.clone(), response: ServerResponse::None, ..call });
        match level {
            Some(_) => logging.send(id, level, request, steps),
            None => steps.push(Step::ToServer(request)),
        }
    }

    // The end of a call.

    /// The server has responded to the call `id`, or the call failed.
    pub fn ended(&mut self, id: Id, result: CallResult, logging: &mut Logging, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.current.is_none() {
            call.response = ServerResponse::Early(result);
            return;
        }
        let addresses = match &result {
            CallResult::Response(answer) if object::found(&call.capabilities, &["elicitation", "url"]).is_some() => {
                addresses(answer)
            }
            _ => Vec::new(),
        };
        if addresses.is_empty() {
            return self.finish(&id, result, steps);
        }
        let questions = addresses.into_iter().map(|address| Question::new(None, address, &self.request_ids));
        call.questions = questions.collect();
        call.response = ServerResponse::Refused(result);
        self.require_input(&id, logging, steps);
    }

    /// Sends the client the result of the call.
    fn finish(&mut self, id: &Id, result: CallResult, steps: &mut Vec<Step>) {
        let Some(Call { original, current: Some(current), .. }) = self.calls.remove(id) else { return };
        self.resumed.remove(&current);
        // The call as the client wrote it, with the id of the request that waits now.
        let original = if original.id() == Some(&current) { Some(original) } else { original.renamed(&current) };
        steps.push(match (result, original) {
            (CallResult::Response(message), original) => completed(message.addressed_to(&current), original.as_ref()),
            (CallResult::Refusal(refusal), Some(message)) => Step::Refuse(Refusal { message, ..refusal }),
            (CallResult::Refusal(refusal), None) => {
                Step::ToClient(reply::error(&current, ReplyCode::Failure, &refusal.failure.to_string()))
            }
        });
    }

    /// Passes progress on with the token that the client gave last. If two calls have the same token, the progress
    /// belongs to the call in whose exchange it came.
    pub fn progressed(&mut self, message: Message, within: Option<&Id>, steps: &mut Vec<Step>) {
        let token = message.member("progressToken");
        let is_known =
            |call: &&Call| matches!((&call.token, &token), (Some((known, _)), Some(token)) if known == token);
        let own = within.and_then(|id| self.calls.get(id)).filter(is_known);
        let call = own.or_else(|| self.calls.values().find(is_known));
        let renamed = call.and_then(|call| call.token.clone()).filter(|(known, wanted)| known != wanted);
        let progress = match renamed {
            Some((_, wanted)) => {
                message.edited(|message| message.edit("params", |members| members.set("progressToken", wanted)))
            }
            None => Some(message),
        };
        steps.extend(progress.map(Step::ToClient));
    }
}

impl Question {
    fn new(id: Option<Id>, request: String, request_ids: &RequestIds) -> Self {
        let key = request_ids.next_id().to_string();
        Self { id, key: serde_json::from_str(&key).unwrap_or(key), request, asked: false }
    }
}

/// The addresses that a server wants the user to open first, each as a modern server's input request.
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
