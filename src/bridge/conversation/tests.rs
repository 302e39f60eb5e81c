use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    bridge::conversation::{
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
        Self::with(remembered, SignIn::offered_if(true))
    }

    fn with(remembered: Option<Description>, sign_in: SignIn) -> Self {
        let words = Words { title: "Server".to_owned(), login_command: "finmcp login server".to_owned() };
        Self {
            conversation: Conversation::new(words, remembered, sign_in, Rules::default()),
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

    /// The server's answer to the last POST of this method, and the end of that exchange.
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

    /// Notifications are accepted as they come, and the GET stream with them.
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

    /// What was written in answer to `id`.
    fn answered(&self, id: &Value) -> &Value {
        let mut found = self.written.iter().filter(|line| line["id"] == *id && line.get("method").is_none());
        let answer = found.next().unwrap_or_else(|| panic!("no answer to {id} in {:#?}", self.written));
        assert!(found.next().is_none(), "two answers to {id}");
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

// Eras.

#[test]
fn alike_is_relayed_as_it_is() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!(0))["result"], legacy_hello()["result"]);
    rig.client(initialized());
    rig.accept_notifications();
    rig.client(request(1, "tools/list", json!({})));
    assert_eq!(rig.methods(), ["initialize", INITIALIZED, "tools/list"]);

    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", modern_hello());
    assert_eq!(rig.answered(&json!("d"))["result"], modern_hello()["result"]);
    assert_eq!(rig.methods(), ["server/discover"]);
}

#[test]
fn a_legacy_client_is_translated_for_a_server_that_knows_no_initialize() {
    for refusal in [status(400), status(404), status(405)] {
        let mut rig = Rig::new(None);
        rig.client(initialize());
        rig.fail("initialize", refusal);
        rig.answer("server/discover", modern_hello());
        let hello = &rig.answered(&json!(0))["result"];
        assert_eq!((&hello["protocolVersion"], &hello["serverInfo"]["name"]), (&json!("2025-06-18"), &json!("M")));
        rig.client(initialized());
        rig.client(request(1, "tools/list", json!({})));
        let (_, list) = rig.post("tools/list");
        assert!(list.member("_meta").unwrap().contains("2026-07-28"));
        assert_eq!(rig.count("initialize"), 1);
        assert!(matches!(rig.remembered, Some(Description { era: Era::Modern, .. })));
    }
}

/// t136: an error that only a modern server gives is no reason to fall back.
#[test]
fn t136_only_an_unknown_answer_is_a_reason_to_fall_back() {
    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", json!({"error": {"code": -32022, "message": "", "data": {"supported": ["2027-01-01"], "requested": "2026-07-28"}}}));
    assert_eq!(rig.answered(&json!("d"))["error"]["code"], -32022);
    assert_eq!(rig.count("initialize"), 0);

    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", unknown_method());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!("d"))["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(rig.methods()[..3], ["server/discover", "initialize", INITIALIZED]);
}

#[test]
fn what_is_remembered_is_asked_first_and_forgotten_when_wrong() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(initialize());
    assert_eq!(rig.methods(), ["server/discover"]);
    rig.answer("server/discover", unknown_method());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!(0))["result"], legacy_hello()["result"]);
    assert!(matches!(rig.remembered, Some(Description { era: Era::Legacy, .. })));

    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(discover());
    assert_eq!(rig.methods(), ["initialize"]);
    // A modern client that asks for nothing first goes straight to a server that is known to be modern.
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["tools/call"]);
    // And to no other: it could take the call for one of its own era.
    let mut rig = Rig::new(None);
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["server/discover"]);
}

/// A server that was modern once and is not any more: one error, and the next message finds out.
#[test]
fn what_turns_out_wrong_is_found_out() {
    for wrong in
        [Ok(json!({"error": {"code": -32000, "message": "Bad Request: Server not initialized"}})), Err(status(404))]
    {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
        match wrong {
            Ok(answer) => rig.answer("tools/call", answer),
            Err(failure) => rig.fail("tools/call", failure),
        }
        assert!(rig.answered(&json!(1)).get("error").is_some());
        rig.client(request(2, "tools/list", modern(json!({}))));
        rig.answer("server/discover", unknown_method());
        rig.answer("initialize", legacy_hello());
        rig.accept_notifications();
        rig.answer("tools/list", json!({"result": {"tools": []}}));
        rig.answered(&json!(2));
        assert_eq!(rig.count("tools/call"), 1);
    }
}

