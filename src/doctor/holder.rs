//! Who is signed in, as the server claims it.

use crate::{credential::record::Credential, profile::Profile};

/// The person and the organisation that the server names, and the profile. Nothing verifies the names: they are only for
/// display.
pub fn of(profile: &Profile, credential: &Credential) -> String {
    let account = &credential.identity.account;
    let account = if *account == profile.name { String::new() } else { format!(" (account {account})") };
    let profile = format!("profile {}{account}", profile.name);
    match credential.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
        Some(holder) => format!("as {holder} (the server says), {profile}"),
        None => profile,
    }
}
