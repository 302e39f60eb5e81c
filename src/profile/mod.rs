//! A server that someone uses: a vendor's environment or a URL, and the account there.

pub mod document;
pub mod profiles;
pub mod provider;
pub mod selector;

use crate::{
    credential::record::{Credential, Identity},
    login::{
        options::Options,
        request::{KnownClient, LoginRequest},
    },
    secret::Secret,
    server_url::ServerUrl,
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
    pub options: Options,
    /// Whether `config.toml` has it.
    pub saved: bool,
    /// Whether its name alone means another server, or none: `--url` goes with it.
    pub moved: bool,
    /// What the credential in the store belongs to; none when nobody is signed in.
    pub signed_in: Option<Identity>,
}

impl Profile {
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
        let options = &self.options;
        let known = earlier.map(|credential| KnownClient {
            issuer: credential.identity.issuer,
            registration: credential.registration,
        });
        LoginRequest {
            server: self.server.clone(),
            title: self.title.clone(),
            environment: self.environment.clone(),
            account: self.account(),
            options: options.clone(),
            client_secret: secret,
            // One that was given by hand is no longer meant where it is no longer named.
            known: known.filter(|known| match &options.client_id {
                Some(client_id) => known.registration.client_id == *client_id,
                None => known.registration.is_dynamic(),
            }),
            force_registration: false,
            challenge: None,
        }
    }

    /// The account part of a credential's identity: a business where one is named, else this profile itself.
    pub fn account(&self) -> String {
        let business = self.options.parameters.iter().find(|(key, _)| key == "business_id");
        business.map_or_else(|| self.name.clone(), |(_, value)| value.clone())
    }
}

/// What a server that nobody has named is called: its host, in the letters that a name may have.
pub(super) fn plain_name(server: &ServerUrl) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    server.host().chars().map(letter).collect::<String>().trim_matches('-').to_owned()
}
