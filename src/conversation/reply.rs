//! The JSON-RPC errors that finmcp itself sends to the client: each names the cause and what to do.

use crate::{
    advice::{Advice, CONTACT_UNSENT, ErrorKind, Hint, MOVED, TRY_LATER_OR_CONTACT},
    conversation::failure::{Failure, Processed, Refusal},
    mcp::{
        id::Id,
        malformed::{LINE_LIMIT, Malformed},
        message::Message,
    },
};

/// The code of an error from finmcp: one of JSON-RPC 2.0 section 5.1 if it fits; otherwise outside the range reserved
/// there, as MCP 2026-07-28 asks ("Error Codes"): -31000 minus the exit code for the same cause on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ReplyCode {
    /// The text is not JSON.
    ParseError = -32700,
    /// The JSON is not a request.
    InvalidRequest = -32600,
    /// finmcp does not know the method.
    MethodNotFound = -32601,
    /// The parameters are invalid.
    InvalidParameters = -32602,
    /// Any other error.
    Failure = -31001,
    /// The server cannot be reached, or its response is invalid.
    Network = -31003,
    /// The user has to sign in.
    LoginRequired = -31004,
    /// finmcp does not trust the server.
    Untrusted = -31005,
    /// The credential store failed.
    Store = -31006,
    /// Whether the request was carried out is not known.
    OutcomeUnknown = -31010,
}

impl From<ErrorKind> for ReplyCode {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Failure | ErrorKind::Usage | ErrorKind::Interrupted => Self::Failure,
            ErrorKind::Network => Self::Network,
            ErrorKind::LoginRequired => Self::LoginRequired,
            ErrorKind::Untrusted => Self::Untrusted,
            ErrorKind::Store => Self::Store,
        }
    }
}

/// How errors name the server and the command that signs in to it.
#[derive(Debug, Clone)]
pub struct ServerLabels {
    /// The server's display name.
    pub title: String,
    /// The command that signs in to it.
    pub login_command: String,
}

/// The error for input that is not a message (JSON-RPC 2.0 section 5: the id is null if unknown).
pub fn malformed(malformed: Malformed) -> Message {
    let (code, message) = match malformed {
        Malformed::Json => (ReplyCode::ParseError, "this line is not JSON".to_owned()),
        Malformed::Message => {
            let text = "this line is not a single JSON-RPC request, notification or response";
            (ReplyCode::InvalidRequest, text.to_owned())
        }
        Malformed::TooLong => {
            (ReplyCode::InvalidRequest, format!("this line is longer than the limit of {} MiB", LINE_LIMIT >> 20))
        }
    };
    Message::error(None, code as i32, &message)
}

/// An error response to the request `id`.
pub fn error(id: &Id, code: ReplyCode, message: &str) -> Message {
    Message::error(Some(id), code as i32, message)
}

/// Whether an error comes from finmcp, judging by its code.
pub fn is_from_finmcp(answer: &Message) -> bool {
    answer.error_code().is_some_and(|code| (-31999..=-31000).contains(&code))
}

/// The error for a request that would have to be translated but cannot be. It is not sent.
pub fn untranslatable(id: &Id) -> Message {
    const SAID: &str = "cannot translate this request for the server: it must be valid UTF-8 without duplicate \
                        members, and `params` and `_meta` must be objects";
    error(id, ReplyCode::InvalidRequest, SAID)
}

impl ServerLabels {
    /// The error response to a failed request; none if the message was not a request.
    pub fn refused(&self, refusal: &Refusal) -> Option<Message> {
        let Refusal { message, failure, processed } = refusal;
        // Only for the request that got this response; requests that waited for it get the reason instead.
        if let (Failure::UnrelatedError { error: unrelated, .. }, Some("initialize" | "server/discover")) =
            (&**failure, message.method())
        {
            return message.id().map(|id| Message::clone(unrelated).addressed_to(id));
        }
        let mut text = format!("{}: {failure}", self.title);
        if let Failure::Http(error) = &**failure
            && let Some(why) = error.why_unreachable()
        {
            text.push_str(&format!(": {why}"));
        }
        let advice = self.advice(failure);
        let is_open = *processed == Processed::Maybe && message.method() == Some("tools/call");
        let code = if is_open && advice.kind != ErrorKind::LoginRequired {
            text.push_str(
                ". It is not known whether the call was carried out; it was not sent again. Check before repeating it",
            );
            ReplyCode::OutcomeUnknown
        } else {
            advice.hints.iter().for_each(|hint| text.push_str(&format!(". {}", sentence(hint))));
            match &**failure {
                Failure::NotResumable => ReplyCode::InvalidParameters,
                Failure::IdInUse => ReplyCode::InvalidRequest,
                _ => advice.kind.into(),
            }
        };
        message.id().map(|id| error(id, code, &text))
    }