/// A client that begins anew: what it left behind is answered.
#[test]
fn a_second_handshake_leaves_nobody_waiting() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(initialize());
    rig.client(request(1, "tools/list", json!({})));
    let again = |id: u8| {
        let mut hello = initialize();
        hello["id"] = json!(id);
        hello
    };
    rig.client(again(100));
    rig.answered(&json!(0));
    rig.answered(&json!(1));
    rig.answer("server/discover", modern_hello());
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.answer(
        "tools/call",
        json!({"result": {"resultType": "input_required", "inputRequests":
        {"k": {"method": "roots/list"}}}}),
    );
    rig.client(again(101));
    rig.answered(&json!(2));
}

#[test]
fn a_server_that_speaks_neither_way_is_answered_in_its_own_words() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", json!({"error": {"code": -32000, "message": "go away"}}));
    rig.answer("server/discover", unknown_method());
    assert_eq!(rig.answered(&json!(0))["error"]["message"], "go away");
    // What comes then is not kept for ever.
    rig.client(request(1, "tools/list", json!({})));
    rig.answer("tools/list", json!({"result": {"tools": []}}));
    rig.answered(&json!(1));
}

// A server that cannot be asked.

/// A slow server: the client is answered for it, and the session is there when the server is.
#[test]
fn a_slow_server_is_answered_for() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    let alarm = rig.alarms[0];
    assert!(rig.written.is_empty());
    rig.handle(Event::Woken(alarm));
    assert_eq!(rig.answered(&json!(0))["result"]["serverInfo"]["name"], "Server");
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    assert_eq!(rig.methods(), ["initialize"]);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.answer("tools/list", json!({"result": {"tools": []}}));
    rig.answered(&json!(1));
    // It said something else than the client was told.
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // A greeting that is over has no alarm.
    rig.handle(Event::Woken(alarm));
    rig.answered(&json!(0));
}

/// Nobody is signed in: the tools that are known, and the one that helps.
#[test]
fn signed_out_lists_what_is_known_and_the_way_in() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    let hello = &rig.answered(&json!(0))["result"];
    assert_eq!(
        (&hello["serverInfo"]["name"], &hello["capabilities"]["tools"]["listChanged"]),
        (&json!("L"), &json!(true))
    );
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", signed_out());
    let names: Vec<_> = rig.answered(&json!(1))["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["pay", "finmcp_sign_in"]);
    assert!(rig.watches > 0);

    // Somebody signs in elsewhere.
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // Both that sign-in and whoever looks out for one say so.
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    assert_eq!(rig.count("tools/call"), 1);
}

