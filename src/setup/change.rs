//! The changes to a client's file, and its text after them.

use crate::{
    settings::machine::Machine,
    setup::{
        client::Client,
        document::Document,
        entry::Entry,
        error::DocumentError,
        plaintext::{self, Exposed},
        tree::Node,
    },
};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Add the entry, replacing any other of the same name.
    Put(Entry),
    /// Remove the server of this name.
    Take(String),
}

impl Change {
    /// The name of the server that the change is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.name,
            Self::Take(name) => name,
        }
    }
}

/// The entry that the user asked for.
#[derive(Debug)]
pub struct Wish {
    pub entry: Entry,
    /// Whether the user chose its name.
    pub named: bool,
    /// Whether it replaces another entry of the same name.
    pub force: bool,
    /// Whether the user gave options for `serve`.
    pub has_options: bool,
}

impl Wish {
    /// Whether the client would no longer start `serve`, and so lose the options that the user chose in `before`.
    fn loses_options_of(&self, before: &Entry) -> bool {
        let becomes_native = before.url.is_none() && self.entry.url.is_some();
        // After `serve`, and after `token --headers`.
        becomes_native && before.arguments.get(1..) != self.entry.arguments.get(2..)
    }

    /// The requested entry in place of `before`, which finmcp wrote for the same server. Options that the user once
    /// chose stay: an update must not lift `--read-only`.
    fn updating(&self, before: &Entry) -> Entry {
        let is_same_way = before.url.is_some() == self.entry.url.is_some();
        let arguments = if is_same_way && !self.has_options { &before.arguments } else { &self.entry.arguments };
        // finmcp decides about the variables that it needs, except those with a password, which it never writes.
        let is_users = |name: &str, value: &str| {
            let is_needed = Machine::NEEDED.contains(&name) || Machine::BUS.contains(&name);
            !is_needed || plaintext::may_hold_password(name, value)
        };
        let kept = before.environment.clone().into_iter().filter(|(name, value)| is_users(name, value));
        let mut passed = self.entry.passed.clone();
        passed.extend(before.passed.iter().filter(|name| !self.entry.passed.contains(name)).cloned());
        Entry {
            arguments: arguments.clone(),
            environment: kept.chain(self.entry.environment.clone()).collect(),
            passed,
            ..self.entry.clone()
        }
    }
}

/// Another entry has the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} already {}", client.title(), holder.text(name))]
pub struct Taken {
    pub client: Client,
    pub name: String,
    /// What kind of entry has the name.
    pub holder: Holder,
}

/// The kind of entry that already has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A server that finmcp did not add.
    Other,
    /// An entry of finmcp for another server.
    Finmcp,
    /// An entry of finmcp for the same server, with options for `serve` that the requested entry cannot have.
    Options,
    /// A server that finmcp is about to replace under its own name.
    Replaced,
}

impl Holder {
    fn text(self, name: &str) -> String {
        match self {
            Self::Other => format!("has another server named {name:?}"),
            Self::Finmcp => format!("has a finmcp entry named {name:?} for another server"),
            Self::Options => format!("has a finmcp entry named {name:?} with options that --native drops"),
            Self::Replaced => format!("uses {name:?} for a server that this command replaces"),
        }
    }

    fn of(client: Client, name: &str, node: &Node) -> Self {
        match Entry::read(client, name, node) {
            Some(entry) if entry.runs_finmcp() => Self::Finmcp,
            _ => Self::Other,
        }
    }
}

/// The changes that add the requested entry to `document` and replace each of `replaced`: a server with a secret in
/// plain text, and the entry that replaces it (none if that is the requested one). Empty if nothing has to change. An
/// entry of finmcp that `is_meant` says is for the same server is updated.
///
/// # Errors
/// [`Taken`].
pub fn wanted(
    client: Client,
    document: &Document,
    wish: &Wish,
    replaced: &[(Exposed, Option<Entry>)],
    is_meant: impl Fn(&Entry) -> bool,
) -> Result<Vec<Change>, Taken> {
    let mut changes = Vec::new();
    let mut placed = false;
    for (exposed, entry) in replaced {
        changes.push(match entry {
            Some(entry) => Change::Put(entry.clone()),
            // Keeps the old name, so that the permissions the user gave its tools still apply.
            None if !placed && (!wish.named || exposed.name == wish.entry.name) => {
                placed = true;
                Change::Put(Entry { name: exposed.name.clone(), ..wish.entry.clone() })
            }
            None => Change::Take(exposed.name.clone()),
        });
    }
    let name = &wish.entry.name;
    let held = document.server(name);
    let own = held.and_then(|node| Entry::read(client, name, node)).filter(|own| own.runs_finmcp() && is_meant(own));
    let entry = match &own {
        Some(own) if !wish.force => wish.updating(own),
        _ => wish.entry.clone(),
    };
    match held {
        _ if placed => {}
        Some(node) if entry.is_that_of(client, node) => {}
        Some(_) if changes.iter().any(|change| change.name() == name) => {
            return Err(Taken { client, name: name.clone(), holder: Holder::Replaced });
        }
        Some(_) if !wish.force && own.as_ref().is_some_and(|own| wish.loses_options_of(own)) => {
            return Err(Taken { client, name: name.clone(), holder: Holder::Options });
        }
        Some(node) if !wish.force && own.is_none() => {
            return Err(Taken { client, name: name.clone(), holder: Holder::of(client, name, node) });
        }
        _ => changes.push(Change::Put(entry)),
    }
    Ok(changes)
}

/// The changes that remove finmcp's entry for the requested server from `document`: the one with its name, else every
/// one that `is_meant` says is for that server.
///
/// # Errors
/// [`Taken`] if another server has that name.
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

/// `text` after `changes`.
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

/// `text` after `changes`. If they undo exactly what finmcp added to `before`, the result is `before`, byte for byte. An
/// entry that finmcp replaced does not come back: it may hold a token that the user wanted to be rid of.
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
