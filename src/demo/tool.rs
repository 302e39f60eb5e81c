//! A tool: its description for clients, and its function.

use base64::{Engine, prelude::BASE64_STANDARD};
use rmcp::model::JsonObject;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A tool that works on an `S` (MCP tools, "Data Types").
pub struct Tool<S> {
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub effect: Effect,
    /// The JSON Schema of its arguments, in draft 2020-12.
    pub input: fn() -> Value,
    pub run: fn(&S, Arguments) -> Outcome,
}

/// A tool's effects (MCP schema, "ToolAnnotations").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    ReadsOnly,
    /// Every call adds data and deletes none.
    Adds,
}

/// The unparsed arguments of a call.
pub struct Arguments(JsonObject);

/// The result of a call. The model gets the error and can correct itself (MCP tools, "Error Handling").
pub type Outcome = Result<Answer, String>;

/// The JSON result of a `tools/call`.
pub struct Answer(Value);

/// The schema of a tool that takes no arguments.
pub fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// The JSON result of a `tools/call`.
pub fn call_result(outcome: Outcome) -> Value {
    match outcome {
        Ok(Answer(result)) => result,
        Err(error) => json!({ "content": [{ "type": "text", "text": error }], "isError": true }),
    }
}

impl<S> Tool<S> {
    /// The tool's entry in `tools/list`.
    pub fn listed(&self) -> Value {
        let annotations = match self.effect {
            Effect::ReadsOnly => json!({ "readOnlyHint": true }),
            Effect::Adds => json!({ "readOnlyHint": false, "destructiveHint": false, "idempotentHint": false }),
        };
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": (self.input)(),
            "annotations": annotations,
        })
    }
}

impl Arguments {
    /// Wraps the `arguments` of a `tools/call`.
    pub fn new(members: JsonObject) -> Self {
        Self(members)
    }

    /// The arguments as `T`.
    ///
    /// # Errors
    /// An argument is missing or invalid.
    pub fn read<A: DeserializeOwned>(self) -> Result<A, String> {
        serde_json::from_value(self.0.into()).map_err(|error| format!("invalid arguments: {error}"))
    }
}

impl Answer {
    /// A result with text and structured content.
    ///
    /// # Errors
    /// The content cannot be serialized; this never happens in the demo.
    pub fn new(text: impl Into<String>, structured: &impl Serialize) -> Outcome {
        let structured = serde_json::to_value(structured).map_err(|error| error.to_string())?;
        let content = json!([{ "type": "text", "text": text.into() }]);
        Ok(Self(json!({ "content": content, "structuredContent": structured, "isError": false })))
    }

    /// A result with a PNG image and its title.
    pub fn picture(title: &str, file: &[u8]) -> Self {
        let text = json!({ "type": "text", "text": title });
        let image = json!({ "type": "image", "data": BASE64_STANDARD.encode(file), "mimeType": "image/png" });
        Self(json!({ "content": [text, image], "isError": false }))
    }
}
