//! `finmcp logout`.

use crate::{
    cli,
    commands::App,
    credential::{clock::Clock, record::Credential},
    error::Error,
    oauth::{
        client::{self, RevocableToken},
        error::TokenError,
    },
    profile::Profile,
};

/// Revokes the credential where the server has a place for that, and forgets it in any case. Not being signed in is
/// fine.
///
/// # Errors
/// What kept it from being forgotten.
pub async fn run(app: &App, arguments: cli::Logout) -> Result<(), Error> {
    let profiles = if arguments.all {
        app.settings
            .profiles
            .all()
            .filter(|profile| app.settings.profiles.last_sign_in(&profile.name).is_some())
            .collect()
    } else {
        vec![app.settings.profiles.select(&arguments.server.into())?]
    };
    for profile in &profiles {
        sign_out(app, profile, !arguments.no_revoke).await?;
    }
    if profiles.is_empty() {
        app.console.note("You were not signed in to anything.");
    }
    Ok(())
}

async fn sign_out(app: &App, profile: &Profile, revoke: bool) -> Result<(), Error> {
    let Some(identity) = profile.signed_in.clone().or_else(|| app.settings.profiles.last_sign_in(&profile.name)) else {
        app.console.note(&format!("You were not signed in to {}.", profile.title));
        return Ok(());
    };
    let credential = app.tokens(Some(identity)).sign_out().await.map_err(|error| Error::of_token(error, profile))?;
    app.settings.sign_out(&profile.name).await?;
    let (title, spoken) = (&profile.title, profile.spoken());
    app.console.note(&format!("Signed out of {title} ({spoken}): the credential is gone from this machine."));
    if let Some(credential) = credential.filter(|_| revoke) {
        self::revoke(app, &credential).await;
    }
    Ok(())
}

/// Tells the server, the refresh token first: it could make new access tokens (RFC 7009 section 2.1). What could not be
/// revoked is said.
pub(super) async fn revoke(app: &App, credential: &Credential) {
    let Some(tokens) = &credential.tokens else { return };
    let Some(endpoint) = &credential.revocation_endpoint else {
        app.console.say("The server has no place to revoke it: what was handed out works there until it expires.");
        return;
    };
    let refresh = tokens.refresh_token.as_ref().map(RevocableToken::Refresh);
    for token in refresh.into_iter().chain([RevocableToken::Access(&tokens.access_token)]) {
        if let Err(error) = client::revoke(
            &app.http,
            endpoint,
            &credential.identity.issuer,
            &credential.registration,
            token,
            app.clock.now(),
        )
        .await
        {
            let name = match token {
                RevocableToken::Refresh(_) => "refresh",
                RevocableToken::Access(_) => "access",
            };
            app.console.say(&match error {
                // No trouble, but how tokens are there that nobody looks up, such as JWTs (RFC 7009 section 2.2.1).
                TokenError::Refused(refusal) if refusal.code == "unsupported_token_type" => {
                    format!("The server does not revoke {name} tokens: this one works there until it expires.")
                }
                error => format!("The {name} token could not be revoked and works until it expires: {error}."),
            });
        }
    }
}
