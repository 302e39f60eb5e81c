//! Unguessable values: tokens, codes, identifiers.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::demo::grant_error::GrantError;

/// 32 random bytes.
///
/// # Errors
/// The system has no randomness.
pub fn bytes() -> Result<[u8; 32], GrantError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| GrantError::server_error("no randomness"))?;
    Ok(bytes)
}

/// `prefix` and 43 random characters that are safe in URLs and headers.
///
/// # Errors
/// The system has no randomness.
pub fn token(prefix: &str) -> Result<String, GrantError> {
    Ok(format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes()?)))
}
