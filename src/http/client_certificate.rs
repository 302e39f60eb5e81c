//! Client certificates for mutual TLS (RFC 8705), and where finmcp shows them.
//!
//! A certificate names its holder, and its key acts for them: it is shown to the authorization server's endpoints and at
//! the origin of the MCP server that it is for, to no other. A connection with a certificate serves no other request.

use std::{
    collections::HashMap,
    fmt::{self, Debug, Formatter},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest, Sha256};
use url::Origin;

use crate::{secret::Secret, server_url::ServerUrl};

/// A certificate chain and its private key.
pub struct ClientCertificate {
    pem: Secret,
    key: Arc<SingleCertAndKey>,
    thumbprint: [u8; 32],
}

/// Why a client certificate cannot be used. Never contains the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientCertificateError {
    #[error("it has no certificate in PEM (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// There is no key, or it is encrypted.
    #[error("it has no unencrypted private key in PEM")]
    NoKey,
    #[error("the private key does not belong to the first certificate")]
    OtherKey,
    #[error("its certificate or key is damaged, or of a kind that is not supported")]
    Unsupported,
}

impl ClientCertificate {
    /// Parses a chain, the client's certificate first, and its private key, in any order.
    ///
    /// # Errors
    /// Any [`ClientCertificateError`].
    pub fn from_pem(pem: Secret) -> Result<Self, ClientCertificateError> {
        let text = pem.expose().as_bytes();
        let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| ClientCertificateError::Unsupported)?;
        let Some(first) = chain.first() else { return Err(ClientCertificateError::NoCertificate) };
        let thumbprint = Sha256::digest(first).into();
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| ClientCertificateError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => ClientCertificateError::OtherKey,
            _ => ClientCertificateError::Unsupported,
        })?;
        Ok(Self { pem, key: Arc::new(key.into()), thumbprint })
    }

    /// The same from two files: the chain, and the private key.
    ///
    /// # Errors
    /// Any [`ClientCertificateError`].
    pub fn with_key(chain: &Secret, key: &Secret) -> Result<Self, ClientCertificateError> {
        Self::from_pem(Secret::new(format!("{}\n{}\n", chain.expose(), key.expose())))
    }

    /// Chain and private key, for the store.
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// The `x5t#S256` that tokens are bound to (RFC 8705 section 3.1).
    pub fn thumbprint(&self) -> String {
        BASE64URL.encode(self.thumbprint)
    }

    /// Whether `pem` has the same private key.
    pub fn has_key(&self, pem: &Secret) -> bool {
        let key = |pem: &Secret| PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok();
        let secret = |key: &PrivateKeyDer<'_>| Secret::new(key.secret_der().to_vec());
        match (key(&self.pem), key(pem)) {
            (Some(ours), Some(theirs)) => secret(&ours).same_as(&secret(&theirs)),
            _ => false,
        }
    }

    /// Presents the certificate during the TLS handshake.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        self.key.clone()
    }

    /// Identifies it among others.
    pub(super) fn id(&self) -> [u8; 32] {
        self.thumbprint
    }
}

impl Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ClientCertificate").field(&self.thumbprint()).finish()
    }
}

/// The certificate for each origin that gets one.
#[derive(Debug, Default)]
pub struct ShownCertificates(Mutex<HashMap<Origin, Arc<ClientCertificate>>>);

impl ShownCertificates {
    /// Shows `certificate` at the origin of `url` from now on, or none.
    pub fn set(&self, url: &ServerUrl, certificate: Option<&Arc<ClientCertificate>>) {
        let mut shown = self.locked();
        match certificate {
            Some(certificate) => drop(shown.insert(url.as_url().origin(), certificate.clone())),
            None if shown.is_empty() => {}
            None => drop(shown.remove(&url.as_url().origin())),
        }
    }

    /// Shows none from now on.
    pub fn clear(&self) {
        self.locked().clear();
    }

    /// The certificate for `url`. A redirect or a metadata document at another origin gets none.
    pub fn at(&self, url: &ServerUrl) -> Option<Arc<ClientCertificate>> {
        let shown = self.locked();
        if shown.is_empty() { None } else { shown.get(&url.as_url().origin()).cloned() }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Origin, Arc<ClientCertificate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
