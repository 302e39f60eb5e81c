//! The command line. Syntax only: `profile` and `commands` give it a meaning.

pub mod audit;
pub mod config;
pub mod doctor;
pub mod logs;
pub mod profile;
pub mod prompts;
pub mod registration;
pub mod resources;
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

/// Connect AI clients and scripts to financial data, with no token in any file
#[derive(Debug, Parser)]
#[command(
    name = "finmcp",
    version,
    arg_required_else_help = true,
    max_term_width = 80,
    help_template = TEMPLATE,
    after_help = NEXT,
    after_long_help = MORE
)]
pub struct Cli {
    /// Only print errors and required actions
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The help, with the commands in the order in which people meet them. A test keeps it complete.
const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Start:
  demo                 Try everything with simulated vendors, no account needed
  login, logout        Sign in to a vendor or an MCP server, and sign out
  setup                Add it to an AI client, which then starts finmcp serve

In a terminal or a script:
  tools, call          List a server's tools; call one and print its result
  prompts, prompt      The same for prompts
  resources, resource  The same for resources
  token                Print a valid access token, and nothing else

Keep it working:
  status               List your sign-ins and when they expire
  doctor, logs         Find out what is wrong; what serve did
  profile, config      Rename or remove a sign-in; edit the settings
  audit                Check an audit log for changes
  completions, man     Print a shell completion script or a manual page{after-help}";

/// The end of `finmcp` and `finmcp -h`.
const NEXT: &str = "Run `finmcp COMMAND -h` for a command's options and `finmcp --help` for details.";

/// What `finmcp --help` and the manual page add.
const MORE: &str = "\
Options of every command:
  -q, --quiet    Only print errors and required actions
  -h, --help     Print help: -h is short, --help is complete
  -V, --version  Print version

SERVER is a preset (see finmcp login --list), a saved profile, or an https URL.
If omitted: the default in config.toml; else the preset that has the given --env
(Asset for sandbox); else the only server you are signed in to.

Examples:
  finmcp demo                            try it, no account needed
  finmcp login tesorio                   sign in once
  finmcp setup cursor tesorio            add it to an AI client
  finmcp call list_customers -s tesorio  call a tool from the shell
  finmcp doctor                          find out what is wrong

Environment:
  FINMCP_CONFIG_DIR         folder of config.toml
  FINMCP_STORE              where to keep credentials: keychain (default), file
                            or memory
  FINMCP_STORE_KEY_FILE     key file of the file store (32 bytes or more)
  FINMCP_STORE_PASSPHRASE   passphrase of the file store, instead of a key file
  FINMCP_CLIENT_SECRET      client secret for login and serve
  FINMCP_BROWSER            program that opens the sign-in page
  FINMCP_REQUEST_TIMEOUT    request timeout in seconds
  FINMCP_LOG                log level on stderr: error, warn, info, debug, trace
  NO_COLOR, HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE work as usual

Exit codes:
  0 ok   1 failure   2 usage   3 network   4 sign-in required
  5 refused as untrusted   6 credential store   130 interrupted";

/// The exit codes, for the manual pages.
pub const EXIT_CODES: [(&str, &str); 8] = [
    ("0", "success"),
    ("1", "failure, also if consent was denied"),
    ("2", "usage error"),
    ("3", "network error"),
    ("4", "sign-in required"),
    ("5", "refused: the server is not trusted"),
    ("6", "credential store error"),
    ("130", "interrupted"),
];

/// A subcommand and its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in and store the credential in the system keychain
    #[command(after_help = LOGIN_HELP)]
    Login(Box<Login>),
    /// Print a valid access token, and nothing else
    #[command(after_help = TOKEN_HELP)]
    Token(Token),
    /// Bridge an AI client on stdin and stdout to the server
    #[command(after_help = SERVE_HELP)]
    Serve(Box<Serve>),
    /// List your sign-ins and when they expire
    Status(Status),
    /// Diagnose settings, sign-in and connection, step by step
    #[command(after_help = doctor::HELP)]
    Doctor(Doctor),
    /// Sign out: revoke the tokens and delete the credential
    Logout(Logout),
    /// Add a server to an AI client's configuration
    #[command(after_help = setup::HELP)]
    Setup(Box<setup::Setup>),
    /// List a server's tools and their arguments
    #[command(after_help = TOOLS_HELP)]
    Tools(Tools),
    /// Call a tool once and print its result
    #[command(after_help = CALL_HELP)]
    Call(Box<Call>),
    /// List a server's prompts and their arguments
    #[command(after_help = prompts::LIST_HELP)]
    Prompts(prompts::Prompts),
    /// Print a prompt
    #[command(after_help = prompts::GET_HELP)]
    Prompt(prompts::Prompt),
    /// List a server's resources
    #[command(after_help = resources::LIST_HELP)]
    Resources(resources::Resources),
    /// Print or save a resource
    #[command(after_help = resources::READ_HELP)]
    Resource(resources::Resource),
    /// Print the log of finmcp as an AI client started it
    #[command(after_help = logs::HELP)]
    Logs(logs::Logs),
    /// List, rename or remove saved profiles, or choose the default
    #[command(after_help = profile::HELP)]
    Profile(profile::Profile),
    /// Find, edit or check config.toml
    #[command(after_help = config::HELP)]
    Config(config::Config),
    /// Check an audit log for changes
    #[command(after_help = audit::HELP)]
    Audit(audit::Audit),
    /// Try everything with simulated vendors, no account needed
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Print a shell completion script
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    #[command(after_help = MAN_HELP)]
    Man(Man),
}

