//! Who has signed in, as the server claims it: for display only, because nothing here is verified.

use serde::Deserialize;
use serde_json::Value;

use crate::{oauth::jwt, printable::quoted};

/// The claims that name a user: OpenID Connect Core 1.0 section 5.1, and what vendors add.
#[derive(Debug, Default, Deserialize)]
struct Claims {
    #[serde(default)]
    email: Value,
    #[serde(default)]
    preferred_username: Value,
    #[serde(default)]
    username: Value,
    #[serde(default)]
    name: Value,
    /// Names of the user's organisation at several vendors; `hd` is a Google Workspace domain.
    #[serde(
        default,
        alias = "organization_name",
        alias = "company_name",
        alias = "business_name",
        alias = "tenant_name"
    )]
    org_name: Value,
    #[serde(default)]
    hd: Value,
}

/// The user and the organisation that the claims in `tokens` name, the first tokens first; cleaned.
pub fn in_tokens<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<String> {
    named(tokens.filter_map(jwt::claims))
}

/// The user and the organisation that a userinfo response names; cleaned.
pub fn in_json(body: &[u8]) -> Option<String> {
    named(serde_json::from_slice(body).into_iter())
}

fn named(claims: impl Iterator<Item = Claims>) -> Option<String> {
    let (mut user, mut organisation) = (None, None);
    for claims in claims {
        user = user.or_else(|| first([claims.email, claims.preferred_username, claims.username, claims.name]));
        organisation = organisation.or_else(|| first([claims.org_name, claims.hd]));
    }
    match (user, organisation) {
        (Some(user), Some(organisation)) => Some(format!("{user}, {organisation}")),
        (user, organisation) => user.or(organisation),
    }
}

/// The first text that is not empty. A claim of another type is ignored.
fn first<const N: usize>(claims: [Value; N]) -> Option<String> {
    let texts = claims.into_iter().filter_map(|claim| claim.as_str().map(|text| quoted(text.trim())));
    texts.into_iter().find(|text| !text.is_empty())
}
