//! The server's side: who sends what, and whether again. How messages travel is the modules' below.

mod answer;
mod awaited;
mod deadline;
mod endpoint;
mod event_stream;
mod http_sse;
pub mod rate;
mod refusal;
mod streamable;

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::time::{Instant, sleep};

pub use crate::bridge::upstream::endpoint::MESSAGE_LIMIT;
use crate::{
    bridge::{
        conversation::{
            failure::{Failure, Remedy, Taken, only_reads},
            session::{Ending, Event, Exchange},
            transport::Transport,
        },
        reports::Reports,
        upstream::{
            endpoint::Endpoint,
            http_sse::Channel,
            rate::{
                gate::{Turnstile, UsedUp},
                patience,
            },
        },
    },
    credential::token_source::TokenSource,
    http::Http,
    mcp::{attempts::Reason, message::Message},
    server_url::ServerUrl,
};

/// How long a client can be expected to wait for a message to be taken: most give up after a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// A server, and how messages travel to it.
#[derive(Clone)]
pub struct Upstream {
    endpoint: Endpoint,
    /// Where answers come in, over HTTP+SSE.
    channel: Option<Arc<Channel>>,
}

impl Upstream {
    /// The server at `server`, over Streamable HTTP, with `headers` on every request. A request may take `deadline` from one sign of life of the server
    /// to the next.
    pub fn new(
        server: ServerUrl,
        headers: HeaderMap,
        http: Arc<Http>,
        tokens: TokenSource,
        turnstile: Turnstile,
        deadline: Duration,
        reports: Reports,
    ) -> Self {
        let turnstile = Arc::new(turnstile);
        Self {
            endpoint: Endpoint { url: server, extra: headers, http, tokens, turnstile, deadline, reports },
            channel: None,
        }
    }

    /// The same server, whose messages travel so from now on.
    pub fn over(&self, transport: Transport) -> Self {
        let channel = match transport {
            Transport::StreamableHttp => None,
            Transport::HttpSse => Some(Arc::default()),
        };
        Self { channel, ..self.clone() }
    }

    /// POSTs `message` and reports what comes of it: [`Event::Accepted`], [`Event::Delivered`], and in the end
    /// [`Event::Finished`]. It is sent again where that helps and the law of attempts admits it, as long as the client
    /// can be expected to wait.
    pub async fn post(self: Arc<Self>, exchange: Exchange, message: Message, headers: HeaderMap) {
        let begun = Instant::now();
        let attempts = message.attempts();
        let ending = loop {
            if let Err(UsedUp { wait }) = self.endpoint.turnstile.pass(PATIENCE.saturating_sub(begun.elapsed())).await {
                break Ok(Ending::Failed(Failure::UsedUp { wait }));
            }
            let ending = match &self.channel {
                None => self.endpoint.post_for_answer(exchange, &message, &headers).await,
                Some(channel) => self.endpoint.post_beside(channel, exchange, &message, &headers).await,
            };
            let Ok(Ending::Failed(failure)) = &ending else { break ending };
            if failure.taken() == Taken::Perhaps && !only_reads(message.method()) {
                attempts.may_have_run();
            }
            let Some(Remedy { reason, retry_after }) = failure.remedy(message.method()) else { break ending };
            let wait = patience::wait(retry_after, attempts.spent(reason), getrandom::u32().unwrap_or_default());
            if !attempts.admit(reason) {
                break ending;
            }
            match reason {
                // No process is to send anything meanwhile.
                Reason::RateLimited => {
                    self.endpoint.turnstile.hold(wait.max(failure.asked_wait().unwrap_or_default())).await;
                }
                _ if begun.elapsed() + wait < PATIENCE => sleep(wait).await,
                _ => break ending,
            }
        };
        if let Ok(ending) = ending {
            let _ = self.endpoint.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Hears what the server says by itself, for as long as it does: reports the same. Over HTTP+SSE that is heard
    /// already.
    pub async fn listen(self: Arc<Self>, exchange: Exchange, headers: HeaderMap) {
        let ending = match &self.channel {
            None => self.endpoint.keep_listening(exchange, headers).await,
            Some(_) => Ok(Ending::Complete),
        };
        if let Ok(ending) = ending {
            let _ = self.endpoint.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Ends the session, whatever the server answers.
    pub async fn delete(self: Arc<Self>, headers: HeaderMap) {
        self.endpoint.delete(headers).await;
    }
}
