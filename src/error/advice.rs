//! The one table: from an error of the domain to its kind, and to what the person can do about it.

use std::io;

use crate::{
    bridge::control::audit::AuditError,
    client::ClientError,
    credential::{
        assertion::AssertionError,
        store::StoreError,
        token_source::{LoginReason, TokenSourceError},
    },
    disk::lock::LockError,
    error::{Error, ErrorKind},
    http::HttpError,
    login::{error::LoginError, mcp_remote::LeftoverError},
    oauth::{
        discovery::DiscoveryError,
        error::{OAuthError, RegistrationError, TokenError, Untrusted},
    },
    profile::{Profile, selector::SelectorError},
    server_url::{ServerUrlError, reach::Zone},
    settings::error::SettingsError,
    tool::arguments::ArgumentError,
};

const NETWORK_HINT: &str = "check the address, your connection, VPN and proxy, and try again";
const REFUSAL_HINT: &str = "no secret was sent to it; ask whoever runs the server";
const PRIVATE_HINT: &str = "if that server is meant to be in your own network, sign in with --allow-private-network";
const ISSUER_HINT: &str = "no secret was sent to it; if you know from its vendor that this is its right name, sign in \
                           with --issuer and that name, or set `issuer_override` for it in config.toml";
const PKCE_HINT: &str = "no secret was sent to it; if you know from its vendor that it supports PKCE, set \
                         `allow_missing_pkce_metadata` for it in config.toml";
const CERTIFICATE_HINT: &str = "nothing was sent to it; if you know that certificate to be the server's own, or your \
                                network has its own authority, name the certificate's file with `ca_file` in config.toml";
const TLS_HINT: &str =
    "nothing was sent; check the certificates that this machine trusts, and `ca_file` in config.toml";
const REDIRECT_HINT: &str =
    "nothing was sent there; check the address: if the server has moved there, use the new one; or ask whoever runs it";
const ANSWER_HINT: &str = "nothing of its answer was kept; ask whoever runs the server";
const WORDS_HINT: &str = "these are the server's words: ask whoever runs it what they mean";
const LATER_HINT: &str = "try again in a while";
const CLIENT_HINT: &str = "ask the vendor for a client id and give it with --client-id; or, if it reads client metadata \
                           documents, give the URL of yours with --client-metadata-url";
const METHOD_HINT: &str = "choose how the client authenticates: set `overrides = { token_endpoint_auth_method = \
                           \"client_secret_basic\" }` (or \"client_secret_post\", or \"none\") for it in config.toml";
const RESOURCE_HINT: &str =
    "no secret was sent to it; check the address letter by letter, or ask whoever runs the server";
const AUDIENCE_HINT: &str =
    "that token is not used; ask whoever runs the server, or take `require_audience` for it out of config.toml";
const ANOTHER_SERVER_HINT: &str = "no secret was sent to it; if that is right, sign in with --issuer and the new \
                                   server's URL, and the client that is registered there";

/// The first port that any program may listen on: Unix reserves those below.
const UNRESERVED_PORTS: u16 = 1024;

/// What an error of the domain means to the person: its kind, and what to do next.
type Judgement = (ErrorKind, Option<String>);

