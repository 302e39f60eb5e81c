//! Where credentials live and how a token gets fresh.

pub mod clock;
pub mod lock;
pub mod record;
pub mod store;
pub mod token_source;