/// `finmcp login`.
#[derive(Debug, Args)]
pub struct Login {
    /// The server that a command is about.
    #[command(flatten)]
    pub server: Server,
    /// How to sign in.
    #[command(flatten)]
    pub registration: Registration,
    /// Do not open a browser: print the sign-in URL, then read the final URL from stdin
    #[arg(long, help_heading = "Browser")]
    pub no_browser: bool,
    /// The port on 127.0.0.1 for the redirect (default: any free port)
    #[arg(
        long,
        value_name = "PORT",
        conflicts_with = "redirect_uri",
        help_heading = "Browser",
        hide_short_help = true
    )]
    pub port: Option<u16>,
    /// How long to wait for you to sign in, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = span::seconds, help_heading = "Browser", hide_short_help = true)]
    pub timeout: u64,
    /// Import the sign-in that another program stores in plain text
    #[arg(long, value_enum, value_name = "PROGRAM", help_heading = "Import", hide_short_help = true)]
    pub import: Option<ImportSource>,
    /// Whether to delete the imported files.
    #[command(flatten)]
    pub disposal: Disposal,
    /// Sign in to every saved profile that is signed out
    #[arg(long, conflicts_with_all = ["server", "environment", "url", "profile", "import"])]
    pub all: bool,
    /// Register a new client, and replace a profile of the same name that is for another server
    #[arg(long, hide_short_help = true)]
    pub force: bool,
    /// List the presets
    #[arg(long, exclusive = true)]
    pub list: bool,
}

/// The program to import a sign-in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportSource {
    /// The npm package mcp-remote, which stores its files in ~/.mcp-auth
    McpRemote,
}

/// Whether to delete the files that an import has read.
#[derive(Debug, Clone, Copy, Args)]
pub struct Disposal {
    /// Delete the imported files without asking
    #[arg(long, requires = "import", help_heading = "Import", hide_short_help = true)]
    pub delete_imported: bool,
}

const LOGIN_HELP: &str = "\
In a terminal, finmcp asks for what is missing.

Examples:
  finmcp login --list
  finmcp login tesorio
  finmcp login stripe --api-key-file key.txt
  finmcp login asset --env sandbox --client-id ID --client-secret-file FILE
  finmcp login masset --url https://your-masset-url/mcp
  finmcp login https://mcp.example.com/mcp
  finmcp login https://mcp.example.com/mcp --client-id ID \\
    --redirect-uri http://localhost:3118/callback
  finmcp login https://mcp.example.com/mcp \\
    --assertion-file /var/run/secrets/tokens/mcp
  finmcp login --all";

/// `finmcp token`.
#[derive(Debug, Args)]
pub struct Token {
    /// The server that a command is about.
    #[command(flatten)]
    pub server: Server,
    /// Print JSON, with the token's expiry and scope
    #[arg(long, conflicts_with = "header")]
    pub json: bool,
    /// Print an Authorization header
    #[arg(long)]
    pub header: bool,
    /// Print all request headers as a JSON object, for an AI client that connects to the server itself
    #[arg(long, conflicts_with_all = ["json", "header"])]
    pub headers: bool,
    /// Require a token that is valid for this time, in seconds; renews it if necessary
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub min_ttl: u64,
    /// Renew the token even if it is still valid
    #[arg(long)]
    pub force_refresh: bool,
}

const TOKEN_HELP: &str = "\
Never prompts and never opens a browser. Exit code 4 means that you need to sign
in: run finmcp login. Exit code 1 without a token means that none is valid for
--min-ttl. With --headers and no SERVER, the server is the one in
CLAUDE_CODE_MCP_SERVER_URL, which Claude Code sets.

