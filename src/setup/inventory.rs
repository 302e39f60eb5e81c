//! What the clients on this machine have: the entries of finmcp, and secrets in plain text, in every file that a client
//! reads.

use std::path::{Path, PathBuf};

use crate::{
    settings::machine::Machine,
    setup::{
        client::{Client, Scope},
        document::Document,
        entry::Entry,
        file::{ConfigFile, FileError},
        plaintext::{self, Exposed},
        tree::Node,
    },
};

/// Where in its client an entry applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere.
    User,
    /// In the project of the current folder.
    Project,
    /// In this folder, for this user only: Claude Code's scope "local".
    Folder(String),
}

/// Servers that a client reads from one place of a file.
#[derive(Debug)]
pub struct Listed {
    pub client: Client,
    pub reach: Reach,
    pub file: PathBuf,
    /// The entries of finmcp.
    pub entries: Vec<Entry>,
    /// The servers with a secret in plain text.
    pub exposed: Vec<Exposed>,
}

/// A file that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    pub client: Client,
    pub file: PathBuf,
    pub error: FileError,
}

/// Every place on `machine` from which a client reads servers.
pub fn inventory(machine: &Machine) -> (Vec<Listed>, Vec<Unreadable>) {
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for client in Client::ALL {
        let mut files: Vec<(Reach, PathBuf)> = Vec::new();
        for (scope, reach) in [(Scope::User, Reach::User), (Scope::Project, Reach::Project)] {
            for file in client.files(scope, machine).into_iter().filter(|file| file.exists()) {
                // In the home folder, the project's file can be the user's.
                if !files.iter().any(|(_, other)| *other == file) {
                    files.push((reach.clone(), file));
                }
            }
        }
        for (reach, file) in files {
            let document = ConfigFile::read(&file).and_then(|read| read.document(client));
            match document {
                Ok(document) => listed.extend(of_document(client, &reach, &file, &document)),
                Err(error) => unreadable.push(Unreadable { client, file, error }),
            }
        }
    }
    (listed, unreadable)
}

fn of_document(client: Client, reach: &Reach, file: &Path, document: &Document) -> Vec<Listed> {
    let place = |reach: Reach, entries: Vec<Entry>, exposed: Vec<Exposed>| Listed {
        client,
        reach,
        file: file.to_owned(),
        entries: entries.into_iter().filter(Entry::runs_finmcp).collect(),
        exposed,
    };
    let mut places = vec![place(reach.clone(), document.entries(), plaintext::exposed(document))];
    if client == Client::ClaudeCode && *reach == Reach::User {
        let folders = document.root().get("projects").map(Node::members).unwrap_or_default();
        for folder in folders {
            let servers = folder.value.get(client.container()).map(Node::members).unwrap_or_default();
            let entries = servers.iter().filter_map(|server| Entry::read(client, &server.key, &server.value)).collect();
            let exposed = servers.iter().filter_map(plaintext::of_server).collect();
            places.push(place(Reach::Folder(folder.key.clone()), entries, exposed));
        }
    }
    places
}
