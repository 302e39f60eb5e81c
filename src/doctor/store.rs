//! The credential store.

use crate::{
    advice::original_key,
    credential::{
        choice::StoreChoice, file::KeySource, record::Credential, store::StoreError, token_source::TokenSourceError,
    },
    doctor::{step::Trouble, subject::Subject},
    error::Error,
    settings::Settings,
};

/// The stored credential; none if the user is not signed in. Checks the store in any case.
pub async fn stored(subject: &Subject<'_>) -> Result<Option<Credential>, TokenSourceError> {
    let credential = match subject.profile.signed_in {
        Some(_) => subject.tokens.credential().await?,
        None => None,
    };
    if credential.is_none() {
        subject.store.examine().await?;
    }
    Ok(credential)
}

/// Why the store cannot be used, with what helps here.
pub fn trouble(subject: &Subject<'_>, error: TokenSourceError) -> Trouble {
    let hints = match &error {
        TokenSourceError::Store(error) => hints(subject, error),
        _ => Vec::new(),
    };
    let trouble = Trouble::from(Error::of_token(error, subject.profile));
    if hints.is_empty() { trouble } else { Trouble { hints, ..trouble } }
}

/// What helps; empty if the error's own hint is all there is.
fn hints(subject: &Subject<'_>, error: &StoreError) -> Vec<String> {
    let login = subject.profile.login_command();
    match error {
        StoreError::NoKeyFile(_) => vec![
            "set FINMCP_STORE_KEY_FILE to the key file that you signed in with, or restore it from a backup".to_owned(),
            start_over(subject.settings, "put a new key file of at least 32 secret bytes there", &login),
        ],
        StoreError::AnotherKey(mismatch) => {
            vec![original_key(mismatch), start_over(subject.settings, "keep the new one", &login)]
        }
        _ => Vec::new(),
    }
}

/// What helps if the key is lost.
fn start_over(settings: &Settings, first: &str, login: &str) -> String {
    let folder = match &settings.store {
        StoreChoice::File { folder, .. } => folder.display().to_string(),
        StoreChoice::Keychain | StoreChoice::Memory => String::new(),
    };
    format!("if it is lost, {first}, delete the folder {folder} (with every sign-in in it) and run `{login}`")
}

/// Whether the store opens with a passphrase, which AI clients cannot enter.
pub fn needs_passphrase(settings: &Settings) -> bool {
    matches!(settings.store, StoreChoice::File { key: KeySource::Passphrase(_) | KeySource::Unknown, .. })
}

/// How to give AI clients the credentials of a store with a passphrase.
pub fn with_key_file(settings: &Settings, login: &str, setup: &str) -> String {
    let StoreChoice::File { folder, .. } = &settings.store else { return String::new() };
    format!(
        "use a key file instead: set FINMCP_STORE_KEY_FILE to a file of at least 32 secret bytes, delete the folder {} \
         (with every sign-in in it), run `{login}`, then `{setup}`",
        folder.display()
    )
}
