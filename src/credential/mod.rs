//! Stores credentials and renews tokens.
//!
//! The rest of finmcp asks a [`token_source::TokenSource`]. It returns the token in memory while that is valid.
//! Otherwise `renewal` takes the [lock](crate::disk::lock), reloads the [`record`] from its [`store`] (as a
//! `document`), adopts a newer token or requests one (with an [`assertion`] if that is the grant), and saves it before
//! use. `asking` asks the user to sign in, [`moving`] gives a credential another account, and `lookup` finds sign-ins by other processes. The [`choice`] of stores:
//! the [`keychain`] (in `chunked` parts on Windows), the encrypted [`mod@file`] store, and [`memory`].

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
pub mod identity;
pub mod judgement;
pub mod key_header;
pub mod keychain;
mod lookup;
pub mod memory;
pub mod moving;
mod pacing;
pub mod record;
pub mod registrations;
mod renewal;
pub mod store;
pub mod token_source;
