use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::{
    bridge::conversation::{reply, session::channel::IN_FLIGHT_LIMIT},
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

#[test]
fn the_handshake_is_kept_in_order() {
    let mut rig = Rig::new();
    rig.client(INITIALIZE);
    // The messages of a client that does not wait for the handshake wait here.
    rig.client(INITIALIZED);
    rig.client(CALL);
    assert_eq!(rig.posts.len(), 1);

    rig.open("one");
    assert_eq!(rig.replies, [INITIALIZE_RESULT]);
    assert_eq!((rig.count("notifications/initialized"), rig.count("tools/call")), (1, 0));
    rig.settle();
    let (_, _, headers) = rig.posts.last().unwrap();
    assert_eq!(rig.count("tools/call"), 1);
    assert_eq!(
        (&headers[SESSION_ID], &headers[PROTOCOL_VERSION]),
        (&"one".parse().unwrap(), &"2025-06-18".parse().unwrap())
    );

    let call = rig.post("tools/call");
    rig.server(call, r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}"#);
    rig.server(call, RESULT);
    rig.handle(Event::Finished(call, Ending::Complete));
    assert_eq!(
        rig.replies[1..],
        [r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}"#, RESULT]
    );
}

#[test]
fn a_missing_or_slow_stream_holds_up_no_message() {
    for early in [Event::Finished(3, Ending::Complete), Event::HoldExpired(3)] {
        let mut rig = Rig::new();
        rig.client(INITIALIZE);
        rig.open("one");
        rig.client(INITIALIZED);
        rig.client(CALL);
        rig.handle(Event::Accepted(rig.post("notifications/initialized"), None));
        assert_eq!((rig.listens.as_slice(), rig.count("tools/call")), ([3].as_slice(), 0));
        rig.handle(early);
        assert_eq!(rig.count("tools/call"), 1);
    }
}

/// t119: one new session for all messages that a lost one refused; each is sent once more, except those that may have
/// been processed.
#[test]
fn t119_a_lost_session_is_replaced_once() {
    let mut rig = Rig::ready();
    for id in 10..30 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"n{id}"}}}}"#));
    }
    let calls: Vec<Exchange> = (10..30).map(|id| rig.post(&format!("\"n{id}\""))).collect();
    rig.handle(Event::Finished(calls[0], Ending::Failed(Failure::Cut)));
    assert!(rig.replies.pop().unwrap().contains("not known"), "a call that may have been processed is not sent again");
    for call in &calls[1..10] {
        rig.handle(Event::Finished(*call, lost_session()));
    }
    assert_eq!(rig.count("\"initialize\""), 2);
    let (_, again, headers) = rig.posts.last().unwrap();
    assert_eq!(
        (again.as_str(), headers.get(SESSION_ID)),
        (INITIALIZE, None),
        "the client's own parameters, no old session"
    );
    rig.open("two");
    rig.settle();
    // Late refusals from the old session do not open a third one.
    for call in &calls[10..] {
        rig.handle(Event::Finished(*call, lost_session()));
    }
    assert_eq!((rig.count("\"initialize\""), rig.count("notifications/initialized")), (2, 2));
    for id in 11..30 {
        let part = format!("\"n{id}\"");
        assert_eq!(rig.count(&part), 2, "{part}");
        rig.server(rig.post(&part), &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    assert_eq!(rig.replies.len(), 19, "the second response to initialize is for finmcp");
    assert!(rig.session.channel.in_flight.is_settled());
}

/// t119: finmcp restores the client's state in the new session, without the client noticing.
#[test]
fn t119_state_is_restored_in_a_new_session() {
    let mut rig = Rig::ready();
    let done = |rig: &mut Rig, id: u8, method: &str, parameters: &str, outcome: &str| {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{parameters}}}}}"#));
        let exchange = rig.post(&format!(r#""id":{id},"#));
        rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#));
        rig.handle(Event::Finished(exchange, Ending::Complete));
    };
    let (yes, no) = (r#""result":{}"#, r#""error":{"code":-1,"message":""}"#);
    for (id, method, parameters, outcome) in [
        (10, "logging/setLevel", r#""level":"info""#, yes),
        (11, "logging/setLevel", r#""level":"debug""#, yes),
        (12, "logging/setLevel", r#""level":"loud""#, no),
        (13, "resources/subscribe", r#""uri":"x:kept","_meta":{"x":1.10}"#, yes),
        (14, "resources/subscribe", r#""uri":"x:left""#, yes),
        (15, "resources/unsubscribe", r#""uri":"x:left""#, yes),
        (16, "resources/subscribe", r#""uri":"x:refused""#, no),
        (17, "resources/subscribe", r#""uri":"x:leaving""#, yes),
    ] {
        done(&mut rig, id, method, parameters, outcome);
    }
    rig.replies.clear();
    // This request is in flight already and will be sent again anyway.
    rig.client(r#"{"jsonrpc":"2.0","id":18,"method":"resources/unsubscribe","params":{"uri":"x:leaving"}}"#);
    let before = rig.posts.len();
    rig.handle(Event::Finished(rig.post("x:leaving"), lost_session()));
    rig.open("two");
    rig.settle();
    let again: Vec<&str> = rig.posts[before..].iter().map(|(_, message, _)| message.as_str()).collect();
    assert_eq!(
        again,
        [
            INITIALIZE,
            INITIALIZED,
            r#"{"jsonrpc":"2.0","id":"finmcp-again-1","method":"logging/setLevel","params":{"level":"debug"}}"#,
            r#"{"jsonrpc":"2.0","id":"finmcp-again-2","method":"resources/subscribe","params":{"uri":"x:kept","_meta":{"x":1.10}}}"#,
            r#"{"jsonrpc":"2.0","id":18,"method":"resources/unsubscribe","params":{"uri":"x:leaving"}}"#,
        ]
    );
    let (_, _, headers) = rig.posts.last().unwrap();
    assert_eq!(headers[SESSION_ID], "two");
    // Whatever the responses, the client does not get them, and no third session is opened for them.
    let (level, kept) = (rig.post("finmcp-again-1"), rig.post("finmcp-again-2"));
    rig.server(level, r#"{"jsonrpc":"2.0","id":"finmcp-again-1","result":{}}"#);
    rig.handle(Event::Finished(kept, lost_session()));
    assert_eq!((rig.replies.as_slice(), rig.count("\"initialize\"")), ([].as_slice(), 2));
    rig.server(rig.post("x:leaving"), r#"{"jsonrpc":"2.0","id":18,"result":{}}"#);
    assert_eq!(rig.replies.len(), 1);

    // The next session gets the same state, under new ids; after a new handshake of the client there is no state.
    rig.handle(Event::Finished(rig.post("x:leaving"), Ending::Complete));
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.open("three");
    rig.settle();
    assert_eq!((rig.count("finmcp-again-3"), rig.count("finmcp-again-4"), rig.count("again-5")), (1, 1, 0));
    for exchange in [level, rig.post("finmcp-again-3"), rig.post("finmcp-again-4")] {
        rig.handle(Event::Finished(exchange, Ending::Complete));
    }
    rig.client(&INITIALIZE.replace("\"id\":0", "\"id\":30"));
    rig.server(rig.post("\"id\":30"), &INITIALIZE_RESULT.replace("\"id\":0", "\"id\":30"));
    rig.client(INITIALIZED);
    rig.settle();
    rig.client(&CALL.replace('7', "31"));
    rig.handle(Event::Finished(rig.post("\"id\":31"), lost_session()));
    rig.server(rig.post("\"initialize\""), &INITIALIZE_RESULT.replace("\"id\":0", "\"id\":30"));
    rig.settle();
    assert_eq!((rig.count("\"id\":31"), rig.count("again-5")), (2, 0));
}

#[test]
fn a_message_refused_in_two_sessions_fails() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.open("two");
    rig.settle();
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    assert_eq!(rig.count("tools/call"), 2);
    assert!(rig.replies[0].contains("HTTP 404"), "{:?}", rig.replies);
}

/// A late refusal from the old session, after the next one could not be opened either, opens one itself.
#[test]
fn t119_a_late_refusal_opens_a_session_where_there_is_none() {
    let mut rig = Rig::ready();
    for id in 10..13 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"n{id}"}}}}"#));
    }
    let [early, late, _] = [10, 11, 12].map(|id| rig.post(&format!("\"n{id}\"")));
    rig.handle(Event::Finished(early, lost_session()));
    rig.open("two");
    rig.settle();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("\"id\":7"), lost_session()));
    rig.handle(Event::Finished(rig.post("initialize\""), Ending::Complete));
    assert_eq!((rig.count("\"initialize\""), rig.replies.len()), (3, 1), "that call is refused: {:?}", rig.replies);
    rig.handle(Event::Finished(late, lost_session()));
    assert_eq!(rig.count("\"initialize\""), 4);
    rig.open("four");
    rig.settle();
    assert_eq!(rig.count("\"n11\""), 2);
}

/// t119: a server that loses each session at once does not get new ones forever.
#[test]
fn t119_a_session_lost_at_once_is_not_replaced() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    for id in ["two", "three"] {
        rig.open(id);
        rig.handle(Event::Finished(rig.post("notifications/initialized"), lost_session()));
    }
    assert_eq!(rig.count("\"initialize\""), 2, "one for the client, one for the lost session");
    rig.handle(Event::Finished(*rig.listens.last().unwrap(), Ending::Complete));
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    assert!(rig.replies.len() == 1 && rig.replies[0].contains("HTTP 404"), "{:?}", rig.replies);
}

#[test]
fn a_session_that_cannot_be_replaced_is_tried_again_with_the_next_message() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    let gone = Failure::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, reason: None };
    rig.handle(Event::Finished(rig.post("\"initialize\""), Ending::Failed(gone)));
    assert!(rig.replies[0].contains("503"), "{:?}", rig.replies);
    rig.client(&CALL.replace('7', "8"));
    rig.open("two");
    rig.settle();
    rig.server(rig.post("\"id\":8"), &RESULT.replace('7', "8"));
    assert_eq!(rig.replies.len(), 2);
}

/// A refused handshake opens no session, so the requests that waited for it are refused too.
#[test]
fn a_refused_handshake_leaves_no_request_waiting() {
    let refusal = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#;
    let mut rig = Rig::new();
    rig.client(INITIALIZE);
    rig.client(CALL);
    rig.server(rig.post("initialize\""), refusal);
    assert_eq!((rig.replies.len(), rig.count("tools/call")), (2, 0), "{:?}", rig.replies);
    assert!(rig.replies.iter().any(|reply| reply == refusal));

    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.server(rig.post("initialize\""), refusal);
    assert!(rig.replies.len() == 1 && rig.replies[0].contains(r#""id":7"#), "{:?}", rig.replies);
    assert!(!rig.replies[0].contains("not known"), "nothing was processed in the lost session: {:?}", rig.replies);
}

/// t105: responses to no request, or a second response, are dropped.
#[test]
fn t105_a_request_gets_one_response() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    let call = rig.post("tools/call");
    for _ in 0..3 {
        rig.server(call, RESULT);
    }
    rig.server(call, &RESULT.replace('7', "8"));
    rig.handle(Event::Finished(call, Ending::Complete));
    assert_eq!(rig.replies, [RESULT]);
}

/// t104: a client may compare ids as text, so it gets its own spelling back.
#[test]
fn t104_an_id_comes_back_as_it_was_spelled() {
    let mut rig = Rig::ready();
    rig.client(&CALL.replace('7', r#""\u0061""#));
    rig.server(rig.post("tools/call"), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
    assert_eq!(rig.replies, [r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#]);
}

/// t104: an id in use is refused; once it is free it can be used again.
#[test]
fn t104_an_id_in_use_is_refused() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(CALL);
    assert_eq!(rig.count("tools/call"), 1);
    assert!(rig.replies[0].contains("-32600"));
    rig.server(rig.post("tools/call"), RESULT);
    rig.client(CALL);
    assert_eq!(rig.count("tools/call"), 2);
}

/// t108: a flood of requests waits its turn, but not the messages that the server or the client needs to resolve it.
#[test]
fn t108_only_requests_wait_for_capacity() {
    let mut rig = Rig::ready();
    for id in 0..IN_FLIGHT_LIMIT + 9 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"pay"}}}}"#));
    }
    assert_eq!(rig.count("tools/call"), IN_FLIGHT_LIMIT);
    rig.server(rig.post("\"id\":0,"), r#"{"jsonrpc":"2.0","id":"e","method":"elicitation/create"}"#);
    rig.client(r#"{"jsonrpc":"2.0","id":"e","result":{}}"#);
    rig.client(CANCELLED);
    assert_eq!((rig.count("\"id\":\"e\""), rig.count("notifications/cancelled")), (1, 1));
    // A request cancelled while it waits is never sent.
    rig.client(&CANCELLED.replace('7', &IN_FLIGHT_LIMIT.to_string()));
    for part in ["\"id\":\"e\"", "notifications/cancelled", "\"id\":7,", "\"id\":0,"] {
        rig.handle(Event::Finished(rig.post(part), Ending::Complete));
    }
    assert_eq!(rig.count("tools/call"), IN_FLIGHT_LIMIT + 2);
    assert_eq!(rig.count(&format!("\"id\":{IN_FLIGHT_LIMIT},")), 0);
}

/// t106: a modern server sends no requests.
#[test]
fn t106_requests_of_a_modern_server_are_dropped() {
    let mut rig = Rig::new();
    rig.client(MODERN_CALL);
    let (call, _, headers) = rig.posts[0].clone();
    assert_eq!(&headers["mcp-name"], "pay");
    rig.server(call, r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
    rig.server(call, r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    assert_eq!(rig.replies, [r#"{"jsonrpc":"2.0","method":"notifications/message"}"#]);
}

const MODERN_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
const CANCELLED: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;

#[test]
fn cancelling_closes_a_modern_exchange_and_notifies_a_legacy_server() {
    let mut rig = Rig::new();
    rig.client(MODERN_CALL);
    rig.client(CANCELLED);
    assert_eq!((rig.cancelled.as_slice(), rig.posts.len()), ([1].as_slice(), 1));

    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(CANCELLED);
    assert_eq!(rig.count("notifications/cancelled"), 1);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert!(rig.replies.is_empty(), "no response is due");
}

/// A server need not respond to a cancelled request, or end the stream on which it would.
#[test]
fn a_delivered_cancellation_ends_the_request() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    let call = rig.post("tools/call");
    rig.client(CANCELLED);
    assert!(rig.cancelled.is_empty(), "a response may still come");
    rig.handle(Event::Finished(rig.post("notifications/cancelled"), Ending::Complete));
    assert_eq!(rig.cancelled, [call]);
    rig.handle(Event::Closed);
    assert!(rig.stopped && rig.replies.is_empty());
}

#[test]
fn the_end_waits_for_messages_in_flight() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Closed);
    assert!(!rig.stopped);
    rig.server(rig.post("tools/call"), RESULT);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert!(rig.stopped);
    assert_eq!((rig.deletes, rig.cancelled.as_slice()), (1, rig.listens.as_slice()));
}

/// t111: when told to stop, finmcp responds to every request, and says which outcomes are unknown.
#[test]
fn t111_when_stopping_every_request_gets_a_response() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(&CALL.replace('7', "8").replace("tools/call", "tools/list"));
    rig.handle(Event::Stopping);
    assert!(rig.stopped);
    assert_eq!((rig.replies.len(), rig.deletes), (2, 1));
    assert!(rig.replies.iter().any(|reply| reply.contains("-31010")), "{:?}", rig.replies);
}

const MIRRORED_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay","arguments":{"to":"DE","n":1.10},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
const MISMATCH: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32020,"message":"Mcp-Param-To is missing"}}"#;

/// The tools have changed since they were listed: finmcp lists them again, all pages, and sends the call once more.
#[test]
fn a_header_mismatch_lists_again_and_sends_once_more() {
    let mut rig = Rig::new();
    rig.client(MIRRORED_CALL);
    rig.server(rig.post("tools/call"), MISMATCH);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert_eq!((rig.count("tools/call"), rig.count("tools/list"), rig.replies.len()), (1, 1, 0));
    let part = |tools: &str| format!(r#"{{"jsonrpc":"2.0","id":"finmcp-list-1","result":{{"tools":[{tools}]}}}}"#);
    rig.server(rig.post("tools/list"), &part("").replace(']', r#"],"nextCursor":"2""#));
    assert_eq!(rig.count(r#""cursor":"2""#), 1);
    let tool = r#"{"name":"pay","inputSchema":{"properties":{"to":{"type":"string","x-mcp-header":"To"}}}}"#;
    rig.server(rig.post("tools/list"), &part(tool));
    let (again, message, headers) = rig.posts.last().unwrap().clone();
    assert_eq!((message.as_str(), headers["mcp-param-to"].to_str().unwrap()), (MIRRORED_CALL, "DE"));
    // Not a second time, nor a third.
    rig.server(again, MISMATCH);
    rig.handle(Event::Finished(again, Ending::Complete));
    assert_eq!(rig.replies, [MISMATCH]);
    assert_eq!(rig.count("tools/call"), 2);
}

#[test]
fn a_header_mismatch_without_a_list_is_the_response() {
    for ending in [Ending::Complete, Ending::Failed(Failure::Malformed)] {
        let mut rig = Rig::new();
        rig.client(MIRRORED_CALL);
        rig.server(rig.post("tools/call"), MISMATCH);
        rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
        rig.handle(Event::Finished(rig.post("tools/list"), ending));
        assert_eq!(rig.replies, [MISMATCH]);
    }
    let mut rig = Rig::new();
    rig.client(MIRRORED_CALL);
    rig.server(rig.post("tools/call"), MISMATCH);
    rig.handle(Event::Stopping);
    assert_eq!(rig.replies, [MISMATCH]);
    assert!(rig.stopped);
}

/// An event that proptest picks: everything an exchange can do, in any order, and the client meanwhile.
#[derive(Debug, Clone)]
enum Step {
    Request(u8),
    Notify,
    Initialized,
    CancelRequest(u8),
    Accept(usize),
    Answer(usize),
    Complete(usize),
    Lose(usize),
    Fail(usize),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..20).prop_map(Step::Request),
        1 => Just(Step::Notify),
        1 => Just(Step::Initialized),
        1 => (1u8..20).prop_map(Step::CancelRequest),
        4 => (0usize..8).prop_map(Step::Accept),
        4 => (0usize..8).prop_map(Step::Answer),
        2 => (0usize..8).prop_map(Step::Complete),
        2 => (0usize..8).prop_map(Step::Lose),
        1 => (0usize..8).prop_map(Step::Fail),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 0..80)
}

/// How all exchanges end that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Without a response.
    Cut,
    /// With a lost session, again and again.
    Lost,
    /// Without any new session.
    Refused,
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![Just(Last::Cut), Just(Last::Lost), Just(Last::Refused)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever happens in whatever order, every request gets exactly one response in the end; a cancelled one gets at
    /// most one.
    #[test]
    fn every_request_gets_exactly_one_response(handshake in any::<bool>(), steps in steps(), ending in last()) {
        let mut rig = if handshake { Rig::ready() } else { Rig::new() };
        if !handshake {
            rig.client(INITIALIZE);
        }
        let mut asked: BTreeMap<u8, usize> = BTreeMap::new();
        let mut cancelled = std::collections::BTreeSet::new();
        let mut over = std::collections::BTreeSet::new();
        for step in steps {
            let open: Vec<(Exchange, String)> = rig
                .posts
                .iter()
                .map(|(exchange, message, _)| (*exchange, message.clone()))
                .filter(|(exchange, _)| !over.contains(exchange))
                .collect();
            let pick = |index: usize| open.get(index % open.len().max(1)).cloned();
            match step {
                Step::Request(id) => {
                    *asked.entry(id).or_default() += 1;
                    rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{}}}}"#));
                }
                Step::Notify => rig.client(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#),
                Step::Initialized => rig.client(INITIALIZED),
                Step::CancelRequest(id) => {
                    cancelled.insert(id);
                    rig.client(&CANCELLED.replace('7', &id.to_string()));
                }
                Step::Accept(index) => if let Some((exchange, _)) = pick(index) {
                    rig.handle(Event::Accepted(exchange, Some(HeaderValue::from_static("s"))));
                },
                Step::Answer(index) => if let Some((exchange, message)) = pick(index)
                    && let Kind::Request { id, .. } = parse(&message).kind
                {
                    rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"x"}}}}"#));
                },
                Step::Complete(index) => if let Some((exchange, _)) = pick(index) {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, Ending::Complete));
                },
                // The message that opens a session carries no session id.
                Step::Lose(index) => if let Some((exchange, message)) = pick(index)
                    && !message.contains("\"initialize\"")
                {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, lost_session()));
                },
                Step::Fail(index) => if let Some((exchange, _)) = pick(index) {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, Ending::Failed(Failure::Malformed)));
                },
                Step::Expire => if let Some(listen) = rig.listens.last().copied() {
                    rig.handle(Event::HoldExpired(listen));
                },
            }
        }
        // No request waits longer than the exchanges in flight, however these end.
        for round in 0.. {
            let open: Vec<(Exchange, String)> =
                rig.posts.iter().filter(|post| over.insert(post.0)).map(|post| (post.0, post.1.clone())).collect();
            if open.is_empty() && rig.listens.is_empty() {
                break;
            }
            prop_assert!(round < 10 + 2 * asked.len(), "it does not end");
            for (exchange, message) in open {
                let ending = match (&ending, message.contains("\"initialize\"")) {
                    (Last::Lost, false) => lost_session(),
                    (Last::Lost | Last::Refused, true) => {
                        let member = if ending == Last::Lost { "result" } else { "error" };
                        rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":0,"{member}":{{}}}}"#));
                        Ending::Complete
                    }
                    _ => Ending::Complete,
                };
                rig.handle(Event::Finished(exchange, ending));
            }
            for listen in std::mem::take(&mut rig.listens) {
                rig.handle(Event::HoldExpired(listen));
            }
        }
        prop_assert!(rig.session.channel.in_flight.is_settled(), "{:?}", rig.session);
        rig.handle(Event::Stopping);
        prop_assert!(rig.stopped);

        let mut answered: BTreeMap<u8, usize> = BTreeMap::new();
        for reply in &rig.replies {
            let Kind::Response { id: Some(id), .. } = parse(reply).kind else { continue };
            *answered.entry(id.to_string().parse().unwrap()).or_default() += 1;
        }
        for (id, asked) in asked {
            let answered = answered.get(&id).copied().unwrap_or(0);
            if cancelled.contains(&id) {
                prop_assert!(answered <= asked);
            } else {
                prop_assert_eq!(answered, asked, "request {}: {:?}", id, rig.replies);
            }
        }
    }
}

