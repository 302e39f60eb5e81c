//! The ids of the requests that are finmcp's own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::mcp::id::Id;

/// One row of numbers for a conversation. Clones count on together.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// An id that has not been used.
    pub fn next_id(&self) -> Id {
        Id::own(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
