//! The profile under examination.

use crate::{
    credential::{clock::Clock, store::CredentialStore, token_source::TokenSource},
    http::Http,
    profile::{Profile, provider::Provider},
    settings::Settings,
};

/// The profile under examination, with everything that `serve` would use for it.
pub struct Patient<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The network.
    pub http: &'a Http,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// Where secrets are kept.
    pub store: &'a dyn CredentialStore,
    /// The server, and the account there.
    pub profile: &'a Profile,
    /// Its tokens.
    pub tokens: TokenSource,
}

impl Patient<'_> {
    /// The vendor, if finmcp has a preset for it.
    pub(super) fn provider(&self) -> Option<&Provider> {
        self.settings.profiles.provider(self.profile)
    }
}
