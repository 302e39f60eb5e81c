//! What can be typed. Syntax only: meaning is found in `profile` and `commands`.

pub mod doctor;
pub mod registration;
pub mod server;
pub mod setup;
pub mod tools;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use glob::Pattern;

pub use doctor::Doctor;

use crate::{
    cli::{
        registration::Registration,
        server::Server,
        tools::{CALL_HELP, Call, TOOLS_HELP, Tools},
    },
    profile::selector::Selector,
    span,
};

/// Sign in once; AI clients and scripts reach financial data with no token in any config file.
#[derive(Debug, Parser)]
#[command(name = "finmcp", version, arg_required_else_help = true, max_term_width = 80, after_help = AFTER_HELP)]
pub struct Cli {
    /// Only print errors and required actions
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
SERVER is a preset (asset, tesorio, masset, demo), a saved profile, or an https
URL. Without it: the default of config.toml, else the only preset that knows the
given --env, else the only server you are signed in to.

Examples:
  finmcp demo                          see it work, with no account
  finmcp login tesorio                 sign in, once
  finmcp setup cursor tesorio          give it to an AI client
  finmcp call list_customers -s tesorio
  finmcp doctor                        find out what is wrong

Environment:
  FINMCP_CONFIG_DIR         where settings are
  FINMCP_STORE              keychain (the default), file, or memory
  FINMCP_STORE_KEY_FILE     the file store's key: a file of 32 bytes or more
  FINMCP_STORE_PASSPHRASE   or a passphrase
  FINMCP_CLIENT_SECRET      the client secret for login and serve
  FINMCP_BROWSER            the program that opens the sign-in page
  FINMCP_REQUEST_TIMEOUT    how long a request may take, in seconds
  FINMCP_LOG                what to log on stderr, such as debug; never a secret
  NO_COLOR, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE as everywhere

Exit codes:
  0 ok   1 failure   2 usage   3 network   4 login required
  5 refused as untrusted   6 credential store   130 interrupted";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in, and keep the credential in the system's keychain
    #[command(after_help = LOGIN_HELP)]
    Login(Box<Login>),
    /// Print a fresh access token, and nothing else
    #[command(after_help = TOKEN_HELP)]
    Token(Token),
    /// Speak MCP on stdin and stdout, and forward to the server with a fresh token
    #[command(after_help = SERVE_HELP)]
    Serve(Box<Serve>),
    /// List your sign-ins
    Status(Status),
    /// Diagnose settings, sign-in and connection, step by step
    #[command(after_help = doctor::HELP)]
    Doctor(Doctor),
    /// Revoke a credential and forget it
    Logout(Logout),
    /// Write the entry that makes an AI client start finmcp
    #[command(after_help = setup::HELP)]
    Setup(Box<setup::Setup>),
    /// List a server's tools, and what they take
    #[command(after_help = TOOLS_HELP)]
    Tools(Tools),
    /// Call a tool, once, and print its result
    #[command(after_help = CALL_HELP)]
    Call(Box<Call>),
    /// Try everything with simulated vendors, no account needed
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Print a script that completes commands, servers and environments in a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = MAN_HELP)]
    Man(Man),
}

/// `finmcp login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// How to sign in.
    #[command(flatten)]
    pub registration: Registration,
    /// Do not open a browser: print the address, and read the final one from stdin
    #[arg(long, help_heading = "Browser")]
    pub no_browser: bool,
    /// The port on 127.0.0.1 that the browser comes back to
    #[arg(long, value_name = "PORT", conflicts_with = "redirect_uri", help_heading = "Browser")]
    pub port: Option<u16>,
    /// How long to wait for the person, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = span::seconds, help_heading = "Browser")]
    pub timeout: u64,
    /// Take over the sign-in that another program keeps in plain text
    #[arg(long, value_enum, value_name = "PROGRAM", help_heading = "Import")]
    pub import: Option<ImportSource>,
    /// What becomes of that.
    #[command(flatten)]
    pub disposal: Disposal,
    /// Register a new client, and replace a saved profile of that name that belongs to another server
    #[arg(long)]
    pub force: bool,
}

/// Whose sign-in is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportSource {
    /// The npm package mcp-remote, whose files are in ~/.mcp-auth.
    McpRemote,
}

/// What becomes of another program's files.
#[derive(Debug, Clone, Copy, Args)]
pub struct Disposal {
    /// Delete the other program's files for this server without asking
    #[arg(long, requires = "import", help_heading = "Import")]
    pub delete_imported: bool,
}

