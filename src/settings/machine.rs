//! This machine, its user, and how the system started this process.

use std::{collections::BTreeMap, path::PathBuf};

/// How the system started this process.
#[derive(Debug, Clone)]
pub struct Start {
    /// The name or path that the process was started with.
    pub called: Option<PathBuf>,
    /// The executable file according to the system, usually with symlinks resolved.
    pub file: PathBuf,
    /// The working directory at the start.
    pub folder: PathBuf,
}

/// The operating systems with different paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Macos,
    Windows,
    /// Linux and other Unix systems.
    Linux,
}

impl System {
    /// The system that this binary was built for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::Macos
    } else {
        Self::Linux
    };

    /// Joins `folder` and `names` with this system's separator, even when running on another system.
    pub(crate) fn join(self, folder: &str, names: &[&str]) -> String {
        let separator = if self == Self::Windows { '\\' } else { '/' };
        let mut path = folder.trim_end_matches(separator).to_owned();
        for name in names {
            path.push(separator);
            path.push_str(name);
        }
        path
    }
}

/// Facts about the machine and the user that determine where files are.
#[derive(Debug, Clone)]
pub struct Machine {
    pub system: System,
    pub home: String,
    /// The folder of the current project.
    pub project: String,
    /// The values of [`Machine::variable_names`] that are set.
    pub variables: BTreeMap<String, String>,
    pub path: Vec<PathBuf>,
}

impl Machine {
    /// The variables that determine where AI clients store their files.
    const FOLDERS: [&str; 5] = ["APPDATA", "XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME"];

    /// The variables that `serve` needs with their current values. None is a secret, but a proxy's URL can contain a
    /// password, so finmcp checks it.
    pub const NEEDED: [&str; 13] = [
        "FINMCP_CONFIG_DIR",
        "FINMCP_STORE",
        "FINMCP_STORE_KEY_FILE",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];

    /// The variables in [`Self::NEEDED`] that are paths.
    pub const PLACES: [&str; 4] = ["FINMCP_CONFIG_DIR", "FINMCP_STORE_KEY_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

    /// The variables that lead to the session bus, and so to the keychain on Linux.
    pub const BUS: [&str; 2] = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];

    /// All variables in [`Machine::variables`].
    pub fn variable_names() -> impl Iterator<Item = &'static str> {
        Self::FOLDERS.into_iter().chain(Self::NEEDED).chain(Self::BUS)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `path` made absolute.
    pub fn absolute(&self, path: &str) -> String {
        let rooted = path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':');
        if rooted { path.to_owned() } else { self.in_project(&[path]) }
    }

    /// The program `name` on `PATH`, as a shell would find it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let endings: &[&str] = if self.system == System::Windows { &[".exe", ".cmd", ".bat"] } else { &[""] };
        let folders = self.path.iter().filter(|folder| folder.is_absolute());
        let mut files = folders.flat_map(|folder| endings.iter().map(move |end| folder.join(format!("{name}{end}"))));
        files.find(|file| file.is_file())
    }

    pub(crate) fn in_home(&self, names: &[&str]) -> String {
        self.system.join(&self.home, names)
    }

    pub(crate) fn in_project(&self, names: &[&str]) -> String {
        self.system.join(&self.project, names)
    }

    /// A folder in the user's application data: the system's, or `XDG_CONFIG_HOME`.
    pub(crate) fn in_application_data(&self, names: &[&str]) -> String {
        match self.system {
            System::Macos => self.in_home(&[&["Library", "Application Support"], names].concat()),
            System::Windows => match self.variable("APPDATA") {
                Some(folder) => self.system.join(folder, names),
                None => self.in_home(&[&["AppData", "Roaming"], names].concat()),
            },
            System::Linux => self.in_configuration(names),
        }
    }

    /// A folder beneath `XDG_CONFIG_HOME`, or `~/.config`.
    pub(crate) fn in_configuration(&self, names: &[&str]) -> String {
        match self.variable("XDG_CONFIG_HOME").filter(|_| self.system == System::Linux) {
            Some(folder) => self.system.join(folder, names),
            None => self.in_home(&[&[".config"], names].concat()),
        }
    }
}
