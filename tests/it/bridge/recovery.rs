//! What goes wrong above the bridge, and what the client hears of it.

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    commands::{login::machine_vendor, token::signed_in_machine},
    support::{
        eventually,
        sandbox::Sandbox,
        serve::modern,
        vendor::{Effect, On, Reply, Script, Vendor},
    },
};

/// t056, t118: a token that the server no longer takes is renewed once, and the call sent once more.
#[test]
fn t118_a_refused_token_is_renewed_and_the_call_sent_again_once() {
    let (sandbox, vendor) = signed_in_machine();
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize();
    // Once this is answered the GET stream is there, and no other request is on its way.
    serve.request("ping", json!({})).result();
    let before = vendor.records_at("/token").len();
    vendor.revoke_access_tokens();
    serve.echo("hi");
    assert_eq!(vendor.calls("tools/call").len(), 2);
    assert_eq!(vendor.executed(), ["echo"]);
    assert_eq!(vendor.records_at("/token").len(), before + 1);
}

/// t018, t118: a server that refuses every token is asked twice, not for ever.
#[test]
fn t018_a_server_that_refuses_every_token_gets_two_requests() {
    let (sandbox, vendor) = signed_in_machine();
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize();
    // Once this is answered the GET stream is there, and no other request is on its way.
    serve.request("ping", json!({})).result();
    let before = vendor.records_at("/token").len();
    for _ in 0..5 {
        vendor.fault(
            On::Rpc("tools/call"),
            Effect::Answer(Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\"")),
        );
    }
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert!(answer.raw.contains("finmcp login asset --env sandbox"), "{}", answer.raw);
    assert_eq!(vendor.calls("tools/call").len(), 2);
    assert!(vendor.records_at("/token").len() <= before + 1);
    assert!(serve.is_running());
}

/// t119: a session that the server forgot is opened again, once for all calls, each of which runs once.
#[test]
fn t119_a_forgotten_session_is_opened_again_once() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    serve.call("echo", json!({"message": "before"})).result();
    vendor.forget_sessions();
    let calls: Vec<String> =
        (0..5).map(|_| serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}))).collect();
    for call in calls {
        assert_eq!(serve.answer_to(&call).result()["content"][0]["text"], "hi");
    }
    let handshakes = vendor.calls("initialize");
    assert_eq!(handshakes.len(), 2);
    assert_eq!(handshakes[0].json()["params"], handshakes[1].json()["params"], "the client's own parameters");
    assert_eq!(vendor.executed().len(), 6);
    assert!(vendor.calls("tools/call").len() <= 11);
    assert_eq!(vendor.session_count(), 1);
    assert_eq!(vendor.complaints(), Vec::<String>::new());
    assert!(
        serve.rest(std::time::Duration::from_millis(100)).is_empty(),
        "the client sees nothing of the second handshake"
    );
    // And what the server says on its own is heard again.
    vendor.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    serve.incoming("notifications/tools/list_changed");
}

/// t119: what a client has set stands in the session that takes the place of a forgotten one.
#[test]
fn t119_the_clients_settings_carry_over_to_the_next_session() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    serve.request("logging/setLevel", json!({"level": "debug"})).result();
    for uri in ["x:left", "x:kept"] {
        serve.request("resources/subscribe", json!({"uri": uri})).result();
    }
    serve.request("resources/unsubscribe", json!({"uri": "x:left"})).result();
    vendor.forget_sessions();
    serve.call("echo", json!({"message": "hi"})).result();
    let wait = |method: &'static str, parameters: serde_json::Value| {
        let record = vendor.wait_for("what was set, again", |record| {
            record.rpc_method().as_deref() == Some(method)
                && record.rpc_id().is_some_and(|id| id.contains("finmcp-again"))
                && record.json()["params"] == parameters
        });
        let newest = vendor.calls("tools/call").pop().unwrap();
        assert_eq!(record.header("mcp-session-id"), newest.header("mcp-session-id"), "the new session");
    };
    wait("logging/setLevel", json!({"level": "debug"}));
    wait("resources/subscribe", json!({"uri": "x:kept"}));
    assert_eq!((vendor.calls("logging/setLevel").len(), vendor.calls("resources/subscribe").len()), (2, 3));
    assert!(serve.rest(std::time::Duration::from_millis(100)).is_empty(), "the client sees nothing of it");
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// An answer whose stream says `retry` and ends: the server wants to be asked again then, as often as it takes.
fn polled(id: usize, retry: &str) -> Effect {
    Effect::Answer(Reply::new(200).body("text/event-stream", format!("id: {id}\nretry: {retry}\ndata:\n\n")))
}

