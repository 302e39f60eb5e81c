//! The arguments of `finmcp resources` and `finmcp resource`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::server::{NamedServer, Server},
    span,
};

/// `finmcp resources`.
#[derive(Debug, Args)]
pub struct Resources {
    /// The server whose resources to list.
    #[command(flatten)]
    pub server: Server,
    /// Print the server's own JSON
    #[arg(long)]
    pub json: bool,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
}

/// `finmcp resource`.
#[derive(Debug, Args)]
pub struct Resource {
    /// The resource's URI, from finmcp resources
    #[arg(value_name = "URI")]
    pub uri: String,
    /// Save the resource to FILE (further parts to FILE-2, FILE-3 …)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the server's own JSON
    #[arg(long)]
    pub json: bool,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// The server that has the resource.
    #[command(flatten)]
    pub server: NamedServer,
}

pub(super) const LIST_HELP: &str = "\
A URI with {braces} is a template: replace each brace with a value.

Examples:
  finmcp resources masset
  finmcp resources masset --json | jq '.[].uri'";

pub(super) const READ_HELP: &str = "\
Prints text. Prints other content only to a pipe or a file, never to a terminal.

Examples:
  finmcp resource masset://reports/2025 --server masset
  finmcp resource masset://logo.png --server masset --output logo.png";
