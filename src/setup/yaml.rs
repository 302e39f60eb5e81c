//! YAML: parsed with `saphyr-parser`; one member of a mapping is added, replaced or removed by whole lines. If a change
//! would affect anything else (a value in brackets, an anchor), finmcp reports an error and changes nothing.

use std::{collections::BTreeMap, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use crate::setup::{
    entry::{Members, Value, kept},
    error::{DocumentError, malformed},
    lines::{line_at, line_start, newline, replaced},
    tree::{Kind, Member, Node},
};

/// The maximum nesting depth of collections.
const MAX_DEPTH: usize = 100;

/// Parses `text`; empty text is `null`.
pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    read(text).map(|(root, _)| root)
}

/// The starts of an alias and of the anchor that it refers to.
struct Reference {
    alias: usize,
    anchor: usize,
}

/// Parses `text` to a value and its references.
fn read(text: &str) -> Result<(Node, Vec<Reference>), DocumentError> {
    let offsets = text.char_indices().map(|(at, _)| at).collect();
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { text, offsets, parser, anchors: BTreeMap::new(), references: Vec::new() };
    let mut root = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::DocumentStart(_) if root.is_some() => {
                let line = line_at(text, span.start);
                return Err(DocumentError::Unsupported { line, what: "several documents in one file" });
            }
            Event::DocumentStart(_) => root = reader.node(0)?.ok(),
            _ => {}
        }
    }
    let nothing = Node { span: text.len()..text.len(), kind: Kind::Null };
    Ok((root.unwrap_or(nothing), reader.references))
}

struct Reader<'a> {
    text: &'a str,
    /// The byte offset of each character: the parser counts characters.
    offsets: Vec<usize>,
    parser: Parser<'a, StrInput<'a>>,
    /// The start of each anchor, by its number.
    anchors: BTreeMap<usize, usize>,
    references: Vec<Reference>,
}

impl<'a> Reader<'a> {
    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Range<usize>)>, DocumentError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                Ok(Some((event, self.offset(span.start.index())..self.offset(span.end.index()))))
            }
            Some(Err(error)) => Err(malformed(self.text, self.offset(error.marker().index()), "YAML")),
            None => Ok(None),
        }
    }

    /// The value that starts with the next event, or that event's span if it ends a collection or the document.
    fn node(&mut self, depth: usize) -> Result<Result<Node, Range<usize>>, DocumentError> {
        let Some((event, span)) = self.next()? else { return Ok(Err(self.text.len()..self.text.len())) };
        if depth > MAX_DEPTH {
            let line = line_at(self.text, span.start);
            return Err(DocumentError::Unsupported { line, what: "deeply nested collections" });
        }
        let (Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)) = event
        else {
            let Event::Alias(anchor) = event else { return Ok(Err(span)) };
            let anchor = self.anchors.get(&anchor).copied().unwrap_or(span.start);
            self.references.push(Reference { alias: span.start, anchor });
            return Ok(Ok(self.opaque(span)));
        };
        // An alias inside a collection can refer to that collection.
        self.anchors.insert(anchor, span.start);
        let (node, tag) = match event {
            Event::Scalar(value, style, _, tag) => (self.scalar(&value, style, span), tag),
            Event::SequenceStart(_, tag) => (self.list(span, depth + 1)?, tag),
            Event::MappingStart(_, tag) => (self.mapping(span, depth + 1)?, tag),
            _ => return Ok(Err(span)),
        };
        Ok(Ok(if anchor > 0 || tag.is_some() { self.opaque(node.span) } else { node }))
    }

    fn opaque(&self, span: Range<usize>) -> Node {
        Node { kind: Kind::Opaque(self.text[span.clone()].to_owned()), span }
    }

    fn scalar(&self, value: &str, style: ScalarStyle, span: Range<usize>) -> Node {
        let spelled = &self.text[span.clone()];
        // The parser's span of quoted text includes a comment after it.
        let length = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if spelled.starts_with(['"', '\'']) => {
                quoted_length(spelled)
            }
            ScalarStyle::Plain if value.is_empty() && !spelled.starts_with(['&', '!']) => 0,
            _ => spelled.trim_end().len(),
        };
        let span = span.start..span.start + length;
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let kind = match style {
            _ if is_block || spelled[..length].contains('\n') => Kind::Opaque(value.to_owned()),
            ScalarStyle::Plain => plain(value),
            _ => Kind::Text(value.to_owned()),
        };
        Node { span, kind }
    }

    fn list(&mut self, open: Range<usize>, depth: usize) -> Result<Node, DocumentError> {
        let mut elements: Vec<Node> = Vec::new();
        let close = loop {
            match self.node(depth)? {
                Ok(element) => elements.push(element),
                Err(close) => break close,
            }
        };
        let end = elements.last().map_or(open.start, |last| last.span.end);
        Ok(Node { span: whole(&open, &close, end), kind: Kind::List(elements) })
    }

    fn mapping(&mut self, open: Range<usize>, depth: usize) -> Result<Node, DocumentError> {
        let mut members: Vec<Member> = Vec::new();
        let close = loop {
            let key = match self.node(depth)? {
                Ok(key) => key,
                Err(close) => break close,
            };
            let Ok(mut value) = self.node(depth)? else { break key.span };
            if value.span.end <= key.span.end {
                // No value: the span is the place where it would be.
                let after = self.text[key.span.end..].trim_start_matches([' ', '\t']);
                let at = self.text.len() - after.strip_prefix(':').map_or(self.text.len() - key.span.end, str::len);
                value.span = at..at;
            }
            let text = match key.kind {
                Kind::Text(text) | Kind::Plain(text) => text,
                _ => self.text[key.span.clone()].to_owned(),
            };
            members.push(Member { key: text, span: key.span.start..value.span.end, value });
        };
        if close.is_empty() {
            // A comment after a value belongs to the member.
            for member in &mut members {
                let rest = &self.text[member.span.end..];
                let line = rest.lines().next().unwrap_or_default();
                if line.trim_start().starts_with('#') {
                    member.span.end += line.trim_end().len();
                }
            }
        }
        let end = members.last().map_or(open.start, |last| last.span.end);
        Ok(Node { span: whole(&open, &close, end), kind: Kind::Table(members) })
    }
}

