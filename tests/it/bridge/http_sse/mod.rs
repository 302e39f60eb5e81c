//! A server of the first revision, which speaks HTTP+SSE: `finmcp serve` finds that out, and both eras' clients work.

mod failures;
mod servers;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    commands::token::signed_in_machine,
    support::{
        eventually,
        sandbox::Sandbox,
        serve::{Serve, modern},
        vendor::{Effect, Era, On, Reply, Script, Transport, Vendor},
    },
};

const SOON: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(100);

/// A bridge to a vendor that speaks HTTP+SSE.
fn bridge() -> (Sandbox, Vendor, Serve) {
    open_bridge(Script::default().over_sse())
}

/// Where the requests went so far, and what they were.
fn seen(vendor: &Vendor) -> Vec<String> {
    let what = |method: &str, rpc: Option<String>| rpc.unwrap_or_else(|| method.to_owned());
    let records = vendor.records().into_iter();
    records.map(|record| format!("{} {}", record.path, what(&record.method, record.rpc_method()))).collect()
}

/// An answer with this as its whole stream.
fn stream(text: impl Into<Vec<u8>>) -> Effect {
    Effect::Answer(Reply::new(200).body("text/event-stream", text))
}

#[test]
fn a_legacy_client_lists_and_calls_tools() {
    let (_sandbox, vendor, mut serve) = bridge();
    assert_eq!(serve.initialize().result()["serverInfo"]["name"], "test vendor");
    assert_eq!(serve.request("tools/list", json!({})).result()["tools"][0]["name"], "echo");
    serve.echo("hi");
    assert_eq!(
        seen(&vendor),
        [
            "/mcp initialize",
            "/mcp server/discover",
            "/mcp GET",
            "/messages initialize",
            "/messages notifications/initialized",
            "/messages tools/list",
            "/messages tools/call",
        ]
    );
    assert_eq!(vendor.complaints(), Vec::<String>::new());
    serve.close_stdin();
    serve.exit_within(SOON);
    assert_eq!(vendor.records().len(), 7, "nothing else ends the session but the end of the stream");
    eventually("the end of the stream", || (vendor.stream_count() == 0).then_some(()));
}

#[test]
fn a_modern_client_lists_and_calls_tools() {
    let (_sandbox, vendor, mut serve) = bridge();
    let discovered = serve.request("server/discover", modern(json!({}))).result();
    assert_eq!(discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "test vendor");
    assert_eq!(serve.request("tools/list", modern(json!({}))).result()["tools"][0]["name"], "echo");
    assert_eq!(serve.call_modern("echo", json!({"message": "hi"})).result()["content"][0]["text"], "hi");
    assert_eq!(seen(&vendor)[..4], ["/mcp server/discover", "/mcp initialize", "/mcp GET", "/messages initialize"]);
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// What the server asks, in the middle of a call and outside of one, and what it tells.
#[test]
fn unsolicited_server_messages_reach_the_client() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script { asks_for_roots: true, ..Script::default().over_sse() });
    serve.initialize();
    assert_eq!(serve.incoming("roots/list").id(), Some("0"));
    let answer = r#"{"result":{"roots":[{"uri":"file:///a","x":1.10}]},"jsonrpc":"2.0","id":0}"#;
    serve.send(answer);
    vendor.wait_for("the client's answer", |record| record.text() == answer);
    let call = serve.post("tools/call", json!({"name": "roots", "arguments": {}}));
    assert_eq!(serve.incoming("roots/list").id(), Some(r#""vendor-1""#));
    serve.send(r#"{"jsonrpc":"2.0","id":"vendor-1","result":{"roots":[]}}"#);
    serve.answer_to(&call).result();
    vendor.say("event: ping\r\ndata: 12:00\r\n\r\n: comment\r\n\r\n");
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":1e2}}"#;
    vendor.push(notification);
    assert_eq!(serve.incoming("notifications/tools/list_changed").raw, notification);
    assert!(serve.rest(QUIET).is_empty());
}

/// Whatever comes on the stream keeps its order, and answers find their requests whatever theirs.
#[test]
fn messages_keep_their_order() {
    let (_sandbox, vendor, mut serve) = bridge();
    serve.initialize();
    let call = json!({"name": "progress", "arguments": {"count": 500}, "_meta": {"progressToken": "t-1"}});
    let id = serve.post("tools/call", call);
    for step in 1..=500 {
        assert_eq!(serve.next().json()["params"]["progress"], step);
    }
    assert!(serve.next().answers(&id));
    let calls: Vec<_> = (0..3).map(|_| serve.post("tools/call", json!({"name": "hang", "arguments": {}}))).collect();
    eventually("the calls", || (vendor.executed().len() == 4).then_some(()));
    for id in [&calls[1], &calls[0], &calls[2]] {
        vendor.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        vendor.push(format!(r#"{{"jsonrpc":"2.0","method":"notifications/after","params":{{"id":{id}}}}}"#));
    }
    for id in [&calls[1], &calls[0], &calls[2]] {
        assert!(serve.next().answers(id));
        assert_eq!(serve.next().json()["params"]["id"].to_string(), *id);
    }
}

/// t105: an answer without a waiting request is dropped, be it before the request, after its answer, or without an id.
#[test]
fn t105_unexpected_answers_are_dropped() {
    let (_sandbox, vendor, mut serve) = bridge();
    serve.initialize();
    let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
    eventually("the call", || (vendor.executed().len() == 1).then_some(()));
    let next: u64 = call.parse::<u64>().unwrap() + 1;
    for id in ["999", "null", &next.to_string(), &call, &call] {
        vendor.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"for {id}"}}}}"#));
    }
    assert_eq!(serve.next().error()["message"], format!("for {call}"));
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert_eq!(answer.id(), Some(&*next.to_string()));
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    assert!(serve.rest(QUIET).is_empty());
}

