//! Private keys that sign JSON Web Tokens (RFC 7515): a client's key, or a DPoP key.

use std::{str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use serde::Serialize;

use crate::secret::Secret;

/// A signing key: P-256 with ES256, or RSA with PS256 or RS256 (RFC 7518 sections 3.4, 3.5 and 3.3).
#[derive(Debug)]
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    /// What it can sign with, the best first.
    algorithms: &'static [Algorithm],
}

/// Why a private key cannot be used. Never contains the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// There is no key, or it is encrypted.
    #[error("it is not an unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1)")]
    Unreadable,
    /// The key has another algorithm or size.
    #[error("only P-256 (ES256) and RSA (PS256, RS256) keys of 2048 bits or more are supported")]
    Unsupported,
    /// Signing or key generation failed.
    #[error("signing with it failed")]
    Broken,
}

/// A signature algorithm (RFC 7518 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which the FAPI 2.0 Security Profile forbids (section 5.4).
    Rs256,
}

impl PrivateKey {
    /// Parses a key (RFC 5958, RFC 5915, RFC 8017 appendix A.1.2).
    ///
    /// # Errors
    /// Any [`PrivateKeyError`].
    pub fn from_pem(pem: &Secret) -> Result<Self, PrivateKeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| PrivateKeyError::Unreadable)?;
        let key = any_supported_type(&der).map_err(|_| PrivateKeyError::Unsupported)?;
        const KINDS: [&[Algorithm]; 2] = [&[Algorithm::Es256], &[Algorithm::Ps256, Algorithm::Rs256]];
        let signs = |algorithm: &Algorithm| key.choose_scheme(&[algorithm.scheme()]).is_some();
        let algorithms = KINDS.into_iter().find(|algorithms| algorithms.iter().all(signs));
        let algorithms = algorithms.ok_or(PrivateKeyError::Unsupported)?;
        Ok(Self { key, algorithms })
    }

    /// The algorithms that it can sign with, the best first.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        self.algorithms
    }

    /// The coordinates of a P-256 key's public point (SEC 1 section 2.3.3); `None` for an RSA key.
    pub fn point(&self) -> Option<([u8; 32], [u8; 32])> {
        let public = self.key.public_key().filter(|_| self.algorithms == [Algorithm::Es256])?;
        // The uncompressed point is at the end of the DER (RFC 5280 section 4.1).
        let (rest, y) = public.split_last_chunk()?;
        let (rest, x) = rest.split_last_chunk()?;
        (rest.last() == Some(&0x04)).then_some((*x, *y))
    }

    /// The compact serialisation of a signed token (RFC 7515 section 7.1). `header` must name `algorithm`.
    ///
    /// # Errors
    /// [`PrivateKeyError::Broken`].
    pub fn sign(
        &self,
        algorithm: Algorithm,
        header: &impl Serialize,
        claims: &impl Serialize,
    ) -> Result<Secret, PrivateKeyError> {
        let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| BASE64URL.encode(json));
        let broken = |_| PrivateKeyError::Broken;
        let header = part(serde_json::to_vec(header)).map_err(broken)?;
        let claims = part(serde_json::to_vec(claims)).map_err(broken)?;
        let signed = format!("{header}.{claims}");
        let signer = self.key.choose_scheme(&[algorithm.scheme()]).ok_or(PrivateKeyError::Broken)?;
        let signature = signer.sign(signed.as_bytes()).map_err(|_| PrivateKeyError::Broken)?;
        let signature = match algorithm {
            Algorithm::Es256 => fixed(&signature).ok_or(PrivateKeyError::Broken)?.to_vec(),
            Algorithm::Ps256 | Algorithm::Rs256 => signature,
        };
        Ok(Secret::new(format!("{signed}.{}", BASE64URL.encode(signature))))
    }
}

impl Algorithm {
    /// The algorithm's name in headers and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// Whether the FAPI 2.0 Security Profile allows it (section 5.4).
    pub fn is_for_fapi(self) -> bool {
        self != Self::Rs256
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Ps256 => SignatureScheme::RSA_PSS_SHA256,
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
        }
    }
}

impl FromStr for Algorithm {
    type Err = PrivateKeyError;

    fn from_str(name: &str) -> Result<Self, PrivateKeyError> {
        let mut all = [Self::Es256, Self::Ps256, Self::Rs256].into_iter();
        all.find(|algorithm| algorithm.name() == name).ok_or(PrivateKeyError::Unsupported)
    }
}

