//! Everything that is set from outside: the environment and `config.toml`. The only reader of the environment.
#![expect(clippy::disallowed_methods, reason = "the one room where the environment is read")]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    config::{self, ProfileDocument},
    console::Color,
    credential::{choice::StoreChoice, file::KeySource, record::Identity},
    disk::lock,
    login::{browser::SystemBrowser, portal::Desktop},
    oauth::client_metadata::{self, ClientMetadataUrl, ClientMetadataUrlError},
    profile::Profile,
    provider::{Provider, ProviderError},
    secret::Secret,
    setup::{
        client::{Machine, System},
        program::Start,
    },
};

/// How long anybody or anything can be waited for at the most, in seconds: a day.
pub const LONGEST_WAIT: u64 = 24 * 3600;

/// What holds for this run.
#[derive(Debug)]
pub struct Settings {
    /// Where finmcp keeps its files.
    pub folder: PathBuf,
    /// The presets: built in, and from `config.toml`.
    pub providers: BTreeMap<String, Provider>,
    /// The server that is meant when none is named.
    pub default_server: Option<String>,
    profiles: BTreeMap<String, ProfileDocument>,
    /// Certificate authorities that are trusted besides those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Where secrets are kept.
    pub store: StoreChoice,
    /// What tells whom a page can be shown to, and how.
    pub surroundings: Surroundings,
    /// `FINMCP_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// The document about finmcp, for authorization servers that read such: `config.toml`'s, else this build's own.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// How long a request may take, unless the command line says otherwise.
    pub request_timeout: Option<Duration>,
    /// What to log, as a filter; nothing by default.
    pub log: Option<String>,
}

/// Whom a page can be shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// Somebody before a browser that can be started.
    Browser(SystemBrowser),
    /// Somebody at a terminal, as on a machine far away or in a container: they open pages elsewhere.
    Terminal,
    /// Nobody, for this reason.
    Nobody(&'static str),
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable with a value that means nothing.
    #[error("{name} is {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// No home folder, so nowhere to keep anything.
    #[error("this user has no home folder")]
    Homeless,
    /// `config.toml` cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// `config.toml` says something that makes no sense.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A folder or file that another user could have changed.
    #[error("{} can be changed by other users", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
    },
    /// `config.toml` is not to be changed without its lock.
    #[error("config.toml was not changed")]
    Unchanged(#[source] lock::LockError),
}

impl From<ProviderError> for SettingsError {
    fn from(error: ProviderError) -> Self {
        Self::Config { path: "config.toml".into(), problem: error.to_string() }
    }
}

