//! Input that a modern server requires before it responds to a call: its input requests become requests to the legacy
//! client, and finmcp sends the call again with the client's responses (MCP 2026-07-28, "Multi Round-Trip Requests").

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    conversation::{
        failure::{Failure, Refusal},
        layer::Step,
        reply::{self, ReplyCode},
        request_ids::RequestIds,
        translate::legacy_client::sender::Sender,
    },
    mcp::{
        id::Id,
        message::Message,
        object::{self, Object},
        tasks::{self, Task},
    },
    printable::quoted,
};

/// How many times a server may require input for one call.
const ROUNDS: u8 = 10;

/// The client's requests that may require input.
#[derive(Debug)]
pub struct Calls {
    /// By the client's ids.
    calls: HashMap<Id, Call>,
    /// The client's ids, by the ids under which the requests were sent again.
    resent: HashMap<Id, Id>,
    /// The requests sent to the client: the call that each is for, and its key there.
    asked: HashMap<Id, (Id, String)>,
    request_ids: RequestIds,
}

/// A request of the client for which the server may require input.
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
    /// The client has to provide input.
    Asking {
        /// The client's responses so far: keys and results, as JSON.
        responses: Object<'static>,
        /// The server's `requestState`, to be sent back.
        state: Option<String>,
    },
}

/// A server's result that requires input.
#[derive(Deserialize)]
struct InputRequired<'a> {
    #[serde(rename = "resultType")]
    kind: &'a str,
    #[serde(borrow, rename = "inputRequests", default)]
    requests: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestState", default)]
    state: Option<&'a RawValue>,
}

impl Calls {
    pub fn new(request_ids: RequestIds) -> Self {
        Self { calls: HashMap::new(), resent: HashMap::new(), asked: HashMap::new(), request_ids }
    }

    /// Whether `id` belongs to a call.
    pub fn contains(&self, id: &Id) -> bool {
        self.calls.contains_key(id)
    }

    /// The client has made this call, and the server has been sent it.
    pub fn begin(&mut self, id: &Id, message: Message) {
        let call = Call { message, rounds: 0, stage: Stage::Sent(id.clone()) };
        self.calls.insert(id.clone(), call);
    }

    /// The client's id of the request that the server knows as `id`, for which a response has come.
    pub fn client_id(&mut self, id: &Id) -> Id {
        self.resent.remove(id).unwrap_or_else(|| id.clone())
    }

    /// The call failed: returns it as the client wrote it.
    pub fn end(&mut self, id: &Id) -> Option<Message> {
        self.calls.remove(id).map(|call| call.message)
    }

    /// The client has cancelled a request. Returns whether that was a call.
    pub fn cancel(&mut self, id: &Id, steps: &mut Vec<Step>) -> bool {
        match self.calls.remove(id) {
            None => return false,
            Some(Call { stage: Stage::Sent(sent), .. }) => {
                self.resent.remove(&sent);
                steps.push(Step::ToServer(Message::cancellation(&sent)));
            }
            Some(Call { stage: Stage::Asking { .. }, .. }) => self.cancel_questions(id, steps),
        }
        true
    }

    /// Cancels the requests that the client was sent for its call.
    fn cancel_questions(&mut self, call: &Id, steps: &mut Vec<Step>) {
        let cancelled = self.asked.extract_if(|_, (asking, _)| asking == call);
        steps.extend(cancelled.map(|(id, _)| Step::ToClient(Message::cancellation(&id))));
    }

    /// The client has closed its side: no more responses will come.
    pub fn close(&mut self, steps: &mut Vec<Step>) {
        self.asked.clear();
        let asking = self.calls.extract_if(|_, call| matches!(call.stage, Stage::Asking { .. }));
        steps.extend(asking.map(|(_, call)| Step::Refuse(Refusal::unsent(call.message, Failure::NoInput))));
    }

