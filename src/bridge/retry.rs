//! What may be sent again, and what is known of a request that came to nothing.
//!
//! A message is sent again only when the server provably did not take it: it refused the credential, or the session,
//! before looking at the message. Everything else is answered with an error that says what is known; a tool's
//! annotations change nothing in that. A process that is killed answers nobody, and leaves nothing behind that another
//! could send: whether to repeat what was under way is the client's to decide.

use std::time::Duration;

use http::StatusCode;

use crate::{
    bridge::{message::Message, patience},
    credential::token_source::{SignInFailure, TokenSourceError},
    http::HttpError,
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
    #[error("the server answered HTTP {}{}", .status.as_u16(), .retry_after.map(|wait| format!(", to be asked again in {} s", wait.as_secs())).unwrap_or_default())]
    Status {
        /// The status.
        status: StatusCode,
        /// When to come back (RFC 9110 section 10.2.3).
        retry_after: Option<Duration>,
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
    /// A redirect to another origin, or one that would make another request of this one (301, 302, 303).
    #[error("the server redirects elsewhere (HTTP {}), which is not followed: its address may have changed", .status.as_u16())]
    Redirected {
        /// The status.
        status: StatusCode,
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
    /// finmcp is told to stop.
    #[error("finmcp was stopped before the server answered")]
    Stopped,
}

/// What may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// To send nothing at all to the server for so long, by any process, and then this again.
    HoldAll(Duration),
    /// To send this again after so long.
    Wait(Duration),
}

/// Whether the server may have acted on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Certainly not.
    No,
    /// Nobody knows.
    Perhaps,
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
            | Self::UsedUp { .. } => Taken::No,
            // The stream is what a message needs first.
            Self::NoEndpoint { .. } | Self::ForeignEndpoint => Taken::No,
            Self::Http(error) if error.is_unsent() => Taken::No,
            // These two send the very same request elsewhere: it was not taken here (RFC 9110 section 15.4.8).
            Self::Redirected { status } if matches!(status.as_u16(), 307 | 308) => Taken::No,
            // A server that limits a rate, wants authentication, or knows no such place or method has not run anything.
            Self::Status { status, .. } | Self::Unaddressed { status, .. }
                if matches!(status.as_u16(), 401 | 403 | 404 | 405 | 429) =>
            {
                Taken::No
            }
            _ => Taken::Perhaps,
        }
    }

    /// What may be done about a request of this method, in the attempt of this number (from 0); none where it is over.
    /// `random` is any number.
    ///
    /// A message that was certainly not taken may be sent again, whatever it is; one that perhaps was, only where that
    /// changes nothing: what MCP itself says reads, no matter how a server describes its tools.
    pub fn remedy(&self, method: Option<&str>, attempt: u32, random: u32) -> Option<Remedy> {
        const UNSENT_LIMIT: u32 = 2;
        const UNSURE_LIMIT: u32 = 2;
        const REFUSED_LIMIT: u32 = 8;
        match self {
            Self::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after } if attempt < REFUSED_LIMIT => {
                Some(Remedy::HoldAll(patience::wait(*retry_after, attempt, random)))
            }
            Self::Http(error) if error.is_unsent() && !error.is_refusal() && attempt < UNSENT_LIMIT => {
                Some(Remedy::Wait(patience::wait(None, attempt, random)))
            }
            Self::Status { status, retry_after }
                if matches!(status.as_u16(), 500 | 502..=504) && only_reads(method) && attempt < UNSURE_LIMIT =>
            {
                Some(Remedy::Wait(patience::wait(*retry_after, attempt, random)))
            }
            Self::Http(HttpError::Broken { .. }) | Self::Cut if only_reads(method) && attempt < UNSURE_LIMIT => {
                Some(Remedy::Wait(patience::wait(None, attempt, random)))
            }
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

    /// Whether the server must not be believed.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Redirected { .. }
            | Self::ForeignEndpoint
            | Self::Token(TokenSourceError::SignIn(SignInFailure::Untrusted(_))) => true,
            Self::Http(error) => error.is_refusal(),
            Self::Token(TokenSourceError::Unavailable(error)) => error.is_refusal(),
            _ => false,
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

/// Whether a request of this method changes nothing on the server, by MCP's own definition.
fn only_reads(method: Option<&str>) -> bool {
    matches!(
        method,
        Some(
            "ping"
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
        let status = |code| Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None };
        for code in [400, 408, 409, 500, 502, 503, 504] {
            assert_eq!(status(code).taken(), Taken::Perhaps, "{code}");
        }
        for code in [401, 403, 404, 405, 429] {
            assert_eq!(status(code).taken(), Taken::No, "{code}");
        }
        for (code, taken) in
            [(301, Taken::Perhaps), (302, Taken::Perhaps), (303, Taken::Perhaps), (307, Taken::No), (308, Taken::No)]
        {
            let redirected = Failure::Redirected { status: StatusCode::from_u16(code).unwrap() };
            assert_eq!(redirected.taken(), taken, "{code}");
        }
        assert_eq!(Failure::Cut.taken(), Taken::Perhaps);
        assert_eq!(Failure::TimedOut { seconds: 1 }.taken(), Taken::Perhaps);
        assert_eq!(Failure::Malformed.taken(), Taken::Perhaps);
        for failure in [Failure::Refused, Failure::NoEndpoint { status: None }, Failure::ForeignEndpoint] {
            assert_eq!(failure.taken(), Taken::No, "{failure:?}");
        }
    }
}
