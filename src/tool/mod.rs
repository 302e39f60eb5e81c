//! A server's tools as a person or a script meets them: what each takes, how words become its arguments, and what it
//! answers. Pure.

pub mod answer;
pub mod arguments;
pub mod layout;
pub mod parameter;

use serde::Deserialize;
use serde_json::Value;

use crate::tool::parameter::Parameter;

/// A tool, as its server describes it (MCP 2025-11-25 tools, "Data Types").
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// What it is, for people; may have several lines.
    pub description: String,
    /// What the server says of its effects.
    pub effect: Effect,
    /// What it takes, required ones first.
    pub parameters: Vec<Parameter>,
    /// Whether it takes others, too.
    pub is_open: bool,
}

/// What a tool does to the world, in its server's words: hints that nothing checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It may change or delete what is there.
    Destroys,
    /// It adds, and destroys nothing.
    Adds,
    /// The server does not say.
    Unknown,
}

#[derive(Deserialize)]
struct ToolDocument {
    name: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default, rename = "inputSchema")]
    schema: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Annotations {
    title: Option<String>,
    read_only_hint: Option<bool>,
    destructive_hint: Option<bool>,
}

impl Tool {
    /// Reads one tool of a list; none where it has no name.
    pub fn parse(text: &str) -> Option<Self> {
        let document: ToolDocument = serde_json::from_str(text).ok()?;
        let annotations = document.annotations;
        let effect = match (annotations.read_only_hint, annotations.destructive_hint) {
            (Some(true), _) => Effect::Reads,
            (_, Some(true)) => Effect::Destroys,
            (_, Some(false)) => Effect::Adds,
            _ => Effect::Unknown,
        };
        let described = document.description.filter(|text| !text.trim().is_empty());
        let description = described.or(document.title).or(annotations.title).unwrap_or_default();
        Some(Self {
            name: document.name,
            description,
            effect,
            parameters: Parameter::all(&document.schema),
            // JSON Schema allows what it does not mention. A name that a server does not mention is a typing error all
            // the same, unless it mentions none, or says that there are others.
            is_open: match document.schema.get("additionalProperties") {
                Some(Value::Bool(open)) => *open,
                Some(_) => true,
                None => document.schema.get("properties").is_none(),
            },
        })
    }
}
