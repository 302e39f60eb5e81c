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

/// A browser of this machine. What it opens is a [`ServerUrl`]: absolute, https or loopback, without quotes, spaces or
/// control characters; it is passed as one argument and never to a shell.
#[derive(Debug, Clone)]
pub enum SystemBrowser {
    /// A program of the person's choice, with the URL as its one argument.
    Program(OsString),
    /// Whatever the system opens links with.
    Default,
}

/// Ours, and no business of a browser's.
const SECRETS: [&str; 2] = ["FINMCP_CLIENT_SECRET", "FINMCP_STORE_KEY_FILE"];

/// How long a program is watched for a failure. One that cannot open anything says so at once; one that can may stay
/// until the person closes it.
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

/// Starts the first of `commands` that works. Our stdout above all is not theirs: while serving it is the protocol's. A
/// thread waits for its end, so that it leaves no zombie.
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

/// Keeps our streams and our secrets from a child.
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
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    /// A browser that is a script.
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

    /// t001, t002: one argument, as it is, and no shell that would read it; none of our streams.
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

    #[test]
    fn a_browser_that_does_not_open_says_so() {
        let url: ServerUrl = "https://as.example/".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(script(folder.path(), "exit 3").open(&url).is_err());
        let missing = SystemBrowser::Program(folder.path().join("missing").into());
        assert!(missing.open(&url).is_err());
    }

    /// One that stays is not waited for.
    #[test]
    fn a_browser_that_stays_is_left_alone() {
        let url: ServerUrl = "https://as.example/".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        script(folder.path(), "exec sleep 20").open(&url).unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    /// t092: what it inherits has none of our secrets.
    #[test]
    fn t092_secrets_stay_here() {
        let mut command = Command::new("browser");
        let removed: Vec<_> = isolate(&mut command).get_envs().collect();
        for name in SECRETS {
            assert!(removed.contains(&(name.as_ref(), None)), "{name}");
        }
    }
}