Examples:
  finmcp token --env sandbox
  curl -H \"$(finmcp token asset --header)\" https://api.getasset.com/...";

/// `finmcp serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The server that a command is about.
    #[command(flatten)]
    pub server: Server,
    /// What to do when you need to sign in
    #[arg(long, value_enum, default_value_t = SignInMode::Tool)]
    pub sign_in: SignInMode,
    /// Request timeout, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = span::seconds)]
    pub timeout: Option<u64>,
    /// How to sign in, for a server that has no profile yet.
    #[command(flatten)]
    pub registration: Registration,
    /// Restrictions, audit log and label.
    #[command(flatten)]
    pub control: Control,
}

/// Limits on what the client may do, and the record of what it did.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Control")]
pub struct Control {
    /// Allow only tools that the server or its vendor marks as read-only
    #[arg(long)]
    pub read_only: bool,
    /// Allow only tools matching GLOB, for example 'get_*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub allow_tool: Vec<Pattern>,
    /// Block tools matching GLOB (overrides --allow-tool); may be repeated
    #[arg(long, value_name = "GLOB")]
    pub deny_tool: Vec<Pattern>,
    /// Append one line of JSON to this file for each tool call
    #[arg(long, value_name = "PATH")]
    pub audit_log: Option<PathBuf>,
    /// Include the values of the arguments in the audit log
    #[arg(long, requires = "audit_log", hide_short_help = true)]
    pub audit_arguments: bool,
    /// Seal each line of the audit log with a key in the credential store
    #[arg(long, requires = "audit_log", hide_short_help = true)]
    pub audit_seal: bool,
    /// Show the profile and the environment in the server's title and instructions
    #[arg(long)]
    pub label: bool,
}

/// What `serve` does when the user has to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SignInMode {
    /// Offer a tool, finmcp_sign_in, that opens the sign-in page
    Tool,
    /// Open the browser and hold the request (one sign-in for all finmcp processes)
    Auto,
    /// Return an error that names the command to run
    Off,
}

const SERVE_HELP: &str = "\
Your AI client starts this command; `finmcp setup` adds the entry. By hand:
  {\"command\": \"/path/to/finmcp\", \"args\": [\"serve\", \"asset\"]}";

/// `finmcp status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The server to show (default: every saved profile).
    #[command(flatten)]
    pub server: Server,
    /// Show everything: client, scope, expiry, store, protocol
    #[arg(long, short)]
    pub verbose: bool,
    /// Print JSON, with everything
    #[arg(long)]
    pub json: bool,
}

/// `finmcp logout`.
#[derive(Debug, Args)]
pub struct Logout {
    /// The server that a command is about.
    #[command(flatten)]
    pub server: Server,
    /// Sign out of every server
    #[arg(long, conflicts_with_all = ["server", "environment", "url", "profile"])]
    pub all: bool,
    /// Delete the credential without revoking it at the server
    #[arg(long)]
    pub no_revoke: bool,
}

/// `finmcp demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Sign in with your own browser instead of a simulated one
    #[arg(long)]
    pub browser: bool,
    /// Keep the demo servers running and print an entry for an AI client
    #[arg(long)]
    pub keep: bool,
}

/// `finmcp man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The command to document, for example: audit verify (default: finmcp itself)
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Write all pages to this folder, for example ~/.local/share/man/man1
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub directory: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Shows the page at a terminal, and prints it in roff elsewhere.

Examples:
  finmcp man login
  finmcp man --directory ~/.local/share/man/man1";

const COMPLETIONS_HELP: &str = "\
install.sh installs completions for you. By hand:
  bash        finmcp completions bash > ~/.local/share/bash-completion/completions/finmcp
  zsh         finmcp completions zsh > FOLDER/_finmcp  (FOLDER: one in $fpath)
  fish        finmcp completions fish > ~/.config/fish/completions/finmcp.fish
  PowerShell  finmcp completions powershell >> $PROFILE";

/// The server that these arguments of `finmcp` select; none if they are not those of an AI client's entry.
pub fn served(arguments: &[String]) -> Option<Selector> {
    let words = std::iter::once("finmcp").chain(arguments.iter().map(String::as_str));
    match Cli::try_parse_from(words).ok()?.command {
        Command::Serve(serve) => Some(serve.server.into()),
        Command::Token(token) if token.headers => Some(token.server.into()),
        _ => None,
    }
}
