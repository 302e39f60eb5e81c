//! Selects the profile that the command line names.

use crate::{
    login::options::Options,
    profile::{Profile, plain_name, presets, profiles::Profiles, provider::Provider},
    server_url::{ServerUrl, ServerUrlError},
};

/// The arguments that select a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// A preset, a profile or a URL.
    pub server: Option<String>,
    pub environment: Option<String>,
    /// `--url`: replaces the URL of the preset or profile.
    pub url: Option<ServerUrl>,
    /// `--profile`: the name to save it as.
    pub profile: Option<String>,
}

/// Why no profile could be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    #[error("no preset or profile is called {name:?}")]
    Unknown { name: String, similar: Vec<String>, candidates: Vec<String> },
    #[error("no saved profile is called {name:?}")]
    Unsaved { name: String, saved: Vec<String> },
    /// An address without its scheme. Elsewhere that is https; a server on this machine rarely has a certificate.
    #[error("the address of a server on this machine needs its scheme")]
    SchemeNeeded { address: String },
    #[error("invalid profile {name:?} in config.toml: {problem}")]
    Broken { name: String, problem: String },
    #[error("no preset has an environment {environment:?}")]
    NoEnvironment { environment: String, candidates: Vec<String> },
    /// Several servers are possible, or none is signed in.
    #[error("which server do you mean?")]
    Unclear { candidates: Vec<String> },
    #[error("{title} has no environment {environment:?}")]
    Environment { title: String, environment: String, candidates: Vec<String> },
    /// The vendor tells its URL to customers only, and the user has not entered it yet.
    #[error("{title} gives each customer a different URL, and finmcp does not know yours yet")]
    UrlNeeded { title: String, provider: String, example: Option<String> },
    /// The simulated vendors run only in `finmcp demo` and `finmcp serve demo`.
    #[error("the demo's vendors run inside finmcp and need no sign-in")]
    Embedded,
    #[error("the server's URL cannot be used")]
    Url(#[from] ServerUrlError),
    #[error("invalid profile name {0:?}: expected up to 64 letters, digits, '.', '_' or '-'")]
    Name(String),
    #[error("a profile is called {0:?} already")]
    Taken(String),
    #[error("{0:?} is the name of a preset and cannot be used for another server")]
    PresetName(String),
}

impl Profiles {
    /// Selects a profile (the rules are in `finmcp help`): the named one; else the configured default; else the
    /// preset with the environment (a first one, else the user's own, else a built-in one); else the only signed-in
    /// profile.
    ///
    /// # Errors
    /// [`SelectorError`], with the candidates.
    pub fn select(&self, selector: &Selector) -> Result<Profile, SelectorError> {
        let mut profile = match selector.server.as_deref() {
            Some(name) => self.called(name, selector)?,
            None => match (&selector.url, &selector.environment, &selector.profile) {
                (Some(url), None, _) => self.of_url(url.clone())?,
                (None, _, Some(name)) if self.named(name).is_some() => self.called(name, selector)?,
                _ => self.implied(selector)?,
            },
        };
        if let Some(url) = &selector.url {
            profile.move_to(url.clone());
        }
        if let Some(name) = &selector.profile {
            check_name(name)?;
            let is_taken = self.providers.contains_key(name) && profile.provider.as_ref() != Some(name);
            if is_taken && self.older_than_preset(name).is_none() {
                return Err(SelectorError::PresetName(name.clone()));
            }
            profile = profile.renamed(name, self);
        }
        Ok(profile)
    }

    /// The name of the saved profile that the user calls `typed`, valid or not. Case does not matter.
    ///
    /// # Errors
    /// [`SelectorError::Unsaved`].
    pub fn saved_name(&self, typed: &str) -> Result<&str, SelectorError> {
        let known = self.known_name(typed);
        self.saved_names().find(|name| Some(*name) == known).ok_or_else(|| SelectorError::Unsaved {
            name: typed.to_owned(),
            saved: self.saved_names().map(str::to_owned).collect(),
        })
    }