impl Error {
    /// Whether a person was asked to sign in, and did not come.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.source.downcast_ref(), Some(LoginError::TimedOut { .. }))
    }

    /// That nobody is signed in to `profile`, and the command that changes it.
    pub fn login_required(profile: &Profile, reason: LoginReason) -> Self {
        let text = format!("you are not signed in to {}: {reason}", profile.title);
        Self::new(ErrorKind::LoginRequired, text).hint(format!("run `{}`", profile.login_command()))
    }

    /// Why there is no token for `profile`.
    pub fn of_token(error: TokenSourceError, profile: &Profile) -> Self {
        let login = || Some(format!("run `{}`", profile.login_command()));
        let (kind, hint) = match &error {
            TokenSourceError::LoginRequired(reason) => return Self::login_required(profile, *reason),
            TokenSourceError::Interrupted => (ErrorKind::Interrupted, None),
            TokenSourceError::SignIn(_) => (ErrorKind::Failure, None),
            TokenSourceError::Rejected => (ErrorKind::LoginRequired, login()),
            TokenSourceError::Refused(refusal) => {
                let (kind, hint) = judge_token(refusal);
                let command = profile.login_command();
                let hint = match (&**refusal, hint) {
                    (TokenError::Refused(_), Some(hint)) => format!("{hint}; the command is `{command}`"),
                    (TokenError::PrivateKey(_), _) => {
                        format!("run `{command} --private-key-file PATH` with another key")
                    }
                    _ => format!("run `{command}`"),
                };
                (kind, Some(hint))
            }
            TokenSourceError::Unavailable(failure) => {
                let (kind, hint) = judge_token(failure);
                let hint = hint.unwrap_or_else(|| LATER_HINT.to_owned());
                (kind, Some(format!("your sign-in is kept; {hint}")))
            }
            TokenSourceError::Assertion(failure) => judge_assertion(failure),
            TokenSourceError::Store(failure) => match judge_store(failure) {
                (kind, _) if matches!(**failure, StoreError::Corrupt(_)) => {
                    (kind, Some(format!("run `{}`: it replaces what is stored", profile.login_command())))
                }
                judgement => judgement,
            },
            TokenSourceError::Lock(failure) => judge_lock(failure),
        };
        Self::judged(error, (kind, hint))
    }
}

/// What a JSON-RPC error means: those of the bridge are -31000 less the exit code, all others are the server's affair.
fn of_reply(code: i64) -> ErrorKind {
    let known =
        [ErrorKind::Usage, ErrorKind::Network, ErrorKind::LoginRequired, ErrorKind::Untrusted, ErrorKind::Store];
    known.into_iter().find(|kind| code == -31000 - i64::from(kind.exit_code())).unwrap_or(ErrorKind::Failure)
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        let (kind, hint) = match &error {
            SettingsError::Exposed { path } => {
                let folder = path.parent().unwrap_or(path).display();
                let command = format!("chmod go-w '{}' '{folder}'", path.display());
                (ErrorKind::Untrusted, Some(format!("look at what it says, then run `{command}`")))
            }
            SettingsError::File { .. } => {
                let hint = "see that it is there, that it is a file, and that you may read it and write in its folder";
                (ErrorKind::Failure, Some(hint.to_owned()))
            }
            SettingsError::Unchanged(failure) => judge_lock(failure),
            SettingsError::Homeless => (ErrorKind::Usage, Some("set HOME or FINMCP_CONFIG_DIR to a folder".to_owned())),
            SettingsError::Variable { name, .. } => {
                let hint =
                    format!("correct or remove {name} where it is set: in the shell, or in an AI client's entry");
                (ErrorKind::Usage, Some(hint))
            }
            SettingsError::Config { .. } => {
                (ErrorKind::Usage, Some("correct it in an editor, and try again".to_owned()))
            }
        };
        Self::judged(error, (kind, hint))
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        let open = "if it was a call, it may have been carried out all the same: look before you repeat it";
        let (kind, hint) = match &error {
            // The bridge has said what to do; what else a server refuses is its own affair.
            ClientError::Refused { code, .. } => (of_reply(*code), None),
            ClientError::Nonsense(_) => (ErrorKind::Network, Some(format!("ask whoever runs the server; {open}"))),
            ClientError::Ended | ClientError::Broken(_) => (ErrorKind::Failure, Some(open.to_owned())),
        };
        Self::judged(error, (kind, hint))
    }
}

impl From<ArgumentError> for Error {
    fn from(error: ArgumentError) -> Self {
        let hint = match &error {
            ArgumentError::Unnamed(_) => {
                Some("give each as NAME=VALUE or NAME:=JSON, or all of them as JSON on stdin with --json -".to_owned())
            }
            ArgumentError::Unknown { known, .. } if known.is_empty() => Some("it takes no arguments".to_owned()),
            ArgumentError::Unknown { known, .. } => {
                Some(format!("it takes {}; NAME:=JSON sends any other name all the same", known.join(", ")))
            }
            ArgumentError::Missing { missing, .. } => {
                let values: Vec<String> = missing.iter().map(|name| format!("{name}=VALUE")).collect();
                Some(format!("add {}; `finmcp tools` with --tool shows what each may be", values.join(" ")))
            }
            ArgumentError::Mistyped { .. } => Some("NAME:=JSON sends a value as it stands".to_owned()),
            ArgumentError::Twice(_) => Some("give it once; NAME:=[…] gives a list".to_owned()),
            ArgumentError::Unreadable(_) => Some("give one JSON object, such as {\"name\": \"value\"}".to_owned()),
            ArgumentError::Malformed { .. } => Some(
                "JSON has its texts in double quotes; in a shell, put all of it in single quotes: NAME:='\"text\"'"
                    .to_owned(),
            ),
            ArgumentError::NoObject => Some("put them in braces, with a name for each: {\"NAME\": VALUE}".to_owned()),
        };
        Self::judged(error, (ErrorKind::Usage, hint))
    }
}

