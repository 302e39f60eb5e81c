//! `finmcp man`.

use clap::CommandFactory;

use crate::{cli::Cli, console::Console, error::Error};

/// Prints the manual page, in roff.
///
/// # Errors
/// What stdout says.
pub fn run() -> Result<(), Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    Console::new(true).data(&String::from_utf8_lossy(&page))?;
    Ok(())
}
