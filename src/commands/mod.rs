//! The commands, one file each: settings in, one call into the domain, words out.

pub mod call;
pub mod completions;
pub mod connection;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod import;
pub mod login;
pub mod logout;
pub mod man;
pub mod questions;
pub mod registration;
pub mod serve;
pub mod setup;
pub mod status;
pub mod token;
pub mod tools;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    cli::{Cli, Command},
    console::{self, Color, Console, Voice},
    credential::{
        clock::SystemClock,
        record::Identity,
        store::{CredentialStore, StoreChoice},
        token_source::TokenSource,
    },
    error::{Error, ErrorKind},
    http::Http,
    settings::{self, Settings},
};

/// What every command works with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// What is set from outside.
    pub settings: Arc<Settings>,
    /// Where output goes.
    pub console: Console,
    /// The network.
    pub http: Arc<Http>,
    /// The time.
    pub clock: Arc<SystemClock>,
    /// Where secrets are kept.
    pub store: Arc<dyn CredentialStore>,
    /// Whatever may be renewing a token.
    sources: Arc<Mutex<Vec<TokenSource>>>,
}

/// Runs the command and reports how it went.
pub fn run(cli: Cli) -> ExitCode {
    let voice = if cli.quiet { Voice::Quiet } else { Voice::Usual };
    let color = if settings::is_colored() { Color::Terminal } else { Color::Never };
    let console = Console::new(color, voice);
    let outcome = match cli.command {
        Command::Completions { shell } => completions::run(console, shell),
        Command::Man(arguments) => man::run(console, arguments),
        command => match (Settings::load(), command) {
            (Ok(settings), command) => run_with(settings, console, command),
            (Err(error), Command::Doctor(arguments)) => doctor::without_settings(console, error, &arguments),
            (Err(error), _) => Err(error.into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed the pipe has seen enough.
        Err(error) if error.is_of_a_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            console.report(&error);
            error.kind.into()
        }
    }
}

fn run_with(settings: Settings, console: Console, command: Command) -> Result<(), Error> {
    console::start_log(settings.log_level()?);
    let store = match command {
        // These are for people; what a program starts asks nobody.
        Command::Login(_) | Command::Logout(_) | Command::Status(_) => unlocked(settings.store.clone(), console)?,
        _ => settings.store.clone(),
    };
    let app = App {
        console,
        http: Arc::new(Http::trusting(settings.authorities.clone())),
        clock: Arc::new(SystemClock),
        store: store.open(),
        settings: Arc::new(settings),
        sources: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let outcome = app.run(command).await;
        tokio::select! {
            () = app.settle() => {}
            // Whoever says it twice means it.
            () = interrupted() => {}
        }
        outcome
    });
    // A hung keychain or a terminal on stdin can hold a thread for ever: nobody waits for those.
    runtime.shutdown_background();
    outcome
}

/// `store` with its passphrase, where it needs one and a person is at a terminal; else it says what it lacks when it is
/// used.
fn unlocked(store: StoreChoice, console: Console) -> Result<StoreChoice, Error> {
    if !store.needs_passphrase() {
        return Ok(store);
    }
    let is_new = store.is_new();
    let question =
        if is_new { "Choose a passphrase for your credentials: " } else { "Passphrase of your credentials: " };
    let Ok(passphrase) = console.ask_secret(question) else { return Ok(store) };
    if is_new && !console.ask_secret("The same again: ")?.same_as(&passphrase) {
        return Err(Error::new(ErrorKind::Usage, "the two passphrases differ").hint("try again; nothing was kept"));
    }
    Ok(store.with_passphrase(passphrase))
}

impl App {
    /// Runs the command, to its end or until somebody wants the process to end.
    async fn run(&self, command: Command) -> Result<(), Error> {
        let ends_itself = match &command {
            // A conversation ends in good order, and stand-ins go on until they are stopped: both see signals themselves.
            Command::Serve(_) | Command::Call(_) | Command::Tools(_) => true,
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => arguments.keep,
            _ => false,
        };
        let work = self.work(command);
        if ends_itself {
            return work.await;
        }
        unless_interrupted(work).await?
    }

    async fn work(&self, command: Command) -> Result<(), Error> {
        match command {
            Command::Login(arguments) => login::run(self, *arguments).await,
            Command::Token(arguments) => token::run(self, arguments).await,
            Command::Serve(arguments) => serve::run(self, *arguments).await,
            Command::Status(arguments) => status::run(self, arguments).await,
            Command::Doctor(arguments) => doctor::run(self, arguments).await,
            Command::Logout(arguments) => logout::run(self, arguments).await,
            Command::Setup(arguments) => setup::run(self, *arguments).await,
            Command::Tools(arguments) => tools::run(self, arguments).await,
            Command::Call(arguments) => call::run(self, *arguments).await,
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => demo::run(self, arguments).await,
            Command::Completions { shell } => completions::run(self.console, shell),
            Command::Man(arguments) => man::run(self.console, arguments),
        }
    }

    /// The tokens of `identity`.
    pub fn tokens(&self, identity: Option<Identity>) -> TokenSource {
        let source = TokenSource::new(
            identity,
            self.store.clone(),
            self.settings.locks(),
            self.http.clone(),
            self.clock.clone(),
        );
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source.clone());
        source
    }

    /// The same program with other settings.
    #[cfg(feature = "demo")]
    pub fn with(&self, settings: Settings) -> Self {
        Self { store: settings.store.clone().open(), settings: Arc::new(settings), ..self.clone() }
    }

    /// Sees every renewal that is under way to its end: a rotated refresh token must not end with the process.
    async fn settle(&self) {
        let sources = std::mem::take(&mut *self.sources.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(sources.iter().map(TokenSource::settle)).await;
    }
}

/// What `work` brings.
///
/// # Errors
/// Somebody wants the process to end first.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted() => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        outcome = work => Ok(outcome),
    }
}

/// Returns when somebody wants the process to end.
pub async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // Where signals cannot be had, nothing can be said.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
