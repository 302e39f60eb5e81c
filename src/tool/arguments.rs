//! Converts words of the command line to a tool's arguments: `name=value`, typed by the tool's schema, or `name:=JSON`.
//!
//! Numbers stay as typed: `1.10` stays `1.10`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    mcp::object::{self, Object},
    tool::{
        Tool,
        parameter::{Choice, Parameter, Shape, Type},
    },
};

/// Why finmcp cannot convert the arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Neither `name=value` nor `name:=JSON`.
    #[error("invalid argument {0:?}: expected NAME=VALUE")]
    Unnamed(String),
    /// The tool has no argument of that name.
    #[error("{tool} has no argument {name:?}")]
    Unknown {
        tool: String,
        /// The name on the command line.
        name: String,
        /// The arguments that the tool has.
        known: Vec<String>,
    },
    /// The same name twice, for an argument that is not a list.
    #[error("duplicate argument {0}")]
    Twice(String),
    /// Required arguments are missing.
    #[error("{tool} is missing {}: {}", if .missing.len() == 1 { "an argument" } else { "arguments" }, .missing.join(", "))]
    Missing {
        /// The tool.
        tool: String,
        missing: Vec<String>,
    },
    /// A value of another type than the schema allows.
    #[error("invalid {name} {value:?}: expected {wanted}")]
    Mistyped {
        name: String,
        /// The types or values that the schema allows.
        wanted: String,
        /// What was typed.
        value: String,
    },
    /// The text after `:=` is not JSON.
    #[error("invalid JSON in {name}: {problem}")]
    Malformed {
        name: String,
        /// The JSON parser's message.
        problem: String,
    },
    /// stdin is not JSON.
    #[error("invalid JSON on stdin: {0}")]
    Unreadable(String),
    /// JSON arguments that are not an object.
    #[error("the arguments must be a JSON object")]
    NoObject,
}

/// Converts `words` to the arguments of `tool`, as a JSON object.
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
            // A list can be given item by item.
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

/// Arguments given as JSON text: an object, left as written.
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
    /// The word as JSON that this shape allows, if it allows any.
    pub fn read(&self, typed: &str) -> Option<String> {
        if !self.choices.is_empty() {
            let chosen = |choice: &&Choice| choice.word() == typed || choice.title.as_deref() == Some(typed);
            return self.choices.iter().find(chosen).map(|choice| choice.value.to_string());
        }
        let value = typed.trim();
        let kind = serde_json::from_str::<&RawValue>(value).ok().and_then(|json| kind(json.get()));
        // A word stays text if the schema allows text, unless the schema also names the other type. `null` does not
        // count: an empty variable in a script must not remove a condition.
        let kind = kind.filter(|kind| *kind != Type::Null || !self.allows(Type::String));
        match kind {
            Some(kind) if kind != Type::String && self.names(kind) => Some(value.to_owned()),
            Some(Type::String) if !self.allows(Type::String) => None,
            _ if self.allows(Type::String) => Some(object::text(typed)),
            _ => None,
        }
    }

    /// Whether the schema names this type; an integer is a number too (JSON Schema validation, section 6.1.1).
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

/// Whether a number is an integer: `1` and `-1.0`, but no number with an exponent.
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
    fn values_get_the_type_in_the_schema() {
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
    fn invalid_values_are_reported() {
        for (word, expected) in [
            ("amount=1,10", "invalid amount \"1,10\": expected number"),
            ("amount=\"1\"", "invalid amount \"\\\"1\\\"\": expected number"),
            ("count=1.5", "invalid count \"1.5\": expected integer"),
            ("count=1e3", "invalid count \"1e3\": expected integer"),
            ("dry=yes", "invalid dry \"yes\": expected true|false"),
            ("status=late", "invalid status \"late\": expected open|paid"),
            ("sums=x", "invalid sums \"x\": expected integer"),
            ("nested=a", "invalid nested \"a\": expected JSON object"),
            ("form=2025", "t has no argument \"form\""),
            ("2025", "invalid argument \"2025\": expected NAME=VALUE"),
            ("=2025", "invalid argument \"=2025\": expected NAME=VALUE"),
            (":=2025", "invalid argument \":=2025\": expected NAME=VALUE"),
            ("from=y", "duplicate argument from"),
            ("tags:=1 ", "duplicate argument tags"),
            ("tags=[]", "duplicate argument tags"),
            ("free:=x", "invalid JSON in free: expected value at line 1 column 1"),
        ] {
            let words = if word.starts_with("tags") { vec![word, "tags=a"] } else { vec![word] };
            assert_eq!(typed_words(&words).unwrap_err().to_string(), expected, "{word}");
        }
        assert_eq!(typed_words(&["tags=a", "tags=[]"]), Err(ArgumentError::Twice("tags".to_owned())));
        assert_eq!(typed(&tool(), &[]).unwrap_err().to_string(), "t is missing an argument: from");
    }

    #[test]
    fn arguments_as_a_whole_stay_as_they_are() {
        assert_eq!(whole(" {\"a\": 1.10,\n\"a\": 2}\n"), Ok("{\"a\": 1.10,\n\"a\": 2}"));
        assert_eq!(whole("[]"), Err(ArgumentError::NoObject));
        assert!(matches!(whole("{"), Err(ArgumentError::Unreadable(_))));
    }
}
