//! A session between finmcp as the client and a server. It uses the same bridge as `serve`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{duplex, split},
    task::JoinHandle,
};

#[cfg(feature = "demo")]
use crate::app::embedded::{self, Embedded};
use crate::{
    app::{
        credentials::Credentials,
        interrupt::{interrupted, unless_interrupted},
        relay::{self, Relay},
    },
    bridge::{Bridge, Ends, stdio::downstream},
    cli::Control,
    client::{Client, ClientError},
    error::{Error, ErrorKind},
    profile::selector::Selector,
    settings::Settings,
};

/// The capacity of the pipe between client and bridge, in bytes.
const CAPACITY: usize = 64 << 10;

/// An open session.
pub struct Connection {
    /// The client's end.
    pub client: Client,
    /// The server's display name.
    pub title: String,
    bridge: JoinHandle<io::Result<()>>,
    interrupted: Arc<AtomicBool>,
    #[cfg(feature = "demo")]
    _embedded: Option<Embedded>,
}

impl Connection {
    /// Connects to the selected server. `capabilities` are the client's, a JSON object.
    ///
    /// # Errors
    /// Exit code 4 if the user has to sign in first. Starts no sign-in.
    pub async fn open(
        settings: &Arc<Settings>,
        credentials: &Credentials,
        selector: &Selector,
        timeout: Option<u64>,
        capabilities: &str,
    ) -> Result<Self, Error> {
        let deadline = relay::deadline(timeout, settings);
        #[cfg(feature = "demo")]
        if settings.profiles.is_embedded(selector.server.as_deref()) {
            let embedded = unless_interrupted(embedded::start(settings, credentials, selector)).await??;
            let Embedded { settings, credentials, profile, .. } = &embedded;
            let connection = Self::with(Relay { settings, credentials, profile }, deadline, capabilities).await?;
            return Ok(Self { _embedded: Some(embedded), ..connection });
        }
        let profile = settings.profiles.select(selector)?;
        Self::with(Relay { settings, credentials, profile: &profile }, deadline, capabilities).await
    }

    async fn with(server: Relay<'_>, deadline: Duration, capabilities: &str) -> Result<Self, Error> {
        let tokens = server.tokens();
        // Fails here instead of in the bridge, so that the error is this command's own.
        let token = unless_interrupted(tokens.access_token(Duration::ZERO)).await?;
        token.map_err(|error| Error::of_token(error, server.profile))?;
        let ends = server.ends(tokens, deadline, &Control::default());
        // Shows the server's current tools, not the cached description.
        Self::through(Ends { remembered: None, ..ends }, capabilities).await
    }

    /// Connects through a bridge with these `ends`.
    ///
    /// # Errors
    /// The server opens no session.
    pub async fn through(ends: Ends, capabilities: &str) -> Result<Self, Error> {
        let title = ends.labels.title.clone();
        let (near, far) = duplex(CAPACITY);
        let (input, output) = split(far);
        let bridge = Bridge::new(downstream::over(Box::pin(input), Box::pin(output)), ends);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = {
            let stopped = stopped.clone();
            async move {
                interrupted().await;
                stopped.store(true, Relaxed);
            }
        };
        let bridge = tokio::spawn(bridge.run(stop));
        let (input, output) = split(near);
        match Client::connect(downstream::over(Box::pin(input), Box::pin(output)), capabilities).await {
            Ok(client) => Ok(Self {
                client,
                title,
                bridge,
                interrupted: stopped,
                #[cfg(feature = "demo")]
                _embedded: None,
            }),
            Err(error) => {
                end(bridge).await;
                Err(reason(error, &stopped))
            }
        }
    }

    /// Converts the error of a request: a signal may have caused it.
    pub fn error(&self, error: ClientError) -> Error {
        reason(error, &self.interrupted)
    }

    /// Ends the session, also on the server.
    pub async fn close(self) {
        drop(self.client);
        end(self.bridge).await;
    }
}

/// Waits until the bridge has ended the session. The client must be dropped first.
async fn end(bridge: JoinHandle<io::Result<()>>) {
    if let Ok(Err(error)) = bridge.await {
        tracing::debug!(%error, "the session did not end cleanly");
    }
}

/// `error` as the reason why a command failed; interrupted if a signal stopped the bridge.
fn reason(error: ClientError, interrupted: &AtomicBool) -> Error {
    let error = Error::from(error);
    if interrupted.load(Relaxed) { error.with_kind(ErrorKind::Interrupted) } else { error }
}
