//! Sets up the bridge between a client and a server.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    app::{company, credentials::Credentials},
    bridge::{
        Bridge, Ends, Remember,
        control::{
            audit::{self, Audit, AuditError, seal::SealKey},
            label::Label,
        },
        stdio::{downstream, parent::Parent},
        upstream::rate::{gate::RateGate, governor::Rate},
    },
    cli::Control,
    conversation::{description::Description, policy::Rules, reply::ServerLabels},
    credential::token_source::{Lookup, TokenSource},
    error::Error,
    profile::{Profile, provider::Provider},
    server_url::ServerUrl,
    settings::Settings,
};

/// The default request timeout: longer than that of any client.
const DEADLINE: Duration = Duration::from_secs(300);

/// The request timeout; `timeout` is the command line's, in seconds.
pub fn deadline(timeout: Option<u64>, settings: &Settings) -> Duration {
    timeout.map(Duration::from_secs).or(settings.request_timeout).unwrap_or(DEADLINE)
}

/// Relays between the client on stdin and stdout and the server until the client disconnects.
///
/// # Errors
/// stdin or stdout fails.
pub async fn run(ends: Ends) -> Result<(), Error> {
    let client = downstream::stdio()?;
    let mut host = Parent::watch()?;
    Bridge::new(client, ends).run(host.gone()).await?;
    Ok(())
}

/// A server to relay to, with the settings and the credentials for it.
pub struct Relay<'a> {
    /// The settings of this process.
    pub settings: &'a Arc<Settings>,
    /// Provides the tokens.
    pub credentials: &'a Credentials,
    /// The server and the account.
    pub profile: &'a Profile,
}

impl Relay<'_> {
    /// The bridge's parts, without a sign-in offer and without an audit log.
    pub fn ends(&self, tokens: TokenSource, deadline: Duration, control: &Control) -> Ends {
        let profile = self.profile;
        Ends {
            server: profile.server.clone(),
            headers: profile.options.headers.map().clone(),
            http: self.credentials.http.clone(),
            tokens,
            labels: ServerLabels { title: profile.title.clone(), login_command: profile.login_command() },
            deadline,
            rate_gate: self.rate_gate(),
            remembered: remembered(self.settings, profile),
            remember: self.remember(),
            offer: None,
            extension: company::extension(&profile.options),
            rules: self.rules(control),
            label: control.label.then(|| Label::new(&profile.title, &profile.name, &profile.environment)),
            audit: None,
        }
    }

    /// Keeps all processes of the profile together within the vendor's rate limit.
    fn rate_gate(&self) -> RateGate {
        let (profile, clock) = (self.profile, self.credentials.clock.clone());
        match self.provider().and_then(|provider| provider.requests_per_minute) {
            Some(limit) => {
                RateGate::shared(Rate::per_minute(limit), self.settings.locks(), &profile.name, &profile.server, clock)
            }
            None => RateGate::open(clock),
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

    /// The audit log, if the command line asks for one. `seal` seals its lines; `on_failure` receives failures to write to it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn audit(
        &self,
        control: &Control,
        seal: Option<SealKey>,
        on_failure: impl Fn(AuditError) + Send + 'static,
    ) -> Result<Option<Audit>, AuditError> {
        let Some(path) = control.audit_log.clone() else { return Ok(None) };
        let options = audit::AuditOptions {
            path,
            profile: self.profile.name.clone(),
            environment: self.profile.environment.clone(),
            arguments: control.audit_arguments,
            seal,
            clock: self.credentials.clock.clone(),
            report_failure: Box::new(on_failure),
        };
        Audit::open(options).map(Some)
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
                tracing::warn!(%error, "could not cache the server's description");
            }
        })
    }

    /// The tokens of the user who is signed in to the server, now or later.
    pub fn tokens(&self) -> TokenSource {
        let tokens = self.credentials.tokens(self.profile.signed_in.clone()).with_lookup(self.lookup());
        // Servers of preset vendors always require a token.
        if self.profile.provider.is_some() { tokens.guarded() } else { tokens }
    }

    /// Finds the current sign-in: the user may run `finmcp login` while a client is running.
    fn lookup(&self) -> Lookup {
        let (name, server) = (self.profile.name.clone(), self.profile.server.clone());
        Lookup::new(self.settings.config_file(), move || saved(&name, &server)?.signed_in)
    }
}

/// A server's description as cached on disk, with the server's URL.
#[derive(Serialize, Deserialize)]
struct DescriptionDocument<'a> {
    server: Cow<'a, str>,
    description: Cow<'a, Description>,
}

/// The server's description from an earlier session, if it can be read.
pub fn remembered(settings: &Settings, profile: &Profile) -> Option<Description> {
    let text = settings.description(&profile.name)?;
    let document: DescriptionDocument<'_> = serde_json::from_str(&text).ok()?;
    (document.server == profile.server.as_str()).then(|| document.description.into_owned())
}

/// `profile` as it is saved now. Reads the file on another thread: its file system may hang.
pub(super) async fn current(profile: &Profile) -> Option<Profile> {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    spawn_blocking(move || saved(&name, &server)).await.ok().flatten()
}

/// The saved profile with this name and server.
fn saved(name: &str, server: &ServerUrl) -> Option<Profile> {
    Settings::load().ok()?.profiles.named(name).filter(|now| now.server == *server)
}
