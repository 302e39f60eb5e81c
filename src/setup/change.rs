//! What is to change in a client's file, and what it then says.

use std::fmt;

use crate::setup::{
    client::Client, document::Document, entry::Entry, error::DocumentError, plaintext::Exposed, tree::Node,
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry is there, in place of any other of its name.
    Put(Entry),
    /// No server of this name is there.
    Take(String),
}

impl Change {
    /// The server that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.name,
            Self::Take(name) => name,
        }
    }
}

/// What is wanted of a file.
#[derive(Debug)]
pub struct Wish {
    /// The entry.
    pub entry: Entry,
    /// Whether a person chose its name.
    pub named: bool,
    /// Whether it takes the place of another entry of that name.
    pub force: bool,
}

/// Something else has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has {holder} called {name:?}", client.title())]
pub struct Taken {
    /// Whose file.
    pub client: Client,
    /// The name.
    pub name: String,
    /// What has it.
    pub holder: Holder,
}

/// What has a name that is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A server that is not finmcp's.
    Other,
    /// An entry of finmcp: for another server, with other options, or of a program elsewhere.
    Finmcp,
    /// A server that finmcp is to replace as well, under its own name.
    Replaced,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Other => "another server",
            Self::Finmcp => "another entry of finmcp",
            Self::Replaced => "another server that is to be replaced,",
        })
    }
}

impl Holder {
    fn of(client: Client, name: &str, node: &Node) -> Self {
        match Entry::read(client, name, node) {
            Some(entry) if entry.runs_finmcp() => Self::Finmcp,
            _ => Self::Other,
        }
    }
}

/// What makes `document` say what is wished, with each of `replaced` (a server that lies open, and the entry that does
/// its work; none where that is the wished one) replaced. Empty where it says so already.
///
/// # Errors
/// [`Taken`].
pub fn wanted(
    client: Client,
    document: &Document,
    wish: &Wish,
    replaced: &[(Exposed, Option<Entry>)],
) -> Result<Vec<Change>, Taken> {
    let mut changes = Vec::new();
    let mut placed = false;
    for (exposed, entry) in replaced {
        changes.push(match entry {
            Some(entry) => Change::Put(entry.clone()),
            // Under its old name what people allowed its tools stays allowed.
            None if !placed && (!wish.named || exposed.name == wish.entry.name) => {
                placed = true;
                Change::Put(Entry { name: exposed.name.clone(), ..wish.entry.clone() })
            }
            None => Change::Take(exposed.name.clone()),
        });
    }
    let name = &wish.entry.name;
    match document.server(name) {
        _ if placed => {}
        Some(node) if wish.entry.is_that_of(client, node) => {}
        Some(_) if changes.iter().any(|change| change.name() == name) => {
            return Err(Taken { client, name: name.clone(), holder: Holder::Replaced });
        }
        Some(node) if !wish.force => {
            return Err(Taken { client, name: name.clone(), holder: Holder::of(client, name, node) });
        }
        _ => changes.push(Change::Put(wish.entry.clone())),
    }
    Ok(changes)
}

/// What takes finmcp's entry for the wished server out of `document`: the one of its name, else all that `is_meant` says
/// are for that server.
///
/// # Errors
/// [`Taken`] where that name is another server's.
pub fn unwanted(
    client: Client,
    document: &Document,
    wish: &Wish,
    is_meant: impl Fn(&Entry) -> bool,
) -> Result<Vec<Change>, Taken> {
    let name = &wish.entry.name;
    let entries = document.entries().into_iter();
    let mut same: Vec<String> =
        entries.filter(|entry| entry.runs_finmcp() && is_meant(entry)).map(|entry| entry.name).collect();
    let held = document.server(name);
    if held.is_some() && (wish.force || same.contains(name)) {
        return Ok(vec![Change::Take(name.clone())]);
    }
    if wish.named {
        same.clear();
    }
    match held {
        Some(node) if same.is_empty() => {
            Err(Taken { client, name: name.clone(), holder: Holder::of(client, name, node) })
        }
        _ => Ok(same.into_iter().map(Change::Take).collect()),
    }
}

/// `text` with `changes` made.
///
/// # Errors
/// [`DocumentError`].
pub fn applied(client: Client, text: &str, changes: &[Change]) -> Result<String, DocumentError> {
    let mut text = text.to_owned();
    for change in changes {
        let document = Document::read(client, &text)?;
        text = match change {
            Change::Put(entry) => document.with(&entry.name, &entry.members(client))?,
            Change::Take(name) => document.without(name)?,
        };
    }
    Ok(text)
}

/// `text` with `changes` made; where `before` is what it was when finmcp put in what is now taken out, that, to the byte.
/// What an entry took the place of does not come back: it may hold a token that its owner wanted gone.
///
/// # Errors
/// [`DocumentError`].
pub fn taken_back(
    client: Client,
    text: &str,
    changes: &[Change],
    before: Option<&str>,
) -> Result<String, DocumentError> {
    let document = Document::read(client, text)?;
    let put_again = |change: &Change| match change {
        Change::Take(name) => document.server(name).and_then(|node| Entry::read(client, name, node)).map(Change::Put),
        Change::Put(_) => None,
    };
    let again: Option<Vec<Change>> = changes.iter().map(put_again).collect();
    let had_none = |before: &str| {
        let before = Document::read(client, before);
        before.is_ok_and(|before| changes.iter().all(|change| before.server(change.name()).is_none()))
    };
    if let (Some(again), Some(before)) = (again, before)
        && had_none(before)
        && applied(client, before, &again).is_ok_and(|made| made == text)
    {
        return Ok(before.to_owned());
    }
    applied(client, text, changes)
}
