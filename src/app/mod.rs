//! Code that commands share: signing in and out, and sessions with servers. Nothing here prints: callers get events.

pub mod admission;
pub mod audit_seal;
pub mod company;
pub mod connection;
pub mod credentials;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod interrupt;
pub mod person;
pub mod profiles;
pub mod registration;
pub mod relay;
pub mod request_headers;
pub mod sign_in;
pub mod sign_out;
