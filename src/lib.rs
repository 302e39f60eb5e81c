//! finmcp: the map comes with the last module.

pub mod credential;
pub mod http;
pub mod login;
pub mod oauth;
pub mod secret;
pub mod server_url;
