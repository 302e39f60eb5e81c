//! Claude Code's own command for its servers. Claude Code rewrites the same file whenever it runs, so finmcp lets it
//! make the change.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{
    error::{Error, ErrorKind},
    setup::{
        change::{self, Change},
        client::Client,
        document::Document,
        file::{Access, ConfigFile, FileError},
        json,
    },
};

/// Timeout of one command.
const LIMIT: Duration = Duration::from_secs(20);

/// The arguments of the commands that make `changes`; `exists` says which servers the file has now.
pub fn commands(changes: &[Change], exists: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let mcp =
        |words: &[&str]| ["mcp"].iter().chain(words).chain(&["--scope", "user"]).map(|w| (*w).to_owned()).collect();
    let commands = changes.iter().flat_map(|change| match change {
        Change::Put(entry) => {
            let description = json::compact(&entry.members(Client::ClaudeCode));
            let removal = exists(&entry.name).then(|| mcp(&["remove", &entry.name]));
            removal.into_iter().chain([mcp(&["add-json", &entry.name, &description])]).collect::<Vec<_>>()
        }
        Change::Take(name) => vec![mcp(&["remove", name])],
    });
    commands.collect()
}

/// Runs `program` with each of `commands` until one fails. The caller checks the file for the result.
async fn run(program: &Path, commands: &[Vec<String>]) {
    for arguments in commands {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match timeout(LIMIT, command.status()).await {
            Ok(Ok(status)) if status.success() => {}
            _ => return,
        }
    }
}

/// Lets Claude Code make `changes`, then makes those that it did not. Backs the file up first if `backup` says who may
/// read the copy, and returns its path.
///
/// # Errors
/// Why the changes could not be made, with the backup's path if the file was changed meanwhile.
pub async fn write(
    program: &Path,
    file: &ConfigFile,
    document: &Document,
    changes: &[Change],
    backup: Option<Access>,
) -> Result<Option<PathBuf>, Error> {
    let backup = match backup {
        Some(access) => file.back_up(access)?,
        None => None,
    };
    run(program, &commands(changes, |name| document.server(name).is_some())).await;
    let Err(error) = complete(file, changes) else { return Ok(backup) };
    let is_as_before = ConfigFile::read(&file.path).is_ok_and(|now| now.exists == file.exists && now.text == file.text);
    match backup {
        _ if is_as_before => Err(error.into()),
        backup => {
            let copy = backup.map(|path| format!(" (backup: {})", path.display())).unwrap_or_default();
            Err(Error::from_source(ErrorKind::Failure, error).hint(format!(
                "Claude Code or another program changed the file: check it{copy}, then run this command again"
            )))
        }
    }
}

/// Makes those of `changes` that the file does not have yet.
fn complete(file: &ConfigFile, changes: &[Change]) -> Result<(), FileError> {
    let client = Client::ClaudeCode;
    let now = ConfigFile::read(&file.path)?;
    let document = now.document(client)?;
    let is_made = |change: &Change| match change {
        Change::Put(entry) => document.server(&entry.name).is_some_and(|node| entry.is_that_of(client, node)),
        Change::Take(name) => document.server(name).is_none(),
    };
    if changes.iter().all(is_made) {
        return Ok(());
    }
    now.replace(&now.about(change::applied(client, &now.text, changes))?)
}
