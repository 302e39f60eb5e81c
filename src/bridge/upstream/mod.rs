//! The server's side: who sends what, with a token on every request. How messages travel is the modules' below.

mod deadline;
mod http_sse;
mod streamable;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    bridge::{
        era,
        message::{Kind, Message},
        reports::Reports,
        retry::{Failure, Remedy},
        session::{Ending, Event, Exchange},
        sse::Decoder,
        transport::{self, Transport},
        turnstile::{Turnstile, UsedUp},
        upstream::{deadline::Deadline, http_sse::Channel},
    },
    credential::token_source::{AccessToken, TokenSource, TokenSourceError},
    http::{Http, HttpError},
    oauth::challenge::Challenge,
    server_url::ServerUrl,
};

/// The most that one message may hold, in bytes.
pub const MESSAGE_LIMIT: usize = 256 << 20;

/// How long a client can be expected to wait for a message to be taken: most give up after a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// The most that is read of an answer with an error status.
const ERROR_LIMIT: usize = 1 << 20;

const ACCEPT_ANY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A server, and where its answers go.
#[derive(Clone)]
pub struct Upstream {
    server: ServerUrl,
    http: Arc<Http>,
    tokens: TokenSource,
    deadline: Duration,
    reports: Reports,
    /// What keeps to the server's limit of requests.
    turnstile: Arc<Turnstile>,
    /// Where answers come in, over HTTP+SSE.
    channel: Option<Arc<Channel>>,
}

/// Nobody wants the answers any more: finmcp is ending.
struct Unwanted;

/// How an answer went: read to its end, or not.
type Outcome = Result<Ending, Unwanted>;

