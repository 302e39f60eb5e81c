//! `finmcp serve`: what crosses the bridge, in both eras.

use serde_json::json;

use crate::{
    commands::{login::CLIENT_SECRET, token::signed_in_machine},
    support::{
        eventually,
        sandbox::Sandbox,
        serve::{Serve, modern},
        vendor::{Answer, Effect, On, Reply, Script, Vendor},
    },
};

/// A bridge to a vendor that asks for no authorization.
pub fn open_bridge(script: Script) -> (Sandbox, Vendor, Serve) {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let serve = sandbox.serve([vendor.url()]);
    (sandbox, vendor, serve)
}

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_machine_that_is_signed_in_lists_and_calls_tools() {
    let (sandbox, vendor) = signed_in_machine();
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    assert_eq!(serve.initialize().result()["serverInfo"]["name"], "test vendor");
    assert_eq!(serve.request("tools/list", json!({})).result()["tools"][0]["name"], "echo");
    serve.echo("hi");
    assert_eq!(vendor.records_at("/token").len(), 1, "the token of the sign-in serves the bridge too");
    assert_eq!(vendor.complaints(), NOTHING);
    serve.close_stdin();
    serve.exit_within(std::time::Duration::from_secs(2));
    sandbox.assert_no_secret(&vendor.secrets());
}

/// t095: not at the most talkative level either.
#[test]
fn t095_nothing_secret_is_logged_at_any_level() {
    let (mut sandbox, vendor) = signed_in_machine();
    sandbox.set("FINMCP_LOG", "trace");
    sandbox.set("RUST_LOG", "trace");
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize();
    vendor.revoke_access_tokens();
    serve.call("echo", json!({"message": "hi"})).result();
    serve.close_stdin();
    serve.exit_within(std::time::Duration::from_secs(2));
    // It is not silent either: what a support case needs is there.
    let said = serve.stderr();
    for word in ["received from the client method=\"tools/call\"", "host=\"127.0.0.1", "status=401", "status=200"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh"]).expect_success();
    assert!(vendor.secrets().contains(&CLIENT_SECRET.to_owned()));
    sandbox.assert_no_secret(&vendor.secrets());
}

/// A server without authorization needs no sign-in and no credential store.
#[test]
fn an_open_server_needs_no_sign_in() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    // A store that cannot work: it is not to be touched.
    sandbox.set("FINMCP_STORE_KEY_FILE", "/nonexistent/key");
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    serve.echo("hi");
    assert!(vendor.records().iter().all(|record| record.path == "/mcp"), "{:?}", vendor.records());
}

#[test]
fn answers_come_as_json_or_as_events() {
    for answer in [Answer::Json, Answer::Events] {
        for era in [Script::default(), Script::default().modern()] {
            let (_sandbox, vendor, mut serve) = open_bridge(Script { answer, ..era.clone() });
            let text = match era.era {
                crate::support::vendor::Era::Legacy => {
                    serve.initialize();
                    serve.call("echo", json!({"message": "hi"})).result()
                }
                crate::support::vendor::Era::Modern => serve.call_modern("echo", json!({"message": "hi"})).result(),
            };
            assert_eq!(text["content"][0]["text"], "hi", "{answer:?}");
            assert_eq!(vendor.complaints(), NOTHING, "{answer:?}");
        }
    }
}

/// The five requests of a legacy session up to its first result, in order, and the session id and version on all but
/// the first.
#[test]
fn a_legacy_session_is_opened_once() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    serve.request("tools/list", json!({}));
    serve.call("echo", json!({"message": "hi"}));
    let seen: Vec<String> =
        vendor.records().iter().map(|record| record.rpc_method().unwrap_or_else(|| record.method.clone())).collect();
    assert_eq!(seen, ["initialize", "notifications/initialized", "GET", "tools/list", "tools/call"]);
    assert_eq!(vendor.session_count(), 1);
    assert_eq!(vendor.complaints(), NOTHING);
}

#[test]
fn nothing_is_sent_before_the_client_speaks() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    // A second bridge has been through a whole session by then.
    let other = Sandbox::new();
    let mut busy = other.serve([vendor.url()]);
    busy.initialize();
    assert!(serve.is_running());
    assert_eq!(vendor.calls("initialize").len(), 1);
    serve.initialize();
    assert_eq!(vendor.calls("initialize").len(), 2);
}

#[test]
fn a_server_without_a_get_stream_is_asked_once() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script { get_stream: false, ..Script::default() });
    serve.initialize();
    for _ in 0..3 {
        serve.call("echo", json!({"message": "hi"})).result();
    }
    assert_eq!(vendor.records().iter().filter(|record| record.method == "GET").count(), 1);
}

#[test]
fn a_server_without_sessions_gets_no_session_id() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script { sessions: false, ..Script::default() });
    serve.initialize();
    serve.call("echo", json!({"message": "hi"})).result();
    assert!(vendor.records().iter().all(|record| record.header("mcp-session-id").is_none()));
    serve.close_stdin();
    serve.exit_within(std::time::Duration::from_secs(2));
    assert!(vendor.records().iter().all(|record| record.method != "DELETE"));
}

