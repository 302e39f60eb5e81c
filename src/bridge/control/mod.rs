//! What the owner controls: how the server is named to the client, and the record of calls.

pub mod audit;
pub mod label;