    /// What the user can do about `failure`.
    fn advice(&self, failure: &Failure) -> Advice {
        let sign_in = |command| Advice::new(ErrorKind::LoginRequired, Hint::Run(command));
        let network = |hint: &str| Advice::new(ErrorKind::Network, hint);
        match failure {
            Failure::Token(error) => Advice::of_token_source(error, &self.login_command),
            Failure::Http(error) => error.into(),
            Failure::Refused => sign_in(self.login_command.clone()),
            Failure::InsufficientScope { wanted, .. } => sign_in(self.login_command_for(wanted)),
            Failure::Redirected { .. } => Advice::new(ErrorKind::Untrusted, MOVED),
            Failure::ForeignEndpoint => Advice::new(ErrorKind::Untrusted, CONTACT_UNSENT),
            Failure::TimedOut { .. } | Failure::Cut | Failure::Malformed | Failure::NoSession => {
                network(TRY_LATER_OR_CONTACT)
            }
            Failure::Status { status, retry_after: None, .. } if status.is_server_error() => {
                network(TRY_LATER_OR_CONTACT)
            }
            Failure::Status { retry_after: None, .. } | Failure::NoEndpoint { .. } => {
                network("check the address, or contact the server's operator")
            }
            Failure::TooLarge { .. } => network("request less data at a time"),
            Failure::Status { .. }
            | Failure::UnrelatedError { .. }
            | Failure::RateLimited { .. }
            | Failure::NotMcp { .. }
            | Failure::TriedTooOften => Advice::without_hint(ErrorKind::Network),
            Failure::TooMuchInFlight => {
                Advice::new(ErrorKind::Failure, "wait for pending responses, then try again (nothing was sent)")
            }
            Failure::UnsupportedByClient { .. }
            | Failure::TooManyRounds
            | Failure::NoInput
            | Failure::NotResumable
            | Failure::IdInUse
            | Failure::Stopped => Advice::without_hint(ErrorKind::Failure),
        }
    }

    /// The command that signs in with this scope, for the user to paste into a shell. If a scope token has shell
    /// metacharacters (RFC 6749 section 3.3 allows `$(…)`), the command omits --scope.
    fn login_command_for(&self, scope: &[String]) -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@+=,".contains(&byte);
        let option = |token: &String| match token {
            token if token.starts_with('-') => None,
            token if token.bytes().all(is_plain) => Some(format!(" --scope {token}")),
            token if token.bytes().all(|byte| is_plain(byte) || byte == b'*') => Some(format!(" --scope '{token}'")),
            _ => None,
        };
        let options: Option<String> = scope.iter().map(option).collect();
        format!("{}{}", self.login_command, options.unwrap_or_default())
    }
}

