//! What is saved, and what is built in: the servers that have a name.

use std::collections::BTreeMap;

use crate::{
    credential::record::Identity,
    profile::{Profile, document::ProfileDocument, provider::Provider},
};

/// The servers that a person can mean by a name.
#[derive(Debug, Clone)]
pub struct Profiles {
    /// The presets: built in, and from `config.toml`.
    pub providers: BTreeMap<String, Provider>,
    /// The server that is meant when none is named.
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

    /// The same presets, with nothing saved.
    pub fn presets(&self) -> Self {
        Self::new(self.providers.clone(), None, BTreeMap::new())
    }

    /// What `config` says of profiles, beside the presets.
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

    /// Whether `name` is the preset of the stand-ins inside this binary.
    pub fn is_embedded(&self, name: Option<&str>) -> bool {
        name.and_then(|name| self.providers.get(name)).is_some_and(|provider| provider.embedded)
    }

    /// The preset of `profile`, where it has one.
    pub fn provider(&self, profile: &Profile) -> Option<&Provider> {
        self.providers.get(profile.provider.as_ref()?)
    }

    /// The profile saved as `name`. One whose entry makes no sense is as good as none, and `finmcp status` says so.
    pub fn named(&self, name: &str) -> Option<Profile> {
        self.documents.get(name).and_then(|document| document.profile(name, &self.providers).ok())
    }

    /// Whom the saved profile `name` was last signed in as, be it to a server that it no longer names: that credential may
    /// still be in the store.
    pub fn last_sign_in(&self, name: &str) -> Option<Identity> {
        self.documents.get(name)?.last_sign_in()
    }

    /// The saved profiles, by name.
    pub fn all(&self) -> impl Iterator<Item = Profile> {
        self.documents.iter().filter_map(|(name, document)| document.profile(name, &self.providers).ok())
    }

    /// The profiles that are saved but cannot be used, with the reason.
    pub fn broken(&self) -> impl Iterator<Item = (&str, String)> {
        let broken = |document: &ProfileDocument, name: &str| document.profile(name, &self.providers).err();
        self.documents.iter().filter_map(move |(name, document)| Some((name.as_str(), broken(document, name)?)))
    }

    /// What SERVER can be: presets with their environments, and profiles.
    pub fn candidates(&self) -> Vec<String> {
        let presets = self.providers.values().flat_map(|provider| {
            let others = provider.environment_names().into_iter().filter(|name| !provider.is_default_environment(name));
            let with_environment = others.map(|name| format!("{} --env {name}", provider.id)).collect::<Vec<_>>();
            std::iter::once(provider.id.clone()).chain(with_environment)
        });
        let mut candidates: Vec<String> = presets.chain(self.all().map(|profile| profile.spoken())).collect();
        candidates.sort();
        candidates.dedup();
        candidates
    }
}
