//! `finmcp man`.

use std::{io, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{
    cli::{self, Cli},
    console::Console,
    error::{Error, ErrorKind},
};

/// Prints one manual page in roff, or writes all pages to a folder.
///
/// # Errors
/// Unknown command, or stdout or a file cannot be written.
pub fn run(console: Console, arguments: cli::Man) -> Result<(), Error> {
    let finmcp = pages();
    if let Some(folder) = arguments.directory {
        return write(console, &finmcp, &folder)
            .map_err(|error| Error::from(error).while_doing(format!("cannot write to {}", folder.display())));
    }
    let page = match &arguments.command {
        None => &finmcp,
        Some(name) => {
            let commands = finmcp.get_subcommands();
            let known = commands.map(|command| command.get_name()).collect::<Vec<_>>().join(", ");
            finmcp.find_subcommand(name).ok_or_else(|| {
                Error::new(ErrorKind::Usage, format!("unknown command {name:?}")).hint(format!("use one of: {known}"))
            })?
        }
    };
    console.data(&String::from_utf8_lossy(&roff(page)?))?;
    Ok(())
}

/// The commands, with the names of their pages: `finmcp-login` and so on.
fn pages() -> Command {
    let mut finmcp = Cli::command().disable_help_subcommand(true);
    finmcp.build();
    finmcp
}

fn roff(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source(format!("finmcp {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_opts().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    // Without fill, so that examples and tables keep their line breaks.
    if let Some(more) = command.get_after_help() {
        let text = [roman(more.to_string())];
        Roff::new().control("SH", ["MORE"]).control("nf", []).text(text).control("fi", []).to_writer(&mut page)?;
    }
    Ok(page)
}

fn write(console: Console, finmcp: &Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for command in std::iter::once(finmcp).chain(finmcp.get_subcommands()) {
        std::fs::write(folder.join(Man::new(command.clone()).get_filename()), roff(command)?)?;
    }
    console.note(&format!("Wrote the manual pages to {}", folder.display()));
    Ok(())
}
