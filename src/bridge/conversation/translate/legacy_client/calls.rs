//! The input that a modern server requires before it answers a call: its questions become requests to the legacy client,
//! and the call is sent again with what they brought (MCP 2026-07-28, "Multi Round-Trip Requests").

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::conversation::{
        failure::{Failure, Refusal},
        layer::Step,
        numbers::Numbers,
        reply::{self, ReplyCode},
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

/// How often a server may ask for more before it answers.
const ROUNDS: u8 = 10;

/// The client's requests that may need input.
#[derive(Debug)]
pub struct Calls {
    /// By their ids.
    calls: HashMap<Id, Call>,
    /// The ids under which such requests were sent again.
    again: HashMap<Id, Id>,
    /// What the client was asked: for which of its requests, under which key.
    asked: HashMap<Id, (Id, String)>,
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

impl Calls {
    /// None to begin with.
    pub fn new(numbers: Numbers) -> Self {
        Self { calls: HashMap::new(), again: HashMap::new(), asked: HashMap::new(), numbers }
    }

    /// Whether `id` is that of a call.
    pub fn contains(&self, id: &Id) -> bool {
        self.calls.contains_key(id)
    }

    /// The client has made this call, and the server has been sent it.
    pub fn begin(&mut self, id: &Id, message: Message) {
        let call = Call { message, rounds: 0, stage: Stage::Sent(id.clone()) };
        self.calls.insert(id.clone(), call);
    }

    /// The id of the client's request that the server knows as `id`. It is over.
    pub fn own_id(&mut self, id: &Id) -> Id {
        self.again.remove(id).unwrap_or_else(|| id.clone())
    }

    /// The call came to nothing: it is as the client wrote it.
    pub fn end(&mut self, id: &Id) -> Option<Message> {
        self.calls.remove(id).map(|call| call.message)
    }

    /// The client does not want the answer to a request any more. Whether that was a call.
    pub fn cancel(&mut self, id: &Id, steps: &mut Vec<Step>) -> bool {
        match self.calls.remove(id) {
            None => return false,
            Some(Call { stage: Stage::Sent(sent), .. }) => {
                self.again.remove(&sent);
                steps.push(Step::ToServer(Message::cancellation(&sent)));
            }
            Some(Call { stage: Stage::Asking { .. }, .. }) => self.take_back(id, steps),
        }
        true
    }

    /// Asks the client nothing more for its request `call`.
    fn take_back(&mut self, call: &Id, steps: &mut Vec<Step>) {
        let taken_back = self.asked.extract_if(|_, (asking, _)| asking == call);
        steps.extend(taken_back.map(|(id, _)| Step::ToClient(Message::cancellation(&id))));
    }

    /// Nothing more will come from the client: no answers.
    pub fn close(&mut self, steps: &mut Vec<Step>) {
        self.asked.clear();
        let asking = self.calls.extract_if(|_, call| matches!(call.stage, Stage::Asking { .. }));
        steps.extend(asking.map(|(_, call)| Step::Refuse(Refusal::unsent(call.message, Failure::Unasked))));
    }

    /// The server has answered the call `id`, or asks something first. What answers something else is given back.
    pub fn answered(&mut self, id: Id, answer: Message, sender: &Sender, steps: &mut Vec<Step>) -> Option<Message> {
        let Some(call) = self.calls.remove(&id) else { return Some(answer) };
        let asks = memchr::memmem::find(answer.raw(), b"\"input_required\"").is_some();
        let required = asks.then(|| answer.result::<InputRequired<'_>>()).flatten();
        match required.filter(|required| required.kind == "input_required") {
            Some(required) => self.ask(id, call, &required, sender, steps),
            None => steps.push(Step::ToClient(match tasks::extension_task(&answer) {
                Some(task) => unknown_task(&id, &task),
                None => answer.addressed_to(&id),
            })),
        }
        None
    }

    fn ask(&mut self, id: Id, mut call: Call, required: &InputRequired<'_>, sender: &Sender, steps: &mut Vec<Step>) {
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
            match self.question(request, sender) {
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
        self.send_again_if_complete(&id, sender, steps);
    }

    /// One of the server's questions as a request to the client; else what the client cannot be asked.
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
        let id = self.numbers.next_id();
        let mut parameters = Object::parse(parameters).unwrap_or_default();
        if is_url && parameters.get("elicitationId").is_none() {
            // MCP 2025-11-25 elicitation, "URL Mode", asks for one; the modern era has none.
            parameters.set("elicitationId", id.to_string());
        }
        Ok(Message::request(id, &method, &parameters.to_string()))
    }

    /// The client has answered a request, perhaps one of these questions.
    pub fn replied(&mut self, asked: &Id, answer: &Message, sender: &Sender, steps: &mut Vec<Step>) {
        let Some((id, key)) = self.asked.remove(asked) else { return };
        let Some(Call { stage: Stage::Asking { answers, .. }, .. }) = self.calls.get_mut(&id) else { return };
        if let Some(result) = answer.result::<&RawValue>() {
            answers.set(&key, result.get().to_owned());
            return self.send_again_if_complete(&id, sender, steps);
        }
        // There is no way to tell a modern server that its question failed: the call ends with the client's error.
        self.calls.remove(&id);
        self.take_back(&id, steps);
        steps.push(Step::ToClient(answer.clone().addressed_to(&id)));
    }

    /// Sends the call again with what its questions have brought, once nothing is missing: under a new id.
    fn send_again_if_complete(&mut self, id: &Id, sender: &Sender, steps: &mut Vec<Step>) {
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
        let Some(request) = request.and_then(|request| sender.modern(request)) else {
            self.calls.remove(id);
            return steps.push(Step::ToClient(reply::untranslatable(id)));
        };
        self.again.insert(next, id.clone());
        // The server answered the call before: this is another one.
        steps.push(Step::ToServer(request.unsent()));
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
