//! Batches of JSON-RPC 2.0 (MCP 2025-03-26).

use super::*;

/// Row A9: comments and events that say nothing keep a call going; single bytes do not, and nothing does for ever.
#[test]
fn a9_comments_on_a_calls_stream_extend_its_deadline() {
    let pause = Duration::from_millis(300);
    thread::scope(|scope| {
        for (era, beat) in [
            (Era::Legacy, ": keep-alive\n\n"),
            (Era::Modern, ":\n"),
            (Era::Modern, "event: ping\ndata: 1\n\n"),
            (Era::Legacy, "data: ping\n\n"),
        ] {
            scope.spawn(move || {
                let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..Script::default() }));
                let mut serve = sandbox.serve([&vendor.url(), "--timeout", "2"]);
                serve.greet(era).result();
                let mut parts = vec![beat.to_owned(); 15];
                parts.push("data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n".to_owned());
                vendor.fault(On::Rpc("tools/call"), Effect::Drip(parts, pause));
                let begun = Instant::now();
                serve.call_in(era, "echo", json!({})).result();
                assert!(begun.elapsed() > Duration::from_secs(4), "{beat:?}");
            });
        }
        for (beat, limit) in [("x", 2..6), ("\n", 2..6), (": keep-alive\n\n", 12..18)] {
            scope.spawn(move || {
                let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
                let seconds = if limit.start == 2 { "2" } else { "1" };
                let mut serve = sandbox.serve([&vendor.url(), "--timeout", seconds]);
                serve.initialize();
                let parts = [": whole\n\n", "data: "].iter().map(|part| (*part).to_owned());
                let parts = if beat == "x" { parts.collect() } else { Vec::new() };
                let parts = [parts, vec![beat.to_owned(); 100]].concat();
                vendor.fault(On::Rpc("tools/call"), Effect::Drip(parts, pause));
                let begun = Instant::now();
                let error = serve.call("echo", json!({})).error();
                assert!(error["message"].as_str().unwrap().contains("did not respond"), "{error}");
                assert!(limit.contains(&begun.elapsed().as_secs()), "{beat:?}: {:?}", begun.elapsed());
            });
        }
    });
}

/// A client of the revision that has batches.
fn open_with_batches(server: Era) -> (Sandbox, Vendor, Serve) {
    let (sandbox, vendor, mut serve) = open_bridge(Script { era: server, ..Script::default() });
    greet_as(&mut serve, "2025-03-26");
    (sandbox, vendor, serve)
}

fn greet_as(serve: &mut Serve, revision: &str) {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
    assert_eq!(serve.request("initialize", params).result()["protocolVersion"], revision);
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
}

fn echo(id: &str, text: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{text}"}}}}}}"#
    )
}

/// The next line, which is an array of responses: by their ids.
fn next_batch(serve: &mut Serve) -> BTreeMap<String, serde_json::Value> {
    let line = serve.next().raw;
    let responses: Vec<serde_json::Value> =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(responses.iter().all(|response| response["jsonrpc"] == "2.0"), "{line}");
    responses.into_iter().map(|response| (response["id"].to_string(), response)).collect()
}

/// Row A18: a batch reaches the server message by message, each once, and its responses come back together.
#[test]
fn a18_a_batch_is_answered_as_a_batch() {
    for server in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_with_batches(server);
        let list = r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#;
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        serve.send(format!("[{}, {notification}, {list},{}]", echo("70", "a"), echo("\"b\"", "b")));
        let answers = next_batch(&mut serve);
        assert_eq!(answers.keys().collect::<Vec<_>>(), [r#""b""#, r#""l""#, "70"], "{server:?}");
        assert_eq!(answers["70"]["result"]["content"][0]["text"], "a");
        assert_eq!(answers[r#""b""#]["result"]["content"][0]["text"], "b");
        assert!(answers[r#""l""#]["result"]["tools"].is_array());
        assert_eq!(vendor.executed().len(), 2);
        assert!(vendor.records().iter().all(|record| !record.text().trim_start().starts_with('[')));
        // What is alone is answered alone, and so is the client once it is no batch any more.
        serve.request("ping", json!({})).result();
        assert!(serve.rest(QUIET).is_empty());
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// Row A18: at most once and in the array, whatever is wrong with a part or becomes of it.
#[test]
fn a18_each_request_of_a_batch_has_one_answer() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = sandbox.watched().join("audit.jsonl");
    let mut serve = sandbox.serve([&vendor.url(), "--deny-tool", "roots", "--audit-log", log.to_str().unwrap()]);
    greet_as(&mut serve, "2025-03-26");
    vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
    serve.send(format!("[{}]", echo("70", "a")));
    assert_eq!(next_batch(&mut serve)["70"]["error"]["code"], OUTCOME_UNKNOWN);
    assert_eq!(vendor.executed(), ["echo"]);
    let denied = echo("71", "x").replace("\"echo\"", "\"roots\"");
    serve.send(format!(r#"[{denied},{},7,{},{{"jsonrpc":"2.0","id":73}}]"#, echo("72", "b"), echo("72", "again")));
    let line = serve.next().raw;
    let answers: Vec<serde_json::Value> = serde_json::from_str(&line).unwrap();
    let mut told: Vec<_> =
        answers.iter().map(|answer| format!("{} {}", answer["id"], answer["error"]["code"])).collect();
    told.sort();
    assert_eq!(told, ["71 -32602", "72 -32600", "72 null", "73 -32600", "null -32600"], "{line}");
    assert_eq!(vendor.executed(), ["echo", "echo"]);
    let outcomes: Vec<_> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["unknown", "refused", "ok"]);
    // A cancelled request holds up no other, and the end answers the rest.
    let hang = |id: &str| echo(id, "").replace("\"echo\"", "\"hang\"");
    serve.send(format!("[{},{}]", hang("80"), echo("81", "c")));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some("80"));
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":80}}"#);
    assert_eq!(next_batch(&mut serve).into_keys().collect::<Vec<_>>(), ["81"]);
    serve.send(format!("[{},{}]", hang("90"), echo("91", "d")));
    vendor.wait_for("the call", |record| record.rpc_id().as_deref() == Some("90"));
    serve.close_stdin();
    let answers = next_batch(&mut serve);
    assert_eq!(answers["91"]["result"]["content"][0]["text"], "d");
    assert_eq!(answers["90"]["error"]["code"], OUTCOME_UNKNOWN);
}

/// Row A18: what asks for nothing is not answered; what is no batch, and a batch of another revision, is refused as
/// ever.
#[test]
fn a18_only_one_revision_has_batches() {
    let (_sandbox, vendor, mut serve) = open_with_batches(Era::Legacy);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    serve.send(format!("[{notification},{notification}]"));
    vendor.wait_for("the notifications", |record| record.text() == notification);
    for bad in ["[]", "[", " [ ] ", "[1,"] {
        serve.send(bad);
        let refusal = serve.next();
        assert!(refusal.json()["id"].is_null() && matches!(refusal.error()["code"].as_i64(), Some(-32700 | -32600)));
    }
    assert!(serve.rest(QUIET).is_empty());
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
        greet_as(&mut serve, revision);
        serve.send(format!("[{}]", echo("70", "a")));
        let refusal = serve.next();
        assert!(refusal.json()["id"].is_null() && refusal.error()["code"] == -32600, "{revision}: {}", refusal.raw);
        serve.request("ping", json!({})).result();
        assert!(vendor.executed().is_empty());
    }
}