/// a11: the client's response to a request of a lost session is dropped, and the client gets a cancellation; a request
/// in a session with a call in flight gets its response, and so does one of the new session.
#[test]
fn a11_a_response_goes_only_to_the_session_that_asked() {
    let question = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":"q{id}","method":"roots/list"}}"#);
    let answer = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":"q{id}","result":{{"roots":[{id}]}}}}"#);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for goes_on in [false, true] {
        let mut rig = Rig::ready();
        rig.client(&answer(9));
        rig.client(progress);
        assert_eq!((rig.count("result"), rig.count("progress")), (0, 0), "the server has not asked");
        let stream = *rig.listens.last().unwrap();
        if goes_on {
            rig.client(&CALL.replace('7', "8"));
        }
        rig.server(stream, &question(1));
        rig.client(progress);
        assert_eq!(rig.count("progress"), 1);
        rig.client(CALL);
        rig.handle(Event::Finished(rig.post("\"id\":7"), lost_session()));
        assert_eq!(rig.replies.iter().any(|line| line.contains("notifications/cancelled")), !goes_on);
        rig.open("two");
        rig.settle();
        rig.client(&answer(1));
        assert_eq!(rig.count("[1]"), usize::from(goes_on));
        rig.server(*rig.listens.last().unwrap(), &question(2));
        rig.client(&answer(2));
        assert_eq!(rig.count("[2]"), 1);
    }
}

/// A server's refusal for a session that it does not know (MCP 2025-11-25 transports, "Session Management").
fn lost_session() -> Ending {
    let failure = Failure::Status { status: http::StatusCode::NOT_FOUND, retry_after: None, reason: None };
    Ending::SessionLost(Box::new(Refused::Failure(failure)))
}
