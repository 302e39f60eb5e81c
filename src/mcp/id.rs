//! JSON-RPC request ids.

use std::{fmt, hash};

use bytes::Bytes;

use crate::mcp::{malformed::Malformed, object};

/// A request id, kept as it was written. Ids are equal if their values are: a server may write `"a"` as `"\u0061"`, but
/// `1` is not `"1"`.
#[derive(Debug, Clone)]
pub struct Id {
    pub(super) text: Bytes,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Meaning {
    Text(Box<str>),
    Integer(i128),
    /// Any other number, or a string that cannot be decoded: equal only if written the same way.
    Spelling(Bytes),
}

impl Id {
    /// Parses an id, given as bytes and as text; `None` for `null`.
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

    /// `spelled`, a part of `raw`, as bytes. A short id is copied, so that it does not keep a large message in memory
    /// and the message can be edited in place.
    pub(super) fn part_of(raw: &Bytes, spelled: &str) -> Bytes {
        const SHORT: usize = 128;
        match spelled.len() {
            ..=SHORT => Bytes::copy_from_slice(spelled.as_bytes()),
            _ => raw.slice_ref(spelled.as_bytes()),
        }
    }

    /// The `number`th id for finmcp's requests. No client or server is known to use this form.
    pub fn own(number: u64) -> Self {
        Self::named(&format!("finmcp-{number}"))
    }

    pub fn from_number(number: u64) -> Self {
        Self { text: number.to_string().into(), meaning: Meaning::Integer(number.into()) }
    }

    pub fn named(name: &str) -> Self {
        Self { text: object::text(name).into(), meaning: Meaning::Text(name.into()) }
    }

    /// Whether a server that confuses numbers and strings may have written `other` as this id: `"2"` or `2.0` for `2`.
    pub fn resembles(&self, other: &Self) -> bool {
        fn bare(id: &Id) -> &[u8] {
            let text = id.text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(&id.text);
            text.strip_suffix(b".0").unwrap_or(text)
        }
        self == other || bare(self) == bare(other)
    }

    /// Parses an id in a member of another message.
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

/// The id as JSON, as it was written.
impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The parser has checked that it is UTF-8.
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}
