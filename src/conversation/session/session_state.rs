//! The state that a client has set in its session and that finmcp restores in a new one: the log level and the
//! resource subscriptions (MCP 2025-11-25 logging and resources, "Subscriptions").

use std::collections::{BTreeMap, BTreeSet};

use crate::mcp::{id::Id, message::Message};

#[derive(Debug, Default)]
pub struct SessionState {
    /// The client's requests that set the current state.
    requests: BTreeMap<Subject, Message>,
    /// How many requests finmcp has sent to restore state.
    count: u64,
}

/// A part of the state that a request changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The level from which on the server logs.
    LogLevel,
    /// Whether the client is subscribed to this resource.
    Resource(String),
}

impl Subject {
    /// What `message` sets or unsets, if anything.
    pub fn of(message: &Message) -> Option<Self> {
        match message.method()? {
            "logging/setLevel" => Some(Self::LogLevel),
            "resources/subscribe" | "resources/unsubscribe" => {
                serde_json::from_str(&message.member("uri")?).ok().map(Self::Resource)
            }
            _ => None,
        }
    }
}

impl SessionState {
    /// The server has carried out `request`.
    pub fn record(&mut self, request: &Message) {
        let Some(subject) = Subject::of(request) else { return };
        if request.method() == Some("resources/unsubscribe") {
            self.requests.remove(&subject);
        } else {
            self.requests.insert(subject, request.clone());
        }
    }

    /// The requests that restore the state in a new session, except for what requests `in_flight` set anyway.
    pub fn requests(&mut self, in_flight: &BTreeSet<Subject>) -> Vec<Message> {
        let requests = self.requests.iter().filter(|(subject, _)| !in_flight.contains(subject));
        // A request whose id cannot be changed is left out: the client's ids are not used twice.
        let renamed = requests.filter_map(|(_, request)| {
            self.count += 1;
            request.clone().renamed(&Id::named(&format!("finmcp-again-{}", self.count)))
        });
        renamed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a16: no request that restores state has the client's id.
    #[test]
    fn a16_a_request_that_cannot_be_renamed_is_not_restored() {
        let mut state = SessionState::default();
        let raw: &[u8] = b"{\"id\":1,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"a:b\"},\"x\":\"\xff\"}";
        state.record(&Message::parse(raw.into()).unwrap());
        assert!(state.requests(&BTreeSet::new()).is_empty());
        let raw: &[u8] = b"{\"id\":1,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"a:c\"}}";
        state.record(&Message::parse(raw.into()).unwrap());
        let requests = state.requests(&BTreeSet::new());
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(requests[0].member("uri").as_deref(), Some(r#""a:c""#));
        assert_ne!(requests[0].id(), Some(&Id::from_number(1)));
    }
}
