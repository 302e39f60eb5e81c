//! Signing in: from a server's URL to a credential. Nothing here prints or stores anything; the caller does.
//!
//! [`options`] says how to sign in, [`request`] to what; [`person`], [`device`], [`client_credentials`],
//! [`jwt_bearer`] and [`api_key`] are the grants.

mod answer;
pub mod api_key;
pub mod browser;
mod client;
pub mod client_credentials;
pub mod context;
pub mod device;
pub mod error;
pub mod jwt_bearer;
pub mod loopback;
pub mod mcp_remote;
pub mod options;
pub mod page;
pub mod parameters;
pub mod paste;
pub mod person;
mod place;
pub mod portal;
pub mod redirect_uri;
pub mod request;
mod sign_in_page;
pub mod turn;

#[cfg(test)]
mod tests;
