//! OAuth for MCP: values and the time in, values out. Only `client` and `discovery` speak HTTP, and nothing here reads a clock.

pub mod client;
pub mod error;
pub mod registration;
pub mod scope;
pub mod token_set;
