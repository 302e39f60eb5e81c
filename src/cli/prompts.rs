//! The arguments of `finmcp prompts` and `finmcp prompt`.

use clap::Args;

use crate::{
    cli::server::{NamedServer, Server},
    span,
};

/// `finmcp prompts`.
#[derive(Debug, Args)]
pub struct Prompts {
    /// The server whose prompts to list.
    #[command(flatten)]
    pub server: Server,
    /// Print the server's own JSON
    #[arg(long)]
    pub json: bool,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
}

/// `finmcp prompt`.
#[derive(Debug, Args)]
pub struct Prompt {
    /// The prompt to print
    #[arg(value_name = "PROMPT")]
    pub name: String,
    /// The prompt's arguments
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Print the server's own JSON
    #[arg(long)]
    pub json: bool,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// The server that has the prompt.
    #[command(flatten)]
    pub server: NamedServer,
}

pub(super) const LIST_HELP: &str = "\
Examples:
  finmcp prompts tesorio
  finmcp prompts tesorio --json | jq '.[].name'";

pub(super) const GET_HELP: &str = "\
Prints the text of the prompt's messages; with several messages, each below its
role.

Example:
  finmcp prompt collections_email customer=ACME --server tesorio";
