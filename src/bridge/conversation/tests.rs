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

// Eras.

#[test]
fn messages_of_the_same_era_are_relayed_unchanged() {
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
fn a_legacy_client_is_translated_for_a_server_without_initialize() {
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

/// t136: an error that only a modern server sends does not make finmcp fall back.
#[test]
fn t136_only_an_unspecific_error_makes_finmcp_fall_back() {
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
fn the_remembered_era_is_probed_first_and_forgotten_when_wrong() {
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
    // A modern client that starts without server/discover goes straight to a server known to be modern,
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["tools/call"]);
    // but not to another, which could mistake the call for a legacy one.
    let mut rig = Rig::new(None);
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["server/discover"]);
}

/// A remembered modern server has become legacy: one error, and the next message finds out.
#[test]
fn a_wrong_remembered_era_is_corrected() {
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

/// The client starts over: its earlier requests still get responses.
#[test]
fn a_second_handshake_leaves_no_request_waiting() {
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
fn the_client_gets_the_error_of_a_server_that_speaks_neither_era() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", json!({"error": {"code": -32000, "message": "go away"}}));
    rig.answer("server/discover", unknown_method());
    assert_eq!(rig.answered(&json!(0))["error"]["message"], "go away");
    // Later messages are not kept forever.
    rig.client(request(1, "tools/list", json!({})));
    rig.answer("tools/list", json!({"result": {"tools": []}}));
    rig.answered(&json!(1));
}

// Servers that cannot be asked.

/// A slow server: finmcp responds to the client in its place, and opens the session once the server responds.
#[test]
fn finmcp_responds_in_place_of_a_slow_server() {
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
    // The server's description differs from the one that the client got.
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // The alarm of a finished negotiation does nothing.
    rig.handle(Event::Woken(alarm));
    rig.answered(&json!(0));
}

/// The user is signed out: the list has the remembered tools and the sign-in tool.
#[test]
fn signed_out_the_list_has_the_known_tools_and_the_sign_in_tool() {
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

    // The user signs in through another process.
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // Both the sign-in itself and the watcher report it.
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    assert_eq!(rig.count("tools/call"), 1);
}

/// A sign-in ends in the middle of a session, and the user signs in again: the list with the sign-in tool is out of
/// date.
#[test]
fn a_legacy_client_is_notified_after_a_sign_in_in_mid_session() {
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

/// When the client learns that the sign-in is complete, it can already list the tools.
#[test]
fn the_tools_work_before_the_client_is_told() {
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
    assert_eq!(rig.sign_ins, [Need::Any, Need::Any], "the second finds the user signed in");
    rig.handle(Event::SignedIn);
    assert!(rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap().contains("work now"));
    let place = |found: &dyn Fn(&Value) -> bool| rig.written.iter().position(found).unwrap();
    let changed = place(&|line| line["method"] == "notifications/tools/list_changed");
    assert!(changed < place(&|line| line["id"] == 2));
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// If the client cannot start a sign-in, it still gets the remembered tools, in its own era, and each call says what
/// to do.
#[test]
fn without_a_sign_in_tool_the_known_tools_are_listed() {
    for is_modern in [false, true] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::new(false));
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

/// The known tools are listed while the user is still signing in, and a notification follows if there are others.
#[test]
fn the_known_tools_are_listed_before_the_sign_in() {
    for lists_early in [true, false] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::new(false));
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
        assert_eq!(rig.said("notifications/tools/list_changed").len(), 1, "the tools may have changed");
        assert_eq!((rig.count("tools/list"), rig.count("tools/call")), (0, 1));
        rig.answer("tools/call", json!({"result": {"content": []}}));
    }
}

/// A server without subscriptions: finmcp keeps the one that it acknowledged, until the client cancels it.
#[test]
fn an_acknowledged_subscription_is_kept() {
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
fn a_modern_client_is_notified_of_the_sign_in_by_its_subscription() {
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
    // The client does not get the server's own acknowledgement as well.
    let (exchange, _) = rig.post(SUBSCRIBE);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": "s"}, "notifications": {}}});
    rig.network(session::Event::Delivered(exchange, parse(&told)));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
}

/// A call while the user is signed out: the client gets the address, in the way that it can show it, and then the call
/// is made, once.
#[test]
fn a_call_while_signed_out_leads_to_the_page_and_is_made_after_it() {
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

    // The server rejects that sign-in too: the client gets the error, and no retry.
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.sign_ins, [Need::Any, Need::Another]);
    rig.handle(Event::SignedIn);
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31004);
    assert_eq!(rig.sign_ins.len(), 2);
}

#[test]
fn a_client_without_url_elicitation_gets_the_address() {
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
    rig.handle(Event::SignInFailed("timed out".to_owned()));
    rig.client(request(4, "tools/call", json!({"name": "finmcp_sign_in"})));
    assert_eq!(rig.sign_ins.len(), 2, "a new one afterwards");
}

#[test]
fn a_modern_client_sends_the_call_again_after_the_page() {
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

/// A client that declines every elicitation without asking the user: the result then has the address.
#[test]
fn a_client_that_declines_gets_the_address() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}));
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    assert_eq!(rig.sign_ins.len(), 1, "the sign-in goes on waiting for the user");
}

