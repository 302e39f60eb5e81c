//! Keeps a server's rate limit before the server has to enforce it.

pub mod gate;
pub mod governor;
pub mod patience;
