//! `finmcp logout`.

use crate::{
    cli,
    commands::App,
    credential::{clock::Clock, record::Credential},
    error::Error,
    oauth::{
        client::{self, RevocableToken, RevocationRequest},
        error::TokenError,
    },
    profile::Profile,
};

/// Deletes the credential and revokes it if the server has a revocation endpoint. Not being signed in is no error.
///
/// # Errors
/// The credential could not be deleted.
pub async fn run(app: &App, arguments: cli::Logout) -> Result<(), Error> {
    let profiles = if arguments.all {
        app.settings.profiles().filter(|profile| app.settings.last_sign_in(&profile.name).is_some()).collect()
    } else {
        vec![Profile::select(&arguments.server.into(), &app.settings)?]
    };
    for profile in &profiles {
        sign_out(app, profile, !arguments.no_revoke).await?;
    }
    if profiles.is_empty() {
        app.console.note("Not signed in to any server");
    }
    Ok(())
}

async fn sign_out(app: &App, profile: &Profile, revoke: bool) -> Result<(), Error> {
    let Some(identity) = profile.signed_in.clone().or_else(|| app.settings.last_sign_in(&profile.name)) else {
        app.console.note(&format!("Not signed in to {}", profile.title));
        return Ok(());
    };
    let credential = app.tokens(Some(identity)).sign_out().await.map_err(|error| Error::of_token(error, profile))?;
    app.settings.sign_out(&profile.name).await?;
    let (title, spoken) = (&profile.title, profile.spoken());
    app.console.note(&format!("Signed out of {title} ({spoken}): deleted the credential from this machine"));
    if let Some(credential) = credential.filter(|_| revoke) {
        self::revoke(app, &credential).await;
    }
    Ok(())
}

/// Revokes the refresh token first, since it could obtain new access tokens (RFC 7009 section 2.1). Warns about each
/// token that could not be revoked.
pub(super) async fn revoke(app: &App, credential: &Credential) {
    let Some(tokens) = &credential.tokens else { return };
    let Some(endpoint) = &credential.revocation_endpoint else {
        app.console.say("This server cannot revoke tokens; the last one stays valid until it expires.");
        return;
    };
    let refresh = tokens.refresh_token.as_ref().map(RevocableToken::Refresh);
    for token in refresh.into_iter().chain([RevocableToken::Access(&tokens.access_token)]) {
        let request = RevocationRequest {
            endpoint,
            issuer: &credential.identity.issuer,
            registration: &credential.registration,
            token,
        };
        if let Err(error) = client::revoke(&app.http, request, app.clock.now()).await {
            let name = match token {
                RevocableToken::Refresh(_) => "refresh",
                RevocableToken::Access(_) => "access",
            };
            app.console.say(&match error {
                // Not a failure: some servers cannot revoke self-contained tokens, such as JWTs (RFC 7009 section
                // 2.2.1).
                TokenError::Refused(refusal) if refusal.code == "unsupported_token_type" => {
                    format!("This server cannot revoke {name} tokens; the last one stays valid until it expires.")
                }
                error => {
                    format!("warning: could not revoke the {name} token, which stays valid until it expires: {error}")
                }
            });
        }
    }
}
