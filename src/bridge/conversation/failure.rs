//! What may be sent again, and what is known of a request that came to nothing.
//!
//! A message is sent again only when the server provably did not take it: it refused the credential, or the session,
//! before looking at the message. Everything else is answered with an error that says what is known; a tool's
//! annotations change nothing in that. A process that is killed answers nobody, and leaves nothing behind that another
//! could send: whether to repeat what was under way is the client's to decide.

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

/// A request that brought no response.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No token to send it with.
    #[error("{0}")]
    Token(TokenSourceError),
    /// The server refuses a credential that is fresh (401 twice).
    #[error("the server refuses the credential")]
    Refused,
    /// The credential lacks a scope (403 with `insufficient_scope`, RFC 6750 section 3.1).
    #[error("the sign-in does not include what this needs{}", .missing.as_deref().map(|scope| format!(": scope {scope}")).unwrap_or_default())]
    InsufficientScope {
        /// What is missing, as the server says.
        missing: Option<String>,
        /// The scope tokens that a sign-in needs: all that this one has, and what is missing (MCP authorization, "Step-Up
        /// Authorization Flow"). None where the server does not say.
        wanted: Vec<String>,
    },
    /// The network.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// An HTTP status with no JSON-RPC answer in it.
    #[error("the server answered HTTP {}{}{}", .status.as_u16(), .reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default(), .retry_after.map(|wait| format!(", to be asked again in {} s", wait.as_secs())).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// When to come back (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
        /// What the server says of it, fit to be shown.
        reason: Option<String>,
    },
    /// The same with a JSON-RPC error, from a place where perhaps nobody takes messages: it neither answers this one nor
    /// is of MCP's own.
    #[error("the server answered HTTP {}", .status.as_u16())]
    Unaddressed {
        /// The status.
        status: StatusCode,
        /// What the server says.
        said: Box<Message>,
    },
    /// The limit of requests is used up for longer than a client can be expected to wait. Nothing was sent.
    #[error("the server's limit of requests is used up; it can be asked again in {} s", .wait.as_secs() + 1)]
    UsedUp {
        /// When there is room again.
        wait: Duration,
    },
    /// A redirect to another address than the server's own, give or take a trailing slash.
    #[error("the server redirects elsewhere (HTTP {}{}), which is not followed: its address may have changed", .status.as_u16(), .target.as_deref().map(|target| format!(" to {target}")).unwrap_or_default())]
    Redirected {
        /// The status.
        status: StatusCode,
        /// Where to, fit to be shown.
        target: Option<String>,
    },
    /// A 2xx answer that is neither JSON nor an event stream.
    #[error(
        "the server's answer is not MCP but {content_type}: something else may be in between, such as a sign-in page of the network"
    )]
    NotMcp {
        /// What it claims to be, cleaned.
        content_type: String,
    },
    /// An answer that is no JSON-RPC message.
    #[error("the server's answer is not a JSON-RPC message")]
    Malformed,
    /// An answer larger than a message may be.
    #[error("the server's answer is larger than {} MiB", .limit >> 20)]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer ended before the response.
    #[error("the server ended its answer without a response")]
    Cut,
    /// No HTTP+SSE stream, or none that begins in time with its `endpoint` event (MCP 2024-11-05 transports, "HTTP with
    /// SSE").
    #[error("the server opens no event stream that begins with the address for messages{}", .status.map(|status| format!(" (HTTP {})", status.as_u16())).unwrap_or_default())]
    NoEndpoint {
        /// The status that was in the stream's place.
        status: Option<StatusCode>,
    },
    /// An `endpoint` event that leads elsewhere.
    #[error(
        "the server wants messages to be sent to an address that is not its own; none was, since a sign-in is for the server alone"
    )]
    ForeignEndpoint,
    /// What waited for a session, and there is none.
    #[error("the server refuses to open a session")]
    NoSession,
    /// No response in time.
    #[error("the server did not answer within {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// The client has numbered two requests alike, which nobody could tell apart (JSON-RPC 2.0 section 4).
    #[error("this id is still in use by an unanswered request")]
    IdInUse,
    /// The server wants to know what the client cannot be asked.
    #[error("the server wants {}, which this client does not offer", quoted(.method))]
    Unasking {
        /// The method that asks for it.
        method: String,
    },
    /// The server asks, and asks again.
    #[error("the server asked for more too often")]
    AskedTooOften,
    /// Nobody is there to answer what the server wants to know.
    #[error("the server's question was not answered")]
    Unasked,
    /// What the client answers to was never asked, or too long ago.
    #[error("the question that this answers is not open any more; make the request again")]
    Forgotten,
    /// The client has more under way than can be kept.
    #[error("too much is under way: so many large requests wait for their answers that there is no room for this one")]
    Crowded,
    /// The law of attempts forbids another delivery, and nothing was sent.
    #[error("the server refused this {SENDS_LIMIT} times")]
    TriedTooOften,
    /// finmcp is told to stop.
    #[error("finmcp was stopped before the server answered")]
    Stopped,
}

/// What may help: to send the message again, if the law of attempts admits this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// Why.
    pub reason: Reason,
    /// How long the server asks to be left alone (RFC 9110 section 10.2.3).
    pub retry_after: Option<Duration>,
}

