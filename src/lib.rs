//! finmcp connects an AI client to a remote MCP server: stdio on one side, Streamable HTTP on the other. It does all
//! of OAuth in between, so no token ever needs to be in a config file.
//!
//! # Bird's eye view
//!
//! ```text
//! login   ServerUrl -> probe -> Challenge -> ProtectedResource -> AuthorizationServer -> ClientRegistration
//!         -> AuthorizationRequest -> Browser/Loopback | Paste | Device -> Grant -> TokenSet -> [lock] CredentialStore
//! token   TokenSource::access_token -> stdout
//! serve   stdin -> Reader -> Message -> Conversation (sign-in tool, gate, stand-in, negotiation, translation,
//!         tool list, session) -> Upstream (+ TokenSource) -> Message -> Conversation -> Writer -> stdout
//! renew   lock -> reload -> newer than the rejected token? use it : ask the token endpoint -> save -> use -> unlock
//! ```
//!
//! # The map
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the command line's syntax |
//! | [`settings`] | environment variables (only `environment` reads them) and `config.toml` (read, and edited in place) |
//! | [`profile`] | a configured server; how a selector picks one; `provider`: the built-in vendors (`providers.toml`) |
//! | [`app`] | code that commands share and that prints nothing: signing in and out, connections to servers |
//! | [`commands`] | one thin file per command: read settings, call the domain once, print |
//! | [`console`], [`printable`], [`paragraph`], [`span`] | the only code that prints for users; text without control characters; line wrapping; durations |
//! | [`error`] | error messages, hints and exit codes |
//! | [`advice`] | what the user can do about a failure: one table for the terminal and for JSON-RPC errors |
//! | [`bridge`] | `serve`: the relay. `stdio` and `upstream` transport, `control` labels and logs tool calls |
//! | [`conversation`] | decides for the bridge what happens to each message: layers over a session |
//! | [`mcp`] | MCP types: messages, IDs, versions, headers, SSE, server text; `attempts` decides which requests may be sent again |
//! | [`client`] | an MCP client for users and scripts, connected to the bridge |
//! | [`setup`] | the entries in AI clients' configuration files that start `serve` |
//! | [`tool`] | MCP tools: arguments and results |
//! | [`login`] | signing in: flows, OAuth client, browser, desktop portal, loopback listener, pasted redirect URLs |
//! | [`doctor`] | checks a server step by step and suggests a fix |
//! | [`credential`] | credential stores and the token source, which renews tokens; `judgement` reads a server's verdict on a token |
//! | [`oauth`] | OAuth for MCP, mostly as pure functions |
//! | [`http`], [`server_url`], [`secret`] | HTTP with redirects and cookies; URLs that secrets may be sent to; values that are never printed |
//! | [`serve_log`] | the log file of `serve`, and reading it |
//! | [`disk`] | locks, private folders and atomic file replacement |
//! | `terminal` | the user's terminal without echo, for answers and pasted addresses (Unix) |
//! | `demo` | simulated vendors (feature `demo`) |
//!
//! # Invariants
//!
//! 1. `main -> commands -> app -> cli -> {doctor, setup, console} -> error -> settings -> profile
//!    -> {login, client -> bridge, tool, demo} -> conversation -> {advice, serve_log} -> credential -> oauth
//!    -> {mcp, http, disk} -> {server_url, secret, printable, paragraph, span, terminal}`; never upward, and files
//!    never depend on each other in a cycle.
//! 2. Pure modules do no I/O and read no clock: `now` is an argument. They are [`mcp`] and [`conversation`]; in
//!    [`oauth`] all but `client` and `discovery`; in [`setup`] all but `file`, `claude` and the
//!    file-existence checks of `client`.
//! 3. [`bridge`] and [`conversation`] know nothing of OAuth: they see a [`credential::token_source::TokenSource`] and an
//!    opaque challenge.
//! 4. [`credential`] opens no browser; only [`login`] does.
//! 5. Only [`settings`]`::environment` reads the environment, except that [`http`] reads the proxy variables and the
//!    shell completions read their own; only [`console`] prints for users; while serving, only `bridge::stdio` owns
//!    stdout.
//! 6. A message is raw bytes with a borrowed envelope. Only the members that a translation between protocol eras names
//!    are serialized again.
//! 7. Every request always gets exactly one response; notifications and responses never get one.
//! 8. Everything stored is keyed by issuer, resource, client, account and environment; a credential is sent only to its
//!    resource.
//! 9. serde documents stay private to their module, which returns validated types.
//! 10. Three traits stand for the outside world: `CredentialStore` (with `Slots` for a keychain's entries), `Browser` and
//!     `Clock`. `Layer` is the interface within a conversation, and `Site` that of the demo's servers. HTTP has no trait:
//!     tests use real loopback servers.

pub mod advice;
pub mod app;
pub mod bridge;
pub mod cli;
pub mod client;
pub mod commands;
pub mod console;
pub mod conversation;
pub mod credential;
#[cfg(feature = "demo")]
pub mod demo;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod http;
pub mod login;
pub mod mcp;
pub mod oauth;
pub mod paragraph;
pub mod printable;
pub mod profile;
pub mod secret;
pub mod serve_log;
pub mod server_url;
pub mod settings;
pub mod setup;
pub mod span;
#[cfg(unix)]
pub mod terminal;
pub mod tool;
