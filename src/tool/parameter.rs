//! An argument of a tool or a field of a server's question: one property of a JSON Schema. finmcp checks what a user
//! can type; the server checks the rest.

use serde_json::{Map, Value};

/// How deep to follow references and alternatives.
const DEPTH: usize = 8;

/// How many parts of one schema to read. A schema with more is not meant for people.
const PARTS: usize = 2000;

/// One named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub description: String,
    pub is_required: bool,
    pub shape: Shape,
    pub default: Option<Value>,
}

/// The types and values that a schema allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shape {
    /// The allowed JSON types; empty means all.
    pub types: Vec<Type>,
    /// The allowed values and their titles; empty means any.
    pub choices: Vec<Choice>,
    /// The shape of an array's items.
    pub items: Option<Box<Shape>>,
    /// The format of a text, for example `date`.
    pub format: Option<String>,
}

/// A type of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    String,
    Number,
    Integer,
    Boolean,
    Null,
    Array,
    Object,
}

/// An allowed value.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub value: Value,
    pub title: Option<String>,
}

impl Parameter {
    /// The properties of the object that `schema` describes: required ones first, in the order of `required`; the
    /// others by name.
    pub fn all(schema: &Value) -> Vec<Self> {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object();
        let mut parts = PARTS;
        let mut parameters: Vec<Self> = properties
            .into_iter()
            .flatten()
            .map(|(name, property)| Self {
                name: name.clone(),
                description: property["description"].as_str().or(property["title"].as_str()).unwrap_or("").to_owned(),
                is_required: required.contains(&name.as_str()),
                shape: Shape::of(property, schema, DEPTH, &mut parts),
                default: property.get("default").filter(|value| !value.is_null()).cloned(),
            })
            .collect();
        parameters.sort_by_key(|parameter| {
            let place = required.iter().position(|name| *name == parameter.name);
            (!parameter.is_required, place.unwrap_or(usize::MAX))
        });
        parameters
    }
}

impl Shape {
    /// The shape that `schema`, a part of `root`, allows. `depth` and `parts` limit how much is read.
    fn of(schema: &Value, root: &Value, depth: usize, parts: &mut usize) -> Self {
        let (Some(deeper), Some(rest)) = (depth.checked_sub(1), parts.checked_sub(1)) else { return Self::default() };
        *parts = rest;
        if let Some(target) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            return root.pointer(target).map(|target| Self::of(target, root, deeper, parts)).unwrap_or_default();
        }
        let Some(schema) = schema.as_object() else { return Self::default() };
        let mut shape = Self {
            types: types(schema),
            choices: choices(schema),
            items: schema.get("items").map(|items| Box::new(Self::of(items, root, deeper, parts))),
            format: schema.get("format").and_then(Value::as_str).map(str::to_owned),
        };
        for alternative in alternatives(schema) {
            let other = Self::of(alternative, root, deeper, parts);
            shape.types.extend(other.types.into_iter().filter(|kind| !shape.types.contains(kind)).collect::<Vec<_>>());
            shape.choices.extend(other.choices);
            shape.items = shape.items.or(other.items);
            shape.format = shape.format.or(other.format);
        }
        shape
    }

    /// Whether a value of `kind` is allowed.
    pub fn allows(&self, kind: Type) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    /// A short description: `date`, `list of text`, `open|paid`.
    pub fn words(&self) -> String {
        if !self.choices.is_empty() {
            return self.choices.iter().map(Choice::word).collect::<Vec<_>>().join("|");
        }
        let words: Vec<String> =
            self.types.iter().filter(|kind| **kind != Type::Null).map(|kind| self.word(*kind)).collect();
        if words.is_empty() { "any".to_owned() } else { words.join(" or ") }
    }

    fn word(&self, kind: Type) -> String {
        match kind {
            Type::String => self.format.clone().unwrap_or_else(|| "text".to_owned()),
            Type::Array => match &self.items {
                Some(items) => format!("list of {}", items.words()),
                None => "list".to_owned(),
            },
            kind => kind.word().to_owned(),
        }
    }
}

impl Type {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "null" => Self::Null,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// The name to show.
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "text",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "true|false",
            Self::Null => "null",
            Self::Array => "list",
            Self::Object => "JSON object",
        }
    }
}

impl Choice {
    /// The value as the user types it.
    pub fn word(&self) -> String {
        word(&self.value)
    }
}

/// A value as the user types it: text without quotes.
pub fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn types(schema: &Map<String, Value>) -> Vec<Type> {
    match schema.get("type") {
        Some(Value::String(name)) => Type::named(name).into_iter().collect(),
        Some(Value::Array(names)) => names.iter().filter_map(|name| Type::named(name.as_str()?)).collect(),
        _ => Vec::new(),
    }
}

/// `enum`, `const`, and the titled alternatives of MCP's elicitation ("Enum Schema").
fn choices(schema: &Map<String, Value>) -> Vec<Choice> {
    if let Some(value) = schema.get("const") {
        let title = schema.get("title").and_then(Value::as_str).map(str::to_owned);
        return vec![Choice { value: value.clone(), title }];
    }
    let titles = schema.get("enumNames").and_then(Value::as_array);
    let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    values
        .enumerate()
        .map(|(index, value)| Choice {
            value: value.clone(),
            title: titles.and_then(|titles| titles.get(index)?.as_str()).map(str::to_owned),
        })
        .collect()
}

fn alternatives(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema.get(name)?.as_array()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(property: Value) -> String {
        let schema = json!({"properties": {"p": property}, "$defs": {"day": {"type": "string", "format": "date"}}});
        Parameter::all(&schema)[0].shape.words()
    }

    #[test]
    fn a_shape_has_a_short_description() {
        for (schema, expected) in [
            (json!({"type": "string"}), "text"),
            (json!({"$ref": "#/$defs/day"}), "date"),
            (json!({"anyOf": [{"$ref": "#/$defs/day"}, {"type": "null"}]}), "date"),
            (json!({"type": ["integer", "string"]}), "integer or text"),
            (json!({"type": "array", "items": {"type": "number"}}), "list of number"),
            (json!({"enum": ["open", 3, null]}), "open|3|null"),
            (json!({"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}), "a|b"),
            (json!({}), "any"),
            (json!(true), "any"),
            (json!({"$ref": "#/properties/p"}), "any"),
            (json!({"$ref": "https://elsewhere.example/schema"}), "any"),
        ] {
            assert_eq!(words(schema.clone()), expected, "{schema}");
        }
    }

    /// t126: finmcp stops following a schema that refers to itself.
    #[test]
    fn t126_a_recursive_schema_ends() {
        let again = vec![json!({"$ref": "#/properties/p"}); 300];
        let shape = &Parameter::all(&json!({"properties": {"p": {"anyOf": again, "type": "string"}}}))[0].shape;
        assert_eq!(shape.types, [Type::String]);
    }

    #[test]
    fn required_parameters_come_first_in_their_order() {
        let schema =
            json!({"properties": {"a": {}, "b": {}, "c": {"description": "d", "default": 1}}, "required": ["c", "b"]});
        let parameters = Parameter::all(&schema);
        let names: Vec<_> = parameters.iter().map(|parameter| (&*parameter.name, parameter.is_required)).collect();
        assert_eq!(names, [("c", true), ("b", true), ("a", false)]);
        assert_eq!((&*parameters[0].description, &parameters[0].default), ("d", &Some(json!(1))));
    }

    #[test]
    fn an_invalid_schema_has_no_parameters() {
        for schema in [json!(null), json!([]), json!({"properties": 1, "required": "x"})] {
            assert_eq!(Parameter::all(&schema), []);
        }
    }
}
