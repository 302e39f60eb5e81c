//! JSON with comments and trailing commas, as in editors' settings: parsed, and one member added, replaced or removed.

use std::{collections::BTreeMap, ops::Range};

use jsonc_parser::{
    CollectOptions, CommentCollectionStrategy, ParseOptions, ast,
    common::Ranged,
    cst::{CstNode, CstObject, CstRootNode},
    errors::ParseError,
    parse_to_ast,
};

use crate::setup::{
    entry::{Members, Value, kept},
    error::{DocumentError, malformed},
    lines::{line_start, newline, replaced},
    tree::{Kind, Member, Node},
};

/// The syntax that finmcp accepts, which is what editors accept.
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

/// Parses `text`; empty text is `null`.
pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options()).map_err(|error| refused(text, &error))?;
    Ok(parsed.value.as_ref().map_or(Node { span: text.len()..text.len(), kind: Kind::Null }, node))
}

fn refused(text: &str, error: &ParseError) -> DocumentError {
    malformed(text, error.range().start, "JSON")
}

/// Parses `text`, including spaces, commas and comments.
fn tree(text: &str) -> Result<CstRootNode, DocumentError> {
    CstRootNode::parse(text, &options()).map_err(|error| refused(text, &error))
}

/// The spans of the comments of `text`; none if it cannot be parsed.
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
pub(super) fn with(
    text: &str,
    root: &Node,
    container: &str,
    name: &str,
    members: &Members,
) -> Result<String, DocumentError> {
    let tree = tree(text)?;
    let layout = Layout::of(text, &tree);
    let servers = root.get(container);
    let nothing = Node { span: 0..0, kind: Kind::Null };
    let alone = |indent: &str| {
        let deeper = format!("{indent}{}", layout.unit);
        let server = format!("{}: {}", quoted(name), layout.members(members, &nothing, &deeper));
        layout.object(&[server], indent)
    };
    // Replaces an existing member; inserts a new one at the end.
    if let Some(server) = servers.and_then(|servers| servers.get(name)) {
        let value = layout.members(members, server, &layout.indent_at(server.span.start));
        return Ok(replaced(text, &server.span, &value));
    }
    if let Some(servers) = servers.filter(|servers| servers.kind == Kind::Null) {
        return Ok(replaced(text, &servers.span, &alone(&layout.indent_at(servers.span.start))));
    }
    let Some(root_object) = tree.object_value() else {
        let container = format!("{}: {}", quoted(container), alone(&layout.unit));
        return Ok(layout.put_root(root, &layout.object(&[container], "")));
    };
    Ok(match root_object.object_value(container) {
        Some(servers) => {
            layout.insert(&servers, |indent| format!("{}: {}", quoted(name), layout.members(members, &nothing, indent)))
        }
        None => layout.insert(&root_object, |indent| format!("{}: {}", quoted(container), alone(indent))),
    })
}

/// `text` without `container`'s member `name`.
pub(super) fn without(text: &str, container: &str, name: &str) -> Result<String, DocumentError> {
    let tree = tree(text)?;
    let servers = tree.object_value().and_then(|root| root.object_value(container));
    let Some((servers, property)) = servers.and_then(|servers| servers.get(name).map(|found| (servers, found))) else {
        return Ok(text.to_owned());
    };
    let before = property.previous_property();
    let comma = property.trailing_comma();
    let property = CstNode::from(property);
    let last_comma = before.filter(|_| comma.is_none()).and_then(|before| before.trailing_comma());
    let end = end_of(&comma.map_or(property.clone(), CstNode::from));
    // Keeps the line break that ends a comment, unless another one follows.
    let follows = text[end..].trim_start_matches([' ', '\t']).starts_with(['\n', '\r']);
    let previous = property.previous_siblings().find(|node| !node.is_whitespace() && !node.is_newline());
    let start = match previous {
        Some(previous) if follows || !is_line_comment(&previous) => end_of(&previous),
        _ => start_of(&property),
    };
    let mut changed = replaced(text, &(start..end), "");
    if let Some(comma) = last_comma {
        changed.remove(start_of(&comma.into()));
    }
    if servers.properties().len() == 1 {
        let servers = CstNode::from(servers);
        let inside = start_of(&servers) + 1..end_of(&servers) - 1 - (end - start);
        if changed[inside.clone()].trim().is_empty() {
            changed.replace_range(inside, "");
        }
    }
    Ok(changed)
}