impl From<LeftoverError> for Error {
    fn from(error: LeftoverError) -> Self {
        let hint = match &error {
            LeftoverError::None { .. } => Some("give the URL that mcp-remote is started with, letter by letter"),
            LeftoverError::Incomplete { .. } => None,
            LeftoverError::Unreadable { .. } => {
                Some("see that you may read it, and that mcp-remote has written it to its end")
            }
        };
        Self::judged(error, (ErrorKind::Failure, hint.map(str::to_owned)))
    }
}

impl From<SelectorError> for Error {
    fn from(error: SelectorError) -> Self {
        let hint = match &error {
            SelectorError::Unknown { candidates, .. } | SelectorError::NoEnvironment { candidates, .. } => {
                Some(format!("SERVER can be an https URL, or one of: {}", candidates.join(", ")))
            }
            SelectorError::Unclear { candidates } => {
                Some(format!("name one of: {}; or an https URL", candidates.join(", ")))
            }
            SelectorError::Environment { candidates, .. } if candidates.is_empty() => {
                Some("leave --env out".to_owned())
            }
            SelectorError::Environment { candidates, .. } => Some(format!("it has: {}", candidates.join(", "))),
            SelectorError::UrlNeeded { provider, .. } => Some(format!(
                "run `finmcp login {provider} --url https://…` once; your vendor's settings page shows the URL"
            )),
            SelectorError::Embedded => {
                Some("run `finmcp demo`, or give `finmcp serve demo` to an AI client".to_owned())
            }
            SelectorError::PresetName(_) | SelectorError::Name(_) => {
                Some("choose another name with --profile".to_owned())
            }
            SelectorError::Url(_) => {
                Some("give the whole address of the MCP server, such as https://mcp.example.com/mcp".to_owned())
            }
        };
        Self::judged(error, (ErrorKind::Usage, hint))
    }
}

fn judge_http(error: &HttpError) -> Judgement {
    match error {
        HttpError::OutOfReach { zone: Zone::Private, .. } => (ErrorKind::Untrusted, Some(PRIVATE_HINT.to_owned())),
        HttpError::Certificate { .. } => (ErrorKind::Untrusted, Some(CERTIFICATE_HINT.to_owned())),
        HttpError::Redirected { .. } => (ErrorKind::Untrusted, Some(REDIRECT_HINT.to_owned())),
        HttpError::TooLarge { .. } | HttpError::Undecodable { .. } => {
            (ErrorKind::Untrusted, Some(ANSWER_HINT.to_owned()))
        }
        HttpError::Setup(_) => (ErrorKind::Network, Some(TLS_HINT.to_owned())),
        refusal if refusal.is_refusal() => (ErrorKind::Untrusted, Some(REFUSAL_HINT.to_owned())),
        _ => (ErrorKind::Network, Some(NETWORK_HINT.to_owned())),
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        let judgement = judge_http(&error);
        Self::judged(error, judgement)
    }
}

impl From<DiscoveryError> for Error {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Untrusted(untrusted) => untrusted.into(),
            DiscoveryError::Http(error) => error.into(),
            other => {
                let hint = match &other {
                    DiscoveryError::NoMetadata { .. } => {
                        "check the address; or ask its vendor how to sign in: for a client with a secret or a key, \
                         --token-endpoint names where its tokens come from"
                    }
                    DiscoveryError::NoIdentityProvider { .. } => {
                        "check --identity-provider: it is the address that the identity provider calls its issuer"
                    }
                    DiscoveryError::AllSilent { .. } => {
                        "try again in a while; --issuer with the name of one of them asks no other"
                    }
                    DiscoveryError::NotMcp { .. } => {
                        "check the address: it is the whole URL of the MCP server, and often ends in /mcp"
                    }
                    _ => "try again in a while; if it stays so, ask whoever runs the server",
                };
                Self::from_source(ErrorKind::Network, other).hint(hint)
            }
        }
    }
}

