//! DPoP keys and proofs (RFC 9449).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use oauth2::CsrfToken;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    oauth::private_key::{Algorithm, PrivateKey, PrivateKeyError},
    secret::Secret,
    server_url::ServerUrl,
};

/// The header of a proof (RFC 9449 section 4.1).
pub const PROOF: HeaderName = HeaderName::from_static("dpop");

/// The header with the server's nonce for the next proof (RFC 9449 section 8.1).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The error code of a server that wants a nonce and has not looked at the rest of the request (RFC 9449 sections 8 and
/// 9).
pub const NONCE_WANTED: &str = "use_dpop_nonce";

/// The longest accepted nonce, in bytes.
const NONCE_LIMIT: usize = 1 << 10;

/// A P-256 key that finmcp generates. It also remembers the servers' latest nonces, in memory only: a server rejects a
/// proof without its nonce and sends a new one.
#[derive(Debug)]
pub struct DpopKey {
    key: PrivateKey,
    pem: Secret,
    public: PublicKey,
    /// The latest nonce of each endpoint, by its `htu`.
    nonces: Mutex<HashMap<String, String>>,
}

/// A public key (RFC 7518 section 6.2.1), its members in the order of RFC 7638 section 3.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct PublicKey {
    crv: &'static str,
    kty: &'static str,
    x: String,
    y: String,
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    jwk: &'a PublicKey,
}

/// RFC 9449 section 4.2.
#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

impl DpopKey {
    ///
    /// # Errors
    /// [`PrivateKeyError::Broken`] if the system has no randomness.
    pub fn generate() -> Result<Self, PrivateKeyError> {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let der = Secret::new(BASE64_STANDARD.encode(der.map_err(|_| PrivateKeyError::Broken)?));
        Self::from_pem(Secret::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            der.expose()
        )))
    }

    /// Parses a key from [`Self::pem`].
    ///
    /// # Errors
    /// Any [`PrivateKeyError`].
    pub fn from_pem(pem: Secret) -> Result<Self, PrivateKeyError> {
        let key = PrivateKey::from_pem(&pem)?;
        let (x, y) = key.point().ok_or(PrivateKeyError::Unsupported)?;
        let public = PublicKey { crv: "P-256", kty: "EC", x: BASE64URL.encode(x), y: BASE64URL.encode(y) };
        Ok(Self { key, pem, public, nonces: Mutex::default() })
    }

    /// The private key, stored with the tokens that are bound to it (PKCS#8 in PEM).
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// The key's thumbprint (RFC 7638), which binds an authorization code to it as `dpop_jkt` (RFC 9449 section 10).
    pub fn thumbprint(&self) -> String {
        self.public.thumbprint()
    }

    /// Whether both are the same key.
    pub fn same_as(&self, other: &Self) -> bool {
        self.public == other.public
    }

    /// A proof for a single request: `method` at `url`, with the access token that it presents.
    ///
    /// # Errors
    /// [`PrivateKeyError::Broken`].
    pub fn proof(
        &self,
        method: &Method,
        url: &ServerUrl,
        token: Option<&Secret>,
        now: Timestamp,
    ) -> Result<HeaderValue, PrivateKeyError> {
        let header = Header { typ: "dpop+jwt", alg: Algorithm::Es256.name(), jwk: &self.public };
        let htu = target(url);
        let claims = Claims {
            jti: &CsrfToken::new_random().into_secret(),
            htm: method.as_str(),
            htu: &htu,
            iat: now.as_second(),
            ath: token.map(|token| BASE64URL.encode(Sha256::digest(token.expose()))),
            nonce: self.nonces.lock().unwrap_or_else(PoisonError::into_inner).get(&htu).cloned(),
        };
        let proof = self.key.sign(Algorithm::Es256, &header, &claims)?;
        let mut proof = HeaderValue::from_str(proof.expose()).map_err(|_| PrivateKeyError::Broken)?;
        proof.set_sensitive(true);
        Ok(proof)
    }

    /// Stores the nonce in a response from `url` for the next proofs (RFC 9449 section 8.2). Returns whether there was
    /// one.
    pub fn store_nonce(&self, url: &ServerUrl, headers: &HeaderMap) -> bool {
        let Some(nonce) = nonce(headers) else { return false };
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).insert(target(url), nonce.to_owned());
        true
    }
}

