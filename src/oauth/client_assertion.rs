//! The JWT with which a client authenticates (`private_key_jwt`; RFC 7523 section 2.2, OpenID Connect Core 1.0 section
//! 9).

use jiff::{SignedDuration, Timestamp};
use oauth2::CsrfToken;
use serde::Serialize;

use crate::{
    oauth::private_key::{Algorithm, PrivateKey, PrivateKeyError},
    secret::Secret,
};

/// `client_assertion_type` (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion is valid: enough for a slow request and clock skew.
const LIFE: SignedDuration = SignedDuration::from_mins(5);

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
}

/// Creates an assertion of the client `client_id` for the authorization server `issuer`, for a single request. The
/// audience is the issuer identifier: with an endpoint's URL, one server could use an assertion meant for another
/// (draft-ietf-oauth-rfc7523bis section 4).
///
/// # Errors
/// [`PrivateKeyError::Broken`].
pub fn client_assertion(
    key: &PrivateKey,
    algorithm: Algorithm,
    client_id: &str,
    issuer: &str,
    now: Timestamp,
) -> Result<Secret, PrivateKeyError> {
    let header = Header { alg: algorithm.name(), typ: "JWT" };
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: issuer,
        jti: &CsrfToken::new_random().into_secret(),
        iat: now.as_second(),
        exp: (now + LIFE).as_second(),
    };
    key.sign(algorithm, &header, &claims)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::oauth::private_key::tests::{key, read};

    /// t061: an assertion is for one client and one server, short-lived, and used once.
    #[test]
    fn t061_an_assertion() {
        let now = Timestamp::from_second(1_763_600_000).unwrap();
        for (name, algorithm) in
            [("ec-pkcs8", Algorithm::Es256), ("rsa-pkcs8", Algorithm::Ps256), ("rsa-pkcs8", Algorithm::Rs256)]
        {
            let key = PrivateKey::from_pem(&key(name)).unwrap();
            let mut seen = HashSet::new();
            for _ in 0..2 {
                let assertion = client_assertion(&key, algorithm, "me", "https://as.example", now).unwrap();
                let (signed, _) = assertion.expose().rsplit_once('.').unwrap();
                let (header, claims) = signed.split_once('.').unwrap();
                assert_eq!(read(header), json!({"alg": algorithm.name(), "typ": "JWT"}));
                let mut claims = read(claims);
                assert!(seen.insert(claims["jti"].take().to_string()));
                let (iat, exp) = (now.as_second(), now.as_second() + 300);
                let wanted =
                    json!({"iss": "me", "sub": "me", "aud": "https://as.example", "jti": null, "iat": iat, "exp": exp});
                assert_eq!(claims, wanted);
            }
        }
    }
}
