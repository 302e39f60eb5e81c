//! Where credentials live and how a token gets fresh.

mod access_token;
mod chunked;
pub mod clock;
pub mod file;
pub mod keychain;
pub mod lock;
pub mod memory;
mod private_folder;
pub mod record;
mod renewal;
pub mod store;
pub mod token_source;
