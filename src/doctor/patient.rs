//! Who is examined.

use crate::{
    credential::{clock::Clock, store::CredentialStore, token_source::TokenSource},
    http::Http,
    profile::{Profile, provider::Provider},
    settings::Settings,
};

/// Who is examined: a profile, and all that `serve` would have for it.
pub struct Patient<'a> {
    /// What is set from outside.
    pub settings: &'a Settings,
    /// The network.
    pub http: &'a Http,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Where secrets are kept.
    pub store: &'a dyn CredentialStore,
    /// The server, and the account there.
    pub profile: &'a Profile,
    /// Its tokens.
    pub tokens: TokenSource,
}

impl Patient<'_> {
    /// The vendor, where it is one that finmcp knows.
    pub(super) fn provider(&self) -> Option<&Provider> {
        self.settings.profiles.provider(self.profile)
    }
}
