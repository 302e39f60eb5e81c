//! A server's tools for the command line: their arguments, the conversion of words to arguments, and their results.
//! Pure.

pub mod answer;
pub mod arguments;
pub mod layout;
pub mod parameter;
pub mod prompt;
pub mod records;
pub mod resource;

use serde::Deserialize;
use serde_json::Value;

use crate::tool::parameter::Parameter;

/// A tool, as its server describes it (MCP 2025-11-25 tools, "Data Types").
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    /// Its description, which may have several lines.
    pub description: String,
    pub effect: Effect,
    /// Its arguments, required ones first.
    pub parameters: Vec<Parameter>,
    /// Whether it accepts others too.
    pub is_open: bool,
}

/// A tool's effects, according to its server. Nothing verifies these hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Reads,
    /// May change or delete data.
    Destroys,
    /// Adds data but changes and deletes none.
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
    /// Reads one tool of a list; none if it has no name.
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
            // JSON Schema allows properties that it does not mention. finmcp treats them as typos, unless the schema
            // mentions none or explicitly allows others.
            is_open: match document.schema.get("additionalProperties") {
                Some(Value::Bool(open)) => *open,
                Some(_) => true,
                None => document.schema.get("properties").is_none(),
            },
        })
    }
}
