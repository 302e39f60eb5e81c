//! Everything that is set from outside: the environment and `config.toml`.

mod config;
mod environment;
pub mod error;
pub mod machine;
pub mod screen;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

pub use crate::settings::environment::{home, is_colored, machine, mcp_remote_folder, start, variables};
use crate::{
    credential::{choice::StoreChoice, file::KeySource},
    oauth::client_metadata::{self, ClientMetadataUrl, ClientMetadataUrlError},
    profile::{Profile, profiles::Profiles, provider::Provider},
    secret::Secret,
    settings::{error::SettingsError, screen::Surroundings},
};

/// What holds for this run.
#[derive(Debug)]
pub struct Settings {
    /// Where finmcp keeps its files.
    pub folder: PathBuf,
    /// The servers that have a name.
    pub profiles: Profiles,
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
    /// The server that an AI client asks headers for, where it says which.
    pub server_of_client: Option<String>,
    /// `FINMCP_LOG`.
    log: Option<String>,
}

impl Settings {
    /// Reads the environment and `config.toml`.
    ///
    /// # Errors
    /// [`SettingsError`] that names the variable, or the file and the line.
    pub fn load() -> Result<Self, SettingsError> {
        let folder = environment::folder()?;
        let in_config = |problem: String| SettingsError::Config { path: folder.join("config.toml"), problem };
        let config = config::read(&folder)?;
        let mut providers = Provider::built_in()?;
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
            log: environment::log()?,
            folder,
        })
    }

    /// Settings of their own, in `folder`, with an encrypted store there: nothing of the person's is read or written.
    pub fn isolated(&self, folder: PathBuf, key: PathBuf) -> Self {
        Self {
            store: StoreChoice::File { folder: folder.join("credentials"), key: KeySource::KeyFile(key) },
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

    /// What was kept of how the server of the profile `name` describes itself.
    pub fn description(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.description_path(name)).ok()
    }

    /// Keeps how the server of the profile `name` describes itself.
    ///
    /// # Errors
    /// What the file system says; then what was kept before stays.
    pub fn keep_description(&self, name: &str, text: &str) -> io::Result<()> {
        config::keep(&self.description_path(name), text.as_bytes())
    }

    fn description_path(&self, name: &str) -> PathBuf {
        self.folder.join("servers").join(format!("{name}.json"))
    }

    /// What to log at the most; warnings, unless `FINMCP_LOG` says otherwise.
    ///
    /// # Errors
    /// A level that does not exist.
    pub fn log_level(&self) -> Result<tracing::Level, SettingsError> {
        // Without a filter, problems in the background are still logged.
        self.log.as_deref().unwrap_or("warn").parse().map_err(|_| {
            let problem =
                format!("{:?}, and must be error, warn, info, debug or trace", self.log.as_deref().unwrap_or_default());
            SettingsError::Variable { name: "FINMCP_LOG", problem }
        })
    }

    /// Saves `profile`, so that later commands find it by name, and what it is signed in as.
    ///
    /// # Errors
    /// [`SettingsError`]; then `config.toml` is as it was.
    pub async fn save_profile(&self, profile: &Profile) -> Result<(), SettingsError> {
        config::save_profile(&self.folder, &self.locks(), profile).await
    }

    /// Notes that nobody is signed in to the profile `name` any more. Its server and options stay.
    ///
    /// # Errors
    /// [`SettingsError`]; then `config.toml` is as it was.
    pub async fn sign_out(&self, name: &str) -> Result<(), SettingsError> {
        config::sign_out(&self.folder, &self.locks(), name).await
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
