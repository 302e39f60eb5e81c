//! The person's web browser.

use std::{
    ffi::OsString,
    io,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::server_url::ServerUrl;

/// Shows a URL to the person.
pub trait Browser: Send + Sync {
    /// Opens `url`, and does not wait for the person. May take a moment, so async code calls it on a thread.
    ///
    /// # Errors
    /// [`BrowserError`] where nothing can be opened; the person can still do it by hand.
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError>;
}

/// No browser could be started.
#[derive(Debug, thiserror::Error)]
#[error("could not open a browser")]
pub struct BrowserError(#[from] pub io::Error);

/// A browser of this machine. What it opens is a [`ServerUrl`]: absolute, https or loopback, without quotes, spaces or control characters; it is passed as one
/// argument and never to a shell.
#[derive(Debug, Clone)]
pub enum SystemBrowser {
    /// A program of the person's choice, with the URL as its one argument.
    Program(OsString),
    /// Whatever the system opens links with.
    Default,
}

/// Ours, and no business of a browser's.
const SECRETS: [&str; 2] = ["FINMCP_CLIENT_SECRET", "FINMCP_STORE_KEY_FILE"];

/// How long a program is watched for a failure. One that cannot open anything says so at once; one that can may stay until the person closes it.
const PATIENCE: Duration = Duration::from_millis(300);

impl Browser for SystemBrowser {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        let commands = match self {
            Self::Program(program) => {
                let mut command = Command::new(program);
                command.arg(url.as_str());
                vec![command]
            }
            Self::Default => open::commands(url.as_str()),
        };
        Ok(start_one(commands)?)
    }
}

/// Starts the first of `commands` that works, with none of our streams, stdout least of all: while serving it is the protocol's. A thread waits for its end, so
/// that it leaves no zombie.
fn start_one(commands: Vec<Command>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let watch = move || {
        let started = Instant::now();
        let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
        for mut command in commands {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            for name in SECRETS {
                command.env_remove(name);
            }
            outcome = command.status().and_then(|status| match status.success() {
                true => Ok(()),
                false => Err(io::Error::other(status.to_string())),
            });
            // One that ran for longer has shown its page, whatever it says at the end.
            if outcome.is_ok() || started.elapsed() > PATIENCE {
                break;
            }
        }
        // Nobody listens any more after `PATIENCE`.
        let _ = sender.send(outcome);
    };
    thread::Builder::new().name("browser".to_owned()).spawn(watch)?;
    receiver.recv_timeout(PATIENCE).unwrap_or(Ok(()))
}
