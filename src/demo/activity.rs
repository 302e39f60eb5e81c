//! What a vendor is asked.

/// What was asked of a vendor since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Clients that registered.
    pub registrations: u64,
    /// Requests to the token endpoint, refused ones included.
    pub token_requests: u64,
    /// `tools/call` requests that were let through.
    pub tool_calls: u64,
}
