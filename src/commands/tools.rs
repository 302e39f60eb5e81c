//! `finmcp tools`.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    app::{connection::Connection, credentials::Credentials},
    cli::tools::Tools,
    commands::exchange::layout as layout_of,
    console::Console,
    error::{Error, ErrorKind},
    settings::Settings,
    tool::{Tool, layout},
};

/// Prints a server's tools and their arguments.
///
/// # Errors
/// Exit code 4 if the user has to sign in; exit code 2 for an unknown tool.
pub async fn run(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: Tools,
) -> Result<(), Error> {
    let mut connection =
        Connection::open(settings, credentials, &arguments.server.into(), arguments.timeout, "{}").await?;
    let title = connection.title.clone();
    let listed = connection.client.tools().await.map_err(|error| connection.error(error));
    connection.close().await;
    let listed: Vec<(Box<RawValue>, Tool)> =
        listed?.into_iter().filter_map(|raw| Tool::parse(raw.get()).map(|tool| (raw, tool))).collect();
    for name in &arguments.tool {
        if !listed.iter().any(|(_, tool)| tool.name == *name) {
            return Err(no_such("tool", &title, name, listed.iter().map(|(_, tool)| tool)));
        }
    }
    let wanted = |tool: &Tool| arguments.tool.is_empty() || arguments.tool.contains(&tool.name);
    let listed = listed.into_iter().filter(|(_, tool)| wanted(tool));
    if arguments.json {
        let list: Vec<Box<RawValue>> = listed.map(|(raw, _)| raw).collect();
        let text = serde_json::to_string(&list).map_err(std::io::Error::other)?;
        console.server_data(&(layout_of(console).apply(&text) + "\n"))?;
        return Ok(());
    }
    let tools: Vec<Tool> = listed.map(|(_, tool)| tool).collect();
    if tools.is_empty() {
        console.note(&format!("{title} has no tools"));
    }
    console.server_data(&layout::table(&tools, console.width()))?;
    Ok(())
}

/// The error for an unknown `kind` of thing called `name`, with the names that `title` has.
pub fn no_such<'a>(kind: &str, title: &str, name: &str, known: impl Iterator<Item = &'a Tool>) -> Error {
    let names: Vec<&str> = known.map(|known| &*known.name).collect();
    let error = Error::new(ErrorKind::Usage, format!("{title} has no {kind} {name:?}"));
    if names.is_empty() {
        error.hint(format!("{title} has no {kind}s; your account may not have access to any"))
    } else {
        error.hint(format!("use one of: {}", names.join(", ")))
    }
}
