//! The subscriptions that a modern client was told it has before the server could be asked (MCP 2026-07-28
//! subscriptions). A server that wants none of them takes nothing away from the client: they are kept here then, and
//! tell of the one thing that finmcp changes itself, the tools.

use std::collections::HashSet;

use crate::mcp::{
    id::Id,
    message::{Kind, Message},
    meta::SUBSCRIPTION_ID,
    object,
};

/// Whether `subscribe`, a request for a subscription, asks for changes of the tools.
pub fn wants_tools(subscribe: &Message) -> bool {
    object::found(&subscribe.member("notifications").unwrap_or_default(), &["toolsListChanged"]).is_some()
}

/// Those subscriptions, by the ids of the requests for them.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// The server has not confirmed them yet.
    early: HashSet<Id>,
    /// The server has refused them.
    kept: HashSet<Id>,
}

impl Acknowledged {
    /// What tells the client that it has the subscription `id`, to changes of the tools at the least.
    pub fn begin(&mut self, id: &Id) -> Message {
        self.early.insert(id.clone());
        let parameters =
            format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}},"notifications":{{"toolsListChanged":true}}}}"#);
        Message::notification("notifications/subscriptions/acknowledged", &parameters)
    }

    /// Whether the client has been told what `message` says: that it has one of these.
    pub fn covers(&mut self, message: &Message) -> bool {
        if self.early.is_empty() || message.method() != Some("notifications/subscriptions/acknowledged") {
            return false;
        }
        let id = object::found(&message.member("_meta").unwrap_or_default(), &[SUBSCRIPTION_ID]);
        id.and_then(|id| Id::from_json(&id)).is_some_and(|id| self.early.remove(&id))
    }

    /// The request for the subscription `id` was refused. Whether the client needs not know.
    pub fn keep(&mut self, id: &Id) -> bool {
        let is_early = self.early.remove(id);
        if is_early {
            self.kept.insert(id.clone());
        }
        is_early
    }

    /// Whether `message` is about a subscription that is kept here: the client has had enough of it.
    pub fn end(&mut self, message: &Message) -> bool {
        let is_cancellation =
            matches!(&message.kind, Kind::Notification { method } if &**method == "notifications/cancelled");
        let Some(id) = is_cancellation.then(|| message.cancels()).flatten() else { return false };
        self.early.remove(&id);
        self.kept.remove(&id)
    }

    /// The subscriptions that are kept here.
    pub fn kept(&self) -> impl Iterator<Item = &Id> {
        self.kept.iter()
    }

    /// Ends all of them, with the answers to the requests for those that are kept here.
    pub fn close(&mut self) -> Vec<Message> {
        self.early.clear();
        self.kept.drain().map(|id| Message::end_of_subscription(&id)).collect()
    }
}
