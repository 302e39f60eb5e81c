//! JSON, with the comments and commas that editors' settings have: read, and one member added, replaced or removed.

use std::{collections::BTreeMap, ops::Range};

use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, ast, common::Ranged, parse_to_ast};

use crate::setup::{
    entry::{Members, Value, kept},
    error::DocumentError,
    lines::{line_at, line_start, newline, replaced},
    tree::{Kind, Member, Node},
};

/// What finmcp reads: what editors do.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Reads `text`; an empty one is nothing.
pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options())
        .map_err(|error| DocumentError::Malformed { line: line_at(text, error.range().start), format: "JSON" })?;
    Ok(parsed.value.as_ref().map_or(Node { span: text.len()..text.len(), kind: Kind::Null }, node))
}

/// Where the comments of `text` are; none where it cannot be read.
pub(super) fn comments(text: &str) -> Vec<Range<usize>> {
    let collect = CollectOptions { comments: CommentCollectionStrategy::Separate, tokens: false };
    let comments = parse_to_ast(text, &collect, &options()).ok().and_then(|parsed| parsed.comments);
    comments.iter().flat_map(|comments| comments.values()).flat_map(|found| found.iter().map(span)).collect()
}

fn node(value: &ast::Value) -> Node {
    let kind = match value {
        ast::Value::StringLit(text) => Kind::Text(text.value.to_string()),
        ast::Value::NumberLit(number) => Kind::Plain(number.value.to_owned()),
        ast::Value::BooleanLit(truth) => Kind::Plain(truth.value.to_string()),
        ast::Value::NullKeyword(_) => Kind::Null,
        ast::Value::Array(array) => Kind::List(array.elements.iter().map(node).collect()),
        ast::Value::Object(object) => Kind::Table(object.properties.iter().map(member).collect()),
    };
    Node { span: span(value), kind }
}

fn member(property: &ast::ObjectProp) -> Member {
    Member { key: property.name.as_str().to_owned(), span: span(property), value: node(&property.value) }
}

fn span(ranged: &impl Ranged) -> Range<usize> {
    let range = ranged.range();
    range.start..range.end
}

/// `text` with `members` as `container`'s member `name`.
pub(super) fn with(text: &str, root: &Node, container: &str, name: &str, members: &Members) -> String {
    let layout = Layout::of(text, root);
    let servers = root.get(container);
    if let Some(server) = servers.and_then(|servers| servers.get(name)) {
        let value = layout.members(members, server, &layout.indent_at(server.span.start));
        return replaced(text, &server.span, &value);
    }
    let nothing = Node { span: 0..0, kind: Kind::Null };
    let server = |indent: &str| format!("{}: {}", quoted(name), layout.members(members, &nothing, indent));
    let alone = |indent: &str| {
        let deeper = format!("{indent}{}", layout.unit);
        layout.object(&[server(&deeper)], indent)
    };
    match servers {
        Some(servers) if servers.kind == Kind::Null => {
            replaced(text, &servers.span, &alone(&layout.indent_at(servers.span.start)))
        }
        Some(servers) => layout.insert(servers, server),
        None => {
            let container = |indent: &str| format!("{}: {}", quoted(container), alone(indent));
            match root.kind {
                Kind::Null => {
                    let object = layout.object(&[container(layout.unit)], "");
                    layout.put_root(root, &object)
                }
                _ => layout.insert(root, container),
            }
        }
    }
}

/// `text` without `container`'s member `name`.
pub(super) fn without(text: &str, root: &Node, container: &str, name: &str) -> String {
    let Some(servers) = root.get(container) else { return text.to_owned() };
    let Some(at) = servers.members().iter().rposition(|member| member.key == name) else { return text.to_owned() };
    let member = &servers.members()[at];
    let before = text[..member.span.start].trim_end().len();
    let comma = comma_after(text, member.span.end, servers.span.end);
    let end = comma.map_or(member.span.end, |comma| comma + 1);
    // The line's end that ends a comment stays, unless another follows.
    let from = at.checked_sub(1).map_or(servers.span.start + 1, |previous| servers.members()[previous].span.end);
    let follows = text[end..].trim_start_matches([' ', '\t']);
    let is_open = ends_with_line_remark(text, from, before) && !follows.starts_with(['\n', '\r']);
    let start = if is_open { member.span.start } else { before };
    let mut changed = text.to_owned();
    changed.replace_range(start..end, "");
    if comma.is_none() && at > 0 {
        let previous = &servers.members()[at - 1];
        if let Some(comma) = comma_after(text, previous.span.end, member.span.start) {
            changed.remove(comma);
        }
    }
    if servers.members().len() == 1 {
        let inside = servers.span.start + 1..servers.span.end - 1 - (end - start);
        if changed[inside.clone()].trim().is_empty() {
            changed.replace_range(inside, "");
        }
    }
    changed
}

/// `members` on one line.
pub(super) fn compact(members: &Members) -> String {
    let members = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), flat(value, ",")));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// `value` on one line, its parts set off by `comma`.
fn flat(value: &Value, comma: &str) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Truth(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::List(texts) => format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(comma)),
        Value::Table(table) => {
            let members = table.iter().map(|(key, text)| format!("{}:{}", quoted(key), quoted(text)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(comma))
        }
    }
}

/// How a text is laid out.
struct Layout<'a> {
    text: &'a str,
    /// What a level is set off by.
    unit: &'a str,
    newline: &'static str,
}

