//! A JSON object whose members can be set and removed while all the others stay as they were written.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::bridge::splice::{self, Piece};

/// The members of an object, in their order: each a name and a value, both JSON text.
#[derive(Debug, Clone, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// The value of a member.
#[derive(Debug, Clone)]
enum Value<'a> {
    Text(Cow<'a, str>),
    /// One that is being changed: it may be large, and is not written down before the whole is.
    Edited(Object<'a>),
}

impl<'a> Object<'a> {
    /// Reads `text`; none where it is no object.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of the member `name`; none of one that [`Object::edit`] has changed.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(written, _)| is(written, name)).and_then(|(_, value)| value.text())
    }

    /// The members in their order: names, and values as JSON.
    pub fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let texts = self.0.iter().filter_map(|(written, value)| Some((written, value.text()?)));
        texts.map(|(written, text)| (serde_json::from_str(written).unwrap_or_default(), text))
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the member `name` the value `value`: where it was, or at the end.
    pub fn set(&mut self, name: &str, value: impl Into<Cow<'a, str>>) {
        match self.0.iter_mut().find(|(written, _)| is(written, name)) {
            Some((_, current)) => *current = Value::Text(value.into()),
            None => self.add(name, value),
        }
    }

    /// Adds the member `name`, which it does not have yet.
    pub fn add(&mut self, name: &str, value: impl Into<Cow<'a, str>>) {
        self.0.push((text(name).into(), Value::Text(value.into())));
    }

    /// Removes the members that `unwanted` says yes to, by their names.
    pub fn remove(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.0
            .retain(|(written, _)| serde_json::from_str::<Cow<'_, str>>(written).map_or(true, |name| !unwanted(&name)));
    }

    /// Changes the object that is the member `name`, which comes into being where there is none. Whether it has members
    /// then.
    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Object<'_>)) -> bool {
        let position = self.0.iter().position(|(written, _)| is(written, name)).unwrap_or_else(|| {
            self.add(name, "{}");
            self.0.len() - 1
        });
        let value = &mut self.0[position].1;
        let mut object = match std::mem::replace(value, Value::Text(Cow::Borrowed("{}"))) {
            Value::Edited(object) => object,
            Value::Text(Cow::Borrowed(text)) => Object::parse(text).unwrap_or_default(),
            Value::Text(Cow::Owned(text)) => {
                let mut object = Object::parse(&text).unwrap_or_default();
                edit(&mut object);
                let is_filled = !object.is_empty();
                *value = Value::Text(object.to_string().into());
                return is_filled;
            }
        };
        edit(&mut object);
        let is_filled = !object.is_empty();
        *value = Value::Edited(object);
        is_filled
    }

    /// What `edit` makes of `text`: of which parts that consists. None where it is no object.
    pub fn edited(text: &str, edit: impl FnOnce(&mut Object<'_>)) -> Option<Vec<Piece>> {
        let mut object = Object::parse(text)?;
        edit(&mut object);
        let mut parts = Vec::new();
        object.write(&mut |part| parts.push(part));
        Some(splice::pieces(text, parts.into_iter()))
    }

    /// Writes it down, part by part.
    fn write<'b>(&'b self, take: &mut impl FnMut(&'b str)) {
        take("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                take(",");
            }
            take(name);
            take(":");
            match value {
                Value::Text(text) => take(text),
                Value::Edited(object) => object.write(take),
            }
        }
        take("}");
    }
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Edited(_) => None,
        }
    }
}

/// Whether the name that is `written` as JSON is `name`.
fn is(written: &str, name: &str) -> bool {
    let unquoted = written.get(1..written.len().saturating_sub(1));
    unquoted == Some(name)
        || written.contains('\\') && serde_json::from_str::<Cow<'_, str>>(written).is_ok_and(|decoded| decoded == name)
}

/// The value that `path` leads to in `object`, member by member, where it is neither `false` nor `null`: as JSON.
pub fn found(object: &str, path: &[&str]) -> Option<String> {
    path.iter().try_fold(object.to_owned(), |object, name| {
        Object::parse(&object)?.get(name).filter(|value| !matches!(*value, "false" | "null")).map(str::to_owned)
    })
}

/// `value` as JSON.
pub fn text(value: &str) -> String {
    // A string can always be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// JSON text again.
impl fmt::Display for Object<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcome = Ok(());
        self.write(&mut |part| outcome = outcome.and_then(|()| formatter.write_str(part)));
        outcome
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get().into(), Value::Text(value.get().into())));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_as_it_was_written() {
        let text = r#"{"n":1.10,"a\u0062":"\ud800","z":{ "x" : 1e400 },"a":12345678901234567890123}"#;
        let mut object = Object::parse(text).unwrap();
        assert_eq!(object.to_string(), text);
        assert_eq!((object.get("ab"), object.get("n"), object.get("q")), (Some(r#""\ud800""#), Some("1.10"), None));
        object.set("ab", "2");
        object.set("new", "[]");
        object.remove(|name| name == "n");
        object.edit("z", |z| z.set("y", "0.0"));
        object.edit("made", |made| made.set("it", "1"));
        let edited = r#"{"a\u0062":2,"z":{"x":1e400,"y":0.0},"a":12345678901234567890123,"new":[],"made":{"it":1}}"#;
        assert_eq!(object.to_string(), edited);
    }

    #[test]
    fn only_objects_are_objects() {
        for text in ["", "[]", "1", "null", "{", "{\"a\":1} x"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
        assert_eq!(Object::parse(" {\n} ").unwrap().to_string(), "{}");
    }
}
