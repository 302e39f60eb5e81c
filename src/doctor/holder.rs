//! Who is signed in, as the server claims it.

use serde::Deserialize;
use serde_json::Value;

use crate::{credential::record::Credential, oauth::jwt, printable::quoted, profile::Profile};

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
    let texts = tokens.into_iter().flat_map(|tokens| tokens.id_token.iter().chain([&tokens.access_token]));
    let person = tokens.and_then(|tokens| tokens.person.clone());
    match claimed(person, texts.map(|token| token.expose().as_str())) {
        Some(holder) => format!("as {holder} (the server says), {profile}"),
        None => profile,
    }
}

/// The person, else the one that a JWT among `tokens` names, and the organisation that one names.
fn claimed<'a>(person: Option<String>, tokens: impl Iterator<Item = &'a str>) -> Option<String> {
    let claims: Vec<Claims> = tokens.filter_map(jwt::claims).collect();
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
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
    use serde_json::json;

    use super::*;

    /// c6: from an ID token or a JWT access token; nothing else, and nothing that moves the cursor.
    #[test]
    fn c6_the_holder_is_the_one_that_the_tokens_name() {
        let token = |claims: Value| format!("e30.{}.c2ln", BASE64URL.encode(claims.to_string()));
        let ada = || Some("ada@example.com".to_owned());
        for (person, claims, named) in [
            (ada(), json!({"email": "other@example.com"}), ada()),
            (ada(), json!({"org_name": "Acme \u{1b}[31mInc"}), Some("ada@example.com of Acme [31mInc".to_owned())),
            (None, json!({"preferred_username": "ada", "org_id": "org_1"}), Some("ada of org_1".to_owned())),
            (None, json!({"email": "", "name": 7, "organization": {"id": "x"}}), None),
            (None, json!({"organization": "Acme"}), Some("Acme".to_owned())),
            (None, json!({"sub": "user_1"}), None),
        ] {
            assert_eq!(claimed(person, ["opaque", &token(claims.clone())].into_iter()), named, "{claims}");
        }
        assert_eq!(claimed(None, ["opaque"].into_iter()), None);
    }
}