    /// Checks that `profile` can be saved as `name`: no other profile has that name, and it selects no other server.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn check_new_name(&self, profile: &Profile, name: &str) -> Result<(), SelectorError> {
        check_name(name)?;
        if self.saved_names().any(|saved| saved == name) {
            return Err(SelectorError::Taken(name.to_owned()));
        }
        let is_its_preset = |provider: &Provider| {
            profile.provider.as_ref() == Some(&provider.id) && provider.is_default_environment(&profile.environment)
        };
        match self.providers.get(name) {
            Some(provider) if !is_its_preset(provider) => Err(SelectorError::PresetName(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// The server that `default` in `config.toml` is to name when the user calls it `typed`.
    ///
    /// # Errors
    /// [`SelectorError`] if it names no server.
    pub fn default_name(&self, typed: &str) -> Result<String, SelectorError> {
        if let Some(name) = self.known_name(typed).filter(|name| !self.is_embedded(Some(name))) {
            return Ok(name.to_owned());
        }
        let profile = self.called(typed, &Selector::default())?;
        Ok(if profile.saved { profile.name } else { profile.server.to_string() })
    }

    /// Whether `word` selects a server.
    pub fn knows(&self, word: &str) -> bool {
        self.known_name(word).is_some() || word.contains("://") || matches!(self.address(word), Some(Ok(_)))
    }

    fn called(&self, name: &str, selector: &Selector) -> Result<Profile, SelectorError> {
        let name = self.known_name(name).unwrap_or(name);
        if let Some(provider) = self.providers.get(name) {
            return match self.older_than_preset(name).filter(|_| selector.environment.is_none()) {
                Some(saved) => Ok(saved),
                None => self.of_provider(provider, selector),
            };
        }
        let found = if name.contains("://") {
            self.of_url(name.parse()?)?
        } else {
            match self.named(name) {
                Some(saved) => saved,
                None => self.of_url(self.address(name).unwrap_or_else(|| Err(self.not_found(name)))?)?,
            }
        };
        match &selector.environment {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&found.environment) => Err(SelectorError::Environment {
                title: found.name,
                environment: wanted.clone(),
                candidates: Some(found.environment).filter(|name| !name.is_empty()).into_iter().collect(),
            }),
            _ => Ok(found),
        }
    }

    /// The URL of an address without a scheme, such as `mcp.example.com/mcp`: https, never http. None if `text` is more
    /// likely a misspelt name.
    fn address(&self, text: &str) -> Option<Result<ServerUrl, SelectorError>> {
        let host = text.split(['/', ':']).next().unwrap_or_default();
        let is_host = host.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter));
        let has_more = host.len() < text.len() && (host.contains('.') || host == "localhost");
        let is_domain =
            host.contains('.') && self.similar(text).is_empty() && self.broken().all(|(name, _)| name != text);
        if !is_host || host.starts_with(['.', '-']) || !(has_more || is_domain) || text.contains("://") {
            return None;
        }
        let url: ServerUrl = format!("https://{text}").parse().ok()?;
        let address = text.to_owned();
        Some(if url.is_loopback() { Err(SelectorError::SchemeNeeded { address }) } else { Ok(url) })
    }

    fn not_found(&self, name: &str) -> SelectorError {
        let name = name.to_owned();
        match self.broken().find(|(broken, _)| *broken == name) {
            Some((_, problem)) => SelectorError::Broken { name, problem },
            None => SelectorError::Unknown { similar: self.similar(&name), candidates: self.candidates(), name },
        }
    }

    fn implied(&self, selector: &Selector) -> Result<Profile, SelectorError> {
        if let Some(default) = &self.default_server {
            return self.called(default, selector);
        }
        if let Some(environment) = selector.environment.as_deref() {
            return self.of_provider(self.with_environment(environment)?, selector);
        }
        let mut signed_in = self.all().filter(|profile| profile.signed_in.is_some());
        match (signed_in.next(), signed_in.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(SelectorError::Unclear { candidates: self.candidates() }),
        }
    }

    /// The provider with this environment: one of the first presets, else one of the user's own, else a built-in one. A
    /// preset that a new version brings cannot change what a script's `--env` means.
    fn with_environment(&self, environment: &str) -> Result<&Provider, SelectorError> {
        let knowing = self.ordered_providers().into_iter().filter(|one| one.environment(Some(environment)).is_some());
        let knowing: Vec<&Provider> = knowing.collect();
        let group = |provider: &Provider| (!presets::is_first(&provider.id), provider.is_built_in);
        match knowing[..] {
            [] => {
                Err(SelectorError::NoEnvironment { environment: environment.to_owned(), candidates: self.candidates() })
            }
            [best, next, ..] if group(best) == group(next) => {
                Err(SelectorError::Unclear { candidates: self.candidates() })
            }
            [best, ..] => Ok(best),
        }
    }

