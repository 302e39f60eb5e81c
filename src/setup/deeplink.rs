//! A link that installs an entry with one click.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::setup::{
    client::Client,
    entry::{Entry, Value},
    json,
};

/// The link for `client`, if it supports install links.
pub fn deeplink(client: Client, entry: &Entry) -> Option<String> {
    let mut members = entry.members(client);
    match client {
        Client::Cursor => {
            let config = STANDARD.encode(json::compact(&members));
            let [name, config] = [&entry.name, &config].map(|text| utf8_percent_encode(text, RESERVED));
            Some(format!("cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={config}"))
        }
        Client::Vscode => {
            members.insert(0, ("name", Value::Text(entry.name.clone())));
            Some(format!("vscode:mcp/install?{}", utf8_percent_encode(&json::compact(&members), RESERVED)))
        }
        _ => None,
    }
}

/// All but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
