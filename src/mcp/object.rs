//! Editing a JSON object's members while all the others keep their exact bytes.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::mcp::splice::{self, Piece};

/// The members of an object in order, each a name and a value as JSON text; and whether an edit failed.
#[derive(Debug, Clone, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>, bool);

#[derive(Debug, Clone)]
enum Value<'a> {
    Text(Cow<'a, str>),
    /// An edited value, serialised only with the whole object because it may be large.
    Edited(Object<'a>),
}

impl<'a> Object<'a> {
    /// Parses `text`; `None` if it is not an object.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of the first member `name`; `None` if [`Object::edit`] has changed it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(written, _)| is(written, name)).and_then(|(_, value)| value.text())
    }

    /// The value of the last member `name`; `None` if [`Object::edit`] has changed it.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(written, _)| is(written, name)).and_then(|(_, value)| value.text())
    }

    /// The members in order, with their values as JSON.
    pub fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let texts = self.0.iter().filter_map(|(written, value)| Some((written, value.text()?)));
        texts.map(|(written, text)| (serde_json::from_str(written).unwrap_or_default(), text))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an edit of this object or a nested one failed, so that the object must not be used.
    pub fn has_failed(&self) -> bool {
        self.1
    }

    /// Sets every member `name` to `value`, or adds one at the end.
    pub fn set(&mut self, name: &str, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        let mut is_there = false;
        for (_, current) in self.0.iter_mut().filter(|(written, _)| is(written, name)) {
            *current = Value::Text(value.clone());
            is_there = true;
        }
        if !is_there {
            self.add(name, value);
        }
    }

    /// Adds the member `name`, which must not exist yet.
    pub fn add(&mut self, name: &str, value: impl Into<Cow<'a, str>>) {
        self.0.push((text(name).into(), Value::Text(value.into())));
    }

    /// Removes the members whose names `unwanted` matches.
    pub fn remove(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.0
            .retain(|(written, _)| serde_json::from_str::<Cow<'_, str>>(written).map_or(true, |name| !unwanted(&name)));
    }

    /// Removes all but the last member `name`, which is the one that most parsers use (RFC 8259 section 4).
    pub fn keep_last(&mut self, name: &str) {
        let mut later = self.0.iter().filter(|(written, _)| is(written, name)).count();
        self.0.retain(|(written, _)| {
            let is_named = is(written, name);
            later -= usize::from(is_named);
            !is_named || later == 0
        });
    }

    /// Edits the nested object `name`, and creates it if it is missing or `null`. The edit fails if the value is not an
    /// object, or if the name occurs twice and so it is unknown which one the receiver will use.
    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Object<'_>)) {
        let mut positions = (0..self.0.len()).filter(|position| is(&self.0[*position].0, name));
        let (first, second) = (positions.next(), positions.next());
        let position = first.unwrap_or_else(|| {
            self.add(name, "null");
            self.0.len() - 1
        });
        let value = &mut self.0[position].1;
        let has_failed = second.is_some() || !value.edit(edit);
        self.1 |= has_failed;
    }

    /// Applies `edit` to `text` and returns the pieces of the result. `None` if `text` is not an object or `edit`
    /// failed.
    pub fn edited(text: &str, edit: impl FnOnce(&mut Object<'_>)) -> Option<Vec<Piece>> {
        let mut object = Object::parse(text)?;
        edit(&mut object);
        if object.has_failed() {
            return None;
        }
        let mut parts = Vec::new();
        object.write(&mut |part| parts.push(part));
        Some(splice::pieces(text, parts.into_iter()))
    }

    /// Serialises the object, part by part.
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

    /// Edits this object, or an empty one that replaces `null`. Returns whether that succeeded.
    fn edit(&mut self, edit: impl FnOnce(&mut Object<'_>)) -> bool {
        match self {
            Self::Edited(object) => {
                edit(object);
                !object.has_failed()
            }
            Self::Text(text) if text == "null" => {
                *self = Self::Edited(Object::default());
                self.edit(edit)
            }
            Self::Text(Cow::Borrowed(text)) => {
                let Some(object) = Object::parse(text) else { return false };
                *self = Self::Edited(object);
                self.edit(edit)
            }
            Self::Text(Cow::Owned(text)) => {
                let Some(mut object) = Object::parse(text) else { return false };
                edit(&mut object);
                let (edited, has_failed) = (object.to_string(), object.has_failed());
                *text = edited;
                !has_failed
            }
        }
    }
}

/// Whether the JSON string `written` equals `name`.
fn is(written: &str, name: &str) -> bool {
    let unquoted = written.get(1..written.len().saturating_sub(1));
    unquoted == Some(name)
        || written.contains('\\') && serde_json::from_str::<Cow<'_, str>>(written).is_ok_and(|decoded| decoded == name)
}

/// The JSON value at `path` in `object`, unless it is `false` or `null`.
pub fn found(object: &str, path: &[&str]) -> Option<String> {
    path.iter().try_fold(object.to_owned(), |object, name| {
        Object::parse(&object)?.get(name).filter(|value| !matches!(*value, "false" | "null")).map(str::to_owned)
    })
}

/// `value` as JSON.
pub fn text(value: &str) -> String {
    // Serialising a string cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

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
                Ok(Object(members, false))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_members_keep_their_bytes() {
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

    /// a16: a failed edit is reported at any depth.
    #[test]
    fn a16_a_failed_edit_is_reported() {
        let edited = |text: &str| {
            let mut object = Object::parse(text).unwrap();
            object.edit("a", |a| a.edit("b", |b| b.set("c", "1")));
            (object.has_failed(), object.to_string())
        };
        let failed = |text: &str| (true, text.to_owned());
        for text in [r#"{"a":[1]}"#, r#"{"a":"x"}"#, r#"{"a":{"b":7}}"#, r#"{"a":{},"\u0061":{}}"#] {
            assert_eq!(edited(text), failed(text));
        }
        for text in ["{}", r#"{"a":null}"#, r#"{"a":{}}"#, r#"{"a":{"b":null}}"#] {
            assert_eq!(edited(text), (false, r#"{"a":{"b":{"c":1}}}"#.to_owned()), "{text}");
        }
        let mut twice = Object::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        twice.set("a", "4");
        assert_eq!((twice.has_failed(), twice.to_string()), (false, r#"{"a":4,"b":2,"a":4}"#.to_owned()));
    }

    #[test]
    fn keep_last_removes_earlier_members() {
        let mut object = Object::parse(r#"{"a":1,"b":1,"\u0061":2,"a":3,"c":1,"b":2}"#).unwrap();
        object.keep_last("a");
        object.keep_last("d");
        assert_eq!(object.to_string(), r#"{"b":1,"a":3,"c":1,"b":2}"#);
    }

    #[test]
    fn only_objects_are_objects() {
        for text in ["", "[]", "1", "null", "{", "{\"a\":1} x"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
        assert_eq!(Object::parse(" {\n} ").unwrap().to_string(), "{}");
    }
}