    /// The profile that the user saved as `name` before a preset had that name.
    fn older_than_preset(&self, name: &str) -> Option<Profile> {
        self.named(name).filter(|saved| saved.provider.is_none() && !presets::is_first(name))
    }

    fn of_provider(&self, provider: &Provider, selector: &Selector) -> Result<Profile, SelectorError> {
        let Some((environment, found)) = provider.environment(selector.environment.as_deref()) else {
            return Err(SelectorError::Environment {
                title: provider.title.clone(),
                environment: selector.environment.clone().unwrap_or_default(),
                candidates: provider.environment_names().into_iter().map(str::to_owned).collect(),
            });
        };
        let name = match provider.is_default_environment(environment) {
            true => provider.id.clone(),
            false => format!("{}-{environment}", provider.id),
        };
        // The profile saved under the preset's name, unless that name was given to another server.
        let is_this =
            |saved: &Profile| saved.provider.as_deref() == Some(&provider.id) && saved.environment == environment;
        if let Some(saved) = self.named(&name).filter(is_this) {
            return Ok(saved);
        }
        if provider.embedded {
            return Err(SelectorError::Embedded);
        }
        // Start with the preset's URL, so that `move_to` notices a different one and drops what belongs to the
        // preset's.
        let Some(server) = found.server.clone().or_else(|| selector.url.clone()) else {
            return Err(SelectorError::UrlNeeded {
                title: provider.title.clone(),
                provider: provider.id.clone(),
                example: provider.facts.url_example.clone(),
            });
        };
        Ok(Profile {
            name,
            provider: Some(provider.id.clone()),
            title: provider.title.clone(),
            environment: environment.to_owned(),
            server,
            options: provider.options(found),
            saved: false,
            // The preset's name alone does not select a URL that the user gave.
            moved: found.server.is_none(),
            signed_in: None,
        })
    }

    fn of_url(&self, server: ServerUrl) -> Result<Profile, SelectorError> {
        let mut with_this_url: Vec<Profile> = self.all().filter(|profile| profile.server == server).collect();
        if with_this_url.len() > 1 {
            // Two accounts on one server: the URL alone must not choose an account.
            let candidates = with_this_url.iter().map(Profile::selector_text).collect();
            return Err(SelectorError::Unclear { candidates });
        }
        if let Some(saved) = with_this_url.pop() {
            return Ok(saved);
        }
        let plain = plain_name(&server);
        let free = |name: &String| self.named(name).is_none() && !self.providers.contains_key(name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(free).unwrap_or(plain);
        Ok(Profile {
            name,
            provider: None,
            title: server.host(),
            environment: String::new(),
            server,
            options: Options::default(),
            saved: false,
            moved: false,
            signed_in: None,
        })
    }
}

impl Profile {
    /// The same server under another name: the profile already saved as `name`, else a new one without a sign-in.
    fn renamed(self, name: &str, profiles: &Profiles) -> Self {
        match profiles.named(name) {
            Some(saved) if saved.server == self.server && saved.environment == self.environment => saved,
            _ => Self { name: name.to_owned(), saved: false, signed_in: None, ..self },
        }
    }

    /// Changes the URL. Another URL is another resource: the sign-in, and the options that are only for the old one,
    /// do not apply to it.
    fn move_to(&mut self, server: ServerUrl) {
        if self.server != server {
            self.server = server;
            self.moved = true;
            self.signed_in = None;
            self.options = std::mem::take(&mut self.options).for_another_server();
        }
    }
}

/// Checks that a profile can have this name.
///
/// # Errors
/// [`SelectorError::Name`].
pub fn check_name(name: &str) -> Result<(), SelectorError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let valid = (1..=64).contains(&name.len()) && name.chars().all(allowed);
    if valid { Ok(()) } else { Err(SelectorError::Name(name.to_owned())) }
}

#[cfg(test)]
mod tests;