impl Rig {
    /// A client that was asked to open the page for the call `pay` with id 1 and has accepted; with the id of the
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

    /// The client accepts the last elicitation.
    fn accept(&mut self) {
        let question = self.said("elicitation/create").last().unwrap()["id"].clone();
        self.client(json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept"}}));
    }

    /// Every call has waited long enough for the sign-in.
    fn wait_for_user(&mut self) {
        let alarms = self.alarms.clone();
        for alarm in alarms.into_iter().filter(|alarm| matches!(alarm, Alarm::SignIn(_))) {
            self.handle(Event::Woken(alarm));
        }
    }

    /// The user signs in, and the server responds to everything that it is sent.
    fn sign_in_and_settle(&mut self, is_modern: bool) {
        self.handle(Event::SignedIn);
        if !is_modern {
            self.answer("initialize", legacy_hello());
            self.accept_notifications();
        }
    }
}

/// The user has opened the page but does not sign in: the client gets a response before it gives up, and the call is
/// not made if the user signs in later.
#[test]
fn unanswered_a_call_gets_a_response_while_its_sign_in_stays_open() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let (before, sign_ins) = (rig.count("tools/call"), rig.sign_ins.len());
        rig.wait_for_user();
        let result = rig.answered(&waiting)["result"].clone();
        assert_eq!((&result["isError"], result.get("resultType").is_some()), (&json!(true), is_modern));
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["still open", "https://as.example/a", "finmcp login server", "repeat it after signing in"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before, "a call with a response was made");
        rig.answered(&waiting);
        // The next call is made at once: the sign-in was there all the time.
        let params = json!({"name": "pay"});
        rig.client(request(9, "tools/call", if is_modern { modern(params) } else { params }));
        assert_eq!((rig.count("tools/call"), rig.sign_ins.len()), (before + 1, sign_ins));
    }
}

/// A call whose user signs in in time is made, and no alarm is left that could respond to it again.
#[test]
fn unanswered_an_alarm_after_the_sign_in_does_nothing() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let before = rig.count("tools/call");
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before + 1);
        rig.wait_for_user();
        rig.answer("tools/call", json!({"result": {"content": []}}));
        assert_eq!(rig.answered(&waiting)["result"]["content"], json!([]));
    }
}

/// A cancelled call gets no response.
#[test]
fn unanswered_an_alarm_after_a_cancellation_does_nothing() {
    let (mut rig, waiting) = Rig::accepted(false);
    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": waiting}}));
    rig.wait_for_user();
    assert!(rig.written.iter().all(|line| line["id"] != waiting), "{:?}", rig.written);
}

/// The client may ask the user for any time; the wait starts again when the user has opened the page.
#[test]
fn unanswered_an_open_elicitation_is_left_to_the_user() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    rig.wait_for_user();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.accept();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.wait_for_user();
    let result = &rig.answered(&json!(1))["result"];
    assert_eq!(result["isError"], false);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("still open"));
}

/// The page never becomes ready: the call still gets a response.
#[test]
fn unanswered_a_call_whose_page_does_not_come_gets_a_response() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    rig.wait_for_user();
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("not ready yet") && text.contains("finmcp login server"), "{text}");
    rig.handle(offered("https://as.example/a"));
    rig.sign_in_and_settle(false);
    assert_eq!(rig.count("tools/call"), 0);
}

/// A server that is down: the tools come from memory, and other requests fail.
#[test]
fn the_tools_of_a_server_that_is_down_come_from_memory() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", status(503));
    rig.answered(&json!(0));
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31003, "not sent, so its outcome is known");
    rig.client(request(3, "tools/call", json!({"name": "pay"})));
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.client(initialized());
    rig.accept_notifications();
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(3));
}

/// t111: at the end, every request gets a response, whether it waits for a negotiation, a sign-in or the client.
#[test]
fn t111_at_the_end_every_request_gets_a_response() {
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

// Random events.

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
    /// The client responds to the last request that it was sent.
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

/// The parameters of a tool call, with a tool name that tells it apart from others.
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

    /// Whatever the eras, and whatever happens in whatever order: in the end every request has exactly one response, a
    /// cancelled one at most one, and a call with an unknown outcome is not made again.
    #[test]
    fn every_request_gets_exactly_one_response(
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
                // Ids are used once here; another test uses them twice.
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
        // No response goes to a request that was never made.
        let open = rig.written.iter().filter(|line| line.get("method").is_none() && line["id"].is_null()).count();
        prop_assert_eq!(open, 0);
    }
}

/// a14: requests beyond the limit of bytes in flight are refused; small ones, which the others may depend on, and all
/// other messages are accepted.
#[test]
fn a14_bytes_in_flight_are_limited() {
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

/// A server's refusal for a session that it does not know (MCP 2025-11-25 transports, "Session Management").
fn lost_session() -> Ending {
    let failure = Failure::Status { status: http::StatusCode::NOT_FOUND, retry_after: None, reason: None };
    Ending::SessionLost(Box::new(session::Refused::Failure(failure)))
}
