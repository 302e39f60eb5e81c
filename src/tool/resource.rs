//! Formats a list of resources and resource templates for a terminal (MCP 2025-11-25 resources).

use serde::Deserialize;

use crate::paragraph::hanging_indent;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDocument {
    #[serde(alias = "uriTemplate")]
    uri: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    mime_type: Option<String>,
}

/// Each resource's URI, type and description, in lines of `width` characters.
pub fn table<'a>(listed: impl Iterator<Item = &'a str>, width: usize) -> String {
    let resources = listed.filter_map(|text| serde_json::from_str(text).ok());
    resources.map(|resource| one(resource, width)).collect::<Vec<_>>().join("\n")
}

fn one(resource: ResourceDocument, width: usize) -> String {
    let kind = resource.mime_type.map(|kind| format!("  ({kind})")).unwrap_or_default();
    let mut text = format!("{}{kind}\n", resource.uri);
    let name = resource.title.or(resource.name).filter(|name| *name != resource.uri);
    for paragraph in name.iter().chain(&resource.description).flat_map(|paragraph| paragraph.trim().lines()) {
        text.push_str(&format!("  {}", hanging_indent(paragraph.trim(), 2, width)));
    }
    text
}