impl PublicKey {
    fn thumbprint(&self) -> String {
        // Serialising four strings cannot fail.
        BASE64URL.encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
}

/// The `htu` claim: the URL without its query (RFC 9449 section 4.2).
fn target(url: &ServerUrl) -> String {
    let mut target = url.as_url().clone();
    target.set_query(None);
    target.into()
}

/// `1*NQCHAR` (RFC 9449 section 8.1); any other value is ignored.
fn nonce(headers: &HeaderMap) -> Option<&str> {
    let nonce = headers.get(NONCE)?.to_str().ok()?;
    let valid = nonce.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    Some(nonce).filter(|nonce| valid && (1..=NONCE_LIMIT).contains(&nonce.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;
    use crate::oauth::private_key::tests::{key, read};

    const NOW: i64 = 1_763_600_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    fn nonces(value: &str) -> HeaderMap {
        [(NONCE, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    /// The claims of a proof, after checking its signature and header.
    fn claims(key: &DpopKey, method: &Method, url: &ServerUrl, token: Option<&Secret>) -> Value {
        let proof = key.proof(method, url, token, now()).unwrap();
        assert!(proof.is_sensitive());
        let (signed, signature) = proof.to_str().unwrap().rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let header = read(header);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
        let jwk = header["jwk"].as_object().unwrap();
        assert_eq!(jwk.keys().collect::<Vec<_>>(), ["crv", "kty", "x", "y"], "and nothing private");
        let coordinate = |name: &str| BASE64URL.decode(jwk[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        public.verify(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();
        read(claims)
    }

    /// RFC 9449 sections 4.1 and 6.1, and the example of RFC 7638's algorithm there.
    #[test]
    fn the_thumbprint_of_the_rfc() {
        let public = PublicKey {
            crv: "P-256",
            kty: "EC",
            x: "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs".to_owned(),
            y: "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA".to_owned(),
        };
        assert_eq!(public.thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    /// RFC 9449 sections 4.1 and 7.1: the requests and the token of its examples.
    #[test]
    fn the_claims_of_the_rfc() {
        let key = DpopKey::generate().unwrap();
        let mut seen = claims(&key, &Method::POST, &url("https://server.example.com/token"), None);
        assert!(seen["jti"].take().as_str().unwrap().len() >= 16);
        let wanted = json!({"jti": null, "htm": "POST", "htu": "https://server.example.com/token", "iat": NOW});
        assert_eq!(seen, wanted);

        let token = Secret::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU".to_owned());
        let resource = url("https://resource.example.org/protectedresource");
        let seen = claims(&key, &Method::GET, &resource, Some(&token));
        assert_eq!(seen["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        assert_eq!((&seen["htm"], &seen["htu"]), (&json!("GET"), &json!(resource.as_str())));
    }

    /// RFC 9449 section 4.2: `htu` has no query, and no `jti` repeats.
    #[test]
    fn each_proof_is_for_one_request() {
        let key = DpopKey::generate().unwrap();
        let url = url("https://mcp.example/mcp?tenant=1");
        let (first, second) = (claims(&key, &Method::POST, &url, None), claims(&key, &Method::POST, &url, None));
        assert_eq!(first["htu"], "https://mcp.example/mcp");
        assert_ne!(first["jti"], second["jti"]);
    }

    /// RFC 9449 section 8.2: a proof has the latest nonce of its server.
    #[test]
    fn a_nonce_is_sent_to_its_server_only() {
        let key = DpopKey::generate().unwrap();
        let (token, mcp) = (url("https://one.example/token"), url("https://one.example/mcp?x=y"));
        assert!(key.store_nonce(&token, &nonces("old")) && key.store_nonce(&token, &nonces("new")));
        assert_eq!(claims(&key, &Method::POST, &token, None)["nonce"], "new");
        assert!(claims(&key, &Method::POST, &mcp, None).get("nonce").is_none());
        assert!(!key.store_nonce(&mcp, &nonces("its own")) && key.store_nonce(&mcp, &nonces("its-own")));
        assert_eq!(claims(&key, &Method::DELETE, &mcp, None)["nonce"], "its-own");
        assert!(!key.store_nonce(&mcp, &HeaderMap::new()));
        assert_eq!(claims(&key, &Method::GET, &mcp, None)["nonce"], "its-own");
    }

    #[test]
    fn a_key_comes_back_as_it_was() {
        let key = DpopKey::generate().unwrap();
        let again = DpopKey::from_pem(key.pem().clone()).unwrap();
        assert!(again.same_as(&key) && again.thumbprint() == key.thumbprint());
        assert!(!DpopKey::generate().unwrap().same_as(&key));
        assert!(!format!("{key:?}").contains(key.pem().expose().lines().nth(1).unwrap()));
    }

    /// ES256 requires P-256.
    #[test]
    fn other_keys_are_refused() {
        assert!(DpopKey::from_pem(key("ec-sec1")).is_ok());
        for name in ["ec-p384", "rsa-pkcs8"] {
            assert_eq!(DpopKey::from_pem(key(name)).unwrap_err(), PrivateKeyError::Unsupported, "{name}");
        }
    }

    proptest! {
        /// Only a nonce that RFC 9449 section 8.1 allows is sent back.
        #[test]
        fn a_nonce_is_sent_back_unchanged_or_not_at_all(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let Ok(header) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers: HeaderMap = [(NONCE, header)].into_iter().collect();
            let valid = !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte));
            prop_assert_eq!(nonce(&headers).map(str::as_bytes), Some(&value[..]).filter(|_| valid));
        }
    }
}
