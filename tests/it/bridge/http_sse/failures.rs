//! Streams that do not open, stay silent, end or never end, and sessions that are lost.

use super::*;

/// A server whose stream is `beginning` and then what `stream` writes, again and again. Counts the bytes of that.
fn talker(beginning: &'static str, stream: fn(&mut TcpStream) -> std::io::Result<usize>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let answer = move |mut peer: TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(peer.try_clone()?);
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line)? > 2 {
            head.push_str(&std::mem::take(&mut line).to_ascii_lowercase());
        }
        if head.starts_with("post") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            reader.read_exact(&mut vec![0; length.unwrap_or(0)])?;
            let status = if head.starts_with("post /messages") { "202 yes" } else { "405 no" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return peer.write_all(answer.as_bytes());
        }
        peer.write_all(b"HTTP/1.1 200 yes\r\ncontent-type: text/event-stream\r\n\r\n")?;
        peer.write_all(beginning.as_bytes())?;
        loop {
            count.fetch_add(stream(&mut peer)?, Ordering::Relaxed);
        }
    };
    thread::spawn(move || {
        for peer in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || answer(peer));
        }
    });
    (url, written)
}

/// t125: a first event without an end, be it one line or many, is given up early.
#[test]
fn t125_an_endless_first_event_ends_the_stream() {
    const PIECE: &[u8] = &[b'x'; 4096];
    let endless: [fn(&mut TcpStream) -> std::io::Result<usize>; 3] = [
        |peer| peer.write_all(PIECE).map(|()| PIECE.len()),
        |peer| peer.write_all(b"data: x\r\n").map(|()| 9),
        |peer| peer.write_all(b": keep-alive\n\n").map(|()| 14),
    ];
    for stream in endless {
        let (url, written) = talker("", stream);
        let mut serve = Sandbox::new().serve([url]);
        let error = serve.initialize().error();
        assert!(error["message"].as_str().unwrap().contains("HTTP 405"), "{error}");
        eventually("the end of the stream", || {
            let before = written.load(Ordering::Relaxed);
            thread::sleep(QUIET);
            (written.load(Ordering::Relaxed) == before).then_some(())
        });
        // What was read, and what the sockets hold.
        assert!(written.load(Ordering::Relaxed) < 32 << 20, "{written:?}");
    }
}

/// t125: a message without an end is given up as in the other transport.
#[test]
fn t125_an_endless_message_ends_the_stream() {
    const PIECE: &[u8] = &[b'x'; 1 << 20];
    let (url, written) =
        talker("event: endpoint\ndata: /messages\n\ndata: ", |peer| peer.write_all(PIECE).map(|()| PIECE.len()));
    let mut serve = Sandbox::new().serve([url]);
    serve.initialize();
    let error = serve.request("tools/list", json!({})).error();
    assert!(error["message"].as_str().unwrap().contains("larger than 256 MiB"), "{error}");
    assert!(written.load(Ordering::Relaxed) < 2 * (300 << 20), "{written:?}");
}

/// A stream that opens and stays silent, whatever keeps it alive: what was said before is the answer, and in a while.
#[test]
fn a_silent_stream_times_out() {
    let (url, _) = talker("", |peer| {
        thread::sleep(QUIET);
        peer.write_all(b":\n\n").map(|()| 3)
    });
    let begun = Instant::now();
    let mut serve = Sandbox::new().serve([url]);
    serve.initialize().result();
    assert!(begun.elapsed() < Duration::from_secs(5), "the client is not kept waiting for it");
    assert!(serve.request("tools/list", json!({})).raw.contains("HTTP 405"));
}

/// One that does not even open.
#[test]
fn a_stream_that_does_not_open_times_out() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default().over_sse()));
    sandbox.set("FINMCP_REQUEST_TIMEOUT", "1");
    vendor.fault(On::Method("GET"), Effect::Delay(Duration::from_secs(60)));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    assert!(serve.request("tools/list", json!({})).raw.contains("HTTP 405"));
    // And the next request asks again.
    serve.echo("hi");
}

/// t114, t123: a call whose stream is cut is not made again; what comes next opens a new session.
#[test]
fn t123_a_cut_stream_leaves_the_outcome_open() {
    for is_modern in [false, true] {
        let (_sandbox, vendor, mut serve) = bridge();
        let (call, list) = if is_modern {
            serve.request("server/discover", modern(json!({}))).result();
            let call = serve.post("tools/call", modern(json!({"name": "hang", "arguments": {}})));
            (call, serve.post("tools/list", modern(json!({}))))
        } else {
            serve.initialize();
            let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
            (call, serve.post("tools/list", json!({})))
        };
        serve.answer_to(&list).result();
        eventually("the call", || (vendor.executed().len() == 1).then_some(()));
        vendor.forget_sessions();
        let error = serve.answer_to(&call).error();
        assert_eq!(error["code"], -31010, "{error}");
        let arguments = json!({"message": "hi"});
        let answer = if is_modern { serve.call_modern("echo", arguments) } else { serve.call("echo", arguments) };
        assert_eq!(answer.result()["content"][0]["text"], "hi");
        assert_eq!(vendor.executed(), ["hang", "echo"]);
        assert_eq!(vendor.calls("tools/call").len(), 2, "what had no session was not sent");
        let handshakes: Vec<_> =
            vendor.calls("initialize").into_iter().filter(|record| record.path == "/messages").collect();
        assert_eq!(handshakes.len(), 2);
        assert_eq!(handshakes[0].text(), handshakes[1].text(), "the client's own");
        assert_ne!(handshakes[0].query, handshakes[1].query);
        assert!(serve.rest(QUIET).is_empty());
        assert_eq!(vendor.stream_count(), 1);
    }
}

