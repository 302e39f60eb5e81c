//! YAML, as far as a list of servers needs it: mappings, lists and one-line values are read, one member of a mapping is
//! added, replaced or removed. Whatever else there is (anchors, block texts, values over several lines) is stepped
//! over whole; where a change would have to go through it, there is an error and no change.

use std::ops::Range;

use crate::setup::{
    entry::{Members, Value, kept},
    error::DocumentError,
    lines::{line_at, line_start, newline, replaced},
    tree::{Kind, Member, Node},
};

/// A line that says something.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    /// Where it starts in the text, its indentation included.
    start: usize,
    /// Its number, from 1.
    number: usize,
    indent: usize,
    /// What it says, without indentation and spaces at the end.
    content: &'a str,
}

impl Line<'_> {
    fn end(&self) -> usize {
        self.start + self.indent + self.content.len()
    }

    fn is_item(&self) -> bool {
        self.content == "-" || self.content.starts_with("- ")
    }
}

/// Reads `text`; an empty one is nothing.
pub(super) fn parse(text: &str) -> Result<Node, DocumentError> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end().trim_start_matches(' ');
        let number = index + 1;
        if content.starts_with('\t') && !content.trim().is_empty() {
            return Err(DocumentError::Malformed { line: number, format: "YAML" });
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        if !content.is_empty() && !content.starts_with('#') {
            lines.push(Line { start, number, indent, content });
        }
        start += line.len();
    }
    if lines.first().is_some_and(|line| line.indent == 0 && line.content == "---") {
        lines.remove(0);
    }
    if let Some(line) = lines.iter().find(|line| line.indent == 0 && is_mark(line.content)) {
        return Err(DocumentError::Unsupported { line: line.number, what: "several documents in one file" });
    }
    let mut reader = Reader { text, lines, at: 0 };
    let Some(first) = reader.peek() else { return Ok(Node { span: text.len()..text.len(), kind: Kind::Null }) };
    if reader.lines.len() == 1 && key_of(first.content).is_none() {
        let (kind, _) = scalar(first.content);
        return Ok(placed(Node { span: 0..first.content.len(), kind }, first.start + first.indent));
    }
    let root = reader.block(first.indent)?;
    match reader.peek() {
        Some(line) => Err(DocumentError::Malformed { line: line.number, format: "YAML" }),
        None => Ok(root),
    }
}

fn is_mark(content: &str) -> bool {
    content == "---" || content == "..." || content.starts_with("--- ") || content.starts_with('%')
}

