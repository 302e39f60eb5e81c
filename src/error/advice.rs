//! The table of the errors that only the terminal reports: the kind of each, and what the user can do about it. The
//! table of those that the bridge reports too is [`crate::advice`].

use std::io;

use crate::{
    advice::{
        ALLOW_PRIVATE, Advice, CONTACT_DISCARDED, CONTACT_UNSENT, ErrorKind, Hint, PASS_CERTIFICATE, TRY_LATER,
        TRY_LATER_OR_CONTACT,
    },
    bridge::control::audit::{AuditError, verify::VerifyError},
    client::ClientError,
    credential::{
        assertion::AssertionError,
        error::{LoginReason, TokenSourceError},
        store::StoreError,
    },
    disk::lock::LockError,
    error::Error,
    http::HttpError,
    login::{error::LoginError, mcp_remote::LeftoverError},
    oauth::{
        discovery::DiscoveryError,
        error::{PushError, RegistrationError, TokenError, Untrusted, may_recover},
    },
    profile::{Profile, selector::SelectorError},
    server_url::{ServerUrlError, reach::Zone},
    settings::error::SettingsError,
    tool::arguments::ArgumentError,
};

const PASS_SECRET: &str =
    "pass the client secret with --client-secret-file PATH (- reads stdin) or FINMCP_CLIENT_SECRET";
const GET_CLIENT: &str = "get a client id from the vendor and pass it with --client-id; if the server reads Client ID \
                          Metadata Documents, pass the URL of yours with --client-metadata-url";
const SET_METHOD: &str = "set how the client authenticates: `overrides = { token_endpoint_auth_method = \
                          \"client_secret_basic\" }` (or \"client_secret_post\" or \"none\") in config.toml";

/// The first port that every program may listen on: Unix reserves those below.
const UNRESERVED_PORTS: u16 = 1024;

impl Error {
    /// Whether the user was asked to sign in and did not.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.source.downcast_ref(), Some(LoginError::TimedOut { .. }))
    }

    /// Whether the sign-in needs a client that the user has registered.
    pub fn needs_client(&self) -> bool {
        matches!(self.source.downcast_ref(), Some(LoginError::NeedsRegistration { .. }))
    }

    /// The user has to sign in to `profile`.
    pub fn login_required(profile: &Profile, reason: LoginReason) -> Self {
        Self::of_token(TokenSourceError::LoginRequired(reason), profile)
    }

    /// Why there is no token for `profile`.
    pub fn of_token(error: TokenSourceError, profile: &Profile) -> Self {
        let advice = Advice::of_token_source(&error, &profile.login_command());
        match error {
            TokenSourceError::LoginRequired(reason) => {
                let text = format!("not signed in to {}: {reason}", profile.title);
                Self { source: anyhow::Error::msg(text), ..Self::advised(error, advice) }
            }
            error => Self::advised(error, advice),
        }
    }
}

/// Implements the conversion to [`Error`] for errors that have advice.
macro_rules! advised {
    ($($error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                let advice = Advice::from(&error);
                Self::advised(error, advice)
            }
        })+
    };
}

advised!(
    ArgumentError,
    AssertionError,
    ClientError,
    DiscoveryError,
    HttpError,
    LeftoverError,
    LockError,
    LoginError,
    SelectorError,
    SettingsError,
    StoreError,
    TokenError,
    Untrusted
);

/// The kind of a JSON-RPC error: the bridge's own codes are -31000 minus the exit code.
fn kind_of_reply(code: i64) -> ErrorKind {
    let known =
        [ErrorKind::Usage, ErrorKind::Network, ErrorKind::LoginRequired, ErrorKind::Untrusted, ErrorKind::Store];
    known.into_iter().find(|kind| code == -31000 - i64::from(kind.exit_code())).unwrap_or(ErrorKind::Failure)
}

