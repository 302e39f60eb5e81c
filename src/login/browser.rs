//! The user's web browser.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    login::portal::{Desktop, PortalError},
    server_url::ServerUrl,
};

/// Shows a URL to the user.
pub trait Browser: Send + Sync {
    /// Opens `url` without waiting for the user. May take a moment, so async code calls it on a thread.
    ///
    /// # Errors
    /// [`BrowserError`] if no browser opens; the user can still open the URL.
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError>;
}

/// No browser could be started.
#[derive(Debug, thiserror::Error)]
#[error("could not open a browser")]
pub struct BrowserError(#[from] pub io::Error);

/// A browser of this machine. What it opens is a [`ServerUrl`]: absolute, https or loopback, without quotes, spaces or
/// control characters; it is passed as one argument and never to a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemBrowser {
    /// A program that the user chose, with the URL as its one argument.
    Program(OsString),
    /// Commands that the user chose, as words; the first that works.
    Commands(Vec<Vec<String>>),
    /// The system's default browser.
    Default,
    /// The desktop's portal, else the system's default browser on the desktop's display.
    Desktop(Desktop),
}

/// Variables with secrets that the browser must not inherit.
const SECRETS: [&str; 3] = ["FINMCP_CLIENT_SECRET", "FINMCP_STORE_KEY_FILE", "FINMCP_STORE_PASSPHRASE"];

/// How long to watch a program for a failure. One that cannot open the page fails at once; one that can may run until
/// the user closes it.
const PATIENCE: Duration = Duration::from_millis(300);

impl SystemBrowser {
    /// Reads `BROWSER` as `xdg-open` and Python do: a list like `PATH` of programs with arguments. `%s` stands for the
    /// URL, which is the last argument otherwise. The path of an existing program may contain spaces.
    pub fn from_variable(value: &str) -> Self {
        if Path::new(value).is_file() {
            return Self::Program(value.into());
        }
        let words = |entry: PathBuf| entry.to_string_lossy().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Self::Commands(env::split_paths(value).map(words).filter(|words| !words.is_empty()).collect())
    }
}

impl Browser for SystemBrowser {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        let commands = match self {
            Self::Program(program) => {
                let mut command = Command::new(program);
                command.arg(url.as_str());
                vec![command]
            }
            Self::Commands(commands) => commands.iter().filter_map(|words| command(words, url)).collect(),
            Self::Default => open::commands(url.as_str()),
            Self::Desktop(desktop) => match desktop.ask(url) {
                Ok(()) => return Ok(()),
                Err(error) if error == PortalError::Closed || desktop.variables().is_empty() => {
                    return Err(io::Error::other(error).into());
                }
                Err(_) => open::commands(url.as_str()).into_iter().map(|command| on(desktop, command)).collect(),
            },
        };
        Ok(start_one(commands)?)
    }
}

/// `command`, on the display of `desktop`.
fn on(desktop: &Desktop, mut command: Command) -> Command {
    command.envs(desktop.variables().iter().map(|(name, value)| (name, value)));
    command
}

/// The command of these words, with the URL in place of each `%s`, else at the end.
fn command(words: &[String], url: &ServerUrl) -> Option<Command> {
    const PLACE: &str = "%s";
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| argument.replace(PLACE, url.as_str())));
    if !arguments.iter().any(|argument| argument.contains(PLACE)) {
        command.arg(url.as_str());
    }
    Some(command)
}

/// Starts the first of `commands` that works. It must not inherit stdout, which carries the protocol in `serve`. A
/// thread waits for the program's end, so that it leaves no zombie.
fn start_one(commands: Vec<Command>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let watch = move || {
        let started = Instant::now();
        let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
        for mut command in commands {
            outcome = isolate(&mut command).status().and_then(|status| match status.success() {
                true => Ok(()),
                false => Err(io::Error::other(status.to_string())),
            });
            // A program that ran longer has shown the page, whatever its exit code.
            if outcome.is_ok() || started.elapsed() > PATIENCE {
                break;
            }
        }
        // The receiver is gone after `PATIENCE`.
        let _ = sender.send(outcome);
    };
    thread::Builder::new().name("browser".to_owned()).spawn(watch)?;
    receiver.recv_timeout(PATIENCE).unwrap_or(Ok(()))
}

