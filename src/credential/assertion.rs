//! Tokens for an assertion (RFC 7523 section 2.1). finmcp gets a new assertion for every token: from a file that
//! another program keeps up to date, or from an identity provider in exchange for the user's ID token.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    credential::{
        assertion_source::{AssertionSource, IdToken, IdentityProvider},
        identity::Identity,
        record::Credential,
    },
    http::Http,
    oauth::{
        client::{Grant, TokenExchange, TokenRequest, exchange_token, request_token},
        error::{OAuthError, TokenError},
        id_token, jwt,
        token_set::TokenSet,
    },
    secret::Secret,
};

/// The longest assertion, in bytes.
const LENGTH_LIMIT: u64 = 64 << 10;

/// How long reading the file may take: it may be on a network, or a pipe.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Why a request with an assertion failed, by who can fix it.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file does not contain a JWT. finmcp sent nothing of it.
    #[error("{} contains no JWT (nothing was sent)", .path.display())]
    NotJwt {
        /// The file.
        path: PathBuf,
    },
    /// The authorization server does not accept the assertion in the file.
    #[error("the authorization server rejected the assertion{} in {}: {refusal}", expired(.end), .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// When the assertion expired, if it has.
        end: Option<Timestamp>,
        /// The server's error.
        refusal: OAuthError,
    },
    /// The identity provider does not accept the ID token.
    #[error("{host} rejected the ID token{} in {}: {refusal}", expired(.end), .path.display())]
    IdTokenRefused {
        /// The identity provider.
        host: String,
        /// The file.
        path: PathBuf,
        /// When the ID token expired, if it has.
        end: Option<Timestamp>,
        /// The provider's error.
        refusal: OAuthError,
    },
    /// The identity provider does not accept the ID token of the user's sign-in there: the user has to sign in again.
    #[error("{host} rejected your company sign-in: {refusal}")]
    SignInRefused {
        /// The identity provider.
        host: String,
        /// The provider's error.
        refusal: OAuthError,
    },
    /// The identity provider granted no access: an administrator decided so, or the request failed.
    #[error("the identity provider {host} granted no access: {error}")]
    NotGranted {
        /// The identity provider.
        host: String,
        /// Why.
        error: TokenError,
    },
    /// The authorization server does not accept the identity provider's grant.
    #[error("the authorization server rejected the grant (ID-JAG) issued by the identity provider {host}: {refusal}")]
    GrantRefused {
        /// The identity provider.
        host: String,
        /// The server's error.
        refusal: OAuthError,
    },
    /// The token request failed in another way.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// ` (expired …)`, or nothing.
fn expired(end: &Option<Timestamp>) -> String {
    end.map(|end| format!(" (expired {end})")).unwrap_or_default()
}

impl AssertionSource {
    /// Tokens for `credential`; `id_token` is that of the user's sign-in at the identity provider, if the source is one.
    /// Sends each assertion once: a refused one is not tried again.
    ///
    /// # Errors
    /// Any [`AssertionError`].
    pub async fn tokens(
        &self,
        http: &Http,
        credential: &Credential,
        id_token: Option<Secret>,
        now: Timestamp,
    ) -> Result<TokenSet, AssertionError> {
        match self {
            Self::File(path) => {
                let assertion = read(path).await?;
                let request = credential.token_request(Grant::JwtBearer(&assertion));
                request_token(http, request, now).await.map_err(|error| match error {
                    TokenError::InvalidGrant(refusal) => {
                        AssertionError::Refused { path: path.clone(), end: end_of(&assertion, now), refusal }
                    }
                    error => error.into(),
                })
            }
            Self::IdentityProvider(provider) => provider.tokens(http, credential, id_token, now).await,
        }
    }

    /// The user's sign-in at the identity provider, if that is where the ID token comes from.
    pub fn sign_in(&self) -> Option<&Identity> {
        match self {
            Self::IdentityProvider(provider) => match &provider.id_token {
                IdToken::SignIn(identity) => Some(identity),
                IdToken::File(_) => None,
            },
            Self::File(_) => None,
        }
    }
}