/// For a fault in `config.toml`.
const CORRECT_CONFIG: &str = "`finmcp config check` shows every fault, and `finmcp config edit` opens config.toml";

impl From<&SettingsError> for Advice {
    fn from(error: &SettingsError) -> Self {
        match error {
            SettingsError::Exposed { path } => {
                let folder = path.parent().unwrap_or(path).display();
                let command = format!("chmod go-w '{}' '{folder}'", path.display());
                Self::new(ErrorKind::Untrusted, format!("check the file's contents, then run `{command}`"))
            }
            SettingsError::File { .. } => {
                let hint = "check that the file exists and is readable, and that its folder is writable";
                Self::new(ErrorKind::Failure, hint)
            }
            SettingsError::Overtaken { .. } => {
                Self::new(ErrorKind::Failure, "run `finmcp config edit` again, and take your changes from the copy")
            }
            SettingsError::Unchanged(failure) => failure.into(),
            SettingsError::NoHomeFolder => Self::new(ErrorKind::Usage, "set HOME or FINMCP_CONFIG_DIR to a folder"),
            SettingsError::Variable { name, .. } => {
                let hint = format!("correct or unset {name} in your shell, or in the AI client's entry");
                Self::new(ErrorKind::Usage, hint)
            }
            SettingsError::Config { .. } => Self::new(ErrorKind::Usage, CORRECT_CONFIG),
        }
    }
}

impl From<&ClientError> for Advice {
    fn from(error: &ClientError) -> Self {
        const CHECK: &str = "check before you repeat a tool call: the server may have run it";
        match error {
            // The message contains the hint if the bridge sent it.
            ClientError::Refused { code, .. } => Self::without_hint(kind_of_reply(*code)),
            ClientError::InvalidResponse(_) => {
                Self::new(ErrorKind::Network, "contact the server's operator").and(CHECK)
            }
            ClientError::Ended | ClientError::Broken(_) => Self::new(ErrorKind::Failure, CHECK),
        }
    }
}

impl From<&ArgumentError> for Advice {
    fn from(error: &ArgumentError) -> Self {
        let hint = match error {
            ArgumentError::Unnamed(_) => {
                "pass each argument as NAME=VALUE or NAME:=JSON, or all of them as JSON on stdin with --json -".into()
            }
            ArgumentError::Unknown { known, .. } if known.is_empty() => "remove it: the tool takes no arguments".into(),
            ArgumentError::Unknown { known, .. } => {
                format!("use one of: {}; NAME:=JSON sends any other name unchecked", known.join(", "))
            }
            ArgumentError::Missing { tool, missing } => {
                let values: Vec<String> = missing.iter().map(|name| format!("{name}=VALUE")).collect();
                format!("add {}; `finmcp tools --tool {tool}` describes the arguments", values.join(" "))
            }
            ArgumentError::Mistyped { .. } => "use NAME:=JSON to send a value unchecked".into(),
            ArgumentError::Twice(_) => "pass it once; NAME:=[…] sends a list".into(),
            ArgumentError::Unreadable(_) => "pass one JSON object, for example {\"name\": \"value\"}".into(),
            ArgumentError::Malformed { .. } => {
                "put JSON strings in double quotes, and in a shell the whole value in single quotes: NAME:='\"text\"'"
                    .into()
            }
            ArgumentError::NoObject => "put the arguments in braces, each with its name: {\"NAME\": VALUE}".into(),
        };
        Self::new(ErrorKind::Usage, Hint::Text(hint))
    }
}

impl From<&LeftoverError> for Advice {
    fn from(error: &LeftoverError) -> Self {
        match error {
            LeftoverError::None { .. } => {
                Self::new(ErrorKind::Failure, "pass the exact URL from mcp-remote's command line")
            }
            LeftoverError::Incomplete { .. } => Self::without_hint(ErrorKind::Failure),
            LeftoverError::Unreadable { .. } => Self::new(
                ErrorKind::Failure,
                "check that the file is readable and that mcp-remote has finished writing it",
            ),
        }
    }
}

