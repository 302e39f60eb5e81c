//! Why there is no token, and why a sign-in failed.

use std::sync::Arc;

use crate::{
    credential::{assertion::AssertionError, record::End, store::StoreError},
    disk::lock::LockError,
    oauth::error::TokenError,
};

/// Why there is no token, by what the caller does next. Cheap to clone: callers that waited for the same renewal share
/// its outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenSourceError {
    /// The user has to sign in.
    #[error("not signed in: {0}")]
    LoginRequired(LoginReason),
    /// The authorization server refused the request or the client: trying again does not help. The credential stays.
    #[error(transparent)]
    Refused(Arc<TokenError>),
    /// The authorization server could not be reached, or its response was invalid. The credential stays; trying again
    /// later may help.
    #[error(transparent)]
    Unavailable(Arc<TokenError>),
    /// The resource server rejects a new token, so that another one would not help. Trying again later may.
    #[error("the server rejects a token that was just issued")]
    Rejected,
    /// The assertion brings no token: its provider has to fix that. The credential stays.
    #[error(transparent)]
    Assertion(Arc<AssertionError>),
    /// The credential store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The renewal's lock failed. Nothing was sent.
    #[error(transparent)]
    Lock(Arc<LockError>),
    /// The user was asked to sign in, and the sign-in failed.
    #[error(transparent)]
    SignIn(SignInFailure),
    /// The process is exiting.
    #[error("interrupted")]
    Interrupted,
}

impl TokenSourceError {
    /// Whether the authorization server does not know the client, or no longer (`invalid_client`, RFC 6749 section
    /// 5.2).
    pub fn is_unknown_client(&self) -> bool {
        match self {
            Self::LoginRequired(reason) => *reason == LoginReason::ClientForgotten,
            Self::Refused(error) => error.is_invalid_client(),
            _ => false,
        }
    }
}

/// Why a sign-in failed, as text for the user, by what can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInFailure {
    /// A server must not be trusted: only its operator can help.
    #[error("{0}")]
    Untrusted(String),
    /// A server could not be reached, or its response was invalid: trying again later may help.
    #[error("{0}")]
    Unreachable(String),
    /// The user did not sign in, or has to run a command in a terminal.
    #[error("{0}")]
    LoginRequired(String),
    /// The sign-in was declined, or failed in another way.
    #[error("{0}")]
    Failed(String),
}

/// Why the user has to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginReason {
    /// No credential is stored.
    #[error("there is no stored sign-in")]
    SignedOut,
    /// The server refused the refresh token (RFC 6749 section 5.2): the sign-in expired or was revoked.
    #[error("the server ended the sign-in")]
    Ended,
    /// The server no longer knows the client that it registered (`invalid_client`, RFC 6749 section 5.2).
    #[error("the server has forgotten this client")]
    ClientForgotten,
    /// The access token has expired or was rejected, and there is no refresh token.
    #[error("the access token cannot be renewed: the server issued no refresh token")]
    NotRenewable,
    /// The server refuses the API key: the vendor revoked or replaced it.
    #[error("the server refuses the API key")]
    KeyRefused,
    /// The sign-in does not include the required scope.
    #[error("the sign-in does not include the required scope")]
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
            AssertionError::SignInRefused { .. } => Self::LoginRequired(LoginReason::Ended),
            error => Self::Assertion(Arc::new(error)),
        }
    }
}
