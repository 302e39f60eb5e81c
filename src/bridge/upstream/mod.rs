//! The server's side: who sends what, with a token on every request. How messages travel is the modules' below.

mod streamable;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    bridge::{
        conversation,
        message::{Kind, Message},
        retry::Failure,
        session::{Ending, Event, Exchange},
    },
    credential::token_source::{AccessToken, TokenSource, TokenSourceError},
    http::{Http, HttpError},
    oauth::challenge::Challenge,
    server_url::ServerUrl,
};

/// The most that one message may hold, in bytes.
pub const MESSAGE_LIMIT: usize = 256 << 20;

/// The most that is read of an answer with an error status.
const ERROR_LIMIT: usize = 1 << 20;

const ACCEPT_ANY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

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

    async fn send_once(
        &self,
        method: &Method,
        accept: &HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Result<Response, Failure> {
        let mut all = headers.clone();
        all.insert(header::ACCEPT, accept.clone());
        if !body.is_empty() {
            all.insert(header::CONTENT_TYPE, JSON);
        }
        if let Some(token) = token {
            all.insert(header::AUTHORIZATION, bearer(token));
        }
        let client = self.http.client_for(&self.server)?;
        let request = client.request(method.clone(), self.server.as_url().clone()).headers(all).body(body.clone());
        match timeout(self.deadline, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(HttpError::sending(&self.server, error).into()),
            Err(_) => Err(self.timed_out()),
        }
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
        if status == StatusCode::UNAUTHORIZED {
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

    async fn next_chunk(&self, response: &mut Response, patience: Duration) -> Result<Option<Bytes>, Failure> {
        match timeout(patience, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(HttpError::sending(&self.server, error).into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn report(&self, event: Event) -> Result<(), Unwanted> {
        self.events.send(event.into()).await.map_err(|_| Unwanted)
    }

    fn timed_out(&self) -> Failure {
        Failure::TimedOut { seconds: self.deadline.as_secs() }
    }
}

/// RFC 6750 section 2.1. A token that cannot be a header value was refused when it came.
fn bearer(token: &AccessToken) -> HeaderValue {
    let value = zeroize::Zeroizing::new(format!("Bearer {}", token.secret().expose()));
    let mut header = HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    header.set_sensitive(true);
    header
}

fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_event_stream(response: &Response) -> bool {
    content_type(response).as_deref() == Some("text/event-stream")
}
