//! `finmcp call`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;

use crate::{
    bridge::{
        message::Message,
        object::{self, Object},
    },
    cli::tools::{Call, Json},
    client::{ClientError, Heard},
    commands::{App, connection::Connection, questions, tools::no_such_tool},
    console::progress::Progress,
    error::{Error, ErrorKind},
    profile::Selector,
    tool::{Tool, answer::Answer, arguments},
};

/// What the call's progress is reported under.
const PROGRESS_TOKEN: &str = "call";

/// Calls a tool, once, and prints what it answers.
///
/// # Errors
/// Exit code 4 when somebody has to sign in; exit code 1 when the tool says that it failed.
pub async fn run(app: &App, arguments: Call) -> Result<(), Error> {
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
        let error = Error::new(ErrorKind::Usage, "arguments come from stdin or from the command line, not from both");
        return Err(error.hint("leave `-` behind --json out, or put everything into the JSON object"));
    }
    let whole = if from_stdin { Some(stdin().await?) } else { None };

    let capabilities = if app.console.is_attended() { questions::CAPABILITIES } else { "{}" };
    let mut connection = Connection::open(app, &Selector::from(server), timeout, capabilities).await?;
    let result = call(app, &mut connection, &tool, &words, whole.as_deref()).await;
    connection.close().await;
    let result = result?;

    let Some(result) = result.result::<&RawValue>() else {
        return Err(ClientError::Nonsense("there is no result in it").into());
    };
    let answer = Answer::parse(result.get())
        .ok_or_else(|| Error::from(ClientError::Nonsense("it is not the result of a tool")))?;
    if let Some(path) = &output {
        keep(app, &answer, path)?;
    }
    if is_raw {
        app.console.server_data(&format!("{}\n", result.get()))?;
    }
    match (answer.failed, is_raw) {
        (true, true) => Err(Error::new(ErrorKind::Failure, format!("{tool} says that it failed"))),
        (true, false) => {
            Err(Error::new(ErrorKind::Failure, answer.text()).while_doing(format!("{tool} says that it failed")))
        }
        (false, true) => Ok(()),
        (false, false) => Ok(app.console.server_data(&answer.text())?),
    }
}

async fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    arguments::whole(&text)?;
    Ok(text)
}

/// The answer of the tool `name` to `words`, or to `whole`: a JSON object.
async fn call(
    app: &App,
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
    let progress = app.console.progress();
    let result = conversation(app, connection, &params.to_string(), &progress).await;
    progress.hide();
    result
}

async fn conversation(
    app: &App,
    connection: &mut Connection,
    params: &str,
    progress: &Progress,
) -> Result<Message, Error> {
    let title = connection.title.clone();
    let id = connection.client.ask("tools/call", params).await?;
    loop {
        match connection.client.hear(&id).await {
            Ok(Heard::Result(result)) => return Ok(result),
            Ok(Heard::Notice(notice)) => report(&notice, progress),
            Ok(Heard::Question(question)) => {
                progress.hide();
                match questions::answer(app, &title, &question).await? {
                    Some(answer) => connection.client.answer(&question, &answer).await?,
                    None => connection.client.decline(&question).await?,
                }
            }
            Err(error) => return Err(connection.error(error)),
        }
    }
}

/// Shows a progress notification; another one is nobody's here.
fn report(notice: &Message, progress: &Progress) {
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
        progress.show(report.progress, report.total, &report.message);
    }
}

/// Writes the files of an answer to `path` and its neighbours.
fn keep(app: &App, answer: &Answer, path: &Path) -> Result<(), Error> {
    let mut kept = 0;
    for (index, bytes) in answer.files().enumerate() {
        let path = numbered(path, index + 1);
        std::fs::write(&path, bytes)
            .map_err(|error| Error::from(error).while_doing(format!("cannot write {}", path.display())))?;
        app.console.note(&format!("Kept {} bytes in {}", bytes.len(), path.display()));
        kept += 1;
    }
    if kept == 0 && !answer.failed {
        return Err(Error::new(ErrorKind::Failure, "the result holds no file to keep")
            .hint("leave --output out to see what it holds; the call was carried out"));
    }
    Ok(())
}

/// `path` for the first file, `path-2` and so on for the others, before its extension.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}