impl From<Untrusted> for Error {
    fn from(error: Untrusted) -> Self {
        let hint = match &error {
            Untrusted::Url { reason: ServerUrlError::OutOfReach(Zone::Private), .. } => PRIVATE_HINT,
            Untrusted::Issuer { .. } => ISSUER_HINT,
            Untrusted::PkceUnsaid => PKCE_HINT,
            Untrusted::AnotherServer { .. } => ANOTHER_SERVER_HINT,
            Untrusted::Resource { .. } => RESOURCE_HINT,
            _ => REFUSAL_HINT,
        };
        Self::from_source(ErrorKind::Untrusted, error).hint(hint)
    }
}

/// What helps where an authorization server says no: the codes of RFC 6749 sections 4.1.2.1 and 5.2, and RFC 8707
/// section 2.
fn refusal_hint(refusal: &OAuthError) -> &'static str {
    match refusal.code.as_str() {
        "invalid_client" => {
            "check the client id, and its secret or key: they are good for one environment only, and a vendor can \
             replace or revoke them"
        }
        "invalid_scope" => "ask for what the vendor's documentation lists, with --scope; or leave --scope out",
        "invalid_target" => "give the resource that the vendor's documentation names, with --resource",
        "unauthorized_client" | "unsupported_grant_type" | "unsupported_response_type" => {
            "ask the vendor how this client may sign in; --grant chooses another way"
        }
        _ => WORDS_HINT,
    }
}

