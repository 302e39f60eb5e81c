//! Between a client of one era and a server of the other: what comes out of a translator.

pub mod legacy_client;
pub mod modern_client;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    bridge::conversation::failure::Refusal,
    mcp::{id::Id, message::Message},
};

/// What a translator wants done.
#[derive(Debug)]
pub enum Step {
    /// Say this to the server.
    ToServer(Message),
    /// Say this to the client.
    ToClient(Message),
    /// Answer a request of the client's that came to nothing.
    Refuse(Refusal),
    /// Wake the translator in a while.
    Wake(Duration),
}

/// The lists that change: the capability that a server with such a list declares, what a subscription calls its changes,
/// and the notification.
pub const LISTS: [(&str, &str, &str); 3] = [
    ("tools", "toolsListChanged", "notifications/tools/list_changed"),
    ("prompts", "promptsListChanged", "notifications/prompts/list_changed"),
    ("resources", "resourcesListChanged", "notifications/resources/list_changed"),
];

/// What can be logged at, least severe first (MCP logging, "Log Levels").
pub const LOG_LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Which of [`LOG_LEVELS`] the JSON text `level` is.
pub fn log_level(level: &str) -> Option<usize> {
    let name = level.strip_prefix('"')?.strip_suffix('"')?;
    LOG_LEVELS.iter().position(|known| *known == name)
}

/// The ids of the requests that are finmcp's own: one row of numbers for a conversation. Clones count on together.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// An id that has not been used.
    pub fn next_id(&self) -> Id {
        Id::ours(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
