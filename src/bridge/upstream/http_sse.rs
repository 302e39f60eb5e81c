//! HTTP+SSE, the transport of the first revision: the server names the address for messages on a GET stream, and whatever
//! it says comes there (MCP 2024-11-05 transports, "HTTP with SSE").

use std::{
    collections::HashMap,
    str,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::Response;
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    bridge::{
        conversation::{
            failure::Failure,
            session::{Ending, Event, Exchange, Said},
        },
        upstream::{
            ACCEPT_ANY, ACCEPT_STREAM, Outcome, Upstream, content_type,
            deadline::Deadline,
            event_stream::{EventStream, Heard},
            is_event_stream,
        },
    },
    mcp::{
        attempts::Attempts,
        id::Id,
        message::{Kind, Message},
        sse::Decoder,
    },
    printable::quoted,
    server_url::ServerUrl,
};

/// How long the stream may take to open, and then to say where messages go. A place that is no such server may say nothing
/// at all.
const OPENING: Duration = Duration::from_secs(10);

/// How much of the stream is read for that, in bytes.
const ENDPOINT_LIMIT: usize = 16 << 10;

/// Where the answers come in: the stream that the last `initialize` opened.
#[derive(Default)]
pub struct Channel {
    stream: Mutex<Option<Arc<Stream>>>,
}

/// A session of the server's, which lasts as long as the stream. That is closed when nobody needs it any more.
struct Stream {
    /// The server, at the address for messages.
    endpoint: Upstream,
    answers: Arc<Answers>,
    reader: AbortHandle,
}

/// The answers that are to come on a stream.
struct Answers {
    state: Mutex<State>,
}

struct State {
    awaited: HashMap<Id, Awaited>,
    /// Nothing more will come.
    over: bool,
}

/// An exchange that an answer is for, and who is told that it has been passed on.
type Asked = (Exchange, oneshot::Sender<Result<(), Failure>>);

struct Awaited {
    exchange: Exchange,
    /// Whatever comes on the stream moves it, be it a comment: it cannot be told which request that is about.
    deadline: Deadline,
    /// Takes note that the answer has been passed on, or why there is none. Gone as soon as the answer is there.
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// The answer to one request, which nobody waits for once this is dropped.
struct Answer {
    answers: Arc<Answers>,
    id: Id,
    exchange: Exchange,
    idle: Duration,
    done: oneshot::Receiver<Result<(), Failure>>,
}

impl Upstream {
    /// POSTs `message` to the address that the server named, and waits for its answer on the stream. An `initialize` opens
    /// a stream; what comes when that is over was not sent.
    pub(super) async fn post_beside(
        &self,
        channel: &Channel,
        exchange: Exchange,
        message: &Message,
        headers: &HeaderMap,
    ) -> Outcome {
        let is_opening = message.method() == Some("initialize");
        let stream = if is_opening {
            match self.open_stream(exchange, message).await {
                Ok(stream) => channel.keep(stream),
                Err(outcome) => return outcome,
            }
        } else {
            match channel.stream() {
                Some(stream) => stream,
                None => return Ok(Ending::SessionLost(Box::new(Said::Failure(Failure::NoSession)))),
            }
        };
        let answer = stream.answers.expect(message, exchange, self.deadline);
        let ending =
            match stream.endpoint.send(Method::POST, ACCEPT_ANY, message.raw(), headers, &message.attempts()).await {
                Ok(response) if response.status().is_success() => {
                    self.report(Event::Accepted(exchange, None)).await?;
                    return Ok(match answer {
                        Some(answer) => answer.wait().await,
                        None => Ending::Complete,
                    });
                }
                Ok(response) => stream.endpoint.read_refusal(exchange, message, response, !is_opening).await?,
                Err(failure) => Ending::Failed(failure),
            };
        match answer {
            // Whatever became of the POST, the server has taken the message.
            Some(answer) if answer.is_there() => Ok(answer.wait().await),
            _ => Ok(ending),
        }
    }

