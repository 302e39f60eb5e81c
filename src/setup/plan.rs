//! Decides which entry `setup` writes, and which server an existing entry is for.

use crate::{
    profile::{
        Profile,
        profiles::Profiles,
        selector::{Selector, SelectorError},
    },
    server_url::ServerUrl,
    setup::{
        change::Wish,
        document::Document,
        entry::Entry,
        plaintext::{self, Exposed},
        surroundings::Surroundings,
    },
};

/// The server that these arguments of `finmcp` select; none if they are not those of an entry.
pub type Reading = fn(&[String]) -> Option<Selector>;

/// The server that an entry is for.
pub struct Target {
    /// Its profile; none for the simulated servers.
    pub profile: Option<Profile>,
    /// The name of an entry for it.
    pub name: String,
    /// The arguments after `serve`.
    pub arguments: Vec<String>,
}

impl Target {
    /// The server that `selector` selects.
    ///
    /// # Errors
    /// [`SelectorError`], with the candidates.
    pub fn select(selector: &Selector, profiles: &Profiles) -> Result<Self, SelectorError> {
        if let Some(name) = selector.server.as_deref().filter(|name| profiles.is_embedded(Some(name))) {
            let environment = selector.environment.as_ref();
            let option = environment.into_iter().flat_map(|name| ["--env".to_owned(), name.clone()]);
            return Ok(Self {
                profile: None,
                name: environment.map_or(name.to_owned(), |environment| format!("{name}-{environment}")),
                arguments: std::iter::once(name.to_owned()).chain(option).collect(),
            });
        }
        Ok(Self::of(profiles.select(selector)?))
    }

    /// The server that these arguments of `finmcp` select, if any.
    pub fn meant(arguments: &[String], profiles: &Profiles, reading: Reading) -> Option<Self> {
        Self::select(&reading(arguments)?, profiles).ok()
    }

    /// Whether both select the same server.
    pub fn is_meant_by_both(some: &[String], others: &[String], profiles: &Profiles, reading: Reading) -> bool {
        let [one, other] = [some, others].map(|arguments| Self::meant(arguments, profiles, reading));
        some == others || one.zip(other).is_some_and(|(one, other)| one.is_same(&other))
    }

    /// Whether both are the same server with the same sign-in.
    pub fn is_same(&self, other: &Self) -> bool {
        self.arguments == other.arguments
    }

    fn of(profile: Profile) -> Self {
        // Some clients do not allow dots.
        Self { name: profile.name.replace('.', "-"), arguments: profile.arguments(), profile: Some(profile) }
    }
}

/// The entries that `setup` writes.
pub struct Plan<'a> {
    /// The servers that can be selected by name.
    pub profiles: &'a Profiles,
    /// Parses an entry's arguments.
    pub reading: Reading,
    /// The server that the entry is for.
    pub target: Target,
    /// The name that the user chose for it.
    pub name: Option<String>,
    /// Options for `serve`.
    pub options: Vec<String>,
    /// Whether these include sign-in options, which must apply to the target only.
    pub registers: bool,
    /// Whether to replace another entry of that name.
    pub force: bool,
    /// The path by which clients start finmcp.
    pub program: String,
    /// Whether the client connects to the server itself and asks finmcp only for headers.
    pub native: bool,
}

