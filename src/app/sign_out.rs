//! Signing out: here, and at the server.

use crate::{
    app::credentials::Credentials,
    credential::{clock::Clock, record::Credential},
    error::Error,
    oauth::{
        client::{self, RevocableToken, RevocationRequest},
        error::TokenError,
    },
    profile::Profile,
    settings::Settings,
};

/// What a server goes on taking after a sign-out.
pub enum NotRevoked {
    /// Whatever was handed out: the server has no place to say so.
    NoPlace,
    /// No trouble, but how tokens are there that nobody looks up, such as JWTs (RFC 7009 section 2.2.1).
    Unsupported {
        /// The kind of token.
        token: &'static str,
    },
    /// It was tried.
    Failed {
        /// The kind of token.
        token: &'static str,
        /// Why it came to nothing.
        error: TokenError,
    },
}

/// What was found and forgotten.
pub enum SignedOut {
    /// Nothing: nobody was signed in.
    Nobody,
    /// A sign-in, and its credential where the store still had one.
    From(Option<Box<Credential>>),
}

/// Forgets whoever is signed in to `profile`, or was when it was another server's. The server is told nothing.
///
/// # Errors
/// What kept it from being forgotten.
pub async fn forget(settings: &Settings, credentials: &Credentials, profile: &Profile) -> Result<SignedOut, Error> {
    let identity = profile.signed_in.clone().or_else(|| settings.profiles.last_sign_in(&profile.name));
    let Some(identity) = identity else { return Ok(SignedOut::Nobody) };
    let credential = credentials.tokens(Some(identity)).sign_out().await;
    let credential = credential.map_err(|error| Error::of_token(error, profile))?;
    settings.sign_out(&profile.name).await?;
    Ok(SignedOut::From(credential.map(Box::new)))
}

/// Tells the server, the refresh token first: it could make new access tokens (RFC 7009 section 2.1). What could not be
/// revoked is told.
pub async fn revoke(credentials: &Credentials, credential: &Credential, tell: &mut (dyn FnMut(NotRevoked) + Send)) {
    let Some(tokens) = &credential.tokens else { return };
    let Some(endpoint) = &credential.revocation_endpoint else { return tell(NotRevoked::NoPlace) };
    let refresh = tokens.refresh_token.as_ref().map(RevocableToken::Refresh);
    for token in refresh.into_iter().chain([RevocableToken::Access(&tokens.access_token)]) {
        let request = RevocationRequest {
            endpoint,
            issuer: &credential.identity.issuer,
            registration: &credential.registration,
            token,
        };
        if let Err(error) = client::revoke(&credentials.http, request, credentials.clock.now()).await {
            let token = match token {
                RevocableToken::Refresh(_) => "refresh",
                RevocableToken::Access(_) => "access",
            };
            tell(match error {
                TokenError::Refused(refusal) if refusal.code == "unsupported_token_type" => {
                    NotRevoked::Unsupported { token }
                }
                error => NotRevoked::Failed { token, error },
            });
        }
    }
}
