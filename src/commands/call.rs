//! `finmcp call`.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use crate::{
    app::{connection::Connection, credentials::Credentials, interrupt::unless_interrupted},
    cli::tools::{Call, Json},
    client::ClientError,
    commands::{
        exchange::{self, exchange, layout},
        place::Place,
        questions::Host,
        tools::no_such,
    },
    console::Console,
    error::{Error, ErrorKind},
    mcp::{
        message::Message,
        object::{self, Object},
    },
    settings::Settings,
    tool::{Tool, answer::Answer, arguments, records},
};

/// The call's progress token.
const PROGRESS_TOKEN: &str = "call";

/// Calls a tool once and prints its result.
///
/// # Errors
/// Exit code 4 if the user has to sign in; exit code 1 if the tool fails.
pub async fn run(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    mut arguments: Call,
) -> Result<(), Error> {
    arguments.arrange(|word| settings.profiles.knows(word));
    let Call { tool, arguments: mut words, json, csv, output, timeout, server } = arguments;
    let (is_raw, from_stdin) = match json {
        None => (false, false),
        Some(None) => (true, false),
        Some(Some(Json::Stdin)) => (true, true),
        Some(Some(Json::Argument(word))) => {
            words.push(word);
            (true, false)
        }
    };
    if from_stdin && !words.is_empty() {
        let error = Error::new(ErrorKind::Usage, "arguments given both on stdin and on the command line");
        return Err(error.hint("omit - after --json, or put all arguments into the JSON object"));
    }
    let whole = if from_stdin { Some(unless_interrupted(stdin()).await??) } else { None };
    // Checks that the file can be written before the call is made.
    let place = output.as_deref().map(Place::prepare).transpose()?;

    let host = Host { console, surroundings: &settings.surroundings };
    let mut connection = exchange::open(host, settings, credentials, &server.into(), timeout).await?;
    let result = call(host, &mut connection, &tool, &words, whole.as_deref()).await;
    connection.close().await;
    let result = result?;

    let (result, layout) = (exchange::result(&result)?, layout(console));
    let shown = if is_raw { console.server_data(&(layout.apply(result.get()) + "\n")) } else { Ok(()) };
    let answer = Answer::parse(result.get())
        .ok_or_else(|| Error::from(ClientError::InvalidResponse("it is not the result of a tool")))?;
    if answer.failed {
        let failed = format!("{tool} failed");
        let error = if is_raw {
            Error::new(ErrorKind::Failure, failed)
        } else {
            Error::new(ErrorKind::Failure, answer.text(layout)).while_doing(failed)
        };
        return Err(error);
    }
    let shown = match (is_raw, csv) {
        (true, _) => shown,
        (false, false) => console.server_data(&answer.text(layout)),
        (false, true) => console.server_data(&table(console, &answer)?),
    };
    // Writes the file even if stdout was closed: the call is not repeated.
    match place {
        Some(place) => place.keep(console, answer.files())?,
        None if !is_raw && answer.files().next().is_some() => {
            console.note("Files are not shown; save them with --output FILE");
        }
        None => {}
    }
    Ok(shown?)
}

/// The answer as CSV. If it is no list, prints it to stderr, so that it is not lost.
fn table(console: Console, answer: &Answer) -> Result<String, Error> {
    let table = records::of(answer).and_then(|records| records::csv(&records));
    table.map_err(|error| {
        console.say(answer.text(layout(console)).trim_end());
        Error::from_source(ErrorKind::Failure, error)
            .while_doing("cannot write the result as CSV")
            .hint("the call succeeded; do not repeat it if it changes data")
            .hint("without --csv, finmcp prints the result as it is")
    })
}

async fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    arguments::whole(&text)?;
    Ok(text)
}

/// Calls the tool `name` with `words` as arguments, or with `whole`, a JSON object.
async fn call(
    host: Host<'_>,
    connection: &mut Connection,
    name: &str,
    words: &[String],
    whole: Option<&str>,
) -> Result<Message, Error> {
    let arguments = match whole {
        Some(whole) => whole.to_owned(),
        None => {
            let listed = connection.client.tools().await.map_err(|error| connection.error(error))?;
            let listed: Vec<Tool> = listed.iter().filter_map(|raw| Tool::parse(raw.get())).collect();
            let tool = listed.iter().find(|tool| tool.name == name);
            let tool = tool.ok_or_else(|| no_such("tool", &connection.title, name, listed.iter()))?;
            arguments::typed(tool, words)?
        }
    };
    let mut params = Object::default();
    params.set("name", object::text(name));
    params.set("arguments", arguments);
    params.set("_meta", format!(r#"{{"progressToken":"{PROGRESS_TOKEN}"}}"#));
    exchange(host, connection, "tools/call", &params.to_string()).await
}
