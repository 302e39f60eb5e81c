//! The AI clients that `finmcp setup` is about.

use crate::{
    cli::{self, setup::Setup},
    commands::setup::usage,
    console::{Console, choice::Line},
    error::{Error, ErrorKind},
    settings::{self, Settings, machine::Machine},
    setup::{
        self, Found,
        client::{Client, Scope},
        plan::Target,
    },
};

/// The selected clients.
pub(super) async fn clients(
    settings: &Settings,
    console: Console,
    machine: &Machine,
    arguments: &mut Setup,
) -> Result<Vec<Client>, Error> {
    let detected = Client::ALL.into_iter().filter(|client| client.is_detected(machine));
    let (detected, unable): (Vec<Client>, Vec<Client>) =
        detected.partition(|client| !arguments.native || client.helper_member().is_some());
    if arguments.all {
        if let Some(first) = arguments.client.take()
            && arguments.server.server.replace(first).is_some()
        {
            return Err(
                usage("--all cannot be used with CLIENT").hint("name only the server: finmcp setup --all SERVER")
            );
        }
        let with_scope = |client: &Client| !client.files(arguments.scope, machine).is_empty();
        let found: Vec<Client> = detected.into_iter().filter(with_scope).collect();
        return match found.is_empty() {
            true => Err(usage("no supported AI client found on this machine").hint(list(arguments.native))),
            false => {
                for client in unable {
                    console.note(&format!("Skipped {}: it does not support --native", client.title()));
                }
                Ok(found)
            }
        };
    }
    match arguments.named_client() {
        Ok(Some(client)) if arguments.native && client.helper_member().is_none() => {
            Err(usage(format!("{} does not support --native (it cannot get headers from a command)", client.title()))
                .hint(format!("{}, or omit --native", list(true))))
        }
        Ok(Some(client)) => Ok(vec![client]),
        Err(name) => meant(settings, console, &name, arguments).await,
        Ok(None) if detected.is_empty() => {
            Err(usage("no supported AI client found on this machine").hint(list(arguments.native)))
        }
        Ok(None) => {
            if !console.is_attended() {
                console.data(&commands(settings, arguments, &detected))?;
            }
            choose(console, &detected, arguments.native).await
        }
    }
}

/// The clients that `name` means, although none is called that: asks the user if several have that word in their name.
async fn meant(settings: &Settings, console: Console, name: &str, arguments: &Setup) -> Result<Vec<Client>, Error> {
    let possible = cli::setup::clients(name);
    if possible.is_empty() {
        let error = usage(format!("unknown AI client {name:?}"));
        let similar: Vec<&str> = cli::setup::similar_clients(name).into_iter().map(Client::id).collect();
        return Err(match similar.is_empty() {
            true => error.hint(list(arguments.native)),
            false => error.hint(format!("did you mean {}?", similar.join(" or "))),
        });
    }
    if console.is_attended() {
        return choose(console, &possible, arguments.native).await;
    }
    let server = match Target::select(&arguments.server.clone().into(), &settings.profiles) {
        Ok(target) => target.arguments.join(" "),
        Err(_) => arguments.server.server.clone().unwrap_or_else(|| "SERVER".to_owned()),
    };
    let commands: Vec<String> = possible.iter().map(|one| format!("`finmcp setup {} {server}`", one.id())).collect();
    let titles: Vec<&str> = possible.iter().map(|client| client.title()).collect();
    Err(usage(format!("{name:?} can mean {}", titles.join(" or "))).hint(format!("run {}", commands.join(" or "))))
}

/// Lets the user choose among `detected`.
async fn choose(console: Console, detected: &[Client], native: bool) -> Result<Vec<Client>, Error> {
    if !console.is_attended() {
        return Err(usage("which AI client?").hint(list(native)));
    }
    let machine = settings::machine()?;
    let found = setup::found(&machine);
    let lines: Vec<Line> = detected
        .iter()
        .map(|client| Line {
            name: client.title().to_owned(),
            about: about(&found, *client),
            is_chosen: detected.len() == 1,
        })
        .collect();
    let chosen = console.choose("AI clients", &lines).await.ok_or_else(cancelled)?;
    Ok(chosen.into_iter().map(|at| detected[at]).collect())
}

/// The entries of finmcp that `client` has.
fn about(found: &[Found], client: Client) -> String {
    let of_client = found.iter().filter(|found| found.client == client && found.scope == Scope::User);
    let entries = of_client.filter_map(|found| found.entries.as_ref().ok()).flatten();
    let names: Vec<&str> = entries.filter(|entry| entry.runs_finmcp()).map(|entry| entry.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!("has {}", names.join(", ")) }
}

/// The commands that set up each of `detected`, to choose one.
fn commands(settings: &Settings, arguments: &Setup, detected: &[Client]) -> String {
    let selected = Target::select(&arguments.server.clone().into(), &settings.profiles);
    let server = selected.map_or("SERVER".to_owned(), |target| target.arguments.join(" "));
    let native = if arguments.native { " --native" } else { "" };
    let widest = detected.iter().map(|client| client.title().len()).max().unwrap_or_default();
    let line =
        |client: &Client| format!("  {:<widest$}  finmcp setup {} {server}{native}\n", client.title(), client.id());
    let mut text = format!("AI clients on this machine:\n{}", detected.iter().map(line).collect::<String>());
    if server == "SERVER" {
        text += &format!("SERVER is one of: {}\n", settings.profiles.candidates().join(", "));
    }
    text
}

/// The error of a user who chooses nothing.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Interrupted, "cancelled: nothing was changed")
}

/// The clients that can be named: all, or those that support `--native`.
fn list(native: bool) -> String {
    let able = Client::ALL.into_iter().filter(|client| !native || client.helper_member().is_some());
    let ids: Vec<&str> = able.map(Client::id).collect();
    format!("name one of: {}", ids.join(", "))
}
