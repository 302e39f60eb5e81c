//! The log messages that a modern client wants for each request (MCP 2026-07-28 logging, "Per-request log level"),
//! from a server with one log level for the whole session.

use std::collections::HashMap;

use crate::{
    conversation::{
        description::Description,
        layer::Step,
        request_ids::RequestIds,
        translate::log_level::{LOG_LEVELS, log_level},
    },
    mcp::{id::Id, message::Message},
};

/// The requests that want log messages, and the level set on the server.
#[derive(Debug)]
pub struct Logging {
    /// The requests that want log messages, and their lowest levels.
    wanted: HashMap<Id, usize>,
    /// The level of the request that ended last, until a request comes that wants no log: messages that a server logs
    /// outside an exchange may come after the result.
    last_level: Option<usize>,
    /// The level set on the server; the lowest one, if the server does not support setting it.
    server_level: Option<usize>,
    /// finmcp's own requests for a level, and the message to send after each.
    own: HashMap<Id, Option<Message>>,
    request_ids: RequestIds,
}

impl Logging {
    /// For the described server.
    pub fn new(server: &Description, request_ids: RequestIds) -> Self {
        let server_level = server.capability(&["logging"]).is_none().then_some(0);
        Self { wanted: HashMap::new(), last_level: None, server_level, own: HashMap::new(), request_ids }
    }

    /// Sends `request`, which has this id and wants messages from `level` on. The server gets that level, unless it
    /// has a lower one from an earlier request already: then the additional messages are dropped on their way back.
    pub fn send(&mut self, id: Id, level: Option<usize>, request: Message, steps: &mut Vec<Step>) {
        let Some(level) = level else {
            self.last_level = None;
            return steps.push(Step::ToServer(request));
        };
        self.wanted.insert(id, level);
        if self.is_covered(level) {
            steps.push(Step::ToServer(request));
        } else {
            self.set_level(level, Some(request), steps);
        }
    }

    /// The client has resumed a call that the server is still working on, and now wants log messages from `level` on.
    pub fn resume(&mut self, call: &Id, level: Option<usize>, steps: &mut Vec<Step>) {
        let Some(level) = level else { return self.forget(call) };
        self.wanted.insert(call.clone(), level);
        if !self.is_covered(level) {
            self.set_level(level, None, steps);
        }
    }

    fn is_covered(&self, level: usize) -> bool {
        self.server_level.is_some_and(|set| set <= level)
    }

    fn set_level(&mut self, level: usize, then: Option<Message>, steps: &mut Vec<Step>) {
        self.server_level = Some(level);
        let own = self.request_ids.next_id();
        self.own.insert(own.clone(), then);
        let set = Message::request(own, "logging/setLevel", &format!(r#"{{"level":"{}"}}"#, LOG_LEVELS[level]));
        steps.push(Step::ToServer(set));
    }

    /// Whether the response with this id is to a request of finmcp's own. Sends the message that waited for it,
    /// whatever the response.
    pub fn answered(&mut self, id: &Id, steps: &mut Vec<Step>) -> bool {
        let Some(then) = self.own.remove(id) else { return false };
        steps.extend(then.map(Step::ToServer));
        true
    }

    /// Drops the request `id` if it waits for a level. Returns whether it did.
    pub fn drop_waiting(&mut self, id: &Id) -> bool {
        let then = self.own.values_mut().find(|then| then.as_ref().is_some_and(|then| then.id() == Some(id)));
        then.is_some_and(|then| then.take().is_some())
    }

    /// The request has ended.
    pub fn ended(&mut self, id: &Id) {
        if let Some(level) = self.wanted.remove(id) {
            self.last_level = Some(level);
        }
    }

    /// The request wants no more log messages.
    pub fn forget(&mut self, id: &Id) {
        self.wanted.remove(id);
    }

    /// Whether a log message is wanted by the request in whose exchange it came, or, outside an exchange, by any
    /// request.
    pub fn is_wanted(&self, message: &Message, within: Option<&Id>) -> bool {
        let Some(level) = message.member("level").and_then(|level| log_level(&level)) else { return false };
        match within {
            Some(id) => self.wanted.get(id).is_some_and(|wanted| *wanted <= level),
            None => self.wanted.values().chain(&self.last_level).any(|wanted| *wanted <= level),
        }
    }
}