impl From<&SelectorError> for Advice {
    fn from(error: &SelectorError) -> Self {
        const ALL: &str = "`finmcp login --list` lists all presets";
        let hint = match error {
            SelectorError::Unknown { similar, .. } if !similar.is_empty() => {
                return Self::new(ErrorKind::Usage, format!("did you mean {}?", similar.join(" or "))).and(ALL);
            }
            SelectorError::Unknown { candidates, .. } | SelectorError::NoEnvironment { candidates, .. } => {
                let hint = format!("use an https URL or one of: {}", candidates.join(", "));
                return Self::new(ErrorKind::Usage, hint).and(ALL);
            }
            SelectorError::Unsaved { saved, .. } if saved.is_empty() => {
                return Self::new(ErrorKind::Usage, "no profile is saved yet; `finmcp login SERVER` saves one");
            }
            SelectorError::Unsaved { saved, .. } => format!("use one of: {}", saved.join(", ")),
            SelectorError::SchemeNeeded { address } => {
                format!("write http://{address}, or https://{address} if it has a certificate")
            }
            SelectorError::Unclear { candidates } => {
                let hint = format!(
                    "run `finmcp login SERVER` first, or name one of: {}; or an https URL",
                    candidates.join(", ")
                );
                return Self::new(ErrorKind::Usage, hint).and(ALL);
            }
            SelectorError::Environment { candidates, .. } if candidates.is_empty() => "omit --env".into(),
            SelectorError::Environment { candidates, .. } => format!("use one of: {}", candidates.join(", ")),
            SelectorError::UrlNeeded { provider, example: Some(example), .. } => {
                format!("run `finmcp login {provider} --url {example}` once, with the URL of your account")
            }
            SelectorError::UrlNeeded { provider, .. } => {
                format!("run `finmcp login {provider} --url https://…` once; your vendor's settings page shows the URL")
            }
            SelectorError::Broken { .. } => CORRECT_CONFIG.into(),
            SelectorError::Embedded => "run `finmcp demo`, or add `finmcp serve demo` to an AI client".into(),
            SelectorError::PresetName(_) | SelectorError::Name(_) => "choose another name".into(),
            SelectorError::Taken(name) => {
                format!("choose another name, or run `finmcp profile remove {name}` first")
            }
            SelectorError::Url(ServerUrlError::OutOfReach(_)) => "check the URL".into(),
            SelectorError::Url(_) => {
                "pass the full URL of the MCP server, for example https://mcp.example.com/mcp".into()
            }
        };
        Self::new(ErrorKind::Usage, Hint::Text(hint))
    }
}

impl From<&DiscoveryError> for Advice {
    fn from(error: &DiscoveryError) -> Self {
        let hint = match error {
            DiscoveryError::Untrusted(error) => return error.into(),
            DiscoveryError::Http(error) => return error.into(),
            DiscoveryError::NoMetadata { .. } => {
                "check the address, or ask the vendor how to sign in; a client with a secret or a key can name the \
                 token endpoint with --token-endpoint"
            }
            DiscoveryError::NoIdentityProvider { .. } => {
                "check --identity-provider: it must be the identity provider's issuer URL"
            }
            DiscoveryError::AllSilent { .. } => "try again later, or select one of them with --issuer URL",
            DiscoveryError::NotMcp { .. } => {
                "check the address: pass the full URL of the MCP server, which often ends in /mcp"
            }
            DiscoveryError::Unavailable { .. } => TRY_LATER_OR_CONTACT,
        };
        Self::new(ErrorKind::Network, hint)
    }
}

