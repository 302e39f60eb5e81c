//! What a client's private key signs its assertions with (docs/decisions/rsa-keys.md).

use crate::oauth::{
    authorization_server::{AuthorizationServer, PushEndpoint},
    private_key::{Algorithm, PrivateKey},
    registration::ClientAuthentication,
};

impl AuthorizationServer {
    /// The algorithms that `key` can sign a client assertion with for this server, the best first; empty if the server
    /// accepts none. An RSA key prefers PS256 among those listed. Without a list it is RS256, which servers should
    /// support (RFC 8414 section 2), unless the server demands FAPI, which forbids it.
    pub fn algorithms_for(&self, key: &PrivateKey) -> Vec<Algorithm> {
        let own = key.algorithms().iter().copied();
        match &self.key_algorithms {
            Some(listed) => own.filter(|algorithm| listed.iter().any(|name| name == algorithm.name())).collect(),
            None if self.demands_fapi() => own.filter(|algorithm| algorithm.is_for_fapi()).collect(),
            None => own.rev().collect(),
        }
    }

    /// Whether the server demands what only the FAPI 2.0 Security Profile does (section 5.3.2.2): pushed requests, from
    /// clients with a key or a certificate.
    fn demands_fapi(&self) -> bool {
        let requires_pushing = matches!(self.push_endpoint(), Ok(Some(PushEndpoint { is_required: true, .. })));
        let is_strong =
            |method| matches!(method, &ClientAuthentication::PrivateKeyJwt | &ClientAuthentication::Certificate);
        requires_pushing && !self.authentication.is_empty() && self.authentication.iter().all(is_strong)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::private_key::tests::key;

    const ISSUER: &str = "https://as.example";

    /// FAPI 2.0 Security Profile section 5.4: an RSA key signs with PS256 wherever the server allows that, and with RS256
    /// only where it has to.
    #[test]
    fn fapi_the_algorithm_of_a_clients_key() {
        use Algorithm::{Es256, Ps256, Rs256};
        let (any, strong) = (json!(["client_secret_basic", "private_key_jwt"]), json!(["private_key_jwt"]));
        let both = json!(["tls_client_auth", "private_key_jwt"]);
        for (methods, pushed, listed, rsa, ec) in [
            (&any, false, json!(["RS256"]), &[Rs256][..], &[][..]),
            (&any, false, json!(["PS256", "ES256"]), &[Ps256], &[Es256]),
            (&any, false, json!(["RS256", "PS256", "ES256"]), &[Ps256, Rs256], &[Es256]),
            (&both, true, json!(["RS256", "PS256"]), &[Ps256, Rs256], &[]),
            (&any, false, json!(["ES256"]), &[], &[Es256]),
            (&any, false, json!([]), &[], &[]),
            (&any, false, json!(null), &[Rs256, Ps256], &[Es256]),
            (&any, true, json!(null), &[Rs256, Ps256], &[Es256]),
            (&strong, false, json!(null), &[Rs256, Ps256], &[Es256]),
            (&strong, true, json!(null), &[Ps256], &[Es256]),
            (&both, true, json!(null), &[Ps256], &[Es256]),
        ] {
            let document = json!({
                "issuer": ISSUER,
                "token_endpoint": format!("{ISSUER}/token"),
                "pushed_authorization_request_endpoint": format!("{ISSUER}/par"),
                "token_endpoint_auth_methods_supported": methods,
                "token_endpoint_auth_signing_alg_values_supported": listed,
                "require_pushed_authorization_requests": pushed,
            });
            let place = ISSUER.parse().unwrap();
            let server = AuthorizationServer::parse(document.to_string().as_bytes(), ISSUER, &place).unwrap();
            for (name, wanted) in [("rsa-pkcs8", rsa), ("rsa-pkcs1", rsa), ("ec-pkcs8", ec)] {
                let key = PrivateKey::from_pem(&key(name)).unwrap();
                assert_eq!(server.algorithms_for(&key), wanted, "{name} {methods} {pushed} {listed}");
            }
        }
        // Of a pinned token endpoint nothing is known.
        let pinned = AuthorizationServer::pinned(None, ISSUER.parse().unwrap());
        assert_eq!(pinned.algorithms_for(&PrivateKey::from_pem(&key("rsa-pkcs8")).unwrap()), [Rs256, Ps256]);
    }
}
