//! finmcp from outside: the binary, real sockets, and vendors that do as they are told.
//!
//! One module for each command or promise; `support` is the rig and `rig` its own tests. The modules `chromium`,
//! `clients`, `desktop`, `eras`, `http_sse::servers`, `keychain`, `openid`, `packaging::npm`, `setup::agents` and `stacks`
//! need programs that only `tests/run.sh` installs: `cargo nextest run` leaves them out, and they fail, saying so, where
//! they are run without.
#![allow(clippy::disallowed_methods, reason = "the rules about rooms are for src")]
#![cfg(test)]

mod answers;
mod architecture;
mod assertion;
mod attempts;
mod audit;
#[cfg(unix)]
mod binding;
#[cfg(unix)]
mod call;
mod callback;
#[cfg(target_os = "linux")]
mod chromium;
mod clients;
mod completions;
#[cfg(feature = "demo")]
mod demo;
#[cfg(target_os = "linux")]
mod desktop;
#[cfg(unix)]
mod doctor;
#[cfg(unix)]
mod dpop;
mod eras;
mod faults;
mod fidelity;
#[cfg(target_os = "linux")]
mod floods;
mod http;
mod http_sse;
#[cfg(unix)]
mod import;
#[cfg(unix)]
mod install;
#[cfg(target_os = "linux")]
mod keychain;
mod label;
mod lifecycle;
#[cfg(target_os = "linux")]
mod limits;
mod login;
mod logout;
mod network;
#[cfg(unix)]
mod oauth;
#[cfg(unix)]
mod openid;
#[cfg(unix)]
mod packaging;
mod patience;
mod peer;
mod policy;
mod recovery;
#[cfg(unix)]
mod redirect_uri;
#[cfg(unix)]
mod refusals;
#[cfg(unix)]
mod remote;
mod replay;
mod rig;
#[cfg(unix)]
mod secrets;
mod serve;
mod settings;
mod setup;
#[cfg(unix)]
mod sign_in;
#[cfg(unix)]
mod sign_in_tool;
#[cfg(unix)]
mod stacks;
#[cfg(unix)]
mod status;
#[cfg(target_os = "linux")]
mod stress;
mod support;
mod threats;
mod token;
mod translation;
#[cfg(unix)]
mod words;
