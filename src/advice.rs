//! What the user can do about a failure that both the terminal and the bridge report: its kind, and hints. Errors that
//! only the terminal reports have theirs in `error::advice`.

use std::fmt::{self, Display, Formatter};

use crate::{
    credential::{
        assertion::AssertionError,
        error::{SignInFailure, TokenSourceError},
        store::{KeyKind, Mismatch, StoreError},
    },
    disk::lock::LockError,
    http::{CertificateProblem, HttpError},
    oauth::{
        confirmation::ForeignBinding,
        error::{OAuthError, TokenError},
    },
    server_url::reach::Zone,
};

/// For a server that is expected to recover.
pub const TRY_LATER: &str = "try again later";

/// For a server that may or may not recover.
pub const TRY_LATER_OR_CONTACT: &str = "try again later; if it keeps failing, contact the server's operator";

/// For a server whose address leads to a private network.
pub const ALLOW_PRIVATE: &str =
    "if this server is meant to be in your own network, sign in with --allow-private-network";

/// For a server that cannot be trusted as it is.
pub const CONTACT_UNSENT: &str = "contact the server's operator (no secret was sent)";

/// For a response that cannot be trusted.
pub const CONTACT_DISCARDED: &str = "contact the server's operator (the response was discarded)";

/// For a redirect that finmcp does not follow.
pub const MOVED: &str = "if the server has moved, sign in at its new address; otherwise contact the server's operator \
                         (nothing was sent to the other address)";

/// For a server that wants a client certificate.
pub const PASS_CERTIFICATE: &str =
    "sign in with the client id and certificate that the server knows: --client-id ID --client-certificate-file PATH";

const FIX_CONNECTION: &str = "check the address, your connection, VPN and proxy, then try again";
const FIX_CONNECTION_UNSENT: &str =
    "check the address, your connection, VPN and proxy, then try again (nothing was sent)";
const TRUST_CERTIFICATE: &str = "if you trust this certificate, or if your network has its own certificate authority, \
                                 set `ca_file` in config.toml to the certificate's file (nothing was sent)";
const FIX_NAME: &str = "check the address: the certificate names another server (nothing was sent)";
const FIX_EXPIRED: &str =
    "check this machine's clock; if it is right, contact the server's operator (nothing was sent)";
const FIX_TLS: &str =
    "check the certificates that this machine trusts, and `ca_file` in config.toml (nothing was sent)";
const ASK_MEANING: &str = "ask the server's operator what this error means";
const FIX_AUDIENCE: &str =
    "contact the server's operator, or remove `require_audience` from config.toml (the token was discarded)";

fn fix_binding(binding: ForeignBinding) -> &'static str {
    match binding {
        ForeignBinding::NoCertificate => {
            "sign in with the certificate that the vendor knows: --client-certificate-file PATH (the token was discarded)"
        }
        ForeignBinding::NoKey => "sign in with --dpop (the token was discarded)",
        ForeignBinding::OtherCertificate => {
            "contact the server's operator: the server bound it to the certificate of another client or of a proxy (the \
             token was discarded)"
        }
        ForeignBinding::OtherKey => CONTACT_DISCARDED,
    }
}

/// What kind of failure it is: which next step can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operation failed, or was denied.
    Failure,
    /// The command or the settings are invalid or incomplete.
    Usage,
    /// The network failed, or a server sent an invalid response.
    Network,
    /// The user has to sign in.
    LoginRequired,
    /// A server or a file must not be trusted.
    Untrusted,
    /// The credential store failed.
    Store,
    /// The user stopped the command.
    Interrupted,
}

impl ErrorKind {
    /// The exit code (the table is in `finmcp help`).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Network => 3,
            Self::LoginRequired => 4,
            Self::Untrusted => 5,
            Self::Store => 6,
            Self::Interrupted => 130,
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// An instruction.
    Text(String),
    /// A command to run in a terminal.
    Run(String),
}

impl Display for Hint {
    /// As a terminal shows it.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Run(command) => write!(formatter, "run `{command}`"),
        }
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// What the user can do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What to do next.
    pub hints: Vec<Hint>,
}

impl Advice {
    /// Advice with one hint.
    pub fn new(kind: ErrorKind, hint: impl Into<Hint>) -> Self {
        Self { kind, hints: vec![hint.into()] }
    }

    /// Advice without a hint: the message says it all, or the user cannot help.
    pub fn without_hint(kind: ErrorKind) -> Self {
        Self { kind, hints: Vec::new() }
    }

