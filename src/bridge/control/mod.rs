//! What the owner keeps a hand on: which tools may be called, what names the server to the client, what was called.

pub mod audit;
pub mod label;
pub mod policy;
