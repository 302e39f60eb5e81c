//! `finmcp prompts` and `finmcp prompt`.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{
    app::{connection::Connection, credentials::Credentials},
    cli::prompts::{Prompt, Prompts},
    client::{ClientError, List},
    commands::{
        exchange::{self, exchange, layout},
        questions::Host,
        tools::no_such,
    },
    console::Console,
    error::Error,
    mcp::{
        message::Message,
        object::{self, Object},
    },
    settings::Settings,
    tool::{Tool, arguments, layout::table, prompt},
};

/// Prints a server's prompts and their arguments.
///
/// # Errors
/// Exit code 4 if the user has to sign in.
pub async fn list(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: Prompts,
) -> Result<(), Error> {
    let mut connection =
        Connection::open(settings, credentials, &arguments.server.into(), arguments.timeout, "{}").await?;
    let title = connection.title.clone();
    let listed = connection.client.list(&List::PROMPTS).await.map_err(|error| connection.error(error));
    connection.close().await;
    let listed = listed?;
    if arguments.json {
        let text = serde_json::to_string(&listed).map_err(std::io::Error::other)?;
        return Ok(console.server_data(&(layout(console).apply(&text) + "\n"))?);
    }
    let prompts = parsed(&listed);
    if prompts.is_empty() {
        console.note(&format!("{title} has no prompts"));
    }
    Ok(console.server_data(&table(&prompts, console.width()))?)
}

/// Prints one prompt.
///
/// # Errors
/// Exit code 2 for an unknown prompt or argument; exit code 4 if the user has to sign in.
pub async fn get(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: Prompt,
) -> Result<(), Error> {
    let Prompt { name, arguments: words, json, timeout, server } = arguments;
    let host = Host { console, surroundings: &settings.surroundings };
    let mut connection = exchange::open(host, settings, credentials, &server.into(), timeout).await?;
    let result = ask(host, &mut connection, &name, &words).await;
    connection.close().await;
    let result = result?;
    let (result, layout) = (exchange::result(&result)?, layout(console));
    if json {
        return Ok(console.server_data(&(layout.apply(result.get()) + "\n"))?);
    }
    let text = prompt::text(result.get(), layout);
    let text = text.ok_or_else(|| Error::from(ClientError::InvalidResponse("it is not a prompt")))?;
    Ok(console.server_data(&text)?)
}

async fn ask(host: Host<'_>, connection: &mut Connection, name: &str, words: &[String]) -> Result<Message, Error> {
    let listed = connection.client.list(&List::PROMPTS).await.map_err(|error| connection.error(error))?;
    let prompts = parsed(&listed);
    let prompt = prompts.iter().find(|prompt| prompt.name == name);
    let prompt = prompt.ok_or_else(|| no_such("prompt", &connection.title, name, prompts.iter()))?;
    let mut params = Object::default();
    params.set("name", object::text(name));
    params.set("arguments", arguments::typed(prompt, words)?);
    exchange(host, connection, "prompts/get", &params.to_string()).await
}

fn parsed(listed: &[Box<RawValue>]) -> Vec<Tool> {
    listed.iter().filter_map(|raw| prompt::parse(raw.get())).collect()
}
