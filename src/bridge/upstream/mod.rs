//! The server's side: who sends what, with a token on every request. How messages travel is the modules' below.

mod deadline;
mod event_stream;
mod http_sse;
pub mod rate;
mod streamable;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    bridge::{
        conversation::{
            failure::{self, Failure, Remedy, Taken, only_reads},
            session::{Ending, Event, Exchange, Said, lost},
            transport::{self, Transport},
        },
        reports::Reports,
        upstream::{
            deadline::Deadline,
            http_sse::Channel,
            rate::{
                gate::{Turnstile, UsedUp},
                patience,
            },
        },
    },
    credential::token_source::{AccessToken, TokenSource, TokenSourceError},
    http::{
        Http, HttpError,
        reason::{self, Sent},
        redirect,
    },
    mcp::{
        attempts::{Attempts, Reason},
        codes,
        delivery::Delivery,
        message::{Kind, Message},
    },
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
    /// [`Event::Finished`]. It is sent again where that helps and the law of attempts admits it, as long as the client can
    /// be expected to wait.
    pub async fn post(self: Arc<Self>, exchange: Exchange, message: Message, headers: HeaderMap) {
        let begun = Instant::now();
        let attempts = message.attempts();
        let ending = loop {
            if let Err(UsedUp { wait }) = self.turnstile.pass(PATIENCE.saturating_sub(begun.elapsed())).await {
                break Ok(Ending::Failed(Failure::UsedUp { wait }));
            }
            let ending = match &self.channel {
                None => self.post_for_answer(exchange, &message, &headers).await,
                Some(channel) => self.post_beside(channel, exchange, &message, &headers).await,
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
                    self.turnstile.hold(wait.max(failure.asked_wait().unwrap_or_default())).await;
                }
                _ if begun.elapsed() + wait < PATIENCE => sleep(wait).await,
                _ => break ending,
            }
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

    /// Sends the request, and again where the server refused only what went with it: a proof without its nonce, a token,
    /// a scope (RFC 6750 section 3.1: a refused request was not processed). What another token or a person could not
    /// bring is a failure.
    async fn send(
        &self,
        method: Method,
        accept: HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        attempts: &Attempts,
    ) -> Result<Response, Failure> {
        let mut token = self.tokens.access_token(Duration::ZERO).await.map_err(Failure::Token)?;
        loop {
            if !attempts.send() {
                return Err(Failure::TriedTooOften);
            }
            let (response, lacked_nonce) = self.transmit(&method, &accept, body, headers, token.as_ref()).await?;
            if lacked_nonce && attempts.admit(Reason::Nonce) {
                continue;
            }
            let challenge = Challenge::from_headers(response.headers());
            let refused = match response.status() {
                // Another token would not be what it wants.
                _ if challenge.nonce_wanted && token.as_ref().is_some_and(AccessToken::is_bound) => {
                    return Ok(response);
                }
                StatusCode::UNAUTHORIZED => Reason::Token,
                StatusCode::FORBIDDEN if challenge.lacks_scope() => Reason::Scope,
                status => {
                    token.iter().filter(|_| status.is_success()).for_each(|token| self.tokens.helped(token));
                    return Ok(response);
                }
            };
            let is_admitted = attempts.admit(refused);
            let another = match (refused, &token) {
                (Reason::Token, Some(rejected)) if is_admitted => self.tokens.renew(rejected, challenge).await,
                (Reason::Token, None) if is_admitted => self.tokens.demanded(challenge).await,
                (Reason::Scope, Some(narrow)) if is_admitted => match self.tokens.widen(narrow, challenge).await {
                    // Its own words say best what is missing.
                    Err(error) if !matches!(error, TokenSourceError::SignIn(_)) => {
                        return wide_enough(response, Some(narrow));
                    }
                    wider => wider,
                },
                (Reason::Token, rejected) => {
                    rejected.iter().for_each(|rejected| self.tokens.refused(rejected));
                    return Ok(response);
                }
                (_, narrow) => return wide_enough(response, narrow.as_ref()),
            };
            token = Some(another.map_err(Failure::Token)?);
        }
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
        // A proof of possession is for one address.
        let headers = |place: &ServerUrl| {
            let mut all = headers.clone();
            all.insert(header::ACCEPT, accept.clone());
            if !body.is_empty() {
                all.insert(header::CONTENT_TYPE, JSON);
            }
            if let Some(token) = token {
                self.tokens.authorize(token, &mut all, method, place).map_err(Failure::Token)?;
            }
            Ok::<_, Failure>(all)
        };
        let sending = self.http.send(&self.server, method, body, &headers);
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
        let status = response.status();
        if status.is_redirection() {
            let target = redirect::target(&self.http.place(&self.server), response.headers());
            let sent = response.extensions().get::<Sent>();
            let target = target.filter(|target| !sent.is_some_and(|sent| sent.are_in(target)));
            return Ok(Ending::Failed(Failure::Redirected { status, target }));
        }
        let retry_after = self.turnstile.asked(response.headers());
        let challenge = Challenge::from_headers(response.headers());
        let (headers, sent) = (response.headers().clone(), response.extensions().get::<Sent>().cloned());
        let body = match self.read_body(response, ERROR_LIMIT).await {
            // What is in it would say what became of the message.
            Err(failure) if failure::is_telling(status) => return Ok(Ending::Failed(failure)),
            body => body.unwrap_or_default(),
        };
        let reason = reason::of(&headers, &body, &sent.unwrap_or_default());
        let refusal = Delivery::refusal(body.clone()).filter(|refusal| refusal.error_code().is_some());
        let says_more = refusal.is_none() && matches!(Delivery::read(body), Delivery::Messages(_));
        if in_session && !says_more && lost::is_meant(status, refusal.as_ref(), message.id()) {
            let failure = || Said::Failure(Failure::Status { status, retry_after, reason });
            return Ok(Ending::SessionLost(Box::new(refusal.map_or_else(failure, Said::Answer))));
        }
        // No sign-in helps at a server that is content with no nonce.
        if status == StatusCode::UNAUTHORIZED && !challenge.nonce_wanted {
            return Ok(Ending::Failed(Failure::Refused));
        }
        // Whatever it says: the message was not taken, and later it will be.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Ending::Failed(Failure::Status { status, retry_after, reason }));
        }
        match (refusal, &message.kind) {
            (Some(said), Kind::Request { id, method })
                if transport::is_deserted(status)
                    && matches!(&**method, "initialize" | "server/discover")
                    && said.id() != Some(id)
                    && !said.error_code().is_some_and(codes::is_modern_error) =>
            {
                Ok(Ending::Failed(Failure::Unaddressed { status, said: Box::new(said) }))
            }
            // Whatever id the body names, the status is this request's: some servers refuse in the name of "server-error".
            (Some(refusal), Kind::Request { id, .. }) => {
                self.report(Event::Delivered(exchange, refusal.addressed_to(id))).await?;
                Ok(Ending::Complete)
            }
            // A message that is no error, though the status says so: the server has looked at the request.
            (None, Kind::Request { .. }) if says_more && failure::is_telling(status) => {
                Ok(Ending::Failed(Failure::Malformed))
            }
            _ => Ok(Ending::Failed(Failure::Status { status, retry_after, reason })),
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
