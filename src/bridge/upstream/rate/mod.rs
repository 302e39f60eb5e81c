//! The vendor's limit of requests, kept to before the server has to say so.

pub mod gate;
pub mod governor;
pub mod patience;