/// TLS writes a P-256 signature as a DER sequence of two integers (RFC 3279 section 2.2.3), JOSE as two numbers of 32
/// bytes (RFC 7518 section 3.4).
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let [0x30, _, rest @ ..] = der else { return None };
    let mut fixed = [0; 64];
    let mut rest = rest;
    for half in fixed.chunks_exact_mut(32) {
        let [0x02, length, integers @ ..] = rest else { return None };
        let (integer, behind) = integers.split_at_checked(usize::from(*length))?;
        // DER adds a leading zero to keep a number positive, and shortens small numbers.
        let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
        half[32usize.checked_sub(digits.len())?..].copy_from_slice(digits);
        rest = behind;
    }
    Some(fixed)
}

#[cfg(test)]
pub(super) mod tests {
    use ring::signature::{self, KeyPair, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::oauth) fn key(name: &str) -> Secret {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/");
        Secret::new(std::fs::read_to_string(format!("{folder}{name}.pem")).unwrap())
    }

    fn der(name: &str) -> Vec<u8> {
        PrivateKeyDer::from_pem_slice(key(name).expose().as_bytes()).unwrap().secret_der().to_vec()
    }

    pub(in crate::oauth) fn read(part: &str) -> Value {
        serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
    }

    /// t061: the public key verifies the signature.
    #[test]
    fn t061_a_signature() {
        let random = ring::rand::SystemRandom::new();
        let ec = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = signature::EcdsaKeyPair::from_pkcs8(ec, &der("ec-pkcs8"), &random).unwrap();
        let rsa = signature::RsaKeyPair::from_pkcs8(&der("rsa-pkcs8")).unwrap();
        let ec = UnparsedPublicKey::new(
            &signature::ECDSA_P256_SHA256_FIXED as &dyn signature::VerificationAlgorithm,
            ec.public_key().as_ref().to_vec(),
        );
        let rsa = rsa.public_key().as_ref().to_vec();
        let verifier =
            |algorithm: &'static dyn signature::VerificationAlgorithm| UnparsedPublicKey::new(algorithm, rsa.clone());
        let ps = verifier(&signature::RSA_PSS_2048_8192_SHA256);
        let rs = verifier(&signature::RSA_PKCS1_2048_8192_SHA256);
        for (name, algorithm, public) in [
            ("ec-pkcs8", Algorithm::Es256, &ec),
            ("ec-sec1", Algorithm::Es256, &ec),
            ("rsa-pkcs8", Algorithm::Ps256, &ps),
            ("rsa-pkcs1", Algorithm::Ps256, &ps),
            ("rsa-pkcs8", Algorithm::Rs256, &rs),
            ("rsa-pkcs1", Algorithm::Rs256, &rs),
        ] {
            let key = PrivateKey::from_pem(&key(name)).unwrap();
            assert!(key.algorithms().contains(&algorithm));
            let header = json!({"alg": algorithm.name()});
            // Enough repetitions for numbers that begin with a zero.
            for number in 0..if algorithm == Algorithm::Es256 { 600 } else { 2 } {
                let token = key.sign(algorithm, &header, &json!({"number": number})).unwrap();
                let (signed, signature) = token.expose().rsplit_once('.').unwrap();
                public.verify(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();
                let (head, claims) = signed.split_once('.').unwrap();
                assert_eq!((read(head), read(claims)), (header.clone(), json!({"number": number})));
            }
        }
        let ec = PrivateKey::from_pem(&self::key("ec-pkcs8")).unwrap();
        assert!(ec.sign(Algorithm::Ps256, &json!({}), &json!({})).is_err());
    }

    #[test]
    fn keys_that_cannot_be_used() {
        let read = |text: &str| PrivateKey::from_pem(&Secret::new(text.to_owned())).unwrap_err();
        assert_eq!(read(""), PrivateKeyError::Unreadable);
        assert_eq!(read("CANARY"), PrivateKeyError::Unreadable);
        let cut = key("ec-pkcs8").expose().replacen("MI", "MA", 1);
        assert!(matches!(read(&cut), PrivateKeyError::Unsupported | PrivateKeyError::Unreadable));
        assert_eq!(PrivateKey::from_pem(&key("ec-p384")).unwrap_err(), PrivateKeyError::Unsupported);
    }
}
