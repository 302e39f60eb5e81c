//! `finmcp serve`: what crosses the bridge, what does not, and what is sent again.

pub mod answers;
pub mod attempts;
pub mod audit;
pub mod audit_chain;
pub mod clients;
pub mod eras;
pub mod faults;
pub mod fidelity;
#[cfg(target_os = "linux")]
pub mod floods;
pub mod http;
pub mod http_sse;
pub mod label;
pub mod lifecycle;
#[cfg(target_os = "linux")]
pub mod limits;
pub mod patience;
pub mod policy;
pub mod rate_limit;
pub mod recovery;
pub mod replay;
pub mod serve;
#[cfg(unix)]
pub mod sign_in;
#[cfg(unix)]
pub mod sign_in_tool;
pub mod translation;