impl From<&Untrusted> for Advice {
    fn from(error: &Untrusted) -> Self {
        let hint = match error {
            Untrusted::Url { reason: ServerUrlError::OutOfReach(Zone::Private), .. } => ALLOW_PRIVATE,
            Untrusted::Issuer { .. } => {
                "if the vendor confirms this issuer, sign in with --issuer URL, or set `issuer_override` in \
                 config.toml (no secret was sent)"
            }
            Untrusted::PkceNotListed => {
                "if the vendor confirms that it supports PKCE, set `allow_missing_pkce_metadata` in config.toml (no \
                 secret was sent)"
            }
            Untrusted::AnotherServer { .. } => {
                "if you expected this change, sign in with --issuer URL and the client that is registered there (no \
                 secret was sent)"
            }
            Untrusted::Resource { .. } => {
                "check the address for typos, or contact the server's operator (no secret was sent)"
            }
            _ => CONTACT_UNSENT,
        };
        Self::new(ErrorKind::Untrusted, hint)
    }
}

impl From<&RegistrationError> for Advice {
    fn from(error: &RegistrationError) -> Self {
        match error {
            RegistrationError::Unavailable { status } if may_recover(*status) => {
                Self::new(ErrorKind::Network, TRY_LATER)
            }
            RegistrationError::Unavailable { .. } => Self::new(ErrorKind::Network, GET_CLIENT),
            RegistrationError::Busy { .. } => Self::new(ErrorKind::Network, "try again after that time"),
            RegistrationError::Refused(_) => Self::new(ErrorKind::Failure, GET_CLIENT),
            RegistrationError::Unusable(_) => Self::new(ErrorKind::Untrusted, CONTACT_DISCARDED),
            RegistrationError::Http(error) => error.into(),
        }
    }
}

impl From<&PushError> for Advice {
    fn from(error: &PushError) -> Self {
        match error {
            PushError::Absent { .. } | PushError::Token(TokenError::Unexplained { words: None, .. }) => {
                Self::new(ErrorKind::Network, TRY_LATER_OR_CONTACT)
            }
            PushError::Untrusted(error) => error.into(),
            PushError::Unusable(_) => Self::new(ErrorKind::Untrusted, CONTACT_DISCARDED),
            PushError::Token(error) => error.into(),
        }
    }
}

