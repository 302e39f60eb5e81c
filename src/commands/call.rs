//! `finmcp call`.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;

use crate::{
    app::{connection::Connection, credentials::Credentials, interrupt::unless_interrupted},
    cli::tools::{Call, Json},
    client::{ClientError, Incoming},
    commands::{
        questions::{self, Host},
        tools::no_such_tool,
    },
    console::Console,
    disk::replace::Replacement,
    error::{Error, ErrorKind},
    mcp::{
        message::Message,
        object::{self, Object},
    },
    settings::Settings,
    tool::{Tool, answer::Answer, arguments},
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
    arguments: Call,
) -> Result<(), Error> {
    let Call { tool, arguments: mut words, json, output, timeout, server } = arguments;
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

    let capabilities = if console.is_attended() { questions::CAPABILITIES } else { "{}" };
    let mut connection = Connection::open(settings, credentials, &server.into(), timeout, capabilities).await?;
    let host = Host { console, surroundings: &settings.surroundings };
    let result = call(host, &mut connection, &tool, &words, whole.as_deref()).await;
    connection.close().await;
    let result = result?;

    let Some(result) = result.result::<&RawValue>() else {
        return Err(ClientError::InvalidResponse("there is no result in it").into());
    };
    let shown = if is_raw { console.server_data(&format!("{}\n", result.get())) } else { Ok(()) };
    let answer = Answer::parse(result.get())
        .ok_or_else(|| Error::from(ClientError::InvalidResponse("it is not the result of a tool")))?;
    if answer.failed {
        let failed = format!("{tool} failed");
        let error = if is_raw {
            Error::new(ErrorKind::Failure, failed)
        } else {
            Error::new(ErrorKind::Failure, answer.text()).while_doing(failed)
        };
        return Err(error);
    }
    let shown = if is_raw { shown } else { console.server_data(&answer.text()) };
    // Writes the file even if stdout was closed: the call is not repeated.
    match place {
        Some(place) => place.keep(console, &answer)?,
        None if !is_raw && answer.files().next().is_some() => {
            console.note("Files are not shown; save them with --output FILE");
        }
        None => {}
    }
    Ok(shown?)
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
            let tool = tool.ok_or_else(|| no_such_tool(&connection.title, name, listed.iter()))?;
            arguments::typed(tool, words)?
        }
    };
    let mut params = Object::default();
    params.set("name", object::text(name));
    params.set("arguments", arguments);
    params.set("_meta", format!(r#"{{"progressToken":"{PROGRESS_TOKEN}"}}"#));
    conversation(host, connection, &params.to_string()).await
}

async fn conversation(host: Host<'_>, connection: &mut Connection, params: &str) -> Result<Message, Error> {
    let title = connection.title.clone();
    let id = connection.client.ask("tools/call", params).await.map_err(|error| connection.error(error))?;
    loop {
        match connection.client.next_message(&id).await {
            Ok(Incoming::Result(result)) => return Ok(result),
            Ok(Incoming::Notification(notice)) => report(&notice, host.console),
            Ok(Incoming::Request(question)) => {
                let said = match questions::answer(host, &title, &question).await? {
                    Some(answer) => connection.client.answer(&question, &answer).await,
                    None => connection.client.decline(&question).await,
                };
                said.map_err(|error| connection.error(error))?;
            }
            Err(error) => return Err(connection.error(error)),
        }
    }
}

/// Shows a progress notification; ignores the others.
fn report(notice: &Message, console: Console) {
    #[derive(Deserialize)]
    struct Report {
        progress: f64,
        total: Option<f64>,
        #[serde(default)]
        message: String,
    }
    if notice.method() == Some("notifications/progress")
        && let Some(report) = notice.parameters::<Report>()
    {
        console.progress(report.progress, report.total, &report.message);
    }
}

/// Where to write the files of a result: a path, and numbered paths next to it.
struct Place<'a> {
    path: &'a Path,
    first: Replacement,
}

impl<'a> Place<'a> {
    /// Checks that a file can be written to `path`.
    fn prepare(path: &'a Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Err(Error::new(ErrorKind::Usage, "--output cannot write to stdout")
                .hint("give a file name, or use --json to print everything, with files in Base64"));
        }
        let first = match path.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Replacement::ordinary(path.to_owned()),
        };
        first.map(|first| Self { path, first }).map_err(|error| {
            let error = Error::from(error).while_doing(format!("cannot write {}", path.display()));
            error.hint("the tool was not called; give a file in an existing folder")
        })
    }

    /// Writes each file of `answer` to its own path; only the first may overwrite an existing file.
    fn keep(self, console: Console, answer: &Answer) -> Result<(), Error> {
        let mut files = answer.files();
        let Some(bytes) = files.next() else {
            return Err(Error::new(ErrorKind::Failure, "the result contains no file to save")
                .hint("the tool call succeeded; do not repeat it"));
        };
        let (path, mut first) = (self.path, self.first);
        let written = first.write(bytes).and_then(|()| first.put());
        written.map_err(|error| Error::from(error).while_doing(format!("cannot write {}", path.display())))?;
        console.note(&format!("Saved {} bytes to {}", bytes.len(), path.display()));
        let mut number = 2;
        for bytes in files {
            let (mut file, path) = loop {
                let path = numbered(path, number);
                number += 1;
                match File::create_new(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    file => break (file?, path),
                }
            };
            file.write_all(bytes)?;
            console.note(&format!("Saved {} bytes to {}", bytes.len(), path.display()));
        }
        Ok(())
    }
}

/// `path` with a number before its extension: `name-2.png` and so on.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}
