//! What the network does to calls, and what becomes of them: made at most once, answered exactly once.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    bridge::serve::open_bridge,
    support::{
        sandbox::Sandbox,
        serve::{Message, Serve, modern},
        vendor::{Effect, Era, On, Reply, Script, Vendor},
        wire::{Fault, Way, Wire},
    },
};

const QUIET: Duration = Duration::from_millis(100);

/// Long enough for a connection's end to be noticed.
const A_MOMENT: Duration = Duration::from_millis(50);

/// How many bytes the body of a call has, and that of its answer.
const BODY: usize = 2 << 10;

/// A client, and a server behind a wire.
struct Line {
    _sandbox: Sandbox,
    era: Era,
    vendor: Vendor,
    wire: Wire,
    serve: Serve,
    calls: usize,
}

impl Line {
    /// A conversation that has begun; an answer may take `timeout` seconds.
    fn open(era: Era, timeout: u32) -> Self {
        // Whatever passes belongs to a call: there is no other stream.
        let vendor = Vendor::start(Script { era, get_stream: false, ..Script::default() });
        let wire = Wire::to(vendor.port());
        let sandbox = Sandbox::new();
        let mut serve = sandbox.serve([wire.url(), "--timeout".to_owned(), timeout.to_string()]);
        serve.greet(era).result();
        let answer = |text: String| {
            let result = json!({"resultType": "complete", "content": [{"type": "text", "text": text}]});
            json!({"jsonrpc": "2.0", "id": "@ID@", "result": result}).to_string().replace("\"@ID@\"", "@ID@")
        };
        let padding = BODY - answer(String::new()).len() - "\"call-000000\"".len() + "@ID@".len();
        vendor.prepare("answer", answer("y".repeat(padding)));
        let mut line = Self { _sandbox: sandbox, era, vendor, wire, serve, calls: 0 };
        // Once this is answered, all of the handshake has passed.
        line.call().1.result();
        line
    }

    /// Calls a tool, with an id that no other call has; gives the answer. All calls have the same length, and all
    /// answers.
    fn call(&mut self) -> (String, Message) {
        let id = self.begin_call();
        let answer = self.serve.answer_to(&json!(id).to_string());
        (id, answer)
    }

    fn begin_call(&mut self) -> String {
        self.calls += 1;
        let id = format!("call-{:06}", self.calls);
        let request = |message: String| {
            let params = json!({"name": "raw", "arguments": {"name": "answer", "message": message}});
            let params = if self.era == Era::Modern { modern(params) } else { params };
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
        };
        let padding = BODY - request(String::new()).len();
        self.serve.send(request("x".repeat(padding)));
        id
    }

    /// How many bytes a whole call has, or its answer, heads and all.
    fn length(&mut self, way: Way) -> usize {
        let before = self.wire.passed(way);
        self.call().1.result();
        self.wire.passed(way) - before
    }

