//! JSON Web Tokens as access tokens (RFC 7519, RFC 9068), signed with Ed25519 (RFC 8037).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::demo::{grant_error::GrantError, random};

/// The claims of an access token. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub client_id: String,
    /// Scope tokens, separated by spaces.
    pub scope: String,
    pub iat: i64,
    pub exp: i64,
    pub jti: String,
    /// The one business it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_id: Option<String>,
    /// The organisation it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The sign-in that it was issued for, which can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

impl Claims {
    /// Whether it has the scope token `needed`.
    pub fn allows(&self, needed: &str) -> bool {
        self.scope.split(' ').any(|token| token == needed)
    }
}

/// An issuer's key, generated at each start.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, GrantError> {
        let seed = random::bytes()?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| GrantError::server_error("no signing key"))
    }

    /// A token with `claims`.
    ///
    /// # Errors
    /// None: the claims are strings and numbers.
    pub fn sign(&self, claims: &Claims) -> Result<String, GrantError> {
        let claims = serde_json::to_vec(claims).map_err(|_| GrantError::server_error("no token"))?;
        let mut token = BASE64URL.encode(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
        token.push('.');
        token += &BASE64URL.encode(claims);
        let signature = BASE64URL.encode(self.0.sign(token.as_bytes()));
        Ok(token + "." + &signature)
    }

    /// The claims of a token that this key signed. The caller checks whether they are valid here and now.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let key = UnparsedPublicKey::new(&ED25519, self.0.public_key());
        key.verify(signed.as_bytes(), &BASE64URL.decode(signature).ok()?).ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_signed_by_the_key_are_valid() {
        let claims = Claims {
            iss: "http://127.0.0.1:1".to_owned(),
            sub: "ada".to_owned(),
            aud: "http://127.0.0.1:1/mcp".to_owned(),
            client_id: "c".to_owned(),
            scope: "mcp mcp:asset_read".to_owned(),
            iat: 1,
            exp: 2,
            jti: "j".to_owned(),
            business_id: None,
            organization: None,
            sid: None,
        };
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = key.sign(&claims).unwrap();
        assert_eq!(key.verify(&token), Some(claims.clone()));
        assert_eq!(other.verify(&token), None);

        let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let wider = Claims { scope: "mcp mcp:asset_content_read".to_owned(), ..claims.clone() };
        let payload = BASE64URL.encode(serde_json::to_vec(&wider).unwrap());
        let unsigned = BASE64URL.encode(r#"{"alg":"none"}"#);
        for forged in [format!("{header}.{payload}.{signature}"), format!("{unsigned}.{payload}."), String::new()] {
            assert_eq!(key.verify(&forged), None, "{forged}");
        }
        assert!(claims.allows("mcp:asset_read"));
        assert!(!claims.allows("asset_read") && !claims.allows(""));
    }
}
