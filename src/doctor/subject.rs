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
}
