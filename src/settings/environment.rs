//! The environment. Nothing else reads it.
#![expect(clippy::disallowed_methods, reason = "the one room where the environment is read")]

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

/// Where finmcp keeps its files.
///
/// # Errors
/// A folder that depends on where this was started, or none.
pub(super) fn folder() -> Result<PathBuf, SettingsError> {
    match text_variable("FINMCP_CONFIG_DIR")? {
        // Relative to whatever folder an AI client starts us in, it would be another one each time.
        Some(folder) if Path::new(&folder).is_relative() => {
            let problem = format!("{folder:?}, and must be a whole path, from the root on");
            Err(SettingsError::Variable { name: "FINMCP_CONFIG_DIR", problem })
        }
        Some(folder) => Ok(PathBuf::from(folder)),
        None => default_folder(),
    }
}

/// AI clients start `serve` with `HOME` but without `XDG_*`, so those have no say: what is written at sign-in must be
/// found then.
fn default_folder() -> Result<PathBuf, SettingsError> {
    let folders = directories::BaseDirs::new().ok_or(SettingsError::Homeless)?;
    Ok(if cfg!(any(windows, target_os = "macos")) {
        folders.config_dir().join("finmcp")
    } else {
        folders.home_dir().join(".config").join("finmcp")
    })
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
            problem: format!("{other:?}, and must be keychain, file or memory"),
        }),
    }
}

pub(super) fn request_timeout() -> Result<Option<Duration>, SettingsError> {
    let Some(text) = text_variable("FINMCP_REQUEST_TIMEOUT")? else { return Ok(None) };
    let seconds = span::seconds(&text).map_err(|rule| SettingsError::Variable {
        name: "FINMCP_REQUEST_TIMEOUT",
        problem: format!("{text:?}, and {rule}"),
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// `FINMCP_CLIENT_SECRET`.
///
/// # Errors
/// It is no text.
pub(super) fn client_secret() -> Result<Option<Secret>, SettingsError> {
    Ok(text_variable("FINMCP_CLIENT_SECRET")?.map(Secret::new))
}

/// The server that Claude Code asks headers for: `CLAUDE_CODE_MCP_SERVER_URL`.
///
/// # Errors
/// It is no text.
pub(super) fn server_of_client() -> Result<Option<String>, SettingsError> {
    text_variable("CLAUDE_CODE_MCP_SERVER_URL")
}

/// `FINMCP_LOG`.
///
/// # Errors
/// It is no text.
pub(super) fn log() -> Result<Option<String>, SettingsError> {
    text_variable("FINMCP_LOG")
}

/// What tells whether somebody is there to see a page.
///
/// # Errors
/// A variable that is no text.
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
        // SSH hands the person's own display on in these.
        has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || (!is_remote && has_desktop),
        has_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
        is_remote,
    })
}

/// The person's home folder.
pub fn home() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|folders| folders.home_dir().to_owned())
}

/// Where mcp-remote keeps its files.
///
/// # Errors
/// [`SettingsError::Homeless`], or its own variable.
pub fn mcp_remote_folder() -> Result<PathBuf, SettingsError> {
    match text_variable("MCP_REMOTE_CONFIG_DIR")? {
        Some(folder) => Ok(folder.into()),
        None => directories::BaseDirs::new()
            .map(|folders| folders.home_dir().join(".mcp-auth"))
            .ok_or(SettingsError::Homeless),
    }
}

/// This machine, as the AI clients on it see it; the folder that this runs in is the project at hand.
///
/// # Errors
/// [`SettingsError::Homeless`], or the folder that cannot be told.
pub fn machine() -> Result<Machine, SettingsError> {
    let folders = directories::BaseDirs::new().ok_or(SettingsError::Homeless)?;
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
/// What cannot be told.
pub fn start() -> Result<Start, SettingsError> {
    let failed = |source| SettingsError::File { path: "finmcp".into(), source };
    Ok(Start {
        called: std::env::args_os().next().map(PathBuf::from),
        file: std::env::current_exe().map_err(failed)?,
        folder: std::env::current_dir().map_err(failed)?,
    })
}

/// The variables of this process that `is_passed` lets through, by name.
pub fn variables(is_passed: impl Fn(&str) -> bool) -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(&is_passed)).collect()
}

/// Whether words may have colours. Asked before anything else, since settings can be wrong, too.
pub fn is_colored() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The variable's value; none where it is unset or empty.
fn text_variable(name: &'static str) -> Result<Option<String>, SettingsError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(SettingsError::Variable { name, problem: "not valid text".to_owned() })
        }
    }
}
