//! Why a sign-in failed.

use std::{io, net::SocketAddr, time::Duration};

use crate::{
    credential::{assertion::AssertionError, token_source::TokenSourceError},
    http::HttpError,
    oauth::{
        discovery::DiscoveryError,
        error::{OAuthError, PushError, RegistrationError, TokenError, Untrusted},
        private_key::Algorithm,
    },
    span,
};

/// Why a sign-in failed, by what the user can do next.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// finmcp must not trust the server's metadata.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server requires no authorization.
    #[error("{host} does not require a sign-in")]
    NotRequired {
        /// The server.
        host: String,
    },
    /// The authorization server offers no dynamic registration: the user needs a client id from the vendor.
    #[error("{host} does not offer dynamic client registration")]
    NeedsRegistration {
        /// The authorization server.
        host: String,
    },
    /// The authorization server has no device authorization endpoint (RFC 8628).
    #[error("{host} does not offer sign-in with a device code")]
    NoDeviceCode {
        /// The authorization server.
        host: String,
    },
    /// DPoP is required, but the authorization server's metadata does not list it.
    #[error("{host} does not list support for DPoP with ES256")]
    NoDpop {
        /// The authorization server.
        host: String,
    },
    /// The client credentials grant needs a client id and a secret or key.
    #[error("this sign-in needs a client id and its secret or private key")]
    NeedsSecret,
    /// The authorization server authenticates clients by their certificates only (RFC 8705 section 2).
    #[error("{host} accepts only clients with a certificate (mutual TLS)")]
    NeedsCertificate { host: String },
    /// The API key grant needs a key.
    #[error("this sign-in needs an API key")]
    NeedsApiKey,
    /// It contains a line break or another character that no header can carry (RFC 9110 section 5.5).
    #[error("the API key contains a character that cannot be sent")]
    ApiKeyUnusable,
    /// The server refused a request with the key.
    #[error("{host} refuses the API key")]
    ApiKeyRefused { host: String },
    /// The authorization server does not accept the client's private key (RFC 8414 section 2).
    #[error("{}", key_refused(.host, .algorithms, .accepted))]
    KeyRefused {
        /// The authorization server.
        host: String,
        /// The algorithms that the key can sign with.
        algorithms: &'static [Algorithm],
        /// The server's algorithms, cleaned; empty if it accepts no keys.
        accepted: Vec<String>,
    },
    /// The JWT bearer grant needs an assertion.
    #[error("this sign-in needs an assertion, or an identity provider that issues one")]
    NeedsAssertion,
    /// The assertion brought no token.
    #[error(transparent)]
    Assertion(AssertionError),
    /// The user, or an administrator, declined.
    #[error("the sign-in was declined: {0}")]
    Denied(OAuthError),
    /// The authorization server refused the authorization request.
    #[error("the authorization server refused the sign-in: {0}")]
    Refused(OAuthError),
    /// The authorization server refuses the client that it has just registered.
    #[error("the authorization server refused the client that it just registered: {0}")]
    NewClientRefused(OAuthError),
    /// The authorization server no longer knows the client that it registered for an earlier sign-in.
    #[error("the authorization server no longer knows the client that it registered: {0}")]
    ClientForgotten(OAuthError),
    /// The user did not sign in.
    #[error("the sign-in timed out after {}", span::format_duration(.after.as_secs()))]
    TimedOut {
        /// How long the user had.
        after: Duration,
        /// Whether an earlier sign-in registered the client. A server that has forgotten it shows an error page and
        /// does not redirect back (RFC 6749 section 4.1.2.1).
        known_client: bool,
    },
    /// The redirect URI's port cannot be used.
    #[error("cannot listen for the authorization response on {}", listened_at(.address))]
    Listener {
        /// The address; its port is 0 for any port.
        address: SocketAddr,
        /// The option that chose the port; none for any port.
        option: Option<&'static str>,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// finmcp cannot get the server's metadata.
    #[error(transparent)]
    Discovery(DiscoveryError),
    /// The stored sign-in at the identity provider cannot be read or renewed, or the new one cannot be stored.
    #[error(transparent)]
    Store(TokenSourceError),
    /// Dynamic registration.
    #[error(transparent)]
    Registration(RegistrationError),
    /// The pushed authorization request.
    #[error(transparent)]
    Push(PushError),
    /// The token request.
    #[error(transparent)]
    Token(TokenError),
    /// The network.
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn listened_at(address: &SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn key_refused(host: &str, algorithms: &[Algorithm], accepted: &[String]) -> String {
    match accepted {
        [] => format!("{host} does not accept private keys: it does not list private_key_jwt"),
        accepted => {
            let algorithms = algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" or ");
            format!("{host} does not accept {algorithms} keys, only {}", accepted.join(", "))
        }
    }
}

impl From<DiscoveryError> for LoginError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Untrusted(reason) => Self::Untrusted(reason),
            DiscoveryError::Http(error) => Self::Http(error),
            error => Self::Discovery(error),
        }
    }
}

impl From<RegistrationError> for LoginError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Http(error) => Self::Http(error),
            error => Self::Registration(error),
        }
    }
}

impl From<PushError> for LoginError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Untrusted(reason) => Self::Untrusted(reason),
            PushError::Token(TokenError::Http(error)) => Self::Http(error),
            // The server judges the pushed request as it would judge the page's.
            PushError::Token(TokenError::Refused(error) | TokenError::InvalidGrant(error)) => Self::Refused(error),
            error => Self::Push(error),
        }
    }
}

impl From<AssertionError> for LoginError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Token(error) => error.into(),
            error => Self::Assertion(error),
        }
    }
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Http(error) => Self::Http(error),
            error => Self::Token(error),
        }
    }
}
