//! Moves API keys from a client's file into the credential store.

use std::time::Duration;

use crate::{
    app::{
        registration::Secrets,
        sign_in::{Attempt, sign_in_and_keep},
    },
    commands::{
        login::refuse_takeover,
        setup::{Job, usage},
        words,
    },
    error::Error,
    login::{
        context::Redirection,
        options::{GrantKind, Options},
    },
    profile::Profile,
    setup::{
        document::Document,
        key::{self, FoundKey, KeyError},
        plaintext::Exposed,
        plan::Target,
    },
};

/// The key in the entry of `document` that `exposed` is about, if it is to be the sign-in to `profile`.
pub(super) fn key_for(
    document: &Document,
    exposed: &Exposed,
    profile: Option<&Profile>,
) -> Option<Result<FoundKey, KeyError>> {
    let profile = profile.filter(|profile| profile.signed_in.is_none())?;
    match (profile.options.grant, &profile.provider) {
        // A preset says how its users sign in: what looks like a key is a token, which expires.
        (Some(GrantKind::ApiKey), _) | (None, None) => key::in_entry(document.server(&exposed.name)?),
        _ => None,
    }
}

impl Job<'_> {
    /// Signs in with the API keys of `replaced`, so that these entries can go. Returns the entries without those whose
    /// keys the server did not accept.
    ///
    /// # Errors
    /// The key of the selected server could not be moved; the file is unchanged.
    pub(super) async fn move_keys(
        &mut self,
        document: &Document,
        replaced: Vec<(Exposed, Target)>,
    ) -> Result<Vec<(Exposed, Target)>, Error> {
        let mut safe = Vec::new();
        for (exposed, target) in replaced {
            let profile = target.profile.as_ref().filter(|profile| !self.moved.contains(&profile.name));
            let Some((profile, found)) = profile.zip(key_for(document, &exposed, profile)) else {
                safe.push((exposed, target));
                continue;
            };
            let name = &exposed.name;
            let moved = match found {
                Ok(found) if self.arguments.output.dry_run => {
                    self.say_would_move(name, profile, &found);
                    Ok(())
                }
                Ok(found) => self.move_key(profile, found).await,
                Err(error) => Err(usage(error.to_string())),
            };
            match moved {
                Ok(()) => safe.push((exposed, target)),
                Err(error) => {
                    let command = format!("{} --grant api-key", profile.login_command());
                    let error = error
                        .while_doing(format!("could not move the API key of entry {name:?}; the entry is unchanged"))
                        .hint(format!("sign in yourself: {command}"));
                    if target.is_same(&self.plan.target) {
                        return Err(error);
                    }
                    self.console.report(&error);
                }
            }
        }
        Ok(safe)
    }

    fn say_would_move(&self, name: &str, profile: &Profile, found: &FoundKey) {
        let store = self.credentials.store.description();
        let server = &profile.server;
        let headers: Vec<String> = found.headers.to_texts().into_keys().collect();
        let headers = match headers.is_empty() {
            true => String::new(),
            false => format!("; profile {} gets its headers {}", profile.name, headers.join(", ")),
        };
        self.console.say(&format!(
            "Would move the API key of entry {name:?} (header {}) into {store} once {server} accepts it{headers}",
            found.header.name()
        ));
    }

    /// Signs in to `profile` with the key that was found.
    async fn move_key(&mut self, profile: &Profile, found: FoundKey) -> Result<(), Error> {
        refuse_takeover(self.settings, profile)?;
        let FoundKey { header, key, headers } = found;
        let options =
            Options { grant: Some(GrantKind::ApiKey), api_key_header: Some(header), headers, ..Options::default() };
        let profile = Profile { options: options.or(profile.options.clone()), ..profile.clone() };
        let attempt = Attempt {
            secrets: Secrets { api_key: Some(key), ..Secrets::default() },
            challenge: None,
            force_registration: false,
            browser: None,
            redirection: Redirection { port: None, paste: None, timeout: Duration::ZERO },
            tell: Box::new(words::of_sign_in(self.console, &profile)),
        };
        let (profile, _) = sign_in_and_keep(self.settings, self.credentials, profile, attempt).await?;
        let store = self.credentials.store.description();
        self.console.note(&format!("Moved the API key of {} into {store} (profile {})", profile.title, profile.name));
        self.moved.insert(profile.name);
        Ok(())
    }
}
