//! `finmcp login --import`.

use std::{fs, path::PathBuf};

use crate::{
    cli,
    commands::{App, login},
    error::{Error, ErrorKind},
    login::{context::Context, mcp_remote::Leftover},
    profile::Profile,
    settings,
};

/// Takes over a sign-in that another program keeps in plain text, and deletes that where its owner agrees.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn run(app: &App, profile: Profile, disposal: cli::Disposal) -> Result<(), Error> {
    login::prove_store(app).await?;
    let earlier = login::earlier(app, &profile).await?;
    let folder = settings::mcp_remote_folder()?;
    let anew = format!("sign in anew instead: `{}`", profile.login_command());
    let leftover = Leftover::find(&folder, &profile.server).map_err(|error| Error::from(error).hint(&anew))?;
    let context = Context { http: &app.http, clock: app.clock.as_ref(), browser: None, registrations: None };
    let credential = leftover
        .adopt(profile.login_request(None, None), &context)
        .await
        .map_err(|error| Error::from(error).while_doing("could not take over mcp-remote's sign-in").hint(&anew))?;
    let profile = login::keep(app, profile, credential.clone(), earlier).await?;
    login::summarise(app, &profile, &credential);
    dispose(app, &leftover.files, disposal).await
}

/// Deletes the plain text: it is of no use any more, and what it holds can still be misused.
async fn dispose(app: &App, files: &[PathBuf], disposal: cli::Disposal) -> Result<(), Error> {
    let names = files.iter().map(|file| format!("\n  {}", file.display())).collect::<String>();
    let question = format!("mcp-remote's sign-in is in plain text here:{names}\nDelete it? [y/N] ");
    let agreed = disposal.delete_imported || app.console.confirm(&question).await;
    if !agreed {
        app.console.say(&format!("mcp-remote's files are left, in plain text; it has to sign in again:{names}"));
        return Ok(());
    }
    for file in files {
        fs::remove_file(file).map_err(|error| {
            Error::new(ErrorKind::Failure, error.to_string()).while_doing(format!("cannot delete {}", file.display()))
        })?;
    }
    app.console.note("mcp-remote's files are deleted.");
    Ok(())
}
