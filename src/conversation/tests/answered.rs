//! Every request is answered exactly once, in any order of events, at the end, and over the limits.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

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
    Server(usize, ServerAction),
    /// The client responds to the last request that it was sent.
    Reply(bool),
    Patience,
    Offered,
    SignedIn,
    SignInFailed,
}

#[derive(Debug, Clone, Copy)]
enum ServerAction {
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
    use ServerAction as Does;
    let status = prop_oneof![Just(400), Just(404), Just(429), Just(503)].prop_map(Does::Status);
    let action = prop_oneof![
        3 => Just(Does::LegacyHello), 3 => Just(Does::ModernHello), 4 => Just(Does::Result),
        2 => Just(Does::InputRequired), 2 => Just(Does::Ask), 1 => Just(Does::Error), 1 => Just(Does::UnknownMethod),
        3 => Just(Does::Accepted), 3 => Just(Does::Complete), 1 => Just(Does::Lost), 1 => status,
        2 => Just(Does::SignedOut), 1 => Just(Does::Refused), 1 => Just(Does::TimedOut),
    ];
    prop_oneof![
        4 => (1u8..30).prop_map(Next::Call),
        2 => (1u8..30).prop_map(Next::List),
        1 => (1u8..30).prop_map(Next::SignInTool),
        1 => (1u8..30).prop_map(Next::Subscribe),
        1 => (1u8..30).prop_map(Next::Ping),
        2 => Just(Next::Initialized),
        1 => (1u8..30).prop_map(Next::Cancel),
        16 => (0usize..6, action).prop_map(|(index, action)| Next::Server(index, action)),
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
    fn does(&mut self, index: usize, action: ServerAction, asked: &mut u64) {
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
        match action {
            ServerAction::LegacyHello => deliver(self, legacy_hello()),
            ServerAction::ModernHello => deliver(self, modern_hello()),
            ServerAction::Result => {
                deliver(self, json!({"result": {"resultType": "complete", "content": [], "tools": []}}))
            }
            ServerAction::InputRequired => deliver(
                self,
                json!({"result": {"resultType": "input_required", "requestState": "s", "inputRequests":
                    {"k": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}}}}),
            ),
            ServerAction::Ask => {
                *asked += 1;
                let ask = request(
                    format!("ask-{asked}"),
                    "elicitation/create",
                    json!({"message": "?", "requestedSchema": {}}),
                );
                self.network(session::Event::Delivered(exchange, parse(&ask)));
            }
            ServerAction::Error => deliver(self, json!({"error": {"code": 7, "message": "no"}})),
            ServerAction::UnknownMethod => deliver(self, unknown_method()),
            ServerAction::Accepted => self.network(session::Event::Accepted(exchange, None)),
            ServerAction::Complete => end(self, Ending::Complete),
            ServerAction::Lost if message.method() != Some("initialize") => end(self, lost_session()),
            ServerAction::Lost => {}
            ServerAction::Status(code) => end(self, Ending::Failed(status(code))),
            ServerAction::SignedOut => end(self, Ending::Failed(signed_out())),
            ServerAction::Refused => end(self, Ending::Failed(Failure::Refused)),
            ServerAction::TimedOut => end(self, Ending::Failed(Failure::TimedOut { seconds: 1 })),
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
                Next::Server(index, action) => {
                    let open: Vec<_> = rig.posts.iter().filter(|(exchange, _)| rig.open.contains(exchange)).cloned().collect();
                    let target = open.get(index % open.len().max(1)).cloned();
                    rig.does(index, action, &mut questions);
                    use ServerAction as Did;
                    let leaves_open = matches!(action, Did::TimedOut | Did::Status(400 | 503) | Did::Complete);
                    let answers = matches!(
                        action,
                        Did::LegacyHello | Did::ModernHello | Did::Result | Did::InputRequired | Did::Error
                            | Did::UnknownMethod
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
            .any(|line| line["id"] == 5
                && line["error"]["message"].as_str().unwrap().contains("too many large requests"))
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
