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

/// The user and the organisation in the first of `tokens` that names a user, else the organisation alone; cleaned.
pub fn holder<'a>(tokens: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let claims = |token: &'a str| jwt::claims::<Claims>(token);
    let user = tokens
        .clone()
        .filter_map(claims)
        .find_map(|claims| first([claims.email, claims.preferred_username, claims.username, claims.name]));
    let organisation = tokens.filter_map(claims).find_map(|claims| first([claims.org_name, claims.hd]));
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
