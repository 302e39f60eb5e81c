//! TOML: parsed, and one table added, replaced or removed.

use toml_edit::{Array, Document, DocumentMut, InlineTable, Item, Table, TableLike};

use crate::setup::{
    entry::{Members, Value, is_of_connection},
    error::{DocumentError, malformed},
    lines::newline,
    tree::{Kind, Member, Node},
};

/// Parses `text`.
pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let document = Document::parse(text).map_err(|error| refused(text, &error))?;
    Ok(Node { span: 0..text.len(), kind: table(document.as_table()) })
}

fn refused(text: &str, error: &toml_edit::TomlError) -> DocumentError {
    malformed(text, error.span().map_or(0, |span| span.start), "TOML")
}

fn table(table: &dyn TableLike) -> Kind {
    let members = table.iter().map(|(key, item)| {
        let value = node(item);
        Member { key: key.to_owned(), span: value.span.clone(), value }
    });
    Kind::Table(members.collect())
}

fn node(item: &Item) -> Node {
    let span = item.span().unwrap_or_default();
    let kind = match item {
        Item::None => Kind::Null,
        Item::Value(value) => return value_node(value),
        Item::Table(inner) => table(inner),
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter().map(|inner| Node { span: inner.span().unwrap_or_default(), kind: table(inner) });
            Kind::List(tables.collect())
        }
    };
    Node { span, kind }
}

fn value_node(value: &toml_edit::Value) -> Node {
    let kind = match value {
        toml_edit::Value::String(text) => Kind::Text(text.value().clone()),
        toml_edit::Value::Array(array) => Kind::List(array.iter().map(value_node).collect()),
        toml_edit::Value::InlineTable(inner) => table(inner),
        other => Kind::Plain(other.to_string().trim().to_owned()),
    };
    Node { span: value.span().unwrap_or_default(), kind }
}

/// `text` with `members` as `container`'s member `name`.
pub(super) fn with(text: &str, container: &str, name: &str, members: &Members) -> Result<String, DocumentError> {
    let mut document: DocumentMut = text.parse().map_err(|error| refused(text, &error))?;
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    match document.entry(container).or_insert_with(implicit) {
        Item::Table(servers) => {
            let before = match servers.get(name) {
                Some(Item::Table(before)) => before.clone(),
                Some(Item::Value(toml_edit::Value::InlineTable(before))) => before.clone().into_table(),
                _ => Table::new(),
            };
            servers.insert(name, Item::Table(full(before, members)));
        }
        Item::Value(toml_edit::Value::InlineTable(servers)) => {
            let before = servers.get(name).and_then(toml_edit::Value::as_inline_table).cloned().unwrap_or_default();
            let server = full(before.into_table(), members).into_inline_table();
            servers.insert(name, toml_edit::Value::InlineTable(server));
        }
        _ => return Err(DocumentError::Unsupported { line: 1, what: "this layout" }),
    }
    Ok(in_lines_of(text, document.to_string()))
}

/// `text` without `container`'s member `name`.
pub(super) fn without(text: &str, container: &str, name: &str) -> Result<String, DocumentError> {
    let mut document: DocumentMut = text.parse().map_err(|error| refused(text, &error))?;
    let servers = document.get_mut(container).and_then(Item::as_table_like_mut);
    if servers.and_then(|servers| servers.remove(name)).is_none() {
        return Ok(text.to_owned());
    }
    Ok(in_lines_of(text, document.to_string()))
}

/// A table of `members` and of the members of `before` to keep.
fn full(before: Table, members: &Members) -> Table {
    let mut table = before;
    table.retain(|key, _| !is_of_connection(key));
    for (key, value) in members {
        table.insert(key, toml_edit::value(edited(value)));
    }
    table
}

fn edited(value: &Value) -> toml_edit::Value {
    match value {
        Value::Text(text) => text.into(),
        Value::Truth(truth) => (*truth).into(),
        Value::Number(number) => i64::from(*number).into(),
        Value::List(texts) => Array::from_iter(texts).into(),
        Value::Table(table) => InlineTable::from_iter(table).into(),
    }
}

/// `changed` with the line endings of `text`, if those are all the same.
fn in_lines_of(text: &str, changed: String) -> String {
    let all_carriage = newline(text) == "\r\n" && text.matches('\n').count() == text.matches("\r\n").count();
    if all_carriage { changed.replace("\r\n", "\n").replace('\n', "\r\n") } else { changed }
}
