//! The key that an access token is bound to, as its `cnf` claim says (RFC 7800 section 3.1).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    http::client_certificate::ClientCertificate,
    oauth::{dpop::DpopKey, jwt},
};

/// A binding to a key that the client does not have. With such a token the client could not do anything, or it is the
/// token of another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForeignBinding {
    #[error("another certificate than this client's")]
    OtherCertificate,
    #[error("a client certificate, but this client has none")]
    NoCertificate,
    #[error("another DPoP key than the one of this sign-in")]
    OtherKey,
    #[error("a DPoP key, but this sign-in has none")]
    NoKey,
}

impl ForeignBinding {
    /// What `token` is bound to, unless that is `certificate` (RFC 8705 section 3.1) or `key` (RFC 9449 section 6.1).
    /// `None` for an opaque token too: only the servers know its binding.
    pub fn of(token: &str, certificate: Option<&ClientCertificate>, key: Option<&DpopKey>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            cnf: Map<String, Value>,
        }
        let Claims { cnf } = jwt::claims(token)?;
        let certificate = certificate.map(ClientCertificate::thumbprint);
        let key = key.map(DpopKey::thumbprint);
        let is_foreign = |member: &str, own: &Option<String>| {
            cnf.get(member).is_some_and(|thumbprint| own.is_none() || thumbprint.as_str() != own.as_deref())
        };
        match (is_foreign("x5t#S256", &certificate), is_foreign("jkt", &key)) {
            (true, _) if certificate.is_some() => Some(Self::OtherCertificate),
            (true, _) => Some(Self::NoCertificate),
            (_, true) if key.is_some() => Some(Self::OtherKey),
            (_, true) => Some(Self::NoKey),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    fn certificate() -> ClientCertificate {
        let own = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let pem = format!("{}{}", own.cert.pem(), own.signing_key.serialize_pem());
        ClientCertificate::from_pem(Secret::new(pem)).unwrap()
    }

    /// t050: a JWT that is bound to another client's key is refused, and everything else is left to the servers.
    #[test]
    fn t050_a_token_bound_to_the_key_of_another() {
        use ForeignBinding::{NoCertificate, NoKey, OtherCertificate, OtherKey};
        let (own, other) = (certificate(), certificate());
        let (key, other_key) = (DpopKey::generate().unwrap(), DpopKey::generate().unwrap());
        let (x5t, jkt) = (own.thumbprint(), key.thumbprint());
        for (cnf, with_both, with_none) in [
            (json!(null), None, None),
            (json!({}), None, None),
            (json!({"jwk": {}, "kid": "x"}), None, None),
            (json!({"x5t#S256": x5t}), None, Some(NoCertificate)),
            (json!({"jkt": jkt}), None, Some(NoKey)),
            (json!({"x5t#S256": x5t, "jkt": jkt}), None, Some(NoCertificate)),
            (json!({"x5t#S256": other.thumbprint()}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"x5t#S256": other.thumbprint(), "jkt": jkt}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"x5t#S256": x5t, "jkt": other_key.thumbprint()}), Some(OtherKey), Some(NoCertificate)),
            (json!({"x5t#S256": jkt, "jkt": x5t}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"x5t#S256": x5t.to_uppercase()}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"jkt": format!("{jkt}=")}), Some(OtherKey), Some(NoKey)),
            (json!({"x5t#S256": ""}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"x5t#S256": [x5t]}), Some(OtherCertificate), Some(NoCertificate)),
            (json!({"jkt": null}), Some(OtherKey), Some(NoKey)),
        ] {
            let token = format!("e30.{}.c2ln", BASE64URL.encode(json!({"sub": "x", "cnf": cnf}).to_string()));
            assert_eq!(ForeignBinding::of(&token, Some(&own), Some(&key)), with_both, "{cnf}");
            assert_eq!(ForeignBinding::of(&token, None, None), with_none, "{cnf}");
        }
        for opaque in ["opaque", "", "e30.e30.c2ln", "a.b.c", "e30.bm90IGpzb24.c2ln"] {
            assert_eq!(ForeignBinding::of(opaque, Some(&own), Some(&key)), None, "{opaque}");
        }
    }
}
