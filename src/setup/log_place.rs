//! Where each AI client logs what it does with its MCP servers.

use std::fmt;

use crate::{
    settings::machine::{Machine, System},
    setup::client::Client,
};

/// Where a client's own log about its MCP servers is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// Its files; `*` stands for a part that differs.
    Files(String),
    /// A view of the client, in its own words.
    View(&'static str),
}

impl fmt::Display for LogPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(path) => formatter.write_str(path),
            Self::View(words) => formatter.write_str(words),
        }
    }
}

impl Client {
    /// Where it logs what it does with its servers, from its documentation or its source; none if that is not known. Codex
    /// keeps its log in a database, and writes a file only if `log_dir` is set (openai/codex#24081).
    pub fn log_place(self, machine: &Machine) -> Option<LogPlace> {
        let m = machine;
        let files = |path: String| Some(LogPlace::Files(path));
        match (self, m.system) {
            (Self::ClaudeDesktop, System::Macos) => files(m.in_home(&["Library", "Logs", "Claude", "mcp*.log"])),
            (Self::ClaudeDesktop, _) => files(m.in_application_data(&["Claude", "logs", "mcp*.log"])),
            (Self::ClaudeCode, System::Macos) => {
                files(m.in_home(&["Library", "Caches", "claude-cli-nodejs", "*", "mcp-logs-*"]))
            }
            (Self::ClaudeCode, System::Linux) => files(m.in_home(&[".cache", "claude-cli-nodejs", "*", "mcp-logs-*"])),
            (Self::Cursor, _) => Some(LogPlace::View("View > Output, channel \"MCP Logs\"")),
            (Self::Vscode, _) => Some(LogPlace::View("command \"MCP: List Servers\" > the server > Show Output")),
            (Self::Gemini, _) => Some(LogPlace::View("the debug console (F12) and /mcp")),
            (Self::Zed, System::Macos) => files(m.in_home(&["Library", "Logs", "Zed", "Zed.log"])),
            (Self::Zed, System::Linux) => files(m.in_home(&[".local", "share", "zed", "logs", "Zed.log"])),
            (Self::Zed, System::Windows) => files(m.in_home(&["AppData", "Local", "Zed", "logs", "Zed.log"])),
            (Self::Goose, System::Windows) => files(m.in_application_data(&["Block", "goose", "data", "logs"])),
            (Self::Goose, _) => files(m.in_home(&[".local", "state", "goose", "logs"])),
            (Self::Opencode, _) => files(m.in_home(&[".local", "share", "opencode", "log", "*.log"])),
            (Self::ClaudeCode, System::Windows) | (Self::Windsurf | Self::Codex, _) => None,
        }
    }
}