    /// Opens a stream and has it read, in the name of the `initialize` that needs it.
    async fn open_stream(&self, exchange: Exchange, message: &Message) -> Result<Stream, Outcome> {
        let opening = Self { deadline: self.deadline.min(OPENING), channel: None, ..self.clone() };
        let failed = |failure| Err(Ok(Ending::Failed(failure)));
        match opening.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &HeaderMap::new(), &Attempts::default()).await {
            Ok(response) if response.status().is_success() => {
                opening.begin_stream(exchange, response, self.deadline).await.or_else(failed)
            }
            Ok(response) => match opening.read_refusal(exchange, message, response, false).await {
                Ok(Ending::Failed(Failure::Status { status, .. } | Failure::Unaddressed { status, .. })) => {
                    failed(Failure::NoEndpoint { status: Some(status) })
                }
                outcome => Err(outcome),
            },
            Err(Failure::TimedOut { .. }) => failed(Failure::NoEndpoint { status: None }),
            Err(failure) => failed(failure),
        }
    }

    /// Has the stream read from its second event on; messages may then take `deadline`.
    async fn begin_stream(
        &self,
        exchange: Exchange,
        mut response: Response,
        deadline: Duration,
    ) -> Result<Stream, Failure> {
        if !is_event_stream(&response) {
            let content_type = quoted(&content_type(&response).unwrap_or_default());
            return Err(Failure::NotMcp { content_type });
        }
        let mut events = EventStream::new();
        let first = timeout(self.deadline, self.read_endpoint(&mut response, events.decoder())).await;
        let first = first.ok().flatten().ok_or(Failure::NoEndpoint { status: None })?;
        let endpoint = Self { server: endpoint(&self.http.place(&self.server), &first)?, deadline, ..self.clone() };
        let answers = Arc::new(Answers::new());
        let reader = tokio::spawn(endpoint.clone().pass_on(exchange, response, events, answers.clone()));
        Ok(Stream { endpoint, answers, reader: reader.abort_handle() })
    }

    /// The data of the stream's first event, which has to be `endpoint`.
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

    /// Passes on what comes on the stream. What is no answer comes in the name of the `exchange` that opened it.
    async fn pass_on(self, exchange: Exchange, mut response: Response, mut events: EventStream, answers: Arc<Answers>) {
        loop {
            // A stream may be silent for as long as nobody waits for anything.
            let message = match self.hear(&mut response, &mut events, Deadline::never().end()).await {
                Ok(Some(Heard::Message(message))) => message,
                Ok(Some(Heard::SignOfLife)) => {
                    answers.alive();
                    continue;
                }
                Ok(Some(Heard::Blank(id))) => {
                    refuse(answers.take(Some(&id)));
                    continue;
                }
                Ok(Some(Heard::Unreadable)) => {
                    refuse(answers.take_only());
                    continue;
                }
                Ok(None) => return answers.end(&Failure::Cut),
                Err(failure) => return answers.end(&failure),
            };
            let (exchange, done) = match &message.kind {
                Kind::Response { id, .. } => match answers.take(id.as_ref()) {
                    Some((asked, done)) => (asked, Some(done)),
                    None => continue, // nobody has asked, or nobody waits any more
                },
                _ => (exchange, None),
            };
            answers.hear(&message);
            if self.report(Event::Delivered(exchange, message)).await.is_err() {
                return;
            }
            if let Some(done) = done {
                let _ = done.send(Ok(()));
            }
        }
    }
}

/// Ends the wait for an answer that came and cannot be read.
fn refuse(asked: Option<Asked>) {
    if let Some((_, done)) = asked {
        let _ = done.send(Err(Failure::Malformed));
    }
}

/// The address for messages that an `endpoint` event names. It is the server's own: a credential goes nowhere else.
fn endpoint(server: &ServerUrl, named: &[u8]) -> Result<ServerUrl, Failure> {
    let named = str::from_utf8(named).map_err(|_| Failure::ForeignEndpoint)?;
    let endpoint = server.join(named.trim_ascii()).ok();
    endpoint.filter(|endpoint| endpoint.same_origin(server)).ok_or(Failure::ForeignEndpoint)
}

impl Channel {
    /// The stream, unless it is over.
    fn stream(&self) -> Option<Arc<Stream>> {
        self.locked().clone().filter(|stream| !stream.answers.locked().over)
    }

