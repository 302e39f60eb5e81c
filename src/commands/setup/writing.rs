//! Shows and writes the changes to a client's file.

use std::path::PathBuf;

use crate::{
    commands::setup::Job,
    error::Error,
    setup::{
        change::Change,
        claude,
        client::{Client, Scope},
        document::Document,
        entry::{self, Entry},
        file::{Access, ConfigFile},
        mask,
        plaintext::{self, Exposed, Place},
    },
};

impl Job<'_> {
    /// Prints the difference, with secrets hidden.
    pub(super) fn show(&self, client: Client, file: &ConfigFile, after: &str, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            self.console.note(&format!("{} is already set up: {}", client.title(), file.path.display()));
            return Ok(());
        }
        let hidden = |text: &str| {
            let document = Document::read(client, text);
            file.about(document.map(|document| mask::masked(&document, client.format())))
        };
        let (before, after) = (hidden(&file.text)?, hidden(after)?);
        let path = file.path.display().to_string();
        let old = if file.exists { &path } else { "/dev/null" };
        let difference = similar::TextDiff::from_lines(&before, &after);
        let difference = difference.unified_diff().header(old, &path).to_string();
        self.console.data(&difference)?;
        if difference.contains(mask::MASK) {
            self.console.say(&format!("{}: a secret, not shown", mask::MASK));
        }
        Ok(())
    }

    /// Writes the file, or lets Claude Code write it, and says so.
    pub(super) async fn write(
        &mut self,
        client: Client,
        file: &ConfigFile,
        document: &Document,
        after: &str,
        changes: &[Change],
    ) -> Result<(), Error> {
        let is_changed = |exposed: &Exposed| changes.iter().any(|change| change.name() == exposed.name);
        let mut exposed = plaintext::exposed(document).into_iter().filter(|exposed| exposed.place == Place::Here);
        let open = exposed.any(|exposed| is_changed(&exposed));
        let access = if open { Access::Owner } else { Access::AsBefore };
        let is_first = open || !self.progress.backed_up.contains(&file.path);
        // Before the write, which makes the client's folder.
        let is_found = client.is_detected(&self.machine);
        let backup = match (self.claude(client, document, changes), is_first) {
            (Some(program), _) => claude::write(&program, file, document, changes, is_first.then_some(access)).await?,
            (None, true) => file.replace_with_backup(after, access)?,
            (None, false) => file.replace(after).map(|()| None)?,
        };
        self.progress.backed_up.insert(file.path.clone());
        self.say_written(client, file, document, changes, is_found);
        let console = &self.console;
        match backup {
            Some(backup) if open => {
                let revoke = if self.moved.is_empty() { ", and revoke those tokens at the vendor" } else { "" };
                console.say(&format!(
                    "warning: the backup {} contains the secrets in plain text. Delete it once everything works{revoke}.",
                    backup.display()
                ));
            }
            Some(backup) => console.note(&format!("Backup: {}", backup.display())),
            None => {}
        }
        Ok(())
    }

    /// Claude Code's program, if it should write the file.
    fn claude(&self, client: Client, document: &Document, changes: &[Change]) -> Option<PathBuf> {
        // Its command removes the whole entry, including the members that finmcp keeps.
        let keeps = |change: &Change| {
            let before = document.server(change.name()).filter(|_| matches!(change, Change::Put(_)));
            before.is_some_and(|before| entry::kept(before).next().is_some())
        };
        let is_its_own = client == Client::ClaudeCode && self.arguments.scope == Scope::User;
        let is_its_own = is_its_own && !changes.iter().any(keeps);
        client.program().filter(|_| is_its_own).and_then(|name| self.machine.program(name))
    }

    /// Says what was written, and what the user has to do so that the client uses it.
    fn say_written(&self, client: Client, file: &ConfigFile, document: &Document, changes: &[Change], is_found: bool) {
        let (title, path) = (client.title(), file.path.display());
        // Someone else who works in the project's folder can have the client.
        let is_known = is_found || self.arguments.scope == Scope::Project;
        let next = match self.arguments.remove {
            false if !is_known => {
                format!(" {title} is not found on this machine; the entry is in {path} and works once it is installed.")
            }
            true if !is_known || client.watches_its_file() => String::new(),
            _ => format!(" {}", client.restart()),
        };
        for change in changes {
            let name = change.name();
            let before = document.server(name);
            let is_own = before.and_then(|node| Entry::read(client, name, node)).is_some_and(|own| own.runs_finmcp());
            let what = match (change, before.is_some()) {
                (Change::Take(_), _) => format!("Removed {name} from {title}."),
                (Change::Put(_), false) => format!("Added {name} to {title}."),
                (Change::Put(_), true) if is_own => format!("Updated {name} in {title}."),
                (Change::Put(_), true) => format!("Replaced {name} in {title}."),
            };
            self.console.note(&format!("{what}{next}"));
        }
        if is_known || self.arguments.remove {
            self.console.note(&format!("File: {path}"));
        }
    }
}