/// Whether the server may have acted on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Certainly not.
    No,
    /// Nobody knows.
    Perhaps,
}

/// A request that brought no response, and why.
#[derive(Debug)]
pub struct Refusal {
    /// The request.
    pub message: Message,
    /// What went wrong.
    pub failure: Arc<Failure>,
    /// Whether the server may have acted on it.
    pub taken: Taken,
}

impl Refusal {
    /// Of a message that was not sent, or whose exchange is over.
    pub fn unsent(message: Message, failure: Failure) -> Self {
        Self { message, failure: Arc::new(failure), taken: Taken::No }
    }
}

impl Failure {
    /// What is known of the message (RFC 9110 section 9.2.2: a client must not repeat what it cannot know to be
    /// harmless).
    pub fn taken(&self) -> Taken {
        match self {
            Self::Token(_)
            | Self::Refused
            | Self::InsufficientScope { .. }
            | Self::NoSession
            | Self::IdInUse
            | Self::Forgotten
            | Self::Crowded
            | Self::TriedTooOften
            | Self::UsedUp { .. } => Taken::No,
            // The stream is what a message needs first.
            Self::NoEndpoint { .. } | Self::ForeignEndpoint => Taken::No,
            Self::Http(error) if error.is_unsent() => Taken::No,
            // These two send the very same request elsewhere: it was not taken here (RFC 9110 section 15.4.8).
            Self::Redirected { status, .. } if matches!(status.as_u16(), 307 | 308) => Taken::No,
            Self::Status { status, .. } if refuses(*status) || is_telling(*status) => Taken::No,
            Self::Unaddressed { status, .. } if refuses(*status) => Taken::No,
            _ => Taken::Perhaps,
        }
    }

    /// Why a message of this method may be sent again; none where it is over.
    ///
    /// A message that was certainly not taken may be sent again, whatever it is; one that perhaps was, only where that
    /// changes nothing: what MCP itself says reads, no matter how a server describes its tools.
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

    /// How long the server asks not to be asked, in its own number (RFC 9110 section 10.2.3).
    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether nobody is signed in, so that it helps when somebody is, wherever that happens.
    pub fn is_signed_out(&self) -> bool {
        matches!(self, Self::Token(TokenSourceError::LoginRequired(_)))
    }

    /// Whether somebody signing in is what helps.
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

/// Whether a status says by itself that the request was refused before anything was run: a server, or something before
/// it, limits a rate, wants authentication, knows no such place or method, or does not take a request of this form (RFC
/// 9110 section 15.5, RFC 6585). Never 408: a server that gives up waiting for an answer of its own says that too.
fn refuses(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 403 | 404 | 405 | 406 | 407 | 410 | 411 | 412 | 413 | 414 | 415 | 417 | 421 | 425 | 426 | 428 | 429 | 431
    )
}

/// Whether a status says the same, unless there is a message in the answer: then the server has looked at the request.
pub fn is_telling(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 402 | 409 | 422 | 451)
}

/// Whether a request of this method changes nothing on the server, by MCP's own definition. (An `initialize` whose answer
/// was lost leaves a session that nothing was done in.)
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

    /// t114: only what is certain counts as not taken.
    #[test]
    fn t114_a_failure_after_sending_leaves_the_outcome_open() {
        let status =
            |code| Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None };
        for code in [401, 403, 404, 405, 429] {
            assert_eq!(status(code).taken(), Taken::No, "{code}");
        }
        for (code, taken) in
            [(301, Taken::Perhaps), (302, Taken::Perhaps), (303, Taken::Perhaps), (307, Taken::No), (308, Taken::No)]
        {
            let redirected = Failure::Redirected { status: StatusCode::from_u16(code).unwrap(), target: None };
            assert_eq!(redirected.taken(), taken, "{code}");
        }
        assert_eq!(Failure::Cut.taken(), Taken::Perhaps);
        assert_eq!(Failure::TimedOut { seconds: 1 }.taken(), Taken::Perhaps);
        assert_eq!(Failure::Malformed.taken(), Taken::Perhaps);
        let host = || "h".to_owned();
        for error in [
            HttpError::TimedOut { host: host(), after: Duration::ZERO },
            HttpError::Undecodable { host: host(), problem: String::new() },
            HttpError::TooLarge { host: host(), limit: 1 },
        ] {
            assert_eq!(Failure::Http(error).taken(), Taken::Perhaps);
        }
        for failure in [Failure::Refused, Failure::NoEndpoint { status: None }, Failure::ForeignEndpoint] {
            assert_eq!(failure.taken(), Taken::No, "{failure:?}");
        }
    }

    /// Statuses of a request that was refused as it stood say so. No success, no failure of the server's, and no 408, with
    /// which a server also gives up on its own backend, ever does.
    #[test]
    fn a10_a_status_of_a_refused_request_is_not_taken() {
        let refused = [
            400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 417, 421, 422, 425, 426, 428,
            429, 431, 451,
        ];
        for code in 100..=599 {
            let status = StatusCode::from_u16(code).unwrap();
            let taken = if refused.contains(&code) { Taken::No } else { Taken::Perhaps };
            assert_eq!(Failure::Status { status, retry_after: None, reason: None }.taken(), taken, "{code}");
            assert!(!(status.is_success() || status.is_server_error() || code == 408) || taken == Taken::Perhaps);
        }
    }
}
