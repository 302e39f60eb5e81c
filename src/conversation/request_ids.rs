//! The ids of finmcp's own requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::mcp::id::Id;

/// A sequence of ids for one conversation. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct RequestIds(Arc<AtomicU64>);

impl RequestIds {
    /// An unused id.
    pub fn next_id(&self) -> Id {
        Id::own(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