/// A sign-in that ends in the middle of a session, and is had again: the list with the tool in it is out of date then.
#[test]
fn a_legacy_client_hears_of_a_sign_in_in_mid_session() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", legacy_hello());
    rig.client(initialized());
    rig.accept_notifications();
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("tools/list", signed_out());
    assert_eq!(rig.answered(&json!(1))["result"]["tools"][0]["name"], "finmcp_sign_in");
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// Whoever is told that the sign-in is done can see the tools by then.
#[test]
fn the_tools_come_before_the_word_that_they_work() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", signed_out());
    rig.client(request(2, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}));
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.sign_ins, [Need::Any, Need::Any], "the second finds somebody signed in");
    rig.handle(Event::SignedIn);
    assert!(rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap().contains("work now"));
    let place = |found: &dyn Fn(&Value) -> bool| rig.written.iter().position(found).unwrap();
    let changed = place(&|line| line["method"] == "notifications/tools/list_changed");
    assert!(changed < place(&|line| line["id"] == 2));
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// Where nobody can sign in from within, the tools are listed all the same, in the client's own words, and each call says
/// what to do.
#[test]
fn a_client_that_offers_no_sign_in_lists_what_is_known() {
    for is_modern in [false, true] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::offered_if(false));
        let question = if is_modern { "server/discover" } else { "initialize" };
        rig.client(if is_modern { discover() } else { initialize() });
        rig.fail("initialize", signed_out());
        let ask = |id, method, params| request(id, method, if is_modern { modern(params) } else { params });
        rig.client(ask(1, "tools/list", json!({})));
        rig.fail("initialize", signed_out());
        let result = &rig.answered(&json!(1))["result"];
        assert_eq!(result["tools"], json!([{"name": "pay"}]), "{question}");
        assert_eq!(result.get("resultType").is_some(), is_modern);
        rig.client(ask(2, "tools/call", json!({"name": "pay"})));
        rig.fail("initialize", signed_out());
        let error = rig.answered(&json!(2))["error"].clone();
        assert_eq!(error["code"], -31004);
        assert!(error["message"].as_str().unwrap().contains("finmcp login server"), "{error}");
    }
}

/// Whoever is slow to sign in keeps nobody from seeing the tools: those that are known, and the others when there are any.
#[test]
fn the_tools_that_are_known_wait_for_nobody() {
    for lists_early in [true, false] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::offered_if(false));
        rig.client(initialize());
        let alarm = rig.alarms[0];
        if lists_early {
            rig.client(request(1, "tools/list", json!({})));
            assert!(rig.written.is_empty());
        }
        rig.handle(Event::Woken(alarm));
        rig.client(initialized());
        if !lists_early {
            rig.client(request(1, "tools/list", json!({})));
        }
        assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
        rig.client(request(2, "tools/call", json!({"name": "pay"})));
        rig.answer("initialize", legacy_hello());
        rig.accept_notifications();
        assert_eq!(rig.said("notifications/tools/list_changed").len(), 1, "there may be others now");
        assert_eq!((rig.count("tools/list"), rig.count("tools/call")), (0, 1));
        rig.answer("tools/call", json!({"result": {"content": []}}));
    }
}

/// A server without subscriptions: the one that the client has been told it has is kept here, until it wants it no more.
#[test]
fn a_subscription_that_was_acknowledged_is_kept() {
    for refuses_by_status in [false, true] {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(discover());
        rig.fail("server/discover", signed_out());
        for id in ["s", "t"] {
            rig.client(request(id, SUBSCRIBE, modern(json!({"notifications": {"toolsListChanged": true}}))));
        }
        rig.handle(Event::SignedIn);
        rig.answer("server/discover", modern_hello());
        let posts: Vec<_> = rig.posts.iter().filter(|post| post.1.method() == Some(SUBSCRIBE)).cloned().collect();
        for (exchange, message) in posts {
            if refuses_by_status {
                rig.network(session::Event::Finished(exchange, Ending::Failed(status(404))));
            } else {
                let id = message.id().unwrap();
                rig.network(session::Event::Delivered(exchange, Message::error(Some(id), -32601, "no")));
                rig.network(session::Event::Finished(exchange, Ending::Complete));
            }
        }
        assert!(rig.written.iter().all(|line| line.get("error").is_none()), "{:#?}", rig.written);
        rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "t"}}));

        // The sign-in ends, and the next one changes the tools.
        rig.client(request(1, "tools/list", modern(json!({}))));
        rig.fail("tools/list", signed_out());
        rig.handle(Event::SignedIn);
        let changed = rig.said("notifications/tools/list_changed");
        let told: Vec<_> =
            changed.iter().map(|line| &line["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]).collect();
        assert_eq!(told, ["s"]);
        rig.handle(Event::Closed);
        assert_eq!(rig.answered(&json!("s"))["result"]["resultType"], "complete");
        assert!(rig.written.iter().all(|line| line["id"] != "t"));
    }
}

