//! Which requests are taken at all: as many as there is room for, and those that the owner allows.

use crate::{
    bridge::conversation::{
        failure::{Failure, Refusal},
        known::Known,
        layer::{Layer, Step},
        reply::{self, ReplyCode},
    },
    mcp::{
        message::{Kind, Message},
        object,
    },
};

/// How many bytes of the client's may be under way or wait; then no further request is taken. Small ones are, for a while:
/// what is under way may wait for what they say.
pub const BACKLOG_LIMIT: usize = 256 << 20;
const CAPACITY_FOR_SMALL: usize = 64 << 20;
const SMALL: usize = 64 << 10;

/// The layer.
#[derive(Debug)]
pub struct Gate {
    /// The tool that is finmcp's own, and not subject to any rule.
    own_tool: Option<&'static str>,
}

impl Gate {
    /// With this tool of finmcp's own.
    pub fn beside(own_tool: Option<&'static str>) -> Self {
        Self { own_tool }
    }

    fn is_own(&self, message: &Message) -> bool {
        self.own_tool.is_some_and(|tool| message.member("name").is_some_and(|name| name == object::text(tool)))
    }
}

impl Layer for Gate {
    fn client_says(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("initialize") {
            return Some(message);
        }
        let limit = BACKLOG_LIMIT + if message.raw().len() < SMALL { CAPACITY_FOR_SMALL } else { 0 };
        if matches!(message.kind, Kind::Request { .. }) && known.backlog >= limit {
            out.push(Step::Refuse(Refusal::unsent(message, Failure::Crowded)));
            return None;
        }
        let Some(objection) = known.policy.objection(&message).filter(|_| !self.is_own(&message)) else {
            return Some(message);
        };
        let answer = message.id().map(|id| reply::error(id, ReplyCode::InvalidParameters, &objection));
        out.extend(answer.map(Step::Decline));
        None
    }
}
