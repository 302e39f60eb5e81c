//! finmcp from outside: the binary, real sockets, and vendors that do as they are told.
//!
//! `clients` and `keychain` need programs that only `tests/run.sh` installs; `cargo nextest run` leaves them out.

#![cfg(test)]

mod rig;
mod support;
