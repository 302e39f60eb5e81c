//! One server's entry in a client's file, as finmcp writes and reads it.

use std::collections::BTreeMap;

use crate::{
    settings::machine::System,
    setup::{
        client::Client,
        header_command::HeaderCommand,
        tree::{Kind, Member, Node},
    },
};

/// A server that a client starts as a program, or for which it asks a program for headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the client.
    pub name: String,
    pub command: String,
    pub arguments: Vec<String>,
    /// The variables that it gets in addition to those that the client passes on.
    pub environment: BTreeMap<String, String>,
    /// The names of the variables that the entry asks the client to pass on.
    pub passed: Vec<String>,
    /// The server's URL, if the client connects to it itself and the program only prints the headers.
    pub url: Option<String>,
}

/// The value of an entry's member, independent of the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Truth(bool),
    Number(u32),
    List(Vec<String>),
    Table(BTreeMap<String, String>),
}

/// An entry in its client's vocabulary: names and values in order.
pub type Members = Vec<(&'static str, Value)>;

/// Whether a member named `key` describes the connection or its credentials. finmcp drops those of an entry that it
/// replaces. It keeps the others, which are the user's decisions about the server (which tools, enabled or not).
pub fn is_of_connection(key: &str) -> bool {
    const NAMES: [&str; 33] = [
        "name",
        "type",
        "transport",
        "source",
        "url",
        "serverUrl",
        "httpUrl",
        "uri",
        "headers",
        "http_headers",
        "env_http_headers",
        "headersHelper",
        "http_headers_helper",
        "bearer_token",
        "bearer_token_env_var",
        "auth",
        "authProviderType",
        "oauth",
        "oauth_resource",
        "scopes",
        "targetAudience",
        "targetServiceAccount",
        "command",
        "cmd",
        "args",
        "cwd",
        "env",
        "envs",
        "env_vars",
        "env_keys",
        "envFile",
        "environment",
        "client_id",
    ];
    NAMES.contains(&key)
}

/// The members of `node` that finmcp keeps when it replaces the entry.
pub fn kept(node: &Node) -> impl Iterator<Item = &Member> {
    node.members().iter().filter(|member| !is_of_connection(&member.key))
}

impl Entry {
    /// The server that `node` describes to `client`, if the client starts a program for it.
    pub fn read(client: Client, name: &str, node: &Node) -> Option<Self> {
        if let Some(helper) = client.helper_member().and_then(|member| node.get(member)).and_then(Node::text) {
            let HeaderCommand { environment, command, arguments } = HeaderCommand::parse(helper, System::HERE)?;
            let url = Some(node.get("url")?.text()?.to_owned());
            return Some(Self { name: name.to_owned(), command, arguments, environment, passed: Vec::new(), url });
        }
        let (command, arguments, environment) = match client {
            Client::Opencode => {
                let mut words = node.get("command")?.texts().into_iter();
                (words.next()?, words.collect(), "environment")
            }
            Client::Goose => (node.get("cmd")?.text()?.to_owned(), list(node, "args"), "envs"),
            // Zed's earlier format, where the command is a table.
            Client::Zed if node.get("command").is_some_and(|command| !command.members().is_empty()) => {
                let command = node.get("command")?;
                let environment = command.get("env").map(table).unwrap_or_default();
                return Some(Self {
                    name: name.to_owned(),
                    command: command.get("path")?.text()?.to_owned(),
                    arguments: list(command, "args"),
                    environment,
                    passed: Vec::new(),
                    url: None,
                });
            }
            _ => (node.get("command")?.text()?.to_owned(), list(node, "args"), "env"),
        };
        Some(Self {
            name: name.to_owned(),
            command,
            arguments,
            environment: node.get(environment).map(table).unwrap_or_default(),
            passed: list(node, "env_vars"),
            url: None,
        })
    }

    /// Whether it starts `finmcp serve`, or asks `finmcp token` for headers.
    pub fn runs_finmcp(&self) -> bool {
        let program = self.command.rsplit(['/', '\\']).next().unwrap_or_default();
        let program = program.strip_suffix(".exe").unwrap_or(program);
        let first = if self.url.is_some() { "token" } else { "serve" };
        program == "finmcp" && self.arguments.first().is_some_and(|word| word == first)
    }

    /// The entry in the vocabulary of `client`, without empty members.
    pub fn members(&self, client: Client) -> Members {
        let text = |text: &str| Value::Text(text.to_owned());
        if let (Some(url), Some(helper)) = (&self.url, client.helper_member()) {
            let kind = (client == Client::ClaudeCode).then(|| ("type", text("http")));
            let command = self.helper().text(System::HERE);
            return kind.into_iter().chain([("url", text(url)), (helper, text(&command))]).collect();
        }
        let command = || ("command", Value::Text(self.command.clone()));
        let arguments = |name| (name, Value::List(self.arguments.clone()));
        let environment = |name: &'static str| {
            Some((name, Value::Table(self.environment.clone()))).filter(|_| !self.environment.is_empty())
        };
        let mut members = match client {
            Client::ClaudeCode | Client::Vscode => vec![("type", text("stdio")), command(), arguments("args")],
            Client::Zed => vec![("source", text("custom")), command(), arguments("args")],
            Client::Goose => vec![
                ("name", text(&self.name)),
                ("type", text("stdio")),
                ("enabled", Value::Truth(true)),
                ("cmd", Value::Text(self.command.clone())),
                arguments("args"),
            ],
            Client::Opencode => {
                let words = std::iter::once(&self.command).chain(&self.arguments).cloned().collect();
                vec![("type", text("local")), ("command", Value::List(words)), ("enabled", Value::Truth(true))]
            }
            _ => vec![command(), arguments("args")],
        };
        members.extend(match client {
            Client::Goose => environment("envs"),
            Client::Opencode => environment("environment"),
            _ => environment("env"),
        });
        match client {
            // A sign-in can take longer than Goose's default timeout.
            Client::Goose => members.push(("timeout", Value::Number(300))),
            Client::Codex if !self.passed.is_empty() => members.push(("env_vars", Value::List(self.passed.clone()))),
            _ => {}
        }
        members
    }

    /// The command for headers.
    fn helper(&self) -> HeaderCommand {
        HeaderCommand {
            environment: self.environment.clone(),
            command: self.command.clone(),
            arguments: self.arguments.clone(),
        }
    }

    /// Whether `node` equals this entry in every member that finmcp writes; the user may have added others.
    pub fn is_that_of(&self, client: Client, node: &Node) -> bool {
        let existing = Self::read(client, &self.name, node);
        existing.is_some_and(|existing| {
            let passed = self.passed.iter().all(|name| existing.passed.contains(name));
            let environment =
                self.environment.iter().all(|(name, value)| existing.environment.get(name) == Some(value));
            let start = |entry: &Self| (entry.command.clone(), entry.arguments.clone(), entry.url.clone());
            passed && environment && start(&existing) == start(self)
        })
    }
}

fn list(node: &Node, key: &str) -> Vec<String> {
    node.get(key).map(Node::texts).unwrap_or_default()
}

fn table(node: &Node) -> BTreeMap<String, String> {
    let members = node.members().iter();
    let text = |node: &Node| match &node.kind {
        Kind::Text(text) | Kind::Plain(text) => Some(text.clone()),
        _ => None,
    };
    members.filter_map(|member| Some((member.key.clone(), text(&member.value)?))).collect()
}
