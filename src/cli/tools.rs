//! `finmcp tools` and `finmcp call`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use crate::{
    cli::server::{NamedServer, Server},
    span,
};

/// `finmcp tools`.
#[derive(Debug, Args)]
pub struct Tools {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// Show this tool only; may be repeated
    #[arg(long, value_name = "TOOL")]
    pub tool: Vec<String>,
    /// As JSON: the list as the server wrote it
    #[arg(long)]
    pub json: bool,
    /// How long a request may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
}

/// `finmcp call`.
#[derive(Debug, Args)]
pub struct Call {
    /// The tool to call
    pub tool: String,
    /// Its arguments, typed by the tool's schema; NAME:=JSON is taken as it stands
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Print the result as JSON, as the server wrote it; with -, read the arguments from stdin as a JSON object, too
    #[arg(long, value_name = "-", num_args = 0..=1)]
    pub json: Option<Option<Json>>,
    /// Keep the image, sound or file of the result here; of several, the next ones as FILE-2 and so on
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How long a request may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// Which server.
    #[command(flatten)]
    pub server: NamedServer,
}

/// What stands behind `--json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `-`: the arguments come from stdin.
    Stdin,
    /// An argument of the tool, which has nothing to do with `--json`.
    Argument(String),
}

impl FromStr for Json {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-" => Ok(Self::Stdin),
            argument if argument.contains('=') => Ok(Self::Argument(argument.to_owned())),
            _ => Err("only - may follow, for a JSON object on stdin"),
        }
    }
}

/// What `finmcp help tools` says at its end.
pub const TOOLS_HELP: &str = "\
Examples:
  finmcp tools asset --env sandbox
  finmcp tools demo --tool profit_and_loss
  finmcp tools tesorio --json | jq '.[].name'";

/// What `finmcp help call` says at its end.
pub const CALL_HELP: &str = "\
A call is sent once. When its outcome is not known, that is said, and nothing is
repeated. Without --server: the default of config.toml, else the only server you
are signed in to. In a terminal, what the server asks meanwhile is asked here.

Examples:
  finmcp call profit_and_loss from=2025-01-01 to=2025-12-31 --server demo
  finmcp call list_transactions limit=5 'tags:=[\"a\"]' --server asset --json
  echo '{\"from\": \"2025-01-01\", \"to\": \"2025-12-31\"}' | finmcp call profit_and_loss --server demo --json -";
