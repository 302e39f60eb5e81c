//! `finmcp doctor`, as it is typed.

use clap::Args;

use crate::cli::server::Server;

/// `finmcp doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) const HELP: &str = "\
Each step is ok, a warning, failed, or skipped since an earlier one failed. Exit
code 1 when one has failed. Opens no browser, asks nobody, and changes nothing
but a token that has ended, which it renews as serve does. The text holds no
secret and can be given to whoever helps.

Examples:
  finmcp doctor asset --env sandbox
  finmcp doctor tesorio > report.txt";