const LOGIN_HELP: &str = "\
Examples:
  finmcp login tesorio
  finmcp login asset --env sandbox --client-id ID --client-secret-file secret.txt
  finmcp login masset --url https://your-masset-url/mcp
  finmcp login https://mcp.example.com/mcp
  finmcp login https://mcp.example.com/mcp --client-id ID --redirect-uri http://localhost:3118/callback
  finmcp login https://mcp.example.com/mcp --assertion-file /var/run/secrets/tokens/mcp";

/// `finmcp token`.
#[derive(Debug, Args)]
pub struct Token {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// As JSON, with its expiry and scope
    #[arg(long, conflicts_with = "header")]
    pub json: bool,
    /// As an Authorization header
    #[arg(long)]
    pub header: bool,
    /// How long it must still be valid at the least, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub min_ttl: u64,
    /// Get a new one even if the old one is still valid
    #[arg(long)]
    pub force_refresh: bool,
}

const TOKEN_HELP: &str = "\
Never asks and never opens a browser: exit code 4 means that you have to run
finmcp login, also when the server has ended the sign-in.

Examples:
  finmcp token --env sandbox
  curl -H \"$(finmcp token asset --header)\" https://api.getasset.com/...";

/// `finmcp serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// What to do when a sign-in is needed
    #[arg(long, value_enum, default_value_t = SignInMode::Tool)]
    pub sign_in: SignInMode,
    /// How long a request may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// How to sign in to a server that nobody has signed in to yet.
    #[command(flatten)]
    pub registration: Registration,
    /// What its owner keeps a hand on.
    #[command(flatten)]
    pub control: Control,
}

/// What a client may do, and how others can tell what it did.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Control")]
pub struct Control {
    /// Allow only tools that read, as the server or its vendor says
    #[arg(long)]
    pub read_only: bool,
    /// Allow only tools matching GLOB, such as 'get_*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub allow_tool: Vec<Pattern>,
    /// Block tools matching GLOB (overrides --allow-tool); may be repeated
    #[arg(long, value_name = "GLOB")]
    pub deny_tool: Vec<Pattern>,
    /// Append a line of JSON to this file for each call of a tool
    #[arg(long, value_name = "PATH")]
    pub audit_log: Option<PathBuf>,
    /// Write the values of the arguments there too
    #[arg(long, requires = "audit_log")]
    pub audit_arguments: bool,
    /// Show the profile and the environment in the server's title and instructions
    #[arg(long)]
    pub label: bool,
}

/// What `serve` does when somebody has to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SignInMode {
    /// Lists a tool that opens the sign-in page and gives its address.
    Tool,
    /// Opens the browser, once for all finmcp processes, and lets the request wait.
    Auto,
    /// Answers with the command to run.
    Off,
}

const SERVE_HELP: &str = "\
This is what an AI client starts. Its entry:
  {\"command\": \"/path/to/finmcp\", \"args\": [\"serve\", \"asset\"]}";

/// `finmcp status`.
#[derive(Debug, Args)]
pub struct Status {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `finmcp logout`.
#[derive(Debug, Args)]
pub struct Logout {
    /// Which server.
    #[command(flatten)]
    pub server: Server,
    /// Every server you are signed in to
    #[arg(long, conflicts_with_all = ["server", "environment", "url", "profile"])]
    pub all: bool,
    /// Forget it here, and tell the server nothing
    #[arg(long)]
    pub no_revoke: bool,
}

/// `finmcp demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Sign in with your own browser, in place of the demo's
    #[arg(long)]
    pub browser: bool,
    /// Stay up, and print the entry for an AI client
    #[arg(long)]
    pub keep: bool,
}

/// `finmcp man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The command that the page is about; without it, finmcp itself
    pub command: Option<String>,
    /// Write all pages into this folder instead, such as ~/.local/share/man/man1
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub directory: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Examples:
  finmcp man | man -l -
  finmcp man login | man -l -
  finmcp man --directory ~/.local/share/man/man1";

const COMPLETIONS_HELP: &str = "\
install.sh does this for you. By hand:
  bash        finmcp completions bash > ~/.local/share/bash-completion/completions/finmcp
  zsh         finmcp completions zsh > FOLDER/_finmcp, for a FOLDER of your fpath
  fish        finmcp completions fish > ~/.config/fish/completions/finmcp.fish
  PowerShell  finmcp completions powershell >> $PROFILE";

/// The server that these arguments of `finmcp` serve; none where they are no arguments of `serve`.
pub fn served(arguments: &[String]) -> Option<Selector> {
    let words = std::iter::once("finmcp").chain(arguments.iter().map(String::as_str));
    match Cli::try_parse_from(words).ok()?.command {
        Command::Serve(serve) => Some(serve.server.into()),
        _ => None,
    }
}
