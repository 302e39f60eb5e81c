//! Splits a JSON-RPC batch (JSON-RPC 2.0 section 6) into its elements, byte for byte.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The most elements that an array may have.
pub const LIMIT: usize = 1000;

/// The elements of the JSON array `text`; `None` if it is not an array or has more than [`LIMIT`] elements.
pub fn split(text: &str) -> Option<Vec<&str>> {
    serde_json::from_str::<Elements<'_>>(text).ok().map(|elements| elements.0)
}

struct Elements<'a>(Vec<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Elements<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "an array of at most {LIMIT} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = array.next_element::<&RawValue>()? {
                    if elements.len() == LIMIT {
                        return Err(serde::de::Error::invalid_length(LIMIT + 1, &self));
                    }
                    elements.push(element.get());
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}