/// Where `node` starts in its text.
fn start_of(node: &CstNode) -> usize {
    let holders = node.ancestors().map(CstNode::from);
    let length = |node: CstNode| node.previous_siblings().map(|sibling| sibling.to_string().len()).sum::<usize>();
    length(node.clone()) + holders.map(length).sum::<usize>()
}

fn end_of(node: &CstNode) -> usize {
    start_of(node) + node.to_string().len()
}

/// The end of the comments after `node` that start on the same line.
fn end_of_remarks(node: &CstNode) -> usize {
    let beside = node.next_siblings().take_while(|next| next.is_whitespace() || next.is_comment());
    end_of(&beside.filter(CstNode::is_comment).last().unwrap_or(node.clone()))
}

fn is_line_comment(node: &CstNode) -> bool {
    node.as_comment().is_some_and(|comment| comment.is_line_comment())
}

/// `members` on one line.
pub(super) fn compact(members: &Members) -> String {
    let members = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), flat(value, ",")));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// `value` on one line, its parts separated by `comma`.
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

/// The layout of a text.
struct Layout<'a> {
    text: &'a str,
    /// The indentation of one level.
    unit: String,
    newline: &'static str,
}

impl<'a> Layout<'a> {
    fn of(text: &'a str, tree: &CstRootNode) -> Self {
        let mut layout = Self { text, unit: "  ".to_owned(), newline: newline(text) };
        let outer = tree.value().map_or_else(String::new, |root| layout.indent_at(start_of(&root)));
        let first = tree.single_indent_text();
        if let Some(unit) = first.as_deref().and_then(|first| first.strip_prefix(&*outer)).filter(|u| !u.is_empty()) {
            layout.unit = unit.to_owned();
        }
        layout
    }

    /// The indentation of the line with the byte at `offset`.
    fn indent_at(&self, offset: usize) -> String {
        let line = line_start(self.text, offset);
        self.text[line..].chars().take_while(|letter| matches!(letter, ' ' | '\t')).collect()
    }

    fn object(&self, members: &[String], indent: &str) -> String {
        let Self { unit, newline, .. } = self;
        let members: Vec<String> = members.iter().map(|member| format!("{newline}{indent}{unit}{member}")).collect();
        format!("{{{}{newline}{indent}}}", members.join(","))
    }

    /// An object of `members` and of the members of `before` to keep, exactly as written there.
    fn members(&self, members: &Members, before: &Node, indent: &str) -> String {
        let deeper = format!("{indent}{}", self.unit);
        let as_written = |member: &Member| self.text[member.span.clone()].to_owned();
        let line = |(key, value): &(&'static str, Value)| match kept(before).find(|member| member.key == *key) {
            Some(member) => as_written(member),
            None => format!("{}: {}", quoted(key), self.value(value, &deeper)),
        };
        let others = kept(before).filter(|member| !members.iter().any(|(key, _)| *key == member.key));
        let lines: Vec<String> = members.iter().map(line).chain(others.map(as_written)).collect();
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

    /// The text with another member, indented to match, at the end of `object`.
    fn insert(&self, object: &CstObject, member: impl Fn(&str) -> String) -> String {
        let Self { text, newline, .. } = self;
        let node = CstNode::from(object.clone());
        let (start, close) = (start_of(&node), end_of(&node) - 1);
        let outer = self.indent_at(start);
        let deeper = format!("{outer}{}", self.unit);
        let properties = object.properties();
        let Some(last) = properties.last() else {
            let head = text[..close].trim_end();
            return format!("{head}{newline}{deeper}{}{newline}{outer}{}", member(&deeper), &text[close..]);
        };
        let indent = properties.iter().rev().find_map(|property| property.indent_text()).unwrap_or(deeper);
        let member = member(&indent);
        match last.trailing_comma() {
            // Keeps a trailing comma.
            Some(comma) => {
                let at = end_of_remarks(&comma.into());
                format!("{}{newline}{indent}{member},{}", &text[..at], &text[at..])
            }
            None => {
                let last = CstNode::from(last.clone());
                let (end, at) = (end_of(&last), end_of_remarks(&last));
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

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
