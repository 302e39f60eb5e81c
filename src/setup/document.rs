//! A client's file: read in its format and changed in one place, so that comments, order and layout stay.

use std::ops::Range;

use crate::setup::{
    client::{Client, Format},
    entry::{Entry, Members, kept},
    json, toml,
    tree::{Kind, Member, Node},
    yaml,
};

/// A file that can be changed.
#[derive(Debug)]
pub struct Document {
    client: Client,
    /// Whether it starts with a byte order mark, which finmcp keeps.
    marked: bool,
    text: String,
    root: Node,
}

/// Why a file cannot be read or changed. Names the place but never quotes the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The syntax is wrong.
    #[error("line {line}, column {column}: not valid {format}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// The format's name.
        format: &'static str,
    },
    /// A value where finmcp expects a table of servers or of settings.
    #[error("line {line}: {what} is not {wanted}")]
    NotTable {
        /// The line, from 1.
        line: usize,
        /// The member, or the file as a whole.
        what: String,
        /// What it should be, in the format's vocabulary.
        wanted: &'static str,
    },
    /// A duplicate of a member that finmcp changes.
    #[error("line {line}: duplicate {name:?}")]
    Duplicate {
        /// The line of the second, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// Valid, but finmcp cannot safely change it.
    #[error("line {line}: finmcp cannot safely change {what}")]
    Unsupported {
        /// The line, from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
}

const MARK: char = '\u{feff}';

impl Document {
    /// Reads `text` as `client` does. Empty text, or `null`, is a file without settings.
    ///
    /// # Errors
    /// [`DocumentError`], with the line.
    pub fn read(client: Client, text: &str) -> Result<Self, DocumentError> {
        let bare = text.strip_prefix(MARK).unwrap_or(text);
        let root = parse(client.format(), bare)?;
        let document = Self { client, marked: bare.len() < text.len(), text: bare.to_owned(), root };
        document.expect_table(&document.root, "the file")?;
        if let Some(servers) = document.servers() {
            document.expect_table(servers, client.container())?;
        }
        Ok(document)
    }

    fn expect_table(&self, node: &Node, what: &str) -> Result<(), DocumentError> {
        match node.kind {
            Kind::Table(_) | Kind::Null => Ok(()),
            Kind::Opaque(ref text) if text.starts_with(['&', '*', '!']) => {
                let what = "YAML with an anchor, an alias or a tag";
                Err(DocumentError::Unsupported { line: self.line(node), what })
            }
            _ => Err(DocumentError::NotTable {
                line: self.line(node),
                what: what.to_owned(),
                wanted: match self.client.format() {
                    Format::Json => "an object",
                    Format::Toml => "a table",
                    Format::Yaml => "a mapping",
                },
            }),
        }
    }

    /// The line of `node`, from 1.
    pub fn line(&self, node: &Node) -> usize {
        line_at(&self.text, node.span.start)
    }

    /// The root value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The text without a byte order mark: spans are offsets into it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn servers(&self) -> Option<&Node> {
        self.root.get(self.client.container())
    }

    /// All servers, in order.
    pub fn members(&self) -> &[Member] {
        self.servers().map(Node::members).unwrap_or_default()
    }

    /// The server named `name`.
    pub fn server(&self, name: &str) -> Option<&Node> {
        self.servers().and_then(|servers| servers.get(name))
    }

    /// The servers that the client starts as programs.
    pub fn entries(&self) -> Vec<Entry> {
        self.members().iter().filter_map(|member| Entry::read(self.client, &member.key, &member.value)).collect()
    }

    /// The text with `members` as the server `name`. If there is one already, its members that are not about the
    /// connection stay. Nothing else changes.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn with(&self, name: &str, members: &Members) -> Result<String, DocumentError> {
        let container = self.client.container();
        self.expect_single(name)?;
        if let Some(server) = self.server(name) {
            self.expect_table(server, &format!("{name:?}"))?;
        }
        let text = match self.client.format() {
            Format::Json => json::with(&self.text, &self.root, container, name, members),
            Format::Toml => toml::with(&self.text, container, name, members),
            Format::Yaml => yaml::with(&self.text, &self.root, container, name, members),
        }?;
        self.checked(text, name, true)
    }

    /// The text without the server `name`. Nothing else changes.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn without(&self, name: &str) -> Result<String, DocumentError> {
        let container = self.client.container();
        self.expect_single(name)?;
        let text = match self.client.format() {
            Format::Json => json::without(&self.text, container, name),
            Format::Toml => toml::without(&self.text, container, name),
            Format::Yaml => yaml::without(&self.text, &self.root, container, name),
        }?;
        self.checked(text, name, false)
    }

    /// Refuses duplicate names: programs differ about which of the two counts.
    fn expect_single(&self, name: &str) -> Result<(), DocumentError> {
        for (members, name) in [(self.root.members(), self.client.container()), (self.members(), name)] {
            if let Some(second) = members.iter().filter(|member| member.key == name).nth(1) {
                let line = line_at(&self.text, second.span.start);
                return Err(DocumentError::Duplicate { line, name: name.to_owned() });
            }
        }
        Ok(())
    }

    /// Returns `text` if it differs from this document only in the server `name`. A safety net: an unusual layout must
    /// not lose another server or setting.
    fn checked(&self, text: String, name: &str, is_there: bool) -> Result<String, DocumentError> {
        let unsupported =
            DocumentError::Unsupported { line: self.servers().map_or(1, |node| self.line(node)), what: "this layout" };
        let changed = Self::read(self.client, &text).map_err(|_| unsupported.clone())?;
        let container = self.client.container();
        let others = |document: &Self| {
            let settings: Vec<Member> =
                document.root.members().iter().filter(|member| member.key != container).cloned().collect();
            let servers = document.members().iter().filter(|member| member.key != name).cloned().collect();
            (Kind::Table(settings), Kind::Table(servers))
        };
        let (before, after) = (others(self), others(&changed));
        let same = before.0.is_same(&after.0) && before.1.is_same(&after.1);
        let stays = |member: &Member| {
            let after = changed.server(name).and_then(|server| server.get(&member.key));
            after.is_some_and(|after| after.kind.is_same(&member.value.kind))
        };
        let all_stay = self.server(name).is_none_or(|server| kept(server).all(stays));
        if !same || changed.server(name).is_some() != is_there || (is_there && !all_stay) {
            return Err(unsupported);
        }
        Ok(if self.marked { format!("{MARK}{text}") } else { text })
    }
}

fn parse(format: Format, text: &str) -> Result<Node, DocumentError> {
    match format {
        Format::Json => json::parse(text),
        Format::Toml => toml::parse(text),
        Format::Yaml => yaml::parse(text),
    }
}

/// The error for a syntax error at the byte `offset` of `text`.
pub(super) fn malformed(text: &str, offset: usize, format: &'static str) -> DocumentError {
    let offset = text.floor_char_boundary(offset);
    let column = text[line_start(text, offset)..offset].chars().count() + 1;
    DocumentError::Malformed { line: line_at(text, offset), column, format }
}

/// The number of the line with the byte at `offset`, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Where the line of the byte at `offset` starts.
pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// `text` with `with` at `span`.
pub(super) fn replaced(text: &str, span: &Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..span.start], &text[span.end..])
}

/// The line ending of `text`: that of its first line.
pub(super) fn newline(text: &str) -> &'static str {
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => "\r\n",
        _ => "\n",
    }
}
