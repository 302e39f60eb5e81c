//! The Identity Assertion JWT Authorization Grant (ID-JAG), with which an identity provider vouches for a user at one
//! authorization server (draft-ietf-oauth-identity-assertion-authz-grant; MCP "Enterprise-Managed Authorization").

use serde::Deserialize;

use crate::{
    oauth::{error::TokenError, jwt::is_jwt, scope::Scope},
    secret::Secret,
};

/// `grant_type` (RFC 8693 section 2.1).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `requested_token_type`.
pub const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// The `subject_token_type`: an OpenID Connect ID Token (RFC 8693 section 3).
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An ID-JAG, which its authorization server accepts as a grant once.
#[derive(Debug)]
pub struct IdJag {
    /// The JWT to use as the assertion (RFC 7523 section 2.1).
    pub assertion: Secret,
    /// The scope that the identity provider allows; `None` if it equals the requested one.
    pub scope: Option<Scope>,
}

/// RFC 8693 section 2.2.1. The member is called `access_token` "for historical reasons", but is not an access token.
#[derive(Deserialize)]
struct Document {
    access_token: String,
    issued_token_type: Option<String>,
    scope: Option<String>,
}

impl IdJag {
    /// Parses the response to a token exchange.
    ///
    /// # Errors
    /// [`TokenError::Unusable`] if the response contains another kind of token: an access token must not be sent to
    /// another server.
    pub fn parse(body: &[u8]) -> Result<Self, TokenError> {
        let Document { access_token, issued_token_type, scope } = serde_json::from_slice(body)
            .map_err(|_| TokenError::Unusable("it is not JSON, or has no `access_token`, or a duplicate member"))?;
        let assertion = Secret::new(access_token);
        if issued_token_type.as_deref() != Some(ID_JAG) {
            return Err(TokenError::Unusable("its `issued_token_type` is not an ID-JAG"));
        }
        if !is_jwt(assertion.expose()) {
            return Err(TokenError::Unusable("its `access_token` is not a JWT"));
        }
        let scope = scope.and_then(|scope| scope.parse().ok()).filter(|scope: &Scope| !scope.is_empty());
        Ok(Self { assertion, scope })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn with(member: &str, value: Value) -> Result<IdJag, TokenError> {
        let mut document = json!({
            "issued_token_type": ID_JAG, "access_token": "e30.e30.c2ln", "token_type": "N_A",
            "scope": "chat.read chat.history", "expires_in": 300,
        });
        document[member] = value;
        IdJag::parse(document.to_string().as_bytes())
    }

    /// The example of MCP "Enterprise-Managed Authorization" section 4.2.
    #[test]
    fn an_answer() {
        let grant = with("x", json!(1)).unwrap();
        assert_eq!(grant.assertion.expose(), "e30.e30.c2ln");
        assert_eq!(grant.scope.unwrap().to_string(), "chat.history chat.read");
        for scope in [json!(null), json!("")] {
            assert!(with("scope", scope).unwrap().scope.is_none());
        }
    }

    /// t050: any other kind of token is not sent on.
    #[test]
    fn t050_other_tokens_are_not_passed_on() {
        for kind in [json!("urn:ietf:params:oauth:token-type:access_token"), json!(ID_TOKEN), json!(null), json!(1)] {
            assert!(with("issued_token_type", kind.clone()).is_err(), "{kind}");
        }
        for token in [json!("opaque"), json!(""), json!(null), json!("e30.e30.c2ln&x=y")] {
            assert!(with("access_token", token.clone()).is_err(), "{token}");
        }
        let twice =
            format!(r#"{{"access_token":"e30.e30.a","issued_token_type":"{ID_JAG}","access_token":"e30.e30.b"}}"#);
        assert!(IdJag::parse(twice.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(IdJag::parse(&body).is_err());
        }
    }
}
