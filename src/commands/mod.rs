//! The commands, one file each: every command makes one call into the domain and prints the outcome.

pub mod audit;
pub mod call;
pub mod completions;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod exchange;
pub mod import;
pub mod login;
pub mod logout;
pub mod logs;
pub mod man;
pub mod place;
pub mod presets;
pub mod profile;
pub mod prompts;
pub mod questions;
pub mod resources;
pub mod serve;
pub mod setup;
pub mod status;
mod table;
pub mod token;
pub mod tools;
mod words;

use std::{process::ExitCode, sync::Arc};

use crate::{
    app::{
        credentials::Credentials,
        interrupt::{interrupted, unless_interrupted},
    },
    cli::{Cli, Command, profile::ProfileCommand},
    console::{self, Color, Console, Voice},
    credential::{
        choice::StoreChoice,
        store::{CredentialStore, NEW_PASSPHRASE},
    },
    error::{Error, ErrorKind},
    settings::{self, Settings},
};

/// Runs the command and prints its error.
pub fn run(cli: Cli) -> ExitCode {
    let voice = if cli.quiet { Voice::Quiet } else { Voice::Usual };
    let color = if settings::is_colored() { Color::Terminal } else { Color::Never };
    let console = Console::new(color, voice);
    let outcome = match cli.command {
        Command::Completions { shell } => completions::run(console, shell),
        Command::Man(arguments) => man::run(console, arguments),
        // The settings may be invalid: that is what it is for.
        Command::Config(arguments) => config::run(console, arguments),
        command => match (Settings::load(), command) {
            (Ok(settings), command) => run_with(settings, console, command),
            (Err(error), Command::Doctor(arguments)) => doctor::without_settings(console, error, &arguments),
            (Err(error), _) => Err(error.into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has seen enough.
        Err(error) if error.is_of_a_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            console.report(&error);
            error.kind.into()
        }
    }
}

fn run_with(settings: Settings, console: Console, command: Command) -> Result<(), Error> {
    let _waiting = waits_for(&command).and_then(|text| console.waiting(text));
    let log = match &command {
        Command::Serve(arguments) => Some(serve::log(&settings, arguments)),
        _ => None,
    };
    console::start_log(settings.log_level()?, log.clone());
    let settings = Arc::new(settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let store = unless_interrupted(prepared(&settings, console, &command)).await??;
        let credentials = Credentials::new(open(store, console, &command), &settings);
        let outcome = run_until_interrupted(&settings, &credentials, console, command).await;
        if let Some(log) = log {
            serve::log_end(&log, &outcome);
        }
        tokio::select! {
            () = credentials.settle() => {}
            // A second Ctrl-C exits without waiting.
            () = interrupted() => {}
        }
        outcome
    });
    // A hung keychain or a read from the terminal can block a thread forever: do not wait for those.
    runtime.shutdown_background();
    outcome
}

/// What the command waits for, if that can take long.
fn waits_for(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Login(_) => "Contacting the server",
        Command::Token(_) => "Getting the token",
        Command::Status(_) => "Reading the credential store",
        Command::Doctor(_) => "Checking",
        Command::Logout(_) => "Signing out",
        Command::Setup(_) => "Reading the clients' configurations",
        Command::Tools(_)
        | Command::Call(_)
        | Command::Prompts(_)
        | Command::Prompt(_)
        | Command::Resources(_)
        | Command::Resource(_) => "Connecting to the server",
        Command::Audit(_) => "Checking the log",
        Command::Profile(_) => "Opening the credential store",
        // They wait for others, or print what they do.
        Command::Serve(_) | Command::Logs(_) | Command::Config(_) | Command::Completions { .. } | Command::Man(_) => {
            return None;
        }
        #[cfg(feature = "demo")]
        Command::Demo(_) => return None,
    })
}

/// The store, with its passphrase if it needs one. Only commands that users run ask for it.
async fn prepared(settings: &Settings, console: Console, command: &Command) -> Result<StoreChoice, Error> {
    let store = settings.store.clone();
    if matches!(command, Command::Login(_) | Command::Status(_) | Command::Doctor(_))
        && let Some(file) = store.readable_key_file()
    {
        let file = file.display();
        let text = format!("warning: other users can read the key file {file}; unless a container mounts it, run");
        console.say(&format!("{text} `chmod 600 '{file}'`"));
    }
    match command {
        Command::Login(arguments) if arguments.list => Ok(store),
        Command::Login(_) | Command::Logout(_) | Command::Status(_) => unlocked(store, console).await,
        Command::Profile(arguments)
            if matches!(arguments.command, ProfileCommand::Rename { .. } | ProfileCommand::Remove(_)) =>
        {
            unlocked(store, console).await
        }
        // It only looks: it chooses no passphrase for a new store.
        Command::Doctor(_) if !store.is_new() => unlocked(store, console).await,
        Command::Setup(arguments) if arguments.replace => unlocked(store, console).await,
        _ => Ok(store),
    }
}

