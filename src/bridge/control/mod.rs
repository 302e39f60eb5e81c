//! What the owner controls: which tools may be called, how the server is named to the client, and the record of calls.

pub mod audit;
pub mod label;
pub mod policy;
