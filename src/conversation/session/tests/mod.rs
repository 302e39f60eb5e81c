mod any_order;
mod handshake;
mod lost;
mod mismatch;
mod requests;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::{
    conversation::{reply, session::channel::IN_FLIGHT_LIMIT},
    mcp::headers::{PROTOCOL_VERSION, SESSION_ID},
};

/// A session, and what it has asked for so far.
struct Rig {
    session: Session,
    posts: Vec<(Exchange, String, HeaderMap)>,
    listens: Vec<Exchange>,
    cancelled: Vec<Exchange>,
    deletes: usize,
    replies: Vec<String>,
    closed: bool,
    stopped: bool,
}

impl Rig {
    fn new() -> Self {
        Self {
            session: Session::default(),
            posts: Vec::new(),
            listens: Vec::new(),
            cancelled: Vec::new(),
            deletes: 0,
            replies: Vec::new(),
            closed: false,
            stopped: false,
        }
    }

    fn handle(&mut self, event: Event) {
        self.closed |= matches!(event, Event::Closed | Event::Stopping);
        let mut actions: Vec<_> = self.session.handle(event).collect();
        if self.closed && self.session.is_idle() {
            actions.extend(self.session.end());
        }
        let labels =
            reply::ServerLabels { title: "Server".to_owned(), login_command: "finmcp login server".to_owned() };
        for action in actions {
            match action {
                Action::Do(Task::Post(exchange, message, headers)) => {
                    self.posts.push((exchange, text(message.raw()), headers));
                }
                Action::Do(Task::Listen(exchange, _)) => self.listens.push(exchange),
                Action::Do(Task::HoldFor(_) | Task::Switch(_)) => {}
                Action::Do(Task::Cancel(exchange)) => self.cancelled.push(exchange),
                Action::Do(Task::Delete(_)) => self.deletes += 1,
                Action::Do(Task::Stop) => self.stopped = true,
                Action::Answer(message, _) | Action::Pass(message, _) => self.replies.push(text(&message.line())),
                Action::Refuse(refusal) => {
                    self.replies.extend(labels.refused(&refusal).map(|message| text(&message.line())));
                }
            }
        }
    }

    fn client(&mut self, message: &str) {
        self.handle(Event::Received(parse(message)));
    }

    fn server(&mut self, exchange: Exchange, message: &str) {
        self.handle(Event::Delivered(exchange, parse(message)));
    }

    /// The exchange of the last POST that contains `part`.
    fn post(&self, part: &str) -> Exchange {
        self.posts.iter().rfind(|(_, message, _)| message.contains(part)).unwrap_or_else(|| panic!("no {part}")).0
    }

    fn count(&self, part: &str) -> usize {
        self.posts.iter().filter(|(_, message, _)| message.contains(part)).count()
    }

    /// A legacy session, ready.
    fn ready() -> Self {
        let mut rig = Self::new();
        rig.client(INITIALIZE);
        rig.open("one");
        rig.client(INITIALIZED);
        rig.settle();
        rig.replies.clear();
        rig
    }

    /// Responds to the `initialize` in flight, with a session id.
    fn open(&mut self, id: &'static str) {
        let exchange = self.post("initialize\"");
        self.handle(Event::Accepted(exchange, Some(HeaderValue::from_static(id))));
        self.server(exchange, INITIALIZE_RESULT);
        self.handle(Event::Finished(exchange, Ending::Complete));
    }

    /// Accepts `notifications/initialized` and the GET stream.
    fn settle(&mut self) {
        let exchange = self.post("notifications/initialized");
        self.handle(Event::Accepted(exchange, None));
        self.handle(Event::Finished(exchange, Ending::Complete));
        let listen = *self.listens.last().unwrap();
        self.handle(Event::Accepted(listen, None));
    }
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const INITIALIZE_RESULT: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay"}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"amount":1.10}}"#;

fn parse(message: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(message.as_bytes())).unwrap()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const MODERN_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
const CANCELLED: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;

/// A server's refusal for a session that it does not know (MCP 2025-11-25 transports, "Session Management").
fn lost_session() -> Ending {
    let failure = Failure::Status { status: http::StatusCode::NOT_FOUND, retry_after: None, reason: None };
    Ending::SessionLost(Box::new(Refused::Failure(failure)))
}
