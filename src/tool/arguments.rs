//! Words of a command line as the arguments of a tool: `name=value`, typed by the tool's schema, or `name:=JSON`.
//!
//! A number is passed on as it was typed: `1.10` stays `1.10`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    mcp::object::{self, Object},
    tool::{
        Tool,
        parameter::{Choice, Parameter, Shape, Type},
    },
};

/// Why words are no arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Neither `name=value` nor `name:=JSON`.
    #[error("{0:?} is not NAME=VALUE")]
    Unnamed(String),
    /// The tool takes none of that name.
    #[error("{tool} takes no {name:?}")]
    Unknown {
        /// The tool.
        tool: String,
        /// What was typed.
        name: String,
        /// What it does take.
        known: Vec<String>,
    },
    /// The same name again, where one value is wanted.
    #[error("{0} is given twice")]
    Twice(String),
    /// What the tool cannot do without.
    #[error("{tool} needs {}", .missing.join(", "))]
    Missing {
        /// The tool.
        tool: String,
        /// The names.
        missing: Vec<String>,
    },
    /// A value of another type than the schema allows.
    #[error("{name} must be {wanted}, not {value:?}")]
    Mistyped {
        /// Whose value.
        name: String,
        /// What it can be.
        wanted: String,
        /// What was typed.
        value: String,
    },
    /// What stands behind `:=` is not JSON.
    #[error("{name} is not JSON: {problem}")]
    Malformed {
        /// Whose value.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What came on stdin is not JSON.
    #[error("what came on stdin is not JSON: {0}")]
    Unreadable(String),
    /// Arguments that came as a whole and are no object.
    #[error("the arguments are not a JSON object")]
    NoObject,
}

/// The arguments of `tool` that `words` say, as a JSON object.
///
/// # Errors
/// Any [`ArgumentError`].
pub fn typed(tool: &Tool, words: &[String]) -> Result<String, ArgumentError> {
    let mut arguments = Object::default();
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for word in words {
        let named = word.split_once('=').filter(|(name, _)| !matches!(*name, "" | ":"));
        let (name, value) = named.ok_or_else(|| ArgumentError::Unnamed(word.clone()))?;
        if let Some(name) = name.strip_suffix(':') {
            set(&mut arguments, name, json(name, value)?.to_owned())?;
            continue;
        }
        let parameter = tool.parameters.iter().find(|parameter| parameter.name == name);
        let shape = match parameter {
            Some(parameter) => &parameter.shape,
            None if tool.is_open => &Shape::default(),
            None => return Err(unknown(tool, name)),
        };
        let mistyped =
            |wanted: String| ArgumentError::Mistyped { name: name.to_owned(), wanted, value: value.to_owned() };
        let item = shape.items.as_deref().filter(|_| shape.types.contains(&Type::Array));
        match item {
            // A list may be given item by item.
            Some(item) if !value.trim_start().starts_with('[') => {
                if arguments.get(name).is_some() && !lists.contains_key(name) {
                    return Err(ArgumentError::Twice(name.to_owned()));
                }
                let list = lists.entry(name).or_default();
                list.push(item.read(value).ok_or_else(|| mistyped(item.words()))?);
                arguments.set(name, format!("[{}]", list.join(",")));
            }
            _ => set(&mut arguments, name, shape.read(value).ok_or_else(|| mistyped(shape.words()))?)?,
        }
    }
    let given = |parameter: &&Parameter| arguments.get(&parameter.name).is_some();
    let missing = tool.parameters.iter().filter(|parameter| parameter.is_required && !given(parameter));
    let missing: Vec<String> = missing.map(|parameter| parameter.name.clone()).collect();
    if missing.is_empty() {
        Ok(arguments.to_string())
    } else {
        Err(ArgumentError::Missing { tool: tool.name.clone(), missing })
    }
}

/// Arguments that came as a whole: a JSON object, as it was written.
///
/// # Errors
/// [`ArgumentError::Unreadable`] or [`ArgumentError::NoObject`].
pub fn whole(text: &str) -> Result<&str, ArgumentError> {
    let text = text.trim();
    serde_json::from_str::<&RawValue>(text).map_err(|problem| ArgumentError::Unreadable(problem.to_string()))?;
    Object::parse(text).map(|_| text).ok_or(ArgumentError::NoObject)
}

fn set(arguments: &mut Object<'_>, name: &str, value: String) -> Result<(), ArgumentError> {
    if arguments.get(name).is_some() {
        return Err(ArgumentError::Twice(name.to_owned()));
    }
    arguments.set(name, value);
    Ok(())
}

fn json<'a>(name: &str, text: &'a str) -> Result<&'a str, ArgumentError> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text),
        Err(problem) => Err(ArgumentError::Malformed { name: name.to_owned(), problem: problem.to_string() }),
    }
}

fn unknown(tool: &Tool, name: &str) -> ArgumentError {
    let known = tool.parameters.iter().map(|parameter| parameter.name.clone()).collect();
    ArgumentError::Unknown { tool: tool.name.clone(), name: name.to_owned(), known }
}

impl Shape {
    /// What was typed as JSON that this shape allows; none where it allows no such thing.
    pub fn read(&self, typed: &str) -> Option<String> {
        if !self.choices.is_empty() {
            let chosen = |choice: &&Choice| choice.word() == typed || choice.title.as_deref() == Some(typed);
            return self.choices.iter().find(chosen).map(|choice| choice.value.to_string());
        }
        let value = typed.trim();
        let kind = serde_json::from_str::<&RawValue>(value).ok().and_then(|json| kind(json.get()));
        // A text stays a text where texts are allowed, unless the schema names the other type, too. That it may be `null`
        // does not count: what a script has not set must not take a condition away.
        let kind = kind.filter(|kind| *kind != Type::Null || !self.allows(Type::String));
        match kind {
            Some(kind) if kind != Type::String && self.names(kind) => Some(value.to_owned()),
            Some(Type::String) if !self.allows(Type::String) => None,
            _ if self.allows(Type::String) => Some(object::text(typed)),
            _ => None,
        }
    }