impl<'a> Layout<'a> {
    fn of(text: &'a str, root: &Node) -> Self {
        let mut layout = Self { text, unit: "  ", newline: newline(text) };
        let first = root.members().first().and_then(|member| own_indent(text, member.span.start));
        let unit = first.and_then(|first| first.strip_prefix(layout.indent_at(root.span.start).as_str()));
        if let Some(unit) = unit.filter(|unit| !unit.is_empty()) {
            layout.unit = unit;
        }
        layout
    }

    /// What the line of the byte at `offset` begins with.
    fn indent_at(&self, offset: usize) -> String {
        let line = line_start(self.text, offset);
        self.text[line..].chars().take_while(|letter| matches!(letter, ' ' | '\t')).collect()
    }

    fn object(&self, members: &[String], indent: &str) -> String {
        let Self { unit, newline, .. } = self;
        let members: Vec<String> = members.iter().map(|member| format!("{newline}{indent}{unit}{member}")).collect();
        format!("{{{}{newline}{indent}}}", members.join(","))
    }

    /// An object of `members`, and of what stays of `before`, as it is spelled there.
    fn members(&self, members: &Members, before: &Node, indent: &str) -> String {
        let deeper = format!("{indent}{}", self.unit);
        let theirs = |member: &Member| self.text[member.span.clone()].to_owned();
        let line = |(key, value): &(&'static str, Value)| match kept(before).find(|member| member.key == *key) {
            Some(member) => theirs(member),
            None => format!("{}: {}", quoted(key), self.value(value, &deeper)),
        };
        let others = kept(before).filter(|member| !members.iter().any(|(key, _)| *key == member.key));
        let lines: Vec<String> = members.iter().map(line).chain(others.map(theirs)).collect();
        self.object(&lines, indent)
    }

    fn value(&self, value: &Value, indent: &str) -> String {
        match value {
            Value::Table(table) => self.table(table, indent),
            value => flat(value, ", "),
        }
    }

    fn table(&self, table: &BTreeMap<String, String>, indent: &str) -> String {
        let lines: Vec<String> = table.iter().map(|(key, text)| format!("{}: {}", quoted(key), quoted(text))).collect();
        self.object(&lines, indent)
    }

    /// The text with a further member, made for its indentation, at the end of `object`.
    fn insert(&self, object: &Node, member: impl Fn(&str) -> String) -> String {
        let Self { text, newline, .. } = self;
        let close = object.span.end - 1;
        let outer = self.indent_at(object.span.start);
        let deeper = format!("{outer}{}", self.unit);
        let Some(last) = object.members().last() else {
            let inside = text[object.span.start + 1..close].trim_end();
            let head = &text[..object.span.start + 1 + inside.len()];
            return format!("{head}{newline}{deeper}{}{newline}{outer}{}", member(&deeper), &text[close..]);
        };
        let indent = object.members().iter().rev().find_map(|member| own_indent(text, member.span.start));
        let indent = indent.unwrap_or(&deeper);
        let member = member(indent);
        match comma_after(text, last.span.end, close) {
            // Whoever ends lists with a comma goes on so.
            Some(comma) => {
                let at = end_of_remarks(text, comma + 1, close);
                format!("{}{newline}{indent}{member},{}", &text[..at], &text[at..])
            }
            None => {
                let end = last.span.end;
                let at = end_of_remarks(text, end, close);
                format!("{},{}{newline}{indent}{member}{}", &text[..end], &text[end..at], &text[at..])
            }
        }
    }

    /// The text with `object` in place of nothing, or of `null`.
    fn put_root(&self, root: &Node, object: &str) -> String {
        if !root.span.is_empty() {
            return replaced(self.text, &root.span, object);
        }
        let head = self.text.trim_end();
        let gap = if head.is_empty() { "" } else { self.newline };
        format!("{head}{gap}{object}{}", self.newline)
    }
}

/// What is before the byte at `offset` on its line; none where that is more than spaces.
fn own_indent(text: &str, offset: usize) -> Option<&str> {
    let line = line_start(text, offset);
    let before = &text[line..offset];
    (line > 0 && before.trim_matches([' ', '\t']).is_empty()).then_some(before)
}

/// Where the comma between `start` and `end` is, past spaces and comments.
fn comma_after(text: &str, start: usize, end: usize) -> Option<usize> {
    let mut at = start;
    while at < end {
        at = match comment_end(text, at) {
            Some(past) => past,
            None if text[at..].starts_with(',') => return Some(at),
            None => at + text[at..].chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}

/// Where the comments that stand on the line of the byte at `start` end; `start` itself where there are none.
fn end_of_remarks(text: &str, start: usize, end: usize) -> usize {
    let (mut at, mut last) = (start, start);
    while at < end {
        if let Some(past) = comment_end(text, at) {
            (at, last) = (past, past);
        } else if text[at..].starts_with([' ', '\t']) {
            at += 1;
        } else {
            break;
        }
    }
    last
}

/// Whether a comment that goes to the end of its line is the last between `start` and `end`.
fn ends_with_line_remark(text: &str, start: usize, end: usize) -> bool {
    let mut at = start;
    while at < end {
        match comment_end(text, at) {
            Some(past) if past >= end => return text[at..].starts_with("//"),
            Some(past) => at = past,
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    false
}

/// Where the comment that begins at `at` ends; a line's end is not a part of it.
fn comment_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("//") {
        Some(at + rest.find(['\n', '\r']).unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        Some(at + rest.find("*/").map_or(rest.len(), |end| end + 2))
    } else {
        None
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
