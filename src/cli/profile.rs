//! The arguments of `finmcp profile`.

use clap::{Args, Subcommand};

/// `finmcp profile`.
#[derive(Debug, Args)]
pub struct Profile {
    /// What to do with the saved profiles.
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// What to do with the saved profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the saved profiles
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Rename a profile, with its sign-in
    Rename {
        /// The profile
        #[arg(id = "saved", value_name = "OLD")]
        old: String,
        /// Its new name
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Sign out of a profile and delete its settings
    Remove(Remove),
    /// Show or set the server that commands use if you name none
    Default {
        /// A preset, a saved profile, or an https URL (if omitted, show the default)
        #[arg(id = "server", value_name = "SERVER")]
        name: Option<String>,
        /// Remove the default
        #[arg(long, conflicts_with = "server")]
        unset: bool,
    },
}

/// `finmcp profile remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The profile
    #[arg(id = "saved", value_name = "NAME")]
    pub name: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Delete the credential without revoking it at the server
    #[arg(long)]
    pub no_revoke: bool,
}

/// The end of `finmcp help profile`.
pub const HELP: &str = "\
A profile is a server and your account there. finmcp login saves one.

Examples:
  finmcp profile list
  finmcp profile rename tesorio tesorio-work
  finmcp profile default asset
  finmcp profile remove tesorio-work";
