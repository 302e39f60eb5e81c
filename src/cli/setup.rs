//! The arguments of `finmcp setup`.

use clap::{
    Args,
    builder::{PossibleValue, TypedValueParser},
};

use crate::{
    cli::server::Server,
    setup::client::{Client, Scope},
};

/// `finmcp setup`.
#[derive(Debug, Clone, Args)]
pub struct Setup {
    /// The AI client (default: choose clients and servers from lists); with --all, give only SERVER
    #[arg(value_parser = ClientName)]
    pub client: Option<String>,
    /// The server to add.
    #[command(flatten)]
    pub server: Server,
    /// The entry's name in the client (default: the profile's name)
    #[arg(long, value_name = "NAME", value_parser = entry_name, hide_short_help = true)]
    pub name: Option<String>,
    /// Where to add the entry: your own configuration (user) or this folder's (project)
    #[arg(long, value_enum, default_value_t = Scope::User)]
    pub scope: Scope,
    /// Set up every AI client found on this machine
    #[arg(long)]
    pub all: bool,
    /// Whether to print instead of writing.
    #[command(flatten)]
    pub output: Output,
    /// Remove the entry
    #[arg(long, conflicts_with_all = ["print", "deeplink", "replace", "serve"])]
    pub remove: bool,
    /// Replace an entry of the same name that is another server's, and drop the options of finmcp's own
    #[arg(long, hide_short_help = true)]
    pub force: bool,
    /// Replace entries that hold a token in plain text or start mcp-remote, without asking
    #[arg(long, hide_short_help = true)]
    pub replace: bool,
    /// Let the client connect to the server itself and ask finmcp only for the headers (Claude Code and Codex)
    #[arg(long, conflicts_with = "deeplink", hide_short_help = true)]
    pub native: bool,
    /// Whether to list the entries.
    #[command(flatten)]
    pub list: List,
    /// Options for finmcp serve, for example --read-only
    #[arg(last = true, value_name = "SERVE OPTIONS")]
    pub serve: Vec<String>,
}

/// What to print instead of writing the entry.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct Output {
    /// Show the changes without writing them
    #[arg(long)]
    pub dry_run: bool,
    /// Print the entry without writing it
    #[arg(long)]
    pub print: bool,
    /// Print a link that installs the entry (Cursor and VS Code)
    #[arg(long, hide_short_help = true)]
    pub deeplink: bool,
}

/// The list of the entries that exist.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// List the clients that start finmcp, with which server, what is broken, and tokens in plain text
    #[arg(long, conflicts_with_all = [
        "server", "name", "scope", "all", "dry_run", "print", "deeplink", "remove", "force", "replace", "native", "serve",
    ])]
    pub list: bool,
    /// Print the list as JSON
    #[arg(long, requires = "list")]
    pub json: bool,
}

pub(super) const HELP: &str = "\
Examples:
  finmcp setup
  finmcp setup cursor tesorio
  finmcp setup claude-code asset --env sandbox -- --read-only --label
  finmcp setup codex --dry-run
  finmcp setup claude-code tesorio --native
  finmcp setup --all tesorio
  finmcp setup cursor tesorio --remove
  finmcp setup --list";

/// Completes the clients' names but accepts any word: with --all it is a server.
#[derive(Debug, Clone)]
struct ClientName;

impl TypedValueParser for ClientName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Client::ALL.iter().map(|client| PossibleValue::new(client.id()).help(client.title()))))
    }
}

fn entry_name(text: &str) -> Result<String, String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    match (1..=64).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 64 letters, digits, '_' or '-'".to_owned()),
    }
}

impl Setup {
    /// The client given on the command line, if any.
    ///
    /// # Errors
    /// The name, if it is not a client that finmcp knows.
    pub fn named_client(&self) -> Result<Option<Client>, String> {
        self.client.as_ref().map(|name| client(name).ok_or_else(|| name.clone())).transpose()
    }

    /// Accepts CLIENT and SERVER in either order, and SERVER alone.
    pub fn arrange(&mut self, is_server: impl Fn(&str) -> bool) {
        let is_client = |word: &String| !clients(word).is_empty();
        let (first, second) = (&mut self.client, &mut self.server.server);
        let is_misplaced = !self.all && first.as_ref().is_some_and(|word| !is_client(word) && is_server(word));
        if is_misplaced && second.as_ref().is_none_or(is_client) {
            std::mem::swap(first, second);
        }
    }
}

/// The client called `name`, by its name on the command line or its title; case and punctuation do not matter.
fn client(name: &str) -> Option<Client> {
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let is_it = |client: &Client| [client.id(), client.title()].iter().any(|known| letters(known) == letters(name));
    Client::ALL.into_iter().find(is_it)
}

/// The clients that `name` may mean: the one of this name, or every one that has it as a word, as `claude` in `claude-code`.
pub fn clients(name: &str) -> Vec<Client> {
    let has_word = |client: &Client| client.id().split('-').any(|word| word.eq_ignore_ascii_case(name));
    client(name).map_or_else(|| Client::ALL.into_iter().filter(has_word).collect(), |client| vec![client])
}

/// The clients with a name like `typed`.
pub fn similar_clients(typed: &str) -> Vec<Client> {
    const ENOUGH: f64 = 0.8;
    let likeness = |client: &Client| strsim::jaro_winkler(&typed.to_lowercase(), client.id());
    Client::ALL.into_iter().filter(|client| likeness(client) >= ENOUGH).collect()
}
