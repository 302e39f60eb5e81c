//! Runs the demo's vendors in this process, with temporary sign-ins to them.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;

use crate::{
    app::{
        credentials::Credentials,
        person::Person,
        registration::Secrets,
        sign_in::{Wanted, keep, sign_in},
    },
    credential::record::Credential,
    demo::{self, Vendors, asset::Asset, masset, person},
    disk::replace,
    error::Error,
    http::Http,
    login::{
        browser::{Browser, BrowserError},
        context::{Progress, Redirection},
        options::{GrantKind, Options},
    },
    profile::{
        Profile,
        selector::{Selector, SelectorError},
    },
    secret::Secret,
    server_url::ServerUrl,
    settings::Settings,
};

/// How long to wait for the user to sign in.
const REDIRECTION: Redirection = Redirection { port: None, paste: None, timeout: Duration::from_secs(300) };

/// A simulated server in this process, with a sign-in; dropping it stops the server.
pub struct Embedded {
    /// Temporary settings.
    pub settings: Arc<Settings>,
    /// The credentials of those settings.
    pub credentials: Credentials,
    /// The simulated server's profile.
    pub profile: Profile,
    _vendors: Vendors,
    _folder: Folder,
}

/// Starts the simulated server that `selector` selects, and signs in to it.
///
/// # Errors
/// Unknown name, or the server cannot start.
pub async fn start(settings: &Settings, credentials: &Credentials, selector: &Selector) -> Result<Embedded, Error> {
    let stand_in = StandIn::named(selector.environment.as_deref())?;
    let folder = Folder::create()?;
    let settings = folder.settings(settings);
    let credentials = credentials.of(&settings);
    let vendors = Vendors::start(demo::Settings::default()).await?;
    let browser = Arc::new(Consent::new(&credentials.http));
    let credential = stand_in.sign_in(&credentials, &vendors, browser, &mut |_| {}).await?;
    let profile = stand_in.profile(&vendors);
    let profile = keep(&settings, &credentials, profile, credential, None, &mut |_| {}).await?;
    let profile = stand_in.labelled(profile);
    Ok(Embedded { settings: Arc::new(settings), credentials, profile, _vendors: vendors, _folder: folder })
}

/// One of the servers that the demo runs: an environment of the preset `demo`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StandIn {
    /// Asset, for a program.
    Asset,
    /// Asset's sandbox.
    AssetSandbox,
    /// Tesorio, for a person.
    Tesorio,
    /// Masset, for a person.
    Masset,
}

impl StandIn {
    /// In the order that the demo shows.
    pub const ALL: [Self; 4] = [Self::Asset, Self::AssetSandbox, Self::Tesorio, Self::Masset];

    fn named(environment: Option<&str>) -> Result<Self, SelectorError> {
        let Some(environment) = environment else { return Ok(Self::Asset) };
        Self::ALL.into_iter().find(|stand_in| stand_in.name() == environment).ok_or_else(|| {
            SelectorError::Environment {
                title: "the demo".to_owned(),
                environment: environment.to_owned(),
                candidates: Self::ALL.iter().map(|stand_in| stand_in.name().to_owned()).collect(),
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::AssetSandbox => "asset-sandbox",
            Self::Tesorio => "tesorio",
            Self::Masset => "masset",
        }
    }

    /// Its display name.
    pub fn title(self) -> &'static str {
        match self {
            Self::Asset => "Asset",
            Self::AssetSandbox => "Asset sandbox",
            Self::Tesorio => "Tesorio",
            Self::Masset => "Masset",
        }
    }

    /// How finmcp signs in to it.
    pub fn way(self) -> &'static str {
        match self {
            Self::Asset | Self::AssetSandbox => "client credentials",
            Self::Tesorio | Self::Masset => "browser sign-in with PKCE, consent given",
        }
    }

    /// Its MCP endpoint.
    pub fn server(self, vendors: &Vendors) -> &ServerUrl {
        match self {
            Self::Asset => vendors.asset.mcp_url(),
            Self::AssetSandbox => vendors.asset_sandbox.mcp_url(),
            Self::Tesorio => vendors.tesorio.mcp_url(),
            Self::Masset => vendors.masset.mcp_url(),
        }
    }

