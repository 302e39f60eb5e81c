//! A tool's result, formatted for a terminal (MCP 2025-11-25 tools, "Tool Result").

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Accepts Base64 without padding, which some servers send.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The result of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its parts, in order.
    pub blocks: Vec<Block>,
    /// Whether the tool reports a failure.
    pub failed: bool,
    /// The structured content, as the server wrote it.
    pub structured: Option<String>,
}

/// How to write JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// With a line for each value, for people.
    Indented,
    /// As the server wrote it, for programs.
    AsSent,
}

impl Layout {
    /// `text`, laid out if it is JSON.
    pub fn apply(self, text: &str) -> String {
        let indented = if self == Self::Indented { indented(text) } else { None };
        indented.unwrap_or_else(|| text.to_owned())
    }
}

/// A part of a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    Text(String),
    /// Bytes: an image, audio, or the content of a resource.
    File {
        /// The media type that the server gives.
        media_type: String,
        bytes: Vec<u8>,
    },
    /// A link to a resource.
    Link {
        uri: String,
        name: String,
    },
    /// A part that cannot be shown, and why.
    Unreadable(String),
}

#[derive(Deserialize)]
struct ResultDocument<'a> {
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    #[serde(borrow, default, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
    #[serde(default, rename = "isError")]
    failed: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDocument {
    Text {
        text: String,
    },
    #[serde(rename_all = "camelCase")]
    Image {
        data: String,
        #[serde(default)]
        mime_type: String,
    },
    #[serde(rename_all = "camelCase")]
    Audio {
        data: String,
        #[serde(default)]
        mime_type: String,
    },
    ResourceLink {
        uri: String,
        #[serde(default)]
        name: String,
    },
    Resource {
        resource: ResourceDocument,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDocument {
    #[serde(default)]
    mime_type: String,
    text: Option<String>,
    blob: Option<String>,
}

impl Answer {
    /// Reads the result of `tools/call`; none if it is not a valid one.
    pub fn parse(result: &str) -> Option<Self> {
        let document: ResultDocument<'_> =
            result.trim_start().starts_with('{').then(|| serde_json::from_str(result).ok())??;
        let mut blocks: Vec<Block> = document.content.into_iter().map(|block| Block::parse(block.get())).collect();
        // A server that sends structured content should send the same as text ("Structured Content").
        let structured = document.structured.map(|structured| structured.get().to_owned());
        if let Some(structured) =
            structured.as_ref().filter(|_| !blocks.iter().any(|block| matches!(block, Block::Text(_))))
        {
            blocks.push(Block::Text(structured.clone()));
        }
        Some(Self { blocks, failed: document.failed, structured })
    }

    /// Reads the result of `resources/read` (MCP 2025-11-25 resources, "Reading Resources").
    pub fn of_resource(result: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Contents {
            contents: Vec<ResourceDocument>,
        }
        let Contents { contents } = serde_json::from_str(result).ok()?;
        let blocks = contents.into_iter().map(Block::of_resource).collect();
        Some(Self { blocks, failed: false, structured: None })
    }

    /// The text parts in order, with a placeholder for every other part.
    pub fn text(&self, layout: Layout) -> String {
        let mut text = String::new();
        for block in &self.blocks {
            text.push_str(block.shown(layout).trim_end_matches('\n'));
            text.push('\n');
        }
        text
    }

    /// The parts to save to files.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().filter_map(|block| match block {
            Block::File { bytes, .. } => Some(bytes.as_slice()),
            _ => None,
        })
    }
}

impl Block {
    /// Reads a content block; one that is not supported says so.
    pub fn parse(block: &str) -> Self {
        match serde_json::from_str(block) {
            Ok(BlockDocument::Text { text }) => Self::Text(text),
            Ok(BlockDocument::Image { data, mime_type } | BlockDocument::Audio { data, mime_type }) => {
                Self::file(&data, mime_type)
            }
            Ok(BlockDocument::ResourceLink { uri, name }) => Self::Link { uri, name },
            Ok(BlockDocument::Resource { resource }) => Self::of_resource(resource),
            Err(_) => Self::Unreadable("unsupported content".to_owned()),
        }
    }

    fn of_resource(resource: ResourceDocument) -> Self {
        match resource {
            ResourceDocument { text: Some(text), .. } => Self::Text(text),
            ResourceDocument { blob: Some(data), mime_type, .. } => Self::file(&data, mime_type),
            _ => Self::Unreadable("an empty resource".to_owned()),
        }
    }

