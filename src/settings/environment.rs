//! The only module that reads the environment.
#![expect(clippy::disallowed_methods, reason = "the only module that reads the environment")]

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    credential::{choice::StoreChoice, file::KeySource},
    login::browser::SystemBrowser,
    secret::Secret,
    settings::{
        error::SettingsError,
        machine::{Machine, Start, System},
        screen::Surroundings,
    },
    span,
};

/// finmcp's folder.
///
/// # Errors
/// [`SettingsError`] for a relative path, or if there is no home folder.
pub(super) fn folder() -> Result<PathBuf, SettingsError> {
    match text_variable("FINMCP_CONFIG_DIR")? {
        // AI clients start finmcp in various folders, so a relative path would change.
        Some(folder) if Path::new(&folder).is_relative() => {
            let problem = format!("{folder:?}: expected an absolute path");
            Err(SettingsError::Variable { name: "FINMCP_CONFIG_DIR", problem })
        }
        Some(folder) => Ok(PathBuf::from(folder)),
        None => default_folder(),
    }
}

/// Ignores `XDG_*`: AI clients start `serve` with `HOME` but without those variables, and it must find what `login`
/// wrote.
fn default_folder() -> Result<PathBuf, SettingsError> {
    let folders = directories::BaseDirs::new().ok_or(SettingsError::NoHomeFolder)?;
    Ok(if cfg!(any(windows, target_os = "macos")) {
        folders.config_dir().join("finmcp")
    } else {
        folders.home_dir().join(".config").join("finmcp")
    })
}

/// The folder of the logs of `serve`: in finmcp's folder where `FINMCP_CONFIG_DIR` chooses that, else the system's place.
/// Ignores `XDG_STATE_HOME`, as [`default_folder`] does and for the same reason.
pub(super) fn logs(folder: &Path) -> PathBuf {
    let is_chosen = std::env::var_os("FINMCP_CONFIG_DIR").is_some_and(|value| !value.is_empty());
    match directories::BaseDirs::new() {
        Some(folders) if !is_chosen => {
            if cfg!(windows) {
                folders.data_local_dir().join("finmcp").join("logs")
            } else if cfg!(target_os = "macos") {
                folders.home_dir().join("Library").join("Logs").join("finmcp")
            } else {
                folders.home_dir().join(".local").join("state").join("finmcp").join("logs")
            }
        }
        _ => folder.join("logs"),
    }
}

pub(super) fn store_choice(folder: &Path) -> Result<StoreChoice, SettingsError> {
    let Some(name) = text_variable("FINMCP_STORE")? else { return Ok(StoreChoice::Keychain) };
    match name.as_str() {
        "keychain" => Ok(StoreChoice::Keychain),
        "memory" => Ok(StoreChoice::Memory),
        "file" => {
            let key_file = text_variable("FINMCP_STORE_KEY_FILE")?.map(|path| KeySource::KeyFile(path.into()));
            let passphrase =
                text_variable("FINMCP_STORE_PASSPHRASE")?.map(|text| KeySource::Passphrase(Secret::new(text)));
            let key = key_file.or(passphrase).unwrap_or(KeySource::Unknown);
            Ok(StoreChoice::File { folder: folder.join("credentials"), key })
        }
        other => Err(SettingsError::Variable {
            name: "FINMCP_STORE",
            problem: format!("{other:?}: expected keychain, file or memory"),
        }),
    }
}