impl Plan<'_> {
    /// Whether both entries are for the same server.
    pub fn is_same(&self, entry: &Entry, wished: &Entry) -> bool {
        Target::is_meant_by_both(&entry.arguments, &wished.arguments, self.profiles, self.reading)
    }

    /// The entry for the target, with the environment variables that it needs.
    pub fn wish(&self, surroundings: &Surroundings) -> Wish {
        let name = self.name.clone().unwrap_or_else(|| self.target.name.clone());
        let entry = Entry {
            name,
            command: self.program.clone(),
            arguments: self.arguments(&self.target),
            environment: surroundings.environment.clone(),
            passed: surroundings.passed.clone(),
            url: self.url(&self.target),
        };
        Wish { entry, named: self.name.is_some(), force: self.force, has_options: !self.options.is_empty() }
    }

    /// The servers in `document` with a secret in plain text for which finmcp has a profile.
    pub fn known(&self, document: &Document) -> Vec<(Exposed, Target)> {
        let own = self.target.profile.as_ref();
        let target = |exposed: &Exposed| {
            let url: ServerUrl = exposed.url.parse().ok()?;
            let is_it = |other: &ServerUrl| other.as_str().trim_end_matches('/') == url.as_str().trim_end_matches('/');
            if let Some(profile) = own.filter(|profile| is_it(&profile.server)) {
                return Some(Target::of(profile.clone()));
            }
            profile_of(self.profiles, is_it).map(Target::of)
        };
        let found = plaintext::exposed(document).into_iter();
        let known = found.filter_map(|exposed| target(&exposed).map(|target| (exposed, target)));
        known.filter(|(_, target)| !self.registers || target.is_same(&self.target)).collect()
    }

    /// The entry that replaces `exposed`; none if that is the requested one.
    pub fn other(&self, exposed: &Exposed, target: &Target, wish: &Wish) -> Option<Entry> {
        if target.is_same(&self.target) {
            return None;
        }
        let (arguments, url) = (self.arguments(target), self.url(target));
        Some(Entry { name: exposed.name.clone(), arguments, url, ..wish.entry.clone() })
    }

    /// The arguments of finmcp in an entry for `target`.
    fn arguments(&self, target: &Target) -> Vec<String> {
        let command: &[&str] = if self.native { &["token", "--headers"] } else { &["serve"] };
        let command = command.iter().map(|word| (*word).to_owned());
        command.chain(target.arguments.clone()).chain(self.options.clone()).collect()
    }

    /// The URL in a native entry for `target`.
    fn url(&self, target: &Target) -> Option<String> {
        target.profile.as_ref().filter(|_| self.native).map(|profile| profile.server.to_string())
    }
}

/// The profile of the preset with this server if it is saved, else the only saved profile with it, else the preset's.
fn profile_of(profiles: &Profiles, is_it: impl Fn(&ServerUrl) -> bool) -> Option<Profile> {
    let presets = profiles.providers.values().flat_map(|provider| {
        let names = provider.environment_names();
        let names: Vec<Option<&str>> =
            if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        names.into_iter().map(move |name| (provider, name))
    });
    let mut presets = presets.filter(|(provider, name)| {
        provider.environment(*name).and_then(|(_, environment)| environment.server.as_ref()).is_some_and(&is_it)
    });
    let preset = presets.next().and_then(|(provider, environment)| {
        let selector = Selector {
            server: Some(provider.id.clone()),
            environment: environment.map(str::to_owned),
            ..Selector::default()
        };
        profiles.select(&selector).ok().filter(|profile| is_it(&profile.server))
    });
    if preset.as_ref().is_some_and(|profile| profile.saved) {
        return preset;
    }
    let mut saved = profiles.all().filter(|profile| is_it(&profile.server));
    saved.next().filter(|_| saved.next().is_none()).or(preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A preset that a new version brings does not replace a profile that the user saved for the same server.
    #[test]
    fn a_saved_profile_comes_before_an_unsaved_preset() {
        let saved = |name: &str, more: &str| format!("[profiles.{name}]\nurl = \"https://mcp.stripe.com\"\n{more}\n");
        let preset = saved("stripe", "provider = \"stripe\"");
        for (config, expected) in [
            (String::new(), "stripe"),
            (saved("work", ""), "work"),
            (format!("{}{preset}", saved("work", "")), "stripe"),
            (format!("{}{}", saved("work", ""), saved("home", "")), "stripe"),
        ] {
            let found =
                profile_of(&Profiles::for_tests(&config), |server| server.as_str() == "https://mcp.stripe.com/");
            assert_eq!(found.map(|profile| profile.name).as_deref(), Some(expected), "{config}");
        }
    }
}
