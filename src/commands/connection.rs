//! A session of finmcp's own with a server, through the bridge in this process: what holds for `serve` holds for it.

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
use crate::commands::demo::{self, Embedded};
use crate::{
    bridge::{Bridge, Ends, downstream},
    cli::Control,
    client::{Client, ClientError},
    commands::{App, interrupted, serve, unless_interrupted},
    error::{Error, ErrorKind},
    profile::{Profile, selector::Selector},
};

/// How many bytes may be under way between the two ends.
const ROOM: usize = 64 << 10;

/// An open session.
pub struct Connection {
    /// This end of it.
    pub client: Client,
    /// The server's name for people.
    pub title: String,
    bridge: JoinHandle<io::Result<()>>,
    interrupted: Arc<AtomicBool>,
    #[cfg(feature = "demo")]
    _embedded: Option<Embedded>,
}

impl Connection {
    /// Connects to the server that is meant. `capabilities` are the client's, a JSON object.
    ///
    /// # Errors
    /// Exit code 4 when somebody has to sign in first; nobody is asked to.
    pub async fn open(app: &App, selector: &Selector, timeout: Option<u64>, capabilities: &str) -> Result<Self, Error> {
        let deadline = serve::deadline(app, timeout);
        #[cfg(feature = "demo")]
        if app.settings.profiles.is_embedded(selector.server.as_deref()) {
            let embedded = unless_interrupted(demo::start(app, selector)).await??;
            let connection = Self::with(&embedded.app, &embedded.profile, deadline, capabilities).await?;
            return Ok(Self { _embedded: Some(embedded), ..connection });
        }
        let profile = app.settings.profiles.select(selector)?;
        Self::with(app, &profile, deadline, capabilities).await
    }

    async fn with(app: &App, profile: &Profile, deadline: Duration, capabilities: &str) -> Result<Self, Error> {
        let tokens = serve::tokens(app, profile);
        // Said here rather than by the bridge, since here is where `finmcp login` can be run.
        let token = unless_interrupted(tokens.access_token(Duration::ZERO)).await?;
        token.map_err(|error| Error::of_token(error, profile))?;
        let ends = serve::ends(app, profile, tokens, deadline, &Control::default())?;
        // Whoever asks here wants to know what the server says now.
        Self::through(Ends { remembered: None, ..ends }, capabilities).await
    }

    /// Connects through a bridge of these `ends`.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn through(ends: Ends, capabilities: &str) -> Result<Self, Error> {
        let title = ends.words.title.clone();
        let (near, far) = duplex(ROOM);
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

    /// Why a request came to nothing.
    pub fn error(&self, error: ClientError) -> Error {
        reason(error, &self.interrupted)
    }

    /// Ends the session at the server, too.
    pub async fn close(self) {
        drop(self.client);
        end(self.bridge).await;
    }
}

/// Waits until the bridge has ended the session: its client is gone.
async fn end(bridge: JoinHandle<io::Result<()>>) {
    if let Ok(Err(error)) = bridge.await {
        tracing::debug!(%error, "the session did not end in good order");
    }
}

/// `error` as the reason why a command failed: because somebody wanted the process to end, if so.
fn reason(error: ClientError, interrupted: &AtomicBool) -> Error {
    let error = Error::from(error);
    if interrupted.load(Relaxed) { error.because_of(ErrorKind::Interrupted) } else { error }
}
