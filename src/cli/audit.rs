//! The arguments of `finmcp audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `finmcp audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// What to do with the log.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What to do with an audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find the first line that was changed, removed or inserted
    #[command(after_help = HELP)]
    Verify(Verify),
}

/// `finmcp audit verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The log; after a rotation all its files, oldest first
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Fail unless every line is sealed (finmcp serve --audit-seal)
    #[arg(long)]
    pub sealed: bool,
}

/// The end of `finmcp help audit`.
pub const HELP: &str = "\
Exit code 0: the log is intact. Exit code 1: it is not; the error names the
first line that was changed, removed or inserted. Exit code 2: not a log.
docs/audit-log.md has the format, and what a chain and a seal show.

Examples:
  finmcp audit verify audit.jsonl
  finmcp audit verify audit.jsonl.2 audit.jsonl.1 audit.jsonl --json";
