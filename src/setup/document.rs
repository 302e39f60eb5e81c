//! A client's file: read in its format and changed in one place, so that comments, order and layout stay.

use crate::setup::{
    client::{Client, Format},
    entry::{Entry, Members, kept},
    error::DocumentError,
    json,
    lines::line_at,
    toml,
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
