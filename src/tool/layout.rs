//! Formats a list of tools for a terminal.

use crate::{
    paragraph::hanging_indent,
    tool::{
        Effect, Tool,
        parameter::{Parameter, Shape, word},
    },
};

/// The widest column for the names of arguments.
const WIDEST_NAME: usize = 32;

/// The tools with their descriptions and arguments, in lines of `width` characters.
pub fn table(tools: &[Tool], width: usize) -> String {
    tools.iter().map(|tool| one(tool, width)).collect::<Vec<_>>().join("\n")
}

fn one(tool: &Tool, width: usize) -> String {
    let effect = match tool.effect {
        Effect::Reads => "  (read-only)",
        Effect::Destroys => "  (may change or delete)",
        Effect::Adds => "  (writes)",
        Effect::Unknown => "",
    };
    let mut text = format!("{}{effect}\n", tool.name);
    for paragraph in tool.description.trim().lines() {
        text.push_str(&format!("  {}", hanging_indent(paragraph.trim(), 2, width)));
    }
    let heads: Vec<String> = tool.parameters.iter().map(head).collect();
    let widest = heads.iter().map(|head| head.chars().count()).filter(|length| *length <= WIDEST_NAME).max();
    let column = widest.unwrap_or_default() + 6;
    for (head, parameter) in heads.iter().zip(&tool.parameters) {
        text.push_str(&format!("    {head:<0$}", column - 4));
        if head.chars().count() > column - 6 {
            text.push_str("  ");
        }
        text.push_str(&hanging_indent(&about(parameter), column, width));
    }
    text
}

/// An argument's name and type in the form that `finmcp call` expects.
fn head(parameter: &Parameter) -> String {
    format!("{}={}", parameter.name, brief(&parameter.shape))
}

/// A shape's description, shortened if it is too long for the column.
fn brief(shape: &Shape) -> String {
    let words = shape.words();
    if words.chars().count() > WIDEST_NAME { "choice".to_owned() } else { words }
}

fn about(parameter: &Parameter) -> String {
    let mut notes = Vec::new();
    if !parameter.is_required {
        notes.push("optional".to_owned());
    }
    if let Some(default) = &parameter.default {
        notes.push(format!("default {}", word(default)));
    }
    let mut text = parameter.description.split_whitespace().collect::<Vec<_>>().join(" ");
    if brief(&parameter.shape) != parameter.shape.words() {
        text = format!("{text} One of {}.", parameter.shape.words().replace('|', ", ")).trim_start().to_owned();
    }
    if !notes.is_empty() {
        text = format!("{text} ({})", notes.join(", ")).trim_start().to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_fits_its_width() {
        let first = json!({
            "name": "profit_and_loss",
            "description": "What was earned and what was spent in a period, account by account, with the totals that a bank asks for.\nSecond line.",
            "annotations": {"readOnlyHint": true},
            "inputSchema": {
                "properties": {
                    "from": {"type": "string", "format": "date", "description": "The first day,\n YYYY-MM-DD."},
                    "to": {"type": "string", "format": "date"},
                    "level": {"type": "integer", "default": 2, "description": "How deep the tree of accounts is shown."},
                    "kind": {"enum": ["a-rather-long-choice", "another-long-choice", "third"]},
                },
                "required": ["from"],
            },
        });
        let second = json!({"name": "ping", "annotations": {"destructiveHint": true}});
        let tools: Vec<Tool> = [first, second].iter().map(|tool| Tool::parse(&tool.to_string()).unwrap()).collect();
        let table = table(&tools, 60);
        assert!(table.lines().all(|line| line.chars().count() <= 60), "{table}");
        insta::assert_snapshot!(table);
    }
}
