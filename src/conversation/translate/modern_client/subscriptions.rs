//! A modern client's subscriptions, in front of a server that reports changes to its one session.

use std::collections::{HashMap, HashSet};

use crate::{
    conversation::{description::Description, layer::Step, request_ids::RequestIds, translate::lists::LISTS},
    mcp::{
        id::Id,
        message::Message,
        meta::SUBSCRIPTION_ID,
        object::{self, Object},
    },
};

/// The subscriptions, by the ids of the client's requests.
#[derive(Debug)]
pub struct Subscriptions {
    open: HashMap<Id, Filter>,
    /// finmcp's own requests to the server, with the subscription and the resource that each is for.
    own: HashMap<Id, Option<(Id, String)>>,
    request_ids: RequestIds,
}

/// The changes that a subscription reports.
#[derive(Debug)]
struct Filter {
    /// `toolsListChanged` and the like.
    lists: Vec<&'static str>,
    uris: Vec<String>,
    /// The `resources/subscribe` requests for it that have no response yet.
    unanswered: HashSet<Id>,
}

impl Subscriptions {
    pub fn new(request_ids: RequestIds) -> Self {
        Self { open: HashMap::new(), own: HashMap::new(), request_ids }
    }

    /// Whether `id` belongs to a subscription.
    pub fn contains(&self, id: &Id) -> bool {
        self.open.contains_key(id)
    }

    /// The client subscribes to the changes named in `message`, as far as the server supports them.
    pub fn subscribe(&mut self, id: Id, message: &Message, server: &Description, steps: &mut Vec<Step>) {
        let wanted = message.member("notifications").unwrap_or_default();
        // Some servers report changes without declaring it, such as those on the Python SDK.
        let is_honoured =
            |kind, name| server.capability(&[kind]).is_some() && object::found(&wanted, &[name]).is_some();
        let lists = LISTS.iter().filter(|(kind, name, _)| is_honoured(kind, name)).map(|(_, name, _)| *name).collect();
        let has_uris = server.capability(&["resources", "subscribe"]).is_some();
        let uris: Vec<String> = Object::parse(&wanted)
            .and_then(|filter| serde_json::from_str(filter.get("resourceSubscriptions")?).ok())
            .filter(|_| has_uris)
            .unwrap_or_default();
        let mut unanswered = HashSet::new();
        for uri in &uris {
            unanswered.insert(self.send("resources/subscribe", uri, Some(id.clone()), steps));
        }
        self.open.insert(id.clone(), Filter { lists, uris, unanswered });
        self.acknowledge(&id, steps);
    }

    /// Sends a request about a resource, for a subscription if one waits for it.
    fn send(&mut self, method: &str, uri: &str, waiting: Option<Id>, steps: &mut Vec<Step>) -> Id {
        let own = self.request_ids.next_id();
        self.own.insert(own.clone(), waiting.map(|subscription| (subscription, uri.to_owned())));
        let parameters = format!(r#"{{"uri":{}}}"#, object::text(uri));
        steps.push(Step::ToServer(Message::request(own.clone(), method, &parameters)));
        own
    }

    /// Acknowledges a subscription, once the server has responded to all its requests (MCP 2026-07-28 subscriptions,
    /// "Acknowledgment").
    fn acknowledge(&mut self, id: &Id, steps: &mut Vec<Step>) {
        let Some(filter) = self.open.get(id).filter(|filter| filter.unanswered.is_empty()) else { return };
        let mut honoured = Object::default();
        for name in &filter.lists {
            honoured.set(name, "true");
        }
        if !filter.uris.is_empty() {
            honoured.set("resourceSubscriptions", serde_json::json!(filter.uris).to_string());
        }
        let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}},"notifications":{honoured}}}"#);
        steps.push(Step::ToClient(Message::notification("notifications/subscriptions/acknowledged", &parameters)));
    }

    /// Whether the response with this id is to a request of finmcp's own. Handles it if so.
    pub fn answered(&mut self, id: &Id, succeeded: bool, steps: &mut Vec<Step>) -> bool {
        let Some(waiting) = self.own.remove(id) else { return false };
        // That subscription may have ended, and its id may have been used again.
        if let Some((subscription, uri)) = waiting
            && let Some(filter) = self.open.get_mut(&subscription)
            && filter.unanswered.remove(id)
        {
            filter.uris.retain(|honoured| succeeded || *honoured != uri);
            self.acknowledge(&subscription, steps);
        }
        true
    }

    /// The client ends a subscription. Returns whether there was one with this id.
    pub fn end(&mut self, id: &Id, steps: &mut Vec<Step>) -> bool {
        let Some(filter) = self.open.remove(id) else { return false };
        let others: HashSet<&String> = self.open.values().flat_map(|other| &other.uris).collect();
        let alone: Vec<String> = filter.uris.iter().filter(|uri| !others.contains(uri)).cloned().collect();
        for uri in alone {
            self.send("resources/unsubscribe", &uri, None, steps);
        }
        true
    }

    /// Ends all subscriptions, as a server would.
    pub fn close(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.open.drain().map(|(id, _)| Step::ToClient(Message::end_of_subscription(&id))));
    }

    /// Reports a change to the subscriptions that include it.
    pub fn changed(&self, message: &Message, steps: &mut Vec<Step>) {
        let uri = message.member("uri").and_then(|uri| serde_json::from_str::<String>(&uri).ok());
        let list = LISTS.iter().find(|(_, _, method)| message.method() == Some(method)).map(|(_, name, _)| name);
        let is_update = message.method() == Some("notifications/resources/updated");
        let wanted = |filter: &Filter| match (list, &uri) {
            (Some(name), _) => filter.lists.contains(name),
            (None, Some(uri)) => is_update && filter.uris.iter().any(|honoured| is_within(uri, honoured)),
            (None, None) => false,
        };
        for (id, _) in self.open.iter().filter(|(_, filter)| wanted(filter)) {
            let edited = message.clone().edited(|message| {
                message.edit("params", |parameters| {
                    parameters.edit("_meta", |meta| meta.set(SUBSCRIPTION_ID, id.to_string()));
                });
            });
            // A notification that cannot be edited is replaced, because the client needs to know its subscription.
            let own = || {
                let uri = uri.as_ref().map(|uri| format!(r#","uri":{}"#, object::text(uri))).unwrap_or_default();
                let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}{uri}}}"#);
                Message::notification(message.method().unwrap_or_default(), &parameters)
            };
            steps.push(Step::ToClient(edited.unwrap_or_else(own)));
        }
    }
}

/// Whether a resource is the same as another one or part of it: a subscription includes parts (MCP 2025-11-25
/// resources, "Subscriptions").
fn is_within(uri: &str, whole: &str) -> bool {
    let rest = uri.strip_prefix(whole);
    rest.is_some_and(|rest| rest.is_empty() || whole.ends_with('/') || rest.starts_with(['/', '?', '#']))
}
