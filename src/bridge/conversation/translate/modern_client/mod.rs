//! A client of the modern era in front of a legacy server: each message in the other's terms.
//!
//! `server/discover` is answered from the server's `initialize`; results get what every modern result has; what the server
//! asks in the middle of a call becomes an `input_required` result; `subscriptions/listen` is told what the session hears.

mod calls;
mod logging;
mod message;
mod subscriptions;

use std::collections::HashMap;

use crate::{
    bridge::conversation::{
        description::Description,
        failure::{Failure, Refusal},
        layer::Step,
        numbers::Numbers,
        reply,
        session::SUBSCRIBE,
        translate::{
            log_level::log_level,
            modern_client::{
                calls::{Calls, Outcome},
                logging::Logging,
                message::{completed, legacy},
                subscriptions::Subscriptions,
            },
        },
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
        meta,
        object::{self, Object},
        revision::LEGACY,
        tasks,
    },
};

/// The translator.
#[derive(Debug)]
pub struct ModernClient {
    server: Description,
    calls: Calls,
    /// The client's other requests, as it wrote them.
    requests: HashMap<Id, Message>,
    logging: Logging,
    subscriptions: Subscriptions,
}

impl ModernClient {
    /// In front of the server that describes itself so.
    pub fn new(server: Description, numbers: Numbers) -> Self {
        Self {
            calls: Calls::new(numbers.clone()),
            requests: HashMap::new(),
            logging: Logging::new(&server, numbers.clone()),
            subscriptions: Subscriptions::new(numbers),
            server,
        }
    }

    /// A legacy client's `initialize` in the name of the client that sent `message`.
    pub fn initialize(message: &Message, id: Id) -> Message {
        let meta = message.member("_meta").unwrap_or_default();
        let meta = Object::parse(&meta).unwrap_or_default();
        let mut parameters = Object::default();
        parameters.set("protocolVersion", object::text(LEGACY));
        parameters.set("capabilities", tasks::without_tasks(meta.get(meta::CAPABILITIES).unwrap_or("{}")));
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
                SUBSCRIBE => self.subscriptions.subscribe(id.clone(), &message, &self.server, steps),
                "tools/call" | "prompts/get" | "resources/read" if message.member("requestState").is_some() => {
                    self.calls.resume(message, &mut self.logging, steps);
                }
                _ => self.request(message, steps),
            },
            Kind::Notification { method } if &**method == "notifications/cancelled" => self.cancelled(message, steps),
            // A modern client answers nothing: it is asked nothing.
            Kind::Notification { .. } => steps.extend(legacy(message).map(Step::ToServer)),
            Kind::Response { .. } => {}
        }
    }

    /// What the server says; within the exchange of one of the client's requests, or outside of any.
    pub fn server(&mut self, message: Message, within: Option<Id>, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => {
                if self.is_own(id, *succeeded, steps) {
                    return;
                }
                self.logging.over(id);
                if self.calls.contains(id) {
                    let id = id.clone();
                    return self.calls.ended(id, Outcome::Answer(message), &mut self.logging, steps);
                }
                let written = self.requests.remove(id);
                steps.push(completed(message, written.as_ref()));
            }
            Kind::Request { id, method } => match &**method {
                "ping" => steps.push(Step::ToServer(Message::response(id, "{}"))),
                _ => self.calls.asked(&message, within, &mut self.logging, steps),
            },
            Kind::Notification { method } => match &**method {
                "notifications/message" => {
                    if self.logging.is_wanted(&message, within.as_ref()) {
                        steps.push(Step::ToClient(message));
                    }
                }
                "notifications/progress" => self.calls.progressed(message, within.as_ref(), steps),
                "notifications/cancelled" => self.calls.taken_back(&message),
                _ => self.subscriptions.changed(&message, steps),
            },
            Kind::Response { id: None, .. } => {}
        }
    }

    /// A message of ours or the client's brought no response.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        self.logging.over(&id);
        if self.is_own(&id, false, steps) {
            return;
        }
        if self.calls.contains(&id) {
            return self.calls.ended(id, Outcome::Refusal(refusal), &mut self.logging, steps);
        }
        // In the client's own words: it may be made again, or be answered in them.
        let message = self.requests.remove(&id).unwrap_or(refusal.message);
        steps.push(Step::Refuse(Refusal { message, ..refusal }));
    }

    /// Nothing more will come from the client: it asks no more, and hears of no more changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        self.subscriptions.close(steps);
        self.calls.close(&mut self.logging, steps);
    }

    /// Whether the response with this id is to a request of ours.
    fn is_own(&mut self, id: &Id, succeeded: bool, steps: &mut Vec<Step>) -> bool {
        self.logging.answered(id, steps) || self.subscriptions.answered(id, succeeded, steps)
    }

    fn is_in_use(&self, id: &Id) -> bool {
        self.calls.is_in_use(id) || self.subscriptions.contains(id)
    }

    fn request(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = message.kind.clone() else { return };
        let level = object::found(&message.member("_meta").unwrap_or_default(), &[meta::LOG_LEVEL]);
        let level = level.and_then(|level| log_level(&level));
        let Some(request) = legacy(message.clone()) else {
            return steps.push(Step::ToClient(reply::untranslatable(&id)));
        };
        if matches!(&*method, "tools/call" | "prompts/get" | "resources/read") {
            self.calls.begin(message, request.clone());
        } else {
            self.requests.insert(id.clone(), message);
        }
        self.logging.send(id, level, request, steps);
    }

    fn cancelled(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Some(id) = message.cancels() else { return };
        if self.subscriptions.end(&id, steps) {
            return;
        }
        let id = self.calls.cancel(id);
        self.logging.over(&id);
        self.requests.remove(&id);
        if self.logging.take_back(&id) {
            return;
        }
        let edited = message.edited(|message| {
            message.edit("params", |parameters| parameters.set("requestId", id.to_string()));
        });
        steps.push(Step::ToServer(edited.unwrap_or_else(|| Message::cancellation(&id))));
    }
}

#[cfg(test)]
mod tests;
