//! Who has signed in, as the server claims it: for display only, because nothing here is verified.

use serde_json::{Map, Value};

use crate::{oauth::jwt, printable::quoted};

type Claims = Map<String, Value>;

/// The claims that name a user: OpenID Connect Core 1.0 section 5.1, and what vendors add.
const USER: [&str; 4] = ["email", "preferred_username", "username", "name"];

/// The claims that name the user's organisation. None of them has a standard; `hd` is a Google Workspace domain.
const ORGANISATION: [&str; 8] =
    ["org_name", "organization_name", "organization", "company_name", "business_name", "tenant_name", "hd", "org_id"];

/// The user and the organisation that the claims in `tokens` name, the first tokens first; cleaned.
pub fn in_tokens<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<String> {
    named(&tokens.filter_map(jwt::claims).collect::<Vec<_>>())
}

/// The user and the organisation that a userinfo response names; cleaned.
pub fn in_json(body: &[u8]) -> Option<String> {
    named(&[serde_json::from_slice(body).ok()?])
}

fn named(claims: &[Claims]) -> Option<String> {
    match (first(claims, &USER), first(claims, &ORGANISATION)) {
        (Some(user), Some(organisation)) => Some(format!("{user} of {organisation}")),
        (user, organisation) => user.or(organisation),
    }
}

/// The first text under one of `names` that is not empty. A claim of another type is ignored.
fn first(claims: &[Claims], names: &[&str]) -> Option<String> {
    let values = claims.iter().flat_map(|claims| names.iter().filter_map(|name| claims.get(*name)));
    values.filter_map(Value::as_str).map(|text| quoted(text.trim())).find(|text| !text.is_empty())
}
