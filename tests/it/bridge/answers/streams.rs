//! Streams, headers and refusals that deviate from the specification.

use super::*;

fn stream(text: impl Into<Vec<u8>>) -> Effect {
    Effect::Answer(Reply::new(200).body("text/event-stream", text))
}

/// Row A5: what comes before the answer and is no message, and that what comes behind is none either.
#[test]
fn a5_heartbeats_in_a_calls_stream_are_skipped() {
    let answer = r#"{"jsonrpc":"2.0","id":2,"result":{"n":1.10}}"#;
    for era in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
        serve.greet(era).result();
        for beat in [
            "data: ping",
            "data: {}",
            "data: []",
            "data: \"ping\"",
            "data:",
            ": x",
            "event: ping\ndata: {}",
            "data: {\"type\":\"heartbeat\"}",
            "data: {",
            "data: 12:00\nid: 7",
            "retry: 9",
        ] {
            let id = serve.post_in(era, "ping/none", json!({}));
            serve.answer_to(&id).error();
            let next = id.parse::<u64>().unwrap() + 1;
            let answer = answer.replace(":2,", &format!(":{next},"));
            vendor.fault(On::Rpc("tools/call"), stream(format!("{beat}\n\n{beat}\n\ndata: {answer}\n\n{beat}\n\n")));
            assert_eq!(serve.call_in(era, "echo", json!({})).raw, answer, "{era:?} {beat}");
        }
        // The answer does not come: what the server meant by the rest decides what is said.
        for (text, said) in
            [("data: ping\n\n", "response ended without"), ("data: {\"id\":\n\n", "not a JSON-RPC message")]
        {
            vendor.fault(On::Rpc("tools/call"), stream(text));
            let error = serve.call_in(era, "echo", json!({})).error();
            assert!(error["code"] == OUTCOME_UNKNOWN && error["message"].as_str().unwrap().contains(said), "{error}");
        }
        assert!(serve.rest(QUIET).is_empty());
    }
}

/// Row A4: on one stream, the answer with the right id is the answer, whatever else comes; what names another
/// request that waits is for that one; and where there are two that name none, it is unknown.
#[test]
fn a4_a_response_goes_to_the_request_that_it_means() {
    let result =
        |id: &str, text: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"t\":\"{text}\"}}}}\n\n");
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    vendor.fault(On::Rpc("tools/call"), stream([result("999", "stray"), result("2", "right")].concat()));
    assert_eq!(serve.call("echo", json!({})).result()["t"], "right");
    vendor.fault(
        On::Rpc("tools/call"),
        stream([result("3", "right"), result("null", "late"), result("3", "late")].concat()),
    );
    assert_eq!(serve.call("echo", json!({})).result()["t"], "right");
    vendor.fault(On::Rpc("tools/call"), stream([result("998", "stray"), result("999", "stray")].concat()));
    assert_eq!(serve.call("echo", json!({})).error()["code"], OUTCOME_UNKNOWN);
    // Number 5 waits; its answer comes in that to number 6, which has none.
    let waiting = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(&waiting));
    vendor.fault(On::Rpc("tools/call"), stream(result(&waiting, "other")));
    assert_eq!(serve.call("echo", json!({})).error()["code"], OUTCOME_UNKNOWN);
    assert_eq!(serve.answer_to(&waiting).result()["t"], "other");
    assert!(serve.rest(QUIET).is_empty());
}