struct Reader<'a> {
    text: &'a str,
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    /// The lines with this indentation, and what is deeper.
    fn block(&mut self, indent: usize) -> Result<Node, DocumentError> {
        let start = self.peek().map_or(self.text.len(), |line| line.start + line.indent);
        let kind = match self.peek() {
            Some(line) if line.is_item() => self.list(indent)?,
            _ => self.mapping(indent)?,
        };
        let end = self.at.checked_sub(1).and_then(|last| self.lines.get(last)).map_or(start, Line::end);
        Ok(Node { span: start..end, kind })
    }

    fn list(&mut self, indent: usize) -> Result<Kind, DocumentError> {
        let mut elements = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent && line.is_item()) {
            self.at += 1;
            let content = line.content[1..].trim_start();
            let start = line.end() - content.len();
            let nested = key_of(content).is_some() || content.is_empty() || content.starts_with("- ");
            let value = if nested { self.opaque(start, indent)? } else { self.value(content, start, indent)? };
            elements.push(value);
        }
        Ok(Kind::List(elements))
    }

    fn mapping(&mut self, indent: usize) -> Result<Kind, DocumentError> {
        let mut members: Vec<Member> = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent) {
            let Some((key, length)) = key_of(line.content) else {
                return Err(DocumentError::Malformed { line: line.number, format: "YAML" });
            };
            self.at += 1;
            let content = line.content[length..].trim_start();
            let start = line.end() - content.len();
            let value = if content.is_empty() || content.starts_with('#') {
                self.child(line)?
            } else {
                self.value(content, start, indent)?
            };
            let end = self.lines.get(self.at - 1).map_or(start, Line::end);
            members.push(Member { key, span: line.start + line.indent..end, value });
        }
        Ok(Kind::Table(members))
    }

    /// What stands beneath a key with nothing beside it.
    fn child(&mut self, parent: Line<'a>) -> Result<Node, DocumentError> {
        let end = parent.start + parent.indent + parent.content.find(" #").unwrap_or(parent.content.len());
        match self.peek() {
            Some(line) if line.indent > parent.indent && (line.is_item() || key_of(line.content).is_some()) => {
                self.block(line.indent)
            }
            Some(line) if line.indent > parent.indent => self.opaque(line.start + line.indent, parent.indent),
            Some(line) if line.indent == parent.indent && line.is_item() => self.block(line.indent),
            _ => Ok(Node { span: end..end, kind: Kind::Null }),
        }
    }

    /// What begins with `content` on the line before.
    fn value(&mut self, content: &str, start: usize, indent: usize) -> Result<Node, DocumentError> {
        let goes_on = self.peek().is_some_and(|line| line.indent > indent);
        let (kind, length) = scalar(content);
        if goes_on || matches!(kind, Kind::Opaque(_)) {
            return self.opaque(start, indent);
        }
        Ok(placed(Node { span: 0..length, kind }, start))
    }

    /// From `start` past all that is deeper than `indent`.
    fn opaque(&mut self, start: usize, indent: usize) -> Result<Node, DocumentError> {
        while self.peek().is_some_and(|line| line.indent > indent) {
            self.at += 1;
        }
        let end = self.lines.get(self.at - 1).map_or(start, Line::end);
        let text = &self.text[start..end];
        if text.starts_with(['[', '{', '"', '\'']) && !is_closed(text) {
            let line = self.text[..start].matches('\n').count() + 1;
            return Err(DocumentError::Malformed { line, format: "YAML" });
        }
        Ok(Node { span: start..end, kind: Kind::Opaque(text.to_owned()) })
    }
}

/// Whether each bracket and quote of `text` has its end.
fn is_closed(text: &str) -> bool {
    let (mut depth, mut quote, mut before) = (0_usize, None, ' ');
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('"'), '\\') => drop(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            // Within a word it is an apostrophe.
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return false,
            },
            (None, '#') if before.is_whitespace() => drop(characters.by_ref().find(|next| *next == '\n')),
            (None, _) => {}
        }
        before = character;
    }
    depth == 0 && quote.is_none()
}

/// `node`, whose spans count from the byte at `start`, with spans that count from the text's beginning.
fn placed(node: Node, start: usize) -> Node {
    let moved = |span: Range<usize>| span.start + start..span.end + start;
    let kind = match node.kind {
        Kind::List(elements) => Kind::List(elements.into_iter().map(|element| placed(element, start)).collect()),
        Kind::Table(members) => {
            let member =
                |member: Member| Member { span: moved(member.span), value: placed(member.value, start), ..member };
            Kind::Table(members.into_iter().map(member).collect())
        }
        kind => kind,
    };
    Node { span: moved(node.span), kind }
}

/// The key that `content` begins with, and how long it is with its colon.
fn key_of(content: &str) -> Option<(String, usize)> {
    if content.starts_with(['"', '\'']) {
        let (key, length) = quoted_scalar(content)?;
        return content[length..].starts_with(':').then_some((key, length + 1)).filter(|(_, end)| ends(content, *end));
    }
    if content.starts_with(['&', '*', '!', '|', '>', '%', '@', '`', '{', '}', '[', ']', ',', '?', '#']) {
        return None;
    }
    let colon = content.match_indices(':').map(|(at, _)| at).find(|at| ends(content, at + 1))?;
    let key = content[..colon].trim_end();
    (!key.is_empty() && !key.contains(" #") && !key.starts_with("- ")).then(|| (key.to_owned(), colon + 1))
}

fn ends(content: &str, at: usize) -> bool {
    content[at..].is_empty() || content[at..].starts_with([' ', '\t'])
}