/// t123, t124: a call's answer is polled for when the server says and until it is there, with no other POST.
#[test]
fn t124_finmcp_polls_for_a_response_when_the_server_says() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script { get_stream: false, ..Script::default() });
    serve.initialize();
    serve.request("ping", json!({})).result();
    let polls = |vendor: &Vendor| vendor.records().iter().filter(|record| record.method == "GET").count();
    let answer = |id: &str| {
        let event = format!(r#"data: {{"jsonrpc":"2.0","id":{id},"result":{{"n":1.10}}}}"#);
        Effect::Answer(Reply::new(200).body("text/event-stream", event + "\n\n"))
    };
    let before = polls(&vendor);
    vendor.fault(On::Rpc("tools/call"), polled(0, "0"));
    (1..=10).for_each(|id| vendor.fault(On::Method("GET"), polled(id, "0")));
    vendor.fault(On::Method("GET"), answer("3"));
    assert_eq!(serve.call("echo", json!({})).raw, r#"{"jsonrpc":"2.0","id":3,"result":{"n":1.10}}"#);
    assert_eq!((vendor.calls("tools/call").len(), polls(&vendor) - before), (1, 11));
    let last = vendor.records().into_iter().rfind(|record| record.method == "GET").unwrap();
    assert_eq!(last.header("last-event-id"), Some("10"));

    vendor.fault(On::Rpc("tools/call"), polled(20, "1500"));
    vendor.fault(On::Method("GET"), answer("4"));
    let begun = std::time::Instant::now();
    serve.call("echo", json!({})).result();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(1500), "{:?}", begun.elapsed());

    // A server that brings nothing new is left after a few times.
    let before = polls(&vendor);
    vendor.fault(On::Rpc("tools/call"), polled(30, "0"));
    (0..20).for_each(|_| vendor.fault(On::Method("GET"), polled(30, "0")));
    assert_eq!(serve.call("echo", json!({})).error()["code"], -31010);
    assert_eq!(polls(&vendor) - before, 4);
}