    /// The server has responded to the call `id`, perhaps to require input. Returns the response if it is to no call.
    pub fn answered(&mut self, id: Id, answer: Message, sender: &Sender, steps: &mut Vec<Step>) -> Option<Message> {
        let Some(call) = self.calls.remove(&id) else { return Some(answer) };
        let may_require_input = memchr::memmem::find(answer.raw(), b"\"input_required\"").is_some();
        let required = may_require_input.then(|| answer.result::<InputRequired<'_>>()).flatten();
        match required.filter(|required| required.kind == "input_required") {
            Some(required) => self.require_input(id, call, &required, sender, steps),
            None => steps.push(Step::ToClient(match tasks::extension_task(&answer) {
                Some(task) => unknown_task(&id, &task),
                None => answer.addressed_to(&id),
            })),
        }
        None
    }

    fn require_input(
        &mut self,
        id: Id,
        mut call: Call,
        required: &InputRequired<'_>,
        sender: &Sender,
        steps: &mut Vec<Step>,
    ) {
        call.rounds += 1;
        if call.rounds > ROUNDS {
            return steps.push(Step::Refuse(Refusal::unsent(call.message, Failure::TooManyRounds)));
        }
        let text = required.requests.map_or("{}", RawValue::get);
        let Some(requests) = Object::parse(text) else {
            return steps.push(Step::Refuse(Refusal::unsent(call.message, Failure::Malformed)));
        };
        let mut questions = Vec::new();
        for (key, request) in requests.iter() {
            match self.question(request, sender) {
                Ok(question) => questions.push((key, question)),
                Err(method) => {
                    return steps
                        .push(Step::Refuse(Refusal::unsent(call.message, Failure::UnsupportedByClient { method })));
                }
            }
        }
        let state = required.state.map(|state| state.get().to_owned());
        call.stage = Stage::Asking { responses: Object::default(), state };
        for (key, question) in questions {
            if let Some(asking) = question.id() {
                self.asked.insert(asking.clone(), (id.clone(), key));
            }
            steps.push(Step::ToClient(question));
        }
        self.calls.insert(id.clone(), call);
        self.resend_if_complete(&id, sender, steps);
    }

    /// Turns an input request into a request to the client; fails with its method if the client does not support that.
    fn question(&self, request: &str, sender: &Sender) -> Result<Message, String> {
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
        if object::found(&sender.capabilities, path).is_none() {
            return Err(method);
        }
        let id = self.request_ids.next_id();
        let mut parameters = Object::parse(parameters).unwrap_or_default();
        if is_url && parameters.get("elicitationId").is_none() {
            // MCP 2025-11-25 elicitation, "URL Mode", requires this id; the modern era has none.
            parameters.set("elicitationId", id.to_string());
        }
        Ok(Message::request(id, &method, &parameters.to_string()))
    }

    /// The client has responded to a request, perhaps to one of these.
    pub fn client_responded(&mut self, asked: &Id, answer: &Message, sender: &Sender, steps: &mut Vec<Step>) {
        let Some((id, key)) = self.asked.remove(asked) else { return };
        let Some(Call { stage: Stage::Asking { responses, .. }, .. }) = self.calls.get_mut(&id) else { return };
        if let Some(result) = answer.result::<&RawValue>() {
            responses.set(&key, result.get().to_owned());
            return self.resend_if_complete(&id, sender, steps);
        }
        // A modern server cannot be told that its input request failed, so the call ends with the client's error.
        self.calls.remove(&id);
        self.cancel_questions(&id, steps);
        steps.push(Step::ToClient(answer.clone().addressed_to(&id)));
    }

    /// Sends the call again under a new id, once all responses are there.
    fn resend_if_complete(&mut self, id: &Id, sender: &Sender, steps: &mut Vec<Step>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Asking { responses, state } = &call.stage else { return };
        if self.asked.values().any(|(asking, _)| asking == id) {
            return;
        }
        let next = self.request_ids.next_id();
        let request = call.message.clone().edited(|message| {
            message.set("id", next.to_string());
            message.edit("params", |parameters| {
                if !responses.is_empty() {
                    parameters.set("inputResponses", responses.to_string());
                }
                if let Some(state) = state {
                    parameters.set("requestState", state.clone());
                }
            });
        });
        call.stage = Stage::Sent(next.clone());
        let Some(request) = request.and_then(|request| sender.to_modern(request)) else {
            self.calls.remove(id);
            return steps.push(Step::ToClient(reply::untranslatable(id)));
        };
        self.resent.insert(next, id.clone());
        // The server has responded to the call as sent before: this is a new message with its own attempts.
        steps.push(Step::ToServer(request.unsent()));
    }
}

/// The error for a request of which a server has made a task, against the specification: this client has not declared
/// support for tasks. The task runs on, and only the server knows its outcome.
fn unknown_task(id: &Id, task: &Task) -> Message {
    let text = format!(
        "the server turned this call into a task ({}), which this client does not support. The call may or may not be \
         carried out; it was not sent again. Check before repeating it",
        quoted(&task.id)
    );
    let error = reply::error(id, ReplyCode::OutcomeUnknown, &text);
    let data = format!(r#"{{"taskId":{}}}"#, object::text(&task.id));
    error.clone().edited(|message| message.edit("error", |error| error.set("data", data))).unwrap_or(error)
}
