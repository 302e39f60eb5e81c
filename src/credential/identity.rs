//! What a credential belongs to, and the name of its entry in a store.

use sha2::{Digest, Sha256};

/// The identity of a credential. If any part differs, it is another credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The vendor's environment (`production`, `sandbox`); empty if it has only one.
    pub environment: String,
    /// The authorization server's issuer identifier (RFC 8414 section 2); for a pinned token endpoint without one, the
    /// endpoint's URL.
    pub issuer: String,
    /// The protected resource's identifier (RFC 8707).
    pub resource: String,
    /// The client identifier.
    pub client_id: String,
    /// The account, as the profile names it.
    pub account: String,
}

impl Identity {
    /// The name of its store entry and of its lock: `finmcp-` and a SHA-256 in hexadecimal. Each part is hashed with
    /// its length, so that moving characters from one part to the next changes the name.
    pub fn entry(&self) -> String {
        let mut hash = Sha256::new_with_prefix(b"finmcp credential 1");
        for part in [&self.environment, &self.issuer, &self.resource, &self.client_id, &self.account] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        format!("finmcp-{}", hex::encode(hash.finalize()))
    }
}
