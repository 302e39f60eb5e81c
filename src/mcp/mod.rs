//! MCP's vocabulary: messages, ids, revisions, headers and error codes. Pure, and depends on no module above it.

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
