//! The arguments of `finmcp config`.

use clap::{Args, Subcommand};

/// `finmcp config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to do with `config.toml`.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with `config.toml`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print the path of config.toml
    Path,
    /// Edit config.toml and check it before it is saved
    Edit,
    /// Check config.toml and show every fault with its line
    Check,
}

/// The end of `finmcp help config`.
pub const HELP: &str = "\
finmcp config edit opens the program in VISUAL or EDITOR on a copy, and saves
the copy only if it is valid. docs/administration.md describes the members, and
docs/config.schema.json is their JSON schema, for editors.

Examples:
  finmcp config check
  EDITOR=nano finmcp config edit
  cat \"$(finmcp config path)\"";
