//! What is known of this machine, of its person, and of how this process was started.

use std::{collections::BTreeMap, path::PathBuf};

/// How this process was started.
#[derive(Debug, Clone)]
pub struct Start {
    /// What the process was called with: a name, or a path.
    pub called: Option<PathBuf>,
    /// The file that runs, as the system says; links are often resolved in it.
    pub file: PathBuf,
    /// The folder that it was started in.
    pub folder: PathBuf,
}

/// The kinds of system: paths differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// macOS.
    Macos,
    /// Windows.
    Windows,
    /// Linux, and whatever is like it.
    Linux,
}

impl System {
    /// The one that this binary is for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::Macos
    } else {
        Self::Linux
    };

    /// `folder` and what is in it, as this system writes it, wherever this runs.
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

/// What is known of a machine and its person.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its system.
    pub system: System,
    /// The home folder.
    pub home: String,
    /// The folder of the project at hand.
    pub project: String,
    /// What is set of [`Machine::variable_names`].
    pub variables: BTreeMap<String, String>,
    /// The folders of `PATH`.
    pub path: Vec<PathBuf>,
}

impl Machine {
    /// The variables that have a say in where clients keep their files.
    const FOLDERS: [&str; 5] = ["APPDATA", "XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME"];

    /// The variables that `serve` needs as they are here, where they are set: each is the name of a place, never a secret
    /// (a proxy's URL can hold a password, and is looked at).
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

    /// Those of them that are paths.
    pub const PLACES: [&str; 4] = ["FINMCP_CONFIG_DIR", "FINMCP_STORE_KEY_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

    /// What is looked at of the environment.
    pub fn variable_names() -> impl Iterator<Item = &'static str> {
        Self::FOLDERS.into_iter().chain(Self::NEEDED)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `path` as it is found from any folder.
    pub fn absolute(&self, path: &str) -> String {
        let rooted = path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':');
        if rooted { path.to_owned() } else { self.in_project(&[path]) }
    }

    /// The file of a program called `name`, as a shell would find it.
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

    /// A folder of the person's application data: the system's own, or `XDG_CONFIG_HOME`.
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
