//! The arguments of `finmcp doctor`.

use clap::Args;

use crate::cli::server::Server;

/// `finmcp doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The server to diagnose.
    #[command(flatten)]
    pub server: Server,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) const HELP: &str = "\
Exits with code 1 if a step fails; steps that depend on it are skipped. Doctor
does not prompt, opens no browser and changes nothing, except that it renews an
expired token, as serve does. The output contains no secrets: you can send it to
support.

Examples:
  finmcp doctor asset --env sandbox
  finmcp doctor tesorio > report.txt";
