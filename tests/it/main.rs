//! finmcp from outside: the binary, real sockets, and vendors that do as they are told.
//!
//! One folder for the commands, the bridge, security and platforms each; `support` has the vendor, the browser and the
//! clients that tests use, and its own tests. Some modules need programs that only `tests/run.sh` installs:
//! `.config/nextest.toml` lists them. `cargo nextest run` leaves them out, and they fail, saying so, where they are run
//! without.
#![allow(clippy::disallowed_methods, reason = "the rules about rooms are for src")]
#![cfg(test)]

mod architecture;
mod bridge;
mod commands;
mod platforms;
mod security;
mod security_review;
mod support;
mod threats;
