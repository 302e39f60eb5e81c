//! Signing out: here, and at the server.

use crate::{
    app::{company::Company, credentials::Credentials},
    credential::{
        clock::Clock,
        record::{Credential, Renewal},
    },
    error::{Error, ErrorKind},
    oauth::{
        client::{self, RevocableToken, RevocationRequest},
        error::TokenError,
    },
    profile::Profile,
    settings::Settings,
};

/// Why a token is still valid at the server after a sign-out.
pub enum NotRevoked {
    /// The server has no revocation endpoint.
    NoEndpoint,
    /// Only the vendor revokes an API key.
    ApiKey,
    /// Not a failure: some servers cannot revoke self-contained tokens, such as JWTs (RFC 7009 section 2.2.1).
    Unsupported {
        /// The kind of token.
        token: &'static str,
    },
    /// The revocation failed.
    Failed {
        /// The kind of token.
        token: &'static str,
        /// Why.
        error: TokenError,
    },
}

/// The result of a sign-out.
pub enum SignedOut {
    /// There was no sign-in.
    NotSignedIn,
    /// Signed out; the credential, if the store still had one.
    From(Option<Box<Credential>>),
}

/// Deletes the sign-in to `profile`, or the last one that it had with another server. Sends nothing to the server.
///
/// # Errors
/// The credential could not be deleted.
pub async fn forget(settings: &Settings, credentials: &Credentials, profile: &Profile) -> Result<SignedOut, Error> {
    let identity = profile.signed_in.clone().or_else(|| settings.profiles.last_sign_in(&profile.name));
    let Some(identity) = identity else { return Ok(SignedOut::NotSignedIn) };
    let credential = credentials.tokens(Some(identity)).sign_out().await;
    let credential = credential.map_err(|error| Error::of_token(error, profile))?;
    settings.sign_out(&profile.name).await?;
    Ok(SignedOut::From(credential.map(Box::new)))
}

/// Deletes the sign-in at a company's identity provider, and revokes it there if it can. Whether there was one.
///
/// # Errors
/// The credential could not be deleted.
pub async fn forget_company(credentials: &Credentials, company: &Company) -> Result<bool, Error> {
    let credential = credentials.tokens(Some(company.identity())).sign_out().await;
    let Some(credential) = credential.map_err(|error| Error::from_source(ErrorKind::Store, error))? else {
        return Ok(false);
    };
    revoke(credentials, &credential, &mut |_| {}).await;
    Ok(true)
}

/// Revokes the refresh token first, since it could obtain new access tokens (RFC 7009 section 2.1). Tells about each
/// token that could not be revoked.
pub async fn revoke(credentials: &Credentials, credential: &Credential, tell: &mut (dyn FnMut(NotRevoked) + Send)) {
    let Some(tokens) = &credential.tokens else { return };
    if let Renewal::ApiKey(_) = credential.renewal {
        return tell(NotRevoked::ApiKey);
    }
    let Some(endpoint) = &credential.revocation_endpoint else { return tell(NotRevoked::NoEndpoint) };
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