/// a5: what cannot be read is the answer to the only request that waits, and the stream goes on.
#[test]
fn a5_garbage_on_the_stream_does_not_end_it() {
    let (_sandbox, vendor, mut serve) = bridge();
    serve.initialize();
    let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
    eventually("the call", || (vendor.executed().len() == 1).then_some(()));
    vendor.push("{nonsense");
    let error = serve.answer_to(&call).error();
    assert_eq!(error["code"], -31010);
    assert!(error["message"].as_str().unwrap().contains("not a JSON-RPC message"), "{error}");
    vendor.push("nonsense");
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(vendor.stream_count(), 1);
    assert_eq!(vendor.records().iter().filter(|record| record.method == "GET").count(), 1);
}

/// t119: a message that the server refuses for want of a session is sent once more, in a new one.
#[test]
fn t119_a_session_that_the_server_does_not_know_is_opened_again() {
    let (_sandbox, vendor, mut serve) = bridge();
    serve.initialize();
    let call = serve.post("tools/call", json!({"name": "roots", "arguments": {}}));
    serve.incoming("roots/list");
    vendor.fault(On::Rpc("tools/call"), Effect::status(404));
    serve.echo("hi");
    assert_eq!(vendor.executed(), ["roots", "echo"]);
    assert_eq!(vendor.calls("tools/call").len(), 3);
    // What the server took before is still answered, where it was asked.
    assert_eq!(vendor.stream_count(), 2);
    serve.send(r#"{"jsonrpc":"2.0","id":"vendor-1","result":{"roots":[]}}"#);
    serve.answer_to(&call).result();
    eventually("the end of the first stream", || (vendor.stream_count() == 1).then_some(()));
    serve.echo("again");
    assert!(serve.rest(QUIET).is_empty());
}

/// A handshake that is refused at the address for messages has come to nothing, and the next may not.
#[test]
fn a_handshake_that_is_refused_is_not_waited_for() {
    for (status, said) in [(404, "HTTP 405"), (500, "HTTP 500")] {
        let (_sandbox, vendor, mut serve) = bridge();
        vendor.fault(On::Path("/messages"), Effect::status(status));
        let mut answer = serve.initialize();
        if answer.json().get("error").is_none() {
            // The client has been answered for the server; its next request asks again.
            vendor.fault(On::Path("/messages"), Effect::status(status));
            answer = serve.request("tools/list", json!({}));
        }
        assert!(answer.raw.contains(said), "{}", answer.raw);
        serve.initialize().result();
        serve.call("echo", json!({"message": "hi"})).result();
    }
}

/// t119: for ever is too often.
#[test]
fn t119_a_message_is_sent_again_once() {
    let (_sandbox, vendor, mut serve) = bridge();
    serve.initialize();
    for _ in 0..4 {
        vendor.fault(On::Rpc("tools/call"), Effect::status(404));
    }
    assert!(serve.call("echo", json!({"message": "hi"})).raw.contains("HTTP 404"));
    assert_eq!(vendor.calls("tools/call").len(), 2);
    assert!(vendor.executed().is_empty());
}

/// t114: the answer on the stream is what counts, whatever the POST comes to: nothing is done twice.
#[test]
fn t114_a_call_that_was_answered_is_not_sent_again() {
    for effect in [
        Effect::AnswerAfter(Reply::new(404)),
        Effect::AnswerAfter(Reply::new(500)),
        Effect::AnswerAfter(Reply::new(202)),
    ] {
        let (_sandbox, vendor, mut serve) = bridge();
        serve.initialize();
        vendor.fault(On::Rpc("tools/call"), effect);
        serve.echo("hi");
        // The answer to the POST has come by then.
        let later = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
        assert!(serve.rest(Duration::from_secs(1)).is_empty());
        assert_eq!(vendor.executed(), ["echo", "hang"]);
        assert_eq!(vendor.calls("tools/call").len(), 2);
        serve.close_stdin();
        serve.answer_to(&later).error();
    }
}

/// t114: whatever the POST comes to otherwise, it is made once.
#[test]
fn t114_a_call_that_may_have_been_received_is_not_sent_again() {
    for effect in [Effect::CutBefore, Effect::status(408), Effect::status(500), Effect::status(503)] {
        let (_sandbox, vendor, mut serve) = bridge();
        serve.initialize();
        serve.request("ping", json!({})).result();
        vendor.fault(On::Rpc("tools/call"), effect.clone());
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(error["code"], -31010, "{effect:?}");
        assert_eq!(vendor.calls("tools/call").len(), 1, "{effect:?}");
        serve.echo("again");
    }
}

/// A client that starts again gets a new session, and the old one ends.
#[test]
fn a_new_handshake_ends_the_stream_before() {
    let (_sandbox, vendor, mut serve) = bridge();
    for _ in 0..3 {
        serve.initialize();
        serve.call("echo", json!({"message": "hi"})).result();
        eventually("the end of the stream before", || (vendor.stream_count() == 1).then_some(()));
    }
}
