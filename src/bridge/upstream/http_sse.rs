//! HTTP+SSE, the transport of the first revision: the server names the address for messages on a GET stream and sends
//! all its messages there (MCP 2024-11-05 transports, "HTTP with SSE").

use std::{
    str,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::Response;
use tokio::{task::AbortHandle, time::timeout};

use crate::{
    bridge::upstream::{
        deadline::Deadline,
        endpoint::{ACCEPT_ANY, ACCEPT_STREAM, Endpoint, ExchangeResult},
        event_stream::{EventStream, StreamItem},
        judged_response::JudgedResponse,
        pending::{PendingRequests, Waiter},
    },
    conversation::{
        failure::Failure,
        session::{Ending, Event, Exchange, Refused},
    },
    mcp::{
        attempts::Attempts,
        message::{Kind, Message},
        sse::Decoder,
    },
    printable::quoted,
    server_url::ServerUrl,
};

/// How long the stream may take to open, and again to name the address for messages. A server without this transport
/// may never respond.
const OPENING: Duration = Duration::from_secs(10);

/// How many bytes of the stream to read to find that address.
const ENDPOINT_LIMIT: usize = 16 << 10;

/// Holds the stream that the last `initialize` opened.
#[derive(Default)]
pub struct Channel {
    stream: Mutex<Option<Arc<Stream>>>,
}

/// A session with the server, which lasts as long as its stream. Closed when it is dropped.
struct Stream {
    /// The server's address for messages.
    endpoint: Endpoint,
    answers: Arc<PendingRequests>,
    reader: AbortHandle,
}

impl Endpoint {
    /// POSTs `message` to the address that the server named, and waits for the response on the stream. An `initialize`
    /// opens a new stream. If the stream is over, the message is not sent.
    pub(super) async fn post_over_sse(
        &self,
        channel: &Channel,
        exchange: Exchange,
        message: &Message,
        headers: &HeaderMap,
    ) -> ExchangeResult {
        let is_opening = message.method() == Some("initialize");
        let stream = if is_opening {
            match self.open_stream(exchange, message).await {
                Ok(stream) => channel.replace_stream(stream),
                Err(outcome) => return outcome,
            }
        } else {
            match channel.stream() {
                Some(stream) => stream,
                None => return Ok(Ending::SessionLost(Box::new(Refused::Failure(Failure::NoSession)))),
            }
        };
        let answer = stream.answers.expect(message, exchange, self.deadline);
        let ending =
            match stream.endpoint.send(Method::POST, ACCEPT_ANY, message.raw(), headers, &message.attempts()).await {
                Ok(accepted) if accepted.is_success() => {
                    self.report(Event::Accepted(exchange, None)).await?;
                    return Ok(match answer {
                        Some(answer) => answer.wait().await,
                        None => Ending::Complete,
                    });
                }
                Ok(refusal) => stream.endpoint.read_refusal(exchange, message, refusal, !is_opening).await?,
                Err(failure) => Ending::Failed(failure),
            };
        match answer {
            // Whatever became of the POST, a response shows that the server accepted the message.
            Some(answer) if answer.is_there() => Ok(answer.wait().await),
            _ => Ok(ending),
        }
    }

    /// Opens a stream for the `initialize` in `exchange`, and a task that reads it.
    async fn open_stream(&self, exchange: Exchange, message: &Message) -> Result<Stream, ExchangeResult> {
        let opening = Self { deadline: self.deadline.min(OPENING), ..self.clone() };
        let failed = |failure| Err(Ok(Ending::Failed(failure)));
        match opening.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &HeaderMap::new(), &Attempts::default()).await {
            Ok(answer) if answer.is_success() => {
                opening.start_stream(exchange, answer, self.deadline).await.or_else(failed)
            }
            Ok(refusal) => match opening.read_refusal(exchange, message, refusal, false).await {
                Ok(Ending::Failed(Failure::Status { status, .. } | Failure::UnrelatedError { status, .. })) => {
                    failed(Failure::NoEndpoint { status: Some(status) })
                }
                outcome => Err(outcome),
            },
            Err(Failure::TimedOut { .. }) => failed(Failure::NoEndpoint { status: None }),
            Err(failure) => failed(failure),
        }
    }

    /// Reads the first event, and has the rest read by a task. Requests may then take `deadline`.
    async fn start_stream(
        &self,
        exchange: Exchange,
        answer: JudgedResponse,
        deadline: Duration,
    ) -> Result<Stream, Failure> {
        if !answer.is_event_stream() {
            let content_type = quoted(&answer.content_type().unwrap_or_default());
            return Err(Failure::NotMcp { content_type });
        }
        let mut response = answer.response;
        let mut events = EventStream::new();
        let first = timeout(self.deadline, self.read_endpoint(&mut response, events.decoder())).await;
        let first = first.ok().flatten().ok_or(Failure::NoEndpoint { status: None })?;
        let endpoint = Self { url: endpoint(&self.http.place(&self.url), &first)?, deadline, ..self.clone() };
        let answers = Arc::new(PendingRequests::new());
        let reader = tokio::spawn(endpoint.clone().pass_on(exchange, response, events, answers.clone()));
        Ok(Stream { endpoint, answers, reader: reader.abort_handle() })
    }

    /// The data of the stream's first event, which must be `endpoint`.
    async fn read_endpoint(&self, response: &mut Response, decoder: &mut Decoder) -> Option<Bytes> {
        let mut read = 0;
        loop {
            let chunk = self.next_chunk(response, Deadline::never().end()).await.ok().flatten()?;
            decoder.push(&chunk);
            if let Some(event) = decoder.next_event().ok()? {
                return (event.name == "endpoint").then_some(event.data);
            }
            read += chunk.len();
            if read > ENDPOINT_LIMIT {
                return None;
            }
        }
    }

    /// Reports what comes on the stream. All but responses belong to the `exchange` that opened it.
    async fn pass_on(
        self,
        exchange: Exchange,
        mut response: Response,
        mut events: EventStream,
        answers: Arc<PendingRequests>,
    ) {
        loop {
            // The stream may be silent while no request waits.
            let message = match self.next_item(&mut response, &mut events, Deadline::never().end()).await {
                Ok(Some(StreamItem::Message(message))) => message,
                Ok(Some(StreamItem::SignOfLife)) => {
                    answers.alive();
                    continue;
                }
                Ok(Some(StreamItem::Blank(id))) => {
                    fail_waiter(answers.take(Some(&id)));
                    continue;
                }
                Ok(Some(StreamItem::Unreadable)) => {
                    fail_waiter(answers.take_only());
                    continue;
                }
                Ok(None) => return answers.end(&Failure::Cut),
                Err(failure) => return answers.end(&failure),
            };
            let (exchange, done) = match &message.kind {
                Kind::Response { id, .. } => match answers.take(id.as_ref()) {
                    Some((asked, done)) => (asked, Some(done)),
                    None => continue, // no request waits for it, or no longer
                },
                _ => (exchange, None),
            };
            answers.observe(&message);
            if self.report(Event::Delivered(exchange, message)).await.is_err() {
                return;
            }
            if let Some(done) = done {
                let _ = done.send(Ok(()));
            }
        }
    }
}

