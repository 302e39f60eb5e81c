//! `finmcp resources` and `finmcp resource`.

use std::sync::Arc;

use crate::{
    app::{connection::Connection, credentials::Credentials},
    cli::resources::{Resource, Resources},
    client::{ClientError, List},
    commands::{
        exchange::{self, exchange, layout},
        place::Place,
        questions::Host,
    },
    console::Console,
    error::Error,
    mcp::object::{self, Object},
    settings::Settings,
    tool::{
        answer::{Answer, Block},
        resource,
    },
};

/// Prints a server's resources and resource templates.
///
/// # Errors
/// Exit code 4 if the user has to sign in.
pub async fn list(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: Resources,
) -> Result<(), Error> {
    let mut connection =
        Connection::open(settings, credentials, &arguments.server.into(), arguments.timeout, "{}").await?;
    let title = connection.title.clone();
    let listed = match connection.client.list(&List::RESOURCES).await {
        Ok(mut listed) => connection.client.list(&List::RESOURCE_TEMPLATES).await.map(|templates| {
            listed.extend(templates);
            listed
        }),
        Err(error) => Err(error),
    };
    let listed = listed.map_err(|error| connection.error(error));
    connection.close().await;
    let listed = listed?;
    if arguments.json {
        let text = serde_json::to_string(&listed).map_err(std::io::Error::other)?;
        return Ok(console.server_data(&(layout(console).apply(&text) + "\n"))?);
    }
    if listed.is_empty() {
        console.note(&format!("{title} has no resources"));
    }
    Ok(console.server_data(&resource::table(listed.iter().map(|raw| raw.get()), console.width()))?)
}

/// Prints one resource, or saves it.
///
/// # Errors
/// The server does not have it; exit code 4 if the user has to sign in.
pub async fn read(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: Resource,
) -> Result<(), Error> {
    let Resource { uri, output, json, timeout, server } = arguments;
    let place = output.as_deref().map(Place::prepare).transpose()?;
    let host = Host { console, surroundings: &settings.surroundings };
    let mut connection = exchange::open(host, settings, credentials, &server.into(), timeout).await?;
    let mut params = Object::default();
    params.set("uri", object::text(&uri));
    let result = exchange(host, &mut connection, "resources/read", &params.to_string()).await;
    connection.close().await;
    let result = result?;
    let (result, layout) = (exchange::result(&result)?, layout(console));
    if json {
        return Ok(console.server_data(&(layout.apply(result.get()) + "\n"))?);
    }
    let answer = Answer::of_resource(result.get());
    let answer = answer.ok_or_else(|| Error::from(ClientError::InvalidResponse("it is not a resource")))?;
    if let Some(place) = place {
        return place.keep(console, answer.blocks.iter().filter_map(bytes));
    }
    if console.shows_data() {
        if answer.files().next().is_some() {
            console.note("Files are not shown; save them with --output FILE");
        }
        return Ok(console.server_data(&answer.text(layout))?);
    }
    for block in &answer.blocks {
        match bytes(block) {
            Some(bytes) => console.bytes(bytes)?,
            None => console.say(&block.shown(layout)),
        }
    }
    Ok(())
}

/// The content of a part.
fn bytes(block: &Block) -> Option<&[u8]> {
    match block {
        Block::Text(text) => Some(text.as_bytes()),
        Block::File { bytes, .. } => Some(bytes),
        Block::Link { .. } | Block::Unreadable(_) => None,
    }
}
