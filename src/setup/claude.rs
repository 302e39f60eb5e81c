//! Claude Code's own command for its servers. Claude Code rewrites the same file whenever it runs, so finmcp lets it
//! make the change.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::setup::{change::Change, client::Client, json};

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
pub async fn run(program: &Path, commands: &[Vec<String>]) {
    for arguments in commands {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match timeout(LIMIT, command.status()).await {
            Ok(Ok(status)) if status.success() => {}
            _ => return,
        }
    }
}