/// Next time the stream is asked for first; and when that turns out wrong, the rest.
#[test]
fn the_transport_is_remembered_until_it_changes() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let talk = |script: Script, expected: &[&str]| {
        let transport = if script.transport == Transport::HttpSse { "http-sse" } else { "streamable-http" };
        vendor.change(|now| *now = script);
        let before = vendor.records().len();
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.call("echo", json!({"message": "hi"})).result();
        assert_eq!(seen(&vendor)[before..before + expected.len()], *expected);
        eventually("what is kept", || {
            let kept = sandbox.files().into_iter().find(|file| file.extension().is_some_and(|kind| kind == "json"))?;
            std::fs::read_to_string(kept).ok()?.contains(transport).then_some(())
        });
    };
    let (old, new) = (Script::default().over_sse(), Script::default());
    let found_out = ["/mcp initialize", "/mcp server/discover", "/mcp GET", "/messages initialize"];
    // A stream that is refused, begins with something else, and ends before it has begun.
    for effect in [Effect::status(405), stream("data: {}\n\n"), stream("event: endpoint\ndata: ")] {
        talk(old.clone(), &found_out);
        talk(old.clone(), &["/mcp GET", "/messages initialize", "/messages notifications/initialized"]);
        vendor.fault(On::Method("GET"), effect);
        talk(new.clone(), &["/mcp GET", "/mcp initialize", "/mcp notifications/initialized"]);
        talk(new.clone(), &["/mcp initialize", "/mcp notifications/initialized"]);
    }
}

/// A wrong address is said as it ever was, for one request more.
#[test]
fn an_address_without_a_server_gets_one_more_request() {
    let page = Effect::Answer(Reply::new(200).body("text/html", "<h1>Welcome</h1>"));
    for effect in [Effect::status(404), page, Effect::status(403), Effect::status(503), stream("data: hello\n\n")] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        vendor.fault(On::Method("GET"), effect);
        let mut serve = sandbox.serve([vendor.at("/nowhere")]);
        let error = serve.initialize().error();
        assert_eq!(error["code"], -31003);
        assert!(error["message"].as_str().unwrap().contains("the server responded with HTTP 404"), "{error}");
        assert_eq!(seen(&vendor), ["/nowhere initialize", "/nowhere server/discover", "/nowhere GET"]);
        // And what comes next goes where it went before.
        assert!(serve.request("tools/list", json!({})).raw.contains("HTTP 404"));
        assert_eq!(seen(&vendor)[3..], ["/nowhere tools/list"]);
    }
}

