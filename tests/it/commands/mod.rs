//! Each command, from its arguments to its exit code.

pub mod api_key;
#[cfg(unix)]
pub mod asking;
#[cfg(unix)]
pub mod call;
pub mod completions;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(unix)]
pub mod doctor;
#[cfg(unix)]
pub mod import;
pub mod login;
pub mod logout;
pub mod native;
pub mod plaintext_keys;
pub mod presets;
#[cfg(unix)]
pub mod redirect_uri;
#[cfg(unix)]
pub mod remote;
pub mod settings;
pub mod setup;
#[cfg(unix)]
pub mod status;
pub mod token;
#[cfg(unix)]
pub mod words;
