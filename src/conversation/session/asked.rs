//! The server's requests to the client that have no response yet.

use std::collections::HashSet;

use crate::mcp::id::Id;

/// How many requests are tracked.
const LIMIT: usize = 1 << 12;

/// The open requests.
#[derive(Debug, Default)]
pub struct Asked(HashSet<Id>);

impl Asked {
    pub fn add(&mut self, id: &Id) {
        if self.0.len() < LIMIT {
            self.0.insert(id.clone());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether to pass on the client's response to `id`. While the server waits for any response, it gets all of them:
    /// it can judge a response with an odd id itself.
    pub fn is_awaited(&mut self, id: Option<&Id>) -> bool {
        let has_open = !self.is_empty();
        id.is_some_and(|id| self.0.remove(id)) || has_open
    }

    pub fn take(&mut self) -> HashSet<Id> {
        std::mem::take(&mut self.0)
    }
}