/// A hint as a sentence.
fn sentence(hint: &Hint) -> String {
    match hint {
        Hint::Run(command) => format!("Run `{command}` in a terminal, then try again"),
        Hint::Text(text) => {
            let mut letters = text.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;

    use super::*;
    use crate::{
        credential::error::{LoginReason, SignInFailure, TokenSourceError},
        http::{CertificateProblem, HttpError},
        oauth::error::TokenError,
    };

    fn failed(method: &str, failure: Failure) -> serde_json::Value {
        let labels = ServerLabels { title: "Asset".to_owned(), login_command: "finmcp login asset".to_owned() };
        let message = Message::parse(format!(r#"{{"id":1.50,"method":"{method}"}}"#).into()).unwrap();
        let refused =
            labels.refused(&Refusal { message, processed: failure.processed(), failure: Arc::new(failure) }).unwrap();
        assert!(refused.raw().windows(9).any(|window| window == br#""id":1.50"#), "ids are spelled as they came");
        serde_json::from_slice(refused.raw()).unwrap()
    }

    /// A server's JSON-RPC error without the request's id goes to the request that got it.
    #[test]
    fn the_servers_error_goes_to_the_request_that_got_it() {
        let unaddressed = || Failure::UnrelatedError {
            status: StatusCode::NOT_FOUND,
            error: Box::new(
                Message::parse(r#"{"id":null,"error":{"code":-32601,"message":"no such"}}"#.into()).unwrap(),
            ),
        };
        for method in ["initialize", "server/discover"] {
            assert_eq!(failed(method, unaddressed())["error"]["message"], "no such");
        }
        assert_eq!(
            failed("tools/call", unaddressed())["error"]["message"],
            "Asset: the server responded with HTTP 404"
        );
    }

    #[test]
    fn a_signed_out_client_is_told_the_command() {
        let signed_out = Failure::Token(TokenSourceError::LoginRequired(LoginReason::SignedOut));
        let error = failed("tools/call", signed_out);
        assert_eq!(error["error"]["code"], -31004);
        assert_eq!(
            error["error"]["message"],
            "Asset: not signed in: there is no stored sign-in. Run `finmcp login asset` in a terminal, then try again"
        );
    }

    /// t064: the command asks for the missing scope and all present ones; it names no scope that a shell could
    /// interpret.
    #[test]
    fn t064_the_command_names_the_scope() {
        for (wanted, command) in [
            (&["files:read", "files:write"][..], "finmcp login asset --scope files:read --scope files:write"),
            (
                &["https://api.example/a.b+c", "mcp:*"],
                "finmcp login asset --scope https://api.example/a.b+c --scope 'mcp:*'",
            ),
            (&[], "finmcp login asset"),
            (&["a", "$(id)"], "finmcp login asset"),
            (&["a", "b;id"], "finmcp login asset"),
            (&["a", "b`id`"], "finmcp login asset"),
            (&["a'*"], "finmcp login asset"),
            (&["a&calc"], "finmcp login asset"),
            (&["--no-browser"], "finmcp login asset"),
        ] {
            let wanted = wanted.iter().map(|token| (*token).to_owned()).collect();
            let failure = Failure::InsufficientScope { missing: Some("files:write".to_owned()), wanted };
            let error = failed("tools/call", failure);
            let text = format!(
                "Asset: this request needs the scope files:write that the sign-in does not include. Run `{command}` in a \
                 terminal, then try again"
            );
            assert_eq!((&error["error"]["code"], &error["error"]["message"]), (&(-31004).into(), &text.into()));
        }
    }

    /// A failed sign-in says why, and suggests a terminal only if that helps.
    #[test]
    fn a_failed_sign_in_says_why() {
        for (failure, code, text) in [
            (SignInFailure::Untrusted("why".to_owned()), -31005, "Asset: why"),
            (SignInFailure::Failed("why".to_owned()), -31001, "Asset: why"),
            (SignInFailure::Unreachable("why".to_owned()), -31003, "Asset: why"),
            (
                SignInFailure::LoginRequired("why".to_owned()),
                -31004,
                "Asset: why. Run `finmcp login asset` in a terminal, then try again",
            ),
        ] {
            let error = failed("tools/call", Failure::Token(TokenSourceError::SignIn(failure)));
            assert_eq!((&error["error"]["code"], &error["error"]["message"]), (&code.into(), &text.into()));
        }
    }

    /// An untrusted server is named, with the reason and what to do.
    #[test]
    fn b11_a_refusal_says_why_what_to_do_and_whether_a_secret_went_there() {
        let refused = HttpError::Certificate { host: "h".to_owned(), problem: CertificateProblem::Expired };
        let token = |error| Failure::Token(TokenSourceError::Unavailable(Arc::new(error)));
        let host = || "h".to_owned();
        let redirected = HttpError::Redirected { host: host(), status: StatusCode::FOUND, target: None };
        for (failure, step, sent) in [
            (Failure::Http(refused), "Check this machine's clock", "nothing was sent"),
            (
                Failure::Redirected { status: StatusCode::PERMANENT_REDIRECT, target: None },
                "If the server has moved",
                "nothing was sent to the other address",
            ),
            (
                token(TokenError::Http(redirected)),
                "You are still signed in; if the server has moved",
                "nothing was sent to the other address",
            ),
            (
                token(TokenError::Http(HttpError::OldTls { host: host() })),
                "You are still signed in; contact the server's operator",
                "no secret was sent",
            ),
            // The authorization server received the refresh token.
            (
                token(TokenError::Unusable("it is not JSON")),
                "You are still signed in; contact the server's operator",
                "the response was discarded",
            ),
            (
                token(TokenError::Http(HttpError::TooLarge { host: host(), limit: 1 })),
                "You are still signed in; contact the server's operator",
                "the response was discarded",
            ),
            (
                Failure::Http(HttpError::Undecodable { host: host(), problem: host() }),
                "Contact the server's operator",
                "the response was discarded",
            ),
        ] {
            let why = format!("Asset: {failure}. ");
            let error = failed("tools/list", failure);
            let text = error["error"]["message"].as_str().unwrap();
            assert_eq!(error["error"]["code"], -31005, "{text}");
            assert!(text.starts_with(&why) && text.ends_with(&format!("({sent})")), "{text}");
            assert!(text[why.len()..].starts_with(step), "{text}");
        }
    }

    /// The terminal and the bridge name the kind of a failure alike.
    #[test]
    fn codes_follow_the_exit_codes() {
        for (kind, code) in [
            (ErrorKind::Failure, ReplyCode::Failure),
            (ErrorKind::Network, ReplyCode::Network),
            (ErrorKind::LoginRequired, ReplyCode::LoginRequired),
            (ErrorKind::Untrusted, ReplyCode::Untrusted),
            (ErrorKind::Store, ReplyCode::Store),
        ] {
            assert_eq!(ReplyCode::from(kind), code);
            assert_eq!(code as i32, -31000 - i32::from(kind.exit_code()), "{kind:?}");
        }
    }

    /// t114: the error for a call says that its outcome is unknown; one for a list does not need to.
    #[test]
    fn t114_an_unknown_outcome_is_reported() {
        let error = failed("tools/call", Failure::Cut);
        assert_eq!(error["error"]["code"], -31010);
        assert!(error["error"]["message"].as_str().unwrap().contains("not sent again"));
        assert_eq!(failed("tools/list", Failure::Cut)["error"]["code"], -31003);
    }

    #[test]
    fn a_malformed_line_gets_an_error_without_an_id() {
        assert_eq!(
            malformed(Malformed::Json).raw(),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"this line is not JSON"}}"#
        );
    }
}
