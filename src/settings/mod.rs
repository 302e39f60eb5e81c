//! The user's settings: the environment and `config.toml`.

mod config;
pub mod copy;
mod environment;
pub mod error;
pub mod faults;
pub mod machine;
pub mod screen;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

pub use crate::settings::environment::{
    completed_word, editor, home, is_colored, is_plain_terminal, machine, mcp_remote_folder, start, variables,
};
use crate::{
    credential::{choice::StoreChoice, file::KeySource},
    oauth::client_metadata::{self, ClientMetadataUrl, ClientMetadataUrlError},
    profile::{Profile, presets, profiles::Profiles},
    secret::Secret,
    serve_log,
    settings::{error::SettingsError, screen::Surroundings},
};

/// The settings of this run.
#[derive(Debug)]
pub struct Settings {
    /// finmcp's folder.
    pub folder: PathBuf,
    pub profiles: Profiles,
    /// Certificate authorities to trust in addition to the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    pub store: StoreChoice,
    /// What determines how to show the user a page.
    pub surroundings: Surroundings,
    /// `FINMCP_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// The URL of a Client ID Metadata Document: the one in `config.toml`, else this build's.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// The default request timeout.
    pub request_timeout: Option<Duration>,
    /// The server that an AI client requests headers for.
    pub server_of_client: Option<String>,
    /// The folder of the logs of `serve`.
    pub logs: PathBuf,
    log: Option<String>,
}

impl Settings {
    /// Reads the environment and `config.toml`.
    ///
    /// # Errors
    /// [`SettingsError`], which names the variable, or the file and the line.
    pub fn load() -> Result<Self, SettingsError> {
        let folder = environment::folder()?;
        let in_config = |problem: String| SettingsError::Config { path: folder.join("config.toml"), problem };
        let config = config::read(&folder)?;
        let mut providers = presets::built_in()?;
        for (id, document) in config.providers {
            let provider = document.validate(id.clone()).map_err(|error| in_config(error.to_string()))?;
            providers.insert(id, provider);
        }
        Ok(Self {
            store: environment::store_choice(&folder)?,
            client_metadata_url: config
                .client_metadata_url
                .as_deref()
                .or(client_metadata::PUBLISHED)
                .map(str::parse)
                .transpose()
                .map_err(|error: ClientMetadataUrlError| in_config(format!("client_metadata_url {error}")))?,
            profiles: Profiles::new(providers, config.default, config.profiles),
            authorities: config.ca_file.map_or(Ok(Vec::new()), |file| authorities(&file))?,
            surroundings: environment::surroundings()?,
            client_secret: environment::client_secret()?,
            server_of_client: environment::server_of_client()?,
            request_timeout: environment::request_timeout()?,
            logs: environment::logs(&folder),
            log: environment::log()?,
            folder,
        })
    }

    /// Separate settings in `folder`, with an encrypted store there, so that the user's profiles and credentials are
    /// not used.
    pub fn isolated(&self, folder: PathBuf, key: PathBuf) -> Self {
        Self {
            store: StoreChoice::File { folder: folder.join("credentials"), key: KeySource::KeyFile(key) },
            logs: folder.join("logs"),
            folder,
            profiles: self.profiles.presets(),
            authorities: self.authorities.clone(),
            surroundings: self.surroundings.clone(),
            client_secret: None,
            server_of_client: None,
            client_metadata_url: None,
            request_timeout: self.request_timeout,
            log: self.log.clone(),
        }
    }

    /// The file `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The folder of the cross-process locks.
    pub fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// The stored server description of the profile `name`.
    pub fn description(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.description_path(name)).ok()
    }

    /// Stores the server description of the profile `name`.
    ///
    /// # Errors
    /// The I/O error. The stored description is then unchanged.
    pub fn keep_description(&self, name: &str, text: &str) -> io::Result<()> {
        config::store(&self.description_path(name), text.as_bytes())
    }

    fn description_path(&self, name: &str) -> PathBuf {
        self.folder.join("servers").join(format!("{name}.json"))
    }

    /// The log level in `FINMCP_LOG`; by default, warnings.
    ///
    /// # Errors
    /// An unknown level.
    pub fn log_level(&self) -> Result<tracing::Level, SettingsError> {
        // By default, background problems are still logged.
        self.log.as_deref().unwrap_or("warn").parse().map_err(|_| {
            let problem =
                format!("{:?}: expected error, warn, info, debug or trace", self.log.as_deref().unwrap_or_default());
            SettingsError::Variable { name: "FINMCP_LOG", problem }
        })
    }

    /// Saves `profile` and its sign-in.
    ///
    /// # Errors
    /// [`SettingsError`]. `config.toml` is then unchanged.
    pub async fn save_profile(&self, profile: &Profile) -> Result<(), SettingsError> {
        config::save_profile(&self.folder, &self.locks(), profile).await
    }

    /// Removes the profile `name` and what finmcp remembers of its server.
    ///
    /// # Errors
    /// [`SettingsError`]. `config.toml` is then unchanged.
    pub async fn remove_profile(&self, name: &str) -> Result<(), SettingsError> {
        config::remove_profile(&self.folder, &self.locks(), name).await?;
        // Only a cache.
        let _ = fs::remove_file(self.description_path(name));
        serve_log::remove(&self.logs, name);
        Ok(())
    }

    /// Renames the profile `old` with what finmcp remembers of its server. `account` is that of its sign-in.
    ///
    /// # Errors
    /// [`SettingsError`]. `config.toml` is then unchanged.
    pub async fn rename_profile(&self, old: &str, new: &str, account: Option<&str>) -> Result<(), SettingsError> {
        config::rename_profile(&self.folder, &self.locks(), old, new, account).await?;
        // Only a cache.
        let _ = fs::rename(self.description_path(old), self.description_path(new));
        serve_log::rename(&self.logs, old, new);
        Ok(())
    }

    /// Sets the default server, or removes it.
    ///
    /// # Errors
    /// [`SettingsError`]. `config.toml` is then unchanged.
    pub async fn save_default(&self, server: Option<&str>) -> Result<(), SettingsError> {
        config::save_default(&self.folder, &self.locks(), server).await
    }

    /// Removes the sign-in of the profile `name`. Keeps its server and options.
    ///
    /// # Errors
    /// [`SettingsError`]. `config.toml` is then unchanged.
    pub async fn sign_out(&self, name: &str) -> Result<(), SettingsError> {
        config::sign_out(&self.folder, &self.locks(), name).await
    }
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let bytes = fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SettingsError::Config { path: path.to_owned(), problem: "it contains no PEM certificate".to_owned() }),
    }
}
