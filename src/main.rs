//! finmcp, the command.

use std::process::ExitCode;

use clap::Parser;
use finmcp::{cli::Cli, commands, secret};

fn main() -> ExitCode {
    secret::guard_memory();
    let cli = Cli::parse();
    commands::run(cli)
}
