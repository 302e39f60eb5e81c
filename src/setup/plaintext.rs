//! Secrets in plain text in a client's file: which of them to hide when finmcp shows the file, and which servers finmcp
//! can replace so that they need none.

use std::collections::BTreeMap;

use crate::{
    settings::machine::Machine,
    setup::{
        client::Format,
        document::Document,
        json, key,
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

fn of_server(server: &Member) -> Option<Exposed> {
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
    let mut secrets = Spans::new();
    mark("", node, Rule::Certain, &mut secrets);
    !secrets.is_empty()
}

/// The text of `document`, with `***` for each value of any server that is or may be a secret.
pub fn masked(document: &Document, format: Format) -> String {
    let mut spans = Spans::new();
    mark("", document.root(), Rule::Cautious, &mut spans);
    let entries = document.entries();
    let is_finmcp = |name: &str| entries.iter().any(|entry| entry.name == name && entry.runs_finmcp());
    for server in document.members().iter().filter(|server| !is_finmcp(&server.key)) {
        mark_foreign(&server.value, &mut spans);
    }
    let mut text = document.text().to_owned();
    let quote = if format == Format::Yaml { "" } else { "\"" };
    if format == Format::Json {
        let remarks = json::comments(&text).into_iter().filter(|span| gives_away(&text[span.clone()]));
        spans.extend(remarks.map(|span| ((span.start, span.end), String::new())));
    }
    // From the end, so that earlier offsets stay valid.
    let mut edge = usize::MAX;
    for ((start, end), seen) in spans.into_iter().rev() {
        if end <= edge {
            let is_remark = format == Format::Json && text[start..end].starts_with('/');
            let with = if is_remark { "/* *** */".to_owned() } else { format!("{quote}{seen}***{quote}") };
            text.replace_range(start..end, &with);
            edge = start;
        }
    }
    match format {
        Format::Json => text,
        Format::Toml | Format::Yaml => text.split_inclusive('\n').map(without_remark).collect(),
    }
}

/// The line with a commented-out secret hidden.
fn without_remark(line: &str) -> String {
    let signs = line.match_indices('#').map(|(at, _)| at);
    let mut remarks = signs.filter(|at| line[..*at].trim_end().len() < *at || *at == 0);
    match remarks.find(|at| gives_away(&line[*at..])) {
        Some(at) => format!("{}# ***{}", &line[..at], &line[line.trim_end().len()..]),
        None => line.to_owned(),
    }
}

fn gives_away(remark: &str) -> bool {
    looks_secret(remark) || says_bearer(remark)
}

/// Where secrets are in a text, each with the part of it that may be shown.
type Spans = BTreeMap<(usize, usize), String>;

/// What counts as a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Only what certainly is one.
    Certain,
    /// Everything that could be one.
    Cautious,
}

/// Collects the places of secrets in `node`, whose name is `key`.
fn mark(key: &str, node: &Node, rule: Rule, spans: &mut Spans) {
    match &node.kind {
        Kind::Text(text) if is_secret(key, text, rule) => found(spans, node),
        Kind::Plain(_)
            if rule == Rule::Cautious && looks_secret(key) && !key.to_ascii_lowercase().contains("tokens") =>
        {
            found(spans, node);
        }
        Kind::Opaque(_) if rule == Rule::Cautious => found(spans, node),
        Kind::Table(members) => {
            let bag =
                rule == Rule::Cautious && ["env", "environment", "envs", "headers", "http_headers"].contains(&key);
            for member in members {
                let harmless = Machine::NEEDED.contains(&member.key.as_str());
                match &member.value.kind {
                    Kind::Text(text) if harmless => {
                        if may_hold_password(&member.key, text) {
                            found(spans, &member.value);
                        }
                    }
                    Kind::Text(_) | Kind::Plain(_) if bag => {
                        found(spans, &member.value);
                    }
                    _ => mark(&member.key, &member.value, rule, spans),
                }
            }
        }
        Kind::List(elements) => {
            let mut option = "";
            for element in elements {
                mark(if option.is_empty() { key } else { option }, element, rule, spans);
                option = element.text().filter(|word| word.starts_with('-')).unwrap_or_default();
            }
        }
        _ => {}
    }
}

fn found(spans: &mut Spans, node: &Node) {
    spans.insert((node.span.start, node.span.end), String::new());
}

/// Collects what may be a secret in the arguments of another program, whose options finmcp does not know: every word
/// after an option, every word that looks like a key, and all of a URL except its host.
fn mark_foreign(node: &Node, spans: &mut Spans) {
    let mut follows_option = false;
    for element in node.elements() {
        let Some(word) = element.text() else { continue };
        let is_option = word.starts_with('-');
        if (follows_option && !is_option) || (is_option && word.contains('=')) || looks_like_key(word) {
            found(spans, element);
        }
        follows_option = is_option;
    }
    if let Some(url) = node.text().and_then(|text| url::Url::parse(text).ok())
        && let Some(host) = url.host_str()
        && (url.path().len() > 1 || url.query().is_some() || url.fragment().is_some())
    {
        let seen = format!("{}://{host}/", url.scheme());
        spans.entry((node.span.start, node.span.end)).or_insert(seen);
    }
    for helper in ["headersHelper", "http_headers_helper"].into_iter().filter_map(|key| node.get(key)) {
        found(spans, helper);
    }
    for inner in node.elements().iter().chain(node.members().iter().map(|member| &member.value)) {
        mark_foreign(inner, spans);
    }
}

fn looks_like_key(word: &str) -> bool {
    let known = ["sk-", "ghp_", "xox", "eyJ"];
    let of_key = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    known.iter().any(|start| word.starts_with(start)) || word.split(|letter| !of_key(letter)).any(|run| run.len() >= 20)
}

fn is_secret(key: &str, text: &str, rule: Rule) -> bool {
    // A reference to a value that is stored elsewhere is not a secret.
    let refers = text.contains("${") || text.contains("{env:") || text.contains("{file:");
    if text.is_empty() || (refers && rule == Rule::Certain) {
        return false;
    }
    let option_with_value = text.starts_with("--") && text.split_once('=').is_some_and(|(name, _)| looks_secret(name));
    let file_option = key.starts_with("--") && key.ends_with("-file");
    let named = looks_secret(key) && !file_option && !text.starts_with("--");
    let header = ["--header", "-H"].contains(&key) && rule == Rule::Cautious;
    named || header || option_with_value || says_bearer(text) || has_password(text) || header_with_secret(text)
}

/// `X-Api-Key: …`
fn header_with_secret(text: &str) -> bool {
    text.split_once(':').is_some_and(|(name, value)| {
        let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        is_name && !value.trim().is_empty() && looks_secret(name)
    })
}

fn says_bearer(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("bearer ") || lower.contains("basic ") && lower.contains("authorization")
}

/// Whether `name` is a typical name of a secret.
fn looks_secret(name: &str) -> bool {
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
fn has_password(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let user = url.password().is_some() || (!url.username().is_empty() && url.scheme().starts_with("http"));
        user || url.query_pairs().any(|(name, value)| !value.is_empty() && (looks_secret(&name) || name == "key"))
    })
}
