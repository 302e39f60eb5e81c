//! The saved profiles and the presets.

use std::collections::BTreeMap;

use crate::{
    credential::record::Identity,
    profile::{Profile, document::ProfileDocument, provider::Provider},
};

/// The servers that the user can select by name.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// The presets, built in or from `config.toml`.
    pub providers: BTreeMap<String, Provider>,
    /// The server to use by default.
    pub default_server: Option<String>,
    documents: BTreeMap<String, ProfileDocument>,
}

impl Profiles {
    pub(crate) fn new(
        providers: BTreeMap<String, Provider>,
        default_server: Option<String>,
        documents: BTreeMap<String, ProfileDocument>,
    ) -> Self {
        Self { providers, default_server, documents }
    }

    /// The same presets without saved profiles.
    pub fn presets(&self) -> Self {
        Self::new(self.providers.clone(), None, BTreeMap::new())
    }

    /// The presets and the profiles in `config`.
    #[cfg(test)]
    pub(crate) fn for_tests(config: &str) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Document {
            default: Option<String>,
            #[serde(default)]
            profiles: BTreeMap<String, ProfileDocument>,
        }
        let Document { default, profiles } = toml_edit::de::from_str(config).unwrap_or_default();
        Self::new(Provider::built_in().unwrap_or_default(), default, profiles)
    }

    /// Whether `name` is the preset of the simulated vendors in this binary.
    pub fn is_embedded(&self, name: Option<&str>) -> bool {
        name.and_then(|name| self.providers.get(name)).is_some_and(|provider| provider.embedded)
    }

    /// The preset of `profile`, if it has one.
    pub fn provider(&self, profile: &Profile) -> Option<&Provider> {
        self.providers.get(profile.provider.as_ref()?)
    }

    /// The profile saved as `name`. An invalid one counts as missing; `finmcp status` reports it.
    pub fn named(&self, name: &str) -> Option<Profile> {
        self.documents.get(name).and_then(|document| document.profile(name, &self.providers).ok())
    }

    /// The last sign-in of the saved profile `name`, even if it was for a server that the profile no longer names: its
    /// credential may still be in the store.
    pub fn last_sign_in(&self, name: &str) -> Option<Identity> {
        self.documents.get(name)?.last_sign_in()
    }

    /// The saved profiles, by name.
    pub fn all(&self) -> impl Iterator<Item = Profile> {
        self.documents.iter().filter_map(|(name, document)| document.profile(name, &self.providers).ok())
    }

    /// The saved profiles that are invalid, with the reason.
    pub fn broken(&self) -> impl Iterator<Item = (&str, String)> {
        let broken = |document: &ProfileDocument, name: &str| document.profile(name, &self.providers).err();
        self.documents.iter().filter_map(move |(name, document)| Some((name.as_str(), broken(document, name)?)))
    }

    /// The possible values of SERVER: presets with their environments, and profiles.
    pub fn candidates(&self) -> Vec<String> {
        let presets = self.providers.values().flat_map(|provider| {
            let others = provider.environment_names().into_iter().filter(|name| !provider.is_default_environment(name));
            let with_environment = others.map(|name| format!("{} --env {name}", provider.id)).collect::<Vec<_>>();
            std::iter::once(provider.id.clone()).chain(with_environment)
        });
        let mut candidates: Vec<String> = presets.chain(self.all().map(|profile| profile.selector_text())).collect();
        candidates.sort();
        candidates.dedup();
        candidates
    }
}
