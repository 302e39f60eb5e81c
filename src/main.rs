//! The finmcp command.

use std::process::ExitCode;

use clap::Parser;
use finmcp::{cli::Cli, commands, secret};

fn main() -> ExitCode {
    secret::guard_memory();
    commands::completions::answer();
    let cli = Cli::parse();
    commands::run(cli)
}
