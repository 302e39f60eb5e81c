//! The server's side: Streamable HTTP, with a token on every request.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    bridge::{
        conversation, headers,
        message::{Kind, Message},
        retry::Failure,
        session::{Ending, Event, Exchange},
        sse::Decoder,
    },
    credential::token_source::{AccessToken, TokenSource, TokenSourceError},
    http::{Http, HttpError},
    oauth::challenge::Challenge,
    printable::quoted,
    server_url::ServerUrl,
};

/// The most that one message may hold, in bytes.
pub const MESSAGE_LIMIT: usize = 256 << 20;

/// The longest session id that is sent back with every request, in bytes.
const SESSION_ID_LIMIT: usize = 1 << 10;

/// The most that is read of an answer with an error status.
const ERROR_LIMIT: usize = 1 << 20;

const ACCEPT_ANY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LAST_EVENT_ID: &str = "last-event-id";

/// A server, and where its answers go.
pub struct Upstream {
    server: ServerUrl,
    http: Arc<Http>,
    tokens: TokenSource,
    deadline: Duration,
    events: mpsc::Sender<conversation::Event>,
}

/// Nobody wants the answers any more: finmcp is ending.
struct Unwanted;

/// An event stream, and what has come of it.
struct Stream {
    decoder: Decoder,
    messages: usize,
    /// A response was among them.
    answered: bool,
}

impl Stream {
    fn new() -> Self {
        Self { decoder: Decoder::new(MESSAGE_LIMIT), messages: 0, answered: false }
    }
}

/// How an answer went: read to its end, or not.
type Outcome = Result<Ending, Unwanted>;

impl Upstream {
    /// The server at `server`. A request may take `deadline` from one sign of life of the server to the next.
    pub fn new(
        server: ServerUrl,
        http: Arc<Http>,
        tokens: TokenSource,
        deadline: Duration,
        events: mpsc::Sender<conversation::Event>,
    ) -> Self {
        Self { server, http, tokens, deadline, events }
    }

