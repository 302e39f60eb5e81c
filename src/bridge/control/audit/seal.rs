//! The key that seals a log: without it, no line can be written that looks sealed.

use std::fmt;

use ring::hmac;
use sha2::{Digest, Sha256};

/// The length of a key in bytes.
pub const KEY_LENGTH: usize = 32;

/// The member that a sealed text ends with, up to its value.
const MEMBER: &str = ",\"seal\":\"";

/// The text after the value.
const END: &str = "\"}";

/// A key for HMAC-SHA256, with a name that does not reveal it.
#[derive(Clone)]
pub struct SealKey {
    key: hmac::Key,
    id: String,
}

/// Whether a text is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Not sealed.
    None,
    /// Made with another key, or this machine has no key.
    Unchecked(String),
    /// The seal was made for this text.
    Good,
    /// The seal was made for another text, or without the key.
    Bad,
}

impl SealKey {
    /// The key made of these bytes.
    pub fn new(bytes: &[u8; KEY_LENGTH]) -> Self {
        let id = hex::encode(&Sha256::new_with_prefix(b"finmcp audit seal 1").chain_update(bytes).finalize()[..8]);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, bytes), id }
    }

    /// The name of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `object` with its seal as the last member.
    pub fn seal(&self, object: &str) -> String {
        let body = object.strip_suffix('}').unwrap_or(object);
        format!("{body}{MEMBER}{}:{}{END}", self.id, hex::encode(hmac::sign(&self.key, body.as_bytes())))
    }

    fn verifies(&self, body: &[u8], tag: &[u8]) -> bool {
        hex::decode(tag).is_ok_and(|tag| hmac::verify(&self.key, body, &tag).is_ok())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealKey({})", self.id)
    }
}

/// The key's id and the tag, in hexadecimal.
type Value<'a> = (&'a [u8], &'a [u8]);

/// `text` without its seal, and the value of that seal.
pub(super) fn split(text: &[u8]) -> (&[u8], Option<Value<'_>>) {
    let parts = || {
        let sealed = text.strip_suffix(END.as_bytes())?;
        let start = memchr::memmem::rfind(sealed, MEMBER.as_bytes())?;
        let value = &sealed[start + MEMBER.len()..];
        let colon = memchr::memchr(b':', value)?;
        let (id, tag) = (&value[..colon], &value[colon + 1..]);
        let is_hex = |part: &[u8], length| part.len() == length && part.iter().all(u8::is_ascii_hexdigit);
        (is_hex(id, 16) && is_hex(tag, 64)).then_some((&text[..start], (id, tag)))
    };
    parts().map_or((text, None), |(body, seal)| (body, Some(seal)))
}

/// Checks the seal of `text`.
pub(super) fn check(text: &[u8], key: Option<&SealKey>) -> Seal {
    match (split(text), key) {
        ((_, None), _) => Seal::None,
        ((body, Some((id, tag))), Some(key)) if id == key.id.as_bytes() => {
            if key.verifies(body, tag) {
                Seal::Good
            } else {
                Seal::Bad
            }
        }
        ((_, Some((id, _))), _) => Seal::Unchecked(String::from_utf8_lossy(id).into_owned()),
    }
}
