//! `setup`: the entries that make AI clients start `finmcp serve`, or ask `finmcp token` for headers.
//!
//! [`client`] describes the clients, [`entry`] an entry, [`surroundings`] its environment variables, [`document`] changes
//! a file in one place, [`change`] decides the changes, [`plaintext`] finds secrets, [`mask`] hides them, and [`key`]
//! finds an API key that can move into the keychain. These are pure, except that [`client`] and `detection` check which
//! files exist, and [`inventory`] reads all of them. [`mod@file`] reads and replaces files; [`claude`] lets Claude Code
//! make the change.

mod advice;
pub mod change;
pub mod claude;
pub mod client;
pub mod deeplink;
mod detection;
pub mod document;
pub mod entry;
pub mod error;
pub mod file;
pub mod header_command;
pub mod inventory;
mod json;
pub mod key;
mod lines;
pub mod log_place;
pub mod mask;
pub mod plaintext;
pub mod plan;
pub mod program;
pub mod surroundings;
#[cfg(test)]
mod tests;
mod toml;
pub mod tree;
mod yaml;

use std::path::PathBuf;

use crate::{
    settings::machine::Machine,
    setup::{
        client::{Client, Scope},
        entry::Entry,
        file::{ConfigFile, FileError},
    },
};

/// An existing file of a client, with the servers in it that start programs.
#[derive(Debug)]
pub struct Found {
    pub client: Client,
    pub scope: Scope,
    pub path: PathBuf,
    /// The entries; [`Entry::runs_finmcp`] tells which ones are finmcp's.
    pub entries: Result<Vec<Entry>, FileError>,
}

/// Every file of a client on `machine`, the user's and the project's.
pub fn found(machine: &Machine) -> Vec<Found> {
    let places = Client::ALL.into_iter().flat_map(|client| {
        let own = client.file(Scope::User, machine);
        // In the home folder, the project's file can be the user's.
        let project = client.file(Scope::Project, machine).filter(|path| Some(path) != own.as_ref());
        [(client, Scope::User, own), (client, Scope::Project, project)]
    });
    let files = places.filter_map(|(client, scope, path)| {
        let path = path.filter(|path| path.exists())?;
        let document = ConfigFile::read(&path).and_then(|file| file.document(client));
        let entries = document.map(|document| document.entries());
        Some(Found { client, scope, path, entries })
    });
    files.collect()
}
