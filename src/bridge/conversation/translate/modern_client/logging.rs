//! What a modern client wants logged, request by request (MCP 2026-07-28 logging, "Per-request log level"), by a server
//! that logs at one level for the whole session.

use std::collections::HashMap;

use crate::{
    bridge::conversation::{
        description::Description,
        layer::Step,
        numbers::Numbers,
        translate::log_level::{LOG_LEVELS, log_level},
    },
    mcp::{id::Id, message::Message},
};

/// Which requests want a log, and what the server was told.
#[derive(Debug)]
pub struct Logging {
    /// The requests that want log messages, and from which level on.
    wanted: HashMap<Id, usize>,
    /// The same of the request that ended last, until one comes that wants none: what a server logs outside of an exchange may come
    /// after the result.
    lately: Option<usize>,
    /// The level that the server was told. The lowest of all, where there is no use in telling it one.
    told: Option<usize>,
    /// Our own requests for a level, and what is sent once they are answered.
    own: HashMap<Id, Option<Message>>,
    numbers: Numbers,
}

impl Logging {
    /// Of a server that describes itself so.
    pub fn new(server: &Description, numbers: Numbers) -> Self {
        let told = server.capability(&["logging"]).is_none().then_some(0);
        Self { wanted: HashMap::new(), lately: None, told, own: HashMap::new(), numbers }
    }

    /// Sends `request`, which has this id and wants messages from `level` on. The server logs at that level then, or at
    /// that of a request before it which wanted more: what is too much for this one is left out on the way back.
    pub fn send(&mut self, id: Id, level: Option<usize>, request: Message, steps: &mut Vec<Step>) {
        let Some(level) = level else {
            self.lately = None;
            return steps.push(Step::ToServer(request));
        };
        self.wanted.insert(id, level);
        if self.is_told(level) {
            steps.push(Step::ToServer(request));
        } else {
            self.tell(level, Some(request), steps);
        }
    }

    /// The client has come back to a call that the server is still busy with: from now on it wants the log from `level` on.
    pub fn go_on(&mut self, call: &Id, level: Option<usize>, steps: &mut Vec<Step>) {
        let Some(level) = level else { return self.forget(call) };
        self.wanted.insert(call.clone(), level);
        if !self.is_told(level) {
            self.tell(level, None, steps);
        }
    }

    fn is_told(&self, level: usize) -> bool {
        self.told.is_some_and(|told| told <= level)
    }

    fn tell(&mut self, level: usize, then: Option<Message>, steps: &mut Vec<Step>) {
        self.told = Some(level);
        let own = self.numbers.next_id();
        self.own.insert(own.clone(), then);
        let set = Message::request(own, "logging/setLevel", &format!(r#"{{"level":"{}"}}"#, LOG_LEVELS[level]));
        steps.push(Step::ToServer(set));
    }

    /// Whether the response with this id is to a request of ours. What waited for it is sent, whatever came of it.
    pub fn answered(&mut self, id: &Id, steps: &mut Vec<Step>) -> bool {
        let Some(then) = self.own.remove(id) else { return false };
        steps.extend(then.map(Step::ToServer));
        true
    }

    /// Takes back the request `id`, where it waits for a level. Whether it does.
    pub fn take_back(&mut self, id: &Id) -> bool {
        let then = self.own.values_mut().find(|then| then.as_ref().is_some_and(|then| then.id() == Some(id)));
        then.is_some_and(|then| then.take().is_some())
    }

    /// The request is over.
    pub fn over(&mut self, id: &Id) {
        if let Some(level) = self.wanted.remove(id) {
            self.lately = Some(level);
        }
    }

    /// The request is not logged any more.
    pub fn forget(&mut self, id: &Id) {
        self.wanted.remove(id);
    }

    /// Whether the request in whose exchange a log message came wants it; any request, where it came outside of an exchange.
    pub fn is_wanted(&self, message: &Message, within: Option<&Id>) -> bool {
        let Some(level) = message.member("level").and_then(|level| log_level(&level)) else { return false };
        match within {
            Some(id) => self.wanted.get(id).is_some_and(|wanted| *wanted <= level),
            None => self.wanted.values().chain(&self.lately).any(|wanted| *wanted <= level),
        }
    }
}
