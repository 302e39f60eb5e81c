//! How a line is linked to the one before: the members at its end.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    bridge::control::audit::seal::{self, SealKey},
    mcp::object,
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The members at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The line's number in the chain.
    pub number: u64,
    /// The digest of the line before.
    pub previous: Hash,
    /// Whether the line has a seal.
    pub is_sealed: bool,
}

/// The additional members of the first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub audit_log: u32,
    /// The chain's name.
    pub chain: String,
}

/// The version of the format.
pub const VERSION: u32 = 1;

/// The members of a link, up to their values.
const NUMBER: &[u8] = b",\"seq\":";
const PREVIOUS: &[u8] = b",\"prev\":\"";

impl Link {
    /// Reads the end of `line`; none if it has no link.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (body, seal) = seal::split(line);
        let body = if seal.is_some() { body } else { body.strip_suffix(b"}")? };
        let (body, digest) = body.strip_suffix(b"\"")?.split_last_chunk::<64>()?;
        let mut previous = [0; 32];
        hex::decode_to_slice(digest, &mut previous).ok()?;
        if digest.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let body = body.strip_suffix(PREVIOUS)?;
        let digits = body.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (start, digits) = body.split_at(body.len() - digits);
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let is_canonical = digits == b"0" || !digits.starts_with(b"0");
        (is_canonical && start.starts_with(b"{") && start.ends_with(NUMBER)).then_some(Self {
            number,
            previous,
            is_sealed: seal.is_some(),
        })
    }

    /// `object`, which is not empty, with this link and the seal as its last members.
    pub fn complete(&self, object: &str, key: Option<&SealKey>) -> String {
        let line =
            with_members(object, &format!("\"seq\":{},\"prev\":\"{}\"", self.number, hex::encode(self.previous)));
        key.map_or_else(|| line.clone(), |key| key.seal(&line))
    }
}

impl Head {
    /// The head in `line`; none if it is not the first line of a file.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// `object`, which is not empty, with this head as its last members.
    pub fn complete(&self, object: &str) -> String {
        with_members(object, &format!("\"audit_log\":{},\"chain\":{}", self.audit_log, object::text(&self.chain)))
    }
}

/// `object`, which is not empty, with `members` as its last ones.
pub fn with_members(object: &str, members: &str) -> String {
    format!("{},{members}}}", object.strip_suffix('}').unwrap_or(object))
}

/// The digest of `line`.
pub fn digest(line: &[u8]) -> Hash {
    Sha256::digest(line).into()
}