    /// Whether the schema names this type; a whole number is a number, too (JSON Schema validation, section 6.1.1).
    fn names(&self, kind: Type) -> bool {
        self.types.contains(&kind) || kind == Type::Integer && self.types.contains(&Type::Number)
    }
}

/// The type of a JSON text.
fn kind(json: &str) -> Option<Type> {
    Some(match json.as_bytes().first()? {
        b'"' => Type::String,
        b'{' => Type::Object,
        b'[' => Type::Array,
        b't' | b'f' => Type::Boolean,
        b'n' => Type::Null,
        _ if is_whole(json) => Type::Integer,
        _ => Type::Number,
    })
}

/// Whether a number has no fraction: `1` and `-1.0`, but nothing with an exponent.
fn is_whole(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    fraction.bytes().all(|digit| digit == b'0') && whole.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool() -> Tool {
        let schema = json!({
            "type": "object",
            "properties": {
                "from": {"type": "string", "format": "date"},
                "amount": {"type": "number"},
                "count": {"type": "integer"},
                "dry": {"type": "boolean"},
                "status": {"enum": ["open", "paid"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "sums": {"type": "array", "items": {"type": "integer"}},
                "note": {"type": ["string", "null"]},
                "id": {"type": ["integer", "string"]},
                "due": {"type": ["integer", "null"]},
                "free": {},
                "nested": {"type": "object"},
            },
            "required": ["from"],
        });
        Tool::parse(&json!({"name": "t", "inputSchema": schema}).to_string()).unwrap()
    }

    fn typed_words(words: &[&str]) -> Result<String, ArgumentError> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        typed(&tool(), &[vec!["from=x".to_owned()], words].concat())
            .map(|text| text.replacen(r#""from":"x""#, "", 1).replacen("{,", "{", 1))
    }

    #[test]
    fn values_are_what_the_schema_says() {
        for (word, expected) in [
            ("amount=1.10", r#"{"amount":1.10}"#),
            ("amount=12345678901234567890123", r#"{"amount":12345678901234567890123}"#),
            ("count=-3", r#"{"count":-3}"#),
            ("count=3.0", r#"{"count":3.0}"#),
            ("dry=true", r#"{"dry":true}"#),
            ("status=paid", r#"{"status":"paid"}"#),
            ("tags=a,b", r#"{"tags":["a,b"]}"#),
            (r#"tags=["a","b"]"#, r#"{"tags":["a","b"]}"#),
            ("note=5", r#"{"note":"5"}"#),
            ("note=null", r#"{"note":"null"}"#),
            ("note:=null", r#"{"note":null}"#),
            ("due=null", r#"{"due":null}"#),
            ("note=", r#"{"note":""}"#),
            ("note= a=b ", r#"{"note":" a=b "}"#),
            ("id=7", r#"{"id":7}"#),
            ("id=INV-7", r#"{"id":"INV-7"}"#),
            ("free=7", r#"{"free":"7"}"#),
            ("free:=7", r#"{"free":7}"#),
            (r#"nested={"a": 1.10}"#, r#"{"nested":{"a": 1.10}}"#),
            ("other:=[1]", r#"{"other":[1]}"#),
        ] {
            assert_eq!(typed_words(&[word]).as_deref(), Ok(expected), "{word}");
        }
        assert_eq!(typed_words(&["sums=1", "sums=2", "sums=3"]).as_deref(), Ok(r#"{"sums":[1,2,3]}"#));
    }

    #[test]
    fn what_the_schema_does_not_allow_is_said() {
        for (word, expected) in [
            ("amount=1,10", "amount must be number, not \"1,10\""),
            ("amount=\"1\"", "amount must be number, not \"\\\"1\\\"\""),
            ("count=1.5", "count must be whole number, not \"1.5\""),
            ("count=1e3", "count must be whole number, not \"1e3\""),
            ("dry=yes", "dry must be true|false, not \"yes\""),
            ("status=late", "status must be open|paid, not \"late\""),
            ("sums=x", "sums must be whole number, not \"x\""),
            ("nested=a", "nested must be JSON object, not \"a\""),
            ("form=2025", "t takes no \"form\""),
            ("2025", "\"2025\" is not NAME=VALUE"),
            ("=2025", "\"=2025\" is not NAME=VALUE"),
            (":=2025", "\":=2025\" is not NAME=VALUE"),
            ("from=y", "from is given twice"),
            ("tags:=1 ", "tags is given twice"),
            ("tags=[]", "tags is given twice"),
            ("free:=x", "free is not JSON: expected value at line 1 column 1"),
        ] {
            let words = if word.starts_with("tags") { vec![word, "tags=a"] } else { vec![word] };
            assert_eq!(typed_words(&words).unwrap_err().to_string(), expected, "{word}");
        }
        assert_eq!(typed_words(&["tags=a", "tags=[]"]), Err(ArgumentError::Twice("tags".to_owned())));
        assert_eq!(typed(&tool(), &[]).unwrap_err().to_string(), "t needs from");
    }

    #[test]
    fn arguments_as_a_whole_stay_as_they_are() {
        assert_eq!(whole(" {\"a\": 1.10,\n\"a\": 2}\n"), Ok("{\"a\": 1.10,\n\"a\": 2}"));
        assert_eq!(whole("[]"), Err(ArgumentError::NoObject));
        assert!(matches!(whole("{"), Err(ArgumentError::Unreadable(_))));
    }
}
