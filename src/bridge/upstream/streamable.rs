//! Streamable HTTP: each message is a POST, and its response comes in the response to that POST.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    bridge::upstream::{
        deadline::Deadline,
        endpoint::{ACCEPT_ANY, ACCEPT_STREAM, Endpoint, ExchangeResult, MESSAGE_LIMIT},
        event_stream::{EventStream, StreamItem},
        judged_response::JudgedResponse,
        rate::patience::{self, Reopening},
    },
    conversation::{
        failure::Failure,
        session::{Ending, Event, Exchange},
    },
    mcp::{
        attempts::Attempts,
        delivery::Delivery,
        headers,
        id::Id,
        message::{Kind, Message},
    },
    printable::quoted,
};

/// The longest session id that finmcp accepts, because it sends it back with every request; in bytes.
const SESSION_ID_LIMIT: usize = 8 << 10;

const LAST_EVENT_ID: &str = "last-event-id";

/// An event stream, and what has come on it.
struct Stream {
    events: EventStream,
    /// The request that the stream responds to.
    asked: Option<Id>,
    messages: usize,
    /// Whether the response has come.
    answered: bool,
    /// Whether another event, which may have been the response, could not be parsed.
    unreadable: bool,
}

impl Stream {
    fn answering(asked: Option<&Id>) -> Self {
        Self { events: EventStream::new(), asked: asked.cloned(), messages: 0, answered: false, unreadable: false }
    }

    /// Whether a response with this id, or without one, belongs to the request.
    fn is_answered_by(&self, id: Option<&Id>) -> bool {
        id.is_none_or(|id| self.asked.as_ref().is_some_and(|asked| id.resembles(asked)))
    }

    /// Whether the stream was worth opening. A stream that lasted long counts even if nothing came: there was nothing
    /// to send, and a proxy may have cut it.
    fn was_useful(&self, lasted: Duration) -> bool {
        const LASTING: Duration = Duration::from_secs(30);
        self.messages > 0 || lasted >= LASTING
    }

    /// The ending of the exchange, given the ending of the stream.
    fn ending(&self, ending: Ending) -> Ending {
        match ending {
            Ending::Complete if self.unreadable && !self.answered => Ending::Failed(Failure::Malformed),
            ending => ending,
        }
    }

    /// How far the server has come. If the server sends `retry`, a new event id without a message is progress too: the
    /// server wants to be polled.
    fn progress(&self) -> (usize, Option<Bytes>) {
        (self.messages, self.events.last_event_id().filter(|_| self.events.retry().is_some()).cloned())
    }
}

impl Endpoint {
    /// POSTs `message` and reads the response.
    pub(super) async fn post_streamable(
        &self,
        exchange: Exchange,
        message: &Message,
        headers: &HeaderMap,
    ) -> ExchangeResult {
        match self.send(Method::POST, ACCEPT_ANY, message.raw(), headers, &message.attempts()).await {
            Ok(answer) => self.read_answer(exchange, message, headers, answer).await,
            Err(failure) => Ok(Ending::Failed(failure)),
        }
    }

