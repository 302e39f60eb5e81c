//! The AI clients that start `finmcp serve`: where each stores its servers, in which format, and which of its
//! environment variables it passes to a server.

use std::path::PathBuf;

use crate::settings::machine::{Machine, System};

/// A program that starts MCP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Client {
    /// Anthropic's desktop application.
    ClaudeDesktop,
    /// Anthropic's agent for the terminal.
    ClaudeCode,
    /// The editor.
    Cursor,
    /// Visual Studio Code.
    Vscode,
    /// The editor.
    Windsurf,
    /// `OpenAI`'s agent for the terminal.
    Codex,
    /// Google's agent for the terminal.
    Gemini,
    /// The editor.
    Zed,
    /// The agent.
    Goose,
    /// The agent.
    Opencode,
}

/// Who an entry is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// You, in every folder
    #[default]
    User,
    /// Everyone who works in this folder
    Project,
}

/// The format of a client's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON; comments and trailing commas stay, for the clients that accept them.
    Json,
    Toml,
    Yaml,
}

/// The variables that every client passes on; programs cannot work without them.
const ALWAYS: [&str; 11] = [
    "HOME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "LOGNAME",
    "USERNAME",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "SYSTEMROOT",
];

/// The variables that a desktop gives to its programs, and they to their servers. A shell's variables are not among
/// them.
const DESKTOP: [&str; 17] = [
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "COMSPEC",
    "PATHEXT",
    "WINDIR",
    "SYSTEMDRIVE",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
    "XDG_CURRENT_DESKTOP",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
];

impl Client {
    /// All clients.
    pub const ALL: [Self; 10] = [
        Self::ClaudeDesktop,
        Self::ClaudeCode,
        Self::Cursor,
        Self::Vscode,
        Self::Windsurf,
        Self::Codex,
        Self::Gemini,
        Self::Zed,
        Self::Goose,
        Self::Opencode,
    ];

