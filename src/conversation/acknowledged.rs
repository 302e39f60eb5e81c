//! The subscriptions that finmcp acknowledged to a modern client before the server could be asked (MCP 2026-07-28
//! subscriptions). If the server refuses one, the client does not hear of it: finmcp keeps the subscription itself and
//! reports the one change that it makes itself, to the list of tools.

use std::collections::HashSet;

use crate::mcp::{
    id::Id,
    message::{Kind, Message},
    meta::SUBSCRIPTION_ID,
    object,
};

/// Whether `subscribe`, a request for a subscription, asks for changes to the tools.
pub fn wants_tools(subscribe: &Message) -> bool {
    object::found(&subscribe.member("notifications").unwrap_or_default(), &["toolsListChanged"]).is_some()
}

/// These subscriptions, by the ids of their requests.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Acknowledged to the client, not yet by the server.
    unconfirmed: HashSet<Id>,
    /// Refused by the server, and kept here.
    kept: HashSet<Id>,
}

impl Acknowledged {
    /// The notification that acknowledges the subscription `id`, at least for changes to the tools.
    pub fn acknowledge(&mut self, id: &Id) -> Message {
        self.unconfirmed.insert(id.clone());
        let parameters =
            format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}},"notifications":{{"toolsListChanged":true}}}}"#);
        Message::notification("notifications/subscriptions/acknowledged", &parameters)
    }

    /// Whether `message` acknowledges one of these subscriptions, so that the client need not see it.
    pub fn is_duplicate(&mut self, message: &Message) -> bool {
        if self.unconfirmed.is_empty() || message.method() != Some("notifications/subscriptions/acknowledged") {
            return false;
        }
        let id = object::found(&message.member("_meta").unwrap_or_default(), &[SUBSCRIPTION_ID]);
        id.and_then(|id| Id::from_json(&id)).is_some_and(|id| self.unconfirmed.remove(&id))
    }

    /// The server refused the subscription `id`. Returns whether the client need not hear of that.
    pub fn keep(&mut self, id: &Id) -> bool {
        let was_unconfirmed = self.unconfirmed.remove(id);
        if was_unconfirmed {
            self.kept.insert(id.clone());
        }
        was_unconfirmed
    }

    /// Whether `message` cancels a subscription that is kept here. Ends that one.
    pub fn end(&mut self, message: &Message) -> bool {
        let is_cancellation =
            matches!(&message.kind, Kind::Notification { method } if &**method == "notifications/cancelled");
        let Some(id) = is_cancellation.then(|| message.cancels()).flatten() else { return false };
        self.unconfirmed.remove(&id);
        self.kept.remove(&id)
    }

    /// The subscriptions kept here.
    pub fn kept(&self) -> impl Iterator<Item = &Id> {
        self.kept.iter()
    }

    /// Ends all of them; returns the responses to the requests for those kept here.
    pub fn close(&mut self) -> Vec<Message> {
        self.unconfirmed.clear();
        self.kept.drain().map(|id| Message::end_of_subscription(&id)).collect()
    }
}