impl IdentityProvider {
    async fn tokens(
        &self,
        http: &Http,
        credential: &Credential,
        id_token: Option<Secret>,
        now: Timestamp,
    ) -> Result<TokenSet, AssertionError> {
        let host = self.token_endpoint.host();
        let id_token = match (&self.id_token, id_token) {
            (IdToken::File(path), _) => read(path).await?,
            (IdToken::SignIn(_), Some(token)) => {
                id_token::check_parties(&token, &self.issuer, &self.registration.client_id)?;
                token
            }
            (IdToken::SignIn(_), None) => return Err(TokenError::Unusable("it contains no ID token").into()),
        };
        let exchange = TokenExchange {
            endpoint: &self.token_endpoint,
            issuer: &self.issuer,
            registration: &self.registration,
            id_token: &id_token,
            audience: &credential.identity.issuer,
            resource: &credential.identity.resource,
            scope: credential.scope.as_ref(),
        };
        let id_jag = exchange_token(http, exchange, now).await.map_err(|error| match error {
            TokenError::InvalidGrant(refusal) => match &self.id_token {
                IdToken::File(path) => AssertionError::IdTokenRefused {
                    host: host.clone(),
                    path: path.clone(),
                    end: end_of(&id_token, now),
                    refusal,
                },
                IdToken::SignIn(_) => AssertionError::SignInRefused { host: host.clone(), refusal },
            },
            error => AssertionError::NotGranted { host: host.clone(), error },
        })?;
        let request = credential.token_request(Grant::JwtBearer(&id_jag.assertion));
        let request = TokenRequest { scope: id_jag.scope.as_ref().or(request.scope), ..request };
        request_token(http, request, now).await.map_err(|error| match error {
            TokenError::InvalidGrant(refusal) => AssertionError::GrantRefused { host, refusal },
            error => error.into(),
        })
    }
}

/// When `token` expired according to its `exp`, if it has.
fn end_of(token: &Secret, now: Timestamp) -> Option<Timestamp> {
    jwt::expiry(token.expose()).filter(|end| *end <= now)
}

/// The JWT that is in the file now.
async fn read(path: &Path) -> Result<Secret, AssertionError> {
    let unreadable = |error| AssertionError::Unreadable { path: path.to_owned(), error };
    let reading = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || read_text(&path)
    });
    let text = match tokio::time::timeout(READ_DEADLINE, reading).await {
        Ok(read) => read.map_err(io::Error::other).flatten().map_err(unreadable)?,
        Err(_) => return Err(unreadable(io::ErrorKind::TimedOut.into())),
    };
    let token = text.trim_ascii();
    if jwt::is_jwt(token) {
        Ok(Secret::new(token.to_owned()))
    } else {
        Err(AssertionError::NotJwt { path: path.to_owned() })
    }
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path)?.take(LENGTH_LIMIT + 1).read_to_string(&mut text)?;
    if read as u64 > LENGTH_LIMIT { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "e30.eyJleHAiOjEwMH0.c2ln";

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        file
    }

    #[tokio::test]
    async fn the_file_is_read_every_time() {
        let file = file(format!("{TOKEN}\r\n").as_bytes());
        assert_eq!(read(file.path()).await.unwrap().expose(), TOKEN);
        std::fs::write(file.path(), "e30.e30.bmV3").unwrap();
        assert_eq!(read(file.path()).await.unwrap().expose(), "e30.e30.bmV3");
    }

    /// t094: a file that is not an assertion is neither sent nor shown.
    #[tokio::test]
    async fn t094_other_files_are_refused() {
        let key = include_str!("../../tests/fixtures/keys/ec-pkcs8.pem");
        for contents in [&b""[..], b"CANARY", key.as_bytes(), b"e30.e30.c2ln CANARY"] {
            let error = read(file(contents).path()).await.unwrap_err();
            assert!(matches!(error, AssertionError::NotJwt { .. }), "{error:?}");
            assert!(!format!("{error:?}").contains("CANARY"));
        }
        let long = format!("e30.{}.c2ln", "a".repeat(64 << 10));
        for contents in [long.as_bytes(), b"\xff\xfe"] {
            let error = read(file(contents).path()).await.unwrap_err();
            assert!(matches!(error, AssertionError::Unreadable { .. }), "{error:?}");
        }
    }

    #[test]
    fn only_a_past_expiry_is_reported() {
        let (token, at) = (Secret::new(TOKEN.to_owned()), |second| Timestamp::from_second(second).unwrap());
        assert_eq!((end_of(&token, at(99)), end_of(&token, at(100))), (None, Some(at(100))));
    }
}
