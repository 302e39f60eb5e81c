//! Each command, from its arguments to its exit code.

pub mod api_key;
#[cfg(unix)]
pub mod asking;
#[cfg(unix)]
pub mod call;
pub mod completions;
#[cfg(unix)]
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(unix)]
pub mod doctor;
#[cfg(unix)]
pub mod doctor_cures;
pub mod help;
#[cfg(unix)]
pub mod import;
pub mod login;
pub mod logout;
#[cfg(unix)]
pub mod logs;
#[cfg(unix)]
pub mod names;
pub mod native;
#[cfg(target_os = "linux")]
pub mod picker;
pub mod plaintext_keys;
pub mod presets;
#[cfg(unix)]
pub mod profile;
#[cfg(unix)]
pub mod records;
#[cfg(unix)]
pub mod redirect_uri;
#[cfg(unix)]
pub mod remote;
pub mod settings;
pub mod setup;
pub mod setup_files;
pub mod setup_list;
#[cfg(unix)]
pub mod status;
pub mod token;
#[cfg(unix)]
pub mod waiting;
#[cfg(unix)]
pub mod words;
