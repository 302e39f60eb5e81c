//! finmcp: the map comes with the last module.

pub mod credential;
#[cfg(feature = "demo")]
pub mod demo;
pub mod http;
pub mod login;
pub mod oauth;
pub mod secret;
pub mod server_url;