/// Fails the request whose response cannot be parsed.
fn fail_waiter(asked: Option<Waiter>) {
    if let Some((_, done)) = asked {
        let _ = done.send(Err(Failure::Malformed));
    }
}

/// The address for messages that an `endpoint` event names. It must be of the server's own origin, because the token
/// goes there.
fn endpoint(server: &ServerUrl, named: &[u8]) -> Result<ServerUrl, Failure> {
    let named = str::from_utf8(named).map_err(|_| Failure::ForeignEndpoint)?;
    let endpoint = server.join(named.trim_ascii()).ok();
    endpoint.filter(|endpoint| endpoint.same_origin(server)).ok_or(Failure::ForeignEndpoint)
}

impl Channel {
    /// The stream, unless it has ended.
    fn stream(&self) -> Option<Arc<Stream>> {
        self.locked().clone().filter(|stream| !stream.answers.is_over())
    }

    /// Sends messages over this stream from now on. Requests that still wait on the previous one keep that open.
    fn replace_stream(&self, stream: Stream) -> Arc<Stream> {
        self.locked().insert(Arc::new(stream)).clone()
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t005, t047: the address must be of the server's own origin, however it is written.
    #[test]
    fn t047_the_address_for_messages_has_the_servers_origin() {
        let server: ServerUrl = "https://mcp.example/v1/sse?x=1".parse().unwrap();
        for (named, address) in [
            ("/messages?session=1", "https://mcp.example/messages?session=1"),
            ("messages/", "https://mcp.example/v1/messages/"),
            ("?session=1", "https://mcp.example/v1/sse?session=1"),
            ("https://mcp.example/messages", "https://mcp.example/messages"),
            ("HTTPS://MCP.example:443/messages", "https://mcp.example/messages"),
            ("//mcp.example/messages", "https://mcp.example/messages"),
            (" /messages\t", "https://mcp.example/messages"),
        ] {
            assert_eq!(endpoint(&server, named.as_bytes()).unwrap().as_str(), address, "{named}");
        }
        for named in [
            "https://evil.example/messages",
            "//evil.example/messages",
            "https://mcp.example:444/messages",
            "http://mcp.example/messages",
            "https://mcp.example@evil.example/messages",
            "https://user@mcp.example/messages",
            "http://127.0.0.1/messages",
            "javascript:alert(1)",
            "/messages#fragment",
            "/messages?session=a b",
            "\\\\evil.example\\messages",
        ] {
            assert!(matches!(endpoint(&server, named.as_bytes()), Err(Failure::ForeignEndpoint)), "{named}");
        }
        assert!(endpoint(&server, b"/\xff").is_err());
    }
}