    /// The same with a further hint.
    pub fn and(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Why there is no token; `login_command` signs in to the server.
    pub fn of_token_source(error: &TokenSourceError, login_command: &str) -> Self {
        let sign_in = || Hint::Run(login_command.to_owned());
        match error {
            TokenSourceError::LoginRequired(_)
            | TokenSourceError::Rejected
            | TokenSourceError::SignIn(SignInFailure::LoginRequired(_)) => {
                Self::new(ErrorKind::LoginRequired, sign_in())
            }
            // The reason contains the hint.
            TokenSourceError::SignIn(SignInFailure::Untrusted(_)) => Self::without_hint(ErrorKind::Untrusted),
            TokenSourceError::SignIn(SignInFailure::Unreachable(_)) => Self::without_hint(ErrorKind::Network),
            TokenSourceError::SignIn(SignInFailure::Failed(_)) => Self::without_hint(ErrorKind::Failure),
            TokenSourceError::Interrupted => Self::without_hint(ErrorKind::Interrupted),
            TokenSourceError::Refused(refusal) => match &**refusal {
                TokenError::Refused(_) => Self::from(&**refusal).and(sign_in()),
                TokenError::PrivateKey(_) => {
                    let command = format!("{login_command} --private-key-file PATH");
                    Self::new(ErrorKind::Failure, Hint::Run(command))
                }
                refusal => Self::new(Self::from(refusal).kind, sign_in()),
            },
            TokenSourceError::Unavailable(failure) => {
                let Self { kind, hints } = Self::from(&**failure);
                Self {
                    kind,
                    hints: hints.iter().map(|hint| format!("you are still signed in; {hint}").into()).collect(),
                }
            }
            TokenSourceError::Assertion(failure) => Self::from(&**failure),
            TokenSourceError::Store(failure) => match &**failure {
                // Signing in replaces the entry.
                StoreError::Corrupt(_) => Self::new(ErrorKind::Store, sign_in()),
                failure => Self::from(failure),
            },
            TokenSourceError::Lock(failure) => Self::from(&**failure),
        }
    }
}

impl From<&HttpError> for Advice {
    fn from(error: &HttpError) -> Self {
        match error {
            HttpError::OutOfReach { zone: Zone::Private, .. } => Self::new(ErrorKind::Untrusted, ALLOW_PRIVATE),
            HttpError::Certificate { problem, .. } => Self::new(
                ErrorKind::Untrusted,
                match problem {
                    CertificateProblem::UnknownIssuer | CertificateProblem::NotForServer => TRUST_CERTIFICATE,
                    CertificateProblem::OtherName => FIX_NAME,
                    CertificateProblem::Expired | CertificateProblem::NotValidYet => FIX_EXPIRED,
                    CertificateProblem::Revoked | CertificateProblem::Invalid => CONTACT_UNSENT,
                },
            ),
            HttpError::CertificateRequired { .. } => Self::new(ErrorKind::Usage, PASS_CERTIFICATE),
            HttpError::Redirected { .. } => Self::new(ErrorKind::Untrusted, MOVED),
            HttpError::OutOfReach { .. } | HttpError::OldTls { .. } => Self::new(ErrorKind::Untrusted, CONTACT_UNSENT),
            HttpError::TooLarge { .. } | HttpError::Undecodable { .. } => {
                Self::new(ErrorKind::Untrusted, CONTACT_DISCARDED)
            }
            HttpError::Setup(_) => Self::new(ErrorKind::Network, FIX_TLS),
            HttpError::Unreachable { .. } => Self::new(ErrorKind::Network, FIX_CONNECTION_UNSENT),
            HttpError::Broken { .. } | HttpError::Unprocessed { .. } | HttpError::TimedOut { .. } => {
                Self::new(ErrorKind::Network, FIX_CONNECTION)
            }
        }
    }
}

impl From<&TokenError> for Advice {
    fn from(error: &TokenError) -> Self {
        match error {
            TokenError::Http(error) => error.into(),
            TokenError::Unexplained { words: Some(_), .. } => Self::new(ErrorKind::Failure, ASK_MEANING),
            TokenError::Unexplained { words: None, .. } => {
                let hint = "check the token endpoint's address, or contact the server's operator";
                Self::new(ErrorKind::Network, hint)
            }
            TokenError::Unavailable { .. } | TokenError::NonceWanted => Self::new(ErrorKind::Network, TRY_LATER),
            TokenError::Unusable(_) => Self::new(ErrorKind::Untrusted, CONTACT_DISCARDED),
            TokenError::Audience { .. } => Self::new(ErrorKind::Untrusted, FIX_AUDIENCE),
            TokenError::Bound(binding) => Self::new(ErrorKind::Untrusted, fix_binding(*binding)),
            TokenError::InvalidGrant(_) => {
                Self::new(ErrorKind::Failure, "sign in again without a long pause: codes expire within minutes")
            }
            TokenError::Refused(refusal) => refusal.into(),
            TokenError::PrivateKey(_) => {
                Self::new(ErrorKind::Failure, "sign in again with another key: --private-key-file PATH")
            }
        }
    }
}

/// The codes of RFC 6749 sections 4.1.2.1 and 5.2, and of RFC 8707 section 2.
impl From<&OAuthError> for Advice {
    fn from(refusal: &OAuthError) -> Self {
        let hint = match refusal.code.as_str() {
            "invalid_client" => {
                "check the client id and its secret or key: they are valid in one environment only, and the vendor can \
                 replace or revoke them"
            }
            "invalid_scope" => "pass the scopes from the vendor's documentation with --scope, or omit --scope",
            "invalid_target" => "pass the resource from the vendor's documentation with --resource",
            "unauthorized_client" | "unsupported_grant_type" | "unsupported_response_type" => {
                "ask the vendor how this client may sign in, then select that with --grant"
            }
            _ => ASK_MEANING,
        };
        Self::new(ErrorKind::Failure, hint)
    }
}

impl From<&AssertionError> for Advice {
    fn from(error: &AssertionError) -> Self {
        let hint = match error {
            AssertionError::Unreadable { .. }
            | AssertionError::NotJwt { .. }
            | AssertionError::Refused { .. }
            | AssertionError::IdTokenRefused { .. } => {
                "check the program that writes this file: finmcp reads the file for every access token"
            }
            AssertionError::SignInRefused { .. } => return Self::new(ErrorKind::LoginRequired, "sign in again"),
            AssertionError::GrantRefused { .. } => {
                "ask your administrator to register the same client with the identity provider and the server"
            }
            AssertionError::NotGranted { error: TokenError::Refused(_), .. } => "ask your administrator for access",
            AssertionError::NotGranted { error, .. } | AssertionError::Token(error) => return error.into(),
        };
        Self::new(ErrorKind::Failure, hint)
    }
}

/// How to use the key that the file store was created with.
pub fn original_key(Mismatch { given, stored, .. }: &Mismatch) -> String {
    let enter = "enter the original passphrase in a terminal or set FINMCP_STORE_PASSPHRASE to it";
    match (given, stored) {
        (_, KeyKind::KeyFile) => "set FINMCP_STORE_KEY_FILE to the key file that it was created with".to_owned(),
        (KeyKind::KeyFile, KeyKind::Passphrase) => format!("unset FINMCP_STORE_KEY_FILE, then {enter}"),
        (KeyKind::Passphrase, KeyKind::Passphrase) => enter.to_owned(),
    }
}

impl From<&StoreError> for Advice {
    fn from(error: &StoreError) -> Self {
        let hint = match error {
            StoreError::Absent(_) => {
                "start a keychain (GNOME Keyring, KWallet), or set FINMCP_STORE=file and FINMCP_STORE_KEY_FILE"
            }
            StoreError::Locked => "unlock your keychain, for example by logging in to the desktop, and try again",
            StoreError::TimedOut(_) => "your keychain may be waiting for its password: unlock it and try again",
            StoreError::NoKeyFile(_) => {
                "set FINMCP_STORE_KEY_FILE to the key file that you signed in with, or restore it from a backup"
            }
            StoreError::NoKeyring => {
                let hint = "run `finmcp login` in a terminal on your desktop: the desktop then asks you to choose a \
                            password for a new keyring";
                return Self::new(ErrorKind::Store, hint).and(
                    "without a desktop, set FINMCP_STORE=file and FINMCP_STORE_KEY_FILE, or pipe a password for the \
                     new keyring to `gnome-keyring-daemon --replace --unlock`",
                );
            }
            StoreError::AnotherKey(mismatch) => {
                let key = original_key(mismatch);
                let hint = format!("{key}; or delete {} and sign in again", mismatch.folder);
                return Self::new(ErrorKind::Store, hint);
            }
            StoreError::NeedsKeyFile(_) => "set FINMCP_STORE_KEY_FILE to the key file that it was created with",
            StoreError::ShortPassphrase => "choose a longer passphrase, or set FINMCP_STORE_KEY_FILE to a key file",
            StoreError::NeedsPassphrase => {
                "set FINMCP_STORE_PASSPHRASE to the passphrase, or FINMCP_STORE_KEY_FILE to the key file; in a terminal, \
                 `finmcp login`, `finmcp status` and `finmcp doctor` ask for the passphrase"
            }
            StoreError::Corrupt(_) => "run `finmcp login` for this server again to replace the entry",
            StoreError::Newer(_) => "update finmcp on this machine (the entry was not changed)",
            StoreError::Unsafe(place) => return Self::new(ErrorKind::Store, place.fix.clone()),
            StoreError::Failed(_) => "run `finmcp doctor` to check the credential store",
        };
        Self::new(ErrorKind::Store, hint)
    }
}

impl From<&LockError> for Advice {
    fn from(error: &LockError) -> Self {
        match error {
            LockError::TimedOut(_) => {
                Self::new(ErrorKind::Failure, "wait for the other finmcp process or end it, then try again")
            }
            LockError::Unsafe(place) => Self::new(ErrorKind::Store, place.fix.clone()),
            LockError::Failed { .. } => {
                let hint = "set FINMCP_CONFIG_DIR to a folder of yours that can be written and locked";
                Self::new(ErrorKind::Store, hint)
            }
        }
    }
}
