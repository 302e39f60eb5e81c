//! Simulated servers of the three vendors, on loopback and in this process: real OAuth, real MCP, invented data.
//!
//! | part | content |
//! |---|---|
//! | [`asset`], [`tesorio`], [`masset`] | the vendors: sign-in, rules and tools |
//! | `books` in a `ledger`, [`receivables`], `library` | their data |
//! | `authority` behind its `endpoints`, `client` | sign-in for Tesorio and Masset |
//! | `tool`, `server`, `message`, `streamable` | MCP: tools as data, both eras' answers to JSON-RPC over HTTP |
//! | `mcp` | the same, with a bearer token required |
//! | `listener`, `form`, `grant_error`, `jwt`, `random` | HTTP and OAuth vocabulary |
//! | [`person`] | a simulated user, who signs in and allows access |
//! | [`statement`], `table`, [`money`], `png` | the tools' results |
//!
//! Nothing here writes a file, blocks a thread or outlives its [`Vendors`].
#![expect(clippy::disallowed_methods, reason = "simulated servers have their own clock")]

mod activity;
pub mod asset;
mod authority;
mod books;
mod client;
mod endpoints;
mod form;
mod grant_error;
mod jwt;
mod ledger;
mod library;
mod listener;
pub mod masset;
mod mcp;
mod message;
pub mod money;
pub mod person;
mod png;
mod random;
pub mod receivables;
mod server;
pub mod statement;
mod streamable;
mod table;
pub mod tesorio;
#[cfg(test)]
mod tests;
mod tool;

use std::io;

pub use crate::demo::{
    activity::Activity,
    asset::ExpiresIn,
    authority::Lifetimes,
    books::{Business, FIRST_YEAR},
};
use crate::demo::{asset::Asset, masset::Masset, tesorio::Tesorio};

/// How to start the vendors. The default uses free ports and tokens that are valid for minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    pub ports: Ports,
    /// How Asset's token response gives the expiry.
    pub expires_in: ExpiresIn,
    /// The lifetimes of Tesorio's and Masset's tokens. For Asset's the client requests a lifetime.
    pub lifetimes: Lifetimes,
}

/// Ports on 127.0.0.1; 0 takes any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    pub asset: u16,
    pub asset_sandbox: u16,
    pub tesorio: u16,
    pub masset: u16,
}

/// The vendors, served on the current runtime until dropped.
pub struct Vendors {
    pub asset: Asset,
    /// Asset's sandbox: another client, another key, other books.
    pub asset_sandbox: Asset,
    pub tesorio: Tesorio,
    pub masset: Masset,
}

impl Vendors {
    /// Starts all of them.
    ///
    /// # Errors
    /// A port is taken, or the system has no randomness.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let Settings { ports, expires_in, lifetimes } = settings;
        Ok(Self {
            asset: Asset::start(books::NORTHWIND, ports.asset, expires_in).await?,
            asset_sandbox: Asset::start(books::SANDBOX, ports.asset_sandbox, expires_in).await?,
            tesorio: Tesorio::start(ports.tesorio, lifetimes).await?,
            masset: Masset::start(ports.masset, lifetimes).await?,
        })
    }
}

/// Starting a vendor can fail when it generates its keys.
impl From<grant_error::GrantError> for io::Error {
    fn from(error: grant_error::GrantError) -> Self {
        Self::other(error.error_description)
    }
}
