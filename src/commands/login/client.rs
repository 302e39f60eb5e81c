//! The client id, secret or API key that a sign-in needs and the user has at hand.

use crate::{
    app::{credentials::Credentials, registration::Secrets},
    commands::login::asked,
    console::Console,
    error::Error,
    login::options::GrantKind,
    profile::{Profile, provider::Facts},
    secret::Secret,
};

/// Asks the user for what a sign-in needs.
#[derive(Clone, Copy)]
pub(super) struct Questions<'a> {
    pub credentials: &'a Credentials,
    pub console: Console,
    pub facts: &'a Facts,
}

impl Questions<'_> {
    /// Asks for what is missing, at a terminal only. With `force_registration`, also for a secret that is stored.
    ///
    /// # Errors
    /// The user cancels, or the credential store fails.
    pub(super) async fn complete(
        self,
        profile: &mut Profile,
        secrets: &mut Secrets,
        force_registration: bool,
    ) -> Result<(), Error> {
        match profile.options.grant_kind() {
            GrantKind::ApiKey if secrets.api_key.is_none() => {
                if let Some(place) = &self.facts.credentials_from {
                    asked::explain(self.console, &format!("Where to get the API key: {place}"));
                }
                let question = format!("API key of {} (not shown): ", profile.title);
                let check = |key: &Secret| asked::copied("API key", key.is_empty(), key.is_one_word());
                secrets.api_key = asked::secret(self.console, &question, check).await?;
                Ok(())
            }
            GrantKind::ClientCredentials if self.console.is_attended() => {
                let has_secret = secrets.client.is_some() || secrets.certificate.is_some();
                let is_known = profile.options.client_id.is_some()
                    && (has_secret || !force_registration && self.is_stored(profile).await?);
                if is_known {
                    return Ok(());
                }
                // Fails on a locked or missing store before the user types a secret.
                self.credentials.prove_store().await?;
                let text = format!("{} signs in with a client ID and a client secret.", profile.title);
                asked::explain(self.console, &text);
                self.say_where(&profile.title);
                self.ask_id(profile).await?;
                if !has_secret {
                    secrets.client = self.ask_secret(profile).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Asks for a client that the user has registered, since the server registers none.
    ///
    /// # Errors
    /// The user cancels.
    pub(super) async fn ask_client(self, profile: &mut Profile, secrets: &mut Secrets) -> Result<(), Error> {
        let title = &profile.title;
        let text = format!("{title} registers no clients: it needs the client ID of an application of yours.");
        asked::explain(self.console, &text);
        self.say_where(title);
        self.ask_id(profile).await?;
        let question = "Client secret (not shown; Enter if there is none): ";
        let check = |secret: &Secret| asked::copied("client secret", false, secret.is_empty() || secret.is_one_word());
        let secret = asked::secret(self.console, question, check).await?;
        secrets.client = secret.filter(|secret| !secret.is_empty());
        Ok(())
    }

    /// Whether the secret of this client is in the store.
    async fn is_stored(self, profile: &Profile) -> Result<bool, Error> {
        let earlier = self.credentials.earlier(profile).await?;
        let registration = earlier.map(|credential| credential.registration);
        Ok(registration.is_some_and(|known| {
            Some(&known.client_id) == profile.options.client_id.as_ref() && known.is_confidential()
        }))
    }

    fn say_where(self, title: &str) {
        let place = match (&self.facts.credentials_from, &self.facts.documentation) {
            (Some(place), _) => place.clone(),
            (None, Some(page)) => format!("see {page}"),
            (None, None) => format!("in the developer or API settings of your {title} account"),
        };
        asked::explain(self.console, &format!("Where to get them: {place}"));
    }

    async fn ask_id(self, profile: &mut Profile) -> Result<(), Error> {
        if profile.options.client_id.is_none() {
            let check = |typed: &str| {
                let is_one_word = !typed.contains(char::is_whitespace);
                asked::copied("client ID", typed.is_empty(), is_one_word).map(|()| typed.to_owned())
            };
            profile.options.client_id = Some(asked::text(self.console, "Client ID: ", check).await?);
        }
        Ok(())
    }

    async fn ask_secret(self, profile: &Profile) -> Result<Option<Secret>, Error> {
        let id = Secret::new(profile.options.client_id.clone().unwrap_or_default());
        let check = |secret: &Secret| {
            if secret.same_as(&id) {
                return Err("That is the client ID: copy the client secret and try again".to_owned());
            }
            asked::copied("client secret", secret.is_empty(), secret.is_one_word())
        };
        asked::secret(self.console, "Client secret (not shown): ", check).await
    }
}