pub(super) fn request_timeout() -> Result<Option<Duration>, SettingsError> {
    let Some(text) = text_variable("FINMCP_REQUEST_TIMEOUT")? else { return Ok(None) };
    let seconds = span::seconds(&text).map_err(|rule| SettingsError::Variable {
        name: "FINMCP_REQUEST_TIMEOUT",
        problem: format!("{text:?}: {rule}"),
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// `FINMCP_CLIENT_SECRET`.
///
/// # Errors
/// The value is not valid UTF-8.
pub(super) fn client_secret() -> Result<Option<Secret>, SettingsError> {
    Ok(text_variable("FINMCP_CLIENT_SECRET")?.map(Secret::new))
}

/// The server that Claude Code asks headers for: `CLAUDE_CODE_MCP_SERVER_URL`.
///
/// # Errors
/// The value is not valid Unicode.
pub(super) fn server_of_client() -> Result<Option<String>, SettingsError> {
    text_variable("CLAUDE_CODE_MCP_SERVER_URL")
}

/// `FINMCP_LOG`.
///
/// # Errors
/// The value is not valid UTF-8.
pub(super) fn log() -> Result<Option<String>, SettingsError> {
    text_variable("FINMCP_LOG")
}

/// The variables that determine how to show the user a page.
///
/// # Errors
/// A value is not valid UTF-8.
pub(super) fn surroundings() -> Result<Surroundings, SettingsError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let browser = match text_variable("FINMCP_BROWSER")? {
        Some(program) => Some(SystemBrowser::Program(program.into())),
        None => text_variable("BROWSER")?.map(|commands| SystemBrowser::from_variable(&commands)),
    };
    let is_remote = is_set("SSH_CONNECTION");
    let has_desktop = cfg!(any(windows, target_os = "macos")) || is_set("WSL_DISTRO_NAME");
    Ok(Surroundings {
        is_ci: text_variable("CI")?.is_some_and(|value| !value.eq_ignore_ascii_case("false")),
        browser,
        // SSH forwards the user's display in these variables.
        has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || (!is_remote && has_desktop),
        has_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
        is_remote,
    })
}

/// The command that opens the user's editor: `VISUAL`, else `EDITOR`.
///
/// # Errors
/// The value is not valid UTF-8.
pub fn editor() -> Result<Option<String>, SettingsError> {
    Ok(text_variable("VISUAL")?.or(text_variable("EDITOR")?))
}

/// The number of the word that a completion script asks about, if it says.
pub fn completed_word() -> Option<usize> {
    std::env::var("_CLAP_COMPLETE_INDEX").ok()?.parse().ok()
}

/// The user's home folder.
pub fn home() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|folders| folders.home_dir().to_owned())
}

/// mcp-remote's folder.
///
/// # Errors
/// [`SettingsError::NoHomeFolder`], or an invalid variable.
pub fn mcp_remote_folder() -> Result<PathBuf, SettingsError> {
    match text_variable("MCP_REMOTE_CONFIG_DIR")? {
        Some(folder) => Ok(folder.into()),
        None => directories::BaseDirs::new()
            .map(|folders| folders.home_dir().join(".mcp-auth"))
            .ok_or(SettingsError::NoHomeFolder),
    }
}

/// This machine, with the current folder as the project.
///
/// # Errors
/// [`SettingsError::NoHomeFolder`], or an unknown current folder.
pub fn machine() -> Result<Machine, SettingsError> {
    let folders = directories::BaseDirs::new().ok_or(SettingsError::NoHomeFolder)?;
    let here = std::env::current_dir();
    let project = here.map_err(|source| SettingsError::File { path: ".".into(), source })?;
    let set = |name| Some((String::from(name), std::env::var(name).ok().filter(|value| !value.is_empty())?));
    Ok(Machine {
        system: System::HERE,
        home: folders.home_dir().to_string_lossy().into_owned(),
        project: project.to_string_lossy().into_owned(),
        variables: Machine::variable_names().filter_map(set).collect(),
        path: std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect(),
    })
}

/// How the system started this process.
///
/// # Errors
/// An unknown executable or current folder.
pub fn start() -> Result<Start, SettingsError> {
    let failed = |source| SettingsError::File { path: "finmcp".into(), source };
    Ok(Start {
        called: std::env::args_os().next().map(PathBuf::from),
        file: std::env::current_exe().map_err(failed)?,
        folder: std::env::current_dir().map_err(failed)?,
    })
}

/// The variables of this process whose names `is_passed` accepts.
pub fn variables(is_passed: impl Fn(&str) -> bool) -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(&is_passed)).collect()
}

/// Whether output may be coloured. Separate from the settings, because those can be invalid.
pub fn is_colored() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the terminal only prints lines and cannot move its cursor. A Windows console needs no `TERM`.
pub fn is_plain_terminal() -> bool {
    cfg!(not(windows)) && std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// The variable's value; `None` if it is unset or empty.
fn text_variable(name: &'static str) -> Result<Option<String>, SettingsError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(SettingsError::Variable { name, problem: "(not valid UTF-8)".to_owned() })
        }
    }
}