    /// How often the server has seen which call.
    fn seen(&self) -> HashMap<String, usize> {
        let mut seen = HashMap::new();
        for call in self.vendor.calls("tools/call") {
            *seen.entry(call.json()["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        seen
    }
}

fn code(answer: &Message) -> Value {
    answer.error()["code"].clone()
}

/// Breaks a call, or its answer, after each `step` bytes: the server has seen it once or not at all, the client is told
/// once that its outcome is unknown, and the next call, on the session of before, is like any other.
fn break_everywhere(era: Era, way: Way, fault: Fault, step: usize) {
    let mut line = Line::open(era, 20);
    let length = line.length(way);
    assert!(length > BODY, "{length}");
    let mut broken = Vec::new();
    for after in (0..length).step_by(step) {
        line.wire.plan(way, after, fault);
        let (id, answer) = line.call();
        assert_eq!(code(&answer), -31010, "{after} of {length}: {}", answer.raw);
        assert!(line.wire.is_done(), "{after} of {length}");
        broken.push(id);
        line.call().1.result();
    }
    assert!(line.serve.rest(QUIET).is_empty(), "an answer too many");
    let seen = line.seen();
    for (at, id) in broken.iter().enumerate() {
        // What never came whole can only have come by being sent again.
        let expected = if way == Way::Request { None } else { Some(&1) };
        assert_eq!(seen.get(id), expected, "{} of {length}", at * step);
    }
    assert!(seen.values().all(|times| *times == 1));
    assert_eq!(seen.len(), if way == Way::Request { line.calls - broken.len() } else { line.calls });
    assert_eq!(line.vendor.calls("initialize").len(), usize::from(era == Era::Legacy));
    assert_eq!(line.vendor.complaints(), Vec::<String>::new());
}

/// Several at once, each in its own process.
fn all(cases: &[(Era, Way, Fault, usize)]) {
    thread::scope(|scope| {
        for (era, way, fault, step) in cases.iter().copied() {
            scope.spawn(move || break_everywhere(era, way, fault, step));
        }
    });
}

/// t114: a request that is cut at any of its bytes, the head's included.
#[test]
fn t114_a_call_that_is_cut_at_any_byte_is_not_repeated() {
    all(&[
        (Era::Modern, Way::Request, Fault::Reset, 1),
        (Era::Modern, Way::Request, Fault::HalfClose, 1),
        (Era::Legacy, Way::Request, Fault::Reset, 16),
        (Era::Legacy, Way::Request, Fault::HalfClose, 16),
    ]);
}

/// t114: an answer that is cut at any of its bytes.
#[test]
fn t114_a_call_whose_response_is_cut_at_any_byte_is_not_repeated() {
    all(&[
        (Era::Modern, Way::Response, Fault::Reset, 1),
        (Era::Modern, Way::Response, Fault::HalfClose, 1),
        (Era::Legacy, Way::Response, Fault::Reset, 16),
        (Era::Legacy, Way::Response, Fault::HalfClose, 16),
    ]);
}

/// t114, t128: a connection that dies without a word, anywhere in a call or in its answer.
#[test]
fn t114_t128_an_unanswered_call_times_out_and_is_not_repeated() {
    thread::scope(|scope| {
        for way in [Way::Request, Way::Response] {
            scope.spawn(move || {
                let mut line = Line::open(Era::Modern, 1);
                let length = line.length(way);
                for after in [0, 20, length - BODY, length / 2, length - 1] {
                    line.wire.plan(way, after, Fault::Blackhole);
                    let (id, answer) = line.call();
                    assert_eq!(code(&answer), -31010, "{after} of {length}: {}", answer.raw);
                    assert_eq!(line.seen().contains_key(&id), way == Way::Response, "{after} of {length}");
                    line.call().1.result();
                }
                assert!(line.seen().values().all(|times| *times == 1));
            });
        }
    });
}

/// What comes late, or byte by byte, is as good as any other.
#[test]
fn a_slow_line_is_a_line() {
    let mut line = Line::open(Era::Modern, 20);
    for way in [Way::Request, Way::Response] {
        let length = line.length(way);
        let (delay, drip) = (Fault::Delay(Duration::from_millis(300)), Fault::Drip(Duration::from_millis(1)));
        for (after, fault) in [(0, delay), (20, delay), (length - 20, delay), (length - 100, drip), (length - 1, drip)]
        {
            line.wire.plan(way, after, fault);
            line.call().1.result();
            assert!(line.wire.is_done());
            // The next connection is as quick as the first was.
            line.wire.strike(Fault::Reset);
            thread::sleep(A_MOMENT);
        }
    }
    assert!(line.seen().values().all(|times| *times == 1));
    assert_eq!(line.seen().len(), line.calls);
}

/// t115: a connection that the server closes while it waits for the next call is not used, and that is no failure.
#[test]
fn t115_a_connection_that_was_closed_is_not_used() {
    let mut line = Line::open(Era::Modern, 20);
    for fault in [Fault::HalfClose, Fault::Reset].repeat(5) {
        line.call().1.result();
        line.wire.strike(fault);
        thread::sleep(A_MOMENT);
        line.call().1.result();
    }
    assert_eq!(line.wire.connections(), 11);
    assert_eq!(line.seen().len(), line.calls);
    assert!(line.seen().values().all(|times| *times == 1));
}

/// t115: a connection that the server closes at the moment when it is used again: whatever part of the call has come by
/// then, it is made at most once, and made whenever the client is told so.
#[test]
fn t115_a_connection_that_closes_during_a_call_delivers_it_once() {
    let mut line = Line::open(Era::Modern, 20);
    const ROUNDS: u32 = 400;
    let begun = Instant::now();
    for _ in 0..20 {
        line.call().1.result();
    }
    let whole = begun.elapsed() / 20;
    let mut answers = Vec::new();
    for round in 0..ROUNDS {
        let id = line.begin_call();
        // From before it is used up to when it waits for the next.
        thread::sleep(whole * 2 * round / ROUNDS);
        line.wire.strike(if round % 2 == 0 { Fault::HalfClose } else { Fault::Reset });
        let answer = line.serve.answer_to(&json!(id).to_string());
        answers.push((id, answer));
    }
    let seen = line.seen();
    assert!(seen.values().all(|times| *times == 1));
    let (made, open): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| answer.json()["result"].is_object());
    assert!(made.iter().all(|(id, _)| seen.contains_key(id)));
    assert!(open.iter().all(|(_, answer)| code(answer) == -31010));
    assert!(!made.is_empty() && !open.is_empty(), "{} and {}", made.len(), open.len());
}

/// t115, a10: what an HTTP/2 server says it did not process is sent again (RFC 9113 section 8.7), once for each time that
/// it says so. What it leaves unanswered as it goes is not: it has come whole, and only the server knows what became of it.
#[cfg(unix)]
#[test]
fn t115_a10_a_stream_that_is_lost_is_sent_again_where_it_was_refused() {
    use crate::support::{
        http2::{Http2Server, Loss},
        internet::Internet,
    };

    let server = Http2Server::start();
    let mut sandbox = Sandbox::new();
    let internet = Internet::join(&mut sandbox);
    internet.http2_host("mcp.example", server.port());
    let mut serve = sandbox.serve(["https://mcp.example/mcp"]);
    serve.greet(Era::Modern).result();
    for times in 1..=2 {
        let before = server.count("tools/call");
        (0..times).for_each(|_| server.lose_next_call(Loss::RefusedStream));
        serve.call_modern("pay", json!({})).result();
        assert_eq!(server.count("tools/call"), before + times + 1);
    }
    let before = server.count("tools/call");
    server.lose_next_call(Loss::GoAway);
    let answer = serve.call_modern("pay", json!({}));
    assert_eq!(code(&answer), -31010, "{}", answer.raw);
    assert_eq!(server.count("tools/call"), before + 1);
    serve.call_modern("pay", json!({})).result();
    assert!(serve.rest(QUIET).is_empty());
}

/// t116: what a server says of its tools is no licence to call one twice.
#[test]
fn t116_annotations_do_not_allow_a_retry() {
    let annotations = json!({"readOnlyHint": true, "idempotentHint": true, "destructiveHint": false});
    let tools = json!([{"name": "echo", "inputSchema": {"type": "object"}, "annotations": annotations}]);
    for era in [Era::Legacy, Era::Modern] {
        let script = Script { era, tool_pages: vec![tools.clone()], ..Script::default() };
        let (_sandbox, vendor, mut serve) = open_bridge(script);
        serve.greet(era).result();
        let listed = serve.request_in(era, "tools/list", json!({})).result();
        assert_eq!(listed["tools"][0]["annotations"], annotations);
        for effect in [Effect::CutBefore, Effect::CutAfter, Effect::status(503), Effect::status(504)] {
            let before = vendor.calls("tools/call").len();
            vendor.fault(On::Rpc("tools/call"), effect.clone());
            let answer = serve.call_in(era, "echo", json!({"message": "hi"}));
            assert_eq!(code(&answer), -31010, "{era:?} {effect:?}: {}", answer.raw);
            assert_eq!(vendor.calls("tools/call").len(), before + 1, "{era:?} {effect:?}");
        }
    }
}

/// t129: an answer that ends in good order before the response: what came is passed on, and the outcome is open.
#[test]
fn t129_an_answer_without_the_response_leaves_the_outcome_open() {
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for era in [Era::Legacy, Era::Modern] {
        for (kind, body, told) in [
            ("text/event-stream", format!("data: {progress}\n\n"), true),
            ("text/event-stream", String::new(), false),
            ("text/event-stream", ": nothing\n\n".to_owned(), false),
            ("application/json", String::new(), false),
            ("application/json", progress.to_owned(), true),
        ] {
            let what = format!("{era:?} {kind} {body:?}");
            let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
            serve.greet(era).result();
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(200).body(kind, body)));
            let call = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": 1}});
            let answer = serve.request_in(era, "tools/call", call);
            assert_eq!(code(&answer), -31010, "{what}: {}", answer.raw);
            assert_eq!(vendor.calls("tools/call").len(), 1, "{what}");
            let rest: Vec<_> = serve.rest(QUIET).into_iter().filter_map(|message| message.method()).collect();
            assert_eq!(rest, vec!["notifications/progress"; usize::from(told)], "{what}");
            serve.call_in(era, "echo", json!({"message": "hi"})).result();
        }
    }
}