/// The span of a collection, up to its closing bracket or the end of its last part: the parser ends a collection
/// without brackets only where the next token starts.
fn whole(open: &Range<usize>, close: &Range<usize>, last: usize) -> Range<usize> {
    open.start..if close.is_empty() { last } else { close.end }
}

/// The length of the quoted text at the start of `spelled`, which the parser has accepted.
fn quoted_length(spelled: &str) -> usize {
    let quote = if spelled.starts_with('"') { '"' } else { '\'' };
    let mut letters = spelled.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        let is_doubled = quote == '\'' && letters.peek().is_some_and(|(_, next)| *next == quote);
        match letter {
            '\\' if quote == '"' => drop(letters.next()),
            _ if letter == quote && is_doubled => drop(letters.next()),
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    spelled.len()
}

fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "false" | "True" | "False" => Kind::Plain(text.to_ascii_lowercase()),
        number if number.parse::<f64>().is_ok() => Kind::Plain(number.to_owned()),
        text => Kind::Text(text.to_owned()),
    }
}

/// `text` with `members` as `container`'s member `name`.
pub(super) fn with(
    text: &str,
    root: &Node,
    container: &str,
    name: &str,
    members: &Members,
) -> Result<String, DocumentError> {
    let newline = newline(text);
    let lines = |indent: usize| -> String {
        let line = |line: String| format!("{:1$}{line}{newline}", "", indent + 2);
        let own: String = members.iter().flat_map(spelled).map(line).collect();
        format!("{:indent$}{}:{newline}{own}", "", word(name))
    };
    let Some(at) = root.member(container) else {
        let rest = if root.kind == Kind::Null { replaced(text, &root.span, "") } else { text.to_owned() };
        let indent = root.members().first().map_or(0, |member| column(text, member.span.start));
        // A document can have an explicit end marker.
        let from = root.span.end.min(rest.len()).saturating_sub(1);
        let end =
            rest.as_bytes()[from..].windows(4).position(|line| line == b"\n...").map_or(rest.len(), |at| from + at + 1);
        let (head, tail) = rest.split_at(end);
        let gap = if head.is_empty() || head.ends_with('\n') { "" } else { newline };
        return Ok(format!("{head}{gap}{:indent$}{container}:{newline}{}{tail}", "", lines(indent + 2)));
    };
    let servers = &at.value;
    let outer = column(text, at.span.start);
    match (&servers.kind, servers.members()) {
        (Kind::Table(_), [first, ..]) if is_own_line(text, first.span.start) => {
            let indent = column(text, first.span.start);
            if let Some(server) = servers.member(name) {
                let (whole, inner) = lines_of(text, server)?;
                let server = &server.value;
                let moves = |reference: &Reference| {
                    let holder = kept(server).find(|member| member.span.contains(&reference.alias));
                    holder.is_some_and(|member| !member.span.contains(&reference.anchor))
                };
                if inner.iter().any(moves) {
                    return Err(referred(text, &whole));
                }
                // The members to keep stay as they are, so the new ones use their indentation.
                let first = kept(server).find(|member| is_own_line(text, member.span.start));
                let deeper = first.map_or(indent + 2, |member| column(text, member.span.start));
                let as_written = |member: &Member| vec![text[member.span.clone()].trim_end().to_owned()];
                let lines = |wanted: &(&'static str, Value)| {
                    let member = kept(server).find(|member| member.key == wanted.0);
                    member.map_or_else(|| spelled(wanted), as_written)
                };
                let others = kept(server).filter(|member| !members.iter().any(|(key, _)| *key == member.key));
                let all = members.iter().flat_map(lines).chain(others.flat_map(as_written));
                let head = format!("{:indent$}{}:{newline}", "", word(name));
                let lines = all.fold(head, |lines, line| format!("{lines}{:deeper$}{line}{newline}", ""));
                return Ok(replaced(text, &whole, &lines));
            }
            Ok(inserted(text, servers.span.end, &lines(indent), newline))
        }
        // `{}` or no value: the new lines follow below.
        (Kind::Table(_) | Kind::Null, []) => {
            let mut bare = replaced(text, &servers.span, "");
            let colon = servers.span.start.min(bare.len());
            let head = bare[..colon].trim_end_matches(' ').len();
            bare.replace_range(head..colon, "");
            Ok(inserted(&bare, head, &lines(outer + 2), newline))
        }
        _ => Err(DocumentError::Unsupported { line: line_at(text, servers.span.start), what: "servers on one line" }),
    }
}

