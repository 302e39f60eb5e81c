//! Measures finmcp, a direct HTTP client, a minimal raw relay and finmcp's rivals, interleaved in one run, and writes a
//! Markdown report to stdout:
//!
//! ```text
//! cargo bench --bench bench                 all measurements: ten minutes on an otherwise idle machine
//! cargo bench --bench bench -- --quick      a short run with less precise results
//! ```
//!
//! mcp-remote and hyper-mcp-remote are measured if they are on `PATH` or named by `FINMCP_BENCH_MCP_REMOTE` and
//! `FINMCP_BENCH_HYPER_MCP_REMOTE`. Memory and CPU time are measured on Linux only.
//!
//! Under `cargo test` or `cargo nextest run` the bench tests itself instead: see `rehearsal`.

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

/// The bench's relay and client need Unix pipes.
#[cfg(not(unix))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
