//! The server's address: sends each request with a token, and again if the server rejected only the token.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    bridge::{
        reports::Reports,
        upstream::{deadline::Deadline, judged_response::JudgedResponse, rate::gate::RateGate},
    },
    conversation::{
        failure::Failure,
        session::{Ending, Event},
    },
    credential::{
        judgement::{Judgement, RefusalReason},
        token_source::{AccessToken, TokenSource},
    },
    http::{Http, HttpError},
    mcp::attempts::Attempts,
    server_url::ServerUrl,
};

/// The maximum size of one message, in bytes.
pub const MESSAGE_LIMIT: usize = 256 << 20;

pub(super) const ACCEPT_ANY: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
pub(super) const ACCEPT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The conversation has ended: no more responses are wanted.
pub(super) struct Stopped;

/// How an exchange ended, unless finmcp stopped first.
pub(super) type ExchangeResult = Result<Ending, Stopped>;

/// An address for requests, and where their responses are reported.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) url: ServerUrl,
    /// The headers that a person or a preset adds to every request.
    pub(super) extra: HeaderMap,
    pub(super) http: Arc<Http>,
    pub(super) tokens: TokenSource,
    /// Enforces the server's rate limit across processes.
    pub(super) rate_gate: Arc<RateGate>,
    /// How long a request may take from one sign of life of the server to the next.
    pub(super) deadline: Duration,
    pub(super) reports: Reports,
}

impl Endpoint {
    /// Sends the request, and again if the token source has another token or proof to try. Fails if only a user can
    /// help, or nothing can.
    pub(super) async fn send(
        &self,
        method: Method,
        accept: HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        attempts: &Attempts,
    ) -> Result<JudgedResponse, Failure> {
        let mut token = self.tokens.access_token(Duration::ZERO).await.map_err(Failure::Token)?;
        loop {
            if !attempts.send() {
                return Err(Failure::TriedTooOften);
            }
            let response = self.transmit(&method, &accept, body, headers, token.as_ref()).await?;
            let (status, response_headers) = (response.status(), response.headers());
            match self.tokens.judge(token.as_ref(), &self.url, status, response_headers, attempts).await {
                Judgement::Accepted => return Ok(JudgedResponse { response, refuses_token: false }),
                Judgement::Retry(another) => token = Some(another),
                Judgement::Refused(RefusalReason::InvalidToken) => {
                    return Ok(JudgedResponse { response, refuses_token: true });
                }
                Judgement::Refused(RefusalReason::InsufficientScope { missing, wanted }) => {
                    return Err(Failure::InsufficientScope { missing, wanted });
                }
                Judgement::Refused(RefusalReason::NoToken(error)) => return Err(Failure::Token(error)),
            }
        }
    }

    /// Sends one request and returns the response.
    pub(super) async fn transmit(
        &self,
        method: &Method,
        accept: &HeaderValue,
        body: &Bytes,
        headers: &HeaderMap,
        token: Option<&AccessToken>,
    ) -> Result<Response, Failure> {
        // A proof of possession is valid for one address only.
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
                return Ok(chunk); // a small body usually comes in one piece
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

    pub(super) async fn report(&self, event: Event) -> Result<(), Stopped> {
        let length = if let Event::Delivered(_, message) = &event { message.raw().len() } else { 0 };
        self.reports.send(event.into(), length).await.map_err(|_| Stopped)
    }

    pub(super) fn timed_out(&self) -> Failure {
        Failure::TimedOut { seconds: self.deadline.as_secs() }
    }
}