#[test]
fn a_modern_client_hears_of_the_sign_in_by_its_subscription() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(discover());
    rig.fail("server/discover", signed_out());
    rig.answered(&json!("d"));
    rig.client(request("s", SUBSCRIBE, modern(json!({"notifications": {"toolsListChanged": true}}))));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
    rig.client(request(1, "tools/list", modern(json!({}))));
    rig.fail("server/discover", signed_out());
    assert_eq!(rig.answered(&json!(1))["result"]["resultType"], "complete");
    rig.handle(Event::SignedIn);
    rig.answer("server/discover", modern_hello());
    let changed = rig.said("notifications/tools/list_changed");
    assert_eq!(changed[0]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "s");
    // The server's own acknowledgment is one too many.
    let (exchange, _) = rig.post(SUBSCRIBE);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": "s"}, "notifications": {}}});
    rig.network(session::Event::Delivered(exchange, parse(&told)));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
}

/// A call while nobody is signed in: the address, in the way that the client can show it, and then the call itself, once.
#[test]
fn a_call_while_signed_out_leads_to_the_page_and_is_made_then() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(initialized());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    assert_eq!(rig.sign_ins, [Need::Any]);
    rig.handle(offered("https://as.example/authorize?x=1"));
    let question = rig.said("elicitation/create")[0].clone();
    assert_eq!(
        (&question["params"]["mode"], &question["params"]["url"]),
        (&json!("url"), &json!("https://as.example/authorize?x=1"))
    );
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}));
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.count("tools/call"), 1);
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(1));

    // The server does not care for that sign-in: it is said, not tried again.
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.sign_ins, [Need::Any, Need::Another]);
    rig.handle(Event::SignedIn);
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31004);
    assert_eq!(rig.sign_ins.len(), 2);
}

#[test]
fn a_client_that_can_open_no_page_is_told_where_it_is() {
    let mut rig = Rig::new(None);
    rig.client(request(0, "initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {}})));
    rig.fail("initialize", signed_out());
    for (id, tool, is_error) in [(1, "finmcp_sign_in", false), (2, "pay", true)] {
        rig.client(request(id, "tools/call", json!({"name": tool})));
        if tool == "pay" {
            rig.fail("initialize", signed_out());
        }
        rig.handle(offered("https://as.example/a"));
        let result = &rig.answered(&json!(id))["result"];
        assert_eq!(result["isError"], is_error);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    }
    assert_eq!(rig.sign_ins.len(), 1, "one sign-in for both");
    rig.client(request(3, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(Event::SignInFailed("nobody came".to_owned()));
    rig.client(request(4, "tools/call", json!({"name": "finmcp_sign_in"})));
    assert_eq!(rig.sign_ins.len(), 2, "a new one after that");
}

#[test]
fn a_modern_client_comes_back_from_the_page() {
    for (action, calls) in [("accept", 1), ("decline", 0)] {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
        rig.fail("tools/call", signed_out());
        rig.handle(offered("https://as.example/a"));
        let result = rig.answered(&json!(1))["result"].clone();
        assert_eq!(result["inputRequests"]["sign_in"]["params"]["url"], "https://as.example/a");
        let back = json!({"name": "pay", "requestState": result["requestState"], "inputResponses": {"sign_in": {"action": action}}});
        let before = rig.count("tools/call");
        rig.client(request(2, "tools/call", modern(back)));
        rig.handle(Event::SignedIn);
        assert_eq!(rig.count("tools/call") - before, calls);
        if calls == 1 {
            assert_eq!(rig.post("tools/call").1.member("requestState"), None);
            rig.answer("tools/call", json!({"result": {"content": []}}));
        }
        let text = rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(text.contains("https://as.example/a") && text.contains("finmcp login server"), calls == 0, "{text}");
    }
}

/// A client that turns every question down without asking anybody: the way in is said in words then.
#[test]
fn a_client_that_shows_no_page_is_told_where_it_is() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}));
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    assert_eq!(rig.sign_ins.len(), 1, "the page goes on waiting for the person");
}