    /// From now on messages belong to this stream. What is still awaited on another keeps that open.
    fn keep(&self, stream: Stream) -> Arc<Stream> {
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

impl Answers {
    fn new() -> Self {
        Self { state: Mutex::new(State { awaited: HashMap::new(), over: false }) }
    }

    /// The answer to come for `message`, where that is a request; it may take `idle` from one message of the server to the
    /// next.
    fn expect(self: &Arc<Self>, message: &Message, exchange: Exchange, idle: Duration) -> Option<Answer> {
        let Kind::Request { id, .. } = &message.kind else { return None };
        let (sender, done) = oneshot::channel();
        let mut state = self.locked();
        if !state.over {
            let deadline = Deadline::new(idle);
            state.awaited.insert(id.clone(), Awaited { exchange, deadline, done: Some(sender) });
        }
        drop(state);
        Some(Answer { answers: self.clone(), id: id.clone(), exchange, idle, done })
    }

    /// The exchange that waits for the answer with this id; the answer is there now. Some servers give it an id of
    /// another type, which can be meant for one request only.
    fn take(&self, id: Option<&Id>) -> Option<Asked> {
        let (id, mut state) = (id?, self.locked());
        if let Some(awaited) = state.awaited.get_mut(id) {
            return Some((awaited.exchange, awaited.done.take()?));
        }
        let alike = state.awaited.iter_mut().filter(|(asked, awaited)| asked.resembles(id) && awaited.done.is_some());
        let mut alike = alike.map(|(_, awaited)| awaited);
        let awaited = alike.next().filter(|_| alike.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    /// The same of the only exchange that waits for an answer, whatever the id of that.
    fn take_only(&self) -> Option<Asked> {
        let mut state = self.locked();
        let mut waiting = state.awaited.values_mut().filter(|awaited| awaited.done.is_some());
        let awaited = waiting.next().filter(|_| waiting.next().is_none())?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    fn hear(&self, message: &Message) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.heard(message));
    }

    fn alive(&self) {
        self.locked().awaited.values_mut().for_each(|awaited| awaited.deadline.alive());
    }

    /// Nothing more will come: whoever waits is told why.
    fn end(&self, failure: &Failure) {
        let mut state = self.locked();
        state.over = true;
        for (_, awaited) in state.awaited.extract_if(|_, awaited| awaited.done.is_some()) {
            let why = match failure {
                Failure::Malformed => Failure::Malformed,
                Failure::TooLarge { limit } => Failure::TooLarge { limit: *limit },
                _ => Failure::Cut,
            };
            let _ = awaited.done.map(|done| done.send(Err(why)));
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// Whether it has come, though it may not have been passed on yet.
    fn is_there(&self) -> bool {
        let state = self.answers.locked();
        state.awaited.get(&self.id).is_some_and(|awaited| awaited.exchange == self.exchange && awaited.done.is_none())
    }

    /// Waits until it has been passed on, for as long as a [`Deadline`] lets it from when the server has taken the request.
    /// Once the answer is there, the client has all the time it wants.
    async fn wait(mut self) -> Ending {
        if let Some(awaited) = self.answers.locked().awaited.get_mut(&self.id) {
            awaited.deadline.alive();
        }
        loop {
            let end = self.end();
            if end <= Instant::now() {
                return Ending::Failed(Failure::TimedOut { seconds: self.idle.as_secs() });
            }
            match timeout_at(end, &mut self.done).await {
                Ok(Ok(Ok(()))) => return Ending::Complete,
                Ok(Ok(Err(failure))) => return Ending::Failed(failure),
                Ok(Err(_)) => return Ending::Failed(Failure::Cut),
                Err(_) => {} // the server may have said something meanwhile
            }
        }
    }

    /// Until when it is waited for, as it is now.
    fn end(&self) -> Instant {
        let state = self.answers.locked();
        let awaited = state.awaited.get(&self.id).filter(|awaited| awaited.done.is_some());
        awaited.map_or_else(Deadline::never, |awaited| awaited.deadline).end()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.answers.locked();
        if state.awaited.get(&self.id).is_some_and(|awaited| awaited.exchange == self.exchange) {
            state.awaited.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t005, t047: the address is the server's own, however it is written.
    #[test]
    fn t047_the_address_for_messages_is_of_the_same_origin() {
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

    const IDLE: Duration = Duration::from_secs(10);

    fn request(id: u64) -> Message {
        Message::request(Id::ours(id), "tools/call", "{}")
    }

    /// The answers of a stream, and that to the first request, which comes in exchange 7.
    fn answers() -> (Arc<Answers>, Answer) {
        let answers = Arc::new(Answers::new());
        let answer = answers.expect(&request(1), 7, IDLE).unwrap();
        (answers, answer)
    }

    /// Takes the answer to the request `id`, if anybody waits for it, and passes it on.
    fn pass_on(answers: &Answers, id: u64) -> Option<Exchange> {
        let (exchange, done) = answers.take(Some(&Id::ours(id)))?;
        done.send(Ok(())).unwrap();
        Some(exchange)
    }

    /// t105: an answer is for whoever has asked, once, and for as long as it is waited for.
    #[tokio::test]
    async fn t105_an_answer_is_for_the_exchange_that_waits_for_it() {
        let (answers, answer) = answers();
        assert!(answers.expect(&Message::notification("x", "{}"), 8, IDLE).is_none());
        assert_eq!((pass_on(&answers, 2), answers.take(None).is_none()), (None, true));
        assert!(!answer.is_there());
        assert_eq!(pass_on(&answers, 1), Some(7));
        assert!(answer.is_there());
        assert_eq!(pass_on(&answers, 1), None);
        assert!(matches!(answer.wait().await, Ending::Complete));
        drop(answers.expect(&request(2), 8, IDLE));
        assert_eq!(pass_on(&answers, 2), None);
        assert!(answers.locked().awaited.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_when_the_stream_ends_is_told_why() {
        for (failure, text) in [
            (Failure::Malformed, "not a JSON-RPC message"),
            (Failure::TooLarge { limit: 1 << 20 }, "1 MiB"),
            (Failure::Cut, "without a response"),
        ] {
            let (answers, answer) = answers();
            let answered = answers.expect(&request(2), 8, IDLE).unwrap();
            pass_on(&answers, 2);
            answers.end(&failure);
            assert!(!answer.is_there());
            assert!(answered.is_there());
            assert!(matches!(answered.wait().await, Ending::Complete));
            assert!(matches!(answer.wait().await, Ending::Failed(failure) if failure.to_string().contains(text)));
            let late = answers.expect(&request(3), 9, IDLE).unwrap();
            assert!(matches!(late.wait().await, Ending::Failed(Failure::Cut)));
        }
    }

    fn progress() -> Message {
        Message::notification("notifications/progress", "{}")
    }

    /// t128: from one message of the server to the next, and not for ever.
    #[tokio::test(start_paused = true)]
    async fn t128_an_answer_is_waited_for_while_the_server_speaks() {
        for (messages, seconds) in [(0, 10), (3, 27 + 10), (40, 12 * 10)] {
            let begun = Instant::now();
            let (answers, answer) = answers();
            let waiting = tokio::spawn(answer.wait());
            for _ in 0..messages {
                tokio::time::sleep(Duration::from_secs(9)).await;
                if waiting.is_finished() {
                    break;
                }
                answers.hear(&progress());
            }
            let ending = waiting.await.unwrap();
            let elapsed = begun.elapsed();
            assert!(matches!(ending, Ending::Failed(Failure::TimedOut { seconds: 10 })), "{ending:?}");
            assert!((seconds..seconds + 9).contains(&elapsed.as_secs()), "{messages}: {elapsed:?}");
        }
    }

    /// t128: the time that the server takes to take the request is its own; a person who is asked has longer.
    #[tokio::test(start_paused = true)]
    async fn t128_a_person_may_think_about_a_question() {
        let (answers, answer) = answers();
        tokio::time::sleep(Duration::from_secs(9)).await;
        let waiting = tokio::spawn(answer.wait());
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!waiting.is_finished());
        answers.hear(&Message::request(Id::named("q"), "elicitation/create", "{}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        answers.hear(&progress());
        tokio::time::sleep(Duration::from_secs(3000)).await;
        assert!(!waiting.is_finished());
        pass_on(&answers, 1);
        assert!(matches!(waiting.await.unwrap(), Ending::Complete));
    }

    /// An answer that is there is the client's to take, however long that takes.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_is_not_given_up() {
        let (answers, answer) = answers();
        let waiting = tokio::spawn(answer.wait());
        tokio::time::sleep(Duration::from_secs(9)).await;
        let (_, done) = answers.take(Some(&Id::ours(1))).unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!waiting.is_finished());
        done.send(Ok(())).unwrap();
        assert!(matches!(waiting.await.unwrap(), Ending::Complete));
    }
}
