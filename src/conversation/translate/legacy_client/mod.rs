//! Translates between a legacy client and a modern server.
//!
//! Requests get the modern `_meta`; `input_required` becomes requests to the client; list changes and resource updates
//! come through one `subscriptions/listen`; finmcp itself responds to `ping` and `logging/setLevel`, which the modern
//! era has dropped.

mod calls;
mod sender;
mod subscription;

use std::collections::HashMap;

use crate::{
    conversation::{
        description::Description,
        failure::{Failure, Refusal},
        layer::Step,
        reply::{self, ReplyCode},
        request_ids::RequestIds,
        translate::{
            legacy_client::{calls::Calls, sender::Sender, subscription::Subscription},
            log_level::log_level,
        },
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        object::{self, Object},
    },
};

/// The translator for a legacy client.
#[derive(Debug)]
pub struct LegacyClient {
    sender: Sender,
    calls: Calls,
    /// The client's other requests, as the client wrote them.
    requests: HashMap<Id, Message>,
    subscription: Subscription,
}

impl LegacyClient {
    /// The translator for the client that sent `initialize` and the described server.
    pub fn new(initialize: &Message, server: &Description, request_ids: RequestIds) -> Self {
        Self {
            sender: Sender::new(initialize, server),
            calls: Calls::new(request_ids.clone()),
            requests: HashMap::new(),
            subscription: Subscription::new(server, request_ids),
        }
    }

    /// A `server/discover` on behalf of the client that sent `initialize`.
    pub fn discover(initialize: &Message, id: Id) -> Message {
        Sender::new(initialize, &Description::minimal("")).request(id, "server/discover", Object::default())
    }

    /// The client sent a message.
    pub fn client_sent(&mut self, message: Message, steps: &mut Vec<Step>) {
        self.subscription.client_active(&self.sender, steps);
        match &message.kind {
            Kind::Request { id, .. } if self.calls.contains(id) => {
                steps.push(Step::Refuse(Refusal::unsent(message, Failure::IdInUse)));
            }
            Kind::Request { id, method } => self.request(&message, id, method, steps),
            Kind::Notification { method } => match &**method {
                "notifications/initialized" => self.subscription.open(&self.sender, steps),
                "notifications/cancelled" => self.cancelled(message, steps),
                // The modern era has neither of these.
                "notifications/roots/list_changed" | "notifications/progress" => {}
                _ => steps.extend(self.sender.to_modern(message).map(Step::ToServer)),
            },
            Kind::Response { id: Some(id), .. } => self.calls.client_responded(id, &message, &self.sender, steps),
            Kind::Response { id: None, .. } => {}
        }
    }

    fn request(&mut self, message: &Message, id: &Id, method: &str, steps: &mut Vec<Step>) {
        match method {
            "ping" => steps.push(Step::ToClient(Message::response(id, "{}"))),
            "logging/setLevel" => {
                let level = message.member("level").filter(|level| log_level(level).is_some());
                let Some(level) = level else {
                    let error = reply::error(id, ReplyCode::InvalidParameters, "unknown log level");
                    return steps.push(Step::ToClient(error));
                };
                self.sender.level = Some(level);
                steps.push(Step::ToClient(Message::response(id, "{}")));
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                let uri: Option<String> = message.member("uri").and_then(|uri| serde_json::from_str(&uri).ok());
                let Some(uri) = uri else {
                    let error = reply::error(id, ReplyCode::InvalidParameters, "the parameter uri is missing");
                    return steps.push(Step::ToClient(error));
                };
                if method == "resources/subscribe" {
                    self.subscription.add(id.clone(), uri, &self.sender, steps);
                } else {
                    self.subscription.remove(id.clone(), &uri, &self.sender, steps);
                }
            }
            _ => {
                let Some(request) = self.sender.to_modern(message.clone()) else {
                    return steps.push(Step::ToClient(reply::untranslatable(id)));
                };
                if matches!(method, "tools/call" | "prompts/get" | "resources/read") {
                    self.calls.begin(id, message.clone());
                } else {
                    self.requests.insert(id.clone(), message.clone());
                }
                steps.push(Step::ToServer(request));
            }
        }
    }

    fn cancelled(&mut self, message: Message, steps: &mut Vec<Step>) {
        let Some(id) = message.cancels() else { return };
        self.requests.remove(&id);
        if !self.calls.cancel(&id, steps) {
            steps.push(Step::ToServer(message));
        }
    }

    /// The server sent a message.
    pub fn server_sent(&mut self, message: Message, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => {
                if self.subscription.is_open_as(id) {
                    return self.subscription.answered(&message, id, *succeeded, steps);
                }
                let id = self.calls.client_id(id);
                if let Some(answer) = self.calls.answered(id.clone(), message, &self.sender, steps) {
                    self.requests.remove(&id);
                    steps.push(Step::ToClient(answer));
                }
            }
            Kind::Notification { method } if &**method == "notifications/subscriptions/acknowledged" => {
                let id = object::found(&message.member("_meta").unwrap_or_default(), &[SUBSCRIPTION_ID]);
                if let Some(id) = id.and_then(|id| Id::from_json(&id)) {
                    self.subscription.opened(id, steps);
                }
            }
            _ => {
                self.subscription.server_active();
                steps.push(Step::ToClient(message));
            }
        }
    }

    /// A request of the client, or one of finmcp's own, failed.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        if self.subscription.is_open_as(&id) {
            return self.subscription.ended(&id, &refusal.failure, steps);
        }
        let id = self.calls.client_id(&id);
        // As the client wrote it: the request may be sent again, or its error may be translated.
        let original = self.calls.end(&id).or_else(|| self.requests.remove(&id));
        let message = original.unwrap_or(refusal.message);
        steps.push(Step::Refuse(Refusal { message, ..refusal }));
    }

    /// The pause before reopening the subscription is over.
    pub fn woken(&mut self, steps: &mut Vec<Step>) {
        self.subscription.woken(&self.sender, steps);
    }

    /// The client has closed its side: it sends no responses and gets no more notifications of changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        self.subscription.close(steps);
        self.calls.close(steps);
    }
}

#[cfg(test)]
mod tests;