    /// The environment that has a client secret.
    fn asset(self, vendors: &Vendors) -> Option<&Asset> {
        match self {
            Self::Asset => Some(&vendors.asset),
            Self::AssetSandbox => Some(&vendors.asset_sandbox),
            Self::Tesorio | Self::Masset => None,
        }
    }

    /// Its profile.
    pub fn profile(self, vendors: &Vendors) -> Profile {
        let machine = self.asset(vendors);
        let options = Options {
            grant: Some(if machine.is_some() { GrantKind::ClientCredentials } else { GrantKind::AuthorizationCode }),
            client_id: machine.map(|asset| asset.client_id().to_owned()),
            client_authentication: machine.map(|_| crate::oauth::registration::ClientAuthentication::Body),
            token_endpoint: machine.map(|asset| asset.token_endpoint().clone()),
            scope: (self == Self::Masset).then(|| masset::SCOPES.join(" ").parse().ok()).flatten(),
            ..Options::default()
        };
        let (provider, environment) = match self {
            Self::Asset => ("asset", "production"),
            Self::AssetSandbox => ("asset", "sandbox"),
            Self::Tesorio => ("tesorio", ""),
            Self::Masset => ("masset", ""),
        };
        Profile {
            name: self.name().to_owned(),
            provider: Some(provider.to_owned()),
            title: self.title().to_owned(),
            environment: environment.to_owned(),
            server: self.server(vendors).clone(),
            options,
            saved: false,
            moved: false,
            signed_in: None,
        }
    }

    /// `profile`, named so that users cannot take it for the real vendor's.
    fn labelled(self, profile: Profile) -> Profile {
        let name = if self == Self::Asset { "demo".to_owned() } else { format!("demo-{}", self.name()) };
        Profile { name, title: format!("{} (demo)", self.title()), environment: "demo".to_owned(), ..profile }
    }

    /// Signs in to it, with `browser` where a person has to.
    ///
    /// # Errors
    /// Whatever goes wrong: the sign-in is real.
    pub async fn sign_in(
        self,
        credentials: &Credentials,
        vendors: &Vendors,
        browser: Arc<dyn Browser>,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Credential, Error> {
        let secret: Option<Secret> = self.asset(vendors).map(|asset| asset.client_secret().clone());
        let person = Person { browser: Some(browser), redirection: REDIRECTION, progress };
        let secrets = Secrets { client: secret, ..Secrets::default() };
        let outcome = sign_in(credentials, &self.profile(vendors), secrets, Wanted::default(), person).await;
        outcome.map_err(|error| Error::from(error).while_doing(format!("could not sign in to {}", self.title())))
    }
}

/// The temporary folder for the demo's files.
pub struct Folder(TempDir);

impl Folder {
    /// Creates one with a new key.
    ///
    /// # Errors
    /// The folder or the key cannot be made.
    pub fn create() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("finmcp-demo-").tempdir()?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let folder = Self(folder);
        replace::private(&folder.key(), &key)?;
        Ok(folder)
    }

    fn key(&self) -> std::path::PathBuf {
        self.0.path().join("key")
    }

    /// `settings`, with all their files in this folder.
    pub fn settings(&self, settings: &Settings) -> Settings {
        settings.isolated(self.0.path().to_owned(), self.key())
    }

    /// The variables that make another process use this folder.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("FINMCP_CONFIG_DIR", self.0.path().display().to_string()),
            ("FINMCP_STORE", "file".to_owned()),
            ("FINMCP_STORE_KEY_FILE", self.key().display().to_string()),
        ]
    }
}

/// A browser without a user: it opens the sign-in page and allows access.
pub struct Consent {
    http: Arc<Http>,
    runtime: tokio::runtime::Handle,
}

impl Consent {
    /// A browser that loads pages with `http`.
    pub fn new(http: &Arc<Http>) -> Self {
        Self { http: http.clone(), runtime: tokio::runtime::Handle::current() }
    }
}

impl Browser for Consent {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        let (http, url) = (self.http.clone(), url.clone());
        self.runtime.spawn(async move {
            if let Err(error) = person::approve(&http, &url).await {
                tracing::warn!("the demo's automatic sign-in failed: {error}");
            }
        });
        Ok(())
    }
}
