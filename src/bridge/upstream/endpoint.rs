//! A server's address, as requests reach it: with a token on each, and again where the server refused only that.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    bridge::{
        conversation::{
            failure::Failure,
            session::{Ending, Event},
        },
        reports::Reports,
        upstream::{answer::Answer, deadline::Deadline, rate::gate::Turnstile},
    },
    credential::{
        judgement::{Judgement, RefusalReason},
        token_source::{AccessToken, TokenSource},
    },
    http::{Http, HttpError},
    mcp::attempts::Attempts,
    server_url::ServerUrl,
};

/// The most that one message may hold, in bytes.
pub const MESSAGE_LIMIT: usize = 256 << 20;

pub(super) const ACCEPT_ANY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
pub(super) const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Nobody wants the answers any more: finmcp is ending.
pub(super) struct Unwanted;

/// How an answer went: read to its end, or not.
pub(super) type Outcome = Result<Ending, Unwanted>;

/// An address that takes requests, and where the answers go.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) url: ServerUrl,
    /// The headers that a person or a preset adds to every request.
    pub(super) extra: HeaderMap,
    pub(super) http: Arc<Http>,
    pub(super) tokens: TokenSource,
    /// What keeps to the server's limit of requests.
    pub(super) turnstile: Arc<Turnstile>,
    /// How long a request may take from one sign of life of the server to the next.
    pub(super) deadline: Duration,
    pub(super) reports: Reports,
}

impl Endpoint {
    /// Sends the request, and again where the server refused only what went with it, as the token source judges. What
    /// another token or a person could not bring is a failure.
    pub(super) async fn send(
        &self,
        method: Method,
        accept: HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        attempts: &Attempts,
    ) -> Result<Answer, Failure> {
        let mut token = self.tokens.access_token(Duration::ZERO).await.map_err(Failure::Token)?;
        loop {
            if !attempts.send() {
                return Err(Failure::TriedTooOften);
            }
            let response = self.transmit(&method, &accept, body, headers, token.as_ref()).await?;
            let (status, said) = (response.status(), response.headers());
            match self.tokens.judge(token.as_ref(), &self.url, status, said, attempts).await {
                Judgement::Accepted => return Ok(Answer { response, refuses_token: false }),
                Judgement::Retry(another) => token = Some(another),
                Judgement::Refused(RefusalReason::InvalidToken) => return Ok(Answer { response, refuses_token: true }),
                Judgement::Refused(RefusalReason::InsufficientScope { missing, wanted }) => {
                    return Err(Failure::InsufficientScope { missing, wanted });
                }
                Judgement::Refused(RefusalReason::NoToken(error)) => return Err(Failure::Token(error)),
            }
        }
    }

    /// One request and its answer.
    pub(super) async fn transmit(
        &self,
        method: &Method,
        accept: &HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Result<Response, Failure> {
        // A proof of possession is for one address.
        let headers = |place: &ServerUrl| {
            let mut all = self.extra.clone();
            all.extend(headers.clone());
            all.insert(header::ACCEPT, accept.clone());
            if !body.is_empty() {
                all.insert(header::CONTENT_TYPE, JSON);
            }
            if let Some(token) = token {
                self.tokens.authorize(token, &mut all, method, place).map_err(Failure::Token)?;
            }
            Ok::<_, Failure>(all)
        };
        let sending = self.http.send(&self.url, method, body, &headers);
        timeout(self.deadline, sending).await.map_err(|_| self.timed_out())?
    }

    pub(super) async fn read_body(&self, mut response: Response, limit: usize) -> Result<Bytes, Failure> {
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

    pub(super) async fn next_chunk(&self, response: &mut Response, until: Instant) -> Result<Option<Bytes>, Failure> {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(HttpError::sending(&self.url, error).into()),
            Err(_) => Err(self.timed_out()),
        }
    }

    pub(super) async fn report(&self, event: Event) -> Result<(), Unwanted> {
        let length = if let Event::Delivered(_, message) = &event { message.raw().len() } else { 0 };
        self.reports.send(event.into(), length).await.map_err(|_| Unwanted)
    }

    pub(super) fn timed_out(&self) -> Failure {
        Failure::TimedOut { seconds: self.deadline.as_secs() }
    }
}
