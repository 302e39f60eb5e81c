mod answered;
mod eras;
mod sign_in;
mod stand_in;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::{
    conversation::{
        failure::Failure,
        session::{Ending, Exchange, SUBSCRIBE},
        sign_in_tool::Invitation,
    },
    credential::token_source::{LoginReason, TokenSourceError},
};

/// A conversation, and what it has asked for so far.
struct Rig {
    conversation: Conversation,
    /// Exchange, message, and whether it is still open.
    posts: Vec<(Exchange, Message)>,
    open: BTreeSet<Exchange>,
    listens: Vec<Exchange>,
    written: Vec<Value>,
    alarms: Vec<Alarm>,
    sign_ins: Vec<Need>,
    watches: usize,
    remembered: Option<Description>,
    stopped: bool,
}

impl Rig {
    fn new(remembered: Option<Description>) -> Self {
        Self::with(remembered, SignIn::new(true))
    }

    fn with(remembered: Option<Description>, sign_in: SignIn) -> Self {
        let labels = ServerLabels { title: "Server".to_owned(), login_command: "finmcp login server".to_owned() };
        Self {
            conversation: Conversation::new(labels, remembered, sign_in, Rules::default()),
            posts: Vec::new(),
            open: BTreeSet::new(),
            listens: Vec::new(),
            written: Vec::new(),
            alarms: Vec::new(),
            sign_ins: Vec::new(),
            watches: 0,
            remembered: None,
            stopped: false,
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Network(session::Event::Finished(exchange, _)) = &event {
            self.open.remove(exchange);
        }
        for action in self.conversation.handle(event) {
            match action {
                Action::Do(Task::Post(exchange, message, _)) => {
                    self.open.insert(exchange);
                    self.posts.push((exchange, message));
                }
                Action::Do(Task::Listen(exchange, _)) => self.listens.push(exchange),
                Action::Do(Task::Cancel(exchange)) => {
                    self.open.remove(&exchange);
                }
                Action::Do(Task::HoldFor(_) | Task::Delete(_) | Task::Switch(_)) => {}
                Action::Do(Task::Stop) => self.stopped = true,
                Action::Write(message) | Action::Decline(message) => {
                    self.written.push(serde_json::from_slice(message.raw()).unwrap());
                }
                Action::Wake(alarm, _) => self.alarms.push(alarm),
                Action::SignIn(need, _) => self.sign_ins.push(need),
                Action::ShowSignIn => {}
                Action::Watch => self.watches += 1,
                Action::Remember(description) => self.remembered = Some(*description),
            }
        }
    }

    fn client(&mut self, message: Value) {
        self.handle(Event::Received(parse(&message)));
    }

    fn network(&mut self, event: session::Event) {
        self.handle(event.into());
    }

    /// Delivers the server's response to the last POST of this method, and ends that exchange.
    fn answer(&mut self, method: &str, mut answer: Value) {
        let (exchange, message) = self.post(method);
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = serde_json::from_str(&message.id().unwrap().to_string()).unwrap();
        self.network(session::Event::Accepted(exchange, None));
        self.network(session::Event::Delivered(exchange, parse(&answer)));
        self.network(session::Event::Finished(exchange, Ending::Complete));
    }

    fn fail(&mut self, method: &str, failure: Failure) {
        let (exchange, _) = self.post(method);
        self.network(session::Event::Finished(exchange, Ending::Failed(failure)));
    }

    /// Accepts notifications as they come, and the GET stream.
    fn accept_notifications(&mut self) {
        let accepted: Vec<_> =
            self.posts.iter().filter(|(_, message)| message.id().is_none()).map(|post| post.0).collect();
        for exchange in accepted.into_iter().filter(|exchange| self.open.contains(exchange)).collect::<Vec<_>>() {
            self.network(session::Event::Accepted(exchange, None));
            self.network(session::Event::Finished(exchange, Ending::Complete));
        }
        for exchange in std::mem::take(&mut self.listens) {
            self.network(session::Event::Accepted(exchange, None));
        }
    }

    fn post(&self, method: &str) -> (Exchange, Message) {
        let found = self.posts.iter().rfind(|(_, message)| message.method() == Some(method));
        found.unwrap_or_else(|| panic!("no {method} in {:?}", self.methods())).clone()
    }

    fn methods(&self) -> Vec<&str> {
        self.posts.iter().filter_map(|(_, message)| message.method()).collect()
    }

    fn count(&self, method: &str) -> usize {
        self.methods().iter().filter(|posted| **posted == method).count()
    }

    /// The response to request `id`.
    fn answered(&self, id: &Value) -> &Value {
        let mut found = self.written.iter().filter(|line| line["id"] == *id && line.get("method").is_none());
        let answer = found.next().unwrap_or_else(|| panic!("no response to {id} in {:#?}", self.written));
        assert!(found.next().is_none(), "two responses to {id}");
        answer
    }

    fn said(&self, method: &str) -> Vec<&Value> {
        self.written.iter().filter(|line| line["method"] == *method).collect()
    }
}

fn parse(message: &Value) -> Message {
    Message::parse(Bytes::from(message.to_string())).unwrap()
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

fn initialize() -> Value {
    let capabilities = json!({"elicitation": {"form": {}, "url": {}}, "roots": {}});
    request(
        0,
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}}),
    )
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}},
    });
    params
}

fn discover() -> Value {
    request("d", "server/discover", modern(json!({})))
}

const INITIALIZED: &str = "notifications/initialized";

fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": INITIALIZED})
}

fn legacy_hello() -> Value {
    json!({"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "L", "version": "1"}}})
}

fn modern_hello() -> Value {
    json!({"result": {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": true}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "M", "version": "2"}}, "ttlMs": 9, "cacheScope": "public"}})
}

fn unknown_method() -> Value {
    json!({"error": {"code": -32601, "message": "unknown method"}})
}

fn status(code: u16) -> Failure {
    Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None }
}

fn offered(address: &str) -> Event {
    Event::SignInOffered(Invitation { address: address.to_owned(), code: None, window: sign_in_tool::Window::None })
}

fn signed_out() -> Failure {
    Failure::Token(TokenSourceError::LoginRequired(LoginReason::SignedOut))
}

fn description(era: Era) -> Description {
    let mut hello = if era == Era::Legacy { legacy_hello() } else { modern_hello() };
    hello["id"] = json!(1);
    let mut description = Description::learn(era, &parse(&hello)).unwrap();
    description.learn_tools(&parse(&json!({"id": 1, "result": {"tools": [{"name": "pay"}]}})));
    description
}
