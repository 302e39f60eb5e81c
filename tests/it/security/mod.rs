//! Who is trusted with what: signing in, tokens, secrets, servers that lie.

pub mod assertion;
#[cfg(unix)]
pub mod binding;
pub mod callback;
#[cfg(target_os = "linux")]
pub mod chromium;
#[cfg(unix)]
pub mod company;
#[cfg(unix)]
pub mod company_openid;
#[cfg(unix)]
pub mod confirmation;
#[cfg(unix)]
pub mod dpop;
#[cfg(unix)]
pub mod fapi;
pub mod network;
#[cfg(unix)]
pub mod oauth;
#[cfg(unix)]
pub mod openid;
#[cfg(unix)]
pub mod provider;
#[cfg(unix)]
pub mod pushed_authorization;
#[cfg(unix)]
pub mod refusals;
pub mod renewal_model;
#[cfg(unix)]
pub mod secrets;
#[cfg(unix)]
pub mod sign_in;
#[cfg(unix)]
pub mod stacks;
#[cfg(target_os = "linux")]
pub mod stress;
pub mod token_source;
