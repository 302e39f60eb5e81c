//! `finmcp completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, console::Console, error::Error};

/// Prints the completion script for `shell`.
///
/// # Errors
/// What stdout says.
pub fn run(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "finmcp", &mut script);
    Console::new(true).data(&String::from_utf8_lossy(&script))?;
    Ok(())
}