/// A place that takes no messages may say so in JSON, and in the words of JSON-RPC: that is no answer to ours.
#[test]
fn responses_to_unexpected_messages_are_not_forwarded() {
    for (status, body) in [
        (405, r#"{"error":"not found"}"#),
        (404, r#"{"detail":"Not Found"}"#),
        (405, r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method Not Allowed"},"id":null}"#),
        (404, r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"no"},"id":"server-error"}"#),
        (400, r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"no session"}}"#),
    ] {
        let refuse = |vendor: &Vendor| {
            for method in ["initialize", "server/discover"] {
                let reply = Reply::new(status).body("application/json", body);
                vendor.fault(On::Rpc(method), Effect::Answer(reply));
            }
        };
        for era in [Era::Legacy, Era::Modern] {
            let (_sandbox, vendor, mut serve) = bridge();
            refuse(&vendor);
            serve.greet(era).result();
            serve.call_in(era, "echo", json!({"message": "hi"})).result();
            assert_eq!(seen(&vendor)[2..4], ["/mcp GET", "/messages initialize"], "{body}");
            assert_eq!(vendor.complaints(), Vec::<String>::new());
        }
        // Where there is no stream either, the words are for the client as ever.
        let (_sandbox, vendor, mut serve) = bridge();
        refuse(&vendor);
        vendor.fault(On::Method("GET"), Effect::status(405));
        let error = serve.initialize().error();
        assert_eq!(seen(&vendor), ["/mcp initialize", "/mcp server/discover", "/mcp GET"]);
        let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
        match parsed.get("jsonrpc") {
            Some(_) => assert_eq!(error, parsed["error"]),
            None => assert!(error["message"].as_str().unwrap().contains(&format!("HTTP {status}")), "{error}"),
        }
    }
}

/// An answer to the very question is an answer, whatever its status.
#[test]
fn t136_an_error_with_the_id_of_the_question_is_an_answer() {
    for status in [400, 404, 405] {
        let (_sandbox, vendor, mut serve) = bridge();
        let answer = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#;
        vendor.fault(On::Rpc("initialize"), Effect::Answer(Reply::new(status).body("application/json", answer)));
        assert_eq!(serve.initialize().error()["message"], "no");
        assert_eq!(seen(&vendor), ["/mcp initialize", "/mcp server/discover"]);
    }
}

/// t136: the stream is looked for only where no message is taken, not wherever one is refused.
#[test]
fn t136_a_server_that_answers_is_not_asked_for_a_stream() {
    let refusal =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no","data":{"supported":["2099-01-01"]}}}"#;
    let answers = [
        Effect::Answer(Reply::new(400).body("application/json", refusal)),
        Effect::Answer(Reply::new(200).body("text/html", "<h1>Sign in to the network</h1>")),
        Effect::status(410),
        Effect::status(500),
    ];
    for answer in answers {
        let what = format!("{answer:?}");
        let (_sandbox, vendor, mut serve) = bridge();
        vendor.fault(On::Rpc("initialize"), answer);
        serve.initialize();
        assert!(vendor.records().iter().all(|record| record.method == "POST"), "{what}: {:?}", seen(&vendor));
    }
}

/// t005, t047: a credential, and every message, stays with the server that a person named.
#[test]
fn t047_an_address_of_another_origin_is_refused() {
    let elsewhere = Vendor::start(Script::default().over_sse());
    let origin = elsewhere.origin();
    let port = origin.rsplit(':').next().unwrap();
    let addresses = [
        elsewhere.at("/messages"),
        format!("//127.0.0.1:{port}/messages"),
        format!("http://localhost:{port}/messages"),
        format!("http://user@127.0.0.1:{port}/messages"),
        "http://mcp.example/messages".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/messages#fragment".to_owned(),
        "/messages?x=a b".to_owned(),
    ];
    for address in addresses {
        let (sandbox, vendor) = signed_in_machine();
        vendor.change(|script| *script = script.clone().over_sse());
        for _ in 0..2 {
            vendor.fault(On::Method("GET"), stream(format!("event: endpoint\ndata: {address}\n\n")));
        }
        let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
        serve.initialize();
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31005, "{address}: {error}");
        assert!(!error.to_string().contains("/messages"), "what the server writes is not for the model: {error}");
        assert!(vendor.records_at("/messages").is_empty(), "{address}");
        // The next attempt finds the server well.
        serve.call("echo", json!({"message": "hi"})).result();
    }
    assert!(elsewhere.records().is_empty(), "{:?}", seen(&elsewhere));
}

/// t128, a9: a request's deadline runs from one message of the server to the next, and what keeps the stream alive moves it
/// too; not for ever.
#[test]
fn t128_a_request_has_a_deadline() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default().over_sse()));
    sandbox.set("FINMCP_REQUEST_TIMEOUT", "1");
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(400));
        vendor.push(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);
    }
    for _ in 0..5 {
        assert_eq!(serve.next().method().as_deref(), Some("notifications/progress"));
    }
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let alive = thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            thread::sleep(QUIET);
            vendor.say(": keep-alive\n\n");
        }
        vendor
    });
    let begun = Instant::now();
    assert!(serve.answer_to(&call).error()["message"].as_str().unwrap().contains("within 1 s"));
    over.store(true, Ordering::Relaxed);
    assert!((5..14).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // The stream is none the worse for it.
    let vendor = alive.join().unwrap();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(vendor.records().iter().filter(|record| record.method == "GET").count(), 1);
}

/// t056, t118: the stream and the messages carry the same token, and a refused one is renewed for either.
#[test]
fn t118_the_token_is_on_the_stream_and_on_the_messages() {
    for on_stream in [false, true] {
        let (mut sandbox, vendor) = signed_in_machine();
        sandbox.set("FINMCP_LOG", "trace");
        vendor.change(|script| *script = script.clone().over_sse());
        let before = vendor.records().len();
        let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
        serve.initialize();
        let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
        eventually("the call", || (vendor.executed() == ["hang"]).then_some(()));
        for record in &vendor.records()[before..] {
            assert!(record.header("authorization").is_some(), "{} {}", record.method, record.path);
        }
        vendor.revoke_access_tokens();
        if on_stream {
            vendor.forget_sessions();
            serve.answer_to(&call).error();
        }
        serve.echo("hi");
        assert_eq!(vendor.records_at("/token").len(), 2, "of the sign-in, and of the renewal");
        assert_eq!(vendor.executed(), ["hang", "echo"]);
        let count = |path: &str| vendor.records_at(path).len();
        // The two questions at first; a stream, and another twice; the handshake and the calls, all of it or one
        // call twice.
        assert_eq!((count("/mcp"), count("/messages")), if on_stream { (2 + 1 + 2, 3 + 3) } else { (2 + 1, 3 + 2) });
        serve.close_stdin();
        serve.exit_within(SOON);
        sandbox.assert_no_secret(&vendor.secrets());
    }
}
