//! The profile under examination.

use crate::{
    credential::{clock::Clock, store::CredentialStore, token_source::TokenSource},
    http::Http,
    profile::{Profile, provider::Provider},
    settings::Settings,
};

/// The profile under examination, with everything that `serve` would use for it.
pub struct Subject<'a> {
    pub settings: &'a Settings,
    pub http: &'a Http,
    pub clock: &'a dyn Clock,
    pub store: &'a dyn CredentialStore,
    pub profile: &'a Profile,
    pub tokens: TokenSource,
}

impl Subject<'_> {
    /// The vendor, if finmcp has a preset for it.
    pub(super) fn provider(&self) -> Option<&Provider> {
        self.settings.profiles.provider(self.profile)
    }

    /// What to do about a wrong address: the command, with URL for the right one.
    pub(super) fn move_hint(&self) -> String {
        let Profile { saved, name, provider, .. } = self.profile;
        // Without it, login keeps the sign-in at the old address.
        let force = if self.profile.signed_in.is_some() { " --force" } else { "" };
        let command = match (saved, provider) {
            (false, None) => "finmcp doctor URL".to_owned(),
            (false, Some(_)) => format!("finmcp doctor {} --url URL", self.profile.selector_text()),
            (true, None) => format!("finmcp login URL --profile {name}{force}"),
            (true, Some(_)) => format!("finmcp login {} --url URL{force}", self.profile.selector_text()),
        };
        format!("if the address is wrong, run `{command}` with the right one")
    }

    /// A sign-in to another environment of the same vendor.
    pub(super) fn other_environment(&self) -> Option<Profile> {
        let is_sibling = |other: &Profile| {
            other.provider.is_some()
                && other.provider == self.profile.provider
                && other.environment != self.profile.environment
        };
        self.settings.profiles.all().find(|other| is_sibling(other) && other.signed_in.is_some())
    }

    /// Whether the vendor has several environments.
    pub(super) fn environments(&self) -> bool {
        self.provider().is_some_and(|provider| provider.environment_names().len() > 1)
    }

    /// The vendor's other environment whose server is `audience`.
    pub(super) fn environment_of(&self, audience: &str) -> Option<String> {
        let saved = self.other_environment().filter(|other| other.server.resource() == audience);
        let provider = self.provider()?;
        let preset = provider.environment_names().into_iter().find(|name| {
            let server = provider.environment(Some(name)).and_then(|(_, environment)| environment.server.as_ref());
            *name != self.profile.environment && server.is_some_and(|server| server.resource() == audience)
        });
        saved.map(|other| other.environment).or_else(|| preset.map(str::to_owned))
    }
}
