//! The AI clients that `finmcp setup` is about.

use crate::{
    cli::{self, setup::Setup},
    commands::setup::usage,
    console::Console,
    error::Error,
    settings::{Settings, machine::Machine},
    setup::{client::Client, plan::Target},
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
                    console.note(&format!("Skipped {}: it asks no command for headers (--native)", client.title()));
                }
                Ok(found)
            }
        };
    }
    match arguments.named_client() {
        Ok(Some(client)) if arguments.native && client.helper_member().is_none() => {
            Err(usage(format!("--native does not work with {}: it asks no command for headers", client.title()))
                .hint(format!("{}, or omit --native", list(true))))
        }
        Ok(Some(client)) => Ok(vec![client]),
        Err(name) => Ok(vec![meant(settings, console, &name, arguments).await?]),
        Ok(None) => {
            if console.is_attended() {
                // If the server is unclear, fail before asking for the client.
                Target::select(&arguments.server.clone().into(), &settings.profiles)?;
            }
            Ok(vec![choose(console, &detected, arguments.native).await?])
        }
    }
}

/// The client that `name` means, although none is called that: asks the user if several have that word in their name.
async fn meant(settings: &Settings, console: Console, name: &str, arguments: &Setup) -> Result<Client, Error> {
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

/// Asks the user to choose a client.
async fn choose(console: Console, detected: &[Client], native: bool) -> Result<Client, Error> {
    let unnamed = || usage("which AI client?").hint(list(native));
    if detected.is_empty() {
        return Err(unnamed());
    }
    let lines = detected.iter().zip(1..).map(|(client, number)| format!("  {number}. {}\n", client.title()));
    let question = format!("AI clients on this machine:\n{}Which one? ", lines.collect::<String>());
    let answer = console.ask(&question).await.ok_or_else(unnamed)?;
    let answer = answer.trim();
    let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let named = detected.iter().find(|client| client.id() == answer);
    number.and_then(|at| detected.get(at)).or(named).copied().ok_or_else(unnamed)
}

/// The clients that can be named: all, or those that ask a command for headers.
fn list(native: bool) -> String {
    let able = Client::ALL.into_iter().filter(|client| !native || client.helper_member().is_some());
    let ids: Vec<&str> = able.map(Client::id).collect();
    format!("name one of: {}", ids.join(", "))
}
