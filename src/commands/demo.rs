//! `finmcp demo`.

use std::{process::Stdio, sync::Arc};

use serde::Deserialize;
use serde_json::json;
use tokio::process::Child;

use crate::{
    app::{
        credentials::Credentials,
        embedded::{Consent, Folder, StandIn},
        interrupt::interrupted,
        sign_in::keep as keep_credential,
    },
    bridge::stdio::downstream,
    cli,
    client::Client,
    commands::words,
    console::Console,
    demo::{self, Vendors, statement::Statement},
    error::{Error, ErrorKind},
    login::{browser::Browser, context::Progress},
    settings::{Settings, screen::Screen},
};

/// Demonstrates everything from signing in to a tool's result, with simulated vendors in this process. Leaves no
/// files.
///
/// # Errors
/// Every error of the steps, which are real.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Demo,
) -> Result<(), Error> {
    let own_browser = match arguments.browser {
        false => None,
        true => Some(settings.surroundings.screen().await),
    };
    let own_browser = match own_browser {
        None => None,
        Some(Screen::Browser(browser)) => Some(browser),
        Some(Screen::Terminal | Screen::Unavailable(_)) => {
            let error = Error::new(ErrorKind::LoginRequired, "no browser found to sign in with");
            return Err(error.hint("run `finmcp demo` without --browser: it signs in automatically"));
        }
    };
    let folder = Folder::create()?;
    let settings = folder.settings(settings);
    let credentials = credentials.of(&settings);
    let step = |number: u8, text: &str| console.note(&format!("\n[{number}/5] {text}"));

    step(1, "Starting simulated servers of the three vendors on this machine");
    let vendors = Vendors::start(demo::Settings::default()).await?;
    for stand_in in StandIn::ALL {
        console.note(&format!("      {:<14} {}", stand_in.title(), stand_in.server(&vendors)));
    }

    step(2, "Signing in");
    for stand_in in StandIn::ALL {
        let browser: Arc<dyn Browser> = match &own_browser {
            Some(browser) => Arc::new(browser.clone()),
            None => Arc::new(Consent::new(&credentials.http)),
        };
        let mut progress = |progress: Progress<'_>| {
            // With the user's browser, the page may not open.
            if let Progress::NotOpened(_) = progress {
                console.say("      Cannot open a browser; run the demo without --browser");
            }
        };
        let credential = stand_in.sign_in(&credentials, &vendors, browser, &mut progress).await?;
        let end = credential.tokens.as_ref().and_then(|tokens| tokens.expires_at);
        let end = end.map_or_else(String::new, |end| format!(", token valid until {}", end.strftime("%H:%M:%S UTC")));
        let mut note = |note| words::say(console, &note);
        keep_credential(&settings, &credentials, stand_in.profile(&vendors), credential, None, &mut note).await?;
        console.note(&format!("      {:<14} {}{end}", stand_in.title(), stand_in.way()));
    }
    console.note(&format!("      stored in: {}", credentials.store.description()));

    if arguments.keep {
        return keep(&folder, console).await;
    }

    step(3, "Starting `finmcp serve asset` as an AI client does and listing the tools");
    let (mut client, mut process) = start_serve(&folder).await?;
    for tool in client.tools().await.map_err(broken)? {
        let Listed { name, description } = serde_json::from_str(tool.get()).map_err(broken)?;
        console.note(&format!("      {name:<18} {}", description.lines().next().unwrap_or_default()));
    }

    step(4, "Calling profit_and_loss");
    let call = json!({"name": "profit_and_loss", "arguments": {"from": "2025-01-01", "to": "2025-12-31"}});
    let answer = client.request("tools/call", &call.to_string()).await.map_err(broken)?;
    let outcome: Outcome = answer.result().ok_or_else(|| broken("the tool's result has no structured content"))?;
    let content = outcome.content;
    let statement = Statement::from_structured_content(&content).map_err(broken)?;
    console.data(&format!("\n{statement}\n"))?;
    if !statement.adds_up() {
        return Err(broken("the report does not add up"));
    }

    step(5, "Cleaning up");
    drop(client);
    process.wait().await?;
    drop(folder);
    console.note("      No files remain");
    console.note("\nNext:");
    console.note("  `finmcp setup cursor demo` adds these simulated servers to an AI client (here: Cursor)");
    console.note("  `finmcp login` signs in to a real vendor");
    Ok(())
}

/// Keeps the servers running for a client that the user tries by hand.
async fn keep(folder: &Folder, console: Console) -> Result<(), Error> {
    let program = std::env::current_exe()?;
    let environment: serde_json::Map<_, _> =
        folder.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let entry = json!({"mcpServers": {"finmcp-demo": {
        "command": program, "args": ["serve", "asset"], "env": environment,
    }}});
    let text = serde_json::to_string_pretty(&entry).map_err(std::io::Error::other)?;
    console.say(
        "\nPaste this into your AI client's configuration (Cursor: ~/.cursor/mcp.json; Claude Desktop: Settings, \
         Developer, Edit Config) and restart the client:\n",
    );
    console.data(&(text + "\n"))?;
    console.say(
        "\nThe servers run until you press Ctrl-C. For an entry that works without them, run `finmcp setup CLIENT \
         demo`, for example `finmcp setup cursor demo`.",
    );
    interrupted().await;
    Ok(())
}

/// The members of a tool that the demo shows.
#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    description: String,
}

/// The members of a tool's result that the demo reads.
#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "structuredContent")]
    content: serde_json::Value,
}

/// Starts this program again as an AI client would, and connects to it.
async fn start_serve(folder: &Folder) -> Result<(Client, Child), Error> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["serve", "asset"]).envs(folder.environment()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(broken("the process has no pipes"));
    };
    let client = Client::connect(downstream::over(Box::pin(input), Box::pin(output)), "{}").await.map_err(broken)?;
    Ok((client, child))
}

fn broken(cause: impl ToString) -> Error {
    Error::new(ErrorKind::Failure, cause.to_string()).while_doing("the demo failed")
}
