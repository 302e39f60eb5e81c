//! Translates single messages.

use std::sync::Arc;

use crate::{
    conversation::{
        failure::{Failure, Refusal},
        layer::Step,
        reply::{self, ReplyCode},
    },
    mcp::{
        message::{Kind, Message},
        meta,
        object::Object,
    },
};

/// Removes the members of `_meta` with which a modern client describes itself: a server that knows both eras would go
/// by them. Returns none if the message cannot be edited.
pub fn to_legacy(message: Message) -> Option<Message> {
    const MODERN_ONLY: [&str; 4] = [meta::VERSION, meta::CLIENT, meta::CAPABILITIES, meta::LOG_LEVEL];
    let has_meta = match message.parameters::<Object<'_>>() {
        Some(parameters) => parameters.get("_meta").is_some(),
        // Parameters that are not an object have no `_meta`; if they look like one, they repeat a member.
        None => {
            let whole = Object::parse(std::str::from_utf8(message.raw()).ok()?)?;
            whole.get("params").is_some_and(|parameters| parameters.starts_with('{'))
        }
    };
    if !has_meta {
        return Some(message);
    }
    message.edited(|message| {
        message.edit("params", |parameters| {
            let mut is_empty = false;
            parameters.edit("_meta", |meta| {
                meta.remove(|name| MODERN_ONLY.contains(&name));
                is_empty = meta.is_empty();
            });
            if is_empty {
                parameters.remove(|name| name == "_meta");
            }
        });
    })
}

/// The response to the request `original` of the client, as a modern server would send it. A response that cannot be
/// completed becomes an error, because a modern client could not read it.
pub fn completed(answer: Message, original: Option<&Message>) -> Step {
    let id = answer.id().cloned();
    if let Some(whole) = complete(answer) {
        return Step::ToClient(whole);
    }
    let failure = Failure::Malformed;
    match (original, id) {
        (Some(message), _) => {
            let processed = failure.processed();
            Step::Refuse(Refusal { message: message.clone(), failure: Arc::new(failure), processed })
        }
        (None, Some(id)) => Step::ToClient(reply::error(&id, ReplyCode::Network, &failure.to_string())),
        (None, None) => Step::ToClient(Message::error(None, ReplyCode::Network as i32, &failure.to_string())),
    }
}

/// Adds to a legacy server's result the members of every modern result: its type, and for a list or a resource how
/// long it may be cached (MCP 2026-07-28, "Results" and "Caching"). Errors are the same in both eras.
fn complete(answer: Message) -> Option<Message> {
    let Kind::Response { succeeded: true, .. } = &answer.kind else { return Some(answer) };
    answer.edited(|message| {
        message.edit("result", |result| {
            if result.get("resultType").is_none() {
                result.set("resultType", r#""complete""#);
            }
            let is_cacheable = ["tools", "prompts", "resources", "resourceTemplates", "contents"];
            if result.get("ttlMs").is_none() && is_cacheable.iter().any(|name| result.get(name).is_some()) {
                result.set("ttlMs", "0");
                result.set("cacheScope", r#""private""#);
            }
        });
    })
}
