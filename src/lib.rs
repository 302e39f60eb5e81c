//! finmcp stands between an AI client and a remote MCP server: stdio on one side, Streamable HTTP on the other, and all
//! of OAuth in between, so that no token ever sits in a config file.
//!
//! # Bird's eye view
//!
//! ```text
//! login   ServerUrl -> probe -> Challenge -> ProtectedResource -> AuthorizationServer -> ClientRegistration
//!         -> AuthorizationRequest -> Browser/Loopback | Paste | Device -> Grant -> TokenSet -> [lock] CredentialStore
//! token   TokenSource::access_token -> stdout
//! serve   stdin -> Reader -> Message -> Conversation (sign-in tool, stand-in, negotiation, translation, session) -> Upstream
//!         (+ TokenSource) -> Message -> Conversation -> Writer -> stdout
//! renew   lock -> reload -> newer than the rejected one? use it : ask the token endpoint -> save -> use -> unlock
//! ```
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | what can be typed: syntax only |
//! | [`settings`] | what is set from outside: the environment (`environment`, its only reader), and `config.toml` (read, and changed in place) |
//! | [`profile`] | a server that someone uses; which one is meant; `provider`: vendors as data (`providers.toml`) |
//! | [`app`] | what commands share, and nothing that prints: signing in and out, conversations with servers |
//! | [`commands`] | one thin file a command: settings in, one call into the domain, words out |
//! | [`console`], [`printable`], [`paragraph`], [`span`] | the only writer for people; text that a terminal does not obey, in lines that fit; lengths of time |
//! | [`error`] | why a command failed, with an exit code |
//! | [`advice`] | what the user can do about a failure: one table for the terminal and for the bridge's JSON-RPC errors |
//! | [`bridge`] | `serve`: the relay. `stdio` and `upstream` carry, `conversation` decides (a stack of layers over a session), `control` is the owner's hand |
//! | [`mcp`] | MCP's vocabulary: messages, ids, revisions, headers, SSE, what a server's text holds; `attempts` is the law of sending again |
//! | [`client`] | an MCP client for people and scripts, at the bridge's near end |
//! | [`setup`] | the AI clients' own files: the entries that start `serve` |
//! | [`tool`] | tools: what they take, and what they answer |
//! | [`login`] | signing in: flows, client, browser, desktop portal, loopback listener, what a person pastes |
//! | [`doctor`] | what is wrong, step by step, and what to do |
//! | [`credential`] | stores, and a token that is always fresh; `judgement` reads what a server says of a token |
//! | [`oauth`] | OAuth for MCP: values in, values out |
//! | [`http`], [`server_url`], [`secret`] | the network (also redirects, cookies), where a secret may go, what must not be seen |
//! | [`disk`] | locks, private folders, and files that are replaced in one step |
//! | `demo` | the vendors' stand-ins (feature `demo`) |
//!
//! # Invariants
//!
//! 1. `main -> commands -> app -> cli -> {doctor, setup, console} -> error -> settings -> profile
//!    -> {login, client -> bridge, tool} -> advice -> credential -> oauth -> {mcp, http, disk} -> {server_url, secret, printable}`; never
//!    upward, and no file knows one that knows it.
//! 2. Pure modules do no I/O and read no clock: `now` is an argument. They are [`mcp`]; in [`bridge`] `conversation`, and
//!    `control` but its log; in [`oauth`] all but `client` and `discovery`; in [`setup`] all but `file`, `claude` and the
//!    questions of `client` whether a file is there.
//! 3. [`bridge`] knows no OAuth: it sees a [`credential::token_source::TokenSource`] and an opaque challenge.
//! 4. [`credential`] opens no browser; only [`login`] does.
//! 5. Only [`settings`]`::environment` reads the environment; only [`console`] writes for people; while serving only
//!    `bridge::stdio` owns stdout.
//! 6. A message is raw bytes and a borrowed envelope. Nothing is serialised again but the members that a translation
//!    between eras names.
//! 7. Every request gets exactly one response, whatever happens; notifications and responses never get one.
//! 8. Everything stored is keyed by issuer, resource, client, account and environment; a credential goes to its own
//!    resource only.
//! 9. serde documents stay private to their module; a validated type leaves.
//! 10. Three traits: `CredentialStore`, `Browser`, `Clock`. HTTP is not one: tests use real loopback servers.

pub mod advice;
pub mod app;
pub mod bridge;
pub mod cli;
pub mod client;
pub mod commands;
pub mod console;
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
pub mod server_url;
pub mod settings;
pub mod setup;
pub mod span;
pub mod tool;
