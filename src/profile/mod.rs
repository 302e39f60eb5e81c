//! Profiles: a server (a vendor's environment or a URL) and an account there.

pub mod document;
pub mod presets;
pub mod profiles;
pub mod provider;
pub mod provider_document;
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

/// A server, the account there, and the options for signing in.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The user's name for it; a key in `config.toml`.
    pub name: String,
    /// The vendor's preset, if any.
    pub provider: Option<String>,
    /// The server's display name.
    pub title: String,
    /// The vendor's environment; empty if the vendor has only one.
    pub environment: String,
    pub server: ServerUrl,
    pub options: Options,
    /// Whether it is in `config.toml`.
    pub saved: bool,
    /// Whether `--url` replaces its URL, so that its name alone does not select this server.
    pub moved: bool,
    /// The identity of the stored credential; `None` if signed out.
    pub signed_in: Option<Identity>,
}

impl Profile {
    /// The arguments that select this profile: `asset --env sandbox`, or its name.
    pub fn selector_text(&self) -> String {
        match &self.provider {
            Some(provider) if self.name == *provider => provider.clone(),
            Some(provider) if self.name == format!("{provider}-{}", self.environment) => {
                format!("{provider} --env {}", self.environment)
            }
            _ => self.name.clone(),
        }
    }

    /// The command that signs in to this profile, with the options that define it if it is not saved yet.
    pub fn login_command(&self) -> String {
        format!("finmcp login {}", self.selection())
    }

    /// The arguments that select this profile in any command, saved or not.
    pub fn arguments(&self) -> Vec<String> {
        self.selection().split(' ').map(str::to_owned).collect()
    }

    fn selection(&self) -> String {
        if self.saved {
            return format!("{}{}", self.selector_text(), self.url_option());
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

    /// The request to sign in, with `secret` and the client of the `earlier` credential.
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
            certificate: None,
            // A pre-registered client counts only while the options still name it.
            known: known.filter(|known| match &options.client_id {
                Some(client_id) => known.registration.client_id == *client_id,
                None => known.registration.is_dynamic(),
            }),
            force_registration: false,
            challenge: None,
        }
    }

    /// The account in a credential's identity: the business id if set, else the profile's name.
    pub fn account(&self) -> String {
        let business = self.options.parameters.iter().find(|(key, _)| key == "business_id");
        business.map_or_else(|| self.name.clone(), |(_, value)| value.clone())
    }
}

/// The default profile name for a URL: its host, with `-` for other characters than letters and digits.
pub(super) fn plain_name(server: &ServerUrl) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    server.host().chars().map(letter).collect::<String>().trim_matches('-').to_owned()
}