/// Opens the store. finmcp waits for a user at a terminal to unlock it, but not for one who runs a script or an AI client.
fn open(store: StoreChoice, console: Console, command: &Command) -> Arc<dyn CredentialStore> {
    let waits = match command {
        Command::Serve(_) => false,
        Command::Token(_) => console.is_attended() && console.shows_data(),
        _ => console.is_attended(),
    };
    match waits {
        true => store.open_attended(Arc::new(move |window| console.say(words::of_window(window)))),
        false => store.open(),
    }
}

/// `store` with its passphrase, if it needs one and finmcp can ask in a terminal. Otherwise using the store fails and
/// says what is missing.
async fn unlocked(store: StoreChoice, console: Console) -> Result<StoreChoice, Error> {
    if !store.needs_passphrase() {
        return Ok(store);
    }
    let cancelled = || Error::new(ErrorKind::Interrupted, "cancelled: nothing was stored");
    let is_new = store.is_new();
    let question = match is_new {
        true => format!("Choose a passphrase for your credentials ({NEW_PASSPHRASE} characters or more): "),
        false => "Passphrase for your credentials: ".to_owned(),
    };
    let passphrase = loop {
        let Ok(typed) = console.ask_secret(&question).await else { return Ok(store) };
        let passphrase = typed.ok_or_else(cancelled)?;
        if !is_new || passphrase.length() >= NEW_PASSPHRASE {
            break passphrase;
        }
        console.say(&format!("That is too short: it needs at least {NEW_PASSPHRASE} characters"));
    };
    if is_new {
        let repeated = console.ask_secret("Repeat the passphrase: ").await?.ok_or_else(cancelled)?;
        if !repeated.same_as(&passphrase) {
            let error = Error::new(ErrorKind::Usage, "the two passphrases differ");
            return Err(error.hint("try again (nothing was stored)"));
        }
    }
    Ok(store.with_passphrase(passphrase))
}

/// Runs the command until it ends or a signal arrives.
async fn run_until_interrupted(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    command: Command,
) -> Result<(), Error> {
    let handles_signals = match &command {
        // These handle signals themselves: a session ends cleanly, and simulated servers run until Ctrl-C.
        Command::Serve(_)
        | Command::Call(_)
        | Command::Tools(_)
        | Command::Prompts(_)
        | Command::Prompt(_)
        | Command::Resources(_)
        | Command::Resource(_) => true,
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => arguments.keep,
        _ => false,
    };
    let work = work(settings, credentials, console, command);
    if handles_signals {
        return work.await;
    }
    unless_interrupted(work).await?
}

async fn work(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    command: Command,
) -> Result<(), Error> {
    match command {
        Command::Login(arguments) => login::run(settings, credentials, console, *arguments).await,
        Command::Token(arguments) => token::run(settings, credentials, console, arguments).await,
        Command::Serve(arguments) => serve::run(settings, credentials, console, *arguments).await,
        Command::Status(arguments) => status::run(settings, credentials, console, arguments).await,
        Command::Doctor(arguments) => doctor::run(settings, credentials, console, arguments).await,
        Command::Logout(arguments) => logout::run(settings, credentials, console, arguments).await,
        Command::Setup(arguments) => setup::run(settings, credentials, console, *arguments).await,
        Command::Tools(arguments) => tools::run(settings, credentials, console, arguments).await,
        Command::Call(arguments) => call::run(settings, credentials, console, *arguments).await,
        Command::Profile(arguments) => profile::run(settings, credentials, console, arguments).await,
        Command::Prompts(arguments) => prompts::list(settings, credentials, console, arguments).await,
        Command::Prompt(arguments) => prompts::get(settings, credentials, console, arguments).await,
        Command::Resources(arguments) => resources::list(settings, credentials, console, arguments).await,
        Command::Resource(arguments) => resources::read(settings, credentials, console, arguments).await,
        Command::Logs(arguments) => logs::run(settings, console, arguments).await,
        Command::Audit(arguments) => audit::run(credentials, console, arguments).await,
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(settings, credentials, console, arguments).await,
        Command::Completions { shell } => completions::run(console, shell),
        Command::Man(arguments) => man::run(console, arguments),
        Command::Config(arguments) => config::run(console, arguments),
    }
}
