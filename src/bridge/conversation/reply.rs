//! What finmcp itself says to the client: JSON-RPC errors that name the cause and the way out.

use crate::{
    bridge::conversation::failure::{Failure, Refusal, Taken},
    credential::token_source::{SignInFailure, TokenSourceError},
    http::HttpError,
    mcp::{id::Id, malformed::Malformed, message::Message},
};

/// The code of an error of ours. Those of JSON-RPC 2.0 section 5.1 where one fits; else outside of its reserved range,
/// as MCP 2026-07-28 asks ("Error Codes"): -31000 less the exit code that the same cause has on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ReplyCode {
    /// Not JSON.
    ParseError = -32700,
    /// JSON, but no request.
    InvalidRequest = -32600,
    /// A request that nobody here answers.
    MethodNotFound = -32601,
    /// A request whose parameters make no sense.
    InvalidParameters = -32602,
    /// Anything else.
    Failure = -31001,
    /// The server cannot be reached, or makes no sense.
    Network = -31003,
    /// Somebody has to sign in.
    LoginRequired = -31004,
    /// A server must not be trusted.
    Untrusted = -31005,
    /// Whether the request was carried out is not known.
    OutcomeUnknown = -31010,
}

/// How errors speak of the server.
#[derive(Debug, Clone)]
pub struct Words {
    /// The server's name for people.
    pub title: String,
    /// The command that signs in to it.
    pub login_command: String,
}

/// What helps where nothing has to be changed.
const LATER: &str = ". Try again in a while; if it stays so, ask whoever runs the server";

/// The answer to bytes that are no message (JSON-RPC 2.0 section 5: the id is null where it cannot be told).
pub fn malformed(malformed: Malformed) -> Message {
    let (code, message) = match malformed {
        Malformed::Json => (ReplyCode::ParseError, "this line is not JSON"),
        Malformed::Message => {
            (ReplyCode::InvalidRequest, "this line is not a single JSON-RPC request, notification or response")
        }
        Malformed::TooLong => (ReplyCode::InvalidRequest, "this line is longer than a message may be"),
    };
    Message::error(None, code as i32, message)
}

/// An error response to the request `id`.
pub fn error(id: &Id, code: ReplyCode, message: &str) -> Message {
    Message::error(Some(id), code as i32, message)
}

/// Whether an error is one of finmcp's own, by its code.
pub fn is_ours(answer: &Message) -> bool {
    answer.error_code().is_some_and(|code| (-31999..=-31000).contains(&code))
}

/// The answer to a request that has to be put in other words, and cannot be: it is not sent.
pub fn untranslatable(id: &Id) -> Message {
    const SAID: &str = "this request cannot be translated for the server: its members must be UTF-8, each name once, and \
                        `params` and `_meta` objects";
    error(id, ReplyCode::InvalidRequest, SAID)
}

impl Words {
    /// The answer to a request which brought no response; none where it was no request.
    pub fn refused(&self, refusal: &Refusal) -> Option<Message> {
        let Refusal { message, failure, taken } = refusal;
        // (To the request that was refused so; what waited for that hears why it came to nothing.)
        if let (Failure::Unaddressed { said, .. }, Some("initialize" | "server/discover")) =
            (&**failure, message.method())
        {
            return message.id().map(|id| Message::clone(said).addressed_to(id));
        }
        let title = &self.title;
        let mut text = format!("{title}: {failure}");
        let code = if failure.needs_login() {
            let command = match &**failure {
                Failure::InsufficientScope { wanted, .. } => self.login_command_for(wanted),
                _ => self.login_command.clone(),
            };
            text.push_str(&format!(". Run `{command}` in a terminal, then try again"));
            ReplyCode::LoginRequired
        } else if *taken == Taken::Perhaps && message.method() == Some("tools/call") {
            text.push_str(
                ". It is not known whether the call was carried out; it was not sent again. Check before repeating it",
            );
            ReplyCode::OutcomeUnknown
        } else if failure.is_refusal() {
            // A sign-in that was refused has said what to do already.
            if !matches!(**failure, Failure::Token(TokenSourceError::SignIn(_))) {
                let spared = match &**failure {
                    failure if failure.spared_the_token() => "No token went there",
                    Failure::Token(_) => "The sign-in is kept, and that answer is not used",
                    _ => "That answer is not used",
                };
                text.push_str(&format!(
                    ". {spared}. Ask whoever runs the server, or run `{}` in a terminal to see more",
                    self.login_command
                ));
            }
            ReplyCode::Untrusted
        } else {
            match &**failure {
                Failure::Token(TokenSourceError::SignIn(SignInFailure::Unreachable(_))) => ReplyCode::Network,
                Failure::Token(error) => {
                    text.push_str(&match error {
                        TokenSourceError::Unavailable(_) => ". The sign-in is kept; try again in a while".to_owned(),
                        // These have said what to do, or nobody is left to do it.
                        TokenSourceError::SignIn(_) | TokenSourceError::Interrupted => String::new(),
                        _ => format!(". Run `{}` in a terminal to see what helps", self.login_command),
                    });
                    ReplyCode::Failure
                }
                Failure::Stopped | Failure::Unasking { .. } | Failure::AskedTooOften | Failure::Unasked => {
                    ReplyCode::Failure
                }
                Failure::Crowded => {
                    text.push_str(". Nothing was sent. Wait for answers, then ask again");
                    ReplyCode::Failure
                }
                Failure::Forgotten => ReplyCode::InvalidParameters,
                Failure::IdInUse => ReplyCode::InvalidRequest,
                Failure::Http(error) => {
                    text.push_str(&match (error, error.why_unreachable()) {
                        (_, Some(why)) => format!(
                            ": {why}. Nothing was sent. Check the address, the connection, VPN and proxy, then try again"
                        ),
                        (HttpError::Setup(_), _) => format!(
                            ". Nothing was sent. Run `{}` in a terminal to see what helps",
                            self.login_command
                        ),
                        _ => LATER.to_owned(),
                    });
                    ReplyCode::Network
                }
                Failure::TimedOut { .. } | Failure::Cut | Failure::Malformed | Failure::NoSession => {
                    text.push_str(LATER);
                    ReplyCode::Network
                }
                Failure::Status { status, retry_after: None, .. } if status.is_server_error() => {
                    text.push_str(LATER);
                    ReplyCode::Network
                }
                Failure::Status { retry_after: None, .. } | Failure::NoEndpoint { .. } => {
                    text.push_str(". Check the address, or ask whoever runs the server");
                    ReplyCode::Network
                }
                Failure::TooLarge { .. } => {
                    text.push_str(". Ask for less at a time");
                    ReplyCode::Network
                }
                _ => ReplyCode::Network,
            }
        };
        message.id().map(|id| error(id, code, &text))
    }

