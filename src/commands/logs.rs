//! `finmcp logs`.

use std::{collections::BTreeSet, path::Path, time::Duration};

use crate::{
    cli,
    commands::serve::log_name,
    console::Console,
    disk::private_folder::{PlaceError, UnsafePlace},
    error::{Error, ErrorKind},
    profile::selector::Selector,
    serve_log::reader::{self, Line, Reader},
    settings::{self, Settings},
    setup::{self, Found, client::Client},
};

/// How often `--follow` looks for new lines.
const PAUSE: Duration = Duration::from_millis(250);

/// Prints the logs that `serve` has written, newest line last.
///
/// # Errors
/// There is no log, or it cannot be read.
pub async fn run(settings: &Settings, console: Console, arguments: cli::logs::Logs) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let wanted = wanted(settings, &selector)?;
    let find = || match &wanted {
        Some(profile) => Ok(BTreeSet::from([profile.clone()])),
        None => reader::profiles(&settings.logs).map_err(unreadable),
    };
    let mut logs = Reader::new(settings.logs.clone());
    let lines = logs.read(&find()?).map_err(unreadable)?;
    match (lines.is_empty(), arguments.follow) {
        (true, false) => return Err(no_log(&settings.logs, wanted.as_deref())),
        (true, true) => console.note("No log yet; waiting for an AI client to start finmcp (Ctrl-C ends)"),
        _ => {}
    }
    let first = lines.len().saturating_sub(arguments.lines);
    print(console, wanted.as_deref(), &lines[first..])?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(PAUSE).await;
        print(console, wanted.as_deref(), &logs.read(&find()?).map_err(unreadable)?)?;
    }
}

/// The profile whose log to print; none for all. A profile that is no longer saved may still have a log.
fn wanted(settings: &Settings, selector: &Selector) -> Result<Option<String>, Error> {
    if *selector == Selector::default() {
        return Ok(None);
    }
    match (log_name(settings, selector), &selector.server) {
        (Ok(name), _) => Ok(Some(name)),
        (Err(_), Some(name)) if reader::profiles(&settings.logs).is_ok_and(|logs| logs.contains(name)) => {
            Ok(Some(name.clone()))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Prints `lines`: with their process and, for several logs, the profile.
fn print(console: Console, wanted: Option<&str>, lines: &[Line]) -> Result<(), Error> {
    let mut text = String::new();
    for Line { profile, process, time, text: line } in lines {
        let profile = if wanted.is_none() { profile.as_str() } else { "" };
        let parts = [time.as_str(), profile, process, line];
        text.push_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "));
        text.push('\n');
    }
    if text.is_empty() {
        return Ok(());
    }
    Ok(console.server_data(&text)?)
}

fn no_log(folder: &Path, wanted: Option<&str>) -> Error {
    let (whose, server) = match wanted {
        Some(profile) => (format!(" for {profile}"), profile),
        None => (String::new(), "SERVER"),
    };
    let error = Error::new(ErrorKind::Failure, format!("no log{whose} in {}", folder.display()));
    let error = error
        .hint("an AI client that has started finmcp leaves one; restart the client, then try again")
        .hint(format!("to add finmcp to a client, run `finmcp setup CLIENT {server}`"));
    logs_of_clients().into_iter().fold(error, Error::hint)
}

/// Where the clients that start finmcp keep their own logs, which say why they cannot.
fn logs_of_clients() -> Vec<String> {
    let Ok(machine) = settings::machine() else { return Vec::new() };
    let starts_finmcp =
        |found: &Found| found.entries.as_ref().is_ok_and(|entries| entries.iter().any(|entry| entry.runs_finmcp()));
    let clients: BTreeSet<Client> =
        setup::found(&machine).into_iter().filter(starts_finmcp).map(|found| found.client).collect();
    let hint = |client: Client| {
        Some(format!(
            "if {} cannot start finmcp, its own log says why: {}",
            client.title(),
            client.log_place(&machine)?
        ))
    };
    clients.into_iter().filter_map(hint).collect()
}

fn unreadable(error: PlaceError) -> Error {
    match error {
        PlaceError::Unsafe(UnsafePlace { problem, fix }) => {
            Error::new(ErrorKind::Failure, problem).while_doing("cannot read the log").hint(fix)
        }
        PlaceError::Failed { what, source } => Error::from(source).while_doing(what),
    }
}