impl Settings {
    /// Reads the environment and `config.toml`.
    ///
    /// # Errors
    /// [`SettingsError`] that names the variable, or the file and the line.
    pub fn load() -> Result<Self, SettingsError> {
        let folder = match text_variable("FINMCP_CONFIG_DIR")? {
            // Relative to whatever folder an AI client starts us in, it would be another one each time.
            Some(folder) if Path::new(&folder).is_relative() => {
                let problem = format!("{folder:?}, and must be a whole path, from the root on");
                return Err(SettingsError::Variable { name: "FINMCP_CONFIG_DIR", problem });
            }
            Some(folder) => PathBuf::from(folder),
            None => default_folder()?,
        };
        let in_config = |problem: String| SettingsError::Config { path: folder.join("config.toml"), problem };
        let config = config::read(&folder)?;
        let mut providers = Provider::built_in()?;
        for (id, document) in config.providers {
            let provider = document.validate(id.clone()).map_err(|error| in_config(error.to_string()))?;
            providers.insert(id, provider);
        }
        Ok(Self {
            store: store_choice(&folder)?,
            client_metadata_url: config
                .client_metadata_url
                .as_deref()
                .or(client_metadata::PUBLISHED)
                .map(str::parse)
                .transpose()
                .map_err(|error: ClientMetadataUrlError| in_config(format!("client_metadata_url {error}")))?,
            providers,
            default_server: config.default,
            profiles: config.profiles,
            authorities: config.ca_file.map_or(Ok(Vec::new()), |file| authorities(&file))?,
            surroundings: Surroundings::read()?,
            client_secret: text_variable("FINMCP_CLIENT_SECRET")?.map(Secret::new),
            request_timeout: request_timeout()?,
            log: text_variable("FINMCP_LOG")?,
            folder,
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

    /// How this process was started.
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

    /// Settings of their own, in `folder`, with an encrypted store there: nothing of the person's is read or written.
    pub fn isolated(&self, folder: PathBuf, key: PathBuf) -> Self {
        Self {
            store: StoreChoice::File { folder: folder.join("credentials"), key: KeySource::KeyFile(key) },
            folder,
            providers: self.providers.clone(),
            default_server: None,
            profiles: BTreeMap::new(),
            authorities: self.authorities.clone(),
            surroundings: self.surroundings.clone(),
            client_secret: None,
            client_metadata_url: None,
            request_timeout: self.request_timeout,
            log: self.log.clone(),
        }
    }

    /// What `config` says, with nothing set in the environment.
    #[cfg(test)]
    pub(crate) fn for_tests(config: &str) -> Self {
        let config: config::ConfigDocument = toml_edit::de::from_str(config).unwrap_or_default();
        Self {
            folder: PathBuf::new(),
            providers: Provider::built_in().unwrap_or_default(),
            default_server: config.default,
            profiles: config.profiles,
            authorities: Vec::new(),
            store: StoreChoice::Memory,
            surroundings: Surroundings { is_ci: true, ..Surroundings::default() },
            client_secret: None,
            client_metadata_url: None,
            request_timeout: None,
            log: None,
        }
    }

    /// Whether words may have colours. Asked before anything else, since settings can be wrong, too.
    pub fn color() -> Color {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if refused { Color::Never } else { Color::Terminal }
    }

    /// Whether `name` is the preset of the stand-ins inside this binary.
    pub fn is_embedded(&self, name: Option<&str>) -> bool {
        name.and_then(|name| self.providers.get(name)).is_some_and(|provider| provider.embedded)
    }

    /// The file `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The folder of the cross-process locks.
    pub fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// What was kept of how the server of the profile `name` describes itself.
    pub fn description(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.description_path(name)).ok()
    }

    /// Keeps how the server of the profile `name` describes itself.
    ///
    /// # Errors
    /// What the file system says; then what was kept before stays.
    pub fn keep_description(&self, name: &str, text: &str) -> std::io::Result<()> {
        config::keep(&self.description_path(name), text.as_bytes())
    }

    fn description_path(&self, name: &str) -> PathBuf {
        self.folder.join("servers").join(format!("{name}.json"))
    }

    /// The profile saved as `name`. One whose entry makes no sense is as good as none, and `finmcp status` says so.
    pub fn profile(&self, name: &str) -> Option<Profile> {
        self.profiles.get(name).and_then(|document| document.profile(name, self).ok())
    }

    /// Whom the saved profile `name` was last signed in as, be it to a server that it no longer names: that credential may
    /// still be in the store.
    pub fn last_sign_in(&self, name: &str) -> Option<Identity> {
        self.profiles.get(name)?.last_sign_in()
    }

    /// The saved profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = Profile> {
        self.profiles.iter().filter_map(|(name, document)| document.profile(name, self).ok())
    }

    /// The profiles that are saved but cannot be used, with the reason.
    pub fn broken_profiles(&self) -> impl Iterator<Item = (&str, String)> {
        self.profiles.iter().filter_map(|(name, document)| Some((name.as_str(), document.profile(name, self).err()?)))
    }

    /// What SERVER can be: presets with their environments, and profiles.
    pub fn candidates(&self) -> Vec<String> {
        let presets = self.providers.values().flat_map(|provider| {
            let others = provider.environment_names().into_iter().filter(|name| !provider.is_default_environment(name));
            let with_environment = others.map(|name| format!("{} --env {name}", provider.id)).collect::<Vec<_>>();
            std::iter::once(provider.id.clone()).chain(with_environment)
        });
        let mut candidates: Vec<String> = presets.chain(self.profiles().map(|profile| profile.spoken())).collect();
        candidates.sort();
        candidates.dedup();
        candidates
    }

    /// Saves `profile`, so that later commands find it by name, and what it is signed in as.
    ///
    /// # Errors
    /// [`SettingsError`]; then `config.toml` is as it was.
    pub async fn save_profile(&self, profile: &Profile) -> Result<(), SettingsError> {
        let document = ProfileDocument::from(profile);
        config::edit(&self.folder, &self.locks(), |profiles| {
            let table = toml_edit::ser::to_document(&document).map_err(|error| error.to_string())?;
            let mut table = table.as_table().clone();
            for name in ["overrides", "signed_in"] {
                if let Some(member) = table.get_mut(name) {
                    member.make_value();
                }
            }
            if let Some(before) = profiles.get(&profile.name).and_then(toml_edit::Item::as_table) {
                table.decor_mut().clone_from(before.decor());
                table.set_position(before.position());
            }
            profiles.insert(&profile.name, toml_edit::Item::Table(table));
            Ok(())
        })
        .await
    }

    /// Notes that nobody is signed in to the profile `name` any more. Its server and options stay.
    ///
    /// # Errors
    /// [`SettingsError`]; then `config.toml` is as it was.
    pub async fn sign_out(&self, name: &str) -> Result<(), SettingsError> {
        config::edit(&self.folder, &self.locks(), |profiles| {
            if let Some(profile) = profiles.get_mut(name).and_then(toml_edit::Item::as_table_like_mut) {
                profile.remove("signed_in");
            }
            Ok(())
        })
        .await
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

fn store_choice(folder: &Path) -> Result<StoreChoice, SettingsError> {
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

fn request_timeout() -> Result<Option<Duration>, SettingsError> {
    let Some(text) = text_variable("FINMCP_REQUEST_TIMEOUT")? else { return Ok(None) };
    let seconds = seconds(&text).map_err(|rule| SettingsError::Variable {
        name: "FINMCP_REQUEST_TIMEOUT",
        problem: format!("{text:?}, and {rule}"),
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// How long somebody wants to wait, in seconds.
///
/// # Errors
/// What it must be, where it is something else.
pub fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds @ 1..=LONGEST_WAIT) => Ok(seconds),
        _ => Err(format!("must be a number of seconds from 1 to {LONGEST_WAIT}")),
    }
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

/// What tells whether somebody is there to see a page.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `CI`, which build machines set.
    is_ci: bool,
    /// `FINMCP_BROWSER`, else `BROWSER`.
    browser: Option<SystemBrowser>,
    has_display: bool,
    has_terminal: bool,
    /// Whoever comes by SSH sits before another screen than this machine's.
    is_remote: bool,
}

impl Surroundings {
    fn read() -> Result<Self, SettingsError> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let browser = match text_variable("FINMCP_BROWSER")? {
            Some(program) => Some(SystemBrowser::Program(program.into())),
            None => text_variable("BROWSER")?.map(|commands| SystemBrowser::from_variable(&commands)),
        };
        let is_remote = is_set("SSH_CONNECTION");
        let has_desktop = cfg!(any(windows, target_os = "macos")) || is_set("WSL_DISTRO_NAME");
        Ok(Self {
            is_ci: text_variable("CI")?.is_some_and(|value| !value.eq_ignore_ascii_case("false")),
            browser,
            // SSH hands the person's own display on in these.
            has_display: is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || (!is_remote && has_desktop),
            has_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
            is_remote,
        })
    }

    /// Whom a page can be shown to. Where no variable tells, the desktop is looked for: that takes seconds where it does
    /// not answer, so it is asked for only when there is a page to show.
    pub async fn screen(&self) -> Screen {
        match self.named() {
            screen @ Screen::Browser(_) => screen,
            screen if self.is_ci || self.is_remote => screen,
            screen => Desktop::find().await.map_or(screen, |desktop| Screen::Browser(SystemBrowser::Desktop(desktop))),
        }
    }

    /// As the variables say.
    fn named(&self) -> Screen {
        match self {
            Self { is_ci: true, .. } => Screen::Nobody("CI is set"),
            Self { browser: Some(browser), .. } => Screen::Browser(browser.clone()),
            Self { has_display: true, .. } => Screen::Browser(SystemBrowser::Default),
            Self { has_terminal: true, .. } => Screen::Terminal,
            _ => Screen::Nobody("there is no terminal, no display, and no FINMCP_BROWSER"),
        }
    }
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let bytes = fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SettingsError::Config {
            path: path.to_owned(),
            problem: "there is no PEM certificate in it".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a browser is opened, where somebody is asked to open the page elsewhere, and where nobody is asked at all.
    #[test]
    fn whom_a_page_is_shown_to() {
        let program = || SystemBrowser::Program("b".into());
        let screen = |is_ci, browser: Option<SystemBrowser>, has_display, has_terminal| {
            Surroundings { is_ci, browser, has_display, has_terminal, is_remote: false }.named()
        };
        for has_terminal in [true, false] {
            assert_eq!(screen(false, Some(program()), false, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, Some(program()), true, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, None, true, has_terminal), Screen::Browser(SystemBrowser::Default));
            for browser in [Some(program()), None] {
                assert_eq!(screen(true, browser, has_terminal, has_terminal), Screen::Nobody("CI is set"));
            }
        }
        assert_eq!(screen(false, None, false, true), Screen::Terminal);
        assert!(matches!(screen(false, None, false, false), Screen::Nobody(_)));
    }
}
