//! Who is signed in, as the server claims it.

use serde::Deserialize;
use serde_json::Value;

use crate::{credential::record::Credential, oauth::jwt, printable::quoted, profile::Profile};

/// The claims that name a person (OpenID Connect Core 1.0 section 5.1) or an organisation. The latter have no standard.
#[derive(Default, Deserialize)]
struct Claims {
    email: Option<Value>,
    preferred_username: Option<Value>,
    name: Option<Value>,
    org_name: Option<Value>,
    organization_name: Option<Value>,
    organization: Option<Value>,
    org_id: Option<Value>,
}

/// The person and the organisation that the server names in its tokens, and the profile. Nothing verifies the claims:
/// they are only for display.
pub fn of(profile: &Profile, credential: &Credential) -> String {
    let account = &credential.identity.account;
    let account = if *account == profile.name { String::new() } else { format!(" (account {account})") };
    let profile = format!("profile {}{account}", profile.name);
    match claimed(credential) {
        Some(holder) => format!("as {holder} (the server says), {profile}"),
        None => profile,
    }
}

fn claimed(credential: &Credential) -> Option<String> {
    let tokens = credential.tokens.as_ref()?;
    let texts = tokens.id_token.iter().chain([&tokens.access_token]);
    let claims: Vec<Claims> = texts.filter_map(|token| jwt::claims(token.expose())).collect();
    let first = |names: fn(&Claims) -> Vec<&Option<Value>>| {
        let texts = claims.iter().flat_map(names).flatten().filter_map(Value::as_str);
        texts.map(|text| quoted(text.trim())).find(|text| !text.is_empty())
    };
    let person = tokens.person.clone();
    let person = person.or_else(|| first(|claims| vec![&claims.email, &claims.preferred_username, &claims.name]));
    let organisation = first(|claims| {
        vec![&claims.org_name, &claims.organization_name, &claims.organization, &claims.org_id]
    });
    match (person, organisation) {
        (Some(person), Some(organisation)) => Some(format!("{person} of {organisation}")),
        (person, organisation) => person.or(organisation),
    }
}