/// Keeps finmcp's streams and secrets from a child process.
fn isolate(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for name in SECRETS {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A shell script as the browser.
    fn script(folder: &Path, text: &str) -> SystemBrowser {
        let path = folder.join("browser");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        SystemBrowser::Program(path.into())
    }

    fn content(path: &Path) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match fs::read_to_string(path) {
                Ok(text) if text.ends_with("end\n") => return text,
                _ => assert!(Instant::now() < deadline, "no {}", path.display()),
            }
            thread::yield_now();
        }
    }

    /// t001, t002: the URL is one unchanged argument, no shell reads it, and the browser inherits no stream.
    #[test]
    fn t001_the_url_is_one_argument() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let text = format!(
            r#"{{ printf '%s|' "$#" "$1"; for i in 0 1 2; do readlink /proc/self/fd/$i; done; echo end; }} > {0}.part; mv {0}.part {0}"#,
            out.display()
        );
        let browser = script(folder.path(), &text);
        let url: ServerUrl = "https://as.example/a?x=$(touch%20pwned)&y=;id&z=*&-n".parse().unwrap();
        browser.open(&url).unwrap();
        let seen = content(&out);
        assert!(seen.starts_with(&format!("1|{url}|")), "{seen}");
        if cfg!(target_os = "linux") {
            assert!(seen.contains("|/dev/null\n"), "{seen}");
            assert!(seen.ends_with("/dev/null\nend\n"), "{seen}");
        }
    }

    /// t001: no shell reads `BROWSER` either: it is split at spaces, and the URL is one argument.
    #[test]
    fn t001_a_list_of_commands() {
        let url: ServerUrl = "https://as.example/a?x=$(touch%20pwned)&y=;id".parse().unwrap();
        let commands = |value: &str| {
            let SystemBrowser::Commands(commands) = SystemBrowser::from_variable(value) else { panic!("{value}") };
            let commands = commands.iter().map(|words| {
                let command = command(words, &url).unwrap();
                let words = std::iter::once(command.get_program()).chain(command.get_args());
                words.map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            });
            commands.collect::<Vec<_>>()
        };
        let url = url.as_str();
        assert_eq!(commands("firefox"), [["firefox", url]]);
        assert_eq!(
            commands(":w3m -T %s  -x:$(id) ; ls"),
            [vec!["w3m", "-T", url, "-x"], vec!["$(id)", ";", "ls", url]]
        );
        assert_eq!(commands("a --app=%s"), [["a", &format!("--app={url}")]]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a browser");
        fs::write(&path, "").unwrap();
        assert_eq!(SystemBrowser::from_variable(path.to_str().unwrap()), SystemBrowser::Program(path.into()));
    }

    #[test]
    fn a_browser_that_does_not_start_is_an_error() {
        let url: ServerUrl = "https://as.example/".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(script(folder.path(), "exit 3").open(&url).is_err());
        let missing = SystemBrowser::Program(folder.path().join("missing").into());
        assert!(missing.open(&url).is_err());
        assert!(SystemBrowser::Commands(Vec::new()).open(&url).is_err());
    }

    #[test]
    fn a_browser_that_keeps_running_is_not_waited_for() {
        let url: ServerUrl = "https://as.example/".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        script(folder.path(), "exec sleep 20").open(&url).unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// t092: the browser inherits none of finmcp's secrets.
    #[test]
    fn t092_the_browser_inherits_no_secret() {
        let mut command = Command::new("browser");
        let removed: Vec<_> = isolate(&mut command).get_envs().collect();
        for name in SECRETS {
            assert!(removed.contains(&(name.as_ref(), None)), "{name}");
        }
    }
}