/// The value that `content` is, and its length without a comment behind it; what is more than a line is opaque.
fn scalar(content: &str) -> (Kind, usize) {
    let opaque = || (Kind::Opaque(content.to_owned()), content.len());
    let only = |kind: Kind, length: usize| {
        let rest = content[length..].trim_start();
        let alone = rest.is_empty() || (rest.starts_with('#') && rest.len() < content.len() - length);
        if alone { (kind, length) } else { (Kind::Opaque(content.to_owned()), content.len()) }
    };
    match content.as_bytes().first() {
        Some(b'"' | b'\'') => {
            quoted_scalar(content).map_or_else(opaque, |(text, length)| only(Kind::Text(text), length))
        }
        Some(b'[' | b'{') => flow(content).map_or_else(opaque, |(kind, length)| only(kind, length)),
        Some(b'&' | b'*' | b'!' | b'|' | b'>' | b'%' | b'@' | b'`' | b'?' | b']' | b'}' | b',') => opaque(),
        _ => {
            let length = content.find(" #").unwrap_or(content.len());
            let text = content[..length].trim_end();
            (plain(text), text.len())
        }
    }
}

fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "false" | "True" | "False" => Kind::Plain(text.to_ascii_lowercase()),
        number if number.parse::<f64>().is_ok() => Kind::Plain(number.to_owned()),
        text => Kind::Text(text.to_owned()),
    }
}

/// The text in quotes that `content` begins with, and their length; none where they do not end here, or hold escapes
/// that JSON does not know.
fn quoted_scalar(content: &str) -> Option<(String, usize)> {
    if content.starts_with('\'') {
        let mut at = 1;
        loop {
            at += content[at..].find('\'')?;
            if !content[at + 1..].starts_with('\'') {
                return Some((content[1..at].replace("''", "'"), at + 1));
            }
            at += 2;
        }
    }
    let mut texts = serde_json::Deserializer::from_str(content).into_iter::<String>();
    let text = texts.next()?.ok()?;
    Some((text, texts.byte_offset()))
}

