//! One message in the other era's terms.

use std::sync::Arc;

use crate::{
    bridge::conversation::{
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

/// A message without what only a modern one says about itself: a server that knows both eras would believe it. None where
/// that cannot be taken out of it.
pub fn legacy(message: Message) -> Option<Message> {
    const MODERN_ONLY: [&str; 4] = [meta::VERSION, meta::CLIENT, meta::CAPABILITIES, meta::LOG_LEVEL];
    let has_meta = match message.parameters::<Object<'_>>() {
        Some(parameters) => parameters.get("_meta").is_some(),
        // Parameters that are no object have nothing of the kind; an object that cannot be read is there twice.
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

/// The answer to the request that the client has `written`, as a modern server would give it. One that cannot be completed
/// is none: a client of that era could not read it.
pub fn completed(answer: Message, written: Option<&Message>) -> Step {
    let id = answer.id().cloned();
    if let Some(whole) = complete(answer) {
        return Step::ToClient(whole);
    }
    let failure = Failure::Malformed;
    match (written, id) {
        (Some(message), _) => {
            let taken = failure.taken();
            Step::Refuse(Refusal { message: message.clone(), failure: Arc::new(failure), taken })
        }
        (None, Some(id)) => Step::ToClient(reply::error(&id, ReplyCode::Network, &failure.to_string())),
        (None, None) => Step::ToClient(Message::error(None, ReplyCode::Network as i32, &failure.to_string())),
    }
}

/// A legacy server's result with what every modern one has: its type, and how long it may be kept where it is a list or a
/// resource (MCP 2026-07-28, "Results" and "Caching"). An error is an error in both eras.
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
