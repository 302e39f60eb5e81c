//! `finmcp setup --list`: which clients start finmcp, with which server.

use std::{io, path::Path};

use serde::Serialize;

use crate::{
    cli::{self, setup::Setup},
    commands::setup::usage,
    console::Console,
    error::Error,
    paragraph::hanging_indent,
    printable::printable,
    settings::{Settings, machine::Machine},
    setup::{
        client::Client,
        entry::Entry,
        inventory::{Listed, Reach, Unreadable, inventory},
        plaintext::{Exposed, Place},
        plan::Target,
    },
};

/// The whole list, as `--json` prints it.
#[derive(Serialize)]
struct ListDocument {
    entries: Vec<EntryDocument>,
    plain_text: Vec<ExposedDocument>,
    unreadable: Vec<UnreadableDocument>,
}

/// An entry that starts finmcp.
#[derive(Serialize)]
struct EntryDocument {
    client: &'static str,
    name: String,
    #[serde(flatten)]
    place: PlaceDocument,
    /// The arguments that select the server; none if they name no known one.
    server: Option<String>,
    /// How the client uses it: "serve" or "headers".
    way: &'static str,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What fixes the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// A server with a secret in plain text. Neither the secret nor the address is part of the list.
#[derive(Serialize)]
struct ExposedDocument {
    client: &'static str,
    name: String,
    #[serde(flatten)]
    place: PlaceDocument,
    holder: &'static str,
}

/// Where an entry is.
#[derive(Serialize)]
struct PlaceDocument {
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    file: String,
}

#[derive(Serialize)]
struct UnreadableDocument {
    client: &'static str,
    file: String,
    problem: String,
}

/// Prints the list. Opens no credential store and starts nothing.
///
/// # Errors
/// The client's name is unknown, or stdout cannot be written.
pub(super) fn run(settings: &Settings, console: Console, machine: &Machine, arguments: &Setup) -> Result<(), Error> {
    let only = arguments.named_client().map_err(|name| {
        let ids: Vec<&str> = Client::ALL.into_iter().map(Client::id).collect();
        usage(format!("unknown AI client {name:?}")).hint(format!("name one of: {}", ids.join(", ")))
    })?;
    let (listed, unreadable) = inventory(machine);
    let is_meant = |client: Client| only.is_none_or(|only| only == client);
    let listed: Vec<Listed> = listed.into_iter().filter(|listed| is_meant(listed.client)).collect();
    let unreadable: Vec<Unreadable> = unreadable.into_iter().filter(|file| is_meant(file.client)).collect();
    let document = describe(settings, machine, &listed, &unreadable);
    if arguments.list.json {
        let text = serde_json::to_string_pretty(&document).map_err(io::Error::other)?;
        return Ok(console.data(&(text + "\n"))?);
    }
    console.data(&text(&document, console.width()))?;
    if document.entries.is_empty() {
        console.say("No AI client starts finmcp yet. Set one up: finmcp setup");
    }
    Ok(())
}

fn describe(settings: &Settings, machine: &Machine, listed: &[Listed], unreadable: &[Unreadable]) -> ListDocument {
    let entries = listed.iter().flat_map(|listed| listed.entries.iter().map(move |entry| (listed, entry)));
    let exposed = listed.iter().flat_map(|listed| listed.exposed.iter().map(move |exposed| (listed, exposed)));
    ListDocument {
        entries: entries.map(|(listed, entry)| of_entry(settings, machine, listed, entry)).collect(),
        plain_text: exposed.map(|(listed, exposed)| of_exposed(listed, exposed)).collect(),
        unreadable: unreadable
            .iter()
            .map(|unreadable| UnreadableDocument {
                client: unreadable.client.id(),
                file: unreadable.file.display().to_string(),
                problem: std::error::Error::source(&unreadable.error)
                    .map_or_else(|| unreadable.error.to_string(), ToString::to_string),
            })
            .collect(),
    }
}

fn of_entry(settings: &Settings, machine: &Machine, listed: &Listed, entry: &Entry) -> EntryDocument {
    let target = Target::meant(&entry.arguments, &settings.profiles, cli::served);
    let problem = match (is_there(machine, &entry.command), &target) {
        (false, _) => Some(format!("{} does not exist", entry.command)),
        (true, None) => Some("its arguments name no known server".to_owned()),
        (true, Some(_)) => None,
    };
    let fix = problem.as_ref().map(|_| fix(listed, entry, target.as_ref()));
    EntryDocument {
        client: listed.client.id(),
        name: entry.name.clone(),
        place: PlaceDocument::of(listed),
        server: target.map(|target| target.arguments.join(" ")),
        way: if entry.url.is_some() { "headers" } else { "serve" },
        command: entry.command.clone(),
        problem,
        fix,
    }
}

/// Whether the client finds the program.
fn is_there(machine: &Machine, command: &str) -> bool {
    let path = Path::new(command);
    if path.components().count() > 1 { path.is_file() } else { machine.program(command).is_some() }
}

/// The command that updates a broken entry, or removes it.
fn fix(listed: &Listed, entry: &Entry, target: Option<&Target>) -> String {
    let name = match target {
        Some(target) if target.name == entry.name => String::new(),
        _ => format!(" --name {}", entry.name),
    };
    let native = if entry.url.is_some() { " --native" } else { "" };
    let scope = match &listed.reach {
        Reach::User => "",
        Reach::Project => " --scope project",
        Reach::Folder(folder) => return format!("in {folder}: claude mcp remove {} --scope local", entry.name),
    };
    let id = listed.client.id();
    match target {
        Some(target) => format!("finmcp setup {id} {}{name}{scope}{native}", target.arguments.join(" ")),
        None => format!("finmcp setup {id} SERVER{name}{scope}{native} --force"),
    }
}

fn of_exposed(listed: &Listed, exposed: &Exposed) -> ExposedDocument {
    ExposedDocument {
        client: listed.client.id(),
        name: exposed.name.clone(),
        place: PlaceDocument::of(listed),
        holder: match exposed.place {
            Place::Here => "file",
            Place::McpRemote => "mcp-remote",
        },
    }
}

impl PlaceDocument {
    fn of(listed: &Listed) -> Self {
        let (scope, folder) = match &listed.reach {
            Reach::User => ("user", None),
            Reach::Project => ("project", None),
            Reach::Folder(folder) => ("local", Some(folder.clone())),
        };
        Self { scope, folder, file: listed.file.display().to_string() }
    }
}

/// The list in lines of `width` columns.
fn text(document: &ListDocument, width: usize) -> String {
    let mut text = if document.entries.is_empty() { String::new() } else { table(&document.entries, width) };
    let mut add = |heading: &str, items: Vec<(String, String)>| {
        if items.is_empty() {
            return;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &hanging_indent(heading, 0, width);
        for (first, second) in items {
            text += &format!(
                "  {}    {}",
                hanging_indent(&printable(&first), 2, width),
                hanging_indent(&printable(&second), 4, width)
            );
        }
    };
    let title = |id: &str| Client::ALL.into_iter().find(|client| client.id() == id).map_or("", Client::title);
    let broken =
        document.entries.iter().filter_map(|entry| Some((entry, entry.problem.as_ref()?, entry.fix.as_ref()?)));
    let broken = broken.map(|(entry, problem, fix)| {
        (format!("{}, {}: {problem}", title(entry.client), entry.name), format!("To fix it, run: {fix}"))
    });
    add("Broken entries:", broken.collect());
    let exposed = document.plain_text.iter().map(|exposed| {
        let what = match exposed.holder {
            "file" => "holds a secret in plain text",
            _ => "starts mcp-remote, which stores its tokens in plain text",
        };
        (format!("{}, {}: {what}", title(exposed.client), exposed.name), format!("in {}", exposed.place.file))
    });
    add(
        "Secrets in plain text (finmcp setup CLIENT SERVER --replace moves those of known servers):",
        exposed.collect(),
    );
    let unreadable = document
        .unreadable
        .iter()
        .map(|file| (format!("{}: {}", title(file.client), file.problem), format!("in {}", file.file)));
    add("Files that finmcp cannot read:", unreadable.collect());
    text
}

const HEAD: [&str; 5] = ["CLIENT", "ENTRY", "SERVER", "SCOPE", "STATE"];

/// The space between two columns.
const GAP: usize = 2;

/// A row for each entry, or a paragraph each where rows do not fit.
fn table(entries: &[EntryDocument], width: usize) -> String {
    let rows: Vec<[String; 5]> = entries.iter().map(row).collect();
    let with_head: Vec<&[String; 5]> = rows.iter().collect();
    let head = HEAD.map(str::to_owned);
    let all: Vec<&[String; 5]> = std::iter::once(&head).chain(with_head).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + GAP)
        .collect();
    if widths.iter().sum::<usize>() - GAP > width {
        return rows.iter().map(|row| paragraph(row, width)).collect();
    }
    let line = |row: &&[String; 5]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    all.iter().map(line).collect()
}

fn row(entry: &EntryDocument) -> [String; 5] {
    let title = Client::ALL.into_iter().find(|client| client.id() == entry.client).map_or("", Client::title);
    let server = entry.server.clone().unwrap_or_else(|| "unknown".to_owned());
    let way = if entry.way == "headers" { " (--native)" } else { "" };
    let scope = match &entry.place.folder {
        Some(folder) => format!("local in {folder}"),
        None => entry.place.scope.to_owned(),
    };
    let state = if entry.problem.is_some() { "broken" } else { "ok" };
    [title.to_owned(), entry.name.clone(), format!("{server}{way}"), scope, state.to_owned()]
        .map(|cell| printable(&cell))
}

fn paragraph([client, entry, server, scope, state]: &[String; 5], width: usize) -> String {
    let about = format!("starts {server}; scope {scope}; {state}");
    format!("{}  {}", hanging_indent(&format!("{client}, {entry}"), 2, width), hanging_indent(&about, 2, width))
}
