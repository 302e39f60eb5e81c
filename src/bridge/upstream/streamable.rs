//! Streamable HTTP: each message is a POST, answered where it was sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    bridge::{
        conversation::{
            failure::Failure,
            session::{Ending, Event, Exchange},
        },
        upstream::{
            answer::Answer,
            deadline::Deadline,
            endpoint::{ACCEPT_ANY, ACCEPT_STREAM, Endpoint, MESSAGE_LIMIT, Outcome},
            event_stream::{EventStream, Heard},
            rate::patience::{self, Reopening},
        },
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

/// The longest session id that is sent back with every request, in bytes.
const SESSION_ID_LIMIT: usize = 8 << 10;

const LAST_EVENT_ID: &str = "last-event-id";

/// An event stream, and what has come of it.
struct Stream {
    events: EventStream,
    /// The request that it answers.
    asked: Option<Id>,
    messages: usize,
    /// The answer was among them.
    answered: bool,
    /// Something else that may have been it could not be read.
    unreadable: bool,
}

impl Stream {
    fn answering(asked: Option<&Id>) -> Self {
        Self { events: EventStream::new(), asked: asked.cloned(), messages: 0, answered: false, unreadable: false }
    }

    /// Whether a response with this id, or without one, answers the request.
    fn is_answered_by(&self, id: Option<&Id>) -> bool {
        id.is_none_or(|id| self.asked.as_ref().is_some_and(|asked| id.resembles(asked)))
    }

    /// Whether something came of it in the time that it lasted. Where that was long, something in between has cut it,
    /// such as a proxy that has had enough: there was nothing to say.
    fn was_of_use(&self, lasted: Duration) -> bool {
        const LASTING: Duration = Duration::from_secs(30);
        self.messages > 0 || lasted >= LASTING
    }

    /// How the exchange ends where the stream ended so.
    fn ending(&self, ending: Ending) -> Ending {
        match ending {
            Ending::Complete if self.unreadable && !self.answered => Ending::Failed(Failure::Malformed),
            ending => ending,
        }
    }

    /// How far the server has come. Where it says when to come back, a new event id without a message is a step too:
    /// it wants to be polled.
    fn said(&self) -> (usize, Option<Bytes>) {
        (self.messages, self.events.last_event_id().filter(|_| self.events.retry().is_some()).cloned())
    }
}

impl Endpoint {
    /// POSTs `message` and reads what answers it.
    pub(super) async fn post_for_answer(&self, exchange: Exchange, message: &Message, headers: &HeaderMap) -> Outcome {
        match self.send(Method::POST, ACCEPT_ANY, message.raw(), headers, &message.attempts()).await {
            Ok(answer) => self.read_answer(exchange, message, headers, answer).await,
            Err(failure) => Ok(Ending::Failed(failure)),
        }
    }

    /// Keeps the GET stream open and reports what comes on it, until the server says that it has none or has forgotten
    /// the session. A stream that is cut is resumed where it was (MCP 2025-11-25 transports, "Resumability and
    /// Redelivery"), so often; after that the client has to be heard of again: an idle process keeps no server busy.
    pub(super) async fn keep_listening(&self, exchange: Exchange, mut headers: HeaderMap) -> Outcome {
        let mut reopening = Reopening::default();
        loop {
            let begun = Instant::now();
            let answer = self.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &headers, &Attempts::default()).await;
            let failure = match answer {
                Ok(answer) if answer.is_success() && answer.is_event_stream() => {
                    self.report(Event::Accepted(exchange, None)).await?;
                    let mut stream = Stream::answering(None);
                    self.read_events(exchange, answer.response, &mut stream, &mut Deadline::never()).await?;
                    if stream.was_of_use(begun.elapsed()) {
                        reopening.heard();
                    }
                    if let Some(id) = stream.events.last_event_id().and_then(|id| HeaderValue::from_bytes(id).ok()) {
                        headers.insert(LAST_EVENT_ID, id);
                    }
                    reopening.asked = stream.events.retry().map(Duration::from_millis).or(reopening.asked);
                    Failure::Cut
                }
                Ok(answer) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                    reopening.asked = self.turnstile.asked(answer.headers()).or(reopening.asked);
                    Failure::Status { status: answer.status(), retry_after: reopening.asked, reason: None }
                }
                Ok(answer) if answer.status().is_server_error() => {
                    Failure::Status { status: answer.status(), retry_after: None, reason: None }
                }
                // 405: the server has no such stream. 404 and other refusals will not change by asking again.
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

    /// Ends the session (MCP 2025-11-25 transports, "Session Management"), with the token in use: none is fetched for
    /// this, and the server's answer does not matter.
    pub(super) async fn delete(&self, headers: HeaderMap) {
        let token = self.tokens.held();
        for _ in 0..2 {
            let sent = self.transmit(&Method::DELETE, &ACCEPT_ANY, &Bytes::new(), &headers, token.as_ref()).await;
            let (Ok(response), Some(token)) = (sent, &token) else { return };
            // Its proof has a nonce the second time.
            if !token.lacked_nonce(&self.url, response.status(), response.headers()) {
                return;
            }
        }
    }

    async fn read_answer(&self, exchange: Exchange, message: &Message, headers: &HeaderMap, answer: Answer) -> Outcome {
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
            // A subscription says nothing for as long as nothing changes.
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
        // Some servers do not say that it is JSON, or say something else (text/plain).
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

    /// Reads the stream that answers a POST. One that ends before the response is taken up where it was, with GET and
    /// never with another POST (MCP 2025-11-25 transports, "Resumability and Redelivery"; the modern era has no such
    /// thing, and no event ids).
    async fn read_stream(
        &self,
        exchange: Exchange,
        asked: Option<&Id>,
        headers: &HeaderMap,
        mut response: Response,
        mut deadline: Deadline,
    ) -> Outcome {
        const ATTEMPTS: u32 = 3;
        /// Where the server asks for no other.
        const PAUSE: Duration = Duration::from_millis(100);
        let mut stream = Stream::answering(asked);
        let mut attempts = 0;
        loop {
            let said = stream.said();
            let ending = self.read_events(exchange, response, &mut stream, &mut deadline).await?;
            let is_cut = matches!(ending, Ending::Complete | Ending::Failed(Failure::Http(_)));
            attempts = if stream.said() == said { attempts + 1 } else { 0 };
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
    ) -> Outcome {
        loop {
            match self.hear(&mut response, &mut stream.events, deadline.end()).await {
                Ok(Some(Heard::Message(message))) => {
                    stream.messages += 1;
                    deadline.heard(&message);
                    if let Kind::Response { id, .. } = &message.kind {
                        stream.answered |= stream.is_answered_by(id.as_ref());
                    }
                    self.report(Event::Delivered(exchange, message)).await?;
                }
                Ok(Some(Heard::Blank(id))) if !stream.answered && stream.is_answered_by(Some(&id)) => {
                    return Ok(Ending::Failed(Failure::Malformed));
                }
                Ok(Some(other)) => {
                    stream.unreadable |= matches!(other, Heard::Unreadable);
                    // (After the answer nothing is waited for but the end.)
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

    /// t124: only a stream that ends at once and has said nothing is opened again more and more rarely.
    #[test]
    fn t124_a_stream_that_lasts_is_of_use() {
        let mut stream = Stream::answering(None);
        assert!(!stream.was_of_use(Duration::from_secs(29)));
        assert!(stream.was_of_use(Duration::from_secs(30)));
        stream.messages = 1;
        assert!(stream.was_of_use(Duration::ZERO));
    }
}