    /// Keeps the GET stream open and reports what comes on it, until the server says that it has no such stream or no
    /// longer knows the session. Resumes a cut stream where it ended (MCP 2025-11-25 transports, "Resumability and
    /// Redelivery"). Gives up after several silent streams in a row, until the client sends something: an idle finmcp
    /// must not keep the server busy.
    pub(super) async fn keep_listening(&self, exchange: Exchange, mut headers: HeaderMap) -> ExchangeResult {
        let mut reopening = Reopening::default();
        loop {
            let begun = Instant::now();
            let answer = self.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &headers, &Attempts::default()).await;
            let failure = match answer {
                Ok(answer) if answer.is_success() && answer.is_event_stream() => {
                    self.report(Event::Accepted(exchange, None)).await?;
                    let mut stream = Stream::answering(None);
                    self.read_events(exchange, answer.response, &mut stream, &mut Deadline::never()).await?;
                    if stream.was_useful(begun.elapsed()) {
                        reopening.received();
                    }
                    if let Some(id) = stream.events.last_event_id().and_then(|id| HeaderValue::from_bytes(id).ok()) {
                        headers.insert(LAST_EVENT_ID, id);
                    }
                    reopening.asked = stream.events.retry().map(Duration::from_millis).or(reopening.asked);
                    Failure::Cut
                }
                Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                    reopening.asked = self.rate_gate.asked(answer.headers()).or(reopening.asked);
                    Failure::Status { status: answer.status(), retry_after: reopening.asked, reason: None }
                }
                Ok(answer) if answer.status().is_server_error() => {
                    Failure::Status { status: answer.status(), retry_after: None, reason: None }
                }
                // 405: the server has no such stream. A 404 or another refusal will not change on a retry.
                Ok(_) => return Ok(Ending::Complete),
                Err(failure @ Failure::Http(_)) => failure,
                Err(failure) => return Ok(Ending::Failed(failure)),
            };
            let Some(wait) = reopening.next(getrandom::u32().unwrap_or_default()) else {
                return Ok(Ending::Failed(failure));
            };
            sleep(wait).await;
        }
    }

    /// Deletes the session (MCP 2025-11-25 transports, "Session Management") with the current token. Fetches no new
    /// token for this, and ignores the server's response.
    pub(super) async fn delete(&self, headers: HeaderMap) {
        let token = self.tokens.held();
        for _ in 0..2 {
            let sent = self.transmit(&Method::DELETE, &ACCEPT_ANY, &Bytes::new(), &headers, token.as_ref()).await;
            let (Ok(response), Some(token)) = (sent, &token) else { return };
            // The second proof carries a nonce.
            if !token.lacked_nonce(&self.url, response.status(), response.headers()) {
                return;
            }
        }
    }

    async fn read_answer(
        &self,
        exchange: Exchange,
        message: &Message,
        headers: &HeaderMap,
        answer: JudgedResponse,
    ) -> ExchangeResult {
        let status = answer.status();
        if !status.is_success() {
            let in_session = headers.contains_key(headers::SESSION_ID);
            return self.read_refusal(exchange, message, answer, in_session).await;
        }
        let mut session_id = answer.headers().get(headers::SESSION_ID).cloned();
        if let Some(id) = &mut session_id {
            // MCP 2025-11-25 transports, "Session Management": visible ASCII only.
            if id.is_empty() || id.len() > SESSION_ID_LIMIT || !id.as_bytes().iter().all(u8::is_ascii_graphic) {
                return Ok(Ending::Failed(Failure::Malformed));
            }
            id.set_sensitive(true);
        }
        self.report(Event::Accepted(exchange, session_id)).await?;
        if status == StatusCode::ACCEPTED || status == StatusCode::NO_CONTENT {
            return Ok(Ending::Complete);
        }
        if answer.is_event_stream() {
            // A subscription is silent while nothing changes.
            let is_subscription = message.method() == Some("subscriptions/listen");
            let deadline = if is_subscription { Deadline::never() } else { Deadline::new(self.deadline) };
            return self.read_stream(exchange, message.id(), headers, answer.response, deadline).await;
        }
        let content_type = answer.content_type();
        let is_page = matches!(content_type.as_deref(), Some("text/html" | "application/xhtml+xml"));
        let body = if is_page {
            Bytes::new()
        } else {
            match self.read_body(answer.response, MESSAGE_LIMIT).await {
                Ok(body) => body,
                Err(failure) => return Ok(Ending::Failed(failure)),
            }
        };
        // Some servers send JSON with another content type, such as text/plain, or with none.
        if let Delivery::Messages(messages) = Delivery::read(body.clone()) {
            for message in messages {
                self.report(Event::Delivered(exchange, message)).await?;
            }
            return Ok(Ending::Complete);
        }
        match content_type {
            Some(other) if other != "application/json" && !other.ends_with("+json") => {
                Ok(Ending::Failed(Failure::NotMcp { content_type: quoted(&other) }))
            }
            _ if body.is_empty() => Ok(Ending::Complete),
            _ => Ok(Ending::Failed(Failure::Malformed)),
        }
    }

    /// Reads the stream that responds to a POST. If it ends before the response, resumes it with GET and never with
    /// another POST (MCP 2025-11-25 transports, "Resumability and Redelivery"; the modern era has neither resumption
    /// nor event ids).
    async fn read_stream(
        &self,
        exchange: Exchange,
        asked: Option<&Id>,
        headers: &HeaderMap,
        mut response: Response,
        mut deadline: Deadline,
    ) -> ExchangeResult {
        const ATTEMPTS: u32 = 3;
        /// The default, if the server sends no `retry`.
        const PAUSE: Duration = Duration::from_millis(100);
        let mut stream = Stream::answering(asked);
        let mut attempts = 0;
        loop {
            let before = stream.progress();
            let ending = self.read_events(exchange, response, &mut stream, &mut deadline).await?;
            let is_cut = matches!(ending, Ending::Complete | Ending::Failed(Failure::Http(_)));
            attempts = if stream.progress() == before { attempts + 1 } else { 0 };
            let id = stream.events.last_event_id().and_then(|id| HeaderValue::from_bytes(id).ok());
            let Some(id) = id.filter(|_| is_cut && !stream.answered && attempts <= ATTEMPTS) else {
                return Ok(stream.ending(ending));
            };
            let mut headers = headers.clone();
            headers.insert(LAST_EVENT_ID, id);
            let asked = stream.events.retry().map_or(PAUSE, Duration::from_millis);
            let pause = patience::reconnect(Some(asked), attempts, getrandom::u32().unwrap_or_default());
            let again = Instant::now() + pause;
            deadline.pause(pause);
            if deadline.end() < again {
                return Ok(Ending::Failed(self.timed_out()));
            }
            sleep_until(again).await;
            response = match self.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &headers, &Attempts::default()).await
            {
                Ok(resumed) if resumed.is_success() && resumed.is_event_stream() => resumed.response,
                _ => return Ok(stream.ending(ending)),
            };
            stream.events = stream.events.resumed();
        }
    }

    async fn read_events(
        &self,
        exchange: Exchange,
        mut response: Response,
        stream: &mut Stream,
        deadline: &mut Deadline,
    ) -> ExchangeResult {
        loop {
            match self.next_item(&mut response, &mut stream.events, deadline.end()).await {
                Ok(Some(StreamItem::Message(message))) => {
                    stream.messages += 1;
                    deadline.observe(&message);
                    if let Kind::Response { id, .. } = &message.kind {
                        stream.answered |= stream.is_answered_by(id.as_ref());
                    }
                    self.report(Event::Delivered(exchange, message)).await?;
                }
                Ok(Some(StreamItem::Blank(id))) if !stream.answered && stream.is_answered_by(Some(&id)) => {
                    return Ok(Ending::Failed(Failure::Malformed));
                }
                Ok(Some(other)) => {
                    stream.unreadable |= matches!(other, StreamItem::Unreadable);
                    // After the response only the end of the stream is left to wait for.
                    if !stream.answered {
                        deadline.alive();
                    }
                }
                Ok(None) => return Ok(Ending::Complete),
                Err(failure) => return Ok(Ending::Failed(failure)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t124: only a stream that ends soon and silent is reopened less and less often.
    #[test]
    fn t124_a_stream_that_stays_open_counts_as_useful() {
        let mut stream = Stream::answering(None);
        assert!(!stream.was_useful(Duration::from_secs(29)));
        assert!(stream.was_useful(Duration::from_secs(30)));
        stream.messages = 1;
        assert!(stream.was_useful(Duration::ZERO));
    }
}
