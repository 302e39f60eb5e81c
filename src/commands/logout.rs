//! `finmcp logout`.

use crate::{
    app::{
        company::Company,
        credentials::Credentials,
        sign_out::{self, SignedOut},
    },
    cli,
    commands::words,
    console::Console,
    error::Error,
    profile::Profile,
    settings::Settings,
};

/// Deletes the credential and revokes it if the server has a revocation endpoint. Being signed out is not an error.
///
/// # Errors
/// The credential could not be deleted.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Logout,
) -> Result<(), Error> {
    let profiles = if arguments.all {
        settings.profiles.all().filter(|profile| settings.profiles.last_sign_in(&profile.name).is_some()).collect()
    } else {
        vec![settings.profiles.select(&arguments.server.into())?]
    };
    let revocation = if arguments.no_revoke { Revocation::Unwanted } else { Revocation::Wanted };
    for profile in &profiles {
        sign_out(settings, credentials, console, profile, revocation).await?;
        if !arguments.all {
            name_company(credentials, console, profile).await;
        }
    }
    if arguments.all {
        for company in companies(settings) {
            let host = company.host();
            if sign_out::forget_company(credentials, &company).await? {
                console.note(&format!("Signed out of {host} (company sign-in)"));
            }
        }
    }
    if profiles.is_empty() {
        console.note("Not signed in to any server");
    }
    Ok(())
}

async fn sign_out(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    profile: &Profile,
    revocation: Revocation,
) -> Result<(), Error> {
    let title = &profile.title;
    let SignedOut::From(credential) = sign_out::forget(settings, credentials, profile).await? else {
        console.note(&format!("Not signed in to {title}"));
        return Ok(());
    };
    let selector = profile.selector_text();
    console.note(&format!("Signed out of {title} ({selector}): deleted the credential from this machine"));
    if let (Some(credential), Revocation::Wanted) = (credential, revocation) {
        sign_out::revoke(credentials, &credential, &mut |left| words::not_revoked(console, &left)).await;
    }
    Ok(())
}

/// Says that the company sign-in stays, if there is one: other servers use it.
async fn name_company(credentials: &Credentials, console: Console, profile: &Profile) {
    let Ok(Some(company)) = Company::of(&profile.options) else { return };
    if let Ok(Some(_)) = company.credential(credentials).await {
        console.note(&format!("Still signed in to {} (company sign-in)", company.host()));
        console.note("To end that too, sign out of every server: finmcp logout --all");
    }
}

/// The identity providers of the saved profiles, each once.
fn companies(settings: &Settings) -> Vec<Company> {
    let mut companies: Vec<Company> = Vec::new();
    for company in settings.profiles.all().filter_map(|profile| Company::of(&profile.options).ok().flatten()) {
        if companies.iter().all(|other| other.identity() != company.identity()) {
            companies.push(company);
        }
    }
    companies
}

/// Whether to revoke the tokens.
#[derive(Clone, Copy)]
enum Revocation {
    Wanted,
    Unwanted,
}
