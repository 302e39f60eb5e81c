//! Sends messages to the server and decides about retries; the submodules implement the transports.

mod deadline;
mod endpoint;
mod event_stream;
mod http_sse;
mod judged_response;
mod pending;
pub mod rate;
mod refusal;
mod streamable;

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::time::{Instant, sleep};

pub use crate::bridge::upstream::endpoint::MESSAGE_LIMIT;
use crate::{
    bridge::{
        reports::Reports,
        upstream::{
            endpoint::Endpoint,
            http_sse::Channel,
            rate::{
                gate::{RateGate, RateLimited},
                patience,
            },
        },
    },
    conversation::{
        failure::{Failure, Processed, Remedy, only_reads},
        session::{Ending, Event, Exchange},
        transport::Transport,
    },
    credential::token_source::TokenSource,
    http::Http,
    mcp::{attempts::Reason, message::Message},
    printable::quoted,
    server_url::ServerUrl,
};

/// How long to keep trying to deliver a message: most clients give up on a request after a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// A server and the transport to it.
#[derive(Clone)]
pub struct Upstream {
    endpoint: Endpoint,
    /// The stream that carries the responses, over HTTP+SSE.
    channel: Option<Arc<Channel>>,
}

impl Upstream {
    /// The server at `server`, over Streamable HTTP, with `headers` on every request. A request may take `deadline`
    /// from one event of the server to the next.
    pub fn new(
        server: ServerUrl,
        headers: HeaderMap,
        http: Arc<Http>,
        tokens: TokenSource,
        rate_gate: RateGate,
        deadline: Duration,
        reports: Reports,
    ) -> Self {
        let rate_gate = Arc::new(rate_gate);
        Self {
            endpoint: Endpoint { url: server, extra: headers, http, tokens, rate_gate, deadline, reports },
            channel: None,
        }
    }

    /// The same server over another transport.
    pub fn over(&self, transport: Transport) -> Self {
        let channel = match transport {
            Transport::StreamableHttp => None,
            Transport::HttpSse => Some(Arc::default()),
        };
        Self { channel, ..self.clone() }
    }

    /// POSTs `message` and reports the results: [`Event::Accepted`], [`Event::Delivered`], and finally
    /// [`Event::Finished`]. Retries if that can help and `Attempts` allows it, within the time that a client is
    /// expected to wait.
    pub async fn post(self: Arc<Self>, exchange: Exchange, message: Message, headers: HeaderMap) {
        let begun = Instant::now();
        let attempts = message.attempts();
        let ending = loop {
            if let Err(RateLimited { wait }) =
                self.endpoint.rate_gate.pass(PATIENCE.saturating_sub(begun.elapsed())).await
            {
                break Ok(Ending::Failed(Failure::RateLimited { wait }));
            }
            let ending = match &self.channel {
                None => self.endpoint.post_streamable(exchange, &message, &headers).await,
                Some(channel) => self.endpoint.post_over_sse(channel, exchange, &message, &headers).await,
            };
            let Ok(Ending::Failed(failure)) = &ending else { break ending };
            if failure.processed() == Processed::Maybe && !only_reads(message.method()) {
                attempts.may_have_run();
            }
            let Some(Remedy { reason, retry_after }) = failure.remedy(message.method()) else { break ending };
            let wait = patience::wait(retry_after, attempts.spent(reason), getrandom::u32().unwrap_or_default());
            if !attempts.admit(reason) {
                break ending;
            }
            failure.log(&format!("trying {} again", quoted(message.method().unwrap_or("a notification"))));
            match reason {
                // No finmcp process may send anything meanwhile.
                Reason::RateLimited => {
                    self.endpoint.rate_gate.hold(wait.max(failure.asked_wait().unwrap_or_default())).await;
                }
                _ if begun.elapsed() + wait < PATIENCE => sleep(wait).await,
                _ => break ending,
            }
        };
        if let Ok(ending) = ending {
            let _ = self.endpoint.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Listens to the server's own messages until it stops sending them, and reports them in the same way. Over
    /// HTTP+SSE they already come on the open stream.
    pub async fn listen(self: Arc<Self>, exchange: Exchange, headers: HeaderMap) {
        let ending = match &self.channel {
            None => self.endpoint.keep_listening(exchange, headers).await,
            Some(_) => Ok(Ending::Complete),
        };
        if let Ok(ending) = ending {
            let _ = self.endpoint.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Deletes the session, whatever the server's response.
    pub async fn delete(self: Arc<Self>, headers: HeaderMap) {
        self.endpoint.delete(headers).await;
    }
}
