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

/// Imports the sign-in that mcp-remote keeps in plain text, and deletes those files if the user agrees.
///
/// # Errors
/// If it fails, nothing is changed.
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
    let instead = format!("or sign in again: run `{}`", profile.login_command());
    let leftover = Leftover::find(&folder, &profile.server).map_err(|error| Error::from(error).hint(&instead))?;
    let context =
        Context { http: &credentials.http, clock: credentials.clock.as_ref(), browser: None, registrations: None };
    let credential = leftover
        .adopt(profile.login_request(None, None), &context)
        .await
        .map_err(|error| Error::from(error).while_doing("could not import mcp-remote's sign-in").hint(&instead))?;
    let mut note = |note| words::say(console, &note);
    let profile = keep(settings, credentials, profile, credential.clone(), earlier, &mut note).await?;
    words::summarise(credentials, console, &profile, &credential);
    dispose(console, &leftover.files, disposal).await
}

/// Deletes mcp-remote's files if the user agrees: anyone who reads them could use the tokens.
async fn dispose(console: Console, files: &[PathBuf], disposal: cli::Disposal) -> Result<(), Error> {
    let names = files.iter().map(|file| format!("\n  {}", file.display())).collect::<String>();
    let question = format!("mcp-remote keeps its sign-in in plain text here:{names}\nDelete these files? [y/N] ");
    let agreed = disposal.delete_imported || console.confirm(&question).await;
    if !agreed {
        console.say(&format!("Kept mcp-remote's plain-text files; mcp-remote has to sign in again:{names}"));
        return Ok(());
    }
    for file in files {
        fs::remove_file(file).map_err(|error| {
            Error::new(ErrorKind::Failure, error.to_string()).while_doing(format!("cannot delete {}", file.display()))
        })?;
    }
    console.note("Deleted mcp-remote's files");
    Ok(())
}