/// t114: whatever breaks once a call may have been taken, it is not sent again; the client is told that its outcome is
/// unknown.
#[test]
fn t114_a_call_that_may_have_run_is_never_sent_again() {
    for effect in [
        Effect::CutBefore,
        Effect::CutAfter,
        Effect::status(500),
        Effect::status(502),
        Effect::status(503),
        Effect::status(504),
        Effect::Answer(Reply::new(200).body("text/html", "<h1>Sign in to the network</h1>")),
        Effect::Answer(Reply::new(200).body("application/json", r#"{"jsonrpc":"2.0","id":"#)),
        Effect::Answer(Reply::new(200).body("text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"me\n")),
        Effect::Answer(Reply::new(302).header("location", "http://127.0.0.1:1/")),
        Effect::Answer(Reply::new(303).header("location", "/mcp")),
    ] {
        for script in [Script::default(), Script::default().modern()] {
            let what = format!("{:?}: {effect:?}", script.era);
            let is_modern = script.era == crate::support::vendor::Era::Modern;
            let (_sandbox, vendor, mut serve) = open_bridge(script);
            if is_modern {
                serve.request("server/discover", modern(json!({}))).result();
            } else {
                serve.initialize();
                // An idle connection that the server would have to close first.
                serve.request("ping", json!({})).result();
            }
            vendor.fault(On::Rpc("tools/call"), effect.clone());
            let arguments = json!({"message": "hi"});
            let answer = if is_modern { serve.call_modern("echo", arguments) } else { serve.call("echo", arguments) };
            assert!(answer.json()["error"]["message"].is_string(), "{what}: {}", answer.raw);
            assert!(!answer.raw.contains("<h1>"), "{what}: the server's page is not for the model: {}", answer.raw);
            assert_eq!(vendor.calls("tools/call").len(), 1, "{what}");
            let again = json!({"message": "again"});
            let next = if is_modern { serve.call_modern("echo", again) } else { serve.call("echo", again) };
            assert_eq!(next.result()["content"][0]["text"], "again", "{what}");
        }
    }
}

/// An error status is for the request that it answers, whatever id its body has: some servers refuse in the name of "server-error".
#[test]
fn a_servers_refusal_reaches_the_client() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let refusal =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Not Acceptable"},"x":1.10}"#;
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(406).body("application/json", refusal)));
    assert_eq!(serve.call("echo", json!({})).raw, refusal.replace(r#""server-error""#, "2"));
}

/// t047: no redirect is followed, so no token goes elsewhere.
#[test]
fn t047_no_redirect_gets_a_token() {
    let elsewhere = Vendor::start(Script { sessions: false, ..Script::default() });
    for status in [301, 302, 303, 307, 308] {
        let (sandbox, vendor) = signed_in_machine();
        let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
        serve.initialize();
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(status).header("location", elsewhere.url())));
        serve.call("echo", json!({"message": "hi"})).error();
    }
    assert!(elsewhere.records().is_empty());
}

/// A server that is down is an answer that says so, and the bridge stays for when it is up again.
#[test]
fn an_unreachable_server_is_reported_without_an_exit() {
    let (sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let port: u16 = vendor.origin().rsplit(':').next().unwrap().parse().unwrap();
    vendor.stop();
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert!(answer.error()["message"].is_string(), "{}", answer.raw);
    assert!(serve.is_running());

    // A bridge that starts in the meantime answers too.
    let mut late = sandbox.serve([format!("http://127.0.0.1:{port}/mcp")]);
    late.initialize();
    let answer = late.call("echo", json!({"message": "hi"}));
    assert!(answer.raw.contains("127.0.0.1"), "who is down? {}", answer.raw);
    assert!(late.is_running());

    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let _vendor = Vendor::start_on(listener, Script::default());
    let back = eventually("the call to get through again", || {
        let answer = serve.call("echo", json!({"message": "back"})).json();
        answer.get("result").cloned()
    });
    assert_eq!(back["content"][0]["text"], "back");
}

/// Signed out: every request is answered, and the answer to a call names the command to run.
#[test]
fn a_call_while_signed_out_returns_the_command_to_run() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let url = vendor.url();
    let arguments = ["asset", "--env", "sandbox", "--url", &url];
    let command = "finmcp login asset --env sandbox";
    let mut serve = sandbox.serve(arguments);
    serve.initialize();
    serve.request("tools/list", json!({}));
    let answer = serve.call("profit_and_loss", json!({}));
    assert!(answer.raw.contains(command), "{}", answer.raw);
    assert!(serve.is_running());
    assert!(vendor.records().is_empty(), "a vendor that always requires a token gets no request without one");

    let mut serve = sandbox.serve(arguments);
    serve.request("server/discover", modern(json!({})));
    let answer = serve.call_modern("profit_and_loss", json!({}));
    assert!(answer.raw.contains(command), "{}", answer.raw);
    assert!(serve.is_running());
}

/// A person signs in in another window: the bridge that is already running finds the credential.
#[cfg(unix)]
#[test]
fn a_running_bridge_finds_a_sign_in_of_another_process() {
    use crate::support::browser::{FakeBrowser, Person};

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert!(answer.raw.contains(&format!("finmcp login {}", vendor.url())), "{}", answer.raw);
    assert!(browser.starts().is_empty(), "serve opens no browser unasked");
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    serve.initialize().result();
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    serve.close_stdin();
    serve.exit_within(std::time::Duration::from_secs(2));
    sandbox.assert_no_secret(&vendor.secrets());
}

/// t138: a session id that a header may not hold is not sent back.
#[test]
fn t138_an_odd_session_id_is_refused() {
    for id in ["a b", "", &"x".repeat((8 << 10) + 1)] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
        let hello = json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25", "capabilities": {}}});
        vendor.fault(On::Rpc("initialize"), Effect::Answer(Reply::new(200).header("mcp-session-id", id).json(&hello)));
        serve.request("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}})).error();
        let sent_back = vendor.records().iter().any(|record| record.header("mcp-session-id").is_some());
        assert!(!sent_back, "{id:?}");
    }
}