    /// The command that signs in with this scope. A person copies it into a shell: a token that one would make more of
    /// than a word (RFC 6749 section 3.3 allows `$(…)`) is left for them to write, with all the others.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;

    use super::*;
    use crate::{credential::token_source::LoginReason, oauth::error::TokenError};

    fn failed(method: &str, failure: Failure) -> serde_json::Value {
        let words = Words { title: "Asset".to_owned(), login_command: "finmcp login asset".to_owned() };
        let message = Message::parse(format!(r#"{{"id":1.50,"method":"{method}"}}"#).into()).unwrap();
        let refused = words.refused(&Refusal { message, taken: failure.taken(), failure: Arc::new(failure) }).unwrap();
        assert!(refused.raw().windows(9).any(|window| window == br#""id":1.50"#), "ids are spelled as they came");
        serde_json::from_slice(refused.raw()).unwrap()
    }

    /// What the server says in place of an answer is for the request that it was said to.
    #[test]
    fn the_servers_own_words_are_for_what_they_were_said_to() {
        let unaddressed = || Failure::Unaddressed {
            status: StatusCode::NOT_FOUND,
            said: Box::new(
                Message::parse(r#"{"id":null,"error":{"code":-32601,"message":"no such"}}"#.into()).unwrap(),
            ),
        };
        for method in ["initialize", "server/discover"] {
            assert_eq!(failed(method, unaddressed())["error"]["message"], "no such");
        }
        assert_eq!(failed("tools/call", unaddressed())["error"]["message"], "Asset: the server answered HTTP 404");
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

    /// t064: the command asks for what is missing, and for all that there was; what a shell could take for more than a
    /// word is in no command.
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
                "Asset: the sign-in does not include what this needs: scope files:write. Run `{command}` in a terminal, then try again"
            );
            assert_eq!((&error["error"]["code"], &error["error"]["message"]), (&(-31004).into(), &text.into()));
        }
    }

    /// A sign-in that came to nothing says why, and asks for a terminal only where that helps.
    #[test]
    fn why_nobody_is_signed_in() {
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

    /// A server that must not be believed is named, with what is wrong and the way out.
    #[test]
    fn b11_a_refusal_says_why_what_to_do_and_whether_a_secret_went_there() {
        let refused = HttpError::Certificate { host: "h".to_owned(), problem: "has expired" };
        let token = |error| Failure::Token(TokenSourceError::Unavailable(Arc::new(error)));
        let host = || "h".to_owned();
        let redirected = HttpError::Redirected { host: host(), status: StatusCode::FOUND, target: None };
        for (failure, spared) in [
            (Failure::Http(refused), "No token went there"),
            (Failure::Redirected { status: StatusCode::PERMANENT_REDIRECT, target: None }, "No token went there"),
            (token(TokenError::Http(redirected)), "No token went there"),
            (token(TokenError::Http(HttpError::OldTls { host: host() })), "No token went there"),
            // The refresh token has gone there.
            (token(TokenError::Unusable("it is not JSON")), "The sign-in is kept"),
            (token(TokenError::Http(HttpError::TooLarge { host: host(), limit: 1 })), "The sign-in is kept"),
            (Failure::Http(HttpError::Undecodable { host: host(), problem: host() }), "That answer is not used"),
        ] {
            let why = format!("Asset: {failure}. ");
            let error = failed("tools/list", failure);
            let text = error["error"]["message"].as_str().unwrap();
            assert_eq!(error["error"]["code"], -31005, "{text}");
            assert!(text.starts_with(&why) && text.contains("finmcp login asset"), "{text}");
            assert!(text[why.len()..].starts_with(spared), "{text}");
        }
    }

    /// t114: a call whose outcome is open says so; a list needs no such warning.
    #[test]
    fn t114_an_open_outcome_is_said() {
        let error = failed("tools/call", Failure::Cut);
        assert_eq!(error["error"]["code"], -31010);
        assert!(error["error"]["message"].as_str().unwrap().contains("not sent again"));
        assert_eq!(failed("tools/list", Failure::Cut)["error"]["code"], -31003);
    }

    #[test]
    fn what_is_no_message_is_answered_without_an_id() {
        assert_eq!(
            malformed(Malformed::Json).raw(),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"this line is not JSON"}}"#
        );
    }
}
