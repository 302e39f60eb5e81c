//! Where credentials live and how a token gets fresh.

pub mod record;
pub mod store;
