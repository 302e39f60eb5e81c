//! Renames and removes saved profiles, with their sign-ins.

use crate::{
    app::{
        credentials::Credentials,
        sign_out::{self, SignedOut},
    },
    credential::record::{Credential, Identity},
    error::{Error, ErrorKind},
    profile::{Profile, selector::SelectorError},
    settings::Settings,
};

/// Renames the saved profile `old` to `new`. If an earlier run was interrupted, completes it.
///
/// # Errors
/// The name is taken or invalid, or the store or `config.toml` cannot be written. The old name then still works.
pub async fn rename(settings: &Settings, credentials: &Credentials, old: &str, new: &str) -> Result<Profile, Error> {
    let profiles = &settings.profiles;
    let name = match profiles.saved_name(old) {
        Ok(name) => name,
        Err(error) => match interrupted(settings, credentials, old, new).await? {
            Some(renamed) => return Ok(renamed),
            None => return Err(error.into()),
        },
    };
    let profile = valid(settings, name)?;
    profiles.check_new_name(&profile, new)?;
    let renamed = Profile { name: new.to_owned(), ..profile.clone() };
    let identity = profile.signed_in.clone().or_else(|| profiles.last_sign_in(name));
    // A sign-in to one business keeps its account: the business.
    let identity = identity.filter(|identity| identity.account == profile.account() && renamed.account() == new);
    let Some(identity) = identity else {
        settings.rename_profile(name, new, None).await?;
        return Ok(renamed);
    };
    let moved = Identity { account: new.to_owned(), ..identity.clone() };
    if is_used(settings, &moved) {
        return Err(SelectorError::Taken(new.to_owned()).into());
    }
    let moving = credentials.begin_move(&identity, new).await.map_err(|error| Error::of_token(error, &profile))?;
    if let Err(error) = settings.rename_profile(name, new, Some(new)).await {
        // The settings name the old record, and that is what counts.
        let _ = moving.undo().await;
        return Err(error.into());
    }
    moving.finish().await.map_err(|error| {
        let error = Error::of_token(error, &renamed).while_doing("renamed, but could not delete the old credential");
        error.hint(format!("run `finmcp profile rename {old} {new}` again to delete it"))
    })?;
    Ok(Profile { signed_in: renamed.signed_in.map(|_| moved), ..renamed })
}

/// The profile `new`, if it was called `old` and the rename was interrupted before it deleted the old credential.
/// Deletes that one. The copy has the same tokens, so nothing is revoked.
async fn interrupted(
    settings: &Settings,
    credentials: &Credentials,
    old: &str,
    new: &str,
) -> Result<Option<Profile>, Error> {
    let Some(renamed) = settings.profiles.named(new) else { return Ok(None) };
    let Some(identity) = renamed.signed_in.clone().filter(|identity| identity.account == new) else { return Ok(None) };
    let left = Identity { account: old.to_owned(), ..identity };
    if is_used(settings, &left) {
        return Ok(None);
    }
    let deleted = credentials.tokens(Some(left)).sign_out().await;
    Ok(deleted.map_err(|error| Error::of_token(error, &renamed))?.map(|_| renamed))
}

/// Signs out of the saved profile `name` and removes its settings. The credential, if the store had one.
///
/// # Errors
/// The credential could not be deleted, or `config.toml` cannot be written.
pub async fn remove(
    settings: &Settings,
    credentials: &Credentials,
    name: &str,
) -> Result<Option<Box<Credential>>, Error> {
    let credential = match (settings.profiles.named(name), settings.profiles.last_sign_in(name)) {
        (Some(profile), _) => match sign_out::forget(settings, credentials, &profile).await? {
            SignedOut::From(credential) => credential,
            SignedOut::NotSignedIn => None,
        },
        (None, Some(identity)) => {
            let deleted = credentials.tokens(Some(identity)).sign_out().await;
            deleted.map_err(|error| Error::from_source(ErrorKind::Store, error))?.map(Box::new)
        }
        (None, None) => None,
    };
    settings.remove_profile(name).await?;
    Ok(credential)
}

/// Whether a saved profile has the sign-in `identity`.
fn is_used(settings: &Settings, identity: &Identity) -> bool {
    let profiles = &settings.profiles;
    let of_valid = profiles.all().any(|profile| profile.signed_in.as_ref() == Some(identity));
    of_valid || profiles.saved_names().any(|name| profiles.last_sign_in(name).as_ref() == Some(identity))
}

/// The saved profile `name`.
fn valid(settings: &Settings, name: &str) -> Result<Profile, SelectorError> {
    let problem = || settings.profiles.broken().find(|(broken, _)| *broken == name).map(|(_, problem)| problem);
    settings
        .profiles
        .named(name)
        .ok_or_else(|| SelectorError::Broken { name: name.to_owned(), problem: problem().unwrap_or_default() })
}