/// t125: events of other types than `message` are no messages; some servers keep a stream alive with them.
#[test]
fn t125_events_without_a_message_are_skipped() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let stream = "event: ping\ndata: 12:00\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n";
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(200).body("text/event-stream", stream)));
    assert_eq!(serve.call("echo", json!({})).raw, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
}

/// What the server asks on its GET stream reaches the client, and the client's answer the server.
#[test]
fn the_server_asks_the_client_on_the_get_stream() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script { asks_for_roots: true, ..Script::default() });
    serve.initialize();
    let question = serve.incoming("roots/list");
    assert_eq!(question.raw, r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#);
    let answer = r#"{"result":{"roots":[{"uri":"file:///a","x":1.10}]},"jsonrpc":"2.0","id":0}"#;
    serve.send(answer);
    vendor.wait_for("the client's answer", |record| record.text() == answer);
    assert_eq!(vendor.complaints(), NOTHING);
}

/// What the server asks in the middle of a call, on that call's own stream.
#[test]
fn the_server_asks_the_client_in_the_middle_of_a_call() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let call = serve.post("tools/call", json!({"name": "roots", "arguments": {}}));
    assert_eq!(serve.incoming("roots/list").id(), Some(r#""vendor-1""#));
    let answer = r#"{"jsonrpc":"2.0","id":"vendor-1","result":{"roots":[]}}"#;
    serve.send(answer);
    assert_eq!(serve.answer_to(&call).result()["content"][0]["text"], answer);
}

#[test]
fn the_servers_notifications_reach_the_client() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":1e2}}"#;
    vendor.push(notification);
    assert_eq!(serve.incoming("notifications/tools/list_changed").raw, notification);
}

#[test]
fn progress_comes_before_the_result_whole_and_in_order() {
    for era in [Script::default(), Script::default().modern()] {
        let is_modern = era.era == crate::support::vendor::Era::Modern;
        let (_sandbox, vendor, mut serve) = open_bridge(era);
        let mut params = json!({"name": "progress", "arguments": {"count": 500}, "_meta": {"progressToken": "t-1"}});
        if is_modern {
            params = modern(params);
        } else {
            serve.initialize();
        }
        let id = serve.post("tools/call", params);
        for step in 1..=500 {
            let message = serve.next().json();
            assert_eq!(message["params"]["progress"], step);
            assert_eq!(message["params"]["progressToken"], "t-1");
        }
        assert!(serve.next().answers(&id));
        assert_eq!(vendor.complaints(), NOTHING);
    }
}

/// t104: the same number as a number and as a string are two ids; answers find their requests whatever their order.
#[test]
fn t104_ids_keep_their_spelling() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let ids = ["7", "\"7\"", "-7", "12345678901234567890123", "\"\\ud83d\\ude00\"", "\"\""];
    for id in ids {
        serve.send(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":{}}}}}}}"#,
            serde_json::to_string(id).unwrap()
        ));
    }
    for id in ids {
        assert_eq!(serve.answer_to(id).result()["content"][0]["text"], id);
    }
    assert!(serve.rest(std::time::Duration::from_millis(100)).is_empty());
}

#[test]
fn a_modern_request_is_one_post_with_the_headers_of_its_body() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().modern());
    let discovered = serve.request("server/discover", modern(json!({}))).result();
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    serve.request("tools/list", modern(json!({}))).result();
    assert_eq!(serve.call_modern("echo", json!({"message": "hi"})).result()["content"][0]["text"], "hi");
    // A name that is no header value: the vendor decodes it, and compares.
    let unknown = serve.call_modern("größe\n", json!({})).error();
    assert_eq!(unknown["message"], "Unknown tool");
    assert_eq!(vendor.complaints(), NOTHING);
    assert_eq!(vendor.records().len(), 4, "no session, no stream, no probe");
    assert!(vendor.records().iter().all(|record| record.header("mcp-session-id").is_none()));
    let call = &vendor.calls("tools/call")[0];
    assert_eq!(call.header("mcp-name"), Some("echo"));
}

/// t120: an unknown method is a 404 in this era, and still an answer.
#[test]
fn t120_an_unknown_modern_method_is_the_servers_own_error() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().modern());
    serve.request("server/discover", modern(json!({}))).result();
    assert_eq!(serve.request("no/such", modern(json!({}))).error()["code"], -32601);
    assert_eq!(vendor.calls("initialize").len(), 0);
}

#[test]
fn a_modern_subscription_is_acknowledged_and_ends_when_it_is_cancelled() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().modern());
    serve.request("server/discover", modern(json!({}))).result();
    let id = serve.post("subscriptions/listen", modern(json!({"notifications": {"toolsListChanged": true}})));
    serve.incoming("notifications/subscriptions/acknowledged");
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":2}}}"#;
    vendor.push(notification);
    assert_eq!(serve.incoming("notifications/tools/list_changed").raw, notification);
    serve.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id.parse::<u64>().unwrap()}}).to_string());
    eventually("the end of the stream", || (vendor.stream_count() == 0).then_some(()));
    // The cancellation itself is the closed stream: nothing is posted.
    serve.call_modern("echo", json!({"message": "hi"})).result();
    assert_eq!(vendor.complaints(), NOTHING);
}

