//! Who is signed in, as the server claims it.

use serde::Deserialize;
use serde_json::Value;

use crate::{credential::record::Credential, oauth::token_set::TokenSet, printable::quoted, profile::Profile};

/// The claims that name a person (OpenID Connect Core 1.0 section 5.1) or an organisation. The latter have no standard.
#[derive(Deserialize)]
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
    let tokens = credential.tokens.as_ref();
    let person = tokens.and_then(|tokens| tokens.person.clone());
    match claimed(person, &tokens.map(TokenSet::claims).unwrap_or_default()) {
        Some(holder) => format!("as {holder} (the server says), {profile}"),
        None => profile,
    }
}

/// The person, else the one that `claims` name, and the organisation that they name.
fn claimed(person: Option<String>, claims: &[Claims]) -> Option<String> {
    let first = |names: fn(&Claims) -> Vec<&Option<Value>>| {
        let texts = claims.iter().flat_map(names).flatten().filter_map(Value::as_str);
        texts.map(|text| quoted(text.trim())).find(|text| !text.is_empty())
    };
    let person = person.or_else(|| first(|claims| vec![&claims.email, &claims.preferred_username, &claims.name]));
    let organisation =
        first(|claims| vec![&claims.org_name, &claims.organization_name, &claims.organization, &claims.org_id]);
    match (person, organisation) {
        (Some(person), Some(organisation)) => Some(format!("{person} of {organisation}")),
        (person, organisation) => person.or(organisation),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// From an ID token or a JWT access token: nothing but texts, and nothing that moves the cursor.
    #[test]
    fn the_holder_is_the_one_that_the_tokens_name() {
        let ada = || Some("ada@example.com".to_owned());
        for (person, claims, named) in [
            (ada(), json!({"email": "other@example.com"}), ada()),
            (ada(), json!({"org_name": "Acme \u{1b}[31mInc"}), Some("ada@example.com of Acme [31mInc".to_owned())),
            (None, json!({"preferred_username": "ada", "org_id": "org_1"}), Some("ada of org_1".to_owned())),
            (None, json!({"email": "", "name": 7, "organization": {"id": "x"}}), None),
            (None, json!({"organization": "Acme"}), Some("Acme".to_owned())),
            (None, json!({"sub": "user_1"}), None),
        ] {
            let read = serde_json::from_value(claims.clone()).unwrap();
            assert_eq!(claimed(person, &[read]), named, "{claims}");
        }
        assert_eq!(claimed(None, &[]), None);
    }
}
