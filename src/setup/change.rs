//! What is to change in a client's file, and what it then says.

use crate::setup::{
    client::Client,
    document::{Document, DocumentError},
    entry::Entry,
    plaintext::Exposed,
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

/// Another server has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has another server called {name:?}", client.title())]
pub struct Taken {
    /// Whose file.
    pub client: Client,
    /// The name.
    pub name: String,
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
    if placed {
        return Ok(changes);
    }
    let gone = |name: &str| changes.iter().any(|change| *change == Change::Take(name.to_owned()));
    match document.server(&wish.entry.name) {
        Some(node) if wish.entry.is_that_of(client, node) => {}
        Some(_) if !wish.force && !gone(&wish.entry.name) => {
            return Err(Taken { client, name: wish.entry.name.clone() });
        }
        _ => changes.push(Change::Put(wish.entry.clone())),
    }
    Ok(changes)
}

/// What takes finmcp's entry for the server of `entry` out of `document`: the one of its name, else those that start
/// the same.
///
/// # Errors
/// [`Taken`] where that name is another server's.
pub fn unwanted(client: Client, document: &Document, wish: &Wish) -> Result<Vec<Change>, Taken> {
    let name = &wish.entry.name;
    if let Some(node) = document.server(name) {
        let ours = Entry::read(client, name, node).is_some_and(|entry| entry.runs_finmcp());
        return match ours || wish.force {
            true => Ok(vec![Change::Take(name.clone())]),
            false => Err(Taken { client, name: name.clone() }),
        };
    }
    if wish.named {
        return Ok(Vec::new());
    }
    let same = |entry: &Entry| entry.runs_finmcp() && entry.arguments.starts_with(&wish.entry.arguments);
    Ok(document.entries().into_iter().filter(same).map(|entry| Change::Take(entry.name)).collect())
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
