//! Which messages may be sent again, and what finmcp knows about a failed request.
//!
//! finmcp sends a message again only if the server provably did not process it: it refused the credential or the
//! session before looking at the message. Otherwise finmcp responds with an error that says what is known; a tool's
//! annotations make no difference. A killed finmcp responds to nothing and leaves nothing for another process to send:
//! whether to repeat a request is the client's decision.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::{
    credential::token_source::{SignInFailure, TokenSourceError},
    http::HttpError,
    mcp::{
        attempts::{Reason, SENDS_LIMIT},
        message::Message,
    },
    printable::quoted,
};

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no token to send it with.
    #[error("{0}")]
    Token(TokenSourceError),
    /// The server rejects a credential that is fresh (401 twice).
    #[error("the server refuses the credential")]
    Refused,
    /// The credential lacks a scope (403 with `insufficient_scope`, RFC 6750 section 3.1).
    #[error(
        "this request needs {} that the sign-in does not include",
        .missing.as_deref().map_or("a scope".to_owned(), |scope| format!("the scope {scope}"))
    )]
    InsufficientScope {
        /// The missing scope, in the server's words.
        missing: Option<String>,
        /// The scope tokens that a sign-in needs: all that the current one has, and the missing ones (MCP
        /// authorization, "Step-Up Authorization Flow"). Empty if the server does not say.
        wanted: Vec<String>,
    },
    /// A network error.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// An HTTP error status without a JSON-RPC response.
    #[error(
        "the server responded with HTTP {}{}{}",
        .status.as_u16(), after_colon(.reason.as_deref()), asked_to_wait(*.retry_after)
    )]
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// When the server wants the next request (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
        /// The server's reason, safe to display.
        reason: Option<String>,
    },
    /// The same with a JSON-RPC error that neither responds to this message nor is specific to MCP: the URL may not be
    /// an MCP endpoint.
    #[error("the server responded with HTTP {}", .status.as_u16())]
    UnrelatedError {
        /// The HTTP status.
        status: StatusCode,
        /// The error.
        error: Box<Message>,
    },
    /// The rate limit is used up for longer than a client can be expected to wait. Nothing was sent.
    #[error("rate limit reached: the next request is allowed in {} s", .wait.as_secs() + 1)]
    RateLimited {
        /// When the limit allows another request.
        wait: Duration,
    },
    /// A redirect that finmcp does not follow: it leads to another address than the server's, apart from a trailing
    /// slash.
    #[error(
        "the server redirects to {} (HTTP {}); finmcp did not follow it",
        .target.as_deref().unwrap_or("another address"), .status.as_u16()
    )]
    Redirected {
        /// The HTTP status.
        status: StatusCode,
        /// The target, safe to display.
        target: Option<String>,
    },
    /// A 2xx response that is neither JSON nor an event stream.
    #[error("expected MCP, got {content_type}: a proxy or captive portal may have responded instead")]
    NotMcp {
        /// Its content type, safe to display.
        content_type: String,
    },
    /// A response body that is not a JSON-RPC message.
    #[error("the server's response is not a JSON-RPC message")]
    Malformed,
    /// A response larger than the maximum message size.
    #[error("the server's response is larger than {} MiB", .limit >> 20)]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The HTTP response ended before the JSON-RPC response.
    #[error("the HTTP response ended without a JSON-RPC response")]
    Cut,
    /// No HTTP+SSE stream, or none that starts in time with its `endpoint` event (MCP 2024-11-05 transports, "HTTP
    /// with SSE").
    #[error(
        "the server opened no event stream with an `endpoint` event{}",
        .status.map(|status| format!(" (HTTP {})", status.as_u16())).unwrap_or_default()
    )]
    NoEndpoint {
        /// The status of the response, if it was no stream.
        status: Option<StatusCode>,
    },
    /// An `endpoint` event that names another origin.
    #[error("the server's message endpoint is on another origin; finmcp sent nothing to it")]
    ForeignEndpoint,
    /// The request waited for a session, but none was opened.
    #[error("the server refuses to open a session")]
    NoSession,
    /// No response in time.
    #[error("the server did not respond within {seconds} s")]
    TimedOut {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The client has used the id of an unanswered request again (JSON-RPC 2.0 section 4).
    #[error("this id is still in use by an unanswered request")]
    IdInUse,
    /// The server sent a request that the client does not support.
    #[error("the server requested {}, which this client does not support", quoted(.method))]
    UnsupportedByClient {
        /// The method of that request.
        method: String,
    },
    /// The server asked for input in too many rounds.
    #[error("the server requested input in too many rounds")]
    TooManyRounds,
    /// The client did not answer the server's request for input.
    #[error("the client did not answer the server's request for input")]
    NoInput,
    /// The client responded to a server request that is unknown or has expired.
    #[error("the input request is unknown or has expired; send the original request again")]
    NotResumable,
    /// The client has too many bytes in flight.
    #[error("too many large requests are in flight")]
    TooMuchInFlight,
    /// [`Attempts`](crate::mcp::attempts::Attempts) allows no further delivery, and nothing was sent.
    #[error("the server refused this message {SENDS_LIMIT} times")]
    TriedTooOften,
    /// finmcp was told to stop.
    #[error("finmcp was stopped before the server responded")]
    Stopped,
}

