mod calls;
mod logging;
mod messages;
mod rounds;
mod subscriptions;

use std::sync::Arc;

use super::*;
use crate::{
    bridge::conversation::{
        failure::Taken,
        translate::{
            modern_client::calls::THINKING_LIMIT,
            tests::{message, told},
        },
    },
    mcp::revision::Era,
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}"#;

/// In front of a server with these capabilities.
fn translator(capabilities: &str) -> ModernClient {
    let answer = format!(
        r#"{{"id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"s"}}}}}}"#
    );
    ModernClient::new(Description::learn(Era::Legacy, &message(&answer)).unwrap(), Numbers::default())
}

/// What comes of a message of the client's.
fn client(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.client(message(text), steps))
}

/// What comes of a message of the server's, within the exchange of the request with this id.
fn within(translator: &mut ModernClient, id: &str, text: &str) -> Vec<String> {
    told(|steps| translator.server(message(text), Id::from_json(id), steps))
}

/// What comes of a message of the server's that comes by itself.
fn server(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.server(message(text), None, steps))
}

const NOTHING: [&str; 0] = [];

/// A call with this id, and more parameters and metadata.
fn call(id: &str, parameters: &str, meta: &str) -> String {
    format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"{parameters},"_meta":{{{META}{meta}}}}}}}"#)
}

/// The client does not want the answer to its request `id` any more.
fn cancel(id: &str) -> String {
    format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// The client comes back to the call 7 with these answers.
fn back(id: &str, answers: &str) -> String {
    call(id, &format!(r#","requestState":"7","inputResponses":{answers}"#), "")
}

const ROOTS: &str = r#"{"id":"q","method":"roots/list"}"#;

/// The answer to the request `id` of the client's that asks for its roots, as the `number`th question.
fn asked(id: &str, number: u8) -> String {
    format!(
        r#"to client {{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"finmcp-{number}":{{"method":"roots/list"}}}},"requestState":"7"}}}}"#
    )
}

fn logging(id: &str, level: &str) -> String {
    call(id, "", &format!(r#","io.modelcontextprotocol/logLevel":"{level}""#))
}

fn logged(level: &str) -> String {
    format!(r#"{{"method":"notifications/message","params":{{"level":"{level}","data":1.10}}}}"#)
}

fn set(number: u8, level: &str) -> String {
    format!(
        r#"to server {{"jsonrpc":"2.0","id":"finmcp-{number}","method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
    )
}

fn sent(id: &str) -> String {
    format!(r#"to server {{"id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
}

fn listen(id: &str, filter: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"subscriptions/listen","params":{{"notifications":{{{filter}}},"_meta":{{{META}}}}}}}"#
    )
}

fn acknowledged(id: &str, filter: &str) -> String {
    format!(
        r#"to client {{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{{filter}}}}}}}"#
    )
}
