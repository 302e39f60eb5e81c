//! A tool as data: what a client is told of it, and what it does.

use base64::{Engine, prelude::BASE64_STANDARD};
use rmcp::model::JsonObject;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A tool that works on an `S` (MCP tools, "Data Types").
pub struct Tool<S> {
    /// What it is called by.
    pub name: &'static str,
    /// What a person sees it as.
    pub title: &'static str,
    /// What it does, for a model to choose by.
    pub description: &'static str,
    /// What it may change.
    pub effect: Effect,
    /// The JSON Schema of its arguments, in draft 2020-12.
    pub input: fn() -> Value,
    /// Does it.
    pub run: fn(&S, Arguments) -> Outcome,
}

/// What a tool may change (MCP schema, "ToolAnnotations").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    ReadsOnly,
    /// Every call adds something, and takes nothing away.
    Adds,
}

/// The arguments of a call, as they came.
pub struct Arguments(JsonObject);

/// How a call ends. What went wrong is told to the model, which may do better (MCP tools, "Error Handling").
pub type Outcome = Result<Answer, String>;

/// What a tool has to say.
pub struct Answer(Value);

/// The schema of a tool that takes no arguments.
pub fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// The result of `tools/call`.
pub fn call_result(outcome: Outcome) -> Value {
    match outcome {
        Ok(Answer(result)) => result,
        Err(error) => json!({ "content": [{ "type": "text", "text": error }], "isError": true }),
    }
}

impl<S> Tool<S> {
    /// It as `tools/list` shows it.
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

    /// What a tool makes of them.
    ///
    /// # Errors
    /// Which of them is missing, or what is wrong with one.
    pub fn read<A: DeserializeOwned>(self) -> Result<A, String> {
        serde_json::from_value(self.0.into()).map_err(|error| format!("the arguments are wrong: {error}"))
    }
}

impl Answer {
    /// An answer for people and for programs.
    ///
    /// # Errors
    /// The content has no form in JSON, which none of ours has.
    pub fn new(text: impl Into<String>, structured: &impl Serialize) -> Outcome {
        let structured = serde_json::to_value(structured).map_err(|error| error.to_string())?;
        let content = json!([{ "type": "text", "text": text.into() }]);
        Ok(Self(json!({ "content": content, "structuredContent": structured, "isError": false })))
    }

    /// A PNG file, with what it shows.
    pub fn picture(title: &str, file: &[u8]) -> Self {
        let text = json!({ "type": "text", "text": title });
        let image = json!({ "type": "image", "data": BASE64_STANDARD.encode(file), "mimeType": "image/png" });
        Self(json!({ "content": [text, image], "isError": false }))
    }
}
