//! Vendors: their endpoints, ways to sign in, scopes and limits.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use jiff::civil::Date;

use crate::{
    login::options::{GrantKind, Options},
    server_url::ServerUrl,
};

/// A vendor's servers, and what they have in common.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The preset's name on the command line.
    pub id: String,
    /// The vendor's display name.
    pub title: String,
    /// Whether this binary brings it; else it is from `config.toml`.
    pub is_built_in: bool,
    /// The grants that the vendor offers; the first is the default. Empty if its documentation does not say.
    pub grants: Vec<GrantKind>,
    /// Whether its servers need no sign-in.
    pub is_open: bool,
    /// The sign-in options for all its servers.
    pub common: Options,
    /// What the user should know about it.
    pub facts: Facts,
    /// The vendor's limit of requests per minute and user.
    pub requests_per_minute: Option<NonZeroU32>,
    /// The read-only tools, by the vendor's documentation.
    pub read_only_tools: BTreeSet<String>,
    /// Whether its servers run inside finmcp for the demo.
    pub embedded: bool,
    /// At least one. The only server of a vendor has the empty name.
    pub(super) environments: BTreeMap<String, Environment>,
    pub(super) default_environment: String,
}

#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The MCP endpoint; `None` if the vendor tells it to its customers only.
    pub server: Option<ServerUrl>,
    /// The token endpoint of a vendor without discovery. It takes precedence over a discovered one.
    pub token_endpoint: Option<ServerUrl>,
}

/// What the user should know about a vendor. finmcp only shows it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The vendor's page about its MCP server.
    pub documentation: Option<ServerUrl>,
    /// The date of the facts in the preset.
    pub date: Option<Date>,
    /// Where the user gets the client ID and secret, or the API key: a URL or a short text.
    pub credentials_from: Option<String>,
    /// The form of the URL, if each customer has another.
    pub url_example: Option<String>,
    pub notes: Vec<String>,
}

impl Provider {
    /// The environment called `name`, or the default one, with its name. Case does not matter.
    pub fn environment(&self, name: Option<&str>) -> Option<(&str, &Environment)> {
        let name = name.unwrap_or(&self.default_environment);
        let of_any_case = || self.environments.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let found = self.environments.get_key_value(name).or_else(of_any_case);
        found.map(|(name, environment)| (name.as_str(), environment))
    }

    /// The names of its environments, the default one first; empty if it has only one.
    pub fn environment_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.environments.keys().map(String::as_str).filter(|name| !name.is_empty()).collect();
        names.sort_by_key(|name| !self.is_default_environment(name));
        names
    }

    /// The sign-in options that the vendor's documentation prescribes.
    pub fn options(&self, environment: &Environment) -> Options {
        Options { token_endpoint: environment.token_endpoint.clone(), ..self.common.clone() }
    }

    pub fn is_default_environment(&self, name: &str) -> bool {
        self.default_environment == name
    }
}
