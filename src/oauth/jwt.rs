//! The unverified claims of a JSON Web Token (RFC 7519). They are hints, never a basis for granting access.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

/// Whether `text` is a signed (RFC 7515 section 7.1) or encrypted (RFC 7516 section 7.1) JWT: parts in base64url, the
/// first of which is a JSON object. Guards against sending a file of another kind.
pub fn is_jwt(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let is_part = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_object = |json: Vec<u8>| serde_json::from_slice::<serde_json::Map<_, _>>(&json).is_ok();
    let ends_well = parts.last().is_some_and(|part| !part.is_empty());
    matches!(parts.len(), 3 | 5)
        && ends_well
        && parts.iter().all(is_part)
        && BASE64URL.decode(parts[0]).is_ok_and(is_object)
}

/// The `exp` claim (RFC 7519 section 4.1.4) of a signed token.
pub fn expiry(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let Claims { exp } = claims(token)?;
    Timestamp::from_second(exp as i64).ok()
}

/// The `aud` claim (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// All audiences.
    pub fn into_texts(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }
}

/// The claims of a signed token; `None` if it is not one or its claims do not match `T`.
pub fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7519 section 3.1.
    const EXAMPLE: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn the_example_of_the_rfc() {
        assert!(is_jwt(EXAMPLE));
        assert_eq!(expiry(EXAMPLE), Timestamp::from_second(1_300_819_380).ok());
    }

    #[test]
    fn other_texts_are_not_jwts() {
        let unsigned = &EXAMPLE[..=EXAMPLE.rfind('.').unwrap()];
        let key = include_str!("../../tests/fixtures/keys/ec-pkcs8.pem");
        for text in
            ["", "..", "a.b.c", "e30", "e30.e30", "e30.e30.e30.e30", "bnVsbA.e30.c", "e30.e30.c ", unsigned, key]
        {
            assert!(!is_jwt(text), "{text}");
        }
        // Encrypted to a shared key: the second part is empty.
        assert!(is_jwt("e30..c.d.e"));
    }

    proptest! {
        #[test]
        fn only_what_is_safe_in_a_form_and_a_header_passes(text in r#"(e30|[ -~]{0,6})(\.[ -~]{0,6}){0,5}"#) {
            let safe = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            prop_assert!(!is_jwt(&text) || (safe && text.starts_with("e")));
            expiry(&text);
        }
    }
}
