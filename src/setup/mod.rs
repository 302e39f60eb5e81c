//! `setup`: the entries that make AI clients start `finmcp serve`.
//!
//! [`client`] knows the clients, [`entry`] what an entry says, [`surroundings`] what it says about the environment,
//! [`document`] how a file is changed in one place only, [`change`] what is to change, [`plaintext`] what must not be shown. These are pure, but that [`client`] asks whether a
//! file is there. [`mod@file`] reads and replaces files; [`claude`] asks Claude Code to do it.

mod advice;
pub mod change;
pub mod claude;
pub mod client;
pub mod deeplink;
pub mod document;
pub mod entry;
pub mod error;
pub mod file;
mod json;
mod lines;
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

/// A client's file that is there, and the servers in it that are programs.
#[derive(Debug)]
pub struct Found {
    /// Whose it is.
    pub client: Client,
    /// For whom.
    pub scope: Scope,
    /// Where.
    pub path: PathBuf,
    /// What it says; [`Entry::runs_finmcp`] tells which are ours.
    pub entries: Result<Vec<Entry>, FileError>,
}

/// Every file of a client on `machine`, the person's own and the project's.
pub fn found(machine: &Machine) -> Vec<Found> {
    let places = Client::ALL.into_iter().flat_map(|client| {
        let own = client.file(Scope::User, machine);
        // In the home folder a project's file can be the person's own.
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
