//! finmcp, the command.

use std::process::ExitCode;

use clap::Parser;
use finmcp::{cli::Cli, commands};

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::run(cli)
}
