//! Where credentials live and how a token gets fresh.
//!
//! The rest of finmcp asks a [`token_source::TokenSource`]. It hands out a token from memory while that lasts, and else
//! has `renewal` get one: take the [lock](crate::disk::lock), reload the [`record`] from its [`store`] (a `document`
//! there), adopt a newer token or ask the server, save, use; by an [`assertion`] where there is nothing else to renew
//! with. Where a person is needed it is `asking` that asks, and `lookup` finds what other processes have done.
//! Stores are a [`choice`]: the [`keychain`] (in `chunked` parts on Windows), the encrypted [`mod@file`] store, and
//! [`memory`].

mod access_token;
mod asking;
pub mod assertion;
pub mod assertion_source;
pub mod choice;
mod chunked;
pub mod clock;
mod document;
pub mod error;
pub mod file;
pub mod judgement;
pub mod key_header;
pub mod keychain;
mod lookup;
pub mod memory;
mod pacing;
pub mod record;
pub mod registrations;
mod renewal;
pub mod store;
pub mod token_source;
