//! What tells one request from another.

use std::{fmt, hash};

use bytes::Bytes;

use crate::mcp::{malformed::Malformed, object};

/// A request's identifier, kept as it was spelled. Two are equal when they mean the same: a server may spell `"a"` as
/// `"\u0061"`, and `1` is not `"1"`.
#[derive(Debug, Clone)]
pub struct Id {
    pub(super) text: Bytes,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Meaning {
    Text(Box<str>),
    Integer(i128),
    /// A number beyond that, or a text that no program could decode: equal only when spelled alike.
    Spelling(Bytes),
}

impl Id {
    /// The id that is `spelled`, in bytes and as text; none for `null`.
    pub(super) fn parse(text: Bytes, spelled: &str) -> Result<Option<Self>, Malformed> {
        let meaning = match spelled.as_bytes().first() {
            Some(b'n') => return Ok(None),
            Some(b'"') => match serde_json::from_str::<Box<str>>(spelled) {
                Ok(decoded) => Meaning::Text(decoded),
                Err(_) => Meaning::Spelling(text.clone()),
            },
            Some(b'-' | b'0'..=b'9') => match spelled.parse() {
                Ok(integer) => Meaning::Integer(integer),
                Err(_) => Meaning::Spelling(text.clone()),
            },
            _ => return Err(Malformed::Message),
        };
        Ok(Some(Self { text, meaning }))
    }

    /// `spelled`, which is a part of `raw`, without a hold on all of that where it is short: large messages are let go, and
    /// changed where they are.
    pub(super) fn part_of(raw: &Bytes, spelled: &str) -> Bytes {
        const SHORT: usize = 128;
        match spelled.len() {
            ..=SHORT => Bytes::copy_from_slice(spelled.as_bytes()),
            _ => raw.slice_ref(spelled.as_bytes()),
        }
    }

    /// The `number`th id of ours. No client or server is known to number its requests so.
    pub fn ours(number: u64) -> Self {
        Self::named(&format!("finmcp-{number}"))
    }

    /// The id that is this number.
    pub fn from_number(number: u64) -> Self {
        Self { text: number.to_string().into(), meaning: Meaning::Integer(number.into()) }
    }

    /// The id that is this text.
    pub fn named(name: &str) -> Self {
        Self { text: object::text(name).into(), meaning: Meaning::Text(name.into()) }
    }

    /// Whether a server that takes numbers and strings for the same may mean `other`: `"2"` or `2.0` for `2`.
    pub fn resembles(&self, other: &Self) -> bool {
        fn bare(id: &Id) -> &[u8] {
            let text = id.text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(&id.text);
            text.strip_suffix(b".0").unwrap_or(text)
        }
        self == other || bare(self) == bare(other)
    }

    /// The id that `json` is, as a member of some other message.
    pub fn from_json(json: &str) -> Option<Self> {
        Self::parse(Bytes::copy_from_slice(json.as_bytes()), json).ok().flatten()
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

impl Eq for Id {}

impl hash::Hash for Id {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.meaning.hash(state);
    }
}

/// The id as it was spelled: JSON.
impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It was cut from text that the parser found to be UTF-8.
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}