impl Upstream {
    /// The server at `server`, over Streamable HTTP. A request may take `deadline` from one sign of life of the server to the next.
    pub fn new(
        server: ServerUrl,
        http: Arc<Http>,
        tokens: TokenSource,
        turnstile: Turnstile,
        deadline: Duration,
        reports: Reports,
    ) -> Self {
        Self { server, http, tokens, turnstile: Arc::new(turnstile), deadline, reports, channel: None }
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
    /// [`Event::Finished`]. What may be sent again is, as long as the client can be expected to wait.
    pub async fn post(self: Arc<Self>, exchange: Exchange, message: Message, headers: HeaderMap) {
        let begun = Instant::now();
        let mut attempts = 0;
        let ending = loop {
            if let Err(UsedUp { wait }) = self.turnstile.pass(PATIENCE.saturating_sub(begun.elapsed())).await {
                break Ok(Ending::Failed(Failure::UsedUp { wait }));
            }
            let ending = match &self.channel {
                None => self.post_for_answer(exchange, &message, &headers).await,
                Some(channel) => self.post_beside(channel, exchange, &message, &headers).await,
            };
            let Ok(Ending::Failed(failure)) = &ending else { break ending };
            let random = getrandom::u32().unwrap_or_default();
            match failure.remedy(message.method(), attempts, random) {
                Some(Remedy::HoldAll(wait)) => {
                    self.turnstile.hold(wait.max(failure.asked_wait().unwrap_or_default())).await
                }
                Some(Remedy::Wait(wait)) if begun.elapsed() + wait < PATIENCE => sleep(wait).await,
                _ => break ending,
            }
            attempts += 1;
        };
        if let Ok(ending) = ending {
            let _ = self.report(Event::Finished(exchange, ending)).await;
        }
    }

    /// Hears what the server says by itself, for as long as it does: reports the same. Over HTTP+SSE that is heard already.
    pub async fn listen(self: Arc<Self>, exchange: Exchange, headers: HeaderMap) {
        let ending = match &self.channel {
            None => self.keep_listening(exchange, headers).await,
            Some(_) => Ok(Ending::Complete),
        };
        if let Ok(ending) = ending {
            let _ = self.report(Event::Finished(exchange, ending)).await;
        }
    }

    async fn held_token(&self) -> Option<AccessToken> {
        self.tokens.access_token(Duration::ZERO).await.ok().flatten()
    }

    /// Sends the request; where the server refuses the token, again with another (RFC 6750 section 3.1: a refused
    /// request was not processed). Two refusals in a row are answered so: a sign-in, and a wider one. What is lacking
    /// then is a failure.
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
            if status.is_success() && token.is_some() {
                self.tokens.helped();
            }
            if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                return Ok(response);
            }
            let challenge = Challenge::from_headers(response.headers());
            let fresh = match (status, &token) {
                _ if refused == Some(status) => return wide_enough(response, token.as_ref()),
                // Another token would not be what it wants.
                (_, Some(bound)) if bound.is_bound() && challenge.nonce_wanted => return Ok(response),
                (StatusCode::UNAUTHORIZED, Some(rejected)) => self.tokens.renew(rejected, challenge).await,
                (StatusCode::UNAUTHORIZED, None) => self.tokens.demanded(challenge).await,
                (StatusCode::FORBIDDEN, Some(narrow)) if challenge.lacks_scope() => {
                    match self.tokens.widen(narrow, challenge).await {
                        // Its own words say best what is missing.
                        Err(error) if !matches!(error, TokenSourceError::SignIn(_)) => {
                            return wide_enough(response, Some(narrow));
                        }
                        fresh => fresh,
                    }
                }
                _ => return wide_enough(response, token.as_ref()),
            };
            refused = Some(status);
            token = Some(fresh.map_err(Failure::Token)?);
        }
        let response = self.send_once(&method, &accept, body, headers, token.as_ref()).await?;
        wide_enough(response, token.as_ref())
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
        let sending = self.http.send(&self.server, method, &all, body);
        let response = timeout(self.deadline, sending).await.map_err(|_| self.timed_out())??;
        let (status, headers) = (response.status(), response.headers());
        let lacked_nonce = token.is_some_and(|token| token.lacked_nonce(&self.server, status, headers));
        Ok((response, lacked_nonce))
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
        if status.is_redirection() {
            return Ok(Ending::Failed(Failure::Redirected { status }));
        }
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| self.turnstile.asked(value.as_bytes()));
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
        // Whatever it says: the message was not taken, and later it will be.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Ending::Failed(Failure::Status { status, retry_after }));
        }
        match (refusal.filter(|_| code.is_some()), &message.kind) {
            (Some(said), Kind::Request { id, method })
                if transport::is_deserted(status)
                    && matches!(&**method, "initialize" | "server/discover")
                    && said.id() != Some(id)
                    && !code.is_some_and(era::is_modern_error) =>
            {
                Ok(Ending::Failed(Failure::Unaddressed { status, said: Box::new(said) }))
            }
            // Whomever the body speaks of, the status is this request's: some servers refuse in the name of "server-error".
            (Some(refusal), Kind::Request { id, .. }) => {
                self.report(Event::Delivered(exchange, refusal.addressed_to(id))).await?;
                Ok(Ending::Complete)
            }
            _ => Ok(Ending::Failed(Failure::Status { status, retry_after })),
        }
    }

    async fn read_body(&self, mut response: Response, limit: usize) -> Result<Bytes, Failure> {
        let deadline = Deadline::new(self.deadline);
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(Failure::TooLarge { limit });
        }
        let mut body = BytesMut::with_capacity(announced);
        while let Some(chunk) = self.next_chunk(&mut response, deadline.end()).await? {
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

    /// The next message on an event stream; none at its end.
    async fn next_message(
        &self,
        response: &mut Response,
        decoder: &mut Decoder,
        until: Instant,
    ) -> Result<Option<Message>, Failure> {
        loop {
            match decoder.next_event() {
                // No data primes a resumption and says nothing; another type is not MCP's, such as a `ping` that keeps
                // a stream alive.
                Ok(Some(event)) if event.data.is_empty() || event.name != "message" => {}
                Ok(Some(event)) => return Message::parse(event.data).map(Some).map_err(|_| Failure::Malformed),
                Ok(None) => match self.next_chunk(response, until).await? {
                    Some(chunk) => decoder.push(&chunk),
                    None => return Ok(None),
                },
                Err(_) => return Err(Failure::TooLarge { limit: MESSAGE_LIMIT }),
            }
        }
    }

    async fn next_chunk(&self, response: &mut Response, until: Instant) -> Result<Option<Bytes>, Failure> {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(HttpError::sending(&self.server, error).into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn report(&self, event: Event) -> Result<(), Unwanted> {
        let length = if let Event::Delivered(_, message) = &event { message.raw().len() } else { 0 };
        self.reports.send(event.into(), length).await.map_err(|_| Unwanted)
    }

    fn timed_out(&self) -> Failure {
        Failure::TimedOut { seconds: self.deadline.as_secs() }
    }
}

/// The response, unless it refuses `token` because that allows too little.
fn wide_enough(response: Response, token: Option<&AccessToken>) -> Result<Response, Failure> {
    let challenge = Challenge::from_headers(response.headers());
    if response.status() != StatusCode::FORBIDDEN || !challenge.lacks_scope() {
        return Ok(response);
    }
    let Some(missing) = challenge.scope else {
        return Err(Failure::InsufficientScope { missing: None, wanted: Vec::new() });
    };
    let granted = token.and_then(AccessToken::scope);
    let wanted = granted.map_or_else(|| missing.clone(), |granted| granted.union(&missing));
    let wanted = wanted.iter().map(str::to_owned).collect();
    Err(Failure::InsufficientScope { missing: Some(missing.to_string()), wanted })
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_event_stream(response: &Response) -> bool {
    content_type(response).as_deref() == Some("text/event-stream")
}
