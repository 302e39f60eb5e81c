//! The arguments of `finmcp tools` and `finmcp call`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use crate::{
    cli::server::{NamedServer, Server},
    span,
};

/// `finmcp tools`.
#[derive(Debug, Args)]
pub struct Tools {
    /// The server whose tools to list.
    #[command(flatten)]
    pub server: Server,
    /// Show only this tool; may be repeated
    #[arg(long, value_name = "TOOL")]
    pub tool: Vec<String>,
    /// Print the server's own JSON
    #[arg(long)]
    pub json: bool,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
}

/// `finmcp call`.
#[derive(Debug, Args)]
pub struct Call {
    /// The tool to call
    pub tool: String,
    /// The tool's arguments, converted by its schema; NAME:=JSON passes JSON unchanged
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Print the server's own JSON result; with -, also read the arguments from stdin as a JSON object
    #[arg(long, value_name = "-", num_args = 0..=1)]
    pub json: Option<Option<Json>>,
    /// Print a list of records as CSV, for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Save the image, audio or file of the result to FILE (further ones to FILE-2, FILE-3 …)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// The server that has the tool.
    #[command(flatten)]
    pub server: NamedServer,
}

impl Call {
    /// Accepts the server as a plain word, before the tool or after it, as other commands do: every argument of a tool
    /// has a `=`.
    pub fn arrange(&mut self, is_server: impl Fn(&str) -> bool) {
        if self.server.server.is_some() {
            return;
        }
        let is_bare = |word: &String| !word.contains('=');
        if let Some(at) = self.arguments.iter().position(|word| is_bare(word) && is_server(word)) {
            self.server.server = Some(self.arguments.remove(at));
        } else if is_server(&self.tool) && self.arguments.first().is_some_and(is_bare) {
            let tool = self.arguments.remove(0);
            self.server.server = Some(std::mem::replace(&mut self.tool, tool));
        }
    }
}

/// The word after `--json`.
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
            _ => Err("expected -, to read a JSON object from stdin"),
        }
    }
}

/// The end of `finmcp help tools`.
pub const TOOLS_HELP: &str = "\
Examples:
  finmcp tools asset --env sandbox
  finmcp tools demo --tool profit_and_loss
  finmcp tools tesorio --json | jq '.[].name'";

/// The end of `finmcp help call`.
pub const CALL_HELP: &str = "\
finmcp never repeats a call: if the outcome is unknown, it says so. If --server
is omitted: the default in config.toml, else the only server you are signed in
to. In a terminal, finmcp shows you the server's questions during the call.

JSON is indented in a terminal, and exactly as the server wrote it in a pipe or
a file. --csv keeps numbers as the server wrote them; text that a spreadsheet
would take for a formula (it starts with =, +, - or @) gets a ' in front.

Examples:
  finmcp call profit_and_loss from=2025-01-01 to=2025-12-31 --server demo
  finmcp call list_invoices --server tesorio --csv > invoices.csv
  finmcp call list_transactions limit=5 'tags:=[\"a\"]' --server asset --json
  echo '{\"from\": \"2025-01-01\", \"to\": \"2025-12-31\"}' |
    finmcp call profit_and_loss --server demo --json -";
