//! Counts of a vendor's requests.

/// The number of requests that a vendor got since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    pub registrations: u64,
    /// Requests to the token endpoint, including refused ones.
    pub token_requests: u64,
    pub tool_calls: u64,
}
