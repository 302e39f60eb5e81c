//! A server's prompts (MCP 2025-11-25 prompts). Their arguments are texts, else they are listed and filled in as a tool's.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::tool::{
    Effect, Tool,
    answer::{Block, Layout},
    parameter::{Parameter, Shape, Type},
};

#[derive(Deserialize)]
struct PromptDocument {
    name: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    arguments: Option<Vec<ArgumentDocument>>,
}

#[derive(Deserialize)]
struct ArgumentDocument {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    required: Option<bool>,
}

/// Reads one prompt of a list; none if it has no name.
pub fn parse(text: &str) -> Option<Tool> {
    let document: PromptDocument = serde_json::from_str(text).ok()?;
    let parameter = |argument: ArgumentDocument| Parameter {
        name: argument.name,
        description: argument.description.unwrap_or_default(),
        is_required: argument.required.unwrap_or_default(),
        shape: Shape { types: vec![Type::String], ..Shape::default() },
        default: None,
    };
    let mut parameters: Vec<Parameter> = document.arguments.into_iter().flatten().map(parameter).collect();
    parameters.sort_by_key(|parameter| !parameter.is_required);
    Some(Tool {
        name: document.name,
        description: document.description.or(document.title).unwrap_or_default(),
        effect: Effect::Unknown,
        parameters,
        is_open: false,
    })
}

/// The messages of a `prompts/get` result: the text, or each text below its role if there are several. None if it is no
/// such result.
pub fn text(result: &str, layout: Layout) -> Option<String> {
    #[derive(Deserialize)]
    struct ResultDocument {
        messages: Vec<MessageDocument>,
    }
    #[derive(Deserialize)]
    struct MessageDocument {
        #[serde(default)]
        role: String,
        content: Box<RawValue>,
    }
    let ResultDocument { messages } = serde_json::from_str(result).ok()?;
    let is_one = messages.len() == 1;
    let shown = |message: MessageDocument| {
        let content = Block::parse(message.content.get()).shown(layout);
        let content = content.trim_end_matches('\n');
        if is_one { format!("{content}\n") } else { format!("{}:\n{content}\n", message.role) }
    };
    Some(messages.into_iter().map(shown).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_messages_stand_below_their_roles() {
        let message =
            |role: &str, text: &str| format!(r#"{{"role":"{role}","content":{{"type":"text","text":"{text}"}}}}"#);
        let one = format!(r#"{{"messages":[{}]}}"#, message("user", "hello"));
        assert_eq!(text(&one, Layout::AsSent).unwrap(), "hello\n");
        let two = format!(r#"{{"messages":[{},{}]}}"#, message("user", "a"), message("assistant", "b"));
        assert_eq!(text(&two, Layout::AsSent).unwrap(), "user:\na\n\nassistant:\nb\n");
        assert_eq!(text(r#"{"content":[]}"#, Layout::AsSent), None);
    }
}
