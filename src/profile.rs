//! A server that someone uses: a vendor's environment or a URL, and the account there.

use crate::{
    credential::record::{Credential, Identity},
    login::{
        KnownClient, LoginRequest, PreRegistered, ResourceParameter, jwt_bearer::Assertion, redirect_uri::RedirectUri,
    },
    oauth::{
        client_metadata::ClientMetadataUrl, overrides::Overrides, registration::ClientAuthentication, scope::Scope,
    },
    provider::{GrantKind, Provider},
    secret::Secret,
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
    /// Whether its name alone means another server, or none: `--url` goes with it.
    pub moved: bool,
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
    /// The Client ID Metadata Document to be known by.
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// Who says who signs in, where somebody else does.
    pub assertion: Option<Assertion>,
    /// The redirect URI that the client is registered with, where the server compares it byte for byte.
    pub redirect_uri: Option<RedirectUri>,
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
    /// Whether tokens are to be bound to a key, though the server does not ask for it.
    pub dpop: bool,
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
            client_metadata_url: self.client_metadata_url.or(other.client_metadata_url),
            assertion: self.assertion.or(other.assertion),
            redirect_uri: self.redirect_uri.or(other.redirect_uri),
            scope: self.scope.or(other.scope),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            issuer: self.issuer.or(other.issuer),
            resource,
            parameters,
            dpop: self.dpop || other.dpop,
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
    /// No preset has the environment.
    #[error("no preset has an environment {environment:?}")]
    NoEnvironment {
        /// What was asked for.
        environment: String,
        /// What could have been meant.
        candidates: Vec<String>,
    },
    /// More than one could be meant.
    #[error("it is not clear which server is meant")]
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
    #[error("the server's URL cannot be used")]
    Url(#[from] crate::server_url::ServerUrlError),
    /// A name that is no name.
    #[error("{0:?} cannot be a profile's name: letters, digits, '.', '_' and '-' only, 64 at most")]
    Name(String),
    /// The name of a preset, for something else.
    #[error("{0:?} is a preset's name, and cannot be another server's")]
    PresetName(String),
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
            None => match (&selector.url, &selector.environment, &selector.profile) {
                (Some(url), None, _) => Self::of_url(url.clone(), settings)?,
                (None, _, Some(name)) if settings.profile(name).is_some() => Self::named(name, selector, settings)?,
                _ => Self::implied(selector, settings)?,
            },
        };
        if let Some(url) = &selector.url {
            profile.move_to(url.clone());
        }
        if let Some(name) = &selector.profile {
            check_name(name)?;
            if settings.providers.contains_key(name) && profile.provider.as_ref() != Some(name) {
                return Err(SelectorError::PresetName(name.clone()));
            }
            profile = profile.renamed(name, settings);
        }
        Ok(profile)
    }

    fn named(name: &str, selector: &Selector, settings: &Settings) -> Result<Self, SelectorError> {
        if let Some(provider) = settings.providers.get(name) {
            return Self::of_provider(provider, selector, settings);
        }
        let found = if name.contains("://") {
            Self::of_url(name.parse()?, settings)?
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
                (None, _) => Err(SelectorError::NoEnvironment {
                    environment: environment.to_owned(),
                    candidates: settings.candidates(),
                }),
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
            moved: false,
            signed_in: None,
        })
    }

    fn of_url(server: ServerUrl, settings: &Settings) -> Result<Self, SelectorError> {
        let mut with_this_url: Vec<Self> = settings.profiles().filter(|profile| profile.server == server).collect();
        if with_this_url.len() > 1 {
            // Two accounts at one server: the URL alone must not choose whose money it is.
            let candidates = with_this_url.iter().map(Self::spoken).collect();
            return Err(SelectorError::Unclear { candidates });
        }
        if let Some(saved) = with_this_url.pop() {
            return Ok(saved);
        }
        let plain = plain_name(&server);
        let free = |name: &String| settings.profile(name).is_none() && !settings.providers.contains_key(name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(free).unwrap_or(plain);
        Ok(Self {
            name,
            provider: None,
            title: server.host(),
            environment: String::new(),
            server,
            registration: RegistrationOptions::default(),
            saved: false,
            moved: false,
            signed_in: None,
        })
    }

    /// The same server under another name. A profile that is saved under it already is a sign-in of its own.
    fn renamed(self, name: &str, settings: &Settings) -> Self {
        match settings.profile(name) {
            Some(saved) if saved.server == self.server && saved.environment == self.environment => saved,
            _ => Self { name: name.to_owned(), saved: false, signed_in: None, ..self },
        }
    }

    /// Another URL is another resource: what was signed in to is not this, a pinned token endpoint is not its own, and an
    /// assertion was not meant for it.
    fn move_to(&mut self, server: ServerUrl) {
        if self.server != server {
            self.server = server;
            self.moved = true;
            self.signed_in = None;
            self.registration.token_endpoint = None;
            self.registration.assertion = None;
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
        format!("finmcp login {}", self.selection())
    }

    /// The arguments that make any command mean this profile, signed in or not.
    pub fn arguments(&self) -> Vec<String> {
        self.selection().split(' ').map(str::to_owned).collect()
    }

    fn selection(&self) -> String {
        if self.saved {
            return format!("{}{}", self.spoken(), self.url_option());
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
        format!("{server}{}{profile}", self.url_option())
    }

    fn url_option(&self) -> String {
        if self.moved { format!(" --url {}", self.server) } else { String::new() }
    }

    /// What to sign in to, with `secret` and what is known from `earlier`.
    pub fn login_request(&self, secret: Option<Secret>, earlier: Option<Credential>) -> LoginRequest {
        let options = &self.registration;
        let known = earlier.map(|credential| KnownClient {
            issuer: credential.identity.issuer,
            registration: credential.registration,
        });
        LoginRequest {
            server: self.server.clone(),
            title: self.title.clone(),
            environment: self.environment.clone(),
            account: self.account(),
            issuer: options.issuer.clone(),
            client: options.client_id.clone().map(|client_id| PreRegistered {
                client_id,
                client_secret: secret,
                authentication: options.client_authentication,
            }),
            client_metadata_url: options.client_metadata_url.clone(),
            // One that was given by hand is no longer meant where it is no longer named.
            known: known.filter(|known| match &options.client_id {
                Some(client_id) => known.registration.client_id == *client_id,
                None => known.registration.is_dynamic(),
            }),
            registers_anew: false,
            scope: options.scope.clone(),
            challenge: None,
            redirect_uri: options.redirect_uri.clone(),
            resource: options.resource.clone(),
            parameters: options.parameters.clone(),
            dpop: options.dpop,
            overrides: options.overrides.clone(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [profiles.asset-sandbox]
        provider = "asset"
        environment = "sandbox"
        url = "http://127.0.0.1:1/mcp"

        [profiles.work]
        url = "https://mcp.example.com/mcp"

        [profiles.home]
        url = "https://mcp.example.com/mcp"

        [profiles.other]
        url = "https://other.example.com/mcp"
        signed_in = { issuer = "i", resource = "r", client_id = "c", account = "a" }
    "#;

    fn select(arguments: &str, config: &str) -> Result<(String, String), String> {
        let mut selector = Selector::default();
        let mut words = arguments.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "--env" => selector.environment = words.next().map(str::to_owned),
                "--profile" => selector.profile = words.next().map(str::to_owned),
                "--url" => selector.url = words.next().map(|url| url.parse().unwrap()),
                name => selector.server = Some(name.to_owned()),
            }
        }
        let settings = Settings::for_tests(config);
        let profile = Profile::select(&selector, &settings).map_err(|error| error.to_string())?;
        Ok((profile.name, profile.server.to_string()))
    }

    #[test]
    fn a_server_is_meant_by_name_environment_url_or_by_being_the_only_one() {
        for (arguments, name, server) in [
            ("asset", "asset", "https://api.getasset.com/mcp"),
            ("asset --env production", "asset", "https://api.getasset.com/mcp"),
            // Saved with a URL of its own; and without SERVER it is the only preset that has a sandbox.
            ("asset --env sandbox", "asset-sandbox", "http://127.0.0.1:1/mcp"),
            ("--env sandbox", "asset-sandbox", "http://127.0.0.1:1/mcp"),
            ("masset --url https://m.example/mcp", "masset", "https://m.example/mcp"),
            ("asset --url https://a.example/mcp", "asset", "https://a.example/mcp"),
            ("work", "work", "https://mcp.example.com/mcp"),
            ("--profile home", "home", "https://mcp.example.com/mcp"),
            ("tesorio --profile second", "second", "https://mcp.tesorio.com/v1/mcp"),
            ("https://other.example.com/mcp", "other", "https://other.example.com/mcp"),
            ("https://new.example.com:8443/x", "new-example-com-8443", "https://new.example.com:8443/x"),
            ("", "other", "https://other.example.com/mcp"),
        ] {
            assert_eq!(select(arguments, CONFIG), Ok((name.to_owned(), server.to_owned())), "{arguments:?}");
        }
        let with_default = format!("default = \"work\"\n{CONFIG}");
        assert_eq!(select("", &with_default).unwrap().0, "work");
    }

    /// The command that a person is told to run means the very same server, wherever it is typed.
    #[test]
    fn the_command_to_run_names_the_server() {
        let settings = Settings::for_tests(CONFIG);
        for (url, command) in [
            (None, "finmcp login tesorio"),
            (Some("https://mcp.tesorio.com/v1/mcp"), "finmcp login tesorio"),
            (Some("https://t.example/mcp"), "finmcp login tesorio --url https://t.example/mcp"),
        ] {
            for profile in [None, Some("office")] {
                let selector = Selector {
                    server: Some("tesorio".to_owned()),
                    url: url.map(|url| url.parse().unwrap()),
                    profile: profile.map(str::to_owned),
                    ..Selector::default()
                };
                let option = profile.map(|name| format!(" --profile {name}")).unwrap_or_default();
                let selected = Profile::select(&selector, &settings).unwrap();
                assert_eq!(selected.login_command(), format!("{command}{option}"));
            }
        }
        let saved = Selector {
            server: Some("work".to_owned()),
            url: Some("https://w.example/".parse().unwrap()),
            ..Selector::default()
        };
        assert_eq!(
            Profile::select(&saved, &settings).unwrap().login_command(),
            "finmcp login work --url https://w.example/"
        );
    }

    /// What speaks for us at one server is not shown to another.
    #[test]
    fn an_assertion_does_not_move() {
        let config = r#"
            [profiles.work]
            url = "https://mcp.example.com/mcp"
            grant = "jwt-bearer"
            assertion_file = "/run/token"
        "#;
        let settings = Settings::for_tests(config);
        let selected = |url: Option<&str>| {
            let url = url.map(|url| url.parse().unwrap());
            let selector = Selector { server: Some("work".to_owned()), url, ..Selector::default() };
            Profile::select(&selector, &settings).unwrap().registration.assertion
        };
        assert_eq!(selected(None), Some(Assertion::File("/run/token".into())));
        assert_eq!(selected(Some("https://mcp.example.com/mcp")), Some(Assertion::File("/run/token".into())));
        assert_eq!(selected(Some("https://other.example.com/mcp")), None);
    }

    #[test]
    fn what_is_not_clear_is_not_guessed() {
        for (arguments, why) in [
            ("nobody", "no preset and no profile"),
            ("tesorio --env sandbox", "Tesorio has no environment"),
            ("--env staging", "no preset has an environment"),
            ("masset", "a URL of their own"),
            ("demo", "sign in by themselves"),
            ("https://mcp.example.com/mcp", "not clear"),
            ("http://example.com/mcp", "cannot be used"),
            ("asset --profile tesorio", "is a preset's name"),
            ("asset --profile a/b", "cannot be a profile's name"),
            ("work --env sandbox", "has no environment"),
        ] {
            let error = select(arguments, CONFIG).unwrap_err();
            assert!(error.contains(why), "{arguments:?}: {error}");
        }
        assert!(select("", "").unwrap_err().contains("not clear"), "nobody is signed in to anything");
    }
}
