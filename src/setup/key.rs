//! An API key in plain text in a server's entry, and the entry's other headers.

use crate::{
    credential::key_header::{KeyHeader, KeyHeaderError},
    mcp::extra_headers::{ExtraHeaderError, ExtraHeaders},
    oauth::jwt::is_jwt,
    secret::Secret,
    setup::tree::Node,
};

/// A key, with what a profile needs to send it as the client did.
#[derive(Debug, Clone)]
pub struct FoundKey {
    pub header: KeyHeader,
    pub key: Secret,
    /// The entry's headers that are not secrets.
    pub headers: ExtraHeaders,
}

/// Why finmcp cannot keep a key that it found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A sign-in has one key.
    #[error("it has several secret headers, and finmcp keeps one per sign-in")]
    Several,
    /// Only the client knows the value.
    #[error("the value of its header {0} is not in the file")]
    Elsewhere(String),
    #[error("its key cannot be kept: {0}")]
    Key(#[from] KeyHeaderError),
    #[error("its other headers cannot be kept: {0}")]
    Header(#[from] ExtraHeaderError),
}

/// A header of an entry.
struct Header {
    name: String,
    value: String,
}

/// The API key in the entry `node`; none if it has no secret header with a literal value, or only a JWT, which expires.
pub fn in_entry(node: &Node) -> Option<Result<FoundKey, KeyError>> {
    let (secrets, others): (Vec<Header>, Vec<Header>) = headers(node).into_iter().partition(is_secret);
    let is_key = |header: &&Header| !is_reference(&header.value) && !is_jwt(parts(header).1);
    secrets.iter().find(is_key)?;
    Some(match &secrets[..] {
        [only] => found(only, &others),
        _ => Err(KeyError::Several),
    })
}

fn found(secret: &Header, others: &[Header]) -> Result<FoundKey, KeyError> {
    let (prefix, key) = parts(secret);
    let header = format!("{}:{prefix}", secret.name).parse()?;
    let mut headers = ExtraHeaders::default();
    for Header { name, value } in others {
        if is_reference(value) {
            return Err(KeyError::Elsewhere(name.clone()));
        }
        match headers.set(name, value) {
            // finmcp sets it itself, as the client would.
            Ok(()) | Err(ExtraHeaderError::Reserved(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(FoundKey { header, key: Secret::new(key.to_owned()), headers })
}

/// The authentication scheme, or another single word, before the key; and the key.
fn parts(header: &Header) -> (&str, &str) {
    match header.value.split_once(' ') {
        Some((prefix, key)) if prefix.bytes().all(|byte| byte.is_ascii_alphabetic()) => (prefix, key.trim()),
        _ => ("", header.value.as_str()),
    }
}

/// Whether the header's value may be a secret. Errs on the safe side, because other headers are written to
/// config.toml.
fn is_secret(header: &Header) -> bool {
    let name = header.name.to_ascii_lowercase();
    let words = ["auth", "key", "token", "secret", "passw", "credential", "cookie", "session", "signature", "bearer"];
    let is_mcp = name.starts_with("mcp-");
    (!is_mcp && words.iter().any(|word| name.contains(word)))
        || header.value.to_ascii_lowercase().starts_with("bearer ")
}

/// Whether the client replaces a part of `value`.
fn is_reference(value: &str) -> bool {
    ["${", "{env:", "{file:"].iter().any(|start| value.contains(start))
}

/// The headers in an entry: in a table, in Codex's `bearer_token`, and in options of a program such as mcp-remote.
fn headers(node: &Node) -> Vec<Header> {
    let tables = ["headers", "http_headers"].into_iter().filter_map(|key| node.get(key));
    let members = tables.flat_map(Node::members);
    let listed = members.filter_map(|member| header(&member.key, member.value.text()?));
    let bearer = node.get("bearer_token").and_then(Node::text);
    let bearer = bearer.and_then(|token| header("Authorization", &format!("Bearer {token}")));
    listed.chain(bearer).chain(options(node)).collect()
}

fn header(name: &str, value: &str) -> Option<Header> {
    let value = value.trim();
    (!value.is_empty()).then(|| Header { name: name.trim().to_owned(), value: value.to_owned() })
}

/// The values of `--header "NAME: VALUE"`. mcp-remote replaces `${VARIABLE}` with a variable of the entry.
fn options(node: &Node) -> Vec<Header> {
    let words = ["args", "command"].into_iter().filter_map(|key| node.get(key)).flat_map(Node::texts);
    let variables = ["env", "environment", "envs"].into_iter().filter_map(|key| node.get(key)).flat_map(Node::members);
    let variables: Vec<(String, &str)> =
        variables.filter_map(|member| Some((format!("${{{}}}", member.key), member.value.text()?))).collect();
    let mut headers = Vec::new();
    let mut follows_option = false;
    for word in words {
        let text = if follows_option { Some(word.as_str()) } else { word.strip_prefix("--header=") };
        if let Some((name, value)) = text.and_then(|text| text.split_once(':')) {
            let value = variables.iter().fold(value.to_owned(), |value, (name, with)| value.replace(name, with));
            headers.extend(header(name, &value));
        }
        follows_option = !follows_option && ["--header", "-H"].contains(&word.as_str());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{client::Client, document::Document};

    /// The header, the key, and the other headers of the entry `text`.
    fn key(text: &str) -> Option<Result<(String, String, usize), String>> {
        let document = Document::read(Client::Cursor, &format!(r#"{{"mcpServers": {{"x": {text}}}}}"#)).unwrap();
        in_entry(document.server("x").unwrap()).map(|found| match found {
            Ok(found) => Ok((found.header.to_string(), found.key.expose().clone(), found.headers.map().len())),
            Err(error) => Err(error.to_string()),
        })
    }

    #[test]
    fn a_key_is_found_where_clients_keep_it() {
        for (entry, header, key_of, others) in [
            (r#"{"headers": {"Authorization": "Bearer k-1"}}"#, "authorization: Bearer", "k-1", 0),
            (r#"{"headers": {"authorization": "Token k-1", "X-Tenant": "7"}}"#, "authorization: Token", "k-1", 1),
            (r#"{"http_headers": {"X-Api-Key": " k-1 ", "Accept": "x/y"}}"#, "x-api-key", "k-1", 0),
            (r#"{"headers": {"Authorization": "k-1"}}"#, "authorization", "k-1", 0),
            (r#"{"bearer_token": "k-1"}"#, "authorization: Bearer", "k-1", 0),
            (
                r#"{"args": ["mcp-remote", "https://x", "--header", "Authorization:${AUTH}"], "env": {"AUTH": "Bearer k-1"}}"#,
                "authorization: Bearer",
                "k-1",
                0,
            ),
            (
                r#"{"args": ["--header=X-Api-Key: ${K}", "-H", "Stripe-Account: acct_1"], "env": {"K": "k-1"}}"#,
                "x-api-key",
                "k-1",
                1,
            ),
        ] {
            let found = key(entry).unwrap_or_else(|| panic!("{entry}"));
            assert_eq!(found, Ok((header.to_owned(), key_of.to_owned(), others)), "{entry}");
        }
    }

    #[test]
    fn entries_without_a_key_are_ignored() {
        for entry in [
            r#"{"url": "https://x"}"#,
            r#"{"headers": {"X-Tenant": "7"}}"#,
            r#"{"headers": {"Authorization": "Bearer ${input:key}"}}"#,
            r#"{"headers": {"Authorization": "Bearer {env:KEY}"}}"#,
            r#"{"headers": {"Authorization": "Bearer e30.e30.c2ln"}}"#,
            r#"{"args": ["mcp-remote", "--header", "Authorization:${AUTH}"]}"#,
        ] {
            assert_eq!(key(entry), None, "{entry}");
        }
    }

    /// A header that may be a secret never goes to config.toml.
    #[test]
    fn entries_with_several_secrets_are_not_moved() {
        for (entry, why) in [
            (r#"{"headers": {"DD-API-KEY": "a", "DD-APPLICATION-KEY": "b"}}"#, "several secret headers"),
            (r#"{"headers": {"Authorization": "Bearer a", "X-Session": "b"}}"#, "several secret headers"),
            (r#"{"headers": {"Authorization": "Bearer a", "X-Tenant": "${T}"}}"#, "X-Tenant is not in the file"),
            (r#"{"headers": {"Cookie": "sid=a"}}"#, "cookie cannot carry a key"),
            (r#"{"headers": {"X-Api-Key": "a", "b c": "d"}}"#, "invalid header name"),
        ] {
            let error = key(entry).unwrap().unwrap_err();
            assert!(error.contains(why), "{entry}: {error}");
        }
    }
}
