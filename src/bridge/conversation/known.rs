//! What every layer knows of the client and the server.

use crate::{
    bridge::{
        control::policy::{Policy, Rules},
        conversation::{
            description::{self, Description},
            numbers::Numbers,
            reply::Words,
        },
    },
    mcp::{message::Message, revision::Era},
};

/// What is known in one conversation.
#[derive(Debug)]
pub struct Known {
    /// How errors speak of the server.
    pub words: Words,
    /// The ids of requests of ours.
    pub numbers: Numbers,
    /// What is known of the server, be it from earlier.
    pub server: Option<Description>,
    /// Whether the server can be asked.
    pub reach: Reach,
    /// What the client speaks.
    pub client: Era,
    /// Which tools the client may see and call.
    pub policy: Policy,
    /// The list of tools that the client has.
    pub shown: Shown,
    /// How many bytes of the client's are under way or wait, whatever layer they wait in.
    pub backlog: usize,
}

/// How far client and server have got to know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Messages pass: the server is known, or nothing was asked yet.
    Open,
    /// The server is being asked who it is, and the client waits for that.
    Asked,
    /// The same, and the client has been answered for the server.
    Slow,
    /// The server could not be asked; the client has been answered for it. The next request asks again.
    Away,
}

/// Whose list of tools the client has seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// The server's own, or none.
    Own,
    /// What the server listed some time before: its tools may be others.
    Remembered,
    /// The same with the tool that signs in.
    WithSignIn,
}

impl Known {
    /// With nothing said yet, of a server that said `remembered` of itself some time before.
    pub fn new(words: Words, remembered: Option<Description>, rules: Rules) -> Self {
        let policy = Policy::new(rules, remembered.as_ref().and_then(Description::tools));
        Self {
            words,
            numbers: Numbers::default(),
            server: remembered,
            reach: Reach::Open,
            client: Era::Legacy,
            policy,
            shown: Shown::Own,
            backlog: 0,
        }
    }

    /// What the client is told of a server that cannot be asked.
    pub fn tentative(&self) -> Description {
        match &self.server {
            Some(known) => known.tentative(),
            None => Description::minimal(&self.words.title),
        }
    }

    /// The tools that the server listed last, as far as the client may see them.
    pub fn remembered_tools(&self) -> Option<String> {
        let tools = self.server.as_ref().and_then(Description::tools)?;
        Some(self.policy.visible(tools))
    }

    /// The answer to `list` from memory, where any tools are known: some clients ask once, and wait for no server. When
    /// the server says who it is, they are told that the tools have changed.
    pub fn list_from_memory(&mut self, list: &Message) -> Option<Message> {
        let tools = self.remembered_tools()?;
        let answer = Message::response(list.id()?, &description::listed(list, Some(&tools)).to_string());
        self.shown = self.shown.max(Shown::Remembered);
        Some(answer)
    }
}
