//! The saved profiles and the presets.

use std::collections::BTreeMap;

use crate::{
    credential::record::Identity,
    profile::{Profile, document::ProfileDocument, presets, provider::Provider},
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
        Self::new(presets::built_in().unwrap_or_default(), default, profiles)
    }

    /// Whether `name` is the preset of the simulated vendors in this binary.
    pub fn is_embedded(&self, name: Option<&str>) -> bool {
        let provider = name.and_then(|name| self.providers.get(self.known_name(name)?));
        provider.is_some_and(|provider| provider.embedded)
    }

    /// The name of the preset or saved profile that the user calls `typed`: this one, else the only one that differs in
    /// case alone.
    pub fn known_name(&self, typed: &str) -> Option<&str> {
        let is_exact = |known: &&str| *known == typed;
        let mut names = self.names().filter(|known| known.eq_ignore_ascii_case(typed));
        if let Some(exact) = self.names().find(is_exact) {
            return Some(exact);
        }
        names.next().filter(|only| names.all(|other| other == *only))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().chain(self.documents.keys()).map(String::as_str)
    }

    /// The names of the saved profiles, also of invalid ones.
    pub fn saved_names(&self) -> impl Iterator<Item = &str> {
        self.documents.keys().map(String::as_str)
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

    /// The providers in the order to list them in.
    pub fn ordered_providers(&self) -> Vec<&Provider> {
        presets::ordered(&self.providers)
    }

    /// Some possible values of SERVER, for a hint: the first presets with their environments, and the signed-in
    /// profiles.
    pub fn candidates(&self) -> Vec<String> {
        let first = self.ordered_providers().into_iter().filter(|provider| presets::is_first(&provider.id));
        let mut candidates: Vec<String> = first.flat_map(with_environments).collect();
        for profile in self.all().filter(|profile| profile.signed_in.is_some()) {
            let name = profile.selector_text();
            if !candidates.contains(&name) {
                candidates.push(name);
            }
        }
        candidates
    }

    /// The presets and profiles with a name like `typed`, the most similar first.
    pub fn similar(&self, typed: &str) -> Vec<String> {
        const ENOUGH: f64 = 0.85;
        const AT_MOST: usize = 3;
        let name = typed.to_lowercase();
        let similarity = |known: &str| match name.len() >= 3 && (known.contains(&name) || name.contains(known)) {
            true => 1.0,
            false => strsim::jaro_winkler(&name, known),
        };
        let names = self.providers.keys().chain(self.documents.keys()).filter(|known| *known != typed);
        let names: BTreeMap<&String, f64> = names.map(|known| (known, similarity(&known.to_lowercase()))).collect();
        let mut similar: Vec<(&String, f64)> = names.into_iter().filter(|(_, likeness)| *likeness >= ENOUGH).collect();
        similar.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        similar.into_iter().take(AT_MOST).map(|(name, _)| name.clone()).collect()
    }
}

/// The arguments that select each environment of `provider`. The demo has the simulated vendors as environments.
fn with_environments(provider: &Provider) -> Vec<String> {
    let others = provider.environment_names().into_iter().filter(|name| !provider.is_default_environment(name));
    let others = others.filter(|_| !provider.embedded).map(|name| format!("{} --env {name}", provider.id));
    std::iter::once(provider.id.clone()).chain(others).collect()
}
