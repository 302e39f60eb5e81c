//! Whether this machine has a client.

use std::path::Path;

use crate::{
    settings::machine::Machine,
    setup::{
        client::{Client, Scope},
        entry::Entry,
        file::ConfigFile,
    },
};

impl Client {
    /// Whether this machine seems to have the client: its program, its file or its folder exists. What finmcp wrote
    /// itself proves nothing.
    pub fn is_detected(self, machine: &Machine) -> bool {
        self.programs().iter().any(|name| machine.program(name).is_some())
            || self.files(Scope::User, machine).iter().any(|file| match self {
                // Its file is directly in the home folder, which always exists.
                Self::ClaudeCode => file.exists() && !self.is_finmcps(file),
                _ => file.parent().is_some_and(|folder| folder.is_dir() && !self.holds_only_finmcps(folder, file)),
            })
    }

    /// Whether `folder` holds nothing but `file`, its backups, and what finmcp wrote there.
    fn holds_only_finmcps(self, folder: &Path, file: &Path) -> bool {
        let own = file.file_name().unwrap_or_default().to_string_lossy();
        let mut others = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let has_others = others.any(|entry| !entry.file_name().to_string_lossy().starts_with(own.as_ref()));
        file.exists() && !has_others && self.is_finmcps(file)
    }

    /// Whether every setting in `file` is an entry of finmcp.
    fn is_finmcps(self, file: &Path) -> bool {
        let Ok(document) = ConfigFile::read(file).and_then(|file| file.document(self)) else { return false };
        let entries = document.entries();
        let has_others = document.root().members().iter().any(|member| member.key != self.container());
        !has_others
            && !entries.is_empty()
            && entries.len() == document.members().len()
            && entries.iter().all(Entry::runs_finmcp)
    }

    /// The names of the programs that show that it is installed, on a `PATH`.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeDesktop => &["claude-desktop"],
            Self::ClaudeCode => &["claude"],
            Self::Cursor => &["cursor"],
            Self::Vscode => &["code"],
            Self::Windsurf => &["windsurf"],
            Self::Codex => &["codex"],
            Self::Gemini => &["gemini"],
            Self::Zed => &["zed", "zeditor"],
            Self::Goose => &["goose"],
            Self::Opencode => &["opencode"],
        }
    }
}
