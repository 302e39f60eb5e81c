//! `finmcp man`.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{self, ExitStatus},
};

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::{
    cli::{self, Cli},
    console::Console,
    error::{Error, ErrorKind},
};

/// The part that every page has.
const FILES: [(&str, &str); 2] = [
    ("~/.config/finmcp/config.toml", "settings and profiles, without secrets (FINMCP_CONFIG_DIR names another folder)"),
    ("~/.config/finmcp/credentials", "the encrypted file store, if FINMCP_STORE is file"),
];

/// Shows one manual page at a terminal, prints it in roff elsewhere, or writes all pages to a folder.
///
/// # Errors
/// Unknown command, or stdout or a file cannot be written.
pub fn run(console: Console, arguments: cli::Man) -> Result<(), Error> {
    let finmcp = pages();
    if let Some(folder) = arguments.directory {
        return write(console, &finmcp, &folder)
            .map_err(|error| Error::from(error).while_doing(format!("cannot write to {}", folder.display())));
    }
    let page = arguments
        .command
        .iter()
        .try_fold(&finmcp, |command, name| command.find_subcommand(name).ok_or_else(|| unknown(command, name)))?;
    let text = roff(page)?;
    if !console.shows_data() {
        return Ok(console.data(&String::from_utf8_lossy(&text))?);
    }
    let shown = show(&text);
    if shown.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Ok(console.data(&page.clone().render_long_help().to_string())?)
}

fn unknown(command: &Command, name: &str) -> Error {
    let known = command.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(", ");
    let error = Error::new(ErrorKind::Usage, format!("unknown command {name:?}"));
    if known.is_empty() { error } else { error.hint(format!("use one of: {known}")) }
}

/// Shows `page` with the system's `man`.
fn show(page: &[u8]) -> io::Result<ExitStatus> {
    let mut file = tempfile::Builder::new().prefix("finmcp-").suffix(".1").tempfile()?;
    file.write_all(page)?;
    // A name with a slash is a file for every man, and only man-db knows -l.
    process::Command::new("man").arg(file.path()).status()
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
    let more = command.get_after_long_help().or(command.get_after_help());
    for (heading, text) in sections(&more.map(ToString::to_string).unwrap_or_default()) {
        // Without fill, so that examples and tables keep their line breaks.
        let mut section = Roff::new();
        section.control("SH", [heading.as_str()]).control("nf", []).text([roman(text)]).control("fi", []);
        section.to_writer(&mut page)?;
    }
    let mut files = Roff::new();
    files.control("SH", ["FILES"]);
    for (path, text) in FILES {
        files.control("TP", []).text([bold(path)]).text([roman(text)]);
    }
    files.to_writer(&mut page)?;
    let mut codes = Roff::new();
    codes.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in cli::EXIT_CODES {
        codes.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    codes.to_writer(&mut page)?;
    Ok(page)
}

/// The parts of a help text: those with a heading, such as `Examples:`, and the text before, which gets the heading
/// NOTES. The exit codes are in a section of every page.
fn sections(text: &str) -> Vec<(String, String)> {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.is_empty());
    let mut sections: Vec<(String, String)> = Vec::new();
    for paragraph in paragraphs {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let (heading, body) = match first.strip_suffix(':') {
            Some(heading) => (heading.to_uppercase(), rest),
            None => ("NOTES".to_owned(), paragraph),
        };
        match sections.last_mut() {
            Some((last, text)) if *last == heading => text.push_str(&format!("\n\n{body}")),
            _ => sections.push((heading, body.to_owned())),
        }
    }
    sections.retain(|(heading, _)| heading != "EXIT CODES");
    sections
}

fn write(console: Console, finmcp: &Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    write_with_subcommands(finmcp, folder)?;
    console.note(&format!("Wrote the manual pages to {}", folder.display()));
    Ok(())
}

fn write_with_subcommands(command: &Command, folder: &Path) -> io::Result<()> {
    std::fs::write(folder.join(Man::new(command.clone()).get_filename()), roff(command)?)?;
    command.get_subcommands().try_for_each(|command| write_with_subcommands(command, folder))
}
