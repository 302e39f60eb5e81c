//! One request to a server, with its progress and its questions at the terminal.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    app::{connection::Connection, credentials::Credentials},
    client::{ClientError, Incoming},
    commands::questions::{self, Host},
    console::Console,
    error::Error,
    mcp::message::Message,
    profile::selector::Selector,
    settings::Settings,
    tool::answer::Layout,
};

/// The result of a request. Meanwhile the user sees the server's progress and answers its questions.
///
/// # Errors
/// The server refuses it, or the connection is lost.
pub async fn exchange(
    host: Host<'_>,
    connection: &mut Connection,
    method: &str,
    params: &str,
) -> Result<Message, Error> {
    let title = connection.title.clone();
    host.console.now_waiting(&format!("Waiting for {title}"));
    let id = connection.client.ask(method, params).await.map_err(|error| connection.error(error))?;
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

/// A connection for commands that the user may be asked questions in.
///
/// # Errors
/// Exit code 4 if the user has to sign in.
pub async fn open(
    host: Host<'_>,
    settings: &Arc<Settings>,
    credentials: &Credentials,
    selector: &Selector,
    timeout: Option<u64>,
) -> Result<Connection, Error> {
    let capabilities = if host.console.is_attended() { questions::CAPABILITIES } else { "{}" };
    Connection::open(settings, credentials, selector, timeout, capabilities).await
}

/// The server's JSON in `message`, laid out for stdout.
///
/// # Errors
/// It has no result.
pub fn result(message: &Message) -> Result<&RawValue, Error> {
    message.result().ok_or_else(|| ClientError::InvalidResponse("there is no result in it").into())
}

/// How JSON is written to stdout.
pub fn layout(console: Console) -> Layout {
    if console.shows_data() { Layout::Indented } else { Layout::AsSent }
}
