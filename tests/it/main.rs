//! finmcp from outside: the binary, real sockets, and vendors that do as they are told.
//!
//! One module for each command or promise; `support` is the rig and `rig` its own tests. The modules `clients`,
//! `keychain` and `openid` need programs that only `tests/run.sh` installs: `cargo nextest run` leaves them out, and they
//! fail, saying so, where they are run without.
#![allow(clippy::disallowed_methods, reason = "the rules about rooms are for src")]
#![cfg(test)]

mod architecture;
mod assertion;
mod clients;
mod completions;
#[cfg(feature = "demo")]
mod demo;
#[cfg(unix)]
mod dpop;
mod fidelity;
#[cfg(unix)]
mod install;
#[cfg(target_os = "linux")]
mod keychain;
mod lifecycle;
mod login;
mod logout;
mod network;
#[cfg(unix)]
mod openid;
mod patience;
mod peer;
mod recovery;
mod replay;
mod rig;
mod serve;
mod settings;
#[cfg(unix)]
mod sign_in;
#[cfg(unix)]
mod sign_in_tool;
mod support;
mod token;
