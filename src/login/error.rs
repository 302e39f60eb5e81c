//! Why nobody was signed in.

use std::{io, net::SocketAddr, time::Duration};

use crate::{
    credential::assertion::AssertionError,
    http::HttpError,
    oauth::{
        discovery::DiscoveryError,
        error::{OAuthError, RegistrationError, TokenError, Untrusted},
    },
};

/// A sign-in that brought no credential, sorted by what the person does next.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Something that a server says must not be acted upon.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The server serves without authorization: there is nothing to sign in to.
    #[error("{host} asks for no sign-in")]
    NotRequired {
        /// The server.
        host: String,
    },
    /// The authorization server registers no clients by itself: the person needs a client of their own.
    #[error("{host} does not let programs register by themselves")]
    NeedsRegistration {
        /// The authorization server.
        host: String,
    },
    /// The authorization server signs nobody in on another device (RFC 8628).
    #[error("{host} does not offer sign-in with a device code")]
    NoDeviceCode {
        /// The authorization server.
        host: String,
    },
    /// The authorization server takes no sign-in whose request did not come to it beforehand (RFC 9126 section 5).
    #[error("{host} takes only authorization requests that are pushed to it first (PAR), and finmcp does not push yet")]
    PushedOnly {
        /// The authorization server.
        host: String,
        /// Whether it offers sign-in with a device code, which needs no such request.
        device_codes: bool,
    },
    /// Tokens are to be bound to a key, and the authorization server does not say that it does so.
    #[error("{host} does not say that it binds tokens to a key (DPoP with ES256)")]
    NoDpop {
        /// The authorization server.
        host: String,
    },
    /// Client credentials are wanted, and there are none.
    #[error("a client id and its secret or private key are needed")]
    NeedsSecret,
    /// An API key is wanted, and there is none.
    #[error("an API key is needed")]
    NeedsApiKey,
    /// It contains a line break or another character that no header can carry (RFC 9110 section 5.5).
    #[error("the API key contains a character that cannot be sent")]
    ApiKeyUnusable,
    /// The server does not take the API key.
    #[error("{host} refuses the API key")]
    ApiKeyRefused {
        /// The server.
        host: String,
    },
    /// The authorization server does not take the client's private key (RFC 8414 section 2).
    #[error("{}", key_refused(.host, .algorithm, .accepted))]
    KeyRefused {
        /// The authorization server.
        host: String,
        /// What the key signs with.
        algorithm: &'static str,
        /// What the server lists, cleaned; nothing where it takes no keys at all.
        accepted: Vec<String>,
    },
    /// Somebody else is to say who we are, and there is nobody.
    #[error("an assertion, or an identity provider that gives one, is needed")]
    NeedsAssertion,
    /// The assertion brought nothing.
    #[error(transparent)]
    Assertion(AssertionError),
    /// The person, or somebody for them, said no.
    #[error("the sign-in was refused: {0}")]
    Denied(OAuthError),
    /// The authorization server did not accept the request.
    #[error("the authorization server did not accept the sign-in: {0}")]
    Refused(OAuthError),
    /// The authorization server refuses the client that it has just registered.
    #[error("the authorization server refused the client that it has just registered: {0}")]
    NewClientRefused(OAuthError),
    /// The authorization server no longer knows the client that it registered for an earlier sign-in.
    #[error("the authorization server no longer knows the client that it registered: {0}")]
    ClientForgotten(OAuthError),
    /// Nobody signed in.
    #[error("nobody signed in within {} s", .after.as_secs())]
    TimedOut {
        /// How long the person had.
        after: Duration,
        /// Whether the client registered at an earlier sign-in. A server that has forgotten it shows a page of its own
        /// that leads nowhere (RFC 6749 section 4.1.2.1), and nobody comes back.
        known_client: bool,
    },
    /// The redirect URI's port cannot be used.
    #[error("cannot listen for the answer on {}", listened_at(.address))]
    Listener {
        /// Where; port 0 is any port.
        address: SocketAddr,
        /// The option that chose the port; none where the system was to pick one.
        option: Option<&'static str>,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server's metadata cannot be had.
    #[error(transparent)]
    Discovery(DiscoveryError),
    /// Dynamic registration.
    #[error(transparent)]
    Registration(RegistrationError),
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

fn key_refused(host: &str, algorithm: &str, accepted: &[String]) -> String {
    match accepted {
        [] => format!("{host} takes no private key: it does not list private_key_jwt"),
        accepted => format!("{host} takes no key that signs with {algorithm}, but {} only", accepted.join(", ")),
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
