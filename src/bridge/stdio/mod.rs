//! The client's side: lines on stdin and stdout, batches of them, and the process that started this one.

pub mod batch;
pub mod downstream;
pub mod parent;