/// `text` without `container`'s member `name`.
///
/// # Errors
/// [`DocumentError::Unsupported`].
pub(super) fn without(text: &str, root: &Node, container: &str, name: &str) -> Result<String, DocumentError> {
    let Some(servers) = root.get(container) else { return Ok(text.to_owned()) };
    let Some(server) = servers.member(name) else { return Ok(text.to_owned()) };
    let changed = replaced(text, &lines_of(text, server)?.0, "");
    Ok(match (servers.members().len(), root.member(container)) {
        // A key without a value would no longer be a mapping.
        (1, Some(member)) => {
            let colon = line_end(&changed, member.span.start);
            let line = changed[member.span.start..colon].trim_end();
            let at = member.span.start + line.find(" #").unwrap_or(line.len());
            let at = changed[..at].trim_end().len();
            format!("{} {{}}{}", &changed[..at], &changed[at..])
        }
        _ => changed,
    })
}

/// The lines of `server` and the references within, if nothing outside refers to a part of it.
fn lines_of(text: &str, server: &Member) -> Result<(Range<usize>, Vec<Reference>), DocumentError> {
    let whole = line_start(text, server.span.start)..line_end(text, server.span.end);
    let (_, references) = read(text)?;
    let (inner, outer): (Vec<_>, Vec<_>) = references
        .into_iter()
        .filter(|reference| whole.contains(&reference.anchor))
        .partition(|reference| whole.contains(&reference.alias));
    if outer.is_empty() { Ok((whole, inner)) } else { Err(referred(text, &whole)) }
}

fn referred(text: &str, whole: &Range<usize>) -> DocumentError {
    let what = "an entry with a YAML anchor that other entries use";
    DocumentError::Unsupported { line: line_at(text, whole.start), what }
}

/// The lines of a member.
fn spelled((key, value): &(&'static str, Value)) -> Vec<String> {
    let below = |lines: Vec<String>| std::iter::once(format!("{key}:")).chain(lines).collect();
    match value {
        Value::Text(text) => vec![format!("{key}: {}", word(text))],
        Value::Truth(truth) => vec![format!("{key}: {truth}")],
        Value::Number(number) => vec![format!("{key}: {number}")],
        Value::List(texts) => below(texts.iter().map(|text| format!("- {}", word(text))).collect()),
        Value::Table(table) => {
            below(table.iter().map(|(key, text)| format!("  {}: {}", word(key), word(text))).collect())
        }
    }
}

/// `text` as a value, without quotes if no YAML parser can read it as anything else.
fn word(text: &str) -> String {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let starts = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/');
    let means_more = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"];
    let bare = starts && text.chars().all(letters) && !means_more.contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn inserted(text: &str, offset: usize, lines: &str, newline: &str) -> String {
    let at = line_end(text, offset);
    let (head, rest) = text.split_at(at);
    let gap = if head.is_empty() || head.ends_with('\n') { "" } else { newline };
    format!("{head}{gap}{lines}{rest}")
}

/// Where the next line starts.
fn line_end(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |at| offset + at + 1)
}

fn column(text: &str, offset: usize) -> usize {
    offset - line_start(text, offset)
}

fn is_own_line(text: &str, offset: usize) -> bool {
    text[line_start(text, offset)..offset].trim_matches(' ').is_empty()
}
