//! A server that someone uses: a vendor's environment or a URL, and the account there.

use crate::{
    credential::record::Identity,
    login::ResourceParameter,
    oauth::{overrides::Overrides, registration::ClientAuthentication, scope::Scope},
    provider::{GrantKind, Provider},
    server_url::ServerUrl,
    settings::Settings,
};

/// A server, the account there, and how to sign in.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What the person calls it; a key of `config.toml`.
    pub name: String,
    /// The vendor's preset, where there is one.
    pub provider: Option<String>,
    /// The server's name for people.
    pub title: String,
    /// The vendor's environment, empty where there is one only.
    pub environment: String,
    /// The MCP endpoint.
    pub server: ServerUrl,
    /// How to sign in.
    pub registration: RegistrationOptions,
    /// Whether `config.toml` has it.
    pub saved: bool,
    /// What the credential in the store belongs to; none when nobody is signed in.
    pub signed_in: Option<Identity>,
}

/// What a person, a preset or an earlier sign-in says about signing in. Everything left open is discovered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationOptions {
    /// How a token is first obtained.
    pub grant: Option<GrantKind>,
    /// A pre-registered client's identifier.
    pub client_id: Option<String>,
    /// How the client authenticates, where it is fixed.
    pub client_authentication: Option<ClientAuthentication>,
    /// The scope to ask for.
    pub scope: Option<Scope>,
    /// A pinned token endpoint: nothing is discovered.
    pub token_endpoint: Option<ServerUrl>,
    /// The issuer to expect.
    pub issuer: Option<String>,
    /// The `resource` parameter.
    pub resource: ResourceParameter,
    /// Further fields of the authorization and token requests, such as `business_id`.
    pub parameters: Vec<(String, String)>,
    /// What is accepted of this server though the rules refuse it.
    pub overrides: Overrides,
}

impl RegistrationOptions {
    /// These, with the gaps filled from `other`.
    pub fn or(self, other: Self) -> Self {
        let parameters = if self.parameters.is_empty() { other.parameters } else { self.parameters };
        let resource = if self.resource == ResourceParameter::Discovered { other.resource } else { self.resource };
        Self {
            grant: self.grant.or(other.grant),
            client_id: self.client_id.or(other.client_id),
            client_authentication: self.client_authentication.or(other.client_authentication),
            scope: self.scope.or(other.scope),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            issuer: self.issuer.or(other.issuer),
            resource,
            parameters,
            overrides: self.overrides.or(other.overrides),
        }
    }
}

/// What a person typed to name a server.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// A preset, a profile's name or a URL.
    pub server: Option<String>,
    /// `--env`.
    pub environment: Option<String>,
    /// `--url`: in place of the preset's or profile's own.
    pub url: Option<ServerUrl>,
    /// `--profile`: the name to keep it under.
    pub profile: Option<String>,
}

/// Why no server is meant.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// Nothing of that name.
    #[error("there is no preset and no profile called {name:?}")]
    Unknown {
        /// What was typed.
        name: String,
        /// What could have been.
        candidates: Vec<String>,
    },
    /// Nothing was named, and more than one, or nothing, could be meant.
    #[error("no server was named, and {} could be meant", if .candidates.is_empty() { "none" } else { "several" })]
    Unclear {
        /// What could have been.
        candidates: Vec<String>,
    },
    /// The vendor has no such environment.
    #[error("{title} has no environment {environment:?}")]
    Environment {
        /// The vendor.
        title: String,
        /// What was asked for.
        environment: String,
        /// What there is.
        candidates: Vec<String>,
    },
    /// A vendor that tells its URL to customers only, and the person has not said it yet.
    #[error("{title} tells each customer a URL of their own, and finmcp does not know yours yet")]
    UrlNeeded {
        /// The vendor.
        title: String,
        /// The preset.
        provider: String,
    },
    /// The demo's vendors run inside `finmcp demo` and `finmcp serve demo` only.
    #[error("the demo's vendors run inside finmcp and sign in by themselves")]
    Embedded,
    /// Not a URL that finmcp calls.
    #[error("the server's URL cannot be used: {0}")]
    Url(#[from] crate::server_url::ServerUrlError),
    /// A name that is no name.
    #[error("{0:?} cannot be a profile's name: letters, digits, '.', '_' and '-' only, 64 at most")]
    Name(String),
}

impl Profile {
    /// The profile that `selector` means (the rules are in `finmcp help`): what was named; else the configured default;
    /// else the only preset that knows the environment; else the only profile that is signed in.
    ///
    /// # Errors
    /// [`SelectorError`], with what could have been meant.
    pub fn select(selector: &Selector, settings: &Settings) -> Result<Self, SelectorError> {
        let mut profile = match selector.server.as_deref() {
            Some(name) => Self::named(name, selector, settings)?,
            None => match (&selector.url, &selector.environment) {
                (Some(url), None) => Self::of_url(url.clone(), settings),
                _ => Self::implied(selector, settings)?,
            },
        };
        if let Some(url) = &selector.url {
            profile.move_to(url.clone());
        }
        if let Some(name) = &selector.profile {
            check_name(name)?;
            profile = profile.renamed(name, settings);
        }
        Ok(profile)
    }

    fn named(name: &str, selector: &Selector, settings: &Settings) -> Result<Self, SelectorError> {
        if let Some(provider) = settings.providers.get(name) {
            return Self::of_provider(provider, selector, settings);
        }
        let found = if name.contains("://") {
            Self::of_url(name.parse()?, settings)
        } else {
            let unknown = || SelectorError::Unknown { name: name.to_owned(), candidates: settings.candidates() };
            settings.profile(name).ok_or_else(unknown)?
        };
        match &selector.environment {
            Some(wanted) if *wanted != found.environment => Err(SelectorError::Environment {
                title: found.name,
                environment: wanted.clone(),
                candidates: Some(found.environment).filter(|name| !name.is_empty()).into_iter().collect(),
            }),
            _ => Ok(found),
        }
    }

