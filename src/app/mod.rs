//! What commands share: signing in and out, and conversations with servers. Nothing here prints: the caller
//! is told what is worth saying.

pub mod admission;
pub mod connection;
pub mod credentials;
#[cfg(feature = "demo")]
pub mod embedded;
pub mod interrupt;
pub mod registration;
pub mod relay;
pub mod request_headers;
pub mod sign_in;
pub mod sign_out;