    fn file(data: &str, media_type: String) -> Self {
        let data: String = data.split_ascii_whitespace().collect();
        match BASE64.decode(data) {
            Ok(bytes) => Self::File { media_type, bytes },
            Err(_) => Self::Unreadable("a file with invalid Base64".to_owned()),
        }
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The part as text, or a placeholder for it.
    pub fn shown(&self, layout: Layout) -> String {
        match self {
            Self::Text(text) => layout.apply(text),
            Self::File { media_type, bytes } => {
                let kind = if media_type.is_empty() { "a file" } else { media_type };
                format!("[{kind}, {} bytes]", bytes.len())
            }
            Self::Link { uri, name } if name.is_empty() => format!("[{uri}]"),
            Self::Link { uri, name } => format!("[{name}: {uri}]"),
            Self::Unreadable(why) => format!("[{why}: use --json to see it]"),
        }
    }
}

/// The deepest structure that is indented; a deeper one would not be readable.
const DEEPEST: usize = 64;

/// A JSON object or array with one line for each value, which stays as the server wrote it; none for other text.
fn indented(text: &str) -> Option<String> {
    let text = text.trim();
    let is_structure = text.starts_with(['{', '[']) && serde_json::from_str::<&RawValue>(text).is_ok();
    if !is_structure {
        return None;
    }
    let mut lines = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if quoted {
            lines.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                quoted = true;
                lines.push('"');
            }
            '{' | '[' => {
                lines.push(character);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => lines.push(end),
                    None if depth == DEEPEST => return None,
                    None => {
                        depth += 1;
                        break_line(&mut lines, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                break_line(&mut lines, depth);
                lines.push(character);
            }
            ',' => {
                lines.push(',');
                break_line(&mut lines, depth);
            }
            ':' => lines.push_str(": "),
            character if character.is_ascii_whitespace() => {}
            character => lines.push(character),
        }
    }
    Some(lines)
}

fn break_line(lines: &mut String, depth: usize) {
    lines.push('\n');
    lines.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_gets_lines_and_keeps_its_values() {
        let text = r#"{"a":1.10,"b":[1,{"c":"x,{\"y\":[\\"}],"d":[ ],"e":{},"f":12345678901234567890123}"#;
        let expected = "{\n  \"a\": 1.10,\n  \"b\": [\n    1,\n    {\n      \"c\": \"x,{\\\"y\\\":[\\\\\"\n    }\n  ],\n  \"d\": [],\n  \"e\": {},\n  \"f\": 12345678901234567890123\n}";
        assert_eq!(indented(text).unwrap(), expected);
        // Indenting again changes nothing.
        assert_eq!(indented(expected).unwrap(), expected);
        // Indented, so many brackets would need gigabytes.
        let tower = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for other in ["", "text", "{not json}", "5", "\"a\"", "[1] and more", &tower] {
            assert_eq!(indented(other), None, "{other}");
        }
    }

    #[test]
    fn each_part_is_shown() {
        let result = r#"{"content":[
            {"type":"text","text":"a\n"},
            {"type":"image","data":"aGk","mimeType":"image/png"},
            {"type":"audio","data":"aG\nk=","mimeType":"audio/wav"},
            {"type":"resource_link","uri":"file:///x","name":"x"},
            {"type":"resource","resource":{"uri":"u","text":"[1]"}},
            {"type":"resource","resource":{"uri":"u","blob":"?"}},
            {"type":"hologram"}
        ],"structuredContent":{"a":1.10},"isError":true}"#;
        let answer = Answer::parse(result).unwrap();
        assert!(answer.failed);
        assert_eq!(
            answer.text(Layout::Indented),
            "a\n[image/png, 2 bytes]\n\
             [audio/wav, 2 bytes]\n[x: file:///x]\n[\n  1\n]\n\
             [a file with invalid Base64: use --json to see it]\n\
             [unsupported content: use --json to see it]\n"
        );
        assert_eq!(answer.files().collect::<Vec<_>>(), [b"hi", b"hi"]);
    }

    #[test]
    fn structured_content_is_shown_if_there_is_no_text() {
        let answer = Answer::parse(r#"{"content":[],"structuredContent":{"a":1.10}}"#).unwrap();
        assert_eq!(answer.text(Layout::Indented), "{\n  \"a\": 1.10\n}\n");
        assert_eq!(answer.text(Layout::AsSent), "{\"a\":1.10}\n");
        assert!(Answer::parse("[]").is_none());
    }
}