fn after_colon(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn asked_to_wait(wait: Option<Duration>) -> String {
    wait.map(|wait| format!(" and asks to wait {} s", wait.as_secs())).unwrap_or_default()
}

/// A retry that may help, if the message's attempts allow this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// The reason to retry.
    pub reason: Reason,
    /// How long the server asks to wait (RFC 9110 section 10.2.3).
    pub retry_after: Option<Duration>,
}

/// Whether the server may have processed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processed {
    /// Certainly not.
    No,
    /// It may have; finmcp cannot know.
    Maybe,
}

/// A request that got no response, and why.
#[derive(Debug)]
pub struct Refusal {
    /// The request.
    pub message: Message,
    /// Why it failed.
    pub failure: Arc<Failure>,
    /// Whether the server may have processed it.
    pub processed: Processed,
}

impl Refusal {
    /// For a message that was not sent, or whose exchange has ended.
    pub fn unsent(message: Message, failure: Failure) -> Self {
        Self { message, failure: Arc::new(failure), processed: Processed::No }
    }
}

impl Failure {
    /// Whether the server may have processed the message (RFC 9110 section 9.2.2: a client must not repeat a request
    /// unless it knows that to be safe).
    pub fn processed(&self) -> Processed {
        match self {
            Self::Token(_)
            | Self::Refused
            | Self::InsufficientScope { .. }
            | Self::NoSession
            | Self::IdInUse
            | Self::NotResumable
            | Self::TooMuchInFlight
            | Self::TriedTooOften
            | Self::RateLimited { .. } => Processed::No,
            // A message can be sent only once the stream is open.
            Self::NoEndpoint { .. } | Self::ForeignEndpoint => Processed::No,
            Self::Http(error) if error.is_unsent() => Processed::No,
            // Both statuses send the identical request elsewhere: the server did not process it (RFC 9110 section
            // 15.4.8).
            Self::Redirected { status, .. } if matches!(status.as_u16(), 307 | 308) => Processed::No,
            Self::Status { status, .. } if refuses(*status) || refuses_without_message(*status) => Processed::No,
            Self::UnrelatedError { status, .. } if refuses(*status) => Processed::No,
            _ => Processed::Maybe,
        }
    }

    /// The retry that may help a message with this method; none if the failure is final.
    ///
    /// A message that was certainly not processed may be sent again, whatever it is. One that may have been processed
    /// may be sent again only if MCP itself defines its method as read-only, however the server describes its tools.
    pub fn remedy(&self, method: Option<&str>) -> Option<Remedy> {
        let because = |reason, retry_after| Some(Remedy { reason, retry_after });
        match self {
            Self::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after, .. } => {
                because(Reason::RateLimited, *retry_after)
            }
            Self::Http(error) if error.is_unsent() && !error.is_refusal() => because(Reason::NotSent, None),
            Self::Status { status, retry_after, .. }
                if matches!(status.as_u16(), 500 | 502..=504) && only_reads(method) && method != Some("initialize") =>
            {
                because(Reason::Unknown, *retry_after)
            }
            Self::Http(HttpError::Broken { .. }) | Self::Cut if only_reads(method) => because(Reason::Unknown, None),
            _ => None,
        }
    }

    /// Logs that `what` is due to this failure. Without the server's reason, which may repeat what the client sent.
    pub fn log(&self, what: &str) {
        match self {
            Self::Status { status, .. } => {
                tracing::info!("{what}: the server responded with HTTP {}", status.as_u16());
            }
            Self::Redirected { status, .. } => {
                tracing::info!("{what}: the server redirects elsewhere (HTTP {})", status.as_u16());
            }
            Self::Http(error) => match error.why_unreachable() {
                Some(why) => tracing::info!("{what}: {error}: {why}"),
                None => tracing::info!("{what}: {error}"),
            },
            failure => tracing::info!("{what}: {failure}"),
        }
    }

    /// How long the server asks to wait, in its own number (RFC 9110 section 10.2.3).
    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the user is signed out, so that any sign-in helps, even one through another process.
    pub fn is_signed_out(&self) -> bool {
        matches!(self, Self::Token(TokenSourceError::LoginRequired(_)))
    }

    /// Whether a sign-in would help.
    pub fn needs_login(&self) -> bool {
        match self {
            Self::Refused | Self::InsufficientScope { .. } => true,
            Self::Token(error) => matches!(
                error,
                TokenSourceError::LoginRequired(_)
                    | TokenSourceError::Rejected
                    | TokenSourceError::SignIn(SignInFailure::LoginRequired(_))
            ),
            _ => false,
        }
    }
}

