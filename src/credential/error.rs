//! Why there is no token, and why a sign-in came to nothing.

use std::sync::Arc;

use crate::{
    credential::{assertion::AssertionError, record::End, store::StoreError},
    disk::lock::LockError,
    oauth::error::TokenError,
};

/// Why there is no token, sorted by what the caller does next. Cheap to clone: callers that waited for the same renewal
/// share its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenSourceError {
    /// A person has to sign in.
    #[error("not signed in: {0}")]
    LoginRequired(LoginReason),
    /// The authorization server refused the request or the registration: something has to be changed, waiting does not
    /// help. The credential stays.
    #[error(transparent)]
    Refused(Arc<TokenError>),
    /// The authorization server could not be reached or made no sense. The credential stays; later may work.
    #[error(transparent)]
    Unavailable(Arc<TokenError>),
    /// The resource server rejects a token that the authorization server has only just handed out: yet another one
    /// would not help. Later may.
    #[error("the server rejects a token that it was just given")]
    Rejected,
    /// There is no assertion that brings a token: whoever provides it has to. The credential stays.
    #[error(transparent)]
    Assertion(Arc<AssertionError>),
    /// The credential store.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The lock that the renewal needs. Nothing was sent.
    #[error(transparent)]
    Lock(Arc<LockError>),
    /// A person was asked to sign in, and it came to nothing.
    #[error(transparent)]
    SignIn(SignInFailure),
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

/// A sign-in that came to nothing, with the reason for the person, sorted by what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInFailure {
    /// Something that a server says must not be acted upon: nobody but whoever runs it can help.
    #[error("{0}")]
    Untrusted(String),
    /// A server could not be reached, or made no sense: later may work.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody came, or it takes more than a browser: a person at a terminal can help.
    #[error("{0}")]
    LoginRequired(String),
    /// It was denied, or failed otherwise.
    #[error("{0}")]
    Failed(String),
}

/// Why a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginReason {
    /// Nothing is stored: never signed in, or signed out.
    #[error("there is no stored sign-in")]
    SignedOut,
    /// The server refused the refresh token (RFC 6749 section 5.2): the sign-in ended or was revoked.
    #[error("the server ended the sign-in")]
    Ended,
    /// The server no longer knows the client that it once registered (`invalid_client`, RFC 6749 section 5.2).
    #[error("the server has forgotten this client")]
    ClientForgotten,
    /// The access token has ended, or is not wanted any more, and there is nothing to renew it with.
    #[error("the access token cannot be renewed: the server gave no refresh token")]
    NotRenewable,
    /// The server refuses the API key: the vendor has revoked or replaced it.
    #[error("the server refuses the API key")]
    KeyRefused,
    /// The sign-in does not include the scope that is needed.
    #[error("the sign-in does not include the scope that this needs")]
    Scope,
}

impl From<End> for LoginReason {
    fn from(end: End) -> Self {
        match end {
            End::Refused => Self::Ended,
            End::ClientForgotten => Self::ClientForgotten,
        }
    }
}

impl From<StoreError> for TokenSourceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<LockError> for TokenSourceError {
    fn from(error: LockError) -> Self {
        Self::Lock(Arc::new(error))
    }
}

impl From<TokenError> for TokenSourceError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::PrivateKey(_) => Self::Refused(Arc::new(error)),
            error if error.is_definite_refusal() => Self::Refused(Arc::new(error)),
            error => Self::Unavailable(Arc::new(error)),
        }
    }
}

impl From<AssertionError> for TokenSourceError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Token(error) => error.into(),
            error => Self::Assertion(Arc::new(error)),
        }
    }
}