impl From<&LoginError> for Advice {
    fn from(error: &LoginError) -> Self {
        let (kind, hint) = match error {
            LoginError::Untrusted(error) => return error.into(),
            LoginError::Discovery(error) => return error.into(),
            LoginError::Registration(error) => return error.into(),
            LoginError::Push(error) => return error.into(),
            LoginError::Token(error) => return error.into(),
            LoginError::Store(error) => return Self::of_token_source(error, "finmcp login"),
            LoginError::Assertion(error) => return error.into(),
            LoginError::Http(error) => return error.into(),
            LoginError::Refused(refusal) => return refusal.into(),
            LoginError::NotRequired { .. } => (ErrorKind::Failure, "run `finmcp serve` without signing in"),
            LoginError::NeedsRegistration { .. } => (ErrorKind::Usage, GET_CLIENT),
            LoginError::NoDeviceCode { .. } => (ErrorKind::Usage, "omit --grant to sign in with a browser"),
            LoginError::NeedsSecret => {
                let advice = Self::new(ErrorKind::Usage, "pass the client id with --client-id").and(PASS_SECRET);
                return advice.and("or pass the client's private key with --private-key-file PATH");
            }
            LoginError::NeedsCertificate { .. } => (ErrorKind::Usage, PASS_CERTIFICATE),
            LoginError::NeedsApiKey => {
                (ErrorKind::Usage, "pass it with --api-key-file PATH, or - for stdin; at a terminal finmcp asks for it")
            }
            LoginError::ApiKeyUnusable => {
                (ErrorKind::Usage, "put only the key into the file, without quotes or line breaks")
            }
            LoginError::ApiKeyRefused { .. } => {
                let advice = Self::new(ErrorKind::Failure, "check the key, and that it is for this environment");
                return advice.and("if the vendor expects the key in another header, name it with --api-key-header");
            }
            LoginError::KeyRefused { accepted, .. } if accepted.is_empty() => (ErrorKind::Usage, PASS_SECRET),
            LoginError::KeyRefused { .. } => (
                ErrorKind::Usage,
                "pass another key that the vendor knows: finmcp signs with P-256 keys (ES256) and RSA keys (PS256, RS256)",
            ),
            LoginError::NewClientRefused(_) => {
                let advice = Self::new(ErrorKind::Failure, SET_METHOD);
                return advice.and("or get a client id from the vendor and pass it with --client-id");
            }
            LoginError::ClientForgotten(_) => {
                (ErrorKind::Failure, "run `finmcp login SERVER --force` to register a new client")
            }
            LoginError::NoDpop { .. } => {
                (ErrorKind::Failure, "omit --dpop; if you did not set it, contact the server's operator")
            }
            LoginError::NeedsAssertion => (
                ErrorKind::Usage,
                "pass --assertion-file PATH, or --identity-provider URL with --identity-provider-client-id and \
                 --id-token-file",
            ),
            LoginError::TimedOut { known_client, .. } => {
                let advice = Self::new(ErrorKind::Failure, "run `finmcp login SERVER --timeout SECONDS` for more time");
                return match known_client {
                    true => advice.and(
                        "if the page did not recognize this client, run `finmcp login SERVER --force` to register a new one",
                    ),
                    false => advice,
                };
            }
            LoginError::Listener { option, address, source } => {
                let is_reserved = source.kind() == io::ErrorKind::PermissionDenied && address.port() < UNRESERVED_PORTS;
                let is_in_use = source.kind() == io::ErrorKind::AddrInUse;
                (
                    ErrorKind::Failure,
                    match option {
                        Some("--redirect-uri") if is_reserved => {
                            "register a redirect URI with a port of 1024 or higher with the vendor and pass it with \
                         --redirect-uri: only an administrator may use the ports below"
                        }
                        Some("--redirect-uri") if is_in_use => {
                            "end the program that uses this port, or register another redirect URI with the vendor and \
                         pass it with --redirect-uri"
                        }
                        Some("--redirect-uri") => {
                            "register another redirect URI with the vendor and pass it with --redirect-uri"
                        }
                        Some(_) if is_in_use => "omit --port or choose another: another program uses this port",
                        Some(_) if is_reserved => {
                            "omit --port or choose 1024 or higher: only an administrator may use the ports below"
                        }
                        Some(_) => "omit --port or choose another port",
                        None => {
                            "check what keeps programs from listening on this machine, or sign in with --grant device-code \
                         (no port needed) if the server offers it"
                        }
                    },
                )
            }
            LoginError::Denied(_) => {
                let hint = "you or an administrator declined: run `finmcp login SERVER` again, or ask the account's administrator";
                (ErrorKind::Failure, hint)
            }
        };
        Self::new(kind, hint)
    }
}

impl From<AuditError> for Error {
    fn from(error: AuditError) -> Self {
        Self::from_source(ErrorKind::Failure, error)
            .while_doing("could not write the audit log")
            .hint("fix the problem, or omit --audit-log (with --audit-log, finmcp calls no tool that it cannot log)")
    }
}

impl From<VerifyError> for Error {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Fault(fault) => {
                let message = format!("the audit log is not intact: {fault}");
                Self::new(ErrorKind::Failure, fault.reason).while_doing(message)
            }
            VerifyError::Read { .. } => Self::from_source(ErrorKind::Usage, error),
            VerifyError::NoChain(_) => Self::from_source(ErrorKind::Usage, error)
                .hint("pass a log of `finmcp serve --audit-log`, after a rotation with its older files first"),
            VerifyError::Newer { .. } => Self::from_source(ErrorKind::Usage, error).hint("update finmcp"),
        }
    }
}