/// Whether a server that answers with this status is expected to do better later (RFC 9110 sections 15.5 and 15.6).
fn may_recover(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

fn judge_token(error: &TokenError) -> Judgement {
    match error {
        TokenError::Http(error) => judge_http(error),
        TokenError::Unexplained { words: Some(_), .. } => (ErrorKind::Failure, Some(WORDS_HINT.to_owned())),
        TokenError::Unexplained { words: None, .. } => {
            let hint = "check the address of its token endpoint, or ask whoever runs it";
            (ErrorKind::Network, Some(hint.to_owned()))
        }
        TokenError::Unavailable { .. } | TokenError::NonceWanted => (ErrorKind::Network, Some(LATER_HINT.to_owned())),
        TokenError::Unusable(_) => (ErrorKind::Untrusted, Some(ANSWER_HINT.to_owned())),
        TokenError::Audience { .. } => (ErrorKind::Untrusted, Some(AUDIENCE_HINT.to_owned())),
        TokenError::InvalidGrant(_) => {
            let hint = "sign in again without a long pause: what a server gives for it is good for minutes only";
            (ErrorKind::Failure, Some(hint.to_owned()))
        }
        TokenError::Refused(refusal) => (ErrorKind::Failure, Some(refusal_hint(refusal).to_owned())),
        TokenError::PrivateKey(_) => {
            (ErrorKind::Failure, Some("sign in again with another key: --private-key-file PATH".to_owned()))
        }
    }
}

fn judge_assertion(error: &AssertionError) -> Judgement {
    let renew = "finmcp reads that file whenever it needs a token: whoever writes it has to renew it";
    match error {
        AssertionError::Unreadable { .. }
        | AssertionError::NotJwt { .. }
        | AssertionError::Refused { .. }
        | AssertionError::IdTokenRefused { .. } => (ErrorKind::Failure, Some(renew.to_owned())),
        AssertionError::GrantRefused { .. } => {
            let hint = "ask your administrator: the identity provider and the server have to know the same client";
            (ErrorKind::Failure, Some(hint.to_owned()))
        }
        AssertionError::NotGranted { error: TokenError::Refused(_), .. } => {
            let hint = "your administrator decides who may use what: ask for access";
            (ErrorKind::Failure, Some(hint.to_owned()))
        }
        AssertionError::NotGranted { error, .. } | AssertionError::Token(error) => judge_token(error),
    }
}

impl From<AssertionError> for Error {
    fn from(error: AssertionError) -> Self {
        let judgement = judge_assertion(&error);
        Self::judged(error, judgement)
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        let judgement = judge_token(&error);
        Self::judged(error, judgement)
    }
}

impl From<LoginError> for Error {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Untrusted(untrusted) => untrusted.into(),
            LoginError::Discovery(error) => error.into(),
            LoginError::Token(error) => error.into(),
            LoginError::Assertion(error) => error.into(),
            LoginError::Registration(error @ RegistrationError::Unavailable { status }) => {
                let hint = if may_recover(status) { LATER_HINT } else { CLIENT_HINT };
                Self::from_source(ErrorKind::Network, error).hint(hint)
            }
            LoginError::Registration(error @ RegistrationError::Busy { .. }) => {
                Self::from_source(ErrorKind::Network, error).hint("try again then")
            }
            LoginError::Registration(error @ RegistrationError::Refused(_)) => {
                Self::from_source(ErrorKind::Failure, error).hint(CLIENT_HINT)
            }
            LoginError::Registration(error @ RegistrationError::Unusable(_)) => {
                Self::from_source(ErrorKind::Untrusted, error).hint(ANSWER_HINT)
            }
            LoginError::Http(error) | LoginError::Registration(RegistrationError::Http(error)) => error.into(),
            LoginError::NotRequired { .. } => {
                Self::from_source(ErrorKind::Failure, error).hint("nothing to do: `finmcp serve` works with it as it is")
            }
            LoginError::NeedsRegistration { .. } => Self::from_source(ErrorKind::Usage, error).hint(CLIENT_HINT),
            LoginError::NoDeviceCode { .. } => {
                Self::from_source(ErrorKind::Usage, error).hint("leave --grant out to sign in with a browser")
            }
            LoginError::NeedsSecret => Self::from_source(ErrorKind::Usage, error)
                .hint("give --client-id, and the secret with --client-secret-file PATH, or - for stdin, or FINMCP_CLIENT_SECRET; or the key with --private-key-file PATH"),
            LoginError::NeedsApiKey => Self::from_source(ErrorKind::Usage, error)
                .hint("give it with --api-key-file PATH, or - for stdin; at a terminal finmcp asks for it"),
            LoginError::ApiKeyUnusable => Self::from_source(ErrorKind::Usage, error)
                .hint("put the key alone into the file, without quotes or line breaks"),
            LoginError::ApiKeyRefused { .. } => Self::from_source(ErrorKind::Failure, error).hint(
                "check the key, and that it is for this environment; if the vendor reads it from another header, name \
                 that with --api-key-header",
            ),
            LoginError::KeyRefused { ref accepted, .. } => {
                let hint = match &accepted[..] {
                    [] => "give the client secret with --client-secret-file PATH, or - for stdin, or FINMCP_CLIENT_SECRET",
                    _ => "give another key that the vendor knows: finmcp signs with P-256 keys (ES256) and RSA keys (RS256)",
                };
                Self::from_source(ErrorKind::Usage, error).hint(hint)
            }
            LoginError::PushedOnly { device_codes, .. } => {
                let hint = match device_codes {
                    true => "sign in with --grant device-code",
                    false => "ask its vendor for a client that need not push its requests (RFC 9126)",
                };
                Self::from_source(ErrorKind::Failure, error).hint(hint)
            }
            LoginError::NewClientRefused(_) => Self::from_source(ErrorKind::Failure, error)
                .hint(METHOD_HINT)
                .hint("or ask its vendor for a client id, and give it with --client-id"),
            LoginError::ClientForgotten(_) => {
                Self::from_source(ErrorKind::Failure, error).hint("run it again with --force: that registers a new client")
            }
            LoginError::NoDpop { .. } => Self::from_source(ErrorKind::Failure, error)
                .hint("leave --dpop out if it was you who asked for that; else ask whoever runs the server"),
            LoginError::NeedsAssertion => Self::from_source(ErrorKind::Usage, error)
                .hint("give --assertion-file PATH, or --identity-provider URL with --identity-provider-client-id and --id-token-file"),
            LoginError::TimedOut { known_client, .. } => {
                let error = Self::from_source(ErrorKind::Failure, error);
                let error = error.hint("run it again; --timeout gives you longer");
                match known_client {
                    true => error.hint("if the page did not know this client, run it again with --force: that registers a new one"),
                    false => error,
                }
            }
            LoginError::Listener { option: Some("--redirect-uri"), address, ref source } => {
                let hint = match source.kind() {
                    io::ErrorKind::PermissionDenied if address.port() < UNRESERVED_PORTS => "only an administrator can use a port below 1024: register a redirect URI with a higher port with the vendor, and give that with --redirect-uri",
                    io::ErrorKind::AddrInUse => "another program has the port of --redirect-uri: end it, or register another redirect URI with the vendor and give that",
                    _ => "register another redirect URI with the vendor, and give that with --redirect-uri",
                };
                Self::from_source(ErrorKind::Failure, error).hint(hint)
            }
            LoginError::Listener { option: Some(_), address, ref source } => {
                let hint = match source.kind() {
                    io::ErrorKind::AddrInUse => "another program has that port: leave --port out, or choose another",
                    io::ErrorKind::PermissionDenied if address.port() < UNRESERVED_PORTS => "only an administrator can use a port below 1024: leave --port out, or choose a higher one",
                    _ => "leave --port out, or choose another port",
                };
                Self::from_source(ErrorKind::Failure, error).hint(hint)
            }
            LoginError::Listener { option: None, .. } => Self::from_source(ErrorKind::Failure, error)
                .hint("see what forbids programs to listen on this machine; --grant device-code needs no port, where the server offers it"),
            LoginError::Denied(_) => Self::from_source(ErrorKind::Failure, error)
                .hint("if it was you who said no, run it again to say yes; else ask who administers your account there"),
            LoginError::Refused(ref refusal) => {
                let hint = refusal_hint(refusal);
                Self::from_source(ErrorKind::Failure, error).hint(hint)
            }
        }
    }
}

