//! Conversations with servers: what each is made of.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    app::credentials::Credentials,
    bridge::{
        Bridge, Ends, Remember,
        control::{
            audit::{self, Audit, AuditError},
            label::Label,
            policy::Rules,
        },
        conversation::{description::Description, reply::Words},
        stdio::{downstream, parent::Parent},
        upstream::rate::{gate::Turnstile, governor::Rate},
    },
    cli::Control,
    credential::token_source::{Lookup, TokenSource},
    error::Error,
    profile::{Profile, provider::Provider},
    server_url::ServerUrl,
    settings::Settings,
};

/// How long a request may take when nobody says otherwise. Longer than any client waits by itself.
const DEADLINE: Duration = Duration::from_secs(300);

/// How long a request may take, where `timeout` is what the command line says, in seconds.
pub fn deadline(timeout: Option<u64>, settings: &Settings) -> Duration {
    timeout.map(Duration::from_secs).or(settings.request_timeout).unwrap_or(DEADLINE)
}

/// Relays between stdin and stdout and the server until the client is done.
///
/// # Errors
/// What is wrong with stdin and stdout.
pub async fn run(ends: Ends) -> Result<(), Error> {
    let client = downstream::stdio()?;
    let mut host = Parent::watch()?;
    Bridge::new(client, ends).run(host.gone()).await?;
    Ok(())
}

/// A server that is to be relayed to, and all that this takes.
pub struct Relay<'a> {
    /// What is set from outside.
    pub settings: &'a Arc<Settings>,
    /// Whatever is signed in.
    pub credentials: &'a Credentials,
    /// The server, and the account there.
    pub profile: &'a Profile,
}

impl Relay<'_> {
    /// What a conversation with the server is made of. No client is offered a sign-in, and no call is written down.
    pub fn ends(&self, tokens: TokenSource, deadline: Duration, control: &Control) -> Ends {
        let profile = self.profile;
        Ends {
            server: profile.server.clone(),
            headers: profile.options.headers.map().clone(),
            http: self.credentials.http.clone(),
            tokens,
            words: Words { title: profile.title.clone(), login_command: profile.login_command() },
            deadline,
            turnstile: self.turnstile(),
            remembered: remembered(self.settings, profile),
            remember: self.remember(),
            offer: None,
            rules: self.rules(control),
            label: control.label.then(|| Label::new(&profile.title, &profile.name, &profile.environment)),
            audit: None,
        }
    }

    /// The gate to the vendor's limit of requests, which all processes of the profile share.
    fn turnstile(&self) -> Turnstile {
        let (profile, clock) = (self.profile, self.credentials.clock.clone());
        match self.provider().and_then(|provider| provider.requests_per_minute) {
            Some(limit) => {
                Turnstile::shared(Rate::per_minute(limit), self.settings.locks(), &profile.name, &profile.server, clock)
            }
            None => Turnstile::open(clock),
        }
    }

    fn provider(&self) -> Option<&Provider> {
        self.settings.profiles.provider(self.profile)
    }

    /// Which tools a client may see and call.
    fn rules(&self, control: &Control) -> Rules {
        Rules {
            read_only: control.read_only,
            known_to_read: self.provider().map(|provider| provider.read_only_tools.clone()).unwrap_or_default(),
            allow: control.allow_tool.clone(),
            deny: control.deny_tool.clone(),
        }
    }

    /// The log of the calls, where one is wanted. Where a line cannot be written, `complain` is told.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn audit(
        &self,
        control: &Control,
        complain: impl Fn(AuditError) + Send + 'static,
    ) -> Result<Option<Audit>, AuditError> {
        let Some(path) = control.audit_log.clone() else { return Ok(None) };
        let terms = audit::Terms {
            path,
            profile: self.profile.name.clone(),
            environment: self.profile.environment.clone(),
            arguments: control.audit_arguments,
            clock: self.credentials.clock.clone(),
            complain: Box::new(complain),
        };
        Audit::open(terms).map(Some)
    }

    fn remember(&self) -> Remember {
        let (settings, profile) = (self.settings.clone(), self.profile);
        let (name, server) = (profile.name.clone(), profile.server.clone());
        Arc::new(move |description| {
            let document =
                DescriptionDocument { server: server.as_str().into(), description: Cow::Borrowed(description) };
            let kept = serde_json::to_string(&document)
                .map_err(std::io::Error::from)
                .and_then(|text| settings.keep_description(&name, &text));
            if let Err(error) = kept {
                tracing::warn!(%error, "what the server says of itself is not remembered");
            }
        })
    }

    /// The tokens of the user who is signed in to the server, now or later.
    pub fn tokens(&self) -> TokenSource {
        let tokens = self.credentials.tokens(self.profile.signed_in.clone()).with_lookup(self.lookup());
        // Vendors that finmcp knows serve nobody without a token.
        if self.profile.provider.is_some() { tokens.guarded() } else { tokens }
    }

    /// Who is signed in by now: somebody may run `finmcp login` while a client is running.
    fn lookup(&self) -> Lookup {
        let (name, server) = (self.profile.name.clone(), self.profile.server.clone());
        Lookup::new(self.settings.config_file(), move || saved(&name, &server)?.signed_in)
    }
}

/// What a server said of itself, on disk; of this server only.
#[derive(Serialize, Deserialize)]
struct DescriptionDocument<'a> {
    server: Cow<'a, str>,
    description: Cow<'a, Description>,
}

/// What is known of the server from the last time. What cannot be read is not known.
pub fn remembered(settings: &Settings, profile: &Profile) -> Option<Description> {
    let text = settings.description(&profile.name)?;
    let document: DescriptionDocument<'_> = serde_json::from_str(&text).ok()?;
    (document.server == profile.server.as_str()).then(|| document.description.into_owned())
}

/// `profile` as it is saved now. The file may be on a disk that does not answer: it is read beside the conversation.
pub(super) async fn current(profile: &Profile) -> Option<Profile> {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    spawn_blocking(move || saved(&name, &server)).await.ok().flatten()
}

/// The profile of this name and server as it is saved now.
fn saved(name: &str, server: &ServerUrl) -> Option<Profile> {
    Settings::load().ok()?.profiles.named(name).filter(|now| now.server == *server)
}
