//! Where credentials live and how a token gets fresh.
//!
//! The rest of finmcp asks a [`token_source::TokenSource`]. It hands out a token from memory while that lasts, and else
//! has `renewal` get one: take the [`lock`], reload the [`record`] from its [`store`], adopt a newer token or ask the
//! server, save, use; by an [`assertion`] where there is nothing else to renew with. Stores are the [`keychain`] (in `chunked` parts on Windows), the encrypted [`mod@file`] store,
//! and [`memory`].

mod access_token;
mod asking;
pub mod assertion;
mod chunked;
pub mod clock;
pub mod error;
pub mod file;
pub mod judgement;
pub mod keychain;
pub mod lock;
mod lookup;
pub mod memory;
mod pacing;
pub(crate) mod private_folder;
pub mod record;
pub mod registrations;
mod renewal;
pub mod store;
pub mod token_source;
