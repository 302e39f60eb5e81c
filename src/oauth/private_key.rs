//! Private keys that sign JSON Web Tokens (RFC 7515): a client's key, or a DPoP key.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use serde::Serialize;

use crate::secret::Secret;

/// A signing key: P-256 with ES256, or RSA with RS256 (RFC 7518 sections 3.4 and 3.3).
#[derive(Debug)]
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    algorithm: Algorithm,
}

/// Why a private key cannot be used. Never contains the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// There is no key, or it is encrypted.
    #[error("it is not an unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1)")]
    Unreadable,
    /// The key has another algorithm or size.
    #[error("only P-256 (ES256) and RSA (RS256) keys of 2048 bits or more are supported")]
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
    /// RSASSA-PKCS1-v1_5 with SHA-256.
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
        let algorithm = [Algorithm::Es256, Algorithm::Rs256].into_iter();
        let mut algorithm = algorithm.filter(|algorithm| key.choose_scheme(&[algorithm.scheme()]).is_some());
        let algorithm = algorithm.next().ok_or(PrivateKeyError::Unsupported)?;
        Ok(Self { key, algorithm })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The coordinates of a P-256 key's public point (SEC 1 section 2.3.3); `None` for an RSA key.
    pub fn point(&self) -> Option<([u8; 32], [u8; 32])> {
        let public = self.key.public_key().filter(|_| self.algorithm == Algorithm::Es256)?;
        // The uncompressed point is at the end of the DER (RFC 5280 section 4.1).
        let (rest, y) = public.split_last_chunk()?;
        let (rest, x) = rest.split_last_chunk()?;
        (rest.last() == Some(&0x04)).then_some((*x, *y))
    }

    /// The compact serialisation of a signed token (RFC 7515 section 7.1). `header` must name the algorithm.
    ///
    /// # Errors
    /// [`PrivateKeyError::Broken`].
    pub fn sign(&self, header: &impl Serialize, claims: &impl Serialize) -> Result<Secret, PrivateKeyError> {
        let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| BASE64URL.encode(json));
        let broken = |_| PrivateKeyError::Broken;
        let header = part(serde_json::to_vec(header)).map_err(broken)?;
        let claims = part(serde_json::to_vec(claims)).map_err(broken)?;
        let signed = format!("{header}.{claims}");
        let signer = self.key.choose_scheme(&[self.algorithm.scheme()]).ok_or(PrivateKeyError::Broken)?;
        let signature = signer.sign(signed.as_bytes()).map_err(|_| PrivateKeyError::Broken)?;
        let signature = match self.algorithm {
            Algorithm::Es256 => fixed(&signature).ok_or(PrivateKeyError::Broken)?.to_vec(),
            Algorithm::Rs256 => signature,
        };
        Ok(Secret::new(format!("{signed}.{}", BASE64URL.encode(signature))))
    }
}

impl Algorithm {
    /// The algorithm's name in headers and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Self::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
        }
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
        let rsa = UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256 as &dyn signature::VerificationAlgorithm,
            rsa.public_key().as_ref().to_vec(),
        );
        for (name, algorithm, public) in [
            ("ec-pkcs8", "ES256", &ec),
            ("ec-sec1", "ES256", &ec),
            ("rsa-pkcs8", "RS256", &rsa),
            ("rsa-pkcs1", "RS256", &rsa),
        ] {
            let key = PrivateKey::from_pem(&key(name)).unwrap();
            assert_eq!(key.algorithm().name(), algorithm);
            // Enough repetitions for numbers that begin with a zero.
            for number in 0..if algorithm == "ES256" { 600 } else { 2 } {
                let token = key.sign(&json!({"alg": algorithm}), &json!({"number": number})).unwrap();
                let (signed, signature) = token.expose().rsplit_once('.').unwrap();
                public.verify(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();
                let (header, claims) = signed.split_once('.').unwrap();
                assert_eq!((read(header), read(claims)), (json!({"alg": algorithm}), json!({"number": number})));
            }
        }
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