    /// POSTs `message` and reports what comes of it: [`Event::Accepted`], [`Event::Delivered`], and in the end
    /// [`Event::Finished`].
    pub async fn post(self: Arc<Self>, exchange: Exchange, message: Message, headers: HeaderMap) {
        let ending = match self.send(Method::POST, ACCEPT_ANY, message.raw(), &headers).await {
            Ok(response) => self.read_answer(exchange, &message, &headers, response).await,
            Err(failure) => Ok(Ending::Failed(failure)),
        };
        if let Ok(ending) = ending {
            let _ = self.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Keeps the GET stream open and reports what comes on it, until the server says that it has none or has forgotten
    /// the session. A stream that is cut is resumed where it was (MCP 2025-11-25 transports, "Resumability and
    /// Redelivery").
    pub async fn listen(self: Arc<Self>, exchange: Exchange, mut headers: HeaderMap) {
        const SHORTEST_WAIT: Duration = Duration::from_millis(500);
        const LONGEST_WAIT: Duration = Duration::from_secs(30);
        let mut wait = SHORTEST_WAIT;
        loop {
            let answer = self.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &headers).await;
            match answer {
                Ok(response) if response.status().is_success() && is_event_stream(&response) => {
                    if self.report(Event::Accepted(exchange, None)).await.is_err() {
                        return;
                    }
                    let mut stream = Stream::new();
                    match self.read_events(exchange, response, &mut stream, Duration::MAX).await {
                        Err(Unwanted) => return,
                        Ok(_) if stream.messages > 0 => wait = SHORTEST_WAIT,
                        Ok(_) => {}
                    }
                    if let Some(id) = stream.decoder.last_event_id().and_then(|id| HeaderValue::from_bytes(id).ok()) {
                        headers.insert(LAST_EVENT_ID, id);
                    }
                    if let Some(asked) = stream.decoder.retry() {
                        wait = Duration::from_millis(asked).clamp(SHORTEST_WAIT, LONGEST_WAIT);
                    }
                }
                // 405: the server has no such stream. 404 and other refusals will not change by asking again.
                Ok(response) if !response.status().is_server_error() => break,
                Ok(_) | Err(Failure::Http(_)) => {}
                Err(_) => break,
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let _ = self.report(Event::Finished(exchange, Ending::Complete)).await;
    }

    /// Ends the session (MCP 2025-11-25 transports, "Session Management"). Whether the server cares is its own affair.
    pub async fn delete(self: Arc<Self>, headers: HeaderMap) {
        let _ = self
            .send_once(&Method::DELETE, &ACCEPT_ANY, &Bytes::new(), &headers, self.held_token().await.as_ref())
            .await;
    }

    async fn held_token(&self) -> Option<AccessToken> {
        self.tokens.access_token(Duration::ZERO).await.ok().flatten()
    }

    /// Sends the request; where the server refuses the token, again with another (RFC 6750 section 3.1: a refused
    /// request was not processed). Two refusals in a row are answered so: a sign-in, and a wider one.
    async fn send(
        &self,
        method: Method,
        accept: HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
    ) -> Result<Response, Failure> {
        const ROUNDS: usize = 2;
        let mut token = self.tokens.access_token(Duration::ZERO).await.map_err(Failure::Token)?;
        let mut refused = None;
        for _ in 0..ROUNDS {
            let response = self.send_once(&method, &accept, body, headers, token.as_ref()).await?;
            let status = response.status();
            if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                return Ok(response);
            }
            let challenge = Challenge::from_headers(response.headers());
            let fresh = match (status, &token) {
                _ if refused == Some(status) => return Ok(response),
                // Another token would not be what it wants.
                (_, Some(bound)) if bound.is_bound() && challenge.nonce_wanted => return Ok(response),
                (StatusCode::UNAUTHORIZED, Some(rejected)) => self.tokens.renew(rejected, challenge).await,
                (StatusCode::UNAUTHORIZED, None) => self.tokens.demanded(challenge).await,
                (StatusCode::FORBIDDEN, Some(narrow)) if challenge.lacks_scope() => {
                    match self.tokens.widen(narrow, challenge).await {
                        // Its own words say best what is missing.
                        Err(error) if !matches!(error, TokenSourceError::SignIn(_)) => return Ok(response),
                        fresh => fresh,
                    }
                }
                _ => return Ok(response),
            };
            refused = Some(status);
            token = Some(fresh.map_err(Failure::Token)?);
        }
        self.send_once(&method, &accept, body, headers, token.as_ref()).await
    }

    /// Sends the request; where only its proof lacked a nonce, again with that, and no third time.
    async fn send_once(
        &self,
        method: &Method,
        accept: &HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Result<Response, Failure> {
        let (response, lacked_nonce) = self.transmit(method, accept, body, headers, token).await?;
        if lacked_nonce {
            return Ok(self.transmit(method, accept, body, headers, token).await?.0);
        }
        Ok(response)
    }

    /// One request and its answer, and whether that was refused only for want of a nonce.
    async fn transmit(
        &self,
        method: &Method,
        accept: &HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Result<(Response, bool), Failure> {
        let mut all = headers.clone();
        all.insert(header::ACCEPT, accept.clone());
        if !body.is_empty() {
            all.insert(header::CONTENT_TYPE, JSON);
        }
        if let Some(token) = token {
            self.tokens.authorize(token, &mut all, method, &self.server).map_err(Failure::Token)?;
        }
        let client = self.http.client_for(&self.server)?;
        let request = client.request(method.clone(), self.server.as_url().clone()).headers(all).body(body.clone());
        match timeout(self.deadline, request.send()).await {
            Ok(Ok(response)) => {
                let (status, headers) = (response.status(), response.headers());
                let lacked_nonce = token.is_some_and(|token| token.lacked_nonce(&self.server, status, headers));
                Ok((response, lacked_nonce))
            }
            Ok(Err(error)) => Err(HttpError::sending(&self.server, error).into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn read_answer(
        &self,
        exchange: Exchange,
        message: &Message,
        headers: &HeaderMap,
        response: Response,
    ) -> Outcome {
        let status = response.status();
        if !status.is_success() {
            let in_session = headers.contains_key(headers::SESSION_ID);
            return self.read_refusal(exchange, message, response, in_session).await;
        }
        let mut session_id = response.headers().get(headers::SESSION_ID).cloned();
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
        if is_event_stream(&response) {
            // A subscription says nothing for as long as nothing changes.
            let is_subscription = message.method() == Some("subscriptions/listen");
            let patience = if is_subscription { Duration::MAX } else { self.deadline };
            return self.read_stream(exchange, headers, response, patience).await;
        }
        let content_type = content_type(&response);
        if content_type.as_deref().is_none_or(|kind| kind == "application/json" || kind.ends_with("+json")) {
            return match self.read_body(response, MESSAGE_LIMIT).await {
                Ok(body) if body.is_empty() => Ok(Ending::Complete),
                Ok(body) => self.deliver(exchange, body).await,
                Err(failure) => Ok(Ending::Failed(failure)),
            };
        }
        let content_type = quoted(&content_type.unwrap_or_default());
        Ok(Ending::Failed(Failure::NotMcp { content_type }))
    }

    /// An answer with an error status: a lost session, a JSON-RPC error, or neither.
    async fn read_refusal(
        &self,
        exchange: Exchange,
        message: &Message,
        response: Response,
        in_session: bool,
    ) -> Outcome {
        const METHOD_NOT_FOUND: i64 = -32601;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let challenge = Challenge::from_headers(response.headers());
        let body = self.read_body(response, ERROR_LIMIT).await.unwrap_or_default();
        let refusal = Message::parse(body).ok();
        let code = refusal.as_ref().and_then(Message::error_code);
        if status == StatusCode::NOT_FOUND && in_session && code != Some(METHOD_NOT_FOUND) {
            return Ok(Ending::SessionLost);
        }
        // Nobody's signing in helps a server that is content with no nonce.
        if status == StatusCode::UNAUTHORIZED && !challenge.nonce_wanted {
            return Ok(Ending::Failed(Failure::Refused));
        }
        if status == StatusCode::FORBIDDEN && challenge.lacks_scope() {
            return Ok(Ending::Failed(Failure::InsufficientScope {
                scope: challenge.scope.map(|scope| scope.to_string()),
            }));
        }
        match (refusal.filter(|_| code.is_some()), &message.kind) {
            // Whomever the body speaks of, the status is this request's: some servers refuse in the name of "server-error".
            (Some(refusal), Kind::Request { id, .. }) => {
                self.report(Event::Delivered(exchange, refusal.addressed_to(id))).await?;
                Ok(Ending::Complete)
            }
            _ => Ok(Ending::Failed(Failure::Status { status, retry_after })),
        }
    }

    async fn read_body(&self, mut response: Response, limit: usize) -> Result<Bytes, Failure> {
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(Failure::TooLarge { limit });
        }
        let mut body = BytesMut::with_capacity(announced);
        while let Some(chunk) = self.next_chunk(&mut response, self.deadline).await? {
            if body.len() + chunk.len() > limit {
                return Err(Failure::TooLarge { limit });
            }
            if body.is_empty() && chunk.len() == announced {
                return Ok(chunk); // the usual small answer came in one piece
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads the stream that answers a POST. One that ends before the response is taken up where it was, with GET and
    /// never with another POST (MCP 2025-11-25 transports, "Resumability and Redelivery"; the modern era has no such
    /// thing, and no event ids).
    async fn read_stream(
        &self,
        exchange: Exchange,
        headers: &HeaderMap,
        mut response: Response,
        patience: Duration,
    ) -> Outcome {
        const ATTEMPTS: usize = 5;
        const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut stream = Stream::new();
        let mut attempts = 0;
        loop {
            let said = stream.messages;
            let ending = self.read_events(exchange, response, &mut stream, patience).await?;
            let is_cut = matches!(ending, Ending::Complete | Ending::Failed(Failure::Http(_)));
            attempts = if stream.messages > said { 0 } else { attempts + 1 };
            let id = stream.decoder.last_event_id().and_then(|id| HeaderValue::from_bytes(id).ok());
            let Some(id) = id.filter(|_| is_cut && !stream.answered && attempts <= ATTEMPTS) else { return Ok(ending) };
            let mut headers = headers.clone();
            headers.insert(LAST_EVENT_ID, id);
            let asked = stream.decoder.retry().map_or(PAUSES.0, Duration::from_millis);
            tokio::time::sleep(asked.clamp(PAUSES.0, PAUSES.1)).await;
            response = match self.send(Method::GET, ACCEPT_STREAM, &Bytes::new(), &headers).await {
                Ok(resumed) if resumed.status().is_success() && is_event_stream(&resumed) => resumed,
                _ => return Ok(ending),
            };
            stream.decoder = stream.decoder.resumed();
        }
    }

    async fn read_events(
        &self,
        exchange: Exchange,
        mut response: Response,
        stream: &mut Stream,
        patience: Duration,
    ) -> Outcome {
        loop {
            match self.next_chunk(&mut response, patience).await {
                Ok(Some(chunk)) => stream.decoder.push(&chunk),
                Ok(None) => return Ok(Ending::Complete),
                Err(failure) => return Ok(Ending::Failed(failure)),
            }
            loop {
                match stream.decoder.next_event() {
                    // No data primes a resumption and says nothing; another type is not MCP's, such as a `ping` that
                    // keeps a stream alive.
                    Ok(Some(event)) if event.data.is_empty() || event.name != "message" => {}
                    Ok(Some(event)) => {
                        let Ok(message) = Message::parse(event.data) else {
                            return Ok(Ending::Failed(Failure::Malformed));
                        };
                        stream.messages += 1;
                        stream.answered |= matches!(message.kind, Kind::Response { .. });
                        self.report(Event::Delivered(exchange, message)).await?;
                    }
                    Ok(None) => break,
                    Err(_) => return Ok(Ending::Failed(Failure::TooLarge { limit: MESSAGE_LIMIT })),
                }
            }
        }
    }

    async fn next_chunk(&self, response: &mut Response, patience: Duration) -> Result<Option<Bytes>, Failure> {
        match timeout(patience, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(HttpError::sending(&self.server, error).into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn deliver(&self, exchange: Exchange, bytes: Bytes) -> Outcome {
        match Message::parse(bytes) {
            Ok(message) => {
                self.report(Event::Delivered(exchange, message)).await?;
                Ok(Ending::Complete)
            }
            Err(_) => Ok(Ending::Failed(Failure::Malformed)),
        }
    }

    async fn report(&self, event: Event) -> Result<(), Unwanted> {
        self.events.send(event.into()).await.map_err(|_| Unwanted)
    }

    fn timed_out(&self) -> Failure {
        Failure::TimedOut { seconds: self.deadline.as_secs() }
    }
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_event_stream(response: &Response) -> bool {
    content_type(response).as_deref() == Some("text/event-stream")
}