    fn implied(selector: &Selector, settings: &Settings) -> Result<Self, SelectorError> {
        if let Some(default) = &settings.default_server {
            return Self::named(default, selector, settings);
        }
        if let Some(environment) = selector.environment.as_deref() {
            let mut knowing =
                settings.providers.values().filter(|provider| provider.environment(Some(environment)).is_some());
            return match (knowing.next(), knowing.next()) {
                (Some(provider), None) => Self::of_provider(provider, selector, settings),
                _ => Err(SelectorError::Unclear { candidates: settings.candidates() }),
            };
        }
        let mut signed_in = settings.profiles().filter(|profile| profile.signed_in.is_some());
        match (signed_in.next(), signed_in.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(SelectorError::Unclear { candidates: settings.candidates() }),
        }
    }

    fn of_provider(provider: &Provider, selector: &Selector, settings: &Settings) -> Result<Self, SelectorError> {
        let Some((environment, found)) = provider.environment(selector.environment.as_deref()) else {
            return Err(SelectorError::Environment {
                title: provider.title.clone(),
                environment: selector.environment.clone().unwrap_or_default(),
                candidates: provider.environment_names().into_iter().map(str::to_owned).collect(),
            });
        };
        let name = match provider.is_default_environment(environment) {
            true => provider.id.clone(),
            false => format!("{}-{environment}", provider.id),
        };
        // What is saved under the preset's own name, unless somebody gave that name to something else.
        let is_this =
            |saved: &Self| saved.provider.as_deref() == Some(&provider.id) && saved.environment == environment;
        if let Some(saved) = settings.profile(&name).filter(is_this) {
            return Ok(saved);
        }
        if provider.embedded {
            return Err(SelectorError::Embedded);
        }
        // The preset's own URL first: `move_to` then sees that another one is meant, and drops what belongs to the
        // preset's.
        let Some(server) = found.server.clone().or_else(|| selector.url.clone()) else {
            return Err(SelectorError::UrlNeeded { title: provider.title.clone(), provider: provider.id.clone() });
        };
        Ok(Self {
            name,
            provider: Some(provider.id.clone()),
            title: provider.title.clone(),
            environment: environment.to_owned(),
            server,
            registration: provider.registration(found),
            saved: false,
            signed_in: None,
        })
    }

    fn of_url(server: ServerUrl, settings: &Settings) -> Self {
        let with_this_url = settings.profiles().find(|profile| profile.server == server);
        with_this_url.unwrap_or_else(|| {
            let plain = plain_name(&server);
            let free = |name: &String| settings.profile(name).is_none() && !settings.providers.contains_key(name);
            let numbered = (2..).map(|number| format!("{plain}-{number}"));
            let name = std::iter::once(plain.clone()).chain(numbered).find(free).unwrap_or(plain);
            Self {
                name,
                provider: None,
                title: server.host(),
                environment: String::new(),
                server,
                registration: RegistrationOptions::default(),
                saved: false,
                signed_in: None,
            }
        })
    }

    /// The same server under another name. A profile that is saved under it already is a sign-in of its own.
    fn renamed(self, name: &str, settings: &Settings) -> Self {
        match settings.profile(name) {
            Some(saved) if saved.server == self.server && saved.environment == self.environment => saved,
            _ => Self { name: name.to_owned(), saved: false, signed_in: None, ..self },
        }
    }

    /// Another URL is another resource: what was signed in to is not this, and a pinned token endpoint is not its own.
    fn move_to(&mut self, server: ServerUrl) {
        if self.server != server {
            self.server = server;
            self.signed_in = None;
            self.registration.token_endpoint = None;
        }
    }

    /// What a person types to mean this profile again: `asset --env sandbox`, or its name.
    pub fn spoken(&self) -> String {
        match &self.provider {
            Some(provider) if self.name == *provider => provider.clone(),
            Some(provider) if self.name == format!("{provider}-{}", self.environment) => {
                format!("{provider} --env {}", self.environment)
            }
            _ => self.name.clone(),
        }
    }

    /// The command that signs in to it. Where nothing is saved under its name yet, that says what the name stands for.
    pub fn login_command(&self) -> String {
        if self.saved {
            return format!("finmcp login {}", self.spoken());
        }
        let (server, usual_name) = match &self.provider {
            Some(provider) if self.environment.is_empty() || self.name == *provider => {
                (provider.clone(), provider.clone())
            }
            Some(provider) => {
                let environment = &self.environment;
                (format!("{provider} --env {environment}"), format!("{provider}-{environment}"))
            }
            None => (self.server.to_string(), plain_name(&self.server)),
        };
        let profile = if self.name == usual_name { String::new() } else { format!(" --profile {}", self.name) };
        format!("finmcp login {server}{profile}")
    }

    /// The account part of a credential's identity: a business where one is named, else this profile itself.
    pub fn account(&self) -> String {
        let business = self.registration.parameters.iter().find(|(key, _)| key == "business_id");
        business.map_or_else(|| self.name.clone(), |(_, value)| value.clone())
    }
}

/// What a server that nobody has named is called: its host, in the letters that a name may have.
fn plain_name(server: &ServerUrl) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    server.host().chars().map(letter).collect::<String>().trim_matches('-').to_owned()
}

fn check_name(name: &str) -> Result<(), SelectorError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let valid = (1..=64).contains(&name.len()) && name.chars().all(allowed);
    if valid { Ok(()) } else { Err(SelectorError::Name(name.to_owned())) }
}
