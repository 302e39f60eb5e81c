//! `finmcp login --import`.

use std::{fs, path::PathBuf};

use crate::{
    app::{credentials::Credentials, sign_in::keep},
    cli,
    commands::words,
    console::Console,
    error::{Error, ErrorKind},
    login::{context::Context, mcp_remote::Leftover},
    profile::Profile,
    settings::{self, Settings},
};

/// Takes over a sign-in that another program keeps in plain text, and deletes that where its owner agrees.
///
/// # Errors
/// Whatever kept it from being done; then nothing is changed.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    profile: Profile,
    disposal: cli::Disposal,
) -> Result<(), Error> {
    credentials.prove_store().await?;
    let earlier = credentials.earlier(&profile).await?;
    let folder = settings::mcp_remote_folder()?;
    let anew = format!("sign in anew instead: `{}`", profile.login_command());
    let leftover = Leftover::find(&folder, &profile.server).map_err(|error| Error::from(error).hint(&anew))?;
    let context =
        Context { http: &credentials.http, clock: credentials.clock.as_ref(), browser: None, registrations: None };
    let credential = leftover
        .adopt(profile.login_request(None, None), &context)
        .await
        .map_err(|error| Error::from(error).while_doing("could not take over mcp-remote's sign-in").hint(&anew))?;
    let mut note = |note| words::say(console, &note);
    let profile = keep(settings, credentials, profile, credential.clone(), earlier, &mut note).await?;
    words::summarise(credentials, console, &profile, &credential);
    dispose(console, &leftover.files, disposal).await
}

/// Deletes the plain text: it is of no use any more, and what it holds can still be misused.
async fn dispose(console: Console, files: &[PathBuf], disposal: cli::Disposal) -> Result<(), Error> {
    let names = files.iter().map(|file| format!("\n  {}", file.display())).collect::<String>();
    let question = format!("mcp-remote's sign-in is in plain text here:{names}\nDelete it? [y/N] ");
    let agreed = disposal.delete_imported || console.confirm(&question).await;
    if !agreed {
        console.say(&format!("mcp-remote's files are left, in plain text; it has to sign in again:{names}"));
        return Ok(());
    }
    for file in files {
        fs::remove_file(file).map_err(|error| {
            Error::new(ErrorKind::Failure, error.to_string()).while_doing(format!("cannot delete {}", file.display()))
        })?;
    }
    console.note("mcp-remote's files are deleted.");
    Ok(())
}
