//! The client's side: lines on stdin and stdout, batches of them, and the process that started finmcp.

pub mod batch;
pub mod downstream;
pub mod parent;
