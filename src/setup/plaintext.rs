//! Servers with a secret in plain text in a client's file, which finmcp can replace so that they need none.

use crate::{
    settings::machine::Machine,
    setup::{
        document::Document,
        key,
        tree::{Kind, Member, Node},
    },
};

/// A server in a client's file with a secret in plain text, or one that uses mcp-remote, which stores its tokens in
/// plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its name in the client.
    pub name: String,
    /// Its URL, exactly as written there.
    pub url: String,
    /// Where the secret is.
    pub place: Place,
}

/// Where a plain-text secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the client's file.
    Here,
    /// In mcp-remote's folder.
    McpRemote,
}

/// The servers of `document` that have a URL and hold a secret, in the file or through mcp-remote.
pub fn exposed(document: &Document) -> Vec<Exposed> {
    document.members().iter().filter_map(of_server).collect()
}

/// What `server` exposes, if it has a URL and a secret.
pub(super) fn of_server(server: &Member) -> Option<Exposed> {
    let node = &server.value;
    let mut words = node.get("args").map(Node::texts).unwrap_or_default();
    words.extend(node.get("command").map(Node::texts).unwrap_or_default());
    let named = ["url", "serverUrl", "httpUrl", "uri"].iter().find_map(|key| node.get(key).and_then(Node::text));
    let is_url = |word: &&String| word.starts_with("https://") || word.starts_with("http://");
    let url = named.map(str::to_owned).or_else(|| words.iter().find(is_url).cloned())?;
    let is_remote =
        |word: &String| word == "mcp-remote" || word.starts_with("mcp-remote@") || word.ends_with("/mcp-remote");
    let command = node.get("command").and_then(Node::text).map(str::to_owned);
    let place = match holds_secret(node) || key::in_entry(node).is_some() {
        true => Place::Here,
        false if words.iter().chain(&command).any(is_remote) => Place::McpRemote,
        false => return None,
    };
    Some(Exposed { name: server.key.clone(), url, place })
}

fn holds_secret(node: &Node) -> bool {
    is_held("", node)
}

/// Whether `node`, whose name is `key`, certainly holds a secret.
fn is_held(key: &str, node: &Node) -> bool {
    match &node.kind {
        Kind::Text(text) => is_secret(key, text),
        Kind::Table(members) => members.iter().any(|member| match member.value.text() {
            Some(text) if Machine::NEEDED.contains(&member.key.as_str()) => may_hold_password(&member.key, text),
            _ => is_held(&member.key, &member.value),
        }),
        Kind::List(elements) => {
            let mut option = "";
            elements.iter().any(|element| {
                let key = if option.is_empty() { key } else { option };
                option = element.text().filter(|word| word.starts_with('-')).unwrap_or_default();
                is_held(key, element)
            })
        }
        Kind::Plain(_) | Kind::Null | Kind::Opaque(_) => false,
    }
}

fn is_secret(key: &str, text: &str) -> bool {
    // A reference to a value that is stored elsewhere is not a secret.
    let refers = text.contains("${") || text.contains("{env:") || text.contains("{file:");
    if text.is_empty() || refers {
        return false;
    }
    let option_with_value = text.starts_with("--") && text.split_once('=').is_some_and(|(name, _)| looks_secret(name));
    let file_option = key.starts_with("--") && key.ends_with("-file");
    let named = looks_secret(key) && !file_option && !text.starts_with("--");
    named || option_with_value || says_bearer(text) || has_password(text) || header_with_secret(text)
}

/// `X-Api-Key: …`
fn header_with_secret(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, value)| {
        let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        is_name && !value.trim().is_empty() && looks_secret(name)
    })
}

pub(super) fn says_bearer(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("bearer ") || lower.contains("basic ") && lower.contains("authorization")
}

/// Whether `name` is a typical name of a secret.
pub(super) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "token",
        "secret",
        "passw",
        "passphrase",
        "apikey",
        "api_key",
        "api-key",
        "authorization",
        "credential",
        "bearer",
        "cookie",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// Whether `value`, of the variable `name` of [`Machine::NEEDED`], may contain a password. A proxy's URL may lack a
/// scheme.
pub fn may_hold_password(name: &str, value: &str) -> bool {
    !Machine::PLACES.contains(&name) && (has_password(value) || value.contains('@'))
}

/// Whether a URL contains a password, or a parameter named like one.
pub(super) fn has_password(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let user = url.password().is_some() || (!url.username().is_empty() && url.scheme().starts_with("http"));
        user || url.query_pairs().any(|(name, value)| !value.is_empty() && (looks_secret(&name) || name == "key"))
    })
}
