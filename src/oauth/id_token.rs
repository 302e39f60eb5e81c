//! The checks of an ID token (OpenID Connect Core 1.0 section 3.1.3.7). It comes directly from the token endpoint, so
//! TLS replaces the check of its signature.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    oauth::{authorization_server::with_other_slash, error::TokenError, jwt},
    secret::Secret,
};

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: jwt::Audience,
}

/// When `token` expires (RFC 7519 section 4.1.4).
pub fn expiry(token: &Secret) -> Option<Timestamp> {
    jwt::expiry(token.expose())
}

/// Checks that `issuer` issued `token` to the client `client_id`. Another provider's token must not be sent there.
///
/// # Errors
/// [`TokenError::Unusable`].
pub fn check_parties(token: &Secret, issuer: &str, client_id: &str) -> Result<(), TokenError> {
    let Claims { iss, aud } = jwt::claims(token.expose())
        .ok_or(TokenError::Unusable("its ID token is not a signed JWT with an issuer and an audience"))?;
    if iss != issuer && Some(&iss) != with_other_slash(issuer).as_ref() {
        return Err(TokenError::Unusable("its ID token is from another issuer"));
    }
    let is_ours = aud.into_texts().iter().any(|audience| audience == client_id);
    if is_ours { Ok(()) } else { Err(TokenError::Unusable("its ID token is for another client")) }
}

/// Checks that `token` belongs to the authorization request with this `nonce`.
///
/// # Errors
/// [`TokenError::Unusable`].
pub fn check_nonce(token: &Secret, nonce: &str) -> Result<(), TokenError> {
    #[derive(Deserialize)]
    struct Claims {
        nonce: String,
    }
    match jwt::claims(token.expose()) {
        Some(Claims { nonce: answered }) if answered == nonce => Ok(()),
        _ => Err(TokenError::Unusable("its ID token is not for this sign-in: it lacks the nonce of the request")),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
    use serde_json::{Value, json};

    use super::*;

    fn token(claims: Value) -> Secret {
        Secret::new(format!("e30.{}.c2ln", BASE64URL.encode(claims.to_string())))
    }

    fn parties(claims: Value) -> Result<(), TokenError> {
        check_parties(&token(claims), "https://idp.example", "sso")
    }

    #[test]
    fn the_issuer_and_the_client() {
        for issuer in ["https://idp.example", "https://idp.example/"] {
            for audience in [json!("sso"), json!(["other", "sso"])] {
                parties(json!({"iss": issuer, "aud": audience})).unwrap();
            }
        }
    }

    /// A token of another provider or client is not used.
    #[test]
    fn id_tokens_of_others_are_refused() {
        for issuer in
            ["https://idp.example.evil", "https://idp.example/tenant", "https://IDP.example", "", "idp.example"]
        {
            parties(json!({"iss": issuer, "aud": "sso"})).unwrap_err();
        }
        for audience in [json!("SSO"), json!(["other"]), json!([]), json!(null), json!({"sso": 1}), json!("sso other")]
        {
            parties(json!({"iss": "https://idp.example", "aud": audience})).unwrap_err();
        }
        for text in ["", "opaque", "e30.e30.c2ln", "e30..a.b.c"] {
            check_parties(&Secret::new(text.to_owned()), "https://idp.example", "sso").unwrap_err();
        }
        // The slash is only excused behind an origin.
        let tenant = token(json!({"iss": "https://idp.example/a/", "aud": "sso"}));
        check_parties(&tenant, "https://idp.example/a", "sso").unwrap_err();
    }

    #[test]
    fn the_nonce_of_the_request_comes_back() {
        check_nonce(&token(json!({"nonce": "n-1"})), "n-1").unwrap();
        for claims in [json!({}), json!({"nonce": null}), json!({"nonce": "n-2"}), json!({"nonce": ["n-1"]})] {
            check_nonce(&token(claims.clone()), "n-1").expect_err(&claims.to_string());
        }
    }
}