/// The list or mapping in brackets that `content` begins with, of texts alone, and its length.
fn flow(content: &str) -> Option<(Kind, usize)> {
    let is_list = content.starts_with('[');
    let close = if is_list { ']' } else { '}' };
    let (mut elements, mut members) = (Vec::new(), Vec::new());
    let mut at = 1;
    loop {
        at += content[at..].len() - content[at..].trim_start().len();
        if content[at..].starts_with(close) {
            let kind = if is_list { Kind::List(elements) } else { Kind::Table(members) };
            return Some((kind, at + 1));
        }
        let start = at;
        let mut key = None;
        if !is_list {
            let (name, length) = match quoted_scalar(&content[at..]) {
                Some(found) => found,
                None => {
                    let length = content[at..].find([':', ',', '{', '}', '[', ']', '"', '\'', '#', '&', '*', '!'])?;
                    (content[at..at + length].trim().to_owned(), length)
                }
            };
            at += length;
            at += 1 + content[at..].strip_prefix(':')?.len() - content[at + 1..].trim_start().len();
            key = Some(name);
        }
        let begin = at;
        let kind = match content[at..].chars().next()? {
            '"' | '\'' => {
                let (text, length) = quoted_scalar(&content[at..])?;
                at += length;
                Kind::Text(text)
            }
            '[' | '{' | '&' | '*' | '!' | '#' => return None,
            _ => {
                let length = content[at..].find([',', close, '{', '[', '"', '\'', '#'])?;
                let text = content[at..at + length].trim();
                at += length;
                plain(text)
            }
        };
        let value = Node { span: begin..at, kind };
        match key {
            Some(key) => members.push(Member { key, span: start..at, value }),
            None => elements.push(value),
        }
        at += content[at..].len() - content[at..].trim_start().len();
        if let Some(rest) = content[at..].strip_prefix(',') {
            at = content.len() - rest.len();
        } else if !content[at..].starts_with(close) {
            return None;
        }
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
        let gap = if rest.is_empty() || rest.ends_with('\n') { "" } else { newline };
        let indent = root.members().first().map_or(0, |member| column(text, member.span.start));
        return Ok(format!("{rest}{gap}{:indent$}{container}:{newline}{}", "", lines(indent + 2)));
    };
    let servers = &at.value;
    let outer = column(text, at.span.start);
    match (&servers.kind, servers.members()) {
        (Kind::Table(_), [first, ..]) if is_own_line(text, first.span.start) => {
            let indent = column(text, first.span.start);
            if let Some(server) = servers.member(name) {
                let whole = lines_of(text, server)?;
                let server = &server.value;
                if let Kind::Opaque(_) = server.kind {
                    let what = "YAML that is not plain lines";
                    return Err(DocumentError::Unsupported { line: line_at(text, server.span.start), what });
                }
                // What stays keeps its lines, so the others take their indentation.
                let first = kept(server).find(|member| is_own_line(text, member.span.start));
                let deeper = first.map_or(indent + 2, |member| column(text, member.span.start));
                let theirs = |member: &Member| vec![text[member.span.clone()].trim_end().to_owned()];
                let lines = |ours: &(&'static str, Value)| {
                    let member = kept(server).find(|member| member.key == ours.0);
                    member.map_or_else(|| spelled(ours), theirs)
                };
                let others = kept(server).filter(|member| !members.iter().any(|(key, _)| *key == member.key));
                let all = members.iter().flat_map(lines).chain(others.flat_map(theirs));
                let head = format!("{:indent$}{}:{newline}", "", word(name));
                let lines = all.fold(head, |lines, line| format!("{lines}{:deeper$}{line}{newline}", ""));
                let mut gone =
                    marked(&text[whole.clone()], '&').filter(|name| !marked(&lines, '&').any(|n| n == *name));
                return match gone.any(|name| marked(&lines, '*').any(|alias| alias == name)) {
                    false => Ok(replaced(text, &whole, &lines)),
                    true => Err(referred(text, &whole)),
                };
            }
            Ok(inserted(text, servers.span.end, &lines(indent), newline))
        }
        // `{}` or nothing: the lines come beneath.
        (Kind::Table(_) | Kind::Null, []) => {
            let mut bare = replaced(text, &servers.span, "");
            let colon = servers.span.start.min(bare.len());
            let head = bare[..colon].trim_end_matches(' ').len();
            bare.replace_range(head..colon, "");
            Ok(inserted(&bare, head, &lines(outer + 2), newline))
        }
        _ => Err(DocumentError::Unsupported { line: line_at(text, servers.span.start), what: "servers in one line" }),
    }
}

/// `text` without `container`'s member `name`.
///
/// # Errors
/// [`DocumentError::Unsupported`].
pub(super) fn without(text: &str, root: &Node, container: &str, name: &str) -> Result<String, DocumentError> {
    let Some(servers) = root.get(container) else { return Ok(text.to_owned()) };
    let Some(server) = servers.member(name) else { return Ok(text.to_owned()) };
    let changed = replaced(text, &lines_of(text, server)?, "");
    Ok(match (servers.members().len(), root.member(container)) {
        // A key with nothing beneath would be no mapping any more.
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

/// The lines of `server`, if nothing outside of them refers to a part of it.
fn lines_of(text: &str, server: &Member) -> Result<Range<usize>, DocumentError> {
    let whole = line_start(text, server.span.start)..line_end(text, server.span.end);
    let outside = replaced(text, &whole, "\n");
    match marked(&text[whole.clone()], '&').any(|anchor| marked(&outside, '*').any(|alias| alias == anchor)) {
        false => Ok(whole),
        true => Err(referred(text, &whole)),
    }
}

fn referred(text: &str, whole: &Range<usize>) -> DocumentError {
    let what = "an entry that has a part which is used elsewhere";
    DocumentError::Unsupported { line: line_at(text, whole.start), what }
}

/// The names behind each `sign` in `text` that can be that of an anchor or an alias.
fn marked(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let is_edge = |letter: char| letter.is_whitespace() || "[]{},".contains(letter);
    let starts = text.match_indices(sign).map(|(at, _)| at).filter(move |at| text[..*at].ends_with(is_edge));
    starts.filter_map(move |at| text[at + 1..].split(is_edge).next()).filter(|name| !name.is_empty())
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

/// `text` as a value: bare where no reader of YAML can take it for anything else.
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