fn judge_store(error: &StoreError) -> Judgement {
    let hint = match error {
        StoreError::Absent(_) => {
            "start a keychain (gnome-keyring, KWallet), or choose FINMCP_STORE=file with FINMCP_STORE_KEY_FILE"
        }
        StoreError::Locked => "unlock the keychain, by logging in to the desktop for example, and try again",
        StoreError::TimedOut(_) => "the keychain hangs: restart its service, or log out of the desktop and in again",
        StoreError::AnotherKey(_) => {
            "give the key file or the passphrase that it was begun with; or delete that folder and sign in again"
        }
        StoreError::NeedsPassphrase => {
            "set FINMCP_STORE_KEY_FILE to the path of a file of at least 32 secret bytes, or FINMCP_STORE_PASSPHRASE; `finmcp login` in a terminal asks for the passphrase"
        }
        StoreError::Corrupt(_) => "run `finmcp login` for this server again: it replaces the entry",
        StoreError::Newer(_) => "install the newer finmcp here, too; until then the entry is left as it is",
        StoreError::Failed(_) | StoreError::Unsafe(_) => "mend that, and try again",
    };
    (ErrorKind::Store, Some(hint.to_owned()))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let judgement = judge_store(&error);
        Self::judged(error, judgement)
    }
}

fn judge_lock(error: &LockError) -> Judgement {
    match error {
        LockError::TimedOut(_) => {
            (ErrorKind::Failure, Some("see what other finmcp is running, and try again".to_owned()))
        }
        LockError::Unsafe(_) => (ErrorKind::Store, Some("mend that, and try again".to_owned())),
        LockError::Failed { .. } => {
            let hint = "finmcp needs a folder of yours that can be written and locked: FINMCP_CONFIG_DIR names another";
            (ErrorKind::Store, Some(hint.to_owned()))
        }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        let judgement = judge_lock(&error);
        Self::judged(error, judgement)
    }
}

impl From<AuditError> for Error {
    fn from(error: AuditError) -> Self {
        Self::from_source(ErrorKind::Failure, error)
            .while_doing("the audit log cannot be kept")
            .hint("mend that, or leave --audit-log out; no tool is called without the log that was asked for")
    }
}
