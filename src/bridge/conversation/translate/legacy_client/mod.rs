//! A client of the legacy era in front of a modern server: each message in the other's terms.
//!
//! Requests get the modern `_meta`; `input_required` becomes requests to the client; list changes and resource updates come
//! by one `subscriptions/listen`; `ping` and `logging/setLevel`, which the modern era has given up, are answered here.

mod calls;
mod sender;
mod subscription;

use std::collections::HashMap;

use crate::{
    bridge::conversation::{
        description::Description,
        failure::{Failure, Refusal},
        layer::Step,
        numbers::Numbers,
        reply::{self, ReplyCode},
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

/// The translator.
#[derive(Debug)]
pub struct LegacyClient {
    sender: Sender,
    calls: Calls,
    /// The client's other requests, as it wrote them.
    requests: HashMap<Id, Message>,
    subscription: Subscription,
}

impl LegacyClient {
    /// For the client that said `initialize`, in front of the server that describes itself so.
    pub fn new(initialize: &Message, server: &Description, numbers: Numbers) -> Self {
        Self {
            sender: Sender::new(initialize, server),
            calls: Calls::new(numbers.clone()),
            requests: HashMap::new(),
            subscription: Subscription::new(server, numbers),
        }
    }

    /// A modern client's `server/discover` in this client's name.
    pub fn discover(initialize: &Message, id: Id) -> Message {
        Sender::new(initialize, &Description::minimal("")).request(id, "server/discover", Object::default())
    }

    /// What the client says.
    pub fn client(&mut self, message: Message, steps: &mut Vec<Step>) {
        self.subscription.client_spoke(&self.sender, steps);
        match &message.kind {
            Kind::Request { id, .. } if self.calls.contains(id) => {
                steps.push(Step::Refuse(Refusal::unsent(message, Failure::IdInUse)));
            }
            Kind::Request { id, method } => self.request(&message, id, method, steps),
            Kind::Notification { method } => match &**method {
                "notifications/initialized" => self.subscription.open(&self.sender, steps),
                "notifications/cancelled" => self.cancelled(message, steps),
                // The modern era has none of these.
                "notifications/roots/list_changed" | "notifications/progress" => {}
                _ => steps.extend(self.sender.modern(message).map(Step::ToServer)),
            },
            Kind::Response { id: Some(id), .. } => self.calls.replied(id, &message, &self.sender, steps),
            Kind::Response { id: None, .. } => {}
        }
    }

    fn request(&mut self, message: &Message, id: &Id, method: &str, steps: &mut Vec<Step>) {
        match method {
            "ping" => steps.push(Step::ToClient(Message::response(id, "{}"))),
            "logging/setLevel" => {
                let level = message.member("level").filter(|level| log_level(level).is_some());
                let Some(level) = level else {
                    let error = reply::error(id, ReplyCode::InvalidParameters, "there is no such level");
                    return steps.push(Step::ToClient(error));
                };
                self.sender.level = Some(level);
                steps.push(Step::ToClient(Message::response(id, "{}")));
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                let uri: Option<String> = message.member("uri").and_then(|uri| serde_json::from_str(&uri).ok());
                let Some(uri) = uri else {
                    let error = reply::error(id, ReplyCode::InvalidParameters, "this needs a uri");
                    return steps.push(Step::ToClient(error));
                };
                if method == "resources/subscribe" {
                    self.subscription.add(id.clone(), uri, &self.sender, steps);
                } else {
                    self.subscription.remove(id.clone(), &uri, &self.sender, steps);
                }
            }
            _ => {
                let Some(request) = self.sender.modern(message.clone()) else {
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

    /// What the server says.
    pub fn server(&mut self, message: Message, steps: &mut Vec<Step>) {
        match &message.kind {
            Kind::Response { id: Some(id), succeeded } => {
                if self.subscription.is_open_as(id) {
                    return self.subscription.answered(&message, id, *succeeded, steps);
                }
                let id = self.calls.own_id(id);
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
                self.subscription.spoke();
                steps.push(Step::ToClient(message));
            }
        }
    }

    /// A message of ours or the client's brought no response.
    pub fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let Some(id) = refusal.message.id().cloned() else { return };
        if self.subscription.is_open_as(&id) {
            return self.subscription.ended(&id, &refusal.failure, steps);
        }
        let id = self.calls.own_id(&id);
        // In the client's own words: it may be made again, or be answered in them.
        let written = self.calls.end(&id).or_else(|| self.requests.remove(&id));
        let message = written.unwrap_or(refusal.message);
        steps.push(Step::Refuse(Refusal { message, ..refusal }));
    }

    /// The pause before a subscription is opened again is over.
    pub fn woken(&mut self, steps: &mut Vec<Step>) {
        self.subscription.woken(&self.sender, steps);
    }

    /// Nothing more will come from the client: no answers, and it hears of no more changes.
    pub fn closed(&mut self, steps: &mut Vec<Step>) {
        self.subscription.close(steps);
        self.calls.close(steps);
    }
}

#[cfg(test)]
mod tests;