impl Rig {
    /// A client that is asked to open the page for the call `pay` of id 1, and says that it does; with the id of the
    /// request that waits then.
    fn accepted(is_modern: bool) -> (Self, Value) {
        let mut rig = Self::new(is_modern.then(|| description(Era::Modern)));
        if is_modern {
            rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
            rig.fail("tools/call", signed_out());
            rig.handle(offered("https://as.example/a"));
            let state = rig.answered(&json!(1))["result"]["requestState"].clone();
            let answers = json!({"sign_in": {"action": "accept"}});
            let back = json!({"name": "pay", "requestState": state, "inputResponses": answers});
            rig.client(request(2, "tools/call", modern(back)));
            return (rig, json!(2));
        }
        rig.client(initialize());
        rig.fail("initialize", signed_out());
        rig.client(initialized());
        rig.client(request(1, "tools/call", json!({"name": "pay"})));
        rig.fail("initialize", signed_out());
        rig.handle(offered("https://as.example/a"));
        rig.accept();
        (rig, json!(1))
    }

    /// The client opens the page that it was asked for last.
    fn accept(&mut self) {
        let question = self.said("elicitation/create").last().unwrap()["id"].clone();
        self.client(json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept"}}));
    }

    /// Every call has waited for a person long enough.
    fn wait_for_person(&mut self) {
        let alarms = self.alarms.clone();
        for alarm in alarms.into_iter().filter(|alarm| matches!(alarm, Alarm::SignIn(_))) {
            self.handle(Event::Woken(alarm));
        }
    }

    /// Somebody signs in, and the server answers whatever it is asked then.
    fn sign_in_and_settle(&mut self, is_modern: bool) {
        self.handle(Event::SignedIn);
        if !is_modern {
            self.answer("initialize", legacy_hello());
            self.accept_notifications();
        }
    }
}

/// A person who has opened the page and does not sign in: the client hears of it before it gives the call up, and the
/// call is not made behind its back when they sign in after all.
#[test]
fn unanswered_a_call_is_answered_while_its_sign_in_stays_open() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let (before, sign_ins) = (rig.count("tools/call"), rig.sign_ins.len());
        rig.wait_for_person();
        let result = rig.answered(&waiting)["result"].clone();
        assert_eq!((&result["isError"], result.get("resultType").is_some()), (&json!(true), is_modern));
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["still open", "https://as.example/a", "finmcp login server", "make it again"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before, "an answered call was made");
        rig.answered(&waiting);
        // The next one is made at once: the sign-in was there all the time.
        let params = json!({"name": "pay"});
        rig.client(request(9, "tools/call", if is_modern { modern(params) } else { params }));
        assert_eq!((rig.count("tools/call"), rig.sign_ins.len()), (before + 1, sign_ins));
    }
}

/// A call whose person signs in in time is made, and has nothing left that could answer it a second time.
#[test]
fn unanswered_an_alarm_after_the_sign_in_answers_nothing() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let before = rig.count("tools/call");
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before + 1);
        rig.wait_for_person();
        rig.answer("tools/call", json!({"result": {"content": []}}));
        assert_eq!(rig.answered(&waiting)["result"]["content"], json!([]));
    }
}

/// A call that the client has cancelled is not answered any more.
#[test]
fn unanswered_an_alarm_after_a_cancellation_answers_nothing() {
    let (mut rig, waiting) = Rig::accepted(false);
    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": waiting}}));
    rig.wait_for_person();
    assert!(rig.written.iter().all(|line| line["id"] != waiting), "{:?}", rig.written);
}

/// The client's question to its person is not cut short; the time begins again when they have opened the page.
#[test]
fn unanswered_a_question_that_is_open_is_left_to_the_person() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    rig.wait_for_person();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.accept();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.wait_for_person();
    let result = &rig.answered(&json!(1))["result"];
    assert_eq!(result["isError"], false);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("still open"));
}

/// A sign-in whose page does not come: the call is answered all the same.
#[test]
fn unanswered_a_call_whose_page_does_not_come_is_answered() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    rig.wait_for_person();
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("not there yet") && text.contains("finmcp login server"), "{text}");
    rig.handle(offered("https://as.example/a"));
    rig.sign_in_and_settle(false);
    assert_eq!(rig.count("tools/call"), 0);
}