/// t130: a machine that slept, and connections that died meanwhile without a word. What was under way is given up in
/// its time, a write as one whose outcome is open; what comes next does not wait for the dead.
#[cfg(unix)]
#[test]
fn t130_after_a_sleep_dead_connections_delay_nothing() {
    use rustix::process::Signal;

    let mut line = Line::open(Era::Modern, 2);
    let write = line.serve.post_in(Era::Modern, "tools/call", json!({"name": "hang", "arguments": {}}));
    line.vendor.wait_for("the call", |record| record.rpc_method().as_deref() == Some("tools/call"));
    line.call().1.result();
    line.serve.signal(Signal::STOP);
    line.wire.strike(Fault::Blackhole);
    thread::sleep(Duration::from_secs(1));
    line.serve.signal(Signal::CONT);
    let woken = Instant::now();
    // This one finds the connection that was kept, and cannot know.
    line.serve.request_in(Era::Modern, "tools/list", json!({})).error();
    assert_eq!(code(&line.serve.answer_to(&write)), -31010);
    line.serve.request_in(Era::Modern, "tools/list", json!({})).result();
    assert!(woken.elapsed() < Duration::from_secs(10), "{:?}", woken.elapsed());
    line.call().1.result();
    assert_eq!(line.vendor.executed(), ["raw", "hang", "raw", "raw"]);
    assert_eq!(line.wire.connections(), 3);
}
