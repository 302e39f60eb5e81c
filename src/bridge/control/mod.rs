//! Controls for the user: the label that names the server to the client, and the audit log.

pub mod audit;
pub mod label;