    /// The name on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Windsurf => "windsurf",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Zed => "zed",
            Self::Goose => "goose",
            Self::Opencode => "opencode",
        }
    }

    /// The display name.
    pub fn title(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::Vscode => "VS Code",
            Self::Windsurf => "Windsurf",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Zed => "Zed",
            Self::Goose => "Goose",
            Self::Opencode => "opencode",
        }
    }

    /// The format of its file.
    pub fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::Goose => Format::Yaml,
            _ => Format::Json,
        }
    }

    /// The name of the member of its file that holds the servers.
    pub fn container(self) -> &'static str {
        match self {
            Self::Vscode => "servers",
            Self::Codex => "mcp_servers",
            Self::Zed => "context_servers",
            Self::Goose => "extensions",
            Self::Opencode => "mcp",
            _ => "mcpServers",
        }
    }

    /// The name of its program, if it runs in a terminal.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some("claude"),
            Self::Codex => Some("codex"),
            Self::Gemini => Some("gemini"),
            Self::Goose => Some("goose"),
            Self::Opencode => Some("opencode"),
            _ => None,
        }
    }

    /// What the user does so that it starts an entry that has just been written, as a sentence. Each client's own
    /// documentation says which of them watch their file.
    pub fn restart(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Quit Claude Desktop and open it again.",
            Self::ClaudeCode => "Start a new Claude Code session.",
            Self::Cursor => "Restart Cursor.",
            Self::Vscode => "VS Code starts it with your next chat message.",
            Self::Windsurf => "Restart Windsurf.",
            Self::Codex => "Start a new Codex session.",
            Self::Gemini => "Restart Gemini CLI.",
            Self::Zed => "Zed starts it right away.",
            Self::Goose => "Start a new Goose session.",
            Self::Opencode => "Restart opencode.",
        }
    }

    /// Whether it notices a change of its file.
    pub fn watches_its_file(self) -> bool {
        matches!(self, Self::Vscode | Self::Zed)
    }

    /// The files that can hold its servers, in order of preference. Empty if it does not have this scope.
    pub fn files(self, scope: Scope, machine: &Machine) -> Vec<PathBuf> {
        let m = machine;
        let paths = match (self, scope) {
            (Self::ClaudeDesktop, Scope::User) => {
                vec![m.in_application_data(&["Claude", "claude_desktop_config.json"])]
            }
            (Self::ClaudeCode, Scope::User) => vec![match m.variable("CLAUDE_CONFIG_DIR") {
                Some(folder) => m.system.join(folder, &[".claude.json"]),
                None => m.in_home(&[".claude.json"]),
            }],
            (Self::ClaudeCode, Scope::Project) => vec![m.in_project(&[".mcp.json"])],
            (Self::Cursor, Scope::User) => vec![m.in_home(&[".cursor", "mcp.json"])],
            (Self::Cursor, Scope::Project) => vec![m.in_project(&[".cursor", "mcp.json"])],
            (Self::Vscode, Scope::User) => vec![m.in_application_data(&["Code", "User", "mcp.json"])],
            (Self::Vscode, Scope::Project) => vec![m.in_project(&[".vscode", "mcp.json"])],
            (Self::Windsurf, Scope::User) => vec![m.in_home(&[".codeium", "windsurf", "mcp_config.json"])],
            (Self::Codex, Scope::User) => vec![match m.variable("CODEX_HOME") {
                Some(folder) => m.system.join(folder, &["config.toml"]),
                None => m.in_home(&[".codex", "config.toml"]),
            }],
            (Self::Gemini, Scope::User) => vec![match m.variable("GEMINI_CLI_HOME") {
                Some(folder) => m.system.join(folder, &[".gemini", "settings.json"]),
                None => m.in_home(&[".gemini", "settings.json"]),
            }],
            (Self::Gemini, Scope::Project) => vec![m.in_project(&[".gemini", "settings.json"])],
            (Self::Zed, Scope::User) => vec![match m.system {
                System::Windows => m.in_application_data(&["Zed", "settings.json"]),
                System::Macos => m.in_home(&[".config", "zed", "settings.json"]),
                System::Linux => m.in_configuration(&["zed", "settings.json"]),
            }],
            (Self::Goose, Scope::User) => vec![match m.system {
                System::Windows => m.in_application_data(&["Block", "goose", "config", "config.yaml"]),
                _ => m.in_configuration(&["goose", "config.yaml"]),
            }],
            (Self::Opencode, Scope::User) => {
                ["opencode.json", "opencode.jsonc"].map(|name| m.in_configuration(&["opencode", name])).into()
            }
            (Self::Opencode, Scope::Project) => {
                ["opencode.json", "opencode.jsonc"].map(|name| m.in_project(&[name])).into()
            }
            (Self::ClaudeDesktop | Self::Windsurf | Self::Codex | Self::Zed | Self::Goose, Scope::Project) => vec![],
        };
        paths.into_iter().map(PathBuf::from).collect()
    }

    /// The file to read and write: the first of [`Self::files`] that exists, else the first.
    pub fn file(self, scope: Scope, machine: &Machine) -> Option<PathBuf> {
        let files = self.files(scope, machine);
        files.iter().find(|file| file.exists()).or(files.first()).cloned()
    }

    /// Whether a server that the client starts gets the variable `name` as the user set it in a shell. The desktop
    /// starts graphical clients without reading the shell's files.
    pub fn passes(self, name: &str) -> bool {
        let upper = name.to_ascii_uppercase();
        if ALWAYS.contains(&upper.as_str()) {
            return true;
        }
        match self {
            Self::ClaudeCode => true,
            Self::Gemini => {
                let secret_looking =
                    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "AUTH", "CREDENTIAL", "CREDS", "PRIVATE", "CERT"];
                !secret_looking.iter().any(|part| upper.contains(part))
            }
            Self::Codex => ["TMPDIR", "TZ", "LANG", "LC_ALL", "SSL_CERT_FILE"].contains(&name),
            Self::ClaudeDesktop => {
                ["HOMEDRIVE", "HOMEPATH", "PROCESSOR_ARCHITECTURE", "PROGRAMFILES", "SYSTEMDRIVE", "TEMP"]
                    .contains(&upper.as_str())
            }
            Self::Cursor | Self::Vscode | Self::Windsurf | Self::Zed | Self::Goose | Self::Opencode => {
                DESKTOP.contains(&upper.as_str())
            }
        }
    }

    /// The member of an entry with the command that the client asks for headers, if it connects to servers itself and
    /// asks one.
    pub fn helper_member(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some("headersHelper"),
            Self::Codex => Some("http_headers_helper"),
            _ => None,
        }
    }

    /// The variables that an entry can ask the client to pass on: those that finmcp needs to reach the keychain and a
    /// screen.
    pub fn passed_by_name(self) -> &'static [&'static str] {
        match self {
            Self::Codex => &["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"],
            _ => &[],
        }
    }
}