/// Row A4: over HTTP+SSE, an answer that cannot be read is that to the only request that waits, at once; and an id of
/// another type is taken for the only request that it can mean.
#[test]
fn a4_an_unreadable_answer_on_the_stream_ends_the_wait() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().over_sse());
    serve.initialize();
    for text in [r#"{"jsonrpc":"2.0","id":2,"result":{"n":NaN}}"#, r#"{"jsonrpc":"2.0","id":"@ID@"}"#] {
        let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
        vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(&call));
        vendor.push(text.replace("@ID@", &call));
        assert_eq!(serve.answer_to(&call).error()["code"], OUTCOME_UNKNOWN, "{text}");
    }
    let (number, text) = ("71", "\"71\"");
    for id in [number, text] {
        serve.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"hang","arguments":{{}}}}}}"#
        ));
        vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some(id));
    }
    vendor.push(r#"{"jsonrpc":"2.0","id":71.0,"result":{"of":"none"}}"#);
    vendor.push(r#"{"jsonrpc":"2.0","id":"71","result":{"of":"text"}}"#);
    vendor.push(r#"{"jsonrpc":"2.0","id":71.0,"result":{"of":"number"}}"#);
    assert_eq!(serve.answer_to(text).result()["of"], "text");
    assert_eq!(serve.answer_to(number).result()["of"], "number");
    assert!(serve.rest(QUIET).is_empty());
}

/// Row A5: what a server calls its JSON.
#[test]
fn a5_json_is_accepted_under_any_content_type() {
    for era in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
        serve.greet(era).result();
        let answer = r#"{"jsonrpc":"2.0","id":null,"result":{"n":1.10}}"#;
        for kind in [
            "text/plain",
            "text/plain; charset=utf-8",
            "application/octet-stream",
            "application/json-rpc",
            "text/json",
            "",
        ] {
            let reply = Reply::new(200);
            let reply = if kind.is_empty() { reply.untyped(answer) } else { reply.body(kind, answer) };
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(reply));
            assert!(serve.call_in(era, "echo", json!({})).raw.contains(r#""n":1.10"#), "{kind}");
        }
        for (kind, body) in
            [("text/html", answer), ("application/xhtml+xml", answer), ("text/plain", "Welcome"), ("image/png", "{}")]
        {
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(200).body(kind, body)));
            let error = serve.call_in(era, "echo", json!({})).error();
            let text = error["message"].as_str().unwrap();
            assert!(
                error["code"] == OUTCOME_UNKNOWN && text.contains(&format!("expected MCP, got {kind}")),
                "{kind}: {text}"
            );
        }
    }
}

/// Rows A4 and A5: an error status with such a body, at the handshake and at a call.
#[test]
fn a4_the_error_in_a_refusal_is_valid_too() {
    for (body, code, text) in [
        (r#"{"jsonrpc":"2.0","id":"server-error","error":"e"}"#, INTERNAL, "e"),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000}}"#, -32000, NO_TEXT),
        ("\u{feff}[{\"jsonrpc\":\"2.0\",\"error\":{\"code\":\"-7\",\"message\":\"e\"}}]", -7, "e"),
    ] {
        for era in [Era::Legacy, Era::Modern] {
            let (_sandbox, vendor, mut serve) = open_bridge(Script { era, sessions: false, ..Script::default() });
            serve.greet(era).result();
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(422).body("application/json", body)));
            let line = serve.call_in(era, "echo", json!({})).raw;
            let answer = check::response(&line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
            assert!(answer.error.is_some_and(|(told, said)| told == code && said.contains(text)), "{line}");
        }
    }
}

/// Row A5: a session id is sent back as long as it may be; one that is longer opens no session.
#[test]
fn a5_session_ids_may_be_long() {
    for (length, taken) in [(1, true), (1025, true), (8 << 10, true), ((8 << 10) + 1, false)] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { sessions: false, ..Script::default() });
        let id = "~".repeat(length);
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"}}}"#;
        let reply = Reply::new(200).header("mcp-session-id", &id).body("application/json", answer);
        vendor.fault(On::Rpc("initialize"), Effect::Answer(reply));
        let greeting = serve.initialize();
        if taken {
            greeting.result();
            serve.call("echo", json!({})).result();
            assert_eq!(vendor.calls("tools/call")[0].header("mcp-session-id"), Some(&*id));
        } else {
            assert!(vendor.records().iter().all(|record| record.header("mcp-session-id").is_none()));
        }
    }
}

/// Row A5: a mark in front of the client's lines is nothing.
#[test]
fn a5_a_byte_order_mark_on_stdin_is_skipped() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    serve.write(format!("\u{feff}{initialize}\r\n\u{feff}\r\n").as_bytes());
    serve.answer_to("1").result();
    serve.send("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}");
    serve.answer_to("2").result();
    assert!(serve.rest(QUIET).is_empty());
}
