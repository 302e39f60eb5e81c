//! MCP's vocabulary: messages as they were written, and what the specification calls things. Pure; knows nobody else.

pub mod array;
pub mod attempts;
pub mod codes;
pub mod delivery;
pub mod extra_headers;
pub mod headers;
pub mod id;
pub mod introduction;
pub mod malformed;
pub mod message;
pub mod meta;
pub mod mirrored;
pub mod object;
pub mod revision;
mod splice;
pub mod sse;
pub mod tasks;