/// A subscription says nothing while nothing changes: that is no reason to end it.
#[test]
fn a_quiet_subscription_outlives_the_deadline_of_requests() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default().modern()));
    sandbox.set("FINMCP_REQUEST_TIMEOUT", "1");
    let mut serve = sandbox.serve([vendor.url()]);
    serve.post("subscriptions/listen", modern(json!({"notifications": {"toolsListChanged": true}})));
    serve.incoming("notifications/subscriptions/acknowledged");
    // A request that hangs is given up meanwhile, so the deadline has passed.
    assert!(serve.call_modern("hang", json!({})).raw.contains("within 1 s"));
    assert!(serve.rest(std::time::Duration::from_millis(200)).is_empty());
    assert_eq!(vendor.stream_count(), 1);
}

/// t100, t102: what is not a message gets an error, and the next message is none the worse.
#[test]
fn t100_malformed_lines_are_refused_one_by_one() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    for bad in [
        "{",
        "nonsense",
        "[]",
        r#"[{"jsonrpc":"2.0","id":90,"method":"tools/call","params":{"name":"echo"}}]"#,
        "1",
        "\"x\"",
    ] {
        serve.send(bad);
        let refusal = serve.next();
        assert_eq!(refusal.json()["id"], serde_json::Value::Null, "{bad}: {}", refusal.raw);
        assert!(matches!(refusal.error()["code"].as_i64(), Some(-32700 | -32600)), "{bad}: {}", refusal.raw);
    }
    // Empty lines are nothing at all, and a carriage return before the line's end is white space.
    serve.write(b"\n\r\n\n");
    serve.write(b"{\"jsonrpc\":\"2.0\",\"id\":91,\"method\":\"ping\"}\r\n");
    assert_eq!(serve.answer_to("91").result(), json!({}));
    assert!(vendor.executed().is_empty());
    assert!(serve.rest(std::time::Duration::from_millis(100)).is_empty());
}

/// t137: many bridges to one server, each with many calls under way: every answer is for the bridge, and the call, that
/// asked.
#[test]
fn t137_each_answer_reaches_the_bridge_and_call_that_asked() {
    const BRIDGES: usize = 16;
    for script in [Script::default(), Script::default().modern()] {
        let (era, vendor) = (script.era, Vendor::start(script));
        std::thread::scope(|scope| {
            for bridge in 0..BRIDGES {
                let url = vendor.url();
                scope.spawn(move || {
                    let sandbox = Sandbox::new();
                    let mut serve = sandbox.serve([url]);
                    serve.greet(era).result();
                    let say = |call| json!({"name": "echo", "arguments": {"message": format!("{bridge}, {call}")}});
                    let calls: Vec<_> = (0..25).map(|call| serve.post_in(era, "tools/call", say(call))).collect();
                    for (call, id) in calls.iter().enumerate().rev() {
                        let result = serve.answer_to(id).result();
                        assert_eq!(result["content"][0]["text"], format!("{bridge}, {call}"));
                    }
                    assert!(serve.rest(std::time::Duration::from_millis(100)).is_empty());
                });
            }
        });
        assert_eq!(vendor.executed().len(), BRIDGES * 25);
        assert_eq!(vendor.complaints(), NOTHING);
    }
}

/// A program that has not signed in yet: the entry names it, and what proves it. Any number of them sign in once.
#[test]
fn a_program_signs_in_without_a_user() {
    let (sandbox, vendor) = (Sandbox::new(), crate::commands::login::machine_vendor());
    vendor.change(|script| {
        script.publishes_metadata = true;
        script.challenge_points = true;
    });
    let secret = sandbox.give("client-secret", CLIENT_SECRET);
    let url = vendor.url();
    let program = ["--grant", "client-credentials", "--client-id", "x"];
    let with_secret = [&[url.as_str()], &program[..], &["--client-secret-file", secret.to_str().unwrap()]].concat();
    let mut serves = [sandbox.serve(&with_secret), sandbox.serve(&with_secret)];
    for serve in &mut serves {
        serve.initialize().result();
        serve.echo("hi");
    }
    assert_eq!(vendor.records_at("/token").len(), 1);
    sandbox.assert_no_secret(&vendor.secrets());

    // The secret is kept: the next one needs to be told nothing.
    let mut serve = sandbox.serve([&url]);
    serve.initialize().result();
    serve.echo("hi");

    let run = sandbox.finmcp([&["serve", &url], &program[..], &["--client-secret-file", "-"]].concat()).expect_code(2);
    assert!(run.stderr.contains("`serve` cannot read a secret from stdin"), "{}", run.stderr);
}
