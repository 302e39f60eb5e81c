//! What the server of a session has asked the client, and the client has not answered.

use std::collections::HashSet;

use crate::mcp::id::Id;

/// How many questions are kept account of.
const LIMIT: usize = 1 << 12;

/// The open questions.
#[derive(Debug, Default)]
pub struct Asked(HashSet<Id>);

impl Asked {
    /// The server asks this.
    pub fn add(&mut self, id: &Id) {
        if self.0.len() < LIMIT {
            self.0.insert(id.clone());
        }
    }

    /// Whether anything is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The client answers `id`. Whether the server may wait for that. (Where it has asked something, whether an odd answer
    /// is one is for it to say.)
    pub fn is_awaited(&mut self, id: Option<&Id>) -> bool {
        let asks = !self.is_empty();
        id.is_some_and(|id| self.0.remove(id)) || asks
    }

    /// Nothing of it is awaited any more.
    pub fn take(&mut self) -> HashSet<Id> {
        std::mem::take(&mut self.0)
    }
}
