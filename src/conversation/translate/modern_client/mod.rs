//! Translates between a modern client and a legacy server.
//!
//! finmcp responds to `server/discover` from the server's `initialize`; results get the members that every modern
//! result has; a request of the server in the middle of a call becomes an `input_required` result;
//! `subscriptions/listen` gets the notifications of the session.

mod calls;
mod logging;
mod message;
mod subscriptions;

use std::collections::HashMap;

use crate::{
    conversation::{
        description::Description,
        failure::{Failure, Refusal},
        layer::Step,
        reply,
        request_ids::RequestIds,
        session::SUBSCRIBE,
        translate::{
            log_level::log_level,
            modern_client::{
                calls::{CallResult, Calls},
                logging::Logging,
                message::{completed, to_legacy},
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

/// The translator for a modern client.
#[derive(Debug)]
pub struct ModernClient {
    server: Description,
    calls: Calls,
    /// The client's other requests, as the client wrote them.
    requests: HashMap<Id, Message>,
    logging: Logging,
    subscriptions: Subscriptions,
}

impl ModernClient {
    /// The translator in front of the described server.
    pub fn new(server: Description, request_ids: RequestIds) -> Self {
        Self {
            calls: Calls::new(request_ids.clone()),
            requests: HashMap::new(),
            logging: Logging::new(&server, request_ids.clone()),
            subscriptions: Subscriptions::new(request_ids),
            server,
        }
    }

    /// An `initialize` on behalf of the client that sent `message`.
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

    /// The client sent a message.
    pub fn client_sent(&mut self, message: Message, steps: &mut Vec<Step>) {
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
            // A modern client sends no responses, because it gets no requests.
            Kind::Notification { .. } => steps.extend(to_legacy(message).map(Step::ToServer)),
            Kind::Response { .. } => {}
        }
    }

    /// The server sent a message, within the exchange of a request of the client or outside any.
    pub fn server_sent(&mut self, message: Message, within: Option<Id>, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => {
                if self.handle_own_response(id, *succeeded, steps) {
                    return;
                }
                self.logging.ended(id);
                if self.calls.contains(id) {
                    let id = id.clone();
                    return self.calls.ended(id, CallResult::Response(message), &mut self.logging, steps);
                }
                let original = self.requests.remove(id);
                steps.push(completed(message, original.as_ref()));
            }
            Kind::Request { id, method } => match &**method {
                "ping" => steps.push(Step::ToServer(Message::response(id, "{}"))),
                _ => self.calls.server_asked(&message, within, &mut self.logging, steps),
            },
            Kind::Notification { method } => match &**method {
                "notifications/message" => {
                    if self.logging.is_wanted(&message, within.as_ref()) {
                        steps.push(Step::ToClient(message));
                    }
                }
                "notifications/progress" => self.calls.progressed(message, within.as_ref(), steps),
                "notifications/cancelled" => self.calls.server_request_cancelled(&message),
                _ => self.subscriptions.changed(&message, steps),
            },
            Kind::Response { id: None, .. } => {}
        }
    }

    /// A request of the client, or one of finmcp's own, failed.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        self.logging.ended(&id);
        if self.handle_own_response(&id, false, steps) {
            return;
        }
        if self.calls.contains(&id) {
            return self.calls.ended(id, CallResult::Refusal(refusal), &mut self.logging, steps);
        }
        // As the client wrote it: the request may be sent again, or its error may be translated.
        let message = self.requests.remove(&id).unwrap_or(refusal.message);
        steps.push(Step::Refuse(Refusal { message, ..refusal }));
    }

    /// The client has closed its side: it sends no more requests and gets no more notifications of changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        self.subscriptions.close(steps);
        self.calls.close(&mut self.logging, steps);
    }

    /// Whether the response with this id is to a request of finmcp's own. Handles it if so.
    fn handle_own_response(&mut self, id: &Id, succeeded: bool, steps: &mut Vec<Step>) -> bool {
        self.logging.answered(id, steps) || self.subscriptions.answered(id, succeeded, steps)
    }

    fn is_in_use(&self, id: &Id) -> bool {
        self.calls.is_in_use(id) || self.subscriptions.contains(id)
    }

    fn request(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Kind::Request { id, method } = message.kind.clone() else { return };
        let level = object::found(&message.member("_meta").unwrap_or_default(), &[meta::LOG_LEVEL]);
        let level = level.and_then(|level| log_level(&level));
        let Some(request) = to_legacy(message.clone()) else {
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
        self.logging.ended(&id);
        self.requests.remove(&id);
        if self.logging.drop_waiting(&id) {
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
