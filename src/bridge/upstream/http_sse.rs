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
    time::{Instant, timeout},
};

use crate::{
    bridge::{
        message::{Id, Kind, Message},
        retry::Failure,
        session::{Ending, Event, Exchange},
        sse::Decoder,
        upstream::{
            ACCEPT_ANY, ACCEPT_STREAM, MESSAGE_LIMIT, Outcome, Unwanted, Upstream, content_type, deadline::Deadline,
            is_event_stream,
        },
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
    /// When the server last said something.
    heard: Instant,
    /// Nothing more will come.
    over: bool,
}

struct Awaited {
    exchange: Exchange,
    /// Takes note that the answer has been passed on, or why there is none. Gone as soon as the answer is there.
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// The answer to one request, which nobody waits for once this is dropped.
struct Answer {
    answers: Arc<Answers>,
    id: Id,
    exchange: Exchange,
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
        let stream = match is_opening {
            true => match self.open_stream(exchange, message).await? {
                Ok(stream) => channel.keep(stream),
                Err(ending) => return Ok(ending),
            },
            false => match channel.stream() {
                Some(stream) => stream,
                None => return Ok(Ending::SessionLost),
            },
        };
        let answer = stream.answers.expect(message, exchange);
        let ending = match stream.endpoint.send(Method::POST, ACCEPT_ANY, message.raw(), headers).await {
            Ok(response) if response.status().is_success() => {
                self.report(Event::Accepted(exchange, None)).await?;
                return Ok(match answer {
                    Some(answer) => answer.wait(self.deadline).await,
                    None => Ending::Complete,
                });
            }
            Ok(response) => stream.endpoint.read_refusal(exchange, message, response, !is_opening).await?,
            Err(failure) => Ending::Failed(failure),
        };
        match answer {
            // Whatever became of the POST, the server has taken the message.
            Some(answer) if answer.is_there() => Ok(answer.wait(self.deadline).await),
            _ => Ok(ending),
        }
    }

    /// Opens a stream and has it read, in the name of the `initialize` that needs it.
    async fn open_stream(&self, exchange: Exchange, message: &Message) -> Result<Result<Stream, Ending>, Unwanted> {
        let opening = Self { deadline: self.deadline.min(OPENING), channel: None, ..self.clone() };
        let response = match opening.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &HeaderMap::new()).await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return opening.read_refusal(exchange, message, response, false).await.map(Err),
            Err(Failure::TimedOut { .. }) => return Ok(Err(Ending::Failed(Failure::NoEndpoint))),
            Err(failure) => return Ok(Err(Ending::Failed(failure))),
        };
        Ok(self.begin_stream(&opening, exchange, response).await.map_err(Ending::Failed))
    }

    async fn begin_stream(
        &self,
        opening: &Self,
        exchange: Exchange,
        mut response: Response,
    ) -> Result<Stream, Failure> {
        if !is_event_stream(&response) {
            let content_type = quoted(&content_type(&response).unwrap_or_default());
            return Err(Failure::NotMcp { content_type });
        }
        let mut decoder = Decoder::new(MESSAGE_LIMIT);
        let first = timeout(opening.deadline, opening.read_endpoint(&mut response, &mut decoder)).await;
        let first = first.ok().flatten().ok_or(Failure::NoEndpoint)?;
        let endpoint = Self { server: endpoint(&self.server, &first)?, deadline: self.deadline, ..opening.clone() };
        let answers = Arc::new(Answers::new());
        let reader = tokio::spawn(endpoint.clone().read_stream_of(exchange, response, decoder, answers.clone()));
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
    async fn read_stream_of(
        self,
        exchange: Exchange,
        mut response: Response,
        mut decoder: Decoder,
        answers: Arc<Answers>,
    ) {
        loop {
            // A stream may be silent for as long as nobody waits for anything.
            let message = match self.next_message(&mut response, &mut decoder, Deadline::never().end()).await {
                Ok(Some(message)) => message,
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
            answers.hear();
            if self.report(Event::Delivered(exchange, message)).await.is_err() {
                return;
            }
            if let Some(done) = done {
                let _ = done.send(Ok(()));
            }
        }
    }
}

/// The address for messages that an `endpoint` event names. It is the server's own: a credential goes nowhere else.
fn endpoint(server: &ServerUrl, named: &[u8]) -> Result<ServerUrl, Failure> {
    let named = str::from_utf8(named).map_err(|_| Failure::NoEndpoint)?;
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
        Self { state: Mutex::new(State { awaited: HashMap::new(), heard: Instant::now(), over: false }) }
    }

    /// The answer to come for `message`, where that is a request.
    fn expect(self: &Arc<Self>, message: &Message, exchange: Exchange) -> Option<Answer> {
        let Kind::Request { id, .. } = &message.kind else { return None };
        let (sender, done) = oneshot::channel();
        let mut state = self.locked();
        if !state.over {
            state.awaited.insert(id.clone(), Awaited { exchange, done: Some(sender) });
        }
        drop(state);
        Some(Answer { answers: self.clone(), id: id.clone(), exchange, done })
    }

    /// The exchange that waits for the answer with this id; the answer is there now.
    fn take(&self, id: Option<&Id>) -> Option<(Exchange, oneshot::Sender<Result<(), Failure>>)> {
        let mut state = self.locked();
        let awaited = state.awaited.get_mut(id?)?;
        Some((awaited.exchange, awaited.done.take()?))
    }

    fn hear(&self) {
        self.locked().heard = Instant::now();
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

    /// Waits until it has been passed on, for at most `deadline` from one message of the server to the next. What only
    /// keeps the stream alive is none.
    async fn wait(mut self, deadline: Duration) -> Ending {
        let begun = Instant::now();
        loop {
            let silence = self.answers.locked().heard.max(begun).elapsed();
            let left = deadline.saturating_sub(silence);
            if left.is_zero() {
                return Ending::Failed(Failure::TimedOut { seconds: deadline.as_secs() });
            }
            match timeout(left, &mut self.done).await {
                Ok(Ok(Ok(()))) => return Ending::Complete,
                Ok(Ok(Err(failure))) => return Ending::Failed(failure),
                Ok(Err(_)) => return Ending::Failed(Failure::Cut),
                Err(_) => {} // the server may have said something meanwhile
            }
        }
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
