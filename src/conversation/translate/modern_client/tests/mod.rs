mod calls;
mod logging;
mod messages;
mod rounds;
mod subscriptions;

use std::sync::Arc;

use super::*;
use crate::{
    conversation::{
        failure::Processed,
        translate::{
            modern_client::calls::WAITING_LIMIT,
            tests::{message, told},
        },
    },
    mcp::revision::Era,
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"roots":{}}"#;

/// A translator in front of a server with these capabilities.
fn translator(capabilities: &str) -> ModernClient {
    let answer = format!(
        r#"{{"id":0,"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"s"}}}}}}"#
    );
    ModernClient::new(Description::learn(Era::Legacy, &message(&answer)).unwrap(), RequestIds::default())
}

/// The steps that result from a message of the client.
fn client(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.client_sent(message(text), steps))
}

/// The steps that result from a message of the server within the exchange of the request with this id.
fn within(translator: &mut ModernClient, id: &str, text: &str) -> Vec<String> {
    told(|steps| translator.server_sent(message(text), Id::from_json(id), steps))
}

/// The steps that result from a message of the server outside any exchange.
fn server(translator: &mut ModernClient, text: &str) -> Vec<String> {
    told(|steps| translator.server_sent(message(text), None, steps))
}

const NOTHING: [&str; 0] = [];

/// A call with this id and with additional parameters and metadata.
fn call(id: &str, parameters: &str, meta: &str) -> String {
    format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"{parameters},"_meta":{{{META}{meta}}}}}}}"#)
}

/// The client cancels its request `id`.
fn cancel(id: &str) -> String {
    format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}

/// The client sends the call 7 again with these responses.
fn resumed(id: &str, answers: &str) -> String {
    call(id, &format!(r#","requestState":"7","inputResponses":{answers}"#), "")
}

const ROOTS: &str = r#"{"id":"q","method":"roots/list"}"#;

/// The response to the client's request `id` that asks for its roots, as input request `number`.
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
