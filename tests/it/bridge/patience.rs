//! What the bridge waits out, what it sends again, and what it does not.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    sandbox::Sandbox,
    serve::Serve,
    vendor::{Effect, On, Reply, Script, Vendor},
};

fn bridge() -> (Sandbox, Vendor, Serve) {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    (sandbox, vendor, serve)
}

/// t121: a call that the server has no room for was not taken, and is made when it says.
#[test]
fn t121_a_rate_limited_call_waits() {
    let (_sandbox, vendor, mut serve) = bridge();
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(429).header("retry-after", "1")));
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(429).header("retry-after", "nonsense")));
    let begun = Instant::now();
    serve.echo("hi");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((vendor.calls("tools/call").len(), vendor.executed().len()), (3, 1));
}

/// t121: longer than a client waits is said at once.
#[test]
fn t121_a_long_wait_is_reported_at_once() {
    let (_sandbox, vendor, mut serve) = bridge();
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(429).header("retry-after", "200")));
    let begun = Instant::now();
    let error = serve.call("echo", json!({"message": "hi"})).error();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(error["code"], -31003);
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("rate limit reached: the next request is allowed in 20"), "{text}");
    assert_eq!(vendor.executed().len(), 0);
}

/// The wait that is said is the server's own, however long, and not how long finmcp keeps to it.
#[test]
fn a17_a_long_wait_is_reported_with_the_servers_number() {
    for (asked, said) in [("3600", "in 3600 s"), ("86400", "in 86400 s")] {
        let (_sandbox, vendor, mut serve) = bridge();
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(429).header("retry-after", asked)));
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        // The next one, which does not get to the server, hears the same within seconds.
        let error = serve.call("echo", json!({"message": "hi"})).error();
        let text = error["message"].as_str().unwrap();
        let seconds: u64 = text.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let asked: u64 = asked.parse().unwrap();
        assert!((asked - 60..=asked).contains(&seconds), "{text}");
        assert_eq!((vendor.calls("tools/call").len(), vendor.executed().len()), (1, 0));
    }
}

/// t114, t122: an outage: what only reads is asked again, a call whose outcome is open is not, whatever its annotations.
#[test]
fn t114_t122_only_read_only_requests_are_resent() {
    let (_sandbox, vendor, mut serve) = bridge();
    for effect in [Effect::status(503), Effect::CutAfter] {
        vendor.fault(On::Rpc("tools/list"), effect);
    }
    serve.request("tools/list", json!({})).result();
    assert_eq!(vendor.calls("tools/list").len(), 3);
    for (effect, executed) in [(Effect::status(503), 0), (Effect::CutBefore, 0), (Effect::CutAfter, 1)] {
        let before = (vendor.calls("tools/call").len(), vendor.executed().len());
        vendor.fault(On::Rpc("tools/call"), effect);
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31010, "{error}");
        let after = (vendor.calls("tools/call").len(), vendor.executed().len());
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, executed));
    }
}

/// t128: an answer that drips in for ever is given up; a hung call holds up no other.
#[test]
fn t128_a_response_that_never_ends_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
                let _ = connection.write_all(head.as_bytes());
                while connection.write_all(b" ").is_ok() {
                    thread::sleep(Duration::from_millis(200));
                }
            });
        }
    });
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([url.as_str(), "--timeout", "2"]);
    let begun = Instant::now();
    serve.initialize();
    let error = serve.request("tools/list", json!({})).error();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(error["message"].as_str().unwrap().contains("did not respond within 2 s"), "{error}");
}

/// t122: an outage gets a few questions for each that the client asks, and not one call twice; when it is over the next
/// answer comes at once.
#[test]
fn t122_an_outage_is_not_made_worse() {
    let (_sandbox, vendor, mut serve) = bridge();
    let (lists, calls) = (10, 10);
    for _ in 0..100 {
        vendor.fault(On::Rpc("tools/list"), Effect::status(503));
        vendor.fault(On::Rpc("tools/call"), Effect::status(503));
    }
    let mut asked: Vec<String> = (0..lists).map(|_| serve.post("tools/list", json!({}))).collect();
    asked.extend((0..calls).map(|_| serve.post("tools/call", json!({"name": "echo", "arguments": {}}))));
    for id in asked {
        assert!(serve.answer_to(&id).error()["message"].as_str().unwrap().contains("HTTP 503"));
    }
    assert_eq!((vendor.calls("tools/list").len(), vendor.calls("tools/call").len()), (3 * lists, calls));
    vendor.heal();
    let over = Instant::now();
    serve.request("tools/list", json!({})).result();
    serve.call("echo", json!({"message": "hi"})).result();
    assert!(over.elapsed() < Duration::from_secs(5), "{:?}", over.elapsed());
}

/// t124: a stream that ends again and again is asked for now and then, whatever its server thinks of that; one that is
/// refused, once.
#[test]
fn t124_a_stream_that_ends_is_not_asked_for_without_a_pause() {
    let events = |text: &str| Reply::new(200).body("text/event-stream", text);
    let cases = [
        (events("retry: 0\n\n"), 2..=9),
        (events("retry: 1\nid: 1\ndata:\n\n"), 2..=9),
        (events("retry: 1000000000000\n\n"), 1..=1),
        (events("retry: 99999999999999999999999\n\n"), 2..=5),
        (events("retry: 1e12\n\n"), 2..=5),
        (events("retry: -1\n\n"), 2..=5),
        (events(""), 2..=5),
        (Reply::new(503), 2..=5),
        (Reply::new(429), 2..=5),
        (Reply::new(429).header("retry-after", "60"), 1..=1),
        (Reply::new(401), 1..=2),
        (Reply::new(405), 1..=1),
        (Reply::new(404), 1..=1),
    ];
    thread::scope(|scope| {
        for (reply, expected) in cases {
            scope.spawn(move || {
                let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
                for _ in 0..1000 {
                    vendor.fault(On::Method("GET"), Effect::Answer(reply.clone()));
                }
                let mut serve = sandbox.serve([vendor.url()]);
                serve.initialize().result();
                thread::sleep(Duration::from_secs(4));
                let times = vendor.records().iter().filter(|record| record.method == "GET").count();
                assert!(expected.contains(&times), "{times} times: {reply:?}");
                serve.call("echo", json!({"message": "hi"})).result();
            });
        }
    });
}

/// t123, t124: an answer that is to be taken up where it was, and never goes on, is given up; one whose server wants to
/// be left alone for longer than an answer may take, when that is over.
#[test]
fn t123_t124_a_response_that_is_cut_repeatedly_fails() {
    let events = |text: &str| Effect::Answer(Reply::new(200).body("text/event-stream", text));
    for (text, most) in [("id: 1\nretry: 0\ndata:\n\n", 6), ("id: 1\nretry: 1000000000000\ndata:\n\n", 0)] {
        let vendor = Vendor::start(Script { get_stream: false, ..Script::default() });
        let sandbox = Sandbox::new();
        let mut serve = sandbox.serve([&vendor.url(), "--timeout", "3"]);
        serve.initialize().result();
        serve.request("ping", json!({})).result();
        let gets = || vendor.records().iter().filter(|record| record.method == "GET").count();
        let before = gets();
        vendor.fault(On::Rpc("tools/call"), events(text));
        for _ in 0..1000 {
            vendor.fault(On::Method("GET"), events(text));
        }
        let begun = Instant::now();
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31010, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{text:?}: {:?}", begun.elapsed());
        let times = gets() - before;
        assert!(times <= most && (times > 0 || most == 0), "{text:?}: {times} times");
        assert_eq!(vendor.calls("tools/call").len(), 1);
    }
}