/// Whether a status alone says that the request was refused before it was processed: a rate limit, missing
/// authentication, an unknown path or method, or an unacceptable form of request (RFC 9110 section 15.5, RFC 6585).
/// Never 408, which some servers also send when their own backend is too slow.
fn refuses(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 403 | 404 | 405 | 406 | 407 | 410 | 411 | 412 | 413 | 414 | 415 | 417 | 421 | 425 | 426 | 428 | 429 | 431
    )
}

/// Whether a status says the same unless the body is a message: then the server has processed the request.
pub fn refuses_without_message(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 402 | 409 | 422 | 451)
}

/// Whether MCP itself defines this method as read-only. (An `initialize` whose response is lost leaves only an unused
/// session.)
pub fn only_reads(method: Option<&str>) -> bool {
    matches!(
        method,
        Some(
            "ping"
                | "initialize"
                | "server/discover"
                | "tools/list"
                | "prompts/list"
                | "prompts/get"
                | "resources/list"
                | "resources/templates/list"
                | "resources/read"
                | "completion/complete"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t114: a message counts as not processed only if that is certain.
    #[test]
    fn t114_a_failure_after_sending_leaves_the_outcome_open() {
        let status =
            |code| Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None };
        for code in [401, 403, 404, 405, 429] {
            assert_eq!(status(code).processed(), Processed::No, "{code}");
        }
        for (code, processed) in [
            (301, Processed::Maybe),
            (302, Processed::Maybe),
            (303, Processed::Maybe),
            (307, Processed::No),
            (308, Processed::No),
        ] {
            let redirected = Failure::Redirected { status: StatusCode::from_u16(code).unwrap(), target: None };
            assert_eq!(redirected.processed(), processed, "{code}");
        }
        assert_eq!(Failure::Cut.processed(), Processed::Maybe);
        assert_eq!(Failure::TimedOut { seconds: 1 }.processed(), Processed::Maybe);
        assert_eq!(Failure::Malformed.processed(), Processed::Maybe);
        let host = || "h".to_owned();
        for error in [
            HttpError::TimedOut { host: host(), after: Duration::ZERO },
            HttpError::Undecodable { host: host(), problem: String::new() },
            HttpError::TooLarge { host: host(), limit: 1 },
        ] {
            assert_eq!(Failure::Http(error).processed(), Processed::Maybe);
        }
        for failure in [Failure::Refused, Failure::NoEndpoint { status: None }, Failure::ForeignEndpoint] {
            assert_eq!(failure.processed(), Processed::No, "{failure:?}");
        }
    }

    /// A status that refuses the request as such says that it was not processed. A success, a server error or a 408,
    /// which some servers also send when their own backend is too slow, never does.
    #[test]
    fn a10_a_refused_request_counts_as_not_processed() {
        let refused = [
            400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 417, 421, 422, 425, 426, 428,
            429, 431, 451,
        ];
        for code in 100..=599 {
            let status = StatusCode::from_u16(code).unwrap();
            let processed = if refused.contains(&code) { Processed::No } else { Processed::Maybe };
            assert_eq!(Failure::Status { status, retry_after: None, reason: None }.processed(), processed, "{code}");
            assert!(!(status.is_success() || status.is_server_error() || code == 408) || processed == Processed::Maybe);
        }
    }
}
