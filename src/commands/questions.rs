//! Asks the server's questions during a call at the terminal (MCP 2025-11-25 elicitation).

use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::interrupt::unless_interrupted,
    console::Console,
    error::Error,
    login::browser::Browser,
    mcp::{message::Message, object::Object},
    server_url::ServerUrl,
    settings::screen::{Screen, Surroundings},
    tool::parameter::{Parameter, Shape, Type},
};

/// What a client with a person at its terminal can do.
pub const CAPABILITIES: &str = r#"{"elicitation":{"form":{},"url":{}}}"#;

/// The user, if finmcp can ask here.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// The terminal.
    pub console: Console,
    /// Whether a browser can show a page.
    pub surroundings: &'a Surroundings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Elicitation {
    #[serde(default)]
    message: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    requested_schema: Value,
}

/// The user's response to a question ("Response Actions").
enum Decision {
    Accept(Option<String>),
    Decline,
    Cancel,
}

/// The result for the server `title`, as JSON; none for a question of another kind.
///
/// # Errors
/// The person wants the process to end.
pub async fn answer(host: Host<'_>, title: &str, question: &Message) -> Result<Option<String>, Error> {
    if question.method() != Some("elicitation/create") {
        return Ok(None);
    }
    let Some(elicitation) = question.parameters::<Elicitation>() else { return Ok(None) };
    Ok(Some(match unless_interrupted(decide(host, title, elicitation)).await? {
        Decision::Accept(Some(content)) => format!(r#"{{"action":"accept","content":{content}}}"#),
        Decision::Accept(None) => r#"{"action":"accept"}"#.to_owned(),
        Decision::Decline => r#"{"action":"decline"}"#.to_owned(),
        Decision::Cancel => r#"{"action":"cancel"}"#.to_owned(),
    }))
}

async fn decide(host: Host<'_>, title: &str, elicitation: Elicitation) -> Decision {
    host.console.say(&format!("\n{title} asks: {}", elicitation.message));
    if elicitation.mode.as_deref() == Some("url") {
        return page(host, elicitation.url.as_deref().unwrap_or_default()).await;
    }
    let mut content = Object::default();
    for parameter in Parameter::all(&elicitation.requested_schema) {
        match field(host, &parameter).await {
            Some(Some(value)) => content.set(&parameter.name, value),
            Some(None) => {}
            None => return Decision::Cancel,
        }
    }
    let question = if content.is_empty() { "Do you agree?".to_owned() } else { format!("Send this to {title}?") };
    if host.console.confirm(&format!("{question} [y/N] ")).await {
        Decision::Accept(Some(content.to_string()))
    } else {
        Decision::Decline
    }
}

/// The person sees the whole address before anything is opened ("Safe URL Handling").
async fn page(host: Host<'_>, url: &str) -> Decision {
    let url = match url.parse::<ServerUrl>() {
        Ok(url) => url,
        Err(error) => {
            host.console.say(&format!("cannot open the server's URL: {error}"));
            return Decision::Cancel;
        }
    };
    host.console.say(&format!("The server asks you to open  {url}"));
    let Screen::Browser(browser) = host.surroundings.screen().await else {
        let opened = host.console.confirm("Open it in a browser. Did you open it? [y/N] ").await;
        return if opened { Decision::Accept(None) } else { Decision::Decline };
    };
    if !host.console.confirm("Open it in your browser? [y/N] ").await {
        return Decision::Decline;
    }
    let opened = tokio::task::spawn_blocking(move || browser.open(&url)).await;
    if !matches!(opened, Ok(Ok(()))) {
        host.console.say("Could not open a browser; open the address yourself");
    }
    Decision::Accept(None)
}

/// What the person gives for one field, as JSON: nothing for one that is left out. None at the end of the input.
async fn field(host: Host<'_>, parameter: &Parameter) -> Option<Option<String>> {
    if !parameter.description.is_empty() {
        host.console.say(&format!("  {}", parameter.description));
    }
    let default = parameter.default.as_ref().map(|value| format!(", default {value}")).unwrap_or_default();
    let optional = if parameter.is_required || parameter.default.is_some() { "" } else { ", optional" };
    let several = if parameter.shape.types.contains(&Type::Array) { ", separated by commas" } else { "" };
    let question = format!("  {} ({}{several}{default}{optional}): ", parameter.name, parameter.shape.words());
    loop {
        let typed = host.console.ask(&question).await?;
        if typed.trim().is_empty() {
            if let Some(default) = &parameter.default {
                return Some(Some(default.to_string()));
            }
            if !parameter.is_required {
                return Some(None);
            }
        } else if let Some(value) = read(&parameter.shape, &typed) {
            return Some(Some(value));
        }
        host.console.say(&format!("  That is not {}. Press Ctrl-D to cancel.", parameter.shape.words()));
    }
}

fn read(shape: &Shape, typed: &str) -> Option<String> {
    match shape.items.as_deref().filter(|_| shape.types.contains(&Type::Array)) {
        Some(item) => {
            let items: Option<Vec<String>> = typed.split(',').map(|typed| item.read(typed.trim())).collect();
            Some(format!("[{}]", items?.join(",")))
        }
        None => shape.read(typed),
    }
}
