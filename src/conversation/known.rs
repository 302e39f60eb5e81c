//! The state that all layers share: facts about the client and the server.

use crate::{
    conversation::{
        description::{self, Description},
        policy::{Policy, Rules},
        reply::ServerLabels,
        request_ids::RequestIds,
    },
    mcp::{message::Message, revision::Era},
};

#[derive(Debug)]
pub struct Known {
    /// How messages to the client name the server.
    pub labels: ServerLabels,
    /// Generates the ids of finmcp's own requests.
    pub request_ids: RequestIds,
    /// The server's description, perhaps from an earlier conversation.
    pub server: Option<Description>,
    pub availability: ServerAvailability,
    pub client: Era,
    /// Which tools the client may see and call.
    pub policy: Policy,
    /// The list of tools that the client has.
    pub shown: ShownTools,
    /// How many of the client's bytes are in flight or waiting, in all layers.
    pub backlog: usize,
}

/// Whether the server can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAvailability {
    /// Messages pass: the server's era is known, or finmcp has not asked yet.
    Open,
    /// finmcp is probing the server's era, and the client waits for the result.
    Probing,
    /// The probes continue, but finmcp has already responded to the client in the server's place.
    Slow,
    /// The probes failed, and finmcp has responded to the client in the server's place. The next request starts them
    /// again.
    Away,
}

/// Which list of tools the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShownTools {
    /// The server's own list, or no list yet.
    Own,
    /// A remembered list, which may be out of date.
    Remembered,
    /// A remembered list with finmcp's sign-in tool.
    WithSignIn,
}

impl Known {
    /// At the beginning, with the server's description from an earlier conversation.
    pub fn new(labels: ServerLabels, remembered: Option<Description>, rules: Rules) -> Self {
        let policy = Policy::new(rules, remembered.as_ref().and_then(Description::tools));
        Self {
            labels,
            request_ids: RequestIds::default(),
            server: remembered,
            availability: ServerAvailability::Open,
            client: Era::Legacy,
            policy,
            shown: ShownTools::Own,
            backlog: 0,
        }
    }

    /// What finmcp tells the client about a server that cannot be asked.
    pub fn tentative(&self) -> Description {
        match &self.server {
            Some(known) => known.tentative(),
            None => Description::minimal(&self.labels.title),
        }
    }

    /// The tools that the server listed last, as far as the client may see them.
    pub fn remembered_tools(&self) -> Option<String> {
        let tools = self.server.as_ref().and_then(Description::tools)?;
        Some(self.policy.visible(tools))
    }

    /// The response to `list` from memory, if any tools are known: some clients ask only once and do not wait. When
    /// the server can be asked, finmcp notifies them that the tools have changed.
    pub fn list_from_memory(&mut self, list: &Message) -> Option<Message> {
        let tools = self.remembered_tools()?;
        let answer = Message::response(list.id()?, &description::listed(list, Some(&tools)).to_string());
        self.shown = self.shown.max(ShownTools::Remembered);
        Some(answer)
    }
}