/// A server that is down: tools from memory, and an honest error for the rest.
#[test]
fn a_server_that_is_down_lists_what_it_listed_last() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", status(503));
    rig.answered(&json!(0));
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31003, "not sent, so nothing is open");
    rig.client(request(3, "tools/call", json!({"name": "pay"})));
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.client(initialized());
    rig.accept_notifications();
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(3));
}

/// t111: the end answers whoever waits for a greeting, a person, or an answer of the client's.
#[test]
fn t111_the_end_answers_everything() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.client(request(1, "tools/list", json!({})));
    rig.handle(Event::Stopping);
    assert!(rig.stopped);
    rig.answered(&json!(0));
    rig.answered(&json!(1));

    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(Event::Closed);
    assert!(rig.stopped);
    rig.answered(&json!(1));
}

// Whatever happens.

#[derive(Debug, Clone)]
enum Next {
    Call(u8),
    List(u8),
    SignInTool(u8),
    Subscribe(u8),
    Ping(u8),
    Initialized,
    Cancel(u8),
    /// What the server does to one of the open exchanges.
    Server(usize, Deed),
    /// The client answers the last thing it was asked.
    Reply(bool),
    Patience,
    Offered,
    SignedIn,
    SignInFailed,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    LegacyHello,
    ModernHello,
    Result,
    InputRequired,
    Ask,
    Error,
    UnknownMethod,
    Accepted,
    Complete,
    Lost,
    Status(u16),
    SignedOut,
    Refused,
    TimedOut,
}

fn next() -> impl Strategy<Value = Next> {
    let deed = prop_oneof![
        3 => Just(Deed::LegacyHello), 3 => Just(Deed::ModernHello), 4 => Just(Deed::Result), 2 => Just(Deed::InputRequired),
        2 => Just(Deed::Ask), 1 => Just(Deed::Error), 1 => Just(Deed::UnknownMethod), 3 => Just(Deed::Accepted),
        3 => Just(Deed::Complete), 1 => Just(Deed::Lost), 1 => prop_oneof![Just(400), Just(404), Just(429), Just(503)].prop_map(Deed::Status),
        2 => Just(Deed::SignedOut), 1 => Just(Deed::Refused), 1 => Just(Deed::TimedOut),
    ];
    prop_oneof![
        4 => (1u8..30).prop_map(Next::Call),
        2 => (1u8..30).prop_map(Next::List),
        1 => (1u8..30).prop_map(Next::SignInTool),
        1 => (1u8..30).prop_map(Next::Subscribe),
        1 => (1u8..30).prop_map(Next::Ping),
        2 => Just(Next::Initialized),
        1 => (1u8..30).prop_map(Next::Cancel),
        16 => (0usize..6, deed).prop_map(|(index, deed)| Next::Server(index, deed)),
        3 => any::<bool>().prop_map(Next::Reply),
        1 => Just(Next::Patience),
        2 => Just(Next::Offered),
        2 => Just(Next::SignedIn),
        1 => Just(Next::SignInFailed),
    ]
}

/// The parameters of a tool call of the client's, told apart from others by the tool's name.
fn call(id: u8, is_modern: bool) -> Value {
    let params = json!({"name": format!("tool-{id}")});
    request(id, "tools/call", if is_modern { modern(params) } else { params })
}

