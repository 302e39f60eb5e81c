//! Measures finmcp beside a direct HTTP client, a minimal raw relay and its rivals, interleaved in one run, and writes a
//! report in Markdown to stdout:
//!
//! ```text
//! cargo bench --bench bench                 the whole of it, which takes ten minutes and wants a machine of its own
//! cargo bench --bench bench -- --quick      a first impression
//! ```
//!
//! mcp-remote and hyper-mcp-remote take part where they are on `PATH`, or named by `FINMCP_BENCH_MCP_REMOTE` and
//! `FINMCP_BENCH_HYPER_MCP_REMOTE`. Memory and CPU time are known on Linux only.
//!
//! Started by `cargo test` or `cargo nextest run` it measures nothing, and tests itself: see `rehearsal`.

#![allow(clippy::disallowed_methods, reason = "the rules about rooms are for src")]
#![allow(clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

use std::process::ExitCode;

#[cfg(unix)]
#[path = "run.rs"]
mod run;

#[cfg(unix)]
fn main() -> ExitCode {
    run::main()
}

/// The relay and the client here are made for the pipes of Unix.
#[cfg(not(unix))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
