//! The arguments of `finmcp logs`.

use clap::Args;

use crate::cli::server::Server;

/// `finmcp logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The server whose log to print (default: all).
    #[command(flatten)]
    pub server: Server,
    /// Print new lines as they come, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// How many lines to print
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub lines: usize,
}

pub(super) const HELP: &str = "\
Prints what finmcp logged when an AI client started it: which client, which
server, sign-ins and errors, with times in UTC. Without SERVER, prints the logs
of all profiles. The logs contain no tokens, arguments or results.

Examples:
  finmcp logs tesorio
  finmcp logs --follow";