impl Rig {
    fn does(&mut self, index: usize, deed: Deed, asked: &mut u64) {
        let open: Vec<_> = self.posts.iter().filter(|(exchange, _)| self.open.contains(exchange)).cloned().collect();
        let Some((exchange, message)) = open.get(index % open.len().max(1)).cloned() else { return };
        let id = message.id().map(|id| serde_json::from_str::<Value>(&id.to_string()).unwrap());
        let deliver = |rig: &mut Self, mut answer: Value| {
            if let Some(id) = &id {
                answer["jsonrpc"] = json!("2.0");
                answer["id"] = id.clone();
                rig.network(session::Event::Delivered(exchange, parse(&answer)));
            }
        };
        let end = |rig: &mut Self, ending| rig.network(session::Event::Finished(exchange, ending));
        match deed {
            Deed::LegacyHello => deliver(self, legacy_hello()),
            Deed::ModernHello => deliver(self, modern_hello()),
            Deed::Result => deliver(self, json!({"result": {"resultType": "complete", "content": [], "tools": []}})),
            Deed::InputRequired => deliver(
                self,
                json!({"result": {"resultType": "input_required", "requestState": "s", "inputRequests":
                    {"k": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}}}}),
            ),
            Deed::Ask => {
                *asked += 1;
                let ask = request(
                    format!("ask-{asked}"),
                    "elicitation/create",
                    json!({"message": "?", "requestedSchema": {}}),
                );
                self.network(session::Event::Delivered(exchange, parse(&ask)));
            }
            Deed::Error => deliver(self, json!({"error": {"code": 7, "message": "no"}})),
            Deed::UnknownMethod => deliver(self, unknown_method()),
            Deed::Accepted => self.network(session::Event::Accepted(exchange, None)),
            Deed::Complete => end(self, Ending::Complete),
            Deed::Lost if message.method() != Some("initialize") => end(self, lost_session()),
            Deed::Lost => {}
            Deed::Status(code) => end(self, Ending::Failed(status(code))),
            Deed::SignedOut => end(self, Ending::Failed(signed_out())),
            Deed::Refused => end(self, Ending::Failed(Failure::Refused)),
            Deed::TimedOut => end(self, Ending::Failed(Failure::TimedOut { seconds: 1 })),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whoever speaks what, and whatever happens in whatever order: every request has exactly one answer in the end, one
    /// that was cancelled at most one, and a call whose outcome is open is not made again.
    #[test]
    fn every_request_is_answered_exactly_once(
        is_modern in any::<bool>(),
        opens in any::<bool>(),
        era in prop_oneof![Just(None), Just(Some(Era::Legacy)), Just(Some(Era::Modern))],
        steps in prop::collection::vec(next(), 0..60),
    ) {
        let mut rig = Rig::new(era.map(description));
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        let mut cancelled = HashSet::new();
        let mut uncertain: BTreeSet<String> = BTreeSet::new();
        let mut posted: BTreeMap<String, usize> = BTreeMap::new();
        let mut answered: BTreeSet<Exchange> = BTreeSet::new();
        let mut questions = 0;
        match (is_modern, opens) {
            (true, true) => rig.client(discover()),
            (true, false) => {}
            (false, _) => rig.client(initialize()),
        }
        let mut used = BTreeSet::new();
        for step in steps {
            let params = |params: Value| if is_modern { modern(params) } else { params };
            let mut ask = |rig: &mut Rig, id: u8, message: Value| {
                // Ids are used once: what happens to those that are not is another test's.
                if used.insert(id) {
                    *asked.entry(id.to_string()).or_default() += 1;
                    rig.client(message);
                }
            };
            let before = rig.posts.len();
            match step {
                Next::Call(id) => ask(&mut rig, id, call(id, is_modern)),
                Next::List(id) => ask(&mut rig, id, request(id, "tools/list", params(json!({})))),
                Next::SignInTool(id) => ask(&mut rig, id, request(id, "tools/call", params(json!({"name": "finmcp_sign_in"})))),
                Next::Subscribe(id) if is_modern =>
                    ask(&mut rig, id, request(id, SUBSCRIBE, params(json!({"notifications": {"toolsListChanged": true}})))),
                Next::Subscribe(id) => ask(&mut rig, id, request(id, "resources/subscribe", json!({"uri": "a:b"}))),
                Next::Ping(id) => ask(&mut rig, id, request(id, "ping", params(json!({})))),
                Next::Initialized => if !is_modern { rig.client(initialized()) },
                Next::Cancel(id) => {
                    cancelled.insert(id.to_string());
                    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
                }
                Next::Server(index, deed) => {
                    let open: Vec<_> = rig.posts.iter().filter(|(exchange, _)| rig.open.contains(exchange)).cloned().collect();
                    let target = open.get(index % open.len().max(1)).cloned();
                    rig.does(index, deed, &mut questions);
                    let leaves_open = matches!(deed, Deed::TimedOut | Deed::Status(400 | 503) | Deed::Complete);
                    let answers = matches!(
                        deed,
                        Deed::LegacyHello | Deed::ModernHello | Deed::Result | Deed::InputRequired | Deed::Error | Deed::UnknownMethod
                    );
                    if let Some((exchange, message)) = target {
                        if leaves_open && !answered.contains(&exchange) {
                            uncertain.extend(message.member("name"));
                        }
                        if answers {
                            answered.insert(exchange);
                        }
                    }
                }
                Next::Reply(accept) => {
                    let question = rig.written.iter().rfind(|line| line["method"] == "elicitation/create").cloned();
                    if let Some(question) = question {
                        rig.client(json!({"jsonrpc": "2.0", "id": question["id"],
                            "result": {"action": if accept { "accept" } else { "decline" }}}));
                    }
                }
                Next::Patience => for alarm in rig.alarms.clone() { rig.handle(Event::Woken(alarm)) },
                Next::Offered => if !rig.sign_ins.is_empty() { rig.handle(offered("https://as.example/")) },
                Next::SignedIn => rig.handle(Event::SignedIn),
                Next::SignInFailed => rig.handle(Event::SignInFailed("no".to_owned())),
            }
            for (_, message) in &rig.posts[before..] {
                if let Some(name) = message.member("name") {
                    let again = posted.entry(name.clone()).or_default();
                    *again += 1;
                    prop_assert!(*again == 1 || !uncertain.contains(&name), "{name} was made again");
                }
            }
        }
        rig.handle(Event::Closed);
        rig.handle(Event::Stopping);
        prop_assert!(rig.stopped);
        for (id, times) in asked {
            let id = serde_json::from_str::<Value>(&id).unwrap();
            let answers = rig.written.iter().filter(|line| line["id"] == id && line.get("method").is_none()).count();
            if cancelled.contains(&id.to_string()) {
                prop_assert!(answers <= times, "{id}: {answers}");
            } else {
                prop_assert_eq!(answers, times, "{}", id);
            }
        }
        // And nothing was answered that nobody asked.
        let open = rig.written.iter().filter(|line| line.get("method").is_none() && line["id"].is_null()).count();
        prop_assert_eq!(open, 0);
    }
}

/// a14: large requests that are more than may be under way are refused; small ones, which may be what the others wait
/// for, and all else are taken.
#[test]
fn a14_what_is_under_way_is_bounded_in_bytes() {
    let mut rig = Rig::new(None);
    rig.client(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}));
    let large = |id: usize| {
        let mut text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{}}}}"#).into_bytes();
        text.resize(64 << 20, b' ');
        Event::Received(Message::parse(text.into()).unwrap())
    };
    for id in 1..=4 {
        assert!(rig.conversation.backlog() < BACKLOG_LIMIT);
        rig.handle(large(id));
    }
    assert!(rig.conversation.backlog() >= BACKLOG_LIMIT);
    rig.handle(large(5));
    assert!(
        rig.written
            .iter()
            .any(|line| line["id"] == 5 && line["error"]["message"].as_str().unwrap().contains("too much"))
    );
    rig.client(json!({"jsonrpc": "2.0", "id": 6, "method": "prompts/list"}));
    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    assert!(rig.written.iter().all(|line| line["id"] == 5), "{:?}", rig.written);
    assert!(rig.conversation.backlog() < BACKLOG_LIMIT);
    rig.handle(large(7));
    assert!(rig.written.iter().all(|line| line["id"] != 7));
}

/// What a server says of a session that it does not know (MCP 2025-11-25 transports, "Session Management").
fn lost_session() -> Ending {
    let failure = Failure::Status { status: http::StatusCode::NOT_FOUND, retry_after: None, reason: None };
    Ending::SessionLost(Box::new(session::Said::Failure(failure)))
}
