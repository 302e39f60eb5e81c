//! Decides which requests finmcp accepts: as many as fit in memory, and only those that the user's rules allow.

use crate::{
    conversation::{
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

/// The limit on the client's unsent and unanswered bytes. Small requests get [`CAPACITY_FOR_SMALL`] more, because a
/// request in flight may wait for them.
pub const BACKLOG_LIMIT: usize = 256 << 20;
const CAPACITY_FOR_SMALL: usize = 64 << 20;
const SMALL: usize = 64 << 10;

/// The layer that refuses requests.
#[derive(Debug)]
pub struct Gate {
    /// The name of finmcp's own tool, to which no rule applies.
    own_tool: Option<&'static str>,
}

impl Gate {
    /// A gate that lets calls to finmcp's own tool pass.
    pub fn new(own_tool: Option<&'static str>) -> Self {
        Self { own_tool }
    }

    fn is_own(&self, message: &Message) -> bool {
        self.own_tool.is_some_and(|tool| message.member("name").is_some_and(|name| name == object::text(tool)))
    }
}

impl Layer for Gate {
    fn client_sent(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("initialize") {
            return Some(message);
        }
        let limit = BACKLOG_LIMIT + if message.raw().len() < SMALL { CAPACITY_FOR_SMALL } else { 0 };
        if matches!(message.kind, Kind::Request { .. }) && known.backlog >= limit {
            out.push(Step::Refuse(Refusal::unsent(message, Failure::TooMuchInFlight)));
            return None;
        }
        let Some(refusal_reason) = known.policy.refusal_reason(&message).filter(|_| !self.is_own(&message)) else {
            return Some(message);
        };
        let answer = message.id().map(|id| reply::error(id, ReplyCode::InvalidParameters, &refusal_reason));
        out.extend(answer.map(Step::Decline));
        None
    }
}
