//! What a client has set for as long as its session lasts, and a new session has to be told again: the level of the log,
//! and the resources that it wants to hear of (MCP 2025-11-25 logging and resources, "Subscriptions").

use std::collections::{BTreeMap, BTreeSet};

use crate::mcp::{id::Id, message::Message};

/// What stands in a session.
#[derive(Debug, Default)]
pub struct Standing {
    /// The requests that have set it.
    requests: BTreeMap<Subject, Message>,
    /// How many requests of ours there were.
    count: u64,
}

/// What a request sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// From which level on the server logs.
    LogLevel,
    /// Whether the client hears of changes to this resource.
    Resource(String),
}

impl Subject {
    /// What `message` sets, or takes back; none where it does neither.
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

impl Standing {
    /// The server has done what `request` asks for.
    pub fn carried_out(&mut self, request: &Message) {
        let Some(subject) = Subject::of(request) else { return };
        if request.method() == Some("resources/unsubscribe") {
            self.requests.remove(&subject);
        } else {
            self.requests.insert(subject, request.clone());
        }
    }

    /// Requests of ours that set everything again, except what requests `under_way` are about to.
    pub fn again(&mut self, under_way: &BTreeSet<Subject>) -> Vec<Message> {
        let requests = self.requests.iter().filter(|(subject, _)| !under_way.contains(subject));
        // (One that cannot be renamed is not sent under an id that is the client's.)
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

    /// a16: in a new session nothing is sent under an id that is the client's.
    #[test]
    fn a16_what_cannot_be_renamed_is_not_sent_again() {
        let mut standing = Standing::default();
        let raw: &[u8] = b"{\"id\":1,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"a:b\"},\"x\":\"\xff\"}";
        standing.carried_out(&Message::parse(raw.into()).unwrap());
        assert!(standing.again(&BTreeSet::new()).is_empty());
        let raw: &[u8] = b"{\"id\":1,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"a:c\"}}";
        standing.carried_out(&Message::parse(raw.into()).unwrap());
        let again = standing.again(&BTreeSet::new());
        assert_eq!(again.len(), 1, "{again:?}");
        assert_eq!(again[0].member("uri").as_deref(), Some(r#""a:c""#));
        assert_ne!(again[0].id(), Some(&Id::from_number(1)));
    }
}
