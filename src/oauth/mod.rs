//! OAuth for MCP: pure functions of values and the time. Only `client` and `discovery` use HTTP, and nothing here reads
//! a clock.

pub mod authorization;
pub mod authorization_server;
pub mod challenge;
pub mod client;
pub mod client_assertion;
pub mod client_metadata;
pub mod confirmation;
pub mod device_authorization;
pub mod discovery;
pub mod dpop;
pub mod error;
pub mod holder;
pub mod id_jag;
pub mod id_token;
pub mod json;
pub mod jwt;
mod key_algorithms;
pub mod overrides;
pub mod private_key;
pub mod protected_resource;
mod published;
pub mod registration;
pub mod registration_request;
pub mod scope;
pub mod token_set;
mod unknown_client;
